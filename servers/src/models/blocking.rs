//! One client on one blocking socket: two system calls for a message, recv(2) and send(2), each of
//! which waits as long as it has to.
//!
//! The kernel does here what a reactor needs buffers and timers for. While send(2) waits for a slow
//! client, nothing is read from it: that is backpressure. Pending output is the local variable
//! `data`. The idle timeout is `SO_RCVTIMEO`, the stall timeout `SO_SNDTIMEO` (socket(7)).
//!
//! One task remains: to wake a process or thread that waits in recv(2) when the server stops. A
//! flag alone comes too late if the thread has tested it and is about to wait. `shutdown(SHUT_RD)`
//! does not come too late: from then on, recv(2) never waits again.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use edgeloop_reactor::{Closed, SystemError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

use super::client::{Client, Silence};
use super::conversation::{Answer, Conversation};
use super::sys;

/// Bytes of the read buffer: as many as the reactor's, so that a large message takes as few calls.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// Number of clients that came and went while standard output took nothing, of all threads and
/// processes.
static UNANNOUNCED: OnceLock<&AtomicU64> = OnceLock::new();

/// Begins to count [`UNANNOUNCED`] clients. To be called before the first process is forked.
pub(super) fn count_unannounced() -> nix::Result<()> {
    let [count, ..] = sys::shared_words()?;
    let _ = UNANNOUNCED.set(count);
    Ok(())
}

/// Number of clients that came and went since the last call while standard output took nothing.
pub(crate) fn take_unannounced() -> u64 {
    let count = UNANNOUNCED.get();
    count.map_or(0, |count| count.swap(0, Ordering::Relaxed))
}

/// Time before another attempt when the kernel is short of memory.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Interval of looks whether the client has received everything; it acknowledges after 40 ms or so.
const SETTLE_INTERVAL_MS: u8 = 20;

/// Serves a client from its first byte to its last. An error is the conversation's own: standard
/// output failed. A failure of the client's socket ends this conversation only.
pub(super) fn serve_client<C: Conversation>(
    client: &Client,
    buffer: &mut [MaybeUninit<u8>],
) -> io::Result<()> {
    if C::PRINTS && goes_unannounced(&client.socket) {
        if let Some(count) = UNANNOUNCED.get() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        return Ok(());
    }
    let mut conversation = C::begin(client.number, client.peer)?;
    let mut why = converse(client, &mut conversation, buffer)?;
    if client.is_displaced() {
        why = Closed::Displaced;
    } else if is_stopping() {
        settle(&client.socket, buffer);
        why = Closed::Shutdown;
    }
    log::debug!(
        "connection {} from {} closed: {why}",
        client.number,
        client.peer
    );
    conversation.on_close()
}

/// Waits until standard output takes something. True if the client goes before, without having sent
/// a byte: it need not hold a process or thread any longer.
fn goes_unannounced(socket: &TcpStream) -> bool {
    let stdout = io::stdout();
    let hung_up = PollFlags::from_bits_retain(libc::POLLRDHUP);
    loop {
        let mut asked = [
            PollFd::new(stdout.as_fd(), PollFlags::POLLOUT),
            PollFd::new(socket.as_fd(), hung_up),
        ];
        match poll(&mut asked, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) if asked[0].any() != Some(false) => return false,
            Ok(_) => return sys::unread(socket.as_fd()) == Ok(0),
        }
    }
}

fn is_stopping() -> bool {
    sys::STOPPING.load(Ordering::Acquire)
}

/// Reads and replies until the client, a timeout, an error or a stop ends the connection.
fn converse(
    client: &Client,
    conversation: &mut impl Conversation,
    buffer: &mut [MaybeUninit<u8>],
) -> io::Result<Closed> {
    let socket = &client.socket;
    let mut suspected = false;
    // For a client that never falls silent, recv(2) does not report the end of input.
    while !is_stopping() && !client.is_displaced() {
        let data = match sys::recv(socket.as_fd(), buffer) {
            Ok([]) => return Ok(Closed::Eof),
            Ok(data) => data,
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => {
                if let Some(why) = judge_silence(client, &mut suspected) {
                    return Ok(why);
                }
                continue;
            }
            Err(errno) if is_shortage(errno) => {
                thread::sleep(RETRY_INTERVAL);
                continue;
            }
            Err(errno) => return Ok(SystemError::new(errno as i32).into()),
        };
        if let Some(ticket) = client.ticket {
            ticket.is_heard();
        }
        if conversation.on_data(data)? == Answer::SendBack
            && let Err(why) = send_all(socket, data)
        {
            return Ok(why);
        }
    }
    Ok(Closed::Shutdown)
}

/// After a recv(2) that timed out: the reason to close the connection, if there is one.
fn judge_silence(client: &Client, suspected: &mut bool) -> Option<Closed> {
    let Silence::Suspicious(patience) = client.silence else {
        return Some(Closed::Idle);
    };
    let socket = client.socket.as_fd();
    let under_way = sys::unacknowledged(socket).is_ok_and(|bytes| bytes > 0);
    let unheard = |unheard: Duration| unheard >= patience;
    let vanished = under_way && *suspected && sys::unheard(socket).is_ok_and(unheard);
    *suspected = under_way;
    vanished.then_some(Closed::Stalled)
}

/// Sends everything, however slowly the client takes it, as long as it does.
fn send_all(socket: &TcpStream, mut data: &[u8]) -> Result<(), Closed> {
    while !data.is_empty() {
        match send(socket.as_raw_fd(), data, MsgFlags::MSG_NOSIGNAL) {
            // A signal or the timeout before the last byte makes the count smaller. A stall is a
            // timeout before the first byte.
            Ok(count) => data = &data[count..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(Closed::Stalled),
            Err(errno) if is_shortage(errno) => thread::sleep(RETRY_INTERVAL),
            Err(errno) => return Err(SystemError::new(errno as i32).into()),
        }
    }
    Ok(())
}

/// Before the server ends a stream that the client has not ended: waits until the client has
/// received everything, and discards its further input. The acceptor ends this wait with the grace
/// period.
///
/// Not until then may the output be shut down. A socket that is shut down in both directions
/// answers further input with a reset, which destroys the bytes that are on their way to the
/// client.
fn settle(socket: &TcpStream, buffer: &mut [MaybeUninit<u8>]) {
    loop {
        match sys::recv(socket.as_fd(), buffer) {
            Ok([]) => {}
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => return,
        }
        if sys::unacknowledged(socket.as_fd()) == Ok(0) {
            break;
        }
        // No event is asked for: a reset, and being cut off, are always reported.
        let mut asked = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        if poll(&mut asked, SETTLE_INTERVAL_MS).is_ok_and(|count| count > 0) {
            return;
        }
    }
    // Before the descriptor closes: a close with unread input would send a reset.
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Write);
}

/// Errors of the system, not of the connection.
fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::ENOBUFS | Errno::ENOMEM)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;

    /// Sends back what it hears in upper case; an exclamation mark is too much for it.
    struct Upper;

    impl Conversation for Upper {
        fn begin(_: u64, _: SocketAddr) -> io::Result<Self> {
            Ok(Upper)
        }

        fn on_data(&mut self, data: &mut [u8]) -> io::Result<Answer> {
            data.make_ascii_uppercase();
            match data.last() {
                Some(b'!') => Err(Errno::ENOSPC.into()),
                Some(b'.') => Ok(Answer::Nothing),
                _ => Ok(Answer::SendBack),
            }
        }
    }

    /// A client, and how the conversation with it ends.
    fn talk(timeout: Option<Duration>, client: impl FnOnce(TcpStream)) -> io::Result<Closed> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(timeout).unwrap();
        socket.set_write_timeout(timeout).unwrap();
        let client_of_ours = Client {
            number: 0,
            peer: stream.local_addr().unwrap(),
            ticket: None,
            socket,
            silence: Silence::Idle,
        };
        let server = thread::spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); 1000];
            converse(&client_of_ours, &mut Upper, &mut buffer)
        });
        client(stream);
        server.join().unwrap()
    }

    #[test]
    fn what_is_changed_in_place_comes_back_in_order() {
        let question = "so many words, ".repeat(1000);
        let why = talk(None, |mut stream| {
            let answer = thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    let mut answer = String::new();
                    (&stream).read_to_string(&mut answer).unwrap();
                    answer
                });
                (&stream).write_all(question.as_bytes()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                reader.join().unwrap()
            });
            assert_eq!(answer, question.to_uppercase());
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        assert_eq!(why.unwrap(), Closed::Eof);
    }

    #[test]
    fn no_answer_is_no_end() {
        let why = talk(None, |mut stream| {
            stream.write_all(b"no answer, please.").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        assert_eq!(why.unwrap(), Closed::Eof);
    }

    #[test]
    fn silence_and_refusal_to_read_have_their_timeouts() {
        let timeout = Some(Duration::from_millis(50));
        let silent = talk(timeout, |mut stream| {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        assert_eq!(silent.unwrap(), Closed::Idle);
        let stalled = talk(
            timeout,
            |mut stream| {
                while stream.write_all(&[b'x'; 10_000]).is_ok() {}
            },
        );
        assert_eq!(stalled.unwrap(), Closed::Stalled);
    }

    #[test]
    fn an_error_of_the_conversation_is_no_end_of_the_stream() {
        let why = talk(None, |mut stream| stream.write_all(b"too much!").unwrap());
        assert_eq!(why.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }
}
