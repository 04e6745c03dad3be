//! Limits of a server: those that the user chose, and those of the process.

use std::time::Duration;

use edgeloop_reactor::process::{open_descriptors, raise_descriptor_limit, reason};
use edgeloop_reactor::{Limits, PerAddress, Places};

use crate::options::Options;

/// Descriptors kept free for other uses than connections, such as a log file.
const RESERVED_DESCRIPTORS: usize = 8;
/// Descriptors of each reactor itself: epoll, the spare one, signals, waker, standard streams, the
/// connections of a log.
const DESCRIPTORS_OF_A_WORKER: usize = 8;
/// Connections of scrapers (`--metrics`) at one time.
pub(crate) const SCRAPERS: usize = 16;
/// Descriptors for scrapers besides their connections: listeners, epoll, the spare one, a waker.
const DESCRIPTORS_FOR_SCRAPERS: usize = 8;

/// Time, and bytes of further input, that a client has after the server has ended its connection,
/// while the last bytes are on their way to it. It counts as a connection until then.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;

/// The user's limits, and those of the process, whose soft limit of descriptors is raised.
pub(crate) fn limits(options: &Options) -> Result<Limits, String> {
    let descriptors = raise_descriptor_limit()
        .map_err(|error| format!("cannot raise RLIMIT_NOFILE: {}", reason(&error)))?;
    let max_connections = max_connections(options, descriptors);
    say_limits(
        options,
        max_connections,
        &format!("RLIMIT_NOFILE is {descriptors}"),
    );
    Ok(Limits {
        max_connections,
        max_per_address: options.max_per_ip,
        places: (options.workers > 1).then(|| Places::new(options.max_per_ip, max_connections)),
        high_water: options.high_water,
        max_pending: options.max_pending,
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

/// Logs the most connections in all, the cause of that limit, and the most from one address.
pub(crate) fn say_limits(options: &Options, max_connections: usize, cause: &str) {
    let share = match PerAddress::new(options.max_per_ip, max_connections).most() {
        Some(most) if options.max_per_ip.is_some() => {
            format!(", {most} of them from one address")
        }
        Some(most) => format!(", {most} of them from one address but loopback"),
        None => String::new(),
    };
    log::info!("up to {max_connections} connections{share} ({cause})");
}

/// The user's limit of connections, lowered to the number of descriptors if need be.
pub(crate) fn max_connections(options: &Options, descriptors: u64) -> usize {
    let for_workers = options.workers * (options.addresses.len() + DESCRIPTORS_OF_A_WORKER);
    let for_scrapers = match options.metrics {
        Some(_) => SCRAPERS + DESCRIPTORS_FOR_SCRAPERS,
        None => 0,
    };
    let reserved =
        open_descriptors().unwrap_or(0) + for_workers + for_scrapers + RESERVED_DESCRIPTORS;
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
