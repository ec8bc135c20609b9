//! The issuers' public keys: fetched by discovery, kept, fetched again.
//!
//! In: an issuer's discovery address (https) and authority, or the cluster whose own issuer it is. Out: the [`Held`] keys, for 24 hours if the
//! issuer is down.
//! Refuses: redirects, bodies over 1 MiB, a discovery document that names another issuer, a `jwks_uri` without https.
//! One task per issuer fetches; requests only ask it to, and an unknown key id asks at most every 30 s, so that nobody's
//! tokens drive the fetches. A failed fetch changes nothing but the log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use mantlet_core::identity::issuer::Issuer;
use mantlet_core::identity::keys::{KeySet, KeysFault};
use mantlet_core::time::{Clock, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::upstream::{Cluster, OwnCall, Unreached};

/// Keys of an issuer that cannot be reached are believed this long.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_BYTES: usize = 1024 * 1024;

/// How often keys are fetched. I/O time, not legal time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between fetches that unknown key ids ask for.
    pub(crate) least_gap: Duration,
    /// Between fetches while there are no keys; doubled up to `least_gap` while nobody asks.
    pub(crate) retry: Duration,
    /// Shortest and longest time between fetches that nobody asks for, whatever `max-age` says.
    pub(crate) refresh: (Duration, Duration),
    /// A fetch as a whole.
    pub(crate) fetch: Duration,
    /// How long a request waits for one.
    pub(crate) patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            least_gap: seconds(30),
            retry: seconds(1),
            refresh: (seconds(300), seconds(3600)),
            fetch: seconds(10),
            patience: seconds(5),
        }
    }
}

/// The keys of one issuer and the way to them.
pub(crate) struct KeySource {
    issuer: String,
    origin: Origin,
    authority: Option<String>,
    pace: Pace,
    held: ArcSwapOption<Held>,
    wanted: Notify,
    last: Mutex<Last>,
    /// Counts fetches that ended, well or not.
    ended: watch::Sender<u64>,
}

/// Where keys are had.
enum Origin {
    Discovery {
        address: Uri,
        tls: TlsConnector,
    },
    /// The cluster of this name, with the gateway's own credential.
    Cluster(String),
}

/// Keys and when they were fetched.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) keys: Arc<KeySet>,
    /// Changes when the keys do, not with each fetch.
    pub(crate) generation: u64,
    fetched: Timestamp,
}

/// The last fetch.
#[derive(Debug, Clone, Copy)]
enum Last {
    None,
    Running,
    Began(Instant),
}

/// An issuer whose keys can never be fetched as configured. A fault of the configuration, found at load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("issuer `{issuer}`: {problem}")]
pub struct SourceFault {
    pub issuer: String,
    pub problem: String,
}

/// Why a fetch failed, for the log.
#[derive(Debug, thiserror::Error)]
enum FetchFault {
    #[error("no answer in time")]
    TooSlow,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no http answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("`{uri}` answered {status}")]
    Status { uri: Uri, status: StatusCode },
    #[error("cannot read the answer: {0}")]
    Body(String),
    #[error("`{0}` is no https address")]
    Address(String),
    #[error("the discovery document is not one: {0}")]
    Discovery(serde_json::Error),
    #[error("the discovery document is that of issuer {0:?}")]
    OtherIssuer(String),
    #[error("there is no cluster `{0}`")]
    NoCluster(String),
    #[error("the cluster does not give them: {0}")]
    Cluster(Unreached),
    #[error(transparent)]
    Keys(#[from] KeysFault),
}

impl Held {
    pub(crate) fn good_until(&self) -> Timestamp {
        self.fetched.after(STALE)
    }
}

impl KeySource {
    pub(crate) fn new(issuer: &Issuer, pace: Pace) -> Result<Self, SourceFault> {
        let fault = |problem| SourceFault {
            issuer: issuer.url().to_owned(),
            problem,
        };
        let origin = match issuer.cluster() {
            Some(cluster) => Origin::Cluster(cluster.to_owned()),
            None => Self::discovery(issuer).map_err(fault)?,
        };
        Ok(Self {
            issuer: issuer.url().to_owned(),
            origin,
            authority: issuer.certificate_authority().map(ToOwned::to_owned),
            pace,
            held: ArcSwapOption::empty(),
            wanted: Notify::new(),
            last: Mutex::new(Last::None),
            ended: watch::Sender::new(0),
        })
    }

    fn discovery(issuer: &Issuer) -> Result<Origin, String> {
        let discovery = issuer.discovery_url();
        let address = discovery.parse().map_err(|_| format!("`{discovery}` is no address"))?;
        let roots = roots(issuer.certificate_authority()).map_err(|why| format!("certificateAuthority: {why}"))?;
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Origin::Discovery {
            address,
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether a source for this issuer would be this one over again. Audiences, mappings and rules do not matter to keys.
    pub(crate) fn leads_to(&self, issuer: &Issuer) -> bool {
        self.issuer == issuer.url()
            && match (&self.origin, issuer.cluster()) {
                (Origin::Discovery { address, .. }, None) => *address == issuer.discovery_url(),
                (Origin::Cluster(name), Some(cluster)) => name == cluster,
                (Origin::Discovery { .. }, Some(_)) | (Origin::Cluster(_), None) => false,
            }
            && self.authority.as_deref() == issuer.certificate_authority()
    }

    /// The keys, unless they are too old to be believed.
    pub(crate) fn held(&self, now: Timestamp) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| now < held.good_until())
    }

    /// Asks for a fetch and waits for its end. False if it is too early for another one, or if it takes too long.
    pub(crate) async fn refetched(&self, now: Timestamp) -> bool {
        let mut ended = self.ended.subscribe();
        let gap = self.gap(now);
        match self.last() {
            Last::Running => {}
            Last::Began(at) if at.elapsed() < gap => return false,
            Last::Began(_) | Last::None => self.wanted.notify_one(),
        }
        matches!(
            tokio::time::timeout(self.pace.patience, ended.changed()).await,
            Ok(Ok(()))
        )
    }

    fn gap(&self, now: Timestamp) -> Duration {
        if self.held(now).is_some() {
            self.pace.least_gap
        } else {
            self.pace.retry
        }
    }

    /// Fetches now, then whenever due or wanted.
    pub(crate) async fn keep_fresh(&self, clock: &dyn Clock, clusters: &[Arc<Cluster>]) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let pause = match self.fetch(clock, clusters).await {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(fault) => {
                    tracing::warn!(issuer = self.issuer, error = %fault, "issuer keys not fetched");
                    failures += 1;
                    self.pace
                        .retry
                        .saturating_mul(1 << failures.min(16))
                        .min(self.pace.least_gap)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wanted_again(began, clock) => {}
            }
        }
    }

    /// Two requests may have asked before the fetch that both were waiting for began: the gap is looked at here as well.
    async fn wanted_again(&self, began: Instant, clock: &dyn Clock) {
        loop {
            self.wanted.notified().await;
            if began.elapsed() >= self.gap(clock.now()) {
                return;
            }
        }
    }

    /// One fetch; gives the time until the next.
    async fn fetch(&self, clock: &dyn Clock, clusters: &[Arc<Cluster>]) -> Result<Duration, FetchFault> {
        let began = Instant::now();
        self.set_last(Last::Running);
        let fetched = match tokio::time::timeout(self.pace.fetch, self.download(clusters)).await {
            Ok(fetched) => fetched.map(|(keys, max_age)| {
                self.hold(keys, clock.now());
                let (least, most) = self.pace.refresh;
                max_age.unwrap_or(least * 2).clamp(least, most)
            }),
            Err(_) => Err(FetchFault::TooSlow),
        };
        self.set_last(Last::Began(began));
        self.ended.send_modify(|ended| *ended += 1);
        fetched
    }

    fn hold(&self, keys: KeySet, now: Timestamp) {
        let before = self.held.load_full();
        let (keys, generation) = match before {
            Some(held) if *held.keys == keys => (held.keys.clone(), held.generation),
            Some(held) => (Arc::new(keys), held.generation + 1),
            None => (Arc::new(keys), 0),
        };
        self.held.store(Some(Arc::new(Held {
            keys,
            generation,
            fetched: now,
        })));
    }

    async fn download(&self, clusters: &[Arc<Cluster>]) -> Result<(KeySet, Option<Duration>), FetchFault> {
        match &self.origin {
            Origin::Discovery { address, tls } => self.discover(address, tls).await,
            Origin::Cluster(name) => self.ask(name, clusters).await,
        }
    }

    /// Only of a cluster that has said who it is: another one's keys would make its accounts our agents.
    async fn ask(&self, name: &str, clusters: &[Arc<Cluster>]) -> Result<(KeySet, Option<Duration>), FetchFault> {
        let cluster = clusters.iter().find(|cluster| cluster.name() == name);
        let cluster = cluster.ok_or_else(|| FetchFault::NoCluster(name.to_owned()))?;
        cluster.identify().await.map_err(FetchFault::Cluster)?;
        let keys = cluster
            .own(OwnCall::ServiceAccountKeys)
            .await
            .map_err(FetchFault::Cluster)?;
        Ok((KeySet::parse(keys.to_string().as_bytes())?, None))
    }

    /// OpenID Connect Discovery 1.0 §4.3: the document must name the very issuer that it was fetched for.
    async fn discover(&self, address: &Uri, tls: &TlsConnector) -> Result<(KeySet, Option<Duration>), FetchFault> {
        let (_, body) = self.download_document(address, tls).await?;
        let discovery: Discovery = serde_json::from_slice(&body).map_err(FetchFault::Discovery)?;
        if discovery.issuer != self.issuer {
            return Err(FetchFault::OtherIssuer(discovery.issuer));
        }
        let address = discovery
            .jwks_uri
            .parse()
            .map_err(|_| FetchFault::Address(discovery.jwks_uri))?;
        let (headers, body) = self.download_document(&address, tls).await?;
        Ok((KeySet::parse(&body)?, max_age(&headers)))
    }

    async fn download_document(&self, uri: &Uri, tls: &TlsConnector) -> Result<(HeaderMap, Bytes), FetchFault> {
        let address = || FetchFault::Address(uri.to_string());
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(address());
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| address())?;
        let port = authority.port_u16().unwrap_or(443);
        let tcp = TcpStream::connect((host, port)).await.map_err(FetchFault::Connect)?;
        let tls = tls.connect(name, tcp).await.map_err(FetchFault::Connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "mantlet")
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_| address())?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            // A redirect is a status like any other that is not 200.
            if answer.status() != StatusCode::OK {
                return Err(FetchFault::Status {
                    uri: uri.clone(),
                    status: answer.status(),
                });
            }
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await;
            Ok((
                head.headers,
                body.map_err(|error| FetchFault::Body(error.to_string()))?.to_bytes(),
            ))
        };
        // The connection does the work that `exchange` waits for, and never outlives it.
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    }

    #[cfg(test)]
    pub(crate) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    fn last(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last(&self, last: Last) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

#[derive(serde::Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// RFC 9111 §5.2.2.1.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = text.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Whether a `certificateAuthority` holds certificates that can be trusted; for whoever reads the file that it stands in.
pub fn check_authority(pem: &str) -> Result<(), String> {
    roots(Some(pem)).map(drop)
}

/// The given authority and nothing else, or what the system trusts.
fn roots(authority: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| error.to_string())?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
        }
        // Single broken certificates in the system's store are the system's affair.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    match (roots.is_empty(), authority) {
        (false, _) => Ok(roots),
        (true, Some(_)) => Err("holds no certificate".into()),
        (true, None) => Err("the system trusts none, so it must be given".into()),
    }
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySource")
            .field("issuer", &self.issuer)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
