//! The journal in PostgreSQL: a chain per process, its bytes in rows as they would lie in the segments of a folder, so that everything above
//! the disk (frames, chain, scan, closing what was left open) is the same.
//!
//! A batch is one row and one round trip. The statement names the epoch under which the chain is held and the place where the row begins, and
//! moves both on: whoever lost the chain changes nothing, and a write of which nobody knows whether it was carried out is settled by asking.
//! A chain is held by an advisory lock on the connection that writes it. The lock says who is alive; only the epoch keeps others out.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::runtime::Runtime;

use super::writer;
use super::{Head, Lock, Site};
use crate::database::{Database, query};
use crate::disk::{Disk, Segment};
use crate::keyring::Begun;
use crate::{StoreFault, random};

/// A database that has not answered by then counts as away; more bytes are given more time.
const ANSWER: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(5);
/// At the start, when nobody waits for an answer.
const READ: Duration = Duration::from_secs(60);
/// After a start of PostgreSQL those who hold chains are given so much time to come back, before theirs are taken for left behind.
const RETURN: Duration = Duration::from_secs(5);

/// The chains beside the own one.
#[derive(Debug, Clone)]
pub(crate) enum Chains {
    One,
    Many(Arc<Shared>),
}

/// All chains of one database.
#[derive(Debug)]
pub(crate) struct Shared {
    access: Access,
    /// For those who read: a writer waits for nobody.
    reader: Arc<Link>,
}

/// How to get to the database.
#[derive(Clone)]
struct Access {
    reactor: Arc<Reactor>,
    options: Arc<PgConnectOptions>,
}

/// Runs connections of threads that wait for them: a flush does not stand in line with requests.
#[derive(Debug)]
struct Reactor(Option<Runtime>);

/// A connection that is made again when it breaks.
#[derive(Debug)]
struct Link {
    access: Access,
    connection: Mutex<Option<PgConnection>>,
    /// The chain that is to be held by it, and whether it is.
    holds: Option<String>,
    held: AtomicBool,
}

/// A chain that this process writes; let go of when dropped.
#[derive(Debug)]
pub(super) struct Hold(Arc<Link>);

/// One chain as a disk.
#[derive(Debug, Clone)]
struct Rows {
    link: Arc<Link>,
    chain: String,
    /// Under which it may be written.
    epoch: i64,
    segment_size: u64,
}

#[derive(Debug)]
struct RowSegment {
    rows: Rows,
    number: u64,
    waiting: Mutex<Option<(u64, Vec<u8>)>>,
}

impl Shared {
    pub(crate) fn new(options: PgConnectOptions) -> Result<Arc<Self>, StoreFault> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("journal-io")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|fault| StoreFault::Failed(fault.to_string()))?;
        let access = Access {
            reactor: Arc::new(Reactor(Some(runtime))),
            // A dead peer is noticed on both sides within half a minute, so that its lock is free.
            options: Arc::new(options.options([
                ("tcp_keepalives_idle", "10"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
            ])),
        };
        let reader = Arc::new(Link::new(access.clone(), None));
        Ok(Arc::new(Self { access, reader }))
    }

    /// Whether anything was ever written here.
    pub(crate) fn begun(&self) -> Result<Begun, StoreFault> {
        let any = async |connection: &mut PgConnection| {
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM journal)")
                .fetch_one(connection)
                .await
        };
        let any = self.reader.run(READ, any).map_err(writer::fatal)?;
        Ok(if any { Begun::Yes } else { Begun::No })
    }

    /// A chain to write: one that nobody holds, or a new one. Blocks.
    pub(crate) fn take(self: &Arc<Self>, segment_size: u64) -> Result<Site, StoreFault> {
        self.is_durable()?;
        self.let_them_return()?;
        for (chain, _) in self.chains()? {
            if let Some(site) = self.try_take(&chain, None)? {
                return Ok(site);
            }
        }
        let chain = writer::fresh_id(random::bytes()?);
        let taken = self.try_take(&chain, Some(segment_size))?;
        taken.ok_or(StoreFault::Fenced(chain))
    }

    /// The chains that a process left open and nobody holds; each is free again when its site is dropped.
    pub(crate) fn left_open(self: &Arc<Self>) -> Result<Vec<Site>, StoreFault> {
        let mut left = Vec::new();
        for (chain, closed) in self.chains()? {
            if !closed {
                left.extend(self.try_take(&chain, None)?);
            }
        }
        Ok(left)
    }

    /// Notes that nothing is left open in a chain, so that the next start need not read it. Its next write takes that back.
    pub(crate) fn note_closed(&self, site: &Site) -> Result<(), StoreFault> {
        let chain = &site.fresh_id;
        let note = async |connection: &mut PgConnection| {
            let note = sqlx::query("UPDATE chains SET closed = true WHERE chain = $1").bind(chain);
            note.execute(connection).await.map(drop)
        };
        self.reader.run(READ, note).map_err(writer::fatal)
    }

    /// How far each chain is written.
    pub(crate) async fn heads(&self, database: &Database) -> Result<Vec<(String, Head, u64)>, StoreFault> {
        let rows = database.all(query(
            "SELECT chain, segment, position, seq, segment_size FROM chains ORDER BY chain",
        ));
        let number = |number: i64| number.unsigned_abs();
        rows.await?
            .iter()
            .map(|row| {
                let head = Head {
                    segment: number(row.try_get("segment")?),
                    offset: number(row.try_get("position")?),
                    seq: number(row.try_get("seq")?),
                };
                Ok((row.try_get("chain")?, head, number(row.try_get("segment_size")?)))
            })
            .collect()
    }

    /// Another's chain, to be read.
    pub(crate) fn read(&self, chain: &str, segment_size: u64) -> Arc<dyn Disk> {
        Arc::new(Rows {
            link: self.reader.clone(),
            chain: chain.to_owned(),
            // No chain is ever held under it.
            epoch: -1,
            segment_size,
        })
    }

    fn chains(&self) -> Result<Vec<(String, bool)>, StoreFault> {
        let all = async |connection: &mut PgConnection| {
            sqlx::query_as("SELECT chain, closed FROM chains ORDER BY chain")
                .fetch_all(connection)
                .await
        };
        self.reader.run(READ, all).map_err(writer::fatal)
    }

    fn is_durable(&self) -> Result<(), StoreFault> {
        let fsync = async |connection: &mut PgConnection| {
            let fsync = sqlx::query_scalar::<_, String>("SELECT current_setting('fsync')");
            fsync.fetch_one(connection).await
        };
        match self.reader.run(READ, fsync).map_err(writer::fatal)?.as_str() {
            "on" => Ok(()),
            _ => Err(StoreFault::Failed(String::from(
                "PostgreSQL runs with `fsync = off`, so that a power loss would take the record\nhint: set `fsync = on` in postgresql.conf",
            ))),
        }
    }

    /// After a restart of PostgreSQL no lock is held, though their holders live.
    fn let_them_return(&self) -> Result<(), StoreFault> {
        let young = async |connection: &mut PgConnection| {
            let young = "SELECT EXISTS (SELECT FROM chains WHERE NOT closed)
                 AND clock_timestamp() - pg_postmaster_start_time() < make_interval(secs => $1)";
            sqlx::query_scalar(young)
                .bind(RETURN.as_secs_f64())
                .fetch_one(connection)
                .await
        };
        while self.reader.run(READ, young).map_err(writer::fatal)? {
            std::thread::sleep(RETURN / 20);
        }
        Ok(())
    }

    /// None if another process holds it. A new chain, with segments of `begin` bytes, is held before anybody can see it.
    fn try_take(self: &Arc<Self>, chain: &str, begin: Option<u64>) -> Result<Option<Site>, StoreFault> {
        let link = Arc::new(Link::new(self.access.clone(), Some(chain.to_owned())));
        let take = async |connection: &mut PgConnection| {
            if !link.hold(connection).await? {
                return Ok(None);
            }
            if let Some(segment_size) = begin {
                let begin = "INSERT INTO chains (chain, epoch, segment, position, seq, segment_size, closed) VALUES ($1, 0, 0, 0, 0, $2, false)";
                let begin = sqlx::query(begin).bind(chain).bind(signed(segment_size));
                begin.execute(&mut *connection).await?;
            }
            let take = "UPDATE chains SET epoch = epoch + 1 WHERE chain = $1 RETURNING epoch, segment, position, seq, segment_size";
            sqlx::query(take).bind(chain).fetch_optional(connection).await
        };
        let Some(row) = link.run(READ, take).map_err(writer::fatal)? else {
            return Ok(None);
        };
        let number = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        let rows = Rows {
            link: link.clone(),
            chain: chain.to_owned(),
            epoch: row.try_get("epoch")?,
            segment_size: number("segment_size")?,
        };
        Ok(Some(Site {
            reader: self.read(chain, rows.segment_size),
            disk: Arc::new(rows),
            lock: Lock::Chain(Hold(link)),
            fresh_id: chain.to_owned(),
            written: Some(Head {
                segment: number("segment")?,
                offset: number("position")?,
                seq: number("seq")?,
            }),
            chains: Chains::Many(self.clone()),
        }))
    }
}

impl Disk for Rows {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let all = async |connection: &mut PgConnection| {
            sqlx::query_scalar::<_, i64>("SELECT DISTINCT segment FROM journal WHERE chain = $1 ORDER BY segment")
                .bind(&self.chain)
                .fetch_all(connection)
                .await
        };
        Ok(self.link.run(READ, all)?.into_iter().map(i64::unsigned_abs).collect())
    }

    /// Rows need no room laid out.
    fn prepare(&self, _size: u64) -> io::Result<()> {
        Ok(())
    }

    /// Rows stay: those who follow a chain in the same database begin at its first segment.
    fn remove(&self, _number: u64) -> io::Result<()> {
        Err(io::Error::other("a journal in PostgreSQL cannot be pruned yet"))
    }

    /// A segment is there with its first row.
    fn adopt(&self, _number: u64) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(RowSegment {
            rows: self.clone(),
            number,
            waiting: Mutex::new(None),
        }))
    }
}

impl Segment for RowSegment {
    fn size(&self) -> io::Result<u64> {
        Ok(self.rows.segment_size)
    }

    /// What no row holds reads as zeros, as in a file that was laid out.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let parts = async |connection: &mut PgConnection| {
            // The last row that begins before the place, and all up to the end; of each no more than is asked for.
            let parts = "SELECT GREATEST(position, $3) AS position,
                     substring(bytes FROM (GREATEST($3 - position, 0) + 1)::int FOR ($4 - GREATEST(position, $3))::int) AS bytes
                 FROM journal WHERE chain = $1 AND segment = $2 AND position < $4 AND position >= COALESCE(
                     (SELECT max(position) FROM journal WHERE chain = $1 AND segment = $2 AND position <= $3), 0)";
            sqlx::query(parts)
                .bind(&self.rows.chain)
                .bind(signed(self.number))
                .bind(signed(offset))
                .bind(signed(end))
                .fetch_all(connection)
                .await
        };
        let parts = self.rows.link.run(time(bytes.len()), parts)?;
        bytes.fill(0);
        parts
            .iter()
            .try_for_each(|part| lay(part, bytes, offset))
            .map_err(io::Error::other)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self, seq: u64) -> io::Result<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((offset, bytes)) = &*waiting {
            self.commit(seq, *offset, bytes)?;
            *waiting = None;
        }
        Ok(())
    }

    fn keep(&self) -> io::Result<()> {
        let epoch = async |connection: &mut PgConnection| {
            self.rows.link.hold(connection).await?;
            sqlx::query_scalar::<_, i64>("SELECT epoch FROM chains WHERE chain = $1")
                .bind(&self.rows.chain)
                .fetch_optional(connection)
                .await
        };
        match self.rows.link.run(ANSWER, epoch)? {
            Some(epoch) if epoch == self.rows.epoch => Ok(()),
            Some(_) | None => Err(self.fenced()),
        }
    }
}

impl RowSegment {
    fn commit(&self, seq: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let time = time(bytes.len());
        let write = async |connection: &mut PgConnection| {
            self.rows.link.hold(connection).await?;
            // INVARIANT: a row is written under the epoch of the chain, behind everything that was written before it, or not at all.
            let write = "WITH held AS (
                     UPDATE chains SET segment = $2, position = $3 + octet_length($4), seq = $5, closed = false
                     WHERE chain = $1 AND epoch = $6
                         AND ((segment = $2 AND position = $3) OR (segment = $2 - 1 AND $3 = 0))
                     RETURNING chain)
                 INSERT INTO journal (chain, segment, position, bytes) SELECT chain, $2, $3, $4 FROM held";
            sqlx::query(write)
                .bind(&self.rows.chain)
                .bind(signed(self.number))
                .bind(signed(offset))
                .bind(bytes)
                .bind(signed(seq))
                .bind(self.rows.epoch)
                .execute(connection)
                .await
                .map(|done| done.rows_affected())
        };
        match self.rows.link.run(time, write)? {
            1 => Ok(()),
            _ => self.settle(time, seq, offset, bytes),
        }
    }

    /// Nothing was written: because it had been before, or because the chain is no longer ours.
    fn settle(&self, time: Duration, seq: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let written = async |connection: &mut PgConnection| {
            let written = "SELECT epoch, segment = $2 AND seq = $5 AND EXISTS (
                     SELECT FROM journal WHERE chain = $1 AND segment = $2 AND position = $3 AND bytes = $4) AS written
                 FROM chains WHERE chain = $1";
            sqlx::query_as::<_, (i64, bool)>(written)
                .bind(&self.rows.chain)
                .bind(signed(self.number))
                .bind(signed(offset))
                .bind(bytes)
                .bind(signed(seq))
                .fetch_optional(connection)
                .await
        };
        match self.rows.link.run(time, written)? {
            Some((epoch, true)) if epoch == self.rows.epoch => Ok(()),
            Some((epoch, false)) if epoch == self.rows.epoch => Err(io::Error::other(format!(
                "the chain `{}` does not stand where it was written: the database was put back to an older state, or changed by others",
                self.rows.chain
            ))),
            Some(_) | None => Err(self.fenced()),
        }
    }

    fn fenced(&self) -> io::Error {
        io::Error::other(StoreFault::Fenced(self.rows.chain.clone()))
    }
}

/// How long so many bytes may take: a millisecond for a KiB, over the slowest of networks.
fn time(bytes: usize) -> Duration {
    ANSWER + Duration::from_millis(bytes as u64 >> 10)
}

/// Copies a row to where it belongs.
fn lay(part: &PgRow, into: &mut [u8], offset: u64) -> Result<(), sqlx::Error> {
    let (position, bytes): (i64, &[u8]) = (part.try_get("position")?, part.try_get("bytes")?);
    let from = usize::try_from(position.unsigned_abs() - offset).unwrap_or(usize::MAX);
    if let Some(into) = into.get_mut(from..).and_then(|into| into.get_mut(..bytes.len())) {
        into.copy_from_slice(bytes);
    }
    Ok(())
}

impl Link {
    fn new(access: Access, holds: Option<String>) -> Self {
        Self {
            access,
            connection: Mutex::new(None),
            holds,
            held: AtomicBool::new(false),
        }
    }

    /// Does something with the connection, or says that the database is away. Must not be called by a task: it waits.
    fn run<T>(
        &self,
        within: Duration,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> io::Result<T> {
        let mut held = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(runtime) = &self.access.reactor.0 else {
            return Err(io::Error::other(StoreFault::Closed));
        };
        runtime.block_on(async {
            let mut connection = match held.take() {
                Some(connection) => connection,
                None => in_time(CONNECT, self.connect()).await?,
            };
            let done = in_time(within, work(&mut connection)).await;
            if done.is_ok() {
                *held = Some(connection);
            }
            done
        })
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.access.options.connect().await?;
        // A server may have been set up to answer before a commit would survive it.
        sqlx::query(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        )
        .execute(&mut connection)
        .await?;
        self.held.store(false, Ordering::SeqCst);
        self.hold(&mut connection).await?;
        Ok(connection)
    }

    /// Sees to it that the chain is held. It may not be: PostgreSQL need not know yet that our last connection is over. Then it is asked again
    /// with each write; nobody else can take the chain as long as a session of ours holds it.
    async fn hold(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        if let Some(chain) = &self.holds
            && !self.held.load(Ordering::SeqCst)
        {
            let held = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('mantlet chain ' || $1, 0))");
            self.held
                .store(held.bind(chain).fetch_one(connection).await?, Ordering::SeqCst);
        }
        Ok(self.held.load(Ordering::SeqCst))
    }
}

/// Whatever PostgreSQL has against it, it may be asked again: no statement of ours does harm when it is carried out twice.
async fn in_time<T>(within: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> io::Result<T> {
    let away = |why: String| io::Error::new(io::ErrorKind::NotConnected, why);
    match tokio::time::timeout(within, work).await {
        Ok(done) => done.map_err(|fault| away(fault.to_string())),
        Err(_) => Err(away(format!("no answer within {} s", within.as_secs()))),
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(connection), Some(runtime)) = (connection, &self.0.access.reactor.0) {
            // Said, not only hung up on, so that the lock is free when this returns. On a thread of its own: a start that failed drops it in
            // a task, which cannot wait.
            let close = || runtime.block_on(async { tokio::time::timeout(ANSWER, connection.close()).await });
            std::thread::scope(|scope| drop(scope.spawn(close).join()));
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // It may be dropped by a task, which must not wait for it.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options hold the password.
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
