//! Whom a request of HTTP/2 says that it is for: `:authority`, or `Host` in its place, or both alike (RFC 9113 8.3.1). HTTP/1.1's `Host` is looked at
//! where it is framed.
//!
//! Which name it is does not matter: there is one gateway here, and the host that goes upstream is the cluster's own. But two names, or none, are
//! what a request has that was made to be read in two ways.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Version};
use mantlet_core::action::{Unreadable, UnreadableStatus};

use super::framing::authority;
use crate::relay::refuse::Refusal;

/// Refuses a request that names no host, two, or what is none.
pub(crate) fn refuse_doubt(parts: &Parts) -> Result<(), Refusal> {
    if parts.version < Version::HTTP_2 {
        return Ok(());
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next().map(HeaderValue::as_bytes), hosts.next());
    let named = parts.uri.authority().map(Authority::as_str).map(str::as_bytes);
    match (named, host, second) {
        (_, _, Some(_)) => Err(refused("the header host is there twice")),
        (None, None, None) => Err(refused("the request names no host: send :authority")),
        (Some(one), None, None) | (None, Some(one), None) => plain(one).map(|_| ()),
        (Some(named), Some(host), None) => match plain(named)? == plain(host)? {
            true => Ok(()),
            false => Err(refused("host and :authority name two hosts: send :authority alone")),
        },
    }
}

/// The name in lower case, and the port: that of https if none is said.
fn plain(written: &[u8]) -> Result<(String, u16), Refusal> {
    let authority = authority(written)
        .ok_or_else(|| refused("the request's host is not a name or address with an optional port"))?;
    Ok((
        authority.host().to_ascii_lowercase(),
        authority.port_u16().unwrap_or(443),
    ))
}

fn refused(message: &str) -> Refusal {
    Refusal::NotUnderstood(Unreadable {
        status: UnreadableStatus::BadRequest,
        message: message.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = http::Request::builder().version(Version::HTTP_2).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        refuse_doubt(&parts).err().map(|refusal| refusal.message())
    }

    #[test]
    fn one_host_in_either_place_or_the_same_in_both() {
        assert_eq!(says("https://gate:8443/api", &[]), None);
        assert_eq!(says("/api", &["gate:8443"]), None);
        assert_eq!(says("https://gate/api", &["GATE:443"]), None);
        assert_eq!(says("https://[::1]:8443/api", &["[::1]:8443"]), None);
    }

    #[test]
    fn none_two_or_what_is_no_host_is_refused() {
        for (uri, hosts, part) in [
            ("/api", &[][..], "names no host"),
            ("https://gate/api", &["other"], "two hosts"),
            ("https://gate/api", &["gate:8443"], "two hosts"),
            ("https://gate/api", &["gate", "gate"], "twice"),
            ("https://user@gate/api", &[], "not a name"),
            ("https://gate/api", &[""], "not a name"),
            ("/api", &["a/b"], "not a name"),
        ] {
            let said = says(uri, hosts);
            assert!(
                said.as_ref().is_some_and(|s| s.contains(part)),
                "{uri} {hosts:?}: {said:?}"
            );
        }
    }
}
