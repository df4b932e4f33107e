//! The socket of a connection, and the TLS on it, if there is any. It reads and writes and never blocks. Without TLS it
//! is the socket, and costs a look at a pointer.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::socket::{self, More, Read};
use crate::tls::{Session, Shaken, Variables};

/// A connected socket.
pub(crate) struct Stream {
    socket: OwnedFd,
    tls: Option<SharedSession>,
}

/// A session, which the I/O thread may have to use in the place of a thread that does not come back. It is locked for
/// steps that do not block.
pub(crate) type SharedSession = Arc<Mutex<Session>>;

impl Stream {
    pub(crate) fn plain(socket: OwnedFd) -> Stream {
        Stream { socket, tls: None }
    }

    pub(crate) fn encrypted(socket: OwnedFd, session: Session) -> Stream {
        Stream { socket, tls: Some(Arc::new(Mutex::new(session))) }
    }

    /// Returns a second handle of the same connection.
    pub(crate) fn copy(&self) -> io::Result<Stream> {
        Ok(Stream { socket: self.socket.try_clone()?, tls: self.tls.clone() })
    }

    /// Returns the TLS on it.
    pub(crate) fn session(&self) -> Option<&SharedSession> {
        self.tls.as_ref()
    }

    fn locked(&self) -> Option<MutexGuard<'_, Session>> {
        self.tls.as_ref().map(lock)
    }

    /// Goes on with the handshake, if there is one to be done.
    pub(crate) fn shake_hands(&self) -> Shaken {
        self.locked().map_or(Shaken::Done, |mut session| session.shake_hands(self.as_fd()))
    }

    /// Drops the TLS: what follows is plain text.
    pub(crate) fn fall_back(&mut self) {
        self.tls = None;
    }

    /// Returns what an application is told of the TLS.
    pub(crate) fn variables(&self) -> Option<Arc<Variables>> {
        self.locked()?.variables()
    }

    /// As [`socket::read`].
    pub(crate) fn read(&self, buffer: &mut Vec<u8>, room: usize) -> Read {
        match self.locked() {
            None => socket::read(self.as_fd(), buffer, room),
            Some(mut session) => session.read(self.as_fd(), buffer, room),
        }
    }

    /// As [`socket::read_into`].
    pub(crate) fn read_into(&self, room: &mut [MaybeUninit<u8>]) -> Read {
        match self.locked() {
            None => socket::read_into(self.as_fd(), room),
            Some(mut session) => session.read_into(self.as_fd(), room),
        }
    }

    /// As [`socket::write`].
    pub(crate) fn write(&self, pieces: &[&[u8]; 3], more: More) -> io::Result<usize> {
        match self.locked() {
            None => socket::write(self.as_fd(), pieces, more),
            Some(mut session) => session.write(self.as_fd(), pieces, more),
        }
    }

    /// As [`socket::send_file`].
    pub(crate) fn send_file(&self, file: &File, offset: u64, most: u64) -> io::Result<Option<u64>> {
        match self.locked() {
            None => socket::send_file(self.as_fd(), file.as_fd(), offset, most),
            Some(mut session) => session.send_file(self.as_fd(), file, offset, most),
        }
    }

    /// Returns for how many milliseconds nothing has come.
    pub(crate) fn quiet_for(&self) -> u64 {
        socket::quiet_for(self.as_fd())
    }

    /// True if the client has sent bytes that were not read.
    pub(crate) fn has_unread(&self) -> bool {
        socket::has_unread(self.as_fd()) || self.locked().is_some_and(|mut session| session.has_unread())
    }

    /// True if encrypted bytes wait for the kernel that are in no send buffer any more.
    pub(crate) fn has_sealed(&self) -> bool {
        self.locked().is_some_and(|session| session.has_sealed())
    }

    /// Returns how many bytes the client has not taken: of `pending` ones that were not reported as written, and of
    /// those in the kernel.
    pub(crate) fn outstanding(&self, pending: u64) -> u64 {
        let ahead = self.locked().map_or(0, |session| session.sent_ahead() as u64);
        (pending + socket::unacknowledged(self.as_fd())).saturating_sub(ahead)
    }

    /// Drops what was to be written before.
    pub(crate) fn forget_unwritten(&self) {
        if let Some(mut session) = self.locked() {
            session.forget_unwritten();
        }
    }

    /// Tells the client by TLS that this is all. Only where it is: a client that is told so takes the response for
    /// whole.
    pub(crate) fn say_goodbye(&self) {
        if let Some(mut session) = self.locked() {
            session.say_goodbye(self.as_fd());
        }
    }

    /// Tells the client that no more bytes will come; it may still send.
    pub(crate) fn finish_writing(&self) {
        self.say_goodbye();
        socket::finish_writing(self.as_fd());
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Locks a session. A panic within a step was caught for one exchange, which the session does not outlive.
pub(crate) fn lock(session: &SharedSession) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
