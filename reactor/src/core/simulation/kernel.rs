//! The other side of the simulation: a socket, the kernel and the peer, in one value.
//!
//! The test changes the [`Wire`] (bytes arrive, the peer reads, a fault is to come), and the core
//! reads and writes through [`Fake`]. The wire has the promises of the kernel and no more: an edge
//! after new input, an edge for room only after a write was refused, and a short read as proof of a
//! drained stream only while nothing unusual was reported.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;
use std::rc::Rc;

use nix::Result;
use nix::errno::Errno;

use crate::core::conn::Stream;
use crate::poll::Ready;

/// Bytes of a wire's send buffer.
const ROOM: usize = 30;

/// A fault that one system call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// None: the call works. It places the next fault one call later.
    None,
    /// `EINTR`.
    Interrupted,
    /// `ENOBUFS`.
    NoMemory,
    /// The call moves half of the bytes that it could. A write may always do that; a read only
    /// after a hang-up or urgent data, when a short read proves nothing.
    Short,
    /// A write fails with `EAGAIN` although there is room, and the edge that this promises comes at
    /// once.
    Refused,
}

/// The state of one connection outside of the reactor.
#[derive(Debug)]
pub(super) struct Wire {
    /// Bytes that the peer has sent and the reactor has not read.
    pub(super) inbound: VecDeque<u8>,
    /// The peer has ended its side.
    pub(super) fin: bool,
    /// The peer has reset the connection.
    pub(super) rst: bool,
    /// An event has reported a hang-up or urgent data, so a short read proves nothing any more.
    pub(super) warned: bool,
    /// Bytes that the reactor has written and the peer has not read.
    pub(super) in_flight: VecDeque<u8>,
    /// Bytes that the peer has read.
    pub(super) delivered: Vec<u8>,
    /// A write was refused for want of room: new room is an edge.
    pub(super) refused: bool,
    /// An event is pending.
    pub(super) edge: bool,
    /// Urgent data has arrived.
    pub(super) urgent: bool,
    /// Flags that the next event reports although nothing happened.
    pub(super) spurious: Ready,
    /// The reactor has shut down its side.
    pub(super) we_shut: bool,
    /// Our close is a reset.
    pub(super) we_reset: bool,
    /// The reactor has closed the connection.
    pub(super) closed: bool,
    /// The connection was closed with unread input while bytes were in flight: the reset destroys
    /// them.
    pub(super) destroyed: bool,
    /// The faults of the next calls, in order.
    pub(super) faults: VecDeque<Fault>,
    /// Milliseconds since the peer's last acknowledgement.
    pub(super) unheard_ms: Option<u32>,
}

impl Wire {
    pub(super) fn new() -> Rc<RefCell<Wire>> {
        Rc::new(RefCell::new(Wire {
            inbound: VecDeque::new(),
            fin: false,
            rst: false,
            warned: false,
            in_flight: VecDeque::new(),
            delivered: Vec::new(),
            refused: false,
            edge: false,
            urgent: false,
            spurious: Ready::empty(),
            we_shut: false,
            we_reset: false,
            closed: false,
            destroyed: false,
            faults: VecDeque::new(),
            unheard_ms: None,
        }))
    }

    /// The next call's fault: an error, or whether the call is short.
    fn fault(&mut self) -> Result<bool> {
        match self.faults.pop_front().unwrap_or(Fault::None) {
            Fault::Interrupted => Err(Errno::EINTR),
            Fault::NoMemory => Err(Errno::ENOBUFS),
            Fault::Short => Ok(true),
            Fault::None | Fault::Refused => Ok(false),
        }
    }

    /// The readiness that poll(2) would report.
    pub(super) fn ready(&self) -> Ready {
        let mut ready = Ready::empty();
        ready.set(Ready::IN, !self.inbound.is_empty() || self.fin || self.rst);
        ready.set(Ready::OUT, self.in_flight.len() < ROOM || self.rst);
        ready.set(Ready::RDHUP, self.fin || self.rst);
        ready.set(Ready::HUP, self.rst || self.fin && self.we_shut);
        ready.set(Ready::ERR, self.rst);
        ready.set(Ready::PRI, self.urgent);
        ready
    }

    /// The peer reads up to `count` bytes, which raises an edge if a write was refused.
    pub(super) fn fetch(&mut self, count: usize) {
        let count = count.min(self.in_flight.len());
        self.delivered.extend(self.in_flight.drain(..count));
        if count > 0 && mem::take(&mut self.refused) {
            self.edge = true;
        }
    }
}

/// The reactor's end of a wire, in place of a descriptor.
#[derive(Clone, Debug)]
pub(super) struct Fake(pub(super) Rc<RefCell<Wire>>);

impl Stream for Fake {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        let short = wire.fault()?;
        if wire.inbound.is_empty() {
            return match (wire.rst, wire.fin) {
                (true, _) => Err(Errno::ECONNRESET),
                (_, true) => Ok(0),
                _ => Err(Errno::EAGAIN),
            };
        }
        let mut count = buffer.len().min(wire.inbound.len());
        if short && wire.warned {
            count = count.div_ceil(2);
        }
        wire.inbound
            .drain(..count)
            .zip(buffer)
            .for_each(|(byte, place)| *place = byte);
        Ok(count)
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        assert!(!wire.we_shut, "written after the end");
        if wire.faults.front() == Some(&Fault::Refused) {
            wire.faults.pop_front();
            wire.edge = true;
            return Err(Errno::EAGAIN);
        }
        let short = wire.fault()?;
        if wire.rst {
            return Err(Errno::EPIPE);
        }
        let room = ROOM - wire.in_flight.len();
        if room == 0 {
            wire.refused = true;
            return Err(Errno::EAGAIN);
        }
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .take(room)
            .collect();
        let count = if short {
            bytes.len().div_ceil(2)
        } else {
            bytes.len()
        };
        wire.in_flight.extend(&bytes[..count]);
        // As on Linux, a write that fills the buffer counts as a refusal of the rest.
        wire.refused |= count == room;
        Ok(count)
    }

    fn reset(&mut self) {
        self.0.borrow_mut().we_reset = true;
    }

    fn shutdown_write(&mut self) -> Result<()> {
        let wire = &mut *self.0.borrow_mut();
        wire.we_shut = true;
        wire.edge |= wire.fin;
        Ok(())
    }

    fn connect_result(&mut self) -> Result<()> {
        match self.0.borrow().rst {
            true => Err(Errno::ECONNRESET),
            false => Ok(()),
        }
    }

    fn is_peer(&self) -> bool {
        true
    }

    fn unread(&self) -> Result<usize> {
        Ok(self.0.borrow().inbound.len())
    }

    fn unacknowledged(&self) -> Result<usize> {
        Ok(self.0.borrow().in_flight.len())
    }

    fn unheard_ms(&self) -> Option<u32> {
        self.0.borrow().unheard_ms
    }
}
