//! The line between a gateway and its cluster, in a story's hand: bytes pass, wait, or are cut off.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Bed;
use crate::stage;

/// TCP on loopback, to the bed's API server.
#[derive(Debug)]
pub struct Bridge {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// What goes to the cluster waits here; what comes from it passes.
    Held,
    /// Connections that are there are reset; new ones as well.
    Cut,
}

impl Bridge {
    pub async fn build(bed: &Bed) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (way, follow) = watch::channel(Way::Open);
        let server = stage::server(bed);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server, follow.clone()));
            }
        });
        Self { address, way }
    }

    /// A kubeconfig of the bed's administrator across this bridge.
    pub fn kubeconfig(&self, bed: &Bed, into: &Path) -> PathBuf {
        stage::kubeconfig_at(bed, self.address, into)
    }

    pub fn hold(&self) {
        self.way.send_replace(Way::Held);
    }

    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }

    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }
}

async fn carry(near: TcpStream, server: SocketAddr, way: watch::Receiver<Way>) {
    let Ok(far) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let mut cut = way.clone();
    tokio::select! {
        () = pass(near_in, far_out, Some(way)) => {}
        () = pass(far_in, near_out, None) => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut way: Option<watch::Receiver<Way>>,
) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if let Some(way) = &mut way
            && way.wait_for(|way| *way == Way::Open).await.is_err()
        {
            return;
        }
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
