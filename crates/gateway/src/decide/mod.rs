//! From meaning to verdict: the facts that the law asks for. The law itself is `mantlet_core::law`, pure.

pub(crate) mod look_up;
pub(crate) mod again;
pub(crate) mod turns;
