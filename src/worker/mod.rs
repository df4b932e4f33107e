//! The worker: connections, the one epoll loop that serves them, and the threads that call the application. It does not
//! know how to bind, fork or read a configuration file, and of Python it knows three verbs, [`Application`].

mod connection;
mod error_pages;
mod exchange;
mod reactor;
mod threads;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

pub use connection::request_body::{Body, BodyBuffer};
pub use connection::send_buffer::SharedBody;
pub use connection::send_timeout::SendLimits;
pub use connection::streamed_body::BodyError;
pub use error_pages::ErrorPages;
pub use exchange::hijack::HijackedStream;
pub use exchange::warmup::warm_up;
pub use exchange::{Delivery, Exchange};
pub use reactor::Ending;
pub use reactor::handoff::{Handoff, HandoffEnds};
pub use threads::Worker;
pub use threads::request_timeout::{Late, Then, TimeoutRules};

use crate::http::access_log::AccessFormat;
use crate::http::{Limits, ProxyRules, Trust};
use crate::log::AccessLog;
use crate::os::listener::Listener;
use crate::os::scoreboard::Slot;
use crate::os::signal::Signals;
use crate::tls::Identity;

/// What a worker calls: the application, and steps that may block.
pub trait Application {
    /// Answers one request through `exchange`. It does not fail: what goes wrong is answered and logged.
    fn call(&self, exchange: &mut Exchange<'_>);

    /// Memory for a request's body of so many bytes, if it has some to give.
    fn memory(&self, length: usize) -> Option<Box<dyn BodyBuffer>>;

    /// Runs a step that may block with the interpreter's lock laid down, so that the application's threads run.
    fn detached<T>(&self, step: impl FnOnce() -> T) -> T;
}

/// What the master may say to a worker, besides signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Finish what there is and end; others serve on.
    Retire,
    /// Nothing now, or nothing that is the loop's business.
    Nothing,
    /// Nothing ever again.
    Closed,
}

/// Why a worker asks to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It has begun `max_requests`.
    Requests,
    /// A request was ended by its deadline; what it held may be broken.
    Timeout,
}

/// Where orders come from.
pub struct Orders<'a> {
    /// Readable when there is one.
    pub channel: BorrowedFd<'a>,
    /// Takes the next one; never blocks.
    pub next: Box<dyn Fn() -> Order + Send + Sync + 'a>,
}

/// What a worker is given.
pub struct Setup<'a> {
    /// Where to accept.
    pub listeners: &'a [Listener],
    /// What every connection is encrypted with; without it none is.
    pub tls: Option<Identity>,
    /// TERM (graceful) and QUIT (quick) arrive here.
    pub signals: Signals,
    /// The master's orders arrive here.
    pub orders: Orders<'a>,
    /// The slots of the scoreboard, one a thread: so many threads there are.
    pub slots: Vec<Slot>,
    /// Is it noted how busy the threads are?
    pub is_measured: bool,
    /// Where connections go that another worker could serve sooner, and come from.
    pub handoff: Handoff<'a>,
    /// May connections go to other workers?
    pub has_others: bool,
    /// How many connections there may be.
    pub worker_connections: usize,
    /// How long a whole request may wait for a free thread.
    pub queue_timeout: Option<Duration>,
    /// What a request may be.
    pub limits: Limits,
    /// Which PROXY headers are taken, and from whom.
    pub proxy: ProxyRules,
    /// Who is believed about a request.
    pub trust: Trust,
    /// Pages of one's own for refused and failed requests.
    pub error_pages: ErrorPages,
    /// How long a connection may idle between requests; zero answers every request with `Connection: close`.
    pub keep_alive: Duration,
    /// From a head's first byte to its last.
    pub head_timeout: Option<Duration>,
    /// Between two pieces of a body.
    pub body_timeout: Option<Duration>,
    /// For clients that take their response slowly.
    pub send_limits: SendLimits,
    /// How long the rest of a refused request is read and dropped.
    pub lingering: Duration,
    /// Bodies up to this many bytes stay in memory; 0 leaves them to the application to receive.
    pub post_buffering: usize,
    /// How long a worker that retires waits for requests on connections that idle.
    pub lame_duck: Duration,
    /// Where larger bodies are kept.
    pub spill_directory: PathBuf,
    /// What is done about requests that take too long; none is nothing.
    pub request_timeout: Option<TimeoutRules<'a>>,
    /// After this many requests `spent` is called; 0 is never.
    pub max_requests: u64,
    /// Where and how requests are noted.
    pub access: Option<(AccessLog, AccessFormat)>,
}
