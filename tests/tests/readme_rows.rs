//! The README's table of the notes' programs: each of its command lines works as printed, except
//! that the test replaces the ports.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use tests::program::{Program, needs};
use tests::server::edgecall;

/// A row of the table.
struct Row {
    number: usize,
    server: String,
    client: String,
}

/// The stdout of each row's server, and of its client.
const EXPECTED: [(&str, &str); 15] = [
    ("client 0: hello\n", ""),
    ("client 0: hello\n", ""),
    (": hello world\n", ""),
    ("", "hello\n"),
    ("client 0: hello\n", ""),
    ("", "hello\n"),
    ("hello\n", "welcome\n"),
    ("", "again\n"),
    ("", "hello\n"),
    ("", "hello\n"),
    ("", "hello\n"),
    ("hello\n", "welcome\n"),
    ("", "HELLO\n"),
    ("", "HELLO\n"),
    ("", "hello\n"),
];

fn rows() -> Vec<Row> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("README.md");
    let (_, section) = readme
        .split_once("## The notes, row by row\n")
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    section.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    // A bar within a cell is escaped with a backslash.
    let line = line.replace("\\|", "\u{1}");
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let number = cells.get(1)?.parse().ok()?;
    let code = |cell: &str| cell.trim_matches('`').replace('\u{1}', "|");
    Some(Row {
        number,
        server: code(cells[3]),
        client: code(cells[4]),
    })
}

/// A port that is free for TCP and for UDP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The command line with its port, the only number of four digits, replaced.
fn with_port(line: &str, port: u16) -> String {
    let old = ["5678", "6666", "8888", "9876"];
    let old: Vec<&str> = old.into_iter().filter(|old| line.contains(old)).collect();
    assert_eq!(old.len(), 1, "one port in {line:?}");
    line.replace(old[0], &port.to_string())
}

/// Runs a client's line in a shell that finds our programs first, and returns its stdout.
fn run_client(line: &str) -> String {
    let directory = edgecall().parent().expect("a directory");
    let path = std::env::var("PATH").expect("PATH");
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", directory.display()))
        .output()
        .expect("sh");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Starts a server and waits until it listens on each of its addresses, which differ only in the
/// scheme.
fn start_server(line: &str, port: u16) -> Program {
    let server = Program::line(line);
    let addresses = line.matches(&port.to_string()).count();
    let listens = |log: &[u8]| {
        let log = String::from_utf8_lossy(log);
        log.matches("listening on ").count() == addresses
    };
    assert!(server.stderr().wait_until(listens), "{line}: {server:?}");
    server
}

#[test]
fn every_row_does_what_it_says() {
    needs("nc");
    let rows = rows();
    let numbers: Vec<usize> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
    for (row, (printed, answered)) in rows.iter().zip(EXPECTED) {
        let port = free_port();
        let (server_line, client_line) =
            (with_port(&row.server, port), with_port(&row.client, port));
        let mut server = start_server(&server_line, port);
        if row.server.contains("talk") {
            server.say("welcome\n");
            server.end_input();
        }
        assert_eq!(run_client(&client_line), answered, "row {}", row.number);
        server.shows(printed);
        if row.number == 8 {
            server.signal(Signal::SIGTERM);
            assert_eq!(server.wait().code, Some(0));
            server = start_server(&server_line, port);
            assert_eq!(run_client(&client_line), answered);
        }
        if !row.server.contains("--once") {
            server.signal(Signal::SIGTERM);
        }
        assert_eq!(server.wait().code, Some(0), "row {}", row.number);
    }
}
