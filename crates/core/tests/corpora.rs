//! What the fuzzers have found so far (`fuzz/corpus/TARGET`), put to the same properties at every run.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is tests"
)]

use std::path::Path;

#[allow(unreachable_pub, reason = "in its own crate they are the crate's")]
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

#[test]
fn what_was_found_holds_to_its_properties() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, property) in targets::TARGETS {
        let folder = corpora.join(target);
        let files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()))
            .map(|entry| entry.expect("a listing").path())
            .collect();
        assert!(files.len() >= 5, "{target} has a corpus of {}", files.len());
        for file in files {
            let data = std::fs::read(&file).expect("a file of the corpus");
            // So that a panic says which one.
            println!("{}", file.display());
            property(&data);
        }
    }
}
