//! Pages in a room: their lines, their output, and its cost.

use edgeloop::chat::{Chat, Settings};
use edgeloop::web::Web;
use edgeloop_reactor::{ConnId, Data, Opened, Outbox, Protocol, every_split};

use crate::party::{
    GOING_AWAY, Party, TOKEN, WEB, WELCOME, behind_head, frame, messages, request, say, settings,
    web,
};

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
