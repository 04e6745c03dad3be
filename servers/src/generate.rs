//! Files that a package needs besides the program: shell completions and manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use edgeloop_reactor::process::reason;

use crate::print::print_text;

/// The kind of file to generate, and its place.
#[derive(Args, Debug)]
pub struct Options {
    /// The kind of file to generate
    what: What,
    /// For `man`: write a page for each subcommand into this directory, rather than the main one to
    /// standard output
    directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    Man,
}

impl What {
    fn shell(self) -> Option<Shell> {
        Some(match self {
            What::Bash => Shell::Bash,
            What::Elvish => Shell::Elvish,
            What::Fish => Shell::Fish,
            What::Powershell => Shell::PowerShell,
            What::Zsh => Shell::Zsh,
            What::Man => return None,
        })
    }
}

/// Generates the files from the definition of a command line.
pub fn run(mut command: Command, options: &Options) -> Result<(), String> {
    let mut text = Vec::new();
    match (options.what.shell(), &options.directory) {
        (Some(shell), None) => {
            let name = command.get_name().to_owned();
            generate(shell, &mut command, name, &mut text);
        }
        (Some(_), Some(_)) => return Err("a shell's completions go to standard output".into()),
        (None, None) => Man::new(command)
            .render(&mut text)
            .map_err(|error| error.to_string())?,
        (None, Some(directory)) => return write_pages(command, directory),
    }
    print_text(&text)
}

fn write_pages(command: Command, directory: &Path) -> Result<(), String> {
    clap_mangen::generate_to(command, directory).map_err(|error| {
        format!(
            "cannot write to {}: {}",
            directory.display(),
            reason(&error)
        )
    })
}
