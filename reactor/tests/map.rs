//! The map at the front of the crate names every file, so that a reader meets each of them.

use std::fs;
use std::path::Path;

/// Files that the map is made of, or that hold no code.
const NOT_NAMED: [&str; 2] = ["lib.rs", "recipes.rs"];

/// The paths of all Rust files below a folder, from the folder `root` on.
fn files(root: &Path, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(root, &path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let path = path.strip_prefix(root).unwrap();
            found.push(path.to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn the_map_names_every_file_and_no_other() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = fs::read_to_string(source.join("lib.rs")).unwrap();
    let files = files(&source, &source);
    assert!(files.len() > 30, "{files:?}");
    for file in &files {
        let is_named = map.contains(&format!("`{file}`"));
        let is_exception = NOT_NAMED.contains(&file.as_str());
        assert!(is_named != is_exception, "{file} is missing from the map");
    }
    let rows = map.lines().filter(|line| line.starts_with("//! | `"));
    for row in rows.skip_while(|row| !row.contains("poll.rs`,")) {
        let names = row.split('|').nth(1).unwrap().split(", ");
        for name in names.map(|name| name.trim().trim_matches('`')) {
            assert!(files.iter().any(|file| file == name), "there is no {name}");
        }
    }
}
