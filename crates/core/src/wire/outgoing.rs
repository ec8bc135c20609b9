//! The request that goes upstream, rebuilt.
//!
//! In: an [`Action`] and the law's [`Terms`]. Out: [`Outgoing`]. Refuses nothing: what could be refused was, before.
//! Deliberately not here: identity headers and `Audit-ID`, which the gateway sets last; anything of the client's own request.

use std::fmt;

use bytes::Bytes;

use crate::action::Action;
use crate::law::Terms;

use super::bound::bound;

/// Method, path, headers and body for the API server. Header names are in lower case.
pub struct Outgoing {
    pub method: &'static str,
    pub path_and_query: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// Writes `action` down for the API server, bound to what was judged where the terms say so.
pub fn outgoing(action: &Action, terms: &Terms) -> Outgoing {
    let mut headers = vec![
        ("accept", action.accept().to_owned()),
        ("accept-encoding", String::from("identity")),
    ];
    if let Some(submitted) = action.body() {
        headers.push(("content-type", submitted.content_type().to_owned()));
    }
    let (path_and_query, body) = match terms.precondition() {
        None => {
            let body = action.body().map(|submitted| Bytes::from(submitted.outgoing()));
            (action.request_uri(), body.unwrap_or_default())
        }
        Some(precondition) => {
            let (query, body) = bound(action, precondition);
            (action.request_uri_with(&query), body)
        }
    };
    Outgoing {
        method: action.method().as_str(),
        path_and_query,
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
