//! An S3 bucket: an object for each checkpoint, kept from change by object lock where that is asked for.
//!
//! In: a checkpoint. Out: `PREFIX/WRITER/NUMBER.json`, or (for `mantlet sessions verify`) every version of every such object.
//! Signed by AWS Signature Version 4, by hand: two kinds of request need no SDK, and `object_store` sends no lock headers.
//! Every version is read, not the latest: who has the gateway's credentials can add versions, but not take away what is locked.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use mantlet_core::time::Timestamp;
use mantlet_store::{Anchor, Due};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::AnchorFault;
use super::http::{PATIENCE, exchange};

/// `recording.anchor.s3`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
    pub region: String,
    /// `https://…`, or `http://` on loopback.
    pub endpoint: Uri,
    pub lock: Option<Lock>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: &'static str,
    pub days: u32,
}

/// As the AWS tools read them from the environment.
#[derive(Debug)]
pub struct Credentials {
    id: String,
    secret: SecretString,
    session: Option<SecretString>,
}

pub struct S3 {
    config: S3Config,
    credentials: Credentials,
    tls: TlsConnector,
}

/// The newest objects that `verify` looks at: a checkpoint covers all before it.
const MOST_OBJECTS: usize = 1_000;

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    pub fn new(id: &str, secret: SecretString) -> Self {
        Self {
            id: id.to_owned(),
            secret,
            session: None,
        }
    }

    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if it is set, `AWS_SESSION_TOKEN`.
    pub fn from_environment() -> Result<Self, AnchorFault> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let missing = |name: &str| {
            AnchorFault::Unusable(format!(
                "`{name}` is not set\nhint: give the anchor's credentials in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
            ))
        };
        Ok(Self {
            id: read("AWS_ACCESS_KEY_ID").ok_or_else(|| missing("AWS_ACCESS_KEY_ID"))?,
            secret: read("AWS_SECRET_ACCESS_KEY")
                .ok_or_else(|| missing("AWS_SECRET_ACCESS_KEY"))?
                .into(),
            session: read("AWS_SESSION_TOKEN").map(SecretString::from),
        })
    }
}

impl S3 {
    pub fn new(config: S3Config, credentials: Credentials) -> Result<Self, AnchorFault> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|fault| AnchorFault::Unusable(fault.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config,
            credentials,
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    pub(super) async fn put(&self, due: &Due, document: String, now: Timestamp) -> Result<(), AnchorFault> {
        let key = self.key(&format!("{}/{:010}.json", due.writer, due.checkpoint));
        let mut headers = vec![
            ("content-type", String::from("application/json")),
            // An upload with a retention must carry a checksum.
            ("x-amz-checksum-sha256", STANDARD.encode(sha256(document.as_bytes()))),
        ];
        if let Some(lock) = &self.config.lock {
            let until = now.after(Duration::from_secs(u64::from(lock.days) * 24 * 60 * 60));
            headers.push(("x-amz-object-lock-mode", lock.mode.to_owned()));
            headers.push(("x-amz-object-lock-retain-until-date", until.to_seconds_text()));
        }
        self.ask(Method::PUT, &key, "", &headers, document, now).await.map(drop)
    }

    /// Every version of the newest checkpoints, as they lie there.
    pub async fn read(&self, now: Timestamp) -> Result<Vec<Anchor>, AnchorFault> {
        let mut objects = Vec::new();
        let (mut after, mut behind) = (String::new(), String::new());
        loop {
            // In the order of their names, as the signature wants them.
            let prefix = encoded(&self.key(""), false);
            let query = format!("{after}prefix={prefix}&{behind}versions=");
            let answer = self.ask(Method::GET, "", &query, &[], String::new(), now).await?;
            let text = String::from_utf8_lossy(&answer).into_owned();
            for version in between(&text, "Version") {
                let (key, id) = (first(version, "Key"), first(version, "VersionId"));
                objects.extend(key.zip(id));
            }
            let (key, id) = (first(&text, "NextKeyMarker"), first(&text, "NextVersionIdMarker"));
            match (first(&text, "IsTruncated").as_deref(), key) {
                (Some("true"), Some(key)) => {
                    after = format!("key-marker={}&", encoded(&key, false));
                    behind = id.map_or_else(String::new, |id| format!("version-id-marker={}&", encoded(&id, false)));
                }
                _ => break,
            }
        }
        objects.sort();
        let skip = objects.len().saturating_sub(MOST_OBJECTS);
        let mut anchors = Vec::new();
        for (key, version) in objects.into_iter().skip(skip) {
            let query = format!("versionId={}", encoded(&version, false));
            let answer = self.ask(Method::GET, &key, &query, &[], String::new(), now).await?;
            let place = format!("s3://{}/{key}", self.config.bucket);
            let (read, unread) = mantlet_store::read_documents(&String::from_utf8_lossy(&answer), &place);
            if let Some(unread) = unread.into_iter().next() {
                return Err(AnchorFault::Unusable(unread));
            }
            anchors.extend(read);
        }
        Ok(anchors)
    }

    fn key(&self, name: &str) -> String {
        match self.config.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    /// One signed request for an object, or for the bucket if `key` is empty. `query` is encoded, in the order of its names.
    pub async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &str,
        headers: &[(&'static str, String)],
        body: String,
        now: Timestamp,
    ) -> Result<Bytes, AnchorFault> {
        let bad = |fault: &dyn std::fmt::Display| AnchorFault::Unusable(format!("no request can be made: {fault}"));
        let path = encoded(&format!("/{}/{key}", self.config.bucket), true);
        let path = path.trim_end_matches('/').to_owned();
        let authority = self
            .config
            .endpoint
            .authority()
            .map(|a| a.as_str().to_owned())
            .unwrap_or_default();
        let mut all = vec![("host", authority)];
        all.extend(headers.iter().cloned());
        let signed = sign(
            &self.credentials,
            &self.config.region,
            &Asked {
                method: &method,
                path: &path,
                query,
                headers: all,
                body: body.as_bytes(),
            },
            now,
        );
        let target = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|fault| bad(&fault))?;
        let mut map = HeaderMap::new();
        for (name, value) in signed {
            let value = HeaderValue::from_str(&value).map_err(|fault| bad(&fault))?;
            map.insert(HeaderName::from_static(name), value);
        }
        map.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        *request.headers_mut() = map;
        match tokio::time::timeout(PATIENCE, self.dial(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(AnchorFault::TooSlow),
        }
    }

    async fn dial(&self, request: Request<Full<Bytes>>) -> Result<Bytes, AnchorFault> {
        let endpoint = &self.config.endpoint;
        let secure = endpoint.scheme_str() == Some("https");
        let host = endpoint
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let port = endpoint.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await.map_err(AnchorFault::Connect)?;
        if !secure {
            return exchange(tcp, request).await;
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| AnchorFault::Unusable(format!("`{host}` is no name of a server")))?;
        let tls = self.tls.connect(name, tcp).await.map_err(AnchorFault::Connect)?;
        exchange(tls, request).await
    }
}

/// What is signed of a request.
struct Asked<'a> {
    method: &'a Method,
    /// Encoded.
    path: &'a str,
    /// Encoded, in the order of names.
    query: &'a str,
    headers: Vec<(&'static str, String)>,
    body: &'a [u8],
}

/// All headers of the request, `authorization` among them. AWS General Reference, "Create a signed AWS API request".
fn sign(credentials: &Credentials, region: &str, asked: &Asked<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
    let moment: String = now
        .to_seconds_text()
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    let day = moment.get(..8).unwrap_or_default();
    let mut headers = asked.headers.clone();
    headers.push(("x-amz-content-sha256", hex::encode(sha256(asked.body))));
    headers.push(("x-amz-date", moment.clone()));
    if let Some(session) = &credentials.session {
        headers.push(("x-amz-security-token", session.expose_secret().to_owned()));
    }
    headers.sort();
    let mut canonical = format!("{}\n{}\n{}\n", asked.method, asked.path, asked.query);
    for (name, value) in &headers {
        let _ = writeln!(canonical, "{name}:{}", value.trim());
    }
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let _ = write!(canonical, "\n{names}\n{}", hex::encode(sha256(asked.body)));
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}",
        hex::encode(sha256(canonical.as_bytes()))
    );
    let first = format!("AWS4{}", credentials.secret.expose_secret());
    let key = [day, region, "s3", "aws4_request"]
        .iter()
        .fold(first.into_bytes(), |key, part| mac(&key, part));
    let signature = hex::encode(mac(&key, &text));
    headers.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            credentials.id
        ),
    ));
    headers
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// RFC 3986 2.3: everything but what is unreserved; in a path slashes stay.
fn encoded(text: &str, path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if path => out.push('/'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The contents of each `<tag>…</tag>`. What is read so (keys, ids, a flag) holds nothing that XML escapes: keys are made here.
fn between<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("<{tag}>"), format!("</{tag}>"));
    let parts = text.split(begin.as_str()).skip(1);
    parts
        .filter_map(|part| part.split_once(end.as_str()).map(|(inside, _)| inside))
        .collect()
}

fn first(text: &str, tag: &str) -> Option<String> {
    between(text, tag).first().map(|inside| (*inside).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples "PUT Object" and "GET Bucket (List Objects)" of the Amazon S3 API Reference, "Signature Calculations for the
    /// Authorization Header".
    #[test]
    fn signatures_are_those_of_the_reference() {
        let credentials = Credentials {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned().into(),
            session: None,
        };
        let at = Timestamp::parse("2013-05-24T00:00:00Z").unwrap();
        let asked = Asked {
            method: &Method::GET,
            path: "/",
            query: "max-keys=2&prefix=J",
            headers: vec![("host", "examplebucket.s3.amazonaws.com".into())],
            body: b"",
        };
        let signed = sign(&credentials, "us-east-1", &asked, at);
        let authorization = &signed.iter().find(|(name, _)| *name == "authorization").unwrap().1;
        assert!(
            authorization.ends_with("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            "{authorization}"
        );
    }

    #[test]
    fn what_a_bucket_lists_is_read() {
        let text = "<ListVersionsResult><Version><Key>a/1.json</Key><VersionId>v1</VersionId></Version>\
            <DeleteMarker><Key>a/1.json</Key><VersionId>v2</VersionId></DeleteMarker><IsTruncated>false</IsTruncated></ListVersionsResult>";
        let versions = between(text, "Version");
        assert_eq!(versions.len(), 1);
        assert_eq!(
            (first(versions[0], "Key"), first(versions[0], "VersionId")),
            (Some("a/1.json".into()), Some("v1".into()))
        );
        assert_eq!(first(text, "IsTruncated").as_deref(), Some("false"));
    }
}
