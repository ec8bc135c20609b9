use std::collections::BTreeMap;

use mantlet_api::policy as written;

use super::*;
use crate::identity::{Population, Verified};
use crate::law::{Epoch, Source, Written};

const AGENTS: &str = "
apiVersion: mantlet.dev/v1alpha1
kind: Agent
metadata: { name: coder, labels: { team: shop } }
spec:
  match: [{ expression: claims.sub == 'coder' }]
  serviceAccount: { namespace: mantlet-agents, name: coder }
  scope:
    clusters: [prod]
    namespaces: [test]
    secrets: [shop-*]
    beyond: [{ apiGroups: [apps], resources: [deployments], verbs: [patch], namespaces: [shared] }]
";

const POLICIES: &str = "
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: no-tokens }
spec:
  mode: { agents: enforce, people: warn }
  matchConstraints: { resourceRules: [{ apiGroups: [''], resources: [serviceaccounts/token], operations: [create] }] }
  validations: [{ expression: 'false', action: Deny, message: tokens work past the gateway }]
---
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: ask-for-jobs }
spec:
  mode: enforce
  matchConstraints: { resourceRules: [{ apiGroups: [batch], resources: [jobs], operations: [create, delete] }] }
  matchConditions: [{ name: shop, expression: agent.labels.team == 'shop' }]
  validations: [{ expression: object.spec.parallelism < 5, action: Deny, message: too many }]
---
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: no-cron }
spec:
  mode: enforce
  matchConstraints: { subjects: [{ agent: coder }], resourceRules: [{ apiGroups: [batch], resources: ['*'], operations: ['*'] }] }
  matchConditions: [{ name: about-cron, expression: request.resource == 'cronjobs' }]
  validations: [{ expression: request.verb == 'get', action: Deny, message: no cron jobs }]
---
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: real-ones-only }
spec:
  mode: enforce
  matchConstraints: { resourceRules: [{ apiGroups: [''], resources: [services], operations: [delete] }] }
  matchConditions: [{ name: real, expression: '!request.dryRun' }]
  validations: [{ expression: 'false', action: Deny, message: services stay }]
---
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: not-the-database }
spec:
  mode: enforce
  matchConstraints: { resourceRules: [{ apiGroups: [''], resources: [configmaps], operations: [update], resourceNames: [db] }] }
  validations: [{ expression: 'false', action: Deny, message: not the database }]
---
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: only-said }
spec:
  mode: audit
  matchConstraints: { resourceRules: [{ apiGroups: [''], resources: [events], operations: ['*'] }] }
  validations: [{ expression: 'false', action: Deny, message: said }]
";

fn law() -> Law {
    let agents: Vec<written::Agent> = serde_saphyr::from_multiple(AGENTS).unwrap();
    let policies: Vec<written::Policy> = serde_saphyr::from_multiple(POLICIES).unwrap();
    let written = Written {
        agents: agents.into_iter().map(|a| (Source::Document(0), a)).collect(),
        policies: policies.into_iter().map(|p| (Source::Document(0), p)).collect(),
        clusters: [String::from("prod")].into(),
        ..Written::default()
    };
    Law::compile(written, Epoch::new(1)).unwrap()
}

fn access(question: &str) -> Access {
    let mut words = question.split(' ');
    let verb = words.next().unwrap().to_owned();
    let what = words.next().unwrap();
    let (what, name) = what.split_once(':').unwrap_or((what, ""));
    let (what, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let group = if what == "*" { "*" } else { group };
    let namespace = words.next().unwrap_or_default();
    let [group, resource, subresource, namespace, name] =
        [group, resource, subresource, namespace, name].map(str::to_owned);
    Access {
        verb,
        group,
        version: String::new(),
        resource,
        subresource,
        namespace,
        name,
    }
}

fn asked(who: &str, question: &str, star: Star) -> String {
    let law = law();
    let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
    let population = if who == "coder" {
        Population::Agents
    } else {
        Population::People
    };
    let verified = Arc::new(Verified {
        issuer: "https://issuer.test".into(),
        subject: who.into(),
        population,
        username: who.into(),
        groups: Vec::new(),
        uid: String::new(),
        extra: BTreeMap::new(),
        claims: json!({"sub": who}),
        expires: Timestamp::from_seconds(i64::from(u32::MAX)),
    });
    let caller = Arc::new(law.recognize(verified, "prod", now).unwrap());
    let cluster = ClusterRef {
        name: "prod".into(),
        uid: "uid".into(),
    };
    match law.can(&cluster, &caller, &access(question), star, now) {
        Can::Never { rule, .. } => format!("never {}", rule.map_or_else(|| "here".into(), |rule| rule.to_string())),
        Can::Perhaps(rule) => format!("perhaps {rule}"),
        Can::Free => String::from("free"),
    }
}

#[test]
fn no_is_said_only_of_what_is_never_possible() {
    for (who, question, expected) in [
        ("coder", "get pods test", "free"),
        ("coder", "list pods", "never agent:coder"),
        ("coder", "get pods other", "never agent:coder"),
        ("coder", "get nodes test", "never agent:coder"),
        ("coder", "list namespaces test", "never agent:coder"),
        ("coder", "get namespaces test", "free"),
        ("coder", "get namespaces:other test", "never agent:coder"),
        ("coder", "patch deployments.apps shared", "perhaps agent:coder"),
        ("coder", "update deployments.apps shared", "never agent:coder"),
        ("coder", "get secrets test", "free"),
        ("coder", "create secrets test", "perhaps agent:coder"),
        ("coder", "update secrets:shop-db test", "perhaps agent:coder"),
        ("coder", "deletecollection secrets test", "never agent:coder"),
        ("coder", "create serviceaccounts/token test", "never policy:no-tokens"),
        ("ada", "create serviceaccounts/token test", "free"),
        ("coder", "create jobs.batch test", "perhaps agent:coder"),
        ("coder", "delete jobs.batch test", "perhaps policy:ask-for-jobs"),
        ("coder", "create cronjobs.batch test", "never policy:no-cron"),
        ("coder", "get cronjobs.batch test", "free"),
        ("coder", "delete services test", "perhaps policy:real-ones-only"),
        ("ada", "update configmaps test", "perhaps policy:not-the-database"),
        ("ada", "update configmaps:db test", "never policy:not-the-database"),
        ("ada", "update configmaps:web test", "free"),
        ("ada", "create events test", "free"),
        ("ada", "impersonate users", "never here"),
        ("ada", "bind clusterroles.rbac.authorization.k8s.io", "free"),
        ("ada", "create pods mantlet-system", "never built-in:self-protection"),
        ("ada", "list secrets", "never built-in:self-protection"),
        (
            "ada",
            "create clusterroles.rbac.authorization.k8s.io",
            "perhaps built-in:self-protection",
        ),
        ("ada", "get nodes/proxy", "never built-in:self-protection"),
        ("ada", "get sessions.gate.mantlet.dev", "free"),
        ("ada", "create sessions.gate.mantlet.dev/end", "never here"),
        (
            "coder",
            "create selfsubjectaccessreviews.authorization.k8s.io test",
            "free",
        ),
        // All of what the star stands for, and one of it is never possible.
        ("ada", "* configmaps:db test", "never policy:not-the-database"),
    ] {
        assert_eq!(asked(who, question, Star::All), expected, "{who}: {question}");
    }
}

#[test]
fn a_star_in_a_list_of_rules_stays_while_anything_of_it_is_possible() {
    for (who, question, expected) in [
        ("ada", "* *", "free"),
        ("coder", "* * test", "free"),
        ("coder", "* * other", "free"),
        ("coder", "* pods other", "never agent:coder"),
        ("coder", "* cronjobs.batch test", "free"),
        ("coder", "create serviceaccounts/token test", "never policy:no-tokens"),
        ("coder", "create */token test", "free"),
    ] {
        assert_eq!(asked(who, question, Star::Any), expected, "{who}: {question}");
    }
}
