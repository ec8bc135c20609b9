//! A small HTTPS client for one API server: one connection for each request, HTTP/1.1, no redirects.
//!
//! For commands and for seeding a sandbox; the gateway has its own road to the cluster and never uses this.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mantlet_kubeconfig::{Credential, KubeconfigFault, Source};
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::exit::{Exit, Fault};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);
/// The largest answer that is read as a whole, and the longest line of a watch.
const LARGEST: usize = 64 << 20;

/// Asks for the server's own table, or for the objects where a kind has none.
pub const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub const AS_JSON: &str = "application/json";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientFault {
    #[error("`{server}` cannot be reached: {why}")]
    Unreachable { server: String, why: String },
    /// The server's own words, made fit for a terminal.
    #[error("{message}")]
    Refused {
        status: StatusCode,
        reason: String,
        message: String,
    },
    #[error("the answer is larger than {LARGEST} bytes")]
    TooLarge,
    #[error(transparent)]
    Credential(#[from] KubeconfigFault),
}

impl ClientFault {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Refused { reason, .. } if reason == "ApprovalRequired" => Exit::NotApproved,
            Self::Refused { status, .. } if *status == StatusCode::FORBIDDEN => Exit::Denied,
            Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED => Exit::NotSignedIn,
            Self::Credential(KubeconfigFault::Exec { .. }) => Exit::NotSignedIn,
            Self::Refused { .. } | Self::TooLarge | Self::Credential(_) => Exit::Error,
        }
    }
}

pub struct Client {
    credential: Credential,
    connector: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

/// What is sent with a request, if anything: content type and bytes.
pub type Sent = Option<(&'static str, Bytes)>;

impl Client {
    pub async fn new(source: Source) -> Result<Self, Fault> {
        Ok(Self::with(mantlet_kubeconfig::load(source).await?))
    }

    pub fn with(credential: Credential) -> Self {
        let mut tls = credential.tls();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            credential,
            connector: TlsConnector::from(Arc::new(tls)),
        }
    }

    /// The server that is asked, for messages.
    pub fn server(&self) -> String {
        self.credential.server().to_string()
    }

    /// GET of JSON; anything but 2xx is a fault.
    pub async fn get(&self, path: &str, accept: &'static str) -> Result<Bytes, ClientFault> {
        self.send(Method::GET, path, accept, None).await?.whole().await
    }

    /// `path` starts with a slash, behind whatever the kubeconfig's server has as its path. A token that is refused is
    /// renewed and tried once more.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        sent: Sent,
    ) -> Result<Answer, ClientFault> {
        let mut answer = self.once(&method, path, accept, &sent).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.credential.was_refused().await;
            answer = self.once(&method, path, accept, &sent).await?;
        }
        let answer = Answer {
            answer,
            server: self.server(),
        };
        if answer.answer.status().is_success() {
            Ok(answer)
        } else {
            Err(answer.refusal().await)
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        accept: &'static str,
        sent: &Sent,
    ) -> Result<Response<Incoming>, ClientFault> {
        let request = self.request(method, path, accept, sent).await?;
        let lost = |why: String| ClientFault::Unreachable {
            server: self.server(),
            why,
        };
        let dial = async {
            let tcp = TcpStream::connect((self.credential.host(), self.credential.port())).await?;
            tcp.set_nodelay(true)?;
            self.connector.connect(self.credential.server_name().clone(), tcp).await
        };
        let tls = tokio::time::timeout(CONNECT, dial).await;
        let tls = tls
            .map_err(|_| lost("no connection in time".into()))?
            .map_err(|e| lost(e.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|e| lost(e.to_string()))?;
        tokio::spawn(connection);
        let answer = tokio::time::timeout(ANSWER, sender.send_request(request)).await;
        answer
            .map_err(|_| lost("no answer in time".into()))?
            .map_err(|e| lost(e.to_string()))
    }

    async fn request(
        &self,
        method: &Method,
        path: &str,
        accept: &'static str,
        sent: &Sent,
    ) -> Result<Request<Full<Bytes>>, ClientFault> {
        let server = self.credential.server();
        let authority = server.authority().map(|a| a.as_str()).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.credential.path_prefix()))
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("mantlet/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, accept);
        if let Some(token) = self.credential.authorization().await? {
            let value = HeaderValue::from_str(token.expose_secret()).map(|mut value| {
                value.set_sensitive(true);
                value
            });
            request = request.header(header::AUTHORIZATION, value.map_err(|e| self.not_sent(&e))?);
        }
        let body = match sent {
            Some((content_type, body)) => {
                request = request.header(header::CONTENT_TYPE, *content_type);
                body.clone()
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body)).map_err(|e| self.not_sent(&e))
    }

    fn not_sent(&self, why: &dyn std::fmt::Display) -> ClientFault {
        ClientFault::Unreachable {
            server: self.server(),
            why: format!("the request could not be made: {why}"),
        }
    }
}

/// An answer whose head has come.
#[derive(Debug)]
pub struct Answer {
    answer: Response<Incoming>,
    server: String,
}

impl Answer {
    pub fn status(&self) -> StatusCode {
        self.answer.status()
    }

    pub async fn whole(self) -> Result<Bytes, ClientFault> {
        let mut body = self.answer.into_body();
        let mut all = BytesMut::new();
        while let Some(data) = next(&mut body, &self.server, Some(ANSWER)).await? {
            if all.len() + data.len() > LARGEST {
                return Err(ClientFault::TooLarge);
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    /// The events of a watch, one JSON document a line.
    pub fn lines(self) -> Lines {
        Lines {
            body: self.answer.into_body(),
            held: BytesMut::new(),
            server: self.server,
        }
    }

    // What an API server says is a Status; what something else in between says is cut short.
    async fn refusal(self) -> ClientFault {
        let status = self.answer.status();
        let text = match self.whole().await {
            Ok(text) => text,
            Err(fault) => return fault,
        };
        let said: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let field = |name: &str| said.get(name).and_then(|v| v.as_str()).map(crate::table::for_terminal);
        let message = field("message")
            .filter(|m| !m.is_empty())
            .unwrap_or_else(|| format!("the server answered {status}"));
        ClientFault::Refused {
            status,
            reason: field("reason").unwrap_or_default(),
            message,
        }
    }
}

#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    held: BytesMut,
    server: String,
}

impl Lines {
    /// `None` when the server ended the stream. Waits without end for the next line.
    ///
    /// # Cancel safety
    /// Safe: what has come stays for the next call.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientFault> {
        loop {
            if let Some(end) = self.held.iter().position(|b| *b == b'\n') {
                let mut line = self.held.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if self.held.len() > LARGEST {
                return Err(ClientFault::TooLarge);
            }
            match next(&mut self.body, &self.server, None).await? {
                Some(data) => self.held.extend_from_slice(&data),
                None => return Ok(None),
            }
        }
    }
}

async fn next(body: &mut Incoming, server: &str, patience: Option<Duration>) -> Result<Option<Bytes>, ClientFault> {
    let lost = |why: String| ClientFault::Unreachable {
        server: server.to_owned(),
        why,
    };
    loop {
        let frame = match patience {
            None => body.frame().await,
            Some(patience) => tokio::time::timeout(patience, body.frame())
                .await
                .map_err(|_| lost("the answer stalled".into()))?,
        };
        match frame {
            None => return Ok(None),
            Some(Err(e)) => return Err(lost(e.to_string())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => continue,
            },
        }
    }
}
