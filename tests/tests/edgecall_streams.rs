//! `edgecall upper` and `edgecall send` transfer every byte over TCP and Unix sockets, and report a
//! server that ends too early or too late.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tests::MIB;
use tests::call::{Call, file_of};
use tests::client::{difference, expect, expect_end};
use tests::door::Door;
use tests::random::Random;
use tests::server::edgecall;

/// Answers in upper case as the bytes come, until the end of the stream.
fn shout(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).expect("read");
        if count == 0 {
            return;
        }
        bytes[..count].make_ascii_uppercase();
        stream.write_all(&bytes[..count]).expect("write");
    }
}

/// Reads once, answers, and closes: a minimal upper-case server.
fn shout_once(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes).expect("read");
    bytes[..count].make_ascii_uppercase();
    stream.write_all(&bytes[..count]).expect("write");
}

/// The output of `edgecall upper` for these words.
fn upper(words: &[&[u8]], serve: impl Fn(TcpStream), door: &Door) -> Vec<u8> {
    let mut command = Command::new(edgecall());
    command.args(["upper", "--addr", door.address()]);
    command.args(words.iter().map(|word| OsStr::from_bytes(word)));
    // With words, the client never reads stdin; reading a directory would fail.
    command
        .stdin(File::open("/").expect("a directory"))
        .stdout(Stdio::piped());
    let call = Call::spawn(command);
    serve(door.accept());
    call.prints()
}

#[test]
fn a_message_is_answered() {
    let cases: &[(&[&[u8]], &[u8])] = &[
        (&[b"hello, world"], b"HELLO, WORLD\n"),
        (&[b"hello,", b"world"], b"HELLO, WORLD\n"),
        (&[b"two ", b"", b"spaces"], b"TWO   SPACES\n"),
        (&[b"a line\n"], b"A LINE\n"),
        (
            &[b"stra\xc3\x9fe \xff\x80 \t"],
            b"STRA\xc3\x9fE \xff\x80 \t\n",
        ),
        (&[b"-", b"--", b"-v"], b"- -V\n"),
        (&[b""], b"\n"),
    ];
    for door in Door::each() {
        for (words, printed) in cases {
            assert_eq!(upper(words, shout, &door), *printed, "{words:?}");
            assert_eq!(upper(words, shout_once, &door), *printed, "{words:?}");
        }
    }
}

/// The message is sent without a newline.
#[test]
fn a_message_is_sent_as_it_is() {
    for door in Door::each() {
        let hears = |stream| expect_end(&stream, b"hello  world");
        assert_eq!(upper(&[b"hello ", b"world"], hears, &door), b"\n");
    }
}

/// The server may half-close before the client does, as long as it reads the whole message.
#[test]
fn a_server_that_half_closes_at_once_gets_the_message() {
    for door in Door::each() {
        let serve = |stream: TcpStream| {
            (&stream).write_all(b"any").expect("write");
            stream.shutdown(Shutdown::Write).expect("shutdown");
            expect_end(&stream, b"hello");
        };
        assert_eq!(upper(&[b"hello"], serve, &door), b"any\n");
    }
}

/// The server closes the connection while most of the message is still to come.
#[test]
fn a_message_that_is_not_read_to_its_end_is_a_failure() {
    for door in Door::each() {
        let word = "x".repeat(100_000);
        let mut arguments = vec!["upper", "--addr", door.address()];
        // The message is longer than the buffers on the way.
        arguments.extend([word.as_str(); 10]);
        let mut call = Call::start(&arguments, Stdio::null(), Stdio::piped());
        shout_once(door.accept());
        let mut printed = Vec::new();
        call.stdout().read_to_end(&mut printed).expect("read");
        call.fails("server closed the connection");
        assert!(printed.iter().all(|&byte| byte == b'X'), "{printed:?}");
    }
}

#[test]
fn without_a_message_input_is_streamed() {
    let data = Random::new(1).bytes(3 * MIB + 1);
    let expected = data.to_ascii_uppercase();
    for door in Door::each() {
        let arguments = ["upper", "--addr", door.address()];
        let call = Call::start(&arguments, file_of(&data), Stdio::piped());
        let printed = thread::scope(|scope| {
            scope.spawn(|| shout(door.accept()));
            call.prints()
        });
        assert!(printed == expected, "{}", difference(&printed, &expected));
    }
}

/// `send` half-closes at the end of its input, and ends once the server has closed its half.
#[test]
fn everything_is_sent_and_the_servers_end_awaited() {
    let data = Random::new(2).bytes(3 * MIB + 1);
    for door in Door::each() {
        for bytes in [&data[..], b"x", b""] {
            // `send` prints nothing, so a full stdout is no error.
            let full = File::options()
                .write(true)
                .open("/dev/full")
                .expect("/dev/full");
            let mut call = Call::start(&["send", door.address()], file_of(bytes), full);
            let mut stream = door.accept();
            stream.write_all(b"not asked for").expect("write");
            expect_end(&stream, bytes);
            assert!(!call.has_ended(Duration::from_millis(100)));
            stream.write_all(b"nor this").expect("write");
            drop(stream);
            call.succeeds();
        }
    }
}

#[test]
fn lines_are_sent_as_they_come() {
    for door in Door::each() {
        let mut call = Call::start(&["send", door.address()], Stdio::piped(), Stdio::null());
        let mut stdin = call.stdin();
        let stream = door.accept();
        for line in [&b"one\n"[..], b"\n", b"three"] {
            stdin.write_all(line).expect("write");
            expect(&stream, line);
        }
        drop(stdin);
        expect_end(&stream, b"");
        drop(stream);
        call.succeeds();
    }
}

/// Data from the server does not renew the timeout.
#[test]
fn a_server_that_does_not_end_is_a_failure() {
    for door in Door::each() {
        let arguments = ["send", door.address(), "--timeout", "300ms"];
        let call = Call::start(&arguments, file_of(b"hello"), Stdio::null());
        let stream = door.accept();
        expect_end(&stream, b"hello");
        let talking = thread::spawn(move || while (&stream).write_all(b"more and ").is_ok() {});
        call.fails(&format!(
            "{} did not end the connection in time",
            door.address()
        ));
        talking.join().expect("no panic");
    }
}

#[test]
fn a_server_that_goes_first_is_a_failure() {
    for door in Door::each() {
        let mut call = Call::start(&["send", door.address()], Stdio::piped(), Stdio::null());
        let stdin = call.stdin();
        drop(door.accept());
        call.fails("server closed the connection");
        drop(stdin);
    }
}

/// A slow server gets every byte, and the client reads no more input than it can send.
#[test]
fn a_slow_server_gets_everything() {
    let data = Random::new(3).bytes(20 * MIB);
    for door in Door::each() {
        let call = Call::start(&["send", door.address()], file_of(&data), Stdio::null());
        let stream = door.accept();
        expect(&stream, &data[..1000]);
        let memory = tests::process::resident_bytes(call.pid());
        assert!(memory < 16 * MIB, "{memory} bytes in memory");
        expect_end(&stream, &data[1000..]);
        drop(stream);
        call.succeeds();
    }
}
