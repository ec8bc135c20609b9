//! `semver('1.2.3-rc.1')`: versions, as `github.com/blang/semver/v4` reads and orders them.

use std::cmp::Ordering;

use cel::common::types::{CelBool, Type};

use super::{Fault, Thing, answer, reading, text, thing, truth, whole};
use crate::functions::{Answer, Args, Own, cannot, charged, refused};

pub(super) static TYPE: Type = Type::new_unspecified_type("kubernetes.Semver");

pub(super) static OWN: &[Own] = &[
    ("semver", 1, semver),
    ("semver", 2, semver),
    ("isSemver", 1, is_semver),
    ("isSemver", 2, is_semver),
    ("major", 1, major),
    ("minor", 1, minor),
    ("patch", 1, patch),
];

/// What is built of it counts for nothing, so it is not kept.
#[derive(Debug, Clone)]
pub(super) struct Semver {
    numbers: [u64; 3],
    before: Vec<Part>,
}

/// One part of what stands behind the `-`; the order of the variants is theirs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

impl PartialEq for Semver {
    fn eq(&self, other: &Semver) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

impl Thing for Semver {
    fn ty() -> &'static Type {
        &TYPE
    }
    fn weight(&self) -> u64 {
        let part = |part: &Part| match part {
            Part::Number(_) => 8,
            Part::Text(text) => reading(text),
        };
        self.before.iter().map(part).sum::<u64>().saturating_add(24)
    }
}

impl Semver {
    fn parse(text: &str) -> Option<Semver> {
        let (major, rest) = text.split_once('.')?;
        let (minor, rest) = rest.split_once('.')?;
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (rest, None),
        };
        let (patch, before) = match rest.split_once('-') {
            Some((patch, before)) => (patch, Some(before)),
            None => (rest, None),
        };
        let named = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !build.iter().flat_map(|build| build.split('.')).all(named) {
            return None;
        }
        Some(Semver {
            numbers: [number(major)?, number(minor)?, number(patch)?],
            before: match before {
                Some(before) => before.split('.').map(part).collect::<Option<_>>()?,
                None => Vec::new(),
            },
        })
    }

    /// `normalizeAndParse`: without a `v` in front, without leading zeros, and with what is missing.
    fn parse_leniently(text: &str) -> Option<Semver> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
        if parts.len() < 3 && parts.last().is_some_and(|part| part.contains(['+', '-'])) {
            return None;
        }
        parts.resize(3, "0".to_owned());
        Semver::parse(&parts.join("."))
    }

    pub(super) fn compare(&self, other: &Semver) -> Ordering {
        let finished = |semver: &Semver| semver.before.is_empty();
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| finished(self).cmp(&finished(other)))
            .then_with(|| self.before.cmp(&other.before))
    }
}

fn without_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let trimmed = part.trim_start_matches('0');
    match trimmed.starts_with(|c: char| c.is_ascii_digit()) {
        true => trimmed.to_owned(),
        false => format!("0{trimmed}"),
    }
}

fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn part(text: &str) -> Option<Part> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return number(text).map(Part::Number);
    }
    let known = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    known.then(|| Part::Text(text.to_owned()))
}

fn read(function: &str, args: Args<'_, '_>) -> Result<Option<Semver>, Fault> {
    let (meter, args) = charged(args)?;
    let text = text(&args, 0).ok_or_else(|| cannot(function, &args))?;
    // It is split, and what of it is text is copied.
    meter.weight(reading(text).saturating_mul(4))?;
    let lenient = match args.get(1) {
        None => false,
        Some(flag) => *flag
            .downcast_ref::<CelBool>()
            .ok_or_else(|| cannot(function, &args))?
            .inner(),
    };
    Ok(if lenient {
        Semver::parse_leniently(text)
    } else {
        Semver::parse(text)
    })
}

fn semver<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    read("semver", args)?
        .map(answer)
        .ok_or_else(|| refused("`semver` was given what is no version"))
}

fn is_semver<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    read("isSemver", args).map(|semver| truth(semver.is_some()))
}

fn major<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    one_of("major", args, 0)
}

fn minor<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    one_of("minor", args, 1)
}

fn patch<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    one_of("patch", args, 2)
}

fn one_of<'b, 'v>(function: &str, args: Args<'b, 'v>, at: usize) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    meter.weight(8)?;
    let semver = thing::<Semver>(&args, 0).ok_or_else(|| cannot(function, &args))?;
    // `types.Int(v.Major)` in Go: what is over 63 bits comes out negative there.
    Ok(whole(semver.numbers[at].cast_signed()))
}
