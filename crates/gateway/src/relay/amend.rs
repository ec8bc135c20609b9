//! In: an answer that may be shown. Out: the same, with what the gateway itself has to add: its virtual group in discovery and OpenAPI, and
//! the law's part in what somebody asks about their own rights.
//! Refuses: discovery and reviews that cannot be read. Everything else passes untouched.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use mantlet_core::action::Target;
use mantlet_core::law::Law;
use mantlet_core::time::Timestamp;
use mantlet_desk::{AnswerBody, Desk, Visitor};
use serde_json::Value;

use super::admit::{Pass, Refused};
use super::mask::{Body, Shown, Source};
use super::refuse::Refusal;
use super::review::{Bench, Review};
use crate::upstream::Cluster;

/// Aggregated discovery of a cluster with hundreds of CRDs is about 2 MB.
const DISCOVERY_BYTES: usize = 16 * 1024 * 1024;

/// Adds the virtual group where a client learns which groups there are, and the law where one learns what it may do.
pub(crate) async fn amend(shown: Shown, law: &Law, cluster: &Cluster, now: Timestamp) -> Result<Shown, Refused> {
    let action = shown.pass.action();
    let merge = match action.target() {
        Target::Path(path) if shown.code == StatusCode::OK => match path.as_str() {
            "/apis" => mantlet_desk::discovery::merge_groups,
            "/openapi/v3" => mantlet_desk::discovery::merge_openapi_paths,
            _ => return Ok(shown),
        },
        Target::Path(_) | Target::Resource(_) => {
            return match Review::of(action).filter(|_| shown.code.is_success()) {
                Some(review) => reviewed(shown, review, law, cluster, now).await,
                None => Ok(shown),
            };
        }
    };
    let merged = |document: &mut Value| {
        merge(document);
        true
    };
    rewritten(shown, "discovery is no JSON, or larger than 16 MiB", |_, document| {
        merged(document)
    })
    .await
}

async fn reviewed(
    shown: Shown,
    review: Review,
    law: &Law,
    cluster: &Cluster,
    now: Timestamp,
) -> Result<Shown, Refused> {
    let Some(cluster) = cluster.identity() else {
        return Err(shown.pass.refuse(Refusal::Fault));
    };
    let amend = |pass: &Pass, document: &mut Value| {
        let caller = pass.shared_caller();
        let bench = Bench {
            law,
            cluster,
            caller,
            now,
        };
        review.amend(pass.action(), document, bench)
    };
    rewritten(shown, "the review is in a form to which the law cannot be added", amend).await
}

/// The answer with its document changed, read whole for it.
async fn rewritten(
    shown: Shown,
    otherwise: &str,
    change: impl FnOnce(&Pass, &mut Value) -> bool,
) -> Result<Shown, Refused> {
    let Shown {
        pass,
        code,
        headers,
        body,
    } = shown;
    let document = whole(body)
        .await
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(document) = document.and_then(|mut document| change(&pass, &mut document).then_some(document)) else {
        return Err(pass.refuse(Refusal::NotMasked(otherwise.to_owned())));
    };
    Ok(Shown {
        pass,
        code,
        headers,
        body: Body::Whole(Bytes::from(document.to_string())),
    })
}

/// The virtual API: same road, same proofs, no cluster.
pub(crate) async fn desk(mut pass: Pass, desk: &Desk, law: &Law, cluster: &Cluster) -> Result<Shown, Refused> {
    let Some(known) = cluster.identity() else {
        return Err(pass.refuse(Refusal::Fault));
    };
    let roles = law.roles(pass.caller().verified(), cluster.name());
    let answer = desk
        .answer(
            &Visitor {
                caller: pass.caller(),
                roles,
                cluster: known,
                law,
                request: pass.audit_id(),
            },
            pass.action(),
        )
        .await;
    pass.answered(answer.code);
    pass.because(&answer.reason);
    let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static(answer.content_type),
    );
    let body = match answer.body {
        AnswerBody::Whole(bytes) => Body::Whole(bytes),
        AnswerBody::Stream(pipe, feed) => Body::Begun(
            Bytes::new(),
            Source::Desk {
                pipe,
                feed: Some(feed.into_future()),
            },
        ),
    };
    Ok(Shown {
        pass,
        code,
        headers,
        body,
    })
}

async fn whole(body: Body) -> Option<Bytes> {
    let (begun, mut source) = match body {
        Body::Whole(bytes) => return Some(bytes),
        Body::Begun(begun, source) => (begun, source),
    };
    let mut all = BytesMut::from(begun);
    while let Some(chunk) = source.next().await {
        all.extend_from_slice(&chunk.ok()?);
        if all.len() > DISCOVERY_BYTES {
            return None;
        }
    }
    Some(all.freeze())
}
