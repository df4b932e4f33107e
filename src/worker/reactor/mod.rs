//! What the kernel says of a worker's sockets, signals and deadlines, turned into turns of its connections. Everything
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
use connections::{Connections, Registered};
use handoff::{HandedOff, LOOK_AT_COPIES};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use poll::{EVENTS, LISTENERS, ORDERS, QUEUE, SIGNALS, WAKE, readiness, wait};
use shutdown::{Ending, Shutdown};
use timers::Timers;

use super::connection::context::{Entry, ServeContext};
use super::connection::event::{Event, Next, Readiness, Work};
use super::connection::request::{Outcome, PendingRequest, ResponseState};
use super::connection::{Activity, Connection};
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
    /// What the kernel said and was not looked at. With edges nothing of it may be lost, whichever thread polled.
    inbox: VecDeque<EpollEvent>,
    turn: Turn,
    connections: Connections,
    timers: Timers,
    /// Whole requests that wait for a thread.
    queue: VecDeque<u64>,
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
    /// How many of them this turn looks at.
    quota: usize,
    /// When it began, in ns of the monotonic clock.
    began: u64,
    /// How many ns the turn before it took.
    length: u64,
    /// Room for what the kernel says.
    events: Vec<EpollEvent>,
}

/// When and how the worker asks to be replaced.
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
        Ok(!self.inbox.is_empty() || !self.turn.ready.is_empty())
    }

    /// Begins a turn with what a thread has waited for.
    pub(crate) fn take_in(&mut self, events: &[EpollEvent]) {
        self.inbox.extend(events);
        self.serve.dates.refresh();
        // A stop is not kept waiting by what stands in line.
        self.turn.quota = if signal::is_noted() { 0 } else { self.turn.ready.len() };
        let before = std::mem::replace(&mut self.turn.began, clock::monotonic());
        self.turn.length = self.turn.began.saturating_sub(before);
        self.serve.now = self.turn.began / 1_000_000;
        self.expire();
        if self.handed.len() > 0 {
            self.settle_handoffs();
        }
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

    /// Returns the request that has waited the longest.
    pub(crate) fn next_request(&mut self) -> Option<Job> {
        while let Some(token) = self.queue.pop_front() {
            // A client that has left is not there any more.
            let Some(connection) = self.connections.check_out(token, Readiness::default()) else { continue };
            if connection.waiting().is_some() {
                return Some(Job { connection, work: Work::Request });
            }
            self.settle(connection, Next::Wait);
        }
        None
    }

    /// Has a whole request wait until a thread is free. Its client may leave meanwhile, or wait too long.
    pub(crate) fn enqueue(&mut self, connection: Box<Connection>) {
        self.queue.push_back(connection.token);
        self.on(connection, Event::NoThread);
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

    /// Takes the request of a connection that is checked out, for a thread that is about to have it answered.
    pub(crate) fn begin(&mut self, connection: &mut Connection) -> Option<PendingRequest> {
        let mut request = connection.begin(&mut self.serve)?;
        self.connections.note_work(connection, Activity::Application);
        self.replacement.served += 1;
        if self.replacement.served == self.setup.max_requests {
            self.ask_for_replacement(Spent::Requests);
        }
        // A worker that is to be replaced keeps no client that would have to be sent away.
        let stays = !self.shutdown.has_begun() && !self.is_to_be_replaced();
        request.keep_alive = stays && !self.serve.rules.timeouts.keep_alive.is_zero();
        request.started = clock::monotonic();
        Some(request)
    }

    /// Takes a request back that was answered. `response` and `environ` are what the access log wants of it.
    pub(crate) fn finish(
        &mut self,
        connection: Box<Connection>,
        outcome: Outcome,
        response: &ResponseHead,
        environ: &EnvironValues,
    ) {
        if self.setup.has_others {
            self.handed.note_took(clock::monotonic().saturating_sub(outcome.started));
        }
        self.serve.now = millis::about_now();
        if !matches!(outcome.response, ResponseState::Hijacked { .. }) {
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
        let next = connection.on(event, &mut self.serve);
        self.settle(connection, next);
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
            self.acceptor.reopen(now);
        }
        while let Some(token) = self.timers.pop(now) {
            self.connections.timer_came(token);
            match self.connections.get(token).map(Connection::deadline) {
                Some(deadline) if deadline > now => self.schedule(token, deadline),
                Some(_) => self.deliver(token, Event::Deadline),
                // It gets a new entry when it is parked.
                None => {}
            }
        }
    }

    fn schedule(&mut self, token: u64, deadline: Millis) {
        if self.connections.schedule(token, deadline) {
            self.timers.push(deadline, token);
        }
    }

    /// Does with a connection what it wants next.
    fn settle(&mut self, mut connection: Box<Connection>, next: Next) {
        let token = connection.token;
        match next {
            Next::Work(work) => {
                self.connections.note_work(&connection, Activity::Reading);
                self.jobs.push_back(Job { connection, work });
            }
            Next::Close => self.close(connection),
            Next::Wait | Next::Again => {
                let said = self.connections.take_pending(token);
                if connection.catch_up(said) || next == Next::Again {
                    self.turn.ready.push_back(token);
                }
                if self.watch(&mut connection) {
                    self.connections.park(connection);
                    self.use_room();
                } else {
                    self.close(connection);
                }
            }
        }
    }

    /// Before a connection is parked: takes its empty buffers back, and has the kernel and the timers watch it.
    fn watch(&mut self, connection: &mut Connection) -> bool {
        self.serve.buffers.input.take_back(&mut connection.input);
        self.serve.buffers.output.take_back(&mut connection.output.bytes);
        self.schedule(connection.token, connection.deadline());
        let wanted = if connection.writes() { Registered::ReadsAndWrites } else { Registered::Reads };
        let registered = self.connections.registered(connection.token);
        if *registered >= wanted {
            return true;
        }
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        flags.set(EpollFlags::EPOLLOUT, wanted == Registered::ReadsAndWrites);
        let mut event = EpollEvent::new(flags, connection.token);
        let is_known = std::mem::replace(registered, wanted) != Registered::Nothing;
        let told = if is_known {
            self.epoll.modify(&connection.stream, &mut event)
        } else {
            self.epoll.add(&connection.stream, event)
        };
        told.is_ok()
    }

    /// The application may have forked, so that closing alone would neither end the connection nor its events.
    fn close(&mut self, mut connection: Box<Connection>) {
        self.forget(&connection);
        if connection.is_whole() {
            connection.stream.say_goodbye();
        }
        if !connection.is_relayed() {
            socket::finish(connection.stream.as_fd());
        }
        connection.input.clear();
        connection.output.bytes.clear();
        self.serve.buffers.input.take_back(&mut connection.input);
        self.serve.buffers.output.take_back(&mut connection.output.bytes);
    }

    /// Lets go of a connection that does not end with its descriptor here.
    fn forget(&mut self, connection: &Connection) {
        if *self.connections.registered(connection.token) != Registered::Nothing {
            let _ = self.epoll.delete(&connection.stream);
        }
        self.connections.remove(connection.token);
        self.use_room();
    }

    /// True if anything is left to do that nothing has to be waited for.
    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.is_in_turn()
    }

    fn is_in_turn(&self) -> bool {
        !self.jobs.is_empty() || !self.inbox.is_empty() || !self.turn.ready.is_empty()
    }

    /// Returns how the worker has ended, if it has. Threads that are given up keep their connections for good: `lost` of
    /// them are not waited for.
    pub(crate) fn ended(&self, lost: usize) -> Option<Ending> {
        self.shutdown.ending(self.connections.len() + self.handed.len() > lost)
    }

    /// Returns how long nothing will have to be done unless the kernel says so.
    pub(crate) fn sleep_limit(&self) -> Option<Duration> {
        if self.is_in_turn() {
            return Some(Duration::ZERO);
        }
        let copies = (self.handed.len() > 0).then(|| millis::now() + LOOK_AT_COPIES);
        let next = self.timers.next().into_iter().chain(self.acceptor.opens_at()).chain(copies).min()?;
        Some(Duration::from_millis(next.saturating_sub(millis::now()).saturating_add(1)))
    }

    /// True if a connection is taken at a moment that no event of the kernel announces.
    pub(crate) fn opens_by_itself(&self) -> bool {
        self.acceptor.opens_at().is_some()
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

    /// Returns the value of the `Date` field.
    pub(crate) fn date(&self) -> &[u8; 29] {
        self.serve.dates.date()
    }

    /// Returns a response with an error page, for the client of a request that is given up.
    pub(crate) fn error_page(&self, status: u16) -> Vec<u8> {
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

    /// Asks for another worker in this one's place, once.
    pub(crate) fn ask_for_replacement(&mut self, why: Spent) {
        if let Some(ask) = self.replacement.ask.take() {
            ask(why);
        }
    }

    fn is_to_be_replaced(&self) -> bool {
        self.replacement.ask.is_none()
    }
}
