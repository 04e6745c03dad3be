//! Many datagrams per system call: `recvmmsg(2)` and `sendmmsg(2)`.
//!
//! The kernel wants an array of headers, each pointing at an address, a buffer and control data.
//! [`Batch`] allocates the four arrays once and aims the pointers at every call, so the batch
//! itself can move.

use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use crate::address::to_socket_addr;

/// Datagrams per call: 64 make the cost of the call itself vanish, and more only add latency.
pub(crate) const BATCH: usize = 64;
/// The largest datagram IPv4 or IPv6 carries without jumbograms, rounded up to whole pages.
pub(crate) const DATAGRAM_MAX: usize = 64 * 1024;
/// Room for one `IP_PKTINFO` or `IPV6_PKTINFO` message.
const CONTROL_MAX: usize = 64;

/// Control data must be aligned like the `cmsghdr` at its start (cmsg(3)).
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_MAX]);

/// Where a datagram came from and how long it and its control data are.
#[derive(Clone, Copy)]
struct Meta {
    address: libc::sockaddr_storage,
    address_len: libc::socklen_t,
    data_len: usize,
    control_len: usize,
}

/// [`BATCH`] datagrams, received together and answered together from where they lie.
pub(crate) struct Batch {
    /// One allocation of zero pages: a slot that only ever sees short datagrams costs one page of
    /// memory.
    data: Vec<u8>,
    meta: Vec<Meta>,
    control: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    slices: Vec<libc::iovec>,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        // SAFETY: these are plain C structures, for which all zeroes is a valid value.
        let (meta, header, slice) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Batch {
            data: vec![0; BATCH * DATAGRAM_MAX],
            meta: vec![meta; BATCH],
            control: vec![Control([0; CONTROL_MAX]); BATCH],
            headers: vec![header; BATCH],
            slices: vec![slice; BATCH],
        }
    }

    /// The bytes of datagram `slot`, as received or as a protocol changed them.
    pub(crate) fn data_mut(&mut self, slot: usize) -> &mut [u8] {
        let start = slot * DATAGRAM_MAX;
        &mut self.data[start..start + self.meta[slot].data_len]
    }

    /// Who sent datagram `slot`; `None` for an address family we do not know.
    pub(crate) fn from(&self, slot: usize) -> Option<SocketAddr> {
        let meta = &self.meta[slot];
        // SAFETY: `address` was filled by the kernel, with `address_len` bytes of it valid.
        let storage = unsafe {
            SockaddrStorage::from_raw((&raw const meta.address).cast(), Some(meta.address_len))
        };
        storage.as_ref().and_then(to_socket_addr)
    }

    /// `recvmmsg(2)` without waiting: how many slots, from 0 on, now hold a datagram.
    pub(crate) fn receive(&mut self, fd: BorrowedFd) -> Result<usize> {
        for slot in 0..BATCH {
            self.meta[slot].address_len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            self.meta[slot].data_len = DATAGRAM_MAX;
            self.meta[slot].control_len = CONTROL_MAX;
            self.aim(slot, slot);
        }
        let (headers, room) = (self.headers.as_mut_ptr(), BATCH as libc::c_uint);
        // SAFETY: `aim` made each of the `room` headers point into our own arrays, none of which
        // moves or is touched during the call, with the lengths that those arrays have.
        let count = Errno::result(unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers,
                room,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        })? as usize;
        for slot in 0..count {
            let header = &self.headers[slot];
            self.meta[slot].address_len = header.msg_hdr.msg_namelen;
            self.meta[slot].control_len = header.msg_hdr.msg_controllen;
            self.meta[slot].data_len = (header.msg_len as usize).min(DATAGRAM_MAX);
            self.control[slot].forget_interface(header.msg_hdr.msg_controllen);
        }
        Ok(count)
    }

    /// `sendmmsg(2)` without waiting: sends each of `slots` back to where it came from, from the
    /// local address it was sent to; how many, counted from the first, the kernel took.
    pub(crate) fn send_back(&mut self, fd: BorrowedFd, slots: &[u8]) -> Result<usize> {
        for (header, &slot) in slots.iter().enumerate() {
            self.aim(header, slot.into());
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: as in `receive`; `slots` holds at most BATCH entries, or `aim` would have
        // panicked.
        let count = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                slots.len() as libc::c_uint,
                flags,
            )
        };
        Errno::result(count).map(|count| count as usize)
    }

    /// Points header number `header` at the address, data and control data of `slot`.
    fn aim(&mut self, header: usize, slot: usize) {
        let (start, meta) = (slot * DATAGRAM_MAX, &mut self.meta[slot]);
        self.slices[header].iov_base = self.data[start..start + meta.data_len].as_mut_ptr().cast();
        self.slices[header].iov_len = meta.data_len;
        let message = &mut self.headers[header].msg_hdr;
        message.msg_name = (&raw mut meta.address).cast();
        message.msg_namelen = meta.address_len;
        message.msg_iov = &raw mut self.slices[header];
        message.msg_iovlen = 1;
        message.msg_control = match meta.control_len {
            0 => ptr::null_mut(),
            _ => self.control[slot].0.as_mut_ptr().cast(),
        };
        message.msg_controllen = meta.control_len;
    }
}

impl Control {
    /// What a received `IP_PKTINFO` says can be sent back as it is, to answer from the address that
    /// was asked, but for the interface: the way back is the routing table's affair.
    fn forget_interface(&mut self, length: usize) {
        let info = size_of::<libc::cmsghdr>();
        if length < info + size_of::<libc::in_pktinfo>() {
            return;
        }
        let int =
            |at: usize| i32::from_ne_bytes(self.0[at..at + 4].try_into().expect("four bytes"));
        let kind = (
            int(mem::offset_of!(libc::cmsghdr, cmsg_level)),
            int(mem::offset_of!(libc::cmsghdr, cmsg_type)),
        );
        let interface = match kind {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                info + mem::offset_of!(libc::in_pktinfo, ipi_ifindex)
            }
            // A link-local IPv6 address means nothing without its interface (ipv6(7)).
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if self.0[info..info + 2] != [0xfe, 0x80] => {
                info + mem::offset_of!(libc::in6_pktinfo, ipi6_ifindex)
            }
            _ => return,
        };
        self.0[interface..interface + 4].fill(0);
    }
}
