//! Letters from the workers to their supervisor.

use std::sync::mpsc::Sender;

use edgeloop_reactor::{TurnClock, Waker};

use crate::figures::Counters;

/// News, and the number of the worker that sent it.
pub(super) struct Letter {
    pub(super) from: usize,
    pub(super) news: News,
}

pub(super) enum News {
    /// The worker serves.
    Started(Started),
    /// The worker's counters, in reply to [`Waker::report`].
    Counted(Box<Counters>),
    /// The worker serves no more. An error is a message for the user.
    Ended(Result<(), String>),
    /// The time has come for a report; the supervisor's reactor says so itself.
    ReportIsDue,
}

/// A worker that serves.
pub(super) struct Started {
    /// It reaches the worker.
    pub(super) waker: Waker,
    /// The times of its turns, if they are measured.
    pub(super) clock: Option<TurnClock>,
    /// Its server reads files again or opens them anew on SIGHUP.
    pub(super) reloads: bool,
}

/// The way to the supervisor. A channel has no descriptor that a reactor could wait for, so each
/// letter wakes the supervisor's reactor as well.
#[derive(Clone)]
pub(super) struct Mail {
    from: usize,
    letters: Sender<Letter>,
    supervisor: Waker,
}

impl Mail {
    pub(super) fn new(from: usize, letters: &Sender<Letter>, supervisor: &Waker) -> Mail {
        Mail {
            from,
            letters: letters.clone(),
            supervisor: supervisor.clone(),
        }
    }

    pub(super) fn send(&self, news: News) {
        let from = self.from;
        // Both fail only when the program ends and the supervisor has gone.
        let _ = self.letters.send(Letter { from, news });
        let _ = self.supervisor.wake();
    }
}
