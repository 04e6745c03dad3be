//! The ladder in `examples/`: each rung is an echo server, and each has to pass the same tests, as a
//! process of its own, over real sockets. After these come the tests of what one rung adds to the
//! rung before it, and in `ladder/chat.rs` those of the chat.
//!
//! `cargo test` builds the rungs first; `cargo test --test ladder` does not, and runs old ones unless
//! `cargo build --examples` comes before it.

#![allow(
    clippy::duplicate_mod,
    reason = "a test of what several rungs have in common runs in each"
)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

#[path = "ladder/chat.rs"]
mod chat;

// The rungs with tests of their own.
#[path = "../examples/with_generations.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod with_generations;
#[path = "../examples/with_protocol/main.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod with_protocol;
#[path = "../examples/with_queue.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod with_queue;
#[path = "../examples/with_timers.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod with_timers;

const RUNGS: [&str; 7] = [
    "raw_epoll",
    "on_poll",
    "with_generations",
    "with_queue",
    "with_timers",
    "with_protocol",
    "on_reactor",
];

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
        let paused_at = send_until_refused(&client, |part| bytes(1, part));
        assert!(paused_at < TOO_MUCH, "{}: takes without end", rung.name);
        let total = paused_at + REST;
        thread::scope(|scope| {
            scope.spawn(|| send(&client, 1, paused_at..total));
            assert_eq!(receive_to_eof(&client, 1), total, "{}", rung.name);
        });
    }
}

#[test]
fn a_client_that_ends_before_it_reads_loses_nothing() {
    for rung in RUNGS.map(Server::start) {
        let client = rung.connect();
        let sent = send_until_refused(&client, |part| bytes(1, part));
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive_to_eof(&client, 1), sent, "{}", rung.name);
    }
}

/// More than one turn's budget waits in the kernel, and it was one edge: no other will come.
#[test]
fn a_client_that_sends_more_than_a_budget_at_once_gets_all_of_it_back() {
    const AT_ONCE: usize = 700 * 1024;
    for rung in RUNGS.map(Server::start) {
        let mut client = rung.connect();
        // The kernel gives a socket more room once it has seen that it is needed.
        let mut under_way = vec![0; flood(&client, 64 * AT_ONCE)];
        client.set_nonblocking(false).unwrap();
        client.read_exact(&mut under_way).unwrap();
        rung.pause();
        client.write_all(&vec![1; AT_ONCE]).unwrap();
        rung.resume();
        client.read_exact(&mut vec![0; AT_ONCE]).unwrap();
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
            send_until_refused(&writing, zeros);
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

/// Such a connection may have an edge and a place on the ready list, when it ends. A second visit
/// would find its slot empty.
#[test]
fn a_reset_in_the_middle_of_a_flood_ends_no_other_connection() {
    for rung in RUNGS.map(Server::start) {
        let bystander = rung.connect();
        for seed in 1..20 {
            let client = rung.connect();
            flood(&client, 2 * 1024 * 1024);
            reset(client);
            round_trip(&rung.connect(), seed);
        }
        round_trip(&bystander, 1);
    }
}

/// One edge stands for all of them, and they are more than a loop accepts in one turn.
#[test]
fn clients_that_come_all_at_once_are_all_accepted() {
    for rung in RUNGS.map(Server::start) {
        rung.pause();
        let clients: [TcpStream; 100] = std::array::from_fn(|_| rung.connect());
        rung.resume();
        for client in clients.iter().rev() {
            round_trip(client, 1);
        }
    }
}

/// Descriptors become free because their clients leave, which is an event, though not one of the
/// listener's; or because the limit is raised, which is no event at all.
#[test]
fn clients_that_wait_for_a_descriptor_are_served_when_there_is_one() {
    let rungs = RUNGS.iter().filter(|name| name.starts_with("with_"));
    for name in rungs.chain(&["on_poll"]) {
        let mut command = Command::new("sh");
        let script = "ulimit -Sn 16; exec \"$@\"";
        command.args(["-c", script, "sh"]).arg(example(name));
        let rung = Server::run(name, command.arg("127.0.0.1:0"));
        let mut clients: Vec<TcpStream> = (0..16).map(|_| rung.connect()).collect();
        for served in &clients[..8] {
            round_trip(served, 1);
        }
        let mut last = rung.connect();
        last.write_all(b"x").unwrap();
        assert!(!has_reply_soon(&last), "{name}: is served without any");
        drop(clients.drain(..8));
        assert_eq!(last.read(&mut [0]).unwrap(), 1, "{name}");

        clients.extend((0..8).map(|_| rung.connect()));
        let mut last = rung.connect();
        last.write_all(b"x").unwrap();
        assert!(!has_reply_soon(&last), "{name}: is served without any");
        let process = rung.process.0.id().to_string();
        let mut prlimit = Command::new("prlimit");
        let raised = prlimit.args(["--pid", &process, "--nofile=64:"]).status();
        assert!(raised.unwrap().success());
        assert_eq!(last.read(&mut [0]).unwrap(), 1, "{name}");
    }
}

/// With a queue, what a server holds for a client is bounded by the high-water mark, and not only
/// by what the kernel refuses.
#[test]
fn pending_output_is_bounded_by_the_high_water_mark() {
    const CLIENTS: usize = 8;
    const HIGH_WATER_AND_ONE_READ: usize = (256 + 64) * 1024;
    for rung in ["with_queue", "with_timers", "with_protocol"].map(Server::start) {
        let before = rung.resident_bytes();
        let clients: [TcpStream; CLIENTS] = std::array::from_fn(|_| rung.connect());
        thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| send_until_refused(client, zeros));
            }
        });
        let grown = rung.resident_bytes() - before;
        let bound = CLIENTS * HIGH_WATER_AND_ONE_READ;
        assert!(grown > bound / 2, "{}: queues only {grown}", rung.name);
        assert!(grown < bound * 3 / 2, "{}: queues {grown}", rung.name);
    }
}

#[test]
fn idle_clients_are_ended_in_time_and_busy_ones_are_not() {
    const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
    for name in ["with_timers", "with_protocol"] {
        let rung = Server::start_with(name, &["2"]);
        let (busy, idle, silent) = (rung.connect(), rung.connect(), rung.connect());
        let stalled = rung.connect();
        send_until_refused(&stalled, zeros);
        thread::scope(|scope| {
            let idle = scope.spawn(|| {
                round_trip(&idle, 1);
                let start = Instant::now();
                assert_eq!(receive_to_eof(&idle, 2), 0, "{name}");
                start.elapsed()
            });
            let silent = scope.spawn(|| receive_to_eof(&silent, 1));
            while !idle.is_finished() || !silent.is_finished() {
                round_trip(&busy, 3);
            }
            let after = idle.join().unwrap();
            // A deadline that starts anew when it is due takes twice the time.
            assert!(after < 2 * IDLE_TIMEOUT, "{name}: ends after {after:?}");
            // The server saw the bytes a little before the client saw them come back.
            let margin = Duration::from_millis(200);
            assert!(after + margin > IDLE_TIMEOUT, "{name}: after {after:?}");
            assert_eq!(silent.join().unwrap(), 0, "{name}");
        });
        // It may look active for a while: the kernel probes the full window, and finds some room.
        // Its bytes lie unread in the server, so its end is a reset.
        let start = Instant::now();
        while stalled.take_error().unwrap().is_none() {
            round_trip(&busy, 3);
            assert!(start.elapsed() < PATIENCE, "{name}: a full queue stays");
        }
    }
}

#[test]
fn the_loop_serves_any_protocol() {
    let upper = Server::start_with("with_protocol", &["60", "upper"]);
    let mut client = upper.connect();
    client.write_all(b"shout\n").unwrap();
    let mut reply = [0; 6];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"SHOUT\n");

    let count = Server::start_with("with_protocol", &["60", "count"]);
    let mut client = count.connect();
    send(&client, 1, 0..1_000_000);
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "1000000 bytes\n");
}

struct Server {
    name: &'static str,
    address: SocketAddr,
    process: Process,
}

impl Server {
    fn start(name: &'static str) -> Self {
        Self::start_with(name, &[])
    }

    fn start_with(name: &'static str, arguments: &[&str]) -> Self {
        let mut command = Command::new(example(name));
        Self::run(name, command.arg("127.0.0.1:0").args(arguments))
    }

    fn run(name: &'static str, command: &mut Command) -> Self {
        let mut process = match command.stderr(Stdio::piped()).spawn() {
            Ok(child) => Process(child),
            Err(error) => panic!("{name} (`cargo build --examples` builds it): {error}"),
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

    /// The memory that the process has touched.
    fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.0.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.unwrap().parse::<usize>().unwrap() * 1024
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

/// Sends, and reads nothing, until no byte is taken any more or it is too much; returns how many
/// were taken. Were this wait too short, the test would be weaker, but not wrong.
fn send_until_refused(mut client: &TcpStream, bytes: impl Fn(Range<u64>) -> Vec<u8>) -> u64 {
    let refused_after = Some(Duration::from_millis(300));
    client.set_write_timeout(refused_after).unwrap();
    let mut sent = 0;
    while sent < TOO_MUCH {
        match client.write(&bytes(sent..TOO_MUCH.min(sent + 64 * 1024))) {
            Ok(length) => sent += length as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}

/// Takes less time than [`bytes`].
fn zeros(part: Range<u64>) -> Vec<u8> {
    vec![0; (part.end - part.start) as usize]
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

/// Fills the buffers and empties them, until so many bytes have come back; returns how many others
/// are under way. The client does not wait for its socket any more.
fn flood(mut client: &TcpStream, enough: usize) -> usize {
    client.set_nonblocking(true).unwrap();
    let (question, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let (mut sent, mut received, end) = (0, 0, Instant::now() + PATIENCE);
    while received < enough {
        assert!(Instant::now() < end, "the flood has dried up");
        while is_done(client.read(&mut answer), &mut received) {}
        while is_done(client.write(&question), &mut sent) {}
        thread::yield_now();
    }
    sent - received
}

/// Adds up what was read or written; false if it would have had to wait.
fn is_done(result: io::Result<usize>, sum: &mut usize) -> bool {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        result => {
            *sum += result.unwrap();
            true
        }
    }
}

/// Whether a byte comes within a moment. Were the moment too short, the test would be weaker, but
/// not wrong.
fn has_reply_soon(client: &TcpStream) -> bool {
    client
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let has_reply = client.peek(&mut [0]).is_ok();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    has_reply
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

/// A part of the endless bytes that belong to a seed: noise from another place for each. It repeats
/// after a prime number of bytes, so that no loss of a whole buffer goes unnoticed.
fn bytes(seed: u64, part: Range<u64>) -> Vec<u8> {
    const PERIOD: u64 = 1_048_573;
    static NOISE: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..PERIOD).map(|place| noise(1, place) as u8).collect());
    let mut place = ((seed * 7919 + part.start) % PERIOD) as usize;
    let length = (part.end - part.start) as usize;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let end = NOISE.len().min(place + length - bytes.len());
        bytes.extend(&NOISE[place..end]);
        place = 0;
    }
    bytes
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
