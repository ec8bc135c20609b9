//! The query: an allow-list of parameters per kind of request, read as the API server reads them, written canonically.
//!
//! In: the raw query. Out: [`Query`]: pairs in canonical order and the [`Options`] in them. Refuses: parameters that are unknown
//! (misspelt case is unknown), scalars given twice, `;`, broken encodings.
//! Rules of conversion: `k8s.io/apimachinery` `pkg/runtime/conversion.go`; parameters: Kubernetes 1.35.

use super::path::{percent_decode, percent_encode};
use super::{Options, Unreadable};

/// Which parameters a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Log,
    Exec,
    Attach,
    PortForward,
    Proxy,
    Discovery,
    OpenApi,
    Version,
    Health,
}

/// How a value is read, and written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    /// `Convert_Slice_string_To_bool`: `0` and `false` are false, all else is true, the empty string too.
    Bool,
    Int,
    /// May repeat; the order is kept.
    Many,
    /// Exactly `All`.
    DryRun,
    /// What of each object stands in a Table beside its cells; see [`Rows`].
    IncludeObject,
    /// Known, without effect here, not sent upstream.
    Dropped,
}

type Parameters = &'static [(&'static str, Shape)];

const EVERYWHERE: Parameters = &[("pretty", Shape::Text), ("timeout", Shape::Text)];
const SELECT: Parameters = &[
    ("allowWatchBookmarks", Shape::Bool),
    ("continue", Shape::Text),
    ("fieldSelector", Shape::Text),
    ("labelSelector", Shape::Text),
    ("limit", Shape::Int),
    ("resourceVersion", Shape::Text),
    ("resourceVersionMatch", Shape::Text),
    ("sendInitialEvents", Shape::Bool),
    ("timeoutSeconds", Shape::Int),
];
const TABLE: Parameters = &[("includeObject", Shape::IncludeObject)];
const WATCH: Parameters = &[("watch", Shape::Bool)];
// A list says `watch=false` at most, and a GET with a name never looks at it.
const NO_WATCH: Parameters = &[("watch", Shape::Dropped)];
const GET: Parameters = &[("resourceVersion", Shape::Text)];
const WRITE: Parameters = &[
    ("dryRun", Shape::DryRun),
    ("fieldManager", Shape::Text),
    ("fieldValidation", Shape::Text),
];
const FORCE: Parameters = &[("force", Shape::Bool)];
// `uid` and `resourceVersion` are the preconditions (meta/v1 conversion.go, Convert_url_Values_To_v1_DeleteOptions).
const DELETE: Parameters = &[
    ("dryRun", Shape::DryRun),
    ("gracePeriodSeconds", Shape::Int),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", Shape::Bool),
    ("orphanDependents", Shape::Bool),
    ("propagationPolicy", Shape::Text),
    ("resourceVersion", Shape::Text),
    ("uid", Shape::Text),
];
const LOG: Parameters = &[
    ("container", Shape::Text),
    ("follow", Shape::Bool),
    ("insecureSkipTLSVerifyBackend", Shape::Bool),
    ("limitBytes", Shape::Int),
    ("previous", Shape::Bool),
    ("sinceSeconds", Shape::Int),
    ("sinceTime", Shape::Text),
    ("stream", Shape::Text),
    ("tailLines", Shape::Int),
    ("timestamps", Shape::Bool),
];
const TERMINAL: Parameters = &[
    ("container", Shape::Text),
    ("stderr", Shape::Bool),
    ("stdin", Shape::Bool),
    ("stdout", Shape::Bool),
    ("tty", Shape::Bool),
];
const COMMAND: Parameters = &[("command", Shape::Many)];
const PORTS: Parameters = &[("ports", Shape::Many)];
const PROXY: Parameters = &[("path", Shape::Text)];
const HASH: Parameters = &[("hash", Shape::Text)];
const HEALTH: Parameters = &[("exclude", Shape::Many), ("verbose", Shape::Text)];

impl Kind {
    fn parameters(self) -> &'static [Parameters] {
        match self {
            Kind::Get => &[EVERYWHERE, GET, TABLE, NO_WATCH],
            Kind::List => &[EVERYWHERE, SELECT, TABLE, NO_WATCH],
            Kind::Watch => &[EVERYWHERE, SELECT, TABLE, WATCH],
            Kind::Create | Kind::Update => &[EVERYWHERE, WRITE],
            Kind::Patch => &[EVERYWHERE, WRITE, FORCE],
            Kind::Delete => &[EVERYWHERE, DELETE],
            Kind::DeleteCollection => &[EVERYWHERE, DELETE, SELECT],
            Kind::Log => &[EVERYWHERE, LOG],
            Kind::Exec => &[EVERYWHERE, TERMINAL, COMMAND],
            Kind::Attach => &[EVERYWHERE, TERMINAL],
            Kind::PortForward => &[EVERYWHERE, PORTS],
            Kind::Proxy => &[PROXY],
            Kind::Discovery | Kind::Version => &[EVERYWHERE],
            Kind::OpenApi => &[EVERYWHERE, HASH],
            Kind::Health => &[EVERYWHERE, HEALTH],
        }
    }

    fn shape(self, name: &str) -> Option<Shape> {
        self.parameters()
            .iter()
            .copied()
            .flatten()
            .find(|(known, _)| *known == name)
            .map(|(_, shape)| *shape)
    }

    fn names(self) -> String {
        let mut names: Vec<&str> = self
            .parameters()
            .iter()
            .copied()
            .flatten()
            .map(|(name, _)| *name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}

/// Decoded pairs in the order they came.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(super) fn decode(raw: Option<&str>) -> Result<Self, Unreadable> {
        let parts = raw.unwrap_or_default().split('&').filter(|part| !part.is_empty());
        parts.map(pair).collect::<Result<_, _>>().map(Pairs)
    }

    /// Whether the first `name` says yes, as `RequestInfo` reads `watch`.
    pub(super) fn says(&self, name: &str) -> bool {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| is_true(value))
    }

    fn first(&self, name: &str) -> String {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    }
}

fn pair(part: &str) -> Result<(String, String), Unreadable> {
    // Go's url.ParseQuery drops a pair with `;` or a broken encoding, other parsers keep it.
    let broken = || {
        Unreadable::bad_request("the query cannot be read; send pairs NAME=VALUE joined by `&`, percent-encoded UTF-8")
    };
    if part.contains([';', '#']) || part.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(broken());
    }
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    let decode = |raw: &str| {
        let bytes = percent_decode(raw.replace('+', " ").as_bytes())?;
        String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
    };
    decode(name).zip(decode(value)).ok_or_else(broken)
}

fn is_true(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// What a query says: canonical pairs, sorted by name, and the options in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) pairs: Vec<(String, String)>,
    pub(super) options: Options,
}

/// What the rows of a Table may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Whatever is asked for: `kubectl get --sort-by=.spec.replicas` needs the objects.
    Objects,
    /// No whole objects, whoever asks: `Object` becomes `Metadata`. Of Secrets.
    Metadata,
}

/// Keeps what `kind` knows, refuses all else by name.
pub(super) fn read(kind: Kind, pairs: &Pairs, rows: Rows) -> Result<Query, Unreadable> {
    let mut kept: Vec<(String, String)> = Vec::with_capacity(pairs.0.len());
    for (at, (name, value)) in pairs.0.iter().enumerate() {
        let shape = kind.shape(name).ok_or_else(|| unknown(kind, name))?;
        if shape != Shape::Many && pairs.0[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(Unreadable::bad_request(format!(
                "the query parameter `{name}` is given more than once; give it once"
            )));
        }
        if let Some(value) = canonical(name, value, shape, rows)? {
            kept.push((name.clone(), value));
        }
    }
    kept.sort_by(|(a, _), (b, _)| a.cmp(b)); // stable: repeated ones keep their order
    let options = options(kind, pairs);
    Ok(Query { pairs: kept, options })
}

fn canonical(name: &str, value: &str, shape: Shape, rows: Rows) -> Result<Option<String>, Unreadable> {
    let bad = |what: &str| {
        Err(Unreadable::bad_request(format!(
            "the query parameter `{name}` must be {what}"
        )))
    };
    Ok(Some(match shape {
        Shape::Text | Shape::Many => value.to_owned(),
        Shape::Bool => is_true(value).to_string(),
        Shape::Int => match value.parse::<i64>() {
            Ok(number) => number.to_string(),
            Err(_) => return bad("a whole number"),
        },
        Shape::DryRun if value == "All" => value.to_owned(),
        Shape::DryRun => return bad("`All`, or be left out"),
        Shape::IncludeObject => match (value, rows) {
            ("Object", Rows::Metadata) => String::from("Metadata"),
            ("Object" | "Metadata" | "None" | "", Rows::Objects | Rows::Metadata) => value.to_owned(),
            (_, Rows::Objects | Rows::Metadata) => return bad("`None`, `Metadata` or `Object`"),
        },
        Shape::Dropped => return Ok(None),
    }))
}

fn unknown(kind: Kind, name: &str) -> Unreadable {
    if name == "access_token" {
        return Unreadable::bad_request(
            "tokens are not read from the query; send the token in the Authorization header",
        );
    }
    Unreadable::bad_request(format!(
        "the query parameter {} is not known for this kind of request; known are: {}",
        super::shown(name),
        kind.names()
    ))
}

fn options(kind: Kind, pairs: &Pairs) -> Options {
    let orphan = pairs
        .0
        .iter()
        .any(|(name, _)| name == "orphanDependents")
        .then(|| pairs.says("orphanDependents"));
    Options {
        dry_run: pairs.first("dryRun") == "All",
        force: pairs.says("force"),
        field_manager: pairs.first("fieldManager"),
        propagation_policy: propagation(pairs.first("propagationPolicy"), orphan),
        grace_period_seconds: pairs.first("gracePeriodSeconds").parse().ok(),
        unread: pairs.says("ignoreStoreReadErrorWithClusterBreakingPotential"),
        label_selector: pairs.first("labelSelector"),
        field_selector: pairs.first("fieldSelector"),
        endless: kind == Kind::Watch || (kind == Kind::Log && pairs.says("follow")),
    }
}

/// The policy, or what the older `orphanDependents` means (`k8s.io/apiserver` `pkg/registry/generic/registry/store.go`, shouldOrphanDependents).
pub(super) fn propagation(policy: String, orphan: Option<bool>) -> String {
    match (policy.is_empty(), orphan) {
        (false, _) | (true, None) => policy,
        (true, Some(true)) => String::from("Orphan"),
        (true, Some(false)) => String::from("Background"),
    }
}

/// Takes the delete options out of `pairs`, for a body speaks instead of them; what selects the collection stays.
pub(super) fn without_delete_options(kind: Kind, pairs: &mut Vec<(String, String)>) {
    let selects = |name: &str| kind == Kind::DeleteCollection && SELECT.iter().any(|(known, _)| *known == name);
    pairs.retain(|(name, _)| selects(name) || !DELETE.iter().any(|(known, _)| known == name));
}

/// `?a=b&c=d`, or nothing.
pub(super) fn write(pairs: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        out.push(if out.is_empty() { '?' } else { '&' });
        percent_encode(&mut out, name);
        out.push('=');
        percent_encode(&mut out, value);
    }
    out
}
