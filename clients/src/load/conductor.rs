//! One run, phase by phase.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeloop_reactor::{Errno, SignalAction, Signals};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::ClockId;

use super::clock::Clock;
use super::crew::{Count, Crew};
use super::options::LoadOptions;
use super::phase::Phase;
use super::plan::Plan;
use super::progress::Line;
use super::server::{Extent, Memory, Server, Switches, Usage};
use super::tally::Tally;
use super::threads::Threads;

/// How often the progress line is drawn.
const INTERVAL: Duration = Duration::from_millis(100);
/// The server is idle when for so long it has used next to no processor time, and no processes or
/// threads have come or gone.
const QUIET: Duration = Duration::from_millis(200);
/// What next to none is.
const QUIET_CPU: Duration = Duration::from_millis(5);
/// How long to wait for it to be idle.
const QUIET_PATIENCE: Duration = Duration::from_secs(10);

/// What came out of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// Messages answered at any time, also before they counted.
    pub(super) answered: u64,
    /// How long was measured.
    pub(super) measured: Duration,
    /// What the generator itself used while it measured.
    pub(super) own: Work,
    /// `None` if it was not to be measured, or has ended.
    pub(super) server: Option<ServerOutcome>,
    /// It was ended by a signal.
    pub(super) interrupted: bool,
    /// Why the run did not take place, or did not come to its end.
    pub(super) failure: Option<String>,
}

impl Outcome {
    /// That of a run of which nothing is known but why it failed.
    pub(super) fn failed(why: String) -> Outcome {
        Outcome {
            tally: Tally::new(),
            answered: 0,
            measured: Duration::ZERO,
            own: Work::default(),
            server: None,
            interrupted: false,
            failure: Some(why),
        }
    }
}

/// Processor time, and what was done with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    pub(super) cpu: Duration,
    pub(super) time: Duration,
    pub(super) answered: u64,
    pub(super) delivered: u64,
}

/// What the server was seen to use.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerOutcome {
    pub(super) idle: Idle,
    pub(super) work: Work,
    pub(super) switches: Switches,
    /// No thread came or went that could have had other switches.
    pub(super) all_switches: bool,
}

/// What there was of the server while all connections were open and idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) extent: Extent,
    pub(super) memory: Memory,
    /// The same before there were connections.
    pub(super) memory_before: Memory,
}

/// How things stood at one moment.
struct Sample<U> {
    used: U,
    count: Count,
    at: Instant,
}

/// Leads a crew through a run.
pub(super) struct Conductor {
    crew: Arc<Crew>,
    signals: Signals,
    server: Option<Server>,
    warm_up: Duration,
    duration: Duration,
    line: Line,
    /// A signal has told us to come to an end.
    interrupted: bool,
}

impl Conductor {
    /// Errors: what a run needs cannot be had.
    pub(super) fn new(plan: Plan, options: &LoadOptions) -> Result<Conductor, String> {
        // The workers inherit that these signals are blocked, so none of them is interrupted.
        let signals =
            Signals::new().map_err(|errno| format!("cannot handle signals: {}", errno.desc()))?;
        let crew = Crew::new(plan, Clock::start())
            .map_err(|errno| format!("cannot start the workers: {}", errno.desc()))?;
        Ok(Conductor {
            // The log has the phases too, and would tear the line apart.
            line: Line::new(crew.plan.kind, options.verbose == 0),
            crew: Arc::new(crew),
            signals,
            server: options.server_pid.map(Server::new).transpose()?,
            warm_up: options.warm_up,
            duration: options.duration,
            interrupted: false,
        })
    }

    /// The whole run. Whatever becomes of it, the outcome holds what was counted until then.
    pub(super) fn run(mut self) -> Outcome {
        // Before there is a connection.
        let memory_before = self.server.as_ref().map(Server::memory);
        let threads = match Threads::start(&self.crew) {
            Ok(threads) => threads,
            Err(failure) => return Outcome::failed(failure),
        };
        let led = self.lead(memory_before);
        self.tell(Phase::Over);
        let (tally, broken) = match threads.join() {
            Ok(tally) => (tally, None),
            Err(failure) => (Tally::new(), Some(failure)),
        };
        let ((own, server), stopped) = match led {
            Ok(figures) => (figures, None),
            Err(failure) => (Default::default(), Some(failure)),
        };
        Outcome {
            failure: broken.or(stopped).or_else(|| self.unreachable(&tally)),
            tally,
            answered: self.crew.count().answered,
            measured: Duration::from_nanos(self.crew.window.length()),
            own,
            server,
            interrupted: self.interrupted,
        }
    }

    /// All phases but the last. Errors: a second signal.
    fn lead(
        &mut self,
        memory_before: Option<Memory>,
    ) -> Result<(Work, Option<ServerOutcome>), String> {
        self.connect()?;
        if self.crew.count().open == 0 && !self.interrupted {
            return Ok(Default::default());
        }
        let idle = match memory_before {
            Some(memory_before) => Some(self.measure_idle(memory_before)?),
            None => None,
        };
        let figures = self.measure(idle)?;
        self.tell(Phase::Ending);
        self.wait_for(Phase::Ending, "ending")?;
        Ok(figures)
    }

    /// Why there was no connection to measure, if there was none.
    fn unreachable(&self, tally: &Tally) -> Option<String> {
        if tally.connected > 0 || self.interrupted {
            return None;
        }
        let why = tally.problems.keys().next();
        let why = why.map_or("no connection was opened", String::as_str);
        let why = why.strip_prefix("connect: ").unwrap_or(why);
        Some(format!("cannot reach {}: {why}", self.crew.plan.server))
    }

    fn tell(&self, phase: Phase) {
        self.crew.tell(phase, self.crew.clock.elapsed());
    }

    fn connect(&mut self) -> Result<(), String> {
        let all = self.crew.plan.connections;
        self.wait(
            None,
            |run| {
                let crew = &run.crew;
                run.interrupted || crew.has_given_up() || crew.have_reached(Phase::Connecting)
            },
            |run| run.line.connecting(run.crew.count(), all),
        )
    }

    /// Waits until the server has nothing to do, and looks how much of it there is.
    fn measure_idle(&mut self, memory_before: Memory) -> Result<Idle, String> {
        let mut extent = self.extent();
        let deadline = Instant::now() + QUIET_PATIENCE;
        while Instant::now() < deadline && !self.is_pointless() {
            let before = extent;
            self.wait(Some(QUIET), Conductor::is_pointless, |run| {
                let what = "waiting for the server to be idle";
                run.line.show(what, run.crew.count());
            })?;
            extent = self.extent();
            let same = (extent.processes, extent.threads) == (before.processes, before.threads);
            if same && extent.cpu.saturating_sub(before.cpu) <= QUIET_CPU {
                break;
            }
        }
        Ok(Idle {
            extent,
            memory: self.server.as_ref().map(Server::memory).unwrap_or_default(),
            memory_before,
        })
    }

    fn extent(&self) -> Extent {
        self.server.as_ref().map(Server::extent).unwrap_or_default()
    }

    /// Warms up, measures, and waits for the last answers.
    fn measure(&mut self, idle: Option<Idle>) -> Result<(Work, Option<ServerOutcome>), String> {
        if !self.warm_up.is_zero() {
            self.tell(Phase::Warming);
            self.pause(self.warm_up, "warming up")?;
        }
        let server_from = self.look_at_server();
        self.tell(Phase::Measuring);
        let own_from = self.look_at_self();
        self.pause(self.duration, "measuring")?;
        self.tell(Phase::Settling);
        let own_to = self.look_at_self();
        self.wait_for(Phase::Settling, "waiting for the last answers")?;
        let server_to = self.look_at_server();
        let used = |sample: &Sample<Duration>| sample.used;
        let own = work(&own_from, &own_to, used);
        let server = idle.zip(server_from).zip(server_to);
        let server = server.map(|((idle, from), to)| ServerOutcome {
            idle,
            switches: to.used.switches_since(&from.used),
            all_switches: to.used.has_same_threads(&from.used),
            work: Work {
                // While it settles it has nothing to do but what was asked of it before.
                time: own_to.at.saturating_duration_since(from.at),
                ..work(&from, &to, |sample| sample.used.cpu)
            },
        });
        Ok((own, server))
    }

    /// What the server has used, as long as it is there, and what was answered meanwhile. To look
    /// at thousands of processes takes so long that messages are answered during it: the count is
    /// that of the middle.
    fn look_at_server(&self) -> Option<Sample<Usage>> {
        let server = self.server.as_ref()?;
        let (began, before) = (Instant::now(), self.crew.count());
        let used = server.usage()?;
        let (ended, after) = (Instant::now(), self.crew.count());
        Some(Sample {
            used,
            count: Count {
                answered: before.answered.midpoint(after.answered),
                delivered: before.delivered.midpoint(after.delivered),
                ..after
            },
            at: began + (ended - began) / 2,
        })
    }

    /// What the workers have used: all of this process but this thread.
    fn look_at_self(&self) -> Sample<Duration> {
        let used = |clock: ClockId| clock.now().map(Duration::from).unwrap_or_default();
        let all = used(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        Sample {
            used: all.saturating_sub(used(ClockId::CLOCK_THREAD_CPUTIME_ID)),
            count: self.crew.count(),
            at: Instant::now(),
        }
    }

    /// Whether nothing more will come of waiting for time to pass.
    fn is_pointless(&self) -> bool {
        self.interrupted || self.crew.is_hopeless()
    }

    /// Waits for so long; less if there is no sense in it.
    fn pause(&mut self, time: Duration, what: &str) -> Result<(), String> {
        let began = Instant::now();
        log::info!("{what}");
        self.wait(Some(time), Conductor::is_pointless, |run| {
            let left = time.saturating_sub(began.elapsed());
            run.line.sending(what, run.crew.count(), left);
        })
    }

    /// Waits until all workers have reached the goal of this phase, but not for ever, nor against
    /// the user's will, nor if nothing more can come of it.
    fn wait_for(&mut self, phase: Phase, what: &str) -> Result<(), String> {
        // Each datagram has the same timeout, which is to be over first.
        let patience = self.crew.plan.timeout.saturating_add(QUIET);
        let was_interrupted = self.interrupted;
        log::info!("{what}");
        self.wait(
            Some(patience),
            |run| {
                let is_told = run.interrupted && !was_interrupted;
                is_told || run.crew.has_given_up() || run.crew.have_reached(phase)
            },
            |run| run.line.show(what, run.crew.count()),
        )
    }

    /// Waits until it is `over`, for `patience` at the most, and draws meanwhile. Errors: a second
    /// signal.
    fn wait(
        &mut self,
        patience: Option<Duration>,
        is_over: impl Fn(&Conductor) -> bool,
        draw: impl Fn(&mut Conductor),
    ) -> Result<(), String> {
        let began = Instant::now();
        let mut drawn = began;
        while !is_over(self) {
            let left = patience.map(|patience| patience.saturating_sub(began.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            self.wait_for_news(left.map_or(INTERVAL, |left| left.min(INTERVAL)))?;
            if drawn.elapsed() >= INTERVAL {
                drawn = Instant::now();
                draw(self);
            }
        }
        Ok(())
    }

    /// Waits for a signal or the crew's bell, and for `time` at the most.
    fn wait_for_news(&mut self, time: Duration) -> Result<(), String> {
        let mut asked = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.crew.bell().as_fd(), PollFlags::POLLIN),
        ];
        // Rounded up: to wake up too early is to wake up twice.
        let timeout = PollTimeout::try_from(time + Duration::from_millis(1));
        match poll(&mut asked, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("poll: {}", errno.desc())),
        }
        // EAGAIN says that it has not rung.
        let _ = self.crew.bell().read();
        while let Some(action) = self.signals.next() {
            match action {
                SignalAction::Stop if self.interrupted => return Err("interrupted".into()),
                // The terminal has closed. Both the kernel and the shell may say so.
                SignalAction::Stop | SignalAction::Reload => self.interrupted = true,
                SignalAction::Report | SignalAction::Redraw => {}
            }
        }
        Ok(())
    }
}

/// What was used between two moments, and for how much.
fn work<U>(from: &Sample<U>, to: &Sample<U>, cpu: impl Fn(&Sample<U>) -> Duration) -> Work {
    Work {
        cpu: cpu(to).saturating_sub(cpu(from)),
        time: to.at.saturating_duration_since(from.at),
        answered: to.count.answered.saturating_sub(from.count.answered),
        delivered: to.count.delivered.saturating_sub(from.count.delivered),
    }
}
