//! The binary as a library: configuration, wiring, `serve` and `dev`.

pub mod config;
pub mod serve;
pub mod policy;
pub mod reload;
pub mod verify;
pub mod agent;
pub mod dev;
pub mod sandbox;
pub mod seed;
