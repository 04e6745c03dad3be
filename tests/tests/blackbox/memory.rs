//! A process that may have little memory (RLIMIT_AS): it costs some clients their connections, and
//! no others.

use tests::client::{
    Fate, Probe, count, dial, dial_narrow, ping, ping_and_end, send_all_it_takes, watch,
};
use tests::process::leave_memory;
use tests::random::Random;
use tests::{MIB, until};

use super::{echo, ends};

/// Clients that do not read fill the memory with their pending output. A queue that cannot grow costs
/// its own connection, and a line says so.
#[test]
fn no_memory_for_pending_output() {
    let server = echo("reactor").args(&["--high-water", "4MiB"]).start();
    let bystander = dial(server.tcp());
    ping(&bystander, b"before");
    leave_memory(server.pid(), 32 * MIB);
    let mut greedy = Vec::new();
    until("the memory is full", || {
        assert!(greedy.len() < 500, "it is never full");
        greedy.push(dial_narrow(server.tcp(), 4096));
        greedy.iter().rev().take(20).for_each(send_all_it_takes);
        server
            .stderr()
            .text()
            .contains("no memory for its pending output")
    });
    for round in 0..10 {
        greedy.iter().for_each(send_all_it_takes);
        ping(&bystander, format!("round {round}").as_bytes());
        ping(
            dial(server.tcp()),
            format!("a new client {round}").as_bytes(),
        );
    }
    let lines = server.stderr().text();
    let lines = lines.matches("no memory").count();
    assert!(lines < 60, "{lines} lines about it");
    drop(greedy);
    server.stats_until("the greedy are gone", |stats| stats.get("connections") == 1);
    ping_and_end(&bystander, &Random::new(1).bytes(100_000));
    ping_and_end(&dial(server.tcp()), &Random::new(2).bytes(100_000));
    ends(server);
}

/// There is memory for the stacks of some threads only: the other clients are refused, with a line that
/// says so, until some have left.
#[test]
fn no_memory_for_threads() {
    const CLIENTS: usize = 400;
    let server = echo("thread").start();
    let bystander = dial(server.tcp());
    ping(&bystander, b"before");
    leave_memory(server.pid(), 16 * MIB);
    let ask = |client| Probe::ask(server.tcp(), &format!("client {client}"));
    let mut probes: Vec<Probe> = (0..CLIENTS).map(ask).collect();
    watch(&mut probes, 5000);
    let lucky = count(&probes, Fate::Served);
    assert!((1..CLIENTS).contains(&lucky), "{lucky} are served");
    assert_eq!(count(&probes, Fate::Refused), CLIENTS - lucky);
    server.logs("no thread for it");
    ping(&bystander, b"during");
    drop(probes);
    server.stats_until("they are gone", |stats| stats.get("connections") == 1);
    for client in 0..10 {
        ping_and_end(&dial(server.tcp()), format!("client {client}").as_bytes());
    }
    ping_and_end(&bystander, b"after");
    ends(server);
}
