//! What the roots of a policy's expressions may hold, as far as that is certain when the policy is loaded.
//!
//! In: the resource rules of a policy. Out: a shape for each root. An object may be of any kind that the rules can meet, so it may have the fields of
//! each; with a wildcard, or a resource that Kubernetes itself does not serve, it may be anything. Deliberately not here: what a cluster says of its CRDs.

use mantlet_expr::{Environment, Shape};

use super::matching::ResourceRule;
use crate::wire::protobuf::{shape_of, shape_of_kind};

/// What `object` and `oldObject` may be for requests that these rules speak about.
pub(super) fn met(rules: &[ResourceRule]) -> Shape {
    let patterns = rules.iter().flat_map(|rule| {
        let pairs = rule
            .groups
            .iter()
            .flat_map(|group| rule.resources.iter().map(move |r| (group, r)));
        pairs.map(|(group, pattern)| {
            pattern
                .words()
                .and_then(|(resource, below)| object(group, resource, below))
        })
    });
    let all: Option<Vec<Shape>> = patterns.collect();
    all.and_then(|shapes| shapes.into_iter().reduce(Shape::or))
        .unwrap_or(Shape::Any)
}

/// What a request for a resource, or for what is below it, writes or meets. A subresource may be answered with its parent.
fn object(group: &str, resource: &str, below: &str) -> Option<Shape> {
    let parent = shape_of(group, resource)?;
    let own = match (group, resource, below) {
        (_, _, "" | "status") => return Some(parent),
        ("", "pods", "ephemeralcontainers" | "resize") | ("", "namespaces", "finalize") => return Some(parent),
        ("certificates.k8s.io", "certificatesigningrequests", "approval") => return Some(parent),
        // Connects have no object.
        ("", "pods", "exec" | "attach" | "portforward" | "proxy" | "log") => return Some(parent),
        (_, _, "scale") => "autoscaling/v1/Scale",
        ("", "pods", "eviction") => "policy/v1/Eviction",
        ("", "pods", "binding") => "v1/Binding",
        ("", "serviceaccounts", "token") => "authentication.k8s.io/v1/TokenRequest",
        _ => return None,
    };
    Some(parent.or(shape_of_kind(own)?))
}

/// The roots of a policy with what is certain of them; `claims` may hold anything.
pub(super) fn known(environment: Environment, object: &Shape) -> Environment {
    let kind = |name| shape_of_kind(name).unwrap_or(Shape::Any);
    let items = || {
        Shape::record([
            ("items", Shape::list(Shape::Any)),
            ("count", Shape::Int),
            ("more", Shape::Any),
        ])
    };
    environment
        .with_shape("request", request())
        .with_shape("user", user())
        .with_shape("agent", agent())
        .with_shape("object", object.clone())
        .with_shape("oldObject", object.clone())
        .with_shape("target", kind("v1/Pod"))
        .with_shape("container", container().unwrap_or(Shape::Any))
        .with_shape("serviceAccount", service_account())
        .with_shape("namespaceObject", kind("v1/Namespace"))
        .with_shape("dependents", items())
        .with_shape("members", items())
}

fn request() -> Shape {
    let text = [
        "fieldManager",
        "propagationPolicy",
        "labelSelector",
        "fieldSelector",
        "container",
    ];
    let flags = ["force", "stdin", "stdout", "stderr", "tty"];
    let options = text.map(|name| (name, Shape::Text)).into_iter();
    let options = options.chain(flags.map(|name| (name, Shape::Bool)));
    let options = options.chain([("gracePeriodSeconds", Shape::Int), ("ports", Shape::list(Shape::Text))]);
    let text = [
        "verb",
        "apiGroup",
        "version",
        "resource",
        "subresource",
        "namespace",
        "name",
        "path",
    ];
    let fields = text.map(|name| (name, Shape::Text)).into_iter();
    Shape::record(fields.chain([
        ("dryRun", Shape::Bool),
        ("options", Shape::record(options)),
        ("command", Shape::list(Shape::Text)),
    ]))
}

fn user() -> Shape {
    let text = ["username", "uid", "issuer", "subject"]
        .map(|name| (name, Shape::Text))
        .into_iter();
    Shape::record(text.chain([
        ("groups", Shape::list(Shape::Text)),
        ("extra", Shape::map(Shape::list(Shape::Text))),
    ]))
}

fn agent() -> Shape {
    let account = Shape::record([("namespace", Shape::Text), ("name", Shape::Text)]);
    Shape::record([
        ("name", Shape::Text),
        ("labels", Shape::map(Shape::Text)),
        ("serviceAccount", account),
    ])
}

fn service_account() -> Shape {
    let rights = Shape::record([
        ("any", Shape::Bool),
        ("strong", Shape::Bool),
        ("reasons", Shape::list(Shape::Text)),
        ("rules", Shape::list(Shape::Any)),
    ]);
    Shape::record([("namespace", Shape::Text), ("name", Shape::Text), ("rights", rights)])
}

/// A container of any of a pod's three lists.
fn container() -> Option<Shape> {
    let field = |shape: Shape, name: &str| match shape {
        Shape::Object(fields) => fields.field(name),
        _ => None,
    };
    let spec = field(shape_of_kind("v1/Pod")?, "spec")?;
    let lists = ["containers", "initContainers", "ephemeralContainers"].map(|name| field(spec.clone(), name));
    let items = lists.into_iter().flatten().filter_map(|list| match list {
        Shape::List(item) => Some(*item),
        _ => None,
    });
    items.reduce(Shape::or)
}

#[cfg(test)]
mod tests {
    use super::super::cel::{Expression, Ground, Variables};
    use super::super::matching::ResourcePattern;
    use super::*;

    /// What is said of an expression in a policy about these resources.
    fn told(group: &str, resources: &[&str], source: &str) -> Option<String> {
        let rule = ResourceRule {
            groups: vec![group.to_owned()],
            resources: resources.iter().filter_map(|r| ResourcePattern::parse(r)).collect(),
            operations: Vec::new(),
            namespaces: Vec::new(),
            names: Vec::new(),
        };
        let about = Variables::about(met(&[rule]));
        let faults = Expression::compile(source, Ground::Rule, &about).err()?;
        Some(faults.join("\n"))
    }

    #[test]
    fn an_object_has_the_fields_of_each_kind_that_the_rules_can_meet_and_no_other() {
        for (group, resources, source, wanted) in [
            (
                "apps",
                &["deployments"][..],
                "object.spec.template.spec.hostNetwrok",
                "did you mean `hostNetwork`?",
            ),
            (
                "apps",
                &["deployments"],
                "oldObject.spec.replicas > 'x'",
                "`>` cannot compare an int with a string",
            ),
            (
                "",
                &["pods"],
                "object.spec.containers.all(c, c.imgae != '')",
                "did you mean `image`?",
            ),
            (
                "",
                &["pods"],
                "object.spec.template.spec.hostNetwork",
                "there is no field `template`",
            ),
            ("", &["pods", "secrets"], "object.nope == 1", "there is no field `nope`"),
            ("", &["pods/exec"], "target.spec.hostPid", "did you mean `hostPID`?"),
            (
                "",
                &["pods/exec"],
                "container.securityContext.priviliged",
                "did you mean `privileged`?",
            ),
            ("", &["pods/exec"], "request.comand == []", "did you mean `command`?"),
            (
                "",
                &["pods/exec"],
                "serviceAccount.rights.storng",
                "did you mean `strong`?",
            ),
            ("", &["pods"], "user.name == 'x'", "there is no field `name`"),
            (
                "",
                &["pods"],
                "agent.serviceAccount.nmae == 'x'",
                "did you mean `name`?",
            ),
            (
                "",
                &["pods"],
                "namespaceObject.metadata.lables.x == 'y'",
                "did you mean `labels`?",
            ),
            (
                "apps",
                &["deployments/scale"],
                "object.spec.replicsa > 3",
                "did you mean `replicas`?",
            ),
            ("", &["*"], "request.verbs == 'get'", "did you mean `verb`?"),
        ] {
            let told = told(group, resources, source).unwrap_or_default();
            assert!(told.contains(wanted), "{source}: {told}");
        }
    }

    #[test]
    fn what_could_be_there_is_never_refused() {
        for (group, resources, source) in [
            (
                "apps",
                &["deployments", "statefulsets"][..],
                "object.spec.volumeClaimTemplates.all(c, c.kind == 'PersistentVolumeClaim')",
            ),
            (
                "apps",
                &["deployments"],
                "object.kind == 'Deployment' && object.apiVersion == 'apps/v1' && object.spec.replicas <= 3",
            ),
            (
                "apps",
                &["deployments"],
                "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '25%'",
            ),
            ("", &["pods", "secrets"], "has(object.spec) || has(object.data)"),
            (
                "",
                &["pods"],
                "quantity(object.spec.containers[0].resources.limits.memory).isLessThan(quantity('1Gi'))",
            ),
            (
                "",
                &["pods"],
                "object.metadata.creationTimestamp == null || timestamp(object.metadata.creationTimestamp) < now",
            ),
            ("", &["pods/eviction"], "has(object.deleteOptions) || has(object.spec)"),
            ("", &["serviceaccounts/token"], "object.spec.expirationSeconds < 600"),
            (
                "apps",
                &["deployments/scale"],
                "object.spec.replicas < 3 && object.status.selector == 'x'",
            ),
            ("apps", &["*"], "object.anything.at.all == 1"),
            ("*", &["deployments"], "object.anything.at.all == 1"),
            ("example.com", &["widgets"], "object.anything.at.all == 1"),
            ("apps", &["deployments", "widgets"], "object.anything.at.all == 1"),
            ("apps", &["deployments/nope"], "object.anything.at.all == 1"),
            (
                "apiextensions.k8s.io",
                &["customresourcedefinitions"],
                "object.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.x.type == 'object'",
            ),
            (
                "rbac.authorization.k8s.io",
                &["roles", "clusterroles"],
                "object.rules.exists(r, '*' in r.verbs) || has(object.aggregationRule)",
            ),
            ("", &["pods"], "object.spec[?'fieldOfTomorrow'].hasValue()"),
            ("", &["pods"], "agent == null || agent.labels.tier == 'x'"),
            (
                "",
                &["pods"],
                "claims.anything.at.all == 1 && user.extra['x'][0] == 'y'",
            ),
            (
                "",
                &["pods"],
                "dependents.count > 3 || members.items.exists(i, i.kind == 'Pod')",
            ),
        ] {
            assert_eq!(told(group, resources, source), None, "{source}");
        }
    }
}
