//! A chat with a log in a real Redis (`--backplane`): it tells the other servers of itself, whatever happens to
//! the log and to the chat. Without `redis-server` the tests are skipped, and say so.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use edgeloop::backplane::entry::{Body, Entry, Origin, Position};
use nix::sys::signal::Signal;
use tempfile::tempdir;
use tests::chat::{Guest, chat};
use tests::client::dial;
use tests::command::command;
use tests::redis::Redis;
use tests::server::{Launch, Server};
use tests::until;

/// A server's word of itself: its name if it has started, `None` if it has stopped.
type Said = (Origin, Option<String>);

/// The starts and stops in the log, in its order.
fn starts_and_stops(redis: &Redis) -> Vec<Said> {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).expect("a connection");
    write!(stream, "XRANGE edgeloop:log - +\r\n").expect("a request");
    let mut strings = Vec::new();
    read_strings(&mut BufReader::new(stream), &mut strings);
    // An id, the name of a field, its content.
    let entries = strings.chunks(3).map(|entry| &entry[2]);
    let said = |bytes: &Vec<u8>| {
        let entry = Entry::decode(Position::START, bytes).expect("an entry");
        let origin = entry.stamp.origin;
        match entry.body {
            Body::Start { name } => Some((origin, Some(name.to_owned()))),
            Body::Stop => Some((origin, None)),
            _ => None,
        }
    };
    entries.filter_map(said).collect()
}

/// The strings of one reply, however they are nested.
fn read_strings(reply: &mut BufReader<TcpStream>, strings: &mut Vec<Vec<u8>>) {
    let mut line = String::new();
    reply.read_line(&mut line).expect("a line");
    let number = |text: &str| text.trim_end().parse().expect("a number");
    match line.split_at(1) {
        ("*", count) => (0..number(count)).for_each(|_| read_strings(reply, strings)),
        ("$", len) => {
            let mut string = vec![0; number(len) + 2];
            reply.read_exact(&mut string).expect("a string");
            string.truncate(string.len() - 2);
            strings.push(string);
        }
        _ => panic!("{line}"),
    }
}

fn shared(redis: &Redis, options: &[&str]) -> Launch {
    chat(options).args(&["--backplane", &redis.url()])
}

/// Waits until so many starts are in the log.
fn starts(redis: &Redis, count: usize) -> Vec<(Origin, String)> {
    let mut found = Vec::new();
    until("the start is in the log", || {
        let all = starts_and_stops(redis).into_iter();
        found = all
            .filter_map(|(origin, name)| Some((origin, name?)))
            .collect();
        found.len() == count
    });
    found
}

/// The value of a metric of the server.
fn metric(server: &Server, name: &str) -> f64 {
    let line = server.logs("metrics on ");
    let (_, url) = line.split_once("metrics on ").expect("an address");
    let output = command("curl").args(["--silent", url.trim_end()]).output();
    let page = String::from_utf8(output.expect("curl").stdout).expect("UTF-8");
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    let value = value.unwrap_or_else(|| panic!("there is no {name} in\n{page}"));
    value.trim().parse().expect("a number")
}

#[test]
fn a_chat_tells_when_it_starts_and_when_it_stops() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    redis.command(&["ACL", "SETUSER", "chat", "on", ">p@ss", "~*", "+@all"]);
    let url = format!("redis://chat:p%40ss@127.0.0.1:{}", redis.port());
    let mut server = Launch::new("chat", &["127.0.0.1:0", "http://127.0.0.1:0"])
        .env("EDGELOOP_BACKPLANE", &url)
        .args(&["--metrics", "0", "--max-connections", "1", "-v"])
        .start();
    server.logs("connected to redis at tcp://127.0.0.1:");
    let (origin, name) = starts(&redis, 1).remove(0);
    assert!(
        name.ends_with(&format!(" tcp://{}", server.tcp())),
        "{name}"
    );
    let page = dial(server.http());
    for name in ["reconnects_total", "duplicates_total", "gaps_total"] {
        assert_eq!(
            metric(&server, &format!("edgeloop_backplane_{name}")) as u64,
            0
        );
    }
    until("all is read back", || {
        metric(&server, "edgeloop_backplane_pending") as u64 == 0
            && metric(&server, "edgeloop_backplane_lag_seconds") == 0.0
    });
    let stats = server.stats();
    assert_eq!((stats.get("connected"), stats.get("accepted")), (2, 1));
    assert_eq!((stats.get("connections"), stats.get("peak")), (1, 1));
    assert_eq!(stats.get("backplane_reconnects"), 0);
    server.signal(Signal::SIGTERM);
    let finished = server.finish();
    assert_eq!(finished.code, 0);
    assert!(!finished.stderr.contains("p@ss") && !finished.stderr.contains("p%40ss"));
    assert_eq!(
        finished.stderr.matches("[DEBUG] connection").count(),
        2,
        "{finished:?}"
    );
    assert_eq!(starts_and_stops(&redis).last(), Some(&(origin, None)));
    drop(page);
}

#[test]
fn without_redis_a_chat_serves_and_goes_on_trying() {
    let Some(mut redis) = Redis::start(&[]) else {
        return;
    };
    redis.kill();
    let server = shared(&redis, &["--metrics", "0"]).start();
    server.logs("cannot use redis at tcp://127.0.0.1:");
    let _asked = Guest::knock(server.tcp());
    until("it has tried again", || {
        metric(&server, "edgeloop_connect_errors_total") > 3.0
    });
    redis.restart();
    server.logs("connected to redis at tcp://127.0.0.1:");
    starts(&redis, 1);
    let complaints = server.stderr().text();
    assert_eq!(complaints.matches("redis").count(), 2, "{complaints}");
}

#[test]
fn a_server_is_the_same_after_a_restart() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let directory = tempdir().expect("a temporary directory");
    let place = |name: &str| format!("unix:{}", directory.path().join(name).display());
    let start = |name: &str| {
        let launch = Launch::new("chat", &[&place(name)]);
        launch.args(&["--backplane", &redis.url()]).start()
    };
    let _other = start("other");
    starts(&redis, 1);
    for count in 2..=3 {
        let mut server = start("same");
        starts(&redis, count);
        server.signal(Signal::SIGKILL);
        server.exit_code();
    }
    let origins = starts(&redis, 3).into_iter().map(|(origin, _)| origin);
    let origins: Vec<Origin> = origins.collect();
    assert_ne!(origins[0].server, origins[1].server);
    assert_eq!(origins[1].server, origins[2].server);
    let boots: BTreeSet<u64> = origins.iter().map(|origin| origin.boot).collect();
    assert_eq!(boots.len(), 3);
}

#[test]
fn once_ends_though_the_log_is_connected() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut server = shared(&redis, &["--once"]).start();
    starts(&redis, 1);
    drop(Guest::knock(server.tcp()));
    assert_eq!(server.exit_code(), 0);
    assert_eq!(starts_and_stops(&redis).len(), 2);
}

#[test]
fn a_redis_that_hangs_delays_a_stop_for_the_grace_period() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut server = shared(&redis, &["--grace", "200ms"]).start();
    starts(&redis, 1);
    redis.signal("STOP");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(server.stderr().text().contains("the grace period is over"));
    redis.signal("CONT");
}

#[test]
fn wrong_command_lines() {
    let refused = |arguments: &[&str], expected: &str| {
        let finished = Launch::new("chat", &[]).args(arguments).run();
        assert_eq!(finished.code, 2, "{finished:?}");
        let first = finished.stderr.lines().next().unwrap_or_default();
        assert!(first.contains(expected), "{finished:?}");
        assert!(!finished.stderr.contains("secret"), "{finished:?}");
    };
    for (url, expected) in [
        ("rediss://a:secret@127.0.0.1:1", "stunnel"),
        ("http://a:secret@127.0.0.1:1", "write redis://"),
        ("redis://a:secret@", "a host is missing"),
        ("redis://a:sec/secret@h:1", "host and port"),
        ("redis://a:secret@h:1?x=secret", "?prefix="),
    ] {
        refused(&["--backplane", url], expected);
        let finished = Launch::new("chat", &[])
            .env("EDGELOOP_BACKPLANE", url)
            .run();
        assert!(
            finished.stderr.contains("(EDGELOOP_BACKPLANE is set)")
                && !finished.stderr.contains("secret"),
            "{finished:?}"
        );
    }
    let url = "redis://127.0.0.1:1";
    refused(&["--backplane", url, "--plain"], "leave out --plain");
    let long = [
        "--backplane",
        url,
        "--max-line",
        "253KiB",
        "--high-water",
        "1MiB",
    ];
    refused(&long, "252KiB at the most");
    let unknown = "redis://a:secret@redis.invalid:1";
    let finished = chat(&["--backplane", unknown]).run();
    assert_eq!(finished.code, 1);
    assert!(
        finished
            .complaint()
            .contains("cannot find redis at tcp://redis.invalid:1: "),
        "{finished:?}"
    );
    assert!(!finished.stderr.contains("secret"), "{finished:?}");
}
