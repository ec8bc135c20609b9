//! Who is calling: people who log in at a real OpenID Provider, many identities on one connection, and an issuer whose keys change.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mantlet_core::identity::Population;
use mantlet_core::identity::issuer;
use mantlet_stories::provider::{self, Provider};
use mantlet_stories::{Wire, World, audit, eventually, need_bed};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What a SelfSubjectReview is sent to.
const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEW: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;

fn users() -> Value {
    json!([
        {"name": "ada", "password": "lovelace", "email": "ada@example.com", "emailVerified": true, "groups": ["dev", "sre"]},
        {"name": "eve", "password": "drop", "email": "eve@example.com", "emailVerified": false, "groups": ["dev"]},
        {"name": "sys", "password": "tem", "email": "system:admin", "emailVerified": true, "groups": []},
    ])
}

/// How the provider's people are named; its two shapes of rules are both used.
fn mappings() -> Value {
    json!({
        "claimMappings": {
            "username": {"expression": "claims.email"},
            "groups": {"expression": "dyn(claims.groups).map(g, 'op:' + g)"},
            "uid": {"claim": "sub"},
            "extra": [
                {"key": "example.com/login", "valueExpression": "claims.amr"},
                {"key": "example.com/team", "valueExpression": "claims.?team.orValue('')"},
            ],
        },
        "claimValidationRules": [
            // The provider leaves out an `email_verified` that is false.
            {"expression": "claims.?email_verified.orValue(false) == true", "message": "the address is not verified"},
            {"claim": "azp", "requiredValue": provider::CLIENT},
        ],
        "userValidationRules": [{"expression": "!user.groups.exists(g, g == 'op:banned')", "message": "banned"}],
    })
}

/// The stage's two issuers, and the provider beside them.
fn trust(world: &World, provider: &Provider) {
    let text = std::fs::read_to_string(world.dir.join("authentication.yaml")).unwrap();
    let mut written: Value = serde_saphyr::from_str(&text).unwrap();
    let jwt = written["jwt"].as_array_mut().unwrap();
    jwt.push(provider.entry(&mappings()));
    let url = |entry: &Value| entry["issuer"]["url"].as_str().unwrap().to_owned();
    let populations: Vec<_> = jwt
        .iter()
        .map(|entry| match url(entry) {
            url if url.ends_with("/agents") => (url, Population::Agents),
            url => (url, Population::People),
        })
        .collect();
    let issuers = issuer::resolve(&serde_json::from_value(written).unwrap(), &populations).unwrap();
    world.gateway.authenticator.replace(issuers).unwrap();
}

async fn wire(world: &World, token: &str) -> Wire {
    Wire::dial(world.address, &world.authority, token).await
}

/// As whom the cluster sees the bearer of a token; or the code and reason of the refusal.
async fn whoami(wire: &Wire) -> Result<Value, (u16, Value)> {
    let answer = wire.post(WHOAMI, REVIEW).await.expect("an answer");
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    match answer.code.as_u16() {
        201 => Ok(body["status"]["userInfo"].clone()),
        code => Err((code, body["message"].clone())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_log_in_at_a_real_provider_and_the_cluster_sees_what_the_mapping_made_of_them() {
    let bed = need_bed!();
    let Some(program) = provider::program() else { return };
    let world = World::start(bed, "provider", "").await;
    let mut provider = Provider::start(&program, &world.dir, &users());
    let wrong = provider.log_in("ada", "babbage").await.unwrap_err();
    assert!(wrong.starts_with("403"), "{wrong}");
    let by_code = provider.log_in("ada", "lovelace").await.unwrap();

    // An issuer that nobody named vouches for nobody.
    let connection = wire(&world, &by_code.id).await;
    let unknown = whoami(&connection).await.unwrap_err();
    assert_eq!(unknown, (401, json!("the token's issuer is not accepted here")));

    trust(&world, &provider);
    let ada = whoami(&connection).await.unwrap();
    assert_eq!(ada["username"], "ada@example.com");
    assert_eq!(ada["uid"], "ada");
    let groups: BTreeSet<_> = ada["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g.as_str().unwrap())
        .collect();
    assert_eq!(groups, BTreeSet::from(["op:dev", "op:sre", "system:authenticated"]));
    assert_eq!(ada["extra"]["example.com/login"], json!(["pwd"]));
    assert_eq!(ada["extra"]["example.com/team"], Value::Null);
    assert!(ada["extra"]["mantlet.dev/session"].is_array());

    // kubectl, with what a device was allowed.
    let by_device = provider.allow_device("ada", "lovelace", "allow").await.unwrap();
    let kubeconfig = world.stage.kubeconfig(world.address, "ada", &by_device.id, "default");
    let said = world.run(&kubeconfig, "kubectl auth whoami -o json").await;
    let said: Value = serde_json::from_str(&said.ok()).unwrap();
    assert_eq!(said["status"]["userInfo"]["username"], "ada@example.com");
    assert_eq!(said["status"]["userInfo"]["uid"], "ada");
    let denied = provider.allow_device("ada", "lovelace", "deny").await.unwrap_err();
    assert!(denied.contains("access_denied"), "{denied}");

    let renewed = provider.renew(&by_code.refresh).await.unwrap();
    assert_eq!(whoami(&connection.with_token(&renewed.id)).await.unwrap()["uid"], "ada");

    // Rules refuse with 401, reserved names with 403; the other issuers' people come as before.
    let eve = provider.log_in("eve", "drop").await.unwrap();
    assert_eq!(whoami(&connection.with_token(&eve.id)).await.unwrap_err().0, 401);
    let sys = provider.log_in("sys", "tem").await.unwrap();
    assert_eq!(whoami(&connection.with_token(&sys.id)).await.unwrap_err().0, 403);
    let other = world.token(Population::People, "ben", &["dev"]);
    let ben = whoami(&connection.with_token(&other)).await.unwrap();
    assert_eq!((&ben["username"], &ben["uid"]), (&json!("ben"), &Value::Null));

    // The keys rotate: new tokens are good once the gateway may ask again, old ones are not any more.
    provider.tell("rotate");
    provider.tell("forget");
    let newer = provider.log_in("ada", "lovelace").await.unwrap();
    assert_ne!(header(&newer.id)["kid"], header(&by_code.id)["kid"]);
    let newer = connection.with_token(&newer.id);
    eventually(
        "the new key is fetched",
        Duration::from_secs(60),
        async || match whoami(&newer).await {
            Ok(user) => Some(user),
            Err((code, message)) => {
                assert_eq!(code, 401, "{message}");
                None
            }
        },
    )
    .await;
    for old in [&by_code.id, &by_device.id, &renewed.id] {
        assert_eq!(whoami(&connection.with_token(old)).await.unwrap_err().0, 401);
    }

    // The provider goes down: whoever has a token comes, with the keys that are at hand.
    drop(provider);
    assert_eq!(whoami(&newer).await.unwrap()["uid"], "ada");
    world.end().await;
}

fn header(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').next().unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// T50: one connection to the gateway, the gateway's own connections to the cluster, and fifty identities on them at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_identities_on_one_connection_are_fifty() {
    const IDENTITIES: usize = 50;
    const ROUNDS: usize = 4;
    let bed = need_bed!();
    let world = World::start(bed, "fifty", "").await;
    let connection = wire(&world, "").await;
    let group = |n: usize| format!("team-{n}");
    let mut asked = JoinSet::new();
    let tokens: Vec<_> = (0..IDENTITIES)
        .map(|n| world.token(Population::People, &format!("person-{n}"), &[&group(n)]))
        .collect();
    let tokens = Arc::new(tokens);
    for at in 0..IDENTITIES * ROUNDS {
        // 17 has no divisor in common with 50: neighbors are never the same person.
        let n = at * 17 % IDENTITIES;
        let (connection, tokens) = (connection.clone(), tokens.clone());
        asked.spawn(async move {
            // Each of them once at most.
            let forged = (at / IDENTITIES + n) % 10 == 9;
            let token = match forged {
                false => tokens[n].clone(),
                // The claims of one, the signature of another.
                true => {
                    let (claims, _) = tokens[n].rsplit_once('.').unwrap();
                    let (_, signature) = tokens[(n + 1) % IDENTITIES].rsplit_once('.').unwrap();
                    format!("{claims}.{signature}")
                }
            };
            (n, forged, whoami(&connection.with_token(&token)).await)
        });
    }
    let mut sessions: Vec<BTreeSet<String>> = vec![BTreeSet::new(); IDENTITIES];
    let (mut served, mut refused) = (0, 0);
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            (n, false, Ok(user)) => {
                assert_eq!(user["username"], format!("person-{n}"));
                let groups = user["groups"].as_array().unwrap();
                assert!(groups.contains(&json!(group(n))), "{groups:?}");
                assert_eq!(groups.len(), 2, "and system:authenticated: {groups:?}");
                sessions[n].insert(user["extra"]["mantlet.dev/session"][0].as_str().unwrap().to_owned());
                served += 1;
            }
            (_, true, Err((401, _))) => refused += 1,
            (n, forged, other) => panic!("person-{n}, forged: {forged}: {other:?}"),
        }
    }
    assert_eq!((served, refused), (180, 20));
    assert!(sessions.iter().all(|own| own.len() == 1), "one session for each");
    let all: BTreeSet<_> = sessions.iter().flatten().collect();
    assert_eq!(all.len(), IDENTITIES, "and nobody's is another's");
    world.end().await;
}

/// T17, T43: what is refused leaves no line in the API server's own log. (The museum tries the forgeries one by one; here it is the sum.)
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_tokens_reaches_nobody_and_harms_nobody() {
    let bed = need_bed!();
    let Some(log) = bed.audit_log.clone() else { return };
    let world = World::start(bed, "flood", "").await;
    let honest = world.token(Population::People, "honest", &[]);
    let connection = wire(&world, &honest).await;
    let (claims, signature) = honest.rsplit_once('.').unwrap();
    let bad = [
        format!("{claims}."),
        format!("{claims}.{}", signature.chars().rev().collect::<String>()),
        "a.b.c".to_owned(),
        honest.repeat(2),
    ];
    let mut ids = BTreeSet::new();
    for at in 0..400 {
        let bad = connection.with_token(&bad[at % bad.len()]);
        let answer = bad.post(WHOAMI, REVIEW).await.unwrap();
        assert_eq!(answer.code.as_u16(), 401);
        ids.insert(answer.audit_id());
    }
    assert_eq!(ids.len(), 400);
    let good = connection.post(WHOAMI, REVIEW).await.unwrap();
    assert_eq!(good.code.as_u16(), 201);
    let good = good.audit_id();
    eventually(
        "the honest request is in the log",
        Duration::from_secs(20),
        async || logged(&log, &good).then_some(()),
    )
    .await;
    let reached: Vec<_> = audit::entries(&log)
        .filter(|entry| ids.contains(&entry.audit_id))
        .collect();
    assert!(reached.is_empty(), "{reached:?}");
    world.end().await;
}

fn logged(log: &Path, id: &str) -> bool {
    audit::entries(log).any(|entry| entry.audit_id == id)
}
