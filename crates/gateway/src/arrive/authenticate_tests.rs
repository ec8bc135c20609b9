//! Requests against a real issuer on loopback: TLS, discovery, keys that rotate and an issuer that goes down.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mantlet_core::identity::Population;
use mantlet_core::identity::issuer::resolve;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

const NOW: i64 = 1_800_000_000;

/// A clock that is moved by hand.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::SeqCst))
    }
}

struct SigningKey {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    fn new(id: &'static str) -> Self {
        Self {
            id,
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    fn public(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": encode(x), "y": encode(y)})
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What the issuer answers, and how often it was asked for keys.
#[derive(Debug)]
struct Answers {
    issuer: Mutex<String>,
    keys: Mutex<Option<Value>>,
    asked: AtomicUsize,
}

/// An issuer, a gateway's authenticator, and the task that keeps its keys.
struct World {
    url: String,
    authority: String,
    answers: Arc<Answers>,
    clock: Arc<Hand>,
    authenticator: Arc<Authenticator>,
    tasks: JoinSet<()>,
}

impl World {
    async fn new(keys: Option<Value>, pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let answers = Arc::new(Answers {
            issuer: Mutex::new(url.clone()),
            keys: Mutex::new(keys),
            asked: AtomicUsize::new(0),
        });
        let clock = Arc::new(Hand(AtomicI64::new(NOW)));
        let issuers = issuers(&url, &certified.cert.pem());
        let authenticator = Arc::new(Authenticator::paced(issuers, clock.clone(), pace).unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, acceptor(&certified), answers.clone()));
        let keeper = authenticator.clone();
        tasks.spawn(async move { keeper.keep_keys_fresh().await });
        Self {
            url,
            authority: certified.cert.pem(),
            answers,
            clock,
            authenticator,
            tasks,
        }
    }

    fn publish(&self, keys: Option<Value>) {
        *self.answers.keys.lock().unwrap() = keys;
    }

    fn asked(&self) -> usize {
        self.answers.asked.load(Ordering::SeqCst)
    }

    fn token(&self, key: &SigningKey, life: i64) -> String {
        let header = json!({"alg": "ES256", "kid": key.id}).to_string();
        let now = self.clock.0.load(Ordering::SeqCst);
        let claims = json!({"iss": self.url, "sub": "coder", "aud": "mantlet", "exp": now + life}).to_string();
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }

    async fn ask(&self, token: &str) -> Result<Arc<Verified>, SignInFault> {
        self.authenticator
            .authenticate(&headers(&[&format!("Bearer {token}")]), self.clock.now())
            .await
    }

    fn remembered_as_refused(&self, token: &str) -> Option<SignInFault> {
        let trust = self.authenticator.trust.load();
        let fault = trust.remembered(&trust.refused, &Print::of(token), self.clock.now());
        fault.map(SignInFault::Token)
    }

    fn source(&self) -> Arc<KeySource> {
        self.authenticator.trust.load().sources[0].clone()
    }

    /// Until the keeper has ended another fetch.
    async fn next_fetch(&self) {
        let mut ended = self.source().ended();
        ended.changed().await.unwrap();
    }
}

fn issuers(url: &str, authority: &str) -> Vec<Issuer> {
    let written = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": {"url": url, "audiences": ["mantlet"], "certificateAuthority": authority},
                 "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}],
    });
    resolve(
        &serde_json::from_value(written).unwrap(),
        &[(url.to_owned(), Population::Agents)],
    )
    .unwrap()
}

fn acceptor(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, answers: Arc<Answers>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, answers) = (acceptor.clone(), answers.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.uri().path(), &answers);
                async move { Ok::<_, Infallible>(answer) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(path: &str, answers: &Answers) -> Response<Full<Bytes>> {
    let issuer = answers.issuer.lock().unwrap().clone();
    let document = match path {
        "/.well-known/openid-configuration" => Some(json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")})),
        _ => {
            answers.asked.fetch_add(1, Ordering::SeqCst);
            answers.keys.lock().unwrap().clone()
        }
    };
    match document {
        Some(document) => Response::new(Full::from(document.to_string())),
        None => Response::builder()
            .status(307)
            .header("location", "/elsewhere")
            .body(Full::default())
            .unwrap(),
    }
}

fn headers(authorization: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn jwks(keys: &[&SigningKey]) -> Option<Value> {
    Some(json!({"keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>()}))
}

/// Nothing is fetched but at the start and when asked for.
fn lazy() -> Pace {
    Pace {
        retry: Duration::from_millis(1),
        least_gap: Duration::ZERO,
        ..Pace::default()
    }
}

#[tokio::test]
async fn a_token_is_verified_with_keys_found_by_discovery_and_then_remembered() {
    let key = SigningKey::new("a");
    let world = World::new(jwks(&[&key]), Pace::default()).await;
    let token = world.token(&key, 600);
    let first = world.ask(&token).await.unwrap();
    assert_eq!(first.username(), "coder");
    let second = world.ask(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert!(world.authenticator.issuers_without_keys(world.clock.now()).is_empty());
    world.clock.0.fetch_add(60, Ordering::SeqCst);
    let third = world.ask(&token).await.unwrap();
    assert!(
        !Arc::ptr_eq(&first, &third),
        "after a minute the token is looked at again"
    );
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_time() {
    let key = SigningKey::new("a");
    let world = World::new(jwks(&[&key]), Pace::default()).await;
    let token = world.token(&key, -50);
    assert!(world.ask(&token).await.is_ok(), "within the leeway");
    world.clock.0.fetch_add(10, Ordering::SeqCst);
    assert!(matches!(
        world.ask(&token).await,
        Err(SignInFault::Token(TokenFault::Expired(_)))
    ));
}

#[tokio::test]
async fn a_new_key_is_fetched_and_a_removed_one_is_forgotten() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let world = World::new(jwks(&[&old]), lazy()).await;
    let with_old = world.token(&old, 600);
    assert!(world.ask(&with_old).await.is_ok());
    world.publish(jwks(&[&new]));
    assert!(
        world.ask(&world.token(&new, 600)).await.is_ok(),
        "an unknown key id asks for the keys"
    );
    assert!(
        matches!(
            world.ask(&with_old).await,
            Err(SignInFault::Token(TokenFault::UnknownKey { .. }))
        ),
        "what was remembered under the old keys is not believed under the new ones"
    );
}

#[tokio::test]
async fn a_flood_of_unknown_keys_causes_one_fetch() {
    let (known, forged) = (SigningKey::new("a"), SigningKey::new("forged"));
    let world = World::new(jwks(&[&known]), Pace::default()).await;
    assert!(world.ask(&world.token(&known, 600)).await.is_ok());
    for _ in 0..50 {
        let refused = world.ask(&world.token(&forged, 600)).await;
        assert!(matches!(
            refused,
            Err(SignInFault::Token(TokenFault::UnknownKey { .. }))
        ));
    }
    assert_eq!(
        world.asked(),
        1,
        "the keys of the start are too fresh to be fetched again"
    );
}

#[tokio::test]
async fn many_that_wait_for_a_key_share_a_fetch() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let world = World::new(jwks(&[&old]), lazy()).await;
    assert!(world.ask(&world.token(&old, 600)).await.is_ok());
    let before = world.asked();
    world.publish(jwks(&[&new]));
    let token = world.token(&new, 600);
    let asked = join_all((0..20).map(|_| world.ask(&token))).await;
    assert!(asked.iter().all(Result::is_ok));
    // The one that they wait for, and one that was asked for while it ran (here nothing keeps fetches apart).
    assert!(world.asked() <= before + 2, "{} fetches", world.asked() - before);
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_is_waited_for() {
    let key = SigningKey::new("a");
    let pace = Pace {
        retry: Duration::from_secs(3600),
        patience: Duration::from_secs(10),
        ..Pace::default()
    };
    let world = World::new(None, pace).await;
    let token = world.token(&key, 600);
    world.next_fetch().await;
    let refused = world.ask(&token).await.unwrap_err();
    assert_eq!(refused.blame(), Blame::Issuer);
    assert_eq!(
        world.authenticator.issuers_without_keys(world.clock.now()),
        [world.url.as_str()]
    );

    let world = World::new(None, lazy()).await;
    let token = world.token(&key, 600);
    world.next_fetch().await;
    world.publish(jwks(&[&key]));
    while world.ask(&token).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stale_keys_serve_a_day_and_no_longer() {
    let key = SigningKey::new("a");
    let pace = Pace {
        retry: Duration::from_secs(3600),
        least_gap: Duration::from_secs(7200),
        ..Pace::default()
    };
    let world = World::new(jwks(&[&key]), pace).await;
    assert!(world.ask(&world.token(&key, 600)).await.is_ok());
    world.publish(None);
    world.clock.0.fetch_add(24 * 60 * 60 - 1, Ordering::SeqCst);
    let last = world.token(&key, 600);
    assert!(world.ask(&last).await.is_ok());
    world.clock.0.fetch_add(1, Ordering::SeqCst);
    assert!(matches!(
        world.ask(&last).await,
        Err(SignInFault::Token(TokenFault::KeysUnavailable { .. }))
    ));
}

#[tokio::test]
async fn a_document_of_another_issuer_gives_no_keys() {
    let key = SigningKey::new("a");
    let world = World::new(None, lazy()).await;
    *world.answers.issuer.lock().unwrap() = "https://127.0.0.1:1".into();
    world.publish(jwks(&[&key]));
    world.next_fetch().await;
    world.next_fetch().await;
    assert!(matches!(
        world.ask(&world.token(&key, 600)).await,
        Err(SignInFault::Token(TokenFault::KeysUnavailable { .. }))
    ));
}

#[tokio::test]
async fn an_issuer_whose_certificate_is_not_trusted_gives_no_keys() {
    let key = SigningKey::new("a");
    let mut world = World::new(jwks(&[&key]), lazy()).await;
    world.tasks.shutdown().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let make = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (shown, trusted) = (make(), make());
    *world.answers.issuer.lock().unwrap() = url.clone();
    world
        .tasks
        .spawn(serve(listener, acceptor(&shown), world.answers.clone()));
    let authenticator = Authenticator::paced(issuers(&url, &trusted.cert.pem()), world.clock.clone(), lazy()).unwrap();
    let mut ended = authenticator.trust.load().sources[0].ended();
    tokio::select! {
        () = authenticator.keep_keys_fresh() => {}
        changed = ended.changed() => changed.unwrap(),
    }
    assert_eq!(authenticator.issuers_without_keys(world.clock.now()), [url.as_str()]);
    assert_eq!(world.asked(), 0, "not even the request was sent");
}

/// ES256 is what every other test here signs with.
#[tokio::test]
async fn rsa_and_ed25519_keys_of_one_issuer_serve_beside_each_other() {
    let (ec, ed) = (SigningKey::new("ec"), Ed25519KeyPair::generate().unwrap());
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let components = PublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
    let keys = json!({"keys": [
        ec.public(),
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": encode(ed.public_key().as_ref())},
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(components.n), "e": encode(components.e)},
    ]});
    let world = World::new(Some(keys), Pace::default()).await;
    let claims = json!({"iss": world.url, "sub": "coder", "aud": "mantlet", "exp": NOW + 600}).to_string();
    let sign = |alg: &str, kid: &str| {
        let signed = format!(
            "{}.{}",
            encode(json!({"alg": alg, "kid": kid}).to_string()),
            encode(&claims)
        );
        let signature = match alg {
            "EdDSA" => ed.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => {
                let mut signature = vec![0; rsa.public_modulus_len()];
                rsa.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    signed.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
        };
        format!("{signed}.{}", encode(signature))
    };
    for token in [world.token(&ec, 600), sign("EdDSA", "ed"), sign("RS256", "rsa")] {
        assert_eq!(world.ask(&token).await.unwrap().subject(), "coder");
    }
    for (alg, kid) in [("EdDSA", "rsa"), ("RS256", "ed"), ("RS256", "ec"), ("RS384", "rsa")] {
        assert!(world.ask(&sign(alg, kid)).await.is_err(), "{alg} {kid}");
    }
}

/// T44: one bad token, sent again and again, is checked once in ten seconds; whoever it is refused to gets the same answer.
#[tokio::test]
async fn a_bad_token_that_comes_again_is_refused_from_memory() {
    let (key, other) = (SigningKey::new("a"), SigningKey::new("a"));
    let world = World::new(jwks(&[&key]), lazy()).await;
    assert!(world.ask(&world.token(&key, 600)).await.is_ok());
    let forged = world.token(&other, 600);
    let first = world.ask(&forged).await.unwrap_err();
    assert!(
        matches!(first, SignInFault::Token(TokenFault::Signature { .. })),
        "{first}"
    );
    assert_eq!(world.remembered_as_refused(&forged), Some(first.clone()));
    assert_eq!(world.ask(&forged).await.unwrap_err(), first);
    world.clock.0.fetch_add(10, Ordering::SeqCst);
    assert_eq!(world.remembered_as_refused(&forged), None, "and not for longer");
}

#[tokio::test]
async fn a_refused_token_is_looked_at_again_once_the_keys_have_changed() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let world = World::new(jwks(&[&old]), lazy()).await;
    assert!(world.ask(&world.token(&old, 600)).await.is_ok());
    let early = world.token(&new, 600);
    assert!(world.ask(&early).await.is_err());
    assert!(world.remembered_as_refused(&early).is_some());
    world.publish(jwks(&[&old, &new]));
    assert!(
        world.ask(&early).await.is_ok(),
        "what was remembered did not keep it from asking for the keys"
    );
}

#[tokio::test]
async fn want_of_keys_is_no_tokens_fault_and_is_not_remembered() {
    let key = SigningKey::new("a");
    let world = World::new(None, lazy()).await;
    let token = world.token(&key, 600);
    world.next_fetch().await;
    let refused = world.ask(&token).await.unwrap_err();
    assert_eq!((refused.blame(), refused.check()), (Blame::Issuer, "keys"));
    assert_eq!(world.remembered_as_refused(&token), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let cache = Cache::of(64);
    let now = Timestamp::from_seconds(NOW);
    let under = Under {
        until: now.after(REFUSED),
        source: 0,
        generation: 0,
    };
    for n in 0..10_000 {
        cache.put(&Print::of(&n.to_string()), n, under, now);
    }
    let held: usize = cache.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
    assert_eq!(held, 64);
}

#[tokio::test]
async fn two_issuers_at_once_vouch_for_their_own_only() {
    let (key, other) = (SigningKey::new("same"), SigningKey::new("same"));
    let world = World::new(jwks(&[&key]), Pace::default()).await;
    let second = World::new(jwks(&[&other]), Pace::default()).await;
    let mut both = issuers(&world.url, &world.authority);
    both.extend(issuers(&second.url, &second.authority));
    world.authenticator.replace(both).unwrap();
    for (issuer, key) in [(&world, &key), (&second, &other)] {
        let verified = world.ask(&issuer.token(key, 600)).await.unwrap();
        assert_eq!(verified.issuer(), issuer.url);
    }
    for (issuer, key) in [(&world, &other), (&second, &key)] {
        let refused = world.ask(&issuer.token(key, 600)).await.unwrap_err();
        let expected = TokenFault::Signature {
            issuer: issuer.url.clone(),
        };
        assert_eq!(
            refused,
            SignInFault::Token(expected),
            "the key id is the same, the key is the other's"
        );
    }
}

#[tokio::test]
async fn a_set_of_issuers_that_takes_anothers_place_keeps_the_keys_and_forgets_the_tokens() {
    let key = SigningKey::new("a");
    let world = World::new(jwks(&[&key]), Pace::default()).await;
    let token = world.token(&key, 600);
    let before = world.ask(&token).await.unwrap();
    world
        .authenticator
        .replace(issuers(&world.url, &world.authority))
        .unwrap();
    world.publish(None);
    let after = world.ask(&token).await.unwrap();
    assert!(!Arc::ptr_eq(&before, &after), "the token was looked at again");
    assert_eq!(world.asked(), 1, "the keys were not fetched again");

    let faults = world.authenticator.replace(issuers(&world.url, "no certificate"));
    assert!(faults.is_err());
    assert!(world.ask(&token).await.is_ok(), "a set with a fault changes nothing");
}

#[tokio::test]
async fn an_issuer_that_is_named_later_gets_its_keys_and_one_that_is_left_out_is_unknown() {
    let key = SigningKey::new("a");
    let world = World::new(jwks(&[&key]), Pace::default()).await;
    let token = world.token(&key, 600);
    assert!(world.ask(&token).await.is_ok());
    let source = world.source();
    world
        .authenticator
        .replace(issuers("https://127.0.0.1:1", &world.authority))
        .unwrap();
    assert_eq!(
        world.ask(&token).await.unwrap_err(),
        SignInFault::Token(TokenFault::UnknownIssuer(world.url.clone()))
    );
    // The keeper lets go of the source, so that only this test still holds it.
    while Arc::strong_count(&source) > 1 {
        tokio::task::yield_now().await;
    }
    world
        .authenticator
        .replace(issuers(&world.url, &world.authority))
        .unwrap();
    assert!(!Arc::ptr_eq(&source, &world.source()));
    assert!(world.ask(&token).await.is_ok(), "the keys were waited for");
    assert_eq!(world.asked(), 2);
}

#[test]
fn an_authority_that_is_none_is_found_at_load() {
    let clock = Arc::new(Hand(AtomicI64::new(NOW)));
    let faults = Authenticator::new(issuers("https://127.0.0.1:1", "no certificate"), clock).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "issuer `https://127.0.0.1:1`: certificateAuthority: holds no certificate"
    );
}

#[test]
fn exactly_one_bearer_token_is_read() {
    assert_eq!(bearer(&headers(&["Bearer a.b.c"])), Ok("a.b.c"));
    assert_eq!(bearer(&headers(&["bearer a.b.c"])), Ok("a.b.c"));
    assert_eq!(bearer(&headers(&[])), Err(SignInFault::Nothing));
    assert_eq!(
        bearer(&headers(&["Bearer a.b.c", "Bearer a.b.c"])),
        Err(SignInFault::Several)
    );
    for other in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  a.b.c",
        "Basic YTpi",
        "Bearer a.b.c, Bearer d.e.f",
        "Bearer a.b.c d",
        "Bearer\ta",
    ] {
        assert_eq!(bearer(&headers(&[other])), Err(SignInFault::NotBearer), "{other:?}");
    }
    let mut raw = HeaderMap::new();
    raw.insert(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xff").unwrap());
    assert_eq!(bearer(&raw), Err(SignInFault::NotBearer));
}

#[test]
fn a_token_in_the_subprotocol_is_refused_wherever_it_stands() {
    let check = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(value).unwrap());
        }
        refuse_subprotocol_token(&headers)
    };
    assert_eq!(check(&["v5.channel.k8s.io, v4.channel.k8s.io"]), Ok(()));
    for values in [
        &["base64url.bearer.authorization.k8s.io.YWJj"][..],
        &["v5.channel.k8s.io,base64url.bearer.authorization.k8s.io.YWJj"],
        &["v5.channel.k8s.io", "  Base64URL.bearer.authorization.k8s.io.YWJj"],
    ] {
        assert_eq!(check(values), Err(SignInFault::InSubprotocol), "{values:?}");
    }
}
