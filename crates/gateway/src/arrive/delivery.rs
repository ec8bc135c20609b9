//! Whole answers on their way to a client of HTTP/2, which may keep a stream's window shut for as long as it likes.
//!
//! hyper does not poll the body of such a stream, so the body cannot watch a clock, and the socket is not at a standstill if other streams go on. So
//! each whole answer has a time by which it must be taken; the connection of who lets it pass is closed. Streamed answers have `stream::pump` for that.
//! Cut in pieces, since hyper takes a piece however small the window is, and holds what is left of it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::socket::STALL;
use crate::relay::respond::{CutShort, ReplyBody};

const PIECE: usize = 16 * 1024;
/// On top of [`STALL`], a second for each of these: as slow as the slowest body that a client may send.
const BYTES_A_SECOND: u64 = 50 * 1024;

/// The whole answers of one connection that were not taken yet.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    due: Arc<Mutex<Due>>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Due {
    next: u64,
    by: BTreeMap<u64, Instant>,
}

/// An answer's body; whole ones are watched until hyper has passed on their last piece, and drops them.
#[derive(Debug)]
pub(crate) struct Delivery {
    body: ReplyBody,
    left: Option<Bytes>,
    watched: Option<Watched>,
}

#[derive(Debug)]
struct Watched {
    due: Arc<Mutex<Due>>,
    number: u64,
}

impl Deliveries {
    pub(crate) fn new() -> Self {
        Self {
            due: Arc::default(),
            patience: STALL,
        }
    }

    pub(crate) fn deliver(&self, body: ReplyBody) -> Delivery {
        let (left, watched) = match &body {
            ReplyBody::Whole(Some(bytes)) if !bytes.is_empty() => (Some(bytes.clone()), Some(self.watch(bytes.len()))),
            ReplyBody::Whole(_) | ReplyBody::Piped { .. } => (None, None),
        };
        let body = match watched {
            Some(_) => ReplyBody::Whole(None),
            None => body,
        };
        Delivery { body, left, watched }
    }

    fn watch(&self, bytes: usize) -> Watched {
        let by = Instant::now() + self.patience + Duration::from_secs(bytes as u64 / BYTES_A_SECOND);
        let mut due = lock(&self.due);
        let number = due.next;
        due.next += 1;
        due.by.insert(number, by);
        Watched {
            due: self.due.clone(),
            number,
        }
    }

    /// Resolves once an answer was not taken in its time.
    pub(crate) async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let first = lock(&self.due).by.values().min().copied();
            match first {
                Some(by) if by <= now => return,
                // One that comes later is due no earlier than that.
                Some(by) => sleep_until(by.min(now + self.patience)).await,
                None => sleep_until(now + self.patience).await,
            }
        }
    }
}

impl Body for Delivery {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let Some(left) = &mut self.left else {
            self.watched = None;
            return Pin::new(&mut self.body).poll_frame(cx);
        };
        let piece = left.split_to(left.len().min(PIECE));
        // Watched on, until it is dropped: hyper takes a piece ahead and waits with it for the window.
        if left.is_empty() {
            self.left = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.left {
            Some(left) => SizeHint::with_exact(left.len() as u64),
            None => self.body.size_hint(),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.due).by.remove(&self.number);
    }
}

fn lock(due: &Mutex<Due>) -> MutexGuard<'_, Due> {
    // Whoever panicked with the lock had changed one entry.
    due.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    fn impatient() -> Deliveries {
        Deliveries {
            patience: SHORT,
            ..Deliveries::new()
        }
    }

    async fn is_overdue(deliveries: &Deliveries) -> bool {
        tokio::time::timeout(SHORT * 10, deliveries.overdue()).await.is_ok()
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_overdue_also_in_part() {
        let deliveries = impatient();
        let mut delivery = deliveries.deliver(ReplyBody::whole(Bytes::from(vec![7; 3 * PIECE])));
        assert_eq!(delivery.size_hint().exact(), Some(3 * PIECE as u64));
        let first = delivery.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        assert!(is_overdue(&deliveries).await);
        for _ in 0..2 {
            delivery.frame().await.unwrap().unwrap();
        }
        assert!(delivery.is_end_stream());
        assert!(
            is_overdue(&deliveries).await,
            "the last piece was taken out, not passed on"
        );
        drop(delivery);
        assert!(!is_overdue(&deliveries).await);
    }

    #[tokio::test]
    async fn an_answer_that_was_taken_is_whole_and_not_watched() {
        let deliveries = impatient();
        let whole = Bytes::from((0..40_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let delivery = deliveries.deliver(ReplyBody::whole(whole.clone()));
        assert_eq!(delivery.collect().await.unwrap().to_bytes(), whole);
        let empty = deliveries.deliver(ReplyBody::whole(Bytes::new()));
        assert!(empty.is_end_stream());
        assert!(!is_overdue(&deliveries).await);
    }

    #[tokio::test]
    async fn a_streamed_answer_is_left_to_its_pump() {
        let deliveries = impatient();
        let (_tx, pipe) = tokio::sync::mpsc::channel(1);
        let _delivery = deliveries.deliver(ReplyBody::Piped {
            pipe,
            whole: Arc::default(),
        });
        assert!(!is_overdue(&deliveries).await);
    }
}
