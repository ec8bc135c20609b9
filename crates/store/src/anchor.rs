//! Signed checkpoints on their way out: to a place that whoever can write to this disk cannot.
//!
//! In: the durable journal. Out: its signed checkpoints, one after the other, none twice unless a process ended in between.
//! How far it got stands in the journal itself, so nothing is kept in memory but what was read last.

use std::collections::VecDeque;
use std::sync::Arc;

use mantlet_core::record::{Anchored, CHECKPOINT, CheckpointStatement, Record, Signed};
use mantlet_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::journal::{Head, Journal, Pen, Progress, stretch};
use crate::{Anchor, Store, StoreFault};

/// The one reader of checkpoints that are due.
#[derive(Debug)]
pub struct Outbox {
    disk: Arc<dyn Disk>,
    /// Behind what was read.
    at: Head,
    progress: watch::Receiver<Progress>,
    pen: Pen,
    /// The last one that is anchored.
    anchored: u64,
    waiting: VecDeque<Due>,
}

/// A checkpoint that has to be anchored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub checkpoint: u64,
    pub writer: String,
    pub at: Timestamp,
    pub signed: Signed,
    record: u64,
    /// In front of the stretch that it was read with.
    from: Head,
}

impl Outbox {
    pub(crate) fn of(journal: &Journal) -> Self {
        let base = journal.base();
        // Without an anchor so far, what this process wrote is enough: a checkpoint covers everything before it.
        let (from, anchored) = match journal.anchored() {
            Some(anchored) => {
                let from = Head {
                    segment: anchored.segment,
                    offset: anchored.offset,
                    seq: anchored.seq,
                };
                (from, anchored.checkpoint)
            }
            None => (journal.resumed(), 0),
        };
        Self {
            disk: journal.reader(),
            at: from.max(base),
            progress: journal.progress(),
            pen: journal.pen(),
            anchored,
            waiting: VecDeque::new(),
        }
    }

    /// The next one, however long that takes; none once the journal is closed and all were given out.
    ///
    /// # Cancel safety
    /// Cancel safe: what was read stays here.
    pub async fn next(&mut self) -> Result<Option<Due>, StoreFault> {
        loop {
            if let Some(due) = self.waiting.front() {
                return Ok(Some(due.clone()));
            }
            let progress = self.progress.borrow_and_update().clone();
            if self.read(progress.head).await? {
                continue;
            }
            if progress.over.is_some() || self.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// It lies outside now. `anchor` is the word for where.
    pub fn sent(&mut self, due: &Due, anchor: &'static str) -> Result<(), StoreFault> {
        self.anchored = due.checkpoint;
        self.waiting.retain(|waiting| waiting.checkpoint > due.checkpoint);
        self.pen.note(&Record::Anchored(Anchored {
            checkpoint: due.checkpoint,
            record: due.record,
            anchor: anchor.to_owned(),
            segment: due.from.segment,
            offset: due.from.offset,
            seq: due.from.seq,
        }))
    }

    /// The first record that it may have to read again: nothing from there on may be pruned.
    pub fn needs(&self) -> u64 {
        let waiting = self.waiting.front().map(|due| due.from.seq);
        waiting.unwrap_or(self.at.seq) + 1
    }

    /// Whether there was anything to read.
    async fn read(&mut self, durable: Head) -> Result<bool, StoreFault> {
        let from = self.at;
        let (lines, after) = stretch(self.disk.clone(), from, durable).await?;
        let mut due = Vec::new();
        for line in &lines {
            if let Record::SignedCheckpoint(signed) = &line.record {
                let statement: CheckpointStatement = serde_json::from_str(&signed.statement)
                    .map_err(|fault| StoreFault::Failed(format!("record {} cannot be read: {fault}", line.seq)))?;
                if statement.checkpoint > self.anchored {
                    due.push(Due {
                        checkpoint: statement.checkpoint,
                        writer: statement.writer,
                        at: statement.at,
                        signed: signed.clone(),
                        record: line.seq,
                        from,
                    });
                }
            }
        }
        self.waiting.extend(due);
        self.at = after;
        Ok(!lines.is_empty())
    }
}

impl Store {
    /// Refuses a journal that ends before what is anchored of it: an old copy, to which nothing may be added as if it were the record.
    pub fn holds(&self, anchors: &[Anchor]) -> Result<(), StoreFault> {
        let (keys, ended) = (self.keyring.public_keys(), self.journal.resumed().seq);
        let statements = anchors
            .iter()
            .filter(|anchor| keys.check(CHECKPOINT, &anchor.signed).is_ok())
            .filter_map(|anchor| serde_json::from_str::<CheckpointStatement>(&anchor.signed.statement).ok());
        let heads = statements.flat_map(|statement| statement.chains);
        let own = heads.filter(|head| head.writer == self.journal.writer_id());
        match own.map(|head| head.seq).max() {
            Some(anchored) if anchored > ended => Err(StoreFault::Behind { anchored, ended }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A checkpoint as anchors hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: String,
    kind: String,
    #[serde(flatten)]
    signed: Signed,
}

const API_VERSION: &str = "mantlet.dev/v1alpha1";
const KIND: &str = "Checkpoint";

/// One line of JSON, without the line feed.
pub fn document(signed: &Signed) -> Result<String, StoreFault> {
    let document = Document {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        signed: signed.clone(),
    };
    serde_json::to_string(&document).map_err(|fault| StoreFault::Failed(fault.to_string()))
}

/// Documents, one on each line; and which lines hold none.
pub fn read_documents(text: &str, place: &str) -> (Vec<Anchor>, Vec<String>) {
    let (mut anchors, mut unread) = (Vec::new(), Vec::new());
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("{place} line {}", n + 1);
        match serde_json::from_str::<Document>(line) {
            Ok(document) if document.api_version == API_VERSION && document.kind == KIND => anchors.push(Anchor {
                place,
                signed: document.signed,
            }),
            Ok(_) | Err(_) => unread.push(format!("{place} holds no checkpoint")),
        }
    }
    (anchors, unread)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Scratch, clock, open, request};

    /// What is due now, without waiting for more.
    async fn due(outbox: &mut Outbox, journal: &Journal) -> Vec<Due> {
        journal.settled().await.unwrap();
        let head = journal.head();
        while outbox.read(head).await.unwrap() {}
        outbox.waiting.iter().cloned().collect()
    }

    fn numbers(due: &[Due]) -> Vec<u64> {
        due.iter().map(|due| due.checkpoint).collect()
    }

    #[tokio::test]
    async fn each_checkpoint_is_due_once_over_all_starts() {
        let (scratch, clock) = (Scratch::new(), clock());
        let store = open(&scratch, &clock).await.unwrap();
        let mut outbox = store.outbox();
        assert_eq!(numbers(&due(&mut outbox, &store.journal).await), [1]);
        clock.advance(Duration::from_secs(61));
        request(&store, &clock).await;
        let waiting = due(&mut outbox, &store.journal).await;
        assert_eq!(numbers(&waiting), [1, 2]);
        outbox.sent(&waiting[0], "file").unwrap();
        store.journal.settled().await.unwrap();
        store.close().await;

        // The second was never sent; the third ended the first process, the fourth began this one.
        let store = open(&scratch, &clock).await.unwrap();
        let mut outbox = store.outbox();
        let waiting = due(&mut outbox, &store.journal).await;
        assert_eq!(numbers(&waiting), [2, 3, 4]);
        for due in &waiting {
            outbox.sent(due, "file").unwrap();
        }
        store.close().await;
        let store = open(&scratch, &clock).await.unwrap();
        let mut outbox = store.outbox();
        assert_eq!(numbers(&due(&mut outbox, &store.journal).await), [5, 6]);
        store.close().await;
        assert_eq!(outbox.next().await.unwrap().unwrap().checkpoint, 5);
    }

    #[tokio::test]
    async fn that_something_is_anchored_calls_for_no_checkpoint() {
        let (scratch, clock) = (Scratch::new(), clock());
        let store = open(&scratch, &clock).await.unwrap();
        let mut outbox = store.outbox();
        for _ in 0..3 {
            let waiting = due(&mut outbox, &store.journal).await;
            if let Some(due) = waiting.first() {
                outbox.sent(due, "file").unwrap();
            }
            clock.advance(Duration::from_secs(61));
        }
        assert_eq!(due(&mut outbox, &store.journal).await, []);
        store.close().await;
    }

    #[tokio::test]
    async fn an_old_copy_is_not_gone_on_with() {
        let (scratch, clock) = (Scratch::new(), clock());
        let store = open(&scratch, &clock).await.unwrap();
        store.journal.settled().await.unwrap();
        let old = scratch.crashed().await;
        clock.advance(Duration::from_secs(61));
        request(&store, &clock).await;
        let mut outbox = store.outbox();
        let text: Vec<_> = due(&mut outbox, &store.journal)
            .await
            .iter()
            .map(|due| document(&due.signed).unwrap())
            .collect();
        store.close().await;
        let (anchors, unread) = read_documents(&text.join("\n"), "elsewhere");
        assert_eq!((anchors.len(), unread.len()), (2, 0));
        let store = open(&scratch, &clock).await.unwrap();
        assert_eq!(store.holds(&anchors), Ok(()));
        store.close().await;
        let store = open(&old, &clock).await.unwrap();
        let fault = store.holds(&anchors).unwrap_err();
        assert!(fault.to_string().contains("hint: mantlet sessions verify"), "{fault}");
        store.close().await;
    }

    #[test]
    fn lines_that_hold_no_checkpoint_are_told() {
        let (anchors, unread) = read_documents("{}\n\nhalf a li", "x.jsonl");
        assert!(anchors.is_empty());
        assert_eq!(
            unread,
            [
                "x.jsonl line 1 holds no checkpoint",
                "x.jsonl line 3 holds no checkpoint"
            ]
        );
    }
}
