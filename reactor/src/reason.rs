//! Errors in words, for messages to users.

use std::io;

use nix::errno::Errno;

/// The text of an error without the number that the standard library appends to it: `Address
/// already in use` rather than `Address already in use (os error 98)`.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_and_others_have_words() {
        assert_eq!(reason(&Errno::EADDRINUSE.into()), "Address already in use");
        assert_eq!(reason(&io::Error::other("no luck")), "no luck");
    }
}
