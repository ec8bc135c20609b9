//! Every task of the process: named, counted, joined when the process drains.
//!
//! Nothing else in this crate calls `tokio::spawn`: a task that nobody counts is a write that nobody waits for.

use std::future::Future;
use std::time::Duration;

use mantlet_core::action::Effect;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A cheap handle; clones share one count.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    closing: CancellationToken,
    /// Cancelled when the drain is over.
    drained: CancellationToken,
}

/// The task panicked. What it held was dropped, so its entry is closed.
#[derive(Debug, Clone, Copy)]
pub struct Lost;

impl Tasks {
    /// Carries out `work`. What changes the cluster runs in a task that its client cannot end; a read is dropped with its client.
    ///
    /// # Cancel safety
    /// Dropping the returned future drops a read and detaches a change, which then runs to its end.
    pub async fn run<F>(&self, effect: Effect, work: F) -> Result<F::Output, Lost>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match effect {
            Effect::Reads => Ok(work.await),
            Effect::Changes => self.tracker.spawn(work).await.map_err(|_| Lost),
        }
    }

    /// Starts something that ends by itself: a stream's pump, a connection, a background refresh.
    pub fn pump(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(async move {
            work.await;
            tracing::trace!(task = name, "task ended");
        });
    }

    /// Starts what serves others and has no end of its own, such as a connection to a cluster. The drain does not wait for it; it is dropped after.
    pub fn keep(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let drained = self.drained.clone();
        tokio::spawn(async move {
            let _ = drained.run_until_cancelled(work).await;
            tracing::trace!(task = name, "task ended");
        });
    }

    /// Resolves once the process began to drain. Streams say farewell then.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Tells every stream to end, then waits for all tasks; returns how many were still running after `within`.
    pub async fn drain(&self, within: Duration) -> usize {
        self.closing.cancel();
        self.tracker.close();
        let left = match tokio::time::timeout(within, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        };
        self.drained.cancel();
        left
    }
}
