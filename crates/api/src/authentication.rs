//! `apiserver.config.k8s.io/v1` AuthenticationConfiguration: the file that users move here from their API server, unchanged.
//!
//! Written form: apiserver `pkg/apis/apiserver/v1/types.go`. What upstream knows and Mantlet does not honor is read all the same, so that
//! it can be refused by its name and all of it at once. What upstream does not know either is an unknown field.
//! Meaning and checks: `core::identity::issuer` and `core::identity::mapping`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny};

pub const API_VERSION: &str = "apiserver.config.k8s.io/v1";
pub const KIND: &str = "AuthenticationConfiguration";

#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    pub api_version: String,
    pub kind: String,
    #[serde(default)]
    pub jwt: Vec<JwtAuthenticator>,
    #[serde(default)]
    pub anonymous: Option<NotYet>,
}

/// One issuer and how its claims become names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtAuthenticator {
    pub issuer: Issuer,
    pub claim_mappings: ClaimMappings,
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    #[serde(default)]
    pub user_validation_rules: Vec<UserValidationRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// `https://…`, equal to the `iss` claim to the byte.
    pub url: String,
    /// Where the discovery document lies, if not at `url` + `/.well-known/openid-configuration`.
    #[serde(default, rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM, one or more certificates; the system's roots without it.
    #[serde(default)]
    pub certificate_authority: Option<String>,
    pub audiences: Vec<String>,
    /// `MatchAny`; required with more than one audience.
    #[serde(default)]
    pub audience_match_policy: Option<String>,
    /// Of a cluster's own network; refused unless empty.
    #[serde(default)]
    pub egress_selector_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimMappings {
    pub username: PrefixedClaim,
    #[serde(default)]
    pub groups: PrefixedClaim,
    #[serde(default)]
    pub uid: ClaimOrExpression,
    #[serde(default)]
    pub extra: Vec<ExtraMapping>,
}

/// A name taken from a claim of the token, `prefix` + value, where the prefix must be written, be it `""`; or what an expression makes of
/// the claims.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrefixedClaim {
    pub claim: Option<String>,
    pub prefix: Option<String>,
    pub expression: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimOrExpression {
    pub claim: Option<String>,
    pub expression: Option<String>,
}

/// Further facts about somebody: `key` is lower case and begins with a domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtraMapping {
    pub key: String,
    pub value_expression: String,
}

/// Either a claim and the text that it must be, or an expression over `claims` and what to say where it is false.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimValidationRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

/// An expression over `user`: what the mappings made of the claims.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserValidationRule {
    pub expression: String,
    pub message: String,
}

/// A field that upstream has and that is refused here, whatever it holds: never ignored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NotYet(());

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(()))
    }
}

impl fmt::Debug for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set, not supported yet)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_upstream_has_and_we_do_not_is_seen() {
        let written: AuthenticationConfiguration = serde_json::from_str(
            r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","anonymous":{"enabled":false},
                "jwt":[{"issuer":{"url":"https://a","audiences":["b"]},"claimMappings":{"username":{"expression":"claims.sub"}},
                        "claimValidationRules":[{"claim":"hd","requiredValue":"x"}]}]}"#,
        )
        .unwrap();
        assert!(written.anonymous.is_some());
        assert_eq!(written.jwt[0].claim_validation_rules[0].required_value, "x");
        assert_eq!(
            written.jwt[0].claim_mappings.username.expression.as_deref(),
            Some("claims.sub")
        );
        assert!(written.jwt[0].user_validation_rules.is_empty());
    }

    #[test]
    fn a_field_that_nobody_knows_is_an_error() {
        let error = serde_json::from_str::<AuthenticationConfiguration>(
            r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","jwts":[]}"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("unknown field `jwts`"), "{error}");
    }
}
