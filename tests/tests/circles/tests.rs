//! Tests of the check itself, on sources in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::graph::circles;
use crate::source::Modules;

/// The circles of a crate with these files, each a name and a text. The first one is the root.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let texts: BTreeMap<PathBuf, &str> = files
        .iter()
        .map(|&(file, text)| (PathBuf::from(file), text))
        .collect();
    let read = |file: &Path| texts.get(file).map(ToString::to_string);
    circles(&Modules::of_crate(Path::new(files[0].0), &read))
}

/// Whether the text `b` in `b.rs` closes a circle with `a.rs`, which needs `b.rs`.
fn closes(b: &str) -> bool {
    let root = "mod a; mod b; pub use a::Shown; pub fn of_root() {}";
    let a = "use crate::b::B; pub struct A; pub struct Shown; pub fn run(_: B) {} \
             pub enum Kind { One } pub trait Act { fn act(&self) {} } pub mod inline { pub fn deep() {} }";
    let b = format!("pub struct B; {b}");
    let found = circles_of(&[("lib.rs", root), ("a.rs", a), ("b.rs", &b)]);
    assert!(found.len() <= 1, "{found:?}");
    !found.is_empty()
}

#[test]
fn a_circle_is_shown_with_its_files_and_the_names_that_tie_them() {
    let found = circles_of(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use crate::b::B; pub struct A;"),
        ("src/b.rs", "use crate::c::C; pub struct B;"),
        ("src/c.rs", "use super::a::A; pub struct C;"),
    ]);
    let expected = "a circle of 3 files:\n  src/a.rs -> src/b.rs: B\n  \
                    src/b.rs -> src/c.rs: C\n  src/c.rs -> src/a.rs: A\n";
    assert_eq!(found, [expected]);
}

#[test]
fn one_way_is_no_circle() {
    assert!(!closes(""));
    assert!(!closes(
        "use std::fs; use serde::a::A; use ::a::A; pub fn f() { fs::read(\"a::A\"); }"
    ));
}

#[test]
fn every_form_of_an_import_counts() {
    for import in [
        "use crate::a::A;",
        "use super::a::A;",
        "use crate::a::A as Other;",
        "use crate::a::Act as _;",
        "use crate::{a::{Kind, A}, of_root};",
        "use super::{a::{self, A}};",
        "use crate::a::Kind::*;",
        "use crate::a::inline::deep;",
        "mod inner { use super::super::a::A; }",
        "fn f() { use crate::a::A; }",
    ] {
        assert!(closes(import), "{import}");
    }
}

#[test]
fn every_form_of_a_path_counts() {
    for code in [
        "fn f() { crate::a::run(B); }",
        "fn f() { super::a::run(B); }",
        "mod inner { fn f() { super::super::a::run(super::B); } }",
        "use super::a; fn f() { a::run(B); }",
        "use super::a::{self as other}; fn f() -> other::A { other::A }",
        "fn f() -> Option<crate::a::A> { None }",
        "impl crate::a::Act for B {}",
        "fn f() { assert_eq!(1, g(crate::a::run(B))); }",
        "#[derive(Debug)] struct C { #[arg(value_parser = crate::a::run)] c: u8 }",
        "use crate::a::*; fn f() { run(B); }",
        "use crate::a::*; fn f() { println!(\"{:?}\", A); }",
        "pub use crate::a::A; fn f() -> A { A }",
    ] {
        assert!(closes(code), "{code}");
    }
}

#[test]
fn a_re_export_is_followed_to_the_file_that_defines_the_item() {
    assert!(closes("use crate::Shown;"));
    assert!(closes("fn f() { let _ = crate::Shown; }"));
    assert!(!closes("use crate::of_root;"), "the root needs nothing");
    let through = |b: &str| {
        circles_of(&[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "mod inner; pub use inner::*; use crate::b::B; fn f(_: B) {}",
            ),
            (
                "a/inner.rs",
                "pub use self::deep::Deep as Shown; mod deep; pub struct Near;",
            ),
            ("a/inner/deep.rs", "use crate::b::B; pub struct Deep(B);"),
            ("b.rs", &format!("pub struct B; {b}")),
        ])
    };
    let [circle] = &through("use crate::a::Shown;")[..] else {
        panic!("one circle");
    };
    assert!(
        circle.contains("b.rs -> a/inner/deep.rs: Shown"),
        "{circle}"
    );
    assert_eq!(
        through("use crate::a::Near;"),
        [""; 0],
        "inner.rs needs nothing"
    );
}

#[test]
fn re_exports_and_declarations_need_nothing() {
    for code in [
        "pub use crate::a::A;",
        "pub(crate) use crate::a::{A, Kind};",
        "pub use crate::a::*;",
        "use super::a; pub(in super::a) struct C;",
        "fn f(b: B) { b.run(); let run = b.kind; }",
        "fn f(b: B) { println!(\"{}\", b.run().A); }",
    ] {
        assert!(!closes(code), "{code}");
    }
}

#[test]
fn code_of_tests_does_not_count() {
    for code in [
        "#[cfg(test)] mod tests { use crate::a::A; }",
        "#[cfg(test)] mod tests;",
        "#[cfg(all(test, unix))] use crate::a::A;",
        "impl B { #[cfg(test)] fn f() { crate::a::run(B); } }",
        "#[cfg(test)] fn f() { crate::a::run(B); }",
    ] {
        assert!(!closes(code), "{code}");
    }
    assert!(closes("#[cfg(not(test))] use crate::a::A;"));
    assert!(closes("#[cfg(any(test, unix))] use crate::a::A;"));
}

#[test]
fn a_child_may_name_its_parents_items_if_the_parent_names_none_of_its_own() {
    let child = "use super::Parent; impl Parent { pub fn help(&self) {} } pub struct Child;";
    let with_parent = |code: &str| {
        let parent = format!("mod child; pub struct Parent; {code}");
        circles_of(&[
            ("lib.rs", "mod parent;"),
            ("parent.rs", &parent),
            ("parent/child.rs", child),
        ])
    };
    assert_eq!(
        with_parent("fn f(parent: &Parent) { parent.help(); }"),
        [""; 0]
    );
    assert_eq!(with_parent("pub use child::Child;"), [""; 0]);
    assert_eq!(with_parent("use self::child::Child;").len(), 1);
    assert_eq!(
        with_parent("fn f() -> child::Child { child::Child }").len(),
        1
    );
}

#[test]
fn names_that_macros_make_are_of_the_module_that_is_named() {
    let root = "mod a; mod b;";
    let a = "words! { pub struct Made; } use crate::b::B;";
    let b = "use crate::a::Made; pub struct B;";
    assert_eq!(
        circles_of(&[("lib.rs", root), ("a.rs", a), ("b.rs", b)]).len(),
        1
    );
}

#[test]
fn names_that_lead_to_each_other_end() {
    let root = "mod a; mod b; use a::x; use x as y; use y as x;";
    let a = "pub use crate::b::*; pub use crate::x;";
    assert_eq!(
        circles_of(&[
            ("lib.rs", root),
            ("a.rs", a),
            ("b.rs", "pub use crate::a::*;")
        ]),
        [""; 0]
    );
}
