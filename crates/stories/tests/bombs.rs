//! A cluster, or an aggregated API in it, that answers with more than it says (T29 of the design): nothing is unpacked, nothing is gathered without a
//! limit, and what cannot be shown is a 502.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mantlet::dev::ca::Certificates;
use mantlet_core::identity::Population;
use mantlet_core::time::Timestamp;
use mantlet_stories::stage::Plan;
use mantlet_stories::{Wire, World, need_bed};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const MIB: u64 = 1 << 20;
const PIECE: &[u8] = &[b' '; 16 * 1024];

/// A body of blanks that ends only where nobody reads on.
#[derive(Debug, Clone)]
struct Endless {
    begin: Option<Bytes>,
    sent: Arc<AtomicU64>,
    ends: bool,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match (self.begin.take(), self.ends) {
            (Some(begin), _) => begin,
            (None, true) => return Poll::Ready(None),
            (None, false) => Bytes::from_static(PIECE),
        };
        self.sent.fetch_add(next.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(next))))
    }
}

/// What stands where the API server should; says how much of endless bodies was taken.
async fn impostor(certificates: &Certificates) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = TlsAcceptor::from(certificates.server_config(&[b"h2"]).unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, sent) = (tls.clone(), counted.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let answer = answer(&request, &sent);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, sent)
}

fn answer(request: &Request<Incoming>, sent: &Arc<AtomicU64>) -> Response<Endless> {
    let endless = |begin: &'static str| Endless {
        begin: Some(Bytes::from_static(begin.as_bytes())),
        sent: sent.clone(),
        ends: false,
    };
    let whole = |text: &'static str| Endless {
        ends: true,
        ..endless(text)
    };
    let json = |code, encoding: &str, body| {
        let response = Response::builder()
            .status(code)
            .header("content-type", "application/json");
        match encoding {
            "" => response.body(body),
            encoding => response.header("content-encoding", encoding).body(body),
        }
        .unwrap()
    };
    let ok = StatusCode::OK;
    match request.uri().path() {
        "/api/v1/namespaces/kube-system" => json(
            ok,
            "",
            whole(r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"impostor"}}"#),
        ),
        "/version" => json(ok, "", whole(r#"{"major":"1"}"#)),
        "/apis" => json(ok, "", endless("{")),
        "/api/v1/namespaces/a/configmaps" => json(ok, "gzip", endless("\u{1f}")),
        "/api/v1/namespaces/a/pods" => json(ok, "identity, br", endless("{")),
        "/api/v1/namespaces/a/services" => json(ok, "x-gzip", whole("{}")),
        "/api/v1/namespaces/a/secrets" => json(
            StatusCode::UNPROCESSABLE_ENTITY,
            "",
            endless(r#"{"kind":"Status","message":""#),
        ),
        "/api/v1/namespaces/a/endpoints" => json(ok, "", endless(r#"{"kind":"EndpointsList","items":["#)),
        _ => json(StatusCode::NOT_FOUND, "", whole("{}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_packed_or_do_not_end_are_not_gathered() {
    let bed = need_bed!();
    let dir = std::env::temp_dir().join(format!("mantlet-impostor-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let certificates = Certificates::open(&dir, Timestamp::from_micros(now.as_micros() as i64)).unwrap();
    let (address, sent) = impostor(&certificates).await;
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "impostor",
        "clusters": [{"name": "impostor", "cluster": {"server": format!("https://{address}"), "certificate-authority": certificates.authority}}],
        "contexts": [{"name": "impostor", "context": {"cluster": "impostor", "user": "gateway"}}],
        "users": [{"name": "gateway", "user": {"token": "gateway"}}],
    });
    let file = dir.join("kubeconfig");
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    let mut plan = Plan::new(bed, "bombs");
    plan.kubeconfig = Some(file);
    let world = World::start_ready(&plan).await;
    let token = world.token(Population::People, "reader", &[]);
    let wire = Wire::dial(world.address, &world.authority, &token).await;
    assert_eq!(
        wire.get("/version").await.unwrap().code,
        200,
        "the impostor is believed"
    );

    for (path, most) in [
        ("/api/v1/namespaces/a/configmaps", MIB),
        ("/api/v1/namespaces/a/pods", MIB),
        ("/api/v1/namespaces/a/services", MIB),
        ("/api/v1/namespaces/a/secrets", 6 * MIB),
        ("/apis", 18 * MIB),
    ] {
        let before = sent.load(Ordering::Relaxed);
        let answer = wire.get(path).await.expect("an answer");
        let taken = sent.load(Ordering::Relaxed) - before;
        assert_eq!(answer.code, 502, "{path}: {}", answer.text());
        assert!(answer.text().contains("NotMasked"), "{path}: {}", answer.text());
        assert!(taken < most, "{path}: {taken} bytes were taken");
    }
    // What is streamed is not gathered either: it goes on as fast as the client reads, and this one does not.
    let before = sent.load(Ordering::Relaxed);
    let unread = wire
        .send("GET", "/api/v1/namespaces/a/endpoints", "", "")
        .await
        .expect("a head");
    assert_eq!(unread.status(), 200);
    assert_eq!(wire.get("/version").await.unwrap().code, 200);
    let taken = sent.load(Ordering::Relaxed) - before;
    assert!(taken < 4 * MIB, "{taken} bytes were taken for a client that reads none");
    drop((unread, wire));
    world.end().await;
    std::fs::remove_dir_all(dir).unwrap();
}
