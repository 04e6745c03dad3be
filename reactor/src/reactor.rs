//! The loop.
//!
//! One turn is: wait for events and give each to its source, run the timers, go on with the sources
//! that had more to do than their budget allowed, send the output of the callbacks, close the
//! connections that are over. [`Reactor::turn`] reads like this list. The turn has a budget too
//! (`core/work.rs`): sources that are left when it is spent go on in the next turn, which comes at once.

mod accepting;
mod commands;
mod connecting;
mod nested;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use slab::Slab;

use crate::core::Core;
use crate::core::conn::{State, Stream};
use crate::core::limits::Limits;
use crate::core::stats::Stats;
use crate::core::timers::{Millis, TimerKey, millis};
use crate::core::work::Part;
use crate::id::ConnId;
use crate::outbox::Outbox;
use crate::poll::{Events, Interest, Poll, Token};
use crate::protocol::{Opened, Protocol};
use crate::rate_limited_log::RateLimitedLog;
use crate::sources::address::{Address, Peer};
use crate::sources::bound::{Bound, Socket};
use crate::sources::descriptors::Spare;
use crate::sources::fd::{Direction, Fd};
use crate::sources::listener::Listener;
use crate::sources::signals::{SignalAction, Signals};
use crate::sources::udp::Udp;
use crate::sources::waker::{Asked, Waker, Wakers};
use crate::turn_times::TurnClock;

/// Events fetched by one wait.
const EVENTS: usize = 512;
/// The longest turn, in ms: for protocols that do more than their turn budget tells.
const TURN_TIME: Millis = 5;
/// How often a stop looks for connections whose last bytes have arrived; peers acknowledge after 40
/// ms or so.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// The owner of the descriptor that a token stands for: a connection, or the reactor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Conn(ConnId),
    Signals,
    Waker,
    Nested,
    Listener(usize),
    Udp(usize),
}

impl Source {
    fn token(self) -> Token {
        // A generation of 0, in the upper half, is never a connection's.
        match self {
            Source::Conn(id) => id.token(),
            Source::Signals => Token(0),
            Source::Waker => Token(1),
            Source::Nested => Token(2),
            Source::Listener(index) => Token(4 + 2 * index as u64),
            Source::Udp(index) => Token(3 + 2 * index as u64),
        }
    }

    fn from_token(token: Token) -> Source {
        let id = ConnId::from_token(token);
        match id.slot {
            _ if id.generation > 0 => Source::Conn(id),
            0 => Source::Signals,
            1 => Source::Waker,
            2 => Source::Nested,
            own if own.is_multiple_of(2) => Source::Listener(own as usize / 2 - 2),
            own => Source::Udp(own as usize / 2 - 1),
        }
    }
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Until the grace period ends, at this time.
    Stopping {
        until: Millis,
    },
}

type Report<P> = Box<dyn FnMut(&P, &Stats, Duration) + Send>;

type Callback<P> = Box<dyn FnMut(&mut P, &mut Outbox) + Send>;

/// A turn of the loop inside this one (`reactor/nested.rs`).
type Nested<P> = Box<dyn FnMut(&mut P, &Stats, &mut Outbox) -> Option<Duration> + Send>;

/// Signals that the program handles beside those of [`Signals::HANDLED`], and its callback.
struct Hook<P> {
    signals: Vec<i32>,
    callback: Callback<P>,
}

/// An event loop, its connections and the one [`Protocol`] that serves them.
///
/// Single-threaded: everything happens inside [`Reactor::turn`], on the thread that calls it. If the
/// protocol can be sent to another thread, so can the reactor.
pub struct Reactor<P> {
    poll: Poll,
    events: Events,
    core: Core<Fd, P>,
    listeners: Slab<Listener>,
    udp: Slab<Udp>,
    signals: Option<Signals>,
    hooks: Vec<Hook<P>>,
    wakers: Option<Wakers>,
    spare: Spare,
    refusals: RateLimitedLog,
    shortages: RateLimitedLog,
    report: Option<Report<P>>,
    report_every: Option<Duration>,
    nested: Option<Nested<P>>,
    turn_clock: Option<TurnClock>,
    started: Instant,
    phase: Phase,
}

impl<P: Protocol> Reactor<P> {
    /// A reactor without any sources yet. Errors: those of epoll_create1(2).
    pub fn new(protocol: P, limits: Limits) -> io::Result<Self> {
        let mut spare = Spare::default();
        spare.hold();
        let mut core = Core::new(protocol, limits);
        core.slack = 1;
        Ok(Reactor {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            core,
            listeners: Slab::new(),
            udp: Slab::new(),
            signals: None,
            hooks: Vec::new(),
            wakers: None,
            spare,
            refusals: RateLimitedLog::default(),
            shortages: RateLimitedLog::default(),
            report: None,
            report_every: None,
            nested: None,
            turn_clock: None,
            started: Instant::now(),
            phase: Phase::Running,
        })
    }

    /// Listens on an address, on every one that a name stands for, and returns what is listened on,
    /// with the ports that the kernel chose (see [`Address::socket_addr`]). `tag` comes back in
    /// [`Opened`] and in [`Datagram`](crate::Datagram).
    ///
    /// Errors: those of socket(2), bind(2), listen(2); a Unix path that is taken by anything but a
    /// stale socket.
    pub fn listen(&mut self, at: &Address, tag: u64) -> io::Result<Vec<Address>> {
        Bound::new(at, self.core.limits.backlog)?
            .into_iter()
            .map(|bound| self.serve(bound, tag))
            .collect()
    }

    /// Like [`Reactor::listen`], on an address as text. Errors: a text that is no address, too, with a
    /// [`ParseAddressError`](crate::ParseAddressError) inside.
    pub fn listen_on(&mut self, at: &str, tag: u64) -> io::Result<Vec<Address>> {
        self.listen(&at.parse::<Address>()?, tag)
    }

    /// Listens on a socket that was bound before, and returns its address. Its clients have
    /// `TCP_NODELAY`, and keepalive with the time of [`Limits::keepalive`] unless that is zero. Errors:
    /// those of setsockopt(2), listen(2) and epoll_ctl(2).
    pub fn serve(&mut self, mut bound: Bound, tag: u64) -> io::Result<Address> {
        bound.keep_alive(self.core.limits.keepalive)?;
        bound.listen()?;
        let address = bound.address().clone();
        match bound.into_socket() {
            Socket::Stream(fd, file) => {
                let listener = Listener::new(fd, file, tag);
                let source = Source::Listener(self.listeners.vacant_key());
                self.control(&listener, source, Interest::IN)?;
                self.listeners.insert(listener);
            }
            Socket::Datagram(fd) => self.add_udp(Udp::new(fd, tag))?,
        }
        Ok(address)
    }

    fn add_udp(&mut self, udp: Udp) -> io::Result<()> {
        let source = Source::Udp(self.udp.vacant_key());
        self.control(&udp, source, Interest::IN)?;
        self.udp.insert(udp);
        Ok(())
    }

    /// Makes a connection of an existing descriptor: a socket, a terminal, a pipe, a file,
    /// `/dev/null`.
    ///
    /// `O_NONBLOCK` is not set on an open file that other programs may share, such as the user's
    /// terminal. A descriptor that epoll cannot wait for (epoll_ctl(2), `EPERM`) is always ready, and
    /// is read within the budget of a turn like every other.
    pub fn adopt(&mut self, fd: OwnedFd, direction: Direction, tag: u64) -> io::Result<ConnId> {
        self.core.set_now(self.clock());
        let stream = Fd::adopt(fd, direction)?;
        let state = stream.first_state();
        let id = self.watch_new(stream, direction, state)?;
        self.core.opened(id, Opened::new(Peer::Stream, tag));
        Ok(id)
    }

    /// Handles SIGTERM and SIGINT by stopping in good order, the second one at once, SIGUSR1 by a
    /// report, SIGHUP by `on_reload`; ignores SIGPIPE and SIGXFSZ. A signal that is ignored already
    /// stays ignored. Call it before other threads are started: they inherit the blocked signals.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        let signals = Signals::new()?;
        self.control(&signals, Source::Signals, Interest::IN)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// After [`Reactor::handle_signals`]: handles other signals too, such as `libc::SIGWINCH`. Whenever
    /// one of them arrives, `callback` lets the protocol ask for actions, as [`Reactor::call`] does.
    /// Call it before other threads are started. Errors: those of sigprocmask(2) and signalfd(2);
    /// `EINVAL` for a signal that `handle_signals` handles and for a number that is no signal of
    /// signal(7), and before `handle_signals`.
    pub fn on_signals(
        &mut self,
        signals: &[i32],
        callback: impl FnMut(&mut P, &mut Outbox) + Send + 'static,
    ) -> io::Result<()> {
        let is_taken = |signal| Signals::HANDLED.contains(signal);
        let handled = self.signals.as_mut().ok_or(Errno::EINVAL)?;
        if signals.iter().any(is_taken) {
            return Err(Errno::EINVAL.into());
        }
        handled.add(signals)?;
        let (signals, callback) = (signals.to_vec(), Box::new(callback));
        self.hooks.push(Hook { signals, callback });
        Ok(())
    }

    /// Calls `report` with the protocol, the counters and the time on the clock of
    /// [`Outbox::now`](crate::Outbox::now) on SIGUSR1, and `every` so often if that is given.
    pub fn report(
        &mut self,
        every: Option<Duration>,
        report: impl FnMut(&P, &Stats, Duration) + Send + 'static,
    ) {
        self.report = Some(Box::new(report));
        self.report_every = every.filter(|every| !every.is_zero());
        self.core.set_now(self.clock());
        self.arm_report();
    }

    /// A handle that wakes this reactor from any thread. The reactor waits for as long as one is left.
    pub fn waker(&mut self) -> io::Result<Waker> {
        if let Some(wakers) = &mut self.wakers {
            return Ok(wakers.waker());
        }
        let wakers = Wakers::new()?;
        self.control(&wakers, Source::Waker, Interest::IN)?;
        Ok(self.wakers.insert(wakers).waker())
    }

    /// Measures how long each turn takes, from here on; the clock is read once more in each. Returns the
    /// times, to be read at any time and from any thread.
    pub fn time_turns(&mut self) -> TurnClock {
        self.turn_clock.get_or_insert_default().clone()
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.core.shared.stats;
        stats.bytes_pending = self.core.shared.pending as u64;
        let missed = self.udp.iter().map(|(_, udp)| u64::from(udp.missed()));
        stats.datagrams_missed += missed.sum::<u64>();
        stats
    }

    /// The protocol.
    pub fn protocol(&self) -> &P {
        &self.core.voice.protocol
    }

    /// Ends the reactor at once, as dropping it does, and returns the protocol, which hears no more.
    pub fn into_protocol(self) -> P {
        self.core.voice.protocol
    }

    /// Lets the protocol ask for actions from outside of a callback; its output leaves in the next
    /// turn. Returns what `callback` returns, such as the id of a connect.
    pub fn call<R>(&mut self, callback: impl FnOnce(&mut P, &mut Outbox) -> R) -> R {
        self.core.set_now(self.clock());
        self.core.call(callback)
    }

    /// Turns until there is nothing left to wait for: stopped, or without connections, listeners
    /// and timers.
    ///
    /// Errors: those of epoll_wait(2), none of which a running loop can bring about.
    pub fn run(&mut self) -> io::Result<()> {
        self.core.set_now(self.clock());
        // Output from before the first turn: of `on_open` of adopted descriptors, and of `call`.
        self.carry_out_and_close();
        while !self.is_done() {
            self.turn()?;
        }
        Ok(())
    }

    /// One turn of the loop. It waits, for as long as there is nothing to do.
    pub fn turn(&mut self) -> io::Result<()> {
        self.turn_for(None)
    }

    /// One turn of the loop, which waits for no longer than this; `None` is for as long as there is
    /// nothing to do.
    ///
    /// With a time of zero the reactor can be nested in another loop, which waits for its descriptor
    /// to be readable ([`AsFd`]) and for no longer than [`Reactor::timeout`], then turns it, until
    /// [`Reactor::is_done`].
    pub fn turn_for(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let began = self.wait(timeout)?;
        self.dispatch();
        self.run_timers();
        self.run_ready();
        self.carry_out_and_close();
        if let Some(clock) = &self.turn_clock {
            clock.record(self.started.elapsed().saturating_sub(began));
        }
        Ok(())
    }

    /// Stops in good order: closes the listeners, ends connections as soon as what is pending is
    /// sent, all of them after the grace period. Clients that the kernel has let in and the reactor has
    /// not accepted yet are reset with their listener (see [`Bound::shares`]).
    pub fn stop(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.core.set_now(self.clock());
        let until = self
            .core
            .shared
            .now
            .saturating_add(millis(self.core.limits.grace));
        self.phase = Phase::Stopping { until };
        self.core.tell(Protocol::on_stop);
        // Last words may be datagrams.
        self.run_commands();
        self.stop_listening(None);
        self.core.stop();
        self.look_at_grace(until);
    }

    /// While stopping: connections whose output is acknowledged by now are closed, and all of them when
    /// the grace period is over.
    fn look_at_grace(&mut self, until: Millis) {
        let now = self.core.shared.now;
        if now >= until {
            return self.cut_off("the grace period is over");
        }
        self.core.close_settled();
        let next = until.min(now + millis(SETTLE_INTERVAL));
        self.core.timers.arm(TimerKey::Grace, next);
    }

    fn cut_off(&mut self, why: &str) {
        match self.core.abort_all() {
            0 => {}
            count => log::warn!("{why}; connections cut off: {count}"),
        }
    }

    /// How long the next turn may wait: until the next deadline, and not at all if there is work left.
    /// `None` is until an event.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let left = |at: Millis| Duration::from_millis(at).saturating_sub(self.started.elapsed());
        // After a full wait more events may be left, for which a loop around this one sees no edge.
        match self.core.has_work() || self.events.is_full() {
            true => Some(Duration::ZERO),
            false => self.core.timers.next().map(left),
        }
    }

    /// Whether there is nothing left to wait for: [`Reactor::run`] returns.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let sources = !self.listeners.is_empty() || !self.udp.is_empty();
        let waits = sources || self.wakers.as_ref().is_some_and(Wakers::may_ask);
        let waits = waits || self.core.timers.is_armed(TimerKey::Service);
        let waits = waits || self.core.has_races();
        let waits = waits || self.core.has_work();
        self.core.len() == 0 && (self.phase != Phase::Running || !waits)
    }

    /// Milliseconds since the start, on CLOCK_MONOTONIC: setting the wall clock changes nothing
    /// here.
    fn clock(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }

    /// Waits for events, until the next deadline or for no longer than `most`, and returns when the wait
    /// was over.
    ///
    /// The clock is read twice a turn, after the wait and before it: callbacks take time too, and a
    /// wait that did not count it would be late by as much.
    fn wait(&mut self, most: Option<Duration>) -> io::Result<Duration> {
        let timeout = self.timeout().into_iter().chain(most).min();
        self.poll.wait(&mut self.events, timeout)?;
        let began = self.started.elapsed();
        self.core.begin_turn(began.as_millis() as Millis);
        self.core.shared.stats.turns += 1;
        self.core.shared.stats.events += self.events.len() as u64;
        Ok(began)
    }

    /// Gives each event to its source, while the share of the events lasts; from there on, events of
    /// connections, listeners and UDP sockets are noted, and wait behind the ready list.
    fn dispatch(&mut self) {
        if self.events.is_full() {
            // There may be more events than these, and that of a signal among them.
            self.take_signals();
            self.wake_if_asked();
        }
        let mut index = 0;
        while let Some(event) = self.events.get(index) {
            index += 1;
            let waits = self.is_over();
            match Source::from_token(event.token) {
                Source::Conn(id) if waits => self.core.note_only(id, event.ready),
                Source::Conn(id) => self.core.deliver(id, event.ready),
                Source::Listener(index) => self.deliver_clients(index, waits),
                Source::Udp(index) => self.deliver_datagrams(index, event.ready, waits),
                Source::Signals => self.take_signals(),
                Source::Waker => self.wake(),
                Source::Nested => self.turn_nested(),
            }
        }
    }

    /// Sources whose budget was spent in the last turn, that came too late in it, or that lacked
    /// something, go on, while the budget of the turn lasts.
    fn run_ready(&mut self) {
        self.core.work().begin(Part::ReadyList);
        while !self.is_over()
            && let Some(token) = self.core.next_ready()
        {
            self.resume(Source::from_token(token));
        }
    }

    /// Whether this part of the turn is over: its share of the budget is spent, or the turn has lasted
    /// for too long. The work that is done decides how often the clock is looked at.
    #[inline]
    fn is_over(&mut self) -> bool {
        let (started, now) = (self.started, self.core.shared.now);
        let is_late = || started.elapsed().as_millis() as Millis > now + TURN_TIME;
        self.core.work().is_over(is_late)
    }

    fn take_signals(&mut self) {
        for _ in 0..Signals::AT_ONCE {
            let Some(action) = self.signals.as_ref().and_then(Signals::next) else {
                return;
            };
            match action {
                SignalAction::Report => self.make_report(),
                SignalAction::Other(signal) => self.call_hooks(signal),
                SignalAction::Reload => self.core.tell(Protocol::on_reload),
                SignalAction::Stop => self.told_to_stop(),
            }
        }
    }

    fn call_hooks(&mut self, signal: i32) {
        let hooks = self.hooks.iter_mut();
        for hook in hooks.filter(|hook| hook.signals.contains(&signal)) {
            self.core.tell(&mut hook.callback);
        }
    }

    /// A signal or another thread asks for an end: in good order the first time, at once the second.
    fn told_to_stop(&mut self) {
        if self.phase == Phase::Running {
            let open = self.core.shared.stats.connections;
            if open > 0 || !self.listeners.is_empty() {
                log::info!("stopping; connections open: {open}");
            }
            self.stop();
        } else {
            let until = self.core.shared.now;
            self.phase = Phase::Stopping { until };
            self.cut_off("stopping at once");
        }
    }

    /// How much of the grace period is left for what the program does after [`Reactor::run`]: all
    /// of it if the reactor was not stopped, nothing after a second signal.
    #[must_use]
    pub fn grace_left(&self) -> Duration {
        match self.phase {
            Phase::Running => self.core.limits.grace,
            Phase::Stopping { until } => Duration::from_millis(until.saturating_sub(self.clock())),
        }
    }

    fn wake_if_asked(&mut self) {
        if self.wakers.as_ref().is_some_and(Wakers::is_asked) {
            self.wake();
        }
    }

    fn wake(&mut self) {
        let Some(wakers) = &self.wakers else { return };
        let Asked {
            wake,
            report,
            stops,
        } = wakers.take();
        if wake {
            self.core.tell(|protocol, out| protocol.on_wake(out));
        }
        if report {
            self.make_report();
        }
        (0..stops).for_each(|_| self.told_to_stop());
    }

    /// Runs the timers that are due, while their share of the turn lasts.
    fn run_timers(&mut self) {
        self.core.work().begin(Part::Timers);
        while !self.is_over()
            && let Some(key) = self.core.next_timer()
        {
            self.core.shared.stats.timers += 1;
            match key {
                TimerKey::Stats => {
                    self.make_report();
                    self.arm_report();
                }
                TimerKey::Grace => {
                    if let Phase::Stopping { until } = self.phase {
                        self.look_at_grace(until);
                    }
                }
                TimerKey::NextAddress => self.try_next_addresses(),
                TimerKey::Nested => self.turn_nested(),
                TimerKey::Service
                | TimerKey::Retry
                | TimerKey::Search
                | TimerKey::Conn(_)
                | TimerKey::Protocol(_) => {
                    self.core.run_timer(key);
                }
            }
        }
    }

    fn make_report(&mut self) {
        let stats = self.stats();
        if let Some(report) = &mut self.report {
            let now = Duration::from_millis(self.core.shared.now);
            report(&self.core.voice.protocol, &stats, now);
        }
    }

    fn arm_report(&mut self) {
        if let Some(every) = self.report_every {
            self.core.timers.arm(
                TimerKey::Stats,
                self.core.shared.now.saturating_add(millis(every).max(1)),
            );
        }
    }

    /// The end of a turn: output is sent, doomed connections are closed.
    fn carry_out_and_close(&mut self) {
        self.run_commands();
        let poll = &self.poll;
        self.core.settle(|_, _, stream| unwatch(poll, &stream));
        // Last words may hold a command. What that leads to is the next turn's affair, which comes
        // at once.
        self.run_commands();
        self.core.tell_failed();
    }

    /// Like [`Reactor::watch`], with a new id, which it returns.
    fn watch_new(&mut self, stream: Fd, direction: Direction, state: State) -> io::Result<ConnId> {
        let id = self.core.ids().take();
        let watched = self.watch(id, stream, direction, state);
        if watched.is_err() {
            self.core.ids().give_back(id);
        }
        watched.map(|()| id)
    }

    /// Makes a connection of a stream, and adds its descriptor to the interest list: the one
    /// epoll_ctl(2) of its life, unless an attempt to connect wins a race. A stream that epoll cannot
    /// wait for is ready at all times.
    fn watch(
        &mut self,
        id: ConnId,
        stream: Fd,
        direction: Direction,
        state: State,
    ) -> io::Result<()> {
        self.core.shared.stats.controls += 1;
        let token = id.token();
        let edges = match self.poll.add(&stream, token, direction.interest()) {
            Ok(()) => State::empty(),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                State::READABLE | State::WRITABLE | State::UNSURE
            }
            Err(error) => return Err(error),
        };
        self.core.insert(id, stream, state | edges);
        Ok(())
    }

    /// Adds one of the reactor's own descriptors to the interest list.
    fn control(&mut self, fd: &impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        self.core.shared.stats.controls += 1;
        self.poll.add(fd, source.token(), interest)
    }
}

/// Ends the watch of a stream that is about to be closed, if closing will not do it (epoll(7)).
fn unwatch(poll: &Poll, stream: &Fd) {
    // The program has more descriptors of its standard streams. Of what is always ready there is no
    // watch to end.
    if !stream.is_peer() {
        let _ = poll.delete(stream);
    }
}

/// The epoll descriptor, readable when an event has arrived: the way into another loop. See
/// [`Reactor::turn_for`].
impl<P> AsFd for Reactor<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl<P> fmt::Debug for Reactor<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reactor")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
