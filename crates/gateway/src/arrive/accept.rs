//! In: a TCP connection. Out: a [`RawRequest`] per request, with the cluster that its path prefix names.
//! Refuses: plain HTTP, TLS below 1.2, heads beyond 64 KiB, heads that take longer than 32 s, more than 250 streams on a connection.
//! Does not look at tokens: identity belongs to a request, never to a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::server::ResolvesServerCert;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::pipeline::Gateway;
use crate::relay::respond::ReplyBody;
use crate::tasks::Tasks;

/// As kube-apiserver's (apiserver `server/secure_serving.go`, `ReadHeaderTimeout`).
const HEAD: Duration = Duration::from_secs(32);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a draining process waits for a client to take what was answered.
const FLUSH: Duration = Duration::from_millis(1500);
const HEAD_BYTES: usize = 64 * 1024;
const STREAMS: u32 = 250;

/// A request as it came, and where from. Only `arrive` looks inside.
#[derive(Debug)]
pub struct RawRequest {
    pub(crate) request: Request<Incoming>,
    pub(crate) peer: SocketAddr,
    pub(crate) under_way: UnderWay,
}

/// Says that a request of a connection has not ended: held by its entry.
pub(crate) type UnderWay = TaskTrackerToken;

/// The TLS side of a listener: 1.2 and later, HTTP/2 and HTTP/1.1 by ALPN.
pub fn tls(certificates: Arc<dyn ResolvesServerCert>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until the process drains; then lets every connection end what it has begun.
pub async fn listen(listener: TcpListener, tls: TlsAcceptor, gateway: Arc<Gateway>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gateway.tasks.closing() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (gateway, tls, watcher) = (gateway.clone(), tls.clone(), graceful.watcher());
                let tasks = gateway.tasks.clone();
                tasks.pump("connection", connection(stream, peer, tls, gateway, watcher));
            }
            // Out of file descriptors, most likely: the listener lives on.
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Whoever comes now is refused at once, and finds another replica; in the backlog it would wait for nothing.
    drop(listener);
    graceful.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    gateway: Arc<Gateway>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else {
        return;
    };
    let (tasks, requests) = (gateway.tasks.clone(), TaskTracker::new());
    let tokens = requests.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let head = request.method() == Method::HEAD;
        let raw = RawRequest {
            request,
            peer,
            under_way: tokens.token(),
        };
        let reply = gateway.clone().serve(raw);
        // On the heap: on HTTP/2, hyper keeps this future's room until the answer has been sent, and a watch is sent for half an hour.
        Box::pin(async move {
            let mut reply = reply.await;
            // RFC 9110 9.3.2: no content in an answer to HEAD. On HTTP/2 hyper would send it, and the client would see a broken stream.
            if head {
                *reply.body_mut() = ReplyBody::whole(Bytes::new());
            }
            Ok::<_, Infallible>(reply)
        })
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(30));
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned();
    tokio::select! {
        end = watcher.watch(connection) => if let Err(error) = end {
            tracing::debug!(%error, %peer, "connection ended");
        },
        () = given_up(&tasks, &requests) => tracing::debug!(%peer, "connection closed: its client did not take what was answered"),
    }
}

/// Resolves when a draining process has answered everything that came on a connection and the client has had its time to read it.
async fn given_up(tasks: &Tasks, requests: &TaskTracker) {
    tasks.closing().await;
    requests.close();
    requests.wait().await;
    tokio::time::sleep(FLUSH).await;
}
