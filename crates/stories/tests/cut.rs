//! Streams end when what they rest on ends: the token, the session, the process. Within 5 s, with a word where there is one to say, and with a
//! record of why. Writes that are under way are carried to their end.

use std::io::Read as _;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mantlet_api::gate::SessionEvent;
use mantlet_core::identity::Population;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Bridge, Room, Wire, World, eventually, kubectl, need_bed, wire};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Invariant 6.
const AT_ONCE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn watches_and_followed_logs_end_with_their_token() {
    let bed = need_bed!();
    let world = World::start(bed, "cut-token", "").await;
    let room = Room::open(bed, "cut-token", "cut-reader");
    let wire = dial(&world, "cut-reader").await;
    let mut streams = vec![
        Stream::open(&wire, &room.path("configmaps?watch=true")).await,
        Stream::open(&wire, "/apis/gate.mantlet.dev/v1alpha1/sessions?watch=true").await,
    ];
    if bed.node {
        talk(&room).await;
        streams.push(Stream::open(&wire, &room.path("pods/talker/log?follow=true")).await);
    }
    let kubectl = kubectl_watches(&world, &room, "cut-reader").await;
    for stream in &mut streams {
        stream.begun().await;
    }

    world.clock.advance(HOUR + Duration::from_secs(1));
    let begin = Instant::now();
    let (watches, logs) = streams.split_at_mut(2);
    for stream in watches {
        let (text, end) = stream.ended(AT_ONCE).await;
        assert_eq!(end, End::Clean, "{text}");
        let last = text.lines().last().expect("a last event");
        let last: serde_json::Value = serde_json::from_str(last).expect("JSON");
        assert_eq!((&last["type"], &last["object"]["code"]), (&"ERROR".into(), &401.into()));
    }
    for stream in logs {
        let (text, end) = stream.ended(AT_ONCE).await;
        assert_eq!(end, End::Clean, "{text}");
        assert!(text.lines().all(|line| line.starts_with("talking")), "{text}");
    }
    let (code, mut text) = ended(kubectl).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    text += &std::fs::read_to_string(world.dir.join("watched")).expect("what kubectl printed");
    assert!(text.contains("the token of this watch has expired"), "{code:?}: {text}");
    let ids: Vec<String> = streams.iter().map(|stream| stream.id.clone()).collect();
    for id in &ids {
        assert_eq!(outcome(&world, id).await, "cut: TokenEnded");
    }
    // Once the leeway for clocks that differ is over, the token is worth nothing any more.
    world.clock.advance(mantlet_core::identity::token::LEEWAY);
    assert_eq!(wire.get(&room.path("configmaps")).await.expect("an answer").code, 401);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_session_and_the_next_one_is_another() {
    let bed = need_bed!();
    let room = Room::open(bed, "cut-session", "system:serviceaccount:mantlet-agents:cutter");
    let agent = format!(
        "apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: {{ name: cutter }}
spec:
  match: [{{ expression: claims.sub == 'cutter' }}]
  owners: [{{ issuer: PEOPLE, group: team }}]
  serviceAccount: {{ namespace: mantlet-agents, name: cutter }}
  session: {{ idle: 10m, max: 10m }}
  scope: {{ clusters: [CLUSTER], namespaces: [{}] }}
",
        room.namespace
    );
    let world = World::start(bed, "cut-session", &agent).await;
    let token = world.token(Population::Agents, "cutter", &[]);
    let wire = Wire::dial(world.address, &world.authority, &token).await;
    let path = room.path("configmaps");
    let mut watch = Stream::open(&wire, &format!("{path}?watch=true")).await;
    watch.begun().await;
    world.clock.advance(Duration::from_secs(599));
    let before = wire.get(&path).await.expect("an answer");
    assert_eq!(before.code, 200, "{}", before.text());
    assert!(!watch.is_over(), "its session has a second left");

    world.clock.advance(Duration::from_secs(1));
    let (text, end) = watch.ended(AT_ONCE).await;
    assert_eq!(end, End::Clean, "{text}");
    assert!(
        text.contains(r#""code":410"#) && text.contains("its greatest age"),
        "{text}"
    );
    assert_eq!(outcome(&world, &watch.id).await, "cut: SessionEnded");
    let after = wire.get(&path).await.expect("an answer");
    assert_eq!(after.code, 200, "the token is as good as before: {}", after.text());
    let (watch, before, after) = (
        session(&world, &watch.id).await,
        session(&world, &before.audit_id()).await,
        session(&world, &after.audit_id()).await,
    );
    assert_eq!(watch, before);
    assert_ne!(before, after);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_streams_and_waits_for_nobody_who_does_not_read() {
    let bed = need_bed!();
    let mut world = World::start(bed, "cut-drain", "").await;
    let room = Room::open(bed, "cut-drain", "cut-drainer");
    room.bare(&format!(
        "head -c 900000 /dev/zero | tr '\\0' x > {0}/big && for n in 1 2 3 4; do kubectl -n {1} create configmap big-$n --from-file={0}/big; done",
        world.dir.display(),
        room.namespace
    ))
    .ok();
    let wire = dial(&world, "cut-drainer").await;
    let mut watch = Stream::open(
        &wire,
        &room.path("configmaps?watch=true&fieldSelector=metadata.name%3Dkube-root-ca.crt"),
    )
    .await;
    watch.begun().await;
    // Both take the head of their answer and nothing of its body.
    let stalled = dial(&world, "cut-drainer").await;
    let list = stalled
        .send("GET", &room.path("configmaps"), "", "")
        .await
        .expect("a head");
    let other = stalled
        .send("GET", &room.path("configmaps?watch=true"), "", "")
        .await
        .expect("a head");
    let kubectl = kubectl_watches(&world, &room, "cut-drainer").await;

    let begin = Instant::now();
    world.drain();
    let (text, end) = watch.ended(AT_ONCE).await;
    assert_eq!(end, End::Clean, "{text}");
    assert!(
        !text.contains("ERROR"),
        "a restart is no business of the client: {text}"
    );
    let (code, text) = ended(kubectl).await;
    assert_eq!(code, Some(0), "{text}");
    let events = world.end_and_read().await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    let said = |id: &str| outcome_in(&events, id);
    assert_eq!(said(&watch.id), "cut: Drained");
    assert_eq!(said(&wire::audit_id(other.headers())), "cut: Drained");
    assert_eq!(said(&wire::audit_id(list.headers())), "cut: Stalled");
    // What the reader had not taken of the list does not look like its end.
    let (_, end) = read(list.into_body(), &watch::channel(0).0).await;
    assert_eq!(end, End::Broken);
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_writes_that_are_under_way() {
    let bed = need_bed!();
    let bridge = Bridge::build(bed).await;
    let mut plan = Plan::new(bed, "cut-write");
    plan.kubeconfig = Some(bridge.kubeconfig(bed, &std::env::temp_dir()));
    let mut world = World::start_as(&plan, mantlet_store::Sizes::default()).await;
    world.stage.show_keys();
    let room = Room::open(bed, "cut-write", "cut-writer");
    let wire = dial(&world, "cut-writer").await;
    let path = room.path("configmaps");
    eventually("the gateway serves", PATIENCE, async || {
        wire.get(&path)
            .await
            .is_ok_and(|answer| answer.code == 200)
            .then_some(())
    })
    .await;

    bridge.hold();
    let write = tokio::spawn(async move {
        wire.post(
            &path,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"late"}}"#,
        )
        .await
    });
    eventually("the write is on its way", PATIENCE, async || {
        let events = world.events().await;
        events.iter().any(|event| event.event.verb == "create").then_some(())
    })
    .await;
    world.drain();
    eventually("the gateway takes no more connections", PATIENCE, async || {
        tokio::net::TcpStream::connect(world.address)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert!(!write.is_finished());
    bridge.open();
    let answer = write
        .await
        .expect("joined")
        .expect("the client is answered in spite of the drain");
    assert_eq!(answer.code, 201, "{}", answer.text());
    let events = world.end_and_read().await;
    assert_eq!(outcome_in(&events, &answer.audit_id()), "answered");
    room.bare(&format!("kubectl -n {} get configmap late", room.namespace))
        .ok();
}

/// An answer that is read as it comes.
pub(crate) struct Stream {
    pub(crate) id: String,
    bytes: watch::Receiver<usize>,
    reading: JoinHandle<(String, End)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Broken,
}

impl Stream {
    pub(crate) async fn open(wire: &Wire, path: &str) -> Self {
        let answer = wire.send("GET", path, "", "").await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let (count, bytes) = watch::channel(0);
        Self {
            id: wire::audit_id(answer.headers()),
            bytes,
            reading: tokio::spawn(async move { read(answer.into_body(), &count).await }),
        }
    }

    pub(crate) async fn begun(&mut self) {
        let first = tokio::time::timeout(PATIENCE, self.bytes.wait_for(|bytes| *bytes > 0)).await;
        first.expect("in time").expect("its first bytes come");
    }

    /// The client goes away.
    pub(crate) fn leave(self) {
        self.reading.abort();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.reading.is_finished()
    }

    pub(crate) async fn ended(&mut self, within: Duration) -> (String, End) {
        let end = tokio::time::timeout(within, &mut self.reading).await;
        end.expect("it ends in time").expect("joined")
    }
}

async fn read(mut body: Incoming, count: &watch::Sender<usize>) -> (String, End) {
    let mut text = Vec::new();
    loop {
        match body.frame().await {
            Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Some(Err(_)) => return (String::from_utf8_lossy(&text).into_owned(), End::Broken),
            None => return (String::from_utf8_lossy(&text).into_owned(), End::Clean),
        }
        count.send_replace(text.len());
    }
}

async fn dial(world: &World, who: &str) -> Wire {
    let token = world.token(Population::People, who, &[]);
    Wire::dial(world.address, &world.authority, &token).await
}

/// A pod that says something every second.
pub(crate) async fn talk(room: &Room) {
    let namespace = &room.namespace;
    room.bare(&format!(
        "kubectl -n {namespace} run talker --image=mantlet.test/busybox:1 --image-pull-policy=Never --restart=Never -- sh -c 'while true; do echo talking; sleep 1; done' \
         && kubectl -n {namespace} wait --for=condition=Ready pod/talker --timeout=60s"
    ))
    .ok();
}

/// `kubectl get -w`, once its watch is open.
async fn kubectl_watches(world: &World, room: &Room, who: &str) -> kubectl::Running {
    let kubeconfig = world.kubeconfig(Population::People, who, &[], &room.namespace);
    let line = "exec kubectl get configmaps -w > watched";
    let running = kubectl::bash_running(&world.bed, &kubeconfig, &world.dir, line);
    eventually("kubectl watches", PATIENCE, async || {
        let events = world.events().await;
        let its = |event: &SessionEvent| event.event.verb == "watch" && event.event.user_agent.starts_with("kubectl");
        events.iter().any(its).then_some(())
    })
    .await;
    running
}

/// Waits for kubectl's end; its exit code and stderr.
async fn ended(mut kubectl: kubectl::Running) -> (Option<i32>, String) {
    tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let mut said = kubectl.0.stderr.take().expect("piped");
        said.read_to_string(&mut text).expect("text");
        let status = kubectl.0.wait().expect("it ends");
        (status.code(), text)
    })
    .await
    .expect("joined")
}

pub(crate) async fn outcome(world: &World, id: &str) -> String {
    eventually("the event has ended", PATIENCE, async || {
        let events = world.events().await;
        let event = events.iter().find(|event| event.metadata.name == id)?;
        event.event.annotations.get("mantlet.dev/outcome").cloned()
    })
    .await
}

async fn session(world: &World, id: &str) -> String {
    let events = world.events().await;
    let event = events.into_iter().find(|event| event.metadata.name == id);
    event.expect("recorded").spec.session
}

fn outcome_in(events: &[SessionEvent], id: &str) -> String {
    let event = events.iter().find(|event| event.metadata.name == id).expect("recorded");
    event.event.annotations["mantlet.dev/outcome"].clone()
}
