//! Several reactors, each in a thread of its own with its share of one address: every client is
//! served once, and no client waits for a reactor that has stopped.

mod common;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use common::{Heard, PATIENCE, adopt_socket, alone, echo, reactor, turn_at_once, turn_until};
use edgeloop_reactor::{Address, Bound, Outbox, Stats, Waker};

const TAG: u64 = 5;
const CLIENTS: u64 = 64;
const BACKLOG: usize = 1024;

#[test]
fn every_client_is_served_once() {
    alone(|| {
        const THREADS: u64 = 4;
        let directory = tempfile::tempdir().unwrap();
        for address in streams(directory.path()) {
            let (at, workers) = start::<3>(&address);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| (0..CLIENTS).for_each(|number| assert_served(&at, number)));
                }
            });
            let stats = workers.map(Worker::stop);
            let all = sum(&stats);
            assert_eq!(all.accepted, THREADS * CLIENTS, "{at}");
            assert_eq!((all.closed_eof, all.refused), (all.accepted, 0), "{at}");
            assert_eq!(all.bytes_in, 8 * all.accepted, "{at}");
            // The kernel spreads the clients of a port over the reactors; a client of a path goes
            // to the first that accepts.
            let accepted = stats.map(|stats| stats.accepted);
            let each_has_some = accepted.iter().all(|&count| count > 0);
            assert!(each_has_some || is_path(&at), "{accepted:?}");
        }
    });
}

#[test]
fn every_datagram_is_answered_once() {
    alone(|| {
        let (at, workers) = start::<2>(&"udp://0".parse().unwrap());
        let senders: Vec<_> = (0..CLIENTS).map(|_| sender(&at)).collect();
        (0..)
            .zip(&senders)
            .for_each(|(number, sender)| assert_answered(sender, number));
        let heard = workers.map(|worker| worker.stop().datagrams_in);
        for sender in senders {
            sender.set_nonblocking(true).unwrap();
            let nothing = sender.recv(&mut [0; 8]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "a second answer");
        }
        assert_eq!(heard[0] + heard[1], CLIENTS);
        assert!(heard[0] > 0 && heard[1] > 0, "{heard:?}");
    });
}

#[test]
fn clients_after_the_stop_of_one_reactor_are_served_by_the_others() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        for address in streams(directory.path()) {
            let (at, [first, second, third]) = start(&address);
            first.stop();
            (0..CLIENTS).for_each(|number| assert_served(&at, number));
            let left = second.stop().accepted;
            (0..CLIENTS).for_each(|number| assert_served(&at, number));
            assert_eq!(left + third.stop().accepted, 2 * CLIENTS, "{at}");
            let nobody = connect(&at).unwrap_err().kind();
            // The last reactor has removed the socket file.
            let (refused, no_file) = (ErrorKind::ConnectionRefused, ErrorKind::NotFound);
            assert_eq!(nobody, if is_path(&at) { no_file } else { refused });
        }
        let (at, [first, second]) = start(&"udp://0".parse().unwrap());
        first.stop();
        (0..CLIENTS).for_each(|number| assert_answered(&sender(&at), number));
        assert_eq!(second.stop().datagrams_in, CLIENTS);
    });
}

/// A stop meets clients in the queue, and clients between question and answer. Their connections
/// may be reset, but no client gets half an answer or waits for ever.
#[test]
fn a_stop_under_load_leaves_no_client_waiting() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        for address in streams(directory.path()) {
            let (at, [first, second]) = start(&address);
            let (coming, come) = mpsc::channel();
            let (stopped, answered) = thread::scope(|scope| {
                let crowd = [(); 4].map(|()| {
                    let (at, coming) = (&at, coming.clone());
                    scope.spawn(move || {
                        let answered = (0..CLIENTS).filter(|&number| {
                            coming.send(()).unwrap();
                            connect(at).is_ok_and(|client| {
                                question(&client, number) && is_answered(client, number)
                            })
                        });
                        answered.count() as u64
                    })
                });
                come.iter().take(CLIENTS as usize).for_each(drop);
                let stopped = first.stop();
                (stopped, crowd.map(|clients| clients.join().unwrap()))
            });
            assert_served(&at, CLIENTS);
            let all = sum(&[stopped, second.stop()]);
            let answered: u64 = answered.iter().sum();
            assert!(answered < all.accepted, "{answered} of {}", all.accepted);
            assert_eq!(all.closed, all.accepted, "{at}");
        }
    });
}

/// Each listener of a port has a queue of its own. The stop of its reactor resets the clients in
/// that queue, or moves them to another listener's if `net.ipv4.tcp_migrate_req` is set (Linux
/// 5.14).
#[test]
fn clients_in_the_queue_of_a_stopped_listener_are_reset() {
    alone(|| {
        let (at, [first, second]) = bind(&"0".parse().unwrap());
        let mut busy = reactor(echo);
        busy.serve(first, TAG).unwrap();
        let second = Worker::start(second);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = connect(&at).unwrap();
                assert!(question(&client, number));
                client
            })
            .collect();
        busy.stop();
        busy.run().unwrap();
        let answers = (0..).zip(clients);
        let answers = answers.map(|(number, client)| is_answered(client, number));
        let answered = answers.filter(|&answered| answered).count() as u64;
        assert_eq!(second.stop().accepted, answered);
        assert_eq!(busy.stats().accepted, 0);
        let migrate = fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req");
        let moved = migrate.is_ok_and(|setting| setting.trim() != "0");
        assert_eq!(answered == CLIENTS, moved, "{answered} answered");
    });
}

/// The listeners of a path share one queue: the reactor that is left serves the clients in it.
#[test]
fn clients_in_the_queue_of_a_path_are_served_by_the_reactor_that_is_left() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let (at, [first, second]) = bind(&Address::Unix(directory.path().join("socket")));
        let mut reactors = [reactor(echo), reactor(echo)];
        let [stopping, staying] = &mut reactors;
        stopping.serve(first, TAG).unwrap();
        staying.serve(second, TAG).unwrap();
        let client = connect(&at).unwrap();
        assert!(question(&client, 1));
        stopping.stop();
        stopping.run().unwrap();
        turn_until(staying, |notes| !notes.closed().is_empty());
        assert!(is_answered(client, 1));
        staying.stop();
        assert!(connect(&at).is_err());
    });
}

/// The listeners of a path are one open file description. A reactor that closes its own descriptor
/// still gets the events, unless it removes the descriptor from its interest list first (epoll(7),
/// question 6).
#[test]
fn a_reactor_that_stopped_listening_at_a_path_is_not_woken_by_its_clients() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let (at, [first, second]) = bind(&Address::Unix(directory.path().join("socket")));
        let mut reactors = [reactor(echo), reactor(echo)];
        let [resting, serving] = &mut reactors;
        resting.serve(first, TAG).unwrap();
        serving.serve(second, TAG).unwrap();
        let (_, _stays) = adopt_socket(resting, TAG);
        resting.call(|_, out| out.stop_listening());
        (0..2).for_each(|_| turn_at_once(resting));
        let before = resting.stats().events;
        let client = connect(&at).unwrap();
        turn_at_once(resting);
        assert_eq!(resting.stats().events, before + 1, "the wake alone");
        turn_until(serving, |notes| !notes.heard.is_empty());
        drop(client);
    });
}

/// A reactor in a thread of its own, which serves its share until it is stopped.
struct Worker {
    waker: Waker,
    thread: JoinHandle<Stats>,
}

impl Worker {
    fn start(share: Bound) -> Worker {
        let (starting, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = reactor(echo_all);
            reactor.serve(share, TAG).unwrap();
            starting.send(reactor.waker().unwrap()).unwrap();
            reactor.run().unwrap();
            reactor.stats()
        });
        let waker = started.recv().unwrap();
        Worker { waker, thread }
    }

    fn stop(self) -> Stats {
        self.waker.stop().unwrap();
        self.thread.join().unwrap()
    }
}

/// An echo server for streams and datagrams.
fn echo_all(heard: &Heard, out: &mut Outbox) {
    match heard {
        Heard::Datagram(from, tag, bytes) => out.send_to(*tag, *from, bytes),
        other => echo(other, out),
    }
}

fn start<const COUNT: usize>(address: &Address) -> (Address, [Worker; COUNT]) {
    let (at, shares) = bind(address);
    (at, shares.map(Worker::start))
}

/// `COUNT` shares of an address, and the address with the port that the kernel chose.
fn bind<const COUNT: usize>(address: &Address) -> (Address, [Bound; COUNT]) {
    let shares = Bound::shares(address, BACKLOG, COUNT).unwrap();
    let shares: Vec<Bound> = shares.into_iter().flatten().collect();
    (shares[0].address().clone(), shares.try_into().unwrap())
}

/// An address of each kind of stream: TCP and Unix.
fn streams(directory: &Path) -> [Address; 2] {
    let path = directory.join("socket");
    ["0".parse().unwrap(), Address::Unix(path)]
}

fn is_path(at: &Address) -> bool {
    matches!(at, Address::Unix(_))
}

fn sum(stats: &[Stats]) -> Stats {
    let mut sum = Stats::default();
    stats.iter().for_each(|stats| sum.merge(stats));
    sum
}

/// Connects as a client. The tests use both families in the same way, so one type serves for both.
fn connect(at: &Address) -> io::Result<TcpStream> {
    let stream = match at {
        Address::Unix(path) => TcpStream::from(OwnedFd::from(UnixStream::connect(path)?)),
        inet => TcpStream::connect(inet.resolve()?[0])?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a number and a FIN. Returns false if the server has closed the connection.
fn question(mut client: &TcpStream, number: u64) -> bool {
    let said = client.write_all(&number.to_ne_bytes());
    said.and_then(|()| client.shutdown(Shutdown::Write)).is_ok()
}

/// Whether the number has come back. False if the connection was closed or reset without an answer;
/// half an answer fails the test.
fn is_answered(mut client: TcpStream, number: u64) -> bool {
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Ok(0) => false,
        Ok(_) => {
            assert_eq!(answer, number.to_ne_bytes());
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
            false
        }
    }
}

fn assert_served(at: &Address, number: u64) {
    let client = connect(at).unwrap();
    assert!(question(&client, number) && is_answered(client, number));
}

fn sender(at: &Address) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(at.resolve().unwrap()[0]).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn assert_answered(sender: &UdpSocket, number: u64) {
    let mut answer = [0; 9];
    sender.send(&number.to_ne_bytes()).unwrap();
    let count = sender.recv(&mut answer).unwrap();
    assert_eq!(answer[..count], number.to_ne_bytes());
}
