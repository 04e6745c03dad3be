//! The recipes in `examples/recipes/`: each runs as a process of its own, with real clients. Their
//! protocols have tests without sockets, beside the code; the modules below bring these in.
//!
//! `cargo test` builds the recipes first; `cargo test --test recipes` does not, and runs old ones
//! unless `cargo build --examples` comes before it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

#[path = "../examples/recipes/http_hello.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod http_hello;
#[path = "../examples/recipes/kv_server.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod kv_server;
#[path = "recipes/page.rs"]
mod page;
#[path = "../examples/recipes/per_core.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod per_core;
#[path = "../examples/recipes/proxy.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod proxy;
#[path = "../examples/recipes/reconnect.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod reconnect;
#[path = "../examples/recipes/several_protocols.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod several_protocols;
#[path = "../examples/recipes/tls_echo.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod tls_echo;
#[path = "../examples/recipes/udp_retry.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod udp_retry;
#[path = "../examples/recipes/worker_threads.rs"]
#[expect(dead_code, reason = "no test calls a program's `main`")]
mod worker_threads;

/// Nothing here takes long; whatever takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const MIB: usize = 1024 * 1024;

/// A recipe that runs. It ends when the test does, however that ends.
struct Program {
    process: Child,
    log: mpsc::Receiver<String>,
    /// Where it listens, in the order in which it says so.
    listens: Vec<SocketAddr>,
}

impl Program {
    /// Starts a recipe that does not listen.
    fn start(name: &str, arguments: &[&str]) -> Program {
        let test = env::current_exe().unwrap();
        // Cargo puts examples into a directory beside that of the tests.
        let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
        let mut command = Command::new(path);
        command.args(arguments);
        let spawned = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = spawned
            .unwrap_or_else(|error| panic!("{name} (`cargo build --examples` builds it): {error}"));
        let log = lines(process.stderr.take().unwrap());
        Program {
            process,
            log,
            listens: Vec::new(),
        }
    }

    /// Starts a recipe that listens on so many addresses, and waits until it does.
    fn listening(name: &str, arguments: &[&str], count: usize) -> Program {
        let mut program = Program::start(name, arguments);
        for _ in 0..count {
            let line = program.says();
            let address = line.strip_prefix("listening on ");
            let address = address.and_then(|address| address.split("://").nth(1));
            let address = address.and_then(|address| address.parse().ok());
            let address = address.unwrap_or_else(|| panic!("{name} says {line:?}"));
            program.listens.push(address);
        }
        program
    }

    /// Starts a server on a port that the kernel chooses.
    fn server(name: &str) -> Program {
        Program::listening(name, &["127.0.0.1:0"], 1)
    }

    /// The next line of its log.
    fn says(&self) -> String {
        self.log.recv_timeout(PATIENCE).expect("it says something")
    }

    fn connect(&self) -> TcpStream {
        connect(self.listens[0])
    }

    /// Stops it in good order.
    fn stop(self) {
        self.terminate();
        self.ends_well();
    }

    /// It has been told to stop, or ends by itself.
    fn ends_well(mut self) {
        // The log ends with the program.
        let mut end = Ok(String::new());
        while end.is_ok() {
            end = self.log.recv_timeout(PATIENCE);
        }
        assert_eq!(
            end,
            Err(mpsc::RecvTimeoutError::Disconnected),
            "it does not end"
        );
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Its output until it ends by itself.
    fn output(mut self) -> String {
        let mut output = String::new();
        let mut stdout = self.process.stdout.take().unwrap();
        stdout.read_to_string(&mut output).unwrap();
        self.ends_well();
        output
    }

    fn terminate(&self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// The memory that it has touched.
    fn resident_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed by other means.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Passes on lines as they come: a pipe that nothing reads would block the program.
fn lines(log: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        lines.for_each(|line| drop(sender.send(line)));
    });
    receiver
}

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    be_patient(client)
}

fn be_patient(client: TcpStream) -> TcpStream {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Sends all of it and a FIN, and reads to the end.
fn ask(mut client: &TcpStream, question: impl AsRef<[u8]>) -> String {
    client.write_all(question.as_ref()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Reads one line, and nothing behind it.
fn line(mut client: &TcpStream) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.last() != Some(&b'\n') {
        client.read_exact(&mut byte).expect("a whole line");
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

/// Writes the same again and again until the peer takes no more for a while, and returns how many
/// bytes were taken.
fn fill(mut client: &TcpStream, piece: &str) -> usize {
    let refused_after = Duration::from_millis(300);
    client.set_write_timeout(Some(refused_after)).unwrap();
    let pieces = piece.repeat(64 * 1024 / piece.len());
    let mut sent = 0;
    while sent < 256 * MIB {
        match client.write(&pieces.as_bytes()[sent % piece.len()..]) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                client.set_write_timeout(Some(PATIENCE)).unwrap();
                return sent;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it takes without end");
}

/// Makes the close of a socket a reset.
fn close_with_reset(client: TcpStream) {
    let (l_onoff, l_linger) = (1, 0);
    let at_once = libc::linger { l_onoff, l_linger };
    setsockopt(&client, sockopt::Linger, &at_once).unwrap();
    drop(client);
}

fn assert_is_reset(mut client: &TcpStream) {
    let end = io::copy(&mut client, &mut io::sink());
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn kv_server_serves_many_and_keeps_its_memory_bounded() {
    const KEYS: usize = 2000;
    const LISTS: usize = 20;
    let server = Program::server("kv_server");
    let value = "x".repeat(4000);
    let sets = (0..KEYS).map(|n| format!("SET {n:04} {value}\n"));
    let sets: Vec<String> = sets.collect();
    assert_eq!(ask(&server.connect(), sets.concat()), "OK\n".repeat(KEYS));
    let other = server.connect();
    assert_eq!(ask(&other, "GET 0007\nGET none"), format!("{value}\n"));

    // 160 MB of replies to a client that does not read yet.
    let before = server.resident_bytes();
    let mut greedy = server.connect();
    greedy.write_all("LIST\n".repeat(LISTS).as_bytes()).unwrap();
    greedy.shutdown(Shutdown::Write).unwrap();
    for _ in 0..100 {
        assert_eq!(ask(&server.connect(), "GET none\n"), "NONE\n");
    }
    // Another one asks and asks.
    let asking = server.connect();
    fill(&asking, "GET 0007\n");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown} bytes wait");
    let len = io::copy(&mut greedy, &mut io::sink()).unwrap();
    let list = KEYS * (value.len() + "0000 \n".len()) + "END\n".len();
    assert_eq!(len, (LISTS * list) as u64);
    drop(asking);
    server.stop();
}

#[test]
fn http_hello_keeps_connections_alive_and_answers_pipelined_requests() {
    let server = Program::server("http_hello");
    let mut client = server.connect();
    for _ in 0..3 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert_eq!(line(&client), "HTTP/1.1 200 OK\r\n");
        let date = line(&client);
        let date = date.strip_prefix("Date: ").unwrap().trim_end();
        let age = httpdate::parse_http_date(date).unwrap().elapsed().unwrap();
        assert!(age < PATIENCE, "{date}");
        while line(&client) != "\r\n" {}
        assert_eq!(line(&client), "hello\n");
    }
    let pipelined =
        "GET / HTTP/1.1\r\n\r\n".repeat(1000) + "HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n";
    let replies = ask(&client, pipelined);
    assert_eq!(replies.matches("200 OK").count(), 1001);
    assert_eq!(replies.matches("\r\n\r\nhello\n").count(), 1000);
    let refused = ask(&server.connect(), "x".repeat(9000));
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused:?}");
    server.stop();
}

/// A proxy, and the server that it leads to.
fn proxy() -> (Program, TcpListener) {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = upstream.local_addr().unwrap().to_string();
    let proxy = Program::listening("proxy", &["127.0.0.1:0", &to], 1);
    (proxy, upstream)
}

fn accept(listener: &TcpListener) -> TcpStream {
    be_patient(listener.accept().unwrap().0)
}

#[test]
fn proxy_passes_on_bytes_and_ends_and_holds_little() {
    const LEN: usize = 64 * MIB;
    let (proxy, upstream) = proxy();
    let client = proxy.connect();
    let server = accept(&upstream);
    let before = proxy.resident_bytes();
    // Neither reads until neither can write.
    let stuck = [&client, &server].map(|end| fill(end, "x"));
    let grown = proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown} bytes wait");
    // One direction ends before the other has begun to move.
    thread::scope(|scope| {
        scope.spawn(|| {
            (&client).write_all(&vec![0; LEN]).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            (&client).read_to_end(&mut answer).unwrap();
            assert_eq!(answer.len(), stuck[1] + "answer".len());
            assert!(answer.ends_with(b"answer"));
        });
        let len = io::copy(&mut &server, &mut io::sink()).unwrap();
        assert_eq!(len, (stuck[0] + LEN) as u64);
        (&server).write_all(b"answer").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
    });
    proxy.stop();
}

#[test]
fn proxy_passes_on_failures() {
    let (proxy, upstream) = proxy();
    let (client, server) = (proxy.connect(), accept(&upstream));
    (&server).write_all(b"half of an ans").unwrap();
    (&client).read_exact(&mut [0; 14]).unwrap();
    close_with_reset(server);
    assert_is_reset(&client);
    let (client, server) = (proxy.connect(), accept(&upstream));
    close_with_reset(client);
    assert_is_reset(&server);
    drop(upstream);
    // The reset may be there before connect(2) has returned.
    match TcpStream::connect(proxy.listens[0]) {
        Ok(client) => assert_is_reset(&be_patient(client)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    proxy.stop();
}

#[test]
fn reconnect_comes_back_whenever_the_server_does() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let mut program = Program::start("reconnect", &[&at.to_string()]);
    let mut output = BufReader::new(program.process.stdout.take().unwrap());
    assert!(program.says().contains("Connection refused"));
    let listener = TcpListener::bind(at).unwrap();
    for word in ["one\n", "two\n", "three\n"] {
        let mut connection = accept(&listener);
        connection.write_all(word.as_bytes()).unwrap();
        assert_eq!(next_line(&mut output), word);
        if word == "two\n" {
            close_with_reset(connection);
        }
    }
    program.stop();
}

fn next_line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

#[test]
fn worker_threads_compute_for_several_at_once_and_a_stop_waits_for_them() {
    let server = Program::server("worker_threads");
    let at = server.listens[0];
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || assert_eq!(ask(&connect(at), "10\n1000\n2\n"), "4\n168\n1\n"));
        }
    });
    let mut client = server.connect();
    client.write_all(b"10\n").unwrap();
    assert_eq!(line(&client), "4\n");
    client.write_all(b"200000\n").unwrap();
    // The job is with a worker by the time another client is answered.
    assert_eq!(ask(&server.connect(), "10\n"), "4\n");
    server.terminate();
    assert_eq!(line(&client), "17984\n");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    server.ends_well();
}

#[test]
fn udp_retry_asks_again_and_its_server_answers() {
    let server = Program::listening("udp_retry", &["serve", "udp://127.0.0.1:0"], 1);
    let at = format!("udp://{}", server.listens[0]);
    let client = Program::start("udp_retry", &["ask", &at, "one", "two"]);
    assert_eq!(client.output(), "one: ONE\ntwo: TWO\n");
    server.stop();

    // A server that loses the first datagram, and answers the second one twice.
    let lossy = UdpSocket::bind("127.0.0.1:0").unwrap();
    lossy.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = format!("udp://{}", lossy.local_addr().unwrap());
    let began = Instant::now();
    let client = Program::start("udp_retry", &["ask", &at, "x"]);
    let mut datagram = [0; 16];
    for answers in [0, 2] {
        let (len, from) = lossy.recv_from(&mut datagram).unwrap();
        assert_eq!(&datagram[..len], b"\0\0\0\0x");
        for _ in 0..answers {
            lossy.send_to(b"\0\0\0\0y", from).unwrap();
        }
    }
    assert_eq!(client.output(), "x: y\n");
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn tls_echo_talks_to_a_client_that_knows_its_certificate() {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = ["certificate", "key"].map(|name| directory.path().join(name));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let server = Program::listening("tls_echo", &["127.0.0.1:0", certificate, key], 1);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    for len in [1, 100_000] {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(config.clone(), name).unwrap();
        let mut client = rustls::StreamOwned::new(session, server.connect());
        let question: Vec<u8> = (0..len).map(|n: u32| n as u8).collect();
        let mut answer = vec![0; question.len()];
        client.write_all(&question).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert!(answer == question, "not the same bytes");
        client.conn.send_close_notify();
        client.flush().unwrap();
        // The end is announced within TLS: an error otherwise.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    let cut_off = server.connect();
    cut_off.shutdown(Shutdown::Write).unwrap();
    assert_is_reset(&cut_off);
    server.stop();
}

#[test]
fn several_protocols_are_told_apart_by_their_listeners() {
    let both = ["127.0.0.1:0", "127.0.0.1:0"];
    let server = Program::listening("several_protocols", &both, 3);
    let [echo, udp, uptime] = server.listens[..] else {
        panic!("{:?}", server.listens)
    };
    assert_eq!(ask(&connect(echo), "hello"), "hello");
    let told = ask(&connect(uptime), "");
    assert!(
        told.starts_with("up for ") && told.ends_with(" s\n"),
        "{told:?}"
    );
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.set_read_timeout(Some(PATIENCE)).unwrap();
    sender.send_to(b"datagram", udp).unwrap();
    let mut answer = [0; 16];
    let len = sender.recv(&mut answer).unwrap();
    assert_eq!(&answer[..len], b"datagram");
    server.stop();
}

#[test]
fn per_core_serves_every_client() {
    let server = Program::server("per_core");
    let at = server.listens[0];
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(move || assert_eq!(ask(&connect(at), "hello"), "hello"));
        }
    });
    server.stop();
}

#[test]
fn per_core_has_a_thread_for_each_core() {
    let server = Program::server("per_core");
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let cores = thread::available_parallelism().unwrap();
    assert_eq!(threads.count(), cores.get());
    server.stop();
}
