//! Old segments are taken away, oldest first and behind the request path, and the journal says so itself.
//!
//! In: how long, how much. Out: fewer segments, a signed record of which ones went, an index without their events.
//! Refuses: to take away what is damaged, what somebody has still to read, what a request or session that is under way began in, or a session
//! that an operator ended and whose credential is still held to it.
//!
//! In this order, so that a crash anywhere leaves a journal that proves itself: the record is durable, then what stays in force is written down
//! anew, then the index forgets, then the files go, oldest first. What a crash leaves of it is finished the next time.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mantlet_core::record::{Counts, Line, PRUNED, PrunedSegment, PrunedStatement, PrunedWhy, Record, SessionEnd};
use mantlet_core::time::Timestamp;

use crate::disk::Disk;
use crate::journal::chain;
use crate::journal::frame::{self, Found, Hash};
use crate::journal::{Ground, Head, scan};
use crate::{Store, StoreFault};

/// How long and how much is kept. Without either, everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    pub days: Option<u32>,
    /// Of segments, the one that is written to included.
    pub bytes: Option<u64>,
}

/// At most so many go at a time: they are read before, and again when they go.
const MOST: usize = 16;
/// In so many segments behind them it is looked for the ends of what began in them.
const FURTHER: usize = 64;

impl Store {
    /// Takes away what is older or more than `retention` says; how many segments went. `needed` is the first record that somebody
    /// has still to read. `gone` sees every record before it goes: what else belongs to it can go too.
    pub async fn prune(
        &self,
        retention: Retention,
        needed: u64,
        mut gone: impl FnMut(&Line) + Send,
    ) -> Result<usize, StoreFault> {
        let mut taken = self.finish_pruning(&mut gone).await?;
        let now = self.journal.clock().now();
        // A session that nobody uses any more ends only when somebody looks.
        match self.sessions.sweep(now) {
            Ok(()) | Err(StoreFault::Full(_)) => {}
            Err(fault) => return Err(fault),
        }
        let head = self.journal.pen().settled().await?;
        let (disk, ground) = (self.journal.reader(), self.journal.ground());
        let survey = move || Survey::take(&*disk, ground, head, retention, now, needed);
        let Some((why, segments)) = blocking(survey).await? else {
            return Ok(taken);
        };
        let last = segments.last().map_or(0, |segment| segment.last_seq);
        self.index.flush().await?;
        if self.index.seq() < last {
            return Ok(taken);
        }
        self.record_pruning(why, segments).await?;
        taken += self.finish_pruning(&mut gone).await?;
        Ok(taken)
    }

    async fn record_pruning(&self, why: PrunedWhy, segments: Vec<PrunedSegment>) -> Result<(), StoreFault> {
        let Some(last) = segments.last().cloned() else {
            return Ok(());
        };
        let statement = PrunedStatement {
            v: 1,
            writer: self.journal.writer_id().to_owned(),
            at: self.journal.clock().now(),
            why,
            segments,
        };
        let signed = self.journal.signer().sign(PRUNED, &statement);
        let signed = signed.map_err(|fault| StoreFault::Failed(fault.to_string()))?;
        let pen = self.journal.pen();
        pen.note(&Record::Pruned(signed))?;
        pen.settled().await?;
        self.journal.stand_on(Ground {
            pruned: last.segment,
            last_seq: last.last_seq,
            counts: last.counts,
            checkpoints: last.checkpoints,
        });
        Ok(())
    }

    /// Takes away every segment that a record says is pruned.
    async fn finish_pruning(&self, gone: &mut (impl FnMut(&Line) + Send)) -> Result<usize, StoreFault> {
        let pruned = self.journal.ground().pruned;
        let disk = self.journal.reader();
        let numbers = disk.segments().map_err(failed)?;
        let mut taken = 0;
        for number in numbers.into_iter().filter(|number| *number <= pruned) {
            let reading = disk.clone();
            let lines = blocking(move || lines(&*reading, number)).await?;
            self.carry_on(&lines).await?;
            lines.iter().for_each(|(line, _)| gone(line));
            let records = lines.iter().map(|(line, _)| line);
            self.index.forget_lines(self.journal.writer_id(), records).await?;
            let removing = disk.clone();
            blocking(move || removing.remove(number).map_err(failed)).await?;
            tracing::info!(segment = number, "pruned");
            taken += 1;
        }
        Ok(taken)
    }

    /// INVARIANT: a suspension is in the journal as long as it is in force; it is durable behind before the segment that holds it goes. After a
    /// crash in between it is there twice, and the first one counts.
    async fn carry_on(&self, lines: &[(Line, Hash)]) -> Result<(), StoreFault> {
        let pen = self.journal.pen();
        let mut carried = HashSet::new();
        for (line, _) in lines {
            if let Record::AgentSuspended(suspended) = &line.record
                && carried.insert(suspended.agent.as_str())
            {
                pen.note(&line.record)?;
            }
        }
        match carried.is_empty() {
            true => Ok(()),
            false => pen.settled().await.map(drop),
        }
    }
}

/// Segments that may go, read one after the other.
struct Survey {
    counts: Counts,
    checkpoints: u64,
    segments: Vec<PrunedSegment>,
    /// Requests and sessions that began in them and had not ended so far.
    open: HashMap<String, Began>,
    now: Timestamp,
}

struct Began {
    segment: u64,
    /// Of a session: it is over then, whatever happens.
    ends: Option<Timestamp>,
}

impl Survey {
    fn take(
        disk: &dyn Disk,
        ground: Ground,
        head: Head,
        retention: Retention,
        now: Timestamp,
        needed: u64,
    ) -> Result<Option<(PrunedWhy, Vec<PrunedSegment>)>, StoreFault> {
        let numbers = disk.segments().map_err(failed)?;
        // What is written to stays, and so does what a record of pruning names already: that is another's to finish.
        let numbers: Vec<_> = numbers
            .into_iter()
            .filter(|number| *number > ground.pruned && *number <= head.segment)
            .collect();
        let Some((why, count)) = surplus(disk, &numbers, retention, now)? else {
            return Ok(None);
        };
        let mut survey = Self {
            counts: ground.counts,
            checkpoints: ground.checkpoints,
            segments: Vec::new(),
            open: HashMap::new(),
            now,
        };
        let count = count.min(MOST);
        for number in &numbers[..count] {
            survey.read(disk, *number)?;
        }
        for number in numbers[count..].iter().take(FURTHER) {
            if survey.open.is_empty() {
                break;
            }
            survey.close(&lines(disk, *number)?);
        }
        let open = survey
            .open
            .values()
            .map(|began| began.segment)
            .min()
            .unwrap_or(u64::MAX);
        let mut segments = survey.segments;
        segments.retain(|segment| segment.segment < open && segment.last_seq < needed);
        Ok(Some((why, segments)).filter(|(_, segments)| !segments.is_empty()))
    }

    fn read(&mut self, disk: &dyn Disk, number: u64) -> Result<(), StoreFault> {
        let lines = lines(disk, number)?;
        let bytes = disk.open(number).and_then(|segment| segment.size()).map_err(failed)?;
        for (line, _) in &lines {
            self.counts += line.record.counts();
            self.checkpoints += u64::from(matches!(line.record, Record::SignedCheckpoint(_)));
            match &line.record {
                Record::Opened(opened) => {
                    let began = Began {
                        segment: number,
                        ends: None,
                    };
                    self.open.insert(opened.audit_id.clone(), began);
                }
                Record::SessionStarted(started) => {
                    let began = Began {
                        segment: number,
                        ends: Some(started.ends),
                    };
                    self.open.insert(started.session.clone(), began);
                }
                Record::Closed(_)
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
        self.close(&lines);
        let (Some((first, _)), Some((last, hash))) = (lines.first(), lines.last()) else {
            return Err(damaged(number, 0, "it holds no record"));
        };
        self.segments.push(PrunedSegment {
            segment: number,
            first_seq: first.seq,
            last_seq: last.seq,
            last_hash: hex::encode(hash),
            first_at: first.at,
            last_at: last.at,
            bytes,
            counts: self.counts,
            checkpoints: self.checkpoints,
        });
        Ok(())
    }

    fn close(&mut self, lines: &[(Line, Hash)]) {
        for (line, _) in lines {
            match &line.record {
                Record::Closed(closed) => drop(self.open.remove(&closed.audit_id)),
                Record::SessionEnded(ended) if ended.why == SessionEnd::Operator => {
                    let in_force = |began: &Began| began.ends.is_some_and(|ends| ends > self.now);
                    if !self.open.get(&ended.session).is_some_and(in_force) {
                        self.open.remove(&ended.session);
                    }
                }
                Record::SessionEnded(ended) => drop(self.open.remove(&ended.session)),
                Record::Opened(_)
                | Record::SessionStarted(_)
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
    }
}

/// How many of the oldest segments are too old, or too many; the last of all is never among them.
fn surplus(
    disk: &dyn Disk,
    numbers: &[u64],
    retention: Retention,
    now: Timestamp,
) -> Result<Option<(PrunedWhy, usize)>, StoreFault> {
    let most = numbers.len().saturating_sub(1);
    let mut old = 0;
    if let Some(days) = retention.days {
        let age = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        // A segment ends when the next one begins.
        while old < most && begins(disk, numbers[old + 1])?.is_some_and(|next| now.since(next) > age) {
            old += 1;
        }
    }
    let mut much = 0;
    if let Some(bytes) = retention.bytes {
        let mut sizes = Vec::new();
        for number in numbers {
            sizes.push(disk.open(*number).and_then(|segment| segment.size()).map_err(failed)?);
        }
        let mut total: u64 = sizes.iter().sum();
        while much < most && total > bytes {
            total -= sizes[much];
            much += 1;
        }
    }
    Ok(match (old, much) {
        (0, 0) => None,
        (old, much) if much > old => Some((PrunedWhy::Bytes, much)),
        (old, _) => Some((PrunedWhy::Days, old)),
    })
}

/// When the first record of a segment was written; none if it is torn.
fn begins(disk: &dyn Disk, number: u64) -> Result<Option<Timestamp>, StoreFault> {
    let segment = disk.open(number).map_err(failed)?;
    let size = segment.size().map_err(failed)?.min(64 << 10);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    segment.read_at(&mut bytes, 0).map_err(failed)?;
    match frame::decode(&bytes) {
        Found::Frame(frame) => chain::read(frame.payload)
            .map(|line| Some(line.at))
            .map_err(|why| damaged(number, 0, &why)),
        Found::Nothing | Found::Short(_) | Found::Damage => Ok(None),
    }
}

/// All records of a segment, each with the hash of its frame.
fn lines(disk: &dyn Disk, number: u64) -> Result<Vec<(Line, Hash)>, StoreFault> {
    let bytes = scan::whole(disk, number)?;
    let (mut offset, mut lines) = (0, Vec::new());
    loop {
        match frame::decode(&bytes[offset..]) {
            Found::Frame(frame) => {
                let line = chain::read(frame.payload).map_err(|why| damaged(number, offset, &why))?;
                lines.push((line, frame.hash));
                offset += frame.length();
            }
            Found::Nothing => return Ok(lines),
            Found::Short(_) | Found::Damage => {
                return Err(damaged(
                    number,
                    offset,
                    "these bytes were changed after they had been written",
                ));
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|fault| StoreFault::Failed(fault.to_string()))?
}

fn damaged(segment: u64, offset: usize, what: &str) -> StoreFault {
    StoreFault::Damaged {
        segment,
        offset: offset as u64,
        what: what.to_owned(),
    }
}

fn failed(fault: std::io::Error) -> StoreFault {
    StoreFault::Failed(fault.to_string())
}
