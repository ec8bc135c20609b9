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

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{StreamBody, combinators::BoxBody};

    use super::*;
    use crate::arrive::limits::Limits;

    const SHORT: Duration = Duration::from_millis(20);

    fn of(pieces: Vec<Bytes>) -> BoxBody<Bytes, hyper::Error> {
        let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
        BoxBody::new(StreamBody::new(stream::iter(frames)))
    }

    async fn read_for(
        who: &str,
        limits: &Limits,
        body: BoxBody<Bytes, hyper::Error>,
    ) -> Result<Option<Bytes>, Refusal> {
        read(body, &mut limits.room(who.to_owned()), SHORT).await
    }

    #[tokio::test]
    async fn a_body_comes_whole_or_not_at_all() {
        let limits = Limits::default();
        let pieces = vec![Bytes::from("{\"a\":"), Bytes::from("1}")];
        let read = read_for("ana", &limits, of(pieces)).await.unwrap();
        assert_eq!(read.unwrap(), "{\"a\":1}");
        assert!(
            read_for("ana", &limits, of(vec![Bytes::new()]))
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_a_408() {
        let endless = stream::pending::<Result<Frame<Bytes>, hyper::Error>>();
        let refused = read_for("ana", &Limits::default(), BoxBody::new(StreamBody::new(endless))).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Refusal::NotFramed(Fault::SlowBody)), "{refused:?}");
        assert_eq!(refused.code().0, 408);
    }

    #[tokio::test]
    async fn three_mebibytes_are_read_and_one_byte_more_is_not() {
        let (limits, most) = (Limits::default(), Bytes::from(vec![b' '; BODY_BYTES]));
        assert!(read_for("ana", &limits, of(vec![most.clone()])).await.is_ok());
        let refused = read_for("ana", &limits, of(vec![most, Bytes::from_static(b" ")])).await;
        assert_eq!(refused.unwrap_err().code().0, 413);
    }

    #[tokio::test]
    async fn who_has_no_room_left_is_told_to_come_again_and_others_have_theirs() {
        let (limits, most) = (Limits::default(), Bytes::from(vec![b' '; BODY_BYTES]));
        let mut rooms: Vec<_> = (0..4).map(|_| limits.room("mallory".into())).collect();
        for room in &mut rooms {
            read(of(vec![most.clone()]), room, SHORT).await.unwrap();
        }
        let refused = read_for("mallory", &limits, of(vec![most.clone()])).await.unwrap_err();
        let reply = refused.into_reply(None);
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["retry-after"]),
            (429, &http::HeaderValue::from_static("1"))
        );
        assert!(read_for("ana", &limits, of(vec![most.clone()])).await.is_ok());
        drop(rooms);
        assert!(read_for("mallory", &limits, of(vec![most])).await.is_ok());
    }
}
