//! In: the look-ups that the law asked for. Out: what they brought, for the law to learn.
//!
//! Each goes out under the open entry with an Audit-ID of its own (the entry's and a number), as the caller, and is noted in the entry before it
//! leaves. What fails is a fact too: the law says what follows from it.
//!
//! # Cancel safety
//! Look-ups read or are `dryRun=All`: dropping them changes nothing.

use std::sync::Arc;

use http::StatusCode;
use mantlet_core::action::Answer;
use mantlet_core::law::{Fact, Learned, Lookup, LookupKind, Lookups};
use mantlet_core::mask::{self, Hint, Masked};
use mantlet_store::SessionId;
use serde_json::Value;

use crate::entry::Entry;
use crate::upstream::{Cluster, Unreached};

pub(crate) async fn look_up(lookups: Lookups, entry: &mut Entry, cluster: &Cluster) -> Vec<Learned> {
    let session = entry.session().cloned();
    let mut learned = Vec::new();
    for lookup in &lookups {
        let Some(id) = entry.looks_up(name(lookup.kind())) else {
            continue;
        };
        let came = cluster
            .look_up(lookup, id.as_str(), session.as_ref().map(SessionId::as_str))
            .await;
        if let Ok((code, _)) = &came {
            entry.found(&id, code.as_u16());
        }
        learned.push(lookup.learned(fact(came, hint(lookup))));
    }
    learned
}

/// As the audit event lists it.
fn name(kind: LookupKind) -> &'static str {
    match kind {
        LookupKind::DryRun => "dryRun",
    }
}

fn fact(came: Result<(StatusCode, Value), Unreached>, hint: Hint) -> Fact<Arc<Masked<Value>>> {
    match came {
        Ok((code, object)) if code.is_success() => Fact::Known(Arc::new(mask::value(object, hint))),
        // The gateway's own credential was refused; that says nothing about the caller's request.
        Ok((StatusCode::UNAUTHORIZED, _)) => {
            Fact::Failed("the cluster does not accept the gateway's credential".into())
        }
        // Too busy, or out of order: the request itself may fare better.
        Ok((code, _)) if code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS => {
            Fact::Failed(format!("the dry-run was answered {code}"))
        }
        Ok((code, status)) => Fact::Refused {
            code: code.as_u16(),
            status: Arc::new(refusal(status, hint)),
        },
        Err(why) => Fact::Failed(why.to_string()),
    }
}

/// The caller reads it in place of the answer to the request itself.
fn refusal(status: Value, hint: Hint) -> Masked<Value> {
    match hint {
        Hint::Secrets => mask::status(status),
        Hint::Other => mask::value(status, hint),
    }
}

fn hint(lookup: &Lookup) -> Hint {
    match lookup.action().answer() {
        Answer::Masked { secret: true } => Hint::Secrets,
        Answer::Masked { secret: false } | Answer::Verbatim => Hint::Other,
    }
}
