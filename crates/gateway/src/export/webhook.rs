//! An audit webhook, as `--audit-webhook-config-file` names one: an `EventList` is POSTed to the server of a kubeconfig.
//!
//! What a receiver answers with 400, 413 or 422 is sent again in halves, and a single event without its bodies (as `--audit-webhook-truncate-enabled`
//! has it); everything else waits. TLS only, HTTP/1.1, one connection, one request at a time: the order of events is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mantlet_api::audit::{Event, EventList};
use mantlet_kubeconfig::Credential;
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tasks::Tasks;

#[derive(Debug)]
pub struct Webhook {
    credential: Credential,
    tasks: Tasks,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// In the order in which they are sent.
    waiting: VecDeque<Vec<Event>>,
    taken: Vec<Event>,
    /// Of what was taken and is not waiting yet.
    bytes: usize,
}

/// apiserver `pkg/server/options/audit.go`: `--audit-webhook-batch-max-size` and `--audit-webhook-truncate-max-batch-size`.
const EVENTS: usize = 400;
const BYTES: usize = 10 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// An answer is not read further.
const ANSWER: usize = 64 << 10;

#[derive(Debug)]
enum Unsent {
    /// These events are not taken as they are.
    Refused(StatusCode),
    Failed(String),
}

impl Webhook {
    pub fn new(credential: Credential, tasks: Tasks) -> Self {
        Self {
            credential,
            tasks,
            connection: None,
            waiting: VecDeque::new(),
            taken: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += serde_json::to_vec(&event).map_or(0, |text| text.len());
        self.taken.push(event);
        if self.is_full() {
            self.pack();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= EVENTS || self.bytes >= BYTES || self.waiting.len() > 1
    }

    pub(super) async fn flush(&mut self) -> Result<(), String> {
        self.pack();
        while let Some(events) = self.waiting.front() {
            let sent = tokio::time::timeout(
                PATIENCE,
                post(&self.credential, &self.tasks, &mut self.connection, events),
            )
            .await;
            match sent.unwrap_or_else(|_| Err(Unsent::Failed(format!("no answer within {} s", PATIENCE.as_secs())))) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(Unsent::Refused(code)) => self.make_smaller(code)?,
                Err(Unsent::Failed(why)) => {
                    self.connection = None;
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    fn pack(&mut self) {
        if !self.taken.is_empty() {
            self.waiting.push_back(std::mem::take(&mut self.taken));
            self.bytes = 0;
        }
    }

    /// Halves of what was refused, or the one event without its bodies.
    fn make_smaller(&mut self, code: StatusCode) -> Result<(), String> {
        let Some(mut events) = self.waiting.pop_front() else {
            return Ok(());
        };
        if events.len() > 1 {
            let second = events.split_off(events.len() / 2);
            self.waiting.push_front(second);
            self.waiting.push_front(events);
            return Ok(());
        }
        let cut = events.iter_mut().any(without_bodies);
        let refused = events.first().map_or_else(String::new, |event| event.audit_id.clone());
        self.waiting.push_front(events);
        match cut {
            true => Ok(()),
            false => Err(format!("the receiver answers {code} to event {refused}")),
        }
    }
}

/// Whether there were any.
fn without_bodies(event: &mut Event) -> bool {
    let had = event.request_object.take().is_some() | event.response_object.take().is_some();
    if had {
        event
            .annotations
            .insert(String::from("audit.k8s.io/truncated"), String::from("true"));
    }
    had
}

async fn post(
    credential: &Credential,
    tasks: &Tasks,
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    events: &[Event],
) -> Result<(), Unsent> {
    let failed = |why: &dyn std::fmt::Display| Unsent::Failed(format!("{}: {why}", credential.server()));
    let body = serde_json::to_vec(&EventList::new(events.to_vec())).map_err(|fault| failed(&fault))?;
    let request = request(credential, body).await.map_err(|why| failed(&why))?;
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        *connection = Some(dial(credential, tasks).await.map_err(|why| failed(&why))?);
    }
    let Some(open) = connection else {
        return Err(failed(&"no connection"));
    };
    open.ready().await.map_err(|fault| failed(&fault))?;
    let answer = open.send_request(request).await.map_err(|fault| failed(&fault))?;
    let code = answer.status();
    // Read to its end, so that the connection can be used again.
    let read = Limited::new(answer.into_body(), ANSWER).collect().await;
    if read.is_err() {
        *connection = None;
    }
    match code {
        code if code.is_success() => Ok(()),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(Unsent::Refused(code))
        }
        StatusCode::UNAUTHORIZED => {
            credential.was_refused().await;
            Err(failed(&"it answers 401: check the credential in the kubeconfig"))
        }
        code => Err(failed(&format!("it answers {code}"))),
    }
}

async fn request(credential: &Credential, body: Vec<u8>) -> Result<Request<Full<Bytes>>, String> {
    let server = credential.server();
    let path = server.path_and_query().map_or("/", |path| path.as_str());
    let host = server.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json");
    if let Some(value) = credential.authorization().await.map_err(|fault| fault.to_string())? {
        request = request.header(AUTHORIZATION, value.expose_secret());
    }
    request
        .body(Full::new(Bytes::from(body)))
        .map_err(|fault| fault.to_string())
}

async fn dial(credential: &Credential, tasks: &Tasks) -> Result<SendRequest<Full<Bytes>>, String> {
    let mut tls = credential.tls();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpStream::connect((credential.host(), credential.port()))
        .await
        .map_err(|fault| fault.to_string())?;
    let stream = TlsConnector::from(Arc::new(tls))
        .connect(credential.server_name().clone(), tcp)
        .await
        .map_err(|fault| fault.to_string())?;
    let (send, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|fault| fault.to_string())?;
    tasks.keep("audit webhook connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the audit webhook ended");
        }
    });
    Ok(send)
}
