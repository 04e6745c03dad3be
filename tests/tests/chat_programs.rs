//! `nc`, `ncat`, `socat`, `telnet` and `edgecall talk` can all be used to chat, in one room.

use std::process::Child;

use tests::PATIENCE;
use tests::chat::{Guest, chat};
use tests::foreign::callers;
use tests::process::wait_for_exit;
use tests::program::{Program, command, output_of};
use tests::server::Server;
use tests::terminal::Terminal;
use tests::until;

/// The real `telnet`, at a terminal.
struct Telnet {
    terminal: Terminal,
    child: Child,
    prompts: usize,
}

impl Telnet {
    fn start(server: &Server) -> Self {
        let terminal = Terminal::new();
        let (host, port) = (
            server.tcp().ip().to_string(),
            server.tcp().port().to_string(),
        );
        let child = command("telnet")
            .args([host, port])
            .stdin(terminal.line())
            .stdout(terminal.line())
            .stderr(terminal.line())
            .spawn()
            .expect("telnet starts");
        terminal.shows("Escape character is '^]'.");
        Self {
            terminal,
            child,
            prompts: 0,
        }
    }

    fn type_line(&mut self, line: &str) {
        self.terminal.type_in(&format!("{line}\n"));
    }

    fn shows(&self, line: &str) {
        // The terminal may show either line end.
        let lines = [format!("\n{line}\n"), format!("\n{line}\r\n")];
        until(line, || {
            let shown = self.terminal.shown();
            lines.iter().any(|line| shown.contains(line))
        });
    }

    /// Gives a command to telnet itself.
    fn command(&mut self, command: &str) {
        self.terminal.type_in("\x1d");
        self.prompts += 1;
        until("telnet asks for a command", || {
            self.terminal.shown().matches("telnet> ").count() == self.prompts
        });
        self.type_line(command);
    }

    fn ends(&mut self) {
        wait_for_exit(&mut self.child, PATIENCE).expect("telnet ends");
    }
}

impl Drop for Telnet {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `nc`, `ncat`, `socat` and `edgecall talk`, each with a name for its user.
fn commands(server: &Server) -> Vec<(&'static str, String)> {
    let address = &server.addresses()[0];
    let talk = format!("edgecall talk {address}");
    let commands = callers(address).into_iter().chain([talk]);
    ["nick", "nat", "sokrates", "edgar"]
        .into_iter()
        .zip(commands)
        .collect()
}

#[test]
fn all_in_one_room() {
    let server = chat(&[]).start();
    let mut programs: Vec<(&str, Program, String)> = Vec::new();
    for (name, command) in commands(&server) {
        let mut program = Program::line(&command);
        program.say(format!("{name}\n"));
        let present: Vec<&str> = programs.iter().map(|(name, ..)| *name).collect();
        let present = match present.is_empty() {
            true => "* The room is empty\n".to_owned(),
            false => format!("* The room contains: {}\n", present.join(", ")),
        };
        program.shows(&present);
        let expected = format!("Welcome! What is your name?\n{present}");
        others_hear(
            &mut programs,
            name,
            &format!("* {name} has entered the room\n"),
        );
        programs.push((name, program, expected));
    }
    let mut telnet = Telnet::start(&server);
    telnet.type_line("tess");
    telnet.shows("* The room contains: nick, nat, sokrates, edgar");
    others_hear(&mut programs, "tess", "* tess has entered the room\n");

    for speaker in 0..programs.len() {
        let (name, program, _) = &mut programs[speaker];
        let name = *name;
        program.say(format!("hello from {name}, na\u{ef}ve \u{4f60}\u{597d}\n"));
        let line = format!("[{name}] hello from {name}, na\u{ef}ve \u{4f60}\u{597d}");
        telnet.shows(&line);
        others_hear(&mut programs, name, &format!("{line}\n"));
    }
    // No member sees any of telnet's requests, offers and urgent data.
    for command in [
        "send ayt",
        "mode character",
        "mode line",
        "send synch",
        "send nop",
    ] {
        telnet.command(command);
        telnet.type_line(&format!("after {command}"));
        others_hear(&mut programs, "tess", &format!("[tess] after {command}\n"));
    }
    telnet.type_line("/quit see you");
    telnet.ends();
    others_hear(
        &mut programs,
        "tess",
        "* tess has left the room (see you)\n",
    );
    while !programs.is_empty() {
        let (name, program, expected) = programs.remove(0);
        assert_eq!(program.prints(), expected, "{name}");
        others_hear(
            &mut programs,
            name,
            &format!("* {name} has left the room\n"),
        );
    }
}

/// Waits until all other programs show this line, and adds it to their expected output.
fn others_hear(programs: &mut [(&str, Program, String)], name: &str, line: &str) {
    for (listener, program, expected) in programs {
        if *listener != name {
            program.shows(line);
            expected.push_str(line);
        }
    }
}

/// A member's input is a file, and its end is the end of the visit.
#[test]
fn from_a_pipe() {
    let server = chat(&[]).start();
    let mut host = Guest::join(server.tcp(), "host");
    for (name, command) in commands(&server) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let printed = output_of(&words, format!("{name}\none\ntwo, without an end"));
        assert_eq!(
            printed, "Welcome! What is your name?\n* The room contains: host\n",
            "{command}"
        );
        host.hears(&format!("* {name} has entered the room"));
        host.hears(&format!("[{name}] one"));
        host.hears(&format!("[{name}] two, without an end"));
        host.hears(&format!("* {name} has left the room"));
    }
}
