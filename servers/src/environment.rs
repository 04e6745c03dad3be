//! Options from the environment: `EDGELOOP_IDLE_TIMEOUT=30s` is `--idle-timeout=30s`.
//!
//! Every long option has a variable of its name behind the program's. What is set there is put in
//! front of what was typed, so that the command line has the last word, and is checked alone first,
//! so that an error names the variable and not an option that was never typed.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

/// Words for yes and no, in any case.
const YES: [&str; 7] = ["1", "true", "yes", "on", "y", "t", "enabled"];
const NO: [&str; 7] = ["0", "false", "no", "off", "n", "f", "disabled"];

/// The arguments that were typed, with those of the environment in front of the subcommand's own.
///
/// A variable that is empty counts as unset; so does one of an option that the subcommand does not
/// have, or that `applies` (subcommand, long option) denies. Errors: a message that names the
/// variable.
pub fn arguments(
    mut command: Command,
    typed: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
    applies: impl Fn(&str, &str) -> bool,
) -> Result<Vec<OsString>, String> {
    command.build();
    let name = typed.get(1).and_then(|name| name.to_str());
    let Some(subcommand) = name.and_then(|name| command.find_subcommand(name)) else {
        return Ok(typed);
    };
    let mut arguments = typed[..2].to_vec();
    for option in subcommand.get_arguments() {
        let Some(long) = option.get_long() else {
            continue;
        };
        let variable_name = name_of(command.get_name(), long);
        let value = variable(&variable_name).filter(|value| !value.is_empty());
        let Some(value) = value.filter(|_| applies(subcommand.get_name(), long)) else {
            continue;
        };
        let words = words(option, long, &value).map_err(|why| format!("{variable_name}: {why}"))?;
        check(&command, &typed[..2], &words, option, &variable_name)?;
        arguments.extend(words);
    }
    arguments.extend_from_slice(&typed[2..]);
    Ok(arguments)
}

/// Words to put behind a message about options that do not go together: the variable that set one
/// of those it names, if there is one.
pub fn blame(program: &str, message: &str, variable: impl Fn(&str) -> Option<OsString>) -> String {
    let options = message.split(|char: char| !char.is_alphabetic() && char != '-');
    let mut names = options
        .filter_map(|word| word.strip_prefix("--"))
        .map(|long| name_of(program, long));
    let is_set = |name: &String| variable(name).is_some_and(|value| !value.is_empty());
    match names.find(is_set) {
        Some(name) => format!(" ({name} is set)"),
        None => String::new(),
    }
}

/// `edgeloop`, `idle-timeout`: `EDGELOOP_IDLE_TIMEOUT`.
#[must_use]
pub fn name_of(program: &str, long: &str) -> String {
    format!("{program}_{long}").replace('-', "_").to_uppercase()
}

/// An option with its value, as it would be typed.
fn words(option: &Arg, long: &str, value: &OsStr) -> Result<Vec<OsString>, String> {
    let flag = OsString::from(format!("--{long}"));
    let count = match option.get_action() {
        ArgAction::SetTrue => usize::from(truth(value)?),
        ArgAction::Count => match value.to_str().and_then(|text| text.parse::<u8>().ok()) {
            Some(count) => count.into(),
            None => usize::from(truth(value)?),
        },
        ArgAction::Set | ArgAction::Append => {
            let mut word = flag;
            word.push("=");
            word.push(value);
            return Ok(vec![word]);
        }
        // An option that ends the program, as --help does, is no setting.
        _ => 0,
    };
    Ok(vec![flag; count])
}

fn truth(value: &OsStr) -> Result<bool, String> {
    let word = value.to_string_lossy().to_lowercase();
    match (YES.contains(&&*word), NO.contains(&&*word)) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(format!("'{word}' is neither yes nor no (true, false)")),
    }
}

/// Whether an option can have this value, with a message about the variable if not.
fn check(
    command: &Command,
    typed: &[OsString],
    words: &[OsString],
    option: &Arg,
    variable: &str,
) -> Result<(), String> {
    let alone = typed.iter().chain(words).cloned();
    let Err(error) = command.clone().try_get_matches_from(alone) else {
        return Ok(());
    };
    if !matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::InvalidUtf8
    ) {
        return Ok(());
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let message = first.trim_start_matches("error: ");
    let message = message.replace(&format!("'{option}'"), variable);
    // Of a value that is not UTF-8, or that has an empty line, the message names no option.
    match message.contains(variable) {
        true => Err(message),
        false => Err(format!("{variable}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use clap::Parser;

    use super::*;
    use crate::values::duration;

    #[derive(Parser)]
    #[command(name = "edgeloop")]
    enum Cli {
        Echo {
            #[arg(long, value_name = "DURATION", value_parser = duration)]
            idle_timeout: Option<std::time::Duration>,
            #[arg(long)]
            once: bool,
            #[arg(short, long, action = ArgAction::Count)]
            verbose: u8,
        },
    }

    fn with<S: AsRef<OsStr>>(
        settings: &[(&str, S)],
        typed: &[&str],
    ) -> Result<Vec<String>, String> {
        let typed = typed.iter().map(OsString::from).collect();
        let variable = |name: &str| {
            let found = settings.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_ref().to_owned())
        };
        let command = <Cli as clap::CommandFactory>::command();
        let all = arguments(command, typed, variable, |_, long| long != "denied")?;
        Ok(all
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect())
    }

    #[test]
    fn settings_come_before_what_is_typed() {
        let settings = [
            ("EDGELOOP_IDLE_TIMEOUT", "5s"),
            ("EDGELOOP_ONCE", "Yes"),
            ("EDGELOOP_VERBOSE", "2"),
            ("EDGELOOP_HELP", "1"),
        ];
        assert_eq!(
            with(&settings, &["edgeloop", "echo", "--idle-timeout=1s"]).unwrap(),
            [
                "edgeloop",
                "echo",
                "--idle-timeout=5s",
                "--once",
                "--verbose",
                "--verbose",
                "--idle-timeout=1s"
            ]
        );
        let typed = ["edgeloop", "--help"];
        assert_eq!(with(&settings, &typed).unwrap(), typed);
    }

    #[test]
    fn an_empty_variable_is_unset_and_no_is_no() {
        let settings = [
            ("EDGELOOP_IDLE_TIMEOUT", ""),
            ("EDGELOOP_ONCE", "off"),
            ("EDGELOOP_VERBOSE", "false"),
        ];
        let typed = ["edgeloop", "echo"];
        assert_eq!(with(&settings, &typed).unwrap(), typed);
    }

    #[test]
    fn an_error_names_the_variable() {
        for (name, value) in [
            ("EDGELOOP_IDLE_TIMEOUT", "soon"),
            ("EDGELOOP_ONCE", "perhaps"),
            ("EDGELOOP_VERBOSE", "very"),
        ] {
            let error = with(&[(name, value)], &["edgeloop", "echo"]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
            assert!(!error.contains("--"), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_variable_of_a_value_that_is_no_word() {
        for value in [&b"\xff"[..], b"5s\n\nand more"] {
            let settings = [("EDGELOOP_IDLE_TIMEOUT", OsStr::from_bytes(value))];
            let error = with(&settings, &["edgeloop", "echo"]).unwrap_err();
            assert!(error.contains("EDGELOOP_IDLE_TIMEOUT"), "{error}");
        }
    }
}
