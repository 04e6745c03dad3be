//! Servers that are not as they should be, for a load generator to find out.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A TCP server that treats each client as it is told, in a thread of its own. It ends when
/// dropped, once its clients have ended.
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

    /// One that never ends a stream, but when it is dropped.
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
                // Whoever has reset its connection by now has no name.
                let name = stream.peer_addr();
                seen.lock().expect("nobody panics").extend(name);
                // A stream ends with the last descriptor of it.
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

    /// Where the clients so far came from.
    pub(crate) fn clients(&self) -> Vec<SocketAddr> {
        self.clients.lock().expect("nobody panics").clone()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes it up.
        let _ = TcpStream::connect(self.at);
        if let Some(Err(panic)) = self.accepting.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The size of the messages that these servers are asked.
pub(crate) const SIZE: usize = 64;
/// The message with which something goes wrong.
const WRONG: usize = 5;

/// Answers messages one by one, as `change` makes them, until either side has had enough.
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

/// Right, for a change.
pub(crate) fn right(stream: TcpStream) {
    answer(stream, |_, message| Some(message.to_vec()));
}

/// Two neighbours that are not the same change places.
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

/// One byte is missing.
pub(crate) fn drops_a_byte(stream: TcpStream) {
    answer(stream, |number, message| match number {
        // The rest of the next answer is there to fill the gap.
        WRONG => Some([&message[1..], message].concat()),
        _ => Some(message.to_vec()),
    });
}

/// An answer comes twice.
pub(crate) fn duplicates(stream: TcpStream) {
    answer(stream, |number, message| match number {
        WRONG => Some([&message[..], message].concat()),
        _ => Some(message.to_vec()),
    });
}

/// A message is not answered, those after it are.
pub(crate) fn drops(stream: TcpStream) {
    answer(stream, |number, message| match number {
        WRONG => Some(Vec::new()),
        _ => Some(message.to_vec()),
    });
}

/// It ends in the middle of it all.
pub(crate) fn closes_early(stream: TcpStream) {
    answer(stream, |number, message| {
        (number < WRONG).then(|| message.to_vec())
    });
}

/// It listens to everything and says nothing.
pub(crate) fn never_answers(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
}

/// It answers, and goes on talking when everything is answered.
pub(crate) fn talks_on(stream: TcpStream) {
    let ours = stream.try_clone().expect("dup");
    right(stream);
    let _ = (&ours).write_all(b"and another thing");
}

/// Reads no more than the first bytes, and ends when there are others.
pub(crate) fn reads_little(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.read(&mut bytes);
    // To close a stream with bytes that nobody has read is to reset it.
    let _ = stream.peek(&mut bytes);
}

/// A chat for two that asks for a name, lets everybody in, and keeps all that is said to itself.
pub(crate) fn silent_chat(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.write_all(b"name?\n");
    let _ = stream.read(&mut bytes);
    let _ = stream.write_all(b"* nobody is here\n");
    never_answers(stream);
}

/// A chat that knows the name already.
pub(crate) fn picky_chat(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.write_all(b"name?\n");
    let _ = stream.read(&mut bytes);
    let _ = stream.write_all(b"this name is taken\n");
}
