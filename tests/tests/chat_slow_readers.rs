//! A member that reads is never dropped, however slow its link: backpressure makes the talkers
//! wait. A member that does not read is dropped, and the others are told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tests::chat::{Guest, chat, dial_stingy};
use tests::link::Link;
use tests::process::resident_bytes;
use tests::server::{Launch, Server};
use tests::{MIB, PATIENCE};

/// Bytes of the longest line, and how many such lines the talkers say together.
const LINE: usize = 4096;
const LINES: usize = 1000;

/// A chat in the near namespace, and its port.
fn chat_on(network: &Link, options: &[&str]) -> (Server, u16) {
    let server = Launch::new("chat", &["0.0.0.0:0"])
        .args(options)
        .under(&network.wrapper())
        .start();
    let port = server.tcp().port();
    (server, port)
}

/// A line of the greatest length that begins with its number.
fn long_line(number: usize) -> String {
    format!("{number:08} {}", "x".repeat(LINE - 9))
}

/// Sends the lines with these numbers, each after `before`, in a thread, since backpressure makes
/// it wait. Another thread reads and discards the talker's input. The thread returns the talker
/// once all lines are sent.
fn talk(
    talker: Guest,
    before: &'static str,
    numbers: std::ops::Range<usize>,
) -> thread::JoinHandle<Guest> {
    let mut ear = talker.stream().try_clone().expect("dup");
    thread::spawn(move || while ear.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
    thread::spawn(move || {
        let length = LINE - before.len();
        for number in numbers {
            let line = &long_line(number)[..length];
            patiently(talker.stream(), format!("{before}{line}\n").as_bytes());
        }
        talker
    })
}

/// Writes all bytes, however long the server exerts backpressure.
fn patiently(mut stream: &TcpStream, mut bytes: &[u8]) {
    stream.set_write_timeout(None).expect("SO_SNDTIMEO");
    while !bytes.is_empty() {
        let count = stream.write(bytes).expect("the server accepts the bytes");
        bytes = &bytes[count..];
    }
}

/// Reads `lines` lines of the talkers, and checks that each talker's lines are in order.
/// Announcements do not count.
fn hears_all(listener: &mut Guest, talkers: usize, lines: usize) {
    let mut next = vec![0; talkers];
    let mut heard = 0;
    while heard < lines {
        let line = listener.next();
        if line.starts_with("* ") {
            assert!(!line.contains("left"), "{line}");
            continue;
        }
        let (name, words) = line.split_once("] ").expect("a line of a talker's");
        let name = name.trim_end_matches(" to you").trim_start_matches("[t");
        let talker: usize = name.parse().expect("a number");
        let number: usize = words[..8].parse().expect("a number");
        assert_eq!(number, next[talker], "of t{talker}");
        assert!(words.len() > LINE - 100);
        next[talker] += 1;
        heard += 1;
    }
}

/// Several members say a thousand lines together. One member reads them over a slow link, another
/// one at full speed.
fn many_long_lines(talkers: usize, before: &'static str) {
    let Some(network) = Link::shaped("8mbit") else {
        return;
    };
    let (server, port) = chat_on(&network, &[]);
    let mut slow = Guest::on(network.dial_far(port)).joined("slow");
    let mut near = Guest::on(network.dial_near(port)).joined("near");
    let baseline = resident_bytes(server.pid());
    let talking: Vec<_> = (0..talkers)
        .map(|number| Guest::on(network.dial_near(port)).joined(&format!("t{number}")))
        .map(|talker| talk(talker, before, 0..LINES / talkers))
        .collect();
    if before.is_empty() {
        let near = thread::spawn(move || {
            hears_all(&mut near, talkers, LINES);
            near
        });
        hears_all(&mut slow, talkers, LINES);
        let _near = near.join().expect("all is heard");
    } else {
        hears_all(&mut slow, talkers, LINES);
    }
    let growth = resident_bytes(server.pid()).saturating_sub(baseline);
    assert!(growth < 4 * MIB, "{growth} bytes");
    assert_eq!(server.stats().get("closed_slow_consumer"), 0);
    for talker in talking {
        drop(talker.join().expect("all is said"));
    }
}

#[test]
fn one_member_says_a_thousand_long_lines() {
    many_long_lines(1, "");
}

#[test]
fn twenty_members_say_a_thousand_long_lines() {
    many_long_lines(20, "");
}

#[test]
fn a_thousand_long_lines_are_said_to_one_member() {
    many_long_lines(1, "/msg slow ");
}

/// No line is lost without a rate limit and with small buffers either.
#[test]
fn members_with_small_buffers_hear_everything() {
    let server = chat(&["--rate", "0", "--high-water", "32KiB"]).start();
    let listeners: Vec<_> = (0..3)
        .map(|number| Guest::on(dial_stingy(server.tcp())).joined(&format!("slow{number}")))
        .collect();
    let talker = Guest::join(server.tcp(), "t0");
    let talking = talk(talker, "", 0..LINES);
    let hearing = listeners.into_iter().map(|mut listener| {
        thread::spawn(move || {
            hears_all(&mut listener, 1, LINES);
            listener
        })
    });
    let hearing: Vec<_> = hearing.collect();
    for listener in hearing {
        drop(listener.join().expect("all is heard"));
    }
    drop(talking.join().expect("all is said"));
    assert_eq!(server.stats().get("closed_slow_consumer"), 0);
}

/// Reads `rate` bytes a second until the connection or the test ends, on average: it catches up
/// after it has slept too long.
fn read_slowly(listener: Guest, rate: usize) {
    thread::spawn(move || {
        let (begun, mut read) = (Instant::now(), 0);
        loop {
            thread::sleep(Duration::from_millis(100));
            let due = (begun.elapsed().as_secs_f64() * rate as f64) as usize;
            let mut piece = vec![0; due.saturating_sub(read).max(1)];
            match listener.stream().read(&mut piece) {
                Ok(count @ 1..) => read += count,
                _ => return,
            }
        }
    });
}

/// The minimum rate, averaged over 30 s, decides alone, since the stall timeout is out of reach.
/// The other members are told the names of the dropped ones, also while their room is behind.
#[test]
fn a_member_that_accepts_the_minimum_rate_stays_and_one_that_does_not_goes() {
    let options = ["--high-water", "16KiB", "--stall-timeout", "1h"];
    let server = chat(&options).start();
    let join_slowly = |name| Guest::on(dial_stingy(server.tcp())).joined(name);
    let _deaf = join_slowly("deaf");
    read_slowly(join_slowly("steady"), 10_000);
    read_slowly(join_slowly("lagging"), 1_000);
    let talker = Guest::join(server.tcp(), "talker");
    let mut near = Guest::join(server.tcp(), "near");
    thread::spawn(move || {
        let line = format!("{}\n", "x".repeat(1000));
        talker
            .stream()
            .set_write_timeout(None)
            .expect("SO_SNDTIMEO");
        // The write fails when the test ends the connection.
        while talker.stream().write_all(line.as_bytes()).is_ok() {}
    });
    let deadline = Instant::now() + 4 * PATIENCE;
    let mut left = Vec::new();
    while left.len() < 2 {
        assert!(Instant::now() < deadline, "only {left:?}");
        let line = near.next();
        if line.starts_with("* ") && line.ends_with(" left the room") {
            left.push(line);
        }
    }
    left.sort_unstable();
    let expected = ["* deaf has left the room", "* lagging has left the room"];
    assert_eq!(left, expected);
    near.say("/msg steady are you there?");
    near.hears_at_last("[you to steady] are you there?");
    assert_eq!(server.stats().get("closed_slow_consumer"), 2);
}

/// The message of the day is far larger than the high-water mark.
#[test]
fn a_long_message_of_the_day() {
    let Some(network) = Link::shaped("8mbit") else {
        return;
    };
    let lines =
        (0..20_000).map(|number| format!("{number} this is line number {number}, and more\n"));
    let message: String = lines.collect();
    assert!(message.len() > MIB * 3 / 4);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("motd");
    std::fs::write(&path, &message).expect("a file");
    let (server, port) = chat_on(&network, &["--motd", path.to_str().expect("UTF-8")]);
    let baseline = resident_bytes(server.pid());
    let mut near = Guest::on(network.dial_near(port)).joined("near");
    let due: Vec<String> = message.lines().map(|line| format!("* {line}")).collect();
    due.iter().for_each(|line| near.hears(line));
    let mut slow: Vec<Guest> = (0..3)
        .map(|number| Guest::on(network.dial_far(port)).joined(&format!("slow{number}")))
        .collect();
    // Lines of other members come between those of the message. A new member's own lines wait until
    // it has read the message.
    near.say("hello");
    slow[0].say("hello, too");
    for newcomer in &mut slow {
        let (mut said, mut next) = (0, due.iter());
        while next.len() > 0 {
            match newcomer.next() {
                line if line == "[near] hello" => said += 1,
                line if line.ends_with("entered the room") || line.starts_with("[slow") => {}
                line => assert_eq!(Some(&line), next.next()),
            }
        }
        assert_eq!(said, 1);
    }
    near.hears_at_last("[slow0] hello, too");
    let growth = resident_bytes(server.pid()).saturating_sub(baseline);
    assert!(growth < 4 * MIB, "{growth} bytes");
}

/// The longest line must fit below the high-water mark of a single member.
#[test]
fn lines_longer_than_the_high_water_mark_are_refused() {
    for options in [
        &["--max-line", "1MiB"][..],
        &["--max-line", "256KiB"],
        &["--high-water", "4KiB"],
        &["--max-line", "2147483648"],
        &["--max-line", "4294967296", "--high-water", "16GiB"],
        &["--max-line", "18446744073709551615"],
    ] {
        let finished = chat(options).run();
        assert_eq!(finished.code, 2, "{options:?}: {finished:?}");
        let complaint = finished.stderr.lines().next().expect("a complaint");
        assert!(complaint.contains("--max-line"), "{complaint}");
    }
    let server = chat(&["--max-line", "1MiB", "--high-water", "2MiB"]).start();
    let [talker, mut ann] = Guest::join_all(server.tcp(), ["talker", "ann"]);
    let line = "x".repeat(MIB);
    talker.say(&line);
    assert!(ann.next() == format!("[talker] {line}"));
}

/// When a member's connection is reset, its backlog of unread lines is dropped. Here the backlog
/// would have taken hours.
#[test]
fn a_member_that_is_reset_is_gone_with_its_backlog() {
    let server = chat(&["--rate", "1", "--burst", "1"]).start();
    let [ann, leaver, mut bob] = Guest::join_all(server.tcp(), ["ann", "leaver", "bob"]);
    leaver.send(b"x\n".repeat(64 * 1024));
    bob.hears_at_last("[leaver] x");
    leaver.reset();
    bob.hears_at_last("* leaver has left the room");
    ann.say("so it is");
    bob.hears("[ann] so it is");
}
