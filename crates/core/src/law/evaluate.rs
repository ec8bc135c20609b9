//! The judgment of one request: free actions, self-protection, agent scope, policies, thresholds of risk, in this order.
//!
//! In: a caller, an action, the facts so far. Out: a [`Step`]: the facts that are missing, or the judgment.
//! Refuses: what any of them refuses; Deny over RequireApproval over Warn, whatever the order of files.
//! Deliberately does not: fetch anything, or say yes where a fact is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mantlet_api::policy::{Strength, ValidationAction};
use serde_json::Value;

use crate::action::{Action, ResourceRef, Sort, Target, Verb};
use crate::identity::Caller;
use crate::mask::Masked;
use crate::time::Timestamp;
use crate::wire::bound;

use super::cel::Documents;
use super::facts::Facts;
use super::look_ups::{LookupKind, Lookups};
use super::matching::Named;
use super::policy::{Finding, Policy};
use super::risk::{self, Size, Tally};
use super::sight::{self, Sight, View};
use super::verdict::{Applied, Because, Judgment, Permit, Rule, Step, Terms, Verdict};
use super::{ClusterRef, Law, message, scope};

/// The virtual API, which the gateway answers itself and which has rules of its own.
pub(super) const VIRTUAL_GROUP: &str = "gate.mantlet.dev";

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
        let view = View::of(caller, action, facts);
        let mut sitting = Sitting::begin(self, caller, action, facts, &view);
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

/// One judgment in the making.
struct Sitting<'a> {
    law: &'a Law,
    caller: &'a Arc<Caller>,
    action: &'a Arc<Action>,
    facts: &'a Facts,
    view: &'a View<'a>,
    applied: Vec<Applied>,
    /// Rules that cannot be judged before something is known, and what.
    waiting: Vec<(Rule, LookupKind)>,
    not_judged: Vec<Rule>,
    /// The API server's own refusal of the request, met by a rule that counts.
    answered: Option<(LookupKind, u16, &'a Arc<Masked<Value>>)>,
    tally: Tally,
    annotations: BTreeMap<String, String>,
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

/// Whether the request itself is a dry run, of an API that is known to honor it.
fn rehearses(action: &Action) -> bool {
    action.options().dry_run && sight::honors_dry_run(action)
}

fn is_secret(action: &Action) -> bool {
    action
        .resource()
        .is_some_and(|r| r.group.is_empty() && r.resource == "secrets")
}

impl<'a> Sitting<'a> {
    fn begin(
        law: &'a Law,
        caller: &'a Arc<Caller>,
        action: &'a Arc<Action>,
        facts: &'a Facts,
        view: &'a View<'a>,
    ) -> Self {
        let (applied, waiting, not_judged) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            law,
            caller,
            action,
            facts,
            view,
            applied,
            waiting,
            not_judged,
            answered: None,
            tally: Tally::nothing(),
            annotations: BTreeMap::new(),
        }
    }

    fn judge(&mut self, case: &Case<'a>) {
        self.tally
            .begin(self.action.verb(), case.resource, rehearses(self.action));
        self.tally.affects(self.size(case));
        self.judge_by_self_protection(case);
        self.judge_by_scope(case);
        self.judge_by_policies(case);
        self.judge_by_risk();
    }

    fn judge_by_policies(&mut self, case: &Case<'a>) {
        let (law, verb) = (self.law, self.action.verb());
        let policies = law
            .policies_for(self.caller, verb, case.resource)
            .filter(|p| p.speaks_about(case.cluster, self.caller, verb, case.resource, case.name));
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
        if let Some(object) = self.look(
            &rule,
            ValidationAction::Deny,
            Strength::Enforce,
            unseen,
            LookupKind::DryRun,
        ) && let Some(message) = own.objection_to(case.resource, object)
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
        if !scope::wants_object(self.law, self.action, case.resource) {
            return;
        }
        let unseen = "what it would store could not be checked against the agent's scope";
        let (hold, enforce) = (ValidationAction::RequireApproval, Strength::Enforce);
        if let Some(object) = self.look(&rule, hold, enforce, unseen, LookupKind::DryRun) {
            let asked = scope::Asked {
                cluster: case.cluster,
                verb: self.action.verb(),
                resource: case.resource,
                name: case.name,
            };
            for (action, message) in scope::objections_to(self.law, agent, asked, object) {
                self.against(rule.clone(), action, message);
            }
        }
    }

    fn judge_by_policy(&mut self, policy: &Policy, documents: &Documents<'_>) {
        let rule = rule_of(policy);
        let strength = policy.strength(self.caller.verified().population());
        let opinion = policy.opinion(documents, self.view);
        for finding in opinion.against {
            self.tally
                .add(finding.points, strength, &rule.to_string(), &finding.message);
            self.applied.push(applied(&rule, strength, finding));
        }
        for (on, finding) in opinion.waits {
            let before = self.applied.len();
            self.look(&rule, finding.action, strength, &finding.message.told, on);
            if self.applied.len() > before {
                self.tally
                    .add(finding.points, strength, &rule.to_string(), &finding.message);
            }
        }
        self.annotations.extend(opinion.annotations);
    }

    /// How many objects the request affects, as far as the facts say.
    fn size(&self, case: &Case<'_>) -> Size {
        let counted = |size: Size, kind| size.and(kind, self.view.value(kind));
        match self.action.verb().sort() {
            Sort::Deletes | Sort::Stores if rehearses(self.action) => Size::of(1),
            Sort::Deletes => {
                let named = usize::from(self.action.verb() != Verb::DeleteCollection);
                counted(counted(Size::of(named), LookupKind::Dependents), LookupKind::Members)
            }
            Sort::Stores if risk::counts_in_object(self.action.verb(), case.resource) => {
                let object = self.view.value(LookupKind::DryRun);
                object.map_or(Size::unknown(LookupKind::DryRun), |o| Size::of(risk::objects_of(o)))
            }
            Sort::Stores | Sort::Reads | Sort::Connects => Size::of(1),
        }
    }

    /// The thresholds, where somebody set any. What the size could still change is asked for.
    fn judge_by_risk(&mut self) {
        let thresholds = self.law.thresholds(self.caller);
        let so_far = self.strictest().map_or(ValidationAction::None, |a| a.action);
        let (hold, unseen) = (
            ValidationAction::RequireApproval,
            "how many objects it affects could not be found out",
        );
        for kind in self.tally.needs(thresholds, so_far) {
            self.look(&Rule::Risk, hold, Strength::Enforce, unseen, kind);
        }
        match risk::verdict(self.tally.weigh().score, thresholds) {
            ValidationAction::None | ValidationAction::Warn => {}
            action @ (ValidationAction::RequireApproval | ValidationAction::Deny) => {
                self.against(Rule::Risk, action, self.tally.told());
            }
        }
    }

    fn against(&mut self, rule: Rule, action: ValidationAction, message: String) {
        self.applied.push(Applied {
            rule,
            action,
            strength: Strength::Enforce,
            message,
            withheld: None,
            because: Because::Violated,
        });
    }

    /// What `rule` needs to know. Without it the rule waits, or acts, or leaves the word to the API server.
    fn look(
        &mut self,
        rule: &Rule,
        action: ValidationAction,
        strength: Strength,
        message: &str,
        kind: LookupKind,
    ) -> Option<&'a Value> {
        match self.view.sight(kind) {
            Sight::Seen(value) => return Some(value),
            Sight::Unasked => self.waiting.push((rule.clone(), kind)),
            Sight::Answered { code, status } => {
                if strength == Strength::Enforce {
                    self.answered.get_or_insert((kind, *code, status));
                }
                self.not_judged.push(rule.clone());
            }
            Sight::Blind(why) => {
                let because = Because::Blind(why.clone());
                self.applied.push(Applied {
                    rule: rule.clone(),
                    action,
                    strength,
                    message: message.to_owned(),
                    withheld: None,
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
            let kinds: BTreeSet<_> = self.waiting.iter().map(|(_, kind)| *kind).collect();
            return Step::Need(Lookups::of(kinds, self.caller, self.action, self.facts));
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.not_judged.extend(waiting.into_iter().map(|(rule, _)| rule));
        let verdict = self.verdict();
        let warnings = message::warnings(&self.applied);
        let not_judged = self.not_judged.iter().map(Rule::to_string).collect();
        Step::Done(Box::new(Judgment {
            verdict,
            applied: self.applied,
            warnings,
            not_judged,
            risk: self.tally.weigh(),
            annotations: self.annotations,
        }))
    }

    fn verdict(&self) -> Verdict {
        match self.strictest() {
            Some(applied) if applied.action == ValidationAction::Deny => {
                Verdict::Deny(message::denied(self.action, applied))
            }
            strictest => match (self.refusal(), strictest.map(|a| (a.action, a))) {
                (Some((code, status)), _) => Verdict::Deny(message::refused_upstream(code, status)),
                (None, Some((ValidationAction::RequireApproval | ValidationAction::Deny, applied))) => {
                    Verdict::Hold(message::held(self.action, applied))
                }
                (None, Some((ValidationAction::Warn | ValidationAction::None, _)) | None) => self.allow(),
            },
        }
    }

    /// Leave to change the object that was judged, and no other state of it. A caller who counts on another one has the API server's own
    /// answer: it would find the same, or what nobody has judged.
    fn allow(&self) -> Verdict {
        let precondition = sight::precondition(self.action, self.facts);
        if precondition
            .as_ref()
            .is_some_and(|p| bound::contradicts(self.action, p))
        {
            let status = Arc::new(sight::conflict(self.action));
            return Verdict::Deny(message::refused_upstream(409, &status));
        }
        let terms = Terms {
            precondition,
            ..Terms::default()
        };
        Verdict::Allow(Permit::grant(self.caller, self.action, terms, self.law.epoch))
    }

    /// The API server's own refusal, if a rule that counts needed what it refused. Not that of a write on a Secret which is held in any case:
    /// whether a field conflicts or is immutable would tell each guess of its value.
    fn refusal(&self) -> Option<(u16, &Arc<Masked<Value>>)> {
        match self.answered {
            Some((LookupKind::DryRun, ..)) if self.strictest().is_some() && is_secret(self.action) => None,
            Some((_, code, status)) => Some((code, status)),
            None => None,
        }
    }
}

fn rule_of(policy: &Policy) -> Rule {
    Rule::Policy {
        name: policy.name.clone(),
    }
}

fn applied(rule: &Rule, strength: Strength, finding: Finding) -> Applied {
    Applied {
        rule: rule.clone(),
        action: finding.action,
        strength,
        message: finding.message.told,
        withheld: finding.message.withheld,
        because: finding.because,
    }
}
