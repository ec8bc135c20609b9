//! The chain: each line names the hash of the frame before it, counts on from its number, and has the same writer.
//! Checkpoints tie it to keys: an HMAC where a segment begins, an Ed25519 signature there and at intervals.

use aws_lc_rs::hmac;
use mantlet_core::record::{ChainHead, Checkpoint, CheckpointStatement, Line, Record, Signed, VERSION};
use serde::Deserialize;

use super::frame::{Frame, Hash};
use crate::keyring::Keyring;

/// Where a chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) writer: String,
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

/// The key of checkpoints, by its id.
#[derive(Clone)]
pub(crate) struct ChainKey {
    pub(crate) id: String,
    pub(crate) key: hmac::Key,
}

impl ChainKey {
    pub(crate) fn of(keyring: &Keyring) -> Self {
        Self {
            id: keyring.chain_key_id().to_owned(),
            key: keyring.chain_key(),
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

impl Chain {
    pub(crate) fn begin(writer: String) -> Self {
        Self {
            writer,
            seq: 0,
            hash: [0; 32],
        }
    }

    /// The chain as it stands before this line: what is left of one whose beginning was pruned. Nothing is proven by it; whoever
    /// begins so has to find the record that says what was taken away.
    pub(crate) fn before(line: &Line) -> Result<Self, String> {
        let hash = hex::decode(&line.prev).ok().and_then(|hash| Hash::try_from(hash).ok());
        Ok(Self {
            writer: line.writer.clone(),
            seq: line.seq.checked_sub(1).ok_or("record 0 does not exist")?,
            hash: hash.ok_or("it names no record before it")?,
        })
    }

    /// Reads the next line, or says what is wrong with it.
    pub(crate) fn follow(&mut self, frame: &Frame<'_>, key: &ChainKey) -> Result<Line, String> {
        let line = read(frame.payload)?;
        if line.writer != self.writer {
            return Err(format!("its writer is `{}`, not `{}`", line.writer, self.writer));
        }
        if line.seq != self.seq + 1 {
            return Err(format!("record {} follows record {}", line.seq, self.seq));
        }
        if line.prev != hex::encode(self.hash) {
            return Err(format!("record {} does not follow from the record before it", line.seq));
        }
        match &line.record {
            Record::Checkpoint(checkpoint) => self.check(checkpoint, key)?,
            Record::SignedCheckpoint(signed) => drop(self.stands_as(signed)?),
            _ => {}
        }
        (self.seq, self.hash) = (line.seq, frame.hash);
        Ok(line)
    }

    /// What the checkpoint that comes next must say.
    pub(crate) fn checkpoint(&self, segment: u64, key: &ChainKey) -> Checkpoint {
        let mac = hmac::sign(&key.key, &self.checked(segment));
        Checkpoint {
            segment,
            key_id: key.id.clone(),
            mac: hex::encode(mac),
        }
    }

    /// Where it stands, for a statement.
    pub(crate) fn head(&self) -> ChainHead {
        ChainHead {
            writer: self.writer.clone(),
            seq: self.seq,
            hash: hex::encode(self.hash),
        }
    }

    /// The statement of a signed checkpoint that comes next, if it speaks of this place. Whose signature it is, is another question.
    pub(crate) fn stands_as(&self, signed: &Signed) -> Result<CheckpointStatement, String> {
        let statement: CheckpointStatement = serde_json::from_str(&signed.statement)
            .map_err(|fault| format!("the signed checkpoint cannot be read: {fault}"))?;
        match statement.writer == self.writer && statement.chains.first() == Some(&self.head()) {
            true => Ok(statement),
            false => Err(format!(
                "signed checkpoint {} speaks of another place of the chain",
                statement.checkpoint
            )),
        }
    }

    pub(crate) fn check(&self, checkpoint: &Checkpoint, key: &ChainKey) -> Result<(), String> {
        let mac = hex::decode(&checkpoint.mac).unwrap_or_default();
        let good =
            checkpoint.key_id == key.id && hmac::verify(&key.key, &self.checked(checkpoint.segment), &mac).is_ok();
        match good {
            true => Ok(()),
            false => Err(format!(
                "the checkpoint of segment {} was not made with key `{}`",
                checkpoint.segment, key.id
            )),
        }
    }

    fn checked(&self, segment: u64) -> Vec<u8> {
        [
            &self.hash[..],
            &(self.seq + 1).to_le_bytes(),
            &segment.to_le_bytes(),
            self.writer.as_bytes(),
        ]
        .concat()
    }
}

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainKey").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(crate) fn read(payload: &[u8]) -> Result<Line, String> {
    let read = serde_json::from_slice::<Line>(payload);
    // A later version may well be unreadable, or readable and mean something else. What reads says its version; only of what does not is it asked.
    let v = match &read {
        Ok(line) => line.v,
        Err(_) => serde_json::from_slice::<Versioned>(payload).map_or(0, |versioned| versioned.v),
    };
    if v > VERSION {
        return Err(format!(
            "it was written by a later version of mantlet (records of version {v})"
        ));
    }
    read.map_err(|fault| format!("it is no record: {fault}"))
}
