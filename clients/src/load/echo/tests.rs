use edgeloop_reactor::SystemError;
use nix::errno::Errno;
use proptest::prelude::*;

use super::*;
use crate::load::crew::Phase;
use crate::load::options::Kind;
use crate::load::rig::Rig;
use crate::load::worker::PIECE;

const SIZE: usize = 20;

fn rig(plan: Plan) -> Rig<Echo> {
    Rig::new(plan)
}

fn echo(connections: u32, depth: u32) -> Rig<Echo> {
    rig(Plan::of(Kind::Echo, connections, SIZE, depth)).in_phase(Phase::Measuring)
}

impl Rig<Echo> {
    /// The bytes that a connection has sent since the last call.
    fn asked(&mut self, place: usize) -> Vec<u8> {
        self.script.take_output(self.ids[place])
    }

    fn answer(&mut self, place: usize, bytes: &[u8]) {
        self.script.data(self.ids[place], bytes);
    }

    fn is_given_up(&self, place: usize) -> bool {
        self.script.closed(self.ids[place]) == Some(Closed::Aborted)
    }
}

proptest! {
    #[test]
    fn answers_are_understood_wherever_they_are_cut(size in 1..50_usize, depth in 1..5_u32, cuts in prop::collection::vec(1..60_usize, 0..40)) {
        let plan = Plan::of(Kind::Echo, 1, size, depth);
        let mut rig = rig(plan).in_phase(Phase::Measuring);
        let (mut waiting, mut echoed) = (Vec::new(), 0);
        for cut in cuts {
            waiting.extend(rig.asked(0));
            prop_assert!(waiting.len() <= size * depth as usize);
            let answer: Vec<u8> = waiting.drain(..cut.min(waiting.len())).collect();
            rig.answer(0, &answer);
            echoed += answer.len();
        }
        prop_assert_eq!(rig.mismatches(), []);
        prop_assert_eq!(rig.tally().messages, (echoed / size) as u64);
        prop_assert_eq!(rig.tally().bytes_received, (echoed / size * size) as u64);
    }

    #[test]
    fn a_changed_byte_is_found_wherever_the_answer_is_cut(at in 0..2 * SIZE, cut in 0..2 * SIZE, change in 1..=255_u8) {
        let mut rig = echo(1, 2);
        let mut answer = rig.asked(0);
        answer[at] ^= change;
        let (first, second) = answer.split_at(cut);
        rig.answer(0, first);
        rig.answer(0, second);
        prop_assert_eq!(rig.tally().mismatch_count(), 1);
        prop_assert!(rig.is_given_up(0));
    }
}

#[test]
fn every_answer_is_followed_by_the_next_message() {
    let mut rig = echo(2, 1);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        for place in 0..2 {
            let message = rig.asked(place);
            assert_eq!(message.len(), SIZE);
            rig.answer(place, &message);
            assert!(seen.insert(message), "a message is sent again");
        }
    }
    assert_eq!((rig.tally().messages, rig.tally().connected), (20, 2));
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
}

#[test]
fn the_depth_is_filled() {
    let mut rig = echo(1, 4);
    let messages = rig.asked(0);
    assert_eq!(messages.len(), 4 * SIZE);
    rig.answer(0, &messages[..3 * SIZE]);
    assert_eq!(rig.asked(0).len(), 3 * SIZE);
}

#[test]
fn messages_larger_than_any_buffer() {
    let plan = Plan::of(Kind::Echo, 1, 3 * PIECE + 1, 1);
    let mut rig = rig(plan).in_phase(Phase::Measuring);
    for _ in 0..3 {
        let message = rig.asked(0);
        message.chunks(1000).for_each(|part| rig.answer(0, part));
    }
    assert_eq!((rig.tally().messages, rig.mismatches()), (3, vec![]));
}

#[test]
fn capitals_are_expected_of_upper_and_of_nobody_else() {
    for (kind, expected) in [(Kind::Upper, 0), (Kind::Echo, 1)] {
        let mut rig = rig(Plan::of(kind, 1, SIZE, 1)).in_phase(Phase::Measuring);
        let answer = rig.asked(0).to_ascii_uppercase();
        rig.answer(0, &answer);
        assert_eq!(rig.tally().mismatch_count(), expected, "{kind}");
    }
}

#[test]
fn an_answer_that_comes_twice() {
    let mut rig = echo(1, 2);
    let messages = rig.asked(0);
    rig.answer(0, &messages[..SIZE]);
    rig.answer(0, &messages[..SIZE]);
    assert_eq!(rig.mismatches(), [(Mismatch::Repeated, 1)]);
    assert!(rig.is_given_up(0));
}

#[test]
fn more_than_was_asked_for() {
    let mut rig = echo(1, 1);
    let message = rig.asked(0);
    rig.tell(Phase::Settling);
    rig.answer(0, &[&message[..], &message[..1]].concat());
    assert_eq!(rig.mismatches(), [(Mismatch::Unasked, 1)]);
}

#[test]
fn an_answer_that_is_left_out_or_overtaken() {
    let mut rig = echo(1, 2);
    let messages = rig.asked(0);
    rig.answer(0, &messages[SIZE..]);
    assert_eq!(rig.mismatches(), [(Mismatch::Skipped, 1)]);
}

#[test]
fn answers_of_two_connections_mixed_up() {
    let mut rig = echo(2, 1);
    let (one, other) = (rig.asked(0), rig.asked(1));
    rig.answer(0, &other);
    rig.answer(1, &one);
    // When the second one comes, the first connection and its messages are gone.
    let expected = [(Mismatch::Garbled, 1), (Mismatch::Foreign, 1)];
    assert_eq!(rig.mismatches(), expected);
}

#[test]
fn a_byte_that_is_left_out() {
    let mut rig = echo(1, 1);
    let message = rig.asked(0);
    rig.answer(0, &message[1..]);
    assert_eq!(rig.mismatches(), [(Mismatch::Garbled, 1)]);
}

#[test]
fn an_answer_that_does_not_come() {
    let mut rig = echo(1, 3);
    let messages = rig.asked(0);
    rig.answer(0, &messages[..SIZE]);
    rig.tell(Phase::Settling);
    assert!(!rig.crew.have_reached(Phase::Settling));
    rig.tell(Phase::Ending);
    assert_eq!(rig.problems(), [("no answer in time", 3)]);
    assert!(rig.is_given_up(0) && rig.crew.have_reached(Phase::Ending));
}

#[test]
fn an_early_end() {
    for why in [Closed::Eof, Closed::Reset] {
        let mut rig = echo(2, 1);
        match why {
            Closed::Eof => rig.script.eof(rig.ids[0]),
            why => rig.script.close(rig.ids[0], why),
        }
        let expected = format!("closed early: {why}");
        assert_eq!(rig.problems(), [(expected.as_str(), 1)]);
        assert!(!rig.crew.is_hopeless());
        rig.script.close(rig.ids[1], why);
        assert!(rig.crew.is_hopeless(), "nobody is left");
        // Replies under way are not waited for.
        rig.tell(Phase::Settling);
        assert!(rig.crew.have_reached(Phase::Settling));
    }
}

#[test]
fn connections_that_cannot_be_opened() {
    let mut rig = rig(Plan::of(Kind::Echo, 2, SIZE, 1));
    let refused = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));
    let attempts = [0, 1].map(|place| rig.script.connecting(place).unwrap());
    rig.script.connect_error(attempts[0], refused);
    assert!(!rig.crew.have_reached(Phase::Connecting));
    rig.script.connect_error(attempts[1], refused);
    assert!(rig.crew.have_reached(Phase::Connecting) && rig.crew.is_hopeless());
    assert_eq!(rig.problems(), [("connect: Connection refused", 2)]);
}

#[test]
fn a_good_end() {
    let mut rig = echo(2, 1);
    for place in 0..2 {
        let message = rig.asked(place);
        rig.answer(place, &message);
    }
    rig.tell(Phase::Settling);
    for place in 0..2 {
        assert!(!rig.crew.have_reached(Phase::Settling));
        let message = rig.asked(place);
        rig.answer(place, &message);
        assert_eq!(rig.asked(place), b"", "no more is sent");
    }
    assert!(rig.crew.have_reached(Phase::Settling));
    rig.tell(Phase::Ending);
    for place in 0..2 {
        assert!(rig.script.is_half_closed(rig.ids[place]));
        assert!(!rig.crew.have_reached(Phase::Ending));
        rig.script.eof(rig.ids[place]);
    }
    assert!(rig.crew.have_reached(Phase::Ending));
    rig.tell(Phase::Over);
    assert!(rig.script.is_stopped());
    assert_eq!((rig.tally().messages, rig.problems()), (4, vec![]));
}

#[test]
fn a_server_that_does_not_end_the_stream() {
    let mut rig = echo(1, 1);
    let message = rig.asked(0);
    rig.tell(Phase::Settling);
    rig.answer(0, &message);
    rig.tell(Phase::Ending);
    rig.tell(Phase::Over);
    assert_eq!(rig.problems(), [("no end of the stream in time", 1)]);
}

#[test]
fn what_is_sent_before_measuring_does_not_count() {
    let plan = Plan::of(Kind::Echo, 1, SIZE, 2);
    let mut rig = rig(plan).in_phase(Phase::Warming);
    let messages = rig.asked(0);
    rig.answer(0, &messages[..SIZE]);
    let later = rig.asked(0);
    rig.pass(5);
    rig.tell(Phase::Measuring);
    rig.answer(0, &messages[SIZE..]);
    rig.answer(0, &later);
    assert_eq!((rig.tally().messages, rig.latencies()), (0, vec![]));
    rig.pass(7);
    let messages = rig.asked(0);
    rig.answer(0, &messages);
    assert_eq!((rig.tally().messages, rig.latencies()), (2, vec![7, 7]));
    rig.pass(1);
    // A message sent in the measured time counts whenever it is answered.
    rig.tell(Phase::Settling);
    rig.pass(2);
    let messages = rig.asked(0);
    rig.answer(0, &messages);
    assert_eq!(rig.latencies(), [3, 3, 7, 7]);
    assert_eq!(rig.crew.window.length(), 8_000_000);
}

/// A message each millisecond, of two connections in turn.
fn planned() -> Rig<Echo> {
    let plan = Plan {
        rate: Some(1000.0),
        ..Plan::of(Kind::Echo, 2, SIZE, 1)
    };
    rig(plan).in_phase(Phase::Measuring)
}

#[test]
fn a_plan_is_kept() {
    let mut rig = planned();
    for number in 0..6 {
        let sent = [rig.asked(0), rig.asked(1)];
        let place = number % 2;
        assert_eq!(sent[place].len(), SIZE, "its time has come");
        assert_eq!(sent[1 - place].len(), 0, "its time has not come");
        rig.answer(place, &sent[place]);
        rig.pass(1);
    }
    assert_eq!(rig.latencies(), [0; 6]);
}

/// A server that pauses for 10 ms adds to the latency of every message due in that time.
#[test]
fn latency_counts_from_the_planned_time() {
    let mut rig = planned();
    rig.pass(10);
    // Numbers 0, 2, ... are the first connection's, and the plan began with number 0 at 0 ms.
    for _ in 0..5 {
        for place in 0..2 {
            let message = rig.asked(place);
            assert_eq!(message.len(), SIZE, "one at a time");
            rig.answer(place, &message);
        }
    }
    assert_eq!(rig.latencies(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(rig.tally().messages, 10);
}

#[test]
fn what_was_due_and_not_sent_counts_with_the_time_it_has_waited() {
    let mut rig = planned();
    rig.pass(6);
    rig.tell(Phase::Settling);
    // 0 and 1 are under way; 2 to 6 had no room.
    assert_eq!(
        (rig.tally().behind, rig.latencies()),
        (5, vec![0, 1, 2, 3, 4])
    );
    assert_eq!(rig.tally().messages, 0);
}

/// While warming up the server does not answer; messages waiting since then would come first.
/// Measuring begins at 8 ms, which is noticed at 10 ms.
#[test]
fn what_was_due_before_measuring_is_left_out() {
    let plan = Plan {
        rate: Some(1000.0),
        ..Plan::of(Kind::Echo, 2, SIZE, 1)
    };
    let mut rig = rig(plan).in_phase(Phase::Warming);
    rig.pass(10);
    rig.crew.tell(Phase::Measuring, 8_000_000);
    rig.script.wake();
    // 0 does not count, and is followed by 8 and 10.
    for _ in 0..3 {
        let message = rig.asked(0);
        assert_eq!(message.len(), SIZE);
        rig.answer(0, &message);
    }
    assert_eq!(rig.asked(0).len(), 0);
    assert_eq!((rig.tally().messages, rig.latencies()), (2, vec![0, 2]));
    rig.tell(Phase::Settling);
    // 1 is under way; 9 had no room.
    assert_eq!((rig.tally().behind, rig.latencies()), (1, vec![0, 1, 2]));
}

/// The end is told before the last tick is.
#[test]
fn what_was_due_in_time_is_sent_though_the_end_is_told_first() {
    let mut rig = planned();
    rig.pass_one_unnoticed();
    assert!(rig.asked(1).is_empty());
    rig.tell(Phase::Settling);
    assert_eq!((rig.asked(1).len(), rig.tally().behind), (SIZE, 0));
}
