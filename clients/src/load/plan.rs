//! The plan of a run: its server, its messages, and the part of each worker.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use edgeloop_reactor::Address;
use edgeloop_reactor::process::{open_descriptors, raise_descriptor_limit, reason};
use nix::errno::Errno;

use super::content::{Letters, Text};
use super::options::{Kind, LoadOptions};
use super::target::Target;
use crate::dial::{cannot_reach, resolve};

/// The plan of a run, which all workers share.
///
/// Connections are numbered through, and dealt out to the workers in turn. A connection's number
/// among those of its worker, from 0, is its *place*.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    /// The server as the user wrote it.
    pub(super) server: Target,
    /// The resolved addresses of the servers, for each source. Neighbours are of different servers.
    pub(super) ways: Vec<Address>,
    pub(super) connections: u32,
    pub(super) size: usize,
    pub(super) depth: u32,
    pub(super) rate: Option<f64>,
    pub(super) connect_rate: Option<f64>,
    pub(super) workers: u32,
    pub(super) talkers: u32,
    pub(super) timeout: Duration,
}

impl Plan {
    /// The plan for these options. Errors: the server's name cannot be resolved; there are not enough
    /// descriptors or ports for the connections.
    pub(super) fn new(options: &LoadOptions) -> Result<Plan, String> {
        let server = options.server();
        let mut all = vec![ways_to(&server, options)?];
        for other in options.others() {
            all.push(ways_to(other, options)?);
        }
        let plan = Plan {
            kind: options.kind,
            ways: dealt(&all),
            server,
            connections: options.connections,
            size: options.size,
            depth: options.depth,
            rate: options.rate,
            connect_rate: options.connect_rate,
            workers: options.threads,
            talkers: options.talkers(),
            timeout: options.timeout(),
        };
        plan.check_descriptors()?;
        plan.check_ports()?;
        Ok(plan)
    }

    /// A plan for one worker whose server is played in memory.
    pub(super) fn of(kind: Kind, connections: u32, size: usize, depth: u32) -> Plan {
        let nowhere = Address::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        Plan {
            kind,
            server: nowhere.clone().into(),
            ways: vec![nowhere],
            connections,
            size,
            depth,
            rate: None,
            connect_rate: None,
            workers: 1,
            talkers: connections,
            timeout: Duration::from_secs(1),
        }
    }

    /// Whether messages are those of WebSockets.
    pub(super) fn is_web(&self) -> bool {
        self.server.socket.is_some()
    }

    pub(super) fn is_udp(&self) -> bool {
        matches!(self.ways[..], [Address::Udp(_), ..])
    }

    /// The number of a worker's connections.
    pub(super) fn share(&self, worker: u32) -> u32 {
        (self.connections + self.workers - 1 - worker) / self.workers
    }

    /// The number of a worker's talkers.
    pub(super) fn talking_share(&self, worker: u32) -> u32 {
        (self.talkers + self.workers - 1 - worker) / self.workers
    }

    /// The number of a worker's senders, each of which sends in its turn. The lanes of connect are
    /// one sender.
    pub(super) fn senders(&self, worker: u32) -> u32 {
        match self.kind {
            Kind::Chat => self.talking_share(worker),
            Kind::Connect => 1,
            Kind::Echo | Kind::Upper | Kind::Sink => self.share(worker),
        }
    }

    /// The number of latencies that a message has: one for each listener of a line of chat, none for
    /// a line that is not answered.
    pub(super) fn listeners(&self) -> u64 {
        match self.kind {
            Kind::Chat => u64::from(self.connections - 1),
            Kind::Sink => 0,
            Kind::Echo | Kind::Upper | Kind::Connect => 1,
        }
    }

    /// The messages a second that a worker has to send, in an open loop.
    pub(super) fn rate_of(&self, worker: u32) -> Option<f64> {
        let (share, all) = match self.kind {
            Kind::Chat => (self.talking_share(worker), self.talkers),
            _ => (self.share(worker), self.connections),
        };
        let rate = self.rate? * f64::from(share) / f64::from(all);
        (rate > 0.0).then_some(rate)
    }

    /// The number of the connection at a worker's place.
    pub(super) fn number(&self, worker: u32, place: u32) -> u32 {
        place * self.workers + worker
    }

    /// The address at which a connection reaches the server.
    pub(super) fn way(&self, number: u32) -> &Address {
        &self.ways[number as usize % self.ways.len()]
    }

    /// Message number `sequence` of a connection.
    pub(super) fn question(number: u32, sequence: u64) -> Text {
        Text::new(number, sequence, Letters::Small)
    }

    /// The server's reply to that message.
    pub(super) fn answer(&self, number: u32, sequence: u64) -> Text {
        match self.kind {
            Kind::Upper => Text::new(number, sequence, Letters::Capital),
            _ => Plan::question(number, sequence),
        }
    }

    fn check_descriptors(&self) -> Result<(), String> {
        let limit = raise_descriptor_limit()
            .map_err(|error| format!("cannot raise RLIMIT_NOFILE: {}", reason(&error)))?;
        let own = open_descriptors().unwrap_or(0) as u64 + SPARE;
        let needed = u64::from(self.connections) + u64::from(self.workers) * OF_A_WORKER + own;
        if needed > limit {
            let most = limit.saturating_sub(needed - u64::from(self.connections));
            return Err(format!(
                "cannot open {} connections: RLIMIT_NOFILE is {limit}, which leaves {most} (ulimit -n)",
                self.connections
            ));
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), String> {
        let Some(ports) = local_ports().filter(|_| !matches!(self.ways[0], Address::Unix(_)))
        else {
            return Ok(());
        };
        let sources = self.ways.len() as u32;
        if self.connections > ports.saturating_mul(sources) {
            return Err(format!(
                "cannot open {} connections: an address has {ports} ports for one server; \
                 --sources {} is enough",
                self.connections,
                self.connections.div_ceil(ports)
            ));
        }
        Ok(())
    }
}

/// Descriptors for anything but connections.
const SPARE: u64 = 16;
/// Descriptors of each worker: epoll, the waker, the ticks, the reactor's spare one.
const OF_A_WORKER: u64 = 6;

/// The number of source addresses, unless the kernel is to choose.
fn sources(options: &LoadOptions, server: &Address) -> Option<u8> {
    let is_loopback = |at: &SocketAddr| at.is_ipv4() && at.ip().is_loopback();
    let numbers = server.resolve().unwrap_or_default();
    let is_near = !numbers.is_empty() && numbers.iter().all(is_loopback);
    let default = (options.kind == Kind::Connect && is_near).then_some(CONNECT_SOURCES);
    options.sources.or(default)
}

/// The kernel's search for a free port passes over those that were in use a second ago. Most of the
/// time would go into that search, were there not many more ports than a second needs.
const CONNECT_SOURCES: u8 = 16;

/// The resolved address of a server, for each source.
fn ways_to(server: &Target, options: &LoadOptions) -> Result<Vec<Address>, String> {
    let resolved = resolve(&server.address)?;
    ways(&resolved, sources(options, &resolved))
        .map_err(|error| cannot_reach(server, reason(&error)))
}

/// The ways to several servers, those of the servers in turn.
fn dealt(all: &[Vec<Address>]) -> Vec<Address> {
    let most = all.iter().map(Vec::len).max().unwrap_or_default();
    let of_source = |source: usize| all.iter().filter_map(move |ways| ways.get(source).cloned());
    (0..most).flat_map(of_source).collect()
}

/// The server as it is reached from each source: the kernel's choice, or 127.0.0.1 to 127.0.0.N.
fn ways(server: &Address, sources: Option<u8>) -> io::Result<Vec<Address>> {
    let numbers = server.resolve()?;
    if numbers.is_empty() && !matches!(server, Address::Unix(_)) {
        return Err(Errno::EADDRNOTAVAIL.into());
    }
    let Some(sources) = sources else {
        return Ok(vec![server.clone()]);
    };
    let numbers: Vec<_> = numbers.into_iter().filter(|at| at.ip().is_ipv4()).collect();
    if numbers.is_empty() {
        return Err(Errno::EAFNOSUPPORT.into());
    }
    let from = |source| match server.clone() {
        Address::Tcp(at) => Address::Tcp(at.with_numbers(numbers.clone()).with_source(source)),
        Address::Udp(at) => Address::Udp(at.with_numbers(numbers.clone()).with_source(source)),
        unix @ Address::Unix(_) => unix,
    };
    let sources = (1..=sources).map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
    Ok(sources.map(from).collect())
}

/// The number of ports that the kernel has for outbound connections from one address to one other
/// (ip(7)).
fn local_ports() -> Option<u32> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some((last + 1).saturating_sub(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_dealt_out_to_the_last_one() {
        for (connections, workers) in [(1, 1), (7, 3), (9, 3), (2, 2)] {
            let plan = Plan {
                workers,
                ..Plan::of(Kind::Echo, connections, 64, 1)
            };
            let of = |worker| (0..plan.share(worker)).map(move |place| (worker, place));
            let mut numbers: Vec<u32> = (0..workers)
                .flat_map(of)
                .map(|(worker, place)| plan.number(worker, place))
                .collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..connections));
        }
    }

    #[test]
    fn sources_are_taken_in_turn() {
        let ways = ways(&"127.0.0.1:9".parse().unwrap(), Some(2)).unwrap();
        let plan = Plan {
            ways,
            ..Plan::of(Kind::Echo, 3, 64, 1)
        };
        assert_ne!(plan.way(0), plan.way(1));
        assert_eq!(plan.way(0), plan.way(2));
    }

    #[test]
    fn servers_are_taken_in_turn() {
        let way = |port: u16| Address::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let all = [vec![way(1), way(2)], vec![way(3), way(4)]];
        assert_eq!(dealt(&all), [1, 3, 2, 4].map(way));
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_advice() {
        let plan = Plan::of(Kind::Echo, 4_000_000, 64, 1);
        assert!(plan.check_ports().unwrap_err().contains("--sources "));
        let refusal = plan.check_descriptors().unwrap_err();
        assert!(refusal.contains("RLIMIT_NOFILE"), "{refusal}");
    }
}
