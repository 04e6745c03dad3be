//! Loads over WebSocket: on our echo, and on servers that another implementation of WebSocket frames for.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tests::server::Launch;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Message, WebSocket, accept};

use crate::faulty::{Faulty, SIZE};
use crate::run::{load, number};

const HTTP: &str = "http://127.0.0.1:0";

type Socket = WebSocket<TcpStream>;

fn address(server: &Faulty) -> String {
    format!("ws://{}", server.address())
}

#[test]
fn echoes() {
    let server = Launch::new("echo", &[HTTP]).args(&["--quiet"]).start();
    let address = format!("ws://{}", server.http());
    for (size, depth, threads) in [
        ("1", "1", "1"),
        ("125", "3", "3"),
        ("126", "100", "2"),
        ("70000", "2", "1"),
        ("1MiB", "2", "2"),
    ] {
        let words = [
            &address, "-c", "5", "-s", size, "--depth", depth, "-t", threads, "-d", "1s",
        ];
        let json = load(&words).good();
        assert_eq!(json["options"]["address"], format!("{address}/"));
        let bytes = number(&json, "/messages") * number(&json, "/options/size");
        assert!((number(&json, "/bytes_received") - bytes).abs() < 1e-6 * bytes);
    }
    // Every connection has ended with a close frame of both sides.
    let stats = server.stats_until("all connections are closed", |stats| {
        stats.get("connections") == 0
    });
    assert_eq!((stats.get("accepted"), stats.get("closed_reset")), (25, 0));
    let planned = load(&[&address, "-c", "7", "--rate", "500", "-t", "3"]).good();
    let expected = 500.0 * number(&planned, "/elapsed_s");
    let counted = number(&planned, "/latency_us/count");
    assert!((counted - expected).abs() <= 10.0, "{planned}");
}

/// One room has members of both kinds at a time: each run hears its own members.
#[test]
fn browsers_and_others_in_one_room() {
    let server = Launch::new("chat", &[HTTP, "127.0.0.1:0"])
        .args(&["--rate", "0", "--quiet"])
        .start();
    let (web, tcp) = (format!("ws://{}", server.http()), server.tcp().to_string());
    let run = |address: &str| {
        let words = [
            "--kind",
            "chat",
            address,
            "-c",
            "20",
            "--talkers",
            "5",
            "-d",
            "1s",
        ];
        let json = load(&[&words[..], &["--depth", "2", "-t", "2"]].concat()).good();
        let lines = json["messages"].as_u64().expect("a number");
        assert_eq!(json["delivered"], lines * 19, "{json}");
    };
    std::thread::scope(|scope| {
        let others = scope.spawn(|| run(&tcp));
        run(&web);
        others.join().expect("a load of TCP");
    });
    let stats = server.stats_until("all connections are closed", |stats| {
        stats.get("connections") == 0
    });
    // Members over TCP leave with a reset, those over WebSocket in good order.
    let ends = ["accepted", "closed_finished", "closed_reset"].map(|name| stats.get(name));
    assert_eq!(ends, [40, 20, 20]);
}

#[test]
fn a_chat_framed_by_others() {
    let server = Faulty::start(room);
    for (talkers, depth, threads) in [("1", "1", "1"), ("5", "3", "2")] {
        let address = address(&server);
        let words = ["--kind", "chat", &address, "-c", "10", "--talkers", talkers];
        let json = load(&[&words[..], &["--depth", depth, "-t", threads]].concat()).good();
        assert_eq!(json["connected"], 10);
        assert_eq!(json["options"]["address"], format!("{address}/room"));
        let lines = json["messages"].as_u64().expect("a number");
        assert_eq!(json["delivered"], lines * 9, "{json}");
    }
}

#[test]
fn pings_are_answered() {
    let server = Faulty::start(|stream| {
        let mut socket = accept(stream).expect("a handshake");
        while let Some(message) = next(&mut socket) {
            for answer in [Message::Ping("1".into()), message] {
                socket.send(answer).expect("send");
            }
            let pong = socket.read().expect("a pong");
            assert_eq!(pong, Message::Pong("1".into()));
        }
    });
    load(&[&address(&server), "-c", "2"]).good();
}

#[test]
fn faults_are_found() {
    type Treatment = fn(TcpStream);
    let faults: [(Treatment, &str, &str); 4] = [
        (
            |stream| echo(stream, |text| text.to_uppercase()),
            "/mismatch_kinds",
            "garbled",
        ),
        (
            |stream| echo(stream, |text| text + "\n"),
            "/mismatch_kinds",
            "unasked",
        ),
        (closes, "/errors", "closed by the server with code 1011"),
        (hangs_up, "/errors", "closed early: end of file"),
    ];
    for (treat, place, what) in faults {
        let server = Faulty::start(treat);
        let json = load(&[&address(&server), "-c", "2", "-s", &SIZE.to_string()]).bad();
        let expected = serde_json::json!({what: 2});
        assert_eq!(json.pointer(place), Some(&expected), "{json}");
    }
}

#[test]
fn a_refused_handshake_is_told_in_one_line() {
    let echo = Launch::new("echo", &[HTTP, "127.0.0.1:0"])
        .args(&["--quiet"])
        .start();
    let forbids = Faulty::start(forbids);
    for (address, why) in [
        (address(&forbids) + "/", "403 Forbidden"),
        (
            format!("ws://{}/", echo.tcp()),
            "this is no server of HTTP/1.1",
        ),
    ] {
        for kind in ["echo", "chat"] {
            let run = load(&["--kind", kind, &address, "--timeout", "5s"]);
            let expected = format!("edgecall: cannot reach {address}: handshake: {why}\n");
            assert_eq!((run.code, run.stderr), (Some(1), expected));
        }
    }
}

/// The next text message; `None` at a close frame, which is answered.
fn next(socket: &mut Socket) -> Option<Message> {
    match socket.read().expect("a message") {
        text @ Message::Text(_) => Some(text),
        Message::Close(Some(frame)) => {
            assert_eq!(frame.code, CloseCode::Normal);
            // The reply is sent with the next look at the socket.
            assert!(socket.read().is_err());
            None
        }
        other => panic!("{other:?}"),
    }
}

/// Answers each message with the result of `change`, until the load is gone.
fn echo(stream: TcpStream, change: fn(String) -> String) {
    let mut socket = accept(stream).expect("a handshake");
    while let Ok(Message::Text(text)) = socket.read() {
        let _ = socket.send(change(text.to_string()).into());
    }
}

/// Closes the WebSocket after some messages.
fn closes(stream: TcpStream) {
    let mut socket = accept(stream).expect("a handshake");
    for _ in 0..5 {
        let message = next(&mut socket).expect("a message");
        socket.send(message).expect("send");
    }
    let _ = next(&mut socket);
    let (code, reason) = (CloseCode::Error, "out of order".into());
    let _ = socket.close(Some(CloseFrame { code, reason }));
    let _ = socket.flush();
    while socket.read().is_ok() {}
}

/// Ends the stream without a close frame.
fn hangs_up(stream: TcpStream) {
    let mut socket = accept(stream).expect("a handshake");
    let _ = next(&mut socket);
}

/// Refuses the handshake.
fn forbids(mut stream: TcpStream) {
    let mut request = [0; 4096];
    if stream.read(&mut request).is_ok_and(|count| count > 0) {
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno\n");
    }
}

/// The members of the room: the name of each, and the way to it.
static ROOM: Mutex<Vec<(String, Socket)>> = Mutex::new(Vec::new());

fn members() -> MutexGuard<'static, Vec<(String, Socket)>> {
    ROOM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A member of a chat.
fn room(stream: TcpStream) {
    let Ok(clone) = stream.try_clone() else {
        return;
    };
    // The connection that ends the server speaks no HTTP.
    let Ok(mut socket) = accept(stream) else {
        return;
    };
    socket.send("Who are you?".into()).expect("send");
    let name = next(&mut socket).expect("a name").to_string();
    {
        let mut members = members();
        let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        let list = format!("* The room contains: {}", names.join(", "));
        socket.send(list.into()).expect("send");
        tell(&mut members, &format!("* {name} has entered the room"));
        let sender = WebSocket::from_raw_socket(clone, Role::Server, None);
        members.push((name.clone(), sender));
    }
    while let Ok(Message::Text(line)) = socket.read() {
        let others = |(other, _): &&mut (String, Socket)| *other != name;
        let line = format!("[{name}] {line}");
        let mut members = members();
        for (_, other) in members.iter_mut().filter(others) {
            let _ = other.send(line.clone().into());
        }
    }
    let mut members = members();
    members.retain(|(other, _)| *other != name);
    // The reply to the close frame.
    let _ = socket.flush();
    tell(&mut members, &format!("* {name} has left the room"));
}

fn tell(members: &mut [(String, Socket)], line: &str) {
    for (_, member) in members {
        let _ = member.send(line.to_owned().into());
    }
}
