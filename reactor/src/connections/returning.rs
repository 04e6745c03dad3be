//! When what is sent back leaves, and what it may not overtake.

use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;

use nix::Result;
use nix::errno::Errno;

use super::{CROWD, Connections};
use crate::address::Peer;
use crate::buffer::SHORT;
use crate::conn::{State, Stream};
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::poll::Ready;
use crate::protocol::{ConnId, Data, Opened, Protocol};

/// What the kernel was asked for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Recv(usize),
    Send(usize, Vec<u8>),
    Shutdown(usize),
}

/// A client that has said something, once, and takes everything.
struct Client {
    number: usize,
    says: Vec<u8>,
    calls: Rc<RefCell<Vec<Call>>>,
}

impl Client {
    fn log(&self, call: Call) {
        self.calls.borrow_mut().push(call);
    }
}

impl Stream for Client {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.log(Call::Recv(self.number));
        let says = std::mem::take(&mut self.says);
        buffer[..says.len()].copy_from_slice(&says);
        if says.is_empty() {
            Err(Errno::EAGAIN)
        } else {
            Ok(says.len())
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let count = bytes.len();
        self.log(Call::Send(self.number, bytes));
        Ok(count)
    }

    fn shutdown_write(&mut self) -> Result<()> {
        self.log(Call::Shutdown(self.number));
        Ok(())
    }

    fn connect_result(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_peer(&self) -> bool {
        true
    }

    fn unread(&self) -> Result<usize> {
        Ok(0)
    }

    fn unacknowledged(&self) -> Result<usize> {
        Ok(0)
    }

    fn unheard_ms(&self) -> Option<u32> {
        None
    }
}

/// Sends back what it is given. What ends with a `!` is also said to the first client, who is
/// finished with that.
#[derive(Default)]
struct Echo {
    first: Option<ConnId>,
}

impl Protocol for Echo {
    fn on_open(&mut self, id: ConnId, _: Opened, _: &mut Outbox) {
        self.first.get_or_insert(id);
    }

    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        if let Some(first) = self.first.filter(|_| data.ends_with(b"!")) {
            out.send(first, &data);
            out.finish(first);
        }
        out.send_back(data);
    }
}

/// One turn in which each of these is said by a client of its own; what the kernel was asked for.
fn turn(says: impl IntoIterator<Item = Vec<u8>>) -> Vec<Call> {
    let calls = Rc::new(RefCell::new(Vec::new()));
    let mut connections = Connections::new(Echo::default(), Limits::default());
    let opened = Opened {
        peer: Peer::Unix,
        tag: 0,
    };
    let clients = says.into_iter().enumerate().map(|(number, says)| {
        let calls = Rc::clone(&calls);
        let client = Client {
            number,
            says,
            calls,
        };
        let id = connections.insert(client, State::empty());
        connections.opened(id, opened);
        id
    });
    let clients: Vec<ConnId> = clients.collect();
    connections.begin_turn(0, clients.len());
    for id in clients {
        connections.deliver(id, Ready::IN | Ready::OUT);
    }
    connections.run_ready();
    connections.settle(drop);
    drop(connections);
    calls.take()
}

fn sent(number: usize, bytes: &[u8]) -> Call {
    Call::Send(number, bytes.to_vec())
}

/// The rest of a crowd, of whom each says a word.
fn others(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (count..CROWD).map(|_| b"word".to_vec())
}

#[test]
fn in_a_crowd_short_answers_leave_when_all_is_read() {
    let reads = (0..CROWD).map(Call::Recv);
    let writes = (0..CROWD).map(|number| sent(number, b"word"));
    assert_eq!(turn(others(0)), reads.chain(writes).collect::<Vec<_>>());
}

#[test]
fn among_a_few_all_answers_leave_at_once() {
    let calls = turn(others(1));
    let pairs = (1..CROWD).flat_map(|number| [Call::Recv(number - 1), sent(number - 1, b"word")]);
    assert_eq!(calls, pairs.collect::<Vec<_>>());
}

#[test]
fn a_long_answer_leaves_at_once_and_overtakes_nothing() {
    let [short, long] = [vec![1; SHORT], vec![2; SHORT + 1]];
    let first = [
        Call::Recv(0),
        Call::Recv(1),
        sent(0, &short),
        sent(1, &long),
    ];
    let calls = turn([short, long].into_iter().chain(others(2)));
    assert_eq!(calls[..4], first);
    assert_eq!(calls[4..6], [Call::Recv(2), Call::Recv(3)]);
}

#[test]
fn what_is_said_or_asked_later_does_not_overtake_what_goes_back() {
    let calls = turn(
        [b"one".to_vec(), b"two!".to_vec()]
            .into_iter()
            .chain(others(2)),
    );
    let of_the_first = calls.into_iter().filter(|call| match call {
        Call::Recv(_) => false,
        Call::Send(number, _) | Call::Shutdown(number) => *number == 0,
    });
    let of_the_first: Vec<Call> = of_the_first.collect();
    assert_eq!(
        of_the_first,
        [sent(0, b"one"), sent(0, b"two!"), Call::Shutdown(0)]
    );
}

/// More clients than there is room to keep what they say.
#[test]
fn everybody_gets_their_own_back() {
    let says = |number: usize| format!("client {number} says this").into_bytes();
    let calls = turn((0..2_000).map(says));
    let writes: Vec<Call> = calls
        .into_iter()
        .filter(|call| matches!(call, Call::Send(..)))
        .collect();
    let expected: Vec<Call> = (0..2_000)
        .map(|number| sent(number, &says(number)))
        .collect();
    assert!(writes == expected);
}
