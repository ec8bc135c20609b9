//! What proves a record: signed statements of where a chain stands, of what was taken away from its beginning, and how far it was anchored.
//!
//! A statement is signed as the bytes that stand in [`Signed::statement`]: whoever checks it needs no common order of fields, and a later
//! version may add some.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What stands before the statement of a checkpoint when it is signed, so that it passes for nothing else.
pub const CHECKPOINT: &str = "mantlet checkpoint v1\n";
/// Likewise for what was pruned.
pub const PRUNED: &str = "mantlet pruned v1\n";

/// A statement in JSON, and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    pub statement: String,
    pub key_id: String,
    /// Ed25519 (RFC 8032), in hex.
    pub signature: String,
}

/// Where every chain stood, and what had been counted in this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatement {
    pub v: u32,
    /// Counts from 1 in each chain, without a gap.
    pub checkpoint: u64,
    pub writer: String,
    pub at: Timestamp,
    /// The writer's own first; then all others that it knows of.
    pub chains: Vec<ChainHead>,
    pub counts: Counts,
    /// With which this is signed, in hex.
    pub public_key: String,
    /// From the next checkpoint on another key signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<PublicKey>,
}

/// The last record of a chain when a checkpoint was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    pub writer: String,
    pub seq: u64,
    /// SHA-256 of its frame, in hex.
    pub hash: String,
}

/// Of a chain since its first record, whatever of it was pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub opened: u64,
    pub closed: u64,
    /// Requests without a caller, counted in sum.
    pub refused: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    pub id: String,
    /// Ed25519, 32 bytes in hex.
    pub public_key: String,
}

/// Segments that are taken away, oldest first; the chain is to be followed from behind the last of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrunedStatement {
    pub v: u32,
    pub writer: String,
    pub at: Timestamp,
    pub why: PrunedWhy,
    pub segments: Vec<PrunedSegment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrunedWhy {
    /// `recording.retention.days`.
    Days,
    /// `recording.retention.bytes`.
    Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrunedSegment {
    pub segment: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    /// SHA-256 of its last frame, in hex: the `prev` of the record that follows.
    pub last_hash: String,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub bytes: u64,
    /// At its end.
    pub counts: Counts,
    /// Signed checkpoints up to its end.
    pub checkpoints: u64,
}

/// A signed checkpoint lies outside this disk as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anchored {
    pub checkpoint: u64,
    /// Of the record that holds it.
    pub record: u64,
    /// `file`, `webhook`, `s3`.
    pub anchor: String,
    /// From where reading on meets every checkpoint behind this one.
    pub segment: u64,
    pub offset: u64,
    pub seq: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.refused += other.refused;
    }
}
