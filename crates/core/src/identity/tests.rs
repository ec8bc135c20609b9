//! Tokens made by hand, honest and forged. The forgeries are those of the threat table (T17, T43) and RFC 8725.

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::issuer::resolve;
use super::keys::KeySet;
use super::token::{Blame, Keys, MOST_BYTES, NameProblem, TokenFault, Verifier, self_test};
use super::{Population, Verified};
use crate::time::Timestamp;

const ISSUER: &str = "https://issuer.example";
const NOW: i64 = 1_800_000_000;

/// An issuer with a key of each kind, and a gateway that trusts it.
struct World {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    verifier: Verifier,
    keys: Arc<KeySet>,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl World {
    fn new() -> Self {
        Self::mapping(json!({"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": ""}}))
    }

    fn mapping(mappings: Value) -> Self {
        Self::ruled(json!({"claimMappings": mappings}))
    }

    /// `fields` are those of the issuer's entry, beside `issuer` itself.
    fn ruled(fields: Value) -> Self {
        let mut jwt = fields;
        jwt["issuer"] = json!({"url": ISSUER, "audiences": ["mantlet"]});
        let written = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt],
        });
        let populations = [(ISSUER.to_owned(), Population::Agents)];
        let issuers = resolve(&serde_json::from_value(written).unwrap(), &populations).unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let ec = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let keys = Arc::new(KeySet::parse(jwks(&rsa, &ec, &ed).to_string().as_bytes()).unwrap());
        Self {
            rsa,
            ec,
            ed,
            verifier: Verifier::new(issuers),
            keys,
        }
    }

    fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let alg = serde_json::from_str::<Value>(header).unwrap()["alg"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let signature = match alg.as_str() {
            "RS256" => self.sign_rsa(&signature::RSA_PKCS1_SHA256, &signed),
            "PS256" => self.sign_rsa(&signature::RSA_PSS_SHA256, &signed),
            "EdDSA" => self.ed.sign(signed.as_bytes()).as_ref().to_vec(),
            "HS256" => {
                // The classic: the public key, which everybody has, as the secret.
                let secret = hmac::Key::new(hmac::HMAC_SHA256, self.rsa.public_key().as_ref());
                hmac::sign(&secret, signed.as_bytes()).as_ref().to_vec()
            }
            "none" => Vec::new(),
            _ => self
                .ec
                .sign(&SystemRandom::new(), signed.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
        };
        format!("{signed}.{}", encode(signature))
    }

    fn sign_rsa(&self, padding: &'static dyn signature::RsaEncoding, message: &str) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .unwrap();
        signature
    }

    fn verify(&self, token: &str) -> Result<Verified, TokenFault> {
        self.verifier
            .verify(token, &|_| Keys::Known(self.keys.clone()), Timestamp::from_seconds(NOW))
    }

    /// What the mapping makes of the honest payload with these claims changed.
    fn says(&self, claims: Value) -> Result<Verified, TokenFault> {
        let mut payload = payload();
        for (name, value) in claims.as_object().unwrap() {
            payload[name] = value.clone();
        }
        self.verify(&self.sign(ES256, &payload.to_string()))
    }

    fn fault(&self, header: &str, payload: &str) -> TokenFault {
        self.verify(&self.sign(header, payload)).unwrap_err()
    }
}

fn jwks(rsa: &RsaKeyPair, ec: &EcdsaKeyPair, ed: &Ed25519KeyPair) -> Value {
    let components = PublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
    let point = ec.public_key().as_ref();
    json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(components.n), "e": encode(components.e)},
        {"kty": "EC", "kid": "ec", "crv": "P-256", "alg": "ES256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": encode(ed.public_key().as_ref())},
    ]})
}

const ES256: &str = r#"{"alg":"ES256","kid":"ec","typ":"JWT"}"#;

fn payload() -> Value {
    json!({"iss": ISSUER, "aud": "mantlet", "sub": "coder", "exp": NOW + 600, "iat": NOW, "nbf": NOW, "groups": ["dev"]})
}

/// The honest payload with one claim changed; `null` removes it.
fn with(claim: &str, value: Value) -> String {
    let mut payload = payload();
    match value {
        Value::Null => drop(payload.as_object_mut().unwrap().remove(claim)),
        value => payload[claim] = value,
    }
    payload.to_string()
}

#[test]
fn honest_tokens_of_every_kind_of_key_are_taken() {
    let world = World::new();
    for header in [
        r#"{"alg":"RS256","kid":"rsa"}"#,
        r#"{"alg":"PS256","kid":"rsa"}"#,
        r#"{"alg":"ES256","kid":"ec"}"#,
        r#"{"alg":"EdDSA","kid":"ed"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"ec","typ":"at+jwt","x5t":"abc"}"#,
    ] {
        let verified = world.verify(&world.sign(header, &payload().to_string())).expect(header);
        assert_eq!((verified.issuer(), verified.subject()), (ISSUER, "coder"));
        assert_eq!(
            (verified.username(), verified.groups()),
            ("coder", &["dev".to_owned()][..])
        );
        assert_eq!(verified.population(), Population::Agents);
        assert_eq!(verified.expires(), Timestamp::from_seconds(NOW + 600));
        assert_eq!(verified.claims()["groups"], json!(["dev"]));
    }
}

#[test]
fn headers_that_choose_their_own_verification_are_refused() {
    let world = World::new();
    let payload = payload().to_string();
    let algorithm = |alg: &str| TokenFault::Algorithm(alg.into());
    let cases = [
        (r#"{"alg":"none"}"#, algorithm("none")),
        (r#"{"alg":"None","kid":"ec"}"#, algorithm("None")),
        (r#"{"alg":"HS256","kid":"rsa"}"#, algorithm("HS256")),
        (r#"{"alg":"ES256K","kid":"ec"}"#, algorithm("ES256K")),
        (r#"{"kid":"ec"}"#, TokenFault::Header("alg")),
        (r#"{"alg":["ES256"],"kid":"ec"}"#, TokenFault::Header("alg")),
        (
            r#"{"alg":"ES256","kid":"ec","crit":["exp"]}"#,
            TokenFault::Header("crit"),
        ),
        (r#"{"alg":"ES256","kid":"ec","crit":[]}"#, TokenFault::Header("crit")),
        (
            r#"{"alg":"ES256","kid":"ec","jwk":{"kty":"oct"}}"#,
            TokenFault::Header("jwk"),
        ),
        (
            r#"{"alg":"ES256","kid":"ec","jku":"https://evil.example"}"#,
            TokenFault::Header("jku"),
        ),
        (
            r#"{"alg":"ES256","kid":"ec","x5u":"https://evil.example"}"#,
            TokenFault::Header("x5u"),
        ),
        (r#"{"alg":"ES256","kid":"ec","b64":false}"#, TokenFault::Header("b64")),
        (r#"{"alg":"ES256","kid":"ec","zip":"DEF"}"#, TokenFault::Header("zip")),
        (r#"{"alg":"ES256","kid":"ec","cty":"JWT"}"#, TokenFault::Header("cty")),
        (
            r#"{"alg":"ES256","kid":"ec","cty":"application/jwt"}"#,
            TokenFault::Header("cty"),
        ),
        (r#"{"alg":"ES256","kid":7}"#, TokenFault::Header("kid")),
        (
            r#"{"alg":"ES256","kid":"ec","typ":"logout+jwt"}"#,
            TokenFault::OtherPurpose("logout+jwt".into()),
        ),
        (
            r#"{"alg":"ES256","kid":"ec","kid":"rsa"}"#,
            TokenFault::Duplicate("header"),
        ),
    ];
    for (header, expected) in cases {
        assert_eq!(world.fault(header, &payload), expected, "{header}");
    }
}

#[test]
fn a_key_id_is_looked_up_and_nothing_else() {
    let world = World::new();
    for kid in [
        "unknown",
        "../../../dev/null",
        "' OR 1=1 --",
        "https://evil.example/jwks",
        "EC",
        "",
    ] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        let expected = TokenFault::UnknownKey {
            issuer: ISSUER.into(),
            kid: Some(kid.into()),
        };
        assert_eq!(world.fault(&header, &payload().to_string()), expected);
    }
}

#[test]
fn a_key_serves_its_own_algorithm_only() {
    let world = World::new();
    let header = r#"{"alg":"RS256","kid":"ec"}"#;
    assert!(matches!(
        world.fault(header, &payload().to_string()),
        TokenFault::UnknownKey { .. }
    ));
}

#[test]
fn a_changed_token_is_refused() {
    let world = World::new();
    let token = world.sign(ES256, &payload().to_string());
    let other = world.sign(ES256, &with("sub", json!("admin")));
    let (head, rest) = token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let other_body = other.split('.').nth(1).unwrap();
    let wrong = TokenFault::Signature { issuer: ISSUER.into() };
    assert_eq!(
        world.verify(&format!("{head}.{other_body}.{signature}")).unwrap_err(),
        wrong
    );
    assert_eq!(world.verify(&format!("{head}.{body}.")).unwrap_err(), wrong);
    assert_eq!(
        world.verify(&format!("{head}.{body}.{}", encode([0; 64]))).unwrap_err(),
        wrong
    );
    for loose in [
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}"),
        format!("{token}.{signature}"),
        format!(" {token}"),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(matches!(world.verify(&loose), Err(TokenFault::Malformed(_))), "{loose}");
    }
}

#[test]
fn a_token_is_for_us_from_whom_we_know() {
    let world = World::new();
    let audience = TokenFault::Audience { issuer: ISSUER.into() };
    let cases = [
        (
            "iss",
            json!("https://issuer.example/"),
            TokenFault::UnknownIssuer("https://issuer.example/".into()),
        ),
        (
            "iss",
            json!("https://ISSUER.example"),
            TokenFault::UnknownIssuer("https://ISSUER.example".into()),
        ),
        ("iss", Value::Null, TokenFault::Missing("iss".into())),
        ("iss", json!([ISSUER]), TokenFault::WrongType("iss".into())),
        ("aud", json!("kubernetes"), audience.clone()),
        ("aud", json!(["kubernetes", "Mantlet"]), audience.clone()),
        ("aud", json!([]), audience.clone()),
        ("aud", json!({"mantlet": true}), audience),
        ("aud", json!(["mantlet", 1]), TokenFault::WrongType("aud".into())),
        ("aud", Value::Null, TokenFault::Missing("aud".into())),
        ("sub", Value::Null, TokenFault::Missing("sub".into())),
    ];
    for (claim, value, expected) in cases {
        assert_eq!(
            world.fault(ES256, &with(claim, value.clone())),
            expected,
            "{claim} {value}"
        );
    }
    let several = world.sign(ES256, &with("aud", json!(["other", "mantlet"])));
    assert!(world.verify(&several).is_ok());
}

#[test]
fn a_token_has_its_time() {
    let world = World::new();
    let at = Timestamp::from_seconds;
    let cases = [
        ("exp", Value::Null, TokenFault::Missing("exp".into())),
        ("exp", json!(NOW - 60), TokenFault::Expired(at(NOW - 60))),
        (
            "exp",
            json!((NOW + 600).to_string()),
            TokenFault::WrongType("exp".into()),
        ),
        ("exp", json!(-1), TokenFault::WrongType("exp".into())),
        ("exp", json!(1e300), TokenFault::WrongType("exp".into())),
        ("exp", json!(u64::MAX), TokenFault::WrongType("exp".into())),
        ("nbf", json!(NOW + 61), TokenFault::NotYetValid(at(NOW + 61))),
        ("nbf", json!("now"), TokenFault::WrongType("nbf".into())),
        ("iat", json!(NOW + 61), TokenFault::IssuedInFuture(at(NOW + 61))),
    ];
    for (claim, value, expected) in cases {
        assert_eq!(
            world.fault(ES256, &with(claim, value.clone())),
            expected,
            "{claim} {value}"
        );
    }
    for (claim, value) in [
        ("exp", json!(NOW - 59)),
        ("nbf", json!(NOW + 60)),
        ("iat", Value::Null),
        ("exp", json!(1_800_000_600.5)),
    ] {
        assert!(
            world.verify(&world.sign(ES256, &with(claim, value.clone()))).is_ok(),
            "{claim} {value}"
        );
    }
}

#[test]
fn two_readings_of_one_token_are_none() {
    let world = World::new();
    let honest = payload().to_string();
    let twice = honest.replacen('{', r#"{"sub":"admin","#, 1);
    assert_eq!(world.fault(ES256, &twice), TokenFault::Duplicate("payload"));
    let escaped = honest.replacen('{', r#"{"s\u0075b":"admin","#, 1);
    assert_eq!(world.fault(ES256, &escaped), TokenFault::Duplicate("payload"));
    let deep = honest.replacen('{', r#"{"act":{"sub":"a","sub":"b"},"#, 1);
    assert_eq!(world.fault(ES256, &deep), TokenFault::Duplicate("payload"));
    for broken in ["[]", "null", "{} {}", "{\"a\":1,}", "\u{feff}{}", &"[".repeat(4000)] {
        assert_eq!(world.fault(ES256, broken), TokenFault::Malformed("payload"), "{broken}");
    }
}

#[test]
fn an_oversized_token_is_not_parsed() {
    let world = World::new();
    let token = world.sign(ES256, &with("pad", json!("x".repeat(MOST_BYTES))));
    assert_eq!(world.verify(&token).unwrap_err(), TokenFault::TooLarge(token.len()));
}

#[test]
fn names_that_belong_to_kubernetes_or_change_a_header_are_refused() {
    let world = World::new();
    let fault = |claim: &str, problem| TokenFault::Name {
        claim: claim.into(),
        problem,
    };
    let cases = [
        ("sub", json!(""), fault("sub", NameProblem::Empty)),
        ("sub", json!("system:admin"), fault("sub", NameProblem::Reserved)),
        (
            "sub",
            json!("system:serviceaccount:kube-system:default"),
            fault("sub", NameProblem::Reserved),
        ),
        (
            "sub",
            json!("coder\r\nImpersonate-Group: system:masters"),
            fault("sub", NameProblem::Unprintable),
        ),
        ("sub", json!(" system:admin"), fault("sub", NameProblem::Unprintable)),
        ("sub", json!("co\u{202e}der"), fault("sub", NameProblem::Unprintable)),
        (
            "groups",
            json!("system:masters"),
            fault("groups", NameProblem::Reserved),
        ),
        (
            "groups",
            json!(["dev", "system:masters"]),
            fault("groups", NameProblem::Reserved),
        ),
        (
            "groups",
            json!(["dev", "\tsystem:masters"]),
            fault("groups", NameProblem::Unprintable),
        ),
        (
            "groups",
            json!(["dev", " system:masters"]),
            fault("groups", NameProblem::Unprintable),
        ),
        ("groups", json!(["dev", ""]), fault("groups", NameProblem::Empty)),
        ("groups", json!(["dev", 1]), TokenFault::WrongType("groups".into())),
        ("groups", json!({"dev": true}), TokenFault::WrongType("groups".into())),
        (
            "_claim_names",
            json!({"groups": "src1"}),
            TokenFault::Distributed("groups".into()),
        ),
    ];
    for (claim, value, expected) in cases {
        assert_eq!(
            world.fault(ES256, &with(claim, value.clone())),
            expected,
            "{claim} {value}"
        );
    }
    assert_eq!(
        world.fault(ES256, &with("sub", json!("system:admin"))).blame(),
        Blame::Name
    );
}

#[test]
fn prefix_and_claim_together_make_no_reserved_name() {
    let world = World::mapping(json!({"username": {"claim": "sub", "prefix": "sys"}}));
    let expected = TokenFault::Name {
        claim: "sub".into(),
        problem: NameProblem::Reserved,
    };
    assert_eq!(world.fault(ES256, &with("sub", json!("tem:masters"))), expected);
    assert!(
        world
            .verify(&world.sign(ES256, &with("sub", json!("coder"))))
            .is_ok_and(|v| v.username() == "syscoder")
    );
}

#[test]
fn an_address_counts_unless_it_is_said_to_be_unverified() {
    let world = World::mapping(json!({"username": {"claim": "email", "prefix": ""}}));
    let sign = |verified: Value| {
        let mut payload = payload();
        payload["email"] = json!("ada@example.com");
        if !verified.is_null() {
            payload["email_verified"] = verified;
        }
        world.verify(&world.sign(ES256, &payload.to_string()))
    };
    assert_eq!(sign(Value::Null).unwrap().username(), "ada@example.com");
    assert_eq!(sign(json!(true)).unwrap().username(), "ada@example.com");
    assert_eq!(sign(json!(false)).unwrap_err(), TokenFault::EmailNotVerified);
    assert_eq!(sign(json!("true")).unwrap_err(), TokenFault::EmailNotVerified);
    assert_eq!(
        world.fault(ES256, &payload().to_string()),
        TokenFault::Missing("email".into())
    );
}

#[test]
fn expressions_make_names_uid_and_extra() {
    let world = World::mapping(json!({
        "username": {"expression": "'oidc:' + claims.sub + '@' + claims.?tenant.orValue('none')"},
        "groups": {"expression": "claims.roles.map(r, 'role:' + r)"},
        "uid": {"expression": "claims.kubernetes__dot__io.uid"},
        "extra": [
            {"key": "example.com/department", "valueExpression": "claims.?department.orValue('')"},
            {"key": "example.com/teams", "valueExpression": "claims.teams"},
        ],
    }));
    let claims =
        json!({"roles": ["dev", ""], "kubernetes.io": {"uid": "7f3a"}, "teams": ["shop", "", "web"], "tenant": "acme"});
    let verified = world.says(claims).unwrap();
    assert_eq!(verified.username(), "oidc:coder@acme");
    assert_eq!(verified.groups(), ["role:dev", "role:"]);
    assert_eq!(verified.uid(), "7f3a");
    // An empty text is dropped, and so is a key without values.
    assert_eq!(json!(verified.extra()), json!({"example.com/teams": ["shop", "web"]}));

    let missing = world.says(json!({"roles": [], "teams": []})).unwrap_err();
    assert_eq!(missing.blame(), Blame::Token);
    assert_eq!(
        missing.to_string(),
        "`jwt[0].claimMappings.uid.expression` cannot be evaluated: no such key"
    );
}

#[test]
fn what_an_expression_gives_must_be_of_the_right_type() {
    let world = World::mapping(json!({
        "username": {"expression": "claims.name"}, "groups": {"expression": "claims.list"},
    }));
    let ok = |claims: Value| world.says(claims).map(|verified| verified.groups().to_vec());
    assert_eq!(ok(json!({"name": "ada", "list": "one"})).unwrap(), ["one"]);
    assert_eq!(ok(json!({"name": "ada", "list": null})).unwrap(), [""; 0]);
    assert_eq!(ok(json!({"name": "ada", "list": ["a", "", "b"]})).unwrap(), ["a", "b"]);
    for (claims, place, why) in [
        (
            json!({"name": 7, "list": []}),
            "username",
            "the result must be string, it is double",
        ),
        (
            json!({"name": ["ada"], "list": []}),
            "username",
            "the result must be string, it is list",
        ),
        (json!({"list": []}), "username", "no such key: `name`"),
        (
            json!({"name": "ada", "list": [1]}),
            "groups",
            "the result is neither a string nor a list of strings",
        ),
        (
            json!({"name": "ada", "list": {"a": "b"}}),
            "groups",
            "the result is neither a string nor a list of strings",
        ),
        (
            json!({"name": "ada", "list": true}),
            "groups",
            "the result is neither a string nor a list of strings",
        ),
    ] {
        let expected = TokenFault::Unclear {
            path: format!("jwt[0].claimMappings.{place}.expression"),
            why: why.into(),
        };
        assert_eq!(ok(claims.clone()).unwrap_err(), expected, "{claims}");
    }
}

#[test]
fn an_expression_makes_no_reserved_name_and_no_header() {
    let world = World::mapping(json!({
        "username": {"expression": "claims.a + claims.b"}, "groups": {"expression": "claims.list"},
        "uid": {"claim": "id"}, "extra": [{"key": "example.com/x", "valueExpression": "claims.x"}],
    }));
    let honest = json!({"a": "ad", "b": "a", "list": ["dev"], "id": "1", "x": "y"});
    assert_eq!(world.says(honest.clone()).unwrap().uid(), "1");
    let path = |place: &str| format!("jwt[0].claimMappings.{place}");
    for (claim, value, place, problem) in [
        (
            "a",
            json!("system:m"),
            path("username.expression"),
            NameProblem::Reserved,
        ),
        (
            "a",
            json!("a\r\nb"),
            path("username.expression"),
            NameProblem::Unprintable,
        ),
        (
            "list",
            json!(["system:masters"]),
            path("groups.expression"),
            NameProblem::Reserved,
        ),
        (
            "list",
            json!([" system:masters"]),
            path("groups.expression"),
            NameProblem::Unprintable,
        ),
        ("id", json!("1\nx: y"), "id".to_owned(), NameProblem::Unprintable),
        (
            "x",
            json!(["ok", "1\r\nImpersonate-Group: system:masters"]),
            path("extra[0].valueExpression"),
            NameProblem::Unprintable,
        ),
    ] {
        let mut claims = honest.clone();
        claims[claim] = value;
        let expected = TokenFault::Name { claim: place, problem };
        assert_eq!(world.says(claims.clone()).unwrap_err(), expected, "{claims}");
    }
    let empty = world.says(json!({"a": "", "b": "", "list": [], "id": "", "x": ""}));
    assert_eq!(
        empty.unwrap_err(),
        TokenFault::Name {
            claim: path("username.expression"),
            problem: NameProblem::Empty
        }
    );
}

#[test]
fn an_expression_cannot_make_much_of_a_little() {
    let world = World::mapping(json!({"username": {"claim": "sub", "prefix": ""},
        "groups": {"expression": "claims.pad.map(a, claims.pad.map(b, a + b).join('')) "}}));
    let pad: Vec<_> = (0..90).map(|n| format!("group{n:04}")).collect();
    let fault = world.says(json!({"pad": pad})).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "`jwt[0].claimMappings.groups.expression` cannot be evaluated: the result is larger than 16 KiB"
    );
}

#[test]
fn rules_about_claims_must_hold() {
    let world = World::ruled(json!({
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.exp - claims.iat <= 3600", "message": "at most an hour"},
            {"expression": "claims.?email_verified.orValue(true) == true"},
        ],
    }));
    assert!(world.says(json!({"hd": "example.com"})).is_ok());
    let rule = |n: usize, message: &str| TokenFault::Rule {
        path: format!("jwt[0].claimValidationRules[{n}].expression"),
        message: message.into(),
    };
    for (claims, expected) in [
        (json!({}), TokenFault::Missing("hd".into())),
        (json!({"hd": "example.org"}), TokenFault::Required("hd".into())),
        (json!({"hd": ["example.com"]}), TokenFault::WrongType("hd".into())),
        (
            json!({"hd": "example.com", "iat": NOW - 4000}),
            rule(1, "at most an hour"),
        ),
        (json!({"hd": "example.com", "email_verified": false}), rule(2, "")),
    ] {
        let fault = world.says(claims.clone()).unwrap_err();
        assert_eq!((fault.blame(), &fault), (Blame::Token, &expected), "{claims}");
    }
}

#[test]
fn a_rule_that_errs_is_no_pass() {
    let world = World::ruled(json!({
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        "claimValidationRules": [{"expression": "claims.level > 3"}],
    }));
    assert!(world.says(json!({"level": 4})).is_ok());
    for claims in [json!({}), json!({"level": "4"}), json!({"level": null})] {
        let fault = world.says(claims.clone()).unwrap_err();
        assert!(matches!(fault, TokenFault::Unclear { .. }), "{claims}: {fault:?}");
        assert_eq!((fault.check(), fault.blame()), ("expression", Blame::Token));
    }
}

#[test]
fn rules_about_the_user_see_what_the_mapping_made() {
    let world = World::ruled(json!({
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": ""},
            "uid": {"claim": "id"}, "extra": [{"key": "example.com/team", "valueExpression": "claims.team"}]},
        "userValidationRules": [
            {"expression": "user.username.startsWith('oidc:') && user.uid == 'u1'"},
            {"expression": "user.groups.all(g, !g.startsWith('admin'))", "message": "no admins here"},
            {"expression": "user.extra['example.com/team'] == ['shop']"},
            {"expression": "!('authentication.kubernetes.io/credential-id' in user.extra)
                || user.extra['authentication.kubernetes.io/credential-id'][0] != 'JTI=stolen'", "message": "stolen"},
        ],
    }));
    let verified = world.says(json!({"id": "u1", "team": "shop", "jti": "one"})).unwrap();
    assert_eq!(
        json!(verified.extra()),
        json!({"example.com/team": ["shop"]}),
        "the id of the token goes no further"
    );
    let rule = |n: usize, message: &str| TokenFault::Rule {
        path: format!("jwt[0].userValidationRules[{n}].expression"),
        message: message.into(),
    };
    for (claims, expected) in [
        (json!({"id": "u2", "team": "shop"}), rule(0, "")),
        (
            json!({"id": "u1", "team": "shop", "groups": ["admins"]}),
            rule(1, "no admins here"),
        ),
        (json!({"id": "u1", "team": "web"}), rule(2, "")),
        (json!({"id": "u1", "team": "shop", "jti": "stolen"}), rule(3, "stolen")),
    ] {
        assert_eq!(world.says(claims.clone()).unwrap_err(), expected, "{claims}");
    }
}

/// apiserver `oidc.go`, newClaimsValue: encoding/json makes every number a float64.
#[test]
fn numbers_of_claims_are_doubles_as_they_are_upstream() {
    let rule = |source: &str| {
        let world = World::ruled(json!({
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
            "claimValidationRules": [{"expression": source}],
        }));
        world.says(json!({"a": 7, "b": 2, "list": [{"n": 1}]}))
    };
    for holds in [
        "claims.a / claims.b == 3.5",
        "claims.a == 7",
        "type(claims.list[0].n) == double",
        "claims.a > 6",
    ] {
        assert!(rule(holds).is_ok(), "{holds}");
    }
    assert!(rule("type(claims.a) == int").is_err());
}

/// Whatever the log says of a refusal, nobody can sign in with it.
#[test]
fn a_refusal_names_its_check_and_holds_nothing_to_sign_in_with() {
    let world = World::ruled(json!({
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": ""}},
        "claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"}],
    }));
    let honest = with("hd", json!("example.com"));
    assert!(world.verify(&world.sign(ES256, &honest)).is_ok());
    let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(4000));
    for (check, header, payload) in [
        ("algorithm", r#"{"alg":"HS256"}"#, honest.clone()),
        ("header", r#"{"alg":"ES256","crit":["exp"]}"#, honest.clone()),
        ("type", r#"{"alg":"ES256","typ":"logout+jwt"}"#, honest.clone()),
        ("key", r#"{"alg":"ES256","kid":"other"}"#, honest.clone()),
        ("key", &long, honest.clone()),
        ("issuer", ES256, with("iss", json!("https://other.example"))),
        ("audience", ES256, with("aud", json!("other"))),
        ("expiry", ES256, with("exp", json!(1))),
        ("not-before", ES256, with("nbf", json!(NOW + 900))),
        ("issued-at", ES256, with("iat", json!(NOW + 900))),
        ("claim", ES256, with("exp", Value::Null)),
        ("rule", ES256, with("hd", json!("example.org"))),
        ("name", ES256, with("sub", json!("system:admin"))),
        ("form", ES256, "{".into()),
        ("duplicate", ES256, r#"{"a":1,"a":2}"#.into()),
    ] {
        let token = world.sign(header, &payload);
        let fault = world.verify(&token).unwrap_err();
        assert_eq!(fault.check(), check, "{fault}");
        for text in [fault.to_string(), fault.for_caller().to_owned()] {
            assert!(text.len() < 300, "{text}");
            let parts = token.split('.').filter(|part| part.len() > 8);
            assert!(parts.clone().all(|part| !text.contains(part)), "{text}");
        }
    }
    let forged = world.sign(ES256, &honest).rsplit_once('.').unwrap().0.to_owned();
    let fault = world.verify(&format!("{forged}.{}", encode([1; 64]))).unwrap_err();
    assert_eq!(fault.check(), "signature");
}

#[test]
fn without_keys_nothing_is_verified() {
    let world = World::new();
    let token = world.sign(ES256, &payload().to_string());
    let fault = world
        .verifier
        .verify(&token, &|_| Keys::Unavailable, Timestamp::from_seconds(NOW))
        .unwrap_err();
    assert_eq!(fault, TokenFault::KeysUnavailable { issuer: ISSUER.into() });
    assert_eq!(fault.blame(), Blame::Issuer);
}

#[test]
fn junk_never_asks_for_keys() {
    let world = World::new();
    let token = world.sign(ES256, &with("exp", json!(NOW - 3600)));
    let asked = |_: &_| -> Keys { panic!("keys were asked for") };
    assert!(
        world
            .verifier
            .verify(&token, &asked, Timestamp::from_seconds(NOW))
            .is_err()
    );
}

#[test]
fn the_self_test_passes() {
    assert_eq!(self_test(), Ok(()));
}

/// Two issuers cannot give the same name: that of a cluster's account comes from the cluster's own issuer alone.
#[test]
fn only_a_cluster_names_its_accounts() {
    let mut world = World::new();
    let claims = |sub: &str| {
        json!({"iss": ISSUER, "aud": "mantlet", "exp": NOW + 600, "sub": sub, "groups": ["system:masters"],
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "bot", "uid": "u"}}})
        .to_string()
    };
    let header = r#"{"alg":"RS256","kid":"rsa"}"#;
    for sub in ["k8s:prod:shop:bot", "system:serviceaccount:shop:bot"] {
        let fault = world.fault(header, &claims(sub));
        let reserved = matches!(
            fault,
            TokenFault::Name {
                problem: NameProblem::Reserved,
                ..
            }
        );
        assert!(reserved, "{sub}: {fault}");
    }
    let written = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": {"url": ISSUER, "audiences": ["mantlet"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}],
    });
    let populations = [(ISSUER.to_owned(), Population::Agents)];
    let issuers = resolve(&serde_json::from_value(written).unwrap(), &populations).unwrap();
    world.verifier = Verifier::new(issuers.into_iter().map(|issuer| issuer.of_cluster("prod")).collect());
    let verified = world
        .verify(&world.sign(header, &claims("system:serviceaccount:shop:bot")))
        .unwrap();
    assert_eq!((verified.username(), verified.groups()), ("k8s:prod:shop:bot", &[][..]));
    let fault = world.fault(header, &claims("k8s:prod:shop:bot"));
    assert!(matches!(fault, TokenFault::ServiceAccount(_)), "{fault}");
}
