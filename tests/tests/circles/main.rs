//! No crate has a circle of modules: files that need each other can only be read together.
//!
//! A file needs another one if its code names an item of that file, in a `use` or in a path. `mod`
//! and re-exports (`pub use`) only publish an item, so the check follows a name through re-exports
//! to the file that defines the item. Code under `#[cfg(test)]` does not count. A module may name
//! its parent's items as long as the parent names none of the module's, and a method call names no
//! file.
//!
//! [`source`] reads the modules of a crate, and [`graph`] resolves their paths.

mod graph;
mod source;
mod tests;

use std::fs;
use std::path::Path;

use ::tests::source::workspace;
use graph::circles;
use source::Modules;

/// Fails if the crate has circles, and lists them.
fn check(name: &str) {
    let workspace = workspace();
    let read = |file: &Path| fs::read_to_string(workspace.join(file)).ok();
    let source = Path::new(name).join("src");
    let roots = ["lib.rs", "main.rs", "bin/simulate/main.rs"].map(|root| source.join(root));
    let roots = roots.iter().filter(|root| workspace.join(root).exists());
    let crates = roots.map(|root| Modules::of_crate(root, &read));
    let found: Vec<String> = crates.flat_map(|modules| circles(&modules)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
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
