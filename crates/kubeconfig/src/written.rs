//! The kubeconfig as it stands in its file: client-go `tools/clientcmd/api/v1`. Unknown fields are passed over, as kubectl does.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use crate::fault::KubeconfigFault;

#[derive(Default, Deserialize)]
pub(crate) struct Kubeconfig {
    #[serde(rename = "current-context")]
    pub(crate) current_context: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) clusters: Vec<NamedCluster>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) contexts: Vec<NamedContext>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) users: Vec<NamedUser>,
}

#[derive(Deserialize)]
pub(crate) struct NamedCluster {
    pub(crate) name: String,
    pub(crate) cluster: Cluster,
}

#[derive(Deserialize)]
pub(crate) struct NamedContext {
    pub(crate) name: String,
    pub(crate) context: Context,
}

#[derive(Deserialize)]
pub(crate) struct NamedUser {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Cluster {
    pub(crate) server: Option<String>,
    #[serde(default)]
    pub(crate) insecure_skip_tls_verify: bool,
    pub(crate) certificate_authority: Option<String>,
    pub(crate) certificate_authority_data: Option<String>,
    pub(crate) proxy_url: Option<String>,
    pub(crate) tls_server_name: Option<String>,
    pub(crate) extensions: Option<Vec<Extension>>,
}

#[derive(Deserialize)]
pub(crate) struct Extension {
    pub(crate) name: String,
    pub(crate) extension: serde_json::Value,
}

#[derive(Deserialize)]
pub(crate) struct Context {
    pub(crate) cluster: String,
    pub(crate) user: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct User {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "secret")]
    pub(crate) token: Option<SecretString>,
    #[serde(rename = "tokenFile")]
    pub(crate) token_file: Option<String>,
    pub(crate) client_certificate: Option<String>,
    pub(crate) client_certificate_data: Option<String>,
    pub(crate) client_key: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    pub(crate) client_key_data: Option<SecretString>,
    #[serde(rename = "as")]
    pub(crate) acts_as: Option<String>,
    pub(crate) as_uid: Option<String>,
    pub(crate) as_groups: Option<Vec<String>>,
    pub(crate) as_user_extra: Option<BTreeMap<String, Vec<String>>>,
    pub(crate) auth_provider: Option<serde::de::IgnoredAny>,
    pub(crate) exec: Option<Exec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exec {
    #[serde(default)]
    pub(crate) api_version: String,
    #[serde(default)]
    pub(crate) command: String,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) env: Option<Vec<Variable>>,
    pub(crate) install_hint: Option<String>,
    pub(crate) interactive_mode: Option<String>,
    #[serde(default)]
    pub(crate) provide_cluster_info: bool,
}

#[derive(Deserialize)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Kubeconfig {
    /// Reads one file; the paths in it become absolute, relative to the file's folder.
    pub(crate) fn read(path: &Path) -> Result<Self, KubeconfigFault> {
        let text =
            std::fs::read_to_string(path).map_err(|e| KubeconfigFault::Read(format!("`{}`: {e}", path.display())))?;
        // Only the place of a fault is passed on: the message quotes the file, and the file holds tokens.
        let mut read: Self = serde_saphyr::from_str(&text).map_err(|e| {
            let place = e
                .location()
                .map(|l| format!(" (line {}, column {})", l.line(), l.column()));
            KubeconfigFault::Read(format!("`{}` is not one{}", path.display(), place.unwrap_or_default()))
        })?;
        read.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(read)
    }

    /// "The first file to set a particular value or map key wins": kubernetes.io, organize cluster access, merging.
    pub(crate) fn merge(&mut self, next: Self) {
        self.current_context = self
            .current_context
            .take()
            .filter(|c| !c.is_empty())
            .or(next.current_context);
        add_new(&mut self.clusters, next.clusters, |c| &c.name);
        add_new(&mut self.contexts, next.contexts, |c| &c.name);
        add_new(&mut self.users, next.users, |u| &u.name);
    }

    fn resolve(&mut self, folder: &Path) {
        for named in &mut self.clusters {
            absolute(folder, &mut named.cluster.certificate_authority);
        }
        for NamedUser { user, .. } in &mut self.users {
            absolute(folder, &mut user.client_certificate);
            absolute(folder, &mut user.client_key);
            absolute(folder, &mut user.token_file);
            // A bare name is looked up in PATH; one with a slash is a file (client-go GetAuthInfoFileReferences).
            if let Some(exec) = user.exec.as_mut().filter(|e| e.command.contains('/')) {
                exec.command = folder.join(&exec.command).to_string_lossy().into_owned();
            }
        }
    }
}

fn absolute(folder: &Path, path: &mut Option<String>) {
    if let Some(path) = path.as_mut().filter(|p| !p.is_empty()) {
        *path = folder.join(&*path).to_string_lossy().into_owned();
    }
}

fn add_new<T>(all: &mut Vec<T>, next: Vec<T>, name: impl Fn(&T) -> &str) {
    for item in next {
        if !all.iter().any(|known| name(known) == name(&item)) {
            all.push(item);
        }
    }
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

fn secret<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SecretString>, D::Error> {
    Option::<String>::deserialize(d).map(|s| s.map(SecretString::from))
}
