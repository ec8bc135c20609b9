//! Masking of a document in hand.
//!
//! In: a JSON tree and the [`Hint`]. Out: [`Masked`]. Refuses nothing: what it is given is already a tree.
//! The rules are those of [`super::stream`], which a property test compares with this file.

use serde_json::{Map, Value};

use super::placeholder::{Form, Masker};
use super::{Hint, LAST_APPLIED, Masked};
use crate::wire::json;

/// The server refuses more annotation text than this on one object (ValidateAnnotationsSize: 256 KiB).
pub(super) const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Of a key no more than this enters the placeholder's MAC.
pub(super) const KEY_MAX: usize = 1024;
/// Of a name, namespace or uid no more than this enters the MAC.
pub(super) const WHO_MAX: usize = 256;

impl Masker {
    /// Takes the secrets out of an object, list, watch event or merge patch.
    pub fn value(&self, mut value: Value, hint: Hint) -> Masked<Value> {
        self.walk(
            &mut value,
            &Place {
                hint,
                listed: false,
                whose: &[],
            },
        );
        Masked(value)
    }

    /// Takes the secrets out of a JSON patch (RFC 6902): the values of operations at or below `/data` and `/stringData`
    /// of a Secret, and Secrets within any value.
    pub fn json_patch(&self, mut patch: Value, hint: Hint) -> Masked<Value> {
        for operation in patch.as_array_mut().into_iter().flatten() {
            let target = pointer(operation.get("path"));
            if let Some(value) = operation.get_mut("value") {
                self.operation(&target, value, hint);
            }
        }
        Masked(patch)
    }

    fn operation(&self, target: &Option<Vec<String>>, value: &mut Value, hint: Hint) {
        let Some(target) = target else {
            return self.scrub(value, b"", &[], Form::Plain);
        };
        let first = target.first().map(String::as_str);
        let last = target.last().map(String::as_str).unwrap_or_default();
        match (hint, first, value) {
            (Hint::Secrets, Some("data"), value) => self.scrub(value, last.as_bytes(), &[], Form::Base64),
            (Hint::Secrets, Some("stringData"), value) => self.scrub(value, last.as_bytes(), &[], Form::Plain),
            (_, _, Value::String(text)) if last == LAST_APPLIED => self.annotation(text, hint, &[]),
            (_, _, value) => self.walk(
                value,
                &Place {
                    hint,
                    listed: false,
                    whose: &[],
                },
            ),
        }
    }

    fn walk(&self, value: &mut Value, place: &Place<'_>) {
        match value {
            Value::Object(map) => self.object(map, place),
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item, &place.within())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn object(&self, map: &mut Map<String, Value>, place: &Place<'_>) {
        let own = place.hint == Hint::Secrets || says_secret(map);
        let named = whose(map);
        let whose = if named.is_empty() { place.whose } else { &named };
        let within = Place {
            hint: place.hint,
            listed: false,
            whose,
        };
        for (key, value) in map {
            match (key.as_str(), value) {
                ("data", value) if own || place.listed => self.scrub(value, b"data", whose, Form::Base64),
                ("stringData", value) if own || place.listed => self.scrub(value, b"stringData", whose, Form::Plain),
                (LAST_APPLIED, Value::String(text)) => self.annotation(text, place.hint, whose),
                ("items", Value::Array(items)) => {
                    items
                        .iter_mut()
                        .for_each(|item| self.walk(item, &Place { listed: own, ..within }));
                }
                (_, value) => self.walk(value, &within),
            }
        }
    }

    /// Replaces every scalar but null: null says that nothing is there (and deletes in a merge patch).
    fn scrub(&self, value: &mut Value, key: &[u8], whose: &[u8], form: Form) {
        match value {
            Value::Null => {}
            Value::Object(map) => map
                .iter_mut()
                .for_each(|(key, value)| self.scrub(value, key.as_bytes(), whose, form)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub(item, b"", whose, form)),
            Value::String(text) => {
                *text = self.placeholder(whose, cut(key, KEY_MAX), text.as_bytes(), form);
            }
            Value::Bool(_) | Value::Number(_) => {
                let text = value.to_string();
                *value = Value::String(self.placeholder(whose, cut(key, KEY_MAX), text.as_bytes(), form));
            }
        }
    }

    fn annotation(&self, text: &mut String, hint: Hint, whose: &[u8]) {
        match self.last_applied(text, hint, whose) {
            Applied::AsItWas => {}
            Applied::Rewritten(new) => *text = new,
        }
    }

    /// What becomes of a last-applied annotation: kept, with its Secret masked inside, or, where it cannot be read, gone.
    pub(super) fn last_applied(&self, text: &str, hint: Hint, whose: &[u8]) -> Applied {
        let blank = || Applied::Rewritten(self.placeholder(whose, LAST_APPLIED.as_bytes(), b"", Form::Plain));
        if text.len() > ANNOTATIONS_MAX {
            return blank();
        }
        let Ok(before) = json::parse(text.as_bytes()) else {
            return blank();
        };
        let after = self.value(before.clone(), hint).into_inner();
        if after == before {
            return Applied::AsItWas;
        }
        // kubectl ends the annotation with a newline (util.CreateOrUpdateAnnotation encodes with one).
        let end = if text.ends_with('\n') { "\n" } else { "" };
        Applied::Rewritten(format!("{after}{end}"))
    }
}

pub(super) enum Applied {
    AsItWas,
    Rewritten(String),
}

#[derive(Clone, Copy)]
struct Place<'a> {
    hint: Hint,
    /// An element of a `SecretList`.
    listed: bool,
    whose: &'a [u8],
}

impl Place<'_> {
    fn within(&self) -> Self {
        Self { listed: false, ..*self }
    }
}

fn says_secret(map: &Map<String, Value>) -> bool {
    let kind = map.get("kind").and_then(Value::as_str).is_some_and(is_secret_kind);
    kind && map.get("apiVersion").and_then(Value::as_str).is_none_or(is_core)
}

pub(super) fn is_secret_kind(kind: &str) -> bool {
    kind == "Secret" || kind == "SecretList"
}

pub(super) fn is_core(api_version: &str) -> bool {
    !api_version.contains('/')
}

fn whose(map: &Map<String, Value>) -> Vec<u8> {
    let mut who = Vec::new();
    if let Some(Value::Object(metadata)) = map.get("metadata") {
        for field in ["name", "namespace", "uid"] {
            if let Some(Value::String(text)) = metadata.get(field) {
                add_who(&mut who, field.as_bytes(), text.as_bytes());
            }
        }
    }
    who
}

/// One more part of an object's identity, in the order in which the server writes them.
pub(super) fn add_who(who: &mut Vec<u8>, field: &[u8], text: &[u8]) {
    who.extend_from_slice(field);
    who.push(b'=');
    who.extend_from_slice(cut(text, WHO_MAX));
    who.push(0);
}

pub(super) fn cut(bytes: &[u8], max: usize) -> &[u8] {
    &bytes[..bytes.len().min(max)]
}

// RFC 6901: segments separated by `/`, `~1` is `/`, `~0` is `~`. None where it is no pointer.
fn pointer(path: Option<&Value>) -> Option<Vec<String>> {
    let path = path?.as_str()?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    Some(
        path.strip_prefix('/')?
            .split('/')
            .map(|s| s.replace("~1", "/").replace("~0", "~"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::placeholder::masker_for_tests;
    use super::*;

    fn masked(value: Value, hint: Hint) -> String {
        masker_for_tests().value(value, hint).to_string()
    }

    #[test]
    fn secret_values_go_and_keys_stay() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "n"}, "type": "Opaque",
            "data": {"password": "aHVudGVyMg=="}, "stringData": {"pin": "1234hunter2"}});
        let text = masked(secret, Hint::Other);
        assert!(text.contains("password") && text.contains("pin") && text.contains("Opaque"));
        assert!(!text.contains("aHVudGVyMg") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn secrets_inside_other_objects_are_masked() {
        let secret = json!({"kind": "Secret", "data": {"p": "aHVudGVyMg=="}});
        for outer in [
            json!({"kind": "List", "apiVersion": "v1", "items": [secret]}),
            json!({"kind": "SecretList", "apiVersion": "v1", "items": [{"data": {"p": "aHVudGVyMg=="}}]}),
            json!({"type": "ADDED", "object": secret}),
            json!({"kind": "Template", "spec": {"deep": [[secret]]}}),
        ] {
            assert!(!masked(outer.clone(), Hint::Other).contains("aHVudGVyMg"), "{outer}");
        }
    }

    #[test]
    fn the_route_counts_where_no_kind_is_given() {
        let patch = json!({"data": {"p": "aHVudGVyMg==", "gone": null}});
        assert!(masked(patch.clone(), Hint::Other).contains("aHVudGVyMg"));
        let text = masked(patch, Hint::Secrets);
        assert!(!text.contains("aHVudGVyMg") && text.contains(r#""gone":null"#));
    }

    #[test]
    fn other_kinds_are_left_as_they_are() {
        for object in [
            json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "b"}}),
            json!({"kind": "Secret", "apiVersion": "example.dev/v1", "data": {"a": "b"}}),
        ] {
            assert_eq!(
                masker_for_tests().value(object.clone(), Hint::Other).into_inner(),
                object
            );
        }
    }

    #[test]
    fn the_last_applied_annotation_is_masked_inside() {
        let applied = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"p": "hunter2"}}).to_string() + "\n";
        let object = json!({"metadata": {"annotations": {LAST_APPLIED: applied}}});
        let after = masker_for_tests().value(object, Hint::Other);
        let text = after["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
        assert!(!text.contains("hunter2") && text.ends_with("}\n"), "{text}");
        assert!(
            serde_json::from_str::<Value>(text).unwrap()["stringData"]["p"]
                .as_str()
                .unwrap()
                .starts_with("masked.")
        );
    }

    #[test]
    fn a_last_applied_annotation_that_cannot_be_read_is_masked_whole() {
        let twice = r#"{"kind":"Secret","kind":"Pod","data":{"p":"aHVudGVyMg=="}}"#;
        let object = json!({"metadata": {"annotations": {LAST_APPLIED: twice}}});
        assert!(!masked(object, Hint::Other).contains("aHVudGVyMg"));
    }

    #[test]
    fn json_patches_are_masked_below_the_pointer() {
        let patch = json!([{"op": "replace", "path": "/data/p", "value": "aHVudGVyMg=="},
            {"op": "add", "path": "/stringData", "value": {"p": "hunter2"}},
            {"op": "replace", "path": "", "value": {"data": {"p": "aHVudGVyMg=="}}},
            {"op": "add", "path": "/metadata/labels/a", "value": "b"}]);
        let text = masker_for_tests().json_patch(patch, Hint::Secrets).to_string();
        assert!(!text.contains("aHVudGVyMg") && !text.contains("hunter2"), "{text}");
        assert!(text.contains(r#""value":"b""#));
    }
}
