//! In: a [`Pass`]. Out: the cluster's answer, to the change of the object that was judged last.
//! Refuses: what the law refuses when it judges anew.
//!
//! A change of which a fact was read is bound to the state that the fact is of (`core::wire::bound`). If the object is another one by then, the API
//! server answers 409 and has done nothing. The facts are read anew and the request is judged again by the law of now: allowed, it goes out once
//! more, bound to the new state; refused, it ends there. A 409 for any other reason goes to the client: the object is still the one that was judged.
//!
//! Another state is judged five times at most; then the client has the API server's own conflict. A state in which the status alone is new, which
//! controllers write all the time, does not count.

use std::time::Duration;

use http::StatusCode;
use mantlet_core::law::{Denial, Permit, Precondition};
use mantlet_store::Ending;
use tokio::time::Instant;

use super::turns::Turn;
use crate::pipeline::Gateway;
use crate::relay::admit::{Pass, Refused, admit};
use crate::relay::forward::{Forwarded, forward};
use crate::relay::refuse::Refusal;
use crate::upstream::Cluster;

const TIMES: u32 = 5;
/// A client waits a minute for an answer to a write (apiserver `--request-timeout`).
const PATIENCE: Duration = Duration::from_secs(45);

/// How often and how long yet.
struct Patience {
    times: u32,
    until: Instant,
}

enum Attempt {
    Answered(Forwarded),
    Missed(Missed),
}

/// A change that the object was not there for.
enum Missed {
    /// With the API server's own answer.
    Refused(Forwarded),
    /// It changed while it was judged: nothing was sent.
    Unsent(Pass),
}

/// # Cancel safety
/// As [`forward`]: changes run in a task of their own.
pub(crate) async fn carry_out(
    gateway: &Gateway,
    mut pass: Pass,
    mut turn: Option<Turn>,
    cluster: &Cluster,
) -> Result<Forwarded, Refused> {
    let mut patience = Patience {
        times: TIMES,
        until: Instant::now() + PATIENCE,
    };
    loop {
        let mut missed = match attempt(gateway, pass, cluster).await? {
            Attempt::Answered(answered) => return Ok(answered),
            Attempt::Missed(missed) => missed,
        };
        if turn.is_none() {
            turn = gateway.turns.take(cluster.name(), missed.pass().action()).await;
        }
        let permit = match judge_again(gateway, missed.pass_mut(), cluster).await {
            Ok(permit) => permit,
            Err(why) => return Err(refused(missed.into_pass(), why).await),
        };
        pass = match missed {
            Missed::Refused(answered) if permit.terms().precondition() == answered.pass.terms().precondition() => {
                return Ok(answered);
            }
            missed if patience.lasts(&permit, missed.pass()) => {
                let (entry, headers, basis) = missed.into_pass().withdraw();
                admit(permit, entry, headers, basis).await?
            }
            Missed::Refused(answered) => return Ok(answered),
            Missed::Unsent(pass) => {
                let conflict = Denial::conflict(pass.action());
                return Err(refused(pass, Refusal::NotAllowed(conflict)).await);
            }
        };
    }
}

/// Nothing of it was carried out.
async fn refused(mut pass: Pass, why: Refusal) -> Refused {
    pass.settle(Ending::GivenBack).await;
    pass.refuse(why)
}

async fn attempt(gateway: &Gateway, pass: Pass, cluster: &Cluster) -> Result<Attempt, Refused> {
    let bound = match pass.terms().precondition() {
        Some(Precondition::Torn) => return Ok(Attempt::Missed(Missed::Unsent(pass))),
        Some(Precondition::Exactly { .. } | Precondition::Absent) => true,
        None => false,
    };
    let answered = forward(pass, cluster, gateway.clock.as_ref(), &gateway.tasks).await?;
    Ok(
        match bound && answered.arrived.response.status() == StatusCode::CONFLICT {
            true => Attempt::Missed(Missed::Refused(answered)),
            false => Attempt::Answered(answered),
        },
    )
}

async fn judge_again(gateway: &Gateway, pass: &mut Pass, cluster: &Cluster) -> Result<Permit, Refusal> {
    let law = gateway.law.load();
    let (caller, action, known) = pass.again();
    let entry = pass.entry_mut();
    gateway.decide(&law, cluster, &known, &caller, &action, entry).await
}

impl Patience {
    fn lasts(&mut self, permit: &Permit, before: &Pass) -> bool {
        if !permit.terms().same_substance(before.terms()) {
            match self.times.checked_sub(1) {
                Some(left) => self.times = left,
                None => return false,
            }
        }
        Instant::now() < self.until
    }
}

impl Missed {
    fn pass(&self) -> &Pass {
        match self {
            Missed::Refused(answered) => &answered.pass,
            Missed::Unsent(pass) => pass,
        }
    }

    fn pass_mut(&mut self) -> &mut Pass {
        match self {
            Missed::Refused(answered) => &mut answered.pass,
            Missed::Unsent(pass) => pass,
        }
    }

    fn into_pass(self) -> Pass {
        match self {
            Missed::Refused(answered) => answered.pass,
            Missed::Unsent(pass) => pass,
        }
    }
}
