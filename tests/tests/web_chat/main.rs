//! `edgeloop chat 127.0.0.1:0 http://127.0.0.1:0`: browsers and `nc` in one room, over real sockets.

mod proxies;
mod python;
mod returning;

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::thread;

use nix::sys::signal::Signal;
use tempfile::tempdir;
use tests::chat::Guest;
use tests::client::{ask, dial, dial_from};
use tests::netcat::Netcat;
use tests::page::{Page, TOKEN, WELCOME, room};
use tests::server::Launch;
use tests::source::{rust_files, workspace};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Error, Message};

#[test]
fn browsers_get_a_page_that_loads_nothing_from_elsewhere() {
    let server = room(&[]).start();
    let answer = ask(server.http(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for header in [
        "Content-Type: text/html; charset=utf-8",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Referrer-Policy: no-referrer",
    ] {
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    let policy = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Security-Policy: "));
    let policy: Vec<&str> = policy.expect("a policy").split("; ").collect();
    for directive in [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(&directive), "{policy:?}");
    }
    // Each script and style is allowed by its hash.
    for element in ["script", "style"] {
        let hashes = policy
            .iter()
            .find_map(|words| words.strip_prefix(&format!("{element}-src ")));
        let hashes = hashes.map_or(0, |hashes| hashes.split(' ').count());
        assert_eq!(page.matches(&format!("<{element}")).count(), hashes);
    }
    for elsewhere in [
        "src=\"http",
        "href=\"http",
        "src=\"/",
        "url(http",
        "@import",
    ] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    let answer = ask(
        server.http(),
        b"GET /room HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let request = "GET /room HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\
                   Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = ask(server.http(), request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    server.logs("refused a request from 127.0.0.1:");
}

#[test]
fn nc_and_a_browser_talk() {
    let server = room(&["--motd", "Be kind.\nTea is at five."]).start();
    let mut page = Page::open(&server, "").joined("wendy");
    page.hears("* Be kind.");
    page.hears("* Tea is at five.");
    let (host, port) = (
        server.tcp().ip().to_string(),
        server.tcp().port().to_string(),
    );
    let nc = Netcat::start(
        &["-N", &host, &port],
        b"nick\nhello from nc\n/msg wendy psst\n",
    );
    page.hears("* nick has entered the room");
    page.hears("[nick] hello from nc");
    page.hears("[nick to you] psst");
    page.hears("* nick has left the room");
    let told = String::from_utf8(nc.finish()).expect("UTF-8");
    let expected =
        format!("{WELCOME}\n* The room contains: wendy\n* Be kind.\n* Tea is at five.\n");
    assert_eq!(told, expected + "[you to wendy] psst\n");
    let mut guest = Guest::join(server.tcp(), "gus");
    page.hears("* gus has entered the room");
    page.say("hello, gus\nand welcome");
    guest.hears_at_last("* Tea is at five.");
    guest.hears("[wendy] hello, gus");
    guest.hears("[wendy] and welcome");
    page.say("/who");
    page.hears("* in lobby (2): wendy, gus");
    page.say("/nick wanda");
    guest.hears("* wendy is now known as wanda");
    page.hears("* you are now known as wanda");
    page.say("/quit good night");
    assert_eq!(page.code(), 1000);
    guest.hears("* wanda has left the room (good night)");
    let stats = server.stats_until("one is left", |stats| stats.get("connections") == 1);
    assert_eq!(stats.get("accepted"), 3);
}

/// All in the room hear the same lines in the same order, whatever they speak.
#[test]
fn the_order_of_lines_is_one_for_all() {
    const EACH: usize = 300;
    let server = room(&["--rate", "0"]).start();
    let listener = Guest::join(server.tcp(), "lena");
    let mut pages: Vec<Page> = (0..3)
        .map(|number| {
            let query = format!("token=0123456789abcdef{number}");
            Page::join(&server, &query, &format!("page{number}"))
        })
        .collect();
    let guests: Vec<Guest> = (0..3)
        .map(|number| Guest::join(server.tcp(), &format!("guest{number}")))
        .collect();
    let lines = |number: usize| {
        let lines = (0..EACH).map(move |line| format!("{number} says {line}"));
        lines.collect::<Vec<_>>()
    };
    let all = 6 * EACH;
    let heard: Vec<Vec<String>> = thread::scope(|scope| {
        let mut hearing = Vec::new();
        let mut listener = listener;
        hearing.push(scope.spawn(move || {
            let all_lines = std::iter::repeat_with(|| listener.next());
            all_lines
                .filter(|line| line.starts_with('['))
                .take(all)
                .collect()
        }));
        for (number, page) in pages.iter_mut().enumerate() {
            let stream = page.socket.get_ref().try_clone().expect("dup");
            scope.spawn(move || {
                // A client's frames, with a mask of zeros.
                let frames = lines(number).into_iter().map(|line| {
                    [
                        &[0x81, 0x80 | line.len() as u8, 0, 0, 0, 0],
                        line.as_bytes(),
                    ]
                    .concat()
                });
                let mut stream = &stream;
                frames.for_each(|frame| stream.write_all(&frame).expect("write"));
            });
            hearing.push(scope.spawn(move || {
                let all_lines = std::iter::repeat_with(|| page.next());
                all_lines
                    .filter(|line| line.starts_with('['))
                    .take(all)
                    .collect()
            }));
        }
        for (number, guest) in guests.iter().enumerate() {
            let mut ear = guest.stream().try_clone().expect("dup");
            scope.spawn(move || while ear.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
            scope.spawn(move || lines(number).iter().for_each(|line| guest.say(line)));
        }
        let heard = hearing
            .into_iter()
            .map(|hearing| hearing.join().expect("all"));
        let heard = heard.collect();
        // The guests' ears end with their connections.
        guests.iter().for_each(Guest::end);
        heard
    });
    assert_eq!(heard[0].len(), all);
    for other in &heard[1..] {
        assert!(*other == heard[0], "another order");
    }
}

/// Something that a page sends.
type Send = Box<dyn Fn(&mut Page)>;

#[test]
fn what_breaks_a_rule_is_answered_by_its_code() {
    let server = room(&["--max-line", "200"]).start();
    let mut guest = Guest::join(server.tcp(), "gus");
    let fragment = |opcode, is_last| {
        Message::Frame(Frame::message(
            "x".repeat(150),
            OpCode::Data(opcode),
            is_last,
        ))
    };
    let messages = |messages: Vec<Message>| -> Send {
        Box::new(move |page| {
            for message in &messages {
                page.socket.send(message.clone()).expect("sent");
            }
        })
    };
    let bytes = |bytes: &'static [u8]| -> Send {
        Box::new(|page| page.socket.get_mut().write_all(bytes).expect("sent"))
    };
    for (code, send) in [
        (1003, messages(vec![Message::binary("x")])),
        (1009, messages(vec![Message::text("x".repeat(201))])),
        (
            1009,
            messages(vec![
                fragment(Data::Text, false),
                fragment(Data::Continue, true),
            ]),
        ),
        (1007, bytes(&[0x81, 0x81, 0, 0, 0, 0, 0xff])),
        (1002, bytes(&[0x81, 0x01, b'x'])),
        (1002, bytes(&[0xc1, 0x81, 0, 0, 0, 0, b'x'])),
        (1002, bytes(&[0x83, 0x80, 0, 0, 0, 0])),
    ] {
        let mut page = Page::join(&server, "", "wendy");
        guest.hears("* wendy has entered the room");
        page.say("before");
        send(&mut page);
        assert_eq!(page.code(), code);
        assert!(matches!(page.socket.read(), Err(Error::ConnectionClosed)));
        guest.hears("[wendy] before");
        guest.hears("* wendy has left the room");
    }
    let mut page = Page::join(&server, "", "wendy");
    page.say(&"x".repeat(200));
    guest.hears("* wendy has entered the room");
    guest.hears(&format!("[wendy] {}", "x".repeat(200)));
}

#[test]
fn a_stop_tells_pages_that_the_server_goes_away() {
    let mut server = room(&[]).start();
    let mut page = Page::join(&server, TOKEN, "wendy");
    let plain = Page::join(&server, "", "zoe");
    page.hears("* zoe has entered the room");
    plain.reset();
    page.hears("* zoe has left the room");
    // One that is away does not hold the stop up.
    let away = Page::join(&server, "token=abcdefghijklmnop", "amy");
    page.hears("* amy has entered the room");
    away.reset();
    server.logs("amy has lost its connection: reset by peer");
    server.signal(Signal::SIGTERM);
    assert_eq!(page.code(), 1001);
    drop(page);
    assert_eq!(server.exit_code(), 0);
}

/// While the server is stopped nothing is lost, and order stays.
#[test]
fn a_server_that_was_stopped_goes_on_where_it_was() {
    let server = room(&[]).start();
    let mut guest = Guest::join(server.tcp(), "gus");
    let mut page = Page::join(&server, TOKEN, "wendy");
    guest.hears("* wendy has entered the room");
    server.stop();
    for number in 0..50 {
        page.say(&format!("line {number}"));
    }
    let late = dial(server.http());
    guest.say("and I");
    server.resume();
    let mut lines: Vec<String> = (0..51).map(|_| page.next()).collect();
    let own = lines.iter().position(|line| line == "[gus] and I");
    lines.remove(own.expect("the guest's line"));
    let expected: Vec<String> = (0..50)
        .map(|number| format!("[wendy] line {number}"))
        .collect();
    assert_eq!(lines, expected);
    expected.iter().for_each(|line| guest.hears(line));
    Page::on(late, &server, "").hears(WELCOME);
}

#[test]
fn the_log_and_the_transcript_know_web_members_and_no_token() {
    let directory = tempdir().expect("a directory");
    let transcript = directory.path().join("transcript");
    let path = transcript.to_str().expect("UTF-8");
    let options = ["-vv", "--transcript", path, "--operator"];
    let mut server = room(&options).stdin(Stdio::piped()).start();
    let mut page = Page::join(&server, TOKEN, "wendy");
    let from = page.socket.get_ref().local_addr().expect("an address");
    server.logs(&format!("wendy has joined from {from}"));
    page.say("for the record");
    page.hears("[wendy] for the record");
    server.prints("lobby [wendy] for the record");
    let again = page.back(&server);
    let from = again.socket.get_ref().local_addr().expect("an address");
    server.logs(&format!("wendy is back from {from}"));
    again.reset();
    server.logs("wendy has lost its connection: reset by peer");
    let mut stdin = server.stdin();
    stdin.write_all(b"/who\n/kick wendy\n").expect("typed");
    server.prints("lobby (1): wendy");
    server.logs("wendy has left: kicked by the operator");
    let bad = "GET /room?token=0123456789abcdef-secret&x HTTP/1.1\r\nHost: localhost\r\n\
               Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = ask(server.http(), bad.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    server.logs("refused a request from ");
    server.signal(Signal::SIGTERM);
    let finished = server.finish();
    let record = fs::read_to_string(&transcript).expect("a transcript");
    assert!(record.contains("[wendy] for the record"), "{record}");
    for text in [&record, &finished.stdout, &finished.stderr, &answer] {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_page_over_the_limit_of_its_address_is_told_so_in_http() {
    let server = room(&["--max-per-ip", "1"]).start();
    let home = Ipv4Addr::new(127, 0, 7, 9);
    let page = Page::on(dial_from(home, server.http()), &server, TOKEN).joined("wendy");
    let mut refused = dial_from(home, server.http());
    let mut told = String::new();
    refused.read_to_string(&mut told).expect("an answer");
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(told.ends_with("\r\n\r\ntoo many connections from your address\n"));
    let mut refused = dial_from(home, server.tcp());
    let mut told = String::new();
    refused.read_to_string(&mut told).expect("a line");
    assert_eq!(told, "* too many connections from your address\n");
    assert_eq!(server.stats().get("refused_address"), 2);
    // As many memberships are kept without a connection as there may be connections.
    page.reset();
    server.logs("wendy has lost its connection");
    let other = dial_from(home, server.http());
    let other = Page::on(other, &server, "token=abcdefghijklmnop").joined("zoe");
    other.reset();
    server.logs("zoe has left: reset by peer");
}

/// A browser that a page sends to the port for `nc`, and a client of TLS, are refused at once.
#[test]
fn other_protocols_are_refused_at_the_port_for_nc() {
    let server = room(&[]).start();
    let hello = [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        &[b'x'; 32],
    ]
    .concat();
    for request in [
        &b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\nbob\n/msg a b\n"[..],
        b"GET /room HTTP/1.1\r\n",
        &hello,
    ] {
        let mut stream = dial(server.tcp());
        let from = stream.local_addr().expect("an address");
        stream.write_all(request).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let told = format!("{WELCOME}\n* a name has letters and digits only\n");
        assert_eq!(answer, told);
        let line = server.logs(&format!(" from {from}: a name has letters"));
        assert!(line.contains("refused the name '"), "{line}");
    }
    // And of what speaks to the port for browsers, but not HTTP.
    for request in [&b"hello\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\r\n\r\n"] {
        let answer = ask(server.http(), request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[test]
fn history_is_kept_for_pages_unless_the_user_says_otherwise() {
    for (options, web, lines) in [
        (&[][..], true, 100),
        (&[], false, 0),
        (&["--history", "2"], true, 2),
        (&["--history", "0"], true, 0),
    ] {
        let launch = match web {
            true => room(options),
            false => tests::chat::chat(options),
        };
        let server = launch.start();
        let guest = Guest::join(server.tcp(), "gus");
        (0..120).for_each(|number| guest.say(format!("line {number}")));
        let mut asking = Guest::knock(server.tcp());
        guest.say("/who");
        // The answer says that all lines are said.
        let mut gus = guest;
        gus.hears("* in lobby (1): gus");
        asking.say("zoe");
        asking.say("/who");
        asking.hears("* The room contains: gus");
        let told = asking.hears_at_last("* in lobby (2): gus, zoe");
        assert_eq!(told.len(), lines, "{options:?}");
    }
}

#[test]
fn once_serves_one_page() {
    let mut server = Launch::new("chat", &["http://127.0.0.1:0"])
        .args(&["--once"])
        .start();
    let page = Page::join(&server, TOKEN, "wendy");
    page.reset();
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn commands_that_do_not_fit_are_refused() {
    for arguments in [
        &["http://127.0.0.1:0", "--plain"][..],
        &["http://127.0.0.1:0", "--origin", "a b"],
        &["https://127.0.0.1:0"],
    ] {
        let finished = Launch::new("chat", &[]).args(arguments).run();
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
    }
}

/// The layer for browsers knows no server, and the chat knows of no browsers but on its command line.
#[test]
fn the_chat_and_the_layer_for_browsers_know_nothing_of_each_other() {
    let servers = workspace().join("servers/src");
    let words = |text: &str| text.replace(|char: char| !char.is_alphanumeric(), " ");
    let names = |text: &str, word: &str| words(text).split(' ').any(|other| other == word);
    let mut count = 0;
    for (path, text) in rust_files(&servers) {
        let path = path.strip_prefix(&servers).unwrap_or(&path);
        let imports = text.lines().filter(|line| {
            let line = line.trim_start();
            line.starts_with("use ") || line.contains("crate::")
        });
        let imports: Vec<&str> = imports.collect();
        let imports = imports.join("\n");
        let is_web = path.starts_with("web") || path.ends_with("web.rs");
        let is_chat = path.starts_with("chat") || path.ends_with("chat.rs");
        count += usize::from(is_web || is_chat);
        if is_web {
            assert!(!names(&imports, "chat"), "{}: {imports}", path.display());
        }
        if is_chat && !path.ends_with("options.rs") {
            assert!(!names(&imports, "web"), "{}: {imports}", path.display());
            assert!(!names(&text, "WebSocket"), "{}", path.display());
        }
    }
    assert!(count > 40, "{count} files");
}
