//! Agent scope: where an agent may act at all, and which Secrets it may touch or draw in.
//!
//! In: an agent's action and what it would store. Out: findings against it.
//! Deliberately does not: judge people, who have no scope, or follow references other than to Secrets.

use mantlet_api::policy::{SecretReads, ValidationAction};
use serde_json::Value;

use crate::action::{Action, Effect, ResourceRef, Verb};

use super::agent::Agent;
use super::inspect::{at, pod_spec_path, secrets_of_pod_spec, secrets_of_service_account, text};
use super::matching::Named;

/// Something that the scope says against an action.
pub(super) type Objection = (ValidationAction, String);

/// Secret types that are credentials of the cluster itself; kubernetes `pkg/apis/core/types.go` (SecretType).
const CREDENTIAL_TYPES: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

/// What the request itself shows to be outside of the scope.
pub(super) fn objections(agent: &Agent, action: &Action, resource: &ResourceRef, name: Named<'_>) -> Vec<Objection> {
    let place = place(agent, action, resource, name);
    let secret = is_secret(resource).then(|| secret(agent, action, name)).flatten();
    place.into_iter().chain(secret).collect()
}

/// Whether what the request would store has to be looked at.
pub(super) fn wants_object(action: &Action, resource: &ResourceRef) -> bool {
    let stores = matches!(action.verb(), Verb::Create | Verb::Update | Verb::Patch);
    stores && (is_secret(resource) || is_service_account(resource) || pod_spec_path(resource).is_some())
}

/// What the resulting object shows to be outside of the scope.
pub(super) fn objections_to(agent: &Agent, resource: &ResourceRef, object: &Value) -> Vec<Objection> {
    if is_secret(resource) {
        return credential_type(object).into_iter().collect();
    }
    let names = if is_service_account(resource) {
        secrets_of_service_account(object)
    } else {
        let spec = pod_spec_path(resource).and_then(|path| at(object, path));
        spec.map(secrets_of_pod_spec).unwrap_or_default()
    };
    let outside: Vec<_> = names
        .iter()
        .filter(|n| !agent.scope.covers_secret(n))
        .map(|n| format!("\"{n}\""))
        .collect();
    if outside.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "it references Secrets that are not in scope.secrets of agent \"{}\": {}",
        agent.name,
        outside.join(", ")
    );
    vec![(ValidationAction::RequireApproval, message)]
}

fn place(agent: &Agent, action: &Action, resource: &ResourceRef, name: Named<'_>) -> Option<Objection> {
    if agent.scope.contains(resource) {
        return None;
    }
    if agent
        .scope
        .beyond
        .iter()
        .any(|rule| rule.speaks_about(action.verb(), resource, name))
    {
        let message = format!(
            "it lies outside of the namespaces of agent \"{}\" and may only be asked for",
            agent.name
        );
        return Some((ValidationAction::RequireApproval, message));
    }
    let namespaces: Vec<_> = agent.scope.namespaces.iter().map(String::as_str).collect();
    let example = namespaces
        .first()
        .map(|n| format!("; for instance: -n {n}"))
        .unwrap_or_default();
    let message = format!(
        "agent \"{}\" may only act in namespaces [{}]{example}",
        agent.name,
        namespaces.join(", ")
    );
    Some((ValidationAction::Deny, message))
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
