//! The claims of a token: JSON without room for two readings, and the names that come out of it.
//!
//! In: the bytes of a header or payload. Out: an object ([`object`]), names for Kubernetes ([`username`], [`groups`]).
//! Refuses: a member that occurs twice at any depth, a name that is empty, that Kubernetes keeps for itself, or that a header could change.
//! Does not check signatures, and does not know who issued the claims but by the mappings that it is given.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::mapping::NameClaim;
use super::token::{NameProblem, TokenFault};

/// Reads one object. RFC 7519 §4 allows a reader to reject duplicate claim names; two parsers that disagree on the one
/// that counts are two identities, so this one does. Not `wire::json`: that one also refuses what only the API server could
/// misread in a request body (`Status` beside `status`), and claims are free to be named so.
pub(crate) fn object(bytes: &[u8], part: &'static str) -> Result<Map<String, Value>, TokenFault> {
    match serde_json::from_slice(bytes) {
        Ok(Unique(Value::Object(members))) => Ok(members),
        Ok(Unique(_)) => Err(TokenFault::Malformed(part)),
        Err(error) if error.to_string().starts_with(TWICE) => Err(TokenFault::Duplicate(part)),
        Err(_) => Err(TokenFault::Malformed(part)),
    }
}

const TWICE: &str = "member twice";

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UniqueVisitor.deserialize(deserializer).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> DeserializeSeed<'de> for UniqueVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(UniqueVisitor)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(TWICE));
            }
            object.insert(name, members.next_value_seed(UniqueVisitor)?);
        }
        Ok(Value::Object(object))
    }
}

/// A claim that must be a text with something in it.
pub(crate) fn text<'a>(claims: &'a Map<String, Value>, claim: &str) -> Result<&'a str, TokenFault> {
    match claims.get(claim) {
        None | Some(Value::Null) => Err(TokenFault::Missing(claim.to_owned())),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(TokenFault::WrongType(claim.to_owned())),
    }
}

/// The user name, as upstream's `getUsername` (apiserver `plugin/pkg/authenticator/token/oidc/oidc.go`).
pub(crate) fn username(claims: &Map<String, Value>, mapping: &NameClaim) -> Result<String, TokenFault> {
    let value = text(claims, &mapping.claim)?;
    if mapping.claim == "email" {
        check_email_verified(claims)?;
    }
    name(mapping, value)
}

/// Upstream: an address counts unless the issuer says that it is not verified; whatever is not `true` says so.
fn check_email_verified(claims: &Map<String, Value>) -> Result<(), TokenFault> {
    match claims.get("email_verified") {
        None | Some(Value::Bool(true)) => Ok(()),
        Some(_) => Err(TokenFault::EmailNotVerified),
    }
}

/// One text or a list of texts; no claim, no groups.
pub(crate) fn groups(claims: &Map<String, Value>, mapping: &NameClaim) -> Result<Vec<String>, TokenFault> {
    check_not_distributed(claims, &mapping.claim)?;
    match claims.get(&mapping.claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(group)) => Ok(vec![name(mapping, group)?]),
        Some(Value::Array(list)) => list.iter().map(|group| group_name(mapping, group)).collect(),
        Some(_) => Err(TokenFault::WrongType(mapping.claim.clone())),
    }
}

fn group_name(mapping: &NameClaim, group: &Value) -> Result<String, TokenFault> {
    match group {
        Value::String(group) => name(mapping, group),
        _ => Err(TokenFault::WrongType(mapping.claim.clone())),
    }
}

/// OpenID Connect Core 1.0 §5.6.2: the value lies elsewhere. Upstream fetches it; to carry on without would mean to judge
/// somebody in many groups as somebody in none.
fn check_not_distributed(claims: &Map<String, Value>, claim: &str) -> Result<(), TokenFault> {
    match claims.get("_claim_names") {
        Some(Value::Object(names)) if names.contains_key(claim) => Err(TokenFault::Distributed(claim.to_owned())),
        _ => Ok(()),
    }
}

/// Names of clusters' own accounts: made of what the cluster itself says, never of a claim, so that no other issuer gives one of them.
pub(crate) const OF_CLUSTERS: &str = "k8s:";

/// A name as it will stand in an `Impersonate-User` or `Impersonate-Group` header.
fn name(mapping: &NameClaim, value: &str) -> Result<String, TokenFault> {
    match check_name(&mapping.prefix, value) {
        Ok(()) => Ok(format!("{}{value}", mapping.prefix)),
        Err(problem) => Err(TokenFault::Name {
            claim: mapping.claim.clone(),
            problem,
        }),
    }
}

pub(crate) fn check_name(prefix: &str, value: &str) -> Result<(), NameProblem> {
    let name = format!("{prefix}{value}");
    if value.is_empty() {
        Err(NameProblem::Empty)
    } else if value.starts_with("system:") || name.starts_with("system:") || name.starts_with(OF_CLUSTERS) {
        Err(NameProblem::Reserved)
    } else if name.chars().any(is_unprintable) || value.trim() != value || name.trim() != name {
        // Go's net/http trims header values, so that ` system:masters` would arrive without its space.
        Err(NameProblem::Unprintable)
    } else {
        Ok(())
    }
}

/// Characters that change a header, a log line or the order in which text is shown.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
