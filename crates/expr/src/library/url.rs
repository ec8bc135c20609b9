//! `url('https://example.com:8443/a?b=c')`: an absolute URL or an absolute path, as Go's `net/url` reads it.
//!
//! Not the crate `url`: that one reads what browsers read, which mends what Go refuses.

use std::collections::HashMap;
use std::net::IpAddr;

use cel::common::types::{CelList, CelMap, CelMapKey, CelString, Type};
use cel::common::value::{CowVal, Val};

use super::{Fault, Thing, answer, reading, said, text, thing, truth};
use crate::functions::{Answer, Args, Own, PIECE, cannot, charged, refused};

pub(super) static TYPE: Type = Type::new_unspecified_type("kubernetes.URL");

pub(super) static OWN: &[Own] = &[
    ("url", 1, url),
    ("isURL", 1, is_url),
    ("getScheme", 1, get_scheme),
    ("getHost", 1, get_host),
    ("getHostname", 1, get_hostname),
    ("getPort", 1, get_port),
    ("getEscapedPath", 1, get_escaped_path),
    ("getQuery", 1, get_query),
];

/// Go's strings are bytes, and what was escaped may be no UTF-8.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Url {
    scheme: String,
    opaque: String,
    user: Option<(Vec<u8>, Option<Vec<u8>>)>,
    host: Vec<u8>,
    path: String,
    asks: bool,
    query: String,
    fragment: String,
}

impl Thing for Url {
    fn ty() -> &'static Type {
        &TYPE
    }
    fn weight(&self) -> u64 {
        let texts = [&self.scheme, &self.opaque, &self.path, &self.query, &self.fragment];
        texts.iter().map(|text| text.len() as u64).sum::<u64>() + self.host.len() as u64 + 64
    }
}

/// Which characters may stand as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Host,
    Zone,
    Else,
}

impl Url {
    /// What `url()` takes: what is a request's URI for Go, read once more so that a fragment is one.
    fn parse(text: &str) -> Result<Url, String> {
        Url::request(text)?;
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let mut url = Url::read(before, false)?;
        unescaped(fragment, Place::Else)?;
        fragment.clone_into(&mut url.fragment);
        Ok(url)
    }

    /// Go `ParseRequestURI`, whose fault is what `format.uri()` answers.
    pub(super) fn request(text: &str) -> Result<(), String> {
        Url::read(text, true).map(|_| ())
    }

    fn read(text: &str, request: bool) -> Result<Url, String> {
        let mut url = Url::default();
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err("net/url: invalid control character in URL".into());
        }
        if text.is_empty() && request {
            return Err("empty url".into());
        }
        if text == "*" {
            url.path = "*".into();
            return Ok(url);
        }
        let (scheme, rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (mut rest, query) = rest
            .split_once('?')
            .map_or((rest, None), |(rest, query)| (rest, Some(query)));
        url.asks = query.is_some_and(str::is_empty);
        query.unwrap_or_default().clone_into(&mut url.query);
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                rest.clone_into(&mut url.opaque);
                return Ok(url);
            }
            if request {
                return Err("invalid URI for request".into());
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err("first path segment in URL cannot contain colon".into());
            }
        }
        let authority = !url.scheme.is_empty() || !request && !rest.starts_with("///");
        if let (true, Some(after)) = (authority, rest.strip_prefix("//")) {
            let end = after.find('/').unwrap_or(after.len());
            url.read_authority(&after[..end])?;
            rest = &after[end..];
        }
        url.path = escaped_path(rest)?;
        Ok(url)
    }

    fn read_authority(&mut self, authority: &str) -> Result<(), String> {
        let (user, host) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, host)| (Some(user), host));
        self.host = host_of(host)?;
        let Some(user) = user else {
            return Ok(());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !user.chars().all(plain) {
            return Err("net/url: invalid userinfo".into());
        }
        self.user = Some(match user.split_once(':') {
            Some((name, password)) => (unescaped(name, Place::Else)?, Some(unescaped(password, Place::Else)?)),
            None => (unescaped(user, Place::Else)?, None),
        });
        Ok(())
    }

    /// The host without brackets, and the port.
    fn host_and_port(&self) -> (&[u8], &[u8]) {
        let colon = self.host.iter().rposition(|b| *b == b':');
        let split = colon.filter(|at| self.host[at + 1..].iter().all(u8::is_ascii_digit));
        let (host, port) = match split {
            Some(at) => (&self.host[..at], &self.host[at + 1..]),
            None => (&self.host[..], &[][..]),
        };
        let inside = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
        (inside.unwrap_or(host), port)
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".into()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn host_of(host: &str) -> Result<Vec<u8>, String> {
    match host.rfind('[') {
        Some(0) => return bracketed(host),
        Some(_) => return Err("invalid IP-literal".into()),
        None => {}
    }
    // Go 1.26 takes the first colon where the web is meant; the API server of Kubernetes 1.35 takes the last.
    if let Some(colon) = host.rfind(':') {
        port(&host[colon..])?;
    }
    unescaped(host, Place::Host)
}

fn bracketed(host: &str) -> Result<Vec<u8>, String> {
    let end = host.rfind(']').ok_or("missing ']' in host")?;
    port(&host[end + 1..])?;
    let inside = &host[1..end];
    let name = match inside.find("%25") {
        Some(zone) => [
            unescaped(&inside[..zone], Place::Host)?,
            unescaped(&inside[zone..], Place::Zone)?,
        ]
        .concat(),
        None => unescaped(inside, Place::Host)?,
    };
    let address = String::from_utf8_lossy(&name);
    let (address, zone) = address
        .split_once('%')
        .map_or((&*address, None), |(ip, zone)| (ip, Some(zone)));
    match address.parse() {
        Ok(IpAddr::V6(_)) if zone != Some("") => {}
        Ok(IpAddr::V4(_)) if zone.is_none() => return Err("invalid IP-literal".into()),
        _ => return Err("invalid host: ParseAddr: unable to parse IP".into()),
    }
    Ok([b"[", &name[..], b"]", &host.as_bytes()[end + 1..]].concat())
}

fn port(text: &str) -> Result<(), String> {
    let digits = text
        .strip_prefix(':')
        .map(|port| port.bytes().all(|b| b.is_ascii_digit()));
    if text.is_empty() || digits == Some(true) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", quoted(text)))
}

/// The path as Go writes it again: as it was if that is a valid way to write it, else escaped.
fn escaped_path(text: &str) -> Result<String, String> {
    let path = unescaped(text, Place::Path)?;
    if path.is_empty()
        || path == b"*"
        || text
            .bytes()
            .all(|b| may_stand(b, Place::Path) || b"!'()*;,[]%".contains(&b))
    {
        return Ok(text.into());
    }
    let mut escaped = String::with_capacity(path.len());
    for b in path {
        match may_stand(b, Place::Path) {
            true => escaped.push(char::from(b)),
            false => escaped.push_str(&format!("%{b:02X}")),
        }
    }
    Ok(escaped)
}

/// Go `shouldEscape`, turned round.
fn may_stand(b: u8, place: Place) -> bool {
    match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => true,
        b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' if place == Place::Path => true,
        _ => matches!(place, Place::Host | Place::Zone) && b"!$&'()*+,;=:[]<>\"".contains(&b),
    }
}

fn unescaped(text: &str, place: Place) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        if *b != b'%' {
            if matches!(place, Place::Host | Place::Zone) && b.is_ascii() && !may_stand(*b, place) {
                return Err(format!(
                    "invalid character {} in host name",
                    quoted(&char::from(*b).to_string())
                ));
            }
            plain.push(*b);
            at += 1;
            continue;
        }
        let end = (at + 3).min(bytes.len());
        let bad = || {
            format!(
                "invalid URL escape {}",
                quoted(&String::from_utf8_lossy(&bytes[at..end]))
            )
        };
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        let (Some(high), Some(low)) = (hex(at + 1), hex(at + 2)) else {
            return Err(bad());
        };
        let byte = u8::try_from(high * 16 + low).unwrap_or(u8::MAX);
        let percent = byte == b'%';
        match place {
            Place::Host if high < 8 && !percent => return Err(bad()),
            Place::Zone if !percent && byte != b' ' && !may_stand(byte, Place::Host) => return Err(bad()),
            Place::Host | Place::Zone | Place::Path | Place::Else => plain.push(byte),
        }
        at += 3;
    }
    Ok(plain)
}

/// Go `%q`, for what these texts can hold.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            c if c < ' ' || c == '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn url<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let text = text(&args, 0).ok_or_else(|| cannot("url", &args))?;
    // It is read twice, and its parts are copied; an escaped path is three times as long.
    meter.weight(reading(text).saturating_mul(6))?;
    Url::parse(text)
        .map(answer)
        .map_err(|_| refused("`url` was given what is no URL"))
}

fn is_url<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let text = text(&args, 0).ok_or_else(|| cannot("isURL", &args))?;
    meter.weight(reading(text).saturating_mul(6))?;
    Ok(truth(Url::request(text).is_ok()))
}

fn part<'b, 'v>(function: &str, args: Args<'b, 'v>, of: fn(&Url) -> String) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let url = thing::<Url>(&args, 0).ok_or_else(|| cannot(function, &args))?;
    meter.weight(url.weight())?;
    Ok(said(of(url)))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn get_scheme<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    part("getScheme", args, |url| url.scheme.clone())
}

fn get_host<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    part("getHost", args, |url| lossy(&url.host))
}

fn get_hostname<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    part("getHostname", args, |url| lossy(url.host_and_port().0))
}

fn get_port<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    part("getPort", args, |url| lossy(url.host_and_port().1))
}

fn get_escaped_path<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    part("getEscapedPath", args, |url| url.path.clone())
}

fn get_query<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let url = thing::<Url>(&args, 0).ok_or_else(|| cannot("getQuery", &args))?;
    meter.weight(url.weight())?;
    let mut found: HashMap<String, Vec<Box<dyn Val + 'v>>> = HashMap::new();
    for pair in url.query.split('&') {
        meter.weight(PIECE)?;
        // What cannot be read is left out, as Go leaves it out.
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (false, Ok(key), Ok(value)) = (pair.is_empty() || pair.contains(';'), asked(key), asked(value)) else {
            continue;
        };
        found.entry(key).or_default().push(Box::new(CelString::from(value)));
    }
    let entry = |(key, values): (String, Vec<Box<dyn Val + 'v>>)| {
        let list: Box<dyn Val + 'v> = Box::new(CelList::from(values));
        (CelMapKey::from(key), list)
    };
    let found: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = found.into_iter().map(entry).collect();
    Ok::<_, Fault>(CowVal::owned(CelMap::from(found)))
}

fn asked(text: &str) -> Result<String, String> {
    unescaped(&text.replace('+', " "), Place::Else).map(|bytes| lossy(&bytes))
}
