//! `edgeloop echo http://...` over real sockets, with an ordinary client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use nix::sys::signal::Signal;
use tungstenite::handshake::client::generate_key;
use tungstenite::http::Request;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Error, Message, WebSocket, client};

use tests::MIB;
use tests::client::{ask, dial, dial_narrow, fill, ping_and_end};
use tests::process::resident_bytes;
use tests::random::Random;
use tests::server::{Launch, Server};

const HTTP: &str = "http://127.0.0.1:0";

fn start() -> Server {
    Launch::new("echo", &[HTTP]).start()
}

fn handshake(stream: TcpStream, server: SocketAddr) -> WebSocket<TcpStream> {
    let (socket, answer) = client(format!("ws://{server}/"), stream).expect("a handshake");
    assert_eq!(answer.status(), 101);
    socket
}

fn connect(server: &Server) -> WebSocket<TcpStream> {
    handshake(dial(server.http()), server.http())
}

/// The next message that is neither a ping nor a pong.
fn next(socket: &mut WebSocket<TcpStream>) -> Message {
    loop {
        match socket.read().expect("a message") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

#[test]
fn messages_come_back_as_they_were() {
    let server = start();
    let mut socket = connect(&server);
    let mut random = Random::new(1);
    for len in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
        let bytes = random.bytes(len);
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        for message in [Message::binary(bytes.clone()), Message::text(text.clone())] {
            socket.send(message.clone()).expect("send");
            assert!(next(&mut socket) == message, "{len} bytes");
        }
    }
    server.stats_until("one connection", |stats| stats.get("connections") == 1);
}

#[test]
fn fragments_are_one_message_and_pings_are_answered_between_them() {
    let server = start();
    let mut socket = connect(&server);
    let frame = |opcode, fin, payload: &'static str| {
        Message::Frame(Frame::message(payload, OpCode::Data(opcode), fin))
    };
    socket.send(frame(Data::Text, false, "one ")).expect("send");
    socket.send(Message::Ping("between".into())).expect("send");
    socket
        .send(frame(Data::Continue, true, "two"))
        .expect("send");
    let pong = socket.read().expect("a pong");
    assert_eq!(pong, Message::Pong("between".into()));
    assert_eq!(socket.read().expect("a text"), Message::text("one two"));
}

#[test]
fn the_close_handshake_has_the_clients_code() {
    let server = start();
    let mut socket = connect(&server);
    let bye = CloseFrame {
        code: CloseCode::Library(4_321),
        reason: "enough".into(),
    };
    socket.send(Message::text("last")).expect("send");
    socket.close(Some(bye)).expect("close");
    assert_eq!(next(&mut socket), Message::text("last"));
    let Message::Close(Some(frame)) = next(&mut socket) else {
        panic!("no close frame");
    };
    assert_eq!(frame.code, CloseCode::Library(4_321));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    drop(socket);
    server.stats_until("it is gone", |stats| stats.get("connections") == 0);
}

#[test]
fn a_stop_tells_clients_that_the_server_goes_away() {
    let mut server = start();
    let mut socket = connect(&server);
    server.signal(Signal::SIGTERM);
    let Message::Close(Some(frame)) = next(&mut socket) else {
        panic!("no close frame");
    };
    assert_eq!(frame.code, CloseCode::Away);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_frame_that_breaks_a_rule_is_answered_by_its_code() {
    let server = start();
    for (code, first, payload) in [
        (CloseCode::Protocol, 0x83, &b"reserved opcode"[..]),
        (CloseCode::Invalid, 0x81, b"\xff"),
    ] {
        let mut socket = connect(&server);
        let len = payload.len() as u8;
        let start = [first, 0x80 | len, 0, 0, 0, 0];
        let stream = socket.get_mut();
        stream
            .write_all(&[&start[..], payload].concat())
            .expect("write");
        let Message::Close(Some(frame)) = next(&mut socket) else {
            panic!("no close frame");
        };
        assert_eq!(frame.code, code);
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    }
}

/// A client that does not read is not read either. All that it has sent comes back once it reads.
#[test]
fn a_message_of_a_client_that_does_not_read_waits_outside() {
    const LEN: usize = 16 * MIB;
    let server = Launch::new("echo", &[HTTP]);
    let server = server.args(&["--high-water", "64KiB"]).start();
    let before = resident_bytes(server.pid());
    let socket = handshake(dial_narrow(server.http(), 64 * 1024), server.http());
    let mut stream = socket.get_ref().try_clone().expect("a clone");
    // A mask of zeros leaves the payload as it is.
    let header = [&[0x82, 0xff][..], &(LEN as u64).to_be_bytes(), &[0; 4]].concat();
    stream.write_all(&header).expect("write");
    let payload = Random::new(2).bytes(LEN);
    let sent = fill(&stream, &payload);
    assert!(sent < LEN, "the kernel has taken all of it");
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < MIB, "{grown} bytes");
    let rest = payload[sent..].to_vec();
    let write = thread::spawn(move || stream.write_all(&rest).expect("write"));
    let mut socket = socket;
    assert!(
        next(&mut socket) == Message::binary(payload),
        "another message"
    );
    write.join().expect("the client has written all");
}

/// A request with the headers of a handshake and this origin.
fn from_origin(host: &str, origin: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
        generate_key()
    )
}

#[test]
fn pages_of_other_sites_and_other_names_are_refused() {
    let server = start();
    let own = server.http().to_string();
    for (host, origin) in [
        (&*own, "http://evil.example"),
        (&own, "null"),
        ("evil.example", "http://evil.example"),
    ] {
        let answer = ask(server.http(), from_origin(host, origin).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    }
    server.logs("refused a request from 127.0.0.1:");
    let mut stream = dial(server.http());
    let request = from_origin(&own, &format!("http://{own}"));
    stream.write_all(request.as_bytes()).expect("write");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 101");
}

#[test]
fn the_user_allows_sites_and_names() {
    let options = ["--origin", "app.example", "--host", "echo.example,other"];
    let server = Launch::new("echo", &[HTTP]).args(&options).start();
    for origin in ["https://app.example", "https://echo.example"] {
        let request = Request::builder()
            .uri(format!("ws://{}/", server.http()))
            .header("Host", "echo.example")
            .header("Origin", origin)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key());
        let request = request.body(()).expect("a request");
        client(request, dial(server.http())).expect("a handshake");
    }
}

#[test]
fn browsers_get_a_page() {
    let server = start();
    let answer = ask(server.http(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("; script-src 'sha256-"), "{answer}");
    assert!(answer.ends_with("</html>\n"), "{answer}");
    let answer = ask(server.http(), b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let answer = ask(server.http(), b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[test]
fn browsers_and_others_are_served_by_one_process_and_by_several_workers() {
    for workers in ["1", "2"] {
        let server = Launch::new("echo", &["127.0.0.1:0", HTTP]);
        let server = server.args(&["--workers", workers]).start();
        ping_and_end(&dial(server.tcp()), b"over TCP");
        let mut sockets: Vec<_> = (0..8).map(|_| connect(&server)).collect();
        for socket in &mut sockets {
            socket.send(Message::text("over HTTP")).expect("send");
        }
        for socket in &mut sockets {
            assert_eq!(next(socket), Message::text("over HTTP"));
        }
    }
}

#[test]
fn once_serves_one_browser() {
    let mut server = Launch::new("echo", &[HTTP]).args(&["--once"]).start();
    let mut socket = connect(&server);
    socket.send(Message::text("x")).expect("send");
    assert_eq!(next(&mut socket), Message::text("x"));
    socket.close(None).expect("close");
    assert!(matches!(next(&mut socket), Message::Close(_)));
    drop(socket);
    assert_eq!(server.exit_code(), 0);
}

/// Bytes that are no handshake, in pieces: the server answers each with a refusal, or not at all.
#[test]
fn noise_is_refused_and_harms_nobody_else() {
    let server = start();
    let mut socket = connect(&server);
    let mut random = Random::new(3);
    for round in 0..50 {
        let mut stream = dial(server.http());
        if round % 2 == 0 {
            stream = handshake(stream, server.http()).into_inner();
        }
        let noise = random.bytes(300);
        for piece in noise.chunks(50) {
            // The server may have refused it already.
            let _ = stream.write_all(piece);
        }
        drop(stream);
    }
    socket.send(Message::text("still here")).expect("send");
    assert_eq!(next(&mut socket), Message::text("still here"));
    server.stats_until("the others are gone", |stats| stats.get("connections") == 1);
}

#[test]
fn commands_that_do_not_fit_are_refused() {
    for (name, arguments) in [
        ("upper", &[HTTP][..]),
        ("sink", &[HTTP]),
        ("talk", &[HTTP]),
        ("echo", &["--model", "fork", HTTP]),
        ("echo", &["https://127.0.0.1:0"]),
        ("echo", &["http://127.0.0.1"]),
        ("echo", &[HTTP, "--origin", "a b"]),
        ("echo", &[HTTP, "--host", "a:80"]),
    ] {
        let finished = Launch::new(name, &[]).args(arguments).run();
        assert_eq!(finished.code, 2, "{name} {arguments:?}: {finished:?}");
    }
    let server = Launch::echo().start();
    let taken = format!("http://{}", server.tcp());
    let finished = Launch::new("echo", &[&taken]).run();
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.complaint().contains(&taken), "{finished:?}");
}

/// A client of a web listener counts before it has sent a request.
#[test]
fn max_per_ip_holds_for_browsers() {
    let server = Launch::new("echo", &[HTTP])
        .args(&["--max-per-ip", "2"])
        .start();
    let mut socket = connect(&server);
    let _silent = dial(server.http());
    let mut told = String::new();
    let mut refused = dial(server.http());
    refused.read_to_string(&mut told).expect("an answer");
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    socket.send(Message::text("still here")).expect("sent");
    assert_eq!(next(&mut socket), Message::text("still here"));
    assert_eq!(server.stats().get("refused_address"), 1);
}
