//! Each rung of the ladder in `examples/` is an echo server. Each has to pass the same tests, as a
//! process of its own and over real sockets.
//!
//! `cargo test` builds the rungs first; `cargo test --test ladder` does not, and runs old ones
//! unless `--examples` is added.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const RUNGS: [&str; 3] = ["raw_epoll", "on_poll", "on_reactor"];

/// The longest time that a wait may take. All waits are much shorter, so one that takes this long
/// hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// More bytes than the kernel's buffers between two programs can hold: a server that takes them has
/// no bound.
const TOO_MUCH: u64 = 256 * 1024 * 1024;

#[test]
fn fifty_clients_at_once_get_their_own_bytes_back() {
    const LENGTH: u64 = 256 * 1024;
    for rung in RUNGS.map(Server::start) {
        let clients: [TcpStream; 50] = std::array::from_fn(|_| rung.connect());
        thread::scope(|scope| {
            for (seed, client) in (1..).zip(&clients) {
                scope.spawn(move || send(client, seed, 0..LENGTH));
                scope.spawn(move || assert_eq!(receive_to_eof(client, seed), LENGTH));
            }
        });
    }
}

/// A server with a bound stops reading when its answers are not read. A broken server would take
/// everything and grow, or never read again, because no edge tells it to.
#[test]
fn a_client_that_does_not_read_is_paused_and_loses_nothing() {
    const REST: u64 = 8 * 1024 * 1024;
    for rung in RUNGS.map(Server::start) {
        let client = rung.connect();
        let paused_at = send_until_refused(&client, 1, TOO_MUCH);
        assert!(paused_at < TOO_MUCH, "{}: takes without end", rung.name);
        let total = paused_at + REST;
        thread::scope(|scope| {
            scope.spawn(|| send(&client, 1, paused_at..total));
            assert_eq!(receive_to_eof(&client, 1), total, "{}", rung.name);
        });
    }
}

#[test]
fn netcat_gets_a_whole_file_back() {
    for rung in RUNGS.map(Server::start) {
        let question = bytes(1, 0..1024 * 1024);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&question).unwrap();
        let netcat = Command::new("nc")
            .args(["-N", "-w", &PATIENCE.as_secs().to_string()])
            .arg(rung.address.ip().to_string())
            .arg(rung.address.port().to_string())
            .stdin(File::open(file.path()).unwrap())
            .output()
            .expect("needs `nc`: run tests/run, which installs it");
        assert!(netcat.status.success(), "{}: {netcat:?}", rung.name);
        let same = netcat.stdout == question;
        assert!(same, "{}: not the same bytes", rung.name);
    }
}

/// A server meets a reset when it reads, when it writes, or before it has accepted the connection.
/// Here one batch has all three, together with a client that has done nothing wrong.
#[test]
fn a_reset_ends_no_other_connection() {
    for rung in RUNGS.map(Server::start) {
        let bystander = rung.connect();
        for seed in 1..4 {
            let (reading, writing) = (rung.connect(), rung.connect());
            round_trip(&reading, seed);
            send_until_refused(&writing, seed, TOO_MUCH);
            rung.pause();
            reset(reading);
            reset(writing);
            reset(rung.connect());
            let newcomer = rung.connect();
            rung.resume();
            round_trip(&newcomer, seed);
            round_trip(&bystander, seed);
        }
    }
}

#[test]
fn a_fin_is_answered_at_once_even_if_nothing_was_sent() {
    for rung in RUNGS.map(Server::start) {
        let (idle, client) = (rung.connect(), rung.connect());
        client.shutdown(Shutdown::Write).unwrap();
        let at_once = Some(Duration::from_secs(2));
        client.set_read_timeout(at_once).unwrap();
        assert_eq!(receive_to_eof(&client, 1), 0, "{}", rung.name);
        round_trip(&idle, 2);
        idle.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive_to_eof(&idle, 2), 0, "{}", rung.name);
    }
}

/// Bytes and the FIN behind them are one edge if both arrive before the server's wait. A server
/// that stops after the bytes loses the FIN, and one that looks at the FIN first loses the bytes.
#[test]
fn a_fin_in_one_edge_with_data_is_seen_after_the_data() {
    for rung in RUNGS.map(Server::start) {
        let client = rung.connect();
        round_trip(&client, 1);
        rung.pause();
        send(&client, 2, 0..100);
        rung.resume();
        assert_eq!(receive_to_eof(&client, 2), 100, "{}", rung.name);
    }
}

struct Server {
    name: &'static str,
    address: SocketAddr,
    process: Process,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let mut command = Command::new(example(name));
        command.arg("127.0.0.1:0").stderr(Stdio::piped());
        let mut process = match command.spawn() {
            Ok(child) => Process(child),
            Err(error) => panic!("{name} (`cargo test --examples` builds it): {error}"),
        };
        let banner = first_line(process.0.stderr.take().unwrap());
        let address = banner.strip_prefix("listening on tcp://");
        let address = address.and_then(|address| address.trim_end().parse().ok());
        let address = address.unwrap_or_else(|| panic!("{name} begins with {banner:?}"));
        Self {
            name,
            address,
            process,
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// Stops the process (SIGSTOP), and returns when it has stopped: all that clients do from now
    /// on reaches it in one batch.
    fn pause(&self) {
        let process = Pid::from_raw(self.process.0.id().cast_signed());
        kill(process, Signal::SIGSTOP).unwrap();
        let status = waitpid(process, Some(WaitPidFlag::WUNTRACED)).unwrap();
        let stopped = matches!(status, WaitStatus::Stopped(..));
        assert!(stopped, "{}: {status:?}", self.name);
    }

    fn resume(&self) {
        let process = Pid::from_raw(self.process.0.id().cast_signed());
        kill(process, Signal::SIGCONT).unwrap();
    }
}

/// A process that ends when the test does, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the process has ended by itself, which the test has noticed by other
        // means.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the first line, and copies the others to the test's own output: a pipe without a
/// reader would block the server.
fn first_line(log: ChildStderr) -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut log, mut line) = (BufReader::new(log), String::new());
        log.read_line(&mut line).unwrap();
        sender.send(line).unwrap();
        io::copy(&mut log, &mut io::stderr()).unwrap();
    });
    let line = receiver.recv_timeout(PATIENCE);
    line.expect("a server says where it listens")
}

/// Cargo puts examples into a directory beside that of the tests.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    profile.join("examples").join(name)
}

/// Sends a part of a seed's bytes, in pieces of every size up to 4 KiB, and a FIN.
fn send(mut client: &TcpStream, seed: u64, part: Range<u64>) {
    let mut start = part.start;
    while start < part.end {
        let end = part.end.min(start + 1 + noise(!seed, start) % 4096);
        client.write_all(&bytes(seed, start..end)).unwrap();
        start = end;
    }
    client.shutdown(Shutdown::Write).unwrap();
}

/// Sends, and reads nothing, until no byte is taken any more or `limit` is reached. Returns the
/// number of bytes taken. A wait that is too short would make the test weaker, but not wrong.
fn send_until_refused(mut client: &TcpStream, seed: u64, limit: u64) -> u64 {
    let refused_after = Some(Duration::from_millis(300));
    client.set_write_timeout(refused_after).unwrap();
    let mut sent = 0;
    while sent < limit {
        match client.write(&bytes(seed, sent..limit.min(sent + 64 * 1024))) {
            Ok(length) => sent += length as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}

/// Reads to the end, and compares with the seed's bytes. Returns the number of bytes.
fn receive_to_eof(mut client: &TcpStream, seed: u64) -> u64 {
    let mut buffer = vec![0; 64 * 1024];
    let mut received = 0;
    loop {
        let length = client.read(&mut buffer).unwrap();
        if length == 0 {
            return received;
        }
        let end = received + length as u64;
        let same = buffer[..length] == bytes(seed, received..end);
        assert!(same, "a wrong byte between {received} and {end}");
        received = end;
    }
}

fn round_trip(mut client: &TcpStream, seed: u64) {
    let question = bytes(seed, 0..1000);
    let mut answer = vec![0; question.len()];
    client.write_all(&question).unwrap();
    client.read_exact(&mut answer).unwrap();
    assert!(answer == question, "not the same bytes");
}

/// Closes with a reset instead of a FIN (`SO_LINGER` with a time of zero), as after a crash of the
/// client.
#[expect(clippy::needless_pass_by_value, reason = "the socket is closed here")]
fn reset(client: TcpStream) {
    let (l_onoff, l_linger) = (1, 0);
    setsockopt(
        &client,
        sockopt::Linger,
        &libc::linger { l_onoff, l_linger },
    )
    .unwrap();
}

/// A part of the endless bytes that belong to a seed.
fn bytes(seed: u64, part: Range<u64>) -> Vec<u8> {
    part.map(|position| noise(seed, position) as u8).collect()
}

/// A pseudo-random value: one xorshift step from a mix of both, so that each value can be computed
/// by itself.
fn noise(seed: u64, position: u64) -> u64 {
    let mut x = (seed << 32 | 1).wrapping_mul(position + 0x9E37_79B9_7F4A_7C15);
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    x >> 32
}
