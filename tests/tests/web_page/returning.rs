//! Pages that lose their connection, and come back.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::browser::Browser;

use crate::member::{Member, lines, nc, start, start_again};

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
            ann.tab
                .call("Page.navigate", &json!({"url": "about:blank"}));
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
    // The other tab's own storage is not the subject here.
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
fn a_user_leaves_and_joins_again() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    ann.tab.evaluate("$('leave').click()");
    ann.tab
        .until("document.querySelector('#banner span').innerText === 'You have left.'");
    bob.shows("* ann has left the room");
    ann.tab
        .evaluate("document.querySelector('#banner button').click()");
    ann.is_in();
    ann.says("here again");
    assert_eq!(
        ann.tab
            .evaluate("document.querySelectorAll('.pending').length"),
        0
    );
    assert_eq!(ann.count("* The room contains: bob"), 2);
    ann.is_content();
}

/// A line that was sent to a server that has died may have been said or not: the user decides.
#[test]
fn a_line_whose_fate_is_unknown_is_offered_to_the_user() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    let (tcp, http) = (server.tcp(), server.http());
    server.stop();
    ann.tab.enter("perhaps");
    ann.tab.until("document.querySelector('.pending.sent')");
    server.signal(Signal::SIGKILL);
    drop(server);
    let server = start_again(tcp, http);
    let bob = nc(&server, "bob");
    ann.tab
        .until("phase === 'present' && document.querySelector('.pending.failed')");
    ann.tab.enter("certainly");
    ann.sees("[ann] certainly");
    ann.tab
        .evaluate("document.querySelector('.failed button').click()");
    ann.sees("[ann] perhaps");
    ann.is_in();
    bob.shows("[ann] perhaps");
    let said = lines(&bob);
    let perhaps = said.iter().filter(|line| line.ends_with("] perhaps"));
    assert_eq!(perhaps.count(), 1, "{said:?}");
    ann.is_content_but_for_its_connections();
}

/// A line that the server has not got is sent again, once: the lines that the page is sent on its return show it.
#[test]
fn a_line_that_was_lost_on_the_way_is_sent_again() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let mut bob = nc(&server, "bob");
    let ann = Member::join(&browser, &server, "ann");
    ann.says("first");
    ann.tab.enter("got, but not answered");
    ann.tab.evaluate("socket.send = () => {}");
    ann.tab.enter("lost on the way");
    bob.shows("[ann] got, but not answered");
    bob.say("meanwhile\n");
    ann.tab.evaluate("lost()");
    ann.sees("[ann] lost on the way");
    ann.is_in();
    bob.shows("[ann] lost on the way");
    for line in ["got, but not answered", "lost on the way"] {
        let line = format!("[ann] {line}");
        let heard = lines(&bob).iter().filter(|heard| **heard == line).count();
        assert_eq!((ann.count(&line), heard), (1, 1), "{line}");
    }
    ann.is_content();
}

/// The server drops a line that shows nothing, and answers `/me` without words by its syntax.
#[test]
fn lines_that_never_come_back_cost_no_connection() {
    let Some(browser) = Browser::start("en") else {
        return;
    };
    let server = start(&[]);
    let ann = Member::join(&browser, &server, "ann");
    ann.tab.evaluate("window.first = socket");
    ann.tab.evaluate("submit('\\u200b\\n/me  ')");
    ann.sees("* write /me TEXT");
    ann.is_in();
    assert_eq!(ann.tab.evaluate("socket === first"), true);
    assert_eq!(ann.count("* write /me TEXT"), 1);
    ann.is_content();
}
