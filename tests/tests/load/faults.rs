//! The generator detects each fault of a server, and names it.

use tests::door::{ClosedDoor, closed_udp_door};

use crate::faulty::{self, Faulty, SIZE};
use crate::run::{load, number};

#[test]
fn faults_of_streams_are_found() {
    type Treatment = fn(std::net::TcpStream);
    let mismatches: [(Treatment, &str); 5] = [
        (faulty::swaps_bytes, "garbled"),
        (faulty::drops_a_byte, "garbled"),
        (faulty::duplicates, "repeated"),
        (faulty::drops, "skipped"),
        (faulty::talks_on, "unasked"),
    ];
    for (treat, kind) in mismatches {
        let server = Faulty::start(treat);
        let words = [
            &server.address(),
            "-c",
            "3",
            "--depth",
            "2",
            "-s",
            &SIZE.to_string(),
        ];
        let json = load(&words).bad();
        assert_eq!(json["mismatches"], 3, "{kind}: {json}");
        assert_eq!(
            json["mismatch_kinds"],
            serde_json::json!({kind: 3}),
            "{json}"
        );
    }
}

#[test]
fn faults_of_servers_are_found() {
    type Treatment = fn(std::net::TcpStream);
    let errors: [(Treatment, &str, &str); 5] = [
        (faulty::closes_early, "echo", "closed early: end of file"),
        (faulty::never_answers, "echo", "no answer in time"),
        (faulty::never_answers, "connect", "no answer in time"),
        (faulty::reads_little, "sink", "closed early: reset by peer"),
        (faulty::silent_chat, "chat", "no answer in time"),
    ];
    for (treat, kind, error) in errors {
        let server = Faulty::start(treat);
        let words = [
            "--kind",
            kind,
            &server.address(),
            "-c",
            "2",
            "--timeout",
            "1s",
        ];
        let json = load(&words).bad();
        assert!(json["errors"][error].as_u64() > Some(0), "{error}: {json}");
        assert_eq!(
            json["errors"].as_object().expect("an object").len(),
            1,
            "{json}"
        );
        assert_eq!(json["mismatches"], 0, "{json}");
    }
}

#[test]
fn a_stream_that_does_not_end_is_an_error() {
    let server = Faulty::without_end(faulty::right);
    let size = SIZE.to_string();
    let words = [&server.address(), "-c", "2", "-s", &size, "--timeout", "1s"];
    let json = load(&words).bad();
    let expected = serde_json::json!({"no end of the stream in time": 2});
    assert_eq!(json["errors"], expected);
}

#[test]
fn a_chat_that_refuses_every_name() {
    let server = Faulty::start(faulty::picky_chat);
    let run = load(&["--kind", "chat", &server.address()]);
    let at = server.address();
    let expected =
        format!("edgecall: cannot reach tcp://{at}: not let into the chat: this name is taken\n");
    assert_eq!((run.code, run.stderr), (Some(1), expected));
}

#[test]
fn datagrams_that_are_lost_are_errors() {
    let (socket, address) = tests::door::udp_door();
    let listener = std::thread::spawn(move || {
        // One datagram of ten gets no reply.
        let mut bytes = [0; 100];
        for number in 0..20 {
            let (count, from) = socket.recv_from(&mut bytes).expect("a datagram");
            if number % 10 != 9 {
                socket.send_to(&bytes[..count], from).expect("sendto");
            }
        }
    });
    let words = [
        &address,
        "-c",
        "1",
        "--timeout",
        "100ms",
        "--duration",
        "1s",
    ];
    let json = load(&words).bad();
    listener.join().expect("it does not panic");
    // The datagrams after the listener's end are refused.
    assert!(number(&json, "/messages") <= 18.0, "{json}");
    assert!(number(&json, "/errors/no answer in time") >= 1.0, "{json}");
}

#[test]
fn no_server_listens() {
    let closed = ClosedDoor::new();
    let address = closed.at().to_string();
    for kind in ["echo", "chat", "sink"] {
        let run = load(&["--kind", kind, &address]);
        let expected = format!("edgecall: cannot reach tcp://{address}: Connection refused\n");
        assert_eq!(
            (run.code, run.stderr.as_str()),
            (Some(1), expected.as_str())
        );
        assert_eq!(run.json()["messages"], 0);
    }
    let json = load(&["--kind", "connect", &address]).bad();
    assert_eq!(json["errors"]["connect: Connection refused"], 64);
    let (_closed, address) = closed_udp_door();
    let json = load(&[&address, "-c", "3"]).bad();
    assert_eq!(json["errors"]["refused: Connection refused"], 3);
}
