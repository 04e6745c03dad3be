//! Sources that no edge will bring back: the ready list and the starved list.
//!
//! An edge comes once. A source that stops before it is drained has to be remembered: on the ready
//! list if its budget was spent, on the starved list if the kernel lacked memory or descriptors, of
//! which no event tells that there are some again. Connections, listeners and UDP sockets all put
//! themselves there, by their token.

use std::collections::VecDeque;

use crate::poll::Token;

/// The sources that go on without an event.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    ready: VecDeque<Token>,
    /// How many of the ready list have their turn in this turn of the loop. The others came later: a
    /// source has one budget in a turn.
    due: usize,
    starved: Vec<Token>,
}

impl Lists {
    /// A turn begins. What is on the ready list now has its turn in it.
    pub(crate) fn begin_turn(&mut self) {
        self.due = self.ready.len();
    }

    /// Takes the next of the sources whose turn it is from the ready list.
    pub(crate) fn next(&mut self) -> Option<Token> {
        self.due = self.due.checked_sub(1)?;
        self.ready.pop_front()
    }

    /// Whether the next wait must not wait.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts a source on the ready list. A source keeps count of that itself, and is there once.
    pub(crate) fn add_ready(&mut self, source: Token) {
        self.ready.push_back(source);
    }

    /// Puts a source on the starved list.
    pub(crate) fn add_starved(&mut self, source: Token) {
        self.starved.push(source);
    }

    /// There may be memory and descriptors again: all starved sources become ready. They have had
    /// nothing of this turn, so they are due in it.
    pub(crate) fn feed(&mut self) {
        for source in self.starved.drain(..) {
            self.ready.push_front(source);
            self.due += 1;
        }
    }
}
