//! The files that `serve` would be given, written for one machine: configuration, authentication, policies, kubeconfigs.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mantlet_core::identity::Population;
use serde_json::{Value, json};

use super::ca::Certificates;
use super::cast::{self, Player};
use super::home::Home;

/// The audience of tokens that this gateway accepts.
pub const AUDIENCE: &str = "mantlet-dev";

/// What the generated files speak about.
#[derive(Debug)]
pub struct Scene<'a> {
    pub home: &'a Home,
    pub certificates: &'a Certificates,
    pub address: SocketAddr,
    pub telemetry: SocketAddr,
    pub people: &'a str,
    pub agents: &'a str,
    pub cluster: &'a str,
    pub cluster_kubeconfig: &'a Path,
    /// Pinned; None pins what answers first.
    pub cluster_uid: Option<&'a str>,
}

impl Scene<'_> {
    /// `mantlet.yaml` and what it names; returns its path.
    pub fn write(&self, policies: &[(&str, &str)]) -> Result<std::path::PathBuf> {
        self.home.write("authentication.yaml", &self.authentication()?)?;
        for (name, text) in policies {
            self.home.write(&format!("policies/{name}"), text)?;
        }
        self.home.write("mantlet.yaml", &yaml(&self.configuration())?)
    }

    fn configuration(&self) -> Value {
        let mut cluster = json!({"name": self.cluster, "kubeconfig": self.cluster_kubeconfig, "default": true});
        if let Some(uid) = self.cluster_uid {
            cluster["uid"] = uid.into();
        }
        json!({
            "apiVersion": "mantlet.dev/v1alpha1",
            "kind": "Configuration",
            "listen": {"address": self.address, "tls": {"certFile": self.certificates.certificate, "keyFile": self.certificates.key}},
            "clusters": [cluster],
            "authentication": "authentication.yaml",
            "issuers": [{"url": self.people, "population": "people"}, {"url": self.agents, "population": "agents"}],
            "authorization": {"roles": self.roles()},
            "policies": "policies",
            "storage": {"database": format!("sqlite://{}", self.home.path("mantlet.db").display()), "journal": "journal", "recordings": "recordings", "keyFile": "keyring.key"},
            "telemetry": {"address": self.telemetry},
        })
    }

    /// The group sre looks on; who owns the machine, or the sandbox, reads bodies and stops agents.
    fn roles(&self) -> Vec<Value> {
        let grant = |role: &str, whom: &str, name: &str| json!({"role": role, whom: name, "issuer": self.people, "clusters": ["*"]});
        let mut roles = vec![grant("viewer", "group", "sre")];
        for user in [cast::ADMIN, cast::YOU] {
            roles.extend(["auditor", "operator"].map(|role| grant(role, "user", user)));
        }
        roles
    }

    fn authentication(&self) -> Result<String> {
        let ca = std::fs::read_to_string(&self.certificates.authority)?;
        let issuer = |url: &str, prefix: &str| {
            json!({"issuer": {"url": url, "certificateAuthority": ca, "audiences": [AUDIENCE]},
                "claimMappings": {"username": {"claim": "sub", "prefix": prefix}, "groups": {"claim": "groups", "prefix": ""}}})
        };
        yaml(&json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [issuer(self.people, ""), issuer(self.agents, "agent:")],
        }))
    }

    /// A kubeconfig that fetches a fresh token for each command; it holds none itself.
    pub fn kubeconfig(&self, player: &Player) -> Result<()> {
        let program = std::env::current_exe()?;
        let ca = STANDARD.encode(std::fs::read(&self.certificates.authority)?);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "mantlet", "cluster": {"server": format!("https://{}", self.address), "certificate-authority-data": ca}}],
            "contexts": [{"name": "mantlet", "context": {"cluster": "mantlet", "user": player.name, "namespace": player.namespace}}],
            "current-context": "mantlet",
            "users": [{"name": player.name, "user": {"exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": program,
                "args": ["dev", "token", player.name, "--output", "exec-credential", "--data-dir", self.home.dir()],
                "interactiveMode": "Never",
                "provideClusterInfo": false,
            }}}],
        });
        let path = self.home.kubeconfig(&player.name);
        super::ca::write_private(&path, yaml(&config)?.as_bytes())?;
        Ok(())
    }
}

/// The sandbox's agent: may work in `test`, as a ServiceAccount that lives where it can create nothing.
pub fn sandbox_agent(cluster: &str, people: &str) -> Result<String> {
    yaml(&json!({
        "apiVersion": "mantlet.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "coder"},
        "spec": {
            "match": [{"expression": "claims.sub == 'coder'"}],
            "owners": [{"issuer": people, "group": "team-test"}],
            "serviceAccount": {"namespace": "mantlet-agents", "name": "coder"},
            "scope": {"clusters": [cluster], "namespaces": ["test"]},
        },
    }))
}

/// The name of the issuer for one population; its URL ends in it.
pub fn issuer_name(population: Population) -> &'static str {
    match population {
        Population::People => "people",
        Population::Agents => "agents",
    }
}

fn yaml(value: &Value) -> Result<String> {
    Ok(serde_saphyr::to_string(value)?)
}
