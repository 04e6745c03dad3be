//! Line ends and erased characters: terminals that send each key as it is pressed can be used.

use std::thread;

use tests::chat::{Guest, chat};
use tests::client::dial;

/// Bytes that a member sends, and the lines that others read.
const LINES: &[(&[u8], &[&str])] = &[
    (b"one\rtwo\r", &["one", "two"]),
    (b"three\r\nfour\r\0", &["three", "four"]),
    (b"fife\x08\x7fve\r\n", &["five"]),
    ("ä\x08é\u{7f}\u{1f469}\x08six\r".as_bytes(), &["six"]),
    (b"\x7f\x7fse\x08\x08\x08seven\n", &["seven"]),
    (b"\r\n\r\n\n\r\r \t\r\n", &[]),
    (b"eight\r\xff\xf1\n", &["eight"]),
    (b"nine\n\rten\n", &["nine", "ten"]),
];

#[test]
fn key_by_key() {
    let server = chat(&[]).start();
    let mut ann = Guest::join(server.tcp(), "ann");
    // The lines must not depend on how the bytes are split into segments.
    for size in [1, 2, usize::MAX] {
        let name = format!("bob{}", size.min(9));
        let mut bob = Guest::on(dial(server.tcp()));
        for key in format!("{name}x\x7f\r").as_bytes().chunks(size.min(64)) {
            bob.send(key);
            thread::yield_now();
        }
        assert!(bob.next().starts_with("* The room "));
        ann.hears(&format!("* {name} has entered the room"));
        for (bytes, lines) in LINES {
            for keys in bytes.chunks(size.min(64)) {
                bob.send(keys);
                thread::yield_now();
            }
            for line in *lines {
                ann.hears(&format!("[{name}] {line}"));
            }
        }
        bob.send(b"unfinished\x08\x08");
        bob.end();
        ann.hears(&format!("[{name}] unfinish"));
        ann.hears(&format!("* {name} has left the room"));
    }
}

#[test]
fn plain_takes_bytes_as_they_come() {
    let server = chat(&["--plain"]).start();
    let [mut ann, bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    // In plain mode the server only removes control characters.
    for (bytes, heard) in [
        (&b"one\rtwo\r\n"[..], "[bob] onetwo"),
        (b"fife\x08\x7fve\n", "[bob] fifeve"),
        (b"\n", "[bob] "),
        (b"  \r\n", "[bob]   "),
    ] {
        bob.send(bytes);
        ann.hears(heard);
    }
}
