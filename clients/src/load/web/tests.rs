//! WebSockets whose server is played by the test, with the frames of the servers' codec.

use edgeloop::web::frame::{Part, push_close, push_pong, push_text};
use edgeloop::web::handshake::granted;
use edgeloop_reactor::ConnId;
use proptest::prelude::*;

use super::*;
use crate::load::chat::Chat;
use crate::load::content::LINE_MIN;
use crate::load::echo::Echo;
use crate::load::options::Kind;
use crate::load::rig::Rig;
use crate::load::tally::Mismatch;

/// A line of a chat has no fewer bytes.
const SIZE: usize = LINE_MIN;
/// The rules of a server.
const OF_SERVER: Rules = Rules {
    masked: true,
    binary: true,
    max_message: u32::MAX,
};
const PING: &[u8] = b"\x89\x02hi";

fn plan(kind: Kind, connections: u32, depth: u32) -> Plan {
    let mut plan = Plan::of(kind, connections, SIZE, depth);
    plan.server = "ws://localhost:80/a?b".parse().expect("a target");
    plan
}

/// A message as the server frames it.
fn message(text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_text(text, None, &mut frame);
    frame
}

fn close(code: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    push_close(Some(Code(code)), None, &mut frame);
    frame
}

/// A frame that a load has sent.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Text(Vec<u8>),
    Pong,
    Close(u16),
}

/// Decodes frames of the load, which are whole.
fn decode(mut frames: Vec<u8>) -> Vec<Sent> {
    let (mut decoder, mut at, mut sent) = (Decoder::default(), 0, Vec::new());
    while let Some(event) = decoder
        .next(&mut frames, &mut at, OF_SERVER)
        .expect("frames")
    {
        sent.push(match event {
            Event::Part(Part { bytes, is_last, .. }) => {
                assert!(is_last);
                Sent::Text(frames[bytes].to_vec())
            }
            Event::Pong => Sent::Pong,
            Event::Close(code) => Sent::Close(code.map_or(0, |code| code.0)),
            Event::Ping(_) => panic!("a load does not ping"),
        });
    }
    assert!(decoder.is_between_messages());
    sent
}

impl<L: Spoken> Rig<Web<L>> {
    /// A load whose handshakes the server has granted.
    fn granted(plan: Plan) -> Self {
        let mut rig = Rig::new(plan).open();
        for place in 0..rig.ids.len() {
            let answer = rig.grant(place);
            rig.tell_bytes(place, &answer);
        }
        rig
    }

    /// The answer that a server gives to the request of this place.
    fn grant(&mut self, place: usize) -> Vec<u8> {
        let id = self.ids[place];
        let request = String::from_utf8(self.script.take_output(id)).expect("a request");
        let start = "GET /a?b HTTP/1.1\r\nHost: localhost:80\r\n";
        assert!(request.starts_with(start), "{request}");
        let (_, key) = request.split_once("Sec-WebSocket-Key: ").expect("a key");
        let (key, _) = key.split_once("\r\n").expect("a line");
        granted(key)
    }

    fn tell_bytes(&mut self, place: usize, bytes: &[u8]) {
        self.script.data(self.ids[place], bytes);
    }

    fn take(&mut self, place: usize) -> Vec<Sent> {
        decode(self.script.take_output(self.ids[place]))
    }

    /// The texts that a place has sent, and nothing else.
    fn texts(&mut self, place: usize) -> Vec<Vec<u8>> {
        let text = |sent| match sent {
            Sent::Text(text) => text,
            other => panic!("{other:?}"),
        };
        self.take(place).into_iter().map(text).collect()
    }

    fn id(&self, place: usize) -> ConnId {
        self.ids[place]
    }
}

fn echo(connections: u32, depth: u32) -> Rig<Web<Echo>> {
    Rig::granted(plan(Kind::Echo, connections, depth)).in_phase(Phase::Measuring)
}

proptest! {
    #[test]
    fn replies_are_understood_wherever_messages_and_reads_are_cut(
        depth in 1..4_u32,
        fragments in prop::collection::vec(0..SIZE, 0..4),
        cuts in prop::collection::vec(1..60_usize, 1..30),
    ) {
        let mut rig = echo(1, depth);
        let mut waiting = Vec::new();
        for cut in cuts {
            for text in rig.take(0) {
                match text {
                    Sent::Text(text) => waiting.extend(fragmented(&text, &fragments)),
                    Sent::Pong => {}
                    Sent::Close(code) => panic!("{code}"),
                }
            }
            let bytes: Vec<u8> = waiting.drain(..cut.min(waiting.len())).collect();
            rig.tell_bytes(0, &bytes);
        }
        prop_assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
        prop_assert_eq!(rig.tally().bytes_received, rig.tally().messages * SIZE as u64);
    }

    /// A server that garbles finds no way to a panic, a loop without end or memory without bound.
    #[test]
    fn anything_may_come_after_the_handshake(bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0..100_usize) {
        let run = |cut: usize| {
            let mut rig = echo(1, 1);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            rig.tell_bytes(0, first);
            rig.tell_bytes(0, second);
            (format!("{:?}", rig.mismatches()), format!("{:?}", rig.problems()))
        };
        prop_assert_eq!(run(cut), run(0));
    }
}

/// A text in fragments of these lengths, with a ping after each.
fn fragmented(text: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut rest, mut out, mut opcode) = (text, Vec::new(), 1);
    for length in lengths {
        let (fragment, after) = rest.split_at((*length).min(rest.len()));
        out.extend([opcode, fragment.len() as u8]);
        out.extend(fragment);
        out.extend(PING);
        (rest, opcode) = (after, 0);
    }
    out.extend([0x80 | opcode, rest.len() as u8]);
    out.extend(rest);
    out
}

#[test]
fn a_handshake_comes_first_and_may_bring_frames() {
    let mut rig: Rig<Web<Echo>> = Rig::new(plan(Kind::Echo, 1, 1)).open();
    assert_eq!(rig.tally().connected, 0);
    let answer = [&rig.grant(0)[..], PING].concat();
    for byte in &answer[..answer.len() - PING.len() - 1] {
        rig.tell_bytes(0, &[*byte]);
        assert_eq!(rig.tally().connected, 0);
    }
    rig.tell_bytes(0, &answer[answer.len() - PING.len() - 1..]);
    assert_eq!((rig.tally().connected, rig.take(0)), (1, vec![Sent::Pong]));
    let mut rig = rig.in_phase(Phase::Measuring);
    assert_eq!(rig.texts(0)[0].len(), SIZE);
    assert_eq!(rig.problems(), []);
}

#[test]
fn a_server_that_refuses_is_named_with_its_status() {
    for (answer, problem) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "handshake: 403 Forbidden"),
        (
            "HTTP/1.1 404 Not Found\r\n\r\nx",
            "handshake: 404 Not Found",
        ),
        ("HTTP/1.1 400\r\n\r\n", "handshake: 400"),
        ("Hi!\n", "handshake: this is no server of HTTP/1.1"),
        ("HTTP/1.1 101 Yes\r\n", "handshake: no answer in time"),
    ] {
        let mut rig: Rig<Web<Echo>> = Rig::new(plan(Kind::Echo, 1, 1)).open();
        rig.tell_bytes(0, answer.as_bytes());
        rig.pass(1_001);
        assert_eq!(rig.problems(), [(problem, 1)]);
        assert!(rig.crew.have_reached(Phase::Connecting));
        assert_eq!(rig.script.closed(rig.id(0)), Some(Closed::Aborted));
    }
    let mut rig: Rig<Web<Chat>> = Rig::new(plan(Kind::Chat, 2, 1)).open();
    rig.script.eof(rig.id(1));
    assert_eq!(rig.problems(), [("closed early: end of file", 1)]);
    assert!(rig.crew.is_hopeless());
}

/// A run that was cut short goes through its phases while handshakes are under way. Regression: such a
/// connection was not counted when it opened, but when it ended, and fewer than none were open then.
#[test]
fn a_handshake_that_succeeds_too_late_opens_nothing() {
    let mut rig: Rig<Web<Echo>> = Rig::new(plan(Kind::Echo, 2, 1)).open();
    let answers = [0, 1].map(|place| rig.grant(place));
    rig.tell_bytes(0, &answers[0]);
    let mut rig = rig.in_phase(Phase::Measuring);
    rig.tell_bytes(1, &answers[1]);
    assert_eq!(rig.script.closed(rig.id(1)), Some(Closed::Aborted));
    assert_eq!((rig.tally().connected, rig.crew.count().open), (1, 1));
    rig.script.eof(rig.id(0));
    assert_eq!(rig.crew.count().open, 0);
}

#[test]
fn a_message_is_one_reply() {
    let mut rig = echo(3, 2);
    for place in 0..3 {
        let texts = rig.texts(place);
        let (first, second) = (&texts[0][..], &texts[1][..]);
        let answer = match place {
            0 => message(&[first, second].concat()),
            1 => [message(&first[..7]), message(&first[7..])].concat(),
            _ => [message(second), message(first)].concat(),
        };
        rig.tell_bytes(place, &answer);
    }
    let expected = [(Mismatch::Skipped, 1), (Mismatch::Garbled, 2)];
    let mut found = rig.mismatches();
    found.sort_by_key(|(_, count)| *count);
    assert_eq!(found, expected);
}

#[test]
fn frames_that_break_a_rule_and_early_ends_are_problems() {
    for (bytes, problem) in [
        (b"\xc1\x00".to_vec(), "WebSocket: a reserved bit is set"),
        (
            b"\x81\x80\0\0\0\0".to_vec(),
            "WebSocket: a frame of a server is masked",
        ),
        (b"\x82\x01x".to_vec(), "WebSocket: a binary message"),
        (b"\x81\x01\xff".to_vec(), "WebSocket: a text is not UTF-8"),
        (close(1009), "closed by the server with code 1009"),
        (b"\x88\x00".to_vec(), "closed by the server without a code"),
    ] {
        let mut rig = echo(2, 1);
        rig.tell_bytes(0, &bytes);
        assert_eq!(rig.problems(), [(problem, 1)]);
        assert_eq!(rig.crew.count().open, 1);
        assert_eq!(rig.script.closed(rig.id(0)), Some(Closed::Aborted));
    }
}

#[test]
fn pings_are_not_answered_without_bound() {
    let mut rig = echo(1, 1);
    let _ = rig.take(0);
    rig.script.set_reading(rig.id(0), false);
    rig.tell_bytes(0, &PING.repeat(10_000));
    rig.script.set_reading(rig.id(0), true);
    let pongs = rig.take(0).len();
    // A pong of two bytes has eight.
    assert_eq!(pongs, PONG_QUEUE_MAX / 8);
}

/// An echo that has answered all, and is told to end.
fn ending() -> Rig<Web<Echo>> {
    let mut rig = echo(1, 1);
    rig.tell(Phase::Settling);
    let text = rig.texts(0).remove(0);
    rig.tell_bytes(0, &message(&text));
    rig.tell(Phase::Ending);
    assert_eq!(rig.take(0), [Sent::Close(1000)]);
    assert!(!rig.crew.have_reached(Phase::Ending));
    rig
}

#[test]
fn a_good_end() {
    let mut rig = ending();
    let mut pong = Vec::new();
    push_pong(b"", None, &mut pong);
    rig.tell_bytes(0, &[PING, &pong, &close(1000)].concat());
    assert_eq!(rig.take(0), []);
    rig.script.eof(rig.id(0));
    assert!(rig.crew.have_reached(Phase::Ending));
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
}

#[test]
fn a_bad_end() {
    let mut rig = ending();
    rig.script.eof(rig.id(0));
    let problem = "the stream ended without a close frame";
    assert_eq!(rig.problems(), [(problem, 1)]);
    let mut rig = ending();
    rig.tell_bytes(0, &close(1011));
    rig.script.eof(rig.id(0));
    assert_eq!(rig.problems(), [("closed by the server with code 1011", 1)]);
    let mut rig = ending();
    rig.tell_bytes(0, &close(1000));
    rig.tell(Phase::Over);
    assert_eq!(rig.problems(), [("no end of the stream in time", 1)]);
}

/// A chat of two, that both have joined, and that is being measured. Returns what the first says, as
/// the other is to hear it.
fn chat() -> (Rig<Web<Chat>>, Vec<u8>) {
    let mut rig: Rig<Web<Chat>> = Rig::granted(Plan {
        talkers: 1,
        ..plan(Kind::Chat, 2, 1)
    });
    let mut names = Vec::new();
    for place in 0..2 {
        rig.tell_bytes(place, &message(b"Who are you?"));
        names.extend(rig.texts(place));
        rig.tell_bytes(place, &message(b"* The room contains: "));
    }
    let mut rig = rig.in_phase(Phase::Measuring);
    let said = rig.texts(0).remove(0);
    assert_eq!(said.len(), SIZE - 1, "a message has no newline");
    let heard = [b"[", &names[0][..], b"] ", &said].concat();
    (rig, heard)
}

#[test]
fn a_message_is_one_line() {
    let (mut rig, heard) = chat();
    rig.tell_bytes(1, &fragmented(&heard, &[3, 0, 20]));
    let tally = rig.tally();
    assert_eq!(
        (tally.connected, tally.messages, tally.delivered),
        (2, 1, 1)
    );
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
    assert_eq!(rig.texts(0).len(), 1);
}

#[test]
fn a_line_with_its_end_and_two_lines_in_one_message_are_garbled() {
    for ending in [&b"\n"[..], b"\r", b"\n[bob] and another"] {
        let (mut rig, heard) = chat();
        rig.tell_bytes(1, &message(&[&heard, ending].concat()));
        assert_eq!(rig.mismatches(), [(Mismatch::Garbled, 1)], "{ending:?}");
    }
}

#[test]
fn a_list_of_any_length_is_heard_and_not_kept() {
    let (mut rig, heard) = chat();
    let list = [b"* ", &b"x".repeat(1_000_000)[..]].concat();
    for part in message(&list).chunks(64 * 1024) {
        rig.tell_bytes(1, part);
    }
    rig.tell_bytes(1, &message(&heard));
    assert_eq!((rig.tally().messages, rig.mismatches()), (1, vec![]));
}

#[test]
fn members_leave_in_good_order() {
    let (mut rig, heard) = chat();
    rig.tell(Phase::Settling);
    rig.tell_bytes(1, &message(&heard));
    rig.tell(Phase::Ending);
    for place in 0..2 {
        assert_eq!(rig.take(place), [Sent::Close(1000)]);
        rig.tell_bytes(place, &message(b"* bob has left the room"));
        rig.tell_bytes(place, &close(1000));
        rig.script.eof(rig.id(place));
    }
    assert!(rig.crew.have_reached(Phase::Ending));
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
}
