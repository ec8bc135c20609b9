//! api

pub mod authentication;
