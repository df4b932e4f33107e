//! The threads of a worker, and what each of them does. It knows when the GIL is held, and nothing else of Python.
//!
//! ```text
//! attending    holds the GIL: looks what the kernel has, reads, parses, calls the application inline, sends
//!     |-- nothing to do, no thread in epoll_wait --> asleep: detached in epoll_wait; reads and parses before it attaches
//!     |-- nothing to do, one is there            --> parked: detached until it is woken
//!     '-- a request --> calling the application; comes back to attend
//!
//! I/O thread   never attaches. It rests while no thread is in the application, and ticks while one is. When all that
//!              are awake have been in the application for a while, it attends to what needs no GIL, and wakes a parked
//!              thread for the requests that are whole.
//! ```
//!
//! As long as calls are short one thread does it all and wakes no other, however many threads there are. A call that is
//! not short costs the others the I/O thread's tick. A thread that is woken waits for the GIL; if it got that by
//! CPython's switch interval the application computes, and a further call would only slow both.
//!
//! Order of locks: the GIL first, then the worker's. A thread that holds the worker's lock never waits for the GIL.

mod io_thread;
pub(crate) mod request_timeout;
mod states;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use request_timeout::{RequestTimeouts, Then};
use states::{ThreadState, ThreadStates};

use super::connection::event::{Event, Work};
use super::connection::request::PendingRequest;
use super::exchange::call::{CallTerms, ThreadContext, call};
use super::exchange::cork::Cork;
use super::exchange::response_owner::ResponseOwner;
use super::millis::{self, Millis};
use super::reactor::poll::{EVENTS, WAKE, wait};
use super::reactor::shutdown::Ending;
use super::reactor::{Job, Reactor};
use super::{Application, Setup, Spent};
use crate::http::access_log::EnvironValues;
use crate::http::response::ResponseHead;
use crate::os::{clock, heap, socket, thread};

/// A worker: what its threads share.
pub struct Worker<'a> {
    setup: &'a Setup<'a>,
    epoll: Arc<Epoll>,
    /// Ends the sleep of the thread that sleeps in epoll_wait.
    wake: EventFd,
    /// Set when the worker stops.
    stopping: Arc<AtomicBool>,
    shared: Mutex<Shared<'a>>,
    /// Events in which the parked threads sleep. They are no condition variables: a signal has to end the sleep, so
    /// that Python's own handlers get their turn.
    park_events: Vec<EventFd>,
    /// The bytes of each thread's response that the kernel holds back.
    corks: Vec<Arc<Cork>>,
    /// The right to answer each thread's request.
    owners: Vec<ResponseOwner>,
    /// Wakes the I/O thread from its rest, or before its next tick.
    io_thread: Condvar,
}

/// The state under the worker's lock.
struct Shared<'a> {
    reactor: Reactor<'a>,
    states: ThreadStates,
    timeouts: RequestTimeouts,
    /// The moment at which the thread that sleeps in epoll_wait looks at the deadlines again.
    sleeps_until: Millis,
    /// True once the log says that a stream holds its thread.
    has_slow_stream: bool,
}

type Locked<'w, 'a> = MutexGuard<'w, Shared<'a>>;

impl Shared<'_> {
    /// Returns how the worker has ended, if it has.
    fn ended(&self) -> Option<Ending> {
        self.reactor.ended(self.timeouts.lost())
    }

    /// A thread has attached, and attends to the connections from here on.
    fn attend(&mut self, number: usize) {
        self.states.set(number, ThreadState::Attending);
        self.reactor.thread_is_free();
    }
}

impl<'a> Worker<'a> {
    /// Makes a worker that serves as soon as [`work`](Self::work) is called. `ask` is called at most once, when the
    /// worker is to be replaced.
    pub fn new(setup: &'a Setup<'a>, ask: impl FnOnce(Spent) + Send + 'a) -> io::Result<Worker<'a>> {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let reactor = Reactor::new(setup, Arc::clone(&epoll), Arc::clone(&stopping), Box::new(ask))?;
        let threads = setup.slots.len();
        let shared = Shared {
            reactor,
            states: ThreadStates::new(threads),
            timeouts: RequestTimeouts::new(threads),
            sleeps_until: Millis::MAX,
            has_slow_stream: false,
        };
        Ok(Worker {
            setup,
            epoll,
            wake,
            stopping,
            shared: Mutex::new(shared),
            park_events: setup.slots.iter().map(|_| EventFd::from_flags(flags)).collect::<nix::Result<_>>()?,
            corks: setup.slots.iter().map(|_| Arc::default()).collect(),
            owners: setup.slots.iter().map(|_| ResponseOwner::default()).collect(),
            io_thread: Condvar::new(),
        })
    }

    /// True if a thread has been given up, which is in the application for good.
    pub fn has_lost_threads(&self) -> bool {
        self.lock().timeouts.lost() > 0
    }

    /// Returns the keys of the environ whose values after the call the access log wants to know.
    pub fn environ_keys(&self) -> Vec<String> {
        self.setup.access.as_ref().map(|access| access.format.environ_keys()).unwrap_or_default()
    }

    /// Returns how many threads are to [`work`](Self::work).
    pub fn threads(&self) -> usize {
        self.setup.slots.len()
    }

    /// Serves as the thread `number` until a signal ends the worker. The caller is attached, and `app` is its own.
    pub fn work<A: Application>(&self, app: &A, number: usize) -> io::Result<Ending> {
        let mut context = self.context(number);
        let mut locked = self.lock();
        locked.attend(number);
        let outcome = loop {
            if self.stopping.load(Ordering::Relaxed) {
                if let Some(ending) = locked.ended() {
                    break Ok(ending);
                }
            }
            let reactor = &mut locked.reactor;
            if let Some(job) = reactor.next_work() {
                locked = self.perform(locked, job, app, &mut context);
                continue;
            }
            let polled = reactor.poll();
            context.slot.turn(reactor.now());
            match polled {
                Ok(true) if reactor.now() - context.detached_at > OWN_WORK_NS => {
                    locked = self.release_gil(locked, app, &mut context);
                }
                Ok(true) => {}
                Ok(false) => match self.rest(locked, app, &mut context) {
                    Ok(again) => locked = again,
                    Err(error) => {
                        locked = self.lock();
                        break Err(error);
                    }
                },
                Err(error) => break Err(error),
            }
        };
        locked.reactor.publish();
        locked.states.set(number, ThreadState::Away);
        drop(locked);
        context.slot.rest();
        self.wake_all();
        outcome
    }

    /// Makes what the thread `number` needs, which is the one that calls this.
    fn context(&self, number: usize) -> ThreadContext {
        ThreadContext {
            slot: self.setup.slots[number].clone(),
            response: ResponseHead::default(),
            environ: EnvironValues::new(self.environ_keys()),
            number,
            thread: thread::current(),
            cork: Arc::clone(&self.corks[number]),
            detached_at: clock::monotonic(),
            is_measured: self.setup.is_measured,
        }
    }

    fn lock(&self) -> Locked<'_, 'a> {
        // A panic while it was held was caught for one exchange; the others go on.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        for event in self.park_events.iter().chain([&self.wake]) {
            // It fails if it is full, and then it wakes as well.
            let _ = event.write(1);
        }
        self.io_thread.notify_all();
    }

    /// Wakes the thread that sleeps in epoll_wait if a deadline has been set since that comes before its own end.
    fn wake_for_deadline(&self, locked: &mut Shared<'a>) {
        if !locked.states.may_sleep() && locked.reactor.next_deadline() < locked.sleeps_until {
            locked.sleeps_until = 0;
            let _ = self.wake.write(1);
        }
    }

    /// Does a job, attached.
    fn perform<'w, A: Application>(
        &'w self,
        mut locked: Locked<'w, 'a>,
        job: Job,
        app: &A,
        context: &mut ThreadContext,
    ) -> Locked<'w, 'a> {
        let Job { mut connection, work } = job;
        match work {
            Work::Request(mut request) => {
                locked.reactor.begin(&connection, &mut request);
                let terms = self.terms(&request, context.number);
                if locked.states.set_calling(context.number, context.thread, request.started) {
                    self.io_thread.notify_one();
                }
                self.wake_for_deadline(&mut locked);
                drop(locked);
                let outcome = call(app, &mut connection, request, context, &terms);
                locked = self.lock();
                if locked.timeouts.late > 0 && locked.timeouts.returned(context.number) {
                    self.was_late(&mut locked);
                }
                locked.states.set(context.number, ThreadState::Attending);
                locked.reactor.finish(connection, outcome, &context.response, &context.environ);
            }
            Work::Blocking => {
                // However long the disk takes: until it has the GIL again, it attends to nothing.
                let now = locked.reactor.now();
                locked.states.set_waking(context.number, now);
                drop(locked);
                let done = app.detached(|| connection.block(&self.setup.serve.spill_directory));
                context.detached_at = clock::monotonic();
                locked = self.lock();
                locked.attend(context.number);
                locked.reactor.on(connection, Event::Unblocked(done));
            }
            Work::Buffer(length) => locked.reactor.on(connection, Event::Buffer(app.body_buffer(length))),
        }
        locked
    }

    fn terms(&self, request: &PendingRequest, thread: usize) -> CallTerms<'_> {
        CallTerms {
            rules: &self.setup.serve,
            date: request.date,
            stopping: &self.stopping,
            owner: &self.owners[thread],
            drops_bodies: false,
        }
    }

    /// A request was late and has ended: what it held may be broken.
    #[cold]
    fn was_late(&self, locked: &mut Shared<'a>) {
        if self.setup.timeout.as_ref().is_some_and(|rules| rules.recycle && rules.then != Then::Warn) {
            locked.reactor.ask_for_replacement(Spent::Timeout);
        }
    }

    /// Looks at the requests in the application.
    fn watch_timeouts(&self, locked: &mut Shared<'a>) {
        let Some(rules) = &self.setup.timeout else { return };
        let Shared { reactor, states, timeouts, .. } = locked;
        let threads = self.setup.slots.iter().zip(&self.owners).enumerate();
        let calls = threads.filter(|(thread, _)| states.is_calling(*thread));
        if timeouts.watch(rules, calls, || reactor.error_page(504)) {
            reactor.ask_for_replacement(Spent::Timeout);
        }
    }

    /// A thread that is never idle still releases the GIL once in a while, and flushes its log lines.
    fn release_gil<'w, A: Application>(
        &'w self,
        mut locked: Locked<'w, 'a>,
        app: &A,
        context: &mut ThreadContext,
    ) -> Locked<'w, 'a> {
        locked.reactor.publish();
        let now = locked.reactor.now();
        locked.states.set_waking(context.number, now);
        drop(locked);
        app.detached(|| context.slot.wait(clock::monotonic()));
        context.slot.go_on();
        context.detached_at = clock::monotonic();
        locked = self.lock();
        locked.attend(context.number);
        locked
    }

    /// There is nothing to do: sleeps until there is, detached.
    fn rest<'w, A: Application>(
        &'w self,
        mut locked: Locked<'w, 'a>,
        app: &A,
        context: &mut ThreadContext,
    ) -> io::Result<Locked<'w, 'a>> {
        if locked.ended().is_some() {
            // A signal that this thread was the only one to see.
            return Ok(locked);
        }
        if !locked.states.may_sleep() {
            return Ok(self.park(locked, app, context));
        }
        locked.states.set(context.number, ThreadState::Asleep);
        drop(locked);
        let slept = app.detached(|| {
            let slept = self.sleep(context.number);
            context.slot.wait(clock::monotonic());
            slept
        });
        context.slot.go_on();
        slept?;
        context.detached_at = clock::monotonic();
        locked = self.lock();
        locked.reactor.dropped_are_released();
        locked.attend(context.number);
        Ok(locked)
    }

    /// Sleeps in epoll_wait until there is something that needs the GIL.
    fn sleep(&self, number: usize) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let slot = &self.setup.slots[number];
        let mut locked = self.lock();
        loop {
            let ended = locked.ended().is_some();
            let limit = if ended { Some(Duration::ZERO) } else { locked.reactor.sleep_limit() };
            locked.sleeps_until = locked.reactor.next_deadline();
            locked.reactor.publish();
            drop(locked);
            // Nothing is expected of it until it wakes up.
            slot.rest();
            if limit != Some(Duration::ZERO) && self.setup.serve.budget.take_burst_end() {
                heap::give_back();
            }
            let waited = wait(&self.epoll, &mut events, limit);
            locked = self.lock();
            locked.states.set(number, ThreadState::Attending);
            let count = waited?;
            locked.reactor.take_in(&events[..count]);
            slot.turn(locked.reactor.now());
            locked = self.attend(locked, Until::Request);
            // A signal may have ended the sleep; another thread may have gone to sleep meanwhile.
            if count == 0 || locked.reactor.has_work() || locked.ended().is_some() || !locked.states.may_sleep() {
                let now = locked.reactor.now();
                locked.states.set_waking(number, now);
                return Ok(());
            }
            locked.states.set(number, ThreadState::Asleep);
        }
    }

    /// Sleeps until it is woken for a request, or a signal comes.
    fn park<'w, A: Application>(
        &'w self,
        mut locked: Locked<'w, 'a>,
        app: &A,
        context: &mut ThreadContext,
    ) -> Locked<'w, 'a> {
        self.wake_for_deadline(&mut locked);
        loop {
            locked.states.set(context.number, ThreadState::Parked);
            drop(locked);
            context.slot.rest();
            let woken = app.detached(|| self.wait_parked(context.number));
            context.detached_at = clock::monotonic();
            locked = self.lock();
            locked.states.set(context.number, ThreadState::Attending);
            // The GIL came by CPython's switch interval, not by a release: the application computes. It gets it back,
            // unless a request has waited too long.
            let computes = context.detached_at - woken >= SWITCHED_NS && locked.states.calling() > 0;
            let long_ago = millis::now().saturating_sub(PATIENCE_MS);
            let is_late = locked.reactor.waiting_since().is_some_and(|since| since <= long_ago);
            if !computes || locked.ended().is_some() || is_late {
                locked.reactor.thread_is_free();
                return locked;
            }
        }
    }

    /// Waits until the parked thread `number` is woken, or a signal comes. Returns when that was.
    fn wait_parked(&self, number: usize) -> u64 {
        socket::wait_readable(self.park_events[number].as_fd(), FOR_EVER);
        let woken = clock::monotonic();
        let _ = self.park_events[number].read();
        woken
    }

    /// Does what needs no GIL. What does need it waits in the queue, or among the jobs.
    fn attend<'w>(&'w self, mut locked: Locked<'w, 'a>, until: Until) -> Locked<'w, 'a> {
        while until == Until::Done || locked.reactor.is_queue_empty() {
            let Some(Job { mut connection, work }) = locked.reactor.next_job() else { break };
            match work {
                Work::Request(request) => locked.reactor.enqueue(connection, request),
                Work::Blocking => {
                    drop(locked);
                    let done = connection.block(&self.setup.serve.spill_directory);
                    locked = self.lock();
                    locked.reactor.on(connection, Event::Unblocked(done));
                }
                // The thread that attaches does it.
                Work::Buffer(_) if until == Until::Request => {
                    locked.reactor.put_back(Job { connection, work });
                    break;
                }
                Work::Buffer(_) => locked.reactor.on(connection, Event::Buffer(None)),
            }
        }
        locked
    }
}

/// The end of [`Worker::attend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Until a request is whole: the rest can be done while that is answered.
    Request,
    /// Until nothing is left.
    Done,
}

/// After this time without a sleep the GIL is released once. Longer than CPython's switch interval (5 ms): a thread that
/// waits has asked for the GIL by then, and gets it for sure. An earlier release is taken back before the waiter is
/// awake, and makes it begin its 5 ms anew: with 1 ms threads starved for the length of a burst.
const OWN_WORK_NS: u64 = 6_000_000;
/// A wait for the GIL of this length ended by CPython's switch interval (5 ms by default).
const SWITCHED_NS: u64 = 4_500_000;
/// A request that has waited for this time begins although another one computes.
const PATIENCE_MS: u64 = 25;
/// A limit that is none.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
