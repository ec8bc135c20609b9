//! From the parts of a request to an [`Action`], in two steps: the head says what is asked, the body with what.
//!
//! In: [`Head`], then the body. Out: [`Outline`], then [`Action`].
//! Refuses: methods, paths, parameters and upgrades that it does not know; bodies that speak of another object than the URL.
//! Deliberately not here: whether a resource exists (RBAC and the API server say), and whether the request may happen (the law says).

use bytes::Bytes;

use super::path::{self, Place};
use super::query::{self, Kind, Pairs, Query, Rows};
use super::table::{self, BarePath};
use super::{Action, Answer, Head, Method, Options, ResourceRef, Target, Unreadable, Verb, accept, agree, selector};
use crate::mask::Hint;
use crate::wire::body::{self, Body};

/// What a head asks for; the body is still to come.
#[derive(Debug)]
pub struct Outline {
    pub(super) action: Action,
    kind: Kind,
    content_type: Option<String>,
}

/// Understands the head of a request.
pub fn parse(head: &Head<'_>) -> Result<Outline, Unreadable> {
    let method = method(head.method)?;
    let pairs = Pairs::decode(head.query)?;
    let (action, kind) = match path::read(head.path)? {
        Place::Bare(kind, path) => bare(head, method, &pairs, kind, path)?,
        Place::Resource(place, tail) => resource(head, method, &pairs, place, tail)?,
    };
    if head.upgrade && !may_upgrade(action.verb) {
        return Err(Unreadable::bad_request(
            "the request asks to upgrade the connection; only exec, attach and portforward of pods can, send this one as plain HTTP",
        ));
    }
    Ok(Outline {
        action,
        kind,
        content_type: head.content_type.map(str::to_owned),
    })
}

fn method(word: &str) -> Result<Method, Unreadable> {
    match word {
        "GET" => Ok(Method::Get),
        "POST" => Ok(Method::Post),
        "PUT" => Ok(Method::Put),
        "PATCH" => Ok(Method::Patch),
        "DELETE" => Ok(Method::Delete),
        _ => Err(Unreadable::method_not_allowed(
            "only GET, POST, PUT, PATCH and DELETE are served, in capital letters",
        )),
    }
}

fn may_upgrade(verb: Verb) -> bool {
    match verb {
        Verb::Exec | Verb::Attach | Verb::PortForward => true,
        Verb::Get
        | Verb::List
        | Verb::Watch
        | Verb::Create
        | Verb::Update
        | Verb::Patch
        | Verb::Delete
        | Verb::DeleteCollection
        | Verb::Proxy => false,
    }
}

fn bare(
    head: &Head<'_>,
    method: Method,
    pairs: &Pairs,
    path: BarePath,
    decoded: String,
) -> Result<(Action, Kind), Unreadable> {
    if method != Method::Get {
        return Err(Unreadable::method_not_allowed("this path can only be read; send GET"));
    }
    let (kind, accept) = match path {
        BarePath::Discovery => (Kind::Discovery, accept::discovery(head.accept)?),
        BarePath::OpenApi => (Kind::OpenApi, accept::open_api(head.accept)?),
        BarePath::Version => (Kind::Version, accept::ANY.to_owned()),
        BarePath::Health => (Kind::Health, accept::ANY.to_owned()),
    };
    let Query { pairs, options } = query::read(kind, pairs, Rows::Metadata)?;
    let target = Target::Path(decoded);
    let answer = Answer::Verbatim;
    let action = Action {
        verb: Verb::Get,
        method,
        target,
        tail: Vec::new(),
        query: pairs,
        options,
        accept,
        body: None,
        answer,
        upgrade: false,
    };
    Ok((action, kind))
}

fn resource(
    head: &Head<'_>,
    method: Method,
    pairs: &Pairs,
    mut place: ResourceRef,
    tail: Vec<String>,
) -> Result<(Action, Kind), Unreadable> {
    let verb = verb(method, &place, pairs);
    known_route(method, verb, &place, &tail)?;
    let kind = kind(verb, &place);
    let rows = if is_secret(&place) {
        Rows::Metadata
    } else {
        Rows::Objects
    };
    let Query { pairs, mut options } = query::read(kind, pairs, rows)?;
    if selects(verb) {
        let named = selector::exact_name(&options.field_selector)?;
        selector::labels_beside(&named, &options.label_selector)?;
        // Only list and watch take their name from it (requestinfo.go): a deletecollection stays unnamed.
        if verb != Verb::DeleteCollection {
            place.name = named;
        }
    }
    options.dry_run &= table::honors_dry_run(&place);
    let log = kind == Kind::Log;
    let action = Action {
        verb,
        method,
        accept: if log {
            accept::ANY.to_owned()
        } else {
            accept::resource(head.accept)?
        },
        answer: if log {
            Answer::Verbatim
        } else {
            Answer::Masked {
                secret: is_secret(&place),
            }
        },
        target: Target::Resource(place),
        tail,
        query: pairs,
        options,
        body: None,
        upgrade: head.upgrade,
    };
    Ok((action, kind))
}

/// Steps 6, 9 and 10 of `NewRequestInfo`, connecting subresources apart.
fn verb(method: Method, place: &ResourceRef, pairs: &Pairs) -> Verb {
    if let Some(connect) = table::connect(place) {
        return connect;
    }
    match method {
        Method::Get if !place.name.is_empty() => Verb::Get,
        Method::Get if pairs.says("watch") => Verb::Watch,
        Method::Get => Verb::List,
        Method::Post => Verb::Create,
        Method::Put => Verb::Update,
        Method::Patch => Verb::Patch,
        Method::Delete if place.name.is_empty() => Verb::DeleteCollection,
        Method::Delete => Verb::Delete,
    }
}

/// Refuses what no route of the API server serves, so that nothing reaches it which was judged as something else.
fn known_route(method: Method, verb: Verb, place: &ResourceRef, tail: &[String]) -> Result<(), Unreadable> {
    if !table::knows_subresource(place) {
        return Err(Unreadable::not_found(format!(
            "the subresource {} of {} is not known to the gateway, which serves status and scale everywhere and the built-in ones of Kubernetes",
            super::shown(&place.subresource),
            super::shown(&place.resource)
        )));
    }
    if !tail.is_empty() && verb != Verb::Proxy {
        return Err(Unreadable::not_found(
            "the path goes on behind the subresource; nothing is served there",
        ));
    }
    match method {
        Method::Put | Method::Patch if place.name.is_empty() => Err(Unreadable::method_not_allowed(
            "PUT and PATCH need the name of one object in the path",
        )),
        Method::Post if !place.name.is_empty() && place.subresource.is_empty() => Err(Unreadable::method_not_allowed(
            "POST creates in a collection; leave the name out of the path and put it into metadata.name",
        )),
        Method::Get | Method::Post | Method::Put | Method::Patch | Method::Delete => Ok(()),
    }
}

fn kind(verb: Verb, place: &ResourceRef) -> Kind {
    match verb {
        Verb::Get if is_log(place) => Kind::Log,
        Verb::Get => Kind::Get,
        Verb::List => Kind::List,
        Verb::Watch => Kind::Watch,
        Verb::Create => Kind::Create,
        Verb::Update => Kind::Update,
        Verb::Patch => Kind::Patch,
        Verb::Delete => Kind::Delete,
        Verb::DeleteCollection => Kind::DeleteCollection,
        Verb::Exec => Kind::Exec,
        Verb::Attach => Kind::Attach,
        Verb::PortForward => Kind::PortForward,
        Verb::Proxy => Kind::Proxy,
    }
}

fn selects(verb: Verb) -> bool {
    matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
}

fn is_log(place: &ResourceRef) -> bool {
    (
        place.group.as_str(),
        place.resource.as_str(),
        place.subresource.as_str(),
    ) == ("", "pods", "log")
}

fn is_secret(place: &ResourceRef) -> bool {
    place.group.is_empty() && place.resource == "secrets"
}

impl Outline {
    pub fn verb(&self) -> Verb {
        self.action.verb
    }

    pub fn target(&self) -> &Target {
        &self.action.target
    }

    /// What the head alone asks; a body may yet change the options of a delete.
    pub fn so_far(&self) -> &Action {
        &self.action
    }

    /// Whether the body says something: writes need one, deletes may have one, all else must not.
    pub fn wants_body(&self) -> bool {
        self.body_rule() != BodyRule::None
    }

    fn body_rule(&self) -> BodyRule {
        match self.action.verb {
            Verb::Create | Verb::Update | Verb::Patch => BodyRule::Object,
            Verb::Delete | Verb::DeleteCollection => BodyRule::DeleteOptions,
            Verb::Get | Verb::List | Verb::Watch | Verb::Exec | Verb::Attach | Verb::PortForward | Verb::Proxy => {
                BodyRule::None
            }
        }
    }

    /// Adds the body, if there is one.
    pub fn complete(mut self, body: Option<Bytes>) -> Result<Action, Unreadable> {
        match (self.body_rule(), body.filter(|bytes| !bytes.is_empty())) {
            (BodyRule::None | BodyRule::DeleteOptions, None) => {}
            (BodyRule::None, Some(_)) => {
                return Err(Unreadable::bad_request(
                    "a request of this kind has no body; send it without one",
                ));
            }
            (BodyRule::Object, None) => {
                return Err(Unreadable::bad_request(
                    "the body is empty; send the object or the patch",
                ));
            }
            (BodyRule::Object, Some(bytes)) => self.object(&bytes)?,
            (BodyRule::DeleteOptions, Some(bytes)) => self.delete_options(&bytes)?,
        }
        Ok(self.action)
    }

    fn object(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        let body = self.read(bytes)?;
        if let Target::Resource(place) = &self.action.target {
            agree::object(self.action.verb, place, body.masked())?;
        }
        self.action.body = Some(body);
        Ok(())
    }

    /// `k8s.io/apiserver` `pkg/endpoints/handlers/delete.go`: a body that is not empty is all that counts, the query's options do not.
    fn delete_options(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        let body = self.read(bytes)?;
        let selectors = std::mem::take(&mut self.action.options);
        self.action.options = Options {
            label_selector: selectors.label_selector,
            field_selector: selectors.field_selector,
            ..agree::delete_options(body.masked())?
        };
        query::without_delete_options(self.kind, &mut self.action.query);
        self.action.body = Some(body);
        Ok(())
    }

    fn read(&self, bytes: &[u8]) -> Result<Body, Unreadable> {
        let hint = match self.action.answer {
            Answer::Masked { secret: true } => Hint::Secrets,
            Answer::Masked { secret: false } | Answer::Verbatim => Hint::Other,
        };
        Ok(body::read(
            self.content_type.as_deref(),
            self.action.verb == Verb::Patch,
            bytes,
            hint,
        )?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyRule {
    None,
    Object,
    DeleteOptions,
}
