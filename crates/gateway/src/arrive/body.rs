//! In: the body of a request, unread, and room for it. Out: all of it, or nothing if it is empty.
//! Refuses: more than 3 MiB, what is not there within 60 s, what breaks off, more than its identity has room for.
//! Does not look inside.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use mantlet_core::action::{Unreadable, UnreadableStatus};

use super::framing::Fault;
use super::limits::{BODY_BYTES, Room};
use crate::relay::refuse::Refusal;

/// As long as kube-apiserver gives a whole request (`--request-timeout`): a client that trickles keeps its room no longer.
pub(crate) const TIME: Duration = Duration::from_secs(60);

/// Reads it to its end.
///
/// # Cancel safety
/// Nothing has happened yet; dropping it drops the body and its connection.
pub(crate) async fn read<B>(body: B, room: &mut Room, within: Duration) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(within, gather(body, room)).await {
        Ok(read) => read.map(|all| Some(all).filter(|all| !all.is_empty())),
        Err(_) => Err(Refusal::NotFramed(Fault::SlowBody)),
    }
}

/// Trailers are dropped: nothing that came behind a body was judged with it.
async fn gather<B>(mut body: B, room: &mut Room) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > BODY_BYTES {
            return Err(too_large());
        }
        room.grow(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn too_large() -> Refusal {
    Refusal::NotUnderstood(Unreadable {
        status: UnreadableStatus::TooLarge,
        message: "the body is larger than 3 MiB, the most that an API server takes".into(),
    })
}

/// Whether the client went away or sent what no body is.
fn broken(error: &hyper::Error) -> Refusal {
    let mut source = error.source();
    while let Some(cause) = source {
        let inside = cause.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref());
        if let Some(fault) = inside.and_then(|e| e.downcast_ref::<Fault>()) {
            return Refusal::NotFramed(*fault);
        }
        source = cause.source();
    }
    Refusal::NotFramed(Fault::BrokenOff)
}
