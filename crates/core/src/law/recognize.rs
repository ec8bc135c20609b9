//! From a verified identity to a caller: the one agent that it is, or a person, and the session that it is in.
//!
//! In: a verified token. Out: a [`Caller`], which is minted here only.
//! Refuses: an identity of an agents issuer that is no agent, or two; an agent that has expired, or is elsewhere; a session without a key.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::identity::{Caller, Impersonation, NamedByCluster, Population, Verified};
use crate::time::Timestamp;

use super::agent::Agent;
use super::cel::Identity;
use super::verdict::Denial;
use super::{Law, message};

/// Bytes that a session key may have, as the expression gives it.
const KEY: usize = 256;

impl Law {
    /// Who this is, under this law, on this cluster.
    pub fn recognize(&self, verified: Arc<Verified>, cluster: &str, now: Timestamp) -> Result<Caller, Denial> {
        let agent = match verified.population() {
            Population::Agents => Some(self.admit(&verified, cluster, now)?),
            Population::People => None,
        };
        let session_key = match &agent {
            Some(agent) => key_of_agent(agent, &verified)?,
            None => key_of_person(&verified),
        };
        let stand_in = match verified.population() {
            Population::Agents => None,
            Population::People => self.stand_in_for(&verified),
        };
        Ok(Caller {
            verified,
            agent,
            session_key,
            stand_in,
        })
    }

    /// This law, in which one person acts under the names that the cluster itself gave. For `mantlet dev`, where that person's own kubeconfig
    /// is what the gateway acts with.
    #[must_use]
    pub fn with_stand_in(mut self, issuer: &str, subject: &str, named: Arc<NamedByCluster>) -> Self {
        self.stand_ins.push((issuer.to_owned(), subject.to_owned(), named));
        self
    }

    fn stand_in_for(&self, verified: &Verified) -> Option<Impersonation> {
        let is = |(issuer, subject, _): &&(String, String, Arc<NamedByCluster>)| {
            issuer == verified.issuer() && subject == verified.subject()
        };
        self.stand_ins
            .iter()
            .find(is)
            .map(|(_, _, named)| named.names().clone())
    }

    /// The one agent that this identity is, if it may act here and now.
    fn admit(&self, verified: &Verified, cluster: &str, now: Timestamp) -> Result<Arc<Agent>, Denial> {
        let agent = self.only_match(verified)?;
        if agent.expired(now) {
            return Err(expired(&agent));
        }
        if !agent.scope.clusters.contains(cluster) {
            return Err(message::other_cluster(&agent, cluster));
        }
        Ok(agent)
    }

    /// Every agent is tried: an identity that two of them claim belongs to none.
    fn only_match(&self, verified: &Verified) -> Result<Arc<Agent>, Denial> {
        let identity = Identity::of(verified);
        let mut found: Vec<&Arc<Agent>> = Vec::new();
        for agent in &self.agents {
            match agent.matches(&identity) {
                Ok(true) => found.push(agent),
                Ok(false) => {}
                Err(why) => return Err(unclear(agent, &why)),
            }
        }
        match found.as_slice() {
            [agent] => Ok(Arc::clone(agent)),
            [] => {
                let text = "this identity is signed in, but it is registered as no agent of this gateway.";
                let next = "ask whoever runs the gateway to register it";
                Err(message::not_recognized(text, next, String::from("no agent matches")))
            }
            several => Err(ambiguous(several)),
        }
    }
}

fn unclear(agent: &Agent, why: &str) -> Denial {
    let text = "this identity is signed in, but whether it is a registered agent could not be decided.";
    let next = "whoever runs the gateway finds in its log which Agent's `match` fails on this token";
    message::not_recognized(text, next, format!("match of agent `{}`: {why}", agent.name()))
}

fn ambiguous(several: &[&Arc<Agent>]) -> Denial {
    let names: Vec<_> = several.iter().map(|a| a.name()).collect();
    let text = "this identity is signed in, but it matches more than one agent of this gateway, so it is none.";
    let next = "whoever runs the gateway finds their names in its log, and makes one `match` stricter";
    message::not_recognized(text, next, format!("agents `{}` match", names.join("`, `")))
}

fn expired(agent: &Agent) -> Denial {
    let text = format!(
        "agent \"{}\" has expired, and nobody acts as it any more.",
        agent.name()
    );
    let next = "ask one of the agent's owners, who can have `expiresAt` of its Agent moved";
    message::not_recognized(&text, next, text.clone())
}

impl Agent {
    fn matches(&self, identity: &Identity<'_>) -> Result<bool, String> {
        for expression in &self.matching {
            if !expression.recognizes(identity)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Keys are JSON arrays, so that no two different lists of parts read the same.
fn key_of_agent(agent: &Agent, verified: &Verified) -> Result<String, Denial> {
    let Some(expression) = &agent.session.key else {
        return Ok(json!(["agent", agent.name(), verified.issuer(), verified.subject()]).to_string());
    };
    let key = match expression.key(&Identity::of(verified)) {
        Ok(text) if !text.is_empty() && text.len() <= KEY => text,
        Ok(text) => return Err(no_session(agent, &format!("it has {} bytes", text.len()))),
        Err(why) => return Err(no_session(agent, &why)),
    };
    Ok(json!(["agent", agent.name(), verified.issuer(), "key", key]).to_string())
}

fn no_session(agent: &Agent, why: &str) -> Denial {
    let text = format!(
        "the credential does not say which session of agent \"{}\" this is.",
        agent.name()
    );
    let next = "whoever runs the gateway compares `session.key` of the Agent with the claims of this token";
    message::not_recognized(&text, next, format!("session.key of agent `{}`: {why}", agent.name()))
}

/// The login that the credential came from: `sid` (OpenID Connect Front-Channel Logout 1.0, 3), else `auth_time` (OpenID Connect Core 1.0, 2).
fn key_of_person(verified: &Verified) -> String {
    let claim = |name: &str| {
        verified
            .claims()
            .get(name)
            .filter(|v| is_key(v))
            .map(|v| json!([name, v]))
    };
    let login = claim("sid").or_else(|| claim("auth_time")).unwrap_or(Value::Null);
    json!(["person", verified.issuer(), verified.subject(), login]).to_string()
}

fn is_key(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty() && text.len() <= KEY,
        Value::Number(_) => true,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}
