//! Memory for large replies is kept from one to the next: to give it back and ask for it again costs
//! page faults, which once made them twice as expensive as in a blocking server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use edgeloop_reactor::{ConnId, Data, Limits, Outbox, Protocol, Reactor};
use nix::sys::resource::{UsageWho, getrusage};

const MIB: usize = 1024 * 1024;
const REPLIES: usize = 100;

/// Answers each byte with a mebibyte.
struct Large {
    reply: Vec<u8>,
    asked: usize,
    faults: i64,
}

fn faults() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD)
        .unwrap()
        .minor_page_faults()
}

impl Protocol for Large {
    fn on_data(&mut self, id: ConnId, data: Data<'_>, out: &mut Outbox) {
        self.asked += data.len();
        if self.asked == REPLIES / 2 {
            self.faults = -faults();
        }
        if self.asked == REPLIES {
            self.faults += faults();
        }
        out.send(id, &self.reply);
    }
}

#[test]
fn large_replies_take_no_new_memory_each() {
    let protocol = Large {
        reply: vec![b'x'; MIB],
        asked: 0,
        faults: 0,
    };
    let mut reactor = Reactor::new(protocol, Limits::default()).unwrap();
    let bound = reactor.listen(&"127.0.0.1:0".parse().unwrap(), 0).unwrap();
    let at = bound[0].resolve().unwrap()[0];
    let client = thread::spawn(move || {
        let mut peer = TcpStream::connect(at).unwrap();
        let mut reply = vec![0; MIB];
        for _ in 0..REPLIES {
            peer.write_all(b"?").unwrap();
            peer.read_exact(&mut reply).unwrap();
        }
    });
    while reactor.stats().closed == 0 {
        reactor.turn().unwrap();
    }
    client.join().unwrap();
    let Large { asked, faults, .. } = *reactor.protocol();
    assert_eq!(asked, REPLIES);
    let each = faults / (REPLIES as i64 / 2);
    assert!(each < 16, "{each} page faults for each reply");
}
