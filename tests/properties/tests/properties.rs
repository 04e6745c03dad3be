//! The properties hold for random inputs, and for every input of the corpus.

use std::fs;
use std::path::Path;

use properties::ALL;
use proptest::prelude::*;
use proptest::sample::select;

/// Words with a meaning for one of the parsers.
const WORDS: [&str; 46] = [
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\0",
    " ",
    "/",
    "//",
    "/msg ",
    "/nick ",
    "/join ",
    "/quit",
    "name1",
    "\u{1b}",
    "\u{1b}[",
    "\u{1b}[200~",
    "\u{1b}[201~",
    "\u{1b}[A",
    "\u{1b}[5;7R",
    "\u{7f}",
    "\u{9b}",
    "é",
    "漢",
    "👩\u{200d}🚀",
    "\u{301}",
    "\u{202e}",
    "tcp://",
    "udp://",
    "unix:",
    "[::1]",
    "%lo",
    "127.0.0.1",
    "localhost",
    ":",
    "9876",
    "@",
    "echo\n",
    "chat\n",
    "load\n",
    "--idle-timeout=",
    "--",
    "5s",
    "64KiB",
    "[eabcn5] ",
    "GET / HTTP/1.1\r\nHost: localhost\r\n",
    "\r\n\r\n",
];

/// The bytes of a character without the last `cut` of them.
fn all_but(char: char, cut: usize) -> Vec<u8> {
    let mut bytes = char.to_string().into_bytes();
    bytes.truncate(bytes.len() - cut);
    bytes
}

/// Bytes with many of the words and characters that the parsers look for.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        3 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (any::<char>(), 0..2_usize).prop_map(|(char, cut)| all_but(char, cut)),
        1 => prop::collection::vec(245..=255_u8, 1..4),
        1 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => (select(&WORDS[..]), 1..40_usize).prop_map(|(word, count)| word.repeat(count).into_bytes()),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// Runs the property of a name with random inputs and its corpus.
fn holds(name: &str) {
    let find = |(other, _): &&(&str, fn(&[u8]))| *other == name;
    let (_, property) = ALL.iter().find(find).expect("a property of this name");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let files =
        fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut count = 0;
    for file in files {
        let path = file.expect("a file").path();
        let bytes = fs::read(&path).expect("a file");
        eprintln!("{}", path.display());
        property(&bytes);
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
    proptest!(|(input in input())| property(&input));
}

/// Makes a test of each property.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                holds(stringify!($name));
            }
        )*

        #[test]
        fn every_property_is_tested_and_has_a_fuzz_target() {
            let tested = [$(stringify!($name)),*];
            let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
            for (name, _) in ALL {
                assert!(tested.contains(&name), "{name}");
                let target = targets.join(name).with_extension("rs");
                let target = fs::read_to_string(target).expect("a fuzz target");
                assert!(target.contains(&format!("properties::{name}(input)")), "{name}");
            }
            let count = fs::read_dir(targets).expect("fuzz targets").count();
            assert_eq!(count, ALL.len());
        }
    };
}

tests! {
    address,
    chat,
    command_line,
    editor,
    harmless_text,
    lines,
    load_chat,
    load_echo,
    servers,
    telnet,
    values,
    web,
}
