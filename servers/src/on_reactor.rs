//! A server on one reactor: its front, its limits, its standard streams, its listeners.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Direction, Limits, Reactor, Stats};

use crate::front::Front;
use crate::listen::{Share, cannot_listen};
use crate::metrics::{Metrics, Numbers};
use crate::server::{Server, Turns};

/// A reactor with a protocol and its front.
pub(crate) fn reactor<S: Server>(
    mut protocol: S,
    once: bool,
    mut limits: Limits,
) -> Result<Reactor<Front<S>>, String> {
    protocol.adjust(&mut limits);
    Reactor::new(Front::new(protocol, once), limits)
        .map_err(|error| format!("cannot start the event loop: {}", reason(&error)))
}

/// Gives a server that reads standard input this stream.
pub(crate) fn adopt_stdin<S: Server>(reactor: &mut Reactor<Front<S>>) -> Result<(), String> {
    let Some(tag) = reactor.protocol().protocol().streams().stdin else {
        return Ok(());
    };
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    stdin
        .and_then(|stdin| reactor.adopt(stdin, Direction::Input, tag))
        .map(drop)
        .map_err(|error| format!("cannot use standard input: {}", reason(&error)))
}

/// Gives a server that prints this standard output.
pub(crate) fn adopt_stdout<S: Server>(
    reactor: &mut Reactor<Front<S>>,
    stdout: io::Result<OwnedFd>,
) -> Result<(), String> {
    let Some(tag) = reactor.protocol().protocol().streams().stdout else {
        return Ok(());
    };
    stdout
        .and_then(|stdout| reactor.adopt(stdout, Direction::Output, tag))
        .map(drop)
        .map_err(|error| format!("cannot use standard output: {}", reason(&error)))
}

/// Adds listening sockets to the reactor, and tells the server where they listen.
pub(crate) fn serve_share<S: Server>(
    reactor: &mut Reactor<Front<S>>,
    share: Share,
) -> Result<(), String> {
    let mut addresses = Vec::new();
    for (bound, tag) in share {
        let address = bound.address().clone();
        reactor
            .serve(bound, tag)
            .map_err(|error| cannot_listen(&address, &error))?;
        addresses.push(address);
    }
    reactor.call(|front, out| front.protocol_mut().on_listening(&addresses, out));
    Ok(())
}

/// Serves scrapers in the turns of the reactor.
pub(crate) fn nest_metrics<S: Server>(
    reactor: &mut Reactor<Front<S>>,
    metrics: Metrics,
) -> Result<(), String> {
    let clock = reactor.time_turns();
    let nested = reactor.nest(metrics, move |metrics, front, stats, out| {
        if metrics.turn(front.is_stopping()) {
            metrics.answer(Numbers::Reactors {
                stats,
                turns: &clock.read(),
                count: 1,
                own: &front.protocol().figures(out.now()),
            });
        }
        metrics.timeout()
    });
    nested.map_err(|error| format!("cannot serve the metrics: {}", reason(&error)))
}

/// Runs the reactor until its end. An error is the server's failure, or the reactor's.
pub(crate) fn run<S: Server>(reactor: &mut Reactor<Front<S>>) -> Result<(), String> {
    reactor.run().map_err(|error| reason(&error))?;
    match reactor.protocol().protocol().failure() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

impl<S: Server> Turns for Reactor<Front<S>> {
    fn turn(&mut self) -> io::Result<()> {
        Reactor::turn(self)
    }

    fn is_done(&self) -> bool {
        Reactor::is_done(self)
    }

    fn stats(&self) -> Stats {
        Reactor::stats(self)
    }

    fn failure(&self) -> Option<String> {
        self.protocol().protocol().failure()
    }
}
