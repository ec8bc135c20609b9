//! Sessions: one credential's work, from its first request until it is idle or too old.
//!
//! In: a recognized caller, a cluster, a point in time. Out: the session that the request belongs to.
//! Refuses: when a new session cannot be written down.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use mantlet_core::identity::{Caller, Population};
use mantlet_core::law::ClusterRef;
use mantlet_core::record::{self, Cluster, Record, SessionEnd, SessionEnded, SessionStarted};
use mantlet_core::time::Timestamp;

use crate::index::LiveSession;
use crate::journal::Pen;
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
    pen: Pen,
    key: hmac::Key,
    kept: usize,
}

/// The session of a request, and when it ends at the latest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId {
    name: Arc<str>,
    ends: Timestamp,
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
}

impl Sessions {
    /// Goes on with what was live at the end of the last process.
    pub(crate) fn resume(known: Vec<LiveSession>, pen: Pen, key: hmac::Key) -> Self {
        let by_key = known.into_iter().map(|known| {
            let id = SessionId {
                name: known.name.into(),
                ends: known.ends,
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
            pen,
            key,
            kept: KEPT,
        }
    }

    /// The session of a request that arrives now: the caller's live one, or a new one, which is written to the journal.
    pub fn touch(&self, caller: &Caller, cluster: &ClusterRef, now: Timestamp) -> Result<SessionId, StoreFault> {
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
    ) -> Result<SessionId, StoreFault> {
        let key = self.key(who, cluster);
        let mut live = self.lock();
        self.sweep_sometimes(&mut live, now)?;
        if let Some(session) = live.by_key.get_mut(&key) {
            let Some((at, why)) = session.over(now) else {
                session.last_seen = session.last_seen.max(now);
                return Ok(session.id.clone());
            };
            self.end(&session.id, at, why)?;
            live.by_key.remove(&key);
        }
        self.make_room(&mut live, now)?;
        let session = self.start(key.clone(), who, caller(), cluster, now)?;
        let id = session.id.clone();
        live.by_key.insert(key, session);
        Ok(id)
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
            ends: now.after(who.max),
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

    fn end(&self, id: &SessionId, at: Timestamp, why: SessionEnd) -> Result<(), StoreFault> {
        let ended = SessionEnded {
            session: id.name.to_string(),
            at,
            why,
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
                self.end(&session.id, at, why)?;
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
            self.end(&session.id, now, SessionEnd::Evicted)?;
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
    use crate::testing::{Scratch, caller, clock, cluster, open};
    use crate::{HandClock, Owner, Store, Visible};

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
        store
            .sessions
            .enter(&who(agent, "run-1"), || caller(agent), &cluster(), clock.now())
            .unwrap()
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

    #[tokio::test]
    async fn a_session_lasts_while_requests_come_and_ends_when_idle() {
        let (scratch, clock) = (Scratch::new(), clock());
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

    #[tokio::test]
    async fn a_session_ends_at_its_greatest_age_however_busy() {
        let (scratch, clock) = (Scratch::new(), clock());
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

    #[tokio::test]
    async fn agents_keys_and_clusters_have_sessions_of_their_own() {
        let (scratch, clock) = (Scratch::new(), clock());
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

    #[tokio::test]
    async fn a_live_session_goes_on_after_a_restart() {
        let (scratch, clock) = (Scratch::new(), clock());
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

    #[tokio::test]
    async fn the_session_longest_without_a_request_gives_way() {
        let (scratch, clock) = (Scratch::new(), clock());
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

    #[tokio::test]
    async fn a_session_is_seen_by_its_owner_only() {
        let (scratch, clock) = (Scratch::new(), clock());
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

    #[tokio::test]
    async fn no_session_is_given_out_that_cannot_be_written_down() {
        let (scratch, clock) = (Scratch::new(), clock());
        let mut config = scratch.config();
        config.sizes.requests = 1;
        let store = Store::open(config, clock.clone()).await.unwrap();
        let _slot = store.journal.slot().unwrap();
        let entered = store
            .sessions
            .enter(&who("a", "k"), || caller("a"), &cluster(), clock.now());
        assert!(matches!(entered, Err(StoreFault::Full(_))));
    }
}
