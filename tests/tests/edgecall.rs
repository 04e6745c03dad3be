//! `edgecall`, the client: what goes in comes out, and how it ends.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
use tempfile::{tempdir, tempfile};

use tests::client::{difference, expect, expect_end};
use tests::process::wait_for_exit;
use tests::random::Random;
use tests::server::{Launch, edgecall};
use tests::{MIB, PATIENCE, until};

/// A client that runs. It is killed when dropped.
struct Call {
    child: Child,
}

impl Call {
    /// `edgecall echo` with these arguments.
    fn echo(arguments: &[&str], stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Self {
        let child = Command::new(edgecall())
            .arg("echo")
            .args(arguments)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("edgecall can be started");
        Self { child }
    }

    fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("piped")
    }

    fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("piped")
    }

    /// Waits for its end and returns its exit status, and what it complained about.
    fn finish(mut self) -> (Option<i32>, String) {
        let status = wait_for_exit(&mut self.child, PATIENCE).expect("edgecall ends");
        let mut complaint = String::new();
        let mut stderr: ChildStderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut complaint).expect("UTF-8");
        (status.code(), complaint)
    }

    /// Waits for its end, which must be a good one.
    fn succeeds(self) {
        assert_eq!(self.finish(), (Some(0), String::new()));
    }

    /// Waits for its end, which must be a failure for this reason.
    fn fails(self, reason: &str) {
        assert_eq!(self.finish(), (Some(1), format!("edgecall: {reason}\n")));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that holds `bytes`, open at its start.
fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile().expect("a temporary file");
    file.write_all(bytes).expect("a temporary file");
    file.rewind().expect("a temporary file");
    file
}

/// All that a file holds.
fn content(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("a temporary file");
    file.read_to_end(&mut bytes).expect("a temporary file");
    bytes
}

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
                scope.spawn(move || stdin.write_all(bytes).expect("edgecall takes it all"));
                expect_end(stdout, bytes);
            });
            call.succeeds();
        }
    }
}

/// What is said is answered while standard input is still open, word by word.
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

/// A pager shows one page and waits for its user. No timeout counts that, neither the server's for
/// its answer nor the reactor's for what is pending when all is over.
#[test]
fn a_reader_may_take_its_time() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    // All of the first is sent, and its answer lies on the way; of the second, there is room for a
    // part only; with the third all is over but for what the pipe to us does not take.
    let sizes = [MIB, 40 * MIB, 200_000];
    let mut calls = sizes.map(|size| {
        let data = Random::new(size as u64).bytes(size);
        let arguments = [&address, "--timeout", "1s"];
        let call = Call::echo(&arguments, file_of(&data), Stdio::piped());
        (call, data)
    });
    // For each longer than the timeout, and for the last, after the others, than the default grace.
    for (call, _) in &mut calls {
        let ended = wait_for_exit(&mut call.child, Duration::from_secs(2));
        assert_eq!(ended, None, "it did not wait for its reader");
    }
    for (mut call, data) in calls {
        expect_end(call.stdout(), &data);
        call.succeeds();
    }
}

/// As in `edgecall echo | head -c 10`: nobody is left to read, which is no failure, and standard
/// input need not end for it.
#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let server = Launch::echo().start();
    let address = server.tcp().to_string();
    let much = Random::new(2).bytes(8 * MIB);
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

/// It hears us to the end, and says nothing.
#[test]
fn a_server_that_is_silent_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let at = listener.local_addr().expect("getsockname");
    let arguments = [&at.to_string(), "--timeout", "300ms"];
    let call = Call::echo(&arguments, file_of(b"hello"), Stdio::null());
    let (stream, _) = listener.accept().expect("accept");
    expect_end(&stream, b"hello");
    call.fails(&format!("no answer from tcp://{at} in time"));
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    // A port that is taken, so that nobody can listen there meanwhile.
    let taken = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("socket");
    let any = SockaddrIn::new(127, 0, 0, 1, 0);
    let descriptor = taken.as_raw_fd();
    bind(descriptor, &any).expect("bind");
    let at: SockaddrIn = getsockname(descriptor).expect("getsockname");
    let at = SocketAddr::new(at.ip().into(), at.port());
    for (address, reason) in [
        (format!("tcp://{at}"), "Connection refused"),
        ("unix:/nonexistent/sock".into(), "No such file or directory"),
    ] {
        let call = Call::echo(&[&address], file_of(b"hello"), Stdio::null());
        call.fails(&format!("cannot reach {address}: {reason}"));
        // Standard input that does not end keeps nobody waiting.
        let mut call = Call::echo(&[&address], Stdio::piped(), Stdio::null());
        let stdin = call.stdin();
        call.fails(&format!("cannot reach {address}: {reason}"));
        drop(stdin);
    }
}

#[test]
fn wrong_command_lines() {
    let wrong: &[&[&str]] = &[
        &["--no-such-option"],
        &["--timeout", "soon"],
        &["--timeout"],
        &["127.0.0.1:99999"],
        &["127.0.0.1:port"],
        &["127.0.0.1:1", "127.0.0.1:2"],
    ];
    for arguments in wrong {
        let (code, complaint) = Call::echo(arguments, Stdio::null(), Stdio::null()).finish();
        assert_eq!(code, Some(2), "{arguments:?}: {complaint}");
        assert!(!complaint.is_empty(), "{arguments:?}");
    }
}

/// Many at once, more than the server has in any one turn.
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
