//! Agents and policies: a file, or a folder of files, of any number of documents each.
//!
//! In a folder every `.yaml`, `.yml` and `.json` file counts; names that begin with a dot do not (a mounted ConfigMap keeps
//! its versions there). A link may not lead out of the folder, and a folder in it is refused: what looks like a policy
//! must never go unread in silence.

use std::path::{Path, PathBuf};

use mantlet_api::policy::{Agent, Policy};
use mantlet_core::law::{self, Source};

use super::fault::Fault;
use super::read;
use super::tree::{self, Document};

/// Everything that was read, and where each piece stands.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    documents: Vec<Document>,
    pub(crate) agents: Vec<(Source, Agent)>,
    pub(crate) policies: Vec<(Source, Policy)>,
}

impl Policies {
    /// Reads `path` and notes every file in `files`.
    pub(crate) fn read(path: &Path, files: &mut Vec<PathBuf>) -> Result<Self, Vec<Fault>> {
        let (paths, mut faults) = list(path);
        let mut policies = Self::default();
        for path in paths {
            match tree::read_file(&path) {
                Ok(documents) => documents.into_iter().for_each(|d| policies.take(d, &mut faults)),
                Err(fault) => faults.push(fault),
            }
            if !files.contains(&path) {
                files.push(path);
            }
        }
        if faults.is_empty() { Ok(policies) } else { Err(faults) }
    }

    /// What the law found wrong, with its position; `configuration` is where the grants stand.
    pub(crate) fn place(&self, fault: law::Fault, configuration: &Document) -> Fault {
        let document = match fault.source {
            Source::Configuration => configuration,
            Source::Document(n) => self.documents.get(n).unwrap_or(configuration),
        };
        Fault {
            hint: fault.hint,
            ..document.fault(&fault.path, fault.message)
        }
    }

    fn take(&mut self, document: Document, faults: &mut Vec<Fault>) {
        let id = Source::Document(self.documents.len());
        match document.text("kind") {
            Some("Agent") => match read::read(&document) {
                Ok(agent) => self.agents.push((id, agent)),
                Err(found) => faults.extend(found),
            },
            Some("Policy") => match read::read(&document) {
                Ok(policy) => self.policies.push((id, policy)),
                Err(found) => faults.extend(found),
            },
            Some(other) => {
                faults.push(document.fault(
                    "kind",
                    format!("unknown kind `{other}`, expected one of `Agent`, `Policy`"),
                ));
            }
            None => faults.push(
                document
                    .fault("kind", "missing field `kind`")
                    .hint("add `kind: Agent` or `kind: Policy`"),
            ),
        }
        self.documents.push(document);
    }
}

/// The files to read, in order of their names.
fn list(path: &Path) -> (Vec<PathBuf>, Vec<Fault>) {
    if !path.is_dir() {
        return (vec![path.to_owned()], Vec::new());
    }
    let inside = path
        .canonicalize()
        .and_then(|root| Ok((root, std::fs::read_dir(path)?)));
    let (root, entries) = match inside {
        Ok(inside) => inside,
        Err(e) => return (Vec::new(), vec![Fault::whole(path, format!("cannot be read: {e}"))]),
    };
    let mut paths = Vec::new();
    let mut faults = Vec::new();
    for entry in entries {
        match entry
            .map_err(|e| Fault::whole(path, format!("cannot be read: {e}")))
            .and_then(|e| admit(&root, e.path()))
        {
            Ok(found) => paths.extend(found),
            Err(fault) => faults.push(fault),
        }
    }
    paths.sort();
    (paths, faults)
}

fn admit(root: &Path, path: PathBuf) -> Result<Option<PathBuf>, Fault> {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    if hidden {
        return Ok(None);
    }
    let real = path
        .canonicalize()
        .map_err(|e| Fault::whole(&path, format!("cannot be read: {e}")))?;
    if !real.starts_with(root) {
        return Err(Fault::whole(
            &path,
            "is a link that leads out of the folder of policies",
        ));
    }
    if real.is_dir() {
        return Err(Fault::whole(&path, "is a folder, and only files are read").hint("put its files beside it"));
    }
    let named = path
        .extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| ["yaml", "yml", "json"].contains(&e));
    Ok(named.then_some(path))
}
