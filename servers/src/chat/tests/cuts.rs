//! However the bytes of a conversation are cut into segments, each client sees the same text.

use edgeloop_reactor::ConnId;

use super::Party;

/// The steps of a conversation: the number of a client, and the bytes that it sends. All clients are
/// connected from the start.
type Conversation = &'static [(usize, &'static [u8])];

const CONVERSATION: Conversation = &[
    (0, b"alice\r\n"),
    // Offers and requests of `telnet`, around the text that its user types.
    (1, b"\xff\xfd\x03\xff\xfb\x18bob\r\0/who\r\n\xff\xfb\x1f\xff\xfa\x1f\0\x50\0\x18\xff\xf0hello\xff\xff\r\n"),
    (2, "carol\n/nick Caro\n/me wäveé\x7fs\r//slash\n/msg bob psst \u{202e}\n".as_bytes()),
    (0, b"/join dev\r\0hello?\n/rooms\n/ignore Caro\n/join lobby\n/who\n\0nul\xff\n\xff\xfe\nend\n"),
    (2, b"alice hears\xf0\x9f\x91 \x1b[31mno\x9bt\n\n\n/nick alice\n/nonsense\n/me\n"),
    (3, b"not a name\nhello\n"),
    (1, b"/ignore alice\n/ignore alice\n/quit good\x07 night\nnever said\n"),
    (0, b"a line that is too long for this server to be said as it is, \xc3\xa9\n/help\nlast words"),
];

/// The text that each of four clients sees, if the bytes of one step are sent in pieces.
fn seen(step: usize, pieces: impl Fn(&'static [u8]) -> Vec<&'static [u8]>) -> [String; 4] {
    let mut party = Party::with(|settings| {
        settings.max_line = 62;
        settings.motd = Some("be kind\nno, really".into());
        settings.history = 3;
    });
    let ids: [ConnId; 4] = std::array::from_fn(|_| party.script.open());
    for (index, &(who, bytes)) in CONVERSATION.iter().enumerate() {
        if index == step {
            let sent = pieces(bytes);
            sent.iter().for_each(|piece| party.sends(ids[who], piece));
        } else {
            party.sends(ids[who], bytes);
        }
    }
    party.script.eof(ids[0]);
    party.check();
    ids.map(|id| party.sees(id))
}

#[test]
fn each_client_sees_the_same_wherever_the_input_is_cut() {
    let whole = seen(0, |bytes| vec![bytes]);
    for (step, (_, bytes)) in CONVERSATION.iter().enumerate() {
        for cut in 1..bytes.len() {
            let pieces = |bytes: &'static [u8]| vec![&bytes[..cut], &bytes[cut..]];
            assert_eq!(
                seen(step, pieces),
                whole,
                "step {step} cut after {cut} bytes"
            );
        }
        let bytes = |bytes: &'static [u8]| bytes.chunks(1).collect();
        assert_eq!(seen(step, bytes), whole, "step {step} byte by byte");
    }
}

/// Without this test the one above might compare empty texts.
#[test]
fn the_conversation_is_what_one_would_expect() {
    let [alice, bob, carol, dave] = seen(0, |bytes| vec![bytes]);
    let expected = "\
        Welcome! What is your name?\n\
        * The room is empty\n\
        * be kind\n\
        * no, really\n\
        * bob has entered the room\n\
        [bob] hello\u{fffd}\n\
        * carol has entered the room\n\
        * carol is now known as Caro\n\
        ** Caro wäves\n\
        [Caro] /slash\n\
        * you are in dev now\n\
        * The room is empty\n\
        * rooms: lobby (2), dev (1)\n\
        * you do not hear Caro any more\n\
        * you are in lobby now\n\
        * The room contains: Caro, bob\n\
        * 0s ago [bob] hello\u{fffd}\n\
        * in lobby (3): Caro, bob, alice\n\
        * bob has left the room (good night)\n\
        * your line was cut after 62 bytes\n";
    assert_eq!(&alice[..expected.len()], expected);
    assert!(alice.ends_with("* //TEXT             say a line that begins with a slash\n"));
    let expected = "\
        Welcome! What is your name?\n\
        <WONT 3><DONT 24>\
        * The room contains: alice\n\
        * be kind\n\
        * no, really\n\
        * in lobby (2): alice, bob\n\
        <DONT 31>\
        * carol has entered the room\n\
        * carol is now known as Caro\n\
        ** Caro wäves\n\
        [Caro] /slash\n\
        [Caro to you] psst \n\
        * alice has left the room\n\
        * alice has entered the room\n\
        [alice] nul\u{fffd}\n\
        [alice] end\n\
        [Caro] alice hears\u{fffd} [31mno\u{fffd}t\n\
        * you do not hear alice any more\n\
        * you hear alice again\n";
    assert_eq!(bob, expected);
    let expected = "\
        [alice] nul\u{fffd}\n\
        [alice] end\n\
        * this name is taken\n\
        * unknown command: /help lists them\n\
        * write /me TEXT\n\
        * bob has left the room (good night)\n\
        [alice] a line that is too long for this server to be said as it is, \n\
        [alice] last words\n\
        * alice has left the room\n";
    assert!(carol.ends_with(expected), "{carol}");
    assert_eq!(
        dave,
        "Welcome! What is your name?\n* a name has letters and digits only\n"
    );
}
