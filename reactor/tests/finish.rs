//! `Outbox::finish` over real TCP: no byte that was sent before it is lost.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::{mem, thread};

use common::{Heard, alone, noise, reactor};
use edgeloop_reactor::{Closed, Direction};
use nix::sys::socket::{setsockopt, sockopt};

/// The client sends more than the server's protocol reads, and reads its answer slowly. A close
/// with unread input would send a reset, which destroys the bytes that are on their way to the
/// client. So the server reads and discards its input until the client ends too.
#[test]
fn an_answer_survives_input_that_is_not_read() {
    alone(|| {
        let answer = noise(3 * 1024 * 1024);
        let (expected, mut answered) = (answer.clone(), false);
        let mut reactor = reactor(move |heard, out| {
            if let Heard::Data(id, _) = heard
                && !mem::replace(&mut answered, true)
            {
                out.send(*id, &answer);
                out.finish(*id);
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        reactor.adopt(ours.into(), Direction::Both, 0).unwrap();
        let client = thread::spawn(move || {
            client.set_nonblocking(true).unwrap();
            setsockopt(&client, sockopt::SndBuf, &(64 * 1024)).unwrap();
            // As much as all buffers hold; after that the client can only read.
            let flood = noise(64 * 1024);
            while client.write(&flood).is_ok() {}
            client.set_nonblocking(false).unwrap();
            let mut received = Vec::new();
            client
                .read_to_end(&mut received)
                .expect("an end, and no reset");
            client.shutdown(Shutdown::Write).unwrap();
            received
        });
        reactor.run().unwrap();
        assert!(client.join().unwrap() == expected, "not the same bytes");
        assert_eq!(reactor.protocol().closed(), [Closed::Finished]);
    });
}
