//! The decoder on objects that Kubernetes itself encoded, and on bytes that nobody should send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

/// `varint` of a key or number.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn bytes(number: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    [
        varint(number << 3 | 2),
        varint(value.as_ref().len() as u64),
        value.as_ref().to_vec(),
    ]
    .concat()
}

fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version), bytes(2, kind)].concat();
    [
        MAGIC.to_vec(),
        bytes(1, meta),
        bytes(2, raw),
        bytes(3, ""),
        bytes(4, ""),
    ]
    .concat()
}

fn secret(raw: &[u8]) -> Result<Value, BodyFault> {
    decode(&object("v1", "Secret", raw))
}

fn refused(raw: &[u8]) -> String {
    secret(raw).unwrap_err().reason
}

#[test]
fn a_secret_is_read_as_its_json() {
    let metadata = [
        bytes(1, "n"),
        bytes(3, "ns"),
        bytes(8, ""),
        bytes(11, [bytes(1, "app"), bytes(2, "web")].concat()),
    ];
    let entry = [bytes(1, "p"), bytes(2, "hunter2")].concat();
    let raw = [
        bytes(1, metadata.concat()),
        bytes(2, entry),
        bytes(3, "Opaque"),
        number(5, 0),
    ]
    .concat();
    let expected = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": false,
        "metadata": {"name": "n", "namespace": "ns", "labels": {"app": "web"}}, "data": {"p": "aHVudGVyMg=="}});
    assert_eq!(secret(&raw).unwrap(), expected);
}

#[test]
fn unknown_kinds_are_told_that_json_works() {
    let fault = decode(&object("example.dev/v1", "Widget", b"")).unwrap_err();
    assert_eq!(fault.status.code(), 415);
    assert!(
        fault.reason.contains("example.dev/v1/Widget") && fault.reason.contains("application/json"),
        "{fault}"
    );
}

#[test]
fn unknown_fields_are_refused_by_kind_and_number() {
    assert!(refused(&number(99, 1)).contains("Secret has field number 99"));
    assert!(refused(&bytes(1, number(98, 1))).contains("Secret at metadata has field number 98"));
    assert!(refused(&bytes(2, number(3, 1))).contains("Secret at data has field number 3"));
}

#[test]
fn single_fields_that_come_twice_are_refused() {
    let entry = [bytes(1, "p"), bytes(2, "x")].concat();
    for raw in [
        [bytes(3, "a"), bytes(3, "b")].concat(),
        [bytes(1, bytes(1, "a")), bytes(1, bytes(3, "b"))].concat(),
        [bytes(2, &entry), bytes(2, &entry)].concat(),
        bytes(2, [bytes(1, "p"), bytes(1, "q")].concat()),
    ] {
        assert!(refused(&raw).contains("twice"));
    }
}

#[test]
fn keys_that_the_json_library_takes_for_its_own_are_refused() {
    let entry = [bytes(1, "$serde_json::private::RawValue"), bytes(2, "x")].concat();
    assert!(refused(&bytes(2, entry)).contains("Secret at data has a key"));
}

#[test]
fn malformed_wires_are_refused() {
    let cases: &[&[u8]] = &[
        &[0x08],
        &[0x0a, 0x05, 0x00],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x28, 0x80, 0x00],
        &[0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        &[0x28, 0x02],
        &[0x2a, 0x01, 0x01],
        &[0x1a, 0x01, 0xff],
        &[0x18, 0x01],
        &[0x1b],
        &[0x1d, 0, 0, 0, 0],
        &[0x00, 0x00],
        &[0x02, 0x00],
    ];
    for raw in cases {
        assert!(secret(raw).is_err(), "{raw:x?}");
    }
}

#[test]
fn envelopes_are_read_strictly() {
    let meta = [bytes(1, "v1"), bytes(2, "Secret")].concat();
    let whole = |fields: &[Vec<u8>]| [MAGIC.to_vec(), fields.concat()].concat();
    assert!(decode(&whole(&[bytes(1, &meta), bytes(2, "")])).is_ok());
    for body in [
        Vec::new(),
        b"k8s".to_vec(),
        b"k8s\0".to_vec(),
        b"K8S\0\n\0".to_vec(),
        whole(&[bytes(1, &meta), bytes(1, &meta)]),
        whole(&[bytes(1, &meta), bytes(2, ""), bytes(2, "")]),
        whole(&[bytes(1, &meta), bytes(3, "gzip")]),
        whole(&[bytes(1, &meta), bytes(4, "application/json")]),
        whole(&[bytes(1, &meta), number(5, 1)]),
        whole(&[bytes(1, [meta.clone(), bytes(2, "Pod")].concat())]),
        whole(&[bytes(1, bytes(1, "v1"))]),
        whole(&[number(1, 1)]),
    ] {
        assert!(decode(&body).is_err(), "{body:x?}");
    }
}

#[test]
fn embedded_json_is_read_as_strictly_as_a_body() {
    let revision = |text: &str| decode(&object("apps/v1", "ControllerRevision", &bytes(2, bytes(1, text))));
    assert_eq!(revision(r#"{"a":[1]}"#).unwrap()["data"], json!({"a": [1]}));
    for text in [r#"{"a":1,"a":2}"#, "{", "k8s\0\n\0", "\u{feff}{}"] {
        assert!(revision(text).is_err(), "{text}");
    }
}

#[test]
fn schemas_may_not_nest_without_end() {
    // JSONSchemaProps.not is field 28... of the innermost first.
    let message =
        &table().unwrap().messages["k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaProps"];
    let not = u64::from(*message.iter().find(|(_, entry)| entry.json == "not").unwrap().0);
    let nested = (0..200).fold(Vec::new(), |inner, _| bytes(not, inner));
    let crd = bytes(2, bytes(7, bytes(4, bytes(1, nested))));
    assert!(
        decode(&object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd))
            .unwrap_err()
            .reason
            .contains("levels deep")
    );
}

#[test]
fn resources_have_the_kinds_that_kubernetes_gives_them() {
    for (group, version, resource, kind) in [
        ("", "v1", "pods", Some("Pod")),
        ("", "v1", "endpoints", Some("Endpoints")),
        ("", "v1", "componentstatuses", Some("ComponentStatus")),
        ("networking.k8s.io", "v1", "ingresses", Some("Ingress")),
        ("networking.k8s.io", "v1", "networkpolicies", Some("NetworkPolicy")),
        (
            "storage.k8s.io",
            "v1",
            "csistoragecapacities",
            Some("CSIStorageCapacity"),
        ),
        ("discovery.k8s.io", "v1", "endpointslices", Some("EndpointSlice")),
        ("apiregistration.k8s.io", "v1", "apiservices", Some("APIService")),
        ("example.com", "v1", "pods", None),
        ("apps", "v1", "pods", None),
    ] {
        assert_eq!(kind_of(group, version, resource), kind, "{group}/{version} {resource}");
    }
    let table = table().unwrap();
    assert_eq!(table.resources.len(), table.kinds.len(), "two kinds share a resource");
}

#[test]
fn every_type_of_the_table_is_known_here() {
    let table = table().unwrap();
    for message in table.kinds.values() {
        assert!(table.messages.contains_key(message), "{message}");
    }
    for (name, message) in &table.messages {
        for entry in message.values() {
            match entry.kind {
                Kind::Message => assert!(table.messages.contains_key(&entry.of), "{name} {}", entry.of),
                Kind::Special => assert!(!matches!(Special::named(&entry.of), Special::Unknown), "{}", entry.of),
                Kind::String | Kind::Bytes | Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Float64 | Kind::Items => {}
            }
            assert!(!entry.json.is_empty() || (matches!(entry.kind, Kind::Message) && entry.shape == Shape::One));
        }
    }
}

/// Bodies that the Kubernetes libraries encoded, and what they decode them to.
#[test]
fn real_bodies_are_read_as_kubernetes_reads_them() {
    let mut kinds = std::collections::BTreeSet::new();
    for line in include_str!("../../../vectors/protobuf.jsonl").lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let body = STANDARD.decode(vector["protobuf"].as_str().unwrap()).unwrap();
        let ours = decode(&body).unwrap_or_else(|fault| panic!("{fault}: {line}"));
        assert_eq!(pruned(&ours), pruned(&vector["json"]));
        kinds.insert(ours["kind"].as_str().unwrap().to_owned());
        // Cut anywhere or with any bit turned over, it is read or refused, never a panic.
        for at in (0..body.len()).step_by(7) {
            let _ = decode(&body[..at]);
            let mut turned = body.clone();
            turned[at] ^= 1 << (at % 8);
            let _ = decode(&turned);
        }
    }
    assert!(kinds.len() >= 25, "{}", kinds.len());
}

/// Without what Go's encoder writes for fields that are not there.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(key, value)| (key.clone(), pruned(value)));
            Value::Object(kept.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(pruned).collect()),
        Value::Number(n) if n.as_f64() == Some(0.0) => Value::from(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    is_zero(value) || value.as_object().is_some_and(serde_json::Map::is_empty)
}
