//! The default settings bound the resources that a stranger can make a server spend: `SECURITY.md` has
//! the table, and these are its tests. They count lines, bytes, connections and processes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Instant;

use nix::poll::PollFlags;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use tempfile::tempdir;

use tests::call::Call;
use tests::chat::chat;
use tests::client::{dial, dial_from, dial_narrow, is_closed, ping, ready, send_all_it_takes};
use tests::namespace::{command, network_of, own_network};
use tests::process::resident_bytes;
use tests::server::{Launch, MODELS, Server};
use tests::{MIB, until};

/// Lines of the chat's log that may follow each other at once.
const ENTRIES_AT_ONCE: usize = 100;
/// Bytes of a line of the log that a stranger has caused, with its time and the count of lines that
/// were left out.
const ENTRY_MAX: usize = 300;

/// The lines that a rate-limited log may have after this time: a burst, one a second, and a few of
/// the server's own.
fn allowed(burst: usize, since: Instant) -> usize {
    burst + since.elapsed().as_secs() as usize + 10
}

/// Each client gives a bad name of many control characters and goes: on a disk, 400 GB a day.
#[test]
fn bad_names_fill_no_disk() {
    let directory = tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let path = log.to_str().expect("UTF-8");
    let begun = Instant::now();
    let server = chat(&["--log-file", path]).start();
    for _ in 0..1000 {
        let mut client = dial(server.tcp());
        client.write_all(&[0x1b; 300]).expect("write");
        client.write_all(b"\n").expect("write");
        let mut told = String::new();
        client.read_to_string(&mut told).expect("a reason");
        assert!(told.contains("a name has letters"), "{told}");
    }
    let joins = (0..300).map(|number| {
        let guest = tests::chat::Guest::join(server.tcp(), &format!("guest{number}"));
        drop(guest);
    });
    assert_eq!(joins.count(), 300);
    let lines = std::fs::read_to_string(&log).expect("the log");
    assert!(lines.contains("refused the name"), "{lines}");
    let count = lines.lines().count();
    assert!(count >= ENTRIES_AT_ONCE, "{count} lines");
    assert!(count <= allowed(ENTRIES_AT_ONCE, begun), "{count} lines");
    assert!(lines.lines().all(|line| line.len() <= ENTRY_MAX), "{lines}");
}

/// In every model, clients that are refused are counted, and logged once a second.
#[test]
fn refused_clients_fill_no_disk() {
    for model in MODELS {
        let begun = Instant::now();
        let launch = Launch::echo().model(model);
        let server = launch.args(&["--max-connections", "1"]).start();
        let only = dial(server.tcp());
        ping(&only, b"the only one");
        for _ in 0..300 {
            assert!(is_closed(dial(server.tcp())));
        }
        assert_eq!(server.stats().get("refused"), 300, "{model}");
        let count = server.stderr().count();
        assert!(count <= allowed(1, begun), "{model}: {count} lines");
    }
}

const HOME: Ipv4Addr = Ipv4Addr::new(127, 0, 8, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 8, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 8, 3);

/// Two connections from one address are allowed, and a third one is closed, until one of the two has
/// gone. Another address has two of its own.
fn one_address_has_two_connections(server: &Server, what: &str) {
    let from = |address| dial_from(address, server.tcp());
    let open = |count| {
        server.stats_until(what, |stats| stats.get("connections") == count);
    };
    let mut clients = vec![from(HOME), from(HOME)];
    open(2);
    assert!(is_closed_or_told(from(HOME)), "{what}");
    clients.extend([from(OTHER), from(OTHER)]);
    open(4);
    assert!(is_closed_or_told(from(OTHER)), "{what}");
    assert_eq!(server.stats().get("refused_address"), 2, "{what}");
    drop(clients.swap_remove(0));
    open(3);
    clients.push(from(HOME));
    open(4);
    assert_eq!(server.stats().get("refused"), 2, "{what}");
}

/// Whether a client is refused: with a line that says why, or without.
fn is_closed_or_told(mut client: TcpStream) -> bool {
    let mut told = String::new();
    let end = client.read_to_string(&mut told);
    end.is_ok() && ["", "* too many connections from your address\n"].contains(&&*told)
}

#[test]
fn max_per_ip_holds_in_every_model() {
    for model in MODELS {
        for name in ["echo", "upper", "sink"] {
            let launch = Launch::new(name, &["127.0.0.1:0"]).model(model);
            let server = launch.args(&["--max-per-ip", "2"]).start();
            one_address_has_two_connections(&server, &format!("{name} --model {model}"));
        }
    }
}

#[test]
fn max_per_ip_holds_for_chat_and_talk() {
    let server = chat(&["--max-per-ip", "2"]).start();
    one_address_has_two_connections(&server, "chat");
    let launch = Launch::new("talk", &["127.0.0.1:0"]);
    let server = launch.args(&["--max-per-ip", "1"]).start();
    let _peer = dial_from(HOME, server.tcp());
    server.logs("peer connected from 127.0.8.1");
    // The limit comes before the line: the second client is not told that it is busy.
    assert!(is_closed_or_told(dial_from(HOME, server.tcp())));
    let mut busy = String::new();
    let mut other = dial_from(OTHER, server.tcp());
    other.read_to_string(&mut busy).expect("a reason");
    assert_eq!(busy, "busy\n");
    assert_eq!(server.stats().get("refused_address"), 1);
}

/// A stranger from a third address is served once the silent peers of two are ten seconds old, and
/// one of them makes room. Peers that have sent a byte stay, however long they are silent after that.
#[test]
fn in_every_model_a_silent_peer_makes_room_and_one_that_has_spoken_does_not() {
    let full = |(name, model)| {
        let launch = Launch::new(name, &["127.0.0.1:0"]).model(model);
        let limits = ["--max-connections", "6", "--max-per-ip", "3"];
        let server = launch.args(&limits).start();
        let silent = [HOME, HOME, OTHER, OTHER].map(|from| dial_from(from, server.tcp()));
        let spoken = [HOME, OTHER].map(|from| dial_from(from, server.tcp()));
        spoken
            .iter()
            .for_each(|mut peer| peer.write_all(b"x\n").expect("write"));
        server.stats_until("all are in", |stats| stats.get("connections") == 6);
        assert!(is_closed(dial(server.tcp())), "{name} --model {model}");
        (server, silent, spoken)
    };
    let all = MODELS
        .into_iter()
        .flat_map(|model| ["echo", "upper", "sink"].map(|name| (name, model)));
    for (server, silent, spoken) in all.map(full).collect::<Vec<_>>() {
        let mut asked = 7;
        let newcomers = [6, 7].map(|others| {
            let mut newcomer = None;
            until("a silent peer makes room", || {
                let mut dialled = dial_from(THIRD, server.tcp());
                // Fails if it is refused already.
                let _ = dialled.write_all(b"y\n");
                newcomer = Some(dialled);
                asked += 1;
                let stats = server.stats_until("it is accepted or refused", |stats| {
                    stats.get("accepted") + stats.get("refused") == asked
                });
                stats.get("accepted") > others
            });
            newcomer.expect("it was dialled")
        });
        let stats = server.stats_until("both have ended", |stats| stats.get("connections") == 6);
        assert_eq!(stats.get("closed_displaced"), 2, "{stats:?}");
        let hung_up = PollFlags::from_bits_retain(libc::POLLRDHUP);
        let gone = |peer: &TcpStream| ready(peer, hung_up, 0);
        for of_one_address in silent.chunks(2) {
            let gone = of_one_address.iter().filter(|peer| gone(peer));
            assert_eq!(gone.count(), 1, "{stats:?}");
        }
        assert!(!spoken.iter().chain(&newcomers).any(gone));
    }
}

/// Each worker has its share, rounded up.
#[test]
fn max_per_ip_holds_for_workers_together() {
    let server = Launch::echo()
        .args(&["--workers", "2", "--max-per-ip", "10"])
        .start();
    let clients: Vec<TcpStream> = (0..100).map(|_| dial_from(HOME, server.tcp())).collect();
    let stats = server.stats_until("all clients were seen", |stats| {
        stats.get("accepted") + stats.get("refused") == 100
    });
    assert_eq!(stats.get("accepted"), 10);
    assert_eq!(stats.get("refused_address"), 90);
    drop(clients);
}

#[test]
fn max_per_ip_of_0_is_no_limit_and_loopback_has_none_unless_it_is_given() {
    for option in [&[][..], &["--max-per-ip", "0"]] {
        let launch = Launch::echo().args(&["--max-connections", "10"]);
        let server = launch.args(option).start();
        let clients: Vec<TcpStream> = (0..10).map(|_| dial(server.tcp())).collect();
        for client in &clients {
            ping(client, b"served");
        }
    }
}

/// Clients of a server in a network of their own; each holds its connection until it is dropped.
struct Holders(Vec<Child>);

impl Holders {
    fn connect(&mut self, server: &Server, from: &str, count: usize) {
        let port = server.tcp().port().to_string();
        for _ in 0..count {
            let mut nc = command(&network_of(server.pid()));
            nc.args(["nc", "-s", from, "10.9.9.1", &port]);
            nc.stdin(Stdio::piped()).stdout(Stdio::null());
            self.0.push(nc.spawn().expect("nc starts"));
        }
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail only if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// By default an address that is not loopback has half of all connections, which is said at start.
#[test]
fn one_address_has_half_of_all_connections() {
    let addresses = [1, 2, 3].map(|host| format!("ip addr add 10.9.9.{host}/24 dev lo"));
    let Some(network) = own_network(&addresses.join(" && ")) else {
        return;
    };
    for model in MODELS {
        let launch = Launch::new("echo", &["10.9.9.1:0"]).under(&network);
        let launch = launch.model(model).args(&["--max-connections", "6"]);
        let server = launch.start();
        server.logs("up to 6 connections, 3 of them from one address but loopback");
        let mut holders = Holders(Vec::new());
        holders.connect(&server, "10.9.9.2", 5);
        server.stats_until("two are refused", |stats| {
            stats.get("refused_address") == 2 && stats.get("connections") == 3
        });
        holders.connect(&server, "10.9.9.3", 3);
        let stats = server.stats_until("all others are served", |stats| {
            stats.get("connections") == 6
        });
        assert_eq!(stats.get("refused"), 2, "{model}");
    }
}

/// The limit of processes and threads leaves most of the machine's to others, and is said at start.
#[test]
fn fork_and_thread_have_a_limit_far_below_the_machines() {
    let pids = std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("/proc");
    let pids: usize = pids.trim().parse().expect("a number");
    for model in ["fork", "thread"] {
        let server = Launch::echo().model(model).start();
        let said = server.logs("up to ");
        let limit = said.split("up to ").nth(1).expect("the words");
        let limit = limit.split(' ').next().expect("a word");
        let limit: usize = limit.parse().expect("a number");
        assert!((1..=pids / 4).contains(&limit), "{said}");
    }
}

/// Two hundred clients that read nothing would keep a quarter of a megabyte each.
#[test]
fn deaf_clients_hold_no_more_memory_than_all_together_may() {
    let server = Launch::echo()
        .args(&["--max-pending", "1MiB", "--high-water", "128KiB"])
        .start();
    let reader = dial(server.tcp());
    ping(&reader, b"before");
    let before = resident_bytes(server.pid());
    // The bound is never below that of one connection, which is 16 MiB above the high-water mark.
    let bound = 16 * MIB + MIB;
    let deaf: Vec<TcpStream> = (0..200).map(|_| dial_narrow(server.tcp(), 4096)).collect();
    let stats = server.stats_until("some of them are closed", |stats| {
        deaf.iter().for_each(send_all_it_takes);
        stats.get("closed_max_pending") > 0
    });
    assert!(stats.get("connections") < 200, "{stats:?}");
    server.logs("bytes waited for all peers; slow ones closed: ");
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < 2 * bound + 8 * MIB, "{} MiB", grown / MIB);
    ping(&reader, b"after");
}

/// A server that sends without end and unasked. Returns the bytes that the client took.
fn flood(listener: &TcpListener, block: &[u8]) -> usize {
    let (mut client, _) = listener.accept().expect("a client");
    // Once the client takes nothing for so long, its buffers are full, or it has gone.
    setsockopt(&client, sockopt::SendTimeout, &TimeVal::milliseconds(1500)).expect("SO_SNDTIMEO");
    let mut sent = 0;
    while sent < 64 * MIB {
        match client.write(block) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    sent
}

/// While its standard output takes nothing, a client takes no more from the server than its buffers
/// hold.
#[test]
fn a_client_of_a_flood_takes_no_more_than_its_output_does() {
    let endless = vec![b'x'; 64 * 1024];
    let lines = b"a line of a flood\n".repeat(4000);
    let escapes = b"\x1b[2J\xff".repeat(12_000);
    for words in [&["talk"][..], &["echo"], &["upper", "--addr"]] {
        for block in [&endless, &lines, &escapes] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
            setsockopt(&listener, sockopt::SndBuf, &(64 * 1024)).expect("SO_SNDBUF");
            let at = listener.local_addr().expect("getsockname").to_string();
            let arguments = [words, &[&at]].concat();
            let call = Call::start(&arguments, Stdio::piped(), Stdio::piped());
            let sent = flood(&listener, block);
            assert!(sent < 32 * MIB, "{words:?} took {} MiB", sent / MIB);
            drop(call);
        }
    }
}

/// The echo of a datagram is the datagram, and nothing comes without one: a forged sender gains
/// nothing by a server in between.
#[test]
fn a_datagram_is_answered_by_as_many_bytes() {
    for name in ["echo", "upper"] {
        let server = Launch::new(name, &["udp://127.0.0.1:0"]).start();
        let client = tests::client::dial_udp(server.udp());
        for length in [0, 1, 100, 1400, 60_000] {
            client.send(&vec![b'x'; length]).expect("send");
            let mut answer = vec![0; 65_536];
            assert_eq!(client.recv(&mut answer).expect("an answer"), length);
        }
        let stats = server.stats();
        assert_eq!(stats.get("datagrams_in"), 5);
        assert_eq!(stats.get("datagrams_out"), 5);
    }
}
