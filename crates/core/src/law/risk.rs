//! How risky an operation is, from 0 to 100, and why.
//!
//! In: an action, the points of the rules that spoke, how many objects are affected. Out: a [`Risk`].
//! Deliberately does not: decide; thresholds do.

/// The number never stands without its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Risk {
    /// 0 to 100.
    pub score: u8,
    pub reasons: Vec<RiskReason>,
    /// What rules in warn or audit mode would have added to the sum; it decides nothing.
    pub shadow: u8,
}

/// Some points, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RiskReason {
    pub points: u8,
    pub reason: String,
}
