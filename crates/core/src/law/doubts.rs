//! What compiles and can hardly be meant: rules that never act, never speak, or speak in vain.
//!
//! In: a law, and what an API is known to serve. Out: a [`Doubt`] for each, at the place where it is written.
//! Deliberately does not: refuse anything. A doubt is for whoever wrote the rule; the law judges by it all the same.

use mantlet_api::policy::{Operation, Strength, ValidationAction};

use super::Law;
use super::glob::Glob;
use super::matching::{ResourcePattern, ResourceRule};
use super::policy::{Policy, Subject};

/// Something to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Name of the policy.
    pub policy: String,
    /// As in `spec.validations[1]`.
    pub path: String,
    pub message: String,
    pub hint: String,
}

/// Whether a group serves a resource (`pods`, `pods/exec`); none where nobody knows.
pub type Serves<'a> = &'a dyn Fn(&str, &str) -> Option<bool>;

impl Law {
    /// Every doubt about every policy, in the order of their names.
    pub fn doubts(&self, serves: Serves<'_>) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for policy in &self.policies {
            let mut about = About {
                policy,
                doubts: &mut doubts,
            };
            about.subjects(self);
            about.rules(serves);
            about.conditions();
            about.validations();
            about.shadows(self);
        }
        doubts
    }
}

/// One policy, and the doubts so far.
struct About<'a> {
    policy: &'a Policy,
    doubts: &'a mut Vec<Doubt>,
}

impl About<'_> {
    fn say(&mut self, path: String, message: impl Into<String>, hint: impl Into<String>) {
        self.doubts.push(Doubt {
            policy: self.policy.name.clone(),
            path,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Only of agents the law knows the names. Without a single one nobody can say.
    fn subjects(&mut self, law: &Law) {
        let nobody = |glob: &Glob| !law.agents.is_empty() && !law.agents.iter().any(|agent| glob.fits(agent.name()));
        for (at, subject) in self.policy.subjects.iter().enumerate() {
            match subject {
                Subject::Agent(glob) if nobody(glob) => {
                    let names: Vec<_> = law.agents.iter().map(|agent| format!("`{}`", agent.name())).collect();
                    self.say(
                        format!("spec.matchConstraints.subjects[{at}].agent"),
                        "no agent has such a name",
                        format!("agents are {}", names.join(", ")),
                    );
                }
                Subject::Agent(_) | Subject::User(_) | Subject::Group(_) => {}
            }
        }
    }

    fn rules(&mut self, serves: Serves<'_>) {
        let rules = &self.policy.rules;
        for (at, rule) in rules.iter().enumerate() {
            let path = format!("spec.matchConstraints.resourceRules[{at}]");
            if let Some(earlier) = rules
                .iter()
                .enumerate()
                .position(|(other, wider)| other != at && wider.covers(rule) && (other < at || !rule.covers(wider)))
            {
                self.say(
                    path.clone(),
                    format!("resourceRules[{earlier}] speaks about all of this already"),
                    "take one of the two out",
                );
            }
            self.resources(&path, rule, serves);
            // Where a resource of it is never asked for, that says enough.
            let asked = |resource: &ResourcePattern| {
                resource.literal().is_none() || rule.operations.iter().any(|o| resource.takes(*o))
            };
            if rule.resources.iter().all(asked) {
                self.operations(&path, rule);
            }
        }
    }

    fn resources(&mut self, path: &str, rule: &ResourceRule, serves: Serves<'_>) {
        for (at, resource) in rule.resources.iter().enumerate() {
            let path = format!("{path}.resources[{at}]");
            let text = resource.to_string();
            let unknown =
                !rule.groups.is_empty() && rule.groups.iter().all(|group| serves(group, &text) == Some(false));
            if unknown {
                let groups: Vec<_> = rule.groups.iter().map(|group| format!("\"{group}\"")).collect();
                self.say(
                    path.clone(),
                    format!("no API group of [{}] serves `{text}`", groups.join(", ")),
                    "see: kubectl api-resources",
                );
            }
            // Of `*`, another pattern beside it (`*/*`) says what it means.
            if resource.literal().is_some() && !rule.operations.iter().any(|operation| resource.takes(*operation)) {
                let (message, hint) = match resource.connects() {
                    Some(verb) => (
                        format!("`{text}` is never asked for by these operations, whatever method it comes by"),
                        format!("write `operations: [{verb}]`"),
                    ),
                    None => (
                        format!("`{text}` is never asked for by these operations"),
                        String::from(
                            "`exec`, `attach`, `portforward` and `proxy` are for the subresources of these names, `list`, `watch` and `deletecollection` for none",
                        ),
                    ),
                };
                self.say(path, message, hint);
            }
        }
    }

    fn operations(&mut self, path: &str, rule: &ResourceRule) {
        for (at, operation) in rule.operations.iter().enumerate() {
            if rule.resources.iter().any(|resource| resource.takes(*operation)) {
                continue;
            }
            let hint = match operation {
                Operation::Exec => "name the subresource: `pods/exec`",
                Operation::Attach => "name the subresource: `pods/attach`",
                Operation::PortForward => "name the subresource: `pods/portforward`",
                Operation::Proxy => "name the subresource: `pods/proxy`, `services/proxy`, `nodes/proxy`",
                Operation::All
                | Operation::Get
                | Operation::List
                | Operation::Watch
                | Operation::Create
                | Operation::Update
                | Operation::Patch
                | Operation::Delete
                | Operation::DeleteCollection => "name a resource without a subresource",
            };
            self.say(
                format!("{path}.operations[{at}]"),
                "no resource of this rule is ever asked for by it",
                hint,
            );
        }
    }

    fn conditions(&mut self) {
        for (at, condition) in self.policy.conditions.iter().enumerate() {
            let path = format!("spec.matchConditions[{at}].expression");
            match condition.constant() {
                Some(false) => self.say(
                    path,
                    "is always false: the policy never speaks",
                    "take the policy out, or write what it depends on",
                ),
                Some(true) => self.say(path, "is always true: the condition changes nothing", "take it out"),
                None => {}
            }
        }
    }

    fn validations(&mut self) {
        let mut ends: Option<usize> = None;
        for (at, validation) in self.policy.validations.iter().enumerate() {
            let path = format!("spec.validations[{at}]");
            if let Some(earlier) = ends {
                self.say(path, format!("never reached: validations[{earlier}] always acts, and the first that is false is the one that does"), "put it in front, or into a policy of its own");
                continue;
            }
            let same = self.policy.validations[..at]
                .iter()
                .position(|other| other.expression.source() == validation.expression.source());
            match (validation.expression.constant(), same) {
                (Some(true), _) => self.say(
                    format!("{path}.expression"),
                    "is always true: the validation never acts",
                    "true is fine; write what must hold",
                ),
                (Some(false), _) => ends = Some(at),
                (None, Some(earlier)) => self.say(
                    format!("{path}.expression"),
                    format!("the same as in validations[{earlier}], which acts first"),
                    "take one of the two out",
                ),
                (None, None) => {}
            }
        }
    }

    /// Policies that deny everything that this one speaks about, to everybody.
    fn shadows(&mut self, law: &Law) {
        let covered = |wider: &&Policy| {
            self.policy
                .rules
                .iter()
                .all(|rule| wider.rules.iter().any(|other| other.covers(rule)))
        };
        let mine = self.policy.always_denies();
        // Of two that deny the same, the first by name is in nobody's shadow.
        let shadow = law
            .policies
            .iter()
            .filter(|other| other.name != self.policy.name && other.always_denies())
            .find(|other| {
                let both = mine
                    && self.policy.rules.iter().all(|_| {
                        other
                            .rules
                            .iter()
                            .all(|theirs| self.policy.rules.iter().any(|rule| rule.covers(theirs)))
                    });
                covered(other) && (!both || other.name < self.policy.name)
            });
        if let Some(shadow) = shadow {
            let message = format!(
                "never decides: policy `{}` denies all of this to everybody",
                shadow.name
            );
            self.say(
                String::from("metadata.name"),
                message,
                "take it out, or make the other one narrower",
            );
        }
    }
}

impl Policy {
    /// Whatever is asked, by whomever, wherever: a Deny that is in force.
    fn always_denies(&self) -> bool {
        let everybody = self.subjects.is_empty() && self.clusters.is_empty() && self.conditions.is_empty();
        let enforced = self.mode.agents == Strength::Enforce && self.mode.people == Strength::Enforce;
        let first = self.validations.iter().find(|v| v.expression.constant() != Some(true));
        everybody
            && enforced
            && first.is_some_and(|v| v.expression.constant() == Some(false) && v.action == ValidationAction::Deny)
    }
}
