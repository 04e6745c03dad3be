//! The checks of the load generator: a server that changes a byte is found out, however its answers
//! are cut, and an honest one is not blamed.

use edgecall::load::Rehearsal;

use crate::input::{Input, chunks};

/// A server that returns what is asked, except where the input wants a fault. The load finds a
/// mismatch exactly if the bytes that it got are not those that it has asked for.
pub fn load_echo(input: &[u8]) {
    let mut input = Input(input);
    let size = input.number(1);
    let depth = u32::from(input.byte() % 4) + 1;
    let mut load = Rehearsal::echo(1, size, depth);
    let (mut asked, mut answered, mut next) = (Vec::new(), Vec::new(), 0);
    while !input.0.is_empty() && load.mismatches() == 0 {
        asked.extend(load.asked(0));
        let (fault, count) = (input.byte() % 8, input.number(1));
        let honest = &asked[next..asked.len().min(next + count)];
        next += honest.len();
        let answer = match fault {
            0 => honest.repeat(2),
            1 => honest.iter().rev().copied().collect(),
            2 => Vec::new(),
            3 => input.bytes().to_vec(),
            _ => honest.to_vec(),
        };
        for chunk in chunks(&answer, input.cuts()) {
            if load.mismatches() == 0 {
                // The load may send its next messages while it checks this chunk; an answer to
                // those would be a reply before the request, so the model compares first.
                asked.extend(load.asked(0));
                answered.extend_from_slice(chunk);
                load.answer(0, chunk);
                let is_honest = asked.starts_with(&answered);
                assert_eq!(
                    load.mismatches() == 0,
                    is_honest,
                    "{} bytes",
                    answered.len()
                );
            }
        }
    }
    if load.mismatches() == 0 {
        assert_eq!(load.messages(), (answered.len() / size) as u64);
    }
}

/// Members of a chat hear anything: cuts matter neither to the verdict nor to the lines that the
/// talkers send.
pub fn load_chat(input: &[u8]) {
    let mut input = Input(input);
    let cuts = input.cuts();
    let joins = input.byte() % 2 == 0;
    let mut verdicts = [&[u8::MAX][..], cuts].map(|cuts| run_chat(input.0, cuts, joins));
    let [whole, cut] = &mut verdicts;
    assert_eq!(whole, cut);
}

fn run_chat(heard: &[u8], cuts: &[u8], joins: bool) -> (u64, Vec<u8>) {
    const MEMBERS: usize = 3;
    let mut load = Rehearsal::chat(MEMBERS as u32);
    if joins {
        for member in 0..MEMBERS {
            load.answer(member, b"Welcome! What is your name?\n");
            assert!(!load.asked(member).is_empty(), "a member gives its name");
            load.answer(member, b"* The room contains: \n");
        }
        load.measure();
    }
    let mut said = Vec::new();
    for chunk in chunks(heard, cuts) {
        load.answer(0, chunk);
        said.extend(load.asked(0));
    }
    (load.mismatches(), said)
}
