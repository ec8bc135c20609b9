//! Writes `cases/kubernetes.jsonl` anew: what Kubernetes' own CEL, in the oracle of `cluster/`, makes of each expression of `kubernetes.txt`.
//!
//! `MANTLET_ORACLE` names the oracle. With `--check` nothing is written, and a difference is a failure. The tests of this crate compare
//! the file with what it makes of the same expressions; they need no oracle.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let check = std::env::args().nth(1).is_some_and(|flag| flag == "--check");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let object: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("kubernetes.json"))?)?;
    let text = std::fs::read_to_string(folder.join("kubernetes.txt"))?;
    let written: Vec<_> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let expressions: Vec<_> = written
        .iter()
        .map(|line| line.strip_prefix("~ ").unwrap_or(line))
        .collect();
    let answers = ask(&expressions, &object)?;
    let mut lines = String::new();
    for ((expression, answer), written) in expressions.iter().zip(answers).zip(written) {
        let Some(found) = answer["cel"].as_object() else {
            return Err(format!("{expression}: {answer}").into());
        };
        // `{"value":null}` reads back as no value, so what has neither type nor fault has a value.
        let mut line = json!({"expression": expression});
        match (found.get("type"), found.get("fault")) {
            (Some(named), _) => line["type"] = named.clone(),
            (None, Some(fault)) => line["fault"] = fault.clone(),
            (None, None) => line["value"] = found.get("value").cloned().unwrap_or_default(),
        }
        if written.starts_with("~ ") {
            line["laxer"] = true.into();
        }
        lines.push_str(&format!("{line}\n"));
    }
    let path = folder.join("kubernetes.jsonl");
    match check {
        false => Ok(std::fs::write(path, lines)?),
        true if std::fs::read_to_string(&path)? == lines => Ok(()),
        true => Err("cases/kubernetes.jsonl is not what the oracle says; write it anew: cargo xtask vectors".into()),
    }
}

fn ask(expressions: &[&str], object: &Value) -> Result<Vec<Value>, Fault> {
    let oracle =
        std::env::var_os("MANTLET_ORACLE").ok_or("MANTLET_ORACLE names no oracle; run: cargo xtask vectors")?;
    let mut child = Command::new(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (to, from) = (child.stdin.take(), child.stdout.take());
    let questions: Vec<_> = expressions
        .iter()
        .map(|expression| json!({"op": "cel", "expression": expression, "json": object}).to_string())
        .collect();
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let mut to = BufWriter::new(to.ok_or(std::io::ErrorKind::BrokenPipe)?);
        questions.iter().try_for_each(|line| writeln!(to, "{line}"))?;
        to.flush()
    });
    let lines = BufReader::new(from.ok_or("the oracle has no output")?).lines();
    let answers = lines
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<Vec<Value>, Fault>>()?;
    writer.join().map_err(|_| "the questions could not be written")??;
    child.wait()?;
    match answers.len() == expressions.len() {
        true => Ok(answers),
        false => Err(format!("{} answers to {} questions", answers.len(), expressions.len()).into()),
    }
}
