//! A chat with a process for each member.
//!
//! Processes share no memory, so one of them has to know all members: the parent. Each child reads
//! from its member's socket, makes lines of it, and passes them to the parent by a pipe. The parent
//! has kept the sockets too, and writes to them itself.
//!
//! The older way is to pass lines back to the children, by a pipe to each, which the children write
//! to their sockets. It takes two system calls more and a change of process for each delivery. With
//! one pipe for all children, the parent also finds many lines in one read, and writes to each
//! member once for all of them. That is the most a chat of processes can do, as far as we know.
//!
//! The parent's writes block: a member who does not read holds up all others.

mod frame;
mod sys;

use std::convert::Infallible;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid, getppid};
use slab::Slab;

use self::frame::{BYTES_MAX, Frame, Frames, Kind};
use super::speech::{Speech, WELCOME, tell_departure, tell_members};

/// The size of a read from a member. Each child has a buffer of its own.
const BUFFER_BYTES: usize = 16 * 1024;

/// Serves until accepting, starting a process or waiting fails.
pub fn serve(listener: TcpListener) -> io::Result<Infallible> {
    let (inlet, outlet) = io::pipe()?;
    let mut parent = Parent {
        listener,
        inlet,
        outlet,
        frames: Frames::default(),
        room: Room::default(),
    };
    loop {
        let [clients, frames] = parent.wait()?;
        if clients {
            parent.accept_all()?;
        }
        if frames {
            parent.read()?;
        }
        parent.room.end_turn();
    }
}

struct Parent {
    listener: TcpListener,
    /// The two ends of the pipe with the frames of all children.
    inlet: PipeReader,
    outlet: PipeWriter,
    frames: Frames,
    room: Room,
}

/// All members, with or without a name.
#[derive(Default)]
struct Room {
    members: Slab<Member>,
}

struct Member {
    socket: TcpStream,
    child: Pid,
    /// `None` until it is given, and when the member has left.
    name: Option<Box<[u8]>>,
    /// Text for the others, up to a line whose end is yet to come.
    said: Vec<u8>,
    /// Output, which is written at the end of the turn.
    output: Vec<u8>,
    leaves: bool,
}

impl Parent {
    /// Waits until there are clients, or frames, and says which of the two there are.
    fn wait(&self) -> io::Result<[bool; 2]> {
        let watched = [self.listener.as_fd(), self.inlet.as_fd()];
        let mut watched = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => Ok([false; 2]),
            Err(errno) => Err(errno.into()),
            Ok(_) => Ok(watched.map(|fd| fd.any().unwrap_or(false))),
        }
    }

    fn accept_all(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => self.start(socket)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn start(&mut self, socket: TcpStream) -> io::Result<()> {
        let place = self.room.members.vacant_entry();
        let (number, parent) = (place.key() as u32, getpid());
        let child = sys::fork(|| {
            sys::close_others([socket.as_fd(), self.outlet.as_fd()]);
            // A parent that is killed takes its children along, unless it was killed before this.
            if set_pdeathsig(Signal::SIGKILL).is_ok() && getppid() == parent {
                // An error means that the parent is gone.
                let _ = Child::new(number, &socket, &self.outlet).run();
            }
        })?;
        place.insert(Member {
            socket,
            child,
            name: None,
            said: Vec::new(),
            output: WELCOME.to_vec(),
            leaves: false,
        });
        Ok(())
    }

    /// Takes in all that is in the pipe.
    fn read(&mut self) -> io::Result<()> {
        let Parent {
            inlet,
            frames,
            room,
            ..
        } = self;
        frames.read(inlet, |frame| {
            let number = frame.number as usize;
            match frame.kind {
                Kind::Name => room.enter(number, frame.bytes),
                Kind::Said => room.hear(number, frame.bytes),
                Kind::End => room.leave(number),
            }
        })
    }
}

impl Room {
    fn enter(&mut self, number: usize, name: &[u8]) {
        let mut list = Vec::new();
        let names = self
            .members
            .iter()
            .filter_map(|(_, member)| member.name.as_deref());
        tell_members(names, &mut list);
        let member = &mut self.members[number];
        member.output.extend_from_slice(&list);
        member.name = Some(name.into());
    }

    /// Only whole lines go to the others, as other members' lines may come between two frames.
    fn hear(&mut self, number: usize, bytes: &[u8]) {
        let mut said = std::mem::take(&mut self.members[number].said);
        said.extend_from_slice(bytes);
        if said.ends_with(b"\n") {
            self.tell_others(number, &said);
            said.clear();
        }
        self.members[number].said = said;
    }

    fn leave(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.leaves = true;
        if let Some(name) = member.name.take() {
            let mut farewell = Vec::new();
            tell_departure(&name, &mut farewell);
            self.tell_others(number, &farewell);
        }
    }

    fn tell_others(&mut self, author: usize, text: &[u8]) {
        for (number, member) in &mut self.members {
            if number != author && member.name.is_some() {
                member.output.extend_from_slice(text);
            }
        }
    }

    /// Writes the output of every member, and removes the members who leave.
    fn end_turn(&mut self) {
        self.members.retain(|_, member| {
            member.flush();
            if member.leaves {
                // The child ends by itself. An error would mean that there is no such child.
                let _ = waitpid(member.child, None);
            }
            !member.leaves
        });
    }
}

impl Member {
    fn flush(&mut self) {
        // Of a broken connection, the child will find out.
        let _ = self.socket.write_all(&self.output);
        self.output.clear();
    }
}

/// The state of a child.
struct Child<'a> {
    number: u32,
    socket: &'a TcpStream,
    pipe: &'a PipeWriter,
    speech: Speech,
    /// Room to put the text for the others together.
    page: Vec<u8>,
}

impl<'a> Child<'a> {
    fn new(number: u32, socket: &'a TcpStream, pipe: &'a PipeWriter) -> Self {
        Child {
            number,
            socket,
            pipe,
            speech: Speech::default(),
            page: Vec::new(),
        }
    }

    /// The whole life of a child.
    fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(length @ 1..) => self.take_in(&buffer[..length])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        self.pass_on(Kind::End, b"")
    }

    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        let has_entered = self.speech.take_in(bytes, &mut self.page);
        // The arrival comes before the name, for which the member gets its list: a member that enters
        // after that list does not hear of the arrival.
        self.pass_on_page()?;
        if has_entered {
            // Of a name that is too long for a frame, the parent knows the beginning.
            let name = self.speech.name().unwrap_or_default();
            self.pass_on(Kind::Name, &name[..name.len().min(BYTES_MAX)])?;
        }
        Ok(())
    }

    fn pass_on_page(&mut self) -> io::Result<()> {
        for part in self.page.chunks(BYTES_MAX) {
            self.pass_on(Kind::Said, part)?;
        }
        self.page.clear();
        Ok(())
    }

    fn pass_on(&self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let number = self.number;
        let frame = Frame {
            number,
            kind,
            bytes,
        };
        frame.write(self.pipe)
    }
}
