//! How long requests may be in the application. The helper looks at it: it needs no interpreter for that, and gets its turn
//! whatever the application does.
//!
//! ```text
//! in time --timeout--> told: a line in the log, the stack, the exception --grace--> lost: the client is answered, the thread is
//!                        |                                                            given up, the worker replaced
//!                        '-- it ends: the worker is replaced
//! ```
//!
//! Who cannot get the interpreter when a request is told, because something holds it, is not lost by this: nobody in the
//! worker can go on, and the master kills it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::http::error_page::error_response;
use crate::log::CRITICAL;
use crate::os::clock;
use crate::worker::Spent;
use crate::worker::reactor::Reactor;
use crate::worker::threads::Worker;

/// What a worker does about requests that take too long.
pub struct TimeoutRules<'a> {
    /// How long a request may be in the application.
    pub timeout: Duration,
    /// What comes of one that is longer there.
    pub then: Then,
    /// What the requests of other threads get to finish when a thread is given up.
    pub patience: Duration,
    /// Is a worker replaced in which a request was ended?
    pub recycle: bool,
    /// The number of the worker.
    pub worker: usize,
    /// Says where a request is stuck, and ends it if it can.
    pub tell: Box<dyn Fn(Late) + Send + Sync + 'a>,
}

/// What comes of a request that has taken too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing but lines in the log.
    Warn,
    /// It is ended by an exception; and if that does not help for so long, by force.
    Raise(Duration),
    /// It is ended by force.
    Cut,
}

/// A request that has taken too long.
#[derive(Debug)]
pub struct Late {
    /// The thread's number in the worker.
    pub thread: usize,
    /// The request's number in the thread's slot of the scoreboard.
    pub request: u64,
    /// Is it to be ended?
    pub raise: bool,
    /// Takes the request's number as soon as the interpreter is had.
    pub heard: Arc<AtomicU64>,
}

/// What is known of each thread's request.
pub(crate) struct RequestTimeouts {
    threads: Vec<Watched>,
    /// Threads that are given up.
    lost: usize,
    /// When somebody looked last, in ns of the monotonic clock.
    looked: u64,
}

#[derive(Default)]
struct Watched {
    stage: Stage,
    heard: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    InTime,
    /// This request has taken too long.
    Told(u64),
    /// And nobody could do anything about it from within.
    Locked(u64),
    Lost(u64),
}

impl RequestTimeouts {
    pub(crate) fn new(threads: usize) -> RequestTimeouts {
        RequestTimeouts { threads: (0..threads).map(|_| Watched::default()).collect(), lost: 0, looked: 0 }
    }

    /// How many threads are given up.
    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    /// Is this thread given up?
    pub(crate) fn is_lost(&self, thread: usize) -> bool {
        matches!(self.threads[thread].stage, Stage::Lost(_))
    }

    /// A thread comes back from the application; says whether it was late.
    pub(crate) fn returned(&mut self, thread: usize) -> bool {
        let watched = &mut self.threads[thread];
        if watched.stage == Stage::InTime {
            return false;
        }
        if matches!(watched.stage, Stage::Lost(_)) {
            self.lost -= 1;
        }
        watched.stage = Stage::InTime;
        true
    }

    /// Nobody has looked since `at`, and nobody had to.
    pub(crate) fn rested_until(&mut self, at: u64) {
        self.looked = at;
    }
}

impl<'a> Worker<'a> {
    /// Looks at the requests in the application.
    pub(crate) fn watch(&self, held: &mut Reactor<'a>) {
        let Some(deadline) = &self.setup().request_timeout else { return };
        let now = clock::monotonic();
        let gap = now.saturating_sub(held.deadlines.looked);
        held.deadlines.looked = now;
        for thread in 0..self.threads() {
            if !held.states.is_calling(thread) {
                continue;
            }
            let slot = &self.setup().slots[thread];
            // None while it waits for its client.
            let Some((since, request)) = slot.busy_since() else { continue };
            if gap > HELD_UP_NS {
                // The process stood still: nobody could have gone on.
                slot.extend(gap.min(now.saturating_sub(since)));
            }
            let elapsed = now.saturating_sub(since).saturating_sub(slot.extended());
            self.judge(held, deadline, thread, request, Duration::from_nanos(elapsed));
        }
    }

    fn judge(
        &self,
        held: &mut Reactor<'a>,
        deadline: &TimeoutRules<'_>,
        thread: usize,
        request: u64,
        elapsed: Duration,
    ) {
        let force = match deadline.then {
            Then::Warn => None,
            Then::Raise(grace) => Some(grace),
            Then::Cut => Some(TELL),
        };
        let watched = &mut held.deadlines.threads[thread];
        match watched.stage {
            Stage::Told(known) if known == request => {
                if force.is_some_and(|force| elapsed >= deadline.timeout + force) {
                    self.cut(held, deadline, thread, request);
                }
            }
            Stage::Locked(known) | Stage::Lost(known) if known == request => {}
            _ if elapsed < deadline.timeout => {}
            _ => {
                watched.stage = Stage::Told(request);
                self.say(deadline, thread);
                let raise = matches!(deadline.then, Then::Raise(_));
                (deadline.tell)(Late { thread, request, raise, heard: Arc::clone(&watched.heard) });
            }
        }
    }

    fn say(&self, deadline: &TimeoutRules<'_>, thread: usize) {
        let slot = &self.setup().slots[thread];
        let line = slot.request_line();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let since = slot.busy_since().map_or(0, |(since, _)| clock::monotonic().saturating_sub(since));
        let elapsed = format!("{:.1}", Duration::from_nanos(since).as_secs_f64());
        let (worker, timeout) = (deadline.worker, deadline.timeout.as_secs_f64());
        match deadline.then {
            Then::Warn => {
                tracing::warn!(
                    method,
                    path,
                    elapsed,
                    slot = worker,
                    thread,
                    timeout,
                    "request takes long\nhint: timeout, if it is set, ends such requests"
                );
            }
            Then::Raise(_) | Then::Cut => {
                tracing::error!(
                    target: CRITICAL, method, path, elapsed, slot = worker, thread, timeout, "request timed out"
                );
            }
        }
    }

    /// The client waits no longer; the thread is given up.
    fn cut(&self, held: &mut Reactor<'a>, deadline: &TimeoutRules<'_>, thread: usize, request: u64) {
        let (date, page) = (held.texts.date(), self.setup().error_pages.of(504));
        let mut answer = Vec::new();
        error_response(&mut answer, 504, date, None, page.as_ref());
        let answered = self.claims[thread].cut(&answer);
        let watched = &mut held.deadlines.threads[thread];
        let worker = deadline.worker;
        if watched.heard.load(Ordering::Acquire) == request {
            watched.stage = Stage::Lost(request);
            held.deadlines.lost += 1;
            self.setup().slots[thread].extend(u64::try_from(deadline.patience.as_nanos()).unwrap_or(u64::MAX));
            tracing::error!(
                target: CRITICAL, slot = worker, thread, answered,
                "request did not end, its connection is closed and its thread given up"
            );
            held.ask_for_replacement(Spent::Timeout);
        } else {
            watched.stage = Stage::Locked(request);
            tracing::error!(
                target: CRITICAL, slot = worker, thread, answered,
                "request did not end, its connection is closed; something holds Python's lock"
            );
        }
    }
}

/// What a look at the stack may take before a thread is given up.
const TELL: Duration = Duration::from_millis(250);
/// The helper looks every few milliseconds; a busy machine is late by less.
const HELD_UP_NS: u64 = 1_000_000_000;
