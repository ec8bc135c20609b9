//! Policies: what they speak about, and what must hold.

use std::collections::BTreeSet;

use mantlet_api::policy as written;

use super::super::Written;
use super::super::cel::{Expression, Ground, Variables};
use super::super::glob::Glob;
use super::super::matching::ResourceRule;
use super::super::policy::{ModePerPopulation, Policy, Subject, Validation};
use super::Fault;
use super::spot::{SUBDOMAIN, Spot, groups, one_of, operations, resources, unique};

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
    let variables = variables(&mut spot.field("variables"), &spec.variables);
    let conditions = conditions(&mut spot.field("matchConditions"), &spec.match_conditions, &variables);
    let validations = validations(&mut spot.field("validations"), &spec.validations, &variables);
    (spot.faults.len() == before).then(|| Policy {
        name: policy.metadata.name.clone(),
        mode: mode(spec.mode),
        subjects,
        clusters,
        rules,
        conditions,
        variables,
        validations,
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
fn variables(spot: &mut Spot<'_>, written: &[written::Variable]) -> Variables {
    let mut variables = Variables::none();
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

fn validations(spot: &mut Spot<'_>, written: &[written::Validation], variables: &Variables) -> Vec<Validation> {
    spot.need(
        !written.is_empty(),
        "the policy could never act",
        "add `- expression: \"false\"` with `action` and `message`",
    );
    let compile = |(at, validation): (usize, &written::Validation)| {
        let mut spot = spot.item(at);
        spot.field("message").need(
            !validation.message.trim().is_empty(),
            "is empty",
            "say why, for whoever is refused",
        );
        let expression = spot
            .field("expression")
            .expression(&validation.expression, Ground::Rule, variables)?;
        Some(Validation {
            expression,
            action: validation.action,
            message: validation.message.clone(),
        })
    };
    written.iter().enumerate().filter_map(compile).collect()
}
