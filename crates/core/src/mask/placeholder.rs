//! The placeholder that stands for a secret value: `masked.mantlet.dev/v1.KID.MAC`.
//!
//! In: where a value stands (cluster, object, key) and the value.
//! Out: a text of fixed length that changes when the value does, and says nothing else about it.
//! Deliberately not: a ciphertext. Nothing can be got back from a placeholder.
//!
//! MAC is HMAC-SHA256 over cluster uid, namespace, name and uid of the object as far as they were read before the value,
//! the value's own key and the value, cut to 128 bits. The object's name is part of it, otherwise a caller could write
//! guesses into an object of their own and compare. Everything that this project reads from an API server has `metadata`
//! before `data`; for embedded objects that do not, the enclosing object's name takes its place.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How every placeholder begins.
pub const PREFIX: &str = "masked.mantlet.dev/v1.";

const MAC_BYTES: usize = 16;
const KID_MAX: usize = 16;

/// The key of the placeholders, with the name by which a placeholder says which key made it.
#[derive(Clone)]
pub struct MaskKey {
    kid: String,
    key: hmac::Key,
}

/// A key id that cannot stand in a placeholder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mask key id `{0}` is not 1 to 16 characters of a-z and 0-9")]
pub struct KidFault(String);

impl MaskKey {
    /// `kid` is 1 to 16 characters of a-z and 0-9; `key` is 32 bytes from a good source.
    pub fn new(kid: &str, key: [u8; 32]) -> Result<Self, KidFault> {
        let fits = (1..=KID_MAX).contains(&kid.len());
        let plain = kid.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !(fits && plain) {
            return Err(KidFault(kid.chars().take(64).collect()));
        }
        Ok(Self {
            kid: kid.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Makes the placeholders of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Masker {
    head: Arc<str>,
    /// None: the blind masker, whose placeholders are all one. Shared: every watch has a clone.
    begun: Option<Arc<hmac::Context>>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Masker {
    /// `cluster` is the cluster's uid (that of the namespace `kube-system`).
    pub fn new(key: &MaskKey, cluster: &str) -> Self {
        let mut begun = hmac::Context::with_key(&key.key);
        measured(&mut begun, cluster.as_bytes());
        Self {
            head: format!("{PREFIX}{}.", key.kid).into(),
            begun: Some(Arc::new(begun)),
        }
    }

    /// Makes one and the same placeholder of every value.
    pub fn blind() -> Self {
        Self {
            head: format!("{PREFIX}0.").into(),
            begun: None,
        }
    }

    /// Begins the MAC of one value; its bytes follow in any number of pieces.
    pub(super) fn begin(&self, whose: &[u8], key: &[u8]) -> Mac {
        Mac(self.begun.as_deref().cloned().map(|mut context| {
            measured(&mut context, whose);
            measured(&mut context, key);
            context
        }))
    }

    /// The placeholder as it stands in the document.
    pub(super) fn render(&self, mac: &Tag, form: Form) -> String {
        let plain = format!("{}{}", self.head, hex::encode(mac.0));
        match form {
            Form::Plain => plain,
            Form::Base64 => STANDARD.encode(plain),
        }
    }

    pub(super) fn placeholder(&self, whose: &[u8], key: &[u8], value: &[u8], form: Form) -> String {
        let mut mac = self.begin(whose, key);
        mac.update(value);
        self.render(&mac.finish(), form)
    }
}

// Each part is preceded by its length, so that no two places read alike.
fn measured(context: &mut hmac::Context, part: &[u8]) {
    context.update(&(part.len() as u64).to_be_bytes());
    context.update(part);
}

/// How a placeholder is written: `Secret.data` holds base64, everything else text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Base64,
    Plain,
}

#[derive(Clone)]
pub(super) struct Mac(Option<hmac::Context>);

impl Mac {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(context) = &mut self.0 {
            context.update(bytes);
        }
    }

    pub(super) fn finish(self) -> Tag {
        let mut cut = [0; MAC_BYTES];
        if let Some(context) = self.0 {
            cut.copy_from_slice(&context.sign().as_ref()[..MAC_BYTES]);
        }
        Tag(cut)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Tag([u8; MAC_BYTES]);

#[cfg(test)]
pub(crate) fn masker_for_tests() -> Masker {
    Masker::new(&MaskKey::new("k1", [7; 32]).unwrap(), "cluster-uid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_has_one_length_whatever_the_value() {
        let m = masker_for_tests();
        let short = m.placeholder(b"a", b"k", b"", Form::Plain);
        let long = m.placeholder(b"a", b"k", &[b'x'; 100_000], Form::Plain);
        assert_eq!(short.len(), long.len());
        assert!(short.starts_with("masked.mantlet.dev/v1.k1."));
    }

    #[test]
    fn a_placeholder_depends_on_key_cluster_object_field_and_value() {
        let base = masker_for_tests().placeholder(b"a", b"k", b"v", Form::Plain);
        let other_key = Masker::new(&MaskKey::new("k1", [8; 32]).unwrap(), "cluster-uid");
        let other_cluster = Masker::new(&MaskKey::new("k1", [7; 32]).unwrap(), "another");
        let m = masker_for_tests();
        let others = [
            other_key.placeholder(b"a", b"k", b"v", Form::Plain),
            other_cluster.placeholder(b"a", b"k", b"v", Form::Plain),
            m.placeholder(b"b", b"k", b"v", Form::Plain),
            m.placeholder(b"a", b"l", b"v", Form::Plain),
            m.placeholder(b"a", b"k", b"w", Form::Plain),
            m.placeholder(b"ak", b"", b"v", Form::Plain),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(m.placeholder(b"a", b"k", b"v", Form::Plain), base);
    }

    #[test]
    fn key_ids_that_could_break_a_placeholder_are_refused() {
        for kid in ["", "a.b", "A", "0123456789abcdefg", "ä"] {
            assert!(MaskKey::new(kid, [0; 32]).is_err(), "{kid}");
        }
    }
}
