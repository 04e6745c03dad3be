//! The adapter in front of protocols that know of no WebSocket, without sockets.

use edgeloop_reactor::{Script, every_split};
use proptest::prelude::*;

use super::*;
use crate::echo::Echo;
use crate::line::LineAssembler;

const MAX_LINE: usize = 100;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A room without names, and the events that it has heard, in words.
#[derive(Debug, Default)]
struct Room {
    lines: ConnMap<LineAssembler>,
    heard: Vec<String>,
    replaced: Vec<ConnId>,
}

impl Protocol for Room {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        assert_eq!(opened.tag, CLIENT);
        self.heard.push("open".into());
        self.lines.insert(id, LineAssembler::default());
        out.send(id, b"who are you?\nwhat do you want?\n");
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        let mut said = Vec::new();
        let lines = self.lines.get_mut(id).unwrap();
        lines.feed(&data, MAX_LINE, |line| said.push(line.text.to_vec()));
        for line in said {
            match &line[..] {
                b"quit" => {
                    out.send(id, b"bye\n");
                    out.finish(id);
                }
                b"back" => {
                    let mut back = *b"back\n";
                    let back = out.lend(&mut back);
                    out.send_back(back);
                }
                b"timer" => out.set_timer(id, Duration::from_secs(1)),
                line => {
                    let line = [line, b"\n"].concat();
                    out.broadcast(self.lines.iter().map(|(id, _)| id), &line);
                }
            }
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        self.heard.push("eof".into());
        out.send(id, b"so long\n");
        out.finish(id);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, _: &mut Outbox) {
        self.lines.remove(id);
        self.heard.push(format!("closed: {why}"));
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        out.send(id, b"time is up\n");
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        out.broadcast(self.lines.iter().map(|(id, _)| id), b"closing time\n");
    }
}

impl Server for Room {
    fn take_replaced(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.replaced)
    }
}

#[test]
fn a_connection_whose_place_is_taken_is_closed_with_a_reason() {
    let mut script = script();
    let id = script.open_tagged(WEB);
    script.data(id, &upgrade("/room", ""));
    script.call(|web, out| {
        web.protocol.replaced.push(id);
        out.set_service_timer(Duration::ZERO);
    });
    script.advance(Duration::from_secs(1));
    // 1008, and nothing behind it.
    assert!(script.take_output(id).ends_with(&[0x88, 2, 0x03, 0xf0]));
    assert_eq!(script.closed(id), Some(Closed::Finished));
}

fn web() -> Web<Room> {
    let site = Site::of_lines(Policy::default(), "/room", MAX_LINE);
    Web::new(Room::default(), site.with_page("/", Page::text("a page")))
}

fn script() -> Script<Web<Room>> {
    Script::new(web())
}

fn heard(script: &Script<Web<Room>>) -> Vec<&str> {
    let heard = &script.protocol().protocol.heard;
    heard.iter().map(String::as_str).collect()
}

fn request(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}

fn upgrade(path: &str, headers: &str) -> Vec<u8> {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    request(path, &[upgrade, &key, headers].concat())
}

/// A frame of a client, of less than 64 KiB.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0xfe);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

fn say(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// The frames that a client receives: first byte and payload.
fn frames(mut output: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, len, rest @ ..] = output {
        let (len, rest) = match len {
            126 => {
                let len = u16::from_be_bytes([rest[0], rest[1]]);
                (usize::from(len), &rest[2..])
            }
            len => (usize::from(*len), rest),
        };
        let (payload, rest) = rest.split_at(len);
        frames.push((*first, payload.to_vec()));
        output = rest;
    }
    frames
}

/// The frames that a client receives, in words.
fn told(output: &[u8]) -> Vec<String> {
    let text = |payload: Vec<u8>| String::from_utf8(payload).unwrap();
    let frames = frames(output).into_iter();
    let told = frames.map(|(first, payload)| match first {
        0x81 => text(payload),
        0x88 => format!("close {payload:?}"),
        0x89 => "ping".into(),
        0x8a => format!("pong {}", text(payload)),
        other => panic!("frame {other:#x}"),
    });
    told.collect()
}

fn close(code: u16) -> String {
    format!("close {:?}", code.to_be_bytes())
}

/// The head of an answer, and the bytes behind it.
fn split(output: &[u8]) -> (&[u8], &[u8]) {
    let at = output.windows(4).position(|four| four == b"\r\n\r\n");
    output.split_at(at.unwrap() + 4)
}

/// A member that has come through the handshake.
fn enter(script: &mut Script<Web<Room>>) -> ConnId {
    let id = script.open_tagged(WEB);
    script.data(id, &upgrade("/room", ""));
    let output = script.take_output(id);
    let (head, rest) = split(&output);
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    assert_eq!(told(rest), ["who are you?", "what do you want?"]);
    id
}

#[test]
fn an_idle_websocket_is_small() {
    assert_eq!(size_of::<Session>(), 16);
    let mut script = script();
    let browser = enter(&mut script);
    let is_small = |script: &Script<Web<Room>>| {
        let session = script.protocol().sessions.get(browser);
        matches!(session, Some(Session::Open(None)))
    };
    assert!(is_small(&script));
    let (first, second) = (say("hello"), frame(0x89, b"ping"));
    script.data(browser, &first[..9]);
    assert!(!is_small(&script));
    script.data(browser, &[&first[9..], &second].concat());
    assert!(is_small(&script));
}

#[test]
fn a_message_is_a_line_for_browsers_and_others_alike() {
    let mut script = script();
    let browser = enter(&mut script);
    let netcat = script.open_tagged(CLIENT);
    let welcome = b"who are you?\nwhat do you want?\n";
    assert_eq!(script.take_output(netcat), welcome);
    script.data(browser, &[say("hello"), say("a\nb"), say("back")].concat());
    script.data(netcat, b"hi\n");
    let expected = ["hello", "a", "b", "back", "hi"];
    assert_eq!(told(&script.take_output(browser)), expected);
    assert_eq!(script.take_output(netcat), b"hello\na\nb\nhi\n");
}

#[test]
fn fragments_are_one_line_and_a_ping_between_them_is_answered() {
    let mut script = script();
    let browser = enter(&mut script);
    for piece in [
        frame(0x01, b"frag"),
        frame(0x89, b"?"),
        frame(0x00, b"men"),
        frame(0x80, b"ts"),
    ] {
        script.data(browser, &piece);
    }
    assert_eq!(told(&script.take_output(browser)), ["pong ?", "fragments"]);
}

#[test]
fn the_lines_of_a_read_come_before_its_close() {
    let mut script = script();
    let browser = enter(&mut script);
    let bye = frame(0x88, &[0x03, 0xe9, b'x']);
    script.data(browser, &[say("last"), bye, say("ignored")].concat());
    // The protocol's output after the close frame reaches no one.
    assert_eq!(
        told(&script.take_output(browser)),
        ["last".to_owned(), close(1001)]
    );
    script.eof(browser);
    assert_eq!(heard(&script), ["open", "eof", "closed: finished"]);
}

#[test]
fn the_end_of_the_protocol_is_a_close_frame() {
    let mut script = script();
    let browser = enter(&mut script);
    let bye = frame(0x88, &[0x03, 0xe9]);
    script.data(browser, &[say("quit"), bye.clone()].concat());
    assert_eq!(
        told(&script.take_output(browser)),
        ["bye".to_owned(), close(1000)]
    );
    script.data(browser, &bye);
    script.eof(browser);
    assert_eq!(script.take_output(browser), b"");
    // The protocol does not hear the peer's input behind it.
    assert_eq!(heard(&script), ["open", "closed: finished"]);
}

#[test]
fn a_broken_rule_ends_the_websocket_after_the_lines_before_it() {
    let longest = "x".repeat(MAX_LINE);
    for (code, input) in [
        (1002, vec![0x81, 0x01, b'x']),
        (1002, frame(0xc1, b"x")),
        (1002, frame(0x09, b"x")),
        (1003, frame(0x82, b"x")),
        (1007, frame(0x81, b"\xff")),
        (1009, say(&format!("{longest}x"))),
        (
            1009,
            [frame(0x01, longest.as_bytes()), frame(0x80, b"x")].concat(),
        ),
    ] {
        let mut script = script();
        let browser = enter(&mut script);
        script.data(browser, &[say("before"), input, say("after")].concat());
        let told = told(&script.take_output(browser));
        assert_eq!(told, ["before".to_owned(), close(code)]);
        script.eof(browser);
        assert_eq!(heard(&script), ["open", "closed: finished"], "{code}");
    }
    let mut script = script();
    let browser = enter(&mut script);
    script.data(browser, &say(&longest));
    assert_eq!(told(&script.take_output(browser)), [longest]);
}

#[test]
fn a_stop_says_last_words_and_1001() {
    let mut script = script();
    let (browser, netcat) = (enter(&mut script), script.open_tagged(CLIENT));
    let asking = script.open_tagged(WEB);
    script.take_output(netcat);
    script.stop();
    let told = told(&script.take_output(browser));
    assert_eq!(told, ["closing time".to_owned(), close(1001)]);
    assert_eq!(script.take_output(netcat), b"closing time\n");
    assert_eq!(script.take_output(asking), b"");
}

#[test]
fn a_stream_that_ends_without_a_close_frame_ends_the_member() {
    let mut script = script();
    let browser = enter(&mut script);
    script.eof(browser);
    assert_eq!(heard(&script), ["open", "eof", "closed: end of file"]);
    assert_eq!(
        told(&script.take_output(browser)),
        ["so long".to_owned(), close(1000)]
    );
}

#[test]
fn a_stream_that_ends_within_a_message_has_not_said_it() {
    let closed = [frame(0x01, b"half"), frame(0x88, &[0x03, 0xe8])].concat();
    for input in [
        frame(0x01, b"half"),
        say("half")[..8].to_vec(),
        vec![0x81],
        closed,
    ] {
        let mut script = script();
        let browser = enter(&mut script);
        script.data(browser, &input);
        script.eof(browser);
        let heard = heard(&script);
        assert!(
            matches!(heard[..], ["open", closed] if closed.starts_with("closed: ")),
            "{heard:?}"
        );
        assert_eq!(told(&script.take_output(browser)), [close(1000)]);
    }
}

#[test]
fn a_silent_member_is_pinged_and_keeps_its_own_timer() {
    let mut script = script();
    let browser = enter(&mut script);
    script.advance(HEAD_TIMEOUT);
    script.data(browser, &say("timer"));
    script.advance(Duration::from_secs(31));
    let told = told(&script.take_output(browser));
    assert_eq!(told, ["time is up", "ping"]);
    script.data(browser, &frame(0x8a, b""));
    assert_eq!(script.take_output(browser), b"");
}

#[test]
fn pongs_do_not_pile_up_for_a_peer_that_reads_nothing() {
    let mut script = script();
    let browser = enter(&mut script);
    script.set_reading(browser, false);
    let pings = frame(0x89, &[b'x'; 125]).repeat(100);
    (0..100).for_each(|_| script.data(browser, &pings));
    script.set_reading(browser, true);
    let len = script.take_output(browser).len();
    let bounds = PONG_QUEUE_MAX / 2..PONG_QUEUE_MAX + pings.len();
    assert!(bounds.contains(&len), "{len}");
    script.data(browser, &frame(0x89, b"now"));
    assert_eq!(told(&script.take_output(browser)), ["pong now"]);
}

/// The status of the answer to a request, after which the connection ends.
fn status(input: &[u8]) -> String {
    let mut script = script();
    let id = script.open_tagged(WEB);
    script.data(id, input);
    let output = String::from_utf8(script.take_output(id)).unwrap();
    script.eof(id);
    assert!(script.closed(id).is_some(), "{output}");
    assert!(heard(&script).is_empty(), "the protocol hears of it");
    let status = output.lines().next().unwrap_or_default();
    status.replace("HTTP/1.1 ", "")
}

#[test]
fn requests_are_answered_and_their_connections_end() {
    let post = "POST /room HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    let elsewhere = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for (input, expected) in [
        (request("/", ""), "200 OK"),
        (request("/?query", ""), "200 OK"),
        (request("/room", ""), "426 Upgrade Required"),
        (request("/other", ""), "404 Not Found"),
        (upgrade("/", ""), "404 Not Found"),
        (request("/", "Content-Length: 1\r\n"), "400 Bad Request"),
        (post.into(), "405 Method Not Allowed"),
        (
            upgrade("/room", "Origin: http://evil.example\r\n"),
            "403 Forbidden",
        ),
        (upgrade("/room", "Origin: null\r\n"), "403 Forbidden"),
        (elsewhere.into(), "403 Forbidden"),
        (vec![b'x'; 9_000], "431 Request Header Fields Too Large"),
        (b"* hello\r\n\r\n".to_vec(), "400 Bad Request"),
        (vec![], ""),
    ] {
        let text = String::from_utf8_lossy(&input);
        assert_eq!(status(&input), expected, "{text}");
    }
    let mut script = script();
    let id = script.open_tagged(WEB);
    script.data(id, &upgrade("/room", "Origin: http://localhost\r\n"));
    assert!(script.take_output(id).starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn a_head_has_ten_seconds_in_all() {
    let mut script = script();
    let (slow, silent) = (script.open_tagged(WEB), script.open_tagged(WEB));
    for byte in &request("/", "")[..9] {
        script.data(slow, &[*byte]);
        script.advance(HEAD_TIMEOUT / 10);
    }
    assert_eq!(script.take_output(slow), b"");
    script.advance(HEAD_TIMEOUT / 10);
    let output = script.take_output(slow);
    assert!(output.starts_with(b"HTTP/1.1 408 "), "{output:?}");
    for id in [slow, silent] {
        script.eof(id);
        assert!(script.closed(id).is_some());
    }
    assert_eq!(script.take_output(silent), b"");
}

/// Connections with tag 0, which are all that `every_split` opens, are a browser's here.
struct Browser(Web<Room>);

impl Protocol for Browser {
    fn on_open(&mut self, id: ConnId, mut opened: Opened, out: &mut Outbox) {
        opened.tag = WEB;
        self.0.on_open(id, opened, out);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.0.on_data(id, data, out);
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        self.0.on_eof(id, out);
    }
}

#[test]
fn a_visit_is_the_same_wherever_its_bytes_are_cut() {
    // Without a ping: its reply precedes the lines of the same read.
    let input = [
        upgrade("/room", ""),
        say("hello"),
        frame(0x01, "gr\u{fc}".as_bytes()),
        frame(0x80, "\u{df}e".as_bytes()),
        say(""),
        frame(0x88, &[0x03, 0xe8]),
    ];
    let output = every_split(|| Browser(web()), &input.concat());
    let (head, rest) = split(&output);
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    let told = told(rest);
    let expected = [
        "who are you?",
        "what do you want?",
        "hello",
        "gr\u{fc}\u{df}e",
        "",
    ];
    assert_eq!(told[..5], expected);
    assert_eq!(told[5..], [close(1000)]);
}

/// An echo, and a WebSocket to it.
fn echo() -> (Script<Web<Echo>>, ConnId) {
    let answers_low_ports = false;
    let site = Site::of_echo(Policy::default());
    let mut script = Script::new(Web::new(Echo { answers_low_ports }, site));
    let id = script.open_tagged(WEB);
    script.data(id, &upgrade("/anywhere", ""));
    assert!(script.take_output(id).starts_with(b"HTTP/1.1 101 "));
    (script, id)
}

#[test]
fn an_echo_sends_fragments_back_as_they_come() {
    let (mut script, id) = echo();
    let message = frame(0x82, b"binary, in two reads");
    let (first, second) = message.split_at(12);
    for (input, expected) in [
        (first, (0x02, b"binary".to_vec())),
        (second, (0x80, b", in two reads".to_vec())),
        (&frame(0x89, b"?"), (0x8a, b"?".to_vec())),
        (&frame(0x81, b""), (0x81, vec![])),
        (&frame(0x88, b""), (0x88, vec![])),
    ] {
        script.data(id, input);
        assert_eq!(frames(&script.take_output(id)), [expected]);
    }
    script.eof(id);
    assert_eq!(script.closed(id), Some(Closed::Finished));
}

/// The messages in an echo's answer to input that comes in these pieces.
fn echoed(pieces: &[&[u8]]) -> Vec<String> {
    let (mut script, id) = echo();
    pieces.iter().for_each(|piece| script.data(id, piece));
    let (mut messages, mut message, mut is_first) = (Vec::new(), Vec::new(), true);
    for (first, payload) in frames(&script.take_output(id)) {
        assert_eq!(
            first & 0x7f,
            u8::from(is_first),
            "text, or its continuation"
        );
        message.extend(payload);
        is_first = first & 0x80 != 0;
        if is_first {
            messages.push(String::from_utf8(std::mem::take(&mut message)).unwrap());
        }
    }
    assert!(is_first, "the last message is whole");
    messages
}

proptest! {
    #[test]
    fn an_echo_says_the_same_wherever_its_input_is_cut(
        texts in prop::collection::vec("[a-z]{0,30}", 1..5),
        cuts in prop::collection::vec(1..20usize, 1..9),
    ) {
        let input: Vec<u8> = texts.iter().flat_map(|text| say(text)).collect();
        let (mut pieces, mut rest) = (Vec::new(), &input[..]);
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&echoed(&pieces), &texts);
        prop_assert_eq!(&echoed(&[&input]), &texts);
    }

    #[test]
    fn random_bytes_do_no_harm(input in prop::collection::vec(any::<u8>(), 0..300), has_upgrade in any::<bool>()) {
        let mut script = script();
        let id = script.open_tagged(WEB);
        if has_upgrade {
            script.data(id, &upgrade("/room", ""));
        }
        script.data(id, &input);
        script.eof(id);
        // A head and a few words, and of each byte a replacement character at the most.
        prop_assert!(script.take_output(id).len() < 1_000 + 3 * input.len());
        prop_assert!(script.closed(id).is_some());
    }
}
