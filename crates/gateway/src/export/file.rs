//! A file of JSON lines, as `--audit-log-path` writes it: one event a line, in the order of their ends.
//!
//! A line is there whole or not at all: what a crash or a full disk left of one is taken away before the next is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mantlet_api::audit::Event;
use mantlet_core::time::Clock;

#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    /// Bytes after which it is put aside.
    max_size: Option<u64>,
    max_backups: Option<usize>,
    clock: Arc<dyn Clock>,
    waiting: Vec<u8>,
    /// None before the first line, and after a fault.
    file: Option<File>,
    size: u64,
}

/// So much is written at once.
const FULL: usize = 1 << 20;

impl JsonLines {
    pub fn new(path: PathBuf, max_size: Option<u64>, max_backups: Option<usize>, clock: Arc<dyn Clock>) -> Self {
        Self {
            path,
            max_size,
            max_backups,
            clock,
            waiting: Vec::new(),
            file: None,
            size: 0,
        }
    }

    pub(super) fn push(&mut self, event: &Event) -> Result<(), String> {
        let line = serde_json::to_vec(event).map_err(|fault| fault.to_string())?;
        self.waiting.extend_from_slice(&line);
        self.waiting.push(b'\n');
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= FULL
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let done = self.write();
        if done.is_err() {
            self.file = None;
        }
        done.map_err(|fault| format!("`{}`: {fault}", self.path.display()))
    }

    pub(super) fn settle(&mut self) -> Result<(), String> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_data);
        synced.map_err(|fault| format!("`{}`: {fault}", self.path.display()))
    }

    fn write(&mut self) -> io::Result<()> {
        let over = |size: u64| {
            self.max_size
                .is_some_and(|max| size > 0 && size + self.waiting.len() as u64 > max)
        };
        if self.file.is_none() {
            let (file, size) = open(&self.path)?;
            (self.file, self.size) = (Some(file), size);
        }
        if over(self.size) {
            self.put_aside()?;
            let (file, size) = open(&self.path)?;
            (self.file, self.size) = (Some(file), size);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.waiting)?;
        }
        self.size += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// As lumberjack, which writes the API server's: `audit-2006-01-02T15-04-05.000.jsonl`.
    fn put_aside(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            file.sync_data()?;
        }
        let (stem, extension) = names(&self.path);
        let now: String = self.clock.now().to_string().chars().take(23).collect();
        let now = now.replace(':', "-");
        // Never over another one: events would be gone.
        let aside = (0..).map(|n: u32| match n {
            0 => format!("{stem}-{now}{extension}"),
            n => format!("{stem}-{now}.{n}{extension}"),
        });
        for name in aside {
            let aside = self.path.with_file_name(name);
            if !aside.try_exists()? {
                std::fs::rename(&self.path, aside)?;
                break;
            }
        }
        self.prune(&stem, &extension)
    }

    fn prune(&self, stem: &str, extension: &str) -> io::Result<()> {
        let Some(kept) = self.max_backups else { return Ok(()) };
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let mut aside = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let dated = name
                .strip_prefix(stem)
                .and_then(|rest| rest.strip_suffix(extension))
                .and_then(|rest| rest.strip_prefix('-'));
            if dated.is_some_and(is_date) {
                aside.push(path);
            }
        }
        aside.sort();
        let over = aside.len().saturating_sub(kept);
        aside.iter().take(over).try_for_each(std::fs::remove_file)
    }
}

/// What of a name is before and from its last point on.
fn names(path: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = part(path.extension()).map_or_else(String::new, |extension| format!(".{extension}"));
    (part(path.file_stem()).unwrap_or_default(), extension)
}

fn is_date(text: &str) -> bool {
    text.len() >= 23 && text.bytes().all(|b| b.is_ascii_digit() || b"-.T".contains(&b))
}

/// Its end is the end of a line.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    let whole = end_of_lines(&mut file, size)?;
    if whole < size {
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

fn end_of_lines(file: &mut File, size: u64) -> io::Result<u64> {
    let (mut end, mut piece) = (size, vec![0; 64 << 10]);
    while end > 0 {
        let length = usize::try_from(end).unwrap_or(usize::MAX).min(piece.len());
        let begin = end - length as u64;
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut piece[..length])?;
        if let Some(at) = piece[..length].iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use mantlet_core::time::Timestamp;
    use mantlet_store::HandClock;

    use super::*;

    fn event(n: usize) -> Event {
        serde_json::from_value(serde_json::json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": n.to_string(), "stage": "ResponseComplete",
            "requestURI": "/api", "verb": "get", "user": {}, "requestReceivedTimestamp": "", "stageTimestamp": ""}))
        .unwrap()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mantlet-export-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let ids = text
            .lines()
            .map(|line| serde_json::from_str::<Event>(line).unwrap().audit_id);
        ids.collect()
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn half_a_line_is_taken_away_and_whole_ones_stay() {
        let path = folder("half").join("audit.jsonl");
        let clock = Arc::new(HandClock::at(Timestamp::from_seconds(0)));
        let mut file = JsonLines::new(path.clone(), None, None, clock.clone());
        file.push(&event(1)).unwrap();
        file.flush().unwrap();
        file.settle().unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(br#"{"kind":"Ev"#);
        std::fs::write(&path, text).unwrap();
        let mut again = JsonLines::new(path.clone(), None, None, clock);
        again.push(&event(2)).unwrap();
        again.flush().unwrap();
        assert_eq!(lines(&path), ["1", "2"]);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_cannot_be_written_waits_and_is_written_once() {
        let folder = folder("waits");
        let path = folder.join("missing/audit.jsonl");
        let clock = Arc::new(HandClock::at(Timestamp::from_seconds(0)));
        let mut file = JsonLines::new(path.clone(), None, None, clock);
        file.push(&event(1)).unwrap();
        let fault = file.flush().unwrap_err();
        assert!(fault.contains("missing/audit.jsonl"), "{fault}");
        std::fs::create_dir(folder.join("missing")).unwrap();
        file.flush().unwrap();
        file.flush().unwrap();
        assert_eq!(lines(&path), ["1"]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let folder = folder("aside");
        let path = folder.join("audit.jsonl");
        std::fs::write(folder.join("audit-notes.jsonl"), "not ours").unwrap();
        let clock = Arc::new(HandClock::at(Timestamp::from_seconds(1_700_000_000)));
        let mut file = JsonLines::new(path.clone(), Some(300), Some(2), clock.clone());
        for n in 0..8 {
            // Two of them in the same millisecond.
            clock.advance(std::time::Duration::from_secs(n / 2));
            file.push(&event(n as usize)).unwrap();
            file.flush().unwrap();
        }
        let names = files(&folder);
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&String::from("audit-notes.jsonl")));
        assert!(
            names.iter().any(|name| name.starts_with("audit-2023-11-14T22-13-")),
            "{names:?}"
        );
        let kept: Vec<_> = names
            .iter()
            .filter(|name| *name != "audit-notes.jsonl")
            .flat_map(|name| lines(&folder.join(name)))
            .collect();
        assert_eq!(kept, ["5", "6", "7"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
