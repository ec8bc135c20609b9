//! `mantlet.yaml`: `mantlet.dev/v1alpha1` Configuration, as it is written.
//!
//! Paths are relative to the file. What is true of it (addresses parse, files are there, names fit together) the binary
//! finds out when it loads it. A section that nothing reads yet does not exist here, so that writing it is an error.

use serde::{Deserialize, Serialize};

use crate::policy::{ApiVersion, RoleGrant};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    pub api_version: ApiVersion,
    pub kind: ConfigurationKind,
    pub listen: Listen,
    pub clusters: Vec<Cluster>,
    /// Path of an `apiserver.config.k8s.io/v1` AuthenticationConfiguration.
    pub authentication: String,
    /// Who may come from each issuer of that file; each must be named.
    pub issuers: Vec<Issuer>,
    #[serde(default)]
    pub authorization: Authorization,
    /// Path of a file, or of a folder of files, that hold Agent and Policy objects.
    pub policies: String,
    #[serde(default)]
    pub recording: Recording,
    pub storage: Storage,
    #[serde(default)]
    pub telemetry: Telemetry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigurationKind {
    Configuration,
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listen {
    /// `IP:PORT`.
    pub address: String,
    pub tls: Tls,
    /// For a listener behind a TCP load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// PROXY protocol, versions 1 and 2: who is trusted must send it, from others it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Addresses and networks of the proxies.
    pub trusted: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM, the server's certificate first.
    pub cert_file: String,
    pub key_file: String,
}

/// One cluster behind the gateway, served under `/clusters/NAME`. Exactly one of `kubeconfig` and `inCluster`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// A DNS label.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    #[serde(default)]
    pub in_cluster: bool,
    /// Served at `/` as well; one cluster at most.
    #[serde(default)]
    pub default: bool,
    /// Of its kube-system namespace; pinned at first use if it is not written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// As in the AuthenticationConfiguration, to the byte.
    pub url: String,
    pub population: Population,
    /// Name of the cluster whose own issuer this is: keys come from it, and each token is checked with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// Whom an issuer vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Population {
    Agents,
    People,
}

/// Mantlet's own rights; without a grant nobody has one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorization {
    #[serde(default)]
    pub roles: Vec<RoleGrant>,
}

/// How much of each request is written down, and who else gets it; for how long it is kept, and who else vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recording {
    /// Path of an `audit.k8s.io/v1` Policy; without it changes are recorded with their bodies, reads and Secrets without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default)]
    pub export: Export,
    /// Without it everything is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Where signed checkpoints are kept outside this disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
}

/// Events in the API server's own format, for tools that read its log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Export {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileExport>,
    /// Path of a kubeconfig, as of `--audit-webhook-config-file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// As `--audit-log-path` and its siblings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileExport {
    pub path: String,
    /// Megabytes after which the file is put aside and another one begun.
    #[serde(default, rename = "maxSizeMB", skip_serializing_if = "Option::is_none")]
    pub max_size_mb: Option<u32>,
    /// How many of those that were put aside are kept; all of them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backups: Option<u32>,
}

/// Where the record lies. What is not written lies beside the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// `sqlite:///absolute/path`, `sqlite://relative/path` or `postgres://USER@HOST/NAME`.
    pub database: DatabaseUrl,
    /// Folder of the journal's segments; with PostgreSQL the journal lies in the database unless this is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// `file:///absolute/path`, the path of a folder, or `s3://bucket/prefix?region=…&endpoint=…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recordings: Option<String>,
    /// What seals the keyring; made at the first start, readable by its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

/// The URL of a database. May hold a password, so it shows no more than its scheme.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For messages: all of a path, nothing of a host, a user or a password.
    pub fn shown(&self) -> String {
        match self.0.split_once("://") {
            Some(("sqlite", _)) => self.0.clone(),
            Some((scheme, _)) => format!("{scheme}://…"),
            None => String::from("…"),
        }
    }
}

impl<T: Into<String>> From<T> for DatabaseUrl {
    fn from(url: T) -> Self {
        Self(url.into())
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Whichever is reached first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retention {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Of the journal's segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anchor {
    /// Path of a file on another volume; a line for each checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Path of a kubeconfig, as `--audit-webhook-config-file` reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Anchor>,
}

/// Credentials come from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3Anchor {
    pub bucket: String,
    #[serde(default)]
    pub prefix: String,
    pub region: String,
    /// Of another server than AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectLock {
    pub mode: ObjectLockMode,
    pub days: u32,
}

/// In S3's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ObjectLockMode {
    Governance,
    Compliance,
}

/// `/livez`, `/readyz` and `/metrics`, without TLS and without a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Telemetry {
    /// `IP:PORT`.
    pub address: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            address: String::from("127.0.0.1:9090"),
        }
    }
}
