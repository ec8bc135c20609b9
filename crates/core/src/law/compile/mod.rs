//! From what was written to what is true: every name resolved, every expression compiled, all faults at once.

use mantlet_api::policy as written;
use mantlet_api::policy::RiskThresholds;

use super::index::Index;
use super::own::Own;
use super::references::References;
use super::roles::{Grant, Grantee};
use super::verdict::Epoch;
use super::{Law, Written};

mod agents;
mod policies;
mod spot;

use spot::{Spot, one_of, thresholds};

/// One thing that is wrong with what was written. Prints as `path: message`, then `hint: …` if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub source: Source,
    /// As in `spec.match[0].expression`.
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Where something was written; what the number means is up to who read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Configuration,
    Document(usize),
}

impl Law {
    pub fn compile(written: Written, epoch: Epoch) -> Result<Law, Vec<Fault>> {
        let mut faults = Vec::new();
        let own = own_of(&written);
        let agents = agents::resolve(&written, &own, &mut faults);
        let policies = policies::resolve(&written, &mut faults);
        let grants = grants(&written, &mut faults);
        let risk = risk(&written, &mut faults);
        let references = References::shipped().map_err(|why| faults.push(broken_table(why)));
        let Ok(references) = references else { return Err(faults) };
        if !faults.is_empty() {
            return Err(faults);
        }
        let index = Index::of(&policies);
        let counts = policies.iter().any(|policy| policy.names("session"));
        Ok(Law {
            epoch,
            counts,
            agents,
            own,
            references,
            grants,
            stand_ins: Vec::new(),
            policies,
            index,
            risk,
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// The namespaces of all that the gateway acts as, elevations too, besides those that were named.
fn own_of(written: &Written) -> Own {
    let specs = || written.agents.iter().map(|(_, agent)| &agent.spec);
    let accounts = specs().map(|spec| spec.service_account.namespace.clone());
    let elevated = specs().flat_map(|spec| spec.elevations.iter().map(|e| e.service_account.namespace.clone()));
    Own::new(accounts.chain(elevated).chain(written.own_namespaces.iter().cloned()))
}

/// The table is part of the program; a test reads it.
fn broken_table(why: String) -> Fault {
    Fault {
        source: Source::Configuration,
        path: String::from("crates/core/src/law/references.yaml"),
        message: format!("the table of references cannot be read: {why}"),
        hint: None,
    }
}

/// Of the configuration.
fn risk(written: &Written, faults: &mut Vec<Fault>) -> RiskThresholds {
    let mut spot = Spot {
        source: Source::Configuration,
        path: String::from("risk"),
        faults,
    };
    thresholds(&mut spot, written.risk.unwrap_or_default())
}

fn grants(written: &Written, faults: &mut Vec<Fault>) -> Vec<Grant> {
    let mut spot = Spot {
        source: Source::Configuration,
        path: String::from("authorization.roles"),
        faults,
    };
    let resolve = |(at, grant): (usize, &written::RoleGrant)| {
        let mut spot = spot.item(at);
        spot.field("issuer")
            .need(!grant.issuer.is_empty(), "is empty", "write the URL of the issuer");
        let clusters = spot.field("clusters").globs(&grant.clusters);
        spot.field("clusters").need(
            !clusters.is_empty(),
            "the role would hold on no cluster",
            "write `[\"*\"]` for all",
        );
        let who = match one_of(&mut spot, &[("user", &grant.user), ("group", &grant.group)])? {
            ("user", user) => Grantee::User(user.to_owned()),
            (_, group) => Grantee::Group(group.to_owned()),
        };
        Some(Grant {
            role: grant.role,
            issuer: grant.issuer.clone(),
            who,
            clusters,
        })
    };
    written.roles.iter().enumerate().filter_map(resolve).collect()
}
