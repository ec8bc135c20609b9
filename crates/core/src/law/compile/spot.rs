//! A place in a document, the faults found so far, and what agents and policies write alike.

use std::collections::BTreeSet;

use mantlet_api::policy::Operation;

use super::super::cel::{Expression, Ground, Variables};
use super::super::glob::Glob;
use super::super::matching::ResourcePattern;
use super::{Fault, Source};

/// RFC 1123 label and subdomain, as apimachinery `pkg/util/validation/validation.go` has them.
pub(super) const LABEL: usize = 63;
pub(super) const SUBDOMAIN: usize = 253;

/// A place in a document, and the faults found so far.
pub(super) struct Spot<'f> {
    pub(super) source: Source,
    pub(super) path: String,
    pub(super) faults: &'f mut Vec<Fault>,
}

impl Spot<'_> {
    pub(super) fn field(&mut self, name: &str) -> Spot<'_> {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Spot {
            source: self.source,
            path,
            faults: self.faults,
        }
    }

    pub(super) fn item(&mut self, at: usize) -> Spot<'_> {
        Spot {
            source: self.source,
            path: format!("{}[{at}]", self.path),
            faults: self.faults,
        }
    }

    pub(super) fn fault(&mut self, message: String, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.faults.push(Fault {
            source: self.source,
            path: self.path.clone(),
            message,
            hint,
        });
    }

    pub(super) fn need(&mut self, holds: bool, message: &str, hint: &str) -> bool {
        if !holds {
            self.fault(message.to_owned(), hint);
        }
        holds
    }

    pub(super) fn name(&mut self, name: &str, longest: usize) {
        let fits = if longest == LABEL {
            is_label(name)
        } else {
            is_subdomain(name)
        };
        if !fits {
            let message =
                format!("`{name}` is no name: lower case letters, digits and `-`, at most {longest} characters");
            self.fault(message, "write it like `web-frontend-2`");
        }
    }

    pub(super) fn expression(&mut self, source: &str, ground: Ground, variables: &Variables) -> Option<Expression> {
        let compiled = Expression::compile(source, ground, variables);
        compiled
            .map_err(|faults| faults.into_iter().for_each(|f| self.fault(f, "")))
            .ok()
    }

    pub(super) fn globs(&mut self, patterns: &[String]) -> Vec<Glob> {
        for (at, pattern) in patterns.iter().enumerate() {
            self.item(at).need(
                !pattern.is_empty(),
                "an empty pattern fits no name",
                "write a name, or `*` for all",
            );
        }
        patterns.iter().map(|p| Glob::new(p)).collect()
    }
}

fn is_label(name: &str) -> bool {
    name.len() <= LABEL && is_part(name)
}

fn is_part(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= SUBDOMAIN && name.split('.').all(is_part)
}

pub(super) fn unique<'a>(
    spot: &mut Spot<'_>,
    names: &mut BTreeSet<&'a str>,
    name: &'a str,
    what: &str,
    longest: usize,
) {
    let mut metadata = spot.field("metadata");
    let mut spot = metadata.field("name");
    spot.name(name, longest);
    if !names.insert(name) {
        spot.fault(
            format!("there is already {} `{name}`", article(what)),
            "give it another name",
        );
    }
}

fn article(what: &str) -> String {
    let article = if what.starts_with('a') { "an" } else { "a" };
    format!("{article} {what}")
}

/// The one that is set; a fault if none or several are.
pub(super) fn one_of<'a>(spot: &mut Spot<'_>, fields: &[(&'a str, &'a Option<String>)]) -> Option<(&'a str, &'a str)> {
    let set: Vec<_> = fields
        .iter()
        .filter_map(|(name, value)| value.as_deref().map(|v| (*name, v)))
        .collect();
    match set.as_slice() {
        [(name, value)] => spot
            .field(name)
            .need(!value.is_empty(), "is empty", "")
            .then_some((*name, *value)),
        _ => {
            let names: Vec<_> = fields.iter().map(|(name, _)| format!("`{name}`")).collect();
            spot.fault(format!("expected exactly one of {}", names.join(", ")), "");
            None
        }
    }
}

pub(super) fn groups(spot: &mut Spot<'_>, groups: &[String]) -> Vec<String> {
    let mut spot = spot.field("apiGroups");
    spot.need(
        !groups.is_empty(),
        "no group would match",
        "write `[\"\"]` for the core group, `[\"*\"]` for all",
    );
    for (at, group) in groups.iter().enumerate() {
        let fits = group.is_empty() || group == "*" || is_subdomain(group);
        spot.item(at).need(
            fits,
            &format!("`{group}` is no API group"),
            "write it without a version, like `apps`",
        );
    }
    groups.to_vec()
}

pub(super) fn resources(spot: &mut Spot<'_>, resources: &[String]) -> Vec<ResourcePattern> {
    let mut spot = spot.field("resources");
    spot.need(
        !resources.is_empty(),
        "no resource would match",
        "write, for instance, `[pods, pods/exec]`",
    );
    let parse = |(at, text): (usize, &String)| {
        let lower = !text.chars().any(char::is_uppercase);
        let pattern = ResourcePattern::parse(text).filter(|_| lower);
        let message = format!("`{text}` is no resource");
        spot.item(at).need(
            pattern.is_some(),
            &message,
            "write it as in RBAC: `pods`, `pods/exec`, `*`, `*/scale`",
        );
        pattern
    };
    resources.iter().enumerate().filter_map(parse).collect()
}

pub(super) fn operations(spot: &mut Spot<'_>, operations: &[Operation]) -> Vec<Operation> {
    spot.need(
        !operations.is_empty(),
        "no request would match",
        "write, for instance, `[create, update, patch]`",
    );
    operations.to_vec()
}
