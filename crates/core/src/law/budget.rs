//! What an action uses up of its agent's budgets: distinct objects destroyed, namespaces changed, Secrets read.
//!
//! In: an action, and the facts about it. Out: a [`Toll`]: the things that it takes, each once; or which facts are missing, or that nobody can count it.
//! Deliberately does not: know what was used up before (see [`Charges`](super::Charges)), or decide.
//!
//! There is one guard for every way to destroy. A delete takes the object by its uid, and what the garbage collector takes along; a deletecollection
//! its members; the deletion of a namespace or of a CRD what is in it; an eviction its pod. An update takes something too if what it leaves behind
//! is empty, is given an owner (whose absence makes the garbage collector delete it), loses the last that keeps it from being deleted, or runs
//! fewer pods than before. Pods that a rollout or a restart replaces are not taken: as many run afterwards.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::action::{Action, Effect, ResourceRef, Verb};
use crate::wire::body::Form;

use super::facts::{Affected, ObjectId};
use super::inspect::{at, list, text};
use super::look_ups::LookupKind;
use super::verdict::BudgetKind;

/// What an action takes of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Toll {
    /// Nothing, or nothing more than it brings itself.
    Free,
    /// It depends on facts that nobody asked for yet.
    Waits(Vec<Want>),
    /// By what makes each distinct, with what people call it.
    Takes(BTreeMap<String, String>),
    /// More than anybody can count, for this reason: past every budget.
    Uncounted(String),
}

/// A fact that a toll depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    Object,
    OldObject,
    Target,
    Dependents,
    Members,
}

impl Want {
    pub(super) fn kind(self) -> LookupKind {
        match self {
            Want::Object => LookupKind::DryRun,
            Want::OldObject => LookupKind::OldObject,
            Want::Target => LookupKind::Target,
            Want::Dependents => LookupKind::Dependents,
            Want::Members => LookupKind::Members,
        }
    }
}

/// What is used up of one budget, and how much of a charge is not among it. A fact: until it is reserved, others may come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    pub budget: BudgetKind,
    /// Distinct things within the window.
    pub counted: u32,
    /// How many of those of the charge are new.
    pub fresh: u32,
    /// What people call the last of them.
    pub recent: Vec<String>,
}

impl Spent {
    /// As expressions see it: a number for each budget, zero where nothing is counted.
    pub(super) fn document(spent: &[Self]) -> Value {
        let of = |kind| spent.iter().find(|spent| spent.budget == kind);
        let counted = |kind| json!(of(kind).map_or(0, |spent| spent.counted));
        let mut document = Map::new();
        let (mut fresh, mut recent) = (Map::new(), Map::new());
        for kind in BudgetKind::ALL {
            document.insert(kind.as_str().to_owned(), counted(kind));
            if let Some(spent) = of(kind) {
                fresh.insert(kind.as_str().to_owned(), json!(spent.fresh));
                recent.insert(kind.as_str().to_owned(), json!(spent.recent));
            }
        }
        document.insert(String::from("distinctObjects"), counted(BudgetKind::Deletes));
        document.insert(String::from("fresh"), Value::Object(fresh));
        document.insert(String::from("recent"), Value::Object(recent));
        Value::Object(document)
    }

    /// Back from there. What it does not say is not known, and nothing has room then.
    pub(super) fn read(document: &Value, budget: BudgetKind) -> Option<Self> {
        let number = |path: &[&str]| {
            at(document, path)
                .and_then(Value::as_u64)
                .and_then(|n| u32::try_from(n).ok())
        };
        let recent = at(document, &["recent"]).map(|recent| list(recent, budget.as_str()))?;
        Some(Self {
            budget,
            counted: number(&[budget.as_str()])?,
            fresh: number(&["fresh", budget.as_str()])?,
            recent: recent.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// A fact, as far as a toll needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View<T> {
    Unasked,
    Known(T),
    Absent,
    /// It could not be had.
    Blind(String),
}

/// Everything that is known by now.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    /// What the request would store.
    pub(super) object: View<&'a Value>,
    pub(super) old_object: View<&'a Value>,
    pub(super) target: View<&'a Value>,
    pub(super) dependents: View<&'a Affected>,
    pub(super) members: View<&'a Affected>,
}

/// What a controller of Kubernetes writes for its owner alone, and writes anew: to lose it with the owner is no loss of its own.
const NOTES: [&str; 5] = [
    "ControllerRevision",
    "EndpointSlice",
    "Endpoints",
    "Lease",
    "ReplicaSet",
];

/// The distinct objects that the action would destroy. A rehearsal destroys nothing.
pub(super) fn destroyed(action: &Action, resource: &ResourceRef, known: &Known<'_>) -> Toll {
    match action.verb() {
        Verb::Delete if !resource.subresource.is_empty() => Toll::Free,
        Verb::Delete if is(resource, "", "namespaces") || is(resource, "apiextensions.k8s.io", CRDS) => {
            with(&known.old_object, Want::OldObject, |old| {
                (one(old, resource), members(known, "everything that is in it"))
            })
        }
        Verb::Delete => with(&known.old_object, Want::OldObject, |old| {
            let alone = action.options().propagation_policy == "Orphan";
            let rest = match alone {
                true => Toll::Free,
                false => dependents(known, resource, old),
            };
            (one(old, resource), rest)
        }),
        Verb::DeleteCollection => members(known, "what it would delete"),
        Verb::Create if is_sub(resource, "", "pods", "eviction") => {
            with(&known.target, Want::Target, |pod| (one(pod, resource), Toll::Free))
        }
        Verb::Update | Verb::Patch => changed(action, resource, known),
        Verb::Get
        | Verb::List
        | Verb::Watch
        | Verb::Create
        | Verb::Exec
        | Verb::Attach
        | Verb::PortForward
        | Verb::Proxy => Toll::Free,
    }
}

/// The namespace that the action changes something in.
pub(super) fn touched(action: &Action, resource: &ResourceRef) -> Toll {
    match action.effect() {
        Effect::Changes if !resource.namespace.is_empty() => {
            let name = resource.namespace.clone();
            Toll::Takes(BTreeMap::from([(name.clone(), name)]))
        }
        Effect::Changes | Effect::Reads => Toll::Free,
    }
}

/// The Secrets that the action would show, masked as they are. A list or a watch shows every one that it names.
pub(super) fn read(action: &Action, resource: &ResourceRef, known: &Known<'_>) -> Toll {
    if !is(resource, "", "secrets") {
        return Toll::Free;
    }
    let named = |namespace: &str, name: &str| (format!("{namespace}/{name}"), format!("secrets \"{name}\""));
    match action.verb() {
        Verb::Get => Toll::Takes(BTreeMap::from([named(&resource.namespace, &resource.name)])),
        Verb::List | Verb::Watch => match &known.members {
            View::Unasked => Toll::Waits(vec![Want::Members]),
            View::Known(Affected { more: true, .. }) => uncounted("the Secrets in it are too many to count"),
            View::Known(members) => {
                let read = members.objects.iter().map(|o| named(&o.namespace, &o.name));
                Toll::Takes(read.collect())
            }
            View::Absent => Toll::Free,
            View::Blind(why) => uncounted(format!("the Secrets in it could not be counted: {why}")),
        },
        Verb::Create
        | Verb::Update
        | Verb::Patch
        | Verb::Delete
        | Verb::DeleteCollection
        | Verb::Exec
        | Verb::Attach
        | Verb::PortForward
        | Verb::Proxy => Toll::Free,
    }
}

const CRDS: &str = "customresourcedefinitions";

fn is(resource: &ResourceRef, group: &str, name: &str) -> bool {
    is_sub(resource, group, name, "")
}

fn is_sub(resource: &ResourceRef, group: &str, name: &str, subresource: &str) -> bool {
    resource.group == group && resource.resource == name && resource.subresource == subresource
}

fn uncounted(why: impl Into<String>) -> Toll {
    Toll::Uncounted(why.into())
}

/// What an object costs and what else does, once the object is known. What is not there costs nothing: the change is bound to that.
fn with<'a>(view: &View<&'a Value>, want: Want, parts: impl FnOnce(&'a Value) -> (Toll, Toll)) -> Toll {
    match view {
        View::Unasked => match parts(&Value::Null).1 {
            Toll::Waits(more) => Toll::Waits([vec![want], more].concat()),
            Toll::Free | Toll::Takes(_) | Toll::Uncounted(_) => Toll::Waits(vec![want]),
        },
        View::Known(object) => {
            let (one, rest) = parts(object);
            together(one, rest)
        }
        View::Absent => Toll::Free,
        View::Blind(why) => uncounted(format!("what it would destroy could not be looked at: {why}")),
    }
}

fn together(one: Toll, other: Toll) -> Toll {
    match (one, other) {
        (Toll::Uncounted(why), _) | (_, Toll::Uncounted(why)) => Toll::Uncounted(why),
        (Toll::Waits(mut wants), Toll::Waits(more)) => {
            wants.extend(more);
            Toll::Waits(wants)
        }
        (Toll::Waits(wants), Toll::Free | Toll::Takes(_)) | (Toll::Free | Toll::Takes(_), Toll::Waits(wants)) => {
            Toll::Waits(wants)
        }
        (Toll::Takes(mut taken), Toll::Takes(more)) => {
            taken.extend(more);
            Toll::Takes(taken)
        }
        (toll, Toll::Free) | (Toll::Free, toll) => toll,
    }
}

fn one(object: &Value, resource: &ResourceRef) -> Toll {
    match uid(object) {
        Some(uid) => Toll::Takes(BTreeMap::from([(uid.to_owned(), place(resource))])),
        None => uncounted("what it would destroy has no uid"),
    }
}

fn uid(object: &Value) -> Option<&str> {
    text(object, &["metadata", "uid"]).filter(|uid| !uid.is_empty())
}

fn place(resource: &ResourceRef) -> String {
    shown(&resource.resource, &resource.namespace, &resource.name)
}

fn shown(kind: &str, namespace: &str, name: &str) -> String {
    let name = if name.is_empty() {
        String::new()
    } else {
        format!(" \"{name}\"")
    };
    match namespace {
        "" => format!("{kind}{name}"),
        namespace => format!("{kind}{name} in namespace \"{namespace}\""),
    }
}

/// What goes with an object, but for what is no loss of its own. Where nobody may look, the pods that it says itself.
fn dependents(known: &Known<'_>, resource: &ResourceRef, old: &Value) -> Toll {
    match (&known.dependents, uid(old)) {
        (View::Absent, Some(uid)) => takes(
            (0..pods(resource, old))
                .map(|rank| ranked(uid, resource, rank))
                .collect(),
        ),
        (view, _) => affected(view, Want::Dependents, "what goes with it", |object| {
            !NOTES.contains(&object.kind.as_str())
        }),
    }
}

fn ranked(uid: &str, resource: &ResourceRef, rank: u64) -> (String, String) {
    (
        format!("{uid}/{rank}"),
        format!("pod {} of {}", rank + 1, place(resource)),
    )
}

fn members(known: &Known<'_>, what: &str) -> Toll {
    affected(&known.members, Want::Members, what, |_| true)
}

fn affected(view: &View<&Affected>, want: Want, what: &str, counts: impl Fn(&ObjectId) -> bool) -> Toll {
    match view {
        View::Unasked => Toll::Waits(vec![want]),
        View::Known(Affected { more: true, .. }) => uncounted(format!("{what} is more than can be counted")),
        View::Known(affected) => takes(affected.objects.iter().filter(|o| counts(o)).map(by_uid).collect()),
        View::Absent => Toll::Free,
        View::Blind(why) => uncounted(format!("{what} could not be counted: {why}")),
    }
}

fn takes(taken: BTreeMap<String, String>) -> Toll {
    if taken.is_empty() {
        Toll::Free
    } else {
        Toll::Takes(taken)
    }
}

fn by_uid(object: &ObjectId) -> (String, String) {
    (object.uid.clone(), shown(&object.kind, &object.namespace, &object.name))
}

/// What an update leaves behind against what was there.
fn changed(action: &Action, resource: &ResourceRef, known: &Known<'_>) -> Toll {
    if is_sub(resource, "", "namespaces", "finalize") {
        return uncounted("what is in the namespace is left to nobody");
    }
    if !may_destroy(action, resource) {
        return Toll::Free;
    }
    let old = match &known.old_object {
        View::Unasked => None,
        View::Known(old) => Some(*old),
        // It creates what was not there.
        View::Absent => return Toll::Free,
        View::Blind(why) => return uncounted(format!("what is there now could not be looked at: {why}")),
    };
    let said = said_replicas(action, resource);
    let new = match (&known.object, &said) {
        (_, Some(said)) => Some(said),
        (View::Unasked, None) => None,
        (View::Known(new), None) => Some(*new),
        (View::Absent, None) => return uncounted("what it would leave behind could not be previewed"),
        (View::Blind(why), None) => {
            return uncounted(format!("what it would leave behind could not be previewed: {why}"));
        }
    };
    match (old, new) {
        (Some(old), Some(new)) => difference(resource, old, new),
        (old, new) => {
            let missing = [(Want::OldObject, old.is_none()), (Want::Object, new.is_none())];
            let missing = missing.into_iter().filter(|(_, missing)| *missing);
            Toll::Waits(missing.map(|(want, _)| want).collect())
        }
    }
}

/// Whether an update can take anything at all. For most kinds only owners and finalizers can, and the request has to name them.
fn may_destroy(action: &Action, resource: &ResourceRef) -> bool {
    let ResourceRef {
        group,
        resource: kind,
        subresource,
        ..
    } = resource;
    match (group.as_str(), kind.as_str(), subresource.as_str()) {
        (_, _, "scale")
        | ("", "configmaps" | "secrets" | "nodes" | "pods" | "replicationcontrollers", "")
        | ("apps", "deployments" | "statefulsets" | "replicasets" | "daemonsets", "")
        | ("batch", "jobs", "")
        | ("autoscaling", "horizontalpodautoscalers", "") => true,
        _ => action.body().is_some_and(|body| match (action.verb(), body.form()) {
            (Verb::Patch, form) => patches_ties(body.masked(), form),
            _ => has_ties(body.masked()),
        }),
    }
}

/// An object, whole, that has an owner or that is on its way out.
fn has_ties(object: &Value) -> bool {
    at(object, &["metadata"]).is_some_and(|metadata| {
        !list(metadata, "ownerReferences").is_empty() || metadata.get("deletionTimestamp").is_some()
    })
}

/// A patch that may change owners or finalizers: what names them, or replaces what they are in.
fn patches_ties(patch: &Value, form: Form) -> bool {
    let named = |text: &str| text.contains("ownerReferences") || text.contains("finalizers");
    match (form, patch) {
        (Form::JsonPatch, Value::Array(operations)) => operations.iter().any(|operation| {
            let path = text(operation, &["path"]).unwrap_or_default();
            let whole = matches!(path, "" | "/metadata");
            whole || named(path) || matches!(text(operation, &["op"]), Some("copy" | "move"))
        }),
        (_, Value::Object(fields)) => {
            let metadata = match fields.get("metadata") {
                None => false,
                Some(Value::Object(metadata)) => metadata.keys().any(|key| named(key) || key.starts_with('$')),
                Some(_) => true,
            };
            metadata || fields.keys().any(|key| key.starts_with('$'))
        }
        (_, _) => true,
    }
}

/// What a change of a scale says itself, so that no rehearsal is needed. `kubectl scale` sends such a patch.
fn said_replicas(action: &Action, resource: &ResourceRef) -> Option<Value> {
    let body = action.body().filter(|_| resource.subresource == "scale")?;
    let whole = action.verb() == Verb::Update || matches!(body.form(), Form::MergePatch | Form::StrategicMergePatch);
    let said = at(body.masked(), &["spec", "replicas"]).filter(|said| whole && said.is_i64());
    said.map(|said| json!({"spec": {"replicas": said}}))
}

/// What was there and is not any more.
fn difference(resource: &ResourceRef, old: &Value, new: &Value) -> Toll {
    let Some(uid) = uid(old) else {
        return uncounted("what it would change has no uid");
    };
    if let Some(why) = clears_node(resource, old, new) {
        return uncounted(why);
    }
    let mut taken = BTreeMap::new();
    if is_emptied(resource, old, new) || gains_owner(old, new) || is_let_go(old, new) || ends(resource, old, new) {
        taken.insert(uid.to_owned(), place(resource));
    }
    // Which pods go is the controller's choice: they are counted by their rank, so that going down and up again costs once.
    let all = pods(resource, old);
    let left = match taken.is_empty() {
        true => pods_left(resource, old, new).min(all),
        false => 0,
    };
    taken.extend((left..all).map(|rank| ranked(uid, resource, rank)));
    for (claim, rank) in claims(resource, old, new)
        .iter()
        .flat_map(|claim| (left..all).map(move |rank| (claim, rank)))
    {
        taken.insert(
            format!("{uid}/{claim}/{rank}"),
            format!("claim {claim} {} of {}", rank + 1, place(resource)),
        );
    }
    takes(taken)
}

/// A ConfigMap or a Secret of which nothing is left that was in it.
fn is_emptied(resource: &ResourceRef, old: &Value, new: &Value) -> bool {
    if !is(resource, "", "configmaps") && !is(resource, "", "secrets") {
        return false;
    }
    let (before, after) = (filled(old), filled(new));
    !before.is_empty() && before.is_disjoint(&after)
}

/// Keys that hold something. Of a Secret every value is a placeholder, so that its keys alone are compared.
fn filled(object: &Value) -> BTreeSet<&str> {
    let fields = ["data", "binaryData", "stringData"].into_iter();
    let maps = fields.filter_map(|field| object.get(field)?.as_object());
    let pairs = maps.flatten();
    let filled = pairs.filter(|(_, value)| !value.is_null() && value.as_str() != Some(""));
    filled.map(|(key, _)| key.as_str()).collect()
}

/// An owner that it did not have: if there is none of that uid, the garbage collector deletes the object.
fn gains_owner(old: &Value, new: &Value) -> bool {
    let owners = |object| -> BTreeSet<Option<&str>> {
        let metadata = at(object, &["metadata"]).unwrap_or(&Value::Null);
        list(metadata, "ownerReferences")
            .iter()
            .map(|owner| text(owner, &["uid"]))
            .collect()
    };
    !owners(new).is_subset(&owners(old))
}

/// It is being deleted already, and one of what keeps it is taken away.
fn is_let_go(old: &Value, new: &Value) -> bool {
    let kept = |object| -> BTreeSet<Option<&str>> {
        let metadata = at(object, &["metadata"]).unwrap_or(&Value::Null);
        list(metadata, "finalizers").iter().map(Value::as_str).collect()
    };
    at(old, &["metadata", "deletionTimestamp"]).is_some_and(Value::is_string) && !kept(old).is_subset(&kept(new))
}

/// A time to live that is new or shorter: of a finished Job, then of its pods; of a pod while it runs.
fn ends(resource: &ResourceRef, old: &Value, new: &Value) -> bool {
    let field: &[&str] = if is(resource, "batch", "jobs") {
        &["spec", "ttlSecondsAfterFinished"]
    } else if is(resource, "", "pods") {
        &["spec", "activeDeadlineSeconds"]
    } else {
        return false;
    };
    match (
        at(old, field).and_then(Value::as_i64),
        at(new, field).and_then(Value::as_i64),
    ) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    }
}

/// A taint that takes pods away from a node, new or changed.
fn clears_node(resource: &ResourceRef, old: &Value, new: &Value) -> Option<&'static str> {
    if !is(resource, "", "nodes") {
        return None;
    }
    let taints = |object| -> Vec<(Option<&str>, Option<&str>, Option<&str>)> {
        let spec = at(object, &["spec"]).unwrap_or(&Value::Null);
        let taints = list(spec, "taints").iter();
        let of = |taint| (text(taint, &["key"]), text(taint, &["value"]), text(taint, &["effect"]));
        taints.map(of).collect()
    };
    let (before, after) = (taints(old), taints(new));
    let clears = |taint: &&(Option<&str>, Option<&str>, Option<&str>)| {
        taint.2 == Some("NoExecute") || taint.0 == Some("node.kubernetes.io/out-of-service")
    };
    let added = after.iter().filter(clears).any(|taint| !before.contains(taint));
    added.then_some("the taint takes every pod from the node that does not tolerate it")
}

/// How many pods are to run by it. More may, for as long as a rollout lasts, and those go anyway.
fn pods(resource: &ResourceRef, old: &Value) -> u64 {
    let number = |path: &[&str]| at(old, path).and_then(Value::as_u64).unwrap_or(0);
    match (
        resource.group.as_str(),
        resource.resource.as_str(),
        resource.subresource.as_str(),
    ) {
        (_, _, "scale")
        | ("apps", "deployments" | "statefulsets" | "replicasets", "")
        | ("", "replicationcontrollers", "") => wanted(old),
        ("apps", "daemonsets", "") => number(&["status", "currentNumberScheduled"]),
        ("batch", "jobs", "") => {
            number(&["status", "active"]) + number(&["status", "succeeded"]) + number(&["status", "failed"])
        }
        ("autoscaling", "horizontalpodautoscalers", "") => number(&["status", "currentReplicas"]),
        _ => 0,
    }
}

/// How many of them an update leaves.
fn pods_left(resource: &ResourceRef, old: &Value, new: &Value) -> u64 {
    let number = |path: &[&str]| at(new, path).and_then(Value::as_u64);
    match (
        resource.group.as_str(),
        resource.resource.as_str(),
        resource.subresource.as_str(),
    ) {
        (_, _, "scale")
        | ("apps", "deployments" | "statefulsets" | "replicasets", "")
        | ("", "replicationcontrollers", "") => match wanted(new) < wanted(old) {
            true => wanted(new),
            false => u64::MAX,
        },
        ("apps", "daemonsets", "") => match moves(old, new) {
            true => 0,
            false => u64::MAX,
        },
        ("batch", "jobs", "") => match job_stops(old, new) {
            true => number(&["status", "succeeded"]).unwrap_or(0) + number(&["status", "failed"]).unwrap_or(0),
            false => u64::MAX,
        },
        ("autoscaling", "horizontalpodautoscalers", "") => number(&["spec", "maxReplicas"]).unwrap_or(u64::MAX),
        _ => u64::MAX,
    }
}

/// One, where nothing is written; kubernetes `pkg/apis/apps/v1/defaults.go`. A scale that says nothing says zero (`pkg/apis/autoscaling`, `omitempty`).
fn wanted(object: &Value) -> u64 {
    let unsaid = match text(object, &["kind"]) {
        Some("Scale") => 0,
        Some(_) | None => 1,
    };
    at(object, &["spec", "replicas"])
        .and_then(Value::as_u64)
        .unwrap_or(unsaid)
}

/// A DaemonSet that is to run on other nodes than before.
fn moves(old: &Value, new: &Value) -> bool {
    [
        &["spec", "template", "spec", "nodeSelector"][..],
        &["spec", "template", "spec", "affinity", "nodeAffinity"],
    ]
    .into_iter()
    .any(|path| at(old, path) != at(new, path))
}

/// A Job that is suspended, may run fewer pods than it does, or has less time.
fn job_stops(old: &Value, new: &Value) -> bool {
    let number = |object, field: &str| at(object, &["spec", field]).and_then(Value::as_u64);
    let suspended = |object| at(object, &["spec", "suspend"]) == Some(&Value::Bool(true));
    let fewer = number(new, "parallelism").unwrap_or(1) < number(old, "parallelism").unwrap_or(1);
    let sooner = number(new, "activeDeadlineSeconds").unwrap_or(u64::MAX)
        < number(old, "activeDeadlineSeconds").unwrap_or(u64::MAX);
    (suspended(new) && !suspended(old)) || fewer || sooner
}

/// Claims that each pod of a StatefulSet takes along when it is scaled away.
fn claims<'a>(resource: &ResourceRef, old: &'a Value, new: &Value) -> Vec<&'a str> {
    let policy = ["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"];
    let deletes = |object| text(object, &policy) == Some("Delete");
    if !is(resource, "apps", "statefulsets") || !(deletes(old) || deletes(new)) {
        return Vec::new();
    }
    let templates = list(at(old, &["spec"]).unwrap_or(&Value::Null), "volumeClaimTemplates").iter();
    templates
        .filter_map(|claim| text(claim, &["metadata", "name"]))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use serde::Deserialize;

    use super::*;
    use crate::action::{self, Head};

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Case {
        name: String,
        request: String,
        body: Option<Value>,
        #[serde(rename = "content_type")]
        content_type: Option<String>,
        object: Option<Value>,
        old_object: Option<Value>,
        target: Option<Value>,
        dependents: Option<Vec<Other>>,
        members: Option<Vec<Other>>,
        #[serde(default)]
        more: bool,
        takes: Option<Vec<String>>,
        waits: Option<Vec<String>>,
        uncounted: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Other {
        uid: String,
        #[serde(default)]
        kind: String,
        #[serde(default)]
        name: String,
    }

    #[test]
    fn everything_that_destroys_is_counted_by_what_it_destroys() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/budget.yaml");
        let cases: Vec<Case> = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert!(cases.len() > 50);
        for case in &cases {
            let toll = run(case, destroyed);
            let expected = match (&case.takes, &case.waits, &case.uncounted) {
                (Some(takes), None, None) => format!("takes {takes:?}"),
                (None, Some(waits), None) => format!("waits [{}]", waits.join(", ")),
                (None, None, Some(why)) => format!("uncounted {why}"),
                (None, None, None) => String::from("free"),
                _ => panic!("{}: one end", case.name),
            };
            let got = match &toll {
                Toll::Free => String::from("free"),
                Toll::Waits(wants) => format!("waits {wants:?}"),
                Toll::Takes(taken) => format!("takes {:?}", taken.keys().collect::<Vec<_>>()),
                Toll::Uncounted(why) if case.uncounted.as_ref().is_some_and(|text| why.contains(text)) => {
                    expected.clone()
                }
                Toll::Uncounted(why) => format!("uncounted {why}"),
            };
            assert_eq!(got, expected, "{}", case.name);
        }
    }

    fn run(case: &Case, toll: impl Fn(&Action, &ResourceRef, &Known<'_>) -> Toll) -> Toll {
        let action = action(case);
        let (dependents, members) = (others(&case.dependents, case.more), others(&case.members, case.more));
        let known = Known {
            object: view(match &case.object {
                // As the judgment sees it: what the request brings itself needs no rehearsal.
                None if action.verb() == Verb::Update => case.body.as_ref(),
                said => said.as_ref(),
            }),
            old_object: view(case.old_object.as_ref()),
            target: view(case.target.as_ref()),
            dependents: dependents.as_ref().map_or(View::Unasked, View::Known),
            members: members.as_ref().map_or(View::Unasked, View::Known),
        };
        toll(&action, action.resource().unwrap(), &known)
    }

    fn view(said: Option<&Value>) -> View<&Value> {
        match said {
            None => View::Unasked,
            Some(Value::String(absent)) if absent == "absent" => View::Absent,
            Some(said) => match text(said, &["blind"]) {
                Some(why) => View::Blind(why.to_owned()),
                None => View::Known(said),
            },
        }
    }

    fn others(said: &Option<Vec<Other>>, more: bool) -> Option<Affected> {
        let said = said.as_ref()?;
        let objects = said.iter().map(|other| ObjectId {
            api_version: String::from("v1"),
            kind: other.kind.clone(),
            namespace: String::from("shop"),
            name: other.name.clone(),
            uid: other.uid.clone(),
        });
        Some(Affected {
            objects: objects.collect(),
            more,
        })
    }

    fn action(case: &Case) -> Action {
        let (method, url) = case.request.split_once(' ').unwrap();
        let (path, query) = url
            .split_once('?')
            .map_or((url, None), |(path, query)| (path, Some(query)));
        let media = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let head = Head {
            method,
            path,
            query,
            accept: &["application/json"],
            content_type: case
                .body
                .as_ref()
                .map(|_| case.content_type.as_deref().unwrap_or(media)),
            upgrade: false,
        };
        let body = case.body.as_ref().map(|body| Bytes::from(body.to_string()));
        let outline = action::parse(&head).unwrap_or_else(|fault| panic!("{}: {}", case.name, fault.message));
        let action = outline.complete(body);
        action.unwrap_or_else(|fault| panic!("{}: {}", case.name, fault.message))
    }

    fn asked(request: &str) -> Case {
        serde_saphyr::from_str(&format!("{{ name: x, request: '{request}' }}")).unwrap()
    }

    #[test]
    fn a_namespace_is_touched_by_what_changes_in_it_and_not_by_who_looks() {
        let touched = |request: &str| run(&asked(request), |action, resource, _| touched(action, resource));
        let shop = Toll::Takes(BTreeMap::from([(String::from("shop"), String::from("shop"))]));
        assert_eq!(touched("DELETE /api/v1/namespaces/shop/configmaps/a"), shop);
        assert_eq!(touched("DELETE /api/v1/namespaces/shop"), shop);
        assert_eq!(touched("GET /api/v1/namespaces/shop/configmaps/a"), Toll::Free);
        assert_eq!(touched("DELETE /api/v1/nodes/a"), Toll::Free);
    }

    #[test]
    fn a_secret_is_read_by_name_and_a_list_reads_all_that_it_names() {
        let reads = |case: &Case| run(case, read);
        let keys = |toll: Toll| match toll {
            Toll::Takes(taken) => taken.into_keys().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let get = asked("GET /api/v1/namespaces/shop/secrets/a");
        assert_eq!(keys(reads(&get)), ["shop/a"]);
        let mut list = asked("GET /api/v1/namespaces/shop/secrets");
        assert_eq!(reads(&list), Toll::Waits(vec![Want::Members]));
        let other = |name: &str| Other {
            uid: String::from("u"),
            kind: String::from("Secret"),
            name: name.to_owned(),
        };
        list.members = Some(vec![other("a"), other("b")]);
        assert_eq!(keys(reads(&list)), ["shop/a", "shop/b"]);
        list.more = true;
        assert!(matches!(reads(&list), Toll::Uncounted(_)));
        assert_eq!(reads(&asked("GET /api/v1/namespaces/shop/configmaps/a")), Toll::Free);
        assert_eq!(reads(&asked("DELETE /api/v1/namespaces/shop/secrets/a")), Toll::Free);
    }
}
