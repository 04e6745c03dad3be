//! One web connection: from the first byte of its request to the last frame.

use edgeloop_reactor::Opened;

use super::frame::Decoder;
use super::request::Head;

/// How far a connection has come. It goes through these in order, and may skip some.
#[derive(Debug)]
pub(super) enum Session {
    /// The head of the request is awaited.
    Head(Box<Knock>),
    /// The request was answered, and that was all.
    Answered,
    /// A WebSocket, of which the protocol has heard. Between messages it has no decoder, so an idle one
    /// is small.
    Open(Option<Box<Decoder>>),
    /// A WebSocket whose close frame was sent: what still comes is ignored.
    Closed,
}

/// A connection that the protocol has not heard of.
#[derive(Debug)]
pub(super) struct Knock {
    pub(super) opened: Opened,
    pub(super) head: Head,
}

impl Session {
    pub(super) fn new(opened: Opened) -> Session {
        let head = Head::default();
        Session::Head(Box::new(Knock { opened, head }))
    }

    /// Whether the protocol has heard of the connection.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Session::Open(_) | Session::Closed)
    }
}
