//! The front of every server: a protocol around the server's own that logs each connection and
//! implements `--once`.

use edgeloop_reactor::{Closed, ConnId, ConnMap, Data, Datagram, Opened, Outbox, Peer, Protocol};
use log::{Level, log_enabled};

use crate::logging;
use crate::orders::{Order, Orders};
use crate::server::{CLIENT, Server, WEB, forward};

/// A protocol, and its front.
pub(crate) struct Front<P> {
    protocol: P,
    /// Serve one connection or one datagram, and end.
    once: bool,
    /// The one connection that is served.
    client: Option<ConnId>,
    /// The one datagram was served. Further ones, fetched by the same call, are dropped.
    served: bool,
    is_stopping: bool,
    /// The peers of open connections, for the log; empty if connections are not logged.
    peers: ConnMap<Peer>,
    /// Signals that another thread has taken, for the servers of several reactors.
    orders: Option<Orders>,
}

impl<P> Front<P> {
    pub(crate) fn new(protocol: P, once: bool) -> Self {
        Front {
            protocol,
            once,
            client: None,
            served: false,
            is_stopping: false,
            peers: ConnMap::new(),
            orders: None,
        }
    }

    /// From here on this server obeys these orders whenever it is woken.
    pub(crate) fn obey(&mut self, orders: Orders) {
        self.orders = Some(orders);
    }

    pub(crate) fn protocol(&self) -> &P {
        &self.protocol
    }

    /// Whether a stop has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    pub(crate) fn protocol_mut(&mut self) -> &mut P {
        &mut self.protocol
    }

    fn greet(&mut self, id: ConnId, peer: Peer, out: &mut Outbox) {
        if log_enabled!(Level::Debug) {
            log::debug!("connection {id:?} from {peer}");
            self.peers.insert(id, peer);
        }
        if self.once {
            self.client = Some(id);
            out.stop_listening();
        }
    }
}

#[deny(
    clippy::missing_trait_methods,
    reason = "a callback that is left out here would not reach the protocol"
)]
impl<P: Server> Protocol for Front<P> {
    forward! {
        on_data(id: ConnId, data: Data<'_>);
        on_eof(id: ConnId);
        on_again(id: ConnId);
        on_timer(id: ConnId);
        on_service_timer();
        on_connect_error(id: ConnId, tag: u64, why: Closed);
        on_unsent(tag: u64, datagram: Vec<u8>);
    }

    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if matches!(opened.tag, CLIENT | WEB) {
            self.greet(id, opened.peer, out);
        }
        self.protocol.on_open(id, opened, out);
    }

    fn on_close(&mut self, id: ConnId, why: Closed, out: &mut Outbox) {
        if let Some(peer) = self.peers.remove(id) {
            log::debug!("connection {id:?} from {peer} closed: {why}");
        }
        self.protocol.on_close(id, why, out);
        if self.client == Some(id) {
            self.protocol.on_served(out);
        }
    }

    fn on_high_water(&mut self, id: ConnId, out: &mut Outbox) {
        log::trace!("connection {id:?}: the peer is slow, its input is paused");
        self.protocol.on_high_water(id, out);
    }

    fn on_low_water(&mut self, id: ConnId, out: &mut Outbox) {
        log::trace!("connection {id:?}: the peer has caught up");
        self.protocol.on_low_water(id, out);
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox) {
        log::trace!(
            "datagram from {}: {} bytes",
            datagram.from,
            datagram.data.len()
        );
        if self.served {
            return;
        }
        self.protocol.on_datagram(datagram, out);
        if self.once {
            self.served = true;
            out.stop_listening();
            self.protocol.on_served(out);
        }
    }

    fn on_stop(&mut self, out: &mut Outbox) {
        self.is_stopping = true;
        self.protocol.on_stop(out);
    }

    fn on_wake(&mut self, out: &mut Outbox) {
        for order in self.orders.iter_mut().flat_map(Orders::take) {
            match order {
                Order::Reload => self.protocol.on_reload(out),
                Order::Redraw => self.protocol.on_redraw(out),
            }
        }
        self.protocol.on_wake(out);
    }

    fn on_reload(&mut self, out: &mut Outbox) {
        logging::reload(self.protocol.reloads());
        self.protocol.on_reload(out);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use edgeloop_reactor::Script;

    use super::*;
    use crate::echo::Echo;

    #[test]
    fn once_serves_one_connection() {
        let mut script = Script::new(Front::new(
            Echo {
                answers_low_ports: false,
            },
            true,
        ));
        assert!(script.is_listening());
        let client = script.open();
        assert!(!script.is_listening());
        script.data(client, b"x");
        assert_eq!(script.take_output(client), b"x");
        script.eof(client);
        assert_eq!(script.closed(client), Some(Closed::Eof));
    }

    /// A server that counts what it is told.
    #[derive(Default)]
    struct Told {
        reloads: usize,
        redraws: usize,
        wakes: usize,
    }

    impl Protocol for Told {
        fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}

        fn on_reload(&mut self, _: &mut Outbox) {
            self.reloads += 1;
        }

        fn on_wake(&mut self, _: &mut Outbox) {
            self.wakes += 1;
        }
    }

    impl Server for Told {
        fn on_redraw(&mut self, _: &mut Outbox) {
            self.redraws += 1;
        }
    }

    #[test]
    fn each_server_obeys_an_order_once() {
        let orders = Orders::default();
        assert!(!orders.are_given());
        let mut scripts = [(); 2].map(|()| Script::new(Front::new(Told::default(), false)));
        let told = |script: &Script<Front<Told>>| {
            let told = script.protocol().protocol();
            (told.reloads, told.redraws, told.wakes)
        };
        for script in &mut scripts {
            script.call(|front, _| front.obey(orders.clone()));
            script.wake();
            assert_eq!(told(script), (0, 0, 1));
        }
        orders.give(Order::Reload);
        orders.give(Order::Reload);
        assert!(orders.are_given());
        scripts[0].wake();
        orders.give(Order::Redraw);
        for script in &mut scripts {
            script.wake();
            script.wake();
        }
        assert_eq!(told(&scripts[0]), (1, 1, 4));
        assert_eq!(told(&scripts[1]), (1, 1, 3));
    }

    #[test]
    fn once_answers_one_datagram() {
        let mut script = Script::new(Front::new(
            Echo {
                answers_low_ports: false,
            },
            true,
        ));
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        script.datagram(from, b"x");
        script.datagram(from, b"fetched by the same call");
        assert_eq!(script.take_datagrams(), [(from, b"x".to_vec())]);
        assert!(!script.is_listening());
    }
}
