//! Commands about agents that need no gateway: what lets one in, and the rights that the gateway needs for all of them.
//!
//! They read configuration and print, or write files. Nothing is applied to a cluster: an administrator does that, past the gateway.

mod manifest;
pub mod rbac;
pub mod init;
mod files;
