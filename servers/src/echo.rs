//! The echo server (RFC 862): everything goes back to where it came from. Over HTTP it does so with the
//! messages of a WebSocket.

use std::io;
use std::net::SocketAddr;

use clap::Args;
use edgeloop_reactor::{ConnId, Data, Datagram, Outbox, Protocol};

use crate::models::{Answer, Conversation};
use crate::options::{AnswerOptions, Options, default_port, or_http};
use crate::serve::{serve, start_alone};
use crate::server::{Server, ServerCommand, Turns};
use crate::web::{Page, Policy, Site, Web};

const PORT: u16 = 9876;

const EXAMPLE: &str = "\
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop echo 9876 udp://127.0.0.1:9876 unix:/tmp/echo.sock http://127.0.0.1:8080
  nc 127.0.0.1 9876";

/// The page of the WebSocket.
const PAGE: &str = include_str!("echo/page.html");

/// Ports below this belong to servers. A datagram that claims to come from one may be forged, to
/// make two servers answer each other for ever (CERT advisory CA-1996-01).
const FIRST_CLIENT_PORT: u16 = 1024;

/// The protocol: it has no state.
#[derive(Clone, Debug)]
pub struct Echo {
    /// Whether to answer datagrams from ports below 1024, which may be another server's.
    pub answers_low_ports: bool,
}

impl Protocol for Echo {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        if may_answer(&datagram, self.answers_low_ports) {
            out.send_back(datagram.data);
        }
    }
}

impl Server for Echo {}

/// The conversation of one client that has a process or a thread of its own.
pub(crate) struct EchoConversation;

impl Conversation for EchoConversation {
    fn begin(_: u64, _: SocketAddr) -> io::Result<Self> {
        Ok(EchoConversation)
    }

    fn on_data(&mut self, _: &mut [u8]) -> io::Result<Answer> {
        Ok(Answer::SendBack)
    }
}

/// Send back what comes in (RFC 862), over TCP, UDP, Unix sockets and WebSocket
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, mut_arg("addresses", |arg| or_http(default_port(arg, PORT))))]
pub(crate) struct EchoCommand {
    #[command(flatten)]
    policy: Policy,

    #[command(flatten)]
    options: AnswerOptions,
}

impl ServerCommand for EchoCommand {
    const SPEAKS_HTTP: bool = true;

    fn options(&self) -> &Options {
        &self.options.common
    }

    fn run(self) -> Result<(), String> {
        let protocol = self.protocol();
        let Some(site) = self.site() else {
            let protocol = move || protocol.clone();
            return serve::<_, EchoConversation>(protocol, self.options(), PORT);
        };
        let protocol = move || Web::new(protocol.clone(), site.clone());
        serve::<_, EchoConversation>(protocol, self.options(), PORT)
    }

    fn start(self) -> Result<Box<dyn Turns>, String> {
        let protocol = self.protocol();
        let Some(site) = self.site() else {
            return Ok(Box::new(start_alone(protocol, self.options(), PORT)?));
        };
        let protocol = Web::new(protocol, site);
        Ok(Box::new(start_alone(protocol, self.options(), PORT)?))
    }
}

impl EchoCommand {
    fn protocol(&self) -> Echo {
        let answers_low_ports = self.options.answer_low_ports;
        Echo { answers_low_ports }
    }

    /// The site for browsers, if some of the addresses are for them.
    fn site(&self) -> Option<Site> {
        let site = || Site::of_echo(self.policy.clone()).with_page("/", Page::html(PAGE));
        self.options().has_web().then(site)
    }
}

/// Whether a datagram may be answered, judged by its source port.
pub(crate) fn may_answer(datagram: &Datagram<'_>, answers_low_ports: bool) -> bool {
    let may = answers_low_ports || datagram.from.port() >= FIRST_CLIENT_PORT;
    if !may {
        log::debug!(
            "no answer to {}: ports below {FIRST_CLIENT_PORT} are servers'",
            datagram.from
        );
    }
    may
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use edgeloop_reactor::{Closed, Script, every_split};
    use proptest::prelude::*;

    use super::*;

    const STRICT: Echo = Echo {
        answers_low_ports: false,
    };

    proptest! {
        #[test]
        fn every_byte_comes_back_wherever_the_input_is_cut(input in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(every_split(|| STRICT, &input), input);
        }
    }

    #[test]
    fn the_end_of_the_clients_stream_ends_ours() {
        let mut script = Script::new(STRICT);
        let client = script.open();
        script.eof(client);
        assert_eq!(script.closed(client), Some(Closed::Eof));
    }

    #[test]
    fn a_datagram_from_a_servers_port_is_not_answered_unless_asked_for() {
        let from = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for (answers_low_ports, expected) in [(false, vec![1024]), (true, vec![7, 1023, 1024])] {
            let mut script = Script::new(Echo { answers_low_ports });
            for port in [7, 1023, 1024] {
                script.datagram(from(port), b"x");
            }
            let answered: Vec<u16> = script
                .take_datagrams()
                .iter()
                .map(|(to, _)| to.port())
                .collect();
            assert_eq!(answered, expected);
        }
    }
}
