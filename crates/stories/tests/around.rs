//! Around it: an agent and a person to whom RBAC grants everything try to get at the upstream ServiceAccount and at the gateway itself.
//!
//! What stops them is the gateway alone. The cluster is the witness: nothing in it has changed afterwards, and its audit log holds no
//! request of theirs that could have changed anything.

use std::path::PathBuf;

use mantlet_stories::need_bed;

use crate::ground::{Ground, changes};
use crate::raw::{self, Ask};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Its scope is one namespace; RBAC lets it do everything everywhere.
    Agent,
    /// No policy names them; only what the gateway does for its own sake stops them.
    Person,
}
use Who::{Agent, Person};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_at_the_upstream_service_account_or_at_the_gateway() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "around", "").await;
    write_manifests(&ground);
    let before = ground.snapshot().await;
    let mut faults = Vec::new();
    with_kubectl(&ground, &mut faults).await;
    with_bytes(&ground, &mut faults).await;
    let after = ground.snapshot().await;
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert_eq!(before, after, "the cluster is not as it was");
    if let Some(reached) = ground.reached().await {
        let changed: Vec<_> = reached.values().filter(|logged| changes(logged)).collect();
        assert!(changed.is_empty(), "these reached the API server: {changed:#?}");
    }
    let refused = ground.world.events().await;
    let refused = refused
        .iter()
        .filter(|e| e.event.response_status.as_ref().is_some_and(|s| s.code == 403));
    assert!(
        refused.count() >= KUBECTL.len() + SHAPES.len(),
        "not every attempt is in the record"
    );
    ground.world.end().await;
}

/// Lines of bash, and what kubectl must print.
const KUBECTL: &[(Who, &str, &str)] = &[
    // Pods that would run as it, and what makes pods.
    (
        Agent,
        "kubectl run thief --image=a --overrides='{\"spec\":{\"serviceAccountName\":\"coder\"}}'",
        "(PolicyDenied): pods in namespace",
    ),
    (
        Agent,
        "kubectl run thief -n $UP --image=a --overrides='{\"spec\":{\"serviceAccountName\":\"coder\"}}'",
        "belongs to this gateway",
    ),
    (
        Person,
        "kubectl run thief -n $UP --image=a --overrides='{\"spec\":{\"serviceAccountName\":\"coder\"}}'",
        "belongs to this gateway",
    ),
    (
        Agent,
        "kubectl create -f projected.yaml",
        "no-upstream-service-accounts-in-pods",
    ),
    (
        Agent,
        "kubectl apply --server-side -f projected.yaml",
        "no-upstream-service-accounts-in-pods",
    ),
    (
        Agent,
        "kubectl create -f templates.yaml 2>&1 | grep -c no-upstream-service-accounts-in-pods; false",
        "9\n",
    ),
    (
        Agent,
        "kubectl apply --server-side -f templates.yaml 2>&1 | grep -c no-upstream-service-accounts-in-pods; false",
        "9\n",
    ),
    (
        Agent,
        "kubectl apply -f templates.yaml 2>&1 | grep -c no-upstream-service-accounts-in-pods; false",
        "9\n",
    ),
    (
        Agent,
        "kubectl set serviceaccount deployment web coder",
        "no-upstream-service-accounts-in-pods",
    ),
    (
        Agent,
        "kubectl patch deployment web --type merge -p '{\"spec\":{\"template\":{\"spec\":{\"serviceAccountName\":\"coder\"}}}}'",
        "no-upstream-service-accounts-in-pods",
    ),
    (
        Agent,
        "kubectl patch deployment web --type json -p '[{\"op\":\"add\",\"path\":\"/spec/template/spec/serviceAccountName\",\"value\":\"coder\"}]'",
        "no-upstream-service-accounts-in-pods",
    ),
    (
        Agent,
        "kubectl create job thief --image=a --dry-run=client -o json | sed 's/\"restartPolicy\"/\"serviceAccountName\":\"coder\",\"restartPolicy\"/' | kubectl create -f -",
        "no-upstream-service-accounts-in-pods",
    ),
    // Its token.
    (Agent, "kubectl create token coder -n $UP", "belongs to this gateway"),
    (Person, "kubectl create token coder -n $UP", "belongs to this gateway"),
    (Agent, "kubectl create token coder", "no-tokens-past-the-gateway"),
    (Agent, "kubectl create token default", "no-tokens-past-the-gateway"),
    (
        Agent,
        "kubectl create -f token-secret.yaml",
        "is a credential of the cluster",
    ),
    (
        Agent,
        "kubectl apply -f token-secret.yaml",
        "is a credential of the cluster",
    ),
    (
        Agent,
        "kubectl apply --server-side -f token-secret.yaml",
        "is a credential of the cluster",
    ),
    (
        Agent,
        "kubectl create -n $UP -f token-secret.yaml",
        "belongs to this gateway",
    ),
    (
        Person,
        "kubectl create -n $UP -f token-secret.yaml",
        "belongs to this gateway",
    ),
    // Type of a Secret never changes: the API server's own word.
    (
        Agent,
        "kubectl patch secret shop-db --type merge -p '{\"type\":\"kubernetes.io/service-account-token\"}'",
        "is invalid",
    ),
    // Its Secrets.
    (Agent, "kubectl get secrets -n $UP", "belong to this gateway"),
    (
        Person,
        "kubectl get secret own -n $UP -o yaml",
        "belong to this gateway",
    ),
    (Person, "kubectl get secrets -A", "A list of all Secrets"),
    // Rights.
    (
        Agent,
        "kubectl create rolebinding thief --clusterrole=cluster-admin --serviceaccount=$UP:coder",
        "upstream identity",
    ),
    (
        Agent,
        "kubectl create rolebinding thief --clusterrole=cluster-admin --serviceaccount=$IN:default",
        "rbac-changes-need-a-human",
    ),
    (
        Agent,
        "kubectl create clusterrolebinding $TAG-thief --clusterrole=cluster-admin --serviceaccount=$IN:default",
        "may only act in namespaces",
    ),
    (
        Agent,
        "kubectl create role thief --verb='*' --resource=pods",
        "no-roles-that-grant-roles",
    ),
    (Agent, "kubectl delete clusterrolebinding $TAG", "(PolicyDenied)"),
    (
        Person,
        "kubectl create clusterrolebinding $TAG-thief --clusterrole=cluster-admin --serviceaccount=$UP:coder",
        "upstream identity",
    ),
    (
        Person,
        "kubectl create clusterrolebinding $TAG-thief --clusterrole=view --group=system:serviceaccounts:$UP",
        "upstream identity",
    ),
    (
        Person,
        "kubectl create rolebinding thief -n $UP --clusterrole=admin --user=me",
        "belongs to this gateway",
    ),
    (
        Person,
        "kubectl create clusterrole $TAG-mantlet-thief --verb=get --resource=pods",
        "belong to this gateway",
    ),
    (
        Person,
        "kubectl patch clusterrolebinding $TAG --type json -p '[{\"op\":\"add\",\"path\":\"/metadata/labels\",\"value\":{\"a\":\"b\"}}]'",
        "upstream identity",
    ),
    // Its namespaces.
    (Agent, "kubectl delete ns $UP", "(PolicyDenied)"),
    (Person, "kubectl delete ns $UP --wait=false", "belongs to this gateway"),
    (
        Person,
        "kubectl label ns $UP pod-security.kubernetes.io/enforce=privileged",
        "belongs to this gateway",
    ),
    (Person, "kubectl annotate ns $UP a=b", "belongs to this gateway"),
    (Person, "kubectl create ns mantlet-system", "belongs to this gateway"),
    (Agent, "kubectl delete ns $IN --wait=false", "deletes everything in it"),
    (
        Agent,
        "kubectl label ns $IN pod-security.kubernetes.io/enforce=privileged",
        "(ApprovalRequired)",
    ),
    (Person, "kubectl delete sa coder -n $UP", "belongs to this gateway"),
    (Person, "kubectl delete secret own -n $UP", "belongs to this gateway"),
    // What decides about everybody's requests.
    (
        Agent,
        "kubectl create -f extensions.yaml 2>&1 | grep -c PolicyDenied; false",
        "4\n",
    ),
    (
        Person,
        "kubectl create -f extensions.yaml 2>&1 | grep -c 'names a namespace or an identity of this gateway\\|whose name contains'; false",
        "4\n",
    ),
    // Somebody else's name.
    (
        Agent,
        "kubectl get pods --as=system:admin",
        "impersonation is not possible",
    ),
    (
        Person,
        "kubectl get pods --as=me --as-group=system:masters",
        "impersonation is not possible",
    ),
    (
        Person,
        "kubectl delete pod web --as=system:serviceaccount:$UP:coder",
        "impersonation is not possible",
    ),
];

async fn with_kubectl(ground: &Ground, faults: &mut Vec<String>) {
    let kubeconfigs = (ground.agent_kubeconfig(), ground.person_kubeconfig());
    // None depends on another: four at a time.
    let quarters = KUBECTL
        .chunks(KUBECTL.len().div_ceil(4))
        .map(|lines| said_wrong(ground, &kubeconfigs, lines));
    let mut quarters = quarters.collect::<Vec<_>>().into_iter();
    let mut next = || quarters.next().expect("four quarters");
    let (a, b, c, d) = tokio::join!(next(), next(), next(), next());
    faults.extend([a, b, c, d].into_iter().flatten());
}

async fn said_wrong(ground: &Ground, (agent, person): &(PathBuf, PathBuf), lines: &[(Who, &str, &str)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (who, line, says) in lines {
        let kubeconfig = match who {
            Agent => agent,
            Person => person,
        };
        let said = ground.world.run(kubeconfig, &ground.fill(line)).await;
        if said.code == 0 || !said.text().contains(says) {
            faults.push(format!("{who:?} {line}: exit {} {}", said.code, said.text()));
        }
    }
    faults
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
/// The body is the name of a message made by [`protobuf`].
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Who, `METHOD PATH`, content type, body, reason: the same deeds in every shape in which the API server takes them.
const SHAPES: &[(Who, &str, &str, &str, &str)] = &[
    (
        Agent,
        "POST /api/v1/namespaces/$UP/serviceaccounts/coder/token",
        PROTOBUF,
        "token",
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /api/v1/namespaces/$IN/serviceaccounts/coder/token",
        PROTOBUF,
        "token",
        "PolicyDenied",
    ),
    (
        Person,
        "POST /api/v1/namespaces/$UP/serviceaccounts/coder/token",
        PROTOBUF,
        "token",
        "PolicyDenied",
    ),
    // A token is minted whatever dryRun says.
    (
        Agent,
        "POST /api/v1/namespaces/$IN/serviceaccounts/coder/token?dryRun=All",
        JSON,
        "{}",
        "PolicyDenied",
    ),
    (
        Person,
        "POST /api/v1/namespaces/$UP/serviceaccounts/coder/token?dryRun=All",
        JSON,
        "{}",
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /api/v1/namespaces/$IN/secrets",
        PROTOBUF,
        "secret",
        "PolicyDenied",
    ),
    (
        Agent,
        "PUT /api/v1/namespaces/$IN/secrets/shop-token",
        JSON,
        TOKEN_SECRET,
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /api/v1/namespaces/$IN/secrets?dryRun=All",
        JSON,
        TOKEN_SECRET,
        "PolicyDenied",
    ),
    (
        Agent,
        "PATCH /api/v1/namespaces/$IN/secrets/shop-token?fieldManager=m",
        APPLY,
        TOKEN_SECRET,
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /api/v1/namespaces/$IN/pods",
        PROTOBUF,
        "pod",
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /api/v1/namespaces/$IN/pods",
        JSON,
        "{\"metadata\":{\"generateName\":\"x-\"},\"spec\":{\"serviceAccount\":\"coder\",\"containers\":[{\"name\":\"a\",\"image\":\"a\"}]}}",
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /api/v1/namespaces/$IN/pods?dryRun=All",
        JSON,
        "{\"metadata\":{\"name\":\"x\"},\"spec\":{\"serviceAccountName\":\"coder\",\"containers\":[{\"name\":\"a\",\"image\":\"a\"}]}}",
        "PolicyDenied",
    ),
    (
        Agent,
        "PATCH /api/v1/namespaces/$IN/pods/x?fieldManager=m&force=true",
        APPLY,
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"serviceAccountName\":\"coder\",\"containers\":[{\"name\":\"a\",\"image\":\"a\"}]}}",
        "PolicyDenied",
    ),
    (
        Agent,
        "PATCH /apis/apps/v1/namespaces/$IN/deployments/web",
        STRATEGIC,
        "{\"spec\":{\"template\":{\"spec\":{\"serviceAccount\":\"coder\",\"serviceAccountName\":\"coder\"}}}}",
        "PolicyDenied",
    ),
    (
        Agent,
        "PATCH /apis/apps/v1/namespaces/$IN/deployments/web?dryRun=All",
        MERGE,
        "{\"spec\":{\"template\":{\"spec\":{\"serviceAccountName\":\"coder\"}}}}",
        "PolicyDenied",
    ),
    (
        Agent,
        "PUT /apis/apps/v1/namespaces/$IN/deployments/web",
        JSON,
        "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"template\":{\"spec\":{\"serviceAccount\":\"coder\"}}}}",
        "PolicyDenied",
    ),
    // The account itself.
    (
        Person,
        "PUT /api/v1/namespaces/$UP/serviceaccounts/coder",
        JSON,
        "{\"metadata\":{\"name\":\"coder\"}}",
        "PolicyDenied",
    ),
    (
        Person,
        "PATCH /api/v1/namespaces/$UP/serviceaccounts/coder",
        MERGE,
        "{\"secrets\":[{\"name\":\"x\"}]}",
        "PolicyDenied",
    ),
    (
        Person,
        "PATCH /api/v1/namespaces/$UP/serviceaccounts/coder",
        STRATEGIC,
        "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}",
        "PolicyDenied",
    ),
    (
        Person,
        "PATCH /api/v1/namespaces/$UP/serviceaccounts/coder",
        PATCH,
        "[{\"op\":\"add\",\"path\":\"/metadata/labels\",\"value\":{\"a\":\"b\"}}]",
        "PolicyDenied",
    ),
    (
        Person,
        "PATCH /api/v1/namespaces/$UP/serviceaccounts/coder?fieldManager=m",
        APPLY,
        "{\"kind\":\"ServiceAccount\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"coder\"}}",
        "PolicyDenied",
    ),
    (
        Person,
        "DELETE /api/v1/namespaces/$UP/serviceaccounts/coder?dryRun=All",
        JSON,
        "{\"propagationPolicy\":\"Background\"}",
        "PolicyDenied",
    ),
    (
        Person,
        "DELETE /api/v1/namespaces/$UP/serviceaccounts",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "DELETE /api/v1/namespaces/$UP/secrets",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "DELETE /api/v1/namespaces/$UP/rolebindings",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "DELETE /apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "DELETE /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        JSON,
        "",
        "PolicyDenied",
    ),
    // Its namespace, by every door.
    (
        Person,
        "PUT /api/v1/namespaces/$UP/finalize",
        JSON,
        "{\"metadata\":{\"name\":\"$UP\"},\"spec\":{\"finalizers\":[]}}",
        "PolicyDenied",
    ),
    (
        Person,
        "PATCH /api/v1/namespaces/$UP/status",
        MERGE,
        "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}",
        "PolicyDenied",
    ),
    (Person, "DELETE /api/v1/namespaces/$UP", JSON, "{}", "PolicyDenied"),
    (
        Person,
        "POST /api/v1/namespaces/$UP/pods/gateway/eviction",
        JSON,
        "{\"metadata\":{\"name\":\"gateway\"}}",
        "PolicyDenied",
    ),
    (
        Person,
        "POST /api/v1/namespaces/$UP/bindings",
        JSON,
        "{\"metadata\":{\"name\":\"gateway\"},\"target\":{\"name\":\"n\"}}",
        "PolicyDenied",
    ),
    (
        Person,
        "POST /api/v1/namespaces/$UP/pods/gateway/exec?command=sh",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "GET /api/v1/namespaces/$UP/pods/gateway/portforward?ports=1",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "GET /api/v1/namespaces/$UP/services/gateway/proxy/metrics",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "PATCH /api/v1/namespaces/$UP/pods/gateway/ephemeralcontainers",
        STRATEGIC,
        "{\"spec\":{\"ephemeralContainers\":[{\"name\":\"x\",\"image\":\"x\"}]}}",
        "PolicyDenied",
    ),
    (
        Person,
        "PUT /apis/apps/v1/namespaces/$UP/deployments/gateway/scale",
        JSON,
        "{\"metadata\":{\"name\":\"gateway\"},\"spec\":{\"replicas\":0}}",
        "PolicyDenied",
    ),
    (
        Person,
        "GET /api/v1/namespaces/$UP/secrets?watch=true",
        JSON,
        "",
        "PolicyDenied",
    ),
    (
        Person,
        "GET /api/v1/secrets?watch=true&fieldSelector=metadata.namespace%3D$UP",
        JSON,
        "",
        "PolicyDenied",
    ),
    (Person, "GET /api/v1/nodes/n/proxy/pods", JSON, "", "PolicyDenied"),
    // Rights, once more.
    (
        Agent,
        "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/$IN/rolebindings/x?fieldManager=m",
        APPLY,
        "{\"kind\":\"RoleBinding\",\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"metadata\":{\"name\":\"x\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"view\"},\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":\"coder\",\"namespace\":\"$UP\"}]}",
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /apis/rbac.authorization.k8s.io/v1/namespaces/$IN/rolebindings",
        JSON,
        "{\"metadata\":{\"name\":\"x\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"edit\"},\"subjects\":[{\"kind\":\"Group\",\"apiGroup\":\"rbac.authorization.k8s.io\",\"name\":\"system:serviceaccounts\"}]}",
        "PolicyDenied",
    ),
    (
        Agent,
        "POST /apis/certificates.k8s.io/v1/certificatesigningrequests",
        JSON,
        "{\"metadata\":{\"name\":\"$TAG\"},\"spec\":{\"signerName\":\"kubernetes.io/kube-apiserver-client\",\"request\":\"eA==\",\"usages\":[\"client auth\"]}}",
        "PolicyDenied",
    ),
    (
        Agent,
        "DELETE /api/v1/namespaces/$IN/configmaps",
        JSON,
        "",
        "ApprovalRequired",
    ),
];

const TOKEN_SECRET: &str = "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"shop-token\",\"annotations\":{\"kubernetes.io/service-account.name\":\"coder\"}},\"type\":\"kubernetes.io/service-account-token\"}";

async fn with_bytes(ground: &Ground, faults: &mut Vec<String>) {
    let mut h2 = raw::h2(&ground.world).await;
    for (who, line, media, body, reason) in SHAPES {
        let line = ground.fill(line);
        let (method, path) = line.split_once(' ').unwrap();
        let token = match who {
            Agent => ground.agent_token(),
            Person => ground.person_token(),
        };
        let mut ask = Ask::new(method, path, &token);
        if !body.is_empty() {
            let body = match *media {
                PROTOBUF => protobuf(body),
                _ => ground.fill(body).into_bytes(),
            };
            ask = ask.json(media, body);
        }
        let answer = raw::ask_h2(&mut h2, &ask).await.unwrap();
        if answer.code != 403 || answer.reason() != *reason {
            faults.push(format!("{who:?} {line}: {} {}", answer.code, answer.body));
        }
    }
}

/// As kubectl since 1.32 sends them; field numbers are those of `generated.proto`.
fn protobuf(name: &str) -> Vec<u8> {
    use raw::field;
    let named = |name: &[u8]| field(1, &field(1, name));
    match name {
        "token" => raw::protobuf("authentication.k8s.io/v1", "TokenRequest", &field(2, &field(1, b"api"))),
        "secret" => {
            let note = [field(1, b"kubernetes.io/service-account.name"), field(2, b"coder")].concat();
            let meta = [field(1, b"shop-token"), field(12, &note)].concat();
            let message = [field(1, &meta), field(3, b"kubernetes.io/service-account-token")].concat();
            raw::protobuf("v1", "Secret", &message)
        }
        "pod" => {
            let container = [field(1, b"a"), field(2, b"a")].concat();
            let spec = [field(2, &container), field(8, b"coder")].concat();
            raw::protobuf("v1", "Pod", &[named(b"thief"), field(2, &spec)].concat())
        }
        other => panic!("there is no message `{other}`"),
    }
}

fn write_manifests(ground: &Ground) {
    let dir = &ground.world.dir;
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    write("projected.yaml", PROJECTED.to_owned());
    write("token-secret.yaml", TOKEN_SECRET.to_owned());
    write("templates.yaml", templates());
    write("extensions.yaml", ground.fill(EXTENSIONS));
}

const PROJECTED: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: thief }
spec:
  serviceAccountName: coder
  containers: [{ name: a, image: a, volumeMounts: [{ name: t, mountPath: /t }] }]
  volumes:
  - name: t
    projected: { sources: [{ serviceAccountToken: { path: token, expirationSeconds: 3600, audience: api } }] }
"#;

/// Every kind that makes pods.
fn templates() -> String {
    let spec = "{ serviceAccountName: coder, containers: [{ name: a, image: a }], restartPolicy: RESTART }";
    let template = |restart: &str| {
        format!(
            "{{ metadata: {{ labels: {{ a: b }} }}, spec: {} }}",
            spec.replace("RESTART", restart)
        )
    };
    let always = template("Always");
    let never = template("Never");
    let selected = format!("{{ selector: {{ matchLabels: {{ a: b }} }}, template: {always} }}");
    let mut all = Vec::new();
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
        all.push(format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: thief }}\nspec: {selected}"
        ));
    }
    all.push(format!(
        "apiVersion: v1\nkind: ReplicationController\nmetadata: {{ name: thief }}\nspec: {{ selector: {{ a: b }}, template: {always} }}"
    ));
    all.push(format!(
        "apiVersion: v1\nkind: PodTemplate\nmetadata: {{ name: thief }}\ntemplate: {always}"
    ));
    all.push(format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{ name: thief }}\nspec: {{ template: {never} }}"
    ));
    all.push(format!("apiVersion: batch/v1\nkind: CronJob\nmetadata: {{ name: thief }}\nspec: {{ schedule: '* * * * *', jobTemplate: {{ spec: {{ template: {never} }} }} }}"));
    all.push(format!(
        "apiVersion: apps/v1\nkind: ControllerRevision\nmetadata: {{ name: thief }}\nrevision: 1\ndata: {{ spec: {{ template: {always} }} }}"
    ));
    all.join("\n---\n")
}

/// Each names the gateway's namespace or group.
const EXTENSIONS: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: { name: $TAG-thief }
webhooks:
- name: a.example.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: { service: { namespace: $UP, name: x } }
  rules: [{ apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], operations: ["*"] }]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: $TAG-thief }
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: $UP } }
    resourceRules: [{ apiGroups: ["*"], apiVersions: ["*"], resources: ["*"], operations: ["*"] }]
  validations: [{ expression: "false" }]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: { name: v1alpha1.gate.mantlet.dev }
spec: { group: gate.mantlet.dev, version: v1alpha1, groupPriorityMinimum: 1000, versionPriority: 15, service: { namespace: $OUT, name: x } }
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: sessions.gate.mantlet.dev }
spec:
  group: gate.mantlet.dev
  scope: Cluster
  names: { plural: sessions, singular: session, kind: Session }
  versions: [{ name: v1alpha1, served: true, storage: true, schema: { openAPIV3Schema: { type: object } } }]
"#;
