//! What is too large for the journal: bodies of requests and answers, masked, each under the hash of its text.
//!
//! In: a masked text. Out: a [`Body`] that names it; later, by its name, the text again. Refuses: when the place cannot be written, and says so until
//! it can be: whatever would have to be stored there is refused before anything of it is sent.
//! Zstandard, one object for each text. Two events with the same body name the same object.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use mantlet_api::audit::Event;
use mantlet_core::mask::Masked;
use mantlet_core::record::Body;
use mantlet_core::time::Timestamp;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::StoreFault;

/// `storage.recordings`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recordings {
    Folder(PathBuf),
    S3(S3Place),
}

/// A bucket, or a part of one. The credential is the environment's (`AWS_ACCESS_KEY_ID`, a web identity, the instance's), never the configuration's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Place {
    pub bucket: String,
    /// Without a slash at either end; may be empty.
    pub prefix: String,
    pub region: Option<String>,
    /// Of a server that is not AWS's.
    pub endpoint: Option<String>,
}

#[derive(Debug)]
pub struct Bodies {
    place: Arc<Place>,
    /// So many are packed at a time: each is up to 3 MiB, and packing is work for a core.
    turns: Semaphore,
    /// Large answers that are gathered for the record while they stream by.
    room: Arc<Semaphore>,
    health: watch::Receiver<Result<(), StoreFault>>,
    probe: JoinHandle<()>,
}

#[derive(Debug)]
struct Place {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    health: watch::Sender<Result<(), StoreFault>>,
}

const TURNS: usize = 4;
/// At `ANSWER_MAX` each: 32 MiB.
const GATHERED: usize = 32;
/// zstd's own default.
const LEVEL: i32 = 3;
/// What a put or a get may take, the client's own attempts included.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a place that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// No text that is stored is longer: a request has 3 MiB at most, and JSON written anew may have more escapes.
const LONGEST: usize = 24 << 20;

const REQUEST: &str = "mantlet.dev/request-object";
const RESPONSE: &str = "mantlet.dev/response-object";
/// k8s.io/apiserver `plugin/pkg/audit/truncate`: a body was taken out of this event.
pub(crate) const TRUNCATED: &str = "audit.k8s.io/truncated";

impl Bodies {
    pub(crate) async fn open(recordings: &Recordings) -> Result<Self, StoreFault> {
        let (health, watched) = watch::channel(Ok(()));
        let (objects, prefix) = match recordings {
            Recordings::Folder(folder) => (open_folder(folder)?, Path::default()),
            Recordings::S3(s3) => (open_s3(s3)?, Path::from(s3.prefix.as_str())),
        };
        let place = Arc::new(Place {
            objects,
            prefix,
            health,
        });
        place.try_out().await;
        let probe = tokio::spawn(probe(place.clone()));
        Ok(Self {
            place,
            turns: Semaphore::new(TURNS),
            room: Arc::new(Semaphore::new(GATHERED)),
            health: watched,
            probe,
        })
    }

    /// Whether bodies can be stored: what `/readyz` says.
    pub fn health(&self) -> Result<(), StoreFault> {
        self.health.borrow().clone()
    }

    /// Leave to gather one large answer; none while too many others are.
    pub fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Stores a text; what the record says of it, and how many bytes it takes. Durable when it returns.
    ///
    /// # Cancel safety
    /// A text may be stored that nothing names; it goes with its age.
    pub async fn put(&self, text: Masked<String>) -> Result<(Masked<Body>, u64), StoreFault> {
        let _turn = self.turns.acquire().await.map_err(|_| StoreFault::Closed)?;
        let length = text.len() as u64;
        let packed = tokio::task::spawn_blocking(move || pack(&text)).await;
        let (name, packed) = packed.map_err(|_| failed("packing ended in a panic"))??;
        let written = packed.len() as u64;
        let done = self.place.put(&self.place.path(&name), packed).await;
        self.place.note(&done);
        done.map(|()| (Body::stored(name, length), written))
    }

    /// The text of this name, as it was stored.
    pub async fn get(&self, name: &str) -> Result<Value, StoreFault> {
        if name.len() != 64 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(failed("this is not the name of a body"));
        }
        let packed = self.place.get(&self.place.path(name)).await?;
        let wanted = name.to_owned();
        let unpacked = tokio::task::spawn_blocking(move || unpack(&packed, &wanted)).await;
        unpacked.map_err(|_| failed("unpacking ended in a panic"))?
    }

    /// Puts the bodies that an event names into it. One that cannot be had is said to be missing, and why.
    pub async fn fill(&self, event: &mut Event) {
        for key in [REQUEST, RESPONSE] {
            let Some(said) = event.annotations.get(key) else {
                continue;
            };
            let Some(name) = said.strip_prefix("sha256:").and_then(|rest| rest.split(' ').next()) else {
                continue;
            };
            match self.get(name).await {
                Ok(value) if key == REQUEST => event.request_object = Some(value),
                Ok(value) => event.response_object = Some(value),
                Err(fault) => {
                    let said = format!("{said}; cannot be read: {fault}");
                    event.annotations.insert(key.to_owned(), said);
                    event.annotations.insert(TRUNCATED.to_owned(), String::from("true"));
                }
            }
        }
    }

    /// Removes what no event has named since `at`: a body that is named again is written again, so its age is that of its last event.
    pub async fn forget_before(&self, at: Timestamp) -> Result<u64, StoreFault> {
        use futures_util::TryStreamExt as _;
        let folder = self.place.folder();
        let old: Vec<_> = self
            .place
            .objects
            .list(Some(&folder))
            .try_filter(|object| std::future::ready(object.last_modified.timestamp_micros() < at.micros()))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(|fault| failed(&fault.to_string()))?;
        for path in &old {
            let gone = self.place.objects.delete(path).await;
            gone.map_err(|fault| failed(&fault.to_string()))?;
        }
        Ok(old.len() as u64)
    }
}

impl Drop for Bodies {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

impl Place {
    fn folder(&self) -> Path {
        self.prefix.clone().join("bodies")
    }

    /// Two levels, so that no folder grows too large to be listed.
    fn path(&self, name: &str) -> Path {
        let (first, rest) = name.split_at_checked(2).unwrap_or((name, "none"));
        self.folder().join(first).join(format!("{rest}.json.zst"))
    }

    async fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), StoreFault> {
        let put = self.objects.put(path, PutPayload::from(bytes));
        match tokio::time::timeout(PATIENCE, put).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(fault)) => Err(failed(&fault.to_string())),
            Err(_) => Err(failed(&format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn get(&self, path: &Path) -> Result<Vec<u8>, StoreFault> {
        let get = async { self.objects.get(path).await?.bytes().await };
        match tokio::time::timeout(PATIENCE, get).await {
            Ok(Ok(bytes)) => Ok(bytes.into()),
            Ok(Err(fault)) => Err(failed(&fault.to_string())),
            Err(_) => Err(failed(&format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    /// Writes a few bytes, as a body would be.
    async fn try_out(&self) {
        let path = self.prefix.clone().join("probe");
        let done = self.put(&path, b"Mantlet can write here.\n".to_vec()).await;
        self.note(&done);
    }

    fn note(&self, done: &Result<(), StoreFault>) {
        if let Err(fault) = done {
            tracing::error!(%fault, "bodies cannot be stored");
        }
        self.health.send_if_modified(|health| {
            let changed = health.is_ok() != done.is_ok();
            if changed {
                health.clone_from(done);
            }
            changed
        });
    }
}

/// Tries a place that failed until it works again: nobody else does, since requests that would write there are refused.
async fn probe(place: Arc<Place>) {
    let mut health = place.health.subscribe();
    while health.wait_for(Result::is_err).await.is_ok() {
        tokio::time::sleep(AGAIN).await;
        place.try_out().await;
    }
}

fn open_folder(folder: &std::path::Path) -> Result<Arc<dyn ObjectStore>, StoreFault> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|fault| StoreFault::unusable(folder, fault))?;
    let objects = LocalFileSystem::new_with_prefix(folder).map_err(|fault| StoreFault::unusable(folder, fault))?;
    Ok(Arc::new(objects.with_fsync(true)))
}

fn open_s3(s3: &S3Place) -> Result<Arc<dyn ObjectStore>, StoreFault> {
    // One that is refused is told at once: the probe is what tries again.
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 2,
        retry_timeout: PATIENCE,
    };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&s3.bucket)
        .with_region(s3.region.as_deref().unwrap_or("us-east-1"))
        .with_retry(retry)
        .with_client_options(ClientOptions::new().with_timeout(PATIENCE));
    if let Some(endpoint) = &s3.endpoint {
        builder = builder
            .with_endpoint(endpoint)
            .with_allow_http(endpoint.starts_with("http://"));
    }
    let objects = builder.build().map_err(|fault| failed(&fault.to_string()))?;
    Ok(Arc::new(objects))
}

fn pack(text: &str) -> Result<(String, Vec<u8>), StoreFault> {
    let packed = zstd::bulk::compress(text.as_bytes(), LEVEL).map_err(|fault| failed(&fault.to_string()))?;
    Ok((name(text.as_bytes()), packed))
}

fn unpack(packed: &[u8], wanted: &str) -> Result<Value, StoreFault> {
    let text =
        zstd::bulk::decompress(packed, LONGEST).map_err(|_| failed("it was changed after it had been written"))?;
    if name(&text) != wanted {
        return Err(failed("it was changed after it had been written"));
    }
    serde_json::from_slice(&text).map_err(|fault| failed(&fault.to_string()))
}

fn name(text: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, text))
}

fn failed(why: &str) -> StoreFault {
    StoreFault::Recordings(why.to_owned())
}

/// What an event says of a body that is not in it.
pub(crate) fn note(body: &Option<Body>, response: bool, event: &mut Event) {
    let (object, key) = match response {
        false => (&mut event.request_object, REQUEST),
        true => (&mut event.response_object, RESPONSE),
    };
    match body {
        None => {}
        Some(Body::Inline(value)) => *object = Some(value.clone()),
        Some(Body::Stored { sha256, bytes }) => {
            event
                .annotations
                .insert(key.to_owned(), format!("sha256:{sha256} {bytes} bytes"));
        }
        Some(Body::LeftOut { why }) => {
            event.annotations.insert(key.to_owned(), format!("left out: {why}"));
            event.annotations.insert(TRUNCATED.to_owned(), String::from("true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mantlet_core::mask;

    use super::*;
    use crate::testing::Scratch;

    async fn open(scratch: &Scratch) -> Bodies {
        Bodies::open(&Recordings::Folder(scratch.path().join("recordings")))
            .await
            .unwrap()
    }

    fn text(seed: usize) -> Masked<String> {
        mask::text(&serde_json::json!({"spec": "x".repeat(40_000), "seed": seed}).to_string())
    }

    fn name_of(body: &Body) -> String {
        match body {
            Body::Stored { sha256, .. } => sha256.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn object(scratch: &Scratch, name: &str) -> PathBuf {
        let folder = scratch.path().join("recordings/bodies").join(&name[..2]);
        folder.join(format!("{}.json.zst", &name[2..]))
    }

    #[tokio::test]
    async fn a_body_comes_back_by_its_hash_and_one_that_was_changed_does_not() {
        let scratch = Scratch::new();
        let bodies = open(&scratch).await;
        let (body, written) = bodies.put(text(1)).await.unwrap();
        assert!(written < 1_000, "40,000 times the same letter take {written} bytes");
        let name = name_of(&body);
        assert_eq!(bodies.get(&name).await.unwrap()["seed"], 1);

        let (other, _) = bodies.put(text(2)).await.unwrap();
        std::fs::copy(object(&scratch, &name_of(&other)), object(&scratch, &name)).unwrap();
        let fault = bodies.get(&name).await.unwrap_err().to_string();
        assert!(fault.contains("changed after it had been written"), "{fault}");
        assert!(bodies.get("../../key").await.is_err());
    }

    #[tokio::test]
    async fn a_place_that_fails_says_so_and_is_found_well_again_by_itself() {
        let scratch = Scratch::new();
        let bodies = open(&scratch).await;
        bodies.health().unwrap();
        // A file where the folders were: root too cannot write there.
        let (folder, aside) = (scratch.path().join("recordings"), scratch.path().join("aside"));
        std::fs::rename(&folder, &aside).unwrap();
        std::fs::write(&folder, "").unwrap();
        assert!(bodies.put(text(1)).await.is_err());
        assert!(bodies.health().is_err());
        std::fs::remove_file(&folder).unwrap();
        std::fs::rename(&aside, &folder).unwrap();
        let mut health = bodies.health.clone();
        let well = tokio::time::timeout(Duration::from_secs(30), health.wait_for(Result::is_ok)).await;
        assert!(well.is_ok(), "it is tried again");
        drop(well);
        bodies.put(text(1)).await.unwrap();
    }

    #[tokio::test]
    async fn bodies_go_with_their_age() {
        let scratch = Scratch::new();
        let bodies = open(&scratch).await;
        let (body, _) = bodies.put(text(1)).await.unwrap();
        assert_eq!(bodies.forget_before(Timestamp::from_micros(0)).await.unwrap(), 0);
        assert_eq!(bodies.forget_before(Timestamp::from_micros(i64::MAX)).await.unwrap(), 1);
        assert!(bodies.get(&name_of(&body)).await.is_err());
    }
}
