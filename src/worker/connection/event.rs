//! What happens to a connection, and what it wants next.

use std::io;

use super::request::Outcome;
use super::request_body::BodyBuffer;
use super::send_buffer::Flushed;

/// What happens to a connection.
pub(crate) enum Event {
    /// It was accepted, or handed off to this worker.
    Begun,
    /// The kernel says this of its socket.
    Ready(Readiness),
    /// It has its turn among the connections that have more to do.
    Turn,
    /// Its deadline is over.
    Deadline,
    /// The worker begins to shut down.
    Shutdown,
    /// No thread is free for its request.
    NoThread,
    /// A step that may block was done, by [`Connection::block`].
    Unblocked(io::Result<Flushed>),
    /// A buffer was given for its body, or none.
    Buffer(Option<Box<dyn BodyBuffer>>),
    /// Its request was answered.
    Answered(Outcome),
}

/// What a connection wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To be left alone until the kernel or its deadline says something.
    Wait,
    /// The same, and another turn soon.
    Again,
    /// To be closed.
    Close,
    /// Something that only a thread can do.
    Work(Work),
}

/// What only a thread can do for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Have its request answered, by [`Connection::begin`].
    Request,
    /// Wait for a disk or compute a handshake, by [`Connection::block`].
    Blocking,
    /// Ask the application for a buffer of this length.
    Buffer(usize),
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness(u8);

impl Readiness {
    pub(crate) const READ: Readiness = Readiness(1);
    pub(crate) const WRITE: Readiness = Readiness(2);
    /// The client will send no more.
    pub(crate) const END: Readiness = Readiness(4);
    /// The connection is gone.
    pub(crate) const BROKEN: Readiness = Readiness(8);

    pub(crate) fn has(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn add(&mut self, other: Readiness, is_there: bool) {
        self.0 |= if is_there { other.0 } else { 0 };
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn merge(&mut self, other: Readiness) {
        self.0 |= other.0;
    }
}
