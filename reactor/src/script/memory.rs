//! A script's connection: bytes in memory in place of a descriptor.

use std::collections::VecDeque;
use std::io::IoSlice;

use nix::Result;
use nix::errno::Errno;

use crate::core::conn::Stream;
use crate::protocol::Closed;

/// A connection in memory, in place of a descriptor. It takes every byte that is written, unless the
/// far end does not read.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Bytes that the far end has sent and the core has not read, in the chunks in which they were
    /// sent: a read returns bytes of one chunk only.
    pub(super) inbound: VecDeque<Vec<u8>>,
    /// The far end sends no more; the end of the stream follows the last chunk.
    pub(super) ended: bool,
    /// Bytes that the far end has received and the test has not taken.
    pub(super) output: Vec<u8>,
    /// False for an adopted stream: timeouts and counters leave it alone.
    pub(super) is_peer: bool,
    /// The far end takes no more bytes.
    pub(super) is_full: bool,
    /// The connection was closed by a reset.
    pub(super) was_reset: bool,
}

/// A closed connection: the cause of its close, and the output that the test has not taken.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) why: Closed,
    pub(super) memory: Memory,
}

impl Stream for Memory {
    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some(mut bytes) = self.inbound.pop_front() else {
            return match self.ended {
                true => Ok(0),
                false => Err(Errno::EAGAIN),
            };
        };
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            bytes.drain(..count);
            self.inbound.push_front(bytes);
        }
        Ok(count)
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        if self.is_full {
            return Err(Errno::EAGAIN);
        }
        slices.iter().for_each(|slice| self.output.extend(&**slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn reset(&mut self) {
        self.was_reset = true;
    }

    fn shutdown_write(&mut self) -> Result<()> {
        Ok(())
    }

    fn connect_result(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_peer(&self) -> bool {
        self.is_peer
    }

    fn unread(&self) -> Result<usize> {
        Ok(self.inbound.iter().map(Vec::len).sum())
    }

    fn unacknowledged(&self) -> Result<usize> {
        Ok(0)
    }

    fn unheard_ms(&self) -> Option<u32> {
        None
    }
}
