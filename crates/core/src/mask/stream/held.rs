//! What waits until it is known whether it belongs to a Secret.

use super::super::placeholder::{Form, Mac, Masker, Tag};
use super::frame::bit;
use super::{HELD_MAX, SPLICES_MAX};

#[derive(Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// The objects, by depth, that have to be known before anything goes out.
    pub(super) pending: u128,
    /// Of these, those whose data cannot be that of a Secret.
    pub(super) odd: u128,
    splices: Vec<Splice>,
}

/// A value in `bytes` that is replaced if one of its owners is a Secret.
struct Splice {
    start: usize,
    end: usize,
    owners: u128,
    form: Form,
    tag: Tag,
    replace: bool,
}

/// Such a value while it is read.
pub(super) struct Leaf {
    pub(super) start: usize,
    pub(super) owners: u128,
    pub(super) form: Form,
    pub(super) mac: Mac,
    len: usize,
    base64: bool,
}

impl Leaf {
    pub(super) fn new(start: usize, owners: u128, form: Form, mac: Mac) -> Self {
        Self {
            start,
            owners,
            form,
            mac,
            len: 0,
            base64: true,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
        self.len += bytes.len();
        let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        self.base64 = self.base64 && bytes.iter().all(alphabet);
    }

    fn could_be_secret(&self) -> bool {
        self.form == Form::Plain || (self.base64 && self.len.is_multiple_of(4))
    }
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.pending == 0 && self.bytes.is_empty()
    }

    pub(super) fn is_over(&self) -> bool {
        self.pending != 0 && (self.bytes.len() > HELD_MAX || self.splices.len() > SPLICES_MAX)
    }

    /// The leaf ends where the held bytes end.
    pub(super) fn keep(&mut self, leaf: Leaf) {
        if !leaf.could_be_secret() {
            self.odd |= leaf.owners;
        }
        let Leaf {
            start,
            owners,
            form,
            mac,
            ..
        } = leaf;
        self.splices.push(Splice {
            start,
            end: self.bytes.len(),
            owners,
            form,
            tag: mac.finish(),
            replace: false,
        });
    }

    pub(super) fn resolve(&mut self, depth: usize, secret: bool, masker: &Masker, out: &mut Vec<u8>) {
        for splice in &mut self.splices {
            splice.replace |= secret && splice.owners & bit(depth) != 0;
            splice.owners &= !bit(depth);
        }
        self.pending &= !bit(depth);
        self.odd &= !bit(depth);
        if self.pending == 0 {
            self.release(masker, out);
        }
    }

    fn release(&mut self, masker: &Masker, out: &mut Vec<u8>) {
        let mut from = 0;
        for splice in self.splices.drain(..).filter(|splice| splice.replace) {
            out.extend_from_slice(&self.bytes[from..splice.start]);
            out.push(b'"');
            out.extend_from_slice(masker.render(&splice.tag, splice.form).as_bytes());
            out.push(b'"');
            from = splice.end;
        }
        out.extend_from_slice(&self.bytes[from..]);
        self.bytes.clear();
    }
}
