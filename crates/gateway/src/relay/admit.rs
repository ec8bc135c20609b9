//! In: a [`Permit`] and the request's [`Entry`]. Out: a [`Pass`]: judged, written down, and, for what changes the cluster, on disk.
//! Refuses: when the journal does, whom an operator has stopped since the session was found (a body can take its time to arrive), and what the
//! agent has no room left for in its budgets: the permit's charges are reserved last, all in one transaction, and given back if nothing happened.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use mantlet_core::action::{Action, Answer, Effect, Verb};
use mantlet_core::identity::{ActAs, Caller};
use mantlet_core::law::{ClusterRef, Denial, Permit, Terms};
use mantlet_core::record::body::LeftOut;
use mantlet_core::record::stored::{Judged, Stored};
use mantlet_core::record::{AuditId, Outcome};
use mantlet_core::time::{Clock, Timestamp};
use mantlet_core::wire::outgoing::{Outgoing, outgoing};
use mantlet_store::{Ending, Holder, Reserved, SessionId, Stop};
use tokio::sync::OwnedSemaphorePermit;

use super::refuse::Refusal;
use crate::entry::Entry;
use crate::law::LawBook;
use crate::stream::cut::Cut;
use crate::telemetry::BudgetMeter;

/// Leave to carry out one action, and the open line in the journal that says so. Made by [`admit`] only; lives as long as the answer does.
#[must_use = "a pass nobody used is a request nobody carried out"]
#[derive(Debug)]
pub struct Pass {
    permit: Permit,
    entry: Entry,
    session: SessionId,
    headers: Vec<(HeaderName, HeaderValue)>,
    basis: Basis,
    /// Whether room was taken that nobody has settled.
    reserved: bool,
    code: u16,
    reason: String,
}

/// What a stream has to go on being allowed by.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) law: LawBook,
    pub(crate) cluster: ClusterRef,
    pub(crate) meter: BudgetMeter,
}

/// A refusal that can still be written down.
#[derive(Debug)]
pub struct Refused {
    pub(crate) entry: Entry,
    pub(crate) why: Refusal,
}

/// Stores what of the request is too large for the journal, makes the entry durable, reserves what is used up, then hands out the pass.
///
/// # Cancel safety
/// Nothing was sent; dropping it closes the entry as abandoned. A reservation may stay until its window has passed.
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
    let reserved = match reserve(&permit, &entry, &basis).await {
        Ok(reserved) => reserved,
        Err(why) => return Err(Refused { entry, why }),
    };
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
        reserved,
        code: 0,
        reason: String::new(),
    })
}

/// Takes room for everything that the permit would use up, or for nothing. Whether any was taken.
async fn reserve(permit: &Permit, entry: &Entry, basis: &Basis) -> Result<bool, Refusal> {
    let charges = permit.charges().as_slice();
    let Some(holder) = holder(permit, basis).filter(|_| !charges.is_empty()) else {
        return Ok(false);
    };
    match entry.store().budgets.reserve(holder, entry.id(), charges).await {
        Ok(Reserved::Yes) => {
            charges.iter().for_each(|charge| basis.meter.reserved(charge.budget));
            Ok(true)
        }
        Ok(Reserved::Over(budget)) => Err(Refusal::NotApproved(permit.outrun(budget))),
        Err(fault) => Err(Refusal::NotRecorded(fault.to_string())),
    }
}

/// Whose budget it is. People have none.
fn holder<'a>(permit: &'a Permit, basis: &'a Basis) -> Option<Holder<'a>> {
    let agent = permit.caller().agent()?;
    Some(Holder {
        agent: agent.name(),
        cluster: &basis.cluster.uid,
    })
}

/// Whether a refusal of the API server proves that nothing happened. A deletecollection deletes one by one, and stops where it fails.
fn ending(action: &Action, code: u16) -> Ending {
    match (action.verb(), code) {
        (Verb::DeleteCollection, _) => Ending::Kept,
        (_, 400..=499) => Ending::GivenBack,
        (_, _) => Ending::Kept,
    }
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

    pub(crate) fn terms(&self) -> &Terms {
        self.permit.terms()
    }

    /// The object that was judged.
    pub(crate) fn judged(&self) -> Option<Judged<'_>> {
        self.permit.judged()
    }

    /// What the answer shows of what the write left behind.
    pub(crate) fn stores(&mut self, stored: Stored) {
        self.entry.stores(stored);
    }

    /// What has to be judged again, and where.
    pub(crate) fn again(&self) -> (Arc<Caller>, Arc<Action>, ClusterRef) {
        let (caller, action) = (self.permit.caller(), self.permit.action());
        (Arc::clone(caller), Arc::clone(action), self.basis.cluster.clone())
    }

    pub(crate) fn entry_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }

    /// Nothing was carried out: the permit is void, and what it stood on can have another.
    pub(crate) fn withdraw(self) -> (Entry, Vec<(HeaderName, HeaderValue)>, Basis) {
        (self.entry, self.headers, self.basis)
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
        let Basis { law, cluster, meter: _ } = &self.basis;
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

    /// The cluster answered with this code. What was reserved is settled before the caller hears of it.
    ///
    /// # Cancel safety
    /// Dropped, a reservation stays until its window has passed.
    pub(crate) async fn answered(&mut self, code: u16) {
        self.code = code;
        self.settle(ending(self.action(), code)).await;
    }

    /// A reservation that cannot be settled stays: it is counted as what may have happened.
    pub(crate) async fn settle(&mut self, ending: Ending) {
        let Some(holder) = holder(&self.permit, &self.basis).filter(|_| self.reserved) else {
            return;
        };
        self.reserved = false;
        match self.entry.store().budgets.settle(holder, self.entry.id(), ending).await {
            Ok(()) if ending == Ending::GivenBack => {
                let charges = self.permit.charges().as_slice().iter();
                charges.for_each(|charge| self.basis.meter.given_back(charge.budget));
            }
            Ok(()) => {}
            Err(fault) => tracing::warn!(audit_id = %self.entry.id(), %fault, "reservation not settled"),
        }
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
