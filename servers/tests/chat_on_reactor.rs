//! The chat on a real reactor, for cases that a script cannot play: slots that are reused, input that
//! is paused down to TCP, and peers that do not read.

mod common;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;

use common::{Client, Party, settings};
use edgeloop::chat::Settings;
use edgeloop_reactor::Limits;

/// Sends as much as the kernel takes, and turns the reactor until all is sent.
fn send(party: &mut Party, client: &mut Client, bytes: &[u8]) {
    let mut rest = bytes;
    party.until("all is sent", || {
        match client.stream.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        rest.is_empty()
    });
}

#[test]
fn a_member_in_the_slot_of_an_ignored_one_is_heard() {
    let mut party = Party::new(settings(), Limits::default());
    let mut alice = party.join("alice");
    let bob = party.join("bob");
    assert_eq!(party.next_line(&mut alice), "* bob has entered the room");
    alice.says("/ignore bob");
    party.next_line(&mut alice);
    let slot = bob.id.slot();
    drop(bob);
    assert_eq!(party.next_line(&mut alice), "* bob has left the room");
    let mut carol = party.join("carol");
    assert_eq!(carol.id.slot(), slot, "or this tests nothing");
    party.next_line(&mut alice);
    carol.says("hello");
    assert_eq!(party.next_line(&mut alice), "[carol] hello");
}

/// Lines that are sent at once, with the end of the stream behind them, are said in order and at the
/// member's pace, and then the member leaves.
#[test]
fn what_is_sent_too_fast_waits_in_the_network_and_is_said() {
    const LINES: usize = 20_000;
    let settings = Settings {
        rate: 40_000,
        burst: 100,
        ..settings()
    };
    let mut party = Party::new(settings, Limits::default());
    let mut alice = party.join("alice");
    let mut bob = party.join("bob");
    party.next_line(&mut alice);
    let lines: Vec<String> = (0..LINES)
        .map(|number| format!("line {number}\n"))
        .collect();
    let lines = lines.concat();
    let mut rest = lines.as_bytes();
    let mut heard = 0;
    party.until("all is said", || {
        if let Ok(count) = bob.stream.write(rest) {
            rest = &rest[count..];
            if rest.is_empty() {
                bob.stream.shutdown(Shutdown::Write).unwrap();
            }
        }
        while let Some(line) = alice.line() {
            if heard == LINES {
                assert_eq!(line, "* bob has left the room");
                return true;
            }
            assert_eq!(line, format!("[bob] line {heard}"));
            heard += 1;
        }
        false
    });
}

#[test]
fn a_member_that_has_ended_has_left_even_if_its_output_is_not_read() {
    // Bob's pending output must not hold up the room.
    let limits = Limits {
        high_water: 4 * 1024 * 1024,
        ..Limits::default()
    };
    let mut party = Party::new(settings(), limits);
    let mut alice = party.join("alice");
    let mut bob = party.join("bob");
    party.next_line(&mut alice);
    // More than the kernel buffers for bob, who does not read; the reply to `/who` comes after it.
    let lines = format!("{}\n", "x".repeat(4000)).repeat(200) + "/who\n";
    send(&mut party, &mut alice, lines.as_bytes());
    assert_eq!(party.next_line(&mut alice), "* in lobby (2): alice, bob");
    bob.stream.write_all(b"bye\n").unwrap();
    bob.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(party.next_line(&mut alice), "[bob] bye");
    assert_eq!(party.next_line(&mut alice), "* bob has left the room");
    alice.says("/who");
    assert_eq!(party.next_line(&mut alice), "* in lobby (1): alice");
    let mut other = party.join("bob");
    assert_eq!(party.next_line(&mut alice), "* bob has entered the room");
    // The first bob can still read its pending output, and nothing newer.
    for _ in 0..200 {
        assert!(party.next_line(&mut bob).starts_with("[alice] xxx"));
    }
    alice.says("hello");
    assert_eq!(party.next_line(&mut other), "[alice] hello");
}

#[test]
fn a_member_at_the_hard_limit_is_cut_off_and_the_others_are_told() {
    let limits = Limits {
        high_water: 256 * 1024,
        queue_limit: Some(256 * 1024),
        ..Limits::default()
    };
    let mut party = Party::new(settings(), limits);
    let mut alice = party.join("alice");
    let mut bob = party.join("bob");
    let _stalled = party.join("stalled");
    (0..2).for_each(|_| drop(party.next_line(&mut alice)));
    party.next_line(&mut bob);
    let line = "x".repeat(4000);
    let mut said = 0;
    let told = loop {
        alice.says(&line);
        said += 1;
        let heard = party.next_line(&mut bob);
        if heard.starts_with("* ") {
            break heard;
        }
    };
    assert_eq!(told, "* stalled has left the room");
    assert_eq!(party.stats().closed_slow_consumer, 1);
    assert!(said < 200, "{said} lines of 4,000 bytes");
    assert_eq!(party.next_line(&mut alice), "* stalled has left the room");
}
