//! One of the servers: a chat in a script, and its log.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeloop_reactor::{Closed, ConnId, Opened, Outbox, Peer, Script};
use nix::sys::eventfd::EventFd;
use nix::unistd::read;

use crate::backplane::entry::{Body, Entry, Origin};
use crate::backplane::faulty::{Engine, Faulty};
use crate::backplane::log::{Health, Log, Read};
use crate::backplane::random::Random;
use crate::chat::{Chat, STDIN, Settings, Transcript};
use crate::recorder::Recorder;

/// The log of a chat, which the test holds too.
#[derive(Debug)]
pub(super) struct Handle {
    log: Rc<RefCell<Faulty>>,
    calls: Rc<RefCell<u64>>,
}

impl Log for Handle {
    fn append<'a>(&mut self, body: Body<'a>, now: Duration) -> Option<Entry<'a>> {
        self.log.borrow_mut().append(body, now)
    }

    fn next(&mut self) -> Option<Read> {
        self.log.borrow_mut().next()
    }

    fn go_on(&mut self, out: &mut Outbox) -> Option<Duration> {
        *self.calls.borrow_mut() += 1;
        self.log.borrow_mut().go_on(out)
    }

    fn health(&self) -> Health {
        self.log.borrow().health()
    }
}

/// The far end of a transcript.
struct Pipe {
    reader: OwnedFd,
    _lost: Arc<EventFd>,
    text: Vec<u8>,
}

pub(super) struct Server {
    pub(super) origin: Origin,
    pub(super) script: Script<Chat>,
    pub(super) log: Rc<RefCell<Faulty>>,
    /// Number of times that the log was seen to.
    pub(super) calls: Rc<RefCell<u64>>,
    stdin: ConnId,
    pipe: Option<Pipe>,
}

impl Server {
    pub(super) fn start(
        engine: &Engine,
        server: u64,
        boot: u64,
        random: &mut Random,
        is_recorded: bool,
    ) -> Server {
        let origin = Origin { server, boot };
        let losses = 50 + random.below(500);
        let delay = Duration::from_millis(random.below(300));
        let log = Faulty::new(engine, origin, random.bits(), losses, delay);
        Server::with(engine, log, origin, is_recorded, |_| {})
    }

    pub(super) fn with(
        engine: &Engine,
        log: Faulty,
        origin: Origin,
        is_recorded: bool,
        change: impl FnOnce(&mut Settings),
    ) -> Server {
        let mut settings = Settings {
            operator: true,
            ..Settings::default()
        };
        change(&mut settings);
        let pipe = is_recorded.then(|| Recorder::for_test(1 << 18));
        let (transcript, pipe) = match pipe {
            Some((recorder, reader, lost)) => {
                let text = Vec::new();
                let pipe = Pipe {
                    reader,
                    _lost: lost,
                    text,
                };
                (Some(Transcript::new(recorder)), Some(pipe))
            }
            None => (None, None),
        };
        let mut script = Script::new(Chat::new(settings, transcript));
        let (log, calls) = (Rc::new(RefCell::new(log)), Rc::default());
        let handle = Handle {
            log: Rc::clone(&log),
            calls: Rc::clone(&calls),
        };
        let now = Duration::from_millis(engine.clock());
        script.call(|chat, _| {
            chat.share(Box::new(handle), origin, "server");
            chat.started_at = now;
        });
        script.wake();
        let stdin = script.open_as(Opened::new(Peer::Stream, STDIN));
        Server {
            origin,
            script,
            log,
            calls,
            stdin,
            pipe,
        }
    }

    pub(super) fn chat(&self) -> &Chat {
        self.script.protocol()
    }

    pub(super) fn gaps(&self) -> u64 {
        let replica = self.chat().replica.as_ref();
        replica.map_or(0, |replica| replica.counters().gaps)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.script.advance(time);
        if let Some(pipe) = &mut self.pipe {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = read(&pipe.reader, &mut buffer) {
                pipe.text.extend_from_slice(&buffer[..count]);
            }
        }
    }

    pub(super) fn says(&mut self, id: ConnId, line: &str) {
        self.script.data(id, format!("{line}\n").as_bytes());
    }

    /// A client goes, in one of several ways.
    pub(super) fn leaves(&mut self, id: ConnId, random: &mut Random) {
        match random.below(3) {
            0 => self.script.close(id, Closed::Reset),
            1 => self.script.eof(id),
            _ => {
                self.script.data(id, b"half a line");
                self.script.eof(id);
            }
        }
    }

    /// The operator does something.
    pub(super) fn operate(&mut self, random: &mut Random, tokens: &mut u64, name: &str) {
        *tokens += 1;
        let line = match random.below(6) {
            0 => format!("/kick {name}"),
            1 => format!("/ban {name} 3s"),
            2 | 3 => format!("/unban {name}"),
            _ => format!("o{tokens}"),
        };
        let stdin = self.stdin;
        self.says(stdin, &line);
    }

    /// The lines of the transcript, but for their times.
    pub(super) fn transcript(&self) -> Option<Vec<String>> {
        let text = String::from_utf8_lossy(&self.pipe.as_ref()?.text);
        let lines = text
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
        Some(lines.collect())
    }
}
