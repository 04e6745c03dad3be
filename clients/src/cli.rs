//! The command line.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use edgeloop::values::{duration, number};
use edgeloop::{environment, generate, print};
use edgeloop_reactor::{Address, ParseAddressError};

use crate::load::options::{EXAMPLE as LOAD_EXAMPLE, LoadOptions};

/// Clients for the servers of edgeloop, and for others of their kind
#[derive(Debug, Parser)]
#[command(name = "edgecall", version, max_term_width = 100, after_help = EXAMPLE, args_override_self = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) client: Client,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// Send standard input to an echo server and print what comes back
    #[command(after_help = ECHO_EXAMPLE)]
    Echo(EchoOptions),
    /// Send text to an upper-case server and print the answer
    #[command(after_help = UPPER_EXAMPLE)]
    Upper(UpperOptions),
    /// Send standard input to a server that answers nothing
    #[command(after_help = SEND_EXAMPLE)]
    Send(SendOptions),
    /// Talk to a peer, or in a chat: what you type is sent while what comes is printed
    #[command(after_help = TALK_EXAMPLE)]
    Talk(TalkOptions),
    /// Put a load on a server, check every answer, and measure rate and latency
    #[command(after_help = LOAD_EXAMPLE)]
    Load(Box<LoadOptions>),
    /// Print shell completions or the manual page
    #[command(hide = true)]
    Generate(generate::Options),
}

const EXAMPLE: &str = "\
Example:
  echo hello | edgecall echo 127.0.0.1:9876";

const ECHO_EXAMPLE: &str = "\
An answer that is longer than what was sent is an error.
Over UDP each line is a datagram; an answer to it lets the next one be sent.
Each option can be set in the environment too: EDGECALL_TIMEOUT=5s

Example:
  edgecall echo 127.0.0.1:9876 <photo.jpg | cmp - photo.jpg";

const UPPER_EXAMPLE: &str = "\
MESSAGE is sent as it is, without a newline. Without MESSAGE, standard input is
sent: byte for byte, or over UDP a datagram for each line. An answer that is
longer than what was sent is an error.
Each option can be set in the environment too: EDGECALL_TIMEOUT=5s

Example:
  edgecall upper hello, world
  edgecall upper --addr udp://127.0.0.1:6666 -- -v is an option, this is not";

const SEND_EXAMPLE: &str = "\
At the end of standard input this side of the stream ends, and the server's end
is awaited: the server has everything then. Over UDP, where each line is a
datagram, there is no way to know.
Each option can be set in the environment too: EDGECALL_TIMEOUT=5s

Example:
  tail -f /var/log/syslog | edgecall send 127.0.0.1:8888";

const TALK_EXAMPLE: &str = "\
Ctrl-D ends our side, Ctrl-C the program. A line is edited with the keys of most
shells: arrows, Ctrl-A, E, K, U, W and Y, Alt-B, F and Backspace.
Each option can be set in the environment too: EDGECALL_TIMEOUT=5s

Example:
  edgecall talk 127.0.0.1:5678";

#[derive(Debug, Args)]
pub(crate) struct EchoOptions {
    /// The server: PORT, HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or
    /// unix:@NAME
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:9876")]
    pub(crate) address: Address,

    #[command(flatten)]
    pub(crate) common: Options,
}

#[derive(Debug, Args)]
pub(crate) struct UpperOptions {
    /// The words to send, joined by a space
    #[arg(value_name = "MESSAGE")]
    words: Vec<OsString>,

    /// The server: PORT, HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or
    /// unix:@NAME
    #[arg(
        long = "addr",
        value_name = "ADDR",
        help_heading = "Options of upper",
        default_value = "127.0.0.1:6666"
    )]
    pub(crate) address: Address,

    #[command(flatten)]
    pub(crate) common: Options,
}

impl UpperOptions {
    /// The message, byte for byte; `None` for standard input.
    pub(crate) fn message(&self) -> Option<Vec<u8>> {
        let words: Vec<&[u8]> = self.words.iter().map(|word| word.as_bytes()).collect();
        (!words.is_empty()).then(|| words.join(&b' '))
    }
}

#[derive(Debug, Args)]
pub(crate) struct SendOptions {
    /// The server: PORT, HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or
    /// unix:@NAME
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:8888")]
    pub(crate) address: Address,

    #[command(flatten)]
    pub(crate) common: Options,
}

#[derive(Debug, Args)]
pub(crate) struct TalkOptions {
    /// The peer: PORT, HOST:PORT, tcp://HOST:PORT, unix:PATH or unix:@NAME
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:5678", value_parser = stream_address)]
    pub(crate) address: Address,

    #[command(flatten)]
    pub(crate) common: Options,
}

/// Parses the address of a stream.
fn stream_address(text: &str) -> Result<Address, String> {
    match text
        .parse()
        .map_err(|error: ParseAddressError| error.to_string())?
    {
        Address::Udp(_) => Err("a conversation needs a stream, not UDP".into()),
        address => Ok(address),
    }
}

/// The options of every client.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every client")]
pub(crate) struct Options {
    /// How long to wait for the connection and, once all is sent, for the answer, which may take
    /// longer only at 1 KiB a second or more; over UDP, for the answer to a datagram; 0 is for ever
    /// [default: 30s; UDP: 2s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// How often to try again, after a second, when the server cannot be reached; over UDP, when
    /// a datagram is not answered [default: 0; UDP: 2]
    #[arg(long, value_name = "N", value_parser = number::<u32>)]
    retry: Option<u32>,

    /// Log the address that was reached, and at the end the bytes sent and received
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Options {
    /// The timeout for this server; zero is for ever.
    pub(crate) fn timeout(&self, server: &Address) -> Duration {
        let default = match server {
            Address::Udp(_) => Duration::from_secs(2),
            _ => Duration::from_secs(30),
        };
        self.timeout.unwrap_or(default)
    }

    /// The timeout if one was given; otherwise zero, which is for ever.
    pub(crate) fn given_timeout(&self) -> Duration {
        self.timeout.unwrap_or_default()
    }

    /// The number of attempts after the first, for this server.
    pub(crate) fn retries(&self, server: &Address) -> u32 {
        let default = match server {
            Address::Udp(_) => 2,
            _ => 0,
        };
        self.retry.unwrap_or(default)
    }
}

impl Cli {
    /// Parses the command line; ends the program if that makes no sense.
    pub(crate) fn read() -> Cli {
        let understood = Cli::understand(env::args_os().collect(), |name| env::var_os(name));
        understood.unwrap_or_else(|error| print::explain("edgecall", &error))
    }

    /// Parses a command line, whose first argument is the program's name, and the variables of an
    /// environment. An error is a message for the user, or the help that was asked for.
    pub(crate) fn understand(
        typed: Vec<OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Cli, clap::Error> {
        let arguments = environment::arguments(Cli::command(), typed, &variable, |_, _| true)
            .map_err(|why| Cli::command().error(ErrorKind::ValueValidation, why))?;
        let cli = Cli::try_parse_from(arguments)?;
        if let Client::Load(options) = &cli.client
            && let Err(conflict) = options.check()
        {
            let mut command = Cli::command();
            command.build();
            let load = command.find_subcommand_mut("load").expect("it was typed");
            let blame = environment::blame("edgecall", &conflict, variable);
            return Err(load.error(ErrorKind::ArgumentConflict, format!("{conflict}{blame}")));
        }
        Ok(cli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_words_of_a_message_are_joined() {
        for (words, expected) in [
            (&[][..], None),
            (&[""], Some("")),
            (&["a", "", "b c"], Some("a  b c")),
        ] {
            let cli = Cli::try_parse_from([&["edgecall", "upper"], words].concat());
            let Ok(Client::Upper(upper)) = cli.map(|cli| cli.client) else {
                panic!("not understood: {words:?}");
            };
            assert_eq!(
                upper.message(),
                expected.map(|text| text.as_bytes().to_vec())
            );
        }
    }
}
