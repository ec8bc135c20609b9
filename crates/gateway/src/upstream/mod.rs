//! The three doors to a cluster; nothing else in the process holds its credential.
//!
//! * [`Cluster::forward`] takes a [`Pass`]: a judged, recorded, paid-for request of a caller.
//! * [`Cluster::look_up`] takes a [`Lookup`], minted by the law for one caller and one action: read-only or `dryRun=All`.
//! * [`Cluster::own`] takes an [`OwnCall`], a closed list; its answers are never shown to a caller.

mod dial;
mod lane;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use mantlet_core::identity::Impersonation;
use mantlet_core::law::{ClusterRef, Lookup};
use mantlet_core::mask::Masker;
use mantlet_core::record::AuditId;
use mantlet_core::wire::outgoing::Outgoing;
use mantlet_kubeconfig::Credential;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::relay::admit::Pass;
use crate::tasks::Tasks;
use dial::Dialer;
use lane::Lane;
pub(crate) use lane::Place;

/// A server answers a request within 60 s (apiserver `--request-timeout`); what takes longer than this is not coming.
const ANSWER: Duration = Duration::from_secs(75);
/// An object is at most 1.5 MiB in etcd; a dry-run answers with one.
const LOOKUP_BYTES: usize = 8 * 1024 * 1024;

/// One Kubernetes API server behind the gateway.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    pinned: Option<String>,
    known: OnceLock<ClusterRef>,
    masker: OnceLock<Arc<Masker>>,
    credential: Credential,
    requests: Lane,
    /// Watches and followed logs have connections of their own: they hold their places for half an hour.
    streams: Lane,
}

/// Why no answer came back.
#[derive(Debug, Clone)]
pub enum Unreached {
    /// Nothing left this process.
    Unsent(String),
    /// The request left and the answer was lost: whether it happened is not known.
    Broken(String),
    /// No answer in time; whether it happened is not known.
    Late,
    /// It would have been a stream, and had to end before it began; why.
    Ended(&'static str),
    /// The cluster is not the one that was pinned, or has not said yet who it is.
    Unidentified(String),
}

/// What Mantlet asks on its own account. Audit-IDs of these begin with `own-`.
#[derive(Debug, Clone)]
pub enum OwnCall {
    /// The uid of kube-system: which cluster this is.
    ClusterId,
    /// Who the API server takes the gateway for.
    SelfSubjectReview,
    /// Whether the gateway may impersonate: one access review.
    SelfSubjectAccessReview {
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        subresource: &'static str,
        name: String,
    },
    /// Whether the server is there.
    Version,
    /// The public keys of its own ServiceAccount tokens.
    ServiceAccountKeys,
    /// Whether it stands behind a token of its own, for these audiences.
    TokenReview {
        token: SecretString,
        audiences: Vec<String>,
    },
}

/// An answer whose body has not been read, and the place that reading it takes.
#[derive(Debug)]
pub struct Arrived {
    pub(crate) response: Response<Incoming>,
    pub(crate) place: Place,
}

impl Cluster {
    pub fn new(name: &str, pinned: Option<String>, credential: Credential, tasks: &Tasks) -> Self {
        let dialer = Arc::new(Dialer::new(&credential));
        Self {
            name: name.to_owned(),
            pinned,
            known: OnceLock::new(),
            masker: OnceLock::new(),
            credential,
            requests: Lane::new(dialer.clone(), tasks.clone()),
            streams: Lane::new(dialer, tasks.clone()),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name and uid, once the cluster has said who it is.
    pub fn identity(&self) -> Option<&ClusterRef> {
        self.known.get()
    }

    /// The masker of this cluster's values, made once: the uid never changes once it is known.
    pub(crate) fn masker<E>(&self, make: impl FnOnce() -> Result<Masker, E>) -> Result<&Arc<Masker>, E> {
        if let Some(masker) = self.masker.get() {
            return Ok(masker);
        }
        let made = Arc::new(make()?);
        Ok(self.masker.get_or_init(|| made))
    }

    /// Asks the cluster for its uid and compares it with the pinned one.
    pub async fn identify(&self) -> Result<&ClusterRef, Unreached> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let answer = self.own(OwnCall::ClusterId).await?;
        let uid = answer
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        match &self.pinned {
            _ if uid.is_empty() => Err(Unreached::Unidentified(format!(
                "the uid of kube-system cannot be read: {}",
                message_of(&answer)
            ))),
            Some(pinned) if *pinned != uid => Err(Unreached::Unidentified(format!(
                "its uid is {uid}, pinned was {pinned}"
            ))),
            Some(_) | None => Ok(self.known.get_or_init(|| ClusterRef {
                name: self.name.clone(),
                uid,
            })),
        }
    }

    /// The first door: a caller's request, rebuilt from its action.
    pub(crate) async fn forward(&self, pass: &Pass) -> Result<Arrived, Unreached> {
        let outgoing = pass.outgoing();
        let mut request = self.request(outgoing, pass.audit_id().as_str()).await?;
        for (name, value) in pass.client_headers() {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        impersonate(&mut request, &pass.impersonation(), Some(pass.session()))?;
        match pass.action().options().endless {
            true => self.begun(self.streams.send(request).await).await,
            false => self.send(&self.requests, request).await,
        }
    }

    /// The second door: a look-up as the caller. `Ok` holds the status code and the document, which nobody has masked yet.
    pub(crate) async fn look_up(
        &self,
        lookup: &Lookup,
        audit_id: &str,
        session: Option<&str>,
    ) -> Result<(StatusCode, Value), Unreached> {
        let mut request = self.request(lookup.outgoing(), audit_id).await?;
        impersonate(&mut request, &lookup.caller().impersonation(), session)?;
        let arrived = self.send(&self.requests, request).await?;
        document(arrived).await
    }

    /// The third door.
    pub async fn own(&self, call: OwnCall) -> Result<Value, Unreached> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Unreached::Unsent("this machine gives no random bytes".into()))?;
        let request = self.request(call.outgoing(), AuditId::own(random).as_str()).await?;
        let (code, value) = document(self.send(&self.requests, request).await?).await?;
        match code.is_success() {
            true => Ok(value),
            false => Err(Unreached::Unsent(format!(
                "{call:?} was answered {code}: {}",
                message_of(&value)
            ))),
        }
    }

    async fn send(&self, lane: &Lane, request: Request<Full<Bytes>>) -> Result<Arrived, Unreached> {
        match tokio::time::timeout(ANSWER, lane.send(request)).await {
            Ok(answer) => self.begun(answer).await,
            Err(_) => Err(Unreached::Late),
        }
    }

    async fn begun(&self, answer: Result<(Response<Incoming>, Place), Unreached>) -> Result<Arrived, Unreached> {
        let (response, place) = answer?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // An exec plugin is asked anew for the next request.
            self.credential.was_refused().await;
        }
        Ok(Arrived { response, place })
    }

    async fn request(&self, outgoing: Outgoing, audit_id: &str) -> Result<Request<Full<Bytes>>, Unreached> {
        let unsent = |e: http::Error| Unreached::Unsent(e.to_string());
        let mut request = Request::builder()
            .method(outgoing.method)
            .uri(format!(
                "https://{}{}{}",
                self.credential
                    .server()
                    .authority()
                    .map_or("", http::uri::Authority::as_str),
                self.credential.path_prefix(),
                outgoing.path_and_query
            ))
            .body(Full::new(outgoing.body))
            .map_err(unsent)?;
        for (name, value) in &outgoing.headers {
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), header(value)?);
        }
        request.headers_mut().insert("audit-id", header(audit_id)?);
        if let Some(secret) = self
            .credential
            .authorization()
            .await
            .map_err(|e| Unreached::Unsent(e.to_string()))?
        {
            let mut value = header(secret.expose_secret())?;
            value.set_sensitive(true);
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl OwnCall {
    fn outgoing(&self) -> Outgoing {
        let outgoing = |method, path: &str, body: Option<Value>| Outgoing {
            method,
            path_and_query: path.to_owned(),
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("content-type", "application/json".to_owned()),
            ],
            body: body.map(|b| Bytes::from(b.to_string())).unwrap_or_default(),
        };
        let get = |path| outgoing("GET", path, None);
        let post = |path, body| outgoing("POST", path, Some(body));
        match self {
            OwnCall::ClusterId => get("/api/v1/namespaces/kube-system"),
            OwnCall::Version => get("/version"),
            // kubernetes `pkg/routes/openidmetadata.go` produces this media type and no other.
            OwnCall::ServiceAccountKeys => Outgoing {
                headers: vec![("accept", "application/jwk-set+json".to_owned())],
                ..get("/openid/v1/jwks")
            },
            OwnCall::TokenReview { token, audiences } => post(
                "/apis/authentication.k8s.io/v1/tokenreviews",
                serde_json::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec":
                    {"token": token.expose_secret(), "audiences": audiences}}),
            ),
            OwnCall::SelfSubjectReview => post(
                "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                serde_json::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
            ),
            OwnCall::SelfSubjectAccessReview {
                verb,
                group,
                resource,
                subresource,
                name,
            } => post(
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                serde_json::json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes":
                    {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}}}),
            ),
        }
    }
}

/// Set last, after everything else, so that no other header can take their place.
// INVARIANT: `Impersonate-User` is never empty: the API server would act as the gateway itself
// (apiserver `endpoints/filters/impersonation`, processImpersonationHeaders).
fn impersonate(
    request: &mut Request<Full<Bytes>>,
    who: &Impersonation,
    session: Option<&str>,
) -> Result<(), Unreached> {
    if who.user.is_empty() {
        return Err(Unreached::Unsent("the caller has no name to act as".into()));
    }
    let headers = request.headers_mut();
    headers.insert("impersonate-user", header(&who.user)?);
    for group in &who.groups {
        headers.append("impersonate-group", header(group)?);
    }
    if !who.uid.is_empty() {
        headers.insert("impersonate-uid", header(&who.uid)?);
    }
    for (key, values) in &who.extra {
        let name = extra_name(key)?;
        for value in values {
            headers.append(&name, header(value)?);
        }
    }
    // INVARIANT: after the claims of a token, in place of what they might have put there.
    if let Some(session) = session {
        headers.insert("impersonate-extra-mantlet.dev%2fsession", header(session)?);
    }
    Ok(())
}

/// Kubernetes: "the key must be percent-encoded" where it holds what cannot stand in a header's name (apiserver
/// `authentication/request/headerrequest`, unescapeExtraKey). Everything but letters, digits, `-`, `.`, `_` and `~` is.
fn extra_name(key: &str) -> Result<HeaderName, Unreached> {
    let mut name = String::from("impersonate-extra-");
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    HeaderName::try_from(name).map_err(|_| Unreached::Unsent("a key of the caller's extra cannot be sent".into()))
}

fn header(text: &str) -> Result<HeaderValue, Unreached> {
    HeaderValue::from_str(text).map_err(|_| Unreached::Unsent("a header value holds a control character".into()))
}

async fn document(arrived: Arrived) -> Result<(StatusCode, Value), Unreached> {
    let Arrived { response, place } = arrived;
    let code = response.status();
    let body = tokio::time::timeout(ANSWER, Limited::new(response.into_body(), LOOKUP_BYTES).collect()).await;
    drop(place);
    let bytes = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(e)) => return Err(Unreached::Broken(e.to_string())),
        Err(_) => return Err(Unreached::Late),
    };
    let value =
        mantlet_core::wire::json::parse(&bytes).map_err(|e| Unreached::Broken(format!("no JSON came back: {e}")))?;
    Ok((code, value))
}

fn message_of(status: &Value) -> &str {
    status.get("message").and_then(Value::as_str).unwrap_or("no message")
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreached::Unsent(why) | Unreached::Broken(why) | Unreached::Unidentified(why) => f.write_str(why),
            Unreached::Ended(why) => write!(f, "the stream ended before it began: {why}"),
            Unreached::Late => write!(f, "no answer within {} s", ANSWER.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_key_of_extra_is_escaped_where_it_could_not_be_a_header_and_the_session_is_the_gateways_own() {
        let mut request = Request::new(Full::default());
        let key = "example.com/a-b._~%c:d";
        let who = Impersonation {
            user: "ada".into(),
            groups: vec!["dev".into(), "sre".into()],
            uid: "u1".into(),
            extra: BTreeMap::from([(key.to_owned(), vec!["one".to_owned(), "two".to_owned()])]),
        };
        impersonate(&mut request, &who, Some("ses-1")).unwrap();
        let mut sent: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        sent.sort_unstable();
        assert_eq!(
            sent,
            [
                "impersonate-extra-example.com%2fa-b._~%25c%3ad: one",
                "impersonate-extra-example.com%2fa-b._~%25c%3ad: two",
                "impersonate-extra-mantlet.dev%2fsession: ses-1",
                "impersonate-group: dev",
                "impersonate-group: sre",
                "impersonate-uid: u1",
                "impersonate-user: ada",
            ]
        );
    }

    #[test]
    fn nothing_is_sent_without_a_name_or_with_a_line_break_in_one() {
        for (user, uid) in [("", "u1"), ("a\r\nb", ""), ("ada", "u\n1")] {
            let who = Impersonation {
                user: user.into(),
                uid: uid.into(),
                ..Impersonation::default()
            };
            let sent = impersonate(&mut Request::new(Full::default()), &who, None);
            assert!(matches!(sent, Err(Unreached::Unsent(_))), "{user:?} {uid:?}");
        }
    }
}
