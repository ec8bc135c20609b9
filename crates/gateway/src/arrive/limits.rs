//! What all requests together may take: places while they are judged, and memory for their bodies, of which no identity gets more than its share.
//!
//! Nobody waits for room: who finds none is told to come again (429), as the API server's own priority and fairness does. The memory is counted as
//! it arrives, so announcing a body takes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::relay::refuse::Refusal;

/// apiserver `server/config.go`, `MaxRequestBodyBytes`.
pub(crate) const BODY_BYTES: usize = 3 * 1024 * 1024;
/// Requests whose answer has not begun. kube-apiserver has 600 (`--max-requests-inflight` and `--max-mutating-requests-inflight`); we stand before several.
const REQUESTS: usize = 2_000;
/// The largest bodies that lie in memory at once: 96 MiB as they came. What is parsed of them takes a few times that.
const BODIES: usize = 32;
/// Of these, what one identity may have.
const BODIES_EACH: usize = 4;
/// Bytes are counted in these.
const GRAIN: usize = 1024;

/// One per process.
#[derive(Debug)]
pub struct Limits {
    requests: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    shares: Arc<Shares>,
}

/// A place among the requests; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _one: OwnedSemaphorePermit,
}

/// The memory that one body takes; given back when it is dropped. Kept for as long as what was parsed from it.
#[derive(Debug)]
pub(crate) struct Room {
    memory: Arc<Semaphore>,
    shares: Arc<Shares>,
    who: String,
    taken: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

#[derive(Debug)]
struct Shares {
    each: usize,
    /// Grains by identity; only those that have some.
    now: Mutex<HashMap<String, usize>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(REQUESTS, BODIES * BODY_BYTES, BODIES_EACH * BODY_BYTES)
    }
}

impl Limits {
    fn of(requests: usize, bytes: usize, each: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(requests)),
            memory: Arc::new(Semaphore::new(bytes / GRAIN)),
            shares: Arc::new(Shares {
                each: each / GRAIN,
                now: Mutex::default(),
            }),
        }
    }

    pub(crate) fn place(&self) -> Result<Place, Refusal> {
        match self.requests.clone().try_acquire_owned() {
            Ok(one) => Ok(Place { _one: one }),
            Err(_) => Err(Refusal::TooMuch(
                "this gateway has as many requests under way as it takes; nothing was sent. Try again in a second",
            )),
        }
    }

    /// Room for a body of `who`, empty yet.
    pub(crate) fn room(&self, who: String) -> Room {
        Room {
            memory: self.memory.clone(),
            shares: self.shares.clone(),
            who,
            taken: None,
            bytes: 0,
        }
    }
}

impl Room {
    /// Room for `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = (self.bytes + bytes).div_ceil(GRAIN) - self.bytes.div_ceil(GRAIN);
        if more > 0 {
            self.take(more)?;
        }
        self.bytes += bytes;
        Ok(())
    }

    fn take(&mut self, grains: usize) -> Result<(), Refusal> {
        if !self.shares.add(&self.who, grains) {
            return Err(Refusal::TooMuch(
                "you are sending more large objects at once than one identity may; nothing was sent. Send fewer at a time",
            ));
        }
        let permits = u32::try_from(grains).unwrap_or(u32::MAX);
        match self.memory.clone().try_acquire_many_owned(permits) {
            Ok(permit) => {
                match &mut self.taken {
                    Some(taken) => taken.merge(permit),
                    None => self.taken = Some(permit),
                }
                Ok(())
            }
            Err(_) => {
                self.shares.remove(&self.who, grains);
                Err(Refusal::TooMuch(
                    "this gateway holds as many large objects as it takes; nothing was sent. Try again in a second",
                ))
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(taken) = &self.taken {
            self.shares.remove(&self.who, taken.num_permits());
        }
    }
}

impl Shares {
    fn add(&self, who: &str, grains: usize) -> bool {
        let mut now = self.now();
        let taken = now.get(who).copied().unwrap_or(0) + grains;
        if taken > self.each {
            return false;
        }
        now.insert(who.to_owned(), taken);
        true
    }

    fn remove(&self, who: &str, grains: usize) {
        let mut now = self.now();
        if let Some(taken) = now.get_mut(who) {
            *taken = taken.saturating_sub(grains);
            if *taken == 0 {
                now.remove(who);
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Whoever panicked with the lock had changed one number.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<(), Refusal>) -> bool {
        matches!(result, Err(Refusal::TooMuch(_)))
    }

    #[test]
    fn bodies_are_counted_as_they_arrive_and_given_back() {
        let limits = Limits::of(1, 8 * GRAIN, 8 * GRAIN);
        let mut room = limits.room("ana".into());
        for _ in 0..8 {
            room.grow(1).unwrap(); // a grain, however small
        }
        assert_eq!(limits.memory.available_permits(), 7);
        room.grow(7 * GRAIN).unwrap();
        assert!(refused(room.grow(GRAIN)));
        drop(room);
        assert_eq!(limits.memory.available_permits(), 8);
        assert!(limits.shares.now().is_empty(), "somebody without a body is remembered");
    }

    #[test]
    fn one_identity_leaves_room_for_the_others() {
        let limits = Limits::of(1, 8 * GRAIN, 4 * GRAIN);
        let (mut first, mut second) = (limits.room("mallory".into()), limits.room("mallory".into()));
        first.grow(3 * GRAIN).unwrap();
        assert!(refused(second.grow(2 * GRAIN)));
        second.grow(GRAIN).unwrap();
        let mut other = limits.room("ana".into());
        other.grow(4 * GRAIN).unwrap();
        assert!(refused(limits.room("ben".into()).grow(GRAIN)), "more than all of it");
        assert!(!limits.shares.now().contains_key("ben"));
        drop(first);
        limits.room("ben".into()).grow(3 * GRAIN).unwrap();
    }

    #[test]
    fn requests_have_places() {
        let limits = Limits::of(1, GRAIN, GRAIN);
        let place = limits.place().unwrap();
        assert!(matches!(limits.place(), Err(Refusal::TooMuch(_))));
        drop(place);
        assert!(limits.place().is_ok());
    }
}
