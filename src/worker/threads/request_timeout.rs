//! The timeout of requests in the application. The I/O thread looks at it: it needs no GIL for that, and gets its turn
//! whatever the application does.
//!
//! ```text
//! in time --timeout--> told: a line in the log, the stack, the exception
//!                        |-- it ends: the worker is replaced
//!                        '-- grace --> lost: the client is answered, the thread is given up, the worker replaced
//! ```
//!
//! A thread that cannot acquire the GIL is not given up here: no thread of the worker can go on, and the master kills
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::log::CRITICAL;
use crate::os::clock;
use crate::os::scoreboard::Slot;
use crate::worker::exchange::response_owner::ResponseOwner;

/// The rules for requests that take too long.
pub struct TimeoutRules<'a> {
    /// The longest time of a request in the application.
    pub timeout: Duration,
    /// The fate of a request that is longer there.
    pub then: Then,
    /// The time that the requests of other threads get when a thread is given up.
    pub patience: Duration,
    /// True if a worker is replaced in which a request was ended.
    pub recycle: bool,
    /// The number of the worker.
    pub worker: usize,
    /// Writes where a request is stuck to the log, and ends it if it can.
    pub tell: Box<dyn Fn(Late) + Send + Sync + 'a>,
}

/// The fate of a request that has taken too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing but lines in the log.
    Warn,
    /// It is ended by an exception; and if that does not help for this time, by force.
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
    /// True if it is to be ended.
    pub raise: bool,
    /// Set to the request's number once the GIL is acquired.
    pub heard: Arc<AtomicU64>,
}

/// The state of each thread's request.
pub(super) struct RequestTimeouts {
    threads: Vec<Watched>,
    /// Number of threads whose requests have taken too long.
    pub(super) late: usize,
    /// Number of threads that are given up.
    lost: usize,
    /// The moment of the last look, in ns of the monotonic clock.
    looked: u64,
}

#[derive(Default)]
struct Watched {
    lateness: Lateness,
    heard: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lateness {
    #[default]
    InTime,
    /// This request has taken too long.
    Told(u64),
    /// And nothing could be done about it from within.
    Stuck(u64),
    /// Its thread is given up.
    Lost(u64),
}

/// One look at one request.
struct Look {
    thread: usize,
    request: u64,
    elapsed: Duration,
}

impl RequestTimeouts {
    pub(super) fn new(threads: usize) -> RequestTimeouts {
        RequestTimeouts { threads: (0..threads).map(|_| Watched::default()).collect(), late: 0, lost: 0, looked: 0 }
    }

    /// Returns how many threads are given up.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    /// True if this thread is given up.
    pub(super) fn is_lost(&self, thread: usize) -> bool {
        matches!(self.threads[thread].lateness, Lateness::Lost(_))
    }

    /// Notes that a thread comes back from the application. True if it was late.
    pub(super) fn returned(&mut self, thread: usize) -> bool {
        let lateness = std::mem::take(&mut self.threads[thread].lateness);
        if matches!(lateness, Lateness::Lost(_)) {
            self.lost -= 1;
        }
        let was_late = lateness != Lateness::InTime;
        self.late -= usize::from(was_late);
        was_late
    }

    /// Notes that there was no request to look at before `at`.
    pub(super) fn rested_until(&mut self, at: u64) {
        self.looked = at;
    }

    /// Looks at the calls of the application, each with the number of its thread. `answer` makes the response for a
    /// client whose request is given up. True if the worker is to be replaced.
    pub(super) fn watch<'s>(
        &mut self,
        rules: &TimeoutRules<'_>,
        calls: impl Iterator<Item = (usize, (&'s Slot, &'s ResponseOwner))>,
        mut answer: impl FnMut() -> Vec<u8>,
    ) -> bool {
        let now = clock::monotonic();
        let gap = now.saturating_sub(self.looked);
        self.looked = now;
        let mut replaces = false;
        for (thread, (slot, owner)) in calls {
            // None while it waits for its client.
            let Some((since, request)) = slot.busy_since() else { continue };
            if gap > HELD_UP_NS {
                // The process stood still: the request could not have gone on.
                slot.extend(gap.min(now.saturating_sub(since)));
            }
            let elapsed = now.saturating_sub(since).saturating_sub(slot.extended());
            let look = Look { thread, request, elapsed: Duration::from_nanos(elapsed) };
            if self.is_over(rules, slot, &look) {
                let answered = owner.abort_with(&answer());
                replaces |= self.give_up(rules, slot, &look, answered);
            }
        }
        replaces
    }

    /// Tells a request that has taken too long. True if it is to be ended by force now.
    fn is_over(&mut self, rules: &TimeoutRules<'_>, slot: &Slot, look: &Look) -> bool {
        let force = match rules.then {
            Then::Warn => None,
            Then::Raise(grace) => Some(grace),
            Then::Cut => Some(TELL),
        };
        let watched = &mut self.threads[look.thread];
        match watched.lateness {
            Lateness::Told(known) if known == look.request => {
                force.is_some_and(|force| look.elapsed >= rules.timeout + force)
            }
            Lateness::Stuck(known) | Lateness::Lost(known) if known == look.request => false,
            _ if look.elapsed < rules.timeout => false,
            _ => {
                self.late += usize::from(watched.lateness == Lateness::InTime);
                watched.lateness = Lateness::Told(look.request);
                log_late(rules, slot, look.thread);
                let raise = matches!(rules.then, Then::Raise(_));
                let heard = Arc::clone(&watched.heard);
                (rules.tell)(Late { thread: look.thread, request: look.request, raise, heard });
                false
            }
        }
    }

    /// Gives up the thread, whose client waits no longer. True if the worker is to be replaced.
    fn give_up(&mut self, rules: &TimeoutRules<'_>, slot: &Slot, look: &Look, answered: bool) -> bool {
        let watched = &mut self.threads[look.thread];
        let (worker, thread) = (rules.worker, look.thread);
        if watched.heard.load(Ordering::Acquire) != look.request {
            watched.lateness = Lateness::Stuck(look.request);
            tracing::error!(
                target: CRITICAL, slot = worker, thread, answered,
                "request did not end, its connection is closed; something holds Python's lock"
            );
            return false;
        }
        watched.lateness = Lateness::Lost(look.request);
        self.lost += 1;
        slot.extend(u64::try_from(rules.patience.as_nanos()).unwrap_or(u64::MAX));
        tracing::error!(
            target: CRITICAL, slot = worker, thread, answered,
            "request did not end, its connection is closed and its thread given up"
        );
        true
    }
}

/// Logs a request that has taken too long.
fn log_late(rules: &TimeoutRules<'_>, slot: &Slot, thread: usize) {
    let (method, path) = slot.method_and_path();
    let since = slot.busy_since().map_or(0, |(since, _)| clock::monotonic().saturating_sub(since));
    let elapsed = format!("{:.1}", Duration::from_nanos(since).as_secs_f64());
    let (worker, timeout) = (rules.worker, rules.timeout.as_secs_f64());
    match rules.then {
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
            let pid = std::process::id();
            tracing::error!(
                target: CRITICAL, event = "worker_timeout", said.pid = pid, method, path, elapsed, slot = worker,
                thread, timeout, "WORKER TIMEOUT (pid:{pid}): request timed out"
            );
        }
    }
}

/// The time for a look at the stack before a thread is given up.
const TELL: Duration = Duration::from_millis(250);
/// The I/O thread looks every few milliseconds; a busy machine is late by less.
const HELD_UP_NS: u64 = 1_000_000_000;
