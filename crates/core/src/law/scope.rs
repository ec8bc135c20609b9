//! Agent scope: where an agent may act at all, which Secrets it may touch or draw in, and as whom its pods may run.
//!
//! In: an agent's action and what it would store. Out: findings against it. A namespace that is named in the object counts as one in the URL.
//! Deliberately does not: judge people, who have no scope.

use mantlet_api::policy::{SecretReads, ValidationAction};
use serde_json::Value;

use crate::action::{Action, Effect, ResourceRef, Verb};

use super::Law;
use super::agent::Agent;
use super::inspect::{accounts_of_pod_spec, at, pod_spec_path, secrets_of_pod_spec, secrets_of_service_account, text};
use super::matching::Named;
use super::message::plain;
use super::references::{self, Meant};

/// Something that the scope says against an action.
pub(super) type Objection = (ValidationAction, String);

/// Secret types that are credentials of the cluster itself; kubernetes `pkg/apis/core/types.go` (SecretType).
const CREDENTIAL_TYPES: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

/// Names that a message lists.
const SHOWN: usize = 10;

/// What the request itself shows to be outside of the scope.
pub(super) fn objections(agent: &Agent, action: &Action, resource: &ResourceRef, name: Named<'_>) -> Vec<Objection> {
    let place = place(agent, action, resource, name);
    let secret = is_secret(resource).then(|| secret(agent, action, name)).flatten();
    place.into_iter().chain(secret).collect()
}

/// A request, as far as what it stores is judged by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) cluster: &'a str,
    pub(super) verb: Verb,
    pub(super) resource: &'a ResourceRef,
    pub(super) name: Named<'a>,
}

/// Whether what the request would store has to be looked at.
pub(super) fn wants_object(law: &Law, action: &Action, resource: &ResourceRef) -> bool {
    let stores = matches!(action.verb(), Verb::Create | Verb::Update | Verb::Patch);
    let speaks = is_secret(resource)
        || is_service_account(resource)
        || pod_spec_path(resource).is_some()
        || law.references.know(resource);
    stores && speaks
}

/// What the resulting object shows to be outside of the scope.
pub(super) fn objections_to(law: &Law, agent: &Agent, asked: Asked<'_>, object: &Value) -> Vec<Objection> {
    let resource = asked.resource;
    if is_secret(resource) {
        return credential_type(object).into_iter().collect();
    }
    let spec = pod_spec_path(resource).and_then(|path| at(object, path));
    let named = law.references.named(resource, object);
    let mut objections: Vec<_> = named
        .iter()
        .filter_map(|named| reference(agent, asked, named))
        .collect();
    objections.extend(spec.and_then(|spec| account(law, asked, spec)));
    objections.extend(secrets_drawn_in(agent, resource, object));
    objections
}

/// What the object names, if it lies outside.
fn reference(agent: &Agent, asked: Asked<'_>, named: &references::Named) -> Option<Objection> {
    let (field, why) = (&named.field, &named.why);
    match &named.what {
        Meant::Namespace(name) if agent.scope.namespaces.contains(name) => None,
        Meant::Namespace(name) => {
            let there = ResourceRef {
                namespace: name.clone(),
                ..asked.resource.clone()
            };
            let message = format!("its field {field} names namespace \"{}\" ({why})", plain(name));
            Some(if agent.scope.may_ask_for(asked.verb, &there, asked.name) {
                (ValidationAction::RequireApproval, message)
            } else {
                (ValidationAction::Deny, format!("{message}, and {}", only_in(agent)))
            })
        }
        Meant::Outside(text) => {
            let message = format!(
                "its field {field} names \"{}\", which lies in no namespace: {why}",
                plain(text)
            );
            Some((ValidationAction::RequireApproval, message))
        }
    }
}

/// A pod holds a token of its ServiceAccount: with one that an agent is recognized by, whoever makes the pod is that agent.
fn account(law: &Law, asked: Asked<'_>, spec: &Value) -> Option<Objection> {
    let namespace = &asked.resource.namespace;
    accounts_of_pod_spec(spec).into_iter().find_map(|account| {
        let agent = law.agent_by_account(asked.cluster, namespace, account)?;
        let message = format!(
            "its pod would run as ServiceAccount \"{}\", by which agent \"{}\" is recognized",
            plain(account),
            agent.name
        );
        Some((ValidationAction::Deny, message))
    })
}

fn secrets_drawn_in(agent: &Agent, resource: &ResourceRef, object: &Value) -> Option<Objection> {
    let names = if is_service_account(resource) {
        secrets_of_service_account(object)
    } else {
        let spec = pod_spec_path(resource).and_then(|path| at(object, path));
        spec.map(secrets_of_pod_spec).unwrap_or_default()
    };
    let outside: Vec<_> = names
        .iter()
        .filter(|n| !agent.scope.covers_secret(n))
        .map(|n| format!("\"{}\"", plain(n)))
        .collect();
    let shown = outside.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = outside
        .len()
        .checked_sub(SHOWN + 1)
        .map(|rest| format!(" and {} more", rest + 1));
    let message = format!(
        "it references Secrets that are not in scope.secrets of agent \"{}\": {shown}{}",
        agent.name,
        more.unwrap_or_default()
    );
    (!outside.is_empty()).then_some((ValidationAction::RequireApproval, message))
}

fn place(agent: &Agent, action: &Action, resource: &ResourceRef, name: Named<'_>) -> Option<Objection> {
    if agent.scope.contains(resource) {
        return None;
    }
    if agent.scope.may_ask_for(action.verb(), resource, name) {
        let message = format!(
            "it lies outside of the namespaces of agent \"{}\" and may only be asked for",
            agent.name
        );
        return Some((ValidationAction::RequireApproval, message));
    }
    let example = agent.scope.namespaces.first();
    let example = example.map(|n| format!("; for instance: -n {n}")).unwrap_or_default();
    Some((ValidationAction::Deny, format!("{}{example}", only_in(agent))))
}

fn only_in(agent: &Agent) -> String {
    let namespaces: Vec<_> = agent.scope.namespaces.iter().map(String::as_str).collect();
    format!(
        "agent \"{}\" may only act in namespaces [{}]",
        agent.name,
        namespaces.join(", ")
    )
}

fn secret(agent: &Agent, action: &Action, name: Named<'_>) -> Option<Objection> {
    match (action.verb(), action.effect()) {
        (Verb::DeleteCollection, _) => {
            let message = format!(
                "agent \"{}\" may not delete Secrets as a collection; delete them by name",
                agent.name
            );
            Some((ValidationAction::Deny, message))
        }
        (_, Effect::Reads) => secret_read(agent),
        (_, Effect::Changes) => match name {
            Named::Exactly(name) if agent.scope.covers_secret(name) => None,
            Named::Exactly(_) | Named::Open => {
                let message = format!("the Secret is not in scope.secrets of agent \"{}\"", agent.name);
                Some((ValidationAction::RequireApproval, message))
            }
        },
    }
}

fn secret_read(agent: &Agent) -> Option<Objection> {
    match agent.scope.secret_reads {
        SecretReads::Masked => None,
        SecretReads::Approve => {
            let message = format!(
                "agent \"{}\" may read Secrets only with approval, even masked",
                agent.name
            );
            Some((ValidationAction::RequireApproval, message))
        }
        SecretReads::Deny => Some((
            ValidationAction::Deny,
            format!("agent \"{}\" may not read Secrets, even masked", agent.name),
        )),
    }
}

fn credential_type(object: &Value) -> Option<Objection> {
    let kind = text(object, &["type"]).unwrap_or_default();
    CREDENTIAL_TYPES.contains(&kind).then(|| {
        (
            ValidationAction::Deny,
            format!("a Secret of type {kind} is a credential of the cluster, which no agent may write"),
        )
    })
}

fn is_secret(resource: &ResourceRef) -> bool {
    resource.group.is_empty() && resource.resource == "secrets"
}

fn is_service_account(resource: &ResourceRef) -> bool {
    resource.group.is_empty() && resource.resource == "serviceaccounts" && resource.subresource.is_empty()
}
