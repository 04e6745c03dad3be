//! `SECURITY.md` promises nothing that is not there: each test that it names exists, and each option
//! is in the help of a server.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tests::server::binary;
use tests::source::{rust_files, workspace};

fn page() -> String {
    fs::read_to_string(workspace().join("SECURITY.md")).expect("SECURITY.md")
}

/// The words of the page that stand between backquotes.
fn quoted(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

/// The names of the tests in a Rust file.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let tests = text.split("#[test]").skip(1);
    tests.filter_map(|rest| rest.split_once("fn ")?.1.split('(').next())
}

#[test]
fn each_test_that_is_named_exists() {
    let mut declared = BTreeSet::new();
    for directory in ["reactor", "servers", "clients", "tests"] {
        for part in ["src", "tests"] {
            let directory = workspace().join(directory).join(part);
            if directory.exists() {
                let files = rust_files(&directory);
                let tests = files.iter().flat_map(|(_, text)| tests_in(text));
                declared.extend(tests.map(str::to_owned));
            }
        }
    }
    let page = page();
    // The last column of the tables.
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let named: Vec<&str> = cells.flat_map(quoted).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(declared.contains(name), "there is no test {name}");
    }
}

/// Each row of a table names a test.
#[test]
fn each_bound_has_a_test() {
    for row in page().lines().filter(|line| line.starts_with("| ")) {
        let is_head = row.starts_with("| a stranger |") || row.starts_with("| a server |");
        let last = row.trim_end_matches(['|', ' ']).rsplit('|').next();
        let has_test = last.is_some_and(|cell| cell.contains('`'));
        assert!(is_head || has_test, "no test: {row}");
    }
}

#[test]
fn each_option_that_is_named_exists() {
    let mut help = String::new();
    for server in ["echo", "upper", "sink", "chat", "talk"] {
        let output = Command::new(binary()).args([server, "--help"]).output();
        help += &String::from_utf8(output.expect("it runs").stdout).expect("UTF-8");
    }
    let page = page();
    let options = quoted(&page)
        .into_iter()
        .filter(|word| word.starts_with('-'));
    let mut count = 0;
    for option in options.filter_map(|option| option.split(' ').next()) {
        assert!(help.contains(option), "no server has {option}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}
