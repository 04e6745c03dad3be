//! Several reactors with one table of places.

use proptest::prelude::*;

use super::admission::Server;
use crate::core::admission::Refusal;
use crate::core::limits::Limits;
use crate::id::ConnId;
use crate::places::Places;
use crate::protocol::Closed;

/// Reactors that share their places, and the table.
fn servers<const N: usize>(
    max_connections: usize,
    max_per_address: Option<usize>,
) -> ([Server; N], Places) {
    let places = Places::new(max_per_address, max_connections);
    let limits = Limits {
        max_connections,
        max_per_address,
        places: Some(places.clone()),
        ..Limits::default()
    };
    let servers = [(); N].map(|()| Server::with_limits(limits.clone()));
    (servers, places)
}

#[test]
fn the_limits_hold_for_all_together_however_uneven_the_deal() {
    let ([mut one, mut two], places) = servers(4, Some(3));
    let [first, ..] = [(); 3].map(|()| one.connect("192.0.2.1").expect("a place"));
    for server in [&mut one, &mut two] {
        assert_eq!(server.connect("192.0.2.1"), Err(Refusal::Address(3)));
    }
    two.connect("192.0.2.2").expect("the last place");
    for server in [&mut one, &mut two] {
        assert_eq!(server.connect("192.0.2.3"), Err(Refusal::Full(4)));
    }
    one.close(first);
    two.connect("192.0.2.1").expect("the place of the first");
    assert_eq!(places.taken(), 4);
}

#[test]
fn a_connection_without_a_limit_for_its_address_has_a_place() {
    let ([mut one, mut two], places) = servers(2, None);
    let id = one.connect("127.0.0.1").expect("a place");
    two.connect("127.0.0.1").expect("a place");
    assert_eq!(one.connect("127.0.0.1"), Err(Refusal::Full(2)));
    one.close(id);
    assert_eq!(places.taken(), 1);
    two.connect("127.0.0.1").expect("a place");
}

#[test]
fn a_reactor_that_ends_leaves_its_places_to_the_others() {
    let ([mut one, mut two], places) = servers(3, Some(2));
    one.connect("192.0.2.1").expect("a place");
    one.connect("192.0.2.1").expect("a place");
    two.connect("192.0.2.2").expect("a place");
    drop(one);
    assert_eq!(places.taken(), 1);
    two.connect("192.0.2.1").expect("a place");
    two.connect("192.0.2.1").expect("a place");
}

#[test]
fn a_newcomer_displaces_a_connection_of_the_reactor_that_accepts_it() {
    let ([mut one, mut two], places) = servers(4, None);
    let silent = [(); 2].map(|()| one.connect("192.0.2.1").expect("a place"));
    for from in ["192.0.2.2", "192.0.2.3"] {
        let id = two.connect(from).expect("a place");
        two.says_a_byte(id);
    }
    for server in [&mut one, &mut two] {
        server.seconds_pass(11);
    }
    assert_eq!(two.connect("192.0.2.4"), Err(Refusal::Full(4)));
    one.connect("192.0.2.4").expect("a place that was made");
    assert_eq!(one.closed, [(silent[0], Closed::Displaced)]);
    assert!(two.closed.is_empty());
    assert_eq!(places.taken(), 4);
}

#[derive(Clone, Debug)]
enum Step {
    Connect(usize, usize),
    ConnectInVain(usize, usize),
    /// The connection with this number, modulo the number of open ones.
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = || (0..3usize, 0..FROM.len());
    prop_oneof![
        4 => at().prop_map(|(server, from)| Step::Connect(server, from)),
        1 => at().prop_map(|(server, from)| Step::ConnectInVain(server, from)),
        3 => any::<usize>().prop_map(Step::Close),
    ]
}

const FROM: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.1"];

/// The reply to a newcomer, if these are the addresses of the open connections.
fn expected(open: &[(usize, usize, ConnId)], from: usize) -> Option<Refusal> {
    let of_the_same = open.iter().filter(|(_, other, _)| *other == from).count();
    match open.len() {
        // Loopback addresses have no limit.
        _ if from < 3 && of_the_same >= 4 => Some(Refusal::Address(4)),
        8.. => Some(Refusal::Full(8)),
        _ => None,
    }
}

proptest! {
    /// Three reactors refuse as one with the same connections does.
    #[test]
    fn reactors_with_one_table_refuse_as_one(steps in prop::collection::vec(step(), 0..200)) {
        let (mut servers, places) = servers::<3>(8, None);
        let mut open = Vec::new();
        for step in steps {
            match step {
                Step::Connect(server, from) => {
                    let told = servers[server].connect(FROM[from]);
                    prop_assert_eq!(told.as_ref().err().copied(), expected(&open, from));
                    open.extend(told.map(|id| (server, from, id)));
                }
                Step::ConnectInVain(server, from) => {
                    let told = servers[server].connect_in_vain(FROM[from]);
                    prop_assert_eq!(told.err(), expected(&open, from));
                }
                Step::Close(number) if !open.is_empty() => {
                    let (server, _, id) = open.swap_remove(number % open.len());
                    servers[server].close(id);
                }
                Step::Close(_) => {}
            }
            prop_assert_eq!(places.taken(), open.len());
        }
    }
}
