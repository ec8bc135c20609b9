//! What each command asks, as the lines that a server's log would have.

use super::*;

fn asked_by(line: &str) -> Result<Vec<Asked>, String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let read = |file: &str| match file {
        "web.yaml" => Ok(String::from(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web }\n---\napiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop }\n",
        )),
        "list.yaml" => Ok(String::from(
            "apiVersion: v1\nkind: List\nitems: [{ apiVersion: v1, kind: Namespace, metadata: { name: a } }]\n",
        )),
        _ => Err(format!("there is no `{file}`")),
    };
    requests(
        &words,
        Place {
            namespace: "default",
            read: &read,
        },
    )
}

fn lines(line: &str) -> Vec<String> {
    let asked = asked_by(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    asked.iter().map(|a| format!("{} {}", a.method, a.uri)).collect()
}

#[test]
fn each_command_becomes_the_requests_that_kubectl_sends() {
    let at = "/api/v1/namespaces/test";
    let table: [(&str, &[&str]); 29] = [
        ("kubectl get pods -n test", &["GET @/pods"]),
        (
            "kubectl get po web-1 web-2 -n test -o yaml",
            &["GET @/pods/web-1", "GET @/pods/web-2"],
        ),
        (
            "kubectl get pods -A -l app=web",
            &["GET /api/v1/pods?labelSelector=app%3Dweb"],
        ),
        ("kubectl get cm,svc -n test", &["GET @/configmaps", "GET @/services"]),
        ("kubectl get nodes -n test", &["GET /api/v1/nodes"]),
        ("kubectl get pods -w -n test", &["GET @/pods", "GET @/pods?watch=true"]),
        ("kubectl get --raw /api/v1/nodes", &["GET /api/v1/nodes"]),
        (
            "kubectl describe deploy/web -n test",
            &["GET /apis/apps/v1/namespaces/test/deployments/web", "GET @/events"],
        ),
        ("kubectl delete pod web-1 -n test", &["DELETE @/pods/web-1"]),
        (
            "kubectl delete pods --all -n test",
            &["GET @/pods", "DELETE @/pods/each-of-them"],
        ),
        ("kubectl delete ns test", &["DELETE /api/v1/namespaces/test"]),
        (
            "kubectl create ns test",
            &["POST /api/v1/namespaces?fieldManager=kubectl-create"],
        ),
        (
            "kubectl create -f list.yaml",
            &["POST /api/v1/namespaces?fieldManager=kubectl-create"],
        ),
        (
            "kubectl create token web -n test",
            &["POST @/serviceaccounts/web/token"],
        ),
        (
            "kubectl apply -f web.yaml --server-side -n test",
            &[
                "PATCH /apis/apps/v1/namespaces/test/deployments/web?fieldManager=kubectl",
                "PATCH /api/v1/namespaces/shop/services/web?fieldManager=kubectl",
            ],
        ),
        (
            "kubectl delete -f web.yaml",
            &[
                "DELETE /apis/apps/v1/namespaces/default/deployments/web",
                "DELETE /api/v1/namespaces/shop/services/web",
            ],
        ),
        (
            "kubectl patch deploy web -p {} --type=merge -n test --dry-run=server",
            &["PATCH /apis/apps/v1/namespaces/test/deployments/web?dryRun=All"],
        ),
        (
            "kubectl scale deployment/web --replicas=0 -n test",
            &["PATCH /apis/apps/v1/namespaces/test/deployments/web/scale"],
        ),
        ("kubectl label pod web-1 a=b c- -n test", &["PATCH @/pods/web-1"]),
        (
            "kubectl rollout restart deployment/web -n test",
            &[
                "GET /apis/apps/v1/namespaces/test/deployments/web",
                "PATCH /apis/apps/v1/namespaces/test/deployments/web",
            ],
        ),
        (
            "kubectl set image deploy/web app=web:2 -n test",
            &[
                "GET /apis/apps/v1/namespaces/test/deployments/web",
                "PATCH /apis/apps/v1/namespaces/test/deployments/web",
            ],
        ),
        (
            "kubectl exec -it web-1 -n test -- sh -c ls",
            &[
                "GET @/pods/web-1",
                "GET @/pods/web-1/exec?command=sh&command=-c&command=ls&stdin=true&tty=true&stdout=true&stderr=true",
            ],
        ),
        (
            "kubectl logs -f web-1 -n test",
            &["GET @/pods/web-1", "GET @/pods/web-1/log?follow=true"],
        ),
        (
            "kubectl port-forward pod/web-1 8080:80 -n test",
            &["GET @/pods/web-1", "GET @/pods/web-1/portforward"],
        ),
        (
            "kubectl cp web-1:/etc/passwd passwd -n test",
            &["GET @/pods/web-1/exec?command=tar&command=cf&command=-&command=%2Fetc%2Fpasswd&stdout=true&stderr=true"],
        ),
        (
            "kubectl drain node-1 -n test",
            &[
                "GET /api/v1/nodes/node-1",
                "PATCH /api/v1/nodes/node-1",
                "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1",
                "POST @/pods/each-of-them/eviction",
            ],
        ),
        (
            "kubectl auth can-i create pods -n test",
            &["POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"],
        ),
        (
            "kubectl create rolebinding b --clusterrole=admin --serviceaccount=test:web -n test",
            &["POST /apis/rbac.authorization.k8s.io/v1/namespaces/test/rolebindings?fieldManager=kubectl-create"],
        ),
        (
            "kubectl get widgets.v1.example.com -n test",
            &["GET /apis/example.com/v1/namespaces/test/widgets"],
        ),
    ];
    for (command, expected) in table {
        let expected: Vec<String> = expected.iter().map(|line| line.replace("@", at)).collect();
        assert_eq!(lines(command), expected, "{command}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (command, word) in [
        ("kubectl frobnicate", "`kubectl frobnicate`"),
        ("kubectl get widgets", "`widgets`"),
        ("kubectl logs deployment/web", "`deployment/web`"),
        ("kubectl rollout undo deployment/web", "`rollout undo`"),
        ("kubectl apply -k .", "`-k`"),
        ("kubectl apply -f web.yaml --prune", "`--prune`"),
        ("kubectl get pods --as=admin", "`--as`"),
        ("kubectl delete pods", "`delete pods`"),
        ("kubectl edit deploy web", "editor"),
        ("kubectl config view", "asks nothing"),
        ("kubectl apply -f nowhere.yaml", "`nowhere.yaml`"),
    ] {
        let why = asked_by(command).expect_err(command);
        assert!(why.contains(word), "{command}: {why}");
    }
}

#[test]
fn what_is_sent_says_what_was_typed() {
    let body = |line: &str| asked_by(line).unwrap().pop().unwrap().body.unwrap();
    assert_eq!(
        body("kubectl delete pod a --grace-period=0 --cascade=orphan"),
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan", "gracePeriodSeconds": 0})
    );
    assert_eq!(
        body("kubectl label pod a x=1 y-"),
        json!({"metadata": {"labels": {"x": "1", "y": null}}})
    );
    assert_eq!(
        body("kubectl scale deploy a --replicas=3"),
        json!({"spec": {"replicas": 3}})
    );
    let attributes = &body("kubectl auth can-i delete deploy/web -n test")["spec"]["resourceAttributes"];
    assert_eq!(
        *attributes,
        json!({"verb": "delete", "group": "apps", "resource": "deployments", "subresource": "", "namespace": "test", "name": "web"})
    );
    let role = body("kubectl create role r --verb=get,list --resource=pods,deployments.apps/scale");
    assert_eq!(role["rules"][1]["resources"], json!(["deployments/scale"]));
    assert!(asked_by("kubectl delete pod a --dry-run=client").unwrap().is_empty());
}
