//! What operators have stopped: agents, and sessions whose credential gets no other one.
//!
//! One table for the process, fed by what the journal holds: whoever holds a session sees a stop the moment it is said.

use std::collections::{BTreeMap, HashMap};

use mantlet_core::record::AgentSuspended;
use mantlet_core::time::Timestamp;

/// Everything that is stopped. Sessions leave it when they would have been too old anyway; agents stay.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    agents: BTreeMap<String, Suspension>,
    /// Until when, by name.
    sessions: HashMap<String, Timestamp>,
    /// Names of those whose credential is held to them, by session key.
    keys: HashMap<String, String>,
}

/// Who stopped an agent, when, and why in their own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    pub at: Timestamp,
    /// Their mapped name.
    pub by: String,
    /// Masked; may be empty.
    pub reason: String,
}

/// Why nothing more may be done in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its agent is suspended.
    Suspended,
    /// An operator ended it.
    Ended,
}

impl Stops {
    pub(crate) fn suspend(&mut self, suspended: AgentSuspended) {
        self.learn(
            suspended.agent,
            Suspension {
                at: suspended.at,
                by: suspended.by.username,
                reason: suspended.reason,
            },
        );
    }

    /// The first suspension counts.
    pub(crate) fn learn(&mut self, agent: String, suspension: Suspension) {
        self.agents.entry(agent).or_insert(suspension);
    }

    /// With a key, nobody who has it begins another session before `until`.
    pub(crate) fn end(&mut self, session: &str, key: Option<&str>, until: Timestamp, now: Timestamp) {
        self.sessions.retain(|_, until| now < *until);
        self.keys.retain(|_, session| self.sessions.contains_key(session));
        self.sessions.insert(session.to_owned(), until);
        if let Some(key) = key {
            self.keys.insert(key.to_owned(), session.to_owned());
        }
    }

    /// What somebody else has heard of. True if any of it is news.
    pub(crate) fn join(&mut self, other: Stops, now: Timestamp) -> bool {
        let mut news = false;
        for (agent, suspension) in other.agents {
            news |= !self.agents.contains_key(&agent);
            self.learn(agent, suspension);
        }
        let keys = other.keys.iter().map(|(key, session)| (session.as_str(), key.as_str()));
        let keys: HashMap<&str, &str> = keys.collect();
        for (session, until) in &other.sessions {
            if now < *until && !self.sessions.contains_key(session) {
                self.end(session, keys.get(session.as_str()).copied(), *until, now);
                news = true;
            }
        }
        news
    }

    pub(crate) fn suspension(&self, agent: &str) -> Option<&Suspension> {
        self.agents.get(agent)
    }

    /// The session that this key is held to.
    pub(crate) fn holder(&self, key: &str, now: Timestamp) -> Option<&str> {
        let session = self.keys.get(key)?;
        let until = self.sessions.get(session)?;
        (now < *until).then_some(session.as_str())
    }

    /// `agent` is empty for people.
    pub(crate) fn stop(&self, agent: &str, session: &str) -> Option<Stop> {
        if !agent.is_empty() && self.agents.contains_key(agent) {
            Some(Stop::Suspended)
        } else {
            self.sessions.contains_key(session).then_some(Stop::Ended)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use mantlet_api::gate::SessionPhase;
    use mantlet_core::record::AuditId;
    use mantlet_core::time::Clock;

    use super::*;
    use crate::sessions::tests::{enter, try_enter};
    use crate::testing::{Scratch, caller, clock, open};
    use crate::{HandClock, NoSession, SessionId, Store, Visible};

    pub(crate) async fn suspend(store: &Store, agent: &str, clock: &HandClock) {
        let suspended = AgentSuspended {
            agent: agent.to_owned(),
            at: clock.now(),
            by: caller("operator"),
            reason: String::from("it wandered"),
            audit_id: String::from("a"),
        };
        store.sessions.suspend(suspended).await.unwrap();
    }

    async fn stop(store: &Store, session: &SessionId, clock: &HandClock) {
        let id = AuditId::from_random([1; 16]);
        assert!(store.stop_session(session.as_str(), &id, clock.now()).await.unwrap());
    }

    async fn ended(store: &Store) -> Vec<(SessionPhase, Option<String>)> {
        store.index.flush().await.unwrap();
        let page = store.index.sessions(&Visible::Everything, None, None).await.unwrap();
        page.items
            .into_iter()
            .map(|session| (session.status.phase, session.status.ended_reason))
            .collect()
    }

    fn suspended(agent: &str) -> NoSession {
        NoSession::Suspended(agent.to_owned())
    }

    #[tokio::test]
    async fn a_suspended_agent_has_no_session_and_whoever_holds_one_hears_of_it() {
        let (scratch, clock) = (Scratch::new(), clock());
        let store = open(&scratch, &clock).await.unwrap();
        let (coder, other) = (enter(&store, "coder", &clock), enter(&store, "other", &clock));
        // Its stream outlives its session, which is idle by now.
        clock.advance(Duration::from_secs(61));
        let next = try_enter(&store, "coder", "run-2", &clock).unwrap();
        suspend(&store, "coder", &clock).await;
        for held in [coder, next] {
            assert_eq!(
                (held.stop(), held.stopped().await),
                (Some(Stop::Suspended), Stop::Suspended)
            );
        }
        assert_eq!(other.stop(), None);
        for key in ["run-1", "run-2", "run-3"] {
            assert_eq!(try_enter(&store, "coder", key, &clock), Err(suspended("coder")));
        }
        assert!(try_enter(&store, "other", "run-1", &clock).is_ok());
        let ended = ended(&store).await;
        assert!(
            ended.contains(&(SessionPhase::Ended, Some(String::from("Suspended")))),
            "{ended:?}"
        );
    }

    #[tokio::test]
    async fn a_suspension_outlives_the_process_and_the_index() {
        let (scratch, clock) = (Scratch::new(), clock());
        let store = open(&scratch, &clock).await.unwrap();
        suspend(&store, "coder", &clock).await;
        let first = store.sessions.suspension("coder").unwrap();
        clock.advance(Duration::from_secs(1));
        suspend(&store, "coder", &clock).await;
        store.close().await;
        let reopened = open(&scratch, &clock).await.unwrap();
        assert_eq!(reopened.sessions.suspension("coder"), Some(first.clone()));
        assert_eq!(try_enter(&reopened, "coder", "run-1", &clock), Err(suspended("coder")));
        reopened.close().await;
        std::fs::remove_dir_all(scratch.path().join("index")).unwrap();
        let rebuilt = open(&scratch, &clock).await.unwrap();
        assert_eq!(rebuilt.sessions.suspension("coder"), Some(first));
        assert_eq!(try_enter(&rebuilt, "coder", "run-1", &clock), Err(suspended("coder")));
    }

    #[tokio::test]
    async fn the_credential_of_an_ended_session_gets_no_other_until_that_would_be_too_old() {
        let (scratch, clock) = (Scratch::new(), clock());
        let mut store = open(&scratch, &clock).await.unwrap();
        let session = enter(&store, "coder", &clock);
        stop(&store, &session, &clock).await;
        assert_eq!(
            (session.stop(), session.stopped().await),
            (Some(Stop::Ended), Stop::Ended)
        );
        assert!(
            try_enter(&store, "coder", "run-2", &clock).is_ok(),
            "another run is another session"
        );
        for _ in ["in the same process", "in the next"] {
            let refused = NoSession::Ended(session.as_str().to_owned());
            assert_eq!(try_enter(&store, "coder", "run-1", &clock), Err(refused));
            store.close().await;
            store = open(&scratch, &clock).await.unwrap();
        }
        assert_eq!(
            ended(&store).await[0],
            (SessionPhase::Ended, Some(String::from("Operator")))
        );
        clock.advance(Duration::from_secs(200));
        assert_ne!(enter(&store, "coder", &clock), session);
    }

    #[tokio::test]
    async fn to_end_a_session_that_has_a_successor_leaves_that_one_alone() {
        let (scratch, clock) = (Scratch::new(), clock());
        let mut store = open(&scratch, &clock).await.unwrap();
        let idle = enter(&store, "coder", &clock);
        clock.advance(Duration::from_secs(61));
        let successor = enter(&store, "coder", &clock);
        stop(&store, &idle, &clock).await;
        assert_eq!((idle.stop(), successor.stop()), (Some(Stop::Ended), None));
        assert_eq!(enter(&store, "coder", &clock), successor);
        store.close().await;
        store = open(&scratch, &clock).await.unwrap();
        assert_eq!(enter(&store, "coder", &clock), successor);
    }

    /// Two gateways on one database: what an operator says to one holds in the other.
    #[tokio::test]
    async fn what_is_stopped_by_way_of_one_process_is_stopped_in_all() {
        let Some(scratch) = Scratch::postgres().await else {
            return;
        };
        let clock = clock();
        let (here, there) = (
            open(&scratch, &clock).await.unwrap(),
            open(&scratch, &clock).await.unwrap(),
        );
        let (coder, other) = (enter(&there, "coder", &clock), enter(&there, "other", &clock));
        suspend(&here, "coder", &clock).await;
        there.index.settled().await.unwrap();
        here.index.settled().await.unwrap();
        stop(&here, &other, &clock).await;
        let patience = Duration::from_secs(60);
        for (held, stop) in [(&coder, Stop::Suspended), (&other, Stop::Ended)] {
            assert_eq!(tokio::time::timeout(patience, held.stopped()).await.unwrap(), stop);
        }
        assert_eq!(try_enter(&there, "coder", "run-2", &clock), Err(suspended("coder")));
        let ended = NoSession::Ended(other.as_str().to_owned());
        assert_eq!(try_enter(&there, "other", "run-1", &clock), Err(ended));
        assert!(try_enter(&there, "other", "run-2", &clock).is_ok());
        let why = there.sessions.suspension("coder").map(|suspension| suspension.reason);
        assert_eq!(why.as_deref(), Some("it wandered"));
        here.close().await;
        there.close().await;
    }

    #[tokio::test]
    async fn what_is_not_known_is_not_ended() {
        let (scratch, clock) = (Scratch::new(), clock());
        let store = open(&scratch, &clock).await.unwrap();
        let id = AuditId::from_random([1; 16]);
        assert!(!store.stop_session("ses-nobody", &id, clock.now()).await.unwrap());
    }
}
