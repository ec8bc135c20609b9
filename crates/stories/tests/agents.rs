//! Agents at run time: stopped at once by an operator, ended by their own end, held to their limits; and what a cluster's own tokens are worth.

use std::path::Path;
use std::time::{Duration, Instant};

use mantlet_api::gate::SessionEvent;
use mantlet_core::identity::Population;
use mantlet_stories::kubectl::Said;
use mantlet_stories::served::program;
use mantlet_stories::stage::{OPERATORS, Plan};
use mantlet_stories::wire::{self, Answer};
use mantlet_stories::{Bed, Bridge, Room, Served, Wire, World, audit, eventually, need_bed};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cut::{End, Stream, outcome, talk};

/// Invariant 6.
const SOON: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
const GATE: &str = "/apis/gate.mantlet.dev/v1alpha1";
const STOP: &str = r#"{"apiVersion": "gate.mantlet.dev/v1alpha1", "kind": "StopOptions"}"#;

/// T45: whoever is disabled in the middle of a watch or a followed log hears it there.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_agent_is_stopped_in_all_its_identities_at_once() {
    let bed = need_bed!();
    let room = Room::open(bed, "halt", "system:serviceaccount:mantlet-agents:halt");
    let agents = [
        agent("halt", "claims.sub.startsWith('halt-')", "{}", &room),
        agent("other", "claims.sub == 'other'", "{}", &room),
    ];
    let world = World::start(bed, "halt", &agents.join("---\n")).await;
    let (one, two) = (dial(&world, "halt-1").await, dial(&world, "halt-2").await);
    let path = room.path("configmaps");
    let mut streams = vec![
        Stream::open(&one, &format!("{path}?watch=true")).await,
        Stream::open(&two, &format!("{path}?watch=true")).await,
        Stream::open(&two, &format!("{GATE}/sessions?watch=true")).await,
    ];
    if bed.node {
        talk(&room).await;
        streams.push(Stream::open(&one, &room.path("pods/talker/log?follow=true")).await);
    }
    for stream in &mut streams {
        stream.begun().await;
    }
    // The watches outlive their session, which is idle by now.
    world.clock.advance(Duration::from_secs(40 * 60));
    assert_eq!(one.get(&path).await.expect("an answer").code, 200);

    let operator = world.kubeconfig(Population::People, "ops", &[OPERATORS], "default");
    let begin = Instant::now();
    let said = mantlet(&operator, &["agent", "suspend", "halt", "--reason", "it wandered"]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "agent/halt suspended\n"),
        "{}",
        said.err
    );
    for wire in [&one, &two, &dial(&world, "halt-3").await] {
        let refused = wire.get(&path).await.expect("an answer");
        assert_refused(&refused, 403, "AgentSuspended", "agent \"halt\" is suspended");
        let of_itself = wire.get(&format!("{GATE}/agents/halt")).await.expect("an answer");
        assert_refused(&of_itself, 403, "AgentSuspended", "do not retry");
    }
    let in_force = begin.elapsed();
    for (at, stream) in streams.iter_mut().enumerate() {
        let (text, end) = stream.ended(SOON).await;
        assert_eq!(end, End::Clean, "{text}");
        assert_eq!(text.contains("has suspended the agent"), at < 3, "{at}: {text}");
        assert_eq!(outcome(&world, &stream.id).await, "cut: AgentSuspended");
    }
    eprintln!(
        "suspend: {in_force:?} with the start of the program, streams ended by {:?}",
        begin.elapsed()
    );
    assert_eq!(
        dial(&world, "other").await.get(&path).await.expect("an answer").code,
        403,
        "RBAC: it has no rights here"
    );
    let other = dial(&world, "other")
        .await
        .get(&format!("{GATE}/agents/other"))
        .await
        .expect("an answer");
    assert_eq!(other.code, 200, "{}", other.text());

    let shown = mantlet(&operator, &["agent", "get", "halt", "-o", "wide"]).await.ok();
    assert!(
        shown.contains("Suspended") && shown.contains("ops") && shown.contains("it wandered"),
        "{shown}"
    );
    let kubectl = world
        .run(&operator, "kubectl get agents && kubectl explain agents.status.phase")
        .await
        .ok();
    assert!(
        kubectl.contains("halt    Suspended") && kubectl.contains("other   Active"),
        "{kubectl}"
    );
    let resumed = mantlet(&operator, &["agent", "resume", "halt"]).await;
    assert_eq!(resumed.code, 3, "{}", resumed.text());
    assert!(resumed.err.contains("decision credential"), "{}", resumed.err);

    let events = world.events().await;
    let stops: Vec<_> = events.iter().filter(|event| subresource(event) == "suspend").collect();
    assert_eq!(stops.len(), 1, "one request, one event");
    assert_eq!((stops[0].event.verb.as_str(), code(stops[0])), ("create", 201));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_holds_after_kill_nine() {
    let bed = need_bed!();
    let room = Room::open(bed, "stay", "system:serviceaccount:mantlet-agents:stay");
    let mut plan = Plan::new(bed, "stay");
    plan.policies = agent("stay", "claims.sub == 'stay'", "{}", &room);
    let mut served = Served::start(plan).await;
    let wire = async |served: &Served| {
        let token = served.token(Population::Agents, "stay");
        Wire::dial(served.address, &served.stage.authority, &token).await
    };
    let path = room.path("configmaps");
    assert_eq!(wire(&served).await.get(&path).await.expect("an answer").code, 200);
    let token = served.stage.token(
        Population::People,
        "ops",
        &[OPERATORS],
        mantlet_stories::world::real_now(),
    );
    let operator = Wire::dial(served.address, &served.stage.authority, &token).await;
    let done = operator
        .post(&format!("{GATE}/agents/stay/suspend"), STOP)
        .await
        .expect("an answer");
    assert_eq!(done.code, 201, "{}", done.text());
    served.kill();
    served.restart().await;
    let refused = wire(&served).await.get(&path).await.expect("an answer");
    assert_refused(&refused, 403, "AgentSuspended", "is suspended");
    served.stop().await;
}

/// The agent has sent a head and half a body before it is suspended; the other half comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_takes_its_time_comes_too_late() {
    let bed = need_bed!();
    let room = Room::open(bed, "late", "system:serviceaccount:mantlet-agents:late");
    let world = World::start(bed, "late", &agent("late", "claims.sub == 'late'", "{}", &room)).await;
    let token = world.token(Population::Agents, "late", &[]);
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}).to_string();
    let (first, second) = body.split_at(body.len() / 2);
    let mut stream = wire::tls(world.address, &world.authority, b"http/1.1").await;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{first}",
        room.path("configmaps"),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    eventually("the request has a session", PATIENCE, async || {
        let sessions = operator(&world)
            .await
            .get(&format!("{GATE}/sessions"))
            .await
            .expect("an answer");
        sessions.text().contains("\"agent\":\"late\"").then_some(())
    })
    .await;
    let done = operator(&world)
        .await
        .post(&format!("{GATE}/agents/late/suspend"), STOP)
        .await;
    assert_eq!(done.expect("an answer").code, 201);
    stream.write_all(second.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("AgentSuspended"),
        "{answer}"
    );
    let there = room.bare(&format!("kubectl -n {} get configmap late", room.namespace));
    assert_ne!(there.code, 0, "it reached the cluster: {}", there.out);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_over_for_its_credential_and_no_other() {
    let bed = need_bed!();
    let room = Room::open(bed, "over", "over-person");
    let world = World::start(bed, "over", "").await;
    let person = Wire::dial(
        world.address,
        &world.authority,
        &world.token(Population::People, "over-person", &[]),
    )
    .await;
    let path = room.path("configmaps");
    let mut watch = Stream::open(&person, &format!("{path}?watch=true")).await;
    watch.begun().await;
    let session = session_of(&world, &watch.id).await;
    let operator_file = world.kubeconfig(Population::People, "ops", &[OPERATORS], "default");
    let begin = Instant::now();
    let said = mantlet(&operator_file, &["sessions", "end", &session]).await;
    assert_eq!(
        (said.code, said.out),
        (0, format!("session/{session} ended\n")),
        "{}",
        said.err
    );
    assert_refused(
        &person.get(&path).await.expect("an answer"),
        403,
        "SessionEnded",
        &session,
    );
    let (text, end) = watch.ended(SOON).await;
    assert_eq!(end, End::Clean, "{text}");
    assert!(text.contains("has ended the session"), "{text}");
    eprintln!("sessions end: {:?}", begin.elapsed());
    assert_eq!(outcome(&world, &watch.id).await, "cut: SessionStopped");
    let shown = operator(&world)
        .await
        .get(&format!("{GATE}/sessions/{session}"))
        .await
        .expect("an answer");
    let shown: Value = serde_json::from_str(&shown.text()).expect("JSON");
    assert_eq!(
        (&shown["status"]["phase"], &shown["status"]["endedReason"]),
        (&"Ended".into(), &"Operator".into())
    );
    // Somebody else's session, and the same person's once this one would have been too old.
    let other = Wire::dial(
        world.address,
        &world.authority,
        &world.token(Population::People, "over-other", &[]),
    )
    .await;
    assert_eq!(other.get("/version").await.expect("an answer").code, 200);
    world.clock.advance(Duration::from_secs(8 * 3600));
    let token = world.token(Population::People, "over-person", &[]);
    let anew = Wire::dial(world.address, &world.authority, &token).await;
    assert_eq!(anew.get(&path).await.expect("an answer").code, 200);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_stop_anybody_and_only_who_oversees_sees_agents() {
    let bed = need_bed!();
    let room = Room::open(bed, "role", "system:serviceaccount:mantlet-agents:role");
    let agents = [
        agent("role", "claims.sub == 'role'", "{}", &room),
        agent("peer", "claims.sub == 'peer'", "{}", &room),
    ];
    let world = World::start(bed, "role", &agents.join("---\n")).await;
    let person = async |groups: &[&str]| {
        let token = world.token(Population::People, "role-person", groups);
        Wire::dial(world.address, &world.authority, &token).await
    };
    let names = async |wire: &Wire| {
        let list = wire.get(&format!("{GATE}/agents")).await.expect("an answer");
        assert_eq!(list.code, 200, "{}", list.text());
        let list: Value = serde_json::from_str(&list.text()).expect("JSON");
        let items = list["items"].as_array().expect("items").iter();
        items
            .map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    let (nobody, viewer, itself) = (person(&[]).await, person(&["sre"]).await, dial(&world, "role").await);
    assert_eq!(names(&nobody).await, [""; 0]);
    assert_eq!(names(&viewer).await, ["peer", "role"]);
    assert_eq!(names(&operator(&world).await).await, ["peer", "role"]);
    assert_eq!(names(&itself).await, ["role"]);
    assert_eq!(
        itself
            .get(&format!("{GATE}/agents/peer"))
            .await
            .expect("an answer")
            .code,
        404
    );
    for wire in [&nobody, &viewer, &itself] {
        // To whoever has no right to it, a name that exists is like one that does not.
        for name in ["role", "no-such"] {
            for what in ["suspend", "resume"] {
                let refused = wire
                    .post(&format!("{GATE}/agents/{name}/{what}"), STOP)
                    .await
                    .expect("an answer");
                assert_refused(&refused, 403, "Forbidden", "the role operator on cluster");
            }
        }
        let refused = wire
            .post(&format!("{GATE}/sessions/ses-x/end"), STOP)
            .await
            .expect("an answer");
        assert_refused(&refused, 403, "Forbidden", "the role operator on cluster");
    }
    let operator = operator(&world).await;
    let cases = [
        ("agents/no-such/suspend", STOP, 404),
        ("agents/role/resume", STOP, 403),
        ("agents/role/suspend", "{}", 400),
        ("agents/role/suspend", r#"{"kind": "StopOptions", "after": "1h"}"#, 400),
        ("agents/role/suspend?dryRun=All", STOP, 201),
        ("agents/role/status", STOP, 405),
        ("agents", STOP, 405),
        ("sessions/no-such/end", STOP, 404),
        ("sessions/no-such/end", r#"{"kind": "StopOptions", "reason": "x"}"#, 400),
    ];
    for (path, body, code) in cases {
        let answer = operator.post(&format!("{GATE}/{path}"), body).await.expect("an answer");
        assert_eq!(answer.code, code, "{path}: {}", answer.text());
    }
    assert_eq!(
        itself.get("/version").await.expect("an answer").code,
        200,
        "nothing of that has stopped it"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_when_it_expires_and_its_streams_with_it() {
    let bed = need_bed!();
    let room = Room::open(bed, "ends", "system:serviceaccount:mantlet-agents:ends");
    let ends = mantlet_stories::world::real_now()
        .after(Duration::from_secs(1800))
        .to_seconds_text();
    let text = agent("ends", "claims.sub == 'ends'", "{}", &room) + &format!("  expiresAt: \"{ends}\"\n");
    let world = World::start(bed, "ends", &text).await;
    let wire = dial(&world, "ends").await;
    let mut watch = Stream::open(&wire, &room.path("configmaps?watch=true")).await;
    watch.begun().await;
    world.clock.advance(Duration::from_secs(1790));
    assert_eq!(wire.get(&room.path("configmaps")).await.expect("an answer").code, 200);
    assert!(!watch.is_over());
    world.clock.advance(Duration::from_secs(10));
    let (text, end) = watch.ended(SOON).await;
    assert_eq!(end, End::Clean, "{text}");
    assert!(text.contains("the Agent of this watch has expired"), "{text}");
    assert_eq!(outcome(&world, &watch.id).await, "cut: AgentEnded");
    let refused = wire.get("/version").await.expect("an answer");
    assert_refused(&refused, 403, "NotRecognized", "has expired");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_no_agent_or_two_is_told_what_to_do() {
    let bed = need_bed!();
    let room = Room::open(bed, "twin", "system:serviceaccount:mantlet-agents:twin");
    let agents = [
        agent("twin", "claims.sub.startsWith('twin')", "{}", &room),
        agent(
            "twin-b",
            "claims.sub == 'twin-b' || claims.sub == 'torn' && claims.missing == 1",
            "{}",
            &room,
        ),
    ];
    let world = World::start(bed, "twin", &agents.join("---\n")).await;
    for (subject, says) in [
        ("nobody", "ask whoever runs the gateway to register it"),
        ("twin-b", "makes one `match` stricter"),
        ("torn", "finds in its log which Agent's `match` fails"),
    ] {
        let refused = dial(&world, subject).await.get("/version").await.expect("an answer");
        assert_refused(&refused, 403, "NotRecognized", says);
    }
    assert_eq!(
        dial(&world, "twin-a")
            .await
            .get("/version")
            .await
            .expect("an answer")
            .code,
        200
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sends_no_more_a_second_than_its_limit() {
    let bed = need_bed!();
    let room = Room::open(bed, "rate", "system:serviceaccount:mantlet-agents:rate");
    let world = World::start(
        bed,
        "rate",
        &agent(
            "rate",
            "claims.sub.startsWith('rate')",
            "{ requestsPerSecond: 5 }",
            &room,
        ),
    )
    .await;
    let wires = [dial(&world, "rate-1").await, dial(&world, "rate-2").await];
    let path = room.path("configmaps");
    let begin = Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..60 {
        let (wire, path) = (wires[n % 2].clone(), path.clone());
        requests.spawn(async move { wire.get(&path).await.expect("an answer") });
    }
    let answers = requests.join_all().await;
    // As many at once as in a second, and then as the time allows.
    let most = 6 + 5 * (begin.elapsed().as_secs() as usize + 1);
    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.code == 200);
    assert!((5..=most).contains(&passed.len()), "{} of {most}", passed.len());
    for answer in &refused {
        assert_limited(answer, "may send 5 requests a second");
    }
    assert_recorded_and_unsent(&world, bed, &refused).await;
    // A person beside it is not counted, and the agent goes on a second later.
    let person = Wire::dial(
        world.address,
        &world.authority,
        &world.token(Population::People, "rate-person", &[]),
    )
    .await;
    assert_eq!(person.get("/version").await.expect("an answer").code, 200);
    eventually("it may go on", SOON, async || {
        (wires[0].get(&path).await.expect("an answer").code == 200).then_some(())
    })
    .await;
    // kubectl waits the second that the answer names, and says nothing of it.
    let kubeconfig = world.kubeconfig(Population::Agents, "rate-1", &[], &room.namespace);
    world
        .run(
            &kubeconfig,
            "for n in 1 2 3 4; do kubectl get configmaps > /dev/null || exit 1; done",
        )
        .await
        .ok();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_no_more_under_way_than_its_limits() {
    let bed = need_bed!();
    let room = Room::open(bed, "many", "system:serviceaccount:mantlet-agents:many");
    let bridge = Bridge::build(bed).await;
    let mut plan = Plan::new(bed, "many");
    plan.kubeconfig = Some(bridge.kubeconfig(bed, &std::env::temp_dir()));
    plan.policies = agent(
        "many",
        "claims.sub.startsWith('many')",
        "{ inFlight: 2, watches: 1 }",
        &room,
    );
    let mut world = World::start_as(&plan, mantlet_store::Sizes::default()).await;
    world.stage.show_keys();
    let (one, two) = (dial(&world, "many-1").await, dial(&world, "many-2").await);
    let path = room.path("configmaps");
    eventually("the gateway serves", PATIENCE, async || {
        (one.get(&path).await.expect("an answer").code == 200).then_some(())
    })
    .await;

    let mut watch = Stream::open(&one, &format!("{path}?watch=true")).await;
    watch.begun().await;
    let second = two.get(&format!("{path}?watch=true")).await.expect("an answer");
    assert_limited(&second, "have 1 watches and followed logs open at once");
    assert_eq!(
        two.get(&path).await.expect("an answer").code,
        200,
        "a watch takes no room of the others"
    );

    bridge.hold();
    let held: Vec<_> = [&one, &two]
        .map(|wire| {
            let (wire, path) = (wire.clone(), path.clone());
            tokio::spawn(async move { wire.get(&path).await.expect("an answer") })
        })
        .into();
    eventually("both are under way", PATIENCE, async || {
        let events = world.events().await;
        let open = events
            .iter()
            .filter(|event| event.event.response_status.is_none() && event.event.verb == "list");
        (open.count() == 2).then_some(())
    })
    .await;
    let third = one.get(&path).await.expect("an answer");
    assert_limited(&third, "have 2 requests under way at once");
    bridge.open();
    for answer in held {
        assert_eq!(answer.await.expect("joined").code, 200);
    }
    assert_eq!(
        one.get(&path).await.expect("an answer").code,
        200,
        "their room is free again"
    );
    assert_recorded_and_unsent(&world, bed, &[&second, &third]).await;
    watch.leave();
    eventually("the watch's room is free again", PATIENCE, async || {
        let answer = two
            .send("GET", &format!("{path}?watch=true"), "", "")
            .await
            .expect("an answer");
        (answer.status() == 200).then_some(())
    })
    .await;
    world.end().await;
}

/// A pod's own projected token, from the pod's first breath to its end: good at the gateway for its agent and nowhere else, and for 20 s at most once the
/// pod is gone, whether it asks anew or only listens. T45.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pods_token_stops_working() {
    let bed = need_bed!();
    let room = Room::open(bed, "pods", "system:serviceaccount:mantlet-agents:pods");
    let namespace = &room.namespace;
    let mut plan = Plan::new(bed, "pods");
    plan.cluster_issuer = Some(cluster_issuer(&room));
    plan.policies = [
        agent(
            "pods",
            &format!("user.username == 'k8s:bed:{namespace}:bot'"),
            "{}",
            &room,
        ),
        agent("claimed", "user.username.endsWith(':claimed')", "{}", &room),
    ]
    .join("---\n");
    let served = Served::start(plan).await;
    room.bare(&format!("kubectl -n {namespace} create serviceaccount bot"))
        .ok();
    let token = match bed.node {
        true => pod_with_token(&room).await,
        false => pod_without_node(&room),
    };
    let wire = Wire::dial(served.address, &served.stage.authority, &token).await;
    let path = room.path("configmaps");
    let answer = wire.get(&path).await.expect("an answer");
    assert_eq!(answer.code, 200, "{}", answer.text());
    let mut watch = Stream::open(&wire, &format!("{path}?watch=true")).await;
    watch.begun().await;
    // It acts as the agent's account and never as its own; its own token for the cluster is not taken here, and this one not there.
    let whoami = wire
        .post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            r#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#,
        )
        .await
        .expect("an answer");
    assert!(
        whoami.text().contains("system:serviceaccount:mantlet-agents:pods"),
        "{}",
        whoami.text()
    );
    assert!(
        !whoami.text().contains(&format!("{namespace}:bot")),
        "{}",
        whoami.text()
    );
    let around = room.bare(&format!(
        "kubectl --kubeconfig /dev/null --server https://{} --insecure-skip-tls-verify --token {token} get configmaps",
        mantlet_stories::stage::server(bed)
    ));
    assert!(
        around.code != 0 && around.text().contains("logged in"),
        "{}",
        around.text()
    );
    let inside = room.bare(&format!("kubectl -n {namespace} create token bot")).ok();
    let refused = Wire::dial(served.address, &served.stage.authority, inside.trim())
        .await
        .get(&path)
        .await;
    assert_refused(&refused.expect("an answer"), 401, "Unauthorized", "another audience");

    room.bare(&format!(
        "kubectl -n {namespace} delete pod bot --grace-period=0 --force --wait=true"
    ))
    .ok();
    let gone = Instant::now();
    let refused = eventually("the token stops working", PATIENCE, async || {
        let answer = wire.get(&path).await.expect("an answer");
        (answer.code != 200).then_some(answer)
    })
    .await;
    let requests = gone.elapsed();
    assert_refused(&refused, 401, "Unauthorized", "its pod or service account may be gone");
    let (text, end) = watch.ended(PATIENCE).await;
    let streams = gone.elapsed();
    assert_eq!(end, End::Clean, "{text}");
    assert!(text.contains("takes it for valid no more"), "{text}");
    eprintln!("pod gone: requests refused after {requests:?}, the watch ended after {streams:?}");
    assert!(
        requests.max(streams) < Duration::from_secs(20),
        "{requests:?}, {streams:?}"
    );
}

/// The cluster goes away: nobody can say that a token is still good, so it is not, and the answer is not 401.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_reviewed_is_not_believed() {
    let bed = need_bed!();
    let room = Room::open(bed, "blind", "system:serviceaccount:mantlet-agents:blind");
    let bridge = Bridge::build(bed).await;
    let mut plan = Plan::new(bed, "blind");
    plan.kubeconfig = Some(bridge.kubeconfig(bed, &std::env::temp_dir()));
    plan.cluster_issuer = Some(cluster_issuer(&room));
    plan.policies = agent(
        "blind",
        &format!("user.username == 'k8s:bed:{}:bot'", room.namespace),
        "{}",
        &room,
    );
    let mut world = World::start_as(&plan, mantlet_store::Sizes::default()).await;
    world.stage.show_keys();
    room.bare(&format!("kubectl -n {} create serviceaccount bot", room.namespace))
        .ok();
    let wire = Wire::dial(world.address, &world.authority, &pod_without_node(&room)).await;
    // Of the virtual API: the cluster is needed for the review alone.
    let path = format!("{GATE}/sessions");
    eventually("the token is believed", PATIENCE, async || {
        (wire.get(&path).await.expect("an answer").code == 200).then_some(())
    })
    .await;
    bridge.cut();
    let refused = eventually("nobody can say so any more", PATIENCE, async || {
        let answer = wire.get(&path).await.expect("an answer");
        (answer.code != 200).then_some(answer)
    })
    .await;
    assert_refused(
        &refused,
        503,
        "ServiceUnavailable",
        "cannot be asked about it right now",
    );
    bridge.open();
    eventually("the token is believed again", PATIENCE, async || {
        (wire.get(&path).await.expect("an answer").code == 200).then_some(())
    })
    .await;
    if let Some(log) = &bed.audit_log {
        // Others on this cluster ask for reviews too.
        let mut reviews = audit::entries(log).filter(|logged| logged.uri.ends_with("/tokenreviews"));
        assert!(
            reviews.any(|logged| logged.audit_id.starts_with("own-")),
            "reviews are the gateway's own calls"
        );
    }
    world.end().await;
}

/// The issuer of the bed's own ServiceAccount tokens.
fn cluster_issuer(room: &Room) -> String {
    let discovery = room.bare("kubectl get --raw /.well-known/openid-configuration").ok();
    let discovery: Value = serde_json::from_str(&discovery).expect("JSON");
    discovery["issuer"].as_str().expect("an issuer").to_owned()
}

/// A pod that holds a token for the gateway, and that token.
async fn pod_with_token(room: &Room) -> String {
    let namespace = &room.namespace;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bot"}, "spec": {
        "serviceAccountName": "bot", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "bot", "image": "mantlet.test/busybox:1", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "cat /var/run/mantlet/token; echo; sleep 3600"],
            "volumeMounts": [{"name": "token", "mountPath": "/var/run/mantlet"}]}],
        "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken":
            {"audience": mantlet::dev::files::AUDIENCE, "expirationSeconds": 600, "path": "token"}}]}}]}});
    room.bare(&format!("kubectl -n {namespace} create -f - <<< '{pod}' && kubectl -n {namespace} wait --for=condition=Ready pod/bot --timeout=60s"))
        .ok();
    eventually("the pod shows its token", PATIENCE, async || {
        let said = room.bare(&format!("kubectl -n {namespace} logs bot"));
        (said.out.matches('.').count() == 2).then(|| said.out.trim().to_owned())
    })
    .await
}

/// The same token where no pod runs: bound to a pod that nobody starts.
fn pod_without_node(room: &Room) -> String {
    let namespace = &room.namespace;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bot"}, "spec": {
        "serviceAccountName": "bot", "automountServiceAccountToken": false, "nodeSelector": {"no": "such"},
        "containers": [{"name": "bot", "image": "none"}]}});
    let token = room.bare(&format!(
        "kubectl -n {namespace} create -f - <<< '{pod}' > /dev/null && kubectl -n {namespace} create token bot --audience={} --bound-object-kind=Pod --bound-object-name=bot",
        mantlet::dev::files::AUDIENCE
    ));
    token.ok().trim().to_owned()
}

/// An Agent of the bed's cluster that is at home in the room.
fn agent(name: &str, matching: &str, limits: &str, room: &Room) -> String {
    format!(
        "apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: {{ name: {name} }}
spec:
  match: [{{ expression: \"{matching}\" }}]
  owners: [{{ issuer: PEOPLE, group: team }}]
  serviceAccount: {{ namespace: mantlet-agents, name: {name} }}
  scope: {{ clusters: [CLUSTER], namespaces: [{}] }}
  limits: {limits}
",
        room.namespace
    )
}

async fn dial(world: &World, subject: &str) -> Wire {
    let token = world.token(Population::Agents, subject, &[]);
    Wire::dial(world.address, &world.authority, &token).await
}

async fn operator(world: &World) -> Wire {
    let token = world.token(Population::People, "ops", &[OPERATORS]);
    Wire::dial(world.address, &world.authority, &token).await
}

/// The program itself, as whoever the kubeconfig says.
async fn mantlet(kubeconfig: &Path, words: &[&str]) -> Said {
    let mut command = std::process::Command::new(program());
    command.args(words).arg("--kubeconfig").arg(kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("joined").expect("mantlet runs");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn assert_refused(answer: &Answer, code: u16, reason: &str, says: &str) {
    let status: Value = serde_json::from_str(&answer.text()).expect("a Status");
    assert_eq!(
        (answer.code.as_u16(), &status["reason"]),
        (code, &reason.into()),
        "{status}"
    );
    assert!(
        status["message"].as_str().expect("a message").contains(says),
        "{says}: {status}"
    );
}

fn assert_limited(answer: &Answer, says: &str) {
    assert_refused(answer, 429, "TooManyRequests", says);
    assert_eq!(answer.headers.get("retry-after").expect("when to come again"), "1");
}

/// Each has its one event, and the API server has never heard of it.
async fn assert_recorded_and_unsent(world: &World, bed: &Bed, refused: &[&Answer]) {
    let events = world.events().await;
    for answer in refused {
        let its: Vec<_> = events
            .iter()
            .filter(|event| event.metadata.name == answer.audit_id())
            .collect();
        assert_eq!(its.len(), 1, "one request, one event");
        let note = |name: &str| its[0].event.annotations.get(name).map(String::as_str);
        assert_eq!((code(its[0]), note("mantlet.dev/reason")), (429, Some("LimitReached")));
        assert_eq!(note("mantlet.dev/decision"), Some("deny"));
        assert!(!its[0].spec.session.is_empty(), "it belongs to its session");
    }
    if let Some(log) = &bed.audit_log {
        let ids: Vec<_> = refused.iter().map(|answer| answer.audit_id()).collect();
        assert!(
            audit::entries(log).all(|logged| !ids.contains(&logged.audit_id)),
            "a refused request reached the cluster"
        );
    }
}

fn subresource(event: &SessionEvent) -> String {
    event
        .event
        .object_ref
        .as_ref()
        .map(|object| object.subresource.clone())
        .unwrap_or_default()
}

fn code(event: &SessionEvent) -> u16 {
    event.event.response_status.as_ref().map_or(0, |status| status.code)
}

async fn session_of(world: &World, id: &str) -> String {
    let events = world.events().await;
    let event = events.into_iter().find(|event| event.metadata.name == id);
    event.expect("recorded").spec.session
}
