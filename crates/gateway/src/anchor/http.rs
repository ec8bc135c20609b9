//! One request on a connection of its own: anchors are spoken to once a minute.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::AnchorFault;

pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Sends `request` over `io` and gives the answer's body; anything but a 2xx is a fault that quotes what the server said.
pub(super) async fn exchange(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, AnchorFault> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|fault| AnchorFault::Unusable(format!("the answer cannot be read: {fault}")))?;
        let body = body.to_bytes();
        match head.status.is_success() {
            true => Ok(body),
            false => Err(refused(head.status, &body)),
        }
    };
    // The connection does the work that `exchange` waits for, and never outlives it.
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

fn refused(status: StatusCode, body: &[u8]) -> AnchorFault {
    let said = String::from_utf8_lossy(&body[..body.len().min(300)]);
    AnchorFault::Status {
        status,
        said: said.chars().filter(|c| !c.is_control()).collect(),
    }
}
