//! The one directory that everything of `mantlet dev` lies in: 0700, one gateway at a time.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The data directory, held by this process until dropped.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes it if it is not there. Refuses one that others may read, and one that another gateway holds.
    pub fn open(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make `{}`", dir.display()))?;
        let mode = fs::metadata(&dir)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!(
                "others may read `{}` (mode {mode:o}), and it holds keys\nhint: chmod 700 {}",
                dir.display(),
                dir.display()
            );
        }
        let lock = File::create(dir.join("lock"))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "another `mantlet dev` runs with `{}`\nhint: stop it, or name another directory with --data-dir",
                dir.display()
            );
        }
        for part in ["policies", "kubeconfigs"] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir.join(part))?;
        }
        Ok(Self { dir, _lock: lock })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        kubeconfig(&self.dir, name)
    }

    /// Writes a file that only its owner may read, whole or not at all.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        super::ca::write_private(&path, text.as_bytes())?;
        Ok(path)
    }
}

pub(crate) fn kubeconfig(dir: &Path, name: &str) -> PathBuf {
    dir.join("kubeconfigs").join(format!("{name}.yaml"))
}

/// `$XDG_DATA_HOME/mantlet/dev`, else `~/.local/share/mantlet/dev` (XDG Base Directory Specification).
pub fn default_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(data), _) => Ok(data.join("mantlet/dev")),
        (None, Some(home)) => Ok(home.join(".local/share/mantlet/dev")),
        (None, None) => bail!("neither $XDG_DATA_HOME nor $HOME is set\nhint: name a directory with --data-dir"),
    }
}
