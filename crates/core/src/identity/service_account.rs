//! Tokens that a cluster issues for its own ServiceAccounts: who they name, and what the cluster says of them.
//!
//! In: the claims of a token whose signature was checked; later the cluster's answer to a TokenReview. Out: a name that is no name of the cluster
//! (`k8s:CLUSTER:NAMESPACE:NAME`), since nobody acts as that account through the gateway; and whether the cluster stands behind the token.
//! Refuses: a token that is not of the account that it says, one that the cluster does not confirm for our audience, or confirms as somebody else.
//! Does not ask: that is `gateway`.

use serde_json::{Map, Value};

use super::Verified;
use super::claims;
use super::token::TokenFault;

/// Of the API server: `pkg/serviceaccount/claims.go`, privateClaims.
const CLAIM: &str = "kubernetes.io";

/// The mapped name. Both texts of an account are DNS names, so that nothing in them can be taken for a separator.
pub(crate) fn username(claims: &Map<String, Value>, cluster: &str) -> Result<String, TokenFault> {
    let about = match claims.get(CLAIM) {
        Some(Value::Object(about)) => about,
        Some(_) => return Err(TokenFault::WrongType(CLAIM.to_owned())),
        None => return Err(TokenFault::Missing(CLAIM.to_owned())),
    };
    let account = about.get("serviceaccount").and_then(Value::as_object);
    let account = account.ok_or(TokenFault::ServiceAccount("names no service account"))?;
    let namespace = dns_name(claims::text(about, "namespace")?)?;
    let name = dns_name(claims::text(account, "name")?)?;
    // apiserver `pkg/authentication/serviceaccount/util.go`, MakeUsername.
    match claims::text(claims, "sub")? == format!("system:serviceaccount:{namespace}:{name}") {
        true => Ok(format!("{}{cluster}:{namespace}:{name}", claims::OF_CLUSTERS)),
        false => Err(TokenFault::ServiceAccount("is of another account than its subject")),
    }
}

fn dns_name(text: &str) -> Result<&str, TokenFault> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    match !text.is_empty() && text.bytes().all(plain) {
        true => Ok(text),
        false => Err(TokenFault::ServiceAccount("names what no Kubernetes object is called")),
    }
}

/// What a TokenReview says of a token that was asked about with these audiences.
///
/// authentication.k8s.io/v1 TokenReviewStatus: "A client of the TokenReview API that sets the spec.audiences field should validate that a
/// compatible audience identifier is returned in the status.audiences field to ensure that the TokenReview server is audience aware."
pub fn confirmed(review: &Value, verified: &Verified, audiences: &[String]) -> Result<(), String> {
    let status = review.get("status").unwrap_or(&Value::Null);
    if status.get("authenticated") != Some(&Value::Bool(true)) {
        let why = status.get("error").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(format!("it is not authenticated: {why}"));
    }
    let ours = |audience: &Value| {
        audience
            .as_str()
            .is_some_and(|a| audiences.iter().any(|ours| ours == a))
    };
    let meant_for_us = status.get("audiences").and_then(Value::as_array);
    if !meant_for_us.is_some_and(|all| all.iter().any(ours)) {
        return Err(String::from("it is not confirmed for our audience"));
    }
    let uid = verified.claims.pointer("/kubernetes.io/serviceaccount/uid");
    let says = |field: &str| {
        status
            .pointer(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if says("/user/username") != Some(verified.subject()) || says("/user/uid") != uid.and_then(Value::as_str) {
        return Err(String::from("it is confirmed as somebody else's"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::Population;
    use crate::time::Timestamp;

    fn claims() -> Value {
        json!({"sub": "system:serviceaccount:shop:bot", "kubernetes.io": {"namespace": "shop",
            "serviceaccount": {"name": "bot", "uid": "u-1"}, "pod": {"name": "bot-0", "uid": "p-1"}}})
    }

    fn name(change: impl FnOnce(&mut Value)) -> Result<String, TokenFault> {
        let mut claims = claims();
        change(&mut claims);
        username(claims.as_object().unwrap(), "prod")
    }

    #[test]
    fn an_account_has_a_name_that_no_cluster_knows() {
        assert_eq!(name(|_| {}).as_deref(), Ok("k8s:prod:shop:bot"));
    }

    #[test]
    fn a_token_that_is_not_of_the_account_it_says_is_refused() {
        let refused = [
            name(|c| c["sub"] = "system:serviceaccount:kube-system:bot".into()),
            name(|c| c["sub"] = "system:serviceaccount:shop:other".into()),
            name(|c| c["sub"] = "bot".into()),
            name(|c| c["kubernetes.io"] = json!({"namespace": "shop"})),
            name(|c| c["kubernetes.io"]["namespace"] = "shop:x".into()),
            name(|c| c["kubernetes.io"]["serviceaccount"]["name"] = "".into()),
            name(|c| c["kubernetes.io"]["serviceaccount"]["name"] = 7.into()),
            name(|c| c["kubernetes.io"] = "shop".into()),
            name(|c| drop(c.as_object_mut().unwrap().remove("kubernetes.io"))),
            name(|c| {
                c["sub"] = "system:serviceaccount:a:b:c".into();
                c["kubernetes.io"] = json!({"namespace": "a", "serviceaccount": {"name": "b:c"}});
            }),
        ];
        for refused in refused {
            assert!(refused.is_err(), "{refused:?}");
        }
    }

    fn review(change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let verified = Verified {
            issuer: "https://kubernetes.test".into(),
            subject: "system:serviceaccount:shop:bot".into(),
            population: Population::Agents,
            username: "k8s:prod:shop:bot".into(),
            groups: Vec::new(),
            uid: String::new(),
            extra: Default::default(),
            claims: claims(),
            expires: Timestamp::from_seconds(9),
        };
        let mut review = json!({"status": {"authenticated": true, "audiences": ["mantlet"],
            "user": {"username": "system:serviceaccount:shop:bot", "uid": "u-1"}}});
        change(&mut review);
        confirmed(&review, &verified, &["other".into(), "mantlet".into()])
    }

    #[test]
    fn a_review_confirms_the_very_same_account_for_our_audience_or_nothing() {
        assert_eq!(review(|_| {}), Ok(()));
        let refused = [
            review(|r| *r = json!({})),
            review(|r| r["status"]["authenticated"] = false.into()),
            review(|r| r["status"]["authenticated"] = "true".into()),
            review(|r| r["status"]["audiences"] = json!([])),
            review(|r| r["status"]["audiences"] = json!(["https://kubernetes.default.svc"])),
            // A server that knows nothing of audiences leaves them out.
            review(|r| drop(r["status"].as_object_mut().unwrap().remove("audiences"))),
            review(|r| r["status"]["user"]["username"] = "system:serviceaccount:shop:other".into()),
            review(|r| r["status"]["user"]["uid"] = "u-2".into()),
            review(|r| r["status"]["user"] = json!({})),
        ];
        for refused in refused {
            assert!(refused.is_err(), "{refused:?}");
        }
    }
}
