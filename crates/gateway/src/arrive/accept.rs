//! In: a TCP connection. Out: a [`RawRequest`] per request, with the cluster that its path prefix names.
//! Refuses: plain HTTP, TLS below 1.2, a trusted proxy that does not say for whom it comes, more connections than there are seats, what is not
//! framed beyond doubt, heads beyond 64 KiB or slower than 32 s, more than 250 streams on a connection, floods of frames that ask for nothing.
//! Ends: connections on which nothing happens for 90 s, and those whose client takes nothing for 60 s. A watch that waits is something.
//! Does not look at tokens: identity belongs to a request, never to a connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::server::ResolvesServerCert;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::delivery::{Deliveries, Delivery};
use super::framing::{FAULTY, Fault, HEAD_BYTES};
use super::guarded::{Found, Guarded, HEAD};
use super::proxy::{self, Trusted};
use super::resolve::wants_upgrade;
use super::seats::{self, Seat, Seats};
use super::socket::{STALL, Socket};
use crate::pipeline::Gateway;
use crate::relay::respond::ReplyBody;
use crate::telemetry::Turned;

/// The PROXY header and the TLS handshake together.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// As kube-apiserver's (apiserver `server/secure_serving.go`, `IdleTimeout`), which matches that of Go's clients.
const IDLE: Duration = Duration::from_secs(90);
/// Less than this in [`IDLE`] is pings and their answers.
const IDLE_BYTES: u64 = 1024;
/// How long a draining process waits for a client to take what was answered.
const FLUSH: Duration = Duration::from_millis(1500);
/// kube-apiserver allows 100 today and allowed 250 when client-go was made (kubernetes#60042).
const STREAMS: u32 = 250;
/// What a client may send of one body, and of all on a connection, before somebody reads: paid for each of [`seats::MOST`].
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Rapid reset (CVE-2023-44487): streams that the client reset before they were looked at. h2 itself allows 20.
const RESETS: usize = 32;
/// Made you reset (CVE-2025-8671): streams that we had to reset, for what the client sent on them.
const OWN_RESETS: usize = 256;
const PING: Duration = Duration::from_secs(30);

/// A request as it came, and where from. Only `arrive` looks inside.
#[derive(Debug)]
pub struct RawRequest {
    pub(crate) request: Request<Incoming>,
    pub(crate) peer: SocketAddr,
    pub(crate) under_way: UnderWay,
}

/// Says that a request of a connection has not ended: held by its entry.
pub(crate) type UnderWay = TaskTrackerToken;

/// How clients get in.
#[derive(Clone)]
pub struct Door {
    pub tls: TlsAcceptor,
    /// Who must say for whom it comes.
    pub trusted: Trusted,
    /// How many connections there may be; of one source a fifth of it.
    pub connections: usize,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("trusted", &self.trusted)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

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

/// Accepts until the process drains; every connection then ends what it has begun.
pub async fn listen(listener: TcpListener, door: Door, gateway: Arc<Gateway>) {
    let seats = Seats::new(door.connections, door.connections / seats::SHARES);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gateway.tasks.closing() => break,
        };
        match accepted {
            Ok((stream, peer)) => match seats.take() {
                Some(seat) => {
                    let (door, seats, tasks) = (door.clone(), seats.clone(), gateway.tasks.clone());
                    tasks.pump(
                        "connection",
                        connection(stream, peer, door, (seats, seat), gateway.clone()),
                    );
                }
                None => gateway.telemetry.turned_away(Turned::Full),
            },
            // Out of file descriptors, most likely: the listener lives on.
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Whoever comes now is refused at once, and finds another replica; in the backlog it would wait for nothing.
}

/// From the first byte of a connection to its last.
async fn connection(stream: TcpStream, peer: SocketAddr, door: Door, seat: (Seats, Seat), gateway: Arc<Gateway>) {
    let (seats, _seat) = seat;
    // A listener on [::] sees IPv4 clients as ::ffff:a.b.c.d; the record, like a person, knows them as a.b.c.d.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let greeted = tokio::time::timeout(HANDSHAKE, greet(stream, peer, &door, &seats)).await;
    let (client, _share, stream) = match greeted.unwrap_or(Err(Turned::Handshake)) {
        Ok(greeted) => greeted,
        Err(why) => {
            tracing::debug!(%peer, why = why.as_str(), "turned away");
            return gateway.telemetry.turned_away(why);
        }
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let traffic = Traffic {
        peer: client,
        requests: TaskTracker::new(),
        begun: Arc::default(),
        written: stream.get_ref().0.written(),
        deliveries: Deliveries::new(),
    };
    // By ALPN alone, not by what the first bytes look like: on a connection that was agreed to be HTTP/1.1, an HTTP/2 preface is a fault.
    match h2 {
        true => carry_h2(stream, &traffic, gateway).await,
        false => carry_h1(stream, &traffic, gateway).await,
    }
}

/// Who it is, its share of its source's connections, and the TLS session.
async fn greet(
    mut stream: TcpStream,
    peer: SocketAddr,
    door: &Door,
    seats: &Seats,
) -> Result<(SocketAddr, seats::Share, TlsStream<Socket<TcpStream>>), Turned> {
    stream.set_nodelay(true).map_err(|_| Turned::Handshake)?;
    let client = match door.trusted.has(peer.ip()) {
        true => proxy::client(&mut stream).await.map_err(|error| {
            // The operator must act: all who come this way are turned away. Who only looks whether the port is open says nothing and leaves.
            if error.kind() != io::ErrorKind::UnexpectedEof {
                tracing::warn!(%peer, %error, "a trusted proxy sent no PROXY header that can be read");
            }
            Turned::Proxy
        })?,
        false => None,
    };
    let client = client.unwrap_or(peer);
    let share = seats.share(client.ip()).ok_or(Turned::Source)?;
    let stream = door
        .tls
        .accept(Socket::new(stream, STALL))
        .await
        .map_err(|_| Turned::Handshake)?;
    Ok((client, share, stream))
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Delivery>, Infallible>> + Send>>;

/// What happens on one connection.
struct Traffic {
    peer: SocketAddr,
    /// Those that have not ended.
    requests: TaskTracker,
    /// How many there ever were.
    begun: Arc<AtomicU64>,
    /// Bytes that the client took.
    written: Arc<AtomicU64>,
    /// Whole answers that it did not take yet.
    deliveries: Deliveries,
}

async fn carry_h1<S>(stream: S, traffic: &Traffic, gateway: Arc<Gateway>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let guarded = Guarded::new(stream, HEAD);
    let service = traffic.service(gateway.clone(), Some(guarded.found()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None) // `Guarded` has it, by the head instead of by the wait
        .max_buf_size(2 * HEAD_BYTES) // never the first to say that a head is too large
        // No `pipeline_flush`: with bytes left in its buffer hyper then closes without the answer that it was to close behind.
        .serve_connection(TokioIo::new(guarded), service_fn(service));
    traffic.carry(connection, &gateway).await;
}

async fn carry_h2<S>(stream: S, traffic: &Traffic, gateway: Arc<Gateway>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = traffic.service(gateway.clone(), None);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(TokioIo::new(stream), service_fn(service));
    traffic.carry(connection, &gateway).await;
}

impl Traffic {
    /// `found`: what was wrong with the bytes, if this connection's framing is ours to see.
    fn service(&self, gateway: Arc<Gateway>, found: Option<Found>) -> impl Fn(Request<Incoming>) -> Answering + use<> {
        let (peer, requests, begun) = (self.peer, self.requests.clone(), self.begun.clone());
        let deliveries = self.deliveries.clone();
        move |request| {
            begun.fetch_add(1, Ordering::Relaxed);
            if request.method().as_str() == FAULTY
                && let Some(fault) = found.as_ref().and_then(|found| found.get())
            {
                let reply = gateway
                    .refuse_unframed(*fault, peer)
                    .map(|body| deliveries.deliver(body));
                return Box::pin(async move { Ok(reply) });
            }
            let head = request.method() == Method::HEAD;
            let last = request.version() < Version::HTTP_2 && wants_upgrade(request.headers());
            let raw = RawRequest {
                request,
                peer,
                under_way: requests.token(),
            };
            let (reply, deliveries) = (gateway.clone().serve(raw), deliveries.clone());
            // On the heap: on HTTP/2, hyper keeps this future's room until the answer has been sent, and a watch is sent for half an hour.
            Box::pin(async move {
                let mut reply = reply.await;
                // RFC 9110 9.3.2: no content in an answer to HEAD. On HTTP/2 hyper would send it, and the client would see a broken stream.
                if head {
                    *reply.body_mut() = ReplyBody::whole(Bytes::new());
                }
                // None is accepted here. What follows was written for another protocol, or to look so (CVE-2018-1002105): nobody reads it.
                if last {
                    reply
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(reply.map(|body| deliveries.deliver(body)))
            })
        }
    }

    /// Until the client ends it, nothing happens any more, or the process drains.
    async fn carry<C>(&self, connection: C, gateway: &Gateway)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let mut connection = pin!(connection);
        tokio::select! {
            end = connection.as_mut() => return self.ended(end, gateway),
            () = gateway.tasks.closing() => {}
            () = self.idle(IDLE) => {}
            () = self.deliveries.overdue() => {
                return tracing::debug!(peer = %self.peer, "connection closed: its client did not take what was answered");
            }
        }
        // What comes in the meantime is still served.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            end = connection => self.ended(end, gateway),
            () = self.given_up() => tracing::debug!(peer = %self.peer, "connection closed: its client did not take what was answered"),
        }
    }

    fn ended(&self, end: Result<(), hyper::Error>, gateway: &Gateway) {
        if let Err(error) = end {
            // What the framer let pass and hyper did not; it has answered by itself.
            if error.is_parse() {
                gateway.telemetry.unframed(Fault::RequestLine.reason());
            }
            tracing::debug!(%error, peer = %self.peer, "connection ended");
        }
    }

    /// Resolves when no request is under way, none has come and next to nothing was taken for `patience`.
    async fn idle(&self, patience: Duration) {
        let now = || (self.begun.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        loop {
            let (begun, written) = now();
            tokio::time::sleep(patience).await;
            let (begun_since, written_since) = now();
            if self.requests.is_empty() && begun == begun_since && written_since - written < IDLE_BYTES {
                return;
            }
        }
    }

    /// Resolves when everything that came on a connection was answered and the client has had its time to read it.
    async fn given_up(&self) {
        self.requests.close();
        self.requests.wait().await;
        tokio::time::sleep(FLUSH).await;
    }
}
