//! The base of a chat that runs on several cores or machines: one log of all that happens.
//!
//! *A server shows only what it reads back.* Whatever a member wants to happen is appended to the log as
//! an [`Entry`](entry::Entry); it happens, on every server, when the entry is read. All servers read the
//! same entries in the same order, and compute the same from them. The order is that of an existing
//! engine (one stream in Redis); nothing here is a consensus algorithm.
//!
//! The chat appends what its members and its operator do, and does what it reads. Alone, it has a
//! [`Local`](local::Local) log, and its own tables are the whole state. With `--workers` or `--backplane`
//! it has a [`Replica`](replica::Replica) too, whose [`Membership`](membership::Membership) has the members
//! of all servers, and its own tables are about those that it serves.
//!
//! # One entry, from a member to all
//!
//! 1. The chat appends a [`Body`](entry::Body) to its [`Log`](log::Log), and tells the author nothing.
//! 2. [`Local`](local::Local) returns it: it has happened. The other logs encode it (`encoding.rs`) and
//!    send it with others (`outgoing.rs`), and it happens when [`Log::next`](log::Log::next) returns it:
//!    [`Shared`](shared::Shared) for the reactors of one process, [`RedisLog`](redis::RedisLog) for
//!    several machines, [`Faulty`](faulty::Faulty) in simulations.
//! 3. The [`Replica`](replica::Replica) applies it to the [`Membership`](membership::Membership), drops
//!    duplicates, notices gaps, and tells the chat the entry with its
//!    [`Effect`](membership::Effect): who has joined, left, got a name or lost it.
//! 4. The chat shows that to its own members. So the author's server does as well, at the same place in
//!    the order as all others.
//!
//! # Which entry is for what
//!
//! | in the chat | entry |
//! |---|---|
//! | a newcomer gives a name | `Join`: the claim of the name, and the step into the lobby if it wins |
//! | a connection ends; `/quit`, with or without words; a browser leaves, or does not return in time | `Leave`, one for all that leave in one turn |
//! | `/join ROOM` | `Move` |
//! | `/nick NAME` | `Rename`, a claim too |
//! | a line, `//TEXT` | `Line`, said |
//! | `/me TEXT` | `Line`, as an act |
//! | `/msg NAME TEXT` | `Whisper`: shown to its two parties, in no history and no transcript |
//! | `/who`, `/rooms`, `/help`, the message of the day | none: each server answers from its own copy |
//! | `/ignore NAME` | none: the list stays with the member's server, which follows each `Rename`, and goes along in `Resume` |
//! | the operator's line | `Notice`, for one room or all |
//! | `/kick`, `/ban`, `/unban` | `Ban`, `Unban`; the member that a `Ban` hits has left by it |
//! | the operator's `/who`, `/join` | none |
//! | a browser returns to its server | none: the membership never left |
//! | a browser returns to another server | `Takeover`, and `Resume` with what its former server remembers |
//! | history | each server keeps the `Line`s that it reads; those before its start are told as old |
//! | transcripts | what is shown, with the time of the entry's [`Position`](entry::Position), so that all are equal |
//! | rate limits, gates, queues, summaries of steps | none: a line waits *before* it is appended, and each server sums steps up for its own members |
//! | a room has members that do not take what they are told | `Behind`, about once a second: the gates of all servers are those of a room that is behind |
//! | a server starts, stops, is silent, is back | `Start`, `Stop`, `Gone`, `Announce` |
//! | a server that has not read the whole log | `Ask`, `Snapshot`, `Reset` |
//!
//! # What is promised
//!
//! - *Order.* All servers tell the same lines in the same order.
//! - *Once.* Each entry takes effect once, and each line is told once, on each server. An entry carries its
//!   server, the run of that server, and its sequence; a server that reads it a second time drops it.
//! - *Nothing is lost* but with the server that was to append it, or by a log that loses what it has
//!   acknowledged. An entry is kept until it is read back, and sent again if it is not in the log.
//! - *Gaps are told.* A server that has missed entries knows it: the one it has read last is not there
//!   any more, or a sequence is left out. Where nothing follows, nothing can be known: if a log loses all
//!   that a server said last, before others have read it, and that server is gone too, no reader can tell.
//! - *One name, one member.* The first claim in the log wins.
//! - After a gap a server may tell a line late, where its duplicate came, if the first one was trimmed
//!   before it was read.
//!
//! A reader of the log reads everything: whispers, the addresses of members (so that bans hold on
//! every server), and digests of browsers' tokens.
//!
//! # Where to read
//!
//! | file | subject |
//! |---|---|
//! | `entry.rs` | entries: the words of the log |
//! | `encoding.rs`, `encoding/wire.rs` | their bytes |
//! | `log.rs` | the log as a chat sees it |
//! | `local.rs`, `shared.rs` | logs of one reactor, and of the reactors of a process |
//! | `outgoing.rs` | how an entry gets into a log once |
//! | `redis.rs`, `redis/` | a log in Redis, and its client |
//! | `faulty.rs`, `random.rs` | a log with faults, for simulations |
//! | `membership.rs`, `membership/` | the state that follows from the log |
//! | `presence.rs` | which servers live |
//! | `replica.rs`, `replica/syncing.rs` | one server's copy of the state; how it is lost and found again |
//!
//! `tests/backplane_simulation.rs` runs many servers over a log with faults, from seeds;
//! `chat/tests/several.rs` does the same with whole chats;
//! `tests/tests/backplane_redis.rs` runs the client against a real Redis.

pub mod encoding;
pub mod entry;
pub mod faulty;
pub mod local;
pub mod log;
pub mod membership;
mod outgoing;
mod presence;
pub mod random;
pub mod redis;
pub mod replica;
pub mod shared;
