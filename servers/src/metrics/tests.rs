//! Scrapers of a server that is not there: requests in pieces, and what comes of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use edgeloop_reactor::{Closed, ConnId, Limits, Reactor, Script, Stats, TurnTimes};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::process::Process;
use super::scrapes::Scrapes;
use super::{Clients, Metrics, Numbers, page};

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn head(request: &str) -> String {
    format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A scraper that has sent this.
fn asked(script: &mut Script<Scrapes>, bytes: &str) -> ConnId {
    let id = script.open();
    script.data(id, bytes.as_bytes());
    id
}

fn answer(script: &mut Script<Scrapes>) {
    script.call(|scrapes, out| scrapes.answer("the metrics\n", out));
}

fn text(script: &mut Script<Scrapes>, id: ConnId) -> String {
    String::from_utf8(script.take_output(id)).unwrap()
}

#[test]
fn a_connection_is_kept_from_one_scrape_to_the_next() {
    let mut script = Script::new(Scrapes::default());
    let id = script.open();
    for _ in 0..3 {
        for byte in GET.as_bytes() {
            assert_eq!(text(&mut script, id), "");
            script.data(id, &[*byte]);
        }
        assert!(script.protocol().has_waiting());
        script.advance(Duration::from_secs(60));
        answer(&mut script);
        let answer = text(&mut script, id);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\nContent-Length: 12\r\n\r\nthe metrics\n"),
            "{answer}"
        );
        assert!(!answer.contains("Connection:"), "{answer}");
        script.advance(Duration::from_secs(100));
        assert_eq!(script.closed(id), None);
    }
    script.advance(Duration::from_secs(51));
    assert_eq!(script.closed(id), Some(Closed::Finished));
}

#[test]
fn the_answer_to_head_is_that_to_get_without_its_body() {
    let mut script = Script::new(Scrapes::default());
    for path in ["/metrics", "/healthz"] {
        let mut answers = ["GET", "HEAD"].map(|method| {
            let id = asked(&mut script, &head(&format!("{method} {path}")));
            answer(&mut script);
            text(&mut script, id)
        });
        let at = answers[0].find("\r\n\r\n").unwrap() + 4;
        assert!(answers[0].len() > at);
        answers[0].truncate(at);
        assert_eq!(answers[0], answers[1]);
    }
}

#[test]
fn an_answer_is_the_last_if_the_client_says_so_or_has_sent_more() {
    let close = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let old = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
    for (first, then) in [
        (close, ""),
        (old, ""),
        (&*format!("{GET}{GET}"), ""),
        (GET, GET),
        (GET, "an end"),
    ] {
        let mut script = Script::new(Scrapes::default());
        let id = asked(&mut script, first);
        match then {
            "an end" => script.eof(id),
            more => script.data(id, more.as_bytes()),
        }
        answer(&mut script);
        let answer = text(&mut script, id);
        assert_eq!(
            answer.matches("the metrics").count(),
            1,
            "{first:?} {then:?}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        script.eof(id);
        assert!(script.closed(id).is_some(), "{first:?} {then:?}");
    }
}

#[test]
fn health_is_ok_until_a_stop() {
    let mut script = Script::new(Scrapes::default());
    for (is_stopping, status, body) in [
        (false, "200 OK", "ok\n"),
        (true, "503 Service Unavailable", "stopping\n"),
    ] {
        script.call(|scrapes, _| scrapes.is_stopping = is_stopping);
        let id = asked(&mut script, &head("GET /healthz?from=here"));
        let answer = text(&mut script, id);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
}

#[test]
fn what_is_no_request_for_metrics_is_refused_and_ends_the_connection() {
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(9000));
    for (request, status) in [
        (&*head("POST /metrics"), "405 Method Not Allowed\r\n"),
        (&head("DELETE /healthz"), "405"),
        (&head("GET /"), "404"),
        (&head("GET /metrics/"), "404"),
        (&head("GET metrics"), "400"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
        (
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n",
            "400",
        ),
        ("GET /metrics\r\n\r\n", "400"),
        (&long, "431"),
    ] {
        let mut script = Script::new(Scrapes::default());
        let id = asked(&mut script, request);
        assert!(!script.protocol().has_waiting());
        let answer = text(&mut script, id);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:?}: {answer}"
        );
        let allows = answer.contains("\r\nAllow: GET, HEAD\r\n");
        assert_eq!(allows, status.starts_with("405"), "{answer}");
        script.eof(id);
        assert!(script.closed(id).is_some(), "{request:?}");
    }
}

#[test]
fn a_head_has_ten_seconds_and_so_has_a_connection_that_says_nothing() {
    let mut script = Script::new(Scrapes::default());
    let silent = script.open();
    let slow = asked(&mut script, "GET /met");
    for _ in 0..9 {
        script.advance(Duration::from_secs(1));
        script.data(slow, b"r");
    }
    assert_eq!(script.closed(silent), None);
    script.advance(Duration::from_secs(1));
    assert_eq!(script.closed(silent), Some(Closed::Finished));
    assert_eq!(text(&mut script, silent), "");
    assert!(text(&mut script, slow).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
}

#[test]
fn a_scraper_that_has_gone_is_not_answered() {
    let mut script = Script::new(Scrapes::default());
    let id = asked(&mut script, GET);
    script.call(|_, out| out.abort(id));
    answer(&mut script);
    assert!(!script.protocol().has_waiting());
    let next = asked(&mut script, GET);
    answer(&mut script);
    assert!(text(&mut script, next).contains("the metrics"));
}

/// Regression: the request that came while another one was being answered waited for the next event.
#[test]
fn a_request_that_comes_while_another_is_answered_is_answered_without_a_further_event() {
    let reactor = Reactor::new(Scrapes::default(), Limits::default()).unwrap();
    let started = SystemTime::now();
    let mut metrics = Metrics { reactor, started };
    let address = "127.0.0.1:0".parse().unwrap();
    let bound = metrics.reactor.listen(&address, 0).unwrap();
    let at = bound[0].socket_addr().unwrap();
    let [mut first, mut second] = [(); 2].map(|()| TcpStream::connect(at).unwrap());
    while metrics.reactor.stats().connections < 2 {
        metrics.turn(false);
    }
    first.write_all(GET.as_bytes()).unwrap();
    assert!(metrics.turn(false));
    second.write_all(GET.as_bytes()).unwrap();
    metrics.answer(Numbers::Clients(Clients::default()));
    while needs_a_turn(&metrics) {
        if metrics.turn(false) {
            metrics.answer(Numbers::Clients(Clients::default()));
        }
    }
    for client in [&mut first, &mut second] {
        client.set_nonblocking(true).unwrap();
        let mut start = [0; 15];
        client.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
    }
}

/// Whether a loop around this one would make a turn of it at once.
fn needs_a_turn(metrics: &Metrics) -> bool {
    let mut asked = [PollFd::new(metrics.as_fd(), PollFlags::POLLIN)];
    let is_due = metrics.timeout() == Some(Duration::ZERO);
    is_due || poll(&mut asked, PollTimeout::ZERO) == Ok(1)
}

/// The sum of the samples of a family.
fn sum(page: &str, family: &str) -> u64 {
    let samples = page.lines().filter(|line| line.starts_with(family));
    samples
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

const PROCESS: Process = Process {
    start_seconds: 1.5,
    cpu_seconds: None,
    resident_bytes: Some(4096),
};

#[test]
fn every_counter_is_on_the_page_and_causes_add_up() {
    let stats = Stats {
        closed: 3000,
        closed_eof: 1000,
        closed_error: 2000,
        refused: 300,
        refused_limit: 100,
        refused_setup: 200,
        bytes_pending: 7,
        ..Stats::default()
    };
    let numbers = Numbers::Reactors {
        own: &[],
        stats: &stats,
        turns: &TurnTimes::default(),
        count: 3,
    };
    let page = page(numbers, &PROCESS);
    let of = |family: &str| sum(&page, family);
    assert_eq!(of("edgeloop_connections_closed_total{"), stats.closed);
    assert_eq!(of("edgeloop_connections_refused_total{"), stats.refused);
    assert_eq!(of("edgeloop_pending_bytes "), stats.bytes_pending);
    // All but the two sums, and beside them the counters of reactors, time and the process.
    let of_stats = page.lines().filter(|line| line.starts_with("edgeloop_"));
    let others = [
        "edgeloop_reactors ",
        "edgeloop_busy_",
        "edgeloop_turn_duration_",
        "edgeloop_build_",
    ];
    let of_stats = of_stats.filter(|line| !others.iter().any(|other| line.starts_with(other)));
    assert_eq!(of_stats.count(), stats.iter().count() - 2);
    assert!(page.contains("\nprocess_start_time_seconds 1.5\n"));
    assert!(!page.contains("process_cpu"));
}

#[test]
fn the_models_without_a_reactor_say_what_they_know() {
    let clients = Clients {
        open: 1,
        peak: 3,
        accepted: 5,
        refused: 9,
        refused_limit: 2,
        refused_address: 3,
    };
    let page = page(Numbers::Clients(clients), &Process::now(SystemTime::now()));
    assert!(page.contains("\nedgeloop_connections_refused_total{cause=\"setup\"} 4\n"));
    assert!(page.contains("\nedgeloop_connections_closed_total 4\n"));
    assert!(!page.contains("edgeloop_turns"));
    assert!(sum(&page, "process_resident_memory_bytes") > 1 << 20);
}
