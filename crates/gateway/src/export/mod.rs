//! Events for whoever keeps them elsewhere, in the API server's own format: a file of JSON lines, a webhook.
//!
//! In: what [`Follower`] reads from the journal. Out: the same events at the receiver, each at least once, in the order of their ends.
//! Behind the request path: a receiver that is away makes this fall behind, which `/readyz?verbose` and a metric say, and nothing else.
//! Nothing is given up: the journal keeps what a receiver has not taken.

mod file;
mod webhook;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mantlet_api::audit::Event;
use mantlet_store::{Follower, Store};

pub use file::JsonLines;
pub use webhook::Webhook;

use crate::tasks::Tasks;

/// How an export goes; shared with the operators' pages.
#[derive(Debug)]
pub struct Export {
    name: &'static str,
    behind: AtomicU64,
    /// The first record that it may have to read again; 0 until that is known.
    needs: AtomicU64,
    fault: Mutex<Option<String>>,
}

/// Where events go.
#[derive(Debug)]
pub enum Sink {
    File(JsonLines),
    Webhook(Box<Webhook>),
}

/// The position is kept this often: a crash repeats what came since.
const SAVED: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Falling behind by less is the way of things.
const BEHIND: u64 = 10_000;

impl Export {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            behind: AtomicU64::new(0),
            needs: AtomicU64::new(0),
            fault: Mutex::new(None),
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Records of the journal that have not been looked at.
    pub fn behind(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    /// Retention leaves everything from this record on.
    pub fn needs(&self) -> u64 {
        self.needs.load(Ordering::Relaxed)
    }

    /// What an operator should know; none while it keeps up.
    pub fn trouble(&self) -> Option<String> {
        let behind = self.behind();
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match fault {
            Some(why) => Some(format!("{behind} records behind: {why}")),
            None if behind > BEHIND => Some(format!("{behind} records behind")),
            None => None,
        }
    }

    fn went(&self, done: &Result<(), String>) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Err(why), None) = (done, &*fault) {
            tracing::error!(export = self.name, why, "export fails and is tried again");
        }
        *fault = done.as_ref().err().cloned();
    }
}

impl Sink {
    /// Takes an event; nothing happens to it before [`Sink::flush`].
    fn push(&mut self, event: Event) -> Result<(), String> {
        match self {
            Sink::File(file) => file.push(&event),
            Sink::Webhook(webhook) => {
                webhook.push(event);
                Ok(())
            }
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Sink::File(file) => file.is_full(),
            Sink::Webhook(webhook) => webhook.is_full(),
        }
    }

    /// Hands on what it took. What fails stays with it.
    ///
    /// # Cancel safety
    /// Whatever was under way is handed on again.
    async fn flush(&mut self) -> Result<(), String> {
        match self {
            Sink::File(file) => file.flush(),
            Sink::Webhook(webhook) => webhook.flush().await,
        }
    }

    /// After this everything that was flushed survives a power loss here, or is the receiver's.
    fn settle(&mut self) -> Result<(), String> {
        match self {
            Sink::File(file) => file.settle(),
            Sink::Webhook(_) => Ok(()),
        }
    }
}

/// Follows the journal until the process drains. `place` is the file that the position lies in.
pub async fn run(export: Arc<Export>, mut sink: Sink, store: Arc<Store>, place: PathBuf, tasks: Tasks) {
    let mut follower = loop {
        match Follower::open(store.clone(), &place) {
            Ok(follower) => break follower,
            Err(fault) => export.went(&Err(fault.to_string())),
        }
        tokio::select! {
            () = tokio::time::sleep(LONGEST_PAUSE) => {}
            () = tasks.closing() => return,
        }
    };
    export.needs.store(follower.needs(), Ordering::Relaxed);
    let mut whole = true;
    tokio::select! {
        () = follow(&export, &mut sink, &store, &mut follower, &mut whole) => {}
        () = tasks.closing() => {}
    }
    // In the middle of some, they come again.
    if whole && let Err(why) = keep(&mut sink, &mut follower) {
        tracing::warn!(export = export.name, why, "the position of an export was not kept");
    }
}

/// `whole`: whether everything that the follower gave out has been handed on.
async fn follow(export: &Export, sink: &mut Sink, store: &Store, follower: &mut Follower, whole: &mut bool) {
    let mut saved = Instant::now();
    loop {
        let events = match follower.next().await {
            Ok(Some(events)) => events,
            Ok(None) => return,
            Err(fault) => {
                export.went(&Err(fault.to_string()));
                tokio::time::sleep(LONGEST_PAUSE).await;
                continue;
            }
        };
        *whole = false;
        for mut event in events {
            // One at a time: bodies are large.
            store.bodies.fill(&mut event).await;
            if let Err(why) = sink.push(event) {
                tracing::error!(export = export.name, why, "an event cannot be written");
            }
            if sink.is_full() {
                deliver(export, sink, follower.behind()).await;
            }
        }
        deliver(export, sink, follower.behind()).await;
        *whole = true;
        if saved.elapsed() >= SAVED {
            export.went(&keep(sink, follower));
            export.needs.store(follower.needs(), Ordering::Relaxed);
            saved = Instant::now();
        }
    }
}

/// Until it has been taken.
async fn deliver(export: &Export, sink: &mut Sink, behind: u64) {
    let mut pause = FIRST_PAUSE;
    loop {
        let done = sink.flush().await;
        export.behind.store(behind, Ordering::Relaxed);
        export.went(&done);
        if done.is_ok() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn keep(sink: &mut Sink, follower: &mut Follower) -> Result<(), String> {
    sink.settle()?;
    follower.save().map_err(|fault| fault.to_string())
}
