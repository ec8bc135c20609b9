//! What operators look at: `/livez`, `/readyz?verbose`, `/metrics`, on a listener of their own.
//!
//! No label holds a user, a name or anything a caller chooses freely: series are bounded.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mantlet_core::law::BudgetKind;
use mantlet_core::mask;
use mantlet_core::time::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::arrive::Ask;
use crate::pipeline::{Gateway, Reply};

/// Counters of one gateway; the registry is a value, so tests own theirs.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    requests: Family<Vec<(&'static str, String)>, Counter>,
    durations: Histogram,
    unrecorded: Counter,
    unframed: Family<Vec<(&'static str, &'static str)>, Counter>,
    turned_away: Family<Vec<(&'static str, &'static str)>, Counter>,
    export_behind: Family<Vec<(&'static str, String)>, Gauge>,
    budgets: BudgetMeter,
    configuration: Configuration,
}

/// What became of what agents use up. Its labels are the four budgets and nothing of whoever has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct BudgetMeter {
    reservations: Family<Vec<(&'static str, &'static str)>, Counter>,
    given_back: Family<Vec<(&'static str, &'static str)>, Counter>,
    holds: Family<Vec<(&'static str, &'static str)>, Counter>,
}

/// Which configuration is in force, and whether it is what the files say.
#[derive(Debug, Default)]
struct Configuration {
    /// What is wrong with the files, or what a restart alone would take up.
    said: Mutex<Said>,
    epoch: Gauge,
    successful: Gauge,
    loaded: Gauge,
}

#[derive(Debug, Default)]
enum Said {
    #[default]
    InForce,
    InForceBut(String),
    Faults(String),
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mantlet");
        let requests = Family::default();
        let durations = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let unrecorded = Counter::default();
        let (unframed, turned_away) = (Family::default(), Family::default());
        registry.register(
            "requests",
            "Requests answered, by HTTP method and status code",
            requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time from the head of a request to the head of its answer",
            durations.clone(),
        );
        registry.register(
            "requests_unrecorded",
            "Requests refused because the journal took no entry",
            unrecorded.clone(),
        );
        let configuration = Configuration::default();
        registry.register(
            "config_epoch",
            "Epoch of the configuration in force, as audit events name it",
            configuration.epoch.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "Whether the configuration in force is the one on disk",
            configuration.successful.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded",
            configuration.loaded.clone(),
        );
        let export_behind = Family::default();
        registry.register(
            "export_records_behind",
            "Records of the journal that an export has not looked at",
            export_behind.clone(),
        );
        registry.register(
            "requests_unframed",
            "What came as a request and is no HTTP that all read the same way, by reason",
            unframed.clone(),
        );
        registry.register(
            "connections_turned_away",
            "Connections closed before their first request, by reason",
            turned_away.clone(),
        );
        let budgets = BudgetMeter::default();
        budgets.register(&mut registry);
        Self {
            registry,
            budgets,
            requests,
            durations,
            unrecorded,
            configuration,
            export_behind,
            unframed,
            turned_away,
        }
    }
}

impl BudgetMeter {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "budget_reservations",
            "Requests that took room in a budget of their agent, by budget",
            self.reservations.clone(),
        );
        registry.register(
            "budget_reservations_given_back",
            "Reservations of requests that provably did nothing, by budget",
            self.given_back.clone(),
        );
        registry.register(
            "budget_holds",
            "Requests that a budget of their agent had no room for, by budget",
            self.holds.clone(),
        );
    }

    pub(crate) fn reserved(&self, budget: BudgetKind) {
        self.reservations.get_or_create(&of(budget)).inc();
    }

    pub(crate) fn given_back(&self, budget: BudgetKind) {
        self.given_back.get_or_create(&of(budget)).inc();
    }

    pub(crate) fn held(&self, budget: BudgetKind) {
        self.holds.get_or_create(&of(budget)).inc();
    }
}

fn of(budget: BudgetKind) -> Vec<(&'static str, &'static str)> {
    vec![("budget", budget.as_str())]
}

/// Why a connection was closed before anything could be asked on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// All seats are taken.
    Full,
    /// Its source has its share.
    Source,
    /// A trusted proxy that did not say for whom it comes.
    Proxy,
    /// No TLS, or not in time.
    Handshake,
}

impl Turned {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Turned::Full => "full",
            Turned::Source => "source",
            Turned::Proxy => "proxy",
            Turned::Handshake => "handshake",
        }
    }
}

/// What the log says of a request: masked text only, and names.
#[derive(Debug)]
pub(crate) struct Asked {
    started: Instant,
    method: &'static str,
    path: String,
    user: String,
}

impl Asked {
    pub(crate) fn of(ask: &Ask) -> Self {
        Self {
            started: Instant::now(),
            method: known(&ask.parts.method),
            path: mask::text(&ask.path).into_inner(),
            user: String::new(),
        }
    }

    pub(crate) fn by(&mut self, user: &str) {
        user.clone_into(&mut self.user);
    }
}

impl Telemetry {
    /// Counts the request and writes its line: the head of its answer is on its way.
    pub(crate) fn finished(&self, asked: &Asked, reply: Reply) -> Reply {
        let code = reply.status().as_u16();
        let took = asked.started.elapsed();
        self.requests
            .get_or_create(&vec![("method", asked.method.to_owned()), ("code", code.to_string())])
            .inc();
        self.durations.observe(took.as_secs_f64());
        let audit_id = reply
            .headers()
            .get("audit-id")
            .and_then(|id| id.to_str().ok())
            .unwrap_or_default();
        tracing::info!(
            method = asked.method,
            path = asked.path,
            user = asked.user,
            code,
            audit_id,
            ms = took.as_millis() as u64,
            "answered"
        );
        reply
    }

    pub(crate) fn budgets(&self) -> &BudgetMeter {
        &self.budgets
    }

    /// What the files say is in force, but for what `but` says.
    pub fn reloaded(&self, epoch: u64, at: Timestamp, but: Option<String>) {
        let Configuration {
            said,
            epoch: number,
            successful,
            loaded,
        } = &self.configuration;
        *said.lock().unwrap_or_else(PoisonError::into_inner) = but.map_or(Said::InForce, Said::InForceBut);
        number.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        successful.set(1);
        loaded.set(at.micros() / 1_000_000);
    }

    /// The files say something that cannot be put into force.
    pub fn not_reloaded(&self, why: String) {
        let said = &self.configuration.said;
        *said.lock().unwrap_or_else(PoisonError::into_inner) = Said::Faults(why);
        self.configuration.successful.set(0);
    }

    /// A line for `/readyz?verbose`. Not a failure: the last good configuration serves.
    fn configuration_line(&self) -> String {
        let said = self.configuration.said.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.configuration.epoch.get();
        match &*said {
            Said::InForce => format!("[+]config ok: epoch {epoch}\n"),
            Said::InForceBut(what) => format!("[!]config: epoch {epoch}, but {what}\n"),
            Said::Faults(why) => format!(
                "[!]config: the files have faults, and epoch {epoch} stays in force:\n    {}\n",
                why.replace('\n', "\n    ")
            ),
        }
    }

    /// For series of those who keep their own.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    pub(crate) fn unrecorded(&self) {
        self.unrecorded.inc();
    }

    pub(crate) fn unframed(&self, reason: &'static str) {
        self.unframed.get_or_create(&vec![("reason", reason)]).inc();
    }

    pub(crate) fn turned_away(&self, why: Turned) {
        self.turned_away.get_or_create(&vec![("reason", why.as_str())]).inc();
    }
}

/// A client can send any method; only these make a series.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// Serves the operators' pages over plain HTTP until the process drains.
pub async fn listen(listener: TcpListener, gateway: Arc<Gateway>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file descriptors, most likely: asking again at once would help nobody.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = gateway.tasks.closing() => return,
        };
        let tasks = gateway.tasks.clone();
        let gateway = gateway.clone();
        tasks.clone().pump("telemetry connection", async move {
            let service = service_fn(|request: Request<Incoming>| {
                let page = page(&gateway, &request);
                async move { Ok::<_, Infallible>(page) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! { _ = connection => {}, () = tasks.closing() => {} }
        });
    }
}

fn page(gateway: &Gateway, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (code, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/livez") => (StatusCode::OK, "ok".to_owned()),
        (&Method::GET, "/readyz") => ready(
            gateway,
            request
                .uri()
                .query()
                .is_some_and(|q| q.split('&').any(|p| p == "verbose" || p.starts_with("verbose="))),
        ),
        (&Method::GET, "/metrics") => {
            let mut text = String::new();
            for export in &gateway.exports {
                let labels = vec![("export", export.name().to_owned())];
                let behind = i64::try_from(export.behind()).unwrap_or(i64::MAX);
                gateway.telemetry.export_behind.get_or_create(&labels).set(behind);
            }
            match encode(&mut text, &gateway.telemetry.registry) {
                Ok(()) => (StatusCode::OK, text),
                Err(_) => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "metrics cannot be written\n".to_owned(),
                ),
            }
        }
        _ => (
            StatusCode::NOT_FOUND,
            "there is /livez, /readyz, /readyz?verbose and /metrics here\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response
}

/// In the API server's own form: `[+]name ok`, `[-]name failed: why`.
fn ready(gateway: &Gateway, verbose: bool) -> (StatusCode, String) {
    let mut checks: Vec<(String, Result<(), String>)> = vec![
        (
            "journal".into(),
            gateway.store.journal.health().map_err(|fault| fault.to_string()),
        ),
        (
            "index".into(),
            gateway.store.index.health().map_err(|fault| fault.to_string()),
        ),
        (
            "recordings".into(),
            gateway.store.bodies.health().map_err(|fault| fault.to_string()),
        ),
        (
            "serving".into(),
            if gateway.tasks.is_closing() {
                Err("shutting down".into())
            } else {
                Ok(())
            },
        ),
    ];
    for cluster in &gateway.clusters {
        let known = cluster
            .identity()
            .map(|_| ())
            .ok_or_else(|| "has not said who it is yet".to_owned());
        checks.push((format!("cluster-{}", cluster.name()), known));
    }
    let waiting = gateway.authenticator.issuers_without_keys(gateway.clock.now());
    // Not a failure: callers of the other issuers are served.
    let issuers: String = waiting
        .iter()
        .map(|issuer| format!("[!]issuer {issuer}: its keys are not at hand, its callers get 503\n"))
        .collect();
    // Neither: the journal keeps what a receiver has not taken.
    let exports: String = gateway
        .exports
        .iter()
        .filter_map(|export| Some(format!("[!]export {}: {}\n", export.name(), export.trouble()?)))
        .collect();
    let mut notes = format!("{}{issuers}{exports}", gateway.telemetry.configuration_line());
    if let Some(anchoring) = &gateway.anchoring {
        notes.push_str(&anchoring.line());
    }
    let failed = checks.iter().any(|(_, check)| check.is_err());
    let lines: String = checks
        .iter()
        .map(|(name, check)| match check {
            Ok(()) => format!("[+]{name} ok\n"),
            Err(why) => format!("[-]{name} failed: {why}\n"),
        })
        .collect();
    match (failed, verbose) {
        (false, false) => (StatusCode::OK, "ok".into()),
        (false, true) => (StatusCode::OK, format!("{lines}{notes}readyz check passed\n")),
        (true, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{lines}{notes}readyz check failed\n"),
        ),
    }
}
