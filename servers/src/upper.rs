//! The uppercase server: a-z come back as A-Z, every other byte as it was.
//!
//! The server maps bytes, not letters: ß, é and all else beyond ASCII pass unchanged, and no locale
//! has any influence.

use std::io;
use std::net::SocketAddr;

use clap::Args;
use edgeloop_reactor::{ConnId, Data, Datagram, Outbox, Protocol};

use crate::echo::may_answer;
use crate::models::{Answer, Conversation};
use crate::options::{AnswerOptions, Options, default_port};
use crate::serve::{serve, start_alone};
use crate::server::{Server, ServerCommand, Turns};

const PORT: u16 = 6666;

const EXAMPLE: &str = "\
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop upper 6666
  echo hello | nc -N 127.0.0.1 6666";

/// The protocol: it has no state, so it does not matter how the input is cut.
#[derive(Clone, Debug)]
pub struct Upper {
    /// Whether to answer datagrams from ports below 1024, which may be another server's.
    pub answers_low_ports: bool,
}

impl Protocol for Upper {
    fn on_data(&mut self, _: ConnId, mut data: Data<'_>, out: &mut Outbox) {
        data.make_ascii_uppercase();
        out.send_back(data);
    }

    fn on_datagram(&mut self, mut datagram: Datagram<'_>, out: &mut Outbox) {
        if may_answer(&datagram, self.answers_low_ports) {
            datagram.data.make_ascii_uppercase();
            out.send_back(datagram.data);
        }
    }
}

impl Server for Upper {}

/// The conversation of one client that has a process or a thread of its own.
pub(crate) struct UpperConversation;

impl Conversation for UpperConversation {
    fn begin(_: u64, _: SocketAddr) -> io::Result<Self> {
        Ok(UpperConversation)
    }

    fn on_data(&mut self, data: &mut [u8]) -> io::Result<Answer> {
        data.make_ascii_uppercase();
        Ok(Answer::SendBack)
    }
}

/// Send back what comes in with a-z turned to A-Z, over TCP, UDP and Unix sockets
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, mut_arg("addresses", |arg| default_port(arg, PORT)))]
pub(crate) struct UpperCommand {
    #[command(flatten)]
    options: AnswerOptions,
}

impl ServerCommand for UpperCommand {
    fn options(&self) -> &Options {
        &self.options.common
    }

    fn run(self) -> Result<(), String> {
        let answers_low_ports = self.options.answer_low_ports;
        let protocol = move || Upper { answers_low_ports };
        serve::<_, UpperConversation>(protocol, self.options(), PORT)
    }

    fn start(self) -> Result<Box<dyn Turns>, String> {
        let answers_low_ports = self.options.answer_low_ports;
        let protocol = Upper { answers_low_ports };
        Ok(Box::new(start_alone(protocol, self.options(), PORT)?))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use edgeloop_reactor::{Script, every_split};
    use proptest::prelude::*;

    use super::*;

    const STRICT: Upper = Upper {
        answers_low_ports: false,
    };

    proptest! {
        #[test]
        fn the_answer_is_the_same_wherever_the_input_is_cut(input in prop::collection::vec(any::<u8>(), 0..200)) {
            let expected: Vec<u8> = input
                .iter()
                .map(|&byte| if byte.is_ascii_lowercase() { byte - 32 } else { byte })
                .collect();
            prop_assert_eq!(every_split(|| STRICT, &input), expected);
        }
    }

    #[test]
    fn nothing_but_a_to_z_is_touched() {
        let all: Vec<u8> = (0..=255).collect();
        let answer = every_split(|| STRICT, &all);
        for (byte, answered) in all.iter().zip(answer) {
            let expected = match byte {
                b'a'..=b'z' => byte - 32,
                other => *other,
            };
            assert_eq!(answered, expected);
        }
        let text = "ß é ŉ ı ﬁ straße".as_bytes();
        assert_eq!(every_split(|| STRICT, text), "ß é ŉ ı ﬁ STRAßE".as_bytes());
    }

    #[test]
    fn datagrams_too() {
        let mut script = Script::new(STRICT);
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        script.datagram(from, b"Hello");
        script.datagram(from, b"");
        script.datagram((Ipv4Addr::LOCALHOST, 7).into(), b"loop");
        assert_eq!(
            script.take_datagrams(),
            [(from, b"HELLO".to_vec()), (from, Vec::new())]
        );
    }
}
