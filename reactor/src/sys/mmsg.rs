//! Many datagrams per system call: `recvmmsg(2)` and `sendmmsg(2)`.
//!
//! A server that answers small datagrams spends most of its time on entering and leaving the
//! kernel, so a call that moves 64 of them costs little more than one that moves one. For such a
//! call the kernel wants an array of headers, each of which points at an address, at a list of
//! buffers and at control data (ancillary data, cmsg(3)). [`Batch`] allocates these arrays once.
//!
//! An answer is sent from where its question lies: [`Batch::send_back`] uses the address, the data
//! and the control data that [`Batch::receive`] left in a slot. Nothing is copied. The control
//! data, which says by which local address and with which time to live the question arrived, is
//! turned in place into the form that sendmmsg(2) expects ([`Control::turn_round`]).
//!
//! Two things could go wrong. The arrays point at one another, and pointers that are kept would
//! dangle once the batch moves: so the pointers are set anew before every call, and are never
//! followed between calls. Control data is written by the kernel, but its lengths are checked all
//! the same: a message that does not fit is left alone.

use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::Result;
use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::{SEND_FLAGS, socket_addr};

/// Datagrams in one call. With 64 the cost of the call itself hardly shows any more; a larger batch
/// would only add latency for its first datagram.
pub(crate) const BATCH: usize = 64;
/// Bytes of one slot: the largest UDP datagram, 65,507 bytes over IPv4 and 65,527 over IPv6,
/// rounded up to whole pages. Jumbograms (RFC 2675) are not supported.
pub(crate) const DATAGRAM_MAX: usize = 64 * 1024;
/// Bytes of control data that one datagram may have: `IPV6_PKTINFO` or the shorter `IP_PKTINFO`,
/// and a time to live. An IPv4 datagram on a dual-stack socket comes with `IPV6_PKTINFO` and
/// `IP_TTL`.
const CONTROL_MAX: usize = 64;
/// Bytes of a control message's header (cmsg(3)).
const HEADER: usize = size_of::<libc::cmsghdr>();

/// The control data of one slot. The kernel wants it aligned like the `cmsghdr` at its start
/// (cmsg(3)).
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_MAX]);

/// The sender of the datagram in a slot, and the lengths of its parts in bytes.
#[derive(Clone, Copy)]
struct Meta {
    /// Room for an address of either family; that of IPv4 is the shorter one.
    address: libc::sockaddr_in6,
    address_len: libc::socklen_t,
    data_len: usize,
    control_len: usize,
    /// The datagram arrived with a time to live of 1: its answer would have none left.
    expired: bool,
}

/// Room for [`BATCH`] datagrams, received together and answered together from where they lie.
///
/// Slot `n` is entry `n` of `data`, `meta` and `control`. `headers` and `slices` are scratch space
/// for one call: after [`Batch::receive`] header `n` describes slot `n`; [`Batch::send_back`] fills
/// as many headers as there are answers, each with the slot of its answer.
pub(crate) struct Batch {
    /// 4 MiB of address space. The pages are zero and untouched at first: a slot that only ever
    /// holds short datagrams uses one page of memory.
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

    /// The bytes of the datagram in `slot`, as received or as a protocol changed them.
    pub(crate) fn data_mut(&mut self, slot: usize) -> &mut [u8] {
        let start = slot * DATAGRAM_MAX;
        &mut self.data[start..start + self.meta[slot].data_len]
    }

    /// The sender of the datagram in `slot`; `None` for an address family other than IPv4 and IPv6.
    pub(crate) fn from(&self, slot: usize) -> Option<SocketAddr> {
        socket_addr(&self.meta[slot].address)
    }

    /// Whether the datagram in `slot` has used up its time to live, so that it may not be answered.
    pub(crate) fn is_expired(&self, slot: usize) -> bool {
        self.meta[slot].expired
    }

    /// `recvmmsg(2)` without waiting. Returns the number of slots, from 0 on, that now hold a
    /// datagram. Fewer than [`BATCH`]: the socket was drained, or an error cut the batch short and
    /// is returned by the next call. Errors: `EAGAIN` if there was no datagram, and the pending
    /// error of an earlier one (udp(7)).
    pub(crate) fn receive(&mut self, fd: BorrowedFd) -> Result<usize> {
        for slot in 0..BATCH {
            self.meta[slot].address_len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            self.meta[slot].data_len = DATAGRAM_MAX;
            self.meta[slot].control_len = CONTROL_MAX;
            self.aim(slot, slot);
        }
        let (headers, room) = (self.headers.as_mut_ptr(), BATCH as libc::c_uint);
        // SAFETY: `aim` made each of the `room` headers point into the batch's own arrays, none of
        // which moves or is touched during the call, with the lengths that those arrays have.
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

    /// `sendmmsg(2)` without waiting: sends the datagram in each of `slots`, at most [`BATCH`],
    /// back to its sender, from the local address that it was sent to and with its time to live
    /// less one. Returns the number of datagrams that the kernel took, counted from the first. An
    /// error is about the first datagram only.
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

    /// Points header number `header` at the address, data and control data of `slot`, with the
    /// lengths in `meta`.
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
    let (count, flags) = (headers.len() as libc::c_uint, SEND_FLAGS.bits());
    // SAFETY: the caller has seen to the headers.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, flags) };
    Errno::result(sent).map(|sent| sent as usize)
}

impl Control {
    /// Turns the control messages of a received datagram, `length` bytes, into those of its answer.
    /// Returns false if the time to live is used up, so that no answer may be sent.
    fn turn_round(&mut self, length: usize) -> bool {
        let mut may_return = true;
        let mut at = 0;
        while let Some((kind, data)) = self.message(at, length) {
            match kind {
                // The answer leaves from the local address that the question was sent to, but the
                // routing table chooses the interface.
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    clear_int(data, mem::offset_of!(libc::in_pktinfo, ipi_ifindex));
                }
                // A link-local IPv6 address keeps its interface, without which it is ambiguous
                // (ipv6(7)).
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if !data.starts_with(&[0xfe, 0x80]) => {
                    clear_int(data, mem::offset_of!(libc::in6_pktinfo, ipi6_ifindex));
                }
                // The hops that are left bound how often two servers can answer each other.
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    may_return &= take_a_hop(data);
                }
                _ => {}
            }
            at += (HEADER + data.len()).next_multiple_of(align_of::<libc::cmsghdr>());
        }
        may_return
    }

    /// The control message at offset `at` of `length` bytes: its level and type, and its data.
    /// `None` at the end, and for a message that is cut short.
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

/// The C int at offset `at`, if there are enough bytes.
fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(i32::from_ne_bytes)
}

/// Sets the C int at offset `at` to 0, if there are enough bytes.
fn clear_int(data: &mut [u8], at: usize) {
    if let Some(int) = data.get_mut(at..at + size_of::<i32>()) {
        int.fill(0);
    }
}

/// Lowers a time to live by one. Returns false if none is left.
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

    /// Control messages as the kernel writes them, and their length in bytes.
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
    fn an_answer_has_one_hop_less_wherever_its_control_message_stands() {
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
    fn an_answer_keeps_its_interface_only_if_its_address_is_link_local() {
        for (first, kept) in [([0xfe, 0x80], true), ([0x20, 0x01], false)] {
            let mut info = [7; size_of::<libc::in6_pktinfo>()];
            info[..2].copy_from_slice(&first);
            let (mut turned, length) = control(&[(INFO, &info)]);
            if !kept {
                info[16..].fill(0);
            }
            assert!(
                turned.turn_round(length),
                "a datagram without a time to live may be answered"
            );
            assert_eq!(turned.0, control(&[(INFO, &info)]).0.0);
        }
    }

    #[test]
    fn control_messages_that_are_cut_short_are_left_alone() {
        let hops = 1_i32.to_ne_bytes();
        let (whole, length) = control(&[((libc::IPPROTO_IP, libc::IP_TTL), &hops)]);
        for length in 0..length - 4 {
            let mut cut = whole;
            assert!(cut.turn_round(length));
            assert_eq!(cut.0, whole.0);
        }
    }
}
