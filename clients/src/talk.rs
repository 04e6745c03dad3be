//! A conversation with one peer, or with the members of a chat.

use std::time::Duration;

use edgeloop::ending;
use edgeloop::talk::{Call, PEER, STDIN, STDOUT, Screen, Talk};
use edgeloop_reactor::process::reason;
use edgeloop_reactor::terminal::REDRAW_SIGNALS;
use edgeloop_reactor::{Limits, Reactor};

use crate::cli::TalkOptions;
use crate::client::{adopt_input, adopt_output};
use crate::dial::resolve;
use crate::logging;

/// Talks until either side ends.
pub(crate) fn talk(options: &TalkOptions) -> Result<(), String> {
    let common = &options.common;
    logging::start(common.verbose)?;
    let server = &options.address;
    let address = resolve(server)?;
    let limits = Limits {
        connect_timeout: common.timeout(server),
        // There are people at both ends, who may take as long as they like.
        stall_timeout: Duration::ZERO,
        ..Limits::default()
    };
    let call = Call {
        address: address.clone(),
        retries: common.retries(server),
        patience: common.given_timeout(),
    };
    let talk = Talk::calling(Screen::of_standard_streams(), call);
    let mut reactor = Reactor::new(talk, limits)
        .map_err(|error| format!("cannot start the event loop: {}", reason(&error)))?;
    // Ctrl-C must leave the terminal as it was found.
    reactor
        .handle_signals()
        .and_then(|()| reactor.on_signals(&REDRAW_SIGNALS, Talk::redraw))
        .map_err(|error| format!("cannot handle signals: {}", reason(&error)))?;
    adopt_output(&mut reactor, STDOUT, "cannot write to standard output")?;
    adopt_input(&mut reactor, STDIN)?;
    reactor.call(|_, out| out.connect(address, PEER));
    reactor.run().map_err(|error| reason(&error))?;
    ending::begin(Duration::MAX);
    let talk = reactor.protocol();
    log::info!("{}", talk.summary());
    talk.failure()
        .map_or(Ok(()), |failure| Err(failure.to_owned()))
}
