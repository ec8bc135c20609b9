//! Journals of every version of the record forms, kept in `golden/` and read for ever.
//!
//! `golden/v1` was written once, by `writes_it_anew`, before version 1 was released, `golden/v2` likewise. They change no more: a later form
//! gets a folder of its own beside them. The keys in them seal nothing but themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mantlet_core::record::{AuditId, Closed, Decision, Opened, Outcome, Verdict};
use mantlet_core::time::Clock;

use crate::index::tests::shown;
use crate::sessions::tests::enter;
use crate::stops::tests::suspend;
use crate::testing::{Scratch, answered, caller, clock, parts};
use crate::{HandClock, SessionId, Slot, Store, StoreFault};

const SEGMENT: &str = "journal/0000000001.journal";

/// All of it in one segment.
async fn open(scratch: &Scratch, clock: &Arc<HandClock>) -> Result<Store, StoreFault> {
    let mut config = scratch.config();
    config.sizes.segment = 256 << 10;
    Store::open(config, clock.clone()).await
}

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(version)
}

#[tokio::test]
async fn version_1_reads_as_it_always_did() {
    reads("v1").await;
}

#[tokio::test]
async fn version_2_reads_as_it_always_did() {
    reads("v2").await;
}

async fn reads(version: &str) {
    let (scratch, folder) = (Scratch::new(), golden(version));
    std::fs::create_dir_all(scratch.path().join("journal")).unwrap();
    for file in [SEGMENT, "journal/keyring.json", "key"] {
        std::fs::copy(folder.join(file), scratch.path().join(file)).unwrap();
    }
    let whole = crate::verify(&scratch.path().join("journal"), &scratch.path().join("key"), None, &[]).unwrap();
    assert!(whole.is_whole(), "{whole}");
    let clock = clock();
    clock.advance(Duration::from_secs(3600));
    let store = open(&scratch, &clock).await.unwrap();
    let expected = std::fs::read_to_string(folder.join("shown.jsonl")).unwrap();
    assert_eq!(shown(&store).await, expected.lines().collect::<Vec<_>>());
    store.close().await;
}

#[tokio::test]
#[ignore = "writes golden/v2 anew: only before version 2 is released"]
async fn writes_it_anew() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    let session = enter(&store, "coder", &clock);
    let opens = |slot: &mut Slot, session: &SessionId| {
        slot.open(Opened::new(
            slot.id(),
            parts(Some(caller("coder")), Some(session.as_str()), clock.now()),
        ));
    };
    for outcome in [
        Outcome::Answered {
            code: 200,
            reason: String::new(),
        },
        Outcome::Answered {
            code: 404,
            reason: String::from("NotFound"),
        },
        Outcome::Abandoned,
        Outcome::Cut {
            code: 200,
            why: String::from("SessionEnded"),
        },
    ] {
        let mut slot = store.journal.slot().unwrap();
        let lookup = slot.look_up("dryRun");
        slot.looked_up(&lookup, 200);
        opens(&mut slot, &session);
        clock.advance(Duration::from_millis(7));
        let closed = Closed::new(slot.id(), clock.now(), outcome, 1234);
        slot.close(closed);
    }
    refuse(&store, &clock, session.as_str());
    for _ in 0..51 {
        drop(store.journal.slot().unwrap());
    }
    // One is under way when the process ends, another torn in its opening.
    let mut open_at_the_end = store.journal.slot().unwrap();
    opens(&mut open_at_the_end, &session);
    open_at_the_end.durable().await.unwrap();
    let mut torn = store.journal.slot().unwrap();
    opens(&mut torn, &session);
    torn.durable().await.unwrap();
    let crashed = scratch.crashed().await;
    let mut bytes = std::fs::read(crashed.path().join(SEGMENT)).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last - 9..].fill(0);
    std::fs::write(crashed.path().join(SEGMENT), bytes).unwrap();

    clock.advance(Duration::from_secs(100));
    let store = open(&crashed, &clock).await.unwrap();
    let session = enter(&store, "coder", &clock);
    let mut last = store.journal.slot().unwrap();
    opens(&mut last, &session);
    let closed = answered(&last, 201, &clock);
    last.close(closed);
    // What only operators do.
    suspend(&store, "other", &clock).await;
    let id = AuditId::from_random([1; 16]);
    store.stop_session(session.as_str(), &id, clock.now()).await.unwrap();
    store.journal.settled().await.unwrap();
    let mut outbox = store.outbox();
    let due = outbox.next().await.unwrap().unwrap();
    outbox.sent(&due, "file").unwrap();
    store.journal.settled().await.unwrap();
    let whole = crashed.crashed().await;
    store.close().await;
    keep(&crashed, &whole, &clock).await;
}

fn refuse(store: &Store, clock: &HandClock, session: &str) {
    let mut slot = store.journal.slot().unwrap();
    let mut parts = parts(Some(caller("coder")), Some(session), clock.now());
    let message = String::from("deleting in `prod` is not in the scope of `coder`");
    let applied = mantlet_core::record::Applied {
        rule: String::from("agent:coder"),
        action: String::from("Deny"),
        strength: String::from("enforce"),
        message: message.clone(),
        because: String::from("violated"),
    };
    parts.verdict = Some(Verdict {
        decision: Decision::Deny,
        applied: vec![applied],
        reason: String::from("ScopeDenied"),
        message: message.clone(),
        warnings: vec![String::from("a warning")],
    });
    parts.not_judged = vec![String::from("policy:guardrails")];
    slot.open(Opened::new(slot.id(), parts));
    let outcome = Outcome::Refused {
        code: 403,
        reason: String::from("PolicyDenied"),
        message,
    };
    let closed = Closed::new(slot.id(), clock.now(), outcome, 0);
    slot.close(closed);
}

/// The journal with its end, without the zeros behind it, and what is shown of it.
async fn keep(closed: &Scratch, unclosed: &Scratch, clock: &Arc<HandClock>) {
    let folder = golden("v2");
    std::fs::create_dir_all(folder.join("journal")).unwrap();
    for file in ["journal/keyring.json", "key"] {
        std::fs::copy(closed.path().join(file), folder.join(file)).unwrap();
    }
    let mut bytes = std::fs::read(closed.path().join(SEGMENT)).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end);
    std::fs::write(folder.join(SEGMENT), bytes).unwrap();
    clock.advance(Duration::from_secs(3500));
    let store = open(unclosed, clock).await.unwrap();
    std::fs::write(folder.join("shown.jsonl"), shown(&store).await.join("\n") + "\n").unwrap();
}
