//! Issuers that are a cluster's own (`issuers[].cluster`): what the AuthenticationConfiguration may say of them.
//!
//! Their keys come from that cluster and the name is made of the account that the token is of, so everything that speaks of other keys or other
//! names is refused by its field, never ignored.

use mantlet_api::authentication::{AuthenticationConfiguration, JwtAuthenticator};
use mantlet_api::config::{Configuration, Population};
use mantlet_core::identity::issuer::Issuer;

use super::fault::Fault;
use super::tree::Document;

/// Every fault of both files.
pub(crate) fn check(
    written: &Configuration,
    authentication: &AuthenticationConfiguration,
    configuration_file: &Document,
    authentication_file: &Document,
    faults: &mut Vec<Fault>,
) {
    let mut fault = |file: &Document, path: String, message: String, hint: &str| {
        faults.push(file.fault(&path, message).hint(hint));
    };
    for (n, issuer) in written.issuers.iter().enumerate() {
        let Some(name) = &issuer.cluster else { continue };
        if !written.clusters.iter().any(|cluster| cluster.name == *name) {
            let message = format!("there is no cluster `{name}`");
            fault(
                configuration_file,
                format!("issuers[{n}].cluster"),
                message,
                "name one of `clusters`",
            );
        }
        if issuer.population != Population::Agents {
            let message = String::from("a cluster's own issuer vouches for ServiceAccounts, which are not people");
            let path = format!("issuers[{n}].population");
            fault(configuration_file, path, message, "write `population: agents`");
        }
        for (at, jwt) in authentication.jwt.iter().enumerate() {
            if jwt.issuer.url == issuer.url {
                for (field, message, hint) in unfit(jwt) {
                    fault(
                        authentication_file,
                        format!("jwt[{at}].{field}"),
                        message.to_owned(),
                        hint,
                    );
                }
            }
            // kube-apiserver `--api-audiences`: "If --service-account-issuer is configured and this flag is not, this field defaults to a single
            // element list containing the issuer URL."
            for (a, _) in jwt
                .issuer
                .audiences
                .iter()
                .enumerate()
                .filter(|(_, a)| **a == issuer.url)
            {
                let message = format!(
                    "`{}` is an audience of cluster `{name}`: its tokens would work without the gateway",
                    issuer.url
                );
                let hint = "give the gateway an audience of its own, such as `mantlet`";
                fault(
                    authentication_file,
                    format!("jwt[{at}].issuer.audiences[{a}]"),
                    message,
                    hint,
                );
            }
        }
    }
}

/// Fields that cannot mean anything here, with what is wrong and what to do.
fn unfit(jwt: &JwtAuthenticator) -> Vec<(&'static str, &'static str, &'static str)> {
    let keys = "is not used for a cluster's own issuer: its keys come from the cluster";
    let username = &jwt.claim_mappings.username;
    let subject = (username.claim.as_deref(), username.prefix.as_deref()) == (Some("sub"), Some(""));
    let mut unfit = Vec::new();
    if jwt.issuer.discovery_url.is_some() {
        unfit.push(("issuer.discoveryURL", keys, "remove the field"));
    }
    if jwt.issuer.certificate_authority.is_some() {
        unfit.push(("issuer.certificateAuthority", keys, "remove the field"));
    }
    if !subject {
        let message = "is not how a cluster's own issuer names anybody: the name is k8s:CLUSTER:NAMESPACE:NAME";
        unfit.push((
            "claimMappings.username",
            message,
            "write `username: { claim: sub, prefix: \"\" }`",
        ));
    }
    if jwt.claim_mappings.groups != Default::default() {
        let message = "a ServiceAccount has no groups here";
        unfit.push(("claimMappings.groups", message, "remove the field"));
    }
    let written = [
        ("claimMappings.uid", jwt.claim_mappings.uid != Default::default()),
        ("claimMappings.extra", !jwt.claim_mappings.extra.is_empty()),
        ("claimValidationRules", !jwt.claim_validation_rules.is_empty()),
        ("userValidationRules", !jwt.user_validation_rules.is_empty()),
    ];
    for (field, _) in written.into_iter().filter(|(_, there)| *there) {
        let message = "is not used for a cluster's own issuer: the cluster itself is asked about each of its tokens";
        unfit.push((
            field,
            message,
            "remove the field; which accounts are agents stands in each Agent's `match`",
        ));
    }
    unfit
}

/// The same issuers, those of clusters named so.
pub(crate) fn name(issuers: Vec<Issuer>, written: &Configuration) -> Vec<Issuer> {
    let cluster = |issuer: &Issuer| {
        let mut listed = written.issuers.iter();
        listed
            .find(|listed| listed.url == issuer.url())
            .and_then(|listed| listed.cluster.as_deref())
    };
    issuers
        .into_iter()
        .map(|issuer| match cluster(&issuer) {
            Some(name) => issuer.of_cluster(name),
            None => issuer,
        })
        .collect()
}
