//! A connection with a framing among others without: what each of them receives, and when.

use std::cell::Cell;
use std::time::Duration;

use edgeloop_reactor::{
    Closed, ConnId, ConnMap, Data, Framing, Limits, Opened, Outbox, Protocol, Script,
};

const BEAT: Duration = Duration::from_secs(30);
const ALMOST: Duration = Duration::from_millis(29_999);

/// Each send stands in brackets.
static BRACKETS: Framing = Framing {
    encode: |bytes, out| {
        out.push(b'[');
        out.extend_from_slice(bytes);
        out.push(b']');
    },
    end: b"<end>",
    heartbeat: (BEAT, b"<beat>"),
};

/// Nothing more is said.
static SILENCE: Framing = Framing {
    encode: |_, _| {},
    end: b"",
    heartbeat: (Duration::ZERO, b""),
};

/// Connections with this tag are framed.
const FRAMED: u64 = 1;

/// Sends what it is told to all, but for a few words.
#[derive(Default)]
struct Room {
    all: ConnMap<()>,
}

impl Protocol for Room {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        self.all.insert(id, ());
        if opened.tag == FRAMED {
            out.send(id, b"raw ");
            out.set_framing(id, &BRACKETS);
        }
    }

    fn on_data(&mut self, id: ConnId, mut data: Data<'_>, out: &mut Outbox) {
        match &*data {
            b"finish" => {
                assert!(!out.has_ended(id));
                out.finish(id);
                assert!(out.has_ended(id));
            }
            b"half-close" => out.half_close(id),
            b"close" => out.close(id),
            b"abort" => out.abort(id),
            b"as is" => out.send_unframed(id, b"as is"),
            b"silence" => out.set_framing(id, &SILENCE),
            b"back" => out.send_back(data),
            b"lend" => {
                let mut decoded = *b"decoded";
                let lent = out.lend(&mut decoded);
                out.send_back(lent);
            }
            b"last words" => {
                out.send(id, b"last words");
                out.finish(id);
                out.finish(id);
                out.send(id, b"too late");
            }
            b"held" => {
                out.hold(id);
                out.finish(id);
                out.send(id, b"the reply");
                out.release(id);
            }
            b"flood" => {
                for _ in 0..1_000 {
                    out.broadcast(self.all.iter().map(|(id, ())| id), &[b'x'; 1_000]);
                }
            }
            _ => {
                data.make_ascii_uppercase();
                out.broadcast(self.all.iter().map(|(id, ())| id), &data);
            }
        }
    }

    fn on_close(&mut self, id: ConnId, _: Closed, _: &mut Outbox) {
        self.all.remove(id);
    }
}

fn room() -> (Script<Room>, ConnId, ConnId) {
    let mut script = Script::new(Room::default());
    let (plain, framed) = (script.open(), script.open_tagged(FRAMED));
    assert_eq!(
        script.take_output(framed),
        b"raw ",
        "sent before the framing was set"
    );
    (script, plain, framed)
}

#[test]
fn a_broadcast_reaches_each_in_its_own_framing() {
    let (mut script, plain, framed) = room();
    let other = script.open_tagged(FRAMED);
    script.take_output(other);
    for text in [&b"one"[..], b"two"] {
        script.data(plain, text);
    }
    assert_eq!(script.take_output(plain), b"ONETWO");
    for framed in [framed, other] {
        assert_eq!(script.take_output(framed), b"[ONE][TWO]");
    }
}

/// Recipients of two framings and of none take turns.
#[test]
fn a_broadcast_is_encoded_once_for_each_framing() {
    thread_local! {
        static ENCODED: Cell<u32> = const { Cell::new(0) };
    }
    static COUNTED: Framing = Framing {
        encode: |bytes, out| {
            ENCODED.set(ENCODED.get() + 1);
            out.extend(bytes.iter().rev());
        },
        end: b"",
        heartbeat: (Duration::ZERO, b""),
    };
    let mut script = Script::new(Room::default());
    let ids: Vec<ConnId> = (0..9).map(|_| script.open()).collect();
    script.call(|_, out| {
        for three in ids.chunks(3) {
            out.set_framing(three[1], &BRACKETS);
            out.set_framing(three[2], &COUNTED);
        }
        out.broadcast(ids.iter().copied(), b"abc");
    });
    for three in ids.chunks(3) {
        let heard = [0, 1, 2].map(|index| script.take_output(three[index]));
        assert_eq!(heard, [&b"abc"[..], b"[abc]", b"cba"]);
    }
    assert_eq!(ENCODED.get(), 1);
}

#[test]
fn bytes_as_they_are_keep_their_place_among_the_framed_ones() {
    let (mut script, _, framed) = room();
    script.call(|_, out| {
        out.send(framed, b"a");
        out.send_unframed(framed, b"b");
        out.send(framed, b"c");
    });
    assert_eq!(script.take_output(framed), b"[a]b[c]");
}

#[test]
fn what_is_sent_back_is_framed_too() {
    let (mut script, plain, framed) = room();
    script.data(framed, b"back");
    assert_eq!(script.take_output(framed), b"[back]");
    script.data(plain, b"back");
    assert_eq!(script.take_output(plain), b"back");
}

#[test]
fn what_was_lent_goes_back_with_or_without_a_framing() {
    let (mut script, plain, framed) = room();
    script.data(framed, b"lend");
    assert_eq!(script.take_output(framed), b"[decoded]");
    script.data(plain, b"lend");
    assert_eq!(script.take_output(plain), b"decoded");
}

#[test]
fn a_regular_end_is_announced_once() {
    for (ask, output) in [
        ("finish", "<end>"),
        ("half-close", "<end>"),
        ("close", "<end>"),
        ("last words", "[last words]<end>"),
        ("held", "[the reply]<end>"),
        ("abort", ""),
    ] {
        let (mut script, _, framed) = room();
        script.data(framed, ask.as_bytes());
        assert_eq!(script.take_output(framed), output.as_bytes(), "{ask}");
        script.eof(framed);
        assert!(script.closed(framed).is_some(), "{ask}");
        assert_eq!(script.take_output(framed), b"", "{ask}");
    }
}

#[test]
fn the_peers_end_is_answered_by_ours() {
    let (mut script, plain, framed) = room();
    script.eof(framed);
    assert_eq!(script.take_output(framed), b"<end>");
    assert_eq!(script.closed(framed), Some(Closed::Eof));
    script.eof(plain);
    assert_eq!(script.take_output(plain), b"");
}

#[test]
fn the_next_connection_in_a_slot_has_no_framing() {
    let (mut script, plain, framed) = room();
    script.data(framed, b"abort");
    let next = script.open();
    assert_eq!(next.slot(), framed.slot());
    script.call(|_, out| out.set_framing(framed, &BRACKETS));
    script.data(plain, b"x");
    assert_eq!(script.take_output(next), b"X");
    script.data(next, b"back");
    assert_eq!(script.take_output(next), b"back");
}

#[test]
fn a_framing_can_be_changed_to_one_that_says_nothing() {
    let (mut script, plain, framed) = room();
    script.data(framed, b"silence");
    script.data(plain, b"x");
    assert_eq!(script.take_output(framed), b"");
    script.data(framed, b"as is");
    assert_eq!(script.take_output(framed), b"as is");
    script.advance(10 * BEAT);
    script.data(framed, b"finish");
    assert_eq!(script.take_output(framed), b"");
}

#[test]
fn a_heartbeat_follows_silence_only() {
    let (mut script, plain, framed) = room();
    script.advance(ALMOST);
    assert_eq!(script.take_output(framed), b"");
    script.advance(Duration::from_millis(1));
    assert_eq!(script.take_output(framed), b"<beat>");
    script.advance(BEAT / 2);
    script.data(plain, b"x");
    script.advance(ALMOST);
    assert_eq!(script.take_output(framed), b"[X]");
    script.advance(2 * BEAT);
    assert_eq!(script.take_output(framed), b"<beat><beat>");
    assert_eq!(script.take_output(plain), b"X");
    script.data(framed, b"half-close");
    script.advance(3 * BEAT);
    assert_eq!(script.take_output(framed), b"<end>");
}

#[test]
fn a_peer_that_reads_nothing_gets_no_heartbeat_until_it_does() {
    let limits = Limits {
        stall_timeout: Duration::ZERO,
        ..Limits::default()
    };
    let mut script = Script::with_limits(Room::default(), limits);
    let framed = script.open_tagged(FRAMED);
    script.set_reading(framed, false);
    script.call(|_, out| out.send(framed, b"x"));
    script.advance(10 * BEAT);
    script.set_reading(framed, true);
    assert_eq!(script.take_output(framed), b"raw [x]");
    script.advance(2 * BEAT);
    let output = script.take_output(framed);
    assert!(output.starts_with(b"<beat>"), "{output:?}");
}

#[test]
fn the_queue_limit_holds_for_encoded_bytes_within_a_callback() {
    let limits = Limits {
        high_water: 1_000,
        queue_limit: Some(100_000),
        ..Limits::default()
    };
    let mut script = Script::with_limits(Room::default(), limits);
    let framed = script.open_tagged(FRAMED);
    script.set_reading(framed, false);
    script.data(framed, b"flood");
    assert_eq!(script.closed(framed), Some(Closed::SlowConsumer));
}

#[test]
fn what_is_framed_is_charged_like_other_output_and_its_encoding_once() {
    let (mut script, plain, framed) = room();
    let others = [(); 2].map(|()| script.open_tagged(FRAMED));
    let text = [b'x'; 1_000];
    script.call(|_, out| {
        let mut cost = |to: &[ConnId]| {
            // No recipient has its first piece of the turn in what is compared.
            out.broadcast(to.iter().copied(), b"x");
            let before = out.charged();
            out.broadcast(to.iter().copied(), &text);
            out.charged() - before
        };
        let as_it_is = cost(&[plain]);
        let brackets = 2;
        assert_eq!(cost(&[framed]), as_it_is + brackets + text.len());
        let all = [framed, others[0], others[1]];
        assert_eq!(cost(&all), 3 * (as_it_is + brackets) + text.len());
        let before = out.charged();
        out.send_unframed(framed, &text);
        assert_eq!(out.charged() - before, as_it_is);
    });
}
