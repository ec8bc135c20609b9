//! The index: sessions and events as the virtual API shows them, made from the journal behind the request path.
//!
//! In: what the journal holds durably. Out: lists, single objects, what changed since. Never asked in a decision about a request.
//! Lost or behind, it is made from the journal.

mod batch;
pub(crate) mod event;
mod forget;
mod indexer;
mod read;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use mantlet_api::gate::{Session, SessionEvent};
use mantlet_core::time::{Clock, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::StoreFault;
use crate::database::{Database, Row, query};
use crate::journal::{Chains, Journal, Pen};
use crate::stops::{Stops, Suspension};
use indexer::{Indexed, Indexer};
use read::Continue;

#[derive(Debug)]
pub struct Index {
    database: Database,
    pen: Pen,
    indexed: watch::Receiver<Indexed>,
    hurry: Arc<Notify>,
    versions: watch::Receiver<u64>,
    clock: Arc<dyn Clock>,
    chains: Chains,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub issuer: String,
    pub subject: String,
}

/// Which rows may be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    Everything,
    Own(Owner),
}

/// One page of a list, in the order of creation.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What the next page is asked for with; none on the last.
    pub r#continue: Option<String>,
    /// That of the first page, on every page.
    pub resource_version: u64,
}

/// An object that is new, or different, since a resourceVersion.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<T> {
    pub object: T,
    pub owner: Option<Owner>,
    pub version: u64,
    /// Whether it did not exist at that resourceVersion.
    pub added: bool,
}

/// How much there is in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    pub sessions: u64,
    pub events: u64,
}

/// A session that had not ended when the process did.
#[derive(Debug)]
pub(crate) struct LiveSession {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) agent: Option<String>,
    pub(crate) last_seen: Timestamp,
    pub(crate) idle: std::time::Duration,
    pub(crate) ends: Timestamp,
}

/// How soon a stop is heard of by the other processes: a suspension is in force everywhere within a second.
const HEARSAY: std::time::Duration = std::time::Duration::from_millis(250);
/// The most rows of one answer, whatever was asked for.
const LIMIT: i64 = 1_000;

impl Index {
    /// Begins to follow the journal.
    pub(crate) async fn open(database: Database, journal: &Journal, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        let indexer = Indexer::new(database.clone(), journal).await?;
        let (indexed, hurry) = (indexer.indexed(), indexer.hurry());
        let (versions, follow) = versions(indexed.clone());
        let tasks = Mutex::new(vec![tokio::spawn(indexer.run()), tokio::spawn(follow)]);
        Ok(Self {
            database,
            pen: journal.pen(),
            indexed,
            hurry,
            versions,
            clock,
            chains: journal.chains(),
            tasks,
        })
    }

    /// Throws away what there is. Follow the journal after that.
    pub(crate) async fn forget(database: &Database) -> Result<(), StoreFault> {
        indexer::forget(database).await
    }

    /// Returns once every chain is indexed as far as it is written now.
    pub(crate) async fn settled(&self) -> Result<(), StoreFault> {
        self.flush().await?;
        let Chains::Many(_) = self.chains else {
            return Ok(());
        };
        let mut indexed = self.indexed.clone();
        let rounds = indexed.borrow_and_update().rounds;
        // The round that is under way may have passed a chain already.
        let reached = indexed.wait_for(|indexed| {
            self.hurry.notify_one();
            indexed.rounds >= rounds + 2 || indexed.over || indexed.health.is_err()
        });
        let reached = reached.await.map_err(|_| StoreFault::Closed)?;
        reached.health.clone()
    }

    /// Returns once everything that was written to the journal before can be seen here.
    pub async fn flush(&self) -> Result<(), StoreFault> {
        let head = self.pen.settled().await?;
        self.hurry.notify_one();
        let mut indexed = self.indexed.clone();
        let reached = indexed
            .wait_for(|indexed| indexed.seq >= head.seq || indexed.over || indexed.health.is_err())
            .await;
        let indexed = reached.map_err(|_| StoreFault::Closed)?;
        match indexed.seq >= head.seq {
            true => Ok(()),
            false => indexed.health.clone().and(Err(StoreFault::Closed)),
        }
    }

    /// Whether the index keeps up with the journal.
    pub fn health(&self) -> Result<(), StoreFault> {
        self.indexed.borrow().health.clone()
    }

    /// The resourceVersion of the latest change.
    pub fn version(&self) -> u64 {
        unsigned(self.indexed.borrow().version)
    }

    /// Changes its value with each change of the index: the resourceVersion.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.clone()
    }

    pub async fn sessions(
        &self,
        visible: &Visible,
        limit: Option<u32>,
        r#continue: Option<&str>,
    ) -> Result<Page<Session>, StoreFault> {
        let from = self.from(r#continue)?;
        let wanted = wanted(limit);
        let rows = match visible {
            Visible::Everything => query("SELECT * FROM sessions WHERE created > $1 ORDER BY created LIMIT $2"),
            Visible::Own(_) => query(
                "SELECT * FROM sessions WHERE created > $1 AND issuer = $3 AND subject = $4 ORDER BY created LIMIT $2",
            ),
        };
        let rows = rows.bind(from.after).bind(wanted + 1);
        let rows = match visible {
            Visible::Everything => rows,
            Visible::Own(owner) => rows.bind(&owner.issuer).bind(&owner.subject),
        };
        let now = self.clock.now();
        page(self.database.all(rows).await?, from, wanted, |row| {
            read::session(row, now)
        })
    }

    /// None also if it may not be seen.
    pub async fn session(&self, visible: &Visible, name: &str) -> Result<Option<Session>, StoreFault> {
        let row = query("SELECT * FROM sessions WHERE name = $1").bind(name);
        let Some(row) = self.database.one(row).await? else {
            return Ok(None);
        };
        match visible.admits(read::owner(&row)?.as_ref()) {
            true => read::session(&row, self.clock.now()).map(Some),
            false => Ok(None),
        }
    }

    /// Of one session, or of all.
    pub async fn events(
        &self,
        visible: &Visible,
        session: Option<&str>,
        limit: Option<u32>,
        r#continue: Option<&str>,
    ) -> Result<Page<SessionEvent>, StoreFault> {
        let from = self.from(r#continue)?;
        let wanted = wanted(limit);
        let rows = match (visible, session) {
            (Visible::Everything, None) => query("SELECT * FROM events WHERE created > $1 ORDER BY created LIMIT $2"),
            (Visible::Everything, Some(_)) => {
                query("SELECT * FROM events WHERE created > $1 AND session = $3 ORDER BY created LIMIT $2")
            }
            (Visible::Own(_), None) => query(
                "SELECT * FROM events WHERE created > $1 AND issuer = $3 AND subject = $4 ORDER BY created LIMIT $2",
            ),
            (Visible::Own(_), Some(_)) => query(
                "SELECT * FROM events WHERE created > $1 AND session = $3 AND issuer = $4 AND subject = $5 ORDER BY created LIMIT $2",
            ),
        };
        let mut rows = rows.bind(from.after).bind(wanted + 1);
        if let Some(session) = session {
            rows = rows.bind(session);
        }
        if let Visible::Own(owner) = visible {
            rows = rows.bind(&owner.issuer).bind(&owner.subject);
        }
        page(self.database.all(rows).await?, from, wanted, read::event)
    }

    /// None also if it may not be seen.
    pub async fn event(&self, visible: &Visible, audit_id: &str) -> Result<Option<SessionEvent>, StoreFault> {
        let row = query("SELECT * FROM events WHERE audit_id = $1").bind(audit_id);
        let Some(row) = self.database.one(row).await? else {
            return Ok(None);
        };
        match visible.admits(read::owner(&row)?.as_ref()) {
            true => read::event(&row).map(Some),
            false => Ok(None),
        }
    }

    /// Sessions changed after `version`, in the order of change; as many as fit. Ask again from the last one's version until none come.
    pub async fn sessions_since(&self, version: u64) -> Result<Vec<Change<Session>>, StoreFault> {
        let rows = query("SELECT * FROM sessions WHERE changed > $1 ORDER BY changed LIMIT $2");
        let rows = self.database.all(rows.bind(signed(version)).bind(LIMIT)).await?;
        let now = self.clock.now();
        rows.iter()
            .map(|row| change(row, version, read::session(row, now)?))
            .collect()
    }

    /// Likewise for events.
    pub async fn events_since(&self, version: u64) -> Result<Vec<Change<SessionEvent>>, StoreFault> {
        let rows = query("SELECT * FROM events WHERE changed > $1 ORDER BY changed LIMIT $2");
        let rows = self.database.all(rows.bind(signed(version)).bind(LIMIT)).await?;
        rows.iter().map(|row| change(row, version, read::event(row)?)).collect()
    }

    /// The uid under which the cluster of this name was last seen at work; none if nothing was recorded of it.
    pub async fn cluster_uid(&self, name: &str) -> Result<Option<String>, StoreFault> {
        let row = query("SELECT cluster_uid FROM sessions WHERE cluster = $1 ORDER BY created DESC LIMIT 1").bind(name);
        let row = self.database.one(row).await?;
        row.map(|row| row.try_get("cluster_uid")).transpose()
    }

    pub(crate) async fn rows(&self) -> Result<Rows, StoreFault> {
        let count = "SELECT (SELECT count(*) FROM sessions) AS sessions, (SELECT count(*) FROM events) AS events";
        let row = self.database.one(query(count)).await?;
        let row = row.ok_or_else(|| StoreFault::Index(String::from("it cannot be counted")))?;
        Ok(Rows {
            sessions: unsigned(row.try_get("sessions")?),
            events: unsigned(row.try_get("events")?),
        })
    }

    /// Of the chain `writer`: what other processes hold is theirs to end.
    pub(crate) async fn live_sessions(&self, writer: &str) -> Result<Vec<LiveSession>, StoreFault> {
        let rows =
            "SELECT name, session_key, agent, last_seen, idle, ends FROM sessions WHERE ended IS NULL AND writer = $1";
        let rows = self.database.all(query(rows).bind(writer)).await?;
        rows.iter().map(live).collect()
    }

    /// A session by its name, whether it has ended or not.
    pub(crate) async fn session_to_stop(&self, name: &str) -> Result<Option<LiveSession>, StoreFault> {
        let row = query("SELECT name, session_key, agent, last_seen, idle, ends FROM sessions WHERE name = $1");
        let row = self.database.one(row.bind(name)).await?;
        row.as_ref().map(live).transpose()
    }

    /// What operators have stopped before this process began, and is still stopped.
    pub(crate) async fn stops(&self, now: Timestamp) -> Result<Stops, StoreFault> {
        stops(&self.database, now).await
    }

    /// Where several processes share the database: what is stopped by way of one of them is soon stopped in each.
    pub(crate) fn hear_of_stops(&self, told: watch::Sender<Stops>) {
        let Chains::Many(_) = self.chains else { return };
        let (database, clock, mut indexed) = (self.database.clone(), self.clock.clone(), self.indexed.clone());
        let task = tokio::spawn(async move {
            loop {
                let now = clock.now();
                match stops(&database, now).await {
                    Ok(found) => drop(told.send_if_modified(|known| known.join(found, now))),
                    // The journal lies in the same database: while it is away, nobody is served at all.
                    Err(fault) => tracing::warn!(%fault, "what others have stopped cannot be read"),
                }
                tokio::select! {
                    () = tokio::time::sleep(HEARSAY) => {}
                    _ = indexed.wait_for(|indexed| indexed.over) => return,
                }
            }
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// After the journal's end: waits until all of it is indexed.
    pub(crate) async fn close(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = task.await;
        }
        self.database.close().await;
    }

    fn from(&self, r#continue: Option<&str>) -> Result<Continue, StoreFault> {
        match r#continue {
            Some(text) => Continue::parse(text),
            None => Ok(Continue {
                version: self.indexed.borrow().version,
                after: 0,
            }),
        }
    }
}

impl Visible {
    pub fn admits(&self, owner: Option<&Owner>) -> bool {
        match self {
            Visible::Everything => true,
            Visible::Own(own) => owner == Some(own),
        }
    }
}

/// The resourceVersion alone, for those who watch.
fn versions(
    mut indexed: watch::Receiver<Indexed>,
) -> (watch::Receiver<u64>, impl Future<Output = ()> + Send + 'static) {
    let (send, receive) = watch::channel(unsigned(indexed.borrow().version));
    let follow = async move {
        while indexed.changed().await.is_ok() {
            let (version, over) = {
                let now = indexed.borrow_and_update();
                (unsigned(now.version), now.over)
            };
            send.send_if_modified(|known| std::mem::replace(known, version) != version);
            if over {
                return;
            }
        }
    };
    (receive, follow)
}

fn page<T>(
    mut rows: Vec<Row>,
    from: Continue,
    wanted: i64,
    read: impl Fn(&Row) -> Result<T, StoreFault>,
) -> Result<Page<T>, StoreFault> {
    let more = rows.len() as i64 > wanted;
    rows.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let after = rows.last().map(|row| row.try_get::<i64>("created")).transpose()?;
    let r#continue = after.filter(|_| more).map(|after| Continue { after, ..from }.text());
    let items = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        r#continue,
        resource_version: unsigned(from.version),
    })
}

fn change<T>(row: &Row, since: u64, object: T) -> Result<Change<T>, StoreFault> {
    let created: i64 = row.try_get("created")?;
    let version = unsigned(row.try_get("changed")?);
    Ok(Change {
        object,
        owner: read::owner(row)?,
        version,
        added: unsigned(created) > since,
    })
}

fn live(row: &Row) -> Result<LiveSession, StoreFault> {
    Ok(LiveSession {
        name: row.try_get("name")?,
        key: row.try_get("session_key")?,
        agent: row.try_get("agent")?,
        last_seen: Timestamp::from_micros(row.try_get("last_seen")?),
        idle: std::time::Duration::from_micros(unsigned(row.try_get("idle")?)),
        ends: Timestamp::from_micros(row.try_get("ends")?),
    })
}

/// What is stopped, as the index has it.
async fn stops(database: &Database, now: Timestamp) -> Result<Stops, StoreFault> {
    let mut stops = Stops::default();
    let rows = query("SELECT agent, suspended, username, reason FROM suspensions ORDER BY suspended");
    for row in database.all(rows).await? {
        let suspension = Suspension {
            at: Timestamp::from_micros(row.try_get("suspended")?),
            by: row.try_get("username")?,
            reason: row.try_get("reason")?,
        };
        stops.learn(row.try_get("agent")?, suspension);
    }
    // A key that has a session of its own again, begun later, is not held to the one that ended.
    let rows = query(
        "SELECT name, session_key, ends, EXISTS (SELECT 1 FROM sessions AS later
             WHERE later.session_key = sessions.session_key AND later.created > sessions.created) AS succeeded
         FROM sessions WHERE ended_why = 'Operator' AND ends > $1",
    );
    for row in database.all(rows.bind(now.micros())).await? {
        let (name, key): (String, String) = (row.try_get("name")?, row.try_get("session_key")?);
        let key = (!row.try_get::<bool>("succeeded")?).then_some(key.as_str());
        stops.end(&name, key, Timestamp::from_micros(row.try_get("ends")?), now);
    }
    Ok(stops)
}

/// Without a limit a list is whole, as the API server's is.
fn wanted(limit: Option<u32>) -> i64 {
    match limit {
        None | Some(0) => i64::from(u32::MAX),
        Some(limit) => i64::from(limit),
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
