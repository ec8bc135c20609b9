//! A gateway of one's own in front of the bed's cluster: real listeners on loopback, real store, two real issuers, a clock that can be moved.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantlet::serve;
use mantlet_api::gate::SessionEvent;
use mantlet_core::identity::Population;
use mantlet_core::law::Epoch;
use mantlet_core::time::{Clock, Timestamp};
use mantlet_gateway::Gateway;
use mantlet_store::disk::{FaultyDisk, Switches};
use mantlet_store::{HandClock, Index, JournalAt, Sizes, Store, StoreConfig, Visible};
use tokio::sync::oneshot;

use crate::Bed;
use crate::kubectl::{self, Said};
use crate::stage::{Plan, Stage};

/// One gateway, from start to [`World::end`].
#[derive(Debug)]
pub struct World {
    pub gateway: Arc<Gateway>,
    pub clock: Arc<HandClock>,
    pub address: SocketAddr,
    pub telemetry: SocketAddr,
    pub bed: Bed,
    pub dir: PathBuf,
    pub authority: PathBuf,
    pub stage: Stage,
    /// What can go wrong with the journal's disk, and does not by itself.
    pub disk: Arc<Switches>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// A gateway with the guardrails and `policies` (YAML of Agents and Policies; `CLUSTER` and `PEOPLE` are filled in). It knows its cluster and its
    /// issuers' keys are shown.
    pub async fn start(bed: &Bed, name: &str, policies: &str) -> Self {
        let mut plan = Plan::new(bed, name);
        policies.clone_into(&mut plan.policies);
        Self::start_ready(&plan).await
    }

    /// A gateway with these policies and no others.
    pub async fn under(bed: &Bed, name: &str, policies: &[(&str, &str)]) -> Self {
        let mut plan = Plan::new(bed, name);
        plan.guardrails = false;
        plan.policies = policies
            .iter()
            .map(|(_, text)| *text)
            .collect::<Vec<_>>()
            .join("\n---\n");
        Self::start_ready(&plan).await
    }

    /// As planned; it knows its cluster and its issuers' keys are shown.
    pub async fn start_ready(plan: &Plan) -> Self {
        let mut world = Self::start_as(plan, Sizes::default()).await;
        world.stage.show_keys();
        for cluster in &world.gateway.clusters {
            cluster.identify().await.expect("the cluster says who it is");
        }
        world
    }

    /// As planned, with nothing waited for: the issuers are not up, the cluster may not be there.
    pub async fn start_as(plan: &Plan, sizes: Sizes) -> Self {
        let clock = Arc::new(HandClock::at(real_now()));
        let stage = Stage::set(plan, clock.now()).await;
        let config = mantlet::config::load(&stage.config, Epoch::new(1)).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let place = StoreConfig {
            sizes,
            ..serve::store_config(&config)
        };
        let JournalAt::Folder(folder) = &place.journal else {
            panic!("a world has its journal in a folder");
        };
        let disk = FaultyDisk::new(folder);
        let switches = disk.switches();
        let store = Store::open_on(Arc::new(disk), place, clock.clone())
            .await
            .expect("a store");
        let bound = serve::bind_with(config, store, clock.clone()).await.expect("a gateway");
        let gateway = bound.gateway.clone();
        let (address, telemetry) = (
            bound.address().expect("bound"),
            bound.telemetry_address().expect("bound"),
        );
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            bound
                .serve(async {
                    let _ = stopped.await;
                })
                .await
                .expect("it serves");
        });
        Self {
            gateway,
            clock,
            address,
            telemetry,
            bed: plan.bed.clone(),
            dir: stage.dir.clone(),
            authority: stage.authority.clone(),
            stage,
            disk: switches,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// A token for somebody, good for an hour of the world's clock.
    pub fn token(&self, population: Population, subject: &str, groups: &[&str]) -> String {
        self.stage.token(population, subject, groups, self.clock.now())
    }

    /// A kubeconfig through the gateway.
    pub fn kubeconfig(&self, population: Population, subject: &str, groups: &[&str], namespace: &str) -> PathBuf {
        let token = self.token(population, subject, groups);
        self.stage.kubeconfig(self.address, subject, &token, namespace)
    }

    /// kubectl through the gateway, as somebody; the line is bash.
    pub async fn run(&self, kubeconfig: &Path, line: &str) -> Said {
        self.run_in(kubeconfig, &self.dir.clone(), line).await
    }

    pub async fn run_in(&self, kubeconfig: &Path, dir: &Path, line: &str) -> Said {
        let (bed, kubeconfig, dir, line) = (self.bed.clone(), kubeconfig.to_owned(), dir.to_owned(), line.to_owned());
        tokio::task::spawn_blocking(move || kubectl::bash(&bed, &kubeconfig, &dir, &line))
            .await
            .expect("it ran")
    }

    /// kubectl past the gateway, as the bed's administrator.
    pub async fn bare(&self, line: &str) -> Said {
        self.run(&self.bed.kubeconfig.clone(), line).await
    }

    /// Every event so far, in the index.
    pub async fn events(&self) -> Vec<SessionEvent> {
        self.gateway.store.index.flush().await.expect("the index follows");
        events(&self.gateway.store.index).await
    }

    /// Begins to end the gateway, as SIGTERM would.
    pub fn drain(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Ends the gateway as SIGTERM would, and gives back what it wrote.
    pub async fn end(mut self) -> PathBuf {
        self.drained().await;
        self.dir.clone()
    }

    /// The same, and reads back the events from what it left on disk.
    pub async fn end_and_read(mut self) -> Vec<SessionEvent> {
        self.drained().await;
        read_back(&self.stage).await
    }

    async fn drained(&mut self) {
        self.drain();
        if let Some(served) = self.served.take() {
            served.await.expect("it ended well");
        }
    }
}

/// Opens what a gateway that has ended left behind, which verifies its chain, and reads the events.
pub async fn read_back(stage: &Stage) -> Vec<SessionEvent> {
    let config = mantlet::config::load(&stage.config, Epoch::new(1)).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let clock = Arc::new(HandClock::at(real_now()));
    let store = Store::open(serve::store_config(&config), clock).await;
    let store = store.expect("the journal is whole");
    let all = events(&store.index).await;
    store.close().await;
    all
}

async fn events(index: &Index) -> Vec<SessionEvent> {
    let mut all = Vec::new();
    let mut next = None;
    loop {
        let page = index
            .events(&Visible::Everything, None, None, next.as_deref())
            .await
            .expect("events");
        all.extend(page.items);
        next = page.r#continue;
        if next.is_none() {
            return all;
        }
    }
}

pub fn real_now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    Timestamp::from_micros(since.as_micros() as i64)
}
