//! Nothing lost: `mantlet serve` is killed in mid-load, again and again. What a client was told happened is in the journal, once; so is
//! everything that the cluster was asked to do; what was open is closed as unknown; and the chain is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use mantlet_core::identity::Population;
use mantlet_core::record::{Opened, Outcome, Record};
use mantlet_stories::journal::Reading;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Room, Served, Wire, audit, eventually, need_bed, world};
use tokio::task::JoinSet;

const WRITERS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_mid_load_loses_no_acknowledged_write() {
    let bed = need_bed!();
    kills(bed, "lost", 3, 150).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: cargo xtask long lost"]
async fn kill_nine_fifty_times() {
    let bed = need_bed!();
    kills(bed, "lost50", 50, 600).await;
}

/// A write that a client has read the success of.
#[derive(Debug)]
struct Acknowledged {
    id: String,
    code: u16,
}

/// `count` lives, each ended after a random number of acknowledged writes up to `most`.
async fn kills(bed: &mantlet_stories::Bed, name: &str, count: usize, most: usize) {
    let begin = Instant::now();
    let writer = format!("{name}-writer");
    let room = Room::open(bed, name, &writer);
    let mut served = Served::start(Plan::new(bed, name)).await;
    let token = served.token(Population::People, &writer);
    let mut book = Book::new(&served);
    let mut acknowledged = Vec::new();
    for life in 0..count {
        let load = Load::begin(&served, &token, &room, life).await;
        load.acknowledge(1 + random() % most).await;
        served.kill();
        acknowledged.extend(load.end().await);
        served.restart().await;
        book.read();
        book.is_closed();
        book.holds(&acknowledged);
    }
    served.stop().await;
    book.read();
    let unknown = acknowledged.iter().filter(|a| book.unknown(&a.id)).count();
    println!(
        "{count} kills: {} writes acknowledged, each in the journal with one event; {unknown} of them closed as unknown; {} requests recorded, {} of them unknown; {:.0?}",
        acknowledged.len(),
        book.opened.len(),
        book.closed.values().filter(|o| matches!(o, Outcome::Unknown)).count(),
        begin.elapsed()
    );
    as_events(&served, &book, &acknowledged).await;
    if let Some(log) = &bed.audit_log {
        as_the_cluster_saw(log, &book, &acknowledged).await;
    }
}

/// The index, made from the journal, shows each request once.
async fn as_events(served: &Served, book: &Book, acknowledged: &[Acknowledged]) {
    let events = world::read_back(&served.stage).await;
    let mut outcomes = BTreeMap::new();
    for event in &events {
        let outcome = event
            .event
            .annotations
            .get("mantlet.dev/outcome")
            .expect("every event has ended");
        let before = outcomes.insert(event.metadata.name.clone(), outcome.clone());
        assert!(before.is_none(), "{} is there twice", event.metadata.name);
    }
    for id in book.opened.keys() {
        assert!(outcomes.contains_key(id), "{id} was opened and is no event");
    }
    for Acknowledged { id, .. } in acknowledged {
        let outcome = outcomes.get(id).map(String::as_str);
        assert!(matches!(outcome, Some("answered" | "unknown")), "{id} is {outcome:?}");
    }
}

/// The other witness: whatever of our sessions reached the API server is in the journal, and whatever it acknowledged is in its log.
async fn as_the_cluster_saw(log: &std::path::Path, book: &Book, acknowledged: &[Acknowledged]) {
    let sessions = book.opened.values().filter_map(|opened| opened.session.clone());
    let sessions: BTreeSet<String> = sessions.collect();
    let logged = eventually(
        "the API server has logged every acknowledged write",
        Duration::from_secs(30),
        async || {
            let logged = audit::of_sessions(log, &sessions);
            let ids: BTreeSet<&str> = logged.iter().map(|logged| logged.audit_id.as_str()).collect();
            acknowledged
                .iter()
                .all(|a| ids.contains(a.id.as_str()))
                .then(|| logged.clone())
        },
    )
    .await;
    let writes = logged
        .iter()
        .filter(|l| ["create", "patch", "delete"].contains(&l.verb.as_str()));
    let mut seen = 0;
    for write in writes {
        assert!(
            book.opened.contains_key(&write.audit_id),
            "the API server carried out {} {}, which is not in the journal",
            write.verb,
            write.audit_id
        );
        seen += 1;
    }
    assert!(seen >= acknowledged.len());
}

/// What the journal says, by Audit-ID.
struct Book {
    reading: Reading,
    opened: BTreeMap<String, Opened>,
    closed: BTreeMap<String, Outcome>,
}

impl Book {
    fn new(served: &Served) -> Self {
        Self {
            reading: Reading::of(served.stage.dir.join("journal")),
            opened: BTreeMap::new(),
            closed: BTreeMap::new(),
        }
    }

    /// No request is opened twice, none is closed twice.
    fn read(&mut self) {
        for record in self.reading.read() {
            match record {
                Record::Opened(opened) => {
                    let id = opened.audit_id.clone();
                    assert!(self.opened.insert(id.clone(), opened).is_none(), "{id} is opened twice");
                }
                Record::Closed(closed) => {
                    let before = self.closed.insert(closed.audit_id.clone(), closed.outcome);
                    assert!(before.is_none(), "{} is closed twice", closed.audit_id);
                }
                Record::SessionStarted(_)
                | Record::SessionEnded(_)
                | Record::AgentSuspended(_)
                | Record::Refusals(_)
                | Record::Checkpoint(_)
                | Record::SignedCheckpoint(_)
                | Record::Pruned(_)
                | Record::Anchored(_)
                | Record::Truncated(_)
                | Record::Stopped => {}
            }
        }
    }

    fn is_closed(&self) {
        for id in self.opened.keys() {
            assert!(self.closed.contains_key(id), "{id} was left open");
        }
    }

    fn holds(&self, acknowledged: &[Acknowledged]) {
        for Acknowledged { id, code } in acknowledged {
            assert!(
                self.opened.contains_key(id),
                "{id} was acknowledged and is not in the journal"
            );
            match self.closed.get(id) {
                Some(Outcome::Answered { code: recorded, .. }) => assert_eq!(recorded, code),
                // The process ended between the answer and the flush of its close.
                Some(Outcome::Unknown) => {}
                other => panic!("{id} was acknowledged with {code} and is recorded as {other:?}"),
            }
        }
    }

    fn unknown(&self, id: &str) -> bool {
        matches!(self.closed.get(id), Some(Outcome::Unknown))
    }
}

/// Clients that write as fast as they are answered, with a reader and a watcher beside them.
struct Load {
    tasks: JoinSet<()>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    count: Arc<AtomicUsize>,
}

impl Load {
    async fn begin(served: &Served, token: &str, room: &Room, life: usize) -> Self {
        let (acknowledged, count) = (Arc::default(), Arc::default());
        let mut load = Self {
            tasks: JoinSet::new(),
            acknowledged,
            count,
        };
        let path = room.path("configmaps");
        for connection in 0..3 {
            let wire = Wire::dial(served.address, &served.stage.authority, token).await;
            for writer in 0..WRITERS / 3 {
                let (acknowledged, count) = (load.acknowledged.clone(), load.count.clone());
                let name = format!("life{life}-{connection}-{writer}");
                load.tasks
                    .spawn(write(wire.clone(), path.clone(), name, acknowledged, count));
            }
            load.tasks.spawn(read(wire.clone(), path.clone()));
            load.tasks.spawn(watch(wire, path.clone()));
        }
        load
    }

    /// Returns once so many writes have been acknowledged.
    async fn acknowledge(&self, enough: usize) {
        eventually("writes are acknowledged", Duration::from_secs(120), async || {
            (self.count.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
    }

    /// The gateway is gone: every client has noticed.
    async fn end(mut self) -> Vec<Acknowledged> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client ended as it should");
        }
        std::mem::take(&mut *self.acknowledged.lock().expect("not poisoned"))
    }
}

async fn write(
    wire: Wire,
    path: String,
    name: String,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    count: Arc<AtomicUsize>,
) {
    for n in 0.. {
        let create = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}-{n}"}},"data":{{"a":"b"}}}}"#
        );
        let one = format!("{path}/{name}-{n}");
        for (method, path, media, body) in [
            ("POST", &path, "application/json", create.as_str()),
            ("PATCH", &one, "application/merge-patch+json", r#"{"data":{"a":"c"}}"#),
            ("DELETE", &one, "", ""),
        ] {
            let Ok(answer) = wire.call(method, path, media, body).await else {
                return;
            };
            assert!(answer.code.is_success(), "{}", answer.text());
            acknowledged.lock().expect("not poisoned").push(Acknowledged {
                id: answer.audit_id(),
                code: answer.code.as_u16(),
            });
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn read(wire: Wire, path: String) {
    while wire.get(&path).await.is_ok() {}
}

async fn watch(wire: Wire, path: String) {
    let watch = format!("{path}?watch=true");
    while let Ok(mut answer) = wire.send("GET", &watch, "", "").await {
        while let Some(Ok(_)) = answer.body_mut().frame().await {}
    }
}

/// Which moment it is does not matter, as long as it is another each time.
fn random() -> usize {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    usize::from_le_bytes(bytes)
}
