//! What somebody can do at all, before they do it: the law's part in the answer to an access review.
//!
//! In: a caller, and an [`Access`] as a SelfSubjectAccessReview names it. Out: [`Can`]: never, whatever the object is; perhaps, depending on it or
//! with a human's approval; freely, as far as the law goes. The cluster's own answer stands beside it: a *yes* takes both.
//! Deliberately does not: know objects. What depends on one is never a *no*.

use std::sync::Arc;

use mantlet_api::policy::{Role, Strength, ValidationAction};
use serde_json::{Map, Value, json};

use crate::action::{Action, Answer, Method, Options, ResourceRef, Sort, Target, Verb};
use crate::identity::Caller;
use crate::time::Timestamp;

use super::bases::base;
use super::cel::Supposition;
use super::matching::{Named, Touch};
use super::policy::Policy;
use super::verdict::{BudgetKind, Rule};
use super::{ClusterRef, Law, VERBS, evaluate, risk, scope};

/// `spec.resourceAttributes` of a review. Empty and `*` mean what they mean there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl Access {
    /// The verb of its own that the subresource has, whatever RBAC calls it.
    pub fn connects(&self) -> Option<Verb> {
        match self.subresource.as_str() {
            "exec" => Some(Verb::Exec),
            "attach" => Some(Verb::Attach),
            "portforward" => Some(Verb::PortForward),
            "proxy" => Some(Verb::Proxy),
            _ => None,
        }
    }
}

/// How a `*` in the question is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Star {
    /// Everything that it stands for: a review asks whether all of it is allowed.
    All,
    /// Anything of it: a list of rules keeps what is allowed in part.
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Can {
    /// Not a single request like this is carried out.
    Never {
        rule: Option<Rule>,
        why: String,
    },
    /// Some are held or denied, by this rule.
    Perhaps(Rule),
    Free,
}

/// Resources of Kubernetes that lie in no namespace, whatever namespace a review names beside them (kubectl always names one).
const CLUSTER_SCOPED: &[(&str, &[&str])] = &[
    ("", &["componentstatuses", "nodes", "persistentvolumes"]),
    ("admissionregistration.k8s.io", &["*"]),
    ("apiextensions.k8s.io", &["*"]),
    ("apiregistration.k8s.io", &["*"]),
    ("authentication.k8s.io", &["*"]),
    (
        "authorization.k8s.io",
        &[
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
        ],
    ),
    (
        "certificates.k8s.io",
        &["certificatesigningrequests", "clustertrustbundles"],
    ),
    ("flowcontrol.apiserver.k8s.io", &["*"]),
    ("networking.k8s.io", &["ingressclasses", "ipaddresses", "servicecidrs"]),
    ("node.k8s.io", &["*"]),
    ("rbac.authorization.k8s.io", &["clusterrolebindings", "clusterroles"]),
    (
        "resource.k8s.io",
        &["deviceclasses", "devicetaintrules", "resourceslices"],
    ),
    ("scheduling.k8s.io", &["priorityclasses"]),
    (
        "storage.k8s.io",
        &[
            "csidrivers",
            "csinodes",
            "storageclasses",
            "volumeattachments",
            "volumeattributesclasses",
        ],
    ),
    ("storagemigration.k8s.io", &["*"]),
];

impl Law {
    /// What the law has to say about all requests like this.
    pub fn can(&self, cluster: &ClusterRef, caller: &Arc<Caller>, access: &Access, star: Star, now: Timestamp) -> Can {
        if access.group == evaluate::VIRTUAL_GROUP {
            return self.can_here(cluster, caller, access);
        }
        if let Some(why) = never_asked(access) {
            return Can::Never { rule: None, why };
        }
        let answers = verbs(access).into_iter().map(|verb| {
            let asked = Asked {
                cluster,
                caller,
                verb,
                access: &placed(caller, verb, access),
                star,
                now,
            };
            self.can_do(&asked)
        });
        match star {
            Star::All => answers.max_by_key(Can::weight).unwrap_or(Can::Free),
            Star::Any => {
                let answers: Vec<Can> = answers.collect();
                let never = answers.iter().all(|can| matches!(can, Can::Never { .. }));
                let mildest = answers.into_iter().min_by_key(Can::weight);
                mildest.filter(|_| never).unwrap_or(Can::Free)
            }
        }
    }

    /// The virtual API has rules of its own, and no RBAC.
    fn can_here(&self, cluster: &ClusterRef, caller: &Caller, access: &Access) -> Can {
        let operator = || self.roles(caller.verified(), &cluster.name).has(Role::Operator);
        let may = match (
            access.resource.as_str(),
            access.subresource.as_str(),
            access.verb.as_str(),
        ) {
            ("sessions" | "sessionevents", "", "get" | "list" | "watch") | ("agents", "", "get" | "list") => true,
            ("sessions", "end", "create") | ("agents", "suspend", "create") => operator(),
            _ => false,
        };
        match may {
            true => Can::Free,
            false => Can::Never {
                rule: None,
                why: String::from(
                    "the gateway itself serves this, and by `authorization.roles` of its configuration it is not yours to do",
                ),
            },
        }
    }

    fn can_do(&self, asked: &Asked<'_>) -> Can {
        let resource = ResourceRef {
            group: asked.access.group.clone(),
            version: asked.access.version.clone(),
            resource: asked.access.resource.clone(),
            subresource: asked.access.subresource.clone(),
            namespace: asked.access.namespace.clone(),
            name: asked.access.name.clone(),
        };
        let action = bare(asked.verb, resource.clone());
        if evaluate::is_self_review(asked.verb, &resource) {
            return Can::Free;
        }
        let mut answers = vec![self.can_by_self_protection(&action, &resource)];
        answers.extend(self.can_by_scope(asked, &action, &resource));
        answers.extend(self.policies.iter().map(|policy| can_by_policy(policy, asked)));
        answers.push(self.can_by_risk(asked, &resource));
        // Of equals the first, as in a judgment.
        answers.into_iter().rev().max_by_key(Can::weight).unwrap_or(Can::Free)
    }

    fn can_by_self_protection(&self, action: &Action, resource: &ResourceRef) -> Can {
        match self.own.objection(action, resource) {
            Some(why) => Can::Never {
                rule: Some(Rule::SelfProtection),
                why,
            },
            None if self.own.wants_object(action, resource) => Can::Perhaps(Rule::SelfProtection),
            None => Can::Free,
        }
    }

    fn can_by_scope(&self, asked: &Asked<'_>, action: &Action, resource: &ResourceRef) -> Vec<Can> {
        let Some(agent) = asked.caller.agent() else {
            return Vec::new();
        };
        let rule = Rule::AgentScope {
            agent: agent.name().to_owned(),
        };
        let said = scope::objections(agent, action, resource, asked.name()).into_iter();
        let in_part = asked.star == Star::Any && asked.access.resource == "*" && agent.may_ask_beyond();
        let mut answers: Vec<Can> = said
            .map(|(action, why)| {
                if in_part {
                    Can::Perhaps(rule.clone())
                } else {
                    acts(action, rule.clone(), why)
                }
            })
            .collect();
        answers.extend(budget(asked).map(|budget| {
            Can::Perhaps(Rule::AgentBudget {
                agent: agent.name().to_owned(),
                budget,
            })
        }));
        if scope::wants_object(self, action, resource) {
            answers.push(Can::Perhaps(rule));
        }
        answers
    }

    /// The base is known before anything else is.
    fn can_by_risk(&self, asked: &Asked<'_>, resource: &ResourceRef) -> Can {
        let thresholds = self.thresholds(asked.caller);
        let base = base(asked.verb, resource);
        let why = || format!("the risk of it: {}", base.because);
        let unbounded = thresholds.deny_at.or(thresholds.require_approval_at).is_some();
        match (risk::verdict(base.points, thresholds), asked.verb.sort()) {
            (ValidationAction::Deny, _) if asked.access.subresource != "*" => Can::Never {
                rule: Some(Rule::Risk),
                why: why(),
            },
            (ValidationAction::Deny | ValidationAction::RequireApproval, _) => Can::Perhaps(Rule::Risk),
            // How many objects it affects, and what policies add, is only known of a request.
            (ValidationAction::None | ValidationAction::Warn, Sort::Stores | Sort::Deletes | Sort::Connects)
                if unbounded =>
            {
                Can::Perhaps(Rule::Risk)
            }
            (ValidationAction::None | ValidationAction::Warn, _) => Can::Free,
        }
    }
}

/// One question, with the verb as the law has it.
struct Asked<'a> {
    cluster: &'a ClusterRef,
    caller: &'a Arc<Caller>,
    verb: Verb,
    access: &'a Access,
    star: Star,
    now: Timestamp,
}

impl Asked<'_> {
    fn name(&self) -> Named<'_> {
        match self.access.name.as_str() {
            "" => Named::Open,
            name => Named::Exactly(name),
        }
    }

    /// The fields of `request` that every such request has alike.
    fn known(&self) -> Value {
        let access = self.access;
        let mut known = Map::new();
        known.insert(String::from("verb"), json!(self.verb.as_str()));
        for (field, text) in [
            ("apiGroup", &access.group),
            ("resource", &access.resource),
            ("subresource", &access.subresource),
        ] {
            if text != "*" {
                known.insert(String::from(field), json!(text));
            }
        }
        for (field, text) in [("namespace", &access.namespace), ("name", &access.name)] {
            if !text.is_empty() && text != "*" {
                known.insert(String::from(field), json!(text));
            }
        }
        Value::Object(known)
    }
}

impl Can {
    fn weight(&self) -> u8 {
        match self {
            Can::Never { .. } => 2,
            Can::Perhaps(_) => 1,
            Can::Free => 0,
        }
    }
}

/// What no request through a gateway can ask: it has no verb for it.
fn never_asked(access: &Access) -> Option<String> {
    let impersonates = access.verb == "impersonate"
        || access.verb.starts_with("impersonate:")
        || access.verb.starts_with("impersonate-on:");
    impersonates.then(|| {
        String::from(
            "not through this gateway: it refuses impersonation headers, and acts as who your token says you are",
        )
    })
}

/// The verbs of the law that RBAC's word stands for. None for `use`, `bind`, `escalate` and the like, which are no requests: the cluster
/// asks for them while it carries out another.
fn verbs(access: &Access) -> Vec<Verb> {
    let words = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    match (access.connects(), access.verb.as_str()) {
        (Some(verb), word) if word == "*" || words.contains(&word) => vec![verb],
        (None, "*") => VERBS
            .iter()
            .copied()
            .filter(|verb| verb.sort() != Sort::Connects)
            .collect(),
        (None, word) => VERBS
            .iter()
            .copied()
            .filter(|verb| words.contains(&word) && verb.as_str() == word)
            .collect(),
        (Some(_), _) => Vec::new(),
    }
}

/// Where a request like this would really be: what lies in no namespace has none, and `namespaces/NAME` lies in NAME.
fn placed(caller: &Caller, verb: Verb, access: &Access) -> Access {
    let within = |resources: &[&str]| resources.contains(&"*") || resources.contains(&access.resource.as_str());
    let cluster_scoped = CLUSTER_SCOPED
        .iter()
        .any(|(group, resources)| *group == access.group && within(resources));
    let namespace = if access.group.is_empty() && access.resource == "namespaces" {
        let somewhere = caller.agent().and_then(|agent| agent.namespaces().first());
        match (access.name.as_str(), verb) {
            ("", Verb::List | Verb::Watch | Verb::Create | Verb::DeleteCollection) => String::new(),
            // Some namespace or other: whether one of its own.
            ("", _) => somewhere.cloned().unwrap_or_default(),
            (name, _) => name.to_owned(),
        }
    } else if cluster_scoped {
        String::new()
    } else {
        access.namespace.clone()
    };
    Access {
        namespace,
        ..access.clone()
    }
}

/// An action of which nothing but verb and place is known.
fn bare(verb: Verb, resource: ResourceRef) -> Action {
    Action {
        verb,
        method: Method::Get,
        target: Target::Resource(resource),
        tail: Vec::new(),
        query: Vec::new(),
        options: Options::default(),
        accept: String::new(),
        body: None,
        answer: Answer::Masked { secret: false },
        upgrade: false,
    }
}

fn acts(action: ValidationAction, rule: Rule, why: String) -> Can {
    match action {
        ValidationAction::Deny => Can::Never { rule: Some(rule), why },
        ValidationAction::RequireApproval => Can::Perhaps(rule),
        ValidationAction::Warn | ValidationAction::None => Can::Free,
    }
}

/// What an agent may use up, by requests like this. How much of it is left is only known of a request.
fn budget(asked: &Asked<'_>) -> Option<BudgetKind> {
    let budgets = asked.caller.agent()?.budgets();
    let secrets = asked.access.group.is_empty() && asked.access.resource == "secrets";
    match asked.verb.sort() {
        Sort::Deletes => budgets.deletes.map(|_| BudgetKind::Deletes),
        Sort::Reads if secrets => budgets.secret_reads.map(|_| BudgetKind::SecretReads),
        Sort::Stores | Sort::Connects => budgets.namespaces.map(|_| BudgetKind::Namespaces),
        Sort::Reads => None,
    }
}

fn can_by_policy(policy: &Policy, asked: &Asked<'_>) -> Can {
    let population = asked.caller.verified().population();
    if policy.strength(population) != Strength::Enforce || !policy.concerns(&asked.cluster.name, asked.caller) {
        return Can::Free;
    }
    let touch = policy
        .rules
        .iter()
        .map(|rule| rule.touches(asked.verb, asked.access, asked.star))
        .max();
    let certain = match touch {
        None | Some(Touch::None) => return Can::Free,
        Some(Touch::Some) => false,
        Some(Touch::All) => true,
    };
    let rule = Rule::Policy {
        name: policy.name.clone(),
    };
    let perhaps = |from: usize| {
        let asks = policy.validations[from..]
            .iter()
            .any(|v| v.action >= ValidationAction::RequireApproval);
        if asks { Can::Perhaps(rule.clone()) } else { Can::Free }
    };
    let supposition = Supposition::of(asked.caller, asked.known(), asked.now);
    let conditions: Vec<_> = policy
        .conditions
        .iter()
        .map(|c| c.settled(&policy.variables, &supposition))
        .collect();
    if conditions.contains(&Some(false)) {
        return Can::Free;
    }
    if !certain || conditions.contains(&None) {
        return perhaps(0);
    }
    for (at, validation) in policy.validations.iter().enumerate() {
        match validation.expression.settled(&policy.variables, &supposition) {
            Some(true) => {}
            // It only adds to the risk, which is another question.
            Some(false) if validation.action == ValidationAction::None => {}
            Some(false) => return acts(validation.action, rule, validation.message.clone()),
            None => return perhaps(at),
        }
    }
    Can::Free
}

#[cfg(test)]
mod tests;
