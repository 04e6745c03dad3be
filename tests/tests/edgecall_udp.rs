//! `edgecall` over UDP sends a datagram for each line, repeats lost ones, and matches each reply
//! with its line.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use tests::call::{Call, content, file_of};
use tests::client::{difference, expect, expect_end};
use tests::door::{closed_udp_door, udp_door};
use tests::program;
use tests::random::Random;
use tests::server::{Launch, edgecall};
use tests::strace::Trace;
use tests::{LowerOnDrop, until};

/// Bytes of the longest datagram.
const LONGEST: usize = 65_507;

/// The next datagram and its sender.
fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; LONGEST + 1];
    let (count, from) = socket.recv_from(&mut bytes).expect("a datagram");
    bytes.truncate(count);
    (bytes, from)
}

/// Lines of words, some of them empty, many of them alike.
fn short_lines(count: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    let words = ["", "one", "two", "three", "ONE", "\0\x1b\u{fe}"];
    let mut lines = Vec::new();
    for _ in 0..count {
        lines.extend_from_slice(words[random.below(words.len())].as_bytes());
        lines.push(b'\n');
    }
    lines
}

#[test]
fn each_line_is_echoed() {
    let server = Launch::new("echo", &["udp://127.0.0.1:0"]).start();
    let address = format!("udp://{}", server.udp());
    let long = [Random::new(2).bytes(LONGEST), b"\n".to_vec()].concat();
    // The random bytes must not contain a line end.
    let long: Vec<u8> = long[..LONGEST]
        .iter()
        .map(|&byte| {
            if matches!(byte, b'\n' | b'\r') {
                b'.'
            } else {
                byte
            }
        })
        .chain([b'\n'])
        .collect();
    for lines in [&short_lines(3000)[..], &long.repeat(3), b"\n\n\n", b""] {
        let output = tempfile::tempfile().expect("a temporary file");
        let copy = output.try_clone().expect("dup");
        Call::echo(&[&address], file_of(lines), copy).succeeds();
        let printed = content(&output);
        assert!(printed == lines, "{}", difference(&printed, lines));
    }
    let unfinished = Call::echo(&[&address], file_of(b"no newline"), Stdio::piped());
    assert_eq!(unfinished.prints(), b"no newline\n");
}

#[test]
fn a_conversation() {
    let server = Launch::new("echo", &["udp://127.0.0.1:0"]).start();
    let address = format!("udp://{}", server.udp());
    let mut call = Call::echo(&[&address], Stdio::piped(), Stdio::piped());
    let (mut stdin, mut stdout) = (call.stdin(), call.stdout());
    for line in [&b"one\n"[..], b"\n", b"three\n"] {
        stdin.write_all(line).expect("write");
        expect(&mut stdout, line);
    }
    drop(stdin);
    expect_end(stdout, b"");
    call.succeeds();
}

#[test]
fn a_message_is_one_datagram() {
    for (words, message, answer, printed) in [
        (
            &["hello,", "world"][..],
            &b"hello, world"[..],
            &b"HELLO, WORLD"[..],
            &b"HELLO, WORLD\n"[..],
        ),
        (&["a line\n"], b"a line\n", b"A LINE\n", b"A LINE\n"),
        (&[""], b"", b"", b"\n"),
    ] {
        let (server, address) = udp_door();
        let arguments = [&["upper", "--addr", &address], words].concat();
        let call = Call::start(&arguments, Stdio::null(), Stdio::piped());
        let (question, client) = receive(&server);
        assert_eq!(question, message);
        server.send_to(answer, client).expect("send");
        assert_eq!(call.prints(), printed);
    }
}

#[test]
fn without_a_message_each_line_is_turned_to_upper_case() {
    let (server, address) = udp_door();
    let lines = b"stra\xc3\x9fe\n\nlast";
    let arguments = ["upper", "--addr", &address];
    let call = Call::start(&arguments, file_of(lines), Stdio::piped());
    for line in [&b"stra\xc3\x9fe"[..], b"", b"last"] {
        let (question, client) = receive(&server);
        assert_eq!(question, line);
        server
            .send_to(&question.to_ascii_uppercase(), client)
            .expect("send");
    }
    assert_eq!(call.prints(), b"STRA\xc3\x9fE\n\nLAST\n");
}

/// Starts a server that calls `answer` for each datagram, to imitate a bad network. It runs until
/// the flag is cleared. Returns its address.
fn serve<'scope>(
    scope: &'scope Scope<'scope, '_>,
    running: &'scope AtomicBool,
    mut answer: impl FnMut(&UdpSocket, &[u8], SocketAddr) + Send + 'scope,
) -> String {
    let (server, address) = udp_door();
    server
        .set_read_timeout(Some(Duration::from_millis(10)))
        .expect("SO_RCVTIMEO");
    scope.spawn(move || {
        let mut bytes = vec![0; LONGEST];
        while running.load(Ordering::Relaxed) {
            if let Ok((count, from)) = server.recv_from(&mut bytes) {
                answer(&server, &bytes[..count], from);
            }
        }
    });
    address
}

/// The number before `words` in the log of `-v`.
fn told(line: &str, words: &str) -> u64 {
    let (before, _) = line
        .split_once(words)
        .unwrap_or_else(|| panic!("no {words} in {line}"));
    let number = before.split_whitespace().next_back().expect("a number");
    number.parse().expect("a number")
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        let _end = LowerOnDrop(&running);
        let mut seen = 0;
        let address = serve(scope, &running, move |server, bytes, from| {
            seen += 1;
            if seen % 2 == 0 {
                server.send_to(bytes, from).expect("send");
            }
        });
        let lines = short_lines(20);
        let arguments = [&address, "--timeout", "20ms", "--retry", "1000", "-v"];
        let mut call = Call::echo(&arguments, file_of(&lines), Stdio::piped());
        expect_end(call.stdout(), &lines);
        let (code, log) = call.finish();
        assert_eq!(code, Some(0), "{log}");
        let again = told(&log, " of them again");
        assert!(again >= 20, "{log}");
        assert_eq!(told(&log, " sent,"), 20 + again, "{log}");
    });
}

/// Each reply comes twice, in time and late; some come only late.
#[test]
fn a_late_or_repeated_reply_is_not_taken_for_the_next_one() {
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        let _end = LowerOnDrop(&running);
        let mut seen = 0;
        let mut late: Vec<Vec<u8>> = Vec::new();
        let address = serve(scope, &running, move |server, bytes, from| {
            seen += 1;
            // The late replies come first, so that the client receives them first.
            for answer in late.drain(..) {
                server.send_to(&answer, from).expect("send");
            }
            if seen % 3 != 0 {
                server.send_to(bytes, from).expect("send");
            }
            late.push(bytes.to_vec());
        });
        let lines: String = (0..60)
            .flat_map(|number| [number.to_string(), "\n".into()])
            .collect();
        let arguments = [&address, "--timeout", "50ms", "--retry", "1000", "-v"];
        let mut call = Call::echo(&arguments, file_of(lines.as_bytes()), Stdio::piped());
        expect_end(call.stdout(), lines.as_bytes());
        let (code, log) = call.finish();
        assert_eq!(code, Some(0), "{log}");
        assert!(told(&log, " of them late") >= 40, "{log}");
    });
}

#[test]
fn a_server_that_is_silent_is_a_failure() {
    let (server, address) = udp_door();
    let arguments = [&address, "--timeout", "100ms", "--retry", "3"];
    let before = Instant::now();
    let call = Call::echo(&arguments, file_of(b"hello\nnever\n"), Stdio::null());
    call.fails(&format!("no answer from {address} in time"));
    assert!(before.elapsed() >= Duration::from_millis(400));
    for _ in 0..4 {
        assert_eq!(receive(&server).0, b"hello");
    }
    server.set_nonblocking(true).expect("O_NONBLOCK");
    assert!(server.recv(&mut [0; 10]).is_err(), "sent once more");
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    let (_taken, address) = closed_udp_door();
    let refused = format!("cannot reach {address}: Connection refused");
    for arguments in [
        &["echo", &address, "--retry", "0"][..],
        &["echo", &address, "--retry", "1", "--timeout", "0"],
        &[
            "upper",
            "--addr",
            &address,
            "--retry",
            "0",
            "--timeout",
            "1h",
        ],
        &[
            "upper",
            "--addr",
            &address,
            "--retry",
            "2",
            "--timeout",
            "10ms",
            "hello",
        ],
        &["send", &address],
    ] {
        let call = Call::start(arguments, file_of(b"hello\n"), Stdio::null());
        call.fails(&refused);
    }
    // Without a datagram to send, there is no error.
    Call::echo(&[&address], Stdio::null(), Stdio::null()).succeeds();
    // The client does not wait for the end of stdin.
    let mut call = Call::start(&["send", &address], Stdio::piped(), Stdio::null());
    let mut stdin = call.stdin();
    stdin.write_all(b"hello\n").expect("write");
    call.fails(&refused);
    drop(stdin);
}

#[test]
fn a_line_that_is_too_long_is_a_failure() {
    for client in ["echo", "send"] {
        let (server, address) = udp_door();
        let input = format!("short\n{}\nnever\n", "x".repeat(LONGEST + 1));
        let call = Call::start(
            &[client, &address],
            file_of(input.as_bytes()),
            Stdio::null(),
        );
        let (line, from) = receive(&server);
        assert_eq!(line, b"short");
        server.send_to(b"short", from).expect("send");
        call.fails("a line of standard input is longer than a datagram can be: 65507 bytes");
        server.set_nonblocking(true).expect("O_NONBLOCK");
        assert!(server.recv(&mut [0; 10]).is_err(), "more was sent");
    }
}

/// The client gives up as soon as the line is too long, so an endless line needs no more memory.
#[test]
fn a_line_without_end_is_a_failure_at_once() {
    let (_server, address) = udp_door();
    let zeros = File::open("/dev/zero").expect("/dev/zero");
    let call = Call::start(&["send", &address], zeros, Stdio::null());
    call.fails("a line of standard input is longer than a datagram can be: 65507 bytes");
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let server = Launch::new("echo", &["udp://127.0.0.1:0"]).start();
    let address = format!("udp://{}", server.udp());
    let mut call = Call::echo(&[&address], Stdio::piped(), Stdio::piped());
    let mut stdin = call.stdin();
    stdin.write_all(b"line\n").expect("write");
    expect(call.stdout(), b"line\n");
    call.succeeds();
    drop(stdin);
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let server = Launch::new("echo", &["udp://127.0.0.1:0"]).start();
    let address = format!("udp://{}", server.udp());
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let call = Call::echo(&[&address], file_of(b"hello\n"), full);
    call.fails("cannot write the answer: No space left on device");
}

/// `send` does not wait for replies: the datagrams lie in the receiver's buffer, however late it
/// reads.
#[test]
fn lines_are_sent_and_nothing_awaited() {
    let (server, address) = udp_door();
    let lines = short_lines(100);
    let call = Call::start(&["send", &address, "-v"], file_of(&lines), Stdio::null());
    let (code, log) = call.finish();
    let bytes = lines.len() - 100;
    assert_eq!(code, Some(0), "{log}");
    let at = server.local_addr().expect("getsockname");
    let expected = format!(
        "datagrams go to {address} ({at})\nsent {bytes} bytes, received 0 bytes; \
         datagrams: 100 sent, 0 of them again; 0 received, 0 of them late\n"
    );
    assert_eq!(log, expected);
    let mut received = Vec::new();
    for _ in 0..100 {
        received.extend(receive(&server).0);
        received.push(b'\n');
    }
    assert!(received == lines, "{}", difference(&received, &lines));
}

/// `edgecall send` with injected faults of `sendto`.
fn send_with_faults(trace: &Trace, faults: &str, arguments: &[&str], lines: &[u8]) -> Call {
    let inject = format!("inject=sendto:{faults}");
    let wrapper = trace.wrapper(&["-e", "trace=sendto", "-e", &inject]);
    let mut command = program::command(&wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(edgecall())
        .arg("send")
        .args(arguments);
    command.stdin(file_of(lines)).stdout(Stdio::null());
    Call::spawn(command)
}

#[test]
fn a_datagram_without_room_in_the_kernel_is_sent_later() {
    for errno in ["EAGAIN", "ENOBUFS"] {
        let (server, address) = udp_door();
        let trace = Trace::new();
        let lines: String = (0..100)
            .flat_map(|number| [number.to_string(), "\n".into()])
            .collect();
        let faults = format!("error={errno}:when=1+2");
        send_with_faults(&trace, &faults, &[&address], lines.as_bytes()).succeeds();
        let mut received: Vec<u32> = (0..100)
            .map(|_| {
                String::from_utf8(receive(&server).0)
                    .expect("a number")
                    .parse()
                    .expect("a number")
            })
            .collect();
        received.sort_unstable();
        assert!(received.into_iter().eq(0..100));
        until("the faults have happened", || trace.injected() >= 100);
    }
}

#[test]
fn a_kernel_that_never_has_room_is_a_failure() {
    let (_server, address) = udp_door();
    let trace = Trace::new();
    let arguments = [&address, "--timeout", "100ms"];
    let call = send_with_faults(&trace, "error=ENOBUFS", &arguments, b"hello\n");
    call.fails(&format!("cannot send to {address}: no room in time"));
}

#[test]
fn any_other_fault_is_told() {
    let (_server, address) = udp_door();
    let trace = Trace::new();
    let call = send_with_faults(&trace, "error=EPERM", &[&address], b"hello\n");
    call.fails(&format!("cannot reach {address}: Operation not permitted"));
}
