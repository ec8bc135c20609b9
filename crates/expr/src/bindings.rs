//! What the roots of an expression stand for in one request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use cel::common::value::Val;
use chrono::{DateTime, FixedOffset, Utc};
use serde_json::Value;

use crate::MAX_NESTING;
use crate::json::{bind, nests_within};

/// Roots bound to JSON values, by reference. What was built of them stays for the next program that is evaluated
/// with the same bindings, so bind once per request. A root that is not bound is [`EvalFault::Absent`] if it decides.
///
/// [`EvalFault::Absent`]: crate::EvalFault::Absent
pub struct Bindings<'a> {
    now: Option<DateTime<FixedOffset>>,
    roots: BTreeMap<&'static str, Root<'a>>,
}

struct Root<'a> {
    source: &'a Value,
    value: Box<dyn Val + 'a>,
    shallow: OnceLock<bool>,
}

impl<'a> Bindings<'a> {
    /// `now` is what the root `now` reads.
    pub fn new(now: Option<SystemTime>) -> Bindings<'a> {
        Bindings {
            now: now.and_then(timestamp),
            roots: BTreeMap::new(),
        }
    }

    /// Binds `root`, in place of what it was bound to before.
    pub fn bind(&mut self, root: &'static str, value: &'a Value) -> &mut Bindings<'a> {
        self.roots.insert(
            root,
            Root {
                source: value,
                value: bind(value),
                shallow: OnceLock::new(),
            },
        );
        self
    }

    pub(crate) fn root<'b>(&'b self, name: &str) -> Bound<'b, 'a> {
        match (self.roots.get(name), self.now) {
            (None, Some(now)) if name == "now" => Bound::Now(now),
            (None, _) => Bound::Absent,
            (Some(root), _) if *root.shallow.get_or_init(|| nests_within(root.source, MAX_NESTING)) => {
                Bound::Value(root.value.as_ref())
            }
            (Some(_), _) => Bound::TooDeep,
        }
    }
}

impl fmt::Debug for Bindings<'_> {
    // The names alone: the values are those of a request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bindings")
            .field("now", &self.now)
            .field("roots", &self.roots.keys())
            .finish()
    }
}

pub(crate) enum Bound<'b, 'a> {
    Value(&'b (dyn Val + 'a)),
    Now(DateTime<FixedOffset>),
    Absent,
    TooDeep,
}

/// None for the times that CEL has no timestamps for (before the year 1 and after 9999).
fn timestamp(time: SystemTime) -> Option<DateTime<FixedOffset>> {
    let micros = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).ok()?,
        Err(before) => i64::try_from(before.duration().as_micros()).ok()?.checked_neg()?,
    };
    let time = DateTime::<Utc>::from_timestamp_micros(micros)?;
    (-62_135_596_800..=253_402_300_799)
        .contains(&time.timestamp())
        .then(|| time.fixed_offset())
}
