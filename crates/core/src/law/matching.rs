//! Which requests a rule speaks about, natively: no expression runs for a request that cannot match.

use mantlet_api::policy::Operation;

use crate::action::{ResourceRef, Verb};

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

impl ResourceRule {
    pub(super) fn speaks_about(&self, verb: Verb, resource: &ResourceRef, name: Named<'_>) -> bool {
        self.has_operation(verb)
            && self.groups.iter().any(|g| g == "*" || *g == resource.group)
            && self.resources.iter().any(|r| r.fits(resource))
            && fits_named(&self.namespaces, namespace_of(verb, resource))
            && fits_named(&self.names, name)
    }

    pub(super) fn has_operation(&self, verb: Verb) -> bool {
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

    fn fits(&self, resource: &ResourceRef) -> bool {
        self.resource.fits(&resource.resource) && self.subresource.fits(&resource.subresource)
    }
}

impl Word {
    fn fits(&self, text: &str) -> bool {
        match self {
            Word::Any => true,
            Word::Exactly(word) => word == text,
        }
    }
}

/// A read or deletion of all namespaces touches each of them, so a rule about one speaks about it:
/// otherwise `get secrets -A` would pass a rule about the secrets of `prod`.
fn namespace_of(verb: Verb, resource: &ResourceRef) -> Named<'_> {
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

fn operation(verb: Verb) -> Operation {
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
