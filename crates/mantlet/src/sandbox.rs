//! A real Kubernetes on this machine, for `dev --sandbox`.
//!
//! The sources of the cluster travel inside this binary. They are laid out in the cache folder, its small tool `bed` is built
//! there with Go, and `bed up` builds Kubernetes itself (once) and holds the cluster for as long as its standard input is
//! open: however this process ends, the cluster ends with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rust_embed::RustEmbed;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const LEAST_GO: u32 = 25;

#[derive(RustEmbed)]
#[folder = "../../cluster"]
struct Sources;

/// A cluster that runs. Dropping it ends the cluster, in the background.
#[derive(Debug)]
pub struct Sandbox {
    endpoint: Endpoint,
    bed: PathBuf,
    process: Child,
    // While both are held, `bed` has a reader and somebody to live for.
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What `bed up` says of its cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// URL, on loopback.
    pub apiserver: String,
    /// Version, such as `v1.35.4`.
    pub kubernetes: String,
    /// Of a cluster administrator.
    pub kubeconfig: PathBuf,
    pub ca_file: PathBuf,
    /// The API server's, one JSON event a line.
    pub audit_log: PathBuf,
    /// A kubectl of the cluster's own version.
    pub kubectl: PathBuf,
    /// Whether pods run, and why they do not.
    pub node: bool,
    #[serde(default)]
    pub node_reason: String,
    #[serde(default)]
    pub images: Vec<String>,
    pub dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxFault {
    #[error("there is no place for a cache\nhint: set MANTLET_CACHE to a folder")]
    NoCache,
    #[error("cannot use `{}`: {source}", path.display())]
    Files { path: PathBuf, source: std::io::Error },
    #[error(
        "a sandbox is built with Go 1.{LEAST_GO} or later, and {found}\n\
         hint: install it from https://go.dev/dl, or leave out --sandbox to put the cluster of your kubeconfig behind the gateway"
    )]
    Go { found: String },
    #[error("the tool that runs the sandbox could not be built:\n{0}")]
    Build(String),
    #[error("`{program}` could not be run: {why}")]
    Run { program: String, why: String },
    #[error("the sandbox did not come up; what stands above says why")]
    NotUp,
}

impl Sandbox {
    /// Brings a fresh cluster up in `dir`; as root it installs what a node needs. Progress goes to standard error.
    ///
    /// # Cancel safety
    /// Safe: what was begun ends with the future, and a later start clears what is left.
    pub async fn start(dir: &Path) -> Result<Self, SandboxFault> {
        let (bed, sources) = bed().await?;
        let mut command = Command::new(&bed);
        command
            .args(["up", "--node", "auto", "--install", "--until-stdin-closes", "--src"])
            .arg(&sources);
        command.arg("--dir").arg(dir).env("MANTLET_CACHE", cache()?);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        // Ctrl-C is for us: requests that still run want their cluster until they are done.
        command.process_group(0);
        let failed = |why: String| SandboxFault::Run {
            program: bed.display().to_string(),
            why,
        };
        let mut process = command.spawn().map_err(|e| failed(e.to_string()))?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed("it has no standard input or output".into()));
        };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).await.map_err(|e| failed(e.to_string()))?;
        if line.is_empty() {
            return Err(SandboxFault::NotUp);
        }
        let endpoint = serde_json::from_str(&line).map_err(|e| failed(format!("it printed no endpoint: {e}")))?;
        Ok(Self {
            endpoint,
            bed,
            process,
            stdin,
            stdout,
        })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A kubeconfig with a client certificate for `name`, made anew.
    pub async fn user(&self, name: &str) -> Result<PathBuf, SandboxFault> {
        let mut command = Command::new(&self.bed);
        command.arg("user").arg("--dir").arg(&self.endpoint.dir).arg(name);
        let said = run(&mut command).await?;
        Ok(PathBuf::from(said.trim_end()))
    }

    /// Waits until the cluster has ended by itself, which it should not.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ended(&mut self) {
        let _ = self.process.wait().await;
    }

    /// Ends the cluster and waits until nothing of it is left.
    pub async fn stop(self) {
        let Self {
            mut process,
            stdin,
            stdout,
            ..
        } = self;
        drop((stdin, stdout));
        let _ = process.wait().await;
    }
}

/// `$MANTLET_CACHE`, else `mantlet` in the user's cache folder; the same that `bed` takes.
pub fn cache() -> Result<PathBuf, SandboxFault> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(own) = folder("MANTLET_CACHE") {
        return std::path::absolute(&own).map_err(|source| SandboxFault::Files { path: own, source });
    }
    if let Some(xdg) = folder("XDG_CACHE_HOME").filter(|p| p.is_absolute()) {
        return Ok(xdg.join("mantlet"));
    }
    std::env::home_dir()
        .map(|home| home.join(".cache/mantlet"))
        .ok_or(SandboxFault::NoCache)
}

/// The paths of `bed` and of the sources that it builds Kubernetes from; both are made if they are not there.
async fn bed() -> Result<(PathBuf, PathBuf), SandboxFault> {
    let folder = cache()?.join("cluster");
    let key = key();
    let (sources, bed) = (folder.join(format!("src-{key}")), folder.join(format!("bed-{key}")));
    if !sources.is_dir() {
        lay_out(&sources).map_err(|source| SandboxFault::Files {
            path: sources.clone(),
            source,
        })?;
    }
    if !bed.is_file() {
        build(&sources, &bed).await?;
    }
    Ok((bed, sources))
}

/// Names the embedded sources by their contents.
fn key() -> String {
    let mut sum = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut names: Vec<_> = Sources::iter().collect();
    names.sort();
    for name in names {
        let hash = Sources::get(&name)
            .map(|file| file.metadata.sha256_hash())
            .unwrap_or_default();
        sum.update(name.as_bytes());
        sum.update(&[0]);
        sum.update(&hash);
    }
    sum.finish()
        .as_ref()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A folder that is there is whole: it is filled under another name first.
fn lay_out(sources: &Path) -> std::io::Result<()> {
    let fresh = beside(sources);
    for name in Sources::iter().filter(|name| !name.ends_with("_test.go")) {
        let Some(file) = Sources::get(&name) else { continue };
        let path = fresh.join(name.as_ref());
        std::fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        std::fs::write(&path, &file.data)?;
    }
    match std::fs::rename(&fresh, sources) {
        // Somebody else was faster with the same sources.
        Err(_) if sources.is_dir() => std::fs::remove_dir_all(&fresh),
        done => done,
    }
}

async fn build(sources: &Path, bed: &Path) -> Result<(), SandboxFault> {
    check_go().await?;
    let fresh = beside(bed);
    let mut command = go();
    command
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(&fresh)
        .arg("./cmd/bed")
        .current_dir(sources);
    run(&mut command).await.map_err(|fault| match fault {
        SandboxFault::Run { why, .. } => SandboxFault::Build(why),
        other => other,
    })?;
    std::fs::rename(&fresh, bed).map_err(|source| SandboxFault::Files {
        path: bed.to_owned(),
        source,
    })
}

async fn check_go() -> Result<(), SandboxFault> {
    let mut command = go();
    command.args(["env", "GOVERSION"]);
    let said = run(&mut command).await.map_err(|_| SandboxFault::Go {
        found: "there is none on PATH".into(),
    })?;
    if minor(said.trim()).is_some_and(|minor| minor >= LEAST_GO) {
        return Ok(());
    }
    Err(SandboxFault::Go {
        found: format!("the one on PATH is `{}`", said.trim()),
    })
}

/// 26 of `go1.26.8`; a development version counts as newer than all.
fn minor(version: &str) -> Option<u32> {
    if version.starts_with("devel") {
        return Some(u32::MAX);
    }
    let rest = version.strip_prefix("go1.")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Flags and workspaces of the user's own would build something else than the key says.
fn go() -> Command {
    let mut command = Command::new("go");
    command
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local");
    command
}

/// Standard output of a command that succeeds.
async fn run(command: &mut Command) -> Result<String, SandboxFault> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |why: String| SandboxFault::Run { program, why };
    let output = match command.stdin(Stdio::null()).kill_on_drop(true).output().await {
        Ok(output) => output,
        Err(e) => return Err(failed(e.to_string())),
    };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A name in the same folder that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_of_the_cluster_are_inside() {
        let names: Vec<_> = Sources::iter().collect();
        for name in ["go.mod", "go.sum", "cmd/bed/main.go", "cmd/kube/main.go"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
    }

    #[test]
    fn what_is_laid_out_is_what_is_inside_without_tests() {
        let folder = std::env::temp_dir().join(format!("mantlet-sources-{}", std::process::id()));
        let sources = folder.join("src");
        std::fs::create_dir_all(&folder).unwrap();
        lay_out(&sources).unwrap();
        let written = std::fs::read(sources.join("go.mod")).unwrap();
        assert_eq!(written, Sources::get("go.mod").unwrap().data.as_ref());
        assert!(!sources.join("build/build_test.go").exists() && sources.join("build/build.go").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert_eq!(minor("go1.26.8"), Some(26));
        assert_eq!(minor("go1.25rc1"), Some(25));
        assert_eq!(minor("go1.9"), Some(9));
        assert_eq!(minor("devel go1.27-abc"), Some(u32::MAX));
        assert_eq!(minor("nonsense"), None);
    }

    #[test]
    fn what_bed_says_is_understood() {
        let line = r#"{"apiserver":"https://127.0.0.1:1","kubernetes":"v1.35.4","kubeconfig":"/d/admin","caFile":"/d/ca","auditLog":"/d/audit",
            "kubectl":"/c/kubectl","node":false,"nodeReason":"not root","dir":"/d","pids":{"bed":1}}"#;
        let endpoint: Endpoint = serde_json::from_str(line).unwrap();
        assert_eq!((endpoint.node, endpoint.node_reason.as_str()), (false, "not root"));
    }
}
