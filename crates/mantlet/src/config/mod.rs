//! From files to a configuration that is true, or every fault of all of them at once.
//!
//! In: the path of `mantlet.yaml`. Out: [`Config`]: addresses parsed, paths absolute, certificates and kubeconfigs found,
//! issuers joined with their populations, agents and policies read. Refuses: unknown and doubled fields, wrong types,
//! missing files, whatever does not fit together; each with file, line and column.
//! Does not talk to a cluster or an issuer.

mod fault;
mod own_issuers;
mod policies;
mod proof;
mod read;
mod recording;
mod resolve;
mod tls;
mod tree;
mod validate;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mantlet_api::authentication::AuthenticationConfiguration;
use mantlet_api::config::Configuration;
use mantlet_core::identity::issuer::Issuer;
use mantlet_core::law::{Epoch, Law};
use mantlet_gateway::arrive::proxy::Trusted;
use mantlet_kubeconfig::Source;
use mantlet_store::{DatabaseUrl, JournalAt, Recordings};

pub use fault::{Fault, Place};
pub use proof::{AnchorPlace, Proof};
pub use recording::{FileExport, Recording};
pub use tls::Tls;
pub use validate::{Verdict, validate};

/// What is true: made by [`load`] only.
#[derive(Debug)]
pub struct Config {
    pub listen: Listen,
    /// At least one; names differ.
    pub clusters: Vec<Cluster>,
    pub issuers: Vec<Issuer>,
    /// Agents, policies and grants, compiled.
    pub law: Law,
    pub recording: Recording,
    pub storage: Storage,
    pub proof: Proof,
    /// Listener of `/livez`, `/readyz`, `/metrics`.
    pub telemetry: SocketAddr,
    /// `mantlet.yaml` itself.
    pub file: PathBuf,
    /// Every file and folder that was looked at, `mantlet.yaml` first: when one of them changes, loading again may give something else.
    pub files: Vec<PathBuf>,
    pub written: Written,
}

/// What the files say, to be compared with what they say later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub configuration: Configuration,
    pub authentication: AuthenticationConfiguration,
}

#[derive(Debug)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: Tls,
    /// Whose PROXY headers are believed, and asked for.
    pub trusted: Trusted,
}

#[derive(Debug)]
pub struct Cluster {
    /// A DNS label.
    pub name: String,
    pub source: Source,
    /// Served at `/` as well; at most one.
    pub default: bool,
    /// What the uid of its kube-system namespace must be, if the file says so.
    pub uid: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// `sqlite:///` and an absolute path, or PostgreSQL.
    pub database: DatabaseUrl,
    pub journal: JournalAt,
    pub recordings: Recordings,
    pub key_file: PathBuf,
}

/// Reads `path` and everything it names; the law gets `epoch`.
pub fn load(path: &Path, epoch: Epoch) -> Result<Config, Vec<Fault>> {
    load_noting(path, epoch, &mut Vec::new())
}

/// The same; `files` gets every file and folder that was looked at, those that are not there included, whatever the end.
pub fn load_noting(path: &Path, epoch: Epoch, files: &mut Vec<PathBuf>) -> Result<Config, Vec<Fault>> {
    let path = std::path::absolute(path).map_err(|e| vec![Fault::whole(path, format!("is no path: {e}"))])?;
    files.push(path.clone());
    let document = only_document(&path)?;
    let written: Configuration = read::read(&document)?;
    resolve::resolve(&written, &document, epoch, files)
}

/// Where the record lies by the file at `path`, and where else it is vouched for; nothing else in it is looked at, so that it can be
/// checked on another machine than the gateway's.
pub fn record(path: &Path) -> Result<(Storage, Proof), Vec<Fault>> {
    let path = std::path::absolute(path).map_err(|e| vec![Fault::whole(path, format!("is no path: {e}"))])?;
    let document = only_document(&path)?;
    let written: Configuration = read::read(&document)?;
    resolve::record(&written, &document)
}

/// A file that must hold exactly one document.
fn only_document(path: &Path) -> Result<tree::Document, Vec<Fault>> {
    let mut documents = tree::read_file(path).map_err(|fault| vec![fault])?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        (None, _) => Err(vec![Fault::whole(path, "is empty")]),
        (Some(_), false) => Err(vec![Fault::whole(path, "holds more than one document")]),
    }
}

#[cfg(test)]
mod tests;
