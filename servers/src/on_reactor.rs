//! A server on one reactor: its front, its limits, its standard streams, its listeners.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{Direction, Limits, Reactor};

use crate::front::Front;
use crate::listen::Share;
use crate::server::Server;

/// A reactor with a protocol and its front.
pub(crate) fn reactor<S: Server>(
    protocol: S,
    once: bool,
    mut limits: Limits,
) -> Result<Reactor<Front<S>>, String> {
    protocol.adjust(&mut limits);
    Reactor::new(Front::new(protocol, once), limits).map_err(|error| reason(&error))
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

/// Adds listening sockets to the reactor.
pub(crate) fn serve_share<S: Server>(
    reactor: &mut Reactor<Front<S>>,
    share: Share,
) -> Result<(), String> {
    for (bound, tag) in share {
        let address = bound.address().clone();
        let failed = |error| format!("cannot listen on {address}: {}", reason(&error));
        reactor.serve(bound, tag).map_err(failed)?;
    }
    Ok(())
}

/// Runs the reactor until its end. An error is the server's failure, or the reactor's.
pub(crate) fn run<S: Server>(reactor: &mut Reactor<Front<S>>) -> Result<(), String> {
    reactor.run().map_err(|error| reason(&error))?;
    match reactor.protocol().protocol().failure() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}
