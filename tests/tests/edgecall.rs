//! `edgecall echo` copies its input through the server exactly, and its exit status says whether
//! the reply is complete.

use std::fs::File;
use std::io::{Write, pipe};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt};
use tempfile::{tempdir, tempfile};

use tests::call::{Call, content, file_of};
use tests::client::{difference, expect, expect_end, narrow};
use tests::door::{ClosedDoor, Door};
use tests::random::Random;
use tests::server::{Launch, edgecall};
use tests::{MIB, PATIENCE, until};

#[test]
fn files_and_pipes_are_copied_exactly() {
    let directory = tempdir().expect("a temporary directory");
    let unix = format!("unix:{}", directory.path().join("echo.sock").display());
    let server = Launch::new("echo", &["127.0.0.1:0", &unix]).start();
    let data = Random::new(1).bytes(5 * MIB + 1);
    for address in [&server.tcp().to_string(), &unix] {
        for bytes in [&data[..], b"x", b""] {
            // From a file to a file.
            let output = tempfile().expect("a temporary file");
            let copy = output.try_clone().expect("dup");
            Call::echo(&[address], file_of(bytes), copy).succeeds();
            let copied = content(&output);
            assert!(copied == bytes, "{}", difference(&copied, bytes));
            // From a pipe to a pipe.
            let mut call = Call::echo(&[address], Stdio::piped(), Stdio::piped());
            let (mut stdin, stdout) = (call.stdin(), call.stdout());
            thread::scope(|scope| {
                scope.spawn(move || stdin.write_all(bytes).expect("edgecall reads it all"));
                expect_end(stdout, bytes);
            });
            call.succeeds();
        }
    }
}

/// The server's replies are printed word by word, while stdin is still open.
#[test]
fn a_conversation() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    let mut call = Call::echo(&[&address], Stdio::piped(), Stdio::piped());
    let (mut stdin, mut stdout) = (call.stdin(), call.stdout());
    for word in ["one", "two", "three"] {
        stdin.write_all(word.as_bytes()).expect("write");
        expect(&mut stdout, word.as_bytes());
    }
    drop(stdin);
    expect_end(stdout, b"");
    call.succeeds();
}

/// A pager shows one page and waits for its user. Neither `--timeout` nor the grace for pending
/// output at the end counts that time.
#[test]
fn a_reader_may_take_its_time() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    // The first is sent whole, and its reply waits on the way. The buffers hold only a part of the
    // second. The third is complete except for the output that the pipe does not accept.
    let sizes = [MIB, 40 * MIB, 200_000];
    let mut calls = sizes.map(|size| {
        let data = Random::new(size as u64).bytes(size);
        let arguments = [&address, "--timeout", "1s"];
        let (reader, writer) = pipe().expect("pipe");
        narrow(&writer);
        (Call::echo(&arguments, file_of(&data), writer), reader, data)
    });
    // The wait exceeds the timeout for each client, and in sum the default grace for the last one.
    for (call, ..) in &mut calls {
        let ended = call.has_ended(Duration::from_secs(2));
        assert!(!ended, "it did not wait for its reader");
    }
    for (call, reader, data) in calls {
        expect_end(reader, &data);
        call.succeeds();
    }
}

/// As in `edgecall echo | head -c 10`: a reader that closes stdout is no failure, and `edgecall`
/// then ends without waiting for the end of stdin.
#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    // More than all buffers hold: the server has stopped reading when the reader goes.
    let much = Random::new(2).bytes(40 * MIB);
    let mut call = Call::echo(&[&address], file_of(&much), Stdio::piped());
    expect(call.stdout(), &much[..10]);
    call.succeeds();

    let mut call = Call::echo(&[&address], Stdio::piped(), Stdio::piped());
    let mut stdin = call.stdin();
    stdin.write_all(b"ten bytes.").expect("write");
    expect(call.stdout(), b"ten bytes.");
    call.succeeds();
    drop(stdin);
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let (code, complaint) = Call::echo(&[&address], file_of(b"hello"), full).finish();
    assert_eq!(code, Some(1), "{complaint}");
    assert!(
        complaint.starts_with("edgecall: cannot write"),
        "{complaint}"
    );
    assert!(complaint.contains("No space left on device"), "{complaint}");
}

#[test]
fn a_server_that_goes_is_a_failure() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut server = Launch::echo().start();
        let address = server.tcp().to_string();
        let mut call = Call::echo(&[&address], Stdio::piped(), Stdio::piped());
        let (mut stdin, mut stdout) = (call.stdin(), call.stdout());
        stdin.write_all(b"hello").expect("write");
        expect(&mut stdout, b"hello");
        server.signal(signal);
        server.wait(PATIENCE).expect("the server ends");
        call.fails("server closed the connection");
        drop((stdin, stdout));
    }
}

/// The server reads to the end of the stream, and does not reply.
#[test]
fn a_server_that_is_silent_is_a_failure() {
    for door in Door::each() {
        let arguments = [door.address(), "--timeout", "300ms"];
        let call = Call::echo(&arguments, file_of(b"hello"), Stdio::null());
        let stream = door.accept();
        expect_end(&stream, b"hello");
        call.fails(&format!("no answer from {} in time", door.address()));
    }
}

/// The rest of the input would wait for ever.
#[test]
fn a_server_that_does_not_read_is_a_failure() {
    let door = Door::unix();
    let arguments = [door.address(), "--timeout", "300ms"];
    // More than the socket holds, and little enough for `edgecall` to read its input to the end.
    let (like_its, _) = UnixStream::pair().expect("socketpair");
    let held = getsockopt(&like_its, sockopt::SndBuf).expect("SO_SNDBUF");
    let much = Random::new(3).bytes(held + 140_000);
    let call = Call::echo(&arguments, file_of(&much), Stdio::null());
    let _stream = door.accept();
    call.fails(&format!("no answer from {} in time", door.address()));
}

/// A reset is not the end of a reply.
#[test]
fn a_server_that_resets_is_a_failure() {
    let door = Door::tcp();
    let mut call = Call::echo(&[door.address()], file_of(&[b'x'; 1000]), Stdio::piped());
    let mut stream = door.accept();
    expect(&stream, b"x");
    stream.write_all(b"the beginning of").expect("write");
    let mut stdout = call.stdout();
    expect(&mut stdout, b"the beginning of");
    // A close with unread input sends an RST (tcp(7)).
    drop(stream);
    expect_end(stdout, b"");
    call.fails("server closed the connection");
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    let closed = ClosedDoor::new();
    for (address, reason) in [
        (format!("tcp://{}", closed.at()), "Connection refused"),
        ("unix:/nonexistent/sock".into(), "No such file or directory"),
    ] {
        let call = Call::echo(&[&address], file_of(b"hello"), Stdio::null());
        call.fails(&format!("cannot reach {address}: {reason}"));
        // The client does not wait for the end of stdin.
        let mut call = Call::echo(&[&address], Stdio::piped(), Stdio::null());
        let stdin = call.stdin();
        call.fails(&format!("cannot reach {address}: {reason}"));
        drop(stdin);
    }
}

#[test]
fn an_unknown_host_name_is_a_failure() {
    let arguments = ["no-such-host.invalid:9876"];
    let (code, complaint) = Call::echo(&arguments, Stdio::null(), Stdio::null()).finish();
    assert_eq!(code, Some(1));
    let start = "edgecall: cannot reach tcp://no-such-host.invalid:9876: ";
    assert!(complaint.starts_with(start), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

#[test]
fn a_server_that_comes_later_is_reached() {
    let closed = ClosedDoor::new();
    let at = closed.at();
    let arguments = [&at.to_string(), "--retry", "30", "-v"];
    let call = Call::echo(&arguments, file_of(b"hello"), Stdio::piped());
    let waits = |line: &str| line.contains("trying again");
    let line = call.stderr().wait_for(PATIENCE, waits).expect("a line");
    let expected = format!("cannot reach tcp://{at}: Connection refused; trying again (1 of 30)");
    assert_eq!(line, expected);
    let (mut stream, _) = closed.open().accept().expect("a client");
    expect_end(&stream, b"hello");
    stream.write_all(b"there").expect("write");
    drop(stream);
    let (code, told) = call.finish();
    assert_eq!(code, Some(0));
    let expected = format!("connected to tcp://{at} ({at})\nsent 5 bytes, received 5 bytes\n");
    assert!(told.ends_with(&expected), "{told}");
}

#[test]
fn retries_end() {
    let closed = ClosedDoor::new();
    let at = closed.at();
    let arguments = [&at.to_string(), "--retry", "1"];
    let call = Call::echo(&arguments, Stdio::null(), Stdio::null());
    call.fails(&format!("cannot reach tcp://{at}: Connection refused"));
}

#[test]
fn verbose_reports_the_bytes_sent_and_received() {
    for door in Door::each() {
        let call = Call::echo(&[door.address(), "-v"], file_of(b"hello"), Stdio::piped());
        let mut stream = door.accept();
        expect_end(&stream, b"hello");
        stream.write_all(b"hey").expect("write");
        drop(stream);
        let (code, told) = call.finish();
        assert_eq!(code, Some(0));
        let peer = door.address().strip_prefix("tcp://");
        let peer = peer.map_or(String::new(), |at| format!(" ({at})"));
        let expected = format!(
            "connected to {}{peer}\nsent 5 bytes, received 3 bytes\n",
            door.address()
        );
        assert_eq!(told, expected);
    }
}

#[test]
fn any_input_that_ends_will_do() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    assert_eq!(
        Call::echo(&[&address], Stdio::null(), Stdio::piped()).prints(),
        b""
    );
    // A closed stdin.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" echo \"$1\" <&-"]);
    shell.arg(edgecall()).arg(&address).stdout(Stdio::piped());
    assert_eq!(Call::spawn(shell).prints(), b"");
    // A socket as stdin.
    let (ours, its) = UnixStream::pair().expect("socketpair");
    let call = Call::echo(&[&address], OwnedFd::from(its), Stdio::piped());
    (&ours).write_all(b"hello").expect("write");
    ours.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(call.prints(), b"hello");
}

#[test]
fn input_that_cannot_be_read_is_a_failure() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    let directory = File::open("/").expect("a directory");
    let call = Call::echo(&[&address], directory, Stdio::null());
    call.fails("cannot read standard input: Is a directory");
}

/// At the end `edgecall` neither waits for its input nor shuts down a socket that it shares.
#[test]
fn input_is_left_alone_at_the_end() {
    let closed = ClosedDoor::new();
    let (ours, its) = UnixStream::pair().expect("socketpair");
    let shared = its.try_clone().expect("dup");
    (&ours).write_all(b"unread").expect("write");
    let at = closed.at();
    let call = Call::echo(&[&at.to_string()], OwnedFd::from(its), Stdio::null());
    call.fails(&format!("cannot reach tcp://{at}: Connection refused"));
    (&shared).write_all(b"still open").expect("write");
    expect(&ours, b"still open");
}

#[test]
fn a_stderr_that_cannot_be_written_does_no_harm() {
    let closed = ClosedDoor::new();
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full")
    };
    let mut command = Command::new(edgecall());
    command
        .args(["echo", "-v", &closed.at().to_string()])
        .stderr(full());
    let status = command
        .stdin(Stdio::null())
        .status()
        .expect("edgecall can be started");
    assert_eq!(status.code(), Some(1));
}

/// Many clients at once, with more data than the server reads in one turn.
#[test]
fn forty_clients_at_once() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    let calls: Vec<_> = (0..40)
        .map(|seed| {
            let data = Random::new(seed).bytes(100_000);
            let output = tempfile().expect("a temporary file");
            let copy = output.try_clone().expect("dup");
            (Call::echo(&[&address], file_of(&data), copy), data, output)
        })
        .collect();
    for (call, data, output) in calls {
        call.succeeds();
        assert!(content(&output) == data, "not the same bytes");
    }
    until("all of them have left", || {
        server.stats().get("connections") == 0
    });
}
