//! Requests as no honest client writes them: bytes on a TLS connection, and HTTP/2 without a library's manners where it has none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mantlet_stories::World;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(15);
/// Neither an answer nor an end came in time.
const NOTHING: u16 = 1;

/// What came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// 0: the connection ended without an answer.
    pub(crate) code: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// HTTP/1.1: the connection was closed after it. HTTP/2: the stream or connection was reset instead of it.
    pub(crate) closed: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// `reason` of the Status in the body.
    pub(crate) fn reason(&self) -> String {
        let status = serde_json::from_str::<serde_json::Value>(&self.body).unwrap_or_default();
        status["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Method, path, headers and body of a request that can be said in both versions of HTTP.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str, token: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: vec![("Authorization".into(), format!("Bearer {token}"))],
            body: Vec::new(),
        }
    }

    pub(crate) fn json(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.push(("Content-Type".into(), content_type.into()));
        self.body = body.into();
        self
    }

    /// As HTTP/1.1, byte for byte as it was written down.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = format!(
            "{} {} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n",
            self.method, self.path
        )
        .into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !self.body.is_empty() {
            out.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

pub(crate) async fn connect(world: &World, protocol: &[u8]) -> TlsStream<TcpStream> {
    connect_after(world, protocol, b"").await.unwrap()
}

/// The same with something said before TLS begins.
pub(crate) async fn connect_after(world: &World, protocol: &[u8], before: &[u8]) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(world.address).await?;
    stream.write_all(before).await?;
    over(world, protocol, stream).await
}

/// TLS over a connection that is there.
pub(crate) async fn over(world: &World, protocol: &[u8], stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(&world.authority).unwrap() {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::from(world.address.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Sends `bytes` on an HTTP/1.1 connection of their own and reads the first answer, and, if asked, whether the connection ends with it.
pub(crate) async fn h1(world: &World, bytes: &[u8], closes: bool) -> Answer {
    let stream = connect(world, b"http/1.1").await;
    exchange(stream, bytes, closes).await
}

pub(crate) async fn exchange(stream: TlsStream<TcpStream>, bytes: &[u8], closes: bool) -> Answer {
    let (mut read, mut write) = tokio::io::split(stream);
    let bytes = bytes.to_vec();
    let headless = bytes.starts_with(b"HEAD ");
    // It may answer before it has read everything.
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        let _ = write.flush().await;
        write
    });
    let (mut all, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    let mut answer = loop {
        let Ok(count) = tokio::time::timeout(PATIENCE, read.read(&mut chunk)).await else {
            return Answer {
                code: NOTHING,
                body: String::from_utf8_lossy(&all).into_owned(),
                ..Answer::default()
            };
        };
        let count = count.unwrap_or(0);
        all.extend_from_slice(&chunk[..count]);
        match whole(&all) {
            Some(answer) => break answer,
            None if headless && all.ends_with(b"\r\n\r\n") => break begun(&all).unwrap_or_default(),
            None if count == 0 => break begun(&all).unwrap_or_default(),
            None => {}
        }
    };
    if closes && answer.code != NOTHING {
        let end = tokio::time::timeout(PATIENCE, read.read(&mut chunk)).await;
        answer.closed = matches!(end, Ok(Ok(0) | Err(_)));
    }
    sending.abort();
    answer
}

fn begun(all: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(all);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let code = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer {
        code,
        headers,
        body: body.to_owned(),
        closed: false,
    })
}

fn whole(all: &[u8]) -> Option<Answer> {
    let mut answer = begun(all)?;
    if answer.code == 100 {
        let rest = String::from_utf8_lossy(all)
            .split_once("\r\n\r\n")
            .map(|(_, rest)| rest.to_owned())?;
        return whole(rest.as_bytes());
    }
    if answer.header("transfer-encoding").is_some() {
        if !answer.body.ends_with("0\r\n\r\n") {
            return None;
        }
        answer.body = unchunked(&answer.body);
        return Some(answer);
    }
    let length: usize = answer
        .header("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    (answer.body.len() >= length).then_some(answer)
}

fn unchunked(body: &str) -> String {
    let (mut out, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        out.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    out
}

/// The sending side of an HTTP/2 connection.
pub(crate) type H2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

pub(crate) async fn h2(world: &World) -> H2 {
    let stream = connect(world, b"h2").await;
    let (send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    send
}

/// Sends one request on `connection`; `None` where the library will not say it.
pub(crate) async fn ask_h2(connection: &mut H2, ask: &Ask) -> Option<Answer> {
    let mut request = http::Request::builder()
        .method(ask.method.as_str())
        .uri(format!("https://gateway{}", ask.path));
    for (name, value) in &ask.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    let request = request.body(Full::new(Bytes::from(ask.body.clone()))).ok()?;
    let answered = async {
        let Ok(response) = connection.send_request(request).await else {
            return Answer {
                closed: true,
                ..Answer::default()
            };
        };
        let (parts, body) = response.into_parts();
        let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers.iter().map(|(n, v)| (n.to_string(), text(v))).collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
            closed: false,
        }
    };
    Some(
        tokio::time::timeout(PATIENCE, answered)
            .await
            .expect("an answer, or the end"),
    )
}

/// A request body in Kubernetes' protobuf: `k8s\0` and `runtime.Unknown`.
pub(crate) fn protobuf(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

/// A length-delimited field.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}
