//! The words that servers and the code that runs them have in common.

use std::io;
use std::time::Duration;

use clap::Args;
use edgeloop_reactor::{Address, ConnId, Limits, Opened, Outbox, Protocol, Stats, Waker};

use crate::figures::Figure;
use crate::options::Options;
pub(crate) use crate::place::{CLIENT, WEB};

/// A [`Protocol`] that this program serves, and its needs besides.
pub trait Server: Protocol {
    /// The standard streams that it reads or writes, as connections with these tags.
    fn streams(&self) -> StandardStreams {
        StandardStreams::default()
    }

    /// The server listens, at these addresses: the first that it hears.
    fn on_listening(&mut self, at: &[Address], out: &mut Outbox) {
        let _ = (at, out);
    }

    /// Figures of its own, for `--stats` and `/metrics`. `now`: the time on the clock of
    /// [`Outbox::now`].
    fn figures(&self, now: Duration) -> Vec<Figure> {
        let _ = now;
        Vec::new()
    }

    /// Changes the limits as the server needs them, and is the place to learn of them.
    fn adjust(&mut self, limits: &mut Limits) {
        let _ = limits;
    }

    /// Whether a WebSocket may be opened with this query: what follows the `?` in its address, and is
    /// empty if there is none. Otherwise its request is refused.
    fn takes_query(&self, query: &str) -> bool {
        let _ = query;
        true
    }

    /// A WebSocket was opened with this query: heard in place of `on_open`.
    fn on_visit(&mut self, id: ConnId, opened: Opened, query: &str, out: &mut Outbox) {
        let _ = query;
        self.on_open(id, opened, out);
    }

    /// WebSockets whose place others have taken since this was last asked: they are to be closed, and the
    /// server has forgotten them. It is asked after `on_visit` and `on_service_timer`.
    fn take_replaced(&mut self) -> Vec<ConnId> {
        Vec::new()
    }

    /// The peer of a WebSocket sends no more, but has not said that it is done (with code 1000): its
    /// user may come back. Heard in place of `on_eof`.
    fn on_lost(&mut self, id: ConnId, out: &mut Outbox) {
        self.on_eof(id, out);
    }

    /// With `--once`: the one client has been served. The server ends as soon as its remaining
    /// connections, the standard streams, have ended.
    fn on_served(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// The reactor of this server is one of several in the process. Heard once, before the first turn;
    /// `waker` wakes this reactor from the threads of the others.
    fn on_start(&mut self, waker: Waker, out: &mut Outbox) {
        let _ = (waker, out);
    }

    /// The process goes on after it was stopped, or its terminal has another size: a server that draws
    /// on the terminal draws again.
    fn on_redraw(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// Whether `on_reload` reads files again or opens them anew.
    fn reloads(&self) -> bool {
        false
    }

    /// After the end: the failure, if there was one. A message for the user.
    fn failure(&self) -> Option<String> {
        None
    }
}

/// Tags for standard input and standard output, if the server uses them.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardStreams {
    /// Standard input's tag.
    pub stdin: Option<u64>,
    /// Standard output's tag.
    pub stdout: Option<u64>,
}

/// Callbacks in which a protocol around another has no part: each goes on as it came.
macro_rules! forward {
    ($($callback:ident($($name:ident: $type:ty),*);)*) => {
        $(fn $callback(&mut self, $($name: $type,)* out: &mut Outbox) {
            self.protocol.$callback($($name,)* out);
        })*
    };
}
pub(crate) use forward;

/// A server as a subcommand of the program: its options, and how it starts.
pub(crate) trait ServerCommand: Args {
    /// The server holds one conversation among all its peers: reactors serve it, over streams.
    const IS_CONVERSATION: bool = false;
    /// The conversation has one reactor.
    const IS_ALONE: bool = false;
    /// The server has something for browsers.
    const SPEAKS_HTTP: bool = false;
    /// The server belongs to a person's terminal. Its process is stopped when it uses the terminal
    /// in the background, as an editor is.
    const STOPS_IN_BACKGROUND: bool = false;

    /// The options that it has in common with every other server.
    fn options(&self) -> &Options;

    /// Options of its own that exclude each other. An error is a message for the user.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Serves until the end.
    fn run(self) -> Result<(), String>;

    /// The server on one reactor, listening; the caller makes its turns.
    fn start(self) -> Result<Box<dyn Turns>, String>;
}

/// A server whose turns its caller makes.
pub trait Turns {
    /// One turn of its reactor. Errors: those of epoll_wait(2).
    fn turn(&mut self) -> io::Result<()>;

    /// Whether the server has ended.
    fn is_done(&self) -> bool;

    /// The counters of its reactor.
    fn stats(&self) -> Stats;

    /// After the end: the failure, if there was one. A message for the user.
    fn failure(&self) -> Option<String>;
}
