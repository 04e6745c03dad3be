//! Answers over HTTP: a page, or a refusal. Each ends the connection; only [`Answered`] can keep it for
//! another request.

use std::fmt::Write;

use data_encoding::BASE64;
use hmac_sha256::Hash;

/// Headers of every answer: a browser neither guesses at its type nor keeps it.
const EVERY: &str = "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\
                     Referrer-Policy: no-referrer\r\n";

/// The answer to a connection that is one too many from its address, sent before its request has come.
pub(super) const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
                                   Connection: close\r\n\r\ntoo many connections from your address\n";

/// A request that is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed,
    NotGet,
    NotGetOrHead,
    Body,
    HeadTooLong,
    /// The head did not come in time.
    TooSlow,
    /// `Host` is a name that this server does not know as its own.
    Host,
    /// A page of another site would use the user's connection.
    Origin,
    /// Both, where neither is a matter of choice.
    Foreign,
    NotFound,
    /// A WebSocket with a query that the protocol behind it does not understand.
    Query,
    /// There is only a WebSocket here.
    NotWebSocket,
    /// A version of WebSocket that is not RFC 6455's.
    Version,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Refusal::Malformed | Refusal::Body | Refusal::Query => "400 Bad Request",
            Refusal::Host | Refusal::Origin | Refusal::Foreign => "403 Forbidden",
            Refusal::NotFound => "404 Not Found",
            Refusal::NotGet | Refusal::NotGetOrHead => "405 Method Not Allowed",
            Refusal::TooSlow => "408 Request Timeout",
            Refusal::NotWebSocket | Refusal::Version => "426 Upgrade Required",
            Refusal::HeadTooLong => "431 Request Header Fields Too Large",
        }
    }

    /// The headers that its status calls for.
    fn headers(self) -> &'static str {
        match self {
            Refusal::NotGet => "Allow: GET\r\n",
            Refusal::NotGetOrHead => "Allow: GET, HEAD\r\n",
            Refusal::NotWebSocket | Refusal::Version => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            }
            _ => "",
        }
    }

    /// The reason, for the client and for the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refusal::Malformed => "this is not a request that the server understands",
            Refusal::NotGet => "the server answers GET only",
            Refusal::NotGetOrHead => "the server answers GET and HEAD only",
            Refusal::Body => "a request must have no body",
            Refusal::HeadTooLong => "the head of the request is too long",
            Refusal::TooSlow => "the head of the request took too long",
            Refusal::Host => "the server is not known by this name: --host allows it",
            Refusal::Origin => "the page is from another site: --origin allows it",
            Refusal::Foreign => {
                "on this machine the server is known by its address and as localhost, and to no page"
            }
            Refusal::NotFound => "there is nothing here",
            Refusal::Query => "the server does not understand what follows the ?",
            Refusal::NotWebSocket => "there is a WebSocket here, and nothing else",
            Refusal::Version => "the server speaks version 13 of WebSocket, as RFC 6455 has it",
        }
    }

    /// The whole answer.
    pub(crate) fn answer(self) -> Vec<u8> {
        let body = format!("{}\n", self.reason());
        let headers = format!("Content-Type: text/plain\r\n{}", self.headers());
        answer(self.status(), &headers, body.as_bytes())
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{EVERY}Connection: close\r\n{headers}Content-Length: {len}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The manner of an answer on a connection that may be kept for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The answer to HEAD has no body.
    pub(super) is_head: bool,
    pub(crate) keeps_alive: bool,
}

impl Answered {
    /// An answer of this type.
    pub(crate) fn page(self, status: &str, media_type: &str, body: &str) -> Vec<u8> {
        let close = if self.keeps_alive {
            ""
        } else {
            "Connection: close\r\n"
        };
        let len = body.len();
        let body = if self.is_head { "" } else { body };
        let answer = format!(
            "HTTP/1.1 {status}\r\n{EVERY}{close}Content-Type: {media_type}\r\n\
             Content-Length: {len}\r\n\r\n{body}"
        );
        answer.into_bytes()
    }
}

/// A page, ready to be sent.
#[derive(Clone, Debug)]
pub struct Page {
    pub(super) answer: Vec<u8>,
}

impl Page {
    /// A page of plain text, in UTF-8.
    #[must_use]
    pub fn text(text: &str) -> Page {
        let headers = "Content-Type: text/plain; charset=utf-8\r\n";
        Page {
            answer: answer("200 OK", headers, text.as_bytes()),
        }
    }

    /// A page in HTML. Of scripts and styles it runs those that stand in `<script>` and `<style>`, which
    /// have no attributes; it may connect to this server, and show images that it has made itself.
    #[must_use]
    pub fn html(html: &str) -> Page {
        let policy = format!(
            "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'{}{}",
            sources(html, "script"),
            sources(html, "style"),
        );
        let headers = format!(
            "Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {policy}\r\n"
        );
        Page {
            answer: answer("200 OK", &headers, html.as_bytes()),
        }
    }
}

/// The directive that allows what stands in all elements of this name, each by its hash (Content
/// Security Policy Level 3, section 2.3.1); empty if there is none.
fn sources(html: &str, element: &str) -> String {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    let mut directive = String::new();
    for rest in html.split(&start).skip(1) {
        if directive.is_empty() {
            directive = format!("; {element}-src");
        }
        let inner = rest.split(&end).next().unwrap_or_default();
        let hash = BASE64.encode(&Hash::hash(inner.as_bytes()));
        let _ = write!(directive, " 'sha256-{hash}'");
    }
    directive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_and_body(answer: &[u8]) -> (String, String) {
        let text = String::from_utf8(answer.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let len = format!("\r\nContent-Length: {}", body.len());
        assert!(head.contains(&len), "{head}");
        assert!(
            head.contains("\r\nX-Content-Type-Options: nosniff\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn a_refusal_says_why() {
        for (refusal, status, header) in [
            (Refusal::Malformed, "400 Bad Request", ""),
            (Refusal::NotGet, "405 Method Not Allowed", "Allow: GET"),
            (
                Refusal::Version,
                "426 Upgrade Required",
                "Sec-WebSocket-Version: 13",
            ),
        ] {
            let (head, body) = head_and_body(&refusal.answer());
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{head}"
            );
            assert!(head.contains(header), "{head}");
            assert_eq!(body, format!("{}\n", refusal.reason()));
        }
    }

    #[test]
    fn a_page_runs_its_own_script_and_no_other() {
        let html = "<style>p {}</style><p>x<script>alert('Hello, world.');</script>";
        let (head, body) = head_and_body(&Page::html(html).answer);
        assert_eq!(body, html);
        // The example of the standard, section 6.7.3.
        let script = "script-src 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='";
        let policy = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Security-Policy: "));
        let directives: Vec<&str> = policy.unwrap().split("; ").collect();
        for directive in [
            "default-src 'none'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            script,
        ] {
            assert!(
                directives.contains(&directive),
                "{directive}: {directives:?}"
            );
        }
        let is_style = |directive: &&str| directive.starts_with("style-src 'sha256-");
        assert!(directives.iter().any(is_style), "{directives:?}");
        let (head, _) = head_and_body(&Page::text("x").answer);
        assert!(
            head.contains("Content-Type: text/plain; charset=utf-8"),
            "{head}"
        );
    }
}
