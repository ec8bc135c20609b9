//! YAML as a tree in which every value and every key knows where it stands.
//!
//! In: the text of a file. Out: one [`Node`] for each document. Refuses: what is no YAML, merge keys, tags of an
//! application, aliases that grow past a budget. Keys that stand twice are kept, so that the reader can name all of them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options, Spanned};

use super::fault::{Fault, Place};

/// A configuration is written by people: what is larger is something else.
const LARGEST_FILE: u64 = 4 << 20;

/// One document and the file that it stands in.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) file: PathBuf,
    pub(crate) root: Node,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Whole(i64),
    Large(u64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Stands where a fault was found, so that reading can go on behind it. Never in a tree that was only parsed.
    Mended,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

/// Reads a file of one or more documents; empty ones are left out.
pub(crate) fn read_file(path: &Path) -> Result<Vec<Document>, Fault> {
    let size = std::fs::metadata(path)
        .map_err(|e| Fault::whole(path, format!("cannot be read: {e}")))?
        .len();
    if size > LARGEST_FILE {
        return Err(Fault::whole(
            path,
            format!("is {size} bytes long, at most {LARGEST_FILE} are read"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|e| Fault::whole(path, format!("cannot be read: {e}")))?;
    parse(path, &text)
}

pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Document>, Fault> {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    let documents = serde_saphyr::from_multiple_with_options::<Spanned<Raw>>(text, options).map_err(|e| {
        let place = e.location().map(|l| Place {
            line: l.line(),
            column: l.column(),
        });
        let message = e.without_snippet().to_string();
        Fault {
            file: path.to_owned(),
            place,
            message: format!("not valid YAML: {message}"),
            hint: None,
        }
    })?;
    let documents = documents.into_iter().map(|d| Document {
        file: path.to_owned(),
        root: node(d),
    });
    Ok(documents.filter(|d| !matches!(d.root.value, Value::Null)).collect())
}

impl Document {
    pub(crate) fn fault(&self, path: &str, message: impl Into<String>) -> Fault {
        let place = Some(self.root.place_of(path));
        let message = message.into();
        Fault {
            file: self.file.clone(),
            place,
            // The place alone does not say which field a sentence without a subject is about, least of all where the field is missing.
            message: match field(path) {
                Some(field) if message.starts_with("is ") => format!("`{field}` {message}"),
                Some(_) | None => message,
            },
            hint: None,
        }
    }

    /// The text at a key of the document itself, if it is one.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.root.entry(key)?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The last name in a path.
fn field(path: &str) -> Option<&str> {
    path.rsplit('.')
        .next()
        .and_then(|step| step.split('[').next())
        .filter(|name| !name.is_empty())
}

impl Node {
    /// Where `path` (`spec.match[0].expression`) stands, or as much of it as there is: a value that fits on its line
    /// itself, anything larger by its key.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        let mut at = self;
        let mut place = self.place;
        for step in path
            .split(['.', '['])
            .map(|s| s.trim_end_matches(']'))
            .filter(|s| !s.is_empty())
        {
            let (next, key_place) = match &at.value {
                Value::Map(_) => match at.entry(step) {
                    Some(entry) => (&entry.node, Some(entry.key_place)),
                    None => return place,
                },
                Value::List(items) => match step.parse::<usize>().ok().and_then(|n| items.get(n)) {
                    Some(item) => (item, None),
                    None => return place,
                },
                _ => return place,
            };
            place = match (&next.value, key_place) {
                (Value::Map(_) | Value::List(_) | Value::Null, Some(key_place)) => key_place,
                _ => next.place,
            };
            at = next;
        }
        place
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }
}

/// What the parser hands over; positions come with the [`Spanned`] around it.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>) -> Node {
    let place = Place {
        line: raw.referenced.line(),
        column: raw.referenced.column(),
    };
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::List(items) => Value::List(items.into_iter().map(node).collect()),
        Raw::Map(entries) => Value::Map(entries.into_iter().map(|(key, raw)| entry(key, raw)).collect()),
    };
    Node { place, value }
}

fn entry(key: Spanned<String>, raw: Spanned<Raw>) -> Entry {
    let key_place = Place {
        line: key.referenced.line(),
        column: key.referenced.column(),
    };
    Entry {
        key: key.value,
        key_place,
        node: node(raw),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Whole(v)))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(i64::try_from(v).map_or(Value::Large(v), Value::Whole)))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number(v)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(v.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
