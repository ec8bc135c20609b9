//! From a configuration that is true to a gateway that serves, and back down again.
//!
//! In: [`Config`]. Out: a running [`Gateway`]. Refuses: policies that do not compile (with file, line and column), a store that cannot be opened,
//! a cluster whose uid is not the pinned one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mantlet_core::time::{Clock, Timestamp};
use mantlet_desk::Desk;
use mantlet_gateway::anchor::s3::{Credentials, S3};
use mantlet_gateway::anchor::{Anchoring, Target};
use mantlet_gateway::arrive::accept::{self, Door};
use mantlet_gateway::arrive::authenticate::Authenticator;
use mantlet_gateway::arrive::certificates::Certificates;
use mantlet_gateway::arrive::limit::Limiter;
use mantlet_gateway::arrive::limits::Limits;
use mantlet_gateway::arrive::seats;
use mantlet_gateway::export::{self, Export, JsonLines, Sink, Webhook};
use mantlet_gateway::law::LawBook;
use mantlet_gateway::recorder::Recorder;
use mantlet_gateway::tasks::Tasks;
use mantlet_gateway::{Cluster, Gateway, Turns, telemetry};
use mantlet_store::{JournalAt, MissingKey, Retention, Sizes, Store, StoreConfig, StoreFault};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;

use crate::config::{AnchorPlace, Config, Proof};
use crate::reload::{Finish, Origin, Reload};

/// Watches and followed logs say farewell, writes come back from their cluster (75 s at most are waited for an answer).
const DRAIN: Duration = Duration::from_secs(80);
/// How often a cluster that has not said who it is is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is looked for what has grown too old or too much.
const PRUNE: Duration = Duration::from_secs(300);
/// A body is kept before its request is, and shown until the end of that is gone too: microseconds that it stays longer.
const BODIES_STAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A gateway with its listeners bound, not yet accepting.
pub struct Bound {
    pub gateway: Arc<Gateway>,
    listener: TcpListener,
    telemetry: TcpListener,
    door: Door,
    reload: Reload,
    exports: Vec<Exporting>,
    retention: Option<Retention>,
}

/// One export, its receiver, and where its position lies.
struct Exporting {
    export: Arc<Export>,
    sink: Sink,
    place: PathBuf,
}

/// Opens everything that the configuration names.
pub async fn bind(config: Config, clock: Arc<dyn Clock>) -> Result<Bound> {
    let store = Store::open(store_config(&config), clock.clone())
        .await
        .context("cannot open the store")?;
    bind_with(config, store, clock).await
}

/// The same with a store that is open already.
pub async fn bind_with(config: Config, store: Store, clock: Arc<dyn Clock>) -> Result<Bound> {
    mantlet_core::identity::token::self_test().context("the cryptography of this build does not work")?;
    let tasks = Tasks::default();
    let store = Arc::new(store);
    let mut clusters = Vec::new();
    let mut default = None;
    for written in &config.clusters {
        let credential = mantlet_kubeconfig::load(written.source.clone())
            .await
            .with_context(|| format!("cluster `{}`", written.name))?;
        let pinned = match &written.uid {
            Some(uid) => Some(uid.clone()),
            // Pinned at first use: the record says which cluster this name meant.
            None => store
                .index
                .cluster_uid(&written.name)
                .await
                .context("cannot read the index")?,
        };
        let mut cluster = Cluster::new(&written.name, pinned, credential, &tasks);
        if let Some(observer) = &written.observer {
            let observer = mantlet_kubeconfig::load(observer.clone())
                .await
                .with_context(|| format!("the observer of cluster `{}`", written.name))?;
            cluster = cluster.with_observer(observer, &tasks);
        }
        let cluster = Arc::new(cluster);
        if written.default {
            default = Some(cluster.clone());
        }
        clusters.push(cluster);
    }
    let origin = Origin::of(&config);
    let anchoring = anchoring(&config.proof, &store, &clock).await?;
    let listener = listen(config.listen.address).await?;
    let telemetry = listen(config.telemetry).await?;
    let certificates = Arc::new(Certificates::new(config.listen.tls.certified.clone()));
    let exports = exports(&config, &clock, &tasks).await?;
    let door = Door {
        tls: accept::tls(certificates.clone()).context("cannot set up TLS")?,
        trusted: config.listen.trusted,
        connections: seats::connections(files()),
    };
    let mut telemetry_of = telemetry::Telemetry::default();
    if let Some(anchoring) = &anchoring {
        anchoring.register(telemetry_of.registry());
    }
    let gateway = Arc::new(Gateway {
        exports: exports.iter().map(|exporting| exporting.export.clone()).collect(),
        anchoring,
        desk: Desk::new(store.clone(), clock.clone()),
        authenticator: Authenticator::new(config.issuers, clock.clone())
            .map_err(|faults| self::faults(&faults))?
            .among(clusters.clone()),
        limiter: Limiter::default(),
        turns: Turns::default(),
        telemetry: telemetry_of,
        law: LawBook::new(config.law),
        recorder: Recorder::new(config.recording.policy),
        limits: Limits::default(),
        tasks,
        clock,
        store,
        clusters,
        default,
    });
    Ok(Bound {
        reload: Reload::new(gateway.clone(), certificates, origin),
        gateway,
        listener,
        telemetry,
        door,
        exports,
        retention: config.proof.retention,
    })
}

/// As `recording.export` says.
async fn exports(config: &Config, clock: &Arc<dyn Clock>, tasks: &Tasks) -> Result<Vec<Exporting>> {
    let mut exports = Vec::new();
    if let Some(file) = &config.recording.file {
        let mut place = file.path.clone().into_os_string();
        place.push(".position");
        let lines = JsonLines::new(file.path.clone(), file.max_size, file.max_backups, clock.clone());
        exports.push(Exporting {
            export: Arc::new(Export::new("file")),
            sink: Sink::File(lines),
            place: place.into(),
        });
    }
    if let Some(kubeconfig) = &config.recording.webhook {
        let source = mantlet_kubeconfig::Source::File {
            path: kubeconfig.clone(),
            context: None,
        };
        let credential = mantlet_kubeconfig::load(source).await.context("the audit webhook")?;
        exports.push(Exporting {
            export: Arc::new(Export::new("webhook")),
            sink: Sink::Webhook(Box::new(Webhook::new(credential, tasks.clone()))),
            place: match &config.storage.journal {
                JournalAt::Folder(folder) => folder.with_file_name("webhook.position"),
                // Of this process's own chain, so beside what is this machine's own.
                JournalAt::Database => config.storage.key_file.with_file_name("webhook.position"),
            },
        });
    }
    Ok(exports)
}

/// Refuses to start without what the anchor needs: an anchor that can never work is none.
async fn anchoring(proof: &Proof, store: &Store, clock: &Arc<dyn Clock>) -> Result<Option<Arc<Anchoring>>> {
    let target = match &proof.anchor {
        None => return Ok(None),
        Some(AnchorPlace::File(path)) => {
            if path.is_file() {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
                let (anchors, _) = mantlet_store::read_documents(&text, "recording.anchor.file");
                store.holds(&anchors).context("recording.anchor.file")?;
            }
            Target::file(path)
        }
        Some(AnchorPlace::Webhook(source)) => {
            let credential = mantlet_kubeconfig::load(source.clone()).await;
            Target::webhook(credential.context("recording.anchor.webhook")?)
        }
        Some(AnchorPlace::S3(s3)) => {
            let credentials = Credentials::from_environment().context("recording.anchor.s3")?;
            Target::S3(Box::new(
                S3::new(s3.clone(), credentials).context("recording.anchor.s3")?,
            ))
        }
    };
    Ok(Some(Arc::new(Anchoring::new(target, store, clock.clone()))))
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("listener", &self.listener)
            .field("telemetry", &self.telemetry)
            .finish_non_exhaustive()
    }
}

impl Bound {
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// What is done to a configuration that is loaded later on, before it is put into force.
    #[must_use]
    pub fn finishing(mut self, finish: Finish) -> Self {
        self.reload = self.reload.finishing(finish);
        self
    }

    pub fn telemetry_address(&self) -> Result<SocketAddr> {
        Ok(self.telemetry.local_addr()?)
    }

    /// Asks each cluster once who it is, and pins the answer.
    pub async fn identify(&self) -> Result<()> {
        for cluster in &self.gateway.clusters {
            identify(cluster).await?;
        }
        Ok(())
    }

    /// Serves until `stop` resolves, then drains: no new connections, streams end, writes come back, the journal is closed.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Bound {
            gateway,
            listener,
            telemetry: operators,
            door,
            reload,
            exports,
            retention,
        } = self;
        gateway.tasks.pump("configuration", reload.run());
        for Exporting { export, sink, place } in exports {
            let (store, tasks) = (gateway.store.clone(), gateway.tasks.clone());
            gateway
                .tasks
                .pump("export", export::run(export, sink, store, place, tasks));
        }
        if let Some(anchoring) = gateway.anchoring.clone() {
            let tasks = gateway.tasks.clone();
            gateway.tasks.pump("anchor", async move {
                tokio::select! {
                    () = anchoring.keep() => {}
                    () = tasks.closing() => {}
                }
            });
        }
        if let Some(retention) = retention {
            gateway
                .tasks
                .pump("retention", keep_pruning(gateway.clone(), retention));
        }
        let keys = gateway.clone();
        gateway.tasks.pump("issuer keys", async move {
            tokio::select! {
                () = keys.authenticator.keep_keys_fresh() => {}
                () = keys.tasks.closing() => {}
            }
        });
        gateway
            .tasks
            .pump("telemetry", telemetry::listen(operators, gateway.clone()));
        gateway.tasks.pump("identify", keep_identifying(gateway.clone()));
        gateway
            .tasks
            .pump("listener", accept::listen(listener, door, gateway.clone()));
        stop.await;
        tracing::info!("draining");
        let left = gateway.tasks.drain(DRAIN).await;
        if left > 0 {
            tracing::warn!(left, "tasks were still running when the drain ended");
        }
        gateway.store.close().await;
        if let Some(anchoring) = &gateway.anchoring {
            anchoring.finish().await;
        }
        Ok(())
    }
}

async fn keep_pruning(gateway: Arc<Gateway>, retention: Retention) {
    loop {
        let pause = match prune(&gateway, retention).await {
            // There may be more.
            Ok(1..) => Duration::ZERO,
            Ok(0) => PRUNE,
            Err(fault) => {
                tracing::warn!(%fault, "nothing was pruned");
                PRUNE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = gateway.tasks.closing() => return,
        }
    }
}

/// Segments that nobody has still to read, and the bodies of their time. How many segments went.
async fn prune(gateway: &Gateway, retention: Retention) -> Result<usize, StoreFault> {
    let anchoring = gateway.anchoring.iter().map(|anchoring| anchoring.needs());
    let exports = gateway.exports.iter().map(|export| export.needs());
    let needed = anchoring.chain(exports).min().unwrap_or(u64::MAX);
    let mut until: Option<Timestamp> = None;
    let segments = gateway
        .store
        .prune(retention, needed, |line| until = until.max(Some(line.at)))
        .await?;
    if let Some(until) = until {
        let before = Timestamp::from_micros(until.micros().saturating_sub(BODIES_STAY));
        let bodies = gateway.store.bodies.forget_before(before).await;
        // The next segments that go take them along.
        match bodies {
            Ok(bodies) => tracing::info!(bodies, "pruned"),
            Err(fault) => tracing::warn!(%fault, "bodies were not pruned"),
        }
    }
    Ok(segments)
}

/// Several faults as one error, a line (or a few) each.
pub fn faults<F: std::fmt::Display>(faults: &[F]) -> anyhow::Error {
    anyhow::anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

async fn keep_identifying(gateway: Arc<Gateway>) {
    for cluster in gateway.clusters.clone() {
        while let Err(error) = identify(&cluster).await {
            tracing::warn!(
                cluster = cluster.name(),
                error = format!("{error:#}"),
                "the cluster has not said who it is; its requests are refused"
            );
            tokio::select! {
                () = tokio::time::sleep(ASK_AGAIN) => {}
                () = gateway.tasks.closing() => return,
            }
        }
    }
}

async fn identify(cluster: &Cluster) -> Result<()> {
    match cluster.identify().await {
        Ok(_) => Ok(()),
        Err(why) => bail!(
            "cluster `{}`: {why}\nhint: if it was replaced on purpose, set its `uid` in the configuration",
            cluster.name()
        ),
    }
}

/// How many files this process may have open, once it may have as many as the system lets it: the usual 1,024 are for programs that use select(2).
fn files() -> u64 {
    let mut limits = getrlimit(Resource::Nofile);
    let least = limits.current.unwrap_or(u64::MAX);
    limits.current = limits.maximum;
    match setrlimit(Resource::Nofile, limits) {
        Ok(()) => getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, files = least, "the limit of open files cannot be raised");
            least
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// Where the configuration says that the memory lies.
pub fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        database: config.storage.database.clone(),
        journal: config.storage.journal.clone(),
        recordings: config.storage.recordings.clone(),
        key_file: config.storage.key_file.clone(),
        missing_key: MissingKey::Create,
        sizes: Sizes::default(),
    }
}
