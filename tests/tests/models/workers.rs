//! Promises of the models with processes or threads: no worker is left behind, and a failing worker
//! disturbs no other client.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use tests::client::{
    Fate, Probe, count, dial, expect_end, is_closed, ping, ping_all, ping_and_end, watch,
};
use tests::process::{cpu_time, limit_descriptors};
use tests::server::{Launch, Server};
use tests::strace::Trace;
use tests::{PATIENCE, until};

use super::{children, echo, end, is_gone, signal, stalled_client, threads, with_faults};

for_each_model! {
    blocking:
        a_thousand_visits_leave_nothing_behind
        a_worker_that_cannot_be_started
        out_of_descriptors
        accept_errors
        errors_of_accept_that_stay
        out_of_buffers
        signals_to_the_server
        stats_every_so_often
        two_calls_for_a_message
        only_over_tcp;
    fork:
        a_killed_child_ends_only_its_own_client
        a_child_that_is_told_to_stop_ends_in_order
        a_child_has_one_client_and_nothing_else
        sigkill_leaves_no_child
        an_ignored_sigchld_is_no_inheritance
}

fn a_thousand_visits_leave_nothing_behind(model: &str) {
    let server = echo(model).start();
    let (pid, descriptors) = (server.pid(), server.open_descriptors());
    let stays = dial(server.tcp());
    for visit in 0..1000 {
        ping(dial(server.tcp()), format!("visit {visit}").as_bytes());
        // The server reaps zombies at once, not only when it is idle.
        assert!(children(pid).len() < 100, "after visit {visit}");
    }
    server.stats_until("one is left", |stats| stats.get("connections") == 1);
    ping(&stays, b"still here");
    // One worker is left for one client: a child or a thread. A zombie would count as a child.
    until("threads have ended", || {
        children(pid).len() + threads(pid) == 2
    });
    drop(stays);
    server.stats_until("all have left", |stats| stats.get("connections") == 0);
    assert!(children(pid).is_empty());
    until("no thread is left", || threads(pid) == 1);
    server.descriptors_return_to(descriptors);
    end(server);
}

fn a_worker_that_cannot_be_started(model: &str) {
    let (trace, server) = with_faults(model, "clone,clone3,?fork,?vfork", "error=EAGAIN:when=2..3");
    let first = dial(server.tcp());
    ping(&first, b"before");
    let descriptors = server.open_descriptors();
    for _ in 0..2 {
        assert!(is_closed(dial(server.tcp())));
    }
    assert_eq!(trace.injected(), 2);
    assert_eq!(server.open_descriptors(), descriptors);
    assert_eq!(server.stats().get("connections"), 1);
    ping(&first, b"after");
    ping(dial(server.tcp()), b"a new client");
    let stats = server.stats();
    assert_eq!((stats.get("refused"), stats.get("accepted")), (2, 2));
    let said = |line: &str| line.contains("connection refused: no ");
    assert!(server.stderr().wait_for(PATIENCE, said).is_some());
    end(server);
}

/// Checks that a second without traffic costs almost no processor time.
fn assert_at_rest(server: &mut Server) {
    let before = cpu_time(server.pid());
    let ended = server.wait(Duration::from_secs(1));
    assert!(ended.is_none(), "the server ended: {ended:?}");
    let cpu = cpu_time(server.pid()).saturating_sub(before);
    assert!(
        cpu < Duration::from_millis(100),
        "{cpu:?} of processor time"
    );
}

fn out_of_descriptors(model: &str) {
    let mut server = echo(model).start();
    let ask = |count| -> Vec<_> {
        let ask = |client| Probe::ask(server.tcp(), &format!("client {client}"));
        (0..count).map(ask).collect()
    };
    let mut inside = ask(5);
    watch(&mut inside, 1000);
    assert_eq!(count(&inside, Fate::Served), 5);

    limit_descriptors(server.pid(), 3);
    let mut waiting = ask(10);
    watch(&mut waiting, 300);
    assert_eq!(count(&waiting, Fate::Waiting), 10);
    assert_at_rest(&mut server);
    inside.iter().for_each(Probe::ask_again);

    limit_descriptors(server.pid(), 1000);
    watch(&mut waiting, 5000);
    assert_eq!(count(&waiting, Fate::Served), 10);
    inside.iter().for_each(Probe::ask_again);
    end(server);
}

fn accept_errors(model: &str) {
    for errno in ["ECONNABORTED", "EPROTO", "EPERM", "EMFILE", "ENOMEM"] {
        let (trace, server) = with_faults(model, "accept4", &format!("error={errno}:when=1..3"));
        let clients: Vec<_> = (0..10).map(|_| dial(server.tcp())).collect();
        ping_all(&clients, b"in the end");
        assert_eq!(trace.injected(), 3, "{errno}");
        end(server);
    }
}

fn errors_of_accept_that_stay(model: &str) {
    for errno in ["EPERM", "EMFILE"] {
        let (trace, mut server) = with_faults(model, "accept4", &format!("error={errno}:when=1+"));
        let _waits = dial(server.tcp());
        until("the fault has happened", || trace.injected() > 0);
        let before = trace.injected();
        assert_eq!(server.wait(Duration::from_secs(1)), None, "it has ended");
        let calls = trace.injected() - before;
        assert!(calls < 2_000, "{calls} calls in a second");
        end(server);
    }
}

/// The kernel has no memory for a question or a reply once: no byte is lost.
fn out_of_buffers(model: &str) {
    for calls in ["recvfrom", "sendto"] {
        let (trace, server) = with_faults(model, calls, "error=ENOBUFS:when=2");
        let stream = dial(server.tcp());
        for message in 0..4 {
            ping(&stream, format!("message {message}").as_bytes());
        }
        assert_eq!(trace.injected(), 1, "{calls}");
        ping_and_end(&stream, b"the last words");
        end(server);
    }
}

/// Signals have the same meaning in each model, and do not disturb a connection.
fn signals_to_the_server(model: &str) {
    let server = echo(model).start();
    let client = dial(server.tcp());
    ping(&client, b"before");
    for _ in 0..10 {
        let seen = server.stderr().count();
        server.signal(Signal::SIGHUP);
        let told = |line: &str| line.contains("SIGHUP");
        assert!(server.stderr().wait_from(seen, PATIENCE, told).is_some());
        assert_eq!(server.stats().get("connections"), 1);
        // A terminal that closes sends SIGHUP to the children, too.
        for child in children(server.pid()) {
            signal(child, Signal::SIGHUP);
            signal(child, Signal::SIGUSR1);
        }
        ping(&client, b"after");
    }
    end(server);
}

fn stats_every_so_often(model: &str) {
    let server = echo(model).args(&["--stats", "50ms"]).start();
    ping(dial(server.tcp()), b"counted");
    let mut next = 0;
    for _ in 0..3 {
        let stats = |line: &str| line.contains("stats: ") && line.contains("accepted=");
        let found = server.stderr().wait_from(next, PATIENCE, stats);
        next = found.expect("a line of counters").0 + 1;
    }
}

fn two_calls_for_a_message(model: &str) {
    const MESSAGES: u64 = 2_000;
    let calls = |messages| {
        let trace = Trace::new();
        let server = echo(model).under(&trace.wrapper(&["-c"])).start();
        let client = dial(server.tcp());
        for _ in 0..messages {
            ping(&client, b"a message");
        }
        drop(client);
        server.stats_until("it has left", |stats| stats.get("connections") == 0);
        end(server);
        trace.total_calls()
    };
    let calls = calls(MESSAGES) - calls(0);
    // The requests for counters cost some calls, and their number varies.
    assert!(
        (2 * MESSAGES - 100..2 * MESSAGES + 100).contains(&calls),
        "{calls} calls"
    );
}

fn only_over_tcp(model: &str) {
    for address in ["udp://127.0.0.1:0", "unix:/tmp/never-made.sock"] {
        let addresses = ["127.0.0.1:0", address];
        for launch in [
            Launch::new("echo", &addresses).args(&["--model", model]),
            Launch::new("echo", &addresses).env("EDGELOOP_MODEL", model),
        ] {
            let finished = launch.run();
            assert_eq!(finished.code, 2, "{finished:?}");
            assert!(finished.stderr.contains("only the reactor"), "{finished:?}");
            assert_eq!(finished.stdout, "");
        }
    }
}

#[test]
fn no_other_model() {
    let finished = echo("fibers").run();
    assert_eq!(finished.code, 2, "{finished:?}");
}

fn a_killed_child_ends_only_its_own_client(model: &str) {
    let server = echo(model).start();
    let victim = dial(server.tcp());
    ping(&victim, b"before");
    let [child] = children(server.pid())[..] else {
        panic!("not one child for one client")
    };
    let other = dial(server.tcp());
    ping(&other, b"before");
    signal(child, Signal::SIGKILL);
    assert!(is_closed(&victim));
    ping(&other, b"after");
    ping(dial(server.tcp()), b"a new client");
    let told = format!("connection 0: process {child} was killed by SIGKILL");
    let told = server
        .stderr()
        .wait_for(PATIENCE, |line| line.contains(&told));
    assert!(told.is_some(), "{}", server.stderr().text());
    server.stats_until("one is left", |stats| stats.get("connections") == 1);
    assert!(!children(server.pid()).contains(&child), "it is a zombie");
    end(server);
}

fn a_child_that_is_told_to_stop_ends_in_order(model: &str) {
    let server = echo(model).start();
    let client = dial(server.tcp());
    ping(&client, b"before");
    let [child] = children(server.pid())[..] else {
        panic!("not one child for one client")
    };
    signal(child, Signal::SIGTERM);
    expect_end(&client, b"");
    ping(dial(server.tcp()), b"a new client");
    end(server);
}

fn a_child_has_one_client_and_nothing_else(model: &str) {
    let server = echo(model).start();
    let clients: Vec<_> = (0..10).map(|_| dial(server.tcp())).collect();
    ping_all(&clients, b"connected");
    let descriptors = |pid| -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc/PID/fd");
        let links = entries.map(|entry| fs::read_link(entry.expect("an entry").path()));
        let links = links.map(|link| link.expect("a link").to_string_lossy().into_owned());
        links.collect()
    };
    let sockets = |pid| {
        descriptors(pid)
            .iter()
            .filter(|link| link.starts_with("socket:"))
            .count()
    };
    until("the server has only its listener", || {
        sockets(server.pid()) == 1
    });
    let children = children(server.pid());
    assert_eq!(children.len(), 10);
    for child in children {
        assert_eq!(sockets(child), 1);
        assert!(
            !descriptors(child)
                .iter()
                .any(|link| link.contains("signalfd"))
        );
    }
}

fn sigkill_leaves_no_child(model: &str) {
    let mut server = echo(model).start();
    let clients: Vec<_> = (0..10).map(|_| dial(server.tcp())).collect();
    ping_all(&clients, b"connected");
    let stalled = stalled_client(&server);
    let children = children(server.pid());
    assert_eq!(children.len(), 11);
    server.signal(Signal::SIGKILL);
    let status = server.wait(PATIENCE).expect("SIGKILL ends the server");
    assert_eq!(status.signal(), Some(9));
    until("the children are gone", || {
        children.iter().all(|&child| is_gone(child))
    });
    assert!(clients.iter().all(is_closed));
    drop(stalled);
}

/// A process that ignores SIGCHLD is not told of children that end, so the server must not inherit
/// that.
fn an_ignored_sigchld_is_no_inheritance(model: &str) {
    let wrapper = ["env", "--ignore-signal=CHLD"];
    let server = echo(model).under(&wrapper).start();
    for _ in 0..10 {
        ping_and_end(&dial(server.tcp()), b"a visit");
    }
    server.stats_until("all have left", |stats| stats.get("connections") == 0);
    end(server);
}
