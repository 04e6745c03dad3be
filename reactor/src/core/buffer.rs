//! Bytes that the kernel would not take yet, and the pool their memory comes from.
//!
//! A connection has a [`Buffer`] only while its peer is slower than we are. An idle connection owns
//! none, which is why ten thousand of them cost so little.

use std::ops::{Deref, DerefMut, Range};

/// A queue of bytes: written at the back, sent from the front.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Start of the bytes that wait: those before it were sent.
    head: usize,
    /// How fast the peer takes what waits here.
    pub(crate) drain: Drain,
}

/// How fast a peer takes what waits for it. Times are milliseconds, the lower half.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drain {
    /// When it was last looked at.
    pub(crate) looked_ms: u32,
    /// Bytes that the peer had not acknowledged then, as far as the kernel could tell.
    pub(crate) unacknowledged: Option<usize>,
    /// Start of the window over which the rate is averaged.
    pub(crate) window_ms: u32,
    /// Bytes that the kernel took in that window.
    pub(crate) taken: usize,
}

impl Drain {
    /// Nothing waited before this.
    pub(crate) fn since(now_ms: u32) -> Drain {
        Drain {
            looked_ms: now_ms,
            window_ms: now_ms,
            ..Drain::default()
        }
    }
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // Moving the rest to the front costs less than growing, once what was sent is the larger
        // part.
        if self.bytes.capacity() - self.bytes.len() < bytes.len() && self.head >= self.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the first `count` bytes: they are sent.
    pub(crate) fn consume(&mut self, count: usize) {
        self.head += count;
        debug_assert!(self.head <= self.bytes.len(), "more sent than there was");
        if self.is_empty() {
            self.bytes.clear();
            self.head = 0;
        }
    }
}

/// The one buffer of a reactor that everything is read into. It begins where a page begins: the
/// kernel copies faster to there.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Box<[u8]>,
    /// Where the first page begins.
    first: usize,
}

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
/// time, at the default high-water mark. The rest goes back to the system.
const KEEP_BYTES: usize = 8 * 1024 * 1024;
/// A single buffer above this is one peer's exceptional need.
const KEEP_EACH_BYTES: usize = 1024 * 1024;

/// Empty buffers that wait for their next use, so that a server under steady load does not
/// allocate.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    #[allow(
        clippy::vec_box,
        reason = "a connection has room for a pointer only, and the box is used again"
    )]
    free: Vec<Box<Buffer>>,
    /// The capacity of all of them.
    bytes: usize,
}

impl BufferPool {
    #[allow(clippy::unnecessary_box_returns, reason = "the box is what is pooled")]
    pub(crate) fn take(&mut self) -> Box<Buffer> {
        let buffer = self.free.pop().unwrap_or_default();
        self.bytes -= buffer.bytes.capacity();
        buffer
    }

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
                buffer.push(&bytes);
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
        buffer.push(&[0; 100]);
        for _ in 0..10_000 {
            buffer.push(&[0; 100]);
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
            buffer.push(&vec![1; bytes]);
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
