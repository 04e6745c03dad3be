//! The read buffer of the peers on event loops.

/// Its size: that of the reactor's buffer, so that large messages take as few calls.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;
