//! Policies: what they speak about, and what must hold.

use std::collections::BTreeSet;

use mantlet_api::policy as written;
use mantlet_expr::Shape;

use super::super::Written;
use super::super::cel::{Expression, Ground, Variables};
use super::super::glob::Glob;
use super::super::matching::ResourceRule;
use super::super::policy::{Annotation, MessageExpression, ModePerPopulation, Policy, Subject, Validation};
use super::super::shapes::met;
use super::Fault;
use super::spot::{LABEL, SUBDOMAIN, Spot, groups, one_of, operations, resources, unique};

/// apiserver `pkg/apis/admissionregistration/validation/validation.go`, maxAuditAnnotations.
const ANNOTATIONS: usize = 20;

pub(super) fn resolve(written: &Written, faults: &mut Vec<Fault>) -> Vec<Policy> {
    let mut names = BTreeSet::new();
    let mut policies = Vec::new();
    for (source, policy) in &written.policies {
        let mut spot = Spot {
            source: *source,
            path: String::new(),
            faults,
        };
        unique(&mut spot, &mut names, &policy.metadata.name, "policy", SUBDOMAIN);
        policies.extend(resolve_policy(&mut spot, policy));
    }
    policies.sort_by(|a: &Policy, b| a.name.cmp(&b.name));
    policies
}

fn resolve_policy(spot: &mut Spot<'_>, policy: &written::Policy) -> Option<Policy> {
    let before = spot.faults.len();
    let spec = &policy.spec;
    let mut spot = spot.field("spec");
    let constraints = &spec.match_constraints;
    let mut about = spot.field("matchConstraints");
    let subjects = subjects(&mut about.field("subjects"), &constraints.subjects);
    let clusters = about.field("clusters").globs(&constraints.clusters);
    let rules = rules(&mut about.field("resourceRules"), &constraints.resource_rules);
    let variables = variables(&mut spot.field("variables"), &spec.variables, met(&rules));
    let conditions = conditions(&mut spot.field("matchConditions"), &spec.match_conditions, &variables);
    let speaks = spec.audit_annotations.is_empty();
    let validations = validations(&mut spot.field("validations"), &spec.validations, &variables, speaks);
    let annotations = annotations(
        &mut spot.field("auditAnnotations"),
        &policy.metadata.name,
        &spec.audit_annotations,
        &variables,
    );
    (spot.faults.len() == before).then(|| Policy {
        name: policy.metadata.name.clone(),
        mode: mode(spec.mode),
        subjects,
        clusters,
        rules,
        conditions,
        variables,
        validations,
        annotations,
    })
}

fn mode(written: written::Mode) -> ModePerPopulation {
    match written {
        written::Mode::Everybody(strength) => ModePerPopulation {
            agents: strength,
            people: strength,
        },
        written::Mode::Each(written::ModePerPopulation { agents, people }) => ModePerPopulation { agents, people },
    }
}

fn subjects(spot: &mut Spot<'_>, subjects: &[written::Subject]) -> Vec<Subject> {
    let resolve = |(at, s): (usize, &written::Subject)| {
        let fields = [("agent", &s.agent), ("user", &s.user), ("group", &s.group)];
        match one_of(&mut spot.item(at), &fields)? {
            ("agent", glob) => Some(Subject::Agent(Glob::new(glob))),
            ("user", user) => Some(Subject::User(user.to_owned())),
            (_, group) => Some(Subject::Group(group.to_owned())),
        }
    };
    subjects.iter().enumerate().filter_map(resolve).collect()
}

fn rules(spot: &mut Spot<'_>, rules: &[written::ResourceRule]) -> Vec<ResourceRule> {
    spot.need(
        !rules.is_empty(),
        "no request would match",
        "add a rule with `apiGroups`, `resources` and `operations`",
    );
    let resolve = |(at, rule): (usize, &written::ResourceRule)| {
        let mut spot = spot.item(at);
        ResourceRule {
            groups: groups(&mut spot, &rule.api_groups),
            resources: resources(&mut spot, &rule.resources),
            operations: operations(&mut spot.field("operations"), &rule.operations),
            namespaces: spot.field("namespaces").globs(&rule.namespaces),
            names: spot.field("resourceNames").globs(&rule.resource_names),
        }
    };
    rules.iter().enumerate().map(resolve).collect()
}

/// A variable may name those above it.
fn variables(spot: &mut Spot<'_>, written: &[written::Variable], object: Shape) -> Variables {
    let mut variables = Variables::about(object);
    for (at, variable) in written.iter().enumerate() {
        let mut spot = spot.item(at);
        let name = &variable.name;
        spot.field("name").need(
            is_identifier(name),
            &format!("`{name}` is no name of a variable"),
            "write it like `podSpec`",
        );
        spot.field("name").need(
            !variables.has(name),
            &format!("there is already a variable `{name}`"),
            "give it another name",
        );
        if let Some(expression) =
            spot.field("expression")
                .expression(&variable.expression, Ground::Variable, &variables)
        {
            variables.add(name, expression);
        }
    }
    variables
}

fn is_identifier(name: &str) -> bool {
    let start = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    start && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn conditions(spot: &mut Spot<'_>, written: &[written::MatchCondition], variables: &Variables) -> Vec<Expression> {
    let mut names = BTreeSet::new();
    let mut compiled = Vec::new();
    for (at, condition) in written.iter().enumerate() {
        let mut spot = spot.item(at);
        let fresh = names.insert(&condition.name);
        spot.field("name").need(
            !condition.name.is_empty(),
            "is empty",
            "name what must hold, like `not-a-dry-run`",
        );
        spot.field("name").need(
            fresh,
            &format!("there is already a condition `{}`", condition.name),
            "give it another name",
        );
        compiled.extend(
            spot.field("expression")
                .expression(&condition.expression, Ground::Rule, variables),
        );
    }
    compiled
}

fn validations(
    spot: &mut Spot<'_>,
    written: &[written::Validation],
    variables: &Variables,
    needed: bool,
) -> Vec<Validation> {
    spot.need(
        !(needed && written.is_empty()),
        "the policy could never act",
        "add `- expression: \"false\"` with `action` and `message`",
    );
    let compile = |(at, written): (usize, &written::Validation)| validation(&mut spot.item(at), written, variables);
    written.iter().enumerate().filter_map(compile).collect()
}

fn validation(spot: &mut Spot<'_>, written: &written::Validation, variables: &Variables) -> Option<Validation> {
    spot.field("message").need(
        !written.message.trim().is_empty(),
        "is empty",
        "say why, for whoever is refused",
    );
    spot.field("risk").need(
        written.risk <= 100,
        &format!("`{}` is not a number from 0 to 100", written.risk),
        "write how many points of risk it adds",
    );
    spot.field("action").need(
        written.action != written::ValidationAction::None || written.risk > 0,
        "`None` without `risk` does nothing",
        "write how many points of risk it adds, or another action",
    );
    let message = written.message_expression.as_ref();
    let message = message.map(|source| message_expression(&mut spot.field("messageExpression"), source, variables));
    let expression = spot
        .field("expression")
        .expression(&written.expression, Ground::Rule, variables)?;
    Some(Validation {
        expression,
        action: written.action,
        points: written.risk,
        message: written.message.clone(),
        message_expression: match message {
            Some(compiled) => Some(compiled?),
            None => None,
        },
    })
}

fn message_expression(spot: &mut Spot<'_>, source: &str, variables: &Variables) -> Option<MessageExpression> {
    let expression = spot.expression(source, Ground::Message, variables)?;
    Some(MessageExpression {
        withheld: expression.reads_for_the_law(variables),
        expression,
    })
}

fn annotations(
    spot: &mut Spot<'_>,
    policy: &str,
    written: &[written::AuditAnnotation],
    variables: &Variables,
) -> Vec<Annotation> {
    let mut keys = BTreeSet::new();
    spot.need(
        written.len() <= ANNOTATIONS,
        &format!("{} are too many, a policy may have {ANNOTATIONS}", written.len()),
        "put several values into one text",
    );
    spot.need(
        written.is_empty() || policy != "mantlet.dev",
        "keys that begin with `mantlet.dev/` are the gateway's own",
        "give the policy another name",
    );
    let mut compiled = Vec::new();
    for (at, annotation) in written.iter().enumerate() {
        let (mut spot, key) = (spot.item(at), &annotation.key);
        spot.field("key").need(
            is_key(key),
            &format!("`{key}` is no key: letters, digits, `-`, `_` and `.`, at most {LABEL} characters"),
            "write it like `high-replica-count`; the policy's name is put before it",
        );
        let message = format!("there is already a key `{key}`");
        spot.field("key")
            .need(keys.insert(key), &message, "give it another name");
        let expression =
            spot.field("valueExpression")
                .expression(&annotation.value_expression, Ground::Annotation, variables);
        compiled.extend(expression.map(|expression| Annotation {
            key: format!("{policy}/{key}"),
            expression,
        }));
    }
    compiled
}

/// The name of a qualified name (apimachinery `pkg/util/validation/validation.go`, IsQualifiedName).
fn is_key(key: &str) -> bool {
    let ends = key.chars().next().into_iter().chain(key.chars().last());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !key.is_empty()
        && key.len() <= LABEL
        && key.chars().all(inner)
        && ends.into_iter().all(|c| c.is_ascii_alphanumeric())
}
