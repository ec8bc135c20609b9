//! As whom the cluster sees an agent, and by which way: a token of its ServiceAccount in place of impersonation (`serviceAccount.via: token`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mantlet_core::identity::Population;
use mantlet_stories::stage::Plan;
use mantlet_stories::world::{read_back, real_now};
use mantlet_stories::{Bed, Room, Served, Wire, World, audit, eventually, kubectl, need_bed};
use serde_json::{Value, json};

use crate::cut::Stream;

const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace for one story's ServiceAccounts, gone with it.
pub(crate) struct Accounts {
    pub(crate) namespace: String,
    bed: Bed,
}

impl Accounts {
    pub(crate) fn open(bed: &Bed, name: &str, accounts: &[&str]) -> Self {
        let namespace = format!("{name}-up-{}", std::process::id());
        let opened = Self {
            namespace: namespace.clone(),
            bed: bed.clone(),
        };
        let make = accounts
            .iter()
            .map(|account| format!(" && kubectl -n {namespace} create serviceaccount {account}"));
        opened.bare(&format!(
            "kubectl create namespace {namespace}{}",
            make.collect::<String>()
        ));
        opened
    }

    /// kubectl as the bed's administrator; must work.
    pub(crate) fn bare(&self, line: &str) -> String {
        kubectl::bash(&self.bed, &self.bed.kubeconfig, Path::new("/tmp"), line).ok()
    }

    fn kubeconfig(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{}.kubeconfig", self.namespace))
    }

    pub(crate) fn user(&self, account: &str) -> String {
        format!("system:serviceaccount:{}:{account}", self.namespace)
    }

    /// An Agent that acts as the account of its name.
    pub(crate) fn agent(&self, name: &str, via: &str, room: &Room) -> String {
        format!(
            "apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: {{ name: {name} }}
spec:
  match: [{{ expression: \"claims.sub == '{name}'\" }}]
  serviceAccount: {{ namespace: {}, name: {name}, via: {via} }}
  scope: {{ clusters: [CLUSTER], namespaces: [{}] }}
",
            self.namespace, room.namespace
        )
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.kubeconfig());
        let line = format!("kubectl delete namespace {} --wait=false", self.namespace);
        kubectl::bash(&self.bed, &self.bed.kubeconfig, Path::new("/tmp"), &line);
    }
}

/// The gateway's credential is a client certificate here, which an API server would put before any token on the same connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_by_token_is_its_account_and_the_token_is_written_down_nowhere() {
    let bed = need_bed!();
    let accounts = Accounts::open(bed, "badge", &["badge", "mask"]);
    let room = Room::open(bed, "badge", &accounts.user("badge"));
    room.bare(&format!(
        "kubectl -n {} create rolebinding mask --clusterrole=edit --user={}",
        room.namespace,
        accounts.user("mask")
    ))
    .ok();
    let mut plan = Plan::new(bed, "badge");
    // What needs the object of a patch is looked up, as the agent too.
    plan.policies = format!(
        "{}---\n{}---\n{LOOKS}",
        accounts.agent("badge", "token", &room),
        accounts.agent("mask", "impersonation", &room)
    );
    plan.environment = vec![("RUST_LOG".into(), "trace".into())];
    let mut served = Served::start(plan).await;
    let wire = async |name: &str| {
        let token = served.token(Population::Agents, name);
        Wire::dial(served.address, &served.stage.authority, &token).await
    };
    let (badge, mask) = (wire("badge").await, wire("mask").await);

    let me = whoami(&badge).await;
    assert_eq!(me["username"], accounts.user("badge"), "{me}");
    assert!(
        me["groups"]
            .as_array()
            .is_some_and(|groups| groups.contains(&json!(format!("system:serviceaccounts:{}", accounts.namespace)))),
        "{me}"
    );
    let extra = me["extra"].as_object().expect("a token leaves its id");
    assert!(
        extra.contains_key("authentication.kubernetes.io/credential-id") && !extra.contains_key("mantlet.dev/session"),
        "{me}"
    );
    let other = whoami(&mask).await;
    assert_eq!(other["username"], accounts.user("mask"), "{other}");
    assert!(other["extra"].get("mantlet.dev/session").is_some(), "{other}");

    let path = room.path("configmaps");
    let plain = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain"}});
    assert_eq!(
        badge.post(&path, &plain.to_string()).await.expect("an answer").code,
        201
    );
    let mut watch = Stream::open(&badge, &format!("{path}?watch=true")).await;
    for wire in [&badge, &mask] {
        let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "by-token-"}});
        assert_eq!(wire.post(&path, &made.to_string()).await.expect("an answer").code, 201);
    }
    watch.begun().await;
    watch.leave();
    let patched = badge
        .call(
            "PATCH",
            &format!("{path}/plain"),
            "application/merge-patch+json",
            r#"{"metadata":{"labels":{"a":"b"}}}"#,
        )
        .await
        .expect("an answer");
    assert_eq!(patched.code, 200, "{}", patched.text());
    // RBAC is asked about the account, and so is nobody else.
    let beyond = badge
        .get("/api/v1/namespaces/kube-system/pods")
        .await
        .expect("an answer");
    assert_eq!(beyond.code, 403);
    // A hundred at once go with the token that is there.
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (badge, path) = (badge.clone(), path.clone());
        all.spawn(async move { badge.get(&path).await.expect("an answer").code });
    }
    assert!(all.join_all().await.iter().all(|code| *code == 200));
    served.stop().await;

    let events = read_back(&served.stage).await;
    let way = |agent: &str| -> BTreeSet<Option<String>> {
        let of = events.iter().filter(|event| {
            event
                .event
                .annotations
                .get("mantlet.dev/agent")
                .is_some_and(|a| a == agent)
        });
        of.map(|event| event.event.annotations.get("mantlet.dev/upstream").cloned())
            .collect()
    };
    assert_eq!(way("badge"), BTreeSet::from([Some("token".to_owned())]));
    assert_eq!(way("mask"), BTreeSet::from([None]));
    if let Some(log) = &bed.audit_log {
        the_other_witness_agrees(log, &accounts, &events);
    }
    assert_no_token_below(&served.stage.dir);
}

/// An update of labels is judged by its result, so that a look-up goes out.
const LOOKS: &str = "apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: looks }
spec:
  mode: enforce
  matchConstraints: { resourceRules: [ { apiGroups: [''], resources: [configmaps], operations: [patch] } ] }
  validations: [ { expression: 'object.metadata.name != \"never\"', action: Deny, message: never } ]
";

/// What the API server wrote down: every request of the account under an Audit-ID of the gateway's, nobody impersonated, one token asked for.
fn the_other_witness_agrees(log: &Path, accounts: &Accounts, events: &[mantlet_api::gate::SessionEvent]) {
    let known: BTreeSet<&str> = events.iter().map(|event| event.event.audit_id.as_str()).collect();
    let logged = audit::by_user(log, &accounts.user("badge"));
    assert!(logged.len() > 100, "only {} lines", logged.len());
    let mut looked_up = 0;
    for line in &logged {
        assert!(line.impersonated_user.is_none(), "{line:?}");
        let (id, lookup) = line
            .audit_id
            .split_once('.')
            .map_or((line.audit_id.as_str(), false), |(id, _)| (id, true));
        looked_up += usize::from(lookup);
        assert!(known.contains(id), "{line:?}");
    }
    assert!(looked_up > 0, "the dry-run goes as the account too");
    let tokens: BTreeSet<String> = audit::entries(log)
        .filter(|line| {
            line.uri
                .contains(&format!("/namespaces/{}/serviceaccounts/", accounts.namespace))
                && line.uri.ends_with("/token")
        })
        .map(|line| line.audit_id)
        .collect();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert!(tokens.iter().all(|id| id.starts_with("own-")), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_sent_and_the_missing_rule_is_named() {
    let bed = need_bed!();
    let accounts = Accounts::open(bed, "bare", &["gateway", "bare", "gone"]);
    let room = Room::open(bed, "bare", &accounts.user("bare"));
    let ns = &accounts.namespace;
    accounts.bare(&format!("kubectl -n {ns} delete serviceaccount gone"));
    let cluster_role = format!("story-{ns}");
    let _swept = Swept(&accounts, cluster_role.clone());
    accounts.bare(&format!(
        "kubectl create clusterrole {cluster_role} --verb=get --resource=namespaces --resource-name=kube-system && \
         kubectl create clusterrolebinding {cluster_role} --clusterrole={cluster_role} --serviceaccount={ns}:gateway"
    ));
    let mut plan = Plan::new(bed, "bare");
    plan.policies = format!(
        "{}---\n{}",
        accounts.agent("bare", "token", &room),
        accounts.agent("gone", "token", &room)
    );
    plan.kubeconfig = Some(kubeconfig_of(bed, &accounts, "gateway"));
    let world = World::start_ready(&plan).await;
    let (bare, gone) = (dial(&world, "bare").await, dial(&world, "gone").await);
    let path = room.path("configmaps");
    let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "never"}}).to_string();
    let refused = bare.post(&path, &made).await.expect("an answer");
    assert_eq!(refused.code, 503, "{}", refused.text());
    for part in [
        "`create` on `serviceaccounts/token`",
        "`bare`",
        &format!("`{ns}`"),
        "mantlet agent rbac",
        "nothing was sent",
    ] {
        assert!(refused.text().contains(part), "{part}: {}", refused.text());
    }
    assert!(
        refused.headers.get("retry-after").is_none(),
        "a client would come back in silence"
    );
    assert_ne!(
        room.bare(&format!("kubectl -n {} get configmap never", room.namespace))
            .code,
        0
    );

    // The rule that it names is enough, and is in force a moment later, without a restart.
    accounts.bare(&format!(
        "kubectl -n {ns} create role gateway --verb=create --resource=serviceaccounts/token --resource-name=bare --resource-name=gone && \
         kubectl -n {ns} create rolebinding gateway --role=gateway --serviceaccount={ns}:gateway"
    ));
    eventually("the agent is served", PATIENCE, async || {
        (bare.get(&path).await.expect("an answer").code == 200).then_some(())
    })
    .await;
    let absent = eventually("the role is in force", PATIENCE, async || {
        let answer = gone.get(&path).await.expect("an answer");
        assert_eq!(answer.code, 503, "{}", answer.text());
        answer
            .text()
            .contains("there is no such ServiceAccount")
            .then_some(answer)
    })
    .await;
    let events = world.events().await;
    let event = events
        .iter()
        .find(|event| event.metadata.name == absent.audit_id())
        .expect("recorded");
    assert_eq!(event.event.annotations["mantlet.dev/outcome"], "refused");
    assert_no_token_below(&world.end().await);
}

/// The API server keeps what it knows of a token for ten seconds; then the old one is worth nothing, and a request that was sent with it is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_cluster_takes_no_more_is_replaced_under_the_request() {
    let bed = need_bed!();
    let accounts = Accounts::open(bed, "twice", &["twice"]);
    let room = Room::open(bed, "twice", &accounts.user("twice"));
    let world = World::start(bed, "twice", &accounts.agent("twice", "token", &room)).await;
    let wire = dial(&world, "twice").await;
    let before = whoami(&wire).await["uid"].clone();
    let ns = &accounts.namespace;
    accounts.bare(&format!(
        "kubectl -n {ns} delete serviceaccount twice && kubectl -n {ns} create serviceaccount twice"
    ));
    let path = room.path("configmaps");
    let mut made = 0;
    eventually("the cluster sees the new account", PATIENCE, async || {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("made-{made}")}});
        let answer = wire.post(&path, &object.to_string()).await.expect("an answer");
        assert_eq!(answer.code, 201, "{}", answer.text());
        made += 1;
        (whoami(&wire).await["uid"] != before).then_some(())
    })
    .await;
    let there = room
        .bare(&format!(
            "kubectl -n {} get configmaps -o name | grep -c /made-",
            room.namespace
        ))
        .ok();
    assert_eq!(there.trim(), made.to_string(), "each was made once");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_changed_in_the_files_is_that_of_the_next_request() {
    let bed = need_bed!();
    let accounts = Accounts::open(bed, "turn", &["turn"]);
    let room = Room::open(bed, "turn", &accounts.user("turn"));
    let world = World::start(bed, "turn", &accounts.agent("turn", "impersonation", &room)).await;
    let wire = dial(&world, "turn").await;
    let by_token = async || {
        let me = whoami(&wire).await;
        assert_eq!(me["username"], accounts.user("turn"), "{me}");
        me["extra"].get("authentication.kubernetes.io/credential-id").is_some()
    };
    assert!(!by_token().await);
    let file = world.dir.join("policies/story.yaml");
    for way in ["token", "impersonation"] {
        let text = accounts.agent("turn", way, &room).replace("CLUSTER", "bed");
        std::fs::write(&file, text).expect("written");
        eventually(way, PATIENCE, async || {
            (by_token().await == (way == "token")).then_some(())
        })
        .await;
    }
    world.end().await;
}

/// A cluster role and its binding of this name, and nothing else of the cluster's own, gone with the story.
pub(crate) struct Swept<'a>(pub(crate) &'a Accounts, pub(crate) String);

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        let Self(accounts, name) = self;
        let line = format!("kubectl delete clusterrole,clusterrolebinding {name} --ignore-not-found");
        kubectl::bash(&accounts.bed, &accounts.bed.kubeconfig, Path::new("/tmp"), &line);
    }
}

/// A kubeconfig that holds a token of an account.
pub(crate) fn kubeconfig_of(bed: &Bed, accounts: &Accounts, account: &str) -> PathBuf {
    let token = accounts.bare(&format!(
        "kubectl -n {} create token {account} --duration=1h",
        accounts.namespace
    ));
    let text = std::fs::read_to_string(&bed.kubeconfig).expect("the bed's kubeconfig");
    let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = accounts.kubeconfig();
    std::fs::write(&path, config.to_string()).expect("a kubeconfig");
    path
}

pub(crate) async fn dial(world: &World, subject: &str) -> Wire {
    let token = world.token(Population::Agents, subject, &[]);
    Wire::dial(world.address, &world.authority, &token).await
}

/// As whom the cluster sees it.
pub(crate) async fn whoami(wire: &Wire) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = wire.post(path, &review.to_string()).await.expect("an answer");
    assert_eq!(answer.code, 201, "{}", answer.text());
    let review: Value = serde_json::from_slice(&answer.body).expect("JSON");
    review["status"]["userInfo"].clone()
}

/// A token of a ServiceAccount is known by its claims: every file that the gateway wrote is looked through for one.
fn assert_no_token_below(dir: &Path) {
    let mut folders = vec![dir.to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("a file");
                assert!(!holds_account_token(&bytes), "{} holds a token", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 5, "only {files} files in {}", dir.display());
}

fn holds_account_token(bytes: &[u8]) -> bool {
    let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    bytes.split(|b| !part(b)).any(|word| {
        let payload = word.split(|b| *b == b'.').nth(1).unwrap_or_default();
        let claims = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        String::from_utf8_lossy(&claims).contains("\"kubernetes.io\":{")
    })
}

#[tokio::test]
async fn a_token_of_an_account_would_be_found() {
    let bed = need_bed!();
    let accounts = Accounts::open(bed, "found", &["found"]);
    let token = accounts.bare(&format!("kubectl -n {} create token found", accounts.namespace));
    assert!(holds_account_token(
        format!("{{\"line\":\"Bearer {}\"}}", token.trim()).as_bytes()
    ));
    let ours = Plan::new(bed, "found");
    let stage = mantlet_stories::stage::Stage::set(&ours, real_now()).await;
    let other = stage.token(Population::Agents, "x", &[], real_now());
    assert!(!holds_account_token(other.as_bytes()));
}
