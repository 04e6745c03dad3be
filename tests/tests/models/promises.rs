//! Promises that every model keeps, including the reactor: exact replies, limits, and stops in
//! order.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use tests::chat::dial_stingy;
use tests::client::{
    Fate, Probe, count, dial, dial_narrow, difference, expect_end, fill, is_closed, ping, ping_all,
    ping_and_end, reset, until_cut_off, watch,
};
use tests::netcat::{Netcat, nc};
use tests::process::cpu_time;
use tests::random::Random;
use tests::server::{Launch, Server};
use tests::sockets::{both_ends, is_left_unread, until_read};
use tests::{LowerOnDrop, MIB, PATIENCE, until, within};

use super::{children, echo, end, stalled_client, with_faults};

for_each_model! {
    all:
        netcat
        three_hundred_netcats_at_once
        half_close_with_answers_pending
        half_close_at_many_sizes
        clients_that_never_read_delay_no_other_client
        three_hundred_clients_at_once
        resets_disturb_no_other_client
        interrupted_calls
        idle_timeout
        stall_timeout
        a_slow_reader_is_not_stalled
        max_connections
        once
        once_and_the_client_resets
        idle_clients_do_not_delay_the_end
        a_client_that_never_pauses_does_not_delay_the_end
        answers_are_delivered_after_sigterm
        unread_input_at_sigterm
        a_client_that_goes_on_sending_after_sigterm
        a_stalled_peer_delays_the_end_by_the_grace_period
        no_grace
        a_second_signal_ends_at_once
        ctrl_c_in_a_terminal
        restart_on_the_same_port
        connections_in_the_log
}

fn netcat(model: &str) {
    let server = echo(model).start();
    let port = server.tcp().port().to_string();
    let file = Random::new(1).bytes(5_000_000);
    for text in [b"hello, world\n", &b""[..], b"no newline", &file] {
        let answer = nc(&["-N", "127.0.0.1", &port], text);
        assert!(answer == text, "{}", difference(&answer, text));
    }
    end(server);
}

fn three_hundred_netcats_at_once(model: &str) {
    let server = echo(model).start();
    let port = server.tcp().port().to_string();
    let text = |client| format!("this is client {client}\n").repeat(1 + client % 50);
    let clients: Vec<_> = (0..300)
        .map(|client| Netcat::start(&["-N", "127.0.0.1", &port], text(client).as_bytes()))
        .collect();
    for (client, netcat) in clients.into_iter().enumerate() {
        assert_eq!(String::from_utf8(netcat.finish()), Ok(text(client)));
    }
}

/// The client starts to read only when all buffers on the way are full and it has half-closed.
fn half_close_with_answers_pending(model: &str) {
    let server = echo(model).start();
    let block = Random::new(2).bytes(100_003);
    let stream = dial_narrow(server.tcp(), 64 * 1024);
    let sent = fill(&stream, &block);
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let data: Vec<u8> = block.iter().copied().cycle().take(sent).collect();
    expect_end(&stream, &data);
}

/// The FIN arrives at every stage of a write that the kernel accepts only in part.
fn half_close_at_many_sizes(model: &str) {
    let server = echo(model).args(&["--high-water", "4MiB"]).start();
    let data = Random::new(3).bytes(3 * MIB);
    for bits in 0..=20 {
        for length in [(1 << bits) - 1, 1 << bits, (1 << bits) + 1] {
            let (stream, data) = (dial_narrow(server.tcp(), 4096), &data[..length]);
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    (&stream).write_all(data).expect("write");
                    stream.shutdown(Shutdown::Write).expect("shutdown");
                });
                until("all is sent, or the server waits for its reader", || {
                    writer.is_finished() || is_left_unread(&stream)
                });
                expect_end(&stream, data);
            });
        }
    }
}

fn clients_that_never_read_delay_no_other_client(model: &str) {
    let server = echo(model).start();
    let active = dial(server.tcp());
    let filling = AtomicBool::new(true);
    let stalled: Vec<_> = std::thread::scope(|scope| {
        let lower = LowerOnDrop(&filling);
        let fillers: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| stalled_client(&server)))
            .collect();
        scope.spawn(|| {
            while filling.load(Ordering::Relaxed) {
                ping(&active, b"while the others fill up\n");
            }
        });
        let stalled = fillers.into_iter().map(|filler| filler.join());
        let stalled = stalled.collect::<Result<_, _>>().expect("a filler");
        drop(lower);
        stalled
    });
    for _ in 0..100 {
        ping(&active, b"while the others are full\n");
        ping_and_end(&dial(server.tcp()), b"a new client\n");
    }
    drop(stalled);
}

/// The notes' server with threads has room for 256 clients only.
fn three_hundred_clients_at_once(model: &str) {
    let server = echo(model).start();
    let clients: Vec<_> = (0..300).map(|_| dial(server.tcp())).collect();
    for round in 0..3 {
        ping_all(&clients, format!("round {round}").as_bytes());
    }
    assert_eq!(server.stats().get("connections"), 300);
    for client in &clients {
        ping_and_end(client, b"the last words");
    }
    let stats = server.stats_until("all have left", |stats| stats.get("connections") == 0);
    for (name, value) in [
        ("peak", 300),
        ("accepted", 300),
        ("closed", 300),
        ("refused", 0),
    ] {
        assert_eq!(stats.get(name), value, "{name}");
    }
    end(server);
}

fn resets_disturb_no_other_client(model: &str) {
    let server = echo(model).start();
    let bystander = dial(server.tcp());
    ping(&bystander, b"before");
    for index in 0..100 {
        let mut stream = dial(server.tcp());
        match index % 4 {
            // Reset at once, with a question under way, after an answer, and with much under way.
            0 => {}
            1 => stream.write_all(b"no answer, please").expect("write"),
            2 => ping(&stream, b"an answer"),
            _ => stream.write_all(&vec![b'x'; 50_000]).expect("write"),
        }
        reset(stream);
    }
    ping(&bystander, b"after");
    server.stats_until("only the bystander is left", |stats| {
        stats.get("connections") == 1
    });
}

fn interrupted_calls(model: &str) {
    for calls in [
        "recvfrom",
        "sendto",
        "poll,?epoll_wait,?epoll_pwait,?epoll_pwait2",
    ] {
        let (trace, server) = with_faults(model, calls, "error=EINTR:when=1+3");
        for seed in 0..5 {
            let client = dial(server.tcp());
            ping(&client, b"a question");
            ping(&client, &Random::new(seed).bytes(100_000));
            ping_and_end(&client, b"the last words");
        }
        until("the fault has happened", || trace.injected() >= 3);
        end(server);
    }
}

fn idle_timeout(model: &str) {
    let server = echo(model).args(&["--idle-timeout", "1s"]).start();
    let active = dial(server.tcp());
    let silent = [dial(server.tcp()), dial(server.tcp())];
    ping(&silent[1], b"my only words");
    let opened = Instant::now();
    let going = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let lower = LowerOnDrop(&going);
        scope.spawn(|| {
            while going.load(Ordering::Relaxed) {
                ping(&active, b"here I am");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        silent.iter().for_each(|client| expect_end(client, b""));
        assert!(opened.elapsed() > Duration::from_millis(500), "too early");
        // The active client has outlived the silent ones. It must live twice as long as they did.
        std::thread::sleep(opened.elapsed());
        drop(lower);
    });
    ping(&active, b"still here");
    expect_end(&active, b"");
    server.stats_until("all are gone", |stats| stats.get("connections") == 0);
}

fn stall_timeout(model: &str) {
    let server = echo(model).args(&["--stall-timeout", "500ms"]).start();
    let bystander = dial(server.tcp());
    ping(&bystander, b"before");
    until_cut_off(&dial_narrow(server.tcp(), 16 * 1024));
    server.stats_until("one is left", |stats| stats.get("connections") == 1);
    ping(&bystander, b"silent for long, but nothing waits for it");
}

fn a_slow_reader_is_not_stalled(model: &str) {
    let server = echo(model).args(&["--stall-timeout", "1s"]).start();
    let data = Random::new(4).bytes(16 * MIB);
    let stream = dial_narrow(server.tcp(), 64 * 1024);
    let mut answer = vec![0; data.len()];
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&data).expect("the server goes on"));
        // 150 KiB every 25 ms: no send can finish within the timeout, but each makes progress.
        for chunk in answer.chunks_mut(150 * 1024) {
            (&stream).read_exact(chunk).expect("the server goes on");
            std::thread::sleep(Duration::from_millis(25));
        }
    });
    assert!(began.elapsed() > Duration::from_secs(1), "not slow at all");
    assert!(answer == data, "{}", difference(&answer, &data));
    ping_and_end(&stream, b"and on");
}

fn max_connections(model: &str) {
    let server = echo(model).args(&["--max-connections", "3"]).start();
    let mut probes: Vec<_> = (0..3)
        .map(|_| Probe::ask(server.tcp(), "first come"))
        .collect();
    watch(&mut probes, 1000);
    assert_eq!(count(&probes, Fate::Served), 3);
    for _ in 0..10 {
        assert!(is_closed(dial(server.tcp())));
    }
    let stats = server.stats();
    assert_eq!((stats.get("refused"), stats.get("refused_limit")), (10, 10));
    probes.iter().for_each(Probe::ask_again);
    for _ in 0..5 {
        drop(probes.pop());
        until("the free slot is taken", || {
            probes.push(Probe::ask(server.tcp(), "late come"));
            watch(&mut probes, 1000);
            probes.retain(|probe| probe.fate == Fate::Served);
            probes.len() == 3
        });
        assert!(is_closed(dial(server.tcp())));
    }
    probes.iter().for_each(Probe::ask_again);
}

fn once(model: &str) {
    let mut server = echo(model).args(&["--once"]).start();
    let stream = dial(server.tcp());
    ping(&stream, b"one connection");
    until("it no longer listens", || {
        TcpStream::connect(server.tcp()).is_err()
    });
    assert_eq!(server.wait(Duration::ZERO), None);
    ping_and_end(&stream, &Random::new(5).bytes(MIB));
    drop(stream);
    assert_eq!(server.exit_code(), 0);
}

fn once_and_the_client_resets(model: &str) {
    let mut server = echo(model).args(&["--once"]).start();
    let stream = dial(server.tcp());
    ping(&stream, b"one connection");
    reset(stream);
    assert_eq!(server.exit_code(), 0);
}

fn idle_clients_do_not_delay_the_end(model: &str) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = echo(model).args(&["--grace", "1h"]).start();
        let silent = dial(server.tcp());
        let clients: Vec<_> = (0..10).map(|_| dial(server.tcp())).collect();
        ping_all(&clients, b"attached");
        server.signal(signal);
        assert_eq!(server.exit_code(), 0);
        for client in clients.iter().chain([&silent]) {
            expect_end(client, b"");
        }
    }
}

/// The server always finds more input from this client, so only the signal can end the connection.
fn a_client_that_never_pauses_does_not_delay_the_end(model: &str) {
    let mut server = echo(model).args(&["--grace", "1h"]).start();
    let stream = dial(server.tcp());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut answer = [0; 10_000];
            while (&stream).read(&mut answer).is_ok_and(|count| count > 0) {
                assert!(answer.starts_with(b"x"));
            }
        });
        scope.spawn(|| while (&stream).write_all(&[b'x'; 10_000]).is_ok() {});
        until("traffic flows", || {
            cpu_of_all(server.pid()) > Duration::from_millis(50)
        });
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        reader.join().expect("no wrong byte");
    });
}

/// The processor time of a process and its children.
fn cpu_of_all(pid: u32) -> Duration {
    let children = children(pid).into_iter().map(cpu_time);
    cpu_time(pid) + children.sum::<Duration>()
}

fn answers_are_delivered_after_sigterm(model: &str) {
    let mut server = echo(model).args(&["--grace", "1h"]).start();
    let data = Random::new(6).bytes(UNDER_WAY);
    let stream = client_with_answers_under_way(&server, &data);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(Duration::from_millis(300)), None);
    expect_end(&stream, &data);
    drop(stream);
    assert_eq!(server.exit_code(), 0);
}

/// Bytes that do not fit into the receive buffer of [`dial_stingy`], but into the server's send
/// buffer, so that no model has to wait for the client before it reads on.
const UNDER_WAY: usize = 12_000;

/// A client that sends `data` and reads nothing. The server has read all of it, and the replies lie
/// in the kernel's buffers.
fn client_with_answers_under_way(server: &Server, data: &[u8]) -> TcpStream {
    let mut stream = dial_stingy(server.tcp());
    stream.write_all(data).expect("write");
    until_read(&stream);
    stream
}

/// The server stops with some input unread: it answers exactly the bytes that it did read, and no
/// RST destroys the replies.
fn unread_input_at_sigterm(model: &str) {
    let mut server = echo(model).args(&["--grace", "1h"]).start();
    let block = Random::new(7).bytes(100_003);
    let mut stream = dial_narrow(server.tcp(), 64 * 1024);
    let sent = fill(&stream, &block);
    // Bytes that have arrived count at both ends until they are acknowledged, within 200 ms.
    let mut ends = both_ends(&stream).expect("a connection");
    within(Duration::from_secs(1), || {
        ends = both_ends(&stream).expect("a connection");
        !ends[0].in_flight
    });
    let [unsent, unread] = [ends[0].unacknowledged, ends[1].unread];
    assert!(unread > 0);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(Duration::from_millis(300)), None);
    let answers = block.iter().copied().cycle().take(sent - unread - unsent);
    expect_end(&mut stream, &answers.collect::<Vec<u8>>());
    drop(stream);
    assert_eq!(server.exit_code(), 0);
}

/// The client reads only after it has sent everything, so the server must discard that input. The
/// reactor discards input as long as it has pending output, and only little once the kernel has all
/// of it.
fn a_client_that_goes_on_sending_after_sigterm(model: &str) {
    let mut server = echo(model).args(&["--grace", "1h"]).start();
    let data = Random::new(8).bytes(16 * MIB);
    let answers = &data[..UNDER_WAY];
    let mut stream = client_with_answers_under_way(&server, answers);
    server.signal(Signal::SIGTERM);
    let stopping = |line: &str| line.contains("stopping; connections open: 1");
    assert!(server.stderr().wait_for(PATIENCE, stopping).is_some());
    assert_eq!(server.wait(Duration::from_millis(300)), None);
    stream.write_all(&data).expect("the server reads all");
    expect_end(&stream, answers);
    drop(stream);
    assert_eq!(server.exit_code(), 0);
}

fn a_stalled_peer_delays_the_end_by_the_grace_period(model: &str) {
    let mut server = echo(model).args(&["--grace", "300ms"]).start();
    let _stalled = stalled_client(&server);
    let signalled = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let waited = signalled.elapsed();
    assert!(waited >= Duration::from_millis(250), "{waited:?}");
    let stderr = server.stderr();
    stderr.wait_for_end();
    assert!(stderr.text().contains("stopping; connections open: 1\n"));
    assert!(stderr.text().contains("over; connections cut off: 1\n"));
}

fn no_grace(model: &str) {
    let mut server = echo(model).args(&["--grace", "0"]).start();
    let _stalled = stalled_client(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

fn a_second_signal_ends_at_once(model: &str) {
    let mut server = echo(model).args(&["--grace", "1h"]).start();
    let _stalled = stalled_client(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(
        server.wait(Duration::from_millis(500)),
        None,
        "pending output was given up"
    );
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit_code(), 0);
}

/// The terminal sends SIGINT to all processes of the server.
fn ctrl_c_in_a_terminal(model: &str) {
    let server = echo(model).args(&["--grace", "1h"]).under(&["setsid"]);
    let mut server = server.start();
    let stalled = stalled_client(&server);
    let idle = dial(server.tcp());
    ping(&idle, b"attached");
    let group = Pid::from_raw(server.pid().cast_signed());
    killpg(group, Signal::SIGINT).expect("the server leads a group");
    expect_end(&idle, b"");
    assert_eq!(
        server.wait(Duration::from_millis(300)),
        None,
        "pending output was given up"
    );
    drop(stalled);
    assert_eq!(server.exit_code(), 0);
}

fn restart_on_the_same_port(model: &str) {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut server = echo(model).start();
        let address = server.tcp();
        let clients: Vec<_> = (0..5).map(|_| dial(address)).collect();
        ping_all(&clients, b"attached");
        server.signal(signal);
        server.wait(PATIENCE).expect("it ends");
        let again = Launch::new("echo", &[&address.to_string()]);
        let again = again.args(&["--model", model]).start();
        assert_eq!(again.tcp(), address);
        ping(dial(address), b"back again");
        assert!(clients.iter().all(is_closed));
    }
}

fn connections_in_the_log(model: &str) {
    let server = echo(model).args(&["-v"]).start();
    let client = dial(server.tcp());
    let address = client.local_addr().expect("getsockname");
    ping_and_end(&client, b"one");
    let has = |text: &str| {
        server
            .stderr()
            .wait_for(PATIENCE, |line| line.contains(text))
    };
    assert!(has(&format!(" from {address}")).is_some());
    assert!(has(&format!(" from {address} closed: end of file")).is_some());
}
