//! Messages with file descriptors between master, zygote and workers: one end of a `SOCK_SEQPACKET` pair of unix
//! sockets, which keeps message boundaries and reports the end of the other side (unix(7)). Does not know what messages
//! mean.
#![allow(unsafe_code)]

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, sendmsg, setsockopt, shutdown, socketpair,
    sockopt,
};

use super::rights;

/// One end of a connected pair. Close-on-exec, and blocking by default.
#[derive(Debug)]
pub struct Channel(rights::Socket);

/// One message as it was sent.
#[derive(Debug)]
pub struct Packet {
    /// The bytes, at most [`MAX_MESSAGE`].
    pub bytes: Vec<u8>,
    /// The descriptors that came along, at most [`MAX_FDS`], all close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// The process that sent it, as the kernel reports it. It is known only after [`Channel::pass_credentials`] on this
    /// end, for messages sent after that. A process can name only itself, unless it has `CAP_SYS_ADMIN`.
    pub sender: Option<i32>,
}

/// Result of [`Channel::receive`].
#[derive(Debug)]
pub enum Received {
    /// A message.
    Packet(Packet),
    /// The other end is closed in every process that had it, and all its messages were read.
    Closed,
    /// No message yet; only on a non-blocking channel.
    Nothing,
}

impl Channel {
    /// Makes a connected pair.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel::from_fd(one), Channel::from_fd(other)))
    }

    /// Refuses descriptors on this end from now on. The other end must not have been given away yet. Where the kernel
    /// does not refuse such a message to its sender, [`Channel::receive`] does.
    #[must_use]
    pub fn refuse_descriptors(self) -> Channel {
        Channel(rights::Socket::refusing(self.0.into()))
    }

    /// Takes an end that was inherited or received. It should be a `SOCK_SEQPACKET` socket; nothing is checked here.
    pub fn from_fd(fd: OwnedFd) -> Channel {
        Channel(rights::Socket::open(fd))
    }

    /// Sends a value as JSON, with descriptors.
    pub fn say(&self, value: &impl serde::Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(&serde_json::to_vec(value)?, fds)
    }

    /// Sends one message, whole or not at all. Raises no SIGPIPE. Errors: `InvalidInput` for an empty message (which
    /// the reader could not tell from the end), for more than [`MAX_MESSAGE`] bytes or [`MAX_FDS`] descriptors;
    /// `BrokenPipe` when the other end is gone; `WouldBlock` when the channel is non-blocking and full.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(bytes, fds, MsgFlags::empty())
    }

    /// Sends as [`Channel::send`] does, and never waits: `WouldBlock` when the channel is full, even if another process
    /// that shares this end has made it blocking.
    pub fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(bytes, fds, MsgFlags::MSG_DONTWAIT)
    }

    fn send_with(&self, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
        if bytes.is_empty() || bytes.len() > MAX_MESSAGE {
            let text = format!("send: expected a message of 1 to {MAX_MESSAGE} bytes, found {}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if fds.len() > MAX_FDS {
            let text = format!("send: expected at most {MAX_FDS} descriptors, found {}", fds.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(bytes)];
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL | flags, None) {
                Ok(_) => return Ok(()),
                // ECONNRESET: the other end was closed with messages unread. It is reported once, EPIPE comes after.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }

    /// Ends the sending side: the other end reads the end, and may go on sending.
    pub fn shut_down(&self) -> io::Result<()> {
        Ok(shutdown(self.0.as_raw_fd(), Shutdown::Write)?)
    }

    /// Receives one message. `InvalidData` is a message that does not fit, or whose descriptors found no room in this
    /// process's table: it is lost, and its descriptors that arrived are closed. A message with descriptors on an end
    /// that refuses them is `InvalidData`, too: it stays, and nothing more can be received.
    pub fn receive(&self) -> io::Result<Received> {
        self.receive_with(0)
    }

    /// Receives as [`Channel::receive`] does, and never waits, even if another process that shares this end has made it
    /// blocking.
    pub fn try_receive(&self) -> io::Result<Received> {
        self.receive_with(libc::MSG_DONTWAIT)
    }

    /// Receives as [`Channel::try_receive`] does, but returns a message whose descriptors found no room in this
    /// process's table without them.
    pub fn try_receive_cut(&self) -> io::Result<Received> {
        self.receive_in(libc::MSG_DONTWAIT, libc::MSG_TRUNC)
    }

    fn receive_with(&self, flags: libc::c_int) -> io::Result<Received> {
        self.receive_in(flags, libc::MSG_TRUNC | libc::MSG_CTRUNC)
    }

    /// Receives a message; one that was cut in a way that is `refused` is an error.
    fn receive_in(&self, flags: libc::c_int, refused: libc::c_int) -> io::Result<Received> {
        match self.0.has_refused(flags) {
            Ok(false) => {}
            Ok(true) => return Err(rights::refused()),
            Err(Errno::EAGAIN) => return Ok(Received::Nothing),
            Err(cause) => return Err(cause.into()),
        }
        let mut bytes = vec![0_u8; MAX_MESSAGE];
        let message = match receive_into(self.as_fd(), &mut bytes, flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(Received::Nothing),
            Err(cause) => return Err(cause.into()),
        };
        if message.cut & refused != 0 {
            let text = format!(
                "receive: expected at most {MAX_MESSAGE} bytes and {MAX_FDS} descriptors, found a bigger message or no room for its descriptors"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let Message { length, fds, sender, .. } = message;
        // An empty message is an end only if nothing came with it: the kernel attaches credentials to messages, not to
        // the end.
        if length == 0 && fds.is_empty() && sender.is_none() {
            return Ok(Received::Closed);
        }
        bytes.truncate(length);
        bytes.shrink_to_fit();
        Ok(Received::Packet(Packet { bytes, fds, sender }))
    }

    /// Switches between blocking and non-blocking. The flag belongs to the open socket: every process that shares this end
    /// sees it.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        let mut flags = OFlag::from_bits_retain(fcntl(self, FcntlArg::F_GETFL)?);
        flags.set(OFlag::O_NONBLOCK, on);
        fcntl(self, FcntlArg::F_SETFL(flags))?;
        Ok(())
    }

    /// Has the kernel report on this end which process sent each message (`SO_PASSCRED`, unix(7)).
    pub fn pass_credentials(&self) -> io::Result<()> {
        Ok(setsockopt(self, sockopt::PassCred, &true)?)
    }
}

/// The results of recvmsg(2) besides the bytes.
struct Message {
    length: usize,
    /// The ways in which the message was cut: `MSG_TRUNC`, `MSG_CTRUNC`.
    cut: libc::c_int,
    fds: Vec<OwnedFd>,
    sender: Option<i32>,
}

fn receive_into(from: BorrowedFd<'_>, bytes: &mut [u8], flags: libc::c_int) -> Result<Message, Errno> {
    let mut control = Control([0; CONTROL_WORDS]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is a C struct for which all zeros is a valid, empty value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control.0) as _;
    let length = loop {
        // SAFETY: header points to `part` and `control`, `part` to `bytes`; all live through the call and have the lengths
        // given.
        let got = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC | flags) };
        match Errno::result(got) {
            Ok(length) => break length.unsigned_abs(),
            // The other end was closed with messages of ours unread. That is reported once; the messages that it sent
            // come after.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(cause) => return Err(cause),
        }
    };
    // SAFETY: recvmsg filled `control`, which is alive, and set its length.
    let (fds, sender) = unsafe { take_control(&header) };
    Ok(Message { length, cut: header.msg_flags, fds, sender })
}

/// Reads every control message that was received: each descriptor becomes owned, also if the caller refuses the
/// message.
///
/// # Safety
/// `header` must be as recvmsg left it, its control buffer alive, and this must be called once for each message.
unsafe fn take_control(header: &libc::msghdr) -> (Vec<OwnedFd>, Option<i32>) {
    let mut fds = Vec::new();
    let mut sender = None;
    // SAFETY: recvmsg filled the control buffer of `header` and set its length.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header within the buffer.
        let message = unsafe { &*next };
        // SAFETY: `next` points to a header.
        let data = unsafe { libc::CMSG_DATA(next) };
        if message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: CMSG_LEN only adds sizes.
            let length = (message.cmsg_len as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
            for n in 0..length / mem::size_of::<RawFd>() {
                // SAFETY: the kernel wrote `length` bytes of descriptors, not necessarily aligned.
                let fd = unsafe { data.add(n * mem::size_of::<RawFd>()).cast::<RawFd>().read_unaligned() };
                // SAFETY: the descriptor is new in this process, and nothing else owns it.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        } else if message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SCM_CREDENTIALS {
            // SAFETY: the kernel wrote one ucred.
            let credentials = unsafe { data.cast::<libc::ucred>().read_unaligned() };
            // 0 is a message sent before credentials were asked for, or a sender outside this pid namespace.
            sender = (credentials.pid > 0).then_some(credentials.pid);
        }
        // SAFETY: as CMSG_FIRSTHDR above.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    (fds, sender)
}

/// The control buffer, aligned as `cmsghdr` wants it.
#[repr(align(8))]
struct Control([u64; CONTROL_WORDS]);

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.0.into()
    }
}

/// The longest message, in bytes. A third of the kernel's default socket buffer (212,992), so that a few are under way.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The most descriptors in one message: the kernel's own `SCM_MAX_FD`, so that no message that could be sent is cut here.
pub const MAX_FDS: usize = 253;

/// Room for 253 descriptors (16 + 1012 bytes, padded) and credentials (16 + 12 bytes, padded), in 8-byte words.
const CONTROL_WORDS: usize = (1032 + 32) / 8;
