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

use crate::sources::address::to_socket_addr;

/// Datagrams per call: 64 make the cost of the call itself vanish, and more only add latency.
pub(crate) const BATCH: usize = 64;
/// The largest datagram IPv4 or IPv6 carries without jumbograms, rounded up to whole pages.
pub(crate) const DATAGRAM_MAX: usize = 64 * 1024;
/// Room for the messages of one datagram: `IPV6_PKTINFO`, or the shorter `IP_PKTINFO`, and a time to
/// live. An IPv4 datagram on a dual-stack socket comes with `IPV6_PKTINFO` and `IP_TTL`.
const CONTROL_MAX: usize = 64;
/// The length of a control message's header (cmsg(3)).
const HEADER: usize = size_of::<libc::cmsghdr>();

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
    /// The datagram came with a time to live of 1: an answer would leave with none.
    expired: bool,
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

// SAFETY: the pointers in the headers lead into the batch's own arrays. Each call aims them anew, and
// nothing follows them between calls, so they do not tie the batch to a thread.
unsafe impl Send for Batch {}

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

    /// Whether datagram `slot` has used up its time to live, so that nothing may be sent back.
    pub(crate) fn is_expired(&self, slot: usize) -> bool {
        self.meta[slot].expired
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
            let may_return = self.control[slot].turn_round(header.msg_hdr.msg_controllen);
            self.meta[slot].expired = !may_return;
        }
        Ok(count)
    }

    /// `sendmmsg(2)` without waiting: sends each of `slots` back to where it came from, from the
    /// local address it was sent to and with its time to live less one; how many, counted from the
    /// first, the kernel took.
    pub(crate) fn send_back(&mut self, fd: BorrowedFd, slots: &[u8]) -> Result<usize> {
        for (header, &slot) in slots.iter().enumerate() {
            self.aim(header, slot.into());
        }
        // SAFETY: as in `receive`: `aim` has seen to each of these headers.
        unsafe { sendmmsg(fd, &mut self.headers[..slots.len()]) }
    }

    /// `sendmmsg(2)` without waiting: sends datagrams that lie elsewhere, the first [`BATCH`] of them;
    /// how many the kernel took. What was received stays.
    pub(crate) fn send<'a>(
        &mut self,
        fd: BorrowedFd,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Result<usize> {
        let mut names = [None; BATCH];
        let mut count = 0;
        for (place, (to, bytes)) in names.iter_mut().zip(datagrams) {
            let name = place.insert(SockaddrStorage::from(to));
            self.slices[count].iov_base = bytes.as_ptr().cast_mut().cast();
            self.slices[count].iov_len = bytes.len();
            let message = &mut self.headers[count].msg_hdr;
            message.msg_name = name.as_ptr().cast_mut().cast();
            message.msg_namelen = name.len();
            message.msg_iov = &raw mut self.slices[count];
            message.msg_iovlen = 1;
            message.msg_control = ptr::null_mut();
            message.msg_controllen = 0;
            count += 1;
        }
        // SAFETY: each of these headers points to a name in `names`, which stays where it is, and to bytes
        // that are borrowed for longer than the call; the kernel changes neither.
        unsafe { sendmmsg(fd, &mut self.headers[..count]) }
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

/// `sendmmsg(2)` without waiting: how many, counted from the first, the kernel took. Each header has to
/// lead to memory of the lengths that it says.
unsafe fn sendmmsg(fd: BorrowedFd, headers: &mut [libc::mmsghdr]) -> Result<usize> {
    let (count, flags) = (
        headers.len() as libc::c_uint,
        libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
    );
    // SAFETY: the caller has seen to the headers.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, flags) };
    Errno::result(sent).map(|sent| sent as usize)
}

impl Control {
    /// Makes what the kernel tells of a received datagram, `length` bytes of control messages, what
    /// the answer is sent with. False if its time to live is used up and no answer may be sent.
    fn turn_round(&mut self, length: usize) -> bool {
        let mut may_return = true;
        let mut at = 0;
        while let Some((kind, data)) = self.message(at, length) {
            match kind {
                // The answer leaves from the address that was asked, but by the interface that the
                // routing table chooses.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    clear_int(data, mem::offset_of!(libc::in_pktinfo, ipi_ifindex));
                }
                // A link-local IPv6 address means nothing without its interface (ipv6(7)).
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if !data.starts_with(&[0xfe, 0x80]) => {
                    clear_int(data, mem::offset_of!(libc::in6_pktinfo, ipi6_ifindex));
                }
                // Two servers that answer each other come to an end when this does.
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    may_return &= take_a_hop(data);
                }
                _ => {}
            }
            at += (HEADER + data.len()).next_multiple_of(align_of::<libc::cmsghdr>());
        }
        may_return
    }

    /// The control message at `at`: its level and type, and its data.
    fn message(&mut self, at: usize, length: usize) -> Option<((i32, i32), &mut [u8])> {
        let message = self.0[..length].get_mut(at..)?;
        let (header, data) = message.split_at_mut_checked(HEADER)?;
        let int = |at: usize| int_at(header, at);
        let kind = (
            int(mem::offset_of!(libc::cmsghdr, cmsg_level))?,
            int(mem::offset_of!(libc::cmsghdr, cmsg_type))?,
        );
        let size = usize::from_ne_bytes(*header.first_chunk()?);
        Some((kind, data.get_mut(..size.checked_sub(HEADER)?)?))
    }
}

/// The int at `at`, if the bytes reach so far.
fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(i32::from_ne_bytes)
}

fn clear_int(data: &mut [u8], at: usize) {
    if let Some(int) = data.get_mut(at..at + size_of::<i32>()) {
        int.fill(0);
    }
}

/// Lowers a time to live by one; false if that leaves none.
fn take_a_hop(data: &mut [u8]) -> bool {
    let left = int_at(data, 0).map_or(0, |hops| hops - 1);
    if let Some(int) = data.first_chunk_mut() {
        *int = left.to_ne_bytes();
    }
    left > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: (i32, i32) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);

    /// Control messages as the kernel writes them, and their length.
    fn control(messages: &[((i32, i32), &[u8])]) -> (Control, usize) {
        let mut bytes = Vec::new();
        for ((level, kind), data) in messages {
            bytes.extend((HEADER + data.len()).to_ne_bytes());
            bytes.extend([level.to_ne_bytes(), kind.to_ne_bytes()].concat());
            bytes.extend(*data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let mut control = Control([0; CONTROL_MAX]);
        control.0[..bytes.len()].copy_from_slice(&bytes);
        (control, bytes.len())
    }

    #[test]
    fn an_answer_has_one_hop_less_wherever_the_message_stands() {
        let info = [0; size_of::<libc::in6_pktinfo>()];
        for hops_of in [
            (libc::IPPROTO_IP, libc::IP_TTL),
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
        ] {
            for (hops, left) in [(255, 254), (64, 63), (2, 1), (1, 0), (0, -1)] {
                let with = |hops: i32| {
                    let hops = hops.to_ne_bytes();
                    let (info, hops) = ((INFO, &info[..]), (hops_of, &hops[..]));
                    [control(&[hops]), control(&[info, hops])]
                };
                for ((mut turned, length), (expected, _)) in with(hops).into_iter().zip(with(left))
                {
                    assert_eq!(turned.turn_round(length), left > 0, "{hops}");
                    assert_eq!(turned.0, expected.0);
                }
            }
        }
    }

    #[test]
    fn an_answer_keeps_its_address_and_its_interface_only_where_that_is_link_local() {
        for (first, kept) in [([0xfe, 0x80], true), ([0x20, 0x01], false)] {
            let mut info = [7; size_of::<libc::in6_pktinfo>()];
            info[..2].copy_from_slice(&first);
            let (mut turned, length) = control(&[(INFO, &info)]);
            if !kept {
                info[16..].fill(0);
            }
            assert!(turned.turn_round(length), "nothing is known of its hops");
            assert_eq!(turned.0, control(&[(INFO, &info)]).0.0);
        }
    }

    #[test]
    fn messages_that_are_cut_short_are_left_alone() {
        let hops = 1_i32.to_ne_bytes();
        let (whole, length) = control(&[((libc::IPPROTO_IP, libc::IP_TTL), &hops)]);
        for length in 0..length - 4 {
            let mut cut = whole;
            assert!(cut.turn_round(length));
            assert_eq!(cut.0, whole.0);
        }
    }
}
