//! Runs all servers for long, with clients that come and go in all ways, and fails if memory,
//! descriptors, threads or processes grow, or a reply is wrong.
//!
//! ```sh
//! nice cargo run --release -p tests --bin soak -- --minutes 30
//! ```
//!
//! The run consists of rounds. In a round, each server has a thread of visitors of its own and, for a
//! part of the time, `edgecall load`. At its end all clients are gone, and the servers are measured at
//! rest: a server that has served everybody must be as it was, but for the memory that it keeps for the
//! next clients. How much that is depends on the last clients, so one sample says little. The first
//! third of the rounds is the warm-up; after it the *least* figures of two halves are compared: what
//! leaks is in every sample, what is kept for a while is not.
//!
//! The visitors pause between visits, so that about half of a small machine stays free.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

use tests::chat::Guest;
use tests::client::{dial, dial_narrow, dial_udp, expect_end, ping, reset};
use tests::process::{children, open_descriptors, resident_bytes, threads};
use tests::program::run;
use tests::random::Random;
use tests::server::{Launch, Server, Stats};

/// Runs all servers with clients that come and go, and fails if anything grows
#[derive(Debug, Parser)]
struct Options {
    /// How long to run
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    minutes: f64,
    /// Where the random numbers begin
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Length of a round without its rest.
const ROUND: Duration = Duration::from_secs(8);
/// Time for the last timers to fire: longer than every timeout.
const REST: Duration = Duration::from_secs(4);
/// Length of the silence in which turns of the loop are counted.
const SILENCE: Duration = Duration::from_secs(1);
/// Pause of a visitor after each visit.
const PAUSE: Duration = Duration::from_millis(15);
/// Growth of the least memory that counts as none: the allocator's jitter.
const TOLERANCE: usize = 512 * 1024;
/// Rounds in the shortest run that can be judged.
const ROUNDS_MIN: usize = 6;

/// The service of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Echo,
    Upper,
    Sink,
    Chat,
    Datagrams,
}

/// The servers: a name for the table, what it does, and the words of its command line.
const SERVERS: [(&str, Kind, &[&str]); 10] = [
    ("echo", Kind::Echo, &["echo"]),
    ("echo, 2 workers", Kind::Echo, &["echo", "--workers", "2"]),
    ("echo, fork", Kind::Echo, &["echo", "--model", "fork"]),
    ("echo, thread", Kind::Echo, &["echo", "--model", "thread"]),
    ("upper", Kind::Upper, &["upper"]),
    ("sink", Kind::Sink, &["sink"]),
    ("sink, thread", Kind::Sink, &["sink", "--model", "thread"]),
    (
        "chat",
        Kind::Chat,
        &["chat", "--history", "20", "--motd", "Welcome!"],
    ),
    (
        "chat, 2 workers",
        Kind::Chat,
        &["chat", "--history", "20", "--workers", "2"],
    ),
    ("echo, UDP", Kind::Datagrams, &["echo"]),
];

/// A server under test, and what was measured of it after each round.
struct Soaked {
    name: &'static str,
    kind: Kind,
    server: Server,
    samples: Vec<Sample>,
}

/// A server at rest.
#[derive(Clone, Debug)]
struct Sample {
    /// Resident memory of the server and its children, in bytes.
    memory: usize,
    descriptors: usize,
    /// Threads and children.
    tasks: usize,
    connections: u64,
    /// Turns of the loop in a second of silence.
    turns: u64,
    accepted: u64,
}

/// A figure that must not grow by more than the last number: its name, and how to read it.
type Figure = (&'static str, fn(&Sample) -> usize, usize);

impl Soaked {
    fn start((name, kind, words): (&'static str, Kind, &'static [&'static str])) -> Soaked {
        let address = match kind {
            Kind::Datagrams => "udp://127.0.0.1:0",
            _ => "127.0.0.1:0",
        };
        let launch = Launch::new(words[0], &[address]).args(&words[1..]);
        let options = [
            "-q",
            "--idle-timeout",
            "3s",
            "--stall-timeout",
            "3s",
            "--high-water",
            "64KiB",
        ];
        // The servers end with this program, also if that is killed.
        let launch = launch
            .args(&options)
            .under(&["setpriv", "--pdeathsig", "TERM", "--"]);
        Soaked {
            name,
            kind,
            server: launch.stdout(Stdio::null()).start(),
            samples: Vec::new(),
        }
    }

    /// Waits until all clients are counted out.
    fn rests(&self) {
        let what = format!("{}: all clients are gone", self.name);
        let server = &self.server;
        server.stats_until(&what, |stats| stats.get("connections") == 0);
    }

    fn measure(&mut self, before: &Stats) {
        let pid = self.server.pid();
        let stats = self.server.stats();
        let children = children(pid);
        let memory = children
            .iter()
            .map(|&child| resident_bytes(child))
            .sum::<usize>();
        self.samples.push(Sample {
            memory: resident_bytes(pid) + memory,
            descriptors: open_descriptors(pid),
            tasks: threads(pid) + children.len(),
            connections: stats.get("connections"),
            turns: stats.since(before, "turns"),
            accepted: stats.get("accepted") + stats.get("datagrams_in"),
        });
    }

    /// The figures that have grown since the warm-up.
    fn growth(&self) -> Vec<String> {
        let judged = self.judged();
        let (first, second) = judged.split_at(judged.len() / 2);
        let least = |samples: &[Sample], figure| samples.iter().map(figure).min().unwrap_or(0);
        let figures: [Figure; 5] = [
            ("memory", |sample| sample.memory, TOLERANCE),
            ("descriptors", |sample| sample.descriptors, 0),
            ("threads and processes", |sample| sample.tasks, 0),
            ("connections", |sample| sample.connections as usize, 0),
            // The counters themselves are asked for in a turn.
            (
                "turns in a second of silence",
                |sample| sample.turns as usize,
                2,
            ),
        ];
        let mut grown = Vec::new();
        for (what, figure, tolerance) in figures {
            let (before, after) = (least(first, figure), least(second, figure));
            if after > before + tolerance {
                grown.push(format!("{what}: {before} to {after}"));
            }
        }
        grown
    }

    /// The samples after the warm-up.
    fn judged(&self) -> &[Sample] {
        &self.samples[self.samples.len() / 3..]
    }

    fn row(&self) -> String {
        let judged = self.judged();
        let kib = |sample: &Sample| sample.memory / 1024;
        let (first, last) = (&judged[0], &judged[judged.len() - 1]);
        let all = || judged.iter().map(kib);
        format!(
            "{:<16} {:>10} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} {:>6}",
            self.name,
            last.accepted,
            kib(first),
            all().min().unwrap_or(0),
            all().max().unwrap_or(0),
            kib(last),
            last.descriptors,
            last.tasks,
            last.turns,
        )
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    // The first start may build the programs.
    let mut servers: Vec<Soaked> = SERVERS.into_iter().map(Soaked::start).collect();
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let mut random = Random::new(options.seed);
    let mut rounds = 0;
    while Instant::now() < end || rounds < ROUNDS_MIN {
        round(&servers, &mut random);
        servers.iter().for_each(Soaked::rests);
        thread::sleep(REST);
        let before: Vec<Stats> = servers.iter().map(|it| it.server.stats()).collect();
        thread::sleep(SILENCE);
        for (soaked, before) in servers.iter_mut().zip(&before) {
            soaked.measure(before);
        }
        rounds += 1;
        eprintln!("round {rounds}: {}", overview(&servers));
    }
    println!(
        "{:<16} {:>10} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} {:>6}",
        "server", "clients", "KiB first", "least", "most", "last", "fds", "tasks", "turns/s"
    );
    let mut has_grown = false;
    for soaked in &servers {
        println!("{}", soaked.row());
        for growth in soaked.growth() {
            println!("{:<16} GROWN {growth}", "");
            has_grown = true;
        }
    }
    println!(
        "{rounds} rounds, of which the first {} are the warm-up",
        rounds / 3
    );
    match has_grown {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// The memory of each server after a round, in KiB.
fn overview(servers: &[Soaked]) -> String {
    let last = |soaked: &Soaked| {
        soaked
            .samples
            .last()
            .map_or(0, |sample| sample.memory / 1024)
    };
    let each = servers
        .iter()
        .map(|soaked| format!("{} {}", soaked.name, last(soaked)));
    each.collect::<Vec<_>>().join("; ")
}

/// Visits all servers at once until the round is over. A panic of a visitor ends the run.
fn round(servers: &[Soaked], random: &mut Random) {
    let end = Instant::now() + ROUND;
    thread::scope(|scope| {
        for soaked in servers {
            let mut random = Random::new(random.bits());
            scope.spawn(move || {
                let mut lasting = Vec::new();
                while Instant::now() < end {
                    visit(soaked, &mut random, &mut lasting);
                    thread::sleep(PAUSE);
                }
            });
        }
        scope.spawn(|| servers.iter().for_each(load));
    });
}

/// A second of load, every reply of which is checked.
fn load(soaked: &Soaked) {
    let (kind, at) = match soaked.kind {
        Kind::Echo => ("echo", soaked.server.tcp().to_string()),
        Kind::Upper => ("upper", soaked.server.tcp().to_string()),
        Kind::Sink => return,
        Kind::Chat => ("chat", soaked.server.tcp().to_string()),
        Kind::Datagrams => ("echo", format!("udp://{}", soaked.server.udp())),
    };
    let words = [
        "--kind",
        kind,
        "-c",
        "20",
        "--rate",
        "200",
        "-d",
        "500ms",
        "--warm-up",
        "100ms",
    ];
    let ended = run(&[&["edgecall", "load", &at], &words[..]].concat(), "");
    assert_eq!(ended.code, Some(0), "{}: {ended:?}", soaked.name);
}

/// One visit, of a random kind. `lasting`: connections that stay until the end of the round, or until a
/// timeout of the server.
fn visit(soaked: &Soaked, random: &mut Random, lasting: &mut Vec<TcpStream>) {
    if soaked.kind == Kind::Datagrams {
        return datagrams(soaked, random);
    }
    let address = soaked.server.tcp();
    match random.below(8) {
        0 if lasting.len() < 30 => lasting.push(dial(address)),
        1 if lasting.len() < 30 => {
            // The server has replies for this client, which never reads them.
            let mut stalled = dial_narrow(address, 4096);
            stalled.set_nonblocking(true).expect("O_NONBLOCK");
            let _ = stalled.write(&vec![b'x'; 300_000]);
            lasting.push(stalled);
        }
        2 => {
            let burst: Vec<TcpStream> = (0..10).map(|_| dial(address)).collect();
            for (number, stream) in burst.iter().enumerate() {
                converse(soaked.kind, stream, format!("client {number}\n").as_bytes());
            }
        }
        3 => {
            let mut stream = dial(address);
            let _ = stream.write_all(&random_bytes(random, 14));
            reset(stream);
        }
        4 => bad_input(address, random),
        5 => slow_reader(soaked.kind, address, random),
        _ => {
            let text: Vec<u8> = random_bytes(random, 14)
                .iter()
                .map(|byte| b'a' + byte % 26)
                .collect();
            converse(soaked.kind, &dial(address), &[&text[..], b"\n"].concat());
        }
    }
    // The server has closed some of them by now.
    if random.below(40) == 0 {
        lasting.clear();
    }
}

/// Bytes of a random length, up to `1 << max_bits`.
fn random_bytes(random: &mut Random, max_bits: usize) -> Vec<u8> {
    let length = random.length(max_bits);
    random.bytes(length)
}

/// Sends a text, half-closes the stream, and checks the whole reply.
fn converse(kind: Kind, mut stream: &TcpStream, text: &[u8]) {
    if kind == Kind::Chat {
        return member(stream, text);
    }
    stream.write_all(text).expect("the server takes it");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    match kind {
        Kind::Echo => expect_end(stream, text),
        Kind::Upper => expect_end(stream, &text.to_ascii_uppercase()),
        _ => expect_end(stream, b""),
    }
}

/// A member that joins, talks, and leaves in one of the ways there are.
fn member(stream: &TcpStream, text: &[u8]) {
    let name = format!("m{}", stream.local_addr().expect("an address").port());
    let mut guest = Guest::on(stream.try_clone().expect("dup")).joined(&name);
    guest.say(&text[..text.len().min(1000) - 1]);
    match text.len() % 4 {
        0 => guest.say(format!("/join r{}", text.len() % 7)),
        1 => guest.say(format!("/nick x{name}")),
        2 => guest.say("/ignore nobody"),
        _ => {}
    }
    guest.say("/quit enough");
    let _ = guest.rest();
}

/// Bytes of other protocols, after which the client goes without a word.
fn bad_input(address: SocketAddr, random: &mut Random) {
    let mut stream = dial(address);
    let noise = random_bytes(random, 12);
    let bytes = match random.below(4) {
        0 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        1 => vec![255; noise.len()],
        2 => vec![b'\n'; noise.len()],
        _ => noise,
    };
    let _ = stream.write_all(&bytes);
}

/// Reads its replies in small pieces with pauses; a chat's member reads some of its lines only.
fn slow_reader(kind: Kind, address: SocketAddr, random: &mut Random) {
    if kind == Kind::Chat || kind == Kind::Sink {
        return;
    }
    let mut stream = dial_narrow(address, 16 * 1024);
    let data = random.bytes(100_000).to_ascii_uppercase();
    let mut answer = vec![0; data.len()];
    thread::scope(|scope| {
        let mut writer = &stream;
        let data = &data;
        scope.spawn(move || writer.write_all(data).expect("the server takes it"));
        let mut reader = &stream;
        for piece in answer.chunks_mut(10_000) {
            reader.read_exact(piece).expect("a reply");
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(answer == data, "not what was sent");
    // A second question on a connection that had to wait.
    if kind == Kind::Echo {
        ping(&mut stream, b"and once more");
    }
}

/// Datagrams of any size, each of which is answered or lost, but never changed.
fn datagrams(soaked: &Soaked, random: &mut Random) {
    let socket = dial_udp(soaked.server.udp());
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("SO_RCVTIMEO");
    for _ in 0..random.below(20) {
        let datagram = random_bytes(random, 15);
        socket.send(&datagram).expect("send");
        let mut answer = vec![0; 65_536];
        match socket.recv(&mut answer) {
            Ok(length) => assert!(answer[..length] == datagram, "not what was sent"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
}
