//! `cargo xtask long NAME`: the stories that are ignored because they take long, and the fuzzers. `test` holds a small sample of
//! each.

use crate::fault::{Fault, hint};
use crate::fuzz;
use crate::places::Places;
use crate::postgres;
use crate::process;
use crate::tally::Tally;
use crate::test::{cargo_test, with_cluster};

/// Runs those whose path holds the name; without one, lists all.
pub(crate) fn run(places: &Places, arguments: &[String]) -> Result<(), Fault> {
    if arguments.first().is_some_and(|name| name == fuzz::NAME) {
        return fuzz::run(places, &arguments[1..]);
    }
    let mut known = known(places)?;
    known.push(fuzz::NAME.to_owned());
    match arguments {
        [] => {
            println!("{}", listing(&known));
            Ok(())
        }
        [name] if known.iter().any(|test| test.contains(name.as_str())) => run_named(places, name),
        [name] => Err(hint(
            format!("`{name}` is no long run; there are:\n{}", listing(&known)),
            "cargo xtask long NAME",
        )),
        _ => Err("one long run at a time".into()),
    }
}

fn run_named(places: &Places, name: &str) -> Result<(), Fault> {
    let mut tally = Tally::default();
    let postgres = postgres::up()?;
    let done = with_cluster(places, |environment| {
        let arguments = [
            "test",
            "-p",
            "mantlet-stories",
            "--no-fail-fast",
            "--",
            "--ignored",
            "--nocapture",
            name,
        ];
        let mut tests = places.cargo(arguments);
        cargo_test(tests.envs(environment).envs(postgres.environment()), &mut tally)
    });
    postgres.down().and(done)?;
    println!("{tally}");
    Ok(())
}

fn known(places: &Places) -> Result<Vec<String>, Fault> {
    let arguments = ["test", "--quiet", "-p", "mantlet-stories", "--", "--ignored", "--list"];
    let output = process::output(&mut places.cargo(arguments))?;
    Ok(tests(&String::from_utf8_lossy(&output)))
}

/// The tests in what `--list` prints: lines of `NAME: test`.
fn tests(listing: &str) -> Vec<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

fn listing(known: &[String]) -> String {
    if known.is_empty() {
        "  (none)".to_owned()
    } else {
        known.iter().map(|test| format!("  {test}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_read_from_the_listing_and_benchmarks_are_not() {
        let listing = "kill::fifty_times: test\nspeed: benchmark\n\n1 test, 1 benchmark\n";
        assert_eq!(tests(listing), ["kill::fifty_times"]);
    }
}
