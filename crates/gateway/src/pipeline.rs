//! START HERE: the life of a request, from its head to its last byte.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response};
use mantlet_core::action::{Action, Sort, Unreadable, UnreadableStatus, Verb};
use mantlet_core::identity::{Caller, Verified};
use mantlet_core::law::{ClusterRef, Denial, Facts, Law, Permit, Step, Verdict};
use mantlet_core::mask::Masker;
use mantlet_core::record::Outcome;
use mantlet_core::time::Clock;
use mantlet_desk::Desk;
use mantlet_store::{NoSession, Store, StoreFault};

use crate::anchor::Anchoring;
use crate::arrive::accept::RawRequest;
use crate::arrive::authenticate::Authenticator;
use crate::arrive::framing::Fault;
use crate::arrive::limit::Limiter;
use crate::arrive::limits::{Limits, Place, Room};
use crate::arrive::{Ask, resolve};
use crate::decide::look_up;
use crate::entry::Entry;
use crate::export::Export;
use crate::law::LawBook;
use crate::recorder::Recorder;
use crate::relay::admit::{Basis, Refused, admit};
use crate::relay::refuse::Refusal;
use crate::relay::respond::{ReplyBody, respond};
use crate::relay::{amend, forward, mask};
use crate::tasks::Tasks;
use crate::telemetry::{Asked, Telemetry};
use crate::upstream::{Cluster, Unreached};

pub type Reply = Response<ReplyBody>;

/// Everything that a request meets on its way. One per process.
#[derive(Debug)]
pub struct Gateway {
    pub tasks: Tasks,
    pub clock: Arc<dyn Clock>,
    pub store: Arc<Store>,
    pub law: LawBook,
    pub recorder: Recorder,
    pub authenticator: Authenticator,
    pub limiter: Limiter,
    pub clusters: Vec<Arc<Cluster>>,
    /// The cluster that is also served at `/`.
    pub default: Option<Arc<Cluster>>,
    pub desk: Desk,
    /// Where events go besides the record, as configured.
    pub exports: Vec<Arc<Export>>,
    pub limits: Limits,
    pub telemetry: Telemetry,
    /// None where the configuration names no anchor.
    pub anchoring: Option<Arc<Anchoring>>,
}

/// What stands open beside the entry while a request is judged.
struct Judged {
    permit: Permit,
    cluster: Arc<Cluster>,
    masker: Arc<Masker>,
    headers: Vec<(HeaderName, HeaderValue)>,
    basis: Basis,
    _place: Place,
    _room: Room,
}

impl Gateway {
    /// One request, one reply, one line in the journal, whatever happens.
    // INVARIANT: the line is begun here, not in the future: hyper drops the future unpolled where the client left right behind its request.
    pub(crate) fn serve(self: Arc<Self>, raw: RawRequest) -> impl Future<Output = Reply> + Send {
        let ask = raw.split();
        let asked = Asked::of(&ask);
        let entry = Entry::begin(&self.store, &ask, &self.clock).map_err(|why| self.refuse_unrecorded(why));
        async move {
            match entry {
                Ok(entry) => self.answer(ask, asked, entry).await,
                Err(reply) => self.telemetry.finished(&asked, reply),
            }
        }
    }

    async fn answer(self: Arc<Self>, ask: Ask, mut asked: Asked, mut entry: Entry) -> Reply {
        let judged = self.judge(ask, &mut entry).await;
        asked.by(entry.who());
        let end = match judged {
            // A write outlives its client: it runs in a task of its own.
            Ok(judged) => match self
                .tasks
                .run(judged.permit.action().effect(), self.clone().carry(judged, entry))
                .await
            {
                Ok(end) => end,
                Err(_lost) => return self.telemetry.finished(&asked, Refusal::Fault.into_reply(None)),
            },
            Err(why) => Err(Refused { entry, why }),
        };
        let reply = match end {
            Ok(reply) => reply,
            Err(refused) => self.refuse(refused).await,
        };
        self.telemetry.finished(&asked, reply)
    }

    /// From bytes to verdict. Droppable: only look-ups happen in here.
    async fn judge(&self, mut ask: Ask, entry: &mut Entry) -> Result<Judged, Refusal> {
        let place = self.limits.place()?;
        let law = self.law.load(); // one snapshot, one epoch
        let verified = self.sign_in(&ask, entry).await?;
        let cluster = self.cluster(ask.cluster.as_deref())?.clone();
        let known = cluster
            .identify()
            .await
            .map_err(|why| Refusal::NotReached { why, changes: false })?;
        entry.goes_to(known);
        let caller = self.recognize(&law, verified, known, entry)?;
        let masker = self.masker(&cluster, known)?;
        let mut room = self.limits.room(format!(
            "{} {}",
            caller.verified().issuer(),
            caller.verified().username()
        ));
        let action = Arc::new(resolve::resolve(&mut ask, &mut room).await?);
        entry.asks_for(&action);
        stay(&caller, cluster.name(), &action, entry).map_err(|denial| entry.denied(denial, law.epoch().number()))?;
        entry.recorded_as(self.recorder.of(&caller, &action), &action);
        let permit = self.decide(&law, &cluster, known, &caller, &action, entry).await?;
        serve_here(&action)?;
        let basis = Basis {
            law: self.law.clone(),
            cluster: known.clone(),
        };
        Ok(Judged {
            permit,
            basis,
            cluster,
            masker,
            headers: ask.relayed_headers(),
            _place: place,
            _room: room,
        })
    }

    /// A token that every check holds of, of somebody whose share of the record has room.
    async fn sign_in(&self, ask: &Ask, entry: &mut Entry) -> Result<Arc<Verified>, Refusal> {
        let headers = &ask.parts.headers;
        let verified = self.authenticator.authenticate(headers, self.clock.now()).await;
        let verified = verified.map_err(Refusal::NotSignedIn)?;
        // Before it is a caller: of who has filled their share, nothing more is written than that they came.
        self.store
            .journal
            .share(verified.issuer(), verified.subject())
            .map_err(|over| entry.over_quota(&verified, over))?;
        entry.signed_in(&verified);
        let standing = self.authenticator.standing(headers, &verified);
        entry.stands_on(standing.map_err(Refusal::NotSignedIn)?);
        Ok(verified)
    }

    /// Whom the law knows by the token, in a session that nobody has ended, with room for one more request.
    fn recognize(
        &self,
        law: &Law,
        verified: Arc<Verified>,
        known: &ClusterRef,
        entry: &mut Entry,
    ) -> Result<Arc<Caller>, Refusal> {
        let (now, epoch) = (self.clock.now(), law.epoch().number());
        let caller = law
            .recognize(verified, &known.name, now)
            .map_err(|denial| entry.denied(denial, epoch))?;
        entry.recognized(&caller);
        let session = self.store.sessions.touch(&caller, known, now);
        let session = session.map_err(|why| no_session(entry, why, epoch))?;
        entry.called_by(&caller, session);
        self.enter(&caller, &known.name, entry)
            .map_err(|denial| entry.denied(denial, epoch))?;
        Ok(Arc::new(caller))
    }

    /// Room for one more request of an agent. People have none to keep.
    fn enter(&self, caller: &Caller, cluster: &str, entry: &mut Entry) -> Result<(), Denial> {
        if let Some(agent) = caller.agent() {
            entry.holds(self.limiter.enter(agent, cluster)?);
        }
        Ok(())
    }

    /// The law is asked until it has what it wants to know.
    async fn decide(
        &self,
        law: &Law,
        cluster: &Cluster,
        known: &ClusterRef,
        caller: &Arc<Caller>,
        action: &Arc<Action>,
        entry: &mut Entry,
    ) -> Result<Permit, Refusal> {
        let mut facts = Facts::default();
        loop {
            match law.evaluate(known, caller, action, &facts, self.clock.now()) {
                Step::Need(lookups) => {
                    let answers = look_up::look_up(&lookups, entry, cluster).await;
                    facts.learn(&lookups, answers);
                }
                Step::Done(judgment) => {
                    entry.judged(&judgment, law.epoch().number());
                    return match judgment.verdict {
                        Verdict::Allow(permit) => Ok(permit),
                        Verdict::Deny(denial) => Err(Refusal::NotAllowed(denial)),
                        Verdict::Hold(question) => Err(Refusal::NotApproved(question)),
                    };
                }
            }
        }
    }

    /// From verdict to reply.
    async fn carry(self: Arc<Self>, judged: Judged, entry: Entry) -> Result<Reply, Refused> {
        let Judged {
            permit,
            cluster,
            masker,
            headers,
            basis,
            _place,
            _room,
        } = judged;
        let pass = admit(permit, entry, headers, basis).await?;
        let shown = match mantlet_desk::serves(pass.action()) {
            true => amend::desk(pass, &self.desk, self.law.load().as_ref(), &cluster).await?,
            false => {
                let forwarded = forward::forward(pass, &cluster, self.clock.as_ref(), &self.tasks).await?;
                let shown = mask::mask(forwarded, &masker).await?;
                amend::amend(shown, self.law.load().as_ref(), &cluster, self.clock.now()).await?
            }
        };
        Ok(respond(shown, self.clock.clone(), &self.tasks).await) // body or pump now owns the pass
    }

    /// The one place that closes a refused entry and writes a Status.
    async fn refuse(&self, refused: Refused) -> Reply {
        let Refused { mut entry, why } = refused;
        let (code, reason) = why.code();
        let id = entry.id().clone();
        tracing::info!(code = code.as_u16(), reason, check = why.check(), audit_id = %id, why = why.to_log(), "refused");
        let outcome = why.outcome();
        let warnings = entry.warnings().to_vec();
        // What was refused is worth keeping, and nothing was sent: a store that fails is said in the record and changes nothing.
        let _ = entry.keep_request().await;
        entry.close(outcome);
        let mut reply = why.into_reply(Some(id.as_str()));
        crate::relay::respond::warn(reply.headers_mut(), &warnings);
        reply
    }

    /// No entry could be made: the journal is full or down. Counted, since it cannot be written.
    fn refuse_unrecorded(&self, why: Refusal) -> Reply {
        tracing::error!(why = why.to_log(), "refused: not recorded");
        self.telemetry.unrecorded();
        why.into_reply(None)
    }

    /// What came is no request: it has no line in the journal. Counted, as those are that have no caller.
    pub(crate) fn refuse_unframed(&self, fault: Fault, peer: SocketAddr) -> Reply {
        tracing::info!(%peer, why = fault.says(), "refused: not framed");
        self.telemetry.unframed(fault.reason());
        Refusal::NotFramed(fault).into_reply(None)
    }

    fn cluster(&self, name: Option<&str>) -> Result<&Arc<Cluster>, Refusal> {
        let found = match name {
            Some(name) => self.clusters.iter().find(|c| c.name() == name),
            None => self.default.as_ref(),
        };
        found.ok_or_else(|| {
            Refusal::NotUnderstood(Unreadable {
                status: UnreadableStatus::NotFound,
                message: match name {
                    Some(_) => "this gateway serves no cluster of that name: check the server URL of your kubeconfig, https://HOST/clusters/NAME".into(),
                    None => "this gateway serves no cluster at this path: the server URL of your kubeconfig ends in /clusters/NAME".into(),
                },
            })
        })
    }

    fn masker(&self, cluster: &Cluster, known: &ClusterRef) -> Result<Arc<Masker>, Refusal> {
        let make = || Ok(Masker::new(&self.store.keyring.mask_key()?, &known.uid));
        let masker = cluster
            .masker(make)
            .map_err(|fault: StoreFault| Refusal::NotMasked(fault.to_string()))?;
        Ok(masker.clone())
    }
}

/// Whoever has no session has no request either.
fn no_session(entry: &mut Entry, why: NoSession, epoch: u64) -> Refusal {
    match why {
        NoSession::Suspended(agent) => entry.denied(Denial::suspended(&agent), epoch),
        NoSession::Ended(session) => entry.denied(Denial::session_ended(&session), epoch),
        NoSession::Unwritten(fault) => Refusal::NotRecorded(fault.to_string()),
    }
}

/// The room of a request that has no end of its own is another one.
fn stay(caller: &Caller, cluster: &str, action: &Action, entry: &mut Entry) -> Result<(), Denial> {
    if let Some(agent) = caller.agent().filter(|_| action.options().endless)
        && let Some(place) = entry.place()
    {
        entry.holds(place.for_a_watch(agent, cluster)?);
    }
    Ok(())
}

/// What the law allows and this gateway cannot carry yet: streams that leave HTTP.
fn serve_here(action: &Action) -> Result<(), Refusal> {
    match not_served(action.verb()) {
        Some(why) => Err(Refusal::NotServed(why)),
        None => Ok(()),
    }
}

/// Why no request of this verb is carried.
pub(crate) fn not_served(verb: Verb) -> Option<String> {
    match verb.sort() {
        Sort::Connects => Some(format!(
            "{} is not possible through this gateway yet; nothing was sent. Use `kubectl logs`, `kubectl describe` or `kubectl get events` to look; do not retry",
            verb.as_str()
        )),
        Sort::Reads | Sort::Stores | Sort::Deletes => None,
    }
}

/// Whether anything may have happened upstream decides what the record says.
impl Refusal {
    fn outcome(&self) -> Outcome {
        match self {
            Refusal::NotMasked(_)
            | Refusal::NotReached {
                why: Unreached::Broken(_) | Unreached::Late | Unreached::Ended(_),
                ..
            } => Outcome::Unknown,
            // The cluster did answer, and its own log has this Audit-ID too.
            Refusal::NotAccepted => Outcome::Answered {
                code: 401,
                reason: "Unauthorized".to_owned(),
            },
            other => {
                let (code, reason) = other.code();
                Outcome::Refused {
                    code: code.as_u16(),
                    reason: reason.to_owned(),
                    message: other.message(),
                }
            }
        }
    }
}
