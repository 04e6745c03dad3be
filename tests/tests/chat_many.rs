//! A very large room: five thousand members, and a thousand real `nc`, read every line.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, Stdio};

use nix::sys::signal::Signal;
use tempfile::tempfile;

use tests::chat::{Crowd, Guest, chat};
use tests::client::dial_from;
use tests::process::{raise_own_descriptor_limit, resident_bytes, wait_for_exit};
use tests::program::command;
use tests::server::Server;
use tests::{PATIENCE, one_at_a_time, until};

const MEMBERS: usize = 5_000;
/// Resident memory that an idle member may cost, in bytes, including its share of the server's
/// fixed cost.
const BYTES_PER_MEMBER: usize = 1024;
/// How many names the list for a new member has; the rest is a count.
const NAMES_LISTED: usize = 100;
const NETCATS: usize = 1_000;

/// A crowd of `count` members, named m0, m1 and so on. m0 joins before all others.
fn enter(server: &Server, count: usize, mut hear: impl FnMut(usize, &str)) -> Crowd {
    let mut crowd = Crowd::default();
    for number in 0..count {
        let source = Ipv4Addr::new(127, 0, 5, 1 + (number % 4) as u8);
        crowd.enter(dial_from(source, server.tcp()), &format!("m{number}"));
        while number == 0 && !crowd.has_joined(0) {
            crowd.turn(&mut hear);
        }
    }
    while !(0..count).all(|number| crowd.has_joined(number)) {
        crowd.turn(&mut hear);
    }
    crowd
}

/// How many members this line announces as entered or left: it names one or counts several.
fn steps(line: &str, step: &str) -> usize {
    let Some(words) = line.strip_prefix("* ") else {
        return 0;
    };
    if words.ends_with(&format!(" has {step} the room")) {
        return 1;
    }
    let summaries = [
        format!(" people have {step}"),
        format!(" person has {step}"),
    ];
    let mut counts = summaries
        .iter()
        .filter_map(|summary| words.strip_suffix(summary));
    counts
        .next()
        .map_or(0, |count| count.parse().expect("a number"))
}

/// m0 says two lines, and every other member reads them once and in order.
fn all_hear_the_first(crowd: &mut Crowd) {
    let said = ["hello, all of you", "good night"];
    let mut heard = vec![Vec::new(); crowd.len()];
    said.iter().for_each(|line| crowd.say(0, line));
    while !heard[1..].iter().all(|lines| lines.len() == said.len()) {
        crowd.turn(|number, line| {
            if let Some(words) = line.strip_prefix("[m0] ") {
                heard[number].push(words.to_owned());
            }
        });
    }
    assert!(heard[0].is_empty(), "its own words came back");
    assert!(heard[1..].iter().all(|lines| *lines == said));
}

/// The list has the names of the first members, and the number of the others.
fn check_names_told_to_a_newcomer(present: &str) {
    let names = present.strip_prefix("* The room contains: ");
    let (names, more) = names
        .and_then(|names| names.split_once(", and "))
        .expect(present);
    assert_eq!(names.split(", ").count(), NAMES_LISTED);
    assert!(names.split(", ").all(|name| name.starts_with('m')));
    assert_eq!(more, format!("{} more", MEMBERS - NAMES_LISTED));
}

#[test]
fn five_thousand_members() {
    let _turn = one_at_a_time();
    assert!(
        raise_own_descriptor_limit() > MEMBERS + 200,
        "RLIMIT_NOFILE does not allow {MEMBERS} connections"
    );
    let server = chat(&["--quiet"]).start();
    let descriptors = server.open_descriptors();
    let before = resident_bytes(server.pid());

    // m0 is told of all others, one by one or in numbers.
    let entered = Cell::new(0);
    let listen = |number, line: &str| {
        if number == 0 {
            entered.update(|count| count + steps(line, "entered"));
        }
    };
    let mut crowd = enter(&server, MEMBERS, listen);
    while entered.get() < MEMBERS - 1 {
        crowd.turn(listen);
    }
    assert_eq!(entered.get(), MEMBERS - 1);
    all_hear_the_first(&mut crowd);
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    println!("{} resident bytes for each member", growth / MEMBERS);
    assert!(growth < MEMBERS * BYTES_PER_MEMBER, "{growth} bytes");

    let mut newcomer = Guest::knock(server.tcp());
    newcomer.say("newcomer");
    check_names_told_to_a_newcomer(&newcomer.next());
    drop(crowd);
    let mut left = 0;
    while left < MEMBERS {
        left += steps(&newcomer.next(), "left");
    }
    assert_eq!(left, MEMBERS);
    newcomer.say("/rooms");
    newcomer.hears("* rooms: lobby (1)");
    drop(newcomer);
    server.descriptors_return_to(descriptors);
}

/// A stop announces no member's leave, and waits for no member.
#[test]
fn a_stop_with_a_thousand_members() {
    let _turn = one_at_a_time();
    assert!(raise_own_descriptor_limit() > 1_200);
    let mut server = chat(&["--plain", "--grace", "1h", "--quiet"]).start();
    let mut crowd = enter(&server, 1_000, |_, _| ());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit_code(), 0);
    let mut left = 0;
    while !(0..1_000).all(|number| crowd.has_ended(number)) {
        crowd.turn(|_, line| left += steps(line, "left"));
    }
    assert_eq!(left, 0);
}

/// An `nc` with a pipe for its input and a file for its output.
struct Netcat {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: File,
}

impl Netcat {
    /// `-N`: `nc` half-closes the connection at the end of its input.
    fn start(server: SocketAddr) -> Self {
        let screen = tempfile().expect("a temporary file");
        let mut child = command("nc")
            .args(["-N", &server.ip().to_string(), &server.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(screen.try_clone().expect("dup"))
            .spawn()
            .expect("nc starts");
        let keyboard = child.stdin.take();
        Self {
            child,
            keyboard,
            screen,
        }
    }

    fn type_line(&self, line: &str) {
        let mut keyboard = self.keyboard.as_ref().expect("not ended yet");
        writeln!(keyboard, "{line}").expect("nc reads its input");
    }

    /// The members' lines printed so far. `pread`, because the file's offset is shared with `nc`.
    fn heard(&self) -> Vec<String> {
        let length = self.screen.metadata().expect("fstat").len();
        let mut shown = vec![0; length as usize];
        self.screen.read_exact_at(&mut shown, 0).expect("pread");
        let shown = String::from_utf8(shown).expect("UTF-8");
        let lines = shown.split_inclusive('\n');
        let said = lines.filter(|line| line.starts_with('[') && line.ends_with('\n'));
        said.map(str::to_owned).collect()
    }

    fn end_input(&mut self) {
        self.keyboard = None;
    }

    fn ends_well(&mut self) {
        let status = wait_for_exit(&mut self.child, PATIENCE).expect("nc ends");
        assert!(status.success(), "nc: {status}");
    }
}

impl Drop for Netcat {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_thousand_netcats() {
    let _turn = one_at_a_time();
    assert!(raise_own_descriptor_limit() > 3 * NETCATS);
    let server = chat(&["--quiet"]).start();
    let mut host = Guest::join(server.tcp(), "host");
    let netcats = (0..NETCATS).map(|number| {
        let netcat = Netcat::start(server.tcp());
        netcat.type_line(&format!("nc{number}"));
        netcat
    });
    let mut netcats: Vec<Netcat> = netcats.collect();
    let all_are_there = format!("* rooms: lobby ({})", NETCATS + 1);
    until("all have joined", || {
        host.say("/rooms");
        let mut lines = std::iter::repeat_with(|| host.next());
        lines.find(|line| line.starts_with("* rooms: ")).as_ref() == Some(&all_are_there)
    });
    let mut said: Vec<String> = (0..NETCATS)
        .map(|number| format!("[nc{number}] this is number {number}\n"))
        .collect();
    for (number, netcat) in netcats.iter().enumerate() {
        netcat.type_line(&format!("this is number {number}"));
    }
    said.sort_unstable();
    for (number, netcat) in netcats.iter().enumerate() {
        until("what the others say is printed", || {
            netcat.heard().len() >= NETCATS - 1
        });
        let mut heard = netcat.heard();
        heard.push(format!("[nc{number}] this is number {number}\n"));
        heard.sort_unstable();
        assert!(heard == said, "nc{number} has heard something else");
    }
    netcats.iter_mut().for_each(Netcat::end_input);
    netcats.iter_mut().for_each(Netcat::ends_well);
}
