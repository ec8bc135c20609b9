//! Follows the journal, behind the request path: one transaction per stretch, the place in the journal with it.

use std::time::Duration;

use mantlet_api::audit::Event;
use mantlet_core::record::Line;
use mantlet_core::time::Timestamp;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{Connection, Row, Transaction};
use tokio::sync::watch;

use super::batch::{Batch, EventRow, RowState, SessionChange};
use crate::StoreFault;
use crate::journal::{Head, Journal, Progress, Tail};

/// A database that fails is tried again: the journal goes on without it, and nothing is lost.
const AGAIN: Duration = Duration::from_secs(1);

/// How far the index has got.
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    pub(super) seq: u64,
    /// The resourceVersion of the latest change.
    pub(super) version: i64,
    pub(super) health: Result<(), StoreFault>,
    pub(super) over: bool,
}

#[derive(Debug)]
pub(super) struct Indexer {
    database: SqliteConnection,
    writer: String,
    tail: Tail,
    progress: watch::Receiver<Progress>,
    indexed: watch::Sender<Indexed>,
}

impl Indexer {
    /// Goes on where the database stands; from the beginning if it is new, or is another journal's.
    pub(super) async fn new(mut database: SqliteConnection, journal: &Journal) -> Result<Self, StoreFault> {
        let writer = journal.writer_id().to_owned();
        let at = place(&mut database, &writer, journal.head()).await?;
        let version = version(&mut database).await?;
        let (indexed, _) = watch::channel(Indexed {
            seq: at.seq,
            version,
            health: Ok(()),
            over: false,
        });
        Ok(Self {
            database,
            writer,
            tail: journal.tail(at),
            progress: journal.progress(),
            indexed,
        })
    }

    pub(super) fn indexed(&self) -> watch::Receiver<Indexed> {
        self.indexed.subscribe()
    }

    /// Until the journal ends and everything in it is indexed.
    pub(super) async fn run(mut self) {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            match self.catch_up(progress.head).await {
                Ok(()) if progress.over.is_some() => break,
                Ok(()) => {
                    if self.progress.changed().await.is_err() {
                        break;
                    }
                }
                Err(fault) => {
                    tracing::error!(%fault, "index is behind the journal");
                    self.indexed.send_modify(|indexed| indexed.health = Err(fault));
                    if progress.over.is_some() {
                        break;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        self.indexed.send_modify(|indexed| indexed.over = true);
        if let Err(fault) = self.database.close().await {
            tracing::warn!(%fault, "index was not closed cleanly");
        }
    }

    async fn catch_up(&mut self, durable: Head) -> Result<(), StoreFault> {
        loop {
            let before = self.tail.at();
            let lines = self.tail.read(durable)?;
            if lines.is_empty() {
                return Ok(());
            }
            let after = self.tail.at();
            match apply(&mut self.database, &self.writer, lines, after).await {
                Ok(version) => {
                    let indexed = Indexed {
                        seq: after.seq,
                        version,
                        health: Ok(()),
                        over: false,
                    };
                    self.indexed.send_replace(indexed);
                }
                Err(fault) => {
                    self.tail.back_to(before);
                    return Err(fault);
                }
            }
        }
    }
}

async fn place(database: &mut SqliteConnection, writer: &str, head: Head) -> Result<Head, StoreFault> {
    let row = sqlx::query("SELECT writer, segment, position, seq FROM journals")
        .fetch_optional(&mut *database)
        .await?;
    if let Some(row) = row {
        let at = Head {
            segment: number(&row, "segment")?,
            offset: number(&row, "position")?,
            seq: number(&row, "seq")?,
        };
        if row.try_get::<String, _>("writer")? == writer && at <= head && at.seq <= head.seq {
            return Ok(at);
        }
        tracing::warn!("index does not belong to this journal and is made anew");
        forget(database).await?;
    }
    Ok(Head {
        segment: 1,
        offset: 0,
        seq: 0,
    })
}

async fn forget(database: &mut SqliteConnection) -> Result<(), StoreFault> {
    let mut change = database.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM journals").execute(&mut *change).await?;
    sqlx::query("DELETE FROM sessions").execute(&mut *change).await?;
    sqlx::query("DELETE FROM events").execute(&mut *change).await?;
    sqlx::query("DELETE FROM refusals").execute(&mut *change).await?;
    Ok(change.commit().await?)
}

async fn version(database: &mut SqliteConnection) -> Result<i64, StoreFault> {
    Ok(
        sqlx::query_scalar("SELECT value FROM meta WHERE name = 'resourceVersion'")
            .fetch_one(database)
            .await?,
    )
}

/// All rows of a stretch, and how far it went, or nothing.
async fn apply(
    database: &mut SqliteConnection,
    writer: &str,
    lines: Vec<Line>,
    after: Head,
) -> Result<i64, StoreFault> {
    let mut change = database.begin_with("BEGIN IMMEDIATE").await?;
    let mut batch = Batch::default();
    for id in Batch::missing(&lines) {
        if let Some(row) = stored(&mut change, id).await? {
            batch.know(row);
        }
    }
    lines.into_iter().for_each(|line| batch.add(line));
    let version = write(&mut change, batch).await?;
    sqlx::query(
        "INSERT INTO journals (writer, segment, position, seq) VALUES ($1, $2, $3, $4)
         ON CONFLICT (writer) DO UPDATE SET segment = $2, position = $3, seq = $4",
    )
    .bind(writer)
    .bind(signed(after.segment)?)
    .bind(signed(after.offset)?)
    .bind(signed(after.seq)?)
    .execute(&mut *change)
    .await?;
    change.commit().await?;
    Ok(version)
}

/// Sessions first: whoever watches both sees a session before its events.
async fn write(change: &mut Transaction<'_, Sqlite>, batch: Batch) -> Result<i64, StoreFault> {
    let rows = batch.sessions.len() + batch.events.len();
    let version: i64 =
        sqlx::query_scalar("UPDATE meta SET value = value + $1 WHERE name = 'resourceVersion' RETURNING value")
            .bind(i64::try_from(rows).unwrap_or(i64::MAX))
            .fetch_one(&mut **change)
            .await?;
    let mut next = version - i64::try_from(rows).unwrap_or(0);
    let (mut fresh, known): (Vec<_>, Vec<_>) = batch.sessions.into_iter().partition(|(_, row)| row.started.is_some());
    fresh.sort_by_key(|(_, row)| row.started.as_ref().map(|(started, _)| started.at));
    for (name, row) in fresh.into_iter().chain(known) {
        next += 1;
        write_session(change, &name, row, next).await?;
    }
    for row in batch.events {
        next += 1;
        match row.state {
            RowState::New => insert_event(change, row, next).await?,
            RowState::Stored => update_event(change, row, next).await?,
        }
    }
    for counted in batch.refusals {
        sqlx::query("INSERT INTO refusals (second, count) VALUES ($1, $2) ON CONFLICT (second) DO UPDATE SET count = refusals.count + $2")
            .bind(counted.second)
            .bind(signed(counted.count)?)
            .execute(&mut **change)
            .await?;
    }
    Ok(version)
}

async fn write_session(
    change: &mut Transaction<'_, Sqlite>,
    name: &str,
    row: SessionChange,
    version: i64,
) -> Result<(), StoreFault> {
    if let Some((started, cluster)) = row.started {
        let caller = started.caller;
        sqlx::query(
            "INSERT INTO sessions (name, uid, session_key, cluster, cluster_uid, agent, issuer, subject, username, user_groups,
                 population, upstream_user, started, last_seen, idle, ends, requests, refused, created, changed)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15, 0, 0, $16, $16)",
        )
        .bind(name)
        .bind(started.uid)
        .bind(started.key)
        .bind(cluster.name)
        .bind(cluster.uid)
        .bind(caller.agent)
        .bind(caller.issuer)
        .bind(caller.subject)
        .bind(caller.username)
        .bind(json(&caller.groups)?)
        .bind(population(caller.population))
        .bind(caller.impersonated.user)
        .bind(started.at.micros())
        .bind(signed(started.idle)?)
        .bind(started.ends.micros())
        .bind(version)
        .execute(&mut **change)
        .await?;
    }
    sqlx::query(
        "UPDATE sessions SET requests = requests + $2, refused = refused + $3, changed = $4,
             last_seen = CASE WHEN last_seen < $5 THEN $5 ELSE last_seen END,
             ended = COALESCE($6, ended), ended_why = COALESCE($7, ended_why)
         WHERE name = $1",
    )
    .bind(name)
    .bind(row.requests)
    .bind(row.refused)
    .bind(version)
    .bind(row.last_seen.map_or(0, Timestamp::micros))
    .bind(row.ended.map(|(at, _)| at.micros()))
    .bind(row.ended.map(|(_, why)| format!("{why:?}")))
    .execute(&mut **change)
    .await?;
    Ok(())
}

async fn insert_event(change: &mut Transaction<'_, Sqlite>, row: EventRow, version: i64) -> Result<(), StoreFault> {
    let (issuer, subject) = row.owner.unzip();
    sqlx::query(
        "INSERT INTO events (audit_id, session, issuer, subject, cluster, verb, decision, code, opened, closed, created, changed, event)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)",
    )
    .bind(row.event.audit_id.clone())
    .bind(row.session)
    .bind(issuer)
    .bind(subject)
    .bind(row.cluster)
    .bind(row.event.verb.clone())
    .bind(row.decision)
    .bind(code(&row.event))
    .bind(row.opened.micros())
    .bind(row.closed.map(Timestamp::micros))
    .bind(version)
    .bind(json(&row.event)?)
    .execute(&mut **change)
    .await?;
    Ok(())
}

async fn update_event(change: &mut Transaction<'_, Sqlite>, row: EventRow, version: i64) -> Result<(), StoreFault> {
    sqlx::query("UPDATE events SET code = $2, closed = $3, changed = $4, event = $5 WHERE audit_id = $1")
        .bind(row.event.audit_id.clone())
        .bind(code(&row.event))
        .bind(row.closed.map(Timestamp::micros))
        .bind(version)
        .bind(json(&row.event)?)
        .execute(&mut **change)
        .await?;
    Ok(())
}

async fn stored(change: &mut Transaction<'_, Sqlite>, id: &str) -> Result<Option<EventRow>, StoreFault> {
    let row = sqlx::query("SELECT session, opened, closed, event FROM events WHERE audit_id = $1").bind(id);
    let Some(row) = row.fetch_optional(&mut **change).await? else {
        return Ok(None);
    };
    let event: Event =
        serde_json::from_str(row.try_get("event")?).map_err(|fault| StoreFault::Index(fault.to_string()))?;
    Ok(Some(EventRow {
        event,
        session: row.try_get("session")?,
        owner: None,
        cluster: None,
        decision: None,
        opened: Timestamp::from_micros(row.try_get("opened")?),
        closed: row.try_get::<Option<i64>, _>("closed")?.map(Timestamp::from_micros),
        state: RowState::Stored,
    }))
}

fn code(event: &Event) -> Option<i64> {
    event.response_status.as_ref().map(|status| i64::from(status.code))
}

fn population(population: mantlet_core::identity::Population) -> &'static str {
    match population {
        mantlet_core::identity::Population::Agents => "agents",
        mantlet_core::identity::Population::People => "people",
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreFault> {
    serde_json::to_string(value).map_err(|fault| StoreFault::Index(fault.to_string()))
}

fn number(row: &sqlx::sqlite::SqliteRow, name: &str) -> Result<u64, StoreFault> {
    u64::try_from(row.try_get::<i64, _>(name)?).map_err(|_| StoreFault::Index(format!("`{name}` is negative")))
}

fn signed(number: u64) -> Result<i64, StoreFault> {
    i64::try_from(number).map_err(|_| StoreFault::Index(format!("{number} is too large")))
}
