use edgeloop_reactor::SystemError;
use nix::errno::Errno;

use super::*;
use crate::load::crew::Phase;
use crate::load::options::Kind;
use crate::load::rig::Rig;

const SIZE: usize = 1000;

fn rig(plan: Plan) -> Rig<Sink> {
    let mut rig = Rig::new(plan).open();
    rig.tell(Phase::Measuring);
    rig
}

fn sink(connections: u32) -> Rig<Sink> {
    rig(Plan::of(Kind::Sink, connections, SIZE, 1))
}

impl Rig<Sink> {
    fn fed(&mut self, place: usize) -> Vec<u8> {
        self.script.take_output(self.ids[place])
    }

    /// The kernel refuses some lines of a stream, or has taken all of them by now.
    fn refuse(&mut self, place: usize, refused: bool) {
        self.script.high_water(self.ids[place], refused);
    }
}

#[test]
fn whole_lines_are_sent() {
    let mut rig = sink(1);
    let fed = rig.fed(0);
    assert_eq!(fed.len(), CHUNK.next_multiple_of(SIZE));
    for line in fed.chunks(SIZE) {
        let (end, text) = line.split_last().expect("a line");
        assert_eq!(*end, b'\n');
        assert!(text.iter().all(u8::is_ascii_lowercase));
    }
}

#[test]
fn who_is_refused_nothing_is_fed_again_in_the_next_turn() {
    let mut rig = sink(2);
    for turn in 1..5 {
        let fed = [rig.fed(0), rig.fed(1)];
        assert!(fed.iter().all(|fed| !fed.is_empty()));
        // Lines are known to be taken when nothing was refused until the next turn.
        rig.script.wake();
        let lines = 2 * fed[0].len() / SIZE;
        assert_eq!(rig.tally().messages, (turn * lines) as u64);
        assert_eq!(rig.tally().bytes_sent, (turn * 2 * fed[0].len()) as u64);
    }
}

#[test]
fn who_is_refused_waits_for_room() {
    let mut rig = sink(1);
    let lines = (rig.fed(0).len() / SIZE) as u64;
    rig.refuse(0, true);
    (0..3).for_each(|_| rig.script.wake());
    assert_eq!((rig.fed(0).len(), rig.tally().messages), (0, 0));
    rig.refuse(0, false);
    assert_eq!(rig.tally().messages, lines);
    assert!(!rig.fed(0).is_empty());
}

#[test]
fn who_was_refused_for_a_moment_is_not_fed_twice() {
    let mut rig = sink(1);
    let portion = rig.fed(0).len();
    rig.refuse(0, true);
    rig.refuse(0, false);
    assert_eq!(rig.fed(0).len(), portion);
    for _ in 0..3 {
        rig.script.wake();
        assert_eq!(rig.fed(0).len(), portion);
    }
}

#[test]
fn a_server_that_answers() {
    let mut rig = sink(1);
    rig.script.data(rig.ids[0], b"what?");
    assert_eq!(rig.mismatches(), [(Mismatch::Unasked, 1)]);
    assert_eq!(rig.script.closed(rig.ids[0]), Some(Closed::Aborted));
}

#[test]
fn an_early_end() {
    let mut rig = sink(1);
    rig.script.close(rig.ids[0], Closed::Reset);
    assert_eq!(rig.problems(), [("closed early: reset by peer", 1)]);
    assert!(rig.crew.is_hopeless());
}

#[test]
fn connections_that_cannot_be_opened() {
    let mut rig: Rig<Sink> = Rig::new(Plan::of(Kind::Sink, 1, SIZE, 1));
    let refused = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));
    let attempt = rig.script.connecting(0).unwrap();
    rig.script.connect_error(attempt, refused);
    assert_eq!(rig.problems(), [("connect: Connection refused", 1)]);
}

#[test]
fn the_end_is_good_when_the_server_has_read_everything() {
    let mut rig = sink(1);
    rig.refuse(0, true);
    rig.tell(Phase::Settling);
    assert!(
        !rig.crew.have_reached(Phase::Settling),
        "something is still to be sent"
    );
    rig.fed(0);
    rig.refuse(0, false);
    assert!(rig.crew.have_reached(Phase::Settling));
    assert_eq!(rig.fed(0), b"");
    rig.tell(Phase::Ending);
    assert!(rig.script.is_half_closed(rig.ids[0]));
    assert!(!rig.crew.have_reached(Phase::Ending));
    rig.script.eof(rig.ids[0]);
    assert!(rig.crew.have_reached(Phase::Ending));
    assert_eq!((rig.mismatches(), rig.problems()), (vec![], vec![]));
}

#[test]
fn a_server_that_has_not_read_everything() {
    let mut rig = sink(2);
    rig.tell(Phase::Settling);
    rig.tell(Phase::Ending);
    rig.script.close(rig.ids[0], Closed::Reset);
    rig.tell(Phase::Over);
    let expected = [
        ("closed early: reset by peer", 1),
        ("no end of the stream in time", 1),
    ];
    assert_eq!(rig.problems(), expected);
}

#[test]
fn a_plan_is_kept() {
    let plan = Plan {
        rate: Some(1000.0),
        ..Plan::of(Kind::Sink, 2, SIZE, 1)
    };
    let mut rig = rig(plan);
    for number in 0..6 {
        let fed = [rig.fed(0).len(), rig.fed(1).len()];
        assert_eq!(fed, [[SIZE, 0], [0, SIZE]][number % 2]);
        rig.pass(1);
    }
    // A stream that had no room sends the lines due meanwhile later.
    rig.fed(0);
    rig.refuse(0, true);
    rig.pass(6);
    assert_eq!(rig.fed(0).len(), 0);
    rig.refuse(0, false);
    assert_eq!(rig.fed(0).len(), 3 * SIZE);
}

/// To feed may take longer than it takes until the next tick.
#[test]
fn ticks_that_come_while_somebody_is_fed_do_not_keep_the_turn_from_ending() {
    let plan = Plan {
        rate: Some(1000.0),
        ..Plan::of(Kind::Sink, 1, SIZE, 1)
    };
    let mut rig = rig(plan);
    assert_eq!(rig.fed(0).len(), SIZE);
    rig.pass_one_unnoticed();
    rig.tick();
    assert_eq!(rig.fed(0).len(), 0);
    rig.script.wake();
    assert_eq!(rig.fed(0).len(), SIZE);
}

#[test]
fn who_is_fed_already_is_not_fed_once_more_at_the_end() {
    let mut rig = sink(1);
    let portion = rig.fed(0).len();
    rig.tell(Phase::Settling);
    assert_eq!(rig.fed(0).len(), portion);
    assert_eq!(rig.tally().messages, (portion / SIZE) as u64);
}
