//! Who is calling: a token that was verified, and the caller that the law recognizes in it.

use std::sync::Arc;

use serde_json::Value;

use crate::law::Agent;
use crate::time::Timestamp;

pub mod issuer;
pub mod keys;
pub mod claims;
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
    /// `Agent.session.key` evaluated; see `settled.md`: without one (issuer, subject, agent).
    pub(crate) session_key: String,
}

/// The names under which the cluster sees a caller. Never empty, never `system:` from a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonation {
    pub user: String,
    pub groups: Vec<String>,
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

    /// An agent acts as its own service account, a person as the mapped names.
    pub fn impersonation(&self) -> Impersonation {
        match &self.agent {
            Some(agent) => Impersonation {
                user: agent.upstream_username(),
                groups: Vec::new(),
            },
            None => Impersonation {
                user: self.verified.username.clone(),
                groups: self.verified.groups.clone(),
            },
        }
    }
}
