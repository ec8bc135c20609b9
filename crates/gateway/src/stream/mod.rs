//! Answers that outlast their head: who feeds them, and who ends them.

pub(crate) mod pump;
pub(crate) mod cut;
