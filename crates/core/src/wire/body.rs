//! The body of a request: read strictly, masked for everybody but the upstream request, written anew.
//!
//! In: Content-Type, method and bytes. Out: a [`Body`].
//! Refuses: what is not JSON, Kubernetes protobuf, one of three patches in JSON or an apply patch in JSON or YAML (415 that
//! names what works), and whatever two readers could read differently ([`super::json`], [`super::yaml`], [`super::protobuf`]).
//! Deliberately not: YAML of anything but an apply patch, and CBOR.

use std::fmt::Write as _;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::{BodyFault, BodyStatus, json, protobuf, yaml};
use crate::mask::{self, Hint, Masked, Masker};

/// The server reads no more either (apiserver pkg/server/config.go, MaxRequestBodyBytes: 3 MiB).
pub const BODY_MAX: usize = 3 * 1024 * 1024;
/// apiserver pkg/endpoints/handlers/patch.go, maxJSONPatchOperations.
pub const OPERATIONS_MAX: usize = 10_000;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What a body is, and so how it goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object or options.
    Object,
    /// RFC 6902.
    JsonPatch,
    /// RFC 7396.
    MergePatch,
    StrategicMergePatch,
    /// Server-side apply.
    ApplyPatch,
}

impl Form {
    /// The Content-Type that goes upstream. An apply patch keeps its own, whose YAML includes JSON.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Object => JSON,
            Form::JsonPatch => "application/json-patch+json",
            Form::MergePatch => "application/merge-patch+json",
            Form::StrategicMergePatch => "application/strategic-merge-patch+json",
            Form::ApplyPatch => "application/apply-patch+yaml",
        }
    }
}

/// A body that was read in the one way it can be read.
pub struct Body {
    form: Form,
    raw: Value,
    masked: Masked<Value>,
}

// What a caller wrote may hold secrets: shown is the masked form.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("form", &self.form)
            .field("masked", &self.masked)
            .finish_non_exhaustive()
    }
}

impl Body {
    pub fn form(&self) -> Form {
        self.form
    }

    /// The Content-Type of [`Body::outgoing`].
    pub fn content_type(&self) -> &'static str {
        self.form.content_type()
    }

    /// What law, journal and desk may see.
    pub fn masked(&self) -> &Masked<Value> {
        &self.masked
    }

    /// The body with placeholders that depend on the values, for answers to the caller who sent it.
    pub fn masked_by(&self, masker: &Masker, hint: Hint) -> Masked<Value> {
        match self.form {
            Form::JsonPatch => masker.json_patch(self.raw.clone(), hint),
            Form::Object | Form::MergePatch | Form::StrategicMergePatch | Form::ApplyPatch => {
                masker.value(self.raw.clone(), hint)
            }
        }
    }

    /// The body as it goes upstream, secrets included: for the gateway's forward stage and nobody else.
    pub fn outgoing(&self) -> Vec<u8> {
        let json = self.raw.to_string();
        match self.form {
            Form::ApplyPatch => plain_for_yaml(json).into_bytes(),
            Form::Object | Form::JsonPatch | Form::MergePatch | Form::StrategicMergePatch => json.into_bytes(),
        }
    }

    /// The tree with secrets: for what goes upstream, for placeholders that come back, and for digests.
    pub(crate) fn raw(&self) -> &Value {
        &self.raw
    }
}

/// Reads a body that is not empty. `patch`: the method is PATCH. `hint`: whether the resource is `secrets`.
pub fn read(content_type: Option<&str>, patch: bool, bytes: &[u8], hint: Hint) -> Result<Body, BodyFault> {
    if bytes.len() > BODY_MAX {
        let reason = format!("the body is larger than {BODY_MAX} bytes, the limit of the API server");
        return Err(BodyFault {
            reason,
            status: BodyStatus::TooLarge,
        });
    }
    let (form, raw) = if patch {
        read_patch(content_type, bytes)?
    } else {
        read_object(content_type, bytes)?
    };
    let masked = match form {
        Form::JsonPatch => Masker::blind().json_patch(raw.clone(), hint),
        Form::Object | Form::MergePatch | Form::StrategicMergePatch | Form::ApplyPatch => {
            mask::value(raw.clone(), hint)
        }
    };
    Ok(Body { form, raw, masked })
}

// The server takes the first of its media types where none is named, JSON, and otherwise mime.ParseMediaType's
// (apiserver pkg/endpoints/handlers/negotiation/negotiate.go).
fn read_object(content_type: Option<&str>, bytes: &[u8]) -> Result<(Form, Value), BodyFault> {
    let named = content_type.filter(|text| !text.is_empty()).unwrap_or(JSON);
    let media = media_type(named).ok_or_else(|| unsupported(named))?;
    let object = match media.as_str() {
        JSON => {
            if bytes.starts_with(&protobuf::MAGIC) {
                return Err(BodyFault::bad(
                    "the body is protobuf, but its Content-Type says application/json",
                ));
            }
            json::parse(bytes)?
        }
        PROTOBUF => protobuf::decode(bytes)?,
        _ => return Err(unsupported(named)),
    };
    match object {
        Value::Object(_) => Ok((Form::Object, object)),
        _ => Err(BodyFault::bad("the body is not a JSON object")),
    }
}

// The server compares what stands before `;` as it is (apiserver pkg/endpoints/handlers/patch.go).
fn read_patch(content_type: Option<&str>, bytes: &[u8]) -> Result<(Form, Value), BodyFault> {
    let named = content_type.unwrap_or_default();
    let form = match named.split(';').next().unwrap_or_default() {
        "application/json-patch+json" => Form::JsonPatch,
        "application/merge-patch+json" => Form::MergePatch,
        "application/strategic-merge-patch+json" => Form::StrategicMergePatch,
        "application/apply-patch+yaml" => Form::ApplyPatch,
        _ => return Err(unsupported_patch(named)),
    };
    let patch = match form {
        Form::ApplyPatch => apply_patch(bytes)?,
        Form::Object | Form::JsonPatch | Form::MergePatch | Form::StrategicMergePatch => json::parse(bytes)?,
    };
    match (form, &patch) {
        (Form::JsonPatch, Value::Array(operations)) => check_operations(operations)?,
        (Form::JsonPatch, _) => return Err(BodyFault::bad("a JSON patch is an array of operations (RFC 6902)")),
        (_, Value::Object(_)) => {}
        (_, _) => return Err(BodyFault::bad("the patch is not a JSON object")),
    }
    Ok((form, patch))
}

/// kubectl sends JSON; others send what they would give to kubectl. JSON that is refused as JSON is not read as YAML instead.
fn apply_patch(bytes: &[u8]) -> Result<Value, BodyFault> {
    let fault = match json::parse(bytes) {
        Ok(value) => return Ok(value),
        Err(fault) => fault,
    };
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(_) => Err(fault),
        Err(_) => json::parse_of_yaml(&yaml::to_json(bytes)?),
    }
}

/// The server reads an apply patch as YAML 1.1 even if it is JSON (apiserver pkg/endpoints/handlers/patch.go, newApplyPatcher).
/// There NEL, LS and PS break lines, also between quotes, and other characters that JSON allows are errors.
fn plain_for_yaml(json: String) -> String {
    let odd = |c: char| {
        matches!(
            c,
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    if !json.contains(odd) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if odd(c) {
            // Outside of strings JSON has none of these. Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn check_operations(operations: &[Value]) -> Result<(), BodyFault> {
    if operations.len() > OPERATIONS_MAX {
        let reason = format!("the JSON patch has more than {OPERATIONS_MAX} operations, the limit of the API server");
        return Err(BodyFault {
            reason,
            status: BodyStatus::TooLarge,
        });
    }
    operations.iter().enumerate().try_for_each(|(index, operation)| {
        check_operation(operation).map_err(|what| BodyFault::bad(format!("operation {index} of the JSON patch {what}")))
    })
}

// RFC 6902 section 4, but members that it does not define are refused instead of ignored.
fn check_operation(operation: &Value) -> Result<(), &'static str> {
    let operation = operation.as_object().ok_or("is not an object")?;
    let wanted: &[&str] = match operation.get("op").and_then(Value::as_str) {
        Some("add" | "replace" | "test") => &["op", "path", "value"],
        Some("move" | "copy") => &["op", "path", "from"],
        Some("remove") => &["op", "path"],
        _ => return Err("has no `op` of RFC 6902 (add, remove, replace, move, copy, test)"),
    };
    if operation.len() != wanted.len() || !wanted.iter().all(|name| operation.contains_key(*name)) {
        return Err("does not have exactly the members of its `op`: `path`, and `value` or `from`");
    }
    let pointer = |name: &str| {
        operation
            .get(name)
            .is_none_or(|value| value.as_str().is_some_and(is_pointer))
    };
    match pointer("path") && pointer("from") {
        true => Ok(()),
        false => Err("has a `path` or `from` that is no JSON pointer (RFC 6901)"),
    }
}

fn is_pointer(text: &str) -> bool {
    let escapes = text
        .split('~')
        .skip(1)
        .all(|tail| tail.starts_with('0') || tail.starts_with('1'));
    escapes && (text.is_empty() || text.starts_with('/'))
}

/// The lower-case media type of a Content-Type whose parameters are well formed.
fn media_type(text: &str) -> Option<String> {
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let (kind, subtype) = parts.next()?.split_once('/')?;
    if !is_token(kind) || !is_token(subtype) || !parts.all(is_parameter) {
        return None;
    }
    Some(format!("{kind}/{subtype}").to_ascii_lowercase())
}

fn is_parameter(text: &str) -> bool {
    let quoted = |value: &str| {
        value
            .strip_prefix('"')
            .and_then(|v| v.strip_suffix('"'))
            .is_some_and(is_token)
    };
    text.is_empty()
        || text
            .split_once('=')
            .is_some_and(|(name, value)| is_token(name) && (is_token(value) || quoted(value)))
}

// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn unsupported(named: &str) -> BodyFault {
    BodyFault::unsupported(format!(
        "the gateway does not read bodies of type `{}`; send {JSON} or {PROTOBUF}",
        printable(named)
    ))
}

fn unsupported_patch(named: &str) -> BodyFault {
    BodyFault::unsupported(format!(
        "the gateway does not read patches of type `{}`; send application/merge-patch+json, \
         application/strategic-merge-patch+json, application/json-patch+json or application/apply-patch+yaml",
        printable(named)
    ))
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(100)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = br#"{"apiVersion":"v1","kind":"Secret","data":{"p":"aHVudGVyMg=="}}"#;

    fn object(content_type: Option<&str>) -> Result<Body, BodyFault> {
        read(content_type, false, OBJECT, Hint::Other)
    }

    fn patch(content_type: &str, body: &str) -> Result<Body, BodyFault> {
        read(Some(content_type), true, body.as_bytes(), Hint::Secrets)
    }

    #[test]
    fn json_is_read_under_every_name_that_the_server_takes() {
        for named in [
            None,
            Some(""),
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/json;"),
        ] {
            assert_eq!(object(named).unwrap().form(), Form::Object, "{named:?}");
        }
    }

    #[test]
    fn other_encodings_are_told_what_works() {
        for named in [
            "text/plain",
            "application/json; x",
            "application/json, text/plain",
            "application/yaml",
            "application/cbor",
            "json",
            "application/",
            "application/json-patch+json",
            "application/json\r\nx: y",
        ] {
            let fault = object(Some(named)).unwrap_err();
            assert_eq!(fault.status, BodyStatus::UnsupportedMediaType, "{named}");
            assert!(fault.reason.contains("application/json"), "{fault}");
        }
        for named in [
            "",
            "application/json",
            "Application/merge-patch+json",
            "application/apply-patch+cbor",
            " application/merge-patch+json",
        ] {
            assert_eq!(
                patch(named, "{}").unwrap_err().status,
                BodyStatus::UnsupportedMediaType,
                "{named}"
            );
        }
    }

    #[test]
    fn an_encoding_under_a_false_name_is_refused() {
        assert!(read(Some("application/json"), false, b"k8s\0\n", Hint::Other).is_err());
        assert!(read(Some(PROTOBUF), false, OBJECT, Hint::Other).is_err());
    }

    #[test]
    fn patches_keep_their_type_upstream() {
        for (named, body) in [
            ("application/merge-patch+json", "{}"),
            ("application/strategic-merge-patch+json; charset=UTF-8", "{}"),
            ("application/apply-patch+yaml", " {}"),
            ("application/json-patch+json", r#"[{"op":"remove","path":"/a~1b"}]"#),
        ] {
            assert_eq!(
                patch(named, body).unwrap().content_type(),
                named.split(';').next().unwrap()
            );
        }
    }

    #[test]
    fn an_apply_patch_is_json_or_yaml_and_json_upstream() {
        const APPLY: &str = "application/apply-patch+yaml";
        let body = patch(APPLY, "kind: Pod # a comment\nspec:\n  hostPID: true\n").unwrap();
        assert_eq!(body.outgoing(), br#"{"kind":"Pod","spec":{"hostPID":true}}"#);
        let fault = patch(APPLY, "kind: Pod\nkind: Secret\n").unwrap_err();
        assert_eq!(
            fault.reason,
            "the YAML body has `kind` twice; readers would disagree on which counts"
        );
        let fault = patch(APPLY, r#"{"kind":"Pod","kind":"Secret"}"#).unwrap_err();
        assert!(fault.reason.starts_with("the JSON body"), "{fault}");
        assert_eq!(
            patch(APPLY, "- a\n").unwrap_err().reason,
            "the patch is not a JSON object"
        );
        assert_eq!(
            patch("application/apply-patch+yaml", r#"{"a":1,"a":2}"#)
                .unwrap_err()
                .status,
            BodyStatus::BadRequest
        );
    }

    /// T30: between the quotes of JSON a reader of YAML 1.1 folds lines at these.
    #[test]
    fn an_apply_patch_goes_upstream_without_what_yaml_takes_for_line_breaks() {
        let body = patch(
            "application/apply-patch+yaml",
            "{\"a\":\"x\u{85}y\u{2028}z\u{feff}é😀\"}",
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(body.outgoing()).unwrap(),
            r#"{"a":"x\u0085y\u2028z\ufeffé😀"}"#
        );
    }

    #[test]
    fn json_patches_are_read_strictly() {
        for body in [
            "{}",
            "[1]",
            r#"[{"op":"add","path":"/a"}]"#,
            r#"[{"op":"replace","path":"/a","value":1,"from":"/b"}]"#,
            r#"[{"op":"Add","path":"/a","value":1}]"#,
            r#"[{"op":"remove","path":"a"}]"#,
            r#"[{"op":"remove","path":"/a~2"}]"#,
            r#"[{"op":"copy","path":"/a","from":1}]"#,
            r#"[{"op":"remove","path":"/a","path":"/b"}]"#,
        ] {
            assert!(patch("application/json-patch+json", body).is_err(), "{body}");
        }
        let many = format!(
            "[{}]",
            vec![r#"{"op":"remove","path":"/a"}"#; OPERATIONS_MAX + 1].join(",")
        );
        assert_eq!(
            patch("application/json-patch+json", &many).unwrap_err().status,
            BodyStatus::TooLarge
        );
    }

    #[test]
    fn what_is_shown_is_masked_and_what_is_sent_is_not() {
        let body = object(None).unwrap();
        assert!(!body.masked().to_string().contains("aHVudGVyMg") && !format!("{body:?}").contains("aHVudGVyMg"));
        assert!(String::from_utf8(body.outgoing()).unwrap().contains("aHVudGVyMg"));
        let body = patch("application/merge-patch+json", r#"{"stringData":{"p":"hunter2"}}"#).unwrap();
        assert!(!body.masked().to_string().contains("hunter2"));
    }

    #[test]
    fn a_body_larger_than_the_servers_limit_is_refused() {
        let large = vec![b' '; BODY_MAX + 1];
        assert_eq!(
            read(None, false, &large, Hint::Other).unwrap_err().status,
            BodyStatus::TooLarge
        );
    }
}
