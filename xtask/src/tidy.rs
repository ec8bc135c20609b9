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
                wrong.extend(without_header(&name, &text()?));
            } else if name.ends_with("/Cargo.toml") {
                wrong.extend(owned_elsewhere(&name, &text()?));
            }
        }
    }
    wrong.extend(Road::read(places)?.faults());
    wrong.extend(untold(places)?);
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

/// A file says what it is before it does anything.
fn without_header(file: &str, text: &str) -> Option<String> {
    let said = text.starts_with("//! ") || text.is_empty();
    (!said).then(|| format!("{file}:1: a file begins with `//!` and what it is"))
}

/// The tricks that have a number, as cases and stories name them (`T31`). Those that are told stay told.
const TRICKS: [std::ops::RangeInclusive<u8>; 7] = [1..=20, 22..=22, 25..=38, 43..=44, 50..=51, 54..=54, 58..=58];

/// A trick that no case of the museum and no story names.
fn untold(places: &Places) -> Result<Vec<String>, Fault> {
    let mut told = std::collections::BTreeSet::new();
    for file in files(&places.root.join("crates/stories"))? {
        if file
            .extension()
            .is_some_and(|ending| ending == "rs" || ending == "yaml")
        {
            let text = std::fs::read_to_string(&file).of(file.display())?;
            told.extend(text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(trick));
        }
    }
    let missing = TRICKS.into_iter().flatten().filter(|number| !told.contains(number));
    Ok(missing
        .map(|number| format!("crates/stories: no case and no story names T{number}"))
        .collect())
}

fn trick(word: &str) -> Option<u8> {
    word.strip_prefix('T')?.parse().ok()
}

const ROAD: &str = "docs/src/life-of-a-request.md";
const GATEWAY: &str = "crates/gateway/src";

/// The road of a request as the document tells it and as the gateway's modules stand.
#[derive(Debug, Default)]
struct Road {
    document: String,
    /// By path below the gateway's sources: its text.
    sources: Vec<(String, String)>,
}

impl Road {
    fn read(places: &Places) -> Result<Self, Fault> {
        let folder = places.root.join(GATEWAY);
        let mut sources = Vec::new();
        for file in files(&folder)? {
            let name = file
                .strip_prefix(&folder)
                .unwrap_or(&file)
                .to_string_lossy()
                .into_owned();
            sources.push((name, std::fs::read_to_string(&file).of(file.display())?));
        }
        let document = std::fs::read_to_string(places.root.join(ROAD)).of(ROAD)?;
        Ok(Self { document, sources })
    }

    fn faults(&self) -> Vec<String> {
        let table = self.table();
        let mut faults = Vec::new();
        if table.is_empty() {
            faults.push(format!("{ROAD}: the table of stages names no file"));
        }
        for stage in table.iter().filter(|stage| self.source(stage).is_none()) {
            faults.push(format!("{ROAD}: `{stage}` is no file of {GATEWAY}"));
        }
        for (name, text) in &self.sources {
            let stage = text
                .lines()
                .take_while(|line| line.starts_with("//!"))
                .any(|line| line.starts_with("//! In: "));
            if stage && !self.document.contains(&format!("`{name}`")) {
                faults.push(format!("{GATEWAY}/{name}: a stage that {ROAD} does not name"));
            }
        }
        faults.extend(self.out_of_order("lib.rs", &folders(&table)));
        for folder in folders(&table) {
            let stages = table
                .iter()
                .filter_map(|stage| stage.strip_prefix(&format!("{folder}/")));
            let stages: Vec<_> = stages.map(|stage| stage.trim_end_matches(".rs").to_owned()).collect();
            faults.extend(self.out_of_order(&format!("{folder}/mod.rs"), &stages));
        }
        faults
    }

    /// The files of the table's second column, in its order.
    fn table(&self) -> Vec<String> {
        let second = |line: &str| {
            line.split('|')
                .nth(2)
                .map(|cell| cell.trim().trim_matches('`').to_owned())
        };
        let rows = self.document.lines().filter(|line| line.starts_with('|'));
        rows.filter_map(second).filter(|cell| cell.ends_with(".rs")).collect()
    }

    fn source(&self, name: &str) -> Option<&str> {
        self.sources
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, text)| text.as_str())
    }

    /// `mod` lines stand in the order of the road.
    fn out_of_order(&self, file: &str, road: &[String]) -> Option<String> {
        let modules: Vec<&str> = self.source(file)?.lines().filter_map(module).collect();
        let on_the_road: Vec<&str> = modules
            .into_iter()
            .filter(|module| road.iter().any(|stage| stage == module))
            .collect();
        (on_the_road != road)
            .then(|| format!("{GATEWAY}/{file}: modules stand as {on_the_road:?}, the road in {ROAD} is {road:?}"))
    }
}

/// Folders in the order in which the table comes to them first.
fn folders(table: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (folder, _) in table.iter().filter_map(|stage| stage.split_once('/')) {
        if !found.iter().any(|known| known == folder) {
            found.push(folder.to_owned());
        }
    }
    found
}

fn module(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("pub ")
        .or_else(|| line.strip_prefix("pub(crate) "))
        .unwrap_or(line);
    rest.strip_prefix("mod ")?.strip_suffix(';')
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
    fn a_trick_is_a_word_of_its_own() {
        let numbers = |text: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric())
                .filter_map(trick)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers("# T31, T5 (and TX T3x, BT4)"), [31, 5]);
    }

    #[test]
    fn an_ignored_test_needs_a_reason() {
        let bare = concat!("#[test]\n    #[ign", "ore]\nfn f() {}");
        assert_eq!(ignored_without_reason("a.rs", bare).len(), 1);
        assert!(ignored_without_reason("a.rs", "#[ignore = \"takes an hour\"]").is_empty());
    }

    #[test]
    fn a_file_begins_with_what_it_is() {
        assert!(without_header("a.rs", "use b;\n").is_some());
        assert!(without_header("a.rs", "//! What it is.\nuse b;\n").is_none());
    }

    fn road(document: &str) -> Vec<String> {
        let sources = [
            ("lib.rs", "//! x\npub mod arrive;\nmod relay;\n"),
            ("entry.rs", "//! x\n"),
            ("arrive/mod.rs", "//! x\npub mod accept;\npub(crate) mod resolve;\n"),
            ("arrive/accept.rs", "//! In: a. Out: b.\n"),
            ("arrive/resolve.rs", "//! In: b. Out: c.\n"),
            ("relay/mod.rs", "//! x\nmod admit;\n"),
            ("relay/admit.rs", "//! In: c. Out: d.\n"),
        ];
        let sources = sources.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
        let document = document
            .split(' ')
            .map(|file| format!("| stage | `{file}` | in |\n"))
            .collect();
        Road { document, sources }.faults()
    }

    #[test]
    fn the_road_is_told_as_the_modules_stand() {
        assert_eq!(
            road("arrive/accept.rs entry.rs arrive/resolve.rs relay/admit.rs"),
            [""; 0]
        );
        let faults = road("arrive/resolve.rs arrive/accept.rs relay/admit.rs");
        assert!(faults.len() == 1 && faults[0].contains("arrive/mod.rs"), "{faults:?}");
        let faults = road("relay/admit.rs arrive/accept.rs arrive/resolve.rs");
        assert!(faults.len() == 1 && faults[0].contains("lib.rs"), "{faults:?}");
        let faults = road("arrive/accept.rs relay/admit.rs");
        assert!(faults.len() == 1 && faults[0].contains("does not name"), "{faults:?}");
        let faults = road("arrive/accept.rs arrive/resolve.rs relay/admit.rs relay/gone.rs");
        assert!(faults.iter().any(|fault| fault.contains("is no file")), "{faults:?}");
        assert!(!road("nothing").is_empty());
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
