//! A client by hand: HTTP/2 with the headers that a story chooses, read as slowly as it likes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a stream of this client may hold before it is read.
const WINDOW: u32 = 64 * 1024;

/// One HTTP/2 connection, one token.
#[derive(Debug, Clone)]
pub struct Wire {
    send: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    token: String,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The name of its event.
    pub fn audit_id(&self) -> String {
        audit_id(&self.headers)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub async fn dial(address: SocketAddr, authority: &Path, token: &str) -> Self {
        let stream = tls(address, authority, b"h2").await;
        let (send, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(300 * WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self {
            send,
            address,
            token: token.to_owned(),
        }
    }

    /// The same connection, for somebody else's requests.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// Sends a request; its answer's body is unread. `media` is empty for a request without a body.
    pub async fn send(&self, method: &str, path: &str, media: &str, body: &str) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", self.token))
            .header("user-agent", "story");
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("a request");
        let mut send = self.send.clone();
        send.ready().await?;
        send.send_request(request).await
    }

    /// Sends a request and reads its answer to the end.
    pub async fn call(&self, method: &str, path: &str, media: &str, body: &str) -> hyper::Result<Answer> {
        let (parts, body) = self.send(method, path, media, body).await?.into_parts();
        Ok(Answer {
            code: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    pub async fn get(&self, path: &str) -> hyper::Result<Answer> {
        self.call("GET", path, "", "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> hyper::Result<Answer> {
        self.call("POST", path, "application/json", body).await
    }
}

pub fn audit_id(headers: &HeaderMap) -> String {
    let id = headers.get("audit-id").expect("every answer has an Audit-ID");
    id.to_str().expect("text").to_owned()
}

/// The bare connection.
pub async fn tls(address: SocketAddr, authority: &Path, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = CertificateDer::from_pem_file(authority).expect("the authority");
    roots.add(pem).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let name = ServerName::from(address.ip());
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .expect("a TLS session")
}
