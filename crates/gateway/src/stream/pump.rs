//! One task owns the upstream leg and the Pass, and feeds the client through a channel of two chunks.
//!
//! A deadline inside a body does not work (measured: the body of an h2 reader that stalls is not polled; on h1 the connection stays). So the pump
//! watches for the end itself, drops the upstream leg first, then says farewell. Memory per stream: two chunks and hyper's window.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mantlet_core::action::{Target, Verb};
use mantlet_core::time::Clock;
use tokio::sync::mpsc::{self, Sender};

use super::cut::Cut;
use crate::clock::until;
use crate::relay::admit::Pass;
use crate::relay::mask::Source;
use crate::relay::respond::{CutShort, ReplyBody};
use crate::tasks::Tasks;

const CHUNKS: usize = 2;
/// A client that takes nothing for this long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a farewell waits for room.
const FAREWELL: Duration = Duration::from_secs(4);

/// Starts the pump and returns the body that it feeds.
pub(crate) fn start(begun: Bytes, source: Source, pass: Pass, clock: Arc<dyn Clock>, tasks: &Tasks) -> ReplyBody {
    let (tx, rx) = mpsc::channel(CHUNKS);
    let handle = tasks.clone();
    tasks.pump("answer", async move {
        pump(begun, source, pass, tx, clock.as_ref(), &handle).await
    });
    ReplyBody::Piped(rx)
}

async fn pump(
    begun: Bytes,
    source: Source,
    mut pass: Pass,
    tx: Sender<Result<Bytes, CutShort>>,
    clock: &dyn Clock,
    tasks: &Tasks,
) {
    let endless = pass.action().options().endless;
    let ended = async {
        if !endless {
            // A list that has begun is let go to its end: it is bounded, and half of it is worth nothing.
            return std::future::pending().await;
        }
        tokio::select! {
            () = until(clock, pass.caller().verified().expires()) => Cut::TokenEnded,
            () = tasks.closing() => Cut::Drained,
        }
    };
    let mut sent = 0u64;
    let end = tokio::select! {
        biased;
        cut = ended => End::Cut(cut),
        end = feed(begun, source, &tx, &mut sent) => end,
    };
    // From here the upstream leg is gone: `feed` owned it.
    if let End::Cut(cut) = end {
        farewell(cut, &pass, &tx).await;
    }
    pass.sent(sent);
    match end {
        End::Complete => pass.close(),
        End::Left => pass.abandon(),
        End::Cut(cut) => pass.cut(cut),
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    Complete,
    /// The client went away.
    Left,
    Cut(Cut),
}

async fn feed(begun: Bytes, mut source: Source, tx: &Sender<Result<Bytes, CutShort>>, sent: &mut u64) -> End {
    let mut next = Some(Ok(begun)).filter(|b: &Result<Bytes, Cut>| !matches!(b, Ok(b) if b.is_empty()));
    loop {
        let chunk = match next.take() {
            Some(chunk) => Some(chunk),
            None => tokio::select! {
                chunk = source.next() => chunk,
                () = tx.closed() => return End::Left,
            },
        };
        match chunk {
            None => return End::Complete,
            Some(Err(cut)) => return End::Cut(cut),
            Some(Ok(bytes)) => {
                *sent += bytes.len() as u64;
                match tokio::time::timeout(PATIENCE, tx.send(Ok(bytes))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return End::Left,
                    Err(_) => return End::Cut(Cut::Stalled),
                }
            }
        }
    }
}

async fn farewell(cut: Cut, pass: &Pass, tx: &Sender<Result<Bytes, CutShort>>) {
    let is_watch = matches!(
        (pass.action().verb(), pass.action().target()),
        (Verb::Watch, Target::Resource(_))
    );
    let last = match (cut.ends_clean(), is_watch.then(|| cut.watch_farewell()).flatten()) {
        (true, Some(event)) => Ok(event),
        (true, None) => return,
        (false, _) => Err(CutShort),
    };
    // A client that does not read gets none: the channel is dropped after this time in any case.
    let _ = tokio::time::timeout(FAREWELL, tx.send(last)).await;
}
