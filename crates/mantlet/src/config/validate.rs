//! `mantlet config validate`: what a start or a reload would say, without either.

use std::path::Path;

use mantlet_core::law::Epoch;
use serde_json::{Value, json};

use super::{Config, Fault, load};

/// What is to be said of a configuration, and whether it can be used.
#[derive(Debug)]
pub struct Verdict {
    pub text: String,
    pub json: Value,
    pub valid: bool,
}

/// Loads the files and says what is wrong with them, or what they would put into force.
pub fn validate(path: &Path) -> Verdict {
    match load(path, Epoch::new(1)) {
        Ok(config) => passed(path, &config),
        Err(faults) => failed(path, &faults),
    }
}

fn passed(path: &Path, config: &Config) -> Verdict {
    let counts = [
        ("clusters", config.clusters.len()),
        ("issuers", config.issuers.len()),
        ("agents", config.law.agents().count()),
        ("policies", config.law.policies()),
    ];
    let words: Vec<_> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    Verdict {
        text: format!("{}: valid: {}", path.display(), words.join(", ")),
        json: json!({
            "valid": true,
            "file": path,
            "counts": counts.iter().map(|(name, n)| ((*name).to_owned(), json!(n))).collect::<serde_json::Map<_, _>>(),
            "faults": [],
        }),
        valid: true,
    }
}

fn failed(path: &Path, faults: &[Fault]) -> Verdict {
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    Verdict {
        text: format!("{}\n{}: not valid: {count}", lines.join("\n"), path.display()),
        json: json!({
            "valid": false,
            "file": path,
            "faults": faults.iter().map(as_json).collect::<Vec<_>>(),
        }),
        valid: false,
    }
}

fn as_json(fault: &Fault) -> Value {
    json!({
        "file": fault.file,
        "line": fault.place.map(|place| place.line),
        "column": fault.place.map(|place| place.column),
        "message": fault.message,
        "hint": fault.hint,
    })
}
