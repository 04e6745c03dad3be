//! What differs from one record to the next.

/// What is recorded, and how its troubles are told.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its name in a complaint.
    pub(crate) name: &'static str,
    /// The line that stands for so many lost ones, its end included.
    pub(crate) gap: fn(u64) -> String,
    /// Where complaints go, which must be elsewhere than here.
    pub(crate) complain: fn(&str),
    /// Hears how many lines were lost when that is over, and written.
    pub(crate) resumed: fn(u64),
}
