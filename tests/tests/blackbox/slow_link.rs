//! Slow links: bytes arrive late and a few at a time, a direction goes silent, and the server stops
//! while replies are under way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use tests::chat::{Guest, dial_stingy};
use tests::client::{dial, difference, expect_end, ping, send_all_it_takes};
use tests::random::Random;
use tests::server::{Server, Stats};
use tests::slow_link::{SlowLink, Way};
use tests::{PATIENCE, until};

use super::{WAYS, ends, launch, serves};

/// Bytes under way in one direction at the most.
const WINDOW: usize = 4096;
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// Runs a test for each of the ways, all at once, with a slow link to its server.
fn over_a_slow_link(options: &[&str], test: impl Fn(&str, &Server, &SlowLink) + Sync) {
    thread::scope(|scope| {
        for way in WAYS {
            let test = &test;
            scope.spawn(move || {
                let server = launch(way).args(options).start();
                let link = SlowLink::to(server.tcp(), WINDOW);
                link.set_round_trip(ROUND_TRIP);
                test(way.0, &server, &link);
                serves(way.0, &server);
                ends(server);
            });
        }
    });
}

/// Sends everything, ends the stream, and returns the whole reply.
fn exchange(stream: &TcpStream, message: &[u8]) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            (&mut &*stream).write_all(message).expect("write");
            stream.shutdown(Shutdown::Write).expect("shutdown");
        });
        let mut reply = Vec::new();
        (&mut &*stream).read_to_end(&mut reply).expect("a reply");
        reply
    })
}

/// Over a round trip of 200 ms and a small window, every byte arrives once and in order, and the end
/// of the stream after the last one, though the client has ended its side long before.
#[test]
fn every_byte_arrives_once_and_in_order() {
    over_a_slow_link(&[], |name, server, link| match name {
        "echo" | "upper" => {
            let sent = Random::new(1).bytes(100_003);
            let expected = match name {
                "echo" => sent.clone(),
                _ => sent.to_ascii_uppercase(),
            };
            let reply = exchange(&dial_stingy(link.address()), &sent);
            assert!(reply == expected, "{}", difference(&reply, &expected));
            // One that has nothing to say.
            assert_eq!(exchange(&dial(link.address()), b""), b"");
        }
        "sink" => lines_to_a_sink(server, link),
        _ => a_member_over_the_link(server, link),
    });
}

fn lines_to_a_sink(server: &Server, link: &SlowLink) {
    const LINES: usize = 2000;
    let nth = |number| format!("<{number}> over a slow link");
    let text: String = (0..LINES).map(|number| nth(number) + "\n").collect();
    assert_eq!(exchange(&dial(link.address()), text.as_bytes()), b"");
    let last = nth(LINES - 1);
    let stdout = server.stdout();
    let seen = stdout.wait_for(PATIENCE, |it| it.ends_with(&last));
    assert!(seen.is_some(), "the last line is missing");
    let printed = stdout.text();
    let printed = printed.lines().filter_map(|it| Some(&it[it.find('<')?..]));
    assert!(printed.eq((0..LINES).map(nth)), "lines are lost or twice");
}

fn a_member_over_the_link(server: &Server, link: &SlowLink) {
    const LINES: usize = 200;
    let mut far = Guest::on(dial_stingy(link.address())).joined("far");
    let mut near = Guest::join(server.tcp(), "near");
    far.hears("* near has entered the room");
    let text = "x".repeat(300);
    for number in 0..LINES {
        near.say(format!("{number} {text}"));
        far.say(format!("{number} {text}"));
    }
    // The reply shows that the server has read all of these lines.
    near.say("/who");
    let mut heard = near.hears_at_last("* in lobby (2): far, near");
    far.end();
    heard.extend(near.hears_at_last("* far has left the room"));
    let said = |by| (0..LINES).map(move |number| format!("[{by}] {number} {}", "x".repeat(300)));
    assert!(heard.into_iter().eq(said("far")), "to the near member");
    assert!(far.rest().into_iter().eq(said("near")), "to the far member");
}

/// Whether one connection was closed, and, where the server counts causes, for one of these.
fn is_counted(stats: &Stats, causes: &[&str]) -> bool {
    let counts_causes = stats.get("turns") > 0;
    let counted = causes.iter().map(|cause| stats.get(cause)).sum::<u64>();
    stats.get("closed") == 1 && (!counts_causes || counted == 1)
}

/// Nothing comes from the client any more: it is idle, and told so.
#[test]
fn a_client_that_is_heard_no_more() {
    over_a_slow_link(&["--idle-timeout", "1s"], |name, server, link| {
        let mut client = dial(link.address());
        match name {
            "echo" => ping(&client, b"heard"),
            _ => client.write_all(b"heard\n").expect("write"),
        }
        until("it is heard", || link.passed(Way::There) > 0);
        link.cut(Way::There);
        client.write_all(b"unheard\n").expect("write");
        let mut told = String::new();
        client.read_to_string(&mut told).expect("an end in order");
        assert!(!told.to_lowercase().contains("unheard"), "{told}");
        server.stats_until("it is closed", |stats| is_counted(stats, &["closed_idle"]));
    });
}

/// Nothing arrives at the client any more: it takes no bytes, and is ended as a stalled peer.
#[test]
fn a_client_that_hears_no_more() {
    over_a_slow_link(&["--stall-timeout", "1s"], |name, server, link| {
        let causes = ["closed_stalled", "closed_slow_consumer"];
        let cut_off = |mut say: Box<dyn FnMut() + '_>| {
            link.cut(Way::Back);
            server.stats_until("it is closed", |stats| {
                say();
                is_counted(stats, &causes)
            });
        };
        match name {
            // Nothing is sent to its clients.
            "sink" => {}
            "chat" => {
                let far = Guest::on(dial(link.address())).joined("far");
                let near = Guest::join(server.tcp(), "near");
                let text = "x".repeat(1000);
                // More than the kernel's buffers hold.
                cut_off(Box::new(|| near.say(&text)));
                drop(far);
            }
            _ => {
                let client = dial(link.address());
                (&client).write_all(b"heard\n").expect("write");
                (&client).read_exact(&mut [0; 6]).expect("a reply");
                cut_off(Box::new(|| send_all_it_takes(&client)));
            }
        }
    });
}

/// The server stops while replies are under way, and some wait in the server for the link: all of
/// them arrive within the grace period, and then the end.
#[test]
fn a_stop_while_replies_are_under_way() {
    /// Bytes that a process or thread takes without waiting for the client.
    const UNDER_WAY: usize = 12_000;
    thread::scope(|scope| {
        for way in WAYS.into_iter().filter(|(name, _)| *name != "sink") {
            scope.spawn(move || {
                let mut server = launch(way).args(&["--grace", "30s"]).start();
                let link = SlowLink::to(server.tcp(), WINDOW);
                link.set_round_trip(ROUND_TRIP);
                link.set_rate(Way::Back, 20_000);
                match way.0 {
                    "chat" => stop_a_chat(&server, &link),
                    name => {
                        let client = dial_stingy(link.address());
                        let sent = Random::new(2).bytes(UNDER_WAY);
                        link.cut(Way::Back);
                        (&client).write_all(&sent).expect("write");
                        link.until_read(UNDER_WAY as u64);
                        stop_and_mend(&server, &link);
                        match name {
                            "echo" => expect_end(&client, &sent),
                            _ => expect_end(&client, &sent.to_ascii_uppercase()),
                        }
                    }
                }
                assert_eq!(server.exit_code(), 0);
            });
        }
    });
}

/// Stops the server while nothing arrives from it, and lets it arrive then.
fn stop_and_mend(server: &Server, link: &SlowLink) {
    server.signal(Signal::SIGTERM);
    server.logs("stopping; connections open: ");
    link.mend(Way::Back);
}

fn stop_a_chat(server: &Server, link: &SlowLink) {
    const LINES: usize = 40;
    let mut far = Guest::on(dial_stingy(link.address())).joined("far");
    let mut near = Guest::join(server.tcp(), "near");
    let text = "x".repeat(500);
    link.cut(Way::Back);
    (0..LINES).for_each(|number| near.say(format!("{number} {text}")));
    near.say("/who");
    near.hears("* in lobby (2): far, near");
    stop_and_mend(server, link);
    far.hears("* near has entered the room");
    for number in 0..LINES {
        far.hears(&format!("[near] {number} {text}"));
    }
    let last_words = far.rest();
    assert!(last_words.len() <= 1, "{last_words:?}");
}
