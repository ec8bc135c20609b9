//! From the written mappings and rules of one issuer to a [`Mapping`].
//!
//! In: `claimMappings`, `claimValidationRules` and `userValidationRules`. Out: a [`Mapping`]. Refuses what upstream refuses (apiserver
//! `pkg/apis/apiserver/validation/validation.go`), and names and keys that are Kubernetes' or Mantlet's own; all faults at once.

use std::collections::BTreeSet;

use mantlet_api::authentication::{
    ClaimMappings, ClaimOrExpression, ClaimValidationRule, ExtraMapping, JwtAuthenticator, PrefixedClaim,
    UserValidationRule,
};
use mantlet_expr::Wants;

use super::{Extra, Mapping, Name, NameClaim, Placed, Rule, Uid};
use crate::identity::claims;
use crate::identity::expression::{Expression, Ground};
use crate::identity::issuer::{Fault, fault};

/// Not `orValue(true)`: there are providers that leave an `email_verified` out where it is false.
const VERIFY_EMAIL: &str = "add `- { expression: \"claims.?email_verified.orValue(false) == true\", message: the address is not verified }` under `claimValidationRules`";

impl Mapping {
    /// `path` is that of the issuer (`jwt[0]`).
    pub(in crate::identity) fn resolve(
        written: &JwtAuthenticator,
        path: &str,
        faults: &mut Vec<Fault>,
    ) -> Option<Self> {
        let mut at = Resolver { faults };
        let (required, claim_rules) =
            at.claim_rules(&written.claim_validation_rules, &format!("{path}.claimValidationRules"));
        let mappings = format!("{path}.claimMappings");
        let username = at.username(&written.claim_mappings.username, &format!("{mappings}.username"));
        let groups = at.groups(&written.claim_mappings.groups, &format!("{mappings}.groups"));
        let uid = at.uid(&written.claim_mappings.uid, &format!("{mappings}.uid"));
        let extra = at.extra(&written.claim_mappings.extra, &format!("{mappings}.extra"));
        at.email(
            &written.claim_mappings,
            username.as_ref(),
            &claim_rules,
            &extra,
            &mappings,
        );
        let user_rules = at.user_rules(&written.user_validation_rules, &format!("{path}.userValidationRules"));
        Some(Self {
            username: username?,
            groups,
            uid,
            extra,
            required,
            claim_rules,
            user_rules,
        })
    }
}

struct Resolver<'a> {
    faults: &'a mut Vec<Fault>,
}

impl Resolver<'_> {
    fn fault(&mut self, path: &str, message: impl Into<String>, hint: &str) {
        self.faults.push(fault(path, message.into(), hint));
    }

    fn compile(&mut self, source: &str, ground: Ground, wants: Wants, path: &str) -> Option<Placed> {
        match Expression::compile(source, ground, wants) {
            Ok(expression) => Some(Placed {
                path: path.to_owned(),
                expression,
            }),
            Err(whys) => {
                for why in whys {
                    self.fault(path, why, hint_of(ground));
                }
                None
            }
        }
    }

    fn username(&mut self, written: &PrefixedClaim, path: &str) -> Option<Name> {
        if filled(&written.claim).is_none() && filled(&written.expression).is_none() && written.prefix.is_none() {
            let hint = "write `claim: sub` and `prefix: \"\"`, or an `expression`";
            self.fault(&format!("{path}.claim"), "is required", hint);
            return None;
        }
        self.name(written, path, Wants::Text)
    }

    fn groups(&mut self, written: &PrefixedClaim, path: &str) -> Option<Name> {
        self.name(written, path, Wants::Any)
    }

    fn name(&mut self, written: &PrefixedClaim, path: &str, wants: Wants) -> Option<Name> {
        match (filled(&written.claim), filled(&written.expression), &written.prefix) {
            (Some(_), Some(_), _) => {
                self.fault(path, "has both `claim` and `expression`", "keep one of them");
                None
            }
            (None, Some(_), Some(_)) => {
                let message = "cannot stand beside an expression, which makes the whole name";
                self.fault(
                    &format!("{path}.prefix"),
                    message,
                    "write it into the expression: `'oidc:' + claims.sub`",
                );
                None
            }
            (None, Some(source), None) => {
                let placed = self.compile(source, Ground::Claims, wants, &format!("{path}.expression"))?;
                Some(Name::Expression(placed))
            }
            (Some(claim), None, Some(prefix)) => {
                self.prefix(prefix, &format!("{path}.prefix"));
                Some(Name::Claim(NameClaim {
                    claim: claim.to_owned(),
                    prefix: prefix.clone(),
                }))
            }
            (Some(_), None, None) => {
                let hint = "write `prefix: \"\"` if names are to be taken as they are";
                self.fault(&format!("{path}.prefix"), "is required with a claim", hint);
                None
            }
            (None, None, Some(_)) => {
                let hint = "name the claim that the prefix is for";
                self.fault(&format!("{path}.claim"), "is required with a prefix", hint);
                None
            }
            (None, None, None) => None,
        }
    }

    /// A prefix that no name could pass with would lock everybody out, so it is said at load.
    fn prefix(&mut self, prefix: &str, path: &str) {
        if prefix.starts_with("system:") || prefix.starts_with(claims::OF_CLUSTERS) {
            let message = format!("`{prefix}` would make names that belong to Kubernetes itself");
            self.fault(path, message, "use another prefix, such as `oidc:`");
        } else if prefix.starts_with(char::is_whitespace) || prefix.chars().any(claims::is_unprintable) {
            let message = "begins with a space or holds characters that cannot be seen";
            self.fault(path, message, "use a prefix of plain characters, such as `oidc:`");
        }
    }

    fn uid(&mut self, written: &ClaimOrExpression, path: &str) -> Option<Uid> {
        match (filled(&written.claim), filled(&written.expression)) {
            (Some(_), Some(_)) => {
                self.fault(path, "has both `claim` and `expression`", "keep one of them");
                None
            }
            (Some(claim), None) => Some(Uid::Claim(claim.to_owned())),
            (None, Some(source)) => {
                let path = format!("{path}.expression");
                let placed = self.compile(source, Ground::Claims, Wants::Text, &path)?;
                Some(Uid::Expression(placed))
            }
            (None, None) => None,
        }
    }

    fn extra(&mut self, written: &[ExtraMapping], path: &str) -> Vec<Extra> {
        let mut seen = BTreeSet::new();
        let mut extra = Vec::new();
        for (n, mapping) in written.iter().enumerate() {
            let path = format!("{path}[{n}]");
            if let Err((message, hint)) = check_key(&mapping.key) {
                self.fault(&format!("{path}.key"), message, hint);
            }
            if !seen.insert(&mapping.key) {
                let message = format!("`{}` is listed twice", mapping.key);
                self.fault(&format!("{path}.key"), message, "list each key once");
                continue;
            }
            let value_path = format!("{path}.valueExpression");
            if mapping.value_expression.is_empty() {
                let hint = "write an expression over `claims`, such as `claims.department`";
                self.fault(&value_path, "is required", hint);
                continue;
            }
            let value = self.compile(&mapping.value_expression, Ground::Claims, Wants::Any, &value_path);
            extra.extend(value.map(|value| Extra {
                key: mapping.key.clone(),
                value,
            }));
        }
        extra
    }

    /// Upstream: whoever names somebody by `claims.email` must look at `claims.email_verified` somewhere.
    fn email(&mut self, written: &ClaimMappings, username: Option<&Name>, rules: &[Rule], extra: &[Extra], path: &str) {
        let Some(Name::Expression(username)) = username else {
            return;
        };
        let elsewhere = rules.iter().map(|rule| &rule.expression);
        let elsewhere = elsewhere.chain(extra.iter().map(|extra| &extra.value));
        let mut places = std::iter::once(username).chain(elsewhere);
        let verified = places.any(|placed| placed.expression.claims().contains("email_verified"));
        if username.expression.claims().contains("email") && !verified && written.username.expression.is_some() {
            let message = "names `claims.email`, and no expression looks at `claims.email_verified`";
            self.fault(&format!("{path}.username.expression"), message, VERIFY_EMAIL);
        }
    }

    fn claim_rules(&mut self, written: &[ClaimValidationRule], path: &str) -> (Vec<(String, String)>, Vec<Rule>) {
        let (mut required, mut rules) = (Vec::new(), Vec::new());
        let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
        for (n, rule) in written.iter().enumerate() {
            let path = format!("{path}[{n}]");
            match (rule.claim.as_str(), rule.expression.as_str()) {
                ("", "") => self.fault(&path, "has neither `claim` nor `expression`", "write one of them"),
                ("", source) => rules.extend(self.claim_rule(rule, source, &mut expressions, &path)),
                (claim, "") => {
                    if !rule.message.is_empty() {
                        let message = "belongs to an expression, and this rule names a claim";
                        self.fault(&format!("{path}.message"), message, "remove it");
                    }
                    if !claims.insert(claim) {
                        let message = format!("`{claim}` has a rule above");
                        self.fault(&format!("{path}.claim"), message, "give each claim one rule");
                    }
                    required.push((rule.claim.clone(), rule.required_value.clone()));
                }
                (_, _) => self.fault(&path, "has both `claim` and `expression`", "keep one of them"),
            }
        }
        (required, rules)
    }

    fn claim_rule<'w>(
        &mut self,
        rule: &ClaimValidationRule,
        source: &'w str,
        seen: &mut BTreeSet<&'w str>,
        path: &str,
    ) -> Option<Rule> {
        if !rule.required_value.is_empty() {
            let message = "belongs to a claim, and this rule is an expression";
            let hint = "compare within the expression: `claims.hd == 'example.com'`";
            self.fault(&format!("{path}.requiredValue"), message, hint);
        }
        self.rule(
            source,
            &rule.message,
            Ground::Claims,
            seen,
            &format!("{path}.expression"),
        )
    }

    fn user_rules(&mut self, written: &[UserValidationRule], path: &str) -> Vec<Rule> {
        let mut seen = BTreeSet::new();
        let mut rules = Vec::new();
        for (n, rule) in written.iter().enumerate() {
            let path = format!("{path}[{n}].expression");
            if rule.expression.is_empty() {
                let hint = "write an expression over `user`, such as `user.username.endsWith('@example.com')`";
                self.fault(&path, "is required", hint);
                continue;
            }
            rules.extend(self.rule(&rule.expression, &rule.message, Ground::User, &mut seen, &path));
        }
        rules
    }

    fn rule<'w>(
        &mut self,
        source: &'w str,
        message: &str,
        ground: Ground,
        seen: &mut BTreeSet<&'w str>,
        path: &str,
    ) -> Option<Rule> {
        if !seen.insert(source) {
            self.fault(path, "stands above already", "write each rule once");
            return None;
        }
        Some(Rule {
            expression: self.compile(source, ground, Wants::Bool, path)?,
            message: message.to_owned(),
        })
    }
}

fn filled(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|text| !text.is_empty())
}

fn hint_of(ground: Ground) -> &'static str {
    match ground {
        Ground::Claims => "expressions here read `claims`, such as `claims.sub` or `claims.?department.orValue('')`",
        Ground::User => "rules here read `user.username`, `user.uid`, `user.groups` and `user.extra`",
    }
}

/// apimachinery `pkg/util/validation/validation.go`, IsDomainPrefixedPath, and what upstream and Mantlet keep for themselves.
fn check_key(key: &str) -> Result<(), (String, &'static str)> {
    let prefixed = "write it after a domain of yours, in lower case: `example.com/department`";
    if key.is_empty() {
        return Err(("is required".into(), prefixed));
    }
    let Some((domain, path)) = key
        .split_once('/')
        .filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        return Err((format!("`{key}` does not begin with a domain and a `/`"), prefixed));
    };
    if key.chars().any(char::is_uppercase) {
        return Err((format!("`{key}` has upper case"), prefixed));
    }
    if !is_subdomain(domain) {
        return Err((format!("`{domain}` is no domain name"), prefixed));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !path.chars().all(fits) {
        return Err((format!("`{path}` cannot stand in a path"), prefixed));
    }
    let within = |owner: &str| domain == owner || domain.strip_suffix(owner).is_some_and(|rest| rest.ends_with('.'));
    if within("k8s.io") || within("kubernetes.io") {
        return Err((format!("`{key}` belongs to Kubernetes itself"), prefixed));
    }
    if within("mantlet.dev") {
        return Err((format!("`{key}` belongs to Mantlet itself"), prefixed));
    }
    Ok(())
}

/// RFC 1123, as Kubernetes' `IsDNS1123Subdomain`.
fn is_subdomain(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let label = |label: &str| {
        let bytes = label.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| edge(Some(b)) || *b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
