//! A slow link, between two network namespaces of the test's own.
//!
//! Over loopback the kernel buffers megabytes for a client that reads slowly, and no link is slow.
//! Here the server runs in one namespace. Clients reach it from another namespace over a link whose
//! speed `tc` limits, or from its own namespace at full speed.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::client::dial;

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
    /// A link on which the server can send at `rate` (as `tc` writes it: `2mbit`). `None`, and a
    /// line on stderr, if the machine forbids it or has no `ip` and `tc`: the test has to be left
    /// out then.
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
                eprintln!("TEST LEFT OUT: no shaped link can be made here: {failure}");
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

/// Runs a command: words with spaces between them, without quotes.
fn run(line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().expect("a program"))
        .args(words)
        .output()
        .map_err(|error| format!("{line}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
