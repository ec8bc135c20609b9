//! The API server's own answers (`vectors/auditpolicy.jsonl`, made by the oracle's `auditrule`), and what it refuses.

use mantlet_api::audit::{Level, Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Deserialize)]
struct Vector {
    policy: Policy,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    request: Asked,
    audit: Answer,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Asked {
    user: String,
    groups: Vec<String>,
    verb: String,
    path: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

impl Default for Asked {
    fn default() -> Self {
        let none = String::new;
        Self {
            user: none(),
            groups: Vec::new(),
            verb: none(),
            path: none(),
            group: none(),
            version: none(),
            resource: none(),
            subresource: none(),
            namespace: none(),
            name: none(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    level: Level,
    omit_managed_fields: bool,
}

fn target(asked: &Asked) -> Target {
    match asked.resource.is_empty() {
        true => Target::Path(asked.path.clone()),
        false => Target::Resource(ResourceRef {
            group: asked.group.clone(),
            version: asked.version.clone(),
            resource: asked.resource.clone(),
            subresource: asked.subresource.clone(),
            namespace: asked.namespace.clone(),
            name: asked.name.clone(),
        }),
    }
}

fn evaluate(policy: &RecordingPolicy, asked: &Asked) -> Recording {
    policy.evaluate(&Attributes {
        user: &asked.user,
        groups: &asked.groups,
        verb: &asked.verb,
        target: &target(asked),
    })
}

#[test]
fn every_request_is_recorded_as_the_api_server_would() {
    let mut seen = std::collections::BTreeMap::new();
    for line in include_str!("../../../vectors/auditpolicy.jsonl").lines() {
        let vector: Vector = serde_json::from_str(line).unwrap();
        let policy = RecordingPolicy::compile(vector.policy).unwrap();
        for case in &vector.cases {
            let found = evaluate(&policy, &case.request);
            assert_eq!(
                (found.level, found.omit_managed_fields),
                (case.audit.level, case.audit.omit_managed_fields),
                "{:?} under {:?}",
                case.request,
                policy
            );
            *seen.entry(found.level).or_insert(0) += 1;
        }
    }
    assert!(seen.len() == 4 && seen.values().all(|n| *n > 10), "{seen:?}");
}

fn policy(rules: Value) -> Policy {
    serde_json::from_value(json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})).unwrap()
}

#[test]
fn what_the_api_server_refuses_is_refused_with_its_place() {
    for (rules, path) in [
        (json!([]), "rules"),
        (
            json!([{"level": "None", "nonResourceURLs": ["healthz"]}]),
            "rules[0].nonResourceURLs[0]",
        ),
        (
            json!([{"level": "None", "nonResourceURLs": ["/a*b"]}]),
            "rules[0].nonResourceURLs[0]",
        ),
        (
            json!([{"level": "None"}, {"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}]),
            "rules[1].nonResourceURLs",
        ),
        (
            json!([{"level": "None", "resources": [{"group": "rbac.authorization.k8s.io/v1"}]}]),
            "rules[0].resources[0].group",
        ),
        (
            json!([{"level": "None", "resources": [{"group": "", "resourceNames": ["a"]}]}]),
            "rules[0].resources[0].resourceNames",
        ),
    ] {
        let faults = RecordingPolicy::compile(policy(rules)).unwrap_err();
        assert_eq!(
            faults.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(),
            [path]
        );
    }
}

#[test]
fn fields_that_nobody_knows_are_errors_and_null_is_empty() {
    let read = |rule: Value| {
        serde_json::from_value::<Policy>(json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [rule]}))
    };
    assert!(read(json!({"level": "Metadata", "user": ["a"]})).is_err());
    assert!(read(json!({"level": "metadata"})).is_err());
    let rule = read(json!({"level": "Metadata", "users": null, "resources": [{"group": null}]})).unwrap();
    assert_eq!(rule.rules[0].resources[0].group, "");
}

#[test]
fn stages_are_omitted_by_the_policy_or_by_its_rule() {
    let written = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["Panic"],
        "rules": [{"level": "Metadata", "omitStages": ["ResponseComplete"]}]});
    let policy = RecordingPolicy::compile(serde_json::from_value(written).unwrap()).unwrap();
    let recording = evaluate(&policy, &Asked::default());
    assert_eq!(recording.omit_stages, [Stage::Panic, Stage::ResponseComplete]);
}

#[test]
fn without_a_file_changes_are_recorded_whole_and_reads_and_secrets_by_their_metadata() {
    let standard = RecordingPolicy::standard();
    let of = |verb: &str, resource: &str| {
        let (verb, resource, version) = (verb.into(), resource.into(), "v1".into());
        let asked = Asked {
            verb,
            resource,
            version,
            ..Asked::default()
        };
        evaluate(&standard, &asked).level
    };
    assert_eq!(of("patch", "configmaps"), Level::RequestResponse);
    assert_eq!(of("deletecollection", "pods"), Level::RequestResponse);
    assert_eq!(of("list", "pods"), Level::Metadata);
    assert_eq!(of("create", "secrets"), Level::Metadata);
    assert_eq!(of("get", ""), Level::Metadata);
}

#[test]
fn what_carries_tokens_is_never_recorded_with_its_body() {
    let place = |group: &str, resource: &str, subresource: &str| ResourceRef {
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        ..ResourceRef::default()
    };
    assert!(holds_tokens(&place("", "serviceaccounts", "token")));
    assert!(holds_tokens(&place("authentication.k8s.io", "tokenreviews", "")));
    assert!(!holds_tokens(&place("", "serviceaccounts", "")));
    assert!(!holds_tokens(&place("authentication.k8s.io", "selfsubjectreviews", "")));
}
