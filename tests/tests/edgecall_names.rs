//! `edgecall` and names that stand for several addresses, at the last of which the server is.

use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use tests::call::{Call, file_of};
use tests::client::expect_end;
use tests::door::{ClosedDoor, Door, closed_udp_door, udp_door};
use tests::server::{Launch, edgecall};

/// A name with an address of each family, of which the resolver puts the IPv6 one first.
const NAME: &str = "both.test";

/// A table of host names that is ours alone, as far as the kernel lets us have one (user and mount
/// namespaces, unshare(1)).
struct Hosts(NamedTempFile);

impl Hosts {
    /// `None` where it is not possible.
    fn new() -> Option<Self> {
        let mut file = NamedTempFile::new().expect("a temporary file");
        writeln!(file, "::1 {NAME}\n127.0.0.1 {NAME}").expect("a temporary file");
        let hosts = Self(file);
        let status = hosts.under("true", &[]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then_some(hosts)
    }

    /// A program that knows these names and no others.
    fn under(&self, program: &str, arguments: &[&str]) -> Command {
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(self.0.path()).arg(program).args(arguments);
        command
    }

    fn call(&self, arguments: &[&str], stdin: &[u8]) -> Call {
        let program = edgecall().to_str().expect("a path in UTF-8");
        let mut command = self.under(program, arguments);
        command.stdin(file_of(stdin)).stdout(Stdio::piped());
        Call::spawn(command)
    }
}

/// The address of this server, with a name for its number.
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
    let Some(hosts) = Hosts::new() else { return };
    let server = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0"]).start();
    for address in server.addresses() {
        let call = hosts.call(&["echo", &named(NAME, address)], b"hello\n");
        assert_eq!(call.prints(), b"hello\n", "{address}");
    }
}

#[test]
fn send_tries_every_address() {
    let Some(hosts) = Hosts::new() else { return };
    let (server, address) = udp_door();
    let call = hosts.call(&["send", &named(NAME, &address)], b"one\n\nthree\n");
    assert_eq!(call.prints(), b"");
    for expected in [&b"one"[..], b"", b"three"] {
        let mut bytes = [0; 10];
        let count = server.recv(&mut bytes).expect("a datagram");
        assert_eq!(&bytes[..count], expected);
    }
    let door = Door::tcp();
    let call = hosts.call(&["send", &named(NAME, door.address())], b"hello");
    expect_end(door.accept(), b"hello");
    assert_eq!(call.prints(), b"");
}

/// Of all addresses that do not answer, the last one's reason is told.
#[test]
fn nobody_at_any_address_is_a_failure() {
    let Some(hosts) = Hosts::new() else { return };
    let closed = ClosedDoor::new();
    let (_closed, udp) = closed_udp_door();
    for address in [format!("tcp://{}", closed.at()), udp] {
        let address = named(NAME, &address);
        for client in ["echo", "send"] {
            let call = hosts.call(&[client, &address, "--retry", "0"], b"hello\n");
            call.fails(&format!("cannot reach {address}: Connection refused"));
        }
    }
}
