//! Signed checkpoints leave the machine: to a file on another volume, a webhook, an S3 bucket with object lock.
//!
//! In: the checkpoints that the journal holds durably, in order. Out: each at the anchor, and a word in the journal that it is.
//! Behind the request path: an anchor that cannot be reached holds nobody up, but operators are told since when nothing is anchored.
//! Deliberately not here: judging what an anchor holds (`mantlet sessions verify`).

mod file;
mod http;
pub mod s3;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mantlet_core::time::{Clock, Timestamp};
use mantlet_kubeconfig::Credential;
use mantlet_store::{Due, Outbox, Store, StoreFault};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use file::FileAnchor;
use s3::S3;
use webhook::Webhook;

/// Between tries that failed: doubled from one to the other.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Where checkpoints go.
#[derive(Debug)]
pub enum Target {
    File(FileAnchor),
    Webhook(Box<Webhook>),
    S3(Box<S3>),
}

/// Why a checkpoint did not get there. For operators.
#[derive(Debug, thiserror::Error)]
pub enum AnchorFault {
    #[error("no answer in time")]
    TooSlow,
    #[error("cannot write `{path}`: {fault}")]
    Write { path: String, fault: std::io::Error },
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no http answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered {status}: {said}")]
    Status { status: ::http::StatusCode, said: String },
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Credential(#[from] mantlet_kubeconfig::KubeconfigFault),
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl Target {
    pub fn file(path: &std::path::Path) -> Self {
        Self::File(FileAnchor::new(path))
    }

    /// `credential` names the server and the path that checkpoints are posted to.
    pub fn webhook(credential: Credential) -> Self {
        Self::Webhook(Box::new(Webhook::new(credential)))
    }

    async fn send(&self, due: &Due, now: Timestamp) -> Result<(), AnchorFault> {
        let document = mantlet_store::document(&due.signed)?;
        match self {
            Target::File(file) => file.append(document).await,
            Target::Webhook(webhook) => webhook.post(document).await,
            Target::S3(s3) => s3.put(due, document, now).await,
        }
    }

    /// The word for it in the journal and for operators.
    fn word(&self) -> &'static str {
        match self {
            Target::File(_) => "file",
            Target::Webhook(_) => "webhook",
            Target::S3(_) => "s3",
        }
    }
}

/// The one task that anchors, and what is known of how it fares.
#[derive(Debug)]
pub struct Anchoring {
    target: Target,
    outbox: tokio::sync::Mutex<Outbox>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// The last checkpoint that is anchored, and when it was made.
    last: Option<(u64, Timestamp)>,
    /// The first one that is due and is not.
    due: Option<Timestamp>,
    fault: Option<String>,
    needs: u64,
}

#[derive(Debug, Default)]
struct Metrics {
    checkpoint: Gauge,
    seconds: Gauge,
    failures: Counter,
}

impl Anchoring {
    pub fn new(target: Target, store: &Store, clock: Arc<dyn Clock>) -> Self {
        let outbox = store.outbox();
        let state = State {
            needs: outbox.needs(),
            ..State::default()
        };
        Self {
            target,
            outbox: tokio::sync::Mutex::new(outbox),
            clock,
            state: Mutex::new(state),
            metrics: Metrics::default(),
        }
    }

    /// Adds its series: how far it got, and how often it failed.
    pub fn register(&self, registry: &mut Registry) {
        let Metrics {
            checkpoint,
            seconds,
            failures,
        } = &self.metrics;
        registry.register(
            "anchored_checkpoint",
            "The last signed checkpoint that is anchored",
            checkpoint.clone(),
        );
        registry.register(
            "anchored_timestamp_seconds",
            "When the last signed checkpoint that is anchored was made",
            seconds.clone(),
        );
        registry.register(
            "anchor_failures",
            "Checkpoints that did not reach the anchor, tries counted",
            failures.clone(),
        );
    }

    /// Sends what is due until the journal is closed.
    ///
    /// # Cancel safety
    /// Dropped in mid-send, the checkpoint may be at the anchor and is sent once more after the next start.
    pub async fn keep(&self) {
        let mut outbox = self.outbox.lock().await;
        let mut pause = RETRY.0;
        loop {
            match self.step(&mut outbox).await {
                Ok(true) => pause = RETRY.0,
                Ok(false) => return,
                Err(fault) => {
                    tracing::warn!(%fault, anchor = self.target.word(), "checkpoint not anchored");
                    self.metrics.failures.inc();
                    self.state().fault = Some(fault.to_string());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// The last checkpoints of a journal that is closed; one try each.
    pub async fn finish(&self) {
        let mut outbox = self.outbox.lock().await;
        loop {
            match self.step(&mut outbox).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => {
                    return tracing::warn!(%fault, "the last checkpoint is not anchored; the next start sends it");
                }
            }
        }
    }

    async fn step(&self, outbox: &mut Outbox) -> Result<bool, AnchorFault> {
        let Some(due) = outbox.next().await? else {
            return Ok(false);
        };
        self.state().due.get_or_insert(due.at);
        self.target.send(&due, self.clock.now()).await?;
        match outbox.sent(&due, self.target.word()) {
            // It lies outside; that nobody can write it down is the journal's fault, and is told as such.
            Ok(()) | Err(StoreFault::Closed | StoreFault::Failed(_)) => {}
            Err(fault) => return Err(fault.into()),
        }
        self.metrics
            .checkpoint
            .set(i64::try_from(due.checkpoint).unwrap_or(i64::MAX));
        self.metrics.seconds.set(due.at.seconds());
        *self.state() = State {
            last: Some((due.checkpoint, due.at)),
            due: None,
            fault: None,
            needs: outbox.needs(),
        };
        Ok(true)
    }

    /// The first record that has still to be read for it: retention leaves it.
    pub fn needs(&self) -> u64 {
        self.state().needs
    }

    /// A line for `/readyz?verbose`. Not a failure: requests are recorded all the same.
    pub(crate) fn line(&self) -> String {
        let (state, word) = (self.state(), self.target.word());
        match (&state.fault, state.last, state.due) {
            (Some(fault), last, due) => {
                let since = last.map(|(_, at)| at).or(due);
                let since = since.map_or_else(String::new, |since| format!(" since {since}"));
                format!("[!]anchor {word}: nothing is anchored{since}: {fault}\n")
            }
            (None, Some((checkpoint, at)), _) => format!("[+]anchor {word} ok: checkpoint {checkpoint} of {at}\n"),
            (None, None, _) => format!("[+]anchor {word} ok: no checkpoint yet\n"),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
