//! One task owns the upstream leg and the Pass, and feeds the client through a channel of two chunks.
//!
//! A deadline inside a body does not work (measured: the body of an h2 reader that stalls is not polled; on h1 the connection stays). So the pump
//! watches for the end itself, drops the upstream leg first, then says farewell. Memory per stream: two chunks and hyper's window.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mantlet_core::action::{Target, Verb};
use mantlet_core::time::{Clock, Timestamp};
use mantlet_store::Stop;
use tokio::sync::mpsc::{self, Sender};

use super::cut::Cut;
use crate::clock::until;
use crate::recorder::Tee;
use crate::relay::admit::Pass;
use crate::relay::mask::Source;
use crate::relay::respond::ReplyBody;
use crate::tasks::Tasks;

const CHUNKS: usize = 2;
/// A client that takes nothing for this long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same while the process drains: one slow reader does not hold up the end.
const HURRY: Duration = Duration::from_secs(2);
/// How long a farewell waits for room.
const FAREWELL: Duration = Duration::from_secs(4);

/// Starts the pump and returns the body that it feeds.
pub(crate) fn start(begun: Bytes, source: Source, pass: Pass, clock: Arc<dyn Clock>, tasks: &Tasks) -> ReplyBody {
    let (tx, pipe) = mpsc::channel(CHUNKS);
    let whole = Arc::new(AtomicBool::new(false));
    let (handle, ends_well) = (tasks.clone(), whole.clone());
    tasks.pump("answer", async move {
        pump(begun, source, pass, tx, &ends_well, clock.as_ref(), &handle).await
    });
    ReplyBody::Piped { pipe, whole }
}

async fn pump(
    begun: Bytes,
    source: Source,
    mut pass: Pass,
    tx: Sender<Bytes>,
    whole: &AtomicBool,
    clock: &dyn Clock,
    tasks: &Tasks,
) {
    let ended = ended(&pass, clock, tasks);
    let (mut sent, mut tee) = (0u64, Tee::of(&pass));
    let end = tokio::select! {
        biased;
        cut = ended => End::Cut(cut),
        end = feed(begun, source, &tx, &mut sent, &mut tee, tasks) => end,
    };
    // From here the upstream leg is gone: `feed` owned it.
    if let End::Cut(cut) = end {
        farewell(cut, &pass, &tx).await;
    }
    // Before the channel closes. Without it, its end is a fault: nobody takes the part for the whole, even if this task panics.
    whole.store(end.is_clean(), Ordering::Release);
    drop(tx);
    pass.sent(sent);
    match end {
        End::Complete => {
            tee.finish(&mut pass).await;
            pass.close();
        }
        End::Left => {
            tee.give_up(&mut pass);
            pass.abandon();
        }
        End::Cut(cut) => {
            tee.give_up(&mut pass);
            pass.cut(cut);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    Complete,
    /// The client went away.
    Left,
    Cut(Cut),
}

impl End {
    fn is_clean(self) -> bool {
        match self {
            End::Complete => true,
            End::Left => false,
            End::Cut(cut) => cut.ends_clean(),
        }
    }
}

/// Resolves when an answer without an end of its own has to end. Others are let go to theirs: a list is bounded, and half of it is worth nothing.
pub(crate) async fn ended(pass: &Pass, clock: &dyn Clock, tasks: &Tasks) -> Cut {
    if !pass.action().options().endless {
        return std::future::pending().await;
    }
    let (at, why) = legal_end(pass);
    tokio::select! {
        () = until(clock, at) => why,
        () = pass.overruled(clock) => Cut::LawChanged,
        () = pass.disowned() => Cut::Disowned,
        stop = pass.stopped() => match stop {
            Stop::Suspended => Cut::Suspended,
            Stop::Ended => Cut::Stopped,
        },
        () = tasks.closing() => Cut::Drained,
    }
}

/// When what the stream rests on ends: the token, the session, the Agent.
fn legal_end(pass: &Pass) -> (Timestamp, Cut) {
    let agent = pass.caller().agent().and_then(|agent| agent.expires_at());
    [
        Some((pass.caller().verified().expires(), Cut::TokenEnded)),
        Some((pass.session_ends(), Cut::SessionEnded)),
        agent.map(|at| (at, Cut::AgentEnded)),
    ]
    .into_iter()
    .flatten()
    .min_by_key(|(at, _)| *at)
    // None of them is no leave at all.
    .unwrap_or((Timestamp::from_micros(0), Cut::TokenEnded))
}

async fn feed(
    begun: Bytes,
    mut source: Source,
    tx: &Sender<Bytes>,
    sent: &mut u64,
    tee: &mut Tee,
    tasks: &Tasks,
) -> End {
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
                tee.take(&bytes);
                if let Err(end) = hand_over(bytes, tx, tasks).await {
                    return end;
                }
            }
        }
    }
}

async fn hand_over(bytes: Bytes, tx: &Sender<Bytes>, tasks: &Tasks) -> Result<(), End> {
    let hurried = async {
        tasks.closing().await;
        tokio::time::sleep(HURRY).await;
    };
    tokio::select! {
        biased;
        taken = tx.send(bytes) => taken.map_err(|_| End::Left),
        () = tokio::time::sleep(PATIENCE) => Err(End::Cut(Cut::Stalled)),
        () = hurried => Err(End::Cut(Cut::Stalled)),
    }
}

async fn farewell(cut: Cut, pass: &Pass, tx: &Sender<Bytes>) {
    let is_watch = matches!(
        (pass.action().verb(), pass.action().target()),
        (Verb::Watch, Target::Resource(_))
    );
    if let Some(event) = is_watch.then(|| cut.watch_farewell()).flatten() {
        // A client that does not read gets none: the channel is dropped after this time in any case.
        let _ = tokio::time::timeout(FAREWELL, tx.send(event)).await;
    }
}
