//! Who gets the audit export: a webhook that answers as it is told, and the API server's own decoder.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An audit webhook over TLS that wants a token.
#[derive(Debug, Clone)]
pub struct Receiver {
    address: SocketAddr,
    authority: String,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    lists: Vec<Value>,
    /// What the next requests are answered with, in this order; 200 after that.
    answers: VecDeque<u16>,
    /// Lists of more events are answered with 413.
    most: Option<usize>,
}

const TOKEN: &str = "receiver-token-receiver-token";

impl Receiver {
    pub async fn listen() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).expect("parameters");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a certificate");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let receiver = Self {
            address: listener.local_addr().expect("bound"),
            authority: certificate.pem(),
            heard: Arc::default(),
        };
        tokio::spawn(receiver.clone().serve(listener, TlsAcceptor::from(Arc::new(tls))));
        receiver
    }

    /// A kubeconfig, as of `--audit-webhook-config-file`.
    pub fn kubeconfig(&self) -> String {
        let ca = STANDARD.encode(&self.authority);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "hook",
            "clusters": [{"name": "hook", "cluster": {"server": format!("https://{}/audit/mantlet", self.address), "certificate-authority-data": ca}}],
            "contexts": [{"name": "hook", "context": {"cluster": "hook", "user": "hook"}}],
            "users": [{"name": "hook", "user": {"token": TOKEN}}],
        })
        .to_string()
    }

    pub fn answer_next(&self, codes: &[u16]) {
        self.heard.lock().expect("unbroken").answers.extend(codes);
    }

    pub fn take_at_most(&self, events: usize) {
        self.heard.lock().expect("unbroken").most = Some(events);
    }

    /// Every list that was accepted.
    pub fn lists(&self) -> Vec<Value> {
        self.heard.lock().expect("unbroken").lists.clone()
    }

    /// Every event in them.
    pub fn events(&self) -> Vec<Value> {
        let lists = self.lists().into_iter();
        lists
            .flat_map(|list| list["items"].as_array().expect("items").clone())
            .collect()
    }

    async fn serve(self, listener: TcpListener, tls: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            let (receiver, tls) = (self.clone(), tls.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let receiver = receiver.clone();
                    async move { Ok::<_, Infallible>(receiver.hear(request).await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn hear(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let known = head.headers.get("authorization").and_then(|value| value.to_str().ok());
        let asked = (head.method.as_str(), head.uri.to_string(), known);
        let expected = (
            "POST",
            String::from("/audit/mantlet"),
            Some(&*format!("Bearer {TOKEN}")),
        );
        let code = if asked == expected { self.take(&bytes) } else { 401 };
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::from_u16(code).expect("a code");
        response
    }

    fn take(&self, bytes: &[u8]) -> u16 {
        let mut heard = self.heard.lock().expect("unbroken");
        if let Some(code) = heard.answers.pop_front() {
            return code;
        }
        let list: Value = serde_json::from_slice(bytes).expect("JSON");
        let length = list["items"].as_array().map_or(0, Vec::len);
        if heard.most.is_some_and(|most| length > most) {
            return 413;
        }
        heard.lists.push(list);
        200
    }
}

/// The oracle of `cluster/`: what Kubernetes' own code makes of an event.
#[derive(Debug)]
pub struct Oracle {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// None where there is no oracle; `cargo xtask test` brings one along.
    pub fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("MANTLET_ORACLE").map(PathBuf::from) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "no oracle: in CI, stories are run by `cargo xtask test`"
            );
            eprintln!("skipped in part: no oracle here; `cargo xtask stories` brings one");
            return None;
        };
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the oracle starts");
        let (questions, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Some(Self {
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// How many events the API server's own decoder finds in this; unknown fields are errors.
    pub fn events_in(&mut self, object: &Value) -> usize {
        let question = json!({"op": "audit", "json": object});
        writeln!(self.questions, "{question}").expect("asked");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("answered");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(answer.get("error"), None, "of {object}");
        answer["events"].as_u64().expect("a number") as usize
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A MinIO of one's own, which speaks S3: can be killed, and started again on the same data.
#[derive(Debug)]
pub struct Minio {
    program: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Minio {
    pub const USER: &str = "minio-story-user";
    pub const PASSWORD: &str = "minio-story-password";

    /// None where there is no MinIO; `MANTLET_MINIO` names one.
    pub async fn start(data: PathBuf, bucket: &str) -> Option<Self> {
        let Some(program) = std::env::var_os("MANTLET_MINIO").map(PathBuf::from) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "no MinIO: in CI, stories are run by `cargo xtask test`"
            );
            eprintln!("skipped: MANTLET_MINIO names no MinIO");
            return None;
        };
        // A folder of its data is a bucket.
        std::fs::create_dir_all(data.join(bucket)).expect("a bucket");
        let mut minio = Self {
            program,
            data,
            address: crate::served::free(),
            child: None,
        };
        minio.restart().await;
        Some(minio)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("gone");
        }
    }

    pub async fn restart(&mut self) {
        let child = Command::new(&self.program)
            .arg("server")
            .args(["--quiet", "--address", &self.address.to_string()])
            .arg(&self.data)
            .env("MINIO_ROOT_USER", Self::USER)
            .env("MINIO_ROOT_PASSWORD", Self::PASSWORD)
            .env("MINIO_BROWSER", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("MinIO starts");
        self.child = Some(child);
        crate::eventually("MinIO is ready", std::time::Duration::from_secs(60), async || {
            let page = crate::served::page(self.address, "/minio/health/ready").await.ok()?;
            page.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The events of a file of JSON lines, so far.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is an event"));
    lines.collect()
}
