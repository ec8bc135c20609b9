//! From the two records of a request to its one audit event.

use std::collections::BTreeMap;

use mantlet_api::audit::{API_VERSION, Event, Level, ObjectReference, ResponseStatus, Stage, UserInfo};
use mantlet_core::record::{
    Applied, Caller, Closed, Cluster, Decision, LookedUp, ObjectRef, Opened, Outcome, Risk, Stored, Upstream, Verdict,
};
use serde_json::{Value, json};

use crate::bodies;

/// As it stands while the request is under way.
pub(crate) fn opened(opened: &Opened, cluster: Option<&Cluster>, epoch: Option<u64>) -> Event {
    let mut event = Event {
        kind: String::from("Event"),
        api_version: API_VERSION.to_owned(),
        level: opened.level.unwrap_or(Level::Metadata),
        audit_id: opened.audit_id.clone(),
        stage: Stage::RequestReceived,
        request_uri: opened.uri.clone(),
        verb: verb(opened).to_owned(),
        user: opened.caller.as_ref().map(user).unwrap_or_default(),
        impersonated_user: opened.caller.as_ref().and_then(impersonated),
        source_ips: opened.source_ips.clone(),
        user_agent: opened.user_agent.clone(),
        object_ref: opened.object_ref.as_ref().map(object_reference),
        response_status: None,
        request_object: None,
        response_object: None,
        request_received_timestamp: opened.at.to_string(),
        stage_timestamp: opened.at.to_string(),
        annotations: annotations(opened, cluster, epoch),
    };
    bodies::note(&opened.request_object, false, &mut event);
    event
}

/// Brings an event to its end. One that has ended stays as it is.
pub(crate) fn close(event: &mut Event, closed: &Closed) -> Ended {
    if event.stage != Stage::RequestReceived {
        return Ended::Before;
    }
    event.stage = match closed.outcome {
        Outcome::Answered { .. } | Outcome::Refused { .. } | Outcome::Cut { .. } | Outcome::Abandoned => {
            Stage::ResponseComplete
        }
        Outcome::Unknown => Stage::Panic,
    };
    event.stage_timestamp = closed.at.to_string();
    event.response_status = status(&closed.outcome);
    event.annotations.insert(name("outcome"), outcome(&closed.outcome));
    note_lookups(&mut event.annotations, &closed.lookups);
    if let Some(verdict) = &closed.verdict {
        judged_again(&mut event.annotations, verdict);
    }
    if let Some(stored) = &closed.stored {
        note_stored(&mut event.annotations, stored);
    }
    bodies::note(&closed.response_object, true, event);
    if event.level == Level::RequestResponse && event.response_object.is_none() {
        event.response_object = refusal(&closed.outcome);
    }
    Ended::Now
}

/// What Mantlet answered itself needs no copy in the journal: it is all in the outcome. As the API server's own, a refusal is a `Status`.
fn refusal(outcome: &Outcome) -> Option<Value> {
    match outcome {
        Outcome::Refused { code, reason, message } => Some(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        })),
        Outcome::Answered { .. } | Outcome::Abandoned | Outcome::Unknown | Outcome::Cut { .. } => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Now,
    Before,
}

/// A close whose opening was never written (the process ended in between): all that is known.
pub(crate) fn bare(closed: &Closed, cluster: Option<&Cluster>, epoch: Option<u64>) -> Event {
    let mut event = opened_unknown(closed, cluster, epoch);
    close(&mut event, closed);
    event
}

/// The same before its close.
pub(crate) fn opened_unknown(closed: &Closed, cluster: Option<&Cluster>, epoch: Option<u64>) -> Event {
    Event {
        kind: String::from("Event"),
        api_version: API_VERSION.to_owned(),
        level: Level::Metadata,
        audit_id: closed.audit_id.clone(),
        stage: Stage::RequestReceived,
        request_uri: String::new(),
        verb: String::new(),
        user: UserInfo::default(),
        impersonated_user: None,
        source_ips: Vec::new(),
        user_agent: String::new(),
        object_ref: None,
        response_status: None,
        request_object: None,
        response_object: None,
        request_received_timestamp: closed.at.to_string(),
        stage_timestamp: closed.at.to_string(),
        annotations: place(cluster, epoch),
    }
}

/// k8s.io/apiserver `pkg/endpoints/request/requestinfo.go`: a connect request has the verb of its method, as any other.
fn verb(opened: &Opened) -> &str {
    match (opened.verb.as_str(), opened.method.as_str()) {
        ("exec" | "attach" | "portforward" | "proxy", "GET") => "get",
        ("exec" | "attach" | "portforward" | "proxy", "POST") => "create",
        ("exec" | "attach" | "portforward" | "proxy", "PUT") => "update",
        ("exec" | "attach" | "portforward" | "proxy", "PATCH") => "patch",
        ("exec" | "attach" | "portforward" | "proxy", "DELETE") => "delete",
        (verb, _) => verb,
    }
}

fn user(caller: &Caller) -> UserInfo {
    UserInfo {
        username: caller.username.clone(),
        groups: caller.groups.clone(),
        ..UserInfo::default()
    }
}

/// None for somebody the law does not know.
fn impersonated(caller: &Caller) -> Option<UserInfo> {
    let upstream = Some(&caller.impersonated).filter(|upstream| !upstream.user.is_empty())?;
    Some(UserInfo {
        username: upstream.user.clone(),
        uid: upstream.uid.clone(),
        groups: upstream.groups.clone(),
        extra: upstream.extra.clone(),
    })
}

/// Impersonation is the rule, and what an event says of it stands in `impersonatedUser` alone, as it always did.
fn upstream(way: Upstream) -> &'static str {
    match way {
        Upstream::Impersonation => "",
        Upstream::Token => "token",
    }
}

fn object_reference(object: &ObjectRef) -> ObjectReference {
    ObjectReference {
        resource: object.resource.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        api_group: object.api_group.clone(),
        api_version: object.api_version.clone(),
        subresource: object.subresource.clone(),
    }
}

fn annotations(opened: &Opened, cluster: Option<&Cluster>, epoch: Option<u64>) -> BTreeMap<String, String> {
    let mut notes = place(cluster, epoch);
    note(&mut notes, "session", opened.session.clone().unwrap_or_default());
    if let Some(caller) = &opened.caller {
        note(&mut notes, "agent", caller.agent.clone().unwrap_or_default());
        note(&mut notes, "upstream", upstream(caller.upstream).to_owned());
        note(&mut notes, "issuer", caller.issuer.clone());
        note(&mut notes, "subject", caller.subject.clone());
    }
    if matches!(opened.verb.as_str(), "exec" | "attach" | "portforward" | "proxy") {
        note(&mut notes, "verb", opened.verb.clone());
    }
    if let Some(verdict) = &opened.verdict {
        note_verdict(&mut notes, verdict);
    }
    note(&mut notes, "not-judged", opened.not_judged.join(", "));
    note_lookups(&mut notes, &opened.lookups);
    notes
}

fn place(cluster: Option<&Cluster>, epoch: Option<u64>) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    if let Some(cluster) = cluster {
        note(&mut notes, "cluster", cluster.name.clone());
        note(&mut notes, "cluster-uid", cluster.uid.clone());
    }
    note(
        &mut notes,
        "epoch",
        epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
    );
    notes
}

fn note_verdict(notes: &mut BTreeMap<String, String>, verdict: &Verdict) {
    let decision = match verdict.decision {
        Decision::Allow => "allow",
        Decision::Hold => "hold",
        Decision::Deny => "deny",
    };
    note(notes, "decision", decision.to_owned());
    note(notes, "policy", applied(&verdict.applied));
    note(notes, "reason", verdict.reason.clone());
    note(notes, "message", verdict.message.clone());
    note(notes, "warnings", verdict.warnings.join("; "));
    if let Some(risk) = &verdict.risk {
        note_risk(notes, risk);
    }
    // Their keys begin with the name of a policy, as in the API server's own events; what is Mantlet's own comes first.
    for (key, value) in &verdict.annotations {
        notes.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// In place of what the verdict before it left.
fn judged_again(notes: &mut BTreeMap<String, String>, verdict: &Verdict) {
    for key in [
        "decision",
        "policy",
        "reason",
        "message",
        "warnings",
        "risk",
        "risk-reasons",
        "shadow-risk",
    ] {
        notes.remove(&name(key));
    }
    note_verdict(notes, verdict);
    note(notes, "judged-again", String::from("true"));
}

/// A generated name is known only now, and whether a webhook made something else of it.
fn note_stored(notes: &mut BTreeMap<String, String>, stored: &Stored) {
    note(notes, "stored-name", stored.name.clone());
    note(notes, "stored-uid", stored.uid.clone());
    note(notes, "stored-differs", stored.differs.join(", "));
}

fn note_risk(notes: &mut BTreeMap<String, String>, risk: &Risk) {
    note(notes, "risk", risk.score.to_string());
    note(notes, "risk-reasons", risk.reasons.join("; "));
    if risk.shadow != risk.score {
        note(notes, "shadow-risk", risk.shadow.to_string());
    }
}

fn applied(applied: &[Applied]) -> String {
    let rules = applied
        .iter()
        .map(|applied| format!("{}={} ({})", applied.rule, applied.action, applied.strength));
    rules.collect::<Vec<_>>().join(", ")
}

/// JSON, because it is joined with the cluster's own log by programs.
fn note_lookups(notes: &mut BTreeMap<String, String>, lookups: &[LookedUp]) {
    if !lookups.is_empty() {
        note(notes, "lookups", serde_json::to_string(lookups).unwrap_or_default());
    }
}

fn note(notes: &mut BTreeMap<String, String>, key: &str, value: String) {
    if !value.is_empty() {
        notes.insert(name(key), value);
    }
}

fn name(key: &str) -> String {
    format!("mantlet.dev/{key}")
}

fn status(outcome: &Outcome) -> Option<ResponseStatus> {
    match outcome {
        Outcome::Answered { code, reason } => Some(response_status(*code, reason, "")),
        Outcome::Refused { code, reason, message } => Some(response_status(*code, reason, message)),
        Outcome::Cut { code, .. } => Some(response_status(*code, "", "")),
        Outcome::Abandoned | Outcome::Unknown => None,
    }
}

fn response_status(code: u16, reason: &str, message: &str) -> ResponseStatus {
    let status = if code >= 400 { "Failure" } else { "" };
    ResponseStatus {
        status: status.to_owned(),
        message: message.to_owned(),
        reason: reason.to_owned(),
        code,
        ..ResponseStatus::default()
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { .. } => String::from("answered"),
        Outcome::Refused { .. } => String::from("refused"),
        Outcome::Abandoned => String::from("abandoned"),
        Outcome::Unknown => String::from("unknown"),
        Outcome::Cut { why, .. } => format!("cut: {why}"),
    }
}
