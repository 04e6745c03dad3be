//! The command line of `edgeloop`: accepted arguments, output and exit status are as documented.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::{TempDir, tempdir};

use tests::client::{dial, dial_udp, dial_unix, is_closed, ping, ping_all};
use tests::server::{Launch, binary, edgecall};
use tests::{ABSURD_NUMBERS, PATIENCE, until};

/// A directory, a path for a socket in it, and the address of that path.
fn socket_path() -> (TempDir, PathBuf, String) {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("echo.sock");
    let address = format!("unix:{}", path.display());
    (directory, path, address)
}

#[test]
fn wrong_command_lines() {
    let wrong: &[&[&str]] = &[
        &["--no-such-option"],
        &["--idle-timeout", "soon"],
        &["--idle-timeout"],
        &["--grace", "-5s"],
        &["--stall-timeout", "5 parsecs"],
        &["--high-water", "much"],
        &["--max-connections", "-1"],
        &["--max-connections", "many"],
        &["--backlog", "x"],
        &["--once=maybe"],
        &["127.0.0.1:99999"],
        &["127.0.0.1:port"],
        &["gopher://127.0.0.1:70"],
        &["[::1"],
        &["unix:"],
    ];
    for arguments in wrong {
        let finished = Launch::new("echo", &[]).args(arguments).run();
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
    let finished = Launch::new("ohce", &[]).run();
    assert_eq!(finished.code, 2, "{finished:?}");
}

#[test]
fn help_names_every_option() {
    let finished = Launch::new("echo", &[]).args(&["--help"]).run();
    assert_eq!(finished.code, 0);
    assert_eq!(finished.stderr, "");
    let options = [
        "--model",
        "--workers",
        "--once",
        "--max-connections",
        "--max-per-ip",
        "--max-pending",
        "--idle-timeout",
        "--stall-timeout",
        "--high-water",
        "--backlog",
        "--grace",
        "--stats",
        "--log-file",
        "--answer-low-ports",
        "-v",
        "-q",
        "EDGELOOP_IDLE_TIMEOUT",
    ];
    for option in options {
        assert!(
            finished.stdout.contains(option),
            "no {option} in\n{}",
            finished.stdout
        );
    }
    let finished = Launch::new("--help", &[]).run();
    assert_eq!(finished.code, 0);
    for server in ["echo", "upper", "sink", "chat", "talk"] {
        assert!(finished.stdout.contains(server), "{}", finished.stdout);
    }
    assert_eq!(Launch::new("--version", &[]).run().code, 0);
}

/// No line of the help wraps at the usual width, and the help has an example.
#[test]
fn help_reads_well_at_80_columns() {
    let programs = [
        (binary(), "echo upper sink chat talk"),
        (edgecall(), "echo upper send talk"),
    ];
    for (program, subcommands) in programs {
        for subcommand in subcommands.split(' ').map(Some).chain([None]) {
            let mut command = Command::new(program);
            command.args(subcommand).arg("--help").env("COLUMNS", "80");
            let output = command.output().expect("it starts");
            let help = String::from_utf8(output.stdout).expect("UTF-8");
            let longest = help.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(80), "{program:?} {subcommand:?}:\n{help}");
            assert!(
                help.contains("Example:\n"),
                "{program:?} {subcommand:?}:\n{help}"
            );
        }
    }
}

/// Completions and manual pages name every subcommand.
#[test]
fn completions_and_manual_pages() {
    for (program, name, subcommand) in [
        (binary(), "edgeloop", "upper"),
        (edgecall(), "edgecall", "send"),
    ] {
        for what in ["bash", "elvish", "fish", "powershell", "zsh", "man"] {
            let mut command = Command::new(program);
            let output = command
                .args(["generate", what])
                .output()
                .expect("it starts");
            assert!(output.status.success(), "{name} {what}: {output:?}");
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(
                text.contains(name) && text.contains(subcommand),
                "{what}:\n{text}"
            );
        }
        let directory = TempDir::new().expect("a temporary directory");
        let mut command = Command::new(program);
        let status = command
            .args(["generate", "man"])
            .arg(directory.path())
            .status();
        assert!(status.expect("it starts").success());
        let page = directory.path().join(format!("{name}-{subcommand}.1"));
        assert!(page.exists(), "no {}", page.display());
    }
}

#[test]
fn an_address_that_is_not_ours_cannot_be_bound() {
    // The address is from the block reserved for documentation.
    let finished = Launch::new("echo", &["192.0.2.1:9876"]).run();
    assert_eq!(finished.code, 1);
    let complaint =
        "edgeloop: cannot listen on tcp://192.0.2.1:9876: Cannot assign requested address";
    assert_eq!(finished.complaint(), complaint);
}

#[test]
fn one_address_that_fails_ends_the_program() {
    let (_directory, path, address) = socket_path();
    let finished = Launch::new("echo", &[&address, "192.0.2.1:9876"]).run();
    assert_eq!(finished.code, 1, "{finished:?}");
    let complaint =
        "edgeloop: cannot listen on tcp://192.0.2.1:9876: Cannot assign requested address";
    assert_eq!(finished.complaint(), complaint);
    assert!(
        !path.exists(),
        "the socket of the address that did not fail is still there"
    );
}

#[test]
fn environment_variables() {
    let server = Launch::echo().env("EDGELOOP_IDLE_TIMEOUT", "300ms").start();
    assert!(is_closed(dial(server.tcp())));
    drop(server);
    for (variable, value) in [
        ("EDGELOOP_IDLE_TIMEOUT", "soon"),
        ("EDGELOOP_WORKERS", "1000000000"),
        ("EDGELOOP_MODEL", "spoon"),
        ("EDGELOOP_ONCE", "perhaps"),
        ("EDGELOOP_VERBOSE", "very"),
    ] {
        let finished = Launch::echo().env(variable, value).run();
        assert_eq!(finished.code, 2);
        assert!(finished.stderr.contains(variable), "{}", finished.stderr);
        assert!(finished.stderr.contains(value), "{}", finished.stderr);
    }
    // An empty variable counts as unset, and a variable of another server is ignored.
    for variable in ["EDGELOOP_IDLE_TIMEOUT", "EDGELOOP_VERBOSE", "EDGELOOP_ONCE"] {
        let _ = Launch::echo().env(variable, "").start();
    }
    let chat = Launch::new("chat", &["127.0.0.1:0"]);
    let _ = chat
        .env("EDGELOOP_WORKERS", "2")
        .env("EDGELOOP_MODEL", "fork")
        .start();
    let server = Launch::echo().env("EDGELOOP_ONCE", "disabled").start();
    for _ in 0..2 {
        ping_all(&[dial(server.tcp())], b"served");
    }
    drop(server);
    // The command line overrides the environment.
    let server = Launch::echo()
        .env("EDGELOOP_MAX_CONNECTIONS", "1")
        .args(&["--max-connections", "2"])
        .start();
    let both = [dial(server.tcp()), dial(server.tcp())];
    ping_all(&both, b"two");
    assert!(is_closed(dial(server.tcp())));
}

#[test]
fn the_last_of_an_option_given_twice_counts() {
    let options = [
        "--max-connections",
        "7",
        "--max-connections",
        "1",
        "--once",
        "--once",
    ];
    let server = Launch::new("echo", &["127.0.0.1:0", "127.0.0.1:0"])
        .args(&options)
        .start();
    ping_all(&[dial(server.tcp())], b"served");
}

/// The README names all options in the help of the servers and of the load generator.
#[test]
fn the_readme_names_every_option() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).expect("README.md");
    let servers = ["echo", "upper", "sink", "chat", "talk"].map(|name| (binary(), name));
    for (program, name) in servers.into_iter().chain([(edgecall(), "load")]) {
        let help = Command::new(program).args([name, "--help"]).output();
        let help = String::from_utf8(help.expect("it runs").stdout).expect("UTF-8");
        let options = help.lines().filter_map(|line| {
            // An option with a short form has another prefix, and is skipped.
            line.trim_start().strip_prefix("--")?.split(' ').next()
        });
        let mut count = 0;
        for option in options {
            assert!(
                readme.contains(&format!("--{option}")),
                "{name}: --{option}"
            );
            count += 1;
        }
        assert!(count > 5, "{help}");
    }
}

/// For every number the server either works or refuses it with a message.
#[test]
fn absurd_numbers_are_served_or_refused() {
    let of_all = [
        ("--workers", ""),
        ("--max-connections", ""),
        ("--max-per-ip", ""),
        ("--max-pending", ""),
        ("--backlog", ""),
        ("--high-water", ""),
        ("--idle-timeout", "s"),
        ("--stall-timeout", "s"),
        ("--keepalive", "s"),
        ("--grace", "s"),
        ("--stats", "s"),
    ];
    let of_chat = [
        ("--max-line", ""),
        ("--rate", ""),
        ("--burst", ""),
        ("--min-rate", ""),
        ("--history", ""),
        ("--login-timeout", "s"),
    ];
    for (name, options) in [("echo", &of_all[..]), ("chat", &of_chat)] {
        for (option, unit) in options {
            for number in ABSURD_NUMBERS {
                serves_or_refuses(name, option, &format!("{number}{unit}"));
            }
        }
    }
}

fn serves_or_refuses(name: &str, option: &str, value: &str) {
    let launch = Launch::new(name, &["127.0.0.1:0"]);
    let mut server = launch.args(&[option, value]).spawn();
    let said = server.stderr().wait_for(PATIENCE, |line| {
        let beginnings = ["listening on ", "error: ", "edgeloop: "];
        beginnings.iter().any(|beginning| line.contains(beginning))
    });
    let line = said.unwrap_or_else(|| panic!("{option} {value}: nothing is said"));
    if let Some((_, at)) = line.split_once("listening on tcp://") {
        let mut client = dial(at.parse().expect("an address"));
        client.write_all(b"ann\n").expect("it reads");
        // An echo of the name, or the question for it.
        client.read_exact(&mut [0; 4]).expect("it answers");
        server.signal(Signal::SIGTERM);
        server.signal(Signal::SIGTERM);
    }
    let finished = server.finish();
    let is_fine = (0..=2).contains(&finished.code) && !finished.stderr.contains("panicked");
    assert!(is_fine, "{option} {value}: {finished:?}");
}

#[test]
fn units() {
    for arguments in [
        ["--idle-timeout", "0"],
        ["--idle-timeout", "1h"],
        ["--idle-timeout", "5m"],
        ["--stall-timeout", "500ms"],
        ["--high-water", "4096"],
        ["--high-water", "64KiB"],
        ["--high-water", "1MiB"],
        ["--backlog", "1"],
    ] {
        let server = Launch::echo().args(&arguments).start();
        ping(dial(server.tcp()), b"understood");
    }
}

#[test]
fn the_banner_names_the_real_port() {
    let server = Launch::echo().start();
    assert_ne!(server.tcp().port(), 0);
    assert_eq!(server.tcp().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(server.addresses(), [format!("tcp://{}", server.tcp())]);
    assert_eq!(server.stdout().text(), "");
    // The hint to try `nc` is for terminals only.
    assert!(
        !server.stderr().text().contains("nc "),
        "{}",
        server.stderr().text()
    );
}

#[test]
fn several_addresses_of_every_scheme() {
    let (_directory, path, unix) = socket_path();
    let addresses = [
        "tcp://127.0.0.1:0",
        "[::1]:0",
        &unix,
        "udp://127.0.0.1:0",
        "127.0.0.2:0",
    ];
    let mut server = Launch::new("echo", &addresses).start();
    let schemes: Vec<_> = server
        .addresses()
        .iter()
        .map(|address| address.split(':').next().unwrap_or_default())
        .collect();
    assert_eq!(schemes, ["tcp", "tcp", "unix", "udp", "tcp"]);
    let streams: Vec<SocketAddr> = server
        .addresses()
        .iter()
        .filter_map(|address| address.strip_prefix("tcp://")?.parse().ok())
        .collect();
    assert_eq!(streams.len(), 3);
    assert_eq!(streams[1].ip(), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let open: Vec<_> = streams.into_iter().map(dial).collect();
    let open_unix = dial_unix(&path);
    for _ in 0..3 {
        ping_all(&open, b"one server, several doors");
        ping(&open_unix, b"another door");
        let socket = dial_udp(server.udp());
        socket.send(b"and a window").expect("send");
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer).expect("the server answers");
        assert_eq!(&answer[..length], b"and a window");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(!path.exists(), "the socket file is still there");
}

#[test]
fn names_are_resolved() {
    let server = Launch::new("echo", &["localhost:0"]).start();
    assert!(server.tcp().ip().is_loopback());
    ping(dial(server.tcp()), b"by name");
    let finished = Launch::new("echo", &["no-such-host.invalid:9876"]).run();
    assert_eq!(finished.code, 1, "{finished:?}");
    let _ = finished.complaint();
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let (_directory, path, address) = socket_path();
    // Dropping a listener closes it and leaves its file.
    drop(UnixListener::bind(&path).expect("bind"));
    assert!(path.exists());
    let mut server = Launch::new("echo", &[&address]).start();
    ping(dial_unix(&path), b"in place of the old one");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    assert!(!path.exists(), "the socket file is still there");
}

#[test]
fn a_socket_file_is_left_by_sigkill_and_replaced() {
    let (_directory, path, address) = socket_path();
    let mut server = Launch::new("echo", &[&address]).start();
    server.signal(Signal::SIGKILL);
    assert!(server.wait(PATIENCE).is_some());
    assert!(path.exists());
    let _server = Launch::new("echo", &[&address]).start();
    ping(dial_unix(&path), b"again");
}

/// Checks that the server refuses this address, and returns the reason in its message.
fn refused(address: &str) -> String {
    let finished = Launch::new("echo", &[address]).run();
    assert_eq!(finished.code, 1, "{finished:?}");
    let start = format!("edgeloop: cannot listen on {address}: ");
    let reason = finished.complaint().strip_prefix(&start);
    reason.unwrap_or_else(|| panic!("{finished:?}")).to_owned()
}

#[test]
fn a_socket_in_use_is_refused() {
    let (_directory, path, address) = socket_path();
    let listener = UnixListener::bind(&path).expect("bind");
    assert_eq!(refused(&address), "Address already in use");
    // The owner of the socket is not disturbed: the server's probing connection is closed.
    let client = UnixStream::connect(&path).expect("connect");
    (&client).write_all(b"to the owner").expect("write");
    drop(client);
    let mut heard = Vec::new();
    while heard.is_empty() {
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_to_end(&mut heard).expect("read");
    }
    assert_eq!(heard, b"to the owner");
}

#[test]
fn a_regular_file_is_refused_and_untouched() {
    let (_directory, path, address) = socket_path();
    fs::write(&path, "precious").expect("write");
    refused(&address);
    assert_eq!(fs::read(&path).expect("read"), b"precious");
}

#[test]
fn a_link_is_refused_and_untouched() {
    let (directory, path, address) = socket_path();
    let target = directory.path().join("target");
    fs::write(&target, "precious").expect("write");
    std::os::unix::fs::symlink(&target, &path).expect("symlink");
    refused(&address);
    assert_eq!(fs::read(&target).expect("read"), b"precious");
    assert!(fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()));
}

#[test]
fn a_directory_that_is_not_there() {
    let missing = Path::new("/nonexistent/echo.sock");
    let reason = refused(&format!("unix:{}", missing.display()));
    assert_eq!(reason, "No such file or directory");
}

#[test]
fn stats_every_so_often() {
    let server = Launch::echo().args(&["--stats", "50ms"]).start();
    ping(dial(server.tcp()), b"counted");
    let mut next = 0;
    for _ in 0..3 {
        let found = server
            .stderr()
            .wait_from(next, PATIENCE, |line| line.contains("stats:"));
        let (index, line) = found.expect("a line of counters");
        assert!(
            line.contains("turns=") && line.contains("accepted="),
            "{line}"
        );
        next = index + 1;
    }
}

#[test]
fn sigusr1_prints_the_counters() {
    let server = Launch::echo().start();
    ping(dial(server.tcp()), b"counted");
    let stats = server.stats_until("the client has left", |stats| stats.get("connections") == 0);
    for (name, value) in [
        ("accepted", 1),
        ("refused", 0),
        ("closed", 1),
        ("peak", 1),
        ("bytes_in", 7),
        ("bytes_out", 7),
    ] {
        assert_eq!(stats.get(name), value, "{name} in {stats:?}");
    }
    for name in ["turns", "events", "reads", "writes"] {
        assert!(stats.get(name) > 0, "{name} in {stats:?}");
    }
}

#[test]
fn log_file() {
    let (directory, path, address) = socket_path();
    let log = directory.path().join("log");
    let option = log.to_str().expect("a path in UTF-8");
    let mut server = Launch::new("echo", &[&address])
        .args(&["-vv", "--log-file", option])
        .spawn();
    until("the server listens", || UnixStream::connect(&path).is_ok());
    ping(dial_unix(&path), b"logged");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let log = fs::read_to_string(&log).expect("the log file");
    assert!(log.lines().count() > 1, "the log: {log}");
}

#[test]
fn a_log_file_that_cannot_be_written() {
    let finished = Launch::echo()
        .args(&["--log-file", "/nonexistent/log"])
        .run();
    assert_eq!(finished.code, 1, "{finished:?}");
    let _ = finished.complaint();
}

#[test]
fn quiet_and_verbose() {
    let count = |option: &str| {
        let (_directory, path, address) = socket_path();
        let mut server = Launch::new("echo", &[&address]).args(&[option]).spawn();
        until("the server listens", || UnixStream::connect(&path).is_ok());
        for _ in 0..5 {
            ping(dial_unix(&path), b"logged or not");
        }
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        server.stderr().wait_for_end();
        server.stderr().count()
    };
    let (quiet, verbose) = (count("-q"), count("-vv"));
    assert!(quiet < verbose, "{quiet} lines with -q, {verbose} with -vv");
}
