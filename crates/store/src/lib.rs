//! The memory of Mantlet: what was asked, what was answered, by whom, in which session. The only crate that names SQL.
//!
//! The journal is the truth: a request has room in it before anything else happens ([`Slot`]), its opening is on disk before
//! anything of it changes a cluster, and however it ends it leaves one event. The index is made from the journal, behind the
//! request path. Keys of placeholders, chain and digests lie in the keyring.

mod anchor;
mod bodies;
mod clock;
mod database;
pub mod disk;
mod export;
mod fault;
#[cfg(test)]
mod golden;
mod index;
mod journal;
mod keyring;
mod quotas;
mod random;
mod retention;
mod sessions;
mod signing;
mod stops;
#[cfg(test)]
mod testing;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use mantlet_core::record::AuditId;
use mantlet_core::time::{Clock, Timestamp};

use database::{Database, Place};
use disk::{Disk, Folder};
use journal::{Shared, Site};
use keyring::Begun;

pub use anchor::{Due, Outbox, document, read_documents};
pub use bodies::{Bodies, Recordings, S3Place};
pub use clock::{HandClock, SystemClock};
pub use database::DatabaseUrl;
pub use export::Follower;
pub use fault::StoreFault;
pub use index::{Change, Index, Owner, Page, Rows, Visible};
pub use journal::{Head, Journal, Sizes, Slot};
pub use keyring::{Keyring, MissingKey};
pub use quotas::OverQuota;
pub use retention::Retention;
pub use sessions::{NoSession, SessionId, Sessions};
pub use signing::PublicKeys;
pub use stops::{Stop, Suspension};
pub use verify::{
    Anchor, Checked, Finding, Kind, LastCheckpoint, Report, public_keys, public_keys_in, rotate_signing_key_in, verify,
    verify_in,
};

/// Where the memory lies: `storage` of the configuration, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    pub database: DatabaseUrl,
    pub journal: JournalAt,
    /// What is too large for the journal.
    pub recordings: Recordings,
    /// 32 random bytes that seal the keyring.
    pub key_file: PathBuf,
    pub missing_key: MissingKey,
    pub sizes: Sizes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalAt {
    /// A folder of its own, on a local disk.
    Folder(PathBuf),
    /// Where the index is: in PostgreSQL.
    Database,
}

/// Whether a URL names a place that can be used. Nothing is reached yet.
pub fn check(database: &DatabaseUrl) -> Result<(), StoreFault> {
    Place::of(database).map(drop)
}

#[derive(Debug)]
pub struct Store {
    pub journal: Journal,
    pub index: Index,
    pub sessions: Sessions,
    pub keyring: Keyring,
    pub bodies: Bodies,
}

/// What becomes of an index that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Kept,
    Forgotten,
}

impl Store {
    /// Mends what a crash left, brings the index up to date, and starts to write.
    pub async fn open(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        Self::open_in(ground(&config)?, config, clock, Known::Kept).await
    }

    /// The same on a disk of the caller's choice (`disk::FaultyDisk`).
    pub async fn open_on(disk: Arc<dyn Disk>, config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        let folder = match &config.journal {
            JournalAt::Folder(folder) => folder.clone(),
            JournalAt::Database => return Err(StoreFault::Failed(String::from("a disk has a folder"))),
        };
        Self::open_in(Ground::Folder(disk, folder), config, clock, Known::Kept).await
    }

    /// Throws the index away and makes it anew from the journal.
    pub async fn rebuild(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Rows, StoreFault> {
        let store = Self::open_in(ground(&config)?, config, clock, Known::Forgotten).await?;
        store.index.settled().await?;
        let rows = store.index.rows().await;
        store.close().await;
        rows
    }

    async fn open_in(
        ground: Ground,
        config: StoreConfig,
        clock: Arc<dyn Clock>,
        known: Known,
    ) -> Result<Self, StoreFault> {
        let bodies = Bodies::open(&config.recordings).await?;
        let database = Database::open(&config.database).await?;
        let segment = config.sizes.segment;
        let (site, begun) = waiting(move || ground.take(segment)).await?;
        let keyring = open_keyring(&database, &config, begun, clock.now()).await?;
        let (keyring, time, sizes) = (Arc::new(keyring), clock.clone(), config.sizes);
        let keys = keyring.clone();
        let journal = waiting(move || {
            site.mend_others(&keys, sizes, &time)?;
            Journal::open(site, &keys, sizes, time)
        });
        let journal = journal.await?;
        if known == Known::Forgotten {
            Index::forget(&database).await?;
        }
        let index = Index::open(database, &journal, clock.clone()).await?;
        index.flush().await?;
        let live = index.live_sessions(journal.writer_id()).await?;
        let stops = index.stops(clock.now()).await?;
        let sessions = Sessions::resume(live, stops, journal.pen(), keyring.digest_key());
        index.hear_of_stops(sessions.stops());
        let keyring = Arc::into_inner(keyring).ok_or(StoreFault::Closed)?;
        Ok(Self {
            journal,
            index,
            sessions,
            keyring,
            bodies,
        })
    }

    /// Ends a session by its name: see `Sessions::stop`. False if there is none of that name.
    ///
    /// # Cancel safety
    /// In force once its row is read; dropping it after that only ends the waiting.
    pub async fn stop_session(&self, name: &str, audit_id: &AuditId, now: Timestamp) -> Result<bool, StoreFault> {
        self.index.flush().await?;
        match self.index.session_to_stop(name).await? {
            Some(session) => self
                .sessions
                .stop(&session, audit_id.as_str(), now)
                .await
                .map(|()| true),
            None => Ok(false),
        }
    }

    /// Signed checkpoints that have to be anchored. One reader at a time.
    pub fn outbox(&self) -> Outbox {
        Outbox::of(&self.journal)
    }

    /// Whether requests can be recorded: what `/readyz` says.
    pub fn health(&self) -> Result<(), StoreFault> {
        self.journal.health()
    }

    /// Writes what waits, brings the index up to date, lets go of the files.
    pub async fn close(&self) {
        self.journal.close().await;
        self.index.close().await;
    }
}

/// Where the journal is to lie, nothing of it held yet.
#[derive(Debug)]
enum Ground {
    Folder(Arc<dyn Disk>, PathBuf),
    Shared(Arc<Shared>),
}

fn ground(config: &StoreConfig) -> Result<Ground, StoreFault> {
    match (&config.journal, Place::of(&config.database)?) {
        (JournalAt::Folder(folder), _) => Ok(Ground::Folder(Arc::new(Folder::new(folder)), folder.clone())),
        (JournalAt::Database, Place::Postgres(options)) => Ok(Ground::Shared(Shared::new(*options)?)),
        (JournalAt::Database, Place::Sqlite(_)) => Err(StoreFault::Url {
            database: config.database.shown(),
            why: String::from("a journal lies in a folder or in PostgreSQL"),
            hint: String::from("name a folder in `storage.journal`"),
        }),
    }
}

impl Ground {
    /// A chain to write, and whether anything was ever written there.
    fn take(self, segment_size: u64) -> Result<(Site, Begun), StoreFault> {
        match self {
            Self::Folder(disk, folder) => {
                let site = Site::folder(disk, &folder)?;
                let begun = site.begun()?;
                Ok((site, begun))
            }
            Self::Shared(shared) => {
                let begun = shared.begun()?;
                Ok((shared.take(segment_size)?, begun))
            }
        }
    }
}

/// In PostgreSQL the keyring lies in the database, wherever the journal is: several processes use it.
async fn open_keyring(
    database: &Database,
    config: &StoreConfig,
    begun: Begun,
    now: Timestamp,
) -> Result<Keyring, StoreFault> {
    match (database, &config.journal) {
        (Database::Sqlite { .. }, JournalAt::Folder(folder)) => {
            let (folder, key_file, missing) = (folder.clone(), config.key_file.clone(), config.missing_key);
            waiting(move || Keyring::open(&folder, &key_file, missing, begun, now)).await
        }
        (Database::Sqlite { .. }, JournalAt::Database) | (Database::Postgres(_), _) => {
            Keyring::open_in(database, &config.key_file, config.missing_key, begun, now).await
        }
    }
}

/// Work that waits for a disk or a database.
async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|fault| StoreFault::Failed(fault.to_string()))?
}

/// From the next start on a new key signs checkpoints; the old one vouches for it. Its id.
pub fn rotate_signing_key(
    folder: &std::path::Path,
    key_file: &std::path::Path,
    now: Timestamp,
) -> Result<String, StoreFault> {
    Keyring::rotate(folder, key_file, now)
}
