//! Memory of the chat: a warm chat does not allocate, an idle member is small, and no client can make
//! the chat grow.

#![allow(
    unsafe_code,
    reason = "to count allocations is to implement GlobalAlloc"
)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};

use common::{Client, Party, settings};
use edgeloop::chat::Settings;
use edgeloop_reactor::Limits;
use edgeloop_reactor::process::raise_descriptor_limit;

const MEMBERS: usize = 10;
const WARM_UP_ROUNDS: usize = 30;
const ROUNDS: usize = 300;

#[test]
fn a_line_that_is_heard_by_all_allocates_nothing() {
    // With a rate limit, so that the pace is counted, and with text that is not plain ASCII.
    let settings = Settings {
        rate: 1_000_000,
        burst: 1_000_000,
        ..settings()
    };
    let mut party = Party::new(settings, Limits::default());
    let names = (0..MEMBERS).map(|number| format!("n{number}"));
    let mut clients: Vec<Client> = names.map(|name| party.join(&name)).collect();
    let expected = (MEMBERS - 1) * "[n0] wörds and wörds\n".len();
    skip_all(&mut party, &mut clients);
    let mut allocations = 0;
    for round in 0..WARM_UP_ROUNDS + ROUNDS {
        clients
            .iter_mut()
            .for_each(|client| client.says("wörds\x1b and wörds"));
        let mut heard = vec![0; MEMBERS];
        let before = ALLOCATIONS.get();
        party.until("all have heard all", || {
            for (client, heard) in clients.iter_mut().zip(&mut heard) {
                *heard += skip(client);
            }
            heard.iter().all(|&heard| heard == expected)
        });
        if round >= WARM_UP_ROUNDS {
            allocations += ALLOCATIONS.get() - before;
        }
    }
    assert_eq!(allocations, 0);
}

/// The bound includes the reactor's state for a broadcast to all members, and spare room of tables.
#[test]
fn a_joined_and_idle_member_costs_no_more_than_256_bytes() {
    const MANY: usize = 1_000;
    raise_descriptor_limit().unwrap();
    let limits = Limits {
        max_connections: 2 * MANY,
        ..Limits::default()
    };
    let mut party = Party::new(settings(), limits);
    let mut first = party.join("first");
    let mut clients = Vec::with_capacity(MANY);
    let mut live = 0;
    for number in 0..MANY {
        let (client, used) = counted(|| party.join(&format!("member{number}")));
        clients.push(client);
        live += used;
        live += counted(|| skip_all(&mut party, &mut clients)).1;
        skip(&mut first);
    }
    let each = live / MANY as isize;
    assert!(each <= 256, "{each} bytes");
}

#[test]
fn ten_mebibytes_without_a_newline_take_the_memory_of_a_line() {
    let mut party = Party::new(settings(), Limits::default());
    let mut alice = party.join("alice");
    let mut mallory = party.join("mallory");
    party.next_line(&mut alice);
    let chunk = [b'x'; 1024];
    let mut live = 0;
    for _ in 0..10 * 1024 {
        let ((), used) = counted(|| {
            mallory.stream.write_all(&chunk).unwrap();
            party.turn();
        });
        live += used;
        assert!(live < 64 * 1024, "{live} bytes");
    }
    let heard = party.next_line(&mut alice);
    assert_eq!(heard.len(), "[mallory] ".len() + 4096);
    mallory.says("");
    mallory.says("still here");
    assert_eq!(party.next_line(&mut alice), "[mallory] still here");
}

/// Reads and drops the output that has arrived. Returns its length.
fn skip(client: &mut Client) -> usize {
    let mut buffer = [0; 4096];
    let mut skipped = 0;
    while let Ok(count @ 1..) = client.stream.read(&mut buffer) {
        skipped += count;
    }
    skipped
}

/// Lets all clients read until there is nothing left.
fn skip_all(party: &mut Party, clients: &mut [Client]) {
    party.turn();
    for client in clients {
        skip(client);
    }
}

/// Calls `call`, and returns its result and the bytes that it has left allocated.
fn counted<T>(call: impl FnOnce() -> T) -> (T, isize) {
    let before = LIVE_BYTES.get();
    let result = call();
    (result, LIVE_BYTES.get() - before)
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, which counts the allocations of the current thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(allocations: u64, before: usize, after: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
    // No layout is larger than isize::MAX.
    LIVE_BYTES.set(LIVE_BYTES.get() + after.cast_signed() - before.cast_signed());
}

// SAFETY: every call is passed on to `System` unchanged, and its result is returned. Counting does
// not allocate: the cells are initialised at compile time and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, 0, layout.size());
        // SAFETY: the caller's promises to this method are those that `System` needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, 0, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size(), 0);
        // SAFETY: as in `alloc`; the pointer came from `System`, as all of ours do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, layout.size(), size);
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
