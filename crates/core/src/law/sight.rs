//! What a judgment can see of what its rules name: for each thing whether it is there, not known yet, or not to be had.
//!
//! In: an action and the facts so far. Out: a [`View`]. Deliberately does not: judge what it sees.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::action::{Action, ResourceRef, Verb};
use crate::identity::Caller;
use crate::mask::{self, Hint, Masked};
use crate::wire::body::Form;

use super::budget::Spent;
use super::facts::{Affected, Fact, Facts};
use super::inspect::{at, list, pod_spec_path, text};
use super::look_ups::LookupKind;
use super::rights::Account;
use super::verdict::Precondition;

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

pub(super) fn served_by_kubernetes(group: &str) -> bool {
    SERVED_BY_KUBERNETES.contains(&group)
}

/// One thing that a rule may name.
#[derive(Debug)]
pub(super) enum Sight<'a> {
    Seen(Cow<'a, Value>),
    Unasked,
    /// The API server refuses the request itself, with this.
    Answered {
        code: u16,
        status: Arc<Masked<Value>>,
    },
    /// It could not be had.
    Blind(String),
}

/// Everything that a rule may name of the cluster.
#[derive(Debug)]
pub(super) struct View<'a> {
    sights: [Sight<'a>; LookupKind::ALL.len()],
    /// The container that exec and attach enter.
    container: Value,
}

impl<'a> View<'a> {
    pub(super) fn of(caller: &Caller, action: &'a Action, facts: &'a Facts) -> Self {
        let sights = LookupKind::ALL.map(|kind| Sight::of(kind, caller, action, facts));
        let container = match facts.document(LookupKind::Target) {
            Fact::Known(pod) => container(action, pod),
            Fact::Unasked | Fact::Absent | Fact::Refused { .. } | Fact::Forbidden { .. } | Fact::Failed(_) => None,
        };
        Self {
            sights,
            container: container.cloned().unwrap_or_default(),
        }
    }

    pub(super) fn sight(&self, kind: LookupKind) -> &Sight<'a> {
        &self.sights[kind as usize]
    }

    /// As expressions see it; `None` while it is unknown.
    pub(super) fn value(&self, kind: LookupKind) -> Option<&Value> {
        match self.sight(kind) {
            Sight::Seen(value) => Some(value),
            Sight::Unasked | Sight::Answered { .. } | Sight::Blind(_) => None,
        }
    }

    /// Known as soon as the pod is.
    pub(super) fn container(&self) -> Option<&Value> {
        self.value(LookupKind::Target).map(|_| &self.container)
    }
}

impl<'a> Sight<'a> {
    fn of(kind: LookupKind, caller: &Caller, action: &'a Action, facts: &'a Facts) -> Self {
        let Some(place) = action.resource() else {
            return nothing();
        };
        match kind {
            LookupKind::DryRun => Self::of_object(action, facts),
            LookupKind::OldObject if changes_one(action) => Self::of_old_object(action, place, facts),
            LookupKind::Target if reaches_pod(action) => Self::of_target(action, place, facts),
            LookupKind::NamespaceObject if is_namespaced(place) => {
                Self::of_document(kind, facts, || not_found("namespaces", &place.namespace))
            }
            LookupKind::Dependents if takes_along(action) => {
                Self::of_affected(kind, LookupKind::OldObject, action, facts)
            }
            LookupKind::Members if is_crd(action) => Self::of_affected(kind, LookupKind::OldObject, action, facts),
            LookupKind::Members if is_namespace(action) || action.verb() == Verb::DeleteCollection => {
                Self::of_count(kind, facts)
            }
            LookupKind::Members if reads_secrets(action) => Self::of_count(kind, facts),
            LookupKind::Rights => Self::of_rights(caller, action, facts),
            LookupKind::Session if caller.agent().is_some() => Self::of_document(kind, facts, || Value::Null),
            // People have no budgets.
            LookupKind::Session => Sight::Seen(Cow::Owned(Spent::document(&[]))),
            LookupKind::Dependents | LookupKind::Members => Sight::Seen(Cow::Owned(Affected::default().document())),
            LookupKind::OldObject | LookupKind::Target | LookupKind::NamespaceObject => nothing(),
        }
    }

    /// What the request would store.
    fn of_object(action: &'a Action, facts: &'a Facts) -> Self {
        match action.verb() {
            Verb::Create | Verb::Update if !is_rehearsed(action) => match action.submitted() {
                Some(object) => Sight::Seen(Cow::Borrowed(object)),
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
            | Verb::Proxy => nothing(),
        }
    }

    fn of_rehearsal(action: &Action, facts: &'a Facts) -> Self {
        match facts.document(LookupKind::DryRun) {
            Fact::Unasked if turns_around(action) => Sight::Blind(String::from(
                "what `copy` and `move` of a JSON patch make depends on what is stored at the moment of the change",
            )),
            Fact::Unasked if honors_dry_run(action) => Sight::Unasked,
            Fact::Unasked => Sight::Blind(String::from("an API that is not Kubernetes' own may ignore dryRun")),
            Fact::Known(object) => Sight::Seen(Cow::Borrowed(object)),
            Fact::Absent => Sight::Blind(String::from("the dry-run returned no object")),
            Fact::Refused { code, status } if is_final(*code, status) => Sight::Answered {
                code: *code,
                status: Arc::clone(status),
            },
            Fact::Refused { code, .. } => Sight::Blind(format!("the dry-run was refused with {code}")),
            Fact::Forbidden { status } => forbidden_sight(status),
            Fact::Failed(text) => Sight::Blind(text.clone()),
        }
    }

    /// What does not exist is nothing to whatever may create it, and the end of every other change.
    fn of_old_object(action: &Action, place: &ResourceRef, facts: &'a Facts) -> Self {
        match facts.document(LookupKind::OldObject) {
            Fact::Absent if may_create(action) => nothing(),
            Fact::Known(object) if text(object, &["metadata", "resourceVersion"]).is_none_or(str::is_empty) => {
                Sight::Blind(String::from(
                    "the live object has no resourceVersion that the change could be bound to",
                ))
            }
            Fact::Unasked
            | Fact::Known(_)
            | Fact::Absent
            | Fact::Refused { .. }
            | Fact::Forbidden { .. }
            | Fact::Failed(_) => {
                Self::of_document(LookupKind::OldObject, facts, || not_found(&whole(place), &place.name))
            }
        }
    }

    /// Where nobody can say which container is meant, the API server refuses. Named are none of them: the caller may not be allowed to know.
    fn of_target(action: &Action, place: &ResourceRef, facts: &'a Facts) -> Self {
        match facts.document(LookupKind::Target) {
            Fact::Known(pod) if enters_container(action) && container(action, pod).is_none() => {
                let message = format!("a valid container name must be specified for pod {}", place.name);
                Sight::Answered {
                    code: 400,
                    status: Arc::new(mask::value(status(400, "BadRequest", &message), Hint::Other)),
                }
            }
            Fact::Unasked
            | Fact::Known(_)
            | Fact::Absent
            | Fact::Refused { .. }
            | Fact::Forbidden { .. }
            | Fact::Failed(_) => {
                Self::of_document(LookupKind::Target, facts, || not_found(&place.resource, &place.name))
            }
        }
    }

    fn of_document(kind: LookupKind, facts: &'a Facts, missing: impl FnOnce() -> Value) -> Self {
        match facts.document(kind) {
            Fact::Unasked => Sight::Unasked,
            Fact::Known(object) => Sight::Seen(Cow::Borrowed(object)),
            Fact::Absent => Sight::Answered {
                code: 404,
                status: Arc::new(mask::value(missing(), Hint::Other)),
            },
            Fact::Refused { code, .. } => Sight::Blind(refused(kind, *code)),
            Fact::Forbidden { status } => forbidden_sight(status),
            Fact::Failed(why) => Sight::Blind(why.clone()),
        }
    }

    fn of_count(kind: LookupKind, facts: &'a Facts) -> Self {
        match facts.affected(kind) {
            Fact::Unasked => Sight::Unasked,
            Fact::Known(affected) => Sight::Seen(Cow::Owned(affected.document())),
            Fact::Absent => Sight::Blind(String::from("what it would take along could not be listed")),
            Fact::Refused { code, .. } => Sight::Blind(refused(kind, *code)),
            Fact::Forbidden { status } => forbidden_sight(status),
            Fact::Failed(why) => Sight::Blind(why.clone()),
        }
    }

    /// Objects that are found by way of another fact, and are as unknown as that one is.
    fn of_affected(kind: LookupKind, by: LookupKind, action: &'a Action, facts: &'a Facts) -> Self {
        let Some(place) = action.resource() else {
            return nothing();
        };
        match Self::of_document(by, facts, || not_found(&whole(place), &place.name)) {
            Sight::Seen(_) => Self::of_count(kind, facts),
            other @ (Sight::Unasked | Sight::Answered { .. } | Sight::Blind(_)) => other,
        }
    }

    fn of_rights(caller: &Caller, action: &'a Action, facts: &'a Facts) -> Self {
        let by = match source_of_pod(action) {
            None => return nothing(),
            Some(source) => Self::of(source, caller, action, facts),
        };
        match by {
            Sight::Seen(_) if account(action, facts).is_none() => nothing(),
            Sight::Seen(_) => Self::of_document(LookupKind::Rights, facts, || Value::Null),
            other @ (Sight::Unasked | Sight::Answered { .. } | Sight::Blind(_)) => other,
        }
    }
}

fn nothing<'a>() -> Sight<'a> {
    Sight::Seen(Cow::Owned(Value::Null))
}

fn forbidden_sight<'a>(status: &Arc<Masked<Value>>) -> Sight<'a> {
    Sight::Answered {
        code: 403,
        status: Arc::clone(status),
    }
}

fn refused(kind: LookupKind, code: u16) -> String {
    format!(
        "`{}` may not be read ({code}); an observer of the cluster could",
        kind.root()
    )
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

/// Whether what would be stored shows by a dry-run only.
pub(super) fn is_rehearsed(action: &Action) -> bool {
    action.verb() == Verb::Patch || is_scale(action)
}

pub(super) fn honors_dry_run(action: &Action) -> bool {
    action.resource().is_some_and(|r| served_by_kubernetes(&r.group))
}

/// Whether the API server would answer the same to the real request. An admission webhook with side effects refuses rehearsals only
/// (apiserver `pkg/admission/plugin/webhook/errors/statuserror.go`, NewDryRunUnsupportedErr).
fn is_final(code: u16, status: &Value) -> bool {
    let text = status.get("message").and_then(Value::as_str).unwrap_or_default();
    matches!(code, 400 | 403 | 404 | 405 | 409 | 410 | 413 | 415 | 422) && !text.contains("does not support dry run")
}

/// A change of one object that is there, or may be.
pub(super) fn changes_one(action: &Action) -> bool {
    let named = action.resource().is_some_and(|r| !r.name.is_empty());
    named && matches!(action.verb(), Verb::Update | Verb::Patch | Verb::Delete)
}

/// PUT does so where the resource allows it, server-side apply always (apiserver `pkg/endpoints/handlers/patch.go`).
pub(super) fn may_create(action: &Action) -> bool {
    let whole = action.resource().is_some_and(|r| r.subresource.is_empty());
    let apply = action.body().is_some_and(|body| body.form() == Form::ApplyPatch);
    whole && (action.verb() == Verb::Update || apply)
}

/// Whether the request gets into a pod, or makes it go.
pub(super) fn reaches_pod(action: &Action) -> bool {
    let Some(place) = action.resource() else { return false };
    let pod = place.group.is_empty() && place.resource == "pods" && !place.name.is_empty();
    pod && match place.subresource.as_str() {
        "exec" | "attach" | "portforward" | "proxy" => true,
        "ephemeralcontainers" => matches!(action.verb(), Verb::Update | Verb::Patch),
        "eviction" => action.verb() == Verb::Create,
        _ => false,
    }
}

fn is_namespaced(place: &ResourceRef) -> bool {
    let namespace = place.group.is_empty() && place.resource == "namespaces";
    !namespace && !place.namespace.is_empty()
}

/// By owner references; a delete that orphans takes nothing along.
fn takes_along(action: &Action) -> bool {
    let whole = action
        .resource()
        .is_some_and(|r| r.subresource.is_empty() && !r.name.is_empty());
    whole && action.verb() == Verb::Delete && action.options().propagation_policy != "Orphan"
}

/// More than one, by a list or a watch.
fn reads_secrets(action: &Action) -> bool {
    let secrets = action
        .resource()
        .is_some_and(|r| r.group.is_empty() && r.resource == "secrets" && r.subresource.is_empty());
    secrets && matches!(action.verb(), Verb::List | Verb::Watch)
}

fn is_delete_of(action: &Action, group: &str, resource: &str) -> bool {
    action.verb() == Verb::Delete
        && action
            .resource()
            .is_some_and(|r| r.group == group && r.resource == resource && r.subresource.is_empty())
}

pub(super) fn is_namespace(action: &Action) -> bool {
    is_delete_of(action, "", "namespaces")
}

pub(super) fn is_crd(action: &Action) -> bool {
    is_delete_of(action, "apiextensions.k8s.io", "customresourcedefinitions")
}

/// Where the pod is found whose ServiceAccount is at stake; `None` where there is no pod in it.
pub(super) fn source_of_pod(action: &Action) -> Option<LookupKind> {
    let place = action.resource()?;
    if reaches_pod(action) {
        return Some(LookupKind::Target);
    }
    let stores = matches!(action.verb(), Verb::Create | Verb::Update | Verb::Patch);
    (stores && pod_spec_path(place).is_some()).then_some(LookupKind::DryRun)
}

/// The ServiceAccount of the pod at stake; `None` where there is no pod, or it is not known yet.
pub(super) fn account(action: &Action, facts: &Facts) -> Option<Account> {
    let place = action.resource()?;
    let source = source_of_pod(action)?;
    let submitted = (source == LookupKind::DryRun && !is_rehearsed(action)).then(|| action.submitted());
    let object: &Value = match (submitted, facts.document(source)) {
        (Some(submitted), _) => submitted?,
        (None, Fact::Known(object)) => object,
        (None, Fact::Unasked | Fact::Absent | Fact::Refused { .. } | Fact::Forbidden { .. } | Fact::Failed(_)) => {
            return None;
        }
    };
    let path = match source {
        LookupKind::Target => &["spec"],
        LookupKind::DryRun
        | LookupKind::OldObject
        | LookupKind::NamespaceObject
        | LookupKind::Dependents
        | LookupKind::Members
        | LookupKind::Rights
        | LookupKind::Session => pod_spec_path(place)?,
    };
    let spec = at(object, path)?;
    // kubernetes `pkg/apis/core/v1/conversion.go`: `serviceAccount` is the older name, and counts where the newer one is empty.
    let named = ["serviceAccountName", "serviceAccount"]
        .iter()
        .filter_map(|field| text(spec, &[field]))
        .find(|name| !name.is_empty());
    Some(Account {
        namespace: place.namespace.clone(),
        name: named.unwrap_or("default").to_owned(),
    })
}

fn enters_container(action: &Action) -> bool {
    matches!(action.verb(), Verb::Exec | Verb::Attach)
}

/// The container that exec and attach enter: the one named, or the only one (kubernetes `pkg/registry/core/pod/strategy.go`, LogLocation and
/// streamLocation; with several and none named the API server refuses).
fn container<'p>(action: &Action, pod: &'p Value) -> Option<&'p Value> {
    if !enters_container(action) {
        return None;
    }
    let spec = pod.get("spec")?;
    let named = action
        .query()
        .iter()
        .find(|(name, value)| name == "container" && !value.is_empty());
    match (named, list(spec, "containers")) {
        (Some((_, name)), _) => ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|field| list(spec, field))
            .find(|container| text(container, &["name"]) == Some(name)),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

/// `deployments.apps`, as the API server names it in its texts.
fn whole(place: &ResourceRef) -> String {
    match place.group.as_str() {
        "" => place.resource.clone(),
        group => format!("{}.{group}", place.resource),
    }
}

/// apimachinery `pkg/api/errors`, NewNotFound.
fn not_found(resource: &str, name: &str) -> Value {
    status(404, "NotFound", &format!("{resource} \"{name}\" not found"))
}

/// apiserver `pkg/endpoints/handlers/responsewriters/errors.go`, ForbiddenStatusError.
pub(super) fn forbidden(caller: &Caller, action: &Action, verb: &str) -> Masked<Value> {
    let place = action.resource().cloned().unwrap_or_default();
    let user = caller.impersonation().user;
    let resource = match place.subresource.as_str() {
        "" => place.resource.clone(),
        subresource => format!("{}/{subresource}", place.resource),
    };
    let scope = match place.namespace.as_str() {
        "" => String::from("at the cluster scope"),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let message = format!(
        "{} \"{}\" is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{}\" {scope}",
        whole(&place),
        place.name,
        place.group,
    );
    mask::value(status(403, "Forbidden", &message), Hint::Other)
}

/// apiserver `pkg/registry/generic/registry/store.go`, OptimisticLockErrorMsg.
pub(super) fn conflict(action: &Action) -> Masked<Value> {
    let place = action.resource().cloned().unwrap_or_default();
    let message = format!(
        "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the latest version and try again",
        whole(&place),
        place.name,
    );
    mask::value(status(409, "Conflict", &message), Hint::Other)
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    })
}

/// The state of the changed object that the facts are of; `None` where none of them is.
pub(super) fn precondition(action: &Action, facts: &Facts) -> Option<Precondition> {
    let evicts = reaches_pod(action) && action.verb() == Verb::Create;
    if evicts {
        // The eviction itself writes the pod's conditions first (kubernetes `pkg/registry/core/pod/storage/eviction.go`): its uid has to do.
        return state(facts, LookupKind::Target).map(Precondition::any_version);
    }
    if !changes_one(action) {
        return None;
    }
    let judged = [LookupKind::OldObject, LookupKind::Target, LookupKind::DryRun];
    let mut states = judged.into_iter().filter_map(|kind| state(facts, kind));
    let first = states.next()?;
    match states.all(|state| state == first) {
        true => Some(first),
        false => Some(Precondition::Torn),
    }
}

pub(super) fn rehearsed(facts: &Facts) -> Option<Arc<Masked<Value>>> {
    match facts.document(LookupKind::DryRun) {
        Fact::Known(object) => Some(Arc::clone(object)),
        Fact::Unasked | Fact::Absent | Fact::Refused { .. } | Fact::Forbidden { .. } | Fact::Failed(_) => None,
    }
}

/// What the facts about the changed object say, but for its status, which its controllers write all the time, and the bookkeeping that changes
/// with it. Only how patient the gateway is rests on it, so a hash that somebody could aim at will do.
pub(super) fn substance(facts: &Facts) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for kind in [LookupKind::OldObject, LookupKind::Target, LookupKind::DryRun] {
        if let Fact::Known(object) = facts.document(kind) {
            kind.hash(&mut hasher);
            for (key, value) in object.as_object().into_iter().flatten() {
                match key.as_str() {
                    "status" => {}
                    "metadata" => hash_metadata(value, &mut hasher),
                    _ => (key, value.to_string()).hash(&mut hasher),
                }
            }
        }
    }
    hasher.finish()
}

fn hash_metadata(metadata: &Value, hasher: &mut impl Hasher) {
    for (key, value) in metadata.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "resourceVersion" | "managedFields" | "generation") {
            (key, value.to_string()).hash(hasher);
        }
    }
}

/// A rehearsal answers with the version of what it would change, and with none where it would create (apiserver
/// `pkg/registry/generic/registry/dryrun.go`).
fn state(facts: &Facts, kind: LookupKind) -> Option<Precondition> {
    match facts.document(kind) {
        Fact::Known(object) => {
            let field = |name: &str| text(object, &["metadata", name]).unwrap_or_default().to_owned();
            let resource_version = field("resourceVersion");
            Some(match resource_version.is_empty() {
                true => Precondition::Absent,
                false => Precondition::Exactly {
                    uid: field("uid"),
                    resource_version,
                },
            })
        }
        Fact::Absent => Some(Precondition::Absent),
        Fact::Unasked | Fact::Refused { .. } | Fact::Forbidden { .. } | Fact::Failed(_) => None,
    }
}

impl Precondition {
    pub(super) fn any_version(self) -> Self {
        match self {
            Precondition::Exactly { uid, .. } => Precondition::Exactly {
                uid,
                resource_version: String::new(),
            },
            other @ (Precondition::Absent | Precondition::Torn) => other,
        }
    }
}
