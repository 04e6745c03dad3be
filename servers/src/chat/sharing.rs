//! Rooms that are shared with other servers, by a log in Redis.
//!
//! The log's connections are connections of this protocol: [`Chat::offer`] hands the log each callback
//! before the chat takes it for a member's. They are no clients, see
//! [`Limits::own_tags`](edgeloop_reactor::Limits::own_tags).

use std::fs;
use std::time::Duration;

use edgeloop_reactor::{Address, Outbox};
use hmac_sha256::Hash;

use super::Chat;
use super::settings::LOG;
use crate::backplane::entry::Origin;
use crate::backplane::log::Log;
use crate::backplane::random::Random;
use crate::backplane::redis::{RedisLog, Target};
use crate::figures::{Figure, Value};

/// Entries that Redis keeps, about.
const ENTRIES_MAX: u64 = 100_000;

/// Files that tell this machine from others, and that a restart of the server does not change. Containers may
/// agree in all but the last one.
const MACHINE: [&str; 2] = ["/proc/sys/kernel/hostname", "/etc/machine-id"];
const NETWORK: &str = "/proc/self/ns/net";

impl Chat {
    /// Shares the rooms with all servers that read the log there, once this one listens. The host is
    /// resolved.
    /// `worker`: the number of its reactor among those of the process.
    pub(super) fn use_backplane(&mut self, target: Target, worker: usize) {
        self.backplane = Some((target, worker));
    }

    /// The server listens at these addresses: now it has an identity.
    pub(super) fn begin_to_share(&mut self, at: &[Address], out: &mut Outbox) {
        if let Some((target, worker)) = &self.backplane {
            let host = read(MACHINE[0]);
            let me = origin(&host, at, *worker);
            let first = at.first().map(ToString::to_string).unwrap_or_default();
            let log = RedisLog::new(target, me, LOG, ENTRIES_MAX);
            self.share(Box::new(log), me, &format!("{host} {first}"));
            self.serve_log(out);
        }
    }

    /// Offers a callback to the log, if that may have connections. If it was meant for the log, there may
    /// be something to read, and the result is true.
    #[inline]
    pub(super) fn offer(
        &mut self,
        callback: impl FnOnce(&mut dyn Log, &mut Outbox) -> bool,
        out: &mut Outbox,
    ) -> bool {
        let is_claimed = self.replica.is_some() && callback(&mut *self.log, out);
        if is_claimed {
            self.serve_log(out);
        }
        is_claimed
    }

    /// Figures about the log; none if it is not in Redis.
    pub(super) fn figures_of_log(&self, now: Duration) -> Vec<Figure> {
        let (Some(replica), Some(_)) = (&self.replica, &self.backplane) else {
            return Vec::new();
        };
        let (health, counters) = (self.log.health(), replica.counters());
        let since = health.unread_since.unwrap_or(now);
        let figure = |name, help, value| Figure { name, help, value };
        vec![
            figure(
                "backplane_lag",
                "Age of the oldest entry that was appended to the log and not read back.",
                Value::Time(now.saturating_sub(since)),
            ),
            figure(
                "backplane_pending",
                "Entries that were appended to the log and not read back.",
                Value::Number(health.pending as u64),
            ),
            figure(
                "backplane_reconnects",
                "Connections to the log beyond the first two.",
                Value::Count(health.reconnects),
            ),
            figure(
                "backplane_duplicates",
                "Entries of the log that came twice and were dropped.",
                Value::Count(counters.duplicates),
            ),
            figure(
                "backplane_gaps",
                "Times that entries of the log were missing.",
                Value::Count(counters.gaps),
            ),
        ]
    }
}

/// This run of the server, or of this worker of it, that listens at these addresses.
fn origin(host: &str, at: &[Address], worker: usize) -> Origin {
    let network = fs::read_link(NETWORK).unwrap_or_default();
    let mut words: Vec<String> = at.iter().map(ToString::to_string).collect();
    words.sort_unstable();
    words.extend([host.into(), read(MACHINE[1]), worker.to_string()]);
    words.push(network.to_string_lossy().into_owned());
    let digest = Hash::hash(words.join("\n").as_bytes());
    let (server, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
    Origin {
        server: u64::from_le_bytes(*server),
        boot: Random::from_system().bits(),
    }
}

/// The first line of a file; empty if it cannot be read.
fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use edgeloop_reactor::{Closed, ConnId, Script};

    use super::super::Settings;
    use super::*;
    use crate::backplane::entry::Body;
    use crate::figures::Pairs;
    use crate::server::Server;

    /// A chat that listens and shares its rooms.
    fn shared() -> Script<Chat> {
        let mut chat = Chat::new(Settings::default(), None);
        chat.use_backplane("redis://127.0.0.1:7000".parse().expect("a URL"), 0);
        let mut script = Script::new(chat);
        let at = "127.0.0.1:7777".parse().expect("an address");
        script.call(|chat, out| chat.on_listening(&[at], out));
        script
    }

    /// The connections of the log: the reader, the writer.
    fn connected(script: &mut Script<Chat>) -> [ConnId; 2] {
        LOG.map(|tag| {
            let id = script.connecting(tag).expect("a connect");
            script.connected(id);
            id
        })
    }

    #[test]
    fn the_logs_connections_are_no_members() {
        let mut script = shared();
        let [reader, writer] = connected(&mut script);
        let asked = String::from_utf8_lossy(&script.take_output(reader)).into_owned();
        assert!(
            asked.contains("XREVRANGE") && !asked.contains("Welcome"),
            "{asked}"
        );
        script.data(reader, b"-ERR no\r\n");
        assert_eq!(script.closed(reader), Some(Closed::Aborted));
        script.eof(writer);
        assert_eq!(script.closed(writer), Some(Closed::Finished));
        script.advance(Duration::from_secs(1));
        let [reader, writer] = connected(&mut script);
        script.close(reader, Closed::Reset);
        script.advance(Duration::from_secs(1));
        let reader = script.connecting(LOG[0]).expect("a connect");
        script.connect_error(reader, Closed::TimedOut);
        script.advance(Duration::from_secs(1));
        assert!(script.connecting(LOG[0]).is_some());
        assert_eq!(script.closed(writer), None);
        assert_eq!(script.protocol().log.health().reconnects, 2);
    }

    #[test]
    fn the_lag_is_the_age_of_what_is_not_read_back() {
        let mut script = shared();
        let figures = |script: &mut Script<Chat>| {
            let shown = |chat: &mut Chat, out: &mut Outbox| chat.figures(out.now());
            script.call(|chat, out| Pairs(&shown(chat, out)).to_string())
        };
        let start = " backplane_lag_ms=0 backplane_pending=0 backplane_reconnects=0 \
                     backplane_duplicates=0 backplane_gaps=0";
        assert_eq!(figures(&mut script), start);
        script.advance(Duration::from_secs(100));
        let notice = Body::Notice {
            room: None,
            text: b"hello",
        };
        script.call(|chat, out| chat.append(notice, out));
        script.advance(Duration::from_millis(1500));
        let now = figures(&mut script);
        assert!(
            now.starts_with(" backplane_lag_ms=1500 backplane_pending=1 "),
            "{now}"
        );
        let mut alone = Script::new(Chat::new(Settings::default(), None));
        assert_eq!(figures(&mut alone), "");
    }

    #[test]
    fn a_stop_is_told_before_the_end() {
        let mut script = shared();
        let [_, writer] = connected(&mut script);
        script.data(writer, b"$3\r\n0-1\r\n*0\r\n");
        script.data(writer, b"$3\r\n5-0\r\n");
        let _ = script.take_output(writer);
        script.stop();
        let told = script.take_output(writer);
        assert!(told.starts_with(b"*8\r\n$4\r\nXADD\r\n$12\r\nedgeloop:log\r\n"));
        assert_eq!(script.closed(writer), None, "it is not acknowledged");
        script.data(writer, b"$3\r\n6-0\r\n");
        assert!(script.closed(writer).is_some());
    }

    #[test]
    fn with_once_the_log_does_not_keep_the_server() {
        let mut script = shared();
        connected(&mut script);
        script.call(|chat, out| chat.on_served(out));
        assert!(script.is_stopped());
    }

    #[test]
    fn a_server_is_the_same_after_a_restart_and_another_one_elsewhere() {
        let at = |addresses: &[&str]| -> Vec<Address> {
            let parse = |address: &&str| address.parse().expect("an address");
            addresses.iter().map(parse).collect()
        };
        let here = at(&["127.0.0.1:7777", "unix:/tmp/chat.sock"]);
        let again = at(&["unix:/tmp/chat.sock", "127.0.0.1:7777"]);
        let [one, two] = [origin("host", &here, 0), origin("host", &again, 0)];
        assert_eq!(one.server, two.server);
        assert_ne!(one.boot, two.boot);
        let elsewhere = at(&["127.0.0.1:7778", "unix:/tmp/chat.sock"]);
        assert_ne!(origin("host", &elsewhere, 0).server, one.server);
        assert_ne!(origin("other", &here, 0).server, one.server);
        assert_ne!(origin("host", &here, 1).server, one.server);
    }
}
