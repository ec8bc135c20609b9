//! Two witnesses of every request: the gateway's own record and the API server's audit log. They name the same requests by the same Audit-IDs.
//!
//! The gateway of these stories comes with a credential of its own, so that all that it ever sent is known in the API server's log.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mantlet_api::audit::Stage as AuditStage;
use mantlet_api::gate::SessionEvent;
use mantlet_core::identity::Population;
use mantlet_stories::audit::{self, Logged};
use mantlet_stories::kubectl::{self, Said};
use mantlet_stories::{Bed, World, eventually, need_bed};
use serde_json::Value;

mod client;
mod line;

use client::{Sent, piece};
use line::{Holds, Line};

/// How long anything that is waited for may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bed, if its audit log is at hand.
macro_rules! need_log {
    () => {{
        let bed = need_bed!();
        if bed.audit_log.is_none() {
            eprintln!("skipped: the audit log of a cluster that MANTLET_TEST_KUBECONFIG names is out of reach");
            return;
        }
        bed
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_does_is_in_both_logs_once() {
    let place = Place::set(need_log!(), "script").await;
    place.person(SCRIPT).await;
    let said = place.agent(AGENT).await;
    assert!(said.text().contains("ApprovalRequired"), "no refusal: {}", said.text());

    let joined = place.settled(&[]).await;
    assert!(
        joined.of_kubectl >= 60,
        "kubectl hardly did anything: {}",
        joined.summary()
    );
    let dry_runs = joined.events.iter().flat_map(lookups).count();
    assert!(dry_runs >= 5, "only {dry_runs} look-ups: {}", joined.summary());
    for wanted in ["answered", "refused"] {
        assert!(
            joined.outcomes().contains_key(wanted),
            "nothing {wanted}: {}",
            joined.summary()
        );
    }
    assert_eq!(
        joined.of_kubectl,
        joined.events.len(),
        "events beyond the answers that kubectl got"
    );
    place.end(&joined).await;
}

/// As somebody who may do anything.
const SCRIPT: &[&str] = &[
    "kubectl api-resources",
    "kubectl auth whoami",
    "kubectl create configmap one --from-literal=a=1",
    "kubectl create configmap one --from-literal=a=1",
    "kubectl get configmap one -o yaml",
    "kubectl get configmaps --chunk-size=1",
    "kubectl get nosuchthing",
    "kubectl get --raw /nosuch",
    "kubectl create secret generic hidden --from-literal=password=hunter2-hunter2",
    "kubectl get secret hidden -o yaml | kubectl replace -f -",
    "kubectl apply -f config.yaml",
    "kubectl diff -f config2.yaml",
    "kubectl apply --server-side --force-conflicts -f config2.yaml",
    "kubectl patch configmap settings --type=json -p '[{\"op\":\"remove\",\"path\":\"/data/nosuch\"}]'",
    "kubectl label configmap settings walk=yes",
    "kubectl get configmap settings -o yaml | sed 's/green/red/' | kubectl replace -f -",
    // Killed when its watch has said something: a kubectl that is killed before may have sent a request that it says nothing of.
    "exec 3< <(exec kubectl get configmap one -w -o name); read -r -t 60 a <&3; until read -r -t 1 a <&3; do kubectl annotate configmap one at=$SECONDS --overwrite; done; kill $!",
    "kubectl get sessions",
    "kubectl exec nosuch -- true",
    "kubectl get pods --as=somebody",
    "kubectl delete configmap one settings",
];

/// As an agent: the law looks at what a patch would do before it says anything.
const AGENT: &[&str] = &[
    "kubectl apply -f config.yaml",
    "kubectl apply -f config2.yaml",
    "kubectl apply --server-side --force-conflicts -f config.yaml",
    "kubectl apply -f web.yaml",
    "kubectl set image deployment/web web=mantlet.test/busybox:1 --dry-run=server",
    "kubectl set env deployment/web A=b",
    "kubectl scale deployment web --replicas=0",
    "kubectl patch deployment nosuch -p '{\"spec\":{\"replicas\":1}}'",
    "kubectl patch deployment web -p '{\"spec\":{\"replicas\":-1}}'",
    "kubectl patch configmap settings -p '{\"data\":{\"forbidden\":\"1\"}}'",
    "kubectl create role reader --verb=get --resource=pods",
    "kubectl get nodes",
    "kubectl get pods -n kube-system",
    "kubectl create token default",
    "kubectl delete deployment,service web",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_leaves_one_event_behind() {
    let place = Place::set(need_log!(), "leave").await;
    place.fill().await;
    let sent = &place.sent;
    let person = place.token(Population::People);
    let agent = place.token(Population::Agents);
    for token in [&person, &agent] {
        leave_over_http_1(sent, token).await;
        leave_over_http_2(sent, token).await;
    }
    let kept = keep_watching(sent, &person).await;
    let joined = place.settled(&kept.marks).await;
    for wanted in ["answered", "refused", "abandoned"] {
        assert!(
            joined.outcomes().contains_key(wanted),
            "nothing {wanted}: {}",
            joined.summary()
        );
    }
    // A watch has no end but the client's.
    for event in joined.events.iter().filter(|e| e.event.verb == "watch" && !is_open(e)) {
        assert_eq!(outcome(event), "abandoned", "{}", event.event.request_uri);
    }
    place.end(&joined).await;
    drop(kept);
}

async fn leave_over_http_1(sent: &Sent, token: &str) {
    // In the middle of a body.
    let mut client = sent.one(token).await;
    client.send(&sent.create(), |body| &body[..body.len() / 2]).await;
    client.leave();
    let mut client = sent.one(token).await;
    client.send(&sent.create(), |_| "").await;
    client.leave();
    // Right after the request.
    for call in [
        sent.list(),
        sent.watch(),
        sent.create(),
        sent.patch("big-0"),
        sent.patch("nosuch"),
    ] {
        let mut client = sent.one(token).await;
        client.send(&call, |body| body).await;
        client.leave();
    }
    // Right after the head of the answer.
    for call in [sent.list(), sent.watch(), sent.create(), sent.patch("big-0")] {
        let mut client = sent.one(token).await;
        client.send(&call, |body| body).await;
        client.read_to("\r\n\r\n").await;
        client.reset();
    }
    // In the middle of a watch, and of a list.
    let mut client = sent.one(token).await;
    client.send(&sent.watch(), |body| body).await;
    client.read_to("ADDED").await;
    client.reset();
    let mut client = sent.one(token).await;
    client.send(&sent.list(), |body| body).await;
    client.read_to("big-0").await;
    client.leave();
}

async fn leave_over_http_2(sent: &Sent, token: &str) {
    // In the middle of a body; the next answer on the connection says that the request had arrived.
    let mut client = sent.two(token).await;
    let unfinished = client.send(&sent.create(), false);
    client.call(&sent.list()).await;
    drop(unfinished);
    // Right after the request.
    for call in [sent.watch(), sent.create(), sent.patch("big-0")] {
        let answer = client.send(&call, true);
        client.call(&sent.patch("nosuch")).await;
        drop(answer);
    }
    // Right after the head of the answer; in the middle of a list, and of a watch.
    for (call, pieces) in [(sent.list(), 0), (sent.watch(), 0), (sent.list(), 3), (sent.watch(), 1)] {
        let mut answer = client.send(&call, true).await.unwrap();
        for _ in 0..pieces {
            piece(&mut answer).await.unwrap();
        }
    }
    // The stream was one thing, the connection is another.
    let many: Vec<_> = (0..8)
        .map(|n| client.send(&if n % 2 == 0 { sent.list() } else { sent.create() }, true))
        .collect();
    let mut watch = client.send(&sent.watch(), true).await.unwrap();
    piece(&mut watch).await.unwrap();
    client.leave();
    drop((many, watch));
}

/// Two watches that are still there when the gateway ends.
async fn keep_watching(sent: &Sent, token: &str) -> Kept {
    let (one_call, two_call) = (sent.watch(), sent.watch());
    let mut one = sent.one(token).await;
    one.send(&one_call, |body| body).await;
    one.read_to("ADDED").await;
    let mut two = sent.two(token).await;
    let mut answer = two.send(&two_call, true).await.unwrap();
    piece(&mut answer).await.unwrap();
    Kept {
        marks: vec![one_call.mark, two_call.mark],
        _one: one,
        _two: two,
        _answer: answer,
    }
}

struct Kept {
    marks: Vec<String>,
    _one: client::One,
    _two: client::Two,
    _answer: http::Response<hyper::body::Incoming>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_cut_off_leaves_one_event_behind() {
    let place = Place::set(need_log!(), "cut").await;
    place.fill().await;
    let sent = &place.sent;
    let token = place.token(Population::People);
    let mut client = sent.two(&token).await;

    // In the middle of a watch, and of a list that nobody reads.
    let (watch, list) = (sent.watch(), sent.list());
    let mut watching = client.send(&watch, true).await.unwrap();
    piece(&mut watching).await.unwrap();
    let mut listing = client.send(&list, true).await.unwrap();
    piece(&mut listing).await.unwrap();
    place.line.cut();
    assert!(
        broke(&mut watching).await,
        "a watch that was cut off ended as if it were complete"
    );
    assert!(
        broke(&mut listing).await,
        "a list that was cut off ended as if it were complete"
    );

    // A write whose answer is lost happened; the gateway says that it does not know.
    assert_eq!(client.call(&sent.nothing()).await.unwrap(), 200);
    let unanswered = sent.create();
    place.line.hold(Holds::Answers);
    let answer = client.send(&unanswered, true);
    place.exists(&unanswered.mark).await;
    place.line.cut();
    assert_eq!(answer.await.unwrap().status(), 502);

    // One that never arrived did not, and is not sent again.
    assert_eq!(client.call(&sent.nothing()).await.unwrap(), 200);
    let unsent = sent.create();
    place.line.hold(Holds::Requests);
    let answer = client.send(&unsent, true);
    eventually("the request is at the line", PATIENCE, async || {
        (place.line.held() > 0).then_some(())
    })
    .await;
    place.line.cut();
    assert_eq!(answer.await.unwrap().status(), 502);

    // Cut again and again while many are at work.
    storm(&place).await;

    let joined = place.settled(&[]).await;
    let of = |mark: &str| {
        joined
            .events
            .iter()
            .find(|e| e.event.request_uri.contains(mark))
            .unwrap()
    };
    assert_eq!(outcome(of(&watch.mark)), "cut: Broken");
    assert_eq!(outcome(of(&list.mark)), "cut: Broken");
    assert_eq!(outcome(of(&unanswered.mark)), "unknown");
    assert_eq!(outcome(of(&unsent.mark)), "unknown");
    let logged = |mark: &str| joined.logged.contains_key(&of(mark).metadata.name);
    assert!(
        logged(&unanswered.mark) && !logged(&unsent.mark),
        "{}",
        joined.summary()
    );
    assert!(!place.has(&unsent.mark).await, "a write that broke off was sent again");
    place.end(&joined).await;
}

/// Whether the rest of an answer ends in an error.
async fn broke(answer: &mut http::Response<hyper::body::Incoming>) -> bool {
    use http_body_util::BodyExt as _;
    while let Some(frame) = answer.body_mut().frame().await {
        if frame.is_err() {
            return true;
        }
    }
    false
}

/// Readers and writers side by side, of both populations; the line is cut after every tenth answer.
async fn storm(place: &Place) {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    for (worker, population) in [
        Population::People,
        Population::Agents,
        Population::People,
        Population::Agents,
    ]
    .into_iter()
    .enumerate()
    {
        let (sent, told, token) = (place.sent.clone(), told.clone(), place.token(population));
        tokio::spawn(async move {
            let mut client = sent.two(&token).await;
            for turn in 0..15 {
                let call = match (turn + worker) % 3 {
                    0 => sent.list(),
                    1 => sent.create(),
                    _ => sent.patch("big-1"),
                };
                let _ = told.send(client.call(&call).await);
            }
        });
    }
    drop(told);
    let mut answers = 0;
    let mut whole = 0;
    while let Some(answer) = heard.recv().await {
        answers += 1;
        whole += usize::from(answer.is_some_and(|code| code.is_success()));
        if answers % 10 == 0 && answers < 50 {
            place.line.cut();
        }
    }
    assert_eq!(answers, 60);
    assert!(
        whole >= 10,
        "only {whole} of {answers} requests came through: the gateway does not dial again"
    );
}

/// A namespace, a gateway with a credential of its own, the line between it and the API server.
struct Place {
    bed: Bed,
    /// What all names of this story begin with, and its namespace.
    name: String,
    dir: PathBuf,
    line: Line,
    world: World,
    sent: std::sync::Arc<Sent>,
    _cleaner: Cleaner,
}

/// Takes everything off the cluster again, however the story ends.
struct Cleaner {
    bed: Bed,
    dir: PathBuf,
    line: String,
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        let _ = kubectl::bash(&self.bed, &self.bed.kubeconfig, &self.dir, &self.line);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Place {
    async fn set(bed: &Bed, story: &str) -> Self {
        let name = format!("join-{story}-{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("mantlet-{name}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let cleaner = Cleaner {
            bed: bed.clone(),
            dir: dir.clone(),
            line: CLEAN.replace("NAME", &name),
        };
        let token = admin(bed, &dir, &SET.replace("NAME", &name)).await.ok();
        let (line, kubeconfig) = through_a_line(bed, &dir, token.trim()).await;
        let through = Bed {
            kubeconfig,
            ..bed.clone()
        };
        let world = World::start(&through, &name, &ROBOT.replace("NAME", &name)).await;
        let sent = Sent::new(world.address, &world.authority, &name);
        let place = Self {
            bed: bed.clone(),
            name,
            dir,
            line,
            world,
            sent: sent.into(),
            _cleaner: cleaner,
        };
        place.spy();
        place
    }

    /// A kubectl that writes down the Audit-ID of every answer that it gets.
    fn spy(&self) {
        let manifests = format!("{}/cases/transparency/manifests", env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(manifests).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.dir.join(file.file_name())).unwrap();
        }
        let (bin, script) = (self.dir.join("bin"), self.dir.join("bin/kubectl"));
        std::fs::create_dir_all(&bin).unwrap();
        let text = format!(
            "#!/bin/sh\nexec {} -v=8 \"$@\" 2>>{}/said\n",
            self.bed.kubectl.display(),
            self.dir.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn token(&self, population: Population) -> String {
        self.world.token(population, &self.name, &[])
    }

    async fn person(&self, lines: &[&str]) -> Said {
        self.run(Population::People, lines).await
    }

    async fn agent(&self, lines: &[&str]) -> Said {
        self.run(Population::Agents, lines).await
    }

    async fn run(&self, population: Population, lines: &[&str]) -> Said {
        let kubeconfig = self.world.kubeconfig(population, &self.name, &[], &self.name);
        let script = format!("PATH={}/bin:$PATH\n{}\ncat said", self.dir.display(), lines.join("\n"));
        self.world.run_in(&kubeconfig, &self.dir, &script).await
    }

    /// Lists of 6 MB, so that there is a middle to leave in.
    async fn fill(&self) {
        let line = format!(
            "head -c 600000 /dev/zero | tr '\\0' x >big; for n in 0 1 2 3 4 5 6 7 8 9; do kubectl create configmap -n {} big-$n --from-file=big; done",
            self.name
        );
        admin(&self.bed, &self.dir, &line).await.ok();
    }

    async fn has(&self, configmap: &str) -> bool {
        let line = format!("kubectl get configmap -n {} {configmap}", self.name);
        admin(&self.bed, &self.dir, &line).await.code == 0
    }

    async fn exists(&self, configmap: &str) {
        eventually("the write is done", PATIENCE, async || {
            self.has(configmap).await.then_some(())
        })
        .await;
    }

    /// What both witnesses say, once they say the same. Only the requests marked by `kept` may still be under way.
    async fn settled(&self, kept: &[String]) -> Joined {
        let begin = Instant::now();
        loop {
            let joined = self.joined().await;
            let faults = joined.faults(kept);
            if faults.is_empty() {
                eprintln!("{}: {}", self.name, joined.summary());
                return joined;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{} faults between the two logs ({}):\n{}",
                faults.len(),
                joined.summary(),
                faults.join("\n")
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn joined(&self) -> Joined {
        let events = self.world.events().await;
        let log = self.bed.audit_log.as_deref().unwrap();
        let mut logged: BTreeMap<String, Vec<Logged>> = BTreeMap::new();
        for line in audit::by_user(log, &format!("system:serviceaccount:{}-own:gateway", self.name)) {
            logged.entry(line.audit_id.clone()).or_default().push(line);
        }
        let mut known = self.sent.marks();
        let of_kubectl = audit_ids(&self.dir.join("said"));
        known.extend(of_kubectl.iter().cloned());
        Joined {
            events,
            logged,
            known,
            of_kubectl: of_kubectl.len(),
        }
    }

    /// Ends the gateway and reads again what it left on disk.
    async fn end(self, before: &Joined) {
        let after = self.world.end_and_read().await;
        let names =
            |events: &[SessionEvent]| -> BTreeSet<String> { events.iter().map(|e| e.metadata.name.clone()).collect() };
        assert_eq!(
            names(&before.events),
            names(&after),
            "what is on disk is not what was shown"
        );
        for event in &after {
            let then = before
                .events
                .iter()
                .find(|e| e.metadata.name == event.metadata.name)
                .unwrap();
            assert!(!is_open(event), "still open after the end: {}", event.event.request_uri);
            match is_open(then) {
                // Ended by the gateway, not found unclosed when its store was opened again.
                true => assert_eq!(outcome(event), "cut: Drained"),
                false => assert_eq!(outcome(event), outcome(then)),
            }
        }
    }
}

/// Both witnesses.
struct Joined {
    events: Vec<SessionEvent>,
    /// By Audit-ID, a line for each stage.
    logged: BTreeMap<String, Vec<Logged>>,
    /// Everything that is known to have been sent to the gateway: a mark in its URI, or its Audit-ID.
    known: Vec<String>,
    of_kubectl: usize,
}

impl Joined {
    fn faults(&self, kept: &[String]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut named: BTreeMap<String, &SessionEvent> = BTreeMap::new();
        let mut looked_up = BTreeMap::new();
        for event in &self.events {
            if named.insert(event.metadata.name.clone(), event).is_some() {
                faults.push(format!("two events named {}", event.metadata.name));
            }
            looked_up.extend(lookups(event).into_iter().map(|(id, came)| (id, (came, event))));
        }
        for (id, lines) in &self.logged {
            faults.extend(fault_of_log(id, lines, &named, looked_up.contains_key(id)));
        }
        for event in &self.events {
            let kept = kept.iter().any(|mark| event.event.request_uri.contains(mark));
            faults.extend(fault_of_event(
                event,
                self.logged.contains_key(&event.metadata.name),
                kept,
            ));
        }
        for (id, (came, event)) in &looked_up {
            if *came && !self.logged.contains_key(id) {
                faults.push(format!("look-up {id} of {} is not in the log", event.metadata.name));
            }
        }
        for known in &self.known {
            let is = |e: &&SessionEvent| e.metadata.name == *known || e.event.request_uri.contains(known.as_str());
            match self.events.iter().filter(is).count() {
                1 => {}
                count => faults.push(format!("{count} events for the request {known}")),
            }
        }
        if self.events.len() != self.known.len() {
            faults.push(format!("{} requests, {} events", self.known.len(), self.events.len()));
        }
        faults
    }

    fn outcomes(&self) -> BTreeMap<&str, usize> {
        let mut outcomes = BTreeMap::new();
        for event in &self.events {
            *outcomes.entry(outcome(event)).or_default() += 1;
        }
        outcomes
    }

    fn summary(&self) -> String {
        format!(
            "{} requests sent, {} events, {} Audit-IDs in the API server's log, {} look-ups; {:?}",
            self.known.len(),
            self.events.len(),
            self.logged.len(),
            self.events.iter().map(|e| lookups(e).len()).sum::<usize>(),
            self.outcomes()
        )
    }
}

/// What the gateway sent is a caller's request, a look-up for one, or its own.
fn fault_of_log(
    id: &str,
    lines: &[Logged],
    named: &BTreeMap<String, &SessionEvent>,
    looked_up: bool,
) -> Option<String> {
    let ends = lines
        .iter()
        .filter(|l| matches!(l.stage.as_str(), "ResponseComplete" | "Panic"));
    if ends.count() > 1 {
        return Some(format!("{id} was sent more than once: {lines:?}"));
    }
    let (line, session) = (lines.first()?, audit::session(lines.first()?));
    let fault = |what: &str| Some(format!("{what}: {id} {} {}", line.verb, line.uri));
    match (id.starts_with("own-"), named.get(id), looked_up) {
        (true, None, false) if line.impersonated_user.is_none() => None,
        (true, _, _) => fault("an own call as somebody"),
        (false, Some(event), false) => {
            let wanted = event.event.annotations.get("mantlet.dev/session");
            (session.as_ref() != wanted)
                .then(|| format!("{id} went out in session {session:?}, its event says {wanted:?}"))
        }
        (false, None, true) if line.uri.contains("dryRun=All") => None,
        (false, None, true) => fault("a look-up that is no dry-run"),
        (false, Some(_), true) => fault("a look-up with the name of an event"),
        (false, None, false) => fault("in the log and in no event"),
    }
}

fn fault_of_event(event: &SessionEvent, logged: bool, kept: bool) -> Option<String> {
    let fault = |what: &str| {
        Some(format!(
            "{what}: {} {} ({})",
            event.metadata.name,
            event.event.request_uri,
            outcome(event)
        ))
    };
    let here = event.event.request_uri.contains("/apis/gate.mantlet.dev");
    match (outcome(event), logged) {
        ("open", true) if kept => None,
        ("open", _) => fault("still open"),
        ("refused", true) => fault("refused, and in the log"),
        (_, true) if here => fault("answered here, and in the log"),
        ("answered", false) if !here => fault("answered, and not in the log"),
        (cut, false) if cut.starts_with("cut") && !here => fault("cut, and not in the log"),
        // Whether it was sent is not known.
        ("abandoned" | "unknown", _) => None,
        _ => None,
    }
}

fn outcome(event: &SessionEvent) -> &str {
    if is_open(event) {
        return "open";
    }
    event
        .event
        .annotations
        .get("mantlet.dev/outcome")
        .map_or("none", String::as_str)
}

fn is_open(event: &SessionEvent) -> bool {
    event.event.stage == AuditStage::RequestReceived
}

#[test]
fn a_witness_that_says_more_than_the_other_is_a_fault() {
    use serde_json::json;
    let event = |id: &str, outcome: &str, lookups: Value| -> SessionEvent {
        let notes = json!({"mantlet.dev/outcome": outcome, "mantlet.dev/session": "s", "mantlet.dev/lookups": lookups.to_string()});
        serde_json::from_value(json!({
            "apiVersion": "gate.mantlet.dev/v1alpha1", "kind": "SessionEvent", "spec": {"session": "s"},
            "metadata": {"name": id, "uid": "", "resourceVersion": "", "creationTimestamp": ""},
            "event": {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": id, "stage": "ResponseComplete", "verb": "get",
                "requestURI": "/api/v1/pods", "user": {}, "requestReceivedTimestamp": "", "stageTimestamp": "", "annotations": notes},
        }))
        .unwrap()
    };
    let line = |id: &str, uri: &str| -> Logged {
        let somebody = (!id.starts_with("own-")).then(|| json!({"extra": {"mantlet.dev/session": ["s"]}}));
        let line = json!({"auditID": id, "stage": "ResponseComplete", "verb": "get", "requestURI": uri, "user": {}, "impersonatedUser": somebody});
        serde_json::from_value(line).unwrap()
    };
    let faults = |events: &[SessionEvent], lines: &[&Logged]| {
        let mut logged: BTreeMap<String, Vec<Logged>> = BTreeMap::new();
        for line in lines {
            logged
                .entry(line.audit_id.clone())
                .or_default()
                .push(Logged::clone(line));
        }
        let known = events.iter().map(|e| e.metadata.name.clone()).collect();
        let events = events.to_vec();
        Joined {
            events,
            logged,
            known,
            of_kubectl: 0,
        }
        .faults(&[])
        .len()
    };
    let none = || json!([]);
    let looked = || json!([{"auditId": "a.1", "kind": "dryRun", "code": 200}]);
    let (a, look, own) = (
        line("a", "/api/v1/pods"),
        line("a.1", "/api/v1/pods?dryRun=All"),
        line("own-b", "/version"),
    );
    let answered = [event("a", "answered", looked())];
    assert_eq!(faults(&answered, &[&a, &look, &own]), 0);
    assert_eq!(faults(&answered, &[&look]), 1, "answered, and not in the log");
    assert_eq!(faults(&answered, &[&a]), 1, "a look-up that is not in the log");
    assert_eq!(faults(&answered, &[&a, &a, &look]), 1, "sent twice");
    assert_eq!(
        faults(&answered, &[&a, &line("a.1", "/api/v1/pods")]),
        1,
        "a look-up that changes something"
    );
    assert_eq!(
        faults(&[event("a", "answered", none())], &[&a, &look]),
        1,
        "a look-up that no event lists"
    );
    assert_eq!(faults(&[], &[&a]), 1, "in the log and in no event");
    assert_eq!(
        faults(&[event("a", "refused", none())], &[&a]),
        1,
        "refused, and in the log"
    );
    assert_eq!(faults(&[event("a", "refused", none())], &[]), 0);
    assert_eq!(
        faults(&[event("a", "answered", none()), event("a", "answered", none())], &[&a]),
        3,
        "two events of one name"
    );
}

/// The look-ups that an event lists, and whether an answer came.
fn lookups(event: &SessionEvent) -> Vec<(String, bool)> {
    let listed = event.event.annotations.get("mantlet.dev/lookups");
    let listed: Vec<Value> = listed.map_or_else(Vec::new, |text| serde_json::from_str(text).unwrap());
    listed
        .iter()
        .map(|l| (l["auditId"].as_str().unwrap().to_owned(), l.get("code").is_some()))
        .collect()
}

/// The Audit-IDs in what `kubectl -v=8` says.
fn audit_ids(said: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(said).unwrap_or_default();
    let ids: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Audit-Id: "))
        .map(ToOwned::to_owned)
        .collect();
    let answers = text.lines().filter(|line| line.contains("] \"Response\" ")).count();
    assert_eq!(ids.len(), answers, "an answer of the gateway without an Audit-ID");
    ids
}

async fn admin(bed: &Bed, dir: &Path, line: &str) -> Said {
    let (bed, dir, line) = (bed.clone(), dir.to_owned(), line.to_owned());
    tokio::task::spawn_blocking(move || kubectl::bash(&bed, &bed.kubeconfig, &dir, &line))
        .await
        .unwrap()
}

/// A line to the bed's API server, and a kubeconfig that goes over it as `token`.
async fn through_a_line(bed: &Bed, dir: &Path, token: &str) -> (Line, PathBuf) {
    let whole = admin(bed, dir, "kubectl config view --raw --minify --flatten -o json")
        .await
        .ok();
    let mut config: Value = serde_json::from_str(&whole).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let line = Line::lay(server.strip_prefix("https://").unwrap().parse().unwrap()).await;
    config["clusters"][0]["cluster"]["server"] = format!("https://{}", line.address).into();
    config["users"][0]["user"] = serde_json::json!({"token": token});
    let path = dir.join("line.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    (line, path)
}

/// The gateway may be whoever the story is about and nobody else; says its token.
const SET: &str = r#"
set -e
{
kubectl create namespace NAME; kubectl create namespace NAME-own
kubectl create serviceaccount -n NAME-own gateway; kubectl create serviceaccount -n NAME-own robot
kubectl apply -f - <<EOF
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: NAME }
rules:
- { apiGroups: [""], resources: [users, groups], verbs: [impersonate] }
- { apiGroups: [""], resources: [serviceaccounts], resourceNames: [robot], verbs: [impersonate] }
- { apiGroups: [authentication.k8s.io], resources: [userextras/mantlet.dev/session], verbs: [impersonate] }
- { apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get] }
EOF
kubectl create clusterrolebinding NAME --clusterrole=NAME --serviceaccount=NAME-own:gateway
kubectl create clusterrolebinding NAME-person --clusterrole=cluster-admin --user=NAME
kubectl create rolebinding -n NAME robot --clusterrole=edit --serviceaccount=NAME-own:robot
until kubectl auth can-i impersonate users --as=system:serviceaccount:NAME-own:gateway &&
      kubectl auth can-i create configmaps --as=NAME &&
      kubectl auth can-i create configmaps -n NAME --as=system:serviceaccount:NAME-own:robot; do [ $SECONDS -lt 60 ]; done
} >&2
kubectl create token -n NAME-own gateway --duration=1h
"#;

const CLEAN: &str = "kubectl delete --wait=false --ignore-not-found namespace/NAME namespace/NAME-own clusterrole/NAME clusterrolebinding/NAME clusterrolebinding/NAME-person";

const ROBOT: &str = "
apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: { name: robot }
spec:
  match: [ { expression: \"claims.sub == 'NAME'\" } ]
  owners: [ { issuer: PEOPLE, group: team } ]
  serviceAccount: { namespace: NAME-own, name: robot }
  scope: { clusters: [CLUSTER], namespaces: [NAME] }
---
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: looks-at-config-maps }
spec:
  mode: { agents: enforce, people: warn }
  matchConstraints:
    resourceRules:
    - { apiGroups: [\"\"], resources: [configmaps], operations: [create, update, patch] }
  validations:
  - { expression: \"!object.?data.orValue({}).exists(key, key == 'forbidden')\", action: Deny, message: that key is forbidden }
";
