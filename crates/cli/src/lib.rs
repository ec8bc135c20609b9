//! The command line: what can be typed, and the commands that talk to a gateway like any other client.
//!
//! `serve` and `dev` are only named here; the binary carries them out. Everything online goes through the virtual API with
//! the user's own kubeconfig: no command can do more than `kubectl get --raw` with the same file.
//! Data goes to standard output, everything else to standard error; no command asks a question.

mod args;
mod agent;
pub mod client;
pub mod kubectl;
mod exit;
mod sessions;
mod table;

pub use agent::agent;
pub use args::{
    AgentArgs, AgentCommand, ClusterArgs, Command, ConfigArgs, ConfigCommand, DevArgs, DevCommand, InitArgs, InitVia,
    Mantlet, PolicyArgs, PolicyCommand, PolicyTestArgs, PolicyValidateArgs, RbacArgs, RecordArgs, Report, ServeArgs,
    SessionsArgs, SessionsCommand, Template, TestOutput, TokenArgs, TokenOutput, ValidateArgs, VerifyArgs,
    VerifyOutput,
};
pub use exit::{Exit, Fault, finish};
pub use sessions::sessions;
