//! How much of each request is written down beside its line in the journal.
//!
//! The policy in force, swapped whole; and the tee that gathers a large answer while it streams by, which buffers no more than the record keeps.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mantlet_core::action::Action;
use mantlet_core::identity::Caller;
use mantlet_core::record::body::{ANSWER_MAX, LeftOut};
use mantlet_core::record::{Recording, RecordingPolicy};
use tokio::sync::OwnedSemaphorePermit;

use crate::relay::admit::Pass;

#[derive(Debug)]
pub struct Recorder(ArcSwap<RecordingPolicy>);

impl Recorder {
    pub fn new(policy: RecordingPolicy) -> Self {
        Self(ArcSwap::from_pointee(policy))
    }

    /// Puts another policy in force, for requests that come after.
    pub fn enact(&self, policy: RecordingPolicy) {
        self.0.store(Arc::new(policy));
    }

    pub(crate) fn of(&self, caller: &Caller, action: &Action) -> Recording {
        self.0.load().of(caller, action)
    }
}

/// Gathers an answer for the record.
#[derive(Debug)]
pub(crate) enum Tee {
    /// This answer is not kept.
    Off,
    Taking {
        bytes: Vec<u8>,
        _room: OwnedSemaphorePermit,
    },
    Gone(LeftOut),
}

impl Tee {
    pub(crate) fn of(pass: &Pass) -> Self {
        match (pass.keeps_answer(), pass.room()) {
            (false, _) => Tee::Off,
            (true, Some(room)) => Tee::Taking {
                bytes: Vec::new(),
                _room: room,
            },
            (true, None) => Tee::Gone(LeftOut::TooMany),
        }
    }

    pub(crate) fn take(&mut self, chunk: &[u8]) {
        if let Tee::Taking { bytes, .. } = self {
            match bytes.len() + chunk.len() <= ANSWER_MAX {
                true => bytes.extend_from_slice(chunk),
                false => *self = Tee::Gone(LeftOut::TooLarge),
            }
        }
    }

    /// The answer came to its end, and its client may have it already: what fails here is said in the record.
    pub(crate) async fn finish(self, pass: &mut Pass) {
        match self {
            Tee::Off => {}
            Tee::Taking { bytes, .. } => pass.keep_answer(&bytes).await,
            Tee::Gone(why) => pass.leave_out_answer(why),
        }
    }

    /// It did not.
    pub(crate) fn give_up(self, pass: &mut Pass) {
        match self {
            Tee::Off => {}
            Tee::Taking { .. } | Tee::Gone(_) => pass.leave_out_answer(LeftOut::NotWhole),
        }
    }
}
