//! What stories are told with: a [`World`] of a real gateway, a real store, real issuers and a real Kubernetes, and the [`Bed`] it stands on.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "all of this crate is tests"
)]

pub mod bed;
pub mod world;
pub mod kubectl;
pub mod audit;

pub use bed::Bed;
pub use world::World;
