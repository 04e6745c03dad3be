//! Properties of every parser and state machine, as functions of arbitrary bytes.
//!
//! Each function panics if its subject breaks a promise for this input. There are two callers: the
//! fuzz targets in `tests/fuzz`, which search for such an input for hours, and `tests/properties.rs`, which
//! tries random inputs and the committed corpus under `cargo test`. So an input that the fuzzer has
//! found becomes a test by being copied into the corpus.
//!
//! The first bytes of an input choose parameters (`input.rs`); the rest is what the subject
//! gets.

#![allow(clippy::missing_panics_doc, reason = "a property reports by panicking")]

mod address;
mod chat;
mod command_line;
mod editor;
mod harmless;
mod input;
mod lines;
mod load;
mod servers;
mod telnet;
mod web;

pub use self::address::address;
pub use self::chat::chat;
pub use self::command_line::{command_line, values};
pub use self::editor::editor;
pub use self::harmless::harmless_text;
pub use self::lines::lines;
pub use self::load::{load_chat, load_echo};
pub use self::servers::servers;
pub use self::telnet::telnet;
pub use self::web::web;

/// A property, by the name of its fuzz target.
pub type Property = (&'static str, fn(&[u8]));

/// All properties.
pub const ALL: [Property; 12] = [
    ("address", address),
    ("chat", chat),
    ("command_line", command_line),
    ("editor", editor),
    ("harmless_text", harmless_text),
    ("lines", lines),
    ("load_chat", load_chat),
    ("load_echo", load_echo),
    ("servers", servers),
    ("telnet", telnet),
    ("values", values),
    ("web", web),
];
