//! Memberships without a connection: how long they are kept, and what others see of them.

use edgeloop::chat::Settings;
use edgeloop_reactor::{Closed, Opened, Peer};

use crate::party::{
    DONE, GOING_AWAY, Party, STDIN, STDOUT, TOKEN, WEB, WELCOME, behind_head, frame, messages,
    request, settings,
};

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
