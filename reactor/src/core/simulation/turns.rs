//! The budget of a turn: what it leaves to the next one, and in which order.

use super::{Step, TURN_BUDGET, World};
use crate::core::timers::TimerKey;

/// The bytes that each peer's connection has read so far.
fn read(world: &World) -> Vec<usize> {
    let left = |peer: usize| world.wire(peer).inbound.len();
    (0..world.wires.len())
        .map(|peer| world.sent[peer].len() - left(peer))
        .collect()
}

#[test]
fn firehoses_take_turns_and_none_is_served_twice_before_all_are_served_once() {
    const PEERS: usize = 100;
    let mut world = World::with_turns_of(TURN_BUDGET, PEERS);
    (0..PEERS).for_each(|peer| world.take(&Step::Arrive(peer, 200)));
    let (mut before, mut served, mut turns) = (read(&world), vec![0; PEERS], 0);
    while served.iter().any(|&times| times < 3) {
        // New events for all of them, all the time.
        (0..PEERS).for_each(|peer| world.take(&Step::Spurious(peer, 1)));
        world.take(&Step::Turn);
        let now = read(&world);
        for peer in 0..PEERS {
            served[peer] += usize::from(now[peer] > before[peer]);
        }
        let (least, most) = (served.iter().min(), served.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{served:?}");
        (before, turns) = (now, turns + 1);
        assert!(turns < PEERS * 4, "no progress: {served:?}");
    }
    assert!(
        turns > 2 * PEERS / 6,
        "{turns} turns: nothing was left over"
    );
    assert!(world.core.shared.stats.turns_cut > 0);
}

#[test]
fn a_turn_whose_events_spend_the_budget_runs_its_timers() {
    const PEERS: usize = 100;
    let mut world = World::with_turns_of(TURN_BUDGET, PEERS);
    (0..PEERS).for_each(|peer| world.take(&Step::Arrive(peer, 200)));
    world.take(&Step::Turn);
    let now = world.core.shared.now;
    world.core.timers.arm(TimerKey::Service, now + 1);
    world.now = now + 1;
    (0..PEERS).for_each(|peer| world.take(&Step::Spurious(peer, 1)));
    world.take(&Step::Turn);
    assert!(!world.core.timers.is_armed(TimerKey::Service));
    assert!(world.core.has_work(), "there is more to read");
}

#[test]
fn timers_that_spend_their_share_stay_due_and_leave_the_ready_list_its_own() {
    let mut world = World::with_turns_of(TURN_BUDGET, 40);
    let due = |world: &World| {
        let key = |peer: usize| TimerKey::Protocol(world.wires[peer].0.slot);
        let is_armed = |&peer: &usize| world.core.timers.is_armed(key(peer));
        (0..40).filter(is_armed).count()
    };
    for peer in 0..40 {
        let key = TimerKey::Protocol(world.wires[peer].0.slot);
        // Half of them are for the next turn, and half have a deadline.
        match peer % 2 {
            0 => world.core.timers.arm_next_turn(key, 0),
            _ => world.core.timers.arm(key, 0),
        }
    }
    let mut before = (due(&world), 0);
    while before.0 > 0 {
        world.take(&Step::Arrive(0, 10));
        world.take(&Step::Fetch(0, 1000));
        world.take(&Step::Turn);
        let now = (due(&world), read(&world)[0]);
        assert!(now.0 < before.0 && now.1 > before.1, "{before:?} {now:?}");
        before = now;
    }
    // More than the share of one turn was due.
    assert!(world.core.shared.stats.bytes_in > 50);
}
