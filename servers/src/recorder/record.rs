//! A kind of record: the log, the transcript, messages on standard error.

/// A kind of record: its name, and its words for trouble.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its name in a complaint.
    pub(crate) name: &'static str,
    /// Makes the line that stands for this number of lost lines, its end included.
    pub(crate) gap: fn(u64) -> String,
    /// Tells a complaint, in another place than this record.
    pub(crate) complain: fn(&str),
    /// Called with the number of lost lines when the line that stands for them is written.
    pub(crate) resumed: fn(u64),
}
