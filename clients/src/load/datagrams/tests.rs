use edgeloop_reactor::SystemError;
use nix::errno::Errno;

use super::*;
use crate::load::options::Kind;
use crate::load::rig::Rig;

const SIZE: usize = 20;

fn rig(plan: Plan) -> Rig<Datagrams> {
    let server = plan.server.to_string().replace("tcp", "udp");
    let mut rig = Rig::new(Plan {
        ways: vec![server.parse().expect("an address")],
        ..plan
    });
    rig.pass(1);
    assert!(rig.crew.have_reached(Phase::Connecting));
    rig.tell(Phase::Warming);
    rig.tell(Phase::Measuring);
    rig
}

fn datagrams(depth: u32) -> Rig<Datagrams> {
    rig(Plan::of(Kind::Echo, 1, SIZE, depth))
}

impl Rig<Datagrams> {
    /// The datagrams sent since the last call.
    fn asked(&mut self) -> Vec<Vec<u8>> {
        let sent = self.script.take_datagrams();
        sent.into_iter().map(|(_, datagram)| datagram).collect()
    }

    fn answer(&mut self, datagram: &[u8]) {
        let server = self.script.protocol().load.servers[0];
        self.script.datagram(server, datagram);
    }
}

#[test]
fn every_answer_is_followed_by_the_next_message() {
    let mut rig = datagrams(1);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10 {
        let asked = rig.asked();
        assert_eq!((asked.len(), asked[0].len()), (1, SIZE));
        rig.pass(2);
        rig.answer(&asked[0]);
        assert!(seen.insert(asked), "a message is sent again");
    }
    assert_eq!((rig.tally().messages, rig.latencies()), (10, vec![2; 10]));
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
}

#[test]
fn answers_may_overtake_one_another() {
    let mut rig = datagrams(3);
    let asked = rig.asked();
    assert_eq!(asked.len(), 3);
    asked.iter().rev().for_each(|datagram| rig.answer(datagram));
    assert_eq!((rig.tally().messages, rig.mismatches()), (3, vec![]));
    assert_eq!(rig.asked().len(), 3);
}

#[test]
fn an_answer_that_comes_twice() {
    let mut rig = datagrams(1);
    let asked = rig.asked();
    rig.answer(&asked[0]);
    rig.answer(&asked[0]);
    assert_eq!(rig.mismatches(), [(Mismatch::Repeated, 1)]);
    assert_eq!(rig.tally().messages, 1);
}

#[test]
fn an_answer_that_was_changed_or_cut() {
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 2] = [|datagram| datagram[7] ^= 1, |datagram| datagram.truncate(7)];
    for change in changes {
        let mut rig = datagrams(1);
        let mut answer = rig.asked().remove(0);
        change(&mut answer);
        rig.answer(&answer);
        rig.answer(b"");
        assert_eq!(rig.mismatches(), [(Mismatch::Garbled, 2)]);
    }
}

#[test]
fn the_answer_to_another_socket() {
    let mut rig = rig(Plan::of(Kind::Echo, 2, SIZE, 1));
    let asked = rig.asked();
    // A script speaks to the first socket only.
    rig.answer(&asked[1]);
    assert_eq!(rig.mismatches(), [(Mismatch::Foreign, 1)]);
}

#[test]
fn capitals_are_expected_of_upper() {
    let mut rig = rig(Plan::of(Kind::Upper, 1, SIZE, 1));
    let answer = rig.asked()[0].to_ascii_uppercase();
    rig.answer(&answer);
    assert_eq!((rig.tally().messages, rig.mismatches()), (1, vec![]));
}

#[test]
fn an_answer_that_is_lost_makes_room_for_another_message() {
    let mut rig = datagrams(1);
    let lost = rig.asked();
    rig.pass(990);
    assert!(rig.asked().is_empty() && rig.problems().is_empty());
    rig.pass(30);
    assert_eq!(rig.problems(), [("no answer in time", 1)]);
    let asked = rig.asked();
    assert_eq!(asked.len(), 1);
    rig.answer(&lost[0]);
    assert_eq!(rig.mismatches(), [(Mismatch::Repeated, 1)], "too late");
    rig.answer(&asked[0]);
    assert_eq!(rig.tally().messages, 1);
}

#[test]
fn the_last_answers_are_waited_for() {
    let mut rig = datagrams(2);
    let asked = rig.asked();
    rig.tell(Phase::Settling);
    rig.answer(&asked[0]);
    assert!(!rig.crew.have_reached(Phase::Settling));
    rig.pass(1_020);
    assert!(rig.crew.have_reached(Phase::Settling));
    rig.tell(Phase::Ending);
    assert_eq!(rig.problems(), [("no answer in time", 1)]);
    assert!(rig.asked().is_empty());
}

#[test]
fn nobody_is_there() {
    let mut rig = datagrams(1);
    let refused = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));
    rig.script.udp_error(0, refused);
    rig.script.udp_error(0, refused);
    assert_eq!(rig.problems(), [("refused: Connection refused", 1)]);
    assert!(rig.crew.is_hopeless());
}

#[test]
fn latency_counts_from_the_planned_time() {
    let mut rig = rig(Plan {
        rate: Some(1000.0),
        ..Plan::of(Kind::Echo, 1, SIZE, 1)
    });
    rig.pass(4);
    for _ in 0..4 {
        let asked = rig.asked();
        assert_eq!(asked.len(), 1);
        rig.answer(&asked[0]);
    }
    assert_eq!(rig.latencies(), [1, 2, 3, 4]);
    rig.pass(2);
    rig.tell(Phase::Settling);
    assert_eq!((rig.tally().behind, rig.tally().messages), (2, 4));
}

/// The server can answer a tenth of what is planned: a message that was sent late has as much time
/// as any other.
#[test]
fn what_was_sent_late_is_not_lost() {
    let mut rig = rig(Plan {
        rate: Some(1000.0),
        ..Plan::of(Kind::Echo, 1, SIZE, 1)
    });
    for _ in 0..300 {
        rig.pass(10);
        let asked = rig.asked();
        assert_eq!(asked.len(), 1);
        rig.answer(&asked[0]);
    }
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
    let longest = rig.latencies().into_iter().max();
    assert!(
        longest > Some(2_500),
        "it was planned long ago: {longest:?}"
    );
}
