//! Why a stream that had begun was ended, and what it says as it goes.

use bytes::Bytes;
use serde_json::json;

/// After the head: what ended an answer before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The caller's token expired.
    TokenEnded,
    /// The cluster that issued the caller's token takes it for valid no more.
    Disowned,
    /// The caller's session has reached its greatest age.
    SessionEnded,
    /// The caller's Agent is one until then (`expiresAt`).
    AgentEnded,
    /// A law came into force that would not let it begin.
    LawChanged,
    /// An operator has suspended the caller's agent.
    Suspended,
    /// An operator has ended the caller's session.
    Stopped,
    /// The gateway is shutting down; another replica will answer.
    Drained,
    /// The client took nothing for a minute.
    Stalled,
    /// The rest of the answer could not be masked; none of it was sent.
    Unmaskable,
    /// The cluster broke the answer off.
    Broken,
}

impl Cut {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Cut::TokenEnded => "TokenEnded",
            Cut::Disowned => "TokenDisowned",
            Cut::SessionEnded => "SessionEnded",
            Cut::AgentEnded => "AgentEnded",
            Cut::LawChanged => "LawChanged",
            Cut::Suspended => "AgentSuspended",
            Cut::Stopped => "SessionStopped",
            Cut::Drained => "Drained",
            Cut::Stalled => "Stalled",
            Cut::Unmaskable => "Unmaskable",
            Cut::Broken => "Broken",
        }
    }

    /// The last event of a watch. Reflectors list again on it, and then get the 401 that tells them to sign in.
    /// None where the stream ends without a word: a drain is no business of the client, and a broken answer must look broken.
    pub(crate) fn watch_farewell(self) -> Option<Bytes> {
        let (code, reason, message) = match self {
            Cut::TokenEnded => (
                401,
                "Unauthorized",
                "the token of this watch has expired; sign in again and watch anew",
            ),
            Cut::Disowned => (
                401,
                "Unauthorized",
                "the cluster that issued the token of this watch takes it for valid no more; get a new one and watch anew",
            ),
            // Reflectors list again after this one as well, in the session that follows.
            Cut::SessionEnded => (
                410,
                "Expired",
                "the session of this watch has reached its greatest age; watch anew",
            ),
            Cut::AgentEnded => (
                403,
                "Forbidden",
                "the Agent of this watch has expired; ask one of its owners",
            ),
            // Asked again, the law in force says what it has against it.
            Cut::LawChanged => (
                410,
                "Expired",
                "the policies, agents or issuers of this gateway have changed, and this watch is to be judged anew; watch anew",
            ),
            Cut::Suspended => (
                403,
                "Forbidden",
                "an operator has suspended the agent of this watch; do not retry, ask one of its owners",
            ),
            Cut::Stopped => (
                403,
                "Forbidden",
                "an operator has ended the session of this watch; do not retry, ask the operators of the gateway",
            ),
            Cut::Drained | Cut::Stalled | Cut::Unmaskable | Cut::Broken => return None,
        };
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason, "message": message});
        Some(Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status}))))
    }

    /// Whether the body may end as if it were complete. Watches and logs have no end of their own, so a clean one misleads nobody.
    pub(crate) fn ends_clean(self) -> bool {
        match self {
            Cut::TokenEnded
            | Cut::Disowned
            | Cut::SessionEnded
            | Cut::AgentEnded
            | Cut::LawChanged
            | Cut::Suspended
            | Cut::Stopped
            | Cut::Drained => true,
            Cut::Stalled | Cut::Unmaskable | Cut::Broken => false,
        }
    }
}
