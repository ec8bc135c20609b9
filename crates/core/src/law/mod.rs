//! The law: an immutable snapshot of agents, policies and roles that judges every request.
//!
//! In: a verified identity ([`Law::recognize`]), a caller's action and the facts about it ([`Law::evaluate`]).
//! Out: a [`Caller`](crate::identity::Caller); a [`Step`], at the end of which stands a [`Permit`], a [`Question`] or a [`Denial`].
//! Refuses: whom it does not know, what is not in scope, what a policy forbids, what it cannot judge.
//! Deliberately does not: ask the cluster (it says what has to be asked), know status codes, or ever say yes for want of a rule's facts.
//! What no rule speaks about is left to the cluster's own RBAC.

use std::collections::BTreeSet;
use std::sync::Arc;

use mantlet_api::policy as written;

use crate::action::{ResourceRef, Verb};
use crate::identity::{Caller, NamedByCluster, Verified};

mod compile;
mod agent;
mod recognize;
mod roles;
mod evaluate;
mod own;
mod scope;
mod references;
mod policy;
mod index;
mod risk;
mod bases;
mod cel;
mod matching;
mod glob;
mod inspect;
mod facts;
mod look_ups;
mod sight;
mod rights;
mod verdict;
mod message;
mod rehearsal;
mod can;
mod doubts;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod reference;

pub use agent::{Agent, Budgets, Limit, Limits, Session};
pub use can::{Access, Can, Star};
pub use compile::{Fault, Source};
pub use doubts::{Doubt, Serves};
pub use facts::{Affected, Fact, Facts, ObjectId};
pub use look_ups::{Kept, Learned, Lookup, LookupKind, Lookups, PAGES_MAX, Query, Reader, observed};
pub use rehearsal::{Conclusion, FACTS, Given, GivenFact, Persona, Rehearsed};
pub use risk::{Risk, RiskReason};
pub use roles::Roles;
pub use verdict::{
    Allowance, Applied, Because, BudgetKind, Charge, Charges, Denial, DenialReason, Epoch, Judgment, Permit,
    Precondition, Question, Rule, Step, Terms, Verdict,
};
pub use written::{Elevation, RiskThresholds, Role, Strength, ValidationAction, Via};

/// One snapshot of the law. Made whole by [`Law::compile`], never changed.
#[derive(Debug)]
pub struct Law {
    epoch: Epoch,
    agents: Vec<Arc<Agent>>,
    own: own::Own,
    references: references::References,
    grants: Vec<roles::Grant>,
    /// Issuer, subject, and whom the cluster takes them for.
    stand_ins: Vec<(String, String, Arc<NamedByCluster>)>,
    /// By name, so that the order of files never matters.
    policies: Vec<policy::Policy>,
    index: index::Index,
    /// Of everybody who has none of their own.
    risk: RiskThresholds,
}

/// Everything that was written, as it was read.
#[derive(Debug, Default)]
pub struct Written {
    pub agents: Vec<(Source, written::Agent)>,
    pub policies: Vec<(Source, written::Policy)>,
    /// `risk` of the configuration.
    pub risk: Option<written::RiskThresholds>,
    /// `authorization.roles` of the configuration, in its order.
    pub roles: Vec<written::RoleGrant>,
    /// Namespaces of the gateway itself, for instance that of its in-cluster token. `mantlet-system` and those of upstream
    /// service accounts are its own in any case.
    pub own_namespaces: BTreeSet<String>,
    /// Names of the clusters of the configuration.
    pub clusters: BTreeSet<String>,
}

/// The cluster that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRef {
    pub name: String,
    /// uid of its kube-system namespace.
    pub uid: String,
}

/// Every verb, at the position of its discriminant.
const VERBS: [Verb; 12] = [
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
    Verb::Patch,
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Exec,
    Verb::Attach,
    Verb::PortForward,
    Verb::Proxy,
];

impl Law {
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.iter()
    }

    /// How many there are.
    pub fn policies(&self) -> usize {
        self.policies.len()
    }

    /// Mantlet's own rights of somebody on one cluster; without a grant, none.
    pub fn roles(&self, verified: &Verified, cluster: &str) -> Roles {
        Roles::of(&self.grants, verified, cluster)
    }

    /// Those that can speak about such a request, by name. Whether one does, it says itself.
    fn policies_for(
        &self,
        caller: &Caller,
        verb: Verb,
        resource: &ResourceRef,
    ) -> impl Iterator<Item = &policy::Policy> {
        let candidates = self.index.candidates(caller, verb, resource);
        candidates.into_iter().map(|at| &self.policies[at])
    }

    fn thresholds(&self, caller: &Caller) -> RiskThresholds {
        caller.agent().and_then(|agent| agent.risk()).unwrap_or(self.risk)
    }
}
