//! Memory is bounded whatever the size of a list, the speed of its readers and the number of watches (invariant 9). Measured on a process of its own.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mantlet_core::identity::Population;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Bed, Room, Served, Wire, need_bed};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;
/// Streams on one connection: below the 250 that the gateway allows.
const STREAMS: usize = 200;
/// Requests before anything is measured: each leaves an event, and SQLite keeps pages of them.
const USED: usize = 1_000;
/// Watches that are opened before it is counted what each costs.
const WARM: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_megabytes_and_four_hundred_watches() {
    let bed = need_bed!();
    measure(bed, "bounded", 22, 400, 60 * 1024).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: cargo xtask long bounded"]
async fn fifty_megabytes_and_a_thousand_watches() {
    let bed = need_bed!();
    measure(bed, "bounded50", 58, 1_000, 40 * 1024).await;
}

/// `each`: what a watch may cost, in bytes. The fewer there are, the less they say about one.
async fn measure(bed: &Bed, name: &str, objects: usize, watches: usize, each: u64) {
    let reader = format!("{name}-reader");
    let room = Room::open(bed, name, &reader);
    let served = Served::start(Plan::new(bed, name)).await;
    let token = served.token(Population::People, &reader);
    let dial = async || Wire::dial(served.address, &served.stage.authority, &token).await;
    let wire = dial().await;
    println!("at rest: RSS {:.1} MB", mb(served.memory().now));
    let begin = Instant::now();
    fill(&served, &room, objects);
    println!("{objects} ConfigMaps and Secrets made in {:.1?}", begin.elapsed());

    // Warm: pools, windows, the first segment of the journal and the index's cache are there.
    for _ in 0..USED {
        let answer = wire.get(&room.path("serviceaccounts")).await;
        assert_eq!(answer.expect("an answer").code, 200);
    }
    let cost = watched(&served, &room, &token, watches).await;
    assert!(cost < each, "a watch costs {cost} bytes");
    for (kind, least) in [
        ("configmaps", objects as u64 * 850_000),
        ("secrets", objects as u64 * 300),
    ] {
        let (bytes, grown, took) = list(&served, &wire, &room.path(kind)).await;
        println!(
            "{kind}: {:.1} MB in {took:.1?}, peak grew by {:.1} MB",
            mb(bytes),
            mb(grown)
        );
        assert!(bytes >= least, "{bytes} bytes came");
        assert!(grown < 12 * MIB, "a list of {kind} is held in memory: {grown} bytes");
    }
    stalled(&served, &room, &wire, dial).await;
}

/// How many bytes came, and by how much the peak of the process grew meanwhile.
async fn list(served: &Served, wire: &Wire, path: &str) -> (u64, u64, Duration) {
    served.forget_peak();
    let (before, begin) = (served.memory(), Instant::now());
    let answer = wire.send("GET", path, "", "").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let bytes = drain(answer.into_body()).await;
    (bytes, served.memory().peak.saturating_sub(before.now), begin.elapsed())
}

async fn drain(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame
            .expect("a whole answer")
            .data_ref()
            .map_or(0, |data| data.len() as u64);
    }
    bytes
}

/// Sixteen readers take the head of a list and no more of it: others do not notice, and each costs its windows alone.
async fn stalled(served: &Served, room: &Room, wire: &Wire, dial: impl AsyncFn() -> Wire) {
    const READERS: u64 = 16;
    served.forget_peak();
    let before = served.memory();
    let mut heads = Vec::new();
    for _ in 0..READERS {
        let slow = dial().await;
        let answer = slow.send("GET", &room.path("configmaps"), "", "").await;
        heads.push((answer.expect("a head"), slow));
    }
    let begin = Instant::now();
    for _ in 0..100 {
        let answer = wire.get(&room.path("configmaps/kube-root-ca.crt")).await;
        assert_eq!(answer.expect("an answer").code, 200);
    }
    let took = begin.elapsed();
    let grown = served.memory().peak.saturating_sub(before.now);
    println!(
        "{READERS} stalled readers: peak grew by {:.1} MB; 100 other requests in {took:.1?}",
        mb(grown)
    );
    // Two windows of 256 KiB, hyper's send buffer of 400 KiB, the held beginning, a TLS session.
    assert!(
        grown < READERS * 2 * MIB,
        "a reader that stops costs {} bytes",
        grown / READERS
    );
    assert!(
        took < Duration::from_secs(30),
        "others wait for readers that stopped: {took:?}"
    );
    // One of them reads on, and gets all of it.
    let (answer, _connection) = heads.swap_remove(0);
    assert!(drain(answer.into_body()).await > 15 * MIB);
}

/// Watches of one token that nothing happens on, until something does.
async fn watched(served: &Served, room: &Room, token: &str, watches: usize) -> u64 {
    let (heard, mut hearing) = mpsc::channel(watches);
    let path = room.path("configmaps?watch=true&fieldSelector=metadata.name%3Dbell");
    let mut before = served.memory();
    let mut wires = Vec::new();
    for n in 0..watches {
        if n % STREAMS == 0 {
            wires.push(Wire::dial(served.address, &served.stage.authority, token).await);
        }
        if n == WARM {
            before = served.memory();
        }
        let answer = wires[n / STREAMS].send("GET", &path, "", "").await.expect("an answer");
        assert_eq!(answer.status(), 200);
        tokio::spawn(hear(answer.into_body(), heard.clone()));
    }
    let after = served.memory();
    let each = after.now.saturating_sub(before.now) / (watches - WARM) as u64;
    println!(
        "{watches} watches: {:.1} KB each, RSS {:.1} MB",
        each as f64 / 1e3,
        mb(after.now)
    );

    let begin = Instant::now();
    room.bare(&format!("kubectl -n {} create configmap bell", room.namespace))
        .ok();
    for n in 0..watches {
        let added = tokio::time::timeout(PATIENCE, hearing.recv()).await;
        let added = added.unwrap_or_else(|_| panic!("{n} of {watches} watches heard the bell"));
        assert_eq!(added, Some(true));
    }
    println!("all {watches} heard of an object within {:.1?}", begin.elapsed());
    let memory = served.memory();
    println!("RSS then {:.1} MB, peak {:.1} MB", mb(memory.now), mb(memory.peak));
    each
}

/// Says whether the first event is that of a new object, and stays.
async fn hear(mut body: Incoming, heard: mpsc::Sender<bool>) {
    let first = body
        .frame()
        .await
        .and_then(Result::ok)
        .and_then(|frame| frame.into_data().ok());
    let added = first.is_some_and(|event| event.starts_with(br#"{"type":"ADDED""#));
    let _ = heard.send(added).await;
    let _ = body.frame().await;
}

/// ConfigMaps of 900 KB and Secrets of 600 KB, made past the gateway.
fn fill(served: &Served, room: &Room, objects: usize) {
    use base64::Engine as _;
    let text = "x".repeat(900_000);
    let secret = base64::engine::general_purpose::STANDARD.encode(vec![7; 600_000]);
    let object = |kind: &str, n: usize, data| serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": format!("big-{n}")}, "data": data});
    let configmaps = (0..objects).map(|n| object("ConfigMap", n, serde_json::json!({"text": text})));
    let secrets = (0..objects).map(|n| object("Secret", n, serde_json::json!({"value": secret})));
    let items: Vec<_> = configmaps.chain(secrets).collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = served.stage.dir.join("objects.json");
    std::fs::write(&file, list.to_string()).expect("written");
    room.bare(&format!(
        "kubectl -n {} create --validate=false -f {}",
        room.namespace,
        file.display()
    ))
    .ok();
    std::fs::remove_file(file).expect("removed");
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
