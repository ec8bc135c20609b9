//! The project's tasks: `cargo xtask test` is exactly what CI runs.
//!
//! Only the standard library, so that it builds in a second before anything else does.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task speaks to the terminal")]

mod bench;
mod cluster;
mod deny;
mod fault;
mod fuzz;
mod long;
mod places;
mod postgres;
mod process;
mod suite;
mod tally;
mod test;
mod tidy;
mod watchdog;

use std::process::ExitCode;

use fault::Fault;
use places::Places;

const USAGE: &str = "usage: cargo xtask TASK

  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster and PostgreSQL
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster and PostgreSQL
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster and PostgreSQL
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster and PostgreSQL
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster and PostgreSQL
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  test              everything that CI runs: format, lints, licenses, tidy, unit tests, stories on a real cluster
  bench [FLAGS]     the gateway beside its peers: `--quick`, `--row N`, `--mantlet BINARY`
  long [NAME]       a run too long for `test`; without a name, lists them
  action [ARGS]     what a request means: `cargo run -p mantlet-core --example action`
  schema [--check]  write crates/core/data/protobuf.json anew, or fail if it differs
  vectors [--check] write crates/core/vectors anew, as the oracle of cluster/ says, or fail if they differ
  cluster [FLAGS]   a real cluster in the foreground, until Ctrl-C; flags of `bed up`
  tidy              the checks that no compiler makes";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Fault> {
    let places = Places::find()?;
    let (task, rest) = arguments.split_first().ok_or_else(|| Fault::from(USAGE))?;
    match task.as_str() {
        "test" => test::run(&places),
        "bench" => bench::run(&places, rest),
        "long" => long::run(&places, rest),
        "action" => process::run(
            places
                .cargo(["run", "-q", "-p", "mantlet-core", "--example", "action", "--"])
                .args(rest),
        ),
        "schema" => cluster::schema(&places, rest),
        "vectors" => cluster::vectors(&places, rest),
        "cluster" => cluster::foreground(&places, rest),
        "tidy" => tidy::run(&places),
        other => Err(format!("`{other}` is no task\n{USAGE}").into()),
    }
}
