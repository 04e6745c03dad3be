//! Third-party programs in the place of ours: `nc`, `ncat`, `socat`, `telnet`.
//!
//! Each is a command for [`Program::line`]. Listeners are given port 0; [`sockets`](crate::sockets)
//! finds the port that they got.

use std::path::Path;

use crate::program::Program;
use crate::sockets::{is_listening_at, where_it_listens, where_it_receives};
use crate::until;

/// Number of programs that can take a client's place.
pub const CALLERS: usize = 3;

/// Commands that connect to a server and join the connection with stdin and stdout. At the end of
/// their input they half-close the connection and wait until the server closes its half.
#[must_use]
pub fn callers(address: &str) -> [String; CALLERS] {
    if let Some(path) = address.strip_prefix("unix:") {
        return [
            format!("nc -N -U {path}"),
            format!("ncat -U {path}"),
            format!("socat -t 30 - UNIX-CONNECT:{path}"),
        ];
    }
    let (scheme, at) = address.split_once("://").unwrap_or(("tcp", address));
    let (host, port) = at.rsplit_once(':').expect("HOST:PORT");
    match scheme {
        // UDP has no end of a connection: the test has to kill these.
        "udp" => [
            format!("nc -u {host} {port}"),
            format!("ncat -u {host} {port}"),
            format!("socat - UDP:{at}"),
        ],
        _ => [
            format!("nc -N {host} {port}"),
            format!("ncat {host} {port}"),
            format!("socat -t 30 - TCP:{at}"),
        ],
    }
}

/// `telnet`. It adds lines of its own, and closes the connection at the end of its input.
#[must_use]
pub fn telnet(at: std::net::SocketAddr) -> Program {
    let telnet = Program::line(&format!("telnet {} {}", at.ip(), at.port()));
    telnet.shows("Escape character is");
    telnet
}

/// Servers for one TCP client, joined with stdin and stdout; each with its address.
pub fn tcp_listeners() -> impl Iterator<Item = (Program, String)> {
    [
        "nc -N -l 127.0.0.1 0",
        "ncat -l 127.0.0.1 0",
        "socat -t 30 TCP-LISTEN:0,bind=127.0.0.1 -",
    ]
    .into_iter()
    .map(tcp_server)
}

/// Echo servers for any number of TCP clients.
pub fn tcp_echoes() -> impl Iterator<Item = (Program, String)> {
    [
        "ncat -l 127.0.0.1 0 --keep-open --exec /bin/cat",
        "socat -t 30 TCP-LISTEN:0,bind=127.0.0.1,fork EXEC:cat",
    ]
    .into_iter()
    .map(tcp_server)
}

/// Starts a server, waits until it listens, and returns it with its address.
#[must_use]
pub fn tcp_server(line: &str) -> (Program, String) {
    let server = Program::line(line);
    let at = where_it_listens(server.pid());
    (server, format!("tcp://{at}"))
}

/// Programs that print the datagrams of one sender, each with its address.
pub fn udp_receivers() -> impl Iterator<Item = (Program, String)> {
    [
        "nc -u -l 127.0.0.1 0",
        "ncat -u -l 127.0.0.1 0",
        "socat -u UDP-RECV:0,bind=127.0.0.1 -",
    ]
    .into_iter()
    .map(udp_server)
}

/// UDP echo servers.
pub fn udp_echoes() -> impl Iterator<Item = (Program, String)> {
    [
        "ncat -u -l 127.0.0.1 0 --exec /bin/cat",
        "socat UDP-RECVFROM:0,bind=127.0.0.1,fork EXEC:cat",
    ]
    .into_iter()
    .map(udp_server)
}

fn udp_server(line: &str) -> (Program, String) {
    let server = Program::line(line);
    let at = where_it_receives(server.pid());
    (server, format!("udp://{at}"))
}

/// Servers for one client on a Unix socket, which they create in `directory`.
pub fn unix_listeners(directory: &Path) -> impl Iterator<Item = (Program, String)> {
    let directory = directory.display().to_string();
    ["nc -N -l -U", "ncat -l -U", "socat -t 30 -"]
        .into_iter()
        .enumerate()
        .map(move |(number, line)| {
            let path = format!("{directory}/{number}.sock");
            let prefix = match line.starts_with("socat") {
                true => "UNIX-LISTEN:",
                false => "",
            };
            let server = Program::line(&format!("{line} {prefix}{path}"));
            until("the program listens", || is_listening_at(Path::new(&path)));
            (server, format!("unix:{path}"))
        })
}
