//! From a seed to a plan.
//!
//! A plan is drawn in the manner of swarm testing: each one has some kinds of faults and not others, at
//! rates of its own, and sizes, options and clients that may be extreme. A run with everything at
//! once would seldom get anywhere.

mod calls;
mod chat;
mod dice;

use tests::random::Random;

use self::dice::{door, ending, one_in, one_of, pause, reader, stdout, words};
use crate::plan::{ClientPlan, Door, Fault, Kind, Knobs, Plan, Step};

impl Plan {
    /// The plan of this seed for this server.
    pub(crate) fn of_seed(seed: u64, kind: Kind) -> Plan {
        let mut random = Random::new(seed.wrapping_mul(4).wrapping_add(kind as u64));
        let random = &mut random;
        let knobs = knobs(random, kind);
        let mut arguments: Vec<String> = vec![kind.name().into(), "tcp://127.0.0.1:7000".into()];
        if kind != Kind::Calls && one_in(random, 2) {
            arguments.push("unix:@simulated".into());
        }
        let answers = matches!(kind, Kind::Echo | Kind::Upper);
        if answers && one_in(random, 3) {
            arguments.push("udp://127.0.0.1:7000".into());
        }
        if kind != Kind::Calls {
            common_options(random, &mut arguments, kind);
        }
        let mut clients = Vec::new();
        match kind {
            Kind::Calls => {
                calls::options(random, &mut arguments);
                calls::clients(random, &mut clients);
            }
            Kind::Chat => {
                chat::options(random, &mut arguments);
                chat::clients(random, &arguments, &mut clients);
            }
            _ => {
                for index in 0..=random.below(7) {
                    clients.push(client(random, &arguments, &knobs, kind, index));
                }
                if one_in(random, 40) {
                    crowd(random, &mut clients);
                }
                if kind == Kind::Sink {
                    clients.push(stdout(random));
                }
            }
        }
        Plan {
            seed,
            kind,
            arguments,
            knobs,
            clients,
            signals: signals(random),
        }
    }
}

/// The highest rate of a kind of fault, in thousandths.
fn highest_rate(fault: Fault) -> usize {
    match fault {
        Fault::Jump => 4,
        Fault::NoDescriptor => 30,
        Fault::NoMemory | Fault::AcceptNoMemory => 60,
        Fault::Coarse => 1000,
        _ => 300,
    }
}

fn knobs(random: &mut Random, kind: Kind) -> Knobs {
    let rooms = match kind {
        Kind::Chat => [300, 1_000, 4_096, 16_384, 65_536, 200_000],
        _ => [16, 100, 700, 4_096, 20_000, 200_000],
    };
    let rate = |fault: &Fault| match fault {
        Fault::Jump if !one_in(random, 12) => 0,
        fault if one_in(random, 3) => {
            let highest = highest_rate(*fault);
            let highest = 1 + random.below(highest);
            1 + random.below(highest) as u16
        }
        _ => 0,
    };
    let rates = Fault::ALL.iter().map(rate).collect();
    Knobs {
        room_in: one_of(random, &rooms),
        room_out: one_of(random, &rooms),
        piece: one_of(random, &[7, 100, 1_500, 65_536]),
        gap_us: one_of(random, &[0, 100, 10_000]),
        turn_us: one_of(random, &[0, 50, 2_000]),
        descriptors: match one_in(random, 5) {
            true => 9 + random.below(6),
            false => 1_000,
        },
        rates,
    }
}

/// Options of every server.
fn common_options(random: &mut Random, arguments: &mut Vec<String>, kind: Kind) {
    let mut option = |often: usize, name: &str, values: &[&str]| {
        if one_in(random, often) {
            arguments.push(format!("--{name}={}", one_of(random, values)));
        }
    };
    option(5, "idle-timeout", &["50ms", "2s", "100s"]);
    option(3, "stall-timeout", &["0", "1s", "10s"]);
    option(3, "keepalive", &["0", "2s", "20s"]);
    option(5, "backlog", &["1", "3"]);
    option(3, "grace", &["0", "100ms", "2s", "20s"]);
    option(4, "stats", &["1s", "30s"]);
    option(6, "max-connections", &["1", "3", "5"]);
    if kind != Kind::Chat {
        option(2, "high-water", &["1", "100", "5000", "64KiB"]);
    }
    if one_in(random, 40) {
        arguments.push("--once".into());
    }
}

fn signals(random: &mut Random) -> Vec<(u64, i32)> {
    let mut signals = Vec::new();
    if one_in(random, 4) {
        for _ in 0..=random.below(3) {
            let signal = [libc::SIGUSR1, libc::SIGHUP, libc::SIGWINCH, libc::SIGCONT];
            signals.push((random.below(3_000) as u64, one_of(random, &signal)));
        }
    }
    if one_in(random, 5) {
        // Most clients are busy at the start.
        let latest = one_of(random, &[20, 200, 4_000]);
        let at = random.below(latest) as u64;
        let stop = [libc::SIGTERM, libc::SIGINT];
        signals.push((at, one_of(random, &stop)));
        if one_in(random, 4) {
            signals.push((at + random.below(500) as u64, one_of(random, &stop)));
        }
    }
    signals.sort_unstable();
    signals
}

fn client(
    random: &mut Random,
    arguments: &[String],
    knobs: &Knobs,
    kind: Kind,
    index: usize,
) -> ClientPlan {
    let door = door(random, arguments);
    // As many bytes as fill the buffers several times, but not so many that a run takes long.
    let most = (knobs.room_in.max(knobs.room_out) * 8).min(knobs.piece.min(knobs.room_in) * 300);
    let most = most.clamp(100, 400_000);
    let is_slow = one_in(random, 4);
    let mut steps = Vec::new();
    let mut line = 0;
    for _ in 0..=random.below(6) {
        match random.below(8) {
            0 | 1 => steps.push(Step::Wait(pause(random))),
            2 if is_slow => steps.push(Step::Read(reader(random))),
            3 if kind != Kind::Sink && door != Door::Udp => {
                steps.push(Step::Flood(1 + random.below(most)));
            }
            4 if kind != Kind::Sink && one_in(random, 3) => steps.push(Step::Urgent),
            _ if kind == Kind::Sink => {
                let text = lines(random, index, &mut line, most / 40);
                steps.push(Step::Send(text));
            }
            _ => {
                let length = random.length(9);
                steps.push(Step::Send(text(random, length)));
            }
        }
    }
    if door != Door::Udp {
        ending(random, &mut steps);
    }
    let at_ms = match one_in(random, 2) {
        true => 0,
        false => random.below(2_000) as u64,
    };
    ClientPlan { door, at_ms, steps }
}

/// More clients at once than a listener accepts in one turn. They say one line each.
fn crowd(random: &mut Random, clients: &mut Vec<ClientPlan>) {
    let size = 50 + random.below(100);
    for index in clients.len()..clients.len() + size {
        let (mut number, most) = (0, 1);
        let text = lines(random, index, &mut number, most);
        clients.push(ClientPlan {
            door: Door::Tcp,
            at_ms: 1,
            steps: vec![Step::Send(text), Step::Fin],
        });
    }
}

/// Lines that name their client and number, the last of which may lack its end.
fn lines(random: &mut Random, index: usize, number: &mut usize, most: usize) -> String {
    let mut lines = Vec::new();
    for _ in 0..=random.below(most.clamp(1, 40)) {
        let length = random.length(7);
        lines.push(format!("<{index}-{number}>{}\n", words(random, length)));
        *number += 1;
    }
    lines.concat()
}

/// A text of any characters.
fn text(random: &mut Random, length: usize) -> String {
    let chars: Vec<char> = "abcxyzABC 09[]\n\r\t\0\x7féß你".chars().collect();
    (0..length).map(|_| one_of(random, &chars)).collect()
}
