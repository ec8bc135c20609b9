//! Legal time: when tokens, sessions and grants end. Tests move it by hand; deadlines of sockets are tokio's own and do not come here.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use mantlet_core::time::{Clock, Timestamp};

/// How often a waiting stream looks at the clock: an end is noticed within this time.
const TICK: Duration = Duration::from_millis(500);

/// Resolves once `clock` shows `at` or later.
///
/// Looks at the clock rather than sleeping until then: a machine that was suspended, and a clock that was set, end streams all the same.
pub(crate) fn until(clock: &dyn Clock, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async move {
        loop {
            let left = at.since(clock.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(TICK)).await;
        }
    })
}
