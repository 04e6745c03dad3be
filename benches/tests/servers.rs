//! The servers of the benchmarks, and their clients.

use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;

use benches::echo::{Echo, visit};
use benches::message;
use benches::room::Room;
use benches::server::{Model, Server, Service};
use benches::setup::Setup;
use tests::until;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_benches"))
}

fn is_gone(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn every_model_echoes() {
    for model in Model::ALL {
        let connect = |address| Ok((address, Echo::connect(address, 3, 10_000)?));
        let mut setup = Setup::new(program(), Service::Echo, model, connect).unwrap();
        setup.run(|(_, clients)| clients.round_trip()).unwrap();
        let visit = |address| visit(address, &message(64), &mut [0; 64]);
        setup.run(|(address, _)| visit(*address)).unwrap();
        setup.run(|(_, clients)| clients.round_trip()).unwrap();
    }
}

#[test]
fn in_every_model_s_room_all_hear_all() {
    for model in Model::ALL {
        // More than talk.
        let enter = |address| Room::enter(address, 12);
        let mut setup = Setup::new(program(), Service::Chat, model, enter).unwrap();
        for _ in 0..3 {
            setup.run(Room::round).unwrap();
        }
    }
}

#[test]
fn a_server_ends_when_it_is_dropped() {
    for model in Model::ALL {
        let server = Server::start(program(), Service::Echo, model).unwrap();
        let address = server.address();
        assert!(!is_gone(address));
        drop(server);
        assert!(is_gone(address), "{model}");
    }
}

#[test]
fn a_server_ends_with_the_process_that_started_it() {
    let start = || {
        let server = Server::start(program(), Service::Echo, Model::Reactor).unwrap();
        let address = server.address();
        mem::forget(server);
        address
    };
    let address = thread::spawn(start).join().unwrap();
    until("the server has ended", || is_gone(address));
}

#[test]
fn clients_that_cannot_go_on_are_an_error_in_a_line() {
    let connect = |address| Echo::connect(address, 1, 8);
    let mut setup = Setup::new(program(), Service::Chat, Model::Tokio, connect).unwrap();
    assert_eq!(
        setup.run(Echo::round_trip),
        Err("tokio: not what was sent came back".to_owned())
    );
}
