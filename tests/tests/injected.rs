//! The server survives failing system calls: `strace` injects the failure that the test names, and
//! every client must still get an exact reply.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;

use tests::client::{Fate, Probe, count, dial, dial_udp, is_closed, ping, ping_and_end, watch};
use tests::random::Random;
use tests::server::{Launch, Server};
use tests::strace::Trace;
use tests::until;

const WAIT_CALLS: &str = "?epoll_wait,?epoll_pwait,?epoll_pwait2";
const SEND_CALLS: &str = "sendto,sendmsg,write,writev";
const RECEIVE_CALLS: &str = "recvfrom,recvmsg";

/// An echo server whose system calls `calls` fail as `how` says, in the syntax of `strace -e
/// inject`.
fn start(calls: &str, how: &str) -> (Trace, Server) {
    start_on(&["127.0.0.1:0"], calls, how)
}

/// As [`start`], on these addresses.
fn start_on(addresses: &[&str], calls: &str, how: &str) -> (Trace, Server) {
    let trace = Trace::new();
    let options = [format!("trace={calls}"), format!("inject={calls}:{how}")];
    let wrapper = trace.wrapper(&["-e", &options[0], "-e", &options[1]]);
    let server = Launch::new("echo", addresses).under(&wrapper).start();
    (trace, server)
}

/// Pings from ten clients, all connected at once, with short and long messages.
fn ten_clients(server: SocketAddr) {
    let clients: Vec<TcpStream> = (0..10).map(|_| dial(server)).collect();
    for (seed, client) in clients.iter().enumerate() {
        ping(client, format!("client {seed}").as_bytes());
        ping(client, &Random::new(seed as u64).bytes(100_000));
        ping_and_end(client, b"the last words");
    }
}

/// Checks that a server with the fault serves ten clients, that the fault has happened `at_least`
/// so often, and that the server then stops in order.
fn survives(calls: &str, how: &str, at_least: usize) {
    let (trace, mut server) = start(calls, how);
    ten_clients(server.tcp());
    until("the fault has happened", || trace.injected() >= at_least);
    ten_clients(server.tcp());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn accept_connection_aborted() {
    survives("accept4", "error=ECONNABORTED:when=1..3", 3);
}

#[test]
fn accept_protocol_error() {
    survives("accept4", "error=EPROTO:when=1..3", 3);
}

#[test]
fn accept_host_unreachable() {
    survives("accept4", "error=EHOSTUNREACH:when=1..3", 3);
}

#[test]
fn accept_not_permitted() {
    survives("accept4", "error=EPERM:when=1..3", 3);
}

#[test]
fn accept_interrupted() {
    survives("accept4", "error=EINTR:when=1..3", 3);
}

/// The clients wait in the backlog meanwhile, and no further event reports them.
#[test]
fn accept_out_of_memory() {
    survives("accept4", "error=ENOMEM:when=1..3", 3);
}

#[test]
fn accept_out_of_buffers() {
    survives("accept4", "error=ENOBUFS:when=1..3", 3);
}

#[test]
fn accept_file_table_full() {
    without_descriptors("error=ENFILE:when=1..3");
}

#[test]
fn accept_out_of_descriptors() {
    without_descriptors("error=EMFILE:when=1..3");
}

/// The fault is permanent, like a firewall that forbids every accept: the client waits, the others
/// are served, and the server retries now and then but does not spin.
#[test]
fn accept_that_always_fails() {
    for errno in ["EPERM", "ECONNABORTED", "ENOMEM", "EMFILE"] {
        let how = format!("error={errno}:when=1+");
        let (trace, mut server) = start_on(&["127.0.0.1:0", "udp://127.0.0.1:0"], "accept4", &how);
        let _waits = dial(server.tcp());
        until("the fault has happened", || trace.injected() > 0);
        does_not_spin(&trace, &mut server);
        let datagrams = dial_udp(server.udp());
        datagrams.send(b"another").expect("send");
        assert_eq!(receive(&datagrams), b"another", "{errno}");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{errno}");
    }
}

/// The fault lasts longer than a turn's budget, and then ends.
#[test]
fn accept_that_fails_for_a_while() {
    for (errno, times) in [("EPERM", 100), ("ECONNABORTED", 100), ("ENOMEM", 10)] {
        survives("accept4", &format!("error={errno}:when=1..{times}"), times);
    }
}

/// Checks how many failing calls the server makes within a second: hundreds are retries, tens of
/// thousands would be a busy loop.
fn does_not_spin(trace: &Trace, server: &mut Server) {
    let before = trace.injected();
    assert_eq!(server.wait(Duration::from_secs(1)), None, "it has ended");
    let calls = trace.injected() - before;
    assert!(calls < 2_000, "{calls} calls in a second");
}

/// Without a descriptor the server may refuse a client or let it wait, but not for ever.
fn without_descriptors(how: &str) {
    let (trace, mut server) = start("accept4", how);
    let mut probes: Vec<_> = (0..10)
        .map(|client| Probe::ask(server.tcp(), &format!("client {client}")))
        .collect();
    watch(&mut probes, 5000);
    assert_eq!(
        count(&probes, Fate::Waiting),
        0,
        "clients in the backlog were forgotten"
    );
    assert!(
        count(&probes, Fate::Refused) <= 3,
        "more clients refused than calls failed"
    );
    until("the fault has happened", || trace.injected() == 3);
    ten_clients(server.tcp());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// A connection that cannot be added to epoll is closed, neither left open nor leaked.
#[test]
fn epoll_ctl_no_space() {
    // The call for the first connection follows those for the server's own descriptors.
    let trace = Trace::new();
    let server = Launch::echo()
        .under(&trace.wrapper(&["-e", "trace=epoll_ctl"]))
        .start();
    let calls = || trace.text().matches("epoll_ctl(").count();
    ping(dial(server.tcp()), b"watched");
    until("a connection is watched", || {
        trace.text().contains("EPOLLRDHUP")
    });
    let own = calls() - 1;
    drop(server);

    let (trace, mut server) = start("epoll_ctl", &format!("error=ENOSPC:when={}", own + 1));
    let baseline = server.open_descriptors();
    assert!(
        is_closed(dial(server.tcp())),
        "a connection that is not in epoll was left open"
    );
    assert_eq!(trace.injected(), 1);
    server.descriptors_return_to(baseline);
    ten_clients(server.tcp());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn receive_interrupted() {
    survives(RECEIVE_CALLS, "error=EINTR:when=1+3", 10);
}

#[test]
fn send_interrupted() {
    survives("sendto,sendmsg,writev", "error=EINTR:when=1+3", 10);
}

/// The kernel has no memory for the reply. The reply must not be lost or stranded, although no edge
/// will follow.
#[test]
fn send_out_of_buffers() {
    for when in 1..=4 {
        send_fails("ENOBUFS", when);
    }
}

#[test]
fn send_out_of_memory() {
    for when in 1..=2 {
        send_fails("ENOMEM", when);
    }
}

/// Reply number `when` fails once with `error`.
fn send_fails(error: &str, when: usize) {
    let (trace, mut server) = start(
        "sendto,sendmsg,writev",
        &format!("error={error}:when={when}"),
    );
    let stream = dial(server.tcp());
    for message in 0..6 {
        ping(&stream, format!("message {message}").as_bytes());
    }
    until("the fault has happened", || trace.injected() == 1);
    ping_and_end(&stream, b"the last words");
    ten_clients(server.tcp());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

/// Checks that a UDP server with the fault answers again afterwards. Datagrams may be lost
/// meanwhile.
fn datagrams_survive(calls: &str, how: &str, at_least: usize) {
    let (trace, mut server) = start_on(&["udp://127.0.0.1:0"], calls, how);
    let socket = dial_udp(server.udp());
    until("the fault has happened", || {
        socket.send(b"perhaps").expect("send");
        trace.injected() >= at_least
    });
    // The replies to the earlier datagrams, if there are any, come before this reply.
    socket.send(b"for sure").expect("send");
    let mut answer = receive(&socket);
    while answer == b"perhaps" {
        answer = receive(&socket);
    }
    assert_eq!(answer, b"for sure");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut datagram = [0; 100];
    let length = socket.recv(&mut datagram).expect("the server answers");
    datagram[..length].to_vec()
}

/// The error is an ICMP message about an earlier reply to a client that has gone.
#[test]
fn datagram_receive_refused() {
    datagrams_survive("recvmmsg", "error=ECONNREFUSED:when=1..2", 2);
}

#[test]
fn datagram_receive_interrupted() {
    datagrams_survive("recvmmsg", "error=EINTR:when=1+2", 5);
}

#[test]
fn datagram_receive_out_of_memory() {
    datagrams_survive("recvmmsg", "error=ENOMEM:when=1..3", 3);
}

#[test]
fn datagram_send_interrupted() {
    datagrams_survive("sendmmsg", "error=EINTR:when=1+2", 5);
}

/// A datagram has arrived and cannot be received: the server retries, does not spin, and serves the
/// other clients.
#[test]
fn datagram_receive_that_always_fails() {
    for errno in ["ENOMEM", "ECONNREFUSED"] {
        let how = format!("error={errno}:when=1+");
        let (trace, mut server) = start_on(&["udp://127.0.0.1:0", "127.0.0.1:0"], "recvmmsg", &how);
        let socket = dial_udp(server.udp());
        socket.send(b"never answered").expect("send");
        until("the fault has happened", || trace.injected() > 0);
        does_not_spin(&trace, &mut server);
        ping(dial(server.tcp()), b"another");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{errno}");
    }
}

/// A reply that the kernel refuses is lost and counted, and does not block the next one.
#[test]
fn datagram_send_refused() {
    for errno in ["ENOBUFS", "EPERM", "ENOMEM", "ECONNREFUSED"] {
        let how = format!("error={errno}:when=1");
        let (trace, server) = start_on(&["udp://127.0.0.1:0"], "sendmmsg", &how);
        let socket = dial_udp(server.udp());
        socket.send(b"lost").expect("send");
        until("the fault has happened", || trace.injected() == 1);
        socket.send(b"answered").expect("send");
        assert_eq!(receive(&socket), b"answered", "{errno}");
        let stats = server.stats();
        assert_eq!(stats.get("datagrams_lost"), 1, "{errno}");
        assert_eq!(stats.get("datagrams_out"), 1, "{errno}");
    }
}

#[test]
fn wait_interrupted() {
    survives(WAIT_CALLS, "error=EINTR:when=1+2", 10);
}

/// Several faults at once, throughout the run.
#[test]
fn everything_now_and_then() {
    let trace = Trace::new();
    let rules = [
        format!("trace=accept4,{RECEIVE_CALLS},{SEND_CALLS},{WAIT_CALLS}"),
        "inject=accept4:error=ECONNABORTED:when=2+4".to_owned(),
        format!("inject={RECEIVE_CALLS}:error=EINTR:when=3+5"),
        "inject=sendto,sendmsg,writev:error=EINTR:when=2+7".to_owned(),
        format!("inject={WAIT_CALLS}:error=EINTR:when=4+3"),
    ];
    let options: Vec<&str> = rules.iter().flat_map(|rule| ["-e", rule]).collect();
    let mut server = Launch::echo().under(&trace.wrapper(&options)).start();
    for _ in 0..5 {
        ten_clients(server.tcp());
    }
    assert!(trace.injected() > 50);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}
