//! The border: libc's functions, as this program defines them.
//!
//! The linker takes a symbol of the program before that of a shared library. So the reactor, the
//! servers, nix and the standard library, all of them unchanged, call these functions in the place of
//! libc's. If the calling thread has a [`World`], the call goes there; otherwise, and for descriptors
//! that are none of the world's, libc's own function is called, which dlsym(3) finds behind ours.
//!
//! Each function here turns pointers into slices and calls one method of the world; the conversions
//! are all the `unsafe` of this program. A caller passes valid arguments, as for libc's function: that
//! is what each `SAFETY` line relies on that says "the caller's".

#![allow(
    unsafe_code,
    reason = "the border to libc: every other file of the program is safe Rust"
)]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::uncounted;
use crate::plan::{Door, Fault};
use crate::world::World;
use crate::world::objects::Object;
use crate::world::words::{Errno, MS};

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Puts a world in the place of the kernel for this thread.
pub(crate) fn enter(world: World) {
    WORLD.with(|place| *place.borrow_mut() = Some(world));
}

/// Takes the world back: from here on the thread's calls go to the kernel.
pub(crate) fn leave() -> Option<World> {
    WORLD.with(|place| place.borrow_mut().take())
}

/// Does something with this thread's world. `None`: there is none, or the world itself calls.
pub(crate) fn in_world<R>(act: impl FnOnce(&mut World) -> R) -> Option<R> {
    let act = |place: &RefCell<Option<World>>| {
        let mut world = place.try_borrow_mut().ok()?;
        let world = world.as_mut()?;
        Some(uncounted(|| act(world)))
    };
    WORLD.try_with(act).ok().flatten()
}

/// The address of libc's function of this name.
fn behind(cache: &AtomicUsize, name: &CStr) -> usize {
    match cache.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: the name ends in a zero byte.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
            assert!(found != 0, "libc has no {}", name.to_string_lossy());
            cache.store(found, Ordering::Relaxed);
            found
        }
        found => found,
    }
}

fn set_errno(errno: Errno) {
    // SAFETY: the thread's own errno, which is always there.
    unsafe { *libc::__errno_location() = errno };
}

/// The result of a call as libc returns it.
trait Returned: Sized {
    fn failed() -> Self;
}

macro_rules! returned {
    ($($type:ty),*) => {
        $(impl Returned for $type {
            fn failed() -> Self {
                -1
            }
        })*
    };
}

returned!(i32, isize, i64);

fn give_back<T: Returned>(result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|errno| {
        set_errno(errno);
        T::failed()
    })
}

/// Defines libc functions. Each body is an `Option<Result<_, Errno>>` of the world, `None` for a call
/// that is not the world's.
macro_rules! calls {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty = |$world:ident| $body:expr;)*) => {
        $(
            // SAFETY: the name and the signature are libc's, and so is what a call means.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) -> $ret {
                type Real = unsafe extern "C" fn($($type),*) -> $ret;
                static BEHIND: AtomicUsize = AtomicUsize::new(0);
                let simulated: Option<Result<$ret, Errno>> =
                    in_world(|$world: &mut World| $body).flatten();
                if let Some(result) = simulated {
                    return give_back(result);
                }
                let address = behind(
                    &BEHIND,
                    // SAFETY: the text ends in its only zero byte.
                    unsafe { CStr::from_bytes_with_nul_unchecked(concat!(stringify!($name), "\0").as_bytes()) },
                );
                // SAFETY: this is libc's function of the same signature, called with the caller's
                // arguments.
                unsafe { std::mem::transmute::<usize, Real>(address)($($arg),*) }
            }
        )*
    };
}

/// A call on a descriptor of the world.
fn ours<T>(fd: c_int, act: impl FnOnce() -> T) -> Option<T> {
    World::is_ours(fd).then(act)
}

/// The caller's buffer to read from.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> &'a [u8] {
    match start.is_null() || length == 0 {
        true => &[],
        // SAFETY: the caller's buffer, which is not null and has this length.
        false => unsafe { slice::from_raw_parts(start.cast(), length) },
    }
}

/// The caller's buffer to write to.
unsafe fn bytes_mut<'a>(start: *mut c_void, length: usize) -> &'a mut [u8] {
    match start.is_null() || length == 0 {
        true => &mut [],
        // SAFETY: the caller's buffer, which is not null and has this length.
        false => unsafe { slice::from_raw_parts_mut(start.cast(), length) },
    }
}

/// Writes a sockaddr or an option where the caller has room for it, and its length.
unsafe fn put(value: &[u8], at: *mut c_void, length: *mut libc::socklen_t) {
    if at.is_null() || length.is_null() {
        return;
    }
    // SAFETY: the caller's buffer has the length that the caller says.
    let room = unsafe { bytes_mut(at, *length as usize) };
    let count = value.len().min(room.len());
    room[..count].copy_from_slice(&value[..count]);
    // SAFETY: the caller's length, which is not null.
    unsafe { *length = value.len() as libc::socklen_t };
}

/// Writes events to the caller's array.
unsafe fn put_events(events: Vec<(u32, u64)>, at: *mut libc::epoll_event) -> c_int {
    let count = events.len() as c_int;
    for (place, (events, token)) in events.into_iter().enumerate() {
        let event = libc::epoll_event { events, u64: token };
        // SAFETY: the world returns no more events than the caller's array has room for.
        unsafe { at.add(place).write_unaligned(event) };
    }
    count
}

/// The text of a path.
unsafe fn path<'a>(start: *const c_char) -> &'a [u8] {
    // SAFETY: the caller's path ends in a zero byte.
    unsafe { CStr::from_ptr(start) }.to_bytes()
}

calls! {
    fn epoll_create1(flags: c_int) -> c_int = |world| {
        let _ = flags;
        Some(world.open(Object::Epoll))
    };

    fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut libc::epoll_event) -> c_int = |world| {
        ours(epoll, || {
            // SAFETY: the caller's event.
            let event = unsafe { event.read_unaligned() };
            world.control(operation, fd, event.events, event.u64)
        })
    };

    fn epoll_wait(epoll: c_int, events: *mut libc::epoll_event, most: c_int, timeout: c_int) -> c_int = |world| {
        ours(epoll, || {
            let timeout = u64::try_from(timeout).ok().map(|ms| ms * MS);
            let ready = world.wait(most as usize, timeout)?;
            // SAFETY: the caller's array.
            Ok(unsafe { put_events(ready, events) })
        })
    };

    fn syscall(number: c_long, one: c_long, two: c_long, three: c_long, four: c_long, five: c_long, six: c_long) -> c_long = |world| {
        match number {
            libc::SYS_epoll_pwait2 if World::is_ours(one as c_int) => {
                if world.draw(Fault::Coarse) {
                    return Some(Err(libc::ENOSYS));
                }
                let timeout = four as *const libc::timespec;
                // SAFETY: the caller's timeout, which may be null.
                let timeout = unsafe { timeout.as_ref() };
                let ns = |timeout: &libc::timespec| {
                    timeout.tv_sec as u64 * 1_000_000_000 + timeout.tv_nsec as u64
                };
                let ready = world.wait(three as usize, timeout.map(ns));
                // SAFETY: the caller's array.
                Some(ready.map(|ready| unsafe { put_events(ready, two as *mut _) }.into()))
            }
            libc::SYS_futex | libc::SYS_gettid | libc::SYS_getrandom => None,
            number if World::is_ours(one as c_int) => Some(Err(world.unknown(&format!("system call {number}")))),
            _ => None,
        }
    };

    fn accept4(fd: c_int, address: *mut libc::sockaddr, length: *mut libc::socklen_t, flags: c_int) -> c_int = |world| {
        let _ = flags;
        ours(fd, || {
            let (accepted, name) = world.accept(fd)?;
            // SAFETY: the caller's address.
            unsafe { put(&name, address.cast(), length) };
            Ok(accepted)
        })
    };

    fn recv(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize = |world| {
        let _ = flags;
        // SAFETY: the caller's buffer.
        ours(fd, || world.recv(fd, unsafe { bytes_mut(buffer, length) }).map(|count| count as isize))
    };

    fn send(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize = |world| {
        let _ = flags;
        // SAFETY: the caller's buffer.
        let bytes = unsafe { bytes(buffer, length) };
        ours(fd, || world.send(fd, [bytes].into_iter()).map(|count| count as isize))
    };

    fn sendmsg(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize = |world| {
        let _ = flags;
        ours(fd, || {
            // SAFETY: the caller's message, with as many slices as it says.
            let slices = unsafe { slice::from_raw_parts((*message).msg_iov, (*message).msg_iovlen) };
            // SAFETY: the caller's slices.
            let slices = slices.iter().map(|slice| unsafe { bytes(slice.iov_base, slice.iov_len) });
            world.send(fd, slices).map(|count| count as isize)
        })
    };

    fn recvmmsg(fd: c_int, headers: *mut libc::mmsghdr, count: c_uint, flags: c_int, timeout: *mut libc::timespec) -> c_int = |world| {
        let _ = (flags, timeout);
        ours(fd, || {
            let letters = world.receive(fd, count as usize)?;
            for (place, (name, text)) in letters.iter().enumerate() {
                // SAFETY: the caller's headers, of which there are `count`.
                let header = unsafe { &mut *headers.add(place) };
                let message = &mut header.msg_hdr;
                // SAFETY: the caller's name and buffer, with the lengths in the header.
                unsafe {
                    put(name, message.msg_name, &raw mut message.msg_namelen);
                    let slice = *message.msg_iov;
                    bytes_mut(slice.iov_base, slice.iov_len)[..text.len()].copy_from_slice(text);
                }
                message.msg_controllen = 0;
                header.msg_len = text.len() as c_uint;
            }
            Ok(letters.len() as c_int)
        })
    };

    fn sendmmsg(fd: c_int, headers: *mut libc::mmsghdr, count: c_uint, flags: c_int) -> c_int = |world| {
        let _ = flags;
        ours(fd, || {
            // SAFETY: the caller's headers.
            let headers = unsafe { slice::from_raw_parts_mut(headers, count as usize) };
            let letter = |header: &libc::mmsghdr| {
                let message = &header.msg_hdr;
                // SAFETY: the caller's name and slices, with the lengths in the header.
                unsafe {
                    let name = bytes(message.msg_name, message.msg_namelen as usize);
                    let slices = slice::from_raw_parts(message.msg_iov, message.msg_iovlen);
                    let text = slices.iter().flat_map(|slice| bytes(slice.iov_base, slice.iov_len));
                    (name, text.copied().collect())
                }
            };
            let letters: Vec<(&[u8], Vec<u8>)> = headers.iter().map(letter).collect();
            let sent = world.post(fd, &letters)?;
            for (header, (_, text)) in headers.iter_mut().zip(&letters).take(sent) {
                header.msg_len = text.len() as c_uint;
            }
            Ok(sent as c_int)
        })
    };

    fn read(fd: c_int, buffer: *mut c_void, length: usize) -> isize = |world| {
        ours(fd, || {
            let signal = world.read_signal(fd)?;
            // SAFETY: all zeroes is a valid signalfd_siginfo.
            let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
            info.ssi_signo = signal as u32;
            let size = size_of_val(&info).min(length);
            // SAFETY: the caller's buffer has this length, and `info` is plain bytes.
            unsafe { bytes_mut(buffer, size).copy_from_slice(bytes((&raw const info).cast(), size)) };
            Ok(size as isize)
        })
    };

    fn write(fd: c_int, buffer: *const c_void, length: usize) -> isize = |world| {
        // A server's words to the user are part of the trace.
        // SAFETY: the caller's buffer.
        let said = unsafe { bytes(buffer, length) };
        if World::is_ours(fd) {
            return Some(Err(world.unknown("write")));
        }
        world.note(|| format!("says: {}", String::from_utf8_lossy(said).trim_end()));
        Some(Ok(length as isize))
    };

    fn writev(fd: c_int, slices: *const libc::iovec, count: c_int) -> isize = |world| {
        let _ = (slices, count);
        ours(fd, || Err(world.unknown("writev")))
    };

    fn shutdown(fd: c_int, how: c_int) -> c_int = |world| {
        ours(fd, || world.shutdown(fd, how))
    };

    fn close(fd: c_int) -> c_int = |world| {
        ours(fd, || world.close(fd))
    };

    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int = |world| {
        let _ = protocol;
        Some(world.socket(domain, kind))
    };

    fn bind(fd: c_int, address: *const libc::sockaddr, length: libc::socklen_t) -> c_int = |world| {
        // SAFETY: the caller's address.
        ours(fd, || world.bind(fd, unsafe { bytes(address.cast(), length as usize) }))
    };

    fn listen(fd: c_int, backlog: c_int) -> c_int = |world| {
        ours(fd, || world.listen(fd, backlog))
    };

    fn connect(fd: c_int, address: *const libc::sockaddr, length: libc::socklen_t) -> c_int = |world| {
        // SAFETY: the caller's address.
        ours(fd, || world.call(fd, unsafe { bytes(address.cast(), length as usize) }))
    };

    fn getsockname(fd: c_int, address: *mut libc::sockaddr, length: *mut libc::socklen_t) -> c_int = |world| {
        ours(fd, || {
            let name = world.name_of(fd)?;
            // SAFETY: the caller's address.
            unsafe { put(&name, address.cast(), length) };
            Ok(0)
        })
    };

    fn getpeername(fd: c_int, address: *mut libc::sockaddr, length: *mut libc::socklen_t) -> c_int = |world| {
        let _ = (address, length);
        ours(fd, || Err(world.unknown("getpeername")))
    };

    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: libc::socklen_t) -> c_int = |world| {
        // SAFETY: the caller's value.
        ours(fd, || world.set_option(fd, level, name, unsafe { bytes(value, length as usize) }))
    };

    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut libc::socklen_t) -> c_int = |world| {
        ours(fd, || {
            let option = world.option(fd, level, name)?;
            // SAFETY: the caller's buffer.
            unsafe { put(&option, value, length) };
            Ok(0)
        })
    };

    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_int) -> c_int = |world| {
        ours(fd, || {
            let queued = world.queued(fd, request)?;
            // SAFETY: the caller's int, which both requests that are known write to.
            unsafe { *argument = queued };
            Ok(0)
        })
    };

    fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int = |world| {
        let _ = argument;
        match (command, fd) {
            (libc::F_DUPFD_CLOEXEC, 0) => Some(world.standard_stream(Door::Stdin)),
            (libc::F_DUPFD_CLOEXEC, 1) => Some(world.standard_stream(Door::Stdout)),
            (libc::F_DUPFD_CLOEXEC, _) => ours(fd, || world.duplicate(fd)),
            (libc::F_GETFD, _) => ours(fd, || world.object(fd, "fcntl").map(|_| 0)),
            _ => ours(fd, || Err(world.unknown(&format!("fcntl {command}")))),
        }
    };

    fn isatty(fd: c_int) -> c_int = |world| {
        let _ = (fd, world);
        set_errno(libc::ENOTTY);
        Some(Ok(0))
    };

    fn fstat(fd: c_int, status: *mut libc::stat) -> c_int = |world| {
        ours(fd, || {
            world.object(fd, "fstat")?;
            // SAFETY: the caller's status, for which all zeroes is a valid value.
            unsafe {
                status.write_bytes(0, 1);
                (*status).st_mode = libc::S_IFSOCK;
            }
            Ok(0)
        })
    };

    fn open64(name: *const c_char, flags: c_int, mode: c_uint) -> c_int = |world| {
        let _ = (flags, mode);
        // SAFETY: the caller's path.
        (unsafe { path(name) } == b"/dev/null").then(|| world.open(Object::Null))
    };

    fn poll(asked: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int = |world| {
        let _ = (asked, count, timeout);
        Some(Err(world.unknown("poll")))
    };

    fn eventfd(value: c_uint, flags: c_int) -> c_int = |world| {
        let _ = (value, flags);
        Some(Err(world.unknown("eventfd")))
    };

    fn pipe2(ends: *mut c_int, flags: c_int) -> c_int = |world| {
        let _ = (ends, flags);
        Some(Err(world.unknown("pipe2")))
    };

    fn signalfd(fd: c_int, mask: *const libc::sigset_t, flags: c_int) -> c_int = |world| {
        let _ = (mask, flags);
        Some(match fd {
            -1 => world.signalfd(),
            // Another mask for a descriptor that exists: the world sends none but the first mask's.
            fd => Ok(fd),
        })
    };

    // Signals of the process stay as they are: the world has signals of its own.
    fn pthread_sigmask(how: c_int, set: *const libc::sigset_t, before: *mut libc::sigset_t) -> c_int = |world| {
        let _ = (how, set, before, world);
        Some(Ok(0))
    };

    fn sigaction(signal: c_int, action: *const libc::sigaction, before: *mut libc::sigaction) -> c_int = |world| {
        let _ = (signal, action, world);
        if !before.is_null() {
            // SAFETY: the caller's action, for which all zeroes is a valid value: the default.
            unsafe { before.write_bytes(0, 1) };
        }
        Some(Ok(0))
    };

    fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int = |world| {
        let now = world.clock(clock);
        // SAFETY: the caller's time.
        unsafe { *time = libc::timespec { tv_sec: now.0, tv_nsec: now.1 } };
        Some(Ok(0))
    };

    fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize = |world| {
        let _ = flags;
        // SAFETY: the caller's buffer.
        let bytes = unsafe { bytes_mut(buffer, length) };
        bytes.iter_mut().for_each(|byte| *byte = world.below(256) as u8);
        Some(Ok(length as isize))
    };

    fn getrlimit(resource: c_uint, limit: *mut libc::rlimit) -> c_int = |world| {
        let _ = world;
        // The limit that servers reckon with. Fewer descriptors may be left: the whole system has
        // one too.
        let descriptors = 4096;
        if resource == libc::RLIMIT_NOFILE {
            // SAFETY: the caller's limit.
            unsafe { *limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors } };
        }
        Some(Ok(0))
    };

    fn setrlimit(resource: c_uint, limit: *const libc::rlimit) -> c_int = |world| {
        let _ = (resource, limit, world);
        Some(Ok(0))
    };
}

/// signal(2), whose result is an address: the default action of before.
// SAFETY: the name and the signature are libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(number: c_int, handler: usize) -> usize {
    static BEHIND: AtomicUsize = AtomicUsize::new(0);
    if in_world(|_| ()).is_some() {
        return libc::SIG_DFL;
    }
    let address = behind(&BEHIND, c"signal");
    // SAFETY: this is libc's function of the same signature, called with the caller's arguments.
    unsafe {
        std::mem::transmute::<usize, unsafe extern "C" fn(c_int, usize) -> usize>(address)(
            number, handler,
        )
    }
}
