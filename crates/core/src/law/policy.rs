//! A compiled policy, and what it has to say about one request.

use mantlet_api::policy::{Strength, ValidationAction};

use crate::action::{ResourceRef, Verb};
use crate::identity::{Caller, Population};

use super::cel::{Documents, Expression, Object, Scene, Truth, Variables};
use super::glob::{Glob, none_or_fits};
use super::matching::{Named, ResourceRule};
use super::verdict::Because;

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) mode: ModePerPopulation,
    pub(super) subjects: Vec<Subject>,
    pub(super) clusters: Vec<Glob>,
    pub(super) rules: Vec<ResourceRule>,
    pub(super) conditions: Vec<Expression>,
    pub(super) variables: Variables,
    pub(super) validations: Vec<Validation>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ModePerPopulation {
    pub(super) agents: Strength,
    pub(super) people: Strength,
}

#[derive(Debug)]
pub(super) enum Subject {
    Agent(Glob),
    User(String),
    Group(String),
}

#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) action: ValidationAction,
    pub(super) message: String,
}

/// What a policy says about one request.
#[derive(Debug)]
pub(super) enum Opinion<'p> {
    /// Nothing against it.
    Silent,
    /// This rule is violated, or could not be evaluated.
    Against {
        action: ValidationAction,
        message: &'p str,
        because: Because,
    },
    /// This rule cannot be judged before the object is known.
    Waits { action: ValidationAction, message: &'p str },
}

impl Policy {
    /// Natively: subjects, clusters and resource rules.
    pub(super) fn speaks_about(
        &self,
        cluster: &str,
        caller: &Caller,
        verb: Verb,
        resource: &ResourceRef,
        name: Named<'_>,
    ) -> bool {
        none_or_fits(&self.clusters, cluster)
            && (self.subjects.is_empty() || self.subjects.iter().any(|s| s.fits(caller)))
            && self.rules.iter().any(|r| r.speaks_about(verb, resource, name))
    }

    pub(super) fn strength(&self, population: Population) -> Strength {
        match population {
            Population::Agents => self.mode.agents,
            Population::People => self.mode.people,
        }
    }

    /// Conditions first, then the first validation that is not true speaks.
    pub(super) fn opinion(&self, documents: &Documents<'_>, object: Object<'_>) -> Opinion<'_> {
        let variables = self.variables.values(documents, object);
        let scene = documents.scene(object, variables.as_ref());
        self.opinion_of_conditions(&scene).unwrap_or_else(|| {
            let mut opinions = self.validations.iter().map(|v| v.opinion(&scene));
            opinions
                .find(|o| !matches!(o, Opinion::Silent))
                .unwrap_or(Opinion::Silent)
        })
    }

    /// `None` if all hold. One that is false silences the policy whatever the others say, as in Kubernetes
    /// (apiserver `pkg/admission/plugin/webhook/matchconditions/matcher.go`).
    fn opinion_of_conditions(&self, scene: &Scene<'_>) -> Option<Opinion<'_>> {
        let (action, message) = self.strictest();
        let truths: Vec<_> = self.conditions.iter().map(|c| c.truth(scene)).collect();
        if truths.contains(&Truth::False) {
            return Some(Opinion::Silent);
        }
        if truths.contains(&Truth::Open) {
            return Some(Opinion::Waits { action, message });
        }
        truths.into_iter().find_map(|truth| match truth {
            Truth::True | Truth::False | Truth::Open => None,
            Truth::Erred(text) => Some(Opinion::Against {
                action,
                message,
                because: Because::Erred(text),
            }),
        })
    }

    /// What a condition that errs stands for: whoever made it fail shall not have the milder rule.
    fn strictest(&self) -> (ValidationAction, &str) {
        let strictest = self.validations.iter().max_by_key(|v| v.action);
        strictest.map_or((ValidationAction::Deny, "the policy could not be evaluated"), |v| {
            (at_least_hold(v.action), v.message.as_str())
        })
    }
}

impl Validation {
    fn opinion(&self, scene: &Scene<'_>) -> Opinion<'_> {
        let (message, action) = (self.message.as_str(), self.action);
        match self.expression.truth(scene) {
            Truth::True => Opinion::Silent,
            Truth::False => Opinion::Against {
                action,
                message,
                because: Because::Violated,
            },
            Truth::Open => Opinion::Waits {
                action: at_least_hold(action),
                message,
            },
            Truth::Erred(text) => Opinion::Against {
                action: at_least_hold(action),
                message,
                because: Because::Erred(text),
            },
        }
    }
}

impl Subject {
    fn fits(&self, caller: &Caller) -> bool {
        match self {
            Subject::Agent(glob) => caller.agent().is_some_and(|a| glob.fits(a.name())),
            Subject::User(user) => user == caller.verified().username(),
            Subject::Group(group) => caller.verified().groups().contains(group),
        }
    }
}

/// A rule that cannot be evaluated acts, at least by asking: never as a pass, and never as a mere warning.
fn at_least_hold(action: ValidationAction) -> ValidationAction {
    action.max(ValidationAction::RequireApproval)
}
