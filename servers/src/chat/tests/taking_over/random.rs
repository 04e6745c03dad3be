//! A page that changes its server at any time, and loses messages.

use edgeloop_reactor::{Closed, ConnId};
use proptest::prelude::*;

use super::{MISSING, Town};

const SERVERS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A member of a server says a line.
    Line(usize),
    /// A server reads so many entries, and so many of its own get into the log.
    Read(usize, usize),
    Publish(usize, usize),
    /// The page receives what it was sent, but for so many messages, and connects to a server. Its former
    /// connection stays, or is lost.
    Visit {
        server: usize,
        lost: usize,
        is_reset: bool,
    },
    /// A reply: a message that is no line of the room.
    Reply,
    /// Things that end the membership, or that may.
    Quit,
    Kick(usize),
    Lost,
    /// The first server misses so many entries.
    Gap(usize),
    Seconds(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let server = || 0..SERVERS;
    prop_oneof![
        4 => server().prop_map(Step::Line),
        4 => (server(), 0..5usize).prop_map(|(server, count)| Step::Read(server, count)),
        4 => (server(), 0..5usize).prop_map(|(server, count)| Step::Publish(server, count)),
        3 => (server(), 0..4usize, any::<bool>())
            .prop_map(|(server, lost, is_reset)| Step::Visit { server, lost, is_reset }),
        1 => Just(Step::Reply),
    ]
}

fn hard_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => step(),
        1 => Just(Step::Quit),
        1 => (0..SERVERS).prop_map(Step::Kick),
        1 => Just(Step::Lost),
        1 => (1..4usize).prop_map(Step::Gap),
        1 => (1..5u64).prop_map(Step::Seconds),
    ]
}

/// The page, as the contract has it.
struct Tab {
    server: usize,
    id: ConnId,
    received: Vec<String>,
}

impl Tab {
    fn hear(&mut self, town: &mut Town, lost: usize) {
        let told = town.hears(self.server, self.id);
        let mut told: Vec<String> = told.lines().map(ToOwned::to_owned).collect();
        told.truncate(told.len().saturating_sub(lost));
        self.received.extend(told);
    }

    fn connect(&mut self, town: &mut Town, server: usize) {
        self.id = town.visit(server, self.received.len() as u64);
        self.server = server;
    }
}

/// Wendy's page in a room with a teller on each server, after these steps; `count`: number of lines.
fn after(steps: Vec<Step>, history: usize) -> (Town, Tab, Vec<ConnId>, usize) {
    let mut town = Town::with(SERVERS, |settings| settings.history = history);
    let tellers: Vec<ConnId> = (0..SERVERS)
        .map(|server| town.join(server, &format!("teller{server}")))
        .collect();
    let id = town.visit(0, 0);
    town.says(0, id, "wendy");
    town.settle();
    let mut tab = Tab {
        server: 0,
        id,
        received: Vec::new(),
    };
    tab.hear(&mut town, 0);
    let mut count = 0;
    for step in steps {
        match step {
            Step::Line(server) => {
                town.says(server, tellers[server], &format!("line {count}"));
                count += 1;
            }
            Step::Read(server, count) => town.read(server, count),
            Step::Publish(server, count) => town.publish(server, count),
            Step::Visit {
                server,
                lost,
                is_reset,
            } => {
                let (from, old) = (tab.server, tab.id);
                tab.hear(&mut town, lost);
                tab.connect(&mut town, server);
                if is_reset && !town.parties[from].is_closed(old) {
                    town.parties[from].script.close(old, Closed::Reset);
                }
            }
            Step::Reply | Step::Quit | Step::Lost if town.parties[tab.server].is_closed(tab.id) => {
            }
            Step::Reply => town.says(tab.server, tab.id, "/rooms"),
            Step::Quit => town.says(tab.server, tab.id, "/quit"),
            Step::Kick(server) => town.operate(server, "/kick wendy"),
            Step::Lost => town.parties[tab.server].script.close(tab.id, Closed::Reset),
            Step::Gap(count) => town.gap(0, count),
            Step::Seconds(seconds) => town.seconds_pass(seconds),
        }
    }
    town.settle();
    (town, tab, tellers, count)
}

fn has_each_line_once(steps: Vec<Step>, history: usize) -> Result<(), TestCaseError> {
    let (mut town, mut tab, tellers, count) = after(steps, history);
    // A page whose connection was taken for an older one connects again.
    while town.parties[tab.server].is_closed(tab.id) {
        tab.hear(&mut town, 0);
        let server = tab.server;
        tab.connect(&mut town, server);
        town.settle();
    }
    tab.hear(&mut town, 0);
    prop_assert_eq!(town.serving(), vec![tab.server]);
    for (server, teller) in tellers.iter().enumerate() {
        let told = town.hears(server, *teller);
        let steps = told.lines().filter(|line| line.contains("wendy"));
        let joined = "* wendy has entered the room";
        prop_assert!(steps.eq([joined]), "{}", told);
    }
    let is_missing = tab.received.iter().any(|line| *line == MISSING.trim_end());
    let mut lines: Vec<&String> = tab.received.iter().collect();
    lines.retain(|line| line.contains("] line "));
    let heard = lines.len();
    prop_assert!(
        heard == count || (heard < count && is_missing),
        "{:?}",
        tab.received
    );
    lines.sort_unstable();
    lines.dedup();
    prop_assert_eq!(lines.len(), heard, "a line came twice");
    Ok(())
}

proptest! {
    #[test]
    fn a_page_has_each_line_once_whichever_servers_it_visits(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        has_each_line_once(steps, 1000)?;
    }

    #[test]
    fn nobody_is_left_half_in(steps in prop::collection::vec(hard_step(), 0..60)) {
        let (mut town, tab, tellers, _) = after(steps, 10);
        town.seconds_pass(4);
        let serving = town.serving();
        prop_assert!(serving.len() <= 1, "{:?}", serving);
        // A page with a connection has its membership, or is asked for a name.
        let chat = town.chat(tab.server);
        if let Some(member) = chat.members.get(tab.id) {
            prop_assert_eq!(member.has_joined(), serving == [tab.server]);
            prop_assert!(!member.is_awaiting());
        }
        for (server, teller) in tellers.into_iter().enumerate() {
            town.says(server, teller, "/quit");
        }
        for (server, id) in town.visits.clone() {
            if !town.parties[server].is_closed(id) {
                town.parties[server].script.close(id, Closed::Reset);
            }
        }
        town.settle();
        town.seconds_pass(40);
        prop_assert!(town.serving().is_empty());
        for server in 0..SERVERS {
            let chat = town.chat(server);
            prop_assert!(chat.names.len() == 0 && chat.numbers.is_empty());
            prop_assert!(chat.rooms.len() == 1 && chat.absences.is_empty());
        }
    }

    #[test]
    fn or_it_is_told_that_lines_are_missing(steps in prop::collection::vec(step(), 0..60)) {
        has_each_line_once(steps, 2)?;
    }
}
