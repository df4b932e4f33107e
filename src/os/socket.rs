//! Non-blocking reads and writes on connected sockets. Does not know what the bytes mean.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use libc::c_long;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, recv, shutdown, sockopt};
use nix::unistd::Pid;

use super::{heap, rights};

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// This many bytes were appended. `more` when the room was filled, so that the kernel may have further ones.
    Bytes {
        /// The number of bytes.
        count: usize,
        /// True if there were as many as asked for.
        more: bool,
    },
    /// Nothing can be read now.
    Nothing,
    /// The peer will send no more.
    Closed,
    /// There is no memory to read into; nothing was read.
    NoMemory,
}

/// Appends up to `room` bytes to `buffer`. A reset is reported as [`Read::Closed`].
pub fn read(stream: BorrowedFd<'_>, buffer: &mut Vec<u8>, room: usize) -> Read {
    if heap::try_reserve(buffer, room).is_err() {
        return Read::NoMemory;
    }
    let read = read_into(stream, &mut buffer.spare_capacity_mut()[..room]);
    if let Read::Bytes { count, .. } = read {
        // SAFETY: the kernel has written `count` bytes, at most `room`, behind the buffer's length.
        unsafe { buffer.set_len(buffer.len() + count) };
    }
    read
}

/// Appends the bytes that have arrived, up to [`PEEKED`], and leaves them in the kernel.
pub fn peek(stream: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Read {
    let start = buffer.len();
    buffer.resize(start + PEEKED, 0);
    let got = recv(stream.as_raw_fd(), &mut buffer[start..], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    buffer.truncate(start + got.unwrap_or(0));
    match got {
        Ok(0) => Read::Closed,
        Ok(count) => Read::Bytes { count, more: count == PEEKED },
        Err(Errno::EAGAIN | Errno::EINTR) => Read::Nothing,
        Err(_) => Read::Closed,
    }
}

/// Reads as [`read_into`] does, over initialised bytes.
pub fn read_slice(stream: BorrowedFd<'_>, room: &mut [u8]) -> Read {
    // SAFETY: MaybeUninit has the layout of what it holds, and only bytes are written through it.
    let room = unsafe { &mut *(ptr::from_mut(room) as *mut [MaybeUninit<u8>]) };
    read_into(stream, room)
}

/// Reads into the front of `room`, which must not be empty. A reset is reported as [`Read::Closed`].
pub fn read_into(stream: BorrowedFd<'_>, room: &mut [MaybeUninit<u8>]) -> Read {
    loop {
        // SAFETY: `room` is writable memory of its length in bytes.
        let got = unsafe { receive(stream.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
        match Errno::result(got) {
            Ok(0) => return Read::Closed,
            Ok(count) => {
                let count = count.unsigned_abs();
                return Read::Bytes { count, more: count == room.len() };
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Read::Nothing,
            Err(_) => return Read::Closed,
        }
    }
}

/// Sends as much of `bytes` as the kernel takes at once, and ends both directions. For an open connection that another
/// thread holds and does not give back.
pub fn cut(stream: RawFd, bytes: &[u8]) {
    use nix::sys::socket::send;
    // A failure concerns only the client: the end follows in any case.
    let _ = send(stream, bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
    let _ = shutdown(stream, Shutdown::Both);
}

/// Calls `step` with a connection that another thread holds; it has to be open meanwhile, as for [`cut`].
pub fn with_open(stream: RawFd, step: impl FnOnce(BorrowedFd<'_>)) {
    // SAFETY: the caller's promise.
    step(unsafe { BorrowedFd::borrow_raw(stream) });
}

/// The length of the longest header of a proxy.
const PEEKED: usize = 16 + u16::MAX as usize;
/// The application, which may have the socket too, may have made it blocking.
const AT_ONCE: c_long = libc::MSG_DONTWAIT as c_long;
const NO_SIZE: c_long = 0;

/// The bytes after those that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// The rest of the message follows at once.
    Follows,
    /// Nothing follows for now.
    Ends,
}

/// Sends as much of `pieces` as the socket takes now, in one call. `Ok(0)` when it takes nothing; an error when the
/// peer is gone. `more` lets the kernel wait for the following bytes before it sends a short packet.
pub fn write(stream: BorrowedFd<'_>, pieces: &[&[u8]; 3], more: More) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more == More::Follows { libc::MSG_MORE } else { 0 };
    let stream = stream.as_raw_fd();
    if let [only, [], []] = pieces {
        // SAFETY: the kernel reads `only` and nothing else.
        return sent(|| unsafe { send(stream, only, flags) });
    }
    let pieces = pieces.map(io::IoSlice::new);
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: IoSlice has the layout of iovec; the pieces outlive the call, which only reads them.
    sent(|| unsafe { libc::sendmsg(stream, &raw const message, flags) })
}

/// Calls recv(2) without glibc's wrapper, which allows for cancellation in a process with threads: two locked
/// instructions a call.
///
/// # Safety
/// `start` is writable memory of `room` bytes.
unsafe fn receive(stream: RawFd, start: *mut libc::c_void, room: usize) -> isize {
    let no_address = ptr::null::<libc::c_void>();
    // SAFETY: as above; the sender's address is not asked for.
    let got = unsafe {
        libc::syscall(libc::SYS_recvfrom, c_long::from(stream), start, room, AT_ONCE, no_address, no_address)
    };
    isize::try_from(got).unwrap_or(-1)
}

/// Calls send(2), as [`receive`].
///
/// # Safety
/// `stream` is an open descriptor.
unsafe fn send(stream: RawFd, bytes: &[u8], flags: libc::c_int) -> isize {
    let no_address = ptr::null::<libc::c_void>();
    // SAFETY: the kernel reads `bytes`; a connected socket needs no address.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            c_long::from(stream),
            bytes.as_ptr(),
            bytes.len(),
            c_long::from(flags),
            no_address,
            NO_SIZE,
        )
    };
    isize::try_from(sent).unwrap_or(-1)
}

/// Returns the result of a send(2); one that a signal interrupts is made again.
fn sent(send: impl Fn() -> isize) -> io::Result<usize> {
    loop {
        match Errno::result(send()) {
            Ok(count) => return Ok(count.unsigned_abs()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends as much of a file as the socket takes now, at most `most` bytes from `offset` on (sendfile(2)). `Ok(None)`
/// when it takes nothing, `Ok(Some(0))` at the file's end.
pub fn send_file(stream: BorrowedFd<'_>, file: BorrowedFd<'_>, offset: u64, most: u64) -> io::Result<Option<u64>> {
    let mut offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    loop {
        // SAFETY: `offset` is live; the kernel reads and writes no other memory of this process.
        let sent = unsafe { libc::sendfile(stream.as_raw_fd(), file.as_raw_fd(), &raw mut offset, most) };
        match Errno::result(sent) {
            Ok(count) => return Ok(Some(count.unsigned_abs() as u64)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Returns the bytes that were written and not acknowledged by the peer (tcp(7), `SIOCOUTQ`); 0 where that is not
/// known.
pub fn unacknowledged(stream: BorrowedFd<'_>) -> u64 {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    let told = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if told == 0 { u64::try_from(count).unwrap_or(0) } else { 0 }
}

/// True if the kernel has bytes that were not read (tcp(7), `SIOCINQ`).
pub fn has_unread(stream: BorrowedFd<'_>) -> bool {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    let told = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    told == 0 && count > 0
}

/// Returns for how many milliseconds no data has come (tcp(7), `TCP_INFO`); 0 where the kernel does not say.
pub fn quiet_for(stream: BorrowedFd<'_>) -> u64 {
    // SAFETY: all-zero is a valid tcp_info.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or_default();
    let place = (&raw mut info).cast();
    // SAFETY: the kernel writes at most `size` bytes to `info`.
    let told = unsafe { libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut size) };
    if told == 0 { u64::from(info.tcpi_last_data_recv) } else { 0 }
}

/// Blocks until the socket takes bytes, or its peer is gone, or `limit` is over; `false` is the last.
pub fn wait_writable(stream: BorrowedFd<'_>, limit: Duration) -> bool {
    wait(stream, limit, PollFlags::POLLOUT)
}

/// Blocks until the socket has bytes, or its peer is gone, or `limit` is over; `false` is the last.
pub fn wait_readable(stream: BorrowedFd<'_>, limit: Duration) -> bool {
    wait(stream, limit, PollFlags::POLLIN)
}

fn wait(stream: BorrowedFd<'_>, limit: Duration, what: PollFlags) -> bool {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(stream.as_fd(), what)];
    match poll(&mut fds, timeout) {
        Ok(ready) => ready > 0,
        // A signal came: the caller looks again.
        Err(_) => true,
    }
}

/// Has the kernel send the bytes that it holds back for [`More::Follows`] (tcp(7), `TCP_NODELAY`: setting it sends
/// them). Does nothing on a socket other than TCP.
pub fn push(stream: RawFd) {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the kernel reads one int.
    unsafe { libc::setsockopt(stream, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), size) };
}

/// Connects to a unix socket. `WouldBlock`: its backlog stayed full for all of `limit`. Descriptors that come from
/// there are refused where the kernel can do that.
pub fn connect_unix(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    rights::refuse(stream.as_fd());
    // connect(2) is limited by the send timeout (unix(7)).
    let stream = UnixStream::from(stream);
    stream.set_write_timeout(Some(limit))?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(stream)
}

/// Returns the user on the other end of a unix socket, which connected or listens there, as the kernel reports it
/// (unix(7), `SO_PEERCRED`).
pub fn peer_user(stream: BorrowedFd<'_>) -> Option<u32> {
    getsockopt(&stream, sockopt::PeerCredentials).ok().map(|credentials| credentials.uid())
}

/// Returns the process that listens on the other end of a unix socket that this one has connected.
pub fn peer_process(stream: BorrowedFd<'_>) -> Option<Pid> {
    let pid = getsockopt(&stream, sockopt::PeerCredentials).ok().map(|credentials| credentials.pid());
    // A process in a namespace that this one does not see has the number 0.
    pid.filter(|pid| *pid > 0).map(Pid::from_raw)
}

/// Makes reads and writes non-blocking from now on, by every descriptor of this socket.
pub fn never_block(stream: BorrowedFd<'_>) {
    let flags = fcntl(stream, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    let _ = flags.and_then(|flags| fcntl(stream, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)));
}

/// Ends the connection in both directions, also where a forked child has a copy of the descriptor.
pub fn finish(stream: BorrowedFd<'_>) {
    let _ = shutdown(stream.as_raw_fd(), Shutdown::Both);
}

/// Tells the peer that no more bytes will come; it may still send.
pub fn finish_writing(stream: BorrowedFd<'_>) {
    let _ = shutdown(stream.as_raw_fd(), Shutdown::Write);
}
