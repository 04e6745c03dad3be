//! The lines of the log, and a logger by which tests see them.

use std::cell::RefCell;
use std::sync::Once;

use edgeloop_reactor::Closed;
use log::{LevelFilter, Log, Metadata, Record};

use super::Party;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the lines that each thread logs; a test runs on a thread of its own.
struct Keeper;

impl Log for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("edgeloop")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}", record.level(), record.args());
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn flush(&self) {}
}

/// Starts to keep the log of this thread.
pub(super) fn keep() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        log::set_logger(&Keeper).expect("there is no other logger in tests");
        log::set_max_level(LevelFilter::Info);
    });
    drop(take());
}

/// The lines that were logged since the last call.
pub(super) fn take() -> Vec<String> {
    LINES.take()
}

#[test]
fn joins_leaves_with_their_cause_refused_names_and_kicks_are_logged_and_words_are_not() {
    keep();
    let mut party = Party::new();
    let (stdin, _) = party.operator();
    let [alice, bob, carol] = party.join_all(["alice", "bob", "carol"]);
    let nobody = party.connect();
    party.says(nobody, "no\x1bname");
    party.says(alice, "a word");
    party.says(alice, "/nick Alice");
    party.says(alice, "/msg bob a secret");
    party.script.close(alice, Closed::SlowConsumer);
    party.says(bob, "/quit last words");
    party.says(stdin, "/kick carol");
    party.connect();
    party.seconds_pass(60);
    assert!(party.is_closed(carol));
    let mut lines = take();
    let mut ports = 40_000..;
    for line in &mut lines {
        if line.contains("127.0.0.1") {
            let at = line.find("127.0.0.1:").unwrap() + "127.0.0.1:".len();
            let port: u16 = line[at..at + 5].parse().unwrap();
            assert!(ports.contains(&port));
            ports.start = port;
            line.replace_range(at..at + 5, "PORT");
        }
    }
    assert_eq!(
        lines,
        [
            "INFO alice has joined from 127.0.0.1:PORT",
            "INFO bob has joined from 127.0.0.1:PORT",
            "INFO carol has joined from 127.0.0.1:PORT",
            r"INFO refused the name 'no\x1bname' from 127.0.0.1:PORT: a name has letters and digits only",
            "INFO alice is now Alice",
            "INFO Alice has left: too slow a reader",
            "INFO bob has left: quit",
            "INFO carol has left: kicked by the operator",
            "INFO refused 127.0.0.1:PORT: no name in time",
        ]
    );
}
