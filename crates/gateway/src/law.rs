//! The law in force: one immutable snapshot at a time, swapped whole.
//!
//! Who judges a request loads the snapshot once and uses it to the end of the judgment. Streams outlive their judgment: each new epoch asks of
//! them whether it would let them begin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use mantlet_core::law::{ClusterRef, Epoch, Law, Permit};
use mantlet_core::time::Timestamp;
use tokio::sync::watch;

/// A handle; clones share one law.
#[derive(Debug, Clone)]
pub struct LawBook(Arc<InForce>);

#[derive(Debug)]
struct InForce {
    law: ArcSwap<Law>,
    /// Issuers that are not what they were, and since which epoch: what was verified before then is worth nothing to a stream.
    changed: Mutex<BTreeMap<String, Epoch>>,
    epochs: watch::Sender<Epoch>,
}

impl LawBook {
    pub fn new(law: Law) -> Self {
        Self(Arc::new(InForce {
            epochs: watch::Sender::new(law.epoch()),
            changed: Mutex::default(),
            law: ArcSwap::from_pointee(law),
        }))
    }

    pub fn load(&self) -> Arc<Law> {
        self.0.law.load_full()
    }

    /// Puts another law in force, of a greater epoch than the one before, and names the issuers that were changed or taken out with it.
    pub fn enact(&self, law: Law, issuers: impl IntoIterator<Item = String>) {
        let epoch = law.epoch();
        let mut changed = self.0.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.extend(issuers.into_iter().map(|issuer| (issuer, epoch)));
        drop(changed);
        self.0.law.store(Arc::new(law));
        self.0.epochs.send_replace(epoch);
    }

    /// Resolves once a law is in force that would not let this stream begin.
    pub(crate) async fn overrules(&self, permit: &Permit, cluster: &ClusterRef, now: impl Fn() -> Timestamp) {
        let mut epochs = self.0.epochs.subscribe();
        let mut judged = permit.epoch();
        loop {
            let epoch = *epochs.borrow_and_update();
            if epoch != judged && !self.upholds(permit, cluster, now()) {
                return;
            }
            judged = epoch;
            // The sender lives in `self`.
            if epochs.changed().await.is_err() {
                return;
            }
        }
    }

    fn upholds(&self, permit: &Permit, cluster: &ClusterRef, now: Timestamp) -> bool {
        let changed = self.0.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let since = changed.get(permit.caller().verified().issuer()).copied();
        drop(changed);
        since.is_none_or(|since| permit.epoch() >= since) && self.load().upholds(permit, cluster, now)
    }
}
