//! The end that a protocol decides on, over real TCP: nothing that was said before it is lost.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::{mem, thread};

use common::{Heard, alone, noise, reactor};
use edgeloop_reactor::{Closed, Direction};
use nix::sys::socket::{setsockopt, sockopt};

/// The client says more than anybody reads, and is slow to read its answer. A close while its words
/// are unread would be a reset, which destroys what is on its way to it. So what it still says is
/// read and thrown away, until it ends as well.
#[test]
fn an_answer_outlives_input_that_nobody_wants() {
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
            // As much as all buffers hold; then it can only read.
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
