//! Fifteen thousand connections at once are all served, and cost little memory.

use std::io::Write;
use std::net::Ipv4Addr;

use tests::client::{dial_from, expect};
use tests::process::{raise_own_descriptor_limit, resident_bytes};
use tests::server::Launch;
use tests::{MIB, one_at_a_time};

/// Connections to open, and the least number if the limit of descriptors allows no more. The test
/// and the server have the same limit.
const WANTED: usize = 15_000;
const NEEDED: usize = 4_000;

#[test]
fn fifteen_thousand_connections() {
    let _turn = one_at_a_time();
    let connections = WANTED.min(raise_own_descriptor_limit() - 200);
    assert!(
        connections >= NEEDED,
        "RLIMIT_NOFILE allows {connections} connections, not {NEEDED}"
    );
    let server = Launch::echo().start();
    let baseline = server.open_descriptors();
    let before = resident_bytes(server.pid());

    let mut streams: Vec<_> = (0..connections)
        .map(|client| {
            dial_from(
                Ipv4Addr::new(127, 0, 4, 1 + (client % 4) as u8),
                server.tcp(),
            )
        })
        .collect();
    for round in 0..2 {
        let message = |client| format!("client {client}, round {round}\n").into_bytes();
        for (client, stream) in streams.iter_mut().enumerate() {
            stream
                .write_all(&message(client))
                .expect("the server accepts the message");
        }
        for (client, stream) in streams.iter().enumerate() {
            expect(stream, &message(client));
        }
    }

    let stats = server.stats();
    assert_eq!(stats.get("connections"), connections as u64);
    assert_eq!(stats.get("peak"), connections as u64);
    assert_eq!(stats.get("refused"), 0);
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    let allowed = connections * 1024 + 8 * MIB;
    assert!(
        growth < allowed,
        "{growth} bytes for {connections} connections, not {allowed}"
    );

    drop(streams);
    server.descriptors_return_to(baseline);
}
