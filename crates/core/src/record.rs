//! What is written down: the versioned forms of the journal.
//!
//! A request leaves two records, `Opened` and `Closed`, joined by its Audit-ID. Both come into the journal as `Masked` only, and are minted
//! here from parts that are masked, public, or numbers. A form that was released is never changed but by adding optional fields:
//! `crates/store/golden/` holds journals of every version, read for ever.

use std::collections::BTreeMap;

use mantlet_api::audit::{Level, Stage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod body;
pub mod policy;
pub mod stored;

pub use body::Body;
pub use policy::{Recording, RecordingPolicy};
pub use stored::Stored;

use crate::identity::{self, Population};
use crate::law;
use crate::mask::{self, Masked};
use crate::time::Timestamp;

mod proof;

pub use proof::{
    Anchored, CHECKPOINT, ChainHead, CheckpointStatement, Counts, PRUNED, PrunedSegment, PrunedStatement, PrunedWhy,
    PublicKey, Signed,
};

/// The version that is written. Readers know every version up to it. 2 brought suspended agents, sessions that an operator ended, signed
/// checkpoints, pruning and anchors.
pub const VERSION: u32 = 2;

/// One line of a journal: a record, who wrote it, and its place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<R = Record> {
    pub v: u32,
    /// Who wrote this chain: one id per journal directory.
    pub writer: String,
    /// Counts from 1 in each chain, without a gap.
    pub seq: u64,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// Of the policy snapshot that judged; none before a judgment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Keys that were in use: of placeholders, of the chain's checkpoints.
    pub key_ids: Vec<String>,
    /// SHA-256 of the frame before, in hex; zeros for the first.
    pub prev: String,
    pub record: R,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[expect(
    clippy::large_enum_variant,
    reason = "most records are the large one, and none lives long"
)]
pub enum Record {
    Opened(Opened),
    Closed(Closed),
    SessionStarted(SessionStarted),
    SessionEnded(SessionEnded),
    AgentSuspended(AgentSuspended),
    Refusals(Refusals),
    Checkpoint(Checkpoint),
    /// A [`CheckpointStatement`].
    SignedCheckpoint(Signed),
    /// A [`PrunedStatement`].
    Pruned(Signed),
    Anchored(Anchored),
    Truncated(Truncated),
    Stopped,
}

/// A cluster by the name in the configuration, and by what it is: the uid of its `kube-system`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    pub uid: String,
}

/// The name of one request in every log: a UUID v4. Look-ups on its behalf carry it with `.1`, `.2` appended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AuditId(String);

/// A request as it was understood and judged, written before anything of it reaches the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    pub audit_id: String,
    /// When its head had been read.
    pub at: Timestamp,
    #[serde(skip)]
    pub(crate) cluster: Option<Cluster>,
    #[serde(skip)]
    pub(crate) epoch: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// The HTTP method; empty if the request was not understood so far.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// RBAC's word, and `exec`, `attach`, `portforward`, `proxy`; empty likewise.
    pub verb: String,
    /// Path and query, masked.
    pub uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectRef>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Rules that a Deny made unnecessary to ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_judged: Vec<String>,
    /// Look-ups made so far; the close lists them again with their answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<LookedUp>,
    /// What the recording policy says; none where the request ended before it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Stages at which the policy has nothing exported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omit_stages: Vec<Stage>,
    /// What was submitted, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Body>,
    /// Room: the object before the change, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Room: the object as it will be, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Room: the facts that the verdict rests on, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Value>,
}

/// What is known of a request when it is opened; absent is what had not been found out when it ended.
#[derive(Debug)]
pub struct Parts {
    pub at: Timestamp,
    pub uri: Masked<String>,
    pub user_agent: Option<Masked<String>>,
    pub source_ips: Vec<String>,
    pub cluster: Option<Cluster>,
    pub epoch: Option<u64>,
    pub session: Option<String>,
    pub caller: Option<Caller>,
    pub method: Option<&'static str>,
    pub verb: Option<&'static str>,
    pub object_ref: Option<ObjectRef>,
    pub verdict: Option<Verdict>,
    pub not_judged: Vec<String>,
}

/// Names only; no claims, never a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    pub issuer: String,
    pub subject: String,
    pub username: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    pub population: Population,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// As whom the cluster sees the request.
    pub impersonated: Impersonated,
    /// And how it comes to.
    #[serde(default, skip_serializing_if = "Upstream::is_impersonation")]
    pub upstream: Upstream,
}

/// By which way the gateway acts as somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Upstream {
    #[default]
    Impersonation,
    /// With a token of the account itself: the cluster's own log knows the account alone, and the Audit-ID is what joins the two.
    Token,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Impersonated {
    pub user: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// As audit.k8s.io/v1 `ObjectReference`; empty strings are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// What the law said, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub decision: Decision,
    /// Rules that spoke against the request, whatever became of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<Applied>,
    /// One word, where the request was not allowed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// None where the law had no say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// `auditAnnotations` of policies, by `POLICY/KEY`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How risky the request was, from 0 to 100, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    pub score: u8,
    /// With the points of rules that do not count yet.
    pub shadow: u8,
    /// `30 it changes a node`, `+20 policy:NAME: its message`, `(+10) policy:NAME: its message` of what counts for the shadow only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// `policy:NAME`, `agent:NAME`, `built-in:self-protection`.
    pub rule: String,
    /// `Deny`, `RequireApproval`, `Warn`, `None`.
    pub action: String,
    /// `enforce`, `warn`, `audit`.
    pub strength: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// `violated`, or what kept the rule from being judged.
    pub because: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Hold,
    Deny,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    pub audit_id: String,
    pub at: Timestamp,
    pub outcome: Outcome,
    /// Body bytes sent to the client.
    #[serde(default)]
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<LookedUp>,
    /// What was answered, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Body>,
    /// The last verdict, where the request was judged again after it had been opened: the object was no longer the one that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What a write left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Outcome {
    /// The cluster (or the virtual API) answered; `reason` is that of its `Status`, if it sent one.
    Answered { code: u16, reason: String },
    /// Mantlet answered itself; nothing was carried out.
    Refused { code: u16, reason: String, message: String },
    /// Whoever had the request in hand dropped it: client gone, or a fault here.
    Abandoned,
    /// The process ended before the request did.
    Unknown,
    /// An answer was under way and was ended by Mantlet.
    Cut { code: u16, why: String },
}

/// A request that the law asked for, under its own Audit-ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookedUp {
    pub audit_id: String,
    /// `dryRun`, ..: what was asked for.
    pub kind: String,
    /// HTTP status of the answer; none if no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// One credential's work begins: an agent run, a CI job, a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStarted {
    pub session: String,
    pub uid: String,
    /// Hash of whatever tells this session from others; requests with an equal one fall into it.
    pub key: String,
    pub caller: Caller,
    pub at: Timestamp,
    /// Without a request for so long it ends, in microseconds.
    pub idle: u64,
    /// It ends then whatever happens.
    pub ends: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEnded {
    pub session: String,
    pub at: Timestamp,
    pub why: SessionEnd,
    /// Of the request that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEnd {
    Idle,
    MaxAge,
    /// More sessions than are kept track of; the one longest without a request gave way.
    Evicted,
    /// An operator ended it: its credential gets no other one.
    Operator,
    /// Its agent was suspended.
    Suspended,
}

/// From now on nobody acts as this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSuspended {
    pub agent: String,
    pub at: Timestamp,
    pub by: Caller,
    /// In the words of whoever did it, masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Of the request that did it.
    pub audit_id: String,
}

/// Requests refused before there was a caller, beyond the rate up to which each has its own records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusals {
    pub counted: Vec<RefusedIn>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedIn {
    /// Seconds since the Unix epoch.
    pub second: i64,
    /// The address that they came from; empty for those of so many addresses that each would be too much.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The user name of somebody whose share of the journal was filled; empty for those whose name is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
    pub count: u64,
}

/// Ties the chain so far to a key: HMAC-SHA-256 of `prev` and `seq`. The first record of each segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    pub segment: u64,
    pub key_id: String,
    pub mac: String,
}

/// The process had ended in mid-write: these bytes were never acknowledged and were taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Truncated {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
    pub sha256: String,
    /// Requests that were still open, and are closed as unknown by the records that follow.
    pub unclosed: u64,
}

/// Texts that a client chose are cut here, so that a record has a size known beforehand.
const URI_LIMIT: usize = 16 * 1024;
const TEXT_LIMIT: usize = 1024;
const LIST_LIMIT: usize = 64;
const ANNOTATION_LIMIT: usize = 10 * 1024;
const ANNOTATIONS_LIMIT: usize = 64 * 1024;

impl Upstream {
    /// What every record before there was another way means.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_impersonation(&self) -> bool {
        *self == Upstream::Impersonation
    }
}

impl AuditId {
    /// A UUID v4 (RFC 9562 5.4) of 16 random bytes.
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(uuid(random))
    }

    /// Of a call that Mantlet makes for itself.
    pub fn own(random: [u8; 16]) -> Self {
        Self(format!("own-{}", uuid(random)))
    }

    /// Of the `n`th look-up (from 1) on behalf of this request.
    pub fn lookup(&self, n: usize) -> Self {
        Self(format!("{}.{n}", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text of a UUID v4 made of these bytes.
pub fn uuid(mut random: [u8; 16]) -> String {
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    let hex = hex::encode(random);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

impl std::fmt::Display for AuditId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Record {
    /// What this record adds to the counts of its chain.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        match self {
            Record::Opened(_) => counts.opened = 1,
            Record::Closed(_) => counts.closed = 1,
            Record::Refusals(refusals) => counts.refused = refusals.counted.iter().map(|counted| counted.count).sum(),
            Record::SessionStarted(_)
            | Record::SessionEnded(_)
            | Record::AgentSuspended(_)
            | Record::Checkpoint(_)
            | Record::SignedCheckpoint(_)
            | Record::Pruned(_)
            | Record::Anchored(_)
            | Record::Truncated(_)
            | Record::Stopped => {}
        }
        counts
    }
}

impl Opened {
    /// Only what is masked, public by nature (names, addresses, the law's own words) or a number comes in, so what comes out is masked.
    pub fn new(id: &AuditId, parts: Parts) -> Masked<Opened> {
        Masked::mint(Opened {
            audit_id: id.0.clone(),
            at: parts.at,
            cluster: parts.cluster,
            epoch: parts.epoch,
            session: parts.session,
            caller: parts.caller.map(Caller::cut),
            method: parts.method.unwrap_or_default().to_owned(),
            verb: parts.verb.unwrap_or_default().to_owned(),
            uri: cut(&parts.uri, URI_LIMIT),
            object_ref: parts.object_ref.map(ObjectRef::cut),
            user_agent: parts.user_agent.map(|text| cut(&text, TEXT_LIMIT)).unwrap_or_default(),
            source_ips: cut_all(parts.source_ips),
            verdict: parts.verdict.map(Verdict::cut),
            not_judged: cut_all(parts.not_judged),
            lookups: Vec::new(),
            level: None,
            omit_stages: Vec::new(),
            request_object: None,
            before: None,
            after: None,
            facts: None,
        })
    }

    /// Of a request that ended before anything was known of it.
    pub fn blank(id: &AuditId, at: Timestamp) -> Masked<Opened> {
        Masked::mint(Opened {
            audit_id: id.0.clone(),
            at,
            cluster: None,
            epoch: None,
            session: None,
            caller: None,
            method: String::new(),
            verb: String::new(),
            uri: String::new(),
            object_ref: None,
            user_agent: String::new(),
            source_ips: Vec::new(),
            verdict: None,
            not_judged: Vec::new(),
            lookups: Vec::new(),
            level: None,
            omit_stages: Vec::new(),
            request_object: None,
            before: None,
            after: None,
            facts: None,
        })
    }

    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }
}

impl Masked<Opened> {
    /// The look-ups that led to the verdict; known to whoever holds the entry.
    pub fn with_lookups(self, lookups: Vec<LookedUp>) -> Self {
        Masked::mint(Opened {
            lookups,
            ..self.into_inner()
        })
    }

    /// By what the recording policy says, with what it wants of the body.
    pub fn recorded(self, recording: &Recording, request: Option<Masked<Body>>) -> Self {
        Masked::mint(Opened {
            level: Some(recording.level),
            omit_stages: recording.omit_stages.clone(),
            request_object: request.map(Masked::into_inner),
            ..self.into_inner()
        })
    }
}

impl Closed {
    /// The one free text, a refusal's message, is masked here; reasons are words.
    pub fn new(id: &AuditId, at: Timestamp, outcome: Outcome, bytes: u64) -> Masked<Closed> {
        Masked::mint(Closed {
            audit_id: id.0.clone(),
            at,
            outcome: outcome.worded(),
            bytes,
            lookups: Vec::new(),
            response_object: None,
            verdict: None,
            stored: None,
        })
    }

    /// Of a request that was read back open from a journal whose writer is gone.
    pub fn unknown(audit_id: &str, at: Timestamp) -> Masked<Closed> {
        let (audit_id, outcome) = (audit_id.to_owned(), Outcome::Unknown);
        Masked::mint(Closed {
            audit_id,
            at,
            outcome,
            bytes: 0,
            lookups: Vec::new(),
            response_object: None,
            verdict: None,
            stored: None,
        })
    }
}

impl AgentSuspended {
    /// The one free text, the reason, is masked here.
    pub fn new(agent: &str, by: &identity::Caller, reason: &str, audit_id: &AuditId, at: Timestamp) -> Self {
        Self {
            agent: agent.to_owned(),
            at,
            by: by.into(),
            reason: cut(&mask::text(reason), TEXT_LIMIT),
            audit_id: audit_id.0.clone(),
        }
    }
}

impl Masked<Closed> {
    pub fn with_lookups(self, lookups: Vec<LookedUp>) -> Self {
        Masked::mint(Closed {
            lookups,
            ..self.into_inner()
        })
    }

    /// What the law says in words and names, as of an opening.
    pub fn with_verdict(self, verdict: Option<Verdict>) -> Self {
        Masked::mint(Closed {
            verdict: verdict.map(Verdict::cut),
            ..self.into_inner()
        })
    }

    /// Names, a uid and paths of fields: no value is in it.
    pub fn with_stored(self, stored: Option<Stored>) -> Self {
        Masked::mint(Closed {
            stored,
            ..self.into_inner()
        })
    }

    pub fn with_response(self, response: Option<Masked<Body>>) -> Self {
        Masked::mint(Closed {
            response_object: response.map(Masked::into_inner),
            ..self.into_inner()
        })
    }
}

impl Outcome {
    /// The same with its message masked, and reasons that are one word each: a `Status` reason comes from the cluster, and a server extension could put anything there.
    fn worded(self) -> Self {
        match self {
            Outcome::Answered { code, reason } => Outcome::Answered {
                code,
                reason: word(reason),
            },
            Outcome::Refused { code, reason, message } => Outcome::Refused {
                code,
                reason: word(reason),
                message: cut(&mask::text(&message), TEXT_LIMIT),
            },
            Outcome::Cut { code, why } => Outcome::Cut { code, why: word(why) },
            Outcome::Abandoned => Outcome::Abandoned,
            Outcome::Unknown => Outcome::Unknown,
        }
    }
}

impl From<&identity::Caller> for Caller {
    fn from(caller: &identity::Caller) -> Self {
        let impersonation = caller.impersonation();
        let verified = caller.verified();
        Self {
            issuer: verified.issuer().to_owned(),
            subject: verified.subject().to_owned(),
            username: verified.username().to_owned(),
            groups: verified.groups().to_vec(),
            population: verified.population(),
            agent: caller.agent().map(|agent| agent.name().to_owned()),
            impersonated: Impersonated {
                user: impersonation.user,
                groups: impersonation.groups,
                uid: impersonation.uid,
                extra: impersonation.extra,
            },
            upstream: match caller.acts_as() {
                identity::ActAs::Impersonation(_) => Upstream::Impersonation,
                identity::ActAs::Token(_) => Upstream::Token,
            },
        }
        .cut()
    }
}

/// Of somebody whose token was verified and whom the law does not know: nobody acts as them.
impl From<&identity::Verified> for Caller {
    fn from(verified: &identity::Verified) -> Self {
        Self {
            issuer: verified.issuer().to_owned(),
            subject: verified.subject().to_owned(),
            username: verified.username().to_owned(),
            groups: verified.groups().to_vec(),
            population: verified.population(),
            agent: None,
            impersonated: Impersonated::default(),
            upstream: Upstream::Impersonation,
        }
        .cut()
    }
}

impl From<&law::ClusterRef> for Cluster {
    fn from(cluster: &law::ClusterRef) -> Self {
        Self {
            name: cluster.name.clone(),
            uid: cluster.uid.clone(),
        }
    }
}

impl From<&law::Judgment> for Verdict {
    fn from(judgment: &law::Judgment) -> Self {
        let said = match &judgment.verdict {
            law::Verdict::Allow(_) => Self::bare(Decision::Allow, "", ""),
            law::Verdict::Hold(question) => Self::bare(Decision::Hold, "ApprovalRequired", &question.message),
            law::Verdict::Deny(denial) => Self::from(denial),
        };
        let applied = judgment.applied.iter().map(Applied::from).collect();
        let warnings = judgment
            .warnings
            .iter()
            .map(|text| mask::text(text).into_inner())
            .collect();
        Self {
            applied,
            warnings,
            risk: Risk::of(&judgment.risk),
            annotations: judgment.annotations.clone(),
            ..said
        }
        .cut()
    }
}

/// Of a caller whom the law does not recognize: no rule was asked.
impl From<&law::Denial> for Verdict {
    fn from(denial: &law::Denial) -> Self {
        let reason = match &denial.reason {
            law::DenialReason::NotRecognized => "NotRecognized",
            law::DenialReason::Suspended => "AgentSuspended",
            law::DenialReason::SessionEnded => "SessionEnded",
            law::DenialReason::LimitReached => "LimitReached",
            law::DenialReason::ScopeDenied => "ScopeDenied",
            law::DenialReason::SelfProtection => "SelfProtection",
            law::DenialReason::PolicyDenied => "PolicyDenied",
            law::DenialReason::Upstream { .. } => "Upstream",
        };
        Self::bare(Decision::Deny, reason, &denial.message)
    }
}

impl From<&law::Applied> for Applied {
    fn from(applied: &law::Applied) -> Self {
        let action = match applied.action {
            law::ValidationAction::None => "None",
            law::ValidationAction::Warn => "Warn",
            law::ValidationAction::RequireApproval => "RequireApproval",
            law::ValidationAction::Deny => "Deny",
        };
        let strength = match applied.strength {
            law::Strength::Audit => "audit",
            law::Strength::Warn => "warn",
            law::Strength::Enforce => "enforce",
        };
        let because = match &applied.because {
            law::Because::Violated => String::from("violated"),
            law::Because::Erred(why) => format!("erred: {}", *mask::text(why)),
            law::Because::Blind(why) => format!("blind: {}", *mask::text(why)),
        };
        let message = applied.withheld.as_ref().unwrap_or(&applied.message);
        let message = cut(&mask::text(message), TEXT_LIMIT);
        Self {
            rule: applied.rule.to_string(),
            action: action.to_owned(),
            strength: strength.to_owned(),
            message,
            because: cut(&because, TEXT_LIMIT),
        }
    }
}

impl From<&crate::action::ResourceRef> for ObjectRef {
    fn from(resource: &crate::action::ResourceRef) -> Self {
        Self {
            resource: resource.resource.clone(),
            namespace: resource.namespace.clone(),
            name: resource.name.clone(),
            api_group: resource.group.clone(),
            api_version: resource.version.clone(),
            subresource: resource.subresource.clone(),
        }
    }
}

impl Caller {
    fn cut(self) -> Self {
        Self {
            issuer: cut(&self.issuer, TEXT_LIMIT),
            subject: cut(&self.subject, TEXT_LIMIT),
            username: cut(&self.username, TEXT_LIMIT),
            groups: cut_all(self.groups),
            agent: self.agent.map(|name| cut(&name, TEXT_LIMIT)),
            impersonated: Impersonated {
                user: cut(&self.impersonated.user, TEXT_LIMIT),
                groups: cut_all(self.impersonated.groups),
                uid: cut(&self.impersonated.uid, TEXT_LIMIT),
                extra: cut_extra(self.impersonated.extra),
            },
            upstream: self.upstream,
            population: self.population,
        }
    }
}

impl ObjectRef {
    fn cut(self) -> Self {
        Self {
            resource: cut(&self.resource, TEXT_LIMIT),
            namespace: cut(&self.namespace, TEXT_LIMIT),
            name: cut(&self.name, TEXT_LIMIT),
            api_group: cut(&self.api_group, TEXT_LIMIT),
            api_version: cut(&self.api_version, TEXT_LIMIT),
            subresource: cut(&self.subresource, TEXT_LIMIT),
        }
    }
}

impl Verdict {
    fn bare(decision: Decision, reason: &str, message: &str) -> Self {
        let message = cut(&mask::text(message), TEXT_LIMIT);
        Self {
            decision,
            applied: Vec::new(),
            reason: reason.to_owned(),
            message,
            warnings: Vec::new(),
            risk: None,
            annotations: BTreeMap::new(),
        }
    }

    fn cut(self) -> Self {
        Self {
            applied: self.applied.into_iter().take(LIST_LIMIT).collect(),
            reason: cut(&self.reason, TEXT_LIMIT),
            message: cut(&self.message, TEXT_LIMIT),
            warnings: cut_all(self.warnings),
            decision: self.decision,
            risk: self.risk,
            annotations: cut_annotations(self.annotations),
        }
    }
}

impl Risk {
    fn of(risk: &law::Risk) -> Option<Self> {
        let reason = |(at, said): (usize, &law::RiskReason)| {
            let text = mask::text(&said.reason);
            match (at, said.shadow) {
                (0, false) => format!("{} {}", said.points, *text),
                (_, false) => format!("+{} {}", said.points, *text),
                (_, true) => format!("(+{}) {}", said.points, *text),
            }
        };
        let reasons = cut_all(risk.reasons.iter().enumerate().map(reason).collect());
        (!reasons.is_empty()).then_some(Self {
            score: risk.score,
            shadow: risk.shadow,
            reasons,
        })
    }
}

/// At most `limit` bytes of a text, never half a character; a cut shows.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mark = "…";
    format!("{}{mark}", &text[..text.floor_char_boundary(limit - mark.len())])
}

fn cut_all(texts: Vec<String>) -> Vec<String> {
    let over = texts.len().saturating_sub(LIST_LIMIT);
    let mut kept: Vec<String> = texts
        .iter()
        .take(LIST_LIMIT)
        .map(|text| cut(text, TEXT_LIMIT))
        .collect();
    if over > 0 {
        kept.push(format!("… {over} more"));
    }
    kept
}

/// Each as long as the API server lets its own be, all together within one bound.
fn cut_annotations(annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut room = ANNOTATIONS_LIMIT;
    let mut kept = BTreeMap::new();
    for (key, value) in annotations {
        let value = cut(&value, ANNOTATION_LIMIT.min(room.max(TEXT_LIMIT)));
        match room.checked_sub(key.len() + value.len()) {
            Some(left) => room = left,
            None => break,
        }
        kept.insert(key, value);
    }
    kept
}

fn cut_extra(extra: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let kept = extra.into_iter().take(LIST_LIMIT);
    kept.map(|(key, values)| (cut(&key, TEXT_LIMIT), cut_all(values)))
        .collect()
}

/// Kubernetes: a reason is "a one-word CamelCase" (apimachinery `pkg/apis/meta/v1/types.go`, `StatusReason`).
fn word(reason: String) -> String {
    match reason.len() <= 64 && reason.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => reason,
        false => String::from("Unspeakable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_id_is_a_uuid_of_version_4_whatever_the_bytes() {
        assert_eq!(
            AuditId::from_random([0xff; 16]).as_str(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(
            AuditId::from_random([0; 16]).lookup(2).as_str(),
            "00000000-0000-4000-8000-000000000000.2"
        );
    }

    #[test]
    fn a_reason_that_is_no_word_is_not_written() {
        let id = AuditId::from_random([0; 16]);
        let closed = Closed::new(
            &id,
            Timestamp::from_seconds(0),
            Outcome::Answered {
                code: 404,
                reason: "s3cr3t value".into(),
            },
            0,
        );
        assert_eq!(
            closed.outcome,
            Outcome::Answered {
                code: 404,
                reason: "Unspeakable".into()
            }
        );
    }

    #[test]
    fn what_the_law_and_a_refusal_quote_is_masked() {
        let quote = "the claim was Bearer abcdefghijklmnopqrstuvwxyz";
        let denial = law::Denial {
            reason: law::DenialReason::ScopeDenied,
            rule: None,
            message: quote.to_owned(),
            causes: Vec::new(),
            detail: None,
        };
        let verdict = Verdict::from(&denial);
        assert_eq!(
            (verdict.decision, verdict.reason.as_str()),
            (Decision::Deny, "ScopeDenied")
        );
        assert!(!verdict.message.contains("abcdefghij"), "{}", verdict.message);

        let outcome = Outcome::Refused {
            code: 401,
            reason: "Unauthorized".into(),
            message: quote.to_owned(),
        };
        let closed = Closed::new(&AuditId::from_random([0; 16]), Timestamp::from_seconds(0), outcome, 0);
        assert!(!format!("{closed:?}").contains("abcdefghij"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = cut(&"ä".repeat(TEXT_LIMIT), TEXT_LIMIT);
        assert!(text.len() <= TEXT_LIMIT && text.ends_with("ä…"));
    }

    /// Once written they are read for ever.
    #[test]
    fn what_operators_stop_is_written_in_these_words() {
        let by = r#"{"issuer":"https://i","subject":"s","username":"ops","population":"people","impersonated":{"user":"ops"}}"#;
        let records = [
            format!(r#"{{"type":"AgentSuspended","agent":"coder","at":7,"by":{by},"reason":"why","auditId":"a"}}"#),
            String::from(r#"{"type":"SessionEnded","session":"ses-a","at":7,"why":"Operator","auditId":"a"}"#),
            String::from(r#"{"type":"SessionEnded","session":"ses-a","at":7,"why":"Suspended","auditId":"a"}"#),
            // Of version 1.
            String::from(r#"{"type":"SessionEnded","session":"ses-a","at":7,"why":"Idle"}"#),
        ];
        for written in records {
            let record: Record = serde_json::from_str(&written).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), written);
        }
    }

    #[test]
    fn the_reason_of_a_suspension_is_masked() {
        let id = AuditId::from_random([0; 16]);
        let verified = identity::Verified {
            issuer: "https://i".into(),
            subject: "s".into(),
            population: Population::People,
            username: "ops".into(),
            groups: Vec::new(),
            uid: String::new(),
            extra: BTreeMap::new(),
            claims: Value::Null,
            expires: Timestamp::from_seconds(9),
        };
        let caller = identity::Caller {
            verified: std::sync::Arc::new(verified),
            agent: None,
            session_key: String::new(),
            stand_in: None,
        };
        let reason = "it sent Bearer abcdefghijklmnopqrstuvwxyz";
        let suspended = AgentSuspended::new("coder", &caller, reason, &id, Timestamp::from_seconds(0));
        assert!(suspended.reason.starts_with("it sent"), "{}", suspended.reason);
        assert!(!suspended.reason.contains("abcdefghij"), "{}", suspended.reason);
    }

    #[test]
    fn fields_of_a_later_minor_form_are_ignored_and_missing_room_is_empty() {
        let line = r#"{"v":1,"writer":"w","seq":1,"at":0,"keyIds":[],"prev":"","later":1,
            "record":{"type":"Opened","auditId":"a","at":0,"verb":"get","uri":"/api","later":{}}}"#;
        let line: Line = serde_json::from_str(line).unwrap();
        assert!(matches!(line.record, Record::Opened(opened) if opened.before.is_none() && opened.verb == "get"));
    }
}
