//! A member of the room with a browser, and one with `nc`.

use std::net::SocketAddr;

use serde_json::json;
use tests::browser::{Browser, Tab};
use tests::program::Program;
use tests::server::{Launch, Server};

/// The lines on the screen as `nc` would show them, and those of the user, whose name is a parameter.
const LINES: &str = include_str!("lines.js");

pub(crate) fn start(options: &[&str]) -> Server {
    let chat = Launch::new("chat", &["127.0.0.1:0", "http://127.0.0.1:0"]);
    chat.args(options).start()
}

/// A server at the addresses of one that has ended.
pub(crate) fn start_again(tcp: SocketAddr, http: SocketAddr) -> Server {
    let chat = Launch::new("chat", &[&tcp.to_string(), &format!("http://{http}")]);
    chat.start()
}

/// `nc` in the room.
pub(crate) fn nc(server: &Server, name: &str) -> Program {
    let mut nc = Program::line(&format!("nc 127.0.0.1 {}", server.tcp().port()));
    nc.ask(&format!("{name}\n"), "* The room ");
    nc
}

/// The lines that a program has shown, without the greeting.
pub(crate) fn lines(program: &Program) -> Vec<String> {
    let text = program.stdout().text();
    let lines = text.lines().map(|line| line.trim_end().to_owned());
    lines.filter(|line| line.starts_with(['[', '*'])).collect()
}

/// A member of the room with a browser.
pub(crate) struct Member<'a> {
    pub(crate) tab: Tab<'a>,
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
}

impl<'a> Member<'a> {
    pub(crate) fn join(browser: &'a Browser, server: &Server, name: &'static str) -> Self {
        let address = server.http();
        let tab = browser.open(&format!("http://{address}/"));
        let member = Self { tab, name, address };
        member.tab.enter(name);
        member.is_in();
        member
    }

    /// Waits until the page is in the room and has all lines.
    pub(crate) fn is_in(&self) {
        self.tab.until("phase === 'present' && outbox.length === 0");
        self.tab
            .until("document.querySelector('#banner span').textContent === ''");
    }

    /// The lines on the screen.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.tab.evaluate(&format!("({LINES})({:?})", self.name));
        serde_json::from_value(lines).expect("strings")
    }

    /// Waits until a line is on the screen.
    pub(crate) fn sees(&self, line: &str) {
        let seen = format!("({LINES})({:?}).includes({})", self.name, json!(line));
        self.tab.until(&seen);
    }

    pub(crate) fn says(&self, line: &str) {
        self.tab.enter(line);
        self.sees(&format!("[{}] {line}", self.name));
        self.tab
            .until("document.querySelector('.pending') === null");
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|seen| *seen == line).count()
    }

    pub(crate) fn text(&self, selector: &str) -> String {
        let selected = format!("document.querySelector({selector:?}).innerText");
        self.tab
            .evaluate(&selected)
            .as_str()
            .expect("a text")
            .to_owned()
    }

    /// Checks that the page has asked its own server only, and that the browser has nothing to complain
    /// about.
    pub(crate) fn is_content(&self) {
        let complaints = self.tab.complaints();
        assert!(complaints.is_empty(), "{complaints:?}");
        self.asks_its_server_only();
    }

    fn asks_its_server_only(&self) {
        let requests = self.tab.requests();
        let hosts = ["http", "ws"].map(|scheme| format!("{scheme}://{}/", self.address));
        let is_own = |url: &&String| {
            url.starts_with("data:") || hosts.iter().any(|host| url.starts_with(host))
        };
        let others: Vec<_> = requests.iter().filter(|url| !is_own(url)).collect();
        assert!(others.is_empty(), "{others:?}");
        assert!(requests.iter().any(|url| url.starts_with("ws:")));
    }

    /// As [`is_content`](Self::is_content), but for the connections that the test has cut.
    pub(crate) fn is_content_but_for_its_connections(&self) {
        let is_cut = |complaint: &&String| complaint.contains("WebSocket connection to 'ws:");
        let complaints = self.tab.complaints();
        let others: Vec<_> = complaints.iter().filter(|one| !is_cut(one)).collect();
        assert!(others.is_empty(), "{others:?}");
        self.asks_its_server_only();
    }
}
