//! The judgment of one request: free actions, self-protection, agent scope, policies, in this order.
//!
//! In: a caller, an action, the facts so far. Out: a [`Step`]: the facts that are missing, or the judgment.
//! Refuses: what any of them refuses; Deny over RequireApproval over Warn, whatever the order of files.
//! Deliberately does not: fetch anything, or say yes where a fact is missing.

use std::sync::Arc;

use mantlet_api::policy::{Strength, ValidationAction};
use serde_json::Value;

use crate::action::{Action, ResourceRef, Target, Verb};
use crate::identity::Caller;
use crate::mask::Masked;
use crate::time::Timestamp;
use crate::wire::body::Form;

use super::cel::{Documents, Object};
use super::facts::{Fact, Facts, Lookups};
use super::matching::Named;
use super::policy::{Opinion, Policy};
use super::verdict::{Applied, Because, Judgment, Permit, Rule, Step, Verdict};
use super::{ClusterRef, Law, message, scope};

/// The virtual API, which the gateway answers itself and which has rules of its own.
pub(super) const VIRTUAL_GROUP: &str = "gate.mantlet.dev";

/// Groups whose API the API server itself serves, so that it honors `dryRun`. An aggregated server may ignore it and store the object.
const SERVED_BY_KUBERNETES: [&str; 22] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

impl Law {
    /// Judges a request as far as the facts reach. Pure: the same input gives the same step.
    pub fn evaluate(
        &self,
        cluster: &ClusterRef,
        caller: &Arc<Caller>,
        action: &Arc<Action>,
        facts: &Facts,
        now: Timestamp,
    ) -> Step {
        let sight = Sight::of(action, facts);
        let mut sitting = Sitting::begin(self, caller, action, &sight);
        if let Some(resource) = judged(action) {
            let case = Case {
                cluster: &cluster.name,
                resource,
                name: named(action, resource),
                now,
            };
            sitting.judge(&case);
        }
        sitting.close()
    }

    /// Whether a stream that an earlier law let begin may go on: the same caller is known by the same names, and the same action is allowed
    /// without another look at the cluster. What would need one, or a human, has to begin anew; so has what the virtual API shows, since it
    /// depends on roles.
    pub fn upholds(&self, permit: &Permit, cluster: &ClusterRef, now: Timestamp) -> bool {
        let (before, action) = (permit.caller(), permit.action());
        let virtual_api = matches!(action.target(), Target::Resource(resource) if resource.group == VIRTUAL_GROUP);
        let Ok(caller) = self.recognize(before.verified.clone(), &cluster.name, now) else {
            return false;
        };
        let same = caller.impersonation() == before.impersonation() && caller.session_key == before.session_key;
        if virtual_api || !same {
            return false;
        }
        match self.evaluate(cluster, &Arc::new(caller), action, &Facts::default(), now) {
            Step::Need(_) => false,
            Step::Done(judgment) => match judgment.verdict {
                Verdict::Allow(_) => true,
                Verdict::Hold(_) | Verdict::Deny(_) => false,
            },
        }
    }
}

/// What is asked, taken apart once.
struct Case<'a> {
    cluster: &'a str,
    resource: &'a ResourceRef,
    name: Named<'a>,
    now: Timestamp,
}

/// What the judgment can see of the object that the request would store.
enum Sight<'a> {
    Seen(&'a Value),
    /// There is none: the request reads, deletes or connects.
    Nothing,
    Unasked,
    /// The API server refused the rehearsal and would refuse the request.
    Answered {
        code: u16,
        status: &'a Arc<Masked<Value>>,
    },
    /// It could not be had.
    Blind(String),
}

/// One judgment in the making.
struct Sitting<'a> {
    law: &'a Law,
    caller: &'a Arc<Caller>,
    action: &'a Arc<Action>,
    sight: &'a Sight<'a>,
    applied: Vec<Applied>,
    waiting: Vec<Rule>,
    not_judged: Vec<Rule>,
    answered: bool,
}

/// The resource of an action that the law has a say in; `None` for what is free to every recognized caller.
fn judged(action: &Action) -> Option<&ResourceRef> {
    match action.target() {
        Target::Path(_) => None,
        Target::Resource(r) => (r.group != VIRTUAL_GROUP && !is_self_review(action.verb(), r)).then_some(r),
    }
}

/// A question about oneself, which changes nothing.
fn is_self_review(verb: Verb, r: &ResourceRef) -> bool {
    let review = matches!(
        (r.group.as_str(), r.resource.as_str()),
        (
            "authorization.k8s.io",
            "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
        ) | ("authentication.k8s.io", "selfsubjectreviews")
    );
    review && verb == Verb::Create && r.subresource.is_empty() && r.namespace.is_empty() && r.name.is_empty()
}

/// The name that a request is about: from its path, for a create from the object.
fn named<'a>(action: &'a Action, resource: &'a ResourceRef) -> Named<'a> {
    if !resource.name.is_empty() {
        return Named::Exactly(&resource.name);
    }
    let submitted = match action.verb() {
        Verb::Create => action
            .submitted()
            .and_then(|o| super::inspect::text(o, &["metadata", "name"])),
        Verb::Get
        | Verb::List
        | Verb::Watch
        | Verb::Update
        | Verb::Patch
        | Verb::Delete
        | Verb::DeleteCollection
        | Verb::Exec
        | Verb::Attach
        | Verb::PortForward
        | Verb::Proxy => None,
    };
    submitted.filter(|n| !n.is_empty()).map_or(Named::Open, Named::Exactly)
}

impl<'a> Sight<'a> {
    fn of(action: &'a Action, facts: &'a Facts) -> Self {
        match action.verb() {
            Verb::Create | Verb::Update if !is_scale(action) => match action.submitted() {
                Some(object) => Sight::Seen(object),
                None => Sight::Blind(String::from("the request brought no object")),
            },
            Verb::Create | Verb::Update | Verb::Patch => Self::of_rehearsal(action, facts),
            Verb::Get
            | Verb::List
            | Verb::Watch
            | Verb::Delete
            | Verb::DeleteCollection
            | Verb::Exec
            | Verb::Attach
            | Verb::PortForward
            | Verb::Proxy => Sight::Nothing,
        }
    }

    fn of_rehearsal(action: &Action, facts: &'a Facts) -> Self {
        match facts.object() {
            Fact::Unasked if turns_around(action) => Sight::Blind(String::from(
                "what `copy` and `move` of a JSON patch make depends on what is stored at the moment of the change",
            )),
            Fact::Unasked if honors_dry_run(action) => Sight::Unasked,
            Fact::Unasked => Sight::Blind(String::from("an API that is not Kubernetes' own may ignore dryRun")),
            Fact::Known(object) => Sight::Seen(object),
            Fact::Absent => Sight::Blind(String::from("the dry-run returned no object")),
            Fact::Refused { code, status } if is_final(*code, status) => Sight::Answered { code: *code, status },
            Fact::Refused { code, .. } => Sight::Blind(format!("the dry-run was refused with {code}")),
            Fact::Failed(text) => Sight::Blind(text.clone()),
        }
    }

    /// The object as expressions see it; `None` while it is unknown.
    fn object(&self) -> Object<'_> {
        match self {
            Sight::Seen(object) => Object::Known(object),
            Sight::Nothing => Object::Known(&Value::Null),
            Sight::Unasked | Sight::Answered { .. } | Sight::Blind(_) => Object::Unknown,
        }
    }
}

/// Whether the request can come out otherwise than its rehearsal, though nobody touches the fields that it names: the caller may change
/// the source of a `copy` in between. Every other patch brings its values along.
fn turns_around(action: &Action) -> bool {
    let patch = action.body().filter(|body| body.form() == Form::JsonPatch);
    let operations = patch.and_then(|body| body.masked().as_array()).into_iter().flatten();
    operations
        .filter_map(|operation| operation.get("op").and_then(Value::as_str))
        .any(|op| matches!(op, "copy" | "move"))
}

fn is_scale(action: &Action) -> bool {
    action.resource().is_some_and(|r| r.subresource == "scale")
}

fn is_secret(action: &Action) -> bool {
    action
        .resource()
        .is_some_and(|r| r.group.is_empty() && r.resource == "secrets")
}

fn honors_dry_run(action: &Action) -> bool {
    action
        .resource()
        .is_some_and(|r| SERVED_BY_KUBERNETES.contains(&r.group.as_str()))
}

/// Whether the API server would answer the same to the real request. An admission webhook with side effects refuses rehearsals only
/// (apiserver `pkg/admission/plugin/webhook/errors/statuserror.go`, NewDryRunUnsupportedErr).
fn is_final(code: u16, status: &Value) -> bool {
    let text = status.get("message").and_then(Value::as_str).unwrap_or_default();
    matches!(code, 400 | 403 | 404 | 405 | 409 | 410 | 413 | 415 | 422) && !text.contains("does not support dry run")
}

impl<'a> Sitting<'a> {
    fn begin(law: &'a Law, caller: &'a Arc<Caller>, action: &'a Arc<Action>, sight: &'a Sight<'a>) -> Self {
        let (applied, waiting, not_judged) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            law,
            caller,
            action,
            sight,
            applied,
            waiting,
            not_judged,
            answered: false,
        }
    }

    fn judge(&mut self, case: &Case<'a>) {
        self.judge_by_self_protection(case);
        self.judge_by_scope(case);
        let law = self.law;
        let policies = law
            .policies_for(self.action.verb())
            .filter(|p| p.speaks_about(case.cluster, self.caller, self.action.verb(), case.resource, case.name));
        let policies: Vec<&Policy> = policies.collect();
        if self.denied() {
            self.not_judged.extend(policies.iter().map(|p| rule_of(p)));
        } else if !policies.is_empty() {
            let documents = Documents::of(self.caller, self.action, case.resource, case.name, case.now);
            policies.into_iter().for_each(|p| self.judge_by_policy(p, &documents));
        }
    }

    fn judge_by_self_protection(&mut self, case: &Case<'a>) {
        let (own, rule) = (&self.law.own, Rule::SelfProtection);
        if let Some(message) = own.objection(self.action, case.resource) {
            return self.against(rule, ValidationAction::Deny, message);
        }
        if !own.wants_object(self.action, case.resource) {
            return;
        }
        let unseen = "What it would store could not be checked against the gateway's own protection";
        if let Some(object) = self.look(&rule, ValidationAction::Deny, Strength::Enforce, unseen)
            && let Some(message) = own.objection_to(case.resource, object)
        {
            self.against(rule, ValidationAction::Deny, message);
        }
    }

    fn judge_by_scope(&mut self, case: &Case<'a>) {
        let caller = self.caller;
        let Some(agent) = caller.agent() else { return };
        let rule = Rule::AgentScope {
            agent: agent.name().to_owned(),
        };
        for (action, message) in scope::objections(agent, self.action, case.resource, case.name) {
            self.against(rule.clone(), action, message);
        }
        if !scope::wants_object(self.action, case.resource) {
            return;
        }
        let unseen = "what it would store could not be checked against the agent's scope";
        if let Some(object) = self.look(&rule, ValidationAction::RequireApproval, Strength::Enforce, unseen) {
            for (action, message) in scope::objections_to(agent, case.resource, object) {
                self.against(rule.clone(), action, message);
            }
        }
    }

    fn judge_by_policy(&mut self, policy: &Policy, documents: &Documents<'_>) {
        let rule = rule_of(policy);
        let strength = policy.strength(self.caller.verified().population());
        match policy.opinion(documents, self.sight.object()) {
            Opinion::Silent => {}
            Opinion::Against {
                action,
                message,
                because,
            } => {
                self.applied.push(Applied {
                    rule,
                    action,
                    strength,
                    message: message.to_owned(),
                    because,
                });
            }
            Opinion::Waits { action, message } => {
                self.look(&rule, action, strength, message);
            }
        }
    }

    fn against(&mut self, rule: Rule, action: ValidationAction, message: String) {
        self.applied.push(Applied {
            rule,
            action,
            strength: Strength::Enforce,
            message,
            because: Because::Violated,
        });
    }

    /// The object that `rule` needs. Without it the rule waits, or acts, or leaves the word to the API server.
    fn look(&mut self, rule: &Rule, action: ValidationAction, strength: Strength, message: &str) -> Option<&'a Value> {
        match self.sight {
            Sight::Seen(object) => return Some(object),
            Sight::Nothing => return Some(&Value::Null),
            Sight::Unasked => self.waiting.push(rule.clone()),
            Sight::Answered { .. } => {
                self.answered |= strength == Strength::Enforce;
                self.not_judged.push(rule.clone());
            }
            Sight::Blind(why) => {
                let because = Because::Blind(why.clone());
                self.applied.push(Applied {
                    rule: rule.clone(),
                    action,
                    strength,
                    message: message.to_owned(),
                    because,
                });
            }
        }
        None
    }

    fn denied(&self) -> bool {
        self.strictest().is_some_and(|a| a.action == ValidationAction::Deny)
    }

    /// The rule that decides: the strictest that counts, of equals the first (self-protection, scope, policies by name).
    fn strictest(&self) -> Option<&Applied> {
        let counting = self.applied.iter().filter(|a| a.strength == Strength::Enforce);
        counting.rev().max_by_key(|a| a.action)
    }

    /// A denial ends it; then the missing facts; then the API server's own refusal, which has the last word over asking a human.
    fn close(mut self) -> Step {
        if !self.denied() && !self.waiting.is_empty() {
            return Step::Need(Lookups::dry_run(self.caller, self.action));
        }
        self.not_judged.append(&mut self.waiting);
        let verdict = self.verdict();
        let warnings = self.applied.iter().filter_map(message::warning).collect();
        let not_judged = self.not_judged.iter().map(Rule::to_string).collect();
        Step::Done(Judgment {
            verdict,
            applied: self.applied,
            warnings,
            not_judged,
        })
    }

    fn verdict(&self) -> Verdict {
        let allow = || Verdict::Allow(Permit::grant(self.caller, self.action, self.law.epoch));
        match self.strictest() {
            Some(applied) if applied.action == ValidationAction::Deny => {
                Verdict::Deny(message::denied(self.action, applied))
            }
            strictest => match (self.refusal(), strictest.map(|a| (a.action, a))) {
                (Some((code, status)), _) => Verdict::Deny(message::refused_upstream(code, status)),
                (None, Some((ValidationAction::RequireApproval | ValidationAction::Deny, applied))) => {
                    Verdict::Hold(message::held(self.action, applied))
                }
                (None, Some((ValidationAction::Warn, _)) | None) => allow(),
            },
        }
    }

    /// The API server's own refusal, if a rule that counts needed what it refused. Not that of a write on a Secret which is held in any case:
    /// whether a field conflicts or is immutable would tell each guess of its value.
    fn refusal(&self) -> Option<(u16, &Arc<Masked<Value>>)> {
        match self.sight {
            Sight::Answered { .. } if self.strictest().is_some() && is_secret(self.action) => None,
            Sight::Answered { code, status } if self.answered => Some((*code, status)),
            Sight::Answered { .. } | Sight::Seen(_) | Sight::Nothing | Sight::Unasked | Sight::Blind(_) => None,
        }
    }
}

fn rule_of(policy: &Policy) -> Rule {
    Rule::Policy {
        name: policy.name.clone(),
    }
}
