//! Bodies that the Kubernetes libraries wrote and read (`vectors/`), read by us. `cargo xtask vectors` writes them anew.

use std::collections::BTreeSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

use super::body::{self, Body};
use super::{BodyFault, BodyStatus};
use crate::mask::Hint;

fn apply(text: &str) -> Result<Body, BodyFault> {
    body::read(Some("application/apply-patch+yaml"), true, text.as_bytes(), Hint::Other)
}

fn sent(body: &Body) -> Value {
    serde_json::from_slice(&body.outgoing()).unwrap()
}

/// Numbers by their value: Go writes 1.0 as 1, and what it keeps as a double it may write in full. Without what Go's encoder
/// writes for fields that are not there.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(key, value)| (key.clone(), plain(value)));
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.abs() < 9e15 => Value::from(float),
            _ => value.clone(),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[test]
fn an_object_is_the_same_as_protobuf_as_json_and_as_yaml() {
    let (mut objects, mut kinds) = (0, BTreeSet::new());
    for line in include_str!("../../vectors/objects.jsonl").lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let theirs = &vector["json"];
        let protobuf = BASE64_STANDARD.decode(vector["protobuf"].as_str().unwrap()).unwrap();
        let of_protobuf = body::read(
            Some("application/vnd.kubernetes.protobuf"),
            false,
            &protobuf,
            Hint::Other,
        );
        let of_protobuf = of_protobuf.unwrap_or_else(|fault| panic!("{fault}: {line}"));
        assert_eq!(plain(&sent(&of_protobuf)), plain(theirs));
        let of_json = body::read(None, false, theirs.to_string().as_bytes(), Hint::Other);
        assert_eq!(
            sent(&of_json.unwrap_or_else(|fault| panic!("{fault}: {line}"))),
            *theirs
        );
        let text = vector["yaml"].as_str().unwrap();
        let of_yaml = apply(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        assert_eq!(sent(&of_yaml), *theirs, "{text}");
        objects += 1;
        kinds.insert(format!("{}/{}", theirs["apiVersion"], theirs["kind"]));
    }
    assert!(
        objects >= 500 && kinds.len() >= 100,
        "{objects} objects of {} kinds",
        kinds.len()
    );
}

/// What we accept, the API server reads as the same. What it reads and we refuse names a reason.
#[test]
fn a_patch_in_yaml_is_read_as_the_api_server_reads_it_or_refused() {
    let (mut same, mut refused, mut faults) = (0, 0, Vec::new());
    for line in include_str!("../../vectors/apply.jsonl").lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let text = vector["yaml"].as_str().unwrap();
        match (apply(text), vector.get("json")) {
            (Ok(body), Some(theirs)) if exact(&sent(&body)) == exact(theirs) => same += 1,
            (Ok(body), theirs) => faults.push(format!("{text:?}\n    ours {}, theirs {theirs:?}", sent(&body))),
            (Err(fault), _) => {
                assert!(
                    fault.status == BodyStatus::BadRequest && fault.reason.len() > 20,
                    "{fault}"
                );
                refused += 1;
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(
        same >= 550 && refused >= 1500,
        "{same} read alike, {refused} refused: the vectors have lost their meaning"
    );
}

/// Numbers by their value, all else as it is.
fn exact(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), exact(value))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(exact).collect()),
        Value::Number(_) => plain(value),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}
