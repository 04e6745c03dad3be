//! Recipe: several protocols in one reactor. What tells them apart is the tag that each listener was
//! given: it comes back with each connection and each datagram.
//!
//! [`Protocol`] can be a trait object, so a switch, itself a protocol, holds any number of them and
//! passes each call on to the one that it is meant for. Calls that name no connection and no tag go
//! to all. The protocol's own timer is one for the whole reactor: of the protocols behind a switch,
//! no more than one can use it. Timers of connections are not affected, but for a connect that is not
//! open yet: its timer has no tag here, and is not passed on.
//!
//! ```sh
//! cargo run -p edgeloop-reactor --example several_protocols 127.0.0.1:9876 127.0.0.1:9877
//! nc -N 127.0.0.1 9876 < README.md     # echo, over TCP and UDP
//! nc 127.0.0.1 9877                    # how long the server has been there
//! ```

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Datagram, Limits};
use edgeloop_reactor::{Opened, Outbox, Protocol, Reactor};

struct Switch {
    /// A tag is a place in this list.
    protocols: Vec<Box<dyn Protocol>>,
    tags: ConnMap<u64>,
}

impl Switch {
    fn new(protocols: Vec<Box<dyn Protocol>>) -> Switch {
        let tags = ConnMap::new();
        Switch { protocols, tags }
    }

    fn tagged(&mut self, tag: u64) -> Option<&mut Box<dyn Protocol>> {
        self.protocols.get_mut(tag as usize)
    }

    fn of(&mut self, id: ConnId) -> Option<&mut Box<dyn Protocol>> {
        let tag = *self.tags.get(id)?;
        self.tagged(tag)
    }
}

#[warn(
    clippy::missing_trait_methods,
    reason = "a callback that is left out here would not reach its protocol"
)]
impl Protocol for Switch {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        self.tags.insert(id, opened.tag);
        if let Some(protocol) = self.of(id) {
            protocol.on_open(id, opened, out);
        }
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        if let Some(protocol) = self.of(id) {
            protocol.on_data(id, data, out);
        }
    }

    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(protocol) = self.of(id) {
            protocol.on_eof(id, out);
        }
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if let Some(protocol) = self.of(id) {
            protocol.on_close(id, why, out);
        }
        self.tags.remove(id);
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(protocol) = self.of(id) {
            protocol.on_timer(id, out);
        }
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(protocol) = self.of(id) {
            protocol.on_high_water(id, out);
        }
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(protocol) = self.of(id) {
            protocol.on_low_water(id, out);
        }
    }

    fn on_again(&mut self, id: ConnId, out: &mut Outbox) {
        if let Some(protocol) = self.of(id) {
            protocol.on_again(id, out);
        }
    }

    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, out: &mut Outbox) {
        if let Some(protocol) = self.tagged(tag) {
            protocol.on_connect_error(id, tag, why, out);
        }
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        if let Some(protocol) = self.tagged(datagram.tag) {
            protocol.on_datagram(datagram, out);
        }
    }

    fn on_unsent(&mut self, tag: u64, datagram: Vec<u8>, out: &mut Outbox) {
        if let Some(protocol) = self.tagged(tag) {
            protocol.on_unsent(tag, datagram, out);
        }
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        for protocol in &mut self.protocols {
            protocol.on_service_timer(out);
        }
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        for protocol in &mut self.protocols {
            protocol.on_wake(out);
        }
    }

    fn on_reload(&mut self, out: &mut Outbox) {
        for protocol in &mut self.protocols {
            protocol.on_reload(out);
        }
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        for protocol in &mut self.protocols {
            protocol.on_stop(out);
        }
    }
}

struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, _: ConnId, data: Data<'_>, out: &mut Outbox) {
        out.send_back(data);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        out.send_back(datagram.data);
    }
}

/// Says how long the reactor has been there, and ends the connection.
struct Uptime;

impl Protocol for Uptime {
    fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
        out.send(id, format!("up for {} s\n", out.now().as_secs()).as_bytes());
        out.finish(id);
    }

    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let echo = arguments.next().unwrap_or("127.0.0.1:9876".into());
    let uptime = arguments.next().unwrap_or("127.0.0.1:9877".into());
    let protocols: Vec<Box<dyn Protocol>> = vec![Box::new(Echo), Box::new(Uptime)];
    let mut reactor = Reactor::new(Switch::new(protocols), Limits::default())?;
    reactor.handle_signals()?;
    let udp = format!("udp://{echo}");
    for (address, tag) in [(&echo, 0), (&udp, 0), (&uptime, 1)] {
        let bound = reactor.listen_on(address, tag)?;
        eprintln!("listening on {}", bound[0]);
    }
    Ok(reactor.run()?)
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Peer, Script};

    use super::*;

    #[test]
    fn each_connection_is_served_by_the_protocol_of_its_listener() {
        let mut script = Script::new(Switch::new(vec![Box::new(Echo), Box::new(Uptime)]));
        let [echo, uptime, neither] = [0, 1, 2].map(|tag| {
            let peer = Peer::Inet(([127, 0, 0, 1], 5000).into());
            script.open_as(Opened::new(peer, tag))
        });
        for id in [echo, uptime, neither] {
            script.data(id, b"hello");
        }
        assert_eq!(script.take_output(echo), b"hello");
        assert_eq!(script.take_output(uptime), b"up for 0 s\n");
        assert_eq!(script.take_output(neither), b"");
        assert_eq!(script.closed(uptime), Some(Closed::Finished));
        let sender = ([127, 0, 0, 1], 5000).into();
        script.datagram(sender, b"datagram");
        assert_eq!(script.take_datagrams(), [(sender, b"datagram".to_vec())]);
    }
}
