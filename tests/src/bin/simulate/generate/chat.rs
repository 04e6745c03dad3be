//! Plans for the chat: its settings, and people who talk.

use tests::random::Random;

use super::dice::{door, ending, one_in, one_of, pause, reader, stdout, words};
use crate::plan::{ClientPlan, Door, Step};

/// Options of the chat.
pub(super) fn options(random: &mut Random, arguments: &mut Vec<String>) {
    let mut option = |often: usize, name: &str, values: &[&str]| {
        if one_in(random, often) {
            arguments.push(format!("--{name}={}", one_of(random, values)));
        }
    };
    // A line and a name have to fit into the high-water mark.
    option(3, "max-line", &["128", "200", "500"]);
    option(2, "high-water", &["6KiB", "20KiB", "64KiB"]);
    option(3, "history", &["1", "3", "50"]);
    option(3, "rate", &["0", "5", "1000"]);
    option(4, "burst", &["0", "1", "5"]);
    option(4, "min-rate", &["0", "1KiB", "64KiB"]);
    option(4, "login-timeout", &["0", "500ms", "5s"]);
    option(12, "max-per-ip", &["1", "3"]);
    for (often, flag) in [(6, "--unicode-names"), (5, "--plain"), (3, "--operator")] {
        if one_in(random, often) {
            arguments.push(flag.into());
        }
    }
    if one_in(random, 4) {
        let lines = one_of(random, &[1, 5, 400]);
        let text: Vec<String> = (0..lines).map(|line| format!("motd {line}")).collect();
        arguments.push(format!("--motd={}", text.join("\n")));
    }
}

/// The people, and the operator.
pub(super) fn clients(random: &mut Random, arguments: &[String], clients: &mut Vec<ClientPlan>) {
    let is_plain = arguments.iter().any(|argument| argument == "--plain");
    let has_commands = !is_plain && one_in(random, 2);
    for index in 0..=random.below(8) {
        let client = person(random, arguments, index, has_commands);
        clients.push(client);
    }
    if arguments.iter().any(|argument| argument == "--operator") {
        let index = clients.len();
        clients.push(operator(random, index, has_commands));
        clients.push(stdout(random));
    }
}

fn person(
    random: &mut Random,
    arguments: &[String],
    index: usize,
    has_commands: bool,
) -> ClientPlan {
    let is_slow = one_in(random, 5);
    let is_plain = arguments.iter().any(|argument| argument == "--plain");
    let mut steps = Vec::new();
    if one_in(random, 8) {
        steps.push(Step::Wait(pause(random)));
    }
    steps.push(Step::Send(match random.below(20) {
        0 => "no/name\n".into(),
        1 => "same\n".into(),
        _ => format!("{}\n", name(index)),
    }));
    let mut number = 0;
    for _ in 0..random.below(10) {
        match random.below(8) {
            // Telnet's WILL, WONT, DO, DONT, and an option of any number but a newline's.
            0 if !is_plain && one_in(random, 4) => {
                let verb = one_of(random, &[251, 252, 253, 254]);
                steps.push(Step::Telnet(verb, one_of(random, &[0, 1, 3, 31, 255])));
            }
            0..3 => steps.push(Step::Wait(pause(random))),
            3 if is_slow => steps.push(Step::Read(reader(random))),
            _ => {
                let mut text = String::new();
                for _ in 0..=random.below(4) {
                    text += &line(random, index, &mut number, has_commands);
                }
                // A line may come in two pieces, with a pause in between.
                if one_in(random, 6) {
                    let cut = random.below(text.len());
                    steps.push(Step::Send(text[..cut].into()));
                    steps.push(Step::Wait(pause(random)));
                    text.drain(..cut);
                }
                steps.push(Step::Send(text));
            }
        }
    }
    if one_in(random, 3) {
        ending(random, &mut steps);
    }
    ClientPlan {
        door: match door(random, arguments) {
            Door::Udp => Door::Tcp,
            door => door,
        },
        at_ms: one_of(random, &[0, 0, 20, 1_000]),
        steps,
    }
}

pub(super) fn name(index: usize) -> String {
    format!("person{index}")
}

fn line(random: &mut Random, index: usize, number: &mut usize, has_commands: bool) -> String {
    let bits = if one_in(random, 15) { 9 } else { 6 };
    let length = random.length(bits);
    let said = format!("<{index}-{number}>{}", words(random, length));
    *number += 1;
    let other = random.below(6);
    let end = match one_in(random, 5) {
        true => "\r\n",
        false => "\n",
    };
    let line = match random.below(16) {
        _ if !has_commands => said,
        0 => format!("/me {said}"),
        1 => format!("/msg {} {said}", name(other)),
        2 => format!("/join room{}", random.below(3)),
        3 => "/join lobby".into(),
        4 => format!("/nick {}x{number}", name(index)),
        5 => format!("/ignore {}", name(other)),
        6 => "/who".into(),
        7 => "/rooms".into(),
        8 if one_in(random, 4) => format!("/quit {said}"),
        9 => "/help".into(),
        10 => format!("//{said}"),
        _ => said,
    };
    line + end
}

fn operator(random: &mut Random, index: usize, has_commands: bool) -> ClientPlan {
    let mut steps = Vec::new();
    for number in 0..random.below(8) {
        steps.push(Step::Wait(pause(random)));
        let length = random.length(6);
        let said = format!("<{index}-{number}>{}\n", words(random, length));
        steps.push(Step::Send(match random.below(9) {
            0 if has_commands => format!("/kick {}\n", name(random.below(6))),
            1 if has_commands => format!("/ban {} 20s\n", name(random.below(6))),
            5 if has_commands => format!("/unban {}\n", name(random.below(6))),
            2 if has_commands => "/who\n".into(),
            3 if has_commands => "/join room1\n".into(),
            4 if has_commands => "/join\n".into(),
            _ => said,
        }));
    }
    if one_in(random, 3) {
        steps.push(Step::Fin);
    }
    ClientPlan::from_the_start(Door::Stdin, steps)
}
