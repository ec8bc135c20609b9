//! `mantlet dev`: a gateway on this machine in one command, everything it needs made on the way. Loopback only.
//!
//! It writes the files that `serve` would be given and then serves them, so that nothing works here that would not work there.

pub mod ca;
pub mod issuer;
pub mod home;
pub mod cast;
pub mod files;
pub mod token;
pub mod story;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use mantlet_core::identity::Population;
use mantlet_core::law::Epoch;
use mantlet_core::time::Clock;
use mantlet_gateway::tasks::Tasks;
use tokio::net::TcpListener;

use crate::sandbox::Sandbox;
use crate::serve::{self, Bound};
use ca::Certificates;
use cast::Player;
use files::Scene;
use home::Home;
use issuer::DevIssuer;

/// The pack that comes with the binary.
pub const GUARDRAILS: &str = include_str!("../../../../policies/guardrails.yaml");

/// The sandbox's name in the configuration.
const CLUSTER: &str = "sandbox";

/// What `mantlet dev` was asked for.
#[derive(Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// Bring a Kubernetes along.
    pub sandbox: bool,
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
    if !options.sandbox {
        bail!(
            "`mantlet dev` needs --sandbox so far; in front of a cluster of your own, write a configuration and use `mantlet serve`\nhint: mantlet dev --sandbox"
        );
    }
    let home = Home::open(&options.data_dir)?;
    let certificates = Certificates::open(home.dir(), clock.now())?;
    let issuers = Issuers::open(&home, &certificates).await?;
    let sandbox = Sandbox::start(&home.path("cluster")).await?;
    let seeded = crate::seed::seed(&sandbox).await.context("cannot seed the sandbox")?;
    let scene = Scene {
        home: &home,
        certificates: &certificates,
        address: free(options.listen).await?,
        telemetry: free(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?,
        people: issuers.people.url(),
        agents: issuers.agents.url(),
        cluster: CLUSTER,
        cluster_kubeconfig: &seeded.gateway_kubeconfig,
        cluster_uid: Some(&seeded.cluster_uid),
    };
    let agent = files::sandbox_agent(CLUSTER, scene.people)?;
    let config = scene.write(&[("guardrails.yaml", GUARDRAILS), ("sandbox.yaml", &agent)])?;
    let endpoint = sandbox.endpoint();
    let players = cast::sandbox(endpoint.node);
    for player in &players {
        scene.kubeconfig(player)?;
    }
    home.write("cast.json", &serde_json::to_string(&players)?)?;
    let kubectl = Some(endpoint.kubectl.as_path()).filter(|_| !on_path("kubectl"));
    let notes = (!endpoint.node).then(|| format!("No pods run in this sandbox: {}", endpoint.node_reason));
    let story = story::story(&players, home.dir(), scene.address, kubectl, notes.as_slice());
    let bound = serve::bind(
        crate::config::load(&config, Epoch::new(1)).map_err(|faults| serve::faults(&faults))?,
        clock,
    )
    .await?;
    bound.identify().await?;
    Ok(Dev {
        bound,
        players,
        story,
        sandbox: Some(sandbox),
        issuers,
        home,
    })
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
