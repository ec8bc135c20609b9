//! Between requests and the writer: what waits to be written, how much more may come, and how far the disk has got.
//!
//! Bounded by requests: who holds a slot has room for its opening and its close, and nobody else adds records but under a
//! reservation of their own. Bounded by bytes as well: while more than [`WAITING_MAX`] wait for the disk, no room is given out.
//! Requests that end before they have a caller take nothing from the others: so many in a second and so many bytes in an hour have records of
//! their own, the rest is counted, exactly, by second and address.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mantlet_core::record::{Cluster, Counts, Record, RefusedIn};
use mantlet_core::time::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::Sizes;
use crate::StoreFault;
use crate::quotas::Quotas;

/// Records that nobody waits for are gathered this long: an fdatasync each would cost a read more than the read.
const GATHER: Duration = Duration::from_millis(4);
/// How often the writer looks around when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// So many records are worth an fdatasync of their own.
const ENOUGH: usize = 512;
/// Bytes of records that wait for the disk.
const WAITING_MAX: usize = 64 << 20;
/// Refusals without a caller that get records of their own, per second.
const REFUSALS_IN_FULL: u32 = 50;
/// Addresses that are told apart in one second; the refusals of further ones are counted together.
const SOURCES: usize = 64;

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    capacity: usize,
    quotas: Quotas,
    progress: watch::Sender<Progress>,
}

/// How far the disk has got.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// Records queued up to this one are durable.
    pub(crate) ticket: Ticket,
    pub(crate) head: Head,
    pub(crate) over: Option<StoreFault>,
    /// Why what waits is not durable soon: nobody should wait for it. It is written all the same, once it can be.
    pub(crate) away: Option<StoreFault>,
}

/// Where the durable part of a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    pub segment: u64,
    pub offset: u64,
    /// Of the last record.
    pub seq: u64,
}

/// The place of a record in the queue, ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// A record on its way, serialized by whoever brought it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) cluster: Option<Cluster>,
    pub(crate) epoch: Option<u64>,
    pub(crate) record: Box<RawValue>,
    /// Whether the room of its request is free again once it is durable.
    pub(crate) last: bool,
    pub(crate) counts: Counts,
    /// Whether it calls for a signed checkpoint; what only says how far those got does not.
    pub(crate) signed: bool,
}

#[derive(Debug)]
pub(crate) enum Work {
    Write {
        records: Vec<Pending>,
        upto: Ticket,
    },
    /// Nothing came for a while.
    Tick,
    /// Write these, and no more come.
    Stop {
        records: Vec<Pending>,
        upto: Ticket,
    },
}

#[derive(Debug)]
struct State {
    waiting: Vec<Pending>,
    /// Of the records that wait.
    bytes: usize,
    next: u64,
    reserved: usize,
    /// Somebody waits for the disk.
    urgent: bool,
    idle: bool,
    /// Why no more slots are given out, if so.
    refuses: Option<StoreFault>,
    stopping: bool,
    refusals: Refusals,
}

#[derive(Debug, Default)]
struct Refusals {
    second: i64,
    in_full: u32,
    hour: i64,
    /// Bytes of records of their own in this hour, and how many there may be.
    bytes: u64,
    bytes_max: u64,
    counted: Vec<RefusedIn>,
}

/// A request that ended before it had a caller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unnamed<'a> {
    /// Nobody knows who it was.
    Stranger { source: &'a str },
    /// Of somebody whose share of the journal is filled: never in full.
    OverQuota { source: &'a str, who: &'a str },
}

impl Pending {
    pub(crate) fn new(written: &Record, cluster: Option<Cluster>, epoch: Option<u64>, last: bool) -> Option<Self> {
        let record = serde_json::value::to_raw_value(written).ok()?;
        Some(Self {
            cluster,
            epoch,
            last,
            counts: written.counts(),
            signed: !matches!(written, Record::Anchored(_)),
            record,
        })
    }
}

impl Queue {
    pub(crate) fn new(sizes: &Sizes, head: Head) -> Self {
        let state = State {
            waiting: Vec::new(),
            bytes: 0,
            next: 0,
            reserved: 0,
            urgent: false,
            idle: false,
            refuses: None,
            stopping: false,
            refusals: Refusals {
                bytes_max: sizes.refusals,
                ..Refusals::default()
            },
        };
        let (progress, _) = watch::channel(Progress {
            ticket: Ticket(0),
            head,
            over: None,
            away: None,
        });
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            capacity: sizes.requests,
            quotas: Quotas::new(sizes.quota),
            progress,
        }
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Room for one more request, or one more record.
    pub(crate) fn reserve(&self) -> Result<(), StoreFault> {
        let mut state = self.lock();
        if let Some(fault) = &state.refuses {
            return Err(fault.clone());
        }
        if state.reserved >= self.capacity {
            return Err(StoreFault::Full(format!("{} requests are under way", self.capacity)));
        }
        if state.bytes >= WAITING_MAX {
            return Err(StoreFault::Full(String::from("the disk does not keep up")));
        }
        state.reserved += 1;
        Ok(())
    }

    /// Gives back room that is not needed after all.
    pub(crate) fn release(&self, count: usize) {
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(count);
    }

    /// Adds a record under a reservation. Never blocks on the disk.
    pub(crate) fn push(&self, record: Pending) -> Ticket {
        let mut state = self.lock();
        state.next += 1;
        let ticket = Ticket(state.next);
        state.bytes += record.record.get().len();
        state.waiting.push(record);
        if state.idle || state.waiting.len() == ENOUGH {
            self.wake.notify_one();
        }
        ticket
    }

    /// Whether a request that had no caller gets records of its own; if not, it is counted and its room is free.
    pub(crate) fn in_full(&self, unnamed: Unnamed<'_>, now: Timestamp) -> bool {
        let mut state = self.lock();
        let in_full = state.refusals.in_full(unnamed, now.seconds());
        if !in_full {
            state.reserved = state.reserved.saturating_sub(1);
        }
        in_full
    }

    /// So many bytes went into the records of one that had no caller.
    pub(crate) fn filled(&self, bytes: u64) {
        self.lock().refusals.bytes += bytes;
    }

    /// Returns once the record is durable, or never will be.
    ///
    /// # Cancel safety
    /// The record is written all the same.
    pub(crate) async fn durable(&self, ticket: Ticket) -> Result<(), StoreFault> {
        let mut progress = self.progress.subscribe();
        if progress.borrow().ticket < ticket {
            self.urge();
        }
        let reached = progress
            .wait_for(|progress| progress.ticket >= ticket || progress.over.is_some() || progress.away.is_some())
            .await;
        let progress = reached.map_err(|_| StoreFault::Closed)?;
        match progress.over.as_ref().or(progress.away.as_ref()) {
            Some(fault) if progress.ticket < ticket => Err(fault.clone()),
            _ => Ok(()),
        }
    }

    /// The last record that was queued.
    pub(crate) fn latest(&self) -> Ticket {
        Ticket(self.lock().next)
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn health(&self) -> Result<(), StoreFault> {
        match &self.lock().refuses {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.refuses.get_or_insert(StoreFault::Closed);
        self.wake.notify_one();
    }

    /// For the writer: waits for something to do.
    pub(crate) fn work(&self, now: impl Fn() -> Timestamp) -> Work {
        let mut state = self.lock();
        if state.waiting.is_empty() && !state.stopping {
            state.idle = true;
            state = self
                .wake
                .wait_timeout(state, TICK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.idle = false;
        }
        if !(state.waiting.is_empty() || state.urgent || state.stopping || state.waiting.len() >= ENOUGH) {
            state = self
                .wake
                .wait_timeout(state, GATHER)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.urgent = false;
        state.count_refusals(now().seconds());
        let (records, upto) = (std::mem::take(&mut state.waiting), Ticket(state.next));
        state.bytes = 0;
        match (state.stopping, records.is_empty()) {
            (true, _) => Work::Stop { records, upto },
            (false, false) => Work::Write { records, upto },
            (false, true) => Work::Tick,
        }
    }

    /// For the writer: everything up to `ticket` is durable, `freed` requests have ended.
    pub(crate) fn written(&self, ticket: Ticket, head: Head, freed: usize) {
        self.release(freed);
        self.back();
        self.progress.send_replace(Progress {
            ticket,
            head,
            over: None,
            away: None,
        });
    }

    /// For the writer: more is durable, and nobody had queued it.
    pub(crate) fn moved(&self, head: Head) {
        self.progress.send_modify(|progress| progress.head = head);
    }

    /// For the writer: whether there will be room for what comes.
    pub(crate) fn room(&self, room: Result<(), StoreFault>) {
        let mut state = self.lock();
        if !matches!(state.refuses, Some(StoreFault::Closed | StoreFault::Failed(_))) {
            state.refuses = room.err();
        }
    }

    /// For the writer: the disk does not answer. Whoever waits for it is told so now, and no more slots are given out.
    pub(crate) fn away(&self, fault: &StoreFault) {
        let mut state = self.lock();
        if !matches!(state.refuses, Some(StoreFault::Closed | StoreFault::Failed(_))) {
            state.refuses = Some(fault.clone());
        }
        drop(state);
        self.progress
            .send_modify(|progress| progress.away = Some(fault.clone()));
    }

    /// For the writer: the disk answers again.
    pub(crate) fn back(&self) {
        let mut state = self.lock();
        if matches!(state.refuses, Some(StoreFault::Away(_))) {
            state.refuses = state.stopping.then_some(StoreFault::Closed);
        }
        drop(state);
        let known = |progress: &mut Progress| progress.away.take().is_some();
        self.progress.send_if_modified(known);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.lock().stopping
    }

    /// For the writer: nothing more will be written.
    pub(crate) fn over(&self, fault: StoreFault) {
        let mut state = self.lock();
        state.refuses = Some(fault.clone());
        (state.waiting, state.bytes) = (Vec::new(), 0);
        drop(state);
        self.progress.send_modify(|progress| progress.over = Some(fault));
    }

    fn urge(&self) {
        let mut state = self.lock();
        if !state.urgent {
            state.urgent = true;
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Turns the counts of seconds that are over into a record; all of them at the end.
    fn count_refusals(&mut self, second: i64) {
        let over = |counted: &RefusedIn| self.stopping || counted.second < second;
        let (over, current) = std::mem::take(&mut self.refusals.counted).into_iter().partition(over);
        self.refusals.counted = current;
        if Vec::is_empty(&over) {
            return;
        }
        let record = Record::Refusals(mantlet_core::record::Refusals { counted: over });
        if let Some(pending) = Pending::new(&record, None, None, false) {
            self.next += 1;
            self.waiting.push(pending);
        }
    }
}

impl Refusals {
    fn in_full(&mut self, unnamed: Unnamed<'_>, second: i64) -> bool {
        if self.second != second {
            (self.second, self.in_full) = (second, 0);
        }
        if self.hour != second.div_euclid(3600) {
            (self.hour, self.bytes) = (second.div_euclid(3600), 0);
        }
        let (source, who) = match unnamed {
            Unnamed::Stranger { source } => (source, ""),
            Unnamed::OverQuota { source, who } => (source, who),
        };
        if who.is_empty() && self.in_full < REFUSALS_IN_FULL && self.bytes < self.bytes_max {
            self.in_full += 1;
            return true;
        }
        self.count(second, source, who);
        false
    }

    fn count(&mut self, second: i64, source: &str, who: &str) {
        let told_apart = self.counted.iter().filter(|counted| counted.second == second).count();
        let same = |counted: &&mut RefusedIn, source: &str, who: &str| {
            counted.second == second && counted.source == source && counted.who == who
        };
        if let Some(known) = self.counted.iter_mut().find(|counted| same(counted, source, who)) {
            known.count += 1;
            return;
        }
        let (source, who) = if told_apart < SOURCES { (source, who) } else { ("", "") };
        match self.counted.iter_mut().find(|counted| same(counted, source, who)) {
            Some(others) => others.count += 1,
            None => self.counted.push(RefusedIn {
                second,
                source: source.to_owned(),
                who: who.to_owned(),
                count: 1,
            }),
        }
    }
}
