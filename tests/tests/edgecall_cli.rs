//! The command line of `edgecall`: options, environment, help and exit status are as documented.

use std::io::Read;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::call::{Call, file_of};
use tests::door::Door;
use tests::server::{Launch, edgecall};
use tests::{ABSURD_NUMBERS, until};

const CLIENTS: [&str; 3] = ["echo", "upper", "send"];

/// The output of `edgecall` for 80 columns; its exit status must be 0.
fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(edgecall());
    command.args(arguments).env("COLUMNS", "80");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    String::from_utf8(Call::spawn(command).prints()).expect("UTF-8")
}

#[test]
fn wrong_command_lines() {
    let wrong: &[&[&str]] = &[
        &[],
        &["ohce"],
        &["echo", "--no-such-option"],
        &["echo", "--timeout", "soon"],
        &["echo", "--timeout"],
        &["echo", "--retry", "-1"],
        &["echo", "--retry", "often"],
        &["echo", "127.0.0.1:99999"],
        &["echo", "127.0.0.1:port"],
        &["echo", "127.0.0.1:1", "127.0.0.1:2"],
        &["upper", "--addr"],
        &["upper", "--addr", "gopher://127.0.0.1:70", "hello"],
        &["send", "127.0.0.1:1", "hello"],
        &["send", "--addr", "127.0.0.1:1"],
    ];
    for arguments in wrong {
        let (code, complaint) = Call::start(arguments, Stdio::null(), Stdio::null()).finish();
        assert_eq!(code, Some(2), "{arguments:?}: {complaint}");
        assert!(!complaint.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_says_all_and_fits() {
    for client in CLIENTS {
        let help = printed(&[client, "--help"]);
        let expected = [
            "udp://",
            "unix:",
            "--timeout",
            "[default: 30s; UDP: 2s]",
            "--retry",
            "[default: 0; UDP: 2]",
            "-v",
            "EDGECALL_TIMEOUT",
            "Example:\n  ",
            &format!("edgecall {client} "),
        ];
        for word in expected {
            assert!(help.contains(word), "no {word} in\n{help}");
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "too long: {line}");
        }
    }
    let help = printed(&["--help"]);
    for client in CLIENTS {
        assert!(help.contains(&format!("\n  {client} ")), "{help}");
    }
    assert!(printed(&["--version"]).starts_with("edgecall "));
}

#[test]
fn defaults_are_those_of_the_servers() {
    for (client, port) in [("echo", "9876"), ("upper", "6666"), ("send", "8888")] {
        let default = format!("[default: 127.0.0.1:{port}]");
        let help = printed(&[client, "--help"]);
        // The help may wrap between these words.
        let words: Vec<&str> = help.split_whitespace().collect();
        assert!(words.join(" ").contains(&default), "{help}");
    }
}

#[test]
fn environment_variables() {
    let door = Door::tcp();
    let start = |timeout: &str, arguments: &[&str]| {
        let mut command = Command::new(edgecall());
        command.arg("upper").args(arguments);
        command.env("EDGECALL_ADDR", door.address());
        command.env("EDGECALL_TIMEOUT", timeout);
        command.env("EDGECALL_RETRY", "0");
        command.env("EDGECALL_VERBOSE", "1");
        command.stdin(file_of(b"hello")).stdout(Stdio::null());
        Call::spawn(command)
    };
    let silence = format!("edgecall: no answer from {} in time\n", door.address());
    let call = start("200ms", &[]);
    let _silent = door.accept();
    let (code, told) = call.finish();
    assert_eq!(code, Some(1));
    assert!(told.starts_with("connected to "), "{told}");
    assert!(told.ends_with(&silence), "{told}");
    // The command line overrides the environment.
    let call = start("1h", &["--timeout", "200ms"]);
    let _silent = door.accept();
    let (code, told) = call.finish();
    assert_eq!(code, Some(1));
    assert!(told.ends_with(&silence), "{told}");
    assert_eq!(start("soon", &[]).finish().0, Some(2));
}

/// With `--timeout 0` the client waits for ever.
#[test]
fn a_timeout_of_zero() {
    let door = Door::tcp();
    let arguments = ["echo", door.address(), "--timeout", "0"];
    let mut call = Call::start(&arguments, Stdio::null(), Stdio::piped());
    let mut stream = door.accept();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("its end");
    assert!(!call.has_ended(std::time::Duration::from_millis(500)));
    drop(stream);
    assert_eq!(call.prints(), b"");
}

/// For every number the client either works or refuses it with a message.
#[test]
fn absurd_numbers_are_served_or_refused() {
    let server = Launch::new("echo", &["127.0.0.1:0", "udp://127.0.0.1:0"]).start();
    for address in server.addresses() {
        for (option, unit) in [("--timeout", "s"), ("--retry", "")] {
            for number in ABSURD_NUMBERS {
                let value = format!("{number}{unit}");
                let words = ["echo", address, option, &value];
                let mut call = Call::start(&words, file_of(b"ann\n"), Stdio::piped());
                let mut answer = String::new();
                call.stdout().read_to_string(&mut answer).expect("UTF-8");
                match call.finish() {
                    (Some(0), complaint) => assert_eq!((&*answer, &*complaint), ("ann\n", "")),
                    (code, complaint) => is_refused(code, &complaint, &words),
                }
            }
        }
    }
}

/// Checks that the command line was refused with a message.
fn is_refused(code: Option<i32>, complaint: &str, words: &[&str]) {
    assert_eq!(code, Some(2), "{words:?}: {complaint}");
    assert!(complaint.starts_with("error: "), "{words:?}: {complaint}");
}

#[test]
fn absurd_numbers_of_a_load_are_served_or_refused() {
    let echo = Launch::echo().args(&["--quiet"]).start();
    let chat = Launch::new("chat", &["127.0.0.1:0"])
        .args(&["--quiet"])
        .start();
    let of_all = [
        ("--connections", ""),
        ("--size", ""),
        ("--depth", ""),
        ("--duration", "s"),
        ("--warm-up", "s"),
        ("--rate", ""),
        ("--connect-rate", ""),
        ("--sources", ""),
        ("--threads", ""),
        ("--server-pid", ""),
        ("--timeout", "s"),
    ];
    let of_chat = [
        ("--talkers", ""),
        ("--connections", ""),
        ("--size", ""),
        ("--depth", ""),
        ("--rate", ""),
    ];
    std::thread::scope(|scope| {
        for (kind, server, options) in [("echo", &echo, &of_all[..]), ("chat", &chat, &of_chat)] {
            let address = server.tcp().to_string();
            scope.spawn(move || {
                for (option, unit) in options {
                    for number in ABSURD_NUMBERS {
                        let value = format!("{number}{unit}");
                        load_runs_or_refuses(&["--kind", kind, &address, option, &value]);
                    }
                }
            });
        }
    });
}

/// Checks that a load ends by itself or by a signal, or is refused.
fn load_runs_or_refuses(words: &[&str]) {
    let usual = ["load", "-v", "-d", "100ms", "--warm-up", "0", "-c", "3"];
    let words = [&usual[..], words].concat();
    let mut call = Call::start(&words, Stdio::null(), Stdio::null());
    let mut runs = false;
    until("it runs or ends", || {
        let told = call.stderr().text();
        runs = told.contains("warming up\n") || told.contains("measuring\n");
        runs || call.has_ended(std::time::Duration::ZERO)
    });
    if runs {
        // The call fails if the run has ended meanwhile.
        let _ = kill(Pid::from_raw(call.pid().cast_signed()), Signal::SIGINT);
    }
    match call.finish() {
        (Some(0), _) => {}
        (Some(1), told) => {
            let last = told.lines().last().unwrap_or_default();
            assert!(last.starts_with("edgecall: "), "{words:?}: {told}");
        }
        (code, told) => is_refused(code, &told, &words),
    }
}
