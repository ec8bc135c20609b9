//! Events in the order of their ends, for whoever keeps them elsewhere: from the journal, behind the request path, each at least once.
//!
//! In: what the journal holds durably, from a position that lies in a file. Out: [`Event`]s of requests that have ended, as the recording policy has
//! them exported. Never blocks a request, and forgets nothing while a receiver is away: the journal keeps it.
//! Memory: what is still open is kept without its body, which is read again at its end.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantlet_api::audit::{Event, Level, Stage};
use mantlet_core::record::{Closed, Line, Opened, Record};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::index::event;
use crate::journal::{Head, Progress, stretch};
use crate::{Store, StoreFault};

#[derive(Debug)]
pub struct Follower {
    store: Arc<Store>,
    place: PathBuf,
    disk: Arc<dyn Disk>,
    /// Behind what was read.
    at: Head,
    progress: watch::Receiver<Progress>,
    open: HashMap<String, Standing>,
    /// Ends up to this record have been given out in an earlier life.
    given: u64,
    /// The first record that this or another life may have to read again.
    needs: u64,
}

/// A request that has not ended.
#[derive(Debug)]
struct Standing {
    /// The place from which its opening can be read again.
    at: Head,
    /// None where it has a body.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    omit_stages: Vec<Stage>,
}

/// What lies in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    writer: String,
    /// Behind the openings that are no longer needed.
    segment: u64,
    offset: u64,
    seq: u64,
    given: u64,
}

impl Follower {
    /// Goes on at the position in this file; without one, from the journal's beginning.
    pub fn open(store: Arc<Store>, place: &Path) -> Result<Self, StoreFault> {
        let known = read(place)?.filter(|position| position.writer == store.journal.writer_id());
        let begin = store.journal.begin();
        let (at, given) = match known {
            // What it would have read was pruned, which only happens to those who do not say what they need.
            Some(position) if position.head() < begin => (begin, position.given),
            Some(position) => (position.head(), position.given),
            None => (begin, 0),
        };
        Ok(Self {
            disk: store.journal.reader(),
            at,
            progress: store.journal.progress(),
            place: place.to_owned(),
            open: HashMap::new(),
            given,
            needs: at.seq + 1,
            store,
        })
    }

    /// Records that the journal holds and this has not read.
    pub fn behind(&self) -> u64 {
        self.progress.borrow().head.seq.saturating_sub(self.at.seq)
    }

    /// The next events; returns when there are some. None once the journal has ended and all of it was given out.
    ///
    /// # Cancel safety
    /// Cancel safe: what was read is taken in one piece, or read again.
    pub async fn next(&mut self) -> Result<Option<Vec<Event>>, StoreFault> {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            let (lines, after) = stretch(self.disk.clone(), self.at, progress.head).await?;
            if !lines.is_empty() {
                let events = self.take(lines, after).await?;
                if !events.is_empty() {
                    return Ok(Some(events));
                }
            } else if progress.over.is_some() || self.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Everything that was given out has arrived: the next life goes on behind it.
    pub fn save(&mut self) -> Result<(), StoreFault> {
        let behind = self.at;
        let needed = self.open.values().map(|standing| standing.at).min().unwrap_or(behind);
        let position = Position {
            writer: self.store.journal.writer_id().to_owned(),
            segment: needed.segment,
            offset: needed.offset,
            seq: needed.seq,
            given: behind.seq,
        };
        write(&self.place, &position).map_err(|fault| StoreFault::unusable(&self.place, fault))?;
        self.needs = position.seq + 1;
        Ok(())
    }

    /// Nothing from this record on may be pruned.
    pub fn needs(&self) -> u64 {
        self.needs
    }

    /// What can fail comes first: a stretch is taken whole.
    async fn take(&mut self, lines: Vec<Line>, after: Head) -> Result<Vec<Event>, StoreFault> {
        let at = self.at;
        let mut again = HashMap::new();
        for line in &lines {
            if let Record::Closed(closed) = &line.record
                && let Some(Standing { at, waiting: None }) = self.open.get(&closed.audit_id)
            {
                let waiting = self.again(*at, &closed.audit_id).await?;
                again.insert(closed.audit_id.clone(), waiting);
            }
        }
        let mut events = Vec::new();
        for line in lines {
            match &line.record {
                Record::Opened(opened) => {
                    let waiting = Some(Waiting::of(opened, &line));
                    self.open.insert(opened.audit_id.clone(), Standing { at, waiting });
                }
                Record::Closed(closed) => {
                    let standing = self.open.remove(&closed.audit_id);
                    let waiting = standing.and_then(|standing| standing.waiting);
                    let waiting = waiting.or_else(|| again.remove(&closed.audit_id));
                    let waiting = waiting.unwrap_or_else(|| Waiting::unknown(closed, &line));
                    if line.seq > self.given {
                        events.extend(waiting.end(closed));
                    }
                }
                Record::SessionStarted(_)
                | Record::SessionEnded(_)
                | Record::AgentSuspended(_)
                | Record::Refusals(_)
                | Record::Checkpoint(_)
                | Record::SignedCheckpoint(_)
                | Record::Pruned(_)
                | Record::Anchored(_)
                | Record::Truncated(_)
                | Record::Stopped => {}
            }
        }
        for standing in self.open.values_mut() {
            standing
                .waiting
                .take_if(|waiting| waiting.event.request_object.is_some());
        }
        self.at = after;
        Ok(events)
    }

    /// Reads an opening once more.
    async fn again(&self, at: Head, audit_id: &str) -> Result<Waiting, StoreFault> {
        let durable = self.progress.borrow().head;
        let (lines, _) = stretch(self.disk.clone(), at, durable).await?;
        let found = lines.iter().find_map(|line| match &line.record {
            Record::Opened(opened) if opened.audit_id == audit_id => Some(Waiting::of(opened, line)),
            _ => None,
        });
        found.ok_or_else(|| StoreFault::Failed(format!("the opening of {audit_id} is no longer where it was")))
    }
}

impl Waiting {
    fn of(opened: &Opened, line: &Line) -> Self {
        Self {
            event: event::opened(opened, line.cluster.as_ref(), line.epoch),
            omit_stages: opened.omit_stages.clone(),
        }
    }

    /// Its opening was never written.
    fn unknown(closed: &Closed, line: &Line) -> Self {
        Self {
            event: event::opened_unknown(closed, line.cluster.as_ref(), line.epoch),
            omit_stages: Vec::new(),
        }
    }

    /// None where the policy has nothing exported.
    fn end(mut self, closed: &Closed) -> Option<Event> {
        event::close(&mut self.event, closed);
        let exported = self.event.level != Level::None && !self.omit_stages.contains(&self.event.stage);
        exported.then_some(self.event)
    }
}

impl Position {
    fn head(&self) -> Head {
        Head {
            segment: self.segment,
            offset: self.offset,
            seq: self.seq,
        }
    }
}

fn read(place: &Path) -> Result<Option<Position>, StoreFault> {
    match std::fs::read(place) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|fault| {
            let hint = "hint: remove it; everything is exported once more";
            StoreFault::unusable(place, format!("{fault}\n{hint}"))
        }),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(StoreFault::unusable(place, fault)),
    }
}

/// Whole or not at all.
fn write(place: &Path, position: &Position) -> std::io::Result<()> {
    let beside = place.with_extension("position.new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&serde_json::to_vec(position)?)?;
    file.sync_all()?;
    std::fs::rename(&beside, place)
}

#[cfg(test)]
mod tests;
