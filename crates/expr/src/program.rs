//! From the source of an expression to something that can be evaluated.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::parser::ParseErrors;

use crate::bindings::Bindings;
use crate::check::{check, collect_fields, depth};
use crate::escape::unescape;
use crate::functions::LIBRARY;
use crate::guard::{Guarded, guard};
use crate::outcome::{EvalFault, Outcome, evaluate};
use crate::shape::Shape;
use crate::{MAX_DEPTH, MAX_SOURCE};

/// The root under which variables are named.
pub(crate) const VARIABLES: &str = "variables";
/// The parser recurses with the source: 2,000 times `+` overflow the 2 MiB of an ordinary thread, and that aborts
/// the process.
const PARSER_STACK: usize = 64 << 20;
/// Levels of the guarded tree that are evaluated on the caller's stack. The interpreter takes 40 KB for each without
/// optimization (measured), so these stay under 1 MiB; deeper trees get a thread with a stack of their own.
const INLINE_DEPTH: usize = 24;
/// Enough for 100 levels and the three more that the guard can make of each.
const DEEP_STACK: usize = 32 << 20;

/// Which names an expression may use at its top level. `now` among the roots is a timestamp.
#[derive(Debug, Clone)]
pub struct Environment {
    name: &'static str,
    roots: BTreeSet<&'static str>,
    shapes: BTreeMap<&'static str, Shape>,
    variables: Option<BTreeMap<String, Shape>>,
    escaped: bool,
}

impl Environment {
    /// `name` says in faults where this is: "a policy", "an agent's match".
    pub fn new(name: &'static str, roots: &[&'static str]) -> Environment {
        Environment {
            name,
            roots: roots.iter().copied().collect(),
            shapes: BTreeMap::new(),
            variables: None,
            escaped: false,
        }
    }

    /// Fields may be written as Kubernetes escapes names that are none in CEL: `claims.kubernetes__dot__io`.
    pub fn with_escaped_fields(mut self) -> Environment {
        self.escaped = true;
        self
    }

    /// What `root` will be bound to. A root of which nothing is said may be anything.
    pub fn with_shape(mut self, root: &'static str, shape: Shape) -> Environment {
        self.shapes.insert(root, shape);
        self
    }

    /// Adds `variables.NAME` for these names. Without this, `variables` among the roots allows any name.
    pub fn with_variables(mut self, names: impl IntoIterator<Item = (String, Shape)>) -> Environment {
        self.roots.insert(VARIABLES);
        self.variables.get_or_insert_default().extend(names);
        self
    }

    pub(crate) fn shape(&self, root: &str) -> Shape {
        self.shapes.get(root).cloned().unwrap_or(Shape::Any)
    }

    pub(crate) fn variable_shape(&self, name: &str) -> Shape {
        let known = self.variables.as_ref().and_then(|variables| variables.get(name));
        known.cloned().unwrap_or(Shape::Any)
    }

    pub(crate) fn name(&self) -> &str {
        self.name
    }

    pub(crate) fn knows(&self, root: &str) -> bool {
        self.roots.contains(root)
    }

    pub(crate) fn has_variable(&self, name: &str) -> bool {
        self.variables.as_ref().is_none_or(|names| names.contains_key(name))
    }

    pub(crate) fn listed(&self) -> String {
        listed(self.roots.iter())
    }

    pub(crate) fn listed_variables(&self) -> String {
        listed(self.variables.iter().flatten().map(|(name, _)| name))
    }
}

fn listed(names: impl Iterator<Item: AsRef<str>>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// The result an expression must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    Bool,
    Text,
    Any,
}

/// What is wrong with a source. Lines and columns (in characters) start at 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct Fault {
    pub message: String,
    pub line: usize,
    pub column: usize,
}

impl Fault {
    fn whole(message: impl Into<String>) -> Vec<Fault> {
        vec![Fault {
            message: message.into(),
            line: 1,
            column: 1,
        }]
    }
}

/// A checked and guarded expression. `Send` and `Sync`; evaluating it changes nothing in it.
#[derive(Debug)]
pub struct Program {
    source: String,
    wants: Wants,
    roots: BTreeSet<String>,
    variables: BTreeSet<String>,
    shape: Shape,
    guarded: Guarded,
    deep: bool,
}

impl Program {
    /// All faults that can be found at once; the parser's hide those of the check.
    pub fn compile(env: &Environment, source: &str, wants: Wants) -> Result<Program, Vec<Fault>> {
        if source.len() > MAX_SOURCE {
            return Err(Fault::whole(format!(
                "{} bytes are too long, an expression may have {MAX_SOURCE}",
                source.len()
            )));
        }
        let compiled = on_stack(PARSER_STACK, || compile(env, source, wants));
        compiled.unwrap_or_else(|fault| Err(Fault::whole(format!("the compiler {fault}"))))
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// The shape its result has as JSON, as far as that is known.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether the expression mentions this root; `variables` counts as one.
    pub fn names(&self, root: &str) -> bool {
        self.roots.contains(root)
    }

    /// All roots the expression mentions.
    pub fn roots(&self) -> &BTreeSet<String> {
        &self.roots
    }

    /// The fields that the expression names of a root: every `ROOT.FIELD` and `ROOT.?FIELD` that it spells, not what it looks up with `[]`.
    pub fn fields_of(&self, root: &str) -> BTreeSet<&str> {
        let mut fields = BTreeSet::new();
        collect_fields(&self.guarded.expression, root, &mut fields);
        fields
    }

    /// The `NAME`s of every `variables.NAME`: evaluate these first and bind them as one object `variables`.
    /// A variable that failed is left out of it, and naming it is a fault then.
    pub fn variables_named(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// Pure: the same bindings give the same result. The budget is this evaluation's own.
    pub fn evaluate(&self, bindings: &Bindings<'_>) -> Result<Outcome, EvalFault> {
        let run = || evaluate(&self.guarded, &self.roots, self.wants, bindings, &self.source);
        let outcome = if self.deep {
            on_stack(DEEP_STACK, run)
        } else {
            caught(run)
        };
        outcome.unwrap_or_else(|fault| Err(EvalFault::Failed(format!("the evaluator {fault}"))))
    }
}

/// A stack overflow aborts the process and cannot be caught, so what recurses deep runs where there is room.
fn on_stack<T: Send>(bytes: usize, run: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("expression".into()).stack_size(bytes);
        let thread = thread
            .spawn_scoped(scope, || caught(run))
            .map_err(|fault| format!("got no thread: {fault}"))?;
        thread.join().unwrap_or_else(|_| Err(FAILED.into()))
    })
}

fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| FAILED.into())
}

const FAILED: &str = "failed on this expression";

fn compile(env: &Environment, source: &str, wants: Wants) -> Result<Program, Vec<Fault>> {
    let parsed = LIBRARY.compile(source).map_err(faults)?;
    let expression = match env.escaped {
        true => unescape(parsed.expression().clone()),
        false => parsed.expression().clone(),
    };
    let levels = depth(&expression);
    if levels > MAX_DEPTH {
        return Err(Fault::whole(format!(
            "nests {levels} levels deep, an expression may have {MAX_DEPTH}"
        )));
    }
    let (named, known) = check(env, &expression, parsed.source_info(), wants)?;
    let guarded = guard(expression);
    Ok(Program {
        source: source.to_owned(),
        wants,
        roots: named.roots,
        variables: named.variables,
        shape: known.shape(),
        deep: depth(&guarded.expression) > INLINE_DEPTH,
        guarded,
    })
}

fn faults(errors: ParseErrors) -> Vec<Fault> {
    let at = |n: isize| usize::try_from(n).unwrap_or(1).max(1);
    let faults: Vec<_> = errors
        .errors
        .into_iter()
        .map(|e| Fault {
            message: e.msg,
            line: at(e.pos.0),
            column: at(e.pos.1),
        })
        .collect();
    if faults.is_empty() {
        Fault::whole("this is no expression")
    } else {
        faults
    }
}
