//! The kinds of descriptors that a reactor waits for, and where they lead.

pub(crate) mod address;
pub(crate) mod bound;
pub(crate) mod descriptors;
pub(crate) mod fd;
pub(crate) mod jobs;
pub(crate) mod listener;
pub(crate) mod signals;
pub(crate) mod udp;
pub(crate) mod waker;
