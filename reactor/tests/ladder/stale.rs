//! A stale event, made by hand: no client can make the kernel report one at a chosen moment. This
//! file is a module of every rung that has a table with generations, when `ladder.rs` includes it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::Server;

#[test]
fn an_event_for_a_slot_that_was_closed_and_reused_reaches_no_connection() {
    let mut server = Server::new("127.0.0.1:0").unwrap();
    let address = server.listener.local_addr().unwrap();
    let stale = server.connections.next_token();
    let _first = TcpStream::connect(address).unwrap();
    server.turn().unwrap();
    assert!(server.connections.get_mut(stale).is_some(), "is accepted");

    server.connections.remove(stale);
    server.visit(stale);
    let fresh = server.connections.next_token();
    let mut second = TcpStream::connect(address).unwrap();
    server.accept();
    assert_eq!(stale.0 as u32, fresh.0 as u32, "the slot is reused");

    second.write_all(b"x").unwrap();
    while !has_unread_byte(&mut server, fresh) {
        thread::yield_now();
    }
    server.visit(stale);
    server.connections.remove(stale);
    assert!(has_unread_byte(&mut server, fresh), "a stranger is visited");
    server.visit(fresh);
    assert!(!has_unread_byte(&mut server, fresh), "nothing is read");
    let mut reply = [0];
    second.read_exact(&mut reply).unwrap();
    assert_eq!(reply, *b"x");
}

/// Whether the byte that the second client sends lies in the kernel, unread.
fn has_unread_byte(server: &mut Server, token: edgeloop_reactor::Token) -> bool {
    let connection = server.connections.get_mut(token);
    let connection = connection.expect("a stale token ends no other connection");
    connection.socket.peek(&mut [0]).is_ok()
}
