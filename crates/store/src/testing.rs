//! What tests of this crate share: a folder that goes away, a store in it or in a PostgreSQL database that goes away too, requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_core::mask::{self, Masked};
use mantlet_core::record::{
    AuditId, Caller, Closed, Cluster, Decision, Impersonated, ObjectRef, Opened, Outcome, Parts, Verdict,
};
use mantlet_core::time::{Clock, Timestamp};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::database::Database;
use crate::disk::{Disk, Folder};
use crate::journal::{ChainKey, Shared};
use crate::keyring::{Begun, Keyring};
use crate::{HandClock, JournalAt, MissingKey, PublicKeys, Recordings, Sizes, Slot, Store, StoreConfig, StoreFault};

#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
    database: Option<Own>,
}

/// A database of one test's own.
#[derive(Debug)]
struct Own {
    server: PgConnectOptions,
    name: String,
    url: String,
}

/// Runs each test on SQLite and files, and on PostgreSQL where there is one.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::testing::Scratch::new()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                if let Some(scratch) = crate::testing::Scratch::postgres().await {
                    super::$test(scratch).await;
                }
            })*
        }
    };
}
pub(crate) use on_both;

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("mantlet-store-{}", hex::encode(crate::random::bytes::<8>().unwrap()));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, database: None }
    }

    /// With a new database on the server of `MANTLET_POSTGRES`; none if that is not set, which in CI is a failure.
    #[expect(clippy::print_stderr, reason = "a test that did not run says so")]
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var("MANTLET_POSTGRES") else {
            assert!(std::env::var_os("CI").is_none(), "CI has a PostgreSQL");
            eprintln!("skipped: MANTLET_POSTGRES is not set; `cargo xtask test` sets it");
            return None;
        };
        let name = format!("test_{}", hex::encode(crate::random::bytes::<8>().unwrap()));
        let (front, _) = server.rsplit_once('/').expect("a database in the URL");
        let url = format!("{front}/{name}");
        let server: PgConnectOptions = server.parse().unwrap();
        execute(&server, format!("CREATE DATABASE {name}")).await;
        let mut scratch = Self::new();
        scratch.database = Some(Own { server, name, url });
        Some(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Small segments, so that tests cross them.
    pub(crate) fn config(&self) -> StoreConfig {
        let (database, journal) = match &self.database {
            Some(own) => (own.url.clone(), JournalAt::Database),
            None => (
                format!("sqlite://{}", self.folder.join("index/mantlet.db").display()),
                JournalAt::Folder(self.folder.join("journal")),
            ),
        };
        StoreConfig {
            database: database.into(),
            journal,
            recordings: Recordings::Folder(self.folder.join("recordings")),
            key_file: self.folder.join("key"),
            missing_key: MissingKey::Create,
            sizes: Sizes {
                segment: 32 << 10,
                requests: 1_000,
                ..Sizes::default()
            },
        }
    }

    /// What a crash at this moment would leave: the files and the journal's rows as they are, without any end.
    pub(crate) async fn crashed(&self) -> Scratch {
        let copy = match &self.database {
            Some(_) => Self::postgres().await.unwrap(),
            None => Self::new(),
        };
        copy_all(&self.folder, &copy.folder);
        if let (Some(from), Some(to)) = (&self.database, &copy.database) {
            copy_journal(from, to).await;
        }
        copy
    }

    pub(crate) async fn forget_index(&self) {
        match &self.database {
            Some(own) => crate::Index::forget(&own.open().await).await.unwrap(),
            None => std::fs::remove_dir_all(self.folder.join("index")).unwrap(),
        }
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.folder.join(format!("journal/{number:010}.journal"))
    }

    /// The one chain that was written here, and the keys of its checkpoints. Waits: not for a task.
    pub(crate) async fn chain(&self) -> (Arc<dyn Disk>, ChainKey, PublicKeys) {
        let (disk, keyring): (Arc<dyn Disk>, _) = match &self.database {
            None => {
                let folder = self.folder.join("journal");
                let keyring = Keyring::open(&folder, &self.folder.join("key"), MissingKey::Refuse, Begun::Yes, NOW);
                (Arc::new(Folder::new(&folder)), keyring.unwrap())
            }
            Some(own) => {
                let (database, key) = (own.open().await, self.folder.join("key"));
                let keyring = Keyring::open_in(&database, &key, MissingKey::Refuse, Begun::Yes, NOW).await;
                let shared = Shared::new(own.url.parse().unwrap()).unwrap();
                let chains = shared.heads(&database).await.unwrap();
                let [(chain, _, segment_size)] = &chains[..] else {
                    panic!("one chain, not {chains:?}")
                };
                (shared.read(chain, *segment_size), keyring.unwrap())
            }
        };
        (disk, ChainKey::of(&keyring), keyring.public_keys())
    }

    /// Does something to the database behind the back of whoever uses it.
    pub(crate) async fn tamper(&self, statement: &str) {
        let own = self.database.as_ref().expect("a database");
        execute(&own.url.parse().unwrap(), statement).await;
    }

    /// Does two things to the server about this database, from outside it.
    pub(crate) async fn administer(&self, first: &'static str, second: &'static str) {
        let own = self.database.as_ref().expect("a database");
        let mut connection = own.server.connect().await.unwrap();
        for statement in [first, second] {
            sqlx::query(statement)
                .bind(&own.name)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection.close().await.unwrap();
    }
}

const NOW: Timestamp = Timestamp::from_micros(0);

impl Own {
    async fn open(&self) -> Database {
        Database::open(&self.url.as_str().into()).await.unwrap()
    }
}

async fn execute(server: &PgConnectOptions, statement: impl Into<String>) {
    let mut connection = server.connect().await.unwrap();
    let statement = sqlx::AssertSqlSafe(statement.into());
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn copy_journal(from: &Own, to: &Own) {
    let to = to.open().await;
    let (Database::Postgres(from), Database::Postgres(to)) = (from.open().await, to) else {
        panic!("two PostgreSQL databases")
    };
    // As JSON, a table at a time, all of the same moment.
    let mut moment = from.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    for (read, write) in [
        (
            "SELECT coalesce(jsonb_agg(t), '[]')::text FROM chains t",
            "INSERT INTO chains SELECT * FROM jsonb_populate_recordset(null::chains, $1::jsonb)",
        ),
        (
            "SELECT coalesce(jsonb_agg(t), '[]')::text FROM journal t",
            "INSERT INTO journal SELECT * FROM jsonb_populate_recordset(null::journal, $1::jsonb)",
        ),
        (
            "SELECT coalesce(jsonb_agg(t), '[]')::text FROM keyring t",
            "INSERT INTO keyring SELECT * FROM jsonb_populate_recordset(null::keyring, $1::jsonb)",
        ),
    ] {
        let rows: String = sqlx::query_scalar(read).fetch_one(&mut *moment).await.unwrap();
        sqlx::query(write).bind(rows).execute(&to).await.unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Some(Own { server, name, .. }) = self.database.take() {
            // On a thread of its own: the one that drops it may be a task's.
            let gone = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(execute(&server, format!("DROP DATABASE {name} WITH (FORCE)")));
            });
            let _ = gone.join();
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target)),
        }
    }
}

pub(crate) fn clock() -> Arc<HandClock> {
    Arc::new(HandClock::at(Timestamp::from_seconds(1_767_323_045)))
}

pub(crate) async fn open(scratch: &Scratch, clock: &Arc<HandClock>) -> Result<Store, StoreFault> {
    Store::open(scratch.config(), clock.clone()).await
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        name: String::from("local"),
        uid: String::from("7d1f"),
    }
}

pub(crate) fn caller(subject: &str) -> Caller {
    Caller {
        issuer: String::from("https://issuer.example"),
        subject: subject.to_owned(),
        username: format!("agent:{subject}"),
        groups: vec![String::from("agents")],
        population: Population::Agents,
        agent: Some(subject.to_owned()),
        impersonated: Impersonated {
            user: format!("system:serviceaccount:mantlet-agents:{subject}"),
            ..Impersonated::default()
        },
    }
}

/// A request to delete a ConfigMap, judged and allowed.
pub(crate) fn parts(caller: Option<Caller>, session: Option<&str>, at: Timestamp) -> Parts {
    let name = String::from("settings");
    Parts {
        at,
        uri: mask::text("/api/v1/namespaces/test/configmaps/settings?token=abcdefghijklmnopqrstuvwxyz"),
        user_agent: Some(mask::text("kubectl/v1.36.0")),
        source_ips: vec![String::from("127.0.0.1")],
        cluster: Some(cluster()),
        epoch: Some(3),
        session: session.map(str::to_owned),
        caller,
        method: Some("DELETE"),
        verb: Some("delete"),
        object_ref: Some(ObjectRef {
            resource: String::from("configmaps"),
            namespace: String::from("test"),
            name,
            api_version: String::from("v1"),
            ..ObjectRef::default()
        }),
        verdict: Some(Verdict {
            decision: Decision::Allow,
            applied: vec![],
            reason: String::new(),
            message: String::new(),
            warnings: vec![],
        }),
        not_judged: vec![],
    }
}

pub(crate) fn opened(id: &AuditId, clock: &HandClock) -> Masked<Opened> {
    Opened::new(id, parts(Some(caller("coder")), None, clock.now()))
}

pub(crate) fn answered(slot: &Slot, code: u16, clock: &HandClock) -> Masked<Closed> {
    Closed::new(
        slot.id(),
        clock.now(),
        Outcome::Answered {
            code,
            reason: String::new(),
        },
        17,
    )
}

/// One whole request; its Audit-ID.
pub(crate) async fn request(store: &Store, clock: &HandClock) -> String {
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), clock));
    slot.durable().await.unwrap();
    clock.advance(Duration::from_millis(3));
    let id = slot.id().to_string();
    let closed = answered(&slot, 200, clock);
    slot.close(closed);
    id
}
