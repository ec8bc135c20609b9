//! The pod's own ServiceAccount: client-go `rest.InClusterConfig`.

use std::path::Path;

use crate::bearer::TokenSource;
use crate::fault::KubeconfigFault;
use crate::file::Written;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(crate) fn read() -> Result<Written, KubeconfigFault> {
    let host = variable("KUBERNETES_SERVICE_HOST")?;
    let port = variable("KUBERNETES_SERVICE_PORT")?;
    let mount = Path::new(MOUNT);
    let authority = mount.join("ca.crt");
    let authority = std::fs::read(&authority).map_err(|source| KubeconfigFault::File {
        path: authority.clone(),
        source,
    })?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok(Written {
        context: String::from("in-cluster"),
        server: format!("https://{host}:{port}"),
        tls_server_name: None,
        authority: Some(authority),
        certificate: None,
        token: TokenSource::File(mount.join("token")),
    })
}

/// The namespace that this process runs in, if it runs in a pod.
pub fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string(Path::new(MOUNT).join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|n| !n.is_empty())
}

fn variable(name: &str) -> Result<String, KubeconfigFault> {
    std::env::var(name).map_err(|_| KubeconfigFault::NotInCluster(format!("`{name}` is not set")))
}
