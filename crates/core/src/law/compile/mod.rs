//! From what was written to what is true: every name resolved, every expression compiled, all faults at once.

use mantlet_api::policy as written;

use super::own::Own;
use super::roles::{Grant, Grantee};
use super::verdict::Epoch;
use super::{Law, Written, index};

mod agents;
mod policies;
mod spot;

use spot::{Spot, one_of};

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
        if !faults.is_empty() {
            return Err(faults);
        }
        let by_verb = index(&policies);
        Ok(Law {
            epoch,
            agents,
            own,
            grants,
            stand_ins: Vec::new(),
            policies,
            by_verb,
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

fn own_of(written: &Written) -> Own {
    let accounts = written
        .agents
        .iter()
        .map(|(_, a)| a.spec.service_account.namespace.clone());
    Own::new(accounts.chain(written.own_namespaces.iter().cloned()))
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
