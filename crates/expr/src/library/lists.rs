//! What Kubernetes and `cel-go` add to lists: sums and extremes, positions, sets, and what the macros on two variables are made of.

use std::cmp::Ordering;
use std::collections::HashMap;

use cel::ExecutionError;
use cel::common::types::{CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelUInt, LIST_TYPE};
use cel::common::value::{BuiltinRef, CowVal, Val};

use super::{Fault, truth, whole};
use crate::functions::{Answer, Args, Own, PIECE, cannot, charged, refused};
use crate::json::{clone_weight, full_weight, share};
use crate::meter::Meter;

pub(super) static OWN: &[Own] = &[
    ("sum", 1, sum),
    ("min", 1, min),
    ("max", 1, max),
    ("isSorted", 1, is_sorted),
    ("sets.contains", 2, contains),
    ("sets.equivalent", 2, equivalent),
    ("sets.intersects", 2, intersects),
    ("lists.range", 1, range),
    ("@mapped", 1, mapped),
    ("@merged", 1, merged),
];

/// Elements that `lists.range` may make: as many as a comprehension may visit.
const MAX_RANGE: i64 = 10_000;

/// The elements of a list, whatever it is made of.
fn elements<'x, 'v>(args: &'x Args<'_, 'v>, at: usize) -> Option<Vec<&'x (dyn Val + 'v)>> {
    let list = args.get(at).filter(|v| v.get_type() == &LIST_TYPE)?;
    match list.as_builtin() {
        BuiltinRef::List(list) => Some(list.inner().iter().map(AsRef::as_ref).collect()),
        _ => None,
    }
}

/// The elements of the list that is the only argument, paid for.
fn taken<'x, 'v>(function: &str, meter: &Meter, args: &'x Args<'_, 'v>) -> Result<Vec<&'x (dyn Val + 'v)>, Fault> {
    let list = args.first().ok_or_else(|| cannot(function, args))?;
    meter.weight(full_weight(list.as_ref()))?;
    elements(args, 0).ok_or_else(|| cannot(function, args))
}

fn sum<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let list = taken("sum", &meter, &args)?;
    let Some((first, rest)) = list.split_first() else {
        return Ok(whole(0));
    };
    let number = first.downcast_ref::<CelInt>().is_some()
        || first.downcast_ref::<CelUInt>().is_some()
        || first.downcast_ref::<CelDouble>().is_some()
        || first.downcast_ref::<CelDuration>().is_some();
    if !number {
        return Err(refused("`sum` wants numbers or durations"));
    }
    let mut total = first.clone_as_boxed();
    for item in rest {
        let adder = total.as_adder().ok_or_else(|| cannot("sum", &args))?;
        total = adder.add(*item)?.into_owned();
    }
    Ok(CowVal::Owned(total))
}

fn min<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    extreme("min", args, Ordering::Greater)
}

fn max<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    extreme("max", args, Ordering::Less)
}

/// The first element that no other is better than; `worse` is how one compares that gives way to the next.
fn extreme<'b, 'v>(function: &str, args: Args<'b, 'v>, worse: Ordering) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let list = taken(function, &meter, &args)?;
    let Some((first, rest)) = list.split_first() else {
        return Err(refused(&format!("`{function}` was called on an empty list")));
    };
    let mut best = *first;
    comparable(function, best)?;
    for item in rest {
        if compare(function, best, *item)? == worse {
            best = *item;
        }
    }
    meter.weight(clone_weight(best))?;
    Ok(CowVal::Owned(best.clone_as_boxed()))
}

fn comparable(function: &str, value: &dyn Val) -> Result<(), Fault> {
    match value.as_comparer() {
        Some(_) => Ok(()),
        None => Err(incomparable(function)),
    }
}

fn compare(function: &str, a: &dyn Val, b: &dyn Val) -> Result<Ordering, Fault> {
    let comparer = a.as_comparer().ok_or_else(|| incomparable(function))?;
    comparer.compare(b).map_err(|_| incomparable(function))
}

fn incomparable(function: &str) -> ExecutionError {
    refused(&format!("`{function}` was given elements that cannot be compared"))
}

fn is_sorted<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let list = taken("isSorted", &meter, &args)?;
    for item in &list {
        comparable("isSorted", *item)?;
    }
    for pair in list.windows(2) {
        if compare("isSorted", pair[0], pair[1])? == Ordering::Greater {
            return Ok(truth(false));
        }
    }
    Ok(truth(true))
}

/// The place of an element in a list, from either end; `indexOf` of a text stands with the functions of texts.
pub(crate) fn position<'b, 'v>(function: &str, meter: &Meter, args: &Args<'b, 'v>, last: bool) -> Answer<'b, 'v> {
    let list = taken(function, meter, args)?;
    let wanted = args.get(1).ok_or_else(|| cannot(function, args))?;
    let each = full_weight(wanted.as_ref());
    meter.weight(each.saturating_mul(list.len() as u64))?;
    let is = |item: &&(dyn Val + 'v)| item.equals(wanted.as_ref());
    let found = if last {
        list.iter().rposition(is)
    } else {
        list.iter().position(is)
    };
    Ok(whole(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

type Lists<'x, 'v> = (Vec<&'x (dyn Val + 'v)>, Vec<&'x (dyn Val + 'v)>);

/// Two lists of which each element may be compared with each.
fn two<'x, 'v>(function: &str, meter: &Meter, args: &'x Args<'_, 'v>) -> Result<Lists<'x, 'v>, Fault> {
    let (Some(a), Some(b)) = (elements(args, 0), elements(args, 1)) else {
        return Err(cannot(function, args));
    };
    let weight = |list: &[&(dyn Val + 'v)], times: usize| {
        let once = list.iter().fold(8u64, |n, item| n.saturating_add(full_weight(*item)));
        once.saturating_mul(times as u64 + 1)
    };
    meter.weight(weight(&a, b.len()).saturating_add(weight(&b, a.len())))?;
    Ok((a, b))
}

fn has(list: &[&dyn Val], wanted: &dyn Val) -> bool {
    list.iter().any(|item| item.equals(wanted))
}

fn contains<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (list, wanted) = two("sets.contains", &meter, &args)?;
    Ok(truth(wanted.iter().all(|item| has(&list, *item))))
}

fn equivalent<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (a, b) = two("sets.equivalent", &meter, &args)?;
    let same = b.iter().all(|item| has(&a, *item)) && a.iter().all(|item| has(&b, *item));
    Ok(truth(same))
}

fn intersects<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let (a, b) = two("sets.intersects", &meter, &args)?;
    Ok(truth(a.iter().any(|item| has(&b, *item))))
}

fn range<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let end = args
        .first()
        .and_then(|v| v.downcast_ref::<CelInt>())
        .map(|n| *n.inner());
    let end = end.ok_or_else(|| cannot("lists.range", &args))?;
    if end > MAX_RANGE {
        return Err(refused(&format!("`lists.range` makes {MAX_RANGE} elements at most")));
    }
    meter.weight(end.max(0).unsigned_abs().saturating_mul(PIECE))?;
    let items = (0..end).map(|n| Box::new(CelInt::from(n)) as Box<dyn Val + 'v>);
    Ok(CowVal::owned(CelList::from(items.collect::<Vec<_>>())))
}

/// `[[key, value], ..]`, which the macros make, as its pairs.
fn pairs<'x, 'v>(list: &[&'x (dyn Val + 'v)]) -> Option<Vec<(&'x (dyn Val + 'v), &'x (dyn Val + 'v))>> {
    let pair = |item: &&'x (dyn Val + 'v)| match item.as_builtin() {
        BuiltinRef::List(pair) => match pair.inner() {
            [key, value] => Some((key.as_ref(), value.as_ref())),
            _ => None,
        },
        _ => None,
    };
    list.iter().map(pair).collect()
}

/// What `transformMap` ends in: pairs of key and value, to a map of them.
fn mapped<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let list = taken("transformMap", &meter, &args)?;
    let mut map = HashMap::new();
    for (key, value) in pairs(&list).ok_or_else(|| cannot("transformMap", &args))? {
        put(&meter, &mut map, key, value)?;
    }
    Ok(CowVal::owned(CelMap::from(map)))
}

/// What `transformMapEntry` ends in: maps, to one map of all their entries.
fn merged<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let mut map = HashMap::new();
    for item in taken("transformMapEntry", &meter, &args)? {
        let BuiltinRef::Map(entries) = item.as_builtin() else {
            return Err(refused("`transformMapEntry` wants maps"));
        };
        for (key, value) in entries.inner() {
            put(&meter, &mut map, key.inner(), value.as_ref())?;
        }
    }
    Ok(CowVal::owned(CelMap::from(map)))
}

fn put<'v>(
    meter: &Meter,
    map: &mut HashMap<CelMapKey<'v>, Box<dyn Val + 'v>>,
    key: &(dyn Val + 'v),
    value: &(dyn Val + 'v),
) -> Result<(), Fault> {
    meter.weight(
        clone_weight(key)
            .saturating_add(clone_weight(value))
            .saturating_add(PIECE),
    )?;
    let key: CelMapKey<'v> = CowVal::Owned(key.clone_as_boxed()).try_into()?;
    match map.insert(key, value.clone_as_boxed()) {
        Some(_) => Err(refused("two entries of a map have one key")),
        None => Ok(()),
    }
}

/// What a comprehension on two variables goes over: `[[index, element], ..]` or `[[key, value], ..]`.
pub(crate) fn entries<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, mut args) = charged(args)?;
    let value = share(args.pop().ok_or_else(|| refused("no value"))?);
    let size = value.as_sizer().map_or(0, |sizer| *sizer.size().inner());
    meter.steps(u64::try_from(size).unwrap_or(u64::MAX))?;
    let container = value
        .as_iterable()
        .ok_or_else(|| refused("only a list or a map can be iterated"))?;
    let mut found: Vec<Box<dyn Val + 'v>> = Vec::new();
    let mut items = container.iter();
    while let Some(item) = items.next() {
        let index = CelInt::from(i64::try_from(found.len()).unwrap_or(i64::MAX));
        let (key, element): (Box<dyn Val + 'v>, _) = match value.as_builtin() {
            BuiltinRef::Map(map) => {
                let key: CelMapKey<'v> = CowVal::Owned(item.clone_as_boxed()).try_into()?;
                let element = map
                    .inner()
                    .get(&key)
                    .ok_or_else(|| refused("a key of a map has no value"))?;
                (item.clone_as_boxed(), element.as_ref())
            }
            _ => (Box::new(index), item),
        };
        meter.weight(
            clone_weight(element)
                .saturating_add(clone_weight(key.as_ref()))
                .saturating_add(PIECE),
        )?;
        let pair = CelList::from(vec![key, element.clone_as_boxed()]);
        found.push(share(CowVal::owned(pair)).into_owned());
    }
    Ok(CowVal::owned(CelList::from(found)))
}
