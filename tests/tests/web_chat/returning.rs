//! Pages that lose their connection and come back, over real sockets.

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tests::chat::Guest;
use tests::link::Link;
use tests::page::{Page, TOKEN, WELCOME, room};
use tests::server::Launch;
use tests::until;

use crate::python;

const BACK: &str = "* You are back as wendy in lobby.";

#[test]
fn after_a_reset_a_page_has_its_place_and_the_lines_that_it_has_missed() {
    let server = room(&[]).start();
    let mut guest = Guest::join(server.tcp(), "gus");
    let mut page = Page::join(&server, TOKEN, "wendy");
    guest.hears("* wendy has entered the room");
    guest.say("heard");
    page.hears("[gus] heard");
    let seen = page.seen;
    page.reset();
    server.logs("wendy has lost its connection: reset by peer");
    (0..20).for_each(|number| guest.say(format!("missed {number}")));
    guest.say("/who");
    guest.hears("* in lobby (2): gus, wendy");
    let mut page = Page::open(&server, &format!("{TOKEN}&seen={seen}"));
    page.hears(BACK);
    (0..20).for_each(|number| page.hears(&format!("[gus] missed {number}")));
    page.say("I am here");
    guest.hears("[wendy] I am here");
    page.hears("[wendy] I am here");
    // A reload.
    page.close(1001);
    let mut page = Page::open(&server, &format!("{TOKEN}&seen={}", seen + 22));
    page.hears(BACK);
    // And the end.
    page.close(1000);
    guest.hears("* wendy has left the room");
    Page::open(&server, TOKEN).hears(WELCOME);
}

#[test]
fn a_page_takes_the_place_of_its_connection_that_still_seems_open() {
    let server = room(&[]).start();
    let mut guest = Guest::join(server.tcp(), "gus");
    let mut first = Page::join(&server, TOKEN, "wendy");
    guest.hears("* wendy has entered the room");
    let mut second = first.back(&server);
    second.hears(BACK);
    assert_eq!(first.code(), 1008);
    drop(first);
    let mut stranger = Page::open(&server, "token=0123456789abcdef-secreT&seen=2");
    stranger.hears(WELCOME);
    stranger.say("wendy");
    stranger.hears("* this name is taken");
    assert_eq!(stranger.code(), 1000);
    second.say("still here");
    guest.hears("[wendy] still here");
    server.stats_until("the others are gone", |stats| stats.get("connections") == 2);
}

/// Lines that are in the buffers of a connection when it dies are told on the next one.
#[test]
fn what_was_on_its_way_to_a_page_that_was_killed_is_told_again() {
    let Some(package) = python::package() else {
        return;
    };
    let server = room(&[]).start();
    let mut guest = Guest::join(server.tcp(), "gus");
    let address = format!("ws://{}/room?{TOKEN}", server.http());
    let mut client = python::start(package, &[&address]);
    client.say("wendy\n");
    guest.hears("* wendy has entered the room");
    until("it has heard a line", || {
        guest.say("hello");
        client.stdout().text().contains("[gus] hello")
    });
    // From now on it does nothing with what its kernel receives.
    let pid = Pid::from_raw(client.pid().cast_signed());
    kill(pid, Signal::SIGSTOP).expect("kill");
    (0..50).for_each(|number| guest.say(format!("missed {number}")));
    guest.say("/who");
    guest.hears("* in lobby (2): gus, wendy");
    let heard = client.stdout().text();
    let seen = heard.lines().count();
    kill(pid, Signal::SIGKILL).expect("kill");
    server.logs("wendy has lost its connection");
    let mut page = Page::open(&server, &format!("{TOKEN}&seen={seen}"));
    page.hears(BACK);
    let mut line = page.next();
    while line == "[gus] hello" {
        line = page.next();
    }
    assert_eq!(line, "[gus] missed 0");
    (1..50).for_each(|number| page.hears(&format!("[gus] missed {number}")));
    page.say("x");
    guest.hears("[wendy] x");
}

/// A phone that leaves its network says nothing. Its page is away when the kernel gives it up, or back
/// before that.
#[test]
fn a_page_whose_network_is_gone_is_found_by_its_pings() {
    let Some(link) = Link::shaped("1gbit") else {
        return;
    };
    let server = Launch::new("chat", &["http://0.0.0.0:0"])
        .args(&[
            "--keepalive",
            "2s",
            "--stall-timeout",
            "2s",
            "--max-per-ip",
            "0",
        ])
        .under(&link.wrapper())
        .start();
    let port = server.http().port();
    let page = Page::on(link.dial_far(port), &server, TOKEN).joined("wendy");
    link.cut();
    server.logs("wendy has lost its connection: ");
    drop(page);
    let near = Page::on(link.dial_near(port), &server, TOKEN);
    assert_eq!({ near }.next(), BACK);
}

#[test]
fn many_lines_are_more_than_can_be_told() {
    let server = room(&["--history", "30"]).start();
    let mut guest = Guest::join(server.tcp(), "gus");
    let page = Page::join(&server, TOKEN, "wendy");
    guest.hears("* wendy has entered the room");
    let seen = page.seen;
    page.reset();
    (0..500).for_each(|number| guest.say(format!("missed {number}")));
    guest.say("/who");
    guest.hears("* in lobby (2): gus, wendy");
    let mut page = Page::open(&server, &format!("{TOKEN}&seen={seen}"));
    page.hears(BACK);
    page.hears("* Some lines that were said meanwhile are missing.");
    (470..500).for_each(|number| page.hears(&format!("[gus] missed {number}")));
    guest.say("and on");
    page.hears("[gus] and on");
    let mut page = Page::open(&server, &format!("{TOKEN}&seen=9007199254740992"));
    page.hears(BACK);
    guest.say("more than there was");
    page.hears("[gus] more than there was");
}
