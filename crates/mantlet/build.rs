//! Files that are embedded: a new one must be seen, not only a changed one.

fn main() {
    println!("cargo::rerun-if-changed=../../cluster");
}
