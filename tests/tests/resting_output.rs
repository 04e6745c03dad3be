//! Stdout that is not read for a while, as by a pager or a terminal stopped with Ctrl-S: clients
//! that come and go meanwhile use no slot or memory, and are summed up in one line.

use std::io::{BufRead, BufReader, Lines, PipeReader, Write, pipe};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use tests::client::{dial, dial_narrow, expect_end, reset};
use tests::process::{children, resident_bytes};
use tests::server::{Launch, Server};
use tests::sockets::{tcp_connections, until_accepted};
use tests::terminal::Terminal;
use tests::{MIB, PATIENCE, until};

const WAYS: [&[&str]; 4] = [
    &["--model", "reactor"],
    &["--model", "fork"],
    &["--model", "thread"],
    &["--workers", "3"],
];

/// Clients that come and go at one time, and the number of such visits.
const VISITORS: usize = 10;
const VISITS: usize = 200;

/// A sink whose stdout, a small pipe, is full of the lines of client 0, which is paused.
struct Full {
    server: Server,
    stdout: Lines<BufReader<PipeReader>>,
    talker: TcpStream,
}

impl Full {
    fn new(way: &[&str]) -> Self {
        let (stdout, writer) = pipe().expect("pipe");
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("F_SETPIPE_SZ");
        // Each of three workers may have 20 of 60 connections.
        let options = ["--max-connections", "60", "--high-water", "4KiB"];
        let launch = Launch::new("sink", &["127.0.0.1:0"]).args(way);
        let server = launch.args(&options).stdout(writer).start();
        let talker = dial_narrow(server.tcp(), 16 * 1024);
        let block = b"so many words, so many words, so many words, so many words\n";
        let _ = tests::client::fill(&talker, &block.repeat(1000));
        Full {
            server,
            stdout: BufReader::new(stdout).lines(),
            talker,
        }
    }
}

/// Connects a few clients, which leave at once, and waits until the server has closed them all.
fn visit(server: &Server, number: usize, leave: fn(TcpStream)) {
    let visitors: Vec<TcpStream> = (0..VISITORS).map(|_| dial(server.tcp())).collect();
    visitors.into_iter().for_each(leave);
    let come = (VISITORS * (number + 1) + 1) as u64;
    server.stats_until("their slots are free again", |stats| {
        stats.get("accepted") == come && stats.get("connections") == 1
    });
}

/// The count in a line that sums up clients that came and went.
fn came_and_went(line: &str) -> Option<usize> {
    let line = line.strip_suffix(" came and went meanwhile)")?;
    let (count, _) = line.strip_prefix('(')?.split_once(' ')?;
    Some(count.parse().expect("a count"))
}

#[test]
fn clients_come_and_go_while_stdout_is_not_read() {
    for way in WAYS {
        let mut full = Full::new(way);
        let server = &full.server;
        visit(server, 0, drop);
        let before = resident_bytes(server.pid());
        for number in 1..VISITS {
            visit(server, number, if number % 2 == 0 { drop } else { reset });
        }
        let growth = resident_bytes(server.pid()).saturating_sub(before);
        assert!(growth < 2 * MIB, "{way:?}: {growth} bytes");
        assert_eq!(server.stats().get("refused"), 0, "{way:?}");
        // This client has sent a line, which is printed once there is room for it.
        let late = VISITORS * VISITS + 1;
        dial(server.tcp()).write_all(b"late\n").expect("write");
        drop(full.talker);

        let (mut connected, mut closed, mut counted, mut lines_of_count) = (0, 0, 0, 0);
        let mut late_lines = Vec::new();
        // The last lines come in any order.
        while late_lines.len() < 3 || connected > closed {
            let line = full.stdout.next().expect("a line").expect("whole lines");
            if let Some(count) = came_and_went(&line) {
                (counted, lines_of_count) = (counted + count, lines_of_count + 1);
            }
            connected += usize::from(line.contains(" connected from "));
            closed += usize::from(line.ends_with(" closed"));
            if line.starts_with(&format!("client {late}")) {
                late_lines.push(line);
            }
        }
        assert!(late_lines[0].contains(" connected from "), "{late_lines:?}");
        assert_eq!(late_lines[1], format!("client {late}: late"));
        assert_eq!(late_lines[2], format!("client {late} closed"));
        full.server.signal(Signal::SIGTERM);
        assert_eq!(full.server.exit_code(), 0, "{way:?}");
        for line in full.stdout {
            counted += came_and_went(&line.expect("whole lines")).unwrap_or(0);
        }
        assert_eq!(
            connected + counted,
            late + 1,
            "{way:?}: a client is missing"
        );
        assert!(
            (1..=3).contains(&lines_of_count),
            "{way:?}: {lines_of_count}"
        );
    }
}

/// The address in the banner of a server at this terminal.
fn where_it_listens(terminal: &Terminal) -> SocketAddr {
    const BEFORE: &str = "listening on tcp://";
    terminal.shows("try it: nc ");
    let shown = terminal.shown();
    let (_, rest) = shown.split_once(BEFORE).expect("a banner");
    let address = rest.lines().next().expect("a line");
    address.trim().parse().expect("an address")
}

/// The server that a shell runs.
fn server_of(shell: u32) -> u32 {
    let mut server = None;
    until("the shell runs it", || {
        server = children(shell).first().copied();
        server.is_some()
    });
    server.expect("found")
}

/// Clients connect to `talk` over and over while its user has stopped the terminal.
#[test]
fn clients_call_a_terminal_that_is_stopped() {
    for words in [
        &["edgeloop", "talk", "127.0.0.1:0"][..],
        &["edgeloop", "talk", "127.0.0.1:0", "--high-water", "256"],
    ] {
        let mut terminal = Terminal::new();
        let session = terminal.run(words);
        let at = where_it_listens(&terminal);
        let server = server_of(session.pid());
        drop(dial(at));
        terminal.shows("peer closed");
        terminal.stop();
        let before = resident_bytes(server);
        for number in 0..3000 {
            let stranger = dial(at);
            if number % 2 == 0 {
                reset(stranger);
            }
        }
        let last = dial(at);
        until_accepted(&last);
        drop(last);
        until("all have gone", || tcp_connections(server).is_empty());
        let growth = resident_bytes(server).saturating_sub(before);
        assert!(growth < MIB, "{growth} bytes");
        let count = |shown: &str| {
            let line = |line: &str| {
                // The notice is in reverse video.
                let notice = line[line.rfind('(')?..].trim_end();
                came_and_went(notice.trim_end_matches("\x1b[0m"))
            };
            shown.lines().filter_map(line).sum::<usize>()
        };
        terminal.go_on();
        // Each client was either reported in its own line or counted.
        until("all are told of", || {
            let shown = terminal.shown();
            let told = ["peer connected from ", " called meanwhile"];
            let one_by_one = told.iter().map(|text| shown.matches(text).count());
            count(&shown) + one_by_one.sum::<usize>() == 3002
        });
        assert!(terminal.shown().len() < 20_000, "no more than one can read");
        // The next client is served as usual.
        let mut guest = dial(at);
        guest.write_all(b"hello\n").expect("write");
        terminal.shows("hello\r\n");
        terminal.type_in("good evening\n");
        tests::client::expect(&guest, b"good evening\n");
        kill(Pid::from_raw(server.cast_signed()), Signal::SIGTERM).expect("kill");
        expect_end(&guest, b"");
        terminal.shows("status 0");
    }
}

/// Callers that are refused as busy are also reported in at most one line a second.
#[test]
fn clients_call_while_a_peer_is_connected() {
    let mut server = Launch::new("talk", &["127.0.0.1:0"])
        .stdin(Stdio::piped())
        .start();
    let _keyboard = server.stdin();
    let guest = dial(server.tcp());
    server.logs("peer connected from ");
    for _ in 0..500 {
        let stranger = dial(server.tcp());
        expect_end(&stranger, b"busy\n");
    }
    let told = server
        .stderr()
        .wait_for(PATIENCE, |line| came_and_went(line).is_some());
    assert!(told.is_some(), "{}", server.stderr().text());
    server.signal(Signal::SIGTERM);
    expect_end(&guest, b"");
    let finished = server.finish();
    assert_eq!(finished.code, 0, "{finished:?}");
    let lines = finished.stderr.lines();
    let counted: usize = lines.clone().filter_map(came_and_went).sum();
    let one_by_one = lines
        .filter(|line| line.ends_with(" called meanwhile"))
        .count();
    assert_eq!(counted + one_by_one, 500, "{finished:?}");
}
