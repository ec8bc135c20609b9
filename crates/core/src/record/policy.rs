//! How much of a request is written down, by the rules of an `audit.k8s.io/v1` Policy.
//!
//! In: the written policy; who asks, and for what. Out: a [`Recording`]. Refuses: what the API server's own validation refuses.
//! The rules are those of k8s.io/apiserver `pkg/audit/policy/checker.go`, compared with it by vectors (`vectors/auditpolicy.jsonl`).
//! Deliberately not here: whether a request is recorded at all. Every one is; a level of `None` means without its bodies and not exported.

use mantlet_api::audit::{GroupResources, Level, Policy, PolicyApiVersion, PolicyKind, PolicyRule, Stage};

use crate::action::{Action, ResourceRef, Target};
use crate::identity::Caller;

/// A policy that the API server would take too.
#[derive(Debug)]
pub struct RecordingPolicy(Policy);

/// How one request is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pub level: Level,
    /// Whether `metadata.managedFields` is left out of bodies.
    pub omit_managed_fields: bool,
    /// At these stages nothing is exported.
    pub omit_stages: Vec<Stage>,
}

/// What is wrong with a written policy; `path` leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    pub path: String,
    pub message: String,
    pub hint: &'static str,
}

/// What the rules look at, as the API server's authorizer attributes have it.
#[derive(Debug, Clone, Copy)]
struct Attributes<'a> {
    user: &'a str,
    groups: &'a [String],
    verb: &'a str,
    target: &'a Target,
}

/// Everybody who was verified is in it (apiserver `pkg/authentication/group/authenticated_group_adder.go`), and most policies name it.
const AUTHENTICATED: &str = "system:authenticated";

impl RecordingPolicy {
    pub fn compile(written: Policy) -> Result<Self, Vec<PolicyFault>> {
        let mut faults = Vec::new();
        if written.rules.is_empty() {
            let hint = "add a rule, such as `- level: Metadata`";
            faults.push(fault("rules", "there is no rule", hint));
        }
        for (n, rule) in written.rules.iter().enumerate() {
            check_urls(rule, &format!("rules[{n}]"), &mut faults);
            check_resources(rule, &format!("rules[{n}]"), &mut faults);
        }
        if faults.is_empty() {
            Ok(Self(written))
        } else {
            Err(faults)
        }
    }

    /// What counts where no file is named: changes with their bodies, Secrets and reads without.
    pub fn standard() -> Self {
        let rule = |level, verbs: &[&str], resources| PolicyRule {
            level,
            users: Vec::new(),
            user_groups: Vec::new(),
            verbs: verbs.iter().copied().map(str::to_owned).collect(),
            resources,
            namespaces: Vec::new(),
            non_resource_urls: Vec::new(),
            omit_stages: Vec::new(),
            omit_managed_fields: None,
        };
        let secrets = GroupResources {
            group: String::new(),
            resources: vec![String::from("secrets")],
            resource_names: Vec::new(),
        };
        let changes = ["create", "update", "patch", "delete", "deletecollection"];
        Self(Policy {
            api_version: PolicyApiVersion::V1,
            kind: PolicyKind::Policy,
            metadata: serde_json::Value::Null,
            rules: vec![
                rule(Level::Metadata, &[], vec![secrets]),
                rule(Level::RequestResponse, &changes, Vec::new()),
                rule(Level::Metadata, &[], Vec::new()),
            ],
            omit_stages: Vec::new(),
            omit_managed_fields: true,
        })
    }

    pub fn of(&self, caller: &Caller, action: &Action) -> Recording {
        let verified = caller.verified();
        let recording = self.evaluate(&Attributes {
            user: verified.username(),
            groups: verified.groups(),
            verb: action.authorized_as(),
            target: action.target(),
        });
        match action.resource().is_some_and(holds_tokens) {
            // INVARIANT: no credential is written down. In these it stands in a field that no masker knows.
            true => Recording {
                level: recording.level.min(Level::Metadata),
                ..recording
            },
            false => recording,
        }
    }

    fn evaluate(&self, asked: &Attributes<'_>) -> Recording {
        let policy = &self.0;
        let rule = policy.rules.iter().find(|rule| fits(rule, asked));
        let mut omit_stages = policy.omit_stages.clone();
        omit_stages.extend(rule.into_iter().flat_map(|rule| rule.omit_stages.iter().copied()));
        Recording {
            level: rule.map_or(Level::None, |rule| rule.level),
            omit_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(policy.omit_managed_fields),
            omit_stages,
        }
    }
}

/// TokenRequest answers with a token, a TokenReview is sent one.
fn holds_tokens(resource: &ResourceRef) -> bool {
    match (
        resource.group.as_str(),
        resource.resource.as_str(),
        resource.subresource.as_str(),
    ) {
        ("", "serviceaccounts", subresource) => subresource == "token",
        ("authentication.k8s.io", resource, _) => resource == "tokenreviews",
        (_, _, _) => false,
    }
}

fn fits(rule: &PolicyRule, asked: &Attributes<'_>) -> bool {
    let in_group = |group: &String| group == AUTHENTICATED || asked.groups.contains(group);
    let who = (rule.users.is_empty() || rule.users.iter().any(|user| user == asked.user))
        && (rule.user_groups.is_empty() || rule.user_groups.iter().any(in_group));
    let verb = rule.verbs.is_empty() || rule.verbs.iter().any(|verb| verb == asked.verb);
    who && verb && fits_target(rule, asked.target)
}

fn fits_target(rule: &PolicyRule, target: &Target) -> bool {
    match target {
        Target::Resource(resource) => {
            if rule.namespaces.is_empty() && rule.resources.is_empty() {
                return rule.non_resource_urls.is_empty();
            }
            (rule.namespaces.is_empty() || rule.namespaces.contains(&resource.namespace))
                && (rule.resources.is_empty() || rule.resources.iter().any(|group| fits_resource(group, resource)))
        }
        Target::Path(path) => {
            rule.namespaces.is_empty()
                && rule.resources.is_empty()
                && (rule.non_resource_urls.is_empty() || rule.non_resource_urls.iter().any(|url| fits_path(url, path)))
        }
    }
}

fn fits_path(url: &str, path: &str) -> bool {
    url == "*" || url == path || url.ends_with('*') && path.starts_with(url.trim_end_matches('*'))
}

fn fits_resource(group: &GroupResources, asked: &ResourceRef) -> bool {
    if group.group != asked.group {
        return false;
    }
    if group.resources.is_empty() {
        return true;
    }
    let (resource, sub) = (asked.resource.as_str(), asked.subresource.as_str());
    let named = group.resource_names.is_empty() || group.resource_names.contains(&asked.name);
    named
        && group.resources.iter().any(|pattern| {
            let whole = match pattern.split_once('/') {
                None => sub.is_empty() && pattern == resource,
                Some(parts) => !sub.is_empty() && parts == (resource, sub),
            };
            whole
                || pattern == "*"
                || !sub.is_empty() && pattern.strip_prefix("*/") == Some(sub)
                || pattern.strip_suffix("/*") == Some(resource)
        })
}

// apiserver pkg/apis/audit/validation/validation.go, validateNonResourceURLs and validatePolicyRule.
fn check_urls(rule: &PolicyRule, at: &str, faults: &mut Vec<PolicyFault>) {
    for (n, url) in rule.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let path = format!("{at}.nonResourceURLs[{n}]");
        if !url.starts_with('/') {
            let message = format!("`{url}` does not begin with `/`");
            faults.push(fault(&path, message, "write a path such as `/healthz*`"));
        }
        if url.chars().rev().skip(1).any(|c| c == '*') {
            let message = format!("`{url}` has a `*` before its end");
            faults.push(fault(&path, message, "a `*` can only be the last character"));
        }
    }
    let about_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if about_resources && !rule.non_resource_urls.is_empty() {
        let hint = "make two rules of it";
        let message = "a rule is about resources or about non-resource URLs, not about both";
        faults.push(fault(&format!("{at}.nonResourceURLs"), message, hint));
    }
}

// validateResources of the same file.
fn check_resources(rule: &PolicyRule, at: &str, faults: &mut Vec<PolicyFault>) {
    for (n, group) in rule.resources.iter().enumerate() {
        let at = format!("{at}.resources[{n}]");
        if !group.group.is_empty() && !is_dns_subdomain(&group.group) {
            let message = format!("`{}` is not the name of an API group", group.group);
            faults.push(fault(
                &format!("{at}.group"),
                message,
                "write the group without its version, such as `apps`; `\"\"` is the core group",
            ));
        }
        if !group.resource_names.is_empty() && group.resources.is_empty() {
            let message = "resource names without a resource";
            faults.push(fault(&format!("{at}.resourceNames"), message, "add `resources: [..]`"));
        }
    }
}

/// RFC 1123 subdomain, as Kubernetes' `IsDNS1123Subdomain`.
fn is_dns_subdomain(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label =
        |part: &str| !part.is_empty() && part.bytes().all(fits) && !part.starts_with('-') && !part.ends_with('-');
    name.len() <= 253 && name.split('.').all(label)
}

fn fault(path: &str, message: impl Into<String>, hint: &'static str) -> PolicyFault {
    PolicyFault {
        path: path.to_owned(),
        message: message.into(),
        hint,
    }
}

#[cfg(test)]
mod tests;
