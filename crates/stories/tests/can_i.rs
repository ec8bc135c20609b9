//! What `kubectl auth can-i` says, and what then happens: forty questions, each tried for real.
//!
//! RBAC lets the agent and the person do everything, so each *no* is the gateway's own; a *yes* is carried out, or held with the reason that was said.

use std::path::Path;

use mantlet_core::identity::Population;
use mantlet_stories::kubectl::Said;
use mantlet_stories::need_bed;

use crate::ground::Ground;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Its scope is one namespace.
    Agent,
    Person,
    /// A person to whom nothing is granted.
    Nobody,
}
use Who::{Agent, Nobody, Person};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// *yes*, and it is carried out.
    Happens,
    /// *yes*, with the reason that it may need approval, and it is held.
    Waits,
    /// *no*, and it is refused.
    Never,
    /// *no*, and it is held: what a human could let through, this gateway could not carry.
    Unserved,
}
use Then::{Happens, Never, Unserved, Waits};

/// Who asks, what of `kubectl auth can-i`, what happens, and how it is tried.
const QUESTIONS: &[(Who, &str, Then, &str)] = &[
    (Agent, "get pods", Happens, "kubectl get pod web"),
    (Agent, "list pods", Happens, "kubectl get pods"),
    (Agent, "list pods -A", Never, "kubectl get pods -A"),
    (Agent, "get pods -n $OUT", Never, "kubectl get pods -n $OUT"),
    (
        Agent,
        "get pods --subresource=log",
        Happens,
        "kubectl logs web 2>&1 | grep -v PolicyDenied",
    ),
    (Agent, "create pods", Happens, "kubectl run other --image=a"),
    (
        Agent,
        "create deployments.apps",
        Happens,
        "kubectl create deployment x --image=a --replicas=0",
    ),
    (
        Agent,
        "patch deployments.apps --subresource=scale",
        Happens,
        "kubectl scale deployment web --replicas=0",
    ),
    (
        Agent,
        "patch deployments.apps/web",
        Happens,
        "kubectl annotate deployment web a=b",
    ),
    (
        Agent,
        "create configmaps",
        Happens,
        "kubectl create configmap fresh --from-literal=a=b",
    ),
    (
        Agent,
        "delete configmaps/fresh",
        Happens,
        "kubectl delete configmap fresh",
    ),
    (Agent, "get secrets", Happens, "kubectl get secret shop-db"),
    (
        Agent,
        "create secrets",
        Waits,
        "kubectl create secret generic other --from-literal=a=b",
    ),
    (
        Agent,
        "patch secrets/shop-db",
        Happens,
        "kubectl label secret shop-db a=b",
    ),
    (
        Agent,
        "deletecollection secrets",
        Never,
        "kubectl delete --raw /api/v1/namespaces/$IN/secrets",
    ),
    (
        Agent,
        "deletecollection pods",
        Waits,
        "kubectl delete --raw /api/v1/namespaces/$IN/pods",
    ),
    (
        Agent,
        "create rolebindings.rbac.authorization.k8s.io",
        Waits,
        "kubectl create rolebinding b --clusterrole=view --serviceaccount=$IN:default",
    ),
    (
        Agent,
        "create roles.rbac.authorization.k8s.io",
        Waits,
        "kubectl create role r --verb=get --resource=pods",
    ),
    (
        Agent,
        "create clusterrolebindings.rbac.authorization.k8s.io",
        Never,
        "kubectl create clusterrolebinding $TAG-b --clusterrole=view --user=ada",
    ),
    (
        Agent,
        "create serviceaccounts --subresource=token",
        Never,
        "kubectl create token default",
    ),
    (Agent, "create pods --subresource=exec", Never, "kubectl exec web -- ls"),
    (Agent, "get pods --subresource=exec", Never, "kubectl exec web -- ls"),
    (Agent, "create pods --subresource=attach", Never, "kubectl attach web"),
    (
        Agent,
        "create pods --subresource=portforward",
        Unserved,
        "kubectl get --raw /api/v1/namespaces/$IN/pods/web/portforward",
    ),
    (
        Agent,
        "get services --subresource=proxy",
        Never,
        "kubectl get --raw /api/v1/namespaces/$IN/services/web/proxy/",
    ),
    (Agent, "get nodes", Never, "kubectl get nodes"),
    (Agent, "list namespaces", Never, "kubectl get namespaces"),
    (Agent, "get namespaces/$IN", Happens, "kubectl get namespace $IN"),
    (Agent, "get namespaces/$OUT", Never, "kubectl get namespace $OUT"),
    (Agent, "delete namespaces/$IN", Waits, "kubectl delete namespace $IN"),
    (
        Agent,
        "create validatingwebhookconfigurations",
        Never,
        "kubectl create --validate=false -f - <<<'{\"apiVersion\":\"admissionregistration.k8s.io/v1\",\"kind\":\"ValidatingWebhookConfiguration\",\"metadata\":{\"name\":\"$TAG\"}}'",
    ),
    (
        Agent,
        "create certificatesigningrequests",
        Never,
        "kubectl create --validate=false -f - <<<'{\"apiVersion\":\"certificates.k8s.io/v1\",\"kind\":\"CertificateSigningRequest\",\"metadata\":{\"name\":\"$TAG\"},\"spec\":{}}'",
    ),
    (Agent, "impersonate users", Never, "kubectl get pods --as=ada"),
    (Agent, "get sessions.gate.mantlet.dev", Happens, "kubectl get sessions"),
    (Agent, "get /healthz", Happens, "kubectl get --raw /healthz"),
    (Agent, "get /metrics", Never, "kubectl get --raw /metrics"),
    (Agent, "'*' '*' -n $OUT", Never, "kubectl delete configmap shop -n $OUT"),
    (Person, "get nodes", Happens, "kubectl get nodes"),
    (Person, "get pods -A", Happens, "kubectl get pods -A"),
    (
        Person,
        "create clusterroles.rbac.authorization.k8s.io",
        Happens,
        "kubectl create clusterrole $TAG-r --verb=get --resource=pods --dry-run=server",
    ),
    (
        Person,
        "create pods -n $UP",
        Never,
        "kubectl run thief -n $UP --image=a",
    ),
    (Person, "get secrets -n $UP", Never, "kubectl get secrets -n $UP"),
    (Person, "list secrets -A", Never, "kubectl get secrets -A"),
    (Person, "get secrets -n $OUT", Happens, "kubectl get secrets -n $OUT"),
    (
        Person,
        "create pods --subresource=exec",
        Never,
        "kubectl exec web -- ls",
    ),
    (
        Person,
        "get nodes --subresource=proxy",
        Never,
        "kubectl get --raw /api/v1/nodes/x/proxy/",
    ),
    (Person, "impersonate users", Never, "kubectl get pods --as=ada"),
    (Nobody, "get pods", Never, "kubectl get pods"),
    (
        Nobody,
        "create configmaps -n $OUT",
        Never,
        "kubectl create configmap c --from-literal=a=b -n $OUT",
    ),
    (Nobody, "get sessions.gate.mantlet.dev", Happens, "kubectl get sessions"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_can_i_is_what_then_happens() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "can-i", "").await;
    let nobody = format!("{}-nobody", ground.tag);
    let kubeconfigs = [
        (Agent, ground.agent_kubeconfig()),
        (Person, ground.person_kubeconfig()),
        (
            Nobody,
            ground
                .world
                .kubeconfig(Population::People, &nobody, &[], &ground.inside),
        ),
    ];
    let mut faults = Vec::new();
    for (who, question, then, attempt) in QUESTIONS {
        let (_, kubeconfig) = kubeconfigs.iter().find(|(known, _)| known == who).unwrap();
        let run = |line: String| run(&ground, kubeconfig, line);
        let said = run(format!("kubectl auth can-i {question} -v=8")).await;
        let yes = said.out.trim() == "yes";
        let reason = said.err.contains("may need approval");
        let tried = run((*attempt).to_owned()).await;
        let happened = happened(&tried);
        let agrees = match then {
            Happens => yes && happened == Happens,
            Waits => yes && reason && happened == Waits,
            Never => !yes && happened == Never,
            Unserved => !yes && happened == Waits,
        };
        if !agrees {
            faults.push(format!(
                "{who:?}: {question}: wanted {then:?}, said {} (reason {reason}), and then {happened:?}: {}",
                said.out.trim(),
                tried.text()
            ));
        }
    }
    assert!(QUESTIONS.len() >= 40);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    ground.world.end().await;
}

/// A second agent, to whom RBAC grants these few things.
const READER: &str = r#"
apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: { name: reader }
spec:
  match: [{ expression: "claims.sub == 'reader'" }]
  owners: [{ issuer: PEOPLE, group: team }]
  serviceAccount: { namespace: UPSTREAM, name: reader }
  scope: { clusters: [CLUSTER], namespaces: [INSIDE], secrets: ["shop-*"] }
"#;

const RIGHTS: &str = "kubectl create serviceaccount reader -n $UP && \
    kubectl create role reader -n $IN --verb=get,list --resource=pods,pods/log,configmaps && \
    kubectl create role entering -n $IN --verb=create,get --resource=pods/exec,pods/portforward,serviceaccounts/token && \
    kubectl create role binding -n $IN --verb=create,deletecollection --resource=rolebindings.rbac.authorization.k8s.io,secrets && \
    for role in reader entering binding; do kubectl create rolebinding $role -n $IN --role=$role --serviceaccount=$UP:reader; done";

/// What RBAC grants the reader, whether the list still has it, and how it is tried.
const LISTED: &[(&str, &str, bool, &str)] = &[
    ("pods", "list", true, "kubectl get pods"),
    ("configmaps", "get", true, "kubectl get configmap shop"),
    (
        "rolebindings.rbac.authorization.k8s.io",
        "create",
        true,
        "kubectl create rolebinding b --clusterrole=view --serviceaccount=$IN:default",
    ),
    (
        "secrets",
        "create",
        true,
        "kubectl create secret generic other --from-literal=a=b",
    ),
    (
        "secrets",
        "deletecollection",
        false,
        "kubectl delete --raw /api/v1/namespaces/$IN/secrets",
    ),
    ("pods/exec", "create", false, "kubectl exec web -- ls"),
    (
        "pods/portforward",
        "create",
        false,
        "kubectl get --raw /api/v1/namespaces/$IN/pods/web/portforward",
    ),
    ("serviceaccounts/token", "create", false, "kubectl create token default"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_what_one_may_do_leaves_out_what_never_happens() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "can-list", READER).await;
    ground.world.bare(&ground.fill(RIGHTS)).await.ok();
    let reader = ground
        .world
        .kubeconfig(Population::Agents, "reader", &[], &ground.inside);
    let bare = ground.fill("kubectl auth can-i --list -n $IN --as=system:serviceaccount:$UP:reader");
    let bare = ground.world.bare(&bare).await.ok();
    let list = run(&ground, &reader, "kubectl auth can-i --list".into()).await;
    assert!(list.err.contains("the list may be incomplete"), "{}", list.text());
    let has = |list: &str, resource: &str, verb: &str| {
        let row =
            |line: &str| line.split_whitespace().next() == Some(resource) && verbs(line).contains(&verb.to_owned());
        list.lines().any(row)
    };
    for (resource, verb, listed, attempt) in LISTED {
        assert!(has(&bare, resource, verb), "RBAC grants {verb} {resource}:\n{bare}");
        assert_eq!(
            has(&list.out, resource, verb),
            *listed,
            "{verb} {resource}:\n{}",
            list.out
        );
        let happened = happened(&run(&ground, &reader, (*attempt).to_owned()).await);
        let possible = happened == Happens || (happened == Waits && !resource.ends_with("/portforward"));
        assert_eq!(possible, *listed, "{attempt}: {happened:?}");
    }
    ground.world.end().await;
}

/// The last column of a row of `--list`.
fn verbs(line: &str) -> Vec<String> {
    let column = line
        .rsplit('[')
        .next()
        .unwrap_or_default()
        .trim_end()
        .trim_end_matches(']');
    column.split_whitespace().map(str::to_owned).collect()
}

async fn run(ground: &Ground, kubeconfig: &Path, line: String) -> Said {
    ground.world.run(kubeconfig, &ground.fill(&line)).await
}

fn happened(tried: &Said) -> Then {
    let text = tried.text();
    let refused = [
        "(PolicyDenied)",
        "NOT changed. Policy",
        "orbidden",
        "not possible through this gateway",
        "mpersonat",
        "does not serve",
    ];
    if text.contains("needs human approval") {
        Waits
    } else if tried.code != 0 && refused.iter().any(|word| text.contains(word)) {
        Never
    } else {
        Happens
    }
}
