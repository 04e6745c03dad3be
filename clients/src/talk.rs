//! A conversation with one peer, or with everybody in a chat.

use std::io;
use std::time::Duration;

use edgeloop::talk::{Call, PEER, STDIN, STDOUT, Screen, Talk};
use edgeloop::{ending, print};
use edgeloop_reactor::{Direction, Limits, Reactor, reason};

use crate::call::{adopt, cannot_reach};
use crate::cli::TalkOptions;
use crate::logging;

/// Talks, until either side has had enough.
pub(crate) fn talk(options: &TalkOptions) -> Result<(), String> {
    let common = &options.common;
    logging::start(common.verbose)?;
    let server = &options.address;
    let address = server
        .resolved()
        .map_err(|error| cannot_reach(server, &error))?;
    let limits = Limits {
        connect_timeout: common.timeout(server),
        // People may take as long as they like, at both ends.
        stall_timeout: Duration::ZERO,
        ..Limits::default()
    };
    let call = Call {
        address: address.clone(),
        retries: common.retries(server),
        patience: common.given_timeout(),
    };
    let talk = Talk::calling(Screen::of_standard_streams(), call);
    let mut reactor = Reactor::new(talk, limits).map_err(|error| reason(&error))?;
    // Ctrl-C must leave the terminal as it was found.
    reactor
        .handle_signals()
        .map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    print::check()
        .and_then(|()| adopt(&mut reactor, io::stdout(), Direction::Output, STDOUT))
        .map_err(|error| format!("cannot write to standard output: {}", reason(&error)))?;
    adopt(&mut reactor, io::stdin(), Direction::Input, STDIN)
        .map_err(|error| format!("cannot read standard input: {}", reason(&error)))?;
    reactor.call(|_, out| out.connect(address, PEER));
    reactor.run().map_err(|error| reason(&error))?;
    ending::begin(Duration::MAX);
    let talk = reactor.protocol();
    log::info!("{}", talk.summary());
    talk.failure()
        .map_or(Ok(()), |failure| Err(failure.to_owned()))
}
