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
