//! How a record lies in a segment: a header of 20 bytes, then the line as JSON.
//!
//! ```text
//! "MJ1\n" | length u32 LE | synced u32 LE | check 8 bytes | payload
//! ```
//!
//! `check` begins the SHA-256 over length, synced and payload; the whole of it is the `prev` of the line that follows.
//! `synced` is where the bytes of this segment that were durable before this frame's batch end. It tells a torn write
//! from damage: a bad frame is torn only if no good frame behind it says that the place had been durable.

use aws_lc_rs::digest::{Context, SHA256};

pub(crate) const MAGIC: [u8; 4] = *b"MJ1\n";
pub(crate) const HEADER: usize = 20;

pub(crate) type Hash = [u8; 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) synced: u32,
    pub(crate) hash: Hash,
}

impl Frame<'_> {
    pub(crate) fn length(&self) -> usize {
        HEADER + self.payload.len()
    }
}

/// What begins at a place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Frame(Frame<'a>),
    /// Zeros, or the end: nothing was written here.
    Nothing,
    /// More bytes are needed than there are: this many from here on. In a whole segment that is damage.
    Short(usize),
    Damage,
}

pub(crate) fn encode(into: &mut Vec<u8>, synced: u32, payload: &[u8]) -> Hash {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let hash = hash(length, synced, payload);
    into.extend_from_slice(&MAGIC);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&synced.to_le_bytes());
    into.extend_from_slice(&hash[..8]);
    into.extend_from_slice(payload);
    hash
}

pub(crate) fn decode(bytes: &[u8]) -> Found<'_> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return if zeros(bytes) {
            Found::Nothing
        } else {
            Found::Short(HEADER)
        };
    };
    if header == [0; HEADER] {
        return Found::Nothing;
    }
    if header[..4] != MAGIC {
        return Found::Damage;
    }
    let (length, synced) = (number(&header[4..8]), number(&header[8..12]));
    let Some(payload) = rest.get(..length as usize) else {
        return Found::Short(HEADER + length as usize);
    };
    let hash = hash(length, synced, payload);
    match hash[..8] == header[12..] {
        true => Found::Frame(Frame { payload, synced, hash }),
        false => Found::Damage,
    }
}

pub(crate) fn zeros(bytes: &[u8]) -> bool {
    const PAGE: [u8; 4096] = [0; 4096];
    bytes.chunks(PAGE.len()).all(|chunk| chunk == &PAGE[..chunk.len()])
}

fn hash(length: u32, synced: u32, payload: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&length.to_le_bytes());
    context.update(&synced.to_le_bytes());
    context.update(payload);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_any_changed_bit_is_noticed() {
        let mut bytes = Vec::new();
        let hash = encode(&mut bytes, 7, b"{\"v\":1}");
        assert_eq!(
            decode(&bytes),
            Found::Frame(Frame {
                payload: b"{\"v\":1}",
                synced: 7,
                hash
            })
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(decode(&flipped), Found::Frame(_) | Found::Nothing),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn zeros_are_nothing_and_a_cut_frame_is_short() {
        assert_eq!(decode(&[0; 100]), Found::Nothing);
        let mut bytes = Vec::new();
        encode(&mut bytes, 0, b"payload");
        assert_eq!(decode(&bytes[..HEADER + 3]), Found::Short(HEADER + 7));
    }
}
