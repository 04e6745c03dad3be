//! Requests of the loop to its recorder's thread. An eventfd(2) carries them, as a sum: each kind
//! has a range of bits of its own.

/// Open the file anew at a [`MARK`](super::MARK), which is on its way.
pub(super) const REOPEN_AT_MARK: u64 = 1;
/// Open the file anew, without a mark.
pub(super) const REOPEN: u64 = 1 << 20;
/// Answer once all is written.
pub(super) const ANSWER: u64 = 1 << 40;

/// Requests that the thread has yet to meet.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Marks on their way; -1 if one was read before the request that goes with it.
    pub(super) marks: i64,
    /// Marks that were obeyed before they were read, while the target took nothing.
    pub(super) obeyed: i64,
    pub(super) reopen: bool,
    pub(super) answer: bool,
}

impl Requests {
    /// Takes note of the requests that make up this sum.
    pub(super) fn note(&mut self, sum: u64) {
        self.marks += (sum % REOPEN) as i64;
        self.reopen |= sum % ANSWER >= REOPEN;
        self.answer |= sum >= ANSWER;
    }
}
