//! What can be wrong with a kubeconfig, said to the person who wrote it.

use std::path::PathBuf;

/// Texts carry no secret: a plugin's standard output is never part of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigFault {
    #[error("cannot read the kubeconfig: {0}")]
    Read(String),
    #[error("the kubeconfig has no `{kind}` named `{name}`")]
    Missing { kind: &'static str, name: String },
    #[error("the kubeconfig has no current-context; name a context")]
    NoContext,
    #[error("cluster `{0}` of the kubeconfig has no server")]
    NoServer(String),
    #[error("server `{0}` is not an https URL")]
    Server(String),
    #[error("`{0}` is not a name that a certificate can be for")]
    ServerName(String),
    #[error("`{field}` of the kubeconfig is not supported: {why}")]
    NotSupported { field: &'static str, why: &'static str },
    #[error("cannot read `{}` that the kubeconfig names: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("`{field}` of the kubeconfig is no good: {why}")]
    Material { field: &'static str, why: String },
    #[error("exec plugin `{command}` {why}{}", hint.as_deref().map(|h| format!("\nhint: {h}")).unwrap_or_default())]
    Exec {
        command: String,
        why: String,
        hint: Option<String>,
    },
    #[error("this process runs in no pod: {0}")]
    NotInCluster(String),
}
