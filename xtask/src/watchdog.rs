//! A shell that outlives this process by a moment, to kill what it started. Nobody else could after a Ctrl-C or a kill: the
//! standard library has no signals, and every child has a process group of its own.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::fault::{Fault, Of};

// Reads `guard ID` and `forget ID` until its input ends, which it does when we do. A process that died keeps its id until we
// have waited for it, and after that we forget it: so a group that is killed is one of ours.
const SCRIPT: &str = r#"
groups=' '
while read -r what id; do
  case $what in
    guard) groups="$groups$id " ;;
    forget) groups=${groups%% $id *}' '${groups#* $id } ;;
  esac
done
for signal in TERM KILL; do
  alive=
  for group in $groups; do kill -s $signal -- -$group 2>/dev/null && alive=yes; done
  [ -n "$alive" ] && [ $signal = TERM ] && sleep 3
done
"#;

static WATCHDOG: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// From now on this process group dies with us.
pub(crate) fn guard(group: u32) -> Result<(), Fault> {
    if WATCHDOG.get().is_none() {
        let stdin = start()?;
        let _ = WATCHDOG.set(Mutex::new(stdin)); // another thread's is as good
    }
    tell(format!("guard {group}\n")).of("the watchdog")
}

/// It has ended, and its id may be somebody else's.
pub(crate) fn forget(group: u32) {
    // A watchdog that is gone guards nothing that could be forgotten.
    let _ = tell(format!("forget {group}\n"));
}

fn start() -> Result<ChildStdin, Fault> {
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .process_group(0) // a Ctrl-C must not reach it
        .spawn()
        .of("`sh`")?;
    child.stdin.take().ok_or_else(|| "no pipe to the watchdog".into())
}

fn tell(line: String) -> std::io::Result<()> {
    match WATCHDOG.get().map(Mutex::lock) {
        Some(Ok(mut stdin)) => stdin.write_all(line.as_bytes()),
        Some(Err(_)) | None => Err(std::io::ErrorKind::BrokenPipe.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_groups_that_were_not_forgotten_are_killed() {
        let sleeper = || Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let (mut guarded, mut forgotten) = (sleeper(), sleeper());
        let mut stdin = start().unwrap();
        for (what, child) in [("guard", &guarded), ("guard", &forgotten), ("forget", &forgotten)] {
            writeln!(stdin, "{what} {}", child.id()).unwrap();
        }
        drop(stdin);
        assert!(!guarded.wait().unwrap().success());
        assert!(forgotten.try_wait().unwrap().is_none());
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }
}
