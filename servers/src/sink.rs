//! The sink (RFC 863 on the wire): prints what clients send, and answers nothing.
//!
//! Standard output is a connection like any other. When its reader stops, as a pager does, output
//! queues up to the high-water mark; above it the clients' input is paused, and TCP makes them
//! wait. Notices about clients have no source that could be paused: while standard output is full,
//! a new client is announced later, before its first text, and clients that come and go without a
//! text are counted. So nothing blocks, nothing grows without bound, and no text is lost.

use std::io::{self, Write};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use edgeloop_reactor::{
    Closed, ConnId, ConnMap, Data, Datagram, Opened, Outbox, Peer, Protocol, RateLimitedLog,
};

use crate::harmless::harmless_up_to;
use crate::line::{Line, LineAssembler};
use crate::models::{Answer, Conversation, take_unannounced};
use crate::options::{Options, default_port};
use crate::print::print;
use crate::serve::{serve, start_alone};
use crate::server::{Server, ServerCommand, StandardStreams, Turns};

const PORT: u16 = 8888;

const EXAMPLE: &str = "\
A line of a client is printed as 'client N: TEXT', cut after 4 KiB, with control
characters shown and not sent to the terminal. While standard output takes
nothing, clients wait, and those that come and go without a text are counted.
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop sink 8888 | less
  echo hello | nc -N 127.0.0.1 8888";

/// The tag of standard output.
pub const STDOUT: u64 = 1;

/// The longest line that is printed, its end included: as much as a pipe keeps in one piece among
/// several writers (pipe(7), `PIPE_BUF`), which matters to the models with several processes.
const PRINTED_MAX: usize = 4096;
/// Mark in the place of the part that is cut off.
const CUT: &str = " [...]";

/// The protocol: the clients, and standard output.
#[derive(Debug)]
pub struct Sink {
    /// The next client's number, which all workers share.
    next_number: Arc<AtomicU64>,
    clients: ConnMap<Client>,
    stdout: Option<ConnId>,
    /// Standard output is above its high-water mark.
    is_full: bool,
    /// Number of clients that came and went meanwhile, without a text.
    came_and_went: u64,
    /// Number of datagrams dropped meanwhile: their senders cannot be made to wait.
    missed: u64,
    misses: RateLimitedLog,
    /// Lines being put together; kept, so that its memory is reused.
    page: Vec<u8>,
    failure: Option<String>,
}

#[derive(Debug)]
struct Client {
    transcript: Transcript,
    /// The address, if the client came while standard output was full and is yet to be announced.
    unannounced: Option<Peer>,
}

impl Sink {
    /// A sink that takes its clients' numbers from this counter.
    #[must_use]
    pub fn new(next_number: Arc<AtomicU64>) -> Self {
        Sink {
            next_number,
            clients: ConnMap::new(),
            stdout: None,
            is_full: false,
            came_and_went: 0,
            missed: 0,
            misses: RateLimitedLog::default(),
            page: Vec::new(),
            failure: None,
        }
    }

    /// Sends the page to standard output.
    fn print(&mut self, out: &mut Outbox) {
        if let Some(stdout) = self.stdout {
            out.send(stdout, &self.page);
        }
        self.page.clear();
    }

    /// Prints the notices that were held back while standard output was full: the number of clients
    /// that came and went, and the clients that came and are still there.
    fn catch_up(&mut self, out: &mut Outbox) {
        write_came_and_went(mem::take(&mut self.came_and_went), &mut self.page);
        let is_new = |client: &Client| client.unannounced.is_some();
        let clients = self.clients.iter().filter(|(_, client)| is_new(client));
        let mut new: Vec<(u64, ConnId)> = clients
            .map(|(id, client)| (client.transcript.number, id))
            .collect();
        new.sort_unstable();
        for (_, id) in new {
            if let Some(client) = self.clients.get_mut(id)
                && let Some(peer) = client.unannounced.take()
            {
                client.transcript.opened(&peer, &mut self.page);
            }
        }
        self.print(out);
        let now_ms = out.now().as_millis() as u64;
        if self.missed > 0 && self.misses.is_open(now_ms) {
            let missed = mem::take(&mut self.missed);
            self.misses.log(
                now_ms,
                format_args!("datagrams dropped while standard output was full: {missed}"),
            );
        }
    }
}

impl Protocol for Sink {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == STDOUT {
            self.stdout = Some(id);
            return;
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let mut client = Client {
            transcript: Transcript::new(number),
            unannounced: None,
        };
        if self.is_full {
            out.pause(id);
            client.unannounced = Some(opened.peer);
        } else {
            client.transcript.opened(&opened.peer, &mut self.page);
            self.print(out);
        }
        self.clients.insert(id, client);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if let Some(client) = self.clients.get_mut(id) {
            client.transcript.data(&data, &mut self.page);
            self.print(out);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if let Some(mut client) = self.clients.remove(id) {
            if client.unannounced.is_some() {
                self.came_and_went += 1;
                return;
            }
            client.transcript.closed(&mut self.page);
            self.print(out);
        } else if Some(id) == self.stdout {
            self.stdout = None;
            self.failure = stdout_failure(why);
            out.stop();
        }
    }

    /// No more input follows: a line that lacks its end is printed as it is.
    fn on_stop(&mut self, out: &mut Outbox) {
        self.catch_up(out);
        let ids: Vec<ConnId> = self.clients.iter().map(|(id, _)| id).collect();
        for mut client in ids.into_iter().filter_map(|id| self.clients.remove(id)) {
            client.transcript.closed(&mut self.page);
        }
        self.print(out);
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        if Some(id) == self.stdout {
            self.is_full = true;
            self.clients
                .iter()
                .for_each(|(client, _)| out.pause(client));
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if Some(id) == self.stdout {
            self.is_full = false;
            self.catch_up(out);
            self.clients
                .iter()
                .for_each(|(client, _)| out.resume(client));
        }
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        if self.is_full {
            self.missed += 1;
            return;
        }
        let mut lines = LineAssembler::default();
        let page = &mut self.page;
        let mut each = |line: Line<'_>| print_line(datagram.from, &line, page);
        lines.feed(&datagram.data, PRINTED_MAX, &mut each);
        if datagram.data.is_empty() {
            each(Line {
                text: b"",
                cut: false,
            });
        }
        lines.finish(PRINTED_MAX, each);
        self.print(out);
    }
}

impl Server for Sink {
    fn streams(&self) -> StandardStreams {
        StandardStreams {
            stdin: None,
            stdout: Some(STDOUT),
        }
    }

    fn on_served(&mut self, out: &mut Outbox) {
        self.stdout.iter().for_each(|&stdout| out.finish(stdout));
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}

/// The conversation of one client that has a process or a thread of its own. It waits while
/// standard output is full, and so does its client. A line is printed by one call, so that none is
/// torn.
pub(crate) struct SinkConversation {
    transcript: Transcript,
    page: Vec<u8>,
}

impl SinkConversation {
    fn print(&mut self) -> io::Result<()> {
        let mut notice = Vec::new();
        write_came_and_went(take_unannounced(), &mut notice);
        print(&notice)?;
        let printed = self
            .page
            .split_inclusive(|&byte| byte == b'\n')
            .try_for_each(print);
        self.page.clear();
        printed
    }
}

impl Conversation for SinkConversation {
    const PRINTS: bool = true;

    fn begin(number: u64, peer: SocketAddr) -> io::Result<Self> {
        let mut conversation = SinkConversation {
            transcript: Transcript::new(number),
            page: Vec::new(),
        };
        let page = &mut conversation.page;
        conversation.transcript.opened(&Peer::Inet(peer), page);
        conversation.print()?;
        Ok(conversation)
    }

    fn on_data(&mut self, data: &mut [u8]) -> io::Result<Answer> {
        self.transcript.data(data, &mut self.page);
        self.print()?;
        Ok(Answer::Nothing)
    }

    fn on_close(&mut self) -> io::Result<()> {
        self.transcript.closed(&mut self.page);
        self.print()
    }
}

/// Print what clients send, answer nothing (RFC 863), over TCP, UDP and Unix sockets
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, mut_arg("addresses", |arg| default_port(arg, PORT)))]
pub(crate) struct SinkCommand {
    #[command(flatten)]
    options: Options,
}

impl ServerCommand for SinkCommand {
    fn options(&self) -> &Options {
        &self.options
    }

    fn run(self) -> Result<(), String> {
        let next_number = Arc::new(AtomicU64::new(0));
        let protocol = move || Sink::new(Arc::clone(&next_number));
        serve::<_, SinkConversation>(protocol, &self.options, PORT)
    }

    fn start(self) -> Result<Box<dyn Turns>, String> {
        let protocol = Sink::new(Arc::default());
        Ok(Box::new(start_alone(protocol, &self.options, PORT)?))
    }
}

/// The failure of standard output, unless this program ended it.
fn stdout_failure(why: Closed) -> Option<String> {
    let why = match why {
        Closed::Finished | Closed::Shutdown => return None,
        Closed::Reset => "Broken pipe".into(),
        why => why.to_string(),
    };
    Some(format!("cannot write to standard output: {why}"))
}

/// The text that is printed about one client, in every model.
#[derive(Debug)]
pub(crate) struct Transcript {
    number: u64,
    lines: LineAssembler,
}

impl Transcript {
    pub(crate) fn new(number: u64) -> Self {
        Transcript {
            number,
            lines: LineAssembler::default(),
        }
    }

    pub(crate) fn opened(&self, peer: &Peer, page: &mut Vec<u8>) {
        write(
            page,
            format_args!("client {} connected from {peer}\n", self.number),
        );
    }

    /// Prints the lines that these bytes complete.
    pub(crate) fn data(&mut self, bytes: &[u8], page: &mut Vec<u8>) {
        let number = self.number;
        self.lines.feed(bytes, PRINTED_MAX, |line| {
            print_line(number, &line, page);
        });
    }

    /// Prints the last line, which may lack its end.
    pub(crate) fn closed(&mut self, page: &mut Vec<u8>) {
        let number = self.number;
        self.lines.finish(PRINTED_MAX, |line| {
            print_line(number, &line, page);
        });
        write(page, format_args!("client {number} closed\n"));
    }
}

/// Writes a notice about clients that came and went while standard output was full.
fn write_came_and_went(count: u64, page: &mut Vec<u8>) {
    match count {
        0 => {}
        1 => page.extend(b"(1 client came and went meanwhile)\n"),
        count => write(
            page,
            format_args!("({count} clients came and went meanwhile)\n"),
        ),
    }
}

fn print_line(client: impl std::fmt::Display, line: &Line<'_>, page: &mut Vec<u8>) {
    let start = page.len();
    write(page, format_args!("client {client}: "));
    let room = PRINTED_MAX - (page.len() - start) - CUT.len() - 1;
    let whole = harmless_up_to(line.text, room, page);
    if line.cut || !whole {
        page.extend_from_slice(CUT.as_bytes());
    }
    page.push(b'\n');
}

fn write(page: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a Vec takes everything");
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use edgeloop_reactor::{Script, SystemError};
    use proptest::prelude::*;

    use super::*;

    fn start() -> (Script<Sink>, ConnId) {
        let mut script = Script::new(Sink::new(Arc::default()));
        let stdout = script.open_as(Opened::new(Peer::Stream, STDOUT));
        (script, stdout)
    }

    fn printed(script: &mut Script<Sink>, stdout: ConnId) -> String {
        String::from_utf8(script.take_output(stdout)).unwrap()
    }

    #[test]
    fn clients_are_numbered_and_printed_line_by_line() {
        let (mut script, stdout) = start();
        let (zero, one) = (script.open(), script.open());
        script.data(zero, b"hel");
        script.data(one, b"first\r\nsecond\n\nunfin");
        script.data(zero, b"lo\n");
        script.eof(one);
        script.close(zero, Closed::Reset);
        let expected = "\
client 0 connected from 127.0.0.1:40001
client 1 connected from 127.0.0.1:40002
client 1: first
client 1: second
client 1: 
client 0: hello
client 1: unfin
client 1 closed
client 0 closed
";
        assert_eq!(printed(&mut script, stdout), expected);
        assert_eq!(script.take_output(zero), b"", "a sink answers nothing");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let (mut script, stdout) = start();
        let client = script.open();
        let _ = printed(&mut script, stdout);
        script.data(client, b"\x1b[2J\x07\xff caf\xc3\xa9\n");
        assert_eq!(
            printed(&mut script, stdout),
            "client 0: \\x1b[2J\\x07\\xff café\n"
        );
    }

    #[test]
    fn a_line_without_end_is_cut_once_and_what_follows_is_a_line_again() {
        let (mut script, stdout) = start();
        let client = script.open();
        let _ = printed(&mut script, stdout);
        for _ in 0..100 {
            script.data(client, &[b'x'; 1000]);
        }
        script.data(client, b"\nnext\n");
        let text = printed(&mut script, stdout);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("client 0: xxx") && lines[0].ends_with("x [...]"));
        assert_eq!(lines[1..], ["client 0: next"]);
    }

    #[test]
    fn datagrams_go_by_their_sender() {
        let (mut script, stdout) = start();
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        script.datagram(from, b"one\ntwo");
        script.datagram(from, b"");
        let expected =
            "client 127.0.0.1:5000: one\nclient 127.0.0.1:5000: two\nclient 127.0.0.1:5000: \n";
        assert_eq!(printed(&mut script, stdout), expected);
        assert_eq!(script.take_datagrams(), []);
    }

    #[test]
    fn a_stop_prints_what_was_heard_of_a_line() {
        let (mut script, stdout) = start();
        let client = script.open();
        script.data(client, b"whole\nunfin");
        let _ = printed(&mut script, stdout);
        script.stop();
        script.close(client, Closed::Shutdown);
        let expected = "client 0: unfin\nclient 0 closed\n";
        assert_eq!(printed(&mut script, stdout), expected);
    }

    #[test]
    fn clients_wait_while_standard_output_is_full() {
        let (mut script, stdout) = start();
        let early = script.open();
        script.high_water(stdout, true);
        let late = script.open();
        assert!(script.is_paused(early) && script.is_paused(late));
        script.datagram((Ipv4Addr::LOCALHOST, 5000).into(), b"cannot wait");
        script.high_water(stdout, false);
        assert!(!script.is_paused(early) && !script.is_paused(late));
        assert!(!printed(&mut script, stdout).contains("cannot wait"));
    }

    #[test]
    fn while_standard_output_is_full_notices_are_held_back() {
        let (mut script, stdout) = start();
        let early = script.open();
        script.high_water(stdout, true);
        let _ = printed(&mut script, stdout);
        let clients: Vec<ConnId> = (0..1000).map(|_| script.open()).collect();
        let (stay, go) = clients.split_at(2);
        go.iter().for_each(|&client| script.eof(client));
        assert_eq!(printed(&mut script, stdout), "");
        script.close(early, Closed::Reset);
        assert_eq!(printed(&mut script, stdout), "client 0 closed\n");
        script.high_water(stdout, false);
        let expected = "\
(998 clients came and went meanwhile)
client 1 connected from 127.0.0.1:40002
client 2 connected from 127.0.0.1:40003
";
        assert_eq!(printed(&mut script, stdout), expected);
        script.data(stay[1], b"text\n");
        let next = script.open();
        script.eof(next);
        let expected = "\
client 2: text
client 1001 connected from 127.0.0.1:41002
client 1001 closed
";
        assert_eq!(printed(&mut script, stdout), expected);
    }

    #[test]
    fn a_stop_tells_what_was_held_back() {
        let (mut script, stdout) = start();
        script.high_water(stdout, true);
        let (goes, _stays) = (script.open(), script.open());
        script.eof(goes);
        script.stop();
        let expected = "\
(1 client came and went meanwhile)
client 1 connected from 127.0.0.1:40002
client 1 closed
";
        assert_eq!(printed(&mut script, stdout), expected);
    }

    #[test]
    fn without_standard_output_there_is_nothing_to_do() {
        for (why, said) in [
            (Closed::Reset, "Broken pipe"),
            (
                Closed::Error(SystemError::new(nix::errno::Errno::ENOSPC as i32)),
                "No space left on device",
            ),
        ] {
            let (mut script, stdout) = start();
            script.close(stdout, why);
            assert!(script.is_stopped());
            let expected = format!("cannot write to standard output: {said}");
            assert_eq!(script.protocol().failure(), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn a_printed_line_fits_a_pipe_and_cuts_of_the_input_do_not_matter(
            input in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0x1b), any::<u8>()], 0..3000),
            repeat in 1..4usize,
            chunk in 1..700usize,
        ) {
            let input = input.repeat(repeat);
            let run = |chunk| {
                let (mut transcript, mut page) = (Transcript::new(7), Vec::new());
                input.chunks(chunk).for_each(|bytes| transcript.data(bytes, &mut page));
                transcript.closed(&mut page);
                page
            };
            let page = run(usize::MAX);
            prop_assert!(page.split_inclusive(|&byte| byte == b'\n').all(|line| line.len() <= PRINTED_MAX));
            prop_assert!(page == run(chunk));
        }
    }
}
