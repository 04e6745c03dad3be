//! Pending output, the pool that its memory comes from, and the one read buffer.
//!
//! Many servers give each connection two buffers for its whole life: ten thousand idle connections
//! with 16 KiB each hold 160 MB for nothing. Here an idle connection owns no buffer. All
//! connections read into one [`ReadBuffer`], whose bytes a protocol handles before the next read. A
//! connection has a [`Buffer`] for output only while the kernel refuses its bytes, which means that
//! its peer reads more slowly than the server writes. When the buffer has drained it goes back to
//! the [`BufferPool`].
//!
//! The pool keeps a server under steady load from allocating. It could also keep the memory of one
//! bad hour for ever: so it keeps at most [`KEEP_BYTES`], and no single buffer above
//! [`KEEP_EACH_BYTES`].

use std::ops::{Deref, DerefMut, Range};

use nix::Result;
use nix::errno::Errno;

/// The pending output of one connection: a queue of bytes that is filled at the back and sent from
/// the front.
///
/// The bytes lie in one piece, so that one send(2) can offer them all. A ring buffer would lie in
/// two, and a list of chunks would need an allocation for each.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Start of the pending bytes in `bytes`: the bytes before it were sent.
    head: usize,
    /// Progress of the peer, for the stall timeout and the minimum rate. It is kept here because
    /// only a connection with pending output needs it.
    pub(crate) drain: Drain,
}

/// The progress of a peer that pending output waits for. Times are the lower 32 bits of the
/// reactor's milliseconds; `core/patience.rs` uses them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drain {
    /// The time of the last look.
    pub(crate) looked_ms: u32,
    /// Bytes in the kernel's send queue at the last look; `None` before the first one, and for a
    /// descriptor that does not tell.
    pub(crate) unacknowledged: Option<usize>,
    /// Start of the window over which the rate is averaged: `Conn::begin_window` sets it.
    pub(crate) window_ms: u32,
    /// Bytes that the kernel took in that window.
    pub(crate) taken: usize,
}

impl Drain {
    /// The progress of a queue that begins now.
    pub(crate) fn since(now_ms: u32) -> Drain {
        Drain {
            looked_ms: now_ms,
            ..Drain::default()
        }
    }
}

impl Buffer {
    /// Pending bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pending bytes, in one piece.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Appends bytes to the queue. Error: `ENOMEM`, with the queue as it was. Queues are the one part of
    /// the memory that peers decide on, so a lack of it ends one connection and not the process.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        // When the sent part is the larger one, moving the rest to the front costs less than
        // growing. At most one byte is moved for each byte sent, and a queue that never empties
        // does not grow.
        if self.bytes.capacity() - self.bytes.len() < bytes.len() && self.head >= self.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
        let reserved = self.bytes.try_reserve(bytes.len());
        reserved.map_err(|_| Errno::ENOMEM)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Removes the first `count` bytes, which were sent.
    pub(crate) fn consume(&mut self, count: usize) {
        self.head += count;
        debug_assert!(self.head <= self.bytes.len(), "more sent than there was");
        if self.is_empty() {
            self.bytes.clear();
            self.head = 0;
        }
    }
}

/// The one buffer of a reactor that every stream is read into. It begins at a page boundary, where
/// the kernel's copy is faster.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    /// One page more than the length of the buffer.
    bytes: Box<[u8]>,
    /// Offset of the first page boundary in `bytes`.
    first: usize,
}

/// Bytes of a page of memory.
const PAGE: usize = 4096;

impl ReadBuffer {
    /// A buffer for reads of `len` bytes.
    pub(crate) fn new(len: usize) -> ReadBuffer {
        let bytes = vec![0; PAGE + len].into_boxed_slice();
        let first = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        ReadBuffer { bytes, first }
    }

    fn range(&self) -> Range<usize> {
        self.first..self.first + self.bytes.len() - PAGE
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.range()]
    }
}

impl DerefMut for ReadBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.bytes[range]
    }
}

/// Bytes that the pool keeps at most: the buffers of a few dozen peers that are slow at the same
/// time, at the default high-water mark. Memory beyond it goes back to the allocator.
const KEEP_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of the largest buffer that the pool keeps: a larger one is the exceptional need of one
/// peer.
const KEEP_EACH_BYTES: usize = 1024 * 1024;

/// Empty buffers, kept for their next use.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    #[allow(
        clippy::vec_box,
        reason = "a connection has room for a pointer only, and the box is used again"
    )]
    free: Vec<Box<Buffer>>,
    /// The sum of the capacities of `free`.
    bytes: usize,
}

impl BufferPool {
    #[allow(clippy::unnecessary_box_returns, reason = "the box is what is pooled")]
    /// An empty buffer, from the pool if it has one. The one that was given last comes first: its
    /// memory is the most likely to be in the cache.
    pub(crate) fn take(&mut self) -> Box<Buffer> {
        let buffer = self.free.pop().unwrap_or_default();
        self.bytes -= buffer.bytes.capacity();
        buffer
    }

    /// Takes a buffer back and empties it; frees it if the pool has enough.
    pub(crate) fn give(&mut self, mut buffer: Box<Buffer>) {
        let bytes = buffer.bytes.capacity();
        if bytes <= KEEP_EACH_BYTES && self.bytes + bytes <= KEEP_BYTES {
            buffer.consume(buffer.len());
            self.bytes += bytes;
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_they_came(steps in prop::collection::vec((0usize..300, 0usize..400), 1..100)) {
            let (mut buffer, mut model, mut next) = (Buffer::default(), VecDeque::new(), 0u8);
            for (push, consume) in steps {
                let bytes: Vec<u8> = (0..push).map(|_| { next = next.wrapping_add(1); next }).collect();
                buffer.push(&bytes).unwrap();
                model.extend(bytes);
                let consume = consume.min(buffer.len());
                buffer.consume(consume);
                model.drain(..consume);
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert!(buffer.as_slice().iter().eq(&model));
            }
        }
    }

    #[test]
    fn a_queue_that_never_empties_does_not_grow() {
        let mut buffer = Buffer::default();
        buffer.push(&[0; 100]).unwrap();
        for _ in 0..10_000 {
            buffer.push(&[0; 100]).unwrap();
            buffer.consume(100);
        }
        assert!(
            buffer.bytes.capacity() < 1_000,
            "{}",
            buffer.bytes.capacity()
        );
    }

    #[test]
    fn the_pool_gives_memory_again_but_keeps_no_giant_and_not_too_much() {
        let filled = |pool: &mut BufferPool, bytes: usize| {
            let mut buffer = pool.take();
            buffer.push(&vec![1; bytes]).unwrap();
            buffer
        };
        let mut pool = BufferPool::default();
        let buffer = filled(&mut pool, 1000);
        pool.give(buffer);
        let again = pool.take();
        assert!(again.is_empty() && again.bytes.capacity() >= 1000);
        let giant = filled(&mut pool, KEEP_EACH_BYTES + 1);
        pool.give(giant);
        assert_eq!(pool.take().bytes.capacity(), 0);
        let many: Vec<_> = (0..20)
            .map(|_| filled(&mut pool, KEEP_EACH_BYTES))
            .collect();
        many.into_iter().for_each(|buffer| pool.give(buffer));
        assert_eq!((pool.free.len(), pool.bytes), (8, KEEP_BYTES));
    }
}
