//! What is given out, in which order, and after a restart.

use std::time::Duration;

use mantlet_core::mask;
use mantlet_core::record::{Body, Outcome, Recording};
use mantlet_core::time::Clock as _;
use serde_json::json;

use super::*;
use crate::HandClock;
use crate::testing::{Scratch, answered, clock, opened, request};

async fn store(scratch: &Scratch, clock: &Arc<HandClock>) -> Arc<Store> {
    Arc::new(Store::open(scratch.config(), clock.clone()).await.unwrap())
}

fn follow(store: &Arc<Store>, scratch: &Scratch) -> Follower {
    Follower::open(store.clone(), &scratch.path().join("export.position")).unwrap()
}

/// Everything there is, in one go.
async fn all(store: &Store, follower: &mut Follower) -> Vec<Event> {
    store.journal.settled().await.unwrap();
    let mut events = Vec::new();
    while follower.behind() > 0 {
        let next = tokio::time::timeout(Duration::from_millis(200), follower.next()).await;
        match next {
            Ok(next) => events.extend(next.unwrap().unwrap()),
            Err(_nothing_more) => break,
        }
    }
    events
}

fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.audit_id.as_str()).collect()
}

fn recording(level: Level, omit_stages: Vec<Stage>) -> Recording {
    Recording {
        level,
        omit_managed_fields: false,
        omit_stages,
    }
}

#[tokio::test]
async fn every_request_is_given_out_once_in_the_order_of_its_end_over_restarts() {
    let (scratch, clock) = (Scratch::new(), clock());
    let first = store(&scratch, &clock).await;
    let mut follower = follow(&first, &scratch);
    // Open over all of it: its opening has to be found again by the next life.
    let mut long = first.journal.slot().unwrap();
    long.open(opened(long.id(), &clock));
    let mut expected = Vec::new();
    for _ in 0..100 {
        expected.push(request(&first, &clock).await);
    }
    assert_eq!(ids(&all(&first, &mut follower).await), expected);
    follower.save().unwrap();
    let mut second = follow(&first, &scratch);
    let next = request(&first, &clock).await;
    let id = long.id().to_string();
    let closed = answered(&long, 200, &clock);
    long.close(closed);
    let events = all(&first, &mut second).await;
    assert_eq!(ids(&events), [next.as_str(), id.as_str()]);
    let user = &events[1].user.username;
    assert!(
        !user.is_empty() && events[1].stage == Stage::ResponseComplete,
        "its opening was found again"
    );
}

#[tokio::test]
async fn without_a_saved_position_everything_comes_again() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = store(&scratch, &clock).await;
    let id = request(&store, &clock).await;
    assert_eq!(ids(&all(&store, &mut follow(&store, &scratch)).await), [id.as_str()]);
    assert_eq!(ids(&all(&store, &mut follow(&store, &scratch)).await), [id.as_str()]);
    std::fs::write(scratch.path().join("export.position"), "{").unwrap();
    let fault = Follower::open(store, &scratch.path().join("export.position")).unwrap_err();
    assert!(fault.to_string().contains("hint: remove it"), "{fault}");
}

#[tokio::test]
async fn what_the_policy_leaves_out_is_not_given_out() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = store(&scratch, &clock).await;
    let mut follower = follow(&store, &scratch);
    let mut given = Vec::new();
    for (recording, exported) in [
        (recording(Level::None, vec![]), false),
        (recording(Level::Metadata, vec![Stage::ResponseComplete]), false),
        (recording(Level::Metadata, vec![Stage::RequestReceived]), true),
    ] {
        let mut slot = store.journal.slot().unwrap();
        slot.open(opened(slot.id(), &clock).recorded(&recording, None));
        given.extend(exported.then(|| slot.id().to_string()));
        let closed = answered(&slot, 200, &clock);
        slot.close(closed);
    }
    assert_eq!(ids(&all(&store, &mut follower).await), given);
}

#[tokio::test]
async fn a_body_of_a_request_that_lasts_is_read_again_at_its_end() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = store(&scratch, &clock).await;
    let mut follower = follow(&store, &scratch);
    let mut slot = store.journal.slot().unwrap();
    let body = body_of(&json!({"kind": "ConfigMap", "data": {"a": "b"}}));
    slot.open(opened(slot.id(), &clock).recorded(&recording(Level::RequestResponse, vec![]), Some(body)));
    let other = request(&store, &clock).await;
    assert_eq!(ids(&all(&store, &mut follower).await), [other.as_str()]);
    assert!(follower.open.values().all(|standing| standing.waiting.is_none()));
    let refused = Outcome::Refused {
        code: 403,
        reason: String::from("PolicyDenied"),
        message: String::from("no"),
    };
    let closed = Closed::new(slot.id(), clock.now(), refused, 0);
    slot.close(closed);
    let events = all(&store, &mut follower).await;
    assert_eq!(events[0].request_object.as_ref().unwrap()["data"]["a"], "b");
    let status = events[0].response_object.as_ref().unwrap();
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&json!("Status"), &json!("PolicyDenied"))
    );
}

#[tokio::test]
async fn a_stored_body_is_put_back_and_a_lost_one_is_said_to_be() {
    let (scratch, clock) = (Scratch::new(), clock());
    let store = store(&scratch, &clock).await;
    let mut follower = follow(&store, &scratch);
    for seed in 0..2 {
        let text = mask::text(&json!({"seed": seed, "x": "y".repeat(50_000)}).to_string());
        let (body, _) = store.bodies.put(text).await.unwrap();
        if seed == 1 {
            let forgotten = store
                .bodies
                .forget_before(mantlet_core::time::Timestamp::from_micros(i64::MAX))
                .await;
            assert_eq!(forgotten.unwrap(), 2);
            let (again, _) = store
                .bodies
                .put(mask::text(&json!({"seed": 0, "x": "y".repeat(50_000)}).to_string()))
                .await
                .unwrap();
            drop(again);
        }
        let mut slot = store.journal.slot().unwrap();
        slot.open(opened(slot.id(), &clock).recorded(&recording(Level::Request, vec![]), Some(body)));
        let closed = answered(&slot, 200, &clock);
        slot.close(closed);
    }
    let mut events = all(&store, &mut follower).await;
    for event in &mut events {
        store.bodies.fill(event).await;
    }
    assert_eq!(events[0].request_object.as_ref().unwrap()["seed"], 0);
    assert!(events[1].request_object.is_none());
    assert_eq!(events[1].annotations["audit.k8s.io/truncated"], "true");
    assert!(events[1].annotations["mantlet.dev/request-object"].contains("cannot be read"));
}

fn body_of(value: &serde_json::Value) -> mask::Masked<Body> {
    let recording = recording(Level::RequestResponse, vec![]);
    match mantlet_core::record::body::of_answer(value.to_string().as_bytes(), false, &recording) {
        mantlet_core::record::body::Weighed::Light(body) => body,
        mantlet_core::record::body::Weighed::Heavy(_) => panic!("it is small"),
    }
}
