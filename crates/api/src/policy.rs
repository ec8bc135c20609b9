//! The law as it is written: `Agent` and `Policy` of `mantlet.dev/v1alpha1`, and the grants of Mantlet's own rights.
//!
//! Shapes only. What is true of them (names resolve, expressions compile) `mantlet_core::law` finds out, all faults at once.
//! A field that nothing enforces yet does not exist here, so that writing it is an error and never a false comfort.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The only version there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    #[serde(rename = "mantlet.dev/v1alpha1")]
    V1Alpha1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentKind {
    Agent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    Policy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    pub name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A non-human identity: who it is, whom it belongs to, as what it acts and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agent {
    pub api_version: ApiVersion,
    pub kind: AgentKind,
    pub metadata: Metadata,
    pub spec: AgentSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSpec {
    /// Which verified identities are this agent: every expression must be true (CEL over `user` and `claims`), in order, up to the first that is false.
    #[serde(rename = "match")]
    pub matching: Vec<Condition>,
    /// The humans who answer for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Owner>,
    /// The upstream identity that its requests carry.
    pub service_account: UpstreamAccount,
    #[serde(default)]
    pub session: SessionSpec,
    pub scope: Scope,
    #[serde(default)]
    pub limits: Limits,
    /// What an approved operation, and only that, is relayed as.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elevations: Vec<Elevation>,
    /// In place of those of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskThresholds>,
    /// RFC 3339; from then on nobody is this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// How much of one cluster's time an agent may take, all its identities and sessions together. What is not written is not limited here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// On average; as many may come at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests at the same time, but those that `watches` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Watches and followed logs at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watches: Option<u32>,
    /// Distinct objects destroyed, however: by name, in one call, or taken along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<DeleteBudget>,
    /// Distinct namespaces changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Budget>,
    /// Distinct Secrets read, masked as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_reads: Option<Budget>,
    /// Requests that the law denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denials: Option<Budget>,
}

/// So many distinct objects in any stretch of time of this length, across all sessions of the agent on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteBudget {
    pub objects: u32,
    /// As Go writes durations: `10m`.
    pub per: String,
}

/// So many in any stretch of time of this length, across all sessions of the agent on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    pub count: u32,
    /// As Go writes durations: `10m`.
    pub per: String,
}

/// An operation that this policy held and a human approved goes upstream as this account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Elevation {
    pub policy: String,
    pub service_account: ServiceAccountRef,
}

/// From which risk (0 to 100) on a human is asked, and from which on nobody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RiskThresholds {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_approval_at: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny_at: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub expression: String,
}

/// A person or a group of people, as one issuer names them. Exactly one of `user` and `group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Owner {
    pub issuer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountRef {
    pub namespace: String,
    pub name: String,
}

/// The account of an agent, and how the gateway acts as it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamAccount {
    pub namespace: String,
    pub name: String,
    #[serde(default)]
    pub via: Via,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Via {
    /// Impersonation headers beside the gateway's own credential.
    #[default]
    Impersonation,
    /// A short-lived token of the account, which the gateway asks for and keeps to itself.
    Token,
}

/// What one session is. Durations as Go writes them (`30m`, `1h30m`); defaults: `idle: 30m`, `max: 8h`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionSpec {
    /// CEL over `claims` and `user`, a string or a number; requests with the same key are one session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

/// Where the agent may act at all, whatever RBAC says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// Names of clusters of the configuration.
    pub clusters: Vec<String>,
    /// Names, no globs: what lies outside is denied.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// What may be asked for outside: held for approval instead of denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond: Vec<Beyond>,
    /// Names (globs) of the Secrets that it may write and its workloads may reference; all others are held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    #[serde(default)]
    pub secret_reads: SecretReads,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Beyond {
    /// Exact, or `*`; the core group is `""`.
    pub api_groups: Vec<String>,
    /// `resource` or `resource/subresource`; `*`, `*/sub`, `resource/*`, `*/*`.
    pub resources: Vec<String>,
    pub verbs: Vec<Operation>,
    /// Globs; none means any, and requests that are in no namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

/// How reads of Secrets in scope are treated. Values are masked in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretReads {
    #[default]
    Masked,
    Approve,
    Deny,
}

/// The verbs of RBAC, and the connect verbs of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    #[serde(rename = "*")]
    All,
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Exec,
    Attach,
    PortForward,
    Proxy,
}

/// A rule over requests, in the words of ValidatingAdmissionPolicy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    pub api_version: ApiVersion,
    pub kind: PolicyKind,
    pub metadata: Metadata,
    pub spec: PolicySpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    #[serde(default)]
    pub mode: Mode,
    pub match_constraints: MatchConstraints,
    /// CEL; the policy speaks about a request only if all are true. One that errors makes the policy act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_conditions: Vec<MatchCondition>,
    /// Expressions under a name, usable as `variables.NAME` in those below and in validations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// True is fine; one that is false, or errors, acts. None only beside `auditAnnotations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validation>,
    /// What goes into the audit event of each request that the policy speaks about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit_annotations: Vec<AuditAnnotation>,
}

/// As in ValidatingAdmissionPolicy: the key is put behind the policy's name, and a value of null leaves it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditAnnotation {
    pub key: String,
    /// CEL: a string or null.
    pub value_expression: String,
}

/// One word for everybody, or one for each population.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected one of `enforce`, `warn`, `audit`, or `{ agents: .., people: .. }`"
)]
pub enum Mode {
    Everybody(Strength),
    Each(ModePerPopulation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModePerPopulation {
    #[serde(default)]
    pub agents: Strength,
    #[serde(default)]
    pub people: Strength,
}

/// What a policy that is violated does: its action, a warning in the answer, or only an entry in the audit event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    #[default]
    Audit,
    Warn,
    Enforce,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchConstraints {
    /// None means everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Subject>,
    /// Globs over the names of clusters; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    pub resource_rules: Vec<ResourceRule>,
}

/// Exactly one of the three. `agent` is a glob, `user` and `group` are exact, as the claim mapping made them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRule {
    /// Exact, or `*`; the core group is `""`.
    pub api_groups: Vec<String>,
    /// `resource` or `resource/subresource`, never implied by its parent; `*`, `*/sub`, `resource/*`, `*/*`.
    pub resources: Vec<String>,
    pub operations: Vec<Operation>,
    /// Globs; none means any. A list, watch or deletecollection of all namespaces touches each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Globs; none means any. A request that names no object touches each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchCondition {
    pub name: String,
    pub expression: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    pub expression: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Validation {
    pub expression: String,
    pub action: ValidationAction,
    /// Points that it adds to the risk of the operation, with the message as their reason.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub risk: u8,
    /// Why, for whoever is refused.
    pub message: String,
    /// CEL: a string that takes the place of `message`, unless it fails or is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_expression: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(points: &u8) -> bool {
    *points == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ValidationAction {
    /// Only adds to the risk.
    None,
    Warn,
    RequireApproval,
    Deny,
}

/// One line of `authorization.roles` in `mantlet.yaml`: Mantlet's own rights, which no cluster's RBAC grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleGrant {
    pub role: Role,
    pub issuer: String,
    /// Exactly one of `user` and `group`, as the claim mapping made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Globs over the names of clusters.
    pub clusters: Vec<String>,
}

/// Viewers, auditors and operators see agents, and sessions that are not their own; operators may stop them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    Viewer,
    Auditor,
    Operator,
}

impl Default for Mode {
    fn default() -> Self {
        Mode::Everybody(Strength::Audit)
    }
}
