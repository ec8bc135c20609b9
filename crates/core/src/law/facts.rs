//! What the law learned about the cluster for one judgment, and what it asks for.

use std::sync::Arc;

use serde_json::Value;

use crate::action::Action;
use crate::identity::Caller;
use crate::mask::Masked;
use crate::wire::outgoing::{Outgoing, outgoing};

use super::verdict::Terms;

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
    /// It could not be had; why, without secrets.
    Failed(String),
}

/// Everything learned so far. `Facts::default()` knows nothing.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    object: Fact<Arc<Masked<Value>>>,
}

/// The look-ups that the law asks for, all independent of one another.
#[derive(Debug)]
#[must_use = "the judgment waits for these"]
pub struct Lookups(Vec<Lookup>);

/// One request that the gateway makes for a judgment, as the caller. Minted by the law only.
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupKind {
    /// The caller's own request with `dryRun=All`: what would be stored.
    DryRun,
}

/// The answer to one [`Lookup`].
#[derive(Debug)]
pub struct Learned {
    kind: LookupKind,
    fact: Fact<Arc<Masked<Value>>>,
}

impl Facts {
    /// Takes in the answers of one round. What was asked and is still unknown then has failed: nothing is asked twice.
    pub fn learn(&mut self, answers: Vec<Learned>) {
        for answer in answers {
            match answer.kind {
                LookupKind::DryRun => self.object = answer.fact,
            }
        }
        if matches!(self.object, Fact::Unasked) {
            self.object = Fact::Failed(String::from("the dry-run gave no answer"));
        }
    }

    pub(super) fn object(&self) -> &Fact<Arc<Masked<Value>>> {
        &self.object
    }
}

impl Lookups {
    pub(super) fn dry_run(caller: &Arc<Caller>, action: &Arc<Action>) -> Self {
        Self(vec![Lookup {
            kind: LookupKind::DryRun,
            caller: Arc::clone(caller),
            action: Arc::clone(action),
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

impl Lookup {
    pub fn kind(&self) -> LookupKind {
        self.kind
    }

    /// On whose behalf; the look-up goes upstream with this caller's impersonation.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub fn action(&self) -> &Arc<Action> {
        &self.action
    }

    /// The request to send: the action's own, that stores nothing and answers in plain JSON.
    pub fn outgoing(&self) -> Outgoing {
        match self.kind {
            LookupKind::DryRun => rehearsal(&self.action),
        }
    }

    pub fn learned(&self, fact: Fact<Arc<Masked<Value>>>) -> Learned {
        Learned { kind: self.kind, fact }
    }
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
