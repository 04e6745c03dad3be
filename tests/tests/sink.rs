//! `edgeloop sink` prints whole lines of all clients, and pauses the clients while stdout is not
//! read.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, Write, pipe};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use tests::client::{dial, dial_udp, fill, narrow};
use tests::process::{children, resident_bytes, threads};
use tests::random::Random;
use tests::server::{Launch, Server};
use tests::sockets::{until_accepted, until_read};
use tests::{MIB, PATIENCE, until};

/// The ways to serve clients. The output must be the same in each.
const WAYS: [&[&str]; 4] = [
    &["--model", "reactor"],
    &["--model", "fork"],
    &["--model", "thread"],
    &["--workers", "3"],
];

fn sink(options: &[&str]) -> Launch {
    Launch::new("sink", &["127.0.0.1:0"]).args(options)
}

/// The client's number and the text of a printed line.
fn text_of(line: &str) -> Option<(usize, &str)> {
    let (client, text) = line.strip_prefix("client ")?.split_once(": ")?;
    Some((client.parse().ok()?, text))
}

/// Sends lines in pieces of random sizes, which do not match the lines.
fn send_in_pieces(server: SocketAddr, text: &[u8], random: &mut Random) {
    let mut stream = dial(server);
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.below(3000).min(rest.len() - 1) + 1);
        stream.write_all(piece).expect("write");
        rest = after;
    }
}

#[test]
fn lines_of_many_clients_are_whole_and_complete() {
    const CLIENTS: usize = 20;
    const LINES: usize = 1000;
    let line = |client: usize, number: usize| {
        let filler = "x".repeat((client * 7 + number * 13) % 300);
        format!("line {number} of {client} {filler}")
    };
    for way in WAYS {
        let server = sink(way).start();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let address = server.tcp();
                scope.spawn(move || {
                    let lines: Vec<String> =
                        (0..LINES).map(|number| line(client, number)).collect();
                    let text = lines.join("\n") + "\n";
                    send_in_pieces(address, text.as_bytes(), &mut Random::new(client as u64));
                });
            }
        });
        let is_end = |line: &str| line.ends_with(" closed");
        until("all have left", || {
            server
                .stdout()
                .text()
                .lines()
                .filter(|line| is_end(line))
                .count()
                == CLIENTS
        });
        let printed = server.stdout().text();
        let mut heard = vec![Vec::new(); CLIENTS];
        for (client, text) in printed.lines().filter_map(text_of) {
            heard[client].push(text.to_owned());
        }
        // A client's number depends on the order of arrival, so the lists are compared sorted.
        heard.sort();
        let mut said: Vec<Vec<String>> = (0..CLIENTS)
            .map(|client| (0..LINES).map(|number| line(client, number)).collect())
            .collect();
        said.sort();
        assert!(heard == said, "{way:?}: not what was said");
        assert_eq!(printed.lines().count(), CLIENTS * (LINES + 2), "{way:?}");
    }
}

/// The printed text is harmless to a terminal, and an endless line is cut.
#[test]
fn printed_text_is_harmless_and_of_bounded_length() {
    for way in WAYS {
        let server = sink(way).start();
        let mut stream = dial(server.tcp());
        let long = vec![b'y'; 100_000];
        for text in [
            b"\x1b[2J\x07 caf\xc3\xa9 \xff\xc2\x9b\r\n",
            &long[..],
            b"\nlast",
        ] {
            stream.write_all(text).expect("write");
        }
        stream.shutdown(Shutdown::Write).expect("shutdown");
        server.prints("client 0: \\x1b[2J\\x07 caf\u{e9} \\xff\\u{9b}");
        server.prints("client 0: last");
        server.prints("client 0 closed");
        let printed = server.stdout().text();
        let cut = printed
            .lines()
            .find(|line| line.contains('y'))
            .expect("the long line");
        assert!(
            cut.len() < 4096 && cut.ends_with("yyy [...]"),
            "{way:?}: {cut}"
        );
        assert_eq!(printed.lines().count(), 5, "{way:?}: {printed}");
    }
}

/// An unfinished line is printed when its client goes, by a close or a reset, and when the server
/// stops.
#[test]
fn an_unfinished_line_is_printed_at_the_end() {
    for way in WAYS {
        let mut server = sink(way).start();
        for (number, leave) in [drop as fn(TcpStream), tests::client::reset]
            .iter()
            .enumerate()
        {
            let mut stream = dial(server.tcp());
            stream.write_all(b"whole\nunfin").expect("write");
            until_read(&stream);
            leave(stream);
            let last = server.prints(&format!("client {number}: unfin"));
            assert!(last < server.prints(&format!("client {number} closed")));
        }
        let mut stays = dial(server.tcp());
        stays.write_all(b"whole\nunfin").expect("write");
        until_read(&stays);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{way:?}");
        server.stdout().wait_for_end();
        let printed = server.stdout().text();
        let expected = "client 2: whole\nclient 2: unfin\nclient 2 closed\n";
        assert!(printed.ends_with(expected), "{way:?}: {printed}");
    }
}

/// Checks that a server with this stdout ends with this reason when a client comes.
fn fails_to_print(launch: Launch, reason: &str) {
    let mut server = launch.start();
    // The server may have failed already, so the connection may be refused.
    let _client = TcpStream::connect(server.tcp());
    let finished = server.finish();
    assert_eq!(finished.code, 1, "{finished:?}");
    let expected = format!("edgeloop: cannot write to standard output: {reason}");
    assert_eq!(finished.complaint(), expected);
}

#[test]
fn standard_output_that_cannot_be_written_is_a_failure() {
    for way in WAYS {
        let full = File::options().write(true).open("/dev/full");
        let launch = sink(way).stdout(full.expect("/dev/full"));
        fails_to_print(launch, "No space left on device");
        let (reader, writer) = pipe().expect("pipe");
        drop(reader);
        fails_to_print(sink(way).stdout(writer), "Broken pipe");
    }
}

/// A server whose stdout is a full pipe, and two paused clients that sent more than it could print,
/// each with the number of bytes sent.
struct Full {
    server: Server,
    stdout: PipeReader,
    clients: Vec<(TcpStream, usize)>,
    block: Vec<u8>,
}

impl Full {
    fn new(options: &[&str]) -> Self {
        let (stdout, writer) = pipe().expect("pipe");
        narrow(&writer);
        let server = sink(options).stdout(writer).start();
        let lines = (0..2000).map(|number| format!("{number} {}\n", "z".repeat(number % 100)));
        let block = lines.collect::<String>().into_bytes();
        let connected: Vec<_> = (0..2).map(|_| dial(server.tcp())).collect();
        connected.iter().for_each(until_accepted);
        let before = resident(&server);
        let clients: Vec<_> = thread::scope(|scope| {
            let fillers: Vec<_> = connected
                .into_iter()
                .map(|stream| {
                    let block = &block;
                    scope.spawn(move || {
                        let sent = fill(&stream, block);
                        (stream, sent)
                    })
                })
                .collect();
            let joined = fillers.into_iter().map(|filler| filler.join());
            joined.collect::<Result<_, _>>().expect("a filler")
        });
        let growth = resident(&server).saturating_sub(before);
        assert!(growth < 4 * MIB, "{options:?}: {growth} bytes in memory");
        Full {
            server,
            stdout,
            clients,
            block,
        }
    }
}

/// The memory of a server and of its children.
fn resident(server: &Server) -> usize {
    let children = children(server.pid());
    let all = children.into_iter().chain([server.pid()]);
    all.map(resident_bytes).sum()
}

/// While stdout is not read, as by an unscrolled `less`, the clients are paused and lose nothing.
#[test]
fn clients_wait_while_stdout_is_not_read_and_memory_does_not_grow() {
    for way in WAYS {
        let full = Full::new(way);
        // The server accepts a new client, although it cannot print its line yet.
        let late = dial(full.server.tcp());
        (&late).write_all(b"late\n").expect("write");
        drop(late);
        let said: Vec<Vec<String>> = full
            .clients
            .into_iter()
            .map(|(stream, sent)| {
                drop(stream);
                let bytes: Vec<u8> = full.block.iter().copied().cycle().take(sent).collect();
                let text = String::from_utf8(bytes).expect("ASCII");
                text.lines().map(str::to_owned).collect()
            })
            .chain([vec!["late".to_owned()]])
            .collect();
        let mut heard = vec![Vec::new(); 3];
        let mut closed = 0;
        for line in BufReader::new(full.stdout).lines().map_while(Result::ok) {
            if let Some((client, text)) = text_of(&line) {
                heard[client].push(text.to_owned());
            }
            closed += usize::from(line.ends_with(" closed"));
            if closed == 3 {
                break;
            }
        }
        // The first two clients may have been accepted in either order.
        assert!(
            heard == said || heard == [said[1].clone(), said[0].clone(), said[2].clone()],
            "{way:?}: not what was said"
        );
    }
}

/// A stop waits for the reader of stdout, but not longer than the grace.
#[test]
fn a_stop_while_stdout_is_not_read() {
    for way in WAYS {
        let mut full = Full::new(&[way, &["--grace", "300ms"]].concat());
        full.server.signal(Signal::SIGTERM);
        assert_eq!(full.server.exit_code(), 0, "{way:?}");
        let mut patient = Full::new(&[way, &["--grace", "1h"]].concat());
        patient.server.signal(Signal::SIGTERM);
        assert_eq!(patient.server.wait(Duration::from_millis(200)), None);
        let mut printed = String::new();
        patient
            .stdout
            .read_to_string(&mut printed)
            .expect("whole lines in UTF-8");
        assert_eq!(patient.server.exit_code(), 0, "{way:?}");
        assert!(printed.ends_with('\n'), "{way:?}: a line is torn");
    }
}

/// A thousand clients leave no zombie, thread or descriptor behind, and each one's line is printed.
#[test]
fn a_thousand_visits_leave_nothing_behind() {
    for way in WAYS {
        let mut server = sink(way).start();
        let pid = server.pid();
        let (descriptors, workers) = (server.open_descriptors(), threads(pid));
        for visit in 0..1000 {
            let mut client = dial(server.tcp());
            client
                .write_all(visit.to_string().as_bytes())
                .expect("write");
        }
        server.stats_until("all have left", |stats| {
            stats.get("accepted") == 1000 && stats.get("connections") == 0
        });
        assert!(children(pid).is_empty(), "{way:?}");
        until("no thread is left", || threads(pid) == workers);
        server.descriptors_return_to(descriptors);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{way:?}");
        server.stdout().wait_for_end();
        let printed = server.stdout().text();
        let mut visits: Vec<usize> = printed
            .lines()
            .filter_map(|line| text_of(line)?.1.parse().ok())
            .collect();
        visits.sort_unstable();
        assert!(visits.into_iter().eq(0..1000), "{way:?}: {printed}");
    }
}

/// Each line of a datagram is printed with its sender. A sender is not a connection, so no line
/// says that it closed.
#[test]
fn datagrams() {
    let server = Launch::new("sink", &["udp://127.0.0.1:0"]).start();
    let senders = [dial_udp(server.udp()), dial_udp(server.udp())];
    let names: Vec<String> = senders
        .iter()
        .map(|sender| sender.local_addr().expect("getsockname").to_string())
        .collect();
    for (sender, datagram, lines) in [
        (0, &b"hello"[..], &["hello"][..]),
        (1, b"one\ntwo\r\nthree\n", &["one", "two", "three"]),
        (0, b"", &[""]),
        (1, b"\x1b[2J\xff", &["\\x1b[2J\\xff"]),
    ] {
        let seen = server.stdout().count();
        senders[sender].send(datagram).expect("send");
        for (index, line) in lines.iter().enumerate() {
            let expected = format!("client {}: {line}", names[sender]);
            let found = server
                .stdout()
                .wait_from(seen, PATIENCE, |line| line == expected);
            assert_eq!(found.expect("a line").0, seen + index);
        }
    }
    senders[0].send(&vec![b'y'; 60_000]).expect("send");
    let is_cut = |line: &str| line.ends_with("yyy [...]") && line.len() < 4096;
    assert!(server.stdout().wait_for(PATIENCE, is_cut).is_some());
    assert_eq!(server.stdout().count(), 7);
}
