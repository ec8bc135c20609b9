//! Truthful answers: what a review of oneself says goes for the whole way, not for its last part.
//!
//! In: the cluster's answer to a SelfSubjectAccessReview or SelfSubjectRulesReview, and the law in force. Out: the same with the law's part: *no* where
//! every such request ends here, *yes* with a reason where some do; rules without what is never possible, and said to be incomplete.
//! Deliberately does not: make a *no* of the cluster a *yes*, but for the virtual API, which RBAC knows nothing of.

use std::sync::Arc;

use mantlet_core::action::{self, Action, Head, Target, Verb};
use mantlet_core::identity::Caller;
use mantlet_core::law::{Access, Can, ClusterRef, Law, Star};
use mantlet_core::time::Timestamp;
use serde_json::{Value, json};

use crate::pipeline::not_served;

/// Combinations of verb, group and resource in one list of rules that are looked at. What goes beyond stays as the cluster says it.
const MOST: usize = 2_000;

/// Which review an answer is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Review {
    Access,
    Rules,
}

/// Who asks, and by which law it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bench<'a> {
    pub(crate) law: &'a Law,
    pub(crate) cluster: &'a ClusterRef,
    pub(crate) caller: &'a Arc<Caller>,
    pub(crate) now: Timestamp,
}

impl Review {
    pub(crate) fn of(action: &Action) -> Option<Self> {
        let Target::Resource(resource) = action.target() else {
            return None;
        };
        match (
            action.verb(),
            resource.group.as_str(),
            resource.resource.as_str(),
            resource.subresource.as_str(),
        ) {
            (Verb::Create, "authorization.k8s.io", "selfsubjectaccessreviews", "") => Some(Review::Access),
            (Verb::Create, "authorization.k8s.io", "selfsubjectrulesreviews", "") => Some(Review::Rules),
            _ => None,
        }
    }

    /// False if the answer is not in the form that this review has: then nobody can say what it would tell.
    pub(crate) fn amend(self, action: &Action, answer: &mut Value, bench: Bench<'_>) -> bool {
        // Not the answer's own `spec`: that to a rules review has none (kubernetes `pkg/registry/authorization/selfsubjectrulesreview/rest.go`).
        let Some(spec) = action.submitted().and_then(|review| review.get("spec")) else {
            return false;
        };
        let kind = answer.get("kind").and_then(Value::as_str);
        match self {
            Review::Access if kind == Some("SelfSubjectAccessReview") => access(spec, answer, bench),
            Review::Rules if kind == Some("SelfSubjectRulesReview") => rules(spec, answer, bench),
            Review::Access | Review::Rules => return false,
        }
        true
    }
}

fn access(spec: &Value, answer: &mut Value, bench: Bench<'_>) {
    let attributes = spec.get("resourceAttributes").map(attributes);
    let can = match (&attributes, spec.get("nonResourceAttributes")) {
        (Some(access), _) => bench.can(access, Star::All),
        (None, Some(path)) => path_can(text(path, "verb"), text(path, "path")),
        (None, None) => return,
    };
    let ours = attributes.is_some_and(|access| access.group == mantlet_api::gate::GROUP);
    let allowed = answer.pointer("/status/allowed").and_then(Value::as_bool) == Some(true);
    match can {
        Can::Never { rule, why } if allowed => {
            let rule = rule.map_or_else(String::new, |rule| format!(" ({rule})"));
            answer["status"] = json!({"allowed": false, "denied": true, "reason": format!("{why}{rule}")});
        }
        Can::Perhaps(rule) if allowed => {
            answer["status"]["reason"] =
                format!("may need approval, depending on what exactly is asked ({rule})").into();
        }
        Can::Free if ours => answer["status"] = json!({"allowed": true, "reason": "the gateway itself serves this"}),
        Can::Never { .. } | Can::Perhaps(_) | Can::Free => {}
    }
}

/// The gateway reads few paths that are no resources, and writes none.
fn path_can(verb: &str, path: &str) -> Can {
    let head = Head {
        method: "GET",
        path,
        query: None,
        accept: &["*/*"],
        content_type: None,
        upgrade: false,
    };
    let open = path.contains('*') || verb == "*";
    match open || (verb == "get" && action::parse(&head).is_ok_and(|outline| outline.complete(None).is_ok())) {
        true => Can::Free,
        false => Can::Never {
            rule: None,
            why: String::from(
                "not through this gateway, which serves discovery, OpenAPI, version and health, to be read",
            ),
        },
    }
}

fn rules(spec: &Value, answer: &mut Value, bench: Bench<'_>) {
    let namespace = text(spec, "namespace");
    let Some(status) = answer.get_mut("status").and_then(Value::as_object_mut) else {
        return;
    };
    let mut left = MOST;
    let written = status
        .get("resourceRules")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let kept: Vec<Value> = written
        .iter()
        .flat_map(|rule| possible(rule, namespace, bench, &mut left))
        .collect();
    status.insert(String::from("resourceRules"), Value::Array(kept));
    status.insert(String::from("incomplete"), Value::Bool(true));
    let own = "this gateway leaves out what it never lets through; of what is listed, it may hold or refuse some, depending on what exactly is asked";
    let said = status
        .get("evaluationError")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    let said = said.map_or_else(|| own.to_owned(), |text| format!("{text}; {own}"));
    status.insert(String::from("evaluationError"), Value::String(said));
}

/// What of a rule can happen at all: the rule itself, or the parts of it that are left.
fn possible(rule: &Value, namespace: &str, bench: Bench<'_>, left: &mut usize) -> Vec<Value> {
    let (verbs, groups, resources, names) = (
        texts(rule, "verbs"),
        texts(rule, "apiGroups"),
        texts(rule, "resources"),
        texts(rule, "resourceNames"),
    );
    let combinations = verbs
        .len()
        .saturating_mul(groups.len())
        .saturating_mul(resources.len())
        .saturating_mul(names.len().max(1));
    if combinations > *left {
        return vec![rule.clone()];
    }
    *left -= combinations;
    let mut parts = Vec::new();
    for group in &groups {
        for resource in &resources {
            let may = |verb: &&&str| {
                let one = |name: &str| bench.possible(verb, group, resource, namespace, name);
                if names.is_empty() {
                    one("")
                } else {
                    names.iter().any(|name| one(name))
                }
            };
            parts.push((*group, *resource, verbs.iter().filter(may).copied().collect::<Vec<_>>()));
        }
    }
    if parts.iter().all(|(_, _, may)| may.len() == verbs.len()) {
        return vec![rule.clone()];
    }
    let part = |(group, resource, may): (&str, &str, Vec<&str>)| {
        let mut part = json!({"verbs": may, "apiGroups": [group], "resources": [resource]});
        if !names.is_empty() {
            part["resourceNames"] = json!(names);
        }
        part
    };
    parts
        .into_iter()
        .filter(|(_, _, may)| !may.is_empty())
        .map(part)
        .collect()
}

impl Bench<'_> {
    fn possible(&self, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let [verb, group, resource, subresource, namespace, name] =
            [verb, group, resource, subresource, namespace, name].map(str::to_owned);
        let access = Access {
            verb,
            group,
            version: String::new(),
            resource,
            subresource,
            namespace,
            name,
        };
        !matches!(self.can(&access, Star::Any), Can::Never { .. })
    }

    /// The law, and what this gateway has no way for.
    fn can(&self, access: &Access, star: Star) -> Can {
        let not_here = |why: String| Can::Never { rule: None, why };
        if let Some(why) = access.connects().and_then(not_served) {
            return not_here(why);
        }
        if let Some(why) = unknown(access) {
            return not_here(why);
        }
        self.law.can(self.cluster, self.caller, access, star, self.now)
    }
}

/// A subresource that no request through the gateway can name.
fn unknown(access: &Access) -> Option<String> {
    let plain = |text: &str| !text.is_empty() && text != "*";
    if !plain(&access.subresource)
        || !plain(&access.resource)
        || access.group == "*"
        || access.group == mantlet_api::gate::GROUP
    {
        return None;
    }
    let root = if access.group.is_empty() {
        String::from("/api/v1")
    } else {
        format!("/apis/{}/v1", access.group)
    };
    let path = format!("{root}/{}/x/{}", access.resource, access.subresource);
    let head = Head {
        method: "GET",
        path: &path,
        query: None,
        accept: &["application/json"],
        content_type: None,
        upgrade: false,
    };
    action::parse(&head).err().map(|unreadable| unreadable.message)
}

fn attributes(written: &Value) -> Access {
    let text = |field: &str| text(written, field).to_owned();
    Access {
        verb: text("verb"),
        group: text("group"),
        version: text("version"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    let list = value.get(field).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}
