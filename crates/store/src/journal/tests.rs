//! Journals after kills, torn writes, changed bytes and full disks.

use std::sync::Arc;
use std::time::Duration;

use mantlet_core::record::{Closed, Line, Opened, Outcome, Record};
use mantlet_core::time::Clock;

use super::frame::{self, Found};
use super::scan::{Standing, scan};
use super::{Head, Journal, Tail};
use crate::disk::{Disk, FaultyDisk, Folder};
use crate::testing::{Scratch, answered, caller, clock, on_both, open, opened, parts, request};
use crate::{JournalAt, MissingKey, Store, StoreConfig, StoreFault};

on_both! {
    an_opening_is_on_disk_when_durable_returns,
    what_nobody_waits_for_is_written_soon_all_the_same,
    a_checkpoint_is_signed_over_what_was_written_although_nothing_more_comes,
    a_look_up_has_an_event_however_many_requests_are_refused,
    a_slot_that_is_dropped_closes_as_abandoned,
    what_was_open_at_the_end_of_a_process_is_closed_as_unknown,
    records_go_on_in_the_next_segment_and_across_starts,
    no_more_requests_than_there_is_room_for,
    refusals_without_a_caller_are_written_up_to_a_rate_and_counted_beyond_it,
    slots_may_outlive_the_journal,
    a_killed_process_loses_no_acknowledged_write,
}

async fn look(scratch: &Scratch) -> Result<Standing, StoreFault> {
    let (disk, key, signers) = scratch.chain().await;
    tokio::task::spawn_blocking(move || scan(&*disk, &key, &signers))
        .await
        .unwrap()
}

async fn lines(scratch: &Scratch) -> Vec<Line> {
    let head = look(scratch).await.unwrap().head;
    let begin = Head {
        segment: 1,
        offset: 0,
        seq: 0,
    };
    let mut tail = Tail::new(scratch.chain().await.0, begin);
    let read = move || {
        let mut lines = Vec::new();
        loop {
            match tail.read(head).unwrap() {
                more if more.is_empty() => return lines,
                more => lines.extend(more),
            }
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn segments(scratch: &Scratch) -> usize {
    let disk = scratch.chain().await.0;
    let segments = tokio::task::spawn_blocking(move || disk.segments()).await;
    segments.unwrap().unwrap().len()
}

async fn closes(scratch: &Scratch) -> Vec<(String, Outcome)> {
    let closes = lines(scratch).await.into_iter().filter_map(|line| match line.record {
        Record::Closed(closed) => Some((closed.audit_id, closed.outcome)),
        _ => None,
    });
    closes.collect()
}

/// Where each frame of a segment begins, and where the last one ends.
fn bounds(bytes: &[u8]) -> Vec<usize> {
    let mut bounds = vec![0];
    let mut at = 0;
    while let Found::Frame(frame) = frame::decode(&bytes[at..]) {
        at += frame.length();
        bounds.push(at);
    }
    bounds
}

async fn an_opening_is_on_disk_when_durable_returns(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), &clock));
    slot.durable().await.unwrap();
    let unclosed = look(&scratch.crashed().await).await.unwrap().unclosed;
    assert_eq!(
        unclosed.iter().map(|open| open.audit_id.as_str()).collect::<Vec<_>>(),
        [slot.id().as_str()]
    );
}

async fn what_nobody_waits_for_is_written_soon_all_the_same(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut progress = store.journal.progress();
    let before = progress.borrow_and_update().head.seq;
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), &clock));
    progress.wait_for(|progress| progress.head.seq > before).await.unwrap();
    assert_eq!(look(&scratch.crashed().await).await.unwrap().unclosed.len(), 1);
}

async fn a_checkpoint_is_signed_over_what_was_written_although_nothing_more_comes(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    request(&store, &clock).await;
    store.journal.settled().await.unwrap();
    let mut progress = store.journal.progress();
    let before = progress.borrow_and_update().head.seq;
    clock.advance(std::time::Duration::from_secs(61));
    progress.wait_for(|progress| progress.head.seq > before).await.unwrap();
    let last = lines(&scratch.crashed().await).await.pop().unwrap();
    assert!(matches!(last.record, Record::SignedCheckpoint(_)), "{last:?}");
    // Nothing was written since, so none is due however long that takes.
    clock.advance(std::time::Duration::from_secs(3600));
    store.close().await;
    let signed = lines(&scratch)
        .await
        .into_iter()
        .filter(|line| matches!(line.record, Record::SignedCheckpoint(_)));
    assert_eq!(signed.count(), 3, "at the start, after a minute, at the end");
}

async fn a_look_up_has_an_event_however_many_requests_are_refused(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..60 {
        drop(store.journal.slot().unwrap());
    }
    let mut slot = store.journal.slot().unwrap();
    slot.look_up("dryRun");
    let id = slot.id().to_string();
    drop(slot);
    store.close().await;
    assert_eq!(closes(&scratch).await.pop(), Some((id, Outcome::Abandoned)));
}

#[tokio::test]
async fn many_requests_share_a_flush() {
    let (scratch, clock) = (Scratch::new(), clock());
    let faulty = Arc::new(FaultyDisk::new(&scratch.path().join("journal")));
    let store = Store::open_on(faulty.clone(), scratch.config(), clock.clone())
        .await
        .unwrap();
    let before = faulty.switches().flushes();
    let requests = (0..64).map(|_| {
        let mut slot = store.journal.slot().unwrap();
        slot.open(opened(slot.id(), &clock));
        async move { slot.durable().await.map(|()| slot) }
    });
    let slots: Vec<_> = futures(requests.collect())
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let flushes = faulty.switches().flushes() - before;
    assert!(flushes <= 16, "{flushes} flushes for 64 requests");
    assert_eq!(
        look(&scratch.crashed().await).await.unwrap().unclosed.len(),
        slots.len()
    );
}

async fn futures<T: Send + 'static>(futures: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

async fn a_slot_that_is_dropped_closes_as_abandoned(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    let lookup = slot.look_up("dryRun");
    slot.open(opened(slot.id(), &clock));
    slot.looked_up(&lookup, 200);
    let id = slot.id().to_string();
    drop(slot);
    store.close().await;
    assert_eq!(closes(&scratch).await, [(id.clone(), Outcome::Abandoned)]);
    let lookups = lines(&scratch).await.into_iter().find_map(|line| match line.record {
        Record::Closed(closed) => Some(closed.lookups),
        _ => None,
    });
    let lookup = &lookups.unwrap()[0];
    assert_eq!((lookup.audit_id.clone(), lookup.code), (format!("{id}.1"), Some(200)));
}

async fn what_was_open_at_the_end_of_a_process_is_closed_as_unknown(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let done = request(&store, &clock).await;
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), &clock));
    slot.durable().await.unwrap();
    let crashed = scratch.crashed().await;
    open(&crashed, &clock).await.unwrap().close().await;
    let answered = Outcome::Answered {
        code: 200,
        reason: String::new(),
    };
    assert_eq!(
        closes(&crashed).await,
        [(done, answered), (slot.id().to_string(), Outcome::Unknown)]
    );
    assert!(look(&crashed).await.unwrap().unclosed.is_empty());
}

#[tokio::test]
async fn a_write_torn_at_any_byte_leaves_what_came_before() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..4 {
        request(&store, &clock).await;
        store.journal.settled().await.unwrap();
    }
    let crashed = scratch.crashed().await;
    let (path, whole) = (crashed.segment(1), std::fs::read(crashed.segment(1)).unwrap());
    let bounds = bounds(&whole);
    let (from, end) = (bounds[bounds.len() - 4], bounds[bounds.len() - 1]);
    for cut in from..end {
        let mut torn = whole.clone();
        torn[cut..end].fill(0);
        std::fs::write(&path, &torn).unwrap();
        let standing = look(&crashed)
            .await
            .unwrap_or_else(|fault| panic!("cut at {cut}: {fault}"));
        let kept = bounds.iter().rposition(|bound| *bound <= cut).unwrap();
        assert_eq!(standing.head.seq, kept as u64, "cut at {cut}");
        assert_eq!(standing.torn.is_none(), bounds.contains(&cut), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_torn_tail_is_taken_away_and_said_so() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    let kept = request(&store, &clock).await;
    store.journal.settled().await.unwrap();
    request(&store, &clock).await;
    store.journal.settled().await.unwrap();
    let crashed = scratch.crashed().await;
    let mut bytes = std::fs::read(crashed.segment(1)).unwrap();
    let bounds = bounds(&bytes);
    let (cut, end) = (bounds[bounds.len() - 3] + 5, bounds[bounds.len() - 1]);
    bytes[cut..end].fill(0);
    std::fs::write(crashed.segment(1), &bytes).unwrap();

    let store = open(&crashed, &clock).await.unwrap();
    let again = request(&store, &clock).await;
    store.close().await;
    let truncated = lines(&crashed).await.into_iter().find_map(|line| match line.record {
        Record::Truncated(truncated) => Some(truncated),
        _ => None,
    });
    let truncated = truncated.unwrap();
    assert_eq!((truncated.segment, truncated.bytes, truncated.unclosed), (1, 5, 0));
    assert_eq!(
        closes(&crashed).await.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
        [kept, again]
    );
}

#[tokio::test]
async fn a_bit_changed_anywhere_in_durable_records_is_found() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..3 {
        request(&store, &clock).await;
    }
    store.close().await;
    let whole = std::fs::read(scratch.segment(1)).unwrap();
    let bounds = bounds(&whole);
    // Behind the last but one frame nothing proves that a bad frame had been durable: that is what anchors will be for.
    for place in (0..bounds[bounds.len() - 2]).step_by(7) {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 8);
        std::fs::write(scratch.segment(1), &flipped).unwrap();
        assert!(
            matches!(look(&scratch).await, Err(StoreFault::Damaged { .. })),
            "byte {place}"
        );
    }
}

#[tokio::test]
async fn a_record_left_out_or_put_elsewhere_breaks_the_chain() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    request(&store, &clock).await;
    request(&store, &clock).await;
    store.close().await;
    let whole = std::fs::read(scratch.segment(1)).unwrap();
    let bounds = bounds(&whole);
    let frame = |index: usize| whole[bounds[index]..bounds[index + 1]].to_vec();
    let order = async |order: &[usize]| {
        let mut bytes: Vec<u8> = order.iter().flat_map(|index| frame(*index)).collect();
        bytes.resize(whole.len(), 0);
        std::fs::write(scratch.segment(1), bytes).unwrap();
        look(&scratch).await.map(|standing| standing.head.seq)
    };
    // Both checkpoints, two requests of two records each, the end, and a checkpoint over it.
    assert_eq!(order(&[0, 1, 2, 3, 4, 5, 6, 7]).await, Ok(8));
    assert!(
        matches!(order(&[0, 1, 2, 4, 5, 6, 7]).await, Err(StoreFault::Damaged { .. })),
        "left out"
    );
    assert!(
        matches!(order(&[0, 1, 3, 2, 4, 5, 6, 7]).await, Err(StoreFault::Damaged { .. })),
        "swapped"
    );
    assert!(
        matches!(order(&[1, 2, 3, 4, 5, 6, 7]).await, Err(StoreFault::Damaged { .. })),
        "without its beginning"
    );
}

async fn records_go_on_in_the_next_segment_and_across_starts(scratch: Scratch) {
    let clock = clock();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let store = open(&scratch, &clock).await.unwrap();
        for _ in 0..40 {
            ids.push(request(&store, &clock).await);
        }
        store.close().await;
    }
    assert!(segments(&scratch).await > 3);
    assert_eq!(
        closes(&scratch).await.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
        ids
    );
    let writers: std::collections::BTreeSet<_> = lines(&scratch).await.into_iter().map(|line| line.writer).collect();
    assert_eq!(writers.len(), 1);
}

#[tokio::test]
async fn a_missing_segment_is_found() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..60 {
        request(&store, &clock).await;
    }
    store.close().await;
    std::fs::remove_file(scratch.segment(1)).unwrap();
    let fault = open(&scratch, &clock).await.unwrap_err();
    assert!(
        matches!(&fault, StoreFault::Damaged { what, .. } if what.contains("segment 1 is missing")),
        "{fault}"
    );
}

async fn no_more_requests_than_there_is_room_for(scratch: Scratch) {
    let clock = clock();
    let mut config = scratch.config();
    config.sizes.requests = 2;
    let store = Store::open(config, clock.clone()).await.unwrap();
    let mut first = store.journal.slot().unwrap();
    first.open(opened(first.id(), &clock));
    let _second = store.journal.slot().unwrap();
    assert!(matches!(store.journal.slot(), Err(StoreFault::Full(_))));
    let closed = answered(&first, 200, &clock);
    first.close(closed);
    store.journal.settled().await.unwrap();
    let _third = store.journal.slot().unwrap();
}

#[tokio::test]
async fn a_disk_that_fails_refuses_everything_from_then_on() {
    let (scratch, clock) = (Scratch::new(), clock());
    let faulty = Arc::new(FaultyDisk::new(&scratch.path().join("journal")));
    let store = Store::open_on(faulty.clone(), scratch.config(), clock.clone())
        .await
        .unwrap();
    request(&store, &clock).await;
    store.journal.settled().await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    let mut other = store.journal.slot().unwrap();
    faulty.switches().fail_flushes(true);
    slot.open(opened(slot.id(), &clock));
    other.open(opened(other.id(), &clock));
    assert!(matches!(slot.durable().await, Err(StoreFault::Failed(_))));
    assert!(matches!(other.durable().await, Err(StoreFault::Failed(_))));
    faulty.switches().fail_flushes(false);
    assert!(matches!(store.journal.slot(), Err(StoreFault::Failed(_))));
    assert!(matches!(store.health(), Err(StoreFault::Failed(_))));
    let closed = answered(&slot, 200, &clock);
    slot.close(closed);
}

#[tokio::test]
async fn a_full_disk_refuses_new_requests_and_still_closes_old_ones() {
    let (scratch, clock) = (Scratch::new(), clock());
    let faulty = Arc::new(FaultyDisk::new(&scratch.path().join("journal")));
    let store = Store::open_on(faulty.clone(), scratch.config(), clock.clone())
        .await
        .unwrap();
    faulty.switches().fill(true);
    let mut held = store.journal.slot().unwrap();
    held.open(opened(held.id(), &clock));
    held.durable().await.unwrap();
    // A segment holds some forty records here; half of them are left for closes.
    let mut refused = None;
    for _ in 0..40 {
        match store.journal.slot() {
            Ok(mut slot) => {
                slot.open(opened(slot.id(), &clock));
                drop(slot);
                store.journal.settled().await.unwrap();
                // From half a segment on the next one is laid out, in a thread of its own: however slow that is, here it ends first.
                while store.journal.head().offset * 2 >= 32 << 10 && store.health().is_ok() {
                    tokio::task::yield_now().await;
                }
            }
            Err(fault) => {
                refused = Some(fault);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(StoreFault::Full(_))), "{refused:?}");
    let id = held.id().to_string();
    let closed = answered(&held, 200, &clock);
    held.close(closed);
    store.close().await;
    assert_eq!(closes(&scratch).await.last().unwrap().0, id);
}

#[tokio::test]
async fn two_processes_cannot_write_one_journal() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    let fault = open(&scratch, &clock).await.unwrap_err();
    assert!(matches!(&fault, StoreFault::Locked(_)), "{fault}");
    store.close().await;
    open(&scratch, &clock).await.unwrap().close().await;
}

async fn refusals_without_a_caller_are_written_up_to_a_rate_and_counted_beyond_it(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..120 {
        let mut slot = store.journal.slot().unwrap();
        slot.open(Opened::new(slot.id(), parts(None, None, clock.now())));
        let outcome = Outcome::Refused {
            code: 401,
            reason: "Unauthorized".into(),
            message: "sign in again".into(),
        };
        let closed = Closed::new(slot.id(), clock.now(), outcome, 0);
        slot.close(closed);
    }
    clock.advance(std::time::Duration::from_secs(1));
    drop(store.journal.slot().unwrap());
    store.close().await;
    let counted = lines(&scratch).await.into_iter().filter_map(|line| match line.record {
        Record::Refusals(refusals) => Some(refusals.counted.iter().map(|counted| counted.count).sum::<u64>()),
        _ => None,
    });
    assert_eq!(counted.sum::<u64>(), 70);
    assert_eq!(closes(&scratch).await.len(), 51);
}

async fn slots_may_outlive_the_journal(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), &clock));
    slot.durable().await.unwrap();
    let mut late = store.journal.slot().unwrap();
    store.close().await;
    late.open(opened(late.id(), &clock));
    assert_eq!(late.durable().await, Err(StoreFault::Closed));
    drop(slot);
    open(&scratch, &clock).await.unwrap().close().await;
    assert_eq!(closes(&scratch).await.len(), 1);
}

/// Not a test of its own: what `a_killed_process_loses_no_acknowledged_write` starts and kills.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os("MANTLET_STORE_TEST_CHILD") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = std::path::PathBuf::from(folder);
        let database = std::env::var("MANTLET_STORE_TEST_DATABASE").unwrap();
        let config = StoreConfig {
            journal: match database.starts_with("sqlite://") {
                true => JournalAt::Folder(folder.join("journal")),
                false => JournalAt::Database,
            },
            database: database.into(),
            recordings: crate::Recordings::Folder(folder.join("recordings")),
            key_file: folder.join("key"),
            missing_key: MissingKey::Create,
            sizes: crate::Sizes {
                segment: 256 << 10,
                requests: 1_000,
                ..crate::Sizes::default()
            },
        };
        let clock = clock();
        let store = Arc::new(Store::open(config, clock.clone()).await.unwrap());
        let work = (0..8).map(|_| tokio::spawn(acknowledge(store.clone(), clock.clone())));
        for work in work.collect::<Vec<_>>() {
            work.await.unwrap();
        }
    });
}

#[expect(clippy::print_stdout, reason = "how the parent hears what was acknowledged")]
async fn acknowledge(store: Arc<Store>, clock: Arc<crate::HandClock>) {
    loop {
        let mut slot = store.journal.slot().unwrap();
        slot.open(opened(slot.id(), &clock));
        slot.durable().await.unwrap();
        println!("ack {}", slot.id());
        let closed = answered(&slot, 200, &clock);
        slot.close(closed);
    }
}

async fn a_killed_process_loses_no_acknowledged_write(scratch: Scratch) {
    let mut acknowledged = Vec::new();
    for rounds in [1, 40, 400] {
        killed_after(&scratch, rounds, &mut acknowledged).await;
    }
}

async fn killed_after(scratch: &Scratch, acknowledgements: usize, acknowledged: &mut Vec<String>) {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let before = acknowledged.len();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "journal::tests::writes_until_it_is_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("MANTLET_STORE_TEST_CHILD", scratch.path())
        .env("MANTLET_STORE_TEST_DATABASE", scratch.config().database.as_str())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    for line in said.lines().map_while(Result::ok) {
        if let Some(at) = line.find("ack ") {
            acknowledged.push(line[at + 4..].to_owned());
        }
        if acknowledged.len() == before + acknowledgements {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= before + acknowledgements);

    let mut config = scratch.config();
    config.sizes.segment = 256 << 10;
    let store = Store::open(config, clock()).await.unwrap();
    let everything = crate::Visible::Everything;
    let events = store.index.events(&everything, None, None, None).await.unwrap().items;
    let names: std::collections::HashSet<_> = events.iter().map(|event| event.metadata.name.as_str()).collect();
    assert_eq!(names.len(), events.len());
    // The last line may have been cut off by the kill itself.
    let whole = acknowledged.iter().filter(|id| id.len() == 36);
    assert_eq!(whole.filter(|id| !names.contains(id.as_str())).count(), 0);
    store.close().await;
    assert!(look(scratch).await.unwrap().unclosed.is_empty());
}

#[test]
fn the_segment_of_a_folder_is_zeros_before_it_is_written() {
    let scratch = Scratch::new();
    let folder = Folder::new(scratch.path());
    folder.prepare(100_000).unwrap();
    folder.adopt(1).unwrap();
    let segment = folder.open(1).unwrap();
    let mut bytes = vec![1; 100_000];
    segment.read_at(&mut bytes, 0).unwrap();
    assert_eq!(segment.size().unwrap(), 100_000);
    assert!(frame::zeros(&bytes));
}

/// Writers must stay `Send` whatever they hold: a slot lives in the task of its request.
#[test]
fn a_slot_can_be_moved_into_a_task() {
    fn goes<T: Send + 'static>() {}
    goes::<crate::Slot>();
    goes::<Journal>();
}

/// A request from `source` that ends before it has a caller.
fn stranger(store: &Store, clock: &crate::HandClock, source: &str, over_quota: Option<&str>) {
    let mut slot = store.journal.slot().unwrap();
    let mut parts = parts(None, None, clock.now());
    parts.source_ips = vec![source.to_owned()];
    slot.open(Opened::new(slot.id(), parts));
    if let Some(who) = over_quota {
        slot.over_quota(who);
    }
    let closed = answered(&slot, 401, clock);
    slot.close(closed);
}

/// What was counted, by address and name.
async fn counted(scratch: &Scratch) -> std::collections::BTreeMap<(String, String), u64> {
    let mut counts = std::collections::BTreeMap::new();
    for line in lines(scratch).await {
        if let Record::Refusals(refusals) = line.record {
            for counted in refusals.counted {
                *counts.entry((counted.source, counted.who)).or_default() += counted.count;
            }
        }
    }
    counts
}

#[tokio::test]
async fn refusals_beyond_the_rate_are_counted_by_address_and_many_addresses_together() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..80 {
        stranger(&store, &clock, "192.0.2.1", None);
    }
    for n in 0..100 {
        stranger(&store, &clock, &format!("198.51.100.{n}"), None);
    }
    stranger(&store, &clock, "192.0.2.1", None);
    store.close().await;
    assert_eq!(closes(&scratch).await.len(), 50);
    let counted = counted(&scratch).await;
    let of = |source: &str| counted.get(&(source.to_owned(), String::new())).copied();
    assert_eq!(
        (of("192.0.2.1"), of("198.51.100.7"), of("198.51.100.99")),
        (Some(31), Some(1), None)
    );
    assert_eq!(of(""), Some(37), "beyond 64 addresses");
    assert_eq!(counted.values().sum::<u64>(), 131);
}

#[tokio::test]
async fn who_is_over_quota_is_counted_by_name_and_takes_no_event_from_strangers() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..60 {
        stranger(&store, &clock, "192.0.2.1", Some("coder"));
    }
    stranger(&store, &clock, "192.0.2.1", None);
    store.close().await;
    assert_eq!(closes(&scratch).await.len(), 1);
    let expected = ((String::from("192.0.2.1"), String::from("coder")), 60);
    assert_eq!(counted(&scratch).await.into_iter().collect::<Vec<_>>(), [expected]);
}

#[tokio::test]
async fn strangers_fill_no_more_of_the_disk_than_they_may_in_an_hour() {
    let (scratch, clock) = (Scratch::new(), clock());
    let mut config = scratch.config();
    config.sizes.refusals = 4_000;
    let store = Store::open(config, clock.clone()).await.unwrap();
    for _ in 0..20 {
        stranger(&store, &clock, "192.0.2.1", None);
        clock.advance(Duration::from_secs(1));
    }
    let in_this_hour = closes(&scratch.crashed().await).await.len();
    clock.advance(Duration::from_secs(3600));
    stranger(&store, &clock, "192.0.2.1", None);
    store.close().await;
    let all = closes(&scratch).await.len();
    assert!((2..6).contains(&(all - 1)), "{all} of them were written in full");
    assert!(in_this_hour < all);
    let counted: u64 = counted(&scratch).await.values().sum();
    assert_eq!(counted as usize + all, 21);
}

#[tokio::test]
async fn a_share_is_filled_by_records_and_by_bodies() {
    let (scratch, clock) = (Scratch::new(), clock());
    let mut config = scratch.config();
    config.sizes.quota = 20_000;
    let store = Store::open(config, clock.clone()).await.unwrap();
    let who = caller("coder");
    let share = || store.journal.share(&who.issuer, &who.subject);
    for _ in 0..4 {
        share().unwrap();
        request(&store, &clock).await;
    }
    let mut slot = store.journal.slot().unwrap();
    slot.belongs_to(&who.issuer, &who.subject);
    slot.charge(19_000);
    assert!(share().is_err());
    store.journal.share(&who.issuer, "somebody else").unwrap();
    // Who was admitted before is still written down.
    slot.open(opened(slot.id(), &clock));
    let closed = answered(&slot, 200, &clock);
    slot.close(closed);
    store.close().await;
    assert_eq!(closes(&scratch).await.len(), 5);
}
