//! The API server behind everybody: answers at once, from memory, and counts what it answered. It is the issuer as well.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use anyhow::Result;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::ground::{Ground, NAMESPACE};

const POD_BYTES: usize = 4096;
/// 1,280 pods of 4 KB: 5.2 MB.
const PODS: usize = 1280;

/// A server on a thread of its own; lives as long as the process.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    answers: Arc<Answers>,
}

#[derive(Debug)]
struct Answers {
    pod: Bytes,
    event: Bytes,
    list: Bytes,
    created: Bytes,
    namespace: Bytes,
    version: Bytes,
    discovery: Bytes,
    jwks: Bytes,
    missing: Bytes,
    answered: AtomicU64,
}

impl Stub {
    pub(crate) fn start(ground: &Ground) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let answers = Arc::new(Answers::new(ground, &format!("https://{address}"))?);
        let tls = TlsAcceptor::from(ground.server()?);
        let served = answers.clone();
        std::thread::Builder::new()
            .name("stub".into())
            .spawn(move || runtime.block_on(serve(listener, tls, served)))?;
        Ok(Self { address, answers })
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answers.answered.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, answers: Arc<Answers>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (tls, answers) = (tls.clone(), answers.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, answers.clone()));
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().max_concurrent_streams(250);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, answers: Arc<Answers>) -> Result<Response<Answer>, Infallible> {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch="));
    let (code, bytes) = answers.to(request.method(), request.uri().path(), watches);
    // Not to the end: the connection could not be used again.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Answer {
        first: Some(bytes),
        endless: watches,
    });
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answers.answered.fetch_add(1, Ordering::Relaxed);
    Ok(response)
}

impl Answers {
    fn new(ground: &Ground, issuer: &str) -> Result<Self> {
        let pod = pod();
        let bytes = |value: Value| Bytes::from(value.to_string());
        Ok(Self {
            event: Bytes::from(format!("{}\n", json!({"type": "ADDED", "object": pod}))),
            list: bytes(
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": vec![pod.clone(); PODS]}),
            ),
            created: bytes(config_map()),
            namespace: bytes(json!({"kind": "Namespace", "apiVersion": "v1",
                "metadata": {"name": "kube-system", "uid": "6b0dbb4c-0e4e-4a43-9d9c-2f3a8c1f0b17"}})),
            version: bytes(json!({"major": "1", "minor": "35", "gitVersion": "v1.35.0"})),
            discovery: bytes(json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks"),
                "id_token_signing_alg_values_supported": ["RS256"]})),
            jwks: bytes(ground.jwks()),
            missing: bytes(
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "the stub knows no such path", "reason": "NotFound", "code": 404}),
            ),
            pod: bytes(pod),
            answered: AtomicU64::new(0),
        })
    }

    fn to(&self, method: &Method, path: &str, watches: bool) -> (StatusCode, Bytes) {
        let within = path.strip_prefix("/api/v1/namespaces/bench/").unwrap_or_default();
        let bytes = match (method, within, path) {
            (&Method::POST, "configmaps", _) => return (StatusCode::CREATED, self.created.clone()),
            (&Method::GET, "pods", _) if watches => &self.event,
            (&Method::GET, "pods", _) => &self.list,
            (&Method::GET, within, _) if within.starts_with("pods/") => &self.pod,
            (&Method::GET, _, "/api/v1/namespaces/kube-system") => &self.namespace,
            (&Method::GET, _, "/version") => &self.version,
            (&Method::GET, _, "/.well-known/openid-configuration") => &self.discovery,
            (&Method::GET, _, "/jwks") => &self.jwks,
            _ => return (StatusCode::NOT_FOUND, self.missing.clone()),
        };
        (StatusCode::OK, bytes.clone())
    }
}

/// An object of the usual shape and of 4 KB: metadata with managedFields, a spec, a status.
fn pod() -> Value {
    let condition = |kind| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
    let shape = |padding: usize| {
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": "web-6d4b75cb6d-hk4x2", "namespace": NAMESPACE, "uid": "0f7c0c1e-93a4-4a3b-bb83-0d0a6f3f1c55",
                "resourceVersion": "123456789", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "web", "pod-template-hash": "6d4b75cb6d"},
                "annotations": {"example.com/checksum": "c".repeat(padding)},
                "managedFields": (0..3).map(|at| json!({"manager": format!("manager-{at}"), "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}},
                        "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}}}})).collect::<Vec<_>>(),
            },
            "spec": {
                "containers": (0..2).map(|at| json!({"name": format!("web-{at}"), "image": "registry.example.com/web:1.2.3",
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "env": (0..6).map(|at| json!({"name": format!("SETTING_{at}"), "value": "value"})).collect::<Vec<_>>(),
                    "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}}})).collect::<Vec<_>>(),
                "nodeName": "node-1", "serviceAccountName": "default", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            },
            "status": {"phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "startTime": "2026-01-01T00:00:00Z",
                "conditions": conditions},
        })
    };
    let bare = shape(0).to_string().len();
    shape(POD_BYTES.saturating_sub(bare))
}

/// What is written, and what comes back for it.
pub(crate) fn config_map() -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "settings", "namespace": NAMESPACE, "labels": {"app": "web"}},
        "data": {"settings.yaml": "key: value\n".repeat(64)}})
}

/// All at once, or a first event and then nothing for ever.
#[derive(Debug)]
struct Answer {
    first: Option<Bytes>,
    endless: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.first.take(), self.endless) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, false) => Poll::Ready(None),
            // hyper notices by itself when the client goes.
            (None, true) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.endless && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.first, self.endless) {
            (Some(bytes), false) => SizeHint::with_exact(bytes.len() as u64),
            (None, false) => SizeHint::with_exact(0),
            (_, true) => SizeHint::default(),
        }
    }
}
