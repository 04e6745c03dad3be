//! Descriptors: the server survives a lack of them without spinning, and leaks none.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;

use tests::client::{Fate, Probe, count, dial, dial_from, ping, ping_all, reset, watch};
use tests::process::{cpu_time, limit_descriptors};
use tests::server::{Launch, Server};
use tests::{LowerOnDrop, one_at_a_time, until};

/// The clients with these numbers, each with its own question.
fn ask(server: SocketAddr, range: std::ops::Range<usize>) -> Vec<Probe> {
    range
        .map(|client| Probe::ask(server, &format!("client {client}")))
        .collect()
}

/// Connects again and again until the server serves a client.
fn ask_until_served(server: SocketAddr) -> Probe {
    let mut lucky = None;
    until("a new client is served", || {
        let mut probes = ask(server, 1000..1001);
        watch(&mut probes, 1000);
        lucky = probes.pop().filter(|probe| probe.fate == Fate::Served);
        lucky.is_some()
    });
    lucky.expect("served")
}

/// Checks that a second without traffic costs almost no turns and processor time.
fn assert_at_rest(server: &mut Server) {
    let before = server.stats();
    let cpu_before = cpu_time(server.pid());
    let ended = server.wait(Duration::from_secs(1));
    assert!(ended.is_none(), "the server ended: {ended:?}");
    let cpu = cpu_time(server.pid()).saturating_sub(cpu_before);
    let turns = server.stats().since(&before, "turns");
    assert!(
        turns < 20,
        "{turns} turns of the loop in a second of silence"
    );
    assert!(
        cpu < Duration::from_millis(100),
        "{cpu:?} of processor time in a second of silence"
    );
}

#[test]
fn out_of_descriptors() {
    let mut server = Launch::echo().descriptors(64).start();
    let address = server.tcp();
    let mut probes = ask(address, 0..150);
    watch(&mut probes, 1000);
    let lucky = count(&probes, Fate::Served);
    assert!(
        (40..64).contains(&lucky),
        "{lucky} of 150 were served with 64 descriptors"
    );
    assert_at_rest(&mut server);

    // The accepted clients are not affected.
    let (mut inside, outside): (Vec<_>, Vec<_>) = probes
        .into_iter()
        .partition(|probe| probe.fate == Fate::Served);
    inside.iter().for_each(Probe::ask_again);

    // No client waits for ever: the ones that were not refused are served as others leave.
    let mut outside: Vec<_> = outside
        .into_iter()
        .filter(|probe| probe.fate == Fate::Waiting)
        .collect();
    inside.truncate(10);
    watch(&mut outside, 2000);
    assert_eq!(count(&outside, Fate::Waiting), 0);
    drop(outside);
    ask_until_served(address).ask_again();
    inside.iter().for_each(Probe::ask_again);
}

/// With the limit below all open descriptors, not even the server's reserve descriptor helps: the
/// new clients wait in the backlog, and edge triggering reports them only once.
#[test]
fn waiting_clients_are_served_when_the_limit_rises() {
    let mut server = Launch::echo().start();
    let address = server.tcp();
    let mut inside = ask(address, 0..20);
    watch(&mut inside, 1000);
    assert_eq!(count(&inside, Fate::Served), 20);

    limit_descriptors(server.pid(), 3);
    let mut waiting = ask(address, 20..30);
    watch(&mut waiting, 300);
    assert_eq!(
        count(&waiting, Fate::Waiting),
        10,
        "served or refused without a descriptor"
    );
    assert_at_rest(&mut server);
    inside.iter().for_each(Probe::ask_again);

    limit_descriptors(server.pid(), 1000);
    watch(&mut waiting, 5000);
    assert_eq!(
        count(&waiting, Fate::Served),
        10,
        "clients in the backlog were forgotten"
    );
    inside.iter().for_each(Probe::ask_again);
}

/// With its reserve descriptor the server can accept and refuse the new clients one by one.
#[test]
fn clients_are_refused_at_once_and_served_when_others_have_left() {
    let mut server = Launch::echo().start();
    let address = server.tcp();
    let mut inside = ask(address, 0..20);
    watch(&mut inside, 1000);
    assert_eq!(count(&inside, Fate::Served), 20);

    // Descriptors below 20 are all in use; the clients hold some of them.
    limit_descriptors(server.pid(), 20);
    let before = server.stats();
    let mut outside = ask(address, 20..25);
    watch(&mut outside, 5000);
    assert_eq!(count(&outside, Fate::Refused), 5);
    assert_eq!(server.stats().since(&before, "refused"), 5);
    assert_at_rest(&mut server);
    inside.iter().for_each(Probe::ask_again);

    // All clients leave but the last, whose descriptor is above the limit.
    inside.drain(..19);
    ask_until_served(address).ask_again();
    inside.iter().for_each(Probe::ask_again);
}

#[test]
fn a_thousand_resets() {
    let server = Launch::echo().start();
    let bystander = dial(server.tcp());
    ping(&bystander, b"before");
    let baseline = server.open_descriptors();
    for group in 0..10 {
        let streams: Vec<_> = (0..100).map(|_| dial(server.tcp())).collect();
        for (index, mut stream) in streams.into_iter().enumerate() {
            match index % 4 {
                // Reset at once, with a question under way, after an answer, and with much under
                // way.
                0 => {}
                1 => stream.write_all(b"no answer, please").expect("write"),
                2 => ping(&stream, b"an answer"),
                _ => stream.write_all(&vec![b'x'; 50_000]).expect("write"),
            }
            reset(stream);
        }
        ping(&bystander, format!("after group {group}").as_bytes());
    }
    server.descriptors_return_to(baseline);
    server.stats_until("only the bystander is left", |stats| {
        stats.get("connections") == 1
    });
    ping(&bystander, b"after");
    ping(dial(server.tcp()), b"a new client");
}

/// When the server wakes up, each of these connections has been reset before it is accepted.
#[test]
fn resets_before_the_accept() {
    let server = Launch::echo().start();
    let bystander = dial(server.tcp());
    ping(&bystander, b"before");
    let baseline = server.open_descriptors();
    server.stop();
    for index in 0..100 {
        let mut stream = dial(server.tcp());
        if index % 2 == 0 {
            stream
                .write_all(b"gone before you read this")
                .expect("write");
        }
        reset(stream);
    }
    let survivor = dial(server.tcp());
    server.resume();
    ping(&survivor, b"in the same batch");
    ping(&bystander, b"after");
    drop(survivor);
    server.descriptors_return_to(baseline);
}

/// The slots of closed connections are reused in the batch in which other connections end.
#[test]
fn old_connections_end_and_new_ones_come_in_one_batch() {
    let server = Launch::echo().start();
    let baseline = server.open_descriptors();
    let mut old: Vec<_> = (0..50).map(|_| dial(server.tcp())).collect();
    for round in 0..20 {
        ping_all(&old, format!("round {round}").as_bytes());
        server.stop();
        for (index, mut stream) in old.drain(..).enumerate() {
            stream.write_all(b"last words").expect("write");
            if index % 2 == 0 {
                reset(stream);
            }
        }
        old = (0..50).map(|_| dial(server.tcp())).collect();
        server.resume();
    }
    ping_all(&old, b"the last round");
    drop(old);
    server.descriptors_return_to(baseline);
}

/// A child process must not inherit the server's sockets: a connection would stay open in it.
#[test]
fn every_descriptor_is_closed_on_exec() {
    let addresses = ["127.0.0.1:0", "udp://127.0.0.1:0"];
    let server = Launch::new("echo", &addresses)
        .args(&["--idle-timeout", "1h"])
        .start();
    let client = dial(server.tcp());
    ping(&client, b"connected");
    let process = PathBuf::from(format!("/proc/{}", server.pid()));
    let mut own = 0;
    for entry in fs::read_dir(process.join("fd")).expect("/proc/PID/fd") {
        let entry = entry.expect("/proc/PID/fd");
        let target = fs::read_link(entry.path()).expect("/proc/PID/fd/FD");
        let target = target.to_string_lossy();
        // The server may have inherited any other descriptor.
        if !target.starts_with("socket:") && !target.starts_with("anon_inode:") {
            continue;
        }
        let info = process.join("fdinfo").join(entry.file_name());
        let info = fs::read_to_string(info).expect("/proc/PID/fdinfo/FD");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.expect("flags").trim(), 8).expect("octal");
        assert!(
            OFlag::from_bits_retain(flags).contains(OFlag::O_CLOEXEC),
            "{target}: {info}"
        );
        own += 1;
    }
    assert!(
        own >= 4,
        "{own} descriptors for epoll, two listeners and a connection"
    );
}

#[test]
fn nothing_leaks_over_twenty_thousand_connections() {
    const THREADS: u8 = 8;
    const EACH: usize = 2_500;
    let _turn = one_at_a_time();
    let server = Launch::echo().start();
    let address = server.tcp();
    let baseline = server.open_descriptors();
    let going = AtomicBool::new(true);
    thread::scope(|scope| {
        let lower = LowerOnDrop(&going);
        let visitors: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    for visit in 0..EACH {
                        let stream = dial_from(Ipv4Addr::new(127, 0, 0, 2 + thread), address);
                        ping(&stream, format!("{thread} {visit}").as_bytes());
                    }
                })
            })
            .collect();
        // One client stays all the time.
        scope.spawn(|| {
            let stream = dial(address);
            while going.load(Ordering::Relaxed) {
                ping(&stream, b"still here");
                thread::yield_now();
            }
        });
        let all_well = visitors.into_iter().all(|visitor| visitor.join().is_ok());
        drop(lower);
        assert!(all_well, "a visitor was not served");
    });
    server.descriptors_return_to(baseline);
    let stats = server.stats_until("all have left", |stats| stats.get("connections") == 0);
    assert_eq!(stats.get("accepted"), u64::from(THREADS) * EACH as u64 + 1);
    assert_eq!(stats.get("refused"), 0);
}
