//! Hostile members: whatever bytes they send, the other members see only text, and the server
//! neither fails nor uses more memory.
//!
//! [`Guest`] checks that each line it reads is UTF-8 and harmless to a terminal.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use tempfile::tempdir;

use tests::MIB;
use tests::chat::{Guest, assert_harmless, chat};
use tests::client::dial;
use tests::process::resident_bytes;

/// Bytes within a line that are commands to a terminal or are not text. The byte 255 begins a
/// Telnet command, and stands for itself when doubled; CR, BS and DEL are keys (`chat_keys.rs`).
const PATTERNS: [&[u8]; 23] = [
    b"\x1b[2J\x1b[H",
    b"\x1b]0;a title\x07",
    b"\x1bc",
    b"\x1bPq\x1b\\",
    b"\x1b_text\x1b\\",
    b"\x1b[6n",
    b"\x9b31m",
    b"\x90q\x9c",
    b"\xc2\x9b31m",
    b"\xc2\x85",
    b"\x07",
    b"\x0b\x0c",
    b"\x0e\x0f",
    b"\0\0",
    b"\xff\xff\xfe",
    b"\xc0\xaf\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80\xbf",
    "\u{202e}gpj.exe".as_bytes(),
    "\u{2066}x\u{200f}".as_bytes(),
    "\u{2028}[root] x\u{2029}".as_bytes(),
];

/// A pattern within a line.
fn around(pattern: &[u8]) -> Vec<u8> {
    [b"before ", pattern, b" after"].concat()
}

#[test]
fn lines_of_a_hostile_member() {
    let directory = tempdir().expect("a temporary directory");
    let transcript = directory.path().join("transcript");
    let path = transcript.to_str().expect("a path in UTF-8");
    let options = ["-vv", "--history", "1000", "--transcript", path];
    let mut server = chat(&options).start();
    let [mut listener, mallory] = Guest::join_all(server.tcp(), ["listener", "mallory"]);
    for pattern in PATTERNS {
        let words = around(pattern);
        mallory.say(&words);
        let heard = listener.next();
        assert!(heard.starts_with("[mallory] before "), "{heard:?}");
        assert!(heard.ends_with(" after"), "{heard:?}");
        mallory.say([b"/msg listener ", &words[..]].concat());
        let heard = listener.next();
        assert!(heard.starts_with("[mallory to you] before "), "{heard:?}");
        mallory.say([b"/me ", &words[..]].concat());
        assert!(listener.next().contains("mallory before "));
        for command in ["/msg ", "/nick ", "/join ", "/ignore ", "/"] {
            mallory.say([command.as_bytes(), pattern].concat());
        }
        let mut newcomer = Guest::join(server.tcp(), "newcomer");
        listener.hears("* newcomer has entered the room");
        newcomer.say([b"/quit ", &words[..]].concat());
        assert!(listener.next().starts_with("* newcomer has left the room"));
        assert!(newcomer.rest().len() < 1000);
    }
    let mut mallory = mallory;
    mallory.say("/quit");
    let answers = mallory.rest();
    assert!(answers.len() > PATTERNS.len(), "{answers:?}");
    listener.hears("* mallory has left the room");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    server.stderr().text().lines().for_each(assert_harmless);
    let transcript = fs::read_to_string(transcript).expect("UTF-8");
    assert!(transcript.lines().count() >= 2 * PATTERNS.len());
    transcript.lines().for_each(assert_harmless);
}

/// The reasons for which the server refuses a name. No other member is told of a refusal.
const REASONS: [&str; 5] = [
    "* a name needs at least one letter or digit",
    "* a name has letters and digits only",
    "* a name has 32 characters at the most",
    "* this name is taken",
    "* a name has no characters that cannot be seen",
];

#[test]
fn names() {
    let spaces = [" ", "two words", " two\twords ", "two\u{a0}words"];
    let others = [
        "a_b",
        "a-b",
        "#bob",
        "[bob]",
        "*",
        "/who",
        "bob,",
        "\u{1f600}",
        "\u{200b}",
    ];
    let too_long = ["x".repeat(33), "x".repeat(5000), "x".repeat(MIB)];
    let patterns = PATTERNS
        .into_iter()
        .flat_map(|pattern| [pattern.to_vec(), [b"bob", pattern].concat()]);
    let texts = ["", "ann"].into_iter().chain(spaces).chain(others);
    let texts = texts
        .map(str::to_owned)
        .chain(too_long)
        .map(String::into_bytes);
    let illegal: Vec<Vec<u8>> = texts.chain(patterns).collect();
    for options in [&[][..], &["--unicode-names"]] {
        let server = chat(options).start();
        let mut ann = Guest::join(server.tcp(), "ann");
        for name in &illegal {
            let mut stranger = Guest::knock(server.tcp());
            // The server may close the connection before a long name is sent.
            let _ = stranger
                .stream()
                .write_all(&[name, &b"\nand a line\n"[..]].concat());
            let reason = stranger.next();
            assert!(REASONS.contains(&reason.as_str()), "{name:?}: {reason:?}");
            stranger.hears_the_end();
        }
        // The option decides whether these names are legal.
        for name in ["\u{e9}", "\u{5c0f}\u{660e}", "\u{41e}\u{43b}\u{44f}"] {
            let mut stranger = Guest::knock(server.tcp());
            stranger.say(name);
            if options.is_empty() {
                stranger.hears(REASONS[1]);
                stranger.hears_the_end();
            } else {
                stranger.hears("* The room contains: ann");
                ann.hears(&format!("* {name} has entered the room"));
                stranger.end();
                ann.hears(&format!("* {name} has left the room"));
            }
        }
        let longest = "x".repeat(32);
        let _last = Guest::join(server.tcp(), &longest);
        ann.hears(&format!("* {longest} has entered the room"));
        server.stderr().text().lines().for_each(assert_harmless);
    }
}

/// A client without a name reads no lines of the room, and the members are told neither of its
/// arrival nor of its end.
#[test]
fn strangers() {
    let server = chat(&[]).start();
    let stays = Guest::knock(server.tcp());
    let goes = Guest::knock(server.tcp());
    let breaks_off = Guest::knock(server.tcp());
    let is_not_done = Guest::knock(server.tcp());
    is_not_done.send("bo");
    let [ann, mut eve] = Guest::join_all(server.tcp(), ["ann", "eve"]);
    ann.say("not for strangers");
    eve.hears("[ann] not for strangers");
    goes.end();
    let mut goes = goes;
    assert_eq!(goes.rest().len(), 0);
    breaks_off.reset();
    server.stats_until("they are gone", |stats| stats.get("connections") == 4);
    let _stays = stays.joined("late");
    eve.hears("* late has entered the room");
    is_not_done.send("b\n");
    eve.hears("* bob has entered the room");
}

#[test]
fn lines_without_end() {
    let server = chat(&[]).start();
    let [mut listener, mut mallory] = Guest::join_all(server.tcp(), ["listener", "mallory"]);
    let before = resident_bytes(server.pid());
    for (byte, count) in [("x", 10 * MIB), ("\0", MIB), ("\u{1b}", MIB)] {
        mallory.send(byte.repeat(count));
        mallory.say("");
        mallory.hears("* your line was cut after 4096 bytes");
        // The other bytes are removed, so the line would be empty.
        if byte == "x" {
            let heard = listener.next();
            assert!(
                heard == format!("[mallory] {}", "x".repeat(4096)),
                "{heard:.100?}"
            );
        }
        mallory.say("that is all");
        listener.hears("[mallory] that is all");
    }
    // Each invalid byte becomes a character of three bytes.
    mallory.send(b"\x80".repeat(MIB));
    mallory.say("");
    listener.hears(&format!("[mallory] {}", "\u{fffd}".repeat(4096)));
    // A client without a name gets no more memory either.
    let stranger = dial(server.tcp());
    let _ = (&stranger).write_all(&vec![b'x'; 10 * MIB]);
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    assert!(growth < 2 * MIB, "{growth} bytes");
}

const IAC: u8 = 255;

/// Sends these bytes, then a line. Returns the lines that the listener reads before that line.
fn flood(listener: &mut Guest, mut mallory: &TcpStream, bytes: &[u8]) -> Vec<String> {
    let all = [bytes, b"\nthat is all\n"].concat();
    mallory.write_all(&all).expect("the server takes it");
    listener.hears_at_last("[mallory] that is all")
}

#[test]
fn floods_of_telnet() {
    let server = chat(&[]).start();
    let mut listener = Guest::join(server.tcp(), "listener");
    let mut mallory = dial(server.tcp());
    mallory
        .write_all(b"mallory\n")
        .expect("the server takes it");
    listener.hears("* mallory has entered the room");
    let before = resident_bytes(server.pid());

    // A newline is never an option.
    let options = (0..=255).filter(|option| *option != b'\n');
    let every_option: Vec<u8> = options
        .flat_map(|option| [IAC, 253, option, IAC, 251, option])
        .collect();
    for commands in [
        b"\xff\xfd\x01".repeat(MIB),
        b"\xff\xfb\x01".repeat(MIB),
        every_option.repeat(1000),
        b"\xff\xfc\x01\xff\xfe\x01".repeat(MIB),
        b"\xff\xf6".repeat(MIB),
        b"\xff\xfa\x18\x01\xff\xf0".repeat(100_000),
    ] {
        let heard = flood(&mut listener, &mallory, &commands);
        assert_eq!(heard, [""; 0], "after {:x?}", &commands[..6]);
    }
    // A subnegotiation that never ends, and a doubled byte 255, become text in the end.
    for text in [
        b"\xff\xff".repeat(MIB),
        [b"\xff\xfa".to_vec(), vec![b'x'; MIB]].concat(),
        [b"\xff\xfa".to_vec(), vec![IAC; MIB], b"\xff\xf0".to_vec()].concat(),
    ] {
        let heard = flood(&mut listener, &mallory, &text);
        assert_eq!(heard.len(), 1, "after {:x?}", &text[..6]);
    }
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    assert!(growth < 2 * MIB, "{growth} bytes");

    mallory.write_all(b"/quit\n").expect("the server takes it");
    let mut answers = Vec::new();
    mallory.read_to_end(&mut answers).expect("the end");
    // At most a refusal of every possible offer and request, and a few lines.
    assert!(answers.len() < 2 * 3 * 256 + 1000, "{}", answers.len());
}

/// Each line of a storm is delivered, and the server's memory does not grow with their number.
#[test]
fn a_storm_of_short_lines() {
    const LINES: usize = 100_000;
    // The high-water mark is above the size of all lines.
    let server = chat(&["--rate", "0", "--high-water", "4MiB"]).start();
    let [mut listener, mallory] = Guest::join_all(server.tcp(), ["listener", "mallory"]);
    let before = resident_bytes(server.pid());
    mallory.send(b"x\n".repeat(LINES));
    for _ in 0..LINES {
        listener.hears("[mallory] x");
    }
    mallory.say("that is all");
    listener.hears("[mallory] that is all");
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    assert!(growth < 8 * MIB, "{growth} bytes");
}
