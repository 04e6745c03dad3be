//! If a program cannot print its output, it says so in one line and exits with status 1.

use std::process::Command;

use tests::program::{Ended, Program, command};
use tests::server::Launch;

/// Runs a program with its stdout redirected, as the shell writes it.
fn run(words: &[&str], output: &str) -> Ended {
    let program = command(words[0]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {output}")]);
    shell.arg(program.get_program()).args(&words[1..]);
    shell.stdin(std::process::Stdio::null());
    Program::spawn(shell).finish()
}

fn fails(words: &[&str], output: &str, reason: &str) {
    let ended = run(words, output);
    assert_eq!(ended.code, Some(1), "{words:?}: {ended:?}");
    let expected = format!("{}: cannot write to standard output: {reason}\n", words[0]);
    assert_eq!(ended.stderr, expected, "{words:?}");
}

#[test]
fn help_and_generated_files() {
    for words in [
        &["edgeloop", "--help"][..],
        &["edgeloop", "-h"],
        &["edgeloop", "--version"],
        &["edgeloop", "chat", "--help"],
        &["edgeloop", "help", "echo"],
        &["edgeloop", "generate", "man"],
        &["edgeloop", "generate", "bash"],
        &["edgecall", "--help"],
        &["edgecall", "--version"],
        &["edgecall", "load", "--help"],
        &["edgecall", "generate", "zsh"],
    ] {
        fails(words, ">&-", "it is closed");
        fails(words, ">/dev/full", "No space left on device");
        let heard = run(words, ">/dev/null");
        assert_eq!(
            (heard.code, heard.stderr.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
        // A stdout that is open for reading, too, is no error.
        let heard = run(words, "1<>/dev/null");
        assert_eq!(
            (heard.code, heard.stderr.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
        let left = run(words, "| true");
        assert!(!left.stderr.contains("panicked"), "{left:?}");
    }
}

#[test]
fn a_report() {
    let server = Launch::echo().start();
    let at = server.tcp().to_string();
    for format in ["--json", "--hgrm", "--quiet"] {
        let mut words = vec![
            "edgecall",
            "load",
            &at,
            "--duration",
            "100ms",
            "--warm-up",
            "0s",
        ];
        words.extend((format != "--quiet").then_some(format));
        for (output, reason) in [
            (">&-", "it is closed"),
            (">/dev/full", "No space left on device"),
        ] {
            let ended = run(&words, output);
            assert_eq!(ended.code, Some(1), "{words:?}: {ended:?}");
            let expected = format!("edgecall: cannot write to standard output: {reason}");
            assert_eq!(ended.stderr.lines().next_back(), Some(expected.as_str()));
        }
    }
}

#[test]
fn an_answer() {
    for client in ["echo", "upper", "talk"] {
        // Without a stdout for the answer, the client does not even connect.
        let address = ["--addr", "127.0.0.1:1"];
        let address = &address[usize::from(client != "upper")..];
        let ended = run(&[&["edgecall", client], address].concat(), ">&-");
        assert_eq!(ended.code, Some(1), "{client}: {ended:?}");
        assert!(
            ended.stderr.ends_with(": it is closed\n"),
            "{client}: {ended:?}"
        );
    }
}

/// A server that prints its input does not start without a stdout.
#[test]
fn a_server_that_prints() {
    for words in [
        &["edgeloop", "sink", "127.0.0.1:0"][..],
        &["edgeloop", "sink", "127.0.0.1:0", "--model", "fork"],
        &["edgeloop", "sink", "127.0.0.1:0", "--model", "thread"],
        &["edgeloop", "sink", "127.0.0.1:0", "--workers", "2"],
        &["edgeloop", "talk", "127.0.0.1:0"],
        &["edgeloop", "chat", "--operator", "127.0.0.1:0"],
    ] {
        fails(words, ">&-", "it is closed");
    }
}
