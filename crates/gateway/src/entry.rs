//! The line in the journal that a request has from its first moment to its last.
//!
//! An [`Entry`] is made before anything can fail; room for its close is reserved with it, so a close never fails and never waits. Whoever drops
//! it closes it as `Abandoned`: there is no way out of a request that leaves none.

use std::collections::BTreeMap;
use std::sync::Arc;

use mantlet_core::action::{Action, Target};
use mantlet_core::identity::Caller;
use mantlet_core::identity::Verified;
use mantlet_core::law::{Allowance, BudgetKind, Charge, ClusterRef, Denial, Judgment};
use mantlet_core::mask::{Masked, text};
use mantlet_core::record::body::{self, LeftOut, Weighed};
use mantlet_core::record::{AuditId, Body, Closed, ObjectRef, Opened, Outcome, Parts, Recording, Stored, Verdict};
use mantlet_core::time::Clock;
use mantlet_store::{Holder, OverQuota, SessionId, Slot, Store, StoreFault};

use crate::arrive::Ask;
use crate::arrive::accept::UnderWay;
use crate::arrive::limit::Place;
use crate::arrive::review::Standing;
use crate::relay::refuse::Refusal;

/// One request's line, still open.
#[derive(Debug)]
pub struct Entry {
    /// None once closed.
    slot: Option<Slot>,
    id: AuditId,
    /// None once written.
    known: Option<Parts>,
    /// What the recording policy says; none before it was asked.
    recording: Option<Recording>,
    /// What was submitted, until it is written.
    request: Option<Weighed>,
    response: Option<Masked<Body>>,
    /// Of a judgment after the opening was written.
    again: Option<Verdict>,
    /// What a write left behind.
    stored: Option<Stored>,
    store: Arc<Store>,
    session: Option<SessionId>,
    warnings: Vec<String>,
    /// Whose denials are counted, on which cluster, and how.
    counted: Option<Counted>,
    clock: Arc<dyn Clock>,
    bytes: u64,
    /// Of an agent's limits; given back with the entry.
    place: Option<Place>,
    /// Of a token that its cluster can take back.
    standing: Option<Arc<Standing>>,
    /// The connection that it came on is kept as long as this is.
    _under_way: UnderWay,
}

#[derive(Debug)]
struct Counted {
    agent: String,
    cluster: String,
    limit: Allowance,
}

impl Entry {
    /// Does not wait: where the journal has no room, the request is refused.
    pub(crate) fn begin(store: &Arc<Store>, ask: &Ask, clock: &Arc<dyn Clock>) -> Result<Self, Refusal> {
        let slot = store
            .journal
            .slot()
            .map_err(|fault| Refusal::NotRecorded(fault.to_string()))?;
        let user_agent = ask.user_agent();
        Ok(Self {
            id: slot.id().clone(),
            slot: Some(slot),
            known: Some(Parts {
                at: clock.now(),
                uri: text(&ask.uri()),
                user_agent: (!user_agent.is_empty()).then(|| text(user_agent)),
                source_ips: vec![ask.peer.ip().to_string()],
                cluster: None,
                epoch: None,
                session: None,
                caller: None,
                method: method(&ask.parts.method),
                verb: None,
                object_ref: None,
                verdict: None,
                not_judged: Vec::new(),
            }),
            recording: None,
            request: None,
            response: None,
            again: None,
            stored: None,
            store: store.clone(),
            session: None,
            warnings: Vec::new(),
            counted: None,
            clock: clock.clone(),
            bytes: 0,
            place: None,
            standing: None,
            _under_way: ask.under_way.clone(),
        })
    }

    pub(crate) fn id(&self) -> &AuditId {
        &self.id
    }

    /// The verified name, as far as it is known.
    pub(crate) fn who(&self) -> &str {
        self.known
            .as_ref()
            .and_then(|known| known.caller.as_ref())
            .map_or("", |caller| caller.username.as_str())
    }

    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// What the law wants the caller to read beside the answer.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The cluster that it is for.
    pub(crate) fn goes_to(&mut self, cluster: &ClusterRef) {
        if let Some(known) = &mut self.known {
            known.cluster = Some(cluster.into());
        }
    }

    pub(crate) fn called_by(&mut self, caller: &Caller, session: SessionId) {
        if let Some(known) = &mut self.known {
            known.caller = Some(caller.into());
            known.session = Some(session.as_str().to_owned());
        }
        let verified = caller.verified();
        if let Some(slot) = &mut self.slot {
            slot.belongs_to(verified.issuer(), verified.subject());
        }
        self.session = Some(session);
    }

    /// The law knows the caller, who has no session yet.
    pub(crate) fn recognized(&mut self, caller: &Caller, denials: Option<Allowance>) {
        if let Some(known) = &mut self.known {
            known.caller = Some(caller.into());
        }
        if let Some(agent) = caller.agent()
            && let Some(limit) = denials
            && let Some(cluster) = self.known.as_ref().and_then(|known| known.cluster.as_ref())
        {
            self.counted = Some(Counted {
                agent: agent.name().to_owned(),
                cluster: cluster.uid.clone(),
                limit,
            });
        }
    }

    /// The law said no, which is counted where the agent has a budget of that.
    ///
    /// # Cancel safety
    /// Dropped, it is counted or not.
    pub(crate) async fn note_denial(&self) -> Result<(), StoreFault> {
        let Some(Counted { agent, cluster, limit }) = &self.counted else {
            return Ok(());
        };
        let key = self.id.as_str().to_owned();
        let charge = Charge {
            budget: BudgetKind::Denials,
            keys: BTreeMap::from([(key.clone(), key)]),
            limit: *limit,
        };
        self.store
            .budgets
            .note(Holder { agent, cluster }, &self.id, &charge)
            .await
    }

    pub(crate) fn stands_on(&mut self, standing: Option<Arc<Standing>>) {
        self.standing = standing;
    }

    /// Resolves when the cluster takes back the token that this came with; never for tokens of others.
    pub(crate) async fn disowned(&self) {
        match &self.standing {
            Some(standing) => standing.disowned().await,
            None => std::future::pending().await,
        }
    }

    /// Room of the agent that lasts as long as this.
    pub(crate) fn holds(&mut self, place: Place) {
        self.place = Some(place);
    }

    pub(crate) fn place(&mut self) -> Option<Place> {
        self.place.take()
    }

    /// Whoever the caller is, the request goes no further.
    pub(crate) fn denied(&mut self, denial: Denial, epoch: u64) -> Refusal {
        if let Some(known) = &mut self.known {
            known.epoch = Some(epoch);
            known.verdict = Some((&denial).into());
        } else {
            self.again = Some((&denial).into());
        }
        Refusal::NotAllowed(denial)
    }

    /// This identity's share of the journal is filled: that it was refused is all that is written.
    pub(crate) fn over_quota(&mut self, verified: &Verified, over: OverQuota) -> Refusal {
        if let Some(slot) = &mut self.slot {
            slot.over_quota(verified.username());
        }
        Refusal::OverQuota(over)
    }

    /// A token was verified, though the law knows nobody by it.
    pub(crate) fn signed_in(&mut self, verified: &Verified) {
        if let Some(known) = &mut self.known {
            known.caller = Some(verified.into());
        }
    }

    pub(crate) fn asks_for(&mut self, action: &Action) {
        if let Some(known) = &mut self.known {
            known.verb = Some(match action.target() {
                Target::Resource(_) => action.verb().as_str(),
                // RequestInfo: of what is no resource, the verb is the method in lower case.
                Target::Path(_) => "get",
            });
            known.object_ref = match action.target() {
                Target::Resource(resource) => Some(named(resource.into(), action)),
                Target::Path(_) => None,
            };
        }
    }

    /// How much of it is written down, and what of the body that is.
    pub(crate) fn recorded_as(&mut self, recording: Recording, action: &Action) {
        self.request = body::of_request(action, &recording);
        self.recording = Some(recording);
    }

    /// Whether the record wants the answer. Not the virtual API's: it is made of the record.
    pub(crate) fn keeps_answer(&self, action: &Action) -> bool {
        !mantlet_desk::serves(action)
            && self
                .recording
                .as_ref()
                .is_some_and(|recording| body::keeps_answer(action, recording))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The same, for whoever cannot keep the entry meanwhile.
    pub(crate) fn memory(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// Empty before it is known.
    pub(crate) fn cluster_uid(&self) -> String {
        let cluster = self.known.as_ref().and_then(|known| known.cluster.as_ref());
        cluster.map(|cluster| cluster.uid.clone()).unwrap_or_default()
    }

    /// Whether what the record will hold of this can be stored at all.
    pub(crate) fn storable(&self, action: &Action) -> Result<(), StoreFault> {
        match matches!(self.request, Some(Weighed::Heavy(_))) || self.keeps_answer(action) {
            true => self.store.bodies.health(),
            false => Ok(()),
        }
    }

    /// Stores a large request, so that the opening can name it.
    ///
    /// # Cancel safety
    /// Dropped, the record says that the body is not there.
    pub(crate) async fn keep_request(&mut self) -> Result<(), StoreFault> {
        let request = self.request.take();
        let Some(Weighed::Heavy(text)) = request else {
            self.request = request;
            return Ok(());
        };
        self.request = Some(Weighed::Light(Body::left_out(LeftOut::Ended)));
        let (body, done) = match self.store.bodies.put(text).await {
            Ok((body, written)) => {
                self.charge(written);
                (body, Ok(()))
            }
            Err(fault) => (Body::left_out(LeftOut::NotStored), Err(fault)),
        };
        self.request = Some(Weighed::Light(body));
        done
    }

    /// Keeps the answer as the recording policy wants it. What cannot be stored is said to be missing: the cluster has answered already.
    ///
    /// # Cancel safety
    /// As [`Entry::keep_request`].
    pub(crate) async fn keep_answer(&mut self, bytes: &[u8], secret: bool) {
        let Some(recording) = &self.recording else { return };
        self.response = Some(Body::left_out(LeftOut::Ended));
        let body = match body::of_answer(bytes, secret, recording) {
            Weighed::Light(body) => body,
            Weighed::Heavy(text) => match self.store.bodies.put(text).await {
                Ok((body, written)) => {
                    self.charge(written);
                    body
                }
                Err(_) => Body::left_out(LeftOut::NotStored),
            },
        };
        self.response = Some(body);
    }

    pub(crate) fn leave_out_answer(&mut self, why: LeftOut) {
        self.response = Some(Body::left_out(why));
    }

    fn charge(&self, bytes: u64) {
        if let Some(slot) = &self.slot {
            slot.charge(bytes);
        }
    }

    pub(crate) fn judged(&mut self, judgment: &Judgment, epoch: u64) {
        self.warnings = judgment.warnings.clone();
        if let Some(known) = &mut self.known {
            known.epoch = Some(epoch);
            known.verdict = Some(judgment.into());
            known.not_judged = judgment.not_judged.clone();
        } else {
            self.again = Some(judgment.into());
        }
    }

    /// What the answer to a write shows of what it left behind.
    pub(crate) fn stores(&mut self, stored: Stored) {
        self.stored = Some(stored);
    }

    /// Noted before it leaves: a look-up whose answer is lost is one all the same.
    pub(crate) fn looks_up(&mut self, kind: &'static str) -> Option<AuditId> {
        self.slot.as_mut().map(|slot| slot.look_up(kind))
    }

    pub(crate) fn found(&mut self, id: &AuditId, code: u16) {
        if let Some(slot) = &mut self.slot {
            slot.looked_up(id, code);
        }
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Queues the opening record.
    pub(crate) fn open(&mut self) {
        if let (Some(known), Some(slot)) = (self.known.take(), &mut self.slot) {
            let opened = Opened::new(&self.id, known);
            slot.open(match &self.recording {
                Some(recording) => opened.recorded(recording, self.request.take().map(ready)),
                None => opened,
            });
        }
    }

    /// Waits until the opening record is on disk.
    ///
    /// # Cancel safety
    /// The record is queued either way; only the waiting ends.
    pub(crate) async fn durable(&mut self) -> Result<(), String> {
        match &mut self.slot {
            Some(slot) => slot.durable().await.map_err(|fault| fault.to_string()),
            None => Err("the entry is closed".into()),
        }
    }

    pub(crate) fn close(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.open();
        if let Some(slot) = self.slot.take() {
            let closed = Closed::new(&self.id, self.clock.now(), outcome, self.bytes);
            let closed = closed.with_response(self.response.take());
            slot.close(closed.with_verdict(self.again.take()).with_stored(self.stored.take()));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.finish(Outcome::Abandoned);
    }
}

/// What the path leaves open (the name of what is created), the submitted object says: apiserver `pkg/audit/request.go`, LogRequestObject.
fn named(object: ObjectRef, action: &Action) -> ObjectRef {
    let metadata = action.submitted().and_then(|body| body.get("metadata"));
    let said = |field: &str, known: String| match metadata.and_then(|metadata| metadata.get(field)?.as_str()) {
        Some(text) if known.is_empty() => text.to_owned(),
        Some(_) | None => known,
    };
    ObjectRef {
        name: said("name", object.name),
        namespace: said("namespace", object.namespace),
        ..object
    }
}

/// What is too large and was not stored in time is not there.
fn ready(request: Weighed) -> Masked<Body> {
    match request {
        Weighed::Light(body) => body,
        Weighed::Heavy(_) => Body::left_out(LeftOut::Ended),
    }
}

/// Any other is refused before it means anything.
fn method(method: &http::Method) -> Option<&'static str> {
    ["GET", "POST", "PUT", "PATCH", "DELETE"]
        .into_iter()
        .find(|known| method.as_str() == *known)
}
