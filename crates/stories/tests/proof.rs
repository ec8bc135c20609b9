//! The record proves itself: checkpoints leave the machine, and what is done to the journal afterwards is found from there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_core::time::Clock as _;
use mantlet_gateway::anchor::AnchorFault;
use mantlet_gateway::anchor::s3::{Credentials, S3, S3Config};
use mantlet_store::{Sizes, SystemClock};
use mantlet_stories::stage::Plan;
use mantlet_stories::{Bed, Room, Served, Wire, World, eventually, need_bed, served};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_file_elsewhere_finds_a_cut_tail_and_an_old_copy() {
    let bed = need_bed!();
    let elsewhere = folder("proof-file-elsewhere");
    let file = elsewhere.join("checkpoints.jsonl");
    let mut plan = Plan::new(bed, "proof-file");
    plan.recording = json!({"anchor": {"file": file}, "retention": {"days": 90}});
    let mut gateway = Served::start(plan).await;
    work(bed, &gateway, "proof-file", 1).await;
    anchored(&gateway).await;
    // Somebody's key, kept before anything happened.
    let (code, key) = gateway.verify(&["--print-key"]);
    assert!(
        code == 0 && key.trim().split_once(':').is_some_and(|(_, hex)| hex.len() == 64),
        "{key}"
    );
    let (code, said) = gateway.verify(&["--public-key", key.trim()]);
    assert!(code == 0 && said.ends_with("whole\n"), "while it is written to: {said}");
    gateway.stop().await;
    let old = folder("proof-file-old");
    copy(&journal(&gateway), &old);

    gateway.restart().await;
    work(bed, &gateway, "proof-file-2", 1).await;
    gateway.stop().await;
    let (code, said) = gateway.verify(&[]);
    assert!(
        code == 0 && said.contains(", the last\nwhole\n"),
        "the last checkpoint was anchored at the end: {said}"
    );
    let (code, said) = gateway.verify(&["-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert!(code == 0 && report["whole"] == json!(true), "{said}");

    let whole = folder("proof-file-whole");
    copy(&journal(&gateway), &whole);
    // The folder of yesterday, byte for byte.
    copy(&old, &journal(&gateway));
    let (code, said) = gateway.verify(&[]);
    assert!(
        code == 1 && said.contains("an old copy of the folder was put back"),
        "{said}"
    );
    assert_eq!(
        gateway.verify(&["--anchor-file", "/dev/null"]).0,
        0,
        "nothing on the disk itself knows of it"
    );
    copy(&whole, &journal(&gateway));
    flip(&journal(&gateway));
    let (code, said) = gateway.verify(&[]);
    assert!(
        code == 1 && said.contains("changed after they had been written"),
        "{said}"
    );
    for folder in [elsewhere, old, whole] {
        std::fs::remove_dir_all(folder).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_is_away_holds_nobody_up_and_is_told() {
    let bed = need_bed!();
    let elsewhere = folder("proof-away");
    let file = elsewhere.join("checkpoints.jsonl");
    let mut plan = Plan::new(bed, "proof-away");
    plan.recording = json!({"anchor": {"file": file}});
    // A checkpoint with every flush.
    let sizes = Sizes {
        checkpoint: Duration::ZERO,
        ..Sizes::default()
    };
    let mut world = World::start_as(&plan, sizes).await;
    world.stage.show_keys();
    let room = Room::open(bed, "proof-away", "proof-away");
    let wire = Wire::dial(
        world.address,
        &world.authority,
        &world.token(Population::People, "proof-away", &[]),
    )
    .await;
    let path = room.path("configmaps");
    told(&world, "[+]anchor file ok: checkpoint").await;
    let away = elsewhere.with_extension("away");
    std::fs::rename(&elsewhere, &away).expect("the volume goes");
    eventually("it is told, and requests are answered", PATIENCE, async || {
        let answer = wire.get(&path).await.ok()?;
        let page = served::page(world.telemetry, "/readyz?verbose").await.ok()?;
        let told = page.contains("[!]anchor file: nothing is anchored since") && page.starts_with("HTTP/1.1 200");
        (answer.code == 200 && told).then_some(())
    })
    .await;
    let metrics = served::page(world.telemetry, "/metrics").await.expect("metrics");
    assert!(
        metrics.contains("mantlet_anchor_failures_total") && metrics.contains("mantlet_anchored_checkpoint"),
        "{metrics}"
    );
    std::fs::rename(&away, &elsewhere).expect("the volume comes back");
    told(&world, "[+]anchor file ok: checkpoint").await;
    let dir = world.end().await;
    let text = std::fs::read_to_string(&file).expect("checkpoints");
    let (anchors, unread) = mantlet_store::read_documents(&text, "elsewhere");
    assert!(unread.is_empty(), "{unread:?}");
    let report =
        mantlet_store::verify(&dir.join("journal"), &dir.join("keyring.key"), None, &anchors).expect("checked");
    assert!(
        report.is_whole() && report.journals[0].unanchored_since.is_none(),
        "none was left out: {report}"
    );
    let last = report.journals[0].checkpoint.as_ref().expect("a checkpoint").checkpoint;
    assert!(
        anchors.len() as u64 >= last,
        "each of {last}, {} are there",
        anchors.len()
    );
    std::fs::remove_dir_all(elsewhere).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_refuses_reads_and_writes_until_there_is_room_again() {
    let bed = need_bed!();
    let plan = Plan::new(bed, "proof-full");
    // Where the stage will be set: journal, index and all on a file system of 8 MiB.
    let dir = std::env::temp_dir().join(format!("mantlet-story-{}-{}", std::process::id(), plan.name));
    std::fs::create_dir_all(&dir).expect("a folder");
    let Some(mounted) = Mounted::new(&dir) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let sizes = Sizes {
        segment: 64 << 10,
        ..Sizes::default()
    };
    let mut world = World::start_as(&plan, sizes).await;
    world.stage.show_keys();
    let room = Room::open(bed, "proof-full", "proof-full");
    let wire = Wire::dial(
        world.address,
        &world.authority,
        &world.token(Population::People, "proof-full", &[]),
    )
    .await;
    let path = room.path("configmaps");
    let body = |n: usize| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("full-{n}")}}).to_string()
    };
    eventually("the gateway serves", PATIENCE, async || {
        (wire.post(&path, &body(0)).await.ok()?.code == 201).then_some(())
    })
    .await;
    let ballast = dir.join("ballast");
    let mut file = std::fs::File::create(&ballast).expect("a file");
    while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    drop(file);
    let mut written = 0;
    eventually("the journal is full", PATIENCE, async || {
        written += 1;
        let answer = wire.post(&path, &body(written)).await.ok()?;
        (answer.code == 503 && answer.text().contains("NotRecorded")).then_some(())
    })
    .await;
    let read = wire.get(&path).await.expect("an answer");
    assert_eq!(read.code, 503, "reads too: {}", read.text());
    let page = served::page(world.telemetry, "/readyz?verbose").await.expect("a page");
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("[-]journal failed: the journal has no room"),
        "{page}"
    );
    let refused = format!("full-{written}");
    let there = room.bare(&format!("kubectl -n {} get configmaps -o name", room.namespace));
    assert!(
        !there.out.contains(&format!("{refused}\n")),
        "nothing was sent: {}",
        there.out
    );

    std::fs::remove_file(&ballast).expect("room");
    eventually("it goes on without a restart", PATIENCE, async || {
        let page = served::page(world.telemetry, "/readyz?verbose").await.ok()?;
        let answer = wire.post(&path, &body(written)).await.ok()?;
        (page.starts_with("HTTP/1.1 200") && matches!(answer.code.as_u16(), 201 | 409)).then_some(())
    })
    .await;
    let dir = world.end().await;
    let report = mantlet_store::verify(&dir.join("journal"), &dir.join("keyring.key"), None, &[]).expect("checked");
    assert!(report.is_whole() && report.journals[0].open == 0, "{report}");
    drop(mounted);
}

/// A small file system in memory, for the time of a story.
struct Mounted(PathBuf);

impl Mounted {
    /// None where that is not allowed.
    fn new(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=8m,mode=700", "mantlet-story"])
            .arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn told(world: &World, line: &str) {
    eventually(line, PATIENCE, async || {
        let page = served::page(world.telemetry, "/readyz?verbose").await.ok()?;
        page.contains(line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_bucket_keeps_what_the_journal_lost() {
    let bed = need_bed!();
    let Some(minio) = Minio::start().await else { return };
    let lock = json!({"mode": "COMPLIANCE", "days": 1});
    let endpoint = format!("http://{}", minio.address);
    let s3 =
        json!({"bucket": "anchors", "prefix": "prod", "region": "us-east-1", "endpoint": endpoint, "objectLock": lock});
    let mut plan = Plan::new(bed, "proof-s3");
    plan.recording = json!({"anchor": {"s3": s3}});
    plan.environment = vec![
        ("AWS_ACCESS_KEY_ID".into(), USER.into()),
        ("AWS_SECRET_ACCESS_KEY".into(), PASSWORD.into()),
    ];
    let bucket = minio.bucket();
    let enabled = [("x-amz-bucket-object-lock-enabled", "true".to_owned())];
    ask(&bucket, http::Method::PUT, "", "", &enabled)
        .await
        .expect("a bucket with object lock");

    let mut gateway = Served::start(plan).await;
    work(bed, &gateway, "proof-s3", 1).await;
    anchored(&gateway).await;
    gateway.stop().await;
    let (code, said) = gateway.verify(&[]);
    assert!(code == 0 && said.contains(", the last\nwhole\n"), "{said}");

    let listed = ask(&bucket, http::Method::GET, "", "prefix=prod&versions=", &[])
        .await
        .expect("a list");
    let text = String::from_utf8(listed.to_vec()).expect("XML");
    let field = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).expect("a field");
        rest.split_once('<').expect("its end").0.to_owned()
    };
    let (key, version) = (field("Key"), field("VersionId"));
    let refused = ask(
        &bucket,
        http::Method::DELETE,
        &key,
        &format!("versionId={version}"),
        &[],
    )
    .await;
    assert!(
        matches!(&refused, Err(AnchorFault::Status { said, .. }) if said.contains("WORM") || said.contains("AccessDenied")),
        "{refused:?}"
    );

    // Who has the gateway's credentials can put another object over it; the one below is read all the same.
    let over = ask(&bucket, http::Method::PUT, &key, "", &[]).await;
    over.expect("a newer version");
    cut(&journal(&gateway), 3);
    let (code, said) = gateway.verify(&[]);
    assert!(code == 1 && said.contains("records are gone"), "{said}");
}

/// A few writes and reads through the gateway.
async fn work(bed: &Bed, gateway: &Served, name: &str, count: usize) {
    let room = Room::open(bed, name, name);
    let token = gateway.token(Population::People, name);
    let wire = Wire::dial(gateway.address, &gateway.stage.authority, &token).await;
    for n in 0..count {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{name}-{n}")}});
        let answer = wire
            .post(&room.path("configmaps"), &body.to_string())
            .await
            .expect("an answer");
        assert_eq!(answer.code, 201, "{answer:?}");
    }
}

/// Waits until `/readyz?verbose` says that a checkpoint is anchored.
async fn anchored(gateway: &Served) {
    eventually("a checkpoint is anchored", PATIENCE, async || {
        let page = served::page(gateway.telemetry, "/readyz?verbose").await.ok()?;
        page.lines()
            .any(|line| line.starts_with("[+]anchor") && line.contains("ok: checkpoint"))
            .then_some(())
    })
    .await;
}

fn journal(gateway: &Served) -> PathBuf {
    gateway.stage.dir.join("journal")
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mantlet-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Where each frame of the first segment begins, and where the last one ends.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let (mut bounds, mut at) = (vec![0], 0);
    while bytes[at..].starts_with(b"MJ1\n") {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes"));
        at += 20 + length as usize;
        bounds.push(at);
    }
    bounds
}

fn first_segment(journal: &Path) -> (PathBuf, Vec<u8>) {
    let path = journal.join("0000000001.journal");
    let bytes = std::fs::read(&path).expect("a segment");
    (path, bytes)
}

/// The last `count` records were never written.
fn cut(journal: &Path, count: usize) {
    let (path, mut bytes) = first_segment(journal);
    let bounds = frames(&bytes);
    let (from, end) = (bounds[bounds.len() - 1 - count], bounds[bounds.len() - 1]);
    bytes[from..end].fill(0);
    std::fs::write(path, bytes).expect("written");
}

fn flip(journal: &Path) {
    let (path, mut bytes) = first_segment(journal);
    let bounds = frames(&bytes);
    bytes[bounds[bounds.len() / 2] + 40] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

const USER: &str = "anchor-writer";
const PASSWORD: &str = "anchor-writer-password";

/// An S3 server of our own.
struct Minio {
    address: SocketAddr,
    child: Child,
    data: PathBuf,
}

impl Minio {
    /// None where its program was not built; in CI that is a failure.
    async fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("MANTLET_MINIO") else {
            assert!(
                std::env::var_os("CI").is_none(),
                "no S3 server: in CI, `cargo xtask test` builds one"
            );
            eprintln!(
                "skipped: no S3 server here; `cargo xtask test` builds one, or name its program with MANTLET_MINIO"
            );
            return None;
        };
        let (address, data) = (served::free(), folder("proof-minio"));
        let mut command = Command::new(program);
        command.args([
            "server",
            "--quiet",
            "--address",
            &address.to_string(),
            "--console-address",
            "127.0.0.1:0",
        ]);
        command
            .arg(&data)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let minio = Self { address, child, data };
        let bucket = minio.bucket();
        eventually("the S3 server answers", PATIENCE, async || {
            // Whatever it says of a bucket that is not there: it speaks.
            match ask(&bucket, http::Method::GET, "", "", &[]).await {
                Err(AnchorFault::Status { status, .. }) if status == http::StatusCode::NOT_FOUND => Some(()),
                _ => None,
            }
        })
        .await;
        Some(minio)
    }

    fn bucket(&self) -> S3 {
        let config = S3Config {
            bucket: "anchors".into(),
            prefix: "prod".into(),
            region: "us-east-1".into(),
            endpoint: format!("http://{}", self.address).parse().expect("an address"),
            lock: None,
        };
        S3::new(config, Credentials::new(USER, PASSWORD.to_owned().into())).expect("a client")
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

async fn ask(
    bucket: &S3,
    method: http::Method,
    key: &str,
    query: &str,
    headers: &[(&'static str, String)],
) -> Result<bytes::Bytes, AnchorFault> {
    bucket
        .ask(method, key, query, headers, String::new(), SystemClock.now())
        .await
}
