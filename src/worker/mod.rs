//! The worker: connections, the one epoll loop that serves them, and the threads that call the application. It does not
//! know how to bind, fork or read a configuration file, and of Python it knows three verbs, [`Application`].
//!
//! `connection/` is one connection, a machine; `exchange/` is one request as the application's side sees it; `reactor/`
//! turns what the kernel says into jobs; `threads/` does them. Each imports only what stands before it.

mod connection;
mod error_pages;
mod exchange;
mod millis;
mod reactor;
mod responder;
mod spill_file;
mod threads;

use std::os::fd::BorrowedFd;

pub use connection::body_budget::BodyBudget;
pub use connection::context::{AccessRules, ResponseRoom, ServeRules, Timeouts};
pub use connection::receive_rate::ReceiveLimits;
pub use connection::request_body::{Body, BodyBuffer};
pub use connection::send_queue::SharedBody;
pub use connection::send_timeout::SendLimits;
pub use connection::streamed_body::BodyError;
pub use error_pages::ErrorPages;
pub use exchange::body_reader::BodyReader;
pub use exchange::hijack::HijackedStream;
pub use exchange::own_request::{OwnRequest, answer};
pub use exchange::{Delivery, Exchange};
pub use reactor::handoff::{Handoff, HandoffEnds};
pub use reactor::shutdown::Ending;
pub use spill_file::try_spilling;
pub use threads::Worker;
pub use threads::request_timeout::{Late, Then, TimeoutRules};

use crate::os::listener::Listener;
use crate::os::scoreboard::Slot;
use crate::os::signal::Signals;
use crate::tls::Identity;

/// The application, as a worker calls it, and steps that may block.
pub trait Application {
    /// Answers one request through `exchange`. It does not fail: what goes wrong is answered and logged.
    fn call(&self, exchange: &mut Exchange<'_>);

    /// Returns a buffer of `length` bytes for a request's body, if there is one to give.
    fn body_buffer(&self, length: usize) -> Option<Box<dyn BodyBuffer>>;

    /// Runs a step that may block, detached, so that the application's threads run.
    fn detached<T>(&self, step: impl FnOnce() -> T) -> T;
}

/// An order of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Finish what there is and end; others serve on.
    Retire,
    /// Finish what there is and end; the server stops.
    Finish,
    /// End at once.
    Quit,
    /// Nothing now, or nothing that concerns the reactor.
    Nothing,
    /// Nothing ever again.
    Closed,
}

/// A reason for which a worker asks to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It has begun `max_requests`.
    Requests,
    /// A request was ended by its timeout; what it held may be broken.
    Timeout,
    /// Memory has been short for too long.
    Memory,
    /// It cannot open a file or take a connection, and has no connection to close for that.
    Descriptors,
}

/// The source of orders.
pub struct Orders<'a> {
    /// Readable when there is one.
    pub channel: BorrowedFd<'a>,
    /// Takes the next one; never blocks.
    pub next: Box<dyn Fn() -> Order + Send + Sync + 'a>,
}

/// Everything that a worker is given.
pub struct Setup<'a> {
    /// The sockets to accept from.
    pub listeners: &'a [Listener],
    /// The identity that every connection is encrypted with; without it none is.
    pub tls: Option<Identity>,
    /// TERM (graceful) and QUIT (quick) of people arrive here.
    pub signals: Signals,
    /// The master's orders arrive here.
    pub orders: Orders<'a>,
    /// The slots of the scoreboard, one a thread: there are as many threads.
    pub slots: Vec<Slot>,
    /// True if the scoreboard says how busy the threads are.
    pub is_measured: bool,
    /// The queue of connections that another worker can serve sooner.
    pub handoff: Handoff<'a>,
    /// True if connections may go to other workers.
    pub has_others: bool,
    /// The most connections at a time.
    pub worker_connections: usize,
    /// After this many requests the worker asks to be replaced; 0 is never.
    pub max_requests: u64,
    /// The rules by which connections are served.
    pub serve: ServeRules,
    /// The rules for requests that take too long, if there are any.
    pub timeout: Option<TimeoutRules<'a>>,
    /// Called when the worker is told to end at once, by whichever thread learns of it.
    pub on_quit: Option<Box<dyn Fn() + Send + Sync + 'a>>,
    /// The access log.
    pub access: Option<AccessRules>,
}
