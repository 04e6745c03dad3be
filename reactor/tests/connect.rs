//! Connecting: success, refusal, silence, and names with several addresses.

mod common;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{
    Heard, PATIENCE, adopt_socket, alone, echo, reactor, reactor_with, read_some, turn_at_once,
    turn_until,
};
use edgeloop_reactor::{
    Address, Closed, ConnId, HostPort, Limits, Opened, Outbox, Peer, Protocol, Reactor, SystemError,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};

const SERVER: u64 = 3;
const CLIENT: u64 = 7;

#[test]
fn a_connected_connection_is_like_an_accepted_one() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        for at in [loopback(), unix(&directory.path().join("socket"))] {
            let mut client = None;
            let mut reactor = reactor(move |heard, out| match heard {
                Heard::Open(id, opened) if opened.tag == CLIENT => {
                    client = Some(*id);
                    out.send(*id, b"hello");
                }
                Heard::Data(id, _) if client == Some(*id) => out.finish(*id),
                other => echo(other, out),
            });
            let at = reactor.listen(&at, SERVER).unwrap().remove(0);
            reactor.connect(&at, CLIENT).unwrap();
            turn_until(&mut reactor, |notes| notes.closed().len() == 2);

            let (id, peer) = opened(&reactor.protocol().heard, CLIENT);
            let address = at.socket_addr();
            assert_eq!(peer, address.map_or(Peer::Unix, Peer::Inet));
            assert_eq!(reactor.protocol().received(id), b"hello");
            let stats = reactor.stats();
            assert_eq!((stats.accepted, stats.connected), (1, 1));
            assert_eq!((stats.connect_errors, stats.connections), (0, 0));
        }
    });
}

#[test]
fn a_refusal_is_told_with_its_cause() {
    alone(|| {
        let (_bound, nobody_listens) = bound_only();
        let directory = tempfile::tempdir().unwrap();
        let (stale, missing) = (
            directory.path().join("stale"),
            directory.path().join("missing"),
        );
        drop(UnixListener::bind(&stale).unwrap());
        for (to, errno) in [
            (nobody_listens, Errno::ECONNREFUSED),
            (unix(&stale), Errno::ECONNREFUSED),
            (unix(&missing), Errno::ENOENT),
        ] {
            let mut reactor = reactor(|_, _| {});
            reactor.call(|_, out| out.connect(to.clone(), CLIENT));
            reactor.run().unwrap();
            assert_eq!(
                reactor.protocol().heard,
                [Heard::ConnectError(
                    CLIENT,
                    Closed::Error(SystemError::new(errno as i32))
                )],
                "{to}"
            );
            let stats = reactor.stats();
            assert_eq!((stats.connected, stats.connect_errors), (0, 1), "{to}");
            assert_eq!((stats.peak, stats.closed), (0, 0), "{to}");
        }
    });
}

#[test]
fn silence_ends_with_the_connect_timeout() {
    alone(|| {
        let (_full, _filling, silent) = silent_listener();
        let mut reactor = reactor_with(patient(Duration::from_millis(100)), |_, _| {});
        let start = Instant::now();
        reactor.connect(&silent, CLIENT).unwrap();
        reactor.run().unwrap();
        assert!(start.elapsed() >= Duration::from_millis(99), "too early");
        assert_eq!(
            reactor.protocol().heard,
            [Heard::ConnectError(CLIENT, Closed::TimedOut)]
        );
        assert_eq!(reactor.stats().connect_errors, 1);
    });
}

#[test]
fn connects_under_way_are_cancelled_by_their_ids() {
    alone(|| {
        let (_full, _filling, silent) = silent_listener();
        let mut reactor = reactor_with(patient(PATIENCE), |_, _| {});
        let ids = [(); 3].map(|()| reactor.connect(&silent, CLIENT).unwrap());
        reactor.turn_for(Some(Duration::ZERO)).unwrap();
        reactor.call(|_, out| out.abort(ids[1]));
        turn_until(&mut reactor, |notes| !notes.failed.is_empty());
        assert_eq!(reactor.protocol().failed, [ids[1]]);
        reactor.call(|_, out| out.finish(ids[0]));
        reactor.call(|_, out| out.close(ids[2]));
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().failed, [ids[1], ids[0], ids[2]]);
        let error = |why| Heard::ConnectError(CLIENT, why);
        let heard = [Closed::Aborted, Closed::Finished, Closed::Finished].map(error);
        assert_eq!(reactor.protocol().heard, heard);
        let stats = reactor.stats();
        assert_eq!((stats.connected, stats.connect_errors), (0, 3));
    });
}

/// The listener accepts clients, so a connect that is not cancelled would be seen.
#[test]
fn a_connect_that_is_cancelled_at_once_makes_no_socket() {
    alone(|| {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        backend.set_nonblocking(true).unwrap();
        let to = tcp(backend.local_addr().unwrap());
        let mut reactor = reactor(|_, _| {});
        let id = reactor.call(|_, out| {
            let id = out.connect(to, CLIENT);
            out.send(id, b"never sent");
            out.abort(id);
            out.abort(id);
            id
        });
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().failed, [id]);
        let aborted = Heard::ConnectError(CLIENT, Closed::Aborted);
        assert_eq!(reactor.protocol().heard, [aborted]);
        assert_eq!(backend.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn until_it_is_open_a_connect_has_a_timer_and_sends_nothing() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let (_full, _filling, silent) = silent_listener();
        let mut reactor = reactor(|heard, out| match heard {
            Heard::Timer(id) => out.abort(*id),
            Heard::Open(id, _) => out.send(*id, b"hello"),
            _ => {}
        });
        let id = reactor.call(|_, out| {
            let id = out.connect(silent, CLIENT);
            out.set_timer(id, Duration::from_millis(1));
            id
        });
        reactor.run().unwrap();
        let aborted = Heard::ConnectError(CLIENT, Closed::Aborted);
        assert_eq!(reactor.protocol().heard, [Heard::Timer(id), aborted]);

        // A Unix socket is connected within the turn that asks for it.
        let path = directory.path().join("socket");
        let backend = UnixListener::bind(&path).unwrap();
        reactor.call(|_, out| {
            let id = out.connect(unix(&path), CLIENT);
            out.send(id, b"too early");
            out.pause(id);
        });
        let (stream, _) = std::thread::scope(|scope| {
            let accepted = scope.spawn(|| backend.accept().unwrap());
            turn_until(&mut reactor, |notes| notes.heard.len() == 3);
            accepted.join().unwrap()
        });
        stream.set_nonblocking(true).unwrap();
        assert_eq!(read_some(&stream), b"hello");
    });
}

#[test]
fn a_stop_ends_what_is_still_connecting() {
    alone(|| {
        let (_full, _filling, silent) = silent_listener();
        let mut reactor = reactor(|heard, out| {
            if *heard == Heard::ServiceTimer {
                out.stop();
            }
        });
        reactor.connect(&silent, CLIENT).unwrap();
        reactor.call(|_, out| out.set_service_timer(Duration::ZERO));
        reactor.run().unwrap();
        let error = Heard::ConnectError(CLIENT, Closed::Shutdown);
        assert_eq!(reactor.protocol().count(&error), 1);
    });
}

#[test]
fn a_callback_may_connect() {
    alone(|| {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = tcp(backend.local_addr().unwrap());
        let mut reactor = reactor(move |heard, out| match heard {
            Heard::Data(..) => {
                out.connect(to.clone(), CLIENT);
            }
            Heard::Open(id, opened) if opened.tag == CLIENT => out.send(*id, b"hello"),
            _ => {}
        });
        let (_, asking) = adopt_socket(&mut reactor, SERVER);
        common::write_some(&asking, b"connect");
        turn_until(&mut reactor, |notes| {
            notes.heard.iter().any(|heard| is_open(heard, CLIENT))
        });
        let (stream, _) = backend.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert_eq!(read_some(&stream), b"hello");
    });
}

/// Resolving a name may take seconds, in which no connection would be served: within the loop, a
/// connect to an unresolved name is an error.
#[test]
fn the_loop_resolves_no_name() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to: Address = format!("localhost:{port}").parse().unwrap();
        let mut reactor = reactor(|_, _| {});
        reactor.call(|_, out| out.connect(to, CLIENT));
        turn_until(&mut reactor, |notes| !notes.heard.is_empty());
        assert_eq!(
            reactor.protocol().heard,
            [Heard::ConnectError(
                CLIENT,
                Closed::Error(SystemError::new(Errno::EINVAL as i32))
            )]
        );
        assert_eq!(reactor.stats().connect_errors, 1);
    });
}

/// A socket that cannot be reached fails within the call that asks for it, and so does the next
/// attempt.
#[test]
fn a_connect_from_on_connect_error_is_carried_out() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let missing = unix(&directory.path().join("missing"));
        let (to, mut left) = (missing.clone(), 5);
        let mut reactor = reactor(move |_: &Heard, out: &mut Outbox| {
            left -= 1;
            if left > 0 {
                out.connect(to.clone(), CLIENT);
            }
        });
        reactor.call(|_, out| out.connect(missing, CLIENT));
        reactor.run().unwrap();
        assert_eq!(reactor.stats().connect_errors, 5);
    });
}

/// When one connection closes the protocol connects again, which fails, and sends word of that to
/// another connection: the word is sent in the same turn.
#[test]
fn a_send_from_on_connect_error_is_sent_at_once() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let missing = unix(&directory.path().join("missing"));
        let mut last = None;
        let mut reactor = reactor(move |heard, out| match heard {
            Heard::Open(id, _) => last = Some(*id),
            Heard::Eof(id) => out.finish(*id),
            Heard::Close(..) => {
                out.connect(missing.clone(), CLIENT);
            }
            Heard::ConnectError(..) => out.send(last.unwrap(), b"failed"),
            _ => {}
        });
        let (_, closing) = adopt_socket(&mut reactor, SERVER);
        let (_, third) = adopt_socket(&mut reactor, SERVER);
        drop(closing);
        turn_until(&mut reactor, |_| !read_some(&third).is_empty());
    });
}

#[test]
fn a_name_s_next_address_is_tried_when_one_refuses() {
    alone(|| {
        let (_bound, refusing) = bound_only_at(ELSEWHERE);
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = tcp(backend.local_addr().unwrap());
        let name = name_of(&[&refusing, &unreachable(), &refusing, &listening]);
        for within_the_loop in [false, true] {
            let mut reactor = reactor(|_, _| {});
            let promised = match within_the_loop {
                true => reactor.call(|_, out| out.connect(name.clone(), CLIENT)),
                false => reactor.connect(&name, CLIENT).unwrap(),
            };
            turn_until(&mut reactor, |notes| !notes.heard.is_empty());
            let (id, peer) = opened(&reactor.protocol().heard, CLIENT);
            assert_eq!(id, promised);
            assert_eq!(peer, Peer::Inet(backend.local_addr().unwrap()));
            assert_eq!(reactor.protocol().heard.len(), 1, "no word of the others");
            let stats = reactor.stats();
            assert_eq!((stats.connected, stats.connect_errors), (1, 0));
            assert_eq!((stats.connections, stats.peak), (1, 1));
            backend.accept().unwrap();
        }
    });
}

/// There is a listener at the last address of the name only, whatever addresses the machine's
/// resolver returns.
#[test]
fn a_name_leads_to_its_last_address() {
    alone(|| {
        let last = "localhost:0".parse::<Address>().unwrap().resolve().unwrap();
        let backend = TcpListener::bind(last.last().unwrap()).unwrap();
        let port = backend.local_addr().unwrap().port();
        let name: Address = format!("localhost:{port}").parse().unwrap();
        let mut reactor = reactor(|_, _| {});
        reactor.connect(&name, CLIENT).unwrap();
        turn_until(&mut reactor, |notes| !notes.heard.is_empty());
        let (_, peer) = opened(&reactor.protocol().heard, CLIENT);
        assert_eq!(peer, Peer::Inet(backend.local_addr().unwrap()));
    });
}

#[test]
fn of_several_addresses_the_last_one_s_error_is_told_once() {
    alone(|| {
        let (timeout, rounding) = (Duration::from_millis(50), Duration::from_millis(2));
        let (_bound, refusing) = bound_only_at(ELSEWHERE);
        let (_full, _filling, silent) = silent_listener();
        let refused = Closed::Error(SystemError::new(Errno::ECONNREFUSED as i32));
        let unreachable_network = Closed::Error(SystemError::new(Errno::ENETUNREACH as i32));
        // The error that the protocol is told, and whether the connect timeout passes before.
        for (addresses, why, timeouts) in [
            ([&refusing, &silent], Closed::TimedOut, 1),
            ([&silent, &refusing], Closed::TimedOut, 1),
            ([&silent, &silent], Closed::TimedOut, 1),
            ([&refusing, &unreachable()], unreachable_network, 0),
            ([&unreachable(), &refusing], refused, 0),
        ] {
            let mut reactor = reactor_with(patient(timeout), |_, _| {});
            let start = Instant::now();
            reactor.connect(&name_of(&addresses), CLIENT).unwrap();
            reactor.run().unwrap();
            let waited = start.elapsed() + rounding;
            assert!(waited >= timeouts * timeout, "{addresses:?}: {waited:?}");
            let error = Heard::ConnectError(CLIENT, why);
            assert_eq!(reactor.protocol().heard, [error], "{addresses:?}");
            let stats = reactor.stats();
            assert_eq!((stats.connected, stats.connect_errors), (0, 1));
            assert_eq!((stats.peak, stats.closed), (0, 0));
        }
    });
}

/// The next address is tried while the first is still silent, and the protocol hears nothing of the
/// first one.
#[test]
fn a_silent_address_delays_the_next_by_less_than_the_timeout() {
    alone(|| {
        let (_full, _filling, silent) = silent_listener();
        let backend = TcpListener::bind((ELSEWHERE, 0)).unwrap();
        let listening = tcp(backend.local_addr().unwrap());
        for addresses in [
            &[&silent, &listening][..],
            &[&silent, &silent, &unreachable(), &silent, &listening],
        ] {
            let name = name_of(addresses);
            let mut reactor = reactor_with(patient(PATIENCE), |_, _| {});
            let start = Instant::now();
            let promised = reactor.connect(&name, CLIENT).unwrap();
            turn_until(&mut reactor, |notes| !notes.heard.is_empty());
            assert!(start.elapsed() < PATIENCE, "the timeout was sat out");
            assert!(start.elapsed() >= Duration::from_millis(250));
            let (id, peer) = opened(&reactor.protocol().heard, CLIENT);
            assert_eq!(id, promised);
            assert_eq!(peer, Peer::Inet(backend.local_addr().unwrap()));
            // Events of the winner have the promised id, whether they come before or after its move.
            let (stream, _) = backend.accept().unwrap();
            reactor.turn_for(Some(Duration::ZERO)).unwrap();
            for words in [&b"hello"[..], b"hello again"] {
                common::write_some(&stream, words);
                let said = Heard::Data(id, words.to_vec());
                turn_until(&mut reactor, |notes| notes.count(&said) == 1);
            }
            drop(stream);
            // The run ends because no attempt is left under way.
            reactor.call(|_, out| out.finish(id));
            reactor.run().unwrap();
            let stats = reactor.stats();
            assert_eq!((stats.connected, stats.connect_errors), (1, 0));
            assert_eq!((stats.peak, stats.closed), (1, 1));
            let connects = |heard: &&Heard| matches!(heard, Heard::ConnectError(..));
            assert_eq!(reactor.protocol().heard.iter().filter(connects).count(), 0);
        }
    });
}

/// The second address is not tried as long as the first may answer in time.
#[test]
fn an_address_that_answers_at_once_is_the_only_one_tried() {
    alone(|| {
        let [first, second] = [Ipv4Addr::LOCALHOST, ELSEWHERE].map(|ip| {
            let backend = TcpListener::bind((ip, 0)).unwrap();
            backend.set_nonblocking(true).unwrap();
            backend
        });
        let addresses = [&first, &second].map(|backend| tcp(backend.local_addr().unwrap()));
        let mut reactor = reactor(|_, _| {});
        reactor
            .connect(&name_of(&[&addresses[0], &addresses[1]]), CLIENT)
            .unwrap();
        turn_until(&mut reactor, |notes| !notes.heard.is_empty());
        let (_, peer) = opened(&reactor.protocol().heard, CLIENT);
        assert_eq!(peer, Peer::Inet(first.local_addr().unwrap()));
        first.accept().unwrap();
        let nobody = second.accept().unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
    });
}

/// If no attempt could begin, the call that asked for the connection fails at once.
#[test]
fn addresses_that_all_fail_at_once_fail_the_call() {
    alone(|| {
        let mut reactor = reactor(|_, _| {});
        let name = name_of(&[&unreachable(), &unreachable()]);
        let error = reactor.connect(&name, CLIENT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().heard, []);
    });
}

/// A stop comes in the turn in which the first address refuses, or while it is still silent: the
/// second address is not tried.
#[test]
fn a_stop_leaves_the_other_addresses_alone() {
    alone(|| {
        let (_bound, refusing) = bound_only_at(ELSEWHERE);
        let (_full, _filling, silent) = silent_listener();
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        backend.set_nonblocking(true).unwrap();
        let listening = tcp(backend.local_addr().unwrap());
        for first in [&refusing, &silent] {
            for stops in [1, 2] {
                let mut reactor = reactor_with(patient(PATIENCE), |_, _| {});
                let waker = reactor.waker().unwrap();
                reactor
                    .connect(&name_of(&[first, &listening]), CLIENT)
                    .unwrap();
                (0..stops).for_each(|_| waker.stop().unwrap());
                reactor.run().unwrap();
                let error = Heard::ConnectError(CLIENT, Closed::Shutdown);
                assert_eq!(reactor.protocol().heard, [Heard::Stop, error], "{first}");
                assert_eq!(reactor.stats().connect_errors, 1, "{first}");
                let nobody = backend.accept().unwrap_err();
                assert_eq!(nobody.kind(), ErrorKind::WouldBlock, "{first}");
            }
        }
    });
}

#[test]
fn the_local_address_of_a_connection_can_be_chosen() {
    alone(|| {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let hears = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (stream, datagrams) = (backend.local_addr().unwrap(), hears.local_addr().unwrap());
        let mut reactor = reactor(|_, _| {});
        let to = Address::Tcp(HostPort::from(stream).with_source(ELSEWHERE.into()));
        reactor.connect(&to, CLIENT).unwrap();
        turn_until(&mut reactor, |notes| !notes.heard.is_empty());
        assert_eq!(backend.accept().unwrap().1.ip(), ELSEWHERE);

        let to = Address::Udp(HostPort::from(datagrams).with_source(ELSEWHERE.into()));
        reactor.connect(&to, CLIENT).unwrap();
        reactor.call(|_, out| out.send_to(CLIENT, datagrams, b"hello"));
        turn_at_once(&mut reactor);
        let (count, from) = hears.recv_from(&mut [0; 8]).unwrap();
        assert_eq!((count, from.ip()), (5, ELSEWHERE.into()));
    });
}

#[test]
fn an_address_of_another_machine_is_no_local_address() {
    alone(|| {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = HostPort::from(backend.local_addr().unwrap());
        let not_ours = Ipv4Addr::new(192, 0, 2, 1);
        for to in [Address::Tcp, Address::Udp] {
            let to = to(host.clone().with_source(not_ours.into()));
            let mut reactor = reactor(|_, _| {});
            reactor.call(|_, out| out.connect(to.clone(), CLIENT));
            reactor.run().unwrap();
            let error = Heard::ConnectError(
                CLIENT,
                Closed::Error(SystemError::new(Errno::EADDRNOTAVAIL as i32)),
            );
            assert_eq!(reactor.protocol().heard, [error], "{to}");
        }
    });
}

/// A protocol without streams, which says nothing of `on_data`.
struct NoStreams(Vec<Closed>);

impl Protocol for NoStreams {
    fn on_close(&mut self, _: ConnId, why: Closed, _: &mut Outbox) {
        self.0.push(why);
    }
}

#[test]
fn bytes_that_a_protocol_does_not_expect_end_the_connection() {
    alone(|| {
        let mut reactor = Reactor::new(NoStreams(Vec::new()), Limits::default()).unwrap();
        let (_, peer) = adopt_socket(&mut reactor, SERVER);
        turn_at_once(&mut reactor);
        common::write_some(&peer, b"hello");
        turn_until(&mut reactor, |protocol| !protocol.0.is_empty());
        assert_eq!(reactor.protocol().0, [Closed::Aborted]);
    });
}

fn is_open(heard: &Heard, tag: u64) -> bool {
    matches!(heard, Heard::Open(_, opened) if opened.tag == tag)
}

/// The first connection with this tag, and its peer.
fn opened(heard: &[Heard], tag: u64) -> (ConnId, Peer) {
    let found = heard.iter().find_map(|heard| match heard {
        Heard::Open(id, Opened { peer, tag: its, .. }) if *its == tag => Some((*id, *peer)),
        _ => None,
    });
    found.expect("was opened")
}

fn loopback() -> Address {
    tcp(([127, 0, 0, 1], 0).into())
}

fn tcp(at: SocketAddr) -> Address {
    Address::Tcp(at.into())
}

fn unix(path: &Path) -> Address {
    Address::Unix(path.into())
}

fn patient(connect_timeout: Duration) -> Limits {
    Limits {
        connect_timeout,
        ..Limits::default()
    }
}

/// A local address at which no test listens.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A name with these addresses.
fn name_of(addresses: &[&Address]) -> Address {
    let numbers = addresses.iter().map(|at| at.resolve().unwrap()[0]);
    let host: HostPort = "several.example:1".parse().unwrap();
    Address::Tcp(host.with_numbers(numbers.collect()))
}

/// An address to which connect(2) fails at once: TCP does not connect to a broadcast address.
fn unreachable() -> Address {
    tcp((Ipv4Addr::BROADCAST, 9).into())
}

/// A port that refuses connections. It is bound, so that no other program can listen there
/// meanwhile.
fn bound_only() -> (OwnedFd, Address) {
    bound_only_at(Ipv4Addr::LOCALHOST)
}

fn bound_only_at(ip: Ipv4Addr) -> (OwnedFd, Address) {
    let (domain, kind) = (AddressFamily::Inet, SockType::Stream);
    let fd = socket(domain, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let at = SocketAddrV4::new(ip, 0);
    bind(fd.as_raw_fd(), &SockaddrIn::from(at)).unwrap();
    let at: SockaddrIn = getsockname(fd.as_raw_fd()).unwrap();
    (fd, tcp(SocketAddr::new(at.ip().into(), at.port())))
}

/// A port that does not answer: with its queue of length 0 full, the kernel drops every SYN
/// (listen(2)).
fn silent_listener() -> (OwnedFd, TcpStream, Address) {
    let (fd, at) = bound_only();
    listen(&fd, Backlog::new(0).unwrap()).unwrap();
    let filling = TcpStream::connect(at.resolve().unwrap()[0]).unwrap();
    (fd, filling, at)
}
