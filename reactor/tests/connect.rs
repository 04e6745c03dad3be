//! Connecting to others: success, refusal, silence.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Heard, adopt_socket, alone, echo, reactor, reactor_with, read_some, turn_until};
use edgeloop_reactor::{Address, Closed, ConnId, Limits, Opened, Outbox, Peer};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};

const SERVER: u32 = 3;
const CLIENT: u32 = 7;

#[test]
fn a_connection_that_we_opened_is_like_one_that_we_accepted() {
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
            let address = at.resolve().unwrap().pop();
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
                [Heard::ConnectError(CLIENT, Closed::Error(errno))],
                "{to}"
            );
            let stats = reactor.stats();
            assert_eq!((stats.connected, stats.connect_errors), (0, 1), "{to}");
            assert_eq!((stats.peak, stats.closed), (0, 0), "{to}");
        }
    });
}

#[test]
fn silence_is_given_up() {
    alone(|| {
        let (_full, _filling, silent) = silent_listener();
        let limits = Limits {
            connect_timeout: Duration::from_millis(100),
            ..Limits::default()
        };
        let mut reactor = reactor_with(limits, |_, _| {});
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
            Heard::Data(..) => out.connect(to.clone(), CLIENT),
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

/// To look a name up may take seconds, in which nobody else would be served: within the loop a host
/// is a number.
#[test]
fn the_loop_looks_up_no_name() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to: Address = format!("localhost:{port}").parse().unwrap();
        let mut reactor = reactor(|_, _| {});
        reactor.call(|_, out| out.connect(to, CLIENT));
        turn_until(&mut reactor, |notes| !notes.heard.is_empty());
        assert_eq!(
            reactor.protocol().heard,
            [Heard::ConnectError(CLIENT, Closed::Error(Errno::EINVAL))]
        );
        assert_eq!(reactor.stats().connect_errors, 1);
    });
}

/// A socket that cannot be reached fails within the call that asks for it, and so does the next
/// attempt.
#[test]
fn whoever_tries_again_at_once_is_not_forgotten() {
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

/// On close of one connection another attempt is made, which fails; a third party is to hear of it
/// without delay.
#[test]
fn what_is_said_about_a_failed_connect_is_sent_at_once() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let missing = unix(&directory.path().join("missing"));
        let mut last = None;
        let mut reactor = reactor(move |heard, out| match heard {
            Heard::Open(id, _) => last = Some(*id),
            Heard::Eof(id) => out.finish(*id),
            Heard::Close(..) => out.connect(missing.clone(), CLIENT),
            Heard::ConnectError(..) => out.send(last.unwrap(), b"failed"),
            _ => {}
        });
        let (_, closing) = adopt_socket(&mut reactor, SERVER);
        let (_, third) = adopt_socket(&mut reactor, SERVER);
        drop(closing);
        turn_until(&mut reactor, |_| !read_some(&third).is_empty());
    });
}

fn is_open(heard: &Heard, tag: u32) -> bool {
    matches!(heard, Heard::Open(_, opened) if opened.tag == tag)
}

/// Whom the first connection with this tag connects to.
fn opened(heard: &[Heard], tag: u32) -> (ConnId, Peer) {
    let found = heard.iter().find_map(|heard| match heard {
        Heard::Open(id, Opened { peer, tag: its }) if *its == tag => Some((*id, *peer)),
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

/// A port that is taken, so that nobody else can begin to listen there, and refuses.
fn bound_only() -> (OwnedFd, Address) {
    let (domain, kind) = (AddressFamily::Inet, SockType::Stream);
    let fd = socket(domain, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
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
