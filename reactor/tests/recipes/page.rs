//! The page `edgeloop_reactor::recipes` shows parts of the programs: each is there as it is shown.

use std::fs;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Lines without their indentation, which differs between the page and the program.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn every_recipe_is_on_the_page_with_code_that_is_in_the_program() {
    let page = fs::read_to_string(path("src/recipes.md")).unwrap();
    let directory = path("examples/recipes");
    let mut shown = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let program = fs::read_to_string(directory.join(&file)).unwrap();
        let name = file.strip_suffix(".rs").unwrap();
        let section = page
            .split("\n## ")
            .skip(1)
            .find(|part| part.contains(&format!("`{name}`")));
        let section = section.unwrap_or_else(|| panic!("{name} is not on the page"));
        let mut blocks = section.split("```");
        let mut found = 0;
        while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
            let (kind, code) = block.split_once('\n').unwrap();
            if kind != "rust,ignore" {
                continue;
            }
            let (code, program) = (lines(code.trim_end()), lines(&program));
            let is_there = program.windows(code.len()).any(|part| part == code);
            assert!(is_there, "{file} has no such lines: {code:#?}");
            found += 1;
        }
        assert!(found > 0, "no code of {name} on the page");
        shown += found;
    }
    assert_eq!(
        page.matches("```rust,ignore").count(),
        shown,
        "code of no recipe"
    );
}
