//! The right to answer a request. The thread that runs the application has it, or the I/O thread takes it when that
//! thread has taken too long. The first one answers, the other says nothing any more.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::os::socket::{self, More};
use crate::worker::connection::stream::{self, SharedSession, Stream};

/// The right to answer the request that a thread runs.
#[derive(Debug)]
pub(crate) struct ResponseOwner {
    state: AtomicU8,
    stream: AtomicI32,
    /// The TLS on it, if there is any.
    session: Mutex<Option<SharedSession>>,
}

impl Default for ResponseOwner {
    fn default() -> ResponseOwner {
        ResponseOwner { state: AtomicU8::new(BEGUN), stream: AtomicI32::new(-1), session: Mutex::default() }
    }
}

impl ResponseOwner {
    /// Begins a request on this connection, which stays open until the worker's lock is taken after it.
    pub(crate) fn open(&self, stream: &Stream) {
        self.stream.store(stream.as_fd().as_raw_fd(), Ordering::Relaxed);
        if let Some(session) = stream.session() {
            // Connections of one worker all have one, or none has.
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(SharedSession::clone(session));
        }
        self.state.store(OPEN, Ordering::Release);
    }

    /// Takes the right for the thread. False if it is too late: the client has had its answer.
    pub(crate) fn take(&self) -> bool {
        self.state.compare_exchange(OPEN, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// True if the thread has begun to answer, in a call that is under way.
    pub(crate) fn has_begun(&self) -> bool {
        self.state.load(Ordering::Relaxed) == BEGUN
    }

    /// Ends the connection in the thread's place, with `answer` if none has begun. True if that was so. The caller
    /// holds the worker's lock and has seen the request run: the connection is open.
    pub(crate) fn abort_with(&self, answer: &[u8]) -> bool {
        let unanswered = self.state.compare_exchange(OPEN, ABORTED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let answer = if unanswered { answer } else { b"" };
        let stream = self.stream.load(Ordering::Relaxed);
        match &*self.session.lock().unwrap_or_else(PoisonError::into_inner) {
            None => socket::cut(stream, answer),
            Some(session) => socket::with_open(stream, |stream| abort_encrypted(session, stream, answer)),
        }
        unanswered
    }
}

/// As [`socket::cut`], with TLS.
fn abort_encrypted(session: &SharedSession, stream: BorrowedFd<'_>, answer: &[u8]) {
    let mut session = stream::lock(session);
    if !answer.is_empty() && session.write(stream, &[answer, b"", b""], More::Ends).is_ok() {
        session.say_goodbye(stream);
    }
    socket::finish(stream);
}

/// Nothing was said.
const OPEN: u8 = 0;
/// The thread has begun to answer.
const BEGUN: u8 = 1;
/// The I/O thread has ended the connection.
const ABORTED: u8 = 2;
