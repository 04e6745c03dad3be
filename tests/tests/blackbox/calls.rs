//! System calls that fail while clients are served. `injected.rs` has those of the echo server on the
//! reactor; here are the other models, the other servers, and the calls around the connections.

use std::fs;
use std::io::Write;
use std::thread;

use tests::chat::{Guest, chat, hear_all};
use tests::client::{dial, is_closed, ping, ping_and_end};
use tests::server::Launch;
use tests::strace::Trace;
use tests::until;

use super::{WAYS, echo, ends, in_every_model, launch, serves, with_fault, with_faults};

/// A call on one connection fails for good: this connection ends, and one line says why.
#[test]
fn an_error_of_a_connection_ends_this_one_only() {
    in_every_model(|model| {
        for (calls, errno, reason) in [
            ("recvfrom", "EIO", "I/O error"),
            ("recvfrom", "EHOSTUNREACH", "No route to host"),
            ("recvfrom", "ETIMEDOUT", "Connection timed out"),
            ("sendto", "EIO", "I/O error"),
            ("sendto", "ENETDOWN", "Network is down"),
        ] {
            // A tracee has a counter of its own, and so has each process and thread of a model.
            let how = format!("error={errno}:when=2");
            let (trace, server) = with_fault(echo(model).args(&["-v"]), calls, &how);
            let (bystander, mut victim) = (dial(server.tcp()), dial(server.tcp()));
            ping(&victim, b"one");
            victim.write_all(b"two").expect("write");
            assert!(is_closed(&victim), "{model}: {calls} {errno}");
            let line = server.logs("closed: ");
            assert!(line.ends_with(reason), "{model}: {errno}: {line}");
            assert_eq!(trace.injected(), 1, "{model}: {calls} {errno}");
            ping(&bystander, b"not harmed");
            ping(dial(server.tcp()), b"the next");
            ends(server);
        }
    });
}

/// Calls that tune a connection or announce its end fail: the client is served all the same, its
/// stream ends, and no descriptor is left.
#[test]
fn calls_that_only_tune_may_fail() {
    in_every_model(|model| {
        let trace = Trace::new();
        let wrapper = trace.wrapper(&["-e", "trace=setsockopt"]);
        let server = echo(model).under(&wrapper).start();
        let of_the_start = trace.text().matches("setsockopt(").count();
        drop(server);
        let tuning = format!("error=ENOBUFS:when={}+", of_the_start + 1);
        for (calls, how) in [
            ("setsockopt", tuning.as_str()),
            ("getsockopt", "error=ENOBUFS:when=1+"),
            ("ioctl", "error=ENOTTY:when=1+"),
            ("shutdown", "error=ENOTCONN:when=1+"),
            ("shutdown", "error=ENOBUFS:when=1+"),
        ] {
            let (_trace, server) = with_fault(echo(model), calls, how);
            let baseline = server.open_descriptors();
            for client in 0..5 {
                ping_and_end(&dial(server.tcp()), format!("client {client}").as_bytes());
            }
            server.descriptors_return_to(baseline);
            ends(server);
        }
    });
}

/// Every server and model serves exactly while its calls are interrupted, or lack memory, now and
/// then.
#[test]
fn every_server_goes_on_while_calls_fail_now_and_then() {
    thread::scope(|scope| {
        for way in WAYS {
            scope.spawn(move || {
                let faults = [
                    ("accept4", "error=ECONNABORTED:when=2+5"),
                    ("recvfrom", "error=EINTR:when=2+3"),
                    ("sendto,sendmsg,writev", "error=ENOBUFS:when=3+4"),
                    (
                        "?epoll_wait,?epoll_pwait,?poll,?ppoll",
                        "error=EINTR:when=2+3",
                    ),
                ];
                let (trace, server) = with_faults(launch(way), &faults);
                for _ in 0..5 {
                    serves(way.0, &server);
                }
                assert!(trace.injected() > 3, "{way:?}: {}", trace.injected());
                ends(server);
            });
        }
    });
}

/// Every line of every member reaches all others once and in order, whichever calls fail.
#[test]
fn no_line_of_a_chat_is_lost_to_interrupted_calls() {
    const LINES: usize = 200;
    let faults = [
        ("recvfrom", "error=EINTR:when=1+2"),
        ("sendto,sendmsg,writev", "error=EINTR:when=1+3"),
        ("?epoll_wait,?epoll_pwait", "error=EINTR:when=1+2"),
    ];
    let (trace, server) = with_faults(chat(&["--rate", "0"]), &faults);
    let names = ["ann", "bob", "carol"];
    let [mut ann, bob, mut carol] = Guest::join_all(server.tcp(), names);
    for line in 0..LINES {
        bob.say(format!("line {line}"));
    }
    for line in 0..LINES {
        hear_all([&mut ann, &mut carol], &format!("[bob] line {line}"));
    }
    assert!(trace.injected() > 5, "{}", trace.injected());
    ends(server);
}

/// The datagrams of a server whose sends fail are lost and counted; the next ones are answered, and
/// its streams are not harmed.
#[test]
fn datagrams_and_streams_of_one_reactor() {
    let launch = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0"]);
    let how = "error=EIO:when=1..3";
    let (trace, server) = with_fault(launch, "sendmmsg", how);
    let socket = tests::client::dial_udp(server.udp());
    let stream = dial(server.tcp());
    for lost in 1..=3 {
        socket.send(b"lost").expect("send");
        until("the fault has happened", || trace.injected() == lost);
        ping(&stream, b"a stream");
    }
    socket.send(b"answered").expect("send");
    let mut answer = [0; 100];
    let length = socket.recv(&mut answer).expect("an answer");
    assert_eq!(&answer[..length], b"answered");
    assert_eq!(server.stats().get("datagrams_lost"), 3);
    ends(server);
}

/// Writing the log fails now and then. Only lines of the log are lost, their number is written, and
/// an interrupted call loses none.
#[test]
fn writing_the_log_fails() {
    const VISITS: usize = 12;
    for (errno, is_harmless) in [("EINTR", true), ("EIO", false), ("ENOSPC", false)] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let log = path.to_str().expect("UTF-8");
        let trace = Trace::new();
        let inject = format!("inject=write,writev:error={errno}:when=2+3");
        let wrapper = trace.wrapper(&["-P", log, "-e", "trace=write,writev", "-e", &inject]);
        let launch = Launch::echo().args(&["-v", "--log-file", log]);
        let server = launch.under(&wrapper).start();
        for visit in 0..VISITS {
            let writes = trace.text().lines().count();
            ping(dial(server.tcp()), format!("visit {visit}").as_bytes());
            until("the log has been written", || {
                trace.text().lines().count() > writes
            });
        }
        until("some faults have happened", || trace.injected() > 2);
        ping(dial(server.tcp()), b"the last");
        ends(server);
        let text = fs::read_to_string(log).expect("the log");
        let closed = text.matches(" closed").count();
        let are_missing = text.contains(" missing ");
        assert_eq!(are_missing, !is_harmless, "{errno}: {text}");
        assert!(closed <= VISITS + 1, "{errno}: a line came twice: {text}");
        assert!(!is_harmless || closed == VISITS + 1, "{errno}: {text}");
    }
}
