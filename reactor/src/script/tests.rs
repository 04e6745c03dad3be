use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::core::limits::Limits;
use crate::id::{ConnId, Data};
use crate::outbox::Outbox;
use crate::protocol::{Closed, Datagram, Opened, Protocol};
use crate::script::{Script, every_split};
use crate::sources::address::{Address, Peer};

/// Greets each client, returns its bytes in angle brackets and relays them to the first client,
/// and says goodbye after a second.
#[derive(Default)]
struct Talkative {
    first: Option<ConnId>,
    count: usize,
}

impl Protocol for Talkative {
    fn on_open(&mut self, id: ConnId, _: Opened, out: &mut Outbox) {
        self.first.get_or_insert(id);
        out.send(id, b"hello\n");
        out.set_timer(id, Duration::from_secs(1));
    }

    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.count += data.len();
        out.broadcast(self.first.into_iter().filter(|&first| first != id), &data);
        out.send(id, b"<");
        out.send_back(data);
        out.send(id, b">");
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        out.send(id, format!("bye after {:?}\n", out.now()).as_bytes());
        out.finish(id);
        out.send(id, b"never seen");
    }
}

#[test]
fn a_script_drives_a_protocol_as_the_reactor_does() {
    let mut script = Script::new(Talkative::default());
    let (one, two) = (script.open(), script.open());
    script.data(two, b"ab");
    assert_eq!(script.take_output(one), b"hello\nab");
    assert_eq!(
        script.take_output(two),
        b"hello\n<ab>",
        "bytes sent before and after a send_back stay in order"
    );
    script.advance(Duration::from_millis(999));
    assert_eq!(script.closed(one), None);
    script.advance(Duration::from_millis(1));
    assert_eq!(
        (script.closed(one), script.closed(two)),
        (Some(Closed::Finished), Some(Closed::Finished))
    );
    assert_eq!(script.take_output(one), b"bye after 1s\n");
    script.data(one, b"too late");
    assert_eq!(
        (script.protocol().count, script.take_output(one)),
        (2, Vec::new())
    );
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

#[test]
fn echo_does_not_depend_on_cuts_and_empty_datagrams_are_answered() {
    assert_eq!(every_split(|| Echo, b"0123456789"), b"0123456789");
    let mut script = Script::new(Echo);
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
    script.datagram(from, b"");
    script.datagram(from, b"x");
    assert_eq!(
        script.take_datagrams(),
        [(from, vec![]), (from, b"x".to_vec())]
    );
}

/// Connects twice for each client, and remembers what it is told.
#[derive(Default)]
struct Caller {
    ids: Vec<ConnId>,
    opened: Vec<ConnId>,
    failed: Vec<(ConnId, Closed)>,
}

const CALL: u64 = 7;

impl Protocol for Caller {
    fn on_open(&mut self, id: ConnId, opened: Opened, out: &mut Outbox) {
        if opened.tag == CALL {
            self.opened.push(id);
            return out.send(id, b"hello");
        }
        for _ in 0..2 {
            let id = out.connect("127.0.0.1:9".parse().unwrap(), CALL);
            out.send(id, b"too early");
            out.set_timer(id, Duration::from_secs(1));
            self.ids.push(id);
        }
    }

    fn on_timer(&mut self, id: ConnId, out: &mut Outbox) {
        if !self.opened.contains(&id) {
            out.abort(id);
        }
    }

    fn on_connect_error(&mut self, id: ConnId, tag: u64, why: Closed, _: &mut Outbox) {
        assert_eq!(tag, CALL);
        self.failed.push((id, why));
    }
}

#[test]
fn a_script_s_connects_have_ids() {
    let mut script = Script::new(Caller::default());
    script.open();
    let ids = script.protocol().ids.clone();
    let to = || "tcp://127.0.0.1:9".to_owned();
    let asked = [(ids[0], to(), CALL), (ids[1], to(), CALL)];
    assert_eq!(script.take_connects(), asked);
    script.connected(ids[1]);
    assert_eq!(script.connecting(CALL), Some(ids[0]));
    script.advance(Duration::from_secs(1));
    assert_eq!(script.take_output(ids[1]), b"hello");
    let aborted = (ids[0], Closed::Aborted);
    assert_eq!(script.protocol().failed, [aborted]);

    script.open();
    let ids = script.protocol().ids.clone();
    script.connect_error(ids[2], Closed::TimedOut);
    script.connected(ids[2]);
    script.stop();
    let (timed_out, shut_down) = (Closed::TimedOut, Closed::Shutdown);
    let failed = [aborted, (ids[2], timed_out), (ids[3], shut_down)];
    assert_eq!(script.protocol().failed, failed);
    assert_eq!(script.protocol().opened, [ids[1]]);
    assert_eq!(script.take_connects(), []);
}

/// The ids of its UDP sockets, then those of which it hears.
#[derive(Default)]
struct Resolver(Vec<ConnId>);

impl Protocol for Resolver {
    fn on_connect_error(&mut self, id: ConnId, _: u64, _: Closed, _: &mut Outbox) {
        self.0.push(id);
    }
}

#[test]
fn an_error_of_a_udp_socket_has_the_id_of_its_connect() {
    let mut script = Script::new(Resolver::default());
    for tag in [1, 2] {
        let to = "udp://127.0.0.1:9".parse().unwrap();
        script.call(|resolver, out| resolver.0.push(out.connect(to, tag)));
    }
    script.udp_error(2, Closed::TimedOut);
    script.udp_error(1, Closed::TimedOut);
    script.call(|_, out| out.stop_listening_to(1));
    script.udp_error(1, Closed::TimedOut);
    let heard = &script.protocol().0;
    assert_eq!((heard[2], heard[3]), (heard[1], heard[0]));
    assert!(!heard[..4].contains(&heard[4]), "the socket is closed");
}

#[test]
fn timeouts_are_for_peers_and_not_for_adopted_streams() {
    let limits = Limits {
        idle_timeout: Duration::from_secs(10),
        ..Limits::default()
    };
    let mut script = Script::with_limits(Echo, limits);
    let peer = script.open();
    let adopted = script.open_as(Opened::new(Peer::Stream, 0));
    script.advance(Duration::from_secs(30));
    assert_eq!(script.closed(peer), Some(Closed::Idle));
    assert_eq!(script.closed(adopted), None);
}

/// Pauses a connection whose peer has ended, and keeps it. It counts the ends.
#[derive(Default)]
struct Keeper(usize);

impl Protocol for Keeper {
    fn on_eof(&mut self, id: ConnId, out: &mut Outbox) {
        self.0 += 1;
        out.pause(id);
    }
}

#[test]
fn the_end_of_a_stream_is_told_once_whatever_events_follow() {
    let mut script = Script::new(Keeper::default());
    let id = script.open();
    script.eof(id);
    script.set_reading(id, true);
    script.call(|_, out| out.resume(id));
    assert_eq!((script.protocol().0, script.closed(id)), (1, None));
}

/// Counts the calls of `on_data`, and charges each this many units.
#[derive(Default)]
struct Calls(usize, usize);

impl Protocol for Calls {
    fn on_data(&mut self, _: ConnId, _: Data<'_>, out: &mut Outbox) {
        self.0 += 1;
        out.charge(self.1);
    }
}

#[test]
fn a_visit_ends_once_its_callbacks_were_charged_the_budget_of_a_visit() {
    let limits = Limits {
        read_budget: 64 * 1024,
        ..Limits::default()
    };
    let half = limits.units_a_byte() * 32 * 1024;
    let mut script = Script::with_limits(Calls(0, half), limits);
    let id = script.open();
    (0..10).for_each(|_| script.arrive(id, b"x"));
    let calls = [(); 3].map(|()| {
        script.turn();
        script.protocol().0
    });
    assert_eq!(calls, [2, 4, 6]);
}

#[test]
fn a_turn_has_64_reads_of_a_peer_that_sends_single_bytes() {
    let limits = Limits {
        read_budget: 64 * 1024,
        ..Limits::default()
    };
    for finishes in [false, true] {
        let mut script = Script::with_limits(Calls::default(), limits.clone());
        let id = script.open();
        (0..100).for_each(|_| script.arrive(id, b"x"));
        if finishes {
            script.core.tell(|_, out| out.finish(id));
        }
        let before = script.stats().reads;
        script.turn();
        assert_eq!(script.stats().reads - before, 64);
        script.settle();
        assert_eq!(script.protocol().0, if finishes { 0 } else { 100 });
    }
}

#[test]
fn a_connection_of_the_programs_own_is_no_client() {
    let limits = Limits {
        own_tags: vec![7],
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut script = Script::with_limits(Echo, limits);
    let to: Address = "127.0.0.1:1".parse().expect("an address");
    let [own, other] = [7, 8].map(|tag| script.call(|_, out| out.connect(to.clone(), tag)));
    [own, other].iter().for_each(|id| script.connected(*id));
    let stats = script.stats();
    assert_eq!((stats.connected, stats.connections, stats.peak), (2, 1, 1));
    script.advance(Duration::from_secs(10));
    assert_eq!(script.closed(own), None);
    assert_eq!(script.closed(other), Some(Closed::Idle));
    script.close(own, Closed::Reset);
    let stats = script.stats();
    assert_eq!(
        (stats.connections, stats.closed, stats.closed_reset),
        (0, 1, 0)
    );
}

#[test]
fn one_tag_may_be_listened_to_no_more() {
    let mut script = Script::new(Echo);
    let tags = |script: &Script<Echo>| [0, 7].map(|tag| script.is_listening_to(tag));
    assert_eq!(tags(&script), [true, true]);
    script.call(|_, out| out.stop_listening_to(7));
    assert_eq!(tags(&script), [true, false]);
    assert!(script.is_listening());
    script.call(|_, out| out.stop_listening());
    assert_eq!(tags(&script), [false, false]);
}

#[test]
#[should_panic(expected = "depends on a cut")]
fn a_protocol_that_takes_reads_for_messages_is_found_out() {
    every_split(Talkative::default, b"ab");
}
