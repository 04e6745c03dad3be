//! Each kind of load runs over each transport, and counts its messages correctly.

use std::collections::HashSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::call::Call;
use tests::server::Launch;

use crate::faulty::{self, Faulty, SIZE};
use crate::run::{command, finish, load, number, serve};

#[test]
fn echo_and_upper_over_everything() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("load.sock");
    let unix = format!("unix:{}", path.display());
    for kind in ["echo", "upper"] {
        let addresses = ["127.0.0.1:0", "udp://127.0.0.1:0", &unix];
        let server = Launch::new(kind, &addresses).start();
        for address in server.addresses() {
            let words = ["--kind", kind, address, "-c", "20", "--size", "100"];
            let json = load(&words).good();
            let expected = serde_json::json!({
                "kind": kind, "address": address, "connections": 20, "size": 100, "depth": 1,
                "duration_s": 0.3, "warm_up_s": 0.1, "rate": null, "threads": 1, "sources": 1,
                "connect_rate": null, "talkers": null,
            });
            for (name, value) in expected.as_object().expect("an object") {
                assert_eq!(&json["options"][name], value, "{name}");
            }
            assert_eq!(json["connected"], 20);
            let messages = number(&json, "/messages");
            for (name, expected) in [
                ("/latency_us/count", messages),
                ("/bytes_sent", messages * 100.0),
                ("/bytes_received", messages * 100.0),
                ("/messages_per_s", messages / number(&json, "/elapsed_s")),
            ] {
                let found = number(&json, name);
                assert!((found - expected).abs() < 1e-6 * expected, "{name}: {json}");
            }
            assert!(number(&json, "/elapsed_s") > 0.0);
            let names = ["min", "p50", "p90", "p99", "p999", "max"];
            let latencies = names.map(|name| number(&json, &format!("/latency_us/{name}")));
            assert!(latencies.is_sorted() && latencies[0] > 0.0, "{json}");
            assert!(number(&json, "/client/cpu_us_per_message") > 0.0);
            assert!(number(&json, "/client/cpu_share") > 0.0);
            assert!(json["client"]["limited"].is_boolean());
            for name in ["server", "delivered_per_s", "connects_per_s"] {
                assert!(json[name].is_null(), "{name}");
            }
        }
    }
}

#[test]
fn sizes_depths_and_threads() {
    let server = serve("echo", "127.0.0.1:0");
    let address = server.tcp().to_string();
    for (size, depth, threads) in [
        ("1", "1", "1"),
        ("7", "100", "3"),
        ("64KiB", "3", "2"),
        ("1MiB", "4", "1"),
    ] {
        let words = [
            &address, "-c", "5", "-s", size, "--depth", depth, "-t", threads, "-d", "1s",
        ];
        load(&words).good();
    }
    // The generator closes all its connections.
    server.stats_until("all connections are closed", |stats| {
        stats.get("connections") == 0
    });
    let stats = server.stats();
    assert_eq!((stats.get("accepted"), stats.get("closed_reset")), (20, 0));
}

#[test]
fn sinks() {
    let server = serve("sink", "127.0.0.1:0");
    let address = server.tcp().to_string();
    let json = load(&["--kind", "sink", &address, "-c", "3", "-s", "1000"]).good();
    let sent = number(&json, "/bytes_sent");
    assert!(sent >= 1000.0 * number(&json, "/messages"), "{json}");
    assert_eq!(json["latency_us"]["count"], 0);
    let json = load(&["--kind", "sink", &address, "-c", "3", "--rate", "1000"]).good();
    let planned = 1000.0 * number(&json, "/elapsed_s");
    let counted = number(&json, "/messages") + number(&json, "/behind");
    assert!((counted - planned).abs() <= 10.0, "{json}");
}

#[test]
fn chats() {
    let server = Launch::new("chat", &["127.0.0.1:0"])
        .args(&["--rate", "0"])
        .start();
    let address = server.tcp().to_string();
    for (talkers, depth, threads) in [("1", "1", "1"), ("7", "3", "2"), ("30", "4", "3")] {
        let words = ["--kind", "chat", &address, "-c", "30", "--talkers", talkers];
        let json = load(&[&words[..], &["--depth", depth, "-t", threads]].concat()).good();
        assert_eq!(json["connected"], 30);
        assert_eq!(json["options"]["talkers"].to_string(), talkers);
        // All members but the author have received each line.
        let lines = json["messages"].as_u64().expect("a number");
        assert_eq!(json["delivered"], lines * 29, "{json}");
        assert_eq!(json["latency_us"]["count"], json["delivered"]);
        assert!(number(&json, "/delivered_per_s") > 0.0);
    }
}

#[test]
fn cycles_of_connections() {
    let server = serve("echo", "127.0.0.1:0");
    let address = server.tcp().to_string();
    let json = load(&["--kind", "connect", &address, "-c", "10", "-t", "2"]).good();
    assert_eq!(json["connects_per_s"], json["messages_per_s"]);
    server.stats_until("all connections are closed", |stats| {
        stats.get("connections") == 0
    });
    let stats = server.stats();
    assert!(stats.get("accepted") >= number(&json, "/messages") as u64);
    assert_eq!(stats.get("closed_reset"), 0);
}

/// Each planned message is either sent or counted as behind.
#[test]
fn open_loops() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let unix = format!("unix:{}", directory.path().join("load.sock").display());
    let echo = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0", &unix]).start();
    for kind in ["echo", "connect"] {
        for address in echo.addresses() {
            if kind == "connect" && address.starts_with("udp") {
                continue;
            }
            let json = load(&[
                "--kind", kind, address, "-c", "7", "--rate", "500", "-t", "3",
            ])
            .good();
            let planned = 500.0 * number(&json, "/elapsed_s");
            let counted = number(&json, "/latency_us/count");
            assert!((counted - planned).abs() <= 10.0, "{json}");
            let (sent, behind) = (number(&json, "/messages"), number(&json, "/behind"));
            assert!((sent + behind - counted).abs() < 0.5, "{json}");
        }
    }
}

/// While the server is stopped, messages become due that cannot be sent. Their waiting time counts.
#[test]
fn a_pause_of_the_server_is_in_the_latencies_of_an_open_loop() {
    let server = serve("echo", "127.0.0.1:0");
    let words = [
        &server.tcp().to_string(),
        "--rate",
        "1000",
        "-c",
        "1",
        "-d",
        "60s",
        "--json",
    ];
    let mut call = Call::spawn(command(&words));
    server.stats_until("messages go to and fro", |stats| stats.get("reads") > 1500);
    server.stop();
    std::thread::sleep(Duration::from_millis(500));
    server.resume();
    let seen = server.stats().get("reads");
    server.stats_until("all is made up for", |stats| {
        stats.get("reads") > seen + 1000
    });
    kill(Pid::from_raw(call.pid().cast_signed()), Signal::SIGINT).expect("kill");
    let mut stdout = String::new();
    call.stdout().read_to_string(&mut stdout).expect("UTF-8");
    assert_eq!(call.finish(), (Some(0), String::new()));
    let json: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(json["interrupted"], true);
    // The first of them is due within a millisecond of the stop, which itself takes some time.
    assert!(number(&json, "/latency_us/max") >= 490e3, "{json}");
    // Five hundred messages were due meanwhile, and waited a quarter of a second on average.
    let waited = number(&json, "/latency_us/mean") * number(&json, "/latency_us/count");
    assert!(waited >= 0.8 * 500.0 * 250e3, "{json}");
}

#[test]
fn sources_are_taken_in_turn() {
    let server = Faulty::start(faulty::right);
    let words = [
        &server.address(),
        "-c",
        "6",
        "-s",
        &SIZE.to_string(),
        "--sources",
        "3",
    ];
    let json = load(&words).good();
    assert_eq!(json["options"]["sources"], 3);
    let clients: HashSet<IpAddr> = server.clients().iter().map(|at| at.ip()).collect();
    let expected = (1..=3).map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
    assert_eq!(clients, expected.collect());
}

#[test]
fn connections_are_opened_at_a_rate() {
    let server = serve("echo", "127.0.0.1:0");
    let start = std::time::Instant::now();
    let words = [
        &server.tcp().to_string(),
        "-c",
        "21",
        "--connect-rate",
        "50",
        "-t",
        "2",
    ];
    load(&words).good();
    // Each of the two threads opens its first connection at once.
    assert!(start.elapsed() >= Duration::from_millis(360));
}

/// No server can keep up with this rate; the generator sends as fast as without one. The backlog of
/// the warm-up is not measured.
#[test]
fn a_rate_that_is_impossible() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let unix = format!("unix:{}", directory.path().join("load.sock").display());
    let echo = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0", &unix]).start();
    for address in echo.addresses() {
        // Every message is sent late, but each reply comes in time, unless the machine stands still
        // for that long.
        let (timeout, duration) = match address.starts_with("udp") {
            true => ("1s", "1500ms"),
            false => ("10s", "400ms"),
        };
        let words = [
            address,
            "-c",
            "7",
            "--rate",
            "1000000",
            "--timeout",
            timeout,
        ];
        let mut command = command(&words);
        command.args(["--json", "--warm-up", "400ms", "-d", duration]);
        let json = finish(command).good();
        let planned = 1e6 * number(&json, "/elapsed_s");
        let counted = number(&json, "/behind") + number(&json, "/messages");
        assert!((0.999..1.001).contains(&(counted / planned)), "{json}");
    }
}

/// The connections of several addresses are dealt out in turn.
#[test]
fn several_servers_share_the_connections() {
    let servers = [0, 1].map(|_| Launch::echo().start());
    let addresses = servers
        .each_ref()
        .map(|server| server.addresses()[0].as_str());
    let json = load(&[addresses[0], addresses[1], "-c", "7"]).good();
    assert_eq!(json["options"]["address"], addresses.join(" "));
    for (server, count) in servers.iter().zip([4, 3]) {
        assert_eq!(server.stats().get("accepted"), count);
    }
    let finished = finish(command(&[addresses[0], "udp://127.0.0.1:9"]));
    assert_eq!(finished.code, Some(2), "{finished:?}");
}
