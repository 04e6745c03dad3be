//! The peers as they are measured: each a process, with clients that check every byte.
//!
//! The peers in C need a compiler and libraries. Where one is missing, the tests name it, and fail:
//! a peer that is not there cannot be compared.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::thread;

use benches::peers::native::{Native, build, version};
use nix::sys::signal::{SigSet, Signal};
use tests::chat::{Guest, dial_stingy, hear_all};
use tests::client::{
    dial, expect, expect_end, fill, is_closed, ping, ping_all, ping_and_end, reset,
};
use tests::process::{children, open_descriptors, state};
use tests::program::{Program, command};
use tests::strace::Trace;
use tests::{skip, until};

const BENCHES: &str = env!("CARGO_BIN_EXE_benches");
/// The size of a peer's read.
const BUFFER_BYTES: usize = 64 * 1024;

/// A peer, and its command.
#[derive(Clone, Copy, Debug)]
enum Peer {
    /// Part of our program: its kind and its library.
    Ours(&'static str, &'static str),
    Native(Native),
}

const ECHOES: [Peer; 7] = [
    Peer::Ours("echo", "mio"),
    Peer::Ours("echo", "tokio"),
    Peer::Native(Native::EchoRaw),
    Peer::Native(Native::EchoUring),
    Peer::Native(Native::EchoLibuv),
    Peer::Native(Native::EchoLibev),
    Peer::Native(Native::EchoLibevent),
];

const CHATS: [Peer; 5] = [
    Peer::Ours("chat", "mio"),
    Peer::Ours("chat", "tokio"),
    Peer::Ours("chat", "thread"),
    Peer::Ours("chat", "fork"),
    Peer::Native(Native::ChatRaw),
];

impl Peer {
    fn start(self) -> Server {
        self.start_under(&[])
    }

    /// The peer is started by another program, which becomes the peer.
    fn start_under(self, wrapper: &[String]) -> Server {
        eprintln!("{self:?}");
        Server::spawn(self.command(wrapper, "127.0.0.1:0"))
    }

    fn command(self, wrapper: &[String], address: &str) -> Command {
        let words = match self {
            Peer::Ours(kind, library) => vec![BENCHES, "peer", kind, library],
            Peer::Native(native) => vec![built(native).to_str().expect("a path in UTF-8")],
        };
        let mut words = wrapper.iter().map(String::as_str).chain(words);
        let mut command = command(words.next().expect("a program"));
        command.args(words).arg(address);
        command
    }
}

/// A server that has said on standard error where it listens.
struct Server {
    program: Program,
    address: SocketAddr,
    /// Its open descriptors without a client.
    descriptors: usize,
}

impl Server {
    fn spawn(command: Command) -> Server {
        let program = Program::spawn(command);
        program.complains("\n");
        let line = program.stderr().text();
        let address = line.trim_end().strip_prefix("listening on tcp://");
        let address = address.unwrap_or_else(|| panic!("{program:?} says {line:?}"));
        let mut server = Server {
            address: address.parse().expect("an address"),
            descriptors: 0,
            program,
        };
        let client = server.client();
        server.descriptors = open_descriptors(server.program.pid()) - 1;
        drop(client);
        server
    }

    /// A client that the server has served already: it has the first answer, of an echo or of a
    /// chat that asks for a name.
    fn client(&self) -> TcpStream {
        let mut client = self.dial();
        client.write_all(b"x").expect("it takes a byte");
        client.read_exact(&mut [0]).expect("it says something");
        client
    }

    fn dial(&self) -> TcpStream {
        dial(self.address)
    }

    /// Checks that nothing is left of the clients, which are all gone.
    fn forgets_all_clients(&self) {
        let pid = self.program.pid();
        until("all connections are closed", || {
            open_descriptors(pid) == self.descriptors && children(pid).is_empty()
        });
    }

    /// One message on each connection, all of which the server finds at once: it is stopped
    /// meanwhile.
    fn round(&self, streams: &mut [TcpStream]) {
        let message = [b'm'; 64];
        let is = |wanted: &'static str| move || wanted.contains(state(self.program.pid()));
        until("it waits for events", is("S"));
        self.program.signal(Signal::SIGSTOP);
        until("it has stopped", is("Tt"));
        for stream in streams.iter_mut() {
            stream.write_all(&message).expect("write");
        }
        self.program.signal(Signal::SIGCONT);
        for stream in streams {
            expect(&*stream, &message);
        }
    }
}

/// The peers that can serve here: an administrator who forbids io_uring(7) is no fault of the peer.
fn echoes() -> impl Iterator<Item = Peer> {
    static FORBIDDEN: LazyLock<bool> = LazyLock::new(|| {
        let peer = Peer::Native(Native::EchoUring);
        let program = Program::spawn(peer.command(&[], "127.0.0.1:0"));
        program.complains("\n");
        let line = program.stderr().text();
        line.contains("io_uring is not") && {
            skip(line.trim_end());
            true
        }
    });
    let is_forbidden = |peer: &Peer| matches!(peer, Peer::Native(Native::EchoUring)) && *FORBIDDEN;
    ECHOES.into_iter().filter(move |peer| !is_forbidden(peer))
}

/// The program of a peer in C. The first test that needs one builds all of them.
fn built(native: Native) -> &'static Path {
    static BUILT: LazyLock<Vec<(Native, Result<PathBuf, String>)>> = LazyLock::new(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let build = |native| (native, build(native, directory));
        Native::ALL.map(build).into()
    });
    let mut built = BUILT.iter().filter(|(one, _)| *one == native);
    match &built.next().expect("all are built").1 {
        Ok(path) => path,
        Err(missing) => panic!("{missing}"),
    }
}

#[test]
fn everything_comes_back_and_the_end_after_it() {
    for peer in echoes() {
        let server = peer.start();
        for bytes in [0, 1, BUFFER_BYTES, 10 * BUFFER_BYTES + 1] {
            ping_and_end(&server.dial(), &benches::message(bytes));
        }
        server.forgets_all_clients();
    }
}

/// The client does not read yet, so the server has bytes that the kernel refuses.
#[test]
fn a_client_that_reads_late_gets_everything() {
    for peer in echoes() {
        let server = peer.start();
        for stream in [server.dial(), dial_stingy(server.address)] {
            let block = benches::message(1000);
            let sent = fill(&stream, &block);
            stream.shutdown(Shutdown::Write).expect("shutdown");
            let expected: Vec<u8> = block.iter().copied().cycle().take(sent).collect();
            expect_end(Sipping(&stream, &server.dial()), &expected);
        }
        server.forgets_all_clients();
    }
}

/// The client reads little at a time, and lets the server act in between: the server can never send
/// much, not even all of its pending output.
struct Sipping<'a>(&'a TcpStream, &'a TcpStream);

impl Read for Sipping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut stream, bystander) = (self.0, self.1);
        ping(bystander, b"there?");
        let length = buffer.len().min(8 * 1024);
        stream.read(&mut buffer[..length])
    }
}

#[test]
fn a_client_that_breaks_off_is_forgotten_and_hurts_no_other() {
    for peer in echoes() {
        let server = peer.start();
        let bystander = server.dial();
        for wants_answers in [true, false] {
            let stream = server.dial();
            if wants_answers {
                ping(&stream, b"hello");
            } else {
                let _ = fill(&stream, &benches::message(1000));
            }
            reset(stream);
            ping(&bystander, b"still there?");
        }
        drop(bystander);
        server.forgets_all_clients();
    }
}

/// Two, and a part of one for the wait that a batch shares. Bufferevents ask how much there is,
/// and register to write and back. On io_uring all is shared: a call that waits, one that sends.
#[test]
fn system_calls_for_a_message() {
    const CONNECTIONS: usize = 16;
    const ROUNDS: usize = 40;
    for peer in echoes() {
        let calls = |rounds| {
            let trace = Trace::new();
            let mut server = peer.start_under(&trace.wrapper(&["-c"]));
            let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| server.dial()).collect();
            ping_all(&streams, b"connected");
            for _ in 0..rounds {
                server.round(&mut streams);
            }
            drop(streams);
            server.forgets_all_clients();
            server.program.signal(Signal::SIGTERM);
            let _ = server.program.wait();
            trace.total_calls()
        };
        let (without, with) = (calls(0), calls(ROUNDS));
        let each = with.saturating_sub(without) as f64 / (CONNECTIONS * ROUNDS) as f64;
        eprintln!("{each:.2} calls for a message");
        let expected = match peer {
            Peer::Native(Native::EchoLibevent) => 5.0..5.5,
            Peer::Native(Native::EchoUring) => 0.1..0.3,
            _ => 2.0..2.5,
        };
        assert!(expected.contains(&each), "{peer:?}: {each}");
    }
}

#[test]
fn members_hear_of_arrivals_lines_and_departures() {
    for peer in CHATS {
        let server = peer.start();
        let mut anna = join(&server, "anna", &[]);
        let stranger = Guest::knock(server.address);
        let mut bob = join(&server, "bob", &["anna"]);
        anna.hears("* bob has entered the room");
        let mut carol = join(&server, "carol", &["anna", "bob"]);
        hear_all([&mut anna, &mut bob], "* carol has entered the room");
        drop(stranger);

        lines_arrive_whole(&mut anna, &mut bob, &mut carol);
        lines_are_not_mixed(&mut anna, &mut bob, &mut carol);

        // The processes of later clients do not hold the connection open.
        bob.end();
        hear_all([&mut anna, &mut carol], "* bob has left the room");
        bob.hears_the_end();
        carol.reset();
        anna.hears("* carol has left the room");
        let dora = join(&server, "dora", &["anna"]);
        anna.hears("* dora has entered the room");
        drop((anna, bob, dora));
        server.forgets_all_clients();
    }
}

/// Enters, and receives the list of members, in any order.
fn join(server: &Server, name: &str, present: &[&str]) -> Guest {
    let mut guest = Guest::knock(server.address);
    guest.say(name);
    let list = guest.next();
    let names = list.strip_prefix("* The room contains: ").expect("a list");
    let mut names: Vec<&str> = names.split_terminator(", ").collect();
    names.sort_unstable();
    assert_eq!(names, present);
    guest
}

/// Messages in pieces, several at once, and longer than one read of any peer.
fn lines_arrive_whole(anna: &mut Guest, bob: &mut Guest, carol: &mut Guest) {
    bob.send("in ");
    anna.say("meanwhile");
    hear_all([&mut *bob, carol], "[anna] meanwhile");
    bob.send("pieces\nand");
    hear_all([&mut *anna, carol], "[bob] in pieces");
    bob.send(" more\n");
    hear_all([&mut *anna, carol], "[bob] and more");

    carol.send("one\ntwo\n\nthree\n");
    for line in ["one", "two", "", "three"] {
        hear_all([&mut *anna, bob], &format!("[carol] {line}"));
    }

    let long = "long".repeat(BUFFER_BYTES);
    let heard = format!("[anna] {long}");
    // All lines at once: the kernels may hold less than that, and some peers wait for one client
    // after another.
    thread::scope(|scope| {
        scope.spawn(|| anna.say(&long));
        scope.spawn(|| bob.hears(&heard));
        carol.hears(&heard);
    });
}

/// Two members talk at once, in lines too long for one write to a pipe (`PIPE_BUF`).
fn lines_are_not_mixed(anna: &mut Guest, bob: &mut Guest, carol: &mut Guest) {
    const LINES: usize = 40;
    let line = |number: usize| format!("{number} ").repeat(2000);
    let lines: String = (0..LINES).map(|number| line(number) + "\n").collect();
    thread::scope(|scope| {
        for author in [&*anna, &*bob] {
            let mut author = author.stream().try_clone().expect("dup");
            let lines = lines.as_bytes();
            scope.spawn(move || author.write_all(lines).expect("write"));
        }
        for (listener, author) in [(anna, "bob"), (bob, "anna")] {
            let hears = move |number| listener.hears(&format!("[{author}] {}", line(number)));
            scope.spawn(move || (0..LINES).for_each(hears));
        }
        let mut spoken = [0; 2];
        for _ in 0..2 * LINES {
            let heard = carol.next();
            let author = usize::from(heard.starts_with("[bob] "));
            let name = ["anna", "bob"][author];
            assert_eq!(heard, format!("[{name}] {}", line(spoken[author])));
            spoken[author] += 1;
        }
    });
}

/// For peers with a queue for each member, as opposed to threads and processes that write to all
/// and wait.
#[test]
fn a_member_that_reads_late_holds_up_no_other_and_misses_nothing() {
    const LINES: usize = 256;
    let line = |number: usize| format!("{number} ").repeat(20_000);
    for peer in CHATS {
        if let Peer::Ours(_, "thread" | "fork") = peer {
            continue;
        }
        let server = peer.start();
        let anna = join(&server, "anna", &[]);
        let mut late = join(&server, "late", &["anna"]);
        let mut prompt = join(&server, "prompt", &["anna", "late"]);
        for number in 0..LINES {
            anna.say(line(number));
            prompt.hears(&format!("[anna] {}", line(number)));
        }
        late.hears("* prompt has entered the room");
        for number in 0..LINES {
            late.hears(&format!("[anna] {}", line(number)));
        }
        drop((anna, late, prompt));
        server.forgets_all_clients();
    }
}

/// The signal is blocked in the process that starts the peer, as in the comparison.
#[test]
fn peers_end_on_sigterm() {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTERM);
    blocked.thread_block().expect("sigprocmask");
    for peer in echoes().chain(CHATS) {
        let mut server = peer.start();
        let client = server.client();
        server.program.signal(Signal::SIGTERM);
        assert_eq!(server.program.wait().code, None, "it is killed");
        // All its processes are gone too: the last one that has the socket ends the connection.
        until("the connection has ended", || is_closed(&client));
    }
}

#[test]
fn a_wrong_command_line_or_an_address_in_use_is_one_line() {
    for peer in echoes().chain(CHATS) {
        let server = peer.start();
        for (address, code, complaint) in [
            (server.address.to_string(), 1, "in use"),
            ("nonsense".to_owned(), 2, "nonsense"),
        ] {
            let ended = Program::spawn(peer.command(&[], &address)).finish();
            assert_eq!(ended.code, Some(code), "{peer:?} {address}: {ended:?}");
            assert!(ended.stderr.contains(complaint), "{peer:?}: {ended:?}");
        }
    }
}

#[test]
fn without_io_uring_there_is_a_line_that_says_so() {
    for (errno, complaint) in [
        ("EPERM", "io_uring is not permitted here"),
        ("ENOSYS", "io_uring is not part of this kernel"),
        ("EINVAL", "Linux 6.0 is needed"),
    ] {
        let trace = Trace::new();
        let wrapper = trace.wrapper(&["-e", &format!("inject=io_uring_setup:error={errno}")]);
        let peer = Peer::Native(Native::EchoUring);
        let ended = Program::spawn(peer.command(&wrapper, "127.0.0.1:0")).finish();
        assert_eq!(ended.code, Some(1), "{errno}: {ended:?}");
        assert!(ended.stderr.contains(complaint), "{errno}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{errno}: {ended:?}");
    }
}

/// The flags of Linux 6.1 are refused, those of 6.0 are not.
#[test]
fn an_older_io_uring_will_do() {
    let trace = Trace::new();
    let wrapper = trace.wrapper(&["-e", "inject=io_uring_setup:error=EINVAL:when=1"]);
    if echoes().any(|peer| matches!(peer, Peer::Native(Native::EchoUring))) {
        let server = Peer::Native(Native::EchoUring).start_under(&wrapper);
        ping_and_end(&server.dial(), b"hello");
        assert_eq!(trace.injected(), 1);
    }
}

#[test]
fn peers_in_c_know_what_they_stand_on() {
    for (native, library) in [
        (Native::EchoRaw, "glibc"),
        (Native::EchoUring, "liburing"),
        (Native::EchoLibuv, "libuv"),
        (Native::EchoLibev, "libev"),
        (Native::EchoLibevent, "libevent"),
        (Native::ChatRaw, "glibc"),
    ] {
        let version = version(built(native)).expect("a version");
        let number = version
            .strip_prefix(library)
            .and_then(|rest| rest.strip_prefix(' '));
        let number = number.unwrap_or_else(|| panic!("{native}: {version}"));
        assert!(
            number.starts_with(|char: char| char.is_ascii_digit()),
            "{version}"
        );
    }
}

/// Benchmarks start the library's own servers this way.
#[test]
fn under_the_name_edgeloop_it_is_that_program() {
    for model in ["reactor", "fork", "thread"] {
        let mut command = Command::new(BENCHES);
        command.arg0("edgeloop");
        command.args(["echo", "--quiet", "--model", model, "127.0.0.1:0"]);
        let mut server = Server::spawn(command);
        ping_and_end(&server.dial(), b"hello");
        server.program.signal(Signal::SIGTERM);
        assert_eq!(server.program.wait().code, Some(0));
    }
}
