//! Conversations without sockets.

use edgeloop_reactor::{Script, SystemError};
use nix::errno::Errno;

use super::our_half::QUIET;
use super::*;

const PERSON: bool = true;
const PIPE: bool = false;

fn open(script: &mut Script<Talk>, tag: u64) -> ConnId {
    script.open_as(Opened::new(Peer::Unix, tag))
}

/// A caller that has begun to connect, as the program that runs it does.
fn connecting(screen: Screen, retries: u32) -> Script<Talk> {
    let call = call(retries);
    let address = call.address.clone();
    let mut script = Script::new(Talk::calling(screen, call));
    script.call(|_, out| out.connect(address, PEER));
    script
}

/// Standard input, standard output, and no peer yet.
fn answering(input: bool) -> (Script<Talk>, ConnId, ConnId) {
    let mut script = Script::new(Talk::answering(Screen::for_test(input)));
    let (stdin, stdout) = (open(&mut script, STDIN), open(&mut script, STDOUT));
    (script, stdin, stdout)
}

fn call(retries: u32) -> Call {
    Call {
        address: "127.0.0.1:5678".parse().unwrap(),
        retries,
        patience: Duration::from_secs(30),
    }
}

fn calling(input: bool) -> (Script<Talk>, ConnId, ConnId, ConnId) {
    let mut script = Script::new(Talk::calling(Screen::for_test(input), call(0)));
    let [stdin, stdout, peer] = [STDIN, STDOUT, PEER].map(|tag| open(&mut script, tag));
    (script, stdin, stdout, peer)
}

#[test]
fn both_talk_at_once() {
    let (mut script, stdin, stdout) = answering(PIPE);
    assert!(script.is_paused(stdin), "nobody is there to hear it");
    let peer = open(&mut script, PEER);
    assert!(!script.is_paused(stdin));
    script.data(stdin, b"to the peer\n");
    script.data(peer, b"to the screen\x1b\n");
    script.data(stdin, b"more");
    assert_eq!(script.take_output(peer), b"to the peer\nmore");
    assert_eq!(
        script.take_output(stdout),
        b"to the screen\x1b\n",
        "a file gets every byte as it is"
    );
}

#[test]
fn what_is_typed_while_we_call_waits_for_an_answer() {
    let mut script = Script::new(Talk::calling(Screen::for_test(PERSON), call(0)));
    let stdin = open(&mut script, STDIN);
    assert!(script.is_paused(stdin));
    open(&mut script, PEER);
    assert!(!script.is_paused(stdin));
}

#[test]
fn a_second_caller_is_told_that_we_are_busy_and_the_next_is_welcome() {
    let (mut script, stdin, _) = answering(PIPE);
    let first = open(&mut script, PEER);
    let second = open(&mut script, PEER);
    assert_eq!(script.take_output(second), BUSY);
    assert_eq!(script.closed(second), Some(Closed::Finished));
    script.data(stdin, b"x");
    assert_eq!(script.take_output(first), b"x");
    script.close(first, Closed::Reset);
    assert!(script.is_paused(stdin));
    let third = open(&mut script, PEER);
    script.data(stdin, b"y");
    assert_eq!(script.take_output(third), b"y");
}

/// Regression: a caller that said nothing kept the line busy for as long as it liked.
#[test]
fn a_person_hangs_up_on_a_caller_that_says_nothing_and_the_next_one_is_welcome() {
    let (mut script, stdin, _) = answering(PERSON);
    let silent = open(&mut script, PEER);
    let early = open(&mut script, PEER);
    assert_eq!(script.take_output(early), BUSY);
    script.data(stdin, b"hello?\n//hangup\n/who\n/hangup\nto nobody\n");
    assert_eq!(script.take_output(silent), b"hello?\n/hangup\n/who\n");
    assert!(script.is_half_closed(silent) || script.closed(silent).is_some());
    // The peer keeps its half open, and is heard no more.
    script.data(silent, b"too late\n");
    let next = open(&mut script, PEER);
    script.data(stdin, b"who is there?\n");
    assert_eq!(script.take_output(next), b"who is there?\n");
    assert_eq!(script.closed(next), None);
    script.close(silent, Closed::Reset);
    script.data(stdin, b"and on\n");
    assert_eq!(script.take_output(next), b"and on\n");
}

#[test]
fn only_a_person_that_was_called_hangs_up() {
    let (mut script, stdin, _) = answering(PIPE);
    let peer = open(&mut script, PEER);
    script.data(stdin, b"/hangup\n");
    assert_eq!(
        script.take_output(peer),
        b"/hangup\n",
        "a file is sent as it is"
    );
    let (mut script, stdin, _, peer) = calling(PERSON);
    script.data(stdin, b"/hangup\n");
    assert_eq!(script.take_output(peer), b"/hangup\n", "a chat may know it");
}

#[test]
fn a_caller_who_has_ended_and_is_told_nothing_keeps_nobody_waiting() {
    let (mut script, stdin, _) = answering(PIPE);
    let first = open(&mut script, PEER);
    script.eof(first);
    let second = open(&mut script, PEER);
    assert!(script.closed(first).is_some());
    script.eof(second);
    script.data(stdin, b"half a file");
    let third = open(&mut script, PEER);
    assert_eq!(script.take_output(third), BUSY);
    script.data(stdin, b"the other half");
    assert_eq!(script.take_output(second), b"half a filethe other half");
}

#[test]
fn the_end_of_our_input_ends_our_half_only() {
    let (mut script, stdin, stdout, peer) = calling(PIPE);
    script.data(stdin, b"last words");
    script.eof(stdin);
    assert!(script.is_half_closed(peer));
    script.data(peer, b"still there");
    assert_eq!(script.take_output(stdout), b"still there");
    script.eof(peer);
    assert_eq!(script.closed(peer), Some(Closed::Eof));
    assert_eq!(script.closed(stdout), Some(Closed::Finished));
    assert_eq!(script.protocol().failure(), None);
}

#[test]
fn when_the_peer_ends_first_a_pipe_is_still_sent_to_its_end() {
    let (mut script, stdin, stdout, peer) = calling(PIPE);
    script.eof(peer);
    assert_eq!(script.closed(peer), None);
    script.advance(QUIET / 2);
    script.data(stdin, b"the rest");
    script.advance(QUIET / 2);
    assert_eq!(script.closed(peer), None, "it has said something meanwhile");
    script.eof(stdin);
    assert_eq!(script.closed(peer), Some(Closed::Eof));
    assert_eq!(script.take_output(peer), b"the rest");
    assert!(script.closed(stdout).is_some());
    assert_eq!(script.protocol().failure(), None);
}

#[test]
fn a_pipe_that_is_silent_does_not_hold_a_peer_that_has_gone() {
    let (mut script, _, _, peer) = calling(PIPE);
    script.eof(peer);
    script.high_water(peer, true);
    script.advance(10 * QUIET);
    assert_eq!(script.closed(peer), None, "it is the peer that is slow");
    script.high_water(peer, false);
    script.advance(2 * QUIET);
    assert_eq!(script.closed(peer), Some(Closed::Eof));
    assert_eq!(
        script.protocol().failure(),
        Some("server closed the connection")
    );
}

#[test]
fn a_person_is_told_and_free_to_go_when_the_peer_closes() {
    let (mut script, stdin, stdout, peer) = calling(PERSON);
    script.eof(peer);
    assert_eq!(script.closed(peer), Some(Closed::Eof));
    assert!(script.closed(stdin).is_some() && script.closed(stdout).is_some());
    assert_eq!(script.protocol().failure(), None);
}

#[test]
fn a_person_s_keys_wait_while_the_screen_is_full() {
    for (person, waits) in [(PERSON, true), (PIPE, false)] {
        let (mut script, stdin, stdout, peer) = calling(person);
        script.high_water(stdout, true);
        assert_eq!(script.is_paused(stdin), waits);
        script.high_water(peer, true);
        script.high_water(stdout, false);
        assert!(script.is_paused(stdin), "the peer takes nothing");
        script.high_water(peer, false);
        assert!(!script.is_paused(stdin));
    }
}

#[test]
fn who_comes_while_the_screen_is_full_is_served_all_the_same() {
    let (mut script, stdin, stdout) = answering(PERSON);
    script.high_water(stdout, true);
    for _ in 0..1000 {
        let stranger = open(&mut script, PEER);
        script.eof(stranger);
        assert_eq!(script.closed(stranger), Some(Closed::Eof));
    }
    let guest = open(&mut script, PEER);
    assert!(script.is_paused(guest));
    script.high_water(stdout, false);
    script.data(guest, b"hello");
    assert_eq!(script.take_output(stdout), b"hello");
    script.data(stdin, b"good evening\n");
    assert_eq!(script.take_output(guest), b"good evening\n");
}

#[test]
fn a_reader_that_is_gone_is_a_quiet_end() {
    let (mut script, _, stdout, peer) = calling(PIPE);
    script.close(stdout, Closed::Reset);
    assert!(script.is_stopped());
    script.close(peer, Closed::Shutdown);
    assert_eq!(script.protocol().failure(), None);
}

#[test]
fn a_caller_tries_again_as_often_as_it_was_told() {
    let mut script = connecting(Screen::for_test(PIPE), 2);
    let refused = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));
    for _ in 0..2 {
        let (attempt, to, _) = script.take_connects().remove(0);
        assert_eq!(to, "tcp://127.0.0.1:5678");
        script.connect_error(attempt, refused);
        assert_eq!(script.take_connects(), []);
        script.advance(RETRY_INTERVAL);
    }
    let (attempt, ..) = script.take_connects().remove(0);
    script.connect_error(attempt, refused);
    assert!(script.is_stopped());
    let failure = script.protocol().failure().unwrap();
    assert!(failure.starts_with("cannot reach tcp://127.0.0.1:5678: "));
}

#[test]
fn a_caller_that_is_stopped_has_not_failed() {
    let (mut script, _, _, peer) = calling(PIPE);
    script.stop();
    script.close(peer, Closed::Shutdown);
    assert_eq!(script.protocol().failure(), None);
    let mut script = connecting(Screen::for_test(PIPE), 1);
    script.stop();
    assert_eq!(script.connecting(PEER), None);
    assert_eq!(script.protocol().failure(), None);
}

#[test]
fn a_caller_s_patience_begins_when_all_is_said_and_rests_while_the_screen_is_full() {
    let (mut script, stdin, stdout, peer) = calling(PIPE);
    script.advance(Duration::from_secs(100));
    script.high_water(stdout, true);
    assert!(script.is_paused(peer));
    script.eof(stdin);
    script.advance(Duration::from_secs(100));
    assert!(!script.is_stopped());
    script.high_water(stdout, false);
    assert!(!script.is_paused(peer));
    script.advance(Duration::from_secs(31));
    let failure = script.protocol().failure();
    assert_eq!(failure, Some("no answer from tcp://127.0.0.1:5678 in time"));
}
