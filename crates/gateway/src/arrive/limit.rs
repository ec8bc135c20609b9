//! How much an agent asks of one cluster at a time.
//!
//! In: an agent and the name of the cluster; once the request is understood, whether it has an end of its own. Out: a [`Place`], held as long as the
//! answer lasts. Refuses: more requests a second, at once, or open watches than `limits` of the Agent allow; before the body is read, and before
//! anything reaches a cluster. Counts per agent and cluster, so that more tokens or sessions of one agent give nothing more.
//! Deliberately does not: count people, or look beyond this process: each replica gives as much.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use mantlet_core::law::{Agent, Denial, Limit};

/// What all agents have under way. One per process.
#[derive(Debug, Default)]
pub struct Limiter {
    /// By agent, by cluster. Only agents of the law come here, so there are no more than were ever written.
    meters: Mutex<HashMap<String, HashMap<String, Arc<Meter>>>>,
}

/// One agent's room on one cluster.
#[derive(Debug, Default)]
struct Meter {
    rate: Mutex<Option<Rate>>,
    in_flight: AtomicU32,
    watches: AtomicU32,
}

/// Rates are measured on the monotonic clock: a wall clock that is set back must not stop anybody.
#[derive(Debug)]
struct Rate {
    per_second: NonZeroU32,
    limiter: DefaultDirectRateLimiter,
}

/// Room that one request takes; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    meter: Arc<Meter>,
    among: Among,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    InFlight,
    Watches,
}

impl Limiter {
    /// Room for one more request, whatever it asks for.
    pub(crate) fn enter(&self, agent: &Agent, cluster: &str) -> Result<Place, Denial> {
        let limits = agent.limits();
        let meter = self.meter(agent.name(), cluster);
        let refused = |limit| Denial::limited(agent.name(), cluster, limit);
        meter.passes(limits.requests_per_second).map_err(refused)?;
        meter
            .take(Among::InFlight, limits.in_flight)
            .map_err(|n| refused(Limit::InFlight(n)))
    }

    fn meter(&self, agent: &str, cluster: &str) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(agent).and_then(|its| its.get(cluster)) {
            return meter.clone();
        }
        let its = meters.entry(agent.to_owned()).or_default();
        its.entry(cluster.to_owned()).or_default().clone()
    }
}

impl Place {
    /// The same request, now that it is known to have no end of its own: it is counted among those, and no longer among the others.
    pub(crate) fn for_a_watch(self, agent: &Agent, cluster: &str) -> Result<Self, Denial> {
        self.meter
            .take(Among::Watches, agent.limits().watches)
            .map_err(|n| Denial::limited(agent.name(), cluster, Limit::Watches(n)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.meter.count(self.among).fetch_sub(1, Ordering::AcqRel);
    }
}

impl Meter {
    /// A limit that a new law has changed begins anew.
    fn passes(&self, limit: Option<NonZeroU32>) -> Result<(), Limit> {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(per_second) = limit else {
            *rate = None;
            return Ok(());
        };
        let rate = match &mut *rate {
            Some(rate) if rate.per_second == per_second => rate,
            other => other.insert(Rate {
                per_second,
                limiter: RateLimiter::direct(Quota::per_second(per_second)),
            }),
        };
        rate.limiter.check().map_err(|_| Limit::RequestsPerSecond(per_second))
    }

    /// Counted without a limit too: a law that brings one finds what is there.
    fn take(self: &Arc<Self>, among: Among, limit: Option<NonZeroU32>) -> Result<Place, NonZeroU32> {
        let most = limit.map_or(u32::MAX, NonZeroU32::get);
        let more = |taken: u32| (taken < most).then_some(taken + 1);
        let taken = self
            .count(among)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        match (taken, limit) {
            (Err(_), Some(limit)) => Err(limit),
            (Err(_), None) | (Ok(_), _) => Ok(Place {
                meter: self.clone(),
                among,
            }),
        }
    }

    fn count(&self, among: Among) -> &AtomicU32 {
        match among {
            Among::InFlight => &self.in_flight,
            Among::Watches => &self.watches,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn number(n: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(n)
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let meter = Arc::new(Meter::default());
        let take = || meter.take(Among::InFlight, number(2)).ok();
        let (first, second) = (take(), take());
        assert!(first.is_some() && second.is_some() && take().is_none());
        drop(first);
        assert!(take().is_some());
        assert_eq!(meter.in_flight.load(Ordering::Acquire), 1);
        assert_eq!(meter.watches.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_is_not_limited_is_counted_all_the_same() {
        let meter = Arc::new(Meter::default());
        let _held: Vec<_> = (0..3).map(|_| meter.take(Among::Watches, None).ok()).collect();
        assert_eq!(meter.take(Among::Watches, number(3)).err(), number(3));
        assert!(meter.take(Among::InFlight, number(1)).is_ok());
    }

    #[test]
    fn no_more_pass_than_the_rate_and_the_time_allow() {
        let (meter, begin) = (Meter::default(), Instant::now());
        let passed = (0..500).filter(|_| meter.passes(number(2)).is_ok()).count();
        let allowed = 3 + 2 * begin.elapsed().as_secs() as usize;
        assert!((2..=allowed).contains(&passed), "{passed} of {allowed}");
    }

    #[test]
    fn a_rate_that_changes_begins_anew_and_one_that_goes_is_gone() {
        let meter = Meter::default();
        while meter.passes(number(1)).is_ok() {}
        assert!(meter.passes(number(2)).is_ok());
        assert!((0..100).all(|_| meter.passes(None).is_ok()));
    }

    #[test]
    fn agents_and_clusters_do_not_share() {
        let limiter = Limiter::default();
        let (a, b, c) = (
            limiter.meter("a", "x"),
            limiter.meter("a", "y"),
            limiter.meter("b", "x"),
        );
        assert!(Arc::ptr_eq(&a, &limiter.meter("a", "x")));
        assert!(!Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
    }
}
