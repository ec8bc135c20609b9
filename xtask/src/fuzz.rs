//! `cargo xtask long fuzz [SECONDS]`: every fuzz target for as long (ten minutes where nothing is said), two at a time.
//!
//! They start from `fuzz/corpus`, which `cargo xtask test` replays. What they find lies in the build folder; what crashes is
//! printed, and is to be kept in the corpus with the fix. `cargo fuzz cmin` makes a small corpus of a large one.

use std::path::PathBuf;
use std::process::Child;

use crate::fault::{Fault, Of, hint};
use crate::places::Places;
use crate::process;

/// As `cargo xtask long` lists it.
pub(crate) const NAME: &str = "fuzz";

const VERSION: &str = "0.13.2";
const SECONDS: u32 = 600;
const AT_A_TIME: usize = 2;

/// Builds them all, once, and runs them; one crash does not keep the others from running.
pub(crate) fn run(places: &Places, arguments: &[String]) -> Result<(), Fault> {
    let seconds = match arguments {
        [] => SECONDS,
        [seconds] => seconds.parse().map_err(|_| usage(seconds))?,
        [_, more @ ..] => return Err(usage(&more.join(" "))),
    };
    install(places)?;
    process::run(&mut fuzz(places, "build"))?;
    let mut failed = Vec::new();
    for pair in targets(places)?.chunks(AT_A_TIME) {
        let running = pair.iter().map(|target| Ok((target, start(places, target, seconds)?)));
        for (target, child) in running.collect::<Result<Vec<_>, Fault>>()? {
            if let Err(fault) = process::finish(target, child) {
                failed.push(fault.to_string());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n").into()),
    }
}

fn usage(word: &str) -> Fault {
    hint(format!("`{word}` is no number of seconds"), "cargo xtask long fuzz 600")
}

/// The targets by their files.
fn targets(places: &Places) -> Result<Vec<String>, Fault> {
    let folder = places.root.join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&folder).of(folder.display())? {
        let path = entry.of(folder.display())?.path();
        targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    match targets.is_empty() {
        false => Ok(targets),
        true => Err("there are no fuzz targets".into()),
    }
}

fn start(places: &Places, target: &str, seconds: u32) -> Result<Child, Fault> {
    let found = places.build.join("fuzz-corpus").join(target);
    std::fs::create_dir_all(&found).of(found.display())?;
    println!("== {target}, {seconds} s");
    let mut run = fuzz(places, "run");
    // New finds go to the first folder; the corpus that is kept is only read.
    run.arg(target).arg(&found).arg(format!("corpus/{target}"));
    run.arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=20", "-rss_limit_mb=3000"]);
    process::spawn(&mut run)
}

/// `cargo fuzz COMMAND`, by the nightly compiler: the sanitizer is not part of a stable one.
fn fuzz(places: &Places, command: &str) -> std::process::Command {
    let mut cargo = std::process::Command::new(root(places).join("bin").join("cargo-fuzz"));
    cargo
        .current_dir(places.root.join("fuzz"))
        .env("RUSTUP_TOOLCHAIN", "nightly")
        .env_remove("CARGO");
    cargo.arg(command).arg("--target-dir").arg(places.build.join("fuzz"));
    cargo
}

fn install(places: &Places) -> Result<(), Fault> {
    if root(places).join("bin").join("cargo-fuzz").is_file() {
        return Ok(());
    }
    println!("installing cargo-fuzz {VERSION}, once");
    let words = [
        "install",
        "--quiet",
        "--debug",
        "--locked",
        "cargo-fuzz",
        "--version",
        VERSION,
        "--root",
    ];
    let mut install = places.cargo(words);
    process::run(
        install
            .arg(root(places))
            .env("CARGO_TARGET_DIR", places.build.join("cargo-fuzz")),
    )
}

fn root(places: &Places) -> PathBuf {
    places.cache.join(format!("cargo-fuzz-{VERSION}"))
}
