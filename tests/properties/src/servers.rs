//! The servers that look at bytes only.

use std::sync::Arc;

use edgeloop::echo::Echo;
use edgeloop::sink::Sink;
use edgeloop::upper::Upper;
use edgeloop_reactor::{Opened, Peer, Protocol, Script};

use crate::input::{Input, chunks, is_obeyed};

const ECHO: Echo = Echo {
    answers_low_ports: false,
};
const UPPER: Upper = Upper {
    answers_low_ports: false,
};

/// The reply to a client that sends these chunks and ends its stream.
fn hears<P: Protocol>(server: P, chunks: &[&[u8]]) -> Vec<u8> {
    let mut script = Script::new(server);
    let client = script.open();
    chunks.iter().for_each(|chunk| script.data(client, chunk));
    script.eof(client);
    assert!(script.closed(client).is_some(), "the server ends its half");
    script.take_output(client)
}

/// The output of a sink whose client sends these chunks and ends its stream.
fn prints(chunks: &[&[u8]]) -> Vec<u8> {
    let mut script = Script::new(Sink::new(Arc::default()));
    let stdout = script.open_as(Opened::new(Peer::Stream, edgeloop::sink::STDOUT));
    let client = script.open();
    chunks.iter().for_each(|chunk| script.data(client, chunk));
    script.eof(client);
    assert_eq!(script.take_output(client), b"", "a sink answers nothing");
    script.take_output(stdout)
}

/// Echo and upper return every byte, a sink prints harmless lines, and cuts do not matter.
pub fn servers(input: &[u8]) {
    let mut input = Input(input);
    let cuts = input.cuts();
    let bytes = input.0;
    let pieces = chunks(bytes, cuts);
    assert_eq!(hears(ECHO, &pieces), bytes);
    assert_eq!(hears(UPPER, &pieces), bytes.to_ascii_uppercase());

    let printed = prints(&pieces);
    assert_eq!(printed, prints(&[bytes]));
    let printed = String::from_utf8(printed).expect("a sink prints UTF-8");
    assert!(!printed.contains(is_obeyed), "{printed:?}");
    let lines: Vec<&str> = printed.lines().collect();
    let [first, said @ .., last] = &lines[..] else {
        panic!("a client comes and goes: {printed:?}");
    };
    assert!(first.starts_with("client 0 connected from "));
    assert_eq!(*last, "client 0 closed");
    assert!(said.iter().all(|line| line.starts_with("client 0: ")));
}
