//! The token: fixed, read from a file that somebody rotates, or given by a plugin until it expires.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::exec::Plugin;
use crate::fault::KubeconfigFault;
use crate::identity::Identity;

// client-go transport/token_source.go: a token file is believed for a minute, less ten seconds.
const FILE_IS_FRESH: Duration = Duration::from_secs(50);
/// A plugin's token is asked for anew this long before it ends, at most once per [`ASK_AGAIN`].
const BEFORE_EXPIRY: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_secs(5);

pub(crate) enum TokenSource {
    None,
    Fixed(SecretString),
    File(PathBuf),
    Plugin(Plugin),
}

pub(crate) struct Bearer {
    source: TokenSource,
    identity: Arc<Identity>,
    held: Mutex<Option<Held>>,
}

/// What was last read or given, and until when it is good.
struct Held {
    header: Option<SecretString>,
    since: Instant,
    expires: Option<jiff::Timestamp>,
}

impl Bearer {
    pub(crate) fn new(source: TokenSource, identity: Arc<Identity>) -> Self {
        Self {
            source,
            identity,
            held: Mutex::new(None),
        }
    }

    pub(crate) async fn current(&self) -> Result<Option<SecretString>, KubeconfigFault> {
        match &self.source {
            TokenSource::None => Ok(None),
            TokenSource::Fixed(token) => header("token", token.expose_secret()).map(Some),
            TokenSource::File(path) => self.read_file(path).await,
            TokenSource::Plugin(plugin) => self.ask_plugin(plugin).await,
        }
    }

    pub(crate) async fn forget(&self) {
        *self.held.lock().await = None;
    }

    async fn read_file(&self, path: &PathBuf) -> Result<Option<SecretString>, KubeconfigFault> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|h| h.since.elapsed() < FILE_IS_FRESH) {
            return Ok(held.header.clone());
        }
        let text = tokio::fs::read_to_string(path)
            .await
            .map_err(|source| KubeconfigFault::File {
                path: path.clone(),
                source,
            })?;
        let header = Some(header("tokenFile", text.trim())?);
        *held = Some(Held {
            header: header.clone(),
            since: Instant::now(),
            expires: None,
        });
        Ok(header)
    }

    // The lock is held while the plugin runs: many requests that find an old token run it once.
    async fn ask_plugin(&self, plugin: &Plugin) -> Result<Option<SecretString>, KubeconfigFault> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|h| h.is_good(jiff::Timestamp::now())) {
            return Ok(held.header.clone());
        }
        let given = plugin.run().await?;
        if let Some(pair) = given.certificate {
            self.identity.show(&pair.chain, &pair.key)?;
        }
        let header = given.token.map(|t| header("exec", t.expose_secret())).transpose()?;
        *held = Some(Held {
            header: header.clone(),
            since: Instant::now(),
            expires: given.expires,
        });
        Ok(header)
    }
}

impl Held {
    fn is_good(&self, now: jiff::Timestamp) -> bool {
        match self.expires {
            None => true,
            Some(end) if now >= end => false,
            Some(end) => end.duration_since(now) > BEFORE_EXPIRY || self.since.elapsed() < ASK_AGAIN,
        }
    }
}

// RFC 6750 2.1: b64token. Anything else could break out of the header.
fn header(field: &'static str, token: &str) -> Result<SecretString, KubeconfigFault> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=:".contains(&b);
    if token.is_empty() || !token.bytes().all(fits) {
        let why = String::from("it is not a bearer token");
        return Err(KubeconfigFault::Material { field, why });
    }
    Ok(SecretString::from(format!("Bearer {token}")))
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.source {
            TokenSource::None => "Bearer(none)",
            TokenSource::Fixed(_) => "Bearer(fixed)",
            TokenSource::File(_) => "Bearer(file)",
            TokenSource::Plugin(_) => "Bearer(plugin)",
        })
    }
}
