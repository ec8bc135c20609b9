//! OpenAPI v3 of the group, as `kubectl explain sessions` reads it.

use mantlet_api::gate::{API_VERSION, GROUP, VERSION};
use serde_json::{Value, json};

pub(crate) fn document() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let number = |description: &str| json!({"type": "integer", "format": "int64", "description": description});
    let user = json!({"type": "object", "description": "The verified identity.", "properties": {
        "issuer": text("Who vouched for it."), "subject": text("Its subject there."), "username": text("Its mapped name."),
        "groups": {"type": "array", "items": {"type": "string"}, "description": "Its mapped groups."},
        "population": text("agents or people; only the issuer says which.")}});
    let cluster = json!({"type": "object", "description": "The cluster by its name here and the uid of its kube-system.", "properties": {
        "name": text("Name in the gateway's configuration."), "uid": text("Uid of the namespace kube-system.")}});
    let session = json!({
        "spec": {"type": "object", "description": "Whose work it is.", "properties": {
            "cluster": cluster, "agent": text("Name of the Agent, if it is one's."), "user": user, "upstreamUser": text("The identity that the cluster sees.")}},
        "status": {"type": "object", "description": "How it goes.", "properties": {
            "phase": text("Active or Ended."), "startedAt": text("Time of the first request."), "lastSeenAt": text("Time of the last request."),
            "endsAt": text("When it ends at the latest."), "endedAt": text("When it ended."), "endedReason": text("Why it ended."),
            "requests": number("Requests so far."), "refused": number("Requests that the gateway refused.")}}});
    let event = json!({
        "spec": {"type": "object", "description": "Where it belongs.", "properties": {"session": text("Name of its session.")}},
        "event": {"type": "object", "description": "The request as an audit.k8s.io/v1 Event.", "x-kubernetes-preserve-unknown-fields": true}});
    let texts = |description: &str| json!({"type": "array", "items": {"type": "string"}, "description": description});
    let budget = |unit: &str, description: &str| {
        json!({"type": "object", "description": description, "properties": {
        unit: number("So many."), "per": text("In any stretch of time of this length.")}})
    };
    let agent = json!({
        "spec": {"type": "object", "description": "What the gateway's files say of it.", "properties": {
            "clusters": texts("Clusters on which it may act."), "namespaces": texts("Namespaces in which it may act."),
            "owners": {"type": "array", "description": "Who answers for it.", "items": {"type": "object", "properties": {
                "issuer": text("Who vouches for them."), "user": text("A person."), "group": text("A group of people.")}}},
            "serviceAccount": {"type": "object", "description": "The identity that the cluster sees.", "properties": {
                "namespace": text("Its namespace."), "name": text("Its name.")}},
            "limits": {"type": "object", "description": "How much of one cluster's time it may take.", "properties": {
                "requestsPerSecond": number("Requests a second."), "inFlight": number("Requests at the same time."),
                "watches": number("Watches and followed logs at the same time."),
                "deletes": budget("objects", "Distinct objects destroyed."), "namespaces": budget("count", "Distinct namespaces changed."),
                "secretReads": budget("count", "Distinct Secrets read."), "denials": budget("count", "Requests denied.")}},
            "expiresAt": text("From then on nobody is this agent.")}},
        "status": {"type": "object", "description": "How it stands.", "properties": {
            "phase": text("Active, Suspended or Expired."),
            "suspended": {"type": "object", "description": "Who stopped it.", "properties": {
                "at": text("When."), "by": text("Their name."), "reason": text("Why, in their words.")}}}}});
    let stop = json!({"reason": text("Why, in the operator's words; kept with the suspension of an agent.")});
    json!({"openapi": "3.0.0", "info": {"title": "Mantlet", "version": VERSION},
        "paths": {
            format!("/apis/{API_VERSION}/agents"): path("Agent"), format!("/apis/{API_VERSION}/agents/{{name}}"): path("Agent"),
            format!("/apis/{API_VERSION}/agents/{{name}}/suspend"): post("Agent"), format!("/apis/{API_VERSION}/agents/{{name}}/resume"): post("Agent"),
            format!("/apis/{API_VERSION}/sessions/{{name}}/end"): post("Session"),
            format!("/apis/{API_VERSION}/sessions"): path("Session"), format!("/apis/{API_VERSION}/sessions/{{name}}"): path("Session"),
            format!("/apis/{API_VERSION}/sessionevents"): path("SessionEvent"), format!("/apis/{API_VERSION}/sessionevents/{{name}}"): path("SessionEvent")},
        "components": {"schemas": {
            "dev.mantlet.gate.v1alpha1.Agent": schema("Agent", "Agent is a non-human identity that the gateway knows.", &agent),
            "dev.mantlet.gate.v1alpha1.StopOptions": schema("StopOptions", "StopOptions is what is sent to stop an agent or a session.", &stop),
            "dev.mantlet.gate.v1alpha1.Session": schema("Session", "Session is one credential's work: an agent run, a CI job, a login.", &session),
            "dev.mantlet.gate.v1alpha1.SessionEvent": schema("SessionEvent", "SessionEvent is one request of a session, named by its Audit-ID.", &event)}}})
}

fn path(kind: &str) -> Value {
    let gvk = json!({"group": GROUP, "version": VERSION, "kind": kind});
    json!({"get": {"description": format!("read {kind}"), "x-kubernetes-action": "get", "x-kubernetes-group-version-kind": gvk,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/dev.mantlet.gate.v1alpha1.{kind}")}}}}}}})
}

fn post(kind: &str) -> Value {
    let gvk = json!({"group": GROUP, "version": VERSION, "kind": "StopOptions"});
    let content = |kind: &str| json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/dev.mantlet.gate.v1alpha1.{kind}")}}});
    json!({"post": {"description": "stop it; for operators", "x-kubernetes-action": "post", "x-kubernetes-group-version-kind": gvk,
        "requestBody": {"required": true, "content": content("StopOptions")}, "responses": {"201": {"description": "Created", "content": content(kind)}}}})
}

fn schema(kind: &str, description: &str, properties: &Value) -> Value {
    let mut all = json!({
        "apiVersion": {"type": "string", "description": "gate.mantlet.dev/v1alpha1"}, "kind": {"type": "string", "description": kind},
        "metadata": {"type": "object", "description": "Standard object metadata.", "properties": {
            "name": {"type": "string"}, "uid": {"type": "string"}, "resourceVersion": {"type": "string"}, "creationTimestamp": {"type": "string", "format": "date-time"}}}});
    if let (Some(all), Some(more)) = (all.as_object_mut(), properties.as_object()) {
        all.extend(more.clone());
    }
    json!({"type": "object", "description": description, "properties": all, "x-kubernetes-group-version-kind": [{"group": GROUP, "version": VERSION, "kind": kind}]})
}
