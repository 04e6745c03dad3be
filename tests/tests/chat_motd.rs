//! The message of the day: a file or a text, shown to each new member as harmless lines.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::tempdir;
use tests::chat::Guest;
use tests::server::Launch;

fn chat(motd: &str) -> Launch {
    Launch::new("chat", &["127.0.0.1:0"]).args(&["--motd", motd])
}

/// Checks that a new member is shown exactly these lines after the list of members.
fn shows(motd: &str, lines: &[&str]) {
    let server = chat(motd).start();
    let mut ann = Guest::join(server.tcp(), "ann");
    lines.iter().for_each(|line| ann.hears(line));
    let _bob = Guest::join(server.tcp(), "bob");
    // The next line is another event, so no other line was shown.
    ann.hears("* bob has entered the room");
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_file_of_any_encoding_is_made_harmless() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("message");
    for (content, lines) in [
        ("Le café ouvre.\n".as_bytes(), &["* Le café ouvre."][..]),
        (b"Le caf\xe9 ouvre.\n", &["* Le caf\u{fffd} ouvre."]),
        (b"\xef\xbb\xbfone\r\ntwo\r\n", &["* one", "* two"]),
        (b"one\rtwo\r", &["* one", "* two"]),
        (b"\xff\xfeo\0n\0e\0", &["* \u{fffd}\u{fffd}one"]),
        (b"\x1b[2J\x07\0hello", &["* [2Jhello"]),
        (b"", &[]),
    ] {
        fs::write(&file, content).expect("write");
        shows(name(&file), lines);
    }
}

#[test]
fn a_text_is_one_that_names_no_file() {
    for text in [
        "welcome",
        "Rules: https://example.org/rules",
        "Mondays and/or Fridays",
        "It ends with a stop.",
    ] {
        shows(text, &[&format!("* {text}")]);
    }
    shows("one\r\ntwo \x1b[31mred", &["* one", "* two [31mred"]);
    shows("", &[]);
    // Longer than any file name can be.
    let long = "long ".repeat(500);
    shows(&long, &[&format!("* {long}")]);
}

/// A path is never shown as a text: if the file cannot be read, the server does not start.
#[test]
fn a_file_that_cannot_be_read_ends_the_start() {
    let directory = tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("motd.d")).expect("mkdir");
    symlink(at("nowhere"), at("dangling")).expect("symlink");
    symlink(at("loop"), at("loop")).expect("symlink");
    fs::write(at("large"), vec![b'x'; 1024 * 1024 + 1]).expect("write");
    fs::write(at("file"), "").expect("write");
    let absent = "No such file or directory";
    let missing = format!("{absent} (a text that looks like a path can stand in a file)");
    for (path, why) in [
        (at("motd.d"), "Is a directory"),
        (at("dangling"), absent),
        (at("loop"), "Too many symbolic links encountered"),
        (at("missing"), &missing),
        (
            at("file/beneath"),
            "Not a directory (a text that looks like a path can stand in a file)",
        ),
        ("~/no-such-motd".into(), &missing),
        ("no-such-motd.txt".into(), &missing),
        ("/dev/zero".into(), "has more than 1 MiB"),
        (at("large"), "has more than 1 MiB"),
    ] {
        let finished = chat(name(&path)).run();
        let path = name(&path);
        let gap = if why.starts_with("has ") { " " } else { ": " };
        let expected = format!("edgeloop: cannot read the message of the day {path}{gap}{why}\n");
        assert_eq!((finished.code, finished.stderr), (1, expected));
    }
}

/// The shell's `<(command)` is a FIFO.
#[test]
fn a_fifo_is_read_at_the_start() {
    let directory = tempdir().expect("a temporary directory");
    let fifo = directory.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).expect("mkfifo");
    let path = fifo.clone();
    let writer = thread::spawn(move || {
        let mut fifo = File::options().write(true).open(path).expect("a reader");
        fifo.write_all(b"from a\n").expect("it is read");
        fifo.write_all(b"command\n").expect("it is read");
    });
    shows(name(&fifo), &["* from a", "* command"]);
    writer.join().expect("it does not panic");
}
