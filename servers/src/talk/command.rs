//! The command line of the side that is called.

use clap::Args;

use super::Talk;
use crate::options::{Options, default_port};
use crate::screen::Screen;
use crate::serve::{serve_alone, start_alone};
use crate::server::{ServerCommand, Turns};

const PORT: u16 = 5678;

const EXAMPLE: &str = "\
A second caller is told 'busy'. /hangup ends the call, so that the next caller gets
through (//hangup says /hangup); Ctrl-D ends our side, and Ctrl-C the program. A line
is edited with the keys of most shells: arrows, Ctrl-A, E, K, U, W and Y, Alt-B, F
and Backspace.
Each option can be set in the environment too: EDGELOOP_IDLE_TIMEOUT=30s

Example:
  edgeloop talk 5678
  edgecall talk 127.0.0.1:5678";

/// Talk from this terminal to one peer at a time, full duplex, over TCP and Unix sockets
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLE,
    mut_arg("addresses", |arg| default_port(arg, PORT).num_args(0..=1))
)]
pub(crate) struct TalkCommand {
    #[command(flatten)]
    options: Options,
}

impl ServerCommand for TalkCommand {
    const IS_CONVERSATION: bool = true;
    const IS_ALONE: bool = true;
    const STOPS_IN_BACKGROUND: bool = true;

    fn options(&self) -> &Options {
        &self.options
    }

    fn run(self) -> Result<(), String> {
        let talk = Talk::answering(Screen::of_standard_streams());
        serve_alone(talk, &self.options, PORT)
    }

    fn start(self) -> Result<Box<dyn Turns>, String> {
        let talk = Talk::answering(Screen::of_standard_streams());
        Ok(Box::new(start_alone(talk, &self.options, PORT)?))
    }
}
