//! What may be shown, recorded and judged: values with their secrets taken out.
//!
//! In: documents of the cluster and of callers, as a tree ([`Masker::value`]) or as a stream ([`stream::Rewriter`]).
//! Out: [`Masked`], the only form that journal, CEL, desk and recorder accept; or the rewritten stream.
//! Refuses: what it cannot read ([`stream::MaskFault`]), and requests that bring a placeholder back ([`guard::placeholders`]).
//! Deliberately not here: logs and terminals, values copied into other kinds (environment literals, `ConfigMap`s).
//!
//! What counts as a Secret: any object of the core group whose `kind` is `Secret`, at any depth; the `items` of a
//! `SecretList`; and, where the request named the resource `secrets` ([`Hint::Secrets`]), every object at all.
//! Of these each scalar but null below `data` and `stringData` is replaced; keys and shape stay.

use std::ops::Deref;

use serde::{Serialize, Serializer};
use serde_json::Value;

pub mod guard;
pub mod placeholder;
pub mod status;
pub mod stream;
pub mod text;
mod tree;

pub use placeholder::{KidFault, MaskKey, Masker};
pub use status::status;
pub use text::text;

/// The annotation in which `kubectl apply` keeps the whole object as JSON text.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the request said about the objects in its answer; list items and patches carry no kind of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The resource is `secrets`: every `data` and `stringData` is masked, whatever the objects call themselves.
    Secrets,
    /// Any other resource: masked is what says that it is a Secret.
    Other,
}

/// As [`Masker::value`], with one placeholder for every value: for what is judged and recorded and never sent to a client,
/// so that not even equality can be read from it.
pub fn value(value: Value, hint: Hint) -> Masked<Value> {
    Masker::blind().value(value, hint)
}

/// A value whose secrets have been taken out. Minted by `core::mask` only.
///
/// ```
/// use mantlet_core::mask::{text, Masked};
/// let shown: Masked<String> = text("curl -H 'Authorization: Bearer abcdefghijklmnop'");
/// assert!(!shown.contains("abcdefghijklmnop"));
/// ```
///
/// Nobody else can make one:
///
/// ```compile_fail
/// use mantlet_core::mask::Masked;
/// let shown: Masked<String> = Masked(String::from("Bearer abcdefghijklmnop"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked<T>(T);

impl<T> Masked<T> {
    /// For what this crate builds of parts that are masked, public or numbers (`core::record`), and for nothing else.
    pub(crate) fn mint(value: T) -> Self {
        Masked(value)
    }

    /// One part of a masked value is masked as well.
    pub fn part<U: ?Sized + ToOwned>(&self, pick: impl FnOnce(&T) -> Option<&U>) -> Option<Masked<U::Owned>> {
        pick(&self.0).map(|part| Masked(part.to_owned()))
    }

    /// The value, where its type no longer has to prove anything (an answer to the caller).
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl Masked<String> {
    /// Text that stands in the source of this program holds no caller's secret.
    pub fn literal(text: &'static str) -> Self {
        Masked(text.to_owned())
    }
}

impl<T> Deref for Masked<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> AsRef<T> for Masked<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}

impl<T: Serialize> Serialize for Masked<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
