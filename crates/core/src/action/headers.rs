//! The headers that say what a request asks for. All others mean nothing here, and none is relayed but by name.
//!
//! In: names in lower case, and values as bytes. Out: [`Headers`]. Refuses: what is there twice and may not be, what is no plain text,
//! and compressed bodies (`k8s.io/apiserver` has no decoder for them).

use super::{Unreadable, UnreadableStatus};

/// What [`super::Head`] is made of, besides the request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers<'a> {
    pub accept: Vec<&'a str>,
    pub content_type: Option<&'a str>,
    pub upgrade: bool,
}

/// Reads them.
pub fn headers<'a>(all: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Headers<'a>, Unreadable> {
    let (mut accept, mut types, mut encodings, mut upgrade) = (Vec::new(), Vec::new(), Vec::new(), false);
    for (name, value) in all {
        match name {
            "accept" => accept.push(text("accept", value)?),
            "content-type" => types.push(text("content-type", value)?),
            "content-encoding" => encodings.push(text("content-encoding", value)?),
            "upgrade" => upgrade = true,
            "connection" => upgrade |= names_upgrade(value),
            _ => {}
        }
    }
    if one("content-encoding", &encodings)?.is_some_and(|encoding| encoding != "identity") {
        return Err(Unreadable {
            status: UnreadableStatus::UnsupportedMediaType,
            message: String::from("the API server reads no compressed bodies: send it without Content-Encoding"),
        });
    }
    Ok(Headers {
        accept,
        content_type: one("content-type", &types)?,
        upgrade,
    })
}

/// Whether the API server could take a request with these headers for one that wants to leave HTTP.
pub fn wants_upgrade<'a>(all: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> bool {
    all.into_iter()
        .any(|(name, value)| name == "upgrade" || (name == "connection" && names_upgrade(value)))
}

/// Whether a header would make the API server take the request for somebody else's.
///
/// The underscore form is another header to Go and the same to many proxies (CGI).
pub fn impersonates(name: &str) -> bool {
    let begin = name.get(.."impersonate-".len()).unwrap_or_default();
    begin.eq_ignore_ascii_case("impersonate-") || begin.eq_ignore_ascii_case("impersonate_")
}

// apimachinery pkg/util/httpstream, IsUpgradeRequest, looks for "upgrade" anywhere in Connection; whoever could be taken for an
// upgrade is one here.
fn names_upgrade(connection: &[u8]) -> bool {
    connection
        .windows("upgrade".len())
        .any(|piece| piece.eq_ignore_ascii_case(b"upgrade"))
        || !connection.is_ascii()
}

fn one<'a>(name: &str, values: &[&'a str]) -> Result<Option<&'a str>, Unreadable> {
    match values {
        [] => Ok(None),
        [value] => Ok(Some(value)),
        [_, _, ..] => Err(Unreadable::bad_request(format!("the header {name} is there twice"))),
    }
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, Unreadable> {
    let plain = value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    let text = std::str::from_utf8(value).ok().filter(|_| plain);
    text.ok_or_else(|| Unreadable::bad_request(format!("the header {name} is not plain text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(all: &'a [(&'a str, &'a str)]) -> Result<Headers<'a>, Unreadable> {
        headers(all.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn one_content_type_and_any_number_of_accepts() {
        let all = [
            ("accept", "a/b"),
            ("accept", "c/d, e/f"),
            ("content-type", "application/json"),
        ];
        let read_all = read(&all).unwrap();
        assert_eq!(
            (read_all.accept, read_all.content_type, read_all.upgrade),
            (vec!["a/b", "c/d, e/f"], Some("application/json"), false)
        );
        for twice in ["content-type", "content-encoding"] {
            assert!(
                read(&[(twice, "identity"), (twice, "identity")])
                    .unwrap_err()
                    .message
                    .contains("twice")
            );
        }
        assert!(
            read(&[("accept", "caf\u{e9}")])
                .unwrap_err()
                .message
                .contains("plain text")
        );
    }

    /// T29.
    #[test]
    fn compressed_bodies_are_refused() {
        for encoding in ["gzip", "Identity", "identity, gzip", ""] {
            let fault = read(&[("content-encoding", encoding)]).unwrap_err();
            assert_eq!(fault.status, UnreadableStatus::UnsupportedMediaType, "{encoding}");
        }
        assert!(read(&[("content-encoding", "identity")]).is_ok());
    }

    /// T20: the server finds the word anywhere in the header.
    #[test]
    fn whatever_could_be_taken_for_an_upgrade_is_one() {
        for (name, value) in [
            ("upgrade", ""),
            ("connection", "xUpgradex"),
            ("connection", "close, UPGRADE"),
            ("connection", "upgr\u{e4}de"),
        ] {
            assert!(read(&[(name, value)]).unwrap().upgrade, "{name}: {value}");
        }
        assert!(!read(&[("connection", "keep-alive")]).unwrap().upgrade);
    }

    /// T14.
    #[test]
    fn impersonation_is_seen_in_every_spelling() {
        for name in [
            "impersonate-user",
            "Impersonate-Extra-a",
            "impersonate_group",
            "IMPERSONATE-UID",
        ] {
            assert!(impersonates(name), "{name}");
        }
        assert!(!impersonates("impersonat") && !impersonates("x-impersonate-user"));
    }
}
