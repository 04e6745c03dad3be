//! Pages that lose any messages at any time.

use edgeloop_reactor::{Closed, ConnId};
use proptest::prelude::*;

use crate::party::{Party, TOKEN, WELCOME};

/// Something that happens to a page that has joined, or in its room.
#[derive(Clone, Debug)]
enum Step {
    /// Another member says so many lines.
    Lines(usize),
    /// The page says one.
    Own,
    /// A reply: a message that is no line.
    Reply,
    /// A step of another member is announced, in the room or in a summary.
    Visitor,
    /// The page loses its connection, and with it so many messages, and comes back after a while.
    Lost { messages: usize, lines: usize },
    /// It comes back before its connection is known to be dead, without so many messages.
    TakenOver(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5usize).prop_map(Step::Lines),
        3 => Just(Step::Own),
        2 => Just(Step::Reply),
        1 => Just(Step::Visitor),
        2 => (0..9usize, 0..5usize).prop_map(|(messages, lines)| Step::Lost { messages, lines }),
        1 => (0..9usize).prop_map(Step::TakenOver),
    ]
}

/// A page as the contract has it: it counts messages, and keeps lines.
struct Tab {
    id: ConnId,
    received: Vec<String>,
}

impl Tab {
    /// Receives what it is sent, but for the last messages.
    fn hear(&mut self, party: &mut Party, lost: usize) {
        let mut told = party.hears(self.id);
        told.truncate(told.len().saturating_sub(lost));
        self.received.extend(told);
    }

    fn come_back(&mut self, party: &mut Party) {
        let (id, told) = party.back(self.received.len() as u64);
        assert_eq!(told[0], "* You are back as wendy in lobby.");
        self.id = id;
        self.received.extend(told);
    }
}

/// Whatever a page loses, in the end it has every line of the room once and in order, or has been told
/// that some are missing.
fn has_each_line_once_and_in_order(steps: Vec<Step>) {
    let mut party = Party::new();
    let tcp = party.join_tcp("tess");
    let (id, _) = party.join(TOKEN, "wendy");
    let received = vec![WELCOME.into(), "* The room contains: tess".into()];
    let mut tab = Tab { id, received };
    let mut said: Vec<String> = Vec::new();
    let line = |party: &mut Party, said: &mut Vec<String>| {
        let text = format!("line {}", said.len());
        party.types(tcp, &text);
        said.push(format!("[tess] {text}"));
    };
    for step in steps {
        match step {
            Step::Lines(count) => (0..count).for_each(|_| line(&mut party, &mut said)),
            Step::Own => {
                let text = format!("line {}", said.len());
                party.says(tab.id, &text);
                said.push(format!("[wendy] {text}"));
            }
            Step::Reply => party.says(tab.id, "/rooms"),
            Step::Visitor => {
                let visitor = party.join_tcp("vic");
                party.types(visitor, "/quit");
            }
            Step::Lost { messages, lines } => {
                tab.hear(&mut party, messages);
                party.script.close(tab.id, Closed::Reset);
                (0..lines).for_each(|_| line(&mut party, &mut said));
                tab.come_back(&mut party);
            }
            Step::TakenOver(messages) => {
                tab.hear(&mut party, messages);
                tab.come_back(&mut party);
            }
        }
    }
    tab.hear(&mut party, 0);
    let is_missing = |line: &String| line.starts_with("* Some lines ");
    let heard: Vec<&String> = tab
        .received
        .iter()
        .filter(|line| line.starts_with('['))
        .collect();
    if tab.received.iter().any(is_missing) {
        let order = heard
            .iter()
            .map(|line| said.iter().position(|said| said == *line).unwrap());
        assert!(order.is_sorted_by(|a, b| a < b), "{:?}", tab.received);
    } else {
        assert_eq!(heard, said.iter().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_page_has_each_line_once_and_in_order(steps in prop::collection::vec(step(), 0..40)) {
        has_each_line_once_and_in_order(steps);
    }
}

/// Regressions: the property has failed for these walks before.
#[test]
fn a_page_has_each_line_after_these_losses() {
    let lost = |messages, lines| Step::Lost { messages, lines };
    for steps in [
        vec![Step::Lines(2), Step::Lines(4), Step::Lines(1), lost(0, 0)],
        vec![Step::Lines(1), lost(0, 1), Step::Reply, lost(1, 0)],
    ] {
        has_each_line_once_and_in_order(steps);
    }
}
