//! The command line: names each server, and reads what was typed.

use std::env;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::chat::ChatCommand;
use crate::echo::EchoCommand;
use crate::server::{ServerCommand, Turns};
use crate::sink::SinkCommand;
use crate::talk::TalkCommand;
use crate::upper::UpperCommand;
use crate::{environment, generate, print};

/// Servers of the classic socket notes on an edge-triggered epoll reactor
#[derive(Debug, Parser)]
#[command(name = "edgeloop", version, max_term_width = 100, after_help = EXAMPLE, args_override_self = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Command {
    #[command(flatten)]
    Serve(Server),
    /// Print shell completions or the manual page
    #[command(hide = true)]
    Generate(generate::Options),
}

const EXAMPLE: &str = "\
Example:
  edgeloop echo 9876 udp://127.0.0.1:9876
  nc 127.0.0.1 9876

'edgeloop echo --help' shows the options, most of which every server takes.";

/// The enum [`Server`] with a subcommand for each server, and what they have in common.
macro_rules! servers {
    ($($name:ident($command:ty),)*) => {
        #[derive(Debug, Subcommand)]
        pub(crate) enum Server {
            $($name($command),)*
        }

        impl Server {
            /// Whether the server of this name heeds an option of every server.
            fn heeds(name: &str, option: &str) -> bool {
                let is_it = |server: &str| server.eq_ignore_ascii_case(name);
                $(if is_it(stringify!($name)) {
                    return match option {
                        "model" => !<$command>::IS_CONVERSATION,
                        "workers" => !<$command>::IS_ALONE,
                        _ => true,
                    };
                })*
                true
            }

            /// Whether the process is stopped when it uses the terminal in the background.
            pub(crate) fn stops_in_background(&self) -> bool {
                match self {
                    $(Server::$name(_) => <$command>::STOPS_IN_BACKGROUND,)*
                }
            }

            /// Options that exclude each other. An error is a message for the user.
            pub(crate) fn check(&self) -> Result<(), String> {
                match self {
                    $(Server::$name(command) => check(command),)*
                }
            }

            /// Serves until the end.
            pub(crate) fn run(self) -> Result<(), String> {
                match self {
                    $(Server::$name(command) => command.run(),)*
                }
            }

            /// The server on one reactor, listening.
            pub(crate) fn start(self) -> Result<Box<dyn Turns>, String> {
                match self {
                    $(Server::$name(command) => command.start(),)*
                }
            }
        }
    };
}

servers! {
    Echo(EchoCommand),
    Upper(UpperCommand),
    Sink(SinkCommand),
    Chat(ChatCommand),
    Talk(TalkCommand),
}

fn check<C: ServerCommand>(command: &C) -> Result<(), String> {
    command.options().check()?;
    command.check()?;
    if command.options().has_web() && !C::SPEAKS_HTTP {
        return Err("this server has nothing for browsers: leave out http://".into());
    }
    if C::IS_ALONE && command.options().workers > 1 {
        return Err("this server has one conversation: leave out --workers".into());
    }
    match C::IS_CONVERSATION {
        true => Ok(command.options().check_conversation()?),
        false => Ok(()),
    }
}

impl Cli {
    /// The command line that the user typed; ends the program if it is not understood.
    pub(crate) fn read() -> Cli {
        let understood = Cli::understand(env::args_os().collect(), |name| env::var_os(name));
        understood.unwrap_or_else(|error| print::explain("edgeloop", &error))
    }

    /// Parses a command line, whose first argument is the program's name, and the variables of an
    /// environment. An error is a message for the user, or the help that was asked for.
    pub(crate) fn understand(
        typed: Vec<OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Cli, clap::Error> {
        let fail = |kind, why: &str| Cli::command().error(kind, why);
        let arguments = environment::arguments(Cli::command(), typed, &variable, Server::heeds)
            .map_err(|why| fail(ErrorKind::ValueValidation, &why))?;
        let cli = Cli::try_parse_from(arguments)?;
        if let Command::Serve(server) = &cli.command
            && let Err(conflict) = server.check()
        {
            let blame = environment::blame("edgeloop", &conflict, variable);
            return Err(fail(
                ErrorKind::ArgumentConflict,
                &format!("{conflict}{blame}"),
            ));
        }
        Ok(cli)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
