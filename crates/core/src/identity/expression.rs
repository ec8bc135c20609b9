//! Expressions of the AuthenticationConfiguration: over `claims` (what a token says) or over `user` (what the mappings made of it).
//! The one file of identity that speaks to `mantlet_expr`.
//!
//! As upstream evaluates them (apiserver `pkg/authentication/cel`, `plugin/pkg/authenticator/token/oidc/oidc.go`): every number of a claim is a
//! double, fields may be written escaped, an empty text is none. Deliberately not here: what an outcome means for somebody.

use std::collections::BTreeSet;
use std::sync::Arc;

use mantlet_expr::{Bindings, Environment, EvalFault, Outcome, Program, Wants};
use serde_json::{Map, Number, Value};

/// What an expression is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    Claims,
    User,
}

/// Fields of `user` (apiserver `pkg/authentication/cel/compile.go`, buildUserType).
const USER_FIELDS: [&str; 4] = ["username", "uid", "groups", "extra"];

/// A checked expression; two are alike if they were written alike.
#[derive(Debug, Clone)]
pub(crate) struct Expression(Arc<Program>);

/// Why an expression gave nothing: its own fault, or the type of its result. Names no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unclear(pub(super) String);

impl Expression {
    /// All faults, each with line and column within the expression.
    pub(super) fn compile(source: &str, ground: Ground, wants: Wants) -> Result<Self, Vec<String>> {
        let program = Program::compile(&ground.environment(), source, wants)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let unknown: Vec<_> = program
            .fields_of("user")
            .into_iter()
            .filter(|field| ground == Ground::User && !USER_FIELDS.contains(field))
            .map(|field| format!("`user` has no field `{field}`, it has `username`, `uid`, `groups` and `extra`"))
            .collect();
        if unknown.is_empty() {
            Ok(Self(Arc::new(program)))
        } else {
            Err(unknown)
        }
    }

    pub(super) fn source(&self) -> &str {
        self.0.source()
    }

    /// The claims that it names as `claims.NAME`.
    pub(super) fn claims(&self) -> BTreeSet<&str> {
        self.0.fields_of("claims")
    }

    pub(super) fn holds(&self, subject: &Subject) -> Result<bool, Unclear> {
        match self.evaluate(subject)? {
            Outcome::Bool(holds) => Ok(holds),
            Outcome::Text(_) | Outcome::Other(_) => Err(Unclear("the result is no bool".into())),
        }
    }

    pub(super) fn text(&self, subject: &Subject) -> Result<String, Unclear> {
        match self.evaluate(subject)? {
            Outcome::Text(text) => Ok(text),
            Outcome::Bool(_) | Outcome::Other(_) => Err(Unclear("the result is no string".into())),
        }
    }

    /// Upstream's convertCELValueToStringList: one text or a list of texts; empty texts and null are none.
    pub(super) fn texts(&self, subject: &Subject) -> Result<Vec<String>, Unclear> {
        let unclear = || Unclear("the result is neither a string nor a list of strings".into());
        let list = match self.evaluate(subject)? {
            Outcome::Text(text) => vec![Value::String(text)],
            Outcome::Other(Value::Array(list)) => list,
            Outcome::Other(Value::Null) => Vec::new(),
            Outcome::Bool(_) | Outcome::Other(_) => return Err(unclear()),
        };
        let texts = list.into_iter().map(|value| match value {
            Value::String(text) => Ok(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(unclear()),
        });
        let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
        Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }

    fn evaluate(&self, subject: &Subject) -> Result<Outcome, Unclear> {
        let mut bindings = Bindings::new(None);
        bindings.bind(subject.root, &subject.value);
        self.0
            .evaluate(&bindings)
            .map_err(|fault: EvalFault| Unclear(fault.to_string()))
    }
}

impl Ground {
    fn environment(self) -> Environment {
        match self {
            Ground::Claims => Environment::new("an expression over claims", &["claims"]),
            Ground::User => Environment::new("a rule about the user", &["user"]),
        }
        .with_escaped_fields()
    }
}

/// What expressions are evaluated on.
#[derive(Debug)]
pub(super) struct Subject {
    root: &'static str,
    value: Value,
}

impl Subject {
    pub(super) fn claims(claims: &Map<String, Value>) -> Self {
        let claims = claims.iter().map(|(name, value)| (name.clone(), doubled(value)));
        Self {
            root: "claims",
            value: Value::Object(claims.collect()),
        }
    }

    pub(super) fn user(user: Value) -> Self {
        Self {
            root: "user",
            value: user,
        }
    }
}

/// Go decodes the number of a claim as float64: `claims.a / claims.b` divides as such, and whole numbers of more than 53 bits are rounded.
fn doubled(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64().and_then(Number::from_f64) {
            Some(double) => Value::Number(double),
            None => Value::Number(number.clone()),
        },
        Value::Array(items) => items.iter().map(doubled).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), doubled(value)));
            Value::Object(fields.collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source() && self.0.wants() == other.0.wants()
    }
}

impl Eq for Expression {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What k8s.io/apiserver v0.35.4 (`pkg/authentication/cel`) makes of each expression over the claims of the first line.
    const UPSTREAM: &str = include_str!("../../vectors/authentication-cel.jsonl");

    #[test]
    fn expressions_come_to_what_the_api_server_makes_of_them() {
        let mut lines = UPSTREAM
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let claims = lines.next().unwrap()["claims"].as_object().unwrap().clone();
        let subject = Subject::claims(&claims);
        let mut compared = 0;
        for line in lines {
            let source = line["expression"].as_str().unwrap();
            let expression = Expression::compile(source, Ground::Claims, Wants::Any).unwrap();
            let outcome = expression.evaluate(&subject).map(Outcome::into_json);
            match (line.get("is"), outcome) {
                (Some(expected), Ok(outcome)) => assert_eq!(outcome, *expected, "{source}"),
                (None, Err(_)) => {}
                (expected, outcome) => panic!("{source}: {outcome:?}, not {expected:?}"),
            }
            compared += 1;
        }
        assert_eq!(compared, 41);
    }
}
