//! What a check of the record found, as people and programs read it.

use std::fmt;

use mantlet_core::record::Counts;
use mantlet_core::time::Timestamp;
use serde::{Serialize, Serializer};

/// Prints as `mantlet sessions verify` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub journals: Vec<Checked>,
    /// None: the record is whole.
    pub findings: Vec<Finding>,
    /// What is worth knowing and breaks nothing.
    pub notes: Vec<String>,
}

/// What is there of one writer's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    pub writer: String,
    /// First and last.
    pub segments: (u64, u64),
    pub records: (u64, u64),
    #[serde(serialize_with = "text")]
    pub from: Timestamp,
    #[serde(serialize_with = "text")]
    pub to: Timestamp,
    /// Of the whole chain, what was pruned included.
    pub counts: Counts,
    pub open: u64,
    /// The last signed one.
    pub checkpoint: Option<LastCheckpoint>,
    /// The last checkpoint that lies outside: as the anchor shows it, else as the journal says.
    pub anchored: Option<u64>,
    /// The first checkpoint that does not.
    #[serde(serialize_with = "maybe_text")]
    pub unanchored_since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastCheckpoint {
    pub checkpoint: u64,
    pub record: u64,
    #[serde(serialize_with = "text")]
    pub at: Timestamp,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    #[serde(serialize_with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// Bytes that were durable are not what they were.
    Changed,
    /// The end is no whole record.
    Torn,
    /// A whole frame that holds no record.
    Unreadable,
    Missing,
    OutOfPlace,
    Rewritten,
    MissingSegment,
    MissingWriter,
    CutTail,
    Forged,
    /// An event is not one event.
    Doubled,
}

impl Kind {
    /// What somebody has to think of.
    pub fn means(self) -> &'static str {
        match self {
            Kind::Changed => "the disk lost bits, or somebody changed the file",
            Kind::Torn => {
                "the process or the machine ended in mid-write and has not started since, or these bytes were changed; what an anchor holds was not among them"
            }
            Kind::Unreadable => "a later version of mantlet wrote it, or somebody with the key file did",
            Kind::Missing => "records were taken out",
            Kind::OutOfPlace => "records were copied or moved",
            Kind::Rewritten => "a record was changed together with its check, or the journal was made anew in part",
            Kind::MissingSegment => "a file of the journal was removed",
            Kind::MissingWriter => "the journal of a whole replica was removed",
            Kind::CutTail => "the end was cut off, or an old copy of the folder was put back",
            Kind::Forged => "somebody without the key wrote it",
            Kind::Doubled => "a request has not left exactly one event: records were made up, or mantlet is wrong",
        }
    }
}

impl Report {
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Finding {
    /// One that is not about a place of a journal.
    pub(super) fn elsewhere(kind: Kind, what: String) -> Self {
        Self {
            kind,
            segment: None,
            offset: None,
            record: None,
            at: None,
            what,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut places = Vec::new();
        places.extend(self.segment.map(|segment| format!("segment {segment}")));
        places.extend(self.offset.map(|offset| format!("byte {offset}")));
        places.extend(self.record.map(|record| format!("record {record}")));
        places.extend(self.at.map(|at| at.to_string()));
        if !places.is_empty() {
            write!(f, "{}: ", places.join(", "))?;
        }
        f.write_str(&self.what)
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            opened,
            closed,
            refused,
        } = self.counts;
        writeln!(
            f,
            "journal {}: segments {} to {}, records {} to {}, {} to {}",
            self.writer, self.segments.0, self.segments.1, self.records.0, self.records.1, self.from, self.to
        )?;
        writeln!(
            f,
            "  {opened} requests opened, {closed} closed, {refused} refused in sum"
        )?;
        match &self.checkpoint {
            Some(last) => writeln!(
                f,
                "  last signed checkpoint {} at record {}, {}",
                last.checkpoint, last.record, last.at
            )?,
            None => writeln!(f, "  no signed checkpoint")?,
        }
        match (self.anchored, self.unanchored_since) {
            (None, _) => writeln!(
                f,
                "  nothing is anchored: who can write to this disk can cut off the end unseen"
            ),
            (Some(last), Some(since)) => writeln!(f, "  anchored up to checkpoint {last}; not anchored since {since}"),
            (Some(last), None) => writeln!(f, "  anchored up to checkpoint {last}, the last"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.journals.iter().try_for_each(|journal| write!(f, "{journal}"))?;
        if self.journals.is_empty() {
            writeln!(f, "the journal is empty")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for finding in &self.findings {
            writeln!(f, "damaged: {finding}\n  it means: {}", finding.kind.means())?;
        }
        match self.findings.len() {
            0 => writeln!(f, "whole"),
            1 => writeln!(f, "not whole: 1 finding"),
            count => writeln!(f, "not whole: {count} findings"),
        }
    }
}

fn text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn maybe_text<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
