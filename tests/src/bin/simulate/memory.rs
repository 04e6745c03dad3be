//! Memory that the server holds: what its thread has allocated and not freed, without the world's own.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe; this one counts, and leaves the rest to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes.
    static HELD: Cell<i64> = const { Cell::new(0) };
    /// The world is at work, whose memory does not count.
    static IN_WORLD: Cell<bool> = const { Cell::new(false) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The system's allocator, counted.
struct Counting;

/// Bytes that this thread holds outside of its world.
pub(crate) fn held() -> i64 {
    HELD.get()
}

/// Does something whose memory does not count.
pub(crate) fn uncounted<R>(act: impl FnOnce() -> R) -> R {
    let before = IN_WORLD.try_with(|is| is.replace(true)).unwrap_or(true);
    let result = act();
    let _ = IN_WORLD.try_with(|is| is.set(before));
    result
}

fn count(bytes: i64) {
    if !IN_WORLD.try_with(Cell::get).unwrap_or(true) {
        let _ = HELD.try_with(|held| held.set(held.get() + bytes));
    }
}

// SAFETY: each call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's memory, and its layout.
        unsafe { System.dealloc(start, layout) };
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's memory, and its layout.
        unsafe { System.realloc(start, layout, size) }
    }
}
