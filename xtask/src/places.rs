//! Where things are: the checkout, the build folder, the cache that is shared by all checkouts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fault::{Fault, hint};

/// Absolute folders.
#[derive(Debug)]
pub(crate) struct Places {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// For what the tasks themselves build; below cargo's target folder.
    pub(crate) build: PathBuf,
    /// For what is expensive; outside of the checkout, as `bed` has it.
    pub(crate) cache: PathBuf,
}

impl Places {
    pub(crate) fn find() -> Result<Self, Fault> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.parent().ok_or("xtask lies in no checkout")?.to_path_buf();
        let target = folder("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let cache = cache().ok_or_else(|| hint("no place for a cache".to_owned(), "set MANTLET_CACHE to a folder"))?;
        Ok(Self {
            build: target.join("xtask"),
            cache,
            root,
        })
    }

    /// The folder of the Go module.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// The cargo that runs us, in the checkout.
    pub(crate) fn cargo<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(arguments);
        command
    }
}

fn cache() -> Option<PathBuf> {
    folder("MANTLET_CACHE")
        .and_then(|own| std::path::absolute(own).ok())
        .or_else(|| {
            folder("XDG_CACHE_HOME")
                .filter(|xdg| xdg.is_absolute())
                .map(|xdg| xdg.join("mantlet"))
        })
        .or_else(|| folder("HOME").map(|home| home.join(".cache").join("mantlet")))
}

fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
