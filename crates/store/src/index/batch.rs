//! Records of a stretch of the journal, put together into the rows that they make or change.

use std::collections::{BTreeMap, HashMap};

use mantlet_api::audit::Event;
use mantlet_core::record::{
    AgentSuspended, Closed, Cluster, Decision, Line, Opened, Outcome, Record, RefusedIn, SessionEnd, SessionStarted,
};
use mantlet_core::time::Timestamp;

use super::event::{self, Ended};

/// In the order in which the rows were first touched.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<EventRow>,
    by_id: HashMap<String, usize>,
    pub(super) sessions: BTreeMap<String, SessionChange>,
    pub(super) suspended: Vec<AgentSuspended>,
    pub(super) refusals: Vec<RefusedIn>,
}

/// One row of `events`, new or known.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) event: Event,
    pub(super) session: Option<String>,
    pub(super) owner: Option<(String, String)>,
    pub(super) cluster: Option<String>,
    pub(super) decision: Option<&'static str>,
    pub(super) opened: Timestamp,
    pub(super) closed: Option<Timestamp>,
    pub(super) state: RowState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowState {
    New,
    Stored,
}

#[derive(Debug, Default)]
pub(super) struct SessionChange {
    pub(super) started: Option<(SessionStarted, Cluster)>,
    pub(super) requests: i64,
    pub(super) refused: i64,
    pub(super) last_seen: Option<Timestamp>,
    pub(super) ended: Option<(Timestamp, SessionEnd)>,
}

impl Batch {
    /// Whose openings lie before this stretch: they have to be fetched before `add` gets to see the closes.
    pub(super) fn missing(lines: &[Line]) -> Vec<&str> {
        let mut here = std::collections::HashSet::new();
        let mut missing = Vec::new();
        for line in lines {
            match &line.record {
                Record::Opened(opened) => {
                    here.insert(opened.audit_id.as_str());
                }
                Record::Closed(closed) if !here.contains(closed.audit_id.as_str()) => {
                    missing.push(closed.audit_id.as_str())
                }
                Record::Closed(_)
                | Record::SessionStarted(_)
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
        missing
    }

    /// A row that is in the database already.
    pub(super) fn know(&mut self, row: EventRow) {
        self.by_id.insert(row.event.audit_id.clone(), self.events.len());
        self.events.push(row);
    }

    pub(super) fn add(&mut self, line: Line) {
        let cluster = line.cluster;
        match line.record {
            Record::Opened(opened) => self.open(&opened, cluster.as_ref(), line.epoch),
            Record::Closed(closed) => self.close(&closed, cluster.as_ref(), line.epoch),
            Record::SessionStarted(started) => self.start(started, cluster),
            Record::SessionEnded(ended) => self.session(ended.session).ended = Some((ended.at, ended.why)),
            Record::AgentSuspended(suspended) => self.suspended.push(suspended),
            Record::Refusals(refusals) => self.refusals.extend(refusals.counted),
            Record::Checkpoint(_)
            | Record::SignedCheckpoint(_)
            | Record::Pruned(_)
            | Record::Anchored(_)
            | Record::Truncated(_)
            | Record::Stopped => {}
        }
    }

    fn open(&mut self, opened: &Opened, cluster: Option<&Cluster>, epoch: Option<u64>) {
        if self.by_id.contains_key(&opened.audit_id) {
            return tracing::error!(id = opened.audit_id, "journal opens a request twice");
        }
        if let Some(session) = &opened.session {
            let change = self.session(session.clone());
            change.requests += 1;
            change.see(opened.at);
        }
        self.know(EventRow {
            event: event::opened(opened, cluster, epoch),
            session: opened.session.clone(),
            owner: opened
                .caller
                .as_ref()
                .map(|caller| (caller.issuer.clone(), caller.subject.clone())),
            cluster: cluster.map(|cluster| cluster.name.clone()),
            decision: opened.verdict.as_ref().map(|verdict| decision(verdict.decision)),
            opened: opened.at,
            closed: None,
            state: RowState::New,
        });
    }

    fn close(&mut self, closed: &Closed, cluster: Option<&Cluster>, epoch: Option<u64>) {
        let Some(&index) = self.by_id.get(&closed.audit_id) else {
            return self.know(EventRow {
                event: event::bare(closed, cluster, epoch),
                session: None,
                owner: None,
                cluster: cluster.map(|cluster| cluster.name.clone()),
                decision: None,
                opened: closed.at,
                closed: Some(closed.at),
                state: RowState::New,
            });
        };
        let row = &mut self.events[index];
        if event::close(&mut row.event, closed) == Ended::Before {
            return tracing::error!(id = closed.audit_id, "journal closes a request twice");
        }
        row.closed = Some(closed.at);
        if let Some(session) = row.session.clone() {
            let change = self.session(session);
            change.refused += i64::from(matches!(closed.outcome, Outcome::Refused { .. }));
            // A close that a later start wrote is no sign of life.
            if closed.outcome != Outcome::Unknown {
                change.see(closed.at);
            }
        }
    }

    fn start(&mut self, started: SessionStarted, cluster: Option<Cluster>) {
        let cluster = cluster.unwrap_or(Cluster {
            name: String::new(),
            uid: String::new(),
        });
        let change = self.session(started.session.clone());
        change.started = Some((started, cluster));
    }

    fn session(&mut self, name: String) -> &mut SessionChange {
        self.sessions.entry(name).or_default()
    }
}

impl SessionChange {
    fn see(&mut self, at: Timestamp) {
        self.last_seen = self.last_seen.max(Some(at));
    }
}

fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Hold => "hold",
        Decision::Deny => "deny",
    }
}
