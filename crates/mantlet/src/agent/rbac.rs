//! `mantlet agent rbac`: what a gateway needs of a cluster's RBAC by its configuration, and not a right more.
//!
//! In: a configuration and the names that it cannot know. Out: roles and bindings for kubectl. Refuses: names that no token may carry.
//! Rules are those of legacy impersonation, which every cluster below Kubernetes 1.36 has: each user, group, uid and extra is asked about by itself
//! (apiserver `pkg/endpoints/filters/impersonation/impersonation.go`), and a rule without `resourceNames` is leave to become anybody.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use mantlet_api::config::{self, Population};
use mantlet_api::policy::{ServiceAccountRef, Via};
use mantlet_cli::RbacArgs;
use mantlet_core::law::{self, Epoch, Law};

use super::manifest::{Place, Rule, Subject, comment, list, role};
use crate::config::{Config, Written, load};
use crate::serve;

const AUTHENTICATION: &str = "authentication.k8s.io";

/// Everything that is printed.
pub fn rbac(args: &RbacArgs) -> Result<String> {
    let config = load(&args.config, Epoch::new(1)).map_err(|faults| serve::faults(&faults))?;
    let cluster = cluster(&config, args.cluster.as_deref())?;
    for name in args.person.iter().chain(&args.group) {
        if name.is_empty() || name.starts_with("system:") || name.starts_with("k8s:") {
            bail!(
                "`{name}` is no name of a person or a group of people: the gateway refuses tokens that say so\nhint: write it as the claim mapping makes it"
            );
        }
    }
    let asked = Asked {
        name: &args.name,
        gateway: subject(
            args.user.as_deref(),
            args.service_account.as_ref(),
            cluster,
            "mantlet-gateway",
        ),
        observer: subject(
            args.observer_user.as_deref(),
            args.observer_service_account.as_ref(),
            cluster,
            "mantlet-observer",
        ),
        people: args.person.clone(),
        groups: args.group.clone(),
        anybody: args.any_person,
    };
    Ok(print(cluster, &config.written, &config.law, &asked))
}

/// What the configuration does not say.
struct Asked<'a> {
    /// Of roles and bindings.
    name: &'a str,
    gateway: Subject,
    observer: Subject,
    people: Vec<String>,
    groups: Vec<String>,
    anybody: bool,
}

fn cluster<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a config::Cluster> {
    let all = &config.written.configuration.clusters;
    let names: Vec<_> = all.iter().map(|cluster| cluster.name.as_str()).collect();
    match (name, &all[..]) {
        (Some(name), _) => match all.iter().find(|cluster| cluster.name == name) {
            Some(found) => Ok(found),
            None => bail!("there is no cluster `{name}`\nhint: --cluster {}", names.join("|")),
        },
        (None, [only]) => Ok(only),
        (None, _) => bail!(
            "the configuration has {} clusters, and each has its own rights\nhint: --cluster {}",
            names.len(),
            names.join("|")
        ),
    }
}

/// In a pod it is that pod's account; elsewhere most often a client certificate.
fn subject(user: Option<&str>, account: Option<&ServiceAccountRef>, cluster: &config::Cluster, name: &str) -> Subject {
    match (user, account) {
        (Some(user), _) => Subject::User(user.to_owned()),
        (None, Some(account)) => Subject::ServiceAccount(account.clone()),
        (None, None) if cluster.in_cluster => Subject::ServiceAccount(ServiceAccountRef {
            namespace: "mantlet-system".to_owned(),
            name: name.to_owned(),
        }),
        (None, None) => Subject::User(name.to_owned()),
    }
}

fn print(cluster: &config::Cluster, written: &Written, law: &Law, asked: &Asked<'_>) -> String {
    let accounts = accounts(law, &cluster.name);
    let people = People::of(written, law, asked);
    let mut text = comment(&format!(
        "What this gateway needs on cluster `{}`, and nothing else. Apply it as an administrator, not through the gateway:\n  mantlet agent rbac … | kubectl apply -f -\nPrint it anew when Agents, people's groups or issuers change.",
        cluster.name
    ));
    let (rules, extra) = cluster_rules(cluster, written, &accounts, people.as_ref());
    let place = Place {
        name: asked.name,
        namespace: None,
    };
    text.push_str(&role(place, "", &rules, &extra, &asked.gateway));
    for (namespace, accounts) in &accounts {
        let place = Place {
            name: asked.name,
            namespace: Some(namespace),
        };
        text.push_str("---\n");
        text.push_str(&role(place, AGENTS, &account_rules(accounts), "", &asked.gateway));
    }
    if cluster.observer.is_some() {
        text.push_str("---\n");
        text.push_str(&observer(&asked.observer));
    }
    text
}

const AGENTS: &str =
    "The ServiceAccounts of agents, each by its name. Nobody else may create pods or tokens in this namespace.";

/// Which accounts of one namespace are acted as, and by which way.
type Accounts = BTreeMap<String, BTreeSet<(Via, String)>>;

/// Of the agents that may act on this cluster, with those as which what was approved is relayed.
fn accounts(law: &Law, cluster: &str) -> Accounts {
    let mut accounts = Accounts::new();
    for agent in law.agents().filter(|agent| agent.clusters().contains(cluster)) {
        let elevations = agent.elevations().iter().map(|elevation| &elevation.service_account);
        for account in std::iter::once(agent.service_account()).chain(elevations) {
            let of = accounts.entry(account.namespace.clone()).or_default();
            of.insert((agent.via(), account.name.clone()));
        }
    }
    accounts
}

fn account_rules(accounts: &BTreeSet<(Via, String)>) -> Vec<Rule> {
    let by = |way: Via| -> Vec<String> {
        let of = accounts.iter().filter(|(via, _)| *via == way);
        of.map(|(_, name)| name.clone()).collect()
    };
    let mut rules = Vec::new();
    let (impersonated, tokens) = (by(Via::Impersonation), by(Via::Token));
    if !impersonated.is_empty() {
        rules.push(Rule::of("", "", &["serviceaccounts"], &["impersonate"]).named(impersonated));
    }
    if !tokens.is_empty() {
        rules.push(Rule::of("`via: token`", "", &["serviceaccounts/token"], &["create"]).named(tokens));
    }
    rules
}

/// The people who may come, as far as anything here knows them.
struct People {
    names: BTreeSet<String>,
    groups: BTreeSet<String>,
    anybody: bool,
    have_groups: bool,
    have_uids: bool,
    extras: BTreeSet<String>,
}

impl People {
    /// None where no issuer vouches for people.
    fn of(written: &Written, law: &Law, asked: &Asked<'_>) -> Option<Self> {
        let issuers = &written.configuration.issuers;
        let urls: BTreeSet<&str> = issuers
            .iter()
            .filter(|issuer| issuer.population == Population::People)
            .map(|issuer| issuer.url.as_str())
            .collect();
        if urls.is_empty() {
            return None;
        }
        let mappings: Vec<_> = written
            .authentication
            .jwt
            .iter()
            .filter(|jwt| urls.contains(jwt.issuer.url.as_str()))
            .map(|jwt| &jwt.claim_mappings)
            .collect();
        let grants = &written.configuration.authorization.roles;
        let granted = grants.iter().map(|grant| (&grant.issuer, &grant.user, &grant.group));
        let owners = law.agents().flat_map(|agent| agent.owners().iter());
        let owners = owners.map(|owner| (&owner.issuer, &owner.user, &owner.group));
        let known: Vec<_> = granted
            .chain(owners)
            .filter(|(issuer, ..)| urls.contains(issuer.as_str()))
            .collect();
        let names = known.iter().filter_map(|(_, user, _)| (*user).clone());
        let groups = known.iter().filter_map(|(.., group)| (*group).clone());
        Some(Self {
            names: names.chain(asked.people.iter().cloned()).collect(),
            groups: groups.chain(asked.groups.iter().cloned()).collect(),
            anybody: asked.anybody,
            have_groups: mappings
                .iter()
                .any(|m| m.groups.claim.is_some() || m.groups.expression.is_some()),
            have_uids: mappings
                .iter()
                .any(|m| m.uid.claim.is_some() || m.uid.expression.is_some()),
            extras: mappings
                .iter()
                .flat_map(|m| m.extra.iter().map(|extra| extra.key.clone()))
                .collect(),
        })
    }

    fn rules(&self) -> (Vec<Rule>, String) {
        let (mut rules, mut left_out) = (Vec::new(), String::new());
        let users = |why| Rule::of(why, "", &["users"], &["impersonate"]);
        match (self.anybody, self.names.is_empty()) {
            (true, _) => rules.push(users(ANYBODY)),
            (false, false) => rules.push(users(PEOPLE).named(self.names.iter().cloned())),
            (false, true) => left_out.push_str(&comment(NOBODY)),
        }
        match (self.have_groups, self.groups.is_empty()) {
            (true, false) => {
                let groups = self.groups.iter().cloned();
                rules.push(Rule::of(GROUPS, "", &["groups"], &["impersonate"]).named(groups));
            }
            (true, true) => left_out.push_str(&comment(NO_GROUPS)),
            (false, _) => {}
        }
        if self.have_uids {
            rules.push(Rule::of(UIDS, AUTHENTICATION, &["uids"], &["impersonate"]));
        }
        if !self.extras.is_empty() {
            let extras: Vec<_> = self.extras.iter().map(|key| format!("userextras/{key}")).collect();
            let extras: Vec<_> = extras.iter().map(String::as_str).collect();
            rules.push(Rule::of(EXTRAS, AUTHENTICATION, &extras, &["impersonate"]));
        }
        (rules, left_out)
    }
}

const PEOPLE: &str = "People, as their claim mapping names them: those whom the configuration names, and each `--person`. Others get 403.";
const ANYBODY: &str = "Any user name: people's names come from tokens and cannot all be listed (`--any-person`).\nWhat can be done under a name alone, the gateway could do with this, be it the name of a component of the cluster.";
const NOBODY: &str = "People may come, and nobody is named: their user names come from tokens. Until they are, each of their requests gets 403.\nAdd `--person NAME` for each, or `--any-person`, and print this anew.";
const GROUPS: &str = "Each group that a person's token may carry: one that is missing makes every request of its members fail. Groups are always named:\nwithout names the gateway could become `system:masters`.";
const NO_GROUPS: &str = "Tokens of people carry groups, and none is named: each request of somebody who is in one gets 403.\nAdd `--group NAME` for each, as the claim mapping makes it, and print this anew.";
const UIDS: &str = "`claimMappings.uid` of people: values come from tokens. A uid alone gives no right.";
const EXTRAS: &str = "`claimMappings.extra` of people: values come from tokens. An extra alone gives no right, unless an authorizer or admission policy of yours says otherwise.";

fn cluster_rules(
    cluster: &config::Cluster,
    written: &Written,
    accounts: &Accounts,
    people: Option<&People>,
) -> (Vec<Rule>, String) {
    let mut rules = vec![
        Rule::of(
            "By the uid of kube-system the gateway knows that this is still the same cluster.",
            "",
            &["namespaces"],
            &["get"],
        )
        .named(["kube-system".to_owned()]),
    ];
    let mut extra = String::new();
    let impersonates = accounts.values().flatten().any(|(via, _)| *via == Via::Impersonation);
    if impersonates || people.is_some() {
        rules.push(Rule::of(
            "The session, in the cluster's own audit log: a new value each time, so that it cannot be named.",
            AUTHENTICATION,
            &["userextras/mantlet.dev/session"],
            &["impersonate"],
        ));
    }
    if let Some(people) = people {
        let (more, left_out) = people.rules();
        rules.extend(more);
        extra.push_str(&left_out);
    }
    if written
        .configuration
        .issuers
        .iter()
        .any(|issuer| issuer.cluster.as_deref() == Some(&cluster.name))
    {
        rules.push(Rule::of(
            "Tokens of this cluster's own pods (`issuers[].cluster`): whether it stands behind them, and its keys.",
            AUTHENTICATION,
            &["tokenreviews"],
            &["create"],
        ));
        extra.push_str(&format!(
            "- {{ nonResourceURLs: {}, verbs: [get] }}\n",
            list(&["/openid/v1/jwks"])
        ));
    }
    (rules, extra)
}

/// Reads what look-ups ask for. No subresource is among it: `get` of `pods/exec` is enough to exec.
fn observer(subject: &Subject) -> String {
    let mut groups: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    for (group, resource) in law::observed() {
        groups.entry(group).or_default().push(resource);
    }
    let rules: Vec<_> = groups
        .iter()
        .map(|(group, resources)| Rule::of("", group, resources, &["get", "list"]))
        .collect();
    let place = Place {
        name: "mantlet-observer",
        namespace: None,
    };
    role(place, OBSERVER, &rules, "", subject)
}

const OBSERVER: &str = "The observer: it reads, for judgments, what a caller may not read itself. Secrets are among it, since a deletion takes them along; their values\nare masked before anything looks at them. Kinds of your own that policies look at (`oldObject`) come beside these.";

#[cfg(test)]
mod tests {
    use mantlet_core::law::Source;
    use serde_json::{Value, json};

    use super::*;

    const PEOPLE: &str = "https://login.example.com";
    const AGENTS: &str = "https://ci.example.com";

    fn agent(name: &str, namespace: &str, via: &str, cluster: &str) -> Value {
        json!({"apiVersion": "mantlet.dev/v1alpha1", "kind": "Agent", "metadata": {"name": name},
            "spec": {"match": [{"expression": format!("claims.sub == '{name}'")}],
                "owners": [{"issuer": PEOPLE, "group": "team"}, {"issuer": AGENTS, "group": "bots"}],
                "serviceAccount": {"namespace": namespace, "name": name, "via": via},
                "scope": {"clusters": [cluster], "namespaces": ["shop"]}}})
    }

    /// Every document that is printed, and the text itself.
    fn printed(
        agents: &[Value],
        issuers: Value,
        cluster: Value,
        asked: impl FnOnce(&mut Asked<'_>),
    ) -> (Vec<Value>, String) {
        let jwt = |issuer: &Value| {
            let url = issuer["url"].as_str().unwrap();
            json!({"issuer": {"url": url, "audiences": ["mantlet"]}, "claimMappings": {
                "username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": ""}, "uid": {"claim": "sub"},
                "extra": [{"key": "example.com/department", "valueExpression": "claims.d"}]}})
        };
        let jwt: Vec<Value> = issuers.as_array().unwrap().iter().map(jwt).collect();
        let written = Written {
            configuration: serde_json::from_value(json!({
                "apiVersion": "mantlet.dev/v1alpha1", "kind": "Configuration",
                "listen": {"address": "[::]:1", "tls": {"certFile": "a", "keyFile": "b"}},
                "clusters": [cluster], "authentication": "a", "issuers": issuers, "policies": "p",
                "authorization": {"roles": [{"role": "viewer", "group": "sre", "issuer": PEOPLE, "clusters": ["*"]},
                    {"role": "operator", "user": "ana", "issuer": PEOPLE, "clusters": ["*"]}]},
                "storage": {"database": "sqlite:///x"},
            }))
            .unwrap(),
            authentication: serde_json::from_value(json!({"apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "AuthenticationConfiguration", "jwt": jwt}))
            .unwrap(),
        };
        let agents = agents
            .iter()
            .map(|agent| (Source::Configuration, serde_json::from_value(agent.clone()).unwrap()));
        let law = Law::compile(
            law::Written {
                agents: agents.collect(),
                clusters: BTreeSet::from(["prod".to_owned(), "test".to_owned()]),
                ..law::Written::default()
            },
            Epoch::new(1),
        )
        .unwrap();
        let mut with = Asked {
            name: "mantlet-gateway",
            gateway: Subject::User("mantlet-gateway".to_owned()),
            observer: Subject::User("mantlet-observer".to_owned()),
            people: Vec::new(),
            groups: Vec::new(),
            anybody: false,
        };
        asked(&mut with);
        let text = print(&written.configuration.clusters[0], &written, &law, &with);
        let documents = text.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap());
        (documents.collect(), text)
    }

    /// `VERB RESOURCE NAMES`, for each rule of a role.
    fn rights(role: &Value) -> Vec<String> {
        let words = |value: &Value| {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let rules = role["rules"].as_array().unwrap().iter();
        rules
            .map(|rule| {
                format!(
                    "{} {}{} {}",
                    words(&rule["verbs"]),
                    words(&rule["resources"]),
                    words(&rule["nonResourceURLs"]),
                    words(&rule["resourceNames"])
                )
            })
            .collect()
    }

    fn plain() -> Value {
        json!({"name": "prod", "kubeconfig": "x"})
    }

    #[test]
    fn agents_are_named_one_by_one_each_with_the_right_of_its_way_and_no_other_clusters() {
        let agents = [
            agent("a", "mantlet-agents", "impersonation", "prod"),
            agent("b", "mantlet-agents", "token", "prod"),
            agent("c", "others", "token", "prod"),
            agent("d", "others", "impersonation", "test"),
        ];
        let issuers = json!([{"url": AGENTS, "population": "agents"}]);
        let (all, text) = printed(&agents, issuers, plain(), |_| {});
        let roles: Vec<_> = all.iter().filter(|object| object.get("rules").is_some()).collect();
        assert_eq!(
            rights(roles[0]),
            [
                "get namespaces kube-system",
                "impersonate userextras/mantlet.dev/session "
            ]
        );
        assert_eq!(roles[1]["metadata"]["namespace"], "mantlet-agents");
        assert_eq!(
            rights(roles[1]),
            ["impersonate serviceaccounts a", "create serviceaccounts/token b"]
        );
        assert_eq!(roles[2]["metadata"]["namespace"], "others");
        assert_eq!(rights(roles[2]), ["create serviceaccounts/token c"]);
        assert_eq!((roles.len(), all.len()), (3, 6), "each with its binding: {text}");
        for binding in all.iter().filter(|object| object.get("roleRef").is_some()) {
            assert_eq!(binding["roleRef"]["name"], binding["metadata"]["name"]);
            assert_eq!(
                binding["subjects"],
                json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mantlet-gateway"}])
            );
        }
    }

    #[test]
    fn with_tokens_alone_nobody_is_impersonated() {
        let issuers = json!([{"url": AGENTS, "population": "agents", "cluster": "prod"}]);
        let (all, text) = printed(
            &[agent("b", "mantlet-agents", "token", "prod")],
            issuers,
            plain(),
            |_| {},
        );
        assert!(!text.contains("[impersonate]"), "{text}");
        assert_eq!(
            rights(&all[0]),
            [
                "get namespaces kube-system",
                "create tokenreviews ",
                "get /openid/v1/jwks "
            ]
        );
    }

    #[test]
    fn people_are_named_as_far_as_they_are_known_and_groups_never_without_a_name() {
        let issuers = json!([{"url": PEOPLE, "population": "people"}]);
        let (all, text) = printed(
            &[agent("a", "mantlet-agents", "impersonation", "prod")],
            issuers.clone(),
            plain(),
            |asked| {
                asked.people.push("ben".to_owned());
                asked.groups.push("dev".to_owned());
            },
        );
        let of_people = &rights(&all[0])[2..];
        let wanted = [
            "impersonate users ana,ben",
            "impersonate groups dev,sre,team",
            "impersonate uids ",
            "impersonate userextras/example.com/department ",
        ];
        assert_eq!(of_people, wanted, "{text}");
        let (all, _) = printed(&[], issuers, plain(), |asked| asked.anybody = true);
        assert_eq!(rights(&all[0])[2..4], ["impersonate users ", "impersonate groups sre"]);
    }

    #[test]
    fn an_observer_reads_what_look_ups_ask_for_and_no_subresource() {
        let cluster = json!({"name": "prod", "kubeconfig": "x", "observer": {"kubeconfig": "y"}});
        let (all, text) = printed(&[], json!([{"url": AGENTS, "population": "agents"}]), cluster, |_| {});
        assert_eq!(rights(&all[0]), ["get namespaces kube-system"], "{text}");
        let observer = &all[2];
        assert_eq!(observer["metadata"]["name"], "mantlet-observer");
        assert_eq!(all[3]["subjects"][0]["name"], "mantlet-observer");
        let mut resources = 0;
        for rule in observer["rules"].as_array().unwrap() {
            assert_eq!(rule["verbs"], json!(["get", "list"]));
            for resource in rule["resources"].as_array().unwrap() {
                assert!(!resource.as_str().unwrap().contains(['/', '*']), "{resource}");
                resources += 1;
            }
        }
        assert_eq!(resources, law::observed().count());
    }
}
