//! HTTP/2 connections to one API server, shared by many requests.
//!
//! hyper's own defaults let three slow readers stop everybody on a connection (measured: 5 MB connection window, 2 MB per stream). Here the
//! connection window is the number of streams times the window of one, so a reader that stops holds back itself alone
//! (kubernetes/kubernetes#67902 found the same in the aggregator).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::Unreached;
use super::dial::Dialer;
use crate::tasks::Tasks;

/// Streams that one connection carries before another is dialed; API servers allow 100 (apiserver `server/secure_serving.go`).
const STREAMS: usize = 90;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

/// A set of connections to one server for one kind of traffic.
#[derive(Debug)]
pub(crate) struct Lane {
    dialer: Arc<Dialer>,
    tasks: Tasks,
    connections: Mutex<Vec<Connection>>,
}

#[derive(Debug, Clone)]
struct Connection {
    send: SendRequest<Full<Bytes>>,
    streams: Arc<AtomicUsize>,
}

/// One place on a connection, held as long as the answer's body is read.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Lane {
    pub(crate) fn new(dialer: Arc<Dialer>, tasks: Tasks) -> Self {
        Self {
            dialer,
            tasks,
            connections: Mutex::new(Vec::new()),
        }
    }

    /// Sends `request` at most once: it is sent again only where hyper hands it back unsent.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream; the server may have acted on it.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Place), Unreached> {
        for _ in 0..3 {
            let (mut connection, place) = self.place().await?;
            if connection.send.ready().await.is_err() {
                self.forget(&connection);
                continue;
            }
            match connection.send.try_send_request(request).await {
                Ok(response) => return Ok((response, place)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => {
                        self.forget(&connection);
                        request = unsent;
                    }
                    None => {
                        if connection.send.is_closed() {
                            self.forget(&connection);
                        }
                        return Err(Unreached::Broken(failed.into_error().to_string()));
                    }
                },
            }
        }
        Err(Unreached::Unsent(
            "the connection closed before the request left".into(),
        ))
    }

    async fn place(&self) -> Result<(Connection, Place), Unreached> {
        if let Some(found) = self.free() {
            return Ok(found);
        }
        let connection = self.open().await?;
        connection.streams.fetch_add(1, Ordering::AcqRel);
        let place = Place(connection.streams.clone());
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection.clone());
        Ok((connection, place))
    }

    fn free(&self) -> Option<(Connection, Place)> {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|c| !c.send.is_closed());
        let found = all
            .iter()
            .find(|c| c.streams.load(Ordering::Acquire) < STREAMS)?
            .clone();
        // Under the lock: two callers cannot both take the last place.
        found.streams.fetch_add(1, Ordering::AcqRel);
        let place = Place(found.streams.clone());
        Some((found, place))
    }

    fn forget(&self, dead: &Connection) {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|c| !Arc::ptr_eq(&c.streams, &dead.streams));
    }

    async fn open(&self) -> Result<Connection, Unreached> {
        let stream = self.dialer.dial().await?;
        let (send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(256 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(15))
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|e| Unreached::Unsent(e.to_string()))?;
        self.tasks.keep("upstream connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Connection {
            send,
            streams: Arc::new(AtomicUsize::new(0)),
        })
    }
}
