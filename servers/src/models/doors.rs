//! Listeners and signals: the descriptors that the acceptor waits for.
//!
//! Signals are blocked and read from a descriptor (signalfd(2)), so that one poll(2) waits for them
//! and for clients. Here poll is enough: the descriptors are few, not one for each client.

use std::cell::RefCell;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use edgeloop_reactor::Bound;
use edgeloop_reactor::process::{is_ignored, reason};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use nix::unistd::close;

use super::client::Silence;
use crate::listen::listen;
use crate::metrics::{Clients, Metrics, Numbers};
use crate::options::Options;
use crate::place::Place;

/// The descriptors that the acceptor waits for. No process or thread of a client uses them.
pub(super) struct Doors {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) signals: SignalFd,
    /// The scrapers' loop, which this one turns.
    metrics: RefCell<Option<Metrics>>,
}

/// The outcome of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) signals: bool,
    pub(super) clients: bool,
}

impl Doors {
    /// Takes over the signals, then listens. Threads that are started later inherit that the
    /// signals are blocked.
    pub(super) fn open(places: &[Place], options: &Options) -> Result<Doors, String> {
        // A name that takes long to resolve is not to keep signals waiting.
        let metrics = RefCell::new(Metrics::open(options)?);
        let signals =
            take_signals().map_err(|errno| format!("cannot handle signals: {}", errno.desc()))?;
        let prepare = |bound: &Bound| Ok(set_timeouts(bound, options)?);
        let bound = listen(places, options, 1, prepare)?;
        let bound = bound.into_iter().flatten();
        let listeners = bound.map(|(bound, _)| bound.into_tcp_listener());
        Ok(Doors {
            listeners: listeners
                .collect::<Result<_, _>>()
                .map_err(|error| reason(&error))?,
            signals,
            metrics,
        })
    }

    /// Waits for signals and scrapers, and unless `for_signals_only` for clients.
    pub(super) fn wait(&self, for_signals_only: bool, timeout: PollTimeout) -> nix::Result<Ready> {
        let listeners = if for_signals_only {
            &[]
        } else {
            &self.listeners[..]
        };
        let metrics = self.metrics.borrow();
        let fds = [self.signals.as_fd()]
            .into_iter()
            .chain(listeners.iter().map(AsFd::as_fd))
            .chain(metrics.as_ref().map(AsFd::as_fd));
        let mut asked: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut asked, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => {
                return Ok(Ready {
                    signals: false,
                    clients: false,
                });
            }
            Err(errno) => return Err(errno),
        }
        let is_ready = |fd: &PollFd| fd.any().unwrap_or(true);
        Ok(Ready {
            signals: is_ready(&asked[0]),
            clients: asked[1..=listeners.len()].iter().any(is_ready),
        })
    }

    /// Sees to the scrapers, without waiting for them.
    pub(super) fn serve_scrapers(&self, is_stopping: bool, clients: impl Fn() -> Clients) {
        if let Some(metrics) = &mut *self.metrics.borrow_mut()
            && metrics.turn(is_stopping)
        {
            metrics.answer(Numbers::Clients(clients()));
        }
    }

    /// The time after which the scrapers are to be seen to in any case.
    pub(super) fn scrapers_timeout(&self) -> Option<Duration> {
        self.metrics.borrow().as_ref().and_then(Metrics::timeout)
    }

    /// Closes a child's descriptors of them. Its copy of this value is never dropped.
    pub(super) fn close_in_child(&self) {
        let listeners = self.listeners.iter().map(AsRawFd::as_raw_fd);
        for fd in listeners.chain([self.signals.as_fd().as_raw_fd()]) {
            let _ = close(fd);
        }
        // The copy of the loop has descriptors of its own, and no file that it would remove.
        drop(self.metrics.take());
    }
}

fn take_signals() -> nix::Result<SignalFd> {
    let kinds = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGUSR1,
        Signal::SIGHUP,
    ];
    let handled = kinds.into_iter().filter(|kind| !is_ignored(*kind as i32));
    let mut handled: SigSet = handled.collect();
    handled.add(Signal::SIGCHLD);
    handled.thread_block()?;
    SignalFd::with_flags(&handled, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// The meaning of a recv(2) that times out.
pub(super) fn silence(options: &Options) -> Silence {
    match options.idle_timeout {
        Duration::ZERO if options.keepalive.is_zero() => Silence::Suspicious(Duration::ZERO),
        Duration::ZERO => Silence::Suspicious(options.stall_timeout),
        _ => Silence::Idle,
    }
}

/// Sets timeouts on a listener. Accepted sockets inherit them, which saves a call for each.
fn set_timeouts(listener: &Bound, options: &Options) -> nix::Result<()> {
    let (idle, stall) = (options.idle_timeout, options.stall_timeout);
    // A client that accepts nothing is idle as well, since nothing is read from it meanwhile.
    let send = [idle, stall]
        .into_iter()
        .filter(|timeout| !timeout.is_zero())
        .min();
    let receive = match silence(options) {
        Silence::Idle => idle,
        Silence::Suspicious(stall) => stall,
    };
    setsockopt(listener, sockopt::ReceiveTimeout, &time_val(receive))?;
    setsockopt(
        listener,
        sockopt::SendTimeout,
        &time_val(send.unwrap_or_default()),
    )
}

/// Rounded up to microseconds: zero means never (socket(7), `SO_RCVTIMEO`).
fn time_val(timeout: Duration) -> TimeVal {
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    match timeout.subsec_nanos().div_ceil(1000) {
        1_000_000 => TimeVal::new(seconds.saturating_add(1), 0),
        microseconds => TimeVal::new(seconds, microseconds.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_never() {
        for (nanos, expected) in [
            (0, (0, 0)),
            (1, (0, 1)),
            (1_500, (0, 2)),
            (999_999_001, (1, 0)),
            (2_000_300_000, (2, 300)),
        ] {
            let time = time_val(Duration::from_nanos(nanos));
            assert_eq!((time.tv_sec(), time.tv_usec()), expected, "{nanos} ns");
        }
        assert_eq!(time_val(Duration::MAX).tv_sec(), i64::MAX);
    }
}
