//! Steps with names and times. A failed one does not keep the others from running: one wants to know all.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::tally::Tally;

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Suite {
    done: Vec<Step>,
    /// Of all tests that cargo ran.
    pub(crate) tally: Tally,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    failed: bool,
}

impl Suite {
    /// Runs a step, and says how it went.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce(&mut Tally) -> Result<(), Fault>) {
        println!("== {name}");
        let begin = Instant::now();
        let result = run(&mut self.tally);
        let took = begin.elapsed();
        if let Err(fault) = &result {
            println!("{name} failed after {:.1} s: {fault}", took.as_secs_f32());
        }
        self.done.push(Step {
            name: name.to_owned(),
            took,
            failed: result.is_err(),
        });
    }

    /// Prints the steps and the tests; fails if any failed, or if nothing was tested.
    pub(crate) fn end(self) -> Result<(), Fault> {
        println!();
        for step in &self.done {
            let verdict = if step.failed { "FAILED" } else { "ok" };
            println!("{verdict:<7}{:>8.1} s  {}", step.took.as_secs_f32(), step.name);
        }
        let total: Duration = self.done.iter().map(|step| step.took).sum();
        println!("{:>15.1} s  in all", total.as_secs_f32());
        println!("{}", self.tally);
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|step| step.failed)
            .map(|step| step.name.as_str())
            .collect();
        if self.tally.ran() == 0 {
            return Err("no test ran, so nothing was tested".into());
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("failed: {}", failed.join(", ")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_in_which_no_test_ran_fails() {
        let mut suite = Suite::default();
        suite.step("nothing", |_| Ok(()));
        assert!(suite.end().is_err());
    }

    #[test]
    fn a_failed_step_fails_the_suite_and_the_next_one_runs() {
        let mut suite = Suite::default();
        suite.step("first", |_| Err("no".into()));
        suite.step("second", |tally| {
            tally.see("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
            Ok(())
        });
        assert_eq!(suite.tally.ran(), 1);
        assert!(suite.end().unwrap_err().to_string().contains("first"));
    }
}
