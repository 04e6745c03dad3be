//! Puts a protocol on the reactor: limits, listeners, banner, signals.

use std::io::{self, IsTerminal};

use edgeloop_reactor::{
    Address, Limits, Protocol, Reactor, open_descriptors, raise_descriptor_limit, reason,
};
use log::LevelFilter;

use crate::cli::Options;
use crate::front::Front;
use crate::logging::{self, say};

/// Descriptors kept free for what is not a connection: listeners, a log file, the spare one.
const RESERVED_DESCRIPTORS: usize = 16;

/// Serves until a signal, or until `--once` is fulfilled.
pub(crate) fn serve(
    protocol: impl Protocol,
    options: &Options,
    default_port: u16,
) -> Result<(), String> {
    logging::start(log_level(options), options.log_file.as_deref())?;
    let descriptors = raise_descriptor_limit()
        .map_err(|error| format!("cannot raise RLIMIT_NOFILE: {}", reason(&error)))?;
    let limits = limits(options, descriptors);
    let max_connections = limits.max_connections;
    // Asking for names can take long, and shall end upon Ctrl-C as everything does.
    let addresses = resolve(options, default_port)?;
    let mut reactor =
        Reactor::new(Front::new(protocol, options.once), limits).map_err(|error| reason(&error))?;
    reactor
        .handle_signals()
        .map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    reactor.report(options.stats, |stats| say(&format!("stats: {stats}")));
    listen(&mut reactor, &addresses)?;
    log::info!("up to {max_connections} connections (RLIMIT_NOFILE is {descriptors})");
    reactor.run().map_err(|error| reason(&error))
}

fn log_level(options: &Options) -> LevelFilter {
    match (options.quiet, options.verbose) {
        (true, 0) => LevelFilter::Warn,
        (false, 0) => LevelFilter::Info,
        (_, 1) => LevelFilter::Debug,
        (_, _) => LevelFilter::Trace,
    }
}

fn limits(options: &Options, descriptors: u64) -> Limits {
    Limits {
        max_connections: max_connections(options, descriptors),
        high_water: options.high_water,
        idle_timeout: options.idle_timeout,
        stall_timeout: options.stall_timeout,
        grace: options.grace,
        backlog: options.backlog,
        ..Limits::default()
    }
}

/// As many as the user wants, and as there are descriptors.
fn max_connections(options: &Options, descriptors: u64) -> usize {
    let reserved = open_descriptors().unwrap_or(0) + options.addresses.len() + RESERVED_DESCRIPTORS;
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

/// The addresses to listen on, as numbers.
fn resolve(options: &Options, default_port: u16) -> Result<Vec<Address>, String> {
    let default = [default_port
        .to_string()
        .parse()
        .expect("a port is an address")];
    let wanted = if options.addresses.is_empty() {
        &default[..]
    } else {
        &options.addresses
    };
    let mut addresses = Vec::new();
    for address in wanted {
        let numbers = address
            .resolve()
            .map_err(|error| cannot_listen(address, &error))?;
        match address {
            Address::Tcp(_) => {
                addresses.extend(numbers.into_iter().map(|at| Address::Tcp(at.into())))
            }
            Address::Udp(_) => {
                addresses.extend(numbers.into_iter().map(|at| Address::Udp(at.into())))
            }
            Address::Unix(_) => addresses.push(address.clone()),
        }
    }
    Ok(addresses)
}

fn cannot_listen(address: &Address, error: &io::Error) -> String {
    format!("cannot listen on {address}: {}", reason(error))
}

/// Listens on every address, and says so.
fn listen<P: Protocol>(reactor: &mut Reactor<P>, addresses: &[Address]) -> Result<(), String> {
    for address in addresses {
        let bound = reactor
            .listen(address, 0)
            .map_err(|error| cannot_listen(address, &error))?;
        for bound in bound {
            say(&format!("listening on {bound}"));
            if io::stderr().is_terminal() {
                say(&format!("  try it: {}", hint(&bound)));
            }
        }
    }
    Ok(())
}

/// How to talk to an address with netcat.
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
        Address::Unix(path) => format!("nc -U {}", path.display()),
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
            ("unix:/tmp/echo.sock", "nc -U /tmp/echo.sock"),
        ] {
            assert_eq!(hint(&address.parse().unwrap()), expected);
        }
    }
}
