//! The threads of a worker, and who of them does what. It knows when the interpreter is held, and nothing else of it.
//!
//! ```text
//! attending   holds the interpreter: looks what the kernel has, reads, calls the application inline, sends
//!     |-- nothing to do, nobody asleep in epoll --> asleep: without the interpreter; reads and parses before it takes it
//!     |-- nothing to do, somebody is            --> parked: until it is called
//!     '-- a request --> calling the application; comes back to attend
//!
//! helper      never holds the interpreter. It rests while nobody is in the application, and ticks while somebody is.
//!             When all who are awake have been in the application for a while, it attends to what needs no interpreter,
//!             and calls a parked thread for the requests that are whole.
//! ```
//!
//! As long as calls are short one thread does it all and wakes nobody, however many threads there are. A call that is
//! not short costs the others what the helper's tick is. A thread that is called stands at the interpreter; that it had to
//! wait for CPython's switch interval says that the application computes, and a further call would only slow both.
//!
//! Order of locks: the interpreter first, then the worker's. Who holds the worker's lock never waits for the interpreter.

pub(crate) mod io_thread;
pub(crate) mod request_timeout;
pub(crate) mod states;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::http::access_log::EnvironValues;
use crate::http::response::ResponseHead;
use crate::os::{clock, socket, thread};
use crate::worker::exchange::call::{Terms, ThreadContext};
use crate::worker::exchange::cork::Cork;
use crate::worker::exchange::response_owner::ResponseOwner;
use crate::worker::reactor::timers::in_time;
use crate::worker::reactor::{After, EVENTS, Ending, Reactor, Task, WAKE, wait};
use crate::worker::threads::request_timeout::{Then, TimeoutRules};
use crate::worker::threads::states::Place;
use crate::worker::{Application, Setup, Spent};

/// A worker: what its threads share.
pub struct Worker<'a> {
    setup: &'a Setup<'a>,
    pub(crate) epoll: Arc<Epoll>,
    /// Ends the sleep of whoever sleeps in epoll.
    pub(crate) wake: EventFd,
    stops: Arc<AtomicBool>,
    event_loop: Mutex<Reactor<'a>>,
    /// Where each parked thread sleeps. Not a condition variable: a signal has to end it, so that Python's own handlers
    /// get their turn.
    pub(crate) park_events: Vec<EventFd>,
    /// What the kernel holds back of each thread's response.
    pub(crate) corks: Vec<Arc<Cork>>,
    /// Who answers each thread's request.
    pub(crate) claims: Vec<ResponseOwner>,
    /// Where the helper rests and waits for its next tick.
    pub(crate) helper: Condvar,
}

pub(crate) type Locked<'w, 'a> = MutexGuard<'w, Reactor<'a>>;

impl<'a> Worker<'a> {
    /// A worker that serves as soon as [`work`](Self::work) is called. `spent` is called at most once, when the
    /// worker is to be replaced.
    pub fn new(setup: &'a Setup<'a>, spent: impl FnOnce(Spent) + Send + 'a) -> io::Result<Worker<'a>> {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        let stops = Arc::new(AtomicBool::new(false));
        let event_loop = Reactor::new(setup, Arc::clone(&epoll), Arc::clone(&stops), Box::new(spent))?;
        let park_events = setup.slots.iter().map(|_| EventFd::from_flags(flags)).collect::<nix::Result<_>>()?;
        let corks = setup.slots.iter().map(|_| Arc::default()).collect();
        let claims = setup.slots.iter().map(|_| ResponseOwner::default()).collect();
        let event_loop = Mutex::new(event_loop);
        Ok(Worker { setup, epoll, wake, stops, event_loop, park_events, corks, claims, helper: Condvar::new() })
    }

    pub(crate) fn setup(&self) -> &'a Setup<'a> {
        self.setup
    }

    /// Has a thread been given up, which is in the application for good?
    pub fn has_lost_threads(&self) -> bool {
        self.lock().deadlines.lost() > 0
    }

    /// The keys of the environ of which the access log wants to know what the application has left there.
    pub fn environ_keys(&self) -> Vec<String> {
        self.setup.access.as_ref().map(|(_, format)| format.environ_keys()).unwrap_or_default()
    }

    /// How many threads are to [`work`](Self::work).
    pub fn threads(&self) -> usize {
        self.setup.slots.len()
    }

    /// Serves as the thread `number` until a signal ends the worker. The caller holds the interpreter, and `app` is its
    /// own.
    pub fn work<A: Application>(&self, app: &A, number: usize) -> io::Result<Ending> {
        let mut desk = self.desk(number);
        let mut held = self.lock();
        held.arrives(number);
        let outcome = loop {
            if let Some(ending) = held.ended() {
                break Ok(ending);
            }
            let task = match held.next_request() {
                Some(request) => Some(Task::Request(request)),
                None => held.next_task(),
            };
            if let Some(task) = task {
                if let Task::Request(_) = task {
                    held.spread();
                }
                held = self.perform(held, task, app, &mut desk);
                continue;
            }
            let looked = held.look();
            desk.slot.turn(held.now);
            match looked {
                Ok(true) if held.now - desk.laid_down > OWN_WORK_NS => held = self.lay_down(held, app, &mut desk),
                Ok(true) => {}
                Ok(false) => match self.rest(held, app, &mut desk) {
                    Ok(again) => held = again,
                    Err(error) => {
                        held = self.lock();
                        break Err(error);
                    }
                },
                Err(error) => break Err(error),
            }
        };
        held.hand_over_access();
        held.states.moves(number, Place::Away);
        drop(held);
        desk.slot.rest();
        self.wake_all();
        outcome
    }

    /// What the thread `number` needs, which is the one that calls this.
    fn desk(&self, number: usize) -> ThreadContext {
        let Setup { slots, is_measured, .. } = self.setup;
        ThreadContext {
            slot: slots[number].clone(),
            response: ResponseHead::default(),
            thread: thread::current(),
            number,
            cork: Arc::clone(&self.corks[number]),
            laid_down: clock::monotonic(),
            is_measured: *is_measured,
            environ: EnvironValues::new(self.environ_keys()),
        }
    }

    pub(crate) fn lock(&self) -> Locked<'_, 'a> {
        // A panic while it was held was caught for one exchange; the others go on.
        self.event_loop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        for bed in self.park_events.iter().chain([&self.wake]) {
            // It fails if it is full, and then it wakes as well.
            let _ = bed.write(1);
        }
        self.helper.notify_all();
    }

    /// Performs a task and what follows from it, with the interpreter.
    fn perform<'w, A: Application>(
        &'w self,
        mut held: Locked<'w, 'a>,
        task: Task,
        app: &A,
        desk: &mut ThreadContext,
    ) -> Locked<'w, 'a> {
        let mut next = Some(task);
        while let Some(task) = next {
            next = match task {
                Task::Request(request) => {
                    let call = held.begin(request);
                    held.states.moves(desk.number, Place::Calling(desk.thread));
                    held.states.left = call.started;
                    if held.states.helper_rests {
                        held.states.helper_rests = false;
                        self.helper.notify_one();
                    }
                    drop(held);
                    let served = call.run(app, desk, &self.terms(desk.number));
                    held = self.lock();
                    held.states.moves(desk.number, Place::Attending);
                    if held.deadlines.returned(desk.number) {
                        self.was_late(&mut held);
                    }
                    held.thread_is_free();
                    held.finish(served, desk)
                }
                Task::Disk(mut connection) => {
                    // However long the disk takes: until it has the interpreter again, it looks after nothing.
                    let now = held.now;
                    held.states.sets_out(desk.number, now);
                    drop(held);
                    let done = app.detached(|| connection.use_disk(&self.setup.spill_directory));
                    desk.laid_down = clock::monotonic();
                    held = self.lock();
                    held.arrives(desk.number);
                    held.after_disk(connection, done)
                }
                Task::Memory(mut connection, length) => {
                    connection.give(app.memory(length));
                    held.after_memory(connection)
                }
            };
        }
        held
    }

    /// A request was late and has ended: what it held may be broken.
    #[cold]
    fn was_late(&self, held: &mut Reactor<'a>) {
        let is_ended = |deadline: &TimeoutRules<'_>| deadline.recycle && deadline.then != Then::Warn;
        if self.setup.request_timeout.as_ref().is_some_and(is_ended) {
            held.ask_for_replacement(Spent::Timeout);
        }
    }

    /// Who is never idle lays the interpreter down all the same, and does not keep its log lines to itself.
    fn lay_down<'w, A: Application>(
        &'w self,
        mut held: Locked<'w, 'a>,
        app: &A,
        desk: &mut ThreadContext,
    ) -> Locked<'w, 'a> {
        held.hand_over_access();
        let now = held.now;
        held.states.sets_out(desk.number, now);
        drop(held);
        app.detached(|| desk.slot.wait(clock::monotonic()));
        desk.slot.go_on();
        desk.laid_down = clock::monotonic();
        held = self.lock();
        held.arrives(desk.number);
        held
    }

    fn terms(&self, thread: usize) -> Terms<'_> {
        let Setup { error_pages, send_limits, .. } = self.setup;
        Terms { error_pages, send_limits, stopping: &self.stops, claim: &self.claims[thread], drops_bodies: false }
    }

    /// There is nothing to do: sleeps until there is, without the interpreter.
    fn rest<'w, A: Application>(
        &'w self,
        mut held: Locked<'w, 'a>,
        app: &A,
        desk: &mut ThreadContext,
    ) -> io::Result<Locked<'w, 'a>> {
        if held.ended().is_some() {
            // A signal that this thread was the only one to see.
            return Ok(held);
        }
        if held.states.may_sleep() {
            held.states.moves(desk.number, Place::Asleep);
            drop(held);
            let slept = app.detached(|| {
                let slept = self.sleep(desk.number);
                desk.slot.wait(clock::monotonic());
                slept
            });
            desk.slot.go_on();
            slept?;
            desk.laid_down = clock::monotonic();
            held = self.lock();
            held.arrives(desk.number);
            return Ok(held);
        }
        if held.door.opens_at().is_some() {
            // Whoever sleeps in epoll has gone to sleep before, and is to wake up for that.
            let _ = self.wake.write(1);
        }
        loop {
            held.states.moves(desk.number, Place::Parked);
            drop(held);
            desk.slot.rest();
            let woken = app.detached(|| self.park(desk.number));
            desk.laid_down = clock::monotonic();
            held = self.lock();
            held.states.moves(desk.number, Place::Attending);
            // The interpreter came by CPython's switch interval, not by a release: the application computes. It gets it
            // back, unless somebody has waited too long.
            let computes = desk.laid_down - woken >= SWITCHED_NS && held.states.calling() > 0;
            let patient = in_time(Duration::ZERO).saturating_sub(PATIENCE_MS);
            if !computes || held.ended().is_some() || held.waiting_since().is_some_and(|since| since <= patient) {
                held.thread_is_free();
                return Ok(held);
            }
        }
    }

    /// Sleeps until there is something that needs the interpreter. It is taken only for that.
    fn sleep(&self, number: usize) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let slot = &self.setup.slots[number];
        let mut held = self.lock();
        loop {
            let limit = held.sleep_limit();
            held.hand_over_access();
            drop(held);
            // Nothing is expected of it, until it wakes up.
            slot.rest();
            let waited = wait(&self.epoll, &mut events, limit);
            held = self.lock();
            held.states.moves(number, Place::Attending);
            let count = waited?;
            held.take_in(&events[..count]);
            slot.turn(held.now);
            held = self.attend(held, Until::Request);
            // A signal may have ended the sleep; another thread may have gone to sleep meanwhile.
            if count == 0 || held.has_work() || held.ended().is_some() || !held.states.may_sleep() {
                let now = held.now;
                held.states.sets_out(number, now);
                return Ok(());
            }
            held.states.moves(number, Place::Asleep);
        }
    }

    /// Sleeps until somebody calls, or a signal comes; says when that was.
    fn park(&self, number: usize) -> u64 {
        socket::wait_readable(self.park_events[number].as_fd(), FOR_EVER);
        let woken = clock::monotonic();
        let _ = self.park_events[number].read();
        woken
    }

    /// Does what needs no interpreter. What does need it waits in the queue.
    pub(crate) fn attend<'w>(&'w self, mut held: Locked<'w, 'a>, until: Until) -> Locked<'w, 'a> {
        while until == Until::Done || held.requests.is_empty() {
            let Some(task) = held.next_task() else { break };
            let mut next = Some(task);
            while let Some(task) = next {
                next = match task {
                    Task::Request(request) => {
                        held.enqueue(request);
                        None
                    }
                    Task::Disk(mut connection) => {
                        drop(held);
                        let done = connection.use_disk(&self.setup.spill_directory);
                        held = self.lock();
                        held.after_disk(connection, done)
                    }
                    // Whoever takes the interpreter is asked again.
                    Task::Memory(connection, _) if until == Until::Request => {
                        held.ready.push_front(connection.token);
                        let nothing = held.settle(connection, After::Keep);
                        debug_assert!(nothing.is_none());
                        return held;
                    }
                    Task::Memory(mut connection, _) => {
                        connection.give(None);
                        held.after_memory(connection)
                    }
                };
            }
        }
        held
    }
}

/// How long [`Worker::attend`] goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until a request is whole: the rest can be done while that is answered.
    Request,
    /// Until nothing is left.
    Done,
}

/// After so long without a sleep the interpreter is laid down once. Longer than CPython's switch interval (5 ms): a thread
/// that waits has asked for the interpreter by then, and gets it for sure. An earlier release is taken back before the
/// waiter is awake, and makes it begin its 5 ms anew: with 1 ms threads starved for the length of a burst.
const OWN_WORK_NS: u64 = 6_000_000;
/// Who stood at the interpreter for so long got it by CPython's switch interval (5 ms by default).
const SWITCHED_NS: u64 = 4_500_000;
/// A request that has waited for so long begins although another one computes.
pub(crate) const PATIENCE_MS: u64 = 25;
/// A limit that is none.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
