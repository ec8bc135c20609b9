//! From verdict to reply: made durable, sent, masked, answered.

pub mod admit;
pub(crate) mod forward;
pub(crate) mod mask;
pub(crate) mod amend;
mod review;
pub mod respond;
pub mod refuse;
