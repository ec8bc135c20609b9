//! Reading what is on disk: all of it at a start (chain, torn tail, requests left open), and what was added since.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use aws_lc_rs::digest;
use mantlet_core::record::{Anchored, Cluster, Counts, Line, PRUNED, PrunedSegment, PrunedStatement, Record, Signed};

use super::Ground;
use super::chain::{self, Chain, ChainKey};
use super::frame::{self, Found, MAGIC};
use super::queue::Head;
use crate::StoreFault;
use crate::disk::{Disk, Segment};
use crate::signing::PublicKeys;

/// What a journal holds when it is opened.
#[derive(Debug)]
pub(crate) struct Standing {
    /// None in an empty journal.
    pub(crate) chain: Option<Chain>,
    /// Where what is left of it begins.
    pub(crate) base: Head,
    pub(crate) head: Head,
    pub(crate) unclosed: Vec<Unclosed>,
    pub(crate) torn: Option<Torn>,
    pub(crate) counts: Counts,
    /// Signed checkpoints so far, and which key made the last.
    pub(crate) checkpoints: u64,
    pub(crate) signed_by: Option<String>,
    pub(crate) anchored: Option<Anchored>,
    pub(crate) ground: Ground,
}

/// A request that has an opening and no close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unclosed {
    pub(crate) audit_id: String,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) epoch: Option<u64>,
}

/// Bytes of a write that was under way when the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// Reads every segment and follows the chain. Changes nothing.
pub(crate) fn scan(disk: &dyn Disk, key: &ChainKey, signers: &PublicKeys) -> Result<Standing, StoreFault> {
    let numbers = disk.segments().map_err(failed)?;
    let first = numbers.first().copied().unwrap_or(1);
    let mut scan = Scan::new(key, signers, first);
    for (index, number) in numbers.iter().copied().enumerate() {
        let expected = first + index as u64;
        if number != expected {
            return Err(damaged(number, 0, format!("segment {expected} is missing")));
        }
        scan.segment(&whole(disk, number)?, number, index + 1 == numbers.len())?;
    }
    scan.standing()
}

struct Scan<'a> {
    key: &'a ChainKey,
    signers: &'a PublicKeys,
    chain: Option<Chain>,
    first: u64,
    /// Where the chain begins that is still here, and the hash that its first record names.
    begin: Option<Chain>,
    /// The end of the segment before the first, by the record of its pruning.
    cut: Option<PrunedSegment>,
    /// The last that any such record names.
    pruned: Option<PrunedSegment>,
    open: Open,
    head: Head,
    torn: Option<Torn>,
    counts: Counts,
    checkpoints: u64,
    signed_by: Option<String>,
    anchored: Option<Anchored>,
}

impl<'a> Scan<'a> {
    fn new(key: &'a ChainKey, signers: &'a PublicKeys, first: u64) -> Self {
        Self {
            key,
            signers,
            chain: None,
            first,
            begin: None,
            cut: None,
            pruned: None,
            open: Open::default(),
            head: Head {
                segment: 0,
                offset: 0,
                seq: 0,
            },
            torn: None,
            counts: Counts::default(),
            checkpoints: 0,
            signed_by: None,
            anchored: None,
        }
    }

    fn segment(&mut self, bytes: &[u8], number: u64, last: bool) -> Result<(), StoreFault> {
        let mut offset = 0;
        loop {
            match frame::decode(&bytes[offset..]) {
                Found::Frame(frame) => {
                    let line = self.follow(&frame).map_err(|what| damaged(number, offset, what))?;
                    self.note(&line).map_err(|what| damaged(number, offset, what))?;
                    offset += frame.length();
                }
                Found::Nothing if frame::zeros(&bytes[offset..]) => break,
                Found::Nothing | Found::Short(_) | Found::Damage => {
                    self.torn = Some(torn(bytes, number, offset, last)?);
                    break;
                }
            }
        }
        let seq = self.chain.as_ref().map_or(0, |chain| chain.seq);
        self.head = Head {
            segment: number,
            offset: offset as u64,
            seq,
        };
        Ok(())
    }

    fn follow(&mut self, frame: &frame::Frame<'_>) -> Result<Line, String> {
        if self.chain.is_none() {
            let line = chain::read(frame.payload)?;
            let begin = match self.first {
                1 => Chain::begin(line.writer),
                _ => Chain::before(&line)?,
            };
            self.begin = Some(begin.clone());
            self.chain = Some(begin);
        }
        match &mut self.chain {
            Some(chain) => chain.follow(frame, self.key),
            None => Err(String::from("there is no chain")),
        }
    }

    fn note(&mut self, line: &Line) -> Result<(), String> {
        self.open.note(line);
        self.counts += line.record.counts();
        match &line.record {
            Record::SignedCheckpoint(signed) => {
                self.checkpoints += 1;
                self.signed_by = Some(signed.key_id.clone());
            }
            Record::Anchored(anchored) => self.anchored = Some(anchored.clone()),
            Record::Pruned(signed) => self.prune(signed)?,
            Record::Opened(_)
            | Record::Closed(_)
            | Record::SessionStarted(_)
            | Record::SessionEnded(_)
            | Record::AgentSuspended(_)
            | Record::Refusals(_)
            | Record::Checkpoint(_)
            | Record::Truncated(_)
            | Record::Stopped => {}
        }
        Ok(())
    }

    fn prune(&mut self, signed: &Signed) -> Result<(), String> {
        self.signers
            .check(PRUNED, signed)
            .map_err(|why| format!("what was pruned is not proven: {why}"))?;
        let statement: PrunedStatement = serde_json::from_str(&signed.statement)
            .map_err(|fault| format!("what was pruned cannot be read: {fault}"))?;
        for segment in statement.segments {
            if segment.segment + 1 == self.first {
                self.cut = Some(segment.clone());
            }
            self.pruned = Some(segment);
        }
        Ok(())
    }

    /// A beginning that is not the first record needs a record that says what came before.
    fn standing(mut self) -> Result<Standing, StoreFault> {
        if self.first > 1 {
            let missing = || damaged(self.first, 0, format!("segment {} is missing", self.first - 1));
            let (cut, begin) = (
                self.cut.as_ref().ok_or_else(missing)?,
                self.begin.as_ref().ok_or_else(missing)?,
            );
            if cut.last_seq != begin.seq || cut.last_hash != hex::encode(begin.hash) {
                let what = format!("it does not follow from segment {}, which was pruned", self.first - 1);
                return Err(damaged(self.first, 0, what));
            }
            self.counts += cut.counts;
            self.checkpoints += cut.checkpoints;
        }
        Ok(Standing {
            base: Head {
                segment: self.first,
                offset: 0,
                seq: self.begin.as_ref().map_or(0, |begin| begin.seq),
            },
            chain: self.chain,
            head: self.head,
            unclosed: self.open.unclosed(),
            torn: self.torn,
            counts: self.counts,
            checkpoints: self.checkpoints,
            signed_by: self.signed_by,
            anchored: self.anchored,
            ground: self.pruned.or(self.cut).map_or_else(Ground::default, |pruned| Ground {
                pruned: pruned.segment,
                last_seq: pruned.last_seq,
                counts: pruned.counts,
                checkpoints: pruned.checkpoints,
            }),
        })
    }
}

/// Requests that are open so far, in the order of their opening.
#[derive(Default)]
struct Open {
    by_seq: BTreeMap<u64, Unclosed>,
    seqs: HashMap<String, u64>,
}

impl Open {
    fn note(&mut self, line: &Line) {
        match &line.record {
            Record::Opened(opened) => {
                let audit_id = opened.audit_id.clone();
                self.seqs.insert(audit_id.clone(), line.seq);
                self.by_seq.insert(
                    line.seq,
                    Unclosed {
                        audit_id,
                        cluster: line.cluster.clone(),
                        epoch: line.epoch,
                    },
                );
            }
            Record::Closed(closed) => {
                if let Some(seq) = self.seqs.remove(&closed.audit_id) {
                    self.by_seq.remove(&seq);
                }
            }
            Record::SessionStarted(_)
            | Record::SessionEnded(_)
            | Record::AgentSuspended(_)
            | Record::Refusals(_)
            | Record::Checkpoint(_)
            | Record::SignedCheckpoint(_)
            | Record::Pruned(_)
            | Record::Anchored(_)
            | Record::Truncated(_)
            | Record::Stopped => {}
        }
    }

    fn unclosed(self) -> Vec<Unclosed> {
        self.by_seq.into_values().collect()
    }
}

/// Decides whether bad bytes at `offset` are a write that never ended, or damage to what was durable.
fn torn(bytes: &[u8], segment: u64, offset: usize, last: bool) -> Result<Torn, StoreFault> {
    let rest = &bytes[offset..];
    // A segment is flushed before the next one exists, so only the last one can have a torn tail.
    if !last || was_durable(rest, offset) {
        return Err(damaged(
            segment,
            offset,
            String::from("the bytes there were changed after they had been written"),
        ));
    }
    let length = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let sha256 = hex::encode(digest::digest(&digest::SHA256, &rest[..length]));
    Ok(Torn {
        segment,
        offset: offset as u64,
        bytes: length as u64,
        sha256,
    })
}

/// Whether a good frame behind says that more than `offset` bytes were durable when it was written.
fn was_durable(rest: &[u8], offset: usize) -> bool {
    let mut from = 1;
    while let Some(at) = rest
        .get(from..)
        .and_then(|rest| rest.windows(MAGIC.len()).position(|four| four == MAGIC))
    {
        from += at;
        if matches!(frame::decode(&rest[from..]), Found::Frame(frame) if frame.synced as usize > offset) {
            return true;
        }
        from += 1;
    }
    false
}

/// Follows a journal that is being written, up to where it is durable.
#[derive(Debug)]
pub(crate) struct Tail {
    disk: Arc<dyn Disk>,
    at: Head,
    segment: Option<Box<dyn Segment>>,
}

/// At most so many bytes are read at a time, unless one record is longer: what a task may parse without letting others wait.
const CHUNK: u64 = 256 << 10;

impl Tail {
    /// Goes on behind the record `at.seq`, which ends at `at.offset`.
    pub(crate) fn new(disk: Arc<dyn Disk>, at: Head) -> Self {
        let at = Head {
            segment: at.segment.max(1),
            ..at
        };
        Self {
            disk,
            at,
            segment: None,
        }
    }

    pub(crate) fn at(&self) -> Head {
        self.at
    }

    /// The next lines up to `durable`; none if there are none yet.
    pub(crate) fn read(&mut self, durable: Head) -> Result<Vec<Line>, StoreFault> {
        while self.at.seq < durable.seq {
            let lines = self.chunk(durable, CHUNK)?;
            if !lines.is_empty() {
                return Ok(lines);
            }
            self.at = Head {
                segment: self.at.segment + 1,
                offset: 0,
                seq: self.at.seq,
            };
            self.segment = None;
        }
        Ok(Vec::new())
    }

    fn chunk(&mut self, durable: Head, size: u64) -> Result<Vec<Line>, StoreFault> {
        let bytes = self.bytes(durable, size)?;
        let (mut offset, mut lines) = (0, Vec::new());
        loop {
            match frame::decode(&bytes[offset..]) {
                Found::Frame(frame) => {
                    let at = self.at.offset as usize + offset;
                    let line = chain::read(frame.payload).map_err(|what| damaged(self.at.segment, at, what))?;
                    if line.seq != self.at.seq + 1 + lines.len() as u64 {
                        return Err(damaged(
                            self.at.segment,
                            at,
                            format!("record {} is out of place", line.seq),
                        ));
                    }
                    offset += frame.length();
                    lines.push(line);
                }
                Found::Short(needed) if lines.is_empty() && needed as u64 > size => {
                    return self.chunk(durable, needed as u64);
                }
                Found::Short(_) | Found::Nothing => break,
                Found::Damage => {
                    let at = self.at.offset as usize + offset;
                    return Err(damaged(
                        self.at.segment,
                        at,
                        String::from("it was changed while in use"),
                    ));
                }
            }
        }
        let seq = lines.last().map_or(self.at.seq, |line: &Line| line.seq);
        self.at = Head {
            offset: self.at.offset + offset as u64,
            seq,
            ..self.at
        };
        Ok(lines)
    }

    fn bytes(&mut self, durable: Head, size: u64) -> Result<Vec<u8>, StoreFault> {
        let segment = match &self.segment {
            Some(segment) => segment,
            None => self.segment.insert(self.disk.open(self.at.segment).map_err(failed)?),
        };
        let end = match self.at.segment == durable.segment {
            true => durable.offset,
            false => segment.size().map_err(failed)?,
        };
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(self.at.offset).min(size)).unwrap_or(0)];
        segment.read_at(&mut bytes, self.at.offset).map_err(failed)?;
        Ok(bytes)
    }
}

pub(crate) fn whole(disk: &dyn Disk, number: u64) -> Result<Vec<u8>, StoreFault> {
    let segment = disk.open(number).map_err(failed)?;
    let size = segment.size().map_err(failed)?;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    segment.read_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

fn damaged(segment: u64, offset: usize, what: String) -> StoreFault {
    StoreFault::Damaged {
        segment,
        offset: offset as u64,
        what,
    }
}

fn failed(fault: io::Error) -> StoreFault {
    StoreFault::Failed(fault.to_string())
}
