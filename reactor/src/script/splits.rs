//! The input of a protocol, cut at each place.

use crate::protocol::Protocol;
use crate::script::Script;

/// Checks that a protocol's output does not depend on how its input is cut, and returns that
/// output.
///
/// `input` is fed to one client of a fresh protocol: whole, then cut in two at each place, then
/// byte by byte. The end of the stream follows each time. The number of runs is the length of
/// `input` plus one, so a few hundred bytes that reach every state of the protocol are a good
/// input.
///
/// ```should_panic
/// use edgeloop_reactor::{ConnId, Data, Outbox, Protocol, every_split};
///
/// /// Takes each read for a line.
/// struct Lines;
/// impl Protocol for Lines {
///     fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
///         out.send_back(data);
///         out.send(id, b"\n");
///     }
/// }
///
/// every_split(|| Lines, b"hello");
/// ```
///
/// # Panics
///
/// If the output of two runs differs.
pub fn every_split<P: Protocol>(mut fresh: impl FnMut() -> P, input: &[u8]) -> Vec<u8> {
    let mut run = |chunks: &[&[u8]]| {
        let mut script = Script::new(fresh());
        let client = script.open();
        chunks.iter().for_each(|chunk| script.data(client, chunk));
        script.eof(client);
        script.take_output(client)
    };
    let whole = run(&[input]);
    for cut in 1..input.len() {
        let (first, second) = input.split_at(cut);
        assert_eq!(
            run(&[first, second]),
            whole,
            "the output depends on a cut after {cut} bytes"
        );
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(
        run(&bytes),
        whole,
        "the output depends on the input coming byte by byte"
    );
    whole
}
