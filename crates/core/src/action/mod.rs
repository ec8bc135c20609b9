//! What a request asks for: one [`Action`], parsed once by Kubernetes' own rules.
//!
//! In: method, path, query and a few headers of a request (`parse`), then its body. Out: an `Action`.
//! Refuses: whatever the API server and this parser could read differently (`Unreadable`).
//! Does not decide anything, and never sees header values beyond those in [`Head`].

use serde_json::Value;

use crate::mask::Masked;
use crate::wire::body::Body;
use crate::wire::{BodyFault, BodyStatus};

mod headers;
mod parse;
mod path;
mod table;
mod query;
mod selector;
mod accept;
mod agree;
mod info;
#[cfg(test)]
mod cases;

pub use headers::{Headers, headers, impersonates, wants_upgrade};
pub use parse::{Outline, parse};

/// The parts of a request's head that say what it asks for, as they arrived. `path` is the raw, still percent-encoded path.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub accept: &'a [&'a str],
    pub content_type: Option<&'a str>,
    /// Whether the client asks to leave HTTP (`Upgrade`, or any `Connection` naming it).
    pub upgrade: bool,
}

/// Mantlet's verbs: those of RBAC, and the connect verbs of their own whatever HTTP method carried them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Exec,
    Attach,
    PortForward,
    Proxy,
}

/// What kind of thing a verb does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Reads,
    /// Leaves an object behind, as it was sent or as a patch makes it.
    Stores,
    Deletes,
    /// Opens a way into a pod, a service or a node.
    Connects,
}

/// What the action is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Resource(ResourceRef),
    /// Discovery, OpenAPI, version, health: an absolute path from an allow-list, decoded.
    Path(String),
}

/// Coordinates as `RequestInfo` finds them; empty strings where it has them empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct ResourceRef {
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

impl ResourceRef {
    /// The path at which it is served, with these parameters, encoded canonically. Without a name it is that of the collection.
    pub(crate) fn uri(&self, parameters: &[(&str, &str)]) -> String {
        let pairs: Vec<_> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        path::write(self, true, &[]) + &query::write(&pairs)
    }
}

/// Appends a value to a query.
pub(crate) fn encode(out: &mut String, value: &str) {
    path::percent_encode(out, value);
}

/// Whether carrying the action out can change the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Reads,
    Changes,
}

/// How the answer is to be treated on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// JSON that passes the masker; `Accept` goes upstream reduced to JSON or Table.
    Masked { secret: bool },
    /// Logs, discovery, OpenAPI, version, health: as they come.
    Verbatim,
}

/// One operation, exactly. Holds what was understood, never bytes that were not.
#[derive(Debug)]
pub struct Action {
    pub(crate) verb: Verb,
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// What follows a proxied name: the path inside the target. Empty for every other verb.
    pub(crate) tail: Vec<String>,
    /// Allow-listed parameters, canonical, in canonical order; multi-valued ones repeat.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) options: Options,
    pub(crate) accept: String,
    pub(crate) body: Option<Body>,
    pub(crate) answer: Answer,
    pub(crate) upgrade: bool,
}

/// The method that goes upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// Options from wherever the API server takes them: the query, and for deletes the body first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `dryRun=All`. True only where the server honors it (never for connect verbs).
    pub dry_run: bool,
    pub force: bool,
    pub field_manager: String,
    pub propagation_policy: String,
    pub grace_period_seconds: Option<i64>,
    /// `ignoreStoreReadErrorWithClusterBreakingPotential`: delete what cannot be read any more, past finalizers and preconditions.
    pub unread: bool,
    pub label_selector: String,
    pub field_selector: String,
    /// `follow=true` of logs, or a watch: the answer has no end of its own.
    pub endless: bool,
}

impl Action {
    pub fn verb(&self) -> Verb {
        self.verb
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The resource, unless the action is about a bare path.
    pub fn resource(&self) -> Option<&ResourceRef> {
        match &self.target {
            Target::Resource(r) => Some(r),
            Target::Path(_) => None,
        }
    }

    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// The path inside a proxied target, in decoded segments.
    pub fn tail(&self) -> &[String] {
        &self.tail
    }

    /// Path and query as they go upstream, built from what was understood. Values in the query may be secret (`command`):
    /// through `mask::text` before they are written anywhere.
    pub fn request_uri(&self) -> String {
        self.request_uri_with(&self.query)
    }

    /// The same with other parameters: those that the law adds.
    pub(crate) fn request_uri_with(&self, query: &[(String, String)]) -> String {
        let mut uri = self.path();
        uri.push_str(&query::write(query));
        uri
    }

    /// The path alone, encoded canonically.
    pub fn path(&self) -> String {
        match &self.target {
            Target::Path(path) => path::write_bare(path),
            Target::Resource(place) => path::write(place, self.name_in_path(), &self.tail),
        }
    }

    /// The name of a list or watch is its selector's.
    fn name_in_path(&self) -> bool {
        !matches!(self.verb, Verb::List | Verb::Watch)
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The reduced `Accept` that goes upstream.
    pub fn accept(&self) -> &str {
        &self.accept
    }

    pub fn answer(&self) -> Answer {
        self.answer
    }

    /// Whether the client wants to leave HTTP (exec, attach, port-forward).
    pub fn upgrade(&self) -> bool {
        self.upgrade
    }

    /// The submitted object or patch, with secret values masked: all that law, journal and desk may see of it.
    pub fn submitted(&self) -> Option<&Masked<Value>> {
        self.body.as_ref().map(Body::masked)
    }

    pub fn body(&self) -> Option<&Body> {
        self.body.as_ref()
    }

    pub fn effect(&self) -> Effect {
        match self.verb.sort() {
            Sort::Reads => Effect::Reads,
            Sort::Stores | Sort::Deletes | Sort::Connects => Effect::Changes,
        }
    }
}

impl Verb {
    /// What kind of thing it does.
    pub fn sort(self) -> Sort {
        match self {
            Verb::Get | Verb::List | Verb::Watch => Sort::Reads,
            Verb::Create | Verb::Update | Verb::Patch => Sort::Stores,
            Verb::Delete | Verb::DeleteCollection => Sort::Deletes,
            Verb::Exec | Verb::Attach | Verb::PortForward | Verb::Proxy => Sort::Connects,
        }
    }

    /// The word used in policies, audit annotations and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Exec => "exec",
            Verb::Attach => "attach",
            Verb::PortForward => "portforward",
            Verb::Proxy => "proxy",
        }
    }
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// Why a request was not understood, and what to send instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub status: UnreadableStatus,
    /// A sentence for the caller: what happened, why, what to do. Never echoes a value that could be secret.
    pub message: String,
}

/// Which HTTP refusal fits; `refuse.rs` of the gateway knows the numbers' texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableStatus {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    TooLarge,
    UnsupportedMediaType,
    Unprocessable,
}

impl Unreadable {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: UnreadableStatus::BadRequest,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: UnreadableStatus::NotFound,
            message: message.into(),
        }
    }

    pub(crate) fn method_not_allowed(message: impl Into<String>) -> Self {
        Self {
            status: UnreadableStatus::MethodNotAllowed,
            message: message.into(),
        }
    }

    pub(crate) fn not_acceptable(message: impl Into<String>) -> Self {
        Self {
            status: UnreadableStatus::NotAcceptable,
            message: message.into(),
        }
    }
}

impl From<BodyFault> for Unreadable {
    fn from(fault: BodyFault) -> Self {
        let status = match fault.status {
            BodyStatus::BadRequest => UnreadableStatus::BadRequest,
            BodyStatus::TooLarge => UnreadableStatus::TooLarge,
            BodyStatus::UnsupportedMediaType => UnreadableStatus::UnsupportedMediaType,
            BodyStatus::Unprocessable => UnreadableStatus::Unprocessable,
        };
        Self {
            status,
            message: fault.reason,
        }
    }
}

/// A caller's word in a message: names only, so that neither a terminal nor a log is written to.
fn shown(word: &str) -> String {
    if !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        format!("`{word}`")
    } else {
        String::from("(unprintable or too long)")
    }
}
