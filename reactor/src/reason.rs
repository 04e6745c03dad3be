//! Errors in words, for messages to users.

use std::error::Error;
use std::fmt;
use std::io;

use nix::errno::Errno;

/// The text of an error without the number that the standard library appends to it: `Address
/// already in use` rather than `Address already in use (os error 98)`.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => SystemError::new(number).reason().to_owned(),
        None => error.to_string(),
    }
}

/// The error of a system call: its number (errno(3)), which prints as words.
///
/// It holds an enum rather than an integer, so that [`Closed`](crate::Closed) has room for its other
/// causes in the same four bytes: results that hold one are returned in a register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SystemError(Errno);

impl SystemError {
    /// The error with this number, such as `libc::ECONNREFUSED`. A number that Linux does not use
    /// becomes 0.
    #[must_use]
    pub const fn new(number: i32) -> SystemError {
        SystemError(Errno::from_raw(number))
    }

    pub(crate) const fn of(errno: Errno) -> SystemError {
        SystemError(errno)
    }

    /// Its number.
    #[must_use]
    pub const fn raw_os_error(self) -> i32 {
        self.0 as i32
    }

    /// The error in words, for logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.0.desc()
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason())
    }
}

impl fmt::Debug for SystemError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl Error for SystemError {}

impl From<SystemError> for io::Error {
    fn from(error: SystemError) -> io::Error {
        io::Error::from_raw_os_error(error.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_and_others_have_words() {
        let in_use = SystemError::new(libc::EADDRINUSE);
        assert_eq!(
            format!("{in_use}, {in_use:?}"),
            "Address already in use, EADDRINUSE"
        );
        let error = io::Error::from(in_use);
        assert_eq!(reason(&error), in_use.to_string());
        assert_eq!(error.raw_os_error(), Some(in_use.raw_os_error()));
        assert_eq!(reason(&io::Error::other("no luck")), "no luck");
    }

    #[test]
    fn a_cause_fits_into_four_bytes() {
        assert_eq!(size_of::<crate::Closed>(), 4);
    }
}
