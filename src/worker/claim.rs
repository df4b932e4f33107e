//! Who answers a request: the thread that runs the application, or the helper, when that thread has taken too long. Whoever
//! is first; the other one has nothing to say any more.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use crate::os::socket;

/// The right to answer the request that a thread runs.
#[derive(Debug)]
pub(super) struct Claim {
    state: AtomicU8,
    stream: AtomicI32,
}

impl Default for Claim {
    fn default() -> Claim {
        Claim { state: AtomicU8::new(BEGUN), stream: AtomicI32::new(-1) }
    }
}

impl Claim {
    /// A request begins on this connection, which stays open until the worker's lock is taken behind it.
    pub(super) fn open(&self, stream: BorrowedFd<'_>) {
        self.stream.store(stream.as_raw_fd(), Ordering::Relaxed);
        self.state.store(OPEN, Ordering::Release);
    }

    /// The thread begins to answer. `false` when it is too late: the client has had its answer.
    pub(super) fn take(&self) -> bool {
        self.state.compare_exchange(OPEN, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the connection in the thread's place, with `answer` if none has begun; says whether that was so. The caller holds
    /// the worker's lock and has seen the request run: the connection is open.
    pub(super) fn cut(&self, answer: &[u8]) -> bool {
        let unanswered = self.state.compare_exchange(OPEN, CUT, Ordering::AcqRel, Ordering::Acquire).is_ok();
        socket::cut(self.stream.load(Ordering::Relaxed), if unanswered { answer } else { b"" });
        unanswered
    }
}

/// Nobody has said anything.
const OPEN: u8 = 0;
/// The thread has.
const BEGUN: u8 = 1;
/// The helper has.
const CUT: u8 = 2;
