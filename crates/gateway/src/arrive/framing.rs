//! Where one HTTP/1.1 request ends and the next begins, read so strictly that no second reader can see it otherwise (RFC 9112 2.2, 5, 6.3, 7.1, 11.2).
//!
//! In: bytes of a connection, in any pieces. Out: for each head and each piece of a body, that it is well-formed, before hyper sees it; a [`Fault`]
//! otherwise. Refuses: two lengths, or a length and chunks; any transfer coding but `chunked`; lines that end in a bare LF or hold a bare CR; folded
//! lines; a space before a colon; chunk extensions; no `Host`, or two; a fragment in the target; heads beyond 64 KiB or 100 fields.
//! Does not understand requests: what a target, a value or a body means, others say.
//!
//! hyper reads the same bytes once more and frames by itself. It takes a bare LF, ignores chunk extensions, and drops `Content-Length` where there
//! is `Transfer-Encoding`: right for a server, too kind for a gateway.

use std::fmt;

use http::uri::Authority;
use http::{StatusCode, Uri};

/// A head's bytes, all of it. The API server takes 1 MiB; kubectl's are below 4 KiB, and a token of 32 KiB still fits.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;
/// Fields in a head; hyper's own default, and more than twice what client-go sends.
pub(crate) const FIELDS: usize = 100;
/// What may stand behind the last chunk. Nobody reads it.
const TRAILER_BYTES: usize = 4 * 1024;
/// 16 hexadecimal digits and CRLF.
const SIZE_BYTES: usize = 18;
/// A method that no client can send: so the fault itself is handed on as a request, in its place in the row.
pub(crate) const FAULTY: &str = "-";

/// What is wrong with the bytes; after it nothing on this connection is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    RequestLine,
    Target,
    Fragment,
    Version,
    LineEnd,
    Folded,
    Field,
    TwoLengths,
    Length,
    LengthAndChunks,
    Coding,
    Chunk,
    Trailer,
    NoHost,
    TwoHosts,
    Host,
    HeadTooLarge,
    TooManyFields,
    SlowHead,
    SlowBody,
    BrokenOff,
}

impl Fault {
    pub(crate) fn code(self) -> StatusCode {
        match self {
            Fault::HeadTooLarge | Fault::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Fault::SlowHead | Fault::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Fault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Fault::RequestLine
            | Fault::Target
            | Fault::Fragment
            | Fault::LineEnd
            | Fault::Folded
            | Fault::Field
            | Fault::TwoLengths
            | Fault::Length
            | Fault::LengthAndChunks
            | Fault::Coding
            | Fault::Chunk
            | Fault::Trailer
            | Fault::NoHost
            | Fault::TwoHosts
            | Fault::Host
            | Fault::BrokenOff => StatusCode::BAD_REQUEST,
        }
    }

    /// Of a Kubernetes Status, and the label of its counter.
    pub(crate) fn reason(self) -> &'static str {
        match self.code() {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "RequestHeaderFieldsTooLarge",
            StatusCode::REQUEST_TIMEOUT => "RequestTimeout",
            _ => "BadRequest",
        }
    }

    pub(crate) fn says(self) -> &'static str {
        match self {
            Fault::RequestLine => "the request line is not METHOD SP TARGET SP VERSION",
            Fault::Target => "the request target is not a path, beginning with one slash",
            Fault::Fragment => {
                "the request target holds `#`: a fragment is not sent (RFC 9110 4.2.5), and in a name it is written %23"
            }
            Fault::Version => "only HTTP/1.1, HTTP/1.0 and, by ALPN, HTTP/2 are spoken here",
            Fault::LineEnd => "a line of the head ends in a bare LF or holds a bare CR; lines end in CRLF",
            Fault::Folded => "a header is continued on a second line, which RFC 9112 5.2 forbids",
            Fault::Field => "a header line is not `Name: value`",
            Fault::TwoLengths => "Content-Length is there twice",
            Fault::Length => "Content-Length is not a plain number",
            Fault::LengthAndChunks => "there is both Content-Length and Transfer-Encoding; one must go",
            Fault::Coding => "the only Transfer-Encoding that is read is `chunked`, said once, in HTTP/1.1",
            Fault::Chunk => "a chunk of the body is not SIZE CRLF DATA CRLF; chunk extensions are not read",
            Fault::Trailer => "what stands behind the last chunk is no trailer, or is too large",
            Fault::NoHost => "there is no Host (RFC 9112 3.2)",
            Fault::TwoHosts => "Host is there twice (RFC 9112 3.2)",
            Fault::Host => "Host is not a name or address with an optional port",
            Fault::HeadTooLarge => "the head of the request is larger than 64 KiB",
            Fault::TooManyFields => "the request has more than 100 headers",
            Fault::SlowHead => "the head of the request did not arrive within 32 s",
            Fault::SlowBody => "the body did not arrive within 60 s; nothing was sent",
            Fault::BrokenOff => "the body broke off; nothing was sent",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.says())
    }
}

impl std::error::Error for Fault {}

/// How far a connection has been read.
#[derive(Debug)]
pub(crate) struct Framer {
    place: Place,
    /// How much of the unfinished line or head was looked at already.
    seen: usize,
    /// Bytes of trailers so far.
    trailers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Sized(u64),
    Chunked,
}

impl Framer {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Head,
            seen: 0,
            trailers: 0,
        }
    }

    /// Between two requests, or in a head that is not whole.
    pub(crate) fn in_head(&self) -> bool {
        self.place == Place::Head
    }

    /// How many bytes of `bytes`, which begin where the last call ended, are good: whole heads and lines, and what there is of bodies. The rest is to
    /// be shown again with what follows it. With a fault comes how many were good before it.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<usize, (usize, Fault)> {
        let mut good = 0;
        while good < bytes.len() {
            match self.step(&bytes[good..]) {
                Ok(0) => break,
                Ok(count) => good += count,
                Err(fault) => return Err((good, fault)),
            }
        }
        Ok(good)
    }

    /// One head, line or piece of a body; 0 if it is not whole.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match self.place {
            Place::Head => self.head(bytes),
            Place::Sized(left) | Place::ChunkData(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.passed(count as u64);
                Ok(count)
            }
            Place::ChunkSize => self.chunk_size(bytes),
            Place::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.place = Place::ChunkSize;
                    Ok(2)
                }
                [b'\r'] => Ok(0),
                _ => Err(Fault::Chunk),
            },
            Place::Trailers => self.trailer(bytes),
        }
    }

    fn passed(&mut self, count: u64) {
        self.place = match self.place {
            Place::Sized(left) if left <= count => Place::Head,
            Place::Sized(left) => Place::Sized(left - count),
            Place::ChunkData(left) if left <= count => Place::ChunkEnd,
            Place::ChunkData(left) => Place::ChunkData(left - count),
            Place::Head | Place::ChunkSize | Place::ChunkEnd | Place::Trailers => self.place,
        };
    }

    fn head(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let end = loop {
            let Some(at) = bytes[self.seen..].iter().position(|b| *b == b'\n') else {
                // A head that is wrong already is not waited for.
                let whole = bytes.len() <= HEAD_BYTES;
                self.seen = bytes.len();
                return if whole { Ok(0) } else { Err(Fault::HeadTooLarge) };
            };
            let at = self.seen + at;
            self.seen = at + 1;
            match bytes[..at].strip_suffix(b"\r") {
                None => return Err(Fault::LineEnd),
                Some([]) => return Err(Fault::RequestLine),
                Some(before) if before.ends_with(b"\r\n") => break at + 1,
                Some(_) => {}
            }
        };
        self.seen = 0;
        if end > HEAD_BYTES {
            return Err(Fault::HeadTooLarge);
        }
        self.place = match framing(&bytes[..end - 4])? {
            Body::None | Body::Sized(0) => Place::Head,
            Body::Sized(length) => Place::Sized(length),
            Body::Chunked => Place::ChunkSize,
        };
        Ok(end)
    }

    // RFC 9112 7.1: chunk-size = 1*HEXDIG. Extensions (7.1.1) nobody uses, and they have hidden requests from readers that skip them differently.
    fn chunk_size(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let digits = bytes.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits > SIZE_BYTES - 2 {
            return Err(Fault::Chunk);
        }
        match &bytes[digits..] {
            [] | [b'\r'] if digits > 0 => return Ok(0),
            [b'\r', b'\n', ..] if digits > 0 => {}
            _ => return Err(Fault::Chunk),
        }
        let text = std::str::from_utf8(&bytes[..digits]).map_err(|_| Fault::Chunk)?;
        let size = u64::from_str_radix(text, 16).map_err(|_| Fault::Chunk)?;
        self.trailers = 0;
        self.place = match size {
            0 => Place::Trailers,
            size => Place::ChunkData(size),
        };
        Ok(digits + 2)
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(at) = bytes.iter().position(|b| *b == b'\n') else {
            let fits = self.trailers + bytes.len() <= TRAILER_BYTES;
            return if fits { Ok(0) } else { Err(Fault::Trailer) };
        };
        let line = bytes[..at].strip_suffix(b"\r").ok_or(Fault::Trailer)?;
        self.trailers += at + 1;
        if line.is_empty() {
            self.place = Place::Head;
        } else if self.trailers > TRAILER_BYTES || field(line).is_err() {
            return Err(Fault::Trailer);
        }
        Ok(at + 1)
    }
}

/// Of a head without its last two CRLF.
fn framing(head: &[u8]) -> Result<Body, Fault> {
    let mut lines = lines(head);
    let version = request_line(lines.next().ok_or(Fault::RequestLine)?)?;
    let (mut length, mut chunked, mut host, mut fields) = (None, false, false, 0);
    for line in lines {
        fields += 1;
        if fields > FIELDS {
            return Err(Fault::TooManyFields);
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(number(value)?).is_some() {
                return Err(Fault::TwoLengths);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || version == Version::Old || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Coding);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            if host {
                return Err(Fault::TwoHosts);
            }
            host = true;
            authority(value).ok_or(Fault::Host)?;
        }
    }
    match (length, chunked, host, version) {
        (_, _, false, Version::New) => Err(Fault::NoHost),
        (Some(_), true, ..) => Err(Fault::LengthAndChunks),
        (None, true, ..) => Ok(Body::Chunked),
        (Some(length), false, ..) => Ok(Body::Sized(length)),
        (None, false, ..) => Ok(Body::None),
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Every LF in a head stands behind a CR: `head` has seen to it.
    head.split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// HTTP/1.0: no chunks, and `Host` is not asked for.
    Old,
    New,
}

fn request_line(line: &[u8]) -> Result<Version, Fault> {
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Fault::RequestLine);
    };
    if !is_token(method) || method == FAULTY.as_bytes() || target.is_empty() || !target.iter().all(is_visible) {
        return Err(Fault::RequestLine);
    }
    if target.contains(&b'#') {
        return Err(Fault::Fragment);
    }
    // hyper would refuse it as well, without a word.
    if Uri::try_from(target).is_err() {
        return Err(Fault::Target);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::New),
        b"HTTP/1.0" => Ok(Version::Old),
        _ => Err(Fault::Version),
    }
}

/// Name and value of a line, the value without the space around it.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
        return Err(Fault::Folded);
    }
    let colon = line.iter().position(|b| *b == b':').ok_or(Fault::Field)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if value.contains(&b'\r') {
        return Err(Fault::LineEnd);
    }
    // RFC 9110 5.5: VCHAR, obs-text, SP and HTAB.
    if !is_token(name) || !value.iter().all(|b| matches!(b, b' ' | b'\t') || is_visible(b)) {
        return Err(Fault::Field);
    }
    Ok((name, value.trim_ascii()))
}

/// RFC 9110 8.6: 1*DIGIT. No sign, no list, no space.
fn number(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Length);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|length| *length <= u64::MAX - 2) // hyper's own reserve
        .ok_or(Fault::Length)
}

/// A host with an optional port, and no user (RFC 9110 4.2.4).
pub(crate) fn authority(value: &[u8]) -> Option<Authority> {
    let authority = Authority::try_from(value).ok()?;
    let port = authority.as_str().len() > authority.host().len();
    // A comma is where somebody has joined two Host lines into one.
    let plain = !authority.host().is_empty() && !authority.as_str().contains(['@', ',']);
    (plain && (!port || authority.port_u16().is_some())).then_some(authority)
}

fn is_visible(byte: &u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0x80..)
}

/// RFC 9110 5.6.2.
fn is_token(name: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(fits)
}

/// Method, target and body of each request of a row, as this reader frames them; None if there is a fault.
#[cfg(test)]
pub(super) fn told_apart(bytes: &[u8]) -> Option<Vec<(String, Option<Vec<u8>>)>> {
    let (mut framer, mut rest, mut row) = (Framer::new(), bytes, Vec::new());
    loop {
        let place = framer.place;
        let count = match framer.step(rest) {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) => return None,
        };
        match (place, row.last_mut()) {
            (Place::Head, _) => {
                let head = String::from_utf8_lossy(&rest[..count]).into_owned();
                let (line, _) = head.split_once(" HTTP/")?;
                row.push((line.to_owned(), Some(Vec::new())));
            }
            (Place::Sized(_) | Place::ChunkData(_), Some((_, Some(body)))) => body.extend_from_slice(&rest[..count]),
            _ => {}
        }
        rest = &rest[count..];
        if rest.is_empty() {
            break;
        }
    }
    // The row ends before its end: the last body broke off.
    if let (false, Some(last)) = (framer.in_head(), row.last_mut()) {
        last.1 = None;
    }
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much is good and what is wrong, whole and byte by byte: the same.
    fn read(bytes: &[u8]) -> (usize, Option<Fault>) {
        let at_once = match Framer::new().read(bytes) {
            Ok(good) => (good, None),
            Err((good, fault)) => (good, Some(fault)),
        };
        let (mut framer, mut good, mut fault) = (Framer::new(), 0, None);
        for end in 1..=bytes.len() {
            match framer.read(&bytes[good..end]) {
                Ok(count) => good += count,
                Err((count, why)) => {
                    (good, fault) = (good + count, Some(why));
                    break;
                }
            }
        }
        assert_eq!((good, fault), at_once, "{}", String::from_utf8_lossy(bytes));
        at_once
    }

    fn fault(bytes: &str) -> Option<Fault> {
        read(bytes.as_bytes()).1
    }

    fn head(fields: &str) -> String {
        format!("POST /api HTTP/1.1\r\nHost: g\r\n{fields}\r\n\r\n")
    }

    #[test]
    fn requests_in_a_row_are_told_apart() {
        let first = "POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello";
        let second = "POST /b HTTP/1.1\r\nhost:\tgate:8443 \r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n";
        let third = "GET /c HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n";
        let all = format!("{first}{second}{third}");
        assert_eq!(read(all.as_bytes()), (all.len(), None));
        let cut = &all[..all.len() - 1];
        assert_eq!(read(cut.as_bytes()), (first.len() + second.len(), None));
        let mut framer = Framer::new();
        framer.read(all.as_bytes()).unwrap();
        assert!(framer.in_head());
    }

    // T25 of the design.
    #[test]
    fn whatever_two_readers_could_frame_differently_is_a_fault() {
        for (fields, wrong) in [
            (
                "Content-Length: 4\r\nTransfer-Encoding: chunked",
                Fault::LengthAndChunks,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 0",
                Fault::LengthAndChunks,
            ),
            ("Content-Length: 2\r\nContent-Length: 3", Fault::TwoLengths),
            ("Content-Length: 2\r\nContent-Length: 2", Fault::TwoLengths),
            ("Content-Length: 2, 2", Fault::Length),
            ("Content-Length: +2", Fault::Length),
            ("Content-Length: -2", Fault::Length),
            ("Content-Length: 0x2", Fault::Length),
            ("Content-Length: 2 2", Fault::Length),
            ("Content-Length:", Fault::Length),
            ("Content-Length: 99999999999999999999999", Fault::Length),
            ("Content-Length: 18446744073709551615", Fault::Length),
            ("Transfer-Encoding: xchunked", Fault::Coding),
            ("Transfer-Encoding: chunked, identity", Fault::Coding),
            ("Transfer-Encoding: gzip, chunked", Fault::Coding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                Fault::Coding,
            ),
            ("Transfer-Encoding: identity", Fault::Coding),
            ("Transfer-Encoding: \x0bchunked", Fault::Field),
            ("Transfer-Encoding : chunked", Fault::Field),
            ("Content-Length\t: 2", Fault::Field),
            ("X-A: b\r\n Impersonate-User: root", Fault::Folded),
            ("X-A: b\r\n\tc", Fault::Folded),
            ("X-A: b\nX-B: c", Fault::LineEnd),
            ("X-A: b\rX-B: c", Fault::LineEnd),
            ("X-A: a\0b", Fault::Field),
            (": a", Fault::Field),
            ("no colon", Fault::Field),
            ("Host: g", Fault::TwoHosts),
        ] {
            assert_eq!(fault(&head(fields)), Some(wrong), "{fields}");
        }
    }

    #[test]
    fn the_host_is_there_once_and_is_a_host() {
        let with = |host: &str| fault(&format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n"));
        for good in [" g", " gate.example.com:8443", " 10.0.0.1", " [::1]:443", " G"] {
            assert_eq!(with(good), None, "{good}");
        }
        for bad in [
            "",
            " ",
            " a b",
            " a/b",
            " user@g",
            " g:port",
            " g:",
            " :443",
            " a,b",
            " g:99999",
            " http://g",
        ] {
            assert_eq!(with(bad), Some(Fault::Host), "{bad}");
        }
        assert_eq!(fault("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n"), Some(Fault::NoHost));
        assert_eq!(fault("GET / HTTP/1.0\r\nAccept: */*\r\n\r\n"), None);
    }

    #[test]
    fn request_lines_have_three_words() {
        for (line, wrong) in [
            ("GET /a b HTTP/1.1", Fault::RequestLine),
            ("GET  / HTTP/1.1", Fault::RequestLine),
            ("GET /", Fault::RequestLine),
            ("GET\t/ HTTP/1.1", Fault::RequestLine),
            ("G(T / HTTP/1.1", Fault::RequestLine),
            ("- / HTTP/1.1", Fault::RequestLine),
            ("GET /api#x HTTP/1.1", Fault::Fragment),
            ("GET api/v1/pods HTTP/1.1", Fault::Target),
            ("GET /a<b HTTP/1.1", Fault::Target),
            ("GET http:// HTTP/1.1", Fault::Target),
            ("GET / HTTP/9.9", Fault::Version),
            ("GET / HTTP/2.0", Fault::Version),
            ("PRI * HTTP/2.0", Fault::Version),
            ("GET / http/1.1", Fault::Version),
        ] {
            assert_eq!(fault(&format!("{line}\r\nHost: g\r\n\r\n")), Some(wrong), "{line}");
        }
        assert_eq!(fault("\r\nGET / HTTP/1.1\r\nHost: g\r\n\r\n"), Some(Fault::RequestLine));
        assert_eq!(fault("\nGET / HTTP/1.1\r\n"), Some(Fault::LineEnd));
        let old = "POST / HTTP/1.0\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(fault(old), Some(Fault::Coding));
    }

    #[test]
    fn chunks_are_sizes_and_nothing_else() {
        let chunked = |body: &str| fault(&format!("{}{body}", head("Transfer-Encoding: chunked")));
        assert_eq!(chunked("2\r\n{}\r\n0\r\n\r\n"), None);
        for bad in [
            "2;a=b\r\n{}\r\n0\r\n\r\n",
            "2 \r\n{}\r\n0\r\n\r\n",
            " 2\r\n{}\r\n0\r\n\r\n",
            "+2\r\n{}\r\n",
            "0x2\r\n{}\r\n",
            "-1\r\n",
            "zz\r\n{}\r\n",
            "\r\n{}\r\n",
            "2\n{}\r\n0\r\n\r\n",
            "2\r\n{}0\r\n\r\n",
            "2\r\n{}\n0\r\n\r\n",
            "2\r\n{}x\r\n0\r\n\r\n",
            "00000000000000002\r\n{}\r\n",
        ] {
            assert_eq!(chunked(bad), Some(Fault::Chunk), "{bad:?}");
        }
        for bad in ["0\r\nX-A : b\r\n\r\n", "0\r\nX-A: b\n\r\n", "0\r\n folded\r\n\r\n"] {
            assert_eq!(chunked(bad), Some(Fault::Trailer), "{bad:?}");
        }
        let endless = format!("0\r\n{}", "X-A: bbbbbbbbbbbbbbbbbbbbbbbbb\r\n".repeat(300));
        assert_eq!(chunked(&endless), Some(Fault::Trailer));
    }

    #[test]
    fn heads_have_a_size() {
        let long = head(&format!("X-A: {}", "a".repeat(HEAD_BYTES)));
        assert_eq!(Framer::new().read(long.as_bytes()), Err((0, Fault::HeadTooLarge)));
        let begun = &long.as_bytes()[..HEAD_BYTES + 1];
        assert_eq!(Framer::new().read(begun), Err((0, Fault::HeadTooLarge)));
        assert_eq!(Framer::new().read(&begun[..HEAD_BYTES]), Ok(0));
        let many = |count| head(&vec!["X-A: a"; count].join("\r\n"));
        assert_eq!(fault(&many(FIELDS - 1)), None);
        assert_eq!(fault(&many(FIELDS)), Some(Fault::TooManyFields));
    }
}
