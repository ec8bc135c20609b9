//! Sessions: one credential's work, from its first request until it is idle or too old.
//!
//! In: a recognized caller, a cluster, a point in time. Out: the session that the request belongs to.
//! Refuses: when a new session cannot be written down, and whom an operator has stopped (`stops`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use mantlet_core::identity::{Caller, Population};
use mantlet_core::law::ClusterRef;
use mantlet_core::record::{self, AgentSuspended, Cluster, Record, SessionEnd, SessionEnded, SessionStarted};
use mantlet_core::time::Timestamp;
use tokio::sync::watch;

use crate::index::LiveSession;
use crate::journal::Pen;
use crate::stops::{Stop, Stops, Suspension};
use crate::{StoreFault, random};

/// Of people; an agent's are its own.
const IDLE: Duration = Duration::from_secs(30 * 60);
const MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// More are not kept track of: those longest without a request give way.
const KEPT: usize = 65_536;
const SWEEP: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Sessions {
    live: Mutex<Live>,
    stops: watch::Sender<Stops>,
    pen: Pen,
    key: hmac::Key,
    kept: usize,
}

/// The session of a request, when it ends at the latest, and word of whoever ends it before.
#[derive(Debug, Clone)]
pub struct SessionId {
    name: Arc<str>,
    /// Empty for people.
    agent: Arc<str>,
    ends: Timestamp,
    stops: watch::Receiver<Stops>,
}

/// Why a request has no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSession {
    #[error("agent `{0}` is suspended")]
    Suspended(String),
    /// The credential belongs to this one.
    #[error("session `{0}` was ended by an operator")]
    Ended(String),
    #[error(transparent)]
    Unwritten(#[from] StoreFault),
}

#[derive(Debug)]
struct Live {
    by_key: HashMap<String, Session>,
    swept: Timestamp,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    last_seen: Timestamp,
    idle: Duration,
}

/// What tells the sessions of one cluster apart, and how long they last.
#[derive(Debug, Clone)]
struct Who<'a> {
    population: &'static str,
    agent: &'a str,
    issuer: &'a str,
    subject: &'a str,
    session_key: &'a str,
    idle: Duration,
    max: Duration,
}

impl<'a> Who<'a> {
    /// One agent's sessions are never another's, whatever the keys say. Within an agent the key alone names the session (a run
    /// may change its token); a person's sessions are that person's.
    fn of(caller: &'a Caller) -> Self {
        let verified = caller.verified();
        let (issuer, session_key) = (verified.issuer(), caller.session_key());
        match (verified.population(), caller.agent()) {
            (Population::Agents, Some(agent)) => {
                let (idle, max) = (agent.session().idle(), agent.session().max());
                Self {
                    population: "agents",
                    agent: agent.name(),
                    issuer,
                    subject: "",
                    session_key,
                    idle,
                    max,
                }
            }
            (Population::Agents, None) => {
                let subject = verified.subject();
                Self {
                    population: "agents",
                    agent: "",
                    issuer,
                    subject,
                    session_key,
                    idle: IDLE,
                    max: MAX,
                }
            }
            (Population::People, _) => {
                let subject = verified.subject();
                Self {
                    population: "people",
                    agent: "",
                    issuer,
                    subject,
                    session_key,
                    idle: IDLE,
                    max: MAX,
                }
            }
        }
    }
}

impl SessionId {
    /// `ses-` and 16 characters of base32.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Streams of this session end then.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Why nothing more may be done in it, if an operator says so.
    pub fn stop(&self) -> Option<Stop> {
        self.stops.borrow().stop(&self.agent, &self.name)
    }

    /// Resolves when an operator stops it.
    pub async fn stopped(&self) -> Stop {
        let mut stops = self.stops.clone();
        loop {
            if let Some(stop) = stops.borrow_and_update().stop(&self.agent, &self.name) {
                return stop;
            }
            if stops.changed().await.is_err() {
                // The store is gone, and with it everybody who could say so.
                return std::future::pending().await;
            }
        }
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for SessionId {}

impl Sessions {
    /// Goes on with what was live at the end of the last process.
    pub(crate) fn resume(known: Vec<LiveSession>, stops: Stops, pen: Pen, key: hmac::Key) -> Self {
        let (stops, told) = watch::channel(stops);
        let by_key = known.into_iter().map(|known| {
            let id = SessionId {
                name: known.name.into(),
                agent: known.agent.unwrap_or_default().into(),
                ends: known.ends,
                stops: told.clone(),
            };
            (
                known.key,
                Session {
                    id,
                    last_seen: known.last_seen,
                    idle: known.idle,
                },
            )
        });
        let live = Live {
            by_key: by_key.collect(),
            swept: Timestamp::from_micros(0),
        };
        Self {
            live: Mutex::new(live),
            stops,
            pen,
            key,
            kept: KEPT,
        }
    }

    /// The session of a request that arrives now: the caller's live one, or a new one, which is written to the journal.
    pub fn touch(&self, caller: &Caller, cluster: &ClusterRef, now: Timestamp) -> Result<SessionId, NoSession> {
        self.enter(
            &Who::of(caller),
            || record::Caller::from(caller),
            &Cluster::from(cluster),
            now,
        )
    }

    fn enter(
        &self,
        who: &Who<'_>,
        caller: impl FnOnce() -> record::Caller,
        cluster: &Cluster,
        now: Timestamp,
    ) -> Result<SessionId, NoSession> {
        let key = self.key(who, cluster);
        // Held while the stops are looked at: whoever adds one holds it too, and ends what began before.
        let mut live = self.lock();
        self.refuse_stopped(who.agent, &key, now)?;
        self.sweep_sometimes(&mut live, now)?;
        if let Some(session) = live.by_key.get_mut(&key) {
            let Some((at, why)) = session.over(now) else {
                session.last_seen = session.last_seen.max(now);
                return Ok(session.id.clone());
            };
            self.end(&session.id.name, at, why, None)?;
            live.by_key.remove(&key);
        }
        self.make_room(&mut live, now)?;
        let session = self.start(key.clone(), who, caller(), cluster, now)?;
        let id = session.id.clone();
        live.by_key.insert(key, session);
        Ok(id)
    }

    fn refuse_stopped(&self, agent: &str, key: &str, now: Timestamp) -> Result<(), NoSession> {
        let stops = self.stops.borrow();
        if !agent.is_empty() && stops.suspension(agent).is_some() {
            return Err(NoSession::Suspended(agent.to_owned()));
        }
        match stops.holder(key, now) {
            Some(session) => Err(NoSession::Ended(session.to_owned())),
            None => Ok(()),
        }
    }

    /// For whoever hears of what was stopped elsewhere.
    pub(crate) fn stops(&self) -> watch::Sender<Stops> {
        self.stops.clone()
    }

    /// Since when, by whom and why nobody acts as this agent, if so.
    pub fn suspension(&self, agent: &str) -> Option<Suspension> {
        self.stops.borrow().suspension(agent).cloned()
    }

    /// From now on nobody acts as this agent: its sessions end, its streams are cut, nobody begins another. Returns once that is durable.
    /// Of several suspensions the first counts.
    ///
    /// # Cancel safety
    /// In force once polled; dropping it only ends the waiting.
    pub async fn suspend(&self, suspended: AgentSuspended) -> Result<(), StoreFault> {
        self.suspend_now(suspended)?;
        self.pen.settled().await.map(drop)
    }

    fn suspend_now(&self, suspended: AgentSuspended) -> Result<(), StoreFault> {
        let mut live = self.lock();
        if self.stops.borrow().suspension(&suspended.agent).is_some() {
            return Ok(());
        }
        self.pen.append(&Record::AgentSuspended(suspended.clone()), None)?;
        let (agent, at, id) = (suspended.agent.clone(), suspended.at, suspended.audit_id.clone());
        self.stops.send_modify(|stops| stops.suspend(suspended));
        let its = live.by_key.iter().filter(|(_, session)| *session.id.agent == *agent);
        for key in its.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            if let Some(session) = live.by_key.remove(&key) {
                self.end(&session.id.name, at, SessionEnd::Suspended, Some(id.clone()))?;
            }
        }
        Ok(())
    }

    /// Ends a session, and lets its credential begin no other one until this one would have been too old. Returns once that is durable.
    ///
    /// # Cancel safety
    /// As [`Sessions::suspend`].
    pub(crate) async fn stop(&self, session: &LiveSession, audit_id: &str, now: Timestamp) -> Result<(), StoreFault> {
        self.stop_now(session, audit_id, now)?;
        self.pen.settled().await.map(drop)
    }

    fn stop_now(&self, session: &LiveSession, audit_id: &str, now: Timestamp) -> Result<(), StoreFault> {
        let mut live = self.lock();
        let known = self.stops.borrow().stop("", &session.name).is_some();
        if known || now >= session.ends {
            return Ok(());
        }
        self.end(&session.name, now, SessionEnd::Operator, Some(audit_id.to_owned()))?;
        // One that had been idle for too long may have a successor, which is not the one that was named: only its streams are cut.
        let succeeded = live
            .by_key
            .get(&session.key)
            .is_some_and(|other| *other.id.name != *session.name);
        if !succeeded {
            live.by_key.remove(&session.key);
        }
        let key = (!succeeded).then_some(session.key.as_str());
        self.stops
            .send_modify(|stops| stops.end(&session.name, key, session.ends, now));
        Ok(())
    }

    /// Writes down which sessions have ended. Also done now and then by `touch`.
    pub fn sweep(&self, now: Timestamp) -> Result<(), StoreFault> {
        self.sweep_now(&mut self.lock(), now)
    }

    /// Tells sessions apart; hashed, because a claim may be in it.
    fn key(&self, who: &Who<'_>, cluster: &Cluster) -> String {
        let parts = [
            &cluster.name,
            &cluster.uid,
            who.population,
            who.agent,
            who.issuer,
            who.subject,
            who.session_key,
        ];
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        hex::encode(context.sign())
    }

    fn start(
        &self,
        key: String,
        who: &Who<'_>,
        caller: record::Caller,
        cluster: &Cluster,
        now: Timestamp,
    ) -> Result<Session, StoreFault> {
        let id = SessionId {
            name: name()?.into(),
            agent: who.agent.into(),
            ends: now.after(who.max),
            stops: self.stops.subscribe(),
        };
        let started = SessionStarted {
            session: id.name.to_string(),
            uid: record::uuid(random::bytes()?),
            key,
            caller,
            at: now,
            idle: u64::try_from(who.idle.as_micros()).unwrap_or(u64::MAX),
            ends: id.ends,
        };
        self.pen
            .append(&Record::SessionStarted(started), Some(cluster.clone()))?;
        Ok(Session {
            id,
            last_seen: now,
            idle: who.idle,
        })
    }

    fn end(&self, name: &str, at: Timestamp, why: SessionEnd, audit_id: Option<String>) -> Result<(), StoreFault> {
        let ended = SessionEnded {
            session: name.to_owned(),
            at,
            why,
            audit_id,
        };
        self.pen.append(&Record::SessionEnded(ended), None)?;
        Ok(())
    }

    fn sweep_sometimes(&self, live: &mut Live, now: Timestamp) -> Result<(), StoreFault> {
        match now.since(live.swept) >= SWEEP {
            true => self.sweep_now(live, now),
            false => Ok(()),
        }
    }

    fn sweep_now(&self, live: &mut Live, now: Timestamp) -> Result<(), StoreFault> {
        live.swept = now;
        let over = live
            .by_key
            .iter()
            .filter_map(|(key, session)| Some((key.clone(), session.over(now)?)));
        for (key, (at, why)) in over.collect::<Vec<_>>() {
            if let Some(session) = live.by_key.get(&key) {
                self.end(&session.id.name, at, why, None)?;
                live.by_key.remove(&key);
            }
        }
        Ok(())
    }

    fn make_room(&self, live: &mut Live, now: Timestamp) -> Result<(), StoreFault> {
        if live.by_key.len() < self.kept {
            return Ok(());
        }
        let oldest = live
            .by_key
            .iter()
            .min_by_key(|(_, session)| session.last_seen)
            .map(|(key, _)| key.clone());
        if let Some(session) = oldest.and_then(|key| live.by_key.remove(&key)) {
            self.end(&session.id.name, now, SessionEnd::Evicted, None)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// When and why it ended, if it has.
    fn over(&self, now: Timestamp) -> Option<(Timestamp, SessionEnd)> {
        if now >= self.id.ends {
            return Some((self.id.ends, SessionEnd::MaxAge));
        }
        (now.since(self.last_seen) > self.idle).then(|| (self.last_seen.after(self.idle), SessionEnd::Idle))
    }
}

/// RFC 4648 6, in lower case: object names are.
fn name() -> Result<String, StoreFault> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let letters = random::bytes::<16>()?.map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    Ok(format!("ses-{}", String::from_iter(letters)))
}

#[cfg(test)]
pub(crate) mod tests {
    use mantlet_api::gate::{Session, SessionPhase};
    use mantlet_core::time::Clock;

    use super::*;
    use crate::testing::{Scratch, caller, clock, cluster, on_both, open};
    use crate::{HandClock, Owner, Store, Visible};

    on_both! {
        a_session_lasts_while_requests_come_and_ends_when_idle,
        a_session_ends_at_its_greatest_age_however_busy,
        agents_keys_and_clusters_have_sessions_of_their_own,
        a_live_session_goes_on_after_a_restart,
        the_session_longest_without_a_request_gives_way,
        a_session_is_seen_by_its_owner_only,
        no_session_is_given_out_that_cannot_be_written_down,
    }

    fn who<'a>(agent: &'a str, session_key: &'a str) -> Who<'a> {
        let (idle, max) = (Duration::from_secs(60), Duration::from_secs(200));
        Who {
            population: "agents",
            agent,
            issuer: "https://issuer.example",
            subject: "",
            session_key,
            idle,
            max,
        }
    }

    pub(crate) fn enter(store: &Store, agent: &str, clock: &HandClock) -> SessionId {
        try_enter(store, agent, "run-1", clock).unwrap()
    }

    pub(crate) fn try_enter(store: &Store, agent: &str, key: &str, clock: &HandClock) -> Result<SessionId, NoSession> {
        store
            .sessions
            .enter(&who(agent, key), || caller(agent), &cluster(), clock.now())
    }

    async fn shown(store: &Store) -> Vec<Session> {
        store.index.flush().await.unwrap();
        store
            .index
            .sessions(&Visible::Everything, None, None)
            .await
            .unwrap()
            .items
    }

    async fn a_session_lasts_while_requests_come_and_ends_when_idle(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        let first = enter(&store, "coder", &clock);
        for _ in 0..2 {
            clock.advance(Duration::from_secs(50));
            assert_eq!(enter(&store, "coder", &clock), first);
        }
        clock.advance(Duration::from_secs(61));
        let second = enter(&store, "coder", &clock);
        assert_ne!(second, first);
        let shown = shown(&store).await;
        let states: Vec<_> = shown
            .iter()
            .map(|s| (s.metadata.name.as_str(), s.status.phase))
            .collect();
        assert_eq!(
            states,
            [
                (first.as_str(), SessionPhase::Ended),
                (second.as_str(), SessionPhase::Active)
            ]
        );
        assert_eq!(shown[0].status.ended_reason.as_deref(), Some("Idle"));
    }

    async fn a_session_ends_at_its_greatest_age_however_busy(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        let first = enter(&store, "coder", &clock);
        assert_eq!(first.ends(), clock.now().after(Duration::from_secs(200)));
        for _ in 0..3 {
            clock.advance(Duration::from_secs(50));
            assert_eq!(enter(&store, "coder", &clock), first);
        }
        clock.advance(Duration::from_secs(50));
        assert_ne!(enter(&store, "coder", &clock), first);
        assert_eq!(shown(&store).await[0].status.ended_reason.as_deref(), Some("MaxAge"));
    }

    async fn agents_keys_and_clusters_have_sessions_of_their_own(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        let other = Cluster {
            name: "other".into(),
            uid: "9".into(),
        };
        let enter = |who: Who<'_>, cluster: &Cluster| {
            store
                .sessions
                .enter(&who, || caller("x"), cluster, clock.now())
                .unwrap()
                .as_str()
                .to_owned()
        };
        let person = Who {
            population: "people",
            agent: "",
            subject: "a",
            ..who("", "run-1")
        };
        let names = [
            enter(who("a", "run-1"), &cluster()),
            enter(who("b", "run-1"), &cluster()),
            enter(who("a", "run-2"), &cluster()),
            enter(who("a", "run-1"), &other),
            enter(person.clone(), &cluster()),
            enter(Who { subject: "b", ..person }, &cluster()),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| name.len() == 20 && name.starts_with("ses-")));
    }

    async fn a_live_session_goes_on_after_a_restart(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        let first = enter(&store, "coder", &clock);
        store.close().await;
        clock.advance(Duration::from_secs(30));
        let store = open(&scratch, &clock).await.unwrap();
        assert_eq!(enter(&store, "coder", &clock), first);
        store.close().await;
        clock.advance(Duration::from_secs(61));
        let store = open(&scratch, &clock).await.unwrap();
        assert_ne!(enter(&store, "coder", &clock), first);
    }

    async fn the_session_longest_without_a_request_gives_way(scratch: Scratch) {
        let clock = clock();
        let mut store = open(&scratch, &clock).await.unwrap();
        store.sessions.kept = 2;
        let first = enter(&store, "a", &clock);
        clock.advance(Duration::from_secs(1));
        let second = enter(&store, "b", &clock);
        clock.advance(Duration::from_secs(1));
        enter(&store, "c", &clock);
        assert_eq!(enter(&store, "b", &clock), second);
        assert_ne!(enter(&store, "a", &clock), first);
        assert_eq!(shown(&store).await[0].status.ended_reason.as_deref(), Some("Evicted"));
    }

    async fn a_session_is_seen_by_its_owner_only(scratch: Scratch) {
        let clock = clock();
        let store = open(&scratch, &clock).await.unwrap();
        let name = enter(&store, "coder", &clock);
        store.index.flush().await.unwrap();
        let own = |subject: &str| {
            Visible::Own(Owner {
                issuer: "https://issuer.example".into(),
                subject: subject.into(),
            })
        };
        assert!(
            store
                .index
                .session(&own("coder"), name.as_str())
                .await
                .unwrap()
                .is_some()
        );
        assert!(
            store
                .index
                .session(&own("deployer"), name.as_str())
                .await
                .unwrap()
                .is_none()
        );
        assert_eq!(
            store
                .index
                .sessions(&own("deployer"), None, None)
                .await
                .unwrap()
                .items
                .len(),
            0
        );
    }

    async fn no_session_is_given_out_that_cannot_be_written_down(scratch: Scratch) {
        let clock = clock();
        let mut config = scratch.config();
        config.sizes.requests = 1;
        let store = Store::open(config, clock.clone()).await.unwrap();
        let _slot = store.journal.slot().unwrap();
        let entered = store
            .sessions
            .enter(&who("a", "k"), || caller("a"), &cluster(), clock.now());
        assert!(matches!(entered, Err(NoSession::Unwritten(StoreFault::Full(_)))));
    }
}
