//! What a ServiceAccount may do, by RBAC, and what of it makes the account a prize for whoever gets into its pods.
//!
//! In: the bindings and roles of a cluster, as its API lists them. Out: [`Rights`]: the rules that reach the account, and the reasons that make
//! it strong: a rule of a high or critical row of the escalation map, or one that reaches beyond the account's namespace.
//! Deliberately does not: resolve aggregated ClusterRoles (the API server has), look at authorizers other than RBAC, or judge.
//! Errs on the strong side: a rule for one object by name counts as one for all of its kind.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::inspect::{list, text};
use super::sight::served_by_kubernetes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Bindings and roles, taken from answers to lists.
#[derive(Debug, Default)]
pub(super) struct Grants<'a> {
    bindings: Vec<(&'static str, &'a Value)>,
    roles: Vec<(&'static str, &'a Value)>,
}

/// What reaches one account.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) rules: Vec<Granted>,
    /// Why it is strong; empty where it is not.
    pub(super) reasons: BTreeSet<String>,
}

/// One rule, and how it comes to the account.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// Empty: everywhere.
    namespace: String,
    /// `RoleBinding NAMESPACE/NAME` or `ClusterRoleBinding NAME`.
    by: String,
    rule: Value,
}

/// Texts of one judgment are bounded.
const REASONS_MAX: usize = 16;
const RULES_MAX: usize = 200;

const STORES: &[&str] = &["create", "update", "patch"];
const WRITES: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const ALL: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// The high and critical rows of the escalation map that a rule within one namespace can give.
const STRONG: [(&str, &str, &[&str]); 41] = [
    // Whoever starts a pod runs as any ServiceAccount of the namespace and reads any Secret of it.
    ("", "pods", STORES),
    ("", "replicationcontrollers", STORES),
    ("", "podtemplates", STORES),
    ("apps", "deployments", STORES),
    ("apps", "statefulsets", STORES),
    ("apps", "daemonsets", STORES),
    ("apps", "replicasets", STORES),
    ("apps", "controllerrevisions", STORES),
    ("batch", "jobs", STORES),
    ("batch", "cronjobs", STORES),
    // Ways into pods that run already. `get` is enough for a WebSocket.
    ("", "pods/exec", &["get", "create"]),
    ("", "pods/attach", &["get", "create"]),
    ("", "pods/portforward", &["get", "create"]),
    ("", "pods/proxy", ALL),
    ("", "services/proxy", ALL),
    ("", "pods/ephemeralcontainers", &["update", "patch"]),
    ("", "pods/resize", &["update", "patch"]),
    ("", "pods/binding", &["create"]),
    ("", "bindings", &["create"]),
    // Credentials.
    ("", "secrets", ALL),
    ("", "serviceaccounts/token", &["create"]),
    ("", "serviceaccounts", STORES),
    ("certificates.k8s.io", "podcertificaterequests", WRITES),
    // RBAC.
    ("rbac.authorization.k8s.io", "roles", WRITES),
    ("rbac.authorization.k8s.io", "rolebindings", WRITES),
    ("rbac.authorization.k8s.io", "roles", &["bind", "escalate"]),
    ("rbac.authorization.k8s.io", "clusterroles", &["bind", "escalate"]),
    // Exposure, traffic, data.
    ("networking.k8s.io", "networkpolicies", WRITES),
    ("networking.k8s.io", "ingresses", WRITES),
    ("", "services", STORES),
    ("", "endpoints", STORES),
    ("discovery.k8s.io", "endpointslices", STORES),
    ("", "persistentvolumeclaims", WRITES),
    (
        "policy",
        "poddisruptionbudgets",
        &["update", "patch", "delete", "deletecollection"],
    ),
    ("resource.k8s.io", "resourceclaims", STORES),
    ("resource.k8s.io", "resourceclaimtemplates", STORES),
    // Who leads, and how much there may be.
    ("coordination.k8s.io", "leases", WRITES),
    ("", "resourcequotas", WRITES),
    ("", "limitranges", WRITES),
    ("", "namespaces/finalize", &["update"]),
    ("", "events", &["deletecollection"]),
];

/// Of the answer to a list of `kind`: what matters to the account. `None` if it is no such list.
pub(super) fn relevant(account: &Account, kind: &str, page: &Value) -> Option<Value> {
    let items = page.get("items")?;
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    let kept: Vec<Value> = match kind {
        "ClusterRoleBinding" | "RoleBinding" => items.iter().filter(|b| account.is_bound_by(b)).map(short).collect(),
        "ClusterRole" | "Role" => items.iter().map(short).collect(),
        _ => return None,
    };
    Some(json!({ "kind": kind, "items": kept }))
}

/// Without annotations and managed fields, which are most of it.
fn short(object: &Value) -> Value {
    let part = |name: &str| object.get(name).cloned().unwrap_or_default();
    json!({
        "metadata": {
            "name": text(object, &["metadata", "name"]),
            "namespace": text(object, &["metadata", "namespace"]),
        },
        "subjects": part("subjects"),
        "roleRef": part("roleRef"),
        "rules": part("rules"),
    })
}

impl Account {
    fn username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// kubernetes `pkg/registry/rbac/validation/rule.go`, appliesToUser.
    fn is_bound_by(&self, binding: &Value) -> bool {
        let home = text(binding, &["metadata", "namespace"]).unwrap_or_default();
        list(binding, "subjects")
            .iter()
            .any(|subject| self.is_meant(subject, home))
    }

    fn is_meant(&self, subject: &Value, home: &str) -> bool {
        let name = text(subject, &["name"]).unwrap_or_default();
        match text(subject, &["kind"]).unwrap_or_default() {
            "ServiceAccount" => {
                let namespace = text(subject, &["namespace"]).filter(|n| !n.is_empty()).unwrap_or(home);
                namespace == self.namespace && name == self.name
            }
            "User" => name == self.username(),
            "Group" => {
                matches!(name, "system:authenticated" | "system:serviceaccounts")
                    || name.strip_prefix("system:serviceaccounts:") == Some(self.namespace.as_str())
            }
            _ => false,
        }
    }
}

impl<'a> Grants<'a> {
    /// From what [`relevant`] kept.
    pub(super) fn read(pages: &'a [Value]) -> Self {
        let mut grants = Self::default();
        for page in pages {
            let items = || list(page, "items").iter();
            match text(page, &["kind"]).unwrap_or_default() {
                "ClusterRoleBinding" => grants.bindings.extend(items().map(|b| ("ClusterRoleBinding", b))),
                "RoleBinding" => grants.bindings.extend(items().map(|b| ("RoleBinding", b))),
                "ClusterRole" => grants.roles.extend(items().map(|r| ("ClusterRole", r))),
                "Role" => grants.roles.extend(items().map(|r| ("Role", r))),
                _ => {}
            }
        }
        grants
    }

    pub(super) fn rights(&self, account: &Account) -> Rights {
        let mut rights = Rights::default();
        for (kind, binding) in &self.bindings {
            if !account.is_bound_by(binding) {
                continue;
            }
            let name = text(binding, &["metadata", "name"]).unwrap_or_default();
            let namespace = text(binding, &["metadata", "namespace"]).unwrap_or_default();
            let by = match *kind {
                "RoleBinding" => format!("RoleBinding {namespace}/{name}"),
                _ => format!("ClusterRoleBinding {name}"),
            };
            for rule in self.rules_of(binding, namespace) {
                rights.add(account, namespace, &by, rule);
            }
        }
        rights
    }

    /// A binding of a role that is not there grants nothing.
    fn rules_of(&self, binding: &Value, namespace: &str) -> &'a [Value] {
        let kind = text(binding, &["roleRef", "kind"]).unwrap_or_default();
        let name = text(binding, &["roleRef", "name"]);
        let role = self.roles.iter().find(|(of, role)| {
            let home = text(role, &["metadata", "namespace"]).unwrap_or_default();
            *of == kind && text(role, &["metadata", "name"]) == name && (kind == "ClusterRole" || home == namespace)
        });
        role.map_or(&[], |(_, role)| list(role, "rules"))
    }
}

impl Rights {
    fn add(&mut self, account: &Account, namespace: &str, by: &str, rule: &Value) {
        if is_everybodys(rule) {
            return;
        }
        if self.reasons.len() < REASONS_MAX {
            let place = match namespace {
                "" => String::from("everywhere"),
                namespace => format!("in namespace {namespace}"),
            };
            let because = |what: String| format!("may {what} {place} ({by})");
            self.reasons.extend(reason(account, namespace, rule).map(because));
        }
        if self.rules.len() < RULES_MAX {
            self.rules.push(Granted {
                namespace: namespace.to_owned(),
                by: by.to_owned(),
                rule: rule.clone(),
            });
        }
    }

    pub(super) fn is_strong(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// As expressions see it.
    pub(super) fn document(&self, account: &Account) -> Value {
        let rules: Vec<_> = self.rules.iter().map(Granted::document).collect();
        json!({
            "namespace": account.namespace,
            "name": account.name,
            "rights": {
                "any": !rules.is_empty(),
                "strong": self.is_strong(),
                "reasons": self.reasons,
                "rules": rules,
            },
        })
    }
}

impl Granted {
    fn document(&self) -> Value {
        let words = |field: &str| Value::from(list(&self.rule, field).to_vec());
        json!({
            "namespace": self.namespace,
            "by": self.by,
            "verbs": words("verbs"),
            "apiGroups": words("apiGroups"),
            "resources": words("resources"),
            "resourceNames": words("resourceNames"),
            "nonResourceURLs": words("nonResourceURLs"),
        })
    }
}

/// What makes this rule strong, in words that follow "may".
fn reason(account: &Account, namespace: &str, rule: &Value) -> Option<String> {
    let beyond = namespace != account.namespace;
    let what = strong_row(rule);
    match (what, beyond) {
        (Some(what), _) => Some(what),
        (None, true) => Some(told(rule)),
        (None, false) if namespace == "kube-system" && gives(rule, WRITES) => Some(told(rule)),
        (None, false) => None,
    }
}

/// The first row that the rule reaches.
fn strong_row(rule: &Value) -> Option<String> {
    let special = ["impersonate", "bind", "escalate", "deletecollection"];
    if let Some(verb) = special.iter().find(|verb| has(rule, "verbs", verb)) {
        return Some(format!("{verb} {}", words(rule, "resources")));
    }
    if list(rule, "apiGroups").iter().any(is_unknown_group) && gives(rule, WRITES) {
        return Some(told(rule));
    }
    STRONG
        .iter()
        .find(|(group, resource, verbs)| has(rule, "apiGroups", group) && reaches(rule, resource) && gives(rule, verbs))
        .map(|(_, resource, verbs)| {
            let given = verbs.iter().find(|verb| has(rule, "verbs", verb)).unwrap_or(&"change");
            format!("{given} {resource}")
        })
}

/// Groups that Kubernetes does not serve itself: nobody here knows what an operator makes of its resources.
fn is_unknown_group(group: &Value) -> bool {
    group
        .as_str()
        .is_none_or(|group| group != "*" && !served_by_kubernetes(group))
}

fn told(rule: &Value) -> String {
    let what = match list(rule, "nonResourceURLs").is_empty() {
        true => words(rule, "resources"),
        false => words(rule, "nonResourceURLs"),
    };
    format!("{} {what}", words(rule, "verbs"))
}

/// At most a few, since a role can list hundreds.
fn words(rule: &Value, field: &str) -> String {
    let all = list(rule, field);
    let some: Vec<_> = all.iter().filter_map(Value::as_str).take(6).collect();
    let more = if all.len() > some.len() { ", .." } else { "" };
    format!("{}{more}", some.join(", "))
}

fn has(rule: &Value, field: &str, word: &str) -> bool {
    list(rule, field).iter().any(|w| w == "*" || w == word)
}

fn gives(rule: &Value, verbs: &[&str]) -> bool {
    verbs.iter().any(|verb| has(rule, "verbs", verb))
}

/// `*` is every resource and subresource, `*/x` the subresource of each (kubernetes `pkg/apis/rbac/v1/evaluation_helpers.go`, ResourceMatches).
fn reaches(rule: &Value, resource: &str) -> bool {
    let subresource = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    has(rule, "resources", resource) || subresource.is_some_and(|any| list(rule, "resources").iter().any(|w| *w == any))
}

/// What every ServiceAccount has: questions about oneself, discovery, health (`system:basic-user`, `system:discovery`,
/// `system:public-info-viewer`, `system:service-account-issuer-discovery`). By what the rule says, not by the role's name, which anybody could
/// put more into.
fn is_everybodys(rule: &Value) -> bool {
    let urls = list(rule, "nonResourceURLs");
    if !urls.is_empty() {
        let get = |verb: &Value| verb == "get" || verb == "head";
        return list(rule, "verbs").iter().all(get) && urls.iter().all(is_discovery);
    }
    let own = |word: &Value| {
        let word = word.as_str().unwrap_or_default();
        matches!(
            word,
            "selfsubjectaccessreviews" | "selfsubjectrulesreviews" | "selfsubjectreviews"
        )
    };
    let resources = list(rule, "resources");
    resources.iter().all(own) && list(rule, "verbs").iter().all(|verb| verb == "create")
}

fn is_discovery(url: &Value) -> bool {
    let url = url.as_str().unwrap_or_default();
    let path = url.trim_end_matches('*').trim_end_matches('/');
    let known = [
        "/api",
        "/apis",
        "/openapi",
        "/healthz",
        "/livez",
        "/readyz",
        "/version",
        "/.well-known",
        "/openid/v1/jwks",
    ];
    known
        .iter()
        .any(|k| path == *k || path.strip_prefix(k).is_some_and(|rest| rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            namespace: String::from("shop"),
            name: String::from("web"),
        }
    }

    /// A cluster with one role and one binding of it.
    fn rights(binding: Value, role: Value) -> Rights {
        let of = |object: &Value| object["kind"].as_str().unwrap().to_owned();
        let pages: Vec<Value> = [binding, role]
            .into_iter()
            .map(|object| relevant(&account(), &of(&object), &json!({ "items": [object] })).unwrap())
            .collect();
        Grants::read(&pages).rights(&account())
    }

    fn role(rule: Value) -> Value {
        json!({ "kind": "Role", "metadata": { "name": "r", "namespace": "shop" }, "rules": [rule] })
    }

    fn cluster_role(rule: Value) -> Value {
        json!({ "kind": "ClusterRole", "metadata": { "name": "r" }, "rules": [rule] })
    }

    fn bound(kind: &str, namespace: &str, role_kind: &str, subject: Value) -> Value {
        json!({
            "kind": kind,
            "metadata": { "name": "b", "namespace": namespace },
            "roleRef": { "kind": role_kind, "name": "r" },
            "subjects": [subject],
        })
    }

    fn web() -> Value {
        json!({ "kind": "ServiceAccount", "namespace": "shop", "name": "web" })
    }

    fn within(rule: Value) -> Rights {
        rights(bound("RoleBinding", "shop", "Role", web()), role(rule))
    }

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
        json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
    }

    #[test]
    fn a_rule_of_a_high_row_makes_strong_and_an_ordinary_one_does_not() {
        for (group, resource, verbs, strong) in [
            ("", "configmaps", &["get", "list", "watch"][..], false),
            ("", "pods", &["get", "list", "watch"], false),
            ("", "pods/log", &["get"], false),
            ("apps", "deployments", &["get", "delete"], false),
            ("", "configmaps", &["create", "update"], false),
            ("", "secrets", &["get"], true),
            ("", "secrets", &["watch"], true),
            ("", "pods", &["create"], true),
            ("apps", "deployments", &["patch"], true),
            ("", "pods/exec", &["get"], true),
            ("", "pods/exec", &["create"], true),
            ("", "pods/ephemeralcontainers", &["patch"], true),
            ("", "serviceaccounts/token", &["create"], true),
            ("rbac.authorization.k8s.io", "rolebindings", &["create"], true),
            ("rbac.authorization.k8s.io", "clusterroles", &["bind"], true),
            ("", "users", &["impersonate"], true),
            ("", "configmaps", &["deletecollection"], true),
            ("", "*", &["get"], true),
            ("*", "*", &["list"], true),
            ("", "*/exec", &["create"], true),
            ("", "configmaps", &["*"], true),
            ("argoproj.io", "applications", &["create"], true),
            ("argoproj.io", "applications", &["get"], false),
            ("coordination.k8s.io", "leases", &["update"], true),
        ] {
            let found = within(rule(group, resource, verbs));
            assert_eq!(found.is_strong(), strong, "{verbs:?} {group}/{resource}: {found:?}");
            assert_eq!(found.rules.len(), 1, "{verbs:?} {group}/{resource}");
        }
    }

    #[test]
    fn a_rule_for_one_object_by_name_counts_as_one_for_all() {
        let mut named = rule("", "secrets", &["get"]);
        named["resourceNames"] = json!(["db"]);
        assert!(within(named).is_strong());
    }

    #[test]
    fn the_account_is_reached_by_its_name_and_by_its_groups() {
        let secrets = || role(rule("", "secrets", &["get"]));
        let reached = |subject: Value| rights(bound("RoleBinding", "shop", "Role", subject), secrets()).is_strong();
        for subject in [
            web(),
            json!({ "kind": "ServiceAccount", "name": "web" }),
            json!({ "kind": "User", "name": "system:serviceaccount:shop:web" }),
            json!({ "kind": "Group", "name": "system:serviceaccounts" }),
            json!({ "kind": "Group", "name": "system:serviceaccounts:shop" }),
            json!({ "kind": "Group", "name": "system:authenticated" }),
        ] {
            assert!(reached(subject.clone()), "{subject}");
        }
        for subject in [
            json!({ "kind": "ServiceAccount", "namespace": "shop", "name": "other" }),
            json!({ "kind": "ServiceAccount", "namespace": "other", "name": "web" }),
            json!({ "kind": "User", "name": "web" }),
            json!({ "kind": "Group", "name": "system:serviceaccounts:sho" }),
            json!({ "kind": "Group", "name": "system:masters" }),
        ] {
            assert!(!reached(subject.clone()), "{subject}");
        }
    }

    #[test]
    fn whatever_reaches_beyond_the_namespace_makes_strong() {
        let ordinary = || rule("", "configmaps", &["get"]);
        let everywhere = rights(
            bound("ClusterRoleBinding", "", "ClusterRole", web()),
            cluster_role(ordinary()),
        );
        let elsewhere = rights(
            bound("RoleBinding", "billing", "ClusterRole", web()),
            cluster_role(ordinary()),
        );
        let at_home = rights(
            bound("RoleBinding", "shop", "ClusterRole", web()),
            cluster_role(ordinary()),
        );
        let told: Vec<_> = everywhere.reasons.iter().map(String::as_str).collect();
        assert_eq!(told, ["may get configmaps everywhere (ClusterRoleBinding b)"]);
        let told: Vec<_> = elsewhere.reasons.iter().map(String::as_str).collect();
        assert_eq!(
            told,
            ["may get configmaps in namespace billing (RoleBinding billing/b)"]
        );
        assert!(!at_home.is_strong() && at_home.rules.len() == 1);
    }

    #[test]
    fn what_every_account_has_counts_for_nothing() {
        for rule in [
            json!({ "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/openapi/*", "/version/"], "verbs": ["get"] }),
            json!({ "nonResourceURLs": ["/.well-known/openid-configuration/", "/openid/v1/jwks/"], "verbs": ["get"] }),
            json!({ "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"] }),
            json!({ "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"] }),
        ] {
            let found = rights(
                bound(
                    "ClusterRoleBinding",
                    "",
                    "ClusterRole",
                    json!({ "kind": "Group", "name": "system:authenticated" }),
                ),
                cluster_role(rule.clone()),
            );
            assert_eq!(found, Rights::default(), "{rule}");
        }
        for rule in [
            json!({ "nonResourceURLs": ["/metrics"], "verbs": ["get"] }),
            json!({ "nonResourceURLs": ["*"], "verbs": ["get"] }),
            json!({ "nonResourceURLs": ["/api"], "verbs": ["*"] }),
            json!({ "nonResourceURLs": ["/apiary"], "verbs": ["get"] }),
        ] {
            let found = rights(
                bound("ClusterRoleBinding", "", "ClusterRole", web()),
                cluster_role(rule.clone()),
            );
            assert!(found.is_strong(), "{rule}");
        }
    }

    #[test]
    fn a_binding_of_a_role_that_is_not_there_grants_nothing() {
        let elsewhere = json!({ "kind": "Role", "metadata": { "name": "r", "namespace": "other" },
            "rules": [rule("", "secrets", &["get"])] });
        let found = rights(bound("RoleBinding", "shop", "Role", web()), elsewhere);
        assert_eq!(found, Rights::default());
    }

    #[test]
    fn a_write_in_kube_system_makes_strong() {
        let account = Account {
            namespace: String::from("kube-system"),
            name: String::from("dns"),
        };
        let write = rule("", "configmaps", &["update"]);
        assert!(reason(&account, "kube-system", &write).is_some());
        assert!(reason(&account, "kube-system", &rule("", "configmaps", &["get"])).is_none());
    }
}
