//! How the output for a connection is encoded, for protocols whose peers do not all speak the same way.

use std::time::Duration;

/// The encoding of all that is sent to a connection, set with
/// [`Outbox::set_framing`](crate::Outbox::set_framing).
///
/// A room may hold members of two kinds: one reads lines, the other messages in frames. The protocol of
/// the room broadcasts its lines to both, and knows nothing of frames; a protocol around it has given
/// the second kind of connection a framing. A broadcast stores its bytes once as they are and once for
/// each framing among its recipients, however many these are.
#[derive(Debug)]
pub struct Framing {
    /// Appends the encoded form of the bytes of one `send`, `broadcast` or `send_back`. It may append
    /// nothing. It is a function without state, since its result is shared by connections.
    pub encode: fn(&[u8], &mut Vec<u8>),
    /// Bytes that are sent, as they are, before a regular end: that of `finish`, `half_close` and
    /// `close`. The end of a stop does not send them: a protocol does, in `on_stop`, if it has other
    /// words for it.
    pub end: &'static [u8],
    /// Bytes that are sent, as they are, after so long a silence in both directions, so that a proxy
    /// does not take the connection for a dead one. Whole milliseconds; zero is never. They count as
    /// activity, so an idle timeout that is longer than this closes the connection only if the peer's
    /// kernel accepts them no more.
    pub heartbeat: (Duration, &'static [u8]),
}
