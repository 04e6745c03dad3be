//! HTTP: what is answered, refused and kept.

use nix::sys::signal::Signal;
use tempfile::tempdir;

use tests::client::{dial, fill, is_closed, ping};
use tests::server::Launch;

use crate::format::parse;
use crate::scrape::{Raw, at, curl, get, measured, url};

fn echo() -> Launch {
    measured("echo", &["127.0.0.1:0"])
}

#[test]
fn curl_gets_metrics_and_health() {
    let server = echo().start();
    let (status, page) = curl(&[&url(&server)]);
    assert_eq!(status, 200);
    assert!(parse(&page).is_ok());
    let health = url(&server).replace("/metrics", "/healthz");
    assert_eq!(curl(&[&health]), (200, "ok\n".to_owned()));
    let (status, head) = curl(&["--head", &url(&server)]);
    assert_eq!(status, 200);
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
}

#[test]
fn other_requests_are_refused() {
    let server = echo().start();
    let url = url(&server);
    let root = url.replace("/metrics", "/");
    for (arguments, status) in [
        (&["--data", "x", &*url][..], 405),
        (&["--request", "DELETE", &url], 405),
        (&["--request", "OPTIONS", &url], 405),
        (&[&*root], 404),
        (&["--request", "GET", "--data", "x", &url], 400),
        (
            &["--header", &*format!("X: {}", "x".repeat(9000)), &url],
            431,
        ),
        // A browser whose page has pointed its own name here, and one whose page is of another site.
        (&["--header", "Host: evil.example", &url], 403),
        (&["--header", "Origin: http://evil.example", &url], 403),
    ] {
        assert_eq!(curl(arguments).0, status, "{arguments:?}");
    }
    assert_eq!(curl(&[&url]).0, 200);
}

#[test]
fn a_connection_serves_one_scrape_after_the_other() {
    let server = echo().start();
    let mut raw = Raw::to(&server);
    for _ in 0..3 {
        raw.send(&get("/metrics"));
        let (head, page) = raw.answer();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(parse(&page).is_ok());
        raw.send(&get("/healthz").replace("GET", "HEAD"));
        // Its length is that of a body that does not come.
        let head = raw.head();
        assert!(head.contains("\r\nContent-Length: 3\r\n"), "{head}");
    }
    raw.send(&get("/healthz").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert_eq!(raw.answer().1, "ok\n");
    assert_eq!(raw.rest(), "");
}

#[test]
fn a_head_that_does_not_come_in_time_is_refused_and_delays_no_client() {
    let server = echo().start();
    let mut slow = Raw::to(&server);
    slow.send("GET /metrics HTTP/1.1\r\nHost: local");
    let silent = dial(at(&server));
    let client = dial(server.tcp());
    ping(&client, b"hello");
    assert!(slow.answer().0.starts_with("HTTP/1.1 408 "));
    assert_eq!(slow.rest(), "");
    assert!(is_closed(&silent));
    ping(&client, b"still here");
}

#[test]
fn scrapers_have_a_limit_of_their_own() {
    let server = echo().start();
    let mut kept: Vec<Raw> = (0..8).map(|_| Raw::to(&server)).collect();
    for raw in &mut kept {
        raw.send(&get("/healthz"));
        assert_eq!(raw.answer().1, "ok\n");
    }
    assert!(
        is_closed(dial(at(&server))),
        "a ninth one from this address"
    );
    server.logs("the limit is 8 connections from one address");
    for raw in &mut kept {
        raw.send(&get("/metrics"));
        assert!(parse(&raw.answer().1).is_ok());
    }
    assert_eq!(server.stats().get("refused"), 0, "scrapers are no clients");
}

#[test]
fn health_is_bad_while_the_server_stops() {
    for options in [
        &["--workers", "1"],
        &["--workers", "2"],
        &["--model", "thread"],
        &["--model", "fork"],
    ] {
        let mut server = echo()
            .args(options)
            .args(&["--grace", "1h", "--stall-timeout", "0"])
            .start();
        let health = url(&server).replace("/metrics", "/healthz");
        let client = dial(server.tcp());
        // It reads nothing of what it is sent, so the stop has to wait for it.
        let _ = fill(&client, &[b'x'; 16_384]);
        assert_eq!(curl(&[&health]).0, 200, "{options:?}");
        server.signal(Signal::SIGTERM);
        server.logs("stopping");
        assert_eq!(
            curl(&[&health]),
            (503, "stopping\n".to_owned()),
            "{options:?}"
        );
        assert_eq!(curl(&[&url(&server)]).0, 200, "{options:?}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn scrapers_come_over_unix_sockets_too() {
    let directory = tempdir().expect("a directory");
    let path = directory.path().join("metrics");
    let path = path.to_str().expect("UTF-8");
    let unix = format!("unix:{path}");
    let mut server = Launch::echo().args(&["--metrics", &unix]).start();
    server.logs(&format!("metrics on {unix}"));
    let (status, page) = curl(&["--unix-socket", path, "http://any.name/metrics"]);
    assert_eq!(status, 200);
    assert!(parse(&page).is_ok());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(
        !std::fs::exists(path).expect("a directory"),
        "it removes its socket"
    );
}

#[test]
fn an_address_that_cannot_be_served_is_refused() {
    for (options, code, why) in [
        (
            &["--metrics", "udp://127.0.0.1:0"][..],
            2,
            "HTTP needs a stream",
        ),
        (&["--metrics", "nowhere"], 2, "nowhere"),
        (
            &["--metrics", "unix:/x", "--model", "fork"],
            2,
            "only the reactor serves Unix sockets",
        ),
        (
            &["--metrics", "192.0.2.1:1"],
            1,
            "cannot listen on tcp://192.0.2.1:1: ",
        ),
    ] {
        let finished = Launch::echo().args(options).run();
        assert_eq!(finished.code, code, "{finished:?}");
        assert!(finished.stderr.contains(why), "{finished:?}");
    }
}
