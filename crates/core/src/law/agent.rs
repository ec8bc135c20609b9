//! An agent as the law knows it: what was written, checked and resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use mantlet_api::policy::{Elevation, Owner, RiskThresholds, SecretReads, ServiceAccountRef, Via};

use crate::action::{ResourceRef, Verb};
use crate::time::Timestamp;

use super::cel::Expression;
use super::glob::Glob;
use super::matching::{Named, ResourceRule};
use super::verdict::Allowance;

/// A non-human identity that the law knows.
#[derive(Debug)]
pub struct Agent {
    pub(super) name: String,
    /// What expressions of policies see: packs are for agents by their labels.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) matching: Vec<Expression>,
    pub(super) owners: Vec<Owner>,
    pub(super) service_account: ServiceAccountRef,
    pub(super) session: Session,
    pub(super) scope: Scope,
    pub(super) limits: Limits,
    pub(super) budgets: Budgets,
    pub(super) via: Via,
    pub(super) elevations: Vec<Elevation>,
    pub(super) risk: Option<RiskThresholds>,
    pub(super) expires_at: Option<Timestamp>,
}

/// What the agent may ask of one cluster at a time. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    pub requests_per_second: Option<NonZeroU32>,
    pub in_flight: Option<NonZeroU32>,
    pub watches: Option<NonZeroU32>,
}

/// What the agent may use up in a stretch of time on one cluster, all its sessions together. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budgets {
    pub deletes: Option<Allowance>,
    pub namespaces: Option<Allowance>,
    pub secret_reads: Option<Allowance>,
    pub denials: Option<Allowance>,
}

/// One of its limits, reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    RequestsPerSecond(NonZeroU32),
    InFlight(NonZeroU32),
    Watches(NonZeroU32),
}

/// What one session of the agent is.
#[derive(Debug)]
pub struct Session {
    pub(super) key: Option<Expression>,
    pub(super) idle: Duration,
    pub(super) max: Duration,
}

/// Where the agent may act at all.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) clusters: BTreeSet<String>,
    pub(super) namespaces: BTreeSet<String>,
    pub(super) beyond: Vec<ResourceRule>,
    pub(super) secrets: Vec<Glob>,
    pub(super) secret_reads: SecretReads,
}

impl Agent {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    pub fn service_account(&self) -> &ServiceAccountRef {
        &self.service_account
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Clusters on which it may act.
    pub fn clusters(&self) -> &BTreeSet<String> {
        &self.scope.clusters
    }

    /// Namespaces in which it may act.
    pub fn namespaces(&self) -> &BTreeSet<String> {
        &self.scope.namespaces
    }

    /// Whether anything outside of its namespaces may be asked for.
    pub(super) fn may_ask_beyond(&self) -> bool {
        !self.scope.beyond.is_empty()
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn budgets(&self) -> Budgets {
        self.budgets
    }

    /// How the gateway acts as its account.
    pub fn via(&self) -> Via {
        self.via
    }

    pub fn elevations(&self) -> &[Elevation] {
        &self.elevations
    }

    /// Its own thresholds, in place of those of the configuration.
    pub fn risk(&self) -> Option<RiskThresholds> {
        self.risk
    }

    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl Session {
    /// A session ends after this long without a request.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// A session ends this long after its first request.
    pub fn max(&self) -> Duration {
        self.max
    }
}

impl Scope {
    /// Inside is what has a listed namespace. `namespaces/NAME` counts as in NAME: RequestInfo says so itself.
    pub(super) fn contains(&self, resource: &ResourceRef) -> bool {
        self.namespaces.contains(&resource.namespace)
    }

    /// What may be asked for though it lies outside.
    pub(super) fn may_ask_for(&self, verb: Verb, resource: &ResourceRef, name: Named<'_>) -> bool {
        self.beyond.iter().any(|rule| rule.speaks_about(verb, resource, name))
    }

    pub(super) fn covers_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|glob| glob.fits(name))
    }
}
