//! The keys of placeholders, chain and digests: made at the first start, sealed by `storage.keyFile` (AES-256-GCM).
//!
//! In: the key file, the folder of the journal. Out: keys by their use, each with an id that stands in what was made with it.
//! Refuses: a key file that does not open the keyring, and to begin a new keyring beside a journal that another one belongs to.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mantlet_core::mask::MaskKey;
use mantlet_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::database::{Database, query};
use crate::signing::{PublicKeys, SigningKey};
use crate::{StoreFault, random};

const FILE: &str = "keyring.json";
/// Bound into the seal, so that no other sealed file passes for a keyring.
const ABOUT: &[u8] = b"mantlet keyring v1";

/// What a missing key file means: in production a mount that was forgotten, on a developer's machine the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    Refuse,
    Create,
}

/// The current key of each use.
pub struct Keyring {
    mask: Key,
    chain: Key,
    digest: Key,
    /// All that ever signed, the newest last; none in a keyring that only older versions have opened.
    sign: Vec<Arc<SigningKey>>,
}

struct Key {
    id: String,
    bytes: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    v: u32,
    nonce: String,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct Written {
    keys: Vec<WrittenKey>,
}

#[derive(Clone, Serialize, Deserialize)]
struct WrittenKey {
    id: String,
    r#use: Use,
    key: String,
    created: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Use {
    Mask,
    Chain,
    Digest,
    Sign,
}

impl Keyring {
    /// Opens the keyring in `folder`, or makes it if `begun` says that there is no journal yet.
    pub(crate) fn open(
        folder: &Path,
        key_file: &Path,
        missing: MissingKey,
        begun: Begun,
        now: Timestamp,
    ) -> Result<Self, StoreFault> {
        let path = folder.join(FILE);
        let seal = seal(key_file, missing)?;
        match std::fs::read(&path) {
            Ok(text) => {
                let mut written = Written::unseal(&text, &seal, &path, key_file)?;
                // Of a version that signed nothing.
                if !written.signs() {
                    written.keys.push(WrittenKey::fresh(Use::Sign, 's', now)?);
                    write(&path, &written.seal(&seal)?)?;
                }
                written.resolve()
            }
            Err(fault) if fault.kind() == ErrorKind::NotFound && begun == Begun::No => {
                let written = Written::fresh(now)?;
                write(&path, &written.seal(&seal)?)?;
                written.resolve()
            }
            Err(fault) => Err(StoreFault::unusable(
                &path,
                format!("{fault}; the journal beside it was written with its keys"),
            )),
        }
    }

    /// The same in PostgreSQL: one keyring for all replicas, each of which has the key file. Of two that begin at once one wins.
    pub(crate) async fn open_in(
        database: &Database,
        key_file: &Path,
        missing: MissingKey,
        begun: Begun,
        now: Timestamp,
    ) -> Result<Self, StoreFault> {
        let (place, stored) = (Path::new("the keyring in the database"), stored(database).await?);
        let sealed = match (stored, begun) {
            (Some(sealed), _) => sealed,
            (None, Begun::Yes) => {
                let why = "it is missing; the journal beside it was written with its keys";
                return Err(StoreFault::unusable(place, why));
            }
            (None, Begun::No) => {
                let sealed = Written::fresh(now)?.seal(&seal(key_file, missing)?)?;
                keep(database, String::from_utf8_lossy(&sealed).into_owned()).await?
            }
        };
        // No new key is made for a keyring that is sealed already: it could not be the right one.
        let seal = seal(key_file, MissingKey::Refuse)?;
        let mut written = Written::unseal(sealed.as_bytes(), &seal, place, key_file)?;
        if written.signs() {
            return written.resolve();
        }
        // Of a version that signed nothing. Of two that add a key at once one wins here too.
        written.keys.push(WrittenKey::fresh(Use::Sign, 's', now)?);
        let added = String::from_utf8_lossy(&written.seal(&seal)?).into_owned();
        let sealed = replace(database, sealed, added).await?;
        let written = Written::unseal(sealed.as_bytes(), &seal, place, key_file)?;
        written.resolve()
    }

    /// Opens the keyring in `folder` and changes nothing: for those who check what others wrote.
    pub(crate) fn read(folder: &Path, key_file: &Path) -> Result<Self, StoreFault> {
        let path = folder.join(FILE);
        let seal = seal(key_file, MissingKey::Refuse)?;
        let text = std::fs::read(&path).map_err(|fault| StoreFault::unusable(&path, fault))?;
        Written::unseal(&text, &seal, &path, key_file)?.resolve()
    }

    /// That of a database, as it is.
    pub(crate) async fn read_in(database: &Database, key_file: &Path) -> Result<Self, StoreFault> {
        let place = Path::new("the keyring in the database");
        let seal = seal(key_file, MissingKey::Refuse)?;
        let text = stored(database).await?;
        let text = text.ok_or_else(|| StoreFault::unusable(place, "it is missing"))?;
        Written::unseal(text.as_bytes(), &seal, place, key_file)?.resolve()
    }

    /// The same in a database, for each replica from its next start on.
    pub(crate) async fn rotate_in(database: &Database, key_file: &Path, now: Timestamp) -> Result<String, StoreFault> {
        let place = Path::new("the keyring in the database");
        let seal = seal(key_file, MissingKey::Refuse)?;
        let old = stored(database).await?;
        let old = old.ok_or_else(|| StoreFault::unusable(place, "it is missing"))?;
        let mut written = Written::unseal(old.as_bytes(), &seal, place, key_file)?;
        let key = WrittenKey::fresh(Use::Sign, 's', now)?;
        let id = key.id.clone();
        written.keys.push(key);
        let new = String::from_utf8_lossy(&written.seal(&seal)?).into_owned();
        match replace(database, old, new.clone()).await? == new {
            true => Ok(id),
            false => Err(StoreFault::Key(String::from(
                "another process changed the keyring in the same moment\nhint: try again",
            ))),
        }
    }

    /// A new key signs from the next start on; the old one vouches for it. The id of the new one.
    pub(crate) fn rotate(folder: &Path, key_file: &Path, now: Timestamp) -> Result<String, StoreFault> {
        let path = folder.join(FILE);
        let seal = seal(key_file, MissingKey::Refuse)?;
        let text = std::fs::read(&path).map_err(|fault| StoreFault::unusable(&path, fault))?;
        let mut written = Written::unseal(&text, &seal, &path, key_file)?;
        let key = WrittenKey::fresh(Use::Sign, 's', now)?;
        let id = key.id.clone();
        written.keys.push(key);
        write(&path, &written.seal(&seal)?)?;
        Ok(id)
    }

    /// For `core::mask::Masker`.
    pub fn mask_key(&self) -> Result<MaskKey, StoreFault> {
        MaskKey::new(&self.mask.id, self.mask.bytes).map_err(|fault| StoreFault::Key(fault.to_string()))
    }

    pub fn mask_key_id(&self) -> &str {
        &self.mask.id
    }

    pub fn chain_key_id(&self) -> &str {
        &self.chain.id
    }

    pub(crate) fn chain_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.chain.bytes)
    }

    /// All that ever signed, the newest last.
    pub(crate) fn signing_keys(&self) -> &[Arc<SigningKey>] {
        &self.sign
    }

    /// Whose signatures on this record are believed.
    pub fn public_keys(&self) -> PublicKeys {
        PublicKeys::of(self.sign.iter().map(|key| &**key))
    }

    pub(crate) fn digest_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.digest.bytes)
    }
}

/// Whether records have been written in this folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    No,
    Yes,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids = vec![self.mask.id.as_str(), &self.chain.id, &self.digest.id];
        ids.extend(self.sign.iter().map(|key| key.id()));
        f.debug_struct("Keyring").field("ids", &ids).finish_non_exhaustive()
    }
}

impl Written {
    fn fresh(now: Timestamp) -> Result<Self, StoreFault> {
        let keys = [
            (Use::Mask, 'm'),
            (Use::Chain, 'c'),
            (Use::Digest, 'd'),
            (Use::Sign, 's'),
        ];
        let keys = keys
            .into_iter()
            .map(|(r#use, letter)| WrittenKey::fresh(r#use, letter, now));
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    fn signs(&self) -> bool {
        self.keys.iter().any(|key| key.r#use == Use::Sign)
    }

    fn seal(&self, seal: &LessSafeKey) -> Result<Vec<u8>, StoreFault> {
        let nonce: [u8; NONCE_LEN] = random::bytes()?;
        let mut text = serde_json::to_vec(self).map_err(|fault| StoreFault::Key(fault.to_string()))?;
        seal.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(ABOUT), &mut text)
            .map_err(|_| StoreFault::Key(String::from("the keyring cannot be sealed")))?;
        let sealed = Sealed {
            v: 1,
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(text),
        };
        serde_json::to_vec(&sealed).map_err(|fault| StoreFault::Key(fault.to_string()))
    }

    fn unseal(text: &[u8], seal: &LessSafeKey, path: &Path, key_file: &Path) -> Result<Self, StoreFault> {
        let broken = |why: &str| StoreFault::unusable(path, why);
        let sealed: Sealed = serde_json::from_slice(text).map_err(|_| broken("it is no keyring"))?;
        if sealed.v != 1 {
            return Err(broken("it was written by a later version of mantlet"));
        }
        let nonce = STANDARD
            .decode(sealed.nonce)
            .ok()
            .and_then(|nonce| <[u8; NONCE_LEN]>::try_from(nonce).ok());
        let nonce = nonce.ok_or_else(|| broken("it is no keyring"))?;
        let mut text = STANDARD.decode(sealed.sealed).map_err(|_| broken("it is no keyring"))?;
        let text = seal.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(ABOUT), &mut text);
        let text = text.map_err(|_| broken(&format!("`{}` does not open it", key_file.display())))?;
        serde_json::from_slice(text).map_err(|_| broken("it is no keyring"))
    }

    fn resolve(&self) -> Result<Keyring, StoreFault> {
        Ok(Keyring {
            mask: self.newest(Use::Mask)?,
            chain: self.newest(Use::Chain)?,
            digest: self.newest(Use::Digest)?,
            sign: self.signing()?,
        })
    }

    fn signing(&self) -> Result<Vec<Arc<SigningKey>>, StoreFault> {
        let mut keys: Vec<_> = self.keys.iter().filter(|key| key.r#use == Use::Sign).collect();
        keys.sort_by_key(|key| key.created);
        let seed = |key: &WrittenKey| STANDARD.decode(&key.key).ok().and_then(|bytes| bytes.try_into().ok());
        keys.into_iter()
            .map(|key| {
                let seed = seed(key).ok_or_else(|| StoreFault::Key(format!("key `{}` is none", key.id)))?;
                SigningKey::from_seed(&key.id, &seed).map(Arc::new)
            })
            .collect()
    }

    fn newest(&self, r#use: Use) -> Result<Key, StoreFault> {
        let missing = || StoreFault::Key(format!("the keyring has no usable {use:?} key"));
        let key = self
            .keys
            .iter()
            .filter(|key| key.r#use == r#use)
            .max_by_key(|key| key.created)
            .ok_or_else(missing)?;
        let bytes = STANDARD.decode(&key.key).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Key {
            id: key.id.clone(),
            bytes: bytes.ok_or_else(missing)?,
        })
    }
}

impl WrittenKey {
    fn fresh(r#use: Use, letter: char, created: Timestamp) -> Result<Self, StoreFault> {
        let id = format!("{letter}{}", hex::encode(random::bytes::<4>()?));
        Ok(Self {
            id,
            r#use,
            key: STANDARD.encode(random::bytes::<32>()?),
            created,
        })
    }
}

const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', true)";

async fn stored(database: &Database) -> Result<Option<String>, StoreFault> {
    let row = database.one(query("SELECT sealed FROM keyring WHERE id = 1")).await?;
    row.map(|row| row.try_get("sealed")).transpose()
}

/// What is stored then: this one, or that of a faster replica.
async fn keep(database: &Database, sealed: String) -> Result<String, StoreFault> {
    let mut change = database.change().await?;
    // The index may lose its last rows in a crash, the keyring may not.
    change.run(query(DURABLE)).await?;
    let insert = "INSERT INTO keyring (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";
    change.run(query(insert).bind(sealed)).await?;
    change.commit().await?;
    let stored = stored(database).await?;
    stored.ok_or_else(|| StoreFault::Key(String::from("the keyring was not kept")))
}

/// What is stored then: the new one, or what another replica has put there meanwhile.
async fn replace(database: &Database, old: String, new: String) -> Result<String, StoreFault> {
    let mut change = database.change().await?;
    change.run(query(DURABLE)).await?;
    let update = "UPDATE keyring SET sealed = $2 WHERE id = 1 AND sealed = $1";
    change.run(query(update).bind(old).bind(new)).await?;
    change.commit().await?;
    let stored = stored(database).await?;
    stored.ok_or_else(|| StoreFault::Key(String::from("the keyring was not kept")))
}

fn seal(key_file: &Path, missing: MissingKey) -> Result<LessSafeKey, StoreFault> {
    let bytes = match (std::fs::read(key_file), missing) {
        (Ok(bytes), _) => bytes,
        (Err(fault), MissingKey::Create) if fault.kind() == ErrorKind::NotFound => {
            let bytes = random::bytes::<32>()?.to_vec();
            write(key_file, &bytes)?;
            bytes
        }
        (Err(fault), MissingKey::Create | MissingKey::Refuse) => {
            let hint = format!("head -c 32 /dev/urandom > {}", key_file.display());
            return Err(StoreFault::unusable(
                key_file,
                format!("{fault}\nhint: for a first start: {hint}; for another replica: copy the first one's"),
            ));
        }
    };
    if bytes.len() != 32 {
        return Err(StoreFault::unusable(
            key_file,
            format!("it has {} bytes, not 32", bytes.len()),
        ));
    }
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| StoreFault::unusable(key_file, "it is no key"))?;
    Ok(LessSafeKey::new(key))
}

/// Whole or not at all, readable by the owner alone, and still there after a crash.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreFault> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    let steps = || {
        std::fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    steps().map_err(|fault: std::io::Error| StoreFault::unusable(path, fault))
}

/// As versions before signed checkpoints sealed it; the key file is made.
#[cfg(test)]
pub(crate) fn without_signing_key(key_file: &Path, now: Timestamp) -> String {
    let seal = seal(key_file, MissingKey::Create).unwrap();
    let mut written = Written::fresh(now).unwrap();
    written.keys.retain(|key| key.r#use != Use::Sign);
    String::from_utf8(written.seal(&seal).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn open(scratch: &Scratch, missing: MissingKey, begun: Begun) -> Result<Keyring, StoreFault> {
        Keyring::open(
            scratch.path(),
            &scratch.path().join("key"),
            missing,
            begun,
            Timestamp::from_seconds(1),
        )
    }

    #[test]
    fn a_keyring_is_the_same_at_the_next_start() {
        let scratch = Scratch::new();
        let first = open(&scratch, MissingKey::Create, Begun::No).unwrap();
        let second = open(&scratch, MissingKey::Refuse, Begun::Yes).unwrap();
        assert_eq!(first.mask.bytes, second.mask.bytes);
        assert_eq!(first.chain_key_id(), second.chain_key_id());
        assert_ne!(first.mask.bytes, first.chain.bytes);
    }

    #[test]
    fn keys_do_not_show_in_the_files_or_in_debug() {
        let scratch = Scratch::new();
        let keyring = open(&scratch, MissingKey::Create, Begun::No).unwrap();
        let file = std::fs::read_to_string(scratch.path().join(FILE)).unwrap();
        assert!(!file.contains(&STANDARD.encode(keyring.mask.bytes)) && !file.contains(&keyring.mask.id));
        assert!(!format!("{keyring:?}").contains(&format!("{:?}", keyring.mask.bytes)));
    }

    #[test]
    fn another_key_file_does_not_open_it() {
        let scratch = Scratch::new();
        open(&scratch, MissingKey::Create, Begun::No).unwrap();
        std::fs::write(scratch.path().join("key"), [7; 32]).unwrap();
        let fault = open(&scratch, MissingKey::Refuse, Begun::Yes).unwrap_err();
        assert!(fault.to_string().contains("does not open it"), "{fault}");
    }

    #[test]
    fn a_missing_key_file_is_refused_where_it_is_required() {
        let fault = open(&Scratch::new(), MissingKey::Refuse, Begun::No).unwrap_err();
        assert!(fault.to_string().contains("hint:"), "{fault}");
    }

    #[test]
    fn no_new_keyring_is_begun_beside_an_old_journal() {
        assert!(open(&Scratch::new(), MissingKey::Create, Begun::Yes).is_err());
    }
}
