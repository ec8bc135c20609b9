//! The line between the gateway and the API server, with a hand on it: it can hold what passes in one direction, and it can be cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A TCP proxy on loopback.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    held: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    holds: Holds,
    /// How often it was cut.
    cuts: usize,
}

/// What waits at the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Holds {
    #[default]
    Nothing,
    Requests,
    Answers,
}

impl Line {
    pub(crate) async fn lay(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, follow) = watch::channel(State::default());
        let held = Arc::new(AtomicUsize::new(0));
        let counted = held.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server, follow.clone(), counted.clone()));
            }
        });
        Self { address, state, held }
    }

    pub(crate) fn hold(&self, holds: Holds) {
        self.held.store(0, Ordering::SeqCst);
        self.state.send_modify(|state| state.holds = holds);
    }

    /// Pieces that wait, or waited until they were cut off.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Resets every connection and lets new ones pass.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| {
            state.cuts += 1;
            state.holds = Holds::Nothing;
        });
    }
}

async fn carry(near: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>, held: Arc<AtomicUsize>) {
    let cuts = state.borrow_and_update().cuts;
    let Ok(far) = TcpStream::connect(server).await else {
        return;
    };
    // Dropped, both ends are reset: nothing is flushed, nobody hears goodbye.
    for end in [&near, &far] {
        let _ = (end.set_nodelay(true), end.set_zero_linger());
    }
    let (from_gateway, to_gateway) = near.into_split();
    let (from_server, to_server) = far.into_split();
    let requests = pass(from_gateway, to_server, Holds::Requests, state.clone(), held.clone());
    let answers = pass(from_server, to_gateway, Holds::Answers, state.clone(), held);
    tokio::select! {
        () = requests => {}
        () = answers => {}
        _ = state.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    waits: Holds,
    mut state: watch::Receiver<State>,
    held: Arc<AtomicUsize>,
) {
    let cuts = state.borrow().cuts;
    let mut piece = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if state.borrow().holds == waits {
            held.fetch_add(1, Ordering::SeqCst);
        }
        // A piece that was held when the line was cut goes nowhere.
        match state
            .wait_for(|state| state.holds != waits)
            .await
            .map(|state| state.cuts)
        {
            Ok(now) if now == cuts => {}
            Ok(_) | Err(_) => return,
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}
