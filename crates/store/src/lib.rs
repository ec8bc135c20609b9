//! The memory of Mantlet: what was asked, what was answered, by whom, in which session. The only crate that names SQL.
//!
//! The journal is the truth: a request has room in it before anything else happens ([`Slot`]), its opening is on disk before
//! anything of it changes a cluster, and however it ends it leaves one event. The index is made from the journal, behind the
//! request path. Keys of placeholders, chain and digests lie in the keyring.

mod clock;
pub mod disk;
mod fault;
#[cfg(test)]
mod golden;
mod index;
mod journal;
mod keyring;
mod random;
mod sessions;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::sync::Arc;

use mantlet_core::time::Clock;

use disk::{Disk, Folder};
use journal::Lock;

pub use clock::{HandClock, SystemClock};
pub use fault::StoreFault;
pub use index::{Change, Index, Owner, Page, Visible};
pub use journal::{Head, Journal, Sizes, Slot};
pub use keyring::{Keyring, MissingKey};
pub use sessions::{SessionId, Sessions};

/// Where the memory lies: `storage` of the configuration, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `sqlite:///path/to/mantlet.db`.
    pub database: String,
    /// A folder of its own, on a local disk.
    pub journal: PathBuf,
    /// Room: nothing is recorded beyond the journal yet.
    pub recordings: PathBuf,
    /// 32 random bytes that seal the keyring.
    pub key_file: PathBuf,
    pub missing_key: MissingKey,
    pub sizes: Sizes,
}

#[derive(Debug)]
pub struct Store {
    pub journal: Journal,
    pub index: Index,
    pub sessions: Sessions,
    pub keyring: Keyring,
}

impl Store {
    /// Mends what a crash left, brings the index up to date, and starts to write.
    pub async fn open(config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        let disk = Arc::new(Folder::new(&config.journal));
        Self::open_on(disk, config, clock).await
    }

    /// The same on a disk of the caller's choice (`disk::FaultyDisk`).
    pub async fn open_on(disk: Arc<dyn Disk>, config: StoreConfig, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        let (database, time) = (config.database.clone(), clock.clone());
        let opened = tokio::task::spawn_blocking(move || open_journal(disk, &config, time)).await;
        let (journal, keyring) = opened.map_err(|fault| StoreFault::Failed(fault.to_string()))??;
        let index = Index::open(&database, &journal, clock.clone()).await?;
        index.flush().await?;
        let sessions = Sessions::resume(index.live_sessions().await?, journal.pen(), keyring.digest_key());
        Ok(Self {
            journal,
            index,
            sessions,
            keyring,
        })
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

fn open_journal(
    disk: Arc<dyn Disk>,
    config: &StoreConfig,
    clock: Arc<dyn Clock>,
) -> Result<(Journal, Keyring), StoreFault> {
    let lock = Lock::take(&config.journal)?;
    let begun = journal::begun(&*disk)?;
    let keyring = Keyring::open(
        &config.journal,
        &config.key_file,
        config.missing_key,
        begun,
        clock.now(),
    )?;
    let journal = Journal::open(disk, lock, &keyring, config.sizes, clock)?;
    Ok((journal, keyring))
}
