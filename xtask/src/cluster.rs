//! The real Kubernetes of `cluster/`: built by `bed`, held by `bed`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;

use crate::fault::{Fault, Of, hint};
use crate::places::Places;
use crate::process;

// The packages of the module that import nothing of Kubernetes: vetting the others would vet all of Kubernetes.
const LIGHT: [&str; 6] = ["./build", "./cmd/bed", "./image", "./machine", "./pki", "./supervisor"];

/// A build that goes on beside other steps.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<Result<(), Fault>>);

impl Background {
    pub(crate) fn start(work: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> Self {
        Self(std::thread::spawn(work))
    }

    pub(crate) fn wait(self) -> Result<(), Fault> {
        self.0
            .join()
            .unwrap_or_else(|_| Err("a background step panicked".into()))
    }
}

/// Builds `bed`, which takes seconds, and has it build the rest in the background.
pub(crate) fn build_in_background(places: &Places) -> Result<Background, Fault> {
    let mut build = bed(places, "build")?;
    build.stdout(Stdio::null());
    Ok(Background::start(move || process::run(&mut build)))
}

/// The path of the oracle.
pub(crate) fn oracle(places: &Places) -> Result<String, Fault> {
    built(places, "oracle")
}

/// The path of the OpenID Provider.
pub(crate) fn idp(places: &Places) -> Result<String, Fault> {
    built(places, "idp")
}

/// Of the last release that still builds from its Go module.
const MINIO: &str = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c";

/// Where MinIO lies once it is built: an S3 server to try anchors against.
pub(crate) fn minio(places: &Places) -> PathBuf {
    let version = MINIO.rsplit_once('-').map_or(MINIO, |(_, commit)| commit);
    places.cache.join(format!("minio-{version}")).join("minio")
}

/// Builds MinIO from its Go module, if the cache does not hold it; minutes of two cores.
pub(crate) fn minio_in_background(places: &Places) -> Background {
    let binary = minio(places);
    Background::start(move || {
        if binary.is_file() {
            return Ok(());
        }
        let folder = binary.parent().ok_or("minio lies in no folder")?;
        // Built beside and renamed: a build that was cut off is not taken for a server.
        let fresh = folder.with_extension(std::process::id().to_string());
        let mut install = Command::new("go");
        install.args(["install", MINIO]).env("GOBIN", &fresh);
        process::run(install.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off"))?;
        std::fs::create_dir_all(folder).of(folder.display())?;
        std::fs::rename(fresh.join("minio"), &binary).of(binary.display())?;
        std::fs::remove_dir(&fresh).of(fresh.display())
    })
}

/// Vets and tests the Go module. The flags are those of its builds, so that what these compiled serves again.
pub(crate) fn go_tests(places: &Places) -> Result<(), Fault> {
    let unformatted = process::output(Command::new("gofmt").args(["-l", "."]).current_dir(places.cluster()))?;
    if !unformatted.is_empty() {
        let files = String::from_utf8_lossy(&unformatted).trim().replace('\n', ", ");
        return Err(hint(format!("not formatted: {files}"), "gofmt -w cluster"));
    }
    process::run(go(places, "vet").arg("-trimpath").args(LIGHT))?;
    let idp = places.cluster().join("idp");
    process::run(go(places, "vet").args(["-trimpath", "."]).current_dir(idp))?;
    process::run(
        go(places, "test")
            .args(["-trimpath", "-vet=off"])
            .args(LIGHT)
            .args(["./oracle", "./schema"]),
    )
}

/// Writes the protobuf table anew, or says that it differs.
pub(crate) fn schema(places: &Places, arguments: &[String]) -> Result<(), Fault> {
    let table = process::output(&mut Command::new(built(places, "schema")?))?;
    let path = places.root.join("crates/core/data/protobuf.json");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => std::fs::write(&path, table).of(path.display()),
        ["--check"] if std::fs::read(&path).of(path.display())? == table => Ok(()),
        ["--check"] => Err(hint(
            "crates/core/data/protobuf.json is not what the Go types of `cluster/go.mod` say".to_owned(),
            "cargo xtask schema",
        )),
        other => Err(hint(
            format!("`{}` is no flag of `schema`", other.join(" ")),
            "cargo xtask schema --check",
        )),
    }
}

/// Writes the vectors of the parsers anew, or says which differ from what the oracle says.
pub(crate) fn vectors(places: &Places, arguments: &[String]) -> Result<(), Fault> {
    let known = arguments.is_empty() || arguments == ["--check"];
    if !known {
        return Err(hint(
            format!("`{}` is no flag of `vectors`", arguments.join(" ")),
            "cargo xtask vectors --check",
        ));
    }
    let example = ["run", "-q", "-p", "mantlet-core", "--example", "vectors", "--"];
    let mut vectors = places.cargo(example);
    process::run(vectors.args(arguments).env("MANTLET_ORACLE", oracle(places)?))
}

/// Becomes `bed up`, so that Ctrl-C is the bed's.
pub(crate) fn foreground(places: &Places, flags: &[String]) -> Result<(), Fault> {
    let folder = places.cache.join("foreground");
    process::become_it(bed(places, "up")?.arg("--dir").arg(folder).args(flags))
}

/// A cluster that is up. When this process dies, its end of the pipe does, and the bed takes everything down.
#[derive(Debug)]
pub(crate) struct Bed {
    child: Child,
    /// What `bed up` printed: one line of JSON.
    pub(crate) endpoint: String,
}

impl Bed {
    pub(crate) fn up(places: &Places) -> Result<Self, Fault> {
        let folder = std::env::temp_dir().join(format!("mantlet-test-{}", std::process::id()));
        let mut child = bed(places, "up")?
            .args(["--install", "--until-stdin-closes", "--dir"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // Ctrl-C is not for it: it ends when we do
            .spawn()
            .of("`bed up`")?;
        let stdout = child.stdout.take().ok_or("no pipe from the bed")?;
        let mut endpoint = String::new();
        BufReader::new(stdout).read_line(&mut endpoint).of("`bed up`")?;
        if endpoint.is_empty() {
            let status = child.wait().of("`bed up`")?;
            return Err(format!("no cluster came up: `bed up` ended with {status}").into());
        }
        Ok(Self {
            child,
            endpoint: endpoint.trim_end().to_owned(),
        })
    }

    /// Takes it down and waits until nothing is left.
    pub(crate) fn down(mut self) -> Result<(), Fault> {
        drop(self.child.stdin.take());
        let status = self.child.wait().of("`bed up`")?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the cluster did not end well: {status}").into())
        }
    }
}

/// The path of one of the cached binaries, which is built if it is not there.
fn built(places: &Places, binary: &str) -> Result<String, Fault> {
    let paths = process::output(bed(places, "build")?.args(["--only", binary]))?;
    let paths = String::from_utf8_lossy(&paths);
    value(&paths, binary).ok_or_else(|| format!("`bed build` printed `{paths}`").into())
}

/// The value of a key in one flat JSON object of strings; paths with quotes or backslashes are not read.
fn value(json: &str, key: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{key}\":\""))?;
    let (value, _) = rest.split_once('"')?;
    (!value.contains('\\')).then(|| value.to_owned())
}

/// `bed COMMAND`, of the sources as they are: built once in a run of ours, in a second or two.
fn bed(places: &Places, command: &str) -> Result<Command, Fault> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().map_err(|_| "the build of `bed` panicked")?;
    let binary = match built.take() {
        Some(binary) => binary,
        None => build_bed(places)?,
    };
    *built = Some(binary.clone());
    let mut bed = Command::new(binary);
    // The cache is named so that both of us mean the same.
    bed.arg(command)
        .arg("--src")
        .arg(places.cluster())
        .env("MANTLET_CACHE", &places.cache);
    Ok(bed)
}

fn build_bed(places: &Places) -> Result<PathBuf, Fault> {
    std::fs::create_dir_all(&places.build).of(places.build.display())?;
    // Built beside and renamed: the binary may be running.
    let (fresh, binary) = (
        places.build.join(format!("bed.{}", std::process::id())),
        places.build.join("bed"),
    );
    let flags = ["-trimpath", "-buildvcs=false", "-o"];
    process::run(go(places, "build").args(flags).arg(&fresh).arg("./cmd/bed")).map_err(|fault| {
        hint(
            fault.to_string(),
            "the cluster needs Go 1.25 or later, https://go.dev/dl",
        )
    })?;
    std::fs::rename(&fresh, &binary).of(binary.display())?;
    Ok(binary)
}

fn go(places: &Places, command: &str) -> Command {
    let mut go = Command::new("go");
    go.arg(command)
        .current_dir(places.cluster())
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off");
    go
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_binary_is_read_from_what_bed_prints() {
        let line = r#"{"kube":"/c/kube-1","oracle":"/c/oracle-2"}"#;
        assert_eq!(value(line, "oracle").as_deref(), Some("/c/oracle-2"));
        assert_eq!(value(line, "schema"), None);
        assert_eq!(value(r#"{"oracle":"/c\"x"}"#, "oracle"), None);
    }
}
