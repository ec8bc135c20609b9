//! One open object or array, and what is known of it.

use super::super::placeholder::Form;
use super::super::tree::{is_core, is_secret_kind};
use super::super::{Hint, LAST_APPLIED};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
}

/// The keys that mean something here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Kind,
    ApiVersion,
    Metadata,
    Name,
    Namespace,
    Uid,
    Items,
    Data,
    StringData,
    LastApplied,
    Other,
}

impl Key {
    pub(super) fn of(key: &[u8]) -> Self {
        match key {
            b"kind" => Key::Kind,
            b"apiVersion" => Key::ApiVersion,
            b"metadata" => Key::Metadata,
            b"name" => Key::Name,
            b"namespace" => Key::Namespace,
            b"uid" => Key::Uid,
            b"items" => Key::Items,
            b"data" => Key::Data,
            b"stringData" => Key::StringData,
            key if key == LAST_APPLIED.as_bytes() => Key::LastApplied,
            _ => Key::Other,
        }
    }

    pub(super) fn field(self) -> &'static [u8] {
        match self {
            Key::Name => b"name",
            Key::Namespace => b"namespace",
            Key::Uid => b"uid",
            _ => b"",
        }
    }

    fn form(self) -> Option<Form> {
        match self {
            Key::Data => Some(Form::Base64),
            Key::StringData => Some(Form::Plain),
            _ => None,
        }
    }
}

/// Whether an object is a Secret, as far as it has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Secret,
    Other,
    Open,
}

/// The bit of an object in the sets of objects that are not known yet.
pub(super) fn bit(depth: usize) -> u128 {
    1 << depth
}

pub(super) struct Frame {
    pub(super) shape: Shape,
    /// Of the member being read.
    pub(super) key: Key,
    /// This lies within the data of a Secret: certainly, if there are no `owners`, or if one of them is one.
    pub(super) region: Option<Form>,
    pub(super) owners: u128,
    /// An object's `metadata`: the names in it are those of the object around it.
    pub(super) is_metadata: bool,
    /// What is known of the object's name, namespace and uid.
    pub(super) who: Vec<u8>,
    /// Decided when too much was held.
    pub(super) settled: Option<bool>,
    kind: Option<bool>,
    core: Option<bool>,
    /// Of a list at the top: its kind names the kind of its items.
    names_items: bool,
    /// An item of such a list (or the array of them).
    named: bool,
    /// An item of a `SecretList` (or the array of them), certainly or if one of `lists` is one.
    listed: bool,
    lists: u128,
}

impl Frame {
    pub(super) fn new(shape: Shape, region: Option<Form>, owners: u128) -> Self {
        Self {
            shape,
            key: Key::Other,
            region,
            owners,
            is_metadata: false,
            who: Vec::new(),
            settled: None,
            kind: None,
            core: None,
            names_items: false,
            named: false,
            listed: false,
            lists: 0,
        }
    }

    /// What opens as the current member of this one, which is `depth` deep.
    pub(super) fn child(&self, shape: Shape, depth: usize, hint: Hint, region: Option<Form>, owners: u128) -> Self {
        let mut child = Frame::new(shape, region, owners);
        match (self.shape, shape) {
            (Shape::Array, Shape::Object) => {
                (child.listed, child.lists, child.named) = (self.listed, self.lists, self.named);
            }
            (Shape::Object, Shape::Array) if self.key == Key::Items => {
                let standing = self.standing(hint);
                child.listed = standing == Standing::Secret;
                child.lists = if standing == Standing::Open { bit(depth) } else { 0 };
                child.named = self.names_items;
            }
            (Shape::Object, Shape::Object) => child.is_metadata = self.key == Key::Metadata,
            (Shape::Object | Shape::Array, Shape::Array) => {}
        }
        child
    }

    /// Whether a string in this place is copied without a look at it.
    pub(super) fn copies(&self) -> bool {
        let meaningless = match self.key {
            Key::Metadata | Key::Items | Key::Other => true,
            Key::Name | Key::Namespace | Key::Uid => !self.is_metadata,
            Key::Kind | Key::ApiVersion | Key::Data | Key::StringData | Key::LastApplied => false,
        };
        self.region.is_none() && meaningless
    }

    pub(super) fn standing(&self, hint: Hint) -> Standing {
        if hint == Hint::Secrets {
            return Standing::Secret;
        }
        match (self.settled, self.kind, self.core) {
            (Some(true), _, _) | (None, Some(true), Some(true)) => Standing::Secret,
            (Some(false), _, _) | (None, Some(false), _) | (None, _, Some(false)) => Standing::Other,
            (None, None, None) if self.named => Standing::Other,
            (None, _, _) => Standing::Open,
        }
    }

    /// At the end of the object, when no more can come.
    pub(super) fn says_secret(&self) -> bool {
        self.kind == Some(true) && self.core != Some(false)
    }

    /// So far, what it says of itself is what a Secret would say.
    pub(super) fn fits_secret(&self) -> bool {
        self.kind == Some(true) || self.core == Some(true)
    }

    /// As `Rewriter::region`, for the current member of this, which is `depth` deep.
    pub(super) fn member(&self, depth: usize, hint: Hint) -> (Option<Form>, u128) {
        let certain = self.region.is_some() && self.owners == 0;
        let form = self.key.form().filter(|_| !certain && self.shape == Shape::Object);
        let Some(form) = form else {
            return (self.region, self.owners);
        };
        match self.standing(hint) {
            Standing::Secret => (Some(form), 0),
            Standing::Open | Standing::Other if self.listed => (Some(form), 0),
            standing => {
                let own = if standing == Standing::Open { bit(depth) } else { 0 };
                let owners = self.owners | self.lists | own;
                ((owners != 0).then_some(form), owners)
            }
        }
    }

    /// `kind` or `apiVersion` was read. Of several the one that makes it a Secret counts.
    pub(super) fn note(&mut self, text: &[u8], depth: usize) {
        let text = String::from_utf8_lossy(text);
        if self.key == Key::Kind {
            self.kind = Some(self.kind == Some(true) || is_secret_kind(&text));
            let list = text.ends_with("List") && text != "List" && !is_secret_kind(&text);
            self.names_items = depth == 0 && list;
        } else {
            self.core = Some(self.core == Some(true) || is_core(&text));
        }
    }

    /// It is known now whether the object at this depth is a Secret.
    pub(super) fn resolve(&mut self, depth: usize, secret: bool) {
        if self.owners & bit(depth) != 0 {
            self.owners = if secret { 0 } else { self.owners & !bit(depth) };
            if !secret && self.owners == 0 {
                self.region = None;
            }
        }
        if self.lists & bit(depth) != 0 {
            self.lists &= !bit(depth);
            self.listed |= secret;
        }
    }
}
