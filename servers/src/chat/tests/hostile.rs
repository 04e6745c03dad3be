//! Hostile clients: endless lines, bytes that are no text, Telnet floods, and streams that are made
//! up at random or by mutation.
//!
//! Whatever a client sends, every other client must see harmless text only, in whole lines, and the
//! same text however the stream is cut.

use edgeloop_reactor::ConnId;
use proptest::prelude::*;
use proptest::sample::select;

use super::Party;
use crate::harmless::must_be_shown;

/// Asserts that a client was sent harmless text only: UTF-8, in whole lines, without characters that
/// a terminal would obey.
fn assert_harmless(heard: &str) {
    assert!(heard.is_empty() || heard.ends_with('\n'), "{heard:?}");
    let obeyed = heard
        .chars()
        .find(|&char| char != '\n' && must_be_shown(char));
    assert_eq!(obeyed, None, "{heard:?}");
}

#[test]
fn ten_mebibytes_without_a_newline_are_one_line_and_one_complaint() {
    let mut party = Party::new();
    let [alice, mallory] = party.join_all(["alice", "mallory"]);
    for _ in 0..160 {
        party.sends(mallory, &vec![b'x'; 64 * 1024]);
    }
    party.sends(mallory, b"\nstill here\n");
    let line = "x".repeat(4096);
    assert_eq!(
        party.hears(alice),
        format!("[mallory] {line}\n[mallory] still here\n")
    );
    assert_eq!(
        party.hears(mallory),
        "* your line was cut after 4096 bytes\n"
    );
    let nobody = party.connect();
    party.sends(nobody, &vec![b'x'; 64 * 1024]);
    assert_eq!(
        party.hears(nobody),
        "* a name has 32 characters at the most\n"
    );
    assert!(party.is_closed(nobody));
}

#[test]
fn what_is_no_utf_8_becomes_replacement_characters() {
    let mut party = Party::new();
    let [alice, mallory] = party.join_all(["alice", "mallory"]);
    for (bytes, shown) in [
        (&b"\x80"[..], "\u{fffd}"),
        (b"caf\xe9 au lait", "caf\u{fffd} au lait"),
        (b"overlong \xc0\xaf", "overlong \u{fffd}\u{fffd}"),
        (
            b"overlong \xe0\x80\x8a",
            "overlong \u{fffd}\u{fffd}\u{fffd}",
        ),
        (
            b"surrogate \xed\xa0\x80",
            "surrogate \u{fffd}\u{fffd}\u{fffd}",
        ),
        (
            b"beyond \xf4\x90\x80\x80",
            "beyond \u{fffd}\u{fffd}\u{fffd}\u{fffd}",
        ),
        (
            b"five bytes \xf8\x88\x80\x80\x80",
            "five bytes \u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
        ),
        (b"unfinished \xf0\x9f\x98", "unfinished \u{fffd}"),
        (b"interrupted \xe4\xbdx", "interrupted \u{fffd}x"),
        (b"not telnet \xff", "not telnet \u{fffd}"),
        (
            b"not telnet \xff\x80 either",
            "not telnet \u{fffd}\u{fffd} either",
        ),
    ] {
        party.sends(mallory, &[bytes, b"\n"].concat());
        assert_eq!(
            party.hears(alice),
            format!("[mallory] {shown}\n"),
            "{bytes:?}"
        );
    }
}

#[test]
fn what_a_terminal_would_obey_is_removed() {
    let mut party = Party::new();
    let [alice, mallory] = party.join_all(["alice", "mallory"]);
    for attack in [
        "\x1b[2J\x1b[H",
        "\x1b]0;a title\x07",
        "\x1b]52;c;cm0gLXJmIC8=\x1b\\",
        "\u{9b}2J",
        "\u{9d}0;a title\u{9c}",
        "over\u{85}written",
        "form\x0cfeed\x0bs",
        "\x0e\x0f\x7f\0",
        "\u{202e}txt.exe\u{2066}",
        "two\u{2028}lines\u{2029}",
        "\u{feff}\u{200e}\u{ad}",
        "\u{e0041}\u{e0042}",
    ] {
        for line in [
            attack.to_owned(),
            format!("/me {attack}"),
            format!("/msg alice {attack}"),
        ] {
            party.says(mallory, &line);
            let heard = party.hears(alice);
            assert_harmless(&heard);
            let names_mallory = |line: &str| {
                ["[mallory", "** mallory"]
                    .iter()
                    .any(|begin| line.starts_with(begin))
            };
            // A line without any visible character is not said.
            assert!(
                heard.lines().count() <= 1 && heard.lines().all(names_mallory),
                "{heard:?}"
            );
        }
        party.says(mallory, &format!("/nick {attack}"));
        party.says(mallory, &format!("/join {attack}"));
        party.says(mallory, &format!("/ignore {attack}"));
        party.says(mallory, &format!("/{attack}"));
        assert_eq!(party.hears(alice), "");
        assert_harmless(&party.hears(mallory));
    }
    party.says(
        mallory,
        "/quit \x1b[2J\u{202e}bye\u{2028}* alice has left the room",
    );
    assert_eq!(
        party.hears(alice),
        "* mallory has left the room ([2Jbye* alice has left the room)\n"
    );
}

#[test]
fn a_flood_of_telnet_commands_is_answered_for_a_while_and_skipped() {
    let mut party = Party::new();
    let [alice, mallory] = party.join_all(["alice", "mallory"]);
    let flood: Vec<u8> = (0..=255u8)
        .flat_map(|option| [255, 253, option, 255, 241])
        .collect();
    for _ in 0..100 {
        party.sends(mallory, &flood);
    }
    assert_eq!(party.sees(mallory).matches("<WONT ").count(), 64);
    party.sends(mallory, &[255, 250].repeat(10_000));
    party.sends(
        mallory,
        &[&[255, 240][..], &b"x".repeat(2000), b"\nhello\n"].concat(),
    );
    assert!(party.hears(alice).ends_with("[mallory] hello\n"));
}

#[test]
fn a_dismissed_client_is_not_heard_any_more() {
    let mut party = Party::new();
    let [alice] = party.join_all(["alice"]);
    let mallory = party.connect();
    party.sends(
        mallory,
        b"not a name\nmallory\nhello\n/msg alice hello\n/quit\n",
    );
    party.sends(mallory, b"mallory\nhello\n");
    party.script.eof(mallory);
    party.seconds_pass(100);
    assert_eq!(party.hears(alice), "");
    assert_eq!(
        party.hears(mallory),
        "* a name has letters and digits only\n"
    );
    party.script.eof(alice);
    party.check_forgotten();
}

#[test]
fn no_member_can_keep_held_bytes_from_being_bounded() {
    let mut party = Party::with(|settings| (settings.rate, settings.burst) = (1, 1));
    let [alice, mallory] = party.join_all(["alice", "mallory"]);
    party.sends(mallory, &b"x\n".repeat(32 * 1024));
    assert!(party.script.is_paused(mallory));
    let held = party.chat().members.get(mallory).unwrap().held_bytes();
    assert!(held <= 64 * 1024, "{held} bytes");
    party.seconds_pass(100);
    assert!((100..=102).contains(&party.hears(alice).lines().count()));
    assert!(party.script.is_paused(mallory));
}

/// The text that each client sees, if one after the other sends its stream in chunks.
fn seen_by_each(streams: &[Vec<u8>], chunk: usize, plain: bool) -> Vec<String> {
    let mut party = Party::with(|settings| {
        settings.max_line = 40;
        settings.rate = 0;
        settings.history = 2;
        settings.unicode_names = true;
        settings.plain = plain;
    });
    let witness = party.join("witness");
    let ids: Vec<ConnId> = streams.iter().map(|_| party.script.open()).collect();
    for (&id, stream) in ids.iter().zip(streams) {
        stream
            .chunks(chunk)
            .for_each(|chunk| party.sends(id, chunk));
        party.check();
    }
    ids.iter().for_each(|&id| party.script.eof(id));
    let mut seen = vec![party.hears(witness)];
    seen.extend(ids.iter().map(|&id| party.sees(id)));
    party.script.eof(witness);
    party.check_forgotten();
    seen
}

fn check(streams: &[Vec<u8>], chunk: usize, plain: bool) {
    let seen = seen_by_each(streams, usize::MAX, plain);
    assert_eq!(
        seen_by_each(streams, chunk, plain),
        seen,
        "cut after {chunk} bytes"
    );
    assert_harmless(&seen[0]);
    for seen in &seen[1..] {
        let lines: String = seen.split_inclusive('\n').map(without_answers).collect();
        assert_harmless(&lines);
    }
}

/// A line without the replies to Telnet commands before it.
fn without_answers(mut line: &str) -> &str {
    while let Some(answer) = line.strip_prefix("<WONT ").or(line.strip_prefix("<DONT ")) {
        (_, line) = answer.split_once('>').expect("an answer has an end");
    }
    line
}

/// Parts of which streams are made, so that all bytes with a meaning come up.
const TOKENS: &[&[u8]] = &[
    b"\n",
    b"\n",
    b"\r\n",
    b"\r\0",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"/",
    b"//",
    b"a",
    b"bob",
    b"mallory",
    b"witness",
    b"/nick ",
    b"/join ",
    b"/msg ",
    b"/me ",
    b"/ignore ",
    b"/quit ",
    b"/who",
    b"/rooms",
    b"/help",
    b"\xff",
    b"\xff\xff",
    b"\xff\xfb\x01",
    b"\xff\xfd\n",
    b"\xff\xfa",
    b"\xff\xf0",
    b"\xff\xf1",
    b"\xfe",
    b"\x80",
    b"\xc2\x9b",
    b"\x1b[31m",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"\xf4\x90\x80\x80",
    b"\xe5\xb0\x8f",
    b"\xe3\x85\xa4",
    b"\x7f",
    b"\x08",
    b"0123456789012345678901234567890123456789",
];

/// The beginnings of most streams: without a legal name no other member hears them.
const NAMES: &[&[u8]] = &[b"bob\n", b"a\n", b"mallory\r\n", b"\xe5\xb0\x8f\n", b""];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        8 => select(TOKENS).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..6),
    ];
    let first = select(NAMES).prop_map(<[u8]>::to_vec);
    (first, prop::collection::vec(token, 0..40))
        .prop_map(|(first, tokens)| [first, tokens.concat()].concat())
}

proptest! {
    #[test]
    fn whatever_is_sent_others_see_text_only_and_the_same_however_it_is_cut(
        streams in prop::collection::vec(stream(), 1..4), chunk in 1..20usize, plain in any::<bool>(),
    ) {
        check(&streams, chunk, plain);
    }
}

/// Conversations to mutate, among them input that has been trouble to other servers.
const CORPUS: &[&[u8]] = &[
    b"bob\nhello\n/who\n/rooms\n/join dev\nhi\n/me waves\n/nick rob\n/msg witness psst\n/quit bye\n",
    b"mallory\r\0/ignore witness\r\n/ignore witness\r\n//etc\r\n/nonsense\r\n/help\r\n",
    b"\xff\xfd\x03\xff\xfb\x18\xff\xfb\x1f\xff\xfa\x1f\0\x50\0\x18\xff\xf0telnet\r\n\xff\xf4\xff\xfd\x06hello\r\0",
    b"a\n\xff\xfe\xfd\n\xff\n\xff\xff\n\xff\xfa\xff\xff\xff\xf0\n\xff\xfa no end",
    b"eve\n\x1b]0;title\x07\x1b[2J\n\xc2\x9b2J\n\x9b2J\n\xe2\x80\xaeexe\n\r[root] hi\n\x08\x08\x7f\n",
    b"u\n\xc0\xaf\n\xe0\x80\x8a\n\xed\xa0\x80\n\xf4\x90\x80\x80\n\xf8\x88\x80\x80\x80\n\xf0\x9f\x98\n",
    b"long\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nok\n",
    b"\n", b"witness\n", b"no name\n", b"\xe3\x85\xa4\n", b"\0\0\0\n", b"x",
];

/// A xorshift generator: a seed determines the attack.
struct Attack(u64);

impl Attack {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }

    fn stream(&mut self) -> Vec<u8> {
        let mut stream = self.pick(CORPUS).to_vec();
        for _ in 0..=self.below(8) {
            self.mutate(&mut stream);
        }
        stream
    }

    fn mutate(&mut self, stream: &mut Vec<u8>) {
        let at = self.below(stream.len() + 1);
        let end = at + self.below((stream.len() - at).min(30) + 1);
        match self.below(6) {
            0 => drop(stream.drain(at..end)),
            1 => drop(stream.splice(at..at, self.pick(TOKENS).iter().copied())),
            2 => drop(stream.splice(at..end, self.pick(CORPUS).iter().copied())),
            3 => stream.extend_from_within(at..end),
            4 => stream[at..end]
                .iter_mut()
                .for_each(|byte| *byte = byte.rotate_left(3) ^ 0x80),
            _ => stream[at..end].reverse(),
        }
    }
}

#[test]
fn mutations_of_real_conversations_do_no_harm() {
    for seed in 1..=10_000_u64 {
        let mut attack = Attack(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let streams = [(); 3].map(|()| attack.stream());
        let (chunk, plain) = (1 + attack.below(30), attack.below(4) == 0);
        let result = std::panic::catch_unwind(|| check(&streams, chunk, plain));
        assert!(result.is_ok(), "seed {seed}: {streams:?}");
    }
}

/// A browser and a client of TLS that have the wrong port are refused by the first bytes that no name has,
/// wherever these are cut; what a member says may begin so.
#[test]
fn clients_of_other_protocols_are_refused_at_once() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let long = [&hello[..], &[b'x'; 5000], b"\n"].concat();
    for (input, has_said) in [
        (&b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nbob\n"[..], 17),
        (b"GET /room HTTP/1.1\r\n", 20),
        (hello, 2),
        (b"\x16\x03\x08\x08bob\n", 2),
        (&long, 2),
    ] {
        for chunk in [1, 2, 3, input.len()] {
            let mut party = Party::new();
            let stranger = party.connect();
            let mut sent = 0;
            for piece in input.chunks(chunk) {
                party.sends(stranger, piece);
                sent += piece.len();
                if sent >= has_said {
                    break;
                }
            }
            let told = party.hears(stranger);
            assert_eq!(told, "* a name has letters and digits only\n", "{input:?}");
            assert!(party.is_closed(stranger));
        }
    }
    let mut party = Party::new();
    let [alice, bob] = party.join_all(["alice", "bob"]);
    party.sends(bob, b"\x16\x03");
    party.sends(bob, b"!\n");
    assert!(party.hears(alice).ends_with("!\n"));
}
