//! Sockets on which no descriptors are expected (`SCM_RIGHTS`, unix(7)). Does not know the messages.
//!
//! The last close of a descriptor can block for as long as its sender likes: a socket that lingers (socket(7)) in the
//! queue of a socket, a file on a FUSE mount. The kernel makes that last close in the process that receives the message
//! without room for the descriptor, or that closes the socket on which the message waits unread. There are two
//! remedies:
//!
//! - Since Linux 6.16 the kernel refuses such a message when it is sent (`SO_PASSRIGHTS`).
//! - Before 6.16 a message is looked at before it is received; one with descriptors stays in the queue. The socket is
//!   closed by a thread that is never waited for.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::thread;

/// A unix socket, and the treatment of descriptors that come over it.
#[derive(Debug)]
pub struct Socket {
    /// The socket, taken only when this is dropped or given away.
    fd: Option<OwnedFd>,
    rights: Rights,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    /// They are expected, or cannot come.
    Open,
    /// The kernel lets no message with descriptors in, so that no check is needed.
    RefusedByKernel,
    /// They may come, and must not be taken.
    Refused,
}

impl Socket {
    /// Takes a socket over which descriptors may come, or which is no unix socket.
    pub fn open(fd: OwnedFd) -> Socket {
        Socket { fd: Some(fd), rights: Rights::Open }
    }

    /// Takes a socket over which none may come. It should be new: the kernel does not check messages that wait on it
    /// already. Connections that a listening socket accepts inherit the refusal of the kernel.
    pub fn refusing(fd: OwnedFd) -> Socket {
        let rights = if refuse(fd.as_fd()) { Rights::RefusedByKernel } else { Rights::Refused };
        Socket { fd: Some(fd), rights }
    }

    /// Does the same as [`Socket::refusing`] before Linux 6.16.
    #[cfg(test)]
    pub(super) fn refusing_unaided(fd: OwnedFd) -> Socket {
        Socket { fd: Some(fd), rights: Rights::Refused }
    }

    /// True if the next message carries descriptors that must not be taken; then it must not be received. Waits for a
    /// message as receiving it with these flags would. Errors: as recvmsg(2).
    pub(super) fn has_refused(&self, flags: libc::c_int) -> Result<bool, Errno> {
        if self.rights == Rights::Refused { peek_rights(self.as_fd(), flags) } else { Ok(false) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("the descriptor is taken only by who owns the whole").as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl From<Socket> for OwnedFd {
    fn from(mut socket: Socket) -> OwnedFd {
        socket.fd.take().expect("the descriptor is taken only by who owns the whole")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        if self.rights == Rights::Refused {
            close_apart(fd);
        }
    }
}

/// Has the kernel refuse messages with descriptors that are sent to this socket; false where it cannot.
pub fn refuse(socket: BorrowedFd<'_>) -> bool {
    let off: libc::c_int = 0;
    let size = libc::socklen_t::try_from(size_of_val(&off)).unwrap_or_default();
    // SAFETY: the kernel reads one int.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const off).cast(), size) };
    set == 0
}

/// Closes a descriptor in a thread that is never waited for. If no thread can be started it stays open: a lost
/// descriptor is better than a process that blocks.
pub fn close_apart(fd: OwnedFd) {
    let fd = ManuallyDrop::new(fd);
    let _ = thread::start("rwsgi-close", move || drop(ManuallyDrop::into_inner(fd)));
}

/// Looks at the next message without taking it: the copies of descriptors that the kernel makes for a look are not the last
/// ones. The control buffer has room for credentials and for no descriptor, so that none is installed in this process.
fn peek_rights(socket: BorrowedFd<'_>, flags: libc::c_int) -> Result<bool, Errno> {
    let has_credentials = getsockopt(&socket, sockopt::PassCred)?;
    let mut control = [0_u64; CREDENTIALS / 8];
    let mut byte = [0_u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    // SAFETY: msghdr is a C struct for which all zeros is a valid, empty value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if has_credentials {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CREDENTIALS as _;
    }
    loop {
        // SAFETY: header points to `part` and `control`, `part` to `byte`; all live through the call and have the lengths
        // given.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_PEEK | flags) };
        match Errno::result(got) {
            Ok(_) => return Ok(header.msg_flags & libc::MSG_CTRUNC != 0),
            // The other end was closed with messages of ours unread. That is reported once; the messages that it sent
            // come after.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(cause) => return Err(cause),
        }
    }
}

/// Makes an error for a message that was refused.
pub(super) fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "receive: expected a message without descriptors, found one with some")
}

/// The number in asm-generic/socket.h (Linux 6.16); libc does not have it yet. The architectures with a number of their
/// own for it (alpha, parisc, sparc) have no build of this program.
const SO_PASSRIGHTS: libc::c_int = 83;

/// `CMSG_SPACE` of one ucred, in bytes: the rest of the buffer is not enough for a header.
const CREDENTIALS: usize = 32;
