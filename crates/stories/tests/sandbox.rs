//! `mantlet dev --sandbox` as a newcomer meets it: every command that it prints does what the line beside it says.
//!
//! A real process with a Kubernetes of its own, beside the bed; pods run in the bed already, so this one is a control plane alone.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mantlet_stories::need_bed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStdout;

/// Building the cluster is not part of it: its binaries are in the cache, as the bed left them.
const UP: Duration = Duration::from_secs(180);
const DOWN: Duration = Duration::from_secs(15);

/// Whose command, which, and what it must say; whether it works, the line itself says.
const SAYS: &[(&str, &str, &[&str])] = &[
    ("coder", "kubectl logs web", &["web listens on 8080"]),
    ("coder", "kubectl get configmap shop -o yaml", &["color: green"]),
    (
        "coder",
        "kubectl create configmap note --from-literal=by=coder",
        &["configmap/note created"],
    ),
    (
        "coder",
        "kubectl get secret db -o yaml",
        &[
            "password: bWFza2VkLm1hbnRsZXQuZGV2",
            "username: bWFza2VkLm1hbnRsZXQuZGV2",
        ],
    ),
    (
        "coder",
        "kubectl get pods --all-namespaces",
        &["(PolicyDenied)", "may only act in namespaces [test]"],
    ),
    (
        "coder",
        "kubectl create rolebinding me --clusterrole=cluster-admin --serviceaccount=test:default",
        &["needs human approval", "it changes who may do what (RBAC)"],
    ),
    ("developer", "kubectl get pods,configmaps", &["configmap/shop"]),
    (
        "developer",
        "kubectl create configmap mine --from-literal=a=1 --dry-run=server -o yaml",
        &["a: \"1\"", "uid: "],
    ),
    (
        "developer",
        "kubectl get secret db -o jsonpath='{.data.password}'",
        &["bWFza2VkLm1hbnRsZXQuZGV2"],
    ),
    (
        "developer",
        "kubectl get pods -n prod",
        &["(Forbidden)", "User \"developer\" cannot list resource \"pods\""],
    ),
    ("developer", "kubectl get sessions", &["developer"]),
    ("approver", "kubectl get sessions", &["coder", "developer"]),
    (
        "approver",
        "kubectl get sessionevents",
        &["secrets", "rbac-changes-need-a-human"],
    ),
    ("approver", "kubectl get sessions --watch", &["coder", "developer"]),
    ("approver", "kubectl get pods -n prod", &["No resources found"]),
    ("approver", "kubectl delete configmap shop", &["(Forbidden)"]),
    ("admin", "kubectl get nodes", &[]),
    (
        "admin",
        "kubectl create namespace scratch --dry-run=server",
        &["namespace/scratch created (server dry run)"],
    ),
    ("admin", "kubectl get agents", &["coder", "Active"]),
    (
        "admin",
        "kubectl create token coder -n mantlet-agents",
        &["belongs to this gateway"],
    ),
    (
        "admin",
        "kubectl delete namespace mantlet-agents",
        &["(PolicyDenied)", "belongs to this gateway"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_the_sandbox_prints_does_what_its_line_says() {
    let _bed = need_bed!();
    let mut sandbox = Sandbox::start().await;
    let story = sandbox.story().await;
    let mode = std::fs::metadata(&sandbox.dir).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "the data directory holds keys");
    let told = sandbox.complained();
    let mut faults = Vec::new();
    let players = players(&story);
    assert_eq!(players.len(), 4, "{story}");
    for player in &players {
        assert_eq!(player.tries.len(), 5, "five commands each:\n{story}");
        for (command, expect) in &player.tries {
            faults.extend(sandbox.attempt(player, command, expect));
        }
    }
    faults.extend(sandbox.a_second_time(&players));
    sandbox.others_see_no_more(&players, &mut faults);
    sandbox.commands(&mut faults);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert_eq!(sandbox.complained(), told, "it is quiet after the story");
    sandbox.stop().await;
}

/// One identity of the story.
#[derive(Debug)]
struct Player {
    name: String,
    kubeconfig: PathBuf,
    tries: Vec<(String, String)>,
}

/// As somebody reads it who copies lines.
fn players(story: &str) -> Vec<Player> {
    let mut players: Vec<Player> = Vec::new();
    let mut name = "";
    for line in story.lines() {
        if let Some(path) = line.strip_prefix("  export KUBECONFIG=") {
            players.push(Player {
                name: name.to_owned(),
                kubeconfig: path.into(),
                tries: Vec::new(),
            });
        } else if let Some((command, expect)) = line.strip_prefix("    ").and_then(|l| l.split_once("  # ")) {
            let player = players.last_mut().expect("whose command");
            player.tries.push((command.trim().to_owned(), expect.to_owned()));
        } else if let Some((first, _)) = line.split_once(": ") {
            name = first;
        }
    }
    players
}

/// The process, and the directory that everything lies in.
struct Sandbox {
    dir: PathBuf,
    child: Child,
    out: BufReader<ChildStdout>,
    path: String,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Its cluster ends when its standard input closes, however this ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    async fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("mantlet-sandbox-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let log = dir.with_extension("log");
        let mut child = Command::new(program())
            .args(["dev", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let out = ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
        Self {
            dir,
            child,
            out: BufReader::new(out),
            path: std::env::var("PATH").unwrap(),
        }
    }

    /// Everything up to the last line of it.
    async fn story(&mut self) -> String {
        let mut story = String::new();
        let read = async {
            while self.out.read_line(&mut story).await.unwrap() > 0 {
                if story
                    .lines()
                    .last()
                    .is_some_and(|line| line.starts_with("Ctrl-C ends it"))
                {
                    return true;
                }
            }
            false
        };
        let came = tokio::time::timeout(UP, read).await;
        assert!(matches!(came, Ok(true)), "no story:\n{story}{}", self.complained());
        if let Some((_, path)) = story.split_once("export PATH=$PATH:") {
            self.path.push(':');
            self.path.push_str(path.lines().next().unwrap());
        }
        story
    }

    fn complained(&self) -> String {
        std::fs::read_to_string(self.dir.with_extension("log")).unwrap()
    }

    fn run(&self, kubeconfig: Option<&Path>, line: &str) -> Output {
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(&self.dir).stdin(Stdio::null());
        command.env("PATH", &self.path).env("HOME", &self.dir);
        match kubeconfig {
            Some(path) => command.env("KUBECONFIG", path),
            None => command.env_remove("KUBECONFIG"),
        };
        command.output().unwrap()
    }

    /// What is wrong with one printed line.
    fn attempt(&self, player: &Player, command: &str, expect: &str) -> Vec<String> {
        let Some((_, _, says)) = SAYS
            .iter()
            .find(|(who, line, _)| *who == player.name && *line == command)
        else {
            return vec![format!(
                "{}: `{command}` is printed, and nobody says what it must do",
                player.name
            )];
        };
        // A watch has no end of its own: its first lines are enough.
        let line = match command.ends_with("--watch") {
            true => format!("head -n 3 < <(timeout 30 {command})"),
            false => command.to_owned(),
        };
        let output = self.run(Some(&player.kubeconfig), &line);
        let text = text(&output);
        let mut faults = Vec::new();
        if output.status.success() == expect.contains("refused") {
            faults.push(format!("`{expect}`, and it ended with {}", output.status));
        }
        faults.extend(
            says.iter()
                .filter(|s| !text.contains(**s))
                .map(|s| format!("it does not say `{s}`")),
        );
        // The reason in the line is the one that kubectl prints.
        let reason = expect
            .split_once("refused ")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(reason, _)| format!("{reason})"));
        faults.extend(
            reason
                .filter(|r| !text.contains(r.as_str()))
                .map(|r| format!("it does not say `{r}`")),
        );
        let password = mantlet::seed::DB_PASSWORD;
        if text.contains(password) || text.contains(STANDARD.encode(password).trim_end_matches('=')) {
            faults.push("it shows the password".into());
        }
        let about = |fault| format!("{}: `{command}`: {fault}: {text}", player.name);
        faults.into_iter().map(about).collect()
    }

    /// `(a second time: already exists, the cluster's own word)`.
    fn a_second_time(&self, players: &[Player]) -> Option<String> {
        let line = "kubectl create configmap note --from-literal=by=coder";
        let output = self.run(Some(&players[0].kubeconfig), line);
        let right = !output.status.success() && text(&output).contains("already exists");
        (!right).then(|| format!("a second time: {}", text(&output)))
    }

    /// `their own sessions, no others`.
    fn others_see_no_more(&self, players: &[Player], faults: &mut Vec<String>) {
        let developer = players.iter().find(|p| p.name == "developer").unwrap();
        let output = self.run(Some(&developer.kubeconfig), "kubectl get sessions -o json");
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        if items.is_empty() || items.iter().any(|item| item.to_string().contains("coder")) {
            faults.push(format!("developer sees sessions that are not theirs: {list}"));
        }
    }

    /// Mantlet's own commands beside it.
    fn commands(&self, faults: &mut Vec<String>) {
        let (mantlet, dir) = (program().display().to_string(), self.dir.display().to_string());
        let approver = self.dir.join("kubeconfigs/approver.yaml");
        let token = self.run(None, &format!("{mantlet} dev token coder --data-dir {dir}"));
        if text(&token).trim().split('.').count() != 3 || !token.status.success() {
            faults.push(format!("no token: {}", text(&token)));
        }
        let stranger = self.run(None, &format!("{mantlet} dev token nobody --data-dir {dir}"));
        if stranger.status.success() || !text(&stranger).contains("hint:") {
            faults.push(format!("a token for nobody: {}", text(&stranger)));
        }
        let list = self.run(Some(&approver), &format!("{mantlet} sessions list -o json"));
        let sessions: Value = serde_json::from_slice(&list.stdout).unwrap_or_default();
        let names: Vec<&str> = sessions["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|session| session["metadata"]["name"].as_str())
            .collect();
        if names.len() < 4 {
            faults.push(format!("sessions list: {}", text(&list)));
        }
        for name in names.iter().take(1) {
            let show = self.run(Some(&approver), &format!("{mantlet} sessions show {name} -o json"));
            if !show.status.success() || serde_json::from_slice::<Value>(&show.stdout).is_err() {
                faults.push(format!("sessions show {name}: {}", text(&show)));
            }
        }
        let second = self.run(None, &format!("{mantlet} dev --sandbox --data-dir {dir}"));
        if second.status.success() || !text(&second).contains("another `mantlet dev` runs with") {
            faults.push(format!("a second one in the same directory: {}", text(&second)));
        }
    }

    /// Ctrl-C: it ends at once and well, and leaves nothing but its record.
    async fn stop(mut self) {
        let pid = Pid::from_child(&self.child);
        let theirs = processes_of(&self.dir);
        assert!(theirs.len() > 2, "a sandbox has processes: {theirs:?}");
        let asked = Instant::now();
        kill_process(pid, Signal::INT).unwrap();
        let mut rest = String::new();
        let ended = tokio::time::timeout(DOWN, self.out.read_to_string(&mut rest)).await;
        assert!(ended.is_ok(), "it runs on {:?} after Ctrl-C", asked.elapsed());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.complained());
        assert_eq!(rest, "", "it is quiet after the story");
        assert_eq!(processes_of(&self.dir), BTreeSet::new(), "processes are left");
        assert!(!self.dir.join("cluster").exists(), "the cluster's files are left");
        assert!(self.dir.join("journal").exists(), "the record stays");
        std::fs::remove_dir_all(&self.dir).unwrap();
        std::fs::remove_file(self.dir.with_extension("log")).unwrap();
    }
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Every process whose command line names the directory.
fn processes_of(dir: &Path) -> BTreeSet<String> {
    let dir = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&dir)).collect()
}

/// The binary beside this test, or the one that is named.
fn program() -> PathBuf {
    let named = std::env::var_os("MANTLET_BIN").map(PathBuf::from);
    let program = named.unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().join("mantlet")
    });
    assert!(
        program.is_file(),
        "`{}` is not there: `cargo build -p mantlet` makes it, MANTLET_BIN names another",
        program.display()
    );
    program
}
