//! The journal: append-only, hash-chained, group-committed. The truth; the index is made from it.
//!
//! In: masked records under a reservation. Out: bytes that survive the process and the machine.
//! Refuses: more requests than there is room for, and everything once the disk has failed. There is no way around it.
//! Deliberately not here: answering questions about the past (`index`).

pub(crate) mod chain;
pub(crate) mod frame;
mod queue;
pub(crate) mod scan;
mod shared;
mod slot;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mantlet_core::record::{Anchored, AuditId, ChainHead, Cluster, Counts, Line, Record};
use mantlet_core::time::Clock;
use tokio::sync::watch;

use crate::disk::Disk;
use crate::keyring::{Begun, Keyring};
use crate::quotas::{OverQuota, Who};
use crate::signing::{PublicKeys, SigningKey};
use crate::verify::Writing;
use crate::{StoreFault, random};

pub(crate) use chain::ChainKey;
pub use queue::Head;
pub(crate) use queue::Progress;
use queue::{Pending, Queue};
use scan::Standing;
pub(crate) use scan::Tail;
pub(crate) use shared::{Chains, Shared};
pub use slot::Slot;
use writer::{Tools, Writer};

/// Sizes of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a segment; laid out in full before it is written to.
    pub segment: u64,
    /// Requests that may be under way at once, watches and logs included.
    pub requests: usize,
    /// Bytes of journal and bodies that one identity may fill in an hour.
    pub quota: u64,
    /// Bytes that refusals without a caller may take in an hour with records of their own; the others are counted. Set to 1 % of what an hour may
    /// take of the disk.
    pub refusals: u64,
    /// So often a checkpoint is signed, if anything was written since the last.
    pub checkpoint: Duration,
}

/// Where the journal begins after all that was pruned of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ground {
    /// The last segment that a record of pruning names. It may still be there.
    pub(crate) pruned: u64,
    /// The last record in it.
    pub(crate) last_seq: u64,
    /// Counted up to its end.
    pub(crate) counts: Counts,
    pub(crate) checkpoints: u64,
}

/// Where other writers' chains stand that go into signed checkpoints, by writer.
pub(crate) type Others = Arc<Mutex<BTreeMap<String, ChainHead>>>;

impl Default for Sizes {
    fn default() -> Self {
        Self {
            segment: 16 << 20,
            requests: 16_384,
            quota: 256 << 20,
            refusals: 16 << 20,
            checkpoint: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
pub struct Journal {
    queue: Arc<Queue>,
    clock: Arc<dyn Clock>,
    reader: Arc<dyn Disk>,
    chains: Chains,
    writer_id: String,
    base: Head,
    ground: Mutex<Ground>,
    resumed: Head,
    anchored: Option<Anchored>,
    others: Others,
    signer: Arc<SigningKey>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// A place for one chain, held by this process.
#[derive(Debug)]
pub(crate) struct Site {
    disk: Arc<dyn Disk>,
    /// The same for those who read behind the writer.
    reader: Arc<dyn Disk>,
    lock: Lock,
    /// What a chain that begins here is called.
    fresh_id: String,
    /// Up to where the place itself says that it is written. A folder does not know, and may hold half a write.
    written: Option<Head>,
    chains: Chains,
}

/// Held as long as the journal is written to; the system lets go of it when the process ends.
#[derive(Debug)]
enum Lock {
    File(#[expect(dead_code, reason = "held, not read")] File),
    Chain(#[expect(dead_code, reason = "held, not read")] shared::Hold),
}

impl Site {
    pub(crate) fn folder(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, StoreFault> {
        Ok(Self {
            reader: disk.clone(),
            disk,
            lock: Lock::file(folder)?,
            fresh_id: writer::fresh_id(random::bytes()?),
            written: None,
            chains: Chains::One,
        })
    }

    /// Whether anything was ever written here.
    pub(crate) fn begun(&self) -> Result<Begun, StoreFault> {
        begun(&*self.disk)
    }

    /// Closes what processes that are gone left open in chains of their own.
    pub(crate) fn mend_others(
        &self,
        keyring: &Keyring,
        sizes: Sizes,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), StoreFault> {
        let Chains::Many(shared) = &self.chains else {
            return Ok(());
        };
        for site in shared.left_open()? {
            tracing::warn!(chain = site.fresh_id, "closing what another process left open");
            resume(&site, keyring, sizes, clock.clone())?;
            shared.note_closed(&site)?;
        }
        Ok(())
    }

    fn standing(&self, key: &ChainKey, signers: &PublicKeys) -> Result<Standing, StoreFault> {
        let standing = scan::scan(&*self.disk, key, signers)?;
        match &self.written {
            Some(written) if standing.torn.is_some() || standing.head != *written => Err(StoreFault::Damaged {
                segment: standing.head.segment,
                offset: standing.head.offset,
                what: format!("the chain ends there, but was written up to record {}", written.seq),
            }),
            Some(_) | None => Ok(standing),
        }
    }
}

impl Lock {
    fn file(folder: &Path) -> Result<Self, StoreFault> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|fault| StoreFault::unusable(folder, fault))?;
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|fault| StoreFault::unusable(&path, fault))?;
        file.try_lock().map_err(|_| StoreFault::Locked(folder.to_owned()))?;
        Ok(Self::File(file))
    }
}

/// Whether a gateway writes to the journal in `folder` at this moment.
pub(crate) fn writing(folder: &Path) -> Result<Writing, StoreFault> {
    let path = folder.join("lock");
    match File::open(&path) {
        // Let go of at once: a gateway that starts meanwhile must not be kept from it.
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Ok(Writing::Over),
            Err(_) => Ok(Writing::UnderWay),
        },
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(Writing::Over),
        Err(fault) => Err(StoreFault::unusable(&path, fault)),
    }
}

/// Whether anything was ever written to this disk.
fn begun(disk: &dyn Disk) -> Result<Begun, StoreFault> {
    let segments = disk.segments().map_err(|fault| StoreFault::Failed(fault.to_string()))?;
    Ok(if segments.is_empty() { Begun::No } else { Begun::Yes })
}

impl Journal {
    /// Reads what there is, mends what a crash left, and starts to write. Blocks on the disk.
    pub(crate) fn open(site: Site, keyring: &Keyring, sizes: Sizes, clock: Arc<dyn Clock>) -> Result<Self, StoreFault> {
        let signer = keyring.signing_keys().last().cloned();
        let signer = signer.ok_or_else(|| StoreFault::Key(String::from("the keyring has no key that signs")))?;
        let Resumed {
            writer,
            base,
            ground,
            head: resumed,
            anchored,
            others,
        } = resume(&site, keyring, sizes, clock.clone())?;
        let queue = Arc::new(Queue::new(&sizes, writer.head()));
        let writer_id = writer.writer_id().to_owned();
        let thread = write(writer, queue.clone(), site.lock).map_err(failed)?;
        Ok(Self {
            queue,
            clock,
            reader: site.reader,
            chains: site.chains,
            writer_id,
            base,
            ground: Mutex::new(ground),
            resumed,
            anchored,
            others,
            signer,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Room for one request. To be had before anything of the request can fail; refused, nothing may be done for it.
    pub fn slot(&self) -> Result<Slot, StoreFault> {
        let id = writer::audit_id()?;
        self.queue.reserve()?;
        Ok(Slot::reserved(self.queue.clone(), self.clock.clone(), id))
    }

    /// Whether this identity still has a share of this hour's journal. Asked before it is a caller.
    pub fn share(&self, issuer: &str, subject: &str) -> Result<(), OverQuota> {
        self.queue.quotas().check(&Who::new(issuer, subject), self.clock.now())
    }

    /// The Audit-ID of a call that Mantlet makes for itself.
    pub fn own_id(&self) -> Result<AuditId, StoreFault> {
        Ok(AuditId::own(random::bytes()?))
    }

    /// Whether new requests have room: what `/readyz` says.
    pub fn health(&self) -> Result<(), StoreFault> {
        self.queue.health()
    }

    /// Which chain this journal writes.
    pub fn writer_id(&self) -> &str {
        &self.writer_id
    }

    /// Where another writer's chain stands: from now on signed checkpoints vouch for it too.
    pub fn note_chain(&self, head: ChainHead) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.insert(head.writer.clone(), head);
    }

    /// For whoever reads the chains of others: what is noted here, signed checkpoints vouch for.
    pub(crate) fn others(&self) -> Others {
        self.others.clone()
    }

    /// Where what was left of the journal began when it was opened.
    pub(crate) fn base(&self) -> Head {
        self.base
    }

    /// Where it begins now for whoever reads it from the first record on.
    pub(crate) fn begin(&self) -> Head {
        let ground = self.ground();
        let behind = Head {
            segment: ground.pruned + 1,
            offset: 0,
            seq: ground.last_seq,
        };
        behind.max(self.base)
    }

    pub(crate) fn ground(&self) -> Ground {
        *self.ground.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stand_on(&self, ground: Ground) {
        *self.ground.lock().unwrap_or_else(PoisonError::into_inner) = ground;
    }

    pub(crate) fn signer(&self) -> &SigningKey {
        &self.signer
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// How far the record had been anchored when it was opened.
    pub(crate) fn anchored(&self) -> Option<&Anchored> {
        self.anchored.as_ref()
    }

    /// Where this process began to write.
    pub(crate) fn resumed(&self) -> Head {
        self.resumed
    }

    /// Up to where the journal is durable.
    pub fn head(&self) -> Head {
        self.queue.progress().borrow().head
    }

    /// Returns once everything that was queued before is durable.
    pub async fn settled(&self) -> Result<(), StoreFault> {
        self.pen().settled().await.map(drop)
    }

    pub(crate) fn pen(&self) -> Pen {
        Pen(self.queue.clone())
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.queue.progress()
    }

    /// The own chain, for those who read it.
    pub(crate) fn reader(&self) -> Arc<dyn Disk> {
        self.reader.clone()
    }

    /// What there is beside the own chain.
    pub(crate) fn chains(&self) -> Chains {
        self.chains.clone()
    }

    /// Writes what waits and ends the chain for now. Slots that are still held are closed as unknown at the next start.
    pub async fn close(&self) {
        self.queue.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

/// What was written behind `at`, as far as it is durable and comes in one piece, and where it ends; nothing if there is nothing yet.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub(crate) async fn stretch(disk: Arc<dyn Disk>, at: Head, durable: Head) -> Result<(Vec<Line>, Head), StoreFault> {
    let mut tail = Tail::new(disk, at);
    // A disk may be on another machine: nobody else waits for it.
    let read = tokio::task::spawn_blocking(move || {
        let lines = tail.read(durable)?;
        Ok((lines, tail.at()))
    });
    read.await.map_err(|fault| StoreFault::Index(fault.to_string()))?
}

/// Leave to write records that belong to no request.
#[derive(Debug, Clone)]
pub(crate) struct Pen(Arc<Queue>);

impl Pen {
    pub(crate) fn append(&self, record: &Record, cluster: Option<Cluster>) -> Result<(), StoreFault> {
        let unwritable = || StoreFault::Failed(String::from("a record cannot be serialized"));
        let pending = Pending::new(record, cluster, None, true).ok_or_else(unwritable)?;
        self.0.reserve()?;
        self.0.push(pending);
        Ok(())
    }

    /// Writes what the store has to say of itself, also while nobody else has room: that may be what makes some.
    pub(crate) fn note(&self, record: &Record) -> Result<(), StoreFault> {
        let unwritable = || StoreFault::Failed(String::from("a record cannot be serialized"));
        let pending = Pending::new(record, None, None, false).ok_or_else(unwritable)?;
        match self.0.health() {
            Ok(()) | Err(StoreFault::Full(_)) => {
                self.0.push(pending);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Where the journal is durable once everything queued before is.
    pub(crate) async fn settled(&self) -> Result<Head, StoreFault> {
        self.0.durable(self.0.latest()).await?;
        Ok(self.0.progress().borrow().head)
    }
}

/// A chain that can be written, and how it stood before.
struct Resumed {
    writer: Writer,
    base: Head,
    ground: Ground,
    head: Head,
    anchored: Option<Anchored>,
    others: Others,
}

/// Reads a chain, mends what a crash left, closes what it left open. Blocks on the disk.
fn resume(site: &Site, keyring: &Keyring, sizes: Sizes, clock: Arc<dyn Clock>) -> Result<Resumed, StoreFault> {
    let key = ChainKey::of(keyring);
    let standing = site.standing(&key, &keyring.public_keys())?;
    let (base, ground, anchored) = (standing.base, standing.ground, standing.anchored.clone());
    let head = Head {
        segment: standing.head.segment.max(1),
        ..standing.head
    };
    let others = Others::default();
    let key_ids = vec![keyring.mask_key_id().to_owned(), key.id.clone()];
    let tools = Tools {
        disk: site.disk.clone(),
        clock,
        key,
        key_ids,
        segment_size: sizes.segment,
        signing: keyring.signing_keys().to_vec(),
        checkpoint: sizes.checkpoint,
        others: others.clone(),
    };
    let writer = Writer::resume(tools, standing, site.fresh_id.clone()).map_err(writer::fatal)?;
    Ok(Resumed {
        writer,
        base,
        ground,
        head,
        anchored,
        others,
    })
}

fn write(writer: Writer, queue: Arc<Queue>, lock: Lock) -> std::io::Result<thread::JoinHandle<()>> {
    let work = move || {
        let end = End(queue);
        writer.run(&end.0);
        drop(lock);
    };
    thread::Builder::new().name(String::from("journal")).spawn(work)
}

/// Whatever ends the writer, nobody waits for it in vain.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0
                .over(StoreFault::Failed(String::from("the writer ended in a panic")));
        }
    }
}

fn failed(fault: std::io::Error) -> StoreFault {
    StoreFault::Failed(fault.to_string())
}
