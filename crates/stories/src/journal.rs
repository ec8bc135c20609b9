//! The journal's bytes, read by somebody else than who wrote them: an independent witness of what is in it.

use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};
use mantlet_core::record::{Line, Record};

const MAGIC: &[u8] = b"MJ1\n";
const HEADER: usize = 20;

/// Reads on from where it stopped. Only for a journal that nobody is writing to at the moment.
#[derive(Debug)]
pub struct Reading {
    folder: PathBuf,
    segment: u64,
    offset: usize,
    seq: u64,
    hash: Vec<u8>,
}

impl Reading {
    pub fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            segment: 1,
            offset: 0,
            seq: 0,
            hash: vec![0; 32],
        }
    }

    /// What was written since the last time; each line follows the one before it, or this fails.
    pub fn read(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let path = self.folder.join(format!("{:010}.journal", self.segment));
            let bytes = std::fs::read(&path).expect("a segment");
            while let Some(payload) = self.frame(&bytes) {
                let line: Line = serde_json::from_slice(&payload).expect("a line");
                assert_eq!(line.seq, self.seq + 1, "no line is missing");
                assert_eq!(line.prev, hex::encode(&self.hash), "each line names the one before it");
                self.seq = line.seq;
                self.hash = digest(&bytes[self.offset..self.offset + HEADER + payload.len()]);
                self.offset += HEADER + payload.len();
                records.push(line.record);
            }
            let next = self.folder.join(format!("{:010}.journal", self.segment + 1));
            if !next.exists() {
                return records;
            }
            (self.segment, self.offset) = (self.segment + 1, 0);
        }
    }

    fn frame(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let header = bytes.get(self.offset..self.offset + HEADER)?;
        if header == [0; HEADER] {
            return None;
        }
        assert_eq!(&header[..4], MAGIC, "a frame begins at {}", self.offset);
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let begin = self.offset + HEADER;
        Some(bytes.get(begin..begin + length).expect("a whole frame").to_vec())
    }
}

/// SHA-256 over length, synced and payload: all of a frame but its magic and its check.
fn digest(frame: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&frame[4..12]);
    context.update(&frame[HEADER..]);
    context.finish().as_ref().to_vec()
}
