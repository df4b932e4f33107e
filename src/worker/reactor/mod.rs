//! Events of a worker's sockets, signals and deadlines, turned into turns of its connections. Everything
//! here happens with the worker locked and never waits; what only a thread can do is handed out as a [`Job`]. It does
//! not know which thread asks, nor Python.
//!
//! ```text
//! turn:  poll         -> what the kernel has now; deadlines that are over
//!        events       -> a listener: take connections; a connection: send, read
//!        leftovers    -> connections with a pipelined request or more to read, one step each
//! ```
//!
//! Connections are edge-triggered and enter the epoll instance only when they have to wait, so that a short connection
//! costs no system call for it. Listeners are level-triggered: a connection that this turn does not take wakes a
//! worker again.

mod accept;
mod admission;
mod bodies;
mod connections;
pub(crate) mod handoff;
pub(crate) mod poll;
pub(crate) mod shutdown;
mod timers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use accept::Acceptor;
use admission::GaveWay;
use bodies::Bodies;
use connections::{Connections, Parked, Registered};
use handoff::{HandedOff, LOOK_AT_COPIES, WORTH_MOVING_NS};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use poll::{EVENTS, LISTENERS, ORDERS, QUEUE, SIGNALS, WAKE, readiness, wait};
use shutdown::{Ending, Shutdown};
use timers::Timers;

use super::connection::Connection;
use super::connection::context::{Entry, ServeContext};
use super::connection::event::{Activity, Event, Next, Readiness, Standing, Work};
use super::connection::request::{Outcome, PendingRequest, ResponseState};
use super::millis::{self, Millis};
use super::{Setup, Spent};
use crate::http::access_log::EnvironValues;
use crate::http::response::ResponseHead;
use crate::os::{clock, signal, socket};

/// Something that a thread is to do for a connection, which is checked out for it.
pub(crate) struct Job {
    pub(crate) connection: Box<Connection>,
    pub(crate) work: Work,
}

/// The loop's state: the connections, and everything that turns their events into jobs.
pub(crate) struct Reactor<'a> {
    setup: &'a Setup<'a>,
    serve: ServeContext<'a>,
    epoll: Arc<Epoll>,
    /// Events that were not looked at yet. With edges nothing of it may be lost, whichever thread polled.
    inbox: VecDeque<EpollEvent>,
    turn: Turn,
    connections: Connections,
    timers: Timers,
    /// Whole requests that wait for a thread.
    queue: VecDeque<u64>,
    bodies: Bodies,
    jobs: VecDeque<Job>,
    acceptor: Acceptor<'a>,
    gave_way: GaveWay,
    handed: HandedOff,
    shutdown: Shutdown,
    /// Set when the worker stops, for calls under way.
    stopping: Arc<AtomicBool>,
    replacement: Replacement<'a>,
}

/// One turn of the loop.
#[derive(Default)]
struct Turn {
    /// Connections that have more to read, or hold a further request already.
    ready: VecDeque<u64>,
    /// Number of them that this turn looks at.
    quota: usize,
    /// Its begin, in ns of the monotonic clock.
    began: u64,
    /// Length of the turn before it, in ns.
    length: u64,
    /// Room for what the kernel says.
    events: Vec<EpollEvent>,
}

/// The worker's wish to be replaced.
struct Replacement<'a> {
    served: u64,
    /// Asks for it, once.
    ask: Option<Box<dyn FnOnce(Spent) + Send + 'a>>,
}

impl<'a> Reactor<'a> {
    pub(crate) fn new(
        setup: &'a Setup<'a>,
        epoll: Arc<Epoll>,
        stopping: Arc<AtomicBool>,
        ask: Box<dyn FnOnce(Spent) + Send + 'a>,
    ) -> io::Result<Reactor<'a>> {
        epoll.add(&setup.signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        epoll.add(setup.orders.channel, EpollEvent::new(EpollFlags::EPOLLIN, ORDERS))?;
        Ok(Reactor {
            setup,
            serve: ServeContext::new(&setup.serve, setup.access.as_ref()),
            acceptor: Acceptor::new(setup, Arc::clone(&epoll)),
            epoll,
            inbox: VecDeque::new(),
            turn: Turn::default(),
            connections: Connections::default(),
            timers: Timers::default(),
            queue: VecDeque::new(),
            bodies: Bodies::default(),
            jobs: VecDeque::new(),
            gave_way: GaveWay::default(),
            handed: HandedOff::default(),
            shutdown: Shutdown::No,
            stopping,
            replacement: Replacement { served: 0, ask: Some(ask) },
        })
    }

    /// Begins a turn with what the kernel has now. False if there is nothing to do.
    pub(crate) fn poll(&mut self) -> io::Result<bool> {
        let mut events = std::mem::take(&mut self.turn.events);
        events.resize(EVENTS, EpollEvent::empty());
        let waited = wait(&self.epoll, &mut events, Some(Duration::ZERO));
        self.take_in(&events[..*waited.as_ref().unwrap_or(&0)]);
        self.turn.events = events;
        waited?;
        Ok(self.is_in_turn())
    }

    /// Begins a turn with what a thread has waited for.
    pub(crate) fn take_in(&mut self, events: &[EpollEvent]) {
        self.inbox.extend(events);
        self.serve.dates.refresh();
        // A stop is not kept waiting by what stands in line, until it has begun.
        let is_told = signal::is_noted() && !matches!(self.shutdown, Shutdown::Stopping(_));
        self.turn.quota = if is_told { 0 } else { self.turn.ready.len() };
        let before = std::mem::replace(&mut self.turn.began, clock::monotonic());
        self.turn.length = self.turn.began.saturating_sub(before);
        self.serve.now = self.turn.began / 1_000_000;
        self.expire();
        self.look_for_memory();
        self.use_body_room();
        if self.handed.len() > 0 {
            self.settle_handoffs();
        }
    }

    /// Returns the next thing to do for an attached thread: the request that has waited the longest, or a job of this turn.
    pub(crate) fn next_work(&mut self) -> Option<Job> {
        if self.queue.is_empty() { self.next_job() } else { self.next_request().or_else(|| self.next_job()) }
    }

    /// Returns the next thing of this turn that only a thread can do.
    pub(crate) fn next_job(&mut self) -> Option<Job> {
        loop {
            if let Some(job) = self.jobs.pop_front() {
                return Some(job);
            }
            if let Some(event) = self.inbox.pop_front() {
                self.event(event);
            } else if self.turn.quota > 0 {
                self.turn.quota -= 1;
                let token = self.turn.ready.pop_front()?;
                self.deliver(token, Event::Turn);
            } else {
                return None;
            }
        }
    }

    /// Puts a job back for a thread that can do it.
    pub(crate) fn put_back(&mut self, job: Job) {
        self.jobs.push_front(job);
    }

    fn next_request(&mut self) -> Option<Job> {
        while let Some(token) = self.queue.pop_front() {
            // A client that has left is not there any more.
            let Some(mut connection) = self.connections.check_out(token, Readiness::default()) else { continue };
            if connection.waiting().is_none() {
                self.on(connection, Event::Turn);
            } else if let Some(request) = connection.take_waiting() {
                return Some(Job { connection, work: Work::Request(request) });
            }
        }
        None
    }

    /// Has a whole request wait until a thread is free. Its client may leave meanwhile, or wait too long.
    pub(crate) fn enqueue(&mut self, connection: Box<Connection>, request: PendingRequest) {
        self.queue.push_back(connection.token);
        self.on(connection, Event::NoThread(request));
    }

    /// Returns since when the request that has waited the longest waits.
    pub(crate) fn waiting_since(&mut self) -> Option<Millis> {
        while let Some(&token) = self.queue.front() {
            match self.connections.get(token).and_then(Connection::waiting) {
                Some((_, since)) => return Some(since),
                None => self.queue.pop_front(),
            };
        }
        None
    }

    /// Notes that a thread is about to have a request answered. What waits behind a long one goes to other workers.
    pub(crate) fn begin(&mut self, connection: &Connection, request: &mut PendingRequest) {
        if !self.inbox.is_empty() && self.handed.last_took >= WORTH_MOVING_NS {
            self.spread();
        }
        self.connections.note_work(connection.token, Activity::Application);
        self.replacement.served += 1;
        if self.replacement.served == self.setup.max_requests {
            self.ask_for_replacement(Spent::Requests);
        }
        // A worker that is to be replaced keeps no client that would have to be sent away.
        let stays = self.shutdown == Shutdown::No && !self.is_to_be_replaced();
        request.keep_alive = stays && !self.serve.rules.timeouts.keep_alive.is_zero();
        request.started = clock::monotonic();
    }

    /// Takes a request back that was answered. `response` and `environ` are what the access log wants of it.
    pub(crate) fn finish(
        &mut self,
        connection: Box<Connection>,
        outcome: Outcome,
        response: &ResponseHead,
        environ: &EnvironValues,
    ) {
        self.thread_is_free();
        if self.setup.has_others {
            self.handed.note_took(clock::monotonic().saturating_sub(outcome.started));
        }
        self.serve.now = millis::about_now();
        if self.setup.access.is_some() && !matches!(outcome.response, ResponseState::Hijacked { .. }) {
            let entry = Entry {
                request: connection.protocol.request_so_far(&connection.input),
                response,
                environ,
                remote_addr: connection.origin.client_ip(),
                body_bytes: outcome.body_bytes,
            };
            self.serve.note(&entry, Some(outcome.started));
        }
        self.on(connection, Event::Answered(outcome));
    }

    /// Has a connection that is checked out take an event.
    pub(crate) fn on(&mut self, mut connection: Box<Connection>, event: Event) {
        let (next, standing) = connection.on(event, &mut self.serve);
        self.settle(connection, next, &standing);
    }

    /// Has a connection take an event, if no thread has it.
    fn deliver(&mut self, token: u64, event: Event) {
        let said = if let Event::Ready(readiness) = event { readiness } else { Readiness::default() };
        if let Some(connection) = self.connections.check_out(token, said) {
            self.on(connection, event);
        }
    }

    fn event(&mut self, event: EpollEvent) {
        match event.data() {
            SIGNALS => self.signals(),
            WAKE => {}
            QUEUE => self.take_over(),
            ORDERS => self.orders(),
            token if token >= LISTENERS => self.accept(usize::try_from(token - LISTENERS).unwrap_or(usize::MAX)),
            token => self.deliver(token, Event::Ready(readiness(event.events()))),
        }
    }

    fn expire(&mut self) {
        let now = self.serve.now;
        if self.acceptor.opens_at().is_some_and(|at| at <= now) {
            self.reopen();
        }
        while let Some(token) = self.timers.pop(now) {
            self.connections.timer_came(token);
            // One that is checked out gets a new entry when it is parked.
            self.deliver(token, Event::Deadline);
        }
    }

    /// Does with a connection what it wants next.
    fn settle(&mut self, connection: Box<Connection>, next: Next, standing: &Standing) {
        match next {
            Next::Work(work) => self.jobs.push_back(Job { connection, work }),
            Next::Close => self.close(connection),
            Next::Wait => self.park(connection, false, standing),
            Next::Again => self.park(connection, true, standing),
        }
    }

    /// Parks a connection, and has the kernel and the timers watch it.
    fn park(&mut self, connection: Box<Connection>, again: bool, standing: &Standing) {
        let token = connection.token;
        let Parked { said, timer, watch } = self.connections.park(connection, standing);
        if standing.asks_for_room {
            self.bodies.wait_for_room(token, self.serve.rules.budget.used());
        }
        if again {
            self.turn.ready.push_back(token);
        }
        if timer {
            self.timers.push(standing.deadline, token);
        }
        if let Some((before, wanted)) = watch {
            self.watch(token, before, wanted);
        }
        if !said.is_empty() {
            self.deliver(token, Event::Missed(said));
        }
        if self.acceptor.is_at_limit() {
            self.use_room();
        }
    }

    fn watch(&mut self, token: u64, before: Registered, wanted: Registered) {
        let Some(connection) = self.connections.get(token) else { return };
        let mut event = poll::of_connection(token, wanted == Registered::ReadsAndWrites);
        let told = if before == Registered::Nothing {
            self.epoll.add(&connection.stream, event)
        } else {
            self.epoll.modify(&connection.stream, &mut event)
        };
        if told.is_err() {
            if let Some(connection) = self.connections.check_out(token, Readiness::default()) {
                self.close(connection);
            }
        }
    }

    /// The application may have forked, so that closing alone would neither end the connection nor its events.
    fn close(&mut self, mut connection: Box<Connection>) {
        self.forget(&connection);
        self.bodies.note_closed(&connection);
        if connection.is_whole() {
            connection.stream.say_goodbye();
        }
        if !connection.is_relayed() {
            socket::finish(connection.stream.as_fd());
        }
        connection.give_back(&mut self.serve);
    }

    /// Lets go of a connection that does not end with its descriptor here.
    fn forget(&mut self, connection: &Connection) {
        if self.connections.is_watched(connection.token) {
            let _ = self.epoll.delete(&connection.stream);
        }
        self.connections.remove(connection.token);
        if self.acceptor.is_at_limit() {
            self.use_room();
        }
    }

    /// True if anything is left to do that nothing has to be waited for.
    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.bodies.want_a_thread() || self.is_in_turn()
    }

    fn is_in_turn(&self) -> bool {
        !self.jobs.is_empty() || !self.inbox.is_empty() || !self.turn.ready.is_empty()
    }

    /// Returns how the worker has ended, if it has. Threads that are given up keep their connections for good: `lost`
    /// of them are not waited for.
    pub(crate) fn ended(&self, lost: usize) -> Option<Ending> {
        self.shutdown.ending(self.connections.len() + self.handed.len() > lost)
    }

    /// Returns how long nothing will have to be done unless the kernel says so.
    pub(crate) fn sleep_limit(&self) -> Option<Duration> {
        if self.is_in_turn() || self.bodies.want_a_thread() || self.has_body_room() {
            return Some(Duration::ZERO);
        }
        let next = self.next_deadline();
        (next < Millis::MAX).then(|| Duration::from_millis(next.saturating_sub(millis::now()).saturating_add(1)))
    }

    /// Returns the next moment at which something is to be done that no event of the kernel announces.
    pub(crate) fn next_deadline(&self) -> Millis {
        let copies = (self.handed.len() > 0).then(|| self.serve.now + LOOK_AT_COPIES);
        self.timers.next().into_iter().chain(self.acceptor.opens_at()).chain(copies).min().unwrap_or(Millis::MAX)
    }

    /// Takes new connections: a thread is free.
    pub(crate) fn thread_is_free(&mut self) {
        self.acceptor.thread_is_free();
    }

    /// Leaves new connections to other workers: no thread is free.
    pub(crate) fn threads_are_busy(&mut self) {
        self.acceptor.threads_are_busy();
    }

    /// Returns when the turn began, in ns of the monotonic clock.
    pub(crate) fn now(&self) -> u64 {
        self.turn.began
    }

    /// Returns a response with an error page, for the client of a request that is given up.
    pub(crate) fn error_page(&mut self, status: u16) -> Vec<u8> {
        // All threads may have been in the application since the last poll.
        self.serve.dates.refresh();
        let mut answer = Vec::new();
        self.serve.error_page(&mut answer, status, None, None);
        answer
    }

    /// True if no request waits for a thread.
    pub(crate) fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Hands the lines of the access log to their thread, and tells the scoreboard what the connections do.
    pub(crate) fn publish(&self) {
        self.serve.flush_access();
        self.setup.slots[0].set_connections(self.connections.counts());
    }
}
