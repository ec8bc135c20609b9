//! The configuration changes under a gateway that serves: what is good is in force within seconds, for streams too; what is bad leaves everything
//! as it was, and says so.

use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_stories::served::page;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Room, Served, Wire, World, eventually, need_bed};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cut::{End, Stream, outcome};

const PATIENCE: Duration = Duration::from_secs(30);
/// Invariant 6, and the second or two after which files are looked at.
const SOON: Duration = Duration::from_secs(8);

fn no_lists_of(resource: &str) -> String {
    format!(
        "apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: {{ name: no-{resource} }}
spec:
  mode: enforce
  matchConstraints: {{ resourceRules: [ {{ apiGroups: [''], resources: [{resource}], operations: [list, watch] }} ] }}
  validations: [ {{ expression: 'false', action: Deny, message: not today }} ]
"
    )
}

async fn verbose(world: &World) -> String {
    page(world.telemetry, "/readyz?verbose").await.expect("a page")
}

async fn metric(world: &World, name: &str) -> String {
    let metrics = page(world.telemetry, "/metrics").await.expect("a page");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("mantlet_config_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_is_in_force_and_one_with_a_fault_is_not() {
    let bed = need_bed!();
    let world = World::start(bed, "reload-policy", "").await;
    let room = Room::open(bed, "reload-policy", "reloader");
    let wire = dial(&world, Population::People, "reloader").await;
    let (path, file) = (room.path("configmaps"), world.dir.join("policies/story.yaml"));
    assert_eq!(wire.get(&path).await.expect("an answer").code, 200);
    assert!(verbose(&world).await.contains("[+]config ok: epoch 1\n"));

    std::fs::write(&file, no_lists_of("configmaps")).expect("written");
    let refused = eventually("the policy is in force", PATIENCE, async || {
        Some(wire.get(&path).await.expect("an answer")).filter(|answer| answer.code == 403)
    })
    .await;
    assert!(refused.text().contains("not today"), "{}", refused.text());
    let events = world.events().await;
    let event = events
        .iter()
        .find(|event| event.metadata.name == refused.audit_id())
        .expect("recorded");
    assert_eq!(event.event.annotations["mantlet.dev/epoch"], "2");

    std::fs::write(&file, no_lists_of("configmaps").replace("'false'", "objekt.x")).expect("written");
    let said = eventually("the fault is said", PATIENCE, async || {
        Some(verbose(&world).await).filter(|page| page.contains("[!]config"))
    })
    .await;
    assert!(said.starts_with("HTTP/1.1 200"), "the last good one serves: {said}");
    assert!(
        said.contains("policies/story.yaml:7:32: `objekt` is not known") && said.contains("epoch 2 stays in force"),
        "{said}"
    );
    assert_eq!(metric(&world, "last_reload_successful").await, "0");
    assert_eq!(wire.get(&path).await.expect("an answer").code, 403);

    std::fs::remove_file(&file).expect("removed");
    eventually("the policy is gone", PATIENCE, async || {
        (wire.get(&path).await.expect("an answer").code == 200).then_some(())
    })
    .await;
    assert_eq!(metric(&world, "last_reload_successful").await, "1");
    assert_eq!(metric(&world, "epoch").await, "3");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_the_law_turns_against_it_and_goes_on_otherwise() {
    let bed = need_bed!();
    let agent = |namespace: &str| {
        format!(
            "apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: {{ name: watcher }}
spec:
  match: [{{ expression: claims.sub == 'watcher' }}]
  serviceAccount: {{ namespace: mantlet-agents, name: watcher }}
  scope: {{ clusters: [bed], namespaces: [{namespace}] }}
"
        )
    };
    let room = Room::open(bed, "reload-stream", "system:serviceaccount:mantlet-agents:watcher");
    let world = World::start(bed, "reload-stream", &agent(&room.namespace)).await;
    let wire = dial(&world, Population::Agents, "watcher").await;
    let mut watch = Stream::open(&wire, &room.path("configmaps?watch=true")).await;
    watch.begun().await;

    std::fs::write(world.dir.join("policies/more.yaml"), no_lists_of("services")).expect("written");
    eventually("another law is in force", PATIENCE, async || {
        (metric(&world, "epoch").await == "2").then_some(())
    })
    .await;
    room.bare(&format!("kubectl -n {} create configmap later", room.namespace))
        .ok();
    assert!(!watch.is_over(), "it has nothing to do with this watch");

    std::fs::write(world.dir.join("policies/story.yaml"), agent("elsewhere")).expect("written");
    let (text, end) = watch.ended(SOON).await;
    assert_eq!(end, End::Clean, "{text}");
    assert!(text.contains(r#""name":"later""#), "it went on before: {text}");
    assert!(
        text.contains(r#""code":410"#) && text.contains("to be judged anew"),
        "{text}"
    );
    assert_eq!(outcome(&world, &watch.id).await, "cut: LawChanged");
    let anew = wire.get(&room.path("configmaps?watch=true")).await.expect("an answer");
    assert_eq!(anew.code, 403, "{}", anew.text());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_taken_out_takes_its_streams_and_tokens_with_it() {
    let bed = need_bed!();
    let world = World::start(bed, "reload-issuer", "").await;
    let room = Room::open(bed, "reload-issuer", "leaver");
    let wire = dial(&world, Population::People, "leaver").await;
    let mut watch = Stream::open(&wire, &room.path("configmaps?watch=true")).await;
    watch.begun().await;

    let without_people = |file: &str, list: &str| {
        let path = world.dir.join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        let mut value: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        let issuers = value[list].as_array_mut().expect("a list");
        issuers.retain(|issuer| !issuer.to_string().contains("/people"));
        if file == "mantlet.yaml" {
            value["authorization"] = serde_json::json!({});
        }
        (path, value.to_string())
    };
    let (authentication, text) = without_people("authentication.yaml", "jwt");
    let (configuration, more) = without_people("mantlet.yaml", "issuers");
    std::fs::write(authentication, text).expect("written");
    std::fs::write(configuration, more).expect("written");

    let (text, end) = watch.ended(SOON).await;
    assert_eq!(end, End::Clean, "{text}");
    assert_eq!(outcome(&world, &watch.id).await, "cut: LawChanged");
    let after = wire.get(&room.path("configmaps")).await.expect("an answer");
    assert_eq!(after.code, 401, "{}", after.text());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_taken_up_and_what_only_a_start_can_change_is_refused() {
    let bed = need_bed!();
    let world = World::start(bed, "reload-rest", "").await;
    let before = dial(&world, Population::People, "somebody").await;

    let key = rcgen::KeyPair::generate().expect("a key");
    let other = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let written: serde_json::Value =
        serde_saphyr::from_str(&std::fs::read_to_string(&world.stage.config).expect("a file")).expect("YAML");
    let file = |pointer: &str| {
        written
            .pointer(pointer)
            .and_then(|path| path.as_str())
            .expect("a path")
            .to_owned()
    };
    std::fs::write(file("/listen/tls/certFile"), other.pem()).expect("written");
    eventually("half a pair is a fault", PATIENCE, async || {
        verbose(&world)
            .await
            .contains("is not the key of the certificate")
            .then_some(())
    })
    .await;
    std::fs::write(file("/listen/tls/keyFile"), key.serialize_pem()).expect("written");
    let authority = world.dir.join("other.crt");
    std::fs::write(&authority, other.pem()).expect("written");
    eventually("the pair is taken up", PATIENCE, async || {
        verbose(&world).await.contains("[+]config ok: epoch 2\n").then_some(())
    })
    .await;
    let shown = shown(&world).await;
    assert_eq!(
        shown,
        CertificateDer::from_pem_slice(other.pem().as_bytes()).expect("PEM")
    );
    assert_eq!(
        before.get("/version").await.expect("the old connection lives on").code,
        200
    );

    let mut changed = written.clone();
    changed["storage"]["journal"] = "elsewhere".into();
    changed["listen"]["address"] = "127.0.0.1:1".into();
    std::fs::write(&world.stage.config, changed.to_string()).expect("written");
    let said = eventually("it is refused", PATIENCE, async || {
        Some(verbose(&world).await).filter(|page| page.contains("[!]config"))
    })
    .await;
    for section in ["listen", "storage"] {
        let text = format!("`{section}` is not what this process was started with, and only a start can change it");
        assert!(said.contains(&text), "{said}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_loads_the_files_at_once() {
    let bed = need_bed!();
    let served = Served::start(Plan::new(bed, "reload-hangup")).await;
    served.hang_up();
    eventually("the files were loaded", PATIENCE, async || {
        let page = page(served.telemetry, "/readyz?verbose").await.expect("a page");
        page.contains("[+]config ok: epoch 2\n").then_some(())
    })
    .await;
}

async fn dial(world: &World, population: Population, who: &str) -> Wire {
    let token = world.token(population, who, &[]);
    Wire::dial(world.address, &world.authority, &token).await
}

/// The certificate that a new connection is shown.
async fn shown(world: &World) -> CertificateDer<'static> {
    let stream = mantlet_stories::wire::tls(world.address, &world.dir.join("other.crt"), b"h2").await;
    let (_, session) = stream.get_ref();
    session.peer_certificates().expect("certificates")[0]
        .clone()
        .into_owned()
}
