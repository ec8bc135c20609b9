//! Issuers: what the AuthenticationConfiguration says, joined with whom each issuer vouches for.
//!
//! In: the written file and `issuers` of the gateway's configuration. Out: [`Issuer`]s that the verifier needs nothing more to use.
//! Refuses: everything upstream's validation refuses (apiserver `pkg/apis/apiserver/validation/validation.go`), everything Mantlet
//! does not honor yet, audiences that an API server accepts by default, and an issuer that only one of the two files names.
//! Does not look at the certificates inside `certificateAuthority`; the key fetcher does when it is built.

use std::collections::BTreeSet;

use mantlet_api::authentication::{API_VERSION, AuthenticationConfiguration, JwtAuthenticator, KIND};

use super::Population;
use super::mapping::Mapping;

/// Upstream takes 64 authenticators at most.
const MOST_ISSUERS: usize = 64;

/// Audiences that API servers accept out of the box (kubeadm, k3s, RKE2, kind, EKS, AKS and those that were set up with examples of the
/// documentation). A token for one of them would go around the gateway. k3s and RKE2: `pkg/daemons/control/server.go`, `api-audiences`.
/// The number is the server application of AKS for Microsoft Entra ID (Azure/kubelogin).
const CLUSTER_AUDIENCES: [&str; 7] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "k3s",
    "rke2",
    "api",
    "6dae42f8-4368-4678-94ff-3960e28e3630",
];

/// Issuers of clusters in the large clouds, each the audience of its own API server: GKE, EKS, AKS.
const CLUSTER_HOSTS: [&str; 4] = [
    "container.googleapis.com/",
    "oidc.eks.",
    ".azmk8s.io",
    ".prod-aks.azure.com",
];

/// One issuer whose tokens are accepted, and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    pub(crate) url: String,
    discovery_url: String,
    certificate_authority: Option<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) mapping: Mapping,
    pub(crate) population: Population,
    /// The cluster whose own issuer it is, by its name here.
    pub(crate) cluster: Option<String>,
}

/// What is wrong with one field of either file. `path` counts from the root of its file (`jwt[0].issuer.url`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: File,
    pub path: String,
    pub message: String,
    pub hint: String,
}

/// Which of the two files a fault lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    Authentication,
    Configuration,
}

impl Issuer {
    /// The `iss` claim of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of the discovery document.
    pub fn discovery_url(&self) -> &str {
        &self.discovery_url
    }

    /// PEM; the system's roots if there is none.
    pub fn certificate_authority(&self) -> Option<&str> {
        self.certificate_authority.as_deref()
    }

    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    pub fn population(&self) -> Population {
        self.population
    }

    /// The same as a cluster's own: its keys and the last word on its tokens are had from that cluster.
    #[must_use]
    pub fn of_cluster(mut self, name: &str) -> Self {
        self.cluster = Some(name.to_owned());
        self
    }

    /// None for every issuer that is not a cluster.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }
}

/// Joins both files; every fault of both at once.
pub fn resolve(
    written: &AuthenticationConfiguration,
    populations: &[(String, Population)],
) -> Result<Vec<Issuer>, Vec<Fault>> {
    let mut faults = Vec::new();
    check_envelope(written, &mut faults);
    check_populations(written, populations, &mut faults);
    check_unique(written, &mut faults);
    let issuers: Vec<_> = written
        .jwt
        .iter()
        .enumerate()
        .filter_map(|(at, jwt)| resolve_one(jwt, populations, &format!("jwt[{at}]"), &mut faults))
        .collect();
    if faults.is_empty() { Ok(issuers) } else { Err(faults) }
}

fn check_envelope(written: &AuthenticationConfiguration, faults: &mut Vec<Fault>) {
    if written.api_version != API_VERSION {
        let message = format!("`{}` is not a version that Mantlet reads", written.api_version);
        faults.push(fault(
            "apiVersion",
            message,
            &format!("write `apiVersion: {API_VERSION}`"),
        ));
    }
    if written.kind != KIND {
        faults.push(fault(
            "kind",
            format!("`{}` is another kind", written.kind),
            &format!("write `kind: {KIND}`"),
        ));
    }
    if written.anonymous.is_some() {
        let hint = "remove the field; nobody comes in here without a token, whatever it says";
        faults.push(fault("anonymous", "`anonymous` is not supported".into(), hint));
    }
    if written.jwt.is_empty() {
        faults.push(fault(
            "jwt",
            "no issuer: nobody could sign in".into(),
            "add an issuer under `jwt`",
        ));
    }
    if written.jwt.len() > MOST_ISSUERS {
        let message = format!("{} issuers, at most {MOST_ISSUERS} are possible", written.jwt.len());
        faults.push(fault("jwt", message, "run several gateways"));
    }
}

/// The reverse of the look-up in [`resolve_one`]: whoever is vouched for must have an issuer.
fn check_populations(
    written: &AuthenticationConfiguration,
    populations: &[(String, Population)],
    faults: &mut Vec<Fault>,
) {
    let mut seen = BTreeSet::new();
    for (at, (url, _)) in populations.iter().enumerate() {
        let message = if !seen.insert(url) {
            format!("`{url}` is listed twice")
        } else if !written.jwt.iter().any(|jwt| jwt.issuer.url == *url) {
            format!("`{url}` is no issuer of the AuthenticationConfiguration")
        } else {
            continue;
        };
        let path = format!("issuers[{at}].url");
        let hint = "list each `jwt[].issuer.url` of the AuthenticationConfiguration once, spelled alike".to_owned();
        faults.push(Fault {
            file: File::Configuration,
            path,
            message,
            hint,
        });
    }
}

fn check_unique(written: &AuthenticationConfiguration, faults: &mut Vec<Fault>) {
    let mut urls = BTreeSet::new();
    let mut discoveries = BTreeSet::new();
    for (at, jwt) in written.jwt.iter().enumerate() {
        if !urls.insert(&jwt.issuer.url) {
            let message = format!("`{}` is used by an issuer above", jwt.issuer.url);
            faults.push(fault(
                &format!("jwt[{at}].issuer.url"),
                message,
                "give each issuer one entry",
            ));
        }
        if let Some(url) = &jwt.issuer.discovery_url
            && !discoveries.insert(url)
        {
            let message = format!("`{url}` is used by an issuer above");
            faults.push(fault(
                &format!("jwt[{at}].issuer.discoveryURL"),
                message,
                "give each issuer its own",
            ));
        }
    }
}

fn resolve_one(
    jwt: &JwtAuthenticator,
    populations: &[(String, Population)],
    path: &str,
    faults: &mut Vec<Fault>,
) -> Option<Issuer> {
    let before = faults.len();
    if jwt
        .issuer
        .egress_selector_type
        .as_deref()
        .is_some_and(|egress| !egress.is_empty())
    {
        let message = "`egressSelectorType` is not supported: it is a way through an API server's own network";
        let hint = "remove the field, and let the gateway reach the issuer";
        faults.push(fault(
            &format!("{path}.issuer.egressSelectorType"),
            message.into(),
            hint,
        ));
    }
    check_urls(jwt, path, faults);
    check_audiences(jwt, path, faults);
    let population = population(&jwt.issuer.url, populations, path, faults);
    let mapping = Mapping::resolve(jwt, path, faults);
    if faults.len() > before {
        return None;
    }
    Some(Issuer {
        url: jwt.issuer.url.clone(),
        discovery_url: discovery_url(jwt),
        certificate_authority: jwt.issuer.certificate_authority.clone(),
        audiences: jwt.issuer.audiences.clone(),
        mapping: mapping?,
        population: population?,
        cluster: None,
    })
}

/// OpenID Connect Discovery 1.0 §4: a terminating `/` of the issuer goes before `/.well-known` is added.
fn discovery_url(jwt: &JwtAuthenticator) -> String {
    match &jwt.issuer.discovery_url {
        Some(url) => url.clone(),
        None => format!(
            "{}/.well-known/openid-configuration",
            jwt.issuer.url.trim_end_matches('/')
        ),
    }
}

fn population(
    url: &str,
    populations: &[(String, Population)],
    path: &str,
    faults: &mut Vec<Fault>,
) -> Option<Population> {
    let found = populations
        .iter()
        .find(|(listed, _)| listed == url)
        .map(|(_, population)| *population);
    if found.is_none() {
        let message = format!("`issuers` of the configuration does not say who comes from `{url}`");
        let hint = format!("add `- {{ url: {url}, population: agents }}` or `population: people` under `issuers`");
        faults.push(fault(&format!("{path}.issuer.url"), message, &hint));
    }
    found
}

fn check_urls(jwt: &JwtAuthenticator, path: &str, faults: &mut Vec<Fault>) {
    if let Err(why) = check_url(&jwt.issuer.url) {
        let message = format!("`{}` {why}", jwt.issuer.url);
        faults.push(fault(
            &format!("{path}.issuer.url"),
            message,
            "write `https://HOST/…` as in the `iss` claim",
        ));
    }
    let Some(discovery) = &jwt.issuer.discovery_url else {
        return;
    };
    let problem = match check_url(discovery) {
        Err(why) => why,
        Ok(()) if discovery.trim_end_matches('/') == jwt.issuer.url.trim_end_matches('/') => "is the issuer's own URL",
        Ok(()) => return,
    };
    let message = format!("`{discovery}` {problem}");
    let hint = "write where the discovery document lies, or leave the field out";
    faults.push(fault(&format!("{path}.issuer.discoveryURL"), message, hint));
}

fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("https://").ok_or("does not begin with https://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() {
        Err("names no host")
    } else if rest.contains(['?', '#']) {
        Err("has a query or a fragment")
    } else if authority.contains('@') {
        Err("holds a user name or password")
    } else if rest.chars().any(|c| !c.is_ascii_graphic()) {
        Err("holds spaces or characters beyond ASCII")
    } else {
        Ok(())
    }
}

fn check_audiences(jwt: &JwtAuthenticator, path: &str, faults: &mut Vec<Fault>) {
    let path = format!("{path}.issuer");
    if jwt.issuer.audiences.is_empty() {
        let hint = "name the audience that tokens for this gateway carry";
        faults.push(fault(&format!("{path}.audiences"), "is empty".into(), hint));
    }
    let mut seen = BTreeSet::new();
    for (at, audience) in jwt.issuer.audiences.iter().enumerate() {
        let (message, hint) = if audience.is_empty() {
            (
                "is empty".to_owned(),
                "name the audience that tokens for this gateway carry",
            )
        } else if !seen.insert(audience) {
            (format!("`{audience}` is listed twice"), "list each audience once")
        } else if is_of_a_cluster(audience) {
            let why = "is an audience of API servers: its tokens would work without the gateway";
            (
                format!("`{audience}` {why}"),
                "give the gateway an audience of its own, such as `mantlet`",
            )
        } else {
            continue;
        };
        faults.push(fault(&format!("{path}.audiences[{at}]"), message, hint));
    }
    check_match_policy(jwt, &path, faults);
}

fn check_match_policy(jwt: &JwtAuthenticator, path: &str, faults: &mut Vec<Fault>) {
    let policy = jwt.issuer.audience_match_policy.as_deref().unwrap_or_default();
    let message = match policy {
        "MatchAny" => return,
        "" if jwt.issuer.audiences.len() <= 1 => return,
        "" => "is required with more than one audience".to_owned(),
        other => format!("`{other}` is not a policy"),
    };
    faults.push(fault(
        &format!("{path}.audienceMatchPolicy"),
        message,
        "write `audienceMatchPolicy: MatchAny`",
    ));
}

fn is_of_a_cluster(audience: &str) -> bool {
    let name = audience
        .strip_prefix("https://")
        .unwrap_or(audience)
        .trim_end_matches('/')
        .to_ascii_lowercase();
    let host = name.split_once(':').map_or(name.as_str(), |(host, _)| host);
    let of_a_cloud = |known: &str| match known.starts_with('.') {
        true => host.split('/').next().is_some_and(|host| host.ends_with(known)),
        false => name.starts_with(known),
    };
    CLUSTER_AUDIENCES.contains(&host)
        || host.starts_with("kubernetes.default.svc.")
        || CLUSTER_HOSTS.iter().any(|known| of_a_cloud(known))
}

pub(super) fn fault(path: &str, message: String, hint: &str) -> Fault {
    Fault {
        file: File::Authentication,
        path: path.to_owned(),
        message,
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn file(issuer: Value, mappings: Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": KIND, "jwt": [{"issuer": issuer, "claimMappings": mappings}]})
    }

    fn plain() -> Value {
        file(
            json!({"url": "https://issuer.example/", "audiences": ["mantlet"]}),
            json!({"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": ""}}),
        )
    }

    fn people() -> Vec<(String, Population)> {
        vec![("https://issuer.example/".into(), Population::People)]
    }

    fn faults(written: Value, populations: &[(String, Population)]) -> Vec<String> {
        let written = serde_json::from_value(written).unwrap();
        match resolve(&written, populations) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .into_iter()
                .map(|f| format!("{}: {}", f.path, f.message))
                .collect(),
        }
    }

    #[test]
    fn a_plain_issuer_resolves() {
        let issuers = resolve(&serde_json::from_value(plain()).unwrap(), &people()).unwrap();
        assert_eq!(
            issuers[0].discovery_url(),
            "https://issuer.example/.well-known/openid-configuration"
        );
        assert_eq!(issuers[0].population(), Population::People);
        let username = issuers[0].mapping.username_claim().unwrap();
        assert_eq!((username.claim.as_str(), username.prefix.as_str()), ("sub", "oidc:"));
    }

    #[test]
    fn each_file_must_name_the_issuers_of_the_other() {
        assert_eq!(
            faults(plain(), &[("https://other.example".into(), Population::Agents)]),
            [
                "issuers[0].url: `https://other.example` is no issuer of the AuthenticationConfiguration",
                "jwt[0].issuer.url: `issuers` of the configuration does not say who comes from `https://issuer.example/`",
            ]
        );
    }

    #[test]
    fn what_cannot_be_honored_is_named_all_at_once() {
        let mut written = plain();
        written["anonymous"] = json!({"enabled": false});
        written["jwt"][0]["issuer"]["egressSelectorType"] = json!("controlplane");
        assert_eq!(
            faults(written.clone(), &people()),
            [
                "anonymous: `anonymous` is not supported",
                "jwt[0].issuer.egressSelectorType: `egressSelectorType` is not supported: it is a way through an API server's own network",
            ]
        );
        written["jwt"][0]["issuer"]["egressSelectorType"] = json!("");
        written.as_object_mut().unwrap().remove("anonymous");
        assert_eq!(faults(written, &people()), [""; 0]);
    }

    /// One table for everything that upstream's validation says of mappings and rules.
    #[test]
    fn refuses_mappings_and_rules_that_upstream_refuses() {
        let email = "claimMappings.username.expression: names `claims.email`, and no expression looks at `claims.email_verified`";
        let plain_name = json!({"claim": "sub", "prefix": ""});
        let cases = [
            (
                json!({"claimMappings": {"username": {"claim": "sub", "expression": "claims.sub"}}}),
                vec!["claimMappings.username: has both `claim` and `expression`"],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "claims.sub", "prefix": ""}}}),
                vec!["claimMappings.username.prefix: cannot stand beside an expression, which makes the whole name"],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "claims.sub +"}}}),
                vec!["claimMappings.username.expression: "],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "user.username"}}}),
                vec![
                    "claimMappings.username.expression: `user` is not known in an expression over claims, which has `claims` (line 1, column 1)",
                ],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "1 + 1"}}}),
                vec![
                    "claimMappings.username.expression: the result must be a string, this is an int (line 1, column 3)",
                ],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "claims.email"}}}),
                vec![email],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "claims.?email.orValue(claims.sub)"},
                    "groups": {"expression": "claims.email_verified ? ['a'] : ['b']"}}}),
                vec![email],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "claims.email"}},
                    "claimValidationRules": [{"expression": "claims.?email_verified.orValue(true) == true"}]}),
                vec![],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "claims.email"},
                    "extra": [{"key": "example.com/v", "valueExpression": "string(claims.email_verified)"}]}}),
                vec![],
            ),
            (
                json!({"claimMappings": {"username": {"expression": "claims.email_verified ? claims.email : claims.sub"}}}),
                vec![],
            ),
            (
                json!({"claimMappings": {"username": plain_name, "uid": {"claim": "sub", "expression": "claims.sub"}}}),
                vec!["claimMappings.uid: has both `claim` and `expression`"],
            ),
            (
                json!({"claimMappings": {"username": plain_name, "extra": [
                    {"key": "", "valueExpression": "claims.a"},
                    {"key": "department", "valueExpression": "claims.a"},
                    {"key": "Example.com/a", "valueExpression": "claims.a"},
                    {"key": "example.com/A", "valueExpression": "claims.a"},
                    {"key": "exa_mple.com/a", "valueExpression": "claims.a"},
                    {"key": "example.com/a b", "valueExpression": "claims.a"},
                    {"key": "k8s.io/a", "valueExpression": "claims.a"},
                    {"key": "authentication.kubernetes.io/a", "valueExpression": "claims.a"},
                    {"key": "mantlet.dev/session", "valueExpression": "claims.a"},
                    {"key": "example.com/a"},
                    {"key": "example.com/a", "valueExpression": "claims.b"},
                    {"key": "notk8s.io/a", "valueExpression": "claims.a"},
                ]}}),
                vec![
                    "claimMappings.extra[0].key: is required",
                    "claimMappings.extra[1].key: `department` does not begin with a domain and a `/`",
                    "claimMappings.extra[2].key: `Example.com/a` has upper case",
                    "claimMappings.extra[3].key: `example.com/A` has upper case",
                    "claimMappings.extra[4].key: `exa_mple.com` is no domain name",
                    "claimMappings.extra[5].key: `a b` cannot stand in a path",
                    "claimMappings.extra[6].key: `k8s.io/a` belongs to Kubernetes itself",
                    "claimMappings.extra[7].key: `authentication.kubernetes.io/a` belongs to Kubernetes itself",
                    "claimMappings.extra[8].key: `mantlet.dev/session` belongs to Mantlet itself",
                    "claimMappings.extra[9].valueExpression: is required",
                    "claimMappings.extra[10].key: `example.com/a` is listed twice",
                ],
            ),
            (
                json!({"claimMappings": {"username": plain_name}, "claimValidationRules": [
                    {},
                    {"claim": "hd", "requiredValue": "x", "expression": "true"},
                    {"claim": "hd", "requiredValue": "x", "message": "no"},
                    {"claim": "hd", "requiredValue": "y"},
                    {"expression": "claims.a == 'b'", "requiredValue": "b"},
                    {"expression": "claims.a == 'b'"},
                    {"expression": "claims.a + 'b'"},
                ]}),
                vec![
                    "claimValidationRules[0]: has neither `claim` nor `expression`",
                    "claimValidationRules[1]: has both `claim` and `expression`",
                    "claimValidationRules[2].message: belongs to an expression, and this rule names a claim",
                    "claimValidationRules[3].claim: `hd` has a rule above",
                    "claimValidationRules[4].requiredValue: belongs to a claim, and this rule is an expression",
                    "claimValidationRules[5].expression: stands above already",
                    "claimValidationRules[6].expression: the result must be a bool, this is a string (line 1, column 10)",
                ],
            ),
            (
                json!({"claimMappings": {"username": plain_name}, "userValidationRules": [
                    {"message": "no rule"},
                    {"expression": "user.name == 'a'"},
                    {"expression": "claims.sub == 'a'"},
                    {"expression": "user.uid != ''"},
                    {"expression": "user.uid != ''", "message": "again"},
                ]}),
                vec![
                    "userValidationRules[0].expression: is required",
                    "userValidationRules[1].expression: `user` has no field `name`, it has `username`, `uid`, `groups` and `extra`",
                    "userValidationRules[2].expression: `claims` is not known in a rule about the user, which has `user` (line 1, column 1)",
                    "userValidationRules[4].expression: stands above already",
                ],
            ),
        ];
        for (fields, expected) in cases {
            let mut written = plain();
            for (name, value) in fields.as_object().unwrap() {
                written["jwt"][0][name] = value.clone();
            }
            let found = faults(written, &people());
            let matching = found.len() == expected.len()
                && found.iter().zip(&expected).all(|(found, expected)| {
                    let found = found.strip_prefix("jwt[0].").unwrap_or(found);
                    found == *expected || expected.ends_with(": ") && found.starts_with(expected)
                });
            assert!(matching, "{fields:#}\nwanted {expected:#?}\nfound {found:#?}");
        }
    }

    #[test]
    fn audiences_of_an_api_server_are_refused() {
        for audience in [
            "https://kubernetes.default.svc",
            "https://kubernetes.default.svc.cluster.local",
            "https://kubernetes.default.svc.cluster.local:443/",
            "kubernetes",
            "api",
            "k3s",
            "rke2",
            "6DAE42F8-4368-4678-94ff-3960e28e3630",
            "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c",
            "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC",
            "https://shop-dns-1234.hcp.westeurope.azmk8s.io:443",
            "https://westeurope.oic.prod-aks.azure.com/tenant/id/",
        ] {
            let mut written = plain();
            written["jwt"][0]["issuer"]["audiences"] = json!([audience]);
            let found = faults(written, &people());
            assert!(
                found[0].starts_with("jwt[0].issuer.audiences[0]: "),
                "{audience}: {found:?}"
            );
        }
    }

    #[test]
    fn refuses_what_upstream_refuses() {
        let cases = [
            (
                "/jwt/0/issuer/url",
                json!("http://issuer.example/"),
                "jwt[0].issuer.url: `http://issuer.example/` does not begin with https://",
            ),
            (
                "/jwt/0/issuer/url",
                json!("https://a@issuer.example/"),
                "jwt[0].issuer.url: `https://a@issuer.example/` holds a user name or password",
            ),
            (
                "/jwt/0/issuer/url",
                json!("https://issuer.example/?a=b"),
                "jwt[0].issuer.url: `https://issuer.example/?a=b` has a query or a fragment",
            ),
            (
                "/jwt/0/issuer/audiences",
                json!([]),
                "jwt[0].issuer.audiences: is empty",
            ),
            (
                "/jwt/0/issuer/audiences",
                json!(["a", "b"]),
                "jwt[0].issuer.audienceMatchPolicy: is required with more than one audience",
            ),
            (
                "/jwt/0/claimMappings/username",
                json!({"claim": "sub"}),
                "jwt[0].claimMappings.username.prefix: is required with a claim",
            ),
            (
                "/jwt/0/claimMappings/username",
                json!({}),
                "jwt[0].claimMappings.username.claim: is required",
            ),
            (
                "/jwt/0/claimMappings/groups",
                json!({"prefix": ""}),
                "jwt[0].claimMappings.groups.claim: is required with a prefix",
            ),
            (
                "/jwt/0/claimMappings/groups",
                json!({"claim": "g", "prefix": "system:"}),
                "jwt[0].claimMappings.groups.prefix: `system:` would make names that belong to Kubernetes itself",
            ),
            (
                "/apiVersion",
                json!("apiserver.config.k8s.io/v1beta1"),
                "apiVersion: `apiserver.config.k8s.io/v1beta1` is not a version that Mantlet reads",
            ),
            ("/jwt", json!([]), "jwt: no issuer: nobody could sign in"),
        ];
        for (pointer, value, expected) in cases {
            let mut written = plain();
            *written.pointer_mut(pointer).unwrap() = value;
            let found = faults(written, &people());
            assert!(found.iter().any(|fault| fault == expected), "{expected}: {found:?}");
        }
    }
}
