//! Random numbers for waits and for simulations; not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A xorshift64* generator: a seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for a seed; neighbouring seeds give unrelated numbers.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        // The state must not be zero, and should have many bits set.
        Random(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A generator that no other process has: the standard library seeds its hashes from the kernel.
    #[must_use]
    pub fn from_system() -> Random {
        Random::new(RandomState::new().hash_one(()))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from 0 to `limit - 1`; 0 for a limit of 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit.max(1)
    }

    /// True with a chance of one in `count`.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
