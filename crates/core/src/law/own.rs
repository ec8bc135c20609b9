//! Built-in self-protection: what nobody may do through the gateway, whatever the files say and whatever RBAC grants.
//!
//! In: an action and what it would store. Out: findings against it.
//! Refuses: changes in the gateway's own namespaces and every way into their pods; reads of their Secrets; changes of RBAC,
//! webhooks, API services and admission policies that concern them or carry the gateway's name.
//! Deliberately does not: judge what an agent does to the rest of the cluster; that is scope and policy.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::action::{Action, Effect, ResourceRef, Verb};

use super::inspect::{any_text, list, text};

/// What belongs to the gateway: its namespaces, those of upstream service accounts, and everything that carries its name.
#[derive(Debug)]
pub(super) struct Own {
    namespaces: BTreeSet<String>,
}

/// Objects whose name contains this are the gateway's, where they could be used against it.
const NAME: &str = "mantlet";
/// The namespace of an installation by the shipped manifests.
const NAMESPACE: &str = "mantlet-system";

impl Own {
    pub(super) fn new(namespaces: impl IntoIterator<Item = String>) -> Self {
        let mut namespaces: BTreeSet<String> = namespaces.into_iter().collect();
        namespaces.insert(String::from(NAMESPACE));
        Self { namespaces }
    }

    pub(super) fn contains(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// What the request itself shows to be against the rule; `None` if nothing.
    pub(super) fn objection(&self, action: &Action, resource: &ResourceRef) -> Option<String> {
        self.closed_namespace(action, resource)
            .or_else(|| self.own_secrets(action, resource))
            .or_else(|| kubelet(resource))
            .or_else(|| own_name(action, resource))
    }

    /// Whether what the request would store has to be looked at.
    pub(super) fn wants_object(&self, action: &Action, resource: &ResourceRef) -> bool {
        let stores = matches!(action.verb(), Verb::Create | Verb::Update | Verb::Patch);
        let new_namespace =
            resource.group.is_empty() && resource.resource == "namespaces" && action.verb() == Verb::Create;
        stores && (concerned(resource) || new_namespace)
    }

    /// What the resulting object shows to be against the rule.
    pub(super) fn objection_to(&self, resource: &ResourceRef, object: &Value) -> Option<String> {
        let name = text(object, &["metadata", "name"]).or_else(|| text(object, &["metadata", "generateName"]));
        let name = name.unwrap_or_default();
        if resource.resource == "namespaces" {
            return self
                .contains(name)
                .then(|| format!("Namespace \"{name}\" belongs to this gateway"));
        }
        if name.contains(NAME) {
            return Some(carries_our_name());
        }
        match resource.group.as_str() {
            "rbac.authorization.k8s.io" => self.binds_us(resource, object),
            _ => self
                .mentions_us(object)
                .then(|| String::from("This object names a namespace or an identity of this gateway")),
        }
    }

    fn closed_namespace(&self, action: &Action, resource: &ResourceRef) -> Option<String> {
        let changes = action.effect() == Effect::Changes;
        (changes && self.contains(&resource.namespace))
            .then(|| format!("Namespace \"{}\" belongs to this gateway", resource.namespace))
    }

    /// Reads of the Secrets in our namespaces, also by a list that goes over all of them.
    fn own_secrets(&self, action: &Action, resource: &ResourceRef) -> Option<String> {
        let secrets = resource.group.is_empty() && resource.resource == "secrets";
        if !secrets {
            None
        } else if self.contains(&resource.namespace) {
            Some(format!(
                "The Secrets of namespace \"{}\" belong to this gateway",
                resource.namespace
            ))
        } else if resource.namespace.is_empty() && action.effect() == Effect::Reads {
            Some(String::from(
                "A list of all Secrets includes those of this gateway (list them namespace by namespace instead)",
            ))
        } else {
            None
        }
    }

    /// A role or binding that hands out our identities or gives them something.
    fn binds_us(&self, resource: &ResourceRef, object: &Value) -> Option<String> {
        let role = text(object, &["roleRef", "name"]).unwrap_or_default();
        if role.contains(NAME) {
            return Some(format!("Role \"{role}\" belongs to this gateway"));
        }
        let ours = list(object, "subjects")
            .iter()
            .any(|subject| self.is_our_subject(resource, subject));
        ours.then(|| String::from("This binding names an upstream identity of this gateway"))
    }

    /// kubernetes `pkg/registry/rbac/validation/rule.go` (appliesToUser): a ServiceAccount without a namespace is one of the binding's own.
    fn is_our_subject(&self, resource: &ResourceRef, subject: &Value) -> bool {
        let name = text(subject, &["name"]).unwrap_or_default();
        match text(subject, &["kind"]).unwrap_or_default() {
            "ServiceAccount" => {
                let namespace = text(subject, &["namespace"]).filter(|n| !n.is_empty());
                self.contains(namespace.unwrap_or(&resource.namespace))
            }
            _ => self.names_our_identity(name),
        }
    }

    /// `system:serviceaccounts` alone is everybody's service account, ours included.
    fn names_our_identity(&self, name: &str) -> bool {
        let namespace = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split(':').next())
            .or_else(|| name.strip_prefix("system:serviceaccounts:"));
        name == "system:serviceaccounts" || namespace.is_some_and(|n| self.contains(n))
    }

    fn mentions_us(&self, object: &Value) -> bool {
        any_text(object, &|text| {
            self.contains(text)
                || self.names_our_identity(text)
                || self.namespaces.iter().any(|ns| text.contains(&format!(".{ns}.svc")))
                || is_our_group(text)
        })
    }
}

/// A node's proxy reaches the kubelet, and by it every pod on the node, ours too, past all rules about pods.
fn kubelet(resource: &ResourceRef) -> Option<String> {
    let proxy = resource.group.is_empty() && resource.resource == "nodes" && resource.subresource == "proxy";
    proxy.then(|| String::from("A node's proxy reaches every pod on the node, also those of this gateway"))
}

/// Objects of the concerned kinds that carry our name, and collections in which they are.
fn own_name(action: &Action, resource: &ResourceRef) -> Option<String> {
    if !concerned(resource) || action.effect() == Effect::Reads {
        None
    } else if resource.name.contains(NAME) {
        Some(carries_our_name())
    } else if action.verb() == Verb::DeleteCollection && resource.namespace.is_empty() {
        Some(String::from("This collection includes objects of this gateway"))
    } else {
        None
    }
}

fn carries_our_name() -> String {
    format!("Objects of this kind whose name contains \"{NAME}\" belong to this gateway")
}

/// Kinds by which the gateway could be disarmed, cut off, or lent to somebody.
fn concerned(resource: &ResourceRef) -> bool {
    matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        (
            "rbac.authorization.k8s.io" | "admissionregistration.k8s.io" | "apiregistration.k8s.io",
            _
        ) | ("apiextensions.k8s.io", "customresourcedefinitions")
    )
}

fn is_our_group(text: &str) -> bool {
    text == "mantlet.dev" || text.ends_with(".mantlet.dev")
}
