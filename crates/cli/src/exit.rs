//! How a command ends: a number for scripts, a sentence for people.

use std::io::{self, Write};
use std::process::ExitCode;

use mantlet_kubeconfig::KubeconfigFault;

use crate::client::ClientFault;

/// The exit codes; a contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    Denied = 3,
    NotSignedIn = 4,
    /// Approval pending or expired.
    NotApproved = 5,
    Unreachable = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked. Prints as one sentence; [`Fault::hint`] is what to type next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigFault),
    #[error(transparent)]
    Client(#[from] ClientFault),
    #[error("`{0}` is not a mantlet gateway")]
    NoGateway(String),
    #[error("the gateway answered with something that cannot be read: {0}")]
    Unreadable(String),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

impl Fault {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            // A plugin that fails is, in practice, one that wants its user to sign in.
            Self::Kubeconfig(KubeconfigFault::Exec { .. }) => Exit::NotSignedIn,
            Self::Kubeconfig(_) | Self::NoGateway(_) | Self::Unreadable(_) | Self::Write(_) => Exit::Error,
            Self::Client(fault) => fault.exit(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoGateway(_) => Some("name the gateway's kubeconfig: `--kubeconfig FILE`"),
            Self::Kubeconfig(
                KubeconfigFault::Read(_) | KubeconfigFault::NoContext | KubeconfigFault::Missing { .. },
            ) => Some("export KUBECONFIG=FILE, as `mantlet dev` printed it, or name one with `--kubeconfig FILE`"),
            Self::Client(ClientFault::Unreachable { .. }) => Some("see that the gateway runs, then try again"),
            _ => None,
        }
    }
}

/// Says on standard error what went wrong. A reader that has gone (`| head`) is no fault.
pub fn finish(result: Result<(), Fault>) -> Exit {
    let fault = match result {
        Ok(()) => return Exit::Ok,
        Err(Fault::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => return Exit::Ok,
        Err(fault) => fault,
    };
    let mut err = io::stderr();
    let _ = writeln!(err, "error: {fault}");
    if let Some(hint) = fault.hint() {
        let _ = writeln!(err, "hint: {hint}");
    }
    fault.exit()
}
