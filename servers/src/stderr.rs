//! Standard error, which nothing waits for: whoever looks at it cannot stop a program by looking
//! away. A line that a full pipe or a stopped terminal does not take in time is dropped, and counted.

use std::io::{self, Write};
use std::sync::OnceLock;

use crate::recorder::{Record, Recorder};

const MESSAGES: Record = Record {
    name: "messages",
    gap: |lines| format!("lines missing here: {lines}\n"),
    // Where else?
    complain: |_| {},
};

/// Started by the first line; `None` if that was not possible.
static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();

/// Writes one line, whose end is added.
pub fn say(line: &str) {
    write(format!("{line}\n").as_bytes());
}

/// Writes these bytes in one piece, if they are no more than a line may have. Unless they draw on a
/// terminal, they end in a newline.
pub(crate) fn write(bytes: &[u8]) {
    match recorder() {
        Some(recorder) => recorder.line(bytes),
        // There is no thread or descriptor left, which is what is to be said, and the end.
        None => drop(io::stderr().write_all(bytes)),
    }
}

/// Starts what the first line would start. Before a process forks this must have been called.
pub(crate) fn start() {
    let _ = recorder();
}

fn recorder() -> &'static Option<Recorder> {
    RECORDER.get_or_init(|| Recorder::of_stderr(&MESSAGES).ok())
}

/// At the end of the program: waits until all is written, as long as [`ending`](crate::ending)
/// allows.
pub fn finish() {
    if let Some(Some(recorder)) = RECORDER.get() {
        recorder.finish(&[]);
    }
}
