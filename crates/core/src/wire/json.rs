//! Strict JSON.
//!
//! In: the bytes of a body. Out: a tree that every reader would build from them.
//! Refuses: what two parsers could read differently. The API server (sigs.k8s.io/json) merges duplicate struct fields
//! where serde_json keeps the last, and finds `apiVersion` and `kind` without regard to case (encoding/json) where
//! everything else is read with it; it replaces bad UTF-8 and lone surrogates; it rounds long integers.
//! Deliberately not: the shape of any kind. Unknown fields are the server's to refuse.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{BodyFault, Path};

/// Deeper than any object of Kubernetes; CRD schemas come nearest.
pub const DEPTH_MAX: usize = 100;

/// Parses a whole request body.
///
/// Refused: duplicate keys at any depth, keys that are `apiVersion` or `kind` but for their case beside the real one at
/// any depth, any case variant of the fields in [`TOP_LEVEL`] at the top, keys that differ only in case at the top level
/// and directly in `metadata` and `spec` (deeper they are data: a `ConfigMap` may hold `HTTP_PROXY` and `http_proxy`),
/// keys that serde_json keeps for itself, trailing data, byte order marks, NaN, more than [`DEPTH_MAX`] levels, lone surrogates, invalid UTF-8, and numbers that
/// would not survive: integers that fit neither 64-bit type, `-0`, and what overflows a double.
pub fn parse(bytes: &[u8]) -> Result<Value, BodyFault> {
    parse_inner(bytes, "JSON", &Path::Root, Level::Top)
}

/// Parses what [`super::yaml`] made of a body; a fault speaks of YAML, which is what was sent.
pub(super) fn parse_of_yaml(text: &str) -> Result<Value, BodyFault> {
    parse_inner(text.as_bytes(), "YAML", &Path::Root, Level::Top)
}

/// Parses JSON that stands inside a field of another body (`RawExtension`).
pub(crate) fn parse_embedded(bytes: &[u8], at: &Path<'_>) -> Result<Value, BodyFault> {
    parse_inner(bytes, "JSON", at, Level::Deep)
}

fn parse_inner(bytes: &[u8], language: &'static str, at: &Path<'_>, level: Level) -> Result<Value, BodyFault> {
    let told = RefCell::new(None);
    let node = Node {
        language,
        path: at,
        depth: 0,
        level,
        told: &told,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = node
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    let value = parsed.map_err(|fault| BodyFault::bad(told.take().unwrap_or_else(|| unreadable(&fault, at))))?;
    numbers(bytes, at)?;
    Ok(value)
}

// The text of serde_json names what it expected and where; it quotes no value for syntax errors.
fn unreadable(fault: &serde_json::Error, at: &Path<'_>) -> String {
    format!("the JSON body{} cannot be read: {fault}", at.at())
}

pub(super) const RESERVED: &str =
    "has a key that begins with `$serde_json::private::`, which stands for something else where it is read again";

/// serde_json takes an object whose first key is one of these for the value written in it, not for an object. Whatever reads
/// a record of it again would see another object, or none.
pub(super) fn is_reserved(key: &str) -> bool {
    key.starts_with("$serde_json::private::")
}

/// Fields of objects that readers look at before they know the kind; at the top level no case variant of them is accepted.
pub const TOP_LEVEL: [&str; 7] = ["apiVersion", "kind", "metadata", "spec", "status", "data", "stringData"];

/// How keys that differ only in case are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    /// `metadata` and `spec` of the top level.
    Second,
    Deep,
}

impl Level {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Level::Top, "metadata" | "spec") => Level::Second,
            (Level::Top | Level::Second | Level::Deep, _) => Level::Deep,
        }
    }
}

/// The keys of an object so far, lower case to as written: a look through all of them for each would be for ever.
type Folded = HashMap<String, String>;

#[derive(Clone, Copy)]
struct Node<'a> {
    /// What the caller sent: JSON or YAML.
    language: &'static str,
    path: &'a Path<'a>,
    depth: usize,
    level: Level,
    /// What to tell the caller, where this file found the fault and not serde_json.
    told: &'a RefCell<Option<String>>,
}

impl Node<'_> {
    fn refuse<E: serde::de::Error>(&self, what: impl fmt::Display) -> E {
        *self.told.borrow_mut() = Some(format!("the {} body{} {what}", self.language, self.path.at()));
        E::custom("refused")
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth >= DEPTH_MAX {
            return Err(self.refuse(format_args!("is nested more than {DEPTH_MAX} levels deep")));
        }
        Ok(self.depth + 1)
    }

    fn admit_key<E: serde::de::Error>(
        &self,
        map: &Map<String, Value>,
        folded: &mut Folded,
        key: &str,
    ) -> Result<(), E> {
        if is_reserved(key) {
            return Err(self.refuse(RESERVED));
        }
        if map.contains_key(key) {
            let key = Path::Field(self.path, key);
            return Err(self.refuse(format_args!(
                "has `{key}` twice; readers would disagree on which counts"
            )));
        }
        if let Some(other) = self.case_variant(map, folded, key) {
            let key = Path::Field(self.path, key);
            return Err(self.refuse(format_args!("has `{key}`, which differs from `{other}` only in case")));
        }
        if self.level != Level::Deep {
            folded.insert(key.to_ascii_lowercase(), key.to_owned());
        }
        Ok(())
    }

    fn case_variant<'m>(&self, map: &'m Map<String, Value>, folded: &'m Folded, key: &str) -> Option<&'m str> {
        let same = |other: &str| other != key && other.eq_ignore_ascii_case(key);
        let known = TOP_LEVEL.into_iter().find(|known| same(known));
        let sniffed = same("apiVersion") || same("kind") || key == "apiVersion" || key == "kind";
        match self.level {
            Level::Top if known.is_some() => known,
            Level::Top | Level::Second => folded.get(&key.to_ascii_lowercase()).map(String::as_str),
            // Once in an object: of a second variant the first is found.
            Level::Deep if sniffed => map.keys().map(String::as_str).find(|other| same(other)),
            Level::Deep => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        loop {
            let path = Path::Item(self.path, list.len());
            let node = Node {
                path: &path,
                depth,
                level: Level::Deep,
                ..self
            };
            match items.next_element_seed(node)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let (mut map, mut folded) = (Map::new(), Folded::new());
        while let Some(key) = members.next_key::<String>()? {
            self.admit_key(&map, &mut folded, &key)?;
            let path = Path::Field(self.path, &key);
            let node = Node {
                path: &path,
                depth,
                level: self.level.below(&key),
                ..self
            };
            let value = members.next_value_seed(node)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Refuses numbers that the tree does not hold exactly. `bytes` is known to be valid JSON.
fn numbers(bytes: &[u8], at: &Path<'_>) -> Result<(), BodyFault> {
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|b| matches!(b, b'"' | b'-' | b'0'..=b'9')) {
        let token = &rest[start..];
        let len = if token[0] == b'"' {
            string_len(token)
        } else {
            number_len(token)
        };
        if token[0] != b'"' && !survives(&token[..len]) {
            return Err(BodyFault::bad(format!(
                "the JSON body{} has an integer that fits neither a signed nor an unsigned 64-bit number; \
                 write it as a string or a decimal fraction",
                at.at()
            )));
        }
        rest = &token[len..];
    }
    Ok(())
}

fn string_len(token: &[u8]) -> usize {
    let mut at = 1;
    while let Some(step) = memchr::memchr2(b'"', b'\\', token.get(at..).unwrap_or_default()) {
        if token[at + step] == b'"' {
            return at + step + 1;
        }
        at += step + 2;
    }
    token.len()
}

fn number_len(token: &[u8]) -> usize {
    token
        .iter()
        .take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        .count()
}

fn survives(number: &[u8]) -> bool {
    if number.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(number) else {
        return false;
    };
    text != "-0" && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).reason
    }

    #[test]
    fn plain_objects_are_read_as_they_are() {
        let text = r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"HTTP_PROXY":"a","http_proxy":"b"},"n":[1,-1,1.5,18446744073709551615,null,true,"\u00e9"]}"#;
        assert_eq!(
            parse(text.as_bytes()).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        let said = refused(r#"{"spec":{"hostPID":true},"spec":{"serviceAccountName":"x"}}"#);
        assert_eq!(
            said,
            "the JSON body has `spec` twice; readers would disagree on which counts"
        );
        assert!(refused(r#"{"a":[{"b":{"c":1,"c":1}}]}"#).contains("`a[0].b.c` twice"));
        assert!(refused(r#"{"a":1,"\u0061":1}"#).contains("`a` twice"));
    }

    /// Found by fuzzing: written to the journal as it is, it would be read from there as what its text says, or as damage.
    #[test]
    fn keys_that_the_library_takes_for_its_own_are_refused() {
        let text = r#"{"data":{"$serde_json::private::RawValue":"{\"a\":1}"}}"#;
        assert_ne!(
            serde_json::from_str::<Value>(text).unwrap().to_string(),
            text,
            "the library reads it as it is: this check can go"
        );
        assert!(refused(text).contains("the JSON body at data has a key"));
        assert!(refused(r#"{"$serde_json::private::Number":"1"}"#).contains("stands for something else"));
    }

    #[test]
    fn case_variants_that_could_be_sniffed_are_refused() {
        for text in [
            r#"{"KIND":"Secret"}"#,
            r#"{"kind":"Pod","KIND":"Secret"}"#,
            r#"{"ApiVersion":"v1"}"#,
            r#"{"Spec":{}}"#,
            r#"{"Metadata":{}}"#,
            r#"{"foo":1,"Foo":1}"#,
            r#"{"spec":{"hostPID":false,"HostPID":true}}"#,
            r#"{"metadata":{"name":"a","Name":"b"}}"#,
            r#"{"items":[{"kind":"Pod","Kind":"Secret"}]}"#,
        ] {
            assert!(refused(text).contains("only in case"), "{text}");
        }
    }

    #[test]
    fn what_other_parsers_repair_is_refused() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(100).as_bytes()).is_ok());
        for text in [
            "",
            " ",
            "{} {}",
            "{}x",
            "\u{feff}{}",
            "NaN",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{'a':1}",
            "{\"a\":1,}",
            "[1,]",
            "// x\n{}",
            r#""\ud800""#,
            r#"{"\udc00":1}"#,
            r#""\ud800\u0041""#,
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":1e999}",
            "\"\u{0}\"",
            "{\"a\":-0}",
            "{\"a\":123456789012345678901234567890}",
            "{\"a\":18446744073709551616}",
            "{\"a\":-9223372036854775809}",
            &deep(101),
            &deep(200),
            &deep(100_000),
        ] {
            refused(text);
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse(b"{\"\xc0\xaf\":1}").is_err());
    }

    #[test]
    fn digits_inside_strings_are_no_numbers() {
        assert!(parse(br#"{"a":"\\\" 123456789012345678901234567890 -0","b":[1]}"#).is_ok());
    }

    #[test]
    fn faults_do_not_quote_values() {
        for text in [
            r#"{"data":{"p":"hunter2"},"data":{"p":"hunter2"}}"#,
            r#"{"p":"hunter2" "hunter3"}"#,
            r#"{"p":hunter2}"#,
        ] {
            assert!(!refused(text).contains("hunter"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_accepted_equals_what_serde_reads(text in r#"[\{\}\[\]":,ab1\-\\u0dn ]{0,24}"#) {
            if let Ok(value) = parse(text.as_bytes()) {
                proptest::prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    }
}
