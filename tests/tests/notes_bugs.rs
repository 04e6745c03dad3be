//! The classic notes' programs have bugs: a test for each shows that ours do not have it, in any
//! model. Each test begins with the bug.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use tests::call::{Call, file_of};
use tests::client::{
    dial, dial_narrow, expect, expect_end, fill, ping, ping_all, reset, until_cut_off,
};
use tests::door::{Door, udp_door};
use tests::process::{children, cpu_time};
use tests::program::{output_of, run};
use tests::random::Random;
use tests::server::{Launch, MODELS, Server};
use tests::sockets::{tcp_listeners, until_read};
use tests::strace::Trace;
use tests::{MIB, until};

/// Each server that has all models, in each model.
fn each_server() -> impl Iterator<Item = (&'static str, &'static str)> {
    let servers = ["echo", "upper", "sink"];
    let each_model = |server| MODELS.map(|model| (server, model));
    servers.into_iter().flat_map(each_model)
}

fn launch(name: &str, model: &str) -> Launch {
    Launch::new(name, &["127.0.0.1:0"]).model(model)
}

/// The notes' clients always write `sizeof buf` bytes, so NULs follow each word.
#[test]
fn only_the_typed_bytes_are_sent() {
    for client in ["echo", "send", "talk"] {
        let door = Door::tcp();
        let call = Call::start(&[client, door.address()], file_of(b"hi\n"), Stdio::null());
        let stream = door.accept();
        expect_end(&stream, b"hi\n");
        drop(stream);
        assert_eq!(call.finish().0, Some(0));
    }
    let door = Door::tcp();
    let message = ["upper", "--addr", door.address(), "hi"];
    let call = Call::start(&message, Stdio::null(), Stdio::null());
    expect_end(door.accept(), b"hi");
    call.succeeds();
    let (socket, address) = udp_door();
    assert_eq!(output_of(&["edgecall", "send", &address], "hi\n"), "");
    let mut datagram = [0; 100];
    assert_eq!(socket.recv(&mut datagram).expect("a datagram"), 2);
}

/// The notes' servers print their buffer up to the first NUL: after a short message comes the rest
/// of an earlier, longer one, and a message with a NUL is cut.
#[test]
fn only_the_received_bytes_are_printed() {
    for model in MODELS {
        let server = launch("sink", model).start();
        let mut stream = dial(server.tcp());
        for (text, printed) in [
            ("a long message\n", "client 0: a long message"),
            ("short\n", "client 0: short"),
            ("a\0b\n", "client 0: a\\x00b"),
            ("\n", "client 0: "),
        ] {
            stream.write_all(text.as_bytes()).expect("write");
            server.prints(printed);
        }
        assert_eq!(server.stdout().count(), 5, "{}", server.stdout().text());
    }
}

/// The notes' clients read words with `scanf("%s")`: a line is split at its spaces, and a word
/// longer than the buffer overwrites the memory behind it.
#[test]
fn a_line_is_a_line_with_its_spaces_and_however_long() {
    let line = format!("  two words\tand {}\n", "a long one".repeat(50_000));
    for client in ["echo", "send", "talk"] {
        let door = Door::tcp();
        let input = file_of(line.as_bytes());
        let call = Call::start(&[client, door.address()], input, Stdio::null());
        let stream = door.accept();
        expect_end(&stream, line.as_bytes());
        drop(stream);
        assert_eq!(call.finish().0, Some(0));
    }
    for model in MODELS {
        let server = launch("echo", model).start();
        let echo = ["edgecall", "echo", &server.addresses()[0]];
        assert!(output_of(&echo, &line) == line, "{model}");
    }
}

/// The notes' servers ignore the result of `write`: bytes for which a slow reader has no room are
/// lost.
#[test]
fn a_slow_reader_gets_every_byte() {
    let data = Random::new(1).bytes(16 * MIB);
    let shouted = data.to_ascii_uppercase();
    for model in MODELS {
        for (name, answer) in [("echo", &data), ("upper", &shouted)] {
            let server = launch(name, model).start();
            let stream = dial_narrow(server.tcp(), 16 * 1024);
            let sent = fill(&stream, &data);
            thread::scope(|scope| {
                scope.spawn(|| {
                    (&stream).write_all(&data).expect("write");
                    stream.shutdown(Shutdown::Write).expect("shutdown");
                });
                let before = answer.iter().copied().cycle().take(sent);
                let whole: Vec<u8> = before.chain(answer.iter().copied()).collect();
                expect_end(&stream, &whole);
            });
        }
    }
}

/// The processor time of a server and its children.
fn cpu_time_of_all(server: &Server) -> Duration {
    let children = children(server.pid());
    let all = children.into_iter().chain([server.pid()]);
    all.map(cpu_time).sum()
}

/// The notes' servers do not check whether `read` returned 0 or -1: the server for a single client
/// reads on after the end of the stream, and takes all of a processor.
#[test]
fn nothing_spins_when_clients_leave() {
    for (name, model) in each_server() {
        let mut server = launch(name, model).start();
        let before_all = server.stats().get("connections");
        let stays = dial(server.tcp());
        for leave in [drop, reset, half_close] {
            let stream = dial(server.tcp());
            (&stream).write_all(b"hello\n").expect("write");
            until_read(&stream);
            leave(stream);
        }
        server.stats_until("one is left", |stats| {
            stats.get("connections") == before_all + 1
        });
        let before = cpu_time_of_all(&server);
        assert_eq!(server.wait(Duration::from_millis(500)), None);
        let spent = cpu_time_of_all(&server).saturating_sub(before);
        assert!(
            spent < Duration::from_millis(100),
            "{name} --model {model}: {spent:?} of processor time"
        );
        drop(stays);
    }
}

/// Half-closes the connection and reads until the server closes its half.
#[expect(
    clippy::needless_pass_by_value,
    reason = "one of several ways to leave"
)]
fn half_close(stream: TcpStream) {
    stream.shutdown(Shutdown::Write).expect("shutdown");
    stream.set_nonblocking(false).expect("O_NONBLOCK");
    assert!(std::io::copy(&mut &stream, &mut std::io::sink()).is_ok());
}

/// In the notes, a client that does not read blocks its process or thread in `write` for ever.
#[test]
fn a_client_that_stops_reading_is_closed_and_delays_no_other_client() {
    for model in MODELS {
        let launch = launch("echo", model).args(&["--stall-timeout", "1s"]);
        let server = launch.start();
        let (before, stalled) = (dial(server.tcp()), dial_narrow(server.tcp(), 16 * 1024));
        ping(&before, b"before");
        thread::scope(|scope| {
            scope.spawn(|| until_cut_off(&stalled));
            for _ in 0..10 {
                ping(&before, b"meanwhile");
                ping(dial(server.tcp()), b"and a new client");
            }
        });
        server.stats_until("one is left", |stats| stats.get("connections") == 1);
        ping(&before, b"afterwards");
    }
}

/// The notes take a `read` for a message. TCP has no messages: a `read` may return half of one
/// `write`, or two of them.
#[test]
fn messages_may_be_split_and_joined() {
    for model in MODELS {
        let server = launch("upper", model).start();
        let stream = dial(server.tcp());
        for byte in b"byte by byte" {
            ping_as(&stream, &[*byte], &[byte.to_ascii_uppercase()]);
        }
        server.stop();
        for part in ["joined ", "while ", "nobody ", "reads"] {
            (&stream).write_all(part.as_bytes()).expect("write");
        }
        server.resume();
        expect(&stream, b"JOINED WHILE NOBODY READS");

        let server = launch("sink", model).start();
        let stream = dial(server.tcp());
        for part in ["spl", "it\njoi", "ned\nand joined\nla", "st\n"] {
            (&stream).write_all(part.as_bytes()).expect("write");
            until_read(&stream);
        }
        server.prints("client 0: last");
        let lines = "client 0: split\nclient 0: joined\nclient 0: and joined\nclient 0: last\n";
        assert!(server.stdout().text().ends_with(lines), "{model}");
    }
}

fn ping_as(mut stream: &TcpStream, question: &[u8], answer: &[u8]) {
    stream.write_all(question).expect("write");
    expect(stream, answer);
}

/// The notes' accept loops end at the first error, even if a client has only given up meanwhile.
#[test]
fn a_failed_accept_is_not_the_end() {
    for (name, model) in each_server() {
        for errno in ["ECONNABORTED", "EMFILE"] {
            let trace = Trace::new();
            let fault = format!("inject=accept4:error={errno}:when=1..3");
            let wrapper = trace.wrapper(&["-e", "trace=accept4", "-e", &fault]);
            let server = launch(name, model).under(&wrapper).start();
            // The server may refuse a client while it has no descriptors.
            until("a client is served", || {
                let _client = dial(server.tcp());
                server.stats().get("accepted") > 0
            });
            assert_eq!(trace.injected(), 3, "{name} --model {model}: {errno}");
        }
    }
}

/// The notes' server with threads has a table of 256 clients, and ends when it is full.
#[test]
fn three_hundred_clients_are_not_too_many() {
    for model in MODELS {
        let server = launch("echo", model).start();
        let clients: Vec<_> = (0..300).map(|_| dial(server.tcp())).collect();
        ping_all(&clients, b"one of three hundred");
        server.stats_until("all are there", |stats| stats.get("connections") == 300);
        drop(clients);
        server.stats_until("all have left", |stats| stats.get("connections") == 0);
        ping(dial(server.tcp()), b"the next");
    }
}

/// The notes' servers listen on all interfaces. Ours do so only on request.
#[test]
fn only_this_machine_is_served_unless_asked_for_more() {
    for (name, model) in each_server().chain([("talk", "reactor"), ("chat", "reactor")]) {
        let launch = Launch::new(name, &["0"]).model(model);
        let server = launch.stdin(Stdio::piped()).start();
        let port = server.tcp().port();
        let bound = tcp_listeners(server.pid());
        assert_eq!(bound, [([127, 0, 0, 1], port).into()], "{name} {model}");
        let elsewhere = TcpStream::connect(SocketAddr::from(([127, 0, 0, 2], port)));
        assert!(elsewhere.is_err(), "{name} --model {model}");
    }
    for model in MODELS {
        let server = Launch::new("echo", &["0.0.0.0:0"]).model(model).start();
        let port = server.tcp().port();
        assert_eq!(tcp_listeners(server.pid()), [([0; 4], port).into()]);
        ping(dial(([127, 0, 0, 2], port).into()), b"hello");
    }
}

/// The notes use `inet_addr`, which knows IPv4 only, and returns its error value for
/// 255.255.255.255.
#[test]
fn addresses_of_all_kinds_are_understood() {
    for model in MODELS {
        for any in ["[::1]:0", "[::]:0"] {
            let server = Launch::new("echo", &[any])
                .model(model)
                .args(&["-v"])
                .start();
            let at = format!("[::1]:{}", server.tcp().port());
            let echo = ["edgecall", "echo", &at];
            assert_eq!(output_of(&echo, "over IPv6\n"), "over IPv6\n");
            server.logs(" from [::1]:");
        }
        let broadcast = Launch::new("echo", &["255.255.255.255:0"])
            .model(model)
            .start();
        assert_eq!(broadcast.tcp().ip().to_string(), "255.255.255.255");
    }
    let reached = run(&["edgecall", "echo", "255.255.255.255:9"], "");
    let complaint = "cannot reach tcp://255.255.255.255:9: Network is unreachable";
    assert_eq!(reached.stderr, format!("edgecall: {complaint}\n"));
    assert_eq!(reached.code, Some(1));
    let nonsense = run(&["edgecall", "echo", "255.255.255.255"], "");
    assert_eq!(nonsense.code, Some(2), "{nonsense:?}");
}
