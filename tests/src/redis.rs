//! A `redis-server` of a test, and a proxy before it that cuts connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::random::Random;
use crate::skip;

/// Time in which Redis has to start.
const START: Duration = Duration::from_secs(30);

/// A Redis server, which ends with the test.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    directory: TempDir,
    options: Vec<String>,
}

impl Redis {
    /// Starts a server that saves nothing but what `options` say. `None`, with a message, if the system
    /// has none.
    #[must_use]
    pub fn start(options: &[&str]) -> Option<Redis> {
        if Command::new("redis-server")
            .arg("--version")
            .output()
            .is_err()
        {
            skip("needs redis-server: run tests/run, which installs it");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let options: Vec<String> = options.iter().map(|&option| option.into()).collect();
        // Another program may take the port before the server does.
        for _ in 0..10 {
            let port = free_port();
            let mut child = spawn(port, &directory, &options);
            if is_up(&mut child, port) {
                return Some(Redis {
                    child,
                    port,
                    directory,
                    options,
                });
            }
        }
        panic!("redis-server does not start");
    }

    /// Its port on the loopback interface.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, as `--backplane` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// Starts it again on the same port and with the same files.
    pub fn restart(&mut self) {
        self.child = spawn(self.port, &self.directory, &self.options);
        assert!(
            is_up(&mut self.child, self.port),
            "redis-server does not start again"
        );
    }

    /// The file to which it appends commands, with `--appendonly yes`.
    #[must_use]
    pub fn append_only_file(&self) -> PathBuf {
        let directory = self.directory.path().join("appendonlydir");
        directory.join("appendonly.aof.1.incr.aof")
    }

    /// Removes its files, after its end.
    pub fn forget(&mut self) {
        self.directory = tempfile::tempdir().expect("a directory");
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill").success());
    }

    /// Executes a command, and returns the first line of the reply.
    #[expect(
        clippy::must_use_candidate,
        reason = "most commands are for their effect"
    )]
    pub fn command(&self, words: &[&str]) -> String {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("a connection");
        let words = words
            .iter()
            .map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let words: Vec<String> = words.collect();
        let request = format!("*{}\r\n{}", words.len(), words.concat());
        stream.write_all(request.as_bytes()).expect("a request");
        line(&mut stream).expect("a reply")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

fn spawn(port: u16, directory: &TempDir, options: &[String]) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .arg("--dir")
        .arg(directory.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server")
}

/// Waits until the server answers, or has ended.
fn is_up(child: &mut Child, port: u16) -> bool {
    let start = Instant::now();
    while start.elapsed() < START && child.try_wait().expect("a child").is_none() {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            && stream.write_all(b"PING\r\n").is_ok()
            && line(&mut stream).is_some_and(|line| line == "+PONG")
        {
            return true;
        }
        thread::yield_now();
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// A line of a reply, without its end.
fn line(stream: &mut TcpStream) -> Option<String> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    text.truncate(text.len() - 2);
    String::from_utf8(text).ok()
}

/// A proxy that cuts each connection after some bytes of the server, wherever that is.
#[derive(Debug)]
pub struct CuttingProxy {
    port: u16,
    ends: Arc<AtomicBool>,
}

impl CuttingProxy {
    /// A proxy to this port on the loopback interface.
    #[must_use]
    pub fn start(server: u16, seed: u64) -> CuttingProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        thread::spawn(move || {
            let mut random = Random::new(seed);
            for client in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else {
                    return;
                };
                serve(&client, &server, 500 + random.below(20_000) as u64);
            }
        });
        CuttingProxy { port, ends }
    }

    /// The address, as `--backplane` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Passes bytes on in both directions, until the server has sent so many.
fn serve(client: &TcpStream, server: &TcpStream, limit: u64) {
    let (mut from_client, mut to_server) = (clone(client), clone(server));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let (from_server, mut to_client) = (clone(server), clone(client));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_server.take(limit), &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}
