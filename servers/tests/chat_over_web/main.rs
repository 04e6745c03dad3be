//! The chat with its site in front of it, without sockets: members that are pages, those that are not,
//! and pages that lose their connection and come back.

mod keeping;
mod losses;
mod members;
mod party;
mod returning;
