//! A question for each line, the next one when it is answered.
//!
//! Datagrams get lost, so a question that is not answered in time is sent again; and they are
//! delayed and doubled, so the answer to a copy may come when the next question is under way. It
//! must not be taken for that one's answer. Datagrams carry no number by which to tell, but it is
//! known what the server is for:
//!
//! - What is the right answer to an earlier question, and not to this one, is late. The last
//!   [`REMEMBERED`] are remembered.
//! - A server may be of another kind, and its answers unknown. Then, after a question that was sent
//!   more than once, the other answers are awaited first, for one timeout at the most. What such a
//!   server sends even later, or twice, cannot be told from an answer.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Data, Datagram, Errno, Opened, Outbox, Protocol};

use super::{Lines, Next, Peers, Traffic};
use crate::call::{Call, Client, Service};
use crate::dial::PAUSE;
use crate::output::{Output, STDOUT};
use crate::progress::Progress;

/// Earlier answers that are known when they come again.
const REMEMBERED: usize = 1024;

/// The client of a server that answers: stop and wait.
pub(crate) struct Ask {
    call: Call,
    peers: Peers,
    lines: Lines,
    stdin: Option<ConnId>,
    output: Output,
    progress: Progress,
    awaited: Awaited,
    earlier: Earlier,
    /// There is a server where we send to.
    proven: bool,
    traffic: Traffic,
    failure: Option<String>,
}

/// What is waited for.
#[derive(Debug)]
enum Awaited {
    /// The next line.
    Line,
    Answer(Question),
    /// So many more answers to a question that is answered.
    Others(u32),
}

/// A question that is not answered yet.
#[derive(Debug)]
struct Question {
    bytes: Vec<u8>,
    /// How often it was sent.
    copies: u32,
    /// What the network said of the last copy.
    trouble: Option<Closed>,
}

/// The right answers to earlier questions, as fingerprints.
#[derive(Debug, Default)]
struct Earlier {
    hasher: RandomState,
    fingerprints: VecDeque<u64>,
}

impl Earlier {
    fn remember(&mut self, answer: &[u8]) {
        if self.fingerprints.len() == REMEMBERED {
            self.fingerprints.pop_front();
        }
        self.fingerprints.push_back(self.hasher.hash_one(answer));
    }

    fn contains(&self, answer: &[u8]) -> bool {
        self.fingerprints.contains(&self.hasher.hash_one(answer))
    }
}

impl Service {
    /// What a server of this kind sends back.
    fn answer_to(self, question: &[u8]) -> Vec<u8> {
        match self {
            Service::Echo => question.to_vec(),
            Service::Upper => question.to_ascii_uppercase(),
            Service::Sink => Vec::new(),
        }
    }
}

impl Ask {
    pub(crate) fn new(call: &Call, output: Output, progress: Progress) -> Self {
        Ask {
            lines: Lines::new(call.message.clone()),
            call: call.clone(),
            peers: Peers::default(),
            stdin: None,
            output,
            progress,
            awaited: Awaited::Line,
            earlier: Earlier::default(),
            proven: false,
            traffic: Traffic::default(),
            failure: None,
        }
    }

    /// The next question, if it is time for it.
    fn go_on(&mut self, out: &mut Outbox) {
        if !matches!(self.awaited, Awaited::Line) || self.output.is_full() {
            return;
        }
        match self.lines.next() {
            Next::Datagram(bytes) => {
                let (copies, trouble) = (0, None);
                self.ask(
                    Question {
                        bytes,
                        copies,
                        trouble,
                    },
                    out,
                );
            }
            Next::Read => self.stdin.into_iter().for_each(|stdin| out.resume(stdin)),
            Next::End(end) => {
                self.failure = end.result().err();
                self.end(out);
            }
        }
    }

    /// Sends a question, or sends it again.
    fn ask(&mut self, mut question: Question, out: &mut Outbox) {
        question.copies += 1;
        question.trouble = None;
        self.peers.send(&question.bytes, out);
        self.traffic.count_sent(&question.bytes);
        self.awaited = Awaited::Answer(question);
        if self.call.timeout.is_zero() {
            out.clear_service_timer();
        } else {
            out.set_service_timer(self.call.timeout);
        }
    }

    /// What was awaited has not come.
    fn time_is_up(&mut self, out: &mut Outbox) {
        match mem::replace(&mut self.awaited, Awaited::Line) {
            Awaited::Answer(question) if question.copies <= self.call.retries => {
                self.traffic.again += 1;
                self.ask(question, out);
            }
            Awaited::Answer(question) => self.fail(self.no_answer(&question), out),
            Awaited::Others(_) | Awaited::Line => self.go_on(out),
        }
    }

    fn no_answer(&self, question: &Question) -> String {
        let server = &self.call.server;
        match question.trouble {
            Some(why) => format!("cannot reach {server}: {why}"),
            None => format!("no answer from {server} in time"),
        }
    }

    fn answered(&mut self, question: &Question, answer: &[u8], out: &mut Outbox) {
        self.proven = true;
        self.print(answer, out);
        let expected = self.call.service.answer_to(&question.bytes);
        self.earlier.remember(&expected);
        let others = question.copies - 1;
        if others > 0 && answer != expected {
            self.awaited = Awaited::Others(others);
            out.set_service_timer(self.patience());
        } else {
            self.awaited = Awaited::Line;
            out.clear_service_timer();
        }
        self.go_on(out);
    }

    fn print(&mut self, answer: &[u8], out: &mut Outbox) {
        self.output.print(answer, out);
        if self.call.message.is_some() {
            self.output.end_line(out);
        } else {
            self.output.end_text(out);
            self.output.print(b"\n", out);
        }
    }

    /// The answer to an earlier question, and not to this one.
    fn is_late(&self, question: &Question, answer: &[u8]) -> bool {
        self.call.service.answer_to(&question.bytes) != answer && self.earlier.contains(answer)
    }

    /// The timeout, or a second if that is for ever.
    fn patience(&self) -> Duration {
        match self.call.timeout {
            Duration::ZERO => PAUSE,
            timeout => timeout,
        }
    }

    /// The network says that a datagram did not arrive. The next attempt waits a little: whoever is
    /// missed may be about to start.
    fn not_delivered(&mut self, why: Closed, out: &mut Outbox) {
        let patience = self.patience().min(PAUSE);
        let Awaited::Answer(question) = &mut self.awaited else {
            return;
        };
        question.trouble = Some(why);
        if question.copies <= self.call.retries {
            out.set_service_timer(patience);
        } else {
            self.time_is_up(out);
        }
    }

    /// Ends it all for this reason; the first one is told.
    fn fail(&mut self, failure: String, out: &mut Outbox) {
        self.failure.get_or_insert(failure);
        self.end(out);
    }

    fn end(&mut self, out: &mut Outbox) {
        self.stdin
            .take()
            .into_iter()
            .for_each(|stdin| out.abort(stdin));
        out.clear_service_timer();
        out.stop();
    }
}

impl Client for Ask {
    fn start(&mut self, peers: Vec<SocketAddr>, out: &mut Outbox) {
        self.peers = Peers::new(peers, &self.call.server);
        self.go_on(out);
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn summary(&self) -> String {
        self.traffic.to_string()
    }
}

impl Protocol for Ask {
    fn on_open(&mut self, id: ConnId, opened: Opened, _: &mut Outbox) {
        match opened.tag {
            STDOUT => self.output.open(id),
            _ => self.stdin = Some(id),
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.lines.feed(&data);
        self.progress.add(data.len());
        // Until all of these lines are sent.
        out.pause(id);
        self.go_on(out);
    }

    fn on_eof(&mut self, _: ConnId, out: &mut Outbox) {
        // It may close now, as a pipe does, or later.
        self.stdin = None;
        self.lines.finish();
        self.go_on(out);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        let answer = &datagram.data;
        self.traffic.count_received(answer);
        match mem::replace(&mut self.awaited, Awaited::Line) {
            Awaited::Answer(question) if !self.is_late(&question, answer) => {
                return self.answered(&question, answer, out);
            }
            Awaited::Others(count) if count > 1 => self.awaited = Awaited::Others(count - 1),
            Awaited::Others(_) => out.clear_service_timer(),
            awaited => self.awaited = awaited,
        }
        self.traffic.late += 1;
        self.go_on(out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.time_is_up(out);
    }

    fn on_connect_error(&mut self, tag: u32, why: Closed, out: &mut Outbox) {
        if !self.peers.is_current(tag) {
            return;
        }
        if !self.proven && self.peers.advance(why) {
            if let Awaited::Answer(question) = mem::replace(&mut self.awaited, Awaited::Line) {
                self.ask(
                    Question {
                        copies: 0,
                        ..question
                    },
                    out,
                );
            }
            return;
        }
        self.not_delivered(why, out);
    }

    fn on_unsent(&mut self, _: u32, datagram: Vec<u8>, out: &mut Outbox) {
        self.traffic.count_unsent(&datagram);
        self.not_delivered(Closed::Error(Errno::ENOBUFS), out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if Some(id) == self.stdin {
            self.fail(format!("cannot read standard input: {why}"), out);
        } else if self.output.is(id) {
            match why {
                Closed::Finished | Closed::Shutdown => {}
                // Nobody reads any more, as in `edgecall echo | head`: a quiet end.
                Closed::Reset => self.end(out),
                why => self.fail(format!("cannot write the answer: {why}"), out),
            }
        }
    }

    fn on_high_water(&mut self, _: ConnId, _: &mut Outbox) {
        // Standard output: the next question waits until it has room.
        self.output.set_full(true);
    }

    fn on_low_water(&mut self, _: ConnId, out: &mut Outbox) {
        self.output.set_full(false);
        self.go_on(out);
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Peer, Script};
    use proptest::prelude::*;

    use super::*;
    use crate::call::STDIN;

    const SECOND: Duration = Duration::from_secs(1);
    const REFUSED: Closed = Closed::Error(Errno::ECONNREFUSED);

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
            let [stdout, stdin] = [STDOUT, STDIN].map(|tag| script.open_as(Opened { peer, tag }));
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
            game.script.close(game.stdin, Closed::Reset);
            game
        }

        /// What was sent, to the first address.
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
        game.script.connect_error(0, REFUSED);
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

    /// Of a server that turns texts round nobody knows what the answer will be: what is still to
    /// come is awaited.
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
    fn a_refusal_is_an_attempt_that_failed() {
        let mut game = Game::echo(b"line\n");
        for _ in 0..2 {
            assert_eq!(game.sent(), [b"line"]);
            game.script.connect_error(0, REFUSED);
            assert!(game.sent().is_empty());
            game.script.advance(SECOND);
        }
        assert_eq!(game.sent(), [b"line"]);
        game.script.connect_error(0, REFUSED);
        game.has_failed("cannot reach udp://server:5678: Connection refused");
    }

    #[test]
    fn the_next_address_is_tried_as_long_as_nobody_has_answered() {
        let mut game = Game::new(&call(Service::Echo, None), 2);
        let (stdin, first, second) = (game.stdin, at(0), at(1));
        game.script.data(stdin, b"one\ntwo\n");
        assert_eq!(game.script.take_datagrams(), [(first, b"one".to_vec())]);
        game.script.connect_error(0, REFUSED);
        assert_eq!(game.script.take_datagrams(), [(second, b"one".to_vec())]);
        // What is still heard of the first is of no interest.
        game.script.connect_error(0, REFUSED);
        game.script.datagram(second, b"one");
        assert_eq!(game.script.take_datagrams(), [(second, b"two".to_vec())]);
        game.script.connect_error(1, REFUSED);
        assert_eq!(game.script.take_datagrams(), []);
        game.script.advance(SECOND);
        assert_eq!(game.script.take_datagrams(), [(second, b"two".to_vec())]);
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
        game.script.close(stdout, Closed::Error(Errno::ENOSPC));
        game.has_failed("cannot write the answer: No space left on device");
        let mut game = Game::new(&call(Service::Echo, None), 1);
        let stdin = game.stdin;
        game.script.close(stdin, Closed::Error(Errno::EISDIR));
        game.has_failed("cannot read standard input: Is a directory");
    }

    /// What becomes of a datagram on its way to the server, or of the answer on its way back.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Arrives,
        Lost,
        /// Comes once at once, and once more behind so many others.
        Doubled(usize),
        /// Comes behind so many others.
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
        /// Whatever a network does, each line has its own answer, in order.
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
}
