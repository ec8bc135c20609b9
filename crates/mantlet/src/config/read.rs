//! From a tree to a written form, with every fault that stands in it, not only the first.
//!
//! serde stops at the first fault. So the tree is read again and again: each fault is written down, mended in a copy (an
//! unknown field is taken out, a missing or wrong one stands in as [`Value::Mended`], which is whatever is asked for), and
//! reading starts over. What was mended never leaves: with one fault there is no value.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, Visitor};

use super::fault::{Fault, Place};
use super::tree::{Document, Entry, Node, Value};

/// More faults than this are not a file with faults but the wrong file.
const MOST_FAULTS: usize = 64;

pub(crate) fn read<T: DeserializeOwned>(document: &Document) -> Result<T, Vec<Fault>> {
    let mut root = document.root.clone();
    let mut found = Vec::new();
    take_out_duplicates(&mut root, &mut found);
    while found.len() < MOST_FAULTS {
        match T::deserialize(Reader { node: &root }) {
            Ok(value) if found.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(trouble) => {
                let known = root.at(&trouble.path).is_some_and(|n| matches!(n.value, Value::Mended));
                if !known {
                    found.push(trouble.describe(&root));
                }
                if !root.mend(&trouble, known) {
                    break;
                }
            }
        }
    }
    let fault = |(place, message, hint)| Fault {
        file: document.file.clone(),
        place: Some(place),
        message,
        hint,
    };
    let mut faults: Vec<_> = found.into_iter().map(fault).collect();
    faults.sort_by_key(|f| f.place);
    Err(faults)
}

type Found = (Place, String, Option<String>);

fn take_out_duplicates(node: &mut Node, found: &mut Vec<Found>) {
    match &mut node.value {
        Value::Map(entries) => {
            let mut seen = BTreeSet::new();
            entries.retain(|entry| {
                let new = seen.insert(entry.key.clone());
                if !new {
                    found.push((
                        entry.key_place,
                        format!("`{}` stands here a second time", entry.key),
                        None,
                    ));
                }
                new
            });
            entries.iter_mut().for_each(|e| take_out_duplicates(&mut e.node, found));
        }
        Value::List(items) => items.iter_mut().for_each(|item| take_out_duplicates(item, found)),
        _ => {}
    }
}

/// A fault as serde tells it, and the way to it: positions in lists and maps, the innermost first.
#[derive(Debug)]
struct Trouble {
    what: What,
    path: Vec<usize>,
}

#[derive(Debug)]
enum What {
    UnknownField { field: String, known: Vec<&'static str> },
    MissingField(&'static str),
    UnknownWord { word: String, known: Vec<&'static str> },
    WrongType { found: String, expected: String },
    Other(String),
}

impl Trouble {
    fn new(what: What) -> Self {
        Self { what, path: Vec::new() }
    }

    fn below(mut self, step: usize) -> Self {
        self.path.push(step);
        self
    }

    fn describe(&self, root: &Node) -> Found {
        let (place, key_place) = root.places(&self.path);
        let (message, hint) = match &self.what {
            What::UnknownField { field, known } => (
                format!("unknown field `{field}`{}", expected(known)),
                nearest(field, known),
            ),
            What::MissingField(field) => (format!("missing field `{field}`"), Some(format!("add `{field}: …`"))),
            What::UnknownWord { word, known } => (format!("unknown `{word}`{}", expected(known)), nearest(word, known)),
            What::WrongType { found, expected } => {
                (format!("expected {expected}, found {found}"), quoted(found, expected))
            }
            What::Other(message) => (message.clone(), None),
        };
        match self.what {
            What::UnknownField { .. } => (key_place, message, hint),
            _ => (place, message, hint),
        }
    }
}

impl Node {
    fn at(&self, path: &[usize]) -> Option<&Node> {
        path.iter().rev().try_fold(self, |node, step| match &node.value {
            Value::List(items) => items.get(*step),
            Value::Map(entries) => entries.get(*step).map(|e| &e.node),
            _ => None,
        })
    }

    fn at_mut(&mut self, path: &[usize]) -> Option<&mut Node> {
        path.iter().rev().try_fold(self, |node, step| match &mut node.value {
            Value::List(items) => items.get_mut(*step),
            Value::Map(entries) => entries.get_mut(*step).map(|e| &mut e.node),
            _ => None,
        })
    }

    /// Of the value, and of the key before it (the value's own if there is none).
    fn places(&self, path: &[usize]) -> (Place, Place) {
        let place = self.at(path).map_or(self.place, |n| n.place);
        let Some((step, above)) = path.split_first() else {
            return (place, place);
        };
        match self.at(above).map(|n| &n.value) {
            Some(Value::Map(entries)) => (place, entries.get(*step).map_or(place, |e| e.key_place)),
            _ => (place, place),
        }
    }

    /// False if there is nothing left to mend. `again` is a fault in what was mended before: then it goes altogether.
    fn mend(&mut self, trouble: &Trouble, again: bool) -> bool {
        match &trouble.what {
            What::UnknownField { .. } => self.take_out(&trouble.path),
            What::MissingField(field) if !again => {
                let Some(Node {
                    value: Value::Map(entries),
                    place,
                }) = self.at_mut(&trouble.path)
                else {
                    return false;
                };
                let node = Node {
                    place: *place,
                    value: Value::Mended,
                };
                entries.push(Entry {
                    key: (*field).to_owned(),
                    key_place: *place,
                    node,
                });
                true
            }
            _ if again => self.take_out_optional(&trouble.path),
            _ => self
                .at_mut(&trouble.path)
                .map(|node| node.value = Value::Mended)
                .is_some(),
        }
    }

    fn take_out(&mut self, path: &[usize]) -> bool {
        let Some((step, above)) = path.split_first() else {
            return false;
        };
        match self.at_mut(above).map(|n| &mut n.value) {
            Some(Value::Map(entries)) if *step < entries.len() => drop(entries.remove(*step)),
            Some(Value::List(items)) if *step < items.len() => drop(items.remove(*step)),
            _ => return false,
        }
        true
    }

    /// What stands in for a missing field shares the place of its map; it is needed, so taking it out leads nowhere.
    fn take_out_optional(&mut self, path: &[usize]) -> bool {
        let (place, key_place) = self.places(path);
        let above = path
            .split_first()
            .and_then(|(_, above)| self.at(above))
            .map(|n| n.place);
        !(Some(place) == above && Some(key_place) == above) && self.take_out(path)
    }
}

fn expected(known: &[&str]) -> String {
    match known {
        [] => String::from(", nothing may stand here"),
        [one] => format!(", expected `{one}`"),
        many => format!(
            ", expected one of {}",
            many.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn nearest(written: &str, known: &[&str]) -> Option<String> {
    let near = known
        .iter()
        .map(|k| (distance(&written.to_lowercase(), &k.to_lowercase()), k))
        .min()?;
    (near.0 <= 1 + written.chars().count() / 4).then(|| format!("write `{}`", near.1))
}

/// Levenshtein: insertions, deletions and replacements of one character.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn quoted(found: &str, expected: &str) -> Option<String> {
    let scalar = found.split_once('`').map(|(_, rest)| rest.trim_end_matches('`'))?;
    (expected == "a text").then(|| format!("write \"{scalar}\" in quotes"))
}

/// serde's words for what it wants, without the names of our types.
fn plain(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a string" | "string" | "a borrowed string" => "a text".into(),
        "a boolean" => "`true` or `false`".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        "unit" => "nothing".into(),
        _ if text.starts_with("struct ") => "a mapping".into(),
        _ if text.starts_with("enum ") || text.contains("identifier") => "a word".into(),
        _ if ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "usize"].contains(&text.as_str()) => {
            "a whole number".into()
        }
        _ => text,
    }
}

fn plainly(found: &de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Bool(v) => format!("`{v}`"),
        de::Unexpected::Unsigned(v) => format!("the number `{v}`"),
        de::Unexpected::Signed(v) => format!("the number `{v}`"),
        de::Unexpected::Float(v) => format!("the number `{v}`"),
        de::Unexpected::Str(v) => format!("the text `{v}`"),
        de::Unexpected::Unit | de::Unexpected::Option => "nothing".into(),
        de::Unexpected::Seq => "a list".into(),
        de::Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Trouble {}

impl de::Error for Trouble {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Other(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(What::WrongType {
            found: plainly(&found),
            expected: plain(expected),
        })
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownWord {
            word: word.to_owned(),
            known: known.to_vec(),
        })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownField {
            field: field.to_owned(),
            known: known.to_vec(),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::MissingField(field))
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
}

impl<'a> Reader<'a> {
    fn is_mended(&self) -> bool {
        matches!(self.node.value, Value::Mended)
    }
}

/// For a value of one shape: what was mended is the simplest one, everything else is as it stands.
macro_rules! simplest {
    ($($method:ident => $visit:ident($value:expr),)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
            if self.is_mended() { visitor.$visit($value) } else { self.deserialize_any(visitor) }
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Trouble;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match &self.node.value {
            Value::Null | Value::Mended => visitor.visit_unit(),
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Whole(v) => visitor.visit_i64(*v),
            Value::Large(v) => visitor.visit_u64(*v),
            Value::Number(v) => visitor.visit_f64(*v),
            Value::Text(v) => visitor.visit_str(v),
            Value::List(items) => visitor.visit_seq(Items { items, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries {
                entries,
                next: 0,
                empty_is_absent: &[],
            }),
        }
    }

    simplest! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_i64(0), deserialize_i16 => visit_i64(0),
        deserialize_i32 => visit_i64(0), deserialize_i64 => visit_i64(0),
        deserialize_u8 => visit_i64(0), deserialize_u16 => visit_i64(0),
        deserialize_u32 => visit_i64(0), deserialize_u64 => visit_i64(0),
        deserialize_f32 => visit_i64(0), deserialize_f64 => visit_i64(0),
        deserialize_char => visit_char('a'),
        deserialize_str => visit_str(""), deserialize_string => visit_str(""), deserialize_identifier => visit_str(""),
        deserialize_bytes => visit_bytes(&[]), deserialize_byte_buf => visit_bytes(&[]),
        deserialize_seq => visit_seq(Items { items: &[], next: 0 }),
        deserialize_map => visit_map(Entries { entries: &[], next: 0, empty_is_absent: &[] }),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match self.node.value {
            Value::Null | Value::Mended => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Trouble> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Trouble> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        self.deserialize_any(visitor)
    }

    // A field of a struct that is written but empty (`policies:`) counts as not written, as JSON null does in Kubernetes.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        match &self.node.value {
            Value::Map(entries) => visitor.visit_map(Entries {
                entries,
                next: 0,
                empty_is_absent: fields,
            }),
            Value::Mended => visitor.visit_map(AllMended {
                fields,
                node: self.node,
            }),
            // serde would take a list for the fields in their order, and complain in the words of Rust.
            Value::List(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &"a mapping")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        match (&self.node.value, variants.first()) {
            (Value::Text(word), _) => visitor.visit_enum(word.as_str().into_deserializer()),
            (Value::Mended, Some(first)) => visitor.visit_enum((*first).into_deserializer()),
            (Value::Map(entries), _) if entries.len() == 1 => visitor.visit_enum(OneOf { entry: &entries[0] }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Trouble;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Trouble> {
        let at = self.next;
        let Some(node) = self.items.get(at) else {
            return Ok(None);
        };
        self.next += 1;
        seed.deserialize(Reader { node }).map(Some).map_err(|t| t.below(at))
    }
}

/// `next` is the entry whose key is read next, and one more while its value is due. An entry that holds nothing is passed
/// over only under a key that the struct knows: an unknown field is one whatever it holds.
struct Entries<'a> {
    entries: &'a [Entry],
    next: usize,
    empty_is_absent: &'static [&'static str],
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Trouble;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Trouble> {
        while let Some(entry) = self.entries.get(self.next) {
            let at = self.next;
            self.next += 1;
            if matches!(entry.node.value, Value::Null) && self.empty_is_absent.contains(&entry.key.as_str()) {
                continue;
            }
            return seed.deserialize(word(&entry.key)).map(Some).map_err(|t| t.below(at));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Trouble> {
        let at = self.next - 1;
        seed.deserialize(Reader {
            node: &self.entries[at].node,
        })
        .map_err(|t| t.below(at))
    }
}

fn word(key: &str) -> de::value::StrDeserializer<'_, Trouble> {
    key.into_deserializer()
}

/// A struct that stands in for what could not be read: each of its fields is the simplest one.
struct AllMended<'a> {
    fields: &'static [&'static str],
    node: &'a Node,
}

impl<'de> de::MapAccess<'de> for AllMended<'_> {
    type Error = Trouble;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Trouble> {
        let Some((first, rest)) = self.fields.split_first() else {
            return Ok(None);
        };
        self.fields = rest;
        seed.deserialize(word(first)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Trouble> {
        seed.deserialize(Reader { node: self.node })
    }
}

/// A variant that holds something: a mapping with the variant as its one key.
struct OneOf<'a> {
    entry: &'a Entry,
}

impl<'de, 'a> EnumAccess<'de> for OneOf<'a> {
    type Error = Trouble;
    type Variant = Held<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Held<'a>), Trouble> {
        Ok((seed.deserialize(word(&self.entry.key))?, Held(&self.entry.node)))
    }
}

struct Held<'a>(&'a Node);

impl<'de> de::VariantAccess<'de> for Held<'_> {
    type Error = Trouble;

    fn unit_variant(self) -> Result<(), Trouble> {
        Err(de::Error::custom("expected a word, found a mapping"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Trouble> {
        seed.deserialize(Reader { node: self.0 }).map_err(|t| t.below(0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Trouble> {
        Reader { node: self.0 }
            .deserialize_tuple(len, visitor)
            .map_err(|t| t.below(0))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Trouble> {
        Reader { node: self.0 }
            .deserialize_struct("", fields, visitor)
            .map_err(|t| t.below(0))
    }
}
