//! Rung 7: a chat for `nc`. A client's first line is its name, and each later line goes to all others.
//! This rung adds: connections that speak to each other. Half a line waits in its member for the rest;
//! output for a slow reader waits in the reactor, up to a limit (16 MiB) that ends that member alone.
//! Still missing: rooms, a pace for those who flood, a log; the chat of `servers/` has them. Try it with
//! `cargo run -p edgeloop-reactor --example chat`, and in two more terminals `nc 127.0.0.1 9876`.

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Limits};
use edgeloop_reactor::{Opened, Outbox, Protocol, Reactor};

const LINE_LIMIT: usize = 1000; // In bytes. The rest of a longer line is dropped.

#[derive(Default)]
struct Member {
    name: String, // Empty until the first line has come.
    line: Vec<u8>,
}
struct Chat(ConnMap<Member>);

impl Chat {
    fn on_line(&mut self, id: ConnId, line: &str, out: &mut Outbox) {
        let taken = self.0.iter().any(|(_, member)| member.name == line);
        match self.0.get_mut(id).map(|member| &mut member.name) {
            Some(name) if !name.is_empty() => {
                let said = format!("{name}: {line}\n");
                self.tell_all_but(Some(id), &said, out);
            }
            Some(name) if !taken && line.len() <= 16 && line.chars().all(char::is_alphanumeric) => {
                line.clone_into(name);
                self.tell_all_but(None, &format!("* {line} has joined\n"), out);
            }
            _ => out.send(id, b"That is taken, or not 1 to 16 letters. Your name?\n"),
        }
    }

    fn tell_all_but(&self, writer: Option<ConnId>, text: &str, out: &mut Outbox) {
        let named = self.0.iter().filter(|(_, member)| !member.name.is_empty());
        let to = named.map(|(id, _)| id).filter(|id| Some(*id) != writer);
        out.broadcast(to, text.as_bytes());
    }
}

impl Protocol for Chat {
    fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
        self.0.insert(id, Member::default());
        out.send(id, b"Your name?\n");
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        for byte in data.iter().copied() {
            match self.0.get_mut(id).map(|member| &mut member.line) {
                Some(line) if byte == b'\n' => {
                    // A control character could do anything to another member's terminal.
                    let text = String::from_utf8_lossy(line).replace(char::is_control, "");
                    *line = Vec::new();
                    self.on_line(id, &text, out);
                }
                Some(line) if line.len() < LINE_LIMIT => line.push(byte),
                _ => {}
            }
        }
    }

    fn on_close(&mut self, id: ConnId, _: Closed, out: &mut Outbox) {
        if let Some(gone) = self.0.remove(id).filter(|gone| !gone.name.is_empty()) {
            self.tell_all_but(None, &format!("* {} has left\n", gone.name), out);
        }
    }

    /// Others fill this member's queue: to read less from it, as by default, would not help.
    fn on_high_water(&mut self, _: ConnId, _: &mut Outbox) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9876".into());
    let mut reactor = Reactor::new(Chat(ConnMap::new()), Limits::default())?;
    reactor.handle_signals()?;
    let bound = reactor.listen_on(&address, 0)?;
    eprintln!("listening on {}", bound[0]);
    Ok(reactor.run()?)
}
