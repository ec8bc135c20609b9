//! Clients that hold on: watches on which nothing happens, and readers of a long list who stop reading.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ground::Ground;

const WATCH: &str = "/api/v1/namespaces/bench/pods?watch=true";
const LIST: &str = "/api/v1/namespaces/bench/pods";
const PATIENCE: Duration = Duration::from_secs(60);
/// What RFC 9113 gives a stream and a connection that say nothing.
const SMALLEST_WINDOW: u32 = 65_535;

/// Makes such clients, on a thread of their own.
#[derive(Debug)]
pub(crate) struct Holder {
    runtime: Runtime,
    address: SocketAddr,
    token: String,
    ground_h1: Arc<rustls::ClientConfig>,
    ground_h2: Arc<rustls::ClientConfig>,
}

/// Connections that stay until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    h1: Vec<TlsStream<TcpStream>>,
    h2: Vec<tokio::task::JoinHandle<()>>,
    bodies: Vec<Incoming>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.h2.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Held {
    fn add(&mut self, mut other: Held) {
        self.h1.append(&mut other.h1);
        self.h2.append(&mut other.h2);
        self.bodies.append(&mut other.bodies);
    }
}

impl Holder {
    pub(crate) fn new(ground: &Ground, address: SocketAddr, token: &str) -> Result<Self> {
        Ok(Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?,
            address,
            token: token.to_owned(),
            ground_h1: ground.client(b"http/1.1")?,
            ground_h2: ground.client(b"h2")?,
        })
    }

    /// Watches that have had their first event, 100 on each connection.
    pub(crate) fn watches_h2(&self, count: usize) -> Result<Held> {
        self.within(async {
            let mut held = Held::default();
            while held.bodies.len() < count {
                held.add(self.h2(WATCH, (count - held.bodies.len()).min(100)).await?);
            }
            Ok(held)
        })
    }

    /// The same, each with a connection of its own.
    pub(crate) fn watches_h1(&self, count: usize) -> Result<Held> {
        self.within(async {
            let mut held = Held::default();
            for _ in 0..count {
                held.h1.push(self.h1(WATCH).await?);
            }
            Ok(held)
        })
    }

    /// Half of them on HTTP/1.1, half on HTTP/2, each with a connection of its own: they ask for 5 MB and take the beginning.
    pub(crate) fn stalled(&self, count: usize) -> Result<Held> {
        self.within(async {
            let mut held = Held::default();
            for _ in 0..count / 2 {
                held.h1.push(self.h1(LIST).await?);
                held.add(self.h2(LIST, 1).await?);
            }
            Ok(held)
        })
    }

    fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, work).await })
            .context("clients that hold on did not get their first bytes in time")?
    }

    async fn connect(&self, tls: &Arc<rustls::ClientConfig>) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        Ok(TlsConnector::from(tls.clone()).connect(name, stream).await?)
    }

    async fn h1(&self, path: &str) -> Result<TlsStream<TcpStream>> {
        let mut stream = self.connect(&self.ground_h1).await?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\naccept: application/json\r\n\r\n",
            self.address, self.token
        );
        stream.write_all(head.as_bytes()).await?;
        // Head and first event may come apart; either way they are much longer than this.
        let mut begun = vec![0; 2048];
        stream.read_exact(&mut begun).await?;
        ensure!(
            begun.starts_with(b"HTTP/1.1 200"),
            "a watch was answered {}",
            String::from_utf8_lossy(&begun[..64])
        );
        Ok(stream)
    }

    async fn h2(&self, path: &str, streams: usize) -> Result<Held> {
        let stream = self.connect(&self.ground_h2).await?;
        let (mut send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(SMALLEST_WINDOW)
            .initial_connection_window_size(SMALLEST_WINDOW)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await?;
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut held = Held::default();
        held.h2.push(task);
        for _ in 0..streams {
            let request = Request::get(format!("https://{}{path}", self.address))
                .header("authorization", format!("Bearer {}", self.token))
                .header("accept", "application/json")
                .body(Empty::new())?;
            send.ready().await?;
            let response = send.send_request(request).await?;
            ensure!(
                response.status().is_success(),
                "a watch was answered {}",
                response.status()
            );
            let mut body = response.into_body();
            body.frame().await.context("the answer ended")??;
            held.bodies.push(body);
        }
        Ok(held)
    }
}
