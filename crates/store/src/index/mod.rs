//! The index: sessions and events as the virtual API shows them, made from the journal behind the request path.
//!
//! In: what the journal holds durably. Out: lists, single objects, what changed since. Never asked in a decision about a request.
//! Lost or behind, it is made from the journal.

mod batch;
mod event;
mod indexer;
mod read;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mantlet_api::gate::{Session, SessionEvent};
use mantlet_core::time::{Clock, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::StoreFault;
use crate::journal::{Journal, Pen};
use indexer::{Indexed, Indexer};
use read::Continue;

#[derive(Debug)]
pub struct Index {
    pool: SqlitePool,
    pen: Pen,
    indexed: watch::Receiver<Indexed>,
    versions: watch::Receiver<u64>,
    clock: Arc<dyn Clock>,
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

/// A session that had not ended when the process did.
#[derive(Debug)]
pub(crate) struct LiveSession {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) last_seen: Timestamp,
    pub(crate) idle: std::time::Duration,
    pub(crate) ends: Timestamp,
}

/// The most rows of one answer, whatever was asked for.
const LIMIT: i64 = 1_000;

impl Index {
    /// Opens `database` (`sqlite:///path`) and begins to follow the journal.
    pub(crate) async fn open(database: &str, journal: &Journal, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        let path = path(database)?;
        create(&path)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            // The journal is the truth; what a power loss takes from the index is made again.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(std::time::Duration::from_secs(10));
        let hint = "hint: remove the file; the index is made anew from the journal";
        let unusable = |fault: &dyn std::fmt::Display| StoreFault::unusable(&path, format!("{fault}\n{hint}"));
        let mut write = options.connect().await.map_err(|fault| unusable(&fault))?;
        let migrations = sqlx::migrate!("migrations/sqlite");
        migrations.run(&mut write).await.map_err(|fault| unusable(&fault))?;
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true))
            .await?;
        let indexer = Indexer::new(write, journal).await?;
        let indexed = indexer.indexed();
        let (versions, follow) = versions(indexed.clone());
        let tasks = Mutex::new(vec![tokio::spawn(indexer.run()), tokio::spawn(follow)]);
        Ok(Self {
            pool,
            pen: journal.pen(),
            indexed,
            versions,
            clock,
            tasks,
        })
    }

    /// Returns once everything that was written to the journal before can be seen here.
    pub async fn flush(&self) -> Result<(), StoreFault> {
        let head = self.pen.settled().await?;
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
            Visible::Everything => sqlx::query("SELECT * FROM sessions WHERE created > $1 ORDER BY created LIMIT $2"),
            Visible::Own(_) => sqlx::query(
                "SELECT * FROM sessions WHERE created > $1 AND issuer = $3 AND subject = $4 ORDER BY created LIMIT $2",
            ),
        };
        let rows = rows.bind(from.after).bind(wanted + 1);
        let rows = match visible {
            Visible::Everything => rows,
            Visible::Own(owner) => rows.bind(&owner.issuer).bind(&owner.subject),
        };
        let now = self.clock.now();
        page(rows.fetch_all(&self.pool).await?, from, wanted, |row| {
            read::session(row, now)
        })
    }

    /// None also if it may not be seen.
    pub async fn session(&self, visible: &Visible, name: &str) -> Result<Option<Session>, StoreFault> {
        let row = sqlx::query("SELECT * FROM sessions WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
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
            (Visible::Everything, None) => {
                sqlx::query("SELECT * FROM events WHERE created > $1 ORDER BY created LIMIT $2")
            }
            (Visible::Everything, Some(_)) => {
                sqlx::query("SELECT * FROM events WHERE created > $1 AND session = $3 ORDER BY created LIMIT $2")
            }
            (Visible::Own(_), None) => sqlx::query(
                "SELECT * FROM events WHERE created > $1 AND issuer = $3 AND subject = $4 ORDER BY created LIMIT $2",
            ),
            (Visible::Own(_), Some(_)) => sqlx::query(
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
        page(rows.fetch_all(&self.pool).await?, from, wanted, read::event)
    }

    /// None also if it may not be seen.
    pub async fn event(&self, visible: &Visible, audit_id: &str) -> Result<Option<SessionEvent>, StoreFault> {
        let row = sqlx::query("SELECT * FROM events WHERE audit_id = $1").bind(audit_id);
        let Some(row) = row.fetch_optional(&self.pool).await? else {
            return Ok(None);
        };
        match visible.admits(read::owner(&row)?.as_ref()) {
            true => read::event(&row).map(Some),
            false => Ok(None),
        }
    }

    /// Sessions changed after `version`, in the order of change; as many as fit. Ask again from the last one's version until none come.
    pub async fn sessions_since(&self, version: u64) -> Result<Vec<Change<Session>>, StoreFault> {
        let rows = sqlx::query("SELECT * FROM sessions WHERE changed > $1 ORDER BY changed LIMIT $2");
        let rows = rows.bind(signed(version)).bind(LIMIT).fetch_all(&self.pool).await?;
        let now = self.clock.now();
        rows.iter()
            .map(|row| change(row, version, read::session(row, now)?))
            .collect()
    }

    /// Likewise for events.
    pub async fn events_since(&self, version: u64) -> Result<Vec<Change<SessionEvent>>, StoreFault> {
        let rows = sqlx::query("SELECT * FROM events WHERE changed > $1 ORDER BY changed LIMIT $2");
        let rows = rows.bind(signed(version)).bind(LIMIT).fetch_all(&self.pool).await?;
        rows.iter().map(|row| change(row, version, read::event(row)?)).collect()
    }

    /// The uid under which the cluster of this name was last seen at work; none if nothing was recorded of it.
    pub async fn cluster_uid(&self, name: &str) -> Result<Option<String>, StoreFault> {
        let row =
            sqlx::query("SELECT cluster_uid FROM sessions WHERE cluster = $1 ORDER BY created DESC LIMIT 1").bind(name);
        let row = row.fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get("cluster_uid")).transpose()?)
    }

    pub(crate) async fn live_sessions(&self) -> Result<Vec<LiveSession>, StoreFault> {
        let rows = sqlx::query("SELECT name, session_key, last_seen, idle, ends FROM sessions WHERE ended IS NULL");
        let rows = rows.fetch_all(&self.pool).await?;
        rows.iter().map(live).collect()
    }

    /// After the journal's end: waits until all of it is indexed.
    pub(crate) async fn close(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = task.await;
        }
        self.pool.close().await;
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

fn path(database: &str) -> Result<PathBuf, StoreFault> {
    match database.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        Some(_) | None => {
            // A connection URL holds a password: only its scheme is repeated.
            let scheme = database.split_once("://").map_or("", |(scheme, _)| scheme);
            Err(StoreFault::Unsupported {
                database: format!("{scheme}://…"),
            })
        }
    }
}

/// Before SQLite does, because its files take the mode of this one.
fn create(path: &Path) -> Result<(), StoreFault> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let mut options = std::fs::OpenOptions::new();
    let made = made.and_then(|()| options.append(true).create(true).mode(0o600).open(path));
    made.map(drop).map_err(|fault| StoreFault::unusable(path, fault))
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
    mut rows: Vec<sqlx::sqlite::SqliteRow>,
    from: Continue,
    wanted: i64,
    read: impl Fn(&sqlx::sqlite::SqliteRow) -> Result<T, StoreFault>,
) -> Result<Page<T>, StoreFault> {
    let more = rows.len() as i64 > wanted;
    rows.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let after = rows.last().map(|row| row.try_get::<i64, _>("created")).transpose()?;
    let r#continue = after.filter(|_| more).map(|after| Continue { after, ..from }.text());
    let items = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        r#continue,
        resource_version: unsigned(from.version),
    })
}

fn change<T>(row: &sqlx::sqlite::SqliteRow, since: u64, object: T) -> Result<Change<T>, StoreFault> {
    let created: i64 = row.try_get("created")?;
    let version = unsigned(row.try_get("changed")?);
    Ok(Change {
        object,
        owner: read::owner(row)?,
        version,
        added: unsigned(created) > since,
    })
}

fn live(row: &sqlx::sqlite::SqliteRow) -> Result<LiveSession, StoreFault> {
    Ok(LiveSession {
        name: row.try_get("name")?,
        key: row.try_get("session_key")?,
        last_seen: Timestamp::from_micros(row.try_get("last_seen")?),
        idle: std::time::Duration::from_micros(unsigned(row.try_get("idle")?)),
        ends: Timestamp::from_micros(row.try_get("ends")?),
    })
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
