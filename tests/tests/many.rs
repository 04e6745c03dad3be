//! Very many sessions at once.

use std::io::Write;
use std::net::Ipv4Addr;

use tests::client::{dial_from, expect};
use tests::process::{raise_own_descriptor_limit, resident_bytes};
use tests::server::Launch;
use tests::{MIB, one_at_a_time};

/// As many as the limit of descriptors allows; here and in the server, which has the same limit.
const WANTED: usize = 15_000;
const NEEDED: usize = 4_000;

#[test]
fn fifteen_thousand_sessions() {
    let _turn = one_at_a_time();
    let sessions = WANTED.min(raise_own_descriptor_limit() - 200);
    assert!(
        sessions >= NEEDED,
        "RLIMIT_NOFILE allows {sessions} sessions, not {NEEDED}"
    );
    let server = Launch::echo().start();
    let baseline = server.open_descriptors();
    let before = resident_bytes(server.pid());

    let mut streams: Vec<_> = (0..sessions)
        .map(|session| {
            dial_from(
                Ipv4Addr::new(127, 0, 4, 1 + (session % 4) as u8),
                server.tcp(),
            )
        })
        .collect();
    for round in 0..2 {
        let message = |session| format!("session {session}, round {round}\n").into_bytes();
        for (session, stream) in streams.iter_mut().enumerate() {
            stream
                .write_all(&message(session))
                .expect("the server takes the message");
        }
        for (session, stream) in streams.iter().enumerate() {
            expect(stream, &message(session));
        }
    }

    let stats = server.stats();
    assert_eq!(stats.get("connections"), sessions as u64);
    assert_eq!(stats.get("peak"), sessions as u64);
    assert_eq!(stats.get("refused"), 0);
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    let allowed = sessions * 1024 + 8 * MIB;
    assert!(
        growth < allowed,
        "{growth} bytes for {sessions} sessions, not {allowed}"
    );

    drop(streams);
    server.descriptors_return_to(baseline);
}
