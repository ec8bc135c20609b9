//! Every story that needs more than one crate, told to a real kubectl and a real API server. One binary.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "all of it is tests"
)]

mod agents;
mod around;
mod bombs;
mod bounded;
mod bypass;
mod can_i;
mod canary;
mod cut;
mod faults;
mod flood;
mod frames;
mod ground;
mod honest_day;
mod identity;
mod join;
mod lost;
mod patience;
mod postgres;
mod proof;
mod raw;
mod recording;
mod reload;
mod sandbox;
mod transparency;
mod upstream;
