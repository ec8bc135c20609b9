//! Where expressions stand in the law, what they may name there, and how they end. The one file of the law that speaks to `mantlet_expr`.
//!
//! Deliberately does not: say what an end means for a request; that is recognition's and the policies' business.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mantlet_expr::{Bindings, Environment, EvalFault, Outcome, Program, Wants};
use serde_json::{Map, Value, json};

use crate::action::{Action, ResourceRef};
use crate::identity::{Caller, Verified};
use crate::time::Timestamp;

use super::matching::Named;

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
    /// It depends on the object, which is not known yet.
    Open,
    Erred(String),
}

/// The JSON that expressions about one identity read.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    user: Value,
    claims: &'a Value,
}

/// The JSON that expressions about one request read, but for the object.
#[derive(Debug)]
pub(super) struct Documents<'c> {
    request: Value,
    agent: Value,
    identity: Identity<'c>,
    now: SystemTime,
}

/// What the request would store, as expressions see it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Object<'a> {
    Known(&'a Value),
    Unknown,
}

/// One request in front of one policy: documents, object, and the policy's variables as far as they can be known.
#[derive(Debug)]
pub(super) struct Scene<'a>(Bindings<'a>);

impl Expression {
    /// All faults, each with line and column within the expression.
    pub(super) fn compile(source: &str, ground: Ground, variables: &Variables) -> Result<Self, Vec<String>> {
        let program = Program::compile(&ground.environment(variables), source, ground.wants());
        program
            .map(Self)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    pub(super) fn truth(&self, scene: &Scene<'_>) -> Truth {
        match self.0.evaluate(&scene.0) {
            Ok(Outcome::Bool(true)) => Truth::True,
            Ok(Outcome::Bool(false)) => Truth::False,
            Ok(Outcome::Text(_) | Outcome::Other(_)) => Truth::Erred(String::from("the result is no bool")),
            Err(EvalFault::Absent(root)) if root == "object" || root == "variables" => Truth::Open,
            Err(
                fault @ (EvalFault::Absent(_)
                | EvalFault::OverBudget
                | EvalFault::Failed(_)
                | EvalFault::WrongType { .. }),
            ) => Truth::Erred(fault.to_string()),
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
            Ground::Rule | Ground::Variable => {
                Environment::new("a policy", &["request", "user", "claims", "agent", "object", "now"])
                    .with_variables(variables.0.iter().map(|(name, _)| name.clone()))
            }
        }
    }

    fn wants(self) -> Wants {
        match self {
            Ground::Match | Ground::Rule => Wants::Bool,
            Ground::SessionKey | Ground::Variable => Wants::Any,
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

    pub(super) fn add(&mut self, name: &str, expression: Expression) {
        self.0.push((name.to_owned(), expression));
    }

    /// Their values. One that errs is left out, so that naming it is an error; `None` if one depends on an object that is not known.
    pub(super) fn values(&self, documents: &Documents<'_>, object: Object<'_>) -> Option<Value> {
        let mut known = Value::Object(Map::new());
        for (name, expression) in &self.0 {
            let outcome = expression.0.evaluate(&documents.bindings(object, Some(&known)));
            match (outcome, known.as_object_mut()) {
                (Ok(value), Some(fields)) => {
                    fields.insert(name.clone(), value.into_json());
                }
                (Err(EvalFault::Absent(root)), _) if root == "object" => return None,
                (Ok(_) | Err(_), _) => {}
            }
        }
        Some(known)
    }
}

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

    pub(super) fn scene<'a>(&'a self, object: Object<'a>, variables: Option<&'a Value>) -> Scene<'a> {
        Scene(self.bindings(object, variables))
    }

    fn bindings<'a>(&'a self, object: Object<'a>, variables: Option<&'a Value>) -> Bindings<'a> {
        let mut bindings = Bindings::new(Some(self.now));
        bindings.bind("request", &self.request).bind("agent", &self.agent);
        bindings
            .bind("user", &self.identity.user)
            .bind("claims", self.identity.claims);
        match object {
            Object::Known(object) => {
                bindings.bind("object", object);
            }
            Object::Unknown => {}
        }
        if let Some(variables) = variables {
            bindings.bind("variables", variables);
        }
        bindings
    }
}

/// `agent` is null for people.
fn agent(caller: &Caller) -> Value {
    caller.agent().map_or(Value::Null, |agent| {
        let account = agent.service_account();
        json!({ "name": agent.name(), "serviceAccount": { "namespace": account.namespace, "name": account.name } })
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
    })
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
