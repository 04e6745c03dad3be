//! The conductor: leads the workers through the phases of a run, and measures the server meanwhile.
//!
//! It is a protocol without connections. Workers wake it when something may have changed, the
//! service timer when a step is over or the progress line is to be drawn, and signals end the run:
//! the first one in good order, with a report of what was measured, the second one at once.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::process::reason;
use edgeloop_reactor::{ConnId, Data, Outbox, Protocol, Reactor};
use nix::time::ClockId;

use super::clock::{Nanos, nanos};
use super::crew::{Count, Crew, Phase};
use super::options::LoadOptions;
use super::progress::Line;
use super::server::{Extent, Memory, Server, Switches, Usage};

/// Time between two drawings of the progress line.
const INTERVAL: Duration = Duration::from_millis(100);
/// The server is idle when for this long it has used next to no processor time, and no processes or
/// threads have come or gone.
const QUIET: Duration = Duration::from_millis(200);
/// Next to no processor time.
const QUIET_CPU: Duration = Duration::from_millis(5);
/// Longest wait for the server to be idle.
const QUIET_PATIENCE: Duration = Duration::from_secs(10);

/// The measurements besides the workers' counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// The generator's own work while it measured.
    pub(super) own: Work,
    /// `None` if the server was not to be measured, or has ended.
    pub(super) server: Option<ServerWork>,
}

/// Processor time, and the messages handled in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    pub(super) cpu: Duration,
    pub(super) time: Duration,
    pub(super) answered: u64,
    pub(super) delivered: u64,
}

/// The server's work and memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerWork {
    pub(super) idle: Idle,
    pub(super) work: Work,
    pub(super) switches: Switches,
    /// No thread came or went that could have had other switches.
    pub(super) all_switches: bool,
}

/// The server while all connections were open and idle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Idle {
    pub(super) extent: Extent,
    pub(super) memory: Memory,
    /// The memory before there were connections.
    pub(super) memory_before: Memory,
}

/// Resources used, and messages counted, until one moment.
#[derive(Debug)]
struct Sample<U> {
    used: U,
    count: Count,
    at: Nanos,
}

/// A part of a run: a phase, but that the first one includes the wait for an idle server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connecting,
    /// The server is to be idle. The wait ends at this time at the latest.
    Idling(Nanos),
    Warming,
    Measuring,
    Settling,
    Ending,
    Over,
}

impl Step {
    /// The step in words.
    fn name(self) -> &'static str {
        match self {
            Step::Connecting => "connecting",
            Step::Idling(_) => "waiting for the server to be idle",
            Step::Warming => "warming up",
            Step::Measuring => "measuring",
            Step::Settling => "waiting for the last answers",
            Step::Ending => "ending",
            Step::Over => "over",
        }
    }
}

/// The protocol that leads a crew through a run.
#[derive(Debug)]
pub(super) struct Conductor {
    crew: Arc<Crew>,
    server: Option<Server>,
    warm_up: Duration,
    duration: Duration,
    line: Line,
    /// The time at which the line was drawn last.
    drawn: Nanos,
    step: Step,
    /// The step is over at this time at the latest.
    until: Nanos,
    /// A signal has asked for the end.
    interrupted: bool,
    /// It had done so before this step began.
    was_interrupted: bool,
    /// Another signal has asked for the end at once.
    cut_off: bool,
    idle: Idle,
    server_from: Option<Sample<Usage>>,
    own_from: Option<Sample<Duration>>,
    own_until: Nanos,
    figures: Figures,
}

impl Conductor {
    /// A conductor before the run, when there is no connection yet.
    pub(super) fn new(crew: Arc<Crew>, options: &LoadOptions) -> Result<Conductor, String> {
        let server = options.server_pid.map(Server::new).transpose()?;
        Ok(Conductor {
            idle: Idle {
                memory_before: server.as_ref().map(Server::memory).unwrap_or_default(),
                ..Idle::default()
            },
            server,
            warm_up: options.warm_up,
            duration: options.duration,
            // The log tells the steps too, and would tear the line apart.
            line: Line::new(crew.plan.kind, options.verbose == 0),
            crew,
            drawn: 0,
            step: Step::Connecting,
            until: Nanos::MAX,
            interrupted: false,
            was_interrupted: false,
            cut_off: false,
            server_from: None,
            own_from: None,
            own_until: 0,
            figures: Figures::default(),
        })
    }

    /// Leads the crew through all phases but the last. Errors: a second signal.
    pub(super) fn conduct(reactor: &mut Reactor<Conductor>) -> Result<(), String> {
        reactor.call(Conductor::go_on);
        // The first signal stops the reactor, and without connections it would end then. The second
        // one ends its grace period, which is endless before.
        while reactor.protocol().step != Step::Over {
            reactor.turn().map_err(|error| reason(&error))?;
            if reactor.protocol().cut_off || reactor.grace_left().is_zero() {
                return Err("interrupted".into());
            }
        }
        Ok(())
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures.clone()
    }

    /// Begins the steps whose time has come, and draws the line if it is time for that.
    fn go_on(&mut self, out: &mut Outbox) {
        while self.step != Step::Over && self.is_step_over(self.now(out)) {
            self.next_step(out);
        }
        let now = self.now(out);
        if now.saturating_sub(self.drawn) >= nanos(INTERVAL) {
            self.drawn = now;
            self.draw(now);
        }
        if self.step != Step::Over {
            let left = Duration::from_nanos(self.until.saturating_sub(now));
            out.set_service_timer(left.min(INTERVAL));
        }
    }

    fn now(&self, out: &Outbox) -> Nanos {
        self.crew.clock.now(out)
    }

    fn is_step_over(&self, now: Nanos) -> bool {
        let has_reached = |phase| {
            let is_told = self.interrupted && !self.was_interrupted;
            is_told || self.crew.has_given_up() || self.crew.have_reached(phase)
        };
        let is_early = match self.step {
            Step::Connecting => has_reached(Phase::Connecting),
            Step::Idling(_) | Step::Warming | Step::Measuring => self.is_pointless(),
            Step::Settling => has_reached(Phase::Settling),
            Step::Ending => has_reached(Phase::Ending),
            Step::Over => false,
        };
        is_early || now >= self.until
    }

    /// Whether it is pointless to let time pass.
    fn is_pointless(&self) -> bool {
        self.interrupted || self.crew.is_hopeless()
    }

    fn next_step(&mut self, out: &Outbox) {
        let step = self.step;
        match step {
            Step::Connecting if self.crew.count().open == 0 && !self.interrupted => {
                self.step = Step::Over;
            }
            Step::Connecting if self.server.is_some() => {
                self.idle.extent = self.extent();
                let deadline = self.now(out) + nanos(QUIET_PATIENCE);
                self.begin(Step::Idling(deadline), QUIET, out);
            }
            Step::Idling(deadline) if !self.is_idle() && self.now(out) < deadline => {
                self.begin(Step::Idling(deadline), QUIET, out);
            }
            Step::Idling(_) => {
                self.idle.memory = self.server.as_ref().map(Server::memory).unwrap_or_default();
                self.warm_up(out);
            }
            Step::Connecting => self.warm_up(out),
            Step::Warming => self.measure(out),
            Step::Measuring => self.settle(out),
            Step::Settling => {
                self.figures.server = self.server_work();
                self.tell(Phase::Ending, out);
                self.begin(Step::Ending, self.patience(), out);
            }
            Step::Ending | Step::Over => self.step = Step::Over,
        }
    }

    fn begin(&mut self, step: Step, time: Duration, out: &Outbox) {
        if !matches!(step, Step::Idling(_)) {
            log::info!("{}", step.name());
        }
        let now = self.now(out);
        self.step = step;
        self.until = now.saturating_add(nanos(time));
        self.drawn = now;
        self.was_interrupted = self.interrupted;
    }

    fn tell(&self, phase: Phase, out: &Outbox) {
        self.crew.tell(phase, self.now(out));
    }

    /// Looks at the server once more. Returns whether it has nothing to do, or whether there is no
    /// point in waiting for that.
    fn is_idle(&mut self) -> bool {
        let now = self.extent();
        let before = mem::replace(&mut self.idle.extent, now);
        let is_same = (now.processes, now.threads) == (before.processes, before.threads);
        let is_quiet = is_same && now.cpu.saturating_sub(before.cpu) <= QUIET_CPU;
        is_quiet || self.is_pointless()
    }

    fn extent(&self) -> Extent {
        self.server.as_ref().map(Server::extent).unwrap_or_default()
    }

    fn warm_up(&mut self, out: &Outbox) {
        if self.warm_up.is_zero() {
            return self.measure(out);
        }
        self.tell(Phase::Warming, out);
        self.begin(Step::Warming, self.warm_up, out);
    }

    fn measure(&mut self, out: &Outbox) {
        self.server_from = self.look_at_server();
        self.tell(Phase::Measuring, out);
        self.own_from = Some(self.look_at_self());
        self.begin(Step::Measuring, self.duration, out);
    }

    fn settle(&mut self, out: &Outbox) {
        self.tell(Phase::Settling, out);
        let to = self.look_at_self();
        let used = |sample: &Sample<Duration>| sample.used;
        let own = self.own_from.as_ref().map(|from| work(from, &to, used));
        self.own_until = to.at;
        self.figures.own = own.unwrap_or_default();
        self.begin(Step::Settling, self.patience(), out);
    }

    /// Longest wait for the goal of a phase. A datagram has the timeout too, which is to be over
    /// first.
    fn patience(&self) -> Duration {
        self.crew.plan.timeout.saturating_add(QUIET)
    }

    /// The server's work since the measuring began. After the end of that the server only answers
    /// messages sent before.
    fn server_work(&self) -> Option<ServerWork> {
        let (from, to) = (self.server_from.as_ref()?, self.look_at_server()?);
        Some(ServerWork {
            idle: self.idle,
            switches: to.used.switches_since(&from.used),
            all_switches: to.used.has_same_threads(&from.used),
            work: Work {
                time: Duration::from_nanos(self.own_until.saturating_sub(from.at)),
                ..work(from, &to, |sample| sample.used.cpu)
            },
        })
    }

    /// A sample of the server; `None` if it has ended. To look at thousands of processes takes so long
    /// that messages are answered meanwhile: time and count are those of the middle.
    fn look_at_server(&self) -> Option<Sample<Usage>> {
        let server = self.server.as_ref()?;
        let (began, before) = (self.crew.clock.elapsed(), self.crew.count());
        let used = server.usage()?;
        let (ended, after) = (self.crew.clock.elapsed(), self.crew.count());
        Some(Sample {
            used,
            count: Count {
                answered: before.answered.midpoint(after.answered),
                delivered: before.delivered.midpoint(after.delivered),
                ..after
            },
            at: began.midpoint(ended),
        })
    }

    /// A sample of the workers: all of this process but this thread.
    fn look_at_self(&self) -> Sample<Duration> {
        let used = |clock: ClockId| clock.now().map(Duration::from).unwrap_or_default();
        let all = used(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        Sample {
            used: all.saturating_sub(used(ClockId::CLOCK_THREAD_CPUTIME_ID)),
            count: self.crew.count(),
            at: self.crew.clock.elapsed(),
        }
    }

    fn draw(&mut self, now: Nanos) {
        let count = self.crew.count();
        let name = self.step.name();
        match self.step {
            Step::Connecting => self.line.connecting(count, self.crew.plan.connections),
            Step::Warming | Step::Measuring => {
                let left = Duration::from_nanos(self.until.saturating_sub(now));
                self.line.sending(name, count, left);
            }
            Step::Idling(_) | Step::Settling | Step::Ending => self.line.show(name, count),
            Step::Over => {}
        }
    }
}

impl Protocol for Conductor {
    fn on_wake(&mut self, out: &mut Outbox) {
        self.go_on(out);
    }

    fn on_service_timer(&mut self, out: &mut Outbox) {
        self.go_on(out);
    }

    /// The terminal has closed. Both the kernel and the shell may say so.
    fn on_reload(&mut self, out: &mut Outbox) {
        self.interrupted = true;
        self.go_on(out);
    }

    /// The first signal, or the second one after the terminal has closed.
    fn on_stop(&mut self, out: &mut Outbox) {
        self.cut_off = mem::replace(&mut self.interrupted, true);
        self.go_on(out);
    }

    fn on_data(&mut self, _: ConnId, _: Data<'_>, _: &mut Outbox) {}
}

/// The work between two samples.
fn work<U>(from: &Sample<U>, to: &Sample<U>, cpu: impl Fn(&Sample<U>) -> Duration) -> Work {
    Work {
        cpu: cpu(to).saturating_sub(cpu(from)),
        time: Duration::from_nanos(to.at.saturating_sub(from.at)),
        answered: to.count.answered.saturating_sub(from.count.answered),
        delivered: to.count.delivered.saturating_sub(from.count.delivered),
    }
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::Script;

    use super::*;
    use crate::load::clock::Clock;
    use crate::load::options::Kind;
    use crate::load::plan::Plan;

    /// A conductor, and its crew with one worker, which is played by the test.
    fn conductor(open: u64) -> (Script<Conductor>, Arc<Crew>) {
        let plan = Plan::of(Kind::Echo, 1, 64, 1);
        let crew = Arc::new(Crew::new(plan, Clock::of_script()));
        let options = LoadOptions::of_test(Kind::Echo);
        let conductor = Conductor::new(Arc::clone(&crew), &options).expect("no server");
        let mut script = Script::new(conductor);
        script.call(Conductor::go_on);
        crew.counters(0).open.set(open);
        (script, crew)
    }

    /// A conductor that has come to the measuring.
    fn measuring() -> (Script<Conductor>, Arc<Crew>) {
        let (mut script, crew) = conductor(1);
        reach(&mut script, &crew, Phase::Connecting);
        assert_eq!(crew.phase(), Phase::Warming);
        script.advance(Duration::from_secs(1));
        assert_eq!(crew.phase(), Phase::Measuring);
        (script, crew)
    }

    /// The worker reaches the goal of this phase.
    fn reach(script: &mut Script<Conductor>, crew: &Crew, phase: Phase) {
        crew.reached(0, phase);
        script.wake();
    }

    #[test]
    fn phases_follow_one_another() {
        let (mut script, crew) = measuring();
        script.advance(Duration::from_millis(9_999));
        assert_eq!(crew.phase(), Phase::Measuring);
        script.advance(Duration::from_millis(1));
        assert_eq!(crew.phase(), Phase::Settling);
        reach(&mut script, &crew, Phase::Settling);
        assert_eq!(crew.phase(), Phase::Ending);
        reach(&mut script, &crew, Phase::Ending);
        assert_eq!(script.protocol().step, Step::Over);
        assert_eq!(crew.window.length(), 10_000_000_000);
        assert!(!script.protocol().interrupted);
    }

    #[test]
    fn goals_are_not_waited_for_without_end() {
        let (mut script, crew) = measuring();
        script.advance(Duration::from_secs(10));
        // The timeout is a second.
        script.advance(Duration::from_millis(1_199));
        assert_eq!(crew.phase(), Phase::Settling);
        script.advance(Duration::from_millis(1));
        assert_eq!(crew.phase(), Phase::Ending);
        script.advance(Duration::from_millis(1_200));
        assert_eq!(script.protocol().step, Step::Over);
    }

    #[test]
    fn the_first_signal_ends_the_run_in_good_order() {
        let (mut script, crew) = measuring();
        script.stop();
        assert_eq!(crew.phase(), Phase::Settling);
        reach(&mut script, &crew, Phase::Settling);
        reach(&mut script, &crew, Phase::Ending);
        let conductor = script.protocol();
        assert_eq!((conductor.step, conductor.cut_off), (Step::Over, false));
    }

    #[test]
    fn a_signal_after_the_terminal_has_closed_is_the_second() {
        let (mut script, crew) = measuring();
        script.reload();
        script.reload();
        assert_eq!(crew.phase(), Phase::Settling);
        assert!(!script.protocol().cut_off);
        script.stop();
        assert!(script.protocol().cut_off);
    }

    #[test]
    fn without_connections_nothing_is_measured() {
        let (mut script, crew) = conductor(0);
        reach(&mut script, &crew, Phase::Connecting);
        assert_eq!(script.protocol().step, Step::Over);
        assert_eq!(crew.phase(), Phase::Connecting);
    }
}
