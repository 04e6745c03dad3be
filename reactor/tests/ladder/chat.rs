//! The chat is no echo server, and has its own tests: several clients, each a real socket.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::{Server, reset};

struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects, and is asked for a name.
    fn new(server: &Server) -> Self {
        let socket = server.connect();
        socket.set_nodelay(true).unwrap();
        let mut client = Client(BufReader::new(socket));
        client.hears("Your name?");
        client
    }

    /// Connects, and is a member.
    fn named(server: &Server, name: &str) -> Self {
        let mut client = Client::new(server);
        client.sends(&format!("{name}\n"));
        client.hears(&format!("* {name} has joined"));
        client
    }

    fn sends(&mut self, bytes: &str) {
        self.0.get_ref().write_all(bytes.as_bytes()).unwrap();
    }

    /// The next line is this one.
    fn hears(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let end = line.strip_suffix('\n');
        end.expect("a whole line").to_owned()
    }
}

#[test]
fn lines_go_to_all_others_whatever_packets_they_come_in() {
    let server = Server::start("chat");
    let mut ann = Client::named(&server, "ann");
    let mut bob = Client::new(&server);
    let mut cy = Client::new(&server);

    bob.sends("b");
    let refusal = "That is taken, or not 1 to 16 letters. Your name?";
    for name in ["ann", "", "c y", "abcdefghijklmnopq"] {
        // The answer shows that the server has seen bob's half of a name, too.
        cy.sends(&format!("{name}\n"));
        cy.hears(refusal);
    }
    bob.sends("ob\r\none\ntwo\nthr");
    bob.hears("* bob has joined");
    for line in ["* bob has joined", "bob: one", "bob: two"] {
        ann.hears(line);
    }
    ann.sends("and?\n");
    bob.hears("ann: and?");
    bob.sends("ee\n");
    ann.hears("bob: three");

    // A client without a name has heard nothing of this.
    cy.sends("cy\n");
    cy.hears("* cy has joined");
    ann.sends("\x1b[2Jah\u{e9}\n");
    cy.hears("ann: [2Jah\u{e9}");
    bob.hears("* cy has joined");
    bob.hears("ann: [2Jah\u{e9}");
}

#[test]
fn a_long_line_is_cut_and_the_next_one_is_not() {
    let server = Server::start("chat");
    let mut ann = Client::named(&server, "ann");
    let mut bob = Client::named(&server, "bob");
    ann.hears("* bob has joined");
    ann.sends(&"x".repeat(200_000));
    ann.sends("\nshort\n");
    bob.hears(&format!("ann: {}", "x".repeat(1000)));
    bob.hears("ann: short");
}

#[test]
fn a_member_that_leaves_in_the_middle_of_a_line_does_not_say_it() {
    let server = Server::start("chat");
    let mut ann = Client::named(&server, "ann");
    let mut bob = Client::named(&server, "bob");
    let mut nameless = Client::new(&server);
    ann.hears("* bob has joined");
    nameless.sends("nob");
    drop(nameless);
    bob.sends("said\nnot said");
    bob.0.get_ref().shutdown(Shutdown::Write).unwrap();
    ann.hears("bob: said");
    ann.hears("* bob has left");
    assert_eq!(bob.0.read_line(&mut String::new()).unwrap(), 0, "is ended");

    // The name is free again.
    let mut bob = Client::named(&server, "bob");
    ann.hears("* bob has joined");
    bob.sends("said\nnot said");
    ann.hears("bob: said");
    reset(bob.0.into_inner());
    ann.hears("* bob has left");
}

/// One member never reads. The others hear each line at once, until there is too much for the one.
#[test]
fn a_slow_reader_harms_no_other_member_and_is_ended() {
    const LINES_AT_ONCE: usize = 64;
    const TOO_MANY_LINES: usize = 256 * 1024;
    let server = Server::start("chat");
    let mut ann = Client::named(&server, "ann");
    let mut bob = Client::named(&server, "bob");
    let _slow = Client::named(&server, "slow");
    ann.hears("* bob has joined");
    ann.hears("* slow has joined");
    bob.hears("* slow has joined");
    let (heard, lines_heard) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut count, mut line) = (0, bob.line());
            while line != "ann: end" {
                if line != "* slow has left" {
                    assert_eq!(line, long_line("ann: ", count));
                    count += 1;
                    heard.send(()).unwrap();
                }
                line = bob.line();
            }
        });
        let mut count = 0;
        while !has_heard(&mut ann, "* slow has left") {
            assert!(count < TOO_MANY_LINES, "waits for the slow one without end");
            let lines = (count..count + LINES_AT_ONCE).map(|count| long_line("", count) + "\n");
            ann.sends(&lines.collect::<String>());
            count += LINES_AT_ONCE;
            // At bob's pace, who reads.
            for _ in 0..LINES_AT_ONCE {
                let in_time = lines_heard.recv_timeout(super::PATIENCE);
                in_time.expect("bob hears it while the slow member does not read");
            }
        }
        ann.sends("end\n");
    });
}

fn long_line(prefix: &str, count: usize) -> String {
    format!("{prefix}{count:0900}")
}

/// Whether a line has come, which can only be this one.
fn has_heard(client: &mut Client, line: &str) -> bool {
    client.0.get_ref().set_nonblocking(true).unwrap();
    let heard = match client.0.fill_buf() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        bytes => !bytes.unwrap().is_empty(),
    };
    client.0.get_ref().set_nonblocking(false).unwrap();
    if heard {
        client.hears(line);
    }
    heard
}
