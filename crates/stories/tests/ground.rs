//! Ground to attack: a world whose cluster grants an agent and a person everything, so that what stops them is the gateway alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mantlet_core::identity::Population;
use mantlet_stories::audit::{self, Logged};
use mantlet_stories::kubectl::bash;
use mantlet_stories::{Bed, World};
use serde_json::Value;

/// A gateway, two namespaces of its own in the cluster, and who attacks.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) world: World,
    /// In every name that this ground makes.
    pub(crate) tag: String,
    /// Where the agent may work.
    pub(crate) inside: String,
    /// Where the agent's upstream ServiceAccount lives: the gateway's own.
    pub(crate) upstream: String,
    /// A namespace that is nobody's.
    pub(crate) outside: String,
    /// The value of every Secret here. Nobody should ever read it through the gateway.
    pub(crate) value: String,
    _swept: Swept,
}

/// Removes what the ground put into the cluster, also when a story fails.
#[derive(Debug)]
struct Swept {
    bed: Bed,
    tag: String,
}

impl Drop for Swept {
    fn drop(&mut self) {
        let line = format!(
            "kubectl patch secret finalized -n {0}-in --type merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'; \
             kubectl delete --wait=false --ignore-not-found ns {0}-in {0}-up {0}-out; kubectl delete --ignore-not-found clusterrolebinding {0}",
            self.tag
        );
        bash(&self.bed, &self.bed.kubeconfig, &std::env::temp_dir(), &line);
    }
}

impl Ground {
    /// `policies` come beside the agent `coder`, whose scope is the namespace inside and the Secrets `shop-*`.
    pub(crate) async fn start(bed: &Bed, name: &str, policies: &str) -> Self {
        let random = format!("{:08x}", std::process::id() ^ nanos());
        let tag = format!("{name}-{random}");
        let (inside, upstream, outside) = (format!("{tag}-in"), format!("{tag}-up"), format!("{tag}-out"));
        let value = format!("canary-{random}-Zq7#x+/v");
        let swept = Swept {
            bed: bed.clone(),
            tag: tag.clone(),
        };
        let policies = format!("{AGENT}\n---\n{policies}")
            .replace("UPSTREAM", &upstream)
            .replace("INSIDE", &inside);
        let world = World::start(bed, name, &policies).await;
        let ground = Self {
            world,
            tag,
            inside,
            upstream,
            outside,
            value,
            _swept: swept,
        };
        ground.seed().await;
        ground
    }

    async fn seed(&self) {
        let text = self.fill(SEED).replace("VALUE", &self.value);
        std::fs::write(self.world.dir.join("seed.yaml"), text).unwrap();
        let line = format!(
            "kubectl apply -f seed.yaml >/dev/null && for ns in {0}-in {0}-up {0}-out; do \
             until kubectl get sa default -n $ns >/dev/null 2>&1 && kubectl get cm kube-root-ca.crt -n $ns >/dev/null 2>&1; do :; done; done && \
             kubectl create -n {0}-in -f - <<<'{1}' && \
             until [ \"$(kubectl get rs -n {0}-in -o jsonpath='{{.items[0].status.observedGeneration}}')\" = 1 ]; do :; done && \
             kubectl rollout status deployment web -n {0}-in",
            self.tag, POD
        );
        self.world.bare(&line).await.ok();
    }

    /// Names of this ground in place of `$IN`, `$UP`, `$OUT` and `$TAG`.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("$IN", &self.inside)
            .replace("$UP", &self.upstream)
            .replace("$OUT", &self.outside)
            .replace("$TAG", &self.tag)
    }

    /// The person to whom RBAC grants everything.
    pub(crate) fn person(&self) -> String {
        format!("{}-root", self.tag)
    }

    pub(crate) fn agent_token(&self) -> String {
        self.world.token(Population::Agents, "coder", &[])
    }

    pub(crate) fn person_token(&self) -> String {
        self.world.token(Population::People, &self.person(), &[])
    }

    pub(crate) fn agent_kubeconfig(&self) -> PathBuf {
        self.world.kubeconfig(Population::Agents, "coder", &[], &self.inside)
    }

    pub(crate) fn person_kubeconfig(&self) -> PathBuf {
        self.world
            .kubeconfig(Population::People, &self.person(), &[], &self.inside)
    }

    /// uid and resourceVersion of everything that an attack of these stories could change.
    pub(crate) async fn snapshot(&self) -> BTreeMap<String, String> {
        let namespaced = "serviceaccounts,secrets,configmaps,pods,podtemplates,replicationcontrollers,deployments.apps,statefulsets.apps,daemonsets.apps,\
            replicasets.apps,controllerrevisions.apps,jobs.batch,cronjobs.batch,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io,services";
        let cluster = "clusterroles,clusterrolebindings,validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies,\
            validatingadmissionpolicybindings,apiservices,customresourcedefinitions,certificatesigningrequests,persistentvolumes";
        let mut all = BTreeMap::new();
        for namespace in [&self.inside, &self.upstream, &self.outside] {
            self.note(&format!("kubectl get {namespaced} -n {namespace} -o json"), &mut all)
                .await;
        }
        self.note(
            &format!(
                "kubectl get ns {} {} {} kube-system -o json",
                self.inside, self.upstream, self.outside
            ),
            &mut all,
        )
        .await;
        let mut wide = BTreeMap::new();
        self.note(&format!("kubectl get {cluster} -o json"), &mut wide).await;
        // Others use the cluster too: of what lies in no namespace, ours and the roles that everybody stands on.
        wide.retain(|name, _| {
            let standing = ["/cluster-admin", "/admin", "/edit", "/view", "/v1.apps", "/v1."]
                .iter()
                .any(|end| name.ends_with(end));
            standing || name.contains(&self.tag) || name.contains("mantlet")
        });
        all.extend(wide);
        all
    }

    async fn note(&self, line: &str, all: &mut BTreeMap<String, String>) {
        let list: Value = serde_json::from_str(&self.world.bare(line).await.ok()).unwrap();
        for object in list["items"].as_array().unwrap() {
            let meta = &object["metadata"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = format!(
                "{}/{}/{}",
                text(&object["kind"]),
                text(&meta["namespace"]),
                text(&meta["name"])
            );
            all.insert(
                name,
                format!("{} {}", text(&meta["uid"]), text(&meta["resourceVersion"])),
            );
        }
    }

    /// What this gateway's sessions left in the API server's own log, look-ups included. `None` where that is out of reach.
    pub(crate) async fn reached(&self) -> Option<BTreeMap<String, Logged>> {
        let log = self.world.bed.audit_log.clone()?;
        let sessions: BTreeSet<String> = self.world.events().await.into_iter().map(|e| e.spec.session).collect();
        let ours = |logged: &Logged| audit::session(logged).is_some_and(|s| sessions.contains(&s));
        Some(
            audit::through_gateway(&log)
                .into_iter()
                .filter(|(_, logged)| ours(logged))
                .collect(),
        )
    }
}

/// Whether a logged request could have changed anything.
pub(crate) fn changes(logged: &Logged) -> bool {
    let reads = matches!(logged.verb.as_str(), "get" | "list" | "watch");
    let rehearsal = logged.uri.contains("dryRun=All");
    let review = logged.uri.contains("/selfsubject");
    !(reads || rehearsal || review)
}

fn nanos() -> u32 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    now.subsec_nanos()
}

const AGENT: &str = r#"
apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: { name: coder }
spec:
  match: [{ expression: "claims.sub == 'coder'" }]
  owners: [{ issuer: PEOPLE, group: team }]
  serviceAccount: { namespace: UPSTREAM, name: coder }
  scope: { clusters: [CLUSTER], namespaces: [INSIDE], secrets: ["shop-*"] }
"#;

const SEED: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: $IN }
---
apiVersion: v1
kind: Namespace
metadata: { name: $UP }
---
apiVersion: v1
kind: Namespace
metadata: { name: $OUT }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: coder, namespace: $UP }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: coder, namespace: $IN }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: $TAG }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin }
subjects:
- { kind: ServiceAccount, namespace: $UP, name: coder }
- { kind: User, apiGroup: rbac.authorization.k8s.io, name: $TAG-root }
---
apiVersion: v1
kind: Secret
metadata: { name: db, namespace: $IN }
stringData: { password: "VALUE" }
---
apiVersion: v1
kind: Secret
metadata: { name: shop-db, namespace: $IN }
stringData: { password: "VALUE" }
---
apiVersion: v1
kind: Secret
metadata: { name: finalized, namespace: $IN, finalizers: [example.dev/wait] }
stringData: { password: "VALUE" }
---
apiVersion: v1
kind: Secret
metadata: { name: own, namespace: $UP }
stringData: { password: "VALUE" }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: shop, namespace: $IN }
data: { color: green }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: kept, namespace: $IN }
data: { color: red }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: shop, namespace: $OUT }
data: { color: blue }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: $IN }
spec:
  replicas: 0
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: "mantlet.test/none:1" }] }
"#;

/// Never scheduled: that nobody runs it is no matter here.
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"schedulerName":"nobody","automountServiceAccountToken":false,"containers":[{"name":"web","image":"mantlet.test/none:1"}]}}"#;
