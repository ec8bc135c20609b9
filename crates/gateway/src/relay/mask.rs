//! In: the cluster's answer. Out: its head, and its body masked: whole where it is short, else its beginning and the means to go on.
//! Refuses: encoded bodies, media types that nobody can mask, what fails to mask within the first 64 KiB. Later faults cut the body.
//! Does not choose by verb: whatever kind comes back is masked (`mantlet_core::mask`).

use std::future::Future;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mantlet_core::action::{Action, Answer, Sort};
use mantlet_core::mask::stream::Rewriter;
use mantlet_core::mask::{Hint, Masker};
use tokio::sync::mpsc;

use super::admit::{Pass, Refused};
use super::forward::Forwarded;
use super::refuse::Refusal;
use crate::stream::cut::Cut;
use crate::upstream::{Arrived, Place};

/// As much of an answer is held back before its head is sent: faults in it are still a clean 502.
const HELD: usize = 64 * 1024;
/// Errors are read whole: their texts can hold what was sent (an object is at most 1.5 MiB in etcd, quoted twice that).
const STATUS_BYTES: usize = 4 * 1024 * 1024;

/// An answer that may be shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) pass: Pass,
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Whole(Bytes),
    /// The beginning, and where the rest comes from.
    Begun(Bytes, Source),
}

/// The rest of a body: read, masked, handed out chunk by chunk. Holds its place on the upstream connection.
pub(crate) enum Source {
    /// As it comes: logs, discovery.
    Verbatim { incoming: Incoming, _place: Place },
    /// Through the rewriter; None once it has ended.
    Masked {
        incoming: Incoming,
        _place: Place,
        rewriter: Option<Box<Rewriter>>,
    },
    /// From the virtual API, which holds masked values only. Reading it drives what feeds it.
    Desk {
        pipe: mpsc::Receiver<Bytes>,
        feed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Verbatim { .. } => "Verbatim",
            Source::Masked { .. } => "Masked",
            Source::Desk { .. } => "Desk",
        })
    }
}

/// Masks the answer, or refuses it.
pub(crate) async fn mask(forwarded: Forwarded, masker: &Masker) -> Result<Shown, Refused> {
    let Forwarded {
        pass,
        arrived: Arrived { response, place },
    } = forwarded;
    let (parts, incoming) = response.into_parts();
    if parts.status == StatusCode::UNAUTHORIZED {
        // It is the gateway's credential that was refused, not the caller's: theirs never went there.
        return Err(pass.refuse(Refusal::NotAccepted));
    }
    if parts.headers.contains_key(CONTENT_ENCODING) {
        return Err(pass.refuse(Refusal::NotMasked(
            "the answer is encoded although identity was asked for".into(),
        )));
    }
    let media = media_type(&parts.headers);
    let source = match (pass.action().answer(), media.as_str()) {
        (Answer::Verbatim, _) => Source::Verbatim {
            incoming,
            _place: place,
        },
        // What the mux says before any handler does: `404 page not found`.
        (Answer::Masked { .. }, "text/plain") if parts.status.is_client_error() || parts.status.is_server_error() => {
            return plain_error(pass, parts, incoming).await;
        }
        (Answer::Masked { secret: true }, "application/json")
            if parts.status.is_client_error() || parts.status.is_server_error() =>
        {
            return secret_error(pass, parts, incoming).await;
        }
        (Answer::Masked { secret }, "application/json") => Source::Masked {
            incoming,
            _place: place,
            rewriter: Some(Box::new(Rewriter::new(
                masker,
                if secret { Hint::Secrets } else { Hint::Other },
            ))),
        },
        (Answer::Masked { .. }, other) => {
            return Err(pass.refuse(Refusal::NotMasked(format!("the answer came as `{other}`"))));
        }
    };
    let body = if pass.action().options().endless {
        Ok(Body::Begun(Bytes::new(), source))
    } else {
        hold(source, held(pass.action())).await
    };
    match body {
        Ok(body) => Ok(Shown {
            pass,
            code: parts.status,
            headers: parts.headers,
            body,
        }),
        Err(Cut::Unmaskable) => Err(pass.refuse(Refusal::NotMasked(
            "the answer is not the JSON that it says it is".into(),
        ))),
        Err(
            cut @ (Cut::TokenEnded
            | Cut::Disowned
            | Cut::SessionEnded
            | Cut::AgentEnded
            | Cut::LawChanged
            | Cut::Suspended
            | Cut::Stopped
            | Cut::Drained
            | Cut::Stalled
            | Cut::Broken),
        ) => Err(pass.refuse(Refusal::NotMasked(format!("the answer ended early: {}", cut.as_str())))),
    }
}

/// Of a write the whole answer: one object, of which the record says what was stored.
fn held(action: &Action) -> usize {
    match action.verb().sort() {
        Sort::Stores => STATUS_BYTES,
        Sort::Reads | Sort::Deletes | Sort::Connects => HELD,
    }
}

async fn hold(mut source: Source, limit: usize) -> Result<Body, Cut> {
    let mut held = Bytes::new();
    while held.len() < limit {
        match source.next().await {
            // Most answers are one piece, and it is not copied.
            Some(Ok(chunk)) if held.is_empty() => held = chunk,
            Some(Ok(chunk)) => held = joined(held, &chunk),
            Some(Err(cut)) => return Err(cut),
            None => return Ok(Body::Whole(held)),
        }
    }
    Ok(Body::Begun(held, source))
}

/// In the room of the first where nobody shares it.
fn joined(held: Bytes, more: &[u8]) -> Bytes {
    let mut all = held
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    all.extend_from_slice(more);
    all.freeze()
}

impl Source {
    /// The next piece that may be shown; None at the clean end.
    ///
    /// # Cancel safety
    /// No byte is lost if the future is dropped before it resolves.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        match self {
            Source::Verbatim { incoming, .. } => data(incoming).await,
            Source::Desk { pipe, feed } => fed(pipe, feed).await.map(Ok),
            Source::Masked { incoming, rewriter, .. } => loop {
                let Some(active) = rewriter else { return None };
                let mut out = Vec::new();
                let masked = match data(incoming).await {
                    Some(Ok(bytes)) => {
                        // As a rule as much comes out as goes in; growing piece by piece would copy it, and keep twice the room.
                        out.reserve_exact(bytes.len());
                        active.push(&bytes, &mut out)
                    }
                    Some(Err(cut)) => return Some(Err(cut)),
                    None => rewriter.take().map_or(Ok(()), |last| last.finish(&mut out)),
                };
                match masked {
                    Ok(()) if out.is_empty() => {}
                    Ok(()) => return Some(Ok(Bytes::from(out))),
                    Err(_) => return Some(Err(Cut::Unmaskable)),
                }
            },
        }
    }
}

async fn fed(
    pipe: &mut mpsc::Receiver<Bytes>,
    feed: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
) -> Option<Bytes> {
    loop {
        let Some(running) = feed else { return pipe.recv().await };
        tokio::select! {
            biased;
            chunk = pipe.recv() => return chunk,
            () = running => *feed = None,
        }
    }
}

/// The next bytes of a body. Trailers are dropped: nobody has said what they may hold.
async fn data(incoming: &mut Incoming) -> Option<Result<Bytes, Cut>> {
    loop {
        match incoming.frame().await {
            None => return None,
            Some(Err(_)) => return Some(Err(Cut::Broken)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => return Some(Ok(bytes)),
                Err(_trailers) => {}
            },
        }
    }
}

async fn plain_error(pass: Pass, parts: http::response::Parts, incoming: Incoming) -> Result<Shown, Refused> {
    let Some(bytes) = read(incoming, HELD).await else {
        return Err(pass.refuse(Refusal::NotMasked("the error text did not come whole".into())));
    };
    let text = mantlet_core::mask::text(&String::from_utf8_lossy(&bytes));
    Ok(Shown {
        pass,
        code: parts.status,
        headers: parts.headers,
        body: Body::Whole(Bytes::from(text.to_string())),
    })
}

/// A 422 quotes the patched object, data and all (apiserver `endpoints/handlers/patch.go`): of errors about Secrets only the shape is kept.
async fn secret_error(pass: Pass, parts: http::response::Parts, incoming: Incoming) -> Result<Shown, Refused> {
    let status = match read(incoming, STATUS_BYTES).await {
        Some(bytes) => mantlet_core::wire::json::parse(&bytes).ok(),
        None => None,
    };
    match status {
        Some(status) => {
            let bytes = Bytes::from(mantlet_core::mask::status(status).to_string());
            Ok(Shown {
                pass,
                code: parts.status,
                headers: parts.headers,
                body: Body::Whole(bytes),
            })
        }
        None => Err(pass.refuse(Refusal::NotMasked("the error about a Secret is no Status".into()))),
    }
}

async fn read(incoming: Incoming, limit: usize) -> Option<Bytes> {
    http_body_util::Limited::new(incoming, limit)
        .collect()
        .await
        .ok()
        .map(|b| b.to_bytes())
}

fn media_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
