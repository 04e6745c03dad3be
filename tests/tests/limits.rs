//! Limits: idle and stalled peers are closed, too many clients are refused, `--once` serves one
//! client, and the high-water mark pauses a client.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use tests::client::{
    Fate, Probe, count, dial, dial_narrow, dial_udp, dial_unix, difference, fill, is_closed, ping,
    ping_and_end, until_cut_off, watch,
};
use tests::random::Random;
use tests::server::Launch;
use tests::{LowerOnDrop, MIB, until};

#[test]
fn idle_timeout_closes_the_silent_and_not_the_active() {
    let server = Launch::echo().args(&["--idle-timeout", "1s"]).start();
    let active = dial(server.tcp());
    let silent_from_the_start = dial(server.tcp());
    let silent_later = dial(server.tcp());
    ping(&silent_later, b"my only words");
    let opened = Instant::now();
    let going = AtomicBool::new(true);
    thread::scope(|scope| {
        let lower = LowerOnDrop(&going);
        let talk = scope.spawn(|| {
            while going.load(Ordering::Relaxed) {
                ping(&active, b"here I am");
                thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(is_closed(&silent_from_the_start));
        assert!(is_closed(&silent_later));
        // Timers may be coarse, but not by half of the timeout.
        assert!(
            opened.elapsed() > Duration::from_millis(500),
            "closed too early"
        );
        // The active client has outlived the silent ones. It must live twice as long as they did.
        thread::sleep(opened.elapsed());
        drop(lower);
        talk.join().expect("the active connection was closed");
    });
    ping(&active, b"still here");
    // Now it is silent, too.
    assert!(is_closed(&active));
    server.stats_until("all are gone", |stats| stats.get("connections") == 0);
}

#[test]
fn no_idle_timeout_by_default() {
    let server = Launch::echo().start();
    let silent = dial(server.tcp());
    silent
        .set_read_timeout(Some(Duration::from_millis(1500)))
        .expect("SO_RCVTIMEO");
    assert!(!is_closed(&silent));
    ping(&silent, b"finally");
}

#[test]
fn stall_timeout_closes_a_peer_that_accepts_nothing() {
    let server = Launch::echo().args(&["--stall-timeout", "500ms"]).start();
    let bystander = dial(server.tcp());
    ping(&bystander, b"before");
    let baseline = server.open_descriptors();
    let stalled: Vec<_> = (0..3)
        .map(|_| dial_narrow(server.tcp(), 16 * 1024))
        .collect();
    thread::scope(|scope| {
        for stream in &stalled {
            // The server reads up to its high-water mark, and later cuts the connection.
            scope.spawn(|| until_cut_off(stream));
        }
    });
    server.descriptors_return_to(baseline);
    server.stats_until("one connection is left", |stats| {
        stats.get("connections") == 1
    });
    ping(&bystander, b"silent for long, but nothing waits for it");
}

/// A slow reader is not a stalled one: each byte it accepts restarts the timeout.
#[test]
fn stall_timeout_spares_a_slow_reader() {
    let server = Launch::echo()
        .args(&["--stall-timeout", "2s", "--high-water", "64MiB"])
        .start();
    let data = Random::new(1).bytes(16 * MIB);
    let mut stream = dial_narrow(server.tcp(), 64 * 1024);
    stream
        .write_all(&data)
        .expect("the server reads below its high-water mark");
    let mut answer = vec![0; data.len()];
    // 150 KiB every 25 ms take longer than the timeout in all.
    for chunk in answer.chunks_mut(150 * 1024) {
        stream.read_exact(chunk).expect("the server goes on");
        thread::sleep(Duration::from_millis(25));
    }
    assert!(answer == data, "{}", difference(&answer, &data));
    ping_and_end(&stream, b"and on");
}

#[test]
fn max_connections() {
    let server = Launch::echo().args(&["--max-connections", "3"]).start();
    let mut probes: Vec<_> = (0..3)
        .map(|_| Probe::ask(server.tcp(), "first come"))
        .collect();
    watch(&mut probes, 1000);
    assert_eq!(count(&probes, Fate::Served), 3);
    for _ in 0..10 {
        // The server closes the connection before the client sends a byte.
        assert!(is_closed(dial(server.tcp())));
    }
    assert_eq!(server.stats().get("refused"), 10);
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

#[test]
fn once_over_tcp() {
    let mut server = Launch::echo().args(&["--once"]).start();
    let stream = dial(server.tcp());
    ping(&stream, b"one");
    ping(&stream, b"connection, not one message");
    assert_eq!(server.wait(Duration::ZERO), None);
    ping_and_end(&stream, &Random::new(1).bytes(MIB));
    drop(stream);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn once_and_the_client_resets() {
    let mut server = Launch::echo().args(&["--once"]).start();
    let stream = dial(server.tcp());
    ping(&stream, b"one connection");
    tests::client::reset(stream);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn once_over_a_unix_socket() {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("echo.sock");
    let mut server = Launch::new("echo", &[&format!("unix:{}", path.display())])
        .args(&["--once"])
        .start();
    let mut stream = dial_unix(&path);
    ping(&stream, b"one connection");
    stream.write_all(b"the end").expect("write");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("shutdown");
    tests::client::expect_end(&stream, b"the end");
    assert_eq!(server.exit_code(), 0);
    assert!(!path.exists(), "the socket file is still there");
}

#[test]
fn once_over_udp() {
    let mut server = Launch::new("echo", &["udp://127.0.0.1:0"])
        .args(&["--once"])
        .start();
    let socket = dial_udp(server.udp());
    socket.send(b"one datagram").expect("send");
    let mut answer = [0; 100];
    let length = socket.recv(&mut answer).expect("the server answers");
    assert_eq!(&answer[..length], b"one datagram");
    assert_eq!(server.exit_code(), 0);
}

/// A client that was paused at the high-water mark resumes without loss, repeatedly.
#[test]
fn a_paused_client_resumes() {
    let server = Launch::echo().args(&["--high-water", "4096"]).start();
    let block = Random::new(2).bytes(100_003);
    let mut stream = dial_narrow(server.tcp(), 4096);
    let mut received = 0;
    let mut scratch = vec![0; 65_536];
    for _ in 0..3 {
        let mut pending = fill(&stream, &block);
        // Position in the block at which the next reply begins.
        let mut at = 0;
        while pending > 0 {
            match stream.read(&mut scratch) {
                Ok(0) => panic!("the stream ended with {pending} bytes pending"),
                Ok(length) => {
                    let expected = block.iter().cycle().skip(at).take(length);
                    assert!(
                        scratch[..length].iter().eq(expected),
                        "after byte {received}"
                    );
                    at = (at + length) % block.len();
                    received += length;
                    pending -= length;
                }
                Err(error) => panic!(
                    "{pending} bytes are stranded: {error} ({:?})",
                    ErrorKind::TimedOut
                ),
            }
        }
    }
    ping_and_end(&stream, b"and on");
}
