//! One evaluation, and how it ends.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use cel::common::types::{CelBool, CelString, CelTimestamp};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, ExecutionError, Value as CelValue};
use serde_json::Value;

use crate::bindings::{Bindings, Bound};
use crate::functions::LIBRARY;
use crate::guard::{Guarded, METER};
use crate::json::{full_weight, to_json};
use crate::meter::Meter;
use crate::program::Wants;

/// What an expression came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Bool(bool),
    Text(String),
    /// Any other value that JSON has a form for.
    Other(Value),
}

impl Outcome {
    pub fn into_json(self) -> Value {
        match self {
            Outcome::Bool(b) => Value::Bool(b),
            Outcome::Text(text) => Value::String(text),
            Outcome::Other(value) => value,
        }
    }
}

/// Why an expression has no outcome. None of these is ever a pass.
/// The texts name types, fields and functions, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalFault {
    /// The result depends on a root that is not bound: look it up, or act on its absence.
    #[error("`{0}` is not known for this request")]
    Absent(String),
    #[error("the expression costs more than it may")]
    OverBudget,
    #[error("{0}")]
    Failed(String),
    #[error("the result must be {wanted}, it is {got}")]
    WrongType { wanted: &'static str, got: String },
}

pub(crate) fn evaluate(
    guarded: &Guarded,
    roots: &BTreeSet<String>,
    wants: Wants,
    bindings: &Bindings<'_>,
    source: &str,
) -> Result<Outcome, EvalFault> {
    let meter = Meter::new();
    let absent = Absent::among(roots, bindings);
    let mut context = Context::with_env(Arc::clone(&LIBRARY));
    context.add_variable_as_val(METER, Box::new(meter.clone()));
    for (name, compiled) in &guarded.patterns {
        context.add_variable_as_val(name, Box::new(compiled.clone()));
    }
    for root in roots {
        match bindings.root(root) {
            Bound::Value(value) => context.add_variable_as_val(root, value.clone_as_boxed()),
            Bound::Now(now) => context.add_variable_as_val(root, Box::new(CelTimestamp::from(now))),
            Bound::TooDeep => return Err(EvalFault::Failed(format!("`{root}` nests too deep"))),
            Bound::Absent => context.set_variable_resolver(&absent),
        }
    }
    let result = CelValue::resolve_val(&guarded.expression, &context);
    // The budget comes first: `||` may have swallowed that it was spent.
    let result = result.and_then(|value| meter.weight(full_weight(value.as_ref())).map(|()| value));
    match result {
        _ if meter.is_spent() => Err(EvalFault::OverBudget),
        Ok(value) => outcome(value, wants),
        Err(fault) => Err(absent
            .found()
            .map_or_else(|| EvalFault::Failed(told(&fault, source)), EvalFault::Absent)),
    }
}

fn outcome(value: CowVal<'_, '_>, wants: Wants) -> Result<Outcome, EvalFault> {
    let wrong = |wanted| EvalFault::WrongType {
        wanted,
        got: value.get_type().name().to_owned(),
    };
    let bool = value.downcast_ref::<CelBool>().map(|b| *b.inner());
    let text = value.downcast_ref::<CelString<'_>>().map(|s| s.inner().to_owned());
    match (wants, bool, text) {
        (Wants::Bool | Wants::Any, Some(b), _) => Ok(Outcome::Bool(b)),
        (Wants::Text | Wants::Any, _, Some(text)) => Ok(Outcome::Text(text)),
        (Wants::Bool, None, _) => Err(wrong("bool")),
        (Wants::Text, _, None) => Err(wrong("string")),
        (Wants::Any, None, None) => {
            let json = to_json(value.as_ref());
            json.map(Outcome::Other).map_err(|got| EvalFault::WrongType {
                wanted: "a JSON value",
                got,
            })
        }
    }
}

/// Remembers which unbound root an evaluation asked for. That may well be none: `request.verb == 'get' || object.x`.
#[derive(Debug)]
struct Absent<'p> {
    missing: BTreeSet<&'p str>,
    asked: OnceLock<String>,
}

impl<'p> Absent<'p> {
    fn among(roots: &'p BTreeSet<String>, bindings: &Bindings<'_>) -> Absent<'p> {
        let absent = |root: &&str| matches!(bindings.root(root), Bound::Absent);
        Absent {
            missing: roots.iter().map(String::as_str).filter(absent).collect(),
            asked: OnceLock::new(),
        }
    }

    fn found(&self) -> Option<String> {
        self.asked.get().cloned()
    }
}

impl VariableResolver for Absent<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if self.missing.contains(variable) {
            self.asked.get_or_init(|| variable.to_owned());
        }
        None
    }
}

/// The fault without the values that the interpreter puts into most of its own texts.
fn told(fault: &ExecutionError, source: &str) -> String {
    match fault {
        // Ours: see `functions::refused`.
        ExecutionError::InternalError(why) => why.clone(),
        // A key that was computed may be a secret; one that the source spells is none.
        ExecutionError::NoSuchKey(key) if source.contains(key.as_str()) => format!("no such key: `{key}`"),
        ExecutionError::NoSuchKey(_) => "no such key".into(),
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not known"),
        ExecutionError::ValuesNotComparable(a, b) => format!("cannot compare {} with {}", a.type_of(), b.type_of()),
        ExecutionError::UnsupportedBinaryOperator(op, a, b) => {
            format!("cannot {op} {} and {}", a.type_of(), b.type_of())
        }
        ExecutionError::Overflow(op, ..) => format!("`{op}` overflows"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".into(),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".into(),
        ExecutionError::FunctionError { function, .. } => format!("`{function}` failed on its arguments"),
        ExecutionError::DuplicateKey(_) => "a map literal repeats a key".into(),
        ExecutionError::UnsupportedKeyType(value) => format!("{} is no key", value.type_of()),
        _ => "the expression failed on these values".into(),
    }
}
