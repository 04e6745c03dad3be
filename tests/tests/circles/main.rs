//! No crate has a circle of modules: files that need each other can only be read together.
//!
//! A file needs another if its code names an item of that file, in a `use` or in a path. `mod` and
//! re-exports (`pub use`) put an item on a shelf and need nothing from it, so a name is followed
//! through re-exports to the file that defines the item. Code under `#[cfg(test)]` does not count.
//! A module may name what its parent defines as long as the parent names nothing of its own, and a
//! method that is called on a value names no file.
//!
//! [`source`] reads the modules of a crate, and [`graph`] resolves their paths.

mod graph;
mod source;
mod tests;

use std::fs;
use std::path::Path;

use graph::{Tie, circles};
use source::Modules;

/// Ties of a module to its parent that still close a circle: the child names an item of the parent,
/// and the parent an item of the child. An entry that closes none any more has to go.
const KNOWN: [(&str, &str); 2] = [
    ("reactor/src/bound/names.rs", "reactor/src/bound.rs"),
    ("reactor/src/core/racing.rs", "reactor/src/core.rs"),
];

/// Fails with the circles of a crate, if it has some.
fn check(name: &str) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &Path| fs::read_to_string(workspace.join(file)).ok();
    let source = Path::new(name).join("src");
    let mut known: Vec<Tie> = KNOWN
        .map(|(from, to)| (Path::new(from), Path::new(to)))
        .into();
    known.retain(|(from, _)| from.starts_with(name));
    let roots = ["lib.rs", "main.rs"].map(|root| source.join(root));
    let roots = roots.iter().filter(|root| workspace.join(root).exists());
    let crates: Vec<Modules> = roots.map(|root| Modules::of_crate(root, &read)).collect();
    let found = |ignored: &[Tie]| {
        let circles = crates.iter().flat_map(|modules| circles(modules, ignored));
        circles.collect::<Vec<_>>()
    };
    assert!(found(&known).is_empty(), "{}", found(&known).join("\n"));
    for tie in &known {
        let others: Vec<Tie> = known.iter().copied().filter(|it| it != tie).collect();
        assert!(
            !found(&others).is_empty(),
            "{tie:?} closes no circle: take it off KNOWN"
        );
    }
}

#[test]
fn reactor() {
    check("reactor");
}

#[test]
fn servers() {
    check("servers");
}

#[test]
fn clients() {
    check("clients");
}

#[test]
fn benches() {
    check("benches");
}

#[test]
fn the_tests_themselves() {
    check("tests");
}
