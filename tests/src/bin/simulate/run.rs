//! One run of a plan: the server in its world, turn by turn, to its end, and the checks after it.

use std::cell::RefCell;
use std::panic;
use std::sync::Mutex;
use std::thread;

use edgeloop::Turns;
use edgeloop_reactor::Stats;

use crate::caller;
use crate::calls::{enter, in_world, leave};
use crate::check::check;
use crate::memory::held;
use crate::plan::{Kind, Plan};
use crate::world::{Failure, Tally, World};

/// The result of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<Failure>,
    pub(crate) tally: Tally,
    /// Simulated time in nanoseconds.
    pub(crate) simulated_ns: u64,
    pub(crate) trace: Vec<String>,
}

/// The run that is under way, for a panic that ends the program.
static UNDER_WAY: Mutex<String> = Mutex::new(String::new());

thread_local! {
    /// The message of the thread's panic.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a plan. It has a thread of its own, so that it depends on no run before it: the standard
/// library seeds its hash tables once for each thread.
pub(crate) fn run(plan: &Plan, trace: bool) -> Outcome {
    if let Ok(mut name) = UNDER_WAY.lock() {
        *name = format!(
            "--server {} --from {} --seeds 1",
            plan.kind.name(),
            plan.seed
        );
    }
    let plan = plan.clone();
    let running = thread::spawn(move || {
        panic::catch_unwind(|| in_this_thread(&plan, trace)).unwrap_or_else(|_| {
            let trace = leave().map(|mut world| world.take_trace());
            Outcome {
                failure: Some(Failure {
                    check: "panic",
                    text: PANIC.take(),
                }),
                trace: trace.unwrap_or_default(),
                ..Outcome::default()
            }
        })
    });
    running.join().unwrap_or_default()
}

/// Makes panics of runs part of their outcome. A build whose panics abort can only say which run it
/// was.
pub(crate) fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        if cfg!(panic = "abort") {
            let plan = UNDER_WAY
                .lock()
                .map(|name| name.clone())
                .unwrap_or_default();
            let _ = leave();
            eprintln!(
                "FAILED: panic: {text}\nreplay it without --release, to have it cut shorter: {plan}"
            );
        }
        PANIC.replace(text);
    }));
}

fn in_this_thread(plan: &Plan, trace: bool) -> Outcome {
    enter(World::new(plan, trace));
    let arguments: Vec<&str> = plan.arguments.iter().map(String::as_str).collect();
    let before = held();
    let started = match plan.kind {
        Kind::Calls => caller::start(plan),
        _ => edgeloop::start(&arguments),
    };
    let served = match started {
        Ok(server) => serve(server),
        Err(why) => {
            in_world(|world| world.fail("start", why));
            (Stats::default(), None)
        }
    };
    let failure_bytes = served.1.as_ref().map_or(0, String::capacity) as i64;
    let left = held() - before - failure_bytes;
    let Some(mut world) = leave() else {
        return Outcome::default();
    };
    if left != 0 {
        world.fail(
            "memory",
            format!("{left} bytes are still allocated after the end"),
        );
    }
    if world.failure.is_none() {
        let (stats, failure) = served;
        world.read_what_is_left();
        if let Err((name, text)) = check(plan, &world, &stats, failure.as_deref()) {
            world.fail(name, text);
        }
    }
    Outcome {
        failure: world.failure.take(),
        simulated_ns: world.now,
        trace: world.take_trace(),
        tally: world.tally,
    }
}

/// Turns a server until its end; its counters then, and its own failure.
fn serve(mut server: Box<dyn Turns>) -> (Stats, Option<String>) {
    in_world(|world| world.is_running = true);
    while !server.is_done() {
        if let Err(error) = server.turn() {
            in_world(|world| world.fail("turn", error.to_string()));
            break;
        }
    }
    in_world(|world| world.is_running = false);
    let result = (server.stats(), server.failure());
    drop(server);
    result
}
