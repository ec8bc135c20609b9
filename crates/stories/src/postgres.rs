//! A PostgreSQL of a story's own, to be killed, frozen and started again.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;
use crate::served::free;

#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    /// What the server is started with besides.
    settings: Vec<String>,
    postmaster: Option<Child>,
}

impl Postgres {
    /// None where its programs are not installed, which in CI is a failure.
    pub async fn start(name: &str) -> Option<Self> {
        let mut postgres = Self::prepare(name)?;
        postgres.go_on().await;
        Some(postgres)
    }

    /// The same, and over TLS alone.
    pub async fn start_with_tls(name: &str, certificate: &Path, key: &Path) -> Option<Self> {
        let mut postgres = Self::prepare(name)?;
        let data = postgres.folder.join("data");
        for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
            std::fs::copy(from, data.join(to)).expect("a file");
            std::fs::set_permissions(data.join(to), std::fs::Permissions::from_mode(0o600)).expect("a mode");
            own(&data.join(to));
        }
        let rules = std::fs::read_to_string(data.join("pg_hba.conf")).expect("rules");
        std::fs::write(data.join("pg_hba.conf"), rules.replace("\nhost ", "\nhostssl ")).expect("rules");
        postgres.settings = ["-c", "ssl=on"].map(str::to_owned).to_vec();
        postgres.go_on().await;
        Some(postgres)
    }

    fn prepare(name: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "CI has a PostgreSQL");
            eprintln!("skipped: PostgreSQL is not installed; `cargo xtask test` installs it where it may");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("mantlet-story-{}-{name}-postgres", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        own(&folder);
        let mut init = unprivileged(&programs.join("initdb"));
        init.args([
            "--auth=trust",
            "--username=mantlet",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ]);
        let init = init.arg(folder.join("data")).stdout(Stdio::null()).status();
        assert!(init.expect("initdb").success());
        Some(Self {
            programs,
            folder,
            address: free(),
            settings: Vec::new(),
            postmaster: None,
        })
    }

    pub fn url(&self) -> String {
        format!("postgres://mantlet@{}/postgres", self.address)
    }

    /// Starts it on the data that is there, and returns once it answers.
    pub async fn go_on(&mut self) {
        assert!(self.postmaster.is_none(), "one at a time");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("a log");
        let mut server = unprivileged(&self.programs.join("postgres"));
        server.arg("-D").arg(self.folder.join("data"));
        server.args(["-h", "127.0.0.1", "-p", &self.address.port().to_string(), "-k"]);
        server
            .arg(&self.folder)
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.postmaster = Some(server.process_group(0).spawn().expect("postgres"));
        let port = self.address.port().to_string();
        eventually("PostgreSQL answers", Duration::from_secs(60), async || {
            let mut ask = Command::new(self.programs.join("pg_isready"));
            let answer = ask.args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
            answer.expect("pg_isready").success().then_some(())
        })
        .await;
    }

    /// SIGKILL for all of it, as a machine that loses its power.
    pub fn kill(&mut self) {
        let mut postmaster = self.postmaster.take().expect("it runs");
        signal_all(&postmaster, Signal::KILL);
        postmaster.wait().expect("gone");
    }

    /// Its clients are told, and hung up on.
    pub fn stop(&mut self) {
        let mut postmaster = self.postmaster.take().expect("it runs");
        kill_process(Pid::from_child(&postmaster), Signal::INT).expect("told");
        postmaster.wait().expect("gone");
    }

    /// Connections stay, nobody answers.
    pub fn freeze(&self) {
        signal_all(self.postmaster.as_ref().expect("it runs"), Signal::STOP);
    }

    pub fn thaw(&self) {
        signal_all(self.postmaster.as_ref().expect("it runs"), Signal::CONT);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.postmaster.is_some() {
            self.kill();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Each of its processes has a group of its own: they are found by their parent. The parent first, so that no more are born.
fn signal_all(postmaster: &Child, signal: Signal) {
    let parent = Pid::from_child(postmaster);
    if matches!(signal, Signal::KILL) {
        let _ = kill_process(parent, Signal::STOP);
    } else {
        let _ = kill_process(parent, signal);
    }
    for child in children(postmaster.id()) {
        let _ = kill_process(child, signal);
    }
    let _ = kill_process(parent, signal);
}

fn children(parent: u32) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    let child = |entry: std::fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // proc(5): `pid (name) state ppid …`; the name may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        (rest.split(' ').nth(1)?.parse() == Ok(parent)).then(|| Pid::from_raw(pid))?
    };
    processes.filter_map(|entry| child(entry.ok()?)).collect()
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a file or folder the server's.
fn own(path: &Path) {
    if root() {
        let owner = Command::new("chown").arg("postgres:postgres").arg(path).status();
        assert!(owner.expect("chown").success());
    }
}

/// PostgreSQL does not run as root.
fn unprivileged(program: &Path) -> Command {
    if !root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
        .arg(program);
    command
}

/// Those that `cargo xtask test` names, or Debian's latest.
fn programs() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MANTLET_POSTGRES_BIN") {
        return Some(named.into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions = versions.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
        path.join("bin/initdb").exists().then_some((version, path.join("bin")))
    });
    versions.max().map(|(_, path)| path)
}
