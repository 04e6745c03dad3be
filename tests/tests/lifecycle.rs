//! Start, stop, and restart: ports are free again, pending output is delivered, and no signal or
//! broken log disturbs the clients.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::tempdir;

use tests::client::{
    dial, dial_narrow, dial_unix, difference, expect, expect_end, fill, is_closed, narrow, pile_up,
    ping, ping_all, ready,
};
use tests::random::Random;
use tests::server::{Launch, Server};
use tests::{MIB, PATIENCE, until};

/// A client that never reads, so that the server has pending output for it.
fn stalled_client(server: &Server) -> TcpStream {
    let stream = dial_narrow(server.tcp(), 16 * 1024);
    let _ = fill(&stream, &vec![b'x'; 65_536]);
    stream
}

#[test]
fn restart_on_the_same_port_after_sigterm() {
    let mut server = Launch::echo().start();
    let address = server.tcp();
    let clients: Vec<_> = (0..5).map(|_| dial(address)).collect();
    ping_all(&clients, b"attached");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let again = Launch::new("echo", &[&address.to_string()]).start();
    assert_eq!(again.tcp(), address);
    ping(dial(address), b"back again");
    assert!(clients.iter().all(is_closed));
}

#[test]
fn restart_on_the_same_port_after_sigkill() {
    let mut server = Launch::echo().start();
    let address = server.tcp();
    let clients: Vec<_> = (0..5).map(|_| dial(address)).collect();
    ping_all(&clients, b"attached");
    server.signal(Signal::SIGKILL);
    let status = server.wait(PATIENCE).expect("SIGKILL ends the server");
    assert_eq!(status.signal(), Some(9));
    let again = Launch::new("echo", &[&address.to_string()]).start();
    assert_eq!(again.tcp(), address);
    ping(dial(address), b"back again");
}

#[test]
fn port_in_use() {
    let occupant = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = occupant.local_addr().expect("getsockname").to_string();
    let finished = Launch::new("echo", &[&address]).run();
    assert_eq!(finished.code, 1);
    let complaint = format!("edgeloop: cannot listen on tcp://{address}: Address already in use");
    assert_eq!(finished.complaint(), complaint);
    assert_eq!(finished.stdout, "");
}

#[test]
fn port_in_use_by_another_edgeloop() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    let finished = Launch::new("echo", &[&address]).run();
    assert_eq!(finished.code, 1);
    let complaint = format!("edgeloop: cannot listen on tcp://{address}: Address already in use");
    assert_eq!(finished.complaint(), complaint);
    ping(dial(server.tcp()), b"unharmed");
}

/// Without pending output the server stops at once, however long the grace.
#[test]
fn idle_clients_do_not_delay_the_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Launch::echo().args(&["--grace", "1h"]).start();
        let clients: Vec<_> = (0..10).map(|_| dial(server.tcp())).collect();
        ping_all(&clients, b"attached");
        let began = Instant::now();
        server.signal(signal);
        assert_eq!(server.exit_code(), 0);
        assert!(clients.iter().all(is_closed));
        // The clients have yet to acknowledge their replies, which takes milliseconds. A server
        // that did not check for that would wait for the five seconds of silence that count as a
        // peer's end.
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn sigterm_under_load() {
    let mut server = Launch::echo().start();
    let address = server.tcp();
    let ready = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..16 {
            let ready = &ready;
            // All clients connect before the first one sends: on a busy machine the server could be
            // gone before the last one connects.
            let mut stream = dial(address);
            scope.spawn(move || {
                let question = [client; 1000];
                let mut answer = [0; 1000];
                // Every reply is exact until the server goes away.
                while stream.write_all(&question).is_ok() && stream.read_exact(&mut answer).is_ok()
                {
                    assert_eq!(answer, question);
                    ready.store(true, Ordering::Relaxed);
                }
            });
        }
        server.stats_until("traffic flows", |stats| stats.get("bytes_out") > 1_000_000);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
    });
    assert!(ready.load(Ordering::Relaxed));
}

#[test]
fn pending_output_is_delivered_after_sigterm() {
    let mut server = Launch::echo()
        .args(&["--high-water", "1024MiB", "--grace", "1h"])
        .start();
    let block = Random::new(1).bytes(MIB);
    let (stream, sent) = pile_up(&server, &block, 8 * MIB);
    server.signal(Signal::SIGTERM);
    expect_end(&stream, &block.repeat(sent / block.len()));
    drop(stream);
    assert_eq!(server.exit_code(), 0);
}

/// The server stops with some input unread: it answers the bytes that it did read, and no RST
/// destroys the replies.
#[test]
fn unread_input_at_sigterm_does_not_destroy_the_answers() {
    let mut server = Launch::echo().args(&["--grace", "1h"]).start();
    let block = Random::new(2).bytes(100_003);
    let mut stream = dial_narrow(server.tcp(), 64 * 1024);
    let sent = fill(&stream, &block);
    let taken = usize::try_from(server.stats().get("bytes_in")).expect("a length");
    assert!(taken < sent, "the server has read all that was sent");
    server.signal(Signal::SIGTERM);
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("the stream ends in order");
    let expected: Vec<u8> = block.iter().copied().cycle().take(answer.len()).collect();
    assert!(answer == expected, "{}", difference(&answer, &expected));
    assert!(
        answer.len() >= taken,
        "{} bytes answered of {taken}",
        answer.len()
    );
    drop(stream);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_stalled_peer_delays_the_end_by_the_grace_period() {
    let mut server = Launch::echo().args(&["--grace", "300ms"]).start();
    let _stalled = stalled_client(&server);
    let signalled = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let waited = signalled.elapsed();
    assert!(
        waited >= Duration::from_millis(250),
        "gave up on pending output after {waited:?}"
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Launch::echo().args(&["--grace", "1h"]).start();
    let _stalled = stalled_client(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(
        server.wait(Duration::from_millis(500)),
        None,
        "pending output was given up"
    );
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// Signals that arrive as fast as possible do not disturb the traffic.
#[test]
fn two_thousand_signals_in_traffic() {
    const SIGNALS: usize = 2_000;
    const PINGS: usize = 50;
    let server = Launch::echo().start();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4u64)
            .map(|seed| {
                let address = server.tcp();
                scope.spawn(move || {
                    let stream = dial(address);
                    let mut random = Random::new(seed);
                    for _ in 0..PINGS {
                        let length = random.length(14);
                        ping(&stream, &random.bytes(length));
                    }
                })
            })
            .collect();
        let mut sent = 0;
        while sent < SIGNALS || !clients.iter().all(ScopedJoinHandle::is_finished) {
            server.signal(Signal::SIGUSR1);
            sent += 1;
            thread::yield_now();
        }
        assert!(clients.into_iter().all(|client| client.join().is_ok()));
    });
    // Counters for earlier signals may still be on their way.
    server.stats_until("all connections are counted", |stats| {
        stats.get("accepted") == 4
    });
}

/// From the banner on, SIGUSR1 prints the counters and does not kill.
#[test]
fn a_signal_right_after_the_start() {
    for _ in 0..20 {
        let mut server = Launch::echo().start();
        assert_eq!(server.stats().get("connections"), 0);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn sigstop_and_sigcont() {
    let server = Launch::echo().start();
    let mut clients: Vec<_> = (0..20).map(|_| dial(server.tcp())).collect();
    for round in 0..10 {
        server.stop();
        let text = format!("sent while it was stopped, round {round}");
        for client in &mut clients {
            client.write_all(text.as_bytes()).expect("write");
        }
        let late = dial(server.tcp());
        server.resume();
        ping(&late, b"came while it was stopped");
        for client in &clients {
            expect(client, text.as_bytes());
        }
    }
}

/// The kernel accepts the connections into the backlog, and reports all of them in one event. A
/// hundred fit into any backlog (`net.core.somaxconn` was 128 for long).
#[test]
fn a_hundred_clients_connect_while_it_is_stopped() {
    let server = Launch::echo().start();
    let baseline = server.open_descriptors();
    for round in 0..3 {
        server.stop();
        let mut clients: Vec<_> = (0..100).map(|_| dial(server.tcp())).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            // Half of them send a message already.
            if index % 2 == 0 {
                write!(client, "client {index}, round {round}").expect("write");
            }
        }
        server.resume();
        for (index, client) in clients.iter().enumerate() {
            let text = format!("client {index}, round {round}");
            if index % 2 == 0 {
                expect(client, text.as_bytes());
            } else {
                ping(client, text.as_bytes());
            }
        }
        assert_eq!(server.stats().get("connections"), 100);
        drop(clients);
        server.descriptors_return_to(baseline);
    }
    assert_eq!(server.stats().get("refused"), 0);
}

/// The server stays when the terminal from which it was started closes.
#[test]
fn sighup_changes_nothing() {
    let mut server = Launch::echo().start();
    let client = dial(server.tcp());
    for _ in 0..10 {
        let seen = server.stderr().count();
        server.signal(Signal::SIGHUP);
        let told = server
            .stderr()
            .wait_from(seen, PATIENCE, |line| line.contains("SIGHUP"));
        assert!(told.is_some(), "it does not say that it was asked");
        ping(&client, b"still there");
        ping(dial(server.tcp()), b"and open to others");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// If the standard streams are closed at the start, the server must not use descriptors 0 to 2 for
/// its sockets.
#[test]
fn a_start_without_standard_input() {
    let script = ["sh", "-c", "exec \"$@\" <&-", "sh"];
    let mut server = Launch::echo().under(&script).start();
    let clients: Vec<_> = (0..5).map(|_| dial(server.tcp())).collect();
    ping_all(&clients, b"without an input");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// A server on a Unix socket whose log goes to a pipe. The pipe is returned; the test does not read
/// it.
fn with_a_pipe_for_the_log(directory: &Path) -> (Server, PathBuf, File) {
    let (pipe, socket) = (directory.join("log"), directory.join("echo.sock"));
    mkfifo(&pipe, Mode::S_IRWXU).expect("mkfifo");
    let both_ends = File::options().read(true).write(true).open(&pipe);
    let both_ends = both_ends.expect("a named pipe");
    narrow(&both_ends);
    let script = format!("exec \"$@\" 2>'{}'", pipe.display());
    let server = Launch::new("echo", &[&format!("unix:{}", socket.display())])
        .args(&["-vv"])
        .under(&["sh", "-c", &script, "sh"])
        .spawn();
    until("the server listens", || {
        UnixStream::connect(&socket).is_ok()
    });
    (server, socket, both_ends)
}

/// A reader of the log that stops reading, as by Ctrl-S in `edgeloop 2>&1 | less`, does not stop
/// the server.
#[test]
fn a_log_without_a_reader() {
    let directory = tempdir().expect("a temporary directory");
    let (mut server, socket, log) = with_a_pipe_for_the_log(directory.path());
    let bystander = dial_unix(&socket);
    until("the log is full", || {
        ping(dial_unix(&socket), b"two lines for the log");
        !ready(&log, PollFlags::POLLOUT, 0)
    });
    for _ in 0..200 {
        ping(dial_unix(&socket), b"and two that are lost");
    }
    server.signal(Signal::SIGUSR1);
    server.signal(Signal::SIGHUP);
    ping(bystander, b"has not noticed");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_log_whose_reader_has_gone() {
    let directory = tempdir().expect("a temporary directory");
    let (mut server, socket, log) = with_a_pipe_for_the_log(directory.path());
    let bystander = dial_unix(&socket);
    ping(&bystander, b"before");
    drop(log);
    for _ in 0..10 {
        ping(dial_unix(&socket), b"after");
    }
    server.signal(Signal::SIGUSR1);
    ping(&bystander, b"has not noticed");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// A log that cannot be written does not disturb the clients.
#[test]
fn a_log_that_cannot_be_written() {
    for redirection in [">/dev/full 2>/dev/full", ">&- 2>&-"] {
        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("echo.sock");
        let script = format!("exec \"$@\" {redirection}");
        let mut server = Launch::new("echo", &[&format!("unix:{}", path.display())])
            .args(&["-vv"])
            .under(&["sh", "-c", &script, "sh"])
            .spawn();
        until("the server listens", || UnixStream::connect(&path).is_ok());
        for _ in 0..10 {
            ping(dial_unix(&path), b"without a log");
        }
        server.signal(Signal::SIGUSR1);
        ping(dial_unix(&path), b"without counters");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{redirection}");
    }
}
