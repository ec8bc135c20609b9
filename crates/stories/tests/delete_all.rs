//! Everything that destroys many things, in every shape that is known, ends at the same guard: the agent's budget. As many as it allows are gone
//! afterwards, and the next one is alive. No policy is in force here, and RBAC lets the agents do everything: what stops them is the budget alone.

use std::path::PathBuf;
use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_stories::postgres::Postgres;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Bed, Served, Wire, World, kubectl, need_bed, tools};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(60);
/// Distinct objects within an hour, in most of what follows.
const BUDGET: usize = 4;

/// One way to destroy, by an agent of its own, whose budget nobody else uses.
struct Shape {
    name: &'static str,
    /// As the administrator, in the namespace.
    seed: &'static str,
    /// As the agent.
    attack: &'static str,
    /// As the administrator: one line for each thing that is still there.
    alive: &'static str,
    /// How many of them are to be left.
    left: usize,
}

/// `many KIND N` makes N objects whose label `set` is the shape's, which `$SET` stands for; `$NS` is the namespace of the shape alone.
const HELPERS: &str = r#"
many() { for i in $(seq $2); do printf 'apiVersion: %s\nkind: %s\nmetadata: { name: %s-%s, labels: { set: %s } }\n%s\n---\n' "$3" "$1" $SET $i $SET "$4"; done; }
"#;

const SHAPES: &[Shape] = &[
    Shape {
        name: "by-name",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f -",
        attack: "kubectl delete configmap -l set=$SET --wait=false",
        alive: "kubectl get configmap -l set=$SET -o name",
        left: 3,
    },
    Shape {
        name: "all",
        seed: "many PodTemplate 7 v1 'template: { spec: { containers: [{ name: a, image: a }] } }' | kubectl create -f -",
        attack: "kubectl delete podtemplates --all --wait=false",
        alive: "kubectl get podtemplates -o name",
        left: 3,
    },
    Shape {
        name: "many-commands",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f -",
        attack: "for i in 1 2; do kubectl delete configmap $SET-$i; done; kubectl delete configmap -l set=$SET --wait=false; kubectl delete configmap $SET-7",
        alive: "kubectl get configmap -l set=$SET -o name",
        left: 3,
    },
    Shape {
        name: "collection",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f -",
        attack: "kubectl delete --raw \"/api/v1/namespaces/$NS/configmaps?labelSelector=set=$SET\"",
        alive: "kubectl get configmap -l set=$SET -o name",
        left: 7,
    },
    Shape {
        name: "small-collection",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f - && kubectl label configmap $SET-1 $SET-2 $SET-3 half=one",
        attack: "kubectl delete --raw \"/api/v1/namespaces/$NS/configmaps?labelSelector=half=one\"; kubectl delete configmap -l set=$SET --wait=false",
        alive: "kubectl get configmap -l set=$SET -o name",
        left: 3,
    },
    Shape {
        name: "namespace",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f -",
        attack: "kubectl delete namespace $NS --wait=false",
        alive: "kubectl get configmap -l set=$SET -o name; [ -z \"$(kubectl get ns $NS -o jsonpath='{.metadata.deletionTimestamp}')\" ] && echo its namespace",
        left: 8,
    },
    Shape {
        name: "cascade",
        seed: "kubectl create configmap owner && uid=$(kubectl get configmap owner -o jsonpath={.metadata.uid}) && \
               many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f - && \
               for i in $(seq 7); do kubectl patch configmap $SET-$i -p '{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"owner\",\"uid\":\"'$uid'\"}]}}'; done",
        attack: "kubectl delete configmap owner --wait=false; kubectl delete configmap owner --cascade=foreground --wait=false",
        alive: "kubectl get configmap -l set=$SET -o name; kubectl get configmap owner -o name",
        left: 8,
    },
    Shape {
        name: "workload",
        seed: "kubectl create deployment web --image=mantlet.test/none:1 --replicas=5 && \
               until [ $(kubectl get pods -l app=web -o name | wc -l) = 5 ]; do :; done",
        attack: "kubectl delete deployment web --wait=false",
        alive: "kubectl get deployment web -o name; kubectl get pods -l app=web -o name",
        left: 6,
    },
    Shape {
        name: "scale-to-zero",
        seed: "kubectl create deployment web --image=mantlet.test/none:1 --replicas=7",
        attack: "kubectl scale deployment web --replicas=0; kubectl scale deployment web --replicas=3; kubectl scale deployment web --replicas=2; \
                 kubectl patch deployment web -p '{\"spec\":{\"replicas\":0}}'; kubectl patch deployment web --subresource=scale --type json -p '[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":0}]'",
        alive: "seq $(kubectl get deployment web -o jsonpath={.spec.replicas})",
        left: 3,
    },
    Shape {
        name: "prune",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl apply -f -",
        attack: "many ConfigMap 1 v1 'data: { a: b }' > one.yaml; kubectl apply --prune -l set=$SET --prune-allowlist=core/v1/ConfigMap -f one.yaml",
        alive: "kubectl get configmap -l set=$SET -o name",
        left: 3,
    },
    Shape {
        name: "emptied",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f -",
        attack: "many ConfigMap 7 v1 '' | kubectl replace -f -",
        alive: "kubectl get configmap -l set=$SET -o jsonpath='{range .items[?(@.data.a)]}{.metadata.name}{\"\\n\"}{end}'",
        left: 3,
    },
    Shape {
        name: "emptied-by-patches",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f -",
        attack: "kubectl patch configmap $SET-1 --type merge -p '{\"data\":null}'; kubectl patch configmap $SET-2 --type json -p '[{\"op\":\"remove\",\"path\":\"/data\"}]'; \
                 kubectl patch configmap $SET-3 -p '{\"data\":{\"$patch\":\"replace\"}}'; kubectl patch configmap $SET-4 -p '{\"data\":{\"a\":\"\"}}'; \
                 for i in 5 6 7; do kubectl patch configmap $SET-$i --type merge -p '{\"data\":{\"a\":null,\"junk\":\"x\"}}'; done",
        alive: "kubectl get configmap -l set=$SET -o jsonpath='{range .items[?(@.data.a==\"b\")]}{.metadata.name}{\"\\n\"}{end}'",
        left: 3,
    },
    Shape {
        name: "absent-owner",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f -",
        attack: "for i in $(seq 7); do kubectl patch configmap $SET-$i -p '{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"gone\",\"uid\":\"00000000-0000-4000-8000-000000000000\"}]}}'; done",
        alive: "kubectl get configmap -l set=$SET -o name",
        left: 3,
    },
    Shape {
        name: "job-ttl",
        seed: "many Job 7 batch/v1 'spec: { completions: 0, template: { spec: { restartPolicy: Never, containers: [{ name: a, image: mantlet.test/none:1 }] } } }' | kubectl create -f - && \
               kubectl wait --for=condition=Complete --timeout=60s job -l set=$SET",
        attack: "for i in $(seq 7); do kubectl patch job $SET-$i -p '{\"spec\":{\"ttlSecondsAfterFinished\":0}}'; done",
        alive: "kubectl get job -l set=$SET -o name",
        left: 3,
    },
    Shape {
        name: "eviction",
        seed: "many Pod 7 v1 'spec: { schedulerName: nobody, containers: [{ name: a, image: mantlet.test/none:1 }] }' | kubectl create -f -",
        attack: "for i in $(seq 7); do echo '{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":\"'$SET-$i'\",\"namespace\":\"'$NS'\"}}' | \
                 kubectl create --raw /api/v1/namespaces/$NS/pods/$SET-$i/eviction -f -; done",
        alive: "kubectl get pod -l set=$SET -o name",
        left: 3,
    },
    Shape {
        name: "replace-force",
        seed: "many ConfigMap 7 v1 'data: { a: b }' | kubectl create -f - && kubectl get configmap -l set=$SET -o jsonpath='{range .items[*]}{.metadata.uid}{\"\\n\"}{end}' > before-$SET",
        attack: "many ConfigMap 7 v1 'data: { a: c }' > again.yaml; kubectl replace --force -f again.yaml",
        alive: "kubectl get configmap -l set=$SET -o jsonpath='{range .items[*]}{.metadata.uid}{\"\\n\"}{end}' | grep -Fxf before-$SET",
        left: 3,
    },
    // What has no namespace is outside of every agent's scope: it never gets as far as a budget.
    Shape {
        name: "crd",
        seed: "printf 'apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: { name: things.%s.mantlet.test }\nspec: { group: %s.mantlet.test, scope: Namespaced, names: { plural: things, kind: Thing }, versions: [{ name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object } } }] }\n' $NS $NS | kubectl create -f - && \
               kubectl wait --for=condition=Established crd/things.$NS.mantlet.test && \
               until many Thing 7 $NS.mantlet.test/v1 '' | kubectl apply -f -; do :; done",
        attack: "kubectl delete crd things.$NS.mantlet.test --wait=false",
        alive: "kubectl get things.$NS.mantlet.test -l set=$SET -o name",
        left: 7,
    },
    Shape {
        name: "taint-and-drain",
        seed: "printf 'apiVersion: v1\nkind: Node\nmetadata: { name: %s }\n' $NS | kubectl create -f - && \
               many Pod 7 v1 \"spec: { nodeName: $NS, tolerations: [{ key: node.kubernetes.io/unreachable, operator: Exists }, { key: node.kubernetes.io/not-ready, operator: Exists }], terminationGracePeriodSeconds: 0, containers: [{ name: a, image: mantlet.test/none:1 }] }\" | kubectl create -f -",
        attack: "kubectl taint node $NS a=b:NoExecute; kubectl drain $NS --force --timeout=5s; kubectl delete node $NS --wait=false",
        alive: "kubectl get pod -l set=$SET -o jsonpath='{range .items[?(@.spec.nodeName)]}{.metadata.name}{\"\\n\"}{end}'",
        left: 7,
    },
];

/// Agents to whom RBAC grants everything, and the namespaces that they work in. Gone with it.
struct Arena {
    tag: String,
    bed: Bed,
}

impl Arena {
    fn open(bed: &Bed, name: &str) -> Self {
        let tag = format!("{name}-{}", std::process::id());
        let arena = Self { tag, bed: bed.clone() };
        arena
            .bare(&format!(
                "kubectl create namespace {0}-up && \
                 kubectl create clusterrolebinding {0} --clusterrole=cluster-admin --group=system:serviceaccounts:{0}-up",
                arena.tag
            ))
            .ok();
        arena
    }

    fn bare(&self, line: &str) -> kubectl::Said {
        kubectl::bash(&self.bed, &self.bed.kubeconfig, &std::env::temp_dir(), line)
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// An agent for whoever calls himself by its name and a number, in a namespace of its own.
    fn agent(&self, name: &str, limits: &str) -> String {
        format!(
            "apiVersion: mantlet.dev/v1alpha1\nkind: Agent\nmetadata: {{ name: {name} }}\nspec:\n  \
             match: [{{ expression: \"claims.sub.split('.')[0] == '{name}'\" }}]\n  \
             owners: [{{ issuer: PEOPLE, group: team }}]\n  \
             serviceAccount: {{ namespace: {}-up, name: {name} }}\n  \
             scope: {{ clusters: [CLUSTER], namespaces: [{}], secrets: [\"*\"] }}\n  {limits}\n",
            self.tag,
            self.namespace(name)
        )
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.bare(&format!(
            "kubectl delete --wait=false --ignore-not-found clusterrolebinding {0}; \
             for ns in $(kubectl get ns -o name | grep /{0}-); do kubectl delete --wait=false $ns; done; \
             for crd in $(kubectl get crd -o name | grep {0}-); do kubectl delete --wait=false $crd; done; \
             for node in $(kubectl get node -o name | grep /{0}-); do kubectl delete --wait=false $node; done",
            self.tag
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_destroy_many_things_stops_at_the_budget_exactly() {
    let bed = need_bed!();
    let arena = Arena::open(bed, "all");
    let limits = format!("limits: {{ deletes: {{ objects: {BUDGET}, per: 1h }} }}");
    let agents: Vec<_> = SHAPES.iter().map(|shape| arena.agent(shape.name, &limits)).collect();
    let world = World::under(bed, "delete-all", &[("agents.yaml", &agents.join("\n---\n"))]).await;
    let mut faults = Vec::new();
    for shape in SHAPES {
        let namespace = arena.namespace(shape.name);
        let head = format!("export SET={} NS={namespace}; {HELPERS}", shape.name);
        let at_home = format!(
            "kubectl create ns {namespace} >/dev/null && kubectl config set-context --current --namespace={namespace}"
        );
        let admin = format!(
            "cp {} admin-{}; export KUBECONFIG=$PWD/admin-{}",
            bed.kubeconfig.display(),
            shape.name,
            shape.name
        );
        world
            .bare(&format!("{admin}; {at_home} && {{ {head} {}\n}}", shape.seed))
            .await
            .ok();
        let before = world
            .bare(&format!(
                "{admin}; kubectl config set-context --current --namespace={namespace} >/dev/null; {head} {}",
                shape.alive
            ))
            .await;
        let agent = world.kubeconfig(Population::Agents, shape.name, &[], &namespace);
        let said = world.run(&agent, &format!("{head} {}", shape.attack)).await;
        let count = async || {
            let line = format!(
                "{admin}; kubectl config set-context --current --namespace={namespace} >/dev/null; {head} {}",
                shape.alive
            );
            world.bare(&line).await.out.lines().count()
        };
        // The garbage collector and the controllers take their time: what they take, they take by then.
        let reached = tokio::time::timeout(PATIENCE, async {
            while count().await > shape.left {
                tokio::task::yield_now().await;
            }
        });
        let _ = reached.await;
        let left = count().await;
        println!(
            "{}: {} were there, {left} are left",
            shape.name,
            before.out.lines().count()
        );
        if left != shape.left {
            faults.push(format!(
                "{}: {left} are left, not {}\n{}",
                shape.name,
                shape.left,
                said.text()
            ));
        } else if !["needs human approval", "PolicyDenied"]
            .iter()
            .any(|no| said.text().contains(no))
        {
            faults.push(format!("{}: nobody said no\n{}", shape.name, said.text()));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    world.end().await;
}

/// A Go program that asks for every object of a kind, as client-go sends it.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_selector_through_client_go_stops_at_the_budget() {
    let bed = need_bed!();
    let Some(clientgo) = tools::clientgo() else {
        return;
    };
    let arena = Arena::open(bed, "go");
    let limits = format!("limits: {{ deletes: {{ objects: {BUDGET}, per: 1h }} }}");
    let world = World::under(bed, "go-all", &[("agent.yaml", &arena.agent("go", &limits))]).await;
    let namespace = arena.namespace("go");
    let seed = format!(
        "kubectl create ns {namespace} && for i in 1 2 3 4 5; do kubectl create service clusterip s$i --tcp=80 -n {namespace}; done"
    );
    world.bare(&seed).await.ok();
    let agent = world.kubeconfig(Population::Agents, "go", &[], &namespace);
    let delete = format!("{} deletecollection -n {namespace} services", clientgo.display());
    let said = world.run(&agent, &delete).await;
    assert_ne!(said.code, 0, "{}", said.text());
    assert!(said.text().contains("limits.deletes"), "{}", said.text());
    let left = format!("kubectl get services -n {namespace} -o name");
    assert_eq!(world.bare(&left).await.ok().lines().count(), 5);
    // One fewer, and it fits.
    world
        .bare(&format!("kubectl delete service s5 -n {namespace}"))
        .await
        .ok();
    world.run(&agent, &delete).await.ok();
    assert_eq!(world.bare(&left).await.ok().lines().count(), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_happen_costs_nothing_and_a_window_passes() {
    let bed = need_bed!();
    let arena = Arena::open(bed, "free");
    let limits = "limits: { deletes: { objects: 2, per: 10m } }";
    let world = World::under(bed, "free", &[("agent.yaml", &arena.agent("free", limits))]).await;
    let namespace = arena.namespace("free");
    let seed = format!(
        "kubectl create ns {namespace} && for i in 1 2 3 4 5; do kubectl create configmap c$i -n {namespace}; done"
    );
    world.bare(&seed).await.ok();
    let agent = world.kubeconfig(Population::Agents, "free", &[], &namespace);
    let run = async |line: &str| world.run(&agent, line).await;
    // Rehearsals, what is not there, and what the API server refuses.
    for _ in 0..3 {
        run("kubectl delete configmap c1 c2 c3 --dry-run=server").await.ok();
        let nothing = run("kubectl delete configmap none-1 none-2 none-3 none-4").await;
        assert!(nothing.text().contains("NotFound"), "{}", nothing.text());
    }
    run("kubectl delete configmap c1").await.ok();
    run("kubectl delete configmap c2").await.ok();
    let held = run("kubectl delete configmap c3").await;
    assert!(held.text().contains("ApprovalRequired"), "{}", held.text());
    assert!(held.text().contains("budget of agent \"free\""), "{}", held.text());
    assert!(
        !held.text().contains(" 2 ") && !held.text().contains("10m"),
        "no thresholds: {}",
        held.text()
    );
    // All else goes on.
    run("kubectl get configmaps && kubectl create configmap d1 && kubectl label configmap c3 a=b")
        .await
        .ok();
    // Another session of the same agent has no other budget.
    let other = world.kubeconfig(Population::Agents, "free.2", &[], &namespace);
    assert!(
        world
            .run(&other, "kubectl delete configmap c3")
            .await
            .text()
            .contains("ApprovalRequired")
    );
    world.clock.advance(Duration::from_secs(601));
    run("kubectl delete configmap c3").await.ok();
    world.end().await;
}

/// Who names no budget has one, and it is not spent by a day of changes that leave as much as they find.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_names_no_budget_has_one() {
    let bed = need_bed!();
    let arena = Arena::open(bed, "default");
    let world = World::under(bed, "default", &[("agent.yaml", &arena.agent("default", ""))]).await;
    let namespace = arena.namespace("default");
    let seed = format!(
        "kubectl create ns {namespace} && for i in $(seq 12); do kubectl create configmap c$i -n {namespace}; done && \
         kubectl create deployment web --image=mantlet.test/none:1 --replicas=2 -n {namespace}"
    );
    world.bare(&seed).await.ok();
    let agent = world.kubeconfig(Population::Agents, "default", &[], &namespace);
    for n in 0..6 {
        let line = format!(
            "kubectl set env deployment web N={n} && kubectl scale deployment web --replicas=1 && kubectl scale deployment web --replicas=2"
        );
        world.run(&agent, &line).await.ok();
    }
    world.run(&agent, "kubectl rollout restart deployment web").await.ok();
    // The pod that went each time was the second: one of ten.
    let said = world
        .run(&agent, "kubectl delete configmap $(seq -f c%.0f 12) --wait=false")
        .await;
    assert!(said.text().contains("limits.deletes"), "{}", said.text());
    let left = world
        .bare(&format!("kubectl get configmap -n {namespace} -o name | grep -c /c"))
        .await;
    assert_eq!(left.out.trim(), "3");
    world.end().await;
}

/// Two processes, one PostgreSQL, five sessions.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_deletes_at_once_through_two_gateways_destroy_exactly_what_the_budget_allows() {
    const AT_ONCE: usize = 50;
    const ALLOWED: usize = 7;
    let bed = need_bed!();
    let Some(postgres) = Postgres::start("pg-budget").await else {
        return;
    };
    let arena = Arena::open(bed, "fifty");
    let namespace = arena.namespace("fifty");
    let plan = |name: &str, key_file: Option<PathBuf>| {
        let mut plan = Plan::new(bed, name);
        plan.database = Some(postgres.url());
        plan.guardrails = false;
        plan.policies = arena.agent(
            "fifty",
            &format!("limits: {{ deletes: {{ objects: {ALLOWED}, per: 1h }} }}"),
        );
        plan.key_file = key_file;
        plan
    };
    let one = Served::start(plan("pg-budget-one", None)).await;
    let other = Served::start(plan("pg-budget-other", Some(one.stage.dir.join("keyring.key")))).await;
    let seed = format!(
        "kubectl create ns {namespace} && for i in $(seq {AT_ONCE}); do printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {{ name: c-%s, namespace: {namespace}, labels: {{ set: fifty }} }}\\n---\\n' $i; done | kubectl create -f -"
    );
    arena.bare(&seed).ok();
    let mut wires = Vec::new();
    for session in 0..5 {
        for served in [&one, &other] {
            let token = served.token(Population::Agents, &format!("fifty.{session}"));
            wires.push(Wire::dial(served.address, &served.stage.authority, &token).await);
        }
    }
    let wires = std::sync::Arc::new(wires);
    let mut under_way = JoinSet::new();
    for number in 1..=AT_ONCE {
        let (wires, path) = (
            wires.clone(),
            format!("/api/v1/namespaces/{namespace}/configmaps/c-{number}"),
        );
        under_way.spawn(async move {
            let answer = wires[number % wires.len()]
                .call("DELETE", &path, "", "")
                .await
                .expect("an answer");
            (answer.code, answer.text())
        });
    }
    let answers = under_way.join_all().await;
    let gone = answers.iter().filter(|(code, _)| *code == 200).count();
    let held = answers
        .iter()
        .filter(|(code, text)| *code == 403 && text.contains("ApprovalRequired"))
        .count();
    let alive = arena
        .bare(&format!("kubectl get configmap -n {namespace} -l set=fifty -o name"))
        .ok()
        .lines()
        .count();
    println!("50 deletes at once in 5 sessions through 2 gateways: {gone} done, {held} held, {alive} alive");
    assert_eq!(
        (gone, held, alive),
        (ALLOWED, AT_ONCE - ALLOWED, AT_ONCE - ALLOWED),
        "{answers:?}"
    );
    // And it stays so, wherever they come from, until the window has passed.
    let path = format!("/api/v1/namespaces/{namespace}/configmaps?labelSelector=set%3Dfifty");
    let once_more = wires[0].call("DELETE", &path, "", "").await.expect("an answer");
    assert_eq!(once_more.code, 403, "{}", once_more.text());
}
