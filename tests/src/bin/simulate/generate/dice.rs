//! Draws that all plans have in common.

use tests::random::Random;

use crate::plan::{ClientPlan, Door, Reader, Step};

pub(super) fn one_in(random: &mut Random, count: usize) -> bool {
    random.below(count) == 0
}

pub(super) fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len())]
}

/// A pause in milliseconds: mostly short, seldom of minutes.
pub(super) fn pause(random: &mut Random) -> u64 {
    match random.below(10) {
        0..5 => random.below(20) as u64,
        5..9 => random.below(1_000) as u64,
        _ => random.below(100_000) as u64,
    }
}

pub(super) fn door(random: &mut Random, arguments: &[String]) -> Door {
    let has = |scheme: &str| {
        arguments
            .iter()
            .any(|argument| argument.starts_with(scheme))
    };
    match random.below(4) {
        0 if has("unix:") => Door::Unix,
        1 if has("udp:") => Door::Udp,
        _ => Door::Tcp,
    }
}

/// A change of how a client reads.
pub(super) fn reader(random: &mut Random) -> Reader {
    match random.below(3) {
        0 => Reader::Fast,
        1 => Reader::Slow(1 + random.below(500), random.below(300) as u64),
        _ => Reader::Stopped,
    }
}

/// The way in which a client ends.
pub(super) fn ending(random: &mut Random, steps: &mut Vec<Step>) {
    match random.below(12) {
        0 => steps.push(Step::Rst),
        1 => steps.push(Step::Close),
        2 => steps.push(Step::Vanish),
        3..8 => steps.push(Step::Fin),
        _ => {}
    }
}

/// Words of small letters.
pub(super) fn words(random: &mut Random, length: usize) -> String {
    let letters = (0..length).map(|_| b"abcdefgh ijklm nopqrst"[random.below(22)] as char);
    letters.collect::<String>().trim_end().to_owned()
}

/// The reader of standard output.
pub(super) fn stdout(random: &mut Random) -> ClientPlan {
    let mut steps = Vec::new();
    if one_in(random, 2) {
        for _ in 0..=random.below(4) {
            steps.push(Step::Wait(pause(random)));
            steps.push(Step::Read(reader(random)));
        }
        if one_in(random, 12) {
            steps.push(Step::Close);
        }
    }
    ClientPlan::from_the_start(Door::Stdout, steps)
}
