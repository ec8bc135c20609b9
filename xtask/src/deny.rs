//! cargo-deny: which crates, licenses and sources there may be. Advisories need a database from the network, and are a job of
//! their own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cluster::Background;
use crate::fault::Fault;
use crate::places::Places;
use crate::process;

const VERSION: &str = "0.20.2";

/// Installs it into the cache, where it is missing.
pub(crate) fn install_in_background(places: &Places) -> Result<Option<Background>, Fault> {
    if is_on_path() || program(places).is_file() {
        return Ok(None);
    }
    println!("installing cargo-deny {VERSION}, once, about 2 minutes, in the background");
    let mut install = places.cargo([
        "install",
        "--quiet",
        "--debug",
        "--locked",
        "cargo-deny",
        "--version",
        VERSION,
        "--root",
    ]);
    // A target folder of its own: the lock of ours would keep every other step waiting.
    install
        .arg(root(places))
        .env("CARGO_TARGET_DIR", places.build.join("cargo-deny"));
    Ok(Some(Background::start(move || process::run(&mut install))))
}

/// Checks, once it is installed.
pub(crate) fn check(places: &Places, installing: Option<Background>) -> Result<(), Fault> {
    if let Some(installing) = installing {
        installing.wait()?;
    }
    let mut path = OsString::from(root(places).join("bin"));
    if let Some(before) = std::env::var_os("PATH") {
        path.push(":");
        path.push(before);
    }
    process::run(
        places
            .cargo(["deny", "check", "bans", "licenses", "sources"])
            .env("PATH", path),
    )
}

fn is_on_path() -> bool {
    let version = Command::new("cargo-deny")
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(VERSION))
}

fn root(places: &Places) -> PathBuf {
    places.cache.join(format!("cargo-deny-{VERSION}"))
}

fn program(places: &Places) -> PathBuf {
    root(places).join("bin").join("cargo-deny")
}
