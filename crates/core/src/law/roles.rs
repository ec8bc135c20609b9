//! Mantlet's own rights: granted in `mantlet.yaml` to people and groups of one issuer, never by a cluster's RBAC.

use std::collections::BTreeSet;

use mantlet_api::policy::Role;

use crate::identity::Verified;

use super::glob::Glob;

/// The roles that somebody holds on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles(BTreeSet<Role>);

/// A resolved line of `authorization.roles`.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) role: Role,
    pub(super) issuer: String,
    pub(super) who: Grantee,
    pub(super) clusters: Vec<Glob>,
}

#[derive(Debug)]
pub(super) enum Grantee {
    User(String),
    Group(String),
}

impl Roles {
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    pub(super) fn of(grants: &[Grant], verified: &Verified, cluster: &str) -> Self {
        Self(
            grants
                .iter()
                .filter(|g| g.fits(verified, cluster))
                .map(|g| g.role)
                .collect(),
        )
    }
}

impl Grant {
    fn fits(&self, verified: &Verified, cluster: &str) -> bool {
        let named = match &self.who {
            Grantee::User(user) => user == verified.username(),
            Grantee::Group(group) => verified.groups().contains(group),
        };
        named && self.issuer == verified.issuer() && self.clusters.iter().any(|c| c.fits(cluster))
    }
}
