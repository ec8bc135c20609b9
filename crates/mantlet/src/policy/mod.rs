//! Commands about agents and policies that need files alone: `policy validate`, `policy test`.
//!
//! In: paths. Out: what is to be said, for people, as JSON or as JUnit XML, and whether all is well. No cluster, issuer or database is asked.

mod law;
mod request;
mod validate;
mod test;
mod report;

pub use report::Told;
pub use test::{Form, test};
pub use validate::{Form as ValidateForm, validate};
