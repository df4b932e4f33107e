//! Bytes of a response under way that the thread which makes it does not send: those that the kernel holds back because
//! others follow at once, and those that wait for a slow client. The I/O thread has them sent when nothing follows. It
//! knows no request.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::os::clock;
use crate::os::socket::{self, More};
use crate::worker::connection::send_queue::{Flushed, SharedQueue};
use crate::worker::connection::stream::Stream;

/// The pace at which the pieces of one response follow each other.
pub(crate) struct Pace<'c> {
    cork: &'c Cork,
    /// The moment of the last one, in ns of the monotonic clock; 0 before the first.
    last: u64,
    /// True if the kernel may hold something back, or the I/O thread sends a queue.
    pub(super) is_held: bool,
}

impl<'c> Pace<'c> {
    pub(crate) fn new(cork: &'c Cork) -> Pace<'c> {
        Pace { cork, last: 0, is_held: false }
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
            self.is_held = true;
            More::Follows
        } else {
            More::Ends
        }
    }

    /// Has the I/O thread send what waits in `queue`, for as long as the application makes the response.
    pub(crate) fn share(&mut self, stream: &Stream, queue: &SharedQueue) {
        self.is_held |= self.cork.share(stream, queue);
    }

    /// Has the kernel send what it holds back.
    pub(crate) fn push(&self, stream: BorrowedFd<'_>) {
        if self.is_held {
            socket::push(stream.as_raw_fd());
        }
    }

    /// Has the kernel send what it holds back, and the I/O thread send nothing more: the response is made.
    pub(crate) fn end(&mut self, stream: BorrowedFd<'_>) {
        if self.is_held {
            self.cork.release();
            self.is_held = false;
            socket::push(stream.as_raw_fd());
        }
    }

    /// Notes that the kernel holds nothing back any more.
    pub(crate) fn let_go(&mut self) {
        if self.is_held && !self.cork.has_queue() {
            self.cork.release();
            self.is_held = false;
        }
    }
}

/// What the I/O thread is to send of one thread's response.
#[derive(Default)]
pub(crate) struct Cork {
    /// The socket for which the kernel holds something back. It stays open while it stands here.
    held: Mutex<Option<RawFd>>,
    /// What waits for the client, and a handle of its connection.
    queue: Mutex<Option<(Stream, SharedQueue)>>,
    /// True if there is a queue.
    has_queue: AtomicBool,
}

impl Cork {
    /// Notes that the kernel holds back bytes of `stream`. The caller calls [`release`](Self::release) before it closes
    /// that.
    pub(crate) fn hold(&self, stream: BorrowedFd<'_>) {
        *lock(&self.held) = Some(stream.as_raw_fd());
    }

    /// Has the I/O thread send what waits in `queue`. False without a descriptor for that: then the thread of the
    /// response does, with the next piece.
    fn share(&self, stream: &Stream, queue: &SharedQueue) -> bool {
        let mut shared = lock(&self.queue);
        if !shared.as_ref().is_some_and(|(_, known)| Arc::ptr_eq(known, queue)) {
            *shared = stream.copy().ok().map(|stream| (stream, Arc::clone(queue)));
            self.has_queue.store(shared.is_some(), Ordering::Release);
        }
        shared.is_some()
    }

    /// Notes that nothing is held back any more, and has the I/O thread send nothing more.
    pub(crate) fn release(&self) {
        *lock(&self.held) = None;
        if self.has_queue() {
            *lock(&self.queue) = None;
            self.has_queue.store(false, Ordering::Release);
        }
    }

    /// Has the kernel send what it holds back.
    pub(crate) fn push(&self) {
        // It stays: what is told to be held back may not have been written yet.
        let held = lock(&self.held);
        if let Some(stream) = *held {
            socket::push(stream);
        }
    }

    /// True if something may wait for the client.
    pub(crate) fn has_queue(&self) -> bool {
        self.has_queue.load(Ordering::Acquire)
    }

    /// Sends what waits for the client, as far as it takes it now. It may wait for a disk.
    pub(crate) fn send_queue(&self) {
        let shared = lock(&self.queue);
        let Some((stream, queue)) = &*shared else { return };
        // The thread of the response has it otherwise, and sends.
        let Ok(mut queue) = queue.try_lock() else { return };
        for _ in 0..TURNS {
            // A failure is found again by the thread of the response.
            if !matches!(queue.flush(stream, [b"", b""]), Ok((Flushed::TurnOver, _))) {
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Making a piece takes an application that has all it needs less than this.
const AT_ONCE_NS: u64 = 100_000;
/// Parts of a file that are sent to one client before others have a turn.
const TURNS: u32 = 4;
