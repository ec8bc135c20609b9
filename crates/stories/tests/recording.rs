//! What of a request is written down beside its line, who may read it, who else gets it, and how much of the record one identity may fill.

use std::collections::BTreeMap;
use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_store::Sizes;
use mantlet_stories::receiver::{Minio, Oracle, Receiver, lines};
use mantlet_stories::stage::Plan;
use mantlet_stories::wire::Answer;
use mantlet_stories::{Bed, Room, Served, Wire, World, eventually, need_bed, served};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// As somebody could have it in front of an API server.
const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1 # This is required.
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: [/version]
- level: RequestResponse
  resources:
  - group: ""
    resources: [secrets, configmaps]
- level: Request
  verbs: [create]
  resources:
  - group: ""
    resources: [serviceaccounts, serviceaccounts/token]
- level: Metadata
  userGroups: [system:authenticated]
"#;

async fn world(bed: &Bed, name: &str, recording: Value, files: &[(&str, &str)], sizes: Sizes) -> World {
    let mut plan = Plan::new(bed, name);
    plan.recording = recording;
    plan.files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    let mut world = World::start_as(&plan, sizes).await;
    world.stage.show_keys();
    for cluster in &world.gateway.clusters {
        cluster.identify().await.expect("the cluster says who it is");
    }
    world
}

async fn dial(world: &World, who: &str, groups: &[&str]) -> Wire {
    let token = world.token(Population::People, who, groups);
    let wire = Wire::dial(world.address, &world.authority, &token).await;
    eventually("the gateway has the keys", PATIENCE, async || {
        (wire.get("/version").await.ok()?.code == 200).then_some(())
    })
    .await;
    wire
}

fn configmap(name: &str, text: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}).to_string()
}

async fn is(code: u16, answer: hyper::Result<Answer>) -> Answer {
    let answer = answer.expect("an answer");
    assert_eq!(answer.code, code, "{}", answer.text());
    answer
}

/// The event of an answer, as this visitor is shown it.
async fn event(wire: &Wire, answer: &Answer) -> Value {
    let path = format!("/apis/gate.mantlet.dev/v1alpha1/sessionevents/{}", answer.audit_id());
    let shown = is(200, wire.get(&path).await).await;
    let object: Value = serde_json::from_slice(&shown.body).expect("JSON");
    object["event"].clone()
}

/// Text that does not become shorter.
fn noise(length: usize, mut seed: u64) -> String {
    let next = |_| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'A' + (seed >> 59) as u8 % 26)
    };
    (0..length).map(next).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_recorded_as_the_audit_policy_says_and_auditors_alone_read_bodies() {
    let bed = need_bed!();
    let files = [("audit.yaml", POLICY)];
    let world = world(
        bed,
        "recording",
        json!({"policy": "audit.yaml"}),
        &files,
        Sizes::default(),
    )
    .await;
    let room = Room::open(bed, "recording", "recorded");
    let me = dial(&world, "recorded", &[]).await;
    let (viewer, auditor) = (
        dial(&world, "viewer", &["sre"]).await,
        dial(&world, "auditor", &["auditors"]).await,
    );

    let small = is(
        201,
        me.post(
            &room.path("configmaps"),
            &configmap("small", "curl -H 'Authorization: Bearer abcdefghijklmnop'"),
        )
        .await,
    )
    .await;
    let seen = event(&auditor, &small).await;
    assert_eq!(seen["level"], "RequestResponse");
    assert_eq!(seen["requestObject"]["metadata"]["name"], "small");
    assert_eq!(seen["objectRef"]["name"], "small", "as the API server has it");
    assert_eq!(seen["responseObject"]["metadata"]["namespace"], room.namespace.as_str());
    let text = seen.to_string();
    assert!(
        !text.contains("managedFields") && !text.contains("abcdefghijklmnop") && text.contains("curl -H"),
        "{text}"
    );
    for other in [&viewer, &me] {
        let seen = event(other, &small).await;
        assert_eq!(
            (&seen["requestObject"], &seen["responseObject"]),
            (&Value::Null, &Value::Null),
            "{seen}"
        );
        assert_eq!(seen["level"], "RequestResponse");
    }
    let list = is(200, auditor.get("/apis/gate.mantlet.dev/v1alpha1/sessionevents").await).await;
    assert!(!list.text().contains("requestObject"), "lists hold no bodies");

    // Too large for the journal: by its hash, and put back for whoever may read it.
    let large = is(
        201,
        me.post(&room.path("configmaps"), &configmap("large", &noise(200_000, 1)))
            .await,
    )
    .await;
    // The client has a large answer before its event ends.
    let seen = eventually("the event of the large one", PATIENCE, async || {
        let seen = event(&auditor, &large).await;
        (seen["stage"] == "ResponseComplete").then_some(seen)
    })
    .await;
    for held in ["requestObject", "responseObject"] {
        assert!(
            seen[held]["data"]["text"] == noise(200_000, 1),
            "{held} is another: {}",
            seen["annotations"]
        );
    }
    let named = seen["annotations"]["mantlet.dev/request-object"]
        .as_str()
        .expect("named");
    assert!(named.starts_with("sha256:") && named.ends_with(" bytes"), "{named}");

    // A list beyond the cap: left out, and it says so. A watch has none.
    for n in 0..6 {
        is(
            201,
            me.post(
                &room.path("configmaps"),
                &configmap(&format!("more-{n}"), &noise(200_000, n)),
            )
            .await,
        )
        .await;
    }
    let list = is(200, me.get(&room.path("configmaps")).await).await;
    assert!(list.body.len() > 1 << 20);
    let left_out = eventually("the event of the list", PATIENCE, async || {
        let seen = event(&auditor, &list).await;
        seen["annotations"].get("mantlet.dev/response-object").cloned()
    })
    .await;
    assert_eq!(left_out, "left out: larger than 1 MiB");
    let watch = is(
        200,
        me.get(&format!("{}?watch=1&timeoutSeconds=1", room.path("configmaps")))
            .await,
    )
    .await;
    let seen = event(&auditor, &watch).await;
    assert_eq!(
        (&seen["verb"], &seen["responseObject"]),
        (&json!("watch"), &Value::Null)
    );

    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hunter2hunter2"}});
    let secret = is(201, me.post(&room.path("secrets"), &secret.to_string()).await).await;
    let seen = event(&auditor, &secret).await;
    let text = seen.to_string();
    assert!(seen["requestObject"]["stringData"]["p"].is_string(), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVyM"), "{text}");

    // Never with its body, whatever the policy says: the answer is a token.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}});
    let account = is(201, me.post(&room.path("serviceaccounts"), &account.to_string()).await).await;
    let seen = event(&auditor, &account).await;
    assert_eq!(
        (&seen["level"], &seen["responseObject"]),
        (&json!("Request"), &Value::Null)
    );
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let token = me
        .post(&room.path("serviceaccounts/sa/token"), &request.to_string())
        .await
        .expect("an answer");
    assert_eq!(event(&auditor, &token).await["level"], "Metadata");

    // A refusal of the gateway's own is answered with a Status, and recorded with one.
    let unknown = is(400, me.get(&format!("{}?unheard=of", room.path("configmaps"))).await).await;
    assert_eq!(event(&auditor, &unknown).await["responseStatus"]["code"], 400);
    let version = is(200, me.get("/version").await).await;
    let events = world.events().await;
    let version = events.iter().find(|event| event.metadata.name == version.audit_id());
    let version = version.expect("None leaves an event all the same");
    assert_eq!(serde_json::to_value(version.event.level).expect("a word"), "None");
    world.end().await;
}

/// T56.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_before_it_is_sent() {
    let bed = need_bed!();
    let world = world(bed, "recording-down", Value::Null, &[], Sizes::default()).await;
    let room = Room::open(bed, "recording-down", "recording-down");
    let me = dial(&world, "recording-down", &[]).await;
    let path = room.path("configmaps");
    is(201, me.post(&path, &configmap("before", "a")).await).await;
    let (folder, aside) = (world.dir.join("recordings"), world.dir.join("aside"));
    std::fs::rename(&folder, &aside).expect("moved");
    std::fs::write(&folder, "").expect("in its way");

    let refused = is(503, me.post(&path, &configmap("lost", &noise(100_000, 1))).await).await;
    assert!(refused.text().contains("NotRecorded"), "{}", refused.text());
    // Its answer would have to be recorded as well, and could be as large.
    is(503, me.post(&path, &configmap("small", "a")).await).await;
    is(200, me.get(&path).await).await;
    let page = served::page(world.telemetry, "/readyz?verbose").await.expect("a page");
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("[-]recordings failed"),
        "{page}"
    );
    assert!(page.contains("storage.recordings"), "{page}");

    std::fs::remove_file(&folder).expect("removed");
    std::fs::rename(&aside, &folder).expect("moved back");
    eventually("bodies can be stored again", PATIENCE, async || {
        let page = served::page(world.telemetry, "/readyz?verbose").await.ok()?;
        page.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    is(201, me.post(&path, &configmap("after", &noise(100_000, 1))).await).await;
    let there = room
        .bare(&format!("kubectl -n {} get configmaps -o name", room.namespace))
        .ok();
    assert!(
        there.contains("before") && there.contains("after") && !there.contains("lost") && !there.contains("small"),
        "{there}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_accepted_by_the_api_servers_own_decoder_and_nothing_is_lost_while_a_receiver_is_away() {
    let bed = need_bed!();
    let receiver = Receiver::listen().await;
    receiver.answer_next(&[503, 500]);
    receiver.take_at_most(2);
    let recording = json!({"policy": "audit.yaml", "export": {"file": {"path": "audit.jsonl", "maxSizeMB": 1000}, "webhook": "hook.kubeconfig"}});
    let hook = receiver.kubeconfig();
    let files = [("audit.yaml", POLICY), ("hook.kubeconfig", hook.as_str())];
    let world = world(bed, "export", recording, &files, Sizes::default()).await;
    let room = Room::open(bed, "export", "exported");
    let me = dial(&world, "exported", &[]).await;
    let path = room.path("configmaps");
    let mut asked = BTreeMap::new();
    for n in 0..20 {
        let text = noise(if n == 7 { 100_000 } else { 10 }, n);
        let answer = is(201, me.post(&path, &configmap(&format!("c{n}"), &text)).await).await;
        asked.insert(answer.audit_id(), text);
    }
    let strange = Wire::dial(world.address, &world.authority, "not.a.token").await;
    let strange = is(401, strange.get(&path).await).await;
    asked.insert(strange.audit_id(), String::new());
    let version = is(200, me.get("/version").await).await.audit_id();

    let file = world.dir.join("audit.jsonl");
    let complete = |events: &[Value]| {
        asked
            .keys()
            .all(|id| events.iter().any(|event| event["auditID"] == id.as_str()))
    };
    let written = eventually("all of it is in the file", PATIENCE, async || {
        Some(lines(&file)).filter(|events| complete(events))
    })
    .await;
    let heard = eventually("the receiver has all of it", PATIENCE, async || {
        Some(receiver.events()).filter(|events| complete(events))
    })
    .await;
    let mut oracle = Oracle::start();
    for events in [&written, &heard] {
        let mut seen = BTreeMap::new();
        for event in events {
            assert_eq!(event["stage"], "ResponseComplete");
            let id = event["auditID"].as_str().expect("an id").to_owned();
            assert_eq!(seen.insert(id, ()), None, "nothing came twice");
            if let Some(text) = asked
                .get(event["auditID"].as_str().expect("an id"))
                .filter(|text| !text.is_empty())
            {
                assert_eq!(event["verb"], "create");
                assert!(
                    event["requestObject"]["data"]["text"] == *text,
                    "its body is another: {}",
                    event["annotations"]
                );
            }
        }
        assert!(
            !seen.contains_key(&version),
            "what the policy leaves out is not exported"
        );
        if let Some(oracle) = &mut oracle {
            assert!(events.iter().all(|event| oracle.events_in(event) == 1));
        }
    }
    for list in receiver.lists() {
        let length = list["items"].as_array().expect("items").len();
        assert!((1..=2).contains(&length));
        if let Some(oracle) = &mut oracle {
            assert_eq!(oracle.events_in(&list), length);
        }
    }

    // A receiver that is away for good: the gateway serves, and says how far behind it is.
    receiver.answer_next(&[503; 1000]);
    is(200, me.get(&path).await).await;
    let page = eventually("it is said", PATIENCE, async || {
        let page = served::page(world.telemetry, "/readyz?verbose").await.ok()?;
        page.contains("[!]export webhook").then_some(page)
    })
    .await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("it answers 503"),
        "{page}"
    );
    let metrics = served::page(world.telemetry, "/metrics").await.expect("a page");
    assert!(
        metrics.contains("mantlet_export_records_behind{export=\"webhook\"}"),
        "{metrics}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_filled_a_share_of_the_journal_is_refused_and_nobody_else_is() {
    let bed = need_bed!();
    let sizes = Sizes {
        quota: 4 << 20,
        ..Sizes::default()
    };
    let world = world(bed, "quota", Value::Null, &[], sizes).await;
    let room = Room::open(bed, "quota", "quota-greedy");
    let (greedy, other) = (
        dial(&world, "quota-greedy", &[]).await,
        dial(&world, "quota-other", &[]).await,
    );
    let path = room.path("configmaps");
    let mut taken = 0;
    let refused = loop {
        let body = configmap(&format!("c{taken}"), &noise(700_000, taken));
        let answer = greedy.post(&path, &body).await.expect("an answer");
        match answer.code.as_u16() {
            201 => taken += 1,
            429 => break answer,
            _ => panic!("{}", answer.text()),
        }
        assert!(taken < 40, "no quota holds");
    };
    assert!(taken >= 2, "a share holds more than {taken}");
    assert!(
        refused.headers.get("retry-after").is_none(),
        "client-go would ask again ten times"
    );
    assert!(
        refused.text().contains("TooManyRequests") && refused.text().contains("nothing was sent"),
        "{}",
        refused.text()
    );
    for _ in 0..30 {
        is(429, greedy.get(&path).await).await;
        is(200, other.get("/version").await).await;
    }
    let events = world.events().await;
    let of = |who: &str| events.iter().filter(|event| event.event.user.username == who).count();
    assert!(of("quota-other") >= 31 && of("quota-greedy") >= taken as usize);
    assert!(events.iter().all(|event| {
        event
            .event
            .response_status
            .as_ref()
            .is_none_or(|status| status.code != 429)
    }));
    world.clock.advance(Duration::from_secs(3600));
    let greedy = dial(&world, "quota-greedy", &[]).await;
    is(200, greedy.get(&path).await).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_lie_in_a_bucket_and_nothing_is_sent_that_cannot_be_stored_there() {
    let bed = need_bed!();
    let data = std::env::temp_dir().join(format!("mantlet-story-minio-{}", std::process::id()));
    let Some(mut minio) = Minio::start(data.clone(), "audit").await else {
        return;
    };
    let mut plan = Plan::new(bed, "bucket");
    plan.recordings = Some(format!(
        "s3://audit/prod/eu?region=us-east-1&endpoint={}",
        minio.endpoint()
    ));
    plan.environment = vec![
        ("AWS_ACCESS_KEY_ID".to_owned(), Minio::USER.to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), Minio::PASSWORD.to_owned()),
    ];
    let mut served = Served::start(plan).await;
    let room = Room::open(bed, "bucket", "bucket-user");
    let (address, authority) = (served.address, served.stage.authority.clone());
    let me = served.token(Population::People, "bucket-user");
    let me = Wire::dial(address, &authority, &me).await;
    let now = mantlet_core::time::Clock::now(&mantlet_store::SystemClock);
    let auditor = served
        .stage
        .token(Population::People, "bucket-auditor", &["auditors"], now);
    let auditor = Wire::dial(address, &authority, &auditor).await;
    let path = room.path("configmaps");
    let large = is(201, me.post(&path, &configmap("large", &noise(200_000, 1))).await).await;
    let seen = event(&auditor, &large).await;
    assert!(
        seen["requestObject"]["data"]["text"] == noise(200_000, 1),
        "{}",
        seen["annotations"]
    );
    let named = seen["annotations"]["mantlet.dev/request-object"]
        .as_str()
        .expect("named");
    let hash = &named["sha256:".len()..][..64];
    let object = data
        .join("audit/prod/eu/bodies")
        .join(&hash[..2])
        .join(format!("{}.json.zst", &hash[2..]));
    assert!(object.exists(), "{}", object.display());

    minio.kill();
    let refused = is(503, me.post(&path, &configmap("lost", &noise(200_000, 2))).await).await;
    assert!(refused.text().contains("NotRecorded"), "{}", refused.text());
    is(200, me.get(&path).await).await;
    let page = served::page(served.telemetry, "/readyz?verbose").await.expect("a page");
    assert!(
        page.contains("[-]recordings failed") && !page.contains(Minio::PASSWORD),
        "{page}"
    );
    minio.restart().await;
    eventually("bodies can be stored again", PATIENCE, async || {
        let page = served::page(served.telemetry, "/readyz?verbose").await.ok()?;
        page.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    is(201, me.post(&path, &configmap("after", &noise(200_000, 3))).await).await;
    let there = room
        .bare(&format!("kubectl -n {} get configmaps -o name", room.namespace))
        .ok();
    assert!(there.contains("after") && !there.contains("lost"), "{there}");
    served.stop().await;
    let _ = std::fs::remove_dir_all(&data);
}

/// A flood of strangers and of one agent's large denials, on the served process: the others are answered and recorded meanwhile, in bounded memory.
#[tokio::test(flavor = "multi_thread")]
async fn floods_take_nothing_from_the_others() {
    let bed = need_bed!();
    let mut plan = Plan::new(bed, "flood");
    plan.policies = AGENT.to_owned();
    let mut served = Served::start(plan).await;
    let room = Room::open(bed, "flood", "flood-other");
    let authority = served.stage.authority.clone();
    let (address, agent, other) = (
        served.address,
        served.token(Population::Agents, "flooder"),
        served.token(Population::People, "flood-other"),
    );
    let other = Wire::dial(address, &authority, &other).await;
    is(200, other.get(&room.path("configmaps")).await).await;
    served.forget_peak();
    let rest = served.memory().now;

    let strangers = tokio::spawn(flood_of_strangers(Wire::dial(address, &authority, "not.a.token").await));
    let denials = tokio::spawn(flood_of_denials(Wire::dial(address, &authority, &agent).await));
    let mut kept = Vec::new();
    for n in 0..60 {
        let made = is(
            201,
            other
                .post(&room.path("configmaps"), &configmap(&format!("c{n}"), "x"))
                .await,
        )
        .await;
        let read = is(200, other.get(&room.path(&format!("configmaps/c{n}"))).await).await;
        kept.extend([made.audit_id(), read.audit_id()]);
    }
    let (unknown, denied) = (strangers.await.expect("flooded"), denials.await.expect("flooded"));
    assert!(
        unknown == 3000 && denied == 24,
        "{unknown} strangers and {denied} denials were answered"
    );
    let grown = served.memory().peak.saturating_sub(rest);
    println!("peak grew by {:.1} MB", grown as f64 / 1e6);
    assert!(grown < 320 << 20, "floods are held in memory: {grown} bytes");
    served.stop().await;

    let events = mantlet_stories::world::read_back(&served.stage).await;
    for id in &kept {
        assert!(
            events.iter().any(|event| &event.metadata.name == id),
            "{id} is not recorded"
        );
    }
    let strange = events
        .iter()
        .filter(|event| event.event.user.username.is_empty())
        .count();
    assert!(strange < 3000, "strangers fill the record: {strange}");
    let of_agent = events
        .iter()
        .filter(|event| event.event.user.username == "agent:flooder");
    let stored = of_agent.filter(|event| event.event.annotations.contains_key("mantlet.dev/request-object"));
    assert_eq!(stored.count(), 24, "what was denied is kept");
    let counted: u64 = mantlet_stories::journal::Reading::of(served.stage.dir.join("journal"))
        .read()
        .iter()
        .filter_map(|record| match record {
            mantlet_core::record::Record::Refusals(refusals) => Some(&refusals.counted),
            _ => None,
        })
        .flatten()
        .inspect(|counted| assert_eq!(counted.source, "127.0.0.1"))
        .map(|counted| counted.count)
        .sum();
    assert_eq!(strange as u64 + counted, 3000, "each is counted");
}

const AGENT: &str = r#"
apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: { name: flooder }
spec:
  match:
  - expression: claims.sub == 'flooder'
  serviceAccount: { namespace: mantlet-agents, name: flooder }
  scope: { clusters: [CLUSTER], namespaces: [nowhere] }
"#;

async fn flood_of_strangers(wire: Wire) -> usize {
    let mut answered = 0;
    for _ in 0..60 {
        let calls = (0..50).map(|_| {
            let wire = wire.clone();
            tokio::spawn(async move { wire.get("/api/v1/pods").await })
        });
        for call in calls.collect::<Vec<_>>() {
            let answer = call.await.expect("asked").expect("an answer");
            answered += usize::from(answer.code == 401);
        }
    }
    answered
}

async fn flood_of_denials(wire: Wire) -> usize {
    let mut denied = 0;
    for round in 0..6 {
        let calls = (0..4).map(|n| {
            let (wire, body) = (wire.clone(), configmap("large", &noise(3_000_000, round * 4 + n)));
            tokio::spawn(async move { wire.post("/api/v1/namespaces/elsewhere/configmaps", &body).await })
        });
        for call in calls.collect::<Vec<_>>() {
            let answer = call.await.expect("asked").expect("an answer");
            denied += usize::from(answer.code == 403);
        }
    }
    denied
}
