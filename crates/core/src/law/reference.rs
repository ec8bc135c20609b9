//! The law judged a second time, as plainly as can be: no index, no laziness, every expression a function of Rust, every fact known from the
//! start. Random laws and requests must come to the same verdict by both ways, and by every order of files.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mantlet_api::policy as written;
use serde_json::{Value, json};
use written::{Strength, ValidationAction};

use super::bases::base;
use super::{ClusterRef, DenialReason, Epoch, Fact, Facts, Judgment, Law, LookupKind, RiskThresholds, Source, Step};
use super::{Verdict, Written};
use crate::action::{self, Action, Head, ResourceRef, Verb};
use crate::identity::{Caller, Population, Verified};
use crate::mask::{self, Hint};
use crate::time::Timestamp;

/// What an expression comes to. `Unknown` if it hangs on an object that nobody can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    True,
    False,
    Erred,
    Unknown,
}

use Truth::{Erred, False, True, Unknown};

/// An expression, and what it means.
#[derive(Clone)]
struct Rule {
    source: String,
    truth: Arc<dyn Fn(&Scene) -> Truth>,
}

/// One request, all of it.
#[derive(Debug, Clone)]
struct Scene {
    cluster: &'static str,
    population: Population,
    agent: Option<&'static str>,
    user: &'static str,
    groups: Vec<&'static str>,
    verb: Verb,
    resource: ResourceRef,
    name: String,
    dry_run: bool,
    thresholds: RiskThresholds,
    object: Object,
    /// What is stored now; `null` where there is nothing, or nothing in particular.
    old: Object,
    /// How many objects a delete takes along, or a deletecollection hits; `None` if nobody can count them.
    others: Option<usize>,
    /// The expression that is evaluated has asked for what is unknown.
    touched: Cell<bool>,
}

/// What it would store.
#[derive(Debug, Clone)]
enum Object {
    /// `null` for what stores nothing.
    Known(Value),
    /// The API server refuses the rehearsal, and would refuse the request.
    Refused,
    Blind,
}

struct ReferencePolicy {
    written: written::Policy,
    conditions: Vec<Rule>,
    validations: Vec<Rule>,
}

/// What a judgment comes to, as far as both must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    kind: Kind,
    by: String,
    score: u8,
    shadow: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Allow,
    Hold,
    Deny,
    Upstream,
}

// ---- The plain judgment.

struct Found {
    by: String,
    action: ValidationAction,
    strength: Strength,
    points: u32,
    /// It hangs on the object that cannot be had.
    unknown: bool,
}

fn judge(policies: &[ReferencePolicy], scene: &Scene) -> Outcome {
    let mut by_name: Vec<&ReferencePolicy> = policies.iter().collect();
    by_name.sort_by_key(|p| p.written.metadata.name.clone());
    let found: Vec<Found> = by_name.iter().flat_map(|p| findings(p, scene)).collect();
    let refused = matches!(scene.object, Object::Refused);
    let (unknown, mut applied): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|f| f.unknown && refused);
    let counts = |f: &&Found| f.strength == Strength::Enforce;
    let size = size(scene);
    let base = match scene.dry_run && scene.resource.group != "example.com" {
        true => 10,
        false => u32::from(base(scene.verb, &scene.resource).points),
    };
    let points = |all: bool| {
        applied
            .iter()
            .filter(|f| all || counts(f))
            .map(|f| f.points)
            .sum::<u32>()
    };
    let sum = |all: bool| u8::try_from((base + points(all) + size.unwrap_or(0)).min(100)).unwrap();
    let (score, shadow) = (sum(false), sum(true));
    let reached = |at: Option<u8>| at.is_some_and(|at| score >= at);
    let so_far = applied
        .iter()
        .filter(counts)
        .map(|f| f.action)
        .max()
        .unwrap_or(ValidationAction::None);
    let mut answered = unknown.iter().any(|f| counts(&f));
    let by_risk = |action| Found {
        by: String::from("risk"),
        action,
        strength: Strength::Enforce,
        points: 0,
        unknown: false,
    };
    let open = |at: Option<u8>, action| at.is_some_and(|at| score < at) && so_far < action;
    let wanted = open(scene.thresholds.deny_at, ValidationAction::Deny)
        || open(scene.thresholds.require_approval_at, ValidationAction::RequireApproval);
    if size.is_none() && wanted && !reached(scene.thresholds.deny_at) && so_far < ValidationAction::Deny {
        match refused {
            true => answered = true,
            false => applied.push(by_risk(ValidationAction::RequireApproval)),
        }
    }
    if reached(scene.thresholds.deny_at) {
        applied.push(by_risk(ValidationAction::Deny));
    } else if reached(scene.thresholds.require_approval_at) {
        applied.push(by_risk(ValidationAction::RequireApproval));
    }
    let strictest = applied.iter().filter(counts).rev().max_by_key(|f| f.action);
    let (kind, by) = match strictest {
        Some(f) if f.action == ValidationAction::Deny => (Kind::Deny, f.by.clone()),
        _ if answered => (Kind::Upstream, String::new()),
        Some(f) if f.action == ValidationAction::RequireApproval => (Kind::Hold, f.by.clone()),
        Some(_) | None => (Kind::Allow, String::new()),
    };
    Outcome {
        kind,
        by,
        score,
        shadow,
    }
}

/// `None` if it stands in an object that nobody can have.
fn size(scene: &Scene) -> Option<u32> {
    if scene.dry_run && scene.resource.group != "example.com" {
        return Some(0);
    }
    match scene.verb {
        Verb::Delete => return scene.others.map(|n| doublings(n as u64 + 1)),
        Verb::DeleteCollection => return scene.others.map(|n| doublings(n as u64)),
        _ => {}
    }
    let stores = matches!(scene.verb, Verb::Create | Verb::Update | Verb::Patch);
    let counted =
        scene.resource.resource == "deployments" && ["", "scale"].contains(&scene.resource.subresource.as_str());
    if !stores || !counted {
        return Some(0);
    }
    match &scene.object {
        Object::Known(object) => Some(doublings(object["spec"]["replicas"].as_u64().unwrap_or(1))),
        Object::Refused | Object::Blind => None,
    }
}

fn doublings(mut objects: u64) -> u32 {
    let mut points = 0;
    while objects > 1 {
        (objects, points) = (objects / 2, points + 10);
    }
    points
}

fn findings(policy: &ReferencePolicy, scene: &Scene) -> Vec<Found> {
    if !matches(&policy.written, scene) {
        return Vec::new();
    }
    let spec = &policy.written.spec;
    let strength = match (spec.mode, scene.population) {
        (written::Mode::Everybody(strength), _) => strength,
        (written::Mode::Each(each), Population::Agents) => each.agents,
        (written::Mode::Each(each), Population::People) => each.people,
    };
    let found = |action, points: u32, unknown| Found {
        by: format!("policy:{}", policy.written.metadata.name),
        action,
        strength,
        points,
        unknown,
    };
    let conditions: Vec<Truth> = policy.conditions.iter().map(|c| c.comes_to(scene)).collect();
    if conditions.contains(&False) {
        return Vec::new();
    }
    if conditions.contains(&Unknown) || conditions.contains(&Erred) {
        let strictest = spec.validations.iter().map(|v| v.action).max().unwrap();
        let points = spec.validations.iter().map(|v| u32::from(v.risk)).sum::<u32>().min(255);
        let action = strictest.max(ValidationAction::RequireApproval);
        return vec![found(action, points, conditions.contains(&Unknown))];
    }
    let mut all = Vec::new();
    let mut acted = false;
    for (rule, validation) in policy.validations.iter().zip(&spec.validations) {
        let points = u32::from(validation.risk);
        if acted && points == 0 {
            continue;
        }
        let at_least_hold = validation.action.max(ValidationAction::RequireApproval);
        match rule.comes_to(scene) {
            True => {}
            False if acted => all.push(found(ValidationAction::None, points, false)),
            False => {
                acted = validation.action != ValidationAction::None;
                all.push(found(validation.action, points, false));
            }
            Erred => {
                acted = true;
                all.push(found(at_least_hold, points, false));
            }
            Unknown => {
                acted = true;
                all.push(found(at_least_hold, points, true));
            }
        }
    }
    all
}

fn matches(policy: &written::Policy, scene: &Scene) -> bool {
    let constraints = &policy.spec.match_constraints;
    let fits_any =
        |globs: &[String], name: &str| globs.is_empty() || globs.iter().any(|g| fits(g.as_bytes(), name.as_bytes()));
    let subject = |s: &written::Subject| match (&s.agent, &s.user, &s.group) {
        (Some(glob), None, None) => scene.agent.is_some_and(|a| fits(glob.as_bytes(), a.as_bytes())),
        (None, Some(user), None) => user == scene.user,
        (None, None, Some(group)) => scene.groups.contains(&group.as_str()),
        other => panic!("{other:?}"),
    };
    let open = matches!(scene.verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    let rule = |r: &written::ResourceRule| {
        let verb = scene.verb.as_str();
        let operation = |o: &written::Operation| {
            let word = serde_json::to_value(o).unwrap();
            word == "*" || word == verb
        };
        let resource = |pattern: &String| {
            let (name, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
            (name == "*" || name == scene.resource.resource) && (sub == "*" || sub == scene.resource.subresource)
        };
        r.operations.iter().any(operation)
            && r.api_groups.iter().any(|g| g == "*" || *g == scene.resource.group)
            && r.resources.iter().any(resource)
            && ((open && scene.resource.namespace.is_empty()) || fits_any(&r.namespaces, &scene.resource.namespace))
            && (scene.name.is_empty() || fits_any(&r.resource_names, &scene.name))
    };
    fits_any(&constraints.clusters, scene.cluster)
        && (constraints.subjects.is_empty() || constraints.subjects.iter().any(subject))
        && constraints.resource_rules.iter().any(rule)
}

fn fits(glob: &[u8], name: &[u8]) -> bool {
    match (glob.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => fits(&glob[1..], name) || (!name.is_empty() && fits(glob, &name[1..])),
        (Some(a), Some(b)) if a == b => fits(&glob[1..], &name[1..]),
        (Some(_) | None, _) => false,
    }
}

// ---- Expressions with their meaning.

fn rule(source: impl Into<String>, truth: impl Fn(&Scene) -> Truth + 'static) -> Rule {
    Rule {
        source: source.into(),
        truth: Arc::new(truth),
    }
}

fn told(truth: bool) -> Truth {
    if truth { True } else { False }
}

/// A rule about an object, which may be unknown: `%` is what would be stored, or what is.
fn about(source: &str, old: bool, truth: impl Fn(&Value) -> Truth + 'static) -> Rule {
    let root = if old { "oldObject" } else { "object" };
    rule(source.replace('%', root), move |scene| {
        match if old { &scene.old } else { &scene.object } {
            Object::Known(object) => truth(object),
            Object::Refused | Object::Blind => scene.unknown(),
        }
    })
}

impl Scene {
    fn unknown(&self) -> Truth {
        self.touched.set(true);
        Unknown
    }
}

impl Rule {
    /// A whole expression. One that fails after it asked for what is unknown may fail because of that.
    fn comes_to(&self, scene: &Scene) -> Truth {
        let before = scene.touched.replace(false);
        let truth = (self.truth)(scene);
        match (truth, scene.touched.replace(before)) {
            (Erred, true) => Unknown,
            (True | False | Erred | Unknown, _) => truth,
        }
    }
}

/// False wins over everything, whichever it is; the second is asked unless the first decides.
fn and(a: Truth, b: impl FnOnce() -> Truth) -> Truth {
    if a == False {
        return False;
    }
    let b = b();
    [False, Unknown, Erred]
        .into_iter()
        .find(|t| *t == a || *t == b)
        .unwrap_or(True)
}

fn not(truth: Truth) -> Truth {
    match truth {
        True => False,
        False => True,
        other @ (Erred | Unknown) => other,
    }
}

// ---- Chance, the same for ever.

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    /// In so many of a hundred cases.
    fn often(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn some<T: Clone>(&mut self, of: &[T], most: usize) -> Vec<T> {
        (0..=self.below(most)).map(|_| self.one(of)).collect()
    }

    fn maybe_some(&mut self, of: &[&str]) -> Vec<String> {
        let some = if self.often(50) { self.some(of, 2) } else { Vec::new() };
        some.into_iter().map(str::to_owned).collect()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at + 1));
        }
    }

    fn expression(&mut self, variables: &[Rule]) -> Rule {
        let (limit, old) = (self.below(40) as u64, self.often(35));
        let (a, b) = match self.often(30) {
            true => (self.expression(variables), self.expression(variables)),
            false => (rule("true", |_| True), rule("false", |_| False)),
        };
        if a.source != "true" {
            return match self.below(3) {
                0 => rule(format!("({}) && ({})", a.source, b.source), move |s| {
                    and((a.truth)(s), || (b.truth)(s))
                }),
                1 => rule(format!("({}) || ({})", a.source, b.source), move |s| {
                    not(and(not((a.truth)(s)), || not((b.truth)(s))))
                }),
                _ => rule(format!("!({})", a.source), move |s| not((a.truth)(s))),
            };
        }
        if !variables.is_empty() && self.often(25) {
            let at = self.below(variables.len());
            let variable = variables[at].clone();
            return rule(format!("variables.v{at}"), move |s| match variable.comes_to(s) {
                Unknown => s.unknown(),
                known @ (True | False | Erred) => known,
            });
        }
        match self.below(13) {
            0 => a,
            1 => b,
            2 => rule("request.namespace == 'shop'", |s| told(s.resource.namespace == "shop")),
            3 => rule("request.name.startsWith('web')", |s| told(s.name.starts_with("web"))),
            4 => rule("!request.dryRun", |s| told(!s.dry_run)),
            5 => rule("request.verb in ['create', 'update']", |s| {
                told(matches!(s.verb, Verb::Create | Verb::Update))
            }),
            6 => about(&format!("%.?spec.?replicas.orValue(1) <= {limit}"), old, move |o| {
                told(o["spec"]["replicas"].as_u64().unwrap_or(1) <= limit)
            }),
            7 => about("has(%.metadata.labels)", old, |o| match o.get("metadata") {
                Some(metadata) => told(metadata.get("labels").is_some()),
                None => Erred,
            }),
            8 => about("%.spec.mode == 'x'", old, |o| {
                o["spec"].get("mode").map_or(Erred, |m| told(m == "x"))
            }),
            9 => rule("'ops' in user.groups", |s| told(s.groups.contains(&"ops"))),
            10 => rule("agent != null && agent.name == 'coder'", |s| {
                told(s.agent == Some("coder"))
            }),
            11 => rule("1 / size(request.subresource) == 1", |s| {
                match s.resource.subresource.len() {
                    0 => Erred,
                    long => told(long == 1),
                }
            }),
            _ => about("% == null", old, |o| told(o.is_null())),
        }
    }

    fn policy(&mut self, at: usize) -> ReferencePolicy {
        let strength = [Strength::Enforce, Strength::Enforce, Strength::Warn, Strength::Audit];
        let mode = match self.often(50) {
            true => written::Mode::Everybody(self.one(&strength)),
            false => written::Mode::Each(written::ModePerPopulation {
                agents: self.one(&strength),
                people: self.one(&strength),
            }),
        };
        let variables: Vec<Rule> = (0..self.below(3)).fold(Vec::new(), |mut known, _| {
            let next = self.expression(&known);
            known.push(next);
            known
        });
        let conditions: Vec<Rule> = (0..self.below(3)).map(|_| self.expression(&variables)).collect();
        let validations: Vec<Rule> = (0..=self.below(3)).map(|_| self.expression(&variables)).collect();
        let written = written::Policy {
            api_version: written::ApiVersion::V1Alpha1,
            kind: written::PolicyKind::Policy,
            metadata: written::Metadata {
                name: format!("p{at:03}"),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            },
            spec: written::PolicySpec {
                mode,
                match_constraints: self.constraints(),
                match_conditions: conditions.iter().enumerate().map(condition).collect(),
                variables: variables.iter().enumerate().map(variable).collect(),
                validations: validations.iter().map(|rule| self.validation(rule)).collect(),
                audit_annotations: Vec::new(),
            },
        };
        ReferencePolicy {
            written,
            conditions,
            validations,
        }
    }

    fn constraints(&mut self) -> written::MatchConstraints {
        let subject = |agent: Option<&str>, user: Option<&str>, group: Option<&str>| written::Subject {
            agent: agent.map(str::to_owned),
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        let subjects = [
            subject(Some("*"), None, None),
            subject(Some("coder"), None, None),
            subject(Some("c*r"), None, None),
            subject(Some("other"), None, None),
            subject(None, Some("ann"), None),
            subject(None, None, Some("ops")),
            subject(None, None, Some("dev")),
        ];
        let subjects = if self.often(40) {
            self.some(&subjects, 2)
        } else {
            Vec::new()
        };
        written::MatchConstraints {
            subjects,
            clusters: self.maybe_some(&["prod", "prod*", "*", "staging"]),
            resource_rules: (0..=self.below(2)).map(|_| self.resource_rule()).collect(),
        }
    }

    fn resource_rule(&mut self) -> written::ResourceRule {
        use written::Operation as O;
        let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let operations = [
            O::All,
            O::All,
            O::Get,
            O::List,
            O::Create,
            O::Update,
            O::Patch,
            O::Delete,
            O::DeleteCollection,
        ];
        let groups = self.some(&["*", "*", "", "apps", "example.com"], 2);
        let resources = [
            "*",
            "*/*",
            "configmaps",
            "deployments",
            "deployments/scale",
            "*/scale",
            "deployments/*",
            "widgets",
        ];
        written::ResourceRule {
            api_groups: owned(groups),
            resources: owned(self.some(&resources, 3)),
            operations: self.some(&operations, 3),
            namespaces: self.maybe_some(&["shop", "sh*", "test", "*"]),
            resource_names: self.maybe_some(&["web", "web-*", "*b*", "db"]),
        }
    }

    fn validation(&mut self, rule: &Rule) -> written::Validation {
        use ValidationAction as A;
        let action = self.one(&[A::None, A::Warn, A::RequireApproval, A::Deny, A::Deny]);
        let risk = self.one(&[0, 5, 20, 60]);
        written::Validation {
            expression: rule.source.clone(),
            action,
            risk: if action == A::None { risk.max(1) } else { risk },
            message: String::from("because"),
            message_expression: self.often(20).then(|| String::from("'for ' + request.name")),
        }
    }

    fn scene(&mut self, thresholds: [RiskThresholds; 2]) -> Scene {
        let (user, agent, groups) = self.one(&[
            ("coder", Some("coder"), vec![]),
            ("other", Some("other"), vec!["dev"]),
            ("ann", None, vec!["dev"]),
            ("bob", None, vec!["ops", "dev"]),
        ]);
        // Scope has a say in what runs pods, and no part in this: there agents only scale.
        let kinds = [
            ("", "configmaps", ""),
            ("apps", "deployments", "scale"),
            ("example.com", "widgets", ""),
            ("apps", "deployments", ""),
        ];
        let (group, kind, sub) = self.one(if agent.is_some() { &kinds[..3] } else { &kinds[..] });
        let verbs = [
            Verb::Get,
            Verb::List,
            Verb::Create,
            Verb::Update,
            Verb::Patch,
            Verb::Delete,
            Verb::DeleteCollection,
        ];
        let verb = match sub {
            "" => self.one(&verbs),
            _ => self.one(&[Verb::Get, Verb::Update, Verb::Patch]),
        };
        let namespace = match verb {
            // An agent's scope has no place for all namespaces.
            Verb::List if agent.is_none() && self.often(50) => "",
            _ => self.one(&["shop", "test", "shed"]),
        };
        let name = match verb {
            Verb::List | Verb::DeleteCollection => "",
            Verb::Create => self.one(&["", "web", "web-1", "db"]),
            _ => self.one(&["web", "web-1", "db"]),
        };
        let resource = ResourceRef {
            group: group.to_owned(),
            version: String::from("v1"),
            resource: kind.to_owned(),
            subresource: sub.to_owned(),
            namespace: namespace.to_owned(),
            name: if verb == Verb::Create {
                String::new()
            } else {
                name.to_owned()
            },
        };
        let changes = !matches!(verb, Verb::Get | Verb::List);
        let object = self.object(verb, &resource, name);
        // One thing at a time is out of reach.
        let old = match (verb, &object) {
            (Verb::Update | Verb::Patch | Verb::Delete, Object::Known(_)) if self.often(10) => Object::Blind,
            (Verb::Update | Verb::Patch | Verb::Delete, _) => self.live(name),
            _ => Object::Known(Value::Null),
        };
        let countable = self.often(90) && matches!(old, Object::Known(_));
        let others = countable.then(|| self.below(40));
        Scene {
            cluster: self.one(&["prod", "staging"]),
            population: if agent.is_some() {
                Population::Agents
            } else {
                Population::People
            },
            agent,
            user,
            groups,
            verb,
            resource,
            name: name.to_owned(),
            dry_run: changes && self.often(15),
            thresholds: if agent == Some("coder") {
                thresholds[0]
            } else {
                thresholds[1]
            },
            object,
            old,
            others,
            touched: Cell::new(false),
        }
    }

    fn object(&mut self, verb: Verb, resource: &ResourceRef, name: &str) -> Object {
        let rehearsed = verb == Verb::Patch || resource.subresource == "scale";
        if !matches!(verb, Verb::Create | Verb::Update | Verb::Patch) {
            return Object::Known(Value::Null);
        }
        if rehearsed && (resource.group == "example.com" || self.often(10)) {
            return Object::Blind;
        }
        if rehearsed && self.often(10) {
            return Object::Refused;
        }
        let kinds = [
            ("configmaps", "ConfigMap"),
            ("deployments", "Deployment"),
            ("widgets", "Widget"),
        ];
        let kind = kinds.iter().find(|(r, _)| *r == resource.resource).unwrap().1;
        let version = if resource.group.is_empty() {
            String::from("v1")
        } else {
            format!("{}/v1", resource.group)
        };
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": resource.namespace}});
        if resource.subresource == "scale" {
            (object["apiVersion"], object["kind"]) = (json!("autoscaling/v1"), json!("Scale"));
        }
        match name {
            "" => object["metadata"]["generateName"] = json!("web-"),
            name => object["metadata"]["name"] = json!(name),
        }
        self.fill(&mut object);
        Object::Known(object)
    }

    fn live(&mut self, name: &str) -> Object {
        let mut object = json!({"metadata": {"name": name, "uid": "uid", "resourceVersion": "7"}});
        self.fill(&mut object);
        Object::Known(object)
    }

    fn fill(&mut self, object: &mut Value) {
        if self.often(70) {
            object["spec"] = json!({"replicas": self.below(60)});
            if self.often(50) {
                object["spec"]["mode"] = json!(self.one(&["x", "y"]));
            }
        }
        if self.often(50) {
            object["metadata"]["labels"] = json!({"team": "shop"});
        }
    }

    fn thresholds(&mut self) -> RiskThresholds {
        let (hold, deny) = (20 + self.below(40), 60 + self.below(40));
        let at = |this: &mut Self, n: usize| this.often(60).then(|| u8::try_from(n).unwrap());
        RiskThresholds {
            require_approval_at: at(self, hold),
            deny_at: at(self, deny),
        }
    }
}

fn condition((at, rule): (usize, &Rule)) -> written::MatchCondition {
    written::MatchCondition {
        name: format!("c{at}"),
        expression: rule.source.clone(),
    }
}

fn variable((at, rule): (usize, &Rule)) -> written::Variable {
    written::Variable {
        name: format!("v{at}"),
        expression: rule.source.clone(),
    }
}

// ---- The law itself on the same ground.

fn agent(name: &str, risk: Option<RiskThresholds>) -> written::Agent {
    let agent = json!({
        "apiVersion": "mantlet.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": name},
        "spec": {
            "match": [{"expression": format!("user.username == '{name}'")}],
            "serviceAccount": {"namespace": "agents", "name": name},
            "scope": {"clusters": ["prod", "staging"], "namespaces": ["shop", "test", "shed"]},
            "risk": risk,
        },
    });
    serde_json::from_value(agent).unwrap()
}

fn compile(policies: &[ReferencePolicy], thresholds: [RiskThresholds; 2]) -> Law {
    let numbered = |(at, policy): (usize, &ReferencePolicy)| (Source::Document(at), policy.written.clone());
    let agents = [agent("coder", Some(thresholds[0])), agent("other", None)];
    let written = Written {
        agents: agents.into_iter().map(|a| (Source::Document(1_000), a)).collect(),
        policies: policies.iter().enumerate().map(numbered).collect(),
        risk: Some(thresholds[1]),
        clusters: ["prod", "staging"].map(String::from).into(),
        ..Written::default()
    };
    Law::compile(written, Epoch::new(1)).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn caller(law: &Law, scene: &Scene) -> Arc<Caller> {
    let verified = Verified {
        issuer: String::from("https://issuer.test"),
        subject: scene.user.to_owned(),
        population: scene.population,
        username: scene.user.to_owned(),
        groups: scene.groups.iter().copied().map(str::to_owned).collect(),
        uid: String::new(),
        extra: BTreeMap::new(),
        claims: json!({"sub": scene.user}),
        expires: Timestamp::from_seconds(i64::from(u32::MAX)),
    };
    let caller = law.recognize(Arc::new(verified), scene.cluster, Timestamp::from_seconds(0));
    Arc::new(caller.unwrap_or_else(|denial| panic!("{denial:?}")))
}

/// The request as a client sends it.
fn request(scene: &Scene) -> Arc<Action> {
    let r = &scene.resource;
    let root = if r.group.is_empty() {
        String::from("/api/v1")
    } else {
        format!("/apis/{}/v1", r.group)
    };
    let mut path = if r.namespace.is_empty() {
        root
    } else {
        format!("{root}/namespaces/{}", r.namespace)
    };
    for part in [&r.resource, &r.name, &r.subresource] {
        if !part.is_empty() {
            path = format!("{path}/{part}");
        }
    }
    let (method, content_type) = match scene.verb {
        Verb::Create => ("POST", Some("application/json")),
        Verb::Update => ("PUT", Some("application/json")),
        Verb::Patch => ("PATCH", Some("application/merge-patch+json")),
        Verb::Delete | Verb::DeleteCollection => ("DELETE", None),
        _ => ("GET", None),
    };
    let head = Head {
        method,
        path: &path,
        query: scene.dry_run.then_some("dryRun=All"),
        accept: &["application/json"],
        content_type,
        upgrade: false,
    };
    let body = match (scene.verb, &scene.object) {
        (Verb::Patch, _) => Some(json!({"metadata": {"annotations": {"touched": "yes"}}})),
        (Verb::Create | Verb::Update, Object::Known(object)) => Some(object.clone()),
        // Only a Scale is both sent whole and unknown: what is stored is the workload's.
        (Verb::Create | Verb::Update, Object::Refused | Object::Blind) => {
            let metadata = json!({"name": r.name, "namespace": r.namespace});
            Some(
                json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": 1}}),
            )
        }
        _ => None,
    };
    let outline = action::parse(&head).unwrap_or_else(|e| panic!("{path}: {}", e.message));
    let action = outline.complete(body.map(|body| Bytes::from(body.to_string())));
    Arc::new(action.unwrap_or_else(|e| panic!("{method} {path}: {}", e.message)))
}

/// The answer to a look-up.
fn fact(scene: &Scene, kind: LookupKind) -> Fact<Arc<mask::Masked<Value>>> {
    let known = |value: &Value| Fact::Known(Arc::new(mask::value(value.clone(), Hint::Other)));
    let document = |object: &Object| match object {
        Object::Known(object) => known(object),
        Object::Blind => Fact::Failed(String::from("nobody knows")),
        Object::Refused => {
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422, "message": "no"});
            Fact::Refused {
                code: 422,
                status: Arc::new(mask::value(status, Hint::Other)),
            }
        }
    };
    match kind {
        LookupKind::DryRun => document(&scene.object),
        LookupKind::OldObject => document(&scene.old),
        LookupKind::Dependents | LookupKind::Members => match scene.others {
            Some(count) => {
                let items: Vec<Value> = (0..count).map(|at| json!({"uid": at.to_string()})).collect();
                known(&json!({"items": items, "more": false}))
            }
            None => Fact::Failed(String::from("nobody can count them")),
        },
        LookupKind::Target | LookupKind::NamespaceObject | LookupKind::Rights => panic!("no rule names {kind:?}"),
    }
}

fn everything(scene: &Scene) -> Facts {
    use LookupKind as K;
    Facts::knowing([K::DryRun, K::OldObject, K::Dependents, K::Members].map(|kind| (kind, fact(scene, kind))))
}

/// Facts come as they are asked for. How many rounds that took is the second value.
fn evaluate(law: &Law, scene: &Scene, known: Facts) -> (Judgment, usize) {
    let cluster = ClusterRef {
        name: scene.cluster.to_owned(),
        uid: String::from("uid"),
    };
    let (caller, action) = (caller(law, scene), request(scene));
    let mut facts = known;
    for rounds in 0.. {
        assert!(rounds < 4, "asks again and again");
        match law.evaluate(&cluster, &caller, &action, &facts, Timestamp::from_seconds(0)) {
            Step::Done(judgment) => return (*judgment, rounds),
            Step::Need(lookups) => {
                let answer = |lookup: &super::Lookup| lookup.learned(fact(scene, lookup.kind()));
                facts.learn(&lookups, lookups.iter().map(answer).collect());
            }
        }
    }
    unreachable!("the loop ends with a judgment")
}

fn outcome(judgment: &Judgment) -> Outcome {
    let (kind, by) = match &judgment.verdict {
        Verdict::Allow(_) => (Kind::Allow, String::new()),
        Verdict::Hold(question) => (Kind::Hold, question.rule.to_string()),
        Verdict::Deny(denial) => match denial.reason {
            DenialReason::Upstream { .. } => (Kind::Upstream, String::new()),
            _ => (Kind::Deny, denial.rule.as_ref().unwrap().to_string()),
        },
    };
    let (score, shadow) = (judgment.risk.score, judgment.risk.shadow);
    Outcome {
        kind,
        by,
        score,
        shadow,
    }
}

/// How often something came about.
#[derive(Debug, Default)]
struct Counts {
    kinds: BTreeMap<Kind, usize>,
    /// A judgment that asked for something, and asked again with what it then knew.
    asked: usize,
    asked_again: usize,
    /// Thresholds of risk decided.
    by_risk: usize,
}

/// So many laws, and so many requests before each.
fn compare(laws: u64, requests: usize) -> Counts {
    let mut counts = Counts::default();
    for seed in 0..laws {
        let mut chance = Chance(seed);
        let count = 1 + chance.below(16);
        let mut policies: Vec<_> = (0..count).map(|at| chance.policy(at)).collect();
        let thresholds = [chance.thresholds(), chance.thresholds()];
        chance.shuffle(&mut policies);
        let law = compile(&policies, thresholds);
        for number in 0..requests {
            let scene = chance.scene(thresholds);
            let expected = judge(&policies, &scene);
            let known = everything(&scene);
            let (at_once, rounds) = evaluate(&law, &scene, known);
            let explain = || {
                let policies: Vec<_> = policies
                    .iter()
                    .map(|p| serde_json::to_string(&p.written).unwrap())
                    .collect();
                format!("law {seed}, request {number}: {scene:#?}\n{}", policies.join("\n"))
            };
            assert_eq!(outcome(&at_once), expected, "{}\n{:#?}", explain(), at_once.applied);
            assert_eq!(rounds, 0, "asks for what it knows: {}", explain());
            let (lazily, rounds) = evaluate(&law, &scene, Facts::default());
            assert_eq!(
                outcome(&lazily).kind,
                expected.kind,
                "{}\n{:#?}",
                explain(),
                lazily.applied
            );
            // A denial that needs no fact comes first, whatever stands before it by name.
            if rounds > 0 || expected.kind != Kind::Deny {
                assert_eq!(outcome(&lazily).by, expected.by, "{}", explain());
            }
            *counts.kinds.entry(expected.kind).or_insert(0) += 1;
            counts.asked += usize::from(rounds > 0);
            counts.asked_again += usize::from(rounds > 1);
            counts.by_risk += usize::from(expected.by == "risk");
        }
    }
    counts
}

#[test]
fn the_law_and_a_plain_judgment_agree() {
    let counts = compare(100, 100);
    let often = |kind| counts.kinds.get(&kind).copied().unwrap_or(0) >= 100;
    let all = [Kind::Allow, Kind::Hold, Kind::Deny, Kind::Upstream]
        .into_iter()
        .all(often);
    let varied = all && counts.asked >= 500 && counts.asked_again >= 100 && counts.by_risk >= 500;
    assert!(varied, "the cases are too much alike: {counts:?}");
}
