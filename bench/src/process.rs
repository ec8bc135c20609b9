//! What the kernel says of a process and all that it started: CPU time, memory.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The unit of /proc/PID/stat. Linux shows 100 to user space whatever the kernel counts in.
const TICK: Duration = Duration::from_millis(10);

/// The kernel's `utime + stime`: the scheduler's exact sum in whole ticks, threads that have ended included.
pub(crate) fn cpu(root: u32) -> Result<Duration> {
    let mut ticks = 0;
    for process in tree(root)? {
        // Some of the tree may be gone by now.
        ticks += stat(process).map_or(0, |stat| stat.ticks);
    }
    Ok(TICK * ticks)
}

/// CPU time of the threads that live now, by name, to the nanosecond: what the whole is spent on.
pub(crate) fn threads(root: u32) -> Result<BTreeMap<String, Duration>> {
    let mut found: BTreeMap<String, Duration> = BTreeMap::new();
    for process in tree(root)? {
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let folder = entry?.path();
            let read = |file| fs::read_to_string(folder.join(file));
            // It may have ended in between.
            let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            let spent = times.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            *found.entry(name.trim_end().to_owned()).or_default() += spent.map_or(Duration::ZERO, Duration::from_nanos);
        }
    }
    Ok(found)
}

/// Resident memory, in KiB.
pub(crate) fn memory(root: u32) -> Result<u64> {
    let mut sum = 0;
    for process in tree(root)? {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS")?;
        sum += line.split_whitespace().nth(1).context("no VmRSS")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// As many open files as may be had: thousands of watches are as many sockets.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("the limit of open files cannot be raised")
}

#[derive(Debug)]
struct Stat {
    parent: u32,
    ticks: u32,
}

fn tree(root: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let id = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        parents.extend(id.and_then(|id| Some((id, stat(id)?.parent))));
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        at += 1;
    }
    Ok(found)
}

fn stat(process: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, but it ends at the last parenthesis (proc(5)).
    let (_, rest) = text.rsplit_once(')')?;
    let field = |number: usize| rest.split_whitespace().nth(number - 3);
    Some(Stat {
        parent: field(4)?.parse().ok()?,
        ticks: field(14)?.parse::<u32>().ok()? + field(15)?.parse::<u32>().ok()?,
    })
}
