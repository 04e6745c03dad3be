//! Adopted descriptors: pipes, files, terminals, devices, sockets.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read, Seek, SeekFrom, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::thread;

use common::{
    Heard, Notes, adopt_socket, alone, echo, is_nonblocking, narrow, noise, reactor, read_some,
    sink, turn_at_once, turn_until, write_some,
};
use edgeloop_reactor::{Closed, Direction, Limits, Outbox, Reactor, SystemError};
use nix::errno::Errno;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

#[test]
fn the_read_end_of_a_pipe_is_read_to_its_end() {
    alone(|| {
        let (ours, mut theirs) = pipe().unwrap();
        let (mut reactor, sent) = (reactor(sink), noise(50_000));
        let id = reactor.adopt(ours.into(), Direction::Input, 0).unwrap();
        // The pipe may hold fewer bytes than are sent.
        thread::scope(|scope| {
            let writer = scope.spawn(|| theirs.write_all(&sent).unwrap());
            turn_until(&mut reactor, |notes| notes.received(id).len() == sent.len());
            writer.join().unwrap();
        });
        drop(theirs);
        reactor.run().unwrap();
        let notes = reactor.protocol();
        assert!(notes.received(id) == sent, "not the same bytes");
        assert_eq!(notes.count(&Heard::Eof(id)), 1);
        assert_eq!(notes.closed(), [Closed::Eof]);
    });
}

#[test]
fn the_write_end_of_a_pipe_takes_what_the_reader_takes() {
    alone(|| {
        let (mut theirs, ours) = pipe().unwrap();
        let sent = noise(1024 * 1024);
        let mut reactor = speaker(sent.clone());
        reactor.adopt(ours.into(), Direction::Output, 0).unwrap();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).unwrap();
            received
        });
        reactor.run().unwrap();
        assert!(reader.join().unwrap() == sent, "not the same bytes");
        assert_eq!(reactor.protocol().closed(), [Closed::Finished]);
    });
}

#[test]
fn a_pipe_whose_reader_vanishes_is_reset() {
    alone(|| {
        let (theirs, ours) = pipe().unwrap();
        narrow(&ours);
        let mut theirs = Some(theirs);
        let mut reactor = reactor(|_, _| {});
        let id = reactor.adopt(ours.into(), Direction::Output, 0).unwrap();
        // More than the pipe holds, so that output is pending.
        reactor.call(|_, out| out.send(id, &noise(1024 * 1024)));
        turn_until(&mut reactor, |notes| {
            theirs.take();
            !notes.closed().is_empty()
        });
        assert_eq!(reactor.protocol().closed(), [Closed::Reset]);
    });
}

#[test]
fn a_pipe_without_a_reader_is_reset_though_nothing_is_sent() {
    alone(|| {
        let (theirs, ours) = pipe().unwrap();
        drop(theirs);
        let mut reactor = reactor(|_, _| {});
        reactor.adopt(ours.into(), Direction::Output, 0).unwrap();
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().closed(), [Closed::Reset]);
    });
}

/// The writer of a named pipe has written and closed before the reactor adopts the pipe, as may
/// happen in `server < fifo`.
#[test]
fn a_named_pipe_whose_writer_has_gone_ends() {
    alone(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let both = OpenOptions::new().read(true).write(true).open(&path);
        let mut writer = both.unwrap();
        let reader = File::open(&path).unwrap();
        writer.write_all(b"hello").unwrap();
        drop(writer);
        let mut reactor = reactor(sink);
        let id = reactor.adopt(reader.into(), Direction::Input, 0).unwrap();
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().received(id), b"hello");
        assert_eq!(reactor.protocol().closed(), [Closed::Eof]);
    });
}

#[test]
fn a_file_is_read_from_where_it_stands() {
    alone(|| {
        let (mut file, bytes) = (tempfile::tempfile().unwrap(), noise(300_000));
        file.write_all(&bytes).unwrap();
        file.seek(SeekFrom::Start(1_000)).unwrap();
        let mut reactor = reactor(sink);
        let id = reactor.adopt(file.into(), Direction::Input, 0).unwrap();
        reactor.run().unwrap();
        let notes = reactor.protocol();
        assert!(notes.received(id) == bytes[1_000..], "not the same bytes");
        assert_eq!(notes.count(&Heard::Eof(id)), 1);
        assert_eq!(notes.closed(), [Closed::Eof]);
    });
}

#[test]
fn a_file_opened_for_appending_is_appended_to() {
    alone(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "before ").unwrap();
        let ours = OpenOptions::new().append(true).open(file.path()).unwrap();
        let mut reactor = reactor(|_, _| {});
        let id = reactor.adopt(ours.into(), Direction::Output, 0).unwrap();
        reactor.call(|_, out| out.send(id, b"mine "));
        turn_at_once(&mut reactor);
        let mut other = OpenOptions::new().append(true).open(file.path()).unwrap();
        other.write_all(b"theirs ").unwrap();
        reactor.call(|_, out| {
            out.send(id, b"mine again");
            out.finish(id);
        });
        turn_at_once(&mut reactor);
        assert_eq!(reactor.protocol().closed(), [Closed::Finished]);
        let whole = fs::read_to_string(file.path()).unwrap();
        assert_eq!(whole, "before mine theirs mine again");
    });
}

#[test]
fn a_file_is_written_where_it_stands() {
    alone(|| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before ").unwrap();
        let ours = file.try_clone().unwrap();
        let mut reactor = speaker(b"after".to_vec());
        reactor.adopt(ours.into(), Direction::Output, 0).unwrap();
        reactor.run().unwrap();
        let mut whole = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut whole).unwrap();
        assert_eq!(whole, "before after");
    });
}

/// A file is always ready, and yet it delays another connection by one read budget only.
#[test]
fn a_big_file_does_not_delay_a_connection() {
    alone(|| {
        const LEN: usize = 16 * 1024 * 1024;
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN as u64).unwrap();
        let mut read = 0;
        let mut reactor = reactor(move |heard, out| match heard {
            Heard::Data(_, bytes) if bytes[0] == 0 => {
                read += bytes.len();
                assert!(read <= LEN);
            }
            other => echo(other, out),
        });
        let (_, mut peer) = adopt_socket(&mut reactor, 0);
        let id = reactor.adopt(file.into(), Direction::Input, 0).unwrap();
        let mut turns = 0;
        while reactor.protocol().count(&Heard::Eof(id)) == 0 {
            peer.write_all(b"ping").unwrap();
            reactor.turn().unwrap();
            turns += 1;
            assert_eq!(read_some(&peer), b"ping", "in turn {turns}");
        }
        assert_eq!(reactor.protocol().received(id).len(), LEN);
        assert!(turns >= LEN / Limits::default().read_budget, "{turns}");
    });
}

/// A source that always has a few more bytes does not delay another connection either.
#[test]
fn many_small_reads_do_not_delay_a_connection() {
    alone(|| {
        const READS: u32 = 1_000;
        // Each read lowers the counter by one, and returns eight bytes (eventfd(2),
        // `EFD_SEMAPHORE`).
        let flags = EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_NONBLOCK;
        let counter = EventFd::from_value_and_flags(READS, flags).unwrap();
        let mut reactor = reactor(sink);
        let id = reactor.adopt(counter.into(), Direction::Input, 0).unwrap();
        let mut before = 0;
        for _ in 0..10 {
            reactor.turn().unwrap();
            let read = reactor.protocol().received(id).len() / 8;
            assert_eq!(read - before, 64);
            before = read;
        }
        let all = 8 * READS as usize;
        turn_until(&mut reactor, |notes| notes.received(id).len() == all);
    });
}

#[test]
fn the_null_device_is_empty_and_takes_everything() {
    alone(|| {
        for direction in [Direction::Input, Direction::Output, Direction::Both] {
            let null = open("/dev/null");
            let mut reactor = reactor(sink);
            let id = reactor.adopt(null.into(), direction, 0).unwrap();
            if direction != Direction::Input {
                reactor.call(|_, out| out.send(id, &noise(100_000)));
            }
            if direction == Direction::Output {
                reactor.call(|_, out| out.finish(id));
            }
            reactor.run().unwrap();
            let eofs = usize::from(direction != Direction::Output);
            assert_eq!(reactor.protocol().count(&Heard::Eof(id)), eofs);
            assert_eq!(reactor.stats().closed_error, 0);
        }
    });
}

#[test]
fn a_full_device_is_an_error_of_its_connection() {
    alone(|| {
        let mut reactor = speaker(b"hello".to_vec());
        let full = open("/dev/full");
        reactor.adopt(full.into(), Direction::Output, 0).unwrap();
        reactor.run().unwrap();
        let full = Closed::Error(SystemError::new(Errno::ENOSPC as i32));
        assert_eq!(reactor.protocol().closed(), [full]);
    });
}

#[test]
fn a_socket_goes_both_ways() {
    alone(|| {
        let mut reactor = reactor(echo);
        let (_, peer) = adopt_socket(&mut reactor, 0);
        write_some(&peer, b"hello");
        let mut answer = Vec::new();
        turn_until(&mut reactor, |_| {
            answer.extend(read_some(&peer));
            answer == b"hello"
        });
        drop(peer);
        reactor.run().unwrap();
        assert_eq!(reactor.protocol().closed(), [Closed::Eof]);
    });
}

/// A read from a Unix socket ends at the message that carries descriptors, even if more bytes
/// follow: a short read does not show that the stream is drained.
#[test]
fn bytes_behind_passed_descriptors_are_read() {
    alone(|| {
        let mut reactor = reactor(sink);
        let (id, mut peer) = adopt_socket(&mut reactor, 0);
        turn_at_once(&mut reactor);
        let null = open("/dev/null");
        let (first, carried) = ([IoSlice::new(b"one")], [null.as_raw_fd()]);
        let along = [ControlMessage::ScmRights(&carried)];
        sendmsg::<()>(peer.as_raw_fd(), &first, &along, MsgFlags::empty(), None).unwrap();
        peer.write_all(b"two").unwrap();
        for _ in 0..3 {
            turn_at_once(&mut reactor);
        }
        assert_eq!(reactor.protocol().received(id), b"onetwo");
    });
}

/// `O_NONBLOCK` belongs to the open file description, which the user's shell may share.
#[test]
fn adopting_does_not_make_a_shared_descriptor_non_blocking() {
    alone(|| {
        let (input, output) = pipe().unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        for (fd, direction) in [
            (input.into(), Direction::Input),
            (output.into(), Direction::Output),
            (socket.into(), Direction::Both),
            (slave, Direction::Both),
            (master, Direction::Both),
            (open("/dev/null").into(), Direction::Both),
        ] {
            let shared: OwnedFd = fd;
            let mut reactor = reactor(sink);
            let ours = shared.try_clone().unwrap();
            reactor.adopt(ours, direction, 0).unwrap();
            turn_at_once(&mut reactor);
            assert!(!is_nonblocking(&shared), "{shared:?} {direction:?}");
        }
    });
}

/// A terminal returns one line per read, however many were typed: a short read does not show that
/// it is drained.
#[test]
fn every_line_typed_ahead_is_read() {
    alone(|| {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut keyboard = File::from(master);
        keyboard.write_all(b"one\ntwo\nthree\n").unwrap();
        let mut reactor = reactor(sink);
        let id = reactor.adopt(slave, Direction::Input, 0).unwrap();
        turn_until(&mut reactor, |notes| {
            notes.received(id) == b"one\ntwo\nthree\n"
        });
    });
}

/// A pipe or a terminal is opened anew by its name, to get an `O_NONBLOCK` of its own. The name of
/// a pty's master is `/dev/ptmx`, and each open(2) of that makes another terminal: so the master is
/// not opened anew.
#[test]
fn the_master_of_a_terminal_is_the_one_that_was_given() {
    alone(|| {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut reactor = reactor(sink);
        let id = reactor.adopt(master, Direction::Both, 0).unwrap();
        reactor.call(|_, out| out.send(id, b"hello\n"));
        turn_at_once(&mut reactor);
        let (mut terminal, mut line) = (File::from(slave), [0; 6]);
        terminal.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"hello\n");
        terminal.write_all(b"who is there?\n").unwrap();
        // The terminal echoes its input, and prints a carriage return with each line.
        turn_until(&mut reactor, |notes| {
            notes.received(id) == b"hello\r\nwho is there?\r\n"
        });
    });
}

#[test]
fn a_terminal_ends_with_its_hangup() {
    alone(|| {
        for (direction, why) in [
            (Direction::Input, Closed::Eof),
            (Direction::Output, Closed::Reset),
            (Direction::Both, Closed::Eof),
        ] {
            let OpenptyResult { master, slave } = openpty(None, None).unwrap();
            let mut reactor = reactor(sink);
            reactor.adopt(slave, direction, 0).unwrap();
            turn_at_once(&mut reactor);
            drop(master);
            turn_until(&mut reactor, |notes| !notes.closed().is_empty());
            assert_eq!(reactor.protocol().closed(), [why], "{direction:?}");
        }
    });
}

/// A write to a terminal that has hung up fails with EIO, which corresponds to a pipe's EPIPE.
#[test]
fn a_terminal_that_hangs_up_with_pending_output_is_reset() {
    alone(|| {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut reactor = reactor(sink);
        let id = reactor.adopt(slave, Direction::Output, 0).unwrap();
        // More bytes than the terminal holds.
        reactor.call(|_, out| out.send(id, &noise(1024 * 1024)));
        turn_at_once(&mut reactor);
        drop(master);
        turn_until(&mut reactor, |notes| !notes.closed().is_empty());
        assert_eq!(reactor.protocol().closed(), [Closed::Reset]);
    });
}

/// A reactor that sends `words` to each connection, and finishes it.
fn speaker(words: Vec<u8>) -> Reactor<Notes<impl FnMut(&Heard, &mut Outbox)>> {
    reactor(move |heard, out| {
        if let Heard::Open(id, _) = heard {
            out.send(*id, &words);
            out.finish(*id);
        }
    })
}

fn open(path: &str) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true);
    options.custom_flags(libc::O_NOCTTY).open(path).unwrap()
}
