//! How to reach a cluster, and as whom: kubeconfig files, exec plugins, client certificates, the pod's own ServiceAccount.
//!
//! Everything becomes one [`Credential`]: a server, what to trust it by, and what to show it. What a kubeconfig may say
//! and this crate will not do (no TLS verification, a proxy, a password, an impersonation of its own) is refused when it is
//! loaded, never left out silently.

mod bearer;
mod exec;
mod fault;
mod file;
mod identity;
mod in_cluster;
mod trust;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use bearer::Bearer;
use identity::Identity;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::SecretString;

pub use fault::KubeconfigFault;
pub use in_cluster::own_namespace;

/// Where to look for a credential.
#[derive(Debug, Clone)]
pub enum Source {
    /// One kubeconfig file; `context` overrides its `current-context`.
    File { path: PathBuf, context: Option<String> },
    /// What kubectl would use: `$KUBECONFIG` (a list is merged), else `~/.kube/config`.
    Default { context: Option<String> },
    /// The ServiceAccount of the pod that this process runs in.
    InCluster,
}

impl Source {
    /// The first file that it is read from; none in a pod.
    pub fn first_file(&self) -> Option<PathBuf> {
        match self {
            Source::File { path, .. } => Some(path.clone()),
            Source::Default { .. } => file::default_files().into_iter().find(|path| path.is_file()),
            Source::InCluster => None,
        }
    }
}

/// Who to talk to and what to show: loaded once, renewed by itself.
#[derive(Debug)]
pub struct Credential {
    context: String,
    server: http::Uri,
    server_name: ServerName<'static>,
    tls: ClientConfig,
    bearer: Bearer,
}

/// Reads `source` and everything it names; runs its exec plugin once, so that a plugin that cannot work is found out here.
pub async fn load(source: Source) -> Result<Credential, KubeconfigFault> {
    let written = match source {
        Source::File { path, context } => file::read(&path, context)?,
        Source::Default { context } => file::read_default(context)?,
        Source::InCluster => in_cluster::read()?,
    };
    let server: http::Uri = written
        .server
        .parse()
        .map_err(|_| KubeconfigFault::Server(written.server.clone()))?;
    let server_name = trust::server_name(&server, written.tls_server_name)?;
    let identity = Arc::new(Identity::default());
    if let Some(pair) = written.certificate {
        identity.show(&pair.chain, &pair.key)?;
    }
    let tls = trust::client_config(written.authority, Arc::clone(&identity))?;
    let bearer = Bearer::new(written.token, identity);
    bearer.current().await?;
    Ok(Credential {
        context: written.context,
        server,
        server_name,
        tls,
        bearer,
    })
}

impl Credential {
    /// Name of the kubeconfig context, `in-cluster` for a pod's own; for people to read.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// `https://host[:port][/prefix]`; always https, always with an authority.
    pub fn server(&self) -> &http::Uri {
        &self.server
    }

    /// Host to dial; an IPv6 address comes without brackets.
    pub fn host(&self) -> &str {
        self.server
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        self.server.port_u16().unwrap_or(443)
    }

    /// What stands before `/api` and `/apis` in every path: empty, or `/clusters/prod` without a slash at its end.
    pub fn path_prefix(&self) -> &str {
        self.server.path().trim_end_matches('/')
    }

    /// The name that the server's certificate must be for (`tls-server-name`, else the host).
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    /// TLS 1.2 and 1.3, the file's authorities only, the current client certificate. ALPN is left to the caller.
    pub fn tls(&self) -> ClientConfig {
        self.tls.clone()
    }

    /// The value of the `Authorization` header (`Bearer …`), if this credential has a token. Reads the token file or
    /// runs the exec plugin again when what is at hand is old.
    ///
    /// # Cancel safety
    /// Safe: a plugin that is running when this is dropped is killed and run again the next time.
    pub async fn authorization(&self) -> Result<Option<SecretString>, KubeconfigFault> {
        self.bearer.current().await
    }

    /// Forgets what a plugin gave: the server answered 401, so the next [`authorization`](Self::authorization) asks it anew.
    pub async fn was_refused(&self) {
        self.bearer.forget().await;
    }
}

#[cfg(test)]
mod tests;
