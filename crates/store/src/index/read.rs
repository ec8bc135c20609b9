//! Rows as the objects of the virtual API.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mantlet_api::gate::{
    API_VERSION, ClusterRef, Kind, Metadata, Session, SessionEvent, SessionEventSpec, SessionPhase, SessionSpec,
    SessionStatus, SessionUser,
};
use mantlet_core::time::Timestamp;

use super::Owner;
use crate::StoreFault;
use crate::database::Row;

/// Idle sessions are over before anybody writes it down.
pub(super) fn session(row: &Row, now: Timestamp) -> Result<Session, StoreFault> {
    let (started, last_seen) = (time(row, "started")?, time(row, "last_seen")?);
    let (ends, ended) = (
        time(row, "ends")?,
        row.try_get::<Option<i64>>("ended")?.map(Timestamp::from_micros),
    );
    let idle = std::time::Duration::from_micros(row.try_get::<i64>("idle")?.unsigned_abs());
    let over = ended.is_some() || now >= ends || now.since(last_seen) > idle;
    let name: String = row.try_get("name")?;
    Ok(Session {
        api_version: API_VERSION.to_owned(),
        kind: Session::KIND.to_owned(),
        metadata: metadata(row, name, row.try_get("uid")?, started)?,
        spec: SessionSpec {
            cluster: ClusterRef {
                name: row.try_get("cluster")?,
                uid: row.try_get("cluster_uid")?,
            },
            agent: row.try_get("agent")?,
            user: SessionUser {
                issuer: row.try_get("issuer")?,
                subject: row.try_get("subject")?,
                username: row.try_get("username")?,
                groups: json(row.try_get("user_groups")?)?,
                population: row.try_get("population")?,
            },
            upstream_user: row.try_get("upstream_user")?,
        },
        status: SessionStatus {
            phase: if over {
                SessionPhase::Ended
            } else {
                SessionPhase::Active
            },
            started_at: started.to_string(),
            last_seen_at: last_seen.to_string(),
            ends_at: ends.to_string(),
            ended_at: ended.map(|at| at.to_string()),
            ended_reason: row.try_get("ended_why")?,
            requests: row.try_get("requests")?,
            refused: row.try_get("refused")?,
        },
    })
}

pub(super) fn event(row: &Row) -> Result<SessionEvent, StoreFault> {
    let id: String = row.try_get("audit_id")?;
    Ok(SessionEvent {
        api_version: API_VERSION.to_owned(),
        kind: SessionEvent::KIND.to_owned(),
        metadata: metadata(row, id.clone(), id, time(row, "opened")?)?,
        spec: SessionEventSpec {
            session: row.try_get::<Option<String>>("session")?.unwrap_or_default(),
        },
        event: json(row.try_get("event")?)?,
    })
}

/// None for a request that had no caller: nobody's own.
pub(super) fn owner(row: &Row) -> Result<Option<Owner>, StoreFault> {
    let (issuer, subject): (Option<String>, Option<String>) = (row.try_get("issuer")?, row.try_get("subject")?);
    Ok(issuer.zip(subject).map(|(issuer, subject)| Owner { issuer, subject }))
}

fn metadata(row: &Row, name: String, uid: String, created: Timestamp) -> Result<Metadata, StoreFault> {
    let resource_version = row.try_get::<i64>("changed")?.to_string();
    Ok(Metadata {
        name,
        uid,
        resource_version,
        creation_timestamp: created.to_seconds_text(),
    })
}

fn time(row: &Row, column: &str) -> Result<Timestamp, StoreFault> {
    Ok(Timestamp::from_micros(row.try_get(column)?))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreFault> {
    serde_json::from_str(text).map_err(|fault| StoreFault::Index(fault.to_string()))
}

/// Where a list goes on: behind the row created at `after`; `version` is that of the list's beginning, so that a watch from there misses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Continue {
    pub(super) version: i64,
    pub(super) after: i64,
}

impl Continue {
    pub(super) fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("v1 {} {}", self.version, self.after))
    }

    pub(super) fn parse(text: &str) -> Result<Self, StoreFault> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| StoreFault::Continue)?;
        let text = String::from_utf8(bytes).map_err(|_| StoreFault::Continue)?;
        let numbers = text
            .strip_prefix("v1 ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(StoreFault::Continue)?;
        let number = |text: &str| text.parse().map_err(|_| StoreFault::Continue);
        Ok(Self {
            version: number(numbers.0)?,
            after: number(numbers.1)?,
        })
    }
}
