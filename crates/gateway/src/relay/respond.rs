//! In: an answer's head and the masked beginning of its body, or a refusal. Out: the reply; its body, or the pump behind it, now owns the Pass.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use mantlet_core::action::Sort;
use mantlet_core::mask::Hint;
use mantlet_core::record::Stored;
use mantlet_core::time::Clock;
use tokio::sync::mpsc;

use super::admit::Pass;
use super::mask::{self, Shown};
use crate::stream::pump;
use crate::tasks::Tasks;

/// The body of a reply.
#[derive(Debug)]
pub enum ReplyBody {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// A pump feeds it; see `stream::pump`. When it stops, `whole` says whether that was the end.
    Piped {
        pipe: mpsc::Receiver<Bytes>,
        whole: Arc<AtomicBool>,
    },
}

/// The body ended before its end: no last chunk is sent on HTTP/1.1, RST_STREAM on HTTP/2, so that no client takes the part for the whole.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the answer was cut short")]
pub struct CutShort;

/// Headers of the cluster that a client may see; all others stay here.
const RELAYED: [HeaderName; 5] = [
    CONTENT_TYPE,
    CACHE_CONTROL,
    RETRY_AFTER,
    HeaderName::from_static("x-kubernetes-pf-flowschema-uid"),
    HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"),
];

/// The reply to an answer that may be shown. What is here whole goes into the record first.
pub(crate) async fn respond(shown: Shown, clock: Arc<dyn Clock>, tasks: &Tasks) -> Response<ReplyBody> {
    let Shown {
        mut pass,
        code,
        headers,
        body,
    } = shown;
    let id = HeaderValue::from_str(pass.audit_id().as_str());
    let warnings = pass.warnings().to_vec();
    let body = match body {
        mask::Body::Whole(bytes) => {
            pass.sent(bytes.len() as u64);
            note_stored(&mut pass, code, &bytes);
            pass.keep_answer(&bytes).await;
            pass.close();
            ReplyBody::whole(bytes)
        }
        mask::Body::Begun(begun, source) => pump::start(begun, source, pass, clock, tasks),
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let out = response.headers_mut();
    for name in RELAYED {
        if let Some(value) = headers.get(&name) {
            out.insert(name, value.clone());
        }
    }
    for value in headers.get_all(WARNING) {
        if let Some(value) = masked_header(value) {
            out.append(WARNING, value);
        }
    }
    warn(out, &warnings);
    if let Ok(id) = id {
        out.insert("audit-id", id);
    }
    response
}

/// What a write left behind goes into the record; that it is not what was judged, into the log too (`core::record::stored`).
fn note_stored(pass: &mut Pass, code: StatusCode, answer: &[u8]) {
    let stores =
        pass.action().verb().sort() == Sort::Stores && code.is_success() && !mantlet_desk::serves(pass.action());
    let dry_run = pass.action().options().dry_run;
    let Some(object) = (stores && !dry_run)
        .then(|| mantlet_core::wire::json::parse(answer).ok())
        .flatten()
    else {
        return;
    };
    // What the client is shown is masked already; this minds the type, and costs as much as looking.
    let object = mantlet_core::mask::value(object, Hint::Other);
    if let Some(stored) = Stored::of(pass.judged(), &object) {
        if !stored.differs.is_empty() {
            let (audit_id, differs) = (pass.audit_id().clone(), stored.differs.join(", "));
            tracing::warn!(%audit_id, differs, "what was stored is not what was judged");
        }
        pass.stores(stored);
    }
}

/// `Warning: 299 - "text"` (RFC 7234 5.5), which kubectl prints on stderr. UTF-8 as it is, as the API server writes its own
/// (apimachinery `pkg/util/net/http.go`, NewWarningHeader).
pub(crate) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    for text in warnings {
        let quoted = mantlet_core::mask::text(text)
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace(char::is_control, " ");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

fn masked_header(value: &HeaderValue) -> Option<HeaderValue> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?;
    HeaderValue::from_bytes(mantlet_core::mask::text(text).as_bytes()).ok()
}

impl ReplyBody {
    pub fn whole(bytes: Bytes) -> Self {
        ReplyBody::Whole(Some(bytes))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match &mut *self {
            ReplyBody::Whole(bytes) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            ReplyBody::Piped { pipe, whole } => pipe.poll_recv(cx).map(|chunk| match chunk {
                Some(bytes) => Some(Ok(Frame::data(bytes))),
                None if whole.load(Ordering::Acquire) => None,
                None => Some(Err(CutShort)),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            ReplyBody::Piped { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            ReplyBody::Piped { .. } => SizeHint::default(),
        }
    }
}
