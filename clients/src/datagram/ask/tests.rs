//! Questions that get lost, answers that come late or twice.

use edgeloop_reactor::{Peer, Script, SystemError};
use proptest::prelude::*;

use super::*;
use crate::client::STDIN;

const SECOND: Duration = Duration::from_secs(1);
const REFUSED: Closed = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));

/// The server's addresses.
fn at(place: u16) -> SocketAddr {
    ([127, 0, 0, 1], 5678 + place).into()
}

fn call(service: Service, message: Option<&[u8]>) -> Call {
    Call {
        server: "udp://server:5678".parse().unwrap(),
        service,
        message: message.map(<[u8]>::to_vec),
        timeout: 2 * SECOND,
        retries: 2,
    }
}

/// A client that plays against the test.
struct Game {
    script: Script<Ask>,
    stdin: ConnId,
    stdout: ConnId,
}

impl Game {
    fn new(call: &Call, addresses: u16) -> Game {
        let client = Ask::new(call, Output::default(), Progress::hidden());
        let mut script = Script::new(client);
        let peer = Peer::Stream;
        let [stdout, stdin] = [STDOUT, STDIN].map(|tag| script.open_as(Opened::new(peer, tag)));
        let peers = (0..addresses).map(at).collect();
        script.call(|client, out| client.start(peers, out));
        Game {
            script,
            stdin,
            stdout,
        }
    }

    fn echo(lines: &[u8]) -> Game {
        let mut game = Game::new(&call(Service::Echo, None), 1);
        game.script.data(game.stdin, lines);
        game.script.eof(game.stdin);
        game
    }

    /// The datagrams sent to the first address.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        let sent = self.script.take_datagrams();
        assert!(sent.iter().all(|(to, _)| *to == at(0)), "{sent:?}");
        sent.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn answer(&mut self, bytes: &[u8]) {
        self.script.datagram(at(0), bytes);
    }

    fn printed(&mut self) -> Vec<u8> {
        self.script.take_output(self.stdout)
    }

    fn has_succeeded(&self) -> bool {
        self.script.is_stopped() && self.script.protocol().failure().is_none()
    }

    fn has_failed(&self, failure: &str) {
        assert_eq!(self.script.protocol().failure(), Some(failure));
        assert!(self.script.is_stopped());
    }
}

#[test]
fn the_next_line_is_sent_when_the_last_is_answered() {
    let mut game = Game::echo(b"one\n\nlast");
    for line in [&b"one"[..], b"", b"last"] {
        assert_eq!(game.sent(), [line]);
        assert_eq!(game.printed(), b"");
        assert!(!game.script.is_stopped());
        game.answer(line);
        assert_eq!(game.printed(), [line, b"\n"].concat());
    }
    assert!(game.has_succeeded());
    assert_eq!(
        game.script.protocol().summary(),
        "sent 7 bytes, received 7 bytes; \
         datagrams: 3 sent, 0 of them again; 3 received, 0 of them late"
    );
}

#[test]
fn input_is_read_when_its_lines_are_answered() {
    let mut game = Game::new(&call(Service::Echo, None), 1);
    game.script.data(game.stdin, b"begun");
    assert!(!game.script.is_paused(game.stdin));
    game.script.data(game.stdin, b" and ended\nthe next");
    assert!(game.script.is_paused(game.stdin));
    game.answer(b"begun and ended");
    assert!(!game.script.is_paused(game.stdin));
}

#[test]
fn nothing_is_asked_while_the_answers_are_not_read() {
    let mut game = Game::echo(b"one\ntwo\n");
    let stdout = game.stdout;
    game.script.high_water(stdout, true);
    assert_eq!(game.sent(), [b"one"]);
    game.answer(b"one");
    assert!(game.sent().is_empty());
    game.script.high_water(stdout, false);
    assert_eq!(game.sent(), [b"two"]);
}

#[test]
fn what_is_not_answered_is_sent_again_and_then_given_up() {
    let mut game = Game::echo(b"line\n");
    for _ in 0..3 {
        assert_eq!(game.sent(), [b"line"]);
        game.script.advance(Duration::from_millis(1_999));
        assert!(game.sent().is_empty() && !game.script.is_stopped());
        game.script.advance(Duration::from_millis(1));
    }
    game.has_failed("no answer from udp://server:5678 in time");
    assert!(game.sent().is_empty());
    let summary = game.script.protocol().summary();
    assert!(summary.contains("3 sent, 2 of them again"), "{summary}");
}

#[test]
fn a_timeout_of_zero_is_for_ever() {
    let mut call = call(Service::Echo, Some(b"hello"));
    call.timeout = Duration::ZERO;
    let mut game = Game::new(&call, 1);
    game.script.advance(1_000_000 * SECOND);
    assert_eq!(game.sent(), [b"hello"]);
    assert!(!game.script.is_stopped());
    // But for a refusal, after which there is nothing to wait for.
    game.script.udp_error(0, REFUSED);
    game.script.advance(SECOND);
    assert_eq!(game.sent(), [b"hello"]);
}

#[test]
fn a_late_answer_is_not_the_next_ones() {
    let mut game = Game::echo(b"one\ntwo\nthree\n");
    game.script.advance(2 * SECOND);
    assert_eq!(game.sent(), [b"one", b"one"]);
    game.answer(b"one");
    assert_eq!(game.sent(), [b"two"]);
    game.answer(b"one");
    assert_eq!(game.printed(), b"one\n");
    game.answer(b"two");
    game.answer(b"two");
    game.answer(b"one");
    game.answer(b"three");
    assert_eq!(game.printed(), b"two\nthree\n");
    assert!(game.has_succeeded());
    let summary = game.script.protocol().summary();
    assert!(summary.ends_with("6 received, 3 of them late"), "{summary}");
}

#[test]
fn the_same_line_twice_has_the_same_answer() {
    let mut game = Game::echo(b"same\nsame\nlast\n");
    game.script.advance(2 * SECOND);
    (0..3).for_each(|_| game.answer(b"same"));
    game.answer(b"last");
    assert_eq!(game.printed(), b"same\nsame\nlast\n");
    assert!(game.has_succeeded());
}

/// The replies of a server that reverses texts are unknown: replies to copies are awaited.
#[test]
fn other_answers_of_an_unknown_kind_are_awaited() {
    let mut game = Game::echo(b"one\ntwo\nsix\n");
    game.script.advance(2 * SECOND);
    assert_eq!(game.sent(), [b"one", b"one"]);
    game.answer(b"eno");
    assert!(game.sent().is_empty());
    game.answer(b"eno");
    assert_eq!(game.sent(), [b"two"]);
    game.script.advance(2 * SECOND);
    assert_eq!(game.sent(), [b"two"]);
    game.answer(b"owt");
    game.script.advance(2 * SECOND);
    assert_eq!(game.sent(), [b"six"], "one of two answers was lost");
    game.answer(b"xis");
    assert_eq!(game.printed(), b"eno\nowt\nxis\n");
    assert!(game.has_succeeded());
}

#[test]
fn an_answer_that_is_longer_than_its_question_is_a_failure() {
    for question in ["", "line"] {
        let mut game = Game::echo(format!("a long line\n{question}\nnever\n").as_bytes());
        game.answer(b"a long line");
        assert_eq!(game.sent(), [b"a long line", question.as_bytes()]);
        // Late, and not this one's.
        game.answer(b"a long line");
        assert!(!game.script.is_stopped());
        game.answer(b"line!");
        let bytes = question.len();
        game.has_failed(&format!(
            "the answer from udp://server:5678 is longer than the question: 5 bytes for {bytes}"
        ));
        assert_eq!(game.printed(), b"a long line\n");
        assert!(game.sent().is_empty());
    }
}

#[test]
fn a_refusal_is_an_attempt_that_failed() {
    let mut game = Game::echo(b"line\n");
    for _ in 0..2 {
        assert_eq!(game.sent(), [b"line"]);
        game.script.udp_error(0, REFUSED);
        assert!(game.sent().is_empty());
        game.script.advance(SECOND);
    }
    assert_eq!(game.sent(), [b"line"]);
    game.script.udp_error(0, REFUSED);
    game.has_failed("cannot reach udp://server:5678: Connection refused");
}

#[test]
fn the_next_address_is_tried_as_long_as_nobody_has_answered() {
    let mut game = Game::new(&call(Service::Echo, None), 2);
    let (stdin, first, second) = (game.stdin, at(0), at(1));
    game.script.data(stdin, b"one\ntwo\n");
    assert_eq!(game.script.take_datagrams(), [(first, b"one".to_vec())]);
    game.script.udp_error(0, REFUSED);
    assert_eq!(game.script.take_datagrams(), [(second, b"one".to_vec())]);
    // Later errors of the first address are ignored.
    game.script.udp_error(0, REFUSED);
    game.script.datagram(second, b"one");
    assert_eq!(game.script.take_datagrams(), [(second, b"two".to_vec())]);
    game.script.udp_error(1, REFUSED);
    assert_eq!(game.script.take_datagrams(), []);
    game.script.advance(SECOND);
    assert_eq!(game.script.take_datagrams(), [(second, b"two".to_vec())]);
}

#[test]
fn the_next_address_is_tried_when_the_first_is_silent() {
    let mut game = Game::new(&call(Service::Echo, Some(b"hello")), 2);
    for place in [0, 1, 1] {
        let expected = [(at(place), b"hello".to_vec())];
        assert_eq!(game.script.take_datagrams(), expected);
        game.script.advance(2 * SECOND);
    }
    game.has_failed("no answer from udp://server:5678 in time");
}

#[test]
fn what_the_kernel_has_no_room_for_is_sent_again() {
    let mut game = Game::echo(b"line\n");
    game.script.unsent(0, b"line");
    game.script.advance(SECOND);
    assert_eq!(game.sent(), [b"line", b"line"]);
    game.answer(b"line");
    assert!(game.has_succeeded());
    let summary = game.script.protocol().summary();
    assert!(summary.starts_with("sent 4 bytes"), "{summary}");
}

#[test]
fn a_message_is_one_datagram() {
    for (message, answer, printed) in [
        (&b"two\nlines"[..], &b"TWO\nLINES"[..], &b"TWO\nLINES\n"[..]),
        (b"a line\n", b"A LINE\n", b"A LINE\n"),
        (b"", b"", b"\n"),
    ] {
        let mut game = Game::new(&call(Service::Upper, Some(message)), 1);
        assert_eq!(game.sent(), [message]);
        game.answer(answer);
        assert_eq!(game.printed(), printed);
        assert!(game.has_succeeded());
    }
}

#[test]
fn what_is_too_long_is_a_failure_after_what_comes_before_it() {
    let input = format!("short\n{}", "x".repeat(65_508));
    let mut game = Game::echo(input.as_bytes());
    assert_eq!(game.sent(), [b"short"]);
    game.answer(b"short");
    let failure = "a line of standard input is longer than a datagram can be: 65507 bytes";
    game.has_failed(failure);
    assert_eq!(game.printed(), b"short\n");
}

#[test]
fn our_own_streams_can_fail() {
    let mut game = Game::echo(b"line\n");
    let stdout = game.stdout;
    game.script.close(stdout, Closed::Reset);
    assert!(game.has_succeeded(), "a reader that is gone is no failure");
    let mut game = Game::echo(b"line\n");
    let stdout = game.stdout;
    game.script.close(
        stdout,
        Closed::Error(SystemError::new(Errno::ENOSPC as i32)),
    );
    game.has_failed("cannot write the answer: No space left on device");
    let mut game = Game::new(&call(Service::Echo, None), 1);
    let stdin = game.stdin;
    game.script
        .close(stdin, Closed::Error(SystemError::new(Errno::EISDIR as i32)));
    game.has_failed("cannot read standard input: Is a directory");
}

/// The fate of a datagram on its way to the server, or of the reply on its way back.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    /// Arrives twice: at once, and behind this many others.
    Doubled(usize),
    /// Arrives behind this many others.
    Late(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        2 => (0..4_usize).prop_map(Fate::Doubled),
        2 => (0..4_usize).prop_map(Fate::Late),
    ]
}

proptest! {
    /// Each line gets its own reply, in order, over a network that loses, delays and doubles.
    #[test]
    fn no_network_can_confuse_it(
        lines in prop::collection::vec("[aAbB]{0,2}\n", 0..12),
        fates in prop::collection::vec(fate(), 1..40),
        upper: bool,
    ) {
        let service = if upper { Service::Upper } else { Service::Echo };
        let mut call = call(service, None);
        call.retries = u32::MAX;
        let mut game = Game::new(&call, 1);
        let input = lines.concat();
        let stdin = game.stdin;
        game.script.data(stdin, input.as_bytes());
        game.script.eof(stdin);
        let mut fates = fates.into_iter().chain(std::iter::repeat(Fate::Arrives));
        let mut under_way = VecDeque::new();
        for _ in 0..1000 {
            for question in game.sent() {
                let answer = service.answer_to(&question);
                let behind = match fates.next().unwrap() {
                    Fate::Arrives => under_way.len(),
                    Fate::Lost => continue,
                    Fate::Doubled(behind) => {
                        under_way.push_front(answer.clone());
                        behind
                    }
                    Fate::Late(behind) => behind,
                };
                under_way.insert(behind.min(under_way.len()), answer);
            }
            match under_way.pop_front() {
                Some(answer) if fates.next().unwrap().is_prompt() => game.answer(&answer),
                late => {
                    under_way.extend(late);
                    game.script.advance(2 * SECOND);
                }
            }
        }
        prop_assert!(game.has_succeeded());
        prop_assert_eq!(game.printed(), service.answer_to(input.as_bytes()));
    }
}

impl Fate {
    fn is_prompt(self) -> bool {
        !matches!(self, Fate::Late(_))
    }
}
