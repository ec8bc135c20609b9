//! One agent sends all that it can and is denied, somebody without a token knocks all the time: what others need stays theirs, and the process small.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mantlet_core::identity::Population;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Room, Served, Wire, World, need_bed};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::raw::{self, Ask};

const MIB: u64 = 1 << 20;
const SENDERS: usize = 24;
const KNOCKERS: usize = 8;

/// One source takes every connection that it gets and says nothing on it; from another address somebody works on.
#[tokio::test(flavor = "multi_thread")]
async fn one_source_cannot_take_all_connections() {
    let bed = need_bed!();
    let world = World::start(bed, "seats", "").await;
    let token = world.token(Population::People, "sitter", &[]);
    let early = Wire::dial(world.address, &world.authority, &token).await;
    let full = "mantlet_connections_turned_away_total{reason=\"source\"}";
    let mut taken = Vec::new();
    loop {
        for _ in 0..100 {
            taken.push(TcpStream::connect(world.address).await.unwrap());
        }
        let page = mantlet_stories::served::page(world.telemetry, "/metrics")
            .await
            .unwrap();
        if page.contains(full) {
            break;
        }
        assert!(taken.len() < 5_000, "there is no end to connections of one source");
    }
    println!("{} connections of one source", taken.len());
    // Who was there stays; who comes from elsewhere comes in.
    assert_eq!(early.get("/version").await.unwrap().code, 200);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(world.address).await.unwrap();
    let stream = raw::over(&world, b"http/1.1", stream).await.unwrap();
    let bytes = Ask::new("GET", "/version", &token).bytes();
    assert_eq!(raw::exchange(stream, &bytes, false).await.code, 200);
    drop((taken, early));
    world.end().await;
}

/// Its scope is a namespace that does not exist: whatever it writes is denied.
const AGENT: &str = r#"
apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: { name: coder }
spec:
  match: [{ expression: "claims.sub == 'coder'" }]
  owners: [{ issuer: PEOPLE, group: team }]
  serviceAccount: { namespace: nowhere, name: coder }
  scope: { clusters: [CLUSTER], namespaces: [elsewhere] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_denied_bodies_and_of_401_takes_nothing_from_others() {
    let bed = need_bed!();
    let room = Room::open(bed, "flood", "flood-reader");
    let mut plan = Plan::new(bed, "flood");
    plan.policies = AGENT.to_owned();
    let served = Served::start(plan).await;
    let reader = served.token(Population::People, "flood-reader");
    let coder = served.token(Population::Agents, "coder");
    let dial = async |token: &str| Wire::dial(served.address, &served.stage.authority, token).await;
    let wire = dial(&reader).await;
    assert_eq!(wire.get(&room.path("configmaps")).await.unwrap().code, 200);

    served.forget_peak();
    let before = served.memory();
    let stop = Arc::new(AtomicBool::new(false));
    let mut floods = JoinSet::new();
    let text = "a".repeat(3 * MIB as usize - 200);
    let body: Arc<str> = format!(r#"{{"metadata":{{"name":"x"}},"data":{{"a":"{text}"}}}}"#).into();
    for _ in 0..SENDERS {
        let (wire, stop, body, path) = (dial(&coder).await, stop.clone(), body.clone(), room.path("configmaps"));
        floods.spawn(async move {
            let mut codes = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                codes.push(wire.post(&path, &body).await.map_or(0, |answer| answer.code.as_u16()));
            }
            codes
        });
    }
    for _ in 0..KNOCKERS {
        let (wire, stop) = (dial("nobody").await, stop.clone());
        floods.spawn(async move {
            let mut codes = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                codes.push(
                    wire.get("/api/v1/secrets")
                        .await
                        .map_or(0, |answer| answer.code.as_u16()),
                );
            }
            codes
        });
    }
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    for n in 0..60 {
        let asked = Instant::now();
        let answer = match n % 3 {
            0 => {
                let name = format!(r#"{{"metadata":{{"name":"made-{n}"}}}}"#);
                wire.post(&room.path("configmaps"), &name).await
            }
            _ => wire.get(&room.path("configmaps")).await,
        };
        let code = answer.expect("an answer").code.as_u16();
        assert!(
            matches!(code, 200 | 201),
            "somebody else's request {n} was answered {code}"
        );
        slowest = slowest.max(asked.elapsed());
    }
    let took = begin.elapsed();
    stop.store(true, Ordering::Relaxed);
    let codes: Vec<u16> = floods.join_all().await.concat();
    let count = |code: u16| codes.iter().filter(|c| **c == code).count();
    let grown = served.memory().peak.saturating_sub(before.now);
    println!(
        "60 requests of somebody else in {took:.1?}, slowest {slowest:.1?}; meanwhile {} × 403, {} × 429, {} × 401, others {}; peak grew by {:.1} MB",
        count(403),
        count(429),
        count(401),
        codes.len() - count(403) - count(429) - count(401),
        grown as f64 / 1e6
    );
    assert!(count(403) > 0 && count(401) > 0, "there was no flood");
    assert!(count(429) > 0, "{SENDERS} bodies of one identity at once found room");
    assert!(slowest < Duration::from_secs(20), "others wait: {slowest:?}");
    // Four bodies as they came and as they were parsed, 512 KiB of windows for each connection, the journal's queue.
    assert!(grown < 200 * MIB, "the flood is held in memory: {grown} bytes");
}
