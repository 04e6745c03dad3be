//! Takeovers that a server does not read, since the log has a gap for it.

use super::{BACK, MISSING, Town};

#[test]
fn a_former_server_that_has_missed_the_takeover_lets_go_of_the_member() {
    let mut town = Town::new(3);
    let [alice, bob] = [(0, "alice"), (1, "bob")].map(|(at, name)| town.join(at, name));
    let first = town.wendy(0);
    let _ = (town.hears(0, alice), town.hears(1, bob));
    let second = town.visit(1, 2);
    town.turn(1);
    town.gap(0, 1);
    town.settle();
    town.seconds_pass(3);
    town.settle();
    assert!(town.has_replaced(0, first));
    let told = town.hears(1, second);
    assert!(told.starts_with(&format!("{BACK}{MISSING}")), "{told}");
    assert_eq!(town.hears(0, alice), "* some lines may be missing here\n");
    assert_eq!(town.hears(1, bob), "");
    assert_eq!(town.serving(), [1]);
}

#[test]
fn a_new_server_that_has_missed_its_takeover_finds_the_member() {
    for is_lost in [false, true] {
        let mut town = Town::new(3);
        let alice = town.join(0, "alice");
        let first = town.wendy(0);
        let _ = town.hears(0, alice);
        let second = town.visit(1, 2);
        town.publish(1, 1);
        town.turn(0);
        town.gap(1, 1 + usize::from(is_lost));
        town.says(0, alice, "hello");
        town.settle();
        town.seconds_pass(3);
        town.settle();
        assert!(town.has_replaced(0, first));
        let told = town.hears(1, second);
        assert!(told.starts_with(BACK), "{told}");
        assert!(told.ends_with("[alice] hello\n"), "{told}");
        assert_eq!(town.hears(0, alice), "");
        assert_eq!(town.serving(), [1]);
    }
}

#[test]
fn a_line_that_the_new_server_has_missed_is_said_to_be_missing() {
    let mut town = Town::new(3);
    let alice = town.join(0, "alice");
    let _ = town.wendy(0);
    town.says(0, alice, "lost");
    town.publish(0, 1);
    town.turn(0);
    town.gap(1, 1);
    town.settle();
    let second = town.visit(1, 2);
    town.settle();
    assert_eq!(town.hears(1, second), format!("{BACK}{MISSING}"));
    assert_eq!(town.serving(), [1]);
}
