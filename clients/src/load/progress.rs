//! The line that tells how far a run is.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressFinish, ProgressStyle};

use super::crew::Count;
use super::options::Kind;
use crate::canvas;

/// No more than the conductor asks for; what is between two of them is not drawn.
const DRAWS_PER_SECOND: u8 = 20;

/// A line on standard error, if that is a terminal. It is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    bar: ProgressBar,
    kind: Kind,
    /// When it was drawn last, and what was counted then.
    last: (Instant, u64),
}

impl Line {
    pub(super) fn new(kind: Kind, is_wanted: bool) -> Line {
        let bar = match is_wanted && io::stderr().is_terminal() {
            true => ProgressBar::with_draw_target(None, canvas::target(DRAWS_PER_SECOND)),
            false => ProgressBar::hidden(),
        };
        let bar = bar.with_finish(ProgressFinish::AndClear);
        Line {
            bar: match ProgressStyle::with_template("{msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
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

    /// While messages go to and fro: how many a second since the last time.
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

    /// Shows what is being done, and how often something went wrong.
    pub(super) fn show(&mut self, what: &str, count: Count) {
        self.last = (Instant::now(), self.messages(count));
        self.bar.set_message(match count.wrong {
            0 => what.to_owned(),
            wrong => format!("{what}, {} errors", HumanCount(wrong)),
        });
        self.bar.tick();
    }

    /// What is shown by the second.
    fn messages(&self, count: Count) -> u64 {
        match self.kind {
            Kind::Chat => count.delivered,
            _ => count.answered,
        }
    }
}
