//! `mantlet policy validate`: what is wrong with agents and policies, and what can hardly be meant.
//!
//! In: files. Out: faults, which keep the law from being made, and warnings, each with file, line and column.

use std::path::PathBuf;

use mantlet_cli::kubectl;
use serde_json::{Value, json};

use super::law::{Beside, compile, read};
use super::report::Told;
use crate::config::Fault;

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

#[derive(Debug, Default)]
struct Found {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    agents: usize,
    policies: usize,
}

/// With `strict`, a warning is no good news either.
pub fn validate(paths: &[PathBuf], form: Form, strict: bool) -> Told {
    let found = find(paths);
    let good = found.faults.is_empty() && (!strict || found.warnings.is_empty());
    let text = match form {
        Form::Text => found.text(),
        Form::Json => format!("{:#}\n", found.json(good)),
    };
    Told { text, good }
}

fn find(paths: &[PathBuf]) -> Found {
    let policies = match read(paths) {
        Ok(policies) => policies,
        Err(faults) => {
            return Found {
                faults,
                ..Found::default()
            };
        }
    };
    let (agents, count) = (policies.agents.len(), policies.policies.len());
    let warnings = twins(&policies);
    match compile(policies, &Beside::default()) {
        // Everything that is compiled stands in one of the files.
        Err((_, faults)) => Found {
            faults,
            warnings,
            agents,
            policies: count,
        },
        Ok(loaded) => {
            let doubts = loaded.law.doubts(&kubectl::serves);
            let placed = doubts.into_iter().filter_map(|doubt| {
                loaded
                    .policies
                    .in_policy(&doubt.policy, &doubt.path, doubt.message, &doubt.hint)
            });
            let mut warnings: Vec<Fault> = warnings.into_iter().chain(placed).collect();
            warnings.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
            Found {
                faults: Vec::new(),
                warnings,
                agents,
                policies: count,
            }
        }
    }
}

/// Policies that say the same under two names.
fn twins(policies: &crate::config::policies::Policies) -> Vec<Fault> {
    let all = &policies.policies;
    let twin = |(at, (_, policy)): (usize, &(_, mantlet_api::policy::Policy))| {
        let (_, first) = all[..at].iter().find(|(_, other)| other.spec == policy.spec)?;
        let message = format!("says the same as policy `{}`", first.metadata.name);
        policies.in_policy(
            &policy.metadata.name,
            "metadata.name",
            message,
            "take one of the two out",
        )
    };
    all.iter().enumerate().filter_map(twin).collect()
}

impl Found {
    fn text(&self) -> String {
        let faults = self.faults.iter().map(|fault| format!("{fault}\n"));
        let warnings = self.warnings.iter().map(|warning| format!("{}\n", labeled(warning)));
        let mut text: String = faults.chain(warnings).collect();
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        text.push_str(&match self.faults.is_empty() {
            true => format!(
                "valid: {} agents, {} policies, {}\n",
                self.agents,
                self.policies,
                counted(self.warnings.len(), "warning")
            ),
            false => format!(
                "not valid: {}, {}\n",
                counted(self.faults.len(), "fault"),
                counted(self.warnings.len(), "warning")
            ),
        });
        text
    }

    fn json(&self, good: bool) -> Value {
        let one = |fault: &Fault| {
            json!({"file": fault.file, "line": fault.place.map(|place| place.line), "column": fault.place.map(|place| place.column),
                "message": fault.message, "hint": fault.hint})
        };
        let all = |faults: &[Fault]| faults.iter().map(one).collect::<Vec<_>>();
        json!({"valid": self.faults.is_empty(), "passed": good, "counts": {"agents": self.agents, "policies": self.policies},
            "faults": all(&self.faults), "warnings": all(&self.warnings)})
    }
}

/// `FILE:LINE:COLUMN: warning: …`, as compilers print it.
fn labeled(warning: &Fault) -> Fault {
    Fault {
        message: format!("warning: {}", warning.message),
        ..warning.clone()
    }
}

#[cfg(test)]
mod tests;
