//! `cargo xtask test`: everything that CI runs. What takes longest, building Kubernetes, starts first, in the background.

use std::process::Command;

use crate::cluster::{self, Bed};
use crate::deny;
use crate::fault::Fault;
use crate::places::Places;
use crate::postgres::{self, Postgres};
use crate::process;
use crate::suite::Suite;
use crate::tally::Tally;
use crate::tidy;

/// Runs all of it.
pub(crate) fn run(places: &Places) -> Result<(), Fault> {
    let building = cluster::build_in_background(places)?;
    let installing = deny::install_in_background(places)?;
    let mut suite = Suite::default();
    suite.step("format", |_| {
        process::run(&mut places.cargo(["fmt", "--check"]))?;
        // A workspace of its own.
        process::run(&mut places.cargo(["fmt", "--check", "--manifest-path", "bench/Cargo.toml"]))
    });
    suite.step("tidy", |_| tidy::run(places));
    suite.step("clippy", |_| {
        process::run(&mut places.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    let mut postgres = Postgres::None(String::from("it was not started"));
    suite.step("PostgreSQL", |_| {
        postgres = postgres::up()?;
        Ok(())
    });
    suite.step("unit tests", |tally| {
        let workspace = ["test", "--workspace", "--exclude", "mantlet-stories", "--no-fail-fast"];
        cargo_test(places.cargo(workspace).envs(postgres.environment()), tally)
    });
    suite.step("licenses and sources", |_| deny::check(places, installing));
    suite.step("build of the cluster", |_| building.wait());
    suite.step("build of an S3 server", |_| cluster::minio_in_background(places).wait());
    suite.step("tests of the cluster", |_| cluster::go_tests(places));
    suite.step("protobuf table", |_| cluster::schema(places, &["--check".to_owned()]));
    suite.step("vectors", |_| cluster::vectors(places, &["--check".to_owned()]));
    suite.step("stories", |tally| stories(places, &postgres, tally));
    suite.step("end of PostgreSQL", |_| postgres.down());
    suite.end()
}

fn stories(places: &Places, postgres: &Postgres, tally: &mut Tally) -> Result<(), Fault> {
    with_cluster(places, |environment| {
        let arguments = ["test", "-p", "mantlet-stories", "--no-fail-fast"];
        let mut tests = places.cargo(arguments);
        cargo_test(tests.envs(environment).envs(postgres.environment()), tally)
    })
}

/// Runs something with one cluster up, and its description in the environment; with `MANTLET_TEST_KUBECONFIG` set, against
/// that one.
pub(crate) fn with_cluster(
    places: &Places,
    run: impl FnOnce(Vec<(&'static str, String)>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    // Stories start it as a process of its own. Both packages, so that the tests find the same features built.
    process::run(&mut places.cargo(["build", "-p", "mantlet", "-p", "mantlet-stories"]))?;
    let oracle = ("MANTLET_ORACLE", cluster::oracle(places)?);
    let idp = ("MANTLET_IDP", cluster::idp(places)?);
    cluster::minio_in_background(places).wait()?;
    let minio = ("MANTLET_MINIO", cluster::minio(places).display().to_string());
    if std::env::var_os("MANTLET_TEST_KUBECONFIG").is_some() {
        println!("MANTLET_TEST_KUBECONFIG is set: no cluster is started");
        return run(vec![oracle, idp, minio]);
    }
    let bed = Bed::up(places)?;
    let result = run(vec![oracle, idp, minio, ("MANTLET_BED", bed.endpoint.clone())]);
    bed.down().and(result)
}

/// Runs tests and counts them; none is a failure.
pub(crate) fn cargo_test(command: &mut Command, tally: &mut Tally) -> Result<(), Fault> {
    let before = tally.ran();
    process::run_seeing(command, |line| tally.see(line))?;
    if tally.ran() == before {
        Err(format!("`{}` ran no test", process::name(command)).into())
    } else {
        Ok(())
    }
}
