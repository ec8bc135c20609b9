//! In: the look-ups that the law asked for. Out: what they brought, for the law to learn.
//!
//! They go out side by side, each request under the open entry with an Audit-ID of its own (the entry's and a number), noted in the entry before
//! it leaves. Each reads as the caller; what the caller may not read, as the cluster's observer, once the API server has said that the caller has
//! a right to the request itself. What fails is a fact too: the law says what follows from it.
//!
//! # Cancel safety
//! Look-ups read or are `dryRun=All`: dropping them changes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use http::StatusCode;
use mantlet_core::law::{Charge, Fact, Kept, Learned, Lookup, LookupKind, Lookups, PAGES_MAX, Query, Reader, Spent};
use mantlet_core::mask::{self, Hint, Masked};
use mantlet_core::record::AuditId;
use mantlet_core::wire::outgoing::Outgoing;
use mantlet_store::{Holder, SessionId, Store, StoreFault};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::entry::Entry;
use crate::upstream::{Cluster, Eyes, Unreached};

/// A read that takes longer than this holds a request up for no good: the rule that needs it acts instead.
const READ: Duration = Duration::from_secs(5);
/// A rehearsal passes the admission webhooks, each of which may take 10 s by default and 30 s at most.
const REHEARSAL: Duration = Duration::from_secs(35);
/// Of what was used up, so many are named in the record.
const RECENT: u32 = 20;
/// Requests of one look-up that are under way at a time. Each answer takes memory while it is read.
const AT_A_TIME: usize = 6;

/// One round of look-ups.
struct Round<'a> {
    entry: Mutex<&'a mut Entry>,
    cluster: &'a Cluster,
    session: Option<SessionId>,
    /// Whether the caller has a right to its own request: asked once, and only if the observer is to read.
    entitled: OnceCell<Result<bool, String>>,
}

/// What came of reading one thing.
enum Came {
    Here(Vec<Kept>, Whole),
    Absent,
    Refused(u16, Value),
    /// The caller has no right to the request that this is for.
    Forbidden,
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    All,
    /// The list went on.
    Cut,
}

#[derive(Debug, Clone, Copy)]
enum By {
    Caller,
    Observer,
}

pub(crate) async fn look_up(lookups: &Lookups, entry: &mut Entry, cluster: &Cluster) -> Vec<Learned> {
    let session = entry.session().cloned();
    let round = Round {
        entry: Mutex::new(entry),
        cluster,
        session,
        entitled: OnceCell::new(),
    };
    let all: Vec<_> = lookups.iter().map(|lookup| round.learn(lookup)).collect();
    futures_util::future::join_all(all).await
}

impl Round<'_> {
    async fn learn(&self, lookup: &Lookup) -> Learned {
        let limit = match lookup.kind() {
            LookupKind::DryRun => REHEARSAL,
            LookupKind::OldObject
            | LookupKind::Target
            | LookupKind::NamespaceObject
            | LookupKind::Dependents
            | LookupKind::Members
            | LookupKind::Rights
            | LookupKind::Session => READ,
        };
        match tokio::time::timeout(limit, self.find(lookup)).await {
            Ok(learned) => learned,
            Err(_) => lookup.learned(Fact::Failed(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    async fn find(&self, lookup: &Lookup) -> Learned {
        if lookup.kind() == LookupKind::Session {
            return self.recall(lookup).await;
        }
        let queries = lookup.queries();
        let asked: Vec<_> = queries.iter().map(|query| self.ask(lookup, query)).collect();
        let mut asked = stream::iter(asked).buffered(AT_A_TIME);
        let (mut kept, mut more) = (Vec::new(), false);
        while let Some(came) = asked.next().await {
            match came {
                Came::Here(some, whole) => {
                    kept.extend(some);
                    more |= whole == Whole::Cut;
                }
                Came::Absent => return lookup.learned(Fact::Absent),
                Came::Refused(code, status) => {
                    let status = Arc::new(refusal(status, lookup.hint()));
                    return lookup.learned(Fact::Refused { code, status });
                }
                Came::Forbidden => return lookup.forbidden(),
                Came::Failed(why) => return lookup.learned(Fact::Failed(why)),
            }
        }
        lookup.conclude(kept, more)
    }

    /// What the agent has used up, from our own memory: no cluster is asked.
    async fn recall(&self, lookup: &Lookup) -> Learned {
        let store = self.note(|entry| entry.memory());
        let agent = lookup.caller().agent().map_or("", |agent| agent.name());
        let cluster = self.note(|entry| entry.cluster_uid());
        let holder = Holder {
            agent,
            cluster: &cluster,
        };
        match recall(&store, holder, lookup.charges()).await {
            Ok(spent) => lookup.recall(&spent),
            Err(fault) => lookup.learned(Fact::Failed(fault.to_string())),
        }
    }

    /// One request, by whoever may make it.
    async fn ask(&self, lookup: &Lookup, query: &Query) -> Came {
        let observes = self.cluster.has_observer();
        match lookup.reader() {
            Reader::ObserverFirst if observes => self.observe(lookup, query).await,
            Reader::Caller | Reader::CallerFirst | Reader::ObserverFirst => {
                let came = self.read(lookup, query, By::Caller).await;
                match (came, lookup.reader()) {
                    (Came::Refused(403, _), Reader::CallerFirst) if observes => self.observe(lookup, query).await,
                    (came, _) => came,
                }
            }
        }
    }

    // INVARIANT: nothing is read by the observer for somebody who has no right to the request that it is read for.
    async fn observe(&self, lookup: &Lookup, query: &Query) -> Came {
        match self.entitled.get_or_init(|| self.entitled(lookup)).await {
            Ok(true) => self.read(lookup, query, By::Observer).await,
            Ok(false) => Came::Forbidden,
            Err(why) => Came::Failed(why.clone()),
        }
    }

    async fn entitled(&self, lookup: &Lookup) -> Result<bool, String> {
        match self
            .send("accessReview", lookup, lookup.access_review(), By::Caller)
            .await
        {
            Ok((code, review)) if code.is_success() => Ok(review
                .pointer("/status/allowed")
                .and_then(Value::as_bool)
                .unwrap_or_default()),
            Ok((code, _)) => Err(format!("whether the caller may do this was answered {code}")),
            Err(why) => Err(why.to_string()),
        }
    }

    /// All pages of an answer, of which only what the law needs is kept.
    async fn read(&self, lookup: &Lookup, query: &Query, by: By) -> Came {
        let mut kept = Vec::new();
        let mut outgoing = query.outgoing();
        for _ in 0..PAGES_MAX {
            let page = match self.send(lookup.kind().as_str(), lookup, outgoing, by).await {
                Ok((code, page)) if code.is_success() => page,
                Ok((code, status)) => return refused(lookup.kind(), code, status),
                Err(why) => return Came::Failed(why.to_string()),
            };
            let next = query.next(&page);
            match lookup.keep(query, page) {
                Some(some) => kept.push(some),
                None => return Came::Failed(String::from("the answer is not what was asked for")),
            }
            match next {
                Some(next) => outgoing = next,
                None => return Came::Here(kept, Whole::All),
            }
        }
        Came::Here(kept, Whole::Cut)
    }

    async fn send(
        &self,
        name: &'static str,
        lookup: &Lookup,
        outgoing: Outgoing,
        by: By,
    ) -> Result<(StatusCode, Value), Unreached> {
        let Some(id) = self.note(|entry| entry.looks_up(name)) else {
            return Err(Unreached::Unsent("the entry is closed".into()));
        };
        let eyes = match by {
            By::Caller => Eyes::Caller {
                session: self.session.as_ref().map(SessionId::as_str),
            },
            By::Observer => Eyes::Observer,
        };
        let came = self.cluster.look_up(lookup, outgoing, id.as_str(), eyes).await;
        if let Ok((code, _)) = &came {
            self.found(&id, *code);
        }
        came
    }

    fn found(&self, id: &AuditId, code: StatusCode) {
        self.note(|entry| entry.found(id, code.as_u16()));
    }

    fn note<T>(&self, write: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut entry)
    }
}

async fn recall(store: &Store, holder: Holder<'_>, charges: &[Charge]) -> Result<Vec<Spent>, StoreFault> {
    let mut spent = Vec::new();
    for charge in charges {
        let standing = store.budgets.standing(holder, charge).await?;
        let recent = match charge.limit.is_limit() && standing.counted > 0 {
            true => store.budgets.recent(holder, charge, RECENT).await?,
            false => Vec::new(),
        };
        spent.push(Spent {
            budget: charge.budget,
            counted: standing.counted,
            fresh: standing.fresh,
            recent: recent.into_iter().map(|used| used.shown).collect(),
        });
    }
    Ok(spent)
}

fn refused(kind: LookupKind, code: StatusCode, status: Value) -> Came {
    match (kind, code) {
        // The gateway's own credential was refused; that says nothing about the caller's request.
        (_, StatusCode::UNAUTHORIZED) => Came::Failed("the cluster does not accept the gateway's credential".into()),
        // Too busy, or out of order: the request itself may fare better.
        (_, code) if code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS => {
            Came::Failed(format!("the {} was answered {code}", word(kind)))
        }
        // A rehearsal that finds nothing is the API server's answer to the request. So is a list of a kind that this cluster does not have.
        (LookupKind::DryRun | LookupKind::Rights, _) => Came::Refused(code.as_u16(), status),
        (LookupKind::Dependents | LookupKind::Members, StatusCode::NOT_FOUND) => Came::Here(Vec::new(), Whole::All),
        (LookupKind::OldObject | LookupKind::Target | LookupKind::NamespaceObject, StatusCode::NOT_FOUND) => {
            Came::Absent
        }
        (
            LookupKind::OldObject
            | LookupKind::Target
            | LookupKind::NamespaceObject
            | LookupKind::Dependents
            | LookupKind::Members
            | LookupKind::Session,
            _,
        ) => Came::Refused(code.as_u16(), status),
    }
}

fn word(kind: LookupKind) -> &'static str {
    match kind {
        LookupKind::DryRun => "dry-run",
        LookupKind::OldObject
        | LookupKind::Target
        | LookupKind::NamespaceObject
        | LookupKind::Dependents
        | LookupKind::Members
        | LookupKind::Rights
        | LookupKind::Session => "look-up",
    }
}

/// The caller reads it in place of the answer to the request itself.
fn refusal(status: Value, hint: Hint) -> Masked<Value> {
    match hint {
        Hint::Secrets => mask::status(status),
        Hint::Other => mask::value(status, hint),
    }
}
