//! From bytes to meaning: who is calling, and what exactly is asked.

pub mod accept;
pub(crate) mod authority;
pub(crate) mod body;
pub mod certificates;
pub(crate) mod delivery;
pub mod framing;
#[cfg(test)]
#[expect(clippy::print_stdout, reason = "how many rows were alike is worth reading")]
mod framing_agrees;
pub(crate) mod guarded;
pub mod limits;
pub mod proxy;
pub mod seats;
pub(crate) mod socket;
pub mod authenticate;
pub mod keys;
pub(crate) mod review;
pub mod limit;
pub(crate) mod resolve;

use std::net::SocketAddr;

use http::HeaderValue;
use http::header::{HeaderName, USER_AGENT};
use hyper::body::Incoming;

use accept::{RawRequest, UnderWay};

/// A request on its way in: its head, the body nobody has read, and the name of the cluster that its path begins with.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) parts: http::request::Parts,
    pub(crate) body: Option<Incoming>,
    pub(crate) peer: SocketAddr,
    /// None: no `/clusters/NAME` in front, so the default cluster is meant.
    pub(crate) cluster: Option<String>,
    /// The path without that prefix, still percent-encoded.
    pub(crate) path: String,
    pub(crate) under_way: UnderWay,
}

/// The headers of a client that may go upstream as they are, once they are harmless.
///
/// `User-Agent` names the field manager where a client gives none (apiserver `endpoints/handlers/create.go`, managerOrUserAgent).
const RELAYED: [HeaderName; 2] = [USER_AGENT, HeaderName::from_static("traceparent")];
const RELAYED_BYTES: usize = 512;

impl RawRequest {
    pub(crate) fn split(self) -> Ask {
        let (parts, body) = self.request.into_parts();
        let (cluster, path) = cluster_of(parts.uri.path());
        Ask {
            body: Some(body),
            peer: self.peer,
            under_way: self.under_way,
            cluster,
            path,
            parts,
        }
    }
}

impl Ask {
    pub(crate) fn user_agent(&self) -> &str {
        self.parts
            .headers
            .get(USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// Path and query as they came, for the record.
    pub(crate) fn uri(&self) -> String {
        match self.parts.uri.query() {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    pub(crate) fn relayed_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let harmless = |v: &&HeaderValue| v.len() <= RELAYED_BYTES && v.to_str().is_ok();
        RELAYED
            .iter()
            .filter_map(|name| Some((name.clone(), self.parts.headers.get(name).filter(harmless)?.clone())))
            .collect()
    }
}

fn cluster_of(path: &str) -> (Option<String>, String) {
    let Some(rest) = path.strip_prefix("/clusters/") else {
        return (None, path.to_owned());
    };
    match rest.split_once('/') {
        Some((name, rest)) => (Some(name.to_owned()), format!("/{rest}")),
        None => (Some(rest.to_owned()), "/".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::cluster_of;

    #[test]
    fn a_prefix_names_the_cluster_and_is_cut_off() {
        assert_eq!(
            cluster_of("/clusters/prod/api/v1/pods"),
            (Some("prod".into()), "/api/v1/pods".into())
        );
        assert_eq!(cluster_of("/clusters/prod"), (Some("prod".into()), "/".into()));
        assert_eq!(cluster_of("/api/v1/pods"), (None, "/api/v1/pods".into()));
        assert_eq!(cluster_of("/clusters/a%2Fb/api"), (Some("a%2Fb".into()), "/api".into()));
    }
}
