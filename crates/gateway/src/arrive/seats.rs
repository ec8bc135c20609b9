//! How many connections there may be, in all and from one source.
//!
//! A connection takes its seat before its first byte is read, and the share of its source once the source is known (a trusted proxy says it). What
//! has no seat is closed at once: its TLS session and its buffers would be taken from everybody else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// 10,000 connections, each with an idle watch, were measured below 2 GB.
pub const MOST: usize = 10_000;
/// A source has one of so many shares: many clients may come through one NAT address, and others still find room.
pub(crate) const SHARES: usize = 5;
/// Files for the journal, the index, clusters and issuers.
const OTHERS: usize = 256;

/// How many connections a process may hold that may have `files` open: one that runs out of them serves nobody, and could not write its journal.
pub fn connections(files: u64) -> usize {
    usize::try_from(files)
        .unwrap_or(usize::MAX)
        .saturating_sub(OTHERS)
        .clamp(SHARES, MOST)
}

/// The places of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    all: Arc<Semaphore>,
    sources: Arc<Sources>,
}

#[derive(Debug)]
struct Sources {
    most: usize,
    /// Only those that have a connection: as many as there are seats.
    now: Mutex<HashMap<IpAddr, usize>>,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    _one: OwnedSemaphorePermit,
}

/// What a connection takes of its source's share; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Seats {
    pub(crate) fn new(all: usize, per_source: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            sources: Arc::new(Sources {
                most: per_source,
                now: Mutex::default(),
            }),
        }
    }

    pub(crate) fn take(&self) -> Option<Seat> {
        let one = self.all.clone().try_acquire_owned().ok()?;
        Some(Seat { _one: one })
    }

    pub(crate) fn share(&self, address: IpAddr) -> Option<Share> {
        let source = source(address);
        let mut now = self.sources.now();
        let count = now.entry(source).or_default();
        if *count >= self.sources.most {
            return None;
        }
        *count += 1;
        Some(Share {
            sources: self.sources.clone(),
            source,
        })
    }
}

impl Sources {
    fn now(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Whoever panicked with the lock had changed one number.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut now = self.sources.now();
        if let Some(count) = now.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                now.remove(&self.source);
            }
        }
    }
}

/// An address, or for IPv6 the /64 in which one host chooses its addresses as it likes.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn seats_are_counted_and_come_back() {
        let seats = Seats::new(2, 2);
        let (_one, two) = (seats.take().unwrap(), seats.take());
        assert!(seats.take().is_none());
        drop(two);
        assert!(seats.take().is_some());
    }

    #[test]
    fn one_source_takes_nothing_from_another() {
        let seats = Seats::new(10, 2);
        let first = seats.share(at("10.0.0.1")).unwrap();
        let _second = seats.share(at("::ffff:10.0.0.1")).unwrap();
        assert!(seats.share(at("10.0.0.1")).is_none());
        let other = seats.share(at("10.0.0.2")).unwrap();
        drop(first);
        assert!(seats.share(at("10.0.0.1")).is_some());
        drop(other);
        assert_eq!(seats.sources.now().len(), 1, "a source without connections is kept");
    }

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(connections(1024), 768);
        assert_eq!(connections(65_536), MOST);
        assert_eq!(connections(64), SHARES, "at least one for each share");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_source() {
        let seats = Seats::new(10, 1);
        let _one = seats.share(at("2001:db8:0:1::1")).unwrap();
        assert!(seats.share(at("2001:db8:0:1:ffff::2")).is_none());
        assert!(seats.share(at("2001:db8:0:2::1")).is_some());
    }
}
