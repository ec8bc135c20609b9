//! The law of Mantlet, pure: who is calling, what exactly is asked, whether it may happen, what of the answer may be seen.
//!
//! No I/O, no clock, no randomness, no async. Everything a decision needs comes in as a value, everything it concludes goes out as one.
//! Modules stand in the order in which a request meets them.

pub mod time;
pub mod identity;
pub mod action;
pub mod wire;
pub mod law;
pub mod mask;
pub mod record;
