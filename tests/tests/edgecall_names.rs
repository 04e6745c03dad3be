//! A name may stand for several addresses: `edgecall` finds the server at the last of them, in
//! time.

use std::io;
use std::iter;
use std::net::{Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::socket::{Backlog, listen};

use tests::call::{Call, file_of};
use tests::client::expect_end;
use tests::door::{ClosedDoor, Door, closed_udp_door, udp_door};
use tests::namespace::Hosts;
use tests::server::{Launch, Server, edgecall};
use tests::{PATIENCE, skip};

/// A name with an address of each family. The resolver returns the IPv6 address first.
const NAME: &str = "both.test";

fn hosts() -> Option<Hosts> {
    Hosts::new(&format!("::1 {NAME}\n127.0.0.1 {NAME}"))
}

fn start(hosts: &Hosts, arguments: &[&str], stdin: &[u8]) -> Call {
    let program = edgecall().to_str().expect("a path in UTF-8");
    let mut command = hosts.command(program, arguments);
    command.stdin(file_of(stdin)).stdout(Stdio::piped());
    Call::spawn(command)
}

/// A server's address with a name in place of 127.0.0.1.
fn named(name: &str, address: &str) -> String {
    address.replace("127.0.0.1", name)
}

#[test]
fn localhost_is_where_the_server_is() {
    let server = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0"]).start();
    for address in server.addresses() {
        let arguments = [&*named("localhost", address)];
        let call = Call::echo(&arguments, file_of(b"hello\n"), Stdio::piped());
        assert_eq!(call.prints(), b"hello\n", "{address}");
    }
}

#[test]
fn echo_tries_every_address() {
    let Some(hosts) = hosts() else { return };
    let server = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0"]).start();
    for address in server.addresses() {
        let call = start(&hosts, &["echo", &named(NAME, address)], b"hello\n");
        assert_eq!(call.prints(), b"hello\n", "{address}");
    }
}

#[test]
fn send_tries_every_address() {
    let Some(hosts) = hosts() else { return };
    let (server, address) = udp_door();
    let call = start(&hosts, &["send", &named(NAME, &address)], b"one\n\nthree\n");
    assert_eq!(call.prints(), b"");
    for expected in [&b"one"[..], b"", b"three"] {
        let mut bytes = [0; 10];
        let count = server.recv(&mut bytes).expect("a datagram");
        assert_eq!(&bytes[..count], expected);
    }
    let door = Door::tcp();
    let call = start(&hosts, &["send", &named(NAME, door.address())], b"hello");
    expect_end(door.accept(), b"hello");
    assert_eq!(call.prints(), b"");
}

/// If no address answers, the client reports the reason of the last one.
#[test]
fn a_name_without_a_server_is_a_failure() {
    let Some(hosts) = hosts() else { return };
    let closed = ClosedDoor::new();
    let (_closed, udp) = closed_udp_door();
    for address in [format!("tcp://{}", closed.at()), udp] {
        let address = named(NAME, &address);
        for client in ["echo", "send"] {
            let call = start(&hosts, &[client, &address, "--retry", "0"], b"hello\n");
            call.fails(&format!("cannot reach {address}: Connection refused"));
        }
    }
}

/// A TCP port that does not answer: the backlog of its listener is full, so the kernel drops new
/// connections (listen(2)).
fn silent(at: impl ToSocketAddrs) -> io::Result<(TcpListener, TcpStream)> {
    let listener = TcpListener::bind(at)?;
    listen(&listener, Backlog::new(0).expect("a small number"))?;
    let filling = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener, filling))
}

/// A server on 127.0.0.1 whose port is silent on `[::1]`.
fn half_silent() -> (Server, (TcpListener, TcpStream)) {
    let pair = || {
        let server = Launch::echo().start();
        let silent = silent((Ipv6Addr::LOCALHOST, server.tcp().port())).ok()?;
        Some((server, silent))
    };
    iter::repeat_with(pair)
        .flatten()
        .next()
        .expect("a port that both families have free")
}

/// An address that does not answer delays a client by less than the timeout.
#[test]
fn a_silent_address_is_not_waited_for() {
    let Some(hosts) = hosts() else { return };
    let (server, _silent) = half_silent();
    let name = format!("{NAME}:{}", server.tcp().port());
    let start_of_all = Instant::now();
    let call = start(&hosts, &["echo", &name, "-v"], b"hello\n");
    let told = format!("connected to tcp://{name} ({})", server.tcp());
    let connected = call.stderr().wait_for(PATIENCE, |line| line == told);
    assert!(connected.is_some(), "{}", call.stderr().text());
    // The default timeout is 30 s.
    assert!(start_of_all.elapsed() < Duration::from_secs(20));
    let (code, _) = call.finish();
    assert_eq!(code, Some(0));

    let (code, told) = start(&hosts, &["talk", &name], b"hello\n").finish();
    assert_eq!(code, Some(0), "{told}");
    let words = ["load", &name, "-c", "2", "--duration", "100ms", "--json"];
    let (code, told) = start(&hosts, &words, b"").finish();
    assert_eq!(code, Some(0), "{told}");
}

/// The timeout bounds all attempts together.
#[test]
fn one_timeout_bounds_all_addresses() {
    const ADDRESSES: u8 = 40;
    let lines: Vec<_> = (1..=ADDRESSES)
        .map(|last| format!("127.0.0.{last} many.test"))
        .collect();
    let Some(hosts) = Hosts::new(&lines.join("\n")) else {
        return;
    };
    let (listener, _filling) = silent("0.0.0.0:0").expect("a listener");
    let port = listener.local_addr().expect("getsockname").port();
    let name = format!("tcp://many.test:{port}");
    let before = Instant::now();
    let call = start(&hosts, &["echo", &name, "--timeout", "1s"], b"hello");
    call.fails(&format!("cannot reach {name}: timed out"));
    let seconds = before.elapsed().as_secs();
    assert!(seconds < ADDRESSES.into(), "{seconds} s");
}

/// One of a server's addresses ignores datagrams silently.
#[test]
fn a_silent_address_is_left_for_the_next_over_udp_too() {
    let Some(hosts) = hosts() else { return };
    let server = Launch::new("echo", &["udp://127.0.0.1:0"]).start();
    let port = server.udp().port();
    // The socket is bound, and never read.
    let Ok(_silent) = UdpSocket::bind((Ipv6Addr::LOCALHOST, port)) else {
        return skip("the port is taken");
    };
    let name = format!("udp://{NAME}:{port}");
    let call = start(&hosts, &["echo", &name, "--timeout", "500ms"], b"hello\n");
    assert_eq!(call.prints(), b"hello\n");
}
