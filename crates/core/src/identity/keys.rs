//! The public keys of one issuer, read from its JWKS (RFC 7517).
//!
//! In: the JWKS document. Out: a [`KeySet`] of keys that can verify signatures.
//! Refuses: symmetric keys, keys for encryption, RSA below 2048 bits, curves that no allowed algorithm uses: they are left out, so a token
//! that names one is one with an unknown key.
//! Does not fetch and does not know how old the keys are.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};

/// More keys than any issuer rotates through; a token without a key id is tried on each.
const MOST_KEYS: usize = 64;

/// The algorithms that a token may be signed with. HS* and `none` have no place here.
const ALGORITHMS: [(&str, Algorithm, Material); 9] = [
    ("RS256", Algorithm::RS256, Material::Rsa),
    ("RS384", Algorithm::RS384, Material::Rsa),
    ("RS512", Algorithm::RS512, Material::Rsa),
    ("PS256", Algorithm::PS256, Material::Rsa),
    ("PS384", Algorithm::PS384, Material::Rsa),
    ("PS512", Algorithm::PS512, Material::Rsa),
    ("ES256", Algorithm::ES256, Material::P256),
    ("ES384", Algorithm::ES384, Material::P384),
    ("EdDSA", Algorithm::EdDSA, Material::Ed25519),
];

/// The keys that an issuer publishes at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Why a document is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysFault {
    #[error("the key document is not a JWKS: {0}")]
    Unreadable(String),
    #[error("the key document holds more than {MOST_KEYS} keys")]
    TooMany,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    material: Material,
    /// `alg` of the JWK, if it binds itself to one.
    only: Option<String>,
    public: Vec<u8>,
    decoding: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Material {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// An algorithm of the allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signing {
    name: &'static str,
    algorithm: Algorithm,
    material: Material,
}

impl Signing {
    /// RFC 7515 §4.1.1: `alg` is case-sensitive.
    pub(crate) fn named(alg: &str) -> Option<Self> {
        let (name, algorithm, material) = ALGORITHMS.into_iter().find(|(name, _, _)| *name == alg)?;
        Some(Self {
            name,
            algorithm,
            material,
        })
    }
}

/// Whether a signature is one by the keys at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    Good,
    Bad,
    UnknownKey,
}

impl KeySet {
    pub fn parse(document: &[u8]) -> Result<Self, KeysFault> {
        let written: Jwks = serde_json::from_slice(document).map_err(|e| KeysFault::Unreadable(e.to_string()))?;
        if written.keys.len() > MOST_KEYS {
            return Err(KeysFault::TooMany);
        }
        Ok(Self {
            keys: written.keys.into_iter().filter_map(read_key).collect(),
        })
    }

    /// How many keys can verify a signature. None is an answer too: an issuer that takes back all its keys is to be believed.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Tries the keys that `id` names, or all that fit the algorithm if the token names none.
    pub(crate) fn check(&self, id: Option<&str>, signing: Signing, message: &[u8], signature: &[u8]) -> Signature {
        let mut fitting = self.keys.iter().filter(|key| key.fits(id, signing)).peekable();
        if fitting.peek().is_none() {
            return Signature::UnknownKey;
        }
        match fitting.any(|key| verifies(&key.decoding, signing.algorithm, message, signature)) {
            true => Signature::Good,
            // Without an id nothing says that the right key is among these.
            false if id.is_none() => Signature::UnknownKey,
            false => Signature::Bad,
        }
    }
}

impl Key {
    fn fits(&self, id: Option<&str>, signing: Signing) -> bool {
        self.material == signing.material
            && self.only.as_deref().is_none_or(|only| only == signing.name)
            && id.is_none_or(|id| self.id.as_deref() == Some(id))
    }
}

/// The provider is named, not taken from the process: which one that is depends on features that other crates turn on.
fn verifies(key: &DecodingKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    match (DEFAULT_PROVIDER.verifier_factory)(&algorithm, key) {
        Ok(verifier) => verifier.verify(message, &signature.to_vec()).is_ok(),
        Err(_) => false,
    }
}

#[derive(serde::Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// RFC 7517 §4: members that are not understood are ignored, so this one is not strict.
#[derive(serde::Deserialize)]
struct Jwk {
    #[serde(default)]
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn read_key(jwk: Jwk) -> Option<Key> {
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let (material, public, decoding) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => read_rsa(&jwk)?,
        ("EC", Some("P-256")) => read_ec(&jwk, Material::P256, 32)?,
        ("EC", Some("P-384")) => read_ec(&jwk, Material::P384, 48)?,
        ("OKP", Some("Ed25519")) => {
            let x = bytes(jwk.x.as_deref()?).filter(|x| x.len() == 32)?;
            (Material::Ed25519, x.clone(), DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    Some(Key {
        id: jwk.kid,
        material,
        only: jwk.alg,
        public,
        decoding,
    })
}

/// RFC 7518 §3.3: 2048 bits or more; the verifier takes up to 8192.
fn read_rsa(jwk: &Jwk) -> Option<(Material, Vec<u8>, DecodingKey)> {
    let n: Vec<u8> = bytes(jwk.n.as_deref()?)?
        .into_iter()
        .skip_while(|byte| *byte == 0)
        .collect();
    let e = bytes(jwk.e.as_deref()?)?;
    if !(256..=1024).contains(&n.len()) || (n.len() == 256 && n[0] < 0x80) || e.is_empty() || e.len() > 8 {
        return None;
    }
    Some((
        Material::Rsa,
        [n.as_slice(), &e].concat(),
        DecodingKey::from_rsa_raw_components(&n, &e),
    ))
}

/// SEC 1 §2.3.3, uncompressed: `04 || x || y`, both at full length (RFC 7518 §6.2.1.2).
fn read_ec(jwk: &Jwk, material: Material, length: usize) -> Option<(Material, Vec<u8>, DecodingKey)> {
    let x = bytes(jwk.x.as_deref()?).filter(|x| x.len() == length)?;
    let y = bytes(jwk.y.as_deref()?).filter(|y| y.len() == length)?;
    let point = [&[4], x.as_slice(), &y].concat();
    let decoding = DecodingKey::from_ec_der(&point);
    Some((material, point, decoding))
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.material == other.material && self.only == other.only && self.public == other.public
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("material", &self.material)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_keys_that_cannot_verify_a_token() {
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let point = URL_SAFE_NO_PAD.encode([1; 32]);
        let document = format!(
            r#"{{"keys":[{{"kty":"oct","k":"c2VjcmV0","kid":"a","alg":"HS256"}},
                {{"kty":"RSA","n":"{short}","e":"AQAB","kid":"b"}},
                {{"kty":"EC","crv":"P-256","x":"{point}","y":"{point}","kid":"c","use":"enc"}},
                {{"kty":"EC","crv":"secp256k1","x":"{point}","y":"{point}","kid":"d"}}]}}"#
        );
        assert_eq!(KeySet::parse(document.as_bytes()).unwrap().count(), 0);
    }

    #[test]
    fn an_algorithm_belongs_to_one_kind_of_key() {
        assert!(Signing::named("none").is_none());
        assert!(Signing::named("HS256").is_none());
        assert!(Signing::named("rs256").is_none());
        let point = URL_SAFE_NO_PAD.encode([1; 32]);
        let document = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{point}","y":"{point}","kid":"c"}}]}}"#);
        let keys = KeySet::parse(document.as_bytes()).unwrap();
        let check = |alg| keys.check(Some("c"), Signing::named(alg).unwrap(), b"m", b"s");
        assert_eq!(check("ES256"), Signature::Bad);
        assert_eq!(check("RS256"), Signature::UnknownKey);
        assert_eq!(check("ES384"), Signature::UnknownKey);
    }
}
