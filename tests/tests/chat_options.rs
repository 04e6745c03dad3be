//! Each option of the chat does what its help says.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::tempdir;

use tests::chat::{Guest, chat, hear_all};
use tests::client::{dial_from, fill};
use tests::process::resident_bytes;
use tests::program::Program;
use tests::server::Launch;
use tests::{MIB, until};

#[test]
fn wrong_command_lines() {
    let wrong: &[&[&str]] = &[
        &["--model", "fork"],
        &["--model", "thread"],
        &["udp://127.0.0.1:0"],
        &["--rate", "-1"],
        &["--rate", "fast"],
        &["--burst", "x"],
        &["--history", "all"],
        &["--max-line", "long"],
        &["--login-timeout", "soon"],
        &["--operator=maybe"],
        &["--answer-low-ports"],
    ];
    for arguments in wrong {
        let finished = Launch::new("chat", &[]).args(arguments).run();
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        assert!(finished.stderr.starts_with("error: "), "{finished:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
    let finished = Launch::new("chat", &[]).args(&["--help"]).run();
    assert_eq!(finished.code, 0);
    let options = "--max-line --rate --burst --history --motd --login-timeout --max-per-ip \
                   --unicode-names --plain --operator --transcript EDGELOOP_";
    for option in options.split(' ') {
        assert!(finished.stdout.contains(option), "no {option}");
    }
}

#[test]
fn login_timeout() {
    let server = chat(&["--login-timeout", "500ms"]).start();
    let began = Instant::now();
    let mut silent = Guest::knock(server.tcp());
    let mut joined = Guest::join(server.tcp(), "joined");
    let mut slow = Guest::knock(server.tcp());
    slow.send("slo");
    for guest in [&mut silent, &mut slow] {
        guest.hears("* you gave no name in time");
        guest.hears_the_end();
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "too early");
    // A member with a name may be silent.
    let other = Guest::join(server.tcp(), "other");
    joined.hears("* other has entered the room");
    drop(other);
    joined.hears("* other has left the room");
}

#[test]
fn connections_per_address() {
    let server = chat(&["--max-per-ip", "2"]).start();
    let from = |host| dial_from(Ipv4Addr::new(127, 0, 6, host), server.tcp());
    let [mut ann, _bob] = ["ann", "bob"].map(|name| Guest::on(from(1)).joined(name));
    ann.hears("* bob has entered the room");
    let refused = |stream: TcpStream| {
        // A refused client reads the reason and no question.
        let mut told = String::new();
        std::io::Read::read_to_string(&mut &stream, &mut told).expect("a reason and the end");
        assert_eq!(told, "* too many connections from your address\n");
    };
    refused(from(1));
    let _carol = Guest::on(from(2)).joined("carol");
    ann.hears("* carol has entered the room");
    // A client without a name counts, too.
    let stranger = Guest::on(from(2));
    refused(from(2));
    drop(stranger);
    until("there is room for another", || {
        let mut asked = String::new();
        let mut lines = std::io::BufReader::new(from(2));
        std::io::BufRead::read_line(&mut lines, &mut asked).expect("a line");
        asked.starts_with("Welcome")
    });
}

#[test]
fn message_of_the_day() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("motd");
    fs::write(&file, "The room is open until ten.\nBe kind.\n").expect("a file");
    let path = file.to_str().expect("a path in UTF-8");
    for (motd, lines) in [
        (path, &["* The room is open until ten.", "* Be kind."][..]),
        ("be kind", &["* be kind"]),
    ] {
        let server = chat(&["--motd", motd]).start();
        let mut ann = Guest::join(server.tcp(), "ann");
        lines.iter().for_each(|line| ann.hears(line));
        let mut bob = Guest::join(server.tcp(), "bob");
        lines.iter().for_each(|line| bob.hears(line));
        ann.hears("* bob has entered the room");
    }
    let server = chat(&[]).env("EDGELOOP_MOTD", "from outside").start();
    Guest::join(server.tcp(), "ann").hears("* from outside");
}

/// Reads so many lines of the history, without their ages.
fn past(guest: &mut Guest, lines: usize) -> Vec<String> {
    let lines = (0..lines).map(|_| guest.next());
    let without_age = |line: String| {
        let (age, line) = line.split_once(" ago ").expect("an age");
        let seconds = age.strip_prefix("* ").and_then(|age| age.strip_suffix('s'));
        let seconds = seconds.and_then(|seconds| seconds.parse::<u8>().ok());
        assert!(seconds.is_some(), "{age:?}");
        line.to_owned()
    };
    lines.map(without_age).collect()
}

#[test]
fn history() {
    let server = chat(&["--history", "3"]).start();
    let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    for word in ["one", "two", "three", "four"] {
        ann.say(word);
        bob.hears(&format!("[ann] {word}"));
    }
    let mut carol = Guest::join(server.tcp(), "carol");
    bob.hears("* carol has entered the room");
    assert_eq!(
        past(&mut carol, 3),
        ["[ann] two", "[ann] three", "[ann] four"]
    );
    // A new line comes once, after the history.
    bob.say("five");
    carol.hears("[bob] five");
    // Each room has its own history.
    carol.say("/join attic");
    carol.hears("* you are in attic now");
    carol.hears("* The room is empty");
    carol.say("all alone");
    carol.say("/join lobby");
    carol.hears("* you are in lobby now");
    carol.hears("* The room contains: ann, bob");
    assert_eq!(
        past(&mut carol, 3),
        ["[ann] three", "[ann] four", "[bob] five"]
    );
}

/// A flood is delivered whole and in order, but no faster than `--rate`, and it does not delay the
/// other members.
#[test]
fn rate() {
    const LINES: usize = 1_500;
    let server = chat(&["--rate", "500", "--burst", "10"]).start();
    let names = ["flooder", "ann", "bob"];
    let [flooder, mut ann, mut bob] = Guest::join_all(server.tcp(), names);
    let began = Instant::now();
    let lines: Vec<String> = (0..LINES).map(|line| line.to_string()).collect();
    flooder.say(lines.join("\n"));
    let mut flood = Vec::new();
    for _ in 0..5 {
        ann.say("are you there?");
        flood.extend(bob.hears_at_last("[ann] are you there?"));
        bob.say("yes");
        ann.hears_at_last("[bob] yes");
    }
    assert!(flood.len() < LINES, "all of the flood came first");
    flood.extend((flood.len()..LINES).map(|_| bob.next()));
    let due = lines.iter().map(|line| format!("[flooder] {line}"));
    assert!(due.eq(flood), "not what was said");
    let least = Duration::from_secs(LINES as u64 / 500).saturating_sub(Duration::from_millis(300));
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
}

/// The server does not read lines that exceed the rate: they wait in the kernel, and so at the
/// flooder.
#[test]
fn a_flood_that_has_to_wait_costs_no_memory() {
    let server = chat(&["--rate", "1", "--burst", "1"]).start();
    let [flooder, mut ann, bob] = Guest::join_all(server.tcp(), ["flooder", "ann", "bob"]);
    let before = resident_bytes(server.pid());
    let _ = fill(flooder.stream(), b"a line of the flood\n");
    let taken = server.stats().get("bytes_in");
    assert!(taken < MIB as u64, "{taken} bytes were read");
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    assert!(growth < MIB, "{growth} bytes");
    bob.say("the others need not wait");
    ann.hears_at_last("[bob] the others need not wait");
    // A reset flooder's unread lines are dropped. The server notices the reset with the next line.
    flooder.reset();
    bob.say("good riddance");
    ann.hears_at_last("* flooder has left the room");
}

#[test]
fn no_rate() {
    const LINES: usize = 20_000;
    // The high-water mark is above the size of all lines.
    let server = chat(&["--rate", "0", "--high-water", "4MiB"]).start();
    let [talker, mut ann] = Guest::join_all(server.tcp(), ["talker", "ann"]);
    talker.send("so it is\n".repeat(LINES));
    for _ in 0..LINES {
        ann.hears("[talker] so it is");
    }
}

/// Plain mode is Budget Chat and nothing else: a line that begins with a slash is no command.
#[test]
fn plain() {
    let server = chat(&["--plain"]).start();
    let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    for line in ["/who", "//", "/quit", "/msg bob secret", "/", "hello"] {
        ann.say(line);
        bob.hears(&format!("[ann] {line}"));
    }
}

#[test]
fn transcript() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("transcript");
    let path = file.to_str().expect("a path in UTF-8");
    let content = || fs::read_to_string(&file).expect("the transcript");
    for evening in 1..=2 {
        let mut server = chat(&["--transcript", path]).start();
        let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
        ann.say("hello");
        bob.hears("[ann] hello");
        until("it is written without a stop", || {
            content().matches("[ann] hello").count() == evening
        });
        ann.say("/join attic");
        ann.say("na\u{ef}ve");
        ann.say("/msg bob not for the record");
        bob.hears("* ann has left the room");
        bob.hears("[ann to you] not for the record");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
    }
    // The second server has appended to the file. Each line has its time and room.
    let content = content();
    let lines: Vec<(&str, &str)> = content
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let said: Vec<&str> = lines.iter().map(|(_, said)| *said).collect();
    let evening = ["lobby [ann] hello", "attic [ann] na\u{ef}ve"];
    assert_eq!(said, [evening, evening].concat());
    for (time, _) in lines {
        let is_time = time.len() == "2026-01-01T00:00:00Z".len() && time.ends_with('Z');
        assert!(is_time && time.as_bytes()[10] == b'T', "{time:?}");
    }
}

#[test]
fn a_transcript_that_cannot_be_written() {
    let mut server = chat(&["--transcript", "/dev/full"]).start();
    let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    for line in ["one", "two"] {
        ann.say(line);
        bob.hears(&format!("[ann] {line}"));
        server.logs("cannot write the transcript: No space left on device");
    }
    ann.say("and on we go");
    bob.hears("[ann] and on we go");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let finished = chat(&["--transcript", "/no/such/directory/file"]).run();
    assert_eq!(finished.code, 1);
    let complaint = finished.complaint();
    assert!(complaint.contains("/no/such/directory/file: No such file or directory"));
}

/// The operator at the server's terminal (here a pipe) speaks to all members, lists them, and can
/// kick one.
#[test]
fn operator() {
    let mut server = chat(&["--operator"]).stdin(Stdio::piped()).start();
    let terminal = server.stdin();
    let type_line = |line: &str| writeln!(&terminal, "{line}").expect("it is read");
    let names = ["ann", "bob", "carol"];
    let [mut ann, mut bob, mut carol] = Guest::join_all(server.tcp(), names);
    type_line("the room closes at ten");
    hear_all(
        [&mut ann, &mut bob, &mut carol],
        "* operator: the room closes at ten",
    );
    carol.say("/join attic");
    carol.hears("* you are in attic now");
    carol.hears("* The room is empty");
    hear_all([&mut ann, &mut bob], "* carol has left the room");
    type_line("\x1b[31mten minutes\x1b[0m");
    hear_all(
        [&mut ann, &mut bob, &mut carol],
        "* operator: [31mten minutes[0m",
    );
    type_line("/who");
    let lobby = server.prints("lobby (2): ann, bob");
    assert_eq!(server.prints("attic (1): carol"), lobby + 1);
    type_line("/kick bob");
    bob.hears("* you were asked to leave");
    bob.hears_the_end();
    ann.hears("* bob has left the room");
    server.logs("bob has left: kicked by the operator");
    type_line("/kick bob");
    server.prints("nobody has this name");
    // The end of the terminal's input completes its last line, and ends nothing else.
    write!(&terminal, "last words").expect("it is read");
    drop(terminal);
    hear_all([&mut ann, &mut carol], "* operator: last words");
    let _dave = Guest::join(server.tcp(), "dave");
    ann.hears("* dave has entered the room");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// Members of a TCP and of a Unix socket meet in one room.
#[test]
fn a_room_with_two_doors() {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("chat.sock");
    let path = path.to_str().expect("a path in UTF-8");
    let server = Launch::new("chat", &["127.0.0.1:0", &format!("unix:{path}")]).start();
    let mut ann = Guest::join(server.tcp(), "ann");
    let mut bob = Program::start(&["nc", "-N", "-U", path]);
    bob.ask("bob\n", "* The room contains: ann\n");
    ann.hears("* bob has entered the room");
    ann.say("hello");
    bob.shows("[ann] hello\n");
    bob.end_input();
    ann.hears("* bob has left the room");
}
