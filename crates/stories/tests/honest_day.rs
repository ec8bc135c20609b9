//! The other half of the law: a day of honest work meets nothing of it. Who deploys in its own namespace is never denied, never held, and ends
//! every command as it would without a gateway; and each request of the day is in the record.
//!
//! The day is data: `cases/honest-day/commands.sh`, what it works on beside it. The gateway has the shipped packs `guardrails` and
//! `agent-deployer`, and the Agent is the one that `docs/src/how-to-deploy.md` shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mantlet_api::gate::SessionEvent;
use mantlet_core::identity::Population;
use mantlet_stories::audit;
use mantlet_stories::kubectl::{self, Said};
use mantlet_stories::{Bed, World, need_bed, tools};
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/honest-day");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/how-to-deploy.md");
/// As many commands make a day; without a node some cannot be given.
const ENOUGH: usize = 150;
const ENOUGH_WITHOUT_NODE: usize = 130;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_honest_work_is_never_denied_and_never_held() {
    let bed = need_bed!();
    let (Some(helm), Some(clientgo)) = (tools::helm(), tools::clientgo()) else {
        return;
    };
    let stage = Stage::set(bed, "day", &[("helm", helm), ("clientgo", clientgo)]).await;
    let mut told = Told::default();
    for hour in day() {
        let kubeconfig = stage.begin(&hour);
        for line in &hour.lines {
            if line.needs_node && !bed.node {
                eprintln!("skipped: {} ({})", line.command, bed.node_reason);
                continue;
            }
            let (bare, through) = stage.run(line, &kubeconfig).await;
            told.hear(line, &bare, &through);
        }
    }
    stage.settle(&mut told).await;
    told.settle(if bed.node { ENOUGH } else { ENOUGH_WITHOUT_NODE });
}

/// As `how-to-deploy.md` says: it is not held, and it cannot read what it wrote, so it touches nothing of it any more.
#[tokio::test(flavor = "multi_thread")]
async fn helm_that_keeps_releases_in_secrets_installs_and_then_changes_nothing() {
    let bed = need_bed!();
    let Some(helm) = tools::helm() else {
        return;
    };
    let stage = Stage::set(bed, "helm", &[("helm", helm)]).await;
    let kubeconfig = stage.kubeconfig();
    let line = |command: &str| Line::of(&format!("unset HELM_DRIVER; {command}"));
    let (bare, through) = stage
        .run(&line("helm install cart chart --set replicas=0"), &kubeconfig)
        .await;
    assert_eq!((bare.code, through.code), (0, 0), "{}", through.text());
    let (bare, through) = stage.run(&line("helm list --short"), &kubeconfig).await;
    assert_eq!((bare.out.as_str(), through.out.as_str()), ("cart\n", ""));
    let specs = format!(
        "kubectl get secrets,services,deployments,configmaps -n {} \
         -o jsonpath='{{range .items[*]}}{{.kind}} {{.metadata.name}} {{.metadata.uid}} {{.metadata.generation}} {{.data}}{{\"\\n\"}}{{end}}'",
        stage.through.namespace
    );
    let before = stage.world.bare(&specs).await.ok();
    assert!(before.contains("Secret sh.helm.release.v1.cart.v1"), "{before}");
    for command in [
        "helm status cart",
        "helm get manifest cart",
        "helm upgrade cart chart --set color=red",
        "helm upgrade --install cart chart --set color=red",
        "helm rollback cart 1",
        "helm install cart chart",
        "helm uninstall cart",
    ] {
        let through = stage.give(&stage.through, &line(command), &kubeconfig).await;
        assert_eq!(through.code, 1, "{command}: {}", through.text());
    }
    let after = stage.world.bare(&specs).await.ok();
    assert_eq!(before, after, "it changed what it could not read");
    let mut told = Told::default();
    stage.settle(&mut told).await;
    assert!(told.faults.is_empty(), "{:#?}", told.faults);
}

/// What is done from a time on.
#[derive(Debug)]
struct Hour {
    /// Since the day began.
    at: Duration,
    title: String,
    lines: Vec<Line>,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    command: String,
    exit: i32,
    needs_node: bool,
}

fn day() -> Vec<Hour> {
    hours(&std::fs::read_to_string(format!("{CASES}/commands.sh")).unwrap())
}

fn hours(text: &str) -> Vec<Hour> {
    let mut hours: Vec<Hour> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let (time, title) = heading.split_once(' ').expect("HH:MM and a title");
            hours.push(Hour {
                at: since_midnight(time),
                title: title.to_owned(),
                lines: Vec::new(),
            });
        } else if !line.is_empty() && !line.starts_with('#') {
            hours.last_mut().expect("a time comes first").lines.push(Line::of(line));
        }
    }
    assert!(
        hours.windows(2).all(|pair| pair[0].at < pair[1].at),
        "the day goes forward"
    );
    hours
}

fn since_midnight(time: &str) -> Duration {
    let (hours, minutes) = time.split_once(':').expect("HH:MM");
    let (hours, minutes): (u64, u64) = (hours.parse().unwrap(), minutes.parse().unwrap());
    Duration::from_secs((hours * 60 + minutes) * 60)
}

impl Line {
    fn of(line: &str) -> Self {
        let (command, marks) = line.split_once(" #").unwrap_or((line, ""));
        let mut parsed = Self {
            command: command.to_owned(),
            exit: 0,
            needs_node: false,
        };
        for mark in marks.split(" #").filter(|mark| !mark.is_empty()) {
            match mark.split_once(' ') {
                Some(("exit", code)) => parsed.exit = code.parse().expect("an exit code"),
                None if mark == "node" => parsed.needs_node = true,
                _ => panic!("`#{mark}` is no mark"),
            }
        }
        parsed
    }
}

/// What was heard so far.
#[derive(Debug, Default)]
struct Told {
    commands: usize,
    requests: usize,
    faults: Vec<String>,
}

impl Told {
    fn hear(&mut self, line: &Line, bare: &Said, through: &Said) {
        self.commands += 1;
        if bare.code != line.exit || through.code != line.exit {
            self.faults.push(format!(
                "$ {}\n    must end with {}\n--- bare: {}\n{}--- through the gateway: {}\n{}",
                line.command,
                line.exit,
                bare.code,
                bare.text(),
                through.code,
                through.text()
            ));
        }
    }

    fn settle(self, enough: usize) {
        eprintln!(
            "{} commands, {} requests, all of them allowed and recorded",
            self.commands, self.requests
        );
        assert!(self.faults.is_empty(), "\n{}", self.faults.join("\n"));
        assert!(self.commands >= enough, "only {} commands make no day", self.commands);
    }
}

/// Two namespaces alike: in one the ServiceAccount works without a gateway, in the other the agent works through it.
struct Stage {
    world: World,
    tag: String,
    bare: Way,
    bare_kubeconfig: PathBuf,
    through: Way,
    tools: PathBuf,
    begun: std::cell::Cell<Duration>,
    _swept: Swept,
}

struct Way {
    namespace: String,
    dir: PathBuf,
}

/// Removes what the day put into the cluster, also when it fails.
struct Swept {
    bed: Bed,
    tag: String,
}

impl Drop for Swept {
    fn drop(&mut self) {
        let line = format!(
            "kubectl delete --wait=false --ignore-not-found ns {0}-in {0}-by {0}-up",
            self.tag
        );
        kubectl::bash(&self.bed, &self.bed.kubeconfig, &std::env::temp_dir(), &line);
    }
}

impl Stage {
    async fn set(bed: &Bed, name: &str, programs: &[(&str, PathBuf)]) -> Self {
        let tag = format!("{name}-{}", std::process::id());
        let swept = Swept {
            bed: bed.clone(),
            tag: tag.clone(),
        };
        let policies = [&recommended(&tag), mantlet::dev::AGENT_DEPLOYER].join("\n---\n");
        let world = World::start(bed, name, &policies).await;
        world.bare(&seed(&tag)).await.ok();
        let way = |name: &str| Way {
            dir: copy(Path::new(&format!("{CASES}/work")), &world.dir.join(name)),
            namespace: format!("{tag}-{name}"),
        };
        Self {
            bare: way("by"),
            bare_kubeconfig: bare_kubeconfig(&world, &tag),
            through: way("in"),
            tools: tools_folder(&world.dir, programs),
            begun: std::cell::Cell::new(Duration::ZERO),
            world,
            tag,
            _swept: swept,
        }
    }

    /// Moves the clock on, and gives the agent a token of the hour.
    fn begin(&self, hour: &Hour) -> PathBuf {
        let before = self.begun.replace(hour.at);
        if !before.is_zero() {
            self.world.clock.advance(hour.at - before);
        }
        eprintln!("{}", hour.title);
        self.kubeconfig()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.world
            .kubeconfig(Population::Agents, "deployer", &[], &self.through.namespace)
    }

    async fn run(&self, line: &Line, kubeconfig: &Path) -> (Said, Said) {
        tokio::join!(
            self.give(&self.bare, line, &self.bare_kubeconfig),
            self.give(&self.through, line, kubeconfig)
        )
    }

    async fn give(&self, way: &Way, line: &Line, kubeconfig: &Path) -> Said {
        // helm cannot read back what it keeps in a Secret: it comes masked.
        let environment = format!(
            "set -o pipefail; export HELM_DRIVER=configmap NS={} PATH={}:$PATH\n",
            way.namespace,
            self.tools.display()
        );
        self.world
            .run_in(kubeconfig, &way.dir, &format!("{environment}{}", line.command))
            .await
    }

    /// Asks both witnesses: what the gateway recorded, and what the cluster logged.
    async fn settle(self, told: &mut Told) {
        let events = self.world.events().await;
        told.requests = events.len();
        told.faults.extend(events.iter().filter_map(not_allowed));
        if events.len() < told.commands {
            told.faults
                .push(format!("{} requests of {} commands", events.len(), told.commands));
        }
        if let Some(log) = &self.world.bed.audit_log {
            told.faults.extend(unrecorded(log, &events));
        }
        let Self { world, tag, .. } = self;
        eprintln!("the agent of {tag} goes home");
        world.end().await;
    }
}

fn not_allowed(event: &SessionEvent) -> Option<String> {
    let note = |name: &str| event.event.annotations.get(name).map_or("", String::as_str);
    let (decision, reason) = (note("mantlet.dev/decision"), note("mantlet.dev/reason"));
    // The API server said no to the rehearsal, as it would have to the request, and its own words went to the caller: no rule had a part in it.
    let of_the_server = decision == "deny" && reason == "Upstream" && note("mantlet.dev/policy").is_empty();
    (decision != "allow" && !of_the_server).then(|| {
        format!(
            "`{decision}` ({reason}) by {}: {} {}",
            note("mantlet.dev/policy"),
            event.event.verb,
            event.event.request_uri
        )
    })
}

/// What the cluster knows of these sessions and the record does not.
fn unrecorded(log: &Path, events: &[SessionEvent]) -> Vec<String> {
    let sessions: BTreeSet<String> = events.iter().map(|event| event.spec.session.clone()).collect();
    let known: BTreeMap<&str, &SessionEvent> = events
        .iter()
        .map(|event| (event.event.audit_id.as_str(), event))
        .collect();
    let looked_up = |id: &str| {
        events.iter().any(|event| {
            let lookups = event.event.annotations.get("mantlet.dev/lookups");
            lookups.is_some_and(|lookups| lookups.contains(id))
        })
    };
    let logged = audit::of_sessions(log, &sessions);
    assert!(!logged.is_empty(), "the cluster has heard nothing of this day");
    let strangers = logged
        .iter()
        .filter(|logged| !known.contains_key(logged.audit_id.as_str()) && !looked_up(&logged.audit_id));
    strangers
        .map(|logged| format!("not in the record: {} {}", logged.verb, logged.uri))
        .collect()
}

/// The namespaces, and what RBAC grants to who deploys: the ClusterRole `edit`, in one namespace.
fn seed(tag: &str) -> String {
    format!(
        "for ns in {tag}-in {tag}-by {tag}-up; do kubectl create namespace $ns; done && kubectl create serviceaccount deployer -n {tag}-up && \
         for ns in {tag}-in {tag}-by; do \
         kubectl create rolebinding deployer -n $ns --clusterrole=edit --serviceaccount={tag}-up:deployer && \
         kubectl create quota fair -n $ns --hard=pods=30 && \
         kubectl wait --for=create -n $ns serviceaccount/default configmap/kube-root-ca.crt --timeout=60s; done"
    )
}

/// The Agent of the docs, for this cluster and these namespaces.
fn recommended(tag: &str) -> String {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (_, rest) = page.split_once("```yaml\n").expect("an Agent");
    let (agent, _) = rest.split_once("```").expect("its end");
    let ours = [
        ("namespaces: [shop]", format!("namespaces: [{tag}-in]")),
        ("namespace: mantlet-agents", format!("namespace: {tag}-up")),
        ("clusters: [prod]", "clusters: [CLUSTER]".to_owned()),
        ("https://login.example.com", "PEOPLE".to_owned()),
    ];
    ours.iter().fold(agent.to_owned(), |agent, (theirs, ours)| {
        assert!(agent.contains(theirs), "the page says no `{theirs}`");
        agent.replace(theirs, ours)
    })
}

/// The bed's kubeconfig, as the agent's ServiceAccount.
fn bare_kubeconfig(world: &World, tag: &str) -> PathBuf {
    let line = "kubectl config view --raw --minify --flatten -o json";
    let whole = kubectl::bash(&world.bed, &world.bed.kubeconfig, &world.dir, line).ok();
    let mut config: Value = serde_json::from_str(&whole).unwrap();
    config["users"][0]["user"]["as"] = format!("system:serviceaccount:{tag}-up:deployer").into();
    config["contexts"][0]["context"]["namespace"] = format!("{tag}-by").into();
    let path = world.dir.join("bare.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// A folder with nothing in it but these programs.
fn tools_folder(dir: &Path, programs: &[(&str, PathBuf)]) -> PathBuf {
    let folder = dir.join("tools");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, program) in programs {
        std::os::unix::fs::symlink(program, folder.join(name)).unwrap();
    }
    folder
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let into = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &into);
        } else {
            std::fs::copy(entry.path(), into).unwrap();
        }
    }
    to.to_owned()
}

#[test]
fn a_day_is_long_enough_and_every_mark_of_it_is_understood() {
    let commands: usize = day().iter().map(|hour| hour.lines.len()).sum();
    assert!(commands >= ENOUGH, "only {commands} commands");
    let page = std::fs::read_to_string(PAGE).unwrap();
    for hour in day() {
        assert!(
            page.contains(&format!("| {} |", hour.title)),
            "the docs do not tell `{}`",
            hour.title
        );
    }
    let hours = hours("# words\n## 08:00 Begin.\na b #exit 124 #node\n\n## 09:30 Go on.\nc -o jsonpath='{#x}'\n");
    assert_eq!(hours[1].at - hours[0].at, Duration::from_secs(5400));
    let (first, second) = (&hours[0].lines[0], &hours[1].lines[0]);
    assert_eq!(
        (first.command.as_str(), first.exit, first.needs_node),
        ("a b", 124, true)
    );
    assert_eq!((second.command.as_str(), second.exit), ("c -o jsonpath='{#x}'", 0));
}
