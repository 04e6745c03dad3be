//! The transcript: what is written, and what if it cannot be.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex};

use super::{Party, log_lines};
use crate::chat::Transcript;

/// A disk that tests can look at, and fill.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    written: Vec<u8>,
    /// A write takes no more than this.
    most: Option<usize>,
    failure: Option<ErrorKind>,
    interrupted: bool,
    calls: usize,
}

impl Disk {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    /// What was written since the last time, without the times, which are checked.
    fn lines(&self) -> Vec<String> {
        let written = std::mem::take(&mut self.0.lock().unwrap().written);
        let written = String::from_utf8(written).unwrap();
        assert!(written.is_empty() || written.ends_with('\n'));
        let without_time = |line: &str| {
            let (time, rest) = line.split_once(' ').unwrap();
            humantime::parse_rfc3339(time).unwrap();
            rest.to_owned()
        };
        written.lines().map(without_time).collect()
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        if std::mem::take(&mut state.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if let Some(failure) = state.failure {
            return Err(failure.into());
        }
        let count = state.most.unwrap_or(bytes.len()).min(bytes.len());
        state.written.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn party() -> (Party, Disk) {
    let disk = Disk::default();
    let transcript = Transcript::new(disk.clone());
    let party = Party::recorded(|settings| settings.rate = 0, Some(transcript));
    (party, disk)
}

#[test]
fn what_is_said_in_rooms_is_taken_down_once_a_second() {
    let (mut party, disk) = party();
    let (stdin, _) = party.operator();
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.sends(
        alice,
        b"hello \x1b[2J\n/me waves\n/msg bob a secret\n/who\n/nick Alice\n",
    );
    party.sends(bob, b"/join dev\nalone\n");
    party.says(stdin, "good night");
    assert_eq!((disk.lines(), disk.calls()), (vec![], 0));
    party.seconds_pass(1);
    assert_eq!(
        disk.lines(),
        [
            "lobby [alice] hello [2J",
            "lobby ** alice waves",
            "lobby * alice is now known as Alice",
            "dev [bob] alone",
            "* * operator: good night",
        ]
    );
    assert_eq!(disk.calls(), 1);
    party.seconds_pass(3600);
    assert_eq!(disk.calls(), 1, "nothing is written where nothing was said");
    party.says(alice, "the end");
    drop(party);
    assert_eq!(disk.lines(), ["lobby [Alice] the end"]);
}

#[test]
fn much_is_written_before_the_second_is_over_and_none_is_lost() {
    let (mut party, disk) = party();
    let [alice] = party.join_all(["alice"]);
    let line = "x".repeat(4000);
    for _ in 0..2000 {
        party.says(alice, &line);
    }
    party.seconds_pass(1);
    assert_eq!(disk.lines(), vec![format!("lobby [alice] {line}"); 2000]);
    assert!(disk.calls() < 100);
}

#[test]
fn a_write_may_be_short_or_interrupted() {
    let (mut party, disk) = party();
    disk.change(|state| (state.most, state.interrupted) = (Some(7), true));
    let [alice] = party.join_all(["alice"]);
    party.says(alice, "one\ntwo");
    party.seconds_pass(1);
    assert_eq!(disk.lines(), ["lobby [alice] one", "lobby [alice] two"]);
}

#[test]
fn a_full_disk_is_complained_of_once_and_is_not_the_end() {
    log_lines::keep();
    for full in [
        (|state| state.failure = Some(ErrorKind::StorageFull)) as fn(&mut State),
        |state| state.most = Some(0),
    ] {
        let (mut party, disk) = party();
        let [alice, bob] = party.join_all(["alice", "bob"]);
        party.says(alice, "before");
        party.seconds_pass(1);
        disk.change(full);
        for _ in 0..5 {
            party.says(alice, "meanwhile");
            party.seconds_pass(2);
        }
        let errors = log_lines::take_errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("ERROR cannot write the transcript: "));
        assert_eq!(party.hears(bob).lines().count(), 6, "people go on talking");
        disk.change(|state| (state.failure, state.most) = (None, None));
        party.seconds_pass(1);
        let kept = ["before"].into_iter().chain(["meanwhile"; 5]);
        let kept: Vec<String> = kept.map(|word| format!("lobby [alice] {word}")).collect();
        assert_eq!(disk.lines(), kept);
        disk.change(full);
        party.says(alice, "again");
        party.seconds_pass(1);
        assert_eq!(log_lines::take_errors().len(), 1, "a new trouble");
    }
}

#[test]
fn what_waits_for_a_full_disk_is_bounded_and_what_is_lost_is_counted() {
    log_lines::keep();
    let (mut party, disk) = party();
    let [alice] = party.join_all(["alice"]);
    disk.change(|state| state.failure = Some(ErrorKind::StorageFull));
    let line = "x".repeat(4000);
    for _ in 0..2000 {
        party.says(alice, &line);
    }
    party.seconds_pass(5);
    assert_eq!(log_lines::take_errors().len(), 1);
    assert!(
        disk.calls() < 10,
        "a failing disk is not tried for every line"
    );
    disk.change(|state| state.failure = None);
    party.seconds_pass(1);
    let kept = disk.lines();
    assert!((1000..1050).contains(&kept.len()), "{} lines", kept.len());
    assert!(
        kept.iter()
            .all(|kept| *kept == format!("lobby [alice] {line}"))
    );
    let errors = log_lines::take_errors();
    let missing = 2000 - kept.len();
    assert_eq!(
        errors,
        [format!(
            "ERROR lines missing from the transcript: {missing}"
        )]
    );
}
