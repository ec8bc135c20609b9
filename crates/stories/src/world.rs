//! A gateway of one's own in front of the bed's cluster: real listeners on loopback, real store, two real issuers, a clock that can be moved.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mantlet::dev::Issuers;
use mantlet::dev::ca::Certificates;
use mantlet::dev::files::{AUDIENCE, Scene};
use mantlet::dev::home::Home;
use mantlet::dev::issuer::{DevIssuer, Identity};
use mantlet::serve;
use mantlet_api::gate::SessionEvent;
use mantlet_core::identity::Population;
use mantlet_core::law::Epoch;
use mantlet_core::time::{Clock, Timestamp};
use mantlet_gateway::Gateway;
use mantlet_store::{HandClock, Visible};
use serde_json::json;
use tokio::sync::oneshot;

use crate::Bed;
use crate::kubectl::{self, Said};

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
    people: DevIssuer,
    agents: DevIssuer,
    // Held: the data directory is this process's.
    _home: Home,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// A gateway with the guardrails and `policies` (YAML of Agents and Policies; `CLUSTER` and `PEOPLE` are filled in).
    pub async fn start(bed: &Bed, name: &str, policies: &str) -> Self {
        let files = [("guardrails.yaml", mantlet::dev::GUARDRAILS), ("story.yaml", policies)];
        Self::under(bed, name, &files).await
    }

    /// A gateway with these policies and no others.
    pub async fn under(bed: &Bed, name: &str, policies: &[(&str, &str)]) -> Self {
        let clock = Arc::new(HandClock::at(real_now()));
        let dir = std::env::temp_dir().join(format!("mantlet-story-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let home = Home::open(&dir).expect("a data directory");
        let certificates = Certificates::open(home.dir(), clock.now()).expect("certificates");
        let issuers = Issuers::open(&home, &certificates).await.expect("issuers");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (people_url, agents_url) = (issuers.people.url().to_owned(), issuers.agents.url().to_owned());
        let scene = Scene {
            home: &home,
            certificates: &certificates,
            address: any,
            telemetry: any,
            people: &people_url,
            agents: &agents_url,
            cluster: "bed",
            cluster_kubeconfig: &bed.kubeconfig,
            cluster_uid: None,
        };
        let filled: Vec<(&str, String)> = policies
            .iter()
            .map(|(file, text)| (*file, text.replace("CLUSTER", "bed").replace("PEOPLE", &people_url)))
            .collect();
        let files: Vec<(&str, &str)> = filled.iter().map(|(file, text)| (*file, text.as_str())).collect();
        let config = scene.write(&files).expect("files");
        let config = mantlet::config::load(&config, Epoch::new(1)).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let bound = serve::bind(config, clock.clone()).await.expect("a gateway");
        let gateway = bound.gateway.clone();
        let (address, telemetry) = (
            bound.address().expect("bound"),
            bound.telemetry_address().expect("bound"),
        );
        issuers.serve(&gateway.tasks);
        let mint = |name| DevIssuer::load(home.dir(), name).expect("an issuer");
        let (people, agents) = (mint("people"), mint("agents"));
        bound.identify().await.expect("the cluster says who it is");
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            bound
                .serve(async {
                    let _ = stopped.await;
                })
                .await
                .expect("it serves");
        });
        let authority = certificates.authority.clone();
        Self {
            gateway,
            clock,
            address,
            telemetry,
            bed: bed.clone(),
            dir,
            authority,
            people,
            agents,
            _home: home,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// A token for somebody, good for an hour of the world's clock.
    pub fn token(&self, population: Population, subject: &str, groups: &[&str]) -> String {
        let issuer = match population {
            Population::People => &self.people,
            Population::Agents => &self.agents,
        };
        let identity = Identity {
            subject: subject.into(),
            groups: groups.iter().map(|g| (*g).into()).collect(),
            ..Identity::default()
        };
        issuer
            .mint(&identity, AUDIENCE, self.clock.now(), Duration::from_secs(3600))
            .expect("a token")
            .token
    }

    /// A kubeconfig through the gateway.
    pub fn kubeconfig(&self, population: Population, subject: &str, groups: &[&str], namespace: &str) -> PathBuf {
        let ca = STANDARD.encode(std::fs::read(&self.authority).expect("the authority"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "story",
            "clusters": [{"name": "story", "cluster": {"server": format!("https://{}", self.address), "certificate-authority-data": ca}}],
            "contexts": [{"name": "story", "context": {"cluster": "story", "user": "story", "namespace": namespace}}],
            "users": [{"name": "story", "user": {"token": self.token(population, subject, groups)}}],
        });
        let path = self.dir.join(format!("{subject}.kubeconfig"));
        std::fs::write(&path, config.to_string()).expect("a kubeconfig");
        path
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
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .gateway
                .store
                .index
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

    /// Ends the gateway as SIGTERM would, and gives back what it wrote.
    pub async fn end(mut self) -> PathBuf {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(served) = self.served.take() {
            served.await.expect("it ended well");
        }
        self.dir.clone()
    }
}

fn real_now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    Timestamp::from_micros(since.as_micros() as i64)
}
