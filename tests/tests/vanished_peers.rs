//! Peers that vanish silently, like a laptop that sleeps, are detected in every model, with and
//! without output under way.

use std::io::Write;
use std::thread;

use tests::chat::Guest;
use tests::client::ping;
use tests::link::Link;
use tests::server::{Launch, MODELS, Server};

/// A server behind its own link; `None` where no link can be made.
fn behind_a_link(name: &str, options: &[&str]) -> Option<(Link, Server)> {
    let link = Link::shaped("1gbit")?;
    let launch = Launch::new(name, &["0.0.0.0:0"]).under(&link.wrapper());
    let server = launch.args(options).args(&["-v"]).start();
    Some((link, server))
}

fn in_every_model(test: fn(&str)) {
    thread::scope(|scope| {
        for model in MODELS {
            scope.spawn(move || test(model));
        }
    });
}

/// No byte is under way, so only TCP keepalive can detect the loss.
#[test]
fn a_silent_peer_is_found_by_keepalive() {
    in_every_model(|model| {
        let options = ["--model", model, "--keepalive", "2s"];
        let Some((link, server)) = behind_a_link("echo", &options) else {
            return;
        };
        let client = link.dial_far(server.tcp().port());
        ping(&client, b"still here");
        link.cut();
        server.logs("closed: Connection timed out");
    });
}

/// The whole reply lies in the kernel's send buffer, so the server itself has no pending output.
#[test]
fn a_peer_that_acknowledges_nothing_is_found() {
    in_every_model(|model| {
        let options = [
            "--model",
            model,
            "--keepalive",
            "2s",
            "--stall-timeout",
            "2s",
        ];
        let Some((link, server)) = behind_a_link("echo", &options) else {
            return;
        };
        let mut client = link.dial_far(server.tcp().port());
        ping(&client, b"still here");
        link.lose_answers();
        client.write_all(b"and now?").expect("write");
        server.logs("closed: accepted nothing for too long");
    });
}

/// A vanished member to which other members' lines are under way is dropped, and its name is free
/// again.
#[test]
fn a_member_that_vanished_leaves_a_room_that_talks() {
    let options = ["--keepalive", "2s", "--stall-timeout", "2s"];
    let Some((link, server)) = behind_a_link("chat", &options) else {
        return;
    };
    let port = server.tcp().port();
    let _ann = Guest::on(link.dial_far(port)).joined("ann");
    let mut bob = Guest::on(link.dial_near(port)).joined("bob");
    link.cut();
    bob.say("ann, are you there?");
    bob.hears("* ann has left the room");
    let _ann = Guest::on(link.dial_near(port)).joined("ann");
}
