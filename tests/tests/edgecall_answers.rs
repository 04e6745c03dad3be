//! `edgecall echo` and `upper` against servers with wrong answers: longer than the question, or so
//! slow that they never complete. Each is a failure with one line and status 1, not endless output.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tests::call::{Call, file_of};
use tests::client::{expect, expect_end};
use tests::door::{Door, udp_door};
use tests::process::wait_for_exit;
use tests::server::edgecall;
use tests::terminal::Terminal;

/// The two clients that expect an answer, up to their address.
const CLIENTS: [&[&str]; 2] = [&["echo"], &["upper", "--addr"]];

fn longer(address: &str, answer: usize, question: usize) -> String {
    format!("the answer from {address} is longer than the question: {answer} bytes for {question}")
}

/// Waits for a failure for this reason, and returns the output before it.
fn fails_after_printing(mut call: Call, reason: &str) -> Vec<u8> {
    let mut printed = Vec::new();
    call.stdout().read_to_end(&mut printed).expect("a pipe");
    call.fails(reason);
    printed
}

#[test]
fn an_answer_with_a_byte_too_many() {
    for door in Door::each() {
        let address = door.address();
        for client in CLIENTS {
            let arguments = [client, &[address]].concat();
            let call = Call::start(&arguments, file_of(b"hello"), Stdio::piped());
            let mut stream = door.accept();
            expect_end(&stream, b"hello");
            stream.write_all(b"HELLO\n").expect("write");
            assert_eq!(fails_after_printing(call, &longer(address, 6, 5)), b"HELLO");
        }
        let arguments = ["upper", "--addr", address, "hello"];
        let call = Call::start(&arguments, Stdio::null(), Stdio::piped());
        let mut stream = door.accept();
        expect_end(&stream, b"hello");
        stream.write_all(b"HELLO!").expect("write");
        assert_eq!(fails_after_printing(call, &longer(address, 6, 5)), b"HELLO");
    }
}

/// While stdin is open, the question is the input that was sent so far.
#[test]
fn an_answer_to_a_question_not_asked_yet() {
    for door in Door::each() {
        for client in CLIENTS {
            let arguments = [client, &[door.address()]].concat();
            let mut call = Call::start(&arguments, Stdio::piped(), Stdio::piped());
            let mut stdin = call.stdin();
            let mut stream = door.accept();
            for _ in 0..3 {
                stdin.write_all(b"two").expect("write");
                expect(&stream, b"two");
                stream.write_all(b"two").expect("write");
            }
            stream.write_all(b"!").expect("write");
            let reason = longer(door.address(), 10, 9);
            assert_eq!(fails_after_printing(call, &reason), b"twotwotwo");
            drop(stdin);
        }
    }
}

/// A server of another kind may greet its clients.
#[test]
fn a_greeting() {
    for door in Door::each() {
        let mut call = Call::echo(&[door.address()], Stdio::piped(), Stdio::piped());
        let stdin = call.stdin();
        door.accept().write_all(b"welcome\n").expect("write");
        let reason = longer(door.address(), 8, 0);
        assert_eq!(fails_after_printing(call, &reason), b"");
        drop(stdin);
    }
}

/// Sends bytes until the client closes the connection.
fn flood(mut stream: TcpStream) {
    while stream.write_all(&[b'x'; 4096]).is_ok() {}
}

#[test]
fn an_answer_without_end() {
    for door in Door::each() {
        let mut call = Call::echo(&[door.address()], file_of(b"hello"), Stdio::piped());
        let stream = door.accept();
        expect_end(&stream, b"hello");
        let flooding = thread::spawn(|| flood(stream));
        expect_end(call.stdout(), b"xxxxx");
        let (code, told) = call.finish();
        assert_eq!(code, Some(1));
        let start = format!(
            "edgecall: the answer from {} is longer than the question: ",
            door.address()
        );
        assert!(
            told.starts_with(&start) && told.lines().count() == 1,
            "{told}"
        );
        flooding.join().expect("no panic");
    }
}

/// The user sees the reason, and the terminal's mode is restored.
#[test]
fn an_answer_without_end_at_a_terminal() {
    let door = Door::tcp();
    let mut terminal = Terminal::new();
    let mode = terminal.mode();
    let mut command = Command::new(edgecall());
    command.args(["echo", door.address()]);
    command.stdin(terminal.line()).stdout(terminal.line());
    let mut child = command
        .stderr(terminal.line())
        .spawn()
        .expect("edgecall can be started");
    // `Command` keeps the terminal open.
    drop(command);
    let stream = door.accept();
    terminal.type_in("hello\n");
    expect(&stream, b"hello\n");
    let flooding = thread::spawn(|| flood(stream));
    let status = wait_for_exit(&mut child, tests::PATIENCE).expect("edgecall ends");
    assert_eq!(status.code(), Some(1));
    flooding.join().expect("no panic");
    assert_eq!(terminal.mode(), mode);
    let shown = terminal.finish();
    assert!(shown.starts_with("xxxxxx"), "{shown}");
    assert!(shown.contains("is longer than the question"), "{shown}");
}

/// A byte now and then does not renew the timeout, which is for the whole answer.
#[test]
fn an_answer_that_drips() {
    let question = vec![b'x'; 20_000];
    for door in Door::each() {
        for client in CLIENTS {
            let arguments = [client, &[door.address(), "--timeout", "300ms"]].concat();
            let mut call = Call::start(&arguments, file_of(&question), Stdio::piped());
            let mut stream = door.accept();
            expect_end(&stream, &question);
            let dripping = thread::spawn(move || {
                while stream.write_all(b"X").is_ok() {
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let mut printed = Vec::new();
            call.stdout().read_to_end(&mut printed).expect("a pipe");
            let reason = format!(
                "the answer from {} is too slow: {} of 20000 bytes in time",
                door.address(),
                printed.len()
            );
            call.fails(&reason);
            dripping.join().expect("no panic");
        }
    }
}

/// The answer is complete, but the stream does not end.
#[test]
fn an_answer_that_does_not_end() {
    for door in Door::each() {
        let arguments = [
            "upper",
            "--addr",
            door.address(),
            "--timeout",
            "300ms",
            "hello",
        ];
        let call = Call::start(&arguments, Stdio::null(), Stdio::piped());
        let mut stream = door.accept();
        expect_end(&stream, b"hello");
        stream.write_all(b"HELLO").expect("write");
        let reason = format!("{} did not end the connection in time", door.address());
        assert_eq!(fails_after_printing(call, &reason), b"HELLO");
    }
}

/// On a slow link the answer may take longer than the timeout, as long as it makes progress.
#[test]
fn a_long_answer_may_take_longer_than_the_timeout() {
    let door = Door::tcp();
    let question = vec![b'x'; 300_000];
    let arguments = [door.address(), "--timeout", "3s"];
    let mut call = Call::echo(&arguments, file_of(&question), Stdio::piped());
    let mut stream = door.accept();
    expect_end(&stream, &question);
    let answering = thread::spawn(move || {
        for part in question.chunks(3000) {
            thread::sleep(Duration::from_millis(40));
            stream.write_all(part).expect("write");
        }
        stream.shutdown(Shutdown::Write).expect("shutdown");
        question
    });
    let mut printed = Vec::new();
    call.stdout().read_to_end(&mut printed).expect("a pipe");
    assert!(printed == answering.join().expect("no panic"));
    call.succeeds();
}

#[test]
fn a_datagram_that_is_longer_than_its_question() {
    for client in CLIENTS {
        for (input, question) in [(&b"hello\nnever\n"[..], &b"hello"[..]), (b"\n", b"")] {
            let (server, address) = udp_door();
            let arguments = [client, &[address.as_str()]].concat();
            let call = Call::start(&arguments, file_of(input), Stdio::piped());
            let mut bytes = [0; 100];
            let (count, from) = server.recv_from(&mut bytes).expect("a datagram");
            assert_eq!(&bytes[..count], question);
            server.send_to(b"HELLO!", from).expect("send");
            let reason = longer(&address, 6, question.len());
            assert_eq!(fails_after_printing(call, &reason), b"");
        }
    }
}
