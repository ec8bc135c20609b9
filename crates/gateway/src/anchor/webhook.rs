//! A server that takes a POST of one JSON document for each checkpoint, named by a kubeconfig as `--audit-webhook-config-file` names one.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;
use mantlet_kubeconfig::Credential;
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::AnchorFault;
use super::http::{PATIENCE, exchange};

#[derive(Debug)]
pub struct Webhook(Credential);

impl Webhook {
    pub(super) fn new(credential: Credential) -> Self {
        Self(credential)
    }

    pub(super) async fn post(&self, document: String) -> Result<(), AnchorFault> {
        match tokio::time::timeout(PATIENCE, self.post_patiently(document)).await {
            Ok(done) => done,
            Err(_) => Err(AnchorFault::TooSlow),
        }
    }

    async fn post_patiently(&self, document: String) -> Result<(), AnchorFault> {
        let server = self.0.server();
        let authority = server
            .authority()
            .map(|authority| authority.as_str())
            .unwrap_or_default();
        let path = server.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "mantlet")
            .header(CONNECTION, "close");
        if let Some(bearer) = self.0.authorization().await? {
            let mut value = HeaderValue::from_str(bearer.expose_secret())
                .map_err(|_| AnchorFault::Unusable(String::from("the token of the webhook's kubeconfig is none")))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .body(Full::new(Bytes::from(document)))
            .map_err(|fault| AnchorFault::Unusable(fault.to_string()))?;
        let tcp = TcpStream::connect((self.0.host(), self.0.port()))
            .await
            .map_err(AnchorFault::Connect)?;
        let tls = TlsConnector::from(Arc::new(self.0.tls()));
        let tls = tls
            .connect(self.0.server_name().clone(), tcp)
            .await
            .map_err(AnchorFault::Connect)?;
        match exchange(tls, request).await {
            Ok(_) => Ok(()),
            Err(fault) => {
                if matches!(&fault, AnchorFault::Status { status, .. } if *status == http::StatusCode::UNAUTHORIZED) {
                    self.0.was_refused().await;
                }
                Err(fault)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A TLS server that answers each request with the next of `answers`, and gives back what it was sent.
    async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, answers: Vec<&'static str>) -> Vec<String> {
        let mut seen = Vec::new();
        for answer in answers {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = tokio_rustls::TlsAcceptor::from(tls.clone()).accept(tcp).await.unwrap();
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).ends_with('}') {
                let mut chunk = [0; 4096];
                let count = stream.read(&mut chunk).await.unwrap();
                request.extend_from_slice(&chunk[..count]);
            }
            let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            seen.push(String::from_utf8(request).unwrap());
        }
        seen
    }

    fn kubeconfig(port: u16, ca: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("mantlet-webhook-{}-{port}", std::process::id()));
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "anchor",
            "clusters": [{"name": "anchor", "cluster": {
                "server": format!("https://127.0.0.1:{port}/checkpoints"), "certificate-authority-data": STANDARD.encode(ca)
            }}],
            "contexts": [{"name": "anchor", "context": {"cluster": "anchor", "user": "anchor"}}],
            "users": [{"name": "anchor", "user": {"token": "t0ken"}}],
        });
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    #[tokio::test]
    async fn a_document_is_posted_and_a_refusal_is_a_fault() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let path = kubeconfig(listener.local_addr().unwrap().port(), &certificate.pem());
        let source = mantlet_kubeconfig::Source::File {
            path: path.clone(),
            context: None,
        };
        let webhook = Webhook::new(mantlet_kubeconfig::load(source).await.unwrap());
        let answers = vec!["200 OK", "503 Service Unavailable"];
        // The third comes when nobody listens any more.
        let (seen, (first, second, third)) = tokio::join!(serve(listener, Arc::new(tls), answers), async {
            let post = || webhook.post(String::from(r#"{"kind":"Checkpoint"}"#));
            (post().await, post().await, post().await)
        });
        assert!(first.is_ok(), "{first:?}");
        assert!(
            matches!(&second, Err(AnchorFault::Status { status, said }) if status.as_u16() == 503 && said == "no"),
            "{second:?}"
        );
        assert!(third.is_err());
        let request = &seen[0];
        assert!(request.starts_with("POST /checkpoints HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("authorization: Bearer t0ken\r\n") && request.ends_with(r#"{"kind":"Checkpoint"}"#),
            "{request}"
        );
        std::fs::remove_file(path).unwrap();
    }
}
