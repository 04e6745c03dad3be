//! Signals of all kinds, as fast as possible, while clients are served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use tests::LowerOnDrop;
use tests::random::Random;

use super::{WAYS, ends, launch, serves};

/// Signals that must not disturb a server, each in the place of many of its kind.
const HARMLESS: [Signal; 7] = [
    Signal::SIGUSR1,
    Signal::SIGHUP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGPIPE,
    Signal::SIGCHLD,
    Signal::SIGURG,
];

#[test]
fn a_storm_of_signals_disturbs_no_client() {
    thread::scope(|scope| {
        for (seed, way) in WAYS.into_iter().enumerate() {
            scope.spawn(move || {
                let server = launch(way).start();
                let going = AtomicBool::new(true);
                thread::scope(|scope| {
                    let lower = LowerOnDrop(&going);
                    scope.spawn(|| {
                        let mut random = Random::new(seed as u64);
                        while going.load(Ordering::Relaxed) {
                            match random.below(HARMLESS.len() + 1) {
                                kind if kind < HARMLESS.len() => server.signal(HARMLESS[kind]),
                                _ => {
                                    server.stop();
                                    server.resume();
                                }
                            }
                            thread::yield_now();
                        }
                    });
                    (0..20).for_each(|_| serves(way.0, &server));
                    drop(lower);
                });
                serves(way.0, &server);
                ends(server);
            });
        }
    });
}
