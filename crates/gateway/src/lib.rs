//! The road of a request, and the only holder of the cluster's credential.
//!
//! A connection is accepted (`arrive::accept`) and gives requests. Each request gets an [`entry::Entry`] in the journal before anything can fail.
//! Its token is verified (`arrive::authenticate`), its caller recognized by the law, its head and body understood as one action
//! (`arrive::resolve`). The law judges (`mantlet_core::law`, pure); what it needs to know is looked up under the same entry (`decide::look_up`).
//! A permit and the entry become a [`Pass`] (`relay::admit`): from there a change is durable in the journal. Only a Pass goes to the
//! cluster ([`forward`]), rebuilt from the action, never copied, with impersonation set last (`upstream`). The answer is masked by what it contains
//! (`relay::mask`), amended with the virtual API (`relay::amend`) and answered (`relay::respond`); what has no end of its own is fed by a pump
//! (`stream::pump`) that owns the Pass and ends with the caller's token. Every refusal ends in `relay::refuse`.

pub mod pipeline;
pub mod law;
pub mod tasks;
mod clock;
pub mod recorder;
pub mod entry;
pub mod arrive;
mod decide;
pub mod relay;
mod stream;
pub mod upstream;
pub mod export;
pub mod telemetry;
pub mod anchor;

pub use decide::turns::Turns;
pub use pipeline::Gateway;
pub use relay::admit::{Pass, Refused};
pub use relay::forward::forward;
pub use upstream::{Cluster, OwnCall};
