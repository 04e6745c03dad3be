//! The rows of the classic notes with `nc`, `ncat`, `socat` or `telnet` on one side: our servers
//! serve third-party clients, and our clients call third-party servers.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use tempfile::tempdir;

use tests::PATIENCE;
use tests::foreign::{
    CALLERS, callers, tcp_echoes, tcp_listeners, tcp_server, telnet, udp_echoes, udp_receivers,
    unix_listeners,
};
use tests::program::{Program, output_of};
use tests::server::{Launch, MODELS, Server};
use tests::sockets::{Socket, tcp_connections, udp_addresses, where_it_listens};

const TCP: &[&str] = &["127.0.0.1:0"];
const UDP: &[&str] = &["udp://127.0.0.1:0"];

/// A server in each model over TCP, and in the reactor's on a Unix socket in `directory`.
fn everywhere(name: &'static str, directory: &Path) -> impl Iterator<Item = Server> {
    let unix = format!("unix:{}", directory.join("server.sock").display());
    let tcp = MODELS.map(|model| Launch::new(name, TCP).model(model));
    let all = tcp.into_iter().chain([Launch::new(name, &[&unix])]);
    all.map(Launch::start)
}

/// The stdout of a client for this input; its status must be 0.
fn answer(line: &str, input: &str) -> String {
    output_of(&line.split_whitespace().collect::<Vec<_>>(), input)
}

#[test]
fn row_01_sink_server() {
    let directory = tempdir().expect("a temporary directory");
    for server in everywhere("sink", directory.path()) {
        for (number, caller) in callers(&server.addresses()[0]).iter().enumerate() {
            assert_eq!(answer(caller, "hello\nworld"), "", "{caller}");
            let seen = |line: &str| server.prints(&format!("client {number}{line}"));
            let (hello, world, closed) = (seen(": hello"), seen(": world"), seen(" closed"));
            assert!(hello < world && world < closed, "{caller}");
        }
    }
}

/// `telnet` ends its lines with `\r\n`, as its protocol requires.
#[test]
fn row_01_sink_server_and_telnet() {
    for model in MODELS {
        let server = Launch::new("sink", TCP).model(model).start();
        let mut client = telnet(server.tcp());
        client.say("hello there\n");
        server.prints("client 0: hello there");
        client.end_input();
        server.prints("client 0 closed");
    }
}

#[test]
fn row_02_send_client() {
    let directory = tempdir().expect("a temporary directory");
    for (mut server, address) in tcp_listeners().chain(unix_listeners(directory.path())) {
        let mut client = Program::start(&["edgecall", "send", &address]);
        for line in ["one\n", "two words\n"] {
            client.say(line);
            server.shows(line);
        }
        client.say("no newline");
        client.end_input();
        server.shows("no newline");
        server.end_input();
        assert_eq!(client.prints(), "");
        let all = server.prints();
        assert_eq!(all, "one\ntwo words\nno newline");
    }
}

#[test]
fn row_03_udp_one_shot() {
    for number in 0..CALLERS {
        let mut server = Launch::new("sink", UDP).args(&["--once"]).start();
        let mut client = Program::line(&callers(&server.addresses()[0])[number]);
        client.say("hello world\n");
        assert_eq!(server.exit_code(), 0);
        let from = udp_addresses(client.pid())[0];
        server.stdout().wait_for_end();
        let expected = format!("client 127.0.0.1:{}: hello world\n", from.port());
        assert_eq!(server.stdout().text(), expected);
    }
    for (server, address) in udp_receivers() {
        assert_eq!(
            output_of(&["edgecall", "send", &address], "hello world\n"),
            ""
        );
        server.shows("hello world");
        assert_eq!(server.stdout().text(), "hello world");
    }
}

#[test]
fn row_04_udp_echo() {
    let server = Launch::new("echo", UDP).start();
    for caller in callers(&server.addresses()[0]) {
        let mut client = Program::line(&caller);
        for word in ["hello\n", "two words\n", "caf\u{e9}\n"] {
            client.ask(word, word);
        }
        assert_eq!(client.stdout().text(), "hello\ntwo words\ncaf\u{e9}\n");
    }
    for (_server, address) in udp_echoes() {
        let words = "hello\ntwo words\n";
        assert_eq!(output_of(&["edgecall", "echo", &address], words), words);
    }
}

#[test]
fn row_05_tcp_one_shot() {
    for (number, model) in MODELS.into_iter().enumerate() {
        let launch = Launch::new("sink", TCP).model(model);
        let mut server = launch.args(&["--once"]).start();
        let caller = &callers(&server.addresses()[0])[number];
        assert_eq!(answer(caller, "word"), "", "{caller}");
        assert_eq!(server.exit_code(), 0);
        server.prints("client 0: word");
    }
}

#[test]
fn row_06_tcp_echo_for_one_client() {
    for model in MODELS {
        for number in 0..CALLERS {
            let mut server = Launch::echo().model(model).args(&["--once"]).start();
            let caller = &callers(&server.addresses()[0])[number];
            let mut client = Program::line(caller);
            client.ask("hello\n", "hello\n");
            client.ask("two words\n", "two words\n");
            assert_eq!(client.prints(), "hello\ntwo words\n", "{caller}");
            assert_eq!(server.exit_code(), 0);
        }
    }
    for (_server, address) in tcp_echoes() {
        let mut client = Program::start(&["edgecall", "echo", &address]);
        client.ask("hello\n", "hello\n");
        client.ask("two words\n", "two words\n");
        assert_eq!(client.prints(), "hello\ntwo words\n");
    }
}

/// Our program is the server.
#[test]
fn row_07_full_duplex_chat_called_by_others() {
    let directory = tempdir().expect("a temporary directory");
    let unix = format!("unix:{}", directory.path().join("talk.sock").display());
    for (address, number) in [TCP[0], &unix]
        .into_iter()
        .flat_map(|address| (0..CALLERS).map(move |number| (address, number)))
    {
        let mut server = Launch::new("talk", &[address])
            .stdin(Stdio::piped())
            .start();
        let mut keyboard = server.stdin();
        let mut peer = Program::line(&callers(&server.addresses()[0])[number]);
        peer.say("hello\n");
        server.prints("hello");
        keyboard.write_all(b"how are you?\n").expect("write");
        peer.shows("how are you?\n");
        peer.end_input();
        server.logs("peer closed");
        keyboard.write_all(b"goodbye\n").expect("write");
        peer.shows("goodbye\n");
        drop(keyboard);
        assert_eq!(peer.wait().code, Some(0));
    }
}

/// Our program is the client.
#[test]
fn row_07_full_duplex_chat_calling_others() {
    let directory = tempdir().expect("a temporary directory");
    for (mut peer, address) in tcp_listeners().chain(unix_listeners(directory.path())) {
        let mut client = Program::start(&["edgecall", "talk", &address]);
        client.say("hello\n");
        peer.shows("hello\n");
        peer.say("hello yourself\n");
        client.shows("hello yourself\n");
        client.end_input();
        peer.end_input();
        assert_eq!(client.prints(), "hello yourself\n");
        assert_eq!(peer.prints(), "hello\n");
    }
}

#[test]
fn rows_09_10_and_11_echo_server() {
    let directory = tempdir().expect("a temporary directory");
    for server in everywhere("echo", directory.path()) {
        let callers = callers(&server.addresses()[0]);
        // All clients run at once, as the notes try it.
        let mut clients: Vec<Program> = callers.iter().map(|line| Program::line(line)).collect();
        for round in ["first\n", "second time\n"] {
            for client in &mut clients {
                client.ask(round, round);
            }
        }
        for client in clients {
            assert_eq!(client.prints(), "first\nsecond time\n");
        }
    }
}

/// The notes write 127.0.0.1 as `127.1`, which inet(3) accepts.
#[test]
fn row_09_echo_server_at_127_1() {
    let server = Launch::echo().model("fork").start();
    let line = format!("nc -N 127.1 {}", server.tcp().port());
    assert_eq!(answer(&line, "hello\n"), "hello\n");
    let ours = format!("edgecall echo 127.1:{}", server.tcp().port());
    assert_eq!(answer(&ours, "hello\n"), "hello\n");
}

#[test]
fn row_11_echo_server_and_telnet() {
    for model in MODELS {
        let server = Launch::echo().model(model).start();
        let mut client = telnet(server.tcp());
        client.ask("hello there\n", "\nhello there");
        let mut other = telnet(server.tcp());
        other.ask("me too\n", "\nme too");
        client.ask("still here\n", "\nstill here");
    }
}

/// The client reports when the server goes.
#[test]
fn row_11_echo_client_reports_that_the_server_goes() {
    for (server, address) in tcp_listeners() {
        let mut client = Program::start(&["edgecall", "echo", &address]);
        client.say("a line\n");
        server.shows("a line\n");
        drop(server);
        let ended = client.wait();
        assert_eq!(ended.code, Some(1));
        assert_eq!(ended.stderr, "edgecall: server closed the connection\n");
    }
}

#[test]
fn row_12_point_to_point_chat() {
    // The third-party client goes first.
    let launch = Launch::new("talk", TCP).args(&["--once"]);
    let mut server = launch.stdin(Stdio::piped()).start();
    let mut peer = Program::line(&callers(&server.addresses()[0])[0]);
    peer.say("hello\n");
    server.prints("hello");
    drop(peer);
    server.logs("peer closed");
    assert_eq!(server.exit_code(), 0);
    // The third-party server goes first.
    let (mut peer, address) = tcp_server("nc -N -l 127.0.0.1 0");
    let mut client = Program::start(&["edgecall", "talk", &address]);
    peer.say("hello\n");
    client.shows("hello\n");
    drop(peer);
    client.complains("peer closed\n");
    assert_eq!(client.wait().code, Some(1), "it had not finished");
}

#[test]
fn row_12_point_to_point_chat_and_telnet() {
    let mut server = Launch::new("talk", TCP).stdin(Stdio::piped()).start();
    let mut keyboard = server.stdin();
    let mut peer = telnet(server.tcp());
    peer.say("hello there\n");
    // `talk` prints the `\r` of telnet's `\r\n`, because it copies every byte.
    server.prints("hello there\r");
    keyboard.write_all(b"good evening\n").expect("write");
    peer.shows("good evening");
    peer.end_input();
    server.logs("peer closed");
}

#[test]
fn row_13_uppercase_server() {
    let directory = tempdir().expect("a temporary directory");
    for server in everywhere("upper", directory.path()) {
        for caller in callers(&server.addresses()[0]) {
            assert_eq!(answer(&caller, "hello, world"), "HELLO, WORLD", "{caller}");
        }
    }
    let server = Launch::new("upper", UDP).start();
    for caller in callers(&server.addresses()[0]) {
        Program::line(&caller).ask("hello, world\n", "HELLO, WORLD\n");
    }
}

#[test]
fn row_14_uppercase_client() {
    let listen = "TCP-LISTEN:0,bind=127.0.0.1,fork";
    let server = Program::start(&["socat", "-t", "30", listen, "EXEC:tr a-z A-Z"]);
    let address = where_it_listens(server.pid()).to_string();
    for (message, answer) in [("hello, world", "HELLO, WORLD\n"), ("", "\n")] {
        let command = ["edgecall", "upper", "--addr", &address, message];
        assert_eq!(output_of(&command, "not read"), answer);
    }
    let streams = ["edgecall", "upper", "--addr", &address];
    assert_eq!(output_of(&streams, "from a pipe"), "FROM A PIPE");
}

/// Each server on each kind of address, called by `nc`, `nc -u` and `nc -U`.
#[test]
fn row_15_netcat_as_the_client() {
    let directory = tempdir().expect("a temporary directory");
    let unix = format!("unix:{}", directory.path().join("server.sock").display());
    for (name, answer) in [("echo", "hello\n"), ("upper", "HELLO\n"), ("sink", "")] {
        for address in [TCP[0], UDP[0], &unix] {
            let server = Launch::new(name, &[address]).start();
            let mut nc = Program::line(&callers(&server.addresses()[0])[0]);
            nc.ask("hello\n", answer);
            if name == "sink" {
                let printed = |line: &str| line.ends_with(": hello");
                assert!(server.stdout().wait_for(PATIENCE, printed).is_some());
            }
            if address == TCP[0] {
                let (ours, theirs) = (connection(&server), tcp_connections(nc.pid()));
                assert_eq!(ours.local, server.tcp());
                assert_eq!(
                    (ours.remote, ours.local),
                    (theirs[0].local, theirs[0].remote)
                );
            }
        }
    }
}

/// The only connection of a server.
fn connection(server: &Server) -> Socket {
    let connections = tcp_connections(server.pid());
    assert_eq!(connections.len(), 1, "{connections:?}");
    connections[0]
}
