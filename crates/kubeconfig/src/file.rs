//! From a kubeconfig file and a context to what it says, refusing what it says and we do not do.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::bearer::TokenSource;
use crate::exec::{About, Plugin};
use crate::fault::KubeconfigFault;
use crate::written::{Cluster, Kubeconfig, User};

/// A kubeconfig, reduced to one context and with all its files read.
pub(crate) struct Written {
    pub(crate) context: String,
    pub(crate) server: String,
    pub(crate) tls_server_name: Option<String>,
    /// PEM; `None` is the machine's own trust store, as client-go does.
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) certificate: Option<Pair>,
    pub(crate) token: TokenSource,
}

/// A certificate chain and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: SecretString,
}

pub(crate) fn read(path: &Path, context: Option<String>) -> Result<Written, KubeconfigFault> {
    choose(&Kubeconfig::read(path)?, context)
}

/// `$KUBECONFIG` is a list of files of which those that do not exist are passed over, as in client-go.
pub(crate) fn read_default(context: Option<String>) -> Result<Written, KubeconfigFault> {
    let files = default_files();
    match files.as_slice() {
        [] => Err(KubeconfigFault::Read("there is no home folder".into())),
        [file] => read(file, context),
        several => {
            let mut all = Kubeconfig::default();
            for path in several.iter().filter(|path| path.exists()) {
                all.merge(Kubeconfig::read(path)?);
            }
            choose(&all, context)
        }
    }
}

/// The files that kubectl would read, whether they are there or not.
pub(crate) fn default_files() -> Vec<PathBuf> {
    match std::env::var_os("KUBECONFIG").filter(|named| !named.is_empty()) {
        Some(named) => std::env::split_paths(&named)
            .filter(|path| !path.as_os_str().is_empty())
            .collect(),
        None => std::env::home_dir()
            .map(|home| home.join(".kube/config"))
            .into_iter()
            .collect(),
    }
}

fn choose(file: &Kubeconfig, context: Option<String>) -> Result<Written, KubeconfigFault> {
    let name = context
        .or_else(|| file.current_context.clone())
        .filter(|c| !c.is_empty());
    let name = name.ok_or(KubeconfigFault::NoContext)?;
    let missing = |kind, name: &str| KubeconfigFault::Missing {
        kind,
        name: name.to_owned(),
    };
    let context = &file
        .contexts
        .iter()
        .find(|c| c.name == name)
        .ok_or_else(|| missing("context", &name))?
        .context;
    let cluster = file.clusters.iter().find(|c| c.name == context.cluster);
    let cluster = &cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let nobody = User::default();
    let user = match context.user.as_deref().filter(|u| !u.is_empty()) {
        None => &nobody,
        Some(user) => {
            &file
                .users
                .iter()
                .find(|u| u.name == user)
                .ok_or_else(|| missing("user", user))?
                .user
        }
    };
    refuse_cluster(cluster)?;
    refuse_user(user)?;
    let authority = material(
        "certificate-authority",
        cluster.certificate_authority_data.as_deref(),
        cluster.certificate_authority.as_deref(),
    )?;
    Ok(Written {
        server: cluster
            .server
            .clone()
            .ok_or_else(|| KubeconfigFault::NoServer(context.cluster.clone()))?,
        tls_server_name: cluster.tls_server_name.clone().filter(|n| !n.is_empty()),
        certificate: pair(user)?,
        token: token(user, cluster, authority.as_deref())?,
        authority,
        context: name,
    })
}

fn refuse_cluster(cluster: &Cluster) -> Result<(), KubeconfigFault> {
    if cluster.insecure_skip_tls_verify {
        let why = "whoever answers would get the credential; give the server's certificate-authority instead";
        return Err(KubeconfigFault::NotSupported {
            field: "insecure-skip-tls-verify",
            why,
        });
    }
    if cluster.proxy_url.as_deref().is_some_and(|p| !p.is_empty()) {
        return Err(KubeconfigFault::NotSupported {
            field: "proxy-url",
            why: "connections go straight to the server",
        });
    }
    Ok(())
}

fn refuse_user(user: &User) -> Result<(), KubeconfigFault> {
    let refuse = |field, why| Err(KubeconfigFault::NotSupported { field, why });
    if user.username.is_some() || user.password.is_some() {
        return refuse(
            "username",
            "the API server itself takes no passwords since Kubernetes 1.19",
        );
    }
    if user.auth_provider.is_some() {
        return refuse("auth-provider", "client-go removed it; use an exec plugin");
    }
    // Impersonation is what the gateway adds for each caller: a second one in the file would replace or widen it.
    if user.acts_as.is_some() || user.as_uid.is_some() || user.as_groups.is_some() || user.as_user_extra.is_some() {
        return refuse("as", "use a credential that is this user instead");
    }
    Ok(())
}

fn pair(user: &User) -> Result<Option<Pair>, KubeconfigFault> {
    let chain = material(
        "client-certificate",
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_deref(),
    )?;
    let key = material(
        "client-key",
        user.client_key_data.as_ref().map(|k| k.expose_secret()),
        user.client_key.as_deref(),
    )?;
    let lone = |field, why: &str| {
        Err(KubeconfigFault::Material {
            field,
            why: why.to_owned(),
        })
    };
    match (chain, key) {
        (None, None) => Ok(None),
        (Some(_), None) => lone("client-certificate", "there is no client-key for it"),
        (None, Some(_)) => lone("client-key", "there is no client-certificate for it"),
        (Some(chain), Some(key)) => {
            let key = String::from_utf8(key).map_err(|_| KubeconfigFault::Material {
                field: "client-key",
                why: "it is not PEM".into(),
            })?;
            Ok(Some(Pair { chain, key: key.into() }))
        }
    }
}

// client-go tools/clientcmd/client_config.go getUserIdentificationPartialConfig: a token wins over a token file unless the
// file is named too; exec is not looked at if either is there.
fn token(user: &User, cluster: &Cluster, authority: Option<&[u8]>) -> Result<TokenSource, KubeconfigFault> {
    if let Some(path) = user.token_file.as_ref().filter(|p| !p.is_empty()) {
        return Ok(TokenSource::File(PathBuf::from(path)));
    }
    if let Some(token) = user.token.as_ref().filter(|t| !t.expose_secret().is_empty()) {
        return Ok(TokenSource::Fixed(token.clone()));
    }
    match &user.exec {
        None => Ok(TokenSource::None),
        Some(exec) => Plugin::new(exec, &About { cluster, authority }).map(TokenSource::Plugin),
    }
}

/// Inline base64 wins over a file, as in client-go.
fn material(field: &'static str, data: Option<&str>, file: Option<&str>) -> Result<Option<Vec<u8>>, KubeconfigFault> {
    if let Some(data) = data.filter(|d| !d.is_empty()) {
        let bad = |e: base64::DecodeError| KubeconfigFault::Material {
            field,
            why: format!("not base64 ({e})"),
        };
        return BASE64_STANDARD.decode(data.trim()).map(Some).map_err(bad);
    }
    let Some(path) = file.filter(|f| !f.is_empty()) else {
        return Ok(None);
    };
    std::fs::read(path).map(Some).map_err(|source| KubeconfigFault::File {
        path: path.into(),
        source,
    })
}
