//! In: a [`Pass`]. Out: the head of the cluster's answer, its body unread.
//! Refuses: nothing; what it cannot reach it gives back as a refusal that can still be written down.
//! Never sees the client's request: what goes out is rebuilt from the action.

use mantlet_core::action::Effect;
use mantlet_core::time::Clock;
use mantlet_store::Ending;

use super::admit::{Pass, Refused};
use super::refuse::Refusal;
use crate::stream::pump::ended;
use crate::tasks::Tasks;
use crate::upstream::{Arrived, Cluster, Unreached};

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
/// use mantlet_core::time::Clock;
/// use mantlet_gateway::{Cluster, Pass, forward, tasks::Tasks};
/// async fn compiles(pass: Pass, cluster: &Cluster, clock: &dyn Clock, tasks: &Tasks) {
///     let _ = forward(pass, cluster, clock, tasks).await;
/// }
/// ```
///
/// A Permit is leave, but nothing durable stands behind it:
///
/// ```compile_fail,E0308
/// use mantlet_core::{law::Permit, time::Clock};
/// use mantlet_gateway::{Cluster, forward, tasks::Tasks};
/// async fn a_forward_without_pass(permit: Permit, cluster: &Cluster, clock: &dyn Clock, tasks: &Tasks) {
///     let _ = forward(permit, cluster, clock, tasks).await;
/// }
/// ```
///
/// # Cancel safety
/// Dropping it resets the stream and closes the entry as abandoned. Changes run in a task of their own, so no client can drop them.
pub async fn forward(
    mut pass: Pass,
    cluster: &Cluster,
    clock: &dyn Clock,
    tasks: &Tasks,
) -> Result<Forwarded, Refused> {
    // The head of a followed log comes with its first line (apiserver `responsewriters/writers.go`, StreamObject): a silent pod may never send it.
    let arrived = tokio::select! {
        biased;
        arrived = cluster.forward(&pass) => arrived,
        cut = ended(&pass, clock, tasks) => Err(Unreached::Ended(cut.as_str())),
    };
    match arrived {
        Ok(arrived) => {
            pass.answered(arrived.response.status().as_u16()).await;
            Ok(Forwarded { pass, arrived })
        }
        Err(why) => {
            pass.settle(match why {
                Unreached::Unsent(_) | Unreached::Unidentified(_) | Unreached::NoToken(_) => Ending::GivenBack,
                Unreached::Broken(_) | Unreached::Late | Unreached::Ended(_) => Ending::Kept,
            })
            .await;
            let changes = matches!(pass.action().effect(), Effect::Changes);
            Err(pass.refuse(Refusal::NotReached { why, changes }))
        }
    }
}
