//! A compiled policy, and what it has to say about one request.

use mantlet_api::policy::{Strength, ValidationAction};

use crate::action::{ResourceRef, Verb};
use crate::identity::{Caller, Population};

use super::cel::{Documents, Expression, Scene, Text, Truth, Variables};
use super::glob::{Glob, none_or_fits};
use super::look_ups::LookupKind;
use super::matching::{Named, ResourceRule};
use super::sight::View;
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
    pub(super) annotations: Vec<Annotation>,
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
    /// What it adds to the risk of the operation.
    pub(super) points: u8,
    pub(super) message: String,
    pub(super) message_expression: Option<MessageExpression>,
}

#[derive(Debug)]
pub(super) struct MessageExpression {
    pub(super) expression: Expression,
    /// It reads what the caller perhaps may not, so what it says is for the record alone.
    pub(super) withheld: bool,
}

#[derive(Debug)]
pub(super) struct Annotation {
    /// `POLICY/KEY`.
    pub(super) key: String,
    pub(super) expression: Expression,
}

/// What a policy says about one request; nothing against it by default.
#[derive(Debug, Default)]
pub(super) struct Opinion {
    /// What is violated, or could not be evaluated: the one that acts, and those that only add points.
    pub(super) against: Vec<Finding>,
    /// What cannot be judged before a fact is known, and which: how it acts if that can never be had.
    pub(super) waits: Vec<(LookupKind, Finding)>,
    pub(super) annotations: Vec<(String, String)>,
}

/// One rule that speaks against a request.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) action: ValidationAction,
    pub(super) points: u8,
    pub(super) message: Message,
    pub(super) because: Because,
}

#[derive(Debug)]
pub(super) struct Message {
    /// For the caller.
    pub(super) told: String,
    /// For the record, where it says more than the caller may read.
    pub(super) withheld: Option<String>,
}

/// apiserver `pkg/apis/cel/config.go`, MaxEvaluatedMessageExpressionSizeBytes.
const MESSAGE: usize = 5 * 1024;
/// apiserver `pkg/admission/plugin/policy/validating/dispatcher.go`, maxAuditAnnotationValueLength.
const ANNOTATION: usize = 10 * 1024;

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
        self.concerns(cluster, caller) && self.rules.iter().any(|r| r.speaks_about(verb, resource, name))
    }

    /// Whoever asks, wherever, for whatever.
    pub(super) fn concerns(&self, cluster: &str, caller: &Caller) -> bool {
        none_or_fits(&self.clusters, cluster)
            && (self.subjects.is_empty() || self.subjects.iter().any(|s| s.fits(caller)))
    }

    pub(super) fn strength(&self, population: Population) -> Strength {
        match population {
            Population::Agents => self.mode.agents,
            Population::People => self.mode.people,
        }
    }

    /// Conditions first, then the validations, then what the event is to say.
    pub(super) fn opinion(&self, documents: &Documents<'_>, view: &View<'_>) -> Opinion {
        let variables = self.variables.values(documents, view);
        let scene = documents.scene(view, &variables);
        match self.condition(&scene) {
            Truth::False => Opinion::default(),
            Truth::Open(on) => Opinion::waiting(on, self.whole(Because::Violated)),
            Truth::Erred(text) => Opinion::speaking(self.whole(Because::Erred(text))),
            Truth::True => {
                let mut opinion = self.opinion_of_validations(&scene);
                self.annotate(&scene, &mut opinion);
                opinion
            }
        }
    }

    /// All of them. One that is false silences the policy whatever the others say, as in Kubernetes
    /// (apiserver `pkg/admission/plugin/webhook/matchconditions/matcher.go`).
    fn condition(&self, scene: &Scene<'_>) -> Truth {
        let mut truths: Vec<_> = self.conditions.iter().map(|c| c.truth(scene)).collect();
        let at = |fits: fn(&Truth) -> bool| truths.iter().position(fits);
        let deciding = at(|truth| *truth == Truth::False).or_else(|| at(|truth| matches!(truth, Truth::Open(_))));
        if let Some(at) = deciding {
            return truths.swap_remove(at);
        }
        let erred = truths.iter().position(|truth| matches!(truth, Truth::Erred(_)));
        erred.map_or(Truth::True, |at| truths.swap_remove(at))
    }

    /// In order. The first that is not true and does more than add points acts; after it, only points count.
    fn opinion_of_validations(&self, scene: &Scene<'_>) -> Opinion {
        let mut opinion = Opinion::default();
        let mut acted = false;
        for validation in &self.validations {
            if acted && validation.points == 0 {
                continue;
            }
            match validation.expression.truth(scene) {
                Truth::True => {}
                Truth::False => {
                    let action = if acted {
                        ValidationAction::None
                    } else {
                        validation.action
                    };
                    acted |= action != ValidationAction::None;
                    opinion.against.push(validation.violated(action, scene));
                }
                Truth::Open(on) => {
                    acted = true;
                    opinion.waits.push((on, validation.fails(Because::Violated)));
                }
                Truth::Erred(text) => {
                    acted = true;
                    opinion.against.push(validation.fails(Because::Erred(text)));
                }
            }
        }
        opinion
    }

    /// A value that is null or empty is left out; one that cannot be made is a violation, since the event would lack it.
    fn annotate(&self, scene: &Scene<'_>, opinion: &mut Opinion) {
        for annotation in &self.annotations {
            match annotation.expression.text(scene) {
                Text::Said(text) if text.trim().is_empty() => {}
                Text::Said(text) => {
                    let text = crate::mask::text(text.trim()).into_inner();
                    let text = text[..text.floor_char_boundary(ANNOTATION)].to_owned();
                    opinion.annotations.push((annotation.key.clone(), text));
                }
                Text::Null => {}
                Text::Open(on) => opinion.waits.push((on, self.unannotated(Because::Violated))),
                Text::Erred(text) => {
                    let why = format!("the audit annotation {}: {text}", annotation.key);
                    opinion.against.push(self.unannotated(Because::Erred(why)));
                }
            }
        }
    }

    fn unannotated(&self, because: Because) -> Finding {
        Finding {
            points: 0,
            ..self.whole(because)
        }
    }

    /// What a condition that errs stands for: whoever made it fail shall not have the milder rule, nor fewer points.
    fn whole(&self, because: Because) -> Finding {
        let strictest = self.validations.iter().max_by_key(|v| v.action);
        let (action, message) = strictest.map_or((ValidationAction::Deny, "the policy could not be evaluated"), |v| {
            (at_least_hold(v.action), v.message.as_str())
        });
        let points = self.validations.iter().map(|v| v.points);
        Finding {
            action,
            points: points.fold(0, u8::saturating_add),
            message: Message::told(message),
            because,
        }
    }
}

impl Opinion {
    fn waiting(on: LookupKind, finding: Finding) -> Self {
        let waits = vec![(on, finding)];
        Self {
            waits,
            ..Self::default()
        }
    }

    fn speaking(finding: Finding) -> Self {
        let against = vec![finding];
        Self {
            against,
            ..Self::default()
        }
    }
}

impl Validation {
    fn violated(&self, action: ValidationAction, scene: &Scene<'_>) -> Finding {
        Finding {
            action,
            points: self.points,
            message: self.said(scene),
            because: Because::Violated,
        }
    }

    /// It cannot be evaluated.
    fn fails(&self, because: Because) -> Finding {
        Finding {
            action: at_least_hold(self.action),
            points: self.points,
            message: Message::told(&self.message),
            because,
        }
    }

    /// What its expression says, if that is one line of text; otherwise its message, as in Kubernetes
    /// (apiserver `pkg/admission/plugin/policy/validating/validator.go`, Validate).
    fn said(&self, scene: &Scene<'_>) -> Message {
        let plain = || Message::told(&self.message);
        let Some(made) = &self.message_expression else {
            return plain();
        };
        match made.expression.text(scene) {
            Text::Said(text) if is_line(text.trim()) => {
                let text = crate::mask::text(text.trim()).into_inner();
                match made.withheld {
                    true => Message {
                        withheld: Some(text),
                        ..plain()
                    },
                    false => Message::told(&text),
                }
            }
            Text::Said(_) | Text::Null | Text::Open(_) | Text::Erred(_) => plain(),
        }
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= MESSAGE && !text.contains(['\n', '\r'])
}

impl Message {
    fn told(text: &str) -> Self {
        Self {
            told: text.to_owned(),
            withheld: None,
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
