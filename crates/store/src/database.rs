//! The database: SQLite in a file, or PostgreSQL for several replicas. One SQL text for both, with `$n` and integer microseconds.
//!
//! In: a URL, queries. Out: rows, transactions. Refuses: a URL that it does not understand to the last parameter, and PostgreSQL on
//! another machine without verified TLS: its rows are the record.
//! Deliberately not here: what the tables mean.

mod place;

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::sqlite::SqliteSynchronous;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Decode, Row as _, Transaction, Type};

use crate::StoreFault;

pub use place::DatabaseUrl;
pub(crate) use place::Place;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a question waits for a connection: a caller should rather be told.
const ACQUIRE: Duration = Duration::from_secs(5);

/// How long PostgreSQL is waited for: a connection whose other end is gone may never say so.
const ANSWER: Duration = Duration::from_secs(10);
/// A change may touch many rows.
const CHANGE: Duration = Duration::from_secs(30);

/// Connections to one database, its tables made.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    /// One connection writes, as SQLite would have it anyway.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
    },
    Postgres(PgPool),
}

/// SQL text and what stands for its `$n`.
#[derive(Debug)]
pub(crate) struct Query {
    text: &'static str,
    arguments: Vec<Argument>,
}

#[derive(Debug)]
pub(crate) enum Argument {
    Number(Option<i64>),
    Text(Option<String>),
}

/// All of it or nothing; dropped, nothing.
#[derive(Debug)]
pub(crate) enum Change {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

pub(crate) fn query(text: &'static str) -> Query {
    Query {
        text,
        arguments: Vec::new(),
    }
}

impl Query {
    pub(crate) fn bind(mut self, argument: impl Into<Argument>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// The query as one of sqlx's: the two have no type in common.
macro_rules! bound {
    ($query:expr) => {{
        let Query { text, arguments } = $query;
        arguments
            .into_iter()
            .fold(sqlx::query(text), |query, argument| match argument {
                Argument::Number(number) => query.bind(number),
                Argument::Text(text) => query.bind(text),
            })
    }};
}

impl Database {
    /// A server's database as it is: nothing is made in it, and none of its tables changed.
    pub(crate) fn as_it_is(options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE);
        Self::Postgres(pool.connect_lazy_with(options))
    }

    /// Connects, and makes or brings up to date the tables.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, StoreFault> {
        match Place::of(url)? {
            Place::Sqlite(path) => sqlite(&path).await,
            Place::Postgres(options) => {
                migrate(&options).await.map_err(|why| StoreFault::Database {
                    database: url.shown(),
                    why,
                })?;
                let pool = PgPoolOptions::new().max_connections(8).acquire_timeout(ACQUIRE);
                // The journal is the truth, and its connections wait for the disk; what a crash takes from the index is made again.
                let options = options.options([("synchronous_commit", "off")]);
                Ok(Self::Postgres(pool.connect_lazy_with(options)))
            }
        }
    }

    pub(crate) async fn all(&self, query: Query) -> Result<Vec<Row>, StoreFault> {
        Ok(match self {
            Self::Sqlite { read, .. } => wrap(bound!(query).fetch_all(read).await?, Row::Sqlite),
            Self::Postgres(pool) => wrap(answered(ANSWER, bound!(query).fetch_all(pool)).await?, Row::Postgres),
        })
    }

    pub(crate) async fn one(&self, query: Query) -> Result<Option<Row>, StoreFault> {
        Ok(match self {
            Self::Sqlite { read, .. } => bound!(query).fetch_optional(read).await?.map(Row::Sqlite),
            Self::Postgres(pool) => answered(ANSWER, bound!(query).fetch_optional(pool))
                .await?
                .map(Row::Postgres),
        })
    }

    /// Begins a transaction that writes.
    pub(crate) async fn change(&self) -> Result<Change, StoreFault> {
        Ok(match self {
            Self::Sqlite { write, .. } => match write.begin_with("BEGIN IMMEDIATE").await {
                Ok(change) => Change::Sqlite(change),
                Err(fault) => {
                    close_one(write).await;
                    return Err(fault.into());
                }
            },
            Self::Postgres(pool) => Change::Postgres(answered(ANSWER, pool.begin()).await?),
        })
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            // What does not answer is not waited for: it ends with the process.
            Self::Postgres(pool) => drop(tokio::time::timeout(ANSWER, pool.close()).await),
        }
    }
}

impl Change {
    pub(crate) async fn one(&mut self, query: Query) -> Result<Option<Row>, StoreFault> {
        Ok(match self {
            Self::Sqlite(change) => bound!(query).fetch_optional(&mut **change).await?.map(Row::Sqlite),
            Self::Postgres(change) => {
                let row = bound!(query).fetch_optional(&mut **change);
                answered(CHANGE, row).await?.map(Row::Postgres)
            }
        })
    }

    /// How many rows it changed.
    pub(crate) async fn run(&mut self, query: Query) -> Result<u64, StoreFault> {
        Ok(match self {
            Self::Sqlite(change) => bound!(query).execute(&mut **change).await?.rows_affected(),
            Self::Postgres(change) => {
                let rows = bound!(query).execute(&mut **change);
                answered(CHANGE, rows).await?.rows_affected()
            }
        })
    }

    pub(crate) async fn commit(self) -> Result<(), StoreFault> {
        match self {
            Self::Sqlite(change) => change.commit().await?,
            Self::Postgres(change) => answered(CHANGE, change.commit()).await?,
        }
        Ok(())
    }
}

impl Row {
    pub(crate) fn try_get<'r, T>(&'r self, column: &str) -> Result<T, StoreFault>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Argument {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Argument {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Argument {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

/// SQLite itself takes a transaction back when the disk is full, and the connection is then of two minds whether one is open: the next change
/// gets a new one.
async fn close_one(pool: &SqlitePool) {
    if let Ok(connection) = pool.acquire().await {
        let _ = connection.close().await;
    }
}

async fn sqlite(path: &Path) -> Result<Database, StoreFault> {
    create(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // The journal is the truth; what a power loss takes from the index is made again.
        .synchronous(SqliteSynchronous::Normal)
        // Measured: an insert of many rows keeps what it would need to undo itself in a temporary file, at a seventh of the index's cost.
        .pragma("temp_store", "MEMORY")
        // 32 MiB: pages that are written again and again go into the database once.
        .pragma("wal_autocheckpoint", "8192")
        .busy_timeout(Duration::from_secs(10));
    let hint = "hint: remove the file; the index is made anew from the journal";
    let unusable = |fault: &dyn std::fmt::Display| StoreFault::unusable(path, format!("{fault}\n{hint}"));
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    let write = pool(1).connect_with(options.clone()).await;
    let write = write.map_err(|fault| unusable(&fault))?;
    SQLITE.run(&write).await.map_err(|fault| unusable(&fault))?;
    let read = pool(4).connect_with(options.read_only(true)).await?;
    Ok(Database::Sqlite { read, write })
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

/// On a connection of its own: a pool would try again and again, and then say no more than that it did.
async fn migrate(options: &PgConnectOptions) -> Result<(), String> {
    let connected = tokio::time::timeout(ANSWER, options.connect()).await;
    let connected = connected.map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))?;
    let mut connection = connected.map_err(|fault| fault.to_string())?;
    let migrated = POSTGRES.run(&mut connection).await;
    migrated.map_err(|fault| fault.to_string())?;
    connection.close().await.map_err(|fault| fault.to_string())
}

async fn answered<T>(within: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreFault> {
    match tokio::time::timeout(within, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(StoreFault::Index(format!(
            "PostgreSQL has not answered within {} s",
            within.as_secs()
        ))),
    }
}

fn wrap<R>(rows: Vec<R>, row: impl Fn(R) -> Row) -> Vec<Row> {
    rows.into_iter().map(row).collect()
}
