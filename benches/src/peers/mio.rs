//! The common parts of the peers on mio: waiting and accepting.

use std::io::{self, ErrorKind};
use std::net;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The token of the listener. Tokens of connections are slots of a slab.
pub(super) const LISTENER: Token = Token(usize::MAX);
/// Both directions at once and for good, so that nothing has to be switched later.
pub(super) const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);
const EVENTS: usize = 1024;

/// A listener that says when clients come.
pub(super) fn poll(listener: net::TcpListener) -> io::Result<(Poll, TcpListener, Events)> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::from_std(listener);
    let registry = poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    Ok((poll, listener, Events::with_capacity(EVENTS)))
}

/// Waits for events.
pub(super) fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, None) {
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// The next client; `None` when there is none.
pub(super) fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    loop {
        match listener.accept() {
            Ok((socket, _)) => return Ok(Some(socket)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            // One client gave up while it waited; the clients behind it have not.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}
