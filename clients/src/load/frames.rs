//! The frames that the client of a WebSocket sends.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use edgeloop::web::frame::{Code, Mask, push_close, push_pong, push_text, push_text_header};

use super::content::scatter;

/// Makes frames, each with a mask of its own.
///
/// A browser takes its masks from the kernel, so that a page cannot choose the bytes on the wire (RFC
/// 6455, section 10.3). A load chooses its bytes itself, and is to cost little: its masks are those of a
/// generator (`SplitMix64`) that begins with a number of the kernel.
#[derive(Debug)]
pub(super) struct Frames {
    state: u64,
    /// The frame made last. It is a field so that its memory is reused.
    frame: Vec<u8>,
}

impl Frames {
    pub(super) fn new() -> Frames {
        Frames {
            // The keys of this hasher come from getrandom(2).
            state: RandomState::new().hash_one(0),
            frame: Vec::new(),
        }
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(1);
        scatter(self.state)
    }

    /// The key of a handshake.
    pub(super) fn key(&mut self) -> u128 {
        u128::from(self.random()) << 64 | u128::from(self.random())
    }

    fn mask(&mut self) -> Mask {
        Mask((self.random() as u32).to_le_bytes())
    }

    /// A text message.
    pub(super) fn text(&mut self, text: &[u8]) -> &[u8] {
        let mask = self.mask();
        self.make(|frame| push_text(text, Some(mask), frame))
    }

    /// The header of a text message of this length, and the mask of the text that is to follow.
    pub(super) fn text_header(&mut self, len: usize) -> (&[u8], Mask) {
        let mask = self.mask();
        let header = self.make(|frame| push_text_header(len, Some(mask), frame));
        (header, mask)
    }

    pub(super) fn pong(&mut self, payload: &[u8]) -> &[u8] {
        let mask = self.mask();
        self.make(|frame| push_pong(payload, Some(mask), frame))
    }

    pub(super) fn close(&mut self, code: Code) -> &[u8] {
        let mask = self.mask();
        self.make(|frame| push_close(Some(code), Some(mask), frame))
    }

    fn make(&mut self, push: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.frame.clear();
        push(&mut self.frame);
        &self.frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_has_a_mask_of_its_own() {
        let (mut one, mut other) = (Frames::new(), Frames::new());
        let masks: std::collections::HashSet<[u8; 4]> = (0..1000)
            .flat_map(|_| [one.mask().0, other.mask().0])
            .collect();
        // Of 2,000 numbers of 32 bits, two are the same once in two thousand runs.
        assert!(masks.len() >= 1998, "{}", masks.len());
        assert_ne!(one.key(), one.key());
    }
}
