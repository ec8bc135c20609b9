//! Clients that leave when they like: HTTP/1.1 by hand, HTTP/2 by hyper. Each request carries a mark that no other has.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// So much of an answer is on its way to a client that reads nothing.
const WINDOW: u32 = 64 * 1024;

/// Where the gateway is, and the marks of everything that was sent there.
#[derive(Debug)]
pub(crate) struct Sent {
    address: SocketAddr,
    authority: PathBuf,
    namespace: String,
    count: AtomicUsize,
    marks: Mutex<Vec<String>>,
}

/// What to ask for. Its mark is in the query, so that the request is known again by its URI.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) mark: String,
    pub(crate) body: Option<String>,
}

impl Sent {
    pub(crate) fn new(address: SocketAddr, authority: &Path, namespace: &str) -> Self {
        Self {
            address,
            authority: authority.to_owned(),
            namespace: namespace.to_owned(),
            count: AtomicUsize::new(0),
            marks: Mutex::default(),
        }
    }

    /// A mark per request sent.
    pub(crate) fn marks(&self) -> Vec<String> {
        self.marks.lock().unwrap().clone()
    }

    fn mark(&self) -> String {
        let mark = format!("probe{}z", self.count.fetch_add(1, Ordering::SeqCst));
        self.marks.lock().unwrap().push(mark.clone());
        mark
    }

    /// All ConfigMaps: 6 MB.
    pub(crate) fn list(&self) -> Call {
        self.read("!=", "")
    }

    pub(crate) fn watch(&self) -> Call {
        self.read("!=", "&watch=true")
    }

    /// A list of nothing.
    pub(crate) fn nothing(&self) -> Call {
        self.read("==", "")
    }

    fn read(&self, relation: &str, more: &str) -> Call {
        let mark = self.mark();
        let relation = relation.replace('!', "%21").replace('=', "%3D");
        Call {
            method: "GET",
            path: format!(
                "/api/v1/namespaces/{}/configmaps?labelSelector=mark{relation}{mark}{more}",
                self.namespace
            ),
            mark,
            body: None,
        }
    }

    /// Creates a ConfigMap that has the mark as its name.
    pub(crate) fn create(&self) -> Call {
        let mark = self.mark();
        let body = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": mark}, "data": {"a": "1"}});
        Call {
            method: "POST",
            path: format!("/api/v1/namespaces/{}/configmaps?fieldManager={mark}", self.namespace),
            mark,
            body: Some(body.to_string()),
        }
    }

    /// A merge patch, for which the law may ask for a dry-run first.
    pub(crate) fn patch(&self, name: &str) -> Call {
        let mark = self.mark();
        Call {
            method: "PATCH",
            path: format!(
                "/api/v1/namespaces/{}/configmaps/{name}?fieldManager={mark}",
                self.namespace
            ),
            body: Some(format!(r#"{{"data":{{"by":"{mark}"}}}}"#)),
            mark,
        }
    }

    /// A connection that has carried a request: what is sent on it now arrives, whenever its client leaves. (One that is reset while the server
    /// still ends the handshake, which TLS 1.3 lets a client not wait for, never was a connection.)
    pub(crate) async fn one(&self, token: &str) -> One {
        let mut one = One {
            stream: self.tls(b"http/1.1").await,
            token: token.to_owned(),
            read: Vec::new(),
        };
        one.send(&self.nothing(), |body| body).await;
        one.read_to(r#""items":[]}"#).await;
        one.read.clear();
        one
    }

    pub(crate) async fn two(&self, token: &str) -> Two {
        let (send, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(100 * WINDOW)
            .handshake(TokioIo::new(self.tls(b"h2").await))
            .await
            .unwrap();
        Two {
            connection: tokio::spawn(async move {
                let _ = connection.await;
            })
            .abort_handle(),
            send,
            token: token.to_owned(),
            address: self.address,
        }
    }

    async fn tls(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.authority).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::from(self.address.ip());
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }
}

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct One {
    stream: TlsStream<TcpStream>,
    token: String,
    read: Vec<u8>,
}

impl One {
    /// Sends the head, and as much of the body as `part` leaves of it.
    pub(crate) async fn send(&mut self, call: &Call, part: impl Fn(&str) -> &str) {
        let body = call.body.as_deref().unwrap_or_default();
        let media = match call.method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n{}",
            call.method,
            call.path,
            self.token,
            body.len(),
            part(body)
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads until the answer holds `text`.
    pub(crate) async fn read_to(&mut self, text: &str) {
        let mut piece = vec![0; 4096];
        while !String::from_utf8_lossy(&self.read).contains(text) {
            let count = self.stream.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "no `{text}` in {:?}", String::from_utf8_lossy(&self.read));
            self.read.extend_from_slice(&piece[..count]);
        }
    }

    /// Hangs up without a word.
    pub(crate) fn leave(self) {
        drop(self.stream);
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.stream.get_ref().0.set_zero_linger().unwrap();
        drop(self.stream);
    }
}

/// One HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Two {
    send: SendRequest<Part>,
    connection: AbortHandle,
    token: String,
    address: SocketAddr,
}

impl Two {
    /// Sends a request, whole or for ever unfinished; its answer is what is awaited. Dropping the answer or its body resets the stream.
    pub(crate) fn send(
        &mut self,
        call: &Call,
        whole: bool,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let media = match call.method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(call.method)
            .uri(format!("https://{}{}", self.address, call.path))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", media)
            .body(Part {
                left: call.body.clone().map(Bytes::from),
                whole,
            })
            .unwrap();
        // The request is on its way when this returns; only its answer is waited for.
        self.send.send_request(request)
    }

    /// Sends a request and reads its answer to the end, if there is one.
    pub(crate) async fn call(&mut self, call: &Call) -> Option<StatusCode> {
        let answer = self.send(call, true).await.ok()?;
        let code = answer.status();
        answer.into_body().collect().await.ok()?;
        Some(code)
    }

    /// The connection is gone, with everything on it.
    pub(crate) fn leave(self) {
        self.connection.abort();
    }
}

/// The next piece of an answer, as text.
pub(crate) async fn piece(answer: &mut Response<Incoming>) -> Option<String> {
    let frame = answer.body_mut().frame().await?.ok()?;
    Some(String::from_utf8_lossy(&frame.into_data().ok()?).into_owned())
}

/// A body that ends, or one that goes on for ever after its first piece.
#[derive(Debug)]
pub(crate) struct Part {
    left: Option<Bytes>,
    whole: bool,
}

impl Body for Part {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match (self.left.take(), self.whole) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, true) => Poll::Ready(None),
            (None, false) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole && self.left.is_none()
    }
}
