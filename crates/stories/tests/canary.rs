//! One value that nobody may read, and every place where it could turn up.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use mantlet_stories::need_bed;
use tracing_subscriber::EnvFilter;

use crate::ground::Ground;

/// Every way to read the Secret `db`, or the answer to a write of it. `ok` must work, `no` must fail; the rest is the output's business.
/// `S` is the Secret that the caller may write.
const WAYS: &str = r#"
ok kubectl get secret db -o json
ok kubectl get secret db -o yaml --show-managed-fields
ok kubectl get secrets -o wide --show-labels
ok kubectl get secrets -o yaml
ok kubectl get secret db -o jsonpath='{.data.password} {.metadata.annotations}'
ok kubectl get secret db -o go-template='{{.data.password | base64decode}}'
ok kubectl get secrets -o custom-columns=N:.metadata.name,P:.data.password,A:.metadata.annotations
ok kubectl describe secret db
ok kubectl get all,secrets,configmaps -o json
ok kubectl get --raw '/api/v1/namespaces/$IN/secrets?watch=true&timeoutSeconds=1'
ok kubectl get --raw '/api/v1/namespaces/$IN/secrets?limit=1'
ok kubectl get --raw '/api/v1/namespaces/$IN/secrets/db?pretty=true'
ok kubectl apply view-last-applied secret db -o yaml
ok kubectl label secret S canary=a --dry-run=server -o yaml
ok kubectl annotate secret S canary=a --dry-run=server -o json
ok kubectl patch secret S --type merge -p '{}' --dry-run=server -o yaml
ok kubectl patch secret S -p '{"metadata":{"labels":{"a":"b"}}}' --dry-run=server -o json
ok kubectl apply --server-side --force-conflicts -f plain.yaml --dry-run=server -o yaml
ok kubectl replace -f plain.yaml --dry-run=server -o yaml
ok kubectl delete secret S --dry-run=server --cascade=foreground -o name
.. kubectl diff -f plain.yaml
.. kubectl diff --server-side --force-conflicts -f plain.yaml
.. EDITOR=cat kubectl edit secret db
ok kubectl get events -o yaml
no kubectl patch secret S --type merge -p '{"data":{"x":1}}'
no kubectl patch secret S --type merge -p '{"data":"x"}' --dry-run=server
no kubectl patch secret S --type json -p '[{"op":"add","path":"/data/x","value":{}}]'
no kubectl patch secret S --type json -p '[{"op":"test","path":"/data/password","value":"eA=="}]'
no kubectl patch secret S --type json -p '[{"op":"copy","from":"/data/password","path":"/metadata/annotations/x"}]'
no kubectl patch secret S --type json -p '[{"op":"move","from":"/data/password","path":"/metadata/annotations/x"}]' --dry-run=server
no kubectl get secret S -o yaml | kubectl apply -f -
no kubectl get secret S -o yaml | sed 's/  password:/  other:/' | kubectl replace -f -
no kubectl create -f invalid.yaml
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_shown_to_nobody_and_written_down_nowhere() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "canary", "").await;
    // T41: whatever is asked and answered is recorded, Secrets too.
    let everything =
        serde_json::json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]});
    let everything = serde_json::from_value(everything).expect("a policy");
    let everything = mantlet_core::record::RecordingPolicy::compile(everything).expect("it is a policy");
    ground.world.gateway.recorder.enact(everything);
    listen_to_the_log(&ground.world.dir.join("trace.log"));
    let dir = ground.world.dir.clone();
    let agent = ground.agent_kubeconfig();
    let person = ground.person_kubeconfig();
    for (kubeconfig, secret) in [(&agent, "shop-db"), (&person, "db")] {
        let plain = PLAIN.replace("NAME", secret);
        std::fs::write(
            dir.join("invalid.yaml"),
            plain.replace("type: Opaque", "type: kubernetes.io/tls"),
        )
        .unwrap();
        std::fs::write(dir.join("plain.yaml"), plain).unwrap();
        let said = ground.world.run(kubeconfig, &ground.fill(&script(secret))).await.text();
        let faults: Vec<&str> = said.lines().filter(|line| line.starts_with("FAULT")).collect();
        assert!(faults.is_empty(), "{faults:#?}\n{said}");
        assert!(!found_in(said.as_bytes(), &ground.value), "it was shown:\n{said}");
        let masked = said.matches("bWFza2VkLm1hbnRsZXQuZGV2").count();
        assert!(masked >= 15, "only {masked} placeholders:\n{said}");
    }
    // A deletion that waits for a finalizer answers with the object.
    let line = "kubectl delete --raw /api/v1/namespaces/$IN/secrets/finalized && kubectl get secret finalized -o json";
    let said = ground.world.run(&person, &ground.fill(line)).await.ok();
    assert!(
        said.contains("deletionTimestamp") && !found_in(said.as_bytes(), &ground.value),
        "{said}"
    );
    let line = "kubectl patch secret finalized -n $IN --type merge -p '{\"metadata\":{\"finalizers\":null}}'";
    ground.world.bare(&ground.fill(line)).await.ok();
    let value = ground.value.clone();
    scan(&ground.world.end().await, &value);
}

/// All lines, eight at a time; a line that ends otherwise than it should says so.
fn script(secret: &str) -> String {
    let lines = WAYS.lines().filter(|line| !line.is_empty()).enumerate();
    let lines = lines.map(|(at, line)| {
        let (end, line) = line.split_at(3);
        let line = line.replace(" S ", &format!(" {secret} "));
        let fault = format!("echo \"FAULT {at}\"");
        let judged = match end {
            "ok " => format!("({line}) || {fault}"),
            "no " => format!("(set -o pipefail; {line}) && {fault}"),
            _ => format!("({line})"),
        };
        let wait = if at % 8 == 7 { "wait" } else { "" };
        format!("{{ {judged}; }} 2>&1 &\n{wait}\n")
    });
    format!("{}wait", lines.collect::<String>())
}

const PLAIN: &str = r#"
apiVersion: v1
kind: Secret
metadata: { name: NAME }
type: Opaque
stringData: { other: nothing }
"#;

/// Whatever this program would log, at its most talkative.
fn listen_to_the_log(path: &Path) {
    let filter = "info,mantlet=trace,mantlet_core=trace,mantlet_store=trace,mantlet_desk=trace,mantlet_gateway=trace,mantlet_kubeconfig=trace";
    // Where another story listens already, this one hears nothing; each is also told alone.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(Mutex::new(File::create(path).unwrap()))
        .try_init();
}

/// Whether `bytes` hold the value, plainly or in base64 at any of its three alignments.
pub(crate) fn found_in(bytes: &[u8], value: &str) -> bool {
    needles(value).iter().any(|needle| contains(bytes, needle))
}

fn needles(value: &str) -> Vec<Vec<u8>> {
    // What a JSON string, or a JSON string within one, makes of it is the same: no character of it is escaped.
    let mut all = vec![value.as_bytes().to_vec()];
    for skip in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let shifted = [&b"\0\0"[..skip], value.as_bytes()].concat();
            let encoded = engine.encode(shifted);
            // The first and last characters also carry bits of the neighbors.
            all.push(encoded.as_bytes()[skip + skip.min(1)..encoded.len() - 1].to_vec());
        }
    }
    // As `data` of a Secret is base64, base64 of that is what a second wrapping shows.
    all.push(
        STANDARD
            .encode(STANDARD.encode(value))
            .trim_end_matches('=')
            .as_bytes()
            .to_vec(),
    );
    all
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Fails if any file below `dir` holds the value; files that were written for the story itself (`seed.yaml`) do not count.
pub(crate) fn scan(dir: &Path, value: &str) {
    let files = below(dir);
    assert!(
        files.iter().any(|f| f.to_string_lossy().contains("journal"))
            && files.iter().any(|f| f.ends_with("mantlet.db")),
        "there is no record in {}",
        dir.display()
    );
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let given = file.file_name().is_some_and(|name| name == "seed.yaml");
        assert!(given || !found_in(&bytes, value), "{} holds the value", file.display());
    }
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_value_is_found_however_it_is_wrapped() {
    let value = "canary-0-Zq7#x+/v";
    for held in [
        format!("a {value} b"),
        STANDARD.encode(value),
        STANDARD.encode(format!("x{value}y")),
        STANDARD.encode(format!("xy{value}")),
        STANDARD.encode(STANDARD.encode(value)),
    ] {
        assert!(found_in(held.as_bytes(), value), "{held}");
    }
    assert!(!found_in(b"canary-1-Zq7#x+/v", value));
}
