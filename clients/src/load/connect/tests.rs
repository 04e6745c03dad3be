use edgeloop_reactor::{ConnId, SystemError};
use nix::errno::Errno;

use super::*;
use crate::load::options::Kind;
use crate::load::plan::Plan;
use crate::load::rig::Rig;

const SIZE: usize = 20;

fn rig(plan: Plan) -> Rig<Connect> {
    let mut rig = Rig::new(plan);
    rig.tell(Phase::Warming);
    rig.tell(Phase::Measuring);
    rig
}

fn connect(lanes: u32) -> Rig<Connect> {
    rig(Plan::of(Kind::Connect, lanes, SIZE, 1))
}

impl Rig<Connect> {
    /// The lanes that ask for a connection.
    fn wanted(&mut self) -> Vec<u64> {
        let connects = self.script.take_connects();
        connects.into_iter().map(|(.., lane)| lane).collect()
    }

    fn attempt(&self, lane: u64) -> ConnId {
        self.script.connecting(lane).expect("it connects")
    }

    /// A lane's connection is opened: its message.
    fn accept(&mut self, lane: u64) -> (ConnId, Vec<u8>) {
        let id = self.attempt(lane);
        self.script.connected(id);
        (id, self.script.take_output(id))
    }

    /// A whole cycle, answered as it should be.
    fn serve(&mut self, lane: u64) {
        let (id, message) = self.accept(lane);
        self.script.data(id, &message);
        assert!(self.script.is_half_closed(id), "we end first");
        self.script.eof(id);
    }
}

#[test]
fn one_cycle_follows_upon_another() {
    let mut rig = connect(2);
    assert!(rig.crew.have_reached(Phase::Connecting));
    assert_eq!(rig.wanted(), [0, 1]);
    for _ in 0..5 {
        rig.serve(1);
        assert_eq!(rig.wanted(), [1]);
    }
    rig.serve(0);
    assert_eq!(rig.tally().messages, 6);
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
}

#[test]
fn a_message_is_checked_in_parts() {
    let mut rig = connect(1);
    let (id, message) = rig.accept(0);
    assert_eq!(message.len(), SIZE);
    message.chunks(3).for_each(|part| rig.script.data(id, part));
    rig.script.eof(id);
    assert_eq!(rig.tally().messages, 1);
}

#[test]
fn what_is_wrong_with_an_answer_is_found() {
    type Answer = fn(&[u8], &[u8]) -> Vec<u8>;
    let cases: [(Answer, Mismatch); 3] = [
        (|own, _| [&own[1..], &own[..1]].concat(), Mismatch::Garbled),
        (|_, other| other.to_vec(), Mismatch::Foreign),
        (|own, _| [own, b"x"].concat(), Mismatch::Unasked),
    ];
    for (answer, mismatch) in cases {
        let mut rig = connect(2);
        let ((own_id, own), (_, other)) = (rig.accept(0), rig.accept(1));
        rig.script.data(own_id, &answer(&own, &other));
        assert_eq!(rig.mismatches(), [(mismatch, 1)]);
        assert_eq!(rig.script.closed(own_id), Some(Closed::Aborted));
        assert_eq!(rig.tally().messages, 0);
    }
}

#[test]
fn the_answer_of_the_cycle_before() {
    let mut rig = connect(1);
    let (id, before) = rig.accept(0);
    rig.script.data(id, &before);
    rig.script.eof(id);
    let (id, _) = rig.accept(0);
    rig.script.data(id, &before);
    assert_eq!(rig.mismatches(), [(Mismatch::Repeated, 1)]);
}

#[test]
fn an_early_end() {
    let mut rig = connect(2);
    let (id, message) = rig.accept(0);
    rig.script.data(id, &message[1..1]);
    rig.script.eof(id);
    assert_eq!(rig.problems(), [("closed early: end of file", 1)]);
    let (id, message) = rig.accept(1);
    rig.script.data(id, &message);
    rig.script.close(id, Closed::Reset);
    assert_eq!(rig.problems().len(), 2);
    assert!(rig.crew.is_hopeless(), "both lanes are given up");
}

#[test]
fn connections_that_cannot_be_opened() {
    let mut rig = connect(1);
    let no_port = Closed::Error(SystemError::new(Errno::EADDRNOTAVAIL as i32));
    rig.script.connect_error(rig.attempt(0), no_port);
    assert_eq!(
        rig.problems(),
        [("connect: Cannot assign requested address", 1)]
    );
    assert!(rig.crew.is_hopeless());
}

#[test]
fn whoever_finds_the_queue_full_tries_again() {
    let mut rig = connect(1);
    assert_eq!(rig.wanted(), [0]);
    for _ in 0..3 {
        rig.script.connect_error(rig.attempt(0), QUEUE_FULL);
        assert!(rig.wanted().is_empty());
        rig.pass(1);
        assert_eq!(rig.wanted(), [0]);
    }
    rig.serve(0);
    assert_eq!((rig.latencies(), rig.problems()), (vec![3], vec![]));
}

#[test]
fn the_last_cycles_are_waited_for() {
    let mut rig = connect(2);
    assert_eq!(rig.wanted(), [0, 1]);
    let (id, message) = rig.accept(0);
    rig.tell(Phase::Settling);
    rig.script.data(id, &message);
    rig.script.eof(id);
    assert!(rig.wanted().is_empty());
    assert!(!rig.crew.have_reached(Phase::Settling));
    rig.serve(1);
    assert!(rig.crew.have_reached(Phase::Settling));
}

#[test]
fn a_cycle_that_does_not_end() {
    let mut rig = connect(2);
    let (id, message) = rig.accept(0);
    rig.script.data(id, &message);
    rig.tell(Phase::Settling);
    rig.tell(Phase::Ending);
    assert_eq!(rig.problems(), [("no answer in time", 2)]);
    assert_eq!(rig.script.closed(id), Some(Closed::Aborted));
    assert!(rig.crew.have_reached(Phase::Ending));
}

/// Cycles are due at 0, 1, 2, ... ms, one at a time, and the first one takes 5 ms.
#[test]
fn latency_counts_from_the_planned_time() {
    let mut rig = rig(Plan {
        rate: Some(1000.0),
        ..Plan::of(Kind::Connect, 1, SIZE, 1)
    });
    assert_eq!(rig.wanted(), [0]);
    rig.pass(5);
    assert!(rig.wanted().is_empty());
    rig.serve(0);
    for _ in 0..3 {
        assert_eq!(rig.wanted(), [0]);
        rig.serve(0);
    }
    assert_eq!(rig.latencies(), [2, 3, 4, 5]);
    rig.tell(Phase::Settling);
    // Number 4 is under way, and 5 had no lane.
    assert_eq!((rig.tally().behind, rig.tally().messages), (1, 4));
}
