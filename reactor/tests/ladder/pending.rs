//! A queue in states that a client cannot bring about from outside, for it takes a small buffer of
//! the server's socket. This file is a module of every rung that has a queue, when `ladder.rs`
//! includes it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;

use edgeloop_reactor::Token;
use nix::sys::socket::{setsockopt, sockopt};

use super::Server;

/// A server and its one client; the kernel refuses nearly all that the server sends to it.
fn connect() -> (Server, Token, TcpStream) {
    let mut server = Server::new("127.0.0.1:0").unwrap();
    let token = server.connections.next_token();
    let client = TcpStream::connect(server.listener.local_addr().unwrap()).unwrap();
    server.accept();
    let connection = server.connections.get_mut(token).unwrap();
    setsockopt(&client, sockopt::RcvBuf, &32_768).unwrap();
    setsockopt(&connection.socket, sockopt::SndBuf, &16_384).unwrap();
    (server, token, client)
}

/// Bytes in which a change of the order shows.
fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn a_connection_outlives_the_end_of_its_input_while_output_is_pending() {
    let (mut server, token, mut client) = connect();
    let question = numbers(50_000);
    let (go, ended) = mpsc::channel();
    let asked = question.clone();
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            client.write_all(&asked).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            ended.recv().unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer
        });
        let go = go; // Dropped if this panics: the client does not wait for ever.
        while !server.connections.get_mut(token).unwrap().eof {
            server.turn().unwrap();
        }
        let connection = server.connections.get_mut(token).unwrap();
        assert!(!connection.pending.is_empty(), "the test is too weak");
        go.send(()).unwrap();
        while server.connections.get_mut(token).is_some() {
            server.turn().unwrap();
        }
        assert!(client.join().unwrap() == question, "not the same bytes");
    });
}

#[test]
fn no_byte_overtakes_pending_ones() {
    let (mut server, token, mut client) = connect();
    let question = numbers(500_000);
    let mut writer = client.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&question).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let answer = scope.spawn(|| {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer
        });
        while server.connections.get_mut(token).is_some() {
            server.turn().unwrap();
        }
        assert!(answer.join().unwrap() == question, "not the same bytes");
    });
}
