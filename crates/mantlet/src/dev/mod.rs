//! `mantlet dev`: a gateway on this machine in one command, everything it needs made on the way. Loopback only.
//!
//! It writes the files that `serve` would be given and then serves them, so that nothing works here that would not work there.

pub mod ca;
pub mod issuer;
pub mod own;
pub mod home;
pub mod cast;
pub mod files;
pub mod token;
pub mod story;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mantlet_core::identity::{NamedByCluster, Population};
use mantlet_core::law::Epoch;
use mantlet_core::time::Clock;
use mantlet_gateway::tasks::Tasks;
use mantlet_kubeconfig::Source;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::reload::Finish;
use crate::sandbox::Sandbox;
use crate::serve::{self, Bound};
use ca::Certificates;
use cast::Player;
use files::Scene;
use home::Home;
use issuer::DevIssuer;

/// The pack that comes with the binary.
pub const GUARDRAILS: &str = include_str!("../../../../policies/guardrails.yaml");

/// What `mantlet dev` was asked for.
#[derive(Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// Bring a Kubernetes along.
    pub sandbox: bool,
    /// Without one: the cluster to stand in front of.
    pub cluster: Source,
}

/// A dev gateway, bound and ready to serve.
#[derive(Debug)]
pub struct Dev {
    pub bound: Bound,
    pub players: Vec<Player>,
    /// What to print.
    pub story: String,
    pub sandbox: Option<Sandbox>,
    issuers: Issuers,
    home: Home,
}

/// Makes everything, up to the point where requests could come.
pub async fn prepare(options: Options, clock: Arc<dyn Clock>) -> Result<Dev> {
    if !options.listen.ip().is_loopback() {
        bail!(
            "`{}` is not a loopback address, and `mantlet dev` is for this machine only\nhint: mantlet serve --config mantlet.yaml",
            options.listen
        );
    }
    let home = Home::open(&options.data_dir)?;
    free(options.listen).await?; // said now, not after the minutes that a cluster may take
    let certificates = Certificates::open(home.dir(), clock.now())?;
    let issuers = Issuers::open(&home, &certificates).await?;
    let ground = if options.sandbox {
        Ground::sandbox(&home).await?
    } else {
        Ground::own(options.cluster).await?
    };
    let scene = Scene {
        home: &home,
        certificates: &certificates,
        address: free(options.listen).await?,
        telemetry: free(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?,
        people: issuers.people.url(),
        agents: issuers.agents.url(),
        cluster: ground.name,
        cluster_kubeconfig: &ground.kubeconfig,
        cluster_uid: Some(&ground.uid),
    };
    let agent = files::sandbox_agent(ground.name, scene.people)?;
    let mut policies = vec![("guardrails.yaml", GUARDRAILS)];
    policies.extend(ground.sandbox.is_some().then_some(("sandbox.yaml", agent.as_str())));
    let config = scene.write(&policies)?;
    let config = crate::config::load(&config, Epoch::new(1)).map_err(|faults| serve::faults(&faults))?;
    let mut players = ground.players;
    let mut finish: Finish = Box::new(|config| config);
    if let Some((source, named)) = ground.person {
        players.extend(config.law.agents().map(|agent| cast::agent(agent.name())));
        let (people, named) = (scene.people.to_owned(), Arc::new(named));
        finish = Box::new(move |mut config: Config| {
            config.law = config.law.with_stand_in(&people, cast::YOU, named.clone());
            config
                .clusters
                .iter_mut()
                .for_each(|cluster| cluster.source = source.clone());
            config
        });
    }
    let config = finish(config);
    for player in &players {
        scene.kubeconfig(player)?;
    }
    home.write("cast.json", &serde_json::to_string(&players)?)?;
    let kubectl = ground
        .sandbox
        .as_ref()
        .map(|sandbox| sandbox.endpoint().kubectl.as_path())
        .filter(|_| !on_path("kubectl"));
    let story = story::story(&players, home.dir(), scene.address, kubectl, &ground.notes);
    let bound = serve::bind(config, clock).await?.finishing(finish);
    bound.identify().await?;
    Ok(Dev {
        bound,
        players,
        story,
        sandbox: ground.sandbox,
        issuers,
        home,
    })
}

/// The cluster that the gateway stands in front of, and who comes to it.
struct Ground {
    name: &'static str,
    kubeconfig: PathBuf,
    uid: String,
    players: Vec<Player>,
    notes: Vec<String>,
    sandbox: Option<Sandbox>,
    /// In front of one's own cluster: its credential, and whom the cluster takes it for.
    person: Option<(Source, NamedByCluster)>,
}

impl Ground {
    async fn sandbox(home: &Home) -> Result<Self> {
        let sandbox = Sandbox::start(&home.path("cluster")).await?;
        let seeded = crate::seed::seed(&sandbox).await.context("cannot seed the sandbox")?;
        let endpoint = sandbox.endpoint();
        Ok(Self {
            name: "sandbox",
            kubeconfig: seeded.gateway_kubeconfig,
            uid: seeded.cluster_uid,
            players: cast::sandbox(endpoint.node),
            notes: (!endpoint.node)
                .then(|| format!("No pods run in this sandbox: {}", endpoint.node_reason))
                .into_iter()
                .collect(),
            sandbox: Some(sandbox),
            person: None,
        })
    }

    async fn own(source: Source) -> Result<Self> {
        let own = own::ask(&source).await?;
        Ok(Self {
            name: "dev",
            kubeconfig: source.first_file().context("there is no kubeconfig\nhint: name one with --kubeconfig, or use --sandbox")?,
            uid: own.uid,
            players: cast::alone("default"),
            notes: vec![
                format!("Behind it: {} (context {})", own.server, own.context),
                "Agents: put Agent objects into the folder policies/ there; `mantlet dev token NAME` signs for them (claims.sub == 'NAME')".into(),
            ],
            sandbox: None,
            person: Some((source, own.named)),
        })
    }
}

impl Dev {
    /// Serves until `stop` resolves, then takes the sandbox down.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Dev {
            bound,
            issuers,
            home,
            sandbox,
            ..
        } = self;
        issuers.serve(&bound.gateway.tasks);
        let end = bound.serve(stop).await;
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        drop(home);
        end
    }
}

/// The two local issuers, on one listener.
#[derive(Debug)]
pub struct Issuers {
    pub people: DevIssuer,
    pub agents: DevIssuer,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
}

impl Issuers {
    /// On a free port of loopback; its URLs change with it, and so does everything that is written at each start.
    pub async fn open(home: &Home, certificates: &Certificates) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        let issuer = |population| {
            let name = files::issuer_name(population);
            DevIssuer::open(home.dir(), name, &format!("https://{at}/{name}"))
        };
        let (people, agents) = (issuer(Population::People)?, issuer(Population::Agents)?);
        Ok(Self {
            people,
            agents,
            listener,
            tls: certificates.server_config(&[b"http/1.1"])?,
        })
    }

    /// Shows the keys until the process drains.
    pub fn serve(self, tasks: &Tasks) {
        let closing = tasks.clone();
        tasks.pump("issuers", async move {
            tokio::select! {
                end = issuer::serve(vec![self.people, self.agents], self.listener, self.tls) => match end {
                    Err(error) => tracing::error!(%error, "the local issuers ended"),
                },
                () = closing.closing() => {}
            }
        });
    }
}

/// The address itself, or, for port 0, one that is free now.
async fn free(address: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}\nhint: name another with --listen 127.0.0.1:PORT"))?;
    Ok(listener.local_addr()?)
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
