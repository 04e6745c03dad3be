//! The programs of the classic notes, in the order of the table in the README: ours do the same, as
//! two processes on one machine. In `rows_foreign.rs` one of the two is a third-party program.

use std::io::Write;
use std::process::Stdio;

use nix::sys::signal::Signal;

use tests::client::{dial, is_closed, ping};
use tests::process::{children, threads};
use tests::program::{Program, output_of, run};
use tests::server::{Launch, MODELS, Server};
use tests::sockets::{
    State, tcp_connections, tcp_listeners, tcp_sockets, udp_addresses, until_accepted,
};
use tests::until;

const TCP: &[&str] = &["127.0.0.1:0"];
const UDP: &[&str] = &["udp://127.0.0.1:0"];

/// `edgecall CLIENT` for this server, with a pipe for its input.
fn call(client: &str, server: &Server) -> Program {
    Program::start(&["edgecall", client, &server.addresses()[0]])
}

/// The client's address, as the server sees it.
fn source(client: &Program) -> String {
    let mut connections = Vec::new();
    until("the client is connected", || {
        connections = tcp_connections(client.pid());
        connections.len() == 1
    });
    connections[0].local.to_string()
}

fn ends_well(client: Program) {
    assert_eq!(client.prints(), "");
}

/// The server numbers its clients from 0, prints their lines, and sends no reply.
#[test]
fn row_01_sink_server() {
    for model in MODELS {
        let mut server = Launch::new("sink", TCP).model(model).start();
        let mut clients: Vec<Program> = (0..3)
            .map(|number| {
                let client = call("send", &server);
                let source = source(&client);
                server.prints(&format!("client {number} connected from {source}"));
                client
            })
            .collect();
        for (number, text) in [(1, "hello"), (0, "two words"), (2, "x"), (1, "again")] {
            clients[number].say(format!("{text}\n"));
            server.prints(&format!("client {number}: {text}"));
        }
        clients.into_iter().for_each(ends_well);
        for number in 0..3 {
            server.prints(&format!("client {number} closed"));
        }
        server.signal(Signal::SIGINT);
        assert_eq!(server.exit_code(), 0, "{model}");
    }
}

/// The client sends each line as it is typed. It ends with its input, or when the server goes.
#[test]
fn row_02_send_client() {
    let mut server = Launch::new("sink", TCP).start();
    let (mut leaves, mut is_left) = (call("send", &server), call("send", &server));
    source(&is_left);
    for line in ["one", "", "three words here"] {
        leaves.say(format!("{line}\n"));
        until("the line is printed", || {
            server.stdout().text().contains(&format!(": {line}\n"))
        });
    }
    ends_well(leaves);
    server.signal(Signal::SIGTERM);
    let ended = is_left.wait();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr, "edgecall: server closed the connection\n");
    assert_eq!(server.exit_code(), 0);
}

/// The server prints one datagram with its sender's address, and ends.
#[test]
fn row_03_udp_one_shot() {
    let mut server = Launch::new("sink", UDP).args(&["--once"]).start();
    let mut client = call("send", &server);
    let mut from = Vec::new();
    until("the client has a socket", || {
        from = udp_addresses(client.pid());
        from.len() == 1 && from[0].port() != 0
    });
    client.say("hello world\n");
    server.prints(&format!("client {}: hello world", from[0]));
    assert_eq!(server.exit_code(), 0);
    ends_well(client);
    assert_eq!(server.stdout().count(), 1);
}

/// The server sends each datagram back, byte for byte, to any number of clients.
#[test]
fn row_04_udp_echo() {
    let server = Launch::new("echo", UDP).start();
    for _ in 0..2 {
        let mut client = call("echo", &server);
        for word in ["hello", "two words", "caf\u{e9}"] {
            client.ask(&format!("{word}\n"), &format!("{word}\n"));
        }
        assert_eq!(client.prints(), "hello\ntwo words\ncaf\u{e9}\n");
    }
    assert_eq!(server.stats().get("datagrams_out"), 6);
}

/// The server prints the lines of one client, and ends.
#[test]
fn row_05_tcp_one_shot() {
    for model in MODELS {
        let launch = Launch::new("sink", TCP).model(model);
        let mut server = launch.args(&["--once"]).start();
        let mut client = call("send", &server);
        let source = source(&client);
        client.say("word\n");
        ends_well(client);
        assert_eq!(server.exit_code(), 0, "{model}");
        server.stdout().wait_for_end();
        let expected =
            format!("client 0 connected from {source}\nclient 0: word\nclient 0 closed\n");
        assert_eq!(server.stdout().text(), expected, "{model}");
    }
}

/// The server answers one client until it goes, and ends. It serves no other client meanwhile.
#[test]
fn row_06_tcp_echo_for_one_client() {
    for model in MODELS {
        let mut server = Launch::echo().model(model).args(&["--once"]).start();
        let mut client = call("echo", &server);
        for word in ["hello", "two words", ""] {
            client.ask(&format!("{word}\n"), &format!("{word}\n"));
        }
        let second = run(&["edgecall", "echo", &server.addresses()[0]], "let me in\n");
        assert_eq!((second.code, second.text().as_str()), (Some(1), ""));
        assert_eq!(client.prints(), "hello\ntwo words\n\n");
        assert_eq!(server.exit_code(), 0, "{model}");
    }
}

/// Each side sends its lines while it prints the other side's lines.
#[test]
fn row_07_full_duplex_chat() {
    let mut server = Launch::new("talk", TCP).stdin(Stdio::piped()).start();
    let mut keyboard = server.stdin();
    let mut client = call("talk", &server);
    // Neither side waits for a reply.
    for line in ["one", "two", "three"] {
        writeln!(keyboard, "{line} from the server").expect("write");
        client.say(format!("{line} from the client\n"));
    }
    client.shows("one from the server\ntwo from the server\nthree from the server\n");
    server.prints("three from the client");
    let heard = "one from the client\ntwo from the client\nthree from the client\n";
    assert_eq!(server.stdout().text(), heard);
    // A half-close by one side does not end the other direction.
    client.end_input();
    server.logs("peer closed");
    writeln!(keyboard, "last words").expect("write");
    client.shows("last words\n");
    drop(keyboard);
    assert_eq!(client.wait().code, Some(0));
}

/// A server can be restarted at once, although the kernel remembers its connections.
#[test]
fn row_08_address_reuse() {
    for (name, models) in [
        ("echo", &MODELS[..]),
        ("upper", &MODELS),
        ("sink", &MODELS),
        ("talk", &["reactor"]),
    ] {
        for model in models {
            let launch = |at: &str| {
                let launch = Launch::new(name, &[at]).model(model);
                launch.stdin(Stdio::piped()).start()
            };
            let mut server = launch("127.0.0.1:0");
            let address = server.tcp();
            let client = dial(address);
            until_accepted(&client);
            server.signal(Signal::SIGTERM);
            assert!(is_closed(&client));
            drop(client);
            assert_eq!(server.exit_code(), 0, "{name} --model {model}");
            until("the connection is in TIME_WAIT", || {
                tcp_sockets()
                    .iter()
                    .any(|socket| socket.local == address && socket.state == State::TimeWait)
            });
            let again = launch(&address.to_string());
            assert_eq!(tcp_listeners(again.pid()), [address]);
            until_accepted(&dial(address));
        }
    }
}

/// Concurrent clients, each served by its own process or thread, and named by address and port in
/// the log.
fn concurrent_echo(model: &str, workers: fn(u32) -> usize) {
    let server = Launch::echo().model(model).args(&["-v"]).start();
    let mut clients: Vec<Program> = (0..5).map(|_| call("echo", &server)).collect();
    for round in ["first", "second"] {
        for (number, client) in clients.iter_mut().enumerate() {
            let line = format!("{round} of {number}\n");
            client.ask(&line, &line);
        }
    }
    for client in &clients {
        server.logs(&format!(" from {}", source(client)));
    }
    assert_eq!(workers(server.pid()), 5);
    for (number, client) in clients.into_iter().enumerate() {
        let expected = format!("first of {number}\nsecond of {number}\n");
        assert_eq!(client.prints(), expected);
    }
    // Zombies would count as workers.
    until("they are gone", || workers(server.pid()) == 0);
    ping(dial(server.tcp()), b"and it goes on");
}

#[test]
fn row_09_concurrent_echo_with_processes() {
    concurrent_echo("fork", |server| children(server).len());
}

#[test]
fn row_10_concurrent_echo_with_threads() {
    // One thread accepts clients.
    concurrent_echo("thread", |server| threads(server) - 1);
}

/// The server answers line by line, and the client reports when the server goes.
#[test]
fn row_11_echo_server_and_client() {
    for model in MODELS {
        let mut server = Launch::echo().model(model).start();
        let mut client = call("echo", &server);
        client.ask("a line\n", "a line\n");
        client.ask("another\n", "another\n");
        server.signal(Signal::SIGTERM);
        let ended = client.wait();
        assert_eq!(ended.code, Some(1), "{model}");
        assert_eq!(ended.stderr, "edgecall: server closed the connection\n");
        assert_eq!(server.exit_code(), 0);
    }
}

/// When either side goes, the other one reports it and ends, too.
#[test]
fn row_12_point_to_point_chat() {
    let start = || {
        let launch = Launch::new("talk", TCP).args(&["--once"]);
        let mut server = launch.stdin(Stdio::piped()).start();
        let mut keyboard = server.stdin();
        let mut client = call("talk", &server);
        client.say("hello\n");
        server.prints("hello");
        keyboard.write_all(b"hello yourself\n").expect("write");
        client.shows("hello yourself\n");
        (server, keyboard, client)
    };
    let (mut server, _keyboard, mut client) = start();
    client.signal(Signal::SIGINT);
    server.logs("peer closed");
    assert_eq!(client.wait().code, Some(0));
    assert_eq!(server.exit_code(), 0);

    let (mut server, _keyboard, mut client) = start();
    server.signal(Signal::SIGINT);
    client.complains("peer closed\n");
    assert_eq!(client.wait().code, Some(1), "it had not finished");
    assert_eq!(server.exit_code(), 0);
}

/// The server prints its address, logs each client's address, and turns bytes to upper case.
#[test]
fn row_13_uppercase_server() {
    for model in MODELS {
        let server = Launch::new("upper", TCP).model(model).args(&["-v"]).start();
        let at = server.tcp();
        assert_eq!(server.addresses(), [format!("tcp://{at}")]);
        let mut streams = Program::start(&["edgecall", "upper", "--addr", &at.to_string()]);
        streams.ask("hello, world\n", "HELLO, WORLD\n");
        server.logs(&format!(" from {}", source(&streams)));
        // The notes' server would make this client wait.
        let message = ["edgecall", "upper", "--addr", &at.to_string(), "me too"];
        assert_eq!(output_of(&message, ""), "ME TOO\n");
        streams.ask("\u{e9}t\u{e9} 9\n", "\u{e9}T\u{e9} 9\n");
        assert_eq!(streams.finish().code, Some(0));
    }
}

/// The client sends the message of its command line, and prints the answer.
#[test]
fn row_14_uppercase_client() {
    let server = Launch::new("upper", TCP).start();
    let address = &server.addresses()[0];
    for (words, answer) in [
        (&["hello"][..], "HELLO\n"),
        (&["hello,", "world"], "HELLO, WORLD\n"),
        (
            &["one argument\nwith two lines"],
            "ONE ARGUMENT\nWITH TWO LINES\n",
        ),
    ] {
        let command = [&["edgecall", "upper", "--addr", address], words].concat();
        assert_eq!(output_of(&command, "not read"), answer);
    }
    let without = ["edgecall", "upper", "--addr", address];
    assert_eq!(output_of(&without, "from a pipe"), "FROM A PIPE");
    let wrong = run(&["edgecall", "upper", "--no-such-option"], "");
    assert_eq!((wrong.code, wrong.stdout), (Some(2), vec![]));
}

/// Every server listens only where its banner says, as `ss -lnp` and `netstat -apn` show.
#[test]
fn row_15_servers_as_netstat_sees_them() {
    for name in ["echo", "upper", "sink", "talk", "chat"] {
        let server = Launch::new(name, TCP).stdin(Stdio::piped()).start();
        assert_eq!(tcp_listeners(server.pid()), [server.tcp()], "{name}");
        let client = dial(server.tcp());
        until_accepted(&client);
        let connections = tcp_connections(server.pid());
        assert_eq!(connections.len(), 1, "{name}: {connections:?}");
        assert_eq!(connections[0].local, server.tcp());
        let client = client.local_addr().expect("getsockname");
        assert_eq!(connections[0].remote, client);
    }
    for name in ["echo", "upper", "sink"] {
        let server = Launch::new(name, UDP).start();
        assert_eq!(udp_addresses(server.pid()), [server.udp()], "{name}");
        assert_eq!(tcp_listeners(server.pid()), []);
    }
}
