//! Masking of JSON as it streams by.
//!
//! In: an answer of the API server in pieces of any size: an object, a list, a Table, or watch events one after another.
//! Out: the same bytes with the values of Secrets replaced; everything else is copied as it is, numbers and spaces included.
//! Refuses: what is not JSON, what is nested too deep, and what ends early ([`MaskFault`]). All that was given out before
//! a fault is masked; the answer must then be cut.
//! Deliberately not checked: UTF-8 and control characters within strings; they are copied and cannot end a string.
//!
//! # What is held back
//!
//! An object may name its `kind` after its `data` (trees sorted by key do). Its `data` is then held until the kind is read
//! or the object ends. If more than [`HELD_MAX`] bytes would have to be held, the question is settled without the answer:
//! as a Secret if `kind` or `apiVersion` seen so far fit one, or if all that is held could be the data of a Secret (text,
//! and base64 below `data`); as something else otherwise. Elements of a typed list (`ConfigMapList`) are what the list says,
//! unless they say otherwise before their data.
//!
//! # Memory
//!
//! A few KiB as a rule. At most [`HELD_MAX`] and one piece of 16 KiB held with the places in it ([`SPLICES_MAX`] and those of
//! one piece, 80 bytes each), [`APPLIED_MAX`] for one annotation, and 100 open objects with 1 KiB of names each: under 2 MiB.
//! An annotation that is JSON is a tree while it is masked, which for hostile text is some MiB more, until its end.

use memchr::memchr2;

use super::placeholder::{Form, Mac, Masker};
use super::tree::{self, Applied, KEY_MAX};
use super::{Hint, LAST_APPLIED};
use crate::wire::json::DEPTH_MAX;
use escape::Escape;
use frame::{Frame, Key, Shape, Standing, bit};
use held::{Held, Leaf};

mod escape;
mod frame;
mod held;

/// No more bytes than these wait for a `kind` that has not come yet.
pub const HELD_MAX: usize = 64 * 1024;
/// Values within what is held that may yet have to be replaced.
pub const SPLICES_MAX: usize = 1024;
/// Raw text of one last-applied annotation. The server allows 256 KiB before escaping.
pub const APPLIED_MAX: usize = 512 * 1024;

const PIECE: usize = 16 * 1024;
const SCALAR_MAX: usize = 1024;

/// Why an answer cannot be masked, and therefore not be sent. Names positions, never content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskFault {
    #[error("not JSON at byte {at}: {what}")]
    Malformed { at: u64, what: &'static str },
    #[error("nested more than {DEPTH_MAX} levels deep at byte {at}")]
    TooDeep { at: u64 },
    #[error("ended in the middle of a value, after byte {at}")]
    Unfinished { at: u64 },
}

/// Rewrites one answer. See the head of this file.
pub struct Rewriter {
    masker: Masker,
    hint: Hint,
    expect: Expect,
    stack: Vec<Frame>,
    role: Role,
    escape: Escape,
    leaf: Option<Leaf>,
    /// Of the value that is being masked. A MAC is large: it stays here while roles come and go.
    mac: Option<Mac>,
    /// The last key read, unescaped and cut.
    key: Vec<u8>,
    /// The string or scalar being read, where its text matters, unescaped and cut.
    text: Vec<u8>,
    applied: Vec<u8>,
    held: Held,
    passed: u64,
    failed: Option<MaskFault>,
}

impl std::fmt::Debug for Rewriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewriter")
            .field("hint", &self.hint)
            .field("passed", &self.passed)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A value; at the top level also the end.
    Value,
    FirstItem,
    FirstKey,
    NextKey,
    Colon,
    AfterValue,
    InString,
    InScalar,
}

/// What becomes of the string or scalar being read.
#[derive(Clone, Copy)]
enum Role {
    Copy,
    Key,
    /// Copied, and its text is looked at.
    Note,
    Mask(Form),
    /// A last-applied annotation, kept until its end; not whole: it grew too long.
    Applied {
        whole: bool,
    },
}

/// The bytes being worked on. What lies before `mark` has been dealt with.
struct Piece<'a> {
    bytes: &'a [u8],
    mark: usize,
    at: usize,
    out: &'a mut Vec<u8>,
}

impl Rewriter {
    pub fn new(masker: &Masker, hint: Hint) -> Self {
        Self {
            masker: masker.clone(),
            hint,
            expect: Expect::Value,
            stack: Vec::new(),
            role: Role::Copy,
            escape: Escape::default(),
            leaf: None,
            mac: None,
            key: Vec::new(),
            text: Vec::new(),
            applied: Vec::new(),
            held: Held::default(),
            passed: 0,
            failed: None,
        }
    }

    /// Takes the next bytes and appends to `out` what may be sent of all so far. After a fault every call fails.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), MaskFault> {
        for bytes in chunk.chunks(PIECE) {
            if let Some(fault) = &self.failed {
                return Err(fault.clone());
            }
            let mut piece = Piece {
                bytes,
                mark: 0,
                at: 0,
                out: &mut *out,
            };
            self.read(&mut piece)
                .inspect_err(|fault| self.failed = Some(fault.clone()))?;
            self.passed += bytes.len() as u64;
        }
        Ok(())
    }

    /// The answer is complete: whatever is open now is a fault.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), MaskFault> {
        if let Some(fault) = self.failed {
            return Err(fault);
        }
        if self.expect == Expect::InScalar && self.stack.is_empty() {
            self.end_scalar(&mut Piece {
                bytes: &[],
                mark: 0,
                at: 0,
                out,
            })?;
        }
        match self.expect == Expect::Value && self.stack.is_empty() && self.held.is_empty() {
            true => Ok(()),
            false => Err(MaskFault::Unfinished { at: self.passed }),
        }
    }

    fn read(&mut self, piece: &mut Piece<'_>) -> Result<(), MaskFault> {
        while piece.at < piece.bytes.len() {
            match self.expect {
                Expect::InString => self.string(piece)?,
                Expect::InScalar => self.scalar(piece)?,
                _ => self.structure(piece)?,
            }
        }
        self.settle(piece);
        if self.held.is_over() {
            self.settle_without_kind(piece.out);
        }
        Ok(())
    }

    fn malformed(&self, piece: &Piece<'_>, what: &'static str) -> MaskFault {
        MaskFault::Malformed {
            at: self.passed + piece.at as u64,
            what,
        }
    }

    fn structure(&mut self, piece: &mut Piece<'_>) -> Result<(), MaskFault> {
        use Expect::{AfterValue, Colon, FirstItem, FirstKey, NextKey, Value};
        let byte = piece.bytes[piece.at];
        let within = self.stack.last().map(|frame| frame.shape);
        match (self.expect, byte) {
            (_, b' ' | b'\n' | b'\r' | b'\t') => piece.at += 1,
            (Value | FirstItem, b'{') => self.open(Shape::Object, piece)?,
            (Value | FirstItem, b'[') => self.open(Shape::Array, piece)?,
            (Value | FirstItem, b'"') => self.open_string(piece),
            (Value | FirstItem, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.open_scalar(piece),
            (FirstItem, b']') | (FirstKey, b'}') => self.close(piece),
            (FirstKey | NextKey, b'"') => self.open_key(piece),
            (Colon, b':') => self.proceed(Value, piece),
            (AfterValue, b',') if within == Some(Shape::Object) => self.proceed(NextKey, piece),
            (AfterValue, b',') => self.proceed(Value, piece),
            (AfterValue, b'}') if within == Some(Shape::Object) => self.close(piece),
            (AfterValue, b']') if within == Some(Shape::Array) => self.close(piece),
            (Value | FirstItem, _) => return Err(self.malformed(piece, "no value begins like this")),
            (FirstKey | NextKey, _) => return Err(self.malformed(piece, "a key was expected")),
            (Colon, _) => return Err(self.malformed(piece, "a colon was expected")),
            (_, _) => return Err(self.malformed(piece, "a comma or an end was expected")),
        }
        Ok(())
    }

    fn proceed(&mut self, expect: Expect, piece: &mut Piece<'_>) {
        self.expect = expect;
        piece.at += 1;
    }

    fn value_ended(&mut self) {
        self.expect = if self.stack.is_empty() {
            Expect::Value
        } else {
            Expect::AfterValue
        };
    }

    fn open(&mut self, shape: Shape, piece: &mut Piece<'_>) -> Result<(), MaskFault> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(MaskFault::TooDeep {
                at: self.passed + piece.at as u64,
            });
        }
        let (region, owners) = self.region();
        let nested = self.stack.last().is_some_and(|parent| parent.region.is_some());
        if owners != 0 {
            self.claim(owners, piece);
            if nested || shape == Shape::Array {
                self.held.odd |= owners;
            }
        }
        let depth = self.stack.len();
        let frame = match self.stack.last() {
            Some(parent) => parent.child(shape, depth - 1, self.hint, region, owners),
            None => Frame::new(shape, region, owners),
        };
        self.stack.push(frame);
        let expect = if shape == Shape::Object {
            Expect::FirstKey
        } else {
            Expect::FirstItem
        };
        self.proceed(expect, piece);
        Ok(())
    }

    fn close(&mut self, piece: &mut Piece<'_>) {
        piece.at += 1;
        let depth = self.stack.len() - 1;
        if self.held.pending & bit(depth) != 0 {
            let secret = self.stack[depth].says_secret();
            self.resolve(depth, secret, piece);
        }
        self.stack.pop();
        self.value_ended();
    }

    /// Whether the value that follows belongs to a Secret's data: the form of its placeholder, and the objects (by depth)
    /// of which it is not known yet whether they are Secrets. No objects and a form: it certainly does.
    fn region(&self) -> (Option<Form>, u128) {
        match self.stack.last() {
            Some(frame) => frame.member(self.stack.len() - 1, self.hint),
            None => (None, 0),
        }
    }

    /// From here on everything is held until these objects are known.
    fn claim(&mut self, owners: u128, piece: &mut Piece<'_>) {
        self.settle(piece);
        self.held.pending |= owners;
    }

    fn open_key(&mut self, piece: &mut Piece<'_>) {
        piece.at += 1;
        let rest = &piece.bytes[piece.at..];
        match special(rest) {
            Some(end) if rest[end] == b'"' => {
                self.end_key(&rest[..end]);
                piece.at += end + 1;
            }
            Some(_) | None => {
                self.text.clear();
                self.begin_token(Expect::InString, Role::Key);
            }
        }
    }

    fn end_key(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(tree::cut(key, KEY_MAX));
        if let Some(frame) = self.stack.last_mut() {
            frame.key = Key::of(key);
        }
        self.expect = Expect::Colon;
    }

    fn begin_token(&mut self, expect: Expect, role: Role) {
        self.expect = expect;
        self.role = role;
        self.escape = Escape::default();
    }

    fn open_string(&mut self, piece: &mut Piece<'_>) {
        // Most strings mean nothing here and lie within the piece.
        if self.stack.last().is_some_and(Frame::copies) {
            let rest = &piece.bytes[piece.at + 1..];
            if let Some(end) = special(rest).filter(|end| rest[*end] == b'"') {
                piece.at += end + 2;
                return self.value_ended();
            }
        }
        let role = match self.open_leaf(piece) {
            Some(masked) => masked,
            None => self.role_of_string(piece),
        };
        piece.at += 1;
        if matches!(role, Role::Applied { .. }) {
            piece.mark = piece.at;
        }
        self.text.clear();
        self.begin_token(Expect::InString, role);
    }

    fn role_of_string(&mut self, piece: &mut Piece<'_>) -> Role {
        let Some(frame) = self.stack.last().filter(|frame| frame.shape == Shape::Object) else {
            return Role::Copy;
        };
        match frame.key {
            Key::Kind | Key::ApiVersion => Role::Note,
            Key::Name | Key::Namespace | Key::Uid if frame.is_metadata => Role::Note,
            Key::LastApplied => {
                self.settle(piece);
                self.applied.clear();
                Role::Applied { whole: true }
            }
            _ => Role::Copy,
        }
    }

    /// Begins a string or scalar within a Secret's data: the role that masks it, or, if that is not known yet, a leaf.
    fn open_leaf(&mut self, piece: &mut Piece<'_>) -> Option<Role> {
        let (form, owners) = self.region();
        let form = form?;
        if owners != 0 {
            self.claim(owners, piece);
        }
        self.settle(piece);
        let mac = self.begin_mac();
        if owners == 0 {
            self.mac = Some(mac);
            return Some(Role::Mask(form));
        }
        self.leaf = Some(Leaf::new(self.held.bytes.len(), owners, form, mac));
        None
    }

    fn begin_mac(&self) -> Mac {
        let in_object = self.stack.last().is_some_and(|frame| frame.shape == Shape::Object);
        let key: &[u8] = if in_object { &self.key } else { b"" };
        self.masker.begin(self.whose(), key)
    }

    fn whose(&self) -> &[u8] {
        self.stack
            .iter()
            .rev()
            .map(|frame| frame.who.as_slice())
            .find(|who| !who.is_empty())
            .unwrap_or_default()
    }

    fn string(&mut self, piece: &mut Piece<'_>) -> Result<(), MaskFault> {
        while let Some(rest) = piece.bytes.get(piece.at..).filter(|rest| !rest.is_empty()) {
            if self.escape.is_open() {
                let unescaped = self.escape.take(rest[0]).map_err(|what| self.malformed(piece, what))?;
                piece.at += 1;
                self.feed(unescaped.as_bytes());
                continue;
            }
            let run = special(rest).unwrap_or(rest.len());
            if run > 0 && self.escape.lone() {
                self.feed("\u{fffd}".as_bytes());
            }
            self.feed(&rest[..run]);
            piece.at += run;
            match rest.get(run) {
                Some(b'"') => return self.end_string(piece),
                Some(_) => {
                    self.escape.begin();
                    piece.at += 1;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Unescaped text of the string being read.
    fn feed(&mut self, bytes: &[u8]) {
        match self.role {
            Role::Key | Role::Note => {
                let room = (KEY_MAX + 1).saturating_sub(self.text.len());
                self.text.extend_from_slice(tree::cut(bytes, room));
            }
            Role::Mask(_) => {
                if let Some(mac) = &mut self.mac {
                    mac.update(bytes);
                }
            }
            Role::Copy | Role::Applied { .. } => {}
        }
        if let Some(leaf) = &mut self.leaf {
            leaf.feed(bytes);
        }
    }

    /// At the closing quote.
    fn end_string(&mut self, piece: &mut Piece<'_>) -> Result<(), MaskFault> {
        if self.escape.lone() {
            self.feed("\u{fffd}".as_bytes());
        }
        match std::mem::replace(&mut self.role, Role::Copy) {
            Role::Key => {
                let key = std::mem::take(&mut self.text);
                self.end_key(&key);
                self.text = key;
                piece.at += 1;
                return Ok(());
            }
            Role::Mask(form) => {
                piece.at += 1;
                piece.mark = piece.at;
                self.emit_placeholder(form, piece.out);
            }
            Role::Applied { whole } => {
                self.role = Role::Applied { whole };
                self.settle(piece);
                piece.at += 1;
                piece.mark = piece.at;
                self.end_applied(piece.out);
                self.end_leaf(piece);
            }
            Role::Note => {
                piece.at += 1;
                self.end_leaf(piece);
                self.note(piece);
            }
            Role::Copy => {
                piece.at += 1;
                self.end_leaf(piece);
            }
        }
        self.value_ended();
        Ok(())
    }

    fn emit_placeholder(&mut self, form: Form, out: &mut Vec<u8>) {
        if let Some(mac) = self.mac.take() {
            let placeholder = self.masker.render(&mac.finish(), form);
            self.emit_string(&placeholder, out);
        }
    }

    fn emit_string(&mut self, plain: &str, out: &mut Vec<u8>) {
        self.emit(b"\"", out);
        self.emit(plain.as_bytes(), out);
        self.emit(b"\"", out);
    }

    fn end_leaf(&mut self, piece: &mut Piece<'_>) {
        if self.leaf.is_some() {
            self.settle(piece);
            self.leaf.take().into_iter().for_each(|leaf| self.held.keep(leaf));
        }
    }

    fn end_applied(&mut self, out: &mut Vec<u8>) {
        let whole = matches!(self.role, Role::Applied { whole: true });
        self.role = Role::Copy;
        let raw = std::mem::take(&mut self.applied);
        let quoted = [b"\"", raw.as_slice(), b"\""].concat();
        match serde_json::from_slice::<String>(&quoted).ok().filter(|_| whole) {
            Some(text) => match self.masker.last_applied(&text, self.hint, self.whose()) {
                Applied::AsItWas => self.emit(&quoted, out),
                Applied::Rewritten(new) => self.emit(serde_json::Value::String(new).to_string().as_bytes(), out),
            },
            None => {
                let form = Form::Plain;
                let blank = self
                    .masker
                    .placeholder(self.whose(), LAST_APPLIED.as_bytes(), b"", form);
                self.emit_string(&blank, out);
            }
        }
    }

    /// A string that says what an object is, or which one.
    fn note(&mut self, piece: &mut Piece<'_>) {
        let depth = self.stack.len() - 1;
        match self.stack[depth].key {
            Key::Kind | Key::ApiVersion => {
                self.stack[depth].note(&self.text, depth);
                if self.held.pending & bit(depth) != 0 {
                    match self.stack[depth].standing(self.hint) {
                        Standing::Secret => self.resolve(depth, true, piece),
                        Standing::Other => self.resolve(depth, false, piece),
                        Standing::Open => {}
                    }
                }
            }
            key => {
                if let Some(object) = self.stack.get_mut(depth.wrapping_sub(1)) {
                    tree::add_who(&mut object.who, key.field(), &self.text);
                }
            }
        }
    }

    fn open_scalar(&mut self, piece: &mut Piece<'_>) {
        let role = self.open_leaf(piece).unwrap_or(Role::Copy);
        self.text.clear();
        self.begin_token(Expect::InScalar, role);
    }

    fn scalar(&mut self, piece: &mut Piece<'_>) -> Result<(), MaskFault> {
        let rest = &piece.bytes[piece.at..];
        let in_scalar = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let run = rest.iter().take_while(|b| in_scalar(b)).count();
        if self.text.len() + run > SCALAR_MAX {
            return Err(self.malformed(piece, "a number is too long"));
        }
        self.text.extend_from_slice(&rest[..run]);
        piece.at += run;
        match run < rest.len() {
            true => self.end_scalar(piece),
            false => Ok(()),
        }
    }

    fn end_scalar(&mut self, piece: &mut Piece<'_>) -> Result<(), MaskFault> {
        let null = self.text == b"null";
        if !(null || self.text == b"true" || self.text == b"false" || is_number(&self.text)) {
            return Err(self.malformed(piece, "neither a number nor true, false, null"));
        }
        match std::mem::replace(&mut self.role, Role::Copy) {
            Role::Mask(form) => {
                piece.mark = piece.at;
                match &mut self.mac {
                    Some(mac) if !null => mac.update(&self.text),
                    Some(_) | None => {}
                }
                match null {
                    true => self.emit(b"null", piece.out),
                    false => self.emit_placeholder(form, piece.out),
                }
            }
            Role::Copy | Role::Key | Role::Note | Role::Applied { .. } if null => self.leaf = None,
            Role::Copy | Role::Key | Role::Note | Role::Applied { .. } => {
                if let Some(leaf) = &mut self.leaf {
                    leaf.feed(&self.text);
                    self.held.odd |= leaf.owners;
                }
                self.end_leaf(piece);
            }
        }
        self.value_ended();
        Ok(())
    }

    /// Deals with the bytes up to here: copied, held, kept or dropped.
    fn settle(&mut self, piece: &mut Piece<'_>) {
        let bytes = &piece.bytes[piece.mark..piece.at];
        piece.mark = piece.at;
        let in_token = matches!(self.expect, Expect::InString | Expect::InScalar);
        match &mut self.role {
            Role::Mask(..) if in_token => {}
            Role::Applied { whole } if in_token => {
                *whole = *whole && self.applied.len() + bytes.len() <= APPLIED_MAX;
                if *whole {
                    self.applied.extend_from_slice(bytes);
                }
            }
            _ => self.emit(bytes, piece.out),
        }
    }

    fn emit(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.held.pending {
            0 => out.extend_from_slice(bytes),
            _ => self.held.bytes.extend_from_slice(bytes),
        }
    }

    /// It is known now whether the object at this depth is a Secret.
    fn resolve(&mut self, depth: usize, secret: bool, piece: &mut Piece<'_>) {
        self.settle(piece);
        self.stack.iter_mut().for_each(|frame| frame.resolve(depth, secret));
        self.held.resolve(depth, secret, &self.masker, piece.out);
    }

    /// Too much is held: every object in question is settled by what is known of it.
    fn settle_without_kind(&mut self, out: &mut Vec<u8>) {
        let mut secrets = 0;
        for (depth, frame) in self.stack.iter_mut().enumerate() {
            if self.held.pending & bit(depth) != 0 {
                let secret = frame.fits_secret() || self.held.odd & bit(depth) == 0;
                frame.settled = Some(secret);
                secrets |= if secret { bit(depth) } else { 0 };
            }
        }
        // The value being read belongs to one of them: what is held of it is taken back.
        if let Some(leaf) = self.leaf.take_if(|leaf| leaf.owners & secrets != 0) {
            self.held.bytes.truncate(leaf.start);
            self.role = Role::Mask(leaf.form);
            self.mac = Some(leaf.mac);
        }
        self.leaf = None;
        for depth in 0..self.stack.len() {
            if self.held.pending & bit(depth) != 0 {
                let secret = secrets & bit(depth) != 0;
                self.stack.iter_mut().for_each(|frame| frame.resolve(depth, secret));
                self.held.resolve(depth, secret, &self.masker, out);
            }
        }
    }
}

/// The next quote or backslash. Most are near; a call of `memchr` costs more than to look.
fn special(bytes: &[u8]) -> Option<usize> {
    const NEAR: usize = 24;
    let near = &bytes[..bytes.len().min(NEAR)];
    let found = near.iter().position(|b| matches!(b, b'"' | b'\\'));
    found.or_else(|| memchr2(b'"', b'\\', &bytes[near.len()..]).map(|at| near.len() + at))
}

// RFC 8259 section 6.
fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> &[u8] {
        &text[text.iter().take_while(|b| b.is_ascii_digit()).count()..]
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = match text.first() {
        Some(b'0') => &text[1..],
        Some(b'1'..=b'9') => digits(text),
        _ => return false,
    };
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = digits(fraction);
        if rest.len() == fraction.len() {
            return false;
        }
    }
    if let Some((b'e' | b'E', exponent)) = rest.split_first() {
        let exponent = exponent
            .strip_prefix(b"+")
            .or(exponent.strip_prefix(b"-"))
            .unwrap_or(exponent);
        rest = digits(exponent);
        if rest.len() == exponent.len() {
            return false;
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests;
