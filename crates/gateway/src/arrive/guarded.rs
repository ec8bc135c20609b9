//! A connection of HTTP/1.1 as hyper may read it: only what [`framing`](super::framing) found good, and a head only when it is whole.
//!
//! What is wrong takes its place in the row as a request of its own, which closes the connection: hyper answers those before it first, and the
//! pipeline never sees a byte of it. A wrong piece of a body ends the body with an error instead.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::{FAULTY, Fault, Framer};

/// As kube-apiserver's (apiserver `server/secure_serving.go`, `ReadHeaderTimeout`).
pub(crate) const HEAD: Duration = Duration::from_secs(32);
const PIECE: usize = 16 * 1024;
/// How long, and how much, is read behind an answer that closes: a socket that is closed on unread bytes is reset, and the answer lost with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// What was wrong, once something was: shared with whoever answers [`FAULTY`].
pub(crate) type Found = Arc<OnceLock<Fault>>;

#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    framer: Framer,
    /// Read and not good yet: the beginning of a head or of a line.
    held: BytesMut,
    /// Good, and not taken yet.
    good: BytesMut,
    found: Found,
    /// By when the head that has begun must be whole. At first: from the beginning of the connection.
    due: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    /// Once our side is closed: until when the other side is still read, and how much of it was.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Guarded<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            framer: Framer::new(),
            held: BytesMut::new(),
            good: BytesMut::new(),
            found: Found::default(),
            due: Some(Box::pin(sleep_until(Instant::now() + patience))),
            patience,
            linger: None,
        }
    }

    pub(crate) fn found(&self) -> Found {
        self.found.clone()
    }

    /// Gives what was read to the framer; what is good of it goes to `out`.
    fn frame(&mut self, piece: &[u8], out: &mut ReadBuf<'_>) {
        let read = match self.held.is_empty() {
            true => self.framer.read(piece),
            false => {
                self.held.extend_from_slice(piece);
                self.framer.read(&self.held)
            }
        };
        let (good, fault) = match read {
            Ok(good) => (good, None),
            Err((good, fault)) => (good, Some(fault)),
        };
        if self.held.is_empty() {
            self.pass(&piece[..good], out);
            self.held.extend_from_slice(&piece[good..]);
        } else {
            let whole = self.held.split_to(good);
            self.pass(&whole, out);
        }
        if good > 0 || !self.framer.in_head() {
            self.due = None;
        }
        if self.held.is_empty() {
            self.held = BytesMut::new(); // gives its memory back: most connections are idle
        } else if self.framer.in_head() && self.due.is_none() {
            self.due = Some(Box::pin(sleep_until(Instant::now() + self.patience)));
        }
        if let Some(fault) = fault {
            self.wrong(fault);
        }
    }

    fn pass(&mut self, good: &[u8], out: &mut ReadBuf<'_>) {
        let (now, later) = good.split_at(good.len().min(out.remaining()));
        out.put_slice(now);
        self.good.extend_from_slice(later);
    }

    /// From here on nothing is read.
    fn wrong(&mut self, fault: Fault) {
        let _ = self.found.set(fault);
        (self.held, self.due) = (BytesMut::new(), None);
        if self.framer.in_head() {
            let stand_in = format!("{FAULTY} / HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n");
            self.good.extend_from_slice(stand_in.as_bytes());
        }
    }

    /// What follows a fault is nobody's request. A body that it stands in breaks off; a head that it stands in was answered for by the stand-in, and
    /// the client seems to wait for that answer.
    fn after(&self, fault: Fault) -> Poll<io::Result<()>> {
        match self.framer.in_head() {
            true => Poll::Pending,
            false => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault))),
        }
    }

    /// Whether the client has, as far as is known, nothing more to say.
    fn at_rest(&self) -> bool {
        self.found.get().is_none() && self.framer.in_head() && self.held.is_empty() && self.good.is_empty()
    }

    /// What is good and was not taken yet.
    fn take(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.good.len().min(out.remaining());
        out.put_slice(&self.good[..count]);
        self.good.advance(count);
        if self.good.is_empty() {
            self.good = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads what nobody wants, for a while.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((until, count)) = &mut self.linger else {
            return Poll::Ready(());
        };
        loop {
            let mut room = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() && *count < LINGER_BYTES => {
                    *count += piece.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return until.as_mut().poll(cx),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        loop {
            this.take(out);
            if out.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = this.found.get() {
                return this.after(*fault);
            }
            let mut room = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut room);
            match Pin::new(&mut this.stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if piece.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => this.frame(piece.filled(), out),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let Some(due) = &mut this.due else { return Poll::Pending };
                    ready!(due.as_mut().poll(cx));
                    // Who has not said a word gets none.
                    if this.held.is_empty() {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    this.wrong(Fault::SlowHead);
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if self.at_rest() {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some((Box::pin(sleep_until(Instant::now() + LINGER)), 0));
        }
        self.drain(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_head_is_shown_when_it_is_whole_and_in_any_pieces() {
        let (mut client, server) = duplex(1024);
        let mut guarded = Guarded::new(server, HEAD);
        let head = b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 4\r\n\r\n";
        client.write_all(&head[..20]).await.unwrap();
        let mut some = [0; 7];
        let early = std::future::poll_fn(|cx| {
            let mut out = ReadBuf::new(&mut some);
            Poll::Ready(Pin::new(&mut guarded).poll_read(cx, &mut out).is_pending())
        });
        assert!(early.await, "half a head was shown");
        client.write_all(&head[20..]).await.unwrap();
        client
            .write_all(b"bodyGET / HTTP/1.1\r\nHost: g\r\n\r\n")
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        guarded.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [&head[..], b"bodyGET / HTTP/1.1\r\nHost: g\r\n\r\n"].concat());
    }

    #[tokio::test]
    async fn a_wrong_head_becomes_a_request_that_says_so_and_nothing_follows_it() {
        let (mut client, server) = duplex(1024);
        let mut guarded = Guarded::new(server, HEAD);
        let found = guarded.found();
        let good = "GET /a HTTP/1.1\r\nHost: g\r\n\r\n";
        let bad = "GET /b HTTP/1.1\nHost: g\r\n\r\nGET /c HTTP/1.1\r\nHost: g\r\n\r\n";
        client.write_all(format!("{good}{bad}").as_bytes()).await.unwrap();
        let expected = format!("{good}- / HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n");
        let mut all = vec![0; expected.len()];
        guarded.read_exact(&mut all).await.unwrap();
        assert_eq!(String::from_utf8(all).unwrap(), expected);
        assert_eq!(found.get(), Some(&Fault::LineEnd));
        let mut more = [0; 1];
        let rest = tokio::time::timeout(SHORT, guarded.read(&mut more)).await;
        assert!(rest.is_err(), "something followed");
    }

    #[tokio::test]
    async fn a_wrong_chunk_ends_the_body_with_an_error() {
        let (mut client, server) = duplex(1024);
        let mut guarded = Guarded::new(server, HEAD);
        let head = "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n";
        client
            .write_all(format!("{head}2\r\n{{}}\r\n1;x\r\n").as_bytes())
            .await
            .unwrap();
        let mut all = Vec::new();
        let error = guarded.read_to_end(&mut all).await.unwrap_err();
        let fault = error.get_ref().and_then(|e| e.downcast_ref::<Fault>());
        assert_eq!(fault, Some(&Fault::Chunk));
        assert!(!String::from_utf8(all).unwrap().contains(";x"));
    }

    #[tokio::test]
    async fn a_head_that_trickles_is_a_fault_and_silence_an_end() {
        let (mut client, server) = duplex(1024);
        let mut guarded = Guarded::new(server, SHORT);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut first = [0; 1];
        guarded.read_exact(&mut first).await.unwrap();
        assert_eq!((&first, guarded.found().get()), (b"-", Some(&Fault::SlowHead)));

        let (_client, server) = duplex(1024);
        let error = Guarded::new(server, SHORT).read(&mut first).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_stands_behind_an_answer_that_closes_is_read_away() {
        let (mut client, server) = duplex(64);
        let mut guarded = Guarded::new(server, HEAD);
        let sending = async {
            client
                .write_all(&[b"GET / HTTP/9.9\r\n".repeat(1000), b"\r\n".to_vec()].concat())
                .await
                .unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let serving = async {
            let mut some = [0; 1];
            guarded.read_exact(&mut some).await.unwrap();
            guarded.write_all(b"no").await.unwrap();
            guarded.shutdown().await.unwrap();
        };
        assert_eq!(tokio::join!(sending, serving).0, "no");
    }

    #[tokio::test]
    async fn the_next_head_has_a_time_of_its_own_and_a_body_none() {
        let (mut client, server) = duplex(1024);
        let mut guarded = Guarded::new(server, SHORT);
        let head = b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 4\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut all = vec![0; head.len()];
        guarded.read_exact(&mut all).await.unwrap();
        let mut some = [0; 4];
        let waited = tokio::time::timeout(SHORT * 3, guarded.read(&mut some)).await;
        assert!(waited.is_err(), "a body was timed");
        client.write_all(b"bodyGET /").await.unwrap();
        guarded.read_exact(&mut some).await.unwrap();
        guarded.read_exact(&mut some[..1]).await.unwrap();
        assert_eq!((some[0], guarded.found().get()), (b'-', Some(&Fault::SlowHead)));
    }
}
