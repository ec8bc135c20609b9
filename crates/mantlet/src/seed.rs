//! The story that a sandbox begins with: namespaces, identities and their rights, something to look at.
//!
//! In: a sandbox. Out: the kubeconfig that the gateway uses. Everything goes by server-side apply as the cluster's own
//! administrator, not through the gateway, so seeding again changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mantlet_cli::client::{AS_JSON, Client, ClientFault};
use mantlet_kubeconfig::Source;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, SandboxFault};

/// The user that the gateway is to the cluster.
const GATEWAY: &str = "mantlet-gateway";
const AGENTS: &str = "mantlet-agents";
const POLL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(120);

/// What is in the Secret `db` of `test` under `password`: nobody should ever read it through the gateway.
pub const DB_PASSWORD: &str = "marble-otter-62-violin";

/// What the rest of `dev` needs to know of the seeded cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeded {
    /// A client certificate that may impersonate the people and agents of the story, and nobody else.
    pub gateway_kubeconfig: PathBuf,
    /// uid of the namespace kube-system: by it the gateway knows the cluster.
    pub cluster_uid: String,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedFault {
    #[error(transparent)]
    Sandbox(#[from] SandboxFault),
    #[error("the sandbox's kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] mantlet_kubeconfig::KubeconfigFault),
    #[error("the sandbox refused `{path}`: {source}")]
    Refused { path: String, source: ClientFault },
    #[error("`{what}` was not there after {} s", PATIENCE.as_secs())]
    Late { what: String },
    #[error("the sandbox answered with something that cannot be read: {0}")]
    Unreadable(String),
}

/// Applies the story; with a node it waits until the pod `web` runs.
pub async fn seed(sandbox: &Sandbox) -> Result<Seeded, SeedFault> {
    let source = Source::File {
        path: sandbox.endpoint().kubeconfig.clone(),
        context: None,
    };
    let admin = Client::with(mantlet_kubeconfig::load(source).await?);
    for (path, object) in story() {
        apply(&admin, path, &object).await?;
    }
    if sandbox.endpoint().node {
        // A pod is refused until its namespace's default ServiceAccount has been made.
        until(&admin, "/api/v1/namespaces/test/serviceaccounts/default", |_| true).await?;
        apply(&admin, "/api/v1/namespaces/test/pods/web", &web()).await?;
        until(&admin, "/api/v1/namespaces/test/pods/web", |pod| {
            pod["status"]["phase"] == "Running"
        })
        .await?;
    }
    let kube_system = until(&admin, "/api/v1/namespaces/kube-system", |_| true).await?;
    let cluster_uid = kube_system["metadata"]["uid"].as_str().map(str::to_owned);
    Ok(Seeded {
        gateway_kubeconfig: sandbox.user(GATEWAY).await?,
        cluster_uid: cluster_uid.ok_or_else(|| SeedFault::Unreadable("kube-system has no uid".into()))?,
    })
}

/// Everything but the pod, in an order in which each object finds what it names.
fn story() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    namespaces(&mut all);
    people_and_agents(&mut all);
    gateway(&mut all);
    things_to_look_at(&mut all);
    all
}

fn namespaces(all: &mut Vec<(&'static str, Value)>) {
    for path in [
        "/api/v1/namespaces/test",
        "/api/v1/namespaces/prod",
        "/api/v1/namespaces/mantlet-agents",
    ] {
        all.push((path, json!({ "apiVersion": "v1", "kind": "Namespace" })));
    }
}

/// `coder` and `developer` may edit in `test`, whoever is in `sre` may view everything, `admin` may do everything.
fn people_and_agents(all: &mut Vec<(&'static str, Value)>) {
    all.push((
        "/api/v1/namespaces/mantlet-agents/serviceaccounts/coder",
        // The gateway impersonates it; no pod ever runs as it.
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false }),
    ));
    let coder = json!({ "kind": "ServiceAccount", "namespace": AGENTS, "name": "coder" });
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/namespaces/test/rolebindings/coder",
        binding("RoleBinding", "edit", coder),
    ));
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/namespaces/test/rolebindings/developer",
        binding("RoleBinding", "edit", subject("User", "developer")),
    ));
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/mantlet-story-sre",
        binding("ClusterRoleBinding", "view", subject("Group", "sre")),
    ));
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/mantlet-story-admin",
        binding("ClusterRoleBinding", "cluster-admin", subject("User", "admin")),
    ));
}

// Legacy impersonation (apiserver pkg/endpoints/filters/impersonation): each user, group, ServiceAccount and extra value is
// authorized by itself; limited to the names of the story, the gateway cannot become system:masters, whatever goes wrong in it.
fn gateway(all: &mut Vec<(&'static str, Value)>) {
    let rule = |group: &str, resource: &str, names: &[&str]| {
        let mut rule = json!({ "apiGroups": [group], "resources": [resource], "verbs": ["impersonate"] });
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rule
    };
    let rules = json!([
        rule("", "users", &["developer", "approver", "admin"]),
        rule("", "groups", &["sre", "team-test"]),
        // The value is a new session id each time: it cannot be named here.
        rule("authentication.k8s.io", "userextras/mantlet.dev/session", &[]),
        // By its uid the gateway knows that this is still the same cluster.
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"], "resourceNames": ["kube-system"] },
    ]);
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/mantlet-gateway",
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules }),
    ));
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/mantlet-gateway",
        binding("ClusterRoleBinding", GATEWAY, subject("User", GATEWAY)),
    ));
    let rules = json!([rule("", "serviceaccounts", &["coder"])]);
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/namespaces/mantlet-agents/roles/mantlet-gateway",
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules }),
    ));
    let mut bound = binding("RoleBinding", GATEWAY, subject("User", GATEWAY));
    bound["roleRef"]["kind"] = "Role".into();
    all.push((
        "/apis/rbac.authorization.k8s.io/v1/namespaces/mantlet-agents/rolebindings/mantlet-gateway",
        bound,
    ));
}

fn things_to_look_at(all: &mut Vec<(&'static str, Value)>) {
    let shop = |color: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "color": color } });
    all.push(("/api/v1/namespaces/test/configmaps/shop", shop("green")));
    all.push(("/api/v1/namespaces/prod/configmaps/shop", shop("blue")));
    all.push((
        "/api/v1/namespaces/test/secrets/db",
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "stringData": { "username": "shop", "password": DB_PASSWORD } }),
    ));
}

fn web() -> Value {
    let serve = "mkdir -p /tmp/www && echo hello from web > /tmp/www/index.html && echo web listens on 8080 \
                 && exec httpd -f -v -p 8080 -h /tmp/www";
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "labels": { "app": "web" } },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            // The sandbox has no DNS of its own.
            "dnsPolicy": "Default",
            "containers": [{
                "name": "web", "image": "mantlet.test/busybox:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", serve],
                "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
            }],
        },
    })
}

fn binding(kind: &str, role: &str, subject: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [subject],
    })
}

fn subject(kind: &str, name: &str) -> Value {
    json!({ "kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name })
}

/// Server-side apply; name and namespace are those of the path.
async fn apply(admin: &Client, path: &str, object: &Value) -> Result<(), SeedFault> {
    let body = Bytes::from(placed(path, object.clone()).to_string());
    let query = format!("{path}?fieldManager=mantlet-dev&force=true");
    let refused = |source| SeedFault::Refused {
        path: path.to_owned(),
        source,
    };
    let answer = admin
        .send(
            Method::PATCH,
            &query,
            AS_JSON,
            Some(("application/apply-patch+yaml", body)),
        )
        .await;
    answer.map_err(refused)?.whole().await.map(|_| ()).map_err(refused)
}

fn placed(path: &str, mut object: Value) -> Value {
    let parts: Vec<&str> = path.split('/').collect();
    object["metadata"]["name"] = json!(parts.last());
    let namespace = parts.iter().position(|p| *p == "namespaces").map(|at| &parts[at + 1..]);
    if let Some([namespace, _, ..]) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// Asks until the object is there and fits.
async fn until(admin: &Client, path: &str, fits: impl Fn(&Value) -> bool) -> Result<Value, SeedFault> {
    let asked = async {
        loop {
            match admin.get(path, AS_JSON).await {
                Ok(body) => {
                    let object = serde_json::from_slice(&body).map_err(|e| SeedFault::Unreadable(e.to_string()))?;
                    if fits(&object) {
                        return Ok(object);
                    }
                }
                Err(ClientFault::Refused { status, .. }) if status == http::StatusCode::NOT_FOUND => {}
                Err(source) => {
                    return Err(SeedFault::Refused {
                        path: path.to_owned(),
                        source,
                    });
                }
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(SeedFault::Late { what: path.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stands_where_its_path_says() {
        for (path, object) in story() {
            let placed = placed(path, object);
            let name = path.rsplit('/').next().unwrap();
            assert_eq!(placed["metadata"]["name"], name);
            let cluster_wide = ["Namespace", "ClusterRole", "ClusterRoleBinding"]
                .map(Value::from)
                .contains(&placed["kind"]);
            assert_eq!(placed["metadata"]["namespace"].is_null(), cluster_wide, "{path}");
        }
    }

    #[test]
    fn the_gateway_may_impersonate_nobody_beyond_the_story() {
        let impersonates: Vec<Value> = story()
            .into_iter()
            .flat_map(|(_, object)| object["rules"].as_array().cloned().unwrap_or_default())
            .filter(|rule| rule["verbs"][0] == "impersonate")
            .collect();
        assert_eq!(impersonates.len(), 4);
        for rule in impersonates {
            let extra = rule["resources"][0] == "userextras/mantlet.dev/session";
            assert!(
                extra || rule["resourceNames"].as_array().is_some_and(|n| !n.is_empty()),
                "{rule}"
            );
        }
    }
}
