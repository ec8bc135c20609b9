//! Local OIDC issuers: sign tokens for the identities of `mantlet dev`, and show the keys that these are verified with.
//!
//! In: the data directory, a name and the address that an issuer is reached at. Out: tokens ([`DevIssuer::mint`], no network needed, so that
//! `mantlet dev token` can sign in its own process) and two public documents for each over TLS ([`serve`]).
//! One issuer for each population, with a key of its own: whom an issuer vouches for is a matter of which issuer it is.
//! Refuses: a key file that others may read; requests with a `Host` that is not its own (DNS rebinding).
//! Does not authenticate anybody: whoever can read the key file is whoever they say. It is no boundary against processes of the same user.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use mantlet_core::time::Timestamp;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::ca::{CertificateFault, check_private, write_private};

/// Tokens of the sandbox live this long.
pub const LIFE: Duration = Duration::from_secs(10 * 60);

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/jwks";

/// More connections at once than a gateway ever opens; the rest wait in the listener's queue.
const MOST_CONNECTIONS: usize = 32;
const CONNECTION_LIFE: Duration = Duration::from_secs(30);

/// One issuer of a data directory.
#[derive(Debug)]
pub struct DevIssuer {
    url: String,
    key: EcdsaKeyPair,
    key_id: String,
}

/// Somebody to sign a token for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub subject: String,
    pub groups: Vec<String>,
    /// Further claims, such as `sid` or `run_id`. The issuer's own claims cannot be set here.
    pub claims: Map<String, Value>,
}

/// A signed token and when it ends.
pub struct Minted {
    pub token: String,
    pub expires: Timestamp,
}

/// Why there is no local issuer.
#[derive(Debug, thiserror::Error)]
pub enum IssuerFault {
    #[error("no local issuer in `{}`\nhint: start `mantlet dev` with this data directory first", .0.display())]
    Absent(PathBuf),
    #[error("cannot read `{}`: {error}", path.display())]
    Read { path: PathBuf, error: String },
    #[error(transparent)]
    File(#[from] CertificateFault),
    #[error("the cryptographic library refused: {0}")]
    Crypto(&'static str),
}

impl DevIssuer {
    /// The issuer `name` of `dir`, its key made if it is the first time. `url` is kept beside it for [`DevIssuer::load`]; it is
    /// `https://HOST:PORT/PATH`, no `/` at the end.
    pub fn open(dir: &Path, name: &str, url: &str) -> Result<Self, IssuerFault> {
        let [key_path, url_path] = files(dir, name);
        if !key_path.exists() {
            write_private(&key_path, make_key()?.as_bytes())?;
        }
        write_private(&url_path, url.as_bytes())?;
        Self::load(dir, name)
    }

    /// The issuer `name` that `mantlet dev` left in `dir`; for processes beside it.
    pub fn load(dir: &Path, name: &str) -> Result<Self, IssuerFault> {
        let [key_path, url_path] = files(dir, name);
        if !key_path.exists() || !url_path.exists() {
            return Err(IssuerFault::Absent(dir.to_owned()));
        }
        check_private(&key_path)?;
        let read = |path: PathBuf, error: String| IssuerFault::Read { path, error };
        let url = std::fs::read_to_string(&url_path).map_err(|e| read(url_path, e.to_string()))?;
        let der = PrivatePkcs8KeyDer::from_pem_file(&key_path).map_err(|e| read(key_path.clone(), e.to_string()))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            .map_err(|e| read(key_path, e.to_string()))?;
        let key_id = thumbprint(&key);
        Ok(Self {
            url: url.trim().to_owned(),
            key,
            key_id,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A token for `identity`, valid from now on.
    pub fn mint(
        &self,
        identity: &Identity,
        audience: &str,
        now: Timestamp,
        life: Duration,
    ) -> Result<Minted, IssuerFault> {
        let expires = now.after(life);
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key_id}).to_string();
        let claims = self.claims(identity, audience, now, expires)?.to_string();
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| IssuerFault::Crypto("nothing was signed"))?;
        Ok(Minted {
            token: format!("{signed}.{}", encode(signature)),
            expires,
        })
    }

    fn claims(
        &self,
        identity: &Identity,
        audience: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Value, IssuerFault> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| IssuerFault::Crypto("no random bytes"))?;
        let own = json!({
            "iss": self.url, "sub": identity.subject, "aud": audience, "groups": identity.groups, "jti": encode(id),
            "iat": now.seconds(), "nbf": now.seconds(), "exp": expires.seconds(),
        });
        let mut claims = identity.claims.clone();
        if let Value::Object(own) = own {
            claims.extend(own);
        }
        Ok(Value::Object(claims))
    }

    /// RFC 7517; one key.
    pub fn keys(&self) -> Value {
        let (x, y) = coordinates(&self.key);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id, "x": x, "y": y}]})
    }

    /// OpenID Connect Discovery 1.0 §3, as far as a verifier looks at it.
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.url, "jwks_uri": format!("{}{KEYS}", self.url), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The document at `path`, if it is one of this issuer's.
    fn document(&self, path: &str) -> Option<Value> {
        match path.strip_prefix(self.path())? {
            DISCOVERY => Some(self.discovery()),
            KEYS => Some(self.keys()),
            _ => None,
        }
    }

    /// What follows the host in the URL; empty if nothing does.
    fn path(&self) -> &str {
        let rest = self.url.strip_prefix("https://").unwrap_or(&self.url);
        rest.find('/').map_or("", |at| &rest[at..])
    }
}

/// Answers for all `issuers` until dropped, or until the listener fails. The connections end with it.
pub async fn serve(
    issuers: Vec<DevIssuer>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
) -> io::Result<Infallible> {
    let port = listener.local_addr()?.port();
    let (issuers, acceptor) = (Arc::new(issuers), TlsAcceptor::from(tls));
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MOST_CONNECTIONS {
            connections.join_next().await;
        }
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The client's fault: it went away between connecting and now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let connection = connection(issuers.clone(), stream, acceptor.clone(), port);
        connections.spawn(tokio::time::timeout(CONNECTION_LIFE, connection));
    }
}

async fn connection(issuers: Arc<Vec<DevIssuer>>, stream: TcpStream, acceptor: TlsAcceptor, port: u16) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(
            &issuers,
            request.method(),
            request.uri().path(),
            request.headers(),
            port,
        );
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(5))
        .max_buf_size(16 * 1024);
    // A client that breaks off harms nobody, and there is nothing to do about it.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(
    issuers: &[DevIssuer],
    method: &Method,
    path: &str,
    headers: &header::HeaderMap,
    port: u16,
) -> Response<Full<Bytes>> {
    if !is_own_host(headers, port) {
        return plain(StatusCode::MISDIRECTED_REQUEST, "this host name is not the issuer's");
    }
    if method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    match issuers.iter().find_map(|issuer| issuer.document(path)) {
        Some(document) => json_answer(&document),
        None => plain(StatusCode::NOT_FOUND, "not found"),
    }
}

/// A page of another origin whose name was made to point at loopback still sends its own name.
fn is_own_host(headers: &header::HeaderMap, port: u16) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    ["127.0.0.1", "[::1]", "localhost"]
        .iter()
        .any(|name| host.as_bytes() == format!("{name}:{port}").as_bytes())
}

fn json_answer(value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn files(dir: &Path, name: &str) -> [PathBuf; 2] {
    [
        dir.join(format!("issuer-{name}.key")),
        dir.join(format!("issuer-{name}.url")),
    ]
}

fn make_key() -> Result<String, IssuerFault> {
    let key = rcgen::KeyPair::generate().map_err(|_| IssuerFault::Crypto("no key was made"))?;
    Ok(key.serialize_pem())
}

/// SEC 1 §2.3.3: an uncompressed point is `04 || x || y`.
fn coordinates(key: &EcdsaKeyPair) -> (String, String) {
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    (encode(x), encode(y))
}

/// RFC 7638: the required members in lexical order, hashed.
fn thumbprint(key: &EcdsaKeyPair) -> String {
    let (x, y) = coordinates(key);
    encode(digest(
        &SHA256,
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes(),
    ))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What an exec plugin prints (client-go `pkg/apis/clientauthentication/v1/types.go`).
pub fn exec_credential(minted: &Minted) -> Value {
    json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"expirationTimestamp": minted.expires.to_seconds_text(), "token": minted.token},
    })
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod scratch {
    use std::path::{Path, PathBuf};

    /// A directory that goes with the test.
    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mantlet-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use mantlet_core::identity::issuer::resolve;
    use mantlet_core::identity::keys::KeySet;
    use mantlet_core::identity::token::{Keys, Verifier};
    use mantlet_core::identity::{Population, Verified};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::ca::Certificates;
    use super::scratch::Scratch;
    use super::*;

    const URL: &str = "https://127.0.0.1:8444/agents";
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn coder() -> Identity {
        let claims = json!({"run_id": "r1", "sub": "admin", "exp": 9_999_999_999_i64});
        let Value::Object(claims) = claims else { unreachable!() };
        Identity {
            subject: "coder".into(),
            groups: vec!["dev".into()],
            claims,
        }
    }

    fn verify(issuer: &DevIssuer, token: &str) -> Verified {
        let written = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{"issuer": {"url": URL, "audiences": ["mantlet"]},
                     "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": ""}}}],
        });
        let issuers = resolve(
            &serde_json::from_value(written).unwrap(),
            &[(URL.into(), Population::Agents)],
        )
        .unwrap();
        let keys = Arc::new(KeySet::parse(issuer.keys().to_string().as_bytes()).unwrap());
        Verifier::new(issuers)
            .verify(token, &|_| Keys::Known(keys.clone()), NOW)
            .unwrap()
    }

    #[test]
    fn a_token_made_by_a_process_beside_verifies_with_the_served_key() {
        let dir = Scratch::new("issuer-mint");
        let serving = DevIssuer::open(dir.path(), "agents", URL).unwrap();
        let minted = DevIssuer::load(dir.path(), "agents")
            .unwrap()
            .mint(&coder(), "mantlet", NOW, LIFE)
            .unwrap();
        let verified = verify(&serving, &minted.token);
        assert_eq!(
            (verified.username(), verified.groups()),
            ("coder", &["dev".to_owned()][..])
        );
        assert_eq!(verified.expires(), NOW.after(LIFE));
        assert_eq!(verified.claims()["run_id"], "r1");
    }

    #[test]
    fn the_key_outlives_a_start_and_belongs_to_its_owner() {
        let dir = Scratch::new("issuer-key");
        assert!(matches!(
            DevIssuer::load(dir.path(), "agents"),
            Err(IssuerFault::Absent(_))
        ));
        let first = DevIssuer::open(dir.path(), "agents", URL).unwrap();
        let second = DevIssuer::open(dir.path(), "agents", "https://127.0.0.1:9999").unwrap();
        assert_eq!(first.keys(), second.keys());
        assert_eq!(
            DevIssuer::load(dir.path(), "agents").unwrap().url(),
            "https://127.0.0.1:9999"
        );
        let key = dir.path().join("issuer-agents.key");
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert!(matches!(
            DevIssuer::load(dir.path(), "agents"),
            Err(IssuerFault::File(CertificateFault::Exposed(_)))
        ));
    }

    #[test]
    fn a_foreign_host_name_gets_nothing() {
        let dir = Scratch::new("issuer-host");
        let issuers = [DevIssuer::open(dir.path(), "agents", URL).unwrap()];
        let ask = |hosts: &[&'static str], path| {
            let mut headers = header::HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, header::HeaderValue::from_static(host));
            }
            answer(&issuers, &Method::GET, path, &headers, 8444).status()
        };
        assert_eq!(
            ask(&["127.0.0.1:8444"], "/agents/.well-known/openid-configuration"),
            StatusCode::OK
        );
        assert_eq!(ask(&["localhost:8444"], "/agents/jwks"), StatusCode::OK);
        for absent in ["/jwks", "/agents/token", "/people/jwks", "/agents/jwks/"] {
            assert_eq!(ask(&["127.0.0.1:8444"], absent), StatusCode::NOT_FOUND, "{absent}");
        }
        for foreign in [
            &["evil.example:8444"][..],
            &["127.0.0.1"],
            &["127.0.0.1:8445"],
            &[],
            &["localhost:8444", "localhost:8444"],
        ] {
            assert_eq!(
                ask(foreign, "/agents/jwks"),
                StatusCode::MISDIRECTED_REQUEST,
                "{foreign:?}"
            );
        }
    }

    #[tokio::test]
    async fn each_issuer_shows_its_own_key_to_who_trusts_the_authority() {
        let dir = Scratch::new("issuer-serve");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = |name| DevIssuer::open(dir.path(), name, &format!("https://127.0.0.1:{port}/{name}")).unwrap();
        let (agents, people) = (open("agents"), open("people"));
        let expected = [agents.keys(), people.keys()];
        assert_ne!(expected[0], expected[1]);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let certificates =
            Certificates::open(dir.path(), Timestamp::from_seconds(i64::try_from(now).unwrap())).unwrap();
        let tls = certificates.server_config(&[b"http/1.1"]).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(vec![agents, people], listener, tls));
        for (name, keys) in ["agents", "people"].iter().zip(expected) {
            let text = get(&certificates.authority, port, &format!("/{name}/jwks")).await;
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert_eq!(serde_json::from_str::<Value>(body).unwrap(), keys);
        }
    }

    async fn get(authority: &Path, port: u16, path: &str) -> String {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_file(authority).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector
            .connect("127.0.0.1".try_into().unwrap(), stream)
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[test]
    fn the_exec_credential_is_what_kubectl_reads() {
        let credential = exec_credential(&Minted {
            token: "a.b.c".into(),
            expires: NOW,
        });
        assert_eq!(credential["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(
            credential["status"],
            json!({"expirationTimestamp": "2027-01-15T08:00:00Z", "token": "a.b.c"})
        );
    }
}
