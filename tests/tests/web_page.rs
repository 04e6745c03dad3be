//! The page of the chat in a real browser, together with `nc` and `telnet`.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use tests::browser::{Browser, DOWN, ENTER, ESCAPE, TAB, Tab};
use tests::foreign::telnet;
use tests::program::Program;
use tests::server::{Launch, Server};
use tests::until;

const PAGE: &str = include_str!("../../servers/src/chat/page.html");

/// The lines on the screen as `nc` would show them, and those of the user, whose name is a parameter.
const LINES: &str = include_str!("web_page/lines.js");

fn start(options: &[&str]) -> Server {
    let chat = Launch::new("chat", &["127.0.0.1:0", "http://127.0.0.1:0"]);
    chat.args(options).start()
}

/// A server at the addresses of one that has ended.
fn start_again(tcp: SocketAddr, http: SocketAddr) -> Server {
    let chat = Launch::new("chat", &[&tcp.to_string(), &format!("http://{http}")]);
    chat.start()
}

/// `nc` in the room.
fn nc(server: &Server, name: &str) -> Program {
    let mut nc = Program::line(&format!("nc 127.0.0.1 {}", server.tcp().port()));
    nc.ask(&format!("{name}\n"), "* The room ");
    nc
}

/// The lines that a program has shown, without the greeting.
fn lines(program: &Program) -> Vec<String> {
    let text = program.stdout().text();
    let lines = text.lines().map(|line| line.trim_end().to_owned());
    lines.filter(|line| line.starts_with(['[', '*'])).collect()
}

/// A member of the room with a browser.
struct Member<'a> {
    tab: Tab<'a>,
    name: &'static str,
    address: SocketAddr,
}

impl<'a> Member<'a> {
    fn join(browser: &'a Browser, server: &Server, name: &'static str) -> Self {
        let address = server.http();
        let tab = browser.open(&format!("http://{address}/"));
        let member = Self { tab, name, address };
        member.tab.enter(name);
        member.is_in();
        member
    }

    /// Waits until the page is in the room and has all lines.
    fn is_in(&self) {
        self.tab.until("phase === 'present' && outbox.length === 0");
        self.tab
            .until("document.querySelector('#banner span').textContent === ''");
    }

    /// The lines on the screen.
    fn lines(&self) -> Vec<String> {
        let lines = self.tab.evaluate(&format!("({LINES})({:?})", self.name));
        serde_json::from_value(lines).expect("strings")
    }

    /// Waits until a line is on the screen.
    fn sees(&self, line: &str) {
        let seen = format!("({LINES})({:?}).includes({})", self.name, json!(line));
        self.tab.until(&seen);
    }

    fn says(&self, line: &str) {
        self.tab.enter(line);
        self.sees(&format!("[{}] {line}", self.name));
        self.tab
            .until("document.querySelector('.pending') === null");
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|seen| *seen == line).count()
    }

    fn text(&self, selector: &str) -> String {
        let selected = format!("document.querySelector({selector:?}).innerText");
        self.tab
            .evaluate(&selected)
            .as_str()
            .expect("a text")
            .to_owned()
    }

    /// Checks that the page has asked its own server only, and that the browser has nothing to complain
    /// about.
    fn is_content(&self) {
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
    fn is_content_but_for_its_connections(&self) {
        let is_cut = |complaint: &&String| complaint.contains("WebSocket connection to 'ws:");
        let complaints = self.tab.complaints();
        let others: Vec<_> = complaints.iter().filter(|one| !is_cut(one)).collect();
        assert!(others.is_empty(), "{others:?}");
        self.asks_its_server_only();
    }
}

#[test]
fn the_page_is_small_and_whole() {
    assert!(PAGE.len() < 40 * 1024, "{} bytes", PAGE.len());
    for foreign in [
        " src=",
        "@import",
        "url(",
        "<script ",
        "<style ",
        " style=",
        " onclick=",
    ] {
        assert!(!PAGE.contains(foreign), "{foreign}");
    }
}

#[test]
fn pages_nc_and_telnet_see_the_same_lines_in_the_same_order() {
    const ROUNDS: usize = 10;
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    let bob = Member::join(&browser, &server, "bob");
    let mut carol = nc(&server, "carol");
    let mut dave = telnet(server.tcp());
    dave.ask("dave\n", "* The room ");
    carol.shows("* dave has entered the room");
    for member in [&ann, &bob] {
        member.sees("* dave has entered the room");
    }
    for round in 0..ROUNDS {
        ann.tab.enter(&format!("ann {round}"));
        carol.say(format!("carol {round}\n"));
        bob.tab.enter(&format!("bob {round}"));
        dave.say(format!("dave {round}\n"));
    }
    let said = |lines: Vec<String>, but: &str| -> Vec<String> {
        let own = format!("[{but}]");
        let said = lines.into_iter().filter(|line| line.starts_with('['));
        said.filter(|line| !line.starts_with(&own)).collect()
    };
    until("the pages have all lines", || {
        [&ann, &bob]
            .iter()
            .all(|member| said(member.lines(), "").len() == 4 * ROUNDS)
    });
    let all = said(ann.lines(), "");
    assert_eq!(said(bob.lines(), ""), all);
    for (program, name) in [(&carol, "carol"), (&dave, "dave")] {
        let heard = said(all.clone(), name);
        program.shows(heard.last().expect("a line"));
        assert_eq!(said(lines(program), name), heard);
    }
    ann.tab
        .until("document.querySelectorAll('.pending').length === 0");
    ann.is_content();
    bob.is_content();
}

#[test]
fn a_name_that_is_refused_is_asked_for_again() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let _bob = nc(&server, "bob");
    let tab = browser.open(&format!("http://{}/", server.http()));
    for (name, reason) in [
        ("bob", "this name is taken"),
        ("a b", "a name has letters and digits only"),
    ] {
        tab.evaluate("document.querySelector('#name').select()");
        tab.enter(name);
        tab.until(&format!("$('name-error').innerText === {reason:?}"));
        tab.until("document.activeElement.id === 'name'");
    }
    tab.evaluate("document.querySelector('#name').select()");
    tab.enter("ann");
    tab.until("phase === 'present' && $('name-form').hidden");
    assert!(tab.complaints().is_empty(), "{:?}", tab.complaints());
    // A new tab remembers the name.
    let other = browser.open(&format!("http://{}/", server.http()));
    assert_eq!(other.evaluate("$('name').value"), "ann");
}

#[test]
fn commands_are_completed_and_obeyed() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    ann.tab.write("/");
    let labels =
        "[...document.querySelectorAll('#options bdi')].map((item) => item.innerText.trim())";
    let labels = ann.tab.evaluate(labels);
    let labels = labels
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str);
    bob.ask("/help\n", "* //TEXT");
    let help = lines(&bob);
    let known = help
        .iter()
        .filter_map(|line| line.strip_prefix("* /")?.split_once("  "));
    let mut known: Vec<String> = known.map(|(command, _)| format!("/{command}")).collect();
    known.retain(|command| command != "//TEXT");
    known.push("/help".into());
    assert_eq!(
        labels.collect::<Vec<_>>().join("\n").replace("  ", " "),
        sorted_as_page(&known)
    );

    ann.tab.write("m");
    ann.tab.press(DOWN);
    ann.tab.press(TAB);
    assert_eq!(ann.tab.evaluate("$('line').value"), "/me ");
    ann.tab.enter("waves");
    bob.shows("** ann waves");
    ann.sees("** ann waves");

    ann.tab.write("/msg b");
    ann.tab.press(TAB);
    assert_eq!(ann.tab.evaluate("$('line').value"), "/msg bob ");
    ann.tab.enter("a word");
    bob.shows("[ann to you] a word");
    ann.tab
        .until("document.querySelector('.own.private .text').innerText === 'a word'");
    bob.say("/msg ann another\n");
    ann.tab.until("[...document.querySelectorAll('.private:not(.own)')].at(-1)?.innerText.includes('to you only')");

    ann.tab.write("bo");
    ann.tab.press(TAB);
    assert_eq!(ann.tab.evaluate("$('line').value"), "bob: ");
    ann.tab.press(ENTER);

    ann.tab.enter("/join dev");
    ann.tab
        .until("$('room').innerText === 'dev' && document.title.startsWith('dev ')");
    ann.tab
        .until("$('room-list').innerText.replace(/\\s+/g, ' ') === 'dev 1 lobby 1'");
    bob.say("/join dev\n");
    ann.sees("* bob has entered the room");
    ann.tab.until("$('people-list').innerText.includes('bob')");
    ann.tab.enter("/nick anna");
    bob.shows("* ann is now known as anna");
    ann.tab.until("$('self').innerText === 'anna'");

    // The page asks `/who` and `/rooms` too; only the user's questions are answered on the screen.
    ann.is_in();
    assert!(
        !ann.lines()
            .iter()
            .any(|line| line.starts_with("* in ") || line.starts_with("* rooms"))
    );
    ann.tab.enter("/who");
    ann.sees("* in dev (2): anna, bob");
    ann.is_content();
}

/// The commands of `/help`, in its order, one a line.
fn sorted_as_page(commands: &[String]) -> String {
    commands.join("\n")
}

#[test]
fn a_page_returns_to_a_server_that_was_stopped() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    ann.says("before");
    server.stop();
    ann.tab.enter("while it stood still");
    // No answer comes, so the page gives the connection up.
    ann.tab
        .until("document.querySelector('#banner span').textContent !== ''");
    server.resume();
    ann.sees("[ann] while it stood still");
    ann.is_in();
    bob.say("after\n");
    ann.sees("[bob] after");
    ann.says("the end");
    bob.shows("[ann] the end");
    let heard = ["before", "while it stood still", "the end"].map(|line| format!("[ann] {line}"));
    let entered = "* ann has entered the room".to_owned();
    let told: Vec<String> = lines(&bob).into_iter().skip(1).collect();
    assert_eq!(told, [&[entered], &heard[..]].concat());
    assert_eq!(ann.count("[ann] while it stood still"), 1);
    ann.is_content_but_for_its_connections();
}

#[test]
fn a_page_returns_to_its_room_after_a_restart_and_says_what_waited() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    ann.tab.enter("/join dev");
    ann.tab.until("$('room').innerText === 'dev'");
    ann.is_in();
    let (tcp, http) = (server.tcp(), server.http());
    server.signal(Signal::SIGKILL);
    drop(server);
    ann.tab
        .until("document.querySelector('#banner span').textContent !== ''");
    ann.tab.enter("written meanwhile");
    ann.tab
        .until("document.querySelector('.pending.waiting') !== null");
    let server = start_again(tcp, http);
    ann.sees("[ann] written meanwhile");
    ann.is_in();
    assert_eq!(ann.text("#room"), "dev");
    let mut bob = nc(&server, "bob");
    bob.ask("/join dev\n", "[ann] written meanwhile");
    ann.is_content_but_for_its_connections();
}

#[test]
fn a_page_that_is_loaded_again_keeps_its_place_and_misses_nothing() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    let url = format!("http://{}/", ann.address);
    for round in 0..3 {
        bob.say(format!("seen {round}\n"));
        ann.sees(&format!("[bob] seen {round}"));
        if round == 0 {
            ann.tab.reload();
        } else {
            ann.tab.call("Page.navigate", json!({"url": "about:blank"}));
            bob.say(format!("missed {round}\n/rooms\n"));
            bob.shows("* rooms: lobby (2)");
            ann.tab.load(&url);
        }
        ann.is_in();
        ann.says(&format!("back {round}"));
    }
    bob.shows("[ann] back 2");
    for line in [
        "[bob] seen 0",
        "[bob] missed 1",
        "[bob] seen 2",
        "[bob] missed 2",
        "[ann] back 1",
    ] {
        assert_eq!(ann.count(line), 1, "{line}: {:?}", ann.lines());
    }
    let steps = lines(&bob);
    let steps = steps.iter().filter(|line| line.starts_with("* ann "));
    assert_eq!(steps.collect::<Vec<_>>(), ["* ann has entered the room"]);
    ann.is_content();
}

#[test]
fn a_second_tab_with_the_same_place_takes_it_over_and_back() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    let copy = ann
        .tab
        .evaluate("saveVisit(), sessionStorage.getItem(STORE)");
    let other = browser.open(&format!("http://{}/", ann.address));
    // What the other tab would store about itself is not the subject here.
    other.evaluate("removeEventListener('pagehide', saveVisit), saveVisit = () => {}");
    other.evaluate(&format!("sessionStorage.setItem(STORE, {copy})"));
    other.reload();
    other.until("phase === 'present'");
    ann.tab
        .until("document.querySelector('#banner span').innerText.includes('another tab')");
    ann.tab
        .evaluate("document.querySelector('#banner button').click()");
    ann.is_in();
    other.until("document.querySelector('#banner span').innerText.includes('another tab')");
    ann.is_content();
}

#[test]
fn a_hidden_tab_counts_and_marks_what_it_has_not_shown() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    ann.says("seen");
    let _front = browser.blank(false);
    ann.tab.until("document.hidden");
    bob.say("one\ntwo\n/nick bobby\nthree\n");
    ann.sees("[bobby] three");
    ann.tab
        .until("document.title === '(3) lobby – edgeloop chat'");
    let marked = ann
        .tab
        .evaluate("document.querySelector('.unread + .row .text').innerText");
    assert_eq!(marked, "one");
    ann.tab.show();
    ann.tab
        .until("!document.hidden && document.title === 'lobby – edgeloop chat'");
    ann.is_content();
}

#[test]
fn hostile_lines_are_text_and_break_no_layout() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    let html = "<script>alert(1)</script><img src=x onerror=alert(1)><b>&amp;</b>";
    let word = "w".repeat(4096 - "\n".len());
    let link = "see https://example.org/?a=<b>&c=\"d\" and javascript:alert(1)";
    let mirrored = "\u{202e}gpj.exe \u{5d0}\u{5d1}";
    bob.say(format!("{html}\n{word}\n{link}\n{mirrored}\n/me {html}\n"));
    for line in [html, &word, link, "gpj.exe \u{5d0}\u{5d1}"] {
        ann.sees(&format!("[bob] {line}"));
    }
    ann.sees(&format!("** bob {html}"));
    let elements = "[...new Set([...document.querySelectorAll('#log .text *')].map((one) => one.localName))].sort().join()";
    assert_eq!(ann.tab.evaluate(elements), "a,bdi");
    let links = "[...document.querySelectorAll('#log a')].map((one) => [one.href, one.rel].join())";
    assert_eq!(
        ann.tab.evaluate(links),
        json!(["https://example.org/?a=,noopener noreferrer"])
    );
    for (width, height) in [(390, 844), (320, 420), (1280, 800)] {
        ann.tab.resize(width, height);
        ann.tab.until(&format!("innerWidth === {width}"));
        let wide = "[document.documentElement, ...document.querySelectorAll('body *')]
            .filter((one) => one.scrollWidth > one.clientWidth && getComputedStyle(one).display !== 'inline'
                && one.clientWidth > 1).map((one) => one.outerHTML.slice(0, 200))";
        assert_eq!(ann.tab.evaluate(wide), json!([]), "{width} pixels");
        ann.tab
            .until("$('line').getBoundingClientRect().bottom <= innerHeight");
    }
    ann.is_content();
}

#[test]
fn a_line_that_is_too_long_is_not_lost_and_ends_nothing() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&["--max-line", "200"]);
    let bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    ann.tab.enter(&"long ".repeat(50));
    ann.tab
        .until("document.querySelector('.failed .head')?.innerText.includes('too long')");
    ann.tab.until("phase === 'present'");
    ann.tab
        .evaluate("document.querySelector('.failed button:last-child').click()");
    ann.says("short");
    bob.shows("[ann] short");
    assert!(!lines(&bob).iter().any(|line| line.contains("has left")));
}

#[test]
fn the_log_is_bounded_and_stays_where_the_user_reads() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&["--rate", "0"]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    let many: String = (0..2_500)
        .map(|number| format!("line {number}\n"))
        .collect();
    bob.say(many);
    ann.sees("[bob] line 2499");
    assert_eq!(ann.tab.evaluate("$('log').childElementCount"), 2_000);
    let at_end = "$('scroll').scrollHeight - $('scroll').scrollTop - $('scroll').clientHeight < 2";
    ann.tab.until(at_end);
    ann.tab.evaluate("$('scroll').scrollTop = 100");
    ann.tab.until("!followsEnd");
    bob.say("one\ntwo\n");
    ann.tab.until("$('newer').innerText === '↓ 2 new'");
    ann.tab.evaluate("$('newer').click()");
    ann.tab.until(at_end);
    ann.tab.until("$('newer').hidden");
    ann.is_content();
}

#[test]
fn a_user_without_a_mouse_or_eyes_finds_everything() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    bob.say("hello\n");
    ann.sees("[bob] hello");
    ann.tab.until("$('people-list').innerText.includes('bob')");
    let tree = ann.tab.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes").iter();
    let nodes = nodes.filter(|node| node["ignored"] == false);
    let nodes: Vec<(&str, &str)> = nodes
        .map(|node| {
            let text = |key: &str| node[key]["value"].as_str().unwrap_or_default();
            (text("role"), text("name"))
        })
        .collect();
    for expected in [
        ("log", "Conversation"),
        ("textbox", "Your line; / lists commands"),
        ("button", "Send"),
        ("button", "bob"),
        ("heading", "People (2)"),
    ] {
        assert!(nodes.contains(&expected), "{expected:?}: {nodes:?}");
    }
    let is_nameless = |(role, name): &&(&str, &str)| {
        ["button", "textbox", "link", "log", "listbox"].contains(role) && name.is_empty()
    };
    assert_eq!(nodes.iter().find(is_nameless), None);

    let focused = "document.activeElement.innerText || document.activeElement.id";
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(
            ann.tab
                .evaluate(focused)
                .as_str()
                .expect("a text")
                .trim()
                .to_owned(),
        );
        ann.tab.press(TAB);
    }
    assert_eq!(order[..2], ["line", "Send"]);
    assert!(
        order[2].starts_with("lobby") && order[3] == "Another room…" && order[4] == "bob",
        "{order:?}"
    );
    ann.tab.press(ESCAPE);
    assert_eq!(ann.tab.evaluate(focused), "line");
    ann.is_content();
}

/// The contrast of a name on the ground, at worst, of those with 360 different hues: WCAG 2.1 asks for 4.5.
const WORST_CONTRAST: &str = include_str!("web_page/contrast.js");

#[test]
fn names_can_be_read_in_light_and_in_the_dark_and_texts_are_in_the_users_language() {
    let Some(browser) = Browser::start("zh-CN") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    let _bob = nc(&server, "bob");
    ann.sees("* bob 进入了房间");
    assert_eq!(ann.tab.evaluate("document.documentElement.lang"), "zh");
    assert_eq!(ann.text("#line-form button"), "发送");
    for scheme in ["light", "dark"] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        ann.tab.call("Emulation.setEmulatedMedia", media);
        let contrast = ann.tab.evaluate(WORST_CONTRAST).as_f64().expect("a number");
        assert!(contrast >= 4.5, "{scheme}: {contrast}");
    }
    ann.is_content();
}

#[test]
fn both_languages_have_the_same_texts() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    let keys = "Object.values(TEXTS).map((texts) => Object.keys(texts).sort().join())";
    let keys = ann.tab.evaluate(keys);
    assert_eq!(keys[0], keys[1]);
}
