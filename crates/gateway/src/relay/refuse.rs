//! In: a [`Refusal`]. Out: a Kubernetes `Status` that kubectl prints and client-go understands.
//!
//! The only file that knows status codes and message texts of refusals. What kubectl makes of each code was measured: 403 with a reason is
//! printed with that reason and not retried; 429 and 503 with `Retry-After` are retried ten times in silence (which suits an agent's limits, as it
//! suits APF, and nothing else); 422 hides the message if there are causes.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use mantlet_core::action::{Unreadable, UnreadableStatus};
use mantlet_core::identity::token::Blame;
use mantlet_core::law::{Denial, DenialReason, Question};
use mantlet_store::OverQuota;
use serde_json::{Value, json};

use super::respond::ReplyBody;
use crate::arrive::authenticate::SignInFault;
use crate::arrive::framing::Fault;
use crate::upstream::Unreached;

/// Why a request did not get its answer, by who must act.
#[derive(Debug)]
pub enum Refusal {
    /// The client: nothing that the API server would read the same way.
    NotUnderstood(Unreadable),
    /// The client: no HTTP that all read the same way, or too slow.
    NotFramed(Fault),
    /// The client: less at once, or later.
    TooMuch(&'static str),
    /// The client: sign in (again).
    NotSignedIn(SignInFault),
    /// The caller: ask for access; names the rule.
    NotAllowed(Denial),
    /// The caller: this needs a human.
    NotApproved(Question),
    /// The caller: not served here, though the law has nothing against it.
    NotServed(String),
    /// The operator: the journal is down or full, nothing was forwarded.
    NotRecorded(String),
    /// The caller: their share of the journal is filled until the hour is over.
    OverQuota(OverQuota),
    /// The operator: the answer cannot be masked; what the request did, it did.
    NotMasked(String),
    /// The operator: the cluster does not accept the gateway's own credential.
    NotAccepted,
    /// The operator: the cluster cannot be reached. `sent` tells whether the request left.
    NotReached { why: Unreached, changes: bool },
    /// The operator: a fault of this program.
    Fault,
}

/// Seconds; as the API server says it (apiserver `pkg/server/filters/maxinflight.go`, retryAfter).
const RETRY_AFTER: u64 = 1;

impl Refusal {
    /// Status code and reason, as recorded and as sent.
    pub(crate) fn code(&self) -> (StatusCode, &str) {
        match self {
            Refusal::NotUnderstood(u) => match u.status {
                UnreadableStatus::BadRequest => (StatusCode::BAD_REQUEST, "BadRequest"),
                UnreadableStatus::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
                UnreadableStatus::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
                UnreadableStatus::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
                UnreadableStatus::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
                UnreadableStatus::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
                UnreadableStatus::Unprocessable => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            },
            Refusal::NotFramed(fault) => (fault.code(), fault.reason()),
            Refusal::TooMuch(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Refusal::NotSignedIn(fault) => match fault.blame() {
                Blame::Token => (StatusCode::UNAUTHORIZED, "Unauthorized"),
                Blame::Name => (StatusCode::FORBIDDEN, "Forbidden"),
                Blame::Issuer => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            },
            Refusal::NotAllowed(denial) => match &denial.reason {
                DenialReason::Upstream { code, status } => (
                    StatusCode::from_u16(*code).unwrap_or(StatusCode::BAD_GATEWAY),
                    reason_of(status),
                ),
                DenialReason::LimitReached => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
                DenialReason::NotRecognized
                | DenialReason::Suspended
                | DenialReason::SessionEnded
                | DenialReason::ScopeDenied
                | DenialReason::SelfProtection
                | DenialReason::PolicyDenied => {
                    (StatusCode::FORBIDDEN, denial.status_reason().unwrap_or("PolicyDenied"))
                }
            },
            Refusal::NotApproved(_) => (StatusCode::FORBIDDEN, "ApprovalRequired"),
            Refusal::NotServed(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Refusal::NotRecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "NotRecorded"),
            // Without Retry-After: client-go would wait and ask ten times over, which fills the journal of everybody.
            Refusal::OverQuota(_) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Refusal::NotMasked(_) => (StatusCode::BAD_GATEWAY, "NotMasked"),
            Refusal::NotAccepted => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Refusal::NotReached {
                why: Unreached::Late | Unreached::Ended(_),
                ..
            } => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Refusal::NotReached {
                why: Unreached::Broken(_),
                ..
            } => (StatusCode::BAD_GATEWAY, "BadGateway"),
            Refusal::NotReached {
                why: Unreached::Unsent(_) | Unreached::Unidentified(_),
                ..
            } => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Refusal::Fault => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    /// What the caller reads: what happened, why, what to type next.
    pub(crate) fn message(&self) -> String {
        match self {
            Refusal::NotUnderstood(u) => u.message.clone(),
            Refusal::NotFramed(fault) => fault.says().to_owned(),
            Refusal::TooMuch(message) => (*message).to_owned(),
            Refusal::NotSignedIn(fault) => fault.for_caller().to_owned(),
            Refusal::NotAllowed(denial) => denial.message.clone(),
            Refusal::NotApproved(question) => question.message.clone(),
            Refusal::NotServed(message) => message.clone(),
            Refusal::NotRecorded(_) => {
                "the gateway cannot record this request, so it was not sent; nothing changed. Ask its operator to look at /readyz?verbose".into()
            }
            Refusal::OverQuota(over) => format!(
                "this identity's requests have filled its share of the gateway's record for this hour ({} MiB); nothing was sent. Requests are taken again from {}; do not retry before",
                over.bytes >> 20,
                over.until.to_seconds_text()
            ),
            Refusal::NotMasked(_) => {
                "the cluster's answer cannot be masked safely, so it is not shown. If this was a write, it may have happened: look with `kubectl get`".into()
            }
            Refusal::NotAccepted => "the cluster does not accept the gateway's own credential; nothing changed. Ask the gateway's operator".into(),
            Refusal::NotReached { why: Unreached::Unsent(_), .. } => "the cluster cannot be reached; nothing was sent. Try again later".into(),
            Refusal::NotReached { why: Unreached::Unidentified(_), .. } => {
                "the cluster behind this gateway is not the one it was set up for, or has not said who it is; nothing was sent".into()
            }
            Refusal::NotReached { why: Unreached::Broken(_) | Unreached::Late | Unreached::Ended(_), changes: true } => {
                "the connection to the cluster broke after the request was sent: whether it happened is unknown. Look with `kubectl get` before you repeat it".into()
            }
            Refusal::NotReached { why: Unreached::Broken(_) | Unreached::Late | Unreached::Ended(_), changes: false } => {
                "the connection to the cluster broke before it answered. Reading again is safe".into()
            }
            Refusal::Fault => "the gateway failed while it handled this request; what was sent is in its record".into(),
        }
    }

    /// What the log says; never a secret, often more than the caller may know.
    pub(crate) fn to_log(&self) -> String {
        match self {
            Refusal::NotRecorded(why) | Refusal::NotMasked(why) => why.clone(),
            Refusal::NotAllowed(Denial {
                detail: Some(detail), ..
            }) => detail.clone(),
            Refusal::NotReached { why, .. } => why.to_string(),
            Refusal::NotSignedIn(fault) => fault.to_string(),
            Refusal::NotUnderstood(_)
            | Refusal::NotFramed(_)
            | Refusal::TooMuch(_)
            | Refusal::NotAllowed(_)
            | Refusal::NotApproved(_)
            | Refusal::NotServed(_)
            | Refusal::OverQuota(_)
            | Refusal::NotAccepted
            | Refusal::Fault => self.message(),
        }
    }

    /// Which check a credential failed.
    pub(crate) fn check(&self) -> Option<&'static str> {
        match self {
            Refusal::NotSignedIn(fault) => Some(fault.check()),
            Refusal::NotUnderstood(_)
            | Refusal::NotFramed(_)
            | Refusal::TooMuch(_)
            | Refusal::NotAllowed(_)
            | Refusal::NotApproved(_)
            | Refusal::NotServed(_)
            | Refusal::OverQuota(_)
            | Refusal::NotRecorded(_)
            | Refusal::NotMasked(_)
            | Refusal::NotAccepted
            | Refusal::NotReached { .. }
            | Refusal::Fault => None,
        }
    }

    fn details(&self) -> Option<Value> {
        match self {
            // apimachinery `pkg/api/errors`, NewTooManyRequests.
            Refusal::NotAllowed(denial) if self.is_worth_a_retry() => {
                Some(json!({"causes": causes(&denial.causes), "retryAfterSeconds": RETRY_AFTER}))
            }
            Refusal::NotAllowed(denial) => Some(json!({"causes": causes(&denial.causes)})),
            Refusal::NotApproved(question) => Some(json!({"causes": causes(&question.causes)})),
            Refusal::NotUnderstood(_)
            | Refusal::NotFramed(_)
            | Refusal::TooMuch(_)
            | Refusal::NotSignedIn(_)
            | Refusal::NotServed(_)
            | Refusal::NotRecorded(_)
            | Refusal::OverQuota(_)
            | Refusal::NotMasked(_)
            | Refusal::NotAccepted
            | Refusal::NotReached { .. }
            | Refusal::Fault => None,
        }
    }

    /// Whether the very same request may pass a moment later, with nobody doing anything.
    fn is_worth_a_retry(&self) -> bool {
        matches!(
            self,
            Refusal::TooMuch(_)
                | Refusal::NotAllowed(Denial {
                    reason: DenialReason::LimitReached,
                    ..
                })
        )
    }

    /// The whole answer. `audit_id` is missing only where no entry could be made.
    pub(crate) fn into_reply(self, audit_id: Option<&str>) -> Response<ReplyBody> {
        let (code, reason) = self.code();
        let status = match &self {
            // The API server refused the rehearsal; the request itself would have got the same answer.
            Refusal::NotAllowed(Denial {
                reason: DenialReason::Upstream { status, .. },
                ..
            }) => Value::clone(status),
            _ => self.status(code, reason),
        };
        let mut response = Response::new(ReplyBody::whole(Bytes::from(status.to_string())));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            http::header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, private"),
        );
        if let Some(id) = audit_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("audit-id", id);
        }
        if self.is_worth_a_retry() {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        if code == StatusCode::UNAUTHORIZED {
            headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    fn status(&self, code: StatusCode, reason: &str) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message(), "reason": reason, "code": code.as_u16(),
        });
        if let (Some(details), Some(map)) = (self.details(), status.as_object_mut()) {
            map.insert("details".into(), details);
        }
        status
    }
}

fn reason_of(status: &Value) -> &str {
    status.get("reason").and_then(Value::as_str).unwrap_or("Unknown")
}

fn causes(causes: &[(String, String)]) -> Value {
    causes
        .iter()
        .map(|(reason, message)| json!({"reason": reason, "message": message}))
        .collect()
}
