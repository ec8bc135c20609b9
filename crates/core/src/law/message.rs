//! What the caller reads: what happened, why, what to do next, and whether to retry. At most three lines, since kubectl prints them as they are.
//!
//! Agents take errors literally, so each text also says what not to do.

use crate::action::{Action, Effect, ResourceRef, Target, Verb};

use super::agent::{Agent, Limit};
use super::verdict::{Applied, Because, BudgetKind, Denial, DenialReason, Question, Rule};

use mantlet_api::policy::{Strength, ValidationAction};

const NOT_RBAC: &str = "This is a gateway policy, not RBAC: changing RBAC, contexts, or splitting the change will not help and is recorded.";
/// Longest name that is repeated to the caller; Kubernetes' own limit (validation of DNS-1123 subdomains).
const NAME: usize = 253;

/// `deployments.apps "api" in namespace "prod"`, `pods in all namespaces`, `clusterroles.rbac.authorization.k8s.io "view"`.
pub(super) fn what(action: &Action) -> String {
    match action.target() {
        Target::Path(path) => plain(path),
        Target::Resource(r) => [kind_of(r), name_of(r), place_of(action.verb(), r)].concat(),
    }
}

fn kind_of(r: &ResourceRef) -> String {
    let mut text = plain(&r.resource);
    if !r.group.is_empty() {
        text = format!("{text}.{}", plain(&r.group));
    }
    if !r.subresource.is_empty() {
        text = format!("{text}/{}", plain(&r.subresource));
    }
    text
}

fn name_of(r: &ResourceRef) -> String {
    if r.name.is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", plain(&r.name))
    }
}

fn place_of(verb: Verb, r: &ResourceRef) -> String {
    let collection = matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    if r.resource == "namespaces" && r.group.is_empty() {
        String::new()
    } else if !r.namespace.is_empty() {
        format!(" in namespace \"{}\"", plain(&r.namespace))
    } else if collection {
        String::from(" at the cluster scope")
    } else {
        String::new()
    }
}

/// Text of a caller, on one line and without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .take(NAME)
        .flat_map(char::escape_debug)
        .collect::<String>()
        .replace("\\'", "'")
}

fn not_done(action: &Action) -> &'static str {
    match action.effect() {
        Effect::Reads => "NOT read",
        Effect::Changes => "NOT changed",
    }
}

/// A message of a policy, on one line, without control characters (an expression may have taken them from an object) and its full stop.
fn sentence(message: &str) -> String {
    let words: Vec<_> = message
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

pub(super) fn causes(rule: &Rule) -> Vec<(String, String)> {
    vec![
        (String::from("PolicyRule"), rule.to_string()),
        (String::from("RetrySafe"), String::from("false")),
    ]
}

/// A rule of the law says no.
pub(super) fn denied(action: &Action, applied: &Applied) -> Denial {
    let (reason, message) = match &applied.rule {
        Rule::SelfProtection => (DenialReason::SelfProtection, denied_by_self(action, applied)),
        Rule::AgentScope { .. } => (DenialReason::ScopeDenied, denied_by_scope(action, applied)),
        Rule::AgentBudget { .. } => (DenialReason::LimitReached, denied_by_scope(action, applied)),
        Rule::Risk => (DenialReason::PolicyDenied, denied_by_risk(action, applied)),
        Rule::Policy { name } => (DenialReason::PolicyDenied, denied_by_policy(action, name, applied)),
    };
    Denial {
        reason,
        message,
        causes: causes(&applied.rule),
        detail: detail(&applied.because),
        rule: Some(applied.rule.clone()),
    }
}

fn denied_by_self(action: &Action, applied: &Applied) -> String {
    format!(
        "{}: {}. {}, and this gateway protects itself from everybody who comes through it.\n\
         Next: do not retry; whoever runs the gateway does this at the cluster itself. No right and no policy lifts this rule; the attempt is recorded.",
        what(action),
        not_done(action),
        sentence(&applied.message),
    )
}

fn denied_by_scope(action: &Action, applied: &Applied) -> String {
    format!(
        "{} is forbidden: {} (Agent scope).\nNext: stay inside of that, or ask the agent's owner; do not retry. {NOT_RBAC}",
        what(action),
        sentence(&applied.message),
    )
}

fn denied_by_policy(action: &Action, name: &str, applied: &Applied) -> String {
    format!(
        "{}: {}. Policy {name} refuses it: {}{}.\nNext: do not retry; the answer stays the same until the policy changes. {NOT_RBAC}",
        what(action),
        not_done(action),
        sentence(&applied.message),
        aside(&applied.because),
    )
}

/// Neither the number nor the threshold: who knows them steers below.
fn denied_by_risk(action: &Action, applied: &Applied) -> String {
    format!(
        "{}: {}. All in all it is too risky to go through this gateway: {}{}.\n\
         Next: do not retry; do less in one request, or ask a human to make this change. {NOT_RBAC}",
        what(action),
        not_done(action),
        sentence(&applied.message),
        aside(&applied.because),
    )
}

/// A rule of the law wants a human, whom nobody can ask yet.
pub(super) fn held(action: &Action, applied: &Applied) -> Question {
    let who = match &applied.rule {
        Rule::SelfProtection => String::from("The gateway's own rule"),
        Rule::AgentScope { agent } => format!("The scope of agent \"{agent}\""),
        Rule::AgentBudget { agent, .. } => format!("The budget of agent \"{agent}\""),
        Rule::Risk => String::from("The risk of this"),
        Rule::Policy { name } => format!("Policy {name}"),
    };
    let message = format!(
        "{}: {}. {who} needs human approval, which this gateway cannot ask for yet; nothing changed; do not retry.\n\
         Why: {}{}.\nNext: ask a human to make this change. {NOT_RBAC}",
        what(action),
        not_done(action),
        sentence(&applied.message),
        aside(&applied.because),
    );
    Question {
        message,
        causes: causes(&applied.rule),
        rule: applied.rule.clone(),
    }
}

/// Without the number: who knows it can stay just below it.
pub(super) fn over_budget(budget: BudgetKind) -> String {
    let what = match budget {
        BudgetKind::Deletes => "it would destroy more objects than this agent may for now",
        BudgetKind::Namespaces => "it would change more namespaces than this agent may for now",
        BudgetKind::SecretReads => "it would read more Secrets than this agent may for now",
        BudgetKind::Denials => "so many requests of this agent were denied that it may change nothing for now",
    };
    format!("{what}, all its sessions together (limits.{})", budget.as_str())
}

/// What cannot be counted is past every budget.
pub(super) fn uncounted(budget: BudgetKind) -> String {
    let what = match budget {
        BudgetKind::Deletes => "how many objects it would destroy cannot be counted",
        BudgetKind::Namespaces => "how many namespaces it would change cannot be counted",
        BudgetKind::SecretReads => "how many Secrets it would read cannot be counted",
        BudgetKind::Denials => "how many requests of this agent were denied is not known",
    };
    format!(
        "{what}, and this agent has a budget of them (limits.{})",
        budget.as_str()
    )
}

fn aside(because: &Because) -> &'static str {
    match because {
        Because::Violated => "",
        Because::Erred(_) => " (the policy could not be evaluated for this request, so it counts as violated)",
        Because::Blind(_) => " (the resulting object could not be previewed, so the policy counts as violated)",
    }
}

fn detail(because: &Because) -> Option<String> {
    match because {
        Because::Violated => None,
        Because::Erred(text) | Because::Blind(text) => Some(text.clone()),
    }
}

/// Runes of all `Warning` headers of an answer, and of each once they are more (apiserver `pkg/endpoints/filters/warning.go`).
const WARNINGS: usize = 4 * 1024;
const WARNING: usize = 256;

/// Single lines for `Warning` headers, each said once; cut as the API server cuts its own.
pub(super) fn warnings(applied: &[Applied]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in applied.iter().filter_map(warning) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let length = |line: &String| line.chars().count();
    if lines.iter().map(length).sum::<usize>() <= WARNINGS {
        return lines;
    }
    let mut room = WARNINGS;
    lines
        .into_iter()
        .map(|line| line.chars().take(WARNING).collect())
        .take_while(|line| {
            let fits = room > 0;
            room = room.saturating_sub(length(line));
            fits
        })
        .collect()
}

/// Of a rule that does not count for the verdict, or only warns.
fn warning(applied: &Applied) -> Option<String> {
    let would = match (applied.strength, applied.action) {
        (Strength::Audit, _) | (_, ValidationAction::None) => return None,
        (Strength::Enforce, ValidationAction::Deny | ValidationAction::RequireApproval) => return None,
        (Strength::Enforce | Strength::Warn, ValidationAction::Warn) => "",
        (Strength::Warn, ValidationAction::RequireApproval) => " would need human approval for this",
        (Strength::Warn, ValidationAction::Deny) => " would deny this",
    };
    Some(format!(
        "gateway: {}{would}: {}",
        applied.rule,
        sentence(&applied.message)
    ))
}

/// The API server refused the rehearsal of the request; the caller gets exactly that answer.
pub(super) fn refused_upstream(code: u16, status: &std::sync::Arc<crate::mask::Masked<serde_json::Value>>) -> Denial {
    let message = status
        .get("message")
        .and_then(serde_json::Value::as_str)
        .unwrap_or("the API server refused the request");
    Denial {
        message: message.to_owned(),
        reason: DenialReason::Upstream {
            code,
            status: std::sync::Arc::clone(status),
        },
        rule: None,
        causes: Vec::new(),
        detail: Some(format!("the API server refused the dry-run with {code}")),
    }
}

/// The law does not know this identity; `next` is what somebody can do about it.
pub(super) fn not_recognized(message: &str, next: &str, detail: String) -> Denial {
    Denial {
        reason: DenialReason::NotRecognized,
        rule: None,
        message: format!(
            "{message}\nNext: do not retry with this credential; {next}. Changing RBAC or contexts will not help."
        ),
        causes: vec![(String::from("RetrySafe"), String::from("false"))],
        detail: Some(detail),
    }
}

/// Not more than that: what an operator wrote as the reason is for people.
pub(super) fn suspended(agent: &str) -> Denial {
    let rule = Rule::AgentScope {
        agent: agent.to_owned(),
    };
    Denial {
        reason: DenialReason::Suspended,
        message: format!(
            "agent \"{agent}\" is suspended: an operator of this gateway has stopped everybody who acts as it; nothing was sent.\n\
             Next: stop and do not retry; ask one of the agent's owners. Another token or session of this agent will not help; the attempt is recorded."
        ),
        causes: causes(&rule),
        rule: Some(rule),
        detail: None,
    }
}

pub(super) fn session_ended(session: &str) -> Denial {
    Denial {
        reason: DenialReason::SessionEnded,
        message: format!(
            "session {session} was ended by an operator of this gateway, and this credential belongs to it; nothing was sent.\n\
             Next: stop and do not retry; ask the operators of the gateway. A new run or login begins a new session; the attempt is recorded."
        ),
        causes: vec![(String::from("RetrySafe"), String::from("false"))],
        rule: None,
        detail: None,
    }
}

/// The one denial that is worth a retry, and says when.
pub(super) fn limited(agent: &str, cluster: &str, limit: Limit) -> Denial {
    let (may, next) = match limit {
        Limit::RequestsPerSecond(n) => (
            format!("send {n} requests a second"),
            "wait a second, then go on more slowly",
        ),
        Limit::InFlight(n) => (
            format!("have {n} requests under way at once"),
            "let one end, then send the next",
        ),
        Limit::Watches(n) => (
            format!("have {n} watches and followed logs open at once"),
            "end one before you open another",
        ),
    };
    let rule = Rule::AgentScope {
        agent: agent.to_owned(),
    };
    Denial {
        reason: DenialReason::LimitReached,
        message: format!(
            "too many requests: agent \"{agent}\" may {may} on cluster \"{cluster}\" (Agent limits); nothing was sent.\nNext: {next}."
        ),
        causes: vec![
            (String::from("PolicyRule"), rule.to_string()),
            (String::from("RetrySafe"), String::from("true")),
        ],
        rule: Some(rule),
        detail: None,
    }
}

/// The agent may not act on this cluster at all.
pub(super) fn other_cluster(agent: &Agent, cluster: &str) -> Denial {
    let clusters: Vec<_> = agent.scope.clusters.iter().map(String::as_str).collect();
    let rule = Rule::AgentScope {
        agent: agent.name.clone(),
    };
    Denial {
        reason: DenialReason::ScopeDenied,
        message: format!(
            "cluster \"{cluster}\" is forbidden: agent \"{}\" may only act on clusters [{}] (Agent scope).\n\
             Next: use one of those; do not retry here. {NOT_RBAC}",
            agent.name,
            clusters.join(", ")
        ),
        causes: causes(&rule),
        rule: Some(rule),
        detail: None,
    }
}
