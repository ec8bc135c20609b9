//! The record in PostgreSQL: the database is killed, frozen and stopped in mid-load, the gateway is killed, two gateways share it. What a client was told
//! happened is there, once; what could not be recorded was not carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mantlet::dev::ca::Certificates;
use mantlet_core::identity::Population;
use mantlet_store::{JournalAt, MissingKey, Sizes, Store, StoreConfig, SystemClock};
use mantlet_stories::postgres::Postgres;
use mantlet_stories::served::page;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Bed, Room, Served, Wire, audit, eventually, need_bed, world};
use serde_json::Value;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: usize = 8;

fn plan(bed: &Bed, name: &str, postgres: &Postgres) -> Plan {
    let mut plan = Plan::new(bed, name);
    plan.database = Some(postgres.url());
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stopped_and_started_in_mid_load_loses_nothing_and_doubles_nothing() {
    let bed = need_bed!();
    let Some(mut postgres) = Postgres::start("pg-away").await else {
        return;
    };
    let room = Room::open(bed, "pg-away", "pg-away");
    let mut served = Served::start(plan(bed, "pg-away", &postgres)).await;
    let token = served.token(Population::People, "pg-away");
    let load = Load::begin(&served, &token, &room).await;
    load.acknowledge(60).await;

    postgres.kill();
    is_away(&served, &token, &room).await;
    postgres.go_on().await;
    is_back(&served).await;
    load.acknowledge(60).await;

    postgres.freeze();
    is_away(&served, &token, &room).await;
    postgres.thaw();
    is_back(&served).await;
    load.acknowledge(60).await;

    postgres.stop();
    is_away(&served, &token, &room).await;
    postgres.go_on().await;
    is_back(&served).await;
    load.acknowledge(60).await;

    let refused = load.refused.load(Ordering::SeqCst);
    let acknowledged = load.end().await;
    served.stop().await;
    let outcomes = outcomes(&served).await;
    for id in &acknowledged {
        assert_eq!(outcomes.get(id).map(String::as_str), Some("answered"), "{id}");
    }
    println!(
        "PostgreSQL killed, frozen and stopped: {} writes acknowledged, each with one event; {refused} refused meanwhile; {} events",
        acknowledged.len(),
        outcomes.len()
    );
    assert!(refused > 0);
    let sessions = sessions(&served).await;
    if let Some(log) = &bed.audit_log {
        as_the_cluster_saw(log, &sessions, &outcomes, &acknowledged).await;
    }
    // The index made anew from the journal is the same.
    let said = served.command(&["sessions", "rebuild"]).await;
    assert_eq!(
        said,
        format!("{} sessions and {} events\n", sessions.len(), outcomes.len())
    );
    assert_eq!(self::outcomes(&served).await, outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_to_postgres_over_tls_that_is_verified() {
    let folder = std::env::temp_dir().join(format!("mantlet-story-{}-pg-tls", std::process::id()));
    let (ours, others) = (folder.join("ours"), folder.join("others"));
    let authority = |of: &std::path::Path| {
        std::fs::create_dir_all(of).expect("a folder");
        Certificates::open(of, world::real_now()).expect("certificates")
    };
    let (ours, others) = (authority(&ours), authority(&others));
    let Some(postgres) = Postgres::start_with_tls("pg-tls", &ours.certificate, &ours.key).await else {
        return;
    };
    let open = async |parameters: String| {
        let config = StoreConfig {
            database: format!("{}?{parameters}", postgres.url()).into(),
            journal: JournalAt::Database,
            recordings: mantlet_store::Recordings::Folder(folder.join("recordings")),
            key_file: folder.join("key"),
            missing_key: MissingKey::Create,
            sizes: Sizes::default(),
        };
        Store::open(config, Arc::new(SystemClock)).await
    };
    let verified = |authority: &std::path::Path| format!("sslmode=verify-full&sslrootcert={}", authority.display());
    let store = open(verified(&ours.authority)).await.expect("a verified server");
    store.journal.settled().await.expect("it is written");
    store.close().await;
    let fault = open(verified(&others.authority))
        .await
        .expect_err("another's certificate");
    assert!(fault.to_string().contains("certificate"), "{fault}");
    open(String::from("sslmode=disable"))
        .await
        .expect_err("it takes TLS alone");
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_loses_no_acknowledged_write_in_postgres() {
    let bed = need_bed!();
    let Some(postgres) = Postgres::start("pg-killed").await else {
        return;
    };
    let room = Room::open(bed, "pg-killed", "pg-killed");
    let mut served = Served::start(plan(bed, "pg-killed", &postgres)).await;
    let token = served.token(Population::People, "pg-killed");
    let mut acknowledged = Vec::new();
    for life in 0..3 {
        let load = Load::begin(&served, &token, &room).await;
        load.acknowledge(10 + 40 * life).await;
        served.kill();
        acknowledged.extend(load.end().await);
        served.restart().await;
    }
    served.stop().await;
    let outcomes = outcomes(&served).await;
    for id in &acknowledged {
        // Unknown: the process ended between the answer and the flush of its close.
        let outcome = outcomes.get(id).map(String::as_str);
        assert!(matches!(outcome, Some("answered" | "unknown")), "{id} is {outcome:?}");
    }
    let sessions = sessions(&served).await;
    if let Some(log) = &bed.audit_log {
        as_the_cluster_saw(log, &sessions, &outcomes, &acknowledged).await;
    }
    println!(
        "3 kills on PostgreSQL: {} writes acknowledged, each with one event; {} events",
        acknowledged.len(),
        outcomes.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_postgres_show_the_sessions_and_events_of_both_in_one_order() {
    let bed = need_bed!();
    let Some(postgres) = Postgres::start("pg-two").await else {
        return;
    };
    let room = Room::open(bed, "pg-two", "pg-two");
    let one = Served::start(plan(bed, "pg-two-one", &postgres)).await;
    let mut beside = plan(bed, "pg-two-other", &postgres);
    beside.key_file = Some(one.stage.dir.join("keyring.key"));
    let other = Served::start(beside).await;
    let mut written = BTreeSet::new();
    for (number, served) in [&one, &other, &one, &other].into_iter().enumerate() {
        let token = served.token(Population::People, "pg-two");
        let wire = Wire::dial(served.address, &served.stage.authority, &token).await;
        let body = configmap(&format!("made-{number}"));
        let answer = wire.post(&room.path("configmaps"), &body).await.expect("an answer");
        assert_eq!(answer.code, 201, "{}", answer.text());
        written.insert(answer.audit_id());
    }
    let mut seen = Vec::new();
    for served in [&one, &other] {
        let token = served
            .stage
            .token(Population::People, "auditor", &["sre"], world::real_now());
        let wire = Wire::dial(served.address, &served.stage.authority, &token).await;
        seen.push(
            eventually("the writes through both are seen", PATIENCE, async || {
                let versions = listed(&wire, "sessionevents", |item| {
                    let ended = item["event"]["annotations"]["mantlet.dev/outcome"] == "answered";
                    let name = item["metadata"]["name"].as_str()?.to_owned();
                    (ended && written.contains(&name)).then_some(name)
                });
                let versions = versions.await;
                (versions.len() == written.len()).then_some(versions)
            })
            .await,
        );
        let sessions = listed(&wire, "sessions", |item| {
            let own = item["spec"]["user"]["subject"] == "pg-two";
            own.then(|| item["metadata"]["name"].as_str().map(str::to_owned))?
        });
        assert_eq!(sessions.await.len(), 2, "a session through each");
    }
    assert_eq!(seen[0], seen[1], "each event has one resourceVersion, whoever shows it");
    let distinct: BTreeSet<_> = seen[0].values().collect();
    assert_eq!(distinct.len(), written.len());
}

/// Names of the items of a list that `wanted` names, with their resourceVersions.
async fn listed(wire: &Wire, resource: &str, wanted: impl Fn(&Value) -> Option<String>) -> BTreeMap<String, u64> {
    let path = format!("/apis/gate.mantlet.dev/v1alpha1/{resource}");
    let answer = wire.get(&path).await.expect("an answer");
    assert_eq!(answer.code, 200, "{}", answer.text());
    let list: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let items = list["items"].as_array().expect("items").iter();
    let version = |item: &Value| {
        item["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|text| text.parse().ok())
    };
    items.filter_map(|item| Some((wanted(item)?, version(item)?))).collect()
}

fn configmap(name: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"a":"b"}}}}"#)
}

/// Everything is refused, and operators are told why and what to do.
async fn is_away(served: &Served, token: &str, room: &Room) {
    let wire = Wire::dial(served.address, &served.stage.authority, token).await;
    let path = room.path("configmaps");
    for method in ["GET", "POST"] {
        eventually("reads and writes are refused", PATIENCE, async || {
            let (media, body) = match method {
                "GET" => ("", String::new()),
                _ => ("application/json", configmap("while-away")),
            };
            let answer = wire.call(method, &path, media, &body).await.expect("an answer");
            (answer.code == 503 && answer.text().contains("NotRecorded")).then_some(())
        })
        .await;
    }
    let page = page(served.telemetry, "/readyz").await.expect("a page");
    assert!(page.starts_with("HTTP/1.1 503"), "{page}");
    let told = page.contains("[-]journal failed: the journal's database cannot be reached") && page.contains("hint:");
    assert!(told, "{page}");
}

/// Without a restart.
async fn is_back(served: &Served) {
    eventually("it is ready again by itself", PATIENCE, async || {
        let page = page(served.telemetry, "/readyz").await.ok()?;
        page.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

/// By Audit-ID, each of which is there once and has ended.
async fn outcomes(served: &Served) -> BTreeMap<String, String> {
    let mut outcomes = BTreeMap::new();
    for event in world::read_back(&served.stage).await {
        let outcome = event.event.annotations.get("mantlet.dev/outcome");
        let outcome = outcome.expect("every event has ended").clone();
        let before = outcomes.insert(event.metadata.name.clone(), outcome);
        assert!(before.is_none(), "{} is there twice", event.metadata.name);
    }
    outcomes
}

async fn sessions(served: &Served) -> BTreeSet<String> {
    let events = world::read_back(&served.stage).await;
    events
        .into_iter()
        .map(|event| event.spec.session)
        .filter(|session| !session.is_empty())
        .collect()
}

/// The other witness: what reached the API server through this gateway has an event, and what was acknowledged reached it.
async fn as_the_cluster_saw(
    log: &std::path::Path,
    sessions: &BTreeSet<String>,
    outcomes: &BTreeMap<String, String>,
    acknowledged: &[String],
) {
    let logged = eventually(
        "the API server has logged every acknowledged write",
        PATIENCE,
        async || {
            let logged = audit::of_sessions(log, sessions);
            let ids: BTreeSet<String> = logged.into_iter().map(|logged| logged.audit_id).collect();
            acknowledged.iter().all(|id| ids.contains(id)).then_some(ids)
        },
    )
    .await;
    for id in logged {
        // A look-up of a request is named after it.
        let request = id.split('.').next().unwrap_or_default();
        assert!(
            outcomes.contains_key(request),
            "the API server carried out {id}, which has no event"
        );
    }
}

/// Clients that write as fast as they are answered, whatever the answer.
struct Load {
    tasks: JoinSet<()>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    refused: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Load {
    async fn begin(served: &Served, token: &str, room: &Room) -> Self {
        let mut load = Self {
            tasks: JoinSet::new(),
            acknowledged: Arc::default(),
            refused: Arc::default(),
            over: Arc::default(),
        };
        for writer in 0..WRITERS {
            let wire = Wire::dial(served.address, &served.stage.authority, token).await;
            let (acknowledged, refused, over) = (load.acknowledged.clone(), load.refused.clone(), load.over.clone());
            let (path, life) = (room.path("configmaps"), served.lives);
            load.tasks.spawn(async move {
                for number in 0.. {
                    let body = configmap(&format!("life{life}-{writer}-{number}"));
                    let Ok(answer) = wire.post(&path, &body).await else {
                        return;
                    };
                    match answer.code.as_u16() {
                        201 => acknowledged.lock().expect("not poisoned").push(answer.audit_id()),
                        503 if answer.text().contains("NotRecorded") => {
                            refused.fetch_add(1, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        _ => panic!("{}", answer.text()),
                    }
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        load
    }

    /// Returns once so many more writes have been acknowledged.
    async fn acknowledge(&self, more: usize) {
        let so_far = self.acknowledged.lock().expect("not poisoned").len();
        eventually("writes are acknowledged", Duration::from_secs(120), async || {
            (self.acknowledged.lock().expect("not poisoned").len() >= so_far + more).then_some(())
        })
        .await;
    }

    async fn end(mut self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client ended as it should");
        }
        std::mem::take(&mut *self.acknowledged.lock().expect("not poisoned"))
    }
}
