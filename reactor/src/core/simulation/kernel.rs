//! The other side of the simulation: sockets, and a kernel that does whatever it may.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;
use std::rc::Rc;

use nix::Result;
use nix::errno::Errno;

use crate::core::conn::Stream;
use crate::poll::Ready;

/// The room in a wire's send buffer.
const ROOM: usize = 30;

/// What the kernel does instead of what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Interrupted,
    NoMemory,
    /// Less than was possible: of a write always allowed, of a read after a hang-up or urgent data.
    Short,
    /// A write is refused though there is room, and the edge that this promises comes at once.
    Refused,
}

#[derive(Debug)]
pub(super) struct Wire {
    /// Sent by the peer and not read yet.
    pub(super) inbound: VecDeque<u8>,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// An event has told of a hang-up or of urgent data, so that a short read is no proof.
    pub(super) warned: bool,
    /// Written and not fetched by the peer yet.
    pub(super) in_flight: VecDeque<u8>,
    /// Fetched by the peer.
    pub(super) delivered: Vec<u8>,
    /// A write was refused: room will be an edge.
    pub(super) refused: bool,
    /// Something happened since the last event.
    pub(super) edge: bool,
    pub(super) urgent: bool,
    /// What the next event says besides the truth.
    pub(super) spurious: Ready,
    pub(super) we_shut: bool,
    /// Our close is a reset.
    pub(super) we_reset: bool,
    pub(super) closed: bool,
    /// Closed with unread input while bytes were in flight: the reset destroys them.
    pub(super) destroyed: bool,
    pub(super) faults: VecDeque<Fault>,
    /// Since the peer's last acknowledgement.
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

    fn fault(&mut self) -> Result<bool> {
        match self.faults.pop_front().unwrap_or(Fault::None) {
            Fault::Interrupted => Err(Errno::EINTR),
            Fault::NoMemory => Err(Errno::ENOBUFS),
            Fault::Short => Ok(true),
            Fault::None | Fault::Refused => Ok(false),
        }
    }

    /// What poll(2) would say.
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

    pub(super) fn fetch(&mut self, count: usize) {
        let count = count.min(self.in_flight.len());
        self.delivered.extend(self.in_flight.drain(..count));
        if count > 0 && mem::take(&mut self.refused) {
            self.edge = true;
        }
    }
}

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
        // Like Linux: a write that was cut for want of room is a refusal of the rest.
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
        Ok(())
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
