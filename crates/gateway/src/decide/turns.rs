//! Whose turn it is to change an object.
//!
//! A change that is bound to the state that was judged conflicts with every other change in between, and of many writers at once each might lose
//! time after time. So whoever has lost once queues, and whoever comes while there is a queue joins it: in a queue nobody loses to anybody.
//! An object without conflicts has no queue and costs nothing.
//!
//! Bounded by the requests that are under way, each of which is in one queue at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mantlet_core::action::{Action, Sort};
use tokio::sync::OwnedMutexGuard;

/// Nobody waits longer for others: an admission webhook can hold each of them up for 30 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// The queues of all objects that have one.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Key, Queue>>>);

/// One object: cluster, group, resource, namespace, name.
type Key = [String; 5];

#[derive(Debug, Default)]
struct Queue {
    turn: Arc<tokio::sync::Mutex<()>>,
    members: usize,
}

/// A place in a queue, and, unless the wait was too long, the turn.
#[derive(Debug)]
pub(crate) struct Turn {
    // Given back before the place is, so that whoever is next finds the queue.
    _turn: Option<OwnedMutexGuard<()>>,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    turns: Turns,
    key: Key,
}

impl Turns {
    /// Waits in the queue of the object, if it has one.
    ///
    /// # Cancel safety
    /// Dropped, the place is given back.
    pub(crate) async fn behind_others(&self, cluster: &str, action: &Action) -> Option<Turn> {
        let key = key(cluster, action)?;
        let queued = self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&key);
        match queued {
            true => Some(self.wait(key).await),
            false => None,
        }
    }

    /// Waits for the object's turn. The same for cancel safety.
    pub(crate) async fn take(&self, cluster: &str, action: &Action) -> Option<Turn> {
        Some(self.wait(key(cluster, action)?).await)
    }

    async fn wait(&self, key: Key) -> Turn {
        let (place, turn) = self.join(key);
        Turn {
            _turn: tokio::time::timeout(PATIENCE, turn.lock_owned()).await.ok(),
            _place: place,
        }
    }

    fn join(&self, key: Key) -> (Place, Arc<tokio::sync::Mutex<()>>) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(key.clone()).or_default();
        queue.members += 1;
        let turns = self.clone();
        (Place { turns, key }, queue.turn.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get_mut(&self.key) {
            queue.members -= 1;
            if queue.members == 0 {
                queues.remove(&self.key);
            }
        }
    }
}

/// `None` for what is no change of one object by name.
fn key(cluster: &str, action: &Action) -> Option<Key> {
    match action.verb().sort() {
        Sort::Stores | Sort::Deletes => {}
        Sort::Reads | Sort::Connects => return None,
    }
    let place = action.resource().filter(|place| !place.name.is_empty())?;
    let parts = [cluster, &place.group, &place.resource, &place.namespace, &place.name];
    Some(parts.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn name(name: &str) -> Key {
        ["c", "", "pods", "ns", name].map(str::to_owned)
    }

    #[tokio::test]
    async fn one_after_the_other_in_the_order_they_came() {
        let turns = Turns::default();
        let first = turns.wait(name("a")).await;
        let mut second = Box::pin(turns.wait(name("a")));
        let mut third = Box::pin(turns.wait(name("a")));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.wait(name("b")).now_or_never().is_some(), "another object");
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "not ahead of the second");
        let second = second.await;
        drop(second);
        drop(third.await);
        assert!(turns.0.lock().unwrap().is_empty(), "no queue is left behind");
    }

    #[tokio::test]
    async fn whoever_leaves_gives_the_place_back() {
        let turns = Turns::default();
        let first = turns.wait(name("a")).await;
        let mut second = Box::pin(turns.wait(name("a")));
        assert!(second.as_mut().now_or_never().is_none());
        drop(second);
        drop(first);
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
