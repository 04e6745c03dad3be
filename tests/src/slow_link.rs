//! A slow link without the kernel's help: a proxy between clients and one address, which delays each
//! direction, limits its rate, and cuts it.
//!
//! [`crate::link`] needs namespaces and `tc`; netem, which delays packets, is missing in many
//! kernels. This proxy runs anywhere, and works on streams rather than packets: nothing is lost, and
//! what a cut direction holds back arrives when it is mended. While bytes are held back, the proxy
//! takes no more than its window from the sender, so that the sender meets backpressure, as it does
//! on a long link.
//!
//! A connection has two threads for each direction. The first takes what the sender sends, and notes
//! when it is to arrive; the second waits until then, and hands it over.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{self, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::client::connect_narrow;
use crate::sockets::until_read;
use crate::until;

/// Most bytes that are taken and handed over at once.
const PIECE: usize = 512;
/// Buffers of the proxy's sockets in bytes: small, so that the link holds its window and little more.
/// The kernel may take a larger number.
const SOCKET_BUFFER: usize = 4096;

/// A direction of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the clients to the address behind the link.
    There,
    /// From there to the clients.
    Back,
}

/// A proxy to one address. Dropping it resets all connections through it.
#[derive(Debug)]
pub struct SlowLink {
    listener: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    /// Pieces that are under way in one direction of one connection at the most.
    pieces: usize,
    state: Mutex<State>,
    /// Something in `state` has changed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    courses: [Course; 2],
    /// Both ends of each connection, while its threads hold them: the client's and the other.
    connections: Vec<[Weak<TcpStream>; 2]>,
    /// Number of times that all connections were reset. Connections from before a reset end.
    resets: u64,
}

/// The state of one direction.
#[derive(Debug, Default)]
struct Course {
    delay: Duration,
    /// Time for one byte: the inverse of the rate.
    per_byte: Duration,
    is_cut: bool,
    /// Bytes that have arrived, of all connections.
    passed: u64,
}

/// Bytes of a sender, and the time at which they are to arrive. No bytes are the end of the stream.
type Piece = (Instant, Vec<u8>);

impl SlowLink {
    /// A link to this address, as fast as can be, on which at most about `window` bytes are under way
    /// in one direction of one connection. An address that does not accept a connection ends the
    /// client's.
    #[must_use]
    pub fn to(target: SocketAddr, window: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        setsockopt(&listener, sockopt::RcvBuf, &SOCKET_BUFFER).expect("SO_RCVBUF");
        let shared = Arc::new(Shared {
            target,
            pieces: (window / PIECE).max(1),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (door, accepting) = (listener.try_clone().expect("dup"), Arc::clone(&shared));
        thread::spawn(move || {
            while let Ok((client, _)) = door.accept() {
                accepting.join(client);
            }
        });
        Self { listener, shared }
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("getsockname")
    }

    /// Bytes that are sent from now on arrive this much later, in both directions together.
    pub fn set_round_trip(&self, time: Duration) {
        self.set_delay(Way::There, time / 2);
        self.set_delay(Way::Back, time / 2);
    }

    /// Bytes that are sent this way from now on arrive this much later.
    pub fn set_delay(&self, way: Way, delay: Duration) {
        self.change(way, |course| course.delay = delay);
    }

    /// Bytes of one connection go this way no faster; 0 is any rate.
    pub fn set_rate(&self, way: Way, bytes_per_second: u32) {
        let second = Duration::from_secs(1);
        let per_byte = second.checked_div(bytes_per_second).unwrap_or_default();
        self.change(way, |course| course.per_byte = per_byte);
    }

    /// From now on nothing arrives this way, an end of the stream neither.
    pub fn cut(&self, way: Way) {
        self.change(way, |course| course.is_cut = true);
    }

    /// Ends the cut. What was sent meanwhile arrives.
    pub fn mend(&self, way: Way) {
        self.change(way, |course| course.is_cut = false);
    }

    /// Bytes that have arrived this way, of all connections.
    #[must_use]
    pub fn passed(&self, way: Way) -> u64 {
        self.shared.lock().courses[way as usize].passed
    }

    /// Resets all connections. New ones are served as before.
    pub fn reset_all(&self) {
        let mut state = self.shared.lock();
        state.resets += 1;
        let ends = state.connections.drain(..).flatten();
        ends.filter_map(|end| end.upgrade())
            .for_each(|end| break_off(&end));
        self.shared.changed.notify_all();
    }

    /// Waits until the address behind the link has received so many bytes and read them all.
    pub fn until_read(&self, bytes: u64) {
        until("the bytes have passed the link", || {
            self.passed(Way::There) >= bytes
        });
        let servers: Vec<_> = {
            let connections = &self.shared.lock().connections;
            let servers = connections
                .iter()
                .filter_map(|[_, server]| server.upgrade());
            servers.collect()
        };
        servers.iter().for_each(|server| until_read(server));
    }

    fn change(&self, way: Way, change: impl FnOnce(&mut Course)) {
        change(&mut self.shared.lock().courses[way as usize]);
        self.shared.changed.notify_all();
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        // Wakes the thread in accept(2).
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        self.reset_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects a client to the address behind the link.
    fn join(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = connect_narrow(self.target, SOCKET_BUFFER) else {
            return;
        };
        let ends = [Arc::new(client), Arc::new(server)];
        for end in &ends {
            let _ = end.set_nodelay(true);
            let _ = setsockopt(end, sockopt::SndBuf, &SOCKET_BUFFER);
            let _ = setsockopt(end, sockopt::SendTimeout, &TimeVal::milliseconds(100));
        }
        let mut state = self.lock();
        let is_open = |ends: &[Weak<TcpStream>; 2]| ends.iter().any(|end| end.strong_count() > 0);
        state.connections.retain(is_open);
        state.connections.push(ends.each_ref().map(Arc::downgrade));
        let resets = state.resets;
        drop(state);
        let [client, server] = ends;
        self.carry(Way::There, resets, Arc::clone(&client), Arc::clone(&server));
        self.carry(Way::Back, resets, server, client);
    }

    /// Starts the threads of one direction of a connection.
    fn carry(self: &Arc<Self>, way: Way, resets: u64, from: Arc<TcpStream>, to: Arc<TcpStream>) {
        let (sender, receiver) = sync_channel(self.pieces);
        let (taking, handing) = (Arc::clone(self), Arc::clone(self));
        let target = Arc::clone(&to);
        thread::spawn(move || {
            if taking.take(way, &from, &sender).is_err() {
                break_off(&target);
            }
        });
        thread::spawn(move || {
            // An error is a reset, which the thread that reads from that end sees too.
            let _ = handing.hand_over(way, resets, receiver, &to);
        });
    }

    /// Takes what the sender sends, to its end. An error is a reset of the sender.
    fn take(&self, way: Way, mut from: &TcpStream, to: &SyncSender<Piece>) -> io::Result<()> {
        let mut block = [0; PIECE];
        loop {
            let count = from.read(&mut block)?;
            let due = Instant::now() + self.lock().courses[way as usize].delay;
            let is_gone = to.send((due, block[..count].to_vec())).is_err();
            if is_gone || count == 0 {
                return Ok(());
            }
        }
    }

    /// Hands pieces over when they are due, to the end of the stream.
    fn hand_over(
        &self,
        way: Way,
        resets: u64,
        from: Receiver<Piece>,
        mut to: &TcpStream,
    ) -> io::Result<()> {
        let mut free = Instant::now();
        for (due, piece) in from {
            let per_byte = self.wait_until(due.max(free), way, resets)?;
            free = Instant::now() + per_byte * piece.len() as u32;
            if piece.is_empty() {
                return to.shutdown(Shutdown::Write);
            }
            let mut rest = &piece[..];
            while !rest.is_empty() {
                match to.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    // The receiver takes nothing. It may be reset meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.wait_until(due, way, resets)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.lock().courses[way as usize].passed += piece.len() as u64;
        }
        Ok(())
    }

    /// Waits until a piece is due and the direction is not cut. Returns the time for each byte; an
    /// error is a reset.
    fn wait_until(&self, due: Instant, way: Way, resets: u64) -> io::Result<Duration> {
        let mut state = self.lock();
        loop {
            let course = &state.courses[way as usize];
            let left = due.saturating_duration_since(Instant::now());
            if state.resets > resets {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if left.is_zero() && !course.is_cut {
                return Ok(course.per_byte);
            }
            let most = if left.is_zero() { Duration::MAX } else { left };
            let waited = self.changed.wait_timeout(state, most);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Resets a connection as soon as its threads have let go of it, and wakes them.
fn break_off(end: &TcpStream) {
    let now = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // An error says that the connection is broken already.
    let _ = setsockopt(end, sockopt::Linger, &now);
    let _ = end.shutdown(Shutdown::Read);
}
