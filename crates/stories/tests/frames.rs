//! HTTP/2 frame by frame, as no library would write it (T26, T28 and T51 of the design). What is wrong ends its stream or its connection, and nothing
//! of it reaches the cluster; others on other connections do not notice.

use std::time::Duration;

use mantlet_stories::need_bed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::ground::Ground;
use crate::raw::{self, Ask};

const PATIENCE: Duration = Duration::from_secs(20);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With an answer; 200 if it is no Status.
    Answer(u64),
    Reset,
    /// The connection with it.
    Gone,
    /// Not in time.
    Open,
}

/// RFC 9113 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// RFC 7541 6.2.2: a literal that is not indexed, names and values as they stand.
fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

fn text(text: &str) -> Vec<u8> {
    let (mut out, mut left) = (Vec::new(), text.len());
    if left < 127 {
        out.push(left as u8);
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push((left % 128) as u8 | 128);
            left /= 128;
        }
        out.push(left as u8);
    }
    [out, text.as_bytes().to_vec()].concat()
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// The preface and empty settings.
fn hello() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

/// Sends `bytes` on a connection of their own and says how stream 1 ended.
async fn send(ground: &Ground, bytes: &[u8]) -> End {
    let (read, mut write) = tokio::io::split(raw::connect(&ground.world, b"h2").await);
    let bytes = [hello(), bytes.to_vec()].concat();
    // It may end before all of it was sent.
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        let _ = write.flush().await;
        write
    });
    let end = tokio::time::timeout(PATIENCE, end(read)).await.unwrap_or(End::Open);
    sending.abort();
    end
}

async fn end(mut read: tokio::io::ReadHalf<TlsStream<TcpStream>>) -> End {
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        if read.read_exact(&mut head).await.is_err() {
            return End::Gone;
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if read.read_exact(&mut payload).await.is_err() {
            return End::Gone;
        }
        let ours = u32::from_be_bytes(stream) == 1;
        match kind {
            GOAWAY => return End::Gone,
            RESET if ours => return End::Reset,
            DATA if ours => body.extend_from_slice(&payload),
            _ => {}
        }
        if ours && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            return End::Answer(status["code"].as_u64().unwrap_or(200));
        }
    }
}

/// A head for stream 1.
struct Head<'a> {
    token: &'a str,
    path: &'a str,
}

impl Head<'_> {
    fn block(&self, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let bearer = format!("Bearer {}", self.token);
        let fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "gateway"),
            (":path", self.path),
            ("authorization", bearer.as_str()),
        ];
        [block(&fields), block(more)].concat()
    }

    fn get(&self, more: &[(&str, &str)]) -> Vec<u8> {
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &self.block("GET", more))
    }

    fn post(&self, more: &[(&str, &str)], body: &[Vec<u8>]) -> Vec<u8> {
        [frame(HEADERS, END_HEADERS, 1, &self.block("POST", more)), body.concat()].concat()
    }

    /// With other pseudo-headers than the usual.
    fn as_is(&self, fields: &[(&str, &str)]) -> Vec<u8> {
        let bearer = format!("Bearer {}", self.token);
        let all = [fields, &[("authorization", bearer.as_str())]].concat();
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&all))
    }
}

fn data(flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_no_client_writes_end_where_they_arrive() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "frames", "").await;
    let path = ground.fill("/api/v1/namespaces/$IN/configmaps");
    let token = ground.agent_token();
    let head = Head {
        token: &token,
        path: &path,
    };
    let pseudo = |path: &'static str| {
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "g"),
            (":path", path),
        ]
    };
    let over = vec![b' '; 16_000];
    let refused = [End::Reset, End::Gone];
    let stream = [End::Reset, End::Gone, End::Answer(400)];
    for (trick, bytes, expected) in [
        (
            "a body shorter than it said",
            head.post(&[("content-length", "5")], &[data(END_STREAM, b"{}")]),
            &stream[..],
        ),
        (
            "a body longer than it said",
            head.post(&[("content-length", "1")], &[data(END_STREAM, b"{}")]),
            &stream,
        ),
        (
            "a length without a body",
            head.get(&[("content-length", "5")]),
            &refused,
        ),
        (
            "two lengths",
            head.post(
                &[("content-length", "2"), ("content-length", "3")],
                &[data(END_STREAM, b"{}")],
            ),
            &stream,
        ),
        (
            "a length that is no number",
            head.post(&[("content-length", "+2")], &[data(END_STREAM, b"{}")]),
            &refused,
        ),
        ("Connection", head.get(&[("connection", "close")]), &refused),
        (
            "Transfer-Encoding",
            head.get(&[("transfer-encoding", "chunked")]),
            &refused,
        ),
        ("Upgrade: h2c", head.get(&[("upgrade", "h2c")]), &refused),
        ("Keep-Alive", head.get(&[("keep-alive", "1")]), &refused),
        ("Proxy-Connection", head.get(&[("proxy-connection", "x")]), &refused),
        ("TE other than trailers", head.get(&[("te", "gzip")]), &refused),
        ("an upper-case name", head.get(&[("X-Upper", "1")]), &refused),
        ("an empty name", head.get(&[("", "1")]), &refused),
        (
            "a name with a line end",
            head.get(&[("x\r\nimpersonate-user", "root")]),
            &refused,
        ),
        (
            "a value with a line end",
            head.get(&[("x-a", "b\r\nimpersonate-user: root")]),
            &refused,
        ),
        ("a value with NUL", head.get(&[("x-a", "b\0c")]), &refused),
        (
            "a path with a space",
            head.as_is(&pseudo("/api/v1/namespaces x")),
            &refused,
        ),
        (
            "a path with a control character",
            head.as_is(&pseudo("/api/v1\x01")),
            &refused,
        ),
        ("a path that is none", head.as_is(&pseudo("api/v1")), &stream),
        ("an empty path", head.as_is(&pseudo("")), &refused),
        ("an asterisk", head.as_is(&pseudo("*")), &stream),
        (
            "no path",
            head.as_is(&[(":method", "GET"), (":scheme", "https"), (":authority", "g")]),
            &refused,
        ),
        (
            "no method",
            head.as_is(&[(":scheme", "https"), (":authority", "g"), (":path", "/version")]),
            &refused,
        ),
        (
            "no scheme",
            head.as_is(&[(":method", "GET"), (":authority", "g"), (":path", "/version")]),
            &refused,
        ),
        (
            "two paths",
            head.as_is(&[pseudo("/version").as_slice(), &[(":path", "/api")]].concat()),
            &refused,
        ),
        (
            "a pseudo-header that is none",
            head.as_is(&[pseudo("/version").as_slice(), &[(":user", "root")]].concat()),
            &refused,
        ),
        (
            "a pseudo-header behind a header",
            head.as_is(&[&[("x-a", "b")][..], &pseudo("/version")].concat()),
            &refused,
        ),
        (
            "a status in a request",
            head.as_is(&[pseudo("/version").as_slice(), &[(":status", "200")]].concat()),
            &refused,
        ),
        (
            "no host",
            head.as_is(&[(":method", "GET"), (":scheme", "https"), (":path", "/version")]),
            &[End::Answer(400)],
        ),
        ("two hosts", head.get(&[("host", "other")]), &[End::Answer(400)]),
        (
            "a user in the authority",
            head.as_is(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "root@g"),
                (":path", "/version"),
            ]),
            &stream,
        ),
        (
            "extended CONNECT",
            head.as_is(&[pseudo("/version").as_slice(), &[(":protocol", "websocket")]].concat()),
            &refused,
        ),
        (
            "CONNECT",
            head.as_is(&[(":method", "CONNECT"), (":authority", "10.0.0.1:443")]),
            &[End::Reset, End::Gone, End::Answer(405), End::Answer(400)],
        ),
        ("DATA before HEADERS", data(END_STREAM, b"{}"), &refused),
        (
            "a stream of ours",
            frame(HEADERS, END_STREAM | END_HEADERS, 2, &head.block("GET", &[])),
            &refused,
        ),
        (
            "a frame larger than was agreed",
            frame(DATA, 0, 1, &vec![0; 17_000]),
            &refused,
        ),
        (
            "a head in pieces with another frame between",
            [
                frame(HEADERS, 0, 1, &head.block("GET", &[])),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            &refused,
        ),
        (
            "CONTINUATION out of the blue",
            frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-a", "b")])),
            &refused,
        ),
        (
            "a window that overflows",
            [
                frame(HEADERS, END_HEADERS, 1, &head.block("POST", &[])),
                frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes()),
            ]
            .concat(),
            &refused,
        ),
        (
            "more than the window",
            head.post(&[], &vec![data(0, &over); 60]),
            &[End::Reset, End::Gone, End::Answer(413), End::Answer(403)],
        ),
        (
            "headers beyond 64 KiB",
            [
                frame(HEADERS, END_STREAM, 1, &head.block("GET", &[])),
                vec![frame(CONTINUATION, 0, 1, &literal("x-a", &"a".repeat(16_000))); 5].concat(),
                frame(CONTINUATION, END_HEADERS, 1, &literal("x-b", "b")),
            ]
            .concat(),
            &[End::Reset, End::Gone, End::Answer(200)],
        ),
    ] {
        let end = send(&ground, &bytes).await;
        assert!(expected.contains(&end), "{trick}: {end:?}");
    }
    // Trailers are dropped, also those that would be another head: what was judged is what stands in the first.
    let trailers = frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        1,
        &block(&[(":path", "/version"), ("impersonate-user", "root")]),
    );
    let body = br#"{"metadata":{"name":"trailed"}}"#;
    let trailed = head.post(&[("content-type", "application/json")], &[data(0, body), trailers]);
    assert_eq!(send(&ground, &trailed).await, End::Answer(200));
    // The control: the same client is served where it keeps to the rules, and logged.
    assert_eq!(
        send(&ground, &head.get(&[("host", "GATEWAY:443")])).await,
        End::Answer(200)
    );
    if let Some(reached) = ground.reached().await {
        let mut asked: Vec<_> = reached.values().map(|l| format!("{} {}", l.verb, l.uri)).collect();
        asked.sort();
        let expected = [format!("create {path}"), format!("list {path}")];
        assert_eq!(asked, expected, "only these two reached the cluster");
    }
    ground.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_frames_ends_its_own_connection_alone() {
    let bed = need_bed!();
    let ground = Ground::start(bed, "floods", "").await;
    let other = raw::h2(&ground.world).await;
    let head = Head {
        token: "x",
        path: "/version",
    };
    let numbered = |n: u32| 2 * n + 1;
    let rapid = (0..2_000)
        .flat_map(|n| {
            [
                frame(HEADERS, END_STREAM | END_HEADERS, numbered(n), &head.block("GET", &[])),
                frame(RESET, 0, numbered(n), &8_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect::<Vec<u8>>();
    // Made you reset: each stream is reset by us, for a window that it lets overflow.
    let overflow = (0..2_000)
        .flat_map(|n| {
            [
                frame(HEADERS, END_HEADERS, numbered(n), &head.block("POST", &[])),
                frame(WINDOW_UPDATE, 0, numbered(n), &0x7fff_ffff_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect::<Vec<u8>>();
    let endless = [
        frame(HEADERS, 0, 1, &head.block("GET", &[])),
        vec![frame(CONTINUATION, 0, 1, &literal("x-a", "b")); 20_000].concat(),
    ]
    .concat();
    let empty = head.post(&[], &vec![data(0, b""); 20_000]);
    for (trick, bytes) in [
        ("rapid reset", rapid),
        ("made you reset", overflow),
        ("CONTINUATION without end", endless),
        ("empty DATA", empty),
    ] {
        let (mut read, mut write) = tokio::io::split(raw::connect(&ground.world, b"h2").await);
        let bytes = [hello(), bytes].concat();
        let sending = tokio::spawn(async move {
            let _ = write.write_all(&bytes).await;
            write
        });
        let mut all = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, read.read_to_end(&mut all)).await;
        assert!(ended.is_ok(), "{trick}: the connection lives");
        sending.abort();
        let answer = raw::ask_h2(&mut other.clone(), &Ask::new("GET", "/version", &ground.agent_token())).await;
        assert_eq!(answer.map(|a| a.code), Some(200), "{trick}: others notice");
    }
    // Who asks for pongs and settings and takes none is not read any further: it holds its own buffers, and nobody waits for it.
    let (read, mut write) = tokio::io::split(raw::connect(&ground.world, b"h2").await);
    let asks = [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])].concat();
    let flood = [hello(), asks.repeat(100_000)].concat();
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&flood).await;
        write
    });
    for _ in 0..20 {
        let answer = raw::ask_h2(&mut other.clone(), &Ask::new("GET", "/version", &ground.agent_token())).await;
        assert_eq!(answer.map(|a| a.code), Some(200), "others notice a flood of pings");
    }
    sending.abort();
    drop((read, other));
    ground.world.end().await;
}
