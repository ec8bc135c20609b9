//! What was written, section by section, becomes what is true; every section says all that is wrong with it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mantlet_api::authentication::AuthenticationConfiguration;
use mantlet_api::config::{self, Configuration};
use mantlet_core::identity::Population;
use mantlet_core::identity::issuer::{self, Issuer};
use mantlet_core::law::{self, Epoch, Law};
use mantlet_core::record::RecordingPolicy;
use mantlet_gateway::arrive::keys;
use mantlet_gateway::arrive::proxy::Trusted;
use mantlet_kubeconfig::Source;
use mantlet_store::{DatabaseUrl, JournalAt, Recordings};

use super::fault::Fault;
use super::policies::Policies;
use super::recording::{self, Misfit, Recording};
use super::tls::{Tls, TlsFault};
use super::tree::Document;
use super::{Cluster, Config, Listen, Proof, Storage, Written, only_document, own_issuers, read};

pub(crate) fn resolve(
    written: &Configuration,
    document: &Document,
    epoch: Epoch,
    files: &mut Vec<PathBuf>,
) -> Result<Config, Vec<Fault>> {
    let mut at = Resolver {
        document,
        faults: Vec::new(),
        files,
    };
    let listen = at.listen(&written.listen);
    let clusters = at.clusters(&written.clusters);
    let issuers = at.issuers(written);
    at.roles(written);
    let law = at.law(written, epoch);
    let recording = at.recording(&written.recording);
    let storage = at.storage(&written.storage);
    let proof = at.proof(&written.recording, storage.as_ref());
    let telemetry = at.address("telemetry.address", &written.telemetry.address);
    match (listen, issuers, law, recording, storage, telemetry) {
        (Some(listen), Some((issuers, authentication)), Some(law), Some(recording), Some(storage), Some(telemetry))
            if at.faults.is_empty() =>
        {
            Ok(Config {
                proof,
                listen,
                clusters,
                issuers,
                law,
                recording,
                storage,
                telemetry,
                file: document.file.clone(),
                files: at.files.clone(),
                written: Written {
                    configuration: written.clone(),
                    authentication,
                },
            })
        }
        _ => Err(at.faults),
    }
}

/// Storage and recording alone.
pub(crate) fn record(written: &Configuration, document: &Document) -> Result<(Storage, Proof), Vec<Fault>> {
    let mut at = Resolver {
        document,
        faults: Vec::new(),
        files: &mut Vec::new(),
    };
    let storage = at.storage(&written.storage);
    let proof = at.proof(&written.recording, storage.as_ref());
    match storage {
        Some(storage) if at.faults.is_empty() => Ok((storage, proof)),
        Some(_) | None => Err(at.faults),
    }
}

pub(super) struct Resolver<'a> {
    document: &'a Document,
    faults: Vec<Fault>,
    pub(super) files: &'a mut Vec<PathBuf>,
}

impl Resolver<'_> {
    pub(super) fn fault(&mut self, path: &str, message: impl Into<String>, hint: &str) {
        let fault = self.document.fault(path, message);
        self.faults.push(if hint.is_empty() { fault } else { fault.hint(hint) });
    }

    pub(super) fn fault_count(&self) -> usize {
        self.faults.len()
    }

    /// Relative paths start at the folder of `mantlet.yaml`.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        self.document.file.parent().unwrap_or(Path::new("/")).join(path)
    }

    fn listen(&mut self, written: &config::Listen) -> Option<Listen> {
        let address = self.address("listen.address", &written.address);
        let (cert_file, key_file) = (
            self.absolute(&written.tls.cert_file),
            self.absolute(&written.tls.key_file),
        );
        self.files.extend([cert_file.clone(), key_file.clone()]);
        let tls = match Tls::read(&cert_file, &key_file) {
            Ok(tls) => tls,
            Err(TlsFault::Certificate(why)) => return self.refused("listen.tls.certFile", why),
            Err(TlsFault::Key(why)) => return self.refused("listen.tls.keyFile", why),
        };
        let trusted = self.trusted(written.proxy_protocol.as_ref())?;
        Some(Listen {
            address: address?,
            tls,
            trusted,
        })
    }

    /// Whom the listener believes when it says for whom it comes.
    fn trusted(&mut self, written: Option<&config::ProxyProtocol>) -> Option<Trusted> {
        let Some(written) = written else {
            return Some(Trusted::default());
        };
        if written.trusted.is_empty() {
            self.fault(
                "listen.proxyProtocol.trusted",
                "nobody is trusted",
                "name the proxies, or leave `proxyProtocol` out: `proxyProtocol: { trusted: [10.0.0.0/24] }`",
            );
            return None;
        }
        let mut networks = Vec::new();
        for (n, network) in written.trusted.iter().enumerate() {
            match network.parse() {
                Ok(network) => networks.push(network),
                Err(why) => self.fault(
                    &format!("listen.proxyProtocol.trusted[{n}]"),
                    why,
                    "write an address or a network: `10.0.0.7`, `10.0.0.0/24`, `2001:db8::/32`",
                ),
            }
        }
        (networks.len() == written.trusted.len()).then_some(Trusted(networks))
    }

    fn clusters(&mut self, written: &[config::Cluster]) -> Vec<Cluster> {
        if written.is_empty() {
            self.fault(
                "clusters",
                "there is no cluster",
                "add one: `- { name: prod, kubeconfig: prod.kubeconfig }`",
            );
        }
        let mut names = BTreeSet::new();
        let mut default = None;
        let mut clusters = Vec::new();
        for (n, cluster) in written.iter().enumerate() {
            let path = format!("clusters[{n}]");
            if !is_dns_label(&cluster.name) {
                let message = format!("`{}` cannot stand in a URL as a cluster's name", cluster.name);
                self.fault(
                    &format!("{path}.name"),
                    message,
                    "use a-z, 0-9 and -, at most 63 characters",
                );
            }
            if !names.insert(&cluster.name) {
                self.fault(
                    &format!("{path}.name"),
                    format!("another cluster is named `{}` too", cluster.name),
                    "",
                );
            }
            if let Some(first) = default.filter(|_| cluster.default) {
                let message = format!("`{first}` is the default cluster already");
                self.fault(
                    &format!("{path}.default"),
                    message,
                    "leave `default: true` on one cluster",
                );
            }
            default = default.or(cluster.default.then_some(&cluster.name));
            clusters.extend(self.cluster(&path, cluster));
        }
        clusters
    }

    fn cluster(&mut self, path: &str, written: &config::Cluster) -> Option<Cluster> {
        let source = match (&written.kubeconfig, written.in_cluster) {
            (Some(file), false) => {
                let file = self.absolute(file);
                self.files.push(file.clone());
                if let Err(e) = std::fs::File::open(&file) {
                    let why = format!("cannot read `{}`: {e}", file.display());
                    return self.refused(&format!("{path}.kubeconfig"), why);
                }
                Source::File {
                    path: file,
                    context: None,
                }
            }
            (None, true) => Source::InCluster,
            (Some(_), true) => return self.refused(path, "has both `kubeconfig` and `inCluster`".into()),
            (None, false) => return self.refused(path, "has neither `kubeconfig` nor `inCluster: true`".into()),
        };
        if written
            .uid
            .as_deref()
            .is_some_and(|uid| uid.is_empty() || uid.len() > 64)
        {
            return self.refused(&format!("{path}.uid"), "is not the uid of a namespace".into());
        }
        Some(Cluster {
            name: written.name.clone(),
            source,
            default: written.default,
            uid: written.uid.clone(),
        })
    }

    fn issuers(&mut self, written: &Configuration) -> Option<(Vec<Issuer>, AuthenticationConfiguration)> {
        let file = self.absolute(&written.authentication);
        self.files.push(file.clone());
        if let Err(e) = std::fs::File::open(&file) {
            return self.refused("authentication", format!("cannot read `{}`: {e}", file.display()));
        }
        let authentication = only_document(&file).and_then(|d| Ok((read::read::<AuthenticationConfiguration>(&d)?, d)));
        let (authentication, document) = match authentication {
            Ok(read) => read,
            Err(faults) => {
                self.faults.extend(faults);
                return None;
            }
        };
        let populations: Vec<_> = written
            .issuers
            .iter()
            .map(|i| (i.url.clone(), population(i.population)))
            .collect();
        let before = self.faults.len();
        own_issuers::check(written, &authentication, self.document, &document, &mut self.faults);
        match issuer::resolve(&authentication, &populations) {
            Ok(issuers) if self.faults.len() == before => {
                let issuers = own_issuers::name(issuers, written);
                self.authorities(&issuers, &document);
                (self.faults.len() == before).then_some((issuers, authentication))
            }
            Ok(_) => None,
            Err(faults) => {
                for fault in faults {
                    let stands_in = match fault.file {
                        issuer::File::Authentication => &document,
                        issuer::File::Configuration => self.document,
                    };
                    self.faults
                        .push(stands_in.fault(&fault.path, fault.message).hint(fault.hint));
                }
                None
            }
        }
    }

    fn authorities(&mut self, issuers: &[Issuer], document: &Document) {
        for (n, issuer) in issuers.iter().enumerate() {
            let checked = issuer.certificate_authority().map_or(Ok(()), keys::check_authority);
            if let Err(why) = checked {
                let fault = document.fault(&format!("jwt[{n}].issuer.certificateAuthority"), why);
                let hint = "put the PEM of the authority itself here, from `-----BEGIN CERTIFICATE-----` on";
                self.faults.push(fault.hint(hint));
            }
        }
    }

    /// A grant to an issuer that does not exist is a spelling mistake in the one place where rights are given.
    fn roles(&mut self, written: &Configuration) {
        for (n, grant) in written.authorization.roles.iter().enumerate() {
            let path = format!("authorization.roles[{n}]");
            if !written.issuers.iter().any(|i| i.url == grant.issuer) {
                let message = format!("`{}` is not one of `issuers`", grant.issuer);
                self.fault(
                    &format!("{path}.issuer"),
                    message,
                    "name an issuer as it stands under `issuers`",
                );
            }
            let plain = |c: &&String| !c.contains(['*', '?', '[']);
            for (c, name) in grant.clusters.iter().enumerate().filter(|(_, c)| plain(c)) {
                if !written.clusters.iter().any(|cluster| cluster.name == *name) {
                    self.fault(
                        &format!("{path}.clusters[{c}]"),
                        format!("there is no cluster `{name}`"),
                        "",
                    );
                }
            }
        }
    }

    fn law(&mut self, written: &Configuration, epoch: Epoch) -> Option<Law> {
        let path = self.absolute(&written.policies);
        self.files.push(path.clone());
        if !path.exists() {
            return self.refused("policies", format!("`{}` does not exist", path.display()));
        }
        let policies = Policies::read(&path, self.files)
            .map_err(|faults| self.faults.extend(faults))
            .ok()?;
        let whole = law::Written {
            agents: policies.agents.clone(),
            policies: policies.policies.clone(),
            roles: written.authorization.roles.clone(),
            own_namespaces: mantlet_kubeconfig::own_namespace().into_iter().collect(),
            clusters: written.clusters.iter().map(|c| c.name.clone()).collect(),
        };
        let place = |fault| policies.place(fault, self.document);
        match Law::compile(whole, epoch) {
            Ok(law) => Some(law),
            Err(faults) => {
                self.faults.extend(faults.into_iter().map(place).collect::<Vec<_>>());
                None
            }
        }
    }

    fn storage(&mut self, written: &config::Storage) -> Option<Storage> {
        let (database, beside) = match written.database.as_str().strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() => {
                let path = self.absolute(path);
                let beside = path.parent().unwrap_or(Path::new("/")).to_owned();
                (
                    DatabaseUrl::from(format!("sqlite://{}", path.display())),
                    Beside::File(beside),
                )
            }
            Some(_) | None => (written.database.clone(), Beside::Nothing),
        };
        if let Err(fault) = mantlet_store::check(&database) {
            let text = fault.to_string();
            let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
            self.fault("storage.database", message.to_owned(), hint);
            return None;
        }
        let journal = match (written.journal.as_deref(), &beside) {
            (Some(folder), _) => JournalAt::Folder(self.absolute(folder)),
            (None, Beside::File(folder)) => JournalAt::Folder(folder.join("journal")),
            (None, Beside::Nothing) => JournalAt::Database,
        };
        let key_file = match written.key_file.as_deref() {
            Some(file) => Some(self.absolute(file)),
            None => self.beside(&beside, "keyFile", "keyring.key"),
        };
        let recordings = match written.recordings.as_deref() {
            None => self.beside(&beside, "recordings", "recordings").map(Recordings::Folder),
            Some(place) => match recording::recordings(place, |path| self.absolute(path)) {
                Ok(recordings) => Some(recordings),
                Err(misfit) => self.misfit(misfit),
            },
        };
        Some(Storage {
            database,
            journal,
            recordings: recordings?,
            key_file: key_file?,
        })
    }

    /// What is not written lies beside the database, if that is a file.
    fn beside(&mut self, beside: &Beside, field: &str, name: &str) -> Option<PathBuf> {
        match beside {
            Beside::File(folder) => Some(folder.join(name)),
            Beside::Nothing => {
                let message = format!("has no `{field}`, and a database on a server has no folder to put it beside");
                self.fault("storage", message, &format!("add `{field}: /var/lib/mantlet/{name}`"));
                None
            }
        }
    }

    fn recording(&mut self, written: &config::Recording) -> Option<Recording> {
        let policy = match &written.policy {
            None => RecordingPolicy::standard(),
            Some(file) => self.recording_policy(file)?,
        };
        let file = match &written.export.file {
            None => None,
            Some(file) => match recording::file_export(file, self.absolute(&file.path)) {
                Ok(file) => Some(file),
                Err(misfit) => return self.misfit(misfit),
            },
        };
        let webhook = written.export.webhook.as_deref().map(|file| self.absolute(file));
        if let Some(file) = &webhook {
            self.files.push(file.clone());
            if let Err(e) = std::fs::File::open(file) {
                let why = format!("cannot read `{}`: {e}", file.display());
                return self.refused("recording.export.webhook", why);
            }
        }
        Some(Recording { policy, file, webhook })
    }

    fn recording_policy(&mut self, file: &str) -> Option<RecordingPolicy> {
        let file = self.absolute(file);
        self.files.push(file.clone());
        if let Err(e) = std::fs::File::open(&file) {
            return self.refused("recording.policy", format!("cannot read `{}`: {e}", file.display()));
        }
        recording::policy(&file)
            .map_err(|faults| self.faults.extend(faults))
            .ok()
    }

    fn misfit<T>(&mut self, (path, message, hint): Misfit) -> Option<T> {
        self.fault(path, message, hint);
        None
    }

    fn address(&mut self, path: &str, written: &str) -> Option<SocketAddr> {
        let parsed = written.parse();
        if parsed.is_err() {
            let message = format!("`{written}` is not an IP address and a port");
            self.fault(
                path,
                message,
                "write `address: 0.0.0.0:8443`, or `[::]:8443` for IPv6 too",
            );
        }
        parsed.ok()
    }

    pub(super) fn refused<T>(&mut self, path: &str, message: String) -> Option<T> {
        self.fault(path, message, "");
        None
    }
}

/// Whether the database is a file that others can lie beside.
enum Beside {
    File(PathBuf),
    Nothing,
}

fn population(written: config::Population) -> Population {
    match written {
        config::Population::Agents => Population::Agents,
        config::Population::People => Population::People,
    }
}

/// RFC 1123 label, as Kubernetes' `IsDNS1123Label`.
fn is_dns_label(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}
