//! Kubernetes protobuf, read into the JSON that the API server would accept for the same object.
//!
//! In: the bytes of a body, `k8s\0` and `runtime.Unknown`. Out: a tree with `apiVersion` and `kind`.
//! Refuses: kinds and field numbers that the table does not know, wrong wire types, padded varints, repeated single
//! fields (a decoder merges or overwrites them), text that is not UTF-8, and whatever is cut short.
//! Deliberately not: writing protobuf. What was read goes upstream as JSON.
//!
//! The table in `data/protobuf.json` comes from the struct tags of the Go types (`cluster/cmd/schema` prints it); the
//! `.proto` files do not say what JSON inlines.

use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::json::{self, DEPTH_MAX};
use super::{BodyFault, Path};
use special::Special;

mod kinds;
mod special;
mod varint;

pub(crate) use kinds::{shape_of, shape_of_kind};

use varint::{Field, Raw, Reader};

/// How every body begins (apimachinery pkg/runtime/serializer/protobuf).
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Decodes a whole request body.
pub fn decode(bytes: &[u8]) -> Result<Value, BodyFault> {
    let inner = bytes
        .strip_prefix(&MAGIC)
        .ok_or_else(|| BodyFault::bad("the protobuf body does not begin with `k8s\\0`"))?;
    let envelope = Envelope::read(inner)?;
    let table = table()?;
    let name = format!("{}/{}", envelope.api_version, envelope.kind);
    let message = table
        .kinds
        .get(&name)
        .and_then(|message| table.messages.get(message))
        .ok_or_else(|| unknown_kind(&name))?;
    let place = Place {
        table,
        kind: &envelope.kind,
        depth: 0,
        path: Path::Root,
    };
    let mut object = place.message(message, envelope.raw)?;
    object.insert("apiVersion".into(), envelope.api_version.into());
    object.insert("kind".into(), envelope.kind.as_str().into());
    Ok(Value::Object(object))
}

fn unknown_kind(name: &str) -> BodyFault {
    let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    BodyFault::unsupported(format!(
        "protobuf of `{name}` is not known to this gateway; send it as JSON (Content-Type: application/json)"
    ))
}

#[derive(Deserialize)]
struct Table {
    /// `apps/v1/Deployment` to the name of its message.
    kinds: HashMap<String, String>,
    messages: HashMap<String, Message>,
    /// `apps/v1/deployments` to its kind.
    #[serde(skip)]
    resources: HashMap<String, String>,
}

impl Table {
    fn read(text: &str) -> Option<Self> {
        let mut table: Table = serde_json::from_str(text).ok()?;
        let kinds = table.kinds.keys().filter_map(|name| name.rsplit_once('/'));
        table.resources = kinds
            .map(|(version, kind)| (format!("{version}/{}", plural(kind)), kind.to_owned()))
            .collect();
        Some(table)
    }
}

/// The resource of a kind of Kubernetes itself (apimachinery pkg/api/meta/restmapper.go, UnsafeGuessKindToResource).
fn plural(kind: &str) -> String {
    let singular = kind.to_ascii_lowercase();
    match (singular.strip_suffix('y'), singular.ends_with('s')) {
        (_, true) if singular.ends_with("endpoints") => singular,
        (_, true) => format!("{singular}es"),
        (Some(stem), false) => format!("{stem}ies"),
        (None, false) => format!("{singular}s"),
    }
}

/// The kind of the objects of a resource of Kubernetes itself; none of what is served by others.
pub(crate) fn kind_of(group: &str, version: &str, resource: &str) -> Option<&'static str> {
    let version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let table = table().ok()?;
    table
        .resources
        .get(&format!("{version}/{resource}"))
        .map(String::as_str)
}

type Message = HashMap<u32, Entry>;

#[derive(Deserialize)]
struct Entry {
    /// Empty where the message is inlined into its parent.
    json: String,
    kind: Kind,
    #[serde(default, rename = "type")]
    of: String,
    #[serde(default)]
    shape: Shape,
    #[serde(default)]
    omit: bool,
    /// Absent is not zero.
    #[serde(default)]
    ptr: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Bytes,
    Bool,
    Int32,
    Int64,
    Float64,
    Message,
    /// A message of one repeated string, in JSON a plain list (`Verbs`, the `ExtraValue`s).
    Items,
    /// Writes its own JSON.
    Special,
}

#[derive(Deserialize, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Shape {
    #[default]
    One,
    List,
    Map,
}

fn table() -> Result<&'static Table, BodyFault> {
    static TABLE: OnceLock<Option<Table>> = OnceLock::new();
    let table = TABLE.get_or_init(|| Table::read(include_str!("../../data/protobuf.json")));
    table.as_ref().ok_or_else(|| {
        BodyFault::unsupported("this gateway cannot read protobuf; send JSON (Content-Type: application/json)")
    })
}

/// `runtime.Unknown{1: TypeMeta{1: apiVersion, 2: kind}, 2: raw, 3: contentEncoding, 4: contentType}`.
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, BodyFault> {
        let [mut meta, mut raw, mut encoding, mut content_type] = [None; 4];
        for field in Reader::new(bytes) {
            let Field { number, raw: value } = field.map_err(|what| envelope_fault(&what))?;
            let slot = match number {
                1 => &mut meta,
                2 => &mut raw,
                3 => &mut encoding,
                4 => &mut content_type,
                _ => return Err(envelope_fault(&format!("has an unknown field {number}"))),
            };
            once(slot, value)?;
        }
        let plain = |text: Option<&[u8]>, known: &[u8]| text.is_none_or(|text| text.is_empty() || text == known);
        if !plain(encoding, b"") || !plain(content_type, b"application/vnd.kubernetes.protobuf") {
            return Err(envelope_fault("names another encoding inside"));
        }
        let [mut api_version, mut kind] = [None; 2];
        for field in Reader::new(meta.unwrap_or_default()) {
            let Field { number, raw: value } = field.map_err(|what| envelope_fault(&what))?;
            match number {
                1 => once(&mut api_version, value)?,
                2 => once(&mut kind, value)?,
                _ => return Err(envelope_fault(&format!("has an unknown field {number} in its type"))),
            }
        }
        Ok(Self {
            api_version: named(api_version)?,
            kind: named(kind)?,
            raw: raw.unwrap_or_default(),
        })
    }
}

fn once<'a>(slot: &mut Option<&'a [u8]>, value: Raw<'a>) -> Result<(), BodyFault> {
    let bytes = value
        .bytes()
        .ok_or_else(|| envelope_fault("has a field of the wrong wire type"))?;
    match slot.replace(bytes) {
        None => Ok(()),
        Some(_) => Err(envelope_fault("has a field twice")),
    }
}

fn named(bytes: Option<&[u8]>) -> Result<String, BodyFault> {
    let text = bytes
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| envelope_fault("does not say its apiVersion and kind"))
}

fn envelope_fault(what: &str) -> BodyFault {
    BodyFault::bad(format!(
        "the protobuf envelope {what}; send JSON (Content-Type: application/json) if in doubt"
    ))
}

/// Where a message stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a Table,
    kind: &'a str,
    depth: usize,
    path: Path<'a>,
}

impl<'a> Place<'a> {
    fn fault(&self, what: impl std::fmt::Display) -> BodyFault {
        BodyFault::bad(format!("the protobuf {}{} {what}", self.kind, self.path.at()))
    }

    fn deeper(&self) -> Result<Place<'a>, BodyFault> {
        match self.depth {
            DEPTH_MAX => Err(self.fault(format_args!("is nested more than {DEPTH_MAX} levels deep"))),
            depth => Ok(Place {
                depth: depth + 1,
                ..*self
            }),
        }
    }

    fn named(&self, of: &str) -> Result<&'a Message, BodyFault> {
        self.table
            .messages
            .get(of)
            .ok_or_else(|| self.fault("has a type that is not in the field table; send JSON"))
    }

    fn message(&self, message: &Message, bytes: &[u8]) -> Result<Map<String, Value>, BodyFault> {
        let mut out = Map::new();
        let mut seen = Vec::new();
        for field in Reader::new(bytes) {
            let Field { number, raw } = field.map_err(|what| self.fault(what))?;
            let entry = message.get(&number).ok_or_else(|| self.unknown_field(number))?;
            if entry.shape == Shape::One {
                if seen.contains(&number) {
                    return Err(self.fault(format_args!("has field {number} (`{}`) twice", entry.json)));
                }
                seen.push(number);
            }
            self.field(entry, raw, &mut out)?;
        }
        Ok(out)
    }

    fn unknown_field(&self, number: u32) -> BodyFault {
        self.fault(format_args!(
            "has field number {number}, which this gateway does not know and therefore cannot judge; \
             send it as JSON (Content-Type: application/json), or use a gateway built for this Kubernetes version"
        ))
    }

    fn field(&self, entry: &Entry, raw: Raw<'_>, out: &mut Map<String, Value>) -> Result<(), BodyFault> {
        if entry.json.is_empty() {
            return self.inlined(entry, raw, out);
        }
        let path = Path::Field(&self.path, &entry.json);
        let place = Place { path, ..*self };
        match entry.shape {
            Shape::One => {
                let value = place.value(entry, raw)?;
                let left_out = value.is_null() || (entry.omit && !entry.ptr && is_zero(&value));
                if !left_out && out.insert(entry.json.clone(), value).is_some() {
                    return Err(place.fault("is given twice"));
                }
                Ok(())
            }
            Shape::List => match out.entry(&entry.json).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(items) => {
                    let path = Path::Item(&place.path, items.len());
                    items.push(Place { path, ..place }.value(entry, raw)?);
                    Ok(())
                }
                _ => Err(place.fault("is given twice")),
            },
            Shape::Map => match out.entry(&entry.json).or_insert_with(|| Value::Object(Map::new())) {
                Value::Object(map) => place.map_entry(entry, raw, map),
                _ => Err(place.fault("is given twice")),
            },
        }
    }

    fn inlined(&self, entry: &Entry, raw: Raw<'_>, out: &mut Map<String, Value>) -> Result<(), BodyFault> {
        for (key, value) in self.deeper()?.message(self.named(&entry.of)?, self.bytes(raw)?)? {
            if out.contains_key(&key) {
                return Err(self.fault(format_args!("has `{key}` twice")));
            }
            out.insert(key, value);
        }
        Ok(())
    }

    /// A map on the wire is a list of `{1: key, 2: value}`; every map of Kubernetes has text for keys.
    fn map_entry(&self, entry: &Entry, raw: Raw<'_>, map: &mut Map<String, Value>) -> Result<(), BodyFault> {
        let [mut key, mut value] = [None, None];
        for field in Reader::new(self.bytes(raw)?) {
            let Field { number, raw } = field.map_err(|what| self.fault(what))?;
            let slot = match number {
                1 => &mut key,
                2 => &mut value,
                _ => return Err(self.unknown_field(number)),
            };
            if slot.replace(raw).is_some() {
                return Err(self.fault(format_args!("has field {number} of a map entry twice")));
            }
        }
        let key = self.text(key.unwrap_or(Raw::EMPTY))?.to_owned();
        if json::is_reserved(&key) {
            return Err(self.fault(json::RESERVED));
        }
        let path = Path::Field(&self.path, &key);
        let place = Place { path, ..*self };
        let value = match value {
            Some(raw) => place.value(entry, raw)?,
            None => place.value(entry, entry.kind.absent())?,
        };
        match map.contains_key(&key) {
            true => Err(place.fault("is given twice")),
            false => {
                map.insert(key, value);
                Ok(())
            }
        }
    }

    fn value(&self, entry: &Entry, raw: Raw<'_>) -> Result<Value, BodyFault> {
        Ok(match entry.kind {
            Kind::String => self.text(raw)?.into(),
            Kind::Bytes => STANDARD.encode(self.bytes(raw)?).into(),
            Kind::Bool => self.boolean(raw)?.into(),
            Kind::Int32 => self.int32(raw)?.into(),
            Kind::Int64 => self.int64(raw)?.into(),
            Kind::Float64 => self.float(raw)?,
            Kind::Message => Value::Object(self.deeper()?.message(self.named(&entry.of)?, self.bytes(raw)?)?),
            Kind::Items => self.items(1, self.bytes(raw)?)?,
            Kind::Special => self.special(Special::named(&entry.of), self.bytes(raw)?)?,
        })
    }

    fn items(&self, number: u32, bytes: &[u8]) -> Result<Value, BodyFault> {
        let mut items = Vec::new();
        for field in Reader::new(bytes) {
            let field = field.map_err(|what| self.fault(what))?;
            if field.number != number {
                return Err(self.unknown_field(field.number));
            }
            items.push(Value::from(self.text(field.raw)?));
        }
        Ok(Value::Array(items))
    }

    fn bytes<'b>(&self, raw: Raw<'b>) -> Result<&'b [u8], BodyFault> {
        raw.bytes().ok_or_else(|| self.wire_type())
    }

    fn text<'b>(&self, raw: Raw<'b>) -> Result<&'b str, BodyFault> {
        std::str::from_utf8(self.bytes(raw)?).map_err(|_| self.fault("is not UTF-8"))
    }

    fn int64(&self, raw: Raw<'_>) -> Result<i64, BodyFault> {
        // Protobuf writes negative numbers as their 64-bit two's complement, those of int32 as well.
        raw.varint().map(u64::cast_signed).ok_or_else(|| self.wire_type())
    }

    fn int32(&self, raw: Raw<'_>) -> Result<i32, BodyFault> {
        i32::try_from(self.int64(raw)?).map_err(|_| self.fault("does not fit 32 bits"))
    }

    fn boolean(&self, raw: Raw<'_>) -> Result<bool, BodyFault> {
        match raw.varint() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) => Err(self.fault("is neither true nor false")),
            None => Err(self.wire_type()),
        }
    }

    fn float(&self, raw: Raw<'_>) -> Result<Value, BodyFault> {
        let value = raw.fixed64().map(f64::from_bits).ok_or_else(|| self.wire_type())?;
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| self.fault("is not a finite number"))
    }

    fn wire_type(&self) -> BodyFault {
        self.fault("has the wrong wire type")
    }

    fn embedded(&self, bytes: &[u8]) -> Result<Value, BodyFault> {
        if bytes.starts_with(&MAGIC) {
            return Err(self.fault("holds another protobuf object; send JSON (Content-Type: application/json)"));
        }
        json::parse_embedded(bytes, &self.path)
    }
}

impl Kind {
    /// What stands for a value that is not on the wire.
    fn absent(self) -> Raw<'static> {
        match self {
            Kind::Bool | Kind::Int32 | Kind::Int64 => Raw::Varint(0),
            Kind::Float64 => Raw::Fixed64(0),
            Kind::String | Kind::Bytes | Kind::Message | Kind::Items | Kind::Special => Raw::EMPTY,
        }
    }
}

// What Go's `omitempty` leaves out. Structs it keeps, and so do we: `podSelector: {}` is what a JSON client would send.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests;
