//! What the index shows of a journal, to whom, and that it can be made again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mantlet_api::audit::Stage;
use mantlet_api::gate::SessionEvent;
use mantlet_core::record::{Closed, Opened, Outcome};
use mantlet_core::time::Clock;
use proptest::prelude::*;

use super::{Owner, Visible};
use crate::testing::{Scratch, answered, caller, clock, on_both, open, opened, parts, request};
use crate::{HandClock, Slot, Store, StoreFault};

const EVERYTHING: Visible = Visible::Everything;

on_both! {
    a_request_becomes_one_audit_event,
    requests_that_share_a_transaction_are_events_in_the_order_in_which_they_came,
    a_request_under_way_is_seen_and_its_end_changes_the_same_event,
    whoever_watches_hears_of_each_change,
    pages_follow_each_other_without_gap_or_double,
    one_sees_ones_own_and_an_auditor_sees_all,
    an_index_made_anew_equals_the_one_that_was_lost,
    a_rebuilt_index_equals_the_one_that_was_thrown_away,
}

async fn events(store: &Store) -> Vec<SessionEvent> {
    store.index.flush().await.unwrap();
    store.index.events(&EVERYTHING, None, None, None).await.unwrap().items
}

async fn a_request_becomes_one_audit_event(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    let lookup = slot.look_up("dryRun");
    slot.looked_up(&lookup, 200);
    slot.open(Opened::new(
        slot.id(),
        parts(Some(caller("coder")), Some("ses-a"), clock.now()),
    ));
    slot.durable().await.unwrap();
    clock.advance(Duration::from_millis(5));
    let closed = Closed::new(
        slot.id(),
        clock.now(),
        Outcome::Answered {
            code: 404,
            reason: "NotFound".into(),
        },
        9,
    );
    let id = slot.id().to_string();
    slot.close(closed);

    let events = events(&store).await;
    let [
        SessionEvent {
            metadata, spec, event, ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&metadata.name, spec.session.as_str(), &event.audit_id),
        (&id, "ses-a", &id)
    );
    let wanted = serde_json::json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": id, "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/test/configmaps/settings?token=[masked]",
        "verb": "delete",
        "user": { "username": "agent:coder", "groups": ["agents"] },
        "impersonatedUser": { "username": "system:serviceaccount:mantlet-agents:coder" },
        "sourceIPs": ["127.0.0.1"],
        "userAgent": "kubectl/v1.36.0",
        "objectRef": { "resource": "configmaps", "namespace": "test", "name": "settings", "apiVersion": "v1" },
        "responseStatus": { "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404 },
        "requestReceivedTimestamp": "2026-01-02T03:04:05.000000Z",
        "stageTimestamp": "2026-01-02T03:04:05.005000Z",
        "annotations": {
            "mantlet.dev/agent": "coder", "mantlet.dev/cluster": "local", "mantlet.dev/cluster-uid": "7d1f",
            "mantlet.dev/decision": "allow", "mantlet.dev/epoch": "3", "mantlet.dev/issuer": "https://issuer.example",
            "mantlet.dev/lookups": format!(r#"[{{"auditId":"{id}.1","kind":"dryRun","code":200}}]"#),
            "mantlet.dev/outcome": "answered", "mantlet.dev/session": "ses-a", "mantlet.dev/subject": "coder",
        },
    });
    assert_eq!(serde_json::to_value(event).unwrap(), wanted);
}

/// 85 are one statement of each size, and some.
async fn requests_that_share_a_transaction_are_events_in_the_order_in_which_they_came(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut came = Vec::new();
    for _ in 0..85 {
        let mut slot = store.journal.slot().unwrap();
        came.push(slot.id().to_string());
        slot.open(opened(slot.id(), &clock));
        let closed = answered(&slot, 200, &clock);
        slot.close(closed);
    }
    let events = events(&store).await;
    let shown: Vec<_> = events.iter().map(|event| event.metadata.name.clone()).collect();
    assert_eq!(shown, came);
    assert!(events.iter().all(|event| event.event.stage == Stage::ResponseComplete));
}

async fn a_request_under_way_is_seen_and_its_end_changes_the_same_event(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut slot = store.journal.slot().unwrap();
    slot.open(opened(slot.id(), &clock));
    let before = events(&store).await;
    assert_eq!(before[0].event.stage, Stage::RequestReceived);
    let version = store.index.version();
    assert!(store.index.events_since(0).await.unwrap()[0].added);

    let closed = answered(&slot, 200, &clock);
    slot.close(closed);
    let after = events(&store).await;
    assert_eq!((after.len(), after[0].event.stage), (1, Stage::ResponseComplete));
    let changes = store.index.events_since(version).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.added).collect::<Vec<_>>(), [false]);
    assert!(changes[0].version > version && store.index.version() == changes[0].version);
}

async fn whoever_watches_hears_of_each_change(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut versions = store.index.versions();
    let before = *versions.borrow_and_update();
    request(&store, &clock).await;
    versions.changed().await.unwrap();
    assert!(*versions.borrow() > before);
}

async fn pages_follow_each_other_without_gap_or_double(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(request(&store, &clock).await);
    }
    store.index.flush().await.unwrap();
    let (mut seen, mut next, mut versions) = (Vec::new(), None, Vec::new());
    loop {
        let page = store
            .index
            .events(&EVERYTHING, None, Some(3), next.as_deref())
            .await
            .unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.into_iter().map(|event| event.metadata.name));
        versions.push(page.resource_version);
        request(&store, &clock).await;
        next = page.r#continue;
        if next.is_none() || seen.len() >= 7 {
            break;
        }
    }
    assert_eq!(seen[..7], ids[..]);
    assert!(versions.iter().all(|version| *version == versions[0]));
    let fault = store
        .index
        .events(&EVERYTHING, None, None, Some("bm9uc2Vuc2U"))
        .await
        .unwrap_err();
    assert_eq!(fault, StoreFault::Continue);
}

async fn one_sees_ones_own_and_an_auditor_sees_all(scratch: Scratch) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let mut ids = Vec::new();
    for subject in ["coder", "deployer"] {
        let mut slot = store.journal.slot().unwrap();
        slot.open(Opened::new(
            slot.id(),
            parts(Some(caller(subject)), Some("ses-x"), clock.now()),
        ));
        ids.push(slot.id().to_string());
    }
    drop(store.journal.slot().unwrap());
    assert_eq!(events(&store).await.len(), 3);
    let own = Visible::Own(Owner {
        issuer: "https://issuer.example".into(),
        subject: "coder".into(),
    });
    for session in [None, Some("ses-x")] {
        let page = store.index.events(&own, session, None, None).await.unwrap();
        assert_eq!(
            page.items.iter().map(|event| &event.metadata.name).collect::<Vec<_>>(),
            [&ids[0]]
        );
    }
    assert!(store.index.event(&own, &ids[0]).await.unwrap().is_some());
    assert!(store.index.event(&own, &ids[1]).await.unwrap().is_none());
    assert!(store.index.event(&EVERYTHING, &ids[1]).await.unwrap().is_some());
    let unowned = store
        .index
        .events_since(0)
        .await
        .unwrap()
        .into_iter()
        .filter(|change| !own.admits(change.owner.as_ref()));
    assert_eq!(unowned.count(), 2);
}

async fn an_index_made_anew_equals_the_one_that_was_lost(scratch: Scratch) {
    let clock = clock();
    let before = some_work(&scratch, &clock).await;
    scratch.forget_index().await;
    let store = open(&scratch, &clock).await.unwrap();
    assert_eq!(shown(&store).await, before);
    store.close().await;
}

async fn a_rebuilt_index_equals_the_one_that_was_thrown_away(scratch: Scratch) {
    let clock = clock();
    let before = some_work(&scratch, &clock).await;
    let rows = Store::rebuild(scratch.config(), clock.clone()).await.unwrap();
    assert_eq!((rows.sessions + rows.events) as usize, before.len());
    let store = open(&scratch, &clock).await.unwrap();
    assert_eq!(shown(&store).await, before);
    store.close().await;
}

/// A store that was closed; what its index showed.
async fn some_work(scratch: &Scratch, clock: &Arc<HandClock>) -> Vec<String> {
    let store = open(scratch, clock).await.unwrap();
    for subject in ["coder", "deployer", "coder"] {
        let session = crate::sessions::tests::enter(&store, subject, clock);
        let mut slot = store.journal.slot().unwrap();
        slot.open(Opened::new(
            slot.id(),
            parts(Some(caller(subject)), Some(session.as_str()), clock.now()),
        ));
        store.index.flush().await.unwrap();
        clock.advance(Duration::from_secs(1));
        let closed = answered(&slot, 200, clock);
        slot.close(closed);
    }
    drop(store.journal.slot().unwrap());
    let before = shown(&store).await;
    store.close().await;
    before
}

/// Everything but the resourceVersions, which depend on how the journal happened to be cut into transactions.
pub(crate) async fn shown(store: &Store) -> Vec<String> {
    let mut events = events(store).await;
    let mut sessions = store.index.sessions(&EVERYTHING, None, None).await.unwrap().items;
    events
        .iter_mut()
        .for_each(|event| event.metadata.resource_version.clear());
    sessions
        .iter_mut()
        .for_each(|session| session.metadata.resource_version.clear());
    let events = events.iter().map(|event| serde_json::to_string(event).unwrap());
    sessions
        .iter()
        .map(|session| serde_json::to_string(session).unwrap())
        .chain(events)
        .collect()
}

#[tokio::test]
async fn an_index_of_another_journal_is_made_anew() {
    let (scratch, other, clock) = (Scratch::new(), Scratch::new(), clock());
    let store = open(&other, &clock).await.unwrap();
    request(&store, &clock).await;
    store.close().await;
    let mut config = scratch.config();
    config.database = other.config().database;
    let store = Store::open(config, clock.clone()).await.unwrap();
    assert_eq!(events(&store).await.len(), 0);
    let id = request(&store, &clock).await;
    assert_eq!(events(&store).await[0].metadata.name, id);
}

#[tokio::test]
async fn an_index_behind_its_journal_catches_up_at_the_start() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = open(&scratch, &clock).await.unwrap();
    request(&store, &clock).await;
    store.index.flush().await.unwrap();
    let old = scratch.crashed().await;
    let id = request(&store, &clock).await;
    store.close().await;
    std::fs::remove_dir_all(scratch.path().join("index")).unwrap();
    std::fs::rename(old.path().join("index"), scratch.path().join("index")).unwrap();
    let store = open(&scratch, &clock).await.unwrap();
    assert_eq!(events(&store).await.len(), 2);
    assert!(store.index.event(&EVERYTHING, &id).await.unwrap().is_some());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    OpenKnown,
    OpenUnknown,
    Wait,
    LookUp,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Close,
    Drop,
    /// The process ends while it is under way.
    Outlive,
}

fn life() -> impl Strategy<Value = (Vec<Step>, End)> {
    let step = prop_oneof![
        Just(Step::OpenKnown),
        Just(Step::OpenUnknown),
        Just(Step::Wait),
        Just(Step::LookUp)
    ];
    let end = prop_oneof![Just(End::Close), Just(End::Drop), Just(End::Outlive)];
    (proptest::collection::vec(step, 0..5), end)
}

async fn live(store: &Store, clock: &HandClock, steps: &[Step]) -> (Slot, bool) {
    let mut slot = store.journal.slot().unwrap();
    let (mut known, mut queued) = (false, false);
    for step in steps {
        match step {
            Step::OpenKnown if !queued => {
                slot.open(opened(slot.id(), clock));
                (known, queued) = (true, true);
            }
            Step::OpenUnknown if !queued => slot.open(Opened::new(slot.id(), parts(None, None, clock.now()))),
            Step::OpenKnown | Step::OpenUnknown => {}
            Step::Wait => {
                slot.durable().await.unwrap();
                queued = true;
            }
            Step::LookUp => drop(slot.look_up("dryRun")),
        }
    }
    (slot, known || queued)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_becomes_of_a_request_it_leaves_exactly_one_event(lives in proptest::collection::vec(life(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(leave_one_event_each(Scratch::new(), &lives));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn whatever_becomes_of_a_request_it_leaves_exactly_one_event_in_postgres(lives in proptest::collection::vec(life(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            if let Some(scratch) = Scratch::postgres().await {
                leave_one_event_each(scratch, &lives).await;
            }
        });
    }
}

async fn leave_one_event_each(scratch: Scratch, lives: &[(Vec<Step>, End)]) {
    let clock = clock();
    let store = open(&scratch, &clock).await.unwrap();
    let (mut expected, mut outliving) = (Vec::new(), Vec::new());
    for (steps, end) in lives {
        let (slot, written) = live(&store, &clock, steps).await;
        if written || !matches!(end, End::Outlive) {
            expected.push(slot.id().to_string());
        }
        match end {
            End::Close => {
                let closed = answered(&slot, 200, &clock);
                slot.close(closed);
            }
            End::Drop => drop(slot),
            End::Outlive => outliving.push(slot),
        }
    }
    store.close().await;
    drop(outliving);
    let store = open(&scratch, &clock).await.unwrap();
    let mut found = HashMap::<String, usize>::new();
    for event in events(&store).await {
        assert!(event.event.annotations.contains_key("mantlet.dev/outcome"));
        *found.entry(event.metadata.name).or_default() += 1;
    }
    assert!(found.values().all(|count| *count == 1));
    // Of those that outlived the process before anything was written nothing is left: nothing had happened.
    let mut found: Vec<_> = found.into_keys().collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}
