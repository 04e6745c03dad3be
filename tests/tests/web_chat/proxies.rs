//! The README's snippets for programs that put TLS in front of the server: each program checks its
//! snippet, and a client joins through it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::{TempDir, tempdir};
use tests::chat::Guest;
use tests::page::{WELCOME, room};
use tests::program::{Program, run};
use tests::source::workspace;
use tests::{skip, until};

use crate::python;

/// The README's only block in this language.
fn snippet(language: &str) -> String {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let start = format!("```{language}\n");
    let mut blocks = readme.split(&start).skip(1);
    let block = blocks.next().and_then(|rest| rest.split("```").next());
    assert!(blocks.next().is_none(), "two blocks in {language}");
    block
        .unwrap_or_else(|| panic!("no block in {language}"))
        .to_owned()
}

/// A directory with a certificate of `chat.example` and its key, each in a file and both in one.
fn certificate() -> TempDir {
    let directory = tempdir().expect("a directory");
    let path = |name| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("UTF-8")
            .to_owned()
    };
    let (key, certificate) = (path("chat.key"), path("chat.crt"));
    let made = run(
        &[
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=chat.example",
            "-addext",
            "subjectAltName=DNS:chat.example",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ],
        "",
    );
    assert!(made.code == Some(0), "{made:?}");
    let read = |path: &str| fs::read_to_string(path).expect("a file");
    fs::write(path("chat.pem"), read(&certificate) + &read(&key)).expect("a file");
    directory
}

/// Whether this program is installed; if it is not, the test says that it is skipped.
fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("-v").output();
    if let Err(error) = &found {
        skip(&format!("{program}: {error}"));
    }
    found.is_ok()
}

/// Joins through a proxy that serves TLS at this Unix socket.
fn join_through(proxy: &[&str], configuration: impl Fn(&Path, u16) -> String, check: &[&str]) {
    let directory = certificate();
    let server = room(&["--host", "chat.example"]).start();
    let file = directory.path().join("proxy.conf");
    let text = configuration(directory.path(), server.http().port());
    fs::write(&file, &text).expect("a file");
    let with_file = |words: &[&str]| {
        let words = words
            .iter()
            .map(|word| word.replace("FILE", file.to_str().expect("UTF-8")));
        words.collect::<Vec<String>>()
    };
    let checked = with_file(check);
    let checked: Vec<&str> = checked.iter().map(String::as_str).collect();
    let checked = run(&checked, "");
    assert!(checked.code == Some(0), "{text}\n{checked:?}");
    let Some(package) = python::package() else {
        return;
    };
    let words = with_file(proxy);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut running = Program::start(&words);
    let socket = directory.path().join("proxy.sock");
    until("the proxy listens", || {
        socket.exists() || running.has_ended(Duration::ZERO)
    });
    let path = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let arguments = [
        "wss://chat.example/room".to_owned(),
        path(socket),
        path(directory.path().join("chat.crt")),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut guest = Guest::join(server.tcp(), "gus");
    let mut client = python::start(package, &arguments);
    client.shows(WELCOME);
    client.say("pia\nhello over TLS\n");
    guest.hears("* pia has entered the room");
    guest.hears("[pia] hello over TLS");
    guest.say("hello");
    client.shows("[gus] hello");
    client.end_input();
    guest.hears("* pia has left the room");
}

#[test]
fn the_snippet_for_nginx_works() {
    if !is_installed("nginx") {
        return;
    }
    let configuration = |directory: &Path, port: u16| {
        let directory = directory.to_str().expect("UTF-8");
        let server = snippet("nginx")
            .replace(
                "listen 443 ssl",
                &format!("listen unix:{directory}/proxy.sock ssl"),
            )
            .replace("/etc/ssl", directory)
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {directory}/{name};\n"));
        format!(
            "daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{\naccess_log off;\n{}{server}}}\n",
            temporary.concat()
        )
    };
    let nginx = ["nginx", "-e", "stderr", "-c", "FILE"];
    join_through(&nginx, configuration, &[&nginx[..], &["-t"]].concat());
}

#[test]
fn the_snippet_for_haproxy_works() {
    if !is_installed("haproxy") {
        return;
    }
    let configuration = |directory: &Path, port: u16| {
        let directory = directory.to_str().expect("UTF-8");
        snippet("haproxy")
            .replace("bind :443", &format!("bind unix@{directory}/proxy.sock"))
            .replace("/etc/ssl", directory)
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
    };
    join_through(
        &["haproxy", "-db", "-f", "FILE"],
        configuration,
        &["haproxy", "-c", "-f", "FILE"],
    );
}
