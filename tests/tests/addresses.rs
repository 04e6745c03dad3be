//! Addresses: names, both families, zones, Unix names, broadcast and multicast work as documented,
//! and a word that is not an address is refused with a hint.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Stdio;

use nix::sys::signal::Signal;

use tests::call::{Call, file_of};
use tests::client::{dial, ping};
use tests::namespace::{Hosts, command, network_of, own_network};
use tests::program::output_of;
use tests::server::{Launch, MODELS, Server, edgecall};
use tests::sockets::{tcp_listeners, udp_addresses};
use tests::{PATIENCE, skip};

/// Checks that `edgecall echo` gets its line back from this address.
fn answers(address: &str) {
    let call = Call::echo(&[address], file_of(b"hello\n"), Stdio::piped());
    assert_eq!(call.prints(), b"hello\n", "{address}");
}

/// The addresses in a server's banners, parsed.
fn numbers(server: &Server) -> Vec<SocketAddr> {
    let number = |address: &String| {
        let (_, at) = address.split_once("://").expect("a scheme");
        at.parse().unwrap_or_else(|error| panic!("{at}: {error}"))
    };
    server.addresses().iter().map(number).collect()
}

/// Waits for a server's counters, and returns how many banners it has printed by then.
fn banners(server: &Server) -> usize {
    let _ = server.stats();
    server.stderr().text().matches("listening on ").count()
}

/// A port that is free on an address of 127.0.0.0/8 that no other test uses.
fn free_port() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 77, high, low);
    let listener = TcpListener::bind((ip, 0)).expect("bind");
    listener.local_addr().expect("getsockname")
}

#[test]
fn a_name_is_listened_on_where_it_can_be() {
    // No machine has an address of the block for documentation (RFC 3849).
    let lines = "2001:db8::1 partly.test\n127.0.0.1 partly.test";
    let Some(hosts) = Hosts::new(lines) else {
        return;
    };
    let warning = |scheme| format!("{scheme}://partly.test:0 is served without [2001:db8::1]:");
    for model in MODELS {
        let server = Launch::new("echo", &["partly.test:0"])
            .model(model)
            .under(&hosts.wrapper())
            .start();
        server.logs(&warning("tcp"));
        ping(dial(server.tcp()), b"hello");
    }
    for options in [&[][..], &["--workers", "2"]] {
        let server = Launch::new("echo", &["udp://partly.test:0"])
            .args(options)
            .under(&hosts.wrapper())
            .start();
        server.logs(&warning("udp"));
        answers(&server.addresses()[0]);
        assert_eq!(banners(&server), 1);
    }
}

#[test]
fn a_name_without_an_address_of_this_machine_is_a_failure() {
    let lines = "2001:db8::1 nowhere.test\n2001:db8::2 nowhere.test";
    let Some(hosts) = Hosts::new(lines) else {
        return;
    };
    let finished = Launch::new("echo", &["nowhere.test:9876"])
        .under(&hosts.wrapper())
        .run();
    assert_eq!(finished.code, 1);
    let start = "edgeloop: cannot listen on tcp://nowhere.test:9876: [2001:db8::";
    let complaint = finished.complaint();
    assert!(complaint.starts_with(start), "{complaint}");
    assert!(
        complaint.ends_with("Cannot assign requested address"),
        "{complaint}"
    );
}

/// An address that exists and cannot be bound is a failure, even if another one can be bound.
#[test]
fn a_name_with_a_taken_port_is_a_failure() {
    let Some(hosts) = Hosts::new("127.0.0.1 two.test\n127.0.0.2 two.test") else {
        return;
    };
    let taken = TcpListener::bind("127.0.0.2:0").expect("bind");
    let at = taken.local_addr().expect("getsockname");
    let name = format!("two.test:{}", at.port());
    let finished = Launch::new("echo", &[&name]).under(&hosts.wrapper()).run();
    let expected = format!("edgeloop: cannot listen on tcp://{name}: {at}: Address already in use");
    assert_eq!((finished.code, finished.complaint()), (1, &*expected));
    assert!(
        !finished.stderr.contains("listening on tcp"),
        "{finished:?}"
    );
}

#[test]
fn an_address_that_comes_twice_is_one_listener() {
    let lines = "127.0.0.1 twice.test\n127.0.0.1 twice.test\n::ffff:127.0.0.1 twice.test";
    if let Some(hosts) = Hosts::new(lines) {
        for address in ["twice.test:0", "udp://twice.test:0"] {
            let server = Launch::new("echo", &[address])
                .under(&hosts.wrapper())
                .start();
            answers(&server.addresses()[0]);
            assert_eq!(banners(&server), 1);
        }
    }
    let at = free_port();
    let mapped = format!("[::ffff:{}]:{}", at.ip(), at.port());
    let name = format!("unix:@edgeloop-twice-{}", std::process::id());
    let addresses = [
        at.to_string(),
        format!("tcp://{at}"),
        mapped,
        format!("udp://{at}"),
        name.clone(),
        name,
    ];
    let launch = Launch::new("echo", &[&addresses[0]]);
    let rest: Vec<&str> = addresses[1..].iter().map(String::as_str).collect();
    let server = launch.args(&rest).start();
    assert_eq!(banners(&server), 3, "{}", server.stderr().text());
    assert_eq!(tcp_listeners(server.pid()), [at]);
    assert_eq!(udp_addresses(server.pid()), [at]);
}

/// Equal addresses with port 0 are not duplicates: the kernel picks a port for each.
#[test]
fn two_ports_that_the_kernel_picks_are_two_listeners() {
    let server = Launch::new("echo", &["127.0.0.1:0", "127.0.0.1:0"]).start();
    let numbers = numbers(&server);
    assert_ne!(numbers[0], numbers[1]);
    numbers.iter().for_each(|at| ping(dial(*at), b"hello"));
}

#[test]
fn one_port_serves_both_families() {
    let Some(hosts) = Hosts::new("::1 both.test\n127.0.0.1 both.test") else {
        return;
    };
    for (address, options) in [
        ("both.test:0", &[][..]),
        ("both.test:0", &["--workers", "2"]),
        ("both.test:0", &["--model", "fork"]),
        ("udp://both.test:0", &[]),
        ("udp://both.test:0", &["--workers", "2"]),
    ] {
        let server = Launch::new("echo", &[address])
            .args(options)
            .under(&hosts.wrapper())
            .listeners(2)
            .start();
        let numbers = numbers(&server);
        assert_eq!(numbers[0].port(), numbers[1].port());
        assert_ne!(numbers[0].is_ipv4(), numbers[1].is_ipv4());
        server
            .addresses()
            .iter()
            .for_each(|address| answers(address));
    }
}

/// The kernel has two ports to pick from, and one is taken on one of the addresses: the server uses
/// the other port.
#[test]
fn a_port_that_only_some_of_the_addresses_have_is_not_used() {
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    let network = own_network(&format!("echo 20000 20001 >{range}"));
    let hosts = Hosts::new("127.0.0.1 two.test\n127.0.0.2 two.test");
    let (Some(network), Some(hosts)) = (network, hosts) else {
        return;
    };
    for taken in [20000, 20001] {
        let there = [
            &*format!("127.0.0.2:{taken}"),
            &format!("udp://127.0.0.2:{taken}"),
        ];
        let first = Launch::new("echo", &there).under(&network).start();
        let wrapper = [network_of(first.pid()), hosts.wrapper()].concat();
        for address in ["two.test:0", "udp://two.test:0"] {
            let second = Launch::new("echo", &[address])
                .under(&wrapper)
                .listeners(2)
                .start();
            let free = 40001 - taken;
            assert!(numbers(&second).iter().all(|at| at.port() == free));
        }
    }
}

#[test]
fn the_banner_comes_when_all_addresses_are_bound() {
    for options in [&[][..], &["--workers", "2"], &["--model", "thread"]] {
        let finished = Launch::new("echo", &["127.0.0.1:0", "192.0.2.1:9876"])
            .args(options)
            .run();
        assert_eq!(finished.code, 1);
        let complaint = finished.complaint();
        assert!(complaint.contains("192.0.2.1:9876"), "{complaint}");
        assert!(!finished.stderr.contains("listening on"), "{finished:?}");
    }
}

/// An interface of this machine with a link-local address: that address, and its name.
fn link_local() -> Option<(String, String)> {
    let text = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let bits = u128::from_str_radix(fields[0], 16).ok()?;
        let ip = Ipv6Addr::from_bits(bits);
        // The kernel may still check whether another machine has the address (IFA_F_TENTATIVE).
        let flags = u32::from_str_radix(fields[4], 16).ok()?;
        let usable = ip.is_unicast_link_local() && flags & 0x40 == 0;
        usable.then(|| (ip.to_string(), fields[5].to_owned()))
    });
    if found.is_none() {
        skip("needs an interface with a link-local address");
    }
    found
}

/// A packet to one of the machine's own addresses does not leave the machine, so the zone cannot be
/// observed on the wire.
#[test]
fn a_zone_is_understood_and_shown() {
    let Some((ip, interface)) = link_local() else {
        return;
    };
    let index =
        fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).expect("a number");
    for zone in [&*interface, index.trim()] {
        for scheme in ["tcp", "udp"] {
            let address = format!("{scheme}://[{ip}%{zone}]:0");
            let server = Launch::new("echo", &[&address]).start();
            let shown = &server.addresses()[0];
            let start = format!("{scheme}://[{ip}%{interface}]:");
            assert!(shown.starts_with(&start), "{shown}");
            answers(shown);
        }
    }
}

#[test]
fn a_zone_of_the_loopback_address_is_understood() {
    for address in ["[::1%lo]:0", "[::1%1]:0", "udp://[::1%lo]:0"] {
        let server = Launch::new("echo", &[address]).start();
        let shown = &server.addresses()[0];
        answers(shown);
        answers(&shown.replace("[::1]", "[::1%lo]"));
    }
}

#[test]
fn an_interface_that_is_not_there_is_a_failure() {
    let address = "[fe80::1%nowhere0]:9876";
    let finished = Launch::new("echo", &[address]).run();
    let reason = format!("tcp://{address}: no interface \"nowhere0\"");
    let expected = format!("edgeloop: cannot listen on {reason}");
    assert_eq!((finished.code, finished.complaint()), (1, &*expected));
    let call = Call::echo(&[address], Stdio::null(), Stdio::null());
    call.fails(&format!("cannot reach {reason}"));
}

#[test]
fn an_ipv4_address_in_ipv6_form_is_an_ipv4_address() {
    for (address, shown) in [
        ("[::ffff:127.0.0.1]:0", "tcp://127.0.0.1:"),
        ("udp://[::ffff:127.0.0.1]:0", "udp://127.0.0.1:"),
        ("[::ffff:0.0.0.0]:0", "tcp://0.0.0.0:"),
    ] {
        let server = Launch::new("echo", &[address]).start();
        let at = &server.addresses()[0];
        assert!(at.starts_with(shown), "{at}");
        let mapped = at.replace("127.0.0.1", "[::ffff:127.0.0.1]");
        answers(&mapped.replace("0.0.0.0", "[::ffff:127.0.0.1]"));
    }
}

#[test]
fn an_abstract_unix_socket() {
    for options in [&[][..], &["--workers", "2"]] {
        let name = format!("edgeloop test {} {}", std::process::id(), options.len());
        let address = format!("unix:@{name}");
        let mut server = Launch::new("echo", &[&address]).args(options).start();
        assert_eq!(server.addresses(), [&*address]);
        answers(&address);
        let connect = format!("ABSTRACT-CONNECT:{name}");
        let words = ["socat", "-t", "30", "-", &connect];
        assert_eq!(output_of(&words, "by socat\n"), "by socat\n");
        // The name is taken, and is not a file.
        let finished = Launch::new("upper", &[&address]).run();
        let expected = format!("edgeloop: cannot listen on {address}: Address already in use");
        assert_eq!((finished.code, finished.complaint()), (1, &*expected));
        assert!(!fs::exists(format!("@{name}")).expect("a directory"));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit_code(), 0);
        // The name disappears with the server, and another server can take it.
        let call = Call::echo(&[&address], Stdio::null(), Stdio::null());
        call.fails(&format!("cannot reach {address}: Connection refused"));
        let _again = Launch::new("upper", &[&address]).start();
    }
}

/// The broadcast address of 127.0.0.0/8.
const BROADCAST: &str = "127.255.255.255";

#[test]
fn broadcast_is_sent_and_answered() {
    let server = Launch::new("upper", &["udp://0.0.0.0:0"]).start();
    let address = format!("udp://{BROADCAST}:{}", server.udp().port());
    let arguments = ["upper", "--addr", &address];
    let call = Call::start(&arguments, file_of(b"one\ntwo\n"), Stdio::piped());
    assert_eq!(call.prints(), b"ONE\nTWO\n");

    let sink = Launch::new("sink", &["udp://0.0.0.0:0"]).start();
    let address = format!("udp://{BROADCAST}:{}", sink.udp().port());
    Call::start(&["send", &address], file_of(b"hello\n"), Stdio::null()).succeeds();
    let hello = |line: &str| line.ends_with(": hello");
    assert!(sink.stdout().wait_for(PATIENCE, hello).is_some());
}

/// The server receives each datagram once, however many sockets it has.
#[test]
fn a_multicast_group_is_joined() {
    let Some(network) = own_network("ip route add 239.0.0.0/8 dev lo") else {
        return;
    };
    for options in [&[][..], &["--workers", "3"]] {
        let sink = Launch::new("sink", &["udp://239.1.2.3:7000"])
            .args(options)
            .under(&network)
            .start();
        let program = edgecall().to_str().expect("a path in UTF-8");
        let mut command = command(&network_of(sink.pid()));
        command.args([program, "send", "udp://239.1.2.3:7000"]);
        command.stdin(file_of(b"one\ntwo\n")).stdout(Stdio::null());
        Call::spawn(command).succeeds();
        let is = |text: &'static str| move |line: &str| line.ends_with(text);
        assert!(sink.stdout().wait_for(PATIENCE, is(": two")).is_some());
        assert_eq!(sink.stdout().text().matches(": one").count(), 1);
        assert_eq!(sink.stats().get("datagrams_in"), 2);
    }
}

#[test]
fn a_group_without_a_route_is_a_failure() {
    let Some(network) = own_network("true") else {
        return;
    };
    let finished = Launch::new("sink", &["udp://239.1.2.3:7000"])
        .under(&network)
        .run();
    let expected = "edgeloop: cannot listen on udp://239.1.2.3:7000: No such device";
    assert_eq!((finished.code, finished.complaint()), (1, expected));
}

/// Words that are no addresses, and the complaint about each.
const NONE: [(&str, &str); 12] = [
    (
        "localhost",
        "no port in \"localhost\": write localhost:PORT",
    ),
    ("1.2.3.4", "no port in \"1.2.3.4\": write 1.2.3.4:PORT"),
    (
        "[::1",
        "no ] in \"[::1\": an IPv6 address needs brackets and a port: write [::1]:PORT",
    ),
    ("[::1]", "no port in \"[::1]\": write [::1]:PORT"),
    (
        "::1",
        "an IPv6 address needs brackets and a port: write [::1]:PORT",
    ),
    (
        "fe80::1",
        "write [fe80::1%eth0]:PORT, with the name of the interface",
    ),
    (
        "[fe80::1]:9",
        "write [fe80::1%eth0]:9, with the name of the interface",
    ),
    ("udp:9", "udp: without // in \"udp:9\": write udp://9"),
    ("127.0.0.1:65536", "65536 is not a port (0 to 65535)"),
    ("127.0.0.1:", "\"\" is not a port (0 to 65535)"),
    (
        "ftp://127.0.0.1:9",
        "unknown scheme in \"ftp://127.0.0.1:9\"",
    ),
    ("unix:@", "write @NAME"),
];

#[test]
fn a_word_that_is_no_address_is_refused_with_a_hint() {
    for (address, reason) in NONE {
        let finished = Launch::new("echo", &[address]).run();
        assert_eq!(finished.code, 2, "{address}");
        assert!(finished.stderr.contains(reason), "{}", finished.stderr);
        let (code, told) = Call::echo(&[address], Stdio::null(), Stdio::null()).finish();
        assert_eq!(code, Some(2), "{address}");
        assert!(told.contains(reason), "{told}");
    }
}
