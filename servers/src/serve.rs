//! Puts a protocol on the reactor: limits, listeners, banner, signals.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use edgeloop_reactor::{
    Address, Bound, Direction, HostPort, Limits, Outbox, Protocol, Reactor, open_descriptors,
    raise_descriptor_limit, reason,
};
use log::LevelFilter;

use crate::cli::Options;
use crate::ending;
use crate::front::Front;
use crate::logging;
use crate::models::{self, Blocking, Conversation};
use crate::print;
use crate::stderr::say;
use crate::workers;

/// The tag of the connections that listeners accept.
pub(crate) const CLIENT: u32 = 0;

/// What a server asks for besides being a [`Protocol`].
pub(crate) trait Server: Protocol {
    /// The standard streams that it reads or writes, as connections with these tags.
    fn streams(&self) -> StandardStreams {
        StandardStreams::default()
    }

    /// Changes the limits to what it needs.
    fn adjust(&self, limits: &mut Limits) {
        let _ = limits;
    }

    /// With `--once`: the only client there will be has been served. The server ends as soon as the
    /// connections that are left, its standard streams, have.
    fn on_served(&mut self, out: &mut Outbox) {
        let _ = out;
    }

    /// Whether it has files that are read again, or opened anew, upon `on_reload`.
    fn reloads(&self) -> bool {
        false
    }

    /// After the end: what went wrong, if anything did.
    fn failure(&self) -> Option<String> {
        None
    }
}

/// Tags for standard input and standard output, if they are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StandardStreams {
    /// Standard input's tag.
    pub(crate) stdin: Option<u32>,
    /// Standard output's tag.
    pub(crate) stdout: Option<u32>,
}

/// Serves until a signal, or until `--once` is fulfilled, in the way that the user has chosen: in
/// this thread, with several reactors that have a protocol each, or with a process or a thread for
/// each conversation.
pub(crate) fn serve<S: Server, C: Conversation>(
    protocol: impl Fn() -> S + Clone + Send + 'static,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    check_stdout(&protocol())?;
    match (options.model.blocking(), options.workers) {
        (Some(model), _) => serve_blocking::<C>(model, options, default_port),
        (None, 1) => serve_alone(protocol(), options, default_port),
        (None, count) => workers::serve(count, protocol, options, default_port),
    }
}

/// A server that prints must have a standard output.
fn check_stdout(server: &impl Server) -> Result<(), String> {
    match server.streams().stdout {
        Some(_) => print::check().map_err(|error| print::failure(&error)),
        None => Ok(()),
    }
}

/// Serves with a process or a thread for each client.
fn serve_blocking<C: Conversation>(
    model: Blocking,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    logging::start(log_level(options), options.log_file.as_deref())?;
    let addresses = resolve(options, default_port)?;
    models::serve::<C>(model, options, &addresses)
}

/// Serves in this thread.
pub(crate) fn serve_alone<S: Server>(
    protocol: S,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    check_stdout(&protocol)?;
    logging::start(log_level(options), options.log_file.as_deref())?;
    let limits = limits(options)?;
    // Asking for names can take long, and shall end upon Ctrl-C as everything does.
    let addresses = resolve(options, default_port)?;
    let mut reactor = reactor(protocol, options.once, limits)?;
    reactor
        .handle_signals()
        .map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    reactor.report(options.stats, |stats| say(&format!("stats: {stats}")));
    adopt_stdout(&mut reactor, io::stdout().as_fd().try_clone_to_owned())?;
    adopt_stdin(&mut reactor)?;
    for share in listen(&addresses, options, 1, |_| Ok(()))? {
        serve_share(&mut reactor, share)?;
    }
    let served = run(&mut reactor);
    ending::begin(reactor.grace_left());
    served
}

/// A reactor with a protocol and its front.
pub(crate) fn reactor<S: Server>(
    protocol: S,
    once: bool,
    mut limits: Limits,
) -> Result<Reactor<Front<S>>, String> {
    protocol.adjust(&mut limits);
    Reactor::new(Front::new(protocol, once), limits).map_err(|error| reason(&error))
}

fn adopt_stdin<S: Server>(reactor: &mut Reactor<Front<S>>) -> Result<(), String> {
    let Some(tag) = reactor.protocol().protocol().streams().stdin else {
        return Ok(());
    };
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    stdin
        .and_then(|stdin| reactor.adopt(stdin, Direction::Input, tag))
        .map(drop)
        .map_err(|error| format!("cannot use standard input: {}", reason(&error)))
}

/// Gives a server that prints its standard output.
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

pub(crate) fn serve_share<S: Server>(
    reactor: &mut Reactor<Front<S>>,
    share: Vec<Bound>,
) -> Result<(), String> {
    for bound in share {
        let address = bound.address().clone();
        reactor
            .serve(bound, CLIENT)
            .map_err(|error| cannot_listen(&address, &error))?;
    }
    Ok(())
}

/// Turns until the end, and tells what went wrong.
pub(crate) fn run<S: Server>(reactor: &mut Reactor<Front<S>>) -> Result<(), String> {
    reactor.run().map_err(|error| reason(&error))?;
    match reactor.protocol().protocol().failure() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

pub(crate) fn log_level(options: &Options) -> LevelFilter {
    match (options.quiet, options.verbose) {
        (true, 0) => LevelFilter::Warn,
        (false, 0) => LevelFilter::Info,
        (_, 1) => LevelFilter::Debug,
        (_, _) => LevelFilter::Trace,
    }
}

/// Descriptors kept free for what is not a connection, such as a log file.
const RESERVED_DESCRIPTORS: usize = 8;
/// Each reactor's own: epoll, the spare one, signals, waker, standard streams.
const DESCRIPTORS_OF_A_WORKER: usize = 8;

/// A client that the server has ended has this long, and may send so many bytes more, while our last
/// words are on their way to it. It counts as a connection until then.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;

/// The user's limits, and those of the process, whose soft limit of descriptors is raised.
pub(crate) fn limits(options: &Options) -> Result<Limits, String> {
    let descriptors = raise_descriptor_limit()
        .map_err(|error| format!("cannot raise RLIMIT_NOFILE: {}", reason(&error)))?;
    let max_connections = max_connections(options, descriptors);
    log::info!("up to {max_connections} connections (RLIMIT_NOFILE is {descriptors})");
    Ok(Limits {
        max_connections,
        high_water: options.high_water,
        idle_timeout: options.idle_timeout,
        stall_timeout: options.stall_timeout,
        keepalive: options.keepalive,
        linger_timeout: LINGER_TIMEOUT,
        linger_bytes: LINGER_BYTES,
        grace: options.grace,
        backlog: options.backlog,
        ..Limits::default()
    })
}

/// As many as the user wants, and as there are descriptors.
pub(crate) fn max_connections(options: &Options, descriptors: u64) -> usize {
    let for_workers = options.workers * (options.addresses.len() + DESCRIPTORS_OF_A_WORKER);
    let reserved = open_descriptors().unwrap_or(0) + for_workers + RESERVED_DESCRIPTORS;
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let possible = descriptors.saturating_sub(reserved).max(1);
    let wanted = options.max_connections.unwrap_or(possible);
    if wanted > possible {
        log::warn!(
            "--max-connections {wanted} is lowered to {possible}: RLIMIT_NOFILE is {descriptors}"
        );
    }
    wanted.min(possible)
}

/// The addresses to listen on, resolved. What several of them stand for is listened on once.
pub(crate) fn resolve(options: &Options, default_port: u16) -> Result<Vec<Address>, String> {
    let default = [default_port
        .to_string()
        .parse()
        .expect("a port is an address")];
    let wanted = if options.addresses.is_empty() {
        &default[..]
    } else {
        &options.addresses
    };
    let mut addresses: Vec<Address> = Vec::new();
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for address in wanted {
        let numbers = address
            .resolve()
            .map_err(|error| cannot_listen(address, &error))?;
        let new = match address {
            Address::Tcp(at) => only_new(at, numbers, &mut tcp).map(Address::Tcp),
            Address::Udp(at) => only_new(at, numbers, &mut udp).map(Address::Udp),
            Address::Unix(_) => Some(address.clone()).filter(|it| !addresses.contains(it)),
        };
        addresses.extend(new);
    }
    Ok(addresses)
}

/// The host with those of its numbers that are not known yet, unless there are none.
fn only_new(
    host: &HostPort,
    mut numbers: Vec<SocketAddr>,
    known: &mut Vec<SocketAddr>,
) -> Option<HostPort> {
    // Each port that the kernel picks is another one.
    numbers.retain(|at| at.port() == 0 || !known.contains(at));
    known.extend_from_slice(&numbers);
    (!numbers.is_empty()).then(|| host.clone().with_numbers(numbers))
}

fn cannot_listen(address: &Address, error: &io::Error) -> String {
    format!("cannot listen on {address}: {}", reason(error))
}

/// Listens on every address, with `count` sockets each, and says so when all of them do. Before they
/// listen, they are prepared with what the sockets of clients are to inherit.
pub(crate) fn listen(
    addresses: &[Address],
    options: &Options,
    count: usize,
    prepare: impl Fn(&Bound) -> io::Result<()>,
) -> Result<Vec<Vec<Bound>>, String> {
    let mut shares: Vec<Vec<Bound>> = (0..count).map(|_| Vec::new()).collect();
    for address in addresses {
        let failed = |error: io::Error| cannot_listen(address, &error);
        let mut bound = Bound::shares(address, options.backlog, count).map_err(failed)?;
        for bound in bound.iter_mut().flatten() {
            bound
                .keep_alive(options.keepalive)
                .and_then(|()| prepare(bound))
                .and_then(|()| bound.listen())
                .map_err(failed)?;
        }
        for (share, bound) in shares.iter_mut().zip(bound) {
            share.extend(bound);
        }
    }
    shares.first().into_iter().flatten().for_each(announce);
    Ok(shares)
}

fn announce(bound: &Bound) {
    say(&format!("listening on {}", bound.address()));
    if io::stderr().is_terminal() {
        say(&format!("  try it: {}", hint(bound.address())));
    }
}

/// How to talk to an address with netcat, or with socat where netcat cannot.
fn hint(address: &Address) -> String {
    let near = |host_port: &str| {
        let (host, port) = host_port
            .rsplit_once(':')
            .unwrap_or(("127.0.0.1", host_port));
        match host.trim_matches(['[', ']']) {
            "0.0.0.0" | "::" => format!("127.0.0.1 {port}"),
            host => format!("{host} {port}"),
        }
    };
    match address {
        Address::Tcp(at) => format!("nc {}", near(&at.to_string())),
        Address::Udp(at) => format!("nc -u {}", near(&at.to_string())),
        Address::Unix(path) => match path.to_string_lossy().strip_prefix('@') {
            Some(name) => format!("socat - {}", quoted(&format!("ABSTRACT-CONNECT:{name}"))),
            None => format!("nc -U {}", quoted(&path.to_string_lossy())),
        },
    }
}

/// A word for the shell, in quotes if it would be more than one word, or something else.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-:@+,".contains(char);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_can_be_typed() {
        for (address, expected) in [
            ("9876", "nc 127.0.0.1 9876"),
            ("0.0.0.0:9876", "nc 127.0.0.1 9876"),
            ("[::]:9876", "nc 127.0.0.1 9876"),
            ("[::1]:9876", "nc ::1 9876"),
            ("udp://127.0.0.1:5678", "nc -u 127.0.0.1 5678"),
            ("[fe80::1%lo]:9876", "nc fe80::1%lo 9876"),
            ("unix:/tmp/echo.sock", "nc -U /tmp/echo.sock"),
            ("unix:/tmp/it's one", r"nc -U '/tmp/it'\''s one'"),
            ("unix:@echo", "socat - ABSTRACT-CONNECT:echo"),
        ] {
            assert_eq!(hint(&address.parse().unwrap()), expected);
        }
    }
}
