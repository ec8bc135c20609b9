//! How clients learn that the group is there: merged into the cluster's own discovery and OpenAPI, in each form that clients ask for.

use mantlet_api::gate::{API_VERSION, GROUP, VERSION};
use serde_json::{Value, json};

/// The paths of discovery and OpenAPI that speak of this group alone.
pub(crate) fn is_ours(path: &str) -> bool {
    path == format!("/apis/{GROUP}") || path == format!("/apis/{API_VERSION}") || path == openapi_path()
}

pub(crate) fn openapi_path() -> String {
    format!("/openapi/v3/apis/{API_VERSION}")
}

/// Adds the group to `/apis`: an `APIGroupList`, or an `APIGroupDiscoveryList` (KEP-3352) where the client asked for aggregated discovery.
pub fn merge_groups(document: &mut Value) {
    let aggregated = document.get("kind").and_then(Value::as_str) == Some("APIGroupDiscoveryList");
    let (list, ours) = if aggregated {
        ("items", aggregated_group())
    } else {
        ("groups", group())
    };
    if let Some(groups) = document.get_mut(list).and_then(Value::as_array_mut) {
        groups.push(ours);
    }
}

/// Adds the group to `/openapi/v3`.
pub fn merge_openapi_paths(document: &mut Value) {
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        paths.insert(
            format!("apis/{API_VERSION}"),
            json!({"serverRelativeURL": openapi_path()}),
        );
    }
}

/// `/apis/gate.mantlet.dev`.
pub(crate) fn group_document() -> Value {
    let mut group = group();
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group
}

/// `/apis/gate.mantlet.dev/v1alpha1`.
pub(crate) fn resources_document() -> Value {
    let resource = |plural: &str, singular: &str, kind: &str, short: &[&str]| json!({"name": plural, "singularName": singular, "namespaced": false, "kind": kind, "verbs": ["get", "list", "watch"], "shortNames": short});
    let stop = |name: &str| json!({"name": name, "singularName": "", "namespaced": false, "kind": "StopOptions", "verbs": ["create"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION, "resources": [
        json!({"name": "agents", "singularName": "agent", "namespaced": false, "kind": "Agent", "verbs": ["get", "list"]}),
        stop("agents/resume"),
        stop("agents/suspend"),
        resource("sessionevents", "sessionevent", "SessionEvent", &["sev"]),
        resource("sessions", "session", "Session", &["ses"]),
        stop("sessions/end"),
    ]})
}

fn group() -> Value {
    let version = json!({"groupVersion": API_VERSION, "version": VERSION});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

fn aggregated_group() -> Value {
    let resource = |plural: &str, singular: &str, kind: &str, short: &[&str]| {
        json!({"resource": plural, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": "Cluster", "singularResource": singular,
            "verbs": ["get", "list", "watch"], "shortNames": short})
    };
    let stop = |name: &str| json!({"subresource": name, "responseKind": {"group": "", "version": "", "kind": "StopOptions"}, "verbs": ["create"]});
    let with = |mut resource: Value, verbs: &[&str], stops: &[&str]| {
        resource["verbs"] = verbs.into();
        resource["subresources"] = stops.iter().map(|name| stop(name)).collect();
        resource
    };
    json!({"metadata": {"name": GROUP, "creationTimestamp": null}, "versions": [{"version": VERSION, "freshness": "Current", "resources": [
        with(resource("agents", "agent", "Agent", &[]), &["get", "list"], &["resume", "suspend"]),
        resource("sessionevents", "sessionevent", "SessionEvent", &["sev"]),
        with(resource("sessions", "session", "Session", &["ses"]), &["get", "list", "watch"], &["end"]),
    ]}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_added_in_the_form_the_client_asked_for() {
        let mut plain = json!({"kind": "APIGroupList", "groups": []});
        merge_groups(&mut plain);
        assert_eq!(plain["groups"][0]["name"], GROUP);
        let mut aggregated = json!({"kind": "APIGroupDiscoveryList", "items": []});
        merge_groups(&mut aggregated);
        assert_eq!(aggregated["items"][0]["metadata"]["name"], GROUP);
        assert!(aggregated.get("groups").is_none());
    }
}
