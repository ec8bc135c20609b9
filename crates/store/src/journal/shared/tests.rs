//! Several processes on one PostgreSQL, and what becomes of the journal while it is away, lost or tampered with.

use std::collections::BTreeSet;

use mantlet_api::gate::SessionEvent;
use mantlet_core::time::Clock;

use super::*;
use crate::sessions::tests::enter;
use crate::testing::{Scratch, answered, clock, open, opened, request};
use crate::{Store, Visible};

/// Asks again until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(std::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn events(store: &Store) -> Vec<SessionEvent> {
    let everything = Visible::Everything;
    store.index.events(&everything, None, None, None).await.unwrap().items
}

fn names(events: &[SessionEvent]) -> Vec<String> {
    events.iter().map(|event| event.metadata.name.clone()).collect()
}

/// Nobody can reach the database of this test until `back`.
async fn take_away(scratch: &Scratch) {
    scratch
        .administer(
            "UPDATE pg_database SET datallowconn = false WHERE datname = $1",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
        )
        .await;
}

async fn bring_back(scratch: &Scratch) {
    scratch
        .administer(
            "UPDATE pg_database SET datallowconn = true WHERE datname = $1",
            "SELECT 1 WHERE $1 <> ''",
        )
        .await;
}

#[tokio::test]
async fn two_processes_have_a_chain_each_and_both_see_everything_in_one_order() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let first = open(&scratch, &clock).await.unwrap();
    let second = open(&scratch, &clock).await.unwrap();
    assert_ne!(first.journal.writer_id(), second.journal.writer_id());
    let sessions = [enter(&first, "coder", &clock), enter(&second, "deployer", &clock)];
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        ids.insert(request(&first, &clock).await);
        ids.insert(request(&second, &clock).await);
    }
    for store in [&first, &second] {
        let seen = until("both chains are seen", async || {
            store.index.flush().await.unwrap();
            let events = events(store).await;
            let over = |event: &SessionEvent| event.event.annotations.contains_key("mantlet.dev/outcome");
            (events.len() == ids.len() && events.iter().all(over)).then_some(events)
        });
        let seen = seen.await;
        assert_eq!(names(&seen).into_iter().collect::<BTreeSet<_>>(), ids);
        let shown = store
            .index
            .sessions(&Visible::Everything, None, None)
            .await
            .unwrap()
            .items;
        let shown: BTreeSet<_> = shown.iter().map(|session| session.metadata.name.as_str()).collect();
        assert_eq!(shown, sessions.iter().map(|session| session.as_str()).collect());
    }
    let order = async |store: &Store| {
        let changes = store.index.events_since(0).await.unwrap();
        let changes = changes
            .into_iter()
            .map(|change| (change.version, change.object.metadata.name));
        changes.collect::<Vec<_>>()
    };
    let versions = order(&first).await;
    assert_eq!(versions, order(&second).await);
    assert!(versions.is_sorted_by(|one, next| one.0 < next.0), "no version twice");
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn what_dead_processes_left_open_is_closed_by_the_next_one() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let (first, second) = (
        open(&scratch, &clock).await.unwrap(),
        open(&scratch, &clock).await.unwrap(),
    );
    let mut slots = Vec::new();
    for store in [&first, &second] {
        let mut slot = store.journal.slot().unwrap();
        slot.open(opened(slot.id(), &clock));
        slot.durable().await.unwrap();
        slots.push(slot);
    }
    let crashed = scratch.crashed().await;
    let store = open(&crashed, &clock).await.unwrap();
    let closed = until("both chains are read", async || {
        let events = events(&store).await;
        let unknown = |event: &&SessionEvent| {
            event
                .event
                .annotations
                .get("mantlet.dev/outcome")
                .is_some_and(|outcome| outcome == "unknown")
        };
        (events.iter().filter(unknown).count() == 2).then(|| names(&events))
    });
    let ids: BTreeSet<_> = slots.iter().map(|slot| slot.id().to_string()).collect();
    assert_eq!(closed.await.into_iter().collect::<BTreeSet<_>>(), ids);
    // A third finds nothing left to close.
    let third = open(&crashed, &clock).await.unwrap();
    third.index.settled().await.unwrap();
    assert_eq!(events(&third).await.len(), 2);
    store.close().await;
    third.close().await;
}

#[tokio::test]
async fn a_process_goes_on_with_the_chain_and_the_sessions_of_the_last_one() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let (writer, session) = (store.journal.writer_id().to_owned(), enter(&store, "coder", &clock));
    store.close().await;
    let store = open(&scratch, &clock).await.unwrap();
    assert_eq!(store.journal.writer_id(), writer);
    assert_eq!(enter(&store, "coder", &clock), session);
    // A process beside it has a chain of its own, and leaves that session alone.
    let beside = open(&scratch, &clock).await.unwrap();
    assert_ne!(enter(&beside, "coder", &clock), session);
    clock.advance(Duration::from_secs(50));
    enter(&store, "coder", &clock);
    clock.advance(Duration::from_secs(50));
    beside.sessions.sweep(clock.now()).unwrap();
    beside.close().await;
    store.index.settled().await.unwrap();
    let shown = store
        .index
        .session(&Visible::Everything, session.as_str())
        .await
        .unwrap();
    assert_eq!(shown.unwrap().status.ended_at, None);
    store.close().await;
}

#[tokio::test]
async fn processes_with_journals_in_folders_share_an_index_and_a_keyring() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let config = |folder: &str| crate::StoreConfig {
        journal: crate::JournalAt::Folder(scratch.path().join(folder)),
        ..scratch.config()
    };
    let first = Store::open(config("first"), clock.clone()).await.unwrap();
    let second = Store::open(config("second"), clock.clone()).await.unwrap();
    assert_eq!(first.keyring.chain_key_id(), second.keyring.chain_key_id());
    let ids = BTreeSet::from([request(&first, &clock).await, request(&second, &clock).await]);
    for store in [&first, &second] {
        store.index.flush().await.unwrap();
    }
    for store in [&first, &second] {
        assert_eq!(names(&events(store).await).into_iter().collect::<BTreeSet<_>>(), ids);
        store.close().await;
    }
    // Each goes on where it stood, and takes nothing of the other's away.
    let first = Store::open(config("first"), clock.clone()).await.unwrap();
    assert_eq!(events(&first).await.len(), 2);
    first.close().await;
    // A journal in a folder without the database that holds its keys is not begun anew.
    let other = Scratch::postgres().await.unwrap();
    let astray = crate::StoreConfig {
        database: other.config().database,
        ..config("first")
    };
    let fault = Store::open(astray, clock.clone()).await.unwrap_err();
    assert!(fault.to_string().contains("keyring"), "{fault}");
}

#[tokio::test]
async fn two_first_starts_at_once_share_one_keyring() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    std::fs::write(scratch.path().join("key"), [7; 32]).unwrap();
    let clock = clock();
    let (first, second) = tokio::join!(open(&scratch, &clock), open(&scratch, &clock));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.keyring.chain_key_id(), second.keyring.chain_key_id());
    first.close().await;
    second.close().await;
}

/// Each holds its chain before the others can see it: they take what nobody holds.
#[tokio::test]
async fn starts_at_once_have_a_chain_each() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    std::fs::write(scratch.path().join("key"), [7; 32]).unwrap();
    let clock = clock();
    let start = || open(&scratch, &clock);
    let stores = tokio::join!(start(), start(), start(), start(), start(), start());
    let stores = [stores.0, stores.1, stores.2, stores.3, stores.4, stores.5].map(Result::unwrap);
    let chains: BTreeSet<_> = stores.iter().map(|store| store.journal.writer_id()).collect();
    assert_eq!(chains.len(), stores.len(), "{chains:?}");
    for store in stores {
        store.close().await;
    }
}

#[tokio::test]
async fn a_replica_without_the_key_file_is_refused_and_makes_none() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    open(&scratch, &clock).await.unwrap().close().await;
    let mut config = scratch.config();
    config.key_file = scratch.path().join("another");
    let fault = Store::open(config.clone(), clock.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("hint:") && fault.contains("copy the first one's"),
        "{fault}"
    );
    assert!(!config.key_file.exists());
}

#[tokio::test]
async fn whoever_lost_its_chain_writes_no_more() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    request(&store, &clock).await;
    store.journal.settled().await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    scratch.tamper("UPDATE chains SET epoch = epoch + 1").await;
    slot.open(opened(slot.id(), &clock));
    assert!(matches!(slot.durable().await, Err(StoreFault::Fenced(_))));
    assert!(matches!(store.health(), Err(StoreFault::Fenced(_))));
    assert!(matches!(store.journal.slot(), Err(StoreFault::Fenced(_))));
    let lost = slot.id().to_string();
    drop(slot);
    store.close().await;
    let store = open(&scratch, &clock).await.unwrap();
    store.index.settled().await.unwrap();
    assert!(!names(&events(&store).await).contains(&lost));
    store.close().await;
}

#[tokio::test]
async fn an_idle_process_that_lost_its_chain_says_so() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    scratch.tamper("UPDATE chains SET epoch = epoch + 1").await;
    let fault = until("it looks around", async || store.health().err()).await;
    assert!(
        matches!(&fault, StoreFault::Fenced(_)) && fault.to_string().contains("hint:"),
        "{fault}"
    );
}

#[tokio::test]
async fn while_the_database_is_away_everything_is_refused_and_nothing_is_lost_or_doubled() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut ids = vec![request(&store, &clock).await];
    store.journal.settled().await.unwrap();
    // One whose opening is durable, one whose is not yet, both under way when it goes.
    let mut durable = store.journal.slot().unwrap();
    durable.open(opened(durable.id(), &clock));
    durable.durable().await.unwrap();
    let mut caught = store.journal.slot().unwrap();
    take_away(&scratch).await;
    caught.open(opened(caught.id(), &clock));
    assert!(matches!(caught.durable().await, Err(StoreFault::Away(_))));
    let fault = store.journal.slot().unwrap_err();
    assert!(
        matches!(&fault, StoreFault::Away(_)) && fault.to_string().contains("hint:"),
        "{fault}"
    );
    assert!(matches!(store.health(), Err(StoreFault::Away(_))));
    for slot in [durable, caught] {
        ids.push(slot.id().to_string());
        let closed = answered(&slot, 200, &clock);
        slot.close(closed);
    }

    bring_back(&scratch).await;
    until("it comes back by itself", async || store.health().ok()).await;
    ids.push(request(&store, &clock).await);
    store.close().await;
    let store = open(&scratch, &clock).await.unwrap();
    let mut found = names(&events(&store).await);
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    store.close().await;
}

#[tokio::test]
async fn an_idle_process_notices_that_the_database_is_away_and_back() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let store = open(&scratch, &clock()).await.unwrap();
    take_away(&scratch).await;
    until("it looks around", async || store.health().err()).await;
    bring_back(&scratch).await;
    until("it comes back by itself", async || store.health().ok()).await;
    store.close().await;
}

#[tokio::test]
async fn a_process_ends_though_the_database_is_away() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    take_away(&scratch).await;
    store.close().await;
    assert!(store.health().is_err());
    bring_back(&scratch).await;
}

#[tokio::test]
async fn connections_that_break_under_load_lose_and_double_nothing() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = Arc::new(open(&scratch, &clock).await.unwrap());
    let mut acknowledged = Vec::new();
    for round in 0..40 {
        let break_it = async {
            if round % 4 == 0 {
                let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
                scratch.tamper(all).await;
            }
        };
        let write = async {
            let Ok(mut slot) = store.journal.slot() else {
                return None;
            };
            slot.open(opened(slot.id(), &clock));
            let durable = slot.durable().await;
            let id = slot.id().to_string();
            let closed = answered(&slot, 200, &clock);
            slot.close(closed);
            durable.ok().map(|()| id)
        };
        let ((), first, second) = tokio::join!(break_it, write, async {
            until("it comes back", async || store.health().ok()).await;
            request_if(&store, &clock).await
        });
        acknowledged.extend(first);
        acknowledged.extend(second);
    }
    until("it comes back", async || store.health().ok()).await;
    store.close().await;
    drop(store);
    let store = open(&scratch, &clock).await.unwrap();
    let found = names(&events(&store).await);
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "none twice");
    assert!(acknowledged.len() >= 20, "{}", acknowledged.len());
    assert!(acknowledged.iter().all(|id| distinct.contains(id)), "none lost");
    store.close().await;
}

async fn request_if(store: &Store, clock: &crate::HandClock) -> Option<String> {
    let mut slot = store.journal.slot().ok()?;
    slot.open(opened(slot.id(), clock));
    let durable = slot.durable().await;
    let id = slot.id().to_string();
    let closed = answered(&slot, 200, clock);
    slot.close(closed);
    durable.ok().map(|()| id)
}

#[tokio::test]
async fn a_database_that_was_put_back_to_an_older_state_is_noticed_by_the_next_write() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..3 {
        request(&store, &clock).await;
        store.journal.settled().await.unwrap();
    }
    let forget = "DELETE FROM journal WHERE position = (SELECT max(position) FROM journal);
         UPDATE chains SET seq = seq - 1, position = (SELECT max(position + octet_length(bytes)) FROM journal)";
    scratch.tamper(forget).await;
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), &clock));
    let fault = slot.durable().await.unwrap_err();
    assert!(
        matches!(&fault, StoreFault::Failed(why) if why.contains("older state")),
        "{fault}"
    );
    assert!(matches!(store.journal.slot(), Err(StoreFault::Failed(_))));
}

#[tokio::test]
async fn commits_are_durable_whatever_the_server_was_told() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    scratch
        .tamper(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
        )
        .await;
    let shared = Shared::new(scratch.config().database.as_str().parse().unwrap()).unwrap();
    let setting = move || {
        let ask = async |connection: &mut PgConnection| {
            let setting = sqlx::query_scalar::<_, String>("SELECT current_setting('synchronous_commit')");
            setting.fetch_one(connection).await
        };
        shared.reader.run(READ, ask)
    };
    assert_eq!(tokio::task::spawn_blocking(setting).await.unwrap().unwrap(), "on");
}

#[tokio::test]
async fn rows_that_were_changed_or_removed_are_found_at_the_start() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    for _ in 0..5 {
        request(&store, &clock).await;
        store.journal.settled().await.unwrap();
    }
    store.close().await;
    for (what, statement) in [
        (
            "a bit of the first row",
            "UPDATE journal SET bytes = set_byte(bytes, 60, get_byte(bytes, 60) # 1) WHERE position = 0",
        ),
        (
            "a bit of the last row",
            "UPDATE journal SET bytes = set_byte(bytes, 60, get_byte(bytes, 60) # 1)
             WHERE position = (SELECT max(position) FROM journal)",
        ),
        (
            "a row in the middle",
            "DELETE FROM journal WHERE position = (SELECT position FROM journal ORDER BY position OFFSET 2 LIMIT 1)",
        ),
        (
            "the last row",
            "DELETE FROM journal WHERE position = (SELECT max(position) FROM journal)",
        ),
        ("all rows", "DELETE FROM journal"),
    ] {
        let spoiled = scratch.crashed().await;
        spoiled.tamper(statement).await;
        let fault = open(&spoiled, &clock).await.unwrap_err();
        assert!(
            matches!(fault, StoreFault::Damaged { .. } | StoreFault::Unusable { .. }),
            "{what}: {fault}"
        );
    }
    open(&scratch, &clock).await.unwrap().close().await;
}

#[tokio::test]
async fn a_write_that_is_repeated_is_carried_out_once_and_another_in_its_place_is_refused() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    drop(
        crate::database::Database::open(&scratch.config().database)
            .await
            .unwrap(),
    );
    let options = scratch.config().database.as_str().parse().unwrap();
    let shared = Shared::new(options).unwrap();
    let work = move || {
        let site = shared.take(1 << 20).unwrap();
        let segment = site.disk.open(1).unwrap();
        let write = |bytes: &[u8], offset, seq| {
            segment.write_at(bytes, offset).unwrap();
            segment.sync(seq)
        };
        write(b"first", 0, 1).unwrap();
        // The answer was lost: asked again, it was done.
        write(b"first", 0, 1).unwrap();
        assert!(write(b"other", 0, 1).is_err());
        write(b"second", 5, 2).unwrap();
        // One that comes late changes nothing.
        assert!(write(b"first", 0, 1).is_err());
        assert!(write(b"third", 17, 3).is_err(), "a gap");
        let mut bytes = [1; 20];
        segment.read_at(&mut bytes, 2).unwrap();
        assert_eq!(&bytes, b"rstsecond\0\0\0\0\0\0\0\0\0\0\0");
        let mut bytes = [1; 3];
        segment.read_at(&mut bytes, 6).unwrap();
        assert_eq!(&bytes, b"eco");
        assert_eq!(site.disk.segments().unwrap(), [1]);
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test]
async fn a_start_without_the_database_says_why() {
    let mut config = Scratch::new().config();
    // Nobody listens on the discard port.
    config.database = "postgres://mantlet@127.0.0.1:9/mantlet".into();
    config.journal = crate::JournalAt::Database;
    let fault = Store::open(config, clock()).await.unwrap_err().to_string();
    assert!(fault.contains("refused") && fault.contains("hint:"), "{fault}");
}

#[tokio::test]
async fn neither_a_store_nor_its_faults_show_the_password() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let mut config = scratch.config();
    let url = config.database.as_str().replace("mantlet@", "mantlet:hunter2@");
    assert!(url.contains("hunter2"));
    config.database = url.into();
    assert!(!format!("{config:?}").contains("hunter2"));
    let store = Store::open(config.clone(), clock()).await.unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
    store.close().await;
    config.database = config.database.as_str().replace("/test_", "/no_").into();
    let fault = Store::open(config, clock()).await.unwrap_err();
    assert!(!format!("{fault} {fault:?}").contains("hunter2"), "{fault}");
    assert!(fault.to_string().contains("hint:"), "{fault}");
}

/// A database that only versions before signed checkpoints have used.
#[tokio::test]
async fn a_keyring_that_signs_nothing_gets_a_key_that_does_and_all_replicas_the_same() {
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let config = scratch.config();
    let database = Database::open(&config.database).await.unwrap();
    let sealed = crate::keyring::without_signing_key(&config.key_file, clock.now());
    let mut change = database.change().await.unwrap();
    let old = query("INSERT INTO keyring (id, sealed) VALUES (1, $1)").bind(sealed);
    change.run(old).await.unwrap();
    change.commit().await.unwrap();
    let (first, second) = tokio::join!(open(&scratch, &clock), open(&scratch, &clock));
    let (first, second) = (first.unwrap(), second.unwrap());
    let keys = |store: &Store| store.keyring.public_keys().lines().collect::<Vec<_>>();
    assert_eq!(keys(&first).len(), 1);
    assert_eq!(keys(&second), keys(&first));
    let mut due = second.outbox();
    let due = due.next().await.unwrap().unwrap();
    assert_eq!((due.writer.as_str(), due.checkpoint), (second.journal.writer_id(), 1));
    first.close().await;
    second.close().await;
    database.close().await;
}

#[tokio::test]
async fn verify_finds_what_was_done_to_any_chain_of_the_database() {
    use crate::verify::{Kind, public_keys_in, rotate_signing_key_in, verify_in};
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let (first, second) = (
        open(&scratch, &clock).await.unwrap(),
        open(&scratch, &clock).await.unwrap(),
    );
    for store in [&first, &second] {
        request(store, &clock).await;
        store.journal.settled().await.unwrap();
        request(store, &clock).await;
    }
    let config = scratch.config();
    let verify = async || {
        verify_in(&config.database, &config.journal, &config.key_file, None, Vec::new())
            .await
            .unwrap()
    };
    let report = verify().await;
    assert!(report.is_whole(), "while they write: {report}");
    first.close().await;
    second.close().await;
    let report = verify().await;
    assert!(report.is_whole() && report.journals.len() == 2, "{report}");
    assert!(
        public_keys_in(&config.database, &config.key_file)
            .await
            .unwrap()
            .lines()
            .count()
            > 0
    );

    let kinds = async |tamper: &str| {
        scratch
            .tamper(&format!("CREATE TABLE kept AS SELECT * FROM journal; {tamper}"))
            .await;
        let kinds: BTreeSet<_> = verify().await.findings.iter().map(|finding| finding.kind).collect();
        scratch
            .tamper("DELETE FROM journal; INSERT INTO journal SELECT * FROM kept; DROP TABLE kept")
            .await;
        kinds
    };
    let last = "(chain, segment, position) = (SELECT chain, segment, position FROM journal ORDER BY chain, segment DESC, position DESC LIMIT 1)";
    let cut = kinds(&format!("DELETE FROM journal WHERE {last}")).await;
    assert!(cut.contains(&Kind::CutTail), "{cut:?}");
    let flipped =
        kinds("UPDATE journal SET bytes = set_byte(bytes, 40, get_byte(bytes, 40) # 1) WHERE position = 0").await;
    assert!(flipped.contains(&Kind::Changed), "{flipped:?}");
    let gone = kinds("DELETE FROM journal WHERE chain = (SELECT min(chain) FROM journal)").await;
    assert!(gone.contains(&Kind::CutTail), "{gone:?}");
    assert!(verify().await.is_whole(), "as it was");

    let id = rotate_signing_key_in(&config.database, &config.key_file, clock.now())
        .await
        .unwrap();
    let store = open(&scratch, &clock).await.unwrap();
    request(&store, &clock).await;
    store.close().await;
    let keys = public_keys_in(&config.database, &config.key_file).await.unwrap();
    assert!(keys.lines().any(|key| key.starts_with(&id)) && keys.lines().count() == 2);
    let report = verify().await;
    assert!(report.is_whole(), "the old key vouches for the new one: {report}");
}

#[tokio::test]
async fn the_checkpoints_of_one_process_vouch_for_the_chains_of_the_others() {
    use crate::verify::{Kind, verify_in};
    let Some(scratch) = Scratch::postgres().await else {
        return;
    };
    let clock = clock();
    let (first, second) = (
        open(&scratch, &clock).await.unwrap(),
        open(&scratch, &clock).await.unwrap(),
    );
    // From here on it reads what the other one writes.
    first.index.settled().await.unwrap();
    for store in [&second, &first] {
        request(store, &clock).await;
        store.journal.settled().await.unwrap();
    }
    first.index.settled().await.unwrap();
    second.close().await;
    first.close().await; // with a checkpoint
    let gone = second.journal.writer_id().to_owned();
    let remove = format!("DELETE FROM journal WHERE chain = '{gone}'; DELETE FROM chains WHERE chain = '{gone}'");
    scratch.tamper(&remove).await;
    let config = scratch.config();
    let report = verify_in(&config.database, &config.journal, &config.key_file, None, Vec::new()).await;
    let findings = report.unwrap().findings;
    let missing = findings.iter().find(|finding| finding.kind == Kind::MissingWriter);
    assert!(
        missing.is_some_and(|finding| finding.what.contains(&gone)),
        "{findings:?}"
    );
}
