//! A chat on mio, made for speed.
//!
//! A member's text is appended to a buffer of each other member, all lines of one read at once. At
//! the end of the turn, when every member with an event has been heard, each buffer is sent: all
//! lines for a member take one system call. Buffers have no limit: a member who does not read makes
//! them grow.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Poll, Token};
use slab::Slab;

use super::speech::{Speech, WELCOME, tell_members};
use crate::peers::buffer::BUFFER_BYTES;
use crate::peers::mio::{INTEREST, LISTENER, accept, poll, wait};

/// Serves until accepting or waiting fails.
pub fn serve(listener: net::TcpListener) -> io::Result<Infallible> {
    let (mut poll, listener, mut events) = poll(listener)?;
    let mut chat = Chat::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        wait(&mut poll, &mut events)?;
        for event in &events {
            match event.token() {
                LISTENER => chat.accept_all(&listener, &poll)?,
                Token(slot) => chat.act(slot, event, &mut buffer),
            }
        }
        chat.end_turn();
    }
}

#[derive(Default)]
struct Chat {
    members: Slab<Member>,
    /// Members whose output is sent at the end of this turn.
    turn: Vec<usize>,
    /// Room to put the text for the others together.
    page: Vec<u8>,
}

struct Member {
    socket: TcpStream,
    speech: Speech,
    output: Vec<u8>,
    /// The end of the member's stream is near, and no other event will announce it.
    read_closed: bool,
    /// Nothing more will come. The connection is closed when the output is sent.
    leaves: bool,
    /// The member is in the list of output to be sent at the end of this turn.
    has_turn: bool,
}

impl Chat {
    fn accept_all(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        while let Some(mut socket) = accept(listener)? {
            let slot = self.members.vacant_entry();
            let token = Token(slot.key());
            poll.registry().register(&mut socket, token, INTEREST)?;
            let member = slot.insert(Member::new(socket));
            member.tell(WELCOME, token.0, &mut self.turn);
        }
        Ok(())
    }

    fn act(&mut self, slot: usize, event: &Event, buffer: &mut [u8]) {
        let member = &mut self.members[slot];
        member.read_closed |= event.is_read_closed() || event.is_error();
        // There may be room for the bytes that the kernel has refused.
        if !member.output.is_empty() {
            member.give_turn(slot, &mut self.turn);
        }
        if !member.leaves {
            self.hear(slot, buffer);
        }
    }

    /// Reads until there is no more.
    fn hear(&mut self, slot: usize, buffer: &mut [u8]) {
        loop {
            let member = &mut self.members[slot];
            match member.socket.read(buffer) {
                Ok(length @ 1..) => {
                    // A short read has taken all there was, but for the end of the stream.
                    let drained = length < buffer.len() && !member.read_closed;
                    self.take_in(slot, &buffer[..length]);
                    if drained {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return self.leave(slot),
            }
        }
    }

    fn take_in(&mut self, slot: usize, bytes: &[u8]) {
        if self.members[slot].speech.take_in(bytes, &mut self.page) {
            let mut list = Vec::new();
            let others = self.members.iter().filter(|(other, _)| *other != slot);
            tell_members(
                others.filter_map(|(_, other)| other.speech.name()),
                &mut list,
            );
            self.members[slot].tell(&list, slot, &mut self.turn);
        }
        self.tell_others(slot);
    }

    fn leave(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        member.leaves = true;
        member.speech.end(&mut self.page);
        member.speech = Speech::default();
        member.give_turn(slot, &mut self.turn);
        self.tell_others(slot);
    }

    /// Moves the page into the output of every member with a name but one.
    fn tell_others(&mut self, author: usize) {
        if !self.page.is_empty() {
            for (slot, member) in &mut self.members {
                if slot != author && member.speech.name().is_some() {
                    member.tell(&self.page, slot, &mut self.turn);
                }
            }
            self.page.clear();
        }
    }

    /// Members are closed here and nowhere else: no event of the turn is for a closed connection.
    fn end_turn(&mut self) {
        for slot in self.turn.drain(..) {
            let member = &mut self.members[slot];
            member.has_turn = false;
            member.flush();
            if member.leaves && member.output.is_empty() {
                self.members.remove(slot);
            }
        }
    }
}

impl Member {
    fn new(socket: TcpStream) -> Self {
        Member {
            socket,
            speech: Speech::default(),
            output: Vec::new(),
            read_closed: false,
            leaves: false,
            has_turn: false,
        }
    }

    fn tell(&mut self, text: &[u8], slot: usize, turn: &mut Vec<usize>) {
        self.output.extend_from_slice(text);
        self.give_turn(slot, turn);
    }

    fn give_turn(&mut self, slot: usize, turn: &mut Vec<usize>) {
        if !self.has_turn {
            self.has_turn = true;
            turn.push(slot);
        }
    }

    /// Sends as much as the kernel takes. A broken connection has an event of its own.
    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.output.len() {
            match self.socket.write(&self.output[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => sent = self.output.len(),
            }
        }
        self.output.drain(..sent);
    }
}
