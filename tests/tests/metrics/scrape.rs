//! A scraper: curl, or a raw socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use tests::client::dial;
use tests::command::command;
use tests::server::{Launch, Server};

use crate::format::{Family, parse};

/// A server with `--metrics` on a port that the kernel picks.
pub(crate) fn measured(name: &str, addresses: &[&str]) -> Launch {
    Launch::new(name, addresses).args(&["--metrics", "0"])
}

/// The URL of its metrics, from the log line that names it.
pub(crate) fn url(server: &Server) -> String {
    let line = server.logs("metrics on ");
    let (_, url) = line.split_once("metrics on ").expect("an address");
    url.trim_end().to_owned()
}

pub(crate) fn at(server: &Server) -> SocketAddr {
    let url = url(server);
    let at = url
        .strip_prefix("http://")
        .and_then(|it| it.strip_suffix("/metrics"));
    at.expect("a URL").parse().expect("an address")
}

/// The status and the body that curl gets, with these arguments.
pub(crate) fn curl(arguments: &[&str]) -> (u16, String) {
    let output = command("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(arguments)
        .output()
        .expect("curl");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let why = String::from_utf8_lossy(&output.stderr);
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (
        status.parse().unwrap_or_else(|_| panic!("{text}{why}")),
        body.to_owned(),
    )
}

/// The families of the metrics, whose format is checked.
pub(crate) fn scrape(server: &Server) -> Vec<Family> {
    let (status, page) = curl(&[&url(server)]);
    assert_eq!(status, 200, "{page}");
    parse(&page).unwrap_or_else(|why| panic!("{why} in\n{page}"))
}

/// The value of a metric, over all its labels.
pub(crate) fn sum(families: &[Family], name: &str) -> f64 {
    let family = families.iter().find(|family| family.name == name);
    let family = family.unwrap_or_else(|| panic!("there is no {name}"));
    family.samples.iter().map(|sample| sample.value).sum()
}

/// The value of a metric over all its labels, as a whole number.
pub(crate) fn value(families: &[Family], name: &str) -> u64 {
    sum(families, name) as u64
}

/// The value of a metric with this label.
pub(crate) fn labelled(families: &[Family], name: &str, label: (&str, &str)) -> u64 {
    let family = families.iter().find(|family| family.name == name);
    let mut samples = family.into_iter().flat_map(|family| &family.samples);
    let is_it = |(key, value): &(String, String)| (&**key, &**value) == label;
    let sample = samples.find(|sample| sample.labels.iter().any(is_it));
    let sample = sample.unwrap_or_else(|| panic!("there is no {name} with {label:?}"));
    sample.value as u64
}

/// A connection on which one request follows another.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    pub(crate) fn to(server: &Server) -> Raw {
        let stream = BufReader::new(dial(at(server)));
        Raw { stream }
    }

    pub(crate) fn send(&mut self, request: &str) {
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .expect("write");
    }

    /// The head of the next answer.
    pub(crate) fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.stream.read_line(&mut head).expect("a line") > 0,
                "{head}"
            );
        }
        head
    }

    /// The next answer: its head, and its body by the length that it gives.
    pub(crate) fn answer(&mut self) -> (String, String) {
        let head = self.head();
        let len = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; len.expect("a length").parse().expect("a number")];
        self.stream.read_exact(&mut body).expect("the body");
        (head, String::from_utf8(body).expect("UTF-8"))
    }

    /// The bytes that still come, until the end.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).expect("an end");
        rest
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}
