//! The decoder against frames that are masked byte by byte, and against frames of a server.

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    masked: true,
    max_message: 100_000,
    binary: true,
};
/// The rules of a client, which takes the frames of a server.
const OF_CLIENT: Rules = Rules {
    masked: false,
    ..RULES
};
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_header(first, payload.len(), Some(Mask(MASK)), &mut frame);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame as a server sends it.
fn plain_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(first, payload, None, &mut frame);
    frame
}

/// Makes a frame of a first byte and a payload.
type Frame = fn(u8, &[u8]) -> Vec<u8>;

/// One thing that the decoder tells, with its whole payload.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Failure(u16),
}

/// Decodes input that comes in these pieces. Parts are joined to messages; a message that does not end
/// is not told.
fn decode(pieces: &[&[u8]], rules: Rules) -> Vec<Told> {
    let (mut decoder, mut told, mut message) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let (mut input, mut at) = (piece.to_vec(), 0);
        loop {
            match decoder.next(&mut input, &mut at, rules) {
                Ok(None) => {
                    assert_eq!(at, input.len(), "all input is used up");
                    break;
                }
                Ok(Some(Event::Part(part))) => {
                    assert_eq!(part.is_first, message.is_empty(), "{part:?}");
                    assert!(part.is_last || !part.bytes.is_empty(), "{part:?}");
                    message.extend_from_slice(&input[part.bytes]);
                    if part.is_last {
                        told.push(Told::Message(part.kind, std::mem::take(&mut message)));
                    }
                }
                Ok(Some(Event::Ping(payload))) => told.push(Told::Ping(payload)),
                Ok(Some(Event::Pong)) => told.push(Told::Pong),
                Ok(Some(Event::Close(code))) => {
                    told.push(Told::Close(code.map(|code| code.0)));
                    return told;
                }
                Err(failure) => {
                    told.push(Told::Failure(failure.code.0));
                    return told;
                }
            }
        }
    }
    told
}

/// Decodes input in one piece, and asserts that it means the same wherever it is cut.
fn every_cut(input: &[u8], rules: Rules) -> Vec<Told> {
    let whole = decode(&[input], rules);
    for cut in 0..=input.len() {
        let (first, second) = input.split_at(cut);
        assert_eq!(decode(&[first, second], rules), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(decode(&single, rules), whole, "byte by byte");
    whole
}

fn text(text: &str) -> Told {
    Told::Message(Kind::Text, text.as_bytes().to_vec())
}

#[test]
fn messages_are_put_together_from_fragments_with_control_frames_between() {
    let input = [
        frame(FIN | TEXT, b"hello"),
        frame(TEXT, "gr\u{fc}".as_bytes()),
        frame(FIN | PING, b"are you there?"),
        frame(CONTINUATION, b""),
        frame(FIN | CONTINUATION, "\u{df}e".as_bytes()),
        frame(FIN | PONG, b""),
        frame(FIN | TEXT, b""),
        frame(FIN | BINARY, &[0xff; 300]),
        frame(FIN | CLOSE, &[0x03, 0xe9, b'b', b'y', b'e']),
        b"what follows a close frame is not looked at".to_vec(),
    ];
    let told = every_cut(&input.concat(), RULES);
    let expected = [
        text("hello"),
        Told::Ping(b"are you there?".to_vec()),
        text("gr\u{fc}\u{df}e"),
        Told::Pong,
        text(""),
        Told::Message(Kind::Binary, vec![0xff; 300]),
        Told::Close(Some(1001)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_character_may_be_cut_by_a_fragment() {
    let input = [
        frame(TEXT, b"\xf0\x9f"),
        frame(FIN | CONTINUATION, b"\x98\x80"),
    ];
    assert_eq!(every_cut(&input.concat(), RULES), [text("\u{1f600}")]);
}

#[test]
fn frames_that_break_a_rule_are_refused() {
    let unmasked = vec![FIN | TEXT, 1];
    let reserved = |bit: u8| frame(FIN | TEXT | bit, b"x");
    let long = |len: u64| {
        [
            &[FIN | BINARY, MASKED | LEN_64][..],
            &len.to_be_bytes(),
            &MASK,
        ]
        .concat()
    };
    let in_message = |then: Vec<u8>| [frame(TEXT, b"x"), then].concat();
    for (code, why, input) in [
        (1002, "unmasked", unmasked),
        (1002, "RSV1", reserved(0x40)),
        (1002, "RSV2", reserved(0x20)),
        (1002, "RSV3", reserved(0x10)),
        (1002, "opcode 3", frame(FIN | 3, b"")),
        (1002, "opcode 7", frame(FIN | 7, b"")),
        (1002, "opcode 11", frame(FIN | 0x0b, b"")),
        (1002, "opcode 15", frame(FIN | 0x0f, b"")),
        (1002, "fragmented ping", frame(PING, b"")),
        (1002, "fragmented close", frame(CLOSE, b"")),
        (1002, "long ping", frame(FIN | PING, &[0; 126])),
        (
            1002,
            "no message to continue",
            frame(FIN | CONTINUATION, b""),
        ),
        (
            1002,
            "text in a message",
            in_message(frame(FIN | TEXT, b"")),
        ),
        (1002, "binary in a message", in_message(frame(BINARY, b""))),
        (
            1002,
            "length 125 in 2 bytes",
            [&[FIN | TEXT, MASKED | LEN_16, 0, 125][..], &MASK].concat(),
        ),
        (1002, "length 65535 in 8 bytes", long(65_535)),
        (1002, "length of 64 bits", long(1 << 63)),
        (1002, "half a code", frame(FIN | CLOSE, &[3])),
        (1007, "not UTF-8", frame(FIN | TEXT, b"\xc3\x28")),
        (1007, "ends within a character", frame(FIN | TEXT, b"\xc3")),
        (
            1007,
            "ends within a character",
            in_message(frame(FIN | CONTINUATION, b"\xc3")),
        ),
        (
            1007,
            "reason not UTF-8",
            frame(FIN | CLOSE, &[0x03, 0xe8, 0xff]),
        ),
        (1009, "too big", long(100_001)),
        (1009, "far too big", long((1 << 63) - 1)),
        (
            1009,
            "too big together",
            [
                frame(BINARY, b"x"),
                vec![FIN, MASKED | LEN_64, 0, 0, 0, 0, 0, 1, 0x86, 0xa0],
                MASK.to_vec(),
            ]
            .concat(),
        ),
    ] {
        let told = every_cut(&input, RULES);
        assert_eq!(told, [Told::Failure(code)], "{why}");
    }
    let input = frame(FIN | BINARY, b"x");
    let no_binary = Rules {
        binary: false,
        ..RULES
    };
    assert_eq!(every_cut(&input, no_binary), [Told::Failure(1003)]);
}

#[test]
fn a_frame_is_refused_by_its_first_wrong_byte() {
    let mut decoder = Decoder::default();
    let refuses = |decoder: &mut Decoder, input: &[u8]| {
        decoder.next(&mut input.to_vec(), &mut 0, RULES).is_err()
    };
    assert!(refuses(&mut decoder, &[FIN | TEXT, 5]), "no mask");
    let mut decoder = Decoder::default();
    let begin = frame(FIN | TEXT, b"12345\xff789");
    assert!(!refuses(&mut decoder, &begin[..11]));
    assert!(refuses(&mut decoder, &begin[11..12]), "UTF-8");
}

#[test]
fn close_frames_may_give_the_codes_that_are_meant_for_them() {
    let given = |code: u16| every_cut(&frame(FIN | CLOSE, &code.to_be_bytes()), RULES);
    for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
        assert_eq!(given(code), [Told::Close(Some(code))]);
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        assert_eq!(given(code), [Told::Failure(1002)], "{code}");
    }
    assert_eq!(
        every_cut(&frame(FIN | CLOSE, b""), RULES),
        [Told::Close(None)]
    );
}

#[test]
fn headers_of_the_server_have_the_shortest_length() {
    for (len, header) in [
        (0, &[0x81, 0][..]),
        (125, &[0x81, 125]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 255, 255]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut out = Vec::new();
        push_text("x".repeat(len).as_bytes(), None, &mut out);
        assert_eq!(&out[..out.len() - len], header);
    }
    let mut out = Vec::new();
    push_close(Some(Code::NORMAL), None, &mut out);
    assert_eq!(out, END);
}

#[test]
fn frames_of_a_client_are_those_of_a_server_with_a_mask() {
    for len in [0, 5, 125, 126, 65_535, 65_536] {
        let text = "x".repeat(len);
        let (mask, mut whole) = (Mask(MASK), Vec::new());
        push_text(text.as_bytes(), Some(mask), &mut whole);
        assert_eq!(whole, frame(FIN | TEXT, text.as_bytes()), "{len}");
        // In parts of any length.
        let (mut mask, mut parts) = (mask, Vec::new());
        push_text_header(len, Some(mask), &mut parts);
        for part in text.as_bytes().chunks(1001) {
            let from = parts.len();
            parts.extend_from_slice(part);
            mask.apply(&mut parts[from..]);
        }
        assert_eq!(parts, whole, "{len}");
    }
    let mut out = Vec::new();
    push_pong(b"ping", Some(Mask(MASK)), &mut out);
    push_close(Some(Code::NORMAL), Some(Mask(MASK)), &mut out);
    let told = [Told::Pong, Told::Close(Some(1000))];
    assert_eq!(every_cut(&out, RULES), told);
}

#[test]
fn a_client_takes_frames_without_a_mask_and_no_others() {
    let input = [
        plain_frame(TEXT, "gr\u{fc}".as_bytes()),
        HEARTBEAT.to_vec(),
        plain_frame(FIN | CONTINUATION, "\u{df}e".as_bytes()),
        plain_frame(FIN | TEXT, &[b'x'; 300]),
        END.to_vec(),
    ];
    let expected = [
        Told::Ping(Vec::new()),
        text("gr\u{fc}\u{df}e"),
        text(&"x".repeat(300)),
        Told::Close(Some(1000)),
    ];
    assert_eq!(every_cut(&input.concat(), OF_CLIENT), expected);
    let masked = frame(FIN | TEXT, b"hello");
    assert_eq!(every_cut(&masked, OF_CLIENT), [Told::Failure(1002)]);
}

/// A message, and the lengths of the fragments that it is cut into.
fn message() -> impl Strategy<Value = (Kind, Vec<u8>, Vec<usize>)> {
    let text = ".{0,200}".prop_map(|text| (Kind::Text, text.into_bytes()));
    let binary = prop::collection::vec(any::<u8>(), 0..70_000);
    let binary = binary.prop_map(|bytes| (Kind::Binary, bytes));
    let cuts = prop::collection::vec(0..200usize, 0..4);
    (prop_oneof![3 => text, 1 => binary], cuts)
        .prop_map(|((kind, bytes), cuts)| (kind, bytes, cuts))
}

/// The frames of a message, made by `frame`: fragments of these lengths, each followed by a ping, and the
/// rest.
fn frames(
    (kind, bytes, cuts): &(Kind, Vec<u8>, Vec<usize>),
    frame: Frame,
    told: &mut Vec<Told>,
) -> Vec<u8> {
    let mut opcode = match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    };
    let (mut rest, mut out) = (&bytes[..], Vec::new());
    for cut in cuts {
        let (fragment, after) = rest.split_at((*cut).min(rest.len()));
        out.extend(frame(opcode, fragment));
        out.extend(frame(FIN | PING, &fragment[..fragment.len().min(SHORT)]));
        told.push(Told::Ping(fragment[..fragment.len().min(SHORT)].to_vec()));
        (rest, opcode) = (after, CONTINUATION);
    }
    out.extend(frame(FIN | opcode, rest));
    told.push(Told::Message(*kind, bytes.clone()));
    out
}

proptest! {
    #[test]
    fn whatever_the_fragments_and_the_reads_the_messages_are_the_same(
        messages in prop::collection::vec(message(), 1..4),
        reads in prop::collection::vec(1..100_000usize, 1..10),
        is_client in any::<bool>(),
    ) {
        let (mut told, mut input) = (Vec::new(), Vec::new());
        let (rules, frame): (_, Frame) =
            if is_client { (OF_CLIENT, plain_frame) } else { (RULES, frame) };
        for message in &messages {
            input.extend(frames(message, frame, &mut told));
        }
        let (mut pieces, mut rest) = (Vec::new(), &input[..]);
        for read in reads.iter().cycle() {
            let (piece, after) = rest.split_at((*read).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decode(&pieces, rules), told);
    }

    #[test]
    fn random_bytes_mean_the_same_wherever_they_are_cut(input in prop::collection::vec(any::<u8>(), 0..60)) {
        every_cut(&input, RULES);
        every_cut(&input, OF_CLIENT);
    }

    /// Of random bytes few pass the first header; these have headers that may.
    #[test]
    fn random_frames_mean_the_same_wherever_they_are_cut(
        starts in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..6),
    ) {
        let mut input = Vec::new();
        for (first, second, payload) in starts {
            // Reserved bits, and a mask that is missing, are rare here.
            let first = if first.is_multiple_of(8) { first } else { first & !RESERVED };
            let mut frame = frame(first, &payload);
            if second.is_multiple_of(8) {
                frame[1] ^= second >> 3;
            }
            input.extend(frame);
        }
        let told = every_cut(&input, RULES);
        let bytes: usize = told.iter().map(|told| match told {
            Told::Message(_, bytes) | Told::Ping(bytes) => bytes.len(),
            _ => 0,
        }).sum();
        prop_assert!(bytes <= input.len(), "no more comes out than went in");
    }

    #[test]
    fn a_mask_applied_in_parts_is_the_mask_applied_at_once(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..300usize) {
        let plain: Vec<u8> = bytes.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let (mut masked, cut) = (bytes, cut.min(plain.len()));
        let mut mask = Mask(MASK);
        mask.apply(&mut masked[..cut]);
        mask.apply(&mut masked[cut..]);
        prop_assert_eq!(masked, plain);
    }
}
