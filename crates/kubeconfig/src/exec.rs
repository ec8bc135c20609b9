//! Exec plugins: `client.authentication.k8s.io` v1 and v1beta1, KEP-541.
//!
//! Always without a terminal (`interactive: false`): a gateway has nobody to ask, and a plugin that wants somebody says so.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::process::Command;

use crate::fault::KubeconfigFault;
use crate::file::Pair;
use crate::written::{Cluster, Exec};

const PATIENCE: Duration = Duration::from_secs(60);
const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

pub(crate) struct Plugin {
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    api_version: String,
    hint: Option<String>,
    /// `KUBERNETES_EXEC_INFO`.
    info: String,
}

/// What a plugin with `provideClusterInfo` is told.
pub(crate) struct About<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) authority: Option<&'a [u8]>,
}

/// What one run gave: at least one of token and certificate.
pub(crate) struct Given {
    pub(crate) token: Option<SecretString>,
    pub(crate) certificate: Option<Pair>,
    pub(crate) expires: Option<jiff::Timestamp>,
}

impl About<'_> {
    // client-go pkg/apis/clientauthentication types.go Cluster; `config` is the extension of this name.
    fn to_json(&self) -> serde_json::Value {
        let extensions = self.cluster.extensions.iter().flatten();
        let config = extensions
            .filter(|e| e.name == "client.authentication.k8s.io/exec")
            .map(|e| &e.extension)
            .next();
        serde_json::json!({
            "server": self.cluster.server,
            "tls-server-name": self.cluster.tls_server_name.as_deref().unwrap_or_default(),
            "certificate-authority-data": self.authority.map(|a| BASE64_STANDARD.encode(a)),
            "config": config,
        })
    }
}

impl Plugin {
    pub(crate) fn new(written: &Exec, about: &About<'_>) -> Result<Self, KubeconfigFault> {
        let command = written.command.clone();
        let fault = |why: &str| KubeconfigFault::Exec {
            command: command.clone(),
            why: why.into(),
            hint: None,
        };
        if command.is_empty() {
            return Err(fault("has no command"));
        }
        let api_version = written.api_version.clone();
        if !VERSIONS.contains(&api_version.as_str()) {
            return Err(fault(
                "has an apiVersion other than client.authentication.k8s.io/v1 and v1beta1",
            ));
        }
        if written.interactive_mode.as_deref() == Some("Always") {
            return Err(fault(
                "always wants a terminal (interactiveMode: Always), and there is none here",
            ));
        }
        let cluster = written.provide_cluster_info.then(|| about.to_json());
        let spec = serde_json::json!({ "interactive": false, "cluster": cluster });
        let info = serde_json::json!({ "apiVersion": api_version, "kind": "ExecCredential", "spec": spec });
        let env = written.env.iter().flatten().map(|e| (e.name.clone(), e.value.clone()));
        Ok(Self {
            args: written.args.clone().unwrap_or_default(),
            env: env.collect(),
            hint: written.install_hint.clone().filter(|h| !h.is_empty()),
            info: info.to_string(),
            command,
            api_version,
        })
    }

    pub(crate) async fn run(&self) -> Result<Given, KubeconfigFault> {
        let mut command = Command::new(&self.command);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .env("KUBERNETES_EXEC_INFO", &self.info);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(PATIENCE, command.output()).await {
            Err(_) => return Err(self.fault(format!("gave nothing within {} s", PATIENCE.as_secs()))),
            Ok(Err(e)) => return Err(self.not_started(&e)),
            Ok(Ok(output)) => output,
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().chars().take(400).collect::<String>();
            return Err(self.fault(format!("failed ({}): {said}", output.status)));
        }
        self.read(&output.stdout)
    }

    fn read(&self, stdout: &[u8]) -> Result<Given, KubeconfigFault> {
        // serde_json's message could quote the token: only its position is passed on.
        let answer: Answer = serde_json::from_slice(stdout).map_err(|e| {
            self.fault(format!(
                "printed no ExecCredential (line {}, column {})",
                e.line(),
                e.column()
            ))
        })?;
        if answer.kind != "ExecCredential" || answer.api_version != self.api_version {
            return Err(self.fault(format!("did not answer with an ExecCredential of {}", self.api_version)));
        }
        let status = answer.status.ok_or_else(|| self.fault("gave no status".into()))?;
        let expires = match status.expiration_timestamp.as_deref() {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| self.fault("gave an expirationTimestamp that is no time".into()))?,
            ),
        };
        let certificate = match (status.client_certificate_data, status.client_key_data) {
            (Some(chain), Some(key)) => Some(Pair {
                chain: chain.into_bytes(),
                key: key.into(),
            }),
            (None, None) => None,
            _ => return Err(self.fault("gave a certificate without a key, or a key without a certificate".into())),
        };
        let token = status.token.filter(|t| !t.is_empty()).map(SecretString::from);
        if token.is_none() && certificate.is_none() {
            return Err(self.fault("gave neither a token nor a certificate".into()));
        }
        Ok(Given {
            token,
            certificate,
            expires,
        })
    }

    fn not_started(&self, e: &std::io::Error) -> KubeconfigFault {
        KubeconfigFault::Exec {
            command: self.command.clone(),
            why: format!("could not be started: {e}"),
            hint: self.hint.clone(),
        }
    }

    fn fault(&self, why: String) -> KubeconfigFault {
        KubeconfigFault::Exec {
            command: self.command.clone(),
            why,
            hint: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    kind: String,
    api_version: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}
