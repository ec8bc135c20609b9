//! Programs of others that stories are told to, as they are: `cargo xtask test` builds them and names them.
//! Without one, the story is not told; where one could have been built, that is a failure.

use std::path::PathBuf;

/// The real helm.
pub fn helm() -> Option<PathBuf> {
    named("MANTLET_HELM")
}

/// A client that is a Go program: `cluster/cmd/clientgo`.
pub fn clientgo() -> Option<PathBuf> {
    named("MANTLET_CLIENTGO")
}

fn named(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    assert!(
        program.is_some() || std::env::var_os("CI").is_none(),
        "{variable} is not set: in CI, stories are run by `cargo xtask test`, which builds what it names"
    );
    if program.is_none() {
        eprintln!("skipped: {variable} names no program; `cargo xtask test` builds it");
    }
    program
}
