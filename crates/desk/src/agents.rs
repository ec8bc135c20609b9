//! Agents: those of the law, how they stand, and the one way to stop one.
//!
//! In: an action on `agents`, who asks, the law. Out: objects and Tables; a suspension, durable before the answer.
//! Refuses: to suspend without the role operator on every cluster of the agent, to resume (nobody can show the credential for that yet), all other writes.

use mantlet_api::gate::{
    API_VERSION, Agent, AgentPhase, AgentSpec, AgentStatus, AgentSuspension, GROUP, Kind, List, ListMetadata, Metadata,
    StopOptions,
};
use mantlet_api::policy::{Budget, DeleteBudget, Limits, Role};
use mantlet_core::action::{Action, ResourceRef, Verb};
use mantlet_core::law::{self, Allowance, Budgets};
use mantlet_core::record::AgentSuspended;
use mantlet_store::Suspension;
use serde_json::{Value, json};

use crate::answer::{Answer, Desk, Query, Shape, Visitor};
use crate::table::{Row, table};

impl Desk {
    pub(crate) async fn agents(&self, visitor: &Visitor<'_>, action: &Action, resource: &ResourceRef) -> Answer {
        let (shape, name) = (Shape::of(action), resource.name.as_str());
        match (resource.subresource.as_str(), action.verb()) {
            ("", Verb::Get) => match self.seen(visitor, name) {
                Some(agent) => self.show(&[agent], None, shape),
                None => not_found(name),
            },
            ("", Verb::List) => self.list_agents(visitor, action, shape),
            ("suspend", Verb::Create) => self.suspend(visitor, action, name).await,
            ("resume", Verb::Create) => self.resume(visitor, name),
            _ => Answer::status(
                405,
                "MethodNotAllowed",
                &format!(
                    "agents.{GROUP} can be read and listed, and suspended: mantlet agent suspend NAME. They are written in the gateway's files"
                ),
            ),
        }
    }

    fn list_agents(&self, visitor: &Visitor<'_>, action: &Action, shape: Shape) -> Answer {
        let query = match Query::of(action) {
            Ok(query) => query,
            Err(why) => return Answer::status(400, "BadRequest", &why),
        };
        if query.session.is_some() {
            return Answer::status(400, "BadRequest", "fieldSelector: agents have no spec.session");
        }
        let wanted = |agent: &&law::Agent| query.name.as_ref().is_none_or(|name| name == agent.name());
        let agents = visitor.law.agents().map(AsRef::as_ref).filter(wanted);
        let mut seen: Vec<Agent> = agents
            .filter(|agent| visitor.sees(agent))
            .map(|agent| self.object(agent, visitor))
            .collect();
        seen.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let metadata = ListMetadata {
            resource_version: self.version(),
            r#continue: String::new(),
        };
        self.show(&seen, Some(metadata), shape)
    }

    /// A list where there is list metadata, else the one object.
    fn show(&self, agents: &[Agent], list: Option<ListMetadata>, shape: Shape) -> Answer {
        match (shape, list, agents) {
            (Shape::Table, list, _) => {
                let metadata = match list {
                    Some(list) => serde_json::to_value(list).unwrap_or_default(),
                    None => json!({"resourceVersion": self.version()}),
                };
                Answer::json(&table(agents, &metadata, true, self.clock.now()))
            }
            (Shape::Objects, None, [agent]) => Answer::json(agent),
            (Shape::Objects, list, _) => Answer::json(&List::new(agents.to_vec(), list.unwrap_or_default())),
        }
    }

    async fn suspend(&self, visitor: &Visitor<'_>, action: &Action, name: &str) -> Answer {
        let agent = match self.stoppable(visitor, name, "suspended") {
            Ok(agent) => agent,
            Err(refused) => return refused,
        };
        let options = match stop_options(action) {
            Ok(options) => options,
            Err(why) => return Answer::status(400, "BadRequest", &why),
        };
        if action.options().dry_run {
            return Answer::created(&self.object(agent, visitor));
        }
        let suspended = AgentSuspended::new(name, visitor.caller, &options.reason, visitor.request, self.clock.now());
        match self.store.sessions.suspend(suspended).await {
            Ok(()) => {
                tracing::warn!(
                    agent = name,
                    by = visitor.caller.verified().username(),
                    "agent suspended"
                );
                Answer::created(&self.object(agent, visitor))
            }
            Err(fault) => Answer::unrecorded(&fault),
        }
    }

    /// Letting an agent act again is a decision, and needs a credential that no kubeconfig holds. There is none yet.
    fn resume(&self, visitor: &Visitor<'_>, name: &str) -> Answer {
        match self.stoppable(visitor, name, "resumed") {
            Ok(_) => Answer::status(
                403,
                "Forbidden",
                &format!(
                    "agent \"{name}\" stays as it is: to resume one takes a decision credential (a login of that very moment, by a human), which this gateway cannot check yet. \
                     Next: whoever keeps the gateway's files gives the Agent another name there; a suspension holds for the name"
                ),
            ),
            Err(refused) => refused,
        }
    }

    /// The agent, if the visitor may stop it. Rights come first: to whoever has none, all names are alike.
    fn stoppable<'a>(&self, visitor: &Visitor<'a>, name: &str, what: &str) -> Result<&'a law::Agent, Answer> {
        if !visitor.roles.has(Role::Operator) {
            return Err(needs_operator(name, what, &visitor.cluster.name));
        }
        let agents = visitor.law.agents().map(AsRef::as_ref);
        let agent = agents
            .filter(|agent| visitor.sees(agent))
            .find(|agent| agent.name() == name)
            .ok_or_else(|| not_found(name))?;
        // It is stopped everywhere, so the right is needed everywhere.
        let verified = visitor.caller.verified();
        let lacking = |cluster: &&String| !visitor.law.roles(verified, cluster).has(Role::Operator);
        match agent.clusters().iter().find(lacking) {
            Some(cluster) => Err(needs_operator(name, what, cluster)),
            None => Ok(agent),
        }
    }

    fn seen(&self, visitor: &Visitor<'_>, name: &str) -> Option<Agent> {
        let mut agents = visitor.law.agents().filter(|agent| visitor.sees(agent));
        agents
            .find(|agent| agent.name() == name)
            .map(|agent| self.object(agent, visitor))
    }

    /// What an agent may use up is not shown to itself: it would stay just below.
    fn object(&self, agent: &law::Agent, visitor: &Visitor<'_>) -> Agent {
        let suspension = self.store.sessions.suspension(agent.name());
        let limits = agent.limits();
        let budgets = match visitor.oversees() {
            true => agent.budgets(),
            false => Budgets::default(),
        };
        let number = |n: Option<std::num::NonZeroU32>| n.map(std::num::NonZeroU32::get);
        Agent {
            api_version: API_VERSION.to_owned(),
            kind: Agent::KIND.to_owned(),
            metadata: Metadata {
                name: agent.name().to_owned(),
                // It is its name: a file has nothing else that stays.
                uid: agent.name().to_owned(),
                resource_version: self.version(),
                creation_timestamp: String::new(),
            },
            spec: AgentSpec {
                clusters: agent.clusters().iter().cloned().collect(),
                namespaces: agent.namespaces().iter().cloned().collect(),
                owners: agent.owners().to_vec(),
                service_account: agent.service_account().clone(),
                limits: Limits {
                    requests_per_second: number(limits.requests_per_second),
                    in_flight: number(limits.in_flight),
                    watches: number(limits.watches),
                    deletes: budgets.deletes.map(deletes),
                    namespaces: budgets.namespaces.map(budget),
                    secret_reads: budgets.secret_reads.map(budget),
                    denials: budgets.denials.map(budget),
                },
                expires_at: agent.expires_at().map(|at| at.to_seconds_text()),
            },
            status: AgentStatus {
                phase: match &suspension {
                    Some(_) => AgentPhase::Suspended,
                    None if agent.expired(self.clock.now()) => AgentPhase::Expired,
                    None => AgentPhase::Active,
                },
                suspended: suspension.map(shown),
            },
        }
    }

    fn version(&self) -> String {
        self.store.index.version().to_string()
    }
}

impl Visitor<'_> {
    /// At a cluster's endpoint those that may act there: all of them by a role, an agent itself without one.
    fn sees(&self, agent: &law::Agent) -> bool {
        let itself = self.caller.agent().is_some_and(|own| own.name() == agent.name());
        agent.clusters().contains(&self.cluster.name) && (itself || self.oversees())
    }
}

impl Row for Agent {
    const COLUMNS: &'static [(&'static str, &'static str, &'static str, i32)] = &[
        ("Name", "string", "Name of the agent", 0),
        ("Phase", "string", "Active, Suspended or Expired", 0),
        ("Namespaces", "string", "Where it may act", 0),
        ("As", "string", "The ServiceAccount that the cluster sees", 0),
        ("Expires", "string", "When nobody is this agent any more", 0),
        ("Owners", "string", "Who answers for it", 1),
        ("Suspended", "string", "When it was suspended", 1),
        ("By", "string", "Who suspended it", 1),
        ("Reason", "string", "Why, in their words", 1),
    ];

    fn cells(&self, _now: mantlet_core::time::Timestamp) -> Vec<Value> {
        let or_none = |text: String| if text.is_empty() { String::from("<none>") } else { text };
        let owners = self
            .spec
            .owners
            .iter()
            .filter_map(|owner| owner.group.clone().or(owner.user.clone()));
        let account = &self.spec.service_account;
        let suspended = self.status.suspended.clone();
        let (at, by, reason) = suspended.map_or_else(Default::default, |s| (s.at, s.by, s.reason));
        vec![
            self.metadata.name.clone().into(),
            format!("{:?}", self.status.phase).into(),
            or_none(self.spec.namespaces.join(",")).into(),
            format!("{}/{}", account.namespace, account.name).into(),
            or_none(self.spec.expires_at.clone().unwrap_or_default()).into(),
            or_none(owners.collect::<Vec<_>>().join(",")).into(),
            or_none(at).into(),
            or_none(by).into(),
            or_none(reason).into(),
        ]
    }

    fn metadata(&self) -> Value {
        serde_json::to_value(&self.metadata).unwrap_or_default()
    }
}

/// The body of a request that stops something.
pub(crate) fn stop_options(action: &Action) -> Result<StopOptions, String> {
    let hint = format!(
        "send {{\"apiVersion\": \"{API_VERSION}\", \"kind\": \"{}\"}}",
        StopOptions::KIND
    );
    let body = action.submitted().map(|body| Value::clone(body)).unwrap_or_default();
    let options: StopOptions =
        serde_json::from_value(body).map_err(|why| format!("the body is no {}: {why}; {hint}", StopOptions::KIND))?;
    match options.kind == StopOptions::KIND {
        true => Ok(options),
        false => Err(format!("the body is not of kind {}; {hint}", StopOptions::KIND)),
    }
}

fn shown(suspension: Suspension) -> AgentSuspension {
    AgentSuspension {
        at: suspension.at.to_seconds_text(),
        by: suspension.by,
        reason: suspension.reason,
    }
}

fn deletes(of: Allowance) -> DeleteBudget {
    let Budget { count, per } = budget(of);
    DeleteBudget { objects: count, per }
}

fn budget(Allowance { count, per }: Allowance) -> Budget {
    Budget {
        count,
        per: format!("{}s", per.as_secs()),
    }
}

fn not_found(name: &str) -> Answer {
    Answer::not_found(&format!("agents.{GROUP} \"{name}\" not found"))
}

fn needs_operator(name: &str, what: &str, cluster: &str) -> Answer {
    let message = format!(
        "agents.{GROUP} \"{name}\" cannot be {what} by you: that takes the role operator on cluster \"{cluster}\", which `authorization.roles` of the gateway gives"
    );
    Answer::status(403, "Forbidden", &message)
}
