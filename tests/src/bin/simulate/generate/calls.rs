//! Plans for a program that connects: names with several addresses, and what each answers.

use tests::random::Random;

use super::dice::{ending, one_in, one_of, pause, reader, words};
use crate::plan::{Answer, ClientPlan, Door, Step};

/// Options of the program.
pub(super) fn options(random: &mut Random, arguments: &mut Vec<String>) {
    if one_in(random, 2) {
        // Two callbacks: most events of a turn are left for the next one.
        arguments.push("--turn-budget=2KiB".into());
    }
    if one_in(random, 2) {
        let timeout = one_of(random, &["100ms", "600ms", "2s"]);
        arguments.push(format!("--connect-timeout={timeout}"));
    }
}

/// The addresses of up to twelve names.
pub(super) fn clients(random: &mut Random, clients: &mut Vec<ClientPlan>) {
    // Several answers in one turn need the same time.
    let together = random.below(400) as u64;
    for name in 0..=random.below(12) as u8 {
        for _ in 0..=random.below(4) {
            let answer = one_of(
                random,
                &[
                    Answer::Accepts,
                    Answer::Accepts,
                    Answer::Refuses,
                    Answer::Never,
                    Answer::AcceptsAtOnce,
                    Answer::RefusesAtOnce,
                ],
            );
            let at_ms = match one_in(random, 2) {
                true => together,
                false => one_of(random, &[0, 10, 100, 250, 251, 500, 3_000]),
            };
            clients.push(ClientPlan {
                door: Door::Called(name, answer),
                at_ms,
                steps: steps(random),
            });
        }
    }
}

fn steps(random: &mut Random) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..=random.below(3) {
        let length = 1 + random.length(8);
        steps.push(Step::Send(words(random, length) + "\n"));
        match random.below(6) {
            0 => steps.push(Step::Wait(pause(random))),
            1 if one_in(random, 4) => steps.push(Step::Read(reader(random))),
            _ => {}
        }
    }
    if one_in(random, 2) {
        ending(random, &mut steps);
    }
    steps
}
