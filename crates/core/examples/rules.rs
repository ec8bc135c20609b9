//! What a decision costs with 1,000 rules, as a ratio to one with 20: `cargo xtask bench --row rules`.
//!
//! In each law the same five rules speak about the request, three of them with CEL; the others are about another kind of resource, another
//! agent or another namespace. Both laws take turns within one run, and medians count. Nothing is asserted: machines differ.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use mantlet_core::action::{Action, Head, parse};
use mantlet_core::identity::issuer;
use mantlet_core::identity::keys::KeySet;
use mantlet_core::identity::token::{Keys, Verifier};
use mantlet_core::identity::{Caller, Population, Verified};
use mantlet_core::law::{ClusterRef, Epoch, Facts, Law, Source, Step, Written};
use mantlet_core::time::Timestamp;
use serde_json::{Value, json};

const FEW: usize = 20;
const MANY: usize = 1_000;
const TURNS: usize = 21;
const DECISIONS: u32 = 200;
const ISSUER: &str = "https://issuer.test";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How the rules that do not speak differ from those that do.
#[derive(Debug, Clone, Copy)]
enum Others {
    Resources,
    Agents,
    Namespaces,
    /// Not at all: every rule speaks.
    None,
}

fn main() -> Result<()> {
    let verified = Arc::new(verified()?);
    let action = Arc::new(action()?);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "the same 5 rules speak, the others are about..  {FEW} rules    {MANY} rules    ratio"
    )?;
    for (others, name) in [
        (Others::Resources, "another kind of resource"),
        (Others::Agents, "another agent"),
        (Others::Namespaces, "another namespace"),
        (Others::None, "the same: all speak"),
    ] {
        let few = Ground::lay(others, FEW, &verified)?;
        let many = Ground::lay(others, MANY, &verified)?;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            a.push(few.decide(&action)?);
            b.push(many.decide(&action)?);
        }
        let (a, b) = (median(a), median(b));
        let ratio = b.as_secs_f64() / a.as_secs_f64();
        writeln!(
            out,
            "{name:<46}{:>9.1} µs {:>11.1} µs {ratio:>8.2}",
            micros(a),
            micros(b)
        )?;
    }
    Ok(())
}

/// A law and somebody it knows.
struct Ground {
    law: Law,
    cluster: ClusterRef,
    caller: Arc<Caller>,
}

impl Ground {
    fn lay(others: Others, rules: usize, verified: &Arc<Verified>) -> Result<Self> {
        let policies: std::result::Result<Vec<_>, _> = (0..rules).map(|at| policy(at, others)).collect();
        let written = Written {
            agents: vec![(Source::Document(0), agent()?)],
            policies: policies?.into_iter().map(|p| (Source::Document(1), p)).collect(),
            clusters: [String::from("prod")].into(),
            ..Written::default()
        };
        let law = Law::compile(written, Epoch::new(1)).map_err(|faults| format!("{faults:?}"))?;
        let caller = law.recognize(Arc::clone(verified), "prod", Timestamp::from_seconds(0));
        let caller = Arc::new(caller.map_err(|denial| denial.message)?);
        let cluster = ClusterRef {
            name: String::from("prod"),
            uid: String::from("uid"),
        };
        Ok(Self { law, cluster, caller })
    }

    /// The time of one decision.
    fn decide(&self, action: &Arc<Action>) -> Result<Duration> {
        let (facts, now) = (Facts::default(), Timestamp::from_seconds(0));
        let began = Instant::now();
        for _ in 0..DECISIONS {
            match self.law.evaluate(&self.cluster, &self.caller, action, &facts, now) {
                Step::Done(judgment) if judgment.applied.is_empty() => {}
                Step::Done(judgment) => return Err(format!("{:?}", judgment.applied).into()),
                Step::Need(_) => return Err("a decision without facts asks for some".into()),
            }
        }
        Ok(began.elapsed() / DECISIONS)
    }
}

fn policy(at: usize, others: Others) -> std::result::Result<mantlet_api::policy::Policy, serde_json::Error> {
    let speaks = at < 5;
    let word = |there: &str| match speaks {
        true => there.to_owned(),
        false => format!("other-{at}"),
    };
    let (mut agent, mut resource, mut namespace) = (word("coder"), word("configmaps"), word("shop"));
    match others {
        Others::Resources => (agent, namespace) = (String::from("*"), String::from("*")),
        Others::Agents => (resource, namespace) = (String::from("configmaps"), String::from("*")),
        Others::Namespaces => (agent, resource) = (String::from("coder"), String::from("configmaps")),
        Others::None => (agent, resource, namespace) = ("coder".into(), "configmaps".into(), "shop".into()),
    }
    let expression = match at % 2 {
        0 => "object.?data.orValue({}).size() < 100",
        _ => "request.name != 'root'",
    };
    serde_json::from_value(json!({
        "apiVersion": "mantlet.dev/v1alpha1",
        "kind": "Policy",
        "metadata": {"name": format!("rule-{at:04}")},
        "spec": {
            "mode": "enforce",
            "matchConstraints": {
                "subjects": [{"agent": agent}],
                "resourceRules": [{
                    "apiGroups": [""],
                    "resources": [resource],
                    "operations": ["create", "update"],
                    "namespaces": [namespace],
                }],
            },
            "validations": [{"expression": expression, "action": "Deny", "message": "no"}],
        },
    }))
}

fn agent() -> std::result::Result<mantlet_api::policy::Agent, serde_json::Error> {
    serde_json::from_value(json!({
        "apiVersion": "mantlet.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "coder"},
        "spec": {
            "match": [{"expression": "claims.sub == 'coder'"}],
            "serviceAccount": {"namespace": "agents", "name": "coder"},
            "scope": {"clusters": ["prod"], "namespaces": ["shop"]},
        },
    }))
}

fn action() -> Result<Action> {
    let head = Head {
        method: "POST",
        path: "/api/v1/namespaces/shop/configmaps",
        query: None,
        accept: &["application/json"],
        content_type: Some("application/json"),
        upgrade: false,
    };
    let data: serde_json::Map<String, Value> = (0..20).map(|at| (format!("key-{at}"), json!("x".repeat(40)))).collect();
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", "namespace": "shop"},
        "data": data,
    });
    let body = Bytes::from(object.to_string());
    let outline = parse(&head).map_err(|e| e.message)?;
    Ok(outline.complete(Some(body)).map_err(|e| e.message)?)
}

/// Only a token makes somebody verified, so there is one.
fn verified() -> Result<Verified> {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    // An uncompressed point: 4, x, y.
    let point = pair.public_key().as_ref();
    let (x, y) = point.get(1..).ok_or("no point")?.split_at(32);
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": ISSUER, "sub": "coder", "aud": "mantlet", "exp": 4_000_000_000_u64, "iat": 0});
    let signed = format!("{}.{}", part(json!({"alg": "ES256", "kid": "k"})), part(claims));
    let signature = pair.sign(&random, signed.as_bytes())?;
    let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    let key = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k",
        "x": BASE64_URL_SAFE_NO_PAD.encode(x), "y": BASE64_URL_SAFE_NO_PAD.encode(y),
    });
    let keys = Arc::new(KeySet::parse(json!({"keys": [key]}).to_string().as_bytes())?);
    let configuration = serde_json::from_value(json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {"url": ISSUER, "audiences": ["mantlet"]},
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        }],
    }))?;
    let issuers = issuer::resolve(&configuration, &[(ISSUER.to_owned(), Population::Agents)]);
    let verifier = Verifier::new(issuers.map_err(|faults| format!("{faults:?}"))?);
    Ok(verifier.verify(
        &token,
        &|_| Keys::Known(Arc::clone(&keys)),
        Timestamp::from_seconds(1_000),
    )?)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
