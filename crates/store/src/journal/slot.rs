//! Room in the journal for one request. Whatever becomes of the request, its slot leaves exactly one event.

use std::sync::Arc;

use mantlet_core::mask::Masked;
use mantlet_core::record::{AuditId, Closed, Cluster, LookedUp, Opened, Outcome, Record};
use mantlet_core::time::Clock;

use super::queue::{Pending, Queue, Ticket, Unnamed};
use crate::StoreFault;
use crate::quotas::Who;

/// Room for the opening and the close of one request; made by `Journal::slot` before anything else of the request can fail.
///
/// Dropped without a close, it closes as `Abandoned`.
///
/// Only masked records come in:
///
/// ```
/// use mantlet_core::mask::Masked;
/// use mantlet_core::record::Opened;
/// fn write(mut slot: mantlet_store::Slot, opened: Masked<Opened>) {
///     slot.open(opened);
/// }
/// ```
///
/// ```compile_fail,E0308
/// use mantlet_core::mask::Masked;
/// use mantlet_core::record::Opened;
/// fn write(mut slot: mantlet_store::Slot, opened: Opened) {
///     slot.open(opened);
/// }
/// ```
#[derive(Debug)]
#[must_use = "a slot that is dropped records the request as abandoned"]
pub struct Slot {
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    id: AuditId,
    opening: Opening,
    lookups: Vec<LookedUp>,
    /// Whose share of the journal it takes from; none before there is a caller.
    who: Option<Who>,
    /// The user name, where that share is filled.
    over_quota: Option<String>,
}

/// What a frame and a line hold beside their record.
const ENVELOPE: u64 = 400;

#[derive(Debug)]
enum Opening {
    /// Nothing is known of the request.
    Blank,
    /// It has no caller (yet): written with its close, or counted with its like.
    Held(Box<Masked<Opened>>),
    Queued {
        ticket: Ticket,
        cluster: Option<Cluster>,
        epoch: Option<u64>,
    },
    Closed,
}

impl Slot {
    /// Takes over one reservation of the queue.
    pub(super) fn reserved(queue: Arc<Queue>, clock: Arc<dyn Clock>, id: AuditId) -> Self {
        Self {
            queue,
            clock,
            id,
            opening: Opening::Blank,
            lookups: Vec::new(),
            who: None,
            over_quota: None,
        }
    }

    pub fn id(&self) -> &AuditId {
        &self.id
    }

    /// Notes a look-up on behalf of this request and names it. `kind` is a word such as `dryRun`.
    pub fn look_up(&mut self, kind: &'static str) -> AuditId {
        let id = self.id.lookup(self.lookups.len() + 1);
        self.lookups.push(LookedUp {
            audit_id: id.as_str().to_owned(),
            kind: kind.to_owned(),
            code: None,
        });
        id
    }

    /// Notes the HTTP status with which a look-up was answered.
    pub fn looked_up(&mut self, id: &AuditId, code: u16) {
        if let Some(lookup) = self.lookups.iter_mut().find(|lookup| lookup.audit_id == id.as_str()) {
            lookup.code = Some(code);
        }
    }

    /// From whose share of the journal everything of this request is taken.
    pub fn belongs_to(&mut self, issuer: &str, subject: &str) {
        self.who = Some(Who::new(issuer, subject));
    }

    /// Takes so many bytes, written elsewhere, from the share of the request's identity.
    pub fn charge(&self, bytes: u64) {
        match &self.who {
            Some(who) => self.queue.quotas().charge(who, bytes, self.clock.now()),
            None => self.queue.filled(bytes),
        }
    }

    /// The share of `username` is filled: of this request no more than that it was is written.
    pub fn over_quota(&mut self, username: &str) {
        self.over_quota = Some(username.to_owned());
    }

    /// Queues the opening record, once; later ones are ignored. One without a caller waits for the close.
    pub fn open(&mut self, opened: Masked<Opened>) {
        if !matches!(self.opening, Opening::Blank | Opening::Held(_)) {
            debug_assert!(false, "a request is opened once");
            return;
        }
        debug_assert_eq!(opened.audit_id, self.id.as_str());
        if let Some(caller) = &opened.caller {
            self.belongs_to(&caller.issuer, &caller.subject);
        }
        self.opening = Opening::Held(Box::new(opened));
        if let Opening::Held(opened) = &self.opening
            && opened.caller.is_some()
        {
            self.queue_opening();
        }
    }

    /// Returns once the opening is on disk. An error means that it may never be: nothing may be forwarded.
    ///
    /// # Cancel safety
    /// Cancel safe: the record is written all the same, and waiting can begin anew.
    pub async fn durable(&mut self) -> Result<(), StoreFault> {
        match self.queue_opening() {
            Some(ticket) => self.queue.durable(ticket).await,
            None => Err(StoreFault::Closed),
        }
    }

    /// Never fails, never blocks: there is room. The record is durable within milliseconds.
    pub fn close(mut self, closed: Masked<Closed>) {
        self.end(closed);
    }

    fn queue_opening(&mut self) -> Option<Ticket> {
        match std::mem::replace(&mut self.opening, Opening::Closed) {
            Opening::Blank => self.push_opening(Opened::blank(&self.id, self.clock.now())),
            Opening::Held(opened) => self.push_opening(*opened),
            queued @ Opening::Queued { ticket, .. } => {
                self.opening = queued;
                Some(ticket)
            }
            Opening::Closed => None,
        }
    }

    fn push_opening(&mut self, opened: Masked<Opened>) -> Option<Ticket> {
        let opened = opened.with_lookups(self.lookups.clone()).into_inner();
        let (cluster, epoch) = (opened.cluster().cloned(), opened.epoch());
        let pending = Pending::new(&Record::Opened(opened), cluster.clone(), epoch, false)?;
        self.charge(pending.record.get().len() as u64 + ENVELOPE);
        let ticket = self.queue.push(pending);
        self.opening = Opening::Queued { ticket, cluster, epoch };
        Some(ticket)
    }

    fn end(&mut self, closed: Masked<Closed>) {
        // What reached the cluster has an event, whoever asked for it.
        let unnamed = matches!(self.opening, Opening::Blank | Opening::Held(_)) && self.lookups.is_empty();
        if unnamed && !self.in_full() {
            self.opening = Opening::Closed;
            return;
        }
        self.queue_opening();
        if let Opening::Queued { cluster, epoch, .. } = std::mem::replace(&mut self.opening, Opening::Closed) {
            let lookups = std::mem::take(&mut self.lookups);
            let closed = Record::Closed(closed.with_lookups(lookups).into_inner());
            if let Some(pending) = Pending::new(&closed, cluster, epoch, true) {
                self.charge(pending.record.get().len() as u64 + ENVELOPE);
                self.queue.push(pending);
            }
        }
    }
}

impl Slot {
    /// Whether it has records of its own although it has no caller.
    fn in_full(&self) -> bool {
        let source = match &self.opening {
            Opening::Held(opened) => opened.source_ips.first().map_or("", String::as_str),
            Opening::Blank | Opening::Queued { .. } | Opening::Closed => "",
        };
        let unnamed = match &self.over_quota {
            Some(who) => Unnamed::OverQuota { source, who },
            None => Unnamed::Stranger { source },
        };
        self.queue.in_full(unnamed, self.clock.now())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !matches!(self.opening, Opening::Closed) {
            self.end(Closed::new(&self.id, self.clock.now(), Outcome::Abandoned, 0));
        }
    }
}
