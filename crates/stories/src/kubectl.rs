//! A real kubectl, and what it said.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::Bed;

/// Exit code, stdout and stderr of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "it failed: {}{}", self.out, self.err);
        self.out
    }

    /// Everything that it said.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a line of bash with `kubectl` on the PATH, in `dir`, as whoever `kubeconfig` says.
pub fn bash(bed: &Bed, kubeconfig: &Path, dir: &Path, line: &str) -> Said {
    command(bed, kubeconfig, dir, line)
        .output()
        .map(said)
        .expect("bash runs")
}

/// The same, left running; killed when dropped.
pub fn bash_running(bed: &Bed, kubeconfig: &Path, dir: &Path, line: &str) -> Running {
    Running(
        command(bed, kubeconfig, dir, line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash runs"),
    )
}

#[derive(Debug)]
pub struct Running(pub std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(bed: &Bed, kubeconfig: &Path, dir: &Path, line: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = bed.kubectl.parent().filter(|p| !p.as_os_str().is_empty()) {
        let mut joined = folder.as_os_str().to_owned();
        joined.push(":");
        joined.push(&path);
        path = joined;
    }
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(line)
        .current_dir(dir)
        .env("PATH", path)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", dir)
        .stdin(Stdio::null());
    command.env_remove("MANTLET_BED");
    command
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
