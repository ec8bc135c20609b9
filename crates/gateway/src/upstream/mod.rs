//! The three doors to a cluster; nothing else in the process holds its credential.
//!
//! * [`Cluster::forward`] takes a [`Pass`]: a judged, recorded, paid-for request of a caller.
//! * [`Cluster::look_up`] takes a [`Lookup`], minted by the law for one caller and one action: read-only or `dryRun=All`.
//! * [`Cluster::own`] takes an [`OwnCall`], a closed list; its answers are never shown to a caller.
//!
//! What goes through the first two says as whom ([`ActAs`]): with the gateway's credential and impersonation, or with a token of the account itself.
//! The two never share a connection: a client certificate counts before a token.

mod dial;
mod lane;
mod tokens;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use mantlet_api::policy::ServiceAccountRef;
use mantlet_core::action::Sort;
use mantlet_core::identity::{ActAs, Impersonation};
use mantlet_core::law::{ClusterRef, Lookup};
use mantlet_core::mask::Masker;
use mantlet_core::record::AuditId;
use mantlet_core::wire::outgoing::Outgoing;
use mantlet_kubeconfig::Credential;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::relay::admit::Pass;
use crate::tasks::Tasks;
use dial::Dialer;
use lane::Lane;
pub(crate) use lane::Place;
pub use tokens::NoToken;
use tokens::{Given, NoTokenWhy, Token, Tokens};

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
    /// On which the gateway's credential is shown.
    own: Lanes,
    /// On which it is not: what goes there carries a token of somebody else.
    // INVARIANT: no request with a token of an account leaves by `own`. The API server would take it for the gateway's.
    nameless: Lanes,
    tokens: Tokens,
    observer: Option<Observer>,
}

/// The credential by which is read what a judgment needs and the caller may not read itself.
#[derive(Debug)]
struct Observer {
    credential: Credential,
    lanes: Lanes,
    /// Set once its address has proved to be that of the same cluster.
    at_home: OnceCell<()>,
}

/// Whose eyes a look-up reads with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Eyes<'a> {
    Caller { session: Option<&'a str> },
    Observer,
}

#[derive(Debug)]
struct Lanes {
    requests: Lane,
    /// Watches and followed logs have connections of their own: they hold their places for half an hour.
    streams: Lane,
}

/// Which of the two.
#[derive(Debug, Clone, Copy)]
enum Traffic {
    Request,
    Stream,
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
    /// The account that it was to be sent as has no token; nothing left.
    NoToken(NoToken),
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
    /// A token of an account that somebody acts as, for the API server itself.
    TokenRequest(ServiceAccountRef),
}

/// An answer whose body has not been read, and the place that reading it takes.
#[derive(Debug)]
pub struct Arrived {
    pub(crate) response: Response<Incoming>,
    pub(crate) place: Place,
}

impl Cluster {
    pub fn new(name: &str, pinned: Option<String>, credential: Credential, tasks: &Tasks) -> Self {
        let own = Lanes::new(Dialer::new(&credential), tasks);
        let nameless = Lanes::new(Dialer::nameless(&credential), tasks);
        Self {
            name: name.to_owned(),
            pinned,
            known: OnceLock::new(),
            masker: OnceLock::new(),
            credential,
            own,
            nameless,
            tokens: Tokens::default(),
            observer: None,
        }
    }

    /// The same cluster, with eyes of the gateway's own.
    #[must_use]
    pub fn with_observer(self, credential: Credential, tasks: &Tasks) -> Self {
        let observer = Observer {
            lanes: Lanes::new(Dialer::new(&credential), tasks),
            credential,
            at_home: OnceCell::new(),
        };
        Self {
            observer: Some(observer),
            ..self
        }
    }

    pub(crate) fn has_observer(&self) -> bool {
        self.observer.is_some()
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
        let mut request = self.request(pass.outgoing(), pass.audit_id().as_str())?;
        for (name, value) in pass.client_headers() {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let traffic = match pass.action().options().endless {
            true => Traffic::Stream,
            false => Traffic::Request,
        };
        match pass.acts_as() {
            ActAs::Impersonation(who) => self.impersonating(request, &who, Some(pass.session()), traffic).await,
            ActAs::Token(account) => match pass.action().verb().sort() {
                Sort::Reads | Sort::Stores | Sort::Deletes => self.bearing(request, &account, traffic).await,
                // What stands behind a connection may have said 401 itself, after it did who knows what.
                Sort::Connects => Ok(self.bearing_once(request, &account, traffic).await?.0),
            },
        }
    }

    /// The second door: one request of a look-up. `Ok` holds the status code and the document, which nobody has masked yet.
    pub(crate) async fn look_up(
        &self,
        lookup: &Lookup,
        outgoing: Outgoing,
        audit_id: &str,
        eyes: Eyes<'_>,
    ) -> Result<(StatusCode, Value), Unreached> {
        match (eyes, &self.observer) {
            (Eyes::Caller { session }, _) => {
                let request = self.request(outgoing, audit_id)?;
                let arrived = match lookup.caller().acts_as() {
                    ActAs::Impersonation(who) => self.impersonating(request, &who, session, Traffic::Request).await?,
                    ActAs::Token(account) => self.bearing(request, &account, Traffic::Request).await?,
                };
                document(arrived).await
            }
            (Eyes::Observer, Some(observer)) => {
                let home = self.identity().map_or("", |known| known.uid.as_str());
                observer.at_home.get_or_try_init(|| observer.is_at(home)).await?;
                observer.reads(outgoing, audit_id).await
            }
            (Eyes::Observer, None) => Err(Unreached::Unsent("the cluster has no observer".into())),
        }
    }

    /// The third door.
    pub async fn own(&self, call: OwnCall) -> Result<Value, Unreached> {
        let (code, value) = self.answered(&call).await?;
        match code.is_success() {
            true => Ok(value),
            false => Err(Unreached::Unsent(format!(
                "{call:?} was answered {code}: {}",
                message_of(&value)
            ))),
        }
    }

    async fn answered(&self, call: &OwnCall) -> Result<(StatusCode, Value), Unreached> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Unreached::Unsent("this machine gives no random bytes".into()))?;
        let mut request = self.request(call.outgoing(), AuditId::own(random).as_str())?;
        self.show(&mut request).await?;
        document(self.with_own(request, Traffic::Request).await?).await
    }

    /// With the gateway's credential, as somebody else.
    async fn impersonating(
        &self,
        mut request: Request<Full<Bytes>>,
        who: &Impersonation,
        session: Option<&str>,
        traffic: Traffic,
    ) -> Result<Arrived, Unreached> {
        self.show(&mut request).await?;
        impersonate(&mut request, who, session)?;
        self.with_own(request, traffic).await
    }

    /// With a token of the account. One that the cluster does not take is dropped, and the request sent once more with another: a 401 is said
    /// before anything is carried out (apiserver `pkg/server/config.go`, DefaultBuildHandlerChain: authentication is ahead of every handler).
    async fn bearing(
        &self,
        request: Request<Full<Bytes>>,
        account: &ServiceAccountRef,
        traffic: Traffic,
    ) -> Result<Arrived, Unreached> {
        let (arrived, taken) = self.bearing_once(request.clone(), account, traffic).await?;
        match taken {
            Taken::Yes => Ok(arrived),
            Taken::No => Ok(self.bearing_once(request, account, traffic).await?.0),
        }
    }

    async fn bearing_once(
        &self,
        mut request: Request<Full<Bytes>>,
        account: &ServiceAccountRef,
        traffic: Traffic,
    ) -> Result<(Arrived, Taken), Unreached> {
        let token = self.token(account).await?;
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, token.bearer()?);
        let arrived = self.nameless.send(request, traffic).await?;
        if arrived.response.status() != StatusCode::UNAUTHORIZED {
            return Ok((arrived, Taken::Yes));
        }
        tracing::warn!(
            cluster = self.name,
            namespace = account.namespace,
            account = account.name,
            "the cluster does not take a token that it gave; it is dropped"
        );
        self.tokens.refused(account, &token);
        Ok((arrived, Taken::No))
    }

    async fn token(&self, account: &ServiceAccountRef) -> Result<Arc<Token>, Unreached> {
        self.tokens.of(account, || self.ask_for_token(account)).await
    }

    async fn ask_for_token(&self, account: &ServiceAccountRef) -> Result<Given, Unreached> {
        let answer = self.answered(&OwnCall::TokenRequest(account.clone())).await;
        // Whatever became of this, the request that it was for has not left.
        let (code, value) = answer.map_err(|why| Unreached::Unsent(format!("no token could be asked for: {why}")))?;
        let no = |why| {
            Err(Unreached::NoToken(NoToken {
                account: account.clone(),
                why,
            }))
        };
        match code {
            StatusCode::FORBIDDEN => no(NoTokenWhy::Forbidden(message_of(&value).to_owned())),
            StatusCode::NOT_FOUND => no(NoTokenWhy::Absent),
            code if code.is_success() => match Given::of(&value) {
                Some(given) => Ok(given),
                None => no(NoTokenWhy::Answered("an answer without a token in it".into())),
            },
            code => no(NoTokenWhy::Answered(format!("{code}: {}", message_of(&value)))),
        }
    }

    async fn with_own(&self, request: Request<Full<Bytes>>, traffic: Traffic) -> Result<Arrived, Unreached> {
        let arrived = self.own.send(request, traffic).await?;
        if arrived.response.status() == StatusCode::UNAUTHORIZED {
            // An exec plugin is asked anew for the next request.
            self.credential.was_refused().await;
        }
        Ok(arrived)
    }

    /// Without any credential.
    fn request(&self, outgoing: Outgoing, audit_id: &str) -> Result<Request<Full<Bytes>>, Unreached> {
        request_to(&self.credential, outgoing, audit_id)
    }

    /// Adds the gateway's own token, if that is what its credential is.
    async fn show(&self, request: &mut Request<Full<Bytes>>) -> Result<(), Unreached> {
        show(&self.credential, request).await
    }
}

impl Observer {
    /// As itself: it impersonates nobody.
    async fn reads(&self, outgoing: Outgoing, audit_id: &str) -> Result<(StatusCode, Value), Unreached> {
        let mut request = request_to(&self.credential, outgoing, audit_id)?;
        show(&self.credential, &mut request).await?;
        let arrived = self.lanes.send(request, Traffic::Request).await?;
        if arrived.response.status() == StatusCode::UNAUTHORIZED {
            self.credential.was_refused().await;
        }
        document(arrived).await
    }

    // INVARIANT: nothing is judged by what another cluster says.
    async fn is_at(&self, home: &str) -> Result<(), Unreached> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| Unreached::Unsent("this machine gives no random bytes".into()))?;
        let (_, namespace) = self
            .reads(OwnCall::ClusterId.outgoing(), AuditId::own(random).as_str())
            .await?;
        let uid = namespace
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match !uid.is_empty() && uid == home {
            true => Ok(()),
            false => Err(Unreached::Unidentified(
                "the observer does not read the uid of this cluster's kube-system".into(),
            )),
        }
    }
}

/// A request to the server of this credential, without the credential in it.
fn request_to(credential: &Credential, outgoing: Outgoing, audit_id: &str) -> Result<Request<Full<Bytes>>, Unreached> {
    let unsent = |e: http::Error| Unreached::Unsent(e.to_string());
    let mut request = Request::builder()
        .method(outgoing.method)
        .uri(format!(
            "https://{}{}{}",
            credential.server().authority().map_or("", http::uri::Authority::as_str),
            credential.path_prefix(),
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
    Ok(request)
}

/// Adds the credential's token, if it has one.
async fn show(credential: &Credential, request: &mut Request<Full<Bytes>>) -> Result<(), Unreached> {
    let secret = credential.authorization().await;
    if let Some(secret) = secret.map_err(|e| Unreached::Unsent(e.to_string()))? {
        let mut value = header(secret.expose_secret())?;
        value.set_sensitive(true);
        request.headers_mut().insert(http::header::AUTHORIZATION, value);
    }
    Ok(())
}

/// Whether the cluster knew the token.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Yes,
    No,
}

impl Lanes {
    fn new(dialer: Dialer, tasks: &Tasks) -> Self {
        let dialer = Arc::new(dialer);
        Self {
            requests: Lane::new(dialer.clone(), tasks.clone()),
            streams: Lane::new(dialer, tasks.clone()),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>, traffic: Traffic) -> Result<Arrived, Unreached> {
        let (response, place) = match traffic {
            Traffic::Stream => self.streams.send(request).await?,
            Traffic::Request => match tokio::time::timeout(ANSWER, self.requests.send(request)).await {
                Ok(answer) => answer?,
                Err(_) => return Err(Unreached::Late),
            },
        };
        Ok(Arrived { response, place })
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
            // No audiences: those of the API server, who fills them in.
            OwnCall::TokenRequest(ServiceAccountRef { namespace, name }) => post(
                &format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"),
                serde_json::json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec":
                    {"expirationSeconds": tokens::LIFETIME.as_secs()}}),
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
            Unreached::NoToken(why) => why.fmt(f),
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
