//! The API server's own audit log, read as the other witness.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A line of the API server's log: what one Audit-ID left there at one stage.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logged {
    #[serde(rename = "auditID")]
    pub audit_id: String,
    pub stage: String,
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub uri: String,
    pub user: Value,
    #[serde(default)]
    pub impersonated_user: Option<Value>,
}

/// Everything in the log that came through a gateway: it impersonates, and says which session.
pub fn through_gateway(log: &Path) -> BTreeMap<String, Logged> {
    entries(log)
        .filter(|e| session(e).is_some())
        .map(|e| (e.audit_id.clone(), e))
        .collect()
}

pub fn entries(log: &Path) -> impl Iterator<Item = Logged> {
    let text = std::fs::read_to_string(log).expect("the audit log can be read");
    let complete = text.rfind('\n').map_or(0, |end| end + 1);
    let lines: Vec<Logged> = text[..complete]
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    lines.into_iter()
}

/// Everything in the log that came with the credential of `user`, whomever it impersonated: a line for each stage of each request.
pub fn by_user(log: &Path, user: &str) -> Vec<Logged> {
    let text = std::fs::read_to_string(log).expect("the audit log can be read");
    let complete = text.rfind('\n').map_or(0, |end| end + 1);
    text[..complete]
        .lines()
        // Most lines are of others and need not be parsed.
        .filter(|line| line.contains(user))
        .map(|line| serde_json::from_str::<Logged>(line).expect("a line of the audit log is an event"))
        .filter(|logged| logged.user["username"] == user)
        .collect()
}

/// The session that a logged request carries as an impersonation extra.
pub fn session(entry: &Logged) -> Option<String> {
    let extra = entry
        .impersonated_user
        .as_ref()?
        .get("extra")?
        .get("mantlet.dev/session")?;
    Some(extra.get(0)?.as_str()?.to_owned())
}

/// What was logged with one of these sessions, once for each stage.
pub fn of_sessions(log: &Path, sessions: &std::collections::BTreeSet<String>) -> Vec<Logged> {
    let text = std::fs::read_to_string(log).expect("the audit log can be read");
    let complete = text.rfind('\n').map_or(0, |end| end + 1);
    text[..complete]
        .lines()
        // Most lines are of others: they need not be parsed.
        .filter(|line| line.contains("mantlet.dev/session"))
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|logged| session(logged).is_some_and(|session| sessions.contains(&session)))
        .collect()
}
