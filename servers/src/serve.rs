//! Serves in the way that the user has chosen: on one reactor, on several, or without.

use std::io;
use std::os::fd::AsFd;

use edgeloop_reactor::process::reason;
use edgeloop_reactor::terminal::REDRAW_SIGNALS;
use edgeloop_reactor::{Outbox, Reactor};

use crate::ending;
use crate::figures::Pairs;
use crate::front::Front;
use crate::limits::limits;
use crate::listen::{listen, resolve};
use crate::logging;
use crate::metrics::Metrics;
use crate::models::{self, Conversation};
use crate::on_reactor::{adopt_stdin, adopt_stdout, nest_metrics, reactor, run, serve_share};
use crate::options::{Model, Options};
use crate::place::Place;
use crate::print;
use crate::server::{Server, StandardStreams};
use crate::stderr::say;
use crate::workers;

/// Serves until a signal, or until `--once` is fulfilled, in the way that the user has chosen: in
/// this thread, with several reactors that have a protocol each, or with a process or a thread for
/// each conversation.
pub(crate) fn serve<S: Server, C: Conversation>(
    protocol: impl Fn() -> S + Clone + Send + 'static,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    let streams = protocol().streams();
    check_stdout(streams)?;
    match (options.model, options.workers) {
        (Model::Reactor, 1) => serve_alone(protocol(), options, default_port),
        (Model::Reactor, _) => {
            let prepare = |_| Ok(protocol.clone());
            workers::serve(streams, prepare, options, default_port)
        }
        (Model::Fork, _) => serve_blocking(models::fork::<C>, options, default_port),
        (Model::Thread, _) => serve_blocking(models::thread::<C>, options, default_port),
    }
}

/// Serves with several reactors, as many as the options say. `prepare` prepares a server by the number of
/// its reactor, and returns the function that makes it in the reactor's thread. `streams`: the standard
/// streams of the first server.
pub(crate) fn serve_workers<S: Server, M: FnOnce() -> S + Send + 'static>(
    streams: StandardStreams,
    prepare: impl FnMut(usize) -> Result<M, String>,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    check_stdout(streams)?;
    workers::serve(streams, prepare, options, default_port)
}

/// A server that prints must have a standard output.
fn check_stdout(streams: StandardStreams) -> Result<(), String> {
    match streams.stdout {
        Some(_) => print::check().map_err(|error| print::failure(&error)),
        None => Ok(()),
    }
}

/// Serves with a process or a thread for each client.
fn serve_blocking(
    model: fn(&Options, &[Place]) -> Result<(), String>,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    logging::start(options.log_level(), options.log_file.as_deref())?;
    let addresses = resolve(options, default_port)?;
    model(options, &addresses)
}

/// Serves in this thread.
pub(crate) fn serve_alone<S: Server>(
    protocol: S,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    check_stdout(protocol.streams())?;
    logging::start(options.log_level(), options.log_file.as_deref())?;
    let mut reactor = start_alone(protocol, options, default_port)?;
    let served = run(&mut reactor);
    ending::begin(reactor.grace_left());
    served
}

/// A reactor with a server, its signals, its standard streams and its listeners. The log is the
/// caller's affair.
pub(crate) fn start_alone<S: Server>(
    protocol: S,
    options: &Options,
    default_port: u16,
) -> Result<Reactor<Front<S>>, String> {
    let limits = limits(options)?;
    // Names are resolved before signals are handled: Ctrl-C ends a resolution that takes long.
    let addresses = resolve(options, default_port)?;
    let metrics = Metrics::open(options)?;
    let mut reactor = reactor(protocol, options.once, limits)?;
    let redraw = |front: &mut Front<S>, out: &mut Outbox| front.protocol_mut().on_redraw(out);
    reactor
        .handle_signals()
        .and_then(|()| reactor.on_signals(&REDRAW_SIGNALS, redraw))
        .map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    reactor.report(options.stats, |front: &Front<S>, stats, now| {
        let own = front.protocol().figures(now);
        say(&format!("stats: {stats}{}", Pairs(&own)));
    });
    adopt_stdout(&mut reactor, io::stdout().as_fd().try_clone_to_owned())?;
    adopt_stdin(&mut reactor)?;
    if let Some(metrics) = metrics {
        nest_metrics(&mut reactor, metrics)?;
    }
    for share in listen(&addresses, options, 1, |_| Ok(()))? {
        serve_share(&mut reactor, share)?;
    }
    Ok(reactor)
}
