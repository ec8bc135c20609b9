//! What people write and read: serde shapes only, no meaning.

pub mod authentication;
pub mod config;
pub mod policy;
