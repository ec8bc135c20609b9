//! The museum of evasions: each file in `cases/bypass` is one trick, as it was tried, and what must come of it.
//!
//! Every request is sent over HTTP/1.1 as it stands and, where it can be said there, over HTTP/2. The API server's own audit log is the
//! witness: what is refused leaves no line in it, what is served leaves exactly the line that the case names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mantlet::dev::issuer::DevIssuer;
use mantlet_core::identity::Population;
use mantlet_stories::need_bed;
use serde::Deserialize;

use crate::canary;
use crate::ground::Ground;
use crate::raw::{self, Answer, Ask, H2};

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trick {
    /// What is tried.
    trick: String,
    /// Who would be fooled by it, with the source.
    why: String,
    #[serde(rename = "as", default)]
    who: Who,
    /// Said of every request that says nothing else.
    expect: Option<Expect>,
    requests: Vec<Attempt>,
}

/// One way to try it. In all texts `$IN`, `$UP`, `$OUT`, `$TAG` are the names of the ground, `$TOKEN` the caller's token, `$AGENT` the agent's,
/// `$HIDDEN` and `$HIDDEN64` a placeholder as the gateway shows it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    /// `METHOD PATH`.
    send: Option<String>,
    /// `Name: value`, written as they stand.
    #[serde(default)]
    headers: Vec<String>,
    #[serde(rename = "type")]
    content_type: Option<String>,
    body: Option<String>,
    /// A body that is no text.
    hex: Option<String>,
    protobuf: Option<Protobuf>,
    /// Instead of `send`: HTTP/1.1 byte for byte; `\r`, `\n`, `\0` and `\xNN` are read.
    raw: Option<String>,
    /// Repeats this many times `fill` where `$FILL` stands.
    fill: Option<Fill>,
    #[serde(rename = "as")]
    who: Option<Who>,
    /// Only in this version of HTTP: the other has no words for it.
    only: Option<Version>,
    expect: Option<Expect>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fill {
    text: String,
    times: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Protobuf {
    api_version: String,
    kind: String,
    /// The message itself, in hex.
    #[serde(default)]
    raw: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Version {
    H1,
    H2,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
enum Who {
    Named(Name),
    /// A token that the issuer signs for whatever it is told.
    Claimed {
        population: String,
        subject: String,
        #[serde(default)]
        groups: Vec<String>,
    },
    /// A token that no issuer signed as it is.
    Forged {
        forge: Forge,
    },
    #[default]
    Default,
}

/// The person's honest token with another header, other claims, another signature. `$KID` in the header is the honest one's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forge {
    #[serde(default = "honest_header")]
    header: String,
    /// Put over the honest ones; null takes a claim away.
    #[serde(default)]
    claims: BTreeMap<String, serde_json::Value>,
    /// Instead of all claims, as it stands.
    payload: Option<String>,
    sign: Sign,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sign {
    /// Not at all.
    None,
    /// With the honest token's own signature.
    Kept,
    /// With a key that the forger made.
    Own,
    /// HMAC under the issuer's public key, which everybody has.
    Public,
}

fn honest_header() -> String {
    r#"{"alg":"ES256","typ":"JWT","kid":"$KID"}"#.to_owned()
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    /// cluster-admin by RBAC; by its scope only at home in `$IN`, with the Secrets `shop-*`.
    Agent,
    /// cluster-admin by RBAC, in no group that a policy names.
    Person,
    Nobody,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Expect {
    /// Any of these; 0: the connection or stream ends without an answer.
    code: Vec<u16>,
    reason: Option<String>,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
    /// The connection is closed after it.
    #[serde(default)]
    closes: bool,
    /// It is taken for this request and for no other: the path and query that the API server must have logged.
    reaches: Option<String>,
    /// How many rehearsals (`dryRun=All`) it took; none if nothing is said.
    #[serde(default)]
    rehearsals: usize,
    /// A `Kubernetes Status` or nothing: where HTTP itself ends before the gateway begins, there is none.
    #[serde(default)]
    bare: bool,
}

/// Whether a rule about real deletions is fooled by an option that the API server would not read.
const POLICIES: &str = r#"
apiVersion: mantlet.dev/v1alpha1
kind: Policy
metadata: { name: kept-is-kept }
spec:
  mode: enforce
  matchConstraints:
    resourceRules: [{ apiGroups: [""], resources: [configmaps], operations: [delete], resourceNames: [kept] }]
  matchConditions: [{ name: real, expression: "!request.dryRun" }]
  validations: [{ expression: "false", action: Deny, message: it is kept }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_trick_in_the_museum_fails() {
    let bed = need_bed!();
    let museum = museum();
    assert!(museum.len() >= 45, "only {} tricks", museum.len());
    let ground = Ground::start(bed, "museum", POLICIES).await;
    let mut visit = Visit::begin(&ground).await;
    let before = ground.snapshot().await;
    for (file, trick) in &museum {
        visit.show(file, trick).await;
    }
    visit.compare_with_the_api_server().await;
    let after = ground.snapshot().await;
    assert!(visit.faults.is_empty(), "\n{}", visit.faults.join("\n"));
    assert_eq!(before, after, "the cluster is not as it was");
    let value = ground.value.clone();
    drop(visit);
    canary::scan(&ground.world.end().await, &value);
}

fn museum() -> Vec<(String, Trick)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/bypass");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let trick: Trick = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(!trick.why.is_empty() && !trick.trick.is_empty());
            (path.file_stem().unwrap().to_string_lossy().into_owned(), trick)
        })
        .collect()
}

/// One walk through the museum.
struct Visit<'a> {
    ground: &'a Ground,
    h2: H2,
    hidden: String,
    /// Audit-IDs of answers, with what the API server must have logged of each: a path, and a number of rehearsals.
    expected: BTreeMap<String, (String, Option<String>, usize)>,
    faults: Vec<String>,
}

impl<'a> Visit<'a> {
    async fn begin(ground: &'a Ground) -> Self {
        let mut h2 = raw::h2(&ground.world).await;
        let path = format!("/api/v1/namespaces/{}/secrets/db", ground.inside);
        let seen = raw::ask_h2(&mut h2, &Ask::new("GET", &path, &ground.agent_token()))
            .await
            .unwrap();
        let secret: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        let hidden = secret["data"]["password"].as_str().unwrap().to_owned();
        let id = seen.header("audit-id").unwrap().to_owned();
        let expected = BTreeMap::from([(id, ("the placeholder".to_owned(), Some(path), 0))]);
        Self {
            ground,
            h2,
            hidden,
            expected,
            faults: Vec::new(),
        }
    }

    async fn show(&mut self, file: &str, trick: &Trick) {
        for (at, attempt) in trick.requests.iter().enumerate() {
            let expect = attempt
                .expect
                .as_ref()
                .or(trick.expect.as_ref())
                .expect("what to expect");
            let token = self.token(attempt.who.as_ref().unwrap_or(&trick.who));
            let label = format!("{file}[{at}]");
            if attempt.only != Some(Version::H2) {
                let bytes = match &attempt.raw {
                    Some(raw) => unescape(&self.fill(raw, attempt, &token)),
                    None => self.ask(attempt, &token).bytes(),
                };
                let answer = raw::h1(&self.ground.world, &bytes, expect.closes).await;
                self.judge(&format!("{label} h1"), expect, &answer);
            }
            if attempt.only != Some(Version::H1) && attempt.raw.is_none() {
                let ask = self.ask(attempt, &token);
                if let Some(answer) = raw::ask_h2(&mut self.h2, &ask).await {
                    self.judge(&format!("{label} h2"), expect, &answer);
                }
                if self.h2.is_closed() {
                    self.h2 = raw::h2(&self.ground.world).await;
                }
            }
        }
    }

    fn token(&self, who: &Who) -> Option<String> {
        match who {
            Who::Default | Who::Named(Name::Agent) => Some(self.ground.agent_token()),
            Who::Named(Name::Person) => Some(self.ground.person_token()),
            Who::Named(Name::Nobody) => None,
            Who::Claimed {
                population,
                subject,
                groups,
            } => {
                let population = match population.as_str() {
                    "people" => Population::People,
                    "agents" => Population::Agents,
                    other => panic!("there is no population `{other}`"),
                };
                let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                Some(self.ground.world.token(population, &self.ground.fill(subject), &groups))
            }
            Who::Forged { forge } => Some(self.forge(forge)),
        }
    }

    fn forge(&self, forge: &Forge) -> String {
        let honest = self.ground.person_token();
        let parts: Vec<&str> = honest.split('.').collect();
        let read =
            |part: &str| serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let header = forge.header.replace("$KID", read(parts[0])["kid"].as_str().unwrap());
        let mut claims = read(parts[1]);
        for (name, value) in &forge.claims {
            match value {
                serde_json::Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let payload = forge.payload.clone().unwrap_or_else(|| claims.to_string());
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = match forge.sign {
            Sign::None => String::new(),
            Sign::Kept => parts[2].to_owned(),
            Sign::Own => {
                let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                URL_SAFE_NO_PAD.encode(key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap())
            }
            Sign::Public => {
                let keys = DevIssuer::load(&self.ground.world.dir, "people")
                    .unwrap()
                    .keys()
                    .to_string();
                let key = hmac::Key::new(hmac::HMAC_SHA256, keys.as_bytes());
                URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()))
            }
        };
        format!("{signed}.{signature}")
    }

    fn fill(&self, text: &str, attempt: &Attempt, token: &Option<String>) -> String {
        let filling = attempt
            .fill
            .as_ref()
            .map(|f| f.text.repeat(f.times))
            .unwrap_or_default();
        let plain = STANDARD.decode(&self.hidden).unwrap();
        self.ground
            .fill(text)
            .replace("$TOKEN", token.as_deref().unwrap_or_default())
            .replace("$AGENT", &self.ground.agent_token())
            .replace("$HIDDEN64", &self.hidden)
            .replace("$HIDDEN", &String::from_utf8(plain).unwrap())
            .replace("$FILL", &filling)
    }

    fn ask(&self, attempt: &Attempt, token: &Option<String>) -> Ask {
        let send = attempt.send.as_deref().expect("`send` or `raw`");
        let (method, path) = send.split_once(' ').unwrap();
        let mut ask = Ask {
            method: method.into(),
            path: self.fill(path, attempt, token),
            ..Ask::default()
        };
        if let Some(token) = token {
            ask.headers.push(("Authorization".into(), format!("Bearer {token}")));
        }
        for header in &attempt.headers {
            let (name, value) = header.split_once(": ").unwrap_or((header, ""));
            ask.headers.push((name.into(), self.fill(value, attempt, token)));
        }
        let body = match (&attempt.body, &attempt.hex, &attempt.protobuf) {
            (Some(text), None, None) => self.fill(text, attempt, token).into_bytes(),
            (None, Some(text), None) => hex(text),
            (None, None, Some(p)) => raw::protobuf(&p.api_version, &p.kind, &hex(&p.raw)),
            (None, None, None) => return ask,
            _ => panic!("more than one body"),
        };
        let media = match (&attempt.content_type, &attempt.protobuf) {
            (Some(named), _) => named.as_str(),
            (None, Some(_)) => "application/vnd.kubernetes.protobuf",
            (None, None) => "application/json",
        };
        match media {
            "" => ask.body = body,
            media => ask = ask.json(media, body),
        }
        ask
    }

    fn judge(&mut self, label: &str, expect: &Expect, answer: &Answer) {
        let mut wrong = Vec::new();
        if !expect.code.contains(&answer.code) {
            wrong.push(format!("code {}, not {:?}", answer.code, expect.code));
        }
        if expect.reason.as_deref().is_some_and(|reason| answer.reason() != reason) {
            wrong.push(format!("reason `{}`", answer.reason()));
        }
        let fill = |text: &String| self.ground.fill(text);
        for text in expect.says.iter().map(fill).filter(|text| !answer.body.contains(text)) {
            wrong.push(format!("it does not say `{text}`"));
        }
        for text in expect.lacks.iter().map(fill).filter(|text| answer.body.contains(text)) {
            wrong.push(format!("it says `{text}`"));
        }
        if expect.closes && !answer.closed {
            wrong.push("the connection stays open".into());
        }
        if answer.code >= 400 && !expect.bare && serde_json::from_str::<serde_json::Value>(&answer.body).is_err() {
            wrong.push("the answer is no Status".into());
        }
        if canary::found_in(answer.body.as_bytes(), &self.ground.value) {
            wrong.push("it shows the value of a Secret".into());
        }
        match answer.header("audit-id") {
            Some(id) => {
                let reaches = expect.reaches.as_ref().map(fill);
                self.expected
                    .insert(id.to_owned(), (label.to_owned(), reaches, expect.rehearsals));
            }
            None if expect.reaches.is_some() => wrong.push("no Audit-ID".into()),
            None => {}
        }
        if !wrong.is_empty() {
            let body: String = answer.body.chars().take(300).collect();
            self.faults
                .push(format!("{label}: {}; it was {} {body}", wrong.join("; "), answer.code));
        }
    }

    /// The other witness: nothing of ours is in the log but what a case names.
    async fn compare_with_the_api_server(&mut self) {
        let Some(reached) = self.ground.reached().await else {
            return;
        };
        let mut rehearsals: BTreeMap<String, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (id, logged) in &reached {
            if let Some((asked, _)) = id.split_once('.').filter(|_| logged.uri.contains("dryRun=All")) {
                *rehearsals.entry(asked.to_owned()).or_default() += 1;
                continue;
            }
            // What the law looked at for a request of ours: it reads, and no caller sees it.
            let reads = matches!(logged.verb.as_str(), "get" | "list");
            if id
                .split_once('.')
                .is_some_and(|(asked, _)| reads && self.expected.contains_key(asked))
            {
                continue;
            }
            seen.insert(id.clone());
            match self.expected.get(id) {
                Some((_, Some(path), _)) if *path == logged.uri => {}
                Some((label, wanted, _)) => self.faults.push(format!(
                    "{label}: the API server saw {} {}, not {wanted:?}",
                    logged.verb, logged.uri
                )),
                None => self.faults.push(format!(
                    "nobody's request reached the API server: {} {}",
                    logged.verb, logged.uri
                )),
            }
        }
        for (id, (label, path, wanted)) in &self.expected {
            if path.is_some() && !seen.contains(id) {
                self.faults.push(format!("{label}: the API server never saw it"));
            }
            let took = rehearsals.get(id).copied().unwrap_or(0);
            if took != *wanted {
                self.faults.push(format!("{label}: {took} rehearsals"));
            }
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let (byte, length) = match after.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'0' => (0, 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(&after[1..3], 16).unwrap(), 3),
            other => panic!("what is \\{}", char::from(other)),
        };
        out.push(byte);
        rest = &after[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

/// HTTP/2 carries requests of many on one connection, HTTP/1.1 one after the other: whose each is, its own token says.
#[tokio::test(flavor = "multi_thread")]
async fn identity_belongs_to_a_request_and_never_to_a_connection() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "whose", "").await;
    let (agent, person) = (ground.agent_token(), ground.person_token());
    let review = |token: &str| {
        let ask = Ask::new("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", token);
        ask.json(
            "application/json",
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#,
        )
    };
    let as_agent = format!("\"system:serviceaccount:{}:coder\"", ground.upstream);
    let as_person = format!("\"{}\"", ground.person());
    // 40 at once on one connection, alternating; and one without a token in between.
    let h2 = raw::h2(&ground.world).await;
    let asked = (0..40).map(|n| {
        let (token, who) = if n % 2 == 0 {
            (&agent, &as_agent)
        } else {
            (&person, &as_person)
        };
        let (mut h2, ask, who) = (h2.clone(), review(token), who.clone());
        tokio::spawn(async move { (raw::ask_h2(&mut h2, &ask).await.unwrap(), who) })
    });
    for asked in asked.collect::<Vec<_>>() {
        let (answer, who) = asked.await.unwrap();
        assert!(answer.code == 201 && answer.body.contains(&who), "{who}: {answer:?}");
    }
    let mut bare = review(&agent);
    bare.headers.remove(0);
    assert_eq!(raw::ask_h2(&mut h2.clone(), &bare).await.unwrap().code, 401);
    // On HTTP/1.1 the second request has no token: the first's does not linger.
    let first = format!("GET /version HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {agent}\r\n\r\n");
    let second = "GET /api/v1/nodes HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n";
    let (mut read, mut write) = tokio::io::split(raw::connect(&ground.world, b"http/1.1").await);
    tokio::io::AsyncWriteExt::write_all(&mut write, format!("{first}{second}").as_bytes())
        .await
        .unwrap();
    let mut all = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut all).await;
    let text = String::from_utf8_lossy(&all);
    let codes: Vec<&str> = text
        .matches("HTTP/1.1 200")
        .chain(text.matches("HTTP/1.1 401"))
        .collect();
    assert_eq!(codes, ["HTTP/1.1 200", "HTTP/1.1 401"], "{text}");
    drop((h2, read, write));
    ground.world.end().await;
}
