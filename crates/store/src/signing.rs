//! Ed25519 over statements of the record: what an auditor can check without any secret of the gateway's.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use mantlet_core::record::{PublicKey, Signed};
use serde::Serialize;

use crate::StoreFault;

pub(crate) struct SigningKey {
    id: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    pub(crate) fn from_seed(id: &str, seed: &[u8; 32]) -> Result<Self, StoreFault> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Ok(Self {
            id: id.to_owned(),
            pair: pair.map_err(|fault| StoreFault::Key(format!("key `{id}` cannot sign: {fault}")))?,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey {
            id: self.id.clone(),
            public_key: hex::encode(self.pair.public_key()),
        }
    }

    /// `about` says what kind of statement it is: none passes for one of another kind.
    pub(crate) fn sign(&self, about: &str, statement: &impl Serialize) -> std::io::Result<Signed> {
        let statement = serde_json::to_string(statement)?;
        let signature = self.pair.sign(&message(about, &statement));
        Ok(Signed {
            statement,
            key_id: self.id.clone(),
            signature: hex::encode(signature),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Whose signatures are believed, by the id of the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeys(BTreeMap<String, String>);

impl PublicKeys {
    pub(crate) fn of<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Self {
        let mut known = Self::default();
        for key in keys {
            known.add(key.public());
        }
        known
    }

    /// `ID:HEX`, as `mantlet sessions verify --print-key` prints it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (id, key) = text.trim().split_once(':').ok_or("it is not of the form `ID:HEX`")?;
        match hex::decode(key) {
            Ok(bytes) if bytes.len() == 32 => {}
            Ok(_) | Err(_) => return Err(String::from("its key is not 32 bytes in hex")),
        }
        Ok(Self(BTreeMap::from([(id.to_owned(), key.to_owned())])))
    }

    /// Believes one more; an id that is known keeps its key.
    pub(crate) fn add(&mut self, key: PublicKey) {
        self.0.entry(key.id).or_insert(key.public_key);
    }

    /// A line each: `ID:HEX`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(id, key)| format!("{id}:{key}"))
    }

    pub(crate) fn check(&self, about: &str, signed: &Signed) -> Result<(), String> {
        let Some(key) = self.0.get(&signed.key_id) else {
            return Err(format!("key `{}`, which signed it, is not known", signed.key_id));
        };
        let key = hex::decode(key).map_err(|_| format!("key `{}` cannot be used", signed.key_id))?;
        let signature = hex::decode(&signed.signature).unwrap_or_default();
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&message(about, &signed.statement), &signature)
            .map_err(|_| format!("it was not signed with key `{}`", signed.key_id))
    }
}

fn message(about: &str, statement: &str) -> Vec<u8> {
    [about.as_bytes(), statement.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_passes_for_no_other_and_no_other_kind() {
        let key = SigningKey::from_seed("s1", &[7; 32]).unwrap();
        let signed = key.sign("kind a\n", &"words").unwrap();
        let known = PublicKeys::of([&key]);
        assert_eq!(known.check("kind a\n", &signed), Ok(()));
        assert!(known.check("kind b\n", &signed).is_err());
        let other = Signed {
            statement: String::from("\"others\""),
            ..signed.clone()
        };
        assert!(known.check("kind a\n", &other).is_err());
        let forged = SigningKey::from_seed("s1", &[8; 32])
            .unwrap()
            .sign("kind a\n", &"words");
        assert!(known.check("kind a\n", &forged.unwrap()).is_err());
        let unknown = SigningKey::from_seed("s2", &[7; 32])
            .unwrap()
            .sign("kind a\n", &"words");
        assert!(
            known
                .check("kind a\n", &unknown.unwrap())
                .unwrap_err()
                .contains("not known")
        );
    }

    #[test]
    fn a_printed_key_is_read_back() {
        let known = PublicKeys::of([&SigningKey::from_seed("s1", &[7; 32]).unwrap()]);
        let line = known.lines().next().unwrap();
        assert_eq!(PublicKeys::parse(&line).unwrap(), known);
        assert!(PublicKeys::parse("s1:abcd").is_err());
        assert!(PublicKeys::parse("abcd").is_err());
    }
}
