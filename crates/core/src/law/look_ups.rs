//! The look-ups that a judgment asks for: which requests they make, and what is kept of the answers.
//!
//! In: an action, and for some the facts learned before. Out: [`Lookup`], minted here only; from its answers a [`Learned`].
//! Deliberately does not: send anything, or choose a credential beyond saying who may read it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::action::{Action, Answer, Method, ResourceRef, Verb};
use crate::identity::Caller;
use crate::mask::{self, Hint, Masked};
use crate::wire::outgoing::{Outgoing, outgoing};
use crate::wire::protobuf;

use super::budget::Spent;
use super::facts::{Affected, Fact, Facts, ObjectId};
use super::inspect::{list, text};
use super::rights::{Account, Grants};
use super::sight;
use super::verdict::{Charge, Terms};

/// Objects that a cascade, a collection or a namespace is followed up to.
pub(super) const AFFECTED_MAX: usize = 1_000;
/// Objects in one answer to a list, so that an answer fits into what a look-up may read.
const PAGE: &str = "250";
/// Answers to one list. What lies behind them is `more`, or not known.
pub const PAGES_MAX: usize = 20;

/// The look-ups that the law asks for, all independent of one another.
#[derive(Debug)]
#[must_use = "the judgment waits for these"]
pub struct Lookups(Vec<Lookup>);

/// One thing that the gateway finds out for a judgment. Minted by the law only.
///
/// ```compile_fail,E0451
/// use std::sync::Arc;
/// use mantlet_core::{action::Action, identity::Caller, law::{Lookup, LookupKind}};
///
/// fn forge(caller: Arc<Caller>, action: Arc<Action>) -> Lookup {
///     Lookup { kind: LookupKind::DryRun, caller, action }
/// }
/// ```
///
/// ```
/// use mantlet_core::law::{Fact, Learned, Lookup};
///
/// fn give_up(lookup: &Lookup) -> Learned {
///     lookup.learned(Fact::Failed(String::from("the cluster cannot be reached")))
/// }
/// ```
#[derive(Debug)]
pub struct Lookup {
    kind: LookupKind,
    caller: Arc<Caller>,
    action: Arc<Action>,
    aim: Aim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LookupKind {
    /// The caller's own request with `dryRun=All`: what would be stored.
    DryRun,
    /// What is stored under the name now.
    OldObject,
    /// The pod that the request reaches into.
    Target,
    /// The namespace that the request is in.
    NamespaceObject,
    /// What a delete takes along by owner references.
    Dependents,
    /// What a deletecollection hits, and what the deletion of a namespace or of a CRD takes along.
    Members,
    /// The ServiceAccount of the pod at stake, and what it may do.
    Rights,
    /// What the agent has used up of its budgets. Asked of the gateway's own memory, and last: only then it is known what the request would take.
    Session,
}

/// What follows from facts that were learned before.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Aim {
    /// The action says it all.
    Action,
    Owned {
        namespace: String,
        uid: String,
    },
    Every(ResourceRef, String),
    Account(Account),
    Charges(Vec<Charge>),
}

/// Whose credential reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The caller's, and no other.
    Caller,
    /// The caller's; where it may not, the observer's.
    CallerFirst,
    /// The observer's; where there is none, the caller's.
    ObserverFirst,
}

/// One request of a look-up.
#[derive(Debug)]
pub struct Query {
    outgoing: Outgoing,
    pages: bool,
    kind: String,
    api_version: String,
}

/// What is kept of one answer.
#[derive(Debug)]
pub struct Kept(What);

#[derive(Debug)]
enum What {
    Object(Value),
    Items(Vec<Item>),
    Grants(Value),
}

/// An object of a list, and who owns it.
#[derive(Debug)]
struct Item {
    id: ObjectId,
    owners: Vec<String>,
}

/// The answer to one [`Lookup`].
#[derive(Debug)]
pub struct Learned {
    pub(super) kind: LookupKind,
    pub(super) fact: Fact<Arc<Masked<Value>>>,
}

/// Kinds that a cascade is followed through, and that a namespace is full of.
const KINDS: [(&str, &str, &str, &str); 24] = [
    ("", "v1", "pods", "Pod"),
    ("", "v1", "configmaps", "ConfigMap"),
    ("", "v1", "secrets", "Secret"),
    ("", "v1", "services", "Service"),
    ("", "v1", "endpoints", "Endpoints"),
    ("", "v1", "serviceaccounts", "ServiceAccount"),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    ("", "v1", "replicationcontrollers", "ReplicationController"),
    ("", "v1", "podtemplates", "PodTemplate"),
    ("apps", "v1", "deployments", "Deployment"),
    ("apps", "v1", "replicasets", "ReplicaSet"),
    ("apps", "v1", "statefulsets", "StatefulSet"),
    ("apps", "v1", "daemonsets", "DaemonSet"),
    ("apps", "v1", "controllerrevisions", "ControllerRevision"),
    ("batch", "v1", "jobs", "Job"),
    ("batch", "v1", "cronjobs", "CronJob"),
    (
        "autoscaling",
        "v1",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
    ),
    ("coordination.k8s.io", "v1", "leases", "Lease"),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    ("networking.k8s.io", "v1", "ingresses", "Ingress"),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
];

const RBAC: &str = "rbac.authorization.k8s.io";

/// Everything that grants.
const GRANTS: [(&str, &str); 4] = [
    ("clusterrolebindings", "ClusterRoleBinding"),
    ("rolebindings", "RoleBinding"),
    ("clusterroles", "ClusterRole"),
    ("roles", "Role"),
];

/// Groups and resources that look-ups read, but for those that policies are about: what an observer has to be able to `get` and `list`.
pub fn observed() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = KINDS.iter().map(|(group, _, resource, _)| (*group, *resource));
    let grants = GRANTS.iter().map(|(resource, _)| (RBAC, *resource));
    let others = [
        ("", "namespaces"),
        ("", "nodes"),
        ("", "persistentvolumes"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ];
    let mut all: Vec<_> = kinds.chain(grants).chain(others).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter()
}

impl LookupKind {
    pub const ALL: [LookupKind; 8] = [
        LookupKind::DryRun,
        LookupKind::OldObject,
        LookupKind::Target,
        LookupKind::NamespaceObject,
        LookupKind::Dependents,
        LookupKind::Members,
        LookupKind::Rights,
        LookupKind::Session,
    ];

    /// As the audit event lists it.
    pub fn as_str(self) -> &'static str {
        match self {
            LookupKind::DryRun => "dryRun",
            LookupKind::OldObject => "oldObject",
            LookupKind::Target => "target",
            LookupKind::NamespaceObject => "namespaceObject",
            LookupKind::Dependents => "dependents",
            LookupKind::Members => "members",
            LookupKind::Rights => "rights",
            LookupKind::Session => "session",
        }
    }

    /// The name under which expressions know it.
    pub fn root(self) -> &'static str {
        match self {
            LookupKind::DryRun => "object",
            LookupKind::Rights => "serviceAccount",
            LookupKind::OldObject
            | LookupKind::Target
            | LookupKind::NamespaceObject
            | LookupKind::Dependents
            | LookupKind::Members
            | LookupKind::Session => self.as_str(),
        }
    }
}

impl Lookups {
    /// Those of these kinds, and where one needs another fact first, that one in its place.
    pub(super) fn of(
        kinds: impl IntoIterator<Item = LookupKind>,
        caller: &Arc<Caller>,
        action: &Arc<Action>,
        facts: &Facts,
    ) -> Self {
        let mut lookups: Vec<Lookup> = Vec::new();
        for kind in kinds {
            let (kind, aim) = aim(kind, action, facts);
            if !lookups.iter().any(|l| l.kind == kind) {
                lookups.push(Lookup {
                    kind,
                    caller: Arc::clone(caller),
                    action: Arc::clone(action),
                    aim,
                });
            }
        }
        Self(lookups)
    }

    /// What is used up of these budgets, before and with what the charges take.
    pub(super) fn of_session(caller: &Arc<Caller>, action: &Arc<Action>, charges: Vec<Charge>) -> Self {
        Self(vec![Lookup {
            kind: LookupKind::Session,
            caller: Arc::clone(caller),
            action: Arc::clone(action),
            aim: Aim::Charges(charges),
        }])
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Lookup> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Lookups {
    type Item = &'a Lookup;
    type IntoIter = std::slice::Iter<'a, Lookup>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What a look-up of this kind is after, or the look-up that has to come before it.
fn aim(kind: LookupKind, action: &Action, facts: &Facts) -> (LookupKind, Aim) {
    let needed = match kind {
        LookupKind::DryRun
        | LookupKind::OldObject
        | LookupKind::Target
        | LookupKind::NamespaceObject
        | LookupKind::Session => None,
        LookupKind::Dependents => Some(LookupKind::OldObject),
        LookupKind::Members => sight::is_crd(action).then_some(LookupKind::OldObject),
        LookupKind::Rights => sight::source_of_pod(action),
    };
    let before = needed.map(|needed| (needed, facts.document(needed)));
    match before {
        None => {}
        // The submitted object of a create needs no look-up.
        Some((LookupKind::DryRun, _)) if !sight::is_rehearsed(action) => {}
        Some((needed, Fact::Unasked)) => return (needed, Aim::Action),
        Some((_, Fact::Known(_) | Fact::Absent | Fact::Refused { .. } | Fact::Forbidden { .. } | Fact::Failed(_))) => {}
    }
    let aim = match kind {
        LookupKind::DryRun
        | LookupKind::OldObject
        | LookupKind::Target
        | LookupKind::NamespaceObject
        | LookupKind::Session => Aim::Action,
        LookupKind::Dependents => known(facts, LookupKind::OldObject).map_or(Aim::Action, owned),
        LookupKind::Members => known(facts, LookupKind::OldObject)
            .and_then(custom_resource)
            .map_or(Aim::Action, |(place, kind)| Aim::Every(place, kind)),
        LookupKind::Rights => sight::account(action, facts).map_or(Aim::Action, Aim::Account),
    };
    (kind, aim)
}

fn known(facts: &Facts, kind: LookupKind) -> Option<&Value> {
    match facts.document(kind) {
        Fact::Known(object) => Some(object),
        Fact::Unasked | Fact::Absent | Fact::Refused { .. } | Fact::Forbidden { .. } | Fact::Failed(_) => None,
    }
}

fn owned(object: &Value) -> Aim {
    let field = |name: &str| text(object, &["metadata", name]).unwrap_or_default().to_owned();
    Aim::Owned {
        namespace: field("namespace"),
        uid: field("uid"),
    }
}

/// Where the resources of a CRD are, and their kind.
fn custom_resource(crd: &Value) -> Option<(ResourceRef, String)> {
    let served = list(crd.get("spec")?, "versions")
        .iter()
        .find(|v| v.get("served") == Some(&Value::Bool(true)))?;
    let place = ResourceRef {
        group: text(crd, &["spec", "group"])?.to_owned(),
        version: text(served, &["name"])?.to_owned(),
        resource: text(crd, &["spec", "names", "plural"])?.to_owned(),
        ..ResourceRef::default()
    };
    Some((place, text(crd, &["spec", "names", "kind"])?.to_owned()))
}

impl Lookup {
    pub fn kind(&self) -> LookupKind {
        self.kind
    }

    /// On whose behalf.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub fn action(&self) -> &Arc<Action> {
        &self.action
    }

    pub fn reader(&self) -> Reader {
        match self.kind {
            LookupKind::DryRun | LookupKind::Session => Reader::Caller,
            LookupKind::OldObject | LookupKind::Target | LookupKind::NamespaceObject => Reader::CallerFirst,
            LookupKind::Dependents | LookupKind::Members | LookupKind::Rights => Reader::ObserverFirst,
        }
    }

    /// The requests to send, all independent of one another: read-only, or `dryRun=All`.
    pub fn queries(&self) -> Vec<Query> {
        let Some(place) = self.action.resource() else {
            return Vec::new();
        };
        match (self.kind, &self.aim) {
            (LookupKind::DryRun, _) => vec![Query::of(rehearsal(&self.action))],
            (LookupKind::OldObject, _) => vec![Query::get(&stored_at(place))],
            (LookupKind::Target, _) => vec![Query::get(&pod_at(place))],
            (LookupKind::NamespaceObject, _) => vec![Query::get(&namespace_at(place))],
            (LookupKind::Dependents, Aim::Owned { namespace, .. }) => every_kind_in(namespace),
            (LookupKind::Members, Aim::Every(place, kind)) => vec![Query::list(place, kind, &[])],
            (LookupKind::Members, _) if sight::is_namespace(&self.action) => every_kind_in(&place.name),
            (LookupKind::Members, Aim::Action) => vec![collection(&self.action, place)],
            (LookupKind::Rights, Aim::Account(_)) => GRANTS.iter().map(|(r, kind)| grants(r, kind)).collect(),
            // What they are about is not known: there is nothing to send, and the look-up fails. A cluster does not know what was used up.
            (
                LookupKind::Dependents | LookupKind::Members | LookupKind::Rights,
                Aim::Action | Aim::Owned { .. } | Aim::Every(..) | Aim::Account(_) | Aim::Charges(_),
            )
            | (LookupKind::Session, _) => Vec::new(),
        }
    }

    /// The budgets to look into, and what the request would take of each.
    pub fn charges(&self) -> &[Charge] {
        match &self.aim {
            Aim::Charges(charges) => charges,
            Aim::Action | Aim::Owned { .. } | Aim::Every(..) | Aim::Account(_) => &[],
        }
    }

    /// What was found there.
    pub fn recall(&self, spent: &[Spent]) -> Learned {
        let document = Spent::document(spent);
        self.learned(Fact::Known(Arc::new(mask::value(document, Hint::Other))))
    }

    /// What the caller has to be allowed before anything is read for it that it may not read itself: its own request.
    ///
    /// Asked as the caller, so that it needs no further right and nobody's groups are guessed.
    pub fn access_review(&self) -> Outgoing {
        let place = self.action.resource().cloned().unwrap_or_default();
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "verb": rbac_verb(&self.action),
                "group": place.group,
                "version": place.version,
                "resource": place.resource,
                "subresource": place.subresource,
                "namespace": place.namespace,
                "name": place.name,
            } },
        });
        Outgoing {
            method: "POST",
            path_and_query: String::from("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
            headers: plain_json(),
            body: Bytes::from(review.to_string()),
        }
    }

    /// The caller has no right to its own request.
    pub fn forbidden(&self) -> Learned {
        let status = Arc::new(sight::forbidden(&self.caller, &self.action, rbac_verb(&self.action)));
        self.learned(Fact::Forbidden { status })
    }

    /// What of an answer is needed, so that the rest of it need not stay in memory. `None` if it is no answer to this.
    pub fn keep(&self, query: &Query, document: Value) -> Option<Kept> {
        let what = match self.kind {
            LookupKind::DryRun | LookupKind::OldObject | LookupKind::Target | LookupKind::NamespaceObject => {
                What::Object(document)
            }
            LookupKind::Dependents | LookupKind::Members => What::Items(query.items(&document)?),
            LookupKind::Rights => {
                let Aim::Account(account) = &self.aim else { return None };
                What::Grants(super::rights::relevant(account, &query.kind, &document)?)
            }
            LookupKind::Session => return None,
        };
        Some(Kept(what))
    }

    /// The fact that the answers make. `more`: a list went on behind the last answer that was read.
    pub fn conclude(&self, kept: Vec<Kept>, more: bool) -> Learned {
        let fact = match (self.kind, &self.aim) {
            (LookupKind::DryRun | LookupKind::OldObject | LookupKind::Target | LookupKind::NamespaceObject, _) => {
                match kept.into_iter().next() {
                    Some(Kept(What::Object(object))) => Fact::Known(Arc::new(mask::value(object, self.hint()))),
                    Some(Kept(What::Items(_) | What::Grants(_))) | None => nothing(),
                }
            }
            (LookupKind::Dependents, Aim::Owned { uid, .. }) => affected(cascade(uid, items(kept)), more),
            (LookupKind::Members, _) => affected(items(kept).into_iter().map(|item| item.id).collect(), more),
            // A grant that was not read may be the strongest.
            (LookupKind::Rights, Aim::Account(_)) if more => Fact::Failed(String::from("there are too many grants")),
            (LookupKind::Rights, Aim::Account(account)) => {
                let pages: Vec<Value> = kept.into_iter().filter_map(Kept::grants).collect();
                let document = Grants::read(&pages).rights(account).document(account);
                Fact::Known(Arc::new(mask::value(document, Hint::Other)))
            }
            (LookupKind::Dependents | LookupKind::Rights | LookupKind::Session, _) => nothing(),
        };
        self.learned(fact)
    }

    pub fn learned(&self, fact: Fact<Arc<Masked<Value>>>) -> Learned {
        Learned { kind: self.kind, fact }
    }

    /// Whether what answers it can be a Secret.
    pub fn hint(&self) -> Hint {
        match (self.kind, self.action.answer()) {
            (LookupKind::DryRun | LookupKind::OldObject, Answer::Masked { secret: true }) => Hint::Secrets,
            (_, Answer::Masked { .. } | Answer::Verbatim) => Hint::Other,
        }
    }
}

impl Kept {
    fn grants(self) -> Option<Value> {
        match self.0 {
            What::Grants(page) => Some(page),
            What::Object(_) | What::Items(_) => None,
        }
    }
}

fn nothing() -> Fact<Arc<Masked<Value>>> {
    Fact::Failed(String::from("what it is about is not known"))
}

fn affected(mut objects: Vec<ObjectId>, more: bool) -> Fact<Arc<Masked<Value>>> {
    let more = more || objects.len() > AFFECTED_MAX;
    objects.truncate(AFFECTED_MAX);
    let document = Affected { objects, more }.document();
    Fact::Known(Arc::new(mask::value(document, Hint::Other)))
}

fn items(kept: Vec<Kept>) -> Vec<Item> {
    let items = kept.into_iter().flat_map(|kept| match kept.0 {
        What::Items(items) => items,
        What::Object(_) | What::Grants(_) => Vec::new(),
    });
    items.collect()
}

/// Everything that the garbage collector follows from this uid. An object with another owner beside it stays, and is counted all the same:
/// that owner may be gone by then.
fn cascade(root: &str, items: Vec<Item>) -> Vec<ObjectId> {
    let mut rest = items;
    let mut reached: Vec<ObjectId> = Vec::new();
    let mut owners = vec![root.to_owned()];
    while let Some(owner) = owners.pop() {
        let (owned, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|item| item.owners.contains(&owner));
        rest = others;
        owners.extend(owned.iter().map(|item| item.id.uid.clone()));
        reached.extend(owned.into_iter().map(|item| item.id));
    }
    reached.sort();
    reached
}

impl Query {
    pub fn outgoing(&self) -> Outgoing {
        Outgoing {
            method: self.outgoing.method,
            path_and_query: self.outgoing.path_and_query.clone(),
            headers: self.outgoing.headers.clone(),
            body: self.outgoing.body.clone(),
        }
    }

    /// Whether the answer is a list that may go on.
    pub fn pages(&self) -> bool {
        self.pages
    }

    /// The same, from where the answer before it ended.
    pub fn next(&self, page: &Value) -> Option<Outgoing> {
        let from = text(page, &["metadata", "continue"]).filter(|token| !token.is_empty() && self.pages)?;
        let mut next = self.outgoing();
        next.path_and_query.push_str("&continue=");
        crate::action::encode(&mut next.path_and_query, from);
        Some(next)
    }

    fn of(outgoing: Outgoing) -> Self {
        let (kind, api_version) = (String::new(), String::new());
        Self {
            outgoing,
            pages: false,
            kind,
            api_version,
        }
    }

    fn get(place: &ResourceRef) -> Self {
        Self::of(Outgoing {
            method: "GET",
            path_and_query: place.uri(&[]),
            headers: plain_json(),
            body: Bytes::new(),
        })
    }

    fn list(place: &ResourceRef, kind: &str, parameters: &[(&str, &str)]) -> Self {
        let mut all = vec![("limit", PAGE)];
        all.extend(parameters);
        Self {
            outgoing: Outgoing {
                method: "GET",
                path_and_query: place.uri(&all),
                headers: plain_json(),
                body: Bytes::new(),
            },
            pages: true,
            kind: kind.to_owned(),
            api_version: api_version(place),
        }
    }

    /// Names, uids and owners suffice: no Secret's data is ever asked for.
    fn metadata(mut self) -> Self {
        self.outgoing.headers.retain(|(name, _)| *name != "accept");
        let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        self.outgoing.headers.push(("accept", String::from(accept)));
        self
    }

    fn items(&self, page: &Value) -> Option<Vec<Item>> {
        let items = page.get("items")?;
        let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
        Some(items.iter().map(|item| self.item(item)).collect())
    }

    fn item(&self, item: &Value) -> Item {
        let field = |name: &str| text(item, &["metadata", name]).unwrap_or_default().to_owned();
        let owners = item
            .get("metadata")
            .map(|m| list(m, "ownerReferences"))
            .unwrap_or_default();
        Item {
            id: ObjectId {
                api_version: self.api_version.clone(),
                kind: self.kind.clone(),
                namespace: field("namespace"),
                name: field("name"),
                uid: field("uid"),
            },
            owners: owners
                .iter()
                .filter_map(|o| text(o, &["uid"]))
                .map(str::to_owned)
                .collect(),
        }
    }
}

fn api_version(place: &ResourceRef) -> String {
    match place.group.as_str() {
        "" => place.version.clone(),
        group => format!("{group}/{}", place.version),
    }
}

fn plain_json() -> Vec<(&'static str, String)> {
    vec![
        ("accept", String::from("application/json")),
        ("accept-encoding", String::from("identity")),
        ("content-type", String::from("application/json")),
    ]
}

/// The action's own request with `dryRun=All`. Writes with a body take options from the query only
/// (apiserver `pkg/endpoints/handlers/{create,update,patch}.go`), so nothing in the body can undo it.
fn rehearsal(action: &Action) -> Outgoing {
    let mut request = outgoing(action, &Terms::none());
    if !action.options().dry_run {
        let joint = if request.path_and_query.contains('?') { '&' } else { '?' };
        request.path_and_query.push(joint);
        request.path_and_query.push_str("dryRun=All");
    }
    // A Table would not show the object.
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("accept"));
    request.headers.push(("accept", String::from("application/json")));
    request
}

/// Where the object lies that a write of this place changes. A Scale is an object of its own kind; all other subresources are written as
/// (part of) the object itself.
fn stored_at(place: &ResourceRef) -> ResourceRef {
    let mut place = place.clone();
    if place.subresource != "scale" {
        place.subresource.clear();
    }
    place
}

/// The pod of a subresource. A proxied one is `scheme:name:port` (apimachinery `pkg/util/net/port_split.go`, SplitSchemeNamePort).
fn pod_at(place: &ResourceRef) -> ResourceRef {
    let parts: Vec<&str> = place.name.split(':').collect();
    let name = match (place.subresource.as_str(), parts.as_slice()) {
        ("proxy", [name, _] | [_, name, _]) => name,
        _ => place.name.as_str(),
    };
    ResourceRef {
        resource: String::from("pods"),
        subresource: String::new(),
        name: name.to_owned(),
        ..place.clone()
    }
}

fn namespace_at(place: &ResourceRef) -> ResourceRef {
    ResourceRef {
        version: String::from("v1"),
        resource: String::from("namespaces"),
        name: place.namespace.clone(),
        ..ResourceRef::default()
    }
}

/// Everything in a namespace; in none: in all of them, since an object without a namespace may own objects in any.
fn every_kind_in(namespace: &str) -> Vec<Query> {
    let query = |(group, version, resource, kind): &(&str, &str, &str, &str)| {
        let place = ResourceRef {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            resource: (*resource).to_owned(),
            namespace: namespace.to_owned(),
            ..ResourceRef::default()
        };
        Query::list(&place, kind, &[]).metadata()
    };
    KINDS.iter().map(query).collect()
}

/// The same selection as the deletecollection's.
fn collection(action: &Action, place: &ResourceRef) -> Query {
    let options = action.options();
    let selectors = [
        ("labelSelector", options.label_selector.as_str()),
        ("fieldSelector", options.field_selector.as_str()),
    ];
    let given: Vec<_> = selectors.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    let kind = protobuf::kind_of(&place.group, &place.version, &place.resource).unwrap_or_default();
    Query::list(place, kind, &given).metadata()
}

fn grants(resource: &str, kind: &str) -> Query {
    let place = ResourceRef {
        group: String::from(RBAC),
        version: String::from("v1"),
        resource: resource.to_owned(),
        ..ResourceRef::default()
    };
    Query::list(&place, kind, &[])
}

/// What RBAC calls it: connects are authorized by their method (apiserver `pkg/endpoints/request/requestinfo.go`).
fn rbac_verb(action: &Action) -> &'static str {
    match (action.verb(), action.method()) {
        (Verb::Exec | Verb::Attach | Verb::PortForward | Verb::Proxy, Method::Get) => "get",
        (Verb::Exec | Verb::Attach | Verb::PortForward | Verb::Proxy, Method::Post) => "create",
        (Verb::Exec | Verb::Attach | Verb::PortForward | Verb::Proxy, Method::Put) => "update",
        (Verb::Exec | Verb::Attach | Verb::PortForward | Verb::Proxy, Method::Patch) => "patch",
        (Verb::Exec | Verb::Attach | Verb::PortForward | Verb::Proxy, Method::Delete) => "delete",
        (
            Verb::Get
            | Verb::List
            | Verb::Watch
            | Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Delete
            | Verb::DeleteCollection,
            _,
        ) => action.verb().as_str(),
    }
}
