//! Events of a connection, and the next step that it wants.

use std::io;

use super::request::{Outcome, PendingRequest};
use super::request_body::BodyBuffer;
use super::send_queue::Flushed;
use crate::worker::millis::Millis;

/// An event of a connection.
pub(crate) enum Event {
    /// It was accepted, or handed off to this worker.
    Begun,
    /// The kernel says this of its socket.
    Ready(Readiness),
    /// It has its turn among the connections that have more to do.
    Turn,
    /// Its deadline may be over.
    Deadline,
    /// Bytes may have come that the kernel will not speak of again.
    Look,
    /// The kernel said this of its socket while a thread had the connection.
    Missed(Readiness),
    /// No thread is free for its request.
    NoThread(PendingRequest),
    /// A step that may block was done, by [`Connection::block`].
    Unblocked(io::Result<Flushed>),
    /// A buffer was given for its body, or none.
    Buffer(Option<Box<dyn BodyBuffer>>),
    /// There may be room for its body again.
    Room,
    /// Its request was answered.
    Answered(Outcome),
}

/// The next step that a connection wants.
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

/// A task that only a thread can do for a connection.
pub(crate) enum Work {
    /// Have its request answered.
    Request(PendingRequest),
    /// Wait for a disk or compute a handshake, by [`Connection::block`](super::Connection::block).
    Blocking,
    /// Ask the application for a buffer of this length.
    Buffer(usize),
}

/// What the reactor has to know of a connection that it parks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) activity: Activity,
    /// The moment of the accept, of the begin of its head, or of its last response: whichever was last.
    pub(crate) since: Millis,
    pub(crate) deadline: Millis,
    /// True if the kernel is to say when more can be sent.
    pub(crate) writes: bool,
    /// True if it has begun to wait for room for its body, and is to be told of that.
    pub(crate) asks_for_room: bool,
}

/// The readiness of a socket, as the kernel reports it.
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

/// The activity of a connection, for the order in which connections give way, and for `rwsgi status`. The scoreboard
/// counts them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Nothing has come yet.
    Silent,
    /// A head or a TLS handshake is unfinished.
    Head,
    /// Nothing, after a request was answered, or after one was refused, of which the rest is dropped.
    Idle,
    /// More of a request is to be read: its body, or what has come already.
    Reading,
    /// Its request waits for a thread.
    Waiting,
    /// Its request is in the application.
    Application,
    /// The rest of a response is to be sent.
    Writing,
}
