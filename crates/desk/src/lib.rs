//! The virtual API `gate.mantlet.dev/v1alpha1`: sessions and their events, and agents, served at every cluster's endpoint and never forwarded.
//!
//! In: a judged action on that group, and who asks. Out: what the API server would answer for a resource of its own: objects, lists, Tables,
//! watches, discovery, OpenAPI. Refuses: writes but an operator's (a session is ended, an agent suspended), and what the visitor may not see (as not found).
//! Does not ask the cluster's RBAC: rights here are Mantlet's own (`authorization.roles`); everybody else sees their own sessions.

mod answer;
mod agents;
pub mod discovery;
mod openapi;
mod table;
pub mod watch;

use mantlet_api::gate::GROUP;
use mantlet_core::action::{Action, Target};

pub use answer::{Answer, AnswerBody, Desk, Visitor};

/// Whether this action is about the virtual API, whatever it wants of it.
pub fn serves(action: &Action) -> bool {
    match action.target() {
        Target::Resource(resource) => resource.group == GROUP,
        Target::Path(path) => discovery::is_ours(path),
    }
}
