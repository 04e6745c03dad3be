//! A chat on tokio, with all tasks on one thread, made for speed.
//!
//! Each member has a task that reads, a queue, and a task that writes what is in the queue. All
//! lines of one read are one message, stored once and counted by reference. The task that writes
//! takes as many messages as there are, and puts them together in a buffer that all tasks share:
//! copying small messages costs less than handing the kernel a list of them, and takes one system
//! call too. Queues have no limit: a member who does not read makes them grow.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::speech::{Speech, WELCOME, tell_members};
use crate::peers::tokio::{self as common, receive};

/// Messages that are sent at once.
const BATCH: usize = 256;

type Message = Arc<[u8]>;

thread_local! {
    /// Room to put messages together. Each task is done with it before it lets go of the thread.
    static PAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Serves until accepting fails.
pub fn serve(listener: TcpListener) -> io::Result<Infallible> {
    let room = Arc::new(Mutex::new(Room::default()));
    common::serve(listener, move |stream| talk(stream, Arc::clone(&room)))
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
    queue: UnboundedSender<Message>,
}

/// A member as its reading task knows it.
struct Talker {
    speech: Speech,
    queue: UnboundedSender<Message>,
    /// The place in the room, once there is a name.
    place: Option<usize>,
}

async fn talk(stream: TcpStream, room: Arc<Mutex<Room>>) -> io::Result<()> {
    let (socket, outlet) = stream.into_split();
    let (queue, messages) = unbounded_channel();
    tokio::spawn(write(outlet, messages));
    let mut talker = Talker::new(queue);
    let end = read(socket, &mut talker, &room).await;
    // The queue ends with its last sender: its messages are written, and then the connection ends.
    lock(&room).part(&talker);
    end
}

async fn read(
    mut socket: OwnedReadHalf,
    talker: &mut Talker,
    room: &Mutex<Room>,
) -> io::Result<()> {
    let mut take = |_: &mut _, bytes: &[u8]| {
        lock(room).take_in(talker, bytes);
        Ok(bytes.is_empty())
    };
    while !poll_fn(|context| receive(&mut socket, context, &mut take)).await? {}
    Ok(())
}

async fn write(
    mut socket: OwnedWriteHalf,
    mut messages: UnboundedReceiver<Message>,
) -> io::Result<()> {
    let mut batch = Vec::new();
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        let unsent = send(&socket, &mut batch)?;
        socket.write_all(&unsent).await?;
    }
    Ok(())
}

/// Sends messages, as far as the kernel takes them, and returns the rest.
fn send(socket: &OwnedWriteHalf, messages: &mut Vec<Message>) -> io::Result<Vec<u8>> {
    PAGE.with_borrow_mut(|page| {
        page.clear();
        messages
            .drain(..)
            .for_each(|message| page.extend_from_slice(&message));
        let sent = match socket.try_write(page) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        // Empty, and so without an allocation, while the member keeps up.
        Ok(page[sent..].to_vec())
    })
}

/// In release a panic ends the process, so no task finds the room half changed.
fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Talker {
    fn new(queue: UnboundedSender<Message>) -> Talker {
        let talker = Talker {
            speech: Speech::default(),
            queue,
            place: None,
        };
        talker.hear(WELCOME);
        talker
    }

    /// An error says that nothing can be written to this member any more.
    fn hear(&self, text: &[u8]) {
        let _ = self.queue.send(text.into());
    }
}

impl Room {
    fn take_in(&mut self, talker: &mut Talker, bytes: &[u8]) {
        if talker.speech.take_in(bytes, &mut self.page) {
            self.enter(talker);
        }
        self.tell_others(talker);
    }

    fn enter(&mut self, talker: &mut Talker) {
        let mut list = Vec::new();
        let names = self.members.iter().map(|(_, member)| &*member.name);
        tell_members(names, &mut list);
        talker.hear(&list);
        talker.place = talker.speech.name().map(|name| {
            self.members.insert(Member {
                name: name.into(),
                queue: talker.queue.clone(),
            })
        });
    }

    fn part(&mut self, talker: &Talker) {
        talker.speech.end(&mut self.page);
        self.tell_others(talker);
        talker.place.map(|place| self.members.remove(place));
    }

    /// Moves the page into the queues of every member with a name but one.
    fn tell_others(&mut self, talker: &Talker) {
        if self.page.is_empty() {
            return;
        }
        let message = Message::from(&*self.page);
        self.page.clear();
        for (place, member) in &self.members {
            if Some(place) != talker.place {
                let _ = member.queue.send(Arc::clone(&message));
            }
        }
    }
}
