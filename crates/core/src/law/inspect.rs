//! What an object refers to: its pod spec, the Secrets that it draws in, the identities that it names.
//!
//! Reads JSON by shape, generously: a place that could be a reference counts as one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::action::ResourceRef;

/// Where the pod spec lies in an object of this resource; `None` if it has none.
///
/// Subresources have none but `ephemeralcontainers`: what else they can change is no part of a pod spec.
pub(super) fn pod_spec_path(resource: &ResourceRef) -> Option<&'static [&'static str]> {
    match (
        resource.group.as_str(),
        resource.resource.as_str(),
        resource.subresource.as_str(),
    ) {
        ("", "pods", "" | "ephemeralcontainers") => Some(&["spec"]),
        ("", "podtemplates", "") => Some(&["template", "spec"]),
        ("", "replicationcontrollers", "")
        | ("apps", "deployments" | "statefulsets" | "daemonsets" | "replicasets", "")
        | ("batch", "jobs", "") => Some(&["spec", "template", "spec"]),
        ("batch", "cronjobs", "") => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        // A rollback makes a template of what is in here.
        ("apps", "controllerrevisions", "") => Some(&["data", "spec", "template", "spec"]),
        _ => None,
    }
}

pub(super) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| value.get(step))
}

pub(super) fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path).and_then(Value::as_str)
}

pub(super) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Names of the Secrets that a pod spec draws in, wherever in it: environment, volumes (projected, CSI and the old drivers too), image pulls.
/// A reference whose name is no text is the empty name, which no scope lists.
pub(super) fn secrets_of_pod_spec(spec: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect_secrets(spec, &mut names);
    for pull in list(spec, "imagePullSecrets") {
        names.insert(name_in(pull));
    }
    names
}

/// Names of the Secrets that a ServiceAccount hands to the pods that use it.
pub(super) fn secrets_of_service_account(object: &Value) -> BTreeSet<String> {
    ["secrets", "imagePullSecrets"]
        .iter()
        .flat_map(|field| list(object, field))
        .map(name_in)
        .collect()
}

fn collect_secrets(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match key.as_str() {
                    "secretKeyRef" | "secretRef" | "nodePublishSecretRef" | "secret" if field.is_object() => {
                        names.insert(name_in(field));
                    }
                    "secretName" => {
                        names.insert(field.as_str().unwrap_or_default().to_owned());
                    }
                    _ => {}
                }
                collect_secrets(field, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn name_in(reference: &Value) -> String {
    let name = reference.get("name").or_else(|| reference.get("secretName"));
    name.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether any text in the object fulfills `test`. Server bookkeeping (`managedFields`) does not count.
pub(super) fn any_text(value: &Value, test: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => test(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, test)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, field)| key != "managedFields" && (test(key) || any_text(field, test))),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_draw_in_a_secret_is_seen() {
        let spec = json!({
            "imagePullSecrets": [{ "name": "pull" }],
            "containers": [{
                "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "env", "key": "k" } } }],
                "envFrom": [{ "secretRef": { "name": "env-from" } }, { "configMapRef": { "name": "not-me" } }],
            }],
            "initContainers": [{ "envFrom": [{ "secretRef": { "name": "init" } }] }],
            "ephemeralContainers": [{ "envFrom": [{ "secretRef": { "name": "ephemeral" } }] }],
            "volumes": [
                { "name": "v", "secret": { "secretName": "volume" } },
                { "name": "p", "projected": { "sources": [{ "secret": { "name": "projected" } }] } },
                { "name": "c", "csi": { "nodePublishSecretRef": { "name": "csi" } } },
                { "name": "r", "rbd": { "secretRef": { "name": "rbd" } } },
                { "name": "z", "azureFile": { "secretName": "azure" } },
            ],
        });
        let found: Vec<_> = secrets_of_pod_spec(&spec).into_iter().collect();
        let expected = [
            "azure",
            "csi",
            "env",
            "env-from",
            "ephemeral",
            "init",
            "projected",
            "pull",
            "rbd",
            "volume",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_reference_that_cannot_be_read_still_counts() {
        let spec = json!({ "volumes": [{ "secret": { "secretName": 7 } }], "imagePullSecrets": [{}] });
        assert_eq!(secrets_of_pod_spec(&spec).into_iter().collect::<Vec<_>>(), [""]);
    }
}
