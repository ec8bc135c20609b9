//! What the framer lets pass, hyper frames alike: spoiled in every place by every byte that matters to framing, a row of requests is either a fault or
//! the same requests to both.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::framing::told_apart;

/// Method, path and body of each request, in order; None for a body that broke off.
type Row = Vec<(String, Option<Vec<u8>>)>;

const ROWS: [&str; 3] = [
    "POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 11\r\nX-A: b\r\n\r\nGET /x HTTPGET /b HTTP/1.1\r\nHost: g\r\n\r\n",
    "PUT /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET /b HTTP/1.1\r\nhost: g\r\n\r\n",
    "GET /a?b=c HTTP/1.1\r\nHost:g\r\nConnection: keep-alive\r\n\r\nPOST /b HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
];
const BYTES: &[u8] = b"\r\n \t:;,#0a+-\0\x0b\x80";
const PIECES: [&str; 8] = [
    "\r\n",
    "\r\n\r\n",
    "\n\n",
    "0\r\n\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    " HTTP/1.1\r\n",
];

#[tokio::test]
async fn what_the_framer_lets_pass_hyper_frames_alike() {
    let (mut same, mut faults) = (0, 0);
    for row in ROWS {
        assert_eq!(
            told_apart(row.as_bytes()).as_ref(),
            Some(&hyper(row.as_bytes()).await),
            "{row}"
        );
        for spoiled in spoiled(row.as_bytes()) {
            match told_apart(&spoiled) {
                None => faults += 1,
                Some(told) => {
                    let text = String::from_utf8_lossy(&spoiled).into_owned();
                    let read = hyper(&spoiled).await;
                    // It may end earlier, for a fault of its own or since HTTP/1.0 ends there; it must never read on otherwise.
                    assert!(told.starts_with(&read), "{text:?}: {told:?}, and hyper {read:?}");
                    same += usize::from(told == read);
                }
            }
        }
    }
    println!("{same} rows read alike, {faults} refused");
    assert!(
        same > 1_000 && faults > 5_000,
        "{same} rows read alike, {faults} refused"
    );
}

/// One byte taken out, another put in its place or before it, or a piece of a request put before it.
fn spoiled(row: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..row.len() {
        let (before, from) = row.split_at(at);
        all.push([before, &from[1..]].concat());
        for byte in BYTES {
            all.push([before, &[*byte], &from[1..]].concat());
            all.push([before, &[*byte], from].concat());
        }
        all.extend(PIECES.map(|piece| [before, piece.as_bytes(), from].concat()));
    }
    all
}

/// What hyper alone makes of the bytes.
async fn hyper(bytes: &[u8]) -> Row {
    let (mut client, server) = duplex(64 * 1024);
    let row = Arc::new(Mutex::new(Row::new()));
    let noted = row.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let noted = noted.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            noted
                .lock()
                .unwrap()
                .push((format!("{} {}", parts.method, parts.uri), body));
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(server), service);
    let asking = async {
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answers = Vec::new();
        let _ = client.read_to_end(&mut answers).await;
    };
    let _ = tokio::join!(serving, asking);
    row.lock().unwrap().clone()
}
