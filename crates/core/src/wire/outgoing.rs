//! The request that goes upstream, rebuilt.
//!
//! In: an [`Action`] and the law's [`Terms`]. Out: [`Outgoing`]. Refuses nothing: what could be refused was, before.
//! Deliberately not here: identity headers and `Audit-ID`, which the gateway sets last; anything of the client's own request.

use std::fmt;

use bytes::Bytes;

use crate::action::Action;
use crate::law::Terms;

/// Method, path, headers and body for the API server. Header names are in lower case.
pub struct Outgoing {
    pub method: &'static str,
    pub path_and_query: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// Writes `action` down for the API server. `_terms` hold nothing yet; preconditions will come with approvals.
pub fn outgoing(action: &Action, _terms: &Terms) -> Outgoing {
    let mut headers = vec![
        ("accept", action.accept().to_owned()),
        ("accept-encoding", String::from("identity")),
    ];
    let mut body = Bytes::new();
    if let Some(submitted) = action.body() {
        headers.push(("content-type", submitted.content_type().to_owned()));
        body = Bytes::from(submitted.outgoing());
    }
    Outgoing {
        method: action.method().as_str(),
        path_and_query: action.request_uri(),
        headers,
        body,
    }
}

// The body is raw, and a query can carry a command line: neither belongs into a log.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next();
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("path", &path)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
