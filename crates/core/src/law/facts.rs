//! What the law learned about the cluster for one judgment. What it asks for, and how, is `look_ups`' business.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::mask::Masked;

use super::inspect::{list, text};
use super::look_ups::{Learned, LookupKind, Lookups};

/// One thing that may be known. Absence of knowledge is never a pass.
#[derive(Debug, Clone, Default)]
pub enum Fact<T> {
    #[default]
    Unasked,
    Known(T),
    /// It does not exist.
    Absent,
    /// The API server refused to say, with this status code and this `Status` object.
    Refused {
        code: u16,
        status: Arc<Masked<Value>>,
    },
    /// The caller has no right to the request itself, so nothing was read on its behalf that it may not read. The API server's answer to the
    /// request would be this one.
    Forbidden {
        status: Arc<Masked<Value>>,
    },
    /// It could not be had; why, without secrets.
    Failed(String),
}

/// Everything learned so far. `Facts::default()` knows nothing.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the request would store: the outcome of its dry-run.
    object: Fact<Arc<Masked<Value>>>,
    /// What is stored now.
    pub(super) old_object: Fact<Arc<Masked<Value>>>,
    /// The pod that the request reaches into.
    pub(super) target: Fact<Arc<Masked<Value>>>,
    pub(super) namespace_object: Fact<Arc<Masked<Value>>>,
    /// What a delete takes along.
    pub(super) dependents: Fact<Arc<Affected>>,
    /// What a deletecollection, or the deletion of a namespace or a CRD, hits.
    pub(super) members: Fact<Arc<Affected>>,
    /// The ServiceAccount of the pod at stake: `{ namespace, name, rights }`.
    pub(super) service_account: Fact<Arc<Masked<Value>>>,
}

/// Some objects, up to a cap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affected {
    pub objects: Vec<ObjectId>,
    /// There are more than could be listed.
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    pub api_version: String,
    pub kind: String,
    /// Empty for what is in none.
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Facts {
    /// Takes in the answers of one round. What was asked and is still unknown then has failed: nothing is asked twice.
    pub fn learn(&mut self, asked: &Lookups, answers: Vec<Learned>) {
        for answer in answers {
            self.set(answer.kind, answer.fact);
        }
        for lookup in asked {
            if self.is_unasked(lookup.kind()) {
                self.set(lookup.kind(), Fact::Failed(String::from("the look-up gave no answer")));
            }
        }
    }

    pub(super) fn document(&self, kind: LookupKind) -> &Fact<Arc<Masked<Value>>> {
        match kind {
            LookupKind::DryRun => &self.object,
            LookupKind::OldObject => &self.old_object,
            LookupKind::Target => &self.target,
            LookupKind::NamespaceObject => &self.namespace_object,
            LookupKind::Rights => &self.service_account,
            LookupKind::Dependents | LookupKind::Members => &Fact::Unasked,
        }
    }

    #[cfg(test)]
    pub(super) fn knowing(facts: impl IntoIterator<Item = (LookupKind, Fact<Arc<Masked<Value>>>)>) -> Self {
        let mut known = Self::default();
        facts.into_iter().for_each(|(kind, fact)| known.set(kind, fact));
        known
    }

    pub(super) fn affected(&self, kind: LookupKind) -> &Fact<Arc<Affected>> {
        match kind {
            LookupKind::Dependents => &self.dependents,
            LookupKind::Members => &self.members,
            LookupKind::DryRun
            | LookupKind::OldObject
            | LookupKind::Target
            | LookupKind::NamespaceObject
            | LookupKind::Rights => &Fact::Unasked,
        }
    }

    fn set(&mut self, kind: LookupKind, fact: Fact<Arc<Masked<Value>>>) {
        match kind {
            LookupKind::DryRun => self.object = fact,
            LookupKind::OldObject => self.old_object = fact,
            LookupKind::Target => self.target = fact,
            LookupKind::NamespaceObject => self.namespace_object = fact,
            LookupKind::Rights => self.service_account = fact,
            LookupKind::Dependents => self.dependents = fact.map(|known| Arc::new(Affected::read(&known))),
            LookupKind::Members => self.members = fact.map(|known| Arc::new(Affected::read(&known))),
        }
    }

    fn is_unasked(&self, kind: LookupKind) -> bool {
        matches!(self.document(kind), Fact::Unasked) && matches!(self.affected(kind), Fact::Unasked)
    }
}

impl<T> Fact<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Fact::Unasked => Fact::Unasked,
            Fact::Known(known) => Fact::Known(change(known)),
            Fact::Absent => Fact::Absent,
            Fact::Refused { code, status } => Fact::Refused { code, status },
            Fact::Forbidden { status } => Fact::Forbidden { status },
            Fact::Failed(why) => Fact::Failed(why),
        }
    }
}

impl Affected {
    /// As expressions see it, and as it comes from a look-up: `{ items, count, more }`.
    pub fn document(&self) -> Value {
        let items: Vec<_> = self.objects.iter().map(ObjectId::document).collect();
        json!({ "count": items.len(), "items": items, "more": self.more })
    }

    fn read(document: &Value) -> Self {
        Self {
            objects: list(document, "items").iter().map(ObjectId::read).collect(),
            more: document.get("more").and_then(Value::as_bool).unwrap_or_default(),
        }
    }
}

impl ObjectId {
    pub fn document(&self) -> Value {
        json!({ "apiVersion": self.api_version, "kind": self.kind, "namespace": self.namespace, "name": self.name, "uid": self.uid })
    }

    fn read(document: &Value) -> Self {
        let field = |name: &str| text(document, &[name]).unwrap_or_default().to_owned();
        Self {
            api_version: field("apiVersion"),
            kind: field("kind"),
            namespace: field("namespace"),
            name: field("name"),
            uid: field("uid"),
        }
    }
}
