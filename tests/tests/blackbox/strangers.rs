//! Clients that speak another protocol, or speak very slowly, at every port in every model.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use tests::chat::assert_harmless;
use tests::client::{dial, ready};
use tests::process::cpu_time;
use tests::random::Random;
use tests::server::{Launch, Server};
use tests::{PATIENCE, until};

use super::{WAYS, Way, ends, launch, serves};

const HTTP: &[u8] =
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n";

/// A TLS 1.2 record with the beginning of a ClientHello (RFC 8446, section 4.1.2).
fn client_hello() -> Vec<u8> {
    let mut hello = vec![22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3];
    hello.extend(Random::new(1).bytes(250));
    hello
}

/// Everything that strangers send, by name.
fn greetings() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random::new(2);
    vec![
        ("nothing", Vec::new()),
        ("HTTP", HTTP.to_vec()),
        ("TLS", client_hello()),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        (
            "a proxy",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        ),
        ("redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        ("zeros", vec![0; 5_000]),
        ("255s", vec![255; 5_000]),
        ("newlines", vec![b'\n'; 5_000]),
        ("escapes", b"\x1b]0;owned\x07\x1b[2J\x9b5n\n".repeat(50)),
        ("noise", random.bytes(5_000)),
        ("long noise", random.bytes(300_000)),
    ]
}

/// Sends everything, ends the stream, and returns the whole reply; `None` if the server was done with
/// this client before it had read all.
fn reply(mut stream: &TcpStream, greeting: &[u8]) -> Option<Vec<u8>> {
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let sent = (&mut &*stream).write_all(greeting);
            sent.is_ok() && stream.shutdown(Shutdown::Write).is_ok()
        });
        let mut reply = Vec::new();
        let mut block = [0; 4096];
        let is_whole = loop {
            match stream.read(&mut block) {
                Ok(0) => break true,
                Ok(count) => reply.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break false,
                Err(error) => panic!("the server does not end the stream: {error}"),
            }
        };
        let is_sent = sender.join().expect("it sends");
        (is_whole && is_sent).then_some(reply)
    })
}

/// Checks the reply of a server of this kind.
fn check(name: &str, greeting: &[u8], reply: Option<Vec<u8>>, whom: &str) {
    match (name, reply) {
        ("echo", reply) => assert!(reply.as_deref() == Some(greeting), "{whom}"),
        ("upper", reply) => assert!(reply == Some(greeting.to_ascii_uppercase()), "{whom}"),
        ("sink", reply) => assert_eq!(reply, Some(Vec::new()), "{whom}"),
        ("chat", None) => {}
        ("chat", Some(mut reply)) => {
            // Answers to Telnet are no text.
            while let Some(at) = reply.iter().position(|&byte| byte == 255) {
                reply.drain(at..reply.len().min(at + 3));
            }
            let reply = String::from_utf8(reply).expect("a chat speaks UTF-8");
            assert!(
                reply.starts_with("Welcome! What is your name?\n"),
                "{whom}: {reply:?}"
            );
            reply.lines().for_each(assert_harmless);
        }
        _ => panic!("{name} is no server"),
    }
}

/// In every way to serve, all at once.
fn in_every_way(test: impl Fn(Way, Server) + Sync) {
    thread::scope(|scope| {
        for way in WAYS {
            let test = &test;
            scope.spawn(move || {
                // These clients cause many lines of the log, which no test reads.
                test(way, launch(way).args(&["-q"]).start());
            });
        }
    });
}

#[test]
fn other_protocols_are_bytes_like_all_others() {
    in_every_way(|way, server| {
        for (kind, greeting) in greetings() {
            let stream = dial(server.tcp());
            let reply = reply(&stream, &greeting);
            check(way.0, &greeting, reply, &format!("{kind} to {way:?}"));
        }
        serves(way.0, &server);
        if way.0 == "sink" {
            server.stdout().text().lines().for_each(assert_harmless);
        }
        ends(server);
    });
}

#[test]
fn a_terminal_is_not_confused_by_a_stranger_who_talks() {
    let server = Launch::new("talk", &["127.0.0.1:0"]).stdin(std::process::Stdio::piped());
    let mut server = server.start();
    let _keyboard = server.stdin();
    let stream = dial(server.tcp());
    for (_, greeting) in greetings() {
        (&stream).write_all(&greeting).expect("write");
    }
    (&stream).write_all(b"\nthe last words\n").expect("write");
    server.prints("the last words");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    ends(server);
}

/// Two hundred clients that send a byte now and then and never end a line keep no other client
/// waiting, and cost the server nothing while they are silent.
#[test]
fn two_hundred_clients_that_send_a_byte_now_and_then() {
    const CLIENTS: usize = 200;
    in_every_way(|way, mut server| {
        let mut slow: Vec<TcpStream> = (0..CLIENTS).map(|_| dial(server.tcp())).collect();
        for byte in b"GET / HTTP/1.1" {
            for stream in &mut slow {
                stream.write_all(&[*byte]).expect("the server is patient");
            }
            serves(way.0, &server);
        }
        let before = cpu_time(server.pid());
        assert_eq!(server.wait(std::time::Duration::from_secs(1)), None);
        let cost = cpu_time(server.pid()).saturating_sub(before);
        assert!(
            cost < std::time::Duration::from_millis(100),
            "{way:?}: {cost:?}"
        );
        serves(way.0, &server);
        drop(slow);
        server.stats_until("all have left", |stats| stats.get("connections") == 0);
        ends(server);
    });
}

/// A newcomer of a chat that sends a byte now and then is dismissed when its time for a name is over,
/// and a client of any server that is silent for longer than the idle timeout is closed.
#[test]
fn timeouts_end_slow_clients() {
    for (way, options) in [
        (("chat", &[][..]), ["--login-timeout", "1s"]),
        (("echo", &[][..]), ["--idle-timeout", "1s"]),
        (
            ("upper", &["--model", "fork"][..]),
            ["--idle-timeout", "1s"],
        ),
        (
            ("sink", &["--model", "thread"][..]),
            ["--idle-timeout", "1s"],
        ),
    ] {
        let server = launch(way).args(&options).start();
        let is_chat = way.0 == "chat";
        let mut slow: Vec<TcpStream> = (0..20).map(|_| dial(server.tcp())).collect();
        for stream in &mut slow {
            stream.write_all(b"x").expect("write");
        }
        until("all are closed", || {
            for stream in &mut slow {
                // The clients of a chat go on sending, which does not help them.
                let events = nix::poll::PollFlags::POLLIN;
                if is_chat && !ready(&*stream, events, 0) {
                    let _ = stream.write_all(b"x");
                }
            }
            server.stats().get("connections") == 0
        });
        for stream in &mut slow {
            stream
                .set_read_timeout(Some(PATIENCE))
                .expect("SO_RCVTIMEO");
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            let heard = String::from_utf8_lossy(&heard);
            let is_told = heard.contains("you gave no name in time");
            assert!(!is_chat || is_told, "{heard:?}");
        }
        serves(way.0, &server);
        ends(server);
    }
}
