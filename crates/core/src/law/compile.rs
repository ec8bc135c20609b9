//! From what was written to what is true: every name resolved, every expression compiled, all faults at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mantlet_api::policy as written;
use written::{Operation, ServiceAccountRef};

use crate::time::Timestamp;

use super::agent::{Agent, Scope, Session};
use super::cel::{Expression, Ground, Variables};
use super::glob::Glob;
use super::matching::{ResourcePattern, ResourceRule};
use super::own::Own;
use super::policy::{ModePerPopulation, Policy, Subject, Validation};
use super::roles::{Grant, Grantee};
use super::verdict::Epoch;
use super::{Law, Written, index};

/// One thing that is wrong with what was written. Prints as `path: message`, then `hint: …` if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub source: Source,
    /// As in `spec.match[0].expression`.
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Where something was written; what the number means is up to who read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Configuration,
    Document(usize),
}

const IDLE: Duration = Duration::from_secs(30 * 60);
const MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// RFC 1123 label and subdomain, as apimachinery `pkg/util/validation/validation.go` has them.
const LABEL: usize = 63;
const SUBDOMAIN: usize = 253;

impl Law {
    pub fn compile(written: Written, epoch: Epoch) -> Result<Law, Vec<Fault>> {
        let mut faults = Vec::new();
        let own = own_of(&written);
        let agents = agents(&written, &own, &mut faults);
        let policies = policies(&written, &mut faults);
        let grants = grants(&written, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let by_verb = index(&policies);
        Ok(Law {
            epoch,
            agents,
            own,
            grants,
            policies,
            by_verb,
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// A place in a document, and the faults found so far.
struct Spot<'f> {
    source: Source,
    path: String,
    faults: &'f mut Vec<Fault>,
}

impl Spot<'_> {
    fn field(&mut self, name: &str) -> Spot<'_> {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        Spot {
            source: self.source,
            path,
            faults: self.faults,
        }
    }

    fn item(&mut self, at: usize) -> Spot<'_> {
        Spot {
            source: self.source,
            path: format!("{}[{at}]", self.path),
            faults: self.faults,
        }
    }

    fn fault(&mut self, message: String, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.faults.push(Fault {
            source: self.source,
            path: self.path.clone(),
            message,
            hint,
        });
    }

    fn need(&mut self, holds: bool, message: &str, hint: &str) -> bool {
        if !holds {
            self.fault(message.to_owned(), hint);
        }
        holds
    }

    fn name(&mut self, name: &str, longest: usize) {
        let fits = if longest == LABEL {
            is_label(name)
        } else {
            is_subdomain(name)
        };
        if !fits {
            let message =
                format!("`{name}` is no name: lower case letters, digits and `-`, at most {longest} characters");
            self.fault(message, "write it like `web-frontend-2`");
        }
    }

    fn expression(&mut self, source: &str, ground: Ground, variables: &Variables) -> Option<Expression> {
        let compiled = Expression::compile(source, ground, variables);
        compiled
            .map_err(|faults| faults.into_iter().for_each(|f| self.fault(f, "")))
            .ok()
    }

    fn globs(&mut self, patterns: &[String]) -> Vec<Glob> {
        for (at, pattern) in patterns.iter().enumerate() {
            self.item(at).need(
                !pattern.is_empty(),
                "an empty pattern fits no name",
                "write a name, or `*` for all",
            );
        }
        patterns.iter().map(|p| Glob::new(p)).collect()
    }
}

fn is_label(name: &str) -> bool {
    name.len() <= LABEL && is_part(name)
}

fn is_part(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= SUBDOMAIN && name.split('.').all(is_part)
}

fn own_of(written: &Written) -> Own {
    let accounts = written
        .agents
        .iter()
        .map(|(_, a)| a.spec.service_account.namespace.clone());
    Own::new(accounts.chain(written.own_namespaces.iter().cloned()))
}

fn agents(written: &Written, own: &Own, faults: &mut Vec<Fault>) -> Vec<Arc<Agent>> {
    let mut names = BTreeSet::new();
    let mut accounts: BTreeMap<&ServiceAccountRef, &str> = BTreeMap::new();
    let mut agents = Vec::new();
    for (source, agent) in &written.agents {
        let mut spot = Spot {
            source: *source,
            path: String::new(),
            faults,
        };
        unique(&mut spot, &mut names, &agent.metadata.name, "agent", LABEL);
        if let Some(other) = accounts.insert(&agent.spec.service_account, &agent.metadata.name) {
            let message = format!("agent `{other}` already acts as this service account");
            spot.field("spec")
                .field("serviceAccount")
                .fault(message, "give each agent a service account of its own");
        }
        agents.extend(resolve_agent(&mut spot, agent, written, own).map(Arc::new));
    }
    agents
}

fn unique<'a>(spot: &mut Spot<'_>, names: &mut BTreeSet<&'a str>, name: &'a str, what: &str, longest: usize) {
    let mut metadata = spot.field("metadata");
    let mut spot = metadata.field("name");
    spot.name(name, longest);
    if !names.insert(name) {
        spot.fault(
            format!("there is already {} `{name}`", article(what)),
            "give it another name",
        );
    }
}

fn article(what: &str) -> String {
    let article = if what.starts_with('a') { "an" } else { "a" };
    format!("{article} {what}")
}

/// `None` if anything is wrong; what, is in the spot's faults.
fn resolve_agent(spot: &mut Spot<'_>, agent: &written::Agent, written: &Written, own: &Own) -> Option<Agent> {
    let before = spot.faults.len();
    let spec = &agent.spec;
    let mut spot = spot.field("spec");
    let matching = matching(&mut spot.field("match"), &spec.matching);
    owners(&mut spot.field("owners"), &spec.owners);
    account(&mut spot.field("serviceAccount"), &spec.service_account);
    let session = session(&mut spot.field("session"), &spec.session);
    let scope = scope(&mut spot.field("scope"), &spec.scope, written, own);
    let expires_at = spec
        .expires_at
        .as_deref()
        .and_then(|text| instant(&mut spot.field("expiresAt"), text));
    (spot.faults.len() == before).then(|| Agent {
        name: agent.metadata.name.clone(),
        matching,
        owners: spec.owners.clone(),
        service_account: spec.service_account.clone(),
        session,
        scope,
        expires_at,
    })
}

fn matching(spot: &mut Spot<'_>, conditions: &[written::Condition]) -> Vec<Expression> {
    spot.need(
        !conditions.is_empty(),
        "no identity would be this agent",
        "add `- expression: claims.sub == '…'`",
    );
    let compile = |(at, c): (usize, &written::Condition)| {
        spot.item(at)
            .field("expression")
            .expression(&c.expression, Ground::Match, &Variables::none())
    };
    conditions.iter().enumerate().filter_map(compile).collect()
}

fn owners(spot: &mut Spot<'_>, owners: &[written::Owner]) {
    for (at, owner) in owners.iter().enumerate() {
        let mut spot = spot.item(at);
        one_of(&mut spot, &[("user", &owner.user), ("group", &owner.group)]);
        spot.field("issuer")
            .need(!owner.issuer.is_empty(), "is empty", "write the URL of the issuer");
    }
}

/// The one that is set; a fault if none or several are.
fn one_of<'a>(spot: &mut Spot<'_>, fields: &[(&'a str, &'a Option<String>)]) -> Option<(&'a str, &'a str)> {
    let set: Vec<_> = fields
        .iter()
        .filter_map(|(name, value)| value.as_deref().map(|v| (*name, v)))
        .collect();
    match set.as_slice() {
        [(name, value)] => spot
            .field(name)
            .need(!value.is_empty(), "is empty", "")
            .then_some((*name, *value)),
        _ => {
            let names: Vec<_> = fields.iter().map(|(name, _)| format!("`{name}`")).collect();
            spot.fault(format!("expected exactly one of {}", names.join(", ")), "");
            None
        }
    }
}

fn account(spot: &mut Spot<'_>, account: &ServiceAccountRef) {
    spot.field("namespace").name(&account.namespace, LABEL);
    spot.field("name").name(&account.name, SUBDOMAIN);
}

fn session(spot: &mut Spot<'_>, written: &written::SessionSpec) -> Session {
    let key = written.key.as_deref();
    let key = key.and_then(|text| {
        spot.field("key")
            .expression(text, Ground::SessionKey, &Variables::none())
    });
    let idle = written
        .idle
        .as_deref()
        .map_or(IDLE, |text| duration(&mut spot.field("idle"), text));
    let max = written
        .max
        .as_deref()
        .map_or(MAX, |text| duration(&mut spot.field("max"), text));
    spot.need(
        idle <= max,
        "`idle` is longer than `max`",
        "write, for instance, `idle: 30m` and `max: 8h`",
    );
    Session { key, idle, max }
}

fn duration(spot: &mut Spot<'_>, text: &str) -> Duration {
    let parsed = parse_duration(text).filter(|d| !d.is_zero());
    parsed.unwrap_or_else(|| {
        spot.fault(
            format!("`{text}` is no time span"),
            "write, for instance, `30m`, `8h` or `1h30m`",
        );
        Duration::ZERO
    })
}

/// As Go's `time.ParseDuration`, whole numbers of `h`, `m` and `s` in this order.
fn parse_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, 0_u64);
    for (unit, seconds) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let number = digits.then(|| number.parse::<u64>().ok()).flatten()?;
            total = total.checked_add(number.checked_mul(seconds)?)?;
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(total))
}

fn instant(spot: &mut Spot<'_>, text: &str) -> Option<Timestamp> {
    let parsed = Timestamp::parse(text);
    spot.need(
        parsed.is_some(),
        &format!("`{text}` is no point in time"),
        "write, for instance, `2027-03-01T00:00:00Z`",
    );
    parsed
}

fn scope(spot: &mut Spot<'_>, written: &written::Scope, all: &Written, own: &Own) -> Scope {
    let mut clusters = spot.field("clusters");
    clusters.need(
        !written.clusters.is_empty(),
        "the agent could act on no cluster",
        "name one of `clusters` in mantlet.yaml",
    );
    for (at, name) in written.clusters.iter().enumerate() {
        let known: Vec<_> = all.clusters.iter().map(|c| format!("`{c}`")).collect();
        let message = format!("there is no cluster `{name}`");
        clusters.item(at).need(
            all.clusters.contains(name),
            &message,
            &format!("clusters are {}", known.join(", ")),
        );
    }
    let mut namespaces = spot.field("namespaces");
    for (at, name) in written.namespaces.iter().enumerate() {
        let mut spot = namespaces.item(at);
        spot.name(name, LABEL);
        let message =
            format!("`{name}` is a namespace of the gateway or of an agent's service account, where no agent may act");
        spot.need(
            !own.contains(name),
            &message,
            "keep service accounts of agents in a namespace of their own",
        );
    }
    let beyond = beyond(&mut spot.field("beyond"), &written.beyond);
    let secrets = spot.field("secrets").globs(&written.secrets);
    Scope {
        clusters: written.clusters.iter().cloned().collect(),
        namespaces: written.namespaces.iter().cloned().collect(),
        beyond,
        secrets,
        secret_reads: written.secret_reads,
    }
}

fn beyond(spot: &mut Spot<'_>, rules: &[written::Beyond]) -> Vec<ResourceRule> {
    let resolve = |(at, rule): (usize, &written::Beyond)| {
        let mut spot = spot.item(at);
        ResourceRule {
            groups: groups(&mut spot, &rule.api_groups),
            resources: resources(&mut spot, &rule.resources),
            operations: operations(&mut spot.field("verbs"), &rule.verbs),
            namespaces: spot.field("namespaces").globs(&rule.namespaces),
            names: spot.field("resourceNames").globs(&rule.resource_names),
        }
    };
    rules.iter().enumerate().map(resolve).collect()
}

fn groups(spot: &mut Spot<'_>, groups: &[String]) -> Vec<String> {
    let mut spot = spot.field("apiGroups");
    spot.need(
        !groups.is_empty(),
        "no group would match",
        "write `[\"\"]` for the core group, `[\"*\"]` for all",
    );
    for (at, group) in groups.iter().enumerate() {
        let fits = group.is_empty() || group == "*" || is_subdomain(group);
        spot.item(at).need(
            fits,
            &format!("`{group}` is no API group"),
            "write it without a version, like `apps`",
        );
    }
    groups.to_vec()
}

fn resources(spot: &mut Spot<'_>, resources: &[String]) -> Vec<ResourcePattern> {
    let mut spot = spot.field("resources");
    spot.need(
        !resources.is_empty(),
        "no resource would match",
        "write, for instance, `[pods, pods/exec]`",
    );
    let parse = |(at, text): (usize, &String)| {
        let lower = !text.chars().any(char::is_uppercase);
        let pattern = ResourcePattern::parse(text).filter(|_| lower);
        let message = format!("`{text}` is no resource");
        spot.item(at).need(
            pattern.is_some(),
            &message,
            "write it as in RBAC: `pods`, `pods/exec`, `*`, `*/scale`",
        );
        pattern
    };
    resources.iter().enumerate().filter_map(parse).collect()
}

fn operations(spot: &mut Spot<'_>, operations: &[Operation]) -> Vec<Operation> {
    spot.need(
        !operations.is_empty(),
        "no request would match",
        "write, for instance, `[create, update, patch]`",
    );
    operations.to_vec()
}

fn policies(written: &Written, faults: &mut Vec<Fault>) -> Vec<Policy> {
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

fn grants(written: &Written, faults: &mut Vec<Fault>) -> Vec<Grant> {
    let mut spot = Spot {
        source: Source::Configuration,
        path: String::from("authorization.roles"),
        faults,
    };
    let resolve = |(at, grant): (usize, &written::RoleGrant)| {
        let mut spot = spot.item(at);
        spot.field("issuer")
            .need(!grant.issuer.is_empty(), "is empty", "write the URL of the issuer");
        let clusters = spot.field("clusters").globs(&grant.clusters);
        spot.field("clusters").need(
            !clusters.is_empty(),
            "the role would hold on no cluster",
            "write `[\"*\"]` for all",
        );
        let who = match one_of(&mut spot, &[("user", &grant.user), ("group", &grant.group)])? {
            ("user", user) => Grantee::User(user.to_owned()),
            (_, group) => Grantee::Group(group.to_owned()),
        };
        Some(Grant {
            role: grant.role,
            issuer: grant.issuer.clone(),
            who,
            clusters,
        })
    };
    written.roles.iter().enumerate().filter_map(resolve).collect()
}
