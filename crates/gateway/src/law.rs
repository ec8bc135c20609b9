//! The law in force: one immutable snapshot at a time, swapped whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mantlet_core::law::Law;

/// Whoever judges a request loads it once and uses that snapshot to the end of the judgment.
#[derive(Debug)]
pub struct LawBook(ArcSwap<Law>);

impl LawBook {
    pub fn new(law: Law) -> Self {
        Self(ArcSwap::from_pointee(law))
    }

    pub fn load(&self) -> Arc<Law> {
        self.0.load_full()
    }

    /// Puts another law in force. Its epoch is greater than that of the one before.
    pub fn enact(&self, law: Law) {
        self.0.store(Arc::new(law));
    }
}
