//! The checks of a load, for a caller that plays the server and need not know the kinds of load.

use std::fmt;

use super::chat::Chat;
use super::content::LINE_MIN;
use super::crew::Phase;
use super::echo::Echo;
use super::options::Kind;
use super::plan::Plan;
use super::rig::Rig;
use super::worker::Load;

/// A load in memory whose server the caller plays: the load asks, the caller answers, and the load
/// counts what is wrong with the answers. No time passes.
///
/// ```
/// use edgecall::load::Rehearsal;
///
/// let mut echo = Rehearsal::echo(1, 64, 1);
/// let message = echo.asked(0);
/// echo.answer(0, &message[..10]);
/// echo.answer(0, &message[10..]);
/// assert_eq!((echo.messages(), echo.mismatches()), (1, 0));
/// echo.answer(0, &message);
/// assert_eq!(echo.mismatches(), 1);
/// ```
pub struct Rehearsal(Box<dyn Played>);

impl fmt::Debug for Rehearsal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rehearsal").finish_non_exhaustive()
    }
}

impl Rehearsal {
    /// A load on an echo server, which is being measured: so many connections, each with `depth`
    /// messages of `size` bytes under way. None of the numbers is 0.
    #[must_use]
    pub fn echo(connections: u32, size: usize, depth: u32) -> Rehearsal {
        let plan = Plan::of(Kind::Echo, connections, size, depth);
        Rehearsal(Box::new(Rig::<Echo>::new(plan).in_phase(Phase::Measuring)))
    }

    /// A load on a chat, whose members have connected and wait for the question for their names.
    /// All of the members, two at least, are to talk, in lines of the shortest length.
    #[must_use]
    pub fn chat(members: u32) -> Rehearsal {
        let plan = Plan::of(Kind::Chat, members, LINE_MIN, 1);
        Rehearsal(Box::new(Rig::<Chat>::new(plan).open()))
    }

    /// The bytes that a connection, numbered from 0, has sent since the last call.
    pub fn asked(&mut self, connection: usize) -> Vec<u8> {
        self.0.asked(connection)
    }

    /// The server sends bytes on a connection. A connection that the load has given up ignores them.
    pub fn answer(&mut self, connection: usize, bytes: &[u8]) {
        self.0.answer(connection, bytes);
    }

    /// Begins to measure: of a chat, once its members have joined.
    pub fn measure(&mut self) {
        self.0.measure();
    }

    /// Messages that were answered as they should.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.0.counts().0
    }

    /// Answers that were wrong.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.0.counts().1
    }
}

/// A load of any kind.
trait Played {
    fn asked(&mut self, connection: usize) -> Vec<u8>;
    fn answer(&mut self, connection: usize, bytes: &[u8]);
    fn measure(&mut self);
    /// Messages, and mismatches.
    fn counts(&self) -> (u64, u64);
}

impl<L: Load> Played for Rig<L> {
    fn asked(&mut self, connection: usize) -> Vec<u8> {
        self.script.take_output(self.ids[connection])
    }

    fn answer(&mut self, connection: usize, bytes: &[u8]) {
        self.script.data(self.ids[connection], bytes);
    }

    fn measure(&mut self) {
        self.tell(Phase::Warming);
        self.tell(Phase::Measuring);
    }

    fn counts(&self) -> (u64, u64) {
        (self.tally().messages, self.tally().mismatch_count())
    }
}
