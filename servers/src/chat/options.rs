//! The command line of the chat server.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::bounds::FRAME_MAX;
use super::settings::Settings;
use super::transcript::Transcript;
use super::{Chat, motd};
use crate::backplane::encoding::ENTRY_MAX;
use crate::backplane::entry::Origin;
use crate::backplane::membership::SERVERS_MAX;
use crate::backplane::random::Random;
use crate::backplane::redis::Target;
use crate::backplane::shared::Shared;
use crate::options::{Options, default_port, or_http};
use crate::screen::Screen;
use crate::serve::{serve_alone, serve_workers, start_alone};
use crate::server::{ServerCommand, Turns};
use crate::values::{duration, number, size};
use crate::web::{Page, Policy, Site, Web};

const PORT: u16 = 7777;
/// The page for browsers.
const PAGE: &str = include_str!("page.html");
/// The path of the WebSocket.
const SOCKET: &str = "/room";
/// Lines of a room that are kept unless the user says otherwise, if there are browsers: a page that has
/// lost its connection is sent those that it has missed.
const HISTORY_FOR_BROWSERS: usize = 100;

const EXAMPLE: &str = "\
Lines that begin with / are commands, which /help lists.
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop chat 0.0.0.0:7777 --history 20 --operator
  nc 127.0.0.1 7777

With a page for browsers:
  edgeloop chat 7777 http://127.0.0.1:8080

On several cores:
  edgeloop chat 0.0.0.0:7777 --workers 4

One of several servers that share their rooms:
  EDGELOOP_BACKPLANE=redis://chat:PASSWORD@10.0.0.1:6379 edgeloop chat 0.0.0.0:7777";

// Not a doc comment, in which brackets are links.
const BACKPLANE: &str = "\
Share the rooms with all servers that have the same URL, which reaches one Redis: \
redis://[USER:PASSWORD@]HOST:PORT[/DB][?prefix=PREFIX]. The servers agree by two streams, \
PREFIX:log (the last 100,000 entries) and PREFIX:beat; PREFIX is edgeloop unless given. Set in \
the environment, as EDGELOOP_BACKPLANE, the password is not shown to other users";

/// One conversation for all clients, over TCP, Unix sockets and WebSocket
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options of chat",
    after_help = EXAMPLE,
    mut_arg("addresses", |arg| or_http(default_port(arg, PORT)))
)]
pub(crate) struct ChatCommand {
    /// Bytes of the longest line, 128 at least; the rest of a longer one is dropped
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = line_size)]
    max_line: usize,

    /// Lines a second that a member may say for long, and as many times --max-line bytes to up to 32
    /// hearers, fewer to more; above it the member's input is paused; 0 is no limit
    #[arg(long, value_name = "N", default_value = "100", value_parser = number::<u32>)]
    rate: u32,

    /// Lines that a member may say at once before the rate counts; 0 is as good as 1
    #[arg(long, value_name = "N", default_value = "1000", value_parser = number::<u32>)]
    burst: u32,

    /// Bytes a second, averaged over 30 s, that a member must accept while more than --high-water
    /// waits for it; talkers are never slowed below that; 0 is any rate
    #[arg(long, value_name = "SIZE", default_value = "8KiB", value_parser = size)]
    min_rate: usize,

    /// Show the last N lines of a room to a member that enters, 64 KiB of them at the most; 0 is none
    /// [default: 0; with http:// 100, for pages that have lost their connection]
    #[arg(long, value_name = "N", value_parser = number::<usize>)]
    history: Option<usize>,

    /// Show this to each member that joins: the content of a file (up to 1 MiB, UTF-8, read again on
    /// SIGHUP), or this text, if there is no such file and it does not look like the name of one
    #[arg(long, value_name = "FILE|TEXT")]
    motd: Option<OsString>,

    /// How long a client may take to give a name; 0 is for ever
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    login_timeout: Duration,

    /// Allow letters and digits of any script in names, but for look-alikes
    #[arg(long)]
    unicode_names: bool,

    /// Budget Chat and nothing else: no commands, no summaries, all bytes and names taken as they come
    #[arg(long)]
    plain: bool,

    /// Say what is typed here to all, and show what is said; /help lists /join, /kick, /ban and more
    #[arg(long)]
    operator: bool,

    /// The Redis that all servers of the chat use.
    #[arg(long, value_name = "URL", value_parser = backplane, help = BACKPLANE)]
    backplane: Option<Backplane>,

    /// Append what is said to this file, with time and room; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,

    #[command(flatten)]
    policy: Policy,

    // The last field, since its help heading applies to all fields that follow.
    #[command(flatten)]
    common: Options,
}

impl ChatCommand {
    /// The settings of the chat. Errors: a message of the day that cannot be read.
    fn settings(&self) -> Result<Settings, String> {
        let motd = self.motd.as_deref().map(motd::find).transpose();
        let motd = motd.map_err(|why| format!("cannot read the message of the day {why}"))?;
        let (motd, motd_file) = motd.unwrap_or_default();
        let history = match self.common.has_web() {
            true => HISTORY_FOR_BROWSERS,
            false => 0,
        };
        Ok(Settings {
            max_line: self.max_line,
            rate: self.rate,
            burst: self.burst,
            min_rate: self.min_rate,
            high_water: self.common.high_water,
            history: self.history.unwrap_or(history),
            motd: Some(motd),
            motd_file,
            login_timeout: self.login_timeout,
            unicode_names: self.unicode_names,
            plain: self.plain,
            operator: self.operator,
        })
    }

    /// The transcript, with its file open.
    fn transcript(&self) -> Result<Option<Transcript>, String> {
        let transcript = self.transcript.as_deref().map(Transcript::open).transpose();
        transcript.map_err(|why| format!("cannot write the transcript {why}"))
    }

    /// The chat with these options, with its files open.
    fn chat(&self) -> Result<Chat, String> {
        Ok(self.seed()?.grow())
    }

    /// All that one chat needs, with its files open.
    fn seed(&self) -> Result<Seed, String> {
        Ok(Seed {
            settings: self.settings()?,
            transcript: self.transcript()?,
            has_log: self.common.log_file.is_some() || !io::stderr().is_terminal(),
            log: match &self.backplane {
                Some(Ok(target)) => SharedLog::InRedis(Box::new(target.resolved()?), 0),
                _ => SharedLog::None,
            },
        })
    }

    /// Prepares the chats of several reactors, which share their rooms. The first one has the operator's
    /// terminal and the transcript.
    fn seeds(&self, first: Seed) -> impl FnMut(usize) -> Result<Seed, String> + use<> {
        let boot = Random::from_system().bits();
        let origin = move |server| Origin { server, boot };
        let logs = Shared::among((0..self.common.workers as u64).map(origin));
        let mut logs = logs.into_iter();
        let others = Settings {
            operator: false,
            ..first.settings.clone()
        };
        let has_log = first.has_log;
        let target = match &first.log {
            SharedLog::InRedis(target, _) => Some(target.clone()),
            _ => None,
        };
        let mut first = Some(first);
        move |index| {
            let seed = first.take().unwrap_or_else(|| Seed {
                settings: others.clone(),
                transcript: None,
                has_log,
                log: SharedLog::None,
            });
            let log = if let Some(target) = &target {
                // Each chat is a server of its own there.
                SharedLog::InRedis(target.clone(), index)
            } else {
                let log = logs.next().ok_or("a chat has no log")?;
                SharedLog::InProcess(log, origin(index as u64))
            };
            Ok(Seed { log, ..seed })
        }
    }

    /// The site for browsers, if some of the addresses are for them.
    fn site(&self) -> Option<Site> {
        let site = || {
            let site = Site::of_lines(self.policy.clone(), SOCKET, self.max_line);
            site.with_page("/", Page::html(PAGE))
        };
        self.common.has_web().then(site)
    }
}

impl ServerCommand for ChatCommand {
    const IS_CONVERSATION: bool = true;
    const SPEAKS_HTTP: bool = true;

    fn options(&self) -> &Options {
        &self.common
    }

    fn check(&self) -> Result<(), String> {
        let fail = |why: &str| Err(why.into());
        if self.max_line.saturating_add(FRAME_MAX) > self.common.high_water {
            return fail(
                "--max-line and a name must fit into --high-water: lower the one or raise the other",
            );
        }
        match self.common.workers {
            1 => {}
            _ if self.plain => {
                return fail("Budget Chat has one reactor: leave out --plain or --workers");
            }
            _ if self.max_line > SHARED_LINE_MAX => {
                return fail("with --workers, --max-line is 252KiB at the most");
            }
            ..=SERVERS_MAX => {}
            _ => return fail("64 --workers are the most for a chat"),
        }
        if self.plain && self.common.has_web() {
            return fail(
                "Budget Chat is any bytes, a browser takes text: leave out --plain or http://",
            );
        }
        let Some(backplane) = &self.backplane else {
            return Ok(());
        };
        if let Err(why) = backplane {
            return Err(format!("--backplane: {why}"));
        }
        if self.plain {
            return fail("Budget Chat has one server: leave out --plain or --backplane");
        }
        if self.max_line > SHARED_LINE_MAX {
            return fail("with --backplane, --max-line is 252KiB at the most");
        }
        Ok(())
    }

    fn run(self) -> Result<(), String> {
        let (seed, site, common) = (self.seed()?, self.site(), &self.common);
        if common.workers == 1 {
            return match site {
                Some(site) => serve_alone(Web::new(seed.grow(), site), common, PORT),
                None => serve_alone(seed.grow(), common, PORT),
            };
        }
        let streams = seed.settings.streams();
        let mut seeds = self.seeds(seed);
        match site {
            None => {
                let prepare = |index| seeds(index).map(|seed| move || seed.grow());
                serve_workers(streams, prepare, common, PORT)
            }
            Some(site) => {
                let prepare = |index| {
                    let (seed, site) = (seeds(index)?, site.clone());
                    Ok(move || Web::new(seed.grow(), site))
                };
                serve_workers(streams, prepare, common, PORT)
            }
        }
    }

    fn start(self) -> Result<Box<dyn Turns>, String> {
        let chat = self.chat()?;
        Ok(match self.site() {
            Some(site) => Box::new(start_alone(Web::new(chat, site), &self.common, PORT)?),
            None => Box::new(start_alone(chat, &self.common, PORT)?),
        })
    }
}

/// A database, or why it is none. The command line is read without an error, whose message would show
/// the password.
type Backplane = Result<Box<Target>, String>;

#[expect(clippy::unnecessary_wraps, reason = "the form of a parser of values")]
fn backplane(text: &str) -> Result<Backplane, Infallible> {
    Ok(text.parse().map(Box::new))
}

/// Bound of `--max-line` in bytes, if the line becomes an entry of the log: names and more have a place
/// in there too.
const SHARED_LINE_MAX: usize = ENTRY_MAX - 4 * 1024;

/// All that a chat needs, to be sent to the thread that serves it.
struct Seed {
    settings: Settings,
    transcript: Option<Transcript>,
    /// The log does not go to the operator's terminal.
    has_log: bool,
    log: SharedLog,
}

/// The log that a chat shares with others.
enum SharedLog {
    /// It is the only one.
    None,
    /// With the other reactors of the process; and its run in there.
    InProcess(Shared, Origin),
    /// With other servers; and the number of its reactor in the process.
    InRedis(Box<Target>, usize),
}

impl Seed {
    fn grow(self) -> Chat {
        let operator = self.settings.operator;
        let mut chat = Chat::new(self.settings, self.transcript);
        if operator {
            chat.set_screen(Screen::of_standard_streams(), self.has_log);
        }
        match self.log {
            SharedLog::None => {}
            SharedLog::InProcess(log, origin) => {
                chat.share(Box::new(log), origin, &format!("worker {}", origin.server));
            }
            SharedLog::InRedis(target, index) => chat.use_backplane(*target, index),
        }
        chat
    }
}

/// Bound of `--max-line`, in bytes: a line may grow to three times its length when it is made harmless,
/// which still fits in 32 bits.
const LINE_MAX: usize = 1 << 30;

/// Parses the longest line, in bytes: at least a name of 32 characters with four bytes each.
fn line_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0..128 => Err("a line needs room for 128 bytes at least".into()),
        LINE_MAX.. => Err("a line has less than 1 GiB".into()),
        size => Ok(size),
    }
}
