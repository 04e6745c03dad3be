//! Faulty servers, whose faults the load generator must detect.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A TCP server that calls `treat` for each client, in a thread. Dropping it waits for its clients
/// to end.
#[derive(Debug)]
pub(crate) struct Faulty {
    at: SocketAddr,
    is_over: Arc<AtomicBool>,
    clients: Arc<Mutex<Vec<SocketAddr>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Faulty {
    pub(crate) fn start(treat: fn(TcpStream)) -> Self {
        Self::new(treat, false)
    }

    /// A server that never closes a stream before it is dropped.
    pub(crate) fn without_end(treat: fn(TcpStream)) -> Self {
        Self::new(treat, true)
    }

    fn new(treat: fn(TcpStream), keeps: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let at = listener.local_addr().expect("getsockname");
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = Arc::new(Mutex::new(Vec::new()));
        let (over, seen) = (Arc::clone(&is_over), Arc::clone(&clients));
        let accepting = thread::spawn(move || {
            let (mut treatments, mut kept) = (Vec::new(), Vec::new());
            for stream in listener.incoming() {
                let stream = stream.expect("a client");
                if over.load(Ordering::Acquire) {
                    break;
                }
                // A connection that was reset already has no peer address.
                let name = stream.peer_addr();
                seen.lock().expect("no thread panics").extend(name);
                // A stream ends when its last descriptor is closed.
                kept.extend(keeps.then(|| stream.try_clone().expect("dup")));
                treatments.push(thread::spawn(move || treat(stream)));
            }
            for treatment in treatments {
                treatment.join().expect("a treatment does not panic");
            }
        });
        Self {
            at,
            is_over,
            clients,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.at.to_string()
    }

    /// The addresses of the clients so far.
    pub(crate) fn clients(&self) -> Vec<SocketAddr> {
        self.clients.lock().expect("no thread panics").clone()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // A connection wakes the accepting thread.
        let _ = TcpStream::connect(self.at);
        if let Some(Err(panic)) = self.accepting.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Bytes of a message to these servers.
pub(crate) const SIZE: usize = 64;
/// The number of the message that triggers the fault.
const WRONG: usize = 5;

/// Answers each message with the result of `change`, until that is `None` or the client closes.
fn answer(mut stream: TcpStream, change: impl Fn(usize, &[u8; SIZE]) -> Option<Vec<u8>>) {
    let mut message = [0; SIZE];
    for number in 0.. {
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        match change(number, &message) {
            Some(answer) if stream.write_all(&answer).is_ok() => {}
            _ => return,
        }
    }
}

/// A correct echo.
pub(crate) fn right(stream: TcpStream) {
    answer(stream, |_, message| Some(message.to_vec()));
}

/// Swaps two different neighbouring bytes.
pub(crate) fn swaps_bytes(stream: TcpStream) {
    answer(stream, |number, message| {
        let mut answer = message.to_vec();
        let different = (1..SIZE).find(|&at| message[at] != message[at - 1]);
        if let Some(at) = different.filter(|_| number == WRONG) {
            answer.swap(at - 1, at);
        }
        Some(answer)
    });
}

/// Drops a byte.
pub(crate) fn drops_a_byte(stream: TcpStream) {
    answer(stream, |number, message| match number {
        // The second copy fills the gap, so that the client gets enough bytes.
        WRONG => Some([&message[1..], message].concat()),
        _ => Some(message.to_vec()),
    });
}

/// Sends a reply twice.
pub(crate) fn duplicates(stream: TcpStream) {
    answer(stream, |number, message| match number {
        WRONG => Some([&message[..], message].concat()),
        _ => Some(message.to_vec()),
    });
}

/// Does not answer one message, but answers the later ones.
pub(crate) fn drops(stream: TcpStream) {
    answer(stream, |number, message| match number {
        WRONG => Some(Vec::new()),
        _ => Some(message.to_vec()),
    });
}

/// Closes the connection in the middle of the run.
pub(crate) fn closes_early(stream: TcpStream) {
    answer(stream, |number, message| {
        (number < WRONG).then(|| message.to_vec())
    });
}

/// Reads everything and never replies.
pub(crate) fn never_answers(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
}

/// Sends more bytes after the last reply.
pub(crate) fn talks_on(stream: TcpStream) {
    let ours = stream.try_clone().expect("dup");
    right(stream);
    let _ = (&ours).write_all(b"and another thing");
}

/// Reads only the first bytes, and closes the connection when more arrive.
pub(crate) fn reads_little(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.read(&mut bytes);
    // A close with unread input sends an RST.
    let _ = stream.peek(&mut bytes);
}

/// A chat that asks for a name, lets every member in, and forwards no line.
pub(crate) fn silent_chat(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.write_all(b"name?\n");
    let _ = stream.read(&mut bytes);
    let _ = stream.write_all(b"* nobody is here\n");
    never_answers(stream);
}

/// A chat in which every name is taken.
pub(crate) fn picky_chat(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.write_all(b"name?\n");
    let _ = stream.read(&mut bytes);
    let _ = stream.write_all(b"this name is taken\n");
}
