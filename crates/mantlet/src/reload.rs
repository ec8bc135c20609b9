//! The configuration as it changes under a running gateway.
//!
//! In: the files that were read, looked at every second; SIGHUP. Out: issuers, law, recording policy and certificate, swapped whole, with a new epoch.
//! Refuses: files with a fault, and a change of what only a start can change. Then everything stays as it was, and the log, a metric and
//! `/readyz?verbose` say so until the files are good again.
//! Deliberately does not: put a part of a change into force, or read files that are just being written: they are read once they have been still
//! from one look to the next.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mantlet_api::config::Configuration;
use mantlet_core::law::Epoch;
use mantlet_gateway::Gateway;
use mantlet_gateway::arrive::certificates::Certificates;
use mantlet_kubeconfig::Source;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Config, Fault, Written};

/// How often the files are looked at. A mounted ConfigMap changes once a minute at most, and a look is a `stat` of each.
const LOOK: Duration = Duration::from_secs(1);

/// What is done to every configuration that was loaded, before it is used.
pub type Finish = Box<dyn Fn(Config) -> Config + Send + Sync>;

/// Follows the files of one gateway.
pub struct Reload {
    gateway: Arc<Gateway>,
    certificates: Arc<Certificates>,
    file: PathBuf,
    /// What is in force.
    written: Written,
    finish: Finish,
    seen: Look,
    /// The kubeconfigs of clusters and of the audit webhook: only a start reads them.
    at_start: Look,
}

/// Files and folders as `stat` shows them; links are followed, as a mounted ConfigMap is a link that is turned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look(BTreeMap<PathBuf, Option<Seen>>);

/// Length, inode, and the times of its last write and change in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    length: u64,
    inode: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Reload {
    /// For a gateway that serves `config`.
    pub fn new(gateway: Arc<Gateway>, certificates: Arc<Certificates>, config: Origin) -> Self {
        gateway
            .telemetry
            .reloaded(gateway.law.load().epoch().number(), gateway.clock.now(), None);
        Self {
            gateway,
            certificates,
            file: config.file,
            written: config.written,
            seen: Look::at(&config.files),
            at_start: Look::at(&config.kubeconfigs),
            finish: Box::new(|config| config),
        }
    }

    #[must_use]
    pub fn finishing(mut self, finish: Finish) -> Self {
        self.finish = finish;
        self
    }

    /// Until the process drains.
    pub async fn run(mut self) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut before = self.seen.clone();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = hung_up(&mut hangup) => true,
                () = self.gateway.tasks.closing() => return,
            };
            let look = self.seen.again();
            if asked || (look != self.seen && look == before) {
                self.load();
                before = self.seen.clone();
            } else {
                before = look;
            }
        }
    }

    fn load(&mut self) {
        let mut files = Vec::new();
        // Looked at before they are read: what changes while they are read is read again.
        self.seen = self.seen.again();
        let epoch = Epoch::new(self.gateway.law.load().epoch().number() + 1);
        let loaded = config::load_noting(&self.file, epoch, &mut files);
        self.seen = self.seen.with(&files);
        match loaded.and_then(|config| self.enact((self.finish)(config))) {
            Ok(()) => {
                tracing::info!(epoch = epoch.number(), "configuration loaded");
                let stale = self.at_start.changed();
                if let Some(stale) = &stale {
                    tracing::warn!(stale, "configuration loaded in part");
                }
                self.gateway
                    .telemetry
                    .reloaded(epoch.number(), self.gateway.clock.now(), stale);
            }
            Err(faults) => {
                let text = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                tracing::error!(
                    epoch = epoch.number() - 1,
                    faults = text,
                    "configuration not loaded: the last good one stays in force"
                );
                self.gateway.telemetry.not_reloaded(text);
            }
        }
    }

    /// All of it or nothing: what can refuse goes first.
    // Keys before the law: in between, a new token meets the old law, which knows nobody by it that it should not.
    fn enact(&mut self, config: Config) -> Result<(), Vec<Fault>> {
        let faults = fixed(&self.file, &self.written.configuration, &config.written.configuration);
        if !faults.is_empty() {
            return Err(faults);
        }
        let changed = changed_issuers(&self.written, &config.written);
        if self.written.authentication != config.written.authentication || !changed.is_empty() {
            self.gateway.authenticator.replace(config.issuers).map_err(|faults| {
                let fault = |fault: &dyn std::fmt::Display| Fault::whole(&self.file, fault.to_string());
                faults.iter().map(|f| fault(f)).collect::<Vec<_>>()
            })?;
        }
        self.certificates.replace(config.listen.tls.certified);
        self.gateway.recorder.enact(config.recording.policy);
        self.gateway.law.enact(config.law, changed);
        self.written = config.written;
        Ok(())
    }
}

/// What a gateway was started with, as far as following its files takes it.
#[derive(Debug)]
pub struct Origin {
    pub file: PathBuf,
    pub files: Vec<PathBuf>,
    pub kubeconfigs: Vec<PathBuf>,
    pub written: Written,
}

impl Origin {
    pub fn of(config: &Config) -> Self {
        let kubeconfig = |cluster: &config::Cluster| match &cluster.source {
            Source::File { path, .. } => Some(path.clone()),
            Source::Default { .. } | Source::InCluster => None,
        };
        Self {
            file: config.file.clone(),
            files: config.files.clone(),
            kubeconfigs: config
                .clusters
                .iter()
                .filter_map(kubeconfig)
                .chain(config.recording.webhook.clone())
                .collect(),
            written: config.written.clone(),
        }
    }
}

/// Sections that only a start reads, and that are different.
fn fixed(file: &Path, before: &Configuration, after: &Configuration) -> Vec<Fault> {
    let sections = |configuration: &Configuration| {
        let mut still = configuration.clone();
        still.authentication.clear();
        still.issuers.clear();
        still.authorization = mantlet_api::config::Authorization::default();
        still.policies.clear();
        still.listen.tls.cert_file.clear();
        still.listen.tls.key_file.clear();
        still.recording.policy = None;
        match serde_json::to_value(still) {
            Ok(serde_json::Value::Object(sections)) => sections,
            Ok(_) | Err(_) => serde_json::Map::new(),
        }
    };
    let (before, after) = (sections(before), sections(after));
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            let message = format!("`{name}` is not what this process was started with, and only a start can change it");
            Fault::whole(file, message).hint("restart the gateway, or put it back as it was")
        })
        .collect()
}

/// Issuers that are gone, or vouch for others, or by other means, than before.
fn changed_issuers(before: &Written, after: &Written) -> Vec<String> {
    let of = |written: &Written, url: &str| {
        let jwt = written.authentication.jwt.iter().find(|jwt| jwt.issuer.url == url);
        let named = written.configuration.issuers.iter().find(|issuer| issuer.url == url);
        (jwt.cloned(), named.cloned())
    };
    let urls = before.configuration.issuers.iter().map(|issuer| issuer.url.clone());
    urls.filter(|url| of(before, url) != of(after, url)).collect()
}

async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    let told = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending().await
    }
}

impl Look {
    fn at(paths: &[PathBuf]) -> Self {
        Self(paths.iter().map(|path| (path.clone(), seen(path))).collect())
    }

    fn again(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), seen(path))).collect())
    }

    /// Which of them are not what they were.
    fn changed(&self) -> Option<String> {
        let now = self.again();
        let differ = self.0.iter().filter(|(path, seen)| now.0.get(*path) != Some(*seen));
        let names: Vec<_> = differ.map(|(path, _)| format!("`{}`", path.display())).collect();
        (!names.is_empty()).then(|| format!("{} changed, and only a start reads it", names.join(", ")))
    }

    /// The files of the last load, as they were seen before it; those that are new in it, as they are now.
    fn with(&self, paths: &[PathBuf]) -> Self {
        let known = |path: &PathBuf| self.0.get(path).copied().unwrap_or_else(|| seen(path));
        Self(paths.iter().map(|path| (path.clone(), known(path))).collect())
    }
}

fn seen(path: &Path) -> Option<Seen> {
    let stat = std::fs::metadata(path).ok()?;
    Some(Seen {
        length: stat.len(),
        inode: stat.ino(),
        written: (stat.mtime(), stat.mtime_nsec()),
        changed: (stat.ctime(), stat.ctime_nsec()),
    })
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
