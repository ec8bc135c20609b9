//! A change bound to the state of the object that was judged: the API server carries it out on that one, or answers 409.
//!
//! In: an action and a [`Precondition`]. Out: its query and body with the precondition in them.
//! Refuses nothing. A precondition of the client's own stays in force: where it contradicts the judged state, [`contradicts`] says so beforehand.
//!
//! Every object has a version of its own and no other object ever had it, so the version alone pins PUT and PATCH
//! (apiserver `pkg/registry/generic/registry/store.go`, Update: it is compared where the new object has one, whatever the resource allows).

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::body::{Body, Form};
use crate::action::{Action, Verb};
use crate::law::Precondition;

/// A version that no object has: etcd's revision 1 is from before the first write. A PUT or an apply that carries it creates, and conflicts
/// with whatever is there (store.go, Update: what is created has its version taken off).
const NO_VERSION: &str = "1";
/// A uid that no object has (RFC 9562 5.9).
const NO_UID: &str = "00000000-0000-0000-0000-000000000000";

/// What the client itself counts on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Claim {
    uid: String,
    resource_version: String,
}

/// The query and body of the action, bound.
pub(super) fn bound(action: &Action, precondition: &Precondition) -> (Vec<(String, String)>, Bytes) {
    let (uid, version) = match precondition {
        Precondition::Exactly { uid, resource_version } => (uid.as_str(), resource_version.as_str()),
        Precondition::Absent | Precondition::Torn => (NO_UID, NO_VERSION),
    };
    let mut query = action.query().to_vec();
    let Some(body) = action.body() else {
        if action.verb() == Verb::Delete {
            for (name, value) in [("uid", uid), ("resourceVersion", version)] {
                if !value.is_empty() {
                    query.retain(|(key, _)| key != name);
                    query.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        return (query, Bytes::new());
    };
    let mut raw = body.raw().clone();
    match (action.verb(), body.form()) {
        (Verb::Delete, _) => add(
            field(&mut raw, "preconditions"),
            &[("uid", uid), ("resourceVersion", version)],
        ),
        // Of the subresources that are created, the eviction alone is bound to its pod.
        (Verb::Create, _) => {
            let options = field(&mut raw, "deleteOptions");
            add(field(options, "preconditions"), &[("uid", uid)]);
        }
        // Last, so that no operation before it can take it away.
        (_, Form::JsonPatch) => {
            let operation = json!({ "op": "add", "path": "/metadata/resourceVersion", "value": version });
            if let Value::Array(operations) = &mut raw {
                operations.push(operation);
            }
        }
        (_, Form::Object | Form::MergePatch | Form::StrategicMergePatch | Form::ApplyPatch) => {
            add(field(&mut raw, "metadata"), &[("resourceVersion", version)]);
        }
    }
    (query, Bytes::from(Body::write(body.form(), &raw)))
}

/// Whether the client counts on another state than the one that was judged: the API server would refuse it now, and later might not.
pub(crate) fn contradicts(action: &Action, precondition: &Precondition) -> bool {
    let claim = Claim::of(action);
    match precondition {
        Precondition::Exactly { uid, resource_version } => {
            let differs = |claimed: &str, judged: &str| !claimed.is_empty() && !judged.is_empty() && claimed != judged;
            differs(&claim.uid, uid) || differs(&claim.resource_version, resource_version)
        }
        // What it means for an object that is not there, the API server says.
        Precondition::Absent | Precondition::Torn => false,
    }
}

impl Claim {
    fn of(action: &Action) -> Self {
        match (action.verb(), action.body()) {
            (Verb::Delete, Some(body)) => Self::among(&body.raw()["preconditions"]),
            (Verb::Delete, None) => {
                let said = |name: &str| {
                    let found = action.query().iter().find(|(key, _)| key == name);
                    found.map(|(_, value)| value.clone()).unwrap_or_default()
                };
                Self {
                    uid: said("uid"),
                    resource_version: said("resourceVersion"),
                }
            }
            (Verb::Create, Some(body)) => Self::among(&body.raw()["deleteOptions"]["preconditions"]),
            (_, Some(body)) if body.form() == Form::JsonPatch => Self::of_operations(body.raw()),
            (_, Some(body)) => Self::among(&body.raw()["metadata"]),
            (_, None) => Self::default(),
        }
    }

    fn among(fields: &Value) -> Self {
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        Self {
            uid: text("uid"),
            resource_version: text("resourceVersion"),
        }
    }

    /// The last value that the operations put in place. What they `test`, the API server compares itself.
    fn of_operations(patch: &Value) -> Self {
        let mut claim = Self::default();
        for operation in patch.as_array().into_iter().flatten() {
            if !matches!(operation["op"].as_str(), Some("add" | "replace")) {
                continue;
            }
            let value = &operation["value"];
            match operation["path"].as_str().unwrap_or_default() {
                "" => claim = Self::among(&value["metadata"]),
                "/metadata" => claim = Self::among(value),
                "/metadata/uid" => value.as_str().unwrap_or_default().clone_into(&mut claim.uid),
                "/metadata/resourceVersion" => {
                    value
                        .as_str()
                        .unwrap_or_default()
                        .clone_into(&mut claim.resource_version);
                }
                _ => {}
            }
        }
        claim
    }
}

/// A field that is an object, made one where it is none.
fn field<'v>(value: &'v mut Value, name: &str) -> &'v mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    &mut value[name]
}

fn add(value: &mut Value, fields: &[(&str, &str)]) {
    for (name, text) in fields.iter().filter(|(_, text)| !text.is_empty()) {
        *field(value, name) = Value::from(*text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Head, parse};

    fn action(method: &str, url: &str, content_type: &str, body: &str) -> Action {
        let (path, query) = url.split_once('?').map_or((url, None), |(p, q)| (p, Some(q)));
        let head = Head {
            method,
            path,
            query,
            accept: &[],
            content_type: Some(content_type),
            upgrade: false,
        };
        let body = (!body.is_empty()).then(|| Bytes::copy_from_slice(body.as_bytes()));
        parse(&head).unwrap().complete(body).unwrap()
    }

    fn judged() -> Precondition {
        Precondition::Exactly {
            uid: String::from("u1"),
            resource_version: String::from("7"),
        }
    }

    fn sent(action: &Action, precondition: &Precondition) -> (String, Value) {
        let (query, body) = bound(action, precondition);
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (query.join("&"), serde_json::from_slice(&body).unwrap_or_default())
    }

    const MAP: &str = "/api/v1/namespaces/ns/configmaps/a";
    const MERGE: &str = "application/merge-patch+json";
    const STRATEGIC: &str = "application/strategic-merge-patch+json";
    const APPLY: &str = "application/apply-patch+yaml";
    const OPERATIONS: &str = "application/json-patch+json";
    const JSON: &str = "application/json";

    #[test]
    fn every_way_to_write_an_object_carries_the_version() {
        let cases = [
            ("PUT", JSON, r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#),
            ("PATCH", MERGE, r#"{"data":{"k":"v"}}"#),
            ("PATCH", MERGE, r#"{"metadata":{"labels":{"a":"b"}}}"#),
            ("PATCH", STRATEGIC, r#"{"metadata":{"$patch":"replace","name":"a"}}"#),
            ("PATCH", STRATEGIC, r#"{"$patch":"replace","data":{"k":"v"}}"#),
            (
                "PATCH",
                APPLY,
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#,
            ),
        ];
        for (method, content_type, body) in cases {
            let (_, sent) = sent(&action(method, MAP, content_type, body), &judged());
            let mut expected: Value = serde_json::from_str(body).unwrap();
            expected["metadata"]["resourceVersion"] = json!("7");
            assert_eq!(sent, expected, "{method} {content_type}");
        }
    }

    /// Measured: an operation behind it takes a precondition that stands first away, and the API server then takes the change for an
    /// unconditional one.
    #[test]
    fn a_json_patch_carries_it_last() {
        let patch =
            r#"[{"op":"remove","path":"/metadata/resourceVersion"},{"op":"replace","path":"/data/k","value":"v"}]"#;
        let (_, sent) = sent(&action("PATCH", MAP, OPERATIONS, patch), &judged());
        let last = json!({ "op": "add", "path": "/metadata/resourceVersion", "value": "7" });
        assert_eq!((sent.as_array().unwrap().len(), &sent[2]), (3, &last));
    }

    #[test]
    fn a_delete_carries_both_where_its_options_are() {
        let in_query = action("DELETE", &format!("{MAP}?propagationPolicy=Foreground"), JSON, "");
        let (query, body) = sent(&in_query, &judged());
        assert_eq!(query, "propagationPolicy=Foreground&uid=u1&resourceVersion=7");
        assert_eq!(body, Value::Null);
        let in_body = action(
            "DELETE",
            MAP,
            JSON,
            r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}"#,
        );
        let (query, body) = sent(&in_body, &judged());
        assert_eq!(query, "");
        assert_eq!(body["preconditions"], json!({ "uid": "u1", "resourceVersion": "7" }));
        assert_eq!(body["gracePeriodSeconds"], json!(0));
    }

    #[test]
    fn an_eviction_carries_the_uid_of_its_pod() {
        let path = "/api/v1/namespaces/ns/pods/p/eviction";
        let body = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}"#;
        let (_, sent) = sent(
            &action("POST", path, JSON, body),
            &Precondition::Exactly {
                uid: String::from("u1"),
                resource_version: String::new(),
            },
        );
        assert_eq!(sent["deleteOptions"]["preconditions"], json!({ "uid": "u1" }));
    }

    #[test]
    fn what_was_not_there_meets_nothing() {
        let (_, sent) = sent(
            &action("PUT", MAP, JSON, r#"{"metadata":{"name":"a","resourceVersion":"9"}}"#),
            &Precondition::Absent,
        );
        assert_eq!(sent["metadata"]["resourceVersion"], json!("1"));
    }

    #[test]
    fn what_the_client_counts_on_is_compared_beforehand() {
        for (method, url, content_type, body, contradiction) in [
            ("PUT", MAP, JSON, r#"{"metadata":{"name":"a"}}"#, false),
            (
                "PUT",
                MAP,
                JSON,
                r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#,
                false,
            ),
            (
                "PUT",
                MAP,
                JSON,
                r#"{"metadata":{"name":"a","resourceVersion":"8"}}"#,
                true,
            ),
            ("PUT", MAP, JSON, r#"{"metadata":{"name":"a","uid":"u0"}}"#, true),
            ("PATCH", MAP, MERGE, r#"{"metadata":{"resourceVersion":"8"}}"#, true),
            ("PATCH", MAP, MERGE, r#"{"metadata":{"resourceVersion":null}}"#, false),
            (
                "PATCH",
                MAP,
                OPERATIONS,
                r#"[{"op":"replace","path":"/metadata/resourceVersion","value":"8"}]"#,
                true,
            ),
            (
                "PATCH",
                MAP,
                OPERATIONS,
                r#"[{"op":"replace","path":"/metadata","value":{"name":"a","uid":"u0"}}]"#,
                true,
            ),
            (
                "PATCH",
                MAP,
                OPERATIONS,
                r#"[{"op":"replace","path":"","value":{"metadata":{"resourceVersion":"8"}}}]"#,
                true,
            ),
            (
                "PATCH",
                MAP,
                OPERATIONS,
                r#"[{"op":"test","path":"/metadata/resourceVersion","value":"8"}]"#,
                false,
            ),
            ("DELETE", "/api/v1/namespaces/ns/configmaps/a?uid=u0", JSON, "", true),
            (
                "DELETE",
                MAP,
                JSON,
                r#"{"preconditions":{"resourceVersion":"8"}}"#,
                true,
            ),
            ("DELETE", MAP, JSON, r#"{"preconditions":{"uid":"u1"}}"#, false),
        ] {
            let action = action(method, url, content_type, body);
            assert_eq!(contradicts(&action, &judged()), contradiction, "{method} {url} {body}");
        }
    }
}
