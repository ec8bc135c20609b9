//! Agents: who they are, as what they act, where.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use mantlet_api::policy as written;
use written::ServiceAccountRef;

use crate::time::Timestamp;

use super::super::Written;
use super::super::agent::{Agent, Budgets, Limits, Scope, Session};
use super::super::cel::{Expression, Ground, Variables};
use super::super::matching::ResourceRule;
use super::super::own::Own;
use super::super::verdict::Allowance;
use super::spot::{LABEL, SUBDOMAIN, Spot, groups, one_of, operations, resources, thresholds, unique};
use super::{Fault, Source};

const IDLE: Duration = Duration::from_secs(30 * 60);
const MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// More than one gateway carries is no limit, but a slip of the pen.
const LIMIT: u32 = 100_000;

pub(super) fn resolve(written: &Written, own: &Own, faults: &mut Vec<Fault>) -> Vec<Arc<Agent>> {
    let mut names = BTreeSet::new();
    let mut accounts: BTreeMap<ServiceAccountRef, &str> = BTreeMap::new();
    let mut agents = Vec::new();
    for (source, agent) in &written.agents {
        let mut spot = Spot {
            source: *source,
            path: String::new(),
            faults,
        };
        unique(&mut spot, &mut names, &agent.metadata.name, "agent", LABEL);
        if let Some(other) = accounts.insert(reference(&agent.spec.service_account), &agent.metadata.name) {
            let message = format!("agent `{other}` already acts as this service account");
            spot.field("spec")
                .field("serviceAccount")
                .fault(message, "give each agent a service account of its own");
        }
        agents.extend(resolve_agent(&mut spot, agent, written, own).map(Arc::new));
    }
    agents
}

/// `None` if anything is wrong; what, is in the spot's faults.
fn resolve_agent(spot: &mut Spot<'_>, agent: &written::Agent, written: &Written, own: &Own) -> Option<Agent> {
    let before = spot.faults.len();
    let spec = &agent.spec;
    let mut spot = spot.field("spec");
    let matching = matching(&mut spot.field("match"), &spec.matching);
    owners(&mut spot.field("owners"), &spec.owners);
    let service_account = reference(&spec.service_account);
    account(&mut spot.field("serviceAccount"), &service_account);
    let session = session(&mut spot.field("session"), &spec.session);
    elevations(&mut spot.field("elevations"), &spec.elevations, written);
    let scope = scope(&mut spot.field("scope"), &spec.scope, written, own);
    let limits = limits(&mut spot.field("limits"), &spec.limits);
    let budgets = budgets(&mut spot.field("limits"), &spec.limits);
    let risk = spec.risk.map(|written| thresholds(&mut spot.field("risk"), written));
    let expires_at = spec
        .expires_at
        .as_deref()
        .and_then(|text| instant(&mut spot.field("expiresAt"), text));
    (spot.faults.len() == before).then(|| Agent {
        name: agent.metadata.name.clone(),
        labels: agent.metadata.labels.clone(),
        matching,
        owners: spec.owners.clone(),
        service_account,
        session,
        scope,
        limits,
        budgets,
        via: spec.service_account.via,
        elevations: spec.elevations.clone(),
        risk,
        expires_at,
    })
}

fn reference(account: &written::UpstreamAccount) -> ServiceAccountRef {
    ServiceAccountRef {
        namespace: account.namespace.clone(),
        name: account.name.clone(),
    }
}

fn budgets(spot: &mut Spot<'_>, written: &written::Limits) -> Budgets {
    let count = |b: &written::Budget| (b.count, b.per.clone());
    let mut of = |field: &str, unit: &str, budget: Option<(u32, String)>| {
        let (count, per) = budget?;
        let mut spot = spot.field(field);
        let message = format!("`{count}` is not a number up to {LIMIT}");
        let hint = "without a limit: leave the field out";
        spot.field(unit).need(count <= LIMIT, &message, hint);
        let mut spot = spot.field("per");
        let span = duration(&mut spot, &per);
        let message = format!("`{per}` is longer than anything is remembered");
        spot.need(span <= Allowance::LONGEST, &message, "write `168h` or less");
        Some(Allowance { count, per: span })
    };
    let deletes = written.deletes.as_ref().map(|b| (b.objects, b.per.clone()));
    Budgets {
        deletes: match deletes {
            None => Some(Allowance::DELETES),
            written => of("deletes", "objects", written),
        },
        namespaces: of("namespaces", "count", written.namespaces.as_ref().map(count)),
        secret_reads: of("secretReads", "count", written.secret_reads.as_ref().map(count)),
        denials: of("denials", "count", written.denials.as_ref().map(count)),
    }
}

fn limits(spot: &mut Spot<'_>, written: &written::Limits) -> Limits {
    let mut limit = |field: &str, number: Option<u32>| {
        let number = number?;
        let message = format!("`{number}` is not a number from 1 to {LIMIT}");
        let hint = "to stop the agent altogether: mantlet agent suspend NAME; without a limit: leave the field out";
        spot.field(field).need((1..=LIMIT).contains(&number), &message, hint);
        NonZeroU32::new(number)
    };
    Limits {
        requests_per_second: limit("requestsPerSecond", written.requests_per_second),
        in_flight: limit("inFlight", written.in_flight),
        watches: limit("watches", written.watches),
    }
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

fn account(spot: &mut Spot<'_>, account: &ServiceAccountRef) {
    spot.field("namespace").name(&account.namespace, LABEL);
    spot.field("name").name(&account.name, SUBDOMAIN);
}

/// Each of a policy that there is, as an account that no agent has: what it may do, it may do for one approved operation at a time.
fn elevations(spot: &mut Spot<'_>, elevations: &[written::Elevation], written: &Written) {
    let mut policies = BTreeSet::new();
    for (at, elevation) in elevations.iter().enumerate() {
        let mut spot = spot.item(at);
        let (policy, named) = (&elevation.policy, &elevation.service_account);
        account(&mut spot.field("serviceAccount"), named);
        let agent = written
            .agents
            .iter()
            .find(|(_, a)| reference(&a.spec.service_account) == *named);
        if let Some((_, agent)) = agent {
            let message = format!(
                "agent `{}` acts as this service account all the time",
                agent.metadata.name
            );
            let hint = "give the elevation a service account of its own, that nobody acts as without approval";
            spot.field("serviceAccount").fault(message, hint);
        }
        let mut spot = spot.field("policy");
        let known = written.policies.iter().find(|(_, p)| p.metadata.name == *policy);
        let asks = |(_, p): &(Source, written::Policy)| {
            let held = |v: &written::Validation| v.action == written::ValidationAction::RequireApproval;
            p.spec.validations.iter().any(held)
        };
        match known {
            None => spot.fault(
                format!("there is no policy `{policy}`"),
                "name a policy that asks for approval",
            ),
            Some(known) => {
                let message = format!("policy `{policy}` never asks for approval");
                spot.need(asks(known), &message, "elevate what a `RequireApproval` of it holds");
            }
        }
        let message = format!("there is already an elevation for policy `{policy}`");
        spot.need(
            policies.insert(policy),
            &message,
            "an approved operation acts as one account",
        );
    }
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
