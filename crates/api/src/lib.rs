//! What people write and read: serde shapes only, no meaning.

pub mod audit;
pub mod authentication;
pub mod config;
pub mod gate;
pub mod policy;
