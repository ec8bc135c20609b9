//! Kubernetes' own CEL libraries, `k8s.io/apiserver/pkg/cel/library`: the same names, arguments, results, and errors where they have errors.
//!
//! In: values, the meter first. Out: a value. Refuses: values that a function does not take, texts that say nothing, and what costs too much. Its
//! texts hold no value, so they say less than those of Kubernetes. Deliberately not here: `authorizer`, for what RBAC allows is the cluster's to say.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::Sizer;
use cel::common::types::{CelBool, CelInt, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};

use self::quantity::Quantity;
use self::semver::Semver;
use crate::functions::{Answer, Args, Own, cannot, charged};

mod format;
mod lists;
mod net;
mod quantity;
mod regex;
mod semver;
mod url;

pub(crate) use lists::{entries, position};

/// The functions of all libraries.
pub(crate) fn own() -> impl Iterator<Item = &'static Own> {
    [
        COMPARED,
        quantity::OWN,
        net::OWN,
        url::OWN,
        semver::OWN,
        regex::OWN,
        lists::OWN,
        format::OWN,
    ]
    .into_iter()
    .flatten()
}

/// The types of all libraries, which are values too: `type(x) == net.IP`.
pub(crate) fn types() -> [&'static Type; 6] {
    [
        &quantity::TYPE,
        &net::IP,
        &net::CIDR,
        &url::TYPE,
        &semver::TYPE,
        &format::TYPE,
    ]
}

/// The text of an address or a network; no other value of a library has one.
pub(crate) fn shown(value: &dyn Val) -> Option<String> {
    net::shown(value)
}

/// What a value of a library is.
pub(crate) trait Thing: PartialEq + Send + Sync + 'static {
    fn ty() -> &'static Type;
    /// Bytes that comparing it reads.
    fn weight(&self) -> u64;
}

/// A value of a library; to clone it is to count a reference.
pub(crate) struct Opaque<T>(Arc<Kept<T>>);

struct Kept<T> {
    thing: T,
    weight: CelInt,
}

impl<T: Thing> Opaque<T> {
    pub(crate) fn new(thing: T) -> Opaque<T> {
        let weight = CelInt::from(i64::try_from(thing.weight()).unwrap_or(i64::MAX));
        Opaque(Arc::new(Kept { thing, weight }))
    }
}

impl<T: Thing> fmt::Debug for Opaque<T> {
    // Never the content: the interpreter puts Debug text into some of its errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::ty().name())
    }
}

impl<T: Thing> Val for Opaque<T> {
    fn get_type(&self) -> &Type {
        T::ty()
    }
    fn cel_type() -> &'static Type {
        T::ty()
    }
    // `size(x)` is declared for lists and maps alone, so only `json::full_weight` asks.
    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }
    fn equals(&self, other: &dyn Val) -> bool {
        other
            .downcast_ref::<Opaque<T>>()
            .is_some_and(|other| other.0.thing == self.0.thing)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(Opaque(Arc::clone(&self.0)))
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl<T: Thing> StaticVal for Opaque<T> {}

impl<T: Thing> Sizer for Opaque<T> {
    fn size(&self) -> CelInt {
        self.0.weight
    }
}

fn answer<'b, 'v>(thing: impl Thing) -> CowVal<'b, 'v> {
    CowVal::owned(Opaque::new(thing))
}

fn truth<'b, 'v>(yes: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(yes))
}

fn whole<'b, 'v>(number: i64) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(number))
}

fn said<'b, 'v>(text: impl Into<String>) -> CowVal<'b, 'v> {
    CowVal::owned(CelString::from(text.into()))
}

fn thing<'x, T: Thing>(args: &'x Args<'_, '_>, at: usize) -> Option<&'x T> {
    args.get(at)?.downcast_ref::<Opaque<T>>().map(|opaque| &opaque.0.thing)
}

fn text<'x>(args: &'x Args<'_, '_>, at: usize) -> Option<&'x str> {
    args.get(at)?.downcast_ref::<CelString<'_>>().map(CelString::inner)
}

/// What a text is charged that a function reads once.
fn reading(text: &str) -> u64 {
    (text.len() as u64).saturating_add(8)
}

type Fault = ExecutionError;

/// `compareTo` and its two short forms, which quantities and versions have alike.
static COMPARED: &[Own] = &[
    ("compareTo", 2, compare_to),
    ("isGreaterThan", 2, is_greater_than),
    ("isLessThan", 2, is_less_than),
];

fn compare_to<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    compared("compareTo", args).map(|order| whole(order as i64))
}

fn is_greater_than<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    compared("isGreaterThan", args).map(|order| truth(order == Ordering::Greater))
}

fn is_less_than<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    compared("isLessThan", args).map(|order| truth(order == Ordering::Less))
}

fn compared(function: &str, args: Args<'_, '_>) -> Result<Ordering, Fault> {
    let (meter, args) = charged(args)?;
    if let (Some(a), Some(b)) = (thing::<Quantity>(&args, 0), thing::<Quantity>(&args, 1)) {
        meter.weight(1024)?;
        return Ok(a.compare(b));
    }
    match (thing::<Semver>(&args, 0), thing::<Semver>(&args, 1)) {
        (Some(a), Some(b)) => {
            meter.weight(a.weight().saturating_add(b.weight()))?;
            Ok(a.compare(b))
        }
        _ => Err(cannot(function, &args)),
    }
}
