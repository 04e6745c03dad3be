//! The kinds of descriptors that a reactor waits for, and the addresses that they have.
//!
//! | file | subject |
//! |---|---|
//! | `address.rs` | addresses as users write them and as the kernel wants them |
//! | `bound.rs` | sockets that are bound and do not serve yet |
//! | `listener.rs` | accept(2) and its errors |
//! | `fd.rs` | streams: sockets, pipes, terminals, files |
//! | `udp.rs` | datagrams |
//! | `signals.rs`, `waker.rs` | signals and requests of other threads, as events |
//! | `jobs.rs` | whether this process may use its terminal |
//! | `descriptors.rs` | how many descriptors there are, and one in reserve |

pub(crate) mod address;
pub(crate) mod bound;
pub(crate) mod descriptors;
pub(crate) mod fd;
pub(crate) mod jobs;
pub(crate) mod listener;
pub(crate) mod signals;
pub(crate) mod udp;
pub(crate) mod waker;
