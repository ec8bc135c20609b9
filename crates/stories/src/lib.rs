//! What stories are told with: a [`World`] of a real gateway, a real store, real issuers and a real Kubernetes, and the [`Bed`] it stands on.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "all of this crate is tests"
)]

pub mod bed;
pub mod stage;
pub mod world;
pub mod served;
pub mod postgres;
pub mod bridge;
pub mod room;
pub mod kubectl;
pub mod wire;
pub mod audit;
pub mod receiver;
pub mod journal;
pub mod provider;

use std::time::Duration;

pub use bed::Bed;
pub use bridge::Bridge;
pub use provider::Provider;
pub use room::Room;
pub use served::Served;
pub use wire::Wire;
pub use world::World;

/// Asks again and again until there is an answer; fails after `within`.
pub async fn eventually<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < within, "within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
