//! Follows the journal, behind the request path: one transaction per stretch, the place in the journal with it.
//!
//! Where several processes share a database, each follows every chain: its own at once, the others now and then, so that the chain of a
//! process that is gone is read all the same. Whoever comes first moves the place; the others find it moved and go on from there.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError};
use std::time::Duration;

use mantlet_api::audit::Event;
use mantlet_core::record::{AgentSuspended, ChainHead, Line};
use mantlet_core::time::Timestamp;
use tokio::sync::{Notify, watch};

use super::batch::{Batch, EventRow, RowState, SessionChange};
use crate::StoreFault;
use crate::database::{Change, Database, Query, Row, query};
use crate::disk::Disk;
use crate::journal::{Chains, Head, Journal, Others, Progress, stretch};

/// A database that fails is tried again: the journal goes on without it, and nothing is lost.
const AGAIN: Duration = Duration::from_secs(1);

/// More comes within this time, and one transaction for it all costs less than one for each flush of the journal: requests that began and
/// ended in it are one insert. Whoever waits for the index hurries it.
const GATHER: Duration = Duration::from_millis(100);

/// A transaction takes no more once it has so many.
const LINES: usize = 1024;
/// Nor more than so many reads of the journal, whose lines may be long.
const READS: usize = 8;

/// How often the chains of other processes are looked at.
const OTHERS: Duration = Duration::from_millis(500);
/// Of a chain of which nothing was pruned.
const BEGINNING: Head = Head {
    segment: 1,
    offset: 0,
    seq: 0,
};

/// How far the index has got.
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    /// Of the own chain.
    pub(super) seq: u64,
    /// The resourceVersion of the latest change.
    pub(super) version: i64,
    /// How often every chain was read to its end.
    pub(super) rounds: u64,
    pub(super) health: Result<(), StoreFault>,
    pub(super) over: bool,
}

#[derive(Debug)]
pub(super) struct Indexer {
    database: Database,
    own: Follower,
    chains: Chains,
    others: BTreeMap<String, Follower>,
    /// Where those chains stand, for the own checkpoints.
    witnessed: Others,
    progress: watch::Receiver<Progress>,
    indexed: watch::Sender<Indexed>,
    hurry: Arc<Notify>,
}

/// How far one chain has been read.
#[derive(Debug)]
struct Follower {
    writer: String,
    disk: Arc<dyn Disk>,
    at: Head,
    /// The last record but one that was read of it: the last names its hash.
    read: Option<ChainHead>,
}

impl Indexer {
    /// Goes on where the database stands; from the beginning if it is new, or is another journal's.
    pub(super) async fn new(database: Database, journal: &Journal) -> Result<Self, StoreFault> {
        let writer = journal.writer_id().to_owned();
        if matches!(database, Database::Sqlite { .. }) {
            forget_others(&database, &writer).await?;
        }
        let at = own_place(&database, &writer, journal.base(), reaches(journal)).await?;
        let (indexed, _) = watch::channel(Indexed {
            seq: at.seq,
            version: version(&database).await?,
            rounds: 0,
            health: Ok(()),
            over: false,
        });
        Ok(Self {
            database,
            own: Follower {
                writer,
                disk: journal.reader(),
                at,
                read: None,
            },
            chains: journal.chains(),
            others: BTreeMap::new(),
            witnessed: journal.others(),
            progress: journal.progress(),
            indexed,
            hurry: Arc::default(),
        })
    }

    pub(super) fn indexed(&self) -> watch::Receiver<Indexed> {
        self.indexed.subscribe()
    }

    /// Notified, it gathers no longer.
    pub(super) fn hurry(&self) -> Arc<Notify> {
        self.hurry.clone()
    }

    /// Until the journal ends and everything in it is indexed.
    pub(super) async fn run(mut self) {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            match self.catch_up(progress.head).await {
                Ok(()) if progress.over.is_some() => break,
                Ok(()) => {
                    if self.something_new().await.is_err() {
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
    }

    /// Waits for the own journal, and for more of it; where there are others, not for long.
    async fn something_new(&mut self) -> Result<(), watch::error::RecvError> {
        match self.chains {
            Chains::One => self.progress.changed().await?,
            Chains::Many(_) => match tokio::time::timeout(OTHERS, self.progress.changed()).await {
                Ok(changed) => changed?,
                Err(_) => return Ok(()),
            },
        }
        self.gather().await;
        Ok(())
    }

    async fn gather(&self) {
        let mut progress = self.progress.clone();
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = self.hurry.notified() => {}
            _ = progress.wait_for(|progress| progress.over.is_some()) => {}
        }
    }

    async fn catch_up(&mut self, durable: Head) -> Result<(), StoreFault> {
        while self.own.step(&self.database, durable).await? {
            self.tell(0).await?;
        }
        self.follow_others().await?;
        self.tell(1).await
    }

    async fn follow_others(&mut self) -> Result<(), StoreFault> {
        let Chains::Many(chains) = &self.chains else {
            return Ok(());
        };
        for (writer, head, segment_size) in chains.heads(&self.database).await? {
            if writer == self.own.writer {
                continue;
            }
            let follower = match self.others.remove(&writer) {
                Some(follower) => follower,
                None => Follower {
                    at: place(&self.database, &writer, BEGINNING).await?,
                    disk: chains.read(&writer, segment_size),
                    writer: writer.clone(),
                    read: None,
                },
            };
            let follower = self.others.entry(writer).or_insert(follower);
            while follower.step(&self.database, head).await? {}
            if let Some(read) = follower.read.take() {
                let mut witnessed = self.witnessed.lock().unwrap_or_else(PoisonError::into_inner);
                witnessed.insert(read.writer.clone(), read);
            }
        }
        Ok(())
    }

    async fn tell(&self, rounds: u64) -> Result<(), StoreFault> {
        let version = version(&self.database).await?;
        self.indexed.send_modify(|indexed| {
            (indexed.seq, indexed.version, indexed.health) = (self.own.at.seq, version, Ok(()));
            indexed.rounds += rounds;
        });
        Ok(())
    }
}

impl Follower {
    /// Reads and writes what goes into one transaction; whether there was anything.
    async fn step(&mut self, database: &Database, durable: Head) -> Result<bool, StoreFault> {
        if self.at.seq >= durable.seq {
            return Ok(false);
        }
        let (lines, after) = self.lines(durable).await?;
        if lines.is_empty() {
            return Ok(false);
        }
        if let Some(last) = lines.last().filter(|last| last.seq > 1) {
            self.read = Some(ChainHead {
                writer: self.writer.clone(),
                seq: last.seq - 1,
                hash: last.prev.clone(),
            });
        }
        self.at = match apply(database, &self.writer, lines, self.at, after).await? {
            Applied::Here => after,
            Applied::Elsewhere => place(database, &self.writer, BEGINNING).await?,
        };
        Ok(true)
    }

    /// The longer, the fewer requests are fetched again because they ended in a later transaction.
    async fn lines(&self, durable: Head) -> Result<(Vec<Line>, Head), StoreFault> {
        let (mut lines, mut after) = stretch(self.disk.clone(), self.at, durable).await?;
        for _ in 1..READS {
            if lines.len() >= LINES || after.seq >= durable.seq {
                break;
            }
            // What cannot be read is met again behind what could.
            match stretch(self.disk.clone(), after, durable).await {
                Ok((more, end)) if !more.is_empty() => {
                    lines.extend(more);
                    after = end;
                }
                Ok(_) | Err(_) => break,
            }
        }
        Ok((lines, after))
    }
}

/// How far an index of the own chain may be. Nobody else reads one in a folder: an index that is further than the journal was when this process
/// began has seen records that are gone, whatever was written since. Other processes may have read on in what this one has written already.
fn reaches(journal: &Journal) -> Head {
    match journal.chains() {
        Chains::One => journal.resumed(),
        Chains::Many(_) => journal.head(),
    }
}

/// Where the index has got with the own chain; from `base`, where the journal begins after what was pruned, if it does not reach that far.
async fn own_place(database: &Database, writer: &str, base: Head, head: Head) -> Result<Head, StoreFault> {
    let at = place(database, writer, base).await?;
    if (base..=head).contains(&at) && at.seq <= head.seq {
        return Ok(at);
    }
    tracing::warn!("index does not fit this journal and is made anew");
    let mut change = database.change().await?;
    for table in [
        "DELETE FROM journals WHERE writer = $1",
        "DELETE FROM sessions WHERE writer = $1",
        "DELETE FROM events WHERE writer = $1",
        "DELETE FROM refusals WHERE writer = $1",
    ] {
        change.run(query(table).bind(writer)).await?;
    }
    change.commit().await?;
    place(database, writer, base).await
}

/// Where the next stretch of a chain begins; at `base` if nothing of it was read.
async fn place(database: &Database, writer: &str, base: Head) -> Result<Head, StoreFault> {
    let mut change = database.change().await?;
    let begin =
        "INSERT INTO journals (writer, segment, position, seq) VALUES ($1, $2, $3, $4) ON CONFLICT (writer) DO NOTHING";
    let begin = query(begin)
        .bind(writer)
        .bind(signed(base.segment)?)
        .bind(signed(base.offset)?)
        .bind(signed(base.seq)?);
    change.run(begin).await?;
    let row = query("SELECT segment, position, seq FROM journals WHERE writer = $1").bind(writer);
    let row = change.one(row).await?;
    change.commit().await?;
    let row = row.ok_or_else(|| StoreFault::Index(format!("the place in `{writer}` was lost")))?;
    Ok(Head {
        segment: number(&row, "segment")?,
        offset: number(&row, "position")?,
        seq: number(&row, "seq")?,
    })
}

/// An index in a file is of one journal.
async fn forget_others(database: &Database, writer: &str) -> Result<(), StoreFault> {
    let mut change = database.change().await?;
    let others = change.run(query("DELETE FROM journals WHERE writer <> $1").bind(writer));
    if others.await? == 0 {
        return Ok(());
    }
    tracing::warn!("index does not belong to this journal and is made anew");
    for table in [
        "DELETE FROM sessions WHERE writer <> $1",
        "DELETE FROM events WHERE writer <> $1",
        "DELETE FROM refusals WHERE writer <> $1",
        "DELETE FROM suspensions WHERE writer <> $1",
    ] {
        change.run(query(table).bind(writer)).await?;
    }
    change.commit().await
}

/// Throws the index away. The resourceVersion stays, so that whoever watches sees what comes back as new.
pub(super) async fn forget(database: &Database) -> Result<(), StoreFault> {
    let mut change = database.change().await?;
    for table in [
        "DELETE FROM journals",
        "DELETE FROM sessions",
        "DELETE FROM events",
        "DELETE FROM refusals",
        "DELETE FROM suspensions",
    ] {
        change.run(query(table)).await?;
    }
    change.commit().await
}

async fn version(database: &Database) -> Result<i64, StoreFault> {
    let row = database.one(query("SELECT value FROM meta WHERE name = 'resourceVersion'"));
    let row = row.await?;
    row.ok_or_else(|| StoreFault::Index(String::from("it has no resourceVersion")))?
        .try_get("value")
}

/// Who wrote a stretch into the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applied {
    Here,
    /// Another process, before us.
    Elsewhere,
}

/// All rows of a stretch, and how far it went, or nothing.
async fn apply(
    database: &Database,
    writer: &str,
    lines: Vec<Line>,
    before: Head,
    after: Head,
) -> Result<Applied, StoreFault> {
    let mut change = database.change().await?;
    // First, so that of two processes with the same stretch one waits here and then finds it done.
    let moved = query("UPDATE journals SET segment = $2, position = $3, seq = $4 WHERE writer = $1 AND seq = $5")
        .bind(writer)
        .bind(signed(after.segment)?)
        .bind(signed(after.offset)?)
        .bind(signed(after.seq)?)
        .bind(signed(before.seq)?);
    if change.run(moved).await? == 0 {
        return Ok(Applied::Elsewhere);
    }
    let mut batch = Batch::default();
    for id in Batch::missing(&lines) {
        if let Some(row) = stored(&mut change, id).await? {
            batch.know(row);
        }
    }
    lines.into_iter().for_each(|line| batch.add(line));
    write(&mut change, writer, batch).await?;
    change.commit().await?;
    Ok(Applied::Here)
}

/// Sessions first: whoever watches both sees a session before its events.
async fn write(change: &mut Change, writer: &str, batch: Batch) -> Result<(), StoreFault> {
    let mut next = take_versions(change, batch.sessions.len() + batch.events.len()).await?;
    let (mut fresh, known): (Vec<_>, Vec<_>) = batch.sessions.into_iter().partition(|(_, row)| row.started.is_some());
    fresh.sort_by_key(|(_, row)| row.started.as_ref().map(|(started, _)| started.at));
    for (name, row) in fresh.into_iter().chain(known) {
        next += 1;
        write_session(change, writer, &name, row, next).await?;
    }
    let mut fresh = Vec::new();
    for row in batch.events {
        next += 1;
        match row.state {
            RowState::New => fresh.push((next, row)),
            RowState::Stored => update_event(change, row, next).await?,
        }
    }
    insert_events(change, writer, fresh).await?;
    for suspended in batch.suspended {
        write_suspension(change, writer, suspended).await?;
    }
    for counted in batch.refusals {
        let count = "INSERT INTO refusals (writer, second, count) VALUES ($1, $2, $3)
             ON CONFLICT (writer, second) DO UPDATE SET count = refusals.count + $3";
        let count = query(count)
            .bind(writer)
            .bind(counted.second)
            .bind(signed(counted.count)?);
        change.run(count).await?;
    }
    Ok(())
}

/// So many versions for rows to carry; the last one given out before. Until this transaction ends nobody else is given any, so a version is
/// never seen before a smaller one.
async fn take_versions(change: &mut Change, rows: usize) -> Result<i64, StoreFault> {
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let row = query("UPDATE meta SET value = value + $1 WHERE name = 'resourceVersion' RETURNING value").bind(rows);
    let row = change.one(row).await?;
    let version: i64 = row
        .ok_or_else(|| StoreFault::Index(String::from("it has no resourceVersion")))?
        .try_get("value")?;
    Ok(version - rows)
}

async fn write_session(
    change: &mut Change,
    writer: &str,
    name: &str,
    row: SessionChange,
    version: i64,
) -> Result<(), StoreFault> {
    if let Some((started, cluster)) = row.started {
        let caller = started.caller;
        let row = query(
            "INSERT INTO sessions (name, uid, session_key, cluster, cluster_uid, agent, issuer, subject, username, user_groups,
                 population, upstream_user, started, last_seen, idle, ends, requests, refused, created, changed, writer)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15, 0, 0, $16, $16, $17)",
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
        .bind(writer);
        change.run(row).await?;
    }
    let row = query(
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
    .bind(row.ended.map(|(_, why)| format!("{why:?}")));
    change.run(row).await?;
    Ok(())
}

/// The first one counts, and pruning carries it behind later ones; of each journal one is kept, so that it can be made again from any.
async fn write_suspension(change: &mut Change, writer: &str, suspended: AgentSuspended) -> Result<(), StoreFault> {
    let row = query(
        "INSERT INTO suspensions (agent, writer, suspended, issuer, subject, username, reason, audit_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (agent, writer) DO UPDATE SET
             suspended = excluded.suspended, issuer = excluded.issuer, subject = excluded.subject, username = excluded.username,
             reason = excluded.reason, audit_id = excluded.audit_id
         WHERE excluded.suspended < suspensions.suspended",
    )
    .bind(suspended.agent)
    .bind(writer)
    .bind(suspended.at.micros())
    .bind(suspended.by.issuer)
    .bind(suspended.by.subject)
    .bind(suspended.by.username)
    .bind(suspended.reason)
    .bind(suspended.audit_id);
    change.run(row).await.map(drop)
}

/// Statements that insert so many events, most first. Few, so that they stay prepared; not of more, because SQLite looks for each `$n` by its
/// name among those before it.
static INSERTS: LazyLock<[(usize, String); 3]> = LazyLock::new(|| [16, 4, 1].map(|rows| (rows, insert(rows))));

/// `$1` is the writer of all; each row has twelve of its own, of which the eleventh stands twice.
fn insert(rows: usize) -> String {
    let rows = (0..rows).map(|row| {
        let own: Vec<_> = (2..14).map(|place| format!("${}", row * 12 + place)).collect();
        let (version, event) = (&own[10], &own[11]);
        format!("($1, {}, {version}, {version}, {event})", own[..10].join(", "))
    });
    let columns = "writer, audit_id, session, issuer, subject, cluster, verb, decision, code, opened, closed, created, changed, event";
    format!(
        "INSERT INTO events ({columns}) VALUES {}",
        rows.collect::<Vec<_>>().join(", ")
    )
}

/// Many rows with one statement. Each is handed to SQLite's own thread, or sent to PostgreSQL, and waited for, which costs more than a row does.
async fn insert_events(change: &mut Change, writer: &str, rows: Vec<(i64, EventRow)>) -> Result<(), StoreFault> {
    let mut rows = rows.into_iter();
    for (count, text) in INSERTS.iter() {
        while rows.len() >= *count {
            let mut insert = query(text).bind(writer);
            for (version, row) in rows.by_ref().take(*count) {
                insert = bind_event(insert, row, version)?;
            }
            change.run(insert).await?;
        }
    }
    Ok(())
}

fn bind_event(insert: Query, row: EventRow, version: i64) -> Result<Query, StoreFault> {
    let (event, code) = (json(&row.event)?, code(&row.event));
    let (issuer, subject) = row.owner.unzip();
    Ok(insert
        .bind(row.event.audit_id)
        .bind(row.session)
        .bind(issuer)
        .bind(subject)
        .bind(row.cluster)
        .bind(row.event.verb)
        .bind(row.decision.map(str::to_owned))
        .bind(code)
        .bind(row.opened.micros())
        .bind(row.closed.map(Timestamp::micros))
        .bind(version)
        .bind(event))
}

async fn update_event(change: &mut Change, row: EventRow, version: i64) -> Result<(), StoreFault> {
    let row = query("UPDATE events SET code = $2, closed = $3, changed = $4, event = $5 WHERE audit_id = $1")
        .bind(row.event.audit_id.clone())
        .bind(code(&row.event))
        .bind(row.closed.map(Timestamp::micros))
        .bind(version)
        .bind(json(&row.event)?);
    change.run(row).await?;
    Ok(())
}

async fn stored(change: &mut Change, id: &str) -> Result<Option<EventRow>, StoreFault> {
    let row = query("SELECT session, opened, closed, event FROM events WHERE audit_id = $1").bind(id);
    let Some(row) = change.one(row).await? else {
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
        closed: row.try_get::<Option<i64>>("closed")?.map(Timestamp::from_micros),
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

fn number(row: &Row, name: &str) -> Result<u64, StoreFault> {
    u64::try_from(row.try_get::<i64>(name)?).map_err(|_| StoreFault::Index(format!("`{name}` is negative")))
}

fn signed(number: u64) -> Result<i64, StoreFault> {
    i64::try_from(number).map_err(|_| StoreFault::Index(format!("{number} is too large")))
}
