//! The page of the chat in a real browser, together with `nc` and `telnet`.
//!
//! A test waits for a condition in the page (`Tab::until`), of which many are about its own variables.

mod member;
mod returning;
mod screen;

use member::{Member, lines, nc, start};
use serde_json::json;
use tests::browser::{Browser, DOWN, ENTER, TAB};
use tests::foreign::telnet;
use tests::until;

const PAGE: &str = include_str!("../../../servers/src/chat/page.html");

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
    bob.ask("/help\n", "* //TEXT");
    let help = lines(&bob);
    let known = help
        .iter()
        .filter_map(|line| line.strip_prefix("* ")?.split_once("  "));
    let known = known
        .map(|(command, _)| command)
        .filter(|command| *command != "//TEXT");
    let known: Vec<&str> = known.chain(["/help"]).collect();
    assert_eq!(labels, json!(known));

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

/// A web page can make its reader's browser send requests to any address.
#[test]
fn a_browser_at_the_port_for_nc_is_refused_and_logged_with_its_address() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let tab = browser.blank(true);
    tab.call("Page.enable", &json!({}));
    let url = format!("http://{}/", server.tcp());
    let form =
        "document.body.append(document.createElement('form')), document.forms[0].method = 'post'";
    tab.evaluate(&format!(
        "{form}, document.forms[0].action = {url:?}, document.forms[0].submit()"
    ));
    server.logs("refused the name 'POST / HTTP/1.1' from 127.0.0.1:");
    tab.call("Page.navigate", &json!({"url": url}));
    server.logs("refused the name 'GET / HTTP/1.1' from 127.0.0.1:");
    bob.ask("/who\n", "* in lobby (1): bob");
}
