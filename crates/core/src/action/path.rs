//! Paths, both ways: raw path → coordinates, and coordinates → the path that goes upstream.
//!
//! In: the raw path of a request. Out: a [`Place`]. Refuses: whatever two parsers could read differently, and bare paths off the allow-list.
//! Follows `k8s.io/apiserver` `pkg/endpoints/request/requestinfo.go`, `NewRequestInfo`, on the decoded path; never normalises (case, `//`, `..`).

use std::fmt::Write as _;

use super::table::{self, BarePath};
use super::{ResourceRef, Unreadable};

/// Where a request goes, before its verb is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A resource, and what stands behind its subresource (only proxies have that).
    Resource(ResourceRef, Vec<String>),
    Bare(BarePath, String),
}

/// Reads a raw, still percent-encoded path.
pub(super) fn read(raw: &str) -> Result<Place, Unreadable> {
    let segments = segments(raw)?;
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => resource("", version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => resource(group, version, rest),
        bare => match table::bare_path(bare) {
            Some(kind) => Ok(Place::Bare(kind, format!("/{}", bare.join("/")))),
            None => Err(Unreadable::not_found(
                "the gateway does not serve this path; it serves /api, /apis and what lies below, /openapi/v2, /openapi/v3, /version, /healthz, /livez and /readyz",
            )),
        },
    }
}

fn segments(raw: &str) -> Result<Vec<String>, Unreadable> {
    let Some(inner) = raw.strip_prefix('/') else {
        return Err(Unreadable::bad_request(
            "the request target is not a path; send it in origin form, beginning with one slash",
        ));
    };
    // One trailing slash means nothing to the API server (`splitPath` trims); more than one is no client we know.
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    inner.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<String, Unreadable> {
    let bad = |what: &str| {
        Err(Unreadable::bad_request(format!(
            "the path holds {what}; send the plain names of Kubernetes, separated by single slashes"
        )))
    };
    if raw.is_empty() {
        return bad("an empty segment (`//`), which the API server does not collapse");
    }
    if raw.bytes().any(|b| matches!(b, b'?' | b'#') || b <= b' ' || b == 0x7f) {
        return bad("a question mark, fragment, space or control character");
    }
    let Some(bytes) = percent_decode(raw.as_bytes()) else {
        return bad("a broken percent encoding");
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return bad("bytes that are not UTF-8");
    };
    if text == "." || text == ".." {
        return bad("a segment `.` or `..`");
    }
    // k8s.io/apimachinery pkg/api/validate/content/path.go: no name holds `/` or `%`; the others no parser agrees on.
    if text.contains(['/', '%', '\\', '?', '#']) {
        return bad(
            "an encoded slash, backslash, percent sign, question mark or hash, which no Kubernetes name can contain",
        );
    }
    if text.chars().any(char::is_control) {
        return bad("a control character");
    }
    Ok(text)
}

/// `None` where a `%` is not followed by two hexadecimal digits.
pub(super) fn percent_decode(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(&b) = rest.next() {
        if b == b'%' {
            let high = char::from(*rest.next()?).to_digit(16)?;
            let low = char::from(*rest.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(b);
        }
    }
    Some(out)
}

/// Steps 5, 7 and 8 of `NewRequestInfo`: path verbs, the namespace, then resource, name and subresource.
fn resource(group: &str, version: &str, rest: &[&str]) -> Result<Place, Unreadable> {
    if matches!(rest[0], "watch" | "proxy") {
        return Err(Unreadable::not_found(
            "paths with /watch/ or /proxy/ before the resource are legacy and not served; to watch, list with ?watch=true, to watch one object add fieldSelector=metadata.name=NAME",
        ));
    }
    let (namespace, parts) = match rest {
        ["namespaces", namespace] | ["namespaces", namespace, "status" | "finalize", ..] => (*namespace, rest),
        ["namespaces", namespace, inner @ ..] => (*namespace, inner),
        _ => ("", rest),
    };
    let place = ResourceRef {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: namespace.to_owned(),
        resource: parts[0].to_owned(),
        name: parts.get(1).copied().unwrap_or_default().to_owned(),
        subresource: parts.get(2).copied().unwrap_or_default().to_owned(),
    };
    plain_coordinates(&place, rest)?;
    Ok(Place::Resource(
        place,
        parts.iter().skip(3).map(|s| (*s).to_owned()).collect(),
    ))
}

fn plain_coordinates(place: &ResourceRef, rest: &[&str]) -> Result<(), Unreadable> {
    let plain = |s: &str, more: &[u8]| {
        s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
    };
    if !plain(&place.group, b"-.") || !plain(&place.version, b"") || !plain(&place.resource, b"-_.") {
        return Err(Unreadable::not_found(
            "the path names an API group, version or resource that cannot exist; they are written in lower case, as kubectl api-resources lists them",
        ));
    }
    // RequestInfo takes `namespaces/N/status` for the namespace in every group, the router only in the core one:
    // elsewhere the same path lists objects of the kind `status`. And no route has namespaces inside a namespace.
    let ambiguous = place.resource == "namespaces" && (!place.group.is_empty() || rest.get(2) == Some(&"namespaces"));
    if ambiguous {
        return Err(Unreadable::not_found(
            "the path names `namespaces` where the API server and its authorizer would read it differently; only /api/v1/namespaces is served",
        ));
    }
    Ok(())
}

/// The path that leads to `place` and nowhere else. `name_in_path` is false for list and watch, whose name comes from a selector.
pub(super) fn write(place: &ResourceRef, name_in_path: bool, tail: &[String]) -> String {
    let mut out = String::with_capacity(64);
    if place.group.is_empty() {
        push(&mut out, "api");
    } else {
        push(&mut out, "apis");
        push(&mut out, &place.group);
    }
    push(&mut out, &place.version);
    if !place.namespace.is_empty() && place.resource != "namespaces" {
        push(&mut out, "namespaces");
        push(&mut out, &place.namespace);
    }
    push(&mut out, &place.resource);
    if name_in_path && !place.name.is_empty() {
        push(&mut out, &place.name);
        if !place.subresource.is_empty() {
            push(&mut out, &place.subresource);
        }
        tail.iter().for_each(|part| push(&mut out, part));
    }
    out
}

/// A bare path from the allow-list, encoded anew.
pub(super) fn write_bare(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    path.split('/').skip(1).for_each(|part| push(&mut out, part));
    out
}

fn push(out: &mut String, segment: &str) {
    out.push('/');
    percent_encode(out, segment);
}

/// RFC 3986 2.3 unreserved characters as they are, and `:` (RBAC names are full of it); everything else encoded.
pub(super) fn percent_encode(out: &mut String, text: &str) {
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':') {
            out.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_written_back_canonically() {
        for (raw, canonical) in [
            ("/api/v1/namespaces/a/pods/", "/api/v1/namespaces/a/pods"),
            ("/api/v1/namespaces/a", "/api/v1/namespaces/a"),
            ("/api/v1/namespaces/a/status", "/api/v1/namespaces/a/status"),
            (
                "/apis/apps/v1/namespaces/a/deployments/%77eb/scale",
                "/apis/apps/v1/namespaces/a/deployments/web/scale",
            ),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b%2bc",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b%2Bc",
            ),
            (
                "/api/v1/namespaces/a/pods/p/proxy/x/y",
                "/api/v1/namespaces/a/pods/p/proxy/x/y",
            ),
        ] {
            let Ok(Place::Resource(place, tail)) = read(raw) else {
                panic!("{raw} was refused")
            };
            assert_eq!(write(&place, true, &tail), canonical);
        }
    }
}
