//! Which requests a rule speaks about, natively: no expression runs for a request that cannot match.

use mantlet_api::policy::Operation;

use crate::action::{ResourceRef, Verb};

use super::can::{Access, Star};
use super::glob::{Glob, none_or_fits};

/// A resolved resource rule of a policy, or of `beyond`.
#[derive(Debug)]
pub(super) struct ResourceRule {
    pub(super) groups: Vec<String>,
    pub(super) resources: Vec<ResourcePattern>,
    pub(super) operations: Vec<Operation>,
    pub(super) namespaces: Vec<Glob>,
    pub(super) names: Vec<Glob>,
}

/// `resource/subresource`, either part may be `*`. A pattern without a slash means no subresource,
/// as in ValidatingAdmissionPolicy (`*` is every resource and no subresource).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResourcePattern {
    resource: Word,
    subresource: Word,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Any,
    Exactly(String),
}

/// A name that is known, or one that the request leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    Exactly(&'a str),
    /// Nobody can say yet which: a collection, or a generated name. Every rule about names speaks about it.
    Open,
}

/// Of the requests that a question means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touch {
    None,
    Some,
    All,
}

impl ResourceRule {
    pub(super) fn speaks_about(&self, verb: Verb, resource: &ResourceRef, name: Named<'_>) -> bool {
        self.has_operation(verb)
            && self.groups.iter().any(|g| g == "*" || *g == resource.group)
            && self.resources.iter().any(|r| r.fits(resource))
            && fits_named(&self.namespaces, namespace_of(verb, resource))
            && fits_named(&self.names, name)
    }

    /// Whether it speaks about everything that `other` speaks about. False where that cannot be said of globs that differ.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let groups = other
            .groups
            .iter()
            .all(|g| self.groups.iter().any(|mine| mine == "*" || mine == g));
        let resources = other
            .resources
            .iter()
            .all(|r| self.resources.iter().any(|mine| mine.covers(r)));
        let operations = &self.operations;
        let operations = other
            .operations
            .iter()
            .all(|o| operations.contains(&Operation::All) || operations.contains(o));
        let globs = |mine: &[Glob], theirs: &[Glob]| {
            mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(|glob| mine.contains(glob)))
        };
        groups
            && resources
            && operations
            && globs(&self.namespaces, &other.namespaces)
            && globs(&self.names, &other.names)
    }

    /// How many of the requests that a question means it speaks about.
    pub(super) fn touches(&self, verb: Verb, access: &Access, star: Star) -> Touch {
        let groups = access.group == "*" || self.groups.iter().any(|g| g == "*" || *g == access.group);
        let resources = self
            .resources
            .iter()
            .any(|r| r.resource.meets(&access.resource) && r.subresource.meets(&access.subresource));
        if !self.has_operation(verb) || !groups || !resources {
            return Touch::None;
        }
        let collection = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
        let namespaces = match access.namespace.as_str() {
            // A collection of all namespaces touches each of them; of what else there is none, it may lie in no namespace at all.
            "" if self.namespaces.is_empty() || collection => Touch::All,
            "" => Touch::Some,
            namespace if none_or_fits(&self.namespaces, namespace) => Touch::All,
            _ => Touch::None,
        };
        let names = match access.name.as_str() {
            "" if self.names.is_empty() => Touch::All,
            "" => Touch::Some,
            name if none_or_fits(&self.names, name) => Touch::All,
            _ => Touch::None,
        };
        // Where any of what a star stands for would do, a rule about one of them leaves the others.
        let wide = |r: &ResourcePattern| {
            (access.resource != "*" || r.resource == Word::Any)
                && (access.subresource != "*" || r.subresource == Word::Any)
        };
        let everything =
            (access.group != "*" || self.groups.iter().any(|g| g == "*")) && self.resources.iter().any(wide);
        let stars = match star {
            Star::Any if !everything => Touch::Some,
            Star::Any | Star::All => Touch::All,
        };
        namespaces.min(names).min(stars)
    }

    fn has_operation(&self, verb: Verb) -> bool {
        self.operations
            .iter()
            .any(|o| *o == Operation::All || *o == operation(verb))
    }
}

impl ResourcePattern {
    /// `None` for an empty part or a second slash.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let word = |part: &str| match part {
            "*" => Some(Word::Any),
            _ if part.is_empty() || part.contains(['*', '/']) => None,
            _ => Some(Word::Exactly(part.to_owned())),
        };
        match text.split_once('/') {
            None => Some(Self {
                resource: word(text)?,
                subresource: Word::Exactly(String::new()),
            }),
            Some((resource, subresource)) => Some(Self {
                resource: word(resource)?,
                subresource: word(subresource)?,
            }),
        }
    }

    /// The resource, if it is one and not any.
    pub(super) fn literal(&self) -> Option<&str> {
        match &self.resource {
            Word::Any => None,
            Word::Exactly(word) => Some(word),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        self.resource.covers(&other.resource) && self.subresource.covers(&other.subresource)
    }

    /// Whether a request for it can ever have this operation: connecting subresources have a verb of their own and no other,
    /// and of a subresource there is no collection.
    pub(super) fn takes(&self, operation: Operation) -> bool {
        let connects = match operation {
            Operation::All => return true,
            Operation::Exec => "exec",
            Operation::Attach => "attach",
            Operation::PortForward => "portforward",
            Operation::Proxy => "proxy",
            Operation::List | Operation::Watch | Operation::DeleteCollection => return self.subresource.fits(""),
            Operation::Get | Operation::Create | Operation::Update | Operation::Patch | Operation::Delete => {
                return self.connects().is_none();
            }
        };
        self.subresource.fits(connects)
    }

    /// The verb of its own that a connecting subresource has.
    pub(super) fn connects(&self) -> Option<&'static str> {
        let Word::Exactly(subresource) = &self.subresource else {
            return None;
        };
        ["exec", "attach", "portforward", "proxy"]
            .into_iter()
            .find(|verb| subresource == verb)
    }

    pub(super) fn fits(&self, resource: &ResourceRef) -> bool {
        self.resource.fits(&resource.resource) && self.subresource.fits(&resource.subresource)
    }
}

impl Word {
    /// Whether something that a question means fits; `*` in it is everything.
    fn meets(&self, asked: &str) -> bool {
        asked == "*" || self.fits(asked)
    }

    fn covers(&self, other: &Self) -> bool {
        *self == Word::Any || self == other
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Word::Any => true,
            Word::Exactly(word) => word == text,
        }
    }
}

/// As it is written.
impl std::fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |word: &Word| match word {
            Word::Any => String::from("*"),
            Word::Exactly(text) => text.clone(),
        };
        match word(&self.subresource) {
            none if none.is_empty() => f.write_str(&word(&self.resource)),
            subresource => write!(f, "{}/{subresource}", word(&self.resource)),
        }
    }
}

/// A read or deletion of all namespaces touches each of them, so a rule about one speaks about it:
/// otherwise `get secrets -A` would pass a rule about the secrets of `prod`.
pub(super) fn namespace_of(verb: Verb, resource: &ResourceRef) -> Named<'_> {
    match verb {
        Verb::List | Verb::Watch | Verb::DeleteCollection if resource.namespace.is_empty() => Named::Open,
        Verb::Get
        | Verb::List
        | Verb::Watch
        | Verb::Create
        | Verb::Update
        | Verb::Patch
        | Verb::Delete
        | Verb::DeleteCollection
        | Verb::Exec
        | Verb::Attach
        | Verb::PortForward
        | Verb::Proxy => Named::Exactly(&resource.namespace),
    }
}

fn fits_named(globs: &[Glob], name: Named<'_>) -> bool {
    match name {
        Named::Exactly(name) => none_or_fits(globs, name),
        Named::Open => true,
    }
}

pub(super) fn operation(verb: Verb) -> Operation {
    match verb {
        Verb::Get => Operation::Get,
        Verb::List => Operation::List,
        Verb::Watch => Operation::Watch,
        Verb::Create => Operation::Create,
        Verb::Update => Operation::Update,
        Verb::Patch => Operation::Patch,
        Verb::Delete => Operation::Delete,
        Verb::DeleteCollection => Operation::DeleteCollection,
        Verb::Exec => Operation::Exec,
        Verb::Attach => Operation::Attach,
        Verb::PortForward => Operation::PortForward,
        Verb::Proxy => Operation::Proxy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(resource: &str, subresource: &str) -> ResourceRef {
        ResourceRef {
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            ..ResourceRef::default()
        }
    }

    #[test]
    fn a_subresource_is_never_implied_by_its_parent() {
        for (pattern, resource, subresource, fits) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "exec", false),
            ("*", "pods", "", true),
            ("*", "pods", "exec", false),
            ("pods/*", "pods", "exec", true),
            ("pods/exec", "pods", "exec", true),
            ("pods/exec", "pods", "log", false),
            ("*/scale", "deployments", "scale", true),
            ("*/*", "pods", "exec", true),
            ("*/*", "pods", "", true),
        ] {
            let parsed = ResourcePattern::parse(pattern).unwrap();
            assert_eq!(
                parsed.fits(&at(resource, subresource)),
                fits,
                "`{pattern}` on {resource}/{subresource}"
            );
        }
        for broken in ["", "/", "pods/", "/exec", "po*", "a/b/c"] {
            assert_eq!(ResourcePattern::parse(broken), None, "`{broken}`");
        }
    }

    #[test]
    fn a_read_of_all_namespaces_touches_each_of_them() {
        let rule = ResourceRule {
            groups: vec![String::new()],
            resources: vec![ResourcePattern::parse("secrets").unwrap()],
            operations: vec![Operation::All],
            namespaces: vec![Glob::new("prod-*")],
            names: vec![Glob::new("db")],
        };
        let mut secrets = at("secrets", "");
        assert!(rule.speaks_about(Verb::List, &secrets, Named::Open));
        assert!(!rule.speaks_about(Verb::Get, &secrets, Named::Exactly("db")));
        secrets.namespace = String::from("prod-1");
        assert!(rule.speaks_about(Verb::Get, &secrets, Named::Exactly("db")));
        assert!(!rule.speaks_about(Verb::Get, &secrets, Named::Exactly("other")));
        assert!(rule.speaks_about(Verb::List, &secrets, Named::Open));
        secrets.namespace = String::from("test");
        assert!(!rule.speaks_about(Verb::List, &secrets, Named::Open));
    }
}
