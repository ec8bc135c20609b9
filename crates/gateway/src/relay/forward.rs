//! In: a [`Pass`]. Out: the head of the cluster's answer, its body unread.
//! Refuses: nothing; what it cannot reach it gives back as a refusal that can still be written down.
//! Never sees the client's request: what goes out is rebuilt from the action.

use mantlet_core::action::Effect;

use super::admit::{Pass, Refused};
use super::refuse::Refusal;
use crate::upstream::{Arrived, Cluster};

/// An answer on its way back, and the Pass that it was got with.
#[derive(Debug)]
pub struct Forwarded {
    pub(crate) pass: Pass,
    pub(crate) arrived: Arrived,
}

/// Carries the request to the cluster, once.
///
/// The only way to a cluster for a caller's request, and it takes a [`Pass`]:
///
/// ```
/// use mantlet_gateway::{Cluster, Pass, forward};
/// async fn compiles(pass: Pass, cluster: &Cluster) {
///     let _ = forward(pass, cluster).await;
/// }
/// ```
///
/// A Permit is leave, but nothing durable stands behind it:
///
/// ```compile_fail,E0308
/// use mantlet_core::law::Permit;
/// use mantlet_gateway::{Cluster, forward};
/// async fn a_forward_without_pass(permit: Permit, cluster: &Cluster) {
///     let _ = forward(permit, cluster).await;
/// }
/// ```
///
/// # Cancel safety
/// Dropping it resets the stream and closes the entry as abandoned. Changes run in a task of their own, so no client can drop them.
pub async fn forward(mut pass: Pass, cluster: &Cluster) -> Result<Forwarded, Refused> {
    match cluster.forward(&pass).await {
        Ok(arrived) => {
            pass.answered(arrived.response.status().as_u16());
            Ok(Forwarded { pass, arrived })
        }
        Err(why) => {
            let changes = matches!(pass.action().effect(), Effect::Changes);
            Err(pass.refuse(Refusal::NotReached { why, changes }))
        }
    }
}
