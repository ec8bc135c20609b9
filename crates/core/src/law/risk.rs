//! How risky an operation is, from 0 to 100, and why.
//!
//! In: an action, the points of the rules that spoke, how many objects are affected. Out: a [`Risk`].
//! score = min(100, base + Σ points + size); size = 10 · ⌊log2(objects affected)⌋. The bases are a table of their own.
//! Deliberately does not: decide; thresholds do. It counts what is known: without thresholds nothing is asked for its sake.

use mantlet_api::policy::{RiskThresholds, Strength, ValidationAction};
use serde_json::Value;

use crate::action::{ResourceRef, Verb};

use super::bases::{Base, base};
use super::inspect;
use super::look_ups::LookupKind;
use super::policy::Message;

/// The number never stands without its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Risk {
    /// 0 to 100.
    pub score: u8,
    /// What it would be if rules in warn or audit mode counted too; it decides nothing.
    pub shadow: u8,
    /// The base first; none for what the law has no say in.
    pub reasons: Vec<RiskReason>,
}

/// Some points, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiskReason {
    pub points: u8,
    pub reason: String,
    /// It counts for the shadow only.
    pub shadow: bool,
}

/// How many objects an operation affects, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Size {
    /// At least so many.
    objects: usize,
    /// There are more, which nobody counted.
    more: bool,
    /// What would have to be known to say it exactly.
    unseen: Vec<LookupKind>,
}

/// The points of one judgment in the making.
#[derive(Debug)]
pub(super) struct Tally {
    base: Option<Base>,
    points: Vec<Points>,
    size: Size,
}

#[derive(Debug)]
struct Points {
    number: u8,
    counts: bool,
    told: String,
    written: String,
}

const MOST: u32 = 100;

impl Tally {
    pub(super) fn nothing() -> Self {
        let (base, points) = (None, Vec::new());
        Self {
            base,
            points,
            size: Size::of(1),
        }
    }

    pub(super) fn begin(&mut self, verb: Verb, resource: &ResourceRef, rehearsed: bool) {
        let rehearsal = Base {
            points: 10,
            because: "it only tries out a change",
        };
        self.base = Some(if rehearsed { rehearsal } else { base(verb, resource) });
    }

    pub(super) fn affects(&mut self, size: Size) {
        self.size = size;
    }

    pub(super) fn add(&mut self, number: u8, strength: Strength, rule: &str, message: &Message) {
        if number == 0 {
            return;
        }
        let written = message.withheld.as_ref().unwrap_or(&message.told);
        self.points.push(Points {
            number,
            counts: strength == Strength::Enforce,
            told: message.told.clone(),
            written: format!("{rule}: {written}"),
        });
    }

    pub(super) fn weigh(&self) -> Risk {
        let Some(base) = self.base else { return Risk::default() };
        let size = points_for(self.size.objects);
        let sum = |shadow: bool| {
            let counted = self.points.iter().filter(|p| p.counts || shadow);
            let points: u32 = counted.map(|p| u32::from(p.number)).sum();
            bounded(u32::from(base.points) + points + size)
        };
        let mut reasons = vec![reason(u32::from(base.points), base.because.to_owned(), false)];
        for points in &self.points {
            reasons.push(reason(u32::from(points.number), points.written.clone(), !points.counts));
        }
        if size > 0 {
            reasons.push(reason(size, self.size.said(), false));
        }
        Risk {
            score: sum(false),
            shadow: sum(true),
            reasons,
        }
    }

    /// What would have to be known of the size, if that could make the verdict stricter than it is.
    pub(super) fn needs(&self, thresholds: RiskThresholds, so_far: ValidationAction) -> Vec<LookupKind> {
        let score = self.weigh().score;
        let open = |at: Option<u8>, action| at.is_some_and(|at| so_far < action && score < at);
        let denied = so_far.max(verdict(score, thresholds)) == ValidationAction::Deny;
        let open = open(thresholds.deny_at, ValidationAction::Deny)
            || open(thresholds.require_approval_at, ValidationAction::RequireApproval);
        match open && !denied && self.base.is_some() {
            true => self.size.unseen.clone(),
            false => Vec::new(),
        }
    }

    /// What a caller may read about the reasons: no number, nothing that only the gateway could read.
    pub(super) fn told(&self) -> String {
        let because = self.base.map(|base| base.because.to_owned());
        let points = self.points.iter().filter(|p| p.counts).map(|p| p.told.clone());
        let reasons: Vec<_> = because.into_iter().chain(points).collect();
        reasons.join("; ")
    }
}

impl Size {
    pub(super) fn of(objects: usize) -> Self {
        Self {
            objects,
            more: false,
            unseen: Vec::new(),
        }
    }

    /// One, and perhaps more.
    pub(super) fn unknown(kind: LookupKind) -> Self {
        Self::of(1).and(kind, None)
    }

    /// With those that a fact counts: `{ count, more }`.
    pub(super) fn and(mut self, kind: LookupKind, counted: Option<&Value>) -> Self {
        match counted {
            Some(counted) => {
                let count = counted.get("count").and_then(Value::as_u64).unwrap_or_default();
                self.objects = self
                    .objects
                    .saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
                self.more |= counted.get("more").and_then(Value::as_bool).unwrap_or_default();
            }
            None => self.unseen.push(kind),
        }
        self
    }

    fn said(&self) -> String {
        let least = if self.more { "at least " } else { "" };
        format!("it affects {least}{} objects", self.objects)
    }
}

fn reason(points: u32, reason: String, shadow: bool) -> RiskReason {
    RiskReason {
        points: bounded(points),
        reason,
        shadow,
    }
}

fn bounded(points: u32) -> u8 {
    u8::try_from(points.min(MOST)).unwrap_or(u8::MAX)
}

fn points_for(objects: usize) -> u32 {
    10 * objects.checked_ilog2().unwrap_or(0)
}

/// What the thresholds make of a score; `None` where they have nothing to say.
pub(super) fn verdict(score: u8, thresholds: RiskThresholds) -> ValidationAction {
    let reached = |at: Option<u8>| at.is_some_and(|at| score >= at);
    match (reached(thresholds.deny_at), reached(thresholds.require_approval_at)) {
        (true, _) => ValidationAction::Deny,
        (false, true) => ValidationAction::RequireApproval,
        (false, false) => ValidationAction::None,
    }
}

/// Whether the number of objects that a write affects stands in the object that it stores.
pub(super) fn counts_in_object(verb: Verb, resource: &ResourceRef) -> bool {
    let stores = matches!(verb, Verb::Create | Verb::Update | Verb::Patch);
    let replicated = matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        ("apps", "deployments" | "statefulsets" | "replicasets") | ("", "replicationcontrollers") | ("batch", "jobs")
    );
    let binds = resource.group == "rbac.authorization.k8s.io"
        && matches!(resource.resource.as_str(), "rolebindings" | "clusterrolebindings");
    stores
        && match resource.subresource.as_str() {
            "" => replicated || binds,
            "scale" => true,
            _ => false,
        }
}

/// Pods that a workload runs, subjects that a binding empowers. A group is one subject, however many are in it.
pub(super) fn objects_of(object: &Value) -> usize {
    let number = |path: &[&str]| inspect::at(object, path).and_then(Value::as_u64);
    let replicas = number(&["spec", "replicas"]).max(number(&["spec", "parallelism"]));
    let subjects = inspect::at(object, &["subjects"])
        .and_then(Value::as_array)
        .map(Vec::len);
    let replicas = replicas.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    replicas.max(subjects).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tally(points: u8) -> Tally {
        let mut tally = Tally::nothing();
        tally.base = Some(Base {
            points,
            because: "it does something",
        });
        tally
    }

    fn message(text: &str) -> Message {
        Message {
            told: text.to_owned(),
            withheld: Some(format!("{text}, withheld")),
        }
    }

    #[test]
    fn the_size_is_ten_for_each_doubling() {
        for (objects, points) in [
            (0, 0),
            (1, 0),
            (2, 10),
            (3, 10),
            (4, 20),
            (1_023, 90),
            (1_024, 100),
            (usize::MAX, 630),
        ] {
            assert_eq!(points_for(objects), points, "{objects}");
        }
    }

    #[test]
    fn the_score_is_the_sum_up_to_a_hundred() {
        let mut tally = tally(20);
        tally.add(15, Strength::Enforce, "policy:a", &message("a"));
        tally.add(30, Strength::Warn, "policy:b", &message("b"));
        tally.affects(Size::of(5));
        let risk = tally.weigh();
        assert_eq!((risk.score, risk.shadow), (55, 85));
        let reasons: Vec<_> = risk
            .reasons
            .iter()
            .map(|r| (r.points, r.reason.as_str(), r.shadow))
            .collect();
        assert_eq!(
            reasons,
            [
                (20, "it does something", false),
                (15, "policy:a: a, withheld", false),
                (30, "policy:b: b, withheld", true),
                (20, "it affects 5 objects", false),
            ]
        );
        assert_eq!(tally.told(), "it does something; a");
        tally.affects(Size::of(usize::MAX));
        assert_eq!((tally.weigh().score, tally.weigh().shadow), (100, 100));
    }

    #[test]
    fn thresholds_decide_at_their_number() {
        let both = RiskThresholds {
            require_approval_at: Some(50),
            deny_at: Some(90),
        };
        for (score, action) in [
            (0, ValidationAction::None),
            (49, ValidationAction::None),
            (50, ValidationAction::RequireApproval),
            (89, ValidationAction::RequireApproval),
            (90, ValidationAction::Deny),
            (100, ValidationAction::Deny),
        ] {
            assert_eq!(verdict(score, both), action, "{score}");
            assert_eq!(verdict(score, RiskThresholds::default()), ValidationAction::None);
        }
    }

    #[test]
    fn the_size_is_wanted_only_where_it_can_change_the_verdict() {
        let at = |require_approval_at, deny_at| RiskThresholds {
            require_approval_at,
            deny_at,
        };
        let mut open = tally(20);
        open.affects(Size::unknown(LookupKind::DryRun));
        let (none, hold) = (ValidationAction::None, ValidationAction::RequireApproval);
        let needs = |tally: &Tally, thresholds, so_far| tally.needs(thresholds, so_far) == [LookupKind::DryRun];
        assert!(!needs(&open, at(None, None), none));
        assert!(needs(&open, at(Some(50), None), none));
        assert!(!needs(&open, at(Some(50), None), hold));
        assert!(!needs(&open, at(Some(10), None), none), "held whatever the size");
        assert!(needs(&open, at(Some(10), Some(90)), none));
        assert!(needs(&open, at(Some(50), Some(90)), hold));
        assert!(!needs(&open, at(Some(50), Some(90)), ValidationAction::Deny));
        assert!(!needs(&open, at(Some(10), Some(20)), none), "denied whatever the size");
        open.affects(Size::of(1));
        assert!(!needs(&open, at(Some(50), Some(90)), none));
    }

    #[test]
    fn what_a_deletion_takes_along_is_counted() {
        let (dependents, members) = (LookupKind::Dependents, LookupKind::Members);
        let size = Size::of(1)
            .and(dependents, Some(&json!({"count": 3, "more": false})))
            .and(members, Some(&json!({"count": 0, "more": true})));
        assert_eq!(size.said(), "it affects at least 4 objects");
        assert!(size.unseen.is_empty());
        assert_eq!(size.and(members, None).unseen, [members]);
    }

    #[test]
    fn objects_are_counted_where_they_are_written() {
        for (object, count) in [
            (json!({}), 1),
            (json!({"spec": {"replicas": 0}}), 1),
            (json!({"spec": {"replicas": 12}}), 12),
            (json!({"spec": {"parallelism": 7}}), 7),
            (json!({"subjects": [{}, {}, {}]}), 3),
            (json!({"spec": {"replicas": "many"}, "subjects": {}}), 1),
        ] {
            assert_eq!(objects_of(&object), count, "{object}");
        }
    }
}
