//! How much of the journal each identity has filled in this hour. Who has filled their share is refused before anything of theirs is written.
//!
//! The table is bounded: when it is full, those who wrote nothing this hour go first, then whoever wrote least.
//! After a restart everybody begins anew; what it bounds is the disk that one identity can take from the others while nobody looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mantlet_core::time::Timestamp;

/// An identity, as its issuer has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Who(Arc<str>);

/// This identity has filled its share of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverQuota {
    /// The share.
    pub bytes: u64,
    /// When the next hour begins.
    pub until: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Quotas {
    share: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    hour: i64,
    written: HashMap<Who, u64>,
}

const HOUR: i64 = 3600;
const IDENTITIES: usize = 4096;

impl Who {
    pub(crate) fn new(issuer: &str, subject: &str) -> Self {
        // No issuer holds a line break: it is a URL.
        Self(format!("{issuer}\n{subject}").into())
    }
}

impl Quotas {
    pub(crate) fn new(share: u64) -> Self {
        Self {
            share,
            table: Mutex::default(),
        }
    }

    pub(crate) fn check(&self, who: &Who, now: Timestamp) -> Result<(), OverQuota> {
        let table = self.at(now);
        match table.written.get(who) {
            Some(written) if *written >= self.share => Err(OverQuota {
                bytes: self.share,
                until: Timestamp::from_seconds((table.hour + 1) * HOUR),
            }),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn charge(&self, who: &Who, bytes: u64, now: Timestamp) {
        let mut table = self.at(now);
        if let Some(written) = table.written.get_mut(who) {
            *written += bytes;
            return;
        }
        if table.written.len() >= IDENTITIES {
            table.make_room();
        }
        table.written.insert(who.clone(), bytes);
    }

    fn at(&self, now: Timestamp) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = now.seconds().div_euclid(HOUR);
        if table.hour != hour {
            (table.hour, table.written) = (hour, HashMap::new());
        }
        table
    }
}

impl Table {
    fn make_room(&mut self) {
        let least = self.written.iter().min_by_key(|(_, written)| **written);
        if let Some(who) = least.map(|(who, _)| who.clone()) {
            self.written.remove(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Who {
        Who::new("https://issuer.example.com", name)
    }

    #[test]
    fn who_has_filled_a_share_waits_for_the_next_hour_and_the_others_do_not() {
        let (quotas, now) = (Quotas::new(1000), Timestamp::from_seconds(7 * HOUR + 12));
        quotas.charge(&who("a"), 999, now);
        quotas.check(&who("a"), now).unwrap();
        quotas.charge(&who("a"), 1, now);
        let over = quotas.check(&who("a"), now).unwrap_err();
        assert_eq!((over.bytes, over.until), (1000, Timestamp::from_seconds(8 * HOUR)));
        quotas.check(&who("b"), now).unwrap();
        quotas.check(&who("a"), over.until).unwrap();
    }

    #[test]
    fn a_crowd_of_identities_does_not_wash_out_who_wrote_much() {
        let (quotas, now) = (Quotas::new(1000), Timestamp::from_seconds(0));
        quotas.charge(&who("much"), 5000, now);
        for n in 0..3 * IDENTITIES {
            quotas.charge(&who(&n.to_string()), 1, now);
        }
        assert!(quotas.check(&who("much"), now).is_err());
        assert!(quotas.at(now).written.len() <= IDENTITIES);
    }
}
