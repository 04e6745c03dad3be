//! What a web listener serves, and how messages are translated for the protocol behind it.

use super::frame::Rules;
use super::handshake::granted;
use super::policy::Policy;
use super::request::Request;
use super::response::{Page, Refusal};

/// The longest message that an echo takes.
const ECHO_MAX: u32 = 16 * 1024 * 1024;

/// Pages, a WebSocket, and who may use them.
#[derive(Clone, Debug)]
pub struct Site {
    policy: Policy,
    pages: Vec<(&'static str, Page)>,
    /// The path of the WebSocket; `None` is every path.
    socket: Option<&'static str>,
    pub(super) speech: Speech,
    pub(super) rules: Rules,
}

/// The use of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// A text message is a line of the protocol without its newline, and a line of the protocol is a text
    /// message.
    Lines,
    /// Each message goes back to where it came from, in fragments as it comes.
    Echo,
}

/// The answer to a request.
pub(super) enum Answer {
    /// These bytes, and then the end.
    Page(Vec<u8>),
    /// These bytes, and then frames. The query may be a secret.
    Handshake { answer: Vec<u8>, query: String },
}

impl Site {
    /// A site whose WebSocket at this path carries lines of `max_line` bytes at the most.
    #[must_use]
    pub fn of_lines(policy: Policy, socket: &'static str, max_line: usize) -> Site {
        Site {
            policy,
            pages: Vec::new(),
            socket: Some(socket),
            speech: Speech::Lines,
            rules: Rules {
                masked: true,
                max_message: max_line.try_into().unwrap_or(u32::MAX),
                binary: false,
            },
        }
    }

    /// A site whose WebSocket, at every path, sends back each message of 16 MiB at the most.
    #[must_use]
    pub fn of_echo(policy: Policy) -> Site {
        Site {
            policy,
            pages: Vec::new(),
            socket: None,
            speech: Speech::Echo,
            rules: Rules {
                masked: true,
                max_message: ECHO_MAX,
                binary: true,
            },
        }
    }

    /// The site with a page at this path.
    #[must_use]
    pub fn with_page(mut self, path: &'static str, page: Page) -> Site {
        self.pages.push((path, page));
        self
    }

    /// The answer to a request. `takes_query`: whether a WebSocket may have this query.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        takes_query: impl Fn(&str) -> bool,
    ) -> Result<Answer, Refusal> {
        self.policy.check(request)?;
        let has_socket = self.socket.is_none_or(|path| path == request.path);
        if let Some(key) = request.websocket {
            return match has_socket {
                true if !takes_query(request.query) => Err(Refusal::Query),
                true => Ok(Answer::Handshake {
                    answer: granted(key),
                    query: request.query.to_owned(),
                }),
                false => Err(Refusal::NotFound),
            };
        }
        let page = self.pages.iter().find(|(path, _)| *path == request.path);
        match page {
            Some((_, page)) => Ok(Answer::Page(page.answer.clone())),
            None if has_socket => Err(Refusal::NotWebSocket),
            None => Err(Refusal::NotFound),
        }
    }
}
