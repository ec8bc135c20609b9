//! `PolicyTest` of `mantlet.dev/v1alpha1`: cases of the law as people write them, for `mantlet policy test`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::{Agent, ApiVersion, Metadata, RiskThresholds};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyTestKind {
    PolicyTest,
}

/// Some agents and policies, and what they must say to some requests. Nothing of it is ever in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyTest {
    pub api_version: ApiVersion,
    pub kind: PolicyTestKind,
    pub metadata: Metadata,
    /// Files and folders of Agent and Policy objects, from where this file lies.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Agents for this test alone.
    #[serde(default)]
    pub agents: Vec<Agent>,
    /// Names of clusters; the first is where a case happens that names none. `prod` if none is named.
    #[serde(default)]
    pub clusters: Vec<String>,
    #[serde(default)]
    pub risk: Option<RiskThresholds>,
    /// When all of it happens (RFC 3339); `2026-01-01T00:00:00Z` if it does not matter.
    #[serde(default)]
    pub now: Option<String>,
    #[serde(default)]
    pub callers: BTreeMap<String, TestCaller>,
    pub cases: Vec<TestCase>,
}

/// Who asks: an agent by its name, an identity that is recognized by its claims, or a person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestCaller {
    /// The agent that it is, whatever its claims say.
    #[serde(default)]
    pub agent: Option<String>,
    /// A person.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub issuer: Option<String>,
    #[serde(default)]
    pub subject: Option<String>,
    #[serde(default)]
    pub claims: Option<Value>,
}

/// One request, and what must come of it. What is asked is said by exactly one of `request`, `kubectl`, `action`, `create`, `apply` and `update`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestCase {
    pub name: String,
    /// One of `callers`, or an agent.
    #[serde(rename = "as")]
    pub caller: String,
    #[serde(default)]
    pub cluster: Option<String>,
    /// `METHOD PATH?QUERY`
    #[serde(default)]
    pub request: Option<String>,
    /// Of `request`: what is sent.
    #[serde(default)]
    pub body: Option<Value>,
    /// Of `request`; JSON, and for a PATCH a merge patch, if it is not said.
    #[serde(default)]
    pub content_type: Option<String>,
    /// A command line; each request that it makes must end as expected.
    #[serde(default)]
    pub kubectl: Option<String>,
    /// What is done to what, in the words of a policy.
    #[serde(default)]
    pub action: Option<TestAction>,
    /// An object that is created.
    #[serde(default)]
    pub create: Option<Value>,
    /// An object that is applied (server-side).
    #[serde(default)]
    pub apply: Option<Value>,
    /// An object that replaces the stored one.
    #[serde(default)]
    pub update: Option<Value>,
    /// What the law would look up, by the names that expressions have for it. A fact that is given must be asked for.
    #[serde(default)]
    pub facts: BTreeMap<String, Value>,
    /// Facts that do not exist.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Facts that cannot be had.
    #[serde(default)]
    pub failed: Vec<String>,
    /// Facts that the API server refuses.
    #[serde(default)]
    pub refused: BTreeMap<String, Refusal>,
    pub expect: Expected,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestAction {
    /// As in a policy's `operations`.
    pub verb: String,
    /// As kubectl takes it, with a subresource behind a slash: `pods`, `deployments.apps/scale`, `widgets.v1.example.com`.
    pub resource: String,
    /// Empty: none, or all of them.
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub name: String,
    /// What is sent; of a create the object, without one an object of that name.
    #[serde(default)]
    pub body: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    pub code: u16,
    #[serde(default)]
    pub message: String,
}

/// What must come of a request. What is not written does not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    pub verdict: TestVerdict,
    /// The rule that decides: `policy:NAME`, `agent:NAME`, `agent:NAME/limits.deletes`, `risk`, `built-in:self-protection`.
    #[serde(default)]
    pub rule: Option<String>,
    /// Texts in the message to the caller.
    #[serde(default)]
    pub says: Vec<String>,
    /// One text for each warning, in order.
    #[serde(default)]
    pub warns: Option<Vec<String>>,
    /// Every rule that spoke, in order.
    #[serde(default)]
    pub applied: Option<Vec<String>>,
    #[serde(default)]
    pub risk: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TestVerdict {
    Allow,
    Hold,
    Deny,
    /// The API server's own refusal of a fact.
    Upstream,
    NotRecognized,
}
