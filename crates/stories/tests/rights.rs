//! What the gateway may do to a cluster, and what an agent may that was let in by the book: `mantlet agent rbac` and `mantlet agent init`, applied to a
//! real API server, which then is the one that refuses.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_store::Sizes;
use mantlet_stories::kubectl::{self, Said};
use mantlet_stories::served::program;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Bed, Room, Wire, World, eventually, need_bed};
use serde_json::json;

use crate::cut::Stream;
use crate::upstream::{Accounts, Swept, dial, kubeconfig_of, whoami};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_its_work_with_the_rights_that_are_printed_and_has_no_others() {
    let bed = need_bed!();
    let accounts = Accounts::open(bed, "rights", &["gateway", "shown", "badge", "other"]);
    let room = Room::open(bed, "rights", &accounts.user("shown"));
    let ns = &accounts.namespace;
    room.bare(&format!(
        "kubectl -n {0} create rolebinding more --clusterrole=edit --user={1} --group=rights-team",
        room.namespace,
        accounts.user("badge")
    ))
    .ok();
    let mut plan = Plan::new(bed, "rights");
    plan.policies = format!(
        "{}---\n{}",
        accounts.agent("shown", "impersonation", &room),
        accounts.agent("badge", "token", &room)
    );
    let gateway = kubeconfig_of(bed, &accounts, "gateway");
    plan.kubeconfig = Some(gateway.clone());
    plan.observer = false;
    let mut world = World::start_as(&plan, Sizes::default()).await;

    let name = format!("story-{ns}");
    let _swept = Swept(&accounts, name.clone());
    let printed = mantlet(&[
        "agent",
        "rbac",
        "--config",
        &world.stage.config.display().to_string(),
        "--name",
        &name,
        "--service-account",
        &format!("{ns}/gateway"),
        "--person",
        "rights-ana",
        "--group",
        "rights-team",
    ])
    .ok();
    let file = world.dir.join("rbac.yaml");
    std::fs::write(&file, &printed).expect("written");
    accounts.bare(&format!(
        "kubectl apply --dry-run=server -f {0} && kubectl apply -f {0}",
        file.display()
    ));
    world.stage.show_keys();
    eventually("the cluster says who it is", PATIENCE, async || {
        world.gateway.clusters[0].identify().await.ok().map(|_| ())
    })
    .await;

    let path = room.path("configmaps");
    for agent in ["shown", "badge"] {
        let wire = dial(&world, agent).await;
        assert_eq!(whoami(&wire).await["username"], accounts.user(agent));
        work(&wire, &path, agent).await;
    }
    let person = world.token(Population::People, "rights-ana", &["rights-team"]);
    let person = Wire::dial(world.address, &world.authority, &person).await;
    work(&person, &path, "ana").await;
    let stranger = world.token(Population::People, "rights-ben", &["rights-team"]);
    let stranger = Wire::dial(world.address, &world.authority, &stranger).await;
    let refused = stranger.get(&path).await.expect("an answer");
    assert_eq!(refused.code, 403);
    assert!(refused.text().contains("cannot impersonate"), "{}", refused.text());

    can_do_nothing_else(bed, &gateway, &accounts, &room);
    world.end().await;
}

/// Reads, writes and watches.
async fn work(wire: &Wire, path: &str, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let made = wire.post(path, &object.to_string()).await.expect("an answer");
    assert_eq!(made.code, 201, "{name}: {}", made.text());
    let mut watch = Stream::open(wire, &format!("{path}?watch=true")).await;
    watch.begun().await;
    watch.leave();
}

/// With the gateway's own credential, past the gateway: everything is tried at the API server itself.
fn can_do_nothing_else(bed: &Bed, gateway: &Path, accounts: &Accounts, room: &Room) {
    let ns = &accounts.namespace;
    let run = |line: &str| -> Said { kubectl::bash(bed, gateway, Path::new("/tmp"), line) };
    let room = &room.namespace;
    for line in [
        format!("kubectl get configmaps -n {room} --as=system:serviceaccount:{ns}:shown"),
        format!("kubectl create token badge -n {ns}"),
        "kubectl get namespace kube-system".to_owned(),
        "kubectl get configmaps --as=rights-ana --as-group=rights-team -n ".to_owned() + room,
    ] {
        assert_eq!(run(&line).code, 0, "what it is for: {line}");
    }
    for line in [
        format!("kubectl get secrets -n {room}"),
        format!("kubectl get configmaps -n {room}"),
        format!("kubectl get serviceaccounts -n {ns}"),
        "kubectl get namespaces".to_owned(),
        "kubectl get namespace default".to_owned(),
        format!("kubectl create token shown -n {ns}"),
        format!("kubectl create token other -n {ns}"),
        format!("kubectl create token gateway -n {ns}"),
        format!("kubectl get configmaps -n {room} --as=system:serviceaccount:{ns}:other"),
        // By its token alone.
        format!("kubectl get configmaps -n {room} --as=system:serviceaccount:{ns}:badge"),
        format!("kubectl get configmaps -n {room} --as=system:serviceaccount:kube-system:default"),
        format!("kubectl get configmaps -n {room} --as=rights-ana --as-group=system:masters"),
        format!("kubectl get configmaps -n {room} --as=system:admin"),
        format!("kubectl get configmaps -n {room} --as=system:kube-controller-manager"),
        format!("kubectl get configmaps -n {room} --as=rights-ana --as-uid=1"),
        format!("kubectl get configmaps -n {room} --as=rights-ana --as-user-extra=example.com/x=1"),
        format!("kubectl create clusterrolebinding {ns}-root --clusterrole=cluster-admin --user=rights-ana"),
        format!("kubectl run it -n {ns} --image=x"),
    ] {
        let said = run(&line);
        assert!(
            said.code != 0 && said.err.contains("orbidden"),
            "{line}: {}",
            said.text()
        );
    }
    let list = |namespace: &str| -> BTreeSet<String> {
        let all = run(&format!("kubectl auth can-i --list --no-headers -n {namespace}")).ok();
        let rows = all
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        // What every authenticated client may: system:basic-user, system:discovery, and a ServiceAccount the keys of its issuer.
        rows.filter(|row| !row.starts_with('[') && !row.contains("selfsubject"))
            .collect()
    };
    let of_the_cluster = list(room);
    let wanted = [
        "namespaces [] [kube-system] [get]",
        "userextras.authentication.k8s.io/mantlet.dev/session [] [] [impersonate]",
    ];
    for row in wanted {
        assert!(of_the_cluster.contains(row), "{row}: {of_the_cluster:#?}");
    }
    for row in of_the_cluster.iter().filter(|row| !wanted.contains(&row.as_str())) {
        let named = row.ends_with("[impersonate]") && !row.contains("[] [] ");
        assert!(
            named && (row.starts_with("users ") || row.starts_with("groups ")),
            "{row}"
        );
        assert!(!row.contains("system:"), "{row}");
    }
    let there: BTreeSet<_> = list(ns).difference(&of_the_cluster).cloned().collect();
    assert_eq!(
        there,
        BTreeSet::from([
            "serviceaccounts [] [shown] [impersonate]".to_owned(),
            "serviceaccounts/token [] [badge] [create]".to_owned(),
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_let_in_by_the_book_does_its_work_and_nothing_else() {
    let bed = need_bed!();
    for (template, via) in [("deployer", "token"), ("readonly", "impersonation")] {
        let tag = format!("init-{template}");
        let accounts = Accounts::open(bed, &tag, &[]);
        let room = Room::open(bed, &tag, "nobody");
        let world = World::start(bed, &tag, "").await;
        let out = world.dir.join("onboarding");
        let token_file = world.dir.join("token");
        std::fs::write(&token_file, world.token(Population::Agents, "newcomer", &[])).expect("a token");
        let said = mantlet(&[
            "agent",
            "init",
            "newcomer",
            "--namespace",
            &room.namespace,
            "--cluster",
            "bed",
            "--template",
            template,
            "--via",
            via,
            "--accounts",
            &accounts.namespace,
            "--secret",
            "shop-*",
            "--server",
            &format!("https://{}", world.address),
            "--certificate-authority",
            &world.authority.display().to_string(),
            "--token-file",
            &token_file.display().to_string(),
            "--out",
            &out.display().to_string(),
        ])
        .ok();
        assert!(said.contains("kubectl apply -f"), "{said}");
        let dir = out.display();
        // As it says, by an administrator.
        accounts.bare(&format!(
            "cd {dir} && kubectl apply --dry-run=server -f cluster.yaml -f network-policy.yaml && kubectl apply -f cluster.yaml -f network-policy.yaml"
        ));
        std::fs::copy(out.join("agent.yaml"), world.dir.join("policies/newcomer.yaml")).expect("copied");
        let kubeconfig = out.join("kubeconfig.yaml");
        eventually("the agent is known", PATIENCE, async || {
            (world.run(&kubeconfig, "kubectl get pods").await.code == 0).then_some(())
        })
        .await;
        let (works, not) = match template {
            "deployer" => (DEPLOYS, DEPLOYS_NOT),
            _ => (LOOKS, LOOKS_NOT),
        };
        for line in works.lines().chain(LOOKS.lines()) {
            let said = world.run(&kubeconfig, line).await;
            assert_eq!(said.code, 0, "{template}: {line}: {}", said.text());
        }
        for line in not.lines().chain(NEVER.lines()) {
            let line = line.replace("ACCOUNTS", &accounts.namespace);
            let said = world.run(&kubeconfig, &line).await;
            assert_ne!(said.code, 0, "{template}: {line}: {}", said.text());
            let refused = ["orbidden", "PolicyDenied", "NOT changed. "];
            assert!(
                refused.iter().any(|word| said.err.contains(word)),
                "{template}: {line}: {}",
                said.text()
            );
        }
        let there = room.bare(&format!(
            "kubectl -n {} get secrets,quota,networkpolicies,rolebindings -o name",
            room.namespace
        ));
        let there = there.ok();
        assert!(
            there.contains("networkpolicy.networking.k8s.io/mantlet-egress"),
            "{there}"
        );
        for never in [
            "secret/other",
            "resourcequota/none",
            "rolebinding.rbac.authorization.k8s.io/me",
        ] {
            assert!(!there.contains(never), "{template}: {there}");
        }
        world.end().await;
    }
}

const LOOKS: &str = "kubectl get all
kubectl get configmaps,ingresses,networkpolicies,events,endpointslices
kubectl get namespace $(kubectl config view --minify -o jsonpath='{..namespace}')
kubectl describe configmap kube-root-ca.crt
kubectl auth whoami";

const DEPLOYS: &str = "kubectl create deployment web --image=mantlet.test/busybox:1 --replicas=0
kubectl create configmap settings --from-literal=color=green
kubectl create secret generic shop-db --from-literal=password=Zx-12-violin-otter
kubectl get secret shop-db -o yaml
kubectl scale deployment web --replicas=1
kubectl set env deployment/web --from=configmap/settings
kubectl rollout restart deployment web
kubectl expose deployment web --port=80
kubectl apply --server-side -f - <<<'{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"settings\"},\"data\":{\"size\":\"big\"}}'
kubectl create job once --image=mantlet.test/busybox:1 -- true
kubectl delete configmap settings";

const DEPLOYS_NOT: &str = "kubectl create secret generic other --from-literal=a=b
kubectl delete networkpolicy mantlet-egress
kubectl create quota none --hard=pods=1
kubectl delete --raw /api/v1/namespaces/$(kubectl config view --minify -o jsonpath='{..namespace}')/configmaps";

const LOOKS_NOT: &str = "kubectl create configmap settings --from-literal=color=green
kubectl get secrets
kubectl label configmap kube-root-ca.crt a=b
kubectl delete configmap kube-root-ca.crt";

const NEVER: &str = "kubectl get pods -n kube-system
kubectl get pods --all-namespaces
kubectl get nodes
kubectl create rolebinding me --clusterrole=edit --serviceaccount=ACCOUNTS:newcomer
kubectl create token default
kubectl create token newcomer -n ACCOUNTS
kubectl get secrets -n ACCOUNTS
kubectl create --raw \"/api/v1/namespaces/$(kubectl config view --minify -o jsonpath='{..namespace}')/pods/some-pod/exec?command=true&stdout=true\" -f - <<<''
kubectl create namespace mine";

/// The program itself.
fn mantlet(words: &[&str]) -> Said {
    let output = Command::new(program()).args(words).output().expect("it runs");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
