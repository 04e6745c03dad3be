//! A slow link, between two network namespaces of the test's own.
//!
//! Over loopback the kernel buffers megabytes for a client that reads slowly, and no link is slow.
//! Here the server runs in one namespace. Clients reach it from another namespace over a link whose
//! speed `tc` limits, or from its own namespace at full speed.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::client::dial;
use crate::skip;

/// The server's end of the link.
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Two namespaces with a link between them. Dropping the link deletes them.
#[derive(Debug)]
pub struct Link {
    /// The server's namespace.
    near: String,
    far: String,
}

impl Link {
    /// A link on which the server can send at `rate` (as `tc` writes it: `2mbit`). If the machine
    /// forbids it or has no `ip` and `tc`, the result is `None`, and the test is reported as skipped.
    #[must_use]
    pub fn shaped(rate: &str) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("edgeloop-{}-{number}", std::process::id());
        let link = Self {
            near: format!("{name}-near"),
            far: format!("{name}-far"),
        };
        match link.set_up(rate) {
            Ok(()) => Some(link),
            Err(failure) => {
                skip(&format!("no shaped link can be made here: {failure}"));
                None
            }
        }
    }

    fn set_up(&self, rate: &str) -> Result<(), String> {
        let Self { near, far } = self;
        let near_veth = format!("veth0 netns {near}");
        for line in [
            format!("ip netns add {near}"),
            format!("ip netns add {far}"),
            format!("ip link add {near_veth} type veth peer name veth0 netns {far}"),
            format!("ip -n {near} address add {SERVER}/24 dev veth0"),
            format!("ip -n {far} address add 192.0.2.2/24 dev veth0"),
            format!("ip -n {near} link set lo up"),
            format!("ip -n {near} link set veth0 up"),
            format!("ip -n {far} link set veth0 up"),
            format!(
                "tc -n {near} qdisc add dev veth0 root tbf rate {rate} burst 16kb latency 500ms"
            ),
        ] {
            run(&line)?;
        }
        Ok(())
    }

    /// Cuts the link: from now on, every packet on it is lost silently.
    pub fn cut(&self) {
        run(&format!("ip -n {} link set veth0 down", self.far)).expect("the link goes down");
    }

    /// Ends the cut.
    pub fn mend(&self) {
        run(&format!("ip -n {} link set veth0 up", self.far)).expect("the link goes up");
    }

    /// Makes the link lose packets in both directions, and carry small ones only: each end has a queue
    /// for a few packets of 576 bytes, and drops what does not fit.
    pub fn worsen(&self) {
        for namespace in [&self.near, &self.far] {
            for line in [
                format!("ip -n {namespace} link set veth0 mtu 576"),
                format!(
                    "tc -n {namespace} qdisc replace dev veth0 root tbf rate 8mbit burst 2kb limit 5kb"
                ),
            ] {
                run(&line).expect("a worse link");
            }
        }
    }

    /// Number of packets that the two ends of the link have dropped.
    #[must_use]
    pub fn dropped(&self) -> usize {
        let of = |namespace: &String| {
            let line = format!("tc -s -n {namespace} qdisc show dev veth0");
            let output = output(&line).expect("tc");
            let (_, rest) = output.split_once("(dropped ").expect("counters");
            let number = rest.split(',').next().unwrap_or_default();
            number.parse::<usize>().expect("a number")
        };
        of(&self.near) + of(&self.far)
    }

    /// Sends `count` requests for connections to a port of the server, each from an address on the far
    /// side that no host has, so that none is ever completed.
    pub fn flood(&self, port: u16, count: u32) {
        let path = format!("/run/netns/{}", self.far);
        let flood = move || {
            let namespace = File::open(&path).expect(&path);
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns");
            let (kind, protocol) = (SockType::Raw, SockProtocol::Raw);
            let raw = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, protocol);
            let raw = raw.expect("a raw socket");
            let to = SockaddrIn::from(SocketAddrV4::new(SERVER, port));
            for number in 0..count {
                let packet = request(number, port);
                // The link may be full for a moment.
                let _ = sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty());
            }
        };
        thread::spawn(flood).join().expect("a flood");
    }

    /// Drops the packets from the server, but not those to it.
    pub fn lose_answers(&self) {
        let route = format!("ip -n {} route add blackhole 192.0.2.2/32", self.near);
        run(&route).expect("a route");
    }

    /// The command that starts a server in the near namespace: see
    /// [`Launch::under`](crate::server::Launch).
    #[must_use]
    pub fn wrapper(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.near]
    }

    /// Connects over the link.
    #[must_use]
    pub fn dial_far(&self, port: u16) -> TcpStream {
        within(&self.far, (SERVER, port).into())
    }

    /// Connects from the server's own namespace, at full speed.
    #[must_use]
    pub fn dial_near(&self, port: u16) -> TcpStream {
        within(&self.near, (Ipv4Addr::LOCALHOST, port).into())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            // The command fails only if the namespace does not exist.
            let _ = run(&format!("ip netns del {namespace}"));
        }
    }
}

/// Connects in a namespace. `setns` moves only the calling thread, and the socket stays in the
/// namespace in which it was created.
fn within(namespace: &str, server: SocketAddr) -> TcpStream {
    let path = format!("/run/netns/{namespace}");
    let connect = move || {
        let namespace = File::open(&path).expect(&path);
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns");
        dial(server)
    };
    thread::spawn(connect).join().expect("a connection")
}

/// A SYN segment in an IPv4 packet (RFC 9293, RFC 791) from one of 200 addresses, none of which a host
/// has.
fn request(number: u32, port: u16) -> [u8; 40] {
    let source = Ipv4Addr::new(192, 0, 2, 50 + (number % 200) as u8).octets();
    let target = SERVER.octets();
    let mut packet = [0; 40];
    let (ip, tcp) = packet.split_at_mut(20);
    // Version and length of the header, total length, time to live, protocol; the kernel adds the
    // checksum (raw(7)).
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&40_u16.to_be_bytes());
    (ip[8], ip[9]) = (64, 6);
    ip[12..16].copy_from_slice(&source);
    ip[16..20].copy_from_slice(&target);
    tcp[0..2].copy_from_slice(&(1024 + (number / 200) as u16).to_be_bytes());
    tcp[2..4].copy_from_slice(&port.to_be_bytes());
    tcp[4..8].copy_from_slice(&number.to_be_bytes());
    // Length of the header, SYN, and the window.
    (tcp[12], tcp[13]) = (0x50, 0x02);
    tcp[14..16].copy_from_slice(&65_535_u16.to_be_bytes());
    // The sum over the segment and a pseudo-header: addresses, protocol, length.
    let mut words: Vec<u8> = [source, target].concat();
    words.extend([0, 6, 0, 20]);
    words.extend_from_slice(tcp);
    let words = words.as_chunks::<2>().0.iter();
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Runs a command: words with spaces between them, without quotes.
fn run(line: &str) -> Result<(), String> {
    output(line).map(drop)
}

/// Runs a command, and returns what it prints.
fn output(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().expect("a program"))
        .args(words)
        .output()
        .map_err(|error| format!("{line}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
