//! The log, the transcript and stderr never block the server, whether their reader pauses or has
//! gone, or their file cannot grow. Lost lines are counted, and SIGHUP reopens a renamed file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::{TempDir, tempdir};

use tests::chat::{Guest, chat};
use tests::client::{dial, ping};
use tests::process::{threads, wait_for_exit};
use tests::program::Output;
use tests::server::{Launch, Server, binary, edgecall};
use tests::terminal::Terminal;
use tests::{PATIENCE, until};

/// The ways to serve, as options.
const WAYS: [&[&str]; 4] = [
    &["--model", "reactor"],
    &["--workers", "2"],
    &["--model", "fork"],
    &["--model", "thread"],
];

/// Bytes that a pipe holds: the smallest size there is.
const PIPE_SIZE: i32 = 4096;

/// A FIFO with a reader that does not read yet.
struct Paused {
    path: PathBuf,
    reader: File,
    _directory: TempDir,
}

impl Paused {
    fn new() -> Self {
        let directory = tempdir().expect("a temporary directory");
        let path = directory.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
        // Opening both ends does not wait for a writer.
        let reader = File::options().read(true).write(true).open(&path);
        let reader = reader.expect("a FIFO");
        fcntl(&reader, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE)).expect("F_SETPIPE_SZ");
        Paused {
            path,
            reader,
            _directory: directory,
        }
    }

    fn path(&self) -> &str {
        name(&self.path)
    }

    /// Starts to read.
    fn go_on(&self) -> Arc<Output> {
        // A descriptor without the write end sees the end of the data.
        let reader = File::open(&self.path).expect("a FIFO");
        Output::collect(reader)
    }
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn echo(options: &[&str], more: &[&str]) -> Launch {
    Launch::echo().args(options).args(more)
}

/// Shrinks the pipes within a server to the smallest size.
fn shrink_pipes(server: &Server) {
    let directory = format!("/proc/{}/fd", server.pid());
    let mut pipes = 0;
    for entry in fs::read_dir(directory).expect("/proc/PID/fd").flatten() {
        let is_own = entry.file_name() != *"1" && entry.file_name() != *"2";
        let link = fs::read_link(entry.path()).unwrap_or_default();
        if is_own && name(&link).starts_with("pipe:") {
            let pipe = File::options().read(true).write(true).open(entry.path());
            fcntl(pipe.expect("a pipe"), FcntlArg::F_SETPIPE_SZ(PIPE_SIZE)).expect("F_SETPIPE_SZ");
            pipes += 1;
        }
    }
    assert!(pipes > 0, "the server has no pipe");
}

/// Limits the file sizes of a running process.
fn limit_file_size(pid: u32, limit: &str) {
    let limit = format!("--fsize={limit}:unlimited");
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &limit])
        .status();
    assert!(status.expect("prlimit").success());
}

/// Connects clients until the server says this on stderr. Returns how many came.
fn visit_until(server: &Server, said: &str) -> usize {
    let mut visits = 0;
    until(said, || {
        ping(dial(server.tcp()), b"two lines for the log");
        visits += 1;
        server.stderr().text().contains(said)
    });
    visits
}

/// The sum of the numbers of missing lines that a text reports.
fn missing(text: &str) -> usize {
    let numbers = text
        .lines()
        .filter_map(|line| line.split_once(" missing "))
        .filter_map(|(_, rest)| rest.rsplit_once(": "));
    numbers
        .map(|(_, number)| number.parse::<usize>().expect("a number"))
        .sum()
}

/// The number of log lines about connections, each of which must be whole.
fn connection_lines(text: &str) -> usize {
    let is_about_one = |line: &&str| line.contains(" [DEBUG] connection ");
    let lines: Vec<&str> = text.lines().filter(is_about_one).collect();
    for line in &lines {
        let is_whole = line.len() > 24 && line.starts_with("20") && &line[23..24] == "Z";
        assert!(is_whole && line.matches("[DEBUG]").count() == 1, "{line}");
    }
    lines.len()
}

#[test]
fn a_log_reader_that_pauses_holds_neither_clients_nor_the_end() {
    for way in WAYS {
        let log = Paused::new();
        let options = ["-v", "--log-file", log.path(), "--grace", "500ms"];
        let mut server = echo(way, &options).start();
        shrink_pipes(&server);
        let bystander = dial(server.tcp());
        visit_until(&server, "cannot write the log: it takes no more for now");
        for _ in 0..20 {
            ping(&bystander, b"has not noticed");
            ping(dial(server.tcp()), b"nor has a newcomer");
        }
        let complaints = server.stderr().text();
        assert_eq!(complaints.matches("cannot write the log").count(), 1);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{way:?}");
    }
}

#[test]
fn a_second_signal_ends_a_server_at_once_that_waits_for_the_reader_of_its_log() {
    for way in WAYS {
        let log = Paused::new();
        let options = ["-v", "--log-file", log.path(), "--grace", "1h"];
        let mut server = echo(way, &options).start();
        shrink_pipes(&server);
        visit_until(&server, "cannot write the log");
        server.signal(Signal::SIGTERM);
        // A stopping server closes its listener.
        let address = server.tcp();
        until("it stops", || TcpStream::connect(address).is_err());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0, "{way:?}");
    }
}

#[test]
fn a_log_reader_that_goes_on_finds_whole_lines_and_the_number_of_the_others() {
    for way in WAYS {
        let log = Paused::new();
        let mut server = echo(way, &["-v", "--log-file", log.path()]).start();
        shrink_pipes(&server);
        let visits = 100 + visit_until(&server, "cannot write the log");
        for _ in 0..100 {
            ping(dial(server.tcp()), b"lost, probably");
        }
        let read = log.go_on();
        let all = read.wait_until(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            missing(&text) > 0 && connection_lines(&text) + missing(&text) == 2 * visits
        });
        let text = read.text();
        assert!(
            all,
            "{way:?}: {visits} visits, {} lines missing",
            missing(&text)
        );
        ping(dial(server.tcp()), b"and further lines are there");
        let all = read.wait_until(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            connection_lines(&text) + missing(&text) == 2 * (visits + 1)
        });
        assert!(all, "{way:?}: {}", read.text());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn a_transcript_whose_reader_pauses_delays_no_member() {
    const LINES: usize = 1500;
    let line = "x".repeat(4000);
    let transcript = Paused::new();
    let options = ["--rate", "0", "--grace", "500ms", "--transcript"];
    let mut server = chat(&options).args(&[transcript.path()]).start();
    let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    for _ in 0..LINES {
        ann.say(&line);
        bob.hears(&format!("[ann] {line}"));
    }
    server.logs("cannot write the transcript: it takes no more for now");
    let read = transcript.go_on();
    let is_all = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        missing(&text) > 0 && missing(&text) + text.matches("[ann]").count() == LINES
    };
    assert!(read.wait_until(is_all), "{} missing", missing(&read.text()));
    let ending = format!(" lobby [ann] {line}");
    let text = read.text();
    let whole = text.lines().filter(|line| line.ends_with(&ending)).count();
    assert_eq!(whole + missing(&text), LINES);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_transcript_whose_reader_pauses_does_not_hold_the_end() {
    let transcript = Paused::new();
    let options = ["--rate", "0", "--grace", "500ms", "--transcript"];
    let mut server = chat(&options).args(&[transcript.path()]).start();
    shrink_pipes(&server);
    let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    for number in 0..100 {
        ann.say(format!("{number} {}", "x".repeat(1000)));
        bob.next();
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_fifo_without_a_reader_is_one_error_line() {
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
    let path = name(&path);
    for launch in [
        echo(&[], &["--log-file", path]),
        echo(WAYS[1], &["--log-file", path]),
        echo(WAYS[2], &["--log-file", path]),
        chat(&["--transcript", path]),
    ] {
        let finished = launch.run();
        assert_eq!(finished.code, 1, "{finished:?}");
        let complaint = finished.complaint();
        assert!(complaint.ends_with("/fifo: no process reads this FIFO"));
    }
}

#[test]
fn a_log_reader_that_has_gone_costs_lines_and_nothing_else() {
    for way in WAYS {
        let log = Paused::new();
        let mut server = echo(way, &["-v", "--log-file", log.path()]).start();
        let path = log.path.clone();
        let bystander = dial(server.tcp());
        drop(log.reader);
        visit_until(&server, "cannot write the log: Broken pipe");
        // SIGHUP reopens the path, and so creates a file in place of the FIFO.
        fs::remove_file(&path).expect("remove");
        server.signal(Signal::SIGHUP);
        until("the log is opened anew", || path.exists());
        ping(&bystander, b"has not noticed");
        ping(dial(server.tcp()), b"in the new log");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        let text = fs::read_to_string(&path).expect("the log");
        assert!(missing(&text) > 0 && connection_lines(&text) >= 2, "{text}");
    }
}

#[test]
fn a_log_that_may_not_grow_is_a_full_disk_that_may_have_room_again() {
    for way in WAYS {
        let directory = tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        let text = || fs::read_to_string(&log).expect("the log");
        let mut server = echo(way, &["-v", "--log-file", name(&log)]).start();
        limit_file_size(server.pid(), "2000");
        let mut visits = visit_until(&server, "cannot write the log: File too large");
        for _ in 0..20 {
            ping(dial(server.tcp()), b"lost");
        }
        assert_eq!(text().len(), 2000);
        limit_file_size(server.pid(), "unlimited");
        visits += 21;
        ping(dial(server.tcp()), b"there again");
        let count = || {
            let text = text();
            missing(&text) + connection_lines(&text)
        };
        // The file may have the beginning of a line that was cut off.
        until("writing resumes", || {
            [0, 1].map(|cut| 2 * visits + cut).contains(&count())
        });
        let starts: BTreeSet<String> = text().lines().map(|line| line[..2].to_owned()).collect();
        assert_eq!(starts, BTreeSet::from(["20".to_owned()]), "{}", text());
        let complaints = server.stderr().text();
        assert_eq!(
            complaints.matches("cannot write").count(),
            1,
            "{complaints}"
        );
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
    }
}

#[test]
fn a_transcript_that_may_not_grow_is_a_full_disk_that_may_have_room_again() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("transcript");
    let mut server = chat(&["--transcript", name(&file)]).start();
    limit_file_size(server.pid(), "1");
    let [ann, mut bob] = Guest::join_all(server.tcp(), ["ann", "bob"]);
    for line in ["one", "two"] {
        ann.say(line);
        bob.hears(&format!("[ann] {line}"));
        server.logs("cannot write the transcript: File too large");
    }
    limit_file_size(server.pid(), "unlimited");
    ann.say("three");
    bob.hears("[ann] three");
    let text = || fs::read_to_string(&file).expect("the transcript");
    until("writing resumes", || text().ends_with("[ann] three\n"));
    server.logs("lines missing from the transcript");
    let complaints = server.stderr().text();
    assert_eq!(
        complaints.matches("the transcript").count(),
        2,
        "{complaints}"
    );
    let said = text().matches(" [ann] ").count();
    assert!(
        missing(&text()) > 0 && missing(&text()) + said == 3,
        "{}",
        text()
    );
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn sighup_opens_a_log_anew_that_was_renamed() {
    for way in WAYS {
        let directory = tempdir().expect("a temporary directory");
        let [log, old] = ["log", "old"].map(|name| directory.path().join(name));
        let mut server = echo(way, &["-v", "--log-file", name(&log)]).start();
        let early = dial(server.tcp());
        ping(&early, b"in the old log");
        fs::rename(&log, &old).expect("rename");
        server.signal(Signal::SIGHUP);
        until("the log is opened anew", || log.exists());
        let lines = |path| connection_lines(&fs::read_to_string(path).expect("a log"));
        assert_eq!(lines(&old), 1, "{way:?}");
        // A child of the fork model from before the SIGHUP writes to the new log, too.
        drop(early);
        ping(dial(server.tcp()), b"in the new log");
        until("the new log has the rest", || lines(&log) == 3);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        assert_eq!(lines(&old), 1);
        let text = fs::read_to_string(&log).expect("a log");
        assert!(text.contains("SIGHUP"), "{text}");
    }
}

#[test]
fn a_log_that_cannot_be_opened_anew_goes_on() {
    let directory = tempdir().expect("a temporary directory");
    let [place, elsewhere] = ["place", "elsewhere"].map(|name| directory.path().join(name));
    fs::create_dir(&place).expect("mkdir");
    let log = place.join("log");
    let mut server = echo(&[], &["-v", "--log-file", name(&log)]).start();
    fs::rename(&place, &elsewhere).expect("rename");
    server.signal(Signal::SIGHUP);
    server.logs("edgeloop: cannot open the log anew: ");
    ping(dial(server.tcp()), b"where it was");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let text = fs::read_to_string(elsewhere.join("log")).expect("the log");
    assert_eq!(connection_lines(&text), 2, "{text}");
}

#[test]
fn sighup_opens_a_transcript_anew_and_reads_the_message_of_the_day_again() {
    let directory = tempdir().expect("a temporary directory");
    let [transcript, old, motd] =
        ["transcript", "old", "motd"].map(|name| directory.path().join(name));
    fs::write(&motd, "first\n").expect("write");
    let options = ["--transcript", name(&transcript), "--motd", name(&motd)];
    let mut server = chat(&options).start();
    let [mut ann, mut bob] = ["ann", "bob"].map(|name| {
        let mut guest = Guest::join(server.tcp(), name);
        guest.hears_at_last("* first");
        guest
    });
    ann.hears("* bob has entered the room");
    ann.say("before");
    bob.hears("[ann] before");
    fs::rename(&transcript, &old).expect("rename");
    fs::write(&motd, "second\n").expect("write");
    server.signal(Signal::SIGHUP);
    until("the transcript is opened anew", || transcript.exists());
    ann.say("after");
    bob.hears("[ann] after");
    Guest::join(server.tcp(), "carol").hears_at_last("* second");
    // A file that cannot be read, or is not a regular file, does not change the message.
    for spoil in [
        (|path| fs::remove_file(path).expect("remove")) as fn(&Path),
        |path| mkfifo(path, Mode::S_IRWXU).expect("mkfifo"),
    ] {
        let seen = server.stderr().count();
        spoil(&motd);
        server.signal(Signal::SIGHUP);
        let told = |line: &str| line.contains("the message of the day stays as it is");
        assert!(server.stderr().wait_from(seen, PATIENCE, told).is_some());
    }
    Guest::join(server.tcp(), "dave").hears_at_last("* second");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    for (path, word) in [(old, "before"), (transcript, "after")] {
        let text = fs::read_to_string(path).expect("a transcript");
        assert!(text.ends_with(&format!(" lobby [ann] {word}\n")) && text.lines().count() == 1);
    }
}

#[test]
fn lines_that_standard_error_does_not_take_are_counted() {
    for way in WAYS {
        let stderr = Paused::new();
        let script = format!("exec \"$@\" 2>'{}'", stderr.path());
        let port = free_port();
        let mut server = Launch::new("echo", &[&format!("127.0.0.1:{port}")])
            .args(way)
            .args(&["-v"])
            .under(&["sh", "-c", &script, "sh"])
            .spawn();
        let address = ([127, 0, 0, 1], port).into();
        until("it listens", || TcpStream::connect(address).is_ok());
        for _ in 0..100 {
            ping(dial(address), b"more lines than there is room for");
        }
        let read = stderr.go_on();
        assert!(read.wait_for("listening on tcp://"));
        until("the lost lines are reported", || {
            ping(dial(address), b"one more");
            missing(&read.text()) > 0
        });
        connection_lines(&read.text());
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
    }
}

/// The user presses Ctrl-S, and later Ctrl-Q.
#[test]
fn a_terminal_that_is_stopped_stops_nothing_else() {
    for way in WAYS {
        let mut terminal = Terminal::new();
        let address = ([127, 0, 0, 1], free_port()).into();
        let mut command = Command::new(binary());
        command
            .args(["echo", &format!("{address}"), "-v"])
            .args(way);
        let server = command.stdin(Stdio::null()).stderr(terminal.line()).spawn();
        let mut server = server.expect("edgeloop can be started");
        terminal.shows("listening on");
        until("it listens", || TcpStream::connect(address).is_ok());
        terminal.type_in("\x13");
        for _ in 0..100 {
            ping(dial(address), b"not shown");
        }
        terminal.type_in("\x11");
        until("the lost lines are reported", || {
            ping(dial(address), b"one more");
            missing(&terminal.shown()) > 0
        });
        terminal.type_in("\x13");
        kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).expect("kill");
        let status = wait_for_exit(&mut server, PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{way:?}");
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("getsockname").port()
}

#[test]
fn a_client_is_not_held_by_its_standard_error() {
    let server = Launch::echo().start();
    let mut stderr = Paused::new();
    stderr
        .reader
        .write_all(&[b'x'; PIPE_SIZE as usize])
        .expect("write");
    let mut command = Command::new(edgecall());
    command.args(["echo", "-v", &server.tcp().to_string()]);
    let writer = File::options().write(true).open(&stderr.path);
    let mut call = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(writer.expect("a FIFO"))
        .spawn()
        .expect("edgecall can be started");
    call.stdin
        .take()
        .expect("piped")
        .write_all(b"answered")
        .expect("write");
    let stdout = Output::collect(call.stdout.take().expect("piped"));
    assert!(stdout.wait_for("answered"));
    // At the end `edgecall` waits until its last lines are written, like any program.
    let read = stderr.go_on();
    assert!(read.wait_for("sent 8 bytes, received 8 bytes"));
    let status = wait_for_exit(&mut call, PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_report_that_is_not_read_does_not_keep_a_signal_from_ending_the_client() {
    let server = Launch::echo().start();
    let mut stdout = Paused::new();
    let full = [b'x'; PIPE_SIZE as usize];
    stdout.reader.write_all(&full).expect("write");
    let writer = File::options().write(true).open(&stdout.path);
    let mut command = Command::new(edgecall());
    command.args(["load", "-v", "-c", "1", "-d", "50ms", "--warm-up", "0"]);
    let mut call = command
        .arg(server.tcp().to_string())
        .stdin(Stdio::null())
        .stdout(writer.expect("a FIFO"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("edgecall can be started");
    let stderr = Output::collect(call.stderr.take().expect("piped"));
    assert!(stderr.wait_for("ending"), "{}", stderr.text());
    until("the workers have ended", || threads(call.id()) == 1);
    let pid = Pid::from_raw(call.id().cast_signed());
    kill(pid, Signal::SIGTERM).expect("kill");
    let status = wait_for_exit(&mut call, PATIENCE).expect("it ends");
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn an_output_that_may_not_grow_is_an_error_and_no_signal() {
    let directory = tempdir().expect("a temporary directory");
    let file = |name: &str| File::create(directory.path().join(name)).expect("a file");
    let limit = ["prlimit", "--fsize=1000:unlimited", "--"];
    for way in WAYS {
        let sink = Launch::new("sink", &["127.0.0.1:0"]).args(way);
        let mut sink = sink.under(&limit).stdout(file("sink")).start();
        let client = dial(sink.tcp());
        let _ = (&client).write_all(&b"0123456789\n".repeat(200));
        let finished = sink.finish();
        assert_eq!(finished.code, 1, "{way:?}: {finished:?}");
        assert!(
            finished
                .complaint()
                .ends_with("standard output: File too large")
        );
    }
    let server = Launch::echo().start();
    let mut command = Command::new("prlimit");
    command.args(&limit[1..]).arg(edgecall());
    command.args(["echo", &server.tcp().to_string()]);
    let mut call = command
        .stdin(Stdio::piped())
        .stdout(file("edgecall"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("prlimit");
    let _ = call.stdin.take().expect("piped").write_all(&[b'x'; 5000]);
    let output = call.wait_with_output().expect("wait");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.ends_with("File too large\n"), "{complaint}");
}

/// The user runs `edgeloop --log-file >(gzip >log.gz)` under bash.
#[test]
fn a_log_that_is_compressed() {
    let directory = tempdir().expect("a temporary directory");
    let script = "exec \"$@\" --log-file >(cat >\"$LOG\")";
    let log = directory.path().join("log");
    let mut server = Launch::echo()
        .args(&["-v"])
        .env("LOG", name(&log))
        .under(&["bash", "-c", script, "bash"])
        .start();
    ping(dial(server.tcp()), b"logged");
    let text = || fs::read_to_string(&log).unwrap_or_default();
    until("the log is there", || connection_lines(&text()) == 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    until("the end is there", || text().contains("stopping"));
}
