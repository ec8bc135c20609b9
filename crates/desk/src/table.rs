//! Tables as kubectl asks for them (`as=Table;v=v1;g=meta.k8s.io`): the columns of `kubectl get sessions`.

use mantlet_api::gate::{Session, SessionEvent, SessionPhase};
use mantlet_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// A kind that can be shown in rows.
pub(crate) trait Row: Serialize {
    /// Name, type, description, priority (1: only with `-o wide`).
    const COLUMNS: &'static [(&'static str, &'static str, &'static str, i32)];
    fn cells(&self, now: Timestamp) -> Vec<Value>;
    fn metadata(&self) -> Value;
}

impl Row for Session {
    const COLUMNS: &'static [(&'static str, &'static str, &'static str, i32)] = &[
        ("Name", "string", "Name of the session", 0),
        ("Agent", "string", "The agent, if it is one's", 0),
        ("User", "string", "The verified identity", 0),
        ("Phase", "string", "Active or Ended", 0),
        ("Requests", "integer", "Requests so far", 0),
        ("Refused", "integer", "Requests that the gateway refused", 0),
        ("Age", "string", "Time since its first request", 0),
        ("Last-Seen", "string", "Time since its last request", 1),
        ("As", "string", "The identity that the cluster sees", 1),
        ("Cluster", "string", "Name of the cluster", 1),
    ];

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        vec![
            self.metadata.name.clone().into(),
            self.spec.agent.clone().unwrap_or_else(|| "<none>".into()).into(),
            self.spec.user.username.clone().into(),
            match self.status.phase {
                SessionPhase::Active => "Active".into(),
                SessionPhase::Ended => "Ended".into(),
            },
            self.status.requests.into(),
            self.status.refused.into(),
            age(&self.status.started_at, now).into(),
            age(&self.status.last_seen_at, now).into(),
            self.spec.upstream_user.clone().into(),
            self.spec.cluster.name.clone().into(),
        ]
    }

    fn metadata(&self) -> Value {
        serde_json::to_value(&self.metadata).unwrap_or_default()
    }
}

impl Row for SessionEvent {
    const COLUMNS: &'static [(&'static str, &'static str, &'static str, i32)] = &[
        ("Time", "string", "When the request came", 0),
        ("Verb", "string", "What was asked", 0),
        ("Resource", "string", "Of what", 0),
        ("Namespace", "string", "Where", 0),
        ("Object", "string", "Which one", 0),
        ("Decision", "string", "allow, hold or deny", 0),
        ("Code", "string", "Status code of the answer", 0),
        ("Rule", "string", "What decided", 0),
        ("Name", "string", "The Audit-ID", 1),
        ("Session", "string", "Its session", 1),
        ("User", "string", "The verified identity", 1),
    ];

    fn cells(&self, _now: Timestamp) -> Vec<Value> {
        let event = &self.event;
        let note = |key: &str| {
            event
                .annotations
                .get(&format!("mantlet.dev/{key}"))
                .cloned()
                .unwrap_or_default()
        };
        let target = event.object_ref.clone().unwrap_or_default();
        let resource = match (target.resource.is_empty(), target.subresource.is_empty()) {
            (true, _) => event.request_uri.split('?').next().unwrap_or_default().to_owned(),
            (false, true) => target.resource,
            (false, false) => format!("{}/{}", target.resource, target.subresource),
        };
        let code = event
            .response_status
            .as_ref()
            .map_or_else(|| note("outcome"), |s| s.code.to_string());
        vec![
            event.request_received_timestamp.clone().into(),
            event.verb.clone().into(),
            resource.into(),
            target.namespace.into(),
            target.name.into(),
            note("decision").into(),
            code.into(),
            note("policy").into(),
            self.metadata.name.clone().into(),
            self.spec.session.clone().into(),
            event.user.username.clone().into(),
        ]
    }

    fn metadata(&self) -> Value {
        serde_json::to_value(&self.metadata).unwrap_or_default()
    }
}

/// A Table of rows. `head` is false in a watch after its first event.
pub(crate) fn table<T: Row>(rows: &[T], metadata: &Value, head: bool, now: Timestamp) -> Value {
    let columns: Vec<Value> = T::COLUMNS
        .iter()
        .map(|(name, kind, description, priority)| json!({"name": name, "type": kind, "format": if *name == "Name" { "name" } else { "" }, "description": description, "priority": priority}))
        .collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| json!({"cells": row.cells(now), "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": row.metadata()}}))
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": if head { columns } else { Vec::new() }, "rows": rows})
}

/// As kubectl prints ages: the two largest units that say something.
fn age(since: &str, now: Timestamp) -> String {
    let Some(then) = Timestamp::parse(since) else {
        return "<unknown>".into();
    };
    let seconds = now.since(then).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let now = Timestamp::from_seconds(1_000_000);
        let ago = |s: i64| age(&Timestamp::from_seconds(1_000_000 - s).to_seconds_text(), now);
        assert_eq!(
            [ago(5), ago(119), ago(300), ago(7300), ago(200_000)],
            ["5s", "119s", "5m", "2h", "2d"]
        );
        assert_eq!(age("nonsense", now), "<unknown>");
    }
}
