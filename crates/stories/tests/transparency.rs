//! Whoever may do anything sees the same cluster through the gateway as without it: one script of kubectl commands, line by line on both ways.
//!
//! Both ways run at once, each in a namespace of its own (names of equal length, for the sake of columns). What two runs against one bare server
//! would tell differently is taken out of both ([`Same`]); what is left may differ only where `differences.txt` says so, with a reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mantlet_core::identity::Population;
use mantlet_stories::kubectl::{self, Said};
use mantlet_stories::{Bed, World, need_bed};
use regex::Regex;
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/transparency");
/// As many commands are compared at least, or something is wrong with the script.
const ENOUGH: usize = 80;
const DIFFERENCES: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_kubectl_commands_says_the_same_through_the_gateway() {
    let bed = need_bed!();
    let listed = differences();
    tell(bed, &listed).await.settle(&listed);
}

/// The whole script, once.
async fn tell(bed: &Bed, listed: &BTreeMap<String, String>) -> Told {
    let world = World::under(bed, "transparency", &[]).await;
    let stage = Stage::set(bed, &world);
    let mut told = Told::default();
    for line in script() {
        if line.needs_node && !bed.node {
            eprintln!("skipped: {} ({})", line.command, bed.node_reason);
            continue;
        }
        let (bare, through) = stage.run(bed, &line).await;
        told.compare(&line.command, &bare, &through, listed);
    }
    drop(stage);
    world.end().await;
    told
}

/// One line of the script.
#[derive(Debug)]
struct Line {
    command: String,
    needs_node: bool,
    /// Its twin waits until it is done: both touch one object.
    alone: bool,
}

fn script() -> Vec<Line> {
    let text = std::fs::read_to_string(format!("{CASES}/commands.sh")).unwrap();
    let commands = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    commands
        .map(|line| Line {
            command: bare_of_marks(line),
            needs_node: line.contains(" #node"),
            alone: line.contains(" #alone"),
        })
        .collect()
}

fn bare_of_marks(line: &str) -> String {
    line.replace(" #node", "").replace(" #alone", "")
}

/// What may differ, and why.
fn differences() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("{CASES}/differences.txt")).unwrap();
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    let listed: BTreeMap<String, String> = lines
        .map(|line| line.split_once('\t').expect("COMMAND<TAB>REASON"))
        .map(|(command, reason)| (command.to_owned(), reason.to_owned()))
        .collect();
    assert!(
        listed.len() <= DIFFERENCES,
        "more than {DIFFERENCES} differences are listed"
    );
    assert!(
        listed.values().all(|reason| reason.len() > 10),
        "a difference has no reason"
    );
    let known: Vec<String> = script().into_iter().map(|line| line.command).collect();
    for command in listed.keys() {
        assert!(known.contains(command), "`{command}` is listed, but not in the script");
    }
    listed
}

/// What has been compared so far.
#[derive(Debug, Default)]
struct Told {
    compared: usize,
    /// What differed and is not listed: command, and what both said.
    unlisted: BTreeMap<String, String>,
    differing: Vec<String>,
    seen: Vec<String>,
}

impl Told {
    fn compare(&mut self, command: &str, bare: &Said, through: &Said, listed: &BTreeMap<String, String>) {
        self.compared += 1;
        self.seen.push(command.to_owned());
        if bare == through {
            return;
        }
        self.differing.push(command.to_owned());
        if !listed.contains_key(command) {
            let both = format!("--- bare: {}--- through the gateway: {}", shown(bare), shown(through));
            self.unlisted.insert(command.to_owned(), both);
        }
    }

    fn unlisted(&self) -> String {
        self.unlisted
            .iter()
            .map(|(command, both)| format!("\n$ {command}\n{both}"))
            .collect()
    }

    fn settle(self, listed: &BTreeMap<String, String>) {
        let healed: Vec<&String> = listed
            .keys()
            .filter(|command| self.seen.contains(command) && !self.differing.contains(command))
            .collect();
        eprintln!(
            "{} commands compared, {} differ as listed",
            self.compared,
            self.differing.len()
        );
        assert!(self.unlisted.is_empty(), "not the same:{}", self.unlisted());
        assert!(healed.is_empty(), "listed as different, and no longer so: {healed:#?}");
        assert!(self.compared >= ENOUGH, "only {} commands were compared", self.compared);
    }
}

fn shown(said: &Said) -> String {
    format!("exit {}\n{}{}", said.code, said.out, said.err)
}

/// The two ways side by side.
struct Stage {
    bed: Bed,
    bare: Way,
    through: Way,
}

/// One way to the cluster: who, where to, where.
#[derive(Clone)]
struct Way {
    namespace: String,
    kubeconfig: PathBuf,
    dir: PathBuf,
    server: String,
    ca: PathBuf,
    same: Same,
}

impl Stage {
    fn set(bed: &Bed, world: &World) -> Self {
        let somebody = format!("walk{:07}", std::process::id());
        let (one, other) = (format!("{somebody}a"), format!("{somebody}b"));
        let stage = Self {
            bare: Way::bare(bed, &world.dir, &somebody, &one),
            through: Way::through(world, &somebody, &other),
            bed: bed.clone(),
        };
        stage.admin(&format!(
            "for ns in {one} {other}; do kubectl create namespace $ns; done &&
             kubectl create clusterrolebinding {somebody} --clusterrole=cluster-admin --user={somebody} &&
             for ns in {one} {other}; do kubectl wait --for=create -n $ns serviceaccount/default configmap/kube-root-ca.crt --timeout=60s; done"
        ));
        stage
    }

    async fn run(&self, bed: &Bed, line: &Line) -> (Said, Said) {
        let (bare, through) = (self.bare.run(bed, &line.command), self.through.run(bed, &line.command));
        match line.alone {
            true => (bare.await, through.await),
            false => tokio::join!(bare, through),
        }
    }

    fn admin(&self, line: &str) -> String {
        kubectl::bash(&self.bed, &self.bed.kubeconfig, &self.bare.dir, line).ok()
    }
}

/// Nothing is left on the cluster, however the story ends.
impl Drop for Stage {
    fn drop(&mut self) {
        for Way { namespace: ns, .. } in [&self.bare, &self.through] {
            let line = format!(
                "kubectl delete --wait=false --ignore-not-found namespace/{ns} namespace/{ns}-extra crd/widgets.{ns}.example.com \
                 clusterrole/{ns}-walker clusterrolebinding/{ns}-walker priorityclass/{ns}-low clusterrolebinding/{somebody}; \
                 kubectl taint nodes --all {ns}- >/dev/null 2>&1; true",
                somebody = &ns[..ns.len() - 1]
            );
            let _ = kubectl::bash(&self.bed, &self.bed.kubeconfig, &self.bare.dir, &line);
        }
    }
}

impl Way {
    fn bare(bed: &Bed, parent: &Path, somebody: &str, namespace: &str) -> Self {
        let dir = scene(&parent.join("bare"), namespace);
        let whole = kubectl::bash(
            bed,
            &bed.kubeconfig,
            &dir,
            "kubectl config view --raw --minify --flatten -o json",
        );
        let mut config: Value = serde_json::from_str(&whole.ok()).unwrap();
        config["users"][0]["user"]["as"] = somebody.into();
        config["contexts"][0]["context"]["namespace"] = namespace.into();
        let kubeconfig = dir.join("../bare.kubeconfig");
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let ca = dir.join("../bare-ca.crt");
        let authority = cluster["certificate-authority-data"].as_str().unwrap_or_default();
        std::fs::write(&ca, STANDARD.decode(authority).unwrap()).unwrap();
        Self {
            server: cluster["server"].as_str().unwrap().to_owned(),
            same: Same::of(namespace, cluster["server"].as_str().unwrap()),
            namespace: namespace.to_owned(),
            kubeconfig,
            dir,
            ca,
        }
    }

    fn through(world: &World, somebody: &str, namespace: &str) -> Self {
        let server = format!("https://{}", world.address);
        Self {
            kubeconfig: world.kubeconfig(Population::People, somebody, &[], namespace),
            dir: scene(&world.dir.join("gate"), namespace),
            ca: world.authority.clone(),
            same: Same::of(namespace, &server),
            namespace: namespace.to_owned(),
            server,
        }
    }

    async fn run(&self, bed: &Bed, command: &str) -> Said {
        let (bed, way) = (bed.clone(), self.clone());
        let line = format!(
            "set -o pipefail; NS={} SERVER={} CA={}\n{command}",
            self.namespace,
            self.server,
            self.ca.display()
        );
        let said = tokio::task::spawn_blocking(move || kubectl::bash(&bed, &way.kubeconfig, &way.dir, &line));
        let Said { code, out, err } = said.await.unwrap();
        Said {
            code,
            out: self.same.of_text(&out),
            err: self.same.of_text(&err),
        }
    }
}

/// A copy of the manifests with the namespace's name in it.
fn scene(dir: &Path, namespace: &str) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    for file in std::fs::read_dir(format!("{CASES}/manifests")).unwrap() {
        let file = file.unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        std::fs::write(dir.join(file.file_name()), text.replace("NAMESPACE", namespace)).unwrap();
    }
    dir.to_owned()
}

/// Takes out of a text what two runs against one server would tell differently.
#[derive(Debug, Clone)]
struct Same {
    names: [(String, &'static str); 2],
    patterns: Vec<(Regex, &'static str)>,
}

/// What, and what stands in its place. In this order.
const PATTERNS: [(&str, &str); 9] = [
    // The rest of a pod's name, of an endpoint slice's: as k8s.io/apimachinery `util/rand` makes them.
    (
        r"\b(web-[0-9a-z]{8,10}|once|plain)-[bcdfghjklmnpqrstvwxz2456789]{5}\b",
        "$1-RANDOM",
    ),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UID"),
    (r#"(?i)(resource-?version"?: ?"?)[0-9]+"#, "${1}VERSION"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b", "ADDRESS"),
    // An age, as k8s.io/apimachinery `util/duration` writes it, in a column or behind a word.
    (r"(?m)([ \t])(\d+[smhd])+([ \t]|$)", "${1}AGE${3}"),
    // A port that a service was given.
    (r":3\d{4}/TCP", ":PORT/TCP"),
    // The width of a column follows its longest cell.
    (r" {2,}", "  "),
    (r"(?m) +$", ""),
];

impl Same {
    fn of(namespace: &str, server: &str) -> Self {
        Self {
            names: [(server.to_owned(), "SERVER"), (namespace.to_owned(), "walk")],
            patterns: PATTERNS
                .iter()
                .map(|(pattern, with)| (Regex::new(pattern).unwrap(), *with))
                .collect(),
        }
    }

    fn of_text(&self, text: &str) -> String {
        let named = self
            .names
            .iter()
            .fold(text.to_owned(), |text, (name, with)| text.replace(name, with));
        self.patterns.iter().fold(named, |text, (pattern, with)| {
            pattern.replace_all(&text, *with).into_owned()
        })
    }
}

#[test]
fn what_two_runs_tell_differently_is_taken_out_and_nothing_else() {
    let same = Same::of("walk1a", "https://127.0.0.1:6443");
    let pods = "NAME                   READY   STATUS    RESTARTS   AGE\nweb-7d4b9c6f5d-x2lzq   1/1     Running   0          12s\n";
    assert_eq!(
        same.of_text(pods),
        "NAME  READY  STATUS  RESTARTS  AGE\nweb-7d4b9c6f5d-RANDOM  1/1  Running  0  AGE\n"
    );
    let object = r#""namespace": "walk1a", "resourceVersion": "816", "uid": "89781bfa-0d3c-4c5e-a3a5-1d0b8f2f1c11", "at": "2026-01-01T00:00:00Z""#;
    assert_eq!(
        same.of_text(object),
        r#""namespace": "walk", "resourceVersion": "VERSION", "uid": "UID", "at": "TIME""#
    );
    for kept in [
        "replicas: 3",
        "settings 3 2",
        "Error from server (NotFound): pods \"web-1\" not found",
        "example.com/*=plain:80",
    ] {
        assert_eq!(same.of_text(kept), kept);
    }
}
