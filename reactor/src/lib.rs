//! An edge-triggered epoll reactor for Linux, written to be read.
//!
//! A server on it is a [`Protocol`]: a state machine that is told what happened and says what it
//! wants. This one sends everything back, to thousands of clients at once, on one thread:
//!
//! ```no_run
//! use edgeloop_reactor::{ConnId, Data, Limits, Outbox, Protocol, Reactor};
//!
//! struct Echo;
//! impl Protocol for Echo {
//!     fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
//!         out.send_back(data);
//!     }
//! }
//!
//! let mut reactor = Reactor::new(Echo, Limits::default())?;
//! reactor.listen_on("127.0.0.1:9876", 0)?;
//! reactor.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`recipes`] has programs to begin with: a key-value server, HTTP, a proxy, a client that comes
//! back, work in other threads, UDP with retry, TLS, several protocols, a reactor per core. The
//! contract of each callback, and the states of a connection, are with [`Protocol`].
//!
//! # Three floors
//!
//! ```text
//!   protocols      echo, upper, chat, yours     what is said and heard      no descriptors, no clock
//!       |
//!   Reactor        descriptors and the clock    the turn of the loop        reactor.rs
//!    |  Core       connections, buffers,        what everything means       core.rs, protocol.rs,
//!    |             timers, limits                                           outbox.rs
//!   Poll           epoll, and nothing more      tokens and readiness        poll.rs, sys.rs
//! ```
//!
//! Each knows only the floor below. [`Poll`] can be used alone. The core has a second driver,
//! [`Script`], which plays the kernel in memory: a protocol that was tested with it is tested on the
//! code that serves it.
//!
//! # One message, from wire to wire
//!
//! A client that has been connected for a while sends 64 bytes to the echo server above. Eighteen
//! functions see them, here in their order:
//!
//! 1. The kernel puts the bytes into the socket's receive buffer and, the descriptor being on the
//!    interest list, raises an edge. epoll_wait(2) returns in `Reactor::wait`, and the clock is read,
//!    once for this turn. `Reactor::dispatch` takes an [`Event`] from [`Events::get`]: the [`Token`]
//!    that was given at accept, and `IN OUT`. `Source::from_token` finds that a connection is meant
//!    (`ConnId::from_token`).
//! 2. `Core::deliver` gives the connection its budget, and `Core::pass` does all that follows. It
//!    finds the connection by the slot in the token, and `live` compares the generation: if the slot
//!    has another tenant by now, the event is stale. `Conn::note` remembers that there is something to
//!    read. `Conn::is_plain` says that nothing is pending and nothing stands in the way.
//! 3. `Conn::wants_read`, so `Conn::read` reads into the one buffer that all connections share
//!    (`Fd::recv`). 64 bytes are fewer than it has room for, so the stream is drained: no second read
//!    is needed to hear `EAGAIN`.
//! 4. `Voice::tell` calls [`Protocol::on_data`], which is lent those bytes, and says
//!    [`Outbox::send_back`]. `Outbox::said` finds that this is all it has said.
//! 5. No output is pending, so `Conn::write` offers the bytes to the kernel straight from the read
//!    buffer (`Fd::send_one`), and the kernel takes them all: they were never copied. Had it refused
//!    some, they would wait in a [buffer](crate::Limits::high_water) until the next `OUT` edge.
//!
//! Two system calls, and a share of one epoll_wait(2). Nothing was allocated, hashed or logged, the
//! connection was looked up once, and epoll_ctl(2) was not called: that happened once, at accept.
//!
//! # Where to read
//!
//! Begin with the ladder in `examples/`: one echo server, a whole program on each rung, which adds
//! one idea to the rung before it. Compare two neighbours with `diff`:
//!
//! | rung | its one idea |
//! |---|---|
//! | `raw_epoll.rs` | bare system calls: what an edge is, and three habits that follow |
//! | `on_poll.rs` | [`Poll`], and fairness: a budget for each turn, and a ready list |
//! | `with_generations.rs` | a table with generations: a stale event reaches no connection |
//! | `with_queue.rs` | a queue for pending output, and a high-water mark: backpressure |
//! | `with_timers.rs` | deadlines: the next one bounds the wait, and activity moves none |
//! | `with_protocol/` | a protocol without I/O, and an outbox |
//! | `on_reactor.rs` | [`Reactor`]: the protocol is all that is left |
//! | `chat.rs` | connections that speak to each other: a chat for `nc` in 80 lines |
//!
//! After it, [`recipes`]: programs in `examples/recipes/` that do what servers and clients do. Then,
//! from the bottom up:
//!
//! | file | subject |
//! |---|---|
//! | `poll.rs`, `sys.rs`, `sys/mmsg.rs` | epoll as a type, and what an edge is; the only `unsafe` |
//! | `id.rs`, `protocol.rs`, `outbox.rs`, `outbox/parcels.rs`, `framing.rs`, `letters.rs`, `conn_map.rs` | what protocols hear, say and remember |
//! | `core/conn.rs` | one stream: the rules of edge-triggered I/O, with their reasons, and nowhere else |
//! | `core.rs`, `core/table.rs`, `core/visit.rs`, `core/send.rs`, `core/shedding.rs`, `core/end.rs` | all streams: bytes in, bytes out, and how they end |
//! | `per_address.rs`, `places.rs`, `core/admitted.rs`, `core/admission.rs` | connections from one address; places that reactors share; a server that is full |
//! | `core/lists.rs`, `core/work.rs` | sources that go on without an event; the budget of a turn |
//! | `core/patience.rs`, `core/timers.rs` | how long a connection is kept; deadlines, and why idle timeouts cost next to nothing |
//! | `core/buffer.rs` | bytes that the kernel would not take yet |
//! | `core/limits.rs`, `core/stats.rs`, `turn_times.rs`, `rate_limited_log.rs` | every bound, what was counted and timed, what is logged |
//! | `core/race.rs`, `core/racing.rs` | connecting to a name with several addresses |
//! | `core/simulation.rs`, `core/simulation/kernel.rs`, `core/simulation/cases.rs`, `core/simulation/admission.rs`, `core/simulation/places.rs`, `core/simulation/patience.rs`, `core/simulation/connects.rs`, `core/simulation/turns.rs` | the rules against a kernel as nasty as a kernel may be |
//! | `sources.rs`, `sources/fd.rs`, `sources/listener.rs`, `sources/udp.rs` | the kinds of descriptors |
//! | `sources/address.rs`, `sources/address/text.rs`, `sources/bound.rs`, `sources/bound/names.rs`, `reason.rs` | where they lead, and what is wrong if they do not |
//! | `sources/signals.rs`, `sources/waker.rs` | signals, and other threads |
//! | `sources/jobs.rs`, `sources/descriptors.rs` | the terminal's jobs; running out of descriptors |
//! | `reactor.rs`, `reactor/accepting.rs`, `reactor/connecting.rs`, `reactor/commands.rs`, `reactor/nested.rs` | the turn of the loop; accepting within a budget; connects; commands of protocols; a loop in the loop |
//! | `script.rs`, `script/memory.rs`, `script/turns.rs`, `script/splits.rs`, `script/tests.rs` | testing a protocol without sockets |
//!
//! # What is left out on purpose
//!
//! - *Other systems.* Linux only: one set of rules, stated exactly.
//! - *Threads.* A reactor lives on one. For more cores, run several that share nothing but the limits
//!   of their connections ([`Places`]).
//! - *async/await.* A future hides the state machine that is the subject here.
//! - *TLS and name resolution* within the loop. [`Reactor::connect`] resolves before it runs.
//! - *Level-triggered mode.* It needs an epoll_ctl(2) each time backpressure begins or ends.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "edgeloop-reactor runs on Linux only: it is built on epoll(7), eventfd(2) and signalfd(2)"
);

mod conn_map;
mod core;
mod framing;
mod id;
mod letters;
mod outbox;
mod per_address;
mod places;
mod poll;
mod protocol;
mod rate_limited_log;
mod reactor;
mod reason;
pub mod recipes;
mod script;
mod sources;
mod sys;
mod turn_times;

pub use crate::core::limits::Limits;
pub use crate::core::stats::Stats;
pub use conn_map::ConnMap;
pub use framing::Framing;
pub use id::{ConnId, Data};
pub use outbox::Outbox;
pub use per_address::{AddressKey, Admission, DISPLACED_AFTER, PerAddress};
pub use places::Places;
pub use poll::{Event, Events, Interest, Poll, Ready, Token};
pub use protocol::{Closed, Datagram, Opened, Protocol};
pub use rate_limited_log::RateLimitedLog;
pub use reactor::Reactor;
pub use reason::SystemError;
pub use script::{Script, every_split};
pub use sources::address::{Address, HostPort, ParseAddressError, Peer};
pub use sources::bound::Bound;
pub use sources::fd::Direction;
pub use sources::signals::{SignalAction, Signals};
pub use sources::waker::Waker;
pub use turn_times::{TurnClock, TurnTimes};

/// Helpers for the process of a program: descriptors, signals, errors in words.
pub mod process {
    pub use crate::reason::reason;
    pub use crate::sources::descriptors::{open_descriptors, raise_descriptor_limit};
    pub use crate::sources::signals::{ignore_write_signals, is_ignored, reap_orphans};
}

/// Helpers for a program that uses its terminal: which job owns the terminal at the moment.
///
/// A terminal itself is adopted like any other descriptor, with [`Reactor::adopt`], and
/// [`Reactor::on_signals`] says when to draw again.
pub mod terminal {
    pub use crate::sources::jobs::{REDRAW_SIGNALS, is_anothers, may_draw, serve_in_background};
}

/// Compiles and runs the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
