//! In: a [`Permit`] and the request's [`Entry`]. Out: a [`Pass`]: judged, written down, and, for what changes the cluster, on disk.
//! Refuses: when the journal does, and whom an operator has stopped since the session was found: a body can take its time to arrive.
//! Later issues settle the charges of the permit here.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use mantlet_core::action::{Action, Answer, Effect};
use mantlet_core::identity::{ActAs, Caller};
use mantlet_core::law::{ClusterRef, Denial, Permit};
use mantlet_core::record::body::LeftOut;
use mantlet_core::record::{AuditId, Outcome};
use mantlet_core::time::{Clock, Timestamp};
use mantlet_core::wire::outgoing::{Outgoing, outgoing};
use mantlet_store::{SessionId, Stop};
use tokio::sync::OwnedSemaphorePermit;

use super::refuse::Refusal;
use crate::entry::Entry;
use crate::law::LawBook;
use crate::stream::cut::Cut;

/// Leave to carry out one action, and the open line in the journal that says so. Made by [`admit`] only; lives as long as the answer does.
#[must_use = "a pass nobody used is a request nobody carried out"]
#[derive(Debug)]
pub struct Pass {
    permit: Permit,
    entry: Entry,
    session: SessionId,
    headers: Vec<(HeaderName, HeaderValue)>,
    basis: Basis,
    code: u16,
    reason: String,
}

/// What a stream has to go on being allowed by.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) law: LawBook,
    pub(crate) cluster: ClusterRef,
}

/// A refusal that can still be written down.
#[derive(Debug)]
pub struct Refused {
    pub(crate) entry: Entry,
    pub(crate) why: Refusal,
}

/// Stores what of the request is too large for the journal, makes the entry durable, then hands out the pass.
///
/// # Cancel safety
/// Nothing was sent; dropping it closes the entry as abandoned.
// INVARIANT: a change is on disk before it is forwarded. A read's entry follows within 5 ms.
pub(crate) async fn admit(
    permit: Permit,
    mut entry: Entry,
    headers: Vec<(HeaderName, HeaderValue)>,
    basis: Basis,
) -> Result<Pass, Refused> {
    if let Some(stop) = entry.session().and_then(SessionId::stop) {
        let why = entry.denied(stopped(stop, &permit, &entry), permit.epoch().number());
        return Err(Refused { entry, why });
    }
    let kept = match entry.storable(permit.action()) {
        Ok(()) => entry.keep_request().await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = kept {
        return Err(Refused {
            entry,
            why: Refusal::NotRecorded(fault.to_string()),
        });
    }
    entry.open();
    if let Effect::Changes = permit.action().effect()
        && let Err(why) = entry.durable().await
    {
        return Err(Refused {
            entry,
            why: Refusal::NotRecorded(why),
        });
    }
    let Some(session) = entry.session().cloned() else {
        return Err(Refused {
            entry,
            why: Refusal::Fault,
        });
    };
    Ok(Pass {
        permit,
        entry,
        session,
        headers,
        basis,
        code: 0,
        reason: String::new(),
    })
}

fn stopped(stop: Stop, permit: &Permit, entry: &Entry) -> Denial {
    match stop {
        Stop::Suspended => Denial::suspended(permit.caller().agent().map_or("", |agent| agent.name())),
        Stop::Ended => Denial::session_ended(entry.session().map_or("", SessionId::as_str)),
    }
}

impl Pass {
    pub(crate) fn action(&self) -> &Action {
        self.permit.action()
    }

    pub(crate) fn caller(&self) -> &Caller {
        self.permit.caller()
    }

    pub(crate) fn shared_caller(&self) -> &Arc<Caller> {
        self.permit.caller()
    }

    pub(crate) fn audit_id(&self) -> &AuditId {
        self.entry.id()
    }

    pub(crate) fn session(&self) -> &str {
        self.session.as_str()
    }

    pub(crate) fn session_ends(&self) -> Timestamp {
        self.session.ends()
    }

    /// Resolves once a law is in force that would not let this begin.
    pub(crate) async fn overruled(&self, clock: &dyn Clock) {
        let Basis { law, cluster } = &self.basis;
        law.overrules(&self.permit, cluster, || clock.now()).await;
    }

    /// Resolves when the cluster that issued the token takes it back.
    pub(crate) async fn disowned(&self) {
        self.entry.disowned().await;
    }

    /// Resolves when an operator stops the session or its agent.
    pub(crate) async fn stopped(&self) -> Stop {
        self.session.stopped().await
    }

    pub(crate) fn warnings(&self) -> &[String] {
        self.entry.warnings()
    }

    pub(crate) fn acts_as(&self) -> ActAs {
        self.permit.acts_as()
    }

    pub(crate) fn client_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    pub(crate) fn outgoing(&self) -> Outgoing {
        outgoing(self.action(), self.permit.terms())
    }

    /// The cluster answered with this code.
    pub(crate) fn answered(&mut self, code: u16) {
        self.code = code;
    }

    /// The reason of the `Status` that it answered with.
    pub(crate) fn because(&mut self, reason: &str) {
        reason.clone_into(&mut self.reason);
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        self.entry.sent(bytes);
    }

    pub(crate) fn keeps_answer(&self) -> bool {
        self.entry.keeps_answer(self.action())
    }

    /// Leave to gather a large answer for the record.
    pub(crate) fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.entry.store().bodies.room()
    }

    /// Puts the whole answer into the record, if it wants it.
    pub(crate) async fn keep_answer(&mut self, bytes: &[u8]) {
        if self.keeps_answer() {
            let secret = matches!(self.action().answer(), Answer::Masked { secret: true });
            self.entry.keep_answer(bytes, secret).await;
        }
    }

    pub(crate) fn leave_out_answer(&mut self, why: LeftOut) {
        self.entry.leave_out_answer(why);
    }

    pub(crate) fn close(self) {
        self.entry.close(Outcome::Answered {
            code: self.code,
            reason: self.reason,
        });
    }

    /// The client left before the end of the answer.
    pub(crate) fn abandon(self) {
        self.entry.close(Outcome::Abandoned);
    }

    pub(crate) fn cut(self, cut: Cut) {
        self.entry.close(Outcome::Cut {
            code: self.code,
            why: cut.as_str().to_owned(),
        });
    }

    pub(crate) fn refuse(self, why: Refusal) -> Refused {
        Refused { entry: self.entry, why }
    }
}
