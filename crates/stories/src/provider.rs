//! A real OpenID Provider (`cluster/idp`), and a client that logs in there as a browser and a device would: over plain HTTPS.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::wire;

/// The one client of the provider, and so the audience of its ID tokens.
pub const CLIENT: &str = "mantlet-idp";
const REDIRECT: &str = "http://127.0.0.1/callback";
pub const SCOPES: &str = "openid email profile groups offline_access";

/// The provider's program: `cargo xtask test` names it. Without one, the story is not told; where one could have been built, that is a failure.
pub fn program() -> Option<PathBuf> {
    let named = std::env::var_os("MANTLET_IDP").map(PathBuf::from);
    assert!(
        named.is_some() || std::env::var_os("CI").is_none(),
        "no OpenID Provider: in CI, stories are run by `cargo xtask test`, which builds one"
    );
    if named.is_none() {
        eprintln!("skipped: no OpenID Provider here; `bed build --only idp` builds it, MANTLET_IDP names it");
    }
    named
}

/// A provider that runs for as long as this is held.
#[derive(Debug)]
pub struct Provider {
    pub issuer: String,
    address: SocketAddr,
    authority: PathBuf,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What the token endpoint gave.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub id: String,
    pub refresh: String,
}

struct Page {
    status: StatusCode,
    location: String,
    text: String,
}

impl Provider {
    /// `users` as `cluster/idp` reads them; the certificate is that of a story's stage in `dir`.
    pub fn start(program: &Path, dir: &Path, users: &Value) -> Self {
        let file = dir.join("users.json");
        std::fs::write(&file, users.to_string()).expect("users");
        let mut child = Command::new(program)
            .args(["--client", CLIENT, "--redirect", REDIRECT, "--users"])
            .arg(&file)
            .arg("--cert")
            .arg(dir.join("server.crt"))
            .arg("--key")
            .arg(dir.join("server.key"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the provider starts");
        let stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it says where it is");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let issuer = said["issuer"].as_str().expect("an issuer").to_owned();
        let address = issuer.trim_start_matches("https://").parse().expect("IP and port");
        Self {
            issuer,
            address,
            authority: dir.join("ca.crt"),
            child,
            stdin,
            stdout,
        }
    }

    /// `rotate`: signs with a new key from now on. `forget`: shows no other any more.
    pub fn tell(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").expect("told");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("answered");
        assert_eq!(line, "done\n");
    }

    /// An entry of an AuthenticationConfiguration for it; `fields` beside `issuer`.
    pub fn entry(&self, fields: &Value) -> Value {
        let mut entry = fields.clone();
        let authority = std::fs::read_to_string(&self.authority).expect("the authority");
        entry["issuer"] = json!({"url": self.issuer, "audiences": [CLIENT], "certificateAuthority": authority});
        entry
    }

    /// The code flow with PKCE (RFC 7636), through the login form.
    pub async fn log_in(&self, name: &str, password: &str) -> Result<Tokens, String> {
        let endpoints = self.endpoints().await;
        let verifier = "0123456789-0123456789-0123456789-0123456789";
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let asked = form(&[
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", SCOPES),
            ("state", "as it was"),
            ("nonce", "once"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let begun = self
            .get(&format!("{}?{asked}", endpoints["authorization_endpoint"]))
            .await;
        let login = self.get(&begun.location).await;
        let id = between(&login.text, "name=\"id\" value=\"", "\"");
        let filled = [
            ("id", id.as_str()),
            ("name", name),
            ("password", password),
            ("action", "allow"),
        ];
        let filled = self.post("/login", &filled).await;
        if !filled.status.is_redirection() {
            return Err(format!(
                "{}: {}",
                filled.status,
                between(&filled.text, "role=\"alert\">", "<")
            ));
        }
        let back = self.get(&filled.location).await;
        assert!(back.location.starts_with(REDIRECT), "{} {}", back.status, back.text);
        let code = between(&format!("{}&", back.location), "code=", "&");
        let grant = [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
            ("code", &decoded(&code)),
        ];
        self.tokens(&endpoints, &grant).await
    }

    /// The device flow (RFC 8628): the user allows it, or not, on another page.
    pub async fn allow_device(&self, name: &str, password: &str, action: &str) -> Result<Tokens, String> {
        let endpoints = self.endpoints().await;
        let asked = [("client_id", CLIENT), ("scope", SCOPES)];
        let begun = self
            .post(path(&endpoints["device_authorization_endpoint"]), &asked)
            .await;
        let begun: Value = serde_json::from_str(&begun.text).expect("JSON");
        let text = |name: &str| begun[name].as_str().expect(name).to_owned();
        let (device_code, user_code) = (text("device_code"), text("user_code"));
        let grant = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", CLIENT),
            ("device_code", device_code.as_str()),
        ];
        let early = self.tokens(&endpoints, &grant).await;
        assert!(early.is_err_and(|why| why.contains("authorization_pending")));
        let page = self.get(&text("verification_uri_complete")).await;
        assert!(page.text.contains(&user_code), "{}", page.text);
        let filled = [
            ("user_code", user_code.as_str()),
            ("name", name),
            ("password", password),
            ("action", action),
        ];
        self.post("/device", &filled).await;
        self.tokens(&endpoints, &grant).await
    }

    pub async fn renew(&self, refresh: &str) -> Result<Tokens, String> {
        let grant = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", refresh),
        ];
        self.tokens(&self.endpoints().await, &grant).await
    }

    async fn endpoints(&self) -> BTreeMap<String, String> {
        let document = self.get("/.well-known/openid-configuration").await;
        let document: Value = serde_json::from_str(&document.text).expect("JSON");
        let fields = document.as_object().expect("an object").iter();
        fields
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    async fn tokens(&self, endpoints: &BTreeMap<String, String>, grant: &[(&str, &str)]) -> Result<Tokens, String> {
        let answer = self.post(path(&endpoints["token_endpoint"]), grant).await;
        let said: Value = serde_json::from_str(&answer.text).expect("JSON");
        match (answer.status, said["id_token"].as_str()) {
            (StatusCode::OK, Some(id)) => Ok(Tokens {
                id: id.to_owned(),
                refresh: said["refresh_token"].as_str().unwrap_or_default().to_owned(),
            }),
            (status, _) => Err(format!("{status}: {}", answer.text)),
        }
    }

    async fn get(&self, url: &str) -> Page {
        self.send(Method::GET, path(url), String::new()).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.send(Method::POST, path, form(fields)).await
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Page {
        let stream = wire::tls(self.address, &self.authority, b"http/1.1").await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/1.1");
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let location = head.headers.get(LOCATION).map(|l| l.to_str().expect("text").to_owned());
        let bytes = body.collect().await.expect("a body").to_bytes();
        Page {
            status: head.status,
            location: location.unwrap_or_default(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What follows the host.
fn path(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.find('/').map_or(url, |at| &rest[at..])
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    fields.join("&")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [a, b, tail @ ..]) => {
                let pair = [*a, *b];
                bytes.push(hex::decode(pair).expect("hex")[0]);
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).expect("text")
}

fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no `{before}` in {text}"));
    rest.split_once(after).expect("its end").0.to_owned()
}
