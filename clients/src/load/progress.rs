//! The progress line of a run.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar};

use super::crew::Count;
use super::options::Kind;
use crate::canvas;

/// Twice as many as the conductor asks for, so that each one is drawn.
const DRAWS_PER_SECOND: u8 = 20;

/// A line on standard error, if that is a terminal. It is erased when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    bar: ProgressBar,
    kind: Kind,
    /// Time and count of the last drawing.
    last: (Instant, u64),
}

impl Line {
    pub(super) fn new(kind: Kind, is_wanted: bool) -> Line {
        Line {
            bar: match is_wanted && io::stderr().is_terminal() {
                true => canvas::bar(None, "{msg}", DRAWS_PER_SECOND),
                false => ProgressBar::hidden(),
            },
            kind,
            last: (Instant::now(), 0),
        }
    }

    pub(super) fn connecting(&mut self, count: Count, all: u32) {
        let open = HumanCount(count.open);
        let all = HumanCount(all.into());
        self.show(&format!("connecting: {open} of {all}"), count);
    }

    /// Shows the rate since the last drawing, while messages go to and fro.
    pub(super) fn sending(&mut self, what: &str, count: Count, left: Duration) {
        let (at, before) = self.last;
        let passed = at.elapsed().as_secs_f64();
        let rate = HumanCount((self.messages(count).saturating_sub(before) as f64 / passed) as u64);
        let of = match self.kind {
            Kind::Chat => "lines heard",
            Kind::Sink => "lines sent",
            Kind::Connect => "connections",
            Kind::Echo | Kind::Upper => "messages",
        };
        let left = left.as_secs_f64().ceil();
        self.show(
            &format!("{what}: {rate} {of} a second, {left}s left"),
            count,
        );
    }

    /// Shows the current step, and the number of errors.
    pub(super) fn show(&mut self, what: &str, count: Count) {
        self.last = (Instant::now(), self.messages(count));
        self.bar.set_message(match count.wrong {
            0 => what.to_owned(),
            wrong => format!("{what}, {} errors", HumanCount(wrong)),
        });
        self.bar.tick();
    }

    /// The count of which the rate is shown.
    fn messages(&self, count: Count) -> u64 {
        match self.kind {
            Kind::Chat => count.delivered,
            _ => count.answered,
        }
    }
}
