//! Signals for a server whose reactor handles none: another thread takes them, and passes them on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A signal's request to a server, other than to stop or to report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// SIGHUP: files are read again or opened anew. The log is the other thread's affair.
    Reload,
    /// The terminal is to be drawn again.
    Redraw,
}

/// The numbers of orders that were given so far.
#[derive(Debug, Default)]
struct Given {
    reloads: AtomicU32,
    redraws: AtomicU32,
}

/// The orders of one thread for several servers. Each server has a clone, which knows the orders that it
/// has taken. Orders of one kind that are given before a server takes them are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    given: Arc<Given>,
    /// Numbers of reloads and redraws that were taken.
    taken: (u32, u32),
}

impl Orders {
    /// Gives an order to all servers, which have to be woken then.
    pub(crate) fn give(&self, order: Order) {
        let count = match order {
            Order::Reload => &self.given.reloads,
            Order::Redraw => &self.given.redraws,
        };
        count.fetch_add(1, Ordering::Release);
    }

    /// Whether there is an order that was not taken.
    pub(crate) fn are_given(&self) -> bool {
        self.counts() != self.taken
    }

    /// Takes the orders that were given since the last call.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Order> + use<> {
        let given = self.counts();
        let before = std::mem::replace(&mut self.taken, given);
        let reload = (before.0 != given.0).then_some(Order::Reload);
        let redraw = (before.1 != given.1).then_some(Order::Redraw);
        reload.into_iter().chain(redraw)
    }

    fn counts(&self) -> (u32, u32) {
        let Given { reloads, redraws } = &*self.given;
        let load = |count: &AtomicU32| count.load(Ordering::Acquire);
        (load(reloads), load(redraws))
    }
}
