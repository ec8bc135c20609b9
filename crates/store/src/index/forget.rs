//! What the journal no longer holds, the index does not show: rows go with the records that made them.
//!
//! An event goes with its close, a session with its start, so that an index that is made anew shows the same names. Suspensions stay: they are
//! carried on in the journal as long as they are in force.

use mantlet_core::record::{Line, Record};

use super::Index;
use crate::StoreFault;
use crate::database::query;

impl Index {
    /// Up to which record the journal is indexed.
    pub(crate) fn seq(&self) -> u64 {
        self.indexed.borrow().seq
    }

    /// In one transaction, beside the indexer: it waits for the lock as the other does.
    pub(crate) async fn forget_lines<'a>(
        &self,
        writer: &str,
        lines: impl Iterator<Item = &'a Line>,
    ) -> Result<(), StoreFault> {
        let mut change = self.database.change().await?;
        for line in lines {
            match &line.record {
                Record::Closed(closed) => {
                    let row = query("DELETE FROM events WHERE audit_id = $1 AND writer = $2");
                    change.run(row.bind(&closed.audit_id).bind(writer)).await?;
                }
                Record::SessionStarted(started) => {
                    let row = query("DELETE FROM sessions WHERE name = $1 AND writer = $2");
                    change.run(row.bind(&started.session).bind(writer)).await?;
                }
                Record::Refusals(refusals) => {
                    for counted in &refusals.counted {
                        let count = i64::try_from(counted.count).unwrap_or(i64::MAX);
                        let row = query("UPDATE refusals SET count = count - $3 WHERE second = $1 AND writer = $2");
                        change.run(row.bind(counted.second).bind(writer).bind(count)).await?;
                    }
                    let row = query("DELETE FROM refusals WHERE count <= 0 AND writer = $1");
                    change.run(row.bind(writer)).await?;
                }
                Record::Opened(_)
                | Record::SessionEnded(_)
                | Record::AgentSuspended(_)
                | Record::Checkpoint(_)
                | Record::SignedCheckpoint(_)
                | Record::Pruned(_)
                | Record::Anchored(_)
                | Record::Truncated(_)
                | Record::Stopped => {}
            }
        }
        change.commit().await
    }
}
