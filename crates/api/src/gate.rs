//! `gate.mantlet.dev/v1alpha1`: the virtual API, the one contract of kubectl, CLI and console.
//!
//! Cluster-scoped `sessions` and `sessionevents`, a session event named by its Audit-ID; `agents`. Operators POST [`StopOptions`] to `sessions/NAME/end`
//! and `agents/NAME/suspend`.

use serde::{Deserialize, Serialize};

use crate::audit::Event;
use crate::policy;

pub const GROUP: &str = "gate.mantlet.dev";
pub const VERSION: &str = "v1alpha1";
pub const API_VERSION: &str = "gate.mantlet.dev/v1alpha1";

/// One credential's work: an agent run, a CI job, a login.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    pub spec: SessionSpec,
    pub status: SessionStatus,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSpec {
    pub cluster: ClusterRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    pub user: SessionUser,
    /// As whom the cluster sees it.
    pub upstream_user: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRef {
    pub name: String,
    pub uid: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUser {
    pub issuer: String,
    pub subject: String,
    pub username: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// `agents` or `people`.
    pub population: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    pub phase: SessionPhase,
    pub started_at: String,
    pub last_seen_at: String,
    /// When it ends at the latest.
    pub ends_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_reason: Option<String>,
    pub requests: i64,
    /// Of these, answered by Mantlet with a refusal.
    pub refused: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionPhase {
    Active,
    Ended,
}

/// One request of a session, as its audit event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEvent {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    pub spec: SessionEventSpec,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionEventSpec {
    /// Empty for a request that ended before there was a caller.
    pub session: String,
}

/// The part of `metav1.ObjectMeta` that means something here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// RFC 3339 in whole seconds; empty where nobody knows, which Go reads as none only if it is left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub creation_timestamp: String,
}

/// A non-human identity, as the gateway's files have it, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    pub api_version: String,
    pub kind: String,
    pub metadata: Metadata,
    pub spec: AgentSpec,
    pub status: AgentStatus,
}

/// The part of the file that says where it may act, as what, and who answers for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    pub clusters: Vec<String>,
    pub namespaces: Vec<String>,
    pub owners: Vec<policy::Owner>,
    pub service_account: policy::ServiceAccountRef,
    pub limits: policy::Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    pub phase: AgentPhase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<AgentSuspension>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentPhase {
    Active,
    /// An operator has stopped it.
    Suspended,
    /// `expiresAt` is over.
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSuspension {
    pub at: String,
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What is sent to stop something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StopOptions {
    pub api_version: String,
    pub kind: String,
    /// In the operator's words; kept with the suspension of an agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl StopOptions {
    pub const KIND: &'static str = "StopOptions";

    pub fn because(reason: &str) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    pub api_version: String,
    pub kind: String,
    pub metadata: ListMetadata,
    pub items: Vec<T>,
}

pub type SessionList = List<Session>;
pub type SessionEventList = List<SessionEvent>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    pub resource_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub r#continue: String,
}

/// What has a kind here.
pub trait Kind {
    const KIND: &'static str;
    const LIST_KIND: &'static str;
    /// Plural, as in paths.
    const RESOURCE: &'static str;
}

impl Kind for Session {
    const KIND: &'static str = "Session";
    const LIST_KIND: &'static str = "SessionList";
    const RESOURCE: &'static str = "sessions";
}

impl Kind for SessionEvent {
    const KIND: &'static str = "SessionEvent";
    const LIST_KIND: &'static str = "SessionEventList";
    const RESOURCE: &'static str = "sessionevents";
}

impl Kind for Agent {
    const KIND: &'static str = "Agent";
    const LIST_KIND: &'static str = "AgentList";
    const RESOURCE: &'static str = "agents";
}

impl<T: Kind> List<T> {
    pub fn new(items: Vec<T>, metadata: ListMetadata) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: T::LIST_KIND.to_owned(),
            metadata,
            items,
        }
    }
}
