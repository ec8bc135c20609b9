//! Who is calling: a token that was verified, and the caller that the law recognizes in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::law::Agent;
use crate::time::Timestamp;

pub mod issuer;
pub mod keys;
pub mod claims;
mod expression;
mod mapping;
pub mod service_account;
pub mod token;
#[cfg(test)]
mod tests;

/// Whom an issuer vouches for. A *person* is one only because the issuer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Population {
    Agents,
    People,
}

/// A token whose signature, issuer, audience and times were checked, with its claims mapped to names.
///
/// Minted by `identity::token::Verifier` only.
#[derive(Debug)]
pub struct Verified {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) population: Population,
    pub(crate) username: String,
    pub(crate) groups: Vec<String>,
    /// Empty: none.
    pub(crate) uid: String,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
    pub(crate) claims: Value,
    pub(crate) expires: Timestamp,
}

/// Somebody the law knows: a verified identity, and the agent that it is, if it is one. Minted by `Law::recognize` only.
///
/// Lives as long as a stream does; carries no token.
#[derive(Debug)]
pub struct Caller {
    pub(crate) verified: Arc<Verified>,
    pub(crate) agent: Option<Arc<Agent>>,
    /// `Agent.session.key` evaluated; without one (issuer, subject, agent).
    pub(crate) session_key: String,
    /// Whom the cluster itself took this person for; only `mantlet dev` asks it.
    pub(crate) stand_in: Option<Impersonation>,
}

/// The names that a cluster gives to the credential of a kubeconfig: the answer to a SelfSubjectReview.
///
/// Here alone a name may begin with `system:`, since it is no claim: the API server said it.
#[derive(Debug)]
pub struct NamedByCluster(Impersonation);

impl NamedByCluster {
    /// None where the review names nobody.
    pub fn of(review: &Value) -> Option<Self> {
        let info = review.pointer("/status/userInfo")?;
        let user = info
            .get("username")?
            .as_str()
            .filter(|user| !user.is_empty())?
            .to_owned();
        let groups = info
            .get("groups")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let groups = groups.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        Some(Self(Impersonation {
            user,
            groups,
            ..Impersonation::default()
        }))
    }

    pub fn names(&self) -> &Impersonation {
        &self.0
    }
}

/// The names under which the cluster sees a caller. `user` is never empty, no name begins with `system:` by a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Impersonation {
    pub user: String,
    pub groups: Vec<String>,
    /// Empty: none.
    pub uid: String,
    /// Keys are lower case, and none is Kubernetes' or Mantlet's own.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Verified {
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub fn population(&self) -> Population {
        self.population
    }

    pub fn username(&self) -> &str {
        &self.username
    }

    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// What the issuer's mapping makes of the claims; empty without one.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    pub fn extra(&self) -> &BTreeMap<String, Vec<String>> {
        &self.extra
    }

    pub fn claims(&self) -> &Value {
        &self.claims
    }

    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl Caller {
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    pub fn agent(&self) -> Option<&Arc<Agent>> {
        self.agent.as_ref()
    }

    pub fn session_key(&self) -> &str {
        &self.session_key
    }

    /// An agent acts as its own service account and as nothing else of its token, a person as what the mapping makes of theirs.
    pub fn impersonation(&self) -> Impersonation {
        match (&self.agent, &self.stand_in) {
            (Some(agent), _) => Impersonation {
                user: agent.upstream_username(),
                ..Impersonation::default()
            },
            (None, Some(named)) => named.clone(),
            (None, None) => Impersonation {
                user: self.verified.username.clone(),
                groups: self.verified.groups.clone(),
                uid: self.verified.uid.clone(),
                extra: self.verified.extra.clone(),
            },
        }
    }
}
