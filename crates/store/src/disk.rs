//! Where segments lie: a folder, PostgreSQL (`journal::shared`), and a folder whose disk fails when told to.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Pre-allocated files with ascending numbers.
pub trait Disk: Send + Sync + fmt::Debug {
    /// The numbers of the segments there are, ascending.
    fn segments(&self) -> io::Result<Vec<u64>>;
    /// Lays out `size` zero bytes under a name that nobody reads. Durable when it returns.
    fn prepare(&self, size: u64) -> io::Result<()>;
    /// Makes what was prepared the segment `number`. Durable when it returns.
    fn adopt(&self, number: u64) -> io::Result<()>;
    fn open(&self, number: u64) -> io::Result<Box<dyn Segment>>;
    /// Takes a segment away for good. Durable when it returns; one that is not there is no fault.
    fn remove(&self, number: u64) -> io::Result<()>;
}

pub trait Segment: Send + fmt::Debug {
    fn size(&self) -> io::Result<u64>;
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when all that was written, the record `seq` last, would survive a power loss.
    ///
    /// `NotConnected` means: whether it would is not known now, and asking again settles it, whatever had become of it. After any other
    /// fault what the disk holds is unknown.
    fn sync(&self, seq: u64) -> io::Result<()>;
    /// For a place on another machine, when nothing is written for a while: whether it could be. Faults as those of `sync`.
    fn keep(&self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

const SUFFIX: &str = ".journal";
const PREPARED: &str = "next.prepared";

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number:010}{SUFFIX}"))
    }
}

impl Disk for Folder {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let number: Option<u64> = name
                .to_str()
                .and_then(|name| name.strip_suffix(SUFFIX))
                .and_then(|name| name.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn prepare(&self, size: u64) -> io::Result<()> {
        let path = self.0.join(PREPARED);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // Written, not `fallocate`d: a flush of bytes in unwritten extents has to change the extents as well.
        let zeros = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < size {
            let chunk = usize::try_from(size - offset).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all_at(&zeros[..chunk], offset)?;
            offset += chunk as u64;
        }
        file.sync_all()
    }

    fn adopt(&self, number: u64) -> io::Result<()> {
        std::fs::rename(self.0.join(PREPARED), self.segment(number))?;
        File::open(&self.0)?.sync_all()
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(
            OpenOptions::new().read(true).write(true).open(self.segment(number))?,
        ))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        match std::fs::remove_file(self.segment(number)) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
            Ok(()) | Err(_) => File::open(&self.0)?.sync_all(),
        }
    }
}

impl Segment for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self, _seq: u64) -> io::Result<()> {
        self.sync_data()
    }
}

/// A folder on a disk that fails when told to, for tests of what must then be refused.
#[derive(Debug)]
pub struct FaultyDisk {
    folder: Folder,
    switches: Arc<Switches>,
}

#[derive(Debug, Default)]
pub struct Switches {
    writes_fail: AtomicBool,
    flushes_fail: AtomicBool,
    full: AtomicBool,
    flushes: AtomicU64,
}

#[derive(Debug)]
struct FaultySegment {
    segment: Box<dyn Segment>,
    switches: Arc<Switches>,
}

impl FaultyDisk {
    pub fn new(path: &Path) -> Self {
        Self {
            folder: Folder::new(path),
            switches: Arc::default(),
        }
    }

    pub fn switches(&self) -> Arc<Switches> {
        self.switches.clone()
    }
}

impl Switches {
    pub fn fail_writes(&self, fail: bool) {
        self.writes_fail.store(fail, Ordering::SeqCst);
    }

    pub fn fail_flushes(&self, fail: bool) {
        self.flushes_fail.store(fail, Ordering::SeqCst);
    }

    /// No room for another segment; what was laid out can still be written.
    pub fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// How often a segment was flushed.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    fn check(switch: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
        match switch.load(Ordering::SeqCst) {
            true => Err(kind.into()),
            false => Ok(()),
        }
    }
}

impl Disk for FaultyDisk {
    fn segments(&self) -> io::Result<Vec<u64>> {
        self.folder.segments()
    }

    fn prepare(&self, size: u64) -> io::Result<()> {
        Switches::check(&self.switches.full, io::ErrorKind::StorageFull)?;
        self.folder.prepare(size)
    }

    fn adopt(&self, number: u64) -> io::Result<()> {
        self.folder.adopt(number)
    }

    fn open(&self, number: u64) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FaultySegment {
            segment: self.folder.open(number)?,
            switches: self.switches.clone(),
        }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.folder.remove(number)
    }
}

impl Segment for FaultySegment {
    fn size(&self) -> io::Result<u64> {
        self.segment.size()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.segment.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        Switches::check(&self.switches.writes_fail, io::ErrorKind::Other)?;
        self.segment.write_at(bytes, offset)
    }

    fn sync(&self, seq: u64) -> io::Result<()> {
        Switches::check(&self.switches.flushes_fail, io::ErrorKind::Other)?;
        self.switches.flushes.fetch_add(1, Ordering::SeqCst);
        self.segment.sync(seq)
    }
}
