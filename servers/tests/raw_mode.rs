//! `RawMode` and its neighbours on pseudo-terminals.
//!
//! These tests are a program of their own: a panic restores every terminal of the program, so a test
//! that panics on purpose would disturb others.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::{Mutex, MutexGuard, PoisonError};

use edgeloop::terminal::{RawMode, is_capable, width};
use nix::errno::Errno;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{
    InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr,
    tcsetattr,
};

/// The lock that each test holds while it is in raw mode.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pty(columns: u16) -> OpenptyResult {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    openpty(&size, None).expect("openpty")
}

fn mode(terminal: &OwnedFd) -> Termios {
    tcgetattr(terminal).expect("tcgetattr")
}

fn is_raw(terminal: &OwnedFd) -> bool {
    !mode(terminal)
        .local_flags
        .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::IEXTEN)
}

#[test]
fn the_mode_is_entered_and_left() {
    let _alone = alone();
    let pty = pty(80);
    let before = mode(&pty.slave);
    let raw = RawMode::enter(&pty.slave).expect("enter");
    assert!(is_raw(&pty.slave));
    let within = mode(&pty.slave);
    assert!(within.local_flags.contains(LocalFlags::ISIG));
    assert!(within.input_flags.contains(InputFlags::ICRNL));
    assert!(
        within
            .output_flags
            .contains(OutputFlags::OPOST | OutputFlags::ONLCR)
    );
    assert_eq!(within.control_flags, before.control_flags);
    drop(raw);
    assert_eq!(mode(&pty.slave), before);
}

#[test]
fn a_terminal_left_in_disorder_is_put_in_order_and_then_back() {
    let _alone = alone();
    let pty = pty(80);
    let mut disorder = mode(&pty.slave);
    disorder.local_flags.remove(LocalFlags::ISIG);
    disorder.input_flags.remove(InputFlags::ICRNL);
    disorder.output_flags.remove(OutputFlags::OPOST);
    disorder.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
    tcsetattr(&pty.slave, SetArg::TCSANOW, &disorder).expect("tcsetattr");
    let disorder = mode(&pty.slave);
    let raw = RawMode::enter(&pty.slave).expect("enter");
    let within = mode(&pty.slave);
    assert!(within.local_flags.contains(LocalFlags::ISIG));
    assert!(within.input_flags.contains(InputFlags::ICRNL));
    assert!(within.output_flags.contains(OutputFlags::OPOST));
    assert_eq!(
        within.control_chars[SpecialCharacterIndices::VMIN as usize],
        1
    );
    drop(raw);
    assert_eq!(mode(&pty.slave), disorder);
}

#[test]
fn entered_twice_it_is_left_twice() {
    let _alone = alone();
    let (pty, other) = (pty(80), pty(80));
    let before = mode(&pty.slave);
    let outer = RawMode::enter(&pty.slave).expect("enter");
    let elsewhere = RawMode::enter(&other.slave).expect("enter");
    let inner = RawMode::enter(&pty.slave).expect("enter");
    drop(inner);
    assert!(is_raw(&pty.slave));
    drop(outer);
    assert_eq!(mode(&pty.slave), before);
    assert!(is_raw(&other.slave), "one terminal is not another");
    drop(elsewhere);
    assert!(!is_raw(&other.slave));
}

#[test]
fn the_guard_outlives_the_descriptor_it_was_given() {
    let _alone = alone();
    let pty = pty(80);
    let descriptor = pty.slave.try_clone().expect("dup");
    let raw = RawMode::enter(&descriptor).expect("enter");
    drop(descriptor);
    assert!(is_raw(&pty.slave));
    drop(raw);
    assert!(!is_raw(&pty.slave));
}

#[test]
fn what_is_no_terminal_is_an_error() {
    let null = File::open("/dev/null").expect("/dev/null");
    let error = RawMode::enter(&null).expect_err("no terminal");
    assert_eq!(error.raw_os_error(), Some(Errno::ENOTTY as i32));
}

#[test]
fn a_panic_restores_the_mode_without_a_guard_being_dropped() {
    let _alone = alone();
    let pty = pty(80);
    let before = mode(&pty.slave);
    let outer = RawMode::enter(&pty.slave).expect("enter");
    let inner = RawMode::enter(&pty.slave).expect("enter");
    assert!(panic::catch_unwind(|| panic!("on purpose")).is_err());
    assert_eq!(mode(&pty.slave), before);
    drop((inner, outer));
}

#[test]
fn the_width_is_the_terminals_or_the_usual_one() {
    assert_eq!(width(&pty(132).slave), 132);
    assert_eq!(width(&pty(0).slave), 80, "as a serial line has it");
    assert_eq!(width(File::open("/dev/null").expect("/dev/null")), 80);
}

#[test]
fn editing_takes_two_terminals_that_can_move_their_cursor() {
    let pty = pty(80);
    let null = OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
    let (terminal, null) = (pty.slave.as_fd(), null.as_fd());
    for (input, output, term, expected) in [
        (terminal, terminal, Some("xterm-256color"), true),
        (terminal, terminal, Some("linux"), true),
        (terminal, terminal, Some("dumb"), false),
        (terminal, terminal, Some(""), false),
        (terminal, terminal, None, false),
        (null, terminal, Some("xterm"), false),
        (terminal, null, Some("xterm"), false),
    ] {
        assert_eq!(
            is_capable(&input, &output, term.map(OsStr::new)),
            expected,
            "{term:?}"
        );
    }
}
