//! A file on another volume: a line for each checkpoint, durable before it counts as anchored.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::AnchorFault;

#[derive(Debug)]
pub struct FileAnchor(PathBuf);

impl FileAnchor {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) async fn append(&self, document: String) -> Result<(), AnchorFault> {
        let path = self.0.clone();
        let done = tokio::task::spawn_blocking(move || append(&path, &document)).await;
        let fault = match done {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(fault)) => fault,
            Err(fault) => std::io::Error::other(fault),
        };
        Err(AnchorFault::Write {
            path: self.0.display().to_string(),
            fault,
        })
    }
}

/// Opened anew each time: a volume that was mounted over or swapped is noticed. What a crash cut off stays a line of its own.
fn append(path: &Path, document: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let mut text = String::with_capacity(document.len() + 2);
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(document);
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_does_not_swallow_the_next() {
        let path = std::env::temp_dir().join(format!("mantlet-anchor-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        append(&path, "one").unwrap();
        std::fs::write(&path, "one\ntw").unwrap();
        append(&path, "three").unwrap();
        append(&path, "four").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\n");
        std::fs::remove_file(&path).unwrap();
    }
}
