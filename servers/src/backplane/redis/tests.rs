//! The client without a network: what it sends, and what it makes of the replies. The tests with a real
//! server are in `tests/tests/backplane_redis.rs`.

use edgeloop_reactor::{Data, Opened, Protocol, Script};

use super::*;
use crate::backplane::entry::{Position, Stamp};

const ORIGIN: Origin = Origin { server: 1, boot: 2 };
const READER: u64 = 7;
const WRITER: u64 = 8;

struct Owner {
    log: RedisLog,
    reads: Vec<Read>,
    /// It takes nothing from the log.
    rests: bool,
}

impl Owner {
    fn go_on(&mut self, out: &mut Outbox) {
        while !self.rests
            && let Some(read) = self.log.next()
        {
            self.reads.push(read);
        }
        if let Some(next) = self.log.go_on(out) {
            out.set_service_timer_at(next);
        }
    }
}

impl Protocol for Owner {
    fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
        assert!(self.log.on_open(id, out));
        self.go_on(out);
    }

    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        assert!(self.log.on_connect_error(id, tag, why, out));
        self.go_on(out);
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        assert!(self.log.on_data(id, &data, out));
        self.go_on(out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        self.log.on_close(id, why, out);
        self.go_on(out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.go_on(out);
    }
}

struct Played {
    script: Script<Owner>,
}

impl Played {
    fn new() -> Played {
        let target: Target = "redis://127.0.0.1:7000?prefix=p".parse().expect("a URL");
        let log = RedisLog::new(&target, ORIGIN, [READER, WRITER], 1000);
        let owner = Owner {
            log,
            reads: Vec::new(),
            rests: false,
        };
        let mut script = Script::new(owner);
        script.call(Owner::go_on);
        Played { script }
    }

    /// The connect with this tag succeeds.
    fn connect(&mut self, tag: u64) -> ConnId {
        let id = self.script.connecting(tag).expect("a connect");
        self.script.connected(id);
        id
    }

    /// The commands that were sent, their words joined by blanks.
    fn sent(&mut self, id: ConnId) -> Vec<String> {
        let output = self.script.take_output(id);
        let (mut decoder, mut bytes) = (resp::Decoder::default(), &output[..]);
        let mut commands = Vec::new();
        while let Ok(Some(resp::Value::Array(words))) = decoder.next(&mut bytes) {
            let words = words.iter().map(|word| match word {
                resp::Value::Bulk(word) => String::from_utf8_lossy(word).into_owned(),
                other => panic!("{other:?}"),
            });
            commands.push(words.collect::<Vec<_>>().join(" "));
        }
        commands
    }

    fn append(&mut self, text: &[u8]) {
        self.script.call(|owner, out| {
            let body = Body::Notice { room: None, text };
            assert_eq!(owner.log.append(body, Duration::ZERO), None);
            owner.go_on(out);
        });
    }

    fn health(&self) -> Health {
        self.script.protocol().log.health()
    }

    /// The writer is connected, and the log is empty.
    fn with_writer(&mut self) -> ConnId {
        let writer = self.connect(WRITER);
        self.script.data(writer, b"$3\r\n0-1\r\n*0\r\n");
        self.script.data(writer, b"$3\r\n5-0\r\n");
        self.sent(writer);
        writer
    }
}

fn entry(seq: u64, text: &[u8]) -> Vec<u8> {
    let body = Body::Notice { room: None, text };
    Entry::encode(
        Stamp {
            origin: ORIGIN,
            seq,
        },
        &body,
    )
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// An entry of a stream in a reply.
fn item(id: &str, field: &[u8], content: &[u8]) -> Vec<u8> {
    let fields = [&b"*2\r\n"[..], &bulk(field), &bulk(content)].concat();
    [&b"*2\r\n"[..], &bulk(id.as_bytes()), &fields].concat()
}

fn entries(log: &[Vec<u8>], beats: &[Vec<u8>]) -> Vec<u8> {
    let stream = |key: &[u8], items: &[Vec<u8>]| {
        let head = format!("*{}\r\n", items.len());
        [&b"*2\r\n"[..], &bulk(key), head.as_bytes(), &items.concat()].concat()
    };
    [
        &b"*2\r\n"[..],
        &stream(b"p:log", log),
        &stream(b"p:beat", beats),
    ]
    .concat()
}

#[test]
fn the_reader_asks_where_the_log_ends_and_reads_up_to_there() {
    let mut played = Played::new();
    let reader = played.connect(READER);
    assert_eq!(played.sent(reader), ["XREVRANGE p:log + - COUNT 1"]);
    let last = item("9-1", b"e", &entry(2, b"b"));
    played
        .script
        .data(reader, &[&b"*1\r\n"[..], &last].concat());
    assert_eq!(
        played.sent(reader),
        ["XREAD COUNT 4096 STREAMS p:log p:beat 0-0 0-0"]
    );
    let first = item("5-0", b"e", &entry(1, b"a"));
    let beat = item("6-0", b"o", &writer_beat());
    let reply = entries(&[first, last], &[beat]);
    played.script.data(reader, &reply);
    let asked = [
        "XRANGE p:log 9-1 9-1",
        "XREAD COUNT 4096 BLOCK 5000 STREAMS p:log p:beat 9-1 6-0",
    ];
    assert_eq!(played.sent(reader), asked);
    let reads = &played.script.protocol().reads;
    assert_eq!(reads.len(), 4, "{reads:?}");
    assert!(matches!(&reads[0], Read::Record(record) if record.at.millis == 5));
    assert!(matches!(&reads[2], Read::Beat(beat) if (beat.millis, beat.origin) == (6, ORIGIN)));
    assert_eq!(reads[3], Read::CaughtUp);
}

fn writer_beat() -> Vec<u8> {
    reader::beat_content(ORIGIN)
}

#[test]
fn replies_are_read_alike_however_they_are_cut() {
    let last = item("9-1", b"e", &entry(2, b"b"));
    let end = [&b"*1\r\n"[..], &last].concat();
    let items = [
        item("5-0", b"e", &entry(1, b"a")),
        item("6-0", b"x", b"\r\n"),
        last.clone(),
    ];
    let reply = entries(&items, &[item("6-0", b"o", &writer_beat())]);
    let next = [&b"*1\r\n"[..], &last, b"*-1\r\n"].concat();
    let input = [end, reply, next].concat();
    let reads = |cut: usize| {
        let mut played = Played::new();
        let reader = played.connect(READER);
        played.script.data(reader, &input[..cut]);
        played.script.data(reader, &input[cut..]);
        assert_eq!(played.script.closed(reader), None);
        played.script.call(|owner, _| mem::take(&mut owner.reads))
    };
    let whole = reads(0);
    assert_eq!(whole.len(), 5);
    for cut in 1..input.len() {
        assert_eq!(reads(cut), whole, "after {cut} bytes");
    }
}

#[test]
fn another_entry_in_the_place_of_the_last_is_a_gap() {
    let last = item("9-1", b"e", &entry(1, b"a"));
    for (found, is_gap) in [
        ([&b"*1\r\n"[..], &last].concat(), false),
        (
            [&b"*1\r\n"[..], &item("9-1", b"e", &entry(7, b"z"))].concat(),
            true,
        ),
        (b"*0\r\n".to_vec(), true),
    ] {
        let mut played = Played::new();
        let reader = played.connect(READER);
        played
            .script
            .data(reader, &[&b"*1\r\n"[..], &last].concat());
        played
            .script
            .data(reader, &entries(std::slice::from_ref(&last), &[]));
        played.sent(reader);
        let later = entries(&[item("9-5", b"e", &entry(8, b"y"))], &[]);
        played.script.data(reader, &[found, later].concat());
        let reads = &played.script.protocol().reads;
        assert_eq!(reads.contains(&Read::Gap), is_gap);
        let asked = played.sent(reader);
        let expected = if is_gap { " 0-0 0-0" } else { " 9-5 0-0" };
        assert!(
            asked.last().is_some_and(|asked| asked.ends_with(expected)),
            "{asked:?}"
        );
    }
}

#[test]
fn a_reader_that_is_behind_a_trimmed_log_goes_on() {
    let mut played = Played::new();
    let reader = played.connect(READER);
    let end = item("99-0", b"e", &entry(9, b"z"));
    played.script.data(reader, &[&b"*1\r\n"[..], &end].concat());
    let first = item("5-0", b"e", &entry(1, b"a"));
    played.script.data(reader, &entries(&[first], &[]));
    let later = entries(&[item("50-0", b"e", &entry(5, b"e"))], &[]);
    played
        .script
        .data(reader, &[&b"*0\r\n"[..], &later].concat());
    let reads = &played.script.protocol().reads;
    assert_eq!(reads[1], Read::Gap);
    assert!(matches!(&reads[2], Read::Record(record) if record.at.millis == 50));
    let asked = played.sent(reader);
    assert_eq!(
        asked.last().map(String::as_str),
        Some("XREAD COUNT 4096 STREAMS p:log p:beat 50-0 0-0")
    );
}

#[test]
fn batches_are_transactions_one_at_a_time() {
    let mut played = Played::new();
    played.append(b"a");
    let writer = played.connect(WRITER);
    let greeting = played.sent(writer);
    assert!(greeting[0].starts_with("XADD p:log 0-1 e "), "{greeting:?}");
    assert_eq!(&greeting[1..], ["XREVRANGE p:log + - COUNT 1"]);
    let refused =
        b"-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
    played
        .script
        .data(writer, &[&refused[..], b"*0\r\n"].concat());
    let sent = played.sent(writer);
    assert!(
        sent[0].starts_with("XADD p:beat MAXLEN 100 * o "),
        "{sent:?}"
    );
    assert!(
        sent[1].starts_with("XADD p:log MAXLEN ~ 1000 * e "),
        "{sent:?}"
    );
    assert_eq!(sent.len(), 2);
    played.append(b"b");
    played.append(b"c");
    assert!(played.sent(writer).is_empty(), "a batch is under way");
    played.script.data(writer, b"$3\r\n5-0\r\n$3\r\n6-0\r\n");
    let sent = played.sent(writer);
    let verbs: Vec<&str> = sent
        .iter()
        .filter_map(|sent| sent.split(' ').next())
        .collect();
    assert_eq!(verbs, ["MULTI", "XADD", "XADD", "EXEC"]);
    played.append(b"d");
    played.script.data(
        writer,
        b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$3\r\n7-0\r\n$3\r\n7-1\r\n",
    );
    assert_eq!(played.sent(writer).len(), 1);
    assert_eq!(played.health().pending, 4, "none was read back");
    assert_eq!(
        played.health().paused_since,
        Some(Duration::ZERO),
        "the reader does not connect"
    );
}

#[test]
fn after_a_lost_batch_the_log_is_read_before_it_is_sent_again() {
    let mut played = Played::new();
    let writer = played.with_writer();
    played.append(b"a");
    played.append(b"b");
    played.script.close(writer, Closed::Reset);
    played.script.advance(Duration::from_secs(1));
    let reader = played.connect(READER);
    played.script.data(reader, b"*0\r\n");
    played.sent(reader);
    let writer = played.connect(WRITER);
    let first = item("9-1", b"e", &entry(1, b"a"));
    played
        .script
        .data(writer, &[&b"$3\r\n0-1\r\n*1\r\n"[..], &first].concat());
    let sent = played.sent(writer);
    assert!(
        sent.iter().all(|sent| !sent.contains("MAXLEN ~")),
        "{sent:?}"
    );
    played.script.data(reader, &entries(&[first], &[]));
    let sent = played.sent(writer);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let again = String::from_utf8_lossy(&entry(2, b"b")).into_owned();
    assert!(sent[0].ends_with(&again), "{sent:?}");
}

#[test]
fn errors_silence_and_nonsense_end_a_connection_and_the_waits_grow() {
    let mut played = Played::new();
    let mut since = Duration::ZERO;
    let mut waits = Vec::new();
    for reply in [
        &b"-NOAUTH\r\n"[..],
        b"HTTP/1.1 400\r\n",
        b"",
        b"+A\r\n+B\r\n",
        b":1\r\n:2\r\n",
        b"-LOADING\r\n",
    ] {
        let reader = played.connect(READER);
        played.script.data(reader, reply);
        if reply.is_empty() {
            played.script.advance(link::PATIENCE);
            since += link::PATIENCE;
        }
        assert!(played.script.closed(reader).is_some(), "{reply:?}");
        let mut wait = Duration::ZERO;
        while played.script.connecting(READER).is_none() {
            played.script.advance(Duration::from_millis(10));
            wait += Duration::from_millis(10);
        }
        since += wait;
        waits.push(wait);
    }
    assert!(waits[0] <= Duration::from_millis(110), "{waits:?}");
    assert!(waits[5] > 8 * waits[0], "{waits:?}");
    assert!(
        played
            .health()
            .paused_since
            .is_some_and(|down| down <= since)
    );
    assert!(played.script.protocol().reads.is_empty());
}

#[test]
fn a_stop_waits_for_the_last_entry() {
    let mut played = Played::new();
    let writer = played.with_writer();
    played.append(b"bye");
    played.script.call(|owner, out| owner.log.stop(out));
    played.script.stop();
    assert_eq!(played.script.closed(writer), None);
    played.script.advance(Duration::from_secs(1));
    played.script.data(writer, b"$3\r\n5-0\r\n");
    assert!(played.script.closed(writer).is_some());
    played.script.advance(Duration::from_secs(60));
    assert!(played.script.take_connects().is_empty());
}

#[test]
fn no_more_is_asked_for_than_is_taken() {
    let mut played = Played::new();
    played.script.call(|owner, _| owner.rests = true);
    let reader = played.connect(READER);
    let text = vec![b'x'; 200 * 1024];
    let count = READS_MAX as u64 / text.len() as u64 + 1;
    let items = |from| -> Vec<_> {
        let item = |at: u64| item(&format!("{at}-0"), b"e", &entry(at, &text));
        (from..from + count).map(item).collect()
    };
    played.script.data(reader, b"*0\r\n");
    assert_eq!(played.sent(reader).len(), 2);
    played.script.data(reader, &entries(&items(1), &[]));
    played.script.advance(Duration::from_secs(60));
    assert!(played.sent(reader).is_empty(), "there is no room");
    assert_eq!(played.script.closed(reader), None);
    played.script.call(|owner, _| owner.rests = false);
    played.script.advance(Duration::from_millis(10));
    assert_eq!(played.script.protocol().reads.len() as u64, count + 1);
    assert_eq!(played.sent(reader).len(), 2);
}

#[test]
fn a_place_is_read_as_it_is_written() {
    let at = Position {
        millis: 1_700_000_000_000,
        index: 12,
    };
    assert_eq!(at.to_string().parse(), Ok(at));
    for text in [
        "",
        "5",
        "5-",
        "-1",
        "a-1",
        "5-1-1",
        "99999999999999999999-0",
    ] {
        assert!(text.parse::<Position>().is_err(), "{text}");
    }
}
