//! What the user types.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use edgeloop_reactor::Address;

use crate::chat::{Chat, FRAME_MAX, Settings, Transcript, motd};
use crate::environment;
use crate::generate;
use crate::models::Blocking;
use crate::print;
use crate::talk::Screen;
use crate::values::{duration, number, positive, size};

/// Servers of the classic socket notes on an edge-triggered epoll reactor
#[derive(Debug, Parser)]
#[command(name = "edgeloop", version, max_term_width = 100, after_help = EXAMPLE, args_override_self = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Command {
    #[command(flatten)]
    Serve(Server),
    /// Print shell completions or the manual page
    #[command(hide = true)]
    Generate(generate::Options),
}

const EXAMPLE: &str = "\
Example:
  edgeloop echo 9876 udp://127.0.0.1:9876
  nc 127.0.0.1 9876

'edgeloop echo --help' shows the options, most of which every server takes.";

#[derive(Debug, Subcommand)]
pub(crate) enum Server {
    /// Send back what comes in (RFC 862), over TCP, UDP and Unix sockets
    #[command(after_help = ECHO_EXAMPLE, mut_arg("addresses", |arg| default_port(arg, 9876)))]
    Echo(AnswerOptions),
    /// Send back what comes in with a-z turned to A-Z, over TCP, UDP and Unix sockets
    #[command(after_help = UPPER_EXAMPLE, mut_arg("addresses", |arg| default_port(arg, 6666)))]
    Upper(AnswerOptions),
    /// Print what clients send, answer nothing (RFC 863), over TCP, UDP and Unix sockets
    #[command(after_help = SINK_EXAMPLE, mut_arg("addresses", |arg| default_port(arg, 8888)))]
    Sink(Options),
    /// One conversation for everybody who connects, over TCP and Unix sockets
    #[command(after_help = CHAT_EXAMPLE, mut_arg("addresses", |arg| default_port(arg, 7777)))]
    Chat(ChatOptions),
    /// Talk from this terminal to one peer at a time, full duplex, over TCP and Unix sockets
    #[command(after_help = TALK_EXAMPLE, mut_arg("addresses", |arg| default_port(arg, 5678).num_args(0..=1)))]
    Talk(Options),
}

const ECHO_EXAMPLE: &str = "\
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop echo 9876 udp://127.0.0.1:9876 unix:/tmp/echo.sock
  nc 127.0.0.1 9876";

const UPPER_EXAMPLE: &str = "\
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop upper 6666
  echo hello | nc -N 127.0.0.1 6666";

const SINK_EXAMPLE: &str = "\
A line of a client is printed as 'client N: TEXT', cut after 4 KiB, with control
characters shown and not sent to the terminal. While standard output takes
nothing, clients wait, and those that come and go without a text are counted.
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop sink 8888 | less
  echo hello | nc -N 127.0.0.1 8888";

const CHAT_EXAMPLE: &str = "\
Lines that begin with / are commands, which /help lists.
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop chat 0.0.0.0:7777 --history 20 --operator
  nc 127.0.0.1 7777";

const TALK_EXAMPLE: &str = "\
A second caller is told 'busy'. Ctrl-D ends our side, Ctrl-C the program. A line is
edited with the keys of most shells: arrows, Ctrl-A, E, K, U, W and Y, Alt-B, F
and Backspace.
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop talk 5678
  edgecall talk 127.0.0.1:5678";

fn default_port(arg: Arg, port: u16) -> Arg {
    arg.help(format!(
        "Where to listen: PORT, HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT, unix:PATH or \
         unix:@NAME; 127.0.0.1 unless a host is given [default: {port}]"
    ))
}

#[derive(Debug, Args)]
pub(crate) struct AnswerOptions {
    #[command(flatten)]
    pub(crate) common: Options,

    /// Answer UDP datagrams from ports below 1024 too, which may be another server's
    #[arg(long, help_heading = "Options for UDP")]
    pub(crate) answer_low_ports: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of chat")]
pub(crate) struct ChatOptions {
    /// Bytes of the longest line, 128 at least; the rest of a longer one is dropped
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = line_size)]
    pub(crate) max_line: usize,

    /// Lines a second that one may say for long, and as many times --max-line bytes; above it one's
    /// input is paused; 0 is no limit
    #[arg(long, value_name = "N", default_value = "100", value_parser = number::<u32>)]
    pub(crate) rate: u32,

    /// Lines that one may say at once before the rate counts; 0 is as good as 1
    #[arg(long, value_name = "N", default_value = "1000", value_parser = number::<u32>)]
    pub(crate) burst: u32,

    /// Bytes a second, averaged over 30 s, that a member must accept while more than --high-water
    /// waits for it; talkers are never slowed below that; 0 is any rate
    #[arg(long, value_name = "SIZE", default_value = "8KiB", value_parser = size)]
    pub(crate) min_rate: usize,

    /// Show the last N lines of a room to who enters it, 64 KiB of them at the most; 0 is none
    #[arg(long, value_name = "N", default_value = "0", value_parser = number::<usize>)]
    pub(crate) history: usize,

    /// Show this to who has joined: what a file says (up to 1 MiB, UTF-8, read again on SIGHUP), or
    /// this text, if there is no such file and it does not look like the name of one
    #[arg(long, value_name = "FILE|TEXT")]
    pub(crate) motd: Option<OsString>,

    /// How long one may take to give a name; 0 is for ever
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) login_timeout: Duration,

    /// Refuse connections from one address above this number [default: no limit]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    pub(crate) max_per_ip: Option<usize>,

    /// Allow letters and digits of any script in names, but for look-alikes
    #[arg(long)]
    pub(crate) unicode_names: bool,

    /// Budget Chat and nothing else: no commands, no summaries, all bytes and names taken as they come
    #[arg(long)]
    pub(crate) plain: bool,

    /// Say what is typed here to all, and show what is said; /help lists /join, /kick, /ban and more
    #[arg(long)]
    pub(crate) operator: bool,

    /// Append what is said to this file, with time and room; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    pub(crate) transcript: Option<PathBuf>,

    // The last, since its heading is that of all that follows.
    #[command(flatten)]
    pub(crate) common: Options,
}

impl ChatOptions {
    /// The chat that these ask for, with its files open.
    pub(crate) fn chat(&self) -> Result<Chat, String> {
        let motd = self.motd.as_deref().map(motd::find).transpose();
        let motd = motd.map_err(|why| format!("cannot read the message of the day {why}"))?;
        let (motd, motd_file) = motd.unwrap_or_default();
        let settings = Settings {
            max_line: self.max_line,
            rate: self.rate,
            burst: self.burst,
            min_rate: self.min_rate,
            high_water: self.common.high_water,
            history: self.history,
            motd: Some(motd),
            motd_file,
            login_timeout: self.login_timeout,
            max_per_ip: self.max_per_ip,
            unicode_names: self.unicode_names,
            plain: self.plain,
            operator: self.operator,
        };
        let transcript = self.transcript.as_deref().map(Transcript::open).transpose();
        let transcript = transcript.map_err(|why| format!("cannot write the transcript {why}"))?;
        let mut chat = Chat::new(settings, transcript);
        if self.operator {
            let has_log = self.common.log_file.is_some() || !io::stderr().is_terminal();
            chat.set_screen(Screen::of_standard_streams(), has_log);
        }
        Ok(chat)
    }
}

/// What every server takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every server")]
pub(crate) struct Options {
    #[arg(value_name = "ADDR", help_heading = None::<&str>)]
    pub(crate) addresses: Vec<Address>,

    /// How connections are served; fork and thread: over TCP only
    #[arg(long, default_value = "reactor")]
    pub(crate) model: Model,

    /// So many reactors, a thread for each, that share the clients and nothing else; 1024 at the
    /// most, and one for chat and talk
    #[arg(long, value_name = "N", default_value = "1", value_parser = workers)]
    pub(crate) workers: usize,

    /// Serve one connection (or one datagram) and exit
    #[arg(long)]
    pub(crate) once: bool,

    /// Refuse connections above this number [default: as many as there are descriptors]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    pub(crate) max_connections: Option<usize>,

    /// Close a connection that neither sent nor accepted a byte for so long; 0 is never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub(crate) idle_timeout: Duration,

    /// Close a peer that accepts none of the bytes waiting for it for so long; 0 is never
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) stall_timeout: Duration,

    /// Find a TCP peer that vanished without a word about so long after it was last heard, or within
    /// two stall timeouts while something is under way to it; 0 is not at all
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) keepalive: Duration,

    /// Bytes waiting for one peer before its input is paused
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = size)]
    pub(crate) high_water: usize,

    /// Connections that the kernel keeps until they are accepted; it takes no more than
    /// /proc/sys/net/core/somaxconn
    #[arg(long, value_name = "N", default_value = "4096", value_parser = positive::<usize>)]
    pub(crate) backlog: usize,

    /// How long SIGTERM and SIGINT wait for pending output, 0 is not at all; a second signal ends
    /// at once
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) grace: Duration,

    /// Print a line of counters so often; SIGUSR1 prints one at any time [default: 0, which is never]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) stats: Option<Duration>,

    /// Log each connection (-v), and more (-vv)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log warnings and errors only, unless -v is given
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Log to this file rather than to stderr; SIGHUP opens it anew
    #[arg(long, value_name = "PATH")]
    pub(crate) log_file: Option<PathBuf>,
}

/// What serves the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// One thread for all
    Reactor,
    /// A process for each
    Fork,
    /// A thread for each
    Thread,
}

impl Model {
    /// Which of the models that do without the reactor, if it is one of these.
    pub(crate) fn blocking(self) -> Option<Blocking> {
        match self {
            Model::Reactor => None,
            Model::Fork => Some(Blocking::Fork),
            Model::Thread => Some(Blocking::Thread),
        }
    }
}

impl Cli {
    /// What the user typed; ends the program if it makes no sense.
    pub(crate) fn read() -> Cli {
        let fail = |kind, why: &str| -> ! { Cli::command().error(kind, why).exit() };
        let typed = std::env::args_os().collect();
        let variable = |name: &str| std::env::var_os(name);
        let arguments = environment::arguments(Cli::command(), typed, variable, applies);
        let arguments = arguments.unwrap_or_else(|why| fail(ErrorKind::ValueValidation, &why));
        let cli: Cli = print::parse(arguments);
        if let Command::Serve(server) = &cli.command
            && let Err(conflict) = server.check()
        {
            let conflict = format!(
                "{conflict}{}",
                environment::blame("edgeloop", conflict, variable)
            );
            fail(ErrorKind::ArgumentConflict, &conflict);
        }
        cli
    }
}

/// Whether a server heeds an option that is set in the environment, for all servers at once: one
/// conversation has one reactor.
fn applies(server: &str, option: &str) -> bool {
    !(matches!(server, "chat" | "talk") && matches!(option, "model" | "workers"))
}

impl Server {
    pub(crate) fn options(&self) -> &Options {
        match self {
            Server::Echo(options) | Server::Upper(options) => &options.common,
            Server::Chat(options) => &options.common,
            Server::Sink(options) | Server::Talk(options) => options,
        }
    }

    /// What does not go together.
    fn check(&self) -> Result<(), &'static str> {
        let options = self.options();
        let is_tcp = |address: &Address| matches!(address, Address::Tcp(_));
        let is_udp = |address: &Address| matches!(address, Address::Udp(_));
        if options.model != Model::Reactor {
            if options.workers > 1 {
                return Err("--workers are reactors: leave it out, or --model");
            }
            if !options.addresses.iter().all(is_tcp) {
                return Err("only the reactor serves UDP and Unix sockets: leave out --model");
            }
        }
        if options.workers > 1 && options.once {
            return Err("--once serves one client, which is one worker's: leave out --workers");
        }
        if let Server::Chat(chat) = self
            && chat.max_line.saturating_add(FRAME_MAX) > options.high_water
        {
            return Err(
                "--max-line and a name must fit into --high-water: lower the one or raise the other",
            );
        }
        if let Server::Talk(_) | Server::Chat(_) = self {
            if options.model != Model::Reactor {
                return Err("only the reactor serves a conversation: leave out --model");
            }
            if options.workers > 1 {
                return Err("this server has one conversation: leave out --workers");
            }
            if options.addresses.iter().any(is_udp) {
                return Err("a conversation needs a stream: this server does not speak UDP");
            }
        }
        Ok(())
    }
}

/// Three times as much, which is what a line can become, can still be counted in 32 bits.
const LINE_MAX: usize = 1 << 30;

/// A line that has room for a name, of which a character may take four bytes.
fn line_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0..128 => Err("a line needs room for 128 bytes at least".into()),
        LINE_MAX.. => Err("a line has less than 1 GiB".into()),
        size => Ok(size),
    }
}

/// More workers than any machine has processors.
const WORKERS_MAX: usize = 1024;

fn workers(text: &str) -> Result<usize, String> {
    match positive(text)? {
        count if count > WORKERS_MAX => Err(format!("{WORKERS_MAX} workers are the most")),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
