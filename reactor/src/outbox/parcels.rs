//! The output of a turn.
//!
//! The bytes of a turn lie one after another in one vector. The output for one peer is a *parcel*: a
//! chain of *pieces*, which are ranges of that vector. A broadcast stores its bytes once and adds a
//! piece for each recipient. Where a piece continues the recipient's last one, as successive lines of
//! a chat do, the last one is made longer instead; it lies in the parcel itself, at hand for that.
//!
//! A connection may have a [`Framing`]: then its pieces are ranges of the encoded bytes, which are stored
//! beside the plain ones, once for each framing among the recipients.
//!
//! A peer has a limit. It counts the bytes that wait for the peer since earlier turns and those of
//! this turn; a piece beyond it is dropped, and so is every later one, since the stream must not have
//! a gap.

use std::io::IoSlice;
use std::iter;
use std::mem;
use std::ops::Range;
use std::ptr;

use crate::conn_map::ConnMap;
use crate::core::work::{RECIPIENT, WRITE};
use crate::framing::Framing;
use crate::id::ConnId;

/// A range of the outbox's bytes on its way to one peer, and the piece that follows, or NONE.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    end: usize,
    next: u32,
}

/// Output of this turn for one peer: a chain of pieces, in most cases of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel {
    pub(crate) id: ConnId,
    /// The last piece; both are 0 in an empty parcel.
    start: usize,
    end: usize,
    /// The chain of the pieces before it: its first and its last, or NONE.
    first: u32,
    tail: u32,
    /// Bytes that wait for the peer, those of this parcel included.
    queued: usize,
    /// Output was dropped for want of room, and what follows must not close the gap.
    is_cut: bool,
}

impl Parcel {
    fn new(id: ConnId) -> Parcel {
        Parcel {
            id,
            start: 0,
            end: 0,
            first: NONE,
            tail: NONE,
            queued: 0,
            is_cut: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end && self.first == NONE
    }
}

/// Neither a piece nor a parcel.
const NONE: u32 = u32::MAX;

/// A turn's worth of bytes after which the outbox is emptied before the turn ends, so that it stays
/// bounded.
const FULL_BYTES: usize = 256 * 1024;
/// Flush early at this many pieces: a chatty turn makes many small ones.
const FULL_PIECES: usize = 64 * 1024;
/// The memory that an empty outbox keeps in any case.
const KEEP_BYTES: usize = 2 * FULL_BYTES;
/// About so many turns after a large one, its memory is given back.
const PEAK_TURNS: usize = 256;
/// Pieces handed to one system call; more take another one.
const SLICES: usize = 64;

/// The output of a turn, in parcels.
#[derive(Debug)]
pub(crate) struct Parcels {
    /// Bytes that may wait for one peer.
    limit: usize,
    /// Connections to which that does not apply: the user's own output.
    unlimited: Vec<ConnId>,
    /// Bytes that wait for peers since earlier turns.
    pending: ConnMap<usize>,
    /// Connections with a framing.
    framed: ConnMap<&'static Framing>,
    /// During a broadcast: where its bytes lie for each framing met so far, of which there are one or
    /// two. A framing is known by its address, and no framing by 0.
    stored: Vec<(usize, Range<usize>)>,
    /// Connections whose limit was reached since this was last asked for.
    overflows: Vec<ConnId>,
    bytes: Vec<u8>,
    /// The length of `bytes` in recent turns, which decays slowly.
    peak_bytes: usize,
    pieces: Vec<Piece>,
    all: Vec<Parcel>,
    /// For each slot the number of its last parcel, which may be an earlier turn's: then the parcel
    /// with that number is another connection's, or there is none.
    parcel_of: Vec<u32>,
}

impl Parcels {
    pub(super) fn new(limit: usize) -> Parcels {
        Parcels {
            limit,
            unlimited: Vec::new(),
            pending: ConnMap::new(),
            framed: ConnMap::new(),
            stored: Vec::new(),
            overflows: Vec::new(),
            bytes: Vec::new(),
            peak_bytes: 0,
            pieces: Vec::new(),
            all: Vec::new(),
            parcel_of: Vec::new(),
        }
    }

    /// Bytes of this turn.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there is output for this connection.
    pub(super) fn is_for(&self, id: ConnId) -> bool {
        self.index_of(id)
            .is_some_and(|index| !self.all[index].is_empty())
    }

    /// Bytes that wait for a peer, those of this turn included.
    pub(super) fn queued(&self, id: ConnId) -> usize {
        match self.index_of(id).map(|index| &self.all[index]) {
            Some(parcel) if !parcel.is_empty() => parcel.queued,
            _ => self.pending.get(id).copied().unwrap_or(0),
        }
    }

    /// Takes a connection from those whose limit was reached.
    pub(super) fn next_overflow(&mut self) -> Option<ConnId> {
        self.overflows.pop()
    }

    /// Adds bytes to the output for some connections, storing them once as they are and once for each
    /// framing, and returns the units of work that this makes at the most.
    #[inline]
    pub(super) fn add(&mut self, to: impl IntoIterator<Item = ConnId>, bytes: &[u8]) -> usize {
        match self.framed.is_empty() {
            true => self.add_as_is(to, bytes),
            false => self.add_encoded(to, bytes),
        }
    }

    /// Adds bytes to the output for some connections of which any may have a framing. A framing costs
    /// the bytes that it encodes, and each recipient those that it is sent.
    fn add_encoded(&mut self, to: impl IntoIterator<Item = ConnId>, bytes: &[u8]) -> usize {
        let (first, parcels) = (self.bytes.len(), self.all.len());
        let (mut is_taken, mut units) = (false, 0);
        // Most recipients have the framing of the one before.
        let (mut last, mut start, mut end) = (usize::MAX, 0, 0);
        for id in to {
            let framing = self.framed.get(id).copied();
            let key = framing.map_or(0, |framing| ptr::from_ref(framing).addr());
            if key != last {
                last = key;
                Range { start, end } = self.store(key, framing, bytes);
            }
            units += end - start + RECIPIENT;
            if start < end {
                is_taken |= self.add_piece(id, start, end);
            }
        }
        let framings = self.stored.iter().filter(|(key, _)| *key != 0);
        units += framings.count() * bytes.len();
        if !is_taken {
            self.bytes.truncate(first);
        }
        self.stored.clear();
        units + (self.all.len() - parcels) * WRITE
    }

    /// The range of a broadcast's bytes for this framing, which are stored if they were not yet. Calls are
    /// rare, and the code stays out of the loop over the recipients.
    #[inline(never)]
    fn store(
        &mut self,
        key: usize,
        framing: Option<&'static Framing>,
        bytes: &[u8],
    ) -> Range<usize> {
        if let Some((_, range)) = self.stored.iter().find(|(other, _)| *other == key) {
            return range.clone();
        }
        let start = self.bytes.len();
        match framing {
            Some(framing) => (framing.encode)(bytes, &mut self.bytes),
            None => self.bytes.extend_from_slice(bytes),
        }
        let range = start..self.bytes.len();
        self.stored.push((key, range.clone()));
        range
    }

    /// Adds bytes to the output for some connections as they are, storing them once, and returns the
    /// units of work that this makes at the most.
    #[inline]
    pub(super) fn add_as_is(
        &mut self,
        to: impl IntoIterator<Item = ConnId>,
        bytes: &[u8],
    ) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        let (mut is_taken, parcels) = (false, self.all.len());
        let to = to.into_iter();
        // Known before, unlike the exact number: counting would be a step for each recipient.
        let recipients = to.size_hint().1;
        for id in to {
            is_taken |= self.add_piece(id, start, end);
        }
        if !is_taken {
            self.bytes.truncate(start);
        }
        let first_pieces = self.all.len() - parcels;
        let recipients = recipients.unwrap_or(first_pieces);
        recipients * (bytes.len() + RECIPIENT) + first_pieces * WRITE
    }

    /// Adds a piece to a connection's output of this turn, and returns whether there was room for it.
    #[inline]
    fn add_piece(&mut self, id: ConnId, start: usize, end: usize) -> bool {
        if let Some(index) = self.index_of(id) {
            let parcel = &mut self.all[index];
            let queued = parcel.queued + (end - start);
            if parcel.end == start && queued <= self.limit {
                (parcel.end, parcel.queued) = (end, queued);
                true
            } else {
                self.chain_piece(index, start, end)
            }
        } else if let Some(index) = self.add_parcel(id) {
            self.chain_piece(index, start, end)
        } else {
            false
        }
    }

    /// Adds a piece that does not continue the parcel's last one, or that has no room.
    fn chain_piece(&mut self, index: usize, start: usize, end: usize) -> bool {
        let added = self.pieces.len() as u32;
        let parcel = &mut self.all[index];
        if parcel.is_empty() {
            parcel.queued = self.pending.get(parcel.id).copied().unwrap_or(0);
        }
        parcel.queued += end - start;
        let is_over = parcel.queued > self.limit && !self.unlimited.contains(&parcel.id);
        if parcel.is_cut || is_over {
            let (id, was_cut) = (parcel.id, mem::replace(&mut parcel.is_cut, true));
            if !was_cut {
                self.overflows.push(id);
            }
            return false;
        }
        if !parcel.is_empty() {
            match self.pieces.get_mut(parcel.tail as usize) {
                Some(tail) => tail.next = added,
                None => parcel.first = added,
            }
            parcel.tail = added;
            self.pieces.push(Piece {
                start: parcel.start,
                end: parcel.end,
                next: NONE,
            });
        }
        (parcel.start, parcel.end) = (start, end);
        true
    }

    /// Adds an empty parcel for a connection, unless the connection is gone and its slot has another
    /// tenant, whose parcel would not be found any more.
    fn add_parcel(&mut self, id: ConnId) -> Option<usize> {
        if self.parcel_of.len() <= id.slot() {
            self.parcel_of.resize(id.slot() + 1, NONE);
        }
        let number = &mut self.parcel_of[id.slot()];
        let last = self.all.get(*number as usize);
        if last.is_some_and(|last| id.is_predecessor_of(last.id)) {
            return None;
        }
        let index = self.all.len();
        *number = index as u32;
        self.all.push(Parcel::new(id));
        Some(index)
    }

    /// The number of a connection's parcel in this turn.
    #[inline]
    fn index_of(&self, id: ConnId) -> Option<usize> {
        let index = *self.parcel_of.get(id.slot())? as usize;
        (self.all.get(index)?.id == id).then_some(index)
    }

    /// Sets the framing of a connection.
    pub(super) fn set_framing(&mut self, id: ConnId, framing: &'static Framing) {
        self.framed.insert(id, framing);
    }

    /// Whether a connection has a framing.
    #[inline]
    pub(super) fn is_framed(&self, id: ConnId) -> bool {
        !self.framed.is_empty() && self.framed.contains(id)
    }

    /// The framing of a connection.
    pub(crate) fn framing(&self, id: ConnId) -> Option<&'static Framing> {
        self.framed.get(id).copied()
    }

    /// The limit does not apply to this connection.
    pub(crate) fn set_unlimited(&mut self, id: ConnId) {
        self.unlimited.push(id);
    }

    /// A connection is gone.
    pub(crate) fn forget(&mut self, id: ConnId) {
        self.pending.remove(id);
        self.framed.remove(id);
        self.unlimited.retain(|unlimited| *unlimited != id);
    }

    /// Notes the bytes that wait for a peer now.
    pub(crate) fn set_pending(&mut self, id: ConnId, bytes: usize) {
        match bytes {
            0 => self.pending.remove(id),
            bytes => self.pending.insert(id, bytes),
        };
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES || self.all.len() + self.pieces.len() >= FULL_PIECES
    }

    /// Takes what parcel number `index` holds so far; pieces added later make a new chain.
    pub(crate) fn take(&mut self, index: usize) -> Option<Parcel> {
        let parcel = self.all.get_mut(index)?;
        Some(mem::replace(parcel, Parcel::new(parcel.id)))
    }

    /// Takes what was said to this connection while the outbox was shorter than `until`, and forgets
    /// the rest.
    pub(crate) fn take_until(&mut self, id: ConnId, until: usize) -> Option<Parcel> {
        let index = self.index_of(id)?;
        let mut taken = mem::replace(&mut self.all[index], Parcel::new(id));
        let cut = |start: &mut usize, end: &mut usize| {
            (*start, *end) = ((*start).min(until), (*end).min(until));
            start < end
        };
        let mut is_left = cut(&mut taken.start, &mut taken.end);
        let mut next = taken.first;
        while let Some(piece) = self.pieces.get_mut(next as usize) {
            is_left |= cut(&mut piece.start, &mut piece.end);
            next = piece.next;
        }
        is_left.then_some(taken)
    }

    /// The bytes of a parcel, if they lie in one piece.
    #[inline]
    pub(crate) fn only_slice(&self, parcel: Parcel) -> Option<&[u8]> {
        (parcel.first == NONE).then(|| &self.bytes[parcel.start..parcel.end])
    }

    /// Calls `write` with other bytes and then the slices of a parcel, in order, as often as it takes.
    pub(crate) fn try_for_each_slices<E>(
        &self,
        before: &[u8],
        parcel: Parcel,
        mut write: impl FnMut(&mut [IoSlice<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let last = Piece {
            start: parcel.start,
            end: parcel.end,
            next: NONE,
        };
        let piece = |index: u32| self.pieces.get(index as usize);
        let chain = iter::successors(piece(parcel.first), |before| piece(before.next));
        let pieces = chain.chain([&last]);
        let mut slices = iter::once(before)
            .chain(pieces.map(|piece| &self.bytes[piece.start..piece.end]))
            .filter(|slice| !slice.is_empty())
            .map(IoSlice::new)
            .peekable();
        while slices.peek().is_some() {
            let mut room = [IoSlice::new(&[]); SLICES];
            let taken = room.iter_mut().zip(&mut slices);
            let count = taken.map(|(place, slice)| *place = slice).count();
            write(&mut room[..count])?;
        }
        Ok(())
    }

    /// The turn's output is delivered: forgets its bytes, pieces and parcels.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.pieces.clear();
        self.peak_bytes -= self.peak_bytes / PEAK_TURNS;
        self.peak_bytes = self.peak_bytes.max(self.bytes.len());
        self.bytes.clear();
        // Memory that is given back in one turn and needed again in the next costs page faults.
        let keep = KEEP_BYTES.max(2 * self.peak_bytes);
        if self.bytes.capacity() > keep {
            self.bytes.shrink_to(keep);
        }
        if self.pieces.capacity() > 2 * FULL_PIECES {
            self.pieces.shrink_to(2 * FULL_PIECES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection's id.
    fn id(slot: u32) -> ConnId {
        ConnId {
            slot,
            generation: 0,
        }
    }

    fn unlimited() -> Parcels {
        Parcels::new(usize::MAX)
    }

    #[test]
    fn an_outbox_is_full_with_256_kib() {
        let mut parcels = unlimited();
        parcels.add([id(0)], &vec![1; 256 * 1024 - 1]);
        assert!(!parcels.is_full());
        parcels.add([id(0)], &[1]);
        assert!(parcels.is_full());
        parcels.clear();
        assert!(!parcels.is_full());
    }

    /// Bytes for two connections by turns are a piece each. The last piece of each lies in its parcel.
    fn pieces(parcels: &mut Parcels, numbers: Range<u32>) {
        numbers.for_each(|number| _ = parcels.add([id(number % 2)], &[1]));
    }

    #[test]
    fn an_outbox_is_full_with_65536_pieces() {
        let mut parcels = unlimited();
        pieces(&mut parcels, 0..65_535);
        assert!(!parcels.is_full());
        pieces(&mut parcels, 65_535..65_536);
        assert!(parcels.is_full());
    }

    #[test]
    fn the_memory_of_a_large_turn_is_kept_for_a_while_and_then_given_back() {
        let mut parcels = unlimited();
        let large = 4 * 1024 * 1024;
        let small_turns = |parcels: &mut Parcels, turns| {
            for _ in 0..turns {
                parcels.add([id(0)], &[1]);
                parcels.clear();
            }
        };
        parcels.add([id(0)], &vec![1; large]);
        parcels.clear();
        small_turns(&mut parcels, 100);
        assert!(parcels.bytes.capacity() >= large);
        small_turns(&mut parcels, 900);
        let left = parcels.bytes.capacity();
        assert!((512 * 1024..1024 * 1024).contains(&left), "{left} bytes");
    }

    #[test]
    fn an_outbox_keeps_memory_for_twice_the_pieces_that_fill_it() {
        for (count, kept) in [(100_000, 100_000..=131_072), (300_000, 131_072..=131_072)] {
            let mut parcels = unlimited();
            pieces(&mut parcels, 0..count);
            parcels.clear();
            let left = parcels.pieces.capacity();
            assert!(kept.contains(&left), "{left} of {count} pieces");
        }
    }
}
