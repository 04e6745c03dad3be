//! The log of a server on one reactor: an entry happens as soon as it is appended.

use std::time::Duration;

use super::entry::{Body, Entry, Origin, Position, Stamp};
use super::log::{Log, Read};

/// A log that no other server reads. Nothing is encoded, copied or kept.
#[derive(Clone, Debug)]
pub struct Local {
    origin: Origin,
    seq: u64,
    last: Position,
}

impl Local {
    /// The log of this server.
    #[must_use]
    pub fn new(origin: Origin) -> Local {
        Local {
            origin,
            seq: 0,
            last: Position::START,
        }
    }
}

impl Log for Local {
    fn append<'a>(&mut self, body: Body<'a>, now: Duration) -> Option<Entry<'a>> {
        self.seq += 1;
        self.last = self.last.next(now);
        let stamp = Stamp {
            origin: self.origin,
            seq: self.seq,
        };
        let at = self.last;
        Some(Entry { stamp, at, body })
    }

    fn next(&mut self) -> Option<Read> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_when_it_is_appended() {
        let mut log = Local::new(Origin::default());
        let text = b"hello".to_vec();
        let mut append = |text, millis| {
            let body = Body::Notice { room: None, text };
            let now = Duration::from_millis(millis);
            log.append(body, now).expect("at once")
        };
        let first = append(&text[..], 5);
        let Body::Notice { text: passed, .. } = first.body else {
            panic!("{first:?}");
        };
        assert!(
            std::ptr::eq(passed, &raw const text[..]),
            "it was not copied"
        );
        let later: Vec<_> = [5, 4, 6].map(|millis| append(b"", millis)).into();
        let at: Vec<String> = later.iter().map(|entry| entry.at.to_string()).collect();
        assert_eq!(at, ["5-1", "5-2", "6-0"], "the clock never goes back");
        let seqs: Vec<u64> = later.iter().map(|entry| entry.stamp.seq).collect();
        assert_eq!(seqs, [2, 3, 4]);
        assert_eq!(log.next(), None);
    }
}
