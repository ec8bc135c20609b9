//! What a body may not do with masked values: bring their placeholders back, or move the values to where nobody masks them.
//!
//! In: a body that is about to be written. Out: nothing. Refuses: every field that holds a placeholder, whole or damaged;
//! written to the cluster it would replace the secret that it stands for (`kubectl get -o yaml`, edit, `kubectl apply`).
//! Also every JSON patch of a Secret that copies, moves or tests what is masked: a copy of a value in an annotation is shown,
//! and a test that holds or fails tells whether a guess is right.
//!
//! Looked for in keys and texts, in JSON within texts, and below base64, twice (a masked `data` value that is encoded once
//! more). Damaged counts: any letter case, any text that still names [`MARK`] or what follows it, and base64 in which the
//! name can be recognized though the whole no longer decodes.
//! Deliberately not found: a placeholder split over several fields, or compressed.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD_NO_PAD};
use memchr::memmem;
use serde_json::Value;

use super::LAST_APPLIED;
use crate::wire::Path;
use crate::wire::body::{Body, Form};

/// No name of anybody else contains this.
pub const MARK: &str = "masked.mantlet.dev";
/// What is left if the beginning is lost. `mantlet.dev/v1alpha1` of this project's own objects does not contain it.
const TAIL: &str = "mantlet.dev/v1.";
const ROUNDS: usize = 3;

/// A field as `kubectl` users write it: `data.password`, `[0].value`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(String);

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Refuses a body that holds a placeholder. The error names up to 32 fields, never their content.
pub fn placeholders(body: &Body) -> Result<(), Vec<FieldPath>> {
    in_value(body.raw())
}

/// Refuses a JSON patch of a Secret in which `copy` or `move` takes, or `test` compares, what is masked. The error names the
/// operation and its pointer, which holds names of fields only.
pub fn moved_values(body: &Body) -> Result<(), String> {
    if body.form() != Form::JsonPatch {
        return Ok(());
    }
    let operations = body.raw().as_array().into_iter().flatten();
    match operations
        .filter_map(takes)
        .find(|(_, pointer)| reaches_values(pointer))
    {
        Some((operation, pointer)) => Err(format!("{operation} of `{pointer}`")),
        None => Ok(()),
    }
}

/// The operation that looks at a stored value, and where.
fn takes(operation: &Value) -> Option<(&str, &str)> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    match text("op")? {
        op @ ("copy" | "move") => Some((op, text("from")?)),
        op @ "test" => Some((op, text("path")?)),
        _ => None,
    }
}

/// Whether a pointer (RFC 6901) leads to a masked value, into one, or to something that holds one.
fn reaches_values(pointer: &str) -> bool {
    let at: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    let masked: [&[&str]; 3] = [&["data"], &["stringData"], &["metadata", "annotations", LAST_APPLIED]];
    masked.iter().any(|path| path.iter().zip(&at).all(|(a, b)| a == b))
}

const FIELDS_MAX: usize = 32;

fn in_value(value: &Value) -> Result<(), Vec<FieldPath>> {
    let mut found = Vec::new();
    walk(value, &Path::Root, &mut found);
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn walk(value: &Value, path: &Path<'_>, found: &mut Vec<FieldPath>) {
    if found.len() >= FIELDS_MAX {
        return;
    }
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            if holds(text.as_bytes(), ROUNDS) {
                found.push(FieldPath(path.to_string()));
            }
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| walk(item, &Path::Item(path, index), found));
        }
        Value::Object(map) => {
            for (key, value) in map {
                if holds(key.as_bytes(), ROUNDS) {
                    found.push(FieldPath(format!("a key{}", path.at())));
                }
                walk(value, &Path::Field(path, key), found);
            }
        }
    }
}

/// Whether a text holds a placeholder, after at most so many rounds of unwrapping.
fn holds(text: &[u8], rounds: usize) -> bool {
    let low = text.to_ascii_lowercase();
    names(&low) || looks_encoded(&low) || (rounds > 0 && (unwraps(text, rounds) || unescapes(text, rounds)))
}

fn names(low: &[u8]) -> bool {
    // A slash may be escaped in JSON text, so the mark ends before it.
    memmem::find(low, MARK.as_bytes()).is_some() || memmem::find(low, TAIL.as_bytes()).is_some()
}

// The three ways in which base64 can meet the mark, by what stands before it; letter case is lost when somebody "fixes" it.
fn looks_encoded(low: &[u8]) -> bool {
    static NEEDLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let needles = NEEDLES.get_or_init(|| {
        let aligned = |skip: usize| {
            let whole = STANDARD_NO_PAD.encode([&b"\0\0"[..skip], MARK.as_bytes()].concat());
            // The first and last characters also carry bits of the neighbors.
            whole.as_bytes()[skip.min(1) + skip..whole.len() - 1].to_ascii_lowercase()
        };
        (0..3).map(aligned).collect()
    });
    needles.iter().any(|needle| memmem::find(low, needle).is_some())
}

fn unwraps(text: &[u8], rounds: usize) -> bool {
    // Padding and bits after the end are forgiven: what decodes for somebody must decode here.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let plain: Vec<u8> = text
        .iter()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| url_safe(*b))
        .collect();
    let long_enough = plain.len() * 3 / 4 >= TAIL.len();
    long_enough && LENIENT.decode(&plain).is_ok_and(|inner| holds(&inner, rounds - 1))
}

fn url_safe(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// JSON within text, where escapes could hide the mark.
fn unescapes(text: &[u8], rounds: usize) -> bool {
    if memchr::memchr(b'\\', text).is_none() {
        return false;
    }
    let begins = text.iter().find(|b| !b.is_ascii_whitespace());
    let json = matches!(begins, Some(b'{' | b'[' | b'"'));
    json && serde_json::from_slice::<Value>(text).is_ok_and(|value| strings_hold(&value, rounds - 1))
}

fn strings_hold(value: &Value, rounds: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => holds(text.as_bytes(), rounds),
        Value::Array(items) => items.iter().any(|item| strings_hold(item, rounds)),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| holds(key.as_bytes(), rounds) || strings_hold(value, rounds)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::placeholder::{Form, masker_for_tests};
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn placeholder() -> String {
        masker_for_tests().placeholder(b"w", b"k", b"v", Form::Plain)
    }

    fn found(value: Value) -> Vec<String> {
        in_value(&value)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn placeholders_are_named_by_their_field() {
        let encoded = STANDARD.encode(placeholder());
        let body =
            json!({"data": {"password": encoded, "ok": "dg=="}, "metadata": {"annotations": {"a/b": placeholder()}}});
        assert_eq!(found(body), ["data.password", r#"metadata.annotations["a/b"]"#]);
        assert_eq!(
            found(json!([{"op": "add", "path": "/x", "value": placeholder()}])),
            ["[0].value"]
        );
        assert_eq!(
            found(json!({"labels": {placeholder(): "x"}})),
            ["a key at labels", &format!("labels[{:?}]", placeholder())][..1]
        );
    }

    #[test]
    fn damaged_placeholders_are_found() {
        let whole = placeholder();
        let encoded = STANDARD.encode(&whole);
        let applied = json!({"kind": "Secret", "data": {"p": encoded}}).to_string();
        let escaped = format!(
            "{{\"p\":\"{}\"}}",
            whole
                .replace('/', "\\/")
                .replace("masked", "m\\u0061sked")
                .replace("mantlet", "\\u006dantlet")
        );
        for text in [
            whole.to_uppercase(),
            whole[..20].to_owned(),
            whole[3..].to_owned(),
            format!("x{whole}y"),
            encoded.to_uppercase(),
            STANDARD.encode(&encoded),
            STANDARD.encode(STANDARD.encode(whole.to_uppercase())),
            STANDARD.encode(format!("x{whole}")),
            STANDARD.encode(format!("xy{whole}")),
            format!("{} ", STANDARD.encode(format!("user:{whole}"))),
            encoded.trim_end_matches('=').to_owned() + "=!",
            encoded[4..].to_owned(),
            STANDARD
                .encode(format!("password: {whole}\n"))
                .replace('+', "-")
                .replace('/', "_"),
            applied,
            escaped,
        ] {
            assert_eq!(found(json!({"v": text})), ["v"], "{text}");
        }
    }

    #[test]
    fn a_json_patch_may_not_look_at_masked_values() {
        let checked = |patch: Value| {
            let (media, bytes) = (Some("application/json-patch+json"), patch.to_string());
            moved_values(&crate::wire::body::read(media, true, bytes.as_bytes(), crate::mask::Hint::Secrets).unwrap())
        };
        let last_applied = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
        for from in [
            "",
            "/data",
            "/data/p",
            "/stringData/p/x",
            "/metadata",
            "/metadata/annotations",
            last_applied,
        ] {
            for op in ["copy", "move"] {
                assert!(
                    checked(json!([{"op": op, "from": from, "path": "/x"}])).is_err(),
                    "{op} {from}"
                );
            }
            assert!(
                checked(json!([{"op": "test", "path": from, "value": 1}])).is_err(),
                "test {from}"
            );
        }
        for operation in [
            json!({"op": "copy", "from": "/metadata/labels/a", "path": "/data/p"}),
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}),
            json!({"op": "move", "from": "/metadata/annotations/a", "path": "/metadata/annotations/b"}),
            json!({"op": "replace", "path": "/data/p", "value": "eA=="}),
            json!({"op": "remove", "path": "/data"}),
            json!({"op": "copy", "from": "/database", "path": "/x"}),
        ] {
            assert!(checked(json!([operation])).is_ok(), "{operation}");
        }
    }

    #[test]
    fn ordinary_values_pass() {
        for value in [
            json!({"apiVersion": "mantlet.dev/v1alpha1", "group": "gate.mantlet.dev", "n": [1, null, true]}),
            json!({"data": {"p": "aHVudGVyMg==", "q": "", "r": "\\u006d", "s": "{\"a\":\"\\u0061\"}"}}),
            json!("masked"),
        ] {
            assert!(in_value(&value).is_ok(), "{value}");
        }
    }
}
