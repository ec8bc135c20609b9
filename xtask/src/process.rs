//! Runs programs, and sees to it that none outlives the task.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::fault::{Fault, Of};
use crate::watchdog;

/// Runs a command to its end, its output going to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), Fault> {
    finish(&name(command), spawn(command)?)
}

/// Runs a command, passes its output on and shows each line of it to `see`.
pub(crate) fn run_seeing(command: &mut Command, mut see: impl FnMut(&str)) -> Result<(), Fault> {
    let name = name(command);
    let mut child = spawn(command.stdout(Stdio::piped()))?;
    let output = child.stdout.take().ok_or("no pipe for the output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.of(&name)?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        see(&line);
    }
    finish(&name, child)
}

/// Runs a command and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Fault> {
    let name = name(command);
    let child = spawn(command.stdout(Stdio::piped()))?;
    let id = child.id();
    let output = child.wait_with_output().of(&name)?;
    watchdog::forget(id);
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("`{name}` failed: {}", output.status).into())
    }
}

/// Becomes the command: terminal, input and Ctrl-C are its own. Returns only if that fails.
pub(crate) fn become_it(command: &mut Command) -> Result<(), Fault> {
    let name = name(command);
    Err(command.exec()).of(format!("`{name}`"))
}

/// Starts a command in a process group of its own, which is killed when this process is gone, whatever ended it.
pub(crate) fn spawn(command: &mut Command) -> Result<Child, Fault> {
    let name = name(command);
    let child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .of(format!("`{name}`"))?;
    watchdog::guard(child.id())?;
    Ok(child)
}

/// Waits for what `spawn` started.
pub(crate) fn finish(name: &str, mut child: Child) -> Result<(), Fault> {
    let status = child.wait().of(name)?;
    watchdog::forget(child.id());
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{name}` failed: {status}").into())
    }
}

/// The command as one would type it, without the folder of its program.
pub(crate) fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
