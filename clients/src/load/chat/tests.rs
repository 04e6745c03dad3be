use super::*;
use crate::load::content::LINE_MIN;
use crate::load::options::Kind;
use crate::load::plan::Plan;
use crate::load::rig::Rig;

const SIZE: usize = LINE_MIN + 7;

/// A chat, played by the test. Members are in the order of their places.
struct Room {
    rig: Rig<Chat>,
    names: Vec<String>,
    /// Lines said that are not passed on yet, each with its author's place.
    said: Vec<(usize, String)>,
}

impl Room {
    /// A chat before the prompt.
    fn opened(plan: Plan) -> Room {
        Room {
            rig: Rig::new(plan).open(),
            names: Vec::new(),
            said: Vec::new(),
        }
    }

    /// A chat that all have joined, and that is being measured.
    fn joined(members: u32, talkers: u32, depth: u32) -> Room {
        Room::of(Plan {
            talkers,
            ..Plan::of(Kind::Chat, members, SIZE, depth)
        })
    }

    fn of(plan: Plan) -> Room {
        let mut room = Room::opened(plan);
        for place in 0..room.rig.ids.len() {
            room.tell(place, "Who are you?");
            let name = room.output(place);
            room.names.push(name.trim_end().to_owned());
            room.tell(place, "* The room contains: ");
        }
        let joined = room.rig.tally().connected;
        assert_eq!(joined, room.names.len() as u64);
        room.rig.tell(Phase::Warming);
        room.rig.tell(Phase::Measuring);
        room.listen();
        room
    }

    /// A member hears a line.
    fn tell(&mut self, place: usize, line: &str) {
        let line = format!("{line}\r\n");
        self.rig.script.data(self.rig.ids[place], line.as_bytes());
    }

    fn output(&mut self, place: usize) -> String {
        let output = self.rig.script.take_output(self.rig.ids[place]);
        String::from_utf8(output).expect("letters")
    }

    /// Takes the lines said since the last call.
    fn listen(&mut self) {
        for place in 0..self.names.len() {
            for line in self.output(place).lines() {
                assert_eq!(line.len(), SIZE - 1);
                let line = format!("[{}] {line}", self.names[place]);
                self.said.push((place, line));
            }
        }
    }

    /// The lines said, with the authors' places.
    fn take_said(&mut self) -> Vec<(usize, String)> {
        mem::take(&mut self.said)
    }

    /// All members but the author hear a line.
    fn pass_on(&mut self, (author, line): &(usize, String)) {
        for place in (0..self.names.len()).filter(|place| place != author) {
            self.tell(place, line);
        }
        self.listen();
    }

    fn problems(&self) -> Vec<(&str, u64)> {
        self.rig.problems()
    }
}

#[test]
fn names_are_given_when_asked_for() {
    let mut room = Room::opened(Plan::of(Kind::Chat, 3, SIZE, 1));
    let mut names = std::collections::HashSet::new();
    for place in 0..3 {
        assert_eq!(room.output(place), "");
        // The prompt may come in parts.
        let id = room.rig.ids[place];
        room.rig.script.data(id, b"Welcome to bud");
        assert_eq!(room.output(place), "");
        room.rig.script.data(id, b"getchat!\n");
        let name = room.output(place);
        assert!(
            name.trim_end()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric())
        );
        assert!(names.insert(name));
        assert_eq!(room.rig.tally().connected, place as u64);
        room.tell(place, "* The room is empty");
    }
    assert!(room.rig.crew.have_reached(Phase::Connecting));
    assert_eq!(room.rig.tally().connected, 3);
}

#[test]
fn a_line_is_said_when_the_one_before_was_heard_by_all() {
    let mut room = Room::joined(3, 1, 1);
    let said = room.take_said();
    assert_eq!(said.len(), 1);
    let (author, line) = &said[0];
    assert_eq!(*author, 0);
    room.rig.pass(3);
    room.tell(1, line);
    room.listen();
    assert_eq!(room.take_said(), []);
    room.rig.pass(2);
    room.tell(2, line);
    room.listen();
    assert_eq!(room.take_said().len(), 1);
    let tally = room.rig.tally();
    assert_eq!((tally.messages, tally.delivered), (1, 2));
    assert_eq!(room.rig.latencies(), [3, 5]);
}

#[test]
fn who_comes_and_goes_and_what_strangers_say_is_of_no_concern() {
    let mut room = Room::joined(2, 1, 1);
    for line in [
        "* bob has entered the room",
        "[bob] hi all",
        "",
        "* 5 people left",
    ] {
        room.tell(1, line);
    }
    assert_eq!((room.rig.mismatches(), room.problems()), (vec![], vec![]));
    let said = room.take_said();
    room.pass_on(&said[0]);
    assert_eq!(room.rig.tally().messages, 1);
}

#[test]
fn everybody_talks() {
    let mut room = Room::joined(4, 4, 3);
    for _ in 0..5 {
        let said = room.take_said();
        assert_eq!(said.len(), 4 * 3);
        said.iter().for_each(|line| room.pass_on(line));
    }
    let tally = room.rig.tally();
    assert_eq!((tally.messages, tally.delivered), (60, 180));
    assert_eq!((room.rig.mismatches(), room.problems()), (vec![], vec![]));
}

#[test]
fn a_line_that_comes_twice() {
    let mut room = Room::joined(2, 1, 1);
    let said = room.take_said();
    room.pass_on(&said[0]);
    room.tell(1, &said[0].1);
    assert_eq!(room.rig.mismatches(), [(Mismatch::Repeated, 1)]);
    assert_eq!(room.rig.tally().delivered, 1);
}

#[test]
fn a_line_that_is_lost() {
    let mut room = Room::joined(2, 1, 3);
    let said = room.take_said();
    room.tell(1, &said[2].1);
    assert_eq!(room.rig.mismatches(), [(Mismatch::Skipped, 2)]);
    // Lost lines are not waited for.
    room.listen();
    assert_eq!(room.take_said().len(), 3);
}

#[test]
fn lines_that_overtake_one_another() {
    let mut room = Room::joined(2, 1, 2);
    let said = room.take_said();
    room.tell(1, &said[1].1);
    room.tell(1, &said[0].1);
    let expected = [(Mismatch::Repeated, 1), (Mismatch::Skipped, 1)];
    assert_eq!(room.rig.mismatches(), expected);
}

#[test]
fn a_line_that_was_changed_or_cut() {
    for change in [str::to_uppercase as fn(&str) -> String, |text| {
        text[1..].to_owned()
    }] {
        let mut room = Room::joined(2, 1, 1);
        let said = room.take_said();
        let (name, text) = said[0].1.split_once(' ').expect("a name");
        room.tell(1, &format!("{name} {}", change(text)));
        assert_eq!(room.rig.mismatches(), [(Mismatch::Garbled, 1)]);
        assert_eq!(room.rig.tally().delivered, 0);
        // It stands for the line that it should have been.
        room.listen();
        let said = room.take_said();
        room.pass_on(&said[0]);
        assert_eq!(room.rig.tally().delivered, 1);
    }
}

#[test]
fn a_line_under_another_name() {
    let mut room = Room::joined(3, 2, 1);
    let said = room.take_said();
    let line = said[0].1.replace(&room.names[0], &room.names[1]);
    room.tell(2, &line);
    assert_eq!(room.rig.mismatches(), [(Mismatch::Garbled, 1)]);
    let line = said[0].1.replace(&room.names[0], &room.names[2]);
    room.tell(1, &line);
    assert_eq!(room.rig.mismatches(), [(Mismatch::Garbled, 2)]);
}

#[test]
fn nobody_hears_what_it_said_itself() {
    let mut room = Room::joined(2, 1, 1);
    let said = room.take_said();
    room.tell(0, &said[0].1);
    assert_eq!(room.rig.mismatches(), [(Mismatch::Unasked, 1)]);
}

#[test]
fn a_line_that_nobody_hears() {
    let mut room = Room::joined(2, 1, 2);
    let said = room.take_said();
    room.pass_on(&said[0]);
    room.rig.tell(Phase::Settling);
    assert!(!room.rig.crew.have_reached(Phase::Settling));
    room.rig.tell(Phase::Ending);
    assert_eq!(room.problems(), [("no answer in time", 2)]);
}

#[test]
fn a_member_that_is_lost_is_the_end_of_it() {
    let mut room = Room::joined(3, 1, 1);
    room.rig.script.eof(room.rig.ids[2]);
    assert_eq!(room.problems(), [("closed early: end of file", 1)]);
    assert!(room.rig.crew.is_hopeless());
}

#[test]
fn a_name_that_is_refused() {
    let mut room = Room::opened(Plan::of(Kind::Chat, 2, SIZE, 1));
    room.tell(0, "Who are you?");
    room.tell(0, "this name is taken");
    let problem = "not let into the chat: this name is taken";
    assert_eq!(room.problems(), [(problem, 1)]);
    assert!(room.rig.crew.is_hopeless());
}

/// A run that was cut short goes through its phases while members join.
#[test]
fn a_member_that_joins_too_late_takes_no_part() {
    let mut room = Room::opened(Plan::of(Kind::Chat, 2, SIZE, 1));
    for place in 0..2 {
        room.tell(place, "Who are you?");
    }
    room.tell(0, "* The room contains: ");
    room.rig.tell(Phase::Measuring);
    room.tell(1, "* The room contains: ");
    assert_eq!(
        room.rig.script.closed(room.rig.ids[1]),
        Some(Closed::Aborted)
    );
    assert_eq!(room.rig.crew.count().open, 1);
    room.rig.script.eof(room.rig.ids[0]);
    assert_eq!(room.rig.crew.count().open, 0);
}

#[test]
fn a_server_that_does_not_ask() {
    let mut room = Room::opened(Plan::of(Kind::Chat, 2, SIZE, 1));
    room.rig.pass(1_001);
    let problem = "the server did not ask for a name in time";
    assert_eq!(room.problems(), [(problem, 2)]);
    assert!(room.rig.crew.have_reached(Phase::Connecting));
}

#[test]
fn a_good_end() {
    let mut room = Room::joined(3, 2, 1);
    let said = room.take_said();
    room.rig.tell(Phase::Settling);
    said.iter().for_each(|line| room.pass_on(line));
    assert_eq!(room.take_said(), []);
    assert!(room.rig.crew.have_reached(Phase::Settling));
    room.rig.tell(Phase::Ending);
    assert!(room.rig.crew.have_reached(Phase::Ending));
    assert_eq!((room.rig.mismatches(), room.problems()), (vec![], vec![]));
}

/// Lines are due at 0, 1, 2, ... ms, and the server passes nothing on until 3 ms have passed.
#[test]
fn latency_counts_from_the_planned_time() {
    let mut room = Room::of(Plan {
        talkers: 1,
        rate: Some(1000.0),
        ..Plan::of(Kind::Chat, 3, SIZE, 1)
    });
    room.rig.pass(3);
    for _ in 0..4 {
        let said = room.take_said();
        assert_eq!(said.len(), 1);
        room.pass_on(&said[0]);
    }
    assert_eq!(room.rig.latencies(), [0, 0, 1, 1, 2, 2, 3, 3]);
    room.rig.pass(3);
    room.rig.tell(Phase::Settling);
    assert_eq!(room.rig.tally().behind, 2);
    // 4 is under way; 5 and 6 have not reached two listeners each.
    let latencies = room.rig.latencies();
    assert_eq!(latencies, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3]);
}

/// Two workers, of two members each: the first one's talker goes on when the second worker's
/// members have heard it too.
#[test]
fn lines_are_waited_for_in_all_threads() {
    let plan = Plan {
        workers: 2,
        talkers: 1,
        ..Plan::of(Kind::Chat, 4, SIZE, 1)
    };
    let mut room = Room::of(plan);
    assert_eq!(room.names.len(), 2);
    let said = room.take_said();
    room.pass_on(&said[0]);
    assert_eq!(room.take_said(), []);
    let ledger = &room.rig.crew.ledger;
    assert!(ledger.note(0, 0));
    ledger.post(0, 0);
    room.rig.script.wake();
    room.listen();
    assert_eq!(room.take_said().len(), 1);
}

/// The only member of a worker has no listener in its thread.
#[test]
fn a_garbled_line_under_the_name_of_whoever_hears_it() {
    let plan = Plan {
        workers: 2,
        ..Plan::of(Kind::Chat, 2, SIZE, 1)
    };
    let mut room = Room::of(plan);
    for count in 1..4 {
        let line = format!("[{}] hello", room.names[0]);
        room.tell(0, &line);
        assert_eq!(room.rig.mismatches(), [(Mismatch::Garbled, count)]);
    }
}

/// Four members, two of which talk: the last one says a probe, and the one before notes the order.
fn probed(depth: u32) -> (Room, (usize, String)) {
    let mut room = Room::joined(4, 2, depth);
    let lines = 2 * depth as usize;
    for _ in 0..4 {
        let said = room.take_said();
        assert_eq!(said.len(), lines);
        said.iter().for_each(|line| room.pass_on(line));
    }
    room.rig.pass(186);
    room.listen();
    assert_eq!(room.said.len(), lines);
    room.rig.pass(1);
    room.listen();
    let probe = room.said.pop().expect("a probe");
    assert_eq!(probe.0, 3);
    (room, probe)
}

#[test]
fn a_server_that_holds_the_talkers_back_is_noticed_by_what_overtakes_them() {
    let (mut room, probe) = probed(1);
    let said = room.take_said();
    room.pass_on(&probe);
    said.iter().for_each(|line| room.pass_on(line));
    let order = room.rig.tally().order;
    assert_eq!((order.kept, order.overtaken), (0, 2));
    // A line that was said after the probe has nothing to do with it.
    let said = room.take_said();
    said.iter().for_each(|line| room.pass_on(line));
    assert_eq!(room.rig.tally().order, order);
    assert_eq!((room.rig.mismatches(), room.problems()), (vec![], vec![]));
    let tally = room.rig.tally();
    assert_eq!((tally.messages, tally.delivered), (12, 36));
}

/// One line of each member in turn: the first ones come before the probe.
#[test]
fn a_server_that_serves_its_members_in_turn_holds_nobody_back() {
    let (mut room, probe) = probed(3);
    let said = room.take_said();
    let (first, later): (Vec<_>, Vec<_>) = said.chunks(3).map(|of_one| of_one.split_at(1)).unzip();
    first.concat().iter().for_each(|line| room.pass_on(line));
    room.pass_on(&probe);
    later.concat().iter().for_each(|line| room.pass_on(line));
    let order = room.rig.tally().order;
    assert_eq!((order.kept, order.overtaken), (2, 0));
}

#[test]
fn a_slow_server_delays_all_alike() {
    let (mut room, probe) = probed(1);
    let said = room.take_said();
    room.rig.pass(500);
    said.iter().for_each(|line| room.pass_on(line));
    room.pass_on(&probe);
    let order = room.rig.tally().order;
    assert_eq!((order.kept, order.overtaken), (2, 0));
}

/// A probe that is not passed on is not followed by others.
#[test]
fn one_probe_is_under_way_at_a_time() {
    let (mut room, _) = probed(1);
    for _ in 0..10 {
        let said = room.take_said();
        said.iter().for_each(|line| room.pass_on(line));
        room.rig.pass(187);
        room.listen();
        assert!(room.said.iter().all(|(author, _)| *author < 2));
    }
}
