//! Other people's programs that do what ours do: `nc`, `ncat`, `socat`, `telnet`.
//!
//! Each is a command for [`Program::line`]. Listeners are given port 0 and asked afterwards, by
//! [`sockets`](crate::sockets), where they are.

use std::path::Path;

use crate::program::Program;
use crate::sockets::{is_listening_at, where_it_listens, where_it_receives};
use crate::until;

/// How many programs there are that can take a client's place.
pub const CALLERS: usize = 3;

/// Commands that call a server, joining it with standard input and output. At the end of their
/// input they end their half of the connection, and wait for the server's.
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
        // Nothing ends a conversation by datagrams: these have to be killed.
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

/// `telnet`, which adds lines of its own, and hangs up at the end of its input.
#[must_use]
pub fn telnet(at: std::net::SocketAddr) -> Program {
    let telnet = Program::line(&format!("telnet {} {}", at.ip(), at.port()));
    telnet.shows("Escape character is");
    telnet
}

/// Servers for one TCP client, joined with standard input and output; each with its address.
pub fn tcp_listeners() -> impl Iterator<Item = (Program, String)> {
    [
        "nc -N -l 127.0.0.1 0",
        "ncat -l 127.0.0.1 0",
        "socat -t 30 TCP-LISTEN:0,bind=127.0.0.1 -",
    ]
    .into_iter()
    .map(tcp_server)
}

/// Servers that echo whatever any number of TCP clients send.
pub fn tcp_echoes() -> impl Iterator<Item = (Program, String)> {
    [
        "ncat -l 127.0.0.1 0 --keep-open --exec /bin/cat",
        "socat -t 30 TCP-LISTEN:0,bind=127.0.0.1,fork EXEC:cat",
    ]
    .into_iter()
    .map(tcp_server)
}

/// Starts a server and waits until it listens.
#[must_use]
pub fn tcp_server(line: &str) -> (Program, String) {
    let server = Program::line(line);
    let at = where_it_listens(server.pid());
    (server, format!("tcp://{at}"))
}

/// Programs that print the datagrams of one sender.
pub fn udp_receivers() -> impl Iterator<Item = (Program, String)> {
    [
        "nc -u -l 127.0.0.1 0",
        "ncat -u -l 127.0.0.1 0",
        "socat -u UDP-RECV:0,bind=127.0.0.1 -",
    ]
    .into_iter()
    .map(udp_server)
}

/// Servers that send datagrams back.
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

/// Servers for one client at a Unix socket, which they make in `directory`.
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
