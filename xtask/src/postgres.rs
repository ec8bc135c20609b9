//! The PostgreSQL that tests run on: Debian's, a cluster of databases of its own in a temporary folder, on loopback, gone at the end.
//!
//! `MANTLET_TEST_POSTGRES` names another one instead. Tests make a database each, and drop it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fault::{Fault, Of, hint};
use crate::process;

/// What tests read: the URL of a database of whose server they may do what they like.
const URL: &str = "MANTLET_POSTGRES";
/// Where the programs are, for the stories that stop and start a server of their own.
const PROGRAMS: &str = "MANTLET_POSTGRES_BIN";
const READY: Duration = Duration::from_secs(60);

/// A server that is up, or the reason why there is none.
#[derive(Debug)]
pub(crate) enum Postgres {
    Ours(Server),
    Theirs(String),
    None(String),
}

#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Child,
}

/// Starts one. Where none can be had, tests say so and pass, but not in CI.
pub(crate) fn up() -> Result<Postgres, Fault> {
    if let Some(url) = std::env::var("MANTLET_TEST_POSTGRES")
        .ok()
        .filter(|url| !url.is_empty())
    {
        return Ok(Postgres::Theirs(url));
    }
    match programs().and_then(|programs| Server::start(&programs)) {
        Ok(server) => Ok(Postgres::Ours(server)),
        Err(fault) if std::env::var_os("CI").is_some() => Err(fault),
        Err(fault) => Ok(Postgres::None(fault.to_string())),
    }
}

impl Postgres {
    /// What tests find in their environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Ours(server) => vec![(URL, server.url()), (PROGRAMS, server.programs.display().to_string())],
            Self::Theirs(url) => vec![(URL, url.clone())],
            Self::None(_) => Vec::new(),
        }
    }

    pub(crate) fn down(self) -> Result<(), Fault> {
        match self {
            Self::Ours(server) => server.stop(),
            Self::Theirs(_) => Ok(()),
            Self::None(why) => {
                println!("what needs PostgreSQL was skipped: {why}");
                Ok(())
            }
        }
    }
}

impl Server {
    fn start(programs: &Path) -> Result<Self, Fault> {
        let folder = std::env::temp_dir().join(format!("mantlet-postgres-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).of(folder.display())?;
        if let Some(user) = other_user()? {
            process::run(Command::new("chown").arg(format!("{user}:")).arg(&folder))?;
        }
        let data = folder.join("data");
        let mut init = as_user(&programs.join("initdb"))?;
        init.args([
            "--auth=trust",
            "--username=mantlet",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ])
        .arg(&data)
        .stdout(Stdio::null());
        process::run(&mut init)?;
        let port = free().of("a free port")?;
        let mut serve = as_user(&programs.join("postgres"))?;
        serve
            .arg("-D")
            .arg(&data)
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-c",
                "max_connections=300",
                "-k",
            ])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Self {
            programs: programs.to_owned(),
            folder,
            port,
            child: process::spawn(&mut serve)?,
        };
        server.ready()?;
        Ok(server)
    }

    fn ready(&self) -> Result<(), Fault> {
        let begin = Instant::now();
        loop {
            let mut ask = Command::new(self.programs.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ask.status().of("`pg_isready`")?.success() {
                return Ok(());
            }
            if begin.elapsed() > READY {
                return Err("PostgreSQL does not get ready".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn url(&self) -> String {
        format!("postgres://mantlet@127.0.0.1:{}/postgres", self.port)
    }

    fn stop(self) -> Result<(), Fault> {
        let data = self.folder.join("data");
        let mut stop = as_user(&self.programs.join("pg_ctl"))?;
        process::run(stop.args(["stop", "--silent", "--mode=immediate", "-D"]).arg(data))?;
        // Told to end at once, it ends with an error of its own.
        let _ = process::finish("postgres", self.child);
        std::fs::remove_dir_all(&self.folder).of(self.folder.display())
    }
}

/// The folder of Debian's programs, which are not on PATH; installed where they are missing and can be.
fn programs() -> Result<PathBuf, Fault> {
    if let Some(programs) = installed() {
        return Ok(programs);
    }
    let missing = || {
        hint(
            String::from("PostgreSQL is not installed"),
            "apt-get install postgresql, or set MANTLET_TEST_POSTGRES to the URL of one",
        )
    };
    if other_user()?.is_none() || !Path::new("/usr/bin/apt-get").exists() {
        return Err(missing());
    }
    // Debian would make and start a cluster of its own, which nobody wants here.
    let settings = Path::new("/etc/postgresql-common/createcluster.d");
    std::fs::create_dir_all(settings).of(settings.display())?;
    let file = settings.join("mantlet.conf");
    std::fs::write(&file, "create_main_cluster = false\n").of(file.display())?;
    let mut update = Command::new("apt-get");
    process::run(update.args(["update", "-q"]))?;
    let mut install = Command::new("apt-get");
    let install = install.args(["install", "-q", "-y", "--no-install-recommends", "postgresql"]);
    process::run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    installed().ok_or_else(missing)
}

/// `/usr/lib/postgresql/VERSION/bin`, of the latest version.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions = versions.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
        path.join("bin/initdb").exists().then_some((version, path.join("bin")))
    });
    versions.max().map(|(_, path)| path)
}

/// PostgreSQL does not run as root; whose it is then.
fn other_user() -> Result<Option<&'static str>, Fault> {
    let id = process::output(Command::new("id").arg("-u"))?;
    if id != b"0\n" {
        return Ok(None);
    }
    let known = Command::new("id")
        .arg("postgres")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(Some(if known.of("`id`")?.success() {
        "postgres"
    } else {
        "nobody"
    }))
}

fn as_user(program: &Path) -> Result<Command, Fault> {
    Ok(match other_user()? {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .args([
                    &format!("--reuid={user}"),
                    "--init-groups",
                    &format!("--regid={}", group(user)?),
                ])
                .arg(program);
            command
        }
    })
}

fn group(user: &str) -> Result<String, Fault> {
    let group = process::output(Command::new("id").args(["-g", user]))?;
    Ok(String::from_utf8_lossy(&group).trim().to_owned())
}

fn free() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_comes_up_and_goes_without_a_trace() {
        let Some(programs) = installed() else {
            println!("skipped: PostgreSQL is not installed");
            return;
        };
        let server = Server::start(&programs).unwrap();
        let folder = server.folder.clone();
        assert!(server.url().starts_with("postgres://mantlet@127.0.0.1:"));
        server.stop().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn without_a_server_tests_find_nothing_in_their_environment() {
        assert_eq!(Postgres::None(String::from("why")).environment(), []);
        let theirs = Postgres::Theirs(String::from("postgres://m@db/m"));
        assert_eq!(theirs.environment(), [(URL, String::from("postgres://m@db/m"))]);
    }
}
