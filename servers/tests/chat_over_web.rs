//! The chat with its site in front of it, without sockets: members that are pages, those that are not,
//! and pages that lose their connection and come back.

use std::time::Duration;

use edgeloop::chat::{Chat, Settings};
use edgeloop::web::{Page, Policy, Site, Web};
use edgeloop_reactor::{Closed, ConnId, Data, Opened, Outbox, Peer, Protocol, Script, every_split};
use proptest::prelude::*;

const WEB: u64 = Web::<Chat>::TAG;
const TCP: u64 = 0;
const STDIN: u64 = 1;
const STDOUT: u64 = 2;
const WELCOME: &str = "Welcome! What is your name?";
const TOKEN: &str = "token=0123456789abcdef";
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();
const DONE: [u8; 2] = 1000u16.to_be_bytes();

fn web(settings: Settings) -> Web<Chat> {
    let site = Site::of_lines(Policy::default(), "/room", settings.max_line);
    let site = site.with_page("/", Page::text("a page"));
    Web::new(Chat::new(settings, None), site)
}

fn settings() -> Settings {
    Settings {
        history: 100,
        ..Settings::default()
    }
}

/// The request of a WebSocket, with this query.
fn request(query: &str) -> Vec<u8> {
    let query = match query {
        "" => String::new(),
        query => format!("?{query}"),
    };
    format!(
        "GET /room{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// A frame of a client, of less than 64 KiB, whose mask is 0.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0xfe);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn say(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// The text messages of a server's output, and the code of its close frame.
fn messages(mut output: &[u8]) -> (Vec<String>, Option<u16>) {
    let (mut messages, mut code) = (Vec::new(), None);
    while let [first, len, rest @ ..] = output {
        let (len, rest) = match len {
            126 => {
                let (len, rest) = rest.split_at(2);
                (u16::from_be_bytes([len[0], len[1]]).into(), rest)
            }
            len => (usize::from(*len), rest),
        };
        let (payload, rest) = rest.split_at(len);
        assert_eq!(code, None, "a frame behind the close frame");
        match first {
            0x81 => messages.push(String::from_utf8(payload.to_vec()).unwrap()),
            0x88 => code = Some(u16::from_be_bytes([payload[0], payload[1]])),
            0x89 => {}
            other => panic!("frame {other:#x}"),
        }
        output = rest;
    }
    (messages, code)
}

/// The output behind the head of the handshake's answer.
fn behind_head(output: &[u8]) -> &[u8] {
    assert!(output.starts_with(b"HTTP/1.1 101 "), "{output:?}");
    let at = output.windows(4).position(|four| four == b"\r\n\r\n");
    &output[at.unwrap() + 4..]
}

struct Party {
    script: Script<Web<Chat>>,
}

impl Party {
    fn new() -> Party {
        Party::with(settings())
    }

    fn with(settings: Settings) -> Party {
        Party {
            script: Script::new(web(settings)),
        }
    }

    /// A WebSocket with this query, and what it is told first.
    fn visit(&mut self, query: &str) -> (ConnId, Vec<String>) {
        let id = self.script.open_tagged(WEB);
        self.script.data(id, &request(query));
        let output = self.script.take_output(id);
        (id, messages(behind_head(&output)).0)
    }

    /// A WebSocket that has joined, and the number of messages that it was sent.
    fn join(&mut self, query: &str, name: &str) -> (ConnId, u64) {
        let (id, welcome) = self.visit(query);
        assert_eq!(welcome, [WELCOME]);
        self.says(id, name);
        let told = self.hears(id);
        assert!(told[0].starts_with("* The room "), "{told:?}");
        (id, 1 + told.len() as u64)
    }

    /// A member over TCP.
    fn join_tcp(&mut self, name: &str) -> ConnId {
        let id = self.script.open_tagged(TCP);
        self.types(id, name);
        assert!(self.reads(id).contains("\n* The room "));
        id
    }

    /// A WebSocket that comes back, and what it is told.
    fn back(&mut self, seen: u64) -> (ConnId, Vec<String>) {
        self.visit(&format!("{TOKEN}&seen={seen}"))
    }

    fn says(&mut self, id: ConnId, text: &str) {
        self.script.data(id, &say(text));
    }

    fn hears(&mut self, id: ConnId) -> Vec<String> {
        messages(&self.script.take_output(id)).0
    }

    /// The code of the close frame that ends the output.
    fn code(&mut self, id: ConnId) -> Option<u16> {
        messages(&self.script.take_output(id)).1
    }

    fn types(&mut self, id: ConnId, line: &str) {
        self.script.data(id, format!("{line}\n").as_bytes());
    }

    fn reads(&mut self, id: ConnId) -> String {
        String::from_utf8(self.script.take_output(id)).unwrap()
    }

    fn ends_with(&mut self, id: ConnId, code: [u8; 2]) {
        self.script.data(id, &frame(0x88, &code));
        self.script.eof(id);
        assert!(self.script.closed(id).is_some());
    }

    fn seconds_pass(&mut self, seconds: u64) {
        self.script.advance(Duration::from_secs(seconds));
    }
}

#[test]
fn a_room_has_members_of_both_kinds() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (page, _) = party.join("", "wendy");
    assert_eq!(party.reads(tcp), "* wendy has entered the room\n");
    party.says(page, "hello");
    party.types(tcp, "hi");
    assert_eq!(party.reads(tcp), "[wendy] hello\n");
    assert_eq!(party.hears(page), ["[tess] hi"]);
    party.says(page, "/quit bye");
    assert_eq!(party.reads(tcp), "* wendy has left the room (bye)\n");
    assert_eq!(party.code(page), Some(1000));
}

/// A message with ends of lines within it is as many lines, as it is over TCP.
#[test]
fn a_message_may_be_several_lines() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (page, _) = party.join("", "wendy");
    party.reads(tcp);
    party.says(page, "a\nb\rc\r\nd\r\n");
    party.says(page, "\r");
    party.says(page, "");
    party.says(page, "/me e\n/who");
    let said = "[wendy] a\n[wendy] b\n[wendy] c\n[wendy] d\n** wendy e\n";
    assert_eq!(party.reads(tcp), said);
    assert_eq!(party.hears(page), ["* in lobby (2): tess, wendy"]);
}

/// Telnet commands begin with a byte that no text has; the characters of their codes are text.
#[test]
fn a_page_cannot_speak_telnet_and_is_not_answered_in_it() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (page, _) = party.join("", "wendy");
    party.reads(tcp);
    let codes = "\u{ff}\u{fd}\u{1}\u{ff}\u{fb}\u{3}!";
    party.says(page, codes);
    assert_eq!(party.hears(page), [""; 0]);
    assert!(party.reads(tcp).starts_with("[wendy] \u{ff}\u{fd}"));
    // To TCP they are a question, which is answered.
    party.script.data(tcp, b"\xff\xfb\x01hi\n");
    assert!(party.script.take_output(tcp).starts_with(b"\xff"));
    assert_eq!(party.hears(page), ["[tess] hi"]);
}

#[test]
fn a_page_with_a_token_is_sent_its_own_lines() {
    let mut party = Party::new();
    let (keyed, _) = party.join(TOKEN, "kim");
    let (plain, _) = party.join("", "pat");
    party.hears(keyed);
    party.says(keyed, "one");
    party.says(plain, "two");
    party.says(keyed, "/me three");
    party.says(keyed, "/msg pat four");
    let all = [
        "[kim] one",
        "[pat] two",
        "** kim three",
        "[you to pat] four",
    ];
    assert_eq!(party.hears(keyed), all);
    let heard = ["[kim] one", "** kim three", "[kim to you] four"];
    assert_eq!(party.hears(plain), heard);
}

#[test]
fn a_page_that_comes_back_is_sent_what_it_has_missed() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (page, seen) = party.join(TOKEN, "wendy");
    party.types(tcp, "seen");
    assert_eq!(party.hears(page), ["[tess] seen"]);
    party.reads(tcp);
    // It says one line and loses the message that shows it, and one of the other.
    party.says(page, "mine");
    party.types(tcp, "lost");
    party.ends_with(page, GOING_AWAY);
    party.types(tcp, "missed");
    party.types(tcp, "/who");
    let told = "[wendy] mine\n* in lobby (2): tess, wendy\n";
    assert_eq!(party.reads(tcp), told, "no leave");
    let (page, told) = party.back(seen + 1);
    let expected = [
        "* You are back as wendy in lobby.",
        "[wendy] mine",
        "[tess] lost",
        "[tess] missed",
    ];
    assert_eq!(told, expected);
    party.says(page, "here");
    assert_eq!(party.reads(tcp), "[wendy] here\n", "no entering");
    // It has received the first two of these four.
    party.script.close(page, Closed::Reset);
    let (_, told) = party.back(seen + 1 + 2);
    let expected = [expected[0], expected[2], expected[3], "[wendy] here"];
    assert_eq!(told, expected);
}

#[test]
fn a_page_leaves_when_it_says_so_and_when_it_does_not_come_back() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let left = "* wendy has left the room\n";
    let (page, _) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    party.ends_with(page, DONE);
    assert_eq!(party.reads(tcp), left, "at once");
    for end in 0..4 {
        let (page, _) = party.join(TOKEN, "wendy");
        party.reads(tcp);
        match end {
            0 => party.ends_with(page, GOING_AWAY),
            1 => party.script.eof(page),
            2 => party.script.close(page, Closed::Reset),
            // A broken rule.
            _ => party.script.data(page, &frame(0x82, b"binary")),
        }
        party.script.eof(page);
        party.seconds_pass(29);
        assert_eq!(party.reads(tcp), "", "{end}");
        party.seconds_pass(2);
        assert_eq!(party.reads(tcp), left, "{end}");
        let (page, told) = party.back(7);
        assert_eq!(told, [WELCOME], "its membership is over");
        party.says(page, "wendy");
        assert_eq!(party.reads(tcp), "* wendy has entered the room\n");
        party.says(page, "/quit");
        party.reads(tcp);
    }
    // Without a token, it leaves as any member does.
    let (page, _) = party.join("", "wendy");
    party.reads(tcp);
    party.ends_with(page, GOING_AWAY);
    assert_eq!(party.reads(tcp), left);
}

#[test]
fn a_connection_that_still_seems_open_is_replaced() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (first, seen) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    party.says(first, "/ignore nobody");
    party.hears(first);
    let (second, told) = party.back(seen + 1);
    assert_eq!(told, ["* You are back as wendy in lobby."]);
    assert_eq!(party.code(first), Some(1008));
    party.says(first, "too late");
    party.script.eof(first);
    party.script.close(first, Closed::Reset);
    party.seconds_pass(60);
    party.says(second, "here");
    assert_eq!(party.reads(tcp), "[wendy] here\n");
    // Its ignore list came with it.
    party.says(second, "/ignore nobody");
    let told = party.hears(second);
    assert_eq!(
        told[1],
        "* you hear nobody again (nobody has this name now)"
    );
}

#[test]
fn another_token_is_another_member_and_a_newcomer_has_no_place_yet() {
    let mut party = Party::new();
    let (page, _) = party.join(TOKEN, "wendy");
    party.script.eof(page);
    let (other, told) = party.visit("token=0123456789abcdeF&seen=2");
    assert_eq!(told, [WELCOME]);
    party.says(other, "wendy");
    assert_eq!(party.hears(other), ["* this name is taken"]);
    assert_eq!(party.code(other), None, "told with the line");
    // A connection without a name is replaced by another one of its page, which is asked anew.
    let token = "token=abcdefghijklmnop";
    let (first, _) = party.visit(token);
    let (second, told) = party.visit(&format!("{token}&seen=1"));
    assert_eq!(
        (told, party.code(first)),
        (vec![WELCOME.into()], Some(1008))
    );
    party.says(second, "zoe");
    assert_eq!(party.hears(second), ["* The room contains: wendy"]);
    for wrong in ["token=short", "x=y", "seen=1", "token=0123456789abcdef&x"] {
        let id = party.script.open_tagged(WEB);
        party.script.data(id, &request(wrong));
        let output = party.script.take_output(id);
        assert!(output.starts_with(b"HTTP/1.1 400 "), "{wrong}");
    }
}

#[test]
fn what_cannot_be_told_any_more_is_said_to_be_missing() {
    let missing = "* Some lines that were said meanwhile are missing.";
    for history in [0, 3] {
        let mut party = Party::with(Settings {
            history,
            ..settings()
        });
        let tcp = party.join_tcp("tess");
        let (page, seen) = party.join(TOKEN, "wendy");
        party.script.eof(page);
        (0..5).for_each(|number| party.types(tcp, &format!("line {number}")));
        let (page, told) = party.back(seen);
        assert_eq!(told[1], missing, "{told:?}");
        let lines: Vec<String> = (5 - history..5)
            .map(|number| format!("[tess] line {number}"))
            .collect();
        assert_eq!(told[2..], lines);
        // A page that has not even received that is told so again.
        party.script.eof(page);
        let (page, told) = party.back(seen + 1);
        assert_eq!((&*told[1], &told[2..]), (missing, &*lines));
        // One that says that it has received more than there was has missed nothing.
        party.script.eof(page);
        let (page, told) = party.back(1 << 53);
        assert_eq!(told.len(), 1, "{told:?}");
        party.script.eof(page);
        // A page that has lost its count starts at 0.
        let (_, told) = party.visit(TOKEN);
        assert_eq!(told[1], missing);
    }
}

#[test]
fn a_page_that_has_changed_its_room_comes_back_to_that() {
    // The number of messages that it has received of the greeting there, and what it is sent.
    for (received, expected) in [
        (3, vec!["[tess] after"]),
        (2, vec!["[tess] before", "[tess] after"]),
        (0, vec!["[tess] before", "[tess] after"]),
    ] {
        let mut party = Party::new();
        let tcp = party.join_tcp("tess");
        party.types(tcp, "/join kitchen");
        party.types(tcp, "before");
        let (page, seen) = party.join(TOKEN, "wendy");
        party.says(page, "/join kitchen");
        let told = party.hears(page);
        let greeting = ["* you are in kitchen now", "* The room contains: tess"];
        assert_eq!(told[..2], greeting);
        assert!(told[2].ends_with("[tess] before") && told.len() == 3);
        party.script.eof(page);
        party.types(tcp, "after");
        let (_, told) = party.back(seen + received);
        assert_eq!(told[0], "* You are back as wendy in kitchen.");
        assert_eq!(told[1..], expected, "{received}");
    }
}

/// Members come and go while the room may not be told, since this one does not read: a summary follows.
fn come_and_go_behind(party: &mut Party, slow: ConnId, members: usize) {
    party.script.high_water(slow, true);
    for number in 0..members {
        let visitor = party.join_tcp(&format!("v{number}"));
        party.types(visitor, "/quit");
    }
    party.seconds_pass(2);
    party.script.high_water(slow, false);
}

/// Whatever messages a page is sent between two lines of its room, the chat counts them as the page does.
#[test]
fn each_kind_of_message_is_counted() {
    type Event = fn(&mut Party, ConnId, ConnId);
    let events: [(&str, Event); 12] = [
        ("a whisper", |party, tcp, _| {
            party.types(tcp, "/msg wendy psst");
        }),
        ("a whisper of its own", |party, _, page| {
            party.says(page, "/msg tess psst");
        }),
        ("another name", |party, tcp, _| {
            party.types(tcp, "/nick tom")
        }),
        ("its own other name", |party, _, page| {
            party.says(page, "/nick wanda");
        }),
        ("help", |party, _, page| party.says(page, "/help")),
        ("the operator", |party, _, _| {
            let stdin = party.script.open_tagged(STDIN);
            party.script.data(stdin, b"hear, hear\nonce more\n");
        }),
        ("a step", |party, _, _| {
            party.join_tcp("vic");
        }),
        ("nothing", |party, _, page| party.says(page, "  ")),
        ("a few steps in a crowd", |party, tcp, _| {
            come_and_go_behind(party, tcp, 3);
        }),
        ("many steps in a crowd", |party, tcp, _| {
            come_and_go_behind(party, tcp, 30);
        }),
        ("a step of an ignored member", |party, _, page| {
            party.says(page, "/ignore vic");
            let vic = party.join_tcp("vic");
            party.types(vic, "not heard");
            party.types(vic, "/nick vim");
            party.types(vic, "/quit bye");
        }),
        ("another room and back", |party, tcp, page| {
            party.says(page, "/join kitchen");
            party.says(page, "/join lobby");
            // What it is shown again, it has received.
            party.types(tcp, "/who");
        }),
    ];
    for (what, event) in events {
        let motd = Some("one\ntwo\n".to_owned());
        let mut party = Party::with(Settings {
            operator: true,
            motd,
            ..settings()
        });
        let tcp = party.join_tcp("tess");
        let (page, mut seen) = party.join(TOKEN, "wendy");
        party.types(tcp, "first");
        event(&mut party, tcp, page);
        seen += party.hears(page).len() as u64;
        party.types(tcp, "last");
        party.script.close(page, Closed::Reset);
        let (page, told) = party.back(seen);
        let last = told.last().map(String::as_str);
        assert!(
            last.is_some_and(|last| last.ends_with("] last")),
            "{what}: {told:?}"
        );
        assert_eq!(told.len(), 2, "{what}: {told:?}");
        party.types(tcp, "more");
        let heard = party.hears(page);
        assert!(heard.len() == 1 && heard[0].ends_with("] more"), "{what}");
        party.script.close(page, Closed::Reset);
        let (_, told) = party.back(seen + 3);
        assert_eq!(told.len(), 1, "{what}: {told:?}");
    }
}

#[test]
fn lines_of_an_ignored_member_are_not_told_later_either() {
    let mut party = Party::new();
    let [ann, bob] = ["ann", "bob"].map(|name| party.join_tcp(name));
    let (page, seen) = party.join(TOKEN, "wendy");
    party.says(page, "/ignore bob");
    party.types(bob, "not heard");
    party.types(ann, "heard");
    let told = ["* you do not hear bob any more", "[ann] heard"];
    assert_eq!(party.hears(page), told);
    party.script.eof(page);
    party.types(bob, "not heard");
    party.types(ann, "missed");
    let (_, told) = party.back(seen + 2);
    assert_eq!(told[1..], ["[ann] missed"]);
}

#[test]
fn one_that_is_away_is_present_but_is_whispered_nothing() {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (page, _) = party.join(TOKEN, "wendy");
    party.script.eof(page);
    party.reads(tcp);
    for (line, told) in [
        ("/who", "* in lobby (2): tess, wendy\n"),
        (
            "/msg wendy psst",
            "* wendy has lost its connection: try again later\n",
        ),
        ("/nick wendy", "* this name is taken\n"),
    ] {
        party.types(tcp, line);
        assert_eq!(party.reads(tcp), told);
    }
    let other = party.join_tcp("olga");
    party.reads(tcp);
    // Its own name is not free, and another's may change meanwhile.
    party.types(other, "/nick oleg");
    let (_, told) = party.back(2);
    assert_eq!(told, ["* You are back as wendy in lobby."]);
}

#[test]
fn the_operator_can_end_what_is_kept() {
    let mut party = Party::with(Settings {
        operator: true,
        ..settings()
    });
    let (stdin, _stdout) = (
        party.script.open_tagged(STDIN),
        party.script.open_tagged(STDOUT),
    );
    let tcp = party.join_tcp("tess");
    for command in ["/kick wendy", "/ban wendy"] {
        let (page, _) = party.join(TOKEN, "wendy");
        party.script.eof(page);
        party.reads(tcp);
        party.script.data(stdin, format!("{command}\n").as_bytes());
        assert_eq!(party.reads(tcp), "* wendy has left the room\n");
        let (page, told) = party.back(2);
        assert_eq!(told, [WELCOME]);
        party.says(page, "wendy");
        let refused = "* this name or your address is banned";
        assert_eq!(party.hears(page), [refused]);
        party.script.data(stdin, b"/unban wendy\n");
    }
    // A page that has its connection is told why.
    let (page, _) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    party.script.data(stdin, b"hear, hear\n/kick wendy\n");
    let told = ["* operator: hear, hear", "* you were asked to leave"];
    let output = party.script.take_output(page);
    let expected = (told.map(str::to_owned).to_vec(), Some(1000));
    assert_eq!(messages(&output), expected);
}

/// A ban of an address hits the page that comes back from there.
#[test]
fn a_page_does_not_come_back_from_a_banned_address() {
    let mut party = Party::with(Settings {
        operator: true,
        ..settings()
    });
    let from = |party: &mut Party, at: &str, query: &str| {
        let peer = Peer::Inet(at.parse().unwrap());
        let id = party.script.open_as(Opened::new(peer, WEB));
        party.script.data(id, &request(query));
        let output = party.script.take_output(id);
        (id, messages(behind_head(&output)))
    };
    let stdin = party.script.open_tagged(STDIN);
    let tcp = party.join_tcp("tess");
    let (page, _) = from(&mut party, "192.0.2.1:1", TOKEN);
    party.says(page, "wendy");
    let other = "token=abcdefghijklmnop";
    let (second, _) = from(&mut party, "192.0.2.2:1", other);
    party.says(second, "eve");
    // Away, she is banned with her address all the same.
    party.script.close(second, Closed::Reset);
    party.script.data(stdin, b"/kick eve\n");
    party.reads(tcp);
    let (_, told) = from(&mut party, "192.0.2.2:2", TOKEN);
    let refused = vec!["* this name or your address is banned".to_owned()];
    assert_eq!(told, (refused, Some(1000)));
    assert_eq!(party.reads(tcp), "* wendy has left the room\n");
    assert_eq!(party.code(page), Some(1008));
}

/// A page that does not read slows its room down as any member does, and no longer once it is lost.
#[test]
fn a_page_that_reads_slowly_holds_its_room_up_until_it_is_lost() {
    let mut party = Party::with(Settings {
        rate: 0,
        min_rate: 1024,
        ..settings()
    });
    let [talker, listener] = ["tess", "lena"].map(|name| party.join_tcp(name));
    let (page, seen) = party.join(TOKEN, "wendy");
    party.reads(listener);
    party.script.high_water(page, true);
    let text = "x".repeat(1000);
    (0..50).for_each(|_| party.types(talker, &text));
    let heard = party.reads(listener).len();
    assert!(heard < 20 * text.len(), "{heard} bytes at once");
    party.script.close(page, Closed::SlowConsumer);
    party.seconds_pass(1);
    let heard = heard + party.reads(listener).len();
    assert!(heard > 50 * text.len(), "{heard} bytes in all");
    let (page, told) = party.back(seen);
    assert_eq!(told.len(), 51);
    party.types(talker, "on");
    assert_eq!(party.hears(page), ["[tess] on"]);
}

/// Lines that wait for their author's pace are said before a page that goes away is away.
#[test]
fn lines_that_wait_are_said_before_the_page_is_away() {
    let mut party = Party::with(Settings {
        rate: 1,
        burst: 1,
        ..settings()
    });
    let tcp = party.join_tcp("tess");
    let (page, seen) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    let lines = [say("one"), say("two"), say("three")].concat();
    party.script.data(page, &lines);
    party.script.data(page, &frame(0x88, &GOING_AWAY));
    party.script.eof(page);
    party.seconds_pass(10);
    assert_eq!(
        party.reads(tcp),
        "[wendy] one\n[wendy] two\n[wendy] three\n"
    );
    let (_, told) = party.back(seen);
    assert_eq!(told[1..], ["[wendy] one", "[wendy] two", "[wendy] three"]);
}

/// A page that has said that it leaves, and is back before its lines are said, is a member as before.
#[test]
fn a_page_that_changes_its_mind_may_come_back_again() {
    let mut party = Party::with(Settings {
        rate: 1,
        burst: 1,
        ..settings()
    });
    let tcp = party.join_tcp("tess");
    let (page, seen) = party.join(TOKEN, "wendy");
    party.reads(tcp);
    let end = frame(0x88, &DONE);
    party
        .script
        .data(page, &[say("one"), say("two"), end].concat());
    let (second, told) = party.back(seen);
    assert_eq!(told[1..], ["[wendy] one"]);
    party.script.eof(page);
    assert!(
        party.script.closed(page).is_some(),
        "nothing more is said on it"
    );
    party.script.close(second, Closed::Reset);
    party.seconds_pass(29);
    assert_eq!(party.reads(tcp), "[wendy] one\n");
    let (_, told) = party.back(seen + 2);
    assert_eq!(told, ["* You are back as wendy in lobby."]);
}

#[test]
fn a_stop_ends_what_is_kept_and_tells_pages_1001() {
    let mut party = Party::new();
    let (page, _) = party.join(TOKEN, "wendy");
    let (away, _) = party.join("token=abcdefghijklmnop", "zoe");
    party.script.close(away, Closed::Reset);
    party.hears(page);
    party.script.stop();
    assert_eq!(party.code(page), Some(1001));
    party.script.eof(page);
    assert!(party.script.closed(page).is_some());
}

/// Units of work of a line of so many bytes that these pages and `nc` hear.
fn work(pages: usize, len: usize) -> usize {
    let mut party = Party::with(Settings {
        history: 0,
        ..settings()
    });
    party.join_tcp("tess");
    let (author, _) = party.join(TOKEN, "wendy");
    for number in 0..pages {
        let query = match number % 2 {
            0 => String::new(),
            _ => format!("token=0123456789abcd{number:02}"),
        };
        party.join(&query, &format!("page{number}"));
    }
    let mut line = say(&"x".repeat(len));
    party.script.call(|web, out| {
        let line = out.lend(&mut line);
        web.on_data(author, line, out);
        out.charged()
    })
}

/// A line costs each further page the bytes that it is sent and no more: it is framed once.
#[test]
fn a_line_is_framed_once_however_many_pages_hear_it() {
    let longer = |pages: usize| work(pages, 1100) - work(pages, 100);
    // Its header has two bytes more.
    assert_eq!(longer(1) - longer(0), 1000 + 2);
    assert_eq!(longer(9) - longer(1), 8 * (1000 + 2));
}

/// Connections with tag 0, which are all that `every_split` opens, are a page's here.
struct Browser(Web<Chat>);

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
    let input = [
        request(&format!("{TOKEN}&seen=3")),
        say("wendy"),
        frame(0x01, b"hel"),
        frame(0x80, b"lo\nand more"),
        say("/who"),
        frame(0x88, &GOING_AWAY),
    ];
    let output = every_split(|| Browser(web(settings())), &input.concat());
    let expected = [
        WELCOME,
        "* The room is empty",
        "[wendy] hello",
        "[wendy] and more",
        "* in lobby (1): wendy",
    ];
    let told = messages(behind_head(&output));
    let expected = expected.map(str::to_owned).to_vec();
    assert_eq!(told, (expected, Some(1001)));
}

/// Something that happens to a page that has joined, or in its room.
#[derive(Clone, Debug)]
enum Step {
    /// Another member says so many lines.
    Lines(usize),
    /// The page says one.
    Own,
    /// A reply: a message that is no line.
    Reply,
    /// A step of another member is announced, in the room or in a summary.
    Visitor,
    /// The page loses its connection, and with it so many messages, and comes back after a while.
    Lost { messages: usize, lines: usize },
    /// It comes back before its connection is known to be dead, without so many messages.
    TakenOver(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5usize).prop_map(Step::Lines),
        3 => Just(Step::Own),
        2 => Just(Step::Reply),
        1 => Just(Step::Visitor),
        2 => (0..9usize, 0..5usize).prop_map(|(messages, lines)| Step::Lost { messages, lines }),
        1 => (0..9usize).prop_map(Step::TakenOver),
    ]
}

/// A page as the contract has it: it counts messages, and keeps lines.
struct Tab {
    id: ConnId,
    received: Vec<String>,
}

impl Tab {
    /// Receives what it is sent, but for the last messages.
    fn hear(&mut self, party: &mut Party, lost: usize) {
        let mut told = party.hears(self.id);
        told.truncate(told.len().saturating_sub(lost));
        self.received.extend(told);
    }

    fn come_back(&mut self, party: &mut Party) {
        let (id, told) = party.back(self.received.len() as u64);
        assert_eq!(told[0], "* You are back as wendy in lobby.");
        self.id = id;
        self.received.extend(told);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(300) })]

    /// Whatever a page loses, in the end it has every line of the room once and in order, or has been
    /// told that some are missing.
    #[test]
    fn a_page_has_each_line_once_and_in_order(steps in prop::collection::vec(step(), 0..40)) {
        let mut party = Party::new();
        let tcp = party.join_tcp("tess");
        let (id, _) = party.join(TOKEN, "wendy");
        let received = vec![WELCOME.into(), "* The room contains: tess".into()];
        let mut tab = Tab { id, received };
        let mut said: Vec<String> = Vec::new();
        let line = |party: &mut Party, said: &mut Vec<String>| {
            let text = format!("line {}", said.len());
            party.types(tcp, &text);
            said.push(format!("[tess] {text}"));
        };
        for step in steps {
            match step {
                Step::Lines(count) => (0..count).for_each(|_| line(&mut party, &mut said)),
                Step::Own => {
                    let text = format!("line {}", said.len());
                    party.says(tab.id, &text);
                    said.push(format!("[wendy] {text}"));
                }
                Step::Reply => party.says(tab.id, "/rooms"),
                Step::Visitor => {
                    let visitor = party.join_tcp("vic");
                    party.types(visitor, "/quit");
                }
                Step::Lost { messages, lines } => {
                    tab.hear(&mut party, messages);
                    party.script.close(tab.id, Closed::Reset);
                    (0..lines).for_each(|_| line(&mut party, &mut said));
                    tab.come_back(&mut party);
                }
                Step::TakenOver(messages) => {
                    tab.hear(&mut party, messages);
                    tab.come_back(&mut party);
                }
            }
        }
        tab.hear(&mut party, 0);
        let is_missing = |line: &String| line.starts_with("* Some lines ");
        let heard: Vec<&String> = tab.received.iter().filter(|line| line.starts_with('[')).collect();
        if tab.received.iter().any(is_missing) {
            let order = heard.iter().map(|line| said.iter().position(|said| said == *line).unwrap());
            prop_assert!(order.is_sorted_by(|a, b| a < b), "{:?}", tab.received);
        } else {
            prop_assert_eq!(heard, said.iter().collect::<Vec<_>>());
        }
    }
}
