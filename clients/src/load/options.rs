//! The command line after `edgecall load`.

use std::fmt;
use std::mem;
use std::time::Duration;

use clap::{Args, ValueEnum};
use edgeloop::values::{duration, positive, size};
use edgeloop_reactor::Address;

use super::content::LINE_MIN;
use super::target::Target;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Messages that come back as they are
    Echo,
    /// Messages that come back in capitals
    Upper,
    /// Members of a chat, some of which talk
    Chat,
    /// Lines that are not answered
    Sink,
    /// Connect to an echo server, exchange a message, close, and so on
    Connect,
}

impl Kind {
    /// The default port of edgeloop's server for this kind.
    fn port(self) -> u16 {
        match self {
            Kind::Echo | Kind::Connect => 9876,
            Kind::Upper => 6666,
            Kind::Chat => 7777,
            Kind::Sink => 8888,
        }
    }

    /// The path of the WebSocket of edgeloop's server for this kind.
    fn path(self) -> &'static str {
        match self {
            Kind::Chat => "/room",
            _ => "/",
        }
    }
}

/// The name on the command line.
impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        out.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

pub(crate) const EXAMPLE: &str = "\
Without --rate, the next message is sent when one is answered: a closed loop.
With it, messages are sent when the plan says so, and latency counts from the
planned time: a server that pauses does not hold the load back.
Each option can be set in the environment too: EDGECALL_CONNECTIONS=1000

Example:
  edgeloop echo 9876 &
  edgecall load 9876 --connections 1000 --duration 5s --server-pid $!";

#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    /// The server: PORT, HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT (echo and upper),
    /// ws://HOST:PORT/PATH (echo and chat), unix:PATH or unix:@NAME; several of one scheme share the
    /// connections, as the servers of a chat that is one room [default: the port of edgeloop's server of
    /// this kind on 127.0.0.1; the path of a WebSocket: / of echo, /room of chat]
    #[arg(value_name = "ADDR")]
    addresses: Vec<Target>,

    /// The kind of load
    #[arg(long, value_enum, default_value = "echo")]
    pub(super) kind: Kind,

    /// Connections; of connect, how many are under way at a time; of chat, 2 at least; of UDP, sockets
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = positive::<u32>)]
    pub(super) connections: u32,

    /// Bytes of a message, up to 64MiB, or 65507 over UDP; the lines of chat and sink end with a newline
    /// that counts, and those of chat have 33 at least
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = size)]
    pub(super) size: usize,

    /// Messages under way on each connection at a time, 64MiB at the most; of chat, on those of
    /// members that talk; connect and sink do without
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive::<u32>)]
    pub(super) depth: u32,

    /// How long to measure, more than 0
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(super) duration: Duration,

    /// How long to send before messages count; 0 is not at all
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(super) warm_up: Duration,

    /// Messages a second, of all connections together, at planned times; of connect, cycles; 0.001 to
    /// 10000000 [default: closed loop]
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub(super) rate: Option<f64>,

    /// Connections opened a second, 0.001 to 10000000 [default: as many as possible]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) connect_rate: Option<f64>,

    /// Connect from 127.0.0.1 to 127.0.0.N in turn, N up to 254: each has some 28,000 ports [default:
    /// the kernel's choice; of connect, on the loopback device, 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=254))]
    pub(super) sources: Option<u8>,

    /// Reactors that share the connections, each in a thread of its own; no more than connections
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = positive::<u32>)]
    pub(super) threads: u32,

    /// Of chat: how many of the members talk [default: 10, or all but one if there are fewer]
    #[arg(long, value_name = "N", value_parser = positive::<u32>)]
    pub(super) talkers: Option<u32>,

    /// The server's process: measure it and its children too, as /proc shows them
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) server_pid: Option<i32>,

    /// How long to wait for a connection, for the last answers, and for the server's end of a
    /// stream; over UDP, for each answer; more than 0 [default: 10s; UDP: 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// Print the report as JSON, also of a run that did not take place
    #[arg(long)]
    pub(super) json: bool,

    /// Print the latencies in HdrHistogram's percentile format, in microseconds, and the report on
    /// standard error
    #[arg(long, conflicts_with = "json")]
    pub(super) hgrm: bool,

    /// Log the steps of the run, in place of a progress line; -vv logs more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

/// Bytes that one connection may have under way: they may have to wait in memory.
const UNDER_WAY_MAX: usize = 64 * 1024 * 1024;
/// Messages that all connections together may have under way: the time of each is kept in memory.
const MESSAGES_MAX: u64 = 100_000_000;
/// Members of a chat times talkers: each pair has a number in memory.
const HEARINGS_MAX: u64 = 1_000_000_000;
/// The largest datagram over IPv4: 65,535 bytes less the headers of IPv4 and UDP (ip(7), udp(7)).
const DATAGRAM_MAX: usize = 65_507;

impl LoadOptions {
    /// The first server, not resolved yet.
    pub(super) fn server(&self) -> Target {
        let first = self.addresses.first().cloned();
        let mut server = first.unwrap_or_else(|| {
            let port = self.kind.port().to_string();
            port.parse().expect("a port is an address")
        });
        if server.socket.as_deref() == Some("") {
            server.socket = Some(self.kind.path().to_owned());
        }
        server
    }

    /// The servers besides the first one, not resolved yet.
    pub(super) fn others(&self) -> &[Target] {
        self.addresses.get(1..).unwrap_or_default()
    }

    /// All servers, for people.
    pub(super) fn servers(&self) -> String {
        let others = self.others().iter().map(|other| format!(" {other}"));
        self.server().to_string() + &others.collect::<String>()
    }

    /// The first address that was typed, if one was.
    fn typed(&self) -> Option<&Address> {
        self.addresses.first().map(|target| &target.address)
    }

    /// The number of talkers in a chat. A silent member is needed to notice a server that holds the
    /// talkers back.
    pub(super) fn talkers(&self) -> u32 {
        let all_but_one = self.connections.saturating_sub(1).max(1);
        self.talkers.unwrap_or(10.min(all_but_one))
    }

    pub(super) fn timeout(&self) -> Duration {
        let default = match self.typed() {
            Some(Address::Udp(_)) => Duration::from_secs(1),
            _ => Duration::from_secs(10),
        };
        self.timeout.unwrap_or(default)
    }

    /// Errors: options that exclude one another, or make no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        self.check_address()?;
        if self.duration.is_zero() {
            return Err("nothing can be measured in no time: --duration cannot be 0".into());
        }
        if self.timeout().is_zero() {
            return Err("a load that waits for ever has no end: --timeout cannot be 0".into());
        }
        if self.threads > self.connections {
            return Err("there are more --threads than --connections to share".into());
        }
        self.check_depth()?;
        self.check_connect_rate()?;
        if self.kind != Kind::Chat {
            return match self.talkers {
                None => Ok(()),
                Some(_) => Err("only the members of a chat talk: leave out --talkers".into()),
            };
        }
        if self.connections < 2 {
            return Err("a chat needs two members: raise --connections".into());
        }
        if self.talkers() > self.connections {
            return Err("there are more --talkers than --connections".into());
        }
        if u64::from(self.talkers()) * u64::from(self.connections) > HEARINGS_MAX {
            return Err(
                "so many --connections that hear so many --talkers need more than 4 GB".into(),
            );
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), String> {
        if self.size == 0 {
            return Err("a message has at least one byte".into());
        }
        let under_way = self.size.saturating_mul(self.depth as usize);
        if under_way > UNDER_WAY_MAX {
            return Err(format!(
                "one connection would have {under_way} bytes under way, which may be 64 MiB: lower \
                 --size or --depth"
            ));
        }
        let messages = u64::from(self.connections) * u64::from(self.depth);
        if messages > MESSAGES_MAX {
            return Err(format!(
                "{messages} messages would be under way, which may be 100 million: lower \
                 --connections or --depth"
            ));
        }
        if self.kind == Kind::Chat && self.size < LINE_MIN {
            let min = LINE_MIN;
            return Err(format!(
                "a line of a chat tells when it was sent: --size is at least {min}"
            ));
        }
        Ok(())
    }

    fn check_depth(&self) -> Result<(), String> {
        match self.kind {
            _ if self.depth == 1 => Ok(()),
            Kind::Connect => Err("a cycle of connect has one message: leave out --depth".into()),
            Kind::Sink => Err("a sink is fed as much as it takes: leave out --depth".into()),
            Kind::Echo | Kind::Upper | Kind::Chat => Ok(()),
        }
    }

    fn check_connect_rate(&self) -> Result<(), String> {
        match (self.connect_rate, self.typed()) {
            (Some(_), _) if self.kind == Kind::Connect => {
                Err("of connect, --rate says how often a connection is opened".into())
            }
            (Some(_), Some(Address::Udp(_))) => {
                Err("UDP sockets are there at once: leave out --connect-rate".into())
            }
            _ => Ok(()),
        }
    }

    fn check_address(&self) -> Result<(), String> {
        let server = self.server();
        let is_alike = |other: &Target| {
            let schemes = [&server, other].map(|target| mem::discriminant(&target.address));
            schemes[0] == schemes[1] && other.socket.is_some() == server.socket.is_some()
        };
        if !self.others().iter().all(is_alike) {
            return Err("the addresses have one scheme: leave out those of another one".into());
        }
        let is_web = self.addresses.iter().any(|it| it.socket.is_some());
        if is_web && !matches!(self.kind, Kind::Echo | Kind::Chat) {
            return Err(
                "over WebSocket there are an echo and a chat: --kind is one of them".into(),
            );
        }
        match self.typed() {
            Some(Address::Udp(_)) => match self.kind {
                Kind::Echo | Kind::Upper if self.size > DATAGRAM_MAX => {
                    Err(format!("a datagram holds {DATAGRAM_MAX} bytes at the most"))
                }
                Kind::Echo | Kind::Upper => Ok(()),
                Kind::Sink => Err("nobody can tell how many datagrams a sink gets".into()),
                Kind::Chat | Kind::Connect => Err("this kind needs a stream, not UDP".into()),
            },
            Some(Address::Unix(_)) if self.sources.is_some() => {
                Err("a Unix socket has no source address: leave out --sources".into())
            }
            _ => Ok(()),
        }
    }
}

/// Parses a rate, by the second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate < 0.001 => Err("this is too seldom: 0.001 a second is the least".into()),
        Ok(rate) if rate > 1e7 => Err("this is too often: 10000000 a second is the most".into()),
        Ok(rate) if !f64::is_nan(rate) => Ok(rate),
        _ => Err("this is no number: write it in digits, as 1000 or 0.5".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: LoadOptions,
    }

    fn options(words: &[&str]) -> LoadOptions {
        let line = Line::try_parse_from([&["load"], words].concat());
        line.expect("a command line").options
    }

    impl LoadOptions {
        /// The options when only the kind is given.
        pub(in crate::load) fn of_test(kind: Kind) -> LoadOptions {
            options(&["--kind", &kind.to_string()])
        }
    }

    #[test]
    fn defaults_are_those_of_the_servers() {
        for (kind, server) in [
            (Kind::Echo, "tcp://127.0.0.1:9876"),
            (Kind::Upper, "tcp://127.0.0.1:6666"),
            (Kind::Chat, "tcp://127.0.0.1:7777"),
            (Kind::Sink, "tcp://127.0.0.1:8888"),
            (Kind::Connect, "tcp://127.0.0.1:9876"),
        ] {
            let options = LoadOptions::of_test(kind);
            assert_eq!(options.server().to_string(), server);
            assert_eq!(options.check(), Ok(()));
        }
    }

    #[test]
    fn a_websocket_is_where_the_servers_have_it() {
        for (kind, address, server) in [
            ("echo", "ws://1", "ws://127.0.0.1:1/"),
            ("chat", "ws://1", "ws://127.0.0.1:1/room"),
            ("chat", "ws://1/", "ws://127.0.0.1:1/"),
            ("echo", "ws://1/a", "ws://127.0.0.1:1/a"),
        ] {
            let options = options(&["--kind", kind, address]);
            assert_eq!(options.server().to_string(), server);
            assert_eq!(options.check(), Ok(()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["--size", "0"][..],
            &["--size", "1MiB", "--depth", "65"],
            &["--size", "1", "--depth", "1000001", "-c", "100"],
            &["--duration", "0"],
            &["--timeout", "0"],
            &["--threads", "3", "--connections", "2"],
            &["--talkers", "2"],
            &["--kind", "chat", "--size", "32"],
            &["--kind", "chat", "--connections", "1"],
            &["--kind", "chat", "--talkers", "65"],
            &[
                "--kind",
                "chat",
                "--connections",
                "40000",
                "--talkers",
                "40000",
            ],
            &["--kind", "connect", "--connect-rate", "5"],
            &["--connect-rate", "5", "udp://127.0.0.1:1"],
            &["--kind", "connect", "--depth", "2"],
            &["--kind", "sink", "--depth", "2"],
            &["--kind", "sink", "udp://127.0.0.1:1"],
            &["--kind", "connect", "udp://127.0.0.1:1"],
            &["--size", "65508", "udp://127.0.0.1:1"],
            &["--sources", "2", "unix:echo.sock"],
            &["--kind", "upper", "ws://127.0.0.1:1"],
            &["--kind", "connect", "ws://127.0.0.1:1"],
            &["127.0.0.1:1", "unix:echo.sock"],
            &["127.0.0.1:1", "ws://127.0.0.1:2"],
        ] {
            assert!(options(words).check().is_err(), "{words:?}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_with_this_rate() {
        assert_eq!((rate("0.001"), rate("1e7")), (Ok(0.001), Ok(1e7)));
        for (text, why) in [
            ("0", "too seldom"),
            ("-1", "too seldom"),
            ("2147483648", "too often"),
            ("inf", "too often"),
            ("NaN", "no number"),
            ("fast", "no number"),
            ("", "no number"),
        ] {
            let error = rate(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
