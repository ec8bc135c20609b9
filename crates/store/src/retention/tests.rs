//! What goes, what stays, and that the rest still proves itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use mantlet_core::record::AuditId;
use mantlet_core::time::Clock as _;

use super::*;
use crate::disk::Folder;
use crate::index::tests::shown;
use crate::sessions::tests::{enter, try_enter};
use crate::stops::tests::suspend;
use crate::testing::{Scratch, clock, open, opened, request};
use crate::{Follower, HandClock, Kind, NoSession, Visible, verify};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const BY_DAYS: Retention = Retention {
    days: Some(3),
    bytes: None,
};

fn numbers(scratch: &Scratch) -> Vec<u64> {
    Folder::new(&scratch.path().join("journal")).segments().unwrap()
}

async fn ten_days(store: &Store, clock: &HandClock) {
    for _ in 0..10 {
        for _ in 0..10 {
            request(store, clock).await;
        }
        clock.advance(DAY);
    }
}

fn look(scratch: &Scratch) -> crate::Report {
    verify(&scratch.path().join("journal"), &scratch.path().join("key"), None, &[]).unwrap()
}

async fn names(store: &Store) -> BTreeSet<String> {
    store.index.flush().await.unwrap();
    let events = store
        .index
        .events(&Visible::Everything, None, None, None)
        .await
        .unwrap();
    events.items.into_iter().map(|event| event.metadata.name).collect()
}

#[tokio::test]
async fn what_is_too_old_goes_and_the_rest_proves_itself() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    ten_days(&store, &clock).await;
    let (before, events) = (numbers(&scratch), names(&store).await);
    assert_eq!(events.len(), 100);
    let mut gone = BTreeSet::new();
    let taken = store
        .prune(BY_DAYS, u64::MAX, |line| {
            if let Record::Closed(closed) = &line.record {
                gone.insert(closed.audit_id.clone());
            }
        })
        .await
        .unwrap();
    let left = numbers(&scratch);
    assert!(
        taken > 2 && left == before[taken..],
        "{taken} of {before:?}, {left:?} left"
    );
    assert_eq!(names(&store).await, events.difference(&gone).cloned().collect());
    // Once more takes nothing: everything that is left is young enough.
    assert_eq!(store.prune(BY_DAYS, u64::MAX, |_| {}).await, Ok(0));
    store.close().await;

    let report = look(&scratch);
    assert!(report.is_whole(), "{report}");
    assert!(
        report.notes[0].starts_with(&format!("segments 1 to {taken} (records 1 to "))
            && report.notes[0].ends_with("by `recording.retention.days`"),
        "{report}"
    );
    assert_eq!(report.journals[0].counts.opened, 100, "what is gone is counted on");

    // A gateway starts on it, goes on, and prunes again.
    let store = open(&scratch, &clock).await.unwrap();
    ten_days(&store, &clock).await;
    assert!(store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap() > 2);
    store.close().await;
    let report = look(&scratch);
    assert!(report.is_whole(), "{report}");
    assert_eq!(report.journals[0].counts.closed, 200);
}

#[tokio::test]
async fn what_is_too_much_goes_and_what_is_written_to_stays() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..100 {
        request(&store, &clock).await;
    }
    let before = numbers(&scratch);
    let by_bytes = |segments: u64| Retention {
        days: None,
        bytes: Some(segments * (32 << 10)),
    };
    // The record of it may itself begin another segment.
    store.prune(by_bytes(3), u64::MAX, |_| {}).await.unwrap();
    assert_eq!(numbers(&scratch)[0], before[before.len() - 3]);
    store.prune(by_bytes(0), u64::MAX, |_| {}).await.unwrap();
    assert!(numbers(&scratch).len() <= 2, "{:?}", numbers(&scratch));
    store.close().await;
    assert!(look(&scratch).is_whole(), "{}", look(&scratch));
}

#[tokio::test]
async fn an_index_that_is_made_anew_shows_what_was_left() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    ten_days(&store, &clock).await;
    store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap();
    let before = names(&store).await;
    store.close().await;
    scratch.forget_index().await;
    let store = open(&scratch, &clock).await.unwrap();
    assert_eq!(names(&store).await, before);
    assert!(!shown(&store).await.is_empty());
    store.close().await;
}

#[tokio::test]
async fn nothing_goes_that_is_under_way_or_still_to_be_read() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    let mut held = store.journal.slot().unwrap();
    held.open(opened(held.id(), &clock));
    held.durable().await.unwrap();
    ten_days(&store, &clock).await;
    assert_eq!(store.prune(BY_DAYS, u64::MAX, |_| {}).await, Ok(0), "a request is open");
    let closed = crate::testing::answered(&held, 200, &clock);
    held.close(closed);
    assert_eq!(
        store.prune(BY_DAYS, 1, |_| {}).await,
        Ok(0),
        "record 1 is still to be read"
    );
    assert!(store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap() > 0);
    store.close().await;
    assert!(look(&scratch).is_whole(), "{}", look(&scratch));
}

#[tokio::test]
async fn a_session_that_nobody_uses_any_more_keeps_nothing() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    enter(&store, "coder", &clock);
    ten_days(&store, &clock).await;
    assert!(store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap() > 0);
    let sessions = store.index.sessions(&Visible::Everything, None, None).await.unwrap();
    assert!(sessions.items.is_empty(), "{sessions:?}");
    store.close().await;
}

/// Segments that hold a suspension or the end of a session by an operator go, and both stay in force; nobody needs the index for it.
#[tokio::test]
async fn what_an_operator_stopped_stays_stopped() {
    let (scratch, clock) = (Scratch::new(), clock());
    let mut store = open(&scratch, &clock).await.unwrap();
    suspend(&store, "coder", &clock).await;
    let first = store.sessions.suspension("coder").unwrap();
    clock.advance(Duration::from_secs(1));
    suspend(&store, "coder", &clock).await;
    for round in 0..3 {
        ten_days(&store, &clock).await;
        let began = numbers(&scratch)[0];
        assert!(store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap() > 0);
        assert!(numbers(&scratch)[0] > began);
        for rebuilt in [false, true] {
            store.close().await;
            assert!(look(&scratch).is_whole(), "{}", look(&scratch));
            if rebuilt {
                scratch.forget_index().await;
            }
            store = open(&scratch, &clock).await.unwrap();
            assert_eq!(
                store.sessions.suspension("coder"),
                Some(first.clone()),
                "{round} {rebuilt}"
            );
            assert_eq!(
                try_enter(&store, "coder", "run-1", &clock),
                Err(NoSession::Suspended(String::from("coder")))
            );
        }
    }
    store.close().await;
}

#[tokio::test]
async fn a_suspension_is_carried_on_before_its_segment_goes() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    suspend(&store, "coder", &clock).await;
    ten_days(&store, &clock).await;
    store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap();
    // Nothing was closed: what a power loss at this moment leaves.
    let crashed = scratch.crashed().await;
    store.close().await;
    crashed.forget_index().await;
    let store = open(&crashed, &clock).await.unwrap();
    assert!(store.sessions.suspension("coder").is_some());
    store.close().await;
}

#[tokio::test]
async fn the_end_of_a_session_by_an_operator_is_kept_while_its_credential_is_held_to_it() {
    let (scratch, clock) = (Scratch::new(), clock());
    let mut store = open(&scratch, &clock).await.unwrap();
    let session = enter(&store, "coder", &clock);
    let id = AuditId::from_random([1; 16]);
    assert!(store.stop_session(session.as_str(), &id, clock.now()).await.unwrap());
    // It would be too old after 300 seconds: much is written before.
    for _ in 0..100 {
        request(&store, &clock).await;
    }
    let by_bytes = Retention {
        days: None,
        bytes: Some(32 << 10),
    };
    assert_eq!(store.prune(by_bytes, u64::MAX, |_| {}).await, Ok(0));
    store.close().await;
    scratch.forget_index().await;
    store = open(&scratch, &clock).await.unwrap();
    assert_eq!(
        try_enter(&store, "coder", "run-1", &clock),
        Err(NoSession::Ended(session.as_str().to_owned()))
    );
    clock.advance(DAY);
    assert!(store.prune(by_bytes, u64::MAX, |_| {}).await.unwrap() > 0);
    assert!(try_enter(&store, "coder", "run-1", &clock).is_ok());
    store.close().await;
    assert!(look(&scratch).is_whole(), "{}", look(&scratch));
}

/// Whoever exports without a position begins behind what was pruned.
#[tokio::test]
async fn an_export_that_begins_after_pruning_begins_where_the_journal_does() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = Arc::new(open(&scratch, &clock).await.unwrap());
    ten_days(&store, &clock).await;
    assert!(store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap() > 0);
    let (left, place) = (names(&store).await, scratch.path().join("position"));
    let mut follower = Follower::open(store.clone(), &place).unwrap();
    let needs = follower.needs();
    assert!(needs > 1, "{needs}");
    let mut exported = BTreeSet::new();
    while exported.len() < left.len() {
        let events = follower.next().await.unwrap().unwrap();
        exported.extend(events.into_iter().map(|event| event.audit_id));
    }
    assert_eq!(exported, left);
    follower.save().unwrap();
    assert!(follower.needs() > needs);
    store.close().await;
}

#[tokio::test]
async fn what_a_crash_left_of_it_is_finished() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    ten_days(&store, &clock).await;
    let before = scratch.crashed().await;
    let taken = store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap();
    store.close().await;
    // The record is durable, the first file is gone, the others are still there.
    for number in 2..=taken as u64 {
        std::fs::copy(before.segment(number), scratch.segment(number)).unwrap();
    }
    assert!(look(&scratch).is_whole(), "{}", look(&scratch));
    let store = open(&scratch, &clock).await.unwrap();
    assert_eq!(store.prune(BY_DAYS, u64::MAX, |_| {}).await, Ok(taken - 1));
    store.close().await;
    assert!(look(&scratch).is_whole(), "{}", look(&scratch));
}

#[tokio::test]
async fn a_segment_more_than_the_record_says_is_missed() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    ten_days(&store, &clock).await;
    let taken = store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap() as u64;
    store.close().await;
    std::fs::remove_file(scratch.segment(taken + 1)).unwrap();
    let report = look(&scratch);
    let what = format!(
        "segment {} is missing, and no record says that it was pruned",
        taken + 1
    );
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.kind == Kind::MissingSegment && f.what == what),
        "{report}"
    );
    let fault = open(&scratch, &clock).await.unwrap_err();
    assert!(fault.to_string().contains("is missing"), "{fault}");
}

#[tokio::test]
async fn what_is_damaged_is_not_taken_away() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    ten_days(&store, &clock).await;
    let mut bytes = std::fs::read(scratch.segment(1)).unwrap();
    bytes[500] ^= 1;
    std::fs::write(scratch.segment(1), bytes).unwrap();
    let before = numbers(&scratch);
    let fault = store.prune(BY_DAYS, u64::MAX, |_| {}).await.unwrap_err();
    assert!(matches!(fault, StoreFault::Damaged { segment: 1, .. }), "{fault}");
    assert_eq!(numbers(&scratch), before);
    store.close().await;
}

/// A file system of 2 MiB, mounted for the time of a test; none where that is not allowed.
struct Mounted(Scratch);

impl Mounted {
    fn new() -> Option<Self> {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.path().join("journal")).unwrap();
        let journal = scratch.path().join("journal");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=700", "mantlet-test"])
            .arg(&journal)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(scratch))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path().join("journal"))
            .status();
    }
}

#[expect(clippy::print_stderr, reason = "says that it was skipped")]
#[tokio::test]
async fn a_full_file_system_refuses_until_there_is_room_again() {
    let Some(mounted) = Mounted::new() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let (scratch, clock) = (&mounted.0, clock());
    let mut config = scratch.config();
    config.sizes.segment = 256 << 10;
    let store = Store::open(config, clock.clone()).await.unwrap();
    let ballast = scratch.path().join("journal/ballast");
    fill(&ballast);
    let refused = loop {
        match store.journal.slot() {
            Ok(slot) => drop(slot),
            Err(fault) => break fault,
        }
        request_or_not(&store, &clock).await;
    };
    assert!(
        matches!(&refused, StoreFault::Full(why) if why.contains("segment")),
        "{refused}"
    );
    assert!(matches!(store.health(), Err(StoreFault::Full(_))));
    // Room again: the writer finds it out by itself.
    std::fs::remove_file(&ballast).unwrap();
    while store.health().is_err() {
        tokio::task::yield_now().await;
    }
    request(&store, &clock).await;
    // And retention makes some although nobody else may write.
    fill(&ballast);
    while store.journal.slot().is_ok() {
        request_or_not(&store, &clock).await;
    }
    let few = Retention {
        days: None,
        bytes: Some(256 << 10),
    };
    assert!(store.prune(few, u64::MAX, |_| {}).await.unwrap() > 0);
    while store.health().is_err() {
        tokio::task::yield_now().await;
    }
    request(&store, &clock).await;
    store.close().await;
    assert!(look(scratch).is_whole(), "{}", look(scratch));
}

/// Takes all the room that is left.
fn fill(ballast: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

/// A request, unless there is no room for it any more.
async fn request_or_not(store: &Store, clock: &Arc<HandClock>) {
    if let Ok(mut slot) = store.journal.slot() {
        slot.open(opened(slot.id(), clock));
        slot.durable().await.unwrap();
        clock.advance(Duration::from_secs(1));
        let closed = crate::testing::answered(&slot, 200, clock);
        slot.close(closed);
    }
}
