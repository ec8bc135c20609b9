//! Expressions: CEL, fenced in. The only crate that names `cel`.
//!
//! In: the source of an expression, the roots it may name, JSON values bound to those roots.
//! Out: a [`Program`], checked once when policies are loaded, and per request its [`Outcome`].
//! Refuses: at load, what cannot be right (unknown roots, variables and functions, types that never fit,
//! sources over 4 KiB, trees deeper than 100); at run time, what costs too much ([`EvalFault::OverBudget`]).
//! Deliberately not here: what an outcome or a fault means for a request. A caller must never take a fault for a pass.
//!
//! `FUNCTIONS` and `library` offer what Kubernetes' own policies have, under test against Kubernetes' own code (`cases/kubernetes.txt`).
//!
//! How it is fenced: `escape` spells fields out where a file may escape them, `check` reads the parsed tree, `guard` rewrites it so that everything whose cost grows
//! with the data first pays into a `meter`, `functions` replaces the library functions that cannot be paid for
//! beforehand, `json` binds JSON without copying it.

mod program;
mod bindings;
mod escape;
mod check;
mod types;
mod shape;
mod functions;
mod library;
mod pattern;
mod macros;
mod guard;
mod meter;
mod json;
mod outcome;

use std::collections::BTreeSet;

pub use bindings::Bindings;
pub use outcome::{EvalFault, Outcome};
pub use program::{Environment, Fault, Program, Wants};
pub use shape::{Fields, Shape};

/// The names of all functions and macros that an expression may use, for whoever describes them.
pub fn offered() -> BTreeSet<&'static str> {
    let functions = functions::FUNCTIONS.iter().map(|f| f.name);
    functions
        .chain(check::MACROS.iter().copied())
        .filter(|name| !name.starts_with('@'))
        .collect()
}

/// Bytes an expression may have.
pub const MAX_SOURCE: usize = 4096;
/// Levels the tree of an expression may have, macros expanded.
pub const MAX_DEPTH: usize = 100;
/// Elements that the comprehensions of one evaluation may visit.
pub const STEPS: u64 = 10_000;
/// Bytes (every value counts as 8 more) that one evaluation may compare, copy, search or make.
pub const WEIGHT: u64 = 32 << 20;
/// Levels a bound JSON value may have; `serde_json` parses no deeper ones from text either.
pub const MAX_NESTING: usize = 128;
