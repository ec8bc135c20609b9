//! Bearer tokens: signed JWTs (RFC 7515, RFC 7519) of the configured issuers.
//!
//! In: the token's text, the issuers' keys, the time. Out: [`Verified`], which only this module makes.
//! Refuses: everything that [`TokenFault`] lists. RFC 8725 is the list of what goes wrong otherwise.
//! Does not fetch keys, does not cache, and does not know agents: that is the law's part.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::Verified;
use super::claims;
pub use super::issuer::Issuer;
use super::keys::{KeySet, Signature, Signing};
use super::mapping::Mapped;
use super::service_account;
use crate::time::Timestamp;

/// Larger than any token that fits a header; checked before anything is parsed.
pub const MOST_BYTES: usize = 16 * 1024;

/// How far the clocks of issuer and gateway may lie apart.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// The issuers whose tokens count.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    issuers: Vec<Issuer>,
}

/// The keys that are at hand for an issuer.
#[derive(Debug, Clone)]
pub enum Keys {
    Known(Arc<KeySet>),
    /// Never fetched, or too long ago.
    Unavailable,
}

/// Which check a token failed. `Display` is for the log; texts from the token are quoted and cut in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("token of {0} bytes, at most {MOST_BYTES} are read")]
    TooLarge(usize),
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    #[error("a member occurs twice in the {0}")]
    Duplicate(&'static str),
    #[error("header parameter `{0}` is refused")]
    Header(&'static str),
    #[error("algorithm {} is not allowed", quoted(.0))]
    Algorithm(String),
    #[error("a token, but none that says who somebody is (typ {})", quoted(.0))]
    OtherPurpose(String),
    #[error("unknown issuer {}", quoted(.0))]
    UnknownIssuer(String),
    #[error("no accepted audience (issuer `{issuer}`)")]
    Audience { issuer: String },
    #[error("claim `{0}` is missing")]
    Missing(String),
    #[error("claim `{0}` has the wrong type")]
    WrongType(String),
    #[error("expired at {0}")]
    Expired(Timestamp),
    #[error("not valid before {0}")]
    NotYetValid(Timestamp),
    #[error("issued in the future, at {0}")]
    IssuedInFuture(Timestamp),
    #[error("no keys of issuer `{issuer}` are at hand")]
    KeysUnavailable { issuer: String },
    #[error("issuer `{issuer}` has no such key: {}", quoted(.kid.as_deref().unwrap_or("(none named)")))]
    UnknownKey { issuer: String, kid: Option<String> },
    #[error("wrong signature (issuer `{issuer}`)")]
    Signature { issuer: String },
    #[error("`email_verified` is not true")]
    EmailNotVerified,
    #[error("claim `{0}` is distributed, its value lies elsewhere")]
    Distributed(String),
    #[error("claim `{0}` has another value than the one required")]
    Required(String),
    #[error("`{path}` does not hold: {message:?}")]
    Rule { path: String, message: String },
    #[error("`{path}` cannot be evaluated: {why}")]
    Unclear { path: String, why: String },
    #[error("the token {0}")]
    ServiceAccount(&'static str),
    #[error("`{claim}` gives a name that {}", problem.text())]
    Name { claim: String, problem: NameProblem },
}

/// Why a name from a claim is none that a cluster may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameProblem {
    Empty,
    Reserved,
    Unprintable,
}

/// What kind of answer a refused token gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// 401: sign in again.
    Token,
    /// 403: signed in well, but as somebody who cannot be let in; a new token would not help.
    Name,
    /// 503: the issuer's keys are not at hand; later it may work.
    Issuer,
}

impl Verifier {
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self { issuers }
    }

    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// All that costs little comes before the signature, so that junk causes no look at keys; names come last, since only then
    /// are they anybody's.
    pub fn verify(&self, token: &str, keys: &dyn Fn(&Issuer) -> Keys, now: Timestamp) -> Result<Verified, TokenFault> {
        let parts = Parts::split(token)?;
        let header = Header::read(&parts.header)?;
        let claims = claims::object(&parts.payload, "payload")?;
        let issuer = self.issuer(&claims)?;
        check_audience(&claims, issuer)?;
        let expires = check_times(&claims, now)?;
        check_signature(&parts, &header, issuer, keys(issuer))?;
        mint(claims, issuer, expires)
    }

    /// RFC 8725 §3.8: the issuer is the one whose keys are used, to the byte.
    fn issuer(&self, claims: &Map<String, Value>) -> Result<&Issuer, TokenFault> {
        let named = claims::text(claims, "iss")?;
        let found = self.issuers.iter().find(|issuer| issuer.url == named);
        found.ok_or_else(|| TokenFault::UnknownIssuer(named.to_owned()))
    }
}

struct Parts<'a> {
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    /// RFC 7515 §5.2: header and payload as they arrived, with the dot.
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, TokenFault> {
        if token.len() > MOST_BYTES {
            return Err(TokenFault::TooLarge(token.len()));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed("not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(TokenFault::Malformed("not three parts"))?;
        if payload.contains('.') {
            return Err(TokenFault::Malformed("not three parts"));
        }
        Ok(Self {
            header: base64url(header, "header")?,
            payload: base64url(payload, "payload")?,
            signature: base64url(signature, "signature")?,
            signed,
        })
    }
}

/// Without padding and without loose bits: a token has one spelling.
fn base64url(text: &str, part: &'static str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenFault::Malformed(part))
}

struct Header {
    signing: Signing,
    kid: Option<String>,
}

/// Parameters that bring a key along, say where one lies, or change how the rest is read. `x5c` and `x5t` only describe the key and are
/// not looked at: keys come from the configured issuer alone.
const REFUSED_PARAMETERS: [&str; 7] = ["crit", "jwk", "jku", "x5u", "b64", "zip", "enc"];

/// RFC 8725 §3.11: tokens that an issuer signs with the same keys for other ends.
const OTHER_PURPOSES: [&str; 5] = [
    "logout+jwt",
    "secevent+jwt",
    "dpop+jwt",
    "kb+jwt",
    "oauth-authz-req+jwt",
];

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, TokenFault> {
        let header = claims::object(bytes, "header")?;
        if let Some(refused) = REFUSED_PARAMETERS.into_iter().find(|name| header.contains_key(*name)) {
            return Err(TokenFault::Header(refused));
        }
        check_types(&header)?;
        let alg = claims::text(&header, "alg").map_err(|_| TokenFault::Header("alg"))?;
        let signing = Signing::named(alg).ok_or_else(|| TokenFault::Algorithm(alg.to_owned()))?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(TokenFault::Header("kid")),
        };
        Ok(Self { signing, kid })
    }
}

/// `typ` is free text in practice; only what certainly is no identity is refused. RFC 7519 §5.2: `cty` of `JWT` means a token within.
fn check_types(header: &Map<String, Value>) -> Result<(), TokenFault> {
    if let Some(cty) = header.get("cty") {
        let nested = cty.as_str().is_none_or(|cty| media_type(cty) == "jwt");
        if nested {
            return Err(TokenFault::Header("cty"));
        }
    }
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(typ)) if OTHER_PURPOSES.contains(&media_type(typ).as_str()) => {
            Err(TokenFault::OtherPurpose(typ.clone()))
        }
        Some(Value::String(_)) => Ok(()),
        Some(_) => Err(TokenFault::Header("typ")),
    }
}

/// RFC 7515 §4.1.9: `application/` may be left out, and media types know no case.
fn media_type(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").unwrap_or(&lower).to_owned()
}

/// RFC 7519 §4.1.3: one text or a list of texts.
fn check_audience(claims: &Map<String, Value>, issuer: &Issuer) -> Result<(), TokenFault> {
    let accepted = |aud: &Value| {
        aud.as_str()
            .is_some_and(|aud| issuer.audiences.iter().any(|ours| ours == aud))
    };
    let found = match claims.get("aud") {
        None | Some(Value::Null) => return Err(TokenFault::Missing("aud".into())),
        Some(Value::Array(list)) if list.iter().any(|aud| !aud.is_string()) => {
            return Err(TokenFault::WrongType("aud".into()));
        }
        Some(Value::Array(list)) => list.iter().any(accepted),
        Some(one) => accepted(one),
    };
    if found {
        Ok(())
    } else {
        Err(TokenFault::Audience {
            issuer: issuer.url.clone(),
        })
    }
}

/// Gives the end of the token. The leeway is for clocks that differ; it does not make the token live longer.
fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, TokenFault> {
    let expires = instant(claims, "exp")?.ok_or_else(|| TokenFault::Missing("exp".into()))?;
    if now >= expires.after(LEEWAY) {
        return Err(TokenFault::Expired(expires));
    }
    match instant(claims, "nbf")? {
        Some(begins) if begins > now.after(LEEWAY) => return Err(TokenFault::NotYetValid(begins)),
        _ => {}
    }
    match instant(claims, "iat")? {
        Some(issued) if issued > now.after(LEEWAY) => Err(TokenFault::IssuedInFuture(issued)),
        _ => Ok(expires),
    }
}

/// RFC 7519 §2, NumericDate: seconds since the epoch, fractions allowed. Fractions are cut off.
fn instant(claims: &Map<String, Value>, claim: &str) -> Result<Option<Timestamp>, TokenFault> {
    let number = match claims.get(claim) {
        None => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(TokenFault::WrongType(claim.to_owned())),
    };
    // Exact up to 2^53 seconds, far beyond the range.
    let seconds = number.as_f64().unwrap_or(f64::NAN);
    if !(0.0..=LAST_SECOND).contains(&seconds) {
        return Err(TokenFault::WrongType(claim.to_owned()));
    }
    Ok(Some(Timestamp::from_seconds(seconds as i64)))
}

/// The end of the year 9999, beyond which no Kubernetes timestamp goes.
const LAST_SECOND: f64 = 253_402_300_799.0;

fn check_signature(parts: &Parts<'_>, header: &Header, issuer: &Issuer, keys: Keys) -> Result<(), TokenFault> {
    let issuer = issuer.url.clone();
    let Keys::Known(keys) = keys else {
        return Err(TokenFault::KeysUnavailable { issuer });
    };
    match keys.check(
        header.kid.as_deref(),
        header.signing,
        parts.signed.as_bytes(),
        &parts.signature,
    ) {
        Signature::Good => Ok(()),
        Signature::Bad => Err(TokenFault::Signature { issuer }),
        Signature::UnknownKey => Err(TokenFault::UnknownKey {
            issuer,
            // Faults are remembered for a while, so they keep no more of a token than they show.
            kid: header.kid.as_ref().map(|kid| kid.chars().take(QUOTED).collect()),
        }),
    }
}

/// INVARIANT: the only place where a `Verified` is made. The caller has checked signature, issuer, audience and times.
fn mint(claims: Map<String, Value>, issuer: &Issuer, expires: Timestamp) -> Result<Verified, TokenFault> {
    let subject = claims::text(&claims, "sub")?.to_owned();
    if subject.is_empty() || subject.chars().any(claims::is_unprintable) {
        let problem = if subject.is_empty() {
            NameProblem::Empty
        } else {
            NameProblem::Unprintable
        };
        return Err(TokenFault::Name {
            claim: "sub".into(),
            problem,
        });
    }
    let mapped = match issuer.cluster() {
        Some(cluster) => Mapped::named(service_account::username(&claims, cluster)?),
        None => issuer.mapping.apply(&claims)?,
    };
    Ok(Verified {
        issuer: issuer.url.clone(),
        subject,
        population: issuer.population,
        username: mapped.username,
        groups: mapped.groups,
        uid: mapped.uid,
        extra: mapped.extra,
        claims: Value::Object(claims),
        expires,
    })
}

impl TokenFault {
    /// What the caller is told: nothing of the token, nothing of the configuration.
    pub fn for_caller(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "the token is larger than 16 KiB",
            Self::Malformed(_) | Self::Duplicate(_) => "the token is not a well-formed JWT",
            Self::Header(_) | Self::Algorithm(_) => "the token is signed in a way that is not accepted",
            Self::OtherPurpose(_) => "the token is not one to sign in with",
            Self::UnknownIssuer(_) => "the token's issuer is not accepted here",
            Self::Audience { .. } => "the token is meant for another audience",
            Self::Missing(_) | Self::WrongType(_) => "the token lacks a claim that is needed here",
            Self::Expired(_) => "the token has expired; sign in again",
            Self::NotYetValid(_) | Self::IssuedInFuture(_) => "the token is not valid yet; compare the clocks",
            Self::KeysUnavailable { .. } => {
                "the keys of the token's issuer cannot be fetched right now; try again later"
            }
            Self::UnknownKey { .. } | Self::Signature { .. } => {
                "the token's signature could not be verified; sign in again"
            }
            Self::EmailNotVerified => "the token's email address is not verified",
            Self::Distributed(_) => "the token does not hold its groups itself, which is not supported",
            Self::Required(_) | Self::Rule { .. } | Self::Unclear { .. } => {
                "the token does not meet the rules for signing in here; ask the gateway's operator"
            }
            Self::ServiceAccount(_) => "the token does not say which service account it is of",
            Self::Name { .. } => "the token gives a user or group name that is not accepted here",
        }
    }

    /// Which check it was, in one word that never changes: a field of the log, to count and to search by.
    pub fn check(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "size",
            Self::Malformed(_) => "form",
            Self::Duplicate(_) => "duplicate",
            Self::Header(_) => "header",
            Self::Algorithm(_) => "algorithm",
            Self::OtherPurpose(_) => "type",
            Self::UnknownIssuer(_) => "issuer",
            Self::Audience { .. } => "audience",
            Self::Missing(_) | Self::WrongType(_) => "claim",
            Self::Expired(_) => "expiry",
            Self::NotYetValid(_) => "not-before",
            Self::IssuedInFuture(_) => "issued-at",
            Self::KeysUnavailable { .. } => "keys",
            Self::UnknownKey { .. } => "key",
            Self::Signature { .. } => "signature",
            Self::EmailNotVerified => "email",
            Self::Distributed(_) => "distributed",
            Self::Required(_) | Self::Rule { .. } => "rule",
            Self::Unclear { .. } => "expression",
            Self::ServiceAccount(_) => "account",
            Self::Name { .. } => "name",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::TooLarge(_)
            | Self::Malformed(_)
            | Self::Duplicate(_)
            | Self::Header(_)
            | Self::Algorithm(_)
            | Self::OtherPurpose(_)
            | Self::UnknownIssuer(_)
            | Self::Audience { .. }
            | Self::Missing(_)
            | Self::WrongType(_)
            | Self::Expired(_)
            | Self::NotYetValid(_)
            | Self::IssuedInFuture(_)
            | Self::UnknownKey { .. }
            | Self::Signature { .. }
            | Self::Required(_)
            | Self::Rule { .. }
            | Self::Unclear { .. }
            | Self::ServiceAccount(_)
            | Self::EmailNotVerified
            | Self::Distributed(_) => Blame::Token,
            Self::Name { .. } => Blame::Name,
            Self::KeysUnavailable { .. } => Blame::Issuer,
        }
    }
}

impl NameProblem {
    fn text(self) -> &'static str {
        match self {
            Self::Empty => "is empty",
            Self::Reserved => "belongs to Kubernetes itself (`system:`, `k8s:`)",
            Self::Unprintable => "holds characters that cannot be seen, or spaces around it",
        }
    }
}

/// Text from a token, for a log line: escaped, and not more of it than helps.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED).collect();
    format!("{cut:?}")
}

const QUOTED: usize = 100;

/// Signs and verifies once. What the cryptography of a binary can do depends on features that any crate in it may turn on; better to
/// learn that at the start than at the first request.
pub fn self_test() -> Result<(), SelfTestFault> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SelfTestFault("no key was made"))?;
    let point = key.public_key().as_ref();
    let (x, y) = match point.len() {
        65 => (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        ),
        _ => return Err(SelfTestFault("the key has an unknown form")),
    };
    let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y}]}).to_string();
    let keys = KeySet::parse(jwks.as_bytes()).map_err(|_| SelfTestFault("the key was not read back"))?;
    let signature = key
        .sign(&SystemRandom::new(), b"message")
        .map_err(|_| SelfTestFault("nothing was signed"))?;
    let signing = Signing::named("ES256").ok_or(SelfTestFault("ES256 is unknown"))?;
    let good = keys.check(Some("1"), signing, b"message", signature.as_ref());
    let bad = keys.check(Some("1"), signing, b"another", signature.as_ref());
    match (good, bad) {
        (Signature::Good, Signature::Bad) => Ok(()),
        _ => Err(SelfTestFault("a signature was judged wrongly")),
    }
}

/// The cryptography of this binary does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic self-test failed: {0}")]
pub struct SelfTestFault(&'static str);
