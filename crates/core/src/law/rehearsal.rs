//! A judgment for show: somebody who is described by hand, a request, and the facts that are given with it.
//!
//! In: a [`Persona`], an action, [`Given`]. Out: a [`Rehearsed`]: the verdict in words, with everything that led to it.
//! Deliberately does not: ask a cluster anything, or give out a `Caller` or a `Permit`. What was needed and not given is named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::action::Action;
use crate::identity::{Caller, Population, Verified};
use crate::mask::{self, Hint, Masked};
use crate::time::Timestamp;

use super::facts::{Fact, Facts};
use super::look_ups::LookupKind;
use super::risk::Risk;
use super::verdict::{Applied, Denial, DenialReason, Judgment, Rule, Step, Verdict};
use super::{ClusterRef, Law};

/// Somebody, as they would be verified. Nobody vouches for it.
#[derive(Debug, Clone)]
pub struct Persona {
    pub population: Population,
    pub issuer: String,
    pub subject: String,
    pub username: String,
    pub groups: Vec<String>,
    pub claims: Value,
    /// The agent that it is, by name; none has it recognized by its claims, as a token is.
    pub agent: Option<String>,
}

/// What is known for a rehearsal, by the name that expressions have for it.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeMap<&'static str, GivenFact>);

#[derive(Debug, Clone)]
pub enum GivenFact {
    Known(Value),
    /// It does not exist.
    Absent,
    /// The API server refuses to say.
    Refused {
        code: u16,
        message: String,
    },
    /// It cannot be had, and why.
    Failed(String),
}

/// The names of everything that can be given.
pub const FACTS: [&str; 7] = [
    "object",
    "oldObject",
    "target",
    "namespaceObject",
    "dependents",
    "members",
    "serviceAccount",
];

/// What a rehearsal came to.
#[derive(Debug)]
pub struct Rehearsed {
    pub conclusion: Conclusion,
    /// The rule that decides, as causes and audit annotations name it.
    pub rule: Option<String>,
    /// For the caller; empty if allowed.
    pub message: String,
    /// For the operator.
    pub detail: Option<String>,
    pub warnings: Vec<String>,
    pub applied: Vec<Applied>,
    pub not_judged: Vec<String>,
    pub risk: Risk,
    pub session: String,
    /// Facts that the law asked for, and of them those that were not given.
    pub asked: BTreeSet<&'static str>,
    pub missing: BTreeSet<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Conclusion {
    Allow,
    /// The API server's own refusal of the dry-run.
    Upstream,
    Hold,
    Deny,
    NotRecognized,
}

impl Given {
    /// False for a name that nothing has.
    pub fn add(&mut self, name: &str, fact: GivenFact) -> bool {
        let known = FACTS.iter().find(|known| **known == name);
        known.map(|name| self.0.insert(name, fact)).is_some()
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    fn learn(&self, kind: LookupKind, action: &Action) -> Option<Fact<Arc<Masked<Value>>>> {
        let fact = self.0.get(kind.root())?;
        let secret = action
            .resource()
            .is_some_and(|r| r.group.is_empty() && r.resource == "secrets");
        let hint = if secret { Hint::Secrets } else { Hint::Other };
        Some(match fact {
            GivenFact::Known(value) => Fact::Known(Arc::new(mask::value(value.clone(), hint))),
            GivenFact::Absent => Fact::Absent,
            GivenFact::Refused { code, message } => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message});
                Fact::Refused {
                    code: *code,
                    status: Arc::new(mask::value(status, Hint::Other)),
                }
            }
            GivenFact::Failed(why) => Fact::Failed(why.clone()),
        })
    }
}

impl Law {
    /// What would become of the request.
    pub fn rehearse(
        &self,
        who: &Persona,
        cluster: &ClusterRef,
        action: &Arc<Action>,
        given: &Given,
        now: Timestamp,
    ) -> Rehearsed {
        let caller = match self.imagine(who, &cluster.name, now) {
            Ok(caller) => Arc::new(caller),
            Err(denial) => return Rehearsed::unrecognized(denial),
        };
        let (mut asked, mut missing) = (BTreeSet::new(), BTreeSet::new());
        let mut facts = Facts::without_budgets();
        loop {
            match self.evaluate(cluster, &caller, action, &facts, now) {
                Step::Done(judgment) => return Rehearsed::of(*judgment, caller.session_key(), asked, missing),
                Step::Need(lookups) => {
                    let learned = lookups.iter().map(|lookup| {
                        let name = lookup.kind().root();
                        asked.insert(name);
                        lookup.learned(given.learn(lookup.kind(), action).unwrap_or_else(|| {
                            missing.insert(name);
                            Fact::Failed(format!("`{name}` was not given"))
                        }))
                    });
                    let learned = learned.collect();
                    facts.learn(&lookups, learned);
                }
            }
        }
    }

    /// Whether there is a rule of this name: `built-in:self-protection`, `risk`, `agent:NAME`, `agent:NAME/limits.deletes`, `policy:NAME`.
    pub fn has_rule(&self, rule: &str) -> bool {
        match rule.split_once(':') {
            None => rule == Rule::Risk.to_string(),
            Some(("built-in", _)) => rule == Rule::SelfProtection.to_string(),
            Some(("policy", name)) => self.policies.iter().any(|policy| policy.name == name),
            Some(("agent", name)) => {
                let name = name.split_once("/limits.").map_or(name, |(name, _)| name);
                self.agents.iter().any(|agent| agent.name() == name)
            }
            Some(_) => false,
        }
    }

    // INVARIANT: this caller never leaves the file: nobody verified it.
    fn imagine(&self, who: &Persona, cluster: &str, now: Timestamp) -> Result<Caller, Denial> {
        let verified = Arc::new(who.verified());
        match &who.agent {
            None => self.recognize(verified, cluster, now),
            Some(name) => self.recognize_as(name, verified, cluster, now),
        }
    }
}

impl Persona {
    fn verified(&self) -> Verified {
        Verified {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            population: self.population,
            username: self.username.clone(),
            groups: self.groups.clone(),
            uid: String::new(),
            extra: BTreeMap::new(),
            claims: self.claims.clone(),
            expires: Timestamp::from_seconds(i64::from(u32::MAX)),
        }
    }
}

impl Rehearsed {
    fn of(judgment: Judgment, session: &str, asked: BTreeSet<&'static str>, missing: BTreeSet<&'static str>) -> Self {
        let (conclusion, rule, message, detail) = concluded(judgment.verdict);
        Self {
            conclusion,
            rule,
            message,
            detail,
            warnings: judgment.warnings,
            applied: judgment.applied,
            not_judged: judgment.not_judged,
            risk: judgment.risk,
            session: session.to_owned(),
            asked,
            missing,
        }
    }

    fn unrecognized(denial: Denial) -> Self {
        Self {
            conclusion: Conclusion::NotRecognized,
            rule: denial.rule.as_ref().map(Rule::to_string),
            message: denial.message,
            detail: denial.detail,
            warnings: Vec::new(),
            applied: Vec::new(),
            not_judged: Vec::new(),
            risk: Risk::default(),
            session: String::new(),
            asked: BTreeSet::new(),
            missing: BTreeSet::new(),
        }
    }
}

fn concluded(verdict: Verdict) -> (Conclusion, Option<String>, String, Option<String>) {
    match verdict {
        Verdict::Allow(_) => (Conclusion::Allow, None, String::new(), None),
        Verdict::Hold(question) => (
            Conclusion::Hold,
            Some(question.rule.to_string()),
            question.message,
            None,
        ),
        Verdict::Deny(denial) => {
            let conclusion = match denial.reason {
                DenialReason::Upstream { .. } => Conclusion::Upstream,
                DenialReason::NotRecognized => Conclusion::NotRecognized,
                DenialReason::ScopeDenied
                | DenialReason::SelfProtection
                | DenialReason::PolicyDenied
                | DenialReason::Suspended
                | DenialReason::SessionEnded
                | DenialReason::LimitReached => Conclusion::Deny,
            };
            (
                conclusion,
                denial.rule.map(|rule| rule.to_string()),
                denial.message,
                denial.detail,
            )
        }
    }
}
