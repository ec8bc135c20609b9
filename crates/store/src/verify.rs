//! Is the record whole? Reads every byte of a journal, and what of it was anchored elsewhere, and says what does not fit.
//!
//! In: segments (`Disk`), keys, anchored checkpoints. Out: a [`Report`] with every finding, where it is and what it means.
//! Changes nothing, needs no gateway and no index. Does not stop at the first fault: behind it the chain is taken up again.

mod findings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use mantlet_core::record::{
    Anchored, CHECKPOINT, ChainHead, CheckpointStatement, Counts, Line, PRUNED, PrunedSegment, PrunedStatement, Record,
    Signed,
};
use mantlet_core::time::Timestamp;
use sqlx::postgres::PgConnectOptions;

use crate::database::{Database, Place};
use crate::disk::{Disk, Folder};
use crate::journal::chain::{self, Chain, ChainKey};
use crate::journal::frame::{self, Found, Frame, MAGIC};
use crate::journal::{self, Shared, scan};
use crate::keyring::Keyring;
use crate::{DatabaseUrl, JournalAt, PublicKeys, StoreFault, waiting};

pub use findings::{Checked, Finding, Kind, LastCheckpoint, Report};

/// Whose word is taken.
#[derive(Debug)]
pub(crate) struct Keys {
    /// None where only what is public is at hand: then checkpoints count by their signatures alone.
    pub(crate) chain: Option<ChainKey>,
    pub(crate) public: PublicKeys,
}

/// A checkpoint as an anchor holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Where it stands: a file and a line, an object.
    pub place: String,
    pub signed: Signed,
}

/// How a journal is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Nobody writes to it.
    Over,
    /// A gateway does: what its end looks like may change at any moment.
    UnderWay,
}

/// Checks the journal in `folder`. With `pinned` these keys alone are believed (and those that they vouch for).
pub fn verify(
    folder: &Path,
    key_file: &Path,
    pinned: Option<PublicKeys>,
    anchors: &[Anchor],
) -> Result<Report, StoreFault> {
    let keys = believed(Keyring::read(folder, key_file), pinned)?;
    let writing = journal::writing(folder)?;
    check(&[&Folder::new(folder)], keys, anchors, writing)
}

/// The same of a record whose keyring lies in PostgreSQL, and with it every replica's journal, unless that of this one lies in a folder.
pub async fn verify_in(
    database: &DatabaseUrl,
    journal: &JournalAt,
    key_file: &Path,
    pinned: Option<PublicKeys>,
    anchors: Vec<Anchor>,
) -> Result<Report, StoreFault> {
    let options = server(database)?;
    let looked = Database::as_it_is(options.clone());
    let keys = believed(Keyring::read_in(&looked, key_file).await, pinned)?;
    if let JournalAt::Folder(folder) = journal {
        let folder = folder.clone();
        let work = move || {
            let writing = journal::writing(&folder)?;
            check(&[&Folder::new(&folder)], keys, &anchors, writing)
        };
        return waiting(work).await;
    }
    let shared = waiting(move || Shared::new(options)).await?;
    // Before the chains are read: what is said to be written then has to be found.
    let heads = shared.heads(&looked).await?;
    waiting(move || {
        let disks: Vec<_> = heads.iter().map(|(chain, _, size)| shared.read(chain, *size)).collect();
        let disks: Vec<&dyn Disk> = disks.iter().map(|disk| &**disk).collect();
        let mut report = check(&disks, keys, &anchors, Writing::UnderWay)?;
        let cut = heads
            .iter()
            .filter_map(|(chain, head, _)| cut(chain, head.seq, &report));
        let cut: Vec<_> = cut.collect();
        report.findings.extend(cut);
        Ok(report)
    })
    .await
}

/// A chain that its database says is written further than it is.
fn cut(chain: &str, written: u64, report: &Report) -> Option<Finding> {
    let found = report.journals.iter().find(|journal| journal.writer == *chain);
    let last = found.map_or(0, |journal| journal.records.1);
    let what = format!(
        "journal {chain} ends with record {last}, and the database says that it was written up to record {written}"
    );
    (last < written).then(|| Finding {
        record: Some(last),
        ..Finding::elsewhere(Kind::CutTail, what)
    })
}

/// The public keys of the keyring in PostgreSQL.
pub async fn public_keys_in(database: &DatabaseUrl, key_file: &Path) -> Result<PublicKeys, StoreFault> {
    let looked = Database::as_it_is(server(database)?);
    Ok(Keyring::read_in(&looked, key_file).await?.public_keys())
}

/// A new key for checkpoints in the keyring in PostgreSQL: each replica signs with it from its next start on. Its id.
pub async fn rotate_signing_key_in(
    database: &DatabaseUrl,
    key_file: &Path,
    now: Timestamp,
) -> Result<String, StoreFault> {
    Keyring::rotate_in(&Database::as_it_is(server(database)?), key_file, now).await
}

fn server(database: &DatabaseUrl) -> Result<PgConnectOptions, StoreFault> {
    match Place::of(database)? {
        Place::Postgres(options) => Ok(*options),
        Place::Sqlite(_) => Err(StoreFault::Failed(String::from("a file is no server"))),
    }
}

fn believed(keyring: Result<Keyring, StoreFault>, pinned: Option<PublicKeys>) -> Result<Keys, StoreFault> {
    match (keyring, pinned) {
        (Ok(keyring), pinned) => Ok(Keys {
            chain: Some(ChainKey::of(&keyring)),
            public: pinned.unwrap_or_else(|| keyring.public_keys()),
        }),
        (Err(_), Some(public)) => Ok(Keys { chain: None, public }),
        (Err(fault), None) => {
            let said = fault.to_string();
            let why = said.lines().next().unwrap_or_default();
            let hint = "check without the key file: mantlet sessions verify --public-key ID:HEX";
            Err(StoreFault::Key(format!("{why}\nhint: {hint}")))
        }
    }
}

/// The public keys of the keyring in `folder`.
pub fn public_keys(folder: &Path, key_file: &Path) -> Result<PublicKeys, StoreFault> {
    Ok(Keyring::read(folder, key_file)?.public_keys())
}

/// Checks journals that belong together: each must hold what the others' checkpoints and the anchors say of it.
pub(crate) fn check(
    disks: &[&dyn Disk],
    mut keys: Keys,
    anchors: &[Anchor],
    writing: Writing,
) -> Result<Report, StoreFault> {
    let mut report = Report::default();
    if keys.chain.is_none() {
        report.notes.push(String::from(
            "the keyring was not opened: checkpoints were checked by their signatures alone",
        ));
    }
    let claims = claims(anchors, &mut keys, &mut report);
    let mut wanted = Wanted::new();
    for claim in &claims {
        wanted
            .entry(claim.head.writer.clone())
            .or_default()
            .insert(claim.head.seq);
    }
    let mut walks = Vec::new();
    for disk in disks {
        let mut walk = Walk::new(&mut keys, &wanted, writing);
        walk.journal(*disk)?;
        walks.push(walk.end());
    }
    for walked in &walks {
        report.findings.extend(walked.findings.iter().cloned());
        report.notes.extend(walked.notes.iter().cloned());
    }
    compare(&claims, &walks, &mut report);
    for walked in walks {
        let anchored = claims
            .iter()
            .filter(|claim| claim.by == walked.writer)
            .map(|claim| claim.checkpoint)
            .max();
        report.journals.extend(walked.checked(anchored));
    }
    Ok(report)
}

/// What somebody signed about the head of a chain.
#[derive(Debug, Clone)]
struct Claim {
    head: ChainHead,
    at: Timestamp,
    checkpoint: u64,
    /// Whose checkpoint says so.
    by: String,
    place: String,
}

fn claims(anchors: &[Anchor], keys: &mut Keys, report: &mut Report) -> Vec<Claim> {
    let mut claims = Vec::new();
    for anchor in anchors {
        match believe(&anchor.signed, keys) {
            Ok(statement) => claims.extend(claims_of(&statement, &anchor.place)),
            Err(why) => report.findings.push(Finding::elsewhere(
                Kind::Forged,
                format!("{}: the anchored checkpoint is not to be believed: {why}", anchor.place),
            )),
        }
    }
    claims
}

fn claims_of(statement: &CheckpointStatement, place: &str) -> Vec<Claim> {
    let claim = |head: &ChainHead| Claim {
        head: head.clone(),
        at: statement.at,
        checkpoint: statement.checkpoint,
        by: statement.writer.clone(),
        place: place.to_owned(),
    };
    statement.chains.iter().map(claim).collect()
}

/// The statement, if a key that is believed signed it; the key that it names is believed from then on.
fn believe(signed: &Signed, keys: &mut Keys) -> Result<CheckpointStatement, String> {
    keys.public.check(CHECKPOINT, signed)?;
    let statement: CheckpointStatement =
        serde_json::from_str(&signed.statement).map_err(|fault| format!("it cannot be read: {fault}"))?;
    if let Some(next) = &statement.next_key {
        keys.public.add(next.clone());
    }
    Ok(statement)
}

/// What was signed about chains against what is there of them.
fn compare(claims: &[Claim], walks: &[Walked], report: &mut Report) {
    let own: Vec<_> = walks.iter().flat_map(|walk| walk.claims.values()).collect();
    let mut missing: BTreeMap<&str, &Claim> = BTreeMap::new();
    let mut short: BTreeMap<&str, &Claim> = BTreeMap::new();
    for claim in claims.iter().chain(own) {
        let writer = claim.head.writer.as_str();
        let Some(walked) = walks.iter().find(|walk| walk.writer == writer) else {
            keep_latest(&mut missing, writer, claim);
            continue;
        };
        if claim.head.seq > walked.last.0 {
            keep_latest(&mut short, writer, claim);
        } else if let Some(hash) = walked.hashes.get(&claim.head.seq)
            && *hash != claim.head.hash
        {
            let what = format!(
                "{}: checkpoint {} was made over another record {} than the one here",
                claim.place, claim.checkpoint, claim.head.seq
            );
            report.findings.push(Finding {
                record: Some(claim.head.seq),
                at: Some(claim.at),
                ..Finding::elsewhere(Kind::Rewritten, what)
            });
        }
    }
    for (writer, claim) in missing {
        let what = format!(
            "{}: checkpoint {} names writer `{writer}` with records up to {}, and no journal of it is here",
            claim.place, claim.checkpoint, claim.head.seq
        );
        report.findings.push(Finding {
            at: Some(claim.at),
            ..Finding::elsewhere(Kind::MissingWriter, what)
        });
    }
    for (writer, claim) in short {
        let last = walks
            .iter()
            .find(|walk| walk.writer == writer)
            .map_or((0, None), |walk| walk.last);
        let until = last.1.map_or_else(String::new, |at| format!(" ({at})"));
        let what = format!(
            "{}: checkpoint {} was made over record {} ({}), and the journal ends at record {}{until}: {} records are gone",
            claim.place,
            claim.checkpoint,
            claim.head.seq,
            claim.at,
            last.0,
            claim.head.seq - last.0
        );
        report.findings.push(Finding {
            record: Some(last.0 + 1),
            at: Some(claim.at),
            ..Finding::elsewhere(Kind::CutTail, what)
        });
    }
}

fn keep_latest<'a>(by_writer: &mut BTreeMap<&'a str, &'a Claim>, writer: &'a str, claim: &'a Claim) {
    let kept = by_writer.entry(writer).or_insert(claim);
    if claim.head.seq > kept.head.seq {
        *kept = claim;
    }
}

/// Records whose hashes are asked for, by writer.
type Wanted = HashMap<String, HashSet<u64>>;

/// One journal on its way through.
struct Walk<'a> {
    keys: &'a mut Keys,
    writing: Writing,
    wanted: &'a Wanted,
    chain: Option<Chain>,
    /// Where the chain begins that is here.
    begin: Option<Chain>,
    first: u64,
    segments: (u64, u64),
    from: Option<Timestamp>,
    last_at: Option<Timestamp>,
    /// Bytes that could not be read, until a record behind them says what they were.
    lost: Option<Lost>,
    /// Everything before was there: counts can be held against it.
    complete: bool,
    counts: Counts,
    /// What signed checkpoints had counted beyond what is here: what was pruned.
    before: Option<Counts>,
    cut: Option<PrunedSegment>,
    signed: Option<(u64, u64, Timestamp)>,
    first_checkpoint: Option<u64>,
    checkpoint_times: BTreeMap<u64, Timestamp>,
    anchored: Option<Anchored>,
    open: BTreeMap<String, u64>,
    closed: HashSet<u64>,
    hasher: RandomState,
    bare: u64,
    hashes: BTreeMap<u64, String>,
    claims: BTreeMap<String, Claim>,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Lost {
    segment: u64,
    offset: usize,
    kind: Kind,
}

/// A journal from end to end.
struct Walked {
    writer: String,
    segments: (u64, u64),
    first: u64,
    last: (u64, Option<Timestamp>),
    from: Option<Timestamp>,
    counts: Counts,
    signed: Option<(u64, u64, Timestamp)>,
    checkpoint_times: BTreeMap<u64, Timestamp>,
    anchored: Option<Anchored>,
    open: u64,
    hashes: BTreeMap<u64, String>,
    claims: BTreeMap<String, Claim>,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// So many are told; a journal that was torn to pieces needs no more.
const MOST_FINDINGS: usize = 200;
/// Times of so many of the latest checkpoints are kept, to say since when nothing is anchored.
const MOST_CHECKPOINTS: usize = 100_000;

impl<'a> Walk<'a> {
    fn new(keys: &'a mut Keys, wanted: &'a Wanted, writing: Writing) -> Self {
        Self {
            keys,
            writing,
            wanted,
            chain: None,
            begin: None,
            first: 1,
            segments: (0, 0),
            from: None,
            last_at: None,
            lost: None,
            complete: true,
            counts: Counts::default(),
            before: None,
            cut: None,
            signed: None,
            first_checkpoint: None,
            checkpoint_times: BTreeMap::new(),
            anchored: None,
            open: BTreeMap::new(),
            closed: HashSet::new(),
            hasher: RandomState::new(),
            bare: 0,
            hashes: BTreeMap::new(),
            claims: BTreeMap::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn journal(&mut self, disk: &dyn Disk) -> Result<(), StoreFault> {
        let failed = |fault: std::io::Error| StoreFault::Failed(format!("it cannot be read: {fault}"));
        let numbers = disk.segments().map_err(failed)?;
        let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else {
            return Ok(());
        };
        (self.first, self.segments) = (first, (first, last));
        // From the first record on, everything that was counted is here.
        self.before = (first == 1).then(Counts::default);
        let mut expected = first;
        for number in numbers {
            if number > expected {
                let missing = match number - expected {
                    1 => format!("segment {expected} is missing"),
                    _ => format!("segments {expected} to {} are missing", number - 1),
                };
                self.find(Kind::MissingSegment, expected, 0, None, missing);
                self.lose(expected, 0, Kind::MissingSegment);
            }
            let bytes = scan::whole(disk, number)?;
            self.segment(&bytes, number, number == last);
            expected = number + 1;
        }
        Ok(())
    }

    fn segment(&mut self, bytes: &[u8], number: u64, last: bool) {
        let mut offset = 0;
        loop {
            match frame::decode(&bytes[offset..]) {
                Found::Frame(frame) => {
                    self.frame(&frame, number, offset);
                    offset += frame.length();
                }
                Found::Nothing if frame::zeros(&bytes[offset..]) => return,
                Found::Nothing | Found::Short(_) | Found::Damage => match next_frame(bytes, offset) {
                    Some(next) => {
                        self.lose(number, offset, Kind::Changed);
                        offset = next;
                    }
                    None => return self.tail(&bytes[offset..], number, offset, last),
                },
            }
        }
    }

    /// Bytes behind the last record of a segment that are no record.
    fn tail(&mut self, rest: &[u8], number: u64, offset: usize, last: bool) {
        if !last {
            self.lose(number, offset, Kind::Changed);
            return;
        }
        let length = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        match self.writing {
            Writing::UnderWay => self.notes.push(format!(
                "the last {length} bytes, at byte {offset} of segment {number}, are no whole record: a write is under way"
            )),
            Writing::Over => {
                let what = format!("the last {length} bytes are no whole record");
                self.find(Kind::Torn, number, offset, None, what);
            }
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, number: u64, offset: usize) {
        let line = match chain::read(frame.payload) {
            Ok(line) => line,
            Err(why) => {
                self.find(Kind::Unreadable, number, offset, None, why);
                return self.lose(number, offset, Kind::Unreadable);
            }
        };
        let before = match Chain::before(&line) {
            Ok(before) => before,
            Err(why) => return self.find(Kind::Rewritten, number, offset, Some(&line), why),
        };
        if !self.follows(&before, &line, number, offset) {
            return;
        }
        self.chain = Some(Chain {
            hash: frame.hash,
            seq: line.seq,
            writer: line.writer.clone(),
        });
        if self
            .wanted
            .get(&line.writer)
            .is_some_and(|seqs| seqs.contains(&line.seq))
        {
            self.hashes.insert(line.seq, hex::encode(frame.hash));
        }
        self.from.get_or_insert(line.at);
        self.last_at = Some(line.at);
        if offset == 0 && !matches!(line.record, Record::Checkpoint(_)) {
            let what = String::from("the segment does not begin with its checkpoint");
            self.find(Kind::Rewritten, number, offset, Some(&line), what);
        }
        self.record(&before, line, number, offset);
    }

    /// Whether a line goes on where the chain stands. If it is one that was here before, the chain stays where it is.
    fn follows(&mut self, before: &Chain, line: &Line, number: u64, offset: usize) -> bool {
        let Some(chain) = self.chain.clone() else {
            let begin = match self.first {
                1 => Chain::begin(line.writer.clone()),
                _ => before.clone(),
            };
            self.begin = Some(begin.clone());
            if let Some(lost) = self.lost.take() {
                self.found_again(lost, &begin, line);
            } else if begin != *before {
                self.complete = false;
                let what = format!("the journal begins with record {}", line.seq);
                self.find(Kind::Missing, number, offset, Some(line), what);
            }
            return true;
        };
        if let Some(lost) = self.lost.take() {
            self.found_again(lost, &chain, line);
            return true;
        }
        let (kind, what) = if line.writer != chain.writer {
            (
                Kind::Rewritten,
                format!("its writer is `{}`, not `{}`", line.writer, chain.writer),
            )
        } else if line.seq > chain.seq + 1 {
            (
                Kind::Missing,
                format!("{} missing in front of it", records(chain.seq + 1, line.seq - 1)),
            )
        } else if line.seq <= chain.seq {
            let what = format!("record {} stands behind record {}", line.seq, chain.seq);
            self.find(Kind::OutOfPlace, number, offset, Some(line), what);
            return false;
        } else if *before != chain {
            let what = format!(
                "record {} does not follow from the record {} that is here",
                line.seq, chain.seq
            );
            (Kind::Rewritten, what)
        } else {
            return true;
        };
        self.complete = false;
        self.find(kind, number, offset, Some(line), what);
        true
    }

    /// Behind bytes that could not be read there is a record: now it can be said which ones are gone.
    fn found_again(&mut self, lost: Lost, chain: &Chain, line: &Line) {
        let gone = match line.seq > chain.seq + 1 {
            true => format!("{} gone", records(chain.seq + 1, line.seq - 1)),
            false => format!("no record is gone between {} and {}", chain.seq, line.seq),
        };
        let (kind, what) = match lost.kind {
            Kind::MissingSegment | Kind::Unreadable => (Kind::Missing, gone),
            _ => (
                Kind::Changed,
                format!("these bytes were changed after they had been written; {gone}"),
            ),
        };
        self.findings.push(Finding {
            kind,
            segment: Some(lost.segment),
            offset: Some(lost.offset as u64),
            record: Some(chain.seq + 1),
            at: Some(line.at),
            what,
        });
    }

    fn record(&mut self, before: &Chain, line: Line, number: u64, offset: usize) {
        self.counts += line.record.counts();
        match &line.record {
            Record::Checkpoint(checkpoint) => {
                if checkpoint.segment != number || offset != 0 {
                    let what = format!("the checkpoint of segment {} stands here", checkpoint.segment);
                    self.find(Kind::OutOfPlace, number, offset, Some(&line), what);
                }
                let checked = self.keys.chain.as_ref().map(|key| before.check(checkpoint, key));
                if let Some(Err(why)) = checked {
                    self.find(Kind::Forged, number, offset, Some(&line), why);
                }
            }
            Record::SignedCheckpoint(signed) => {
                if let Err((kind, why)) = self.signed_checkpoint(before, signed, &line) {
                    self.find(kind, number, offset, Some(&line), why);
                }
            }
            Record::Pruned(signed) => {
                if let Err(why) = self.pruned(signed) {
                    self.find(Kind::Forged, number, offset, Some(&line), why);
                }
            }
            Record::Anchored(anchored) => self.anchored = Some(anchored.clone()),
            Record::Opened(opened) => {
                let known = self.closed.contains(&self.hasher.hash_one(&opened.audit_id));
                if self.open.insert(opened.audit_id.clone(), line.seq).is_some() || known {
                    let what = format!("request {} is opened a second time", opened.audit_id);
                    self.find(Kind::Doubled, number, offset, Some(&line), what);
                }
            }
            Record::Closed(closed) => self.close(&closed.audit_id, &line, number, offset),
            Record::Truncated(torn) => self.notes.push(format!(
                "record {} ({}): a start took away {} bytes at byte {} of segment {}, a write that never ended",
                line.seq, line.at, torn.bytes, torn.offset, torn.segment
            )),
            Record::SessionStarted(_)
            | Record::SessionEnded(_)
            | Record::AgentSuspended(_)
            | Record::Refusals(_)
            | Record::Stopped => {}
        }
    }

    fn close(&mut self, audit_id: &str, line: &Line, number: u64, offset: usize) {
        if !self.closed.insert(self.hasher.hash_one(audit_id)) {
            let what = format!("request {audit_id} is closed a second time");
            return self.find(Kind::Doubled, number, offset, Some(line), what);
        }
        if self.open.remove(audit_id).is_none() {
            // Its opening may have been pruned: how many there can be is known at the end.
            self.bare += 1;
            if self.first == 1 && self.complete {
                let what = format!("request {audit_id} is closed and was never opened");
                self.find(Kind::Doubled, number, offset, Some(line), what);
            }
        }
    }

    fn signed_checkpoint(&mut self, before: &Chain, signed: &Signed, line: &Line) -> Result<(), (Kind, String)> {
        let forged = |why| (Kind::Forged, why);
        let statement = before.stands_as(signed).map_err(forged)?;
        believe(signed, self.keys).map_err(|why| {
            forged(format!(
                "signed checkpoint {} is not to be believed: {why}",
                statement.checkpoint
            ))
        })?;
        let claims = claims_of(&statement, &format!("record {}", line.seq));
        self.claims.extend(
            claims
                .into_iter()
                .skip(1)
                .map(|claim| (claim.head.writer.clone(), claim)),
        );
        self.checkpoint_times.insert(statement.checkpoint, statement.at);
        if self.checkpoint_times.len() > MOST_CHECKPOINTS {
            self.checkpoint_times.pop_first();
        }
        let expected = match (self.signed, self.first) {
            (Some((last, ..)), _) => Some(last + 1),
            (None, 1) => Some(1),
            (None, _) => None,
        };
        self.first_checkpoint.get_or_insert(statement.checkpoint);
        self.signed = Some((statement.checkpoint, line.seq, statement.at));
        if self.complete && expected.is_some_and(|expected| expected != statement.checkpoint) {
            let what = format!("signed checkpoint {} stands here", statement.checkpoint);
            return Err((Kind::OutOfPlace, what));
        }
        self.count(&statement)
    }

    fn count(&mut self, statement: &CheckpointStatement) -> Result<(), (Kind, String)> {
        if !self.complete {
            return Ok(());
        }
        let wrong = || {
            let Counts {
                opened,
                closed,
                refused,
            } = statement.counts;
            let what = format!(
                "signed checkpoint {} had counted {opened} opened, {closed} closed, {refused} refused in sum, and that is not what is here",
                statement.checkpoint
            );
            (Kind::Missing, what)
        };
        let before = minus(statement.counts, self.counts).ok_or_else(wrong)?;
        match *self.before.get_or_insert(before) == before {
            true => Ok(()),
            false => Err(wrong()),
        }
    }

    fn pruned(&mut self, signed: &Signed) -> Result<(), String> {
        self.keys
            .public
            .check(PRUNED, signed)
            .map_err(|why| format!("what was pruned is not to be believed: {why}"))?;
        let statement: PrunedStatement = serde_json::from_str(&signed.statement)
            .map_err(|fault| format!("what was pruned cannot be read: {fault}"))?;
        if let (Some(first), Some(last)) = (statement.segments.first(), statement.segments.last()) {
            self.notes.push(format!(
                "segments {} to {} (records {} to {}, until {}) were pruned at {} by `recording.retention.{}`",
                first.segment,
                last.segment,
                first.first_seq,
                last.last_seq,
                last.last_at,
                statement.at,
                serde_json::to_value(statement.why)
                    .ok()
                    .as_ref()
                    .and_then(|why| why.as_str())
                    .unwrap_or_default()
            ));
        }
        let cut = statement
            .segments
            .into_iter()
            .find(|segment| segment.segment + 1 == self.first);
        self.cut = cut.or(self.cut.take());
        Ok(())
    }

    /// What can be said once all was read.
    fn end(mut self) -> Walked {
        if let Some(lost) = self.lost.take() {
            let what = String::from("these bytes were changed after they had been written, and no record follows");
            self.find(lost.kind, lost.segment, lost.offset, None, what);
        }
        self.beginning();
        if !self.open.is_empty() {
            self.notes.push(format!(
                "{} requests are open: under way, or closed as unknown by the next start",
                self.open.len()
            ));
        }
        let mut counts = self.counts;
        counts += self.cut.as_ref().map_or(Counts::default(), |cut| cut.counts);
        self.findings.truncate(MOST_FINDINGS);
        Walked {
            writer: self
                .chain
                .as_ref()
                .map_or_else(String::new, |chain| chain.writer.clone()),
            segments: self.segments,
            first: self.begin.as_ref().map_or(0, |begin| begin.seq + 1),
            last: (self.chain.as_ref().map_or(0, |chain| chain.seq), self.last_at),
            from: self.from,
            counts,
            signed: self.signed,
            checkpoint_times: self.checkpoint_times,
            anchored: self.anchored,
            open: self.open.len() as u64,
            hashes: self.hashes,
            claims: self.claims,
            findings: self.findings,
            notes: self.notes,
        }
    }

    /// A journal that does not begin with segment 1 must hold the record that says what was taken away.
    fn beginning(&mut self) {
        let Some(begin) = self.begin.clone() else { return };
        if self.first == 1 {
            return;
        }
        let before = self.first - 1;
        let Some(cut) = self.cut.clone() else {
            let what = format!("segment {before} is missing, and no record says that it was pruned");
            return self.find(Kind::MissingSegment, before, 0, None, what);
        };
        if cut.last_seq != begin.seq || cut.last_hash != hex::encode(begin.hash) {
            let what = format!("the segment does not follow from segment {before}, which was pruned");
            self.find(Kind::Rewritten, self.first, 0, None, what);
        }
        let wrong = self.before.is_some_and(|counts| counts != cut.counts)
            || self.first_checkpoint.is_some_and(|first| first != cut.checkpoints + 1)
            || self.bare > cut.counts.opened.saturating_sub(cut.counts.closed);
        if wrong && self.complete {
            let what =
                format!("what follows does not fit what had been counted up to segment {before}, which was pruned");
            self.find(Kind::Missing, self.first, 0, None, what);
        }
    }

    fn lose(&mut self, segment: u64, offset: usize, kind: Kind) {
        self.complete = false;
        self.lost.get_or_insert(Lost { segment, offset, kind });
    }

    fn find(&mut self, kind: Kind, segment: u64, offset: usize, line: Option<&Line>, what: String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding {
                kind,
                segment: Some(segment),
                offset: Some(offset as u64),
                record: line.map(|line| line.seq),
                at: line.map(|line| line.at),
                what,
            });
        }
    }
}

impl Walked {
    /// None of an empty journal. `by_anchor` is the last checkpoint that an anchor was seen to hold.
    fn checked(self, by_anchor: Option<u64>) -> Option<Checked> {
        let from = self.from?;
        let anchored = by_anchor.or(self.anchored.as_ref().map(|anchored| anchored.checkpoint));
        let unanchored = self
            .checkpoint_times
            .range(anchored.map_or(0, |last| last + 1)..)
            .next()
            .map(|(_, at)| *at);
        Some(Checked {
            writer: self.writer,
            segments: self.segments,
            records: (self.first, self.last.0),
            from,
            to: self.last.1.unwrap_or(from),
            counts: self.counts,
            open: self.open,
            checkpoint: self
                .signed
                .map(|(checkpoint, record, at)| LastCheckpoint { checkpoint, record, at }),
            anchored,
            unanchored_since: unanchored,
        })
    }
}

/// Where the next whole record begins behind `offset`. Its first four bytes stand nowhere in a payload: JSON has no bare line feed.
fn next_frame(bytes: &[u8], offset: usize) -> Option<usize> {
    let mut from = offset + 1;
    while let Some(at) = bytes
        .get(from..)
        .and_then(|rest| rest.windows(MAGIC.len()).position(|four| four == MAGIC))
    {
        from += at;
        if matches!(frame::decode(&bytes[from..]), Found::Frame(_)) {
            return Some(from);
        }
        from += 1;
    }
    None
}

fn records(first: u64, last: u64) -> String {
    match first == last {
        true => format!("record {first} is"),
        false => format!("records {first} to {last} are"),
    }
}

fn minus(all: Counts, part: Counts) -> Option<Counts> {
    Some(Counts {
        opened: all.opened.checked_sub(part.opened)?,
        closed: all.closed.checked_sub(part.closed)?,
        refused: all.refused.checked_sub(part.refused)?,
    })
}
