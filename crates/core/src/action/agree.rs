//! Whether a body speaks of what the URL speaks of, and the options of a delete.
//!
//! In: the masked body. Out: nothing, or [`Options`]. Refuses: another group, version, kind, namespace or name than the URL's; a `List`;
//! delete options that are not.
//! As strict as the API server and no stricter where honest clients rely on it: kind and apiVersion may be missing
//! (`k8s.io/apiserver` `pkg/endpoints/handlers/create.go`, the route's kind is the default), a namespace on a cluster-scoped
//! object is ignored (`pkg/registry/rest/meta.go`).

use serde_json::{Map, Value};

use super::{Options, ResourceRef, Unreadable, Verb, query, table};
use crate::wire::protobuf;

pub(super) fn object(verb: Verb, place: &ResourceRef, body: &Value) -> Result<(), Unreadable> {
    // A JSON patch is an array; what it makes of the object, the law sees by a dry-run.
    let Value::Object(object) = body else {
        return array_only_for_patch(verb, body);
    };
    let kind = text(object, "kind")?;
    if verb == Verb::Create && matches!(kind, Some("List")) {
        return Err(Unreadable::bad_request(
            "a List cannot be created in one request; send its items one by one",
        ));
    }
    agree_on_version(place, text(object, "apiVersion")?)?;
    agree_on_kind(place, kind)?;
    let Some(meta) = object.get("metadata") else {
        return named_if_put(verb, place, None);
    };
    let Value::Object(meta) = meta else {
        return if meta.is_null() {
            named_if_put(verb, place, None)
        } else {
            Err(Unreadable::bad_request("metadata of the body must be an object"))
        };
    };
    agree_on_namespace(place, text(meta, "namespace")?)?;
    named_if_put(verb, place, text(meta, "name")?)
}

fn array_only_for_patch(verb: Verb, body: &Value) -> Result<(), Unreadable> {
    if verb == Verb::Patch && body.is_array() {
        return Ok(());
    }
    Err(Unreadable::bad_request("the body must be one JSON object"))
}

/// A string field; missing, null and empty are the same to Go.
fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, Unreadable> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(Unreadable::bad_request(format!(
            "`{field}` of the body must be a string"
        ))),
    }
}

fn agree_on_version(place: &ResourceRef, written: Option<&str>) -> Result<(), Unreadable> {
    let Some(written) = written.filter(|_| !table::carries_own_kind(place)) else {
        return Ok(());
    };
    let same = match written.split_once('/') {
        Some((group, version)) => group == place.group && version == place.version,
        None => place.group.is_empty() && written == place.version,
    };
    if same {
        return Ok(());
    }
    Err(Unreadable::bad_request(
        "the apiVersion of the body is not that of the path; send the object to the path of its own group and version",
    ))
}

/// Of what Kubernetes itself serves the kind is known; of other resources the API server says, after the judgment of whoever masks
/// and judges by the path.
fn agree_on_kind(place: &ResourceRef, written: Option<&str>) -> Result<(), Unreadable> {
    let known = protobuf::kind_of(&place.group, &place.version, &place.resource);
    match (known.filter(|_| !table::carries_own_kind(place)), written) {
        (Some(known), Some(written)) if written != known => Err(Unreadable::bad_request(format!(
            "the kind of the body is not {known}, of which the path is; send the object to the path of its own kind",
        ))),
        (_, _) => Ok(()),
    }
}

fn agree_on_namespace(place: &ResourceRef, written: Option<&str>) -> Result<(), Unreadable> {
    let cluster_scoped = place.namespace.is_empty() || place.resource == "namespaces";
    if cluster_scoped || written.is_none_or(|namespace| namespace == place.namespace) {
        return Ok(());
    }
    Err(Unreadable::bad_request(
        "metadata.namespace of the body is not the namespace of the path; make them equal, or leave it out of the body",
    ))
}

/// PUT must name its object (`pkg/endpoints/handlers/rest.go`, checkName); others may leave it out where the path has a name.
fn named_if_put(verb: Verb, place: &ResourceRef, written: Option<&str>) -> Result<(), Unreadable> {
    let agrees = match written {
        Some(name) => place.name.is_empty() || name == place.name,
        None => verb != Verb::Update,
    };
    if agrees {
        return Ok(());
    }
    Err(Unreadable::bad_request(
        "metadata.name of the body is not the name in the path; make them equal",
    ))
}

/// Reads `DeleteOptions`. Everything the API server would look at has to be understood.
pub(super) fn delete_options(body: &Value) -> Result<Options, Unreadable> {
    let Value::Object(object) = body else {
        return Err(Unreadable::bad_request("the body of a delete must be DeleteOptions"));
    };
    if text(object, "kind")?.is_some_and(|kind| kind != "DeleteOptions") {
        return Err(Unreadable::bad_request(
            "the body of a delete must be of kind DeleteOptions, or empty",
        ));
    }
    text(object, "apiVersion")?;
    if let Some(unknown) = object.keys().find(|name| !DELETE_OPTIONS.contains(&name.as_str())) {
        return Err(Unreadable::bad_request(format!(
            "DeleteOptions have no field {}",
            super::shown(unknown)
        )));
    }
    Ok(Options {
        dry_run: dry_run(object.get("dryRun"))?,
        grace_period_seconds: number(object)?,
        propagation_policy: query::propagation(
            text(object, "propagationPolicy")?.unwrap_or_default().to_owned(),
            flag(object, "orphanDependents")?,
        ),
        unread: flag(object, "ignoreStoreReadErrorWithClusterBreakingPotential")?.unwrap_or_default(),
        ..Options::default()
    })
}

const DELETE_OPTIONS: [&str; 8] = [
    "apiVersion",
    "kind",
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "preconditions",
    "propagationPolicy",
];

fn dry_run(value: Option<&Value>) -> Result<bool, Unreadable> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Array(all)) if all.is_empty() => Ok(false),
        Some(Value::Array(all)) if all.len() == 1 && all[0] == "All" => Ok(true),
        Some(_) => Err(Unreadable::bad_request(
            "dryRun of DeleteOptions must be [\"All\"], or be left out",
        )),
    }
}

fn number(object: &Map<String, Value>) -> Result<Option<i64>, Unreadable> {
    match object.get("gracePeriodSeconds") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_i64()
            .map(Some)
            .ok_or_else(|| Unreadable::bad_request("gracePeriodSeconds must be a whole number")),
    }
}

fn flag(object: &Map<String, Value>, field: &str) -> Result<Option<bool>, Unreadable> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Unreadable::bad_request(format!(
            "`{field}` of DeleteOptions must be true or false"
        ))),
    }
}
