//! What a judgment says: the verdict, and everything that led to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mantlet_api::policy::{ServiceAccountRef, Strength, ValidationAction, Via};
use serde_json::Value;

use crate::action::{Action, Effect, Verb};
use crate::identity::{ActAs, Caller};
use crate::mask::Masked;
use crate::record::stored::Judged;

use super::look_ups::Lookups;
use super::risk::Risk;

/// One step of a judgment: facts are missing, or it is done.
#[derive(Debug)]
#[must_use = "a judgment nobody follows is no judgment"]
pub enum Step {
    Need(Lookups),
    Done(Box<Judgment>),
}

/// The verdict with its reasons. All of it goes into the audit event.
#[derive(Debug)]
pub struct Judgment {
    pub verdict: Verdict,
    /// Every rule that was violated or could not be judged, whatever became of it.
    pub applied: Vec<Applied>,
    /// Single lines for `Warning` headers.
    pub warnings: Vec<String>,
    /// Policies that could apply and were not reached, by name.
    pub not_judged: Vec<String>,
    pub risk: Risk,
    /// `auditAnnotations` of the policies that spoke, by their qualified keys.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug)]
pub enum Verdict {
    Allow(Permit),
    Hold(Question),
    Deny(Denial),
}

/// Leave to carry out one action. Minted by `Law::evaluate` only.
///
/// Nobody makes one by hand:
///
/// ```compile_fail,E0451
/// use std::sync::Arc;
/// use mantlet_core::{action::Action, identity::Caller, law::{Charges, Epoch, Permit, Terms}};
///
/// fn forge(caller: Arc<Caller>, action: Arc<Action>, terms: Terms, charges: Charges, epoch: Epoch) -> Permit {
///     Permit { caller, action, terms, charges, epoch }
/// }
/// ```
///
/// nor a second one out of the first:
///
/// ```compile_fail,E0599
/// use mantlet_core::law::Permit;
///
/// fn copy(permit: &Permit) -> Permit {
///     Permit::clone(permit)
/// }
/// ```
///
/// What can be done with one is to read and to pass it on:
///
/// ```
/// use std::sync::Arc;
/// use mantlet_core::{action::Action, identity::Caller, law::{Charges, Epoch, Permit, Terms}};
///
/// fn read(permit: &Permit) -> (&Arc<Caller>, &Arc<Action>, &Terms, &Charges, Epoch) {
///     (permit.caller(), permit.action(), permit.terms(), permit.charges(), permit.epoch())
/// }
///
/// fn hand_on(permit: Permit) -> Permit {
///     permit
/// }
/// ```
#[must_use = "a permit nobody used is a decision nobody acted on"]
#[derive(Debug)]
pub struct Permit {
    caller: Arc<Caller>,
    action: Arc<Action>,
    terms: Terms,
    charges: Charges,
    epoch: Epoch,
}

/// Which policy snapshot spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

/// What the law adds to an action before it goes upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The object that was judged: if it is another one by then, the cluster refuses, and the request is judged again.
    pub(super) precondition: Option<Precondition>,
    /// What the rehearsal showed.
    pub(super) rehearsed: Option<Arc<Masked<Value>>>,
    /// Equal for two judgments that saw the same object, its status and bookkeeping apart.
    pub(super) substance: u64,
    /// In place of the caller's own upstream account: an elevation of what was approved. None without an approval.
    pub(super) acts_as: Option<ServiceAccountRef>,
}

/// The state of one object that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// It is this one, in this version; an empty version is any.
    Exactly { uid: String, resource_version: String },
    /// There is none of the name.
    Absent,
    /// It changed between two look-ups: nothing may be sent before it was judged anew.
    Torn,
}

/// What carrying the action out uses up, all of it in one transaction or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Charges(pub(super) Vec<Charge>);

/// So much of one budget of one agent on one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub budget: BudgetKind,
    /// Distinct things, for instance uids, each with what people call it: each counts once in a window, however often it is named.
    pub keys: BTreeMap<String, String>,
    pub limit: Allowance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetKind {
    /// Distinct objects destroyed, by uid.
    Deletes,
    /// Distinct namespaces changed.
    Namespaces,
    /// Distinct Secrets read.
    SecretReads,
    /// Requests that the law denied.
    Denials,
}

/// So many in any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub count: u32,
    pub per: Duration,
}

/// The operation would need a human's approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The rule that holds it.
    pub rule: Rule,
    /// For the caller, at most three lines.
    pub message: String,
    /// Stable reason and message, for `Status.details.causes`.
    pub causes: Vec<(String, String)>,
}

/// The operation may not happen.
#[derive(Debug, Clone)]
pub struct Denial {
    pub reason: DenialReason,
    /// The rule that decided; none where no rule was reached (not recognized) or the API server itself refused.
    pub rule: Option<Rule>,
    /// For the caller, at most three lines.
    pub message: String,
    /// Stable reason and message, for `Status.details.causes`.
    pub causes: Vec<(String, String)>,
    /// For the operator's log, never for the caller.
    pub detail: Option<String>,
}

#[derive(Debug, Clone)]
pub enum DenialReason {
    /// A verified identity that the law does not know, or not on this cluster, or not any more.
    NotRecognized,
    /// An operator has suspended the agent.
    Suspended,
    /// An operator has ended the session.
    SessionEnded,
    /// One of the agent's limits is reached; later the same request may pass.
    LimitReached,
    /// Outside of what the agent may do at all.
    ScopeDenied,
    /// Concerns the gateway itself.
    SelfProtection,
    PolicyDenied,
    /// The API server refused the rehearsal (dry-run) of the very same request: its own answer goes to the caller.
    Upstream {
        code: u16,
        status: Arc<Masked<Value>>,
    },
}

/// The rule that spoke, by the name under which it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Built in; no file switches it off.
    SelfProtection,
    AgentScope {
        agent: String,
    },
    /// What the agent may use up in a stretch of time.
    AgentBudget {
        agent: String,
        budget: BudgetKind,
    },
    /// The sum of the risk reached a threshold.
    Risk,
    Policy {
        name: String,
    },
}

/// One rule that spoke against the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub rule: Rule,
    pub action: ValidationAction,
    /// `Enforce` counts for the verdict, `Warn` becomes a warning, `Audit` stays here.
    pub strength: Strength,
    /// For the caller.
    pub message: String,
    /// For the record, where the rule's words say more than the caller may read.
    pub withheld: Option<String>,
    pub because: Because,
}

/// Why a rule applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    Violated,
    /// An expression of it failed.
    Erred(String),
    /// A fact that it needs could not be had.
    Blind(String),
}

impl Applied {
    /// The agent has no room left for this.
    pub(super) fn over_budget(agent: &str, budget: BudgetKind) -> Self {
        Self {
            rule: Rule::AgentBudget {
                agent: agent.to_owned(),
                budget,
            },
            action: ValidationAction::RequireApproval,
            strength: Strength::Enforce,
            message: super::message::over_budget(budget),
            withheld: None,
            because: Because::Violated,
        }
    }

    /// What it would take cannot be counted, for this reason.
    pub(super) fn uncounted(agent: &str, budget: BudgetKind, why: String) -> Self {
        Self {
            message: super::message::uncounted(budget),
            because: Because::Blind(why),
            ..Self::over_budget(agent, budget)
        }
    }
}

impl Permit {
    pub(super) fn grant(
        caller: &Arc<Caller>,
        action: &Arc<Action>,
        terms: Terms,
        charges: Charges,
        epoch: Epoch,
    ) -> Self {
        Self {
            caller: Arc::clone(caller),
            action: Arc::clone(action),
            terms,
            charges,
            epoch,
        }
    }

    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub fn action(&self) -> &Arc<Action> {
        &self.action
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The object that was judged, to compare with what is stored in the end.
    pub fn judged(&self) -> Option<Judged<'_>> {
        let whole = self.action.resource().is_some_and(|r| r.subresource.is_empty());
        match (&self.terms.rehearsed, self.action.verb()) {
            (Some(object), _) => Some(Judged::Rehearsed(object)),
            (None, Verb::Create | Verb::Update) if whole => self.action.submitted().map(Judged::Submitted),
            (
                None,
                Verb::Get
                | Verb::List
                | Verb::Watch
                | Verb::Create
                | Verb::Update
                | Verb::Patch
                | Verb::Delete
                | Verb::DeleteCollection
                | Verb::Exec
                | Verb::Attach
                | Verb::PortForward
                | Verb::Proxy,
            ) => None,
        }
    }

    pub fn charges(&self) -> &Charges {
        &self.charges
    }

    /// Somebody else took the room first: what is said then is what would have been said before.
    pub fn outrun(&self, budget: BudgetKind) -> Question {
        let agent = self.caller.agent().map_or("", |agent| agent.name());
        super::message::held(&self.action, &Applied::over_budget(agent, budget))
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn effect(&self) -> Effect {
        self.action.effect()
    }

    /// As whom the cluster sees the request: the caller, or the account that an approval named, by the way that is the agent's.
    pub fn acts_as(&self) -> ActAs {
        match &self.terms.acts_as {
            Some(account) => ActAs::account(
                account,
                self.caller.agent().map_or(Via::Impersonation, |agent| agent.via()),
            ),
            None => self.caller.acts_as(),
        }
    }
}

impl Allowance {
    /// Longest window.
    pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
    /// Of an agent that names none: whoever deletes everything is an agent that nobody thought about.
    pub const DELETES: Self = Self {
        count: 10,
        per: Duration::from_secs(600),
    };
    /// Counts, and never ends: where a policy asks for what the Agent does not limit.
    pub const COUNTS: Self = Self {
        count: u32::MAX,
        per: Duration::from_secs(600),
    };

    pub fn is_limit(self) -> bool {
        self.count != u32::MAX
    }
}

impl Charges {
    pub fn as_slice(&self) -> &[Charge] {
        &self.0
    }
}

impl Terms {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub fn precondition(&self) -> Option<&Precondition> {
        self.precondition.as_ref()
    }

    /// Whether these are of the same object, whatever became of its status.
    pub fn same_substance(&self, other: &Terms) -> bool {
        self.substance == other.substance
    }
}

impl Epoch {
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u64 {
        self.0
    }

    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Denial {
    /// Whoever acts as this agent is stopped: an operator has suspended it.
    pub fn suspended(agent: &str) -> Self {
        super::message::suspended(agent)
    }

    /// Whoever acts in this session is stopped: an operator has ended it.
    pub fn session_ended(session: &str) -> Self {
        super::message::session_ended(session)
    }

    /// The agent asks for more at a time than it may.
    pub fn limited(agent: &str, cluster: &str, limit: super::Limit) -> Self {
        super::message::limited(agent, cluster, limit)
    }

    /// The object is no longer the one that was judged, however often it was judged anew: as the API server says it.
    pub fn conflict(action: &Action) -> Self {
        super::message::refused_upstream(409, &Arc::new(super::sight::conflict(action)))
    }

    /// The reason word of the Kubernetes `Status`; `None` where the API server's own answer is passed on.
    pub fn status_reason(&self) -> Option<&'static str> {
        match self.reason {
            DenialReason::NotRecognized => Some("NotRecognized"),
            DenialReason::Suspended => Some("AgentSuspended"),
            DenialReason::SessionEnded => Some("SessionEnded"),
            DenialReason::LimitReached => Some("TooManyRequests"),
            DenialReason::ScopeDenied | DenialReason::SelfProtection | DenialReason::PolicyDenied => {
                Some("PolicyDenied")
            }
            DenialReason::Upstream { .. } => None,
        }
    }
}

impl BudgetKind {
    pub const ALL: [Self; 4] = [Self::Deletes, Self::Namespaces, Self::SecretReads, Self::Denials];

    /// As `limits` of an Agent has it.
    pub fn as_str(self) -> &'static str {
        match self {
            BudgetKind::Deletes => "deletes",
            BudgetKind::Namespaces => "namespaces",
            BudgetKind::SecretReads => "secretReads",
            BudgetKind::Denials => "denials",
        }
    }
}

/// `built-in:self-protection`, `agent:NAME`, `agent:NAME/limits.deletes`, `risk`, `policy:NAME`: as audit annotations and causes carry it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::SelfProtection => f.write_str("built-in:self-protection"),
            Rule::AgentScope { agent } => write!(f, "agent:{agent}"),
            Rule::AgentBudget { agent, budget } => write!(f, "agent:{agent}/limits.{}", budget.as_str()),
            Rule::Risk => f.write_str("risk"),
            Rule::Policy { name } => write!(f, "policy:{name}"),
        }
    }
}
