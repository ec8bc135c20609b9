//! From files of agents and policies to a law that judges, without the rest of a configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mantlet_api::policy::{Agent, RiskThresholds};
use mantlet_core::law::{Epoch, Law, Source, Written};

use crate::config::Fault;
use crate::config::policies::Policies;

/// A law that was read from files, for looking at: it is never in force.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) law: Law,
    pub(crate) policies: Policies,
}

/// Everything besides the files that a law is made of.
#[derive(Debug, Default)]
pub(crate) struct Beside<'a> {
    /// Empty: those that the agents name.
    pub(crate) clusters: &'a [String],
    pub(crate) agents: &'a [Agent],
    pub(crate) risk: Option<RiskThresholds>,
}

/// Reads files and folders of Agent and Policy objects.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Policies, Vec<Fault>> {
    let (mut policies, mut faults) = (Policies::default(), Vec::new());
    for path in paths {
        match Policies::read(path, &mut Vec::new()) {
            Ok(more) => policies.join(more),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(policies) } else { Err(faults) }
}

/// The error holds the faults that stand in no file of `policies` by themselves, and those that do.
pub(crate) fn compile(policies: Policies, beside: &Beside<'_>) -> Result<Loaded, (Vec<String>, Vec<Fault>)> {
    let mut agents = policies.agents.clone();
    agents.extend(
        beside
            .agents
            .iter()
            .cloned()
            .map(|agent| (Source::Configuration, agent)),
    );
    let named = agents.iter().flat_map(|(_, agent)| agent.spec.scope.clusters.iter());
    let clusters: BTreeSet<String> = match beside.clusters {
        [] => named.cloned().collect(),
        clusters => clusters.iter().cloned().collect(),
    };
    let written = Written {
        agents,
        policies: policies.policies.clone(),
        risk: beside.risk,
        roles: Vec::new(),
        own_namespaces: BTreeSet::new(),
        clusters,
    };
    match Law::compile(written, Epoch::new(1)) {
        Ok(law) => Ok(Loaded { law, policies }),
        Err(faults) => {
            let (mut loose, mut placed) = (Vec::new(), Vec::new());
            for fault in faults {
                match policies.placed(&fault) {
                    Some(fault) => placed.push(fault),
                    None => loose.push(fault.to_string()),
                }
            }
            Err((loose, placed))
        }
    }
}

/// A path that a file at `from` names.
pub(crate) fn beside(from: &Path, named: &str) -> PathBuf {
    from.parent().unwrap_or(Path::new("")).join(named)
}
