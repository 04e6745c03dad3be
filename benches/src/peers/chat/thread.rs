//! A chat with a thread for each member.
//!
//! A thread reads from its member and writes to all others, with the members behind one lock: all
//! hear all lines in the same order, and no line is cut in two by another. The lines of one read
//! are written at once. A write may block, and the lock is held meanwhile: a member who does not
//! read holds up all others. Queues between threads would mend that, at the price of a second
//! thread for each member and a wake-up for each delivery.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use slab::Slab;

use super::speech::{Speech, WELCOME, tell_members};

/// The size of a read. Each thread has a buffer of its own.
const BUFFER_BYTES: usize = 16 * 1024;
/// The size of a thread's stack. The buffer is not on it.
const STACK_BYTES: usize = 64 * 1024;

/// Serves until accepting or starting a thread fails.
pub fn serve(listener: &TcpListener) -> io::Result<Infallible> {
    listener.set_nonblocking(false)?;
    let room = Arc::new(Mutex::new(Room::default()));
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                let room = Arc::clone(&room);
                let builder = thread::Builder::new().stack_size(STACK_BYTES);
                builder.spawn(move || talk(&Arc::new(socket), &room))?;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Members with a name.
#[derive(Default)]
struct Room {
    members: Slab<Member>,
    /// Room to put the text for the others together.
    page: Vec<u8>,
}

struct Member {
    name: Box<[u8]>,
    socket: Arc<TcpStream>,
}

/// The whole life of a thread.
fn talk(socket: &Arc<TcpStream>, room: &Mutex<Room>) {
    tell(socket, WELCOME);
    let mut speech = Speech::default();
    let mut place = None;
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(length) = receive(socket, &mut buffer) {
        let mut room = lock(room);
        if speech.take_in(&buffer[..length], &mut room.page) {
            place = speech.name().map(|name| room.enter(name, socket));
        }
        room.tell_others(place);
    }
    let mut room = lock(room);
    speech.end(&mut room.page);
    room.tell_others(place);
    place.map(|place| room.members.remove(place));
}

/// The number of bytes that have come; `None` at the end of the stream, whether in good order or
/// not.
fn receive(mut socket: &TcpStream, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match socket.read(buffer) {
            Ok(length @ 1..) => return Some(length),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

/// An error is a broken connection, which the thread that reads from it will see too.
fn tell(mut socket: &TcpStream, text: &[u8]) {
    let _ = socket.write_all(text);
}

/// In release a panic ends the process, so no thread finds the room half changed.
fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    fn enter(&mut self, name: &[u8], socket: &Arc<TcpStream>) -> usize {
        let mut list = Vec::new();
        let names = self.members.iter().map(|(_, member)| &*member.name);
        tell_members(names, &mut list);
        tell(socket, &list);
        self.members.insert(Member {
            name: name.into(),
            socket: Arc::clone(socket),
        })
    }

    /// Writes the page to every member but the one at that place.
    fn tell_others(&mut self, author: Option<usize>) {
        if !self.page.is_empty() {
            let others = self.members.iter();
            let others = others.filter(|(place, _)| Some(*place) != author);
            others.for_each(|(_, member)| tell(&member.socket, &self.page));
            self.page.clear();
        }
    }
}
