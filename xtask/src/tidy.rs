//! The checks that no compiler makes: each carries an invariant of the project.

use std::path::{Path, PathBuf};

use crate::fault::{Fault, Of};
use crate::places::Places;

/// Crates that only one of ours may name, so that what they can do is done in one place.
const OWNED: [(&str, &str); 3] = [
    ("sqlx", "crates/store"),
    ("kube", "crates/kubeconfig"),
    ("cel", "crates/expr"),
];

/// Runs them all, and shows everything that is wrong.
pub(crate) fn run(places: &Places) -> Result<(), Fault> {
    let mut wrong = Vec::new();
    for folder in ["crates", "xtask"] {
        for file in files(&places.root.join(folder))? {
            let name = file
                .strip_prefix(&places.root)
                .unwrap_or(&file)
                .to_string_lossy()
                .into_owned();
            let text = || std::fs::read_to_string(&file).of(&name);
            if name.ends_with(".rs") {
                wrong.extend(ignored_without_reason(&name, &text()?));
            } else if name.ends_with("/Cargo.toml") {
                wrong.extend(owned_elsewhere(&name, &text()?));
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// A test that is not run says why.
fn ignored_without_reason(file: &str, text: &str) -> Vec<String> {
    let bare = |line: &str| line.trim().starts_with("#[ignore]");
    let lines = text.lines().enumerate().filter(|(_, line)| bare(line));
    lines
        .map(|(index, _)| format!("{file}:{}: an ignored test needs a reason", index + 1))
        .collect()
}

/// A dependency that belongs to another crate.
fn owned_elsewhere(file: &str, text: &str) -> Vec<String> {
    let names = |line: &str, name: &str| {
        let rest = line
            .trim_start()
            .strip_prefix(name)
            .or_else(|| line.trim_start().strip_prefix(&format!("\"{name}\"")));
        let renamed = line.contains(&format!("package = \"{name}\""));
        renamed || rest.is_some_and(|rest| rest.trim_start().starts_with(['.', '=']))
    };
    let mut wrong = Vec::new();
    for (name, owner) in OWNED {
        let elsewhere = file != format!("{owner}/Cargo.toml");
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| elsewhere && names(line, name));
        wrong.extend(lines.map(|(index, _)| format!("{file}:{}: only {owner} may depend on `{name}`", index + 1)));
    }
    wrong
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).of(folder.display())? {
        let path = entry.of(folder.display())?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_test_needs_a_reason() {
        let bare = concat!("#[test]\n    #[ign", "ore]\nfn f() {}");
        assert_eq!(ignored_without_reason("a.rs", bare).len(), 1);
        assert!(ignored_without_reason("a.rs", "#[ignore = \"takes an hour\"]").is_empty());
    }

    #[test]
    fn a_crate_is_named_by_its_owner_alone() {
        for line in [
            "sqlx.workspace = true",
            "sqlx = \"0.9\"",
            "  sqlx={ version = \"1\" }",
            "db = { package = \"sqlx\" }",
        ] {
            assert_eq!(owned_elsewhere("crates/core/Cargo.toml", line).len(), 1, "{line}");
            assert!(owned_elsewhere("crates/store/Cargo.toml", line).is_empty(), "{line}");
        }
        assert!(
            owned_elsewhere(
                "crates/core/Cargo.toml",
                "mantlet-kubeconfig.workspace = true\nkubeconfig = \"1\""
            )
            .is_empty()
        );
    }
}
