//! `mantlet serve` as a process of its own: can be killed, started again on the same data, and its memory measured.

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use mantlet_core::identity::Population;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::eventually;
use crate::stage::{Plan, Stage};
use crate::world::real_now;

/// A gateway in another process, on ports that stay the same over its lives.
#[derive(Debug)]
pub struct Served {
    pub stage: Stage,
    pub address: SocketAddr,
    pub telemetry: SocketAddr,
    /// How often it was started.
    pub lives: usize,
    program: PathBuf,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// VmRSS.
    pub now: u64,
    /// VmHWM.
    pub peak: u64,
}

impl Served {
    /// Sets the stage and starts it.
    pub async fn start(mut plan: Plan) -> Self {
        plan.address = free();
        plan.telemetry = free();
        let mut stage = Stage::set(&plan, real_now()).await;
        stage.show_keys();
        let mut served = Self {
            stage,
            address: plan.address,
            telemetry: plan.telemetry,
            lives: 0,
            program: program(),
            environment: plan.environment.clone(),
            child: None,
        };
        served.restart().await;
        served
    }

    /// Starts it on the data that is there, and returns once it is ready and has its issuers' keys.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "one process at a time");
        let log = self.stage.dir.join("serve.log");
        let file = OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let child = Command::new(&self.program)
            .args(["serve", "--config"])
            .arg(&self.stage.config)
            .env("RUST_LOG", "warn")
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("mantlet starts");
        self.child = Some(child);
        self.lives += 1;
        eventually("mantlet serve is ready", Duration::from_secs(60), async || {
            let child = self.child.as_mut().expect("started");
            if let Ok(Some(status)) = child.try_wait() {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("mantlet serve ended ({status}): {said}");
            }
            let page = page(self.telemetry, "/readyz?verbose").await.ok()?;
            (page.starts_with("HTTP/1.1 200") && !page.contains("[!]")).then_some(())
        })
        .await;
    }

    /// `mantlet sessions verify` with these flags: its exit code, and what it printed.
    pub fn verify(&self, flags: &[&str]) -> (i32, String) {
        let mut command = Command::new(&self.program);
        command
            .args(["sessions", "verify", "--config"])
            .arg(&self.stage.config)
            .args(flags);
        let output = command.envs(self.environment.clone()).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("told");
        let status = tokio::task::spawn_blocking(move || child.wait()).await;
        let status = status.expect("waited").expect("ended");
        assert!(status.success(), "mantlet serve ended badly: {status}");
    }

    /// SIGHUP: the files are loaded anew.
    pub fn hang_up(&self) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::HUP).expect("told");
    }

    /// Another command of the same program, with its configuration; what it printed.
    pub async fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config").arg(&self.stage.config);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.expect("it ran").expect("it started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A token good for an hour of real time.
    pub fn token(&self, population: Population, subject: &str) -> String {
        self.stage.token(population, subject, &[], real_now())
    }

    pub fn memory(&self) -> Memory {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
            let number = line.split_whitespace().nth(1).expect("a number");
            number.parse::<u64>().expect("kB") * 1024
        };
        Memory {
            now: field("VmRSS:"),
            peak: field("VmHWM:"),
        }
    }

    /// The peak is counted from now on (proc(5), `clear_refs`).
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("its peak can be reset");
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A page of a telemetry listener, its head included.
pub async fn page(telemetry: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(telemetry).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The program `mantlet`.
pub fn program() -> PathBuf {
    let named = std::env::var_os("MANTLET_BIN").map(PathBuf::from);
    let program = named.unwrap_or_else(|| {
        // target/PROFILE/deps/stories-HASH
        let test = std::env::current_exe().expect("this program");
        let profile = test.ancestors().nth(2).expect("the folder of the profile");
        profile.join("mantlet")
    });
    assert!(
        program.is_file(),
        "`{}` is not there: `cargo build -p mantlet` makes it, MANTLET_BIN names another",
        program.display()
    );
    program
}

/// A free port below those that the system gives to outgoing connections: one of them could take it between two lives.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 24_000 + (u32::from(next) + std::process::id() * 61) % 8_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
