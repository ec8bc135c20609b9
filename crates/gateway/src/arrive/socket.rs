//! A TCP connection whose other side must take what it is sent: who takes nothing for 60 s while something waits is gone.
//!
//! An idle watch is not hit: nothing waits to be sent. A stream of HTTP/2 whose window is closed is not seen here; `stream::pump` ends those.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// As the pump waits (`stream/pump.rs`).
pub(crate) const STALL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Socket<S> {
    stream: S,
    /// Runs while a write waits.
    due: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    written: Arc<AtomicU64>,
}

impl<S> Socket<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            due: None,
            patience,
            written: Arc::default(),
        }
    }

    /// Bytes that the other side's kernel has taken, or ours for it.
    pub(crate) fn written(&self) -> Arc<AtomicU64> {
        self.written.clone()
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.due = None;
            return polled;
        }
        let due = self
            .due
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + self.patience)));
        due.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn count(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = polled {
            self.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&polled);
        self.judge(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(&polled);
        self.judge(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        // A flush of TCP is always ready: it says nothing about a write that waits.
        if polled.is_ready() {
            return polled;
        }
        self.judge(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn who_takes_nothing_for_a_while_is_gone() {
        let (_client, server) = duplex(16);
        let mut socket = Socket::new(server, SHORT);
        let written = socket.written();
        let error = socket.write_all(&[7; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(written.load(Ordering::Relaxed), 16);
    }

    #[tokio::test]
    async fn who_takes_a_little_each_time_is_served_and_silence_is_no_stall() {
        const PATIENCE: Duration = Duration::from_secs(1);
        let (mut client, server) = duplex(16);
        let mut socket = Socket::new(server, PATIENCE);
        let reading = async {
            let (mut all, mut some, mut tick) = (0, [0; 16], tokio::time::interval(PATIENCE / 3));
            // Longer than the patience, in steps that are not.
            while all < 96 {
                tick.tick().await;
                all += client.read(&mut some).await.unwrap();
            }
            all
        };
        let writing = async {
            socket.write_all(&[7; 96]).await.unwrap();
            socket.flush().await.unwrap();
        };
        assert_eq!(tokio::join!(reading, writing).0, 96);
        let quiet = tokio::time::timeout(PATIENCE + SHORT, socket.read_u8()).await;
        assert!(quiet.is_err(), "a connection on which nothing waits was ended");
    }
}
