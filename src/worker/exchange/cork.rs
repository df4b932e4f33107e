//! Pieces of a response that the kernel holds back because others follow at once. The I/O thread has them sent when
//! nothing follows. It knows no request.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crate::os::clock;
use crate::os::socket::{self, More};

/// The pace at which the pieces of one response follow each other.
#[derive(Debug)]
pub(crate) struct Pace<'c> {
    cork: &'c Cork,
    /// The moment of the last one, in ns of the monotonic clock; 0 before the first.
    last: u64,
    /// True if the kernel may hold something back.
    pub(super) is_corked: bool,
}

impl<'c> Pace<'c> {
    pub(crate) fn new(cork: &'c Cork) -> Pace<'c> {
        Pace { cork, last: 0, is_corked: false }
    }

    /// Says whether the kernel may hold back a piece that is about to be sent. Only after one that came shortly before,
    /// so that pieces that are made slowly are sent at once.
    pub(crate) fn next(&mut self, stream: BorrowedFd<'_>) -> More {
        let now = clock::monotonic();
        let follows = self.last != 0 && now.saturating_sub(self.last) < AT_ONCE_NS;
        self.last = now;
        if follows {
            // Before it is written: the I/O thread may come at any time.
            self.cork.hold(stream);
            self.is_corked = true;
            More::Follows
        } else {
            More::Ends
        }
    }

    /// Has the kernel send what it holds back: nothing follows for now.
    pub(crate) fn end(&mut self, stream: BorrowedFd<'_>) {
        if self.is_corked {
            self.cork.release();
            self.is_corked = false;
            socket::push(stream.as_raw_fd());
        }
    }

    /// Notes that nothing is held back any more.
    pub(crate) fn let_go(&mut self) {
        if self.is_corked {
            self.cork.release();
            self.is_corked = false;
        }
    }
}

/// The bytes that the kernel holds back for one thread's response.
#[derive(Debug, Default)]
pub(crate) struct Cork {
    /// The socket. It stays open while it stands here.
    held: Mutex<Option<RawFd>>,
}

impl Cork {
    /// Notes that the kernel holds back bytes of `stream`. The caller calls [`release`](Self::release) before it closes
    /// that.
    pub(crate) fn hold(&self, stream: BorrowedFd<'_>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.as_raw_fd());
    }

    /// Notes that nothing is held back any more.
    pub(crate) fn release(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Has the kernel send what it holds back.
    pub(crate) fn push(&self) {
        // It stays: what is told to be held back may not have been written yet.
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = *held {
            socket::push(stream);
        }
    }
}

/// Making a piece takes an application that has all it needs less than this.
const AT_ONCE_NS: u64 = 100_000;
