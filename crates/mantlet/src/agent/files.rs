//! What `mantlet agent init` writes: each file a text, made of what was asked and nothing else.

use std::net::IpAddr;

use mantlet_api::policy::{Owner, ServiceAccountRef};
use mantlet_cli::{InitArgs, InitVia, Template};

use super::manifest::{Place, Rule, Subject, comment, list, role, text};

/// What was asked, with everything that was left open settled.
pub(super) struct Plan<'a> {
    pub(super) args: &'a InitArgs,
    pub(super) cluster: &'a str,
    pub(super) server: Server,
    /// PEM of the gateway's authority, in base64; none: the machine's own.
    pub(super) authority: Option<String>,
}

/// Where the gateway is.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
}

pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) text: String,
}

pub(super) fn files(plan: &Plan<'_>) -> Vec<File> {
    let file = |name, text| File { name, text };
    vec![
        file("cluster.yaml", cluster(plan)),
        file("network-policy.yaml", network_policies(plan)),
        file("agent.yaml", agent(plan)),
        file("kubeconfig.yaml", kubeconfig(plan)),
        file("AGENTS.md", instructions(plan)),
    ]
}

/// The account outside, and what it may do inside.
fn cluster(plan: &Plan<'_>) -> String {
    let (name, accounts) = (&plan.args.name, &plan.args.accounts);
    let account = Place {
        name,
        namespace: Some(accounts),
    };
    let mut all = format!(
        "{}apiVersion: v1\nkind: ServiceAccount\nmetadata: {}\nautomountServiceAccountToken: false\n",
        comment(ACCOUNT),
        account.metadata()
    );
    let subject = Subject::ServiceAccount(ServiceAccountRef {
        namespace: accounts.clone(),
        name: name.clone(),
    });
    let (why, mut rules) = match plan.args.template {
        Template::Deployer => (DEPLOYER, deployer()),
        Template::Readonly => (READONLY, readonly()),
    };
    if plan.args.exec {
        rules.push(Rule::of(EXEC, "", &["pods/exec"], &["get", "create"]));
    }
    for namespace in &plan.args.namespace {
        let place = Place {
            name,
            namespace: Some(namespace),
        };
        all.push_str("---\n");
        all.push_str(&role(place, why, &rules, "", &subject));
    }
    all
}

const ACCOUNT: &str =
    "What the agent is to the cluster. Only the gateway acts as it: no pod runs as it, and nobody makes a token of it.";
const READONLY: &str = "It looks, at everything but Secrets.";
const DEPLOYER: &str = "It applies, rolls out, looks and cleans up what an application is made of.\nLeft out on purpose: RBAC, tokens, exec, port-forward, network policies (one of them keeps its pods from going around the gateway),\ndaemon sets, quotas, and deletecollection: whatever is deleted is deleted by name.";
const SECRETS: &str =
    "Values come masked. Which ones it may write and use the gateway says (`scope.secrets`); RBAC knows no patterns.";
const EXEC: &str = "A client on WebSocket asks with get, and since Kubernetes 1.35 create is asked for too.";

const LOOK: [&str; 3] = ["get", "list", "watch"];
const CHANGE: [&str; 4] = ["create", "update", "patch", "delete"];

/// What it may look at comes with [`readonly`].
fn deployer() -> Vec<Rule> {
    let change = |group, resources: &[&str]| Rule::of("", group, resources, &CHANGE);
    let mut rules = readonly();
    rules.extend([
        change(
            "",
            &[
                "pods",
                "services",
                "configmaps",
                "persistentvolumeclaims",
                "serviceaccounts",
            ],
        ),
        Rule::of(SECRETS, "", &["secrets"], &[&LOOK[..], &CHANGE[..]].concat()),
        change("apps", &["deployments", "statefulsets", "replicasets"]),
        Rule::of(
            "",
            "apps",
            &["deployments/scale", "statefulsets/scale", "replicasets/scale"],
            &["get", "update", "patch"],
        ),
        change("batch", &["jobs", "cronjobs"]),
        change("autoscaling", &["horizontalpodautoscalers"]),
        change("policy", &["poddisruptionbudgets"]),
        change("networking.k8s.io", &["ingresses"]),
    ]);
    rules
}

/// As the ClusterRole `view`, which shows no Secret either.
fn readonly() -> Vec<Rule> {
    vec![
        Rule::of(
            "",
            "",
            &[
                "pods",
                "services",
                "configmaps",
                "persistentvolumeclaims",
                "serviceaccounts",
                "endpoints",
                "events",
                "limitranges",
                "resourcequotas",
                "replicationcontrollers",
            ],
            &LOOK,
        ),
        Rule::of(
            "",
            "",
            &["namespaces", "pods/log", "pods/status", "resourcequotas/status"],
            &["get"],
        ),
        Rule::of(
            "",
            "apps",
            &[
                "deployments",
                "statefulsets",
                "replicasets",
                "daemonsets",
                "controllerrevisions",
            ],
            &LOOK,
        ),
        Rule::of("", "batch", &["jobs", "cronjobs"], &LOOK),
        Rule::of("", "autoscaling", &["horizontalpodautoscalers"], &LOOK),
        Rule::of("", "policy", &["poddisruptionbudgets"], &LOOK),
        Rule::of("", "networking.k8s.io", &["ingresses", "networkpolicies"], &LOOK),
        Rule::of("", "discovery.k8s.io", &["endpointslices"], &LOOK),
        Rule::of("", "events.k8s.io", &["events"], &LOOK),
        Rule::of("`kubectl top`.", "metrics.k8s.io", &["pods"], &["get", "list"]),
    ]
}

/// The pods of its namespaces reach names, one another and the gateway; not the API server.
fn network_policies(plan: &Plan<'_>) -> String {
    let each = plan
        .args
        .namespace
        .iter()
        .map(|namespace| network_policy(plan, namespace));
    format!("{}{}", comment(EGRESS), each.collect::<Vec<_>>().join("---\n"))
}

const EGRESS: &str = "For every pod of the agent's namespaces: without it, whatever runs there reaches the API server with the token of its own account.\nIt cuts off what is not named here, so read it first. A network plugin has to enforce it; nodes (kubelets) it does not protect on all of them.";

fn network_policy(plan: &Plan<'_>, namespace: &str) -> String {
    let place = Place {
        name: "mantlet-egress",
        namespace: Some(namespace),
    };
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {}
spec:
  podSelector: {{}}
  policyTypes: [Egress]
  egress:
  # Names.
  - to: [ {{ namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: kube-system }} }} }} ]
    ports: [ {{ protocol: UDP, port: 53 }}, {{ protocol: TCP, port: 53 }} ]
  # Pods of the same namespace.
  - to: [ {{ podSelector: {{}} }} ]
{}{}",
        place.metadata(),
        to_gateway(plan),
        to_elsewhere(&plan.args.api_server)
    )
}

fn to_gateway(plan: &Plan<'_>) -> String {
    let Server { host, port, .. } = &plan.server;
    let mut addresses = plan.args.gateway_address.clone();
    if let Ok(address) = host.parse::<IpAddr>() {
        addresses.push(format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
    }
    let ports = format!("    ports: [ {{ protocol: TCP, port: {port} }} ]\n");
    match (addresses.is_empty(), service_namespace(host)) {
        (false, _) => {
            let blocks: Vec<_> = addresses
                .iter()
                .map(|cidr| format!("{{ ipBlock: {{ cidr: {} }} }}", text(cidr)))
                .collect();
            format!("  # The gateway.\n  - to: [ {} ]\n{ports}", blocks.join(", "))
        }
        (true, Some(namespace)) => format!(
            "  # The gateway.\n  - to: [ {{ namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: {} }} }} }} ]\n{ports}",
            text(namespace)
        ),
        (true, None) => format!(
            "  # The gateway is not reached from these pods: a policy cannot hold the name {host}. If it has to be, `--gateway-address CIDR` adds it.\n"
        ),
    }
}

/// Of `NAME.NAMESPACE.svc`, with or without the cluster's domain.
fn service_namespace(host: &str) -> Option<&str> {
    let mut labels = host.split('.').skip(1);
    let namespace = labels.next()?;
    (labels.next() == Some("svc")).then_some(namespace)
}

fn to_elsewhere(api_servers: &[String]) -> String {
    let (six, four): (Vec<_>, Vec<_>) = api_servers.iter().partition(|cidr| cidr.contains(':'));
    let block = |all: &str, except: Vec<&String>| match except.is_empty() {
        true => String::new(),
        false => format!(
            "  - to: [ {{ ipBlock: {{ cidr: {}, except: {} }} }} ]\n",
            text(all),
            list(&except)
        ),
    };
    match api_servers.is_empty() {
        true => "  # Nothing else. To allow all but the API server, print this anew with `--api-server CIDR` for each of its addresses: that of\n  # `kubectl get service kubernetes -n default`, and those of `kubectl get endpointslices -n default`.\n".to_owned(),
        false => format!(
            "  # Everything else but the API server.\n{}{}",
            block("0.0.0.0/0", four),
            block("::/0", six)
        ),
    }
}

fn agent(plan: &Plan<'_>) -> String {
    let args = plan.args;
    let mut secrets = args.secret.clone();
    if args.template == Template::Deployer {
        secrets.push("sh.helm.release.v1.*".to_owned());
    }
    let secrets = match secrets.is_empty() {
        true => String::new(),
        false => format!("    secrets: {}\n", list(&secrets)),
    };
    let via = match args.via {
        InitVia::Impersonation => "",
        InitVia::Token => ", via: token",
    };
    format!(
        "{}apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: {{ name: {name}, labels: {{ mantlet.dev/template: {template} }} }}
spec:
  match:
{}{}  serviceAccount: {{ namespace: {}, name: {name}{via} }}
  scope:
    clusters: [{}]
    namespaces: {}
{secrets}  limits: {{ requestsPerSecond: 50, inFlight: 20, watches: 20, deletes: {{ objects: 10, per: 10m }} }}
",
        comment(
            "Goes into the folder that `policies` of mantlet.yaml names. By its label the shipped packs know it: `agent-deployer.yaml`, `agent-readonly.yaml`."
        ),
        conditions(args),
        owners(&args.owner),
        text(&args.accounts),
        text(plan.cluster),
        list(&args.namespace),
        name = text(&args.name),
        template = match args.template {
            Template::Deployer => "deployer",
            Template::Readonly => "readonly",
        },
    )
}

fn conditions(args: &InitArgs) -> String {
    let mut all = Vec::new();
    if let Some(issuer) = &args.issuer {
        all.push(format!("user.issuer == {}", serde_json::Value::from(issuer.as_str())));
    }
    match args.matching.is_empty() {
        true => all.push(format!("claims.sub == '{}'", args.name)),
        false => all.extend(args.matching.iter().cloned()),
    }
    all.iter()
        .map(|expression| format!("  - expression: {}\n", serde_json::Value::from(expression.as_str())))
        .collect()
}

fn owners(owners: &[Owner]) -> String {
    let line = |owner: &Owner| {
        let (kind, name) = match (&owner.user, &owner.group) {
            (Some(user), _) => ("user", user),
            (None, Some(group)) => ("group", group),
            (None, None) => return String::new(),
        };
        format!("  - {{ issuer: {}, {kind}: {} }}\n", text(&owner.issuer), text(name))
    };
    match owners.is_empty() {
        true => String::new(),
        false => format!("  owners:\n{}", owners.iter().map(line).collect::<String>()),
    }
}

/// Without a secret in it.
fn kubeconfig(plan: &Plan<'_>) -> String {
    let args = plan.args;
    let authority = match &plan.authority {
        Some(base64) => format!(", certificate-authority-data: {base64}"),
        None => String::new(),
    };
    let user = match args.dev {
        true => format!(
            "\n    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: mantlet\n      args: [dev, token, {}, --output, exec-credential]\n      interactiveMode: Never\n",
            text(&args.name)
        ),
        false => format!(" {{ tokenFile: {} }}\n", text(&args.token_file.to_string_lossy())),
    };
    format!(
        "apiVersion: v1
kind: Config
current-context: {cluster}
clusters:
- name: {cluster}
  cluster: {{ server: {}{authority} }}
contexts:
- name: {cluster}
  context: {{ cluster: {cluster}, user: {name}, namespace: {} }}
users:
- name: {name}
  user:{user}",
        text(&plan.server.url),
        args.namespace
            .first()
            .map_or_else(String::new, |namespace| text(namespace)),
        cluster = text(plan.cluster),
        name = text(&args.name),
    )
}

/// For the file that coding agents read; what stands in it is what the gateway does, so that nobody has to find out by trying.
fn instructions(plan: &Plan<'_>) -> String {
    let args = plan.args;
    let namespaces = args
        .namespace
        .iter()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let (may, secrets) = match args.template {
        Template::Deployer => (
            "apply, roll out, scale, look at and delete workloads, Services, ConfigMaps, Secrets, Jobs and Ingresses",
            "- Values of Secrets come masked (`masked.mantlet.dev/…`). Never write such a value back; refer to a Secret by its name.\n",
        ),
        Template::Readonly => (
            "look: get, list, watch, describe, logs",
            "- Secrets cannot be read. Do not look for their values elsewhere.\n",
        ),
    };
    let exec = match args.exec {
        true => "- `kubectl exec` is judged one command at a time. No interactive shells.\n",
        false => {
            "- No exec, attach, port-forward or proxy: use `kubectl logs`, `kubectl describe` and `kubectl get events`.\n"
        }
    };
    format!(
        "## Kubernetes

You reach cluster `{}` through a gateway that judges and records every request. Use plain kubectl with the kubeconfig that you were given.

- You may {may}, in namespace {namespaces}. Always name the namespace; never ask for all namespaces.
{secrets}{exec}- Delete by name, and only what you made. Deletes are counted over time; over the limit they are refused, in however many commands.
- RBAC, webhooks, CRDs, tokens, namespaces and whatever concerns the gateway need a human, or are refused outright.

When a command is refused, read the message: it says which rule spoke and what to do.

| it says | do |
|---|---|
| `PolicyDenied`, or `Forbidden` | Do not retry, and do not look for another way to the same end. Do without it, or tell your human what you wanted and why. |
| `ApprovalRequired` | Nothing changed. Tell your human the exact command and why; go on with something else. |
| `TooManyRequests` | Wait as long as it says, then go more slowly. |
| `Unauthorized` | Your token has ended. Get a fresh one as you got the last; never ask for a token of the cluster. |
| `ServiceUnavailable`, `NotRecorded` | The gateway cannot serve or cannot record. Wait; tell your human if it lasts. |
| `whether it happened is unknown` | Look with `kubectl get` before you repeat a change. |

Everything you do is kept with your name on it, and your human can see it: `kubectl get sessions`.
",
        plan.cluster
    )
}
