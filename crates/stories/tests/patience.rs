//! The clocks of a connection, in real time: who is slow, silent or idle is ended when the documents say, and a watch that waits is not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mantlet_stories::need_bed;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::ground::Ground;
use crate::raw::{self, Ask};

/// Longer than every clock here.
const MOST: Duration = Duration::from_secs(240);

/// Reads to the end; how long that took, and what came.
async fn end(mut read: impl tokio::io::AsyncRead + Unpin) -> (u64, String) {
    let (begin, mut all) = (Instant::now(), Vec::new());
    let ended = tokio::time::timeout(MOST, read.read_to_end(&mut all)).await;
    assert!(ended.is_ok(), "it was never ended");
    (begin.elapsed().as_secs(), String::from_utf8_lossy(&all).into_owned())
}

/// Asks again and again and takes no answer, until nobody reads on; how long that took.
async fn deaf(ground: &Ground, ask: &str) -> u64 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(ground.world.address).await.unwrap();
    let mut stream = raw::over(&ground.world, b"http/1.1", stream).await.unwrap();
    let begin = Instant::now();
    let ended = tokio::time::timeout(MOST, async {
        while stream.write_all(ask.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {}
    });
    assert!(ended.await.is_ok(), "who takes no answer is served for ever");
    begin.elapsed().as_secs()
}

/// On HTTP/2: shuts the window of its streams, asks for discovery, and watches, so that the connection is busy; how long until it is ended.
async fn shut(ground: &Ground, token: &str, watch: &str) -> u64 {
    let stream = raw::connect(&ground.world, b"h2").await;
    let (mut send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let begin = Instant::now();
    let mut answers = Vec::new();
    for path in ["/apis", watch] {
        let request = http::Request::get(format!("https://gateway{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::<Bytes>::new());
        answers.push(send.send_request(request.unwrap()).await.unwrap());
    }
    let ended = tokio::time::timeout(MOST, connection).await;
    assert!(ended.is_ok(), "whose windows are shut is kept for ever");
    drop(answers);
    begin.elapsed().as_secs()
}

/// Says a byte every second, for as long as somebody takes it.
async fn trickle(mut write: impl AsyncWrite + Unpin, byte: &[u8]) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while write.write_all(byte).await.is_ok() && write.flush().await.is_ok() {
        second.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: cargo xtask long patience"]
async fn slow_silent_and_idle_connections_are_ended_and_a_watch_is_not() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "patience", "").await;
    let token = ground.agent_token();
    let path = ground.fill("/api/v1/namespaces/$IN/configmaps");
    let h1 = || async { tokio::io::split(raw::connect(&ground.world, b"http/1.1").await) };

    let no_tls = TcpStream::connect(ground.world.address).await.unwrap();
    let (silent, _silent) = h1().await;
    let (slow_head, slow_head_writes) = h1().await;
    let (slow_body, mut slow_body_writes) = h1().await;
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: 2000\r\n\r\n");
    slow_body_writes.write_all(head.as_bytes()).await.unwrap();
    let (idle, mut idle_writes) = h1().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
    idle_writes.write_all(get("/version").as_bytes()).await.unwrap();
    let (half, _half) = tokio::io::split(raw::connect(&ground.world, b"h2").await); // and no preface
    let mut idle_h2 = raw::h2(&ground.world).await;
    assert_eq!(
        raw::ask_h2(&mut idle_h2, &Ask::new("GET", "/version", &token))
            .await
            .unwrap()
            .code,
        200
    );
    let (mut watch, mut watch_writes) = h1().await;
    let watched = format!("{path}?watch=true&fieldSelector=metadata.name%3Dbell");
    watch_writes.write_all(get(&watched).as_bytes()).await.unwrap();

    let begin = Instant::now();
    let trickles = [
        tokio::spawn(trickle(slow_head_writes, b"a")),
        tokio::spawn(trickle(slow_body_writes, b" ")),
    ];
    let until_closed = async {
        mantlet_stories::eventually("the idle HTTP/2 connection is ended", MOST, async || {
            idle_h2.is_closed().then_some(())
        })
        .await;
        begin.elapsed().as_secs()
    };
    let asks = get(&path);
    let (no_tls, silent, slow_head, slow_body, idle, half, idle_h2, deaf, shut) = tokio::join!(
        end(no_tls),
        end(silent),
        end(slow_head),
        end(slow_body),
        end(idle),
        end(half),
        until_closed,
        deaf(&ground, &asks),
        shut(&ground, &token, &watched)
    );
    trickles.iter().for_each(tokio::task::JoinHandle::abort);
    println!(
        "no TLS {} s, silent {} s, slow head {} s, slow body {} s, idle h1 {} s, h2 without preface {} s, idle h2 {idle_h2} s, deaf {deaf} s, shut {shut} s",
        no_tls.0, silent.0, slow_head.0, slow_body.0, idle.0, half.0
    );
    assert!((9..=13).contains(&no_tls.0) && no_tls.1.is_empty());
    assert!((30..=36).contains(&silent.0) && silent.1.is_empty());
    assert!(
        (30..=36).contains(&slow_head.0) && slow_head.1.starts_with("HTTP/1.1 408"),
        "{}",
        slow_head.1
    );
    assert!(slow_head.1.contains("within 32 s"), "{}", slow_head.1);
    assert!(
        (58..=66).contains(&slow_body.0) && slow_body.1.starts_with("HTTP/1.1 408"),
        "{}",
        slow_body.1
    );
    assert!(slow_body.1.contains("within 60 s"), "{}", slow_body.1);
    assert!((58..=90).contains(&deaf), "deaf: {deaf} s");
    assert!((58..=70).contains(&shut), "shut: {shut} s");
    for (what, after) in [
        ("idle h1", idle.0),
        ("h2 without preface", half.0),
        ("idle h2", idle_h2),
    ] {
        assert!((85..=200).contains(&after), "{what}: {after} s");
    }
    // All the while nothing happened that the watch looks at.
    ground
        .world
        .bare(&format!("kubectl -n {} create configmap bell", ground.inside))
        .await
        .ok();
    let mut heard = String::new();
    let mut chunk = [0; 4096];
    while !heard.contains("ADDED") {
        let count = tokio::time::timeout(MOST, watch.read(&mut chunk))
            .await
            .unwrap()
            .unwrap();
        assert!(count > 0, "the watch was ended: {heard}");
        heard.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    drop((watch, watch_writes));
    ground.world.end().await;
}
