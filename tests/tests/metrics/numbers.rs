//! The numbers: every server has them, they agree with `--stats`, and a server that is full tells them.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use tests::client::{dial, dial_udp, is_closed, ping, ping_all, reset};
use tests::server::{Launch, MODELS, Server};
use tests::source::workspace;
use tests::{skip, until};

use crate::scrape::{labelled, measured, scrape, sum, url, value};

/// A sample of the names on the page, and those of `--stats`.
const NAMES: [(&str, &str); 10] = [
    ("edgeloop_connections", "connections"),
    ("edgeloop_connections_peak", "peak"),
    ("edgeloop_connections_accepted_total", "accepted"),
    ("edgeloop_connections_refused_total", "refused"),
    ("edgeloop_connections_closed_total", "closed"),
    ("edgeloop_received_bytes_total", "bytes_in"),
    ("edgeloop_sent_bytes_total", "bytes_out"),
    ("edgeloop_accept_calls_total", "accepts"),
    ("edgeloop_read_calls_total", "reads"),
    ("edgeloop_write_calls_total", "writes"),
];

const BLOCK: [u8; 16_384] = [b'x'; 16_384];

fn count(server: &Server, name: &str) -> u64 {
    value(&scrape(server), name)
}

#[test]
fn every_server_has_them() {
    for (name, address) in [
        ("echo", "127.0.0.1:0"),
        ("echo", "http://127.0.0.1:0"),
        ("upper", "127.0.0.1:0"),
        ("sink", "127.0.0.1:0"),
        ("chat", "127.0.0.1:0"),
        ("talk", "127.0.0.1:0"),
    ] {
        let server = measured(name, &[address]).start();
        let scheme = if address.starts_with("http") {
            "http://"
        } else {
            "tcp://"
        };
        let _client = dial(server.address(scheme));
        until("the client is counted", || {
            count(&server, "edgeloop_connections_accepted_total") == 1
        });
        let families = scrape(&server);
        assert_eq!(value(&families, "edgeloop_connections"), 1, "{name}");
        assert_eq!(value(&families, "edgeloop_reactors"), 1, "{name}");
        assert!(
            sum(&families, "edgeloop_busy_seconds_total") > 0.0,
            "{name}"
        );
        assert!(
            value(&families, "process_resident_memory_bytes") > 100_000,
            "{name}"
        );
        assert!(
            value(&families, "process_start_time_seconds") > 1_700_000_000,
            "{name}"
        );
    }
}

#[test]
fn servers_of_datagrams_have_them() {
    for name in ["echo", "upper"] {
        let server = measured(name, &["udp://127.0.0.1:0"]).start();
        let socket = dial_udp(server.udp());
        socket.send(b"HELLO").expect("send");
        assert_eq!(socket.recv(&mut [0; 16]).expect("an answer"), 5);
        let families = scrape(&server);
        assert_eq!(value(&families, "edgeloop_datagrams_received_total"), 1);
        assert_eq!(value(&families, "edgeloop_datagrams_sent_total"), 1);
        assert_eq!(value(&families, "edgeloop_connections_accepted_total"), 0);
    }
}

/// Clients of all fates, with one reactor and with several: what is scraped is what SIGUSR1 prints.
#[test]
fn they_are_those_of_stats_with_any_number_of_workers() {
    for workers in ["1", "3"] {
        let server = measured("echo", &["127.0.0.1:0"])
            .args(&["--workers", workers])
            .start();
        let clients: Vec<_> = (0..30).map(|_| dial(server.tcp())).collect();
        ping_all(&clients, b"hello");
        for client in &clients[..10] {
            client.shutdown(std::net::Shutdown::Write).expect("FIN");
            assert!(is_closed(client));
        }
        let mut clients = clients.into_iter().skip(10);
        clients.by_ref().take(5).for_each(reset);
        let clients: Vec<_> = clients.collect();
        let stats = server.stats_until("15 have left", |stats| stats.get("connections") == 15);
        let families = scrape(&server);
        for (name, of_stats) in NAMES {
            let counted = stats.get(of_stats);
            assert_eq!(
                value(&families, name),
                counted,
                "{name} of {workers} workers"
            );
        }
        for cause in ["eof", "reset", "idle", "slow_consumer", "displaced"] {
            let of_stats = stats.get(&format!("closed_{cause}"));
            let name = "edgeloop_connections_closed_total";
            assert_eq!(
                labelled(&families, name, ("cause", cause)),
                of_stats,
                "{cause}"
            );
        }
        assert_eq!(stats.get("closed_eof"), 10);
        assert_eq!(stats.get("closed_reset"), 5);
        assert_eq!(value(&families, "edgeloop_reactors").to_string(), workers);
        drop(clients);
    }
}

#[test]
fn the_models_without_a_reactor_count_clients() {
    for model in &MODELS[1..] {
        let server = measured("upper", &["127.0.0.1:0"])
            .model(model)
            .args(&["--max-connections", "2"])
            .start();
        let clients = [dial(server.tcp()), dial(server.tcp())];
        ping_all(&clients, b"HELLO");
        assert!(is_closed(dial(server.tcp())), "a third one");
        let families = scrape(&server);
        assert_eq!(value(&families, "edgeloop_connections"), 2, "{model}");
        assert_eq!(value(&families, "edgeloop_connections_accepted_total"), 2);
        let refused = labelled(
            &families,
            "edgeloop_connections_refused_total",
            ("cause", "limit"),
        );
        assert_eq!(refused, 1, "{model}");
        drop(clients);
        until("both are closed", || {
            count(&server, "edgeloop_connections_closed_total") == 2
        });
    }
}

#[test]
fn a_full_server_is_scraped() {
    // One is full by its limit, the other for want of descriptors: its limit is what they allow.
    for options in [&["--max-connections", "3"][..], &[]] {
        let server = measured("echo", &["127.0.0.1:0"])
            .args(options)
            .args(&["--max-per-ip", "0"])
            .descriptors(80)
            .start();
        let mut clients = Vec::new();
        loop {
            let client = dial(server.tcp());
            (&client).write_all(b"x").ok();
            match is_closed_or_answered(&client) {
                true => break,
                false => clients.push(client),
            }
        }
        let families = scrape(&server);
        assert_eq!(
            value(&families, "edgeloop_connections"),
            clients.len() as u64
        );
        let refused = labelled(
            &families,
            "edgeloop_connections_refused_total",
            ("cause", "limit"),
        );
        assert_eq!(refused, 1, "{options:?}");
        // Scrapers count nowhere, though there were as many as clients.
        for _ in 0..3 {
            let _ = scrape(&server);
        }
        let stats = server.stats();
        assert_eq!(stats.get("accepted"), clients.len() as u64);
        assert_eq!(stats.get("refused"), 1);
        ping(&clients[0], b"still served");
    }
}

/// Whether a client was refused; false if it was answered.
fn is_closed_or_answered(mut client: &std::net::TcpStream) -> bool {
    use std::io::Read;
    !matches!(client.read(&mut [0; 1]), Ok(1))
}

#[test]
fn bytes_that_wait_for_a_slow_reader_are_shown() {
    let server = measured("echo", &["127.0.0.1:0"]).start();
    assert_eq!(count(&server, "edgeloop_pending_bytes"), 0);
    let client = dial(server.tcp());
    let _ = tests::client::fill(&client, &BLOCK);
    until("bytes are pending", || {
        count(&server, "edgeloop_pending_bytes") > 250_000
    });
    assert!(count(&server, "edgeloop_connections_paused_total") >= 1);
    drop(client);
    until("they are dropped", || {
        count(&server, "edgeloop_pending_bytes") == 0
    });
}

#[test]
fn counters_do_not_fall_while_workers_end() {
    let mut server = measured("echo", &["127.0.0.1:0"])
        .args(&["--workers", "3", "--grace", "1h", "--stall-timeout", "0"])
        .start();
    let clients: Vec<_> = (0..30).map(|_| dial(server.tcp())).collect();
    ping_all(&clients, b"hello");
    let slow = dial(server.tcp());
    let _ = tests::client::fill(&slow, &BLOCK);
    server.signal(Signal::SIGTERM);
    drop(clients);
    // Two workers have ended, or will soon; the third one waits for its client.
    until("30 are closed", || {
        count(&server, "edgeloop_connections_closed_total") == 30
    });
    until("one connection is left", || {
        count(&server, "edgeloop_connections") == 1
    });
    assert_eq!(count(&server, "edgeloop_connections_accepted_total"), 31);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// Each metric that the README tells of is there, and each cause.
#[test]
fn the_readme_names_what_is_there() {
    let server = measured("echo", &["127.0.0.1:0"]).start();
    let (_, page) = crate::scrape::curl(&[&url(&server)]);
    let readme = fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let is_part = |char: char| char.is_ascii_alphanumeric() || "_{}=\"".contains(char);
    let words = readme.split(|char| !is_part(char));
    let names: Vec<&str> = words
        .filter(|word| word.starts_with("edgeloop_") && *word != "edgeloop_reactor")
        .collect();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("\n{name}")), "there is no {name}");
    }
}

/// Prometheus' own check of formats and names.
#[test]
fn promtool_finds_no_fault() {
    for model in MODELS {
        let server = measured("echo", &["127.0.0.1:0"]).model(model).start();
        let (_, page) = crate::scrape::curl(&[&url(&server)]);
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            return skip("promtool is not installed");
        };
        let mut stdin = promtool.stdin.take().expect("piped");
        stdin.write_all(page.as_bytes()).expect("write");
        drop(stdin);
        let verdict = promtool.wait_with_output().expect("promtool");
        assert!(
            verdict.status.success() && verdict.stdout.is_empty() && verdict.stderr.is_empty(),
            "{verdict:?}"
        );
    }
}

#[test]
fn once_ends_though_scrapers_are_connected() {
    let mut server: Server = Launch::echo().args(&["--metrics", "0", "--once"]).start();
    let mut scraper = crate::scrape::Raw::to(&server);
    scraper.send(&crate::scrape::get("/healthz"));
    assert_eq!(scraper.answer().1, "ok\n");
    let client = dial(server.tcp());
    tests::client::ping_and_end(&client, b"once");
    assert_eq!(server.exit_code(), 0);
}
