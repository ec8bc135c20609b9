//! Where expressions stand in the law, what they may name there, and how they end. The one file of the law that speaks to `mantlet_expr`.
//!
//! Deliberately does not: say what an end means for a request; that is recognition's and the policies' business.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mantlet_expr::{Bindings, Environment, EvalFault, Outcome, Program, Wants};
use serde_json::{Map, Value, json};

use crate::action::{Action, ResourceRef, Verb};
use crate::identity::{Caller, Verified};
use crate::time::Timestamp;

use super::look_ups::LookupKind;
use super::matching::Named;
use super::sight::View;

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// `match` of an agent: a bool over `user` and `claims`.
    Match,
    /// `session.key` of an agent: a text or a number over `user` and `claims`.
    SessionKey,
    /// A condition or validation of a policy: a bool.
    Rule,
    /// A variable of a policy: anything.
    Variable,
    /// `messageExpression` of a policy: a text.
    Message,
    /// `valueExpression` of an audit annotation: a text or null.
    Annotation,
}

#[derive(Debug)]
pub(super) struct Expression(Program);

/// The variables of one policy, in the order in which they may name each other.
#[derive(Debug)]
pub(super) struct Variables(Vec<(String, Expression)>);

/// How a rule's expression ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    /// It depends on something that is not known yet.
    Open(LookupKind),
    Erred(String),
}

/// How an expression that makes a text ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Said(String),
    Null,
    Open(LookupKind),
    Erred(String),
}

/// What the gateway may have read on its own account: a text made of it may say what the caller may not read.
const READ_FOR_THE_LAW: [&str; 7] = [
    "oldObject",
    "target",
    "container",
    "serviceAccount",
    "namespaceObject",
    "dependents",
    "members",
];

/// The JSON that expressions about one identity read.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    user: Value,
    claims: &'a Value,
}

/// The JSON that expressions about one request read, but for what has to be looked up.
#[derive(Debug)]
pub(super) struct Documents<'c> {
    request: Value,
    agent: Value,
    identity: Identity<'c>,
    now: SystemTime,
}

/// The values of a policy's variables, as far as they are known.
#[derive(Debug)]
pub(super) struct Values {
    /// One that errs is left out, so that naming it is an error.
    known: Value,
    /// What those that are not known yet wait for.
    open: BTreeMap<String, LookupKind>,
}

/// One request in front of one policy: documents, what was looked up, and the policy's variables as far as they can be known.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    bindings: Bindings<'a>,
    open: &'a BTreeMap<String, LookupKind>,
}

impl Expression {
    /// All faults, each with line and column within the expression.
    pub(super) fn compile(source: &str, ground: Ground, variables: &Variables) -> Result<Self, Vec<String>> {
        let program = Program::compile(&ground.environment(variables), source, ground.wants());
        program
            .map(Self)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    pub(super) fn truth(&self, scene: &Scene<'_>) -> Truth {
        match self.0.evaluate(&scene.bindings) {
            Ok(Outcome::Bool(true)) => Truth::True,
            Ok(Outcome::Bool(false)) => Truth::False,
            Ok(Outcome::Text(_) | Outcome::Other(_)) => Truth::Erred(String::from("the result is no bool")),
            Err(fault) => match scene.waits_for(&self.0, &fault) {
                Some(kind) => Truth::Open(kind),
                None => Truth::Erred(fault.to_string()),
            },
        }
    }

    /// The text that it makes.
    pub(super) fn text(&self, scene: &Scene<'_>) -> Text {
        match self.0.evaluate(&scene.bindings) {
            Ok(Outcome::Text(text)) => Text::Said(text),
            Ok(Outcome::Other(Value::Null)) => Text::Null,
            Ok(Outcome::Bool(_) | Outcome::Other(_)) => Text::Erred(String::from("the result is no text")),
            Err(fault) => match scene.waits_for(&self.0, &fault) {
                Some(kind) => Text::Open(kind),
                None => Text::Erred(fault.to_string()),
            },
        }
    }

    /// Whether it reads, itself or by a variable, what the caller perhaps may not.
    pub(super) fn reads_for_the_law(&self, variables: &Variables) -> bool {
        READ_FOR_THE_LAW.iter().any(|root| self.0.names(root))
            || self
                .0
                .variables_named()
                .iter()
                .any(|name| variables.reads_for_the_law(name))
    }

    pub(super) fn source(&self) -> &str {
        self.0.source()
    }

    /// What it says of every request alike; none if it depends on one, or fails.
    pub(super) fn constant(&self) -> Option<bool> {
        let depends = !self.0.roots().is_empty();
        match (!depends).then(|| self.0.evaluate(&Bindings::new(None)))? {
            Ok(Outcome::Bool(constant)) => Some(constant),
            Ok(Outcome::Text(_) | Outcome::Other(_)) | Err(_) => None,
        }
    }

    /// Whether the identity is meant.
    pub(super) fn recognizes(&self, identity: &Identity<'_>) -> Result<bool, String> {
        match self
            .0
            .evaluate(&identity.bindings())
            .map_err(|fault| fault.to_string())?
        {
            Outcome::Bool(meant) => Ok(meant),
            Outcome::Text(_) | Outcome::Other(_) => Err(String::from("the result is no bool")),
        }
    }

    /// The text or number that names a session.
    pub(super) fn key(&self, identity: &Identity<'_>) -> Result<String, String> {
        match self
            .0
            .evaluate(&identity.bindings())
            .map_err(|fault| fault.to_string())?
        {
            Outcome::Text(text) => Ok(text),
            Outcome::Other(Value::Number(number)) => Ok(number.to_string()),
            Outcome::Bool(_) | Outcome::Other(_) => Err(String::from("the result is neither a text nor a number")),
        }
    }
}

impl Ground {
    fn environment(self, variables: &Variables) -> Environment {
        match self {
            Ground::Match => Environment::new("an agent's match", &["user", "claims"]),
            Ground::SessionKey => Environment::new("an agent's session key", &["user", "claims"]),
            Ground::Rule | Ground::Variable | Ground::Message | Ground::Annotation => {
                Environment::new("a policy", &ROOTS).with_variables(variables.0.iter().map(|(name, _)| name.clone()))
            }
        }
    }

    fn wants(self) -> Wants {
        match self {
            Ground::Match | Ground::Rule => Wants::Bool,
            Ground::SessionKey | Ground::Variable | Ground::Annotation => Wants::Any,
            Ground::Message => Wants::Text,
        }
    }
}

impl Variables {
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn reads_for_the_law(&self, name: &str) -> bool {
        let named = self.0.iter().find(|(known, _)| known == name);
        named.is_some_and(|(_, expression)| expression.reads_for_the_law(self))
    }

    pub(super) fn add(&mut self, name: &str, expression: Expression) {
        self.0.push((name.to_owned(), expression));
    }

    /// Their values, each of which may rest on those before it.
    pub(super) fn values(&self, documents: &Documents<'_>, view: &View<'_>) -> Values {
        let mut values = Values::default();
        for (name, expression) in &self.0 {
            let (outcome, waits) = {
                let scene = documents.scene(view, &values);
                let outcome = expression.0.evaluate(&scene.bindings);
                let waits = outcome
                    .as_ref()
                    .err()
                    .and_then(|fault| scene.waits_for(&expression.0, fault));
                (outcome, waits)
            };
            match (outcome, waits, values.known.as_object_mut()) {
                (Ok(value), _, Some(fields)) => {
                    fields.insert(name.clone(), value.into_json());
                }
                (Err(_), Some(kind), _) => {
                    values.open.insert(name.clone(), kind);
                }
                (Ok(_) | Err(_), _, _) => {}
            }
        }
        values
    }
}

impl Default for Values {
    fn default() -> Self {
        Self {
            known: Value::Object(Map::new()),
            open: BTreeMap::new(),
        }
    }
}

impl Scene<'_> {
    /// What has to be known before the program can end otherwise than by this fault.
    fn waits_for(&self, program: &Program, fault: &EvalFault) -> Option<LookupKind> {
        let variable = || {
            program
                .variables_named()
                .iter()
                .find_map(|name| self.open.get(name))
                .copied()
        };
        match fault {
            EvalFault::Absent(root) => looked_up(root),
            // A variable that is open is not there: naming it fails, and nothing else can be made of that (`has()` is refused at load).
            EvalFault::Failed(_) => variable(),
            EvalFault::OverBudget | EvalFault::WrongType { .. } => None,
        }
    }
}

/// Everything that a policy's expressions may name.
const ROOTS: [&str; 13] = [
    "request",
    "user",
    "claims",
    "agent",
    "object",
    "oldObject",
    "target",
    "container",
    "serviceAccount",
    "namespaceObject",
    "dependents",
    "members",
    "now",
];

/// The look-up that a root comes by.
fn looked_up(root: &str) -> Option<LookupKind> {
    // Exec enters a container of the target.
    let root = if root == CONTAINER { "target" } else { root };
    LookupKind::ALL.into_iter().find(|kind| kind.root() == root)
}

const CONTAINER: &str = "container";

impl<'a> Identity<'a> {
    pub(super) fn of(verified: &'a Verified) -> Self {
        let user = json!({
            "username": verified.username(),
            "groups": verified.groups(),
            "uid": verified.uid(),
            "extra": verified.extra(),
            "issuer": verified.issuer(),
            "subject": verified.subject(),
        });
        Self {
            user,
            claims: verified.claims(),
        }
    }

    /// One that nobody has shown a token of.
    pub(super) fn supposed(user: Value, claims: &'a Value) -> Self {
        Self { user, claims }
    }

    fn bindings(&self) -> Bindings<'_> {
        let mut bindings = Bindings::new(None);
        bindings.bind("user", &self.user).bind("claims", self.claims);
        bindings
    }
}

impl<'c> Documents<'c> {
    pub(super) fn of(
        caller: &'c Caller,
        action: &Action,
        resource: &ResourceRef,
        name: Named<'_>,
        now: Timestamp,
    ) -> Self {
        Self {
            request: request(action, resource, name),
            agent: agent(caller),
            identity: Identity::of(caller.verified()),
            now: clock_time(now),
        }
    }

    pub(super) fn scene<'a>(&'a self, view: &'a View<'_>, values: &'a Values) -> Scene<'a> {
        let mut bindings = self.bindings();
        for kind in LookupKind::ALL {
            if let Some(value) = view.value(kind) {
                bindings.bind(kind.root(), value);
            }
        }
        if let Some(container) = view.container() {
            bindings.bind(CONTAINER, container);
        }
        bindings.bind("variables", &values.known);
        Scene {
            bindings,
            open: &values.open,
        }
    }

    fn bindings(&self) -> Bindings<'_> {
        let mut bindings = Bindings::new(Some(self.now));
        bindings.bind("request", &self.request).bind("agent", &self.agent);
        bindings
            .bind("user", &self.identity.user)
            .bind("claims", self.identity.claims);
        bindings
    }
}

/// `agent` is null for people.
fn agent(caller: &Caller) -> Value {
    caller.agent().map_or(Value::Null, |agent| {
        let account = agent.service_account();
        json!({ "name": agent.name(), "labels": agent.labels(), "serviceAccount": { "namespace": account.namespace, "name": account.name } })
    })
}

fn request(action: &Action, resource: &ResourceRef, name: Named<'_>) -> Value {
    let options = action.options();
    let mut written = BTreeMap::from([("force", json!(options.force))]);
    for (key, text) in [
        ("fieldManager", &options.field_manager),
        ("propagationPolicy", &options.propagation_policy),
        ("labelSelector", &options.label_selector),
        ("fieldSelector", &options.field_selector),
    ] {
        if !text.is_empty() {
            written.insert(key, json!(text));
        }
    }
    if let Some(seconds) = options.grace_period_seconds {
        written.insert("gracePeriodSeconds", json!(seconds));
    }
    written.extend(terminal(action));
    // As it is, in full and in order: masked, a word of it could hide from a rule. Texts made of it pass the masker.
    let words = action.query().iter().filter(|(name, _)| name == "command");
    let command: Vec<_> = words.map(|(_, word)| word).collect();
    json!({
        "verb": action.verb().as_str(),
        "apiGroup": resource.group,
        "version": resource.version,
        "resource": resource.resource,
        "subresource": resource.subresource,
        "namespace": resource.namespace,
        "name": match name { Named::Exactly(name) => name, Named::Open => "" },
        "dryRun": options.dry_run,
        "options": written,
        "command": command,
        "path": action.tail().iter().map(|part| format!("/{part}")).collect::<String>(),
    })
}

/// What exec and attach say of themselves.
fn terminal(action: &Action) -> Vec<(&'static str, Value)> {
    let said = |name: &str| {
        action
            .query()
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    match action.verb() {
        Verb::Exec | Verb::Attach => {
            let mut options: Vec<_> = ["stdin", "stdout", "stderr", "tty"]
                .map(|name| (name, json!(said(name) == Some("true"))))
                .into();
            options.extend(said("container").map(|name| ("container", json!(name))));
            options
        }
        Verb::PortForward => {
            let ports = action.query().iter().filter(|(key, _)| key == "ports");
            vec![("ports", json!(ports.map(|(_, port)| port).collect::<Vec<_>>()))]
        }
        Verb::Get
        | Verb::List
        | Verb::Watch
        | Verb::Create
        | Verb::Update
        | Verb::Patch
        | Verb::Delete
        | Verb::DeleteCollection
        | Verb::Proxy => Vec::new(),
    }
}

fn clock_time(now: Timestamp) -> SystemTime {
    let span = Duration::from_micros(now.micros().unsigned_abs());
    let shifted = if now.micros() < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(span)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(span)
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The JSON of a request of which only some is known: a question about all requests that are like that.
#[derive(Debug)]
pub(super) struct Supposition<'c> {
    request: Value,
    agent: Value,
    identity: Identity<'c>,
    now: SystemTime,
}

impl<'c> Supposition<'c> {
    /// `request` holds the fields that are known, and no others.
    pub(super) fn of(caller: &'c Caller, request: Value, now: Timestamp) -> Self {
        Self {
            request,
            agent: agent(caller),
            identity: Identity::of(caller.verified()),
            now: clock_time(now),
        }
    }
}

impl Expression {
    /// What it says of all of these requests alike; none if it rests on more than is known of them, or fails.
    pub(super) fn settled(&self, variables: &Variables, supposition: &Supposition<'_>) -> Option<bool> {
        if !self.rests_on(variables, supposition) {
            return None;
        }
        let mut known = Value::Object(Map::new());
        for (name, expression) in variables.0.iter().filter(|(_, e)| e.rests_on(variables, supposition)) {
            let value = expression.0.evaluate(&supposition.bindings(&known));
            if let (Ok(value), Some(fields)) = (value, known.as_object_mut()) {
                fields.insert(name.clone(), value.into_json());
            }
        }
        match self.0.evaluate(&supposition.bindings(&known)) {
            Ok(Outcome::Bool(settled)) => Some(settled),
            Ok(Outcome::Text(_) | Outcome::Other(_)) | Err(_) => None,
        }
    }

    fn rests_on(&self, variables: &Variables, supposition: &Supposition<'_>) -> bool {
        let known = |root: &String| match root.as_str() {
            "user" | "claims" | "agent" | "now" | "variables" => true,
            "request" => {
                let fields = self.0.fields_of("request");
                !fields.is_empty() && fields.iter().all(|field| supposition.request.get(field).is_some())
            }
            _ => false,
        };
        let variable = |name: &String| {
            let named = variables.0.iter().find(|(known, _)| known == name);
            named.is_some_and(|(_, expression)| expression.rests_on(variables, supposition))
        };
        self.0.roots().iter().all(known) && self.0.variables_named().iter().all(variable)
    }
}

impl Supposition<'_> {
    fn bindings<'a>(&'a self, variables: &'a Value) -> Bindings<'a> {
        let mut bindings = Bindings::new(Some(self.now));
        bindings.bind("request", &self.request).bind("agent", &self.agent);
        bindings
            .bind("user", &self.identity.user)
            .bind("claims", self.identity.claims);
        bindings.bind("variables", variables);
        bindings
    }
}
