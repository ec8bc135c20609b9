//! The one thread that writes: takes what waits, lays it into the segment, flushes once, wakes all who waited for it.
//!
//! In: `queue::Work`. Out: bytes on disk, progress. After a failed write or flush it ends: what the disk then holds is not known
//! until it is read anew (a second fdatasync can succeed although pages of the first were lost), so going on would be a guess.
//! A database that does not answer is asked again, because it can say what became of the write; until then everything is refused.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mantlet_core::mask::Masked;
use mantlet_core::record::{
    AuditId, CHECKPOINT, CheckpointStatement, Closed, Counts, Line, Record, Truncated, VERSION,
};
use mantlet_core::time::{Clock, Timestamp};
use serde_json::value::RawValue;

use super::Others;
use super::chain::{Chain, ChainKey};
use super::frame::{self, HEADER};
use super::queue::{Head, Pending, Queue, Ticket, Work};
use super::scan::{Standing, Torn, Unclosed};
use crate::StoreFault;
use crate::disk::{Disk, Segment};
use crate::signing::SigningKey;

/// How soon a disk that does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the end of the process waits for one.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    key: ChainKey,
    key_ids: Vec<String>,
    segment_size: u64,
    chain: Chain,
    segment: Box<dyn Segment>,
    number: u64,
    size: u64,
    /// Where the buffer will be written.
    offset: u64,
    buffer: Vec<u8>,
    next: Next,
    /// Who is told while the disk does not answer; at the start nobody, and it is not waited for.
    queue: Option<Arc<Queue>>,
    /// Until when an end is waited for.
    deadline: Option<Instant>,
    counts: Counts,
    signing: Signing,
}

/// Signed checkpoints: who makes them, how many there were, and what they do not cover yet.
#[derive(Debug)]
struct Signing {
    key: Arc<SigningKey>,
    /// Made the last one, and has to vouch for `key`.
    old: Option<Arc<SigningKey>>,
    every: Duration,
    others: Others,
    made: u64,
    last: Timestamp,
    /// Records since.
    uncovered: u64,
}

/// The segment after this one: laid out beforehand, because zeroing 16 MiB takes longer than a request may wait.
#[derive(Debug)]
enum Next {
    Wanted,
    Underway(JoinHandle<io::Result<()>>),
    Ready,
    Missing,
}

/// What a writer needs of the store.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: ChainKey,
    pub(crate) key_ids: Vec<String>,
    pub(crate) segment_size: u64,
    /// The newest last.
    pub(crate) signing: Vec<Arc<SigningKey>>,
    pub(crate) checkpoint: Duration,
    pub(crate) others: Others,
}

impl Signing {
    fn resume(tools: &Tools, standing: &Standing) -> io::Result<Self> {
        let key = tools.signing.last().cloned();
        let key = key.ok_or_else(|| io::Error::other("the keyring has no key that signs checkpoints"))?;
        let signed_by = standing.signed_by.as_deref().filter(|id| *id != key.id());
        let old = signed_by.and_then(|id| tools.signing.iter().find(|old| old.id() == id).cloned());
        Ok(Self {
            key,
            old,
            every: tools.checkpoint,
            others: tools.others.clone(),
            made: standing.checkpoints,
            last: tools.clock.now(),
            uncovered: 0,
        })
    }

    /// A checkpoint was laid.
    fn covered(&mut self, now: Timestamp) {
        self.made += 1;
        (self.old, self.last, self.uncovered) = (None, now, 0);
    }
}

impl Writer {
    /// Goes on where a journal stands: makes the first segment, takes away a torn tail, closes what was left open.
    pub(crate) fn resume(tools: Tools, standing: Standing, fresh_id: String) -> io::Result<Self> {
        if standing.head.segment == 0 {
            tools.disk.prepare(tools.segment_size)?;
            tools.disk.adopt(1)?;
        }
        let number = standing.head.segment.max(1);
        let segment = tools.disk.open(number)?;
        let signing = Signing::resume(&tools, &standing)?;
        let mut writer = Self {
            size: segment.size()?,
            disk: tools.disk,
            clock: tools.clock,
            key: tools.key,
            key_ids: tools.key_ids,
            segment_size: tools.segment_size,
            chain: standing.chain.unwrap_or_else(|| Chain::begin(fresh_id)),
            segment,
            number,
            offset: standing.head.offset,
            buffer: Vec::new(),
            next: Next::Wanted,
            queue: None,
            deadline: None,
            counts: standing.counts,
            signing,
        };
        writer.mend(standing.torn, &standing.unclosed)?;
        Ok(writer)
    }

    fn mend(&mut self, torn: Option<Torn>, unclosed: &[Unclosed]) -> io::Result<()> {
        if let Some(torn) = &torn {
            let zeros = vec![0; usize::try_from(torn.bytes).map_err(io::Error::other)?];
            self.segment.write_at(&zeros, torn.offset)?;
            self.segment.sync(self.chain.seq)?;
        }
        if self.offset == 0 {
            self.checkpoint()?;
        }
        if let Some(Torn {
            segment,
            offset,
            bytes,
            sha256,
        }) = torn
        {
            let unclosed = unclosed.len() as u64;
            self.record(&Record::Truncated(Truncated {
                segment,
                offset,
                bytes,
                sha256,
                unclosed,
            }))?;
        }
        for open in unclosed {
            let closed: Masked<Closed> = Closed::unknown(&open.audit_id, self.clock.now());
            let record = Record::Closed(closed.into_inner());
            let pending = Pending::new(&record, open.cluster.clone(), open.epoch, false);
            self.append(pending.ok_or_else(|| io::Error::other("a close cannot be serialized"))?)?;
        }
        self.sign()?;
        self.flush()
    }

    pub(crate) fn head(&self) -> Head {
        Head {
            segment: self.number,
            offset: self.offset,
            seq: self.chain.seq,
        }
    }

    pub(crate) fn writer_id(&self) -> &str {
        &self.chain.writer
    }

    /// Until the queue stops, or the disk fails.
    pub(crate) fn run(mut self, queue: &Arc<Queue>) {
        self.queue = Some(queue.clone());
        loop {
            let (records, upto, stop) = match queue.work(|| self.clock.now()) {
                Work::Tick => match self.tick(queue) {
                    Ok(()) => continue,
                    Err(fault) => return self.end(fault, queue),
                },
                Work::Write { records, upto } => (records, upto, false),
                Work::Stop { records, upto } => (records, upto, true),
            };
            if let Err(fault) = self.commit(records, upto, stop, queue) {
                return self.end(fault, queue);
            }
            if stop {
                return queue.over(StoreFault::Closed);
            }
            self.look_ahead(queue);
        }
    }

    fn end(&self, fault: io::Error, queue: &Queue) {
        tracing::error!(%fault, segment = self.number, offset = self.offset, "journal failed");
        queue.over(fatal(fault));
    }

    /// Nothing came: time for what is due, and for what comes next.
    fn tick(&mut self, queue: &Queue) -> io::Result<()> {
        if self.is_due() {
            self.sign()?;
            self.flush()?;
            queue.moved(self.head());
        }
        self.look_around(queue)
    }

    fn commit(&mut self, records: Vec<Pending>, upto: Ticket, stop: bool, queue: &Queue) -> io::Result<()> {
        let freed = records.iter().filter(|record| record.last).count();
        for record in records {
            self.append(record)?;
        }
        if stop {
            self.record(&Record::Stopped)?;
            self.flush()?;
        }
        if stop || self.is_due() {
            // At the end in a flush of its own: it is what proves that the records before it had been durable.
            self.sign()?;
        }
        self.flush()?;
        queue.written(upto, self.head(), freed);
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let pending = Pending::new(record, None, None, false);
        self.append(pending.ok_or_else(|| io::Error::other("a record cannot be serialized"))?)
    }

    fn append(&mut self, pending: Pending) -> io::Result<()> {
        let (counts, signed) = (pending.counts, pending.signed);
        let mut line = self.line(pending);
        let mut payload = serde_json::to_vec(&line)?;
        if self.offset + (self.buffer.len() + HEADER + payload.len()) as u64 > self.size {
            self.rotate()?;
            line = Line {
                seq: self.chain.seq + 1,
                prev: hex::encode(self.chain.hash),
                ..line
            };
            payload = serde_json::to_vec(&line)?;
        }
        self.lay(&payload)?;
        self.counts += counts;
        self.signing.uncovered += u64::from(signed);
        Ok(())
    }

    fn line(&self, pending: Pending) -> Line<Box<RawValue>> {
        Line {
            v: VERSION,
            writer: self.chain.writer.clone(),
            seq: self.chain.seq + 1,
            at: self.clock.now(),
            cluster: pending.cluster,
            epoch: pending.epoch,
            key_ids: self.key_ids.clone(),
            prev: hex::encode(self.chain.hash),
            record: pending.record,
        }
    }

    fn lay(&mut self, payload: &[u8]) -> io::Result<()> {
        if self.offset + (self.buffer.len() + HEADER + payload.len()) as u64 > self.size {
            return Err(io::Error::other(format!(
                "a record of {} bytes is longer than a segment",
                payload.len()
            )));
        }
        let synced = u32::try_from(self.offset).map_err(io::Error::other)?;
        self.chain.hash = frame::encode(&mut self.buffer, synced, payload);
        self.chain.seq += 1;
        Ok(())
    }

    fn checkpoint(&mut self) -> io::Result<()> {
        let record = Record::Checkpoint(self.chain.checkpoint(self.number, &self.key));
        let payload = self.payload(&record)?;
        self.lay(&payload)
    }

    fn payload(&self, record: &Record) -> io::Result<Vec<u8>> {
        let pending = Pending::new(record, None, None, false);
        let line = self.line(pending.ok_or_else(|| io::Error::other("a record cannot be serialized"))?);
        Ok(serde_json::to_vec(&line)?)
    }

    fn is_due(&self) -> bool {
        self.signing.uncovered > 0 && self.clock.now().since(self.signing.last) >= self.signing.every
    }

    /// Lays a signed checkpoint over everything before it; where there is no room left, at the beginning of the next segment.
    fn sign(&mut self) -> io::Result<()> {
        let payload = self.signed_checkpoint()?;
        if self.offset + (self.buffer.len() + HEADER + payload.len()) as u64 > self.size {
            return self.rotate();
        }
        self.lay(&payload)?;
        self.signing.covered(self.clock.now());
        Ok(())
    }

    fn signed_checkpoint(&self) -> io::Result<Vec<u8>> {
        let Signing {
            key, old, others, made, ..
        } = &self.signing;
        // The last word of a key that is replaced says which one comes: trust in it leads from one to the other.
        let (signer, next_key) = match old {
            Some(old) => (old, Some(key.public())),
            None => (key, None),
        };
        let mut chains = vec![self.chain.head()];
        let known = others.lock().unwrap_or_else(PoisonError::into_inner);
        chains.extend(known.values().filter(|head| head.writer != self.chain.writer).cloned());
        let statement = CheckpointStatement {
            v: 1,
            checkpoint: made + 1,
            writer: self.chain.writer.clone(),
            at: self.clock.now(),
            chains,
            counts: self.counts,
            public_key: signer.public().public_key,
            next_key,
        };
        self.payload(&Record::SignedCheckpoint(signer.sign(CHECKPOINT, &statement)?))
    }

    /// INVARIANT: `offset` moves only when everything before it is durable; frames name it as `synced`.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.segment.write_at(&self.buffer, self.offset)?;
        while let Err(fault) = self.segment.sync(self.chain.seq) {
            self.wait_out(fault)?;
        }
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Tells everybody that the disk is away, and returns when it may be asked again; or its fault, if it may not.
    fn wait_out(&mut self, fault: io::Error) -> io::Result<()> {
        let (Some(queue), io::ErrorKind::NotConnected) = (&self.queue, fault.kind()) else {
            return Err(fault);
        };
        tracing::warn!(%fault, "journal cannot be written now");
        queue.away(&StoreFault::Away(fault.to_string()));
        if queue.stopping() && Instant::now() > *self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE) {
            return Err(fault);
        }
        thread::sleep(AGAIN);
        Ok(())
    }

    /// Nothing came for a while: whether what comes could be written.
    fn look_around(&mut self, queue: &Queue) -> io::Result<()> {
        match self.segment.keep() {
            Ok(()) => queue.back(),
            Err(fault) => self.wait_out(fault)?,
        }
        self.look_ahead(queue);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        match std::mem::replace(&mut self.next, Next::Wanted) {
            Next::Ready => {}
            Next::Underway(work) => joined(work)?,
            Next::Wanted | Next::Missing => self.disk.prepare(self.segment_size)?,
        }
        self.disk.adopt(self.number + 1)?;
        self.number += 1;
        self.segment = self.disk.open(self.number)?;
        (self.size, self.offset) = (self.segment.size()?, 0);
        self.checkpoint()?;
        let payload = self.signed_checkpoint()?;
        self.lay(&payload)?;
        self.signing.covered(self.clock.now());
        Ok(())
    }

    /// Has the next segment laid out in time; while that cannot be done, new requests are refused and half a segment is left for the others.
    fn look_ahead(&mut self, queue: &Queue) {
        self.next = match std::mem::replace(&mut self.next, Next::Wanted) {
            Next::Wanted if self.offset * 2 < self.size => Next::Wanted,
            Next::Wanted | Next::Missing => self.lay_out(),
            Next::Underway(work) if work.is_finished() => match joined(work) {
                Ok(()) => {
                    queue.room(Ok(()));
                    Next::Ready
                }
                Err(fault) => {
                    tracing::error!(%fault, "journal has no room for another segment");
                    queue.room(Err(StoreFault::Full(format!(
                        "no other segment can be laid out: {fault}"
                    ))));
                    Next::Missing
                }
            },
            same @ (Next::Underway(_) | Next::Ready) => same,
        };
    }

    fn lay_out(&self) -> Next {
        let (disk, size) = (self.disk.clone(), self.segment_size);
        let work = thread::Builder::new()
            .name(String::from("journal-next"))
            .spawn(move || disk.prepare(size));
        work.map_or(Next::Missing, Next::Underway)
    }
}

/// What everybody is told for good.
pub(super) fn fatal(fault: io::Error) -> StoreFault {
    match fault.downcast::<StoreFault>() {
        Ok(fault) => fault,
        Err(fault) if fault.kind() == io::ErrorKind::NotConnected => StoreFault::Away(fault.to_string()),
        Err(fault) => StoreFault::Failed(fault.to_string()),
    }
}

fn joined(work: JoinHandle<io::Result<()>>) -> io::Result<()> {
    work.join()
        .unwrap_or_else(|_| Err(io::Error::other("laying out a segment ended in a panic")))
}

/// The id of a new chain.
pub(crate) fn fresh_id(random: [u8; 8]) -> String {
    format!("w{}", hex::encode(random))
}

/// Ids of requests, from the same source of randomness as everything else.
pub(crate) fn audit_id() -> Result<AuditId, StoreFault> {
    Ok(AuditId::from_random(crate::random::bytes()?))
}
