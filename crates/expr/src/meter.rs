//! The budget of one evaluation.
//!
//! It is a value that the rewritten expression passes to the functions that charge it (`@meter`), so nothing is
//! kept in a thread and two evaluations never share one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use cel::ExecutionError;
use cel::common::types::Type;
use cel::common::value::{StaticVal, Val};

use crate::{STEPS, WEIGHT};

static TYPE: Type = Type::new_unspecified_type("meter");

#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<Left>);

#[derive(Debug)]
struct Left {
    steps: AtomicU64,
    weight: AtomicU64,
    // Sticky: CEL's `||`, `&&`, `all` and `exists` swallow errors, and a spent budget must not be swallowed.
    spent: AtomicBool,
}

impl Meter {
    pub(crate) fn new() -> Meter {
        Meter::with(STEPS, WEIGHT)
    }

    pub(crate) fn with(steps: u64, weight: u64) -> Meter {
        Meter(Arc::new(Left {
            steps: steps.into(),
            weight: weight.into(),
            spent: false.into(),
        }))
    }

    /// Pays for `count` elements before any of them is visited.
    pub(crate) fn steps(&self, count: u64) -> Result<(), ExecutionError> {
        self.take(&self.0.steps, count)
    }

    pub(crate) fn weight(&self, bytes: u64) -> Result<(), ExecutionError> {
        self.take(&self.0.weight, bytes)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0.spent.load(Relaxed)
    }

    fn take(&self, from: &AtomicU64, amount: u64) -> Result<(), ExecutionError> {
        let had = from.load(Relaxed);
        if self.is_spent() || amount > had {
            self.0.spent.store(true, Relaxed);
            return Err(ExecutionError::InternalError("over budget".into()));
        }
        from.store(had - amount, Relaxed);
        Ok(())
    }
}

impl Val for Meter {
    fn get_type(&self) -> &Type {
        &TYPE
    }
    fn cel_type() -> &'static Type {
        &TYPE
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Meter {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_stays_spent_even_for_what_would_still_fit() {
        let meter = Meter::with(10, 10);
        assert!(meter.steps(10).is_ok());
        assert!(meter.steps(1).is_err());
        assert!(meter.weight(1).is_err());
        assert!(meter.is_spent());
    }
}
