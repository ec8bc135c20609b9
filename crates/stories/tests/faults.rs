//! What is refused when something is out of order, and that nothing slips through meanwhile: the journal's disk, the cluster, the issuers, the client.

use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_store::Sizes;
use mantlet_stories::stage::{Plan, kubeconfig_at};
use mantlet_stories::wire::Answer;
use mantlet_stories::{Bridge, Room, Wire, World, audit, eventually, need_bed, served};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_fails_refuses_reads_and_writes_and_nothing_is_sent() {
    let bed = need_bed!();
    let world = World::start(bed, "faults-journal", "").await;
    let room = Room::open(bed, "faults-journal", "faults-journal");
    let wire = dial(&world, "faults-journal").await;
    let path = room.path("configmaps");
    assert_eq!(
        wire.post(&path, &configmap("before")).await.expect("an answer").code,
        201
    );
    assert!(ready(&world).await.starts_with("HTTP/1.1 200"));

    world.disk.fail_flushes(true);
    let write = wire.post(&path, &configmap("unrecorded")).await.expect("an answer");
    is_refused(&write, 503, "NotRecorded");
    // From here on the journal is known to be down: no request gets as far as an Audit-ID.
    for (method, path, body) in [
        ("GET", &path, ""),
        ("POST", &path, r#"{"kind":"ConfigMap"}"#),
        ("GET", &"/version".to_owned(), ""),
    ] {
        let answer = wire
            .call(method, path, "application/json", body)
            .await
            .expect("an answer");
        is_refused(&answer, 503, "NotRecorded");
        assert!(answer.headers.get("audit-id").is_none());
    }
    let page = ready(&world).await;
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("[-]journal failed"),
        "{page}"
    );

    let there = room
        .bare(&format!("kubectl -n {} get configmaps -o name", room.namespace))
        .ok();
    assert!(
        there.contains("configmap/before") && !there.contains("unrecorded"),
        "{there}"
    );
    if let Some(log) = &bed.audit_log {
        // It is written before a request is answered, and kubectl has asked since.
        assert!(audit::entries(log).all(|logged| logged.audit_id != write.audit_id()));
    }
    // A disk that works again is believed only by a process that has read it anew.
    world.disk.fail_flushes(false);
    is_refused(&wire.get(&path).await.expect("an answer"), 503, "NotRecorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_without_room_refuses_until_there_is_some() {
    let bed = need_bed!();
    let sizes = Sizes {
        segment: 64 * 1024,
        ..Sizes::default()
    };
    let mut world = World::start_as(&Plan::new(bed, "faults-full"), sizes).await;
    world.stage.show_keys();
    let wire = dial(&world, "faults-full").await;
    eventually("the gateway serves", PATIENCE, async || {
        (wire.get("/version").await.ok()?.code == 200).then_some(())
    })
    .await;
    world.disk.fill(true);
    let refused = eventually("the journal is full", PATIENCE, async || {
        let answer = wire.get("/version").await.expect("an answer");
        (answer.code != 200).then_some(answer)
    })
    .await;
    is_refused(&refused, 503, "NotRecorded");
    assert!(ready(&world).await.contains("[-]journal failed"));
    world.disk.fill(false);
    eventually("there is room again", PATIENCE, async || {
        (wire.get("/version").await.expect("an answer").code == 200).then_some(())
    })
    .await;
    assert!(ready(&world).await.starts_with("HTTP/1.1 200"));
    let answered = world.events().await.len();
    assert_eq!(
        world.end_and_read().await.len(),
        answered,
        "each answered request is one event"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_reached_is_a_503_that_is_recorded() {
    let bed = need_bed!();
    let bridge = Bridge::build(bed).await;
    let mut plan = Plan::new(bed, "faults-unreached");
    plan.kubeconfig = Some(bridge.kubeconfig(bed, &std::env::temp_dir()));
    bridge.cut();
    let mut world = World::start_as(&plan, Sizes::default()).await;
    world.stage.show_keys();
    let wire = dial(&world, "faults-unreached").await;
    let answer = eventually("the issuers' keys are there", PATIENCE, async || {
        let answer = wire.get("/version").await.expect("an answer");
        answer.text().contains("cluster").then_some(answer)
    })
    .await;
    is_refused(&answer, 503, "ServiceUnavailable");
    assert!(ready(&world).await.contains("[-]cluster-bed failed"));

    // It is asked again by itself.
    bridge.open();
    eventually("the cluster is there", PATIENCE, async || {
        ready(&world).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    assert_eq!(wire.get("/version").await.expect("an answer").code, 200);
    // Gone again: what was not sent is a 503, what may have been is a 502 and unknown. Neither is lost.
    bridge.cut();
    let answer = wire.get("/version").await.expect("an answer");
    assert!([502, 503].contains(&answer.code.as_u16()), "{}", answer.text());
    let events = world.events().await;
    let event = events.iter().find(|event| event.metadata.name == answer.audit_id());
    let outcome = &event.expect("recorded").event.annotations["mantlet.dev/outcome"];
    assert_eq!(outcome, if answer.code == 502 { "unknown" } else { "refused" });
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_port_is_a_503() {
    let bed = need_bed!();
    let mut plan = Plan::new(bed, "faults-dead");
    plan.kubeconfig = Some(kubeconfig_at(bed, served::free(), &std::env::temp_dir()));
    let mut world = World::start_as(&plan, Sizes::default()).await;
    world.stage.show_keys();
    let wire = dial(&world, "faults-dead").await;
    let answer = eventually("the issuers' keys are there", PATIENCE, async || {
        let answer = wire
            .post("/api/v1/namespaces", r#"{"apiVersion":"v1","kind":"Namespace"}"#)
            .await;
        let answer = answer.expect("an answer");
        answer.text().contains("cannot be reached").then_some(answer)
    })
    .await;
    is_refused(&answer, 503, "ServiceUnavailable");
    assert!(answer.text().contains("nothing was sent"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_another_than_the_pinned_one_gets_no_request() {
    let bed = need_bed!();
    let mut plan = Plan::new(bed, "faults-other");
    plan.uid = Some("00000000-0000-4000-8000-000000000000".into());
    let mut world = World::start_as(&plan, Sizes::default()).await;
    world.stage.show_keys();
    let room = Room::open(bed, "faults-other", "faults-other");
    let wire = dial(&world, "faults-other").await;
    let path = room.path("configmaps");
    let answer = eventually("the issuers' keys are there", PATIENCE, async || {
        let answer = wire.post(&path, &configmap("astray")).await.expect("an answer");
        answer
            .text()
            .contains("not the one it was set up for")
            .then_some(answer)
    })
    .await;
    is_refused(&answer, 503, "ServiceUnavailable");
    assert!(ready(&world).await.contains("[-]cluster-bed failed"));
    let there = room
        .bare(&format!("kubectl -n {} get configmaps -o name", room.namespace))
        .ok();
    assert!(!there.contains("astray"), "{there}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_that_are_down_at_the_start_are_asked_again() {
    let bed = need_bed!();
    let mut world = World::start_as(&Plan::new(bed, "faults-issuer"), Sizes::default()).await;
    let wire = dial(&world, "faults-issuer").await;
    let answer = wire.get("/version").await.expect("an answer");
    is_refused(&answer, 503, "ServiceUnavailable");
    let page = ready(&world).await;
    assert!(page.contains("[!]issuer https://127.0.0.1"), "{page}");
    let forged = Wire::dial(world.address, &world.authority, "not.a.token").await;
    assert_eq!(
        forged.get("/version").await.expect("an answer").code,
        401,
        "no issuer has to be asked about this one"
    );

    world.stage.show_keys();
    eventually("the gateway has the keys", PATIENCE, async || {
        (wire.get("/version").await.expect("an answer").code == 200).then_some(())
    })
    .await;
    assert!(!ready(&world).await.contains("[!]"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_outlives_its_client() {
    let bed = need_bed!();
    let bridge = Bridge::build(bed).await;
    let mut plan = Plan::new(bed, "faults-abort");
    plan.kubeconfig = Some(bridge.kubeconfig(bed, &std::env::temp_dir()));
    let mut world = World::start_as(&plan, Sizes::default()).await;
    world.stage.show_keys();
    let room = Room::open(bed, "faults-abort", "faults-abort");
    let wire = dial(&world, "faults-abort").await;
    let path = room.path("configmaps");
    eventually("the gateway serves", PATIENCE, async || {
        (wire.get(&path).await.ok()?.code == 200).then_some(())
    })
    .await;

    bridge.hold();
    // HTTP/2: the stream is reset. HTTP/1.1: the connection is closed.
    let (second, target) = (wire.clone(), path.clone());
    let reset = tokio::spawn(async move { second.post(&target, &configmap("reset")).await });
    let token = world.token(Population::People, "faults-abort", &[]);
    let mut closed = mantlet_stories::wire::tls(world.address, &world.authority, b"http/1.1").await;
    let body = configmap("closed");
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        world.address,
        body.len()
    );
    closed.write_all(request.as_bytes()).await.expect("sent");
    let ids = eventually("both writes are under way", PATIENCE, async || {
        let ids = writes(&world).await;
        (ids.len() == 2).then_some(ids)
    })
    .await;
    reset.abort();
    closed.shutdown().await.expect("closed");
    assert_eq!(closed.read(&mut [0; 1]).await.unwrap_or(0), 0, "nothing came back");
    drop(closed);
    assert!(reset.await.is_err_and(|end| end.is_cancelled()));
    // The gateway is still at it, and has noticed nothing that would end them.
    assert_eq!(
        wire.get("/apis/gate.mantlet.dev/v1alpha1/sessions")
            .await
            .expect("an answer")
            .code,
        200
    );
    bridge.open();
    for id in ids {
        let outcome = eventually("the write ends", PATIENCE, async || {
            let events = world.events().await;
            let event = events.iter().find(|event| event.metadata.name == id)?;
            event.event.annotations.get("mantlet.dev/outcome").cloned()
        })
        .await;
        assert_eq!(outcome, "answered");
    }
    let there = room.bare(&format!(
        "kubectl -n {} get configmaps reset closed -o name",
        room.namespace
    ));
    assert_eq!(there.ok(), "configmap/reset\nconfigmap/closed\n");
    world.end().await;
}

async fn writes(world: &World) -> Vec<String> {
    let events = world.events().await.into_iter();
    let writes = events.filter(|event| event.event.verb == "create");
    writes.map(|event| event.metadata.name).collect()
}

fn configmap(name: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#)
}

async fn dial(world: &World, who: &str) -> Wire {
    let token = world.token(Population::People, who, &[]);
    Wire::dial(world.address, &world.authority, &token).await
}

async fn ready(world: &World) -> String {
    served::page(world.telemetry, "/readyz?verbose").await.expect("a page")
}

/// A Status that kubectl understands, with nothing of the cluster in it.
fn is_refused(answer: &Answer, code: u16, reason: &str) {
    assert_eq!(answer.code, code, "{}", answer.text());
    let status: serde_json::Value = serde_json::from_slice(&answer.body).expect("a Status");
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&"Status".into(), &reason.into()),
        "{status}"
    );
}
