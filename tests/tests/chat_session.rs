//! The conversation in the README is a real one, recorded in `tmux` from two `nc`, a `telnet` and
//! an `edgecall talk`.
//!
//! With `EDGELOOP_BLESS=1` in the environment the test writes the conversation to the README;
//! otherwise it compares the two.

use std::env;
use std::fs;
use std::ops::Range;

use tests::chat::{Guest, chat};
use tests::program::needs;
use tests::server::{Launch, edgecall};
use tests::tmux::{Tmux, Window};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
/// The line above the conversation.
const MARK: &str = "<!-- chat-session -->";
/// Characters in a row of a screen.
const WIDTH: usize = 48;
/// The members: two screens side by side, and two below.
const NAMES: [&str; 4] = ["ann", "carol", "bob", "dave"];

/// Each member has its own terminal.
struct Room<'a> {
    windows: [Window<'a>; 4],
}

impl<'a> Room<'a> {
    fn new(tmux: &'a Tmux) -> Self {
        let programs = edgecall().parent().expect("a directory").display();
        let windows = NAMES.map(|_| {
            let window = tmux.window(WIDTH as u16, 20);
            // The other prompt shows that the shell has run the line.
            window.enter(&format!("PATH={programs}:$PATH PS1='> '"));
            window.ends_in(&[">"]);
            window.enter("PS1='$ '; clear");
            window.ends_in(&["$"]);
            window
        });
        Self { windows }
    }

    fn of(&self, name: &str) -> &Window<'a> {
        let number = NAMES.iter().position(|known| *known == name);
        &self.windows[number.expect("a name")]
    }

    /// A member joins with this program; it sees the list of members, and these see its arrival.
    fn comes(&self, name: &str, command: &str, present: &[&str]) {
        let window = self.of(name);
        window.enter(command);
        window.shows("Welcome! What is your name?");
        window.enter(name);
        window.shows("* The room ");
        self.all_see(present, &format!("* {name} has entered the room"));
    }

    /// A member types a line, and the listeners see `seen`.
    fn types(&self, name: &str, line: &str, listeners: &[&str], seen: &str) {
        self.of(name).enter(line);
        self.all_see(listeners, seen);
    }

    fn all_see(&self, names: &[&str], line: &str) {
        names.iter().for_each(|name| self.of(name).ends_in(&[line]));
    }
}

/// The screen of each member at the end of the conversation.
fn converse(port: u16) -> [Vec<String>; 4] {
    let tmux = Tmux::new();
    let room = Room::new(&tmux);
    let nc = format!("nc 127.0.0.1 {port}");
    room.comes("ann", &nc, &[]);
    room.comes("bob", &nc, &["ann"]);
    room.types("ann", "hello bob", &["bob"], "[ann] hello bob");
    let question = "hello ann, where are the others?";
    room.types("bob", question, &["ann"], &format!("[bob] {question}"));
    let telnet = format!("telnet 127.0.0.1 {port}");
    room.comes("carol", &telnet, &["ann", "bob"]);
    let talk = format!("edgecall talk 127.0.0.1:{port}");
    room.comes("dave", &talk, &["ann", "bob", "carol"]);
    room.types(
        "dave",
        "/me waves",
        &["ann", "bob", "carol"],
        "** dave waves",
    );
    let whispered = "[carol to you] shall we begin?";
    room.types("carol", "/msg ann shall we begin?", &["ann"], whispered);
    room.all_see(&["carol"], "[you to ann] shall we begin?");
    room.types(
        "ann",
        "it is time",
        &["bob", "carol", "dave"],
        "[ann] it is time",
    );
    let left = "* bob has left the room (tea is ready)";
    room.types("bob", "/quit tea is ready", &["ann", "carol", "dave"], left);
    room.types("dave", "/rooms", &["dave"], "* rooms: lobby (3)");
    room.windows.each_ref().map(Window::rows)
}

/// A row with a fixed port and a fixed age of its line, so that runs can be compared.
fn normalised(row: &str, port: u16) -> String {
    let row = row.replace(&port.to_string(), "7777");
    match row.split_once("s ago [") {
        Some((_, line)) => format!("* 5s ago [{line}"),
        None => row,
    }
}

/// Two screens side by side.
fn beside(left: &[String], right: &[String]) -> Vec<String> {
    let row = |screen: &[String], number| screen.get(number).cloned().unwrap_or_default();
    let rows = 0..left.len().max(right.len());
    let rows = rows.map(|number| (row(left, number), row(right, number)));
    let joined = rows.map(|(left, right)| format!("{left:WIDTH$} \u{2502} {right}"));
    joined.map(|row| row.trim_end().to_owned()).collect()
}

/// Four screens as one picture.
fn picture([one, two, three, four]: &[Vec<String>; 4]) -> String {
    let line = "\u{2500}".repeat(WIDTH + 1);
    let cross = vec![format!("{line}\u{253c}{line}")];
    let rows = [beside(one, two), cross, beside(three, four)].concat();
    rows.iter().flat_map(|row| [row, "\n"]).collect()
}

/// The byte range of the conversation in the README.
fn place(readme: &str) -> Range<usize> {
    const FENCE: &str = "```";
    let mark = readme.find(MARK).expect(MARK);
    let begin =
        readme[mark..].find("```text\n").expect("a block of text") + mark + "```text\n".len();
    let length = readme[begin..].find(FENCE).expect("the end of the block");
    begin..begin + length
}

#[test]
fn the_conversation_in_the_readme_is_a_real_one() {
    ["nc", "telnet"].into_iter().for_each(needs);
    let server = chat(&["--history", "5"]).start();
    let port = server.tcp().port();
    let screens = converse(port);
    let rows = |screen: Vec<String>| screen.iter().map(|row| normalised(row, port)).collect();
    let picture = picture(&screens.map(rows));
    let mut readme = fs::read_to_string(README).expect(README);
    let place = place(&readme);
    if env::var_os("EDGELOOP_BLESS").is_some() {
        readme.replace_range(place, &picture);
        fs::write(README, readme).expect(README);
    } else {
        assert!(
            readme[place.clone()] == picture,
            "not what the README says (EDGELOOP_BLESS=1 writes it there):\n{picture}"
        );
    }
}

#[test]
fn the_readme_names_every_command_and_option() {
    let readme = fs::read_to_string(README).expect(README);
    let (_, section) = readme.split_once("\n## A chat\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the next section");
    let help = Launch::new("chat", &[]).args(&["--help"]).run().stdout;
    let (_, options) = help.split_once("Options of chat:").expect("a heading");
    let (options, _) = options.split_once("Options for http://:").expect("another");
    let options = options
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--"));
    for option in options {
        let option = option.replace(['<', '>'], "").replace('|', r"\|");
        assert!(
            section.contains(&format!("| `--{option}` |")),
            "no --{option}"
        );
    }
    let server = chat(&[]).start();
    let mut guest = Guest::join(server.tcp(), "guest");
    guest.say("/help\n/rooms");
    for line in guest.hears_at_last("* rooms: lobby (1)") {
        let words = line.trim_start_matches("* ");
        let (command, _) = words.split_once("  ").expect("a command and what it does");
        assert!(
            section.contains(&format!("| `{command}` |")),
            "no {command}"
        );
    }
}
