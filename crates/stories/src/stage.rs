//! What a gateway is set up with: certificates, two local issuers, policies, `mantlet.yaml`. The issuers outlive the gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mantlet::dev::Issuers;
use mantlet::dev::ca::Certificates;
use mantlet::dev::files::{AUDIENCE, Scene};
use mantlet::dev::home::Home;
use mantlet::dev::issuer::{DevIssuer, Identity};
use mantlet_core::identity::Population;
use mantlet_core::time::Timestamp;
use mantlet_gateway::tasks::Tasks;
use serde_json::{Value, json};

use crate::Bed;

/// What a story wants to be different from the usual.
#[derive(Debug, Clone)]
pub struct Plan {
    pub bed: Bed,
    pub name: String,
    /// YAML of Agents and Policies beside the guardrails; `CLUSTER` and `PEOPLE` are filled in.
    pub policies: String,
    /// Whether the shipped pack is in force.
    pub guardrails: bool,
    /// The gateway's own; else that of the bed's administrator.
    pub kubeconfig: Option<PathBuf>,
    /// The section `recording` of `mantlet.yaml`, if it has one; files that it names lie in the stage's folder, which `DIR` stands for.
    pub recording: Value,
    /// `storage.recordings`; else a folder of the stage.
    pub recordings: Option<String>,
    /// Of a gateway in a process of its own.
    pub environment: Vec<(String, String)>,
    /// The files that `recording` names.
    pub files: Vec<(String, String)>,
    /// What the cluster is pinned to; else what it says first.
    pub uid: Option<String>,
    pub address: SocketAddr,
    pub telemetry: SocketAddr,
    /// The cluster's own issuer of ServiceAccount tokens, if they are to be accepted.
    pub cluster_issuer: Option<String>,
    /// URL of a PostgreSQL that holds the record; else it lies in files.
    pub database: Option<String>,
    /// Of the gateway whose PostgreSQL it is.
    pub key_file: Option<PathBuf>,
    /// Who must send a PROXY header; nobody if empty.
    pub proxies: Vec<String>,
}

/// The group of people who hold the role operator.
pub const OPERATORS: &str = "operators";

/// Everything on disk that a gateway starts from, and the keys that sign tokens for it.
#[derive(Debug)]
pub struct Stage {
    pub dir: PathBuf,
    /// `mantlet.yaml`.
    pub config: PathBuf,
    pub authority: PathBuf,
    people: DevIssuer,
    agents: DevIssuer,
    issuers: Option<Issuers>,
    /// Of the issuers alone: they do not end with the gateway.
    tasks: Tasks,
    // Held: the data directory is this process's.
    _home: Home,
}

impl Plan {
    pub fn new(bed: &Bed, name: &str) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            bed: bed.clone(),
            name: name.to_owned(),
            policies: String::new(),
            guardrails: true,
            kubeconfig: None,
            recording: Value::Null,
            recordings: None,
            environment: Vec::new(),
            files: Vec::new(),
            uid: None,
            address: any,
            telemetry: any,
            cluster_issuer: None,
            database: None,
            key_file: None,
            proxies: Vec::new(),
        }
    }
}

impl Stage {
    /// Writes the files. The issuers' port is bound; nobody answers there before [`Stage::show_keys`].
    pub async fn set(plan: &Plan, now: Timestamp) -> Self {
        let dir = std::env::temp_dir().join(format!("mantlet-story-{}-{}", std::process::id(), plan.name));
        let _ = std::fs::remove_dir_all(&dir);
        let home = Home::open(&dir).expect("a data directory");
        let certificates = Certificates::open(home.dir(), now).expect("certificates");
        let issuers = Issuers::open(&home, &certificates).await.expect("issuers");
        let scene = Scene {
            home: &home,
            certificates: &certificates,
            address: plan.address,
            telemetry: plan.telemetry,
            people: issuers.people.url(),
            agents: issuers.agents.url(),
            cluster: "bed",
            cluster_kubeconfig: plan.kubeconfig.as_deref().unwrap_or(&plan.bed.kubeconfig),
            cluster_uid: plan.uid.as_deref(),
        };
        let policies = plan
            .policies
            .replace("CLUSTER", "bed")
            .replace("PEOPLE", issuers.people.url());
        let mut files = vec![("story.yaml", policies.as_str())];
        files.extend(plan.guardrails.then_some(("guardrails.yaml", mantlet::dev::GUARDRAILS)));
        let config = scene.write(&files).expect("files");
        rewrite(&config, |written| {
            let operator =
                json!({"role": "operator", "group": OPERATORS, "issuer": issuers.people.url(), "clusters": ["*"]});
            push(&mut written["authorization"]["roles"], operator);
            // Who may read bodies.
            let auditor =
                json!({"role": "auditor", "group": "auditors", "issuer": issuers.people.url(), "clusters": ["*"]});
            push(&mut written["authorization"]["roles"], auditor);
            if !plan.recording.is_null() {
                let recording = plan.recording.to_string().replace("DIR", &dir.display().to_string());
                written["recording"] = serde_json::from_str(&recording).expect("JSON");
            }
            if !plan.proxies.is_empty() {
                written["listen"]["proxyProtocol"] = json!({"trusted": plan.proxies});
            }
            if let Some(place) = &plan.recordings {
                written["storage"]["recordings"] = place.as_str().into();
            }
            if let Some(url) = &plan.cluster_issuer {
                push(
                    &mut written["issuers"],
                    json!({"url": url, "population": "agents", "cluster": "bed"}),
                );
            }
        });
        if let Some(url) = &plan.cluster_issuer {
            rewrite(&home.path("authentication.yaml"), |written| {
                let issuer = json!({"issuer": {"url": url, "audiences": [AUDIENCE]},
                    "claimMappings": {"username": {"claim": "sub", "prefix": ""}}});
                push(&mut written["jwt"], issuer);
            });
        }
        if let Some(url) = &plan.database {
            // The journal lies there too.
            rewrite(&config, |written| {
                let storage = written["storage"].as_object_mut().expect("a mapping");
                storage.remove("journal");
                storage.insert("database".to_owned(), url.as_str().into());
            });
        }
        if let Some(key_file) = &plan.key_file {
            std::fs::copy(key_file, home.path("keyring.key")).expect("the key file");
        }
        for (name, text) in &plan.files {
            std::fs::write(dir.join(name), text).expect("a file");
        }
        let mint = |name| DevIssuer::load(home.dir(), name).expect("an issuer");
        Self {
            people: mint("people"),
            agents: mint("agents"),
            authority: certificates.authority.clone(),
            dir,
            config,
            issuers: Some(issuers),
            tasks: Tasks::default(),
            _home: home,
        }
    }

    /// The issuers are up from here on.
    pub fn show_keys(&mut self) {
        if let Some(issuers) = self.issuers.take() {
            issuers.serve(&self.tasks);
        }
    }

    /// A token for somebody, good for an hour.
    pub fn token(&self, population: Population, subject: &str, groups: &[&str], now: Timestamp) -> String {
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
            .mint(&identity, AUDIENCE, now, Duration::from_secs(3600))
            .expect("a token")
            .token
    }

    /// A kubeconfig for a gateway at `address`.
    pub fn kubeconfig(&self, address: SocketAddr, name: &str, token: &str, namespace: &str) -> PathBuf {
        let ca = STANDARD.encode(std::fs::read(&self.authority).expect("the authority"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "story",
            "clusters": [{"name": "story", "cluster": {"server": format!("https://{address}"), "certificate-authority-data": ca}}],
            "contexts": [{"name": "story", "context": {"cluster": "story", "user": "story", "namespace": namespace}}],
            "users": [{"name": "story", "user": {"token": token}}],
        });
        let path = self.dir.join(format!("{name}.kubeconfig"));
        std::fs::write(&path, config.to_string()).expect("a kubeconfig");
        path
    }
}

/// Changes a file that the scene wrote.
fn rewrite(file: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut written: Value = serde_saphyr::from_str(&text).expect("YAML");
    change(&mut written);
    std::fs::write(file, written.to_string()).expect("JSON is YAML");
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list").push(item);
}

/// The bed's kubeconfig with another address in it.
pub fn kubeconfig_at(bed: &Bed, address: SocketAddr, into: &Path) -> PathBuf {
    let text = std::fs::read_to_string(&bed.kubeconfig).expect("the bed's kubeconfig");
    let path = into.join(format!("bed-at-{}.kubeconfig", address.port()));
    std::fs::write(&path, text.replace(&server(bed).to_string(), &address.to_string())).expect("a kubeconfig");
    path
}

/// Where the bed's API server listens.
pub fn server(bed: &Bed) -> SocketAddr {
    let text = std::fs::read_to_string(&bed.kubeconfig).expect("the bed's kubeconfig");
    let (_, rest) = text.split_once("https://").expect("an address in it");
    let end = rest.find(['"', '\n', '/', ' ']).unwrap_or(rest.len());
    rest[..end].parse().expect("an IP address and a port")
}
