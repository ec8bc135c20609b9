//! Journals that were tampered with, each kind of it: what is found, and what is said.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mantlet_core::record::{CHECKPOINT, ChainHead, Record, Signed};
use mantlet_core::time::Clock;
use proptest::prelude::*;

use super::*;
use crate::HandClock;
use crate::signing::SigningKey;
use crate::testing::{Scratch, clock, open, request};

/// Closed in good order: three requests, with a checkpoint after each.
async fn written() -> (Scratch, Arc<HandClock>) {
    written_with(3).await
}

async fn written_with(requests: usize) -> (Scratch, Arc<HandClock>) {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..requests {
        clock.advance(Duration::from_secs(61));
        request(&store, &clock).await;
        store.journal.settled().await.unwrap();
    }
    store.close().await;
    (scratch, clock)
}

/// The same over several segments.
async fn long() -> (Scratch, Arc<HandClock>) {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..60 {
        clock.advance(Duration::from_secs(1));
        request(&store, &clock).await;
    }
    store.close().await;
    (scratch, clock)
}

fn look(scratch: &Scratch, anchors: &[Anchor]) -> Report {
    verify(
        &scratch.path().join("journal"),
        &scratch.path().join("key"),
        None,
        anchors,
    )
    .unwrap()
}

fn found(report: &Report) -> Vec<(Kind, String)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.to_string()))
        .collect()
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Found::Frame(frame) = frame::decode(&bytes[at..]) {
        frames.push(bytes[at..at + frame.length()].to_vec());
        at += frame.length();
    }
    frames
}

/// Writes these frames of segment 1 in this order.
fn order(scratch: &Scratch, order: &[usize]) {
    let bytes = std::fs::read(scratch.segment(1)).unwrap();
    let frames = frames(&bytes);
    let mut new: Vec<u8> = order.iter().flat_map(|index| frames[*index].clone()).collect();
    new.resize(bytes.len().max(new.len()), 0);
    std::fs::write(scratch.segment(1), new).unwrap();
}

/// All that was signed in this journal, as an anchor would hold it.
fn anchors(scratch: &Scratch) -> Vec<Anchor> {
    let disk = Folder::new(&scratch.path().join("journal"));
    let mut anchors = Vec::new();
    for number in disk.segments().unwrap() {
        for frame in frames(&scan::whole(&disk, number).unwrap()) {
            let Found::Frame(frame) = frame::decode(&frame) else {
                panic!("a frame")
            };
            if let Record::SignedCheckpoint(signed) = chain::read(frame.payload).unwrap().record {
                let place = format!("anchor line {}", anchors.len() + 1);
                anchors.push(Anchor { place, signed });
            }
        }
    }
    anchors
}

fn signing_key(scratch: &Scratch) -> Arc<SigningKey> {
    let keyring = Keyring::read(&scratch.path().join("journal"), &scratch.path().join("key")).unwrap();
    keyring.signing_keys().last().unwrap().clone()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_journal_is_whole_and_says_what_is_in_it() {
    let (scratch, _) = written().await;
    let report = look(&scratch, &[]);
    let writer = report.journals[0].writer.clone();
    assert_eq!(
        report.to_string().replace(&writer, "WRITER"),
        "journal WRITER: segments 1 to 1, records 1 to 13, 2026-01-02T03:04:05.000000Z to 2026-01-02T03:07:08.009000Z\n  \
         3 requests opened, 3 closed, 0 refused in sum\n  \
         last signed checkpoint 5 at record 13, 2026-01-02T03:07:08.009000Z\n  \
         nothing is anchored: who can write to this disk can cut off the end unseen\n\
         whole\n"
    );
    let report = look(&scratch, &anchors(&scratch));
    assert!(report.is_whole(), "{report}");
    assert!(
        report.to_string().contains("anchored up to checkpoint 5, the last\n"),
        "{report}"
    );
    let report = look(&scratch, &anchors(&scratch)[..2]);
    assert!(
        report
            .to_string()
            .contains("anchored up to checkpoint 2; not anchored since 2026-01-02T03:06:07"),
        "{report}"
    );
    assert!(
        serde_json::to_string(&report)
            .unwrap()
            .contains(r#""unanchoredSince":"2026-01-02T03:06:07"#)
    );
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let (scratch, _) = written_with(1).await;
    let whole = std::fs::read(scratch.segment(1)).unwrap();
    let written = frames(&whole).iter().map(Vec::len).sum::<usize>();
    // Each byte that was written, and some of the zeros behind.
    for place in (0..written).chain((written..whole.len()).step_by(1009)) {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 8);
        std::fs::write(scratch.segment(1), &flipped).unwrap();
        assert!(!look(&scratch, &[]).is_whole(), "byte {place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Of any byte anywhere, in the first segment or a later one, zeros included.
    #[test]
    fn any_changed_byte_is_found(segment in 1_u64..=3, place in 0_usize..32 << 10, flip in 1_u8..) {
        use std::sync::OnceLock;
        static LONG: OnceLock<(Scratch, Arc<HandClock>)> = OnceLock::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (scratch, _) = LONG.get_or_init(|| runtime.block_on(long()));
        let changed = runtime.block_on(scratch.crashed());
        let mut bytes = std::fs::read(changed.segment(segment)).unwrap();
        bytes[place] ^= flip;
        std::fs::write(changed.segment(segment), bytes).unwrap();
        let report = look(&changed, &[]);
        prop_assert!(!report.is_whole());
        let finding = &report.findings[0];
        prop_assert_eq!(finding.segment, Some(segment));
        prop_assert!(finding.offset.unwrap() <= place as u64, "{}", finding);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_told_by_place_and_record() {
    let (scratch, _) = written().await;
    let mut bytes = std::fs::read(scratch.segment(1)).unwrap();
    let before: usize = frames(&bytes)[..3].iter().map(Vec::len).sum();
    bytes[before + 100] ^= 4;
    std::fs::write(scratch.segment(1), &bytes).unwrap();
    assert_eq!(
        found(&look(&scratch, &[])),
        [(
            Kind::Changed,
            format!(
                "segment 1, byte {before}, record 4, 2026-01-02T03:05:06.003000Z: these bytes were changed after they had been written; record 4 is gone"
            )
        )]
    );
}

#[tokio::test]
async fn a_bit_of_the_last_record_is_told_from_nothing_only_by_an_anchor() {
    let (scratch, _) = written().await;
    let anchors = anchors(&scratch);
    let mut bytes = std::fs::read(scratch.segment(1)).unwrap();
    let end: usize = frames(&bytes).iter().map(Vec::len).sum();
    bytes[end - 5] ^= 1;
    std::fs::write(scratch.segment(1), &bytes).unwrap();
    let report = look(&scratch, &[]);
    assert_eq!(kinds(&report), [Kind::Torn]);
    assert!(report.to_string().contains("bytes are no whole record"), "{report}");
    // The last checkpoint vouches for everything in front of it, and all of that is here.
    assert_eq!(kinds(&look(&scratch, &anchors)), [Kind::Torn]);
}

#[tokio::test]
async fn a_record_that_was_taken_out_is_found() {
    let (scratch, _) = written().await;
    order(&scratch, &[0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let report = look(&scratch, &[]);
    let first = &report.findings[0];
    assert_eq!(first.kind, Kind::Missing);
    assert!(
        first
            .to_string()
            .ends_with("record 5, 2026-01-02T03:05:06.003000Z: record 4 is missing in front of it"),
        "{first}"
    );
}

#[tokio::test]
async fn records_that_changed_places_are_found() {
    let (scratch, _) = written().await;
    order(&scratch, &[0, 1, 2, 4, 3, 5, 6, 7, 8, 9, 10, 11, 12]);
    let report = look(&scratch, &[]);
    assert_eq!(kinds(&report)[..2], [Kind::Missing, Kind::OutOfPlace], "{report}");
    assert!(
        report.findings[1].what.contains("record 4 stands behind record 5"),
        "{report}"
    );
}

#[tokio::test]
async fn a_record_that_stands_twice_is_found() {
    let (scratch, _) = written().await;
    order(&scratch, &[0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let report = look(&scratch, &[]);
    assert_eq!(kinds(&report), [Kind::OutOfPlace], "{report}");
    assert!(
        report.findings[0].what.contains("record 4 stands behind record 4"),
        "{report}"
    );
}

#[tokio::test]
async fn a_missing_segment_is_found_wherever_it_was() {
    for missing in [1, 2] {
        let (scratch, _) = long().await;
        std::fs::remove_file(scratch.segment(missing)).unwrap();
        let report = look(&scratch, &[]);
        let finding = report
            .findings
            .iter()
            .find(|finding| finding.kind == Kind::MissingSegment);
        let finding = finding.unwrap_or_else(|| panic!("{report}"));
        assert!(
            finding.what.starts_with(&format!("segment {missing} is missing")),
            "{finding}"
        );
    }
}

#[tokio::test]
async fn segments_that_changed_places_are_found() {
    let (scratch, _) = long().await;
    let (first, second) = (
        std::fs::read(scratch.segment(2)).unwrap(),
        std::fs::read(scratch.segment(3)).unwrap(),
    );
    std::fs::write(scratch.segment(3), first).unwrap();
    std::fs::write(scratch.segment(2), second).unwrap();
    let report = look(&scratch, &[]);
    let said: Vec<_> = report.findings.iter().map(|finding| finding.what.as_str()).collect();
    assert!(said.contains(&"the checkpoint of segment 3 stands here"), "{report}");
    assert!(kinds(&report).contains(&Kind::OutOfPlace), "{report}");
}

#[tokio::test]
async fn a_cut_tail_is_found_by_what_is_anchored() {
    let (scratch, _) = written().await;
    let anchors = anchors(&scratch);
    // Whole records and a whole chain, up to where the first checkpoint of the start stands.
    order(&scratch, &[0, 1, 2, 3]);
    assert!(look(&scratch, &[]).is_whole(), "nothing on this disk knows of it");
    let report = look(&scratch, &anchors);
    assert_eq!(
        found(&report),
        [(
            Kind::CutTail,
            String::from(
                "record 5, 2026-01-02T03:07:08.009000Z: anchor line 5: checkpoint 5 was made over record 12 (2026-01-02T03:07:08.009000Z), \
                 and the journal ends at record 4 (2026-01-02T03:05:06.000000Z): 8 records are gone"
            )
        )]
    );
    assert!(
        report
            .to_string()
            .contains("it means: the end was cut off, or an old copy of the folder was put back")
    );
}

#[tokio::test]
async fn an_old_copy_that_was_put_back_is_found_also_after_it_was_written_to() {
    let (scratch, clock) = written().await;
    let old = scratch.crashed().await;
    let store = open(&scratch, &clock).await.unwrap();
    request(&store, &clock).await;
    store.close().await;
    let anchors = anchors(&scratch);
    assert_eq!(kinds(&look(&old, &anchors)), [Kind::CutTail]);
    // The gateway went on with the old copy: another record stands where the anchored one was.
    clock.advance(Duration::from_secs(5));
    let store = open(&old, &clock).await.unwrap();
    for _ in 0..5 {
        request(&store, &clock).await;
    }
    store.close().await;
    assert!(look(&old, &[]).is_whole());
    let report = look(&old, &anchors);
    assert!(kinds(&report).contains(&Kind::Rewritten), "{report}");
}

#[tokio::test]
async fn a_forged_checkpoint_is_found() {
    let (scratch, _) = written().await;
    let real = anchors(&scratch);
    let forger = SigningKey::from_seed(signing_key(&scratch).id(), &[9; 32]).unwrap();
    let statement: CheckpointStatement = serde_json::from_str(&real[4].signed.statement).unwrap();
    let forged = Anchor {
        place: String::from("anchor line 1"),
        signed: forger.sign(CHECKPOINT, &statement).unwrap(),
    };
    let report = look(&scratch, &[forged]);
    assert_eq!(kinds(&report), [Kind::Forged]);
    assert!(report.to_string().contains("it was not signed with key"), "{report}");
}

#[tokio::test]
async fn a_journal_that_another_key_signed_is_not_believed() {
    let (scratch, _) = written().await;
    let stranger = SigningKey::from_seed("s0", &[1; 32]).unwrap();
    let folder = scratch.path().join("journal");
    let report = verify(
        &folder,
        &scratch.path().join("key"),
        Some(PublicKeys::of([&stranger])),
        &[],
    )
    .unwrap();
    assert!(
        kinds(&report).iter().all(|kind| *kind == Kind::Forged) && !report.is_whole(),
        "{report}"
    );
    // With its public key alone an auditor needs no secret.
    let public = public_keys(&folder, &scratch.path().join("key")).unwrap();
    let report = verify(&folder, Path::new("/nowhere"), Some(public), &[]).unwrap();
    assert!(report.is_whole(), "{report}");
    assert!(report.notes[0].contains("the keyring was not opened"), "{report}");
}

#[tokio::test]
async fn a_missing_writer_is_found_by_the_checkpoints_of_another() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    let (others, other_clock) = long().await;
    let other = look(&others, &[]).journals[0].clone();
    store.journal.note_chain(ChainHead {
        writer: other.writer.clone(),
        seq: 20,
        hash: String::from("unknown"),
    });
    request(&store, &clock).await;
    store.close().await;
    let report = look(&scratch, &[]);
    assert_eq!(kinds(&report), [Kind::MissingWriter], "{report}");
    assert!(report.findings[0].what.contains(&other.writer), "{report}");
    // With it beside, all is well: each chain under the key that signs both.
    let folders = [&scratch, &others].map(|scratch| Folder::new(&scratch.path().join("journal")));
    let mut public = public_keys(&scratch.path().join("journal"), &scratch.path().join("key")).unwrap();
    public.add(signing_key(&others).public());
    let keys = Keys { chain: None, public };
    let report = check(&[&folders[0], &folders[1]], keys, &[], Writing::Over).unwrap();
    assert!(report.is_whole(), "{report}");
    drop(other_clock);
}

#[tokio::test]
async fn a_new_key_is_believed_on_the_word_of_the_old_one() {
    let (scratch, clock) = written().await;
    let (folder, key_file) = (scratch.path().join("journal"), scratch.path().join("key"));
    let old = public_keys(&folder, &key_file).unwrap();
    clock.advance(Duration::from_secs(1));
    let new = Keyring::rotate(&folder, &key_file, clock.now()).unwrap();
    let store = open(&scratch, &clock).await.unwrap();
    request(&store, &clock).await;
    store.close().await;
    assert_eq!(anchors(&scratch).last().unwrap().signed.key_id, new);
    let report = verify(&folder, &key_file, Some(old), &anchors(&scratch)).unwrap();
    assert!(report.is_whole(), "{report}");
}

#[tokio::test]
async fn an_event_is_one_event() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    let id = request(&store, &clock).await;
    // What no code of ours does: a second close, and one of nothing.
    for id in [id.as_str(), "00000000-0000-4000-8000-000000000000"] {
        let closed = mantlet_core::record::Closed::unknown(id, clock.now()).into_inner();
        store.journal.pen().append(&Record::Closed(closed), None).unwrap();
    }
    store.close().await;
    let said: Vec<_> = look(&scratch, &[])
        .findings
        .iter()
        .map(|finding| finding.what.clone())
        .collect();
    assert_eq!(
        said,
        [
            format!("request {id} is closed a second time"),
            String::from("request 00000000-0000-4000-8000-000000000000 is closed and was never opened"),
        ]
    );
}

#[tokio::test]
async fn while_a_gateway_writes_the_end_is_left_alone() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    slot.open(crate::testing::opened(slot.id(), &clock));
    slot.durable().await.unwrap();
    let report = look(&scratch, &[]);
    assert!(report.is_whole(), "{report}");
    assert!(report.to_string().contains("note: 1 requests are open"), "{report}");
    drop(slot);
    store.close().await;
}

#[tokio::test]
async fn a_journal_of_version_1_is_whole() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    let scratch = Scratch::new();
    copy(&golden.join("journal"), &scratch.path().join("journal"));
    std::fs::copy(golden.join("key"), scratch.path().join("key")).unwrap();
    let report = look(&scratch, &[]);
    assert!(report.is_whole(), "{report}");
    assert!(report.to_string().contains("no signed checkpoint"), "{report}");
    assert!(report.notes.iter().any(|note| note.contains("took away")), "{report}");
}

#[tokio::test]
async fn a_start_on_a_damaged_journal_says_how_to_look() {
    let (scratch, clock) = written().await;
    let mut bytes = std::fs::read(scratch.segment(1)).unwrap();
    bytes[300] ^= 1;
    std::fs::write(scratch.segment(1), &bytes).unwrap();
    let fault = open(&scratch, &clock).await.unwrap_err();
    assert!(fault.to_string().contains("hint: mantlet sessions verify"), "{fault}");
}

#[test]
fn a_signed_thing_of_another_kind_is_no_checkpoint() {
    let key = SigningKey::from_seed("s1", &[3; 32]).unwrap();
    let statement = serde_json::json!({ "checkpoint": 1 });
    let signed: Signed = key.sign(PRUNED, &statement).unwrap();
    let mut keys = Keys {
        chain: None,
        public: PublicKeys::of([&key]),
    };
    assert!(believe(&signed, &mut keys).unwrap_err().contains("not signed"));
}
