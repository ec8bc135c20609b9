//! What exists: subresources of the built-in resources, connect verbs, and the bare paths that are served.
//!
//! Taken from `k8s.io/kubernetes` 1.35 `pkg/registry/*/rest/storage*.go`. What is missing here is refused by name, so a new
//! subresource of a new Kubernetes cannot pass unjudged.

use super::{ResourceRef, Verb};

/// Bare paths, by how their parameters and `Accept` are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BarePath {
    Discovery,
    OpenApi,
    Version,
    Health,
}

pub(super) fn bare_path(segments: &[&str]) -> Option<BarePath> {
    let plain = |s: &&str| {
        s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    match segments {
        ["api"] | ["api", "v1"] | ["apis"] => Some(BarePath::Discovery),
        ["apis", rest @ ..] if rest.len() <= 2 && rest.iter().all(plain) => Some(BarePath::Discovery),
        ["openapi", "v2"] => Some(BarePath::OpenApi),
        ["openapi", "v3", rest @ ..] if rest.iter().all(plain) => Some(BarePath::OpenApi),
        ["version"] => Some(BarePath::Version),
        ["healthz" | "livez" | "readyz", ..] => Some(BarePath::Health),
        _ => None,
    }
}

/// The verb of a connecting subresource, whatever HTTP method carries it.
pub(super) fn connect(place: &ResourceRef) -> Option<Verb> {
    match (
        place.group.as_str(),
        place.resource.as_str(),
        place.subresource.as_str(),
    ) {
        ("", "pods", "exec") => Some(Verb::Exec),
        ("", "pods", "attach") => Some(Verb::Attach),
        ("", "pods", "portforward") => Some(Verb::PortForward),
        ("", "pods" | "services" | "nodes", "proxy") => Some(Verb::Proxy),
        _ => None,
    }
}

/// Whether the gateway knows this subresource; custom and unknown resources have `status` and `scale` at most.
pub(super) fn knows_subresource(place: &ResourceRef) -> bool {
    if matches!(place.subresource.as_str(), "" | "status" | "scale") {
        return true;
    }
    match (
        place.group.as_str(),
        place.resource.as_str(),
        place.subresource.as_str(),
    ) {
        ("", "pods", "log" | "eviction" | "binding" | "ephemeralcontainers" | "resize") => true,
        ("", "serviceaccounts", "token") => true,
        ("", "namespaces", "finalize") => true,
        ("certificates.k8s.io", "certificatesigningrequests", "approval") => true,
        // The virtual API's own.
        ("gate.mantlet.dev", "agents", "suspend" | "resume") | ("gate.mantlet.dev", "sessions", "end") => true,
        _ => connect(place).is_some(),
    }
}

/// Whether `dryRun=All` leaves the cluster as it was.
///
/// `pkg/registry/core/serviceaccount/storage/token.go` never looks at it: a token minted under dryRun is a token.
pub(super) fn honors_dry_run(place: &ResourceRef) -> bool {
    (
        place.group.as_str(),
        place.resource.as_str(),
        place.subresource.as_str(),
    ) != ("", "serviceaccounts", "token")
}

/// Kinds of body whose group and version are not those of the URL.
pub(super) fn carries_own_kind(place: &ResourceRef) -> bool {
    matches!(place.subresource.as_str(), "scale" | "eviction" | "token" | "binding")
}
