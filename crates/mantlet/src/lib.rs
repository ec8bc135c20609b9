//! The binary as a library: configuration, wiring, `serve` and `dev`.

pub mod config;
pub mod sandbox;
pub mod seed;
